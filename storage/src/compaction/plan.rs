//! What to compact next: a pure function of the live set and the clock.

use std::collections::{BTreeMap, BTreeSet};

use model::TimeRange;

use crate::db::prepared::Partition;
use crate::manifest::{Manifest, SegmentEntry};

/// Segments of like size that wait until they are merged: the price of one more read is a segment more to look at.
const TIER_WIDTH: usize = 4;
/// How long after its end a day counts as closed, and is merged into one segment.
const CLOSED_AFTER_MS: i64 = 3_600_000;
/// A closed day is merged again when what came late is at least this part of the whole.
const LATE_PART: u64 = 10;
/// What comes late to a day of Parquet waits this long: each time the whole day is written anew.
const LATE_EVERY_MS: i64 = 86_400_000;
/// A run of several days is split into days when it is at least this large.
const SPLIT_BYTES: u64 = 16 << 20;

/// How much is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// What pays for itself, in the background.
    Due,
    /// All that can be merged.
    Everything,
}

/// What is aimed at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aim {
    pub(crate) now_ms: i64,
    pub(crate) effort: Effort,
    /// How long after its end a day becomes Parquet.
    pub(crate) parquet_after_ms: Option<i64>,
}

/// A piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Job {
    /// Merge these, in order of sequence, into one segment of the same day, or one of several days.
    Merge {
        /// Ids, oldest first.
        inputs: Vec<u64>,
        /// None for several days.
        day: Option<i64>,
    },
    /// Write these, in order of sequence, as a day of Parquet.
    Convert {
        /// Ids, oldest first.
        inputs: Vec<u64>,
        day: i64,
    },
    /// Split a run of several days into its days.
    Split {
        /// Its id.
        input: u64,
    },
}

impl Job {
    /// Writes one segment anew.
    pub(crate) fn of_one(entry: &SegmentEntry) -> Job {
        match entry.day.filter(|_| entry.is_parquet()) {
            Some(day) => Job::Convert { inputs: vec![entry.id], day },
            None => Job::Merge { inputs: vec![entry.id], day: entry.day },
        }
    }

    /// The segments that go.
    pub(crate) fn inputs(&self) -> &[u64] {
        match self {
            Job::Merge { inputs, .. } | Job::Convert { inputs, .. } => inputs,
            Job::Split { input } => std::slice::from_ref(input),
        }
    }
}

/// The next piece of work, if there is any. Segments `set_aside` are left as they are, and nothing jumps over them.
pub(crate) fn plan(manifest: &Manifest, set_aside: &BTreeSet<u64>, aim: Aim) -> Option<Job> {
    let Aim { now_ms, effort, .. } = aim;
    let mut partitions: BTreeMap<Option<i64>, Vec<&SegmentEntry>> = BTreeMap::new();
    for entry in manifest.segments.iter().filter(|entry| !set_aside.contains(&entry.id)) {
        partitions.entry(entry.day).or_default().push(entry);
    }
    // Newest days first: they are asked for most.
    for (day, mut entries) in partitions.into_iter().rev() {
        entries.sort_by_key(|entry| entry.sequence_min);
        if let Some(job) = convert(manifest, &entries, aim) {
            return Some(job);
        }
        entries.retain(|entry| !entry.is_parquet());
        for group in mergeable(manifest, &entries, now_ms) {
            if let Some(window) = choose(group, day, now_ms, effort) {
                return Some(Job::Merge { inputs: window.iter().map(|entry| entry.id).collect(), day });
            }
        }
    }
    let large =
        |entry: &&SegmentEntry| entry.day.is_none() && entry.bytes >= SPLIT_BYTES && !set_aside.contains(&entry.id);
    manifest.segments.iter().find(large).map(|entry| Job::Split { input: entry.id })
}

