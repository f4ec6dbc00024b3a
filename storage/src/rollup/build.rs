//! Doing what was planned for roll-ups: read samples, put them into buckets, write, install.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use model::{Budget, Cuts, Labels, Pieces, Scope, SeriesSet, SourceError, Steps, TimeRange};

use super::bucket::{Bucket, EVERYTHING, Filler, end_of, times_of};
use super::entry::RollupEntry;
use super::plan::{Circumstances, RollupJob, plan};
use super::ranges::Ranges;
use super::{RollupRule, rolled_day_of, times_of_day};
use crate::compaction::pace::Pace;
use crate::compaction::plan::Effort;
use crate::compaction::run::World;
use crate::db::engine::{Engine, LiveSegment, Rollup};
use crate::db::prepared::{Draft, OpenSegment, Partition};
use crate::deletes::{Delete, Mask};
use crate::error::StorageError;
use crate::manifest::{Manifest, SegmentEntry};
use crate::segment::SegmentWriter;
use crate::snapshot::Snapshot;

/// Series that are rolled up between two looks at the pace.
const CHECK_EVERY: usize = 64;
/// How long after its end a day is closed, beside the age that the head may have: what is a little late is in then.
const CLOSED_AFTER_MS: i64 = 3_600_000;

/// A run that is written.
struct Writing<'a> {
    rule: &'a RollupRule,
    open: OpenSegment<'a>,
    writer: SegmentWriter,
}

/// What became of a piece of work.
enum Outcome {
    Done,
    /// A delete that may be undone hides buckets that are there: if their samples are gone, they could not be shown again.
    Postponed,
    /// It was told to stop, or something else was faster.
    Stopped,
}

impl Outcome {
    fn of(is_done: bool) -> Self {
        if is_done { Outcome::Done } else { Outcome::Stopped }
    }
}

impl Engine {
    /// Does what is to be done for roll-ups, piece by piece, until `stop` says so; gives the number of pieces. Only under
    /// the lock of compactions.
    ///
    /// # Errors
    /// Those of the last piece that failed; what was there stays, and all other days are built.
    pub(crate) fn roll_up(self: &Arc<Self>, effort: Effort, stop: &dyn Fn() -> bool) -> Result<u64, StorageError> {
        let (mut pieces, mut tried, mut result) = (0, BTreeSet::new(), Ok(()));
        while !stop() {
            let manifest = self.manifest.lock().current().clone();
            if self.options.rollups.rules().is_empty() && manifest.rollups.runs.is_empty() {
                break;
            }
            let now_ms = self.clock.now_ms();
            let mixed_days = self.mixed_days()?;
            let head_age_ms = i64::try_from(self.options.head_age_max.as_millis()).unwrap_or(i64::MAX);
            let around = Circumstances {
                rules: &self.options.rollups,
                mixed_days: &mixed_days,
                now_ms,
                settled_after_ms: head_age_ms.saturating_add(CLOSED_AFTER_MS),
                oldest_ms: self.oldest_kept_ms(now_ms),
                effort,
            };
            let Some(job) = plan(&manifest, around, &tried) else { break };
            let done = match &job {
                RollupJob::Build { day, resolutions_ms } => {
                    // Whatever becomes of it, it is not tried again in this round.
                    tried.insert(*day);
                    self.build_day(*day, resolutions_ms, effort, stop)
                }
                RollupJob::Merge { runs } => self.merge_runs(runs, &[], effort, stop).map(Outcome::of),
            };
            match done {
                Ok(Outcome::Done) => pieces += 1,
                Ok(Outcome::Postponed) => {}
                Ok(Outcome::Stopped) => break,
                Err(error) => {
                    self.counters.rollup_failures.add(1);
                    if let StorageError::Corrupt { path, .. } = &error {
                        self.suspect_file(path, &error);
                    }
                    result = Err(error);
                    // The plan would give the same merge again. A run that is corrupt is put aside before the next round.
                    if matches!(job, RollupJob::Merge { .. }) {
                        break;
                    }
                }
            }
        }
        result.map(|()| pieces)
    }

