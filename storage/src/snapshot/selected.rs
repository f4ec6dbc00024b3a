//! Selected series: where their samples lie. Labels are put together when someone asks.

use std::sync::Arc;

use model::{
    Budget, Cuts, Labels, Pieces, SampleColumns, SeriesGroups, SeriesSet, SourceError, Summary, TimeRange, Want,
};

use super::groups::{HEAD_GROUPS, HeadGroups};
use super::merged::Merged;
use super::runs::{Joined, Part};
use super::{CHECK_EVERY, Pinned};
use crate::db::engine::LiveSegment;
use crate::error::StorageError;
use crate::segment::{PiecesRequest, Segment, SegmentGroups};

/// A range without any millisecond.
const NOTHING: TimeRange = TimeRange { start_ms: 1, end_ms: 0 };

/// How the samples of a series are read from a segment.
type ReadSegment = fn(&Segment, u32, TimeRange, &mut SampleColumns) -> Result<(), StorageError>;

/// Selected series.
pub(super) struct Selected {
    pub(super) pinned: Arc<Pinned>,
    pub(super) series: Joined,
}

impl Selected {
    /// Where series `i` has samples, and what of the range may be seen; none if nothing.
    fn readable(&self, i: usize, range: TimeRange) -> Result<Option<(&[Part], TimeRange)>, SourceError> {
        let parts = self.series.parts(i);
        let Pinned { retention, taken_ms, .. } = &*self.pinned;
        let oldest_ms = if retention.has_rules() {
            retention.oldest_ms(&self.labels(i)?, *taken_ms)
        } else {
            retention.oldest_of_all_ms(*taken_ms).unwrap_or(i64::MIN)
        };
        let range = TimeRange { start_ms: range.start_ms.max(oldest_ms), ..range };
        Ok((!range.is_empty() && !parts.is_empty()).then_some((parts, range)))
    }

    /// Reads all parts of series `i`, those in segments with `read_segment`.
    fn read(
        &self,
        i: usize,
        range: TimeRange,
        read_segment: ReadSegment,
        budget: &Budget,
        out: &mut SampleColumns,
    ) -> Result<(), SourceError> {
        out.clear();
        budget.check()?;
        let Some((parts, range)) = self.readable(i, range)? else { return Ok(()) };
        let mut merged = Merged { out, newer: SampleColumns::default() };
        for part in parts {
            self.read_part(*part, range, read_segment, &mut merged)?;
        }
        budget.add_samples((out.values.len() + out.histograms.len()) as u64)?;
        Ok(())
    }

    fn segment_part(&self, part: Part) -> Option<(&LiveSegment, u32)> {
        match part {
            Part::Segment(index, ordinal) => Some((self.pinned.segments.get(index as usize)?, ordinal)),
            Part::Head(_) => None,
        }
    }

    /// As [`Selected::segment_part`], if no delete touches the series there.
    fn unmasked_part(&self, part: Part) -> Result<Option<(&LiveSegment, u32)>, SourceError> {
        let (Part::Segment(place, ordinal), Some((live, _))) = (part, self.segment_part(part)) else { return Ok(None) };
        let is_touched = self.pinned.mask(place, live)?.is_some_and(|mask| mask.touches(ordinal));
        Ok((!is_touched).then_some((live, ordinal)))
    }

    /// The ranges that the samples of each part lie in, if there is more than one part.
    fn covered(&self, parts: &[Part]) -> Result<Vec<TimeRange>, SourceError> {
        if parts.len() < 2 {
            return Ok(Vec::new());
        }
        let of = |part: &Part| match (*part, self.segment_part(*part)) {
            (_, Some((live, ordinal))) => {
                live.segment.time_range(ordinal).map_err(|error| self.pinned.suspect(live, error))
            }
            (Part::Head(series), None) => {
                let times = self.pinned.generations.iter().filter_map(|generation| generation.times(series));
                Ok(times.reduce(|a, b| a.union(&b)).unwrap_or(NOTHING))
            }
            (Part::Segment(..), None) => Ok(NOTHING),
        };
        parts.iter().map(of).collect()
    }

    fn read_part(
        &self,
        part: Part,
        range: TimeRange,
        read_segment: ReadSegment,
        out: &mut Merged<'_>,
    ) -> Result<(), SourceError> {
        match part {
            Part::Segment(index, ordinal) => {
                let Some(live) = self.pinned.segments.get(index as usize) else { return Ok(()) };
                let mask = self.pinned.mask(index, live)?.filter(|mask| mask.touches(ordinal));
                let read = out.add(|samples| match mask {
                    None => read_segment(&live.segment, ordinal, range, samples),
                    // All of it: the newest may be hidden, and not the one before.
                    Some(mask) => {
                        live.segment.read(ordinal, range, samples)?;
                        mask.remove(ordinal, samples);
                        Ok(())
                    }
                });
                read.or_else(|error| self.pinned.leave_out(live, error))?;
            }
            Part::Head(series) => {
                for generation in &self.pinned.generations {
                    out.add::<SourceError>(|samples| {
                        generation.read(series, self.pinned.sequence, range, samples);
                        Ok(())
                    })?;
                }
            }
        }
        Ok(())
    }
}

