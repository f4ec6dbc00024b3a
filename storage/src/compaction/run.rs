//! Doing what was planned: read, merge, write, install. Readers and writers go on meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Labels, Metadata, SampleColumns, TimeRange};

use super::merge::MergedSeries;
use super::pace::{Pace, Surroundings};
use super::plan::{Aim, Effort, Job, plan};
use crate::db::CompactReport;
use crate::db::engine::{Engine, LiveSegment};
use crate::db::prepared::{Draft, OpenSegment, Partition, day_of, newest_days};
use crate::deletes::Delete;
use crate::error::StorageError;
use crate::manifest::Manifest;
use crate::parquet::DayWriter;
use crate::segment::SegmentWriter;

/// Series that are merged between two looks at the pace.
const CHECK_EVERY: u64 = 256;

impl Engine {
    /// Does what is to be done, piece by piece, until `stop` says so. A piece whose segments cannot be read is left out.
    ///
    /// # Errors
    /// I/O errors of writing, which the next piece would meet as well; what was there stays.
    pub(crate) fn compact(
        self: &Arc<Self>,
        effort: Effort,
        stop: &dyn Fn() -> bool,
    ) -> Result<CompactReport, StorageError> {
        self.compact_pieces(effort, stop).inspect_err(|error| self.note_failure("compaction", error))
    }

    fn compact_pieces(
        self: &Arc<Self>,
        effort: Effort,
        stop: &dyn Fn() -> bool,
    ) -> Result<CompactReport, StorageError> {
        let _one = self.compacting.lock();
        let mut report = CompactReport::default();
        // Who asks for everything wants what failed before to be tried again.
        let mut aside = match effort {
            Effort::Due => self.compaction.aside(self.clock.now_ms()),
            Effort::Everything => BTreeSet::new(),
        };
        while !stop() {
            let manifest = self.manifest.lock().current().clone();
            let Some(job) = plan(&manifest, &aside, self.aim(effort)) else { break };
            let segments = self.view.read().segments.clone();
            let live: Vec<Arc<LiveSegment>> =
                segments.iter().filter(|live| job.inputs().contains(&live.entry.id)).cloned().collect();
            // Else retention was faster.
            if live.len() == job.inputs().len() {
                aside.extend(self.run_counted(&job, &live, effort, stop, &mut report)?);
            }
        }
        for live in self.purgeable(effort, &mut aside) {
            if !stop() {
                aside.extend(self.run_counted(&Job::of_one(&live.entry), &[live], effort, stop, &mut report)?);
            }
        }
        report.set_aside = aside.len() as u64;
        self.purge_deletes(effort, stop, &mut report)?;
        report.rollups = self.roll_up(effort, stop)?;
        Ok(report)
    }

    /// What compaction aims at now.
    pub(super) fn aim(&self, effort: Effort) -> Aim {
        Aim { now_ms: self.clock.now_ms(), effort, parquet_after_ms: self.options.parquet_after_ms }
    }

    /// Does a piece of work; gives the segments that are set aside because of it.
    pub(super) fn run_counted(
        &self,
        job: &Job,
        live: &[Arc<LiveSegment>],
        effort: Effort,
        stop: &dyn Fn() -> bool,
        report: &mut CompactReport,
    ) -> Result<Vec<u64>, StorageError> {
        if let Err(no_room) = self.check_room(job, live, effort) {
            return Ok(self.set_aside(job.inputs().to_vec(), &no_room));
        }
        match self.run(job, live, effort, stop) {
            Ok(Some(written)) => {
                self.counters.compactions.add(1);
                report.segments_before += live.len() as u64;
                report.segments_after += written;
                Ok(Vec::new())
            }
            Ok(None) => Ok(Vec::new()),
            Err(error) => {
                self.counters.compaction_failures.add(1);
                let blamed = self.blamed(live, &error);
                if blamed.is_empty() { Err(error) } else { Ok(self.set_aside(blamed, &error)) }
            }
        }
    }