    /// The days of the samples in segments of several days. These are small, or compaction splits them soon.
    fn mixed_days(&self) -> Result<BTreeSet<i64>, StorageError> {
        let segments = self.view.read().segments.clone();
        let mixed: Vec<_> = segments.iter().filter(|live| live.entry.day.is_none()).collect();
        let mut known = self.mixed_days.lock();
        known.retain(|id, _| mixed.iter().any(|live| live.entry.id == *id));
        for live in mixed {
            if let Entry::Vacant(vacant) = known.entry(live.entry.id) {
                vacant.insert(rolled_days_in(live)?);
            }
        }
        Ok(known.values().flatten().copied().collect())
    }

    fn start_run<'a>(&'a self, rule: &'a RollupRule, sequences: (u64, u64)) -> Result<Writing<'a>, StorageError> {
        let partition = Partition { day: None, times: TimeRange::ALL };
        let (open, mut writer) = OpenSegment::create(self, partition, sequences)?;
        writer.set_resolution(rule.resolution_ms);
        Ok(Writing { rule, open, writer })
    }

    /// Builds a day from its samples. Buckets that are there stay where samples of them are gone by now: by their age or by
    /// a rule, be it one of before, or with a segment that was put aside.
    fn build_day(
        self: &Arc<Self>,
        day: i64,
        resolutions_ms: &[i64],
        effort: Effort,
        stop: &dyn Fn() -> bool,
    ) -> Result<Outcome, StorageError> {
        let times = times_of_day(day);
        let snapshot = Snapshot::of_samples(self);
        let sequence = snapshot.flushed_sequence();
        let rules = self.options.rollups.rules().iter().filter(|rule| resolutions_ms.contains(&rule.resolution_ms));
        let mut writing =
            rules.map(|rule| self.start_run(rule, (sequence, sequence))).collect::<Result<Vec<_>, StorageError>>()?;
        let Some(finest_ms) = writing.first().map(|run| run.rule.resolution_ms) else { return Ok(Outcome::Stopped) };
        let budget = Budget::unlimited();
        let set = snapshot.select_samples(&Scope::default(), &[], times, &budget).map_err(of_source)?;
        let ends = Steps { start_ms: end_of(times.start_ms, finest_ms), end_ms: times.end_ms, step_ms: finest_ms };
        let cuts = Cuts { starts: ends, ends };
        let mut pieces = Pieces::default();
        let world = World::new(self, 1, stop);
        let mut pace = self.pace(effort, &world);
        let bytes_at_once = bytes_of(&snapshot, times) / (set.len() / CHECK_EVERY).max(1) as u64;
        let (retention, now_ms) = (self.retention.read().clone(), self.clock.now_ms());
        let ranges = Ranges::of(times);
        let Some(mut before) = self.buckets_before(&snapshot, &writing, &ranges, now_ms)? else {
            return Ok(Outcome::Postponed);
        };
        for i in 0..set.len() {
            if i % CHECK_EVERY == 0 && !pace.step(if i == 0 { 0 } else { bytes_at_once }, &world) {
                return Ok(Outcome::Stopped);
            }
            let labels = set.labels(i).map_err(of_source)?;
            before.copy_until(Some(&labels), &mut writing)?;
            let old = before.take(&labels)?;
            if old.iter().all(Vec::is_empty) && !writing.iter().any(|run| run.rule.selects(&labels)) {
                continue;
            }
            set.pieces(i, times, EVERYTHING, &cuts, &budget, &mut pieces).map_err(of_source)?;
            let series =
                BuiltSeries { labels: &labels, pieces: &pieces, kept_ms: retention.oldest_ms(&labels, now_ms) };
            series.write(&mut writing, old)?;
        }
        before.copy_until(None, &mut writing)?;
        drop(set);
        if let Some(detail) = snapshot.unreachable().first() {
            // A day is built from all of its samples or not at all.
            return Err(of_source(SourceError::Storage(detail.clone())));
        }
        self.counters.rollup_days.add(writing.len() as u64);
        let made_from = snapshot.made_of();
        let deletes_from = made_from.1.iter().max().map_or(0, |newest| newest + 1);
        let (mut draft, mut runs) = (Draft::new(self), Vec::new());
        for run in writing {
            let live = run.open.finish(run.writer)?;
            let run = self.finish_run((run.rule.resolution_ms, deletes_from), live, &ranges, sequence);
            draft.live.extend(run.live.clone());
            runs.push(run);
        }
        drop(snapshot);
        let is_done = self.install_runs(draft, runs, |manifest, new| {
            // What came since the snapshot was taken, or was hidden or shown again, is not in it.
            let (segments, deletes) = &made_from;
            for entry in manifest.segments.iter().filter(|entry| entry.times.overlaps(&times)) {
                let is_new = entry.sequence_max > sequence && !segments.contains(&entry.id);
                if is_new {
                    new.touched = new.ranges.clone();
                }
            }
            if !manifest.deletes.iter().map(|delete| delete.id).eq(deletes.iter().copied()) {
                new.touched = new.ranges.clone();
            }
        })?;
        Ok(Outcome::of(is_done))
    }

