//! Selected series: where their samples lie. Labels are put together when someone asks.

use std::sync::Arc;

use model::{
    Budget, Coarse, Cuts, Labels, Pieces, SampleColumns, SeriesGroups, SeriesSet, SourceError, Summary, TimeRange, Want,
};

use super::groups::{HEAD_GROUPS, HeadGroups};
use super::merged::Merged;
use super::rolled::{BucketsRequest, coarse};
use super::runs::{Joined, Part};
use super::{CHECK_EVERY, Pinned};
use crate::db::engine::LiveSegment;
use crate::error::StorageError;
use crate::rollup::ranges::Ranges;
use crate::segment::{PiecesRequest, Segment, SegmentGroups};

/// A range without any millisecond.
const NOTHING: TimeRange = TimeRange { start_ms: 1, end_ms: 0 };

/// How the samples of a series are read from a segment.
pub(super) type ReadSegment = fn(&Segment, u32, TimeRange, &mut SampleColumns) -> Result<(), StorageError>;

/// Selected series.
pub(crate) struct Selected {
    pub(super) pinned: Arc<Pinned>,
    pub(super) series: Joined,
    /// Length of the coarsest buckets that may stand for samples that are gone; 0 if none do.
    pub(super) coarsest_ms: i64,
}

impl Selected {
    /// The oldest time at which samples of series `i` are kept.
    fn oldest_ms(&self, i: usize) -> Result<i64, SourceError> {
        let Pinned { retention, taken_ms, .. } = &*self.pinned;
        if retention.has_rules() {
            return Ok(retention.oldest_ms(&self.labels(i)?, *taken_ms));
        }
        Ok(retention.oldest_of_all_ms(*taken_ms).unwrap_or(i64::MIN))
    }

    /// The parts of series `i` that are of roll-ups, and those that hold samples.
    fn parts(&self, i: usize) -> (&[Part], &[Part]) {
        let parts = self.series.parts(i);
        parts.split_at(parts.partition_point(|part| matches!(part, Part::Rollup(..))))
    }

    /// Up to this time not all samples are kept, if the oldest that are kept have this one.
    fn gone_ms(&self, oldest_ms: i64) -> i64 {
        oldest_ms.saturating_sub(1).max(self.pinned.rollup_floor_ms)
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
        let (rolled, parts) = self.parts(i);
        let oldest_ms = self.oldest_ms(i)?;
        let mut merged = Merged { out, newer: SampleColumns::default() };
        if !rolled.is_empty() && range.start_ms <= self.gone_ms(oldest_ms) {
            let gone = TimeRange { end_ms: range.end_ms.min(self.gone_ms(oldest_ms)), ..range };
            self.read_tiers(&self.tiers(rolled)?, gone, read_segment, &mut merged)?;
        }
        let range = TimeRange { start_ms: range.start_ms.max(oldest_ms), ..range };
        for part in parts.iter().filter(|_| !range.is_empty()) {
            self.read_part(*part, range, read_segment, &mut merged)?;
        }
        budget.add_samples((out.values.len() + out.histograms.len()) as u64)?;
        Ok(())
    }

    fn segment_part(&self, part: Part) -> Option<(&LiveSegment, u32)> {
        match part {
            Part::Segment(index, ordinal) => Some((self.pinned.segments.get(index as usize)?, ordinal)),
            Part::Rollup(..) | Part::Head(_) => None,
        }
    }

    /// The file with a part, if it is in one.
    fn file(&self, part: Part) -> Option<(&LiveSegment, u32)> {
        match part {
            Part::Rollup(index, ordinal) => Some((self.pinned.rollup(index)?.1, ordinal)),
            _ => self.segment_part(part),
        }
    }

    /// As [`Selected::segment_part`], if no delete touches the series there.
    fn unmasked_part(&self, part: Part) -> Result<Option<(&LiveSegment, u32)>, SourceError> {
        let (Part::Segment(place, ordinal), Some((live, _))) = (part, self.segment_part(part)) else { return Ok(None) };
        let is_touched = self.pinned.mask(place, live)?.is_some_and(|mask| mask.touches(ordinal));
        Ok((!is_touched).then_some((live, ordinal)))
    }

