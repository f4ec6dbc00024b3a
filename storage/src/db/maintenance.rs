//! What goes on in the background: flushes, retention, the watch over free space and suspects, compaction.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::open::files::keep_in_quarantine;
use crate::compaction::plan::Effort;
use crate::error::StorageError;
use crate::manifest::SegmentEntry;
use crate::rollup::entry::RollupEntry;

/// How often the watch looks round.
const LOOK_ROUND: Duration = Duration::from_secs(1);
/// Pause after a failed flush or compaction.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// How often the compactor looks round without being called: days close with time.
const COMPACT_EVERY: Duration = Duration::from_secs(300);
/// How often retention is applied without being asked.
const RETENTION_EVERY: Duration = Duration::from_secs(600);
/// Above the floor of free space by this part, the store takes writes again: it must not swing to and fro.
const SPACE_SLACK: u64 = 16;

/// The thread that flushes and watches.
pub(crate) fn run_flusher(engine: &Arc<Engine>) {
    if engine.view.read().frozen.is_some() {
        // A panic ended the flush that it was frozen for.
        engine.request_flush();
    }
    let mut paused_until = Instant::now();
    let mut retention_due = Instant::now() + RETENTION_EVERY;
    while engine.flush_signal.wait(LOOK_ROUND) {
        engine.look_round();
        let now = Instant::now();
        // By its size too, without being asked: after a start the WAL may stand at its bound, and then no commit that
        // would ask gets through.
        let due =
            now >= paused_until && (engine.is_flush_requested() || engine.is_head_old() || engine.is_head_large());
        if due && engine.flush().is_err() {
            engine.request_flush();
            paused_until = now + AFTER_FAILURE;
        }
        if now >= retention_due {
            retention_due = now + RETENTION_EVERY;
            // What fails is noted, and tried again next time.
            let _ = engine.enforce_retention();
        }
    }
}

/// The thread that compacts.
pub(crate) fn run_compactor(engine: &Arc<Engine>) {
    let stop = || engine.compact_signal.is_stopped();
    let mut pause = COMPACT_EVERY;
    while engine.compact_signal.wait(pause) {
        pause = match engine.compact(Effort::Due, &stop) {
            Ok(_) => COMPACT_EVERY,
            Err(_) => AFTER_FAILURE,
        };
    }
}

impl Engine {
    fn is_flush_requested(&self) -> bool {
        self.flush_requested.swap(false, Ordering::AcqRel)
    }

    /// Looks at what may have changed outside or with time: free space, files of before the start that are kept open, the
    /// WAL if it could not be written, suspects.
    pub(crate) fn look_round(&self) {
        self.watch_space();
        self.recent.expire(self.clock.now_ms());
        if self.queue.is_wal_down() {
            self.queue.request_reopen();
        }
        self.look_at_suspects();
        self.write_parquet_list(self.manifest.lock().current());
    }

    /// Below the floor of free space: read-only; above it again: writable.
    pub(crate) fn watch_space(&self) {
        let Ok(space) = self.disk.space(self.layout.root()) else { return };
        self.counters.free_bytes.set(space.free_bytes);
        let floor = self.options.free_bytes_min;
        if space.free_bytes < floor {
            let reason =
                format!("{} bytes are free, storage.min_free_bytes is {floor}; it goes on by itself", space.free_bytes);
            self.queue.set_read_only(Some(reason));
        } else if space.free_bytes >= floor.saturating_add(floor / SPACE_SLACK) {
            self.queue.set_read_only(None);
        }
    }

    /// Takes segments out in which a reader found something corrupt, if that is so.
    fn look_at_suspects(&self) {
        let mut suspects = std::mem::take(&mut *self.suspects.lock());
        suspects.sort_unstable();
        suspects.dedup();
        for id in suspects {
            let live = {
                let view = self.view.read();
                let rollups = view.rollups.iter().filter_map(|run| run.live.as_ref());
                view.segments.iter().chain(rollups).find(|live| live.entry.id == id).cloned()
            };
            let corrupt = |live: &Arc<super::engine::LiveSegment>| {
                live.segment.verify().iter().any(|error| matches!(error, StorageError::Corrupt { .. }))
            };
            // If it cannot be moved now, the next read of it brings it back here.
            if let Some(live) = live.filter(corrupt) {
                let _ = self.quarantine(&live.entry);
            }
        }
    }

    fn quarantine(&self, entry: &SegmentEntry) -> Result<(), StorageError> {
        keep_in_quarantine(&*self.disk, &self.layout, entry)?;
        let is_rollup = self.view.read().rollups.iter().any(|run| run.entry.segment.id == entry.id);
        let is_gone = if is_rollup {
            let of_others = |run: &RollupEntry| run.segment.id != entry.id;
            self.install_rollups(&[], |manifest| manifest.rollups.runs.retain(of_others)).map(|()| true)?
        } else {
            self.install(&[entry.id], &[], |_| (), |_| ())?
        };
        if is_gone {
            self.remove_files([entry]);
            self.counters.quarantined.add(1);
            let path = self.layout.segment(entry.id);
            self.counters.findings.add(format!("{} is corrupt and was put aside", path.display()));
        }
        Ok(())
    }
}
