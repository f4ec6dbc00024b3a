//! The one writer: a thread that owns the connection. Changes that wait together share one transaction, and with it one
//! sync; each has its own savepoint, so that one that fails or panics leaves the others. A change is acknowledged after the
//! commit.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};
use rusqlite::Connection;

use super::error::CatalogError;
use crate::supervise::attempt;
use crate::telemetry::Telemetry;

/// Changes that may wait for the writer; who comes later waits to get in.
const WAITING_MAX: usize = 1024;
/// Most changes in one transaction.
const GROUP_MAX: usize = 256;
/// The thread's name where its panics are counted.
const TASK: &str = "catalog";

/// Makes a change and gives back what is to be done when the outcome of the commit is known.
type Change = Box<dyn FnOnce(&Connection) -> Acknowledge + Send>;
type Acknowledge = Box<dyn FnOnce(Result<(), CatalogError>) + Send>;

/// Says why nothing may be written now, if nothing may.
type Gate = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// The way to the thread.
pub(crate) struct Writer {
    gate: OnceLock<Gate>,
    changes: RwLock<Option<SyncSender<Change>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    telemetry: Arc<Telemetry>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(connection: Connection, telemetry: Arc<Telemetry>) -> Result<Writer, CatalogError> {
        let (changes, queue) = sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name(TASK.to_owned())
            .spawn(move || run(connection, &queue))
            .map_err(|e| CatalogError::io("catalog thread", e))?;
        Ok(Writer {
            gate: OnceLock::new(),
            changes: RwLock::new(Some(changes)),
            thread: Mutex::new(Some(thread)),
            telemetry,
        })
    }

    /// Refuses changes from now on while the gate gives a reason; the first gate counts.
    pub(super) fn set_gate(&self, gate: impl Fn() -> Option<String> + Send + Sync + 'static) {
        let _ = self.gate.set(Box::new(gate));
    }

    /// Makes a change and returns when it is durable. `show` runs before that, in the order of the changes.
    ///
    /// # Errors
    /// What `change` gave, or why the commit failed; nothing of the change is kept then. [`CatalogError::ReadOnly`],
    /// [`CatalogError::Panicked`].
    pub(crate) fn write<T, E>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        show: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<CatalogError> + Send + 'static,
    {
        if let Some(reason) = self.gate.get().and_then(|gate| gate()) {
            return Err(CatalogError::ReadOnly(reason).into());
        }
        let (answer, answered) = sync_channel(1);
        let telemetry = Arc::clone(&self.telemetry);
        let change: Change = Box::new(move |connection| {
            let caught = |c: &Connection| attempt(TASK, &telemetry, || change(c)).map_err(CatalogError::Panicked)?;
            let made = in_savepoint(connection, caught);
            Box::new(move |committed| {
                let outcome = committed.map_err(E::from).and(made).and_then(|value| {
                    let shown = attempt(TASK, &telemetry, || show(&value));
                    shown.map(|()| value).map_err(|panic| CatalogError::Panicked(panic).into())
                });
                // Nobody waits any more if the caller is gone; the change is made all the same.
                let _ = answer.send(outcome);
            })
        });
        let changes = self.changes.read().clone().ok_or(CatalogError::Closed)?;
        changes.send(change).map_err(|_| CatalogError::Closed)?;
        answered.recv().map_err(|_| E::from(CatalogError::Closed))?
    }

    /// Lets the thread end after the changes that wait, and waits for it.
    pub(super) fn close(&self) {
        self.changes.write().take();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the catalog's writer ended with a panic");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

fn run(connection: Connection, queue: &Receiver<Change>) {
    while let Ok(first) = queue.recv() {
        let mut acknowledge = Vec::new();
        let committed = connection.execute_batch("BEGIN IMMEDIATE").and_then(|()| {
            acknowledge.push(first(&connection));
            // SQLite ends a transaction by itself when the disk fails it. What followed would be kept without the rest.
            while acknowledge.len() < GROUP_MAX
                && !connection.is_autocommit()
                && let Ok(next) = queue.try_recv()
            {
                acknowledge.push(next(&connection));
            }
            connection.execute_batch("COMMIT")
        });
        let outcome = committed.map_err(CatalogError::from);
        if let Err(error) = &outcome {
            tracing::error!(%error, "the catalog could not be written");
            if !connection.is_autocommit() {
                let _ = connection.execute_batch("ROLLBACK");
            }
        }
        for acknowledge in acknowledge {
            acknowledge(outcome.clone());
        }
    }
    // Moves the WAL into the file, so that a copy of the file alone is whole.
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "the catalog was not closed cleanly");
    }
}

