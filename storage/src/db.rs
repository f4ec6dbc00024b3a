//! The database: one writer side, many snapshots.
//!
//! `engine` is what all threads share, `open` brings it up, `commit` and `committer` are the way of a batch, `flush`
//! and `prepared` that from the head into segments, `maintenance` what goes on in the background.

pub(crate) mod commit;
pub(crate) mod committer;
mod deletes;
pub(crate) mod engine;
mod exemplars;
mod flush;
mod latest;
mod latest_groups;
mod maintenance;
pub(crate) mod metadata;
mod open;
pub(crate) mod prepared;
mod recent;
mod saved;
pub(crate) mod store_file;
mod supervised;

use std::sync::Arc;
use std::thread::JoinHandle;

use model::{Budget, BudgetError, Labels, Matcher, Metadata, Scope, TimeRange};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use crate::batch::{Batch, Exemplar};
use crate::compaction::plan::Effort;
use crate::compaction::progress::CompactionStatus;
use crate::deletes::Delete;
use crate::error::{DeleteError, StorageError};
use crate::io::{Disk, RealDisk};
use crate::manifest::{Manifest, SegmentEntry};
use crate::options::{Clock, DbOptions};
use crate::retention::{Keep, RetentionRule, RetentionRules, day_text, expired};
use crate::snapshot::Snapshot;
use crate::stats::{BudgetStats, DbStats, WorkFailure};
use committer::Committer;
use engine::Engine;

pub use latest::Latest;
pub use latest_groups::LatestGroup;
pub use saved::SavedSnapshot;

/// What a flush did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlushReport {
    /// Samples that went from the head into segments.
    pub samples: u64,
    /// Segments written.
    pub segments: u64,
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Segments that were merged away.
    pub segments_before: u64,
    /// Segments written.
    pub segments_after: u64,
    /// Segments left out because they could not be read.
    pub set_aside: u64,
    /// Pieces of work done for roll-ups: days built and merges.
    pub rollups: u64,
}

/// What retention dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionReport {
    /// The days dropped, as `YYYY-MM-DD`.
    pub dropped_days: Vec<String>,
    /// Bytes freed.
    pub freed_bytes: u64,
}

/// A database in one directory. Share it behind an `Arc`.
///
/// Dropped without [`Db::close`], it leaves the head to the WAL, as a crash would.
#[derive(Debug)]
pub struct Db {
    engine: Arc<Engine>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held, shared, by who works in the directory beside the threads; false when it was let go.
    open: RwLock<bool>,
}

impl Db {
    /// Opens or creates the database and replays its WAL.
    ///
    /// # Errors
    /// [`StorageError::Locked`] if another process has it, [`StorageError::NewerFormat`], I/O errors.
    pub fn open(options: DbOptions, clock: Arc<dyn Clock>) -> Result<Db, StorageError> {
        Db::open_on(Arc::new(RealDisk::for_data_dir(&options.data_dir)), options, clock)
    }

    /// As [`Db::open`], on a disk of the caller's choice.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn open_on(disk: Arc<dyn Disk>, options: DbOptions, clock: Arc<dyn Clock>) -> Result<Db, StorageError> {
        let (engine, log) = open::open(options, clock, disk)?;
        engine.watch_space();
        let committer = Committer::new(engine.clone(), log);
        let (flusher, compactor) = (engine.clone(), engine.clone());
        let db = Db { engine, threads: Mutex::default(), open: RwLock::new(true) };
        db.spawn("storage-wal", move || committer.run_to_the_end())?;
        if db.engine.options.maintenance {
            db.spawn("storage-flush", move || {
                flusher.supervise("flushing", &flusher.flush_signal, || maintenance::run_flusher(&flusher));
            })?;
            db.spawn("storage-compact", move || {
                compactor.supervise("compaction", &compactor.compact_signal, || maintenance::run_compactor(&compactor));
            })?;
        }
        Ok(db)
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StorageError> {
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        let path = self.engine.layout.root().to_owned();
        let thread = started.map_err(|source| StorageError::Io { operation: "start a thread for", path, source })?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// Keeps the directory until the work in it that begins now has ended.
    ///
    /// # Errors
    /// [`StorageError::Closed`]; another process may have the directory then.
    fn enter(&self) -> Result<RwLockReadGuard<'_, bool>, StorageError> {
        let open = self.open.read();
        if *open { Ok(open) } else { Err(StorageError::Closed) }
    }

