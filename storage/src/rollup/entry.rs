//! Roll-ups in the manifest.
//!
//! # Bytes of section 7, roll-ups
//! The floor (zigzag): up to this time samples were dropped, so days up to it cannot be built from them; number of runs (varint), and for each: the entry of its segment as in section 1 (id 0 if no series has a bucket: then
//! there is no file), its resolution in ms (varint), the number from which on deletes hide some of it (varint: those with
//! lower numbers were heeded when it was built), the ranges that count, those that are touched. A list of ranges is
//! their number (varint), and for each its start (zigzag) and how much later it ends (varint).

use model::TimeRange;

use super::ranges::Ranges;
use super::{rolled_day_of, times_of_day};
use crate::db::prepared::DAY_MS;
use crate::deletes::Delete;
use crate::format::{Cursor, FormatError, Put};
use crate::manifest::SegmentEntry;

/// A range takes at least this many bytes, a run at least that many.
const RANGE_BYTES_MIN: usize = 2;
const RUN_BYTES_MIN: usize = 15;

/// A run of roll-ups of one resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RollupEntry {
    /// Its file; both sequences are that of the last batch that is in it.
    pub(crate) segment: SegmentEntry,
    pub(crate) resolution_ms: i64,
    /// Deletes with lower numbers were heeded when it was built: what they hid is not in it.
    pub(crate) deletes_from: u64,
    /// Whole days. What the file holds outside of them does not count.
    pub(crate) ranges: Ranges,
    /// The days of these whose samples are not what they were.
    pub(crate) touched: Ranges,
}

impl RollupEntry {
    /// True if a delete hides what it selects of this run.
    pub(crate) fn is_covered_by(&self, delete: &Delete) -> bool {
        delete.id >= self.deletes_from && delete.covers(self.segment.sequence_max)
    }

    /// True if there is a file.
    pub(crate) fn has_file(&self) -> bool {
        self.segment.id != 0
    }

    /// Number of days that are touched.
    pub(crate) fn touched_days(&self) -> u64 {
        self.touched.iter().map(|range| range.end_ms.abs_diff(range.start_ms) / DAY_MS.unsigned_abs() + 1).sum()
    }

    /// Notes that samples of these days are not what they were.
    fn touch(&mut self, days: &Ranges) {
        self.ranges.both(days).iter().for_each(|range| self.touched.insert(range));
    }

    /// Lets go of a range.
    fn give_up(&mut self, range: TimeRange) {
        self.ranges.remove(range);
        self.touched.remove(range);
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.segment.encode(out);
        out.put_varint(self.resolution_ms.unsigned_abs());
        out.put_varint(self.deletes_from);
        encode_ranges(&self.ranges, out);
        encode_ranges(&self.touched, out);
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, FormatError> {
        let segment = SegmentEntry::decode(cursor)?;
        let resolution_ms = i64::try_from(cursor.varint()?).ok().filter(|ms| *ms > 0);
        let resolution_ms = resolution_ms.ok_or_else(|| cursor.error("a roll-up has a wrong resolution"))?;
        let deletes_from = cursor.varint()?;
        let (ranges, touched) = (decode_ranges(cursor)?, decode_ranges(cursor)?);
        Ok(RollupEntry { segment, resolution_ms, deletes_from, ranges, touched })
    }
}

/// The days that a range reaches into.
fn days_of(range: TimeRange) -> Ranges {
    if range.is_empty() {
        return Ranges::default();
    }
    let first = times_of_day(rolled_day_of(range.start_ms));
    Ranges::of(first.union(&times_of_day(rolled_day_of(range.end_ms))))
}

fn encode_ranges(ranges: &Ranges, out: &mut Vec<u8>) {
    out.put_varint(ranges.iter().len() as u64);
    for range in ranges.iter() {
        out.put_zigzag(range.start_ms);
        out.put_varint(range.end_ms.abs_diff(range.start_ms));
    }
}

fn decode_ranges(cursor: &mut Cursor<'_>) -> Result<Ranges, FormatError> {
    let count = cursor.length()?;
    if count > cursor.rest().len() / RANGE_BYTES_MIN {
        return Err(cursor.error("a roll-up has more ranges than bytes"));
    }
    let mut ranges = Ranges::default();
    for _ in 0..count {
        let start_ms = cursor.zigzag()?;
        let end_ms = start_ms.checked_add_unsigned(cursor.varint()?);
        let end_ms = end_ms.ok_or_else(|| cursor.error("a range of a roll-up ends too late"))?;
        ranges.insert(TimeRange { start_ms, end_ms });
    }
    Ok(ranges)
}

/// All roll-ups of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rollups {
    /// Up to this time samples were dropped, for their age or size: what is left there may not be all.
    pub(crate) floor_ms: i64,
    /// In order of (resolution, first time, id).
    pub(crate) runs: Vec<RollupEntry>,
}

impl Default for Rollups {
    fn default() -> Self {
        Rollups { floor_ms: i64::MIN, runs: Vec::new() }
    }
}