    /// What is there already of the day of the runs that are written; none if a delete that may be undone hides some of it.
    fn buckets_before<'r>(
        &self,
        snapshot: &Snapshot,
        writing: &[Writing<'_>],
        day: &'r Ranges,
        now_ms: i64,
    ) -> Result<Option<Before<'r>>, StorageError> {
        let runs = self.view.read().rollups.clone();
        let undoable: Vec<Delete> =
            snapshot.deletes().iter().filter(|delete| !delete.is_final(now_ms)).cloned().collect();
        let mut before = Vec::new();
        for new in writing {
            let is_there = |run: &&Rollup| {
                run.entry.resolution_ms == new.rule.resolution_ms && !run.entry.ranges.both(day).is_empty()
            };
            let live = runs.iter().find(is_there).and_then(|run| run.live.clone());
            if live.as_ref().map(|live| hides_some(live, &undoable, day)).transpose()? == Some(true) {
                return Ok(None);
            }
            before.push(live.map(|live| RunReader::new(live, snapshot.deletes(), day)).transpose()?);
        }
        Ok(Some(Before(before)))
    }

    /// The entry of a run, and its file if it has one.
    fn finish_run(
        &self,
        (resolution_ms, deletes_from): (i64, u64),
        mut live: Option<Arc<LiveSegment>>,
        ranges: &Ranges,
        sequence: u64,
    ) -> Rollup {
        // No one else has it yet.
        if let Some(live) = live.as_mut().and_then(Arc::get_mut) {
            live.set_deletes_from(deletes_from);
        }
        let span = ranges.span().unwrap_or(TimeRange { start_ms: 0, end_ms: 0 });
        let nothing = SegmentEntry {
            id: 0,
            day: None,
            times: span,
            sequence_min: sequence,
            sequence_max: sequence,
            series: 0,
            samples: 0,
            bytes: 0,
            created_ms: self.clock.now_ms(),
            files: Vec::new(),
        };
        let segment = live.as_ref().map_or(nothing, |live| live.entry.clone());
        let entry =
            RollupEntry { segment, resolution_ms, deletes_from, ranges: ranges.clone(), touched: Ranges::default() };
        Rollup { entry, live }
    }

    /// Makes new runs, whose files are the draft, durable and visible in place of what was there for their ranges;
    /// `adjust` may change each in the light of the manifest that counts now.
    fn install_runs(
        &self,
        draft: Draft<'_>,
        mut runs: Vec<Rollup>,
        mut adjust: impl FnMut(&Manifest, &mut RollupEntry),
    ) -> Result<bool, StorageError> {
        let prepared = draft.make_durable()?;
        let mut gone = Vec::new();
        let installed = self.install_rollups(&prepared.live, |manifest| {
            let before: Vec<SegmentEntry> = manifest.rollups.files().cloned().collect();
            for run in &mut runs {
                adjust(manifest, &mut run.entry);
                manifest.rollups.put(run.entry.clone());
            }
            let is_left = |old: &SegmentEntry| manifest.rollups.files().any(|entry| entry.id == old.id);
            gone = before.into_iter().filter(|id| !is_left(id)).collect();
        });
        match &installed {
            Ok(()) => self.remove_files(&gone),
            // The next try writes new ones.
            Err(_) => prepared.discard(self),
        }
        installed.map(|()| true)
    }

    /// Writes runs of one resolution as one, without the buckets that `deletes` touch; false if it was stopped.
    pub(crate) fn merge_runs(
        &self,
        runs: &[RollupEntry],
        deletes: &[Delete],
        effort: Effort,
        stop: &dyn Fn() -> bool,
    ) -> Result<bool, StorageError> {
        let view = self.view.read().rollups.clone();
        let of_view = |entry: &&RollupEntry| view.iter().find(|run| run.entry.segment.id == entry.segment.id).cloned();
        let inputs: Vec<Rollup> = runs.iter().filter(|run| run.has_file()).filter_map(|run| of_view(&run)).collect();
        let Some(resolution_ms) = runs.first().map(|run| run.resolution_ms) else { return Ok(false) };
        let sequences = runs.iter().map(|run| (run.segment.sequence_min, run.segment.sequence_max));
        let sequences = sequences.fold((u64::MAX, 0), |all, one| (all.0.min(one.0), all.1.max(one.1)));
        // A delete covers it only if it covers all: plans merge nothing that a delete divides.
        let rule = RollupRule { resolution_ms, keep_ms: None, matchers: Vec::new() };
        let mut run = self.start_run(&rule, sequences)?;
        let world = World::new(self, 0, stop);
        let pace = self.pace(effort, &world);
        if !write_merged_runs(&inputs, deletes, &mut run.writer, pace, &world)? {
            return Ok(false);
        }
        let ranges: Ranges = runs.iter().flat_map(|run| run.ranges.iter().collect::<Vec<_>>()).collect();
        let created_ms = runs.iter().map(|run| run.segment.created_ms).max().unwrap_or_default();
        let live = run.open.finish(run.writer)?;
        let deletes_from = runs.iter().map(|run| run.deletes_from).max().unwrap_or_default();
        let mut merged = self.finish_run((resolution_ms, deletes_from), live, &ranges, sequences.1);
        // Of the days in it: whether one that is touched is due again goes by this.
        merged.entry.segment.created_ms = created_ms;
        self.counters.rollup_merges.add(1);
        let mut draft = Draft::new(self);
        draft.live.extend(merged.live.clone());
        self.install_runs(draft, vec![merged], |manifest, new| {
            let there = manifest.rollups.runs.iter().filter(|run| run.resolution_ms == resolution_ms);
            new.touched = there.flat_map(|run| run.touched.both(&ranges).iter().collect::<Vec<_>>()).collect();
        })
    }

    /// In the background within the rate, and for who asks as fast as it goes.
    fn pace(&self, effort: Effort, world: &World<'_>) -> Pace {
        Pace::new(self.options.compaction_rate.filter(|_| effort == Effort::Due), world)
    }

    /// The times of these new segments for which days may be built already, each with the sequence up to which a run
    /// does not know of them.
    ///
    /// # Errors
    /// Those of reading segments of several days.
    pub(crate) fn rolled_up_times(&self, live: &[Arc<LiveSegment>]) -> Result<Vec<(TimeRange, u64)>, StorageError> {
        if self.options.rollups.rules().is_empty() && self.view.read().rollups.is_empty() {
            return Ok(Vec::new());
        }
        // Not by what is built now: a day may become so before these segments count. One that closes from now on is
        // built from them.
        let open = rolled_day_of(self.clock.now_ms());
        let mut out = Vec::new();
        for live in live.iter().filter(|live| rolled_day_of(live.entry.times.start_ms) < open) {
            let sequence = live.entry.sequence_max.saturating_sub(1);
            if live.entry.day.is_some() {
                out.push((live.entry.times, sequence));
            } else {
                out.extend(rolled_days_in(live)?.into_iter().map(|day| (times_of_day(day), sequence)));
            }
        }
        Ok(out)
    }

    /// Notes that a file gave an error, by its name.
    fn suspect_file(&self, path: &std::path::Path, error: &StorageError) {
        let view = self.view.read();
        let rollups = view.rollups.iter().filter_map(|run| run.live.as_ref());
        let ids = view.segments.iter().chain(rollups).map(|live| live.entry.id);
        let id = ids.into_iter().find(|id| self.layout.segment(*id) == path);
        drop(view);
        id.into_iter().for_each(|id| self.suspect(id, error));
    }

    /// Writes the runs anew that hold what the deletes hide.
    ///
    /// # Errors
    /// Those of reading and writing.
    pub(crate) fn purge_rollups(
        &self,
        deletes: &[Delete],
        effort: Effort,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), StorageError> {
        let runs = self.view.read().rollups.clone();
        for run in runs.iter() {
            let hides = match &run.live {
                Some(live) => live.mask_of(deletes)?.is_some(),
                None => false,
            };
            if hides && !stop() {
                self.merge_runs(std::slice::from_ref(&run.entry), deletes, effort, stop)?;
            }
        }
        Ok(())
    }
}

