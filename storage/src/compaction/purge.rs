//! Segments that hold much of what retention rules let go: they are written anew without it.

use std::sync::Arc;

use super::plan::{Effort, Job};
use crate::db::engine::{Engine, LiveSegment};
use crate::error::StorageError;

/// In the background a segment is written anew when at least this part of its samples may go.
const PURGE_PART: u64 = 10;

impl Engine {
    /// The segments that are to be written anew because of retention rules.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn purgeable(&self, effort: Effort) -> Result<Vec<(Job, Arc<LiveSegment>)>, StorageError> {
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
                let job = Job::Merge { inputs: vec![live.entry.id], day: live.entry.day };
                found.push((job, live.clone()));
            }
        }
        Ok(found)
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
