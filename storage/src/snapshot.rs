//! A consistent view: the segments, the frozen head and the active head of one moment, merged by series.
//!
//! A snapshot is its own sequence and a list of things that do not change: segments, and generations of the head read
//! only up to that sequence (`head/chunk.rs` says how). A flush moves samples from one to the other in a single change
//! of the engine's view, of which a snapshot takes either the old or the new state; so it sees each sample once.

mod groups;
mod masks;
mod merged;
mod rolled;
mod runs;
mod selected;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Budget, Matcher, Scope, SeriesSet, SeriesSource, SourceError, TimeRange};
use parking_lot::Mutex;

use crate::batch::SeriesRef;
use crate::db::engine::{Engine, LiveSegment, Rollup};
use crate::deletes::{Delete, Mask};
use crate::error::StorageError;
use crate::head::epoch::Pin;
use crate::head::generation::Generation;
use crate::manifest::SegmentEntry;
use crate::retention::RetentionRules;
use crate::rollup::entry::RollupEntry;
pub(crate) use groups::HeadGroups;
use masks::Masks;
pub(crate) use merged::Merged;
use runs::{Joined, Run};
pub(crate) use selected::Selected;

/// Series up to which sorting texts is cheaper than ranking all symbols.
const SORT_TEXTS_MAX: usize = 4096;
/// Texts of what cannot be reached that one snapshot keeps.
const UNREACHABLE_MAX: usize = 10;
/// Buckets in a range from which on a run of roll-ups is looked at although the samples are there.
const BUCKETS_MIN: i64 = 16;
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
    rollups: Arc<Vec<Rollup>>,
    /// Up to this time samples were dropped, for their age or size.
    rollup_floor_ms: i64,
    /// A row of buckets must stand for as many samples to be taken in their place.
    saved_samples_min: u64,
    /// Frozen and active, in this order.
    generations: Vec<Arc<Generation>>,
    /// What they hide is not seen.
    masks: Masks,
    sequence: u64,
    /// What is older than these say at `taken_ms` is not seen.
    retention: Arc<RetentionRules>,
    taken_ms: i64,
    /// What was left out of reads because it could not be reached.
    unreachable: Mutex<BTreeSet<String>>,
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
            rollups: view.rollups.clone(),
            rollup_floor_ms: view.rollup_floor_ms,
            saved_samples_min: rolled::SAVED_SAMPLES_MIN,
            generations: frozen.into_iter().chain([view.active.clone()]).collect(),
            masks: Masks::new(view.deletes.clone(), view.segments.len() + view.rollups.len()),
            sequence: view.sequence,
            retention: engine.retention.read().clone(),
            taken_ms: engine.clock.now_ms(),
            unreachable: Mutex::default(),
            _epoch: epoch,
        };
        Snapshot { pinned: Arc::new(pinned) }
    }

    /// What will be seen when a delete counts.
    ///
    /// # Errors
    /// Those of reading the segments' indexes.
    pub(crate) fn without(engine: &Arc<Engine>, delete: &Delete) -> Result<Self, StorageError> {
        let mut snapshot = Snapshot::new(engine);
        if let Some(pinned) = Arc::get_mut(&mut snapshot.pinned) {
            let rollups = pinned.rollups.iter().map(|run| run.live.as_ref());
            pinned.masks = pinned.masks.with(delete, pinned.segments.iter().map(Some).chain(rollups))?;
        }
        Ok(snapshot)
    }

    /// What the reads so far had to leave out because it is kept elsewhere and cannot be reached now, for people; at most
    /// some of it, if there is much.
    pub fn unreachable(&self) -> Vec<String> {
        self.pinned.unreachable.lock().iter().cloned().collect()
    }

    /// All samples in segments, whatever retention says, and no roll-ups: what these are built from. The head may have
    /// some that came when they were too old already, and that no flush writes.
    pub(crate) fn of_samples(engine: &Arc<Engine>) -> Self {
        let mut snapshot = Snapshot::new(engine);
        if let Some(pinned) = Arc::get_mut(&mut snapshot.pinned) {
            pinned.rollups = Arc::default();
            pinned.rollup_floor_ms = i64::MIN;
            pinned.retention = Arc::default();
            pinned.generations.clear();
        }
        snapshot
    }

    /// Sequence of the last batch that is in segments.
    pub(crate) fn flushed_sequence(&self) -> u64 {
        self.entries().map(|entry| entry.sequence_max).max().unwrap_or_default()
    }

    /// Takes buckets wherever they are right, although that saves nothing.
    #[cfg(test)]
    pub(crate) fn with_short_rows(mut self) -> Self {
        if let Some(pinned) = Arc::get_mut(&mut self.pinned) {
            pinned.saved_samples_min = 0;
        }
        self
    }

    /// The segments.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &SegmentEntry> {
        self.pinned.segments.iter().map(|live| &live.entry)
    }

    /// What is hidden.
    pub(crate) fn deletes(&self) -> &[Delete] {
        self.pinned.masks.deletes()
    }

    /// The numbers of the segments and of the deletes.
    pub(crate) fn made_of(&self) -> (Vec<u64>, Vec<u64>) {
        let segments = self.pinned.segments.iter().map(|live| live.entry.id).collect();
        (segments, self.pinned.masks.deletes().iter().map(|delete| delete.id).collect())
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

    /// A run of roll-ups.
    fn rollup(&self, index: u32) -> Option<(&RollupEntry, &LiveSegment)> {
        let run = self.rollups.get(index as usize)?;
        Some((&run.entry, run.live.as_deref()?))
    }

    /// The place of a run among the masks.
    fn place_of_rollup(&self, index: u32) -> u32 {
        (self.segments.len() as u32).saturating_add(index)
    }

    /// The oldest time whose buckets are seen.
    fn oldest_of_rollup_ms(&self, resolution_ms: i64) -> i64 {
        self.engine.options.rollups.oldest_ms(resolution_ms, self.taken_ms)
    }

    /// Up to this time samples of some series may be gone.
    fn gone_of_any_ms(&self) -> i64 {
        self.retention.newest_of_all_ms(self.taken_ms).saturating_sub(1).max(self.rollup_floor_ms)
    }

    /// The runs of roll-ups that may say something of the range that the samples do not say as cheaply.
    fn rollups_for(&self, range: TimeRange) -> impl Iterator<Item = (u32, &RollupEntry, &LiveSegment)> {
        let reaches_back = range.start_ms <= self.gone_of_any_ms();
        let length_ms = range.end_ms.saturating_sub(range.start_ms);
        (0..).zip(self.rollups.iter()).filter_map(move |(index, run)| {
            let (entry, live) = (&run.entry, run.live.as_deref()?);
            let start_ms = range.start_ms.saturating_sub(entry.resolution_ms);
            let is_long = length_ms / entry.resolution_ms.max(1) >= BUCKETS_MIN;
            let is_seen = live.entry.times.end_ms >= self.oldest_of_rollup_ms(entry.resolution_ms);
            let is_in = entry.ranges.overlaps(TimeRange { start_ms, ..range });
            (is_in && is_seen && (reaches_back || is_long)).then_some((index, entry, live))
        })
    }

    /// True if the head has samples of the series that this snapshot sees, in the range.
    fn head_has(&self, series: SeriesRef, range: TimeRange) -> bool {
        self.generations.iter().any(|generation| generation.has_samples(series, self.sequence, range))
    }

    /// True if the head has no sample at all, as after a flush.
    fn head_is_empty(&self) -> bool {
        self.generations.iter().all(|generation| generation.sample_count() == 0)
    }

    /// The series of the head that pass, in order of labels.
    fn select_head(
        &self,
        scope: &Scope,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<SeriesRef>, SourceError> {
        let head = &self.engine.head;
        let mut found = Vec::new();
        if self.head_is_empty() {
            return Ok(found);
        }
        for (i, series) in head.postings.select(&head.registry, scope, matchers).iter().map(SeriesRef).enumerate() {
            if i % CHECK_EVERY == 0 {
                budget.check()?;
            }
            if self.head_has(series, range) {
                found.push(series);
            }
        }
        if found.len() > SORT_TEXTS_MAX {
            return Ok(head.registry.ordered(&found));
        }
        let view = head.registry.view();
        found.sort_by_cached_key(|series| view.labels(*series));
        Ok(found)
    }

    /// What deletes hide of the segment at a place, if anything.
    fn mask(&self, place: u32, live: &LiveSegment) -> Result<Option<&Mask>, SourceError> {
        self.masks.get(place, live).map_err(|error| self.suspect(live, error))
    }

    /// True if deletes hide something of a segment in the range: its lists of names and values cannot be used then.
    fn is_masked(&self, range: TimeRange) -> Result<bool, SourceError> {
        for (place, live) in self.overlapping(range) {
            if self.mask(place, live)?.is_some() {
                return Ok(true);
            }
        }
        for (index, _, live) in self.rollups_for(range) {
            if self.mask(self.place_of_rollup(index), live)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Goes on without what cannot be reached now; other errors end the read.
    fn leave_out(&self, live: &LiveSegment, error: StorageError) -> Result<(), SourceError> {
        if !matches!(error, StorageError::Unreachable { .. }) {
            return Err(self.suspect(live, error));
        }
        let mut unreachable = self.unreachable.lock();
        if unreachable.len() < UNREACHABLE_MAX {
            unreachable.insert(error.to_string());
        }
        Ok(())
    }

    fn suspect(&self, live: &LiveSegment, error: StorageError) -> SourceError {
        self.engine.suspect(live.entry.id, &error);
        error.into()
    }
}

impl Snapshot {
    /// As [`SeriesSource::select`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn select_samples(
        &self,
        scope: &Scope,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Selected, SourceError> {
        let pinned = &self.pinned;
        if range.is_empty() {
            return Ok(Selected { pinned: pinned.clone(), series: Joined::default(), coarsest_ms: 0 });
        }
        let (mut runs, mut coarsest_ms) = (Vec::new(), 0);
        for (index, entry, live) in pinned.rollups_for(range) {
            budget.check()?;
            let mut found = live.segment.select(scope, matchers).map_err(|error| pinned.suspect(live, error))?;
            if let Some(mask) = pinned.mask(pinned.place_of_rollup(index), live)? {
                mask.leave_visible(&live.segment, &mut found).map_err(|error| pinned.suspect(live, error))?;
            }
            if !found.is_empty() {
                runs.push(Run::Rollup(index, found));
                coarsest_ms = entry.resolution_ms.max(coarsest_ms);
            }
        }
        if range.start_ms > pinned.gone_of_any_ms() {
            coarsest_ms = 0;
        }
        for (index, live) in pinned.overlapping(range) {
            budget.check()?;
            let mut found = live.segment.select(scope, matchers).map_err(|error| pinned.suspect(live, error))?;
            if let Some(mask) = pinned.mask(index, live)? {
                mask.leave_visible(&live.segment, &mut found).map_err(|error| pinned.suspect(live, error))?;
            }
            if !found.is_empty() {
                runs.push(Run::Segment(index, found));
            }
        }
        let head = pinned.select_head(scope, matchers, range, budget)?;
        if !head.is_empty() {
            runs.push(Run::Head(head));
        }
        let series = Joined::new(pinned, &runs, budget)?;
        budget.take_bytes(series.bytes() as u64)?;
        Ok(Selected { pinned: pinned.clone(), series, coarsest_ms })
    }
}

impl SeriesSource for Snapshot {
    fn select(
        &self,
        scope: &Scope,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Box<dyn SeriesSet + '_>, SourceError> {
        Ok(Box::new(self.select_samples(scope, matchers, range, budget)?))
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
        if scope.forced().is_some() || !matchers.is_empty() || pinned.is_masked(range)? {
            let set = self.select(scope, matchers, range, budget)?;
            for i in 0..set.len() {
                budget.check()?;
                for (name, _) in &set.labels(i)? {
                    if !names.contains(name) {
                        names.insert(name.to_owned());
                    }
                }
            }
        } else {
            for (_, live) in pinned.overlapping(range) {
                names.extend(live.segment.label_names().map(str::to_owned));
            }
            for (_, _, live) in pinned.rollups_for(range) {
                names.extend(live.segment.label_names().map(str::to_owned));
            }
            if !pinned.head_is_empty() {
                let head = &pinned.engine.head;
                names.extend(head.postings.names(&head.registry, |series| pinned.head_has(series, range)));
            }
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
        let mut values: Vec<String> = Vec::new();
        if scope.forced().is_some() || !matchers.is_empty() || pinned.is_masked(range)? {
            let set = self.select(scope, matchers, range, budget)?;
            let groups = set.groups(&|label| label == name, budget)?;
            values.extend(groups.labels.iter().filter_map(|labels| labels.get(name)).map(str::to_owned));
        } else {
            for (_, live) in pinned.overlapping(range) {
                values.append(&mut live.segment.label_values(name).map_err(|error| pinned.suspect(live, error))?);
            }
            for (_, _, live) in pinned.rollups_for(range) {
                values.append(&mut live.segment.label_values(name).map_err(|error| pinned.suspect(live, error))?);
            }
            if !pinned.head_is_empty() {
                let head = &pinned.engine.head;
                values.extend(head.postings.values(&head.registry, name, |series| pinned.head_has(series, range)));
            }
        }
        // Runs that are sorted already, one after the other.
        values.sort();
        values.dedup();
        Ok(values)
    }
}
