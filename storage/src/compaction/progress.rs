//! What compaction does now, what it left alone and why, and what waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::plan::{Aim, Effort, Job, plan};
use crate::db::engine::Engine;
use crate::error::StorageError;
use crate::manifest::{Manifest, SegmentEntry};
use crate::parquet::{DayFile, FileKind};
use crate::retention::day_text;

/// How long a segment is left alone after its compaction failed or found no room: what a disk cannot read or hold now it
/// may later, and a corrupt one is put into the quarantine meanwhile.
const SET_ASIDE_MS: i64 = 600_000;
/// Pieces of work that are looked ahead.
const WAITING_MAX: u64 = 1000;

/// The state of compaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactionStatus {
    /// The piece of work that runs now.
    pub running: Option<CompactionJob>,
    /// Segments that are left alone for some minutes because their compaction failed or found no room.
    pub set_aside: Vec<SetAside>,
    /// Pieces of work that are due in the background; at most 1000 are counted.
    pub waiting_jobs: u64,
    /// Bytes of the segments that these read.
    pub waiting_bytes: u64,
}

/// A piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactionJob {
    /// `merge`, `split` (a run of several days into its days), `convert` (a closed day into Parquet) or `purge` (what
    /// retention rules or deletes let go).
    pub kind: &'static str,
    /// The UTC day as `YYYY-MM-DD`; none for several days.
    pub day: Option<String>,
    /// Ids of the segments that it reads.
    pub inputs: Vec<u64>,
    /// Bytes of these.
    pub bytes: u64,
    /// Bytes of these that are done, reckoned by series.
    pub done_bytes: u64,
    /// When it began, in milliseconds since 1970.
    pub started_ms: i64,
}

/// A segment that compaction leaves alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Its id.
    pub segment: u64,
    /// What went wrong.
    pub error: String,
    /// Until when, in milliseconds since 1970.
    pub until_ms: i64,
}

/// What the engine keeps of this.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    running: Mutex<Option<Running>>,
    set_aside: Mutex<BTreeMap<u64, SetAside>>,
}

#[derive(Debug)]
struct Running {
    job: CompactionJob,
    done_bytes: Arc<AtomicU64>,
}

/// Counts what is done of a piece of work, which runs as long as this lives.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    progress: &'a Progress,
    done_bytes: Arc<AtomicU64>,
    bytes: u64,
    series: u64,
}

impl Meter<'_> {
    /// Says how many series of all inputs are read; gives the bytes that are new with them.
    pub(crate) fn set_series(&self, read: u64) -> u64 {
        let part = u128::from(self.bytes) * u128::from(read.min(self.series)) / u128::from(self.series.max(1));
        let done = u64::try_from(part).unwrap_or(self.bytes);
        done.saturating_sub(self.done_bytes.swap(done, Ordering::Relaxed))
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        *self.progress.running.lock() = None;
    }
}

impl Progress {
    /// Begins a piece of work on these segments.
    pub(crate) fn begin(&self, job: &Job, inputs: &[&SegmentEntry], started_ms: i64) -> Meter<'_> {
        let (kind, day) = match job {
            Job::Split { .. } => ("split", None),
            Job::Convert { day, .. } => ("convert", Some(*day)),
            Job::Merge { inputs, day } if inputs.len() == 1 => ("purge", *day),
            Job::Merge { day, .. } => ("merge", *day),
        };
        let bytes = inputs.iter().map(|entry| entry.bytes).sum();
        let done_bytes = Arc::new(AtomicU64::new(0));
        let job = CompactionJob {
            kind,
            day: day.map(day_text),
            inputs: job.inputs().to_vec(),
            bytes,
            done_bytes: 0,
            started_ms,
        };
        *self.running.lock() = Some(Running { job, done_bytes: done_bytes.clone() });
        let series = inputs.iter().map(|entry| entry.series).sum();
        Meter { progress: self, done_bytes, bytes, series }
    }

    /// Leaves segments alone for a while.
    pub(crate) fn set_aside(&self, ids: &[u64], error: &StorageError, now_ms: i64) {
        let (error, until_ms) = (error.to_string(), now_ms.saturating_add(SET_ASIDE_MS));
        let new = ids.iter().map(|id| (*id, SetAside { segment: *id, error: error.clone(), until_ms }));
        self.set_aside.lock().extend(new);
    }

    /// The segments that are left alone now.
    pub(crate) fn aside(&self, now_ms: i64) -> BTreeSet<u64> {
        let mut aside = self.set_aside.lock();
        aside.retain(|_, one| one.until_ms > now_ms);
        aside.keys().copied().collect()
    }

    /// What is left alone now, of the segments that are still there.
    pub(crate) fn set_aside_of(&self, now_ms: i64, is_there: impl Fn(u64) -> bool) -> Vec<SetAside> {
        let aside = self.set_aside.lock();
        aside.values().filter(|one| one.until_ms > now_ms && is_there(one.segment)).cloned().collect()
    }

    /// What runs now.
    pub(crate) fn running(&self) -> Option<CompactionJob> {
        let running = self.running.lock();
        let Running { job, done_bytes } = running.as_ref()?;
        Some(CompactionJob { done_bytes: done_bytes.load(Ordering::Relaxed), ..job.clone() })
    }
}

