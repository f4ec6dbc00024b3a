//! What arrived shortly before the last start: the head of a new process does not know it, because it is in segments.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Labels, Matcher, Sample, SampleColumns, Scope, TimeRange};
use parking_lot::Mutex;

use super::Latest;
use super::engine::LiveSegment;
use crate::error::StorageError;

/// How long before the start a segment may have been written to count, and how long after the start it does.
const RECENT_MS: i64 = 15 * 60_000;

/// The segments that were written shortly before the start, kept for some minutes even if they are compacted.
#[derive(Debug)]
pub(crate) struct Recent {
    opened_ms: i64,
    segments: Mutex<Vec<Arc<LiveSegment>>>,
}

impl Recent {
    /// Those among the segments of the start.
    pub(crate) fn new(segments: &[Arc<LiveSegment>], opened_ms: i64) -> Self {
        let since_ms = opened_ms.saturating_sub(RECENT_MS);
        let recent = segments.iter().filter(|live| live.entry.created_ms >= since_ms).cloned().collect();
        Recent { opened_ms, segments: Mutex::new(recent) }
    }

    /// The newest sample of each series in these segments that passes and is not older than `since_ms`. When it arrived
    /// is not known any more; its own time stands for it.
    ///
    /// # Errors
    /// Those of reading.
    pub(crate) fn latest(
        &self,
        scope: &Scope,
        matchers: &[Matcher],
        since_ms: i64,
        now_ms: i64,
    ) -> Result<BTreeMap<Labels, Latest>, StorageError> {
        let mut found = BTreeMap::new();
        let segments = {
            let mut segments = self.segments.lock();
            if since_ms > self.opened_ms || now_ms > self.opened_ms.saturating_add(RECENT_MS) {
                segments.clear();
            }
            segments.clone()
        };
        let range = TimeRange { start_ms: since_ms, end_ms: i64::MAX };
        let mut samples = SampleColumns::default();
        for live in segments.iter().filter(|live| live.entry.times.overlaps(&range)) {
            for ordinal in live.segment.select(scope, matchers)? {
                samples.clear();
                live.segment.read(ordinal, range, &mut samples)?;
                let Some(sample) = samples.floats().next_back() else { continue };
                let labels = live.segment.labels(ordinal)?;
                // Segments stand in order of sequence: of equal times the last write counts.
                let is_newest = |known: &Latest| known.sample.timestamp_ms <= sample.timestamp_ms;
                if found.get(&labels).is_none_or(is_newest) {
                    found.insert(labels.clone(), latest(labels, sample));
                }
            }
        }
        Ok(found)
    }
}

fn latest(labels: Labels, sample: Sample) -> Latest {
    Latest { labels, sample, arrived_ms: sample.timestamp_ms }
}
