//! The samples of one series in one generation of the head.
//!
//! Samples in order of time are appended to a column; a sample that is not newer than the last goes to the side, and
//! wins over one of the column at its time, because it came later. Only the order of arrival within each of the two
//! is needed to tell, so no sample carries a sequence.
//!
//! A snapshot must not see what came after it. The first change after a snapshot was opened leaves a [`Mark`]: how long
//! column and side were at which sequence. Without open snapshots nothing is marked.

use std::collections::BTreeSet;

use model::{SampleColumns, TimeRange};

const DAY_MS: i64 = 86_400_000;

/// A time and a value.
pub(crate) type Point = (i64, f64);

/// The open chunk of a series.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    column: Vec<Point>,
    rare: Option<Box<Rare>>,
    /// Sequence of the last batch, as distance to the generation's first, plus one; 0 for none.
    last: u32,
}

/// What most chunks do not have.
#[derive(Debug, Default)]
struct Rare {
    /// Late samples in the order in which they came.
    late: Vec<Point>,
    /// In rising order of sequence.
    marks: Vec<Mark>,
}

/// The state after the batch `after`, kept for the snapshots that were open when the next one came.
#[derive(Debug, Clone, Copy)]
struct Mark {
    after: u32,
    column: u32,
    late: u32,
}

/// Which snapshots are open, as distances to the generation's first sequence, plus one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenSnapshots {
    pub(crate) oldest: u32,
    pub(crate) newest: u32,
}

impl Chunk {
    /// Adds a sample of the batch `sequence` (distance to the generation's first, plus one).
    pub(crate) fn push(&mut self, sequence: u32, point: Point, open: Option<OpenSnapshots>) {
        if self.last != sequence {
            self.mark(open);
            self.last = sequence;
        }
        match self.column.last() {
            Some((last_ms, _)) if *last_ms >= point.0 => self.rare.get_or_insert_default().late.push(point),
            _ => {
                if self.column.len() == self.column.capacity() {
                    self.column.reserve_exact(growth(self.column.len()));
                }
                self.column.push(point);
            }
        }
    }

    /// Before the first change after the newest snapshot was opened: remembers the lengths.
    fn mark(&mut self, open: Option<OpenSnapshots>) {
        let Some(open) = open else {
            if let Some(rare) = &mut self.rare {
                rare.marks.clear();
            }
            return;
        };
        if self.last > open.newest {
            return;
        }
        let column = self.column.len() as u32;
        let rare = self.rare.get_or_insert_default();
        // A snapshot uses the last mark at or before it: all but the last one before the oldest are of no use.
        let unused = rare.marks.partition_point(|mark| mark.after <= open.oldest).saturating_sub(1);
        rare.marks.drain(..unused);
        rare.marks.push(Mark { after: self.last, column, late: rare.late.len() as u32 });
    }

    /// True if the chunk has no sample at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.last == 0
    }

    /// What a snapshot at `cap` (distance, plus one) sees, in the order of arrival: column and late samples.
    fn visible(&self, cap: u32) -> (&[Point], &[Point]) {
        let (mut column, mut late): (&[Point], &[Point]) = (&self.column, &[]);
        let Some(rare) = &self.rare else {
            return if self.last <= cap { (column, late) } else { (&[], &[]) };
        };
        late = &rare.late;
        if self.last > cap {
            // Without a mark the chunk began after the snapshot.
            let mark = rare.marks.iter().rev().find(|mark| mark.after <= cap);
            let (columns, lates) = mark.map_or((0, 0), |mark| (mark.column as usize, mark.late as usize));
            column = column.get(..columns).unwrap_or(column);
            late = late.get(..lates).unwrap_or(late);
        }
        (column, late)
    }

    /// True if a snapshot at `cap` sees a sample in the range.
    pub(crate) fn has_samples(&self, cap: u32, range: TimeRange) -> bool {
        let (column, late) = self.visible(cap);
        let first = column.partition_point(|(ms, _)| *ms < range.start_ms);
        column.get(first).is_some_and(|(ms, _)| *ms <= range.end_ms) || late.iter().any(|(ms, _)| range.contains(*ms))
    }

    /// Appends to `out` the samples that a snapshot at `cap` sees in the range, sorted, the last write at each time.
    pub(crate) fn read(&self, cap: u32, range: TimeRange, out: &mut SampleColumns) {
        let (column, late) = self.visible(cap);
        let from = column.partition_point(|(ms, _)| *ms < range.start_ms);
        let to = column.partition_point(|(ms, _)| *ms <= range.end_ms);
        let mut column = column.get(from..to).unwrap_or_default().iter().copied().peekable();
        for (late_ms, late_value) in newest_by_time(late, range) {
            while let Some(point) = column.next_if(|point| point.0 < late_ms) {
                out.push(point.0, point.1);
            }
            column.next_if(|point| point.0 == late_ms);
            out.push(late_ms, late_value);
        }
        for (ms, value) in column {
            out.push(ms, value);
        }
    }

    /// First and last time, of all samples.
    pub(crate) fn times(&self) -> Option<TimeRange> {
        let column = self.column.first().zip(self.column.last()).map(|(first, last)| (first.0, last.0));
        let late = self.rare.iter().flat_map(|rare| &rare.late).map(|point| (point.0, point.0));
        let joined = column.into_iter().chain(late).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        joined.map(|(start_ms, end_ms)| TimeRange { start_ms, end_ms })
    }

    /// Adds the UTC days of all samples.
    pub(crate) fn add_days(&self, days: &mut BTreeSet<i64>) {
        let mut rest: &[Point] = &self.column;
        while let Some((first_ms, _)) = rest.first() {
            let day = first_ms.div_euclid(DAY_MS);
            days.insert(day);
            let next = rest.partition_point(|(ms, _)| ms.div_euclid(DAY_MS) == day);
            rest = rest.get(next..).unwrap_or_default();
        }
        let late = self.rare.iter().flat_map(|rare| &rare.late);
        days.extend(late.map(|(ms, _)| ms.div_euclid(DAY_MS)));
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let rare = self.rare.as_ref().map_or(0, |rare| {
            size_of::<Rare>() + rare.late.capacity() * size_of::<Point>() + rare.marks.capacity() * size_of::<Mark>()
        });
        self.column.capacity() * size_of::<Point>() + rare
    }
}