impl Rollups {
    /// Appends the bytes of the section.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_zigzag(self.floor_ms);
        out.put_varint(self.runs.len() as u64);
        self.runs.iter().for_each(|run| run.encode(out));
    }

    /// Reads the section.
    ///
    /// # Errors
    /// [`FormatError`] if the bytes are none.
    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, FormatError> {
        let floor_ms = cursor.zigzag()?;
        let count = cursor.length()?;
        if count > cursor.rest().len() / RUN_BYTES_MIN {
            return Err(cursor.error("the manifest has more roll-ups than bytes"));
        }
        let runs = (0..count).map(|_| RollupEntry::decode(cursor)).collect::<Result<_, FormatError>>()?;
        Ok(Rollups { floor_ms, runs })
    }

    /// The runs with a file.
    pub(crate) fn files(&self) -> impl Iterator<Item = &SegmentEntry> {
        self.runs.iter().filter(|run| run.has_file()).map(|run| &run.segment)
    }

    /// Notes that samples in the range came or went that runs built from batches up to `sequence` do not know of.
    pub(crate) fn touch(&mut self, range: TimeRange, sequence: u64) {
        let days = days_of(range);
        self.runs.iter_mut().filter(|run| run.segment.sequence_max <= sequence).for_each(|run| run.touch(&days));
    }

    /// Notes that samples up to this time went, if any did. The retention of today does not tell: it may be longer than the
    /// one by which they went. Without roll-ups there is nothing to note.
    pub(crate) fn raise_floor(&mut self, gone_ms: Option<i64>) {
        if !self.runs.is_empty() {
            self.floor_ms = self.floor_ms.max(gone_ms.unwrap_or(i64::MIN));
        }
    }

    /// Puts a run in, which counts for its ranges from now on.
    pub(crate) fn put(&mut self, new: RollupEntry) {
        for run in self.runs.iter_mut().filter(|run| run.resolution_ms == new.resolution_ms) {
            new.ranges.iter().for_each(|range| run.give_up(range));
        }
        self.runs.retain(|run| !run.ranges.is_empty());
        self.runs.push(new);
        self.runs.sort_by_key(|run| {
            (run.resolution_ms, run.ranges.span().map_or(i64::MAX, |span| span.start_ms), run.segment.id)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: u64, days: std::ops::Range<i64>) -> RollupEntry {
        let ranges: Ranges = days.map(times_of_day).collect();
        let segment = SegmentEntry {
            id,
            day: None,
            times: ranges.span().unwrap(),
            sequence_min: 5,
            sequence_max: 5,
            series: 2,
            samples: 3,
            bytes: 300,
            created_ms: 9,
            files: Vec::new(),
        };
        RollupEntry { segment, resolution_ms: 3_600_000, deletes_from: 4, ranges, touched: Ranges::default() }
    }

    #[test]
    fn bytes_are_pinned() {
        let mut rollups = Rollups { floor_ms: -1, runs: vec![run(7, 0..2)] };
        rollups.touch(TimeRange { start_ms: 5, end_ms: 6 }, 5);
        let mut bytes = Vec::new();
        rollups.encode(&mut bytes);
        // Floor, one run; id, no day, times, sequences, series, samples, bytes, created.
        let segment = b"\x01\x01\x07\x00\x02\x80\xe0\xe5\xa4\x01\x05\x05\x02\x03\xac\x02\x12";
        // An hour; deletes from 4 on; one range from 1 ms, two days long less one ms; one touched, a day long less one ms.
        let rest = b"\x80\xdd\xdb\x01\x04\x01\x02\xff\xef\xb2\x52\x01\x02\xff\xb7\x99\x29";
        assert_eq!(bytes, [&segment[..], &rest[..]].concat(), "{}", bytes.escape_ascii());
        assert_eq!(Rollups::decode(&mut Cursor::new(&bytes)).unwrap(), rollups);
        for cut in 0..bytes.len() {
            assert!(Rollups::decode(&mut Cursor::new(&bytes[..cut])).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_new_run_takes_its_days_from_others() {
        let mut rollups = Rollups::default();
        rollups.put(run(1, 0..5));
        rollups.put(run(2, 2..3));
        assert_eq!(rollups.runs.len(), 2);
        let left: Ranges = [0, 1, 3, 4].into_iter().map(times_of_day).collect();
        assert_eq!(rollups.runs[0].ranges, left);
        rollups.put(run(3, 0..9));
        assert_eq!(rollups.files().map(|entry| entry.id).collect::<Vec<_>>(), [3]);
        rollups.put(RollupEntry { resolution_ms: 60_000, ..run(4, 0..9) });
        assert_eq!(rollups.files().map(|entry| entry.id).collect::<Vec<_>>(), [4, 3]);
    }

    #[test]
    fn days_are_touched_whole_and_only_where_they_count() {
        let mut rollups = Rollups { runs: vec![run(1, 1..4)], ..Rollups::default() };
        let touched = |rollups: &Rollups| rollups.runs[0].touched.clone();
        let midnight = times_of_day(1).end_ms;
        rollups.touch(TimeRange { start_ms: midnight, end_ms: midnight }, 4);
        assert!(touched(&rollups).is_empty(), "the run knows of it");
        rollups.touch(TimeRange { start_ms: midnight, end_ms: midnight }, 5);
        assert_eq!(touched(&rollups), Ranges::of(times_of_day(1)), "midnight belongs to the day before it");
        rollups.touch(TimeRange { start_ms: midnight + 1, end_ms: i64::MAX }, 6);
        assert_eq!(touched(&rollups), (1..4).map(times_of_day).collect());
    }

    #[test]
    fn the_floor_only_rises_and_only_for_roll_ups() {
        let mut rollups = Rollups::default();
        rollups.raise_floor(Some(5));
        assert_eq!(rollups.floor_ms, i64::MIN);
        rollups.put(run(1, 0..5));
        for (gone_ms, floor_ms) in [(None, i64::MIN), (Some(5), 5), (Some(3), 5), (None, 5)] {
            rollups.raise_floor(gone_ms);
            assert_eq!(rollups.floor_ms, floor_ms);
        }
    }
}
