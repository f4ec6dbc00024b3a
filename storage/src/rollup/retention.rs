//! Roll-ups that are too old, and samples that must stay until they are rolled up.

use super::plan::is_pending;
use crate::db::engine::Engine;
use crate::db::prepared::DAY_MS;
use crate::error::StorageError;
use crate::manifest::{Manifest, SegmentEntry};
use crate::retention::Keep;

/// Samples that are too old wait at most this long for their roll-ups: what cannot be built must not fill the disk.
const HOLD_MS: i64 = 2 * DAY_MS;

impl Engine {
    /// Drops the runs of which all is too old.
    pub(crate) fn drop_old_rollups(&self) -> Result<(), StorageError> {
        let now_ms = self.clock.now_ms();
        let rules = &self.options.rollups;
        let is_old = |run: &super::entry::RollupEntry| {
            run.ranges.span().is_none_or(|span| span.end_ms < rules.oldest_ms(run.resolution_ms, now_ms))
        };
        let gone: Vec<SegmentEntry> = {
            let store = self.manifest.lock();
            store.current().rollups.runs.iter().filter(|run| is_old(run)).map(|run| run.segment.clone()).collect()
        };
        if gone.is_empty() {
            return Ok(());
        }
        let mut dropped = Vec::new();
        self.install_rollups(&[], |manifest| {
            dropped.extend(manifest.rollups.runs.extract_if(.., |run| is_old(run)));
        })?;
        self.remove_files(dropped.iter().filter(|run| run.has_file()).map(|run| &run.segment));
        self.counters.rollup_dropped_bytes.add(dropped.iter().map(|run| run.segment.bytes).sum());
        Ok(())
    }

    /// Takes out of what goes for its age the segments that are to be rolled up before, and has that done.
    pub(crate) fn hold_for_rollups(&self, manifest: &Manifest, keep: Keep, now_ms: i64, gone: &mut Vec<SegmentEntry>) {
        let held = gone.len();
        gone.retain(|entry| {
            let age_ms = keep.oldest_ms.map_or(-1, |oldest| oldest.saturating_sub(entry.times.end_ms));
            let may_wait = (0..=HOLD_MS).contains(&age_ms);
            !(may_wait && is_pending(manifest, &self.options.rollups, entry, now_ms))
        });
        if gone.len() < held {
            self.compact_signal.raise();
        }
    }
}