/// A run whose series are read one after the other.
struct RunReader<'r> {
    live: Arc<LiveSegment>,
    mask: Option<Arc<Mask>>,
    ranges: &'r Ranges,
    ordinal: u32,
    /// Of the series at `ordinal`; none at the end.
    labels: Option<Labels>,
}

impl<'r> RunReader<'r> {
    /// From the first series on.
    fn new(live: Arc<LiveSegment>, deletes: &[Delete], ranges: &'r Ranges) -> Result<Self, StorageError> {
        let mut reader = RunReader { mask: live.mask_of(deletes)?, live, ranges, ordinal: 0, labels: None };
        reader.load()?;
        Ok(reader)
    }

    fn load(&mut self) -> Result<(), StorageError> {
        let segment = &self.live.segment;
        self.labels = if self.ordinal < segment.len() { Some(segment.labels(self.ordinal)?) } else { None };
        Ok(())
    }

    /// Appends what counts of the series at hand, and goes on to the next.
    fn take(&mut self, buckets: &mut Vec<Bucket>) -> Result<(), StorageError> {
        let ordinal = self.ordinal;
        let is_hidden = |bucket: &Bucket| {
            bucket.range().zip(self.mask.as_ref()).is_some_and(|(range, mask)| mask.hides_some(ordinal, range))
        };
        let mut all = self.live.segment.all_buckets(ordinal)?;
        all.retain(|bucket| self.ranges.contains(bucket.end_ms) && !is_hidden(bucket));
        buckets.append(&mut all);
        self.ordinal += 1;
        self.load()
    }
}