    /// Tells long work to end.
    fn is_ending(&self) -> bool {
        self.engine.compact_signal.is_stopped()
    }

    /// Starts a batch.
    pub fn batch(&self) -> Batch<'_> {
        let now_ms = self.engine.clock.now_ms();
        let newest_ms = now_ms.saturating_add(self.engine.options.future_max_ms);
        let oldest_ms = self.engine.oldest_kept_ms(now_ms).unwrap_or(i64::MIN);
        Batch::new(&self.engine, oldest_ms, newest_ms)
    }

    /// A consistent view of everything committed so far.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(&self.engine)
    }

    /// The newest sample of each series that passes and received a sample since `arrived_since_ms`, sorted by labels.
    ///
    /// Answered from the head, without decoding anything; a series that the head has forgotten (`head.series_idle`) is
    /// not in it. For some minutes after a start, what was written shortly before it counts as well.
    ///
    /// # Errors
    /// [`BudgetError`]: the answer is taken out of the account while it grows, and stays taken.
    pub fn latest(
        &self,
        scope: &Scope,
        matchers: &[Matcher],
        arrived_since_ms: i64,
        budget: &Budget,
    ) -> Result<Vec<Latest>, BudgetError> {
        self.engine.latest(scope, matchers, arrived_since_ms, budget)
    }

    /// The series that pass and received a sample since `arrived_since_ms`, put together by the labels with these names, and
    /// how recent each group is; sorted by labels.
    ///
    /// Answered from the head, without decoding anything: after a start a series counts when its next sample comes.
    ///
    /// # Errors
    /// [`BudgetError`]: the answer is taken out of the account while it grows, and stays taken.
    pub fn latest_groups(
        &self,
        scope: &Scope,
        matchers: &[Matcher],
        names: &[&str],
        arrived_since_ms: i64,
        budget: &Budget,
    ) -> Result<Vec<LatestGroup>, BudgetError> {
        self.engine.latest_groups(scope, matchers, names, arrived_since_ms, budget)
    }

    /// When the newest sample of a series arrived, in milliseconds since 1970, if that is its sample of this time and the
    /// head knows the series.
    pub fn arrival(&self, labels: &Labels, timestamp_ms: i64) -> Option<i64> {
        self.engine.arrival(labels, timestamp_ms)
    }

    /// What is known about metric families, sorted by family.
    pub fn metadata(&self) -> Vec<(String, Metadata)> {
        self.engine.metadata.all()
    }

    /// What is known about one metric family.
    pub fn metadata_of(&self, family: &str) -> Option<Metadata> {
        self.engine.metadata.get(family)
    }

    /// Exemplars of the series that pass, in the range: the newest `ingest.max_exemplars` of all are kept.
    pub fn exemplars(&self, scope: &Scope, matchers: &[Matcher], range: TimeRange) -> Vec<(Labels, Vec<Exemplar>)> {
        self.engine.exemplars.select(scope, matchers, range)
    }

    /// Number of active series.
    pub fn series_count(&self) -> u64 {
        self.engine.head.registry.series_count()
    }

    /// How many active series jobs have and how many of them were refused.
    pub fn budgets(&self) -> BudgetStats {
        self.engine.head.registry.budgets().stats()
    }

    /// Writes the head into segments now; returns when they are installed.
    ///
    /// # Errors
    /// I/O errors; the head stays as it is then.
    pub fn flush(&self) -> Result<FlushReport, StorageError> {
        let _open = self.enter()?;
        self.engine.flush()
    }

    /// Does all compaction that is possible now, as fast as it goes, or until the database is closed. Segments that
    /// cannot be read are left out.
    ///
    /// # Errors
    /// I/O errors of writing; what was there stays.
    pub fn compact(&self) -> Result<CompactReport, StorageError> {
        let _open = self.enter()?;
        self.engine.compact(Effort::Everything, &|| self.is_ending())
    }

    /// Does the compaction that the background would do now, at its rate; for runs whose time is not the clock's.
    ///
    /// # Errors
    /// As [`Db::compact`].
    #[doc(hidden)]
    pub fn compact_due(&self) -> Result<CompactReport, StorageError> {
        let _open = self.enter()?;
        self.engine.compact(Effort::Due, &|| self.is_ending())
    }

    /// Hides the samples in the closed range of all series that pass one of the selectors: from now on no reader sees
    /// them, nor metadata of families of which no series is left. What is written later is seen. Gives the number of the
    /// delete, or none if there was nothing to hide.
    ///
    /// Until `storage.delete_undo` has passed it can be undone; then compaction gives up what is hidden.
    ///
    /// # Errors
    /// [`DeleteError`].
    pub fn delete(&self, selectors: Vec<Vec<Matcher>>, range: TimeRange) -> Result<Option<u64>, DeleteError> {
        let _open = self.enter()?;
        self.engine.delete(selectors, range)
    }

    /// The deletes that are not purged, in the order in which they were made.
    pub fn deletes(&self) -> Arc<Vec<Delete>> {
        self.engine.view.read().deletes.clone()
    }

    /// Shows again what a delete hid.
    ///
    /// # Errors
    /// [`DeleteError::Unknown`], [`DeleteError::Final`], I/O errors.
    pub fn undo_delete(&self, id: u64) -> Result<(), DeleteError> {
        let _open = self.enter()?;
        self.engine.undo_delete(id)
    }

    /// Gives up now what all deletes hide, unless the database is closed meanwhile; they cannot be undone any more.
    ///
    /// # Errors
    /// I/O errors; what is hidden stays hidden.
    pub fn purge_deleted(&self) -> Result<CompactReport, StorageError> {
        let _open = self.enter()?;
        self.engine.end_undo()?;
        self.engine.purge_now(&|| self.is_ending())
    }

    /// What compaction does now, what it left alone, and what waits.
    pub fn compaction(&self) -> CompactionStatus {
        self.engine.compaction_status()
    }

    /// Saves what is committed now as a complete data directory, `snapshots/<name>` of this one, made of hard links;
    /// without what is in the head if `skip_head`. `add` puts the files of others into the directory before it counts
    /// as whole. Exemplars are not saved.
    ///
    /// # Errors
    /// I/O errors, those of `add`, and [`StorageError::Io`] if the name is taken or none for a directory; nothing is
    /// left then that counts.
    pub fn save_snapshot(
        &self,
        name: &str,
        skip_head: bool,
        add: &dyn Fn(&std::path::Path) -> Result<(), StorageError>,
    ) -> Result<SavedSnapshot, StorageError> {
        let _open = self.enter()?;
        if !skip_head {
            self.engine.flush()?;
        }
        self.engine.save_snapshot(name, add)
    }

    /// The saved snapshots that are whole, by name.
    ///
    /// # Errors
    /// I/O errors.
    pub fn saved_snapshots(&self) -> Result<Vec<SavedSnapshot>, StorageError> {
        self.engine.saved_snapshots()
    }

    /// Removes a saved snapshot; false if there is none of this name.
    ///
    /// # Errors
    /// I/O errors; it does not count as whole any more then.
    pub fn remove_saved_snapshot(&self, name: &str) -> Result<bool, StorageError> {
        let _open = self.enter()?;
        self.engine.remove_saved_snapshot(name)
    }

    /// Applies retention by age and size now.
    ///
    /// # Errors
    /// I/O errors.
    pub fn enforce_retention(&self) -> Result<RetentionReport, StorageError> {
        let _open = self.enter()?;
        self.engine.enforce_retention()
    }

    /// Sets the retention rules: of several that a series passes the last one counts, without any `retention`; one that
    /// says how long at least gives way to whatever before it keeps longer. What is older is not seen by later snapshots, and
    /// goes when its segment is flushed, compacted or dropped as a whole. Rules are not stored: set them after each
    /// start.
    pub fn set_retention_rules(&self, rules: Vec<RetentionRule>) {
        let rules = RetentionRules::new(self.engine.options.retention_ms, rules);
        *self.engine.retention.write() = Arc::new(rules);
    }

    /// Why batches are refused, if they are: too little room on the disk, or a WAL that cannot be written.
    pub fn read_only(&self) -> Option<String> {
        self.engine.queue.read_only()
    }

    /// The state in numbers.
    pub fn stats(&self) -> DbStats {
        self.engine.stats()
    }

    /// What was found wrong on the disk since the database was opened, in words; the first hundred.
    pub fn findings(&self) -> Vec<String> {
        self.engine.counters.findings.all()
    }

    /// The last failure of each kind of work that goes on in the background, whoever asked for it.
    pub fn failures(&self) -> Vec<WorkFailure> {
        self.engine.counters.failures.all()
    }

    /// Flushes and closes, after the work of others that goes on has ended, for which compaction stops in the middle;
    /// later commits fail with [`crate::CommitError::Closed`], later work with [`StorageError::Closed`].
    ///
    /// # Errors
    /// As [`Db::flush`]; closed it is all the same, and the WAL has what is not in segments.
    pub fn close(&self) -> Result<(), StorageError> {
        self.engine.queue.close();
        let flushed = if self.threads.lock().is_empty() { Ok(()) } else { self.engine.flush().map(|_| ()) };
        self.end();
        flushed
    }

    /// Ends all threads and lets go of the directory.
    fn end(&self) {
        self.engine.flush_signal.stop();
        self.engine.compact_signal.stop();
        self.engine.queue.stop();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // One that panicked has said so on its own.
            let _ = thread.join();
        }
        // Who still works in the directory must have ended before another process may.
        *self.open.write() = false;
        *self.engine.lock.lock() = None;
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        self.end();
    }
}

