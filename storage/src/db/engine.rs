//! What all threads of a database share, and the view that readers take.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use model::{Metadata, TimeRange};
use parking_lot::{Condvar, Mutex, RwLock};

use super::commit::{BatchContent, CommitQueue, Frozen, RETRY_AFTER};
use super::exemplars::ExemplarRing;
use super::metadata::MetadataMap;
use super::prepared::Prepared;
use super::recent::Recent;
use crate::batch::Committed;
use crate::compaction::progress::Progress;
use crate::deletes::{Delete, Mask, leave_families};
use crate::error::{CommitError, StorageError};
use crate::head::Head;
use crate::head::generation::Generation;
use crate::io::{Disk, DiskLock};
use crate::manifest::{Manifest, ManifestStore, SegmentEntry};
use crate::names::Layout;
use crate::options::{Clock, DbOptions};
use crate::parquet::write_list;
use crate::retention::RetentionRules;
use crate::rollup::entry::RollupEntry;
use crate::segment::Segment;
use crate::snapshot::OpenSnapshots;
use crate::stats::Counters;
use crate::wal::log::WalFiles;

/// Times `head.max_samples` at which batches are refused: the flush cannot keep up.
const HEAD_SLACK: u64 = 2;

/// What all threads of a database share.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) options: DbOptions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) layout: Layout,
    pub(crate) head: Head,
    pub(crate) queue: CommitQueue,
    pub(crate) view: RwLock<View>,
    pub(crate) snapshots: OpenSnapshots,
    pub(crate) metadata: MetadataMap,
    pub(crate) exemplars: ExemplarRing,
    pub(crate) counters: Counters,
    pub(crate) wal_files: Arc<WalFiles>,
    pub(crate) manifest: Mutex<ManifestStore>,
    /// Ids of segments are given out here; above all that are on the disk.
    pub(crate) next_segment: AtomicU64,
    /// Held by the one flush that runs; what a flush wrote whose install failed.
    pub(crate) flushing: Mutex<Option<Prepared>>,
    pub(crate) compaction: Progress,
    /// Held by the one compaction that runs.
    pub(crate) compacting: Mutex<()>,
    /// Held by the one change of the deletes that goes on.
    pub(crate) deleting: Mutex<()>,
    /// Days of roll-ups that have samples in segments of several days, by the numbers of these.
    pub(crate) mixed_days: Mutex<BTreeMap<u64, BTreeSet<i64>>>,
    /// Segments in which a reader found something corrupt.
    pub(crate) suspects: Mutex<Vec<u64>>,
    pub(crate) flush_signal: Signal,
    pub(crate) compact_signal: Signal,
    pub(crate) flush_requested: AtomicBool,
    /// The list of Parquet files is not what the manifest says. Changes under the manifest's lock.
    pub(crate) parquet_list_due: AtomicBool,
    pub(crate) retention: RwLock<Arc<RetentionRules>>,
    pub(crate) recent: Recent,
    pub(crate) lock: Mutex<Option<Box<dyn DiskLock>>>,
    /// Held while a snapshot is saved or removed.
    pub(crate) saving: Mutex<()>,
}

/// A segment that counts.
#[derive(Debug)]
pub(crate) struct LiveSegment {
    pub(crate) entry: SegmentEntry,
    pub(crate) segment: Segment,
    /// Deletes with lower numbers hide nothing of it, whatever their sequence: it was made without what they hide.
    deletes_from: u64,
    /// What these deletes, by their numbers, hide of it.
    mask: Mutex<(Vec<u64>, Option<Arc<Mask>>)>,
}

/// A run of roll-ups that counts.
#[derive(Debug, Clone)]
pub(crate) struct Rollup {
    pub(crate) entry: RollupEntry,
    /// None if no series has a bucket in it.
    pub(crate) live: Option<Arc<LiveSegment>>,
}

impl LiveSegment {
    /// A segment whose file is open.
    pub(crate) fn new(entry: SegmentEntry, segment: Segment) -> Self {
        LiveSegment { entry, segment, deletes_from: 0, mask: Mutex::default() }
    }

    /// A run of roll-ups whose file is open.
    pub(crate) fn of_run(run: &RollupEntry, segment: Segment) -> Self {
        LiveSegment { deletes_from: run.deletes_from, ..LiveSegment::new(run.segment.clone(), segment) }
    }

    /// Says which deletes were heeded when a run of roll-ups was made.
    pub(crate) fn set_deletes_from(&mut self, deletes_from: u64) {
        self.deletes_from = deletes_from;
    }

