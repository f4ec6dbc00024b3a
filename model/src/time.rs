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

/// Days of 400 years, after which the calendar repeats.
const ERA_DAYS: i64 = 146_097;

/// Year, month and day of a UTC day since 1970, proleptic Gregorian (H. Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`).
///
/// Eras of 400 years begin in March, so that the leap day comes last.
pub fn civil_from_days(day: i64) -> (i64, i64, i64) {
    // 1970-01-01 lies 4 eras and 135,080 days behind the first of March of the year 0.
    let from_march = day.rem_euclid(ERA_DAYS) + 135_080;
    let era = day.div_euclid(ERA_DAYS) + 4 + from_march / ERA_DAYS;
    let of_era = from_march % ERA_DAYS;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_month)
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

    #[test]
    fn days_are_dates() {
        for (day, date) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (11_016, (2000, 2, 29)),
            (19_782, (2024, 2, 29)),
            (-719_468, (0, 3, 1)),
            (-719_469, (0, 2, 29)),
            (-719_529, (-1, 12, 31)),
            (2_932_896, (9999, 12, 31)),
        ] {
            assert_eq!(civil_from_days(day), date);
        }
        let (first, last) = (civil_from_days(i64::MIN).0, civil_from_days(i64::MAX).0);
        assert!(first < -25_000_000_000_000_000 && last > 25_000_000_000_000_000, "{first} {last}");
    }
}
