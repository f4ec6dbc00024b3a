//! A consistent view: the segments, the frozen head and the active head of one moment, merged by series.
//!
//! A snapshot is its own sequence and a list of things that do not change: segments, and generations of the head read
//! only up to that sequence (`head/chunk.rs` says how). A flush moves samples from one to the other in a single change
//! of the engine's view, of which a snapshot takes either the old or the new state; so it sees each sample once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{
    Budget, Cuts, Labels, Matcher, Pieces, SampleColumns, Scope, SeriesSet, SeriesSource, SourceError, Summary,
    TimeRange, Want,
};
use parking_lot::Mutex;

use crate::batch::SeriesRef;
use crate::db::engine::{Engine, LiveSegment};
use crate::error::StorageError;
use crate::head::epoch::Pin;
use crate::head::generation::Generation;
use crate::retention::RetentionRules;
use crate::segment::PiecesRequest;

/// Series up to which sorting texts is cheaper than ranking all symbols.
const SORT_TEXTS_MAX: usize = 4096;
/// Series that are looked at between two looks at the budget.
const CHECK_EVERY: usize = 1024;

/// The sequences of the snapshots that are open.
#[derive(Debug, Default)]
pub(crate) struct OpenSnapshots {
    sequences: Mutex<BTreeMap<u64, u64>>,
}

impl OpenSnapshots {
    fn open(&self, sequence: u64) {
        *self.sequences.lock().entry(sequence).or_insert(0) += 1;
    }

    fn close(&self, sequence: u64) {
        let mut sequences = self.sequences.lock();
        if let Some(count) = sequences.get_mut(&sequence) {
            *count -= 1;
            if *count == 0 {
                sequences.remove(&sequence);
            }
        }
    }

    /// The oldest and the newest.
    pub(crate) fn range(&self) -> Option<(u64, u64)> {
        let sequences = self.sequences.lock();
        Some((*sequences.keys().next()?, *sequences.keys().next_back()?))
    }

    /// Number of open snapshots.
    pub(crate) fn count(&self) -> u64 {
        self.sequences.lock().values().sum()
    }
}

/// A consistent view of the database.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pinned: Arc<Pinned>,
}

/// What a snapshot keeps from changing.
#[derive(Debug)]
struct Pinned {
    engine: Arc<Engine>,
    segments: Arc<Vec<Arc<LiveSegment>>>,
    /// Frozen and active, in this order.
    generations: Vec<Arc<Generation>>,
    sequence: u64,
    /// What is older than these say at `taken_ms` is not seen.
    retention: Arc<RetentionRules>,
    taken_ms: i64,
    /// Keeps the numbers of series from being used again.
    _epoch: Pin,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.engine.snapshots.close(self.sequence);
    }
}

impl Snapshot {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        let epoch = engine.head.epochs.pin_reader();
        // Under the view's lock no batch is applied: the next one finds the snapshot open.
        let view = engine.view.read();
        engine.snapshots.open(view.sequence);
        let frozen = view.frozen.as_ref().map(|frozen| frozen.generation.clone());
        let pinned = Pinned {
            engine: engine.clone(),
            segments: view.segments.clone(),
            generations: frozen.into_iter().chain([view.active.clone()]).collect(),
            sequence: view.sequence,
            retention: engine.retention.read().clone(),
            taken_ms: engine.clock.now_ms(),
            _epoch: epoch,
        };
        Snapshot { pinned: Arc::new(pinned) }
    }

    /// Sequence of the last batch that the snapshot sees.
    pub fn sequence(&self) -> u64 {
        self.pinned.sequence
    }
}

impl Pinned {
    fn overlapping(&self, range: TimeRange) -> impl Iterator<Item = (u32, &LiveSegment)> {
        let segments = self.segments.iter().map(|live| &**live);
        (0..).zip(segments).filter(move |(_, live)| live.entry.times.overlaps(&range))
    }

    /// True if the head has samples of the series that this snapshot sees, in the range.
    fn head_has(&self, series: SeriesRef, range: TimeRange) -> bool {
        self.generations.iter().any(|generation| generation.has_samples(series, self.sequence, range))
    }

