//! The samples of one series in one generation of the head.
//!
//! Samples in order of time are appended to a column; a sample that is not newer than the last goes to the side, and
//! wins over one of the column at its time, because it came later. Only the order of arrival within each of the two
//! is needed to tell, so no sample carries a sequence.
//!
//! The column lies in units of the shard's [`Pages`]: times as 32-bit offsets from the first one, values behind them. A
//! sample too far from the first for that (49 days) goes to the side as well.
//!
//! A snapshot must not see what came after it. The first change after a snapshot was opened leaves a [`Mark`]: how long
//! column and side were at which sequence. Without open snapshots nothing is marked.

use std::collections::BTreeSet;

use model::{SampleColumns, TimeRange};

use super::pages::{Pages, Unit};
use crate::db::prepared::DAY_MS;

/// Samples in the smallest and the largest unit.
const UNIT_MIN: usize = 2;
const UNIT_MAX: usize = 128;

/// A time and a value.
pub(crate) type Point = (i64, f64);

/// The open chunk of a series.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// Time of the column's first sample.
    base_ms: i64,
    rare: Option<Box<Rare>>,
    /// Address of the column's last unit.
    tail: u32,
    /// Samples in the column.
    count: u32,
    /// Time of the column's last sample, as distance to the first.
    last_offset: u32,
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

/// Place of the first sample and capacity of the unit that the `i`-th sample of a column is in. Units grow with the
/// column, by a half of it at most: many series have few samples.
fn unit_of(i: usize) -> (usize, usize) {
    let half = i.checked_ilog2().map_or(0, |log| (1_usize << log) / 2);
    let capacity = half.clamp(UNIT_MIN, UNIT_MAX);
    (i & !(capacity - 1), capacity)
}

/// A unit of a column, and the last sample of the column that it has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnitPlace {
    address: u32,
    last: usize,
}

impl UnitPlace {
    /// The unit before; none before the first.
    pub(crate) fn before(self, pages: &Pages) -> Option<UnitPlace> {
        let (first, capacity) = unit_of(self.last);
        let unit = pages.get(self.address, capacity)?;
        Some(UnitPlace { address: unit.before, last: first.checked_sub(1)? })
    }
}

impl Chunk {
    /// Adds a sample of the batch `sequence` (distance to the generation's first, plus one).
    pub(crate) fn push(&mut self, pages: &mut Pages, sequence: u32, point: Point, open: Option<OpenSnapshots>) {
        if self.last != sequence {
            self.mark(open);
            self.last = sequence;
        }
        if self.append(pages, point).is_none() {
            self.rare.get_or_insert_default().late.push(point);
        }
    }

    /// Appends to the column; none if the sample does not belong there.
    fn append(&mut self, pages: &mut Pages, point: Point) -> Option<()> {
        let count = self.count as usize;
        let offset = if count == 0 {
            self.base_ms = point.0;
            0
        } else {
            let offset = u32::try_from(point.0.checked_sub(self.base_ms)?).ok()?;
            (offset > self.last_offset).then_some(offset)?
        };
        let (first, capacity) = unit_of(count);
        if first == count {
            self.tail = pages.take(self.tail, capacity)?;
        }
        pages.set(self.tail, capacity, count - first, offset, point.1)?;
        (self.count, self.last_offset) = (self.count.checked_add(1)?, offset);
        Some(())
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
        let column = self.count;
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

    /// What a snapshot at `cap` (distance, plus one) sees, in the order of arrival: samples of the column, and late ones.
    fn visible(&self, cap: u32) -> (usize, &[Point]) {
        let all = self.count as usize;
        let Some(rare) = &self.rare else {
            return if self.last <= cap { (all, &[]) } else { (0, &[]) };
        };
        if self.last <= cap {
            return (all, &rare.late);
        }
        // Without a mark the chunk began after the snapshot.
        let mark = rare.marks.iter().rev().find(|mark| mark.after <= cap);
        let (column, late) = mark.map_or((0, 0), |mark| (mark.column as usize, mark.late as usize));
        (column, rare.late.get(..late).unwrap_or(&rare.late))
    }

    /// The units with the first `visible` samples, the newest first, each with how many of them it has.
    fn units<'p>(&self, pages: &'p Pages, visible: usize) -> impl Iterator<Item = (Unit<'p>, usize)> {
        let mut next = self.last_unit();
        std::iter::from_fn(move || {
            let at = next?;
            let (first, capacity) = unit_of(at.last);
            let unit = pages.get(at.address, capacity)?;
            next = first.checked_sub(1).map(|last| UnitPlace { address: unit.before, last });
            Some((unit, visible.min(at.last + 1).saturating_sub(first)))
        })
        .skip_while(|(_, count)| *count == 0)
    }

    /// The newest unit.
    pub(crate) fn last_unit(&self) -> Option<UnitPlace> {
        (self.count as usize).checked_sub(1).map(|last| UnitPlace { address: self.tail, last })
    }