/// All of a day as Parquet, if it is old enough: the first time, and again with what came late.
fn convert(manifest: &Manifest, entries: &[&SegmentEntry], aim: Aim) -> Option<Job> {
    let (day, after_ms) = (entries.first()?.day?, aim.parquet_after_ms?);
    let ripe_ms = Partition::of_day(day).times.end_ms.saturating_add(after_ms);
    let newest = entries.iter().filter(|entry| entry.is_parquet()).map(|entry| entry.created_ms).max();
    let is_due = match newest {
        None => true,
        Some(_) if entries.len() < 2 => false,
        Some(newest) => aim.effort == Effort::Everything || newest.saturating_add(LATE_EVERY_MS) < aim.now_ms,
    };
    // What lies between, or can still be undone, is waited for.
    let is_whole = mergeable(manifest, entries, aim.now_ms).len() == 1;
    let inputs = || entries.iter().map(|entry| entry.id).collect();
    (ripe_ms < aim.now_ms && is_due && is_whole).then(|| Job::Convert { inputs: inputs(), day })
}

/// Cuts the segments of a partition, in order of sequence, where another segment lies between two of them, or a delete
/// that can still be undone.
fn mergeable<'a, 'b>(manifest: &Manifest, entries: &'b [&'a SegmentEntry], now_ms: i64) -> Vec<&'b [&'a SegmentEntry]> {
    let mut groups = Vec::new();
    let mut start = 0;
    for end in 1..=entries.len() {
        let group = entries.get(start..=end).unwrap_or_default();
        if end == entries.len() || !is_adjacent(manifest, group) || is_divided(manifest, group, now_ms) {
            groups.push(entries.get(start..end).unwrap_or_default());
            start = end;
        }
    }
    groups
}

/// True if no other segment lies between these in sequence and touches their times.
fn is_adjacent(manifest: &Manifest, group: &[&SegmentEntry]) -> bool {
    let (Some(first), Some(last)) = (group.first(), group.iter().map(|entry| entry.sequence_max).max()) else {
        return true;
    };
    let times = group.iter().map(|entry| entry.times).reduce(|a, b| a.union(&b)).unwrap_or(TimeRange::ALL);
    manifest.segments.iter().all(|other| {
        let inside = group.iter().any(|entry| entry.id == other.id);
        let between = other.sequence_max >= first.sequence_min && other.sequence_min <= last;
        inside || !between || !other.times.overlaps(&times)
    })
}

/// True if a delete that can still be undone hides samples of some of these and not of others.
fn is_divided(manifest: &Manifest, group: &[&SegmentEntry], now_ms: i64) -> bool {
    manifest.deletes.iter().filter(|delete| !delete.is_final(now_ms)).any(|delete| {
        let of_its_time = || group.iter().filter(|entry| entry.times.overlaps(&delete.range));
        let covered = of_its_time().any(|entry| delete.covers(entry.sequence_max));
        covered && group.iter().any(|entry| !delete.covers(entry.sequence_max))
    })
}

