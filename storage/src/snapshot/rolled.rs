//! What roll-ups say of the selected series.
//!
//! Where samples are kept, buckets only save the reading of samples: one is taken if no cut parts its samples, if nothing
//! came or went since it was built, and if enough of its neighbours are taken with it. Where samples are gone, the finest
//! resolution that is kept stands for them: for who asks for samples, the last one of each bucket; for who asks for
//! pieces, coarse buckets where they are whole, and else each bucket of the finest at the time of its last sample.

use model::{Coarse, Cuts, Pieces, SourceError, Summary, TimeRange, Want};

use super::merged::Merged;
use super::runs::Part;
use super::selected::{ReadSegment, Selected};
use crate::codec::BLOCK_SAMPLES_MAX;
use crate::db::engine::LiveSegment;
use crate::deletes::Mask;
use crate::error::StorageError;
use crate::rollup::bucket::times_of;
use crate::rollup::entry::RollupEntry;
use crate::rollup::ranges::Ranges;
use crate::segment::is_summable;

/// Samples that a row of buckets must stand for: at both ends of the row a block of samples is read all the same.
pub(super) const SAVED_SAMPLES_MIN: u64 = 2 * BLOCK_SAMPLES_MAX as u64;

/// A run with the series.
struct TierRun<'s> {
    entry: &'s RollupEntry,
    live: &'s LiveSegment,
    mask: Option<&'s Mask>,
    ordinal: u32,
}

/// The runs of one resolution with the series.
pub(super) struct Tier<'s> {
    resolution_ms: i64,
    /// What is older is not seen.
    oldest_ms: i64,
    runs: Vec<TierRun<'s>>,
}

impl Tier<'_> {
    /// What the runs tell of, as far as it is seen.
    fn seen(&self) -> Ranges {
        let mut seen: Ranges = self.runs.iter().flat_map(|run| run.entry.ranges.iter().collect::<Vec<_>>()).collect();
        if let Some(end_ms) = self.oldest_ms.checked_sub(1) {
            seen.remove(TimeRange { start_ms: i64::MIN, end_ms });
        }
        seen
    }
}

impl TierRun<'_> {
    /// The buckets that count and may have samples in the range.
    fn buckets(
        &self,
        tier: &Tier<'_>,
        range: TimeRange,
        want: Want,
        mut each: impl FnMut(TimeRange, &Summary),
    ) -> Result<(), StorageError> {
        let mut found = Vec::new();
        self.live.segment.read_buckets(self.ordinal, range, want, &mut found)?;
        for summary in &found {
            let times = times_of(summary.last.timestamp_ms, tier.resolution_ms);
            let is_hidden = || self.mask.is_some_and(|mask| mask.hides_some(self.ordinal, summary.range));
            if times.end_ms >= tier.oldest_ms && self.entry.ranges.contains(times.end_ms) && !is_hidden() {
                each(times, summary);
            }
        }
        Ok(())
    }
}

/// What is asked of the buckets of a series.
pub(super) struct BucketsRequest<'a> {
    pub(super) range: TimeRange,
    pub(super) want: Want,
    pub(super) cuts: &'a Cuts,
    /// Up to this time samples are gone.
    pub(super) gone_ms: i64,
    /// Where there may be samples that no run knows of.
    pub(super) newer: Ranges,
}

impl BucketsRequest<'_> {
    /// True if a bucket of these times stands for all its samples, and no cut parts them.
    fn takes(&self, entry: &RollupEntry, times: TimeRange, summary: &Summary) -> bool {
        let inside = self.range.start_ms <= summary.range.start_ms && summary.range.end_ms <= self.range.end_ms;
        // Where the bucket begins with samples that are gone, it is all there is of them.
        let is_whole = times.start_ms <= self.gone_ms
            || !(entry.touched.overlaps(times)
                || self.newer.overlaps(times)
                || (self.want.has(Want::SUM) && !is_summable(summary.min, summary.max)));
        inside && is_whole && !self.cuts.split(summary.range)
    }
}