    /// A range as offsets: the first in it, and the first behind it.
    fn offsets(&self, range: TimeRange) -> (u64, u64) {
        let from = i128::from(range.start_ms) - i128::from(self.base_ms);
        let to = i128::from(range.end_ms) - i128::from(self.base_ms) + 1;
        // Offsets have 32 bits; what lies outside is as good as at the end.
        let clamped = |offset: i128| u64::try_from(offset.max(0)).unwrap_or(u64::MAX);
        (clamped(from), clamped(to))
    }

    /// True if a snapshot at `cap` sees a sample in the range.
    pub(crate) fn has_samples(&self, pages: &Pages, cap: u32, range: TimeRange) -> bool {
        let (column, late) = self.visible(cap);
        let (from, to) = self.offsets(range);
        let before_end = self.units(pages, column).find_map(|(unit, count)| {
            let below = unit.count_below(count, to);
            Some(unit.offset(below.checked_sub(1)?))
        });
        before_end.is_some_and(|offset| u64::from(offset) >= from) || late.iter().any(|(ms, _)| range.contains(*ms))
    }

    /// Appends to `out` the samples that a snapshot at `cap` sees in the range, sorted, the last write at each time.
    pub(crate) fn read(&self, pages: &Pages, cap: u32, range: TimeRange, out: &mut SampleColumns) {
        let (column, late) = self.visible(cap);
        if late.is_empty() {
            self.read_column(pages, column, range, out);
            return;
        }
        let mut in_order = SampleColumns::default();
        self.read_column(pages, column, range, &mut in_order);
        let mut column = in_order.timestamps_ms.into_iter().zip(in_order.values).peekable();
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

    /// Appends those of the first `visible` samples of the column that are in the range.
    fn read_column(&self, pages: &Pages, visible: usize, range: TimeRange, out: &mut SampleColumns) {
        let (from, to) = self.offsets(range);
        let start = out.timestamps_ms.len();
        // Units are linked from the newest to the oldest: what is read is turned round at the end.
        for (unit, count) in self.units(pages, visible) {
            let (first, behind) = (unit.count_below(count, from), unit.count_below(count, to));
            for (offset, value) in unit.samples(first, behind).rev() {
                out.timestamps_ms.push(self.base_ms + i64::from(offset));
                out.values.push(value);
            }
            if first > 0 {
                break;
            }
        }
        out.timestamps_ms.get_mut(start..).unwrap_or_default().reverse();
        out.values.get_mut(start..).unwrap_or_default().reverse();
    }

    /// First and last time, of all samples.
    pub(crate) fn times(&self) -> Option<TimeRange> {
        let last_ms = self.base_ms + i64::from(self.last_offset);
        let column = (self.count > 0).then_some((self.base_ms, last_ms));
        let late = self.rare.iter().flat_map(|rare| &rare.late).map(|point| (point.0, point.0));
        let joined = column.into_iter().chain(late).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        joined.map(|(start_ms, end_ms)| TimeRange { start_ms, end_ms })
    }

    /// Adds the UTC days of all samples.
    pub(crate) fn add_days(&self, pages: &Pages, days: &mut BTreeSet<i64>) {
        let late = self.rare.iter().flat_map(|rare| &rare.late);
        days.extend(late.map(|(ms, _)| ms.div_euclid(DAY_MS)));
        if self.count == 0 {
            return;
        }
        let first_day = self.base_ms.div_euclid(DAY_MS);
        let last_day = (self.base_ms + i64::from(self.last_offset)).div_euclid(DAY_MS);
        days.extend([first_day, last_day]);
        // Only days in between that are not known yet are looked for.
        for day in first_day + 1..last_day {
            let range =
                TimeRange { start_ms: day.saturating_mul(DAY_MS), end_ms: (day + 1).saturating_mul(DAY_MS) - 1 };
            if !days.contains(&day) && self.has_samples(pages, u32::MAX, range) {
                days.insert(day);
            }
        }
    }

    /// Bytes on the heap; the column's are the pages'.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| {
            size_of::<Rare>() + rare.late.capacity() * size_of::<Point>() + rare.marks.capacity() * size_of::<Mark>()
        })
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

    #[derive(Default)]
    struct Series {
        chunk: Chunk,
        pages: Pages,
    }

    impl Series {
        fn push(&mut self, sequence: u32, point: Point, open: Option<OpenSnapshots>) {
            self.chunk.push(&mut self.pages, sequence, point, open);
        }

        fn read(&self, cap: u32, range: TimeRange) -> Vec<Point> {
            let mut out = SampleColumns::default();
            self.chunk.read(&self.pages, cap, range, &mut out);
            assert_eq!(!out.is_empty(), self.chunk.has_samples(&self.pages, cap, range));
            out.floats().map(|sample| (sample.timestamp_ms, sample.value)).collect()
        }
    }

    #[test]
    fn late_samples_win_over_the_column() {
        let mut series = Series::default();
        for (sequence, point) in [(1, (10, 1.0)), (2, (20, 2.0)), (3, (10, 3.0)), (4, (5, 4.0)), (5, (10, 5.0))] {
            series.push(sequence, point, None);
        }
        assert_eq!(series.read(5, TimeRange::ALL), [(5, 4.0), (10, 5.0), (20, 2.0)]);
        assert_eq!(series.read(5, TimeRange { start_ms: 6, end_ms: 10 }), [(10, 5.0)]);
        assert_eq!(series.chunk.times(), Some(TimeRange { start_ms: 5, end_ms: 20 }));
    }

    #[test]
    fn units_are_small_at_first() {
        let mut bytes = Vec::new();
        let mut series = Series::default();
        for i in 0..100 {
            series.push(1, (i, 0.0), None);
            bytes.push(series.pages.bytes());
        }
        bytes.dedup();
        let sizes: Vec<usize> = bytes.iter().scan(0, |sum, now| Some(now - std::mem::replace(sum, *now))).collect();
        let of = |capacity: usize| 4 + 12 * capacity;
        assert_eq!(sizes, [2, 2, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32].map(of));
        let far = 1 << 20;
        assert_eq!((unit_of(far), unit_of(far + 129)), ((far, UNIT_MAX), (far + 128, UNIT_MAX)));
        assert_eq!(size_of::<Chunk>(), 32);
    }

    /// Nothing overflows at the ends of time, and what offsets cannot say is kept all the same.
    #[test]
    fn times_far_apart_are_kept() {
        let mut series = Series::default();
        let far = 1_i64 << 33;
        for (i, ms) in (1..).zip([0, far, 5, i64::MIN, i64::MAX, far + 1, i64::from(u32::MAX), 1 << 32]) {
            series.push(i, (ms, f64::from(i)), None);
        }
        let all = [
            (i64::MIN, 4.0),
            (0, 1.0),
            (5, 3.0),
            (i64::from(u32::MAX), 7.0),
            (1 << 32, 8.0),
            (far, 2.0),
            (far + 1, 6.0),
            (i64::MAX, 5.0),
        ];
        assert_eq!(series.read(8, TimeRange::ALL), all);
        assert_eq!(series.chunk.times(), Some(TimeRange { start_ms: i64::MIN, end_ms: i64::MAX }));
        assert_eq!(series.chunk.count, 3);
        let range = TimeRange { start_ms: i64::MIN, end_ms: -1 };
        assert_eq!(series.read(8, range), [(i64::MIN, 4.0)]);
        let mut early = Series::default();
        early.push(1, (i64::MIN, 1.0), None);
        early.push(1, (i64::MIN + 1, 2.0), None);
        assert_eq!(early.read(1, TimeRange { start_ms: i64::MIN + 1, end_ms: i64::MAX }), [(i64::MIN + 1, 2.0)]);
    }

    proptest! {
        /// Any part of a column of any length is read as it was written.
        #[test]
        fn ranges_of_a_column_are_found(count in 0_i64..700, from in -5_i64..720, length in 0_i64..720) {
            let mut series = Series::default();
            (0..count).for_each(|i| series.push(1, (2 * i, i as f64), None));
            let range = TimeRange { start_ms: 2 * from - 1, end_ms: 2 * (from + length) };
            let want: Vec<Point> =
                (0..count).map(|i| (2 * i, i as f64)).filter(|point| range.contains(point.0)).collect();
            prop_assert_eq!(series.read(1, range), want);
        }

        #[test]
        fn days_are_those_of_the_samples(times in prop::collection::vec(0_i64..40, 0..30), long in any::<bool>()) {
            let step = if long { 3 * DAY_MS } else { DAY_MS / 3 };
            let mut series = Series::default();
            times.iter().for_each(|time| series.push(1, (time * step, 0.0), None));
            let mut days = BTreeSet::new();
            series.chunk.add_days(&series.pages, &mut days);
            prop_assert_eq!(days, times.iter().map(|time| (time * step).div_euclid(DAY_MS)).collect());
        }

        /// Snapshots opened and closed at any time see what a map held when they were opened.
        #[test]
        fn snapshots_see_their_moment(steps in prop::collection::vec((0_i64..12, 0_u8..10), 0..60)) {
            let mut series = Series::default();
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
                            series.push(sequence, point, snapshots);
                            model.insert(point.0, point.1);
                        }
                    }
                }
                for (cap, want) in open.iter().chain([&(u32::MAX, model.clone())]) {
                    let want: Vec<Point> = want.iter().map(|(ms, value)| (*ms, *value)).collect();
                    prop_assert_eq!(series.read(*cap, TimeRange::ALL), want, "cap {}", cap);
                }
            }
        }
    }
}
