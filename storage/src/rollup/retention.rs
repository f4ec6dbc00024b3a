//! Roll-ups that are too old, and samples that must stay until they are rolled up.

use std::sync::Arc;

use super::plan::is_pending;
use crate::db::engine::Engine;
use crate::db::prepared::DAY_MS;
use crate::error::StorageError;
use crate::manifest::{Manifest, SegmentEntry};
use crate::retention::{Keep, RetentionRules};

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
            let is_old = keep.oldest_ms.is_some_and(|oldest| entry.times.end_ms < oldest);
            !(is_old && self.waits_for_rollups(manifest, entry, keep.oldest_ms, now_ms))
        });
        if gone.len() < held {
            self.compact_signal.raise();
        }
    }
    /// What segments that are written anew may lose: nothing, as long as one of them is to be rolled up before.
    pub(crate) fn retention_for<'e>(
        &self,
        mut segments: impl Iterator<Item = &'e SegmentEntry>,
        now_ms: i64,
    ) -> Arc<RetentionRules> {
        let retention = self.retention.read().clone();
        if self.options.rollups.rules().is_empty() {
            return retention;
        }
        let manifest = self.manifest.lock().current().clone();
        let newest_ms = Some(retention.newest_of_all_ms(now_ms));
        let waits = |entry| self.waits_for_rollups(&manifest, entry, newest_ms, now_ms);
        if segments.any(waits) { Arc::default() } else { retention }
    }

    /// True if a segment is to be rolled up before any of its samples, which may go before `oldest_ms`, does go.
    fn waits_for_rollups(
        &self,
        manifest: &Manifest,
        entry: &SegmentEntry,
        oldest_ms: Option<i64>,
        now_ms: i64,
    ) -> bool {
        let rules = &self.options.rollups;
        let is_young = oldest_ms.is_some_and(|oldest| oldest.saturating_sub(entry.times.end_ms) <= HOLD_MS);
        // One of several days is split soon, and then each of them is looked at.
        let is_mixed = entry.day.is_none() && !rules.rules().is_empty();
        is_young && (is_mixed || is_pending(manifest, rules, entry, now_ms))
    }
}
