//! The one thread that writes the WAL: takes a group of batches, writes and syncs it, makes it visible, tells the
//! callers. It also freezes the head, because only between two groups nothing is half done.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::commit::{BatchContent, FreezeRequest, Frozen, Waiting};
use super::engine::Engine;
use crate::batch::Committed;
use crate::error::{CommitError, StorageError};
use crate::head::generation::Generation;
use crate::options::{Step, WalSync, reached};
use crate::wal::file::FILE_HEADER_BYTES;
use crate::wal::log::Log;
use crate::wal::record::{RecordEncoder, Stamp};

/// How long the committer waits for work before it looks round.
const IDLE: Duration = Duration::from_secs(1);
/// How long a group that could be written waits at most for batches that are being filled: one sync then serves them too
/// (as PostgreSQL's `commit_delay` while there are `commit_siblings`). A sync takes about as long.
const GATHER: Duration = Duration::from_millis(1);
/// Families in one record at the beginning of a WAL generation.
const PREAMBLE_FAMILIES: usize = 10_000;

/// The thread's state.
#[derive(Debug)]
pub(crate) struct Committer {
    engine: Arc<Engine>,
    log: Log,
    last_sync: Instant,
}

impl Committer {
    pub(crate) fn new(engine: Arc<Engine>, log: Log) -> Self {
        Committer { engine, log, last_sync: Instant::now() }
    }

    /// Works until the queue is stopped and empty. A panic ends it for good: how far a group got is not known then, so
    /// nothing is written any more, which every later batch is told. What was acknowledged is in the WAL.
    pub(crate) fn run_to_the_end(self) {
        let engine = self.engine.clone();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.run())) {
            engine.note_panic("writing the WAL", &*panic);
            engine.queue.wal_down("the thread that writes the WAL panicked; start the server again".to_owned());
        }
    }

    fn run(mut self) {
        loop {
            let gather = if self.engine.options.wal_sync == WalSync::Always { GATHER } else { Duration::ZERO };
            let work = self.engine.queue.take(self.patience(), gather);
            if work.reopen {
                self.reopen();
            }
            let idle = work.group.is_empty() && work.freeze.is_none();
            if !work.group.is_empty() {
                self.commit(work.group, work.records);
            }
            if let Some(request) = work.freeze {
                self.freeze(&request);
            }
            self.sync_if_due(work.stop);
            if work.stop && idle {
                return;
            }
        }
    }

    fn patience(&self) -> Duration {
        match self.engine.options.wal_sync {
            WalSync::Interval(interval) if self.log.is_dirty() => interval.saturating_sub(self.last_sync.elapsed()),
            _ => IDLE,
        }
    }

    fn commit(&mut self, group: Vec<Waiting>, mut records: Vec<u8>) {
        let engine = self.engine.clone();
        engine.counters.commit_groups.add(1);
        let written = self.write(&mut records);
        match &written {
            Ok(()) => {
                engine.apply(&group);
                let samples = group.iter().map(|waiting| waiting.content.sample_count()).sum();
                engine.counters.committed_samples.add(samples);
                engine.counters.committed_batches.add(group.len() as u64);
            }
            Err(error) => {
                engine.counters.failed_batches.add(group.len() as u64);
                engine.queue.note_failed(&group);
                self.give_up_file(error);
            }
        }
        // Before anyone is told: who commits again at once finds the room.
        engine.queue.release(&group, records);
        for waiting in &group {
            waiting.finish(match &written {
                Ok(()) => Ok(Committed { sequence: waiting.sequence, samples: waiting.content.sample_count() }),
                Err(error) => Err(CommitError::Storage(error.again())),
            });
        }
        if written.is_ok() {
            engine.head.postings.catch_up_if_due(&engine.head.registry);
        }
        engine.flush_if_due();
    }

    /// Writes records, and syncs them if that is asked for.
    fn write(&mut self, records: &mut [u8]) -> Result<(), StorageError> {
        let engine = self.engine.clone();
        let options = &engine.options;
        let after = self.log.file_bytes().saturating_add(records.len() as u64);
        if after > options.wal_file_bytes && self.log.file_bytes() > FILE_HEADER_BYTES as u64 {
            self.roll()?;
        }
        reached(&options.probe, Step::WalWrite);
        self.log.append(records)?;
        reached(&options.probe, Step::WalWritten);
        if options.wal_sync == WalSync::Always {
            self.log.sync()?;
            reached(&options.probe, Step::WalSynced);
        }
        Ok(())
    }

    fn roll(&mut self) -> Result<u64, StorageError> {
        reached(&self.engine.options.probe, Step::WalRoll);
        let started = self.log.next_file();
        self.after_seal();
        let number = started?;
        self.engine.counters.wal_rolls.add(1);
        reached(&self.engine.options.probe, Step::WalRolled);
        Ok(number)
    }

    /// What was acknowledged before its sync and is not in the WAL now must get into segments.
    fn after_seal(&mut self) {
        if self.log.take_lost_tail() && self.engine.options.wal_sync != WalSync::Always {
            self.engine.request_flush();
        }
    }

    /// After a failed write or sync: the next file, or no more writing.
    fn give_up_file(&mut self, error: &StorageError) {
        self.engine.counters.wal_failures.add(1);
        let next = self.log.next_file();
        self.after_seal();
        match next {
            // Series that the lost records defined are unknown to a replay: all are defined anew.
            Ok(_) => self.engine.queue.renumber(&self.engine.head.registry),
            Err(second) => {
                self.engine.counters.wal_failures.add(1);
                self.engine.queue.wal_down(format!("the WAL cannot be written: {error}; then {second}"));
            }
        }
    }

    /// Tries to write again after the WAL was given up.
    fn reopen(&mut self) {
        if !self.engine.queue.is_wal_down() {
            return;
        }
        if self.log.next_file().is_ok() {
            self.engine.queue.renumber(&self.engine.head.registry);
            self.engine.queue.wal_up();
        }
        self.after_seal();
    }

    fn sync_if_due(&mut self, now: bool) {
        let due = match self.engine.options.wal_sync {
            WalSync::Always => true,
            WalSync::Interval(interval) => now || self.last_sync.elapsed() >= interval,
        };
        if !due || !self.log.is_dirty() {
            return;
        }
        self.last_sync = Instant::now();
        if let Err(error) = self.log.sync() {
            self.give_up_file(&error);
        }
    }

    fn freeze(&mut self, request: &FreezeRequest) {
        let frozen = self.roll().and_then(|floor| self.write_preamble().map(|()| floor));
        match frozen {
            Ok(wal_floor) => {
                let frozen = self.engine.freeze(wal_floor);
                request.finish(Ok(frozen));
            }
            Err(error) => {
                self.give_up_file(&error);
                request.finish(Err(error));
            }
        }
    }

    /// Begins a WAL generation with all metadata, so that it outlives the files before.
    fn write_preamble(&mut self) -> Result<(), StorageError> {
        let metadata = self.engine.metadata.all();
        if metadata.is_empty() {
            return Ok(());
        }
        let sequence = self.engine.view.read().sequence;
        for families in metadata.chunks(PREAMBLE_FAMILIES) {
            let mut encoder = RecordEncoder::new();
            encoder.metadata(families.iter().map(|(family, metadata)| (family.as_str(), metadata)));
            let mut record = Vec::new();
            // Metadata is bounded by its own limits: so many families lie far below those of a record.
            let _ = encoder.finish(Stamp { generation: 0, sequence, arrived_ms: 0 }, &mut record);
            self.log.append(&mut record)?;
        }
        self.log.sync()
    }
}