impl Engine {
    /// The oldest time that is kept, if there is a bound.
    pub(crate) fn oldest_kept_ms(&self, now_ms: i64) -> Option<i64> {
        self.retention.read().oldest_of_all_ms(now_ms)
    }

    /// Drops what is too old or too much.
    ///
    /// # Errors
    /// I/O errors; what was there stays.
    pub(crate) fn enforce_retention(&self) -> Result<RetentionReport, StorageError> {
        self.drop_expired().inspect_err(|error| {
            self.counters.retention_failures.add(1);
            self.note_failure("retention", error);
        })
    }

    fn drop_expired(&self) -> Result<RetentionReport, StorageError> {
        self.drop_old_rollups()?;
        let now_ms = self.clock.now_ms();
        let manifest = self.manifest.lock().current().clone();
        let beside = manifest.rollups.files().map(|entry| entry.bytes).sum::<u64>() + self.wal_files.total_bytes();
        let keep = Keep {
            oldest_ms: self.oldest_kept_ms(now_ms),
            bytes_max: self.options.retention_bytes.map(|max| max.saturating_sub(beside)),
        };
        let elsewhere = |entry: &SegmentEntry| {
            entry.files.iter().any(|file| !self.disk.is_local(&file.path(&self.layout.parquet_dir())))
        };
        let mut gone = expired(&manifest, keep, elsewhere);
        self.hold_for_rollups(&manifest, keep, now_ms, &mut gone);
        let ids: Vec<u64> = gone.iter().map(|entry| entry.id).collect();
        let gone_ms = gone.iter().map(|entry| entry.times.end_ms).max();
        let floor = |manifest: &mut Manifest| manifest.rollups.raise_floor(gone_ms);
        // False if a compaction replaced one of them in between: its result is looked at next time.
        if ids.is_empty() || !self.install(&ids, &[], floor, |_| ())? {
            return Ok(RetentionReport::default());
        }
        self.remove_files(&gone);
        let freed_bytes = gone.iter().map(SegmentEntry::total_bytes).sum();
        self.counters.retention_dropped_bytes.add(freed_bytes);
        let left = self.manifest.lock().current().clone();
        let mut days: Vec<i64> = gone.iter().filter_map(|entry| entry.day).collect();
        days.sort_unstable();
        days.dedup();
        days.retain(|day| left.segments.iter().all(|entry| entry.day != Some(*day)));
        Ok(RetentionReport { dropped_days: days.into_iter().map(day_text).collect(), freed_bytes })
    }