    /// The series of the head that pass, in order of labels.
    fn select_head(
        &self,
        scope: &Scope,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<(Labels, SeriesRef)>, SourceError> {
        let head = &self.engine.head;
        let mut found = Vec::new();
        for (i, series) in head.postings.select(&head.registry, scope, matchers).iter().map(SeriesRef).enumerate() {
            if i % CHECK_EVERY == 0 {
                budget.check()?;
            }
            if self.head_has(series, range) {
                found.push(series);
            }
        }
        if found.len() > SORT_TEXTS_MAX {
            let ordered = head.registry.ordered(&found);
            return Ok(ordered.series().enumerate().map(|(i, series)| (ordered.labels(i), series)).collect());
        }
        let view = head.registry.view();
        let mut list: Vec<(Labels, SeriesRef)> = found.into_iter().map(|s| (view.labels(s), s)).collect();
        drop(view);
        list.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(list)
    }

    fn suspect(&self, live: &LiveSegment, error: StorageError) -> SourceError {
        self.engine.suspect(live.entry.id, &error);
        error.into()
    }
}

/// A range without any millisecond.
const NOTHING: TimeRange = TimeRange { start_ms: 1, end_ms: 0 };

/// Where samples of a series lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// Index of the segment and ordinal in it. Segments stand in order of sequence.
    Segment(u32, u32),
    /// In the generations of the head, which are newer than all segments.
    Head(SeriesRef),
}

/// Selected series.
struct Selected {
    pinned: Arc<Pinned>,
    series: Vec<SelectedSeries>,
    /// Parts of all series, one after the other, those of a series from old to new.
    parts: Vec<Part>,
}

struct SelectedSeries {
    labels: Labels,
    first_part: u32,
    end_part: u32,
}

impl SeriesSource for Snapshot {
    fn select(
        &self,
        scope: &Scope,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Box<dyn SeriesSet + '_>, SourceError> {
        let pinned = &self.pinned;
        if range.is_empty() {
            return Ok(Box::new(Selected { pinned: pinned.clone(), series: Vec::new(), parts: Vec::new() }));
        }
        let mut found: Vec<(Labels, Part)> = Vec::new();
        let mut runs = 0;
        for (index, live) in pinned.overlapping(range) {
            let failed = |error| pinned.suspect(live, error);
            let before = found.len();
            for (i, ordinal) in live.segment.select(scope, matchers).map_err(failed)?.iter().enumerate() {
                if i % CHECK_EVERY == 0 {
                    budget.check()?;
                }
                found.push((live.segment.labels(ordinal).map_err(failed)?, Part::Segment(index, ordinal)));
            }
            runs += usize::from(found.len() > before);
        }
        let head = pinned.select_head(scope, matchers, range, budget)?;
        runs += usize::from(!head.is_empty());
        found.extend(head.into_iter().map(|(labels, series)| (labels, Part::Head(series))));
        if runs > 1 {
            // Sorted runs one after the other: the stable sort merges them, and keeps parts from old to new.
            found.sort_by(|a, b| a.0.cmp(&b.0));
        }
        let selected = Selected::new(pinned.clone(), found);
        let bytes = selected.series.iter().map(|s| s.labels.heap_bytes() + size_of::<SelectedSeries>()).sum::<usize>();
        budget.take_bytes((bytes + selected.parts.len() * size_of::<Part>()) as u64)?;
        Ok(Box::new(selected))
    }

