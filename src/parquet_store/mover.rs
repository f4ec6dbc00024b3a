//! The thread that moves finished files to the store, and what is no longer ours out of it.
//!
//! A pass looks at what is in the data directory and in the placement, makes a plan and carries it out. When the store
//! fails, the pass ends, and the next comes later and later; whatever was not verified stays local.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use storage::Clock;

use super::client::StoreError;
use super::disk::leave_local;
use super::plan::{compare, plan};
use super::stats::Counters;
use super::{PARQUET_DIR, Shared};
use crate::supervise::attempt;
use crate::telemetry::Telemetry;

/// Time between two passes.
const INTERVAL: Duration = Duration::from_secs(5);
/// Longest time between two passes while the store fails.
const INTERVAL_MAX: Duration = Duration::from_secs(300);
/// Time between two listings of the store.
const LISTING_INTERVAL: Duration = Duration::from_secs(6 * 3600);
/// Says whose prefix it is. The underscore hides it from readers of Parquet, as with the next.
const OWNER: &str = "_owner.json";
/// The engine's list of the files that count.
const LIVE: &str = "_live.json";

/// The thread's handle.
#[derive(Debug)]
pub(super) struct Mover {
    keep_local_ms: i64,
    signal: Arc<(Mutex<bool>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Mover {
    pub(super) fn new(keep_local_ms: i64) -> Mover {
        Mover { keep_local_ms, signal: Arc::default(), thread: Mutex::default() }
    }

    pub(super) fn start(
        &self,
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
        telemetry: Arc<Telemetry>,
    ) -> Result<(), String> {
        let signal = Arc::clone(&self.signal);
        let keep_local_ms = self.keep_local_ms;
        let new = move || Moving::new(Arc::clone(&shared), Arc::clone(&clock), keep_local_ms);
        let run = move || {
            let (mut moving, mut pause) = (new(), INTERVAL);
            loop {
                let passed = attempt("parquet_mover", &telemetry, || moving.pass().map_err(|e| e.to_string()));
                if passed.is_err() {
                    // It remembers only what it need not ask for again.
                    moving = new();
                }
                pause = match passed.and_then(|done| done) {
                    Ok(()) => INTERVAL,
                    Err(error) => {
                        Counters::add(&moving.shared.counters.failures, 1);
                        let next = jittered((pause * 2).min(INTERVAL_MAX));
                        tracing::warn!(%error, retry_in = ?next, "days are not moved to the store; they stay local");
                        next
                    }
                };
                let (stop, stopped) = &*signal;
                let mut stop = stop.lock();
                if !*stop {
                    stopped.wait_for(&mut stop, pause);
                }
                if *stop {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("parquet-mover".to_owned()).spawn(run);
        *self.thread.lock() = Some(thread.map_err(|e| format!("cannot start a thread: {e}"))?);
        Ok(())
    }

    pub(super) fn stop(&self) {
        *self.signal.0.lock() = true;
        self.signal.1.notify_all();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that moves days to the store has panicked");
        }
    }
}

/// Up to a quarter less: servers that failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    pause - pause.mul_f64(f64::from(RandomState::new().hash_one(0) as u16) / f64::from(u16::MAX) / 4.0)
}

/// A mark for a new data directory.
pub(super) fn new_owner() -> String {
    format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1))
}

/// What is in a directory; nothing if it is none.
fn entries(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(dir) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
        read => read?.map(|entry| Ok(entry?.path())).collect(),
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    owner: String,
}

/// One mover at work.
pub(super) struct Moving {
    pub(super) shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    keep_local_ms: i64,
    is_ours: bool,
    listed: Option<Instant>,
    /// What was last put there of the list of files.
    live: Option<Vec<u8>>,
}

impl Moving {
    pub(super) fn new(shared: Arc<Shared>, clock: Arc<dyn Clock>, keep_local_ms: i64) -> Moving {
        Moving { shared, clock, keep_local_ms, is_ours: false, listed: None, live: None }
    }