    /// What the deletes that cover the segment hide of it; none if that is nothing.
    ///
    /// # Errors
    /// Those of reading its index.
    pub(crate) fn mask(&self, deletes: &[Delete]) -> Result<Option<Arc<Mask>>, StorageError> {
        let ids: Vec<u64> = self.covering(deletes).map(|delete| delete.id).collect();
        if ids.is_empty() {
            return Ok(None);
        }
        let mut known = self.mask.lock();
        if known.0 != ids {
            *known = (ids, self.mask_of(deletes)?);
        }
        Ok(known.1.clone())
    }

    /// As [`LiveSegment::mask`], for a choice of the deletes: it is not kept.
    ///
    /// # Errors
    /// Those of reading its index.
    pub(crate) fn mask_of(&self, deletes: &[Delete]) -> Result<Option<Arc<Mask>>, StorageError> {
        Mask::of(&self.segment, self.stands_for(), self.covering(deletes))
    }

    /// The times of the samples that it has or, of a run of roll-ups, was made of: its entry knows the last of each bucket.
    fn stands_for(&self) -> TimeRange {
        let before_last_ms = self.segment.resolution_ms().map_or(0, |resolution_ms| resolution_ms - 1);
        let start_ms = self.entry.times.start_ms.saturating_sub(before_last_ms);
        TimeRange { start_ms, ..self.entry.times }
    }

    fn covering<'d>(&self, deletes: &'d [Delete]) -> impl Iterator<Item = &'d Delete> {
        deletes.iter().filter(|delete| delete.id >= self.deletes_from && delete.covers(self.entry.sequence_max))
    }

    /// What it knows about metric families but what the deletes that cover it took along.
    ///
    /// # Errors
    /// Those of reading it.
    pub(crate) fn metadata(&self, deletes: &[Delete]) -> Result<Vec<(String, Metadata)>, StorageError> {
        let mut known = self.segment.metadata()?;
        leave_families(deletes, self.entry.sequence_max, &mut known);
        Ok(known)
    }
}

/// What a reader sees. It changes as a whole: under the write lock a group of batches is applied, the head is frozen,
/// or a frozen head is swapped for its segments.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) active: Arc<Generation>,
    pub(crate) frozen: Option<Frozen>,
    /// In order of sequence.
    pub(crate) segments: Arc<Vec<Arc<LiveSegment>>>,
    /// As in the manifest.
    pub(crate) rollups: Arc<Vec<Rollup>>,
    /// Up to this time samples were dropped, for their age or size.
    pub(crate) rollup_floor_ms: i64,
    /// What they hide is not seen.
    pub(crate) deletes: Arc<Vec<Delete>>,
    /// Sequence of the last batch that is visible.
    pub(crate) sequence: u64,
}

impl View {
    /// Takes over the roll-ups of a manifest, whose files are open already or among these.
    fn set_rollups(&mut self, manifest: &Manifest, added: &[Arc<LiveSegment>]) {
        let runs = &manifest.rollups.runs;
        self.rollup_floor_ms = manifest.rollups.floor_ms;
        if self.rollups.iter().map(|run| &run.entry).eq(runs) {
            return;
        }
        let open = self.rollups.iter().filter_map(|run| run.live.as_ref()).chain(added);
        let open: BTreeMap<u64, &Arc<LiveSegment>> = open.map(|live| (live.entry.id, live)).collect();
        let of = |entry: &RollupEntry| Rollup {
            entry: entry.clone(),
            live: open.get(&entry.segment.id).map(|live| Arc::clone(live)),
        };
        self.rollups = Arc::new(runs.iter().map(of).collect());
    }
}

impl Engine {
    /// Makes a batch durable and visible.
    pub(crate) fn commit(&self, content: BatchContent) -> Result<Committed, CommitError> {
        let committed = self.check_bounds().and_then(|()| {
            let arrived_ms = self.clock.now_ms();
            self.queue.commit(content, arrived_ms, &self.head.registry)
        });
        if committed.as_ref().is_err_and(|error| !matches!(error, CommitError::Storage(_))) {
            self.counters.refused_batches.add(1);
        }
        committed
    }

    /// The bounds of what a replay would have to read and of what the head holds.
    fn check_bounds(&self) -> Result<(), CommitError> {
        let overloaded = |limit_name, limit| {
            self.flush_signal.raise();
            Err(CommitError::Overloaded { limit_name, limit, retry_after: RETRY_AFTER })
        };
        if self.wal_files.total_bytes() >= self.options.wal_bytes_max {
            return overloaded("wal.max_bytes", self.options.wal_bytes_max);
        }
        if self.head_samples() >= self.options.head_samples_max.saturating_mul(HEAD_SLACK) {
            return overloaded("head.max_samples", self.options.head_samples_max);
        }
        Ok(())
    }