fn in_savepoint<T, E: From<CatalogError>>(
    connection: &Connection,
    change: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    connection.execute_batch("SAVEPOINT change").map_err(CatalogError::from)?;
    let made = change(connection);
    let end = if made.is_ok() { "RELEASE change" } else { "ROLLBACK TO change; RELEASE change" };
    connection.execute_batch(end).map_err(CatalogError::from)?;
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(connection: &Connection, number: i64) -> Result<(), CatalogError> {
        connection.execute("INSERT INTO numbers VALUES (?1)", (number,))?;
        Ok(())
    }

    /// Changes of one transaction: one that fails half-way leaves nothing, and the others stay.
    #[test]
    fn a_change_that_fails_or_panics_leaves_the_others_of_its_group() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE numbers (number INTEGER PRIMARY KEY)").unwrap();
        let telemetry = Arc::new(Telemetry::default());
        let writer = Writer::start(connection, Arc::clone(&telemetry)).unwrap();
        let (go, wait) = sync_channel::<()>(0);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let show = |number| {
            let shown = Arc::clone(&shown);
            move |(): &()| shown.lock().push(number)
        };
        std::thread::scope(|scope| {
            // Holds the thread until the others wait behind it, and so share its transaction.
            let first = scope.spawn(|| {
                let change = move |c: &Connection| {
                    wait.recv().map_err(|_| CatalogError::Closed)?;
                    insert(c, 1)
                };
                writer.write(change, show(1))
            });
            let bad = scope.spawn(|| writer.write(|c| insert(c, 2).and_then(|()| insert(c, 2)), show(2)));
            let broken = scope.spawn(|| {
                let change = |c: &Connection| insert(c, 8).map(|()| panic!("half-way"));
                writer.write(change, |()| ())
            });
            let good = scope.spawn(|| writer.write(|c| insert(c, 3), show(3)));
            std::thread::sleep(std::time::Duration::from_millis(50));
            go.send(()).unwrap();
            assert!(first.join().unwrap().is_ok() && good.join().unwrap().is_ok());
            assert!(matches!(bad.join().unwrap(), Err(CatalogError::Sqlite(_))));
            assert!(matches!(broken.join().unwrap(), Err(CatalogError::Panicked(text)) if text == "half-way"));
        });
        let sum = |c: &Connection| -> Result<i64, CatalogError> {
            Ok(c.query_row("SELECT sum(number) FROM numbers", (), |row| row.get(0))?)
        };
        assert_eq!(writer.write(sum, |_| ()).unwrap(), 4);
        shown.lock().sort_unstable();
        assert_eq!(*shown.lock(), [1, 3]);
        let kept = writer.write(|c| insert(c, 9), |()| panic!("not shown"));
        assert!(matches!(kept, Err(CatalogError::Panicked(text)) if text == "not shown"));
        assert_eq!(writer.write(sum, |_| ()).unwrap(), 13);
        assert_eq!(telemetry.background_panics.get(&[TASK]), 2);
        writer.close();
        assert!(matches!(writer.write(|_| Ok(()), |()| ()), Err(CatalogError::Closed)));
    }

    /// SQLite does so by itself when the disk is full.
    #[test]
    fn what_waits_behind_a_change_that_ended_the_transaction_is_told_the_truth() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE numbers (number INTEGER PRIMARY KEY)").unwrap();
        let writer = Writer::start(connection, Arc::default()).unwrap();
        let (go, wait) = sync_channel::<()>(0);
        std::thread::scope(|scope| {
            let ending = scope.spawn(|| {
                let change = move |c: &Connection| -> Result<(), CatalogError> {
                    wait.recv().map_err(|_| CatalogError::Closed)?;
                    insert(c, 1)?;
                    Ok(c.execute_batch("ROLLBACK")?)
                };
                writer.write(change, |()| ())
            });
            std::thread::sleep(std::time::Duration::from_millis(50));
            let next = scope.spawn(|| writer.write(|c| insert(c, 2), |()| ()));
            std::thread::sleep(std::time::Duration::from_millis(50));
            go.send(()).unwrap();
            assert!(matches!(ending.join().unwrap(), Err(CatalogError::Sqlite(_))));
            assert!(next.join().unwrap().is_ok(), "kept, so it is not told that it failed");
        });
        let sum = |c: &Connection| -> Result<i64, CatalogError> {
            Ok(c.query_row("SELECT sum(number) FROM numbers", (), |row| row.get(0))?)
        };
        assert_eq!(writer.write(sum, |_| ()).unwrap(), 2);
        writer.close();
    }
}