    /// Does what is to be done now.
    ///
    /// # Errors
    /// The first that says that the store is away, or else the last: single files may fail alone.
    pub(super) fn pass(&mut self) -> Result<(), StoreError> {
        let local = self.local_files()?;
        let todo = plan(&local, &self.placement(), self.keep_local_ms, self.clock.now_ms());
        let counters = &self.shared.counters;
        counters.pending_files.store(todo.upload.len() as u64, Ordering::Relaxed);
        if local.is_empty() && self.placement().is_empty() {
            // Nothing was ever moved: the store is not asked.
            return Ok(());
        }
        self.take_prefix()?;
        if self.listed.is_none_or(|at| at.elapsed() >= LISTING_INTERVAL) {
            self.compare_listing(&local)?;
            self.listed = Some(Instant::now());
        }
        let mut failed = None;
        for name in &todo.upload {
            match self.upload(name) {
                Ok(()) => {
                    self.shared.counters.pending_files.fetch_sub(1, Ordering::Relaxed);
                }
                Err(error @ StoreError::Away(_)) => return Err(error),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        self.publish_live()?;
        for name in &todo.delete {
            self.delete(name)?;
        }
        // What was just uploaded may go as well.
        let now = plan(&self.local_files()?, &self.placement(), self.keep_local_ms, self.clock.now_ms());
        now.drop_local.iter().try_for_each(|name| self.drop_local(name))
    }

    fn placement(&self) -> super::placement::Document {
        self.shared.placement.look(Clone::clone)
    }

    fn local_error(&self, name: &str, error: std::io::Error) -> StoreError {
        StoreError::Local { path: self.shared.path_of(name), detail: error.to_string() }
    }

    /// Finished files of days with their lengths: files get their names there only when they are whole.
    fn local_files(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let dir = self.shared.data.join(PARQUET_DIR);
        let read = || -> std::io::Result<BTreeMap<String, u64>> {
            let mut found = BTreeMap::new();
            for kind in entries(&dir)? {
                for day in entries(&kind)? {
                    for file in entries(&day)? {
                        let Some(name) = self.shared.name_of(&file) else { continue };
                        match std::fs::metadata(&file) {
                            // Removed since.
                            Err(error) if error.kind() == ErrorKind::NotFound => {}
                            metadata => found.extend([(name, metadata?.len())]),
                        }
                    }
                }
            }
            Ok(found)
        };
        read().map_err(|error| self.local_error("", error))
    }

    /// Makes sure that the prefix is ours: two data directories in one would remove each other's days.
    fn take_prefix(&mut self) -> Result<(), StoreError> {
        if self.is_ours {
            return Ok(());
        }
        // Durable before the first object carries it.
        self.shared.placement.keep().map_err(|error| self.local_error("", error))?;
        let ours = self.shared.placement.look(|document| document.owner.clone());
        let client = &self.shared.client;
        let damaged = |e: serde_json::Error| StoreError::Different { name: OWNER.to_owned(), detail: e.to_string() };
        if client.get_bytes(OWNER)?.is_none() {
            let text = serde_json::to_vec(&Owner { owner: ours.clone() }).map_err(damaged)?;
            client.put_bytes(OWNER, text)?;
        }
        let found = client.get_bytes(OWNER)?.ok_or_else(|| StoreError::Missing(OWNER.to_owned()))?;
        let found: Owner = serde_json::from_slice(&found).map_err(damaged)?;
        self.is_ours = found.owner == ours;
        self.shared.counters.foreign.store(!self.is_ours, Ordering::Relaxed);
        if !self.is_ours {
            let detail = format!("the prefix belongs to another data directory ({}, this is {ours})", found.owner);
            return Err(StoreError::Different { name: OWNER.to_owned(), detail });
        }
        Ok(())
    }

    fn compare_listing(&self, local: &BTreeMap<String, u64>) -> Result<(), StoreError> {
        let listed = self.shared.client.list()?;
        let found = compare(&listed, &self.placement(), local);
        self.shared.counters.missing_files.store(found.lost.len() as u64, Ordering::Relaxed);
        for name in &found.lost {
            tracing::error!(name, "a file is neither in the store nor here any more");
        }
        let changed = self.shared.placement.change(|document| {
            document.doomed.extend(found.unknown.iter().cloned());
            found.again.iter().for_each(|name| {
                document.files.remove(name);
            });
        });
        changed.map_err(|error| self.local_error("", error))
    }

    fn upload(&self, name: &str) -> Result<(), StoreError> {
        let path = self.shared.path_of(name);
        let object = match self.shared.client.put_file(name, &path) {
            // Removed since the plan was made.
            Err(StoreError::Local { .. }) if !path.exists() => return Ok(()),
            put => put?,
        };
        let bytes = object.bytes;
        let _moving = self.shared.open.lock();
        let is_there = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() == bytes);
        let changed = self.shared.placement.change(|document| {
            if is_there {
                document.doomed.remove(name);
                document.aside.remove(name);
                document.files.insert(name.to_owned(), object);
            } else {
                document.doomed.insert(name.to_owned());
            }
        });
        changed.map_err(|error| self.local_error(name, error))?;
        Counters::add(&self.shared.counters.uploads, 1);
        Counters::add(&self.shared.counters.upload_bytes, bytes);
        tracing::info!(name, bytes, "a file is in the store");
        Ok(())
    }

    /// Puts the list of files there, after the files that it names and before others are removed.
    fn publish_live(&mut self) -> Result<(), StoreError> {
        let path = self.shared.data.join(PARQUET_DIR).join(LIVE);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            text => text.map_err(|e| StoreError::Local { path, detail: e.to_string() })?,
        };
        if self.live.as_ref() != Some(&text) {
            self.shared.client.put_bytes(LIVE, text.clone())?;
            self.live = Some(text);
        }
        Ok(())
    }

    /// Removes an object, once nobody reads it any more.
    fn delete(&self, name: &str) -> Result<(), StoreError> {
        let mut open = self.shared.open.lock();
        let is_read = open.get(name).is_some_and(|regions| regions.iter().any(|region| region.strong_count() > 0));
        if is_read || !self.shared.placement.look(|document| document.doomed.contains(name)) {
            return Ok(());
        }
        open.remove(name);
        drop(open);
        self.shared.client.delete(name)?;
        let changed = self.shared.placement.change(|document| {
            document.doomed.remove(name);
        });
        changed.map_err(|error| self.local_error(name, error))?;
        Counters::add(&self.shared.counters.deletes, 1);
        Ok(())
    }

    fn drop_local(&self, name: &str) -> Result<(), StoreError> {
        let open = self.shared.open.lock();
        if !self.shared.placement.look(|document| document.files.contains_key(name)) {
            return Ok(());
        }
        leave_local(open.get(name).map(Vec::as_slice).unwrap_or_default());
        std::fs::remove_file(self.shared.path_of(name)).map_err(|error| self.local_error(name, error))?;
        tracing::debug!(name, "the local copy is gone");
        Ok(())
    }
}
