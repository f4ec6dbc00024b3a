//! Runs of series in the order of their labels, each from one place, and how they become one list.
//!
//! Where all series come from one place, nothing is compared. Otherwise each run gives, series after series, a key whose
//! bytes stand in label order (`segment/label_cursor.rs`); no label set is ever put together.

use std::cmp::Ordering;

use model::{Budget, SourceError};
use roaring::RoaringBitmap;

use super::{CHECK_EVERY, Pinned};
use crate::batch::SeriesRef;
use crate::db::engine::LiveSegment;
use crate::segment::{LabelCursor, push_key};

/// Series of the head whose keys are made under one set of locks.
const HEAD_KEYS: usize = 256;

/// Where samples of a series lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Index of the segment, of which older ones come first, and ordinal in it.
    Segment(u32, u32),
    /// Index of the run of roll-ups, of which finer ones come first, and ordinal in it.
    Rollup(u32, u32),
    /// In the generations of the head, which are newer than all segments.
    Head(SeriesRef),
}

/// Series of one place, in the order of their labels.
#[derive(Debug)]
pub(super) enum Run {
    /// Of the segment with this index.
    Segment(u32, RoaringBitmap),
    /// Of the run of roll-ups with this index.
    Rollup(u32, RoaringBitmap),
    /// Of the head.
    Head(Vec<SeriesRef>),
}

impl Run {
    fn len(&self) -> usize {
        match self {
            Run::Segment(_, ordinals) | Run::Rollup(_, ordinals) => ordinals.len() as usize,
            Run::Head(series) => series.len(),
        }
    }

    fn cursor<'r>(&'r self, pinned: &'r Pinned) -> Result<Cursor<'r>, SourceError> {
        let mut cursor = match self {
            Run::Segment(index, ordinals) => {
                let live = pinned.segments.get(*index as usize).map(|live| &**live);
                let live = live.ok_or_else(|| SourceError::Storage("a segment of the view is missing".to_owned()))?;
                Cursor::of_file(pinned, live, Part::Segment, *index, ordinals)
            }
            Run::Rollup(index, ordinals) => {
                let (_, live) = pinned
                    .rollup(*index)
                    .ok_or_else(|| SourceError::Storage("a run of roll-ups of the view is missing".to_owned()))?;
                Cursor::of_file(pinned, live, Part::Rollup, *index, ordinals)
            }
            Run::Head(series) => {
                let keys = Keys { series, next: 0, bytes: Vec::new(), ends: Vec::new(), at: 0 };
                Cursor { pinned, from: From::Head(keys), part: None, key: Vec::new() }
            }
        };
        cursor.advance()?;
        Ok(cursor)
    }
}

/// Series with their parts.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// Parts of all series, one after the other, those of a series from old to new.
    parts: Vec<Part>,
    /// Where the parts of each series end; empty if each has one.
    ends: Vec<u32>,
}

impl Joined {
    /// Number of series.
    pub(super) fn len(&self) -> usize {
        if self.ends.is_empty() { self.parts.len() } else { self.ends.len() }
    }

    /// The parts of series `i`, from old to new; none if there is no such series.
    pub(super) fn parts(&self, i: usize) -> &[Part] {
        let start = match i.checked_sub(1) {
            _ if self.ends.is_empty() => Some(i),
            None => Some(0),
            Some(before) => self.ends.get(before).map(|end| *end as usize),
        };
        let end = if self.ends.is_empty() { Some(i + 1) } else { self.ends.get(i).map(|end| *end as usize) };
        start.zip(end).and_then(|(start, end)| self.parts.get(start..end)).unwrap_or_default()
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.parts.capacity() * size_of::<Part>() + self.ends.capacity() * size_of::<u32>()
    }

    /// Joins runs, of which older ones come first: each label set becomes one series.
    ///
    /// # Errors
    /// If labels cannot be read or the budget is used up.
    pub(super) fn new(pinned: &Pinned, runs: &[Run], budget: &Budget) -> Result<Self, SourceError> {
        budget.check()?;
        let mut parts = Vec::with_capacity(runs.iter().map(Run::len).sum());
        match runs {
            [Run::Segment(index, ordinals)] => parts.extend(ordinals.iter().map(|o| Part::Segment(*index, o))),
            [Run::Rollup(index, ordinals)] => parts.extend(ordinals.iter().map(|o| Part::Rollup(*index, o))),
            [Run::Head(series)] => parts.extend(series.iter().map(|series| Part::Head(*series))),
            _ => return Self::merged(pinned, runs, parts, budget),
        }
        Ok(Joined { parts, ends: Vec::new() })
    }