/// Small steps first: many series have few samples.
fn growth(len: usize) -> usize {
    match len {
        0..4 => 4,
        4..8 => 4,
        8..32 => 8,
        _ => len / 2,
    }
}

/// Late samples in the range, sorted by time, of equal times the one that came last.
fn newest_by_time(late: &[Point], range: TimeRange) -> Vec<Point> {
    let mut sorted: Vec<Point> = late.iter().filter(|point| range.contains(point.0)).copied().collect();
    sorted.sort_by_key(|point| point.0);
    sorted.reverse();
    sorted.dedup_by_key(|point| point.0);
    sorted.reverse();
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn read(chunk: &Chunk, cap: u32, range: TimeRange) -> Vec<Point> {
        let mut out = SampleColumns::default();
        chunk.read(cap, range, &mut out);
        assert_eq!(!out.is_empty(), chunk.has_samples(cap, range));
        out.floats().map(|sample| (sample.timestamp_ms, sample.value)).collect()
    }

    #[test]
    fn late_samples_win_over_the_column() {
        let mut chunk = Chunk::default();
        for (sequence, point) in [(1, (10, 1.0)), (2, (20, 2.0)), (3, (10, 3.0)), (4, (5, 4.0)), (5, (10, 5.0))] {
            chunk.push(sequence, point, None);
        }
        assert_eq!(read(&chunk, 5, TimeRange::ALL), [(5, 4.0), (10, 5.0), (20, 2.0)]);
        assert_eq!(read(&chunk, 5, TimeRange { start_ms: 6, end_ms: 10 }), [(10, 5.0)]);
        assert_eq!(chunk.times(), Some(TimeRange { start_ms: 5, end_ms: 20 }));
    }

    #[test]
    fn growth_is_small_at_first() {
        let mut chunk = Chunk::default();
        let mut capacities = Vec::new();
        for i in 0..100 {
            chunk.push(1, (i, 0.0), None);
            capacities.push(chunk.column.capacity());
        }
        capacities.dedup();
        assert_eq!(capacities, [4, 8, 16, 24, 32, 48, 72, 108]);
    }

    proptest! {
        /// Snapshots opened and closed at any time see what a map held when they were opened.
        #[test]
        fn snapshots_see_their_moment(steps in prop::collection::vec((0_i64..12, 0_u8..10), 0..60)) {
            let mut chunk = Chunk::default();
            let mut model: BTreeMap<i64, f64> = BTreeMap::new();
            let mut open: Vec<(u32, BTreeMap<i64, f64>)> = Vec::new();
            let mut sequence = 1;
            for (i, (time, action)) in steps.iter().enumerate() {
                match action {
                    0 | 1 => open.push((sequence, model.clone())),
                    2 if !open.is_empty() => { open.remove(i % open.len()); }
                    _ => {
                        sequence += 1 + u32::from(*action == 3);
                        let caps = open.iter().map(|(cap, _)| *cap);
                        let snapshots = caps.clone().min().zip(caps.max());
                        let snapshots = snapshots.map(|(oldest, newest)| OpenSnapshots { oldest, newest });
                        for point in [(*time, i as f64), (*time + i64::from(*action % 2), i as f64 + 0.5)] {
                            chunk.push(sequence, point, snapshots);
                            model.insert(point.0, point.1);
                        }
                    }
                }
                for (cap, want) in open.iter().chain([&(u32::MAX, model.clone())]) {
                    let want: Vec<Point> = want.iter().map(|(ms, value)| (*ms, *value)).collect();
                    prop_assert_eq!(read(&chunk, *cap, TimeRange::ALL), want, "cap {}", cap);
                }
            }
        }
    }
}