impl SeriesSet for Selected {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, i: usize) -> Result<Labels, SourceError> {
        match self.series.parts(i).last() {
            Some(Part::Segment(index, ordinal)) => match self.pinned.segments.get(*index as usize) {
                Some(live) => live.segment.labels(*ordinal).map_err(|error| self.pinned.suspect(live, error)),
                None => Ok(Labels::empty()),
            },
            Some(Part::Head(series)) => Ok(self.pinned.engine.head.registry.labels(*series)),
            None => Ok(Labels::empty()),
        }
    }

    fn groups(&self, keep: &dyn Fn(&str) -> bool, budget: &Budget) -> Result<SeriesGroups, SourceError> {
        let mut groups = SeriesGroups::default();
        groups.group_of.reserve_exact(self.len());
        let mut of_segments: Vec<Option<SegmentGroups<'_>>> = Vec::new();
        of_segments.resize_with(self.pinned.segments.len(), || None);
        let (mut of_head, mut view) = (HeadGroups::new(keep), None);
        for i in 0..self.len() {
            if i % CHECK_EVERY == 0 {
                budget.check()?;
            }
            if i % HEAD_GROUPS == 0 {
                // Others who wait for the head's locks get their turn.
                view = None;
            }
            // Labels are the same in all parts.
            let place = match self.series.parts(i).last() {
                Some(Part::Segment(index, ordinal)) => {
                    let known = of_segments.get_mut(*index as usize).zip(self.pinned.segments.get(*index as usize));
                    let Some((known, live)) = known else { continue };
                    let known = known.get_or_insert_with(|| SegmentGroups::new(&live.segment, keep));
                    known.place(*ordinal, &mut groups).map_err(|error| self.pinned.suspect(live, error))?
                }
                Some(Part::Head(series)) => {
                    let view = view.get_or_insert_with(|| self.pinned.head_view());
                    of_head.place(view, *series, &mut groups)
                }
                None => groups.place(Labels::empty()),
            };
            groups.group_of.push(place);
        }
        Ok(groups)
    }

    fn samples(&self, i: usize, range: TimeRange, budget: &Budget, out: &mut SampleColumns) -> Result<(), SourceError> {
        self.read(i, range, Segment::read, budget, out)
    }

    fn times(&self, i: usize, range: TimeRange, budget: &Budget, out: &mut SampleColumns) -> Result<(), SourceError> {
        self.read(i, range, Segment::read_times, budget, out)
    }

    fn newest(
        &self,
        i: usize,
        range: TimeRange,
        with_value: bool,
        budget: &Budget,
        out: &mut SampleColumns,
    ) -> Result<(), SourceError> {
        let read = if with_value { Segment::read_newest } else { Segment::read_newest_time };
        self.read(i, range, read, budget, out)
    }

    fn pieces(
        &self,
        i: usize,
        range: TimeRange,
        want: Want,
        cuts: &Cuts,
        budget: &Budget,
        out: &mut Pieces,
    ) -> Result<(), SourceError> {
        out.clear();
        budget.check()?;
        let Some((parts, readable)) = self.readable(i, range)? else { return Ok(()) };
        let covered = self.covered(parts)?;
        let Pieces { samples, summaries } = out;
        let mut merged = Merged { out: samples, newer: SampleColumns::default() };
        for (place, part) in parts.iter().enumerate() {
            let Some((live, ordinal)) = self.unmasked_part(*part)? else {
                self.read_part(*part, readable, Segment::read, &mut merged)?;
                continue;
            };
            let others: Vec<TimeRange> = (0..).zip(&covered).filter(|(p, _)| *p != place).map(|(_, r)| *r).collect();
            let request = PiecesRequest { range: readable, want, cuts, others: &others };
            let read = merged.add(|samples| live.segment.read_pieces(ordinal, &request, samples, summaries));
            if let Err(error) = read {
                self.pinned.leave_out(live, error)?;
                // Summaries of it may be there already: all again, as samples.
                out.summaries.clear();
                return self.samples(i, range, budget, &mut out.samples);
            }
        }
        if parts.len() > 1 {
            summaries.sort_by_key(|summary: &Summary| summary.range.start_ms);
        }
        if !out.samples.histograms.is_empty() && !out.summaries.is_empty() {
            out.summaries.clear();
            return self.samples(i, range, budget, &mut out.samples);
        }
        budget.add_samples((out.samples.values.len() + out.samples.histograms.len() + out.summaries.len()) as u64)?;
        Ok(())
    }
}