    /// Samples in the head, frozen ones included.
    pub(crate) fn head_samples(&self) -> u64 {
        let view = self.view.read();
        let frozen = view.frozen.as_ref().map_or(0, |frozen| frozen.generation.sample_count());
        view.active.sample_count() + frozen
    }

    /// The id of a new segment.
    pub(crate) fn new_segment(&self) -> u64 {
        self.next_segment.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes a change of the live set durable and then visible; false, without any change, if a segment to be removed
    /// does not count any more.
    ///
    /// # Errors
    /// I/O errors; see [`ManifestStore::install`].
    pub(crate) fn install(
        &self,
        removed: &[u64],
        added: &[Arc<LiveSegment>],
        edit: impl FnOnce(&mut Manifest),
        also: impl FnOnce(&mut View),
    ) -> Result<bool, StorageError> {
        self.install_all(removed, added, &[], edit, also)
    }

    /// As [`Engine::install`], for a change of the roll-ups only: `edit` puts the new ones in, whose files these are.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn install_rollups(
        &self,
        added: &[Arc<LiveSegment>],
        edit: impl FnOnce(&mut Manifest),
    ) -> Result<(), StorageError> {
        self.install_all(&[], &[], added, edit, |_| ()).map(|_| ())
    }

    fn install_all(
        &self,
        removed: &[u64],
        added: &[Arc<LiveSegment>],
        added_rollups: &[Arc<LiveSegment>],
        edit: impl FnOnce(&mut Manifest),
        also: impl FnOnce(&mut View),
    ) -> Result<bool, StorageError> {
        let mut store = self.manifest.lock();
        if removed.iter().any(|id| store.current().segment(*id).is_none()) {
            return Ok(false);
        }
        let before = store.current().clone();
        let mut next = before.with(removed, added.iter().map(|live| live.entry.clone()).collect());
        next.next_segment = self.next_segment.load(Ordering::Relaxed);
        edit(&mut next);
        store.install(next, |manifest| {
            let mut view = self.view.write();
            let kept = view.segments.iter().filter(|live| !removed.contains(&live.entry.id));
            let mut segments: Vec<Arc<LiveSegment>> = kept.chain(added).cloned().collect();
            segments.sort_by_key(|live| (live.entry.sequence_min, live.entry.id));
            view.segments = Arc::new(segments);
            view.set_rollups(manifest, added_rollups);
            if *view.deletes != manifest.deletes {
                view.deletes = Arc::new(manifest.deletes.clone());
            }
            also(&mut view);
        })?;
        self.counters.manifest_installs.add(1);
        let is_parquet = |id: &u64| before.segment(*id).is_some_and(SegmentEntry::is_parquet);
        if removed.iter().any(is_parquet) || added.iter().any(|live| live.entry.is_parquet()) {
            self.parquet_list_due.store(true, Ordering::Release);
            self.write_parquet_list(store.current());
        }
        Ok(true)
    }

    /// Writes the list of Parquet files if it is due. It is only for other readers; what fails is tried again.
    pub(crate) fn write_parquet_list(&self, manifest: &Manifest) {
        if self.parquet_list_due.load(Ordering::Acquire) && write_list(&*self.disk, &self.layout, manifest).is_ok() {
            self.parquet_list_due.store(false, Ordering::Release);
        }
    }

    /// Removes the files of segments that do not count and that nobody will install. Who still reads them goes on. What
    /// must stay for now, or cannot be removed, goes with the next install.
    pub(crate) fn remove_files<'e>(&self, gone: impl IntoIterator<Item = &'e SegmentEntry>) {
        let mut gone = self.manifest.lock().give_up(gone.into_iter().cloned());
        gone.retain(|entry| !entry.remove_files(&*self.disk, &self.layout));
        if !gone.is_empty() {
            self.manifest.lock().remove_later(gone);
        }
    }

    /// Notes that a segment gave an error; it is looked at in the background.
    pub(crate) fn suspect(&self, id: u64, error: &StorageError) {
        if matches!(error, StorageError::Corrupt { .. }) {
            self.suspects.lock().push(id);
            self.flush_signal.raise();
        }
    }
}

/// Wakes a thread.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    state: Mutex<SignalState>,
    raised: Condvar,
}

#[derive(Debug, Default)]
struct SignalState {
    raised: bool,
    stop: bool,
}

impl Signal {
    /// Wakes the thread, now or when it waits next.
    pub(crate) fn raise(&self) {
        self.state.lock().raised = true;
        self.raised.notify_one();
    }

    /// Tells the thread to end.
    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.raised.notify_one();
    }

    /// Waits until raised, at most this long; false if the thread must end.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.raised && !state.stop {
            self.raised.wait_for(&mut state, timeout);
        }
        state.raised = false;
        !state.stop
    }

    /// True if the thread must end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state.lock().stop
    }
}