impl Engine {
    /// Makes a group of batches visible, all at once.
    fn apply(&self, group: &[Waiting]) {
        // Labels first: the registry's locks come before those of the chunks.
        let exemplars: Vec<_> = group
            .iter()
            .flat_map(|waiting| &waiting.content.exemplars)
            .map(|(series, exemplar)| (self.head.registry.labels(*series), exemplar.clone()))
            .collect();
        let mut view = self.view.write();
        let open = self.snapshots.range();
        let mut writer = view.active.write(open);
        for waiting in group {
            let BatchContent { samples, histograms, .. } = &waiting.content;
            self.head.apply(&mut writer, waiting.sequence, waiting.arrived_ms, samples, histograms);
            if !waiting.content.metadata.is_empty() {
                let dropped = self.metadata.apply(waiting.content.metadata.iter().cloned());
                self.counters.metadata_dropped.add(dropped);
            }
        }
        drop(writer);
        self.exemplars.extend(exemplars.into_iter());
        if let Some(last) = group.last() {
            view.sequence = last.sequence;
        }
    }

    /// Swaps the active generation for an empty one.
    fn freeze(&self, wal_floor: u64) -> Frozen {
        let mut view = self.view.write();
        let next = Arc::new(Generation::new(view.sequence));
        let generation = std::mem::replace(&mut view.active, next);
        let frozen = Frozen { generation, wal_floor };
        view.frozen = Some(frozen.clone());
        frozen
    }
}
