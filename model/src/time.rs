//! Ranges and grids of time, in milliseconds since 1970.

/// A closed range of time: both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// First millisecond.
    pub start_ms: i64,
    /// Last millisecond.
    pub end_ms: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

    /// True if the time lies in the range.
    pub fn contains(&self, timestamp_ms: i64) -> bool {
        self.start_ms <= timestamp_ms && timestamp_ms <= self.end_ms
    }

    /// True if the ranges share a millisecond.
    pub fn overlaps(&self, other: &TimeRange) -> bool {
        self.start_ms <= other.end_ms && other.start_ms <= self.end_ms
    }

    /// True if no millisecond lies in the range.
    pub fn is_empty(&self) -> bool {
        self.start_ms > self.end_ms
    }

    /// The smallest range that covers both.
    #[must_use]
    pub fn union(&self, other: &TimeRange) -> TimeRange {
        TimeRange { start_ms: self.start_ms.min(other.start_ms), end_ms: self.end_ms.max(other.end_ms) }
    }
}

/// The evaluation times of a query: `start_ms`, `start_ms + step_ms`, … up to `end_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Steps {
    /// First time.
    pub start_ms: i64,
    /// No time lies after this one.
    pub end_ms: i64,
    /// Distance, at least 1.
    pub step_ms: i64,
}

impl Steps {
    /// One evaluation at one time.
    pub fn at(time_ms: i64) -> Self {
        Steps { start_ms: time_ms, end_ms: time_ms, step_ms: 1 }
    }

    /// Number of evaluation times.
    pub fn count(&self) -> usize {
        if self.end_ms < self.start_ms {
            return 0;
        }
        let span = self.end_ms.abs_diff(self.start_ms);
        let steps = span / self.step_ms.unsigned_abs().max(1);
        usize::try_from(steps).map_or(usize::MAX, |n| n.saturating_add(1))
    }

    /// The time of step `i`, saturating at the end of time.
    pub fn time_ms(&self, i: usize) -> i64 {
        let i = i64::try_from(i).unwrap_or(i64::MAX);
        self.start_ms.saturating_add(self.step_ms.saturating_mul(i))
    }

    /// All evaluation times.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + use<> {
        let steps = *self;
        (0..self.count()).map(move |i| steps.time_ms(i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_count_and_times() {
        let steps = Steps { start_ms: -10, end_ms: 25, step_ms: 10 };
        assert_eq!(steps.iter().collect::<Vec<_>>(), [-10, 0, 10, 20]);
        assert_eq!(Steps::at(7).iter().collect::<Vec<_>>(), [7]);
        assert_eq!(Steps { start_ms: 1, end_ms: 0, step_ms: 1 }.count(), 0);
        assert!(Steps { start_ms: i64::MIN, end_ms: i64::MAX, step_ms: 1 }.count() > 1 << 60);
    }
}