/// True if the deletes hide some of the buckets of a run in the ranges.
fn hides_some(live: &LiveSegment, deletes: &[Delete], ranges: &Ranges) -> Result<bool, StorageError> {
    let Some(mask) = live.mask_of(deletes)? else { return Ok(false) };
    for ordinal in (0..live.segment.len()).filter(|ordinal| mask.touches(*ordinal)) {
        let is_hidden = |bucket: &Bucket| bucket.range().is_some_and(|range| mask.hides_some(ordinal, range));
        let buckets = live.segment.all_buckets(ordinal)?;
        if buckets.iter().any(|bucket| ranges.contains(bucket.end_ms) && is_hidden(bucket)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// For each run that is written the run with what is there already, read series by series.
struct Before<'r>(Vec<Option<RunReader<'r>>>);

impl Before<'_> {
    /// Copies the buckets of the series before one, or of all: no sample of these is left.
    fn copy_until(&mut self, until: Option<&Labels>, writing: &mut [Writing<'_>]) -> Result<(), StorageError> {
        loop {
            let next = self.0.iter().flatten().filter_map(|reader| reader.labels.as_ref()).min();
            let Some(labels) = next.filter(|next| until.is_none_or(|until| *next < until)).cloned() else {
                return Ok(());
            };
            for (run, buckets) in writing.iter_mut().zip(self.take(&labels)?) {
                run.writer.add_buckets(&labels, &buckets)?;
            }
        }
    }

    /// The buckets of a series, for each run.
    fn take(&mut self, labels: &Labels) -> Result<Vec<Vec<Bucket>>, StorageError> {
        let of_run = |reader: &mut Option<RunReader<'_>>| {
            let mut buckets = Vec::new();
            if let Some(reader) = reader.as_mut().filter(|reader| reader.labels.as_ref() == Some(labels)) {
                reader.take(&mut buckets)?;
            }
            Ok(buckets)
        };
        self.0.iter_mut().map(of_run).collect()
    }
}

/// Writes the buckets of runs that count; false if it was stopped.
fn write_merged_runs(
    inputs: &[Rollup],
    deletes: &[Delete],
    writer: &mut SegmentWriter,
    mut pace: Pace,
    world: &World<'_>,
) -> Result<bool, StorageError> {
    let mut readers = Vec::new();
    for run in inputs {
        let Some(live) = run.live.clone() else { continue };
        readers.push(RunReader::new(live, deletes, &run.entry.ranges)?);
    }
    let series = readers.iter().map(|reader| reader.live.segment.len() as usize).max().unwrap_or_default();
    let bytes: u64 = readers.iter().map(|reader| reader.live.entry.bytes).sum();
    let bytes_at_once = bytes / (series / CHECK_EVERY).max(1) as u64;
    for i in 0.. {
        if i % CHECK_EVERY == 0 && !pace.step(if i == 0 { 0 } else { bytes_at_once }, world) {
            return Ok(false);
        }
        let Some(labels) = readers.iter().filter_map(|reader| reader.labels.as_ref()).min().cloned() else { break };
        let mut buckets = Vec::new();
        for reader in readers.iter_mut().filter(|reader| reader.labels.as_ref() == Some(&labels)) {
            reader.take(&mut buckets)?;
        }
        // Runs of one resolution have no bucket in common.
        buckets.sort_by_key(|bucket: &Bucket| bucket.end_ms);
        writer.add_buckets(&labels, &buckets)?;
    }
    Ok(true)
}

/// A series of a day that is built.
struct BuiltSeries<'s> {
    labels: &'s Labels,
    /// All that is left of it in the day.
    pieces: &'s Pieces,
    /// From here on its samples are kept.
    kept_ms: i64,
}

