//! A consistent view: the segments, the frozen head and the active head of one moment, merged by series.
//!
//! A snapshot is its own sequence and a list of things that do not change: segments, and generations of the head read
//! only up to that sequence (`head/chunk.rs` says how). A flush moves samples from one to the other in a single change
//! of the engine's view, of which a snapshot takes either the old or the new state; so it sees each sample once.

mod groups;
mod masks;
mod merged;
mod runs;
mod selected;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Budget, Matcher, Scope, SeriesSet, SeriesSource, SourceError, TimeRange};
use parking_lot::Mutex;

use crate::batch::SeriesRef;
use crate::db::engine::{Engine, LiveSegment};
use crate::deletes::{Delete, Mask};
use crate::error::StorageError;
use crate::head::epoch::Pin;
use crate::head::generation::Generation;
use crate::retention::RetentionRules;
use masks::Masks;
pub(crate) use merged::Merged;
use runs::{Joined, Run};
use selected::Selected;

/// Series up to which sorting texts is cheaper than ranking all symbols.
const SORT_TEXTS_MAX: usize = 4096;
/// Texts of what cannot be reached that one snapshot keeps.
const UNREACHABLE_MAX: usize = 10;
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
            generations: frozen.into_iter().chain([view.active.clone()]).collect(),
            masks: Masks::new(view.deletes.clone(), view.segments.len()),
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
            pinned.masks = pinned.masks.with(delete, &pinned.segments)?;
        }
        Ok(snapshot)
    }

    /// What the reads so far had to leave out because it is kept elsewhere and cannot be reached now, for people; at most
    /// some of it, if there is much.
    pub fn unreachable(&self) -> Vec<String> {
        self.pinned.unreachable.lock().iter().cloned().collect()
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
        Ok(false)
    }

    fn suspect_at(&self, index: u32, error: StorageError) -> SourceError {
        match self.segments.get(index as usize) {
            Some(live) => self.suspect(live, error),
            None => error.into(),
        }
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
            return Ok(Box::new(Selected { pinned: pinned.clone(), series: Joined::default() }));
        }
        let mut runs = Vec::new();
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
        Ok(Box::new(Selected { pinned: pinned.clone(), series }))
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