    /// Keeps the last failure of a kind of work.
    pub(crate) fn note_failure(&self, work: &'static str, error: &StorageError) {
        self.counters.failures.note(work, error, self.clock.now_ms());
    }

    fn stats(&self) -> DbStats {
        let counters = &self.counters;
        let (generations, segments, rollups, deletes, sequence) = {
            let view = self.view.read();
            let frozen = view.frozen.as_ref().map(|frozen| frozen.generation.clone());
            let generations: Vec<_> = frozen.into_iter().chain([view.active.clone()]).collect();
            (generations, view.segments.clone(), view.rollups.clone(), view.deletes.len() as u64, view.sequence)
        };
        let entries = || segments.iter().map(|live| &live.entry);
        let raw_keys = self.head.raw_keys.size();
        let compacting = self.compaction.running();
        let is_there = |id| segments.iter().any(|live| live.entry.id == id);
        let set_aside = self.compaction.set_aside_of(self.clock.now_ms(), is_there);
        let quarantine = self.disk.list(&self.layout.quarantine_dir()).unwrap_or_default();
        DbStats {
            series: self.head.registry.series_count(),
            refused_series: self.head.registry.budgets().refused(),
            retired_series: counters.retired_series.get(),
            head_samples: generations.iter().map(|generation| generation.sample_count()).sum(),
            head_bytes: generations.iter().map(|generation| generation.bytes()).sum(),
            registry_bytes: self.head.registry.bytes() + self.head.newest.bytes(),
            symbols: self.head.registry.symbols().size().0,
            raw_keys: raw_keys.0,
            raw_keys_bytes: raw_keys.1,
            metadata_families: self.metadata.len() as u64,
            metadata_dropped: counters.metadata_dropped.get(),
            deletes,
            exemplars: self.exemplars.len() as u64,
            sequence,
            committed_batches: counters.committed_batches.get(),
            committed_samples: counters.committed_samples.get(),
            failed_batches: counters.failed_batches.get(),
            refused_batches: counters.refused_batches.get(),
            commit_groups: counters.commit_groups.get(),
            pending_bytes: self.queue.pending_bytes(),
            wal_files: self.wal_files.count(),
            wal_bytes: self.wal_files.total_bytes(),
            wal_files_started: self.wal_files.started(),
            wal_rolls: counters.wal_rolls.get(),
            wal_syncs: self.wal_files.syncs(),
            wal_failures: counters.wal_failures.get(),
            wal_damaged: counters.wal_damaged.get(),
            wal_lost_samples: counters.wal_lost_samples.get(),
            replayed_records: counters.replayed_records.get(),
            replayed_samples: counters.replayed_samples.get(),
            replay_us: counters.replay_us.get(),
            open_us: counters.open_us.get(),
            flushes: counters.flushes.get(),
            flush_failures: counters.flush_failures.get(),
            flushed_samples: counters.flushed_samples.get(),
            segments: segments.len() as u64,
            segment_bytes: entries().map(SegmentEntry::total_bytes).sum(),
            segment_samples: entries().map(|entry| entry.samples).sum(),
            parquet_days: entries().filter(|entry| entry.is_parquet()).count() as u64,
            parquet_bytes: entries().flat_map(|entry| &entry.files).map(|file| file.bytes).sum(),
            segments_written: counters.segments_written.get(),
            segment_bytes_written: counters.segment_bytes_written.get(),
            manifest_version: self.manifest.lock().current().version,
            manifest_installs: counters.manifest_installs.get(),
            compactions: counters.compactions.get(),
            compaction_failures: counters.compaction_failures.get(),
            compacted_samples: counters.compacted_samples.get(),
            compaction_bytes: compacting.as_ref().map_or(0, |job| job.bytes),
            compaction_done_bytes: compacting.as_ref().map_or(0, |job| job.done_bytes),
            compaction_set_aside: set_aside.len() as u64,
            retention_dropped_bytes: counters.retention_dropped_bytes.get(),
            retention_failures: counters.retention_failures.get(),
            rollup_runs: rollups.len() as u64,
            rollup_bytes: rollups.iter().map(|run| run.entry.segment.bytes).sum(),
            rollup_buckets: rollups.iter().map(|run| run.entry.segment.samples).sum(),
            rollup_touched_days: rollups.iter().map(|run| run.entry.touched_days()).sum(),
            rollup_days: counters.rollup_days.get(),
            rollup_merges: counters.rollup_merges.get(),
            rollup_failures: counters.rollup_failures.get(),
            rollup_dropped_bytes: counters.rollup_dropped_bytes.get(),
            quarantined: counters.quarantined.get(),
            quarantine_files: quarantine.len() as u64,
            open_snapshots: self.snapshots.count(),
            saved_snapshots: self.saved_names().map_or(0, |names| names.len() as u64),
            free_bytes: counters.free_bytes.get(),
            panics: counters.panics.get(),
            read_only: self.queue.read_only(),
        }
    }
}

/// True if labels pass the scope and all matchers.
fn passes(scope: &Scope, matchers: &[Matcher], labels: &Labels) -> bool {
    scope.forced().into_iter().chain(matchers).all(|m| m.matches(labels.get(m.name()).unwrap_or_default()))
}

#[cfg(test)]
mod budgets_tests;
#[cfg(test)]
mod deletes_tests;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod histograms_tests;
#[cfg(test)]
#[cfg(feature = "parquet")]
mod parquet_tests;
#[cfg(test)]
mod pieces_tests;
#[cfg(test)]
mod rollup_tests;
#[cfg(test)]
mod step_tests;
#[cfg(test)]
pub(crate) mod tests;