impl BuiltSeries<'_> {
    /// Writes into the run of the finest resolution the buckets of what is left, and into the others what these make. Of
    /// the `old` ones those stay of which not all is left.
    fn write(&self, writing: &mut [Writing<'_>], old: Vec<Vec<Bucket>>) -> Result<(), StorageError> {
        let mut fine: Vec<Bucket> = Vec::new();
        for (i, (run, mut old)) in writing.iter_mut().zip(old).enumerate() {
            let mut filler = Filler::new(run.rule.resolution_ms);
            if i > 0 {
                filler.add_buckets(&fine);
            } else if !self.has_histograms() {
                filler.add_pieces(self.pieces);
            }
            fine = filler.buckets;
            old.retain(|bucket| self.stays(bucket, run.rule.resolution_ms));
            let is_selected = run.rule.selects(self.labels);
            if !is_selected {
                run.writer.add_buckets(self.labels, &old)?;
            }
            if !old.is_empty() {
                fine.retain(|new| old.binary_search_by_key(&new.end_ms, |old| old.end_ms).is_err());
                fine.append(&mut old);
                fine.sort_by_key(|bucket| bucket.end_ms);
            }
            if is_selected {
                run.writer.add_buckets(self.labels, &fine)?;
            }
        }
        Ok(())
    }

    /// Histograms are not rolled up; beside them floats stay what they are as long as they are kept.
    fn has_histograms(&self) -> bool {
        !self.pieces.samples.histograms.is_empty()
    }

    fn stays(&self, old: &Bucket, resolution_ms: i64) -> bool {
        let is_too_old = times_of(old.end_ms, resolution_ms).start_ms < self.kept_ms;
        is_too_old || !(self.has_histograms() || old.is_among(self.pieces))
    }
}

/// Bytes of the segments that a range is read from.
fn bytes_of(snapshot: &Snapshot, times: TimeRange) -> u64 {
    snapshot.entries().filter(|entry| entry.times.overlaps(&times)).map(|entry| entry.bytes).sum()
}

/// The days of roll-ups that a segment has samples of.
fn rolled_days_in(live: &LiveSegment) -> Result<BTreeSet<i64>, StorageError> {
    let (mut days, mut samples) = (BTreeSet::new(), model::SampleColumns::default());
    for ordinal in 0..live.segment.len() {
        samples.clear();
        live.segment.read_times(ordinal, TimeRange::ALL, &mut samples)?;
        days.extend(samples.timestamps_ms.iter().map(|ms| rolled_day_of(*ms)));
    }
    Ok(days)
}

/// A source's error as one of storage: sources tell what they know of it, but not where it was.
fn of_source(error: SourceError) -> StorageError {
    let source = std::io::Error::other(error.to_string());
    StorageError::Io { operation: "read samples for a roll-up", path: std::path::PathBuf::new(), source }
}