    fn merged(pinned: &Pinned, runs: &[Run], mut parts: Vec<Part>, budget: &Budget) -> Result<Self, SourceError> {
        let mut cursors = runs.iter().map(|run| run.cursor(pinned)).collect::<Result<Vec<_>, _>>()?;
        let mut ends = Vec::with_capacity(runs.iter().map(Run::len).max().unwrap_or(0));
        let mut least: Vec<usize> = Vec::with_capacity(runs.len());
        loop {
            least_of(&cursors, &mut least);
            if least.is_empty() {
                return Ok(Joined { parts, ends });
            }
            for place in &least {
                if let Some(cursor) = cursors.get_mut(*place) {
                    parts.extend(cursor.part);
                    cursor.advance()?;
                }
            }
            ends.push(parts.len() as u32);
            if ends.len().is_multiple_of(CHECK_EVERY) {
                budget.check()?;
            }
        }
    }
}

/// The places of the cursors that stand at the first of all series.
fn least_of(cursors: &[Cursor<'_>], least: &mut Vec<usize>) {
    least.clear();
    let mut first: Option<&Cursor<'_>> = None;
    for (place, cursor) in cursors.iter().enumerate().filter(|(_, cursor)| cursor.part.is_some()) {
        match first.map_or(Ordering::Less, |first| cursor.key.cmp(&first.key)) {
            Ordering::Less => {
                least.clear();
                first = Some(cursor);
                least.push(place);
            }
            Ordering::Equal => least.push(place),
            Ordering::Greater => {}
        }
    }
}

/// A run, at one of its series.
struct Cursor<'r> {
    pinned: &'r Pinned,
    from: From<'r>,
    /// None at the end.
    part: Option<Part>,
    /// Of the series at hand.
    key: Vec<u8>,
}

/// What a cursor moves over.
enum From<'r> {
    File(FileKeys<'r>),
    Head(Keys<'r>),
}

/// Series of a file.
struct FileKeys<'r> {
    live: &'r LiveSegment,
    part: fn(u32, u32) -> Part,
    index: u32,
    labels: LabelCursor<'r>,
    ordinals: roaring::bitmap::Iter<'r>,
}

impl<'r> Cursor<'r> {
    fn of_file(
        pinned: &'r Pinned,
        live: &'r LiveSegment,
        part: fn(u32, u32) -> Part,
        index: u32,
        ordinals: &'r RoaringBitmap,
    ) -> Self {
        let labels = live.segment.label_cursor();
        let keys = FileKeys { live, part, index, labels, ordinals: ordinals.iter() };
        Cursor { pinned, from: From::File(keys), part: None, key: Vec::new() }
    }
}

impl Cursor<'_> {
    fn advance(&mut self) -> Result<(), SourceError> {
        self.key.clear();
        self.part = match &mut self.from {
            From::File(keys) => match keys.ordinals.next() {
                Some(ordinal) => {
                    let read = keys.labels.push_key(ordinal, &mut self.key);
                    read.map_err(|error| self.pinned.suspect(keys.live, error))?;
                    Some((keys.part)(keys.index, ordinal))
                }
                None => None,
            },
            From::Head(keys) => keys.next(self.pinned, &mut self.key).map(Part::Head),
        };
        Ok(())
    }
}

/// Keys of series of the head, some at a time.
struct Keys<'r> {
    series: &'r [SeriesRef],
    /// The first series without a key yet.
    next: usize,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Keys that were given.
    at: usize,
}

impl Keys<'_> {
    fn next(&mut self, pinned: &Pinned, key: &mut Vec<u8>) -> Option<SeriesRef> {
        if self.at == self.ends.len() {
            self.refill(pinned);
        }
        let end = *self.ends.get(self.at)?;
        let start = self.at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        key.extend_from_slice(self.bytes.get(start..end)?);
        let series = self.series.get(self.next - self.ends.len() + self.at).copied();
        self.at += 1;
        series
    }

    fn refill(&mut self, pinned: &Pinned) {
        self.bytes.clear();
        self.ends.clear();
        self.at = 0;
        let view = pinned.engine.head.registry.view();
        for series in self.series.iter().skip(self.next).take(HEAD_KEYS) {
            for (name, value) in view.pairs(*series) {
                push_key(view.text(name), view.text(value), &mut self.bytes);
            }
            self.ends.push(self.bytes.len());
        }
        self.next += self.ends.len();
    }
}