/// The part of a group that is to be merged, if any.
fn choose<'a, 'b>(
    group: &'b [&'a SegmentEntry],
    day: Option<i64>,
    now_ms: i64,
    effort: Effort,
) -> Option<&'b [&'a SegmentEntry]> {
    if group.len() < 2 {
        return None;
    }
    let bytes = |entries: &[&SegmentEntry]| entries.iter().map(|entry| entry.bytes).sum::<u64>();
    let largest = |entries: &[&SegmentEntry]| entries.iter().map(|entry| entry.bytes).max().unwrap_or_default();
    let total = bytes(group);
    let is_closed = day.is_some_and(|day| Partition::of_day(day).times.end_ms.saturating_add(CLOSED_AFTER_MS) < now_ms);
    let late = total - largest(group);
    if effort == Effort::Everything || (is_closed && late.saturating_mul(LATE_PART) >= total) {
        return Some(group);
    }
    // The longest run in which no segment is more than half: each byte is then moved O(log n) times.
    let runs = (TIER_WIDTH..=group.len()).rev().flat_map(|width| group.windows(width));
    runs.into_iter().find(|run| largest(run) <= bytes(run) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parquet::{DayFile, FileKind};
    use proptest::prelude::*;

    const DAY_MS: i64 = 86_400_000;

    fn entry(id: u64, day: Option<i64>, sequences: (u64, u64), bytes: u64) -> SegmentEntry {
        let of_one = SegmentEntry::of_day(id, day.unwrap_or(0), bytes);
        let times = if day.is_none() { TimeRange { start_ms: 0, end_ms: 5 * DAY_MS } } else { of_one.times };
        SegmentEntry { day, times, sequence_min: sequences.0, sequence_max: sequences.1, ..of_one }
    }

    fn next(segments: &[SegmentEntry], now_ms: i64, effort: Effort) -> Option<Job> {
        next_beside(segments, &[], now_ms, effort)
    }

    fn next_beside(segments: &[SegmentEntry], aside: &[u64], now_ms: i64, effort: Effort) -> Option<Job> {
        let manifest = Manifest { segments: segments.to_vec(), ..Manifest::default() };
        plan(&manifest, &aside.iter().copied().collect(), Aim { now_ms, effort, parquet_after_ms: None })
    }

    fn merge(inputs: &[u64], day: Option<i64>) -> Option<Job> {
        Some(Job::Merge { inputs: inputs.to_vec(), day })
    }

    #[test]
    fn four_of_like_size_are_merged_in_an_open_day() {
        let day = |id| entry(id, Some(1), (id, id), 10);
        let now = DAY_MS + 1;
        let three: Vec<_> = (1..=3).map(day).collect();
        assert_eq!(next(&three, now, Effort::Due), None);
        assert_eq!(next(&three, now, Effort::Everything), merge(&[1, 2, 3], Some(1)));
        let four: Vec<_> = (1..=4).map(day).collect();
        assert_eq!(next(&four, now, Effort::Due), merge(&[1, 2, 3, 4], Some(1)));
        let mut large: Vec<_> = (1..=5).map(day).collect();
        large[0].bytes = 100;
        assert_eq!(next(&large, now, Effort::Due), merge(&[2, 3, 4, 5], Some(1)), "the large one is left alone");
    }

    #[test]
    fn a_closed_day_becomes_one_segment_but_not_for_every_late_sample() {
        let mut two = [entry(1, Some(0), (1, 1), 90), entry(2, Some(0), (2, 2), 10)];
        let closed = DAY_MS + CLOSED_AFTER_MS;
        assert_eq!(next(&two, closed - 1, Effort::Due), None);
        assert_eq!(next(&two, closed, Effort::Due), merge(&[1, 2], Some(0)));
        two[1].bytes = 9;
        assert_eq!(next(&two, closed, Effort::Due), None);
    }

    #[test]
    fn what_lies_between_is_not_jumped_over() {
        let all = [
            entry(1, Some(1), (1, 2), 10),
            entry(2, None, (3, 4), 10),
            entry(3, Some(1), (5, 6), 10),
            entry(4, Some(1), (7, 8), 10),
            entry(5, Some(9), (1, 8), 10),
        ];
        assert_eq!(next(&all, 0, Effort::Everything), merge(&[3, 4], Some(1)));
        assert_eq!(next(&all[..3], 0, Effort::Everything), None);
    }

    #[test]
    fn what_is_set_aside_is_left_and_not_jumped_over() {
        let all: Vec<_> = (1..=6).map(|id| entry(id, Some(id as i64 / 6), (id, id), 10)).collect();
        assert_eq!(next_beside(&all, &[], 0, Effort::Everything), merge(&[1, 2, 3, 4, 5], Some(0)));
        assert_eq!(next_beside(&all, &[3], 0, Effort::Everything), merge(&[1, 2], Some(0)));
        assert_eq!(next_beside(&all, &[1, 3], 0, Effort::Everything), merge(&[4, 5], Some(0)));
        assert_eq!(next_beside(&all, &[2, 4], 0, Effort::Everything), None);
        let run = entry(1, None, (1, 1), SPLIT_BYTES);
        assert_eq!(next_beside(&[run], &[1], 0, Effort::Due), None);
    }

    #[test]
    fn a_day_becomes_parquet_when_it_is_old_enough_and_again_with_what_came_late() {
        let mut all = vec![entry(1, Some(0), (1, 1), 10), entry(2, Some(0), (2, 2), 10), entry(3, None, (5, 5), 10)];
        let next = |all: &[SegmentEntry], now_ms, effort| {
            let manifest = Manifest { segments: all.to_vec(), ..Manifest::default() };
            plan(&manifest, &BTreeSet::new(), Aim { now_ms, effort, parquet_after_ms: Some(5 * DAY_MS) })
        };
        let convert = |inputs: &[u64]| Some(Job::Convert { inputs: inputs.to_vec(), day: 0 });
        let ripe = 6 * DAY_MS;
        assert_eq!(next(&all, ripe - 1, Effort::Due), merge(&[1, 2], Some(0)));
        assert_eq!(next(&all, ripe, Effort::Due), convert(&[1, 2]));
        all[2].sequence_min = 2;
        all[2].sequence_max = 2;
        all[1].sequence_min = 3;
        all[1].sequence_max = 3;
        assert_eq!(next(&all, ripe, Effort::Due), None, "what lies between is waited for");
        let file = DayFile { kind: FileKind::Samples, name: "a".into(), bytes: 1, rows: 1 };
        let mut day = vec![SegmentEntry { files: vec![file], created_ms: ripe, ..entry(4, Some(0), (1, 3), 10) }];
        assert_eq!(next(&day, ripe, Effort::Everything), None);
        day.extend((5..=8).map(|id| entry(id, Some(0), (id, id), 10)));
        assert_eq!(next(&day, ripe, Effort::Due), merge(&[5, 6, 7, 8], Some(0)), "late ones among themselves");
        assert_eq!(next(&day, ripe, Effort::Everything), convert(&[4, 5, 6, 7, 8]));
        day.truncate(2);
        assert_eq!(next(&day, ripe + LATE_EVERY_MS, Effort::Due), None);
        assert_eq!(next(&day, ripe + LATE_EVERY_MS + 1, Effort::Due), convert(&[4, 5]));
        assert_eq!(Job::of_one(&day[0]), Job::Convert { inputs: vec![4], day: 0 });
    }

    #[test]
    fn large_runs_of_several_days_are_split() {
        let run = entry(1, None, (1, 1), SPLIT_BYTES);
        assert_eq!(next(std::slice::from_ref(&run), 0, Effort::Due), Some(Job::Split { input: 1 }));
        assert_eq!(next(&[SegmentEntry { bytes: SPLIT_BYTES - 1, ..run }], 0, Effort::Due), None);
    }

    proptest! {
        /// Merging goes on until few are left, moves each byte few times, and never jumps over a segment.
        #[test]
        fn merging_ends_and_costs_little(sizes in prop::collection::vec((0_i64..2, 1_u64..50), 1..120)) {
            let (mut live, mut moved, mut written) = (Vec::new(), 0_u64, 0_u64);
            for (id, (day, bytes)) in (1..).zip(sizes) {
                live.push(entry(id, Some(day), (id, id), bytes));
                written += bytes;
                while let Some(Job::Merge { inputs, day }) = next(&live, 0, Effort::Due) {
                    let parts: Vec<_> = live.iter().filter(|e| inputs.contains(&e.id)).cloned().collect();
                    prop_assert!(parts.len() >= TIER_WIDTH);
                    let bytes = parts.iter().map(|e| e.bytes).sum();
                    moved += bytes;
                    let sequences = (parts[0].sequence_min, parts.last().unwrap().sequence_max);
                    live.retain(|e| !inputs.contains(&e.id));
                    for other in live.iter().filter(|e| e.day == day) {
                        prop_assert!(other.sequence_max < sequences.0 || other.sequence_min > sequences.1);
                    }
                    live.push(entry(1000 + parts[0].id, day, sequences, bytes));
                }
            }
            prop_assert!(live.len() <= 2 * 30, "{} segments are left", live.len());
            prop_assert!(moved <= written * 12, "{moved} of {written}");
        }
    }
}