impl Selected {
    /// Roll-ups of a series, from fine to coarse.
    pub(super) fn tiers(&self, parts: &[Part]) -> Result<Vec<Tier<'_>>, SourceError> {
        let mut tiers: Vec<Tier<'_>> = Vec::new();
        for part in parts {
            let Part::Rollup(index, ordinal) = *part else { continue };
            let Some((entry, live)) = self.pinned.rollup(index) else { continue };
            let mask = self.pinned.mask(self.pinned.place_of_rollup(index), live)?.filter(|m| m.touches(ordinal));
            let run = TierRun { entry, live, mask, ordinal };
            // Runs stand in order of their resolution.
            match tiers.last_mut().filter(|tier| tier.resolution_ms == entry.resolution_ms) {
                Some(tier) => tier.runs.push(run),
                None => {
                    let resolution_ms = entry.resolution_ms;
                    let oldest_ms = self.pinned.oldest_of_rollup_ms(resolution_ms);
                    tiers.push(Tier { resolution_ms, oldest_ms, runs: vec![run] });
                }
            }
        }
        Ok(tiers)
    }

    /// Adds the last samples of the buckets that stand for samples that are gone.
    pub(super) fn read_tiers(
        &self,
        tiers: &[Tier<'_>],
        gone: TimeRange,
        read_segment: ReadSegment,
        out: &mut Merged<'_>,
    ) -> Result<(), SourceError> {
        let mut left = Ranges::of(gone);
        for tier in tiers {
            let seen = tier.seen();
            let here = left.both(&seen);
            for run in &tier.runs {
                for range in here.both(&run.entry.ranges).iter() {
                    let read = out.add(|samples| {
                        if run.mask.is_none() {
                            return read_segment(&run.live.segment, run.ordinal, range, samples);
                        }
                        run.live.segment.read(run.ordinal, range, samples)?;
                        run.mask.iter().for_each(|mask| mask.remove(run.ordinal, samples));
                        Ok(())
                    });
                    read.map_err(|error| self.pinned.suspect(run.live, error))?;
                }
            }
            seen.iter().for_each(|range| left.remove(range));
        }
        Ok(())
    }

    /// Puts summaries of buckets into `out` and tells for which times they stand.
    pub(super) fn take_buckets(
        &self,
        tiers: &[Tier<'_>],
        request: &BucketsRequest<'_>,
        out: &mut Pieces,
    ) -> Result<Ranges, SourceError> {
        let mut taken = Ranges::default();
        // Whether a sum can be taken goes by the extremes.
        let want = if request.want.has(Want::SUM) { request.want.and(Want::EXTREMES) } else { request.want };
        for tier in tiers.iter().rev() {
            let mut whole: Vec<(TimeRange, Summary)> = Vec::new();
            for run in &tier.runs {
                let of_run = run.entry.ranges.both(&Ranges::of(request.range));
                if of_run.iter().all(|range| taken.covers(range)) {
                    continue;
                }
                let read = run.buckets(tier, request.range, want, |times, summary| {
                    if request.takes(run.entry, times, summary) && !taken.overlaps(times) {
                        whole.push((times, *summary));
                    }
                });
                read.map_err(|error| self.pinned.suspect(run.live, error))?;
            }
            for row in whole.chunk_by(|(a, _), (b, _)| a.end_ms.checked_add(1) == Some(b.start_ms)) {
                let pays = row.iter().map(|(_, summary)| summary.count).sum::<u64>() >= self.pinned.saved_samples_min;
                for (times, summary) in row.iter().filter(|(times, _)| pays || times.start_ms <= request.gone_ms) {
                    taken.insert(*times);
                    out.summaries.push(*summary);
                }
            }
        }
        self.take_split(tiers, request, want, &mut taken, out)?;
        out.summaries.sort_by_key(|summary| summary.range.start_ms);
        Ok(taken)
    }

    /// Takes what is left where samples are gone: whole buckets at the times of their last samples.
    fn take_split(
        &self,
        tiers: &[Tier<'_>],
        request: &BucketsRequest<'_>,
        want: Want,
        taken: &mut Ranges,
        out: &mut Pieces,
    ) -> Result<(), SourceError> {
        let gone = TimeRange { end_ms: request.range.end_ms.min(request.gone_ms), ..request.range };
        let mut left = taken.rest_of(gone);
        let mut stood_for = Vec::new();
        for tier in tiers {
            if left.is_empty() {
                break;
            }
            for run in tier.runs.iter().filter(|run| !left.both(&run.entry.ranges).is_empty()) {
                let read = run.buckets(tier, gone, want, |_, summary| {
                    let end_ms = summary.last.timestamp_ms;
                    if left.contains(end_ms) && !taken.overlaps(summary.range) {
                        stood_for.push(summary.range);
                        out.has_split_buckets = true;
                        out.summaries.push(Summary { range: TimeRange { start_ms: end_ms, end_ms }, ..*summary });
                    }
                });
                read.map_err(|error| self.pinned.suspect(run.live, error))?;
            }
            tier.seen().iter().for_each(|range| left.remove(range));
        }
        stood_for.into_iter().for_each(|range| taken.insert(range));
        Ok(())
    }
}

/// Where the tiers stand for samples that are gone.
pub(super) fn coarse(tiers: &[Tier<'_>], gone: TimeRange) -> Vec<Coarse> {
    let (mut until_ms, mut found) = (gone.end_ms, Vec::new());
    for tier in tiers {
        let Some(seen) = tier.seen().span().filter(|seen| seen.start_ms <= until_ms) else { continue };
        if until_ms < gone.start_ms {
            break;
        }
        found.push(Coarse { until_ms, resolution_ms: tier.resolution_ms });
        until_ms = seen.start_ms.saturating_sub(1);
    }
    found.reverse();
    found
}
