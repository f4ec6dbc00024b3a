//! What arrived shortly before the last start: the head of a new process does not know it, because it is in segments.
//! It answers for the newest samples until they come again, and for series that are not new when they do.

use std::sync::Arc;

use model::{BudgetError, Labels, MatchOp, Matcher, SampleColumns, Scope, SourceError, TimeRange};
use parking_lot::Mutex;

use super::engine::{Engine, LiveSegment};
use super::latest::{Latest, LatestBySeries};
use crate::error::StorageError;
use crate::head::budgets::Earlier;

/// The segments that were written shortly before the start, kept for some minutes even if they are compacted.
#[derive(Debug)]
pub(crate) struct Recent {
    opened_ms: i64,
    /// How long before the start a segment may have been written to count, and how long after the start it does.
    window_ms: i64,
    segments: Mutex<Vec<Arc<LiveSegment>>>,
}

impl Recent {
    /// Those among the segments of the start.
    pub(crate) fn new(segments: &[Arc<LiveSegment>], opened_ms: i64, window_ms: i64) -> Self {
        let since_ms = opened_ms.saturating_sub(window_ms);
        let recent = segments.iter().filter(|live| live.entry.created_ms >= since_ms).cloned().collect();
        Recent { opened_ms, window_ms, segments: Mutex::new(recent) }
    }

    /// Lets go of the segments when they do not count any more: the files of those that are gone meanwhile take space as
    /// long as they are open.
    pub(crate) fn expire(&self, now_ms: i64) {
        if now_ms > self.opened_ms.saturating_add(self.window_ms) {
            self.segments.lock().clear();
        }
    }

    /// The segments, while they count.
    fn segments(&self, now_ms: i64) -> Vec<Arc<LiveSegment>> {
        self.expire(now_ms);
        self.segments.lock().clone()
    }

    /// True if the series had a sample in the window before the start.
    fn holds(&self, labels: &Labels, now_ms: i64) -> Result<bool, StorageError> {
        for live in self.segments(now_ms) {
            if let Some(ordinal) = live.segment.ordinal_of(labels)?
                && self.is_recent(&live, ordinal)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How many series with a label pair had a sample in the window before the start. A series may be in several of the
    /// segments: it is the largest number that one of them has.
    fn count(&self, matcher: &Matcher, now_ms: i64) -> Result<u64, StorageError> {
        let mut most = 0;
        for live in self.segments(now_ms) {
            let mut here = 0;
            for ordinal in live.segment.select(&Scope::default(), std::slice::from_ref(matcher))? {
                here += u64::from(self.is_recent(&live, ordinal)?);
            }
            most = most.max(here);
        }
        Ok(most)
    }

    fn is_recent(&self, live: &LiveSegment, ordinal: u32) -> Result<bool, StorageError> {
        Ok(live.segment.time_range(ordinal)?.end_ms >= self.opened_ms.saturating_sub(self.window_ms))
    }

    /// Puts in the newest sample of each series in these segments that passes and is not older than `since_ms`. When it
    /// arrived is not known any more; its own time stands for it.
    ///
    /// # Errors
    /// [`BudgetError`]. A segment that cannot be read is left out: queries find it and report it.
    pub(super) fn latest(
        &self,
        scope: &Scope,
        matchers: &[Matcher],
        since_ms: i64,
        now_ms: i64,
        out: &mut LatestBySeries<'_>,
    ) -> Result<(), BudgetError> {
        let range = TimeRange { start_ms: since_ms, end_ms: i64::MAX };
        for live in self.segments(now_ms).iter().filter(|live| live.entry.times.overlaps(&range)) {
            match latest_of(live, scope, matchers, range, out) {
                Err(SourceError::Budget(error)) => return Err(error),
                Ok(()) | Err(SourceError::Storage(_)) => {}
            }
        }
        Ok(())
    }
}

fn latest_of(
    live: &LiveSegment,
    scope: &Scope,
    matchers: &[Matcher],
    range: TimeRange,
    out: &mut LatestBySeries<'_>,
) -> Result<(), SourceError> {
    let mut samples = SampleColumns::default();
    for ordinal in live.segment.select(scope, matchers)? {
        samples.clear();
        live.segment.read(ordinal, range, &mut samples)?;
        let Some(sample) = samples.floats().next_back() else { continue };
        let newest = Latest { labels: live.segment.labels(ordinal)?, sample, arrived_ms: sample.timestamp_ms };
        // Segments stand in order of sequence: of equal times the last write counts.
        out.put(newest, |known| known.sample.timestamp_ms <= sample.timestamp_ms)?;
    }
    Ok(())
}

impl Earlier for Engine {
    fn is_open(&self) -> bool {
        !self.recent.segments(self.clock.now_ms()).is_empty()
    }

    fn holds(&self, labels: &Labels) -> bool {
        // A segment that cannot be read is found by the queries, which report it; its series are new then.
        self.recent.holds(labels, self.clock.now_ms()).unwrap_or(false)
    }

    fn count(&self, name: &str, value: &str) -> u64 {
        let matcher = Matcher::new(name, MatchOp::Equal, value);
        matcher.ok().and_then(|matcher| self.recent.count(&matcher, self.clock.now_ms()).ok()).unwrap_or(0)
    }
}
