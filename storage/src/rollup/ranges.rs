//! Sets of times as ranges.

use model::TimeRange;

/// Closed ranges of times in order, none of which touches another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<TimeRange>);

impl Ranges {
    /// One range.
    pub(crate) fn of(range: TimeRange) -> Self {
        Ranges(if range.is_empty() { Vec::new() } else { vec![range] })
    }

    /// True if there is no time in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, in order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = TimeRange> + '_ {
        self.0.iter().copied()
    }

    /// From the first to the last time.
    pub(crate) fn span(&self) -> Option<TimeRange> {
        Some(TimeRange { start_ms: self.0.first()?.start_ms, end_ms: self.0.last()?.end_ms })
    }

    /// The first of the ranges that do not end before `start_ms`.
    fn at(&self, start_ms: i64) -> usize {
        self.0.partition_point(|range| range.end_ms < start_ms)
    }

    /// True if the time is in it.
    pub(crate) fn contains(&self, ms: i64) -> bool {
        self.0.get(self.at(ms)).is_some_and(|range| range.contains(ms))
    }

    /// True if all of the range is in it.
    pub(crate) fn covers(&self, range: TimeRange) -> bool {
        let holds = |found: &TimeRange| found.start_ms <= range.start_ms && range.end_ms <= found.end_ms;
        range.is_empty() || self.0.get(self.at(range.start_ms)).is_some_and(holds)
    }

    /// True if some of the range is in it.
    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        !range.is_empty() && self.0.get(self.at(range.start_ms)).is_some_and(|found| found.start_ms <= range.end_ms)
    }

    /// Puts a range in.
    pub(crate) fn insert(&mut self, range: TimeRange) {
        if range.is_empty() {
            return;
        }
        let from = self.at(range.start_ms.saturating_sub(1));
        let to = self.0.partition_point(|found| found.start_ms <= range.end_ms.saturating_add(1)).max(from);
        let all = self.0.get(from..to).unwrap_or_default().iter().fold(range, |all, found| all.union(found));
        self.0.splice(from..to, [all]);
    }

    /// Takes a range out.
    pub(crate) fn remove(&mut self, range: TimeRange) {
        if range.is_empty() {
            return;
        }
        let old = std::mem::take(&mut self.0);
        for found in old {
            if !found.overlaps(&range) {
                self.0.push(found);
                continue;
            }
            let before = range.start_ms.checked_sub(1).map(|end_ms| TimeRange { end_ms, ..found });
            let after = range.end_ms.checked_add(1).map(|start_ms| TimeRange { start_ms, ..found });
            self.0.extend([before, after].into_iter().flatten().filter(|part| !part.is_empty()));
        }
    }

    /// What both have.
    pub(crate) fn both(&self, other: &Ranges) -> Ranges {
        let mut out = Ranges::default();
        for range in self.iter() {
            let with = other.0.iter().skip(other.at(range.start_ms)).take_while(|with| with.start_ms <= range.end_ms);
            for with in with {
                let start_ms = range.start_ms.max(with.start_ms);
                out.insert(TimeRange { start_ms, end_ms: range.end_ms.min(with.end_ms) });
            }
        }
        out
    }

    /// Those that overlap a range, as they are.
    pub(crate) fn within(&self, range: TimeRange) -> impl Iterator<Item = TimeRange> + '_ {
        let from = self.at(range.start_ms);
        self.0.iter().skip(from).copied().take_while(move |found| found.start_ms <= range.end_ms)
    }

    /// What of a range is not in it.
    pub(crate) fn rest_of(&self, range: TimeRange) -> Ranges {
        let mut rest = Ranges::of(range);
        for found in self.0.iter().skip(self.at(range.start_ms)).take_while(|found| found.start_ms <= range.end_ms) {
            rest.remove(*found);
        }
        rest
    }
}

impl FromIterator<TimeRange> for Ranges {
    fn from_iter<I: IntoIterator<Item = TimeRange>>(ranges: I) -> Self {
        let mut out = Ranges::default();
        ranges.into_iter().for_each(|range| out.insert(range));
        out
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn range((start_ms, len): (i64, i64)) -> TimeRange {
        TimeRange { start_ms, end_ms: start_ms + len }
    }

    fn times(range: TimeRange) -> BTreeSet<i64> {
        (range.start_ms..=range.end_ms).collect()
    }

    #[test]
    fn the_ends_of_time_are_no_exception() {
        let mut all = Ranges::of(TimeRange::ALL);
        all.insert(TimeRange::ALL);
        assert!(all.covers(TimeRange::ALL));
        all.remove(TimeRange { start_ms: i64::MIN, end_ms: 0 });
        assert_eq!(all, Ranges::of(TimeRange { start_ms: 1, end_ms: i64::MAX }));
        all.remove(TimeRange::ALL);
        assert!(all.is_empty());
    }

    proptest! {
        #[test]
        fn they_are_sets_of_times(
            acts in prop::collection::vec((any::<bool>(), (0_i64..40, -1_i64..10)), 0..20),
            other in prop::collection::vec((0_i64..40, -1_i64..10), 0..5), asked in (0_i64..40, -1_i64..10),
        ) {
            let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
            for (puts, part) in acts {
                if puts {
                    ranges.insert(range(part));
                    model.extend(times(range(part)));
                } else {
                    ranges.remove(range(part));
                    model.retain(|ms| !range(part).contains(*ms));
                }
            }
            let listed: Vec<TimeRange> = ranges.iter().collect();
            prop_assert!(listed.windows(2).all(|w| w[0].end_ms + 1 < w[1].start_ms));
            prop_assert!(listed.iter().all(|range| !range.is_empty()));
            prop_assert_eq!(listed.iter().flat_map(|r| times(*r)).collect::<BTreeSet<_>>(), model.clone());
            let asked_times = times(range(asked));
            prop_assert_eq!(ranges.covers(range(asked)), asked_times.is_subset(&model));
            prop_assert_eq!(ranges.overlaps(range(asked)), !asked_times.is_disjoint(&model));
            prop_assert_eq!(ranges.contains(asked.0), model.contains(&asked.0));
            let rest: BTreeSet<i64> = ranges.rest_of(range(asked)).iter().flat_map(times).collect();
            prop_assert_eq!(rest, asked_times.difference(&model).copied().collect::<BTreeSet<_>>());
            let other: Ranges = other.into_iter().map(range).collect();
            let both: BTreeSet<i64> = ranges.both(&other).iter().flat_map(times).collect();
            let theirs: BTreeSet<i64> = other.iter().flat_map(times).collect();
            prop_assert_eq!(both, model.intersection(&theirs).copied().collect::<BTreeSet<_>>());
        }
    }
}
