//! Segments that hold what deletes hide, or much of what retention rules let go: they are written anew without it.

use std::sync::Arc;

use super::plan::{Effort, Job};
use crate::db::CompactReport;
use crate::db::engine::{Engine, LiveSegment};
use crate::deletes::Delete;
use crate::error::StorageError;

/// In the background a segment is written anew when at least this part of its samples may go.
const PURGE_PART: u64 = 10;

impl Engine {
    /// The segments that are to be written anew because of retention rules.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn purgeable(&self, effort: Effort) -> Result<Vec<Arc<LiveSegment>>, StorageError> {
        if !self.retention.read().has_rules() {
            return Ok(Vec::new());
        }
        let segments = self.view.read().segments.clone();
        let mut found = Vec::new();
        for live in segments.iter() {
            let gone = self.expired_samples(live)?;
            let is_due = match effort {
                Effort::Due => gone.saturating_mul(PURGE_PART) >= live.entry.samples,
                Effort::Everything => true,
            };
            if gone > 0 && is_due {
                found.push(live.clone());
            }
        }
        Ok(found)
    }

    /// The deletes that a merge applies, of which the newest batch has the sequence: those that cannot be undone any
    /// more, and those that would not cover what is written.
    pub(super) fn deletes_to_apply(&self, sequence_max: u64, now_ms: i64) -> Vec<Delete> {
        let deletes = self.view.read().deletes.clone();
        let applies = |delete: &&Delete| delete.is_final(now_ms) || !delete.covers(sequence_max);
        deletes.iter().filter(applies).cloned().collect()
    }

    /// As [`Engine::purge_deletes`], on its own.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn purge_now(&self) -> Result<CompactReport, StorageError> {
        let _one = self.compacting.lock();
        let mut report = CompactReport::default();
        self.purge_deletes(&|| false, &mut report)?;
        Ok(report)
    }

    /// Gives up what deletes hide that cannot be undone any more, and forgets those deletes.
    ///
    /// # Errors
    /// I/O errors and corrupt segments; what was there stays hidden.
    pub(super) fn purge_deletes(
        &self,
        stop: &dyn Fn() -> bool,
        report: &mut CompactReport,
    ) -> Result<(), StorageError> {
        let now_ms = self.clock.now_ms();
        let (segments, deletes) = {
            let view = self.view.read();
            (view.segments.clone(), view.deletes.clone())
        };
        let ended: Vec<Delete> = deletes.iter().filter(|delete| delete.is_final(now_ms)).cloned().collect();
        if ended.is_empty() {
            return Ok(());
        }
        for live in segments.iter() {
            if stop() {
                return Ok(());
            }
            let hides_metadata = live.metadata(&ended)?.len() < live.segment.metadata()?.len();
            if hides_metadata || live.mask_of(&ended)?.is_some() {
                self.run_counted(&Job::of_one(&live.entry), std::slice::from_ref(live), stop, report)?;
            }
        }
        if stop() {
            return Ok(());
        }
        if ended.iter().any(|delete| !delete.families.is_empty()) {
            self.restart_wal()?;
        }
        let _one = self.deleting.lock();
        let is_gone = |delete: &Delete| ended.iter().any(|ended| ended.id == delete.id);
        self.install(&[], &[], |manifest| manifest.deletes.retain(|delete| !is_gone(delete)), |_| ())?;
        Ok(())
    }

    /// Samples of a segment that may go; of a series that is in part too old an estimate, at least one.
    fn expired_samples(&self, live: &LiveSegment) -> Result<u64, StorageError> {
        let (retention, now_ms) = (self.retention.read().clone(), self.clock.now_ms());
        // The newest that any rule lets go: most segments end here.
        if live.entry.times.start_ms >= retention.newest_of_all_ms(now_ms) {
            return Ok(0);
        }
        let mut gone = 0;
        for ordinal in 0..live.segment.len() {
            let oldest_ms = retention.oldest_ms(&live.segment.labels(ordinal)?, now_ms);
            let times = live.segment.time_range(ordinal)?;
            let count = u64::from(live.segment.sample_count(ordinal)?);
            if times.end_ms < oldest_ms {
                gone += count;
            } else if times.start_ms < oldest_ms {
                let (old, all) = (times.start_ms.abs_diff(oldest_ms), times.start_ms.abs_diff(times.end_ms));
                let part = u128::from(count) * u128::from(old) / u128::from(all.max(1));
                gone += u64::try_from(part).unwrap_or(count).max(1);
            }
        }
        Ok(gone)
    }
}