impl Engine {
    /// The state of compaction.
    pub(crate) fn compaction_status(&self) -> CompactionStatus {
        let now_ms = self.clock.now_ms();
        let manifest = Manifest::clone(self.manifest.lock().current());
        let running = self.compaction.running();
        let aside = self.compaction.aside(now_ms);
        let set_aside = self.compaction.set_aside_of(now_ms, |id| manifest.segment(id).is_some());
        let (waiting_jobs, waiting_bytes) = waiting(manifest, &aside, self.aim(Effort::Due));
        CompactionStatus { running, set_aside, waiting_jobs, waiting_bytes }
    }
}

/// Pieces of work that are due, each planned on what the ones before leave, and the bytes they read.
fn waiting(mut manifest: Manifest, aside: &BTreeSet<u64>, aim: Aim) -> (u64, u64) {
    let (mut jobs, mut read_bytes) = (0, 0_u64);
    while jobs < WAITING_MAX
        && let Some(job) = plan(&manifest, aside, aim)
    {
        let inputs: Vec<SegmentEntry> = job.inputs().iter().filter_map(|id| manifest.segment(*id)).cloned().collect();
        let bytes = inputs.iter().map(SegmentEntry::total_bytes).sum();
        let merged = match (&job, inputs.iter().cloned().reduce(|a, b| together(&a, &b))) {
            // As large as all together: an upper bound.
            (Job::Merge { .. }, Some(first)) => vec![SegmentEntry { bytes, files: Vec::new(), ..first }],
            (Job::Convert { .. }, Some(first)) => {
                let name = String::from("planned");
                let file = DayFile { kind: FileKind::Samples, name, bytes, rows: first.samples };
                vec![SegmentEntry { created_ms: aim.now_ms, files: vec![file], ..first }]
            }
            // Into how many days is not known without reading it.
            _ => Vec::new(),
        };
        manifest = manifest.with(job.inputs(), merged);
        jobs += 1;
        read_bytes = read_bytes.saturating_add(bytes);
    }
    (jobs, read_bytes)
}

fn together(a: &SegmentEntry, b: &SegmentEntry) -> SegmentEntry {
    SegmentEntry {
        times: a.times.union(&b.times),
        sequence_min: a.sequence_min.min(b.sequence_min),
        sequence_max: a.sequence_max.max(b.sequence_max),
        series: a.series.max(b.series),
        samples: a.samples + b.samples,
        ..a.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AIM: Aim = Aim { now_ms: 0, effort: Effort::Due, parquet_after_ms: None };

    fn entry(id: u64, bytes: u64) -> SegmentEntry {
        SegmentEntry { series: 10, ..SegmentEntry::of_day(id, 0, bytes) }
    }

    #[test]
    fn what_waits_is_planned_to_its_end() {
        let of = |count| Manifest { segments: (1..=count).map(|id| entry(id, 10)).collect(), ..Manifest::default() };
        assert_eq!(waiting(of(3), &BTreeSet::new(), AIM), (0, 0));
        assert_eq!(waiting(of(7), &BTreeSet::new(), AIM), (1, 70));
        assert_eq!(waiting(of(7), &[4].into(), AIM), (0, 0));
    }

    #[test]
    fn a_meter_counts_bytes_by_series_and_ends_with_its_work() {
        let progress = Progress::default();
        let job = Job::Merge { inputs: vec![1, 2], day: Some(0) };
        let meter = progress.begin(&job, &[&entry(1, 30), &entry(2, 70)], 5);
        assert_eq!((meter.set_series(5), meter.set_series(10)), (25, 25));
        let running = progress.running().unwrap();
        assert_eq!((running.kind, running.day.as_deref()), ("merge", Some("1970-01-01")));
        assert_eq!((running.bytes, running.done_bytes, running.started_ms), (100, 50, 5));
        assert_eq!((meter.set_series(20), meter.set_series(99)), (50, 0));
        drop(meter);
        assert_eq!(progress.running(), None);
    }

    #[test]
    fn what_is_set_aside_comes_back() {
        let progress = Progress::default();
        let error = StorageError::Locked { path: "/x".into() };
        progress.set_aside(&[7], &error, 100);
        assert_eq!(progress.aside(100 + SET_ASIDE_MS - 1), [7].into());
        assert!(progress.aside(100 + SET_ASIDE_MS).is_empty());
    }
}