    /// The segments because of which the work failed: the one that the error names, or all if something was corrupt that
    /// is none of their files. None if writing failed.
    fn blamed(&self, live: &[Arc<LiveSegment>], error: &StorageError) -> Vec<u64> {
        let ids = || live.iter().map(|live| live.entry.id);
        let (StorageError::Corrupt { path, .. } | StorageError::Io { path, .. }) = error else { return Vec::new() };
        let owns = |live: &&Arc<LiveSegment>| live.entry.has_file(path, &self.layout);
        match live.iter().find(owns) {
            Some(live) => vec![live.entry.id],
            None if matches!(error, StorageError::Corrupt { .. }) => ids().collect(),
            None => Vec::new(),
        }
    }

    /// Leaves segments alone for a while; those that are corrupt are looked at in the background.
    pub(super) fn set_aside(&self, ids: Vec<u64>, error: &StorageError) -> Vec<u64> {
        ids.iter().for_each(|id| self.suspect(*id, error));
        self.compaction.set_aside(&ids, error, self.clock.now_ms());
        ids
    }

    /// Replaces the segments by what the job makes of them; the number of new ones, or none if it was stopped or one of
    /// the old ones is gone.
    pub(crate) fn run(
        &self,
        job: &Job,
        live: &[Arc<LiveSegment>],
        effort: Effort,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<u64>, StorageError> {
        let mut draft = Draft::new(self);
        let world = World::new(self, 0, stop);
        let rate = self.options.compaction_rate.filter(|_| effort == Effort::Due);
        if !self.write_merged(job, live, Pace::new(rate, &world), &world, &mut draft)? {
            return Ok(None);
        }
        let prepared = draft.make_durable()?;
        let oldest_ms = self.oldest_kept_ms(self.clock.now_ms());
        // What is too old was left out.
        let gone_ms = oldest_ms.filter(|oldest| live.iter().any(|live| live.entry.times.start_ms < *oldest));
        let floor = |manifest: &mut Manifest| manifest.rollups.raise_floor(gone_ms.map(|ms| ms.saturating_sub(1)));
        let (installed, written) = (self.install(job.inputs(), &prepared.live, floor, |_| ()), prepared.live.len());
        if !matches!(installed, Ok(true)) {
            // The next try writes new ones.
            prepared.discard(self);
        }
        if !installed? {
            return Ok(None);
        }
        self.remove_files(live.iter().map(|live| &live.entry));
        Ok(Some(written as u64))
    }

    /// False if it was stopped.
    fn write_merged(
        &self,
        job: &Job,
        live: &[Arc<LiveSegment>],
        mut pace: Pace,
        world: &World<'_>,
        draft: &mut Draft<'_>,
    ) -> Result<bool, StorageError> {
        let now_ms = self.clock.now_ms();
        let entries: Vec<_> = live.iter().map(|live| &live.entry).collect();
        let meter = self.compaction.begin(job, &entries, now_ms);
        let sequences = live.iter().fold((u64::MAX, 0), |(min, max), live| {
            (min.min(live.entry.sequence_min), max.max(live.entry.sequence_max))
        });
        let mut outputs = self.outputs(job, live, sequences)?;
        let deletes = self.deletes_to_apply(sequences.1, now_ms);
        if let Some(output) = outputs.last_mut() {
            output.set_metadata(&metadata_of(live, &deletes)?);
        }
        let mut series =
            MergedSeries::new(live, &deletes, self.retention_for(entries.iter().copied(), now_ms), now_ms)?;
        let (mut samples, mut count) = (SampleColumns::default(), 0_u64);
        while let Some(labels) = series.next(&mut samples)? {
            count += 1;
            if count.is_multiple_of(CHECK_EVERY) && !pace.step(meter.set_series(series.series_read()), world) {
                return Ok(false);
            }
            self.counters.compacted_samples.add((samples.len() + samples.histograms.len()) as u64);
            if let [output] = outputs.as_mut_slice() {
                output.add_series(&labels, &samples)?;
                continue;
            }
            for output in &mut outputs {
                let part = within(&samples, output.times());
                if !part.is_empty() {
                    output.add_series(&labels, &part)?;
                }
            }
        }
        for output in outputs {
            draft.live.extend(output.finish()?);
        }
        Ok(true)
    }

    /// What a job writes, the newest last.
    fn outputs(
        &self,
        job: &Job,
        live: &[Arc<LiveSegment>],
        sequences: (u64, u64),
    ) -> Result<Vec<Output<'_>>, StorageError> {
        let partitions = match job {
            Job::Convert { day, .. } => {
                let (open, writer) = OpenSegment::create_day(self, *day, sequences)?;
                return Ok(vec![Output::Day(open, Box::new(writer))]);
            }
            Job::Merge { day, .. } => {
                vec![day.map_or(Partition { day: None, times: TimeRange::ALL }, Partition::of_day)]
            }
            Job::Split { .. } => newest_days(&days_of(live)?, self.options.open_partitions_max),
        };
        let open = |partition: Partition| {
            let (open, writer) = OpenSegment::create(self, partition, sequences)?;
            Ok(Output::Segment(open, Box::new(writer), partition.times))
        };
        partitions.into_iter().map(open).collect()
    }
}

