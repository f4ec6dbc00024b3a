//! Segments that hold what deletes hide, or much of what retention rules let go: they are written anew without it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::plan::{Effort, Job};
use crate::db::CompactReport;
use crate::db::engine::{Engine, LiveSegment};
use crate::deletes::Delete;
use crate::error::StorageError;

/// In the background a segment is written anew when at least this part of its samples may go.
const PURGE_PART: u64 = 10;

impl Engine {
    /// The segments that are to be written anew because of retention rules. One that cannot be read joins those that
    /// are set aside.
    pub(super) fn purgeable(&self, effort: Effort, aside: &mut BTreeSet<u64>) -> Vec<Arc<LiveSegment>> {
        if !self.retention.read().has_rules() {
            return Vec::new();
        }
        let segments = self.view.read().segments.clone();
        let mut found = Vec::new();
        for live in segments.iter() {
            if aside.contains(&live.entry.id) {
                continue;
            }
            let gone = match self.expired_samples(live) {
                Ok(gone) => gone,
                Err(error) => {
                    aside.extend(self.set_aside(vec![live.entry.id], &error));
                    continue;
                }
            };
            let is_due = match effort {
                Effort::Due => gone.saturating_mul(PURGE_PART) >= live.entry.samples,
                Effort::Everything => true,
            };
            if gone > 0 && is_due {
                found.push(live.clone());
            }
        }
        found
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
    pub(crate) fn purge_now(&self, stop: &dyn Fn() -> bool) -> Result<CompactReport, StorageError> {
        let _one = self.compacting.lock();
        let mut report = CompactReport::default();
        let purged = self.purge_deletes(Effort::Everything, stop, &mut report);
        purged.inspect_err(|error| self.note_failure("compaction", error)).map(|()| report)
    }

    /// Gives up what deletes hide that cannot be undone any more, and forgets those deletes.
    ///
    /// # Errors
    /// I/O errors of writing; what was there stays hidden.
    pub(super) fn purge_deletes(
        &self,
        effort: Effort,
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
        let mut is_whole = true;
        for live in segments.iter() {
            if stop() {
                return Ok(());
            }
            is_whole &= self.purge_segment(live, &ended, effort, stop, report)?;
        }
        // What was set aside still has to be hidden.
        if stop() || !is_whole {
            return Ok(());
        }
        self.purge_rollups(&ended, effort, stop)?;
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

    /// Writes a segment anew if deletes hide something of it; false if it could not be read and was set aside.
    fn purge_segment(
        &self,
        live: &Arc<LiveSegment>,
        ended: &[Delete],
        effort: Effort,
        stop: &dyn Fn() -> bool,
        report: &mut CompactReport,
    ) -> Result<bool, StorageError> {
        let hides = || -> Result<bool, StorageError> {
            Ok(live.metadata(ended)?.len() < live.segment.metadata()?.len() || live.mask_of(ended)?.is_some())
        };
        match hides() {
            Ok(false) => Ok(true),
            Ok(true) => {
                let job = Job::of_one(&live.entry);
                Ok(self.run_counted(&job, std::slice::from_ref(live), effort, stop, report)?.is_empty())
            }
            Err(error) => {
                report.set_aside += self.set_aside(vec![live.entry.id], &error).len() as u64;
                Ok(false)
            }
        }
    }

    /// Samples of a segment that may go; of a series that is in part too old an estimate, at least one.
    fn expired_samples(&self, live: &LiveSegment) -> Result<u64, StorageError> {
        let now_ms = self.clock.now_ms();
        let retention = self.retention_for(std::iter::once(&live.entry), now_ms);
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
