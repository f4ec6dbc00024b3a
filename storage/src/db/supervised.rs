//! Keeps the engine's threads going: a panic in one is counted and noted, and its work starts again after a pause.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::engine::{Engine, Signal};

/// Pause after the first panic; it doubles with each that follows.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause. Work that went well for as long begins with the shortest again.
const PAUSE_MAX: Duration = Duration::from_secs(60);

impl Engine {
    /// Does work until it ends by itself, again after each panic; `signal` is the one that tells it to end.
    pub(crate) fn supervise(&self, what: &str, signal: &Signal, work: impl Fn()) {
        let mut pause = PAUSE_MIN;
        loop {
            let began = Instant::now();
            let Err(panic) = catch_unwind(AssertUnwindSafe(&work)) else { return };
            if began.elapsed() >= PAUSE_MAX {
                pause = PAUSE_MIN;
            }
            self.note_panic(what, &*panic);
            let until = Instant::now() + pause;
            while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
                if !signal.wait(left) {
                    return;
                }
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Counts a panic and keeps what it said.
    pub(crate) fn note_panic(&self, what: &str, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        self.counters.panics.add(1);
        self.counters.findings.add(format!("{what} panicked: {text}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::tests::{NOW_MS, TestClock, options, read_all, write};
    use super::*;
    use crate::error::CommitError;
    use crate::io::Disk;
    use crate::io::fake::FakeDisk;
    use crate::options::{DbOptions, Probe, Step};
    use crate::{Db, Snapshot};

    /// Panics once, when armed, at a step.
    #[derive(Debug)]
    struct Fault(Step, AtomicBool);

    impl Probe for Fault {
        fn reached(&self, step: Step) {
            assert!(step != self.0 || !self.1.swap(false, Ordering::SeqCst), "injected");
        }
    }

    /// Holds up the committer before it writes, as long as that is asked for, and panics when it comes to a step after.
    #[derive(Debug, Default)]
    struct Gate {
        is_held: AtomicBool,
        held: AtomicBool,
        panics_at: parking_lot::Mutex<Option<Step>>,
    }

    impl Probe for Gate {
        fn reached(&self, step: Step) {
            if step == Step::WalWrite && self.is_held.load(Ordering::SeqCst) {
                self.held.store(true, Ordering::SeqCst);
                while self.is_held.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                return;
            }
            assert!(*self.panics_at.lock() != Some(step), "injected");
        }
    }

    fn faulty(step: Step, armed: bool) -> (Arc<Fault>, FakeDisk, Db) {
        let (fault, disk) = (Arc::new(Fault(step, armed.into())), FakeDisk::default());
        let options = DbOptions { probe: Some(fault.clone()), head_samples_max: 4, ..options() };
        let db = Db::open_on(Arc::new(disk.clone()), options, TestClock::new()).unwrap();
        (fault, disk, db)
    }

    fn content(db: &Db) -> usize {
        let snapshot: Snapshot = db.snapshot();
        read_all(&snapshot).len()
    }

    fn wait_until(db: &Db, what: &str, is_so: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < until, "{what}: {:?}", db.findings());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn flushing_goes_on_after_a_panic() {
        for step in [Step::FlushFrozen, Step::SegmentsDurable, Step::ManifestDurable, Step::ManifestInstalled] {
            let (_fault, disk, db) = faulty(step, true);
            for i in 0..5 {
                write(&db, &[(i, NOW_MS, 1.0)]).unwrap();
            }
            wait_until(&db, "it panics", || db.stats().panics == 1);
            if step != Step::ManifestInstalled {
                wait_until(&db, "the head that was frozen is flushed", || db.stats().flushes > 0);
            }
            for i in 5..10 {
                write(&db, &[(i, NOW_MS, 1.0)]).unwrap();
            }
            wait_until(&db, "the next one too", || db.stats().head_samples < 4);
            assert_eq!((db.stats().panics, content(&db)), (1, 10), "{step:?}");
            assert_eq!(db.findings(), ["flushing panicked: injected"]);
            let files = || disk.list(std::path::Path::new("/data/segments")).unwrap().len() as u64;
            wait_until(&db, "a panic leaves no files", || files() == db.stats().segments);
            db.close().unwrap();
        }
    }

    /// Whoever waits for a freeze holds up all flushes: it must end, whatever the committer was at.
    #[test]
    fn a_panic_of_the_committer_ends_a_freeze() {
        for (step, with_batch) in [(Step::WalRoll, false), (Step::WalWrite, true)] {
            let (gate, disk) = (Arc::new(Gate::default()), FakeDisk::default());
            let options = DbOptions { probe: Some(gate.clone()), maintenance: false, ..options() };
            let db = Arc::new(Db::open_on(Arc::new(disk), options, TestClock::new()).unwrap());
            write(&db, &[(0, NOW_MS, 1.0)]).unwrap();
            *gate.panics_at.lock() = Some(step);
            let background = |work: fn(&Db) -> bool| {
                let (sender, receiver) = std::sync::mpsc::channel();
                let db = db.clone();
                std::thread::spawn(move || sender.send(work(&db)).unwrap());
                receiver
            };
            if with_batch {
                // While the committer writes one batch, another and a freeze come to wait: it takes both at once.
                gate.is_held.store(true, Ordering::SeqCst);
                let first = background(|db| write(db, &[(1, NOW_MS, 1.0)]).is_ok());
                wait_until(&db, "it writes", || gate.held.load(Ordering::SeqCst));
                let pending = db.stats().pending_bytes;
                let second = background(|db| write(db, &[(2, NOW_MS, 1.0)]).is_ok());
                wait_until(&db, "the second waits", || db.stats().pending_bytes > pending);
                let flushed = background(|db| db.flush().is_ok());
                wait_until(&db, "the freeze waits", || db.engine.queue.has_freeze());
                gate.is_held.store(false, Ordering::SeqCst);
                let wait = Duration::from_secs(20);
                assert_eq!((first.recv_timeout(wait), second.recv_timeout(wait)), (Ok(true), Ok(false)));
                assert_eq!(flushed.recv_timeout(wait), Ok(false), "the flush ends");
            } else {
                let flushed = background(|db| db.flush().is_ok());
                assert_eq!(flushed.recv_timeout(Duration::from_secs(20)), Ok(false), "the flush ends");
            }
            wait_until(&db, "the panic is noted", || db.stats().panics == 1);
            let closed = background(|db| db.close().is_ok());
            assert_eq!(closed.recv_timeout(Duration::from_secs(20)), Ok(false), "and so does the shutdown");
        }
    }

    #[test]
    fn a_panic_of_the_committer_fails_its_batches_and_loses_nothing() {
        for step in [Step::WalWrite, Step::WalWritten, Step::WalSynced] {
            let (fault, disk, db) = faulty(step, false);
            write(&db, &[(0, NOW_MS, 1.0)]).unwrap();
            fault.1.store(true, Ordering::SeqCst);
            assert!(matches!(write(&db, &[(1, NOW_MS, 1.0)]), Err(CommitError::Closed)), "{step:?}");
            while db.stats().read_only.is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(matches!(write(&db, &[(2, NOW_MS, 1.0)]), Err(CommitError::ReadOnly(_))), "{step:?}");
            assert_eq!((content(&db), db.stats().panics), (1, 1), "what is there is served");
            drop(db);
            let again = Db::open_on(Arc::new(disk.clone()), options(), TestClock::new()).unwrap();
            let whole = content(&again);
            assert!(whole == 1 || (whole == 2 && step != Step::WalWrite), "{step:?}: {whole}");
            write(&again, &[(3, NOW_MS, 1.0)]).unwrap();
        }
    }
}