/// What is written.
enum Output<'a> {
    Segment(OpenSegment<'a>, Box<SegmentWriter>, TimeRange),
    Day(OpenSegment<'a>, Box<DayWriter<'a>>),
}

impl Output<'_> {
    fn times(&self) -> TimeRange {
        match self {
            Output::Segment(_, _, times) => *times,
            Output::Day(..) => TimeRange::ALL,
        }
    }

    fn set_metadata(&mut self, families: &[(String, Metadata)]) {
        match self {
            Output::Segment(_, writer, _) => writer.set_metadata(families),
            Output::Day(_, writer) => writer.set_metadata(families),
        }
    }

    fn add_series(&mut self, labels: &Labels, samples: &SampleColumns) -> Result<(), StorageError> {
        match self {
            Output::Segment(_, writer, _) => writer.add_series(labels, samples),
            Output::Day(_, writer) => writer.add_series(labels, samples),
        }
    }

    fn finish(self) -> Result<Option<Arc<LiveSegment>>, StorageError> {
        match self {
            Output::Segment(open, writer, _) => open.finish(*writer),
            Output::Day(open, writer) => open.finish_day(*writer),
        }
    }
}

/// What the pace of a piece of work looks at.
pub(crate) struct World<'a> {
    engine: &'a Engine,
    began: Instant,
    stop: &'a dyn Fn() -> bool,
    /// Snapshots that the work itself holds.
    own_snapshots: u64,
}

impl<'a> World<'a> {
    /// Of work that begins now.
    pub(crate) fn new(engine: &'a Engine, own_snapshots: u64, stop: &'a dyn Fn() -> bool) -> Self {
        World { engine, began: Instant::now(), stop, own_snapshots }
    }
}

impl Surroundings for World<'_> {
    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn has_queries(&self) -> bool {
        self.engine.snapshots.count() > self.own_snapshots
    }

    fn is_stopped(&self) -> bool {
        (self.stop)()
    }
}

/// The samples in the range.
fn within(samples: &SampleColumns, range: TimeRange) -> SampleColumns {
    let from = samples.timestamps_ms.partition_point(|ms| *ms < range.start_ms);
    let to = samples.timestamps_ms.partition_point(|ms| *ms <= range.end_ms);
    SampleColumns {
        timestamps_ms: samples.timestamps_ms.get(from..to).unwrap_or_default().to_vec(),
        values: samples.values.get(from..to).unwrap_or_default().to_vec(),
        histograms: samples.histograms.iter().filter(|(ms, _)| range.contains(*ms)).cloned().collect(),
    }
}

fn days_of(live: &[Arc<LiveSegment>]) -> Result<BTreeSet<i64>, StorageError> {
    let mut days = BTreeSet::new();
    let mut samples = SampleColumns::default();
    for live in live {
        for ordinal in 0..live.segment.len() {
            samples.clear();
            live.segment.read(ordinal, TimeRange::ALL, &mut samples)?;
            days.extend(samples.timestamps_ms.iter().map(|ms| day_of(*ms)));
            days.extend(samples.histograms.iter().map(|(ms, _)| day_of(*ms)));
        }
    }
    Ok(days)
}

/// What the segments know about metric families, the newest last.
fn metadata_of(live: &[Arc<LiveSegment>], deletes: &[Delete]) -> Result<Vec<(String, Metadata)>, StorageError> {
    let mut families = BTreeMap::new();
    for live in live {
        families.extend(live.metadata(deletes)?);
    }
    Ok(families.into_iter().collect())
}