    fn label_names(
        &self,
        scope: &Scope,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<String>, SourceError> {
        let pinned = &self.pinned;
        let mut names = BTreeSet::new();
        if scope.forced().is_some() || !matchers.is_empty() {
            let set = self.select(scope, matchers, range, budget)?;
            for i in 0..set.len() {
                budget.check()?;
                names.extend(set.labels(i)?.iter().map(|(name, _)| name.to_owned()));
            }
        } else {
            for (_, live) in pinned.overlapping(range) {
                names.extend(live.segment.label_names().map(str::to_owned));
            }
            let head = &pinned.engine.head;
            names.extend(head.postings.names(&head.registry, |series| pinned.head_has(series, range)));
        }
        Ok(names.into_iter().collect())
    }

    fn label_values(
        &self,
        scope: &Scope,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<String>, SourceError> {
        let pinned = &self.pinned;
        let mut values = BTreeSet::new();
        if scope.forced().is_some() || !matchers.is_empty() {
            let set = self.select(scope, matchers, range, budget)?;
            for i in 0..set.len() {
                budget.check()?;
                if let Some(value) = set.labels(i)?.get(name)
                    && !values.contains(value)
                {
                    values.insert(value.to_owned());
                }
            }
        } else {
            for (_, live) in pinned.overlapping(range) {
                values.extend(live.segment.label_values(name).map_err(|error| pinned.suspect(live, error))?);
            }
            let head = &pinned.engine.head;
            values.extend(head.postings.values(&head.registry, name, |series| pinned.head_has(series, range)));
        }
        Ok(values.into_iter().collect())
    }
}

impl Selected {
    /// Joins neighbours with equal labels into one series.
    fn new(pinned: Arc<Pinned>, found: Vec<(Labels, Part)>) -> Self {
        let mut series: Vec<SelectedSeries> = Vec::new();
        let mut parts = Vec::with_capacity(found.len());
        for (labels, part) in found {
            let end_part = parts.len() as u32 + 1;
            match series.last_mut().filter(|last| last.labels == labels) {
                Some(last) => last.end_part = end_part,
                None => series.push(SelectedSeries { labels, first_part: end_part - 1, end_part }),
            }
            parts.push(part);
        }
        Selected { pinned, series, parts }
    }

    /// Where series `i` has samples, and what of the range may be seen; none if nothing.
    fn readable(&self, i: usize, range: TimeRange) -> Option<(&[Part], TimeRange)> {
        let series = self.series.get(i)?;
        let parts = self.parts.get(series.first_part as usize..series.end_part as usize)?;
        let oldest_ms = self.pinned.retention.oldest_ms(&series.labels, self.pinned.taken_ms);
        let range = TimeRange { start_ms: range.start_ms.max(oldest_ms), ..range };
        (!range.is_empty()).then_some((parts, range))
    }

    fn segment_part(&self, part: Part) -> Option<(&LiveSegment, u32)> {
        match part {
            Part::Segment(index, ordinal) => Some((self.pinned.segments.get(index as usize)?, ordinal)),
            Part::Head(_) => None,
        }
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

    fn read_part(&self, part: Part, range: TimeRange, out: &mut Merged<'_>) -> Result<(), SourceError> {
        match part {
            Part::Segment(index, ordinal) => {
                let Some(live) = self.pinned.segments.get(index as usize) else { return Ok(()) };
                let read = out.add(|samples| live.segment.read(ordinal, range, samples));
                read.map_err(|error| self.pinned.suspect(live, error))?;
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
        Ok(self.series.get(i).map_or_else(Labels::empty, |series| series.labels.clone()))
    }

    fn samples(&self, i: usize, range: TimeRange, budget: &Budget, out: &mut SampleColumns) -> Result<(), SourceError> {
        out.clear();
        budget.check()?;
        let Some((parts, range)) = self.readable(i, range) else { return Ok(()) };
        let mut merged = Merged { out, newer: SampleColumns::default() };
        for part in parts {
            self.read_part(*part, range, &mut merged)?;
        }
        budget.add_samples((out.values.len() + out.histograms.len()) as u64)?;
        Ok(())
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
        let Some((parts, readable)) = self.readable(i, range) else { return Ok(()) };
        let covered = self.covered(parts)?;
        let Pieces { samples, summaries } = out;
        let mut merged = Merged { out: samples, newer: SampleColumns::default() };
        for (place, part) in parts.iter().enumerate() {
            let Some((live, ordinal)) = self.segment_part(*part) else {
                self.read_part(*part, readable, &mut merged)?;
                continue;
            };
            let others: Vec<TimeRange> = (0..).zip(&covered).filter(|(p, _)| *p != place).map(|(_, r)| *r).collect();
            let request = PiecesRequest { range: readable, want, cuts, others: &others };
            let read = merged.add(|samples| live.segment.read_pieces(ordinal, &request, samples, summaries));
            read.map_err(|error| self.pinned.suspect(live, error))?;
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

/// Samples of one series, to which newer ones are added: at equal times the newer wins.
pub(crate) struct Merged<'a> {
    pub(crate) out: &'a mut SampleColumns,
    pub(crate) newer: SampleColumns,
}

impl Merged<'_> {
    /// Adds what `read` appends.
    pub(crate) fn add<E>(&mut self, read: impl FnOnce(&mut SampleColumns) -> Result<(), E>) -> Result<(), E> {
        if self.out.is_empty() {
            return read(self.out);
        }
        self.newer.clear();
        read(&mut self.newer)?;
        merge(self.out, &mut self.newer);
        Ok(())
    }
}

/// Merges `newer` into `out`. A time is in one of the two columns of the result, floats or histograms.
fn merge(out: &mut SampleColumns, newer: &mut SampleColumns) {
    if newer.is_empty() {
        return;
    }
    let plain = out.histograms.is_empty() && newer.histograms.is_empty();
    let behind = out.timestamps_ms.last().is_none_or(|last| newer.timestamps_ms.first().is_none_or(|t| last < t));
    if plain && behind {
        out.timestamps_ms.append(&mut newer.timestamps_ms);
        out.values.append(&mut newer.values);
        return;
    }
    let replaced: BTreeSet<i64> = newer.histograms.iter().map(|(ms, _)| *ms).collect();
    let older = std::mem::take(out);
    let mut floats = newer.timestamps_ms.iter().copied().zip(newer.values.iter().copied()).peekable();
    for (ms, value) in older.timestamps_ms.into_iter().zip(older.values) {
        while let Some((newer_ms, newer_value)) = floats.next_if(|(newer_ms, _)| *newer_ms <= ms) {
            out.push(newer_ms, newer_value);
        }
        if out.timestamps_ms.last() != Some(&ms) && !replaced.contains(&ms) {
            out.push(ms, value);
        }
    }
    for (ms, value) in floats {
        out.push(ms, value);
    }
    if plain {
        return;
    }
    let mut histograms: BTreeMap<i64, _> = older.histograms.into_iter().collect();
    histograms.retain(|ms, _| newer.timestamps_ms.binary_search(ms).is_err());
    histograms.extend(newer.histograms.drain(..));
    out.histograms = histograms.into_iter().collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Histogram;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn merging_is_writing_over(
            older in prop::collection::btree_map(0_i64..12, any::<bool>(), 0..8),
            newer in prop::collection::btree_map(0_i64..12, any::<bool>(), 0..8),
        ) {
            let columns = |map: &BTreeMap<i64, bool>, value: f64| {
                let mut out = SampleColumns::default();
                for (ms, histogram) in map {
                    if *histogram {
                        out.histograms.push((*ms, Arc::new(Histogram { sum: value, ..Histogram::default() })));
                    } else {
                        out.push(*ms, value);
                    }
                }
                out
            };
            let mut out = columns(&older, 1.0);
            merge(&mut out, &mut columns(&newer, 2.0));
            let mut model: BTreeMap<i64, (bool, f64)> = older.iter().map(|(ms, h)| (*ms, (*h, 1.0))).collect();
            model.extend(newer.iter().map(|(ms, h)| (*ms, (*h, 2.0))));
            let floats: Vec<(i64, f64)> = out.floats().map(|s| (s.timestamp_ms, s.value)).collect();
            let of = |kind: bool| model.iter().filter(move |(_, (h, _))| *h == kind).map(|(ms, (_, v))| (*ms, *v));
            prop_assert_eq!(floats, of(false).collect::<Vec<_>>());
            let histograms: Vec<(i64, f64)> = out.histograms.iter().map(|(ms, h)| (*ms, h.sum)).collect();
            prop_assert_eq!(histograms, of(true).collect::<Vec<_>>());
        }
    }
}