    /// The ranges that the samples of each part lie in.
    fn covered(&self, parts: &[Part]) -> Result<Vec<TimeRange>, SourceError> {
        let of = |part: &Part| match (*part, self.segment_part(*part)) {
            (_, Some((live, ordinal))) => {
                live.segment.time_range(ordinal).map_err(|error| self.pinned.suspect(live, error))
            }
            (Part::Head(series), None) => {
                let times = self.pinned.generations.iter().filter_map(|generation| generation.times(series));
                Ok(times.reduce(|a, b| a.union(&b)).unwrap_or(NOTHING))
            }
            (Part::Segment(..) | Part::Rollup(..), None) => Ok(NOTHING),
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
            // Read on their own, before all others.
            Part::Rollup(..) => {}
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
        match self.series.parts(i).last().copied() {
            Some(Part::Head(series)) => Ok(self.pinned.engine.head.registry.labels(series)),
            Some(part) => match self.file(part) {
                Some((live, ordinal)) => live.segment.labels(ordinal).map_err(|error| self.pinned.suspect(live, error)),
                None => Ok(Labels::empty()),
            },
            None => Ok(Labels::empty()),
        }
    }

    fn groups(&self, keep: &dyn Fn(&str) -> bool, budget: &Budget) -> Result<SeriesGroups, SourceError> {
        let mut groups = SeriesGroups::default();
        groups.group_of.reserve_exact(self.len());
        let mut of_files: Vec<Option<SegmentGroups<'_>>> = Vec::new();
        of_files.resize_with(self.pinned.segments.len() + self.pinned.rollups.len(), || None);
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
                Some(part @ (Part::Segment(..) | Part::Rollup(..))) => {
                    let (place, known) = match part {
                        Part::Rollup(index, _) => (self.pinned.place_of_rollup(*index), self.file(*part)),
                        Part::Segment(index, _) => (*index, self.file(*part)),
                        Part::Head(_) => (0, None),
                    };
                    let known = of_files.get_mut(place as usize).zip(known);
                    let Some((known, (live, ordinal))) = known else { continue };
                    let known = known.get_or_insert_with(|| SegmentGroups::new(&live.segment, keep));
                    known.place(ordinal, &mut groups).map_err(|error| self.pinned.suspect(live, error))?
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

    fn extent(&self, i: usize, range: TimeRange) -> Result<TimeRange, SourceError> {
        let (rolled, parts) = self.parts(i);
        let mut ranges = self.covered(parts)?;
        for (live, ordinal) in rolled.iter().filter_map(|part| self.file(*part)) {
            let times = live.segment.time_range(ordinal).map_err(|error| self.pinned.suspect(live, error))?;
            // What stands for a bucket may lie anywhere in it.
            ranges.push(TimeRange {
                start_ms: times.start_ms.saturating_sub(self.coarsest_ms),
                end_ms: times.end_ms.saturating_add(self.coarsest_ms),
            });
        }
        let all = ranges.into_iter().filter(|part| !part.is_empty()).reduce(|a, b| a.union(&b)).unwrap_or(NOTHING);
        Ok(TimeRange { start_ms: range.start_ms.max(all.start_ms), end_ms: range.end_ms.min(all.end_ms) })
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
        let (rolled, parts) = self.parts(i);
        let oldest_ms = self.oldest_ms(i)?;
        let covered = if parts.len() + rolled.len() > 1 { self.covered(parts)? } else { Vec::new() };
        let readable = TimeRange { start_ms: range.start_ms.max(oldest_ms), ..range };
        let left = if rolled.is_empty() {
            Ranges::of(readable)
        } else {
            let in_head = parts.iter().zip(&covered).filter(|(part, _)| matches!(part, Part::Head(_)));
            let newer = in_head.map(|(_, times)| *times).collect();
            let request = BucketsRequest { range, want, cuts, gone_ms: self.gone_ms(oldest_ms), newer };
            self.take_buckets(&self.tiers(rolled)?, &request, out)?.rest_of(readable)
        };
        let Pieces { samples, summaries, .. } = out;
        let mut merged = Merged { out: samples, newer: SampleColumns::default() };
        for (place, part) in parts.iter().enumerate() {
            let times = covered.get(place).copied().unwrap_or(TimeRange::ALL);
            let mut here = left.within(times).peekable();
            if here.peek().is_none() {
                continue;
            }
            let Some((live, ordinal)) = self.unmasked_part(*part)? else {
                here.try_for_each(|range| self.read_part(*part, range, Segment::read, &mut merged))?;
                continue;
            };
            let others: Vec<TimeRange> = (0..)
                .zip(&covered)
                .filter(|(other, covered)| *other != place && covered.overlaps(&times))
                .map(|(_, covered)| *covered)
                .collect();
            let read = merged.add(|samples| {
                here.try_for_each(|range| {
                    let request = PiecesRequest { range, want, cuts, others: &others };
                    live.segment.read_pieces(ordinal, &request, samples, summaries)
                })
            });
            if let Err(error) = read {
                self.pinned.leave_out(live, error)?;
                // Summaries of it may be there already: all again, as samples.
                out.clear();
                return self.samples(i, range, budget, &mut out.samples);
            }
        }
        if parts.len() + rolled.len() > 1 {
            summaries.sort_by_key(|summary: &Summary| summary.range.start_ms);
        }
        if !out.samples.histograms.is_empty() && !out.summaries.is_empty() {
            out.summaries.clear();
            return self.samples(i, range, budget, &mut out.samples);
        }
        budget.add_samples((out.samples.values.len() + out.samples.histograms.len() + out.summaries.len()) as u64)?;
        Ok(())
    }

    fn coarsest_ms(&self) -> i64 {
        self.coarsest_ms
    }

    fn coarse(&self, i: usize, range: TimeRange) -> Result<Vec<Coarse>, SourceError> {
        let (rolled, _) = self.parts(i);
        if rolled.is_empty() {
            return Ok(Vec::new());
        }
        let gone = TimeRange { end_ms: range.end_ms.min(self.gone_ms(self.oldest_ms(i)?)), ..range };
        Ok(if gone.is_empty() { Vec::new() } else { coarse(&self.tiers(rolled)?, gone) })
    }
}
