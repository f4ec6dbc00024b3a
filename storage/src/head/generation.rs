//! The samples of the head between two flushes.
//!
//! One thread writes (the WAL's committer), many read. A writer holds all shards for as long as it applies a group of
//! batches, so that no reader sees half of a batch.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use model::{SampleColumns, TimeRange};
use parking_lot::{RwLock, RwLockWriteGuard};

use super::chunk::{Chunk, OpenSnapshots};
use super::histograms::Histograms;
use super::pages::Pages;
use super::registry::SHARD_COUNT;
use crate::batch::{HistogramSample, SeriesRef};

/// One chunk per series, sharded as the registry is.
#[derive(Debug)]
pub(crate) struct Generation {
    shards: Vec<RwLock<Shard>>,
    histograms: RwLock<Histograms>,
    /// True once there is a histogram: most generations have none, and are spared the lock.
    has_histograms: AtomicBool,
    /// The sequence before the first batch that may be in here.
    base: u64,
    last_sequence: AtomicU64,
    sample_count: AtomicU64,
    oldest_arrival_ms: AtomicI64,
}

/// Units of a series that are touched before it is read: more of them are large, and reading those is no wait.
const WARM_UNITS: usize = 5;

/// The chunks of a shard's series, and their samples.
#[derive(Debug, Default)]
struct Shard {
    chunks: Vec<Chunk>,
    pages: Pages,
}

impl Shard {
    /// Adds a sample of the batch `sequence`, as chunks count them.
    fn push(&mut self, place: usize, sequence: u32, point: (i64, f64), open: Option<OpenSnapshots>) {
        if self.chunks.len() <= place {
            self.chunks.resize_with(place + 1, Chunk::default);
        }
        if let Some(chunk) = self.chunks.get_mut(place) {
            chunk.push(&mut self.pages, sequence, point, open);
        }
    }

    fn bytes(&self) -> usize {
        let chunks = self.chunks.capacity() * size_of::<Chunk>();
        chunks + self.chunks.iter().map(Chunk::heap_bytes).sum::<usize>() + self.pages.bytes()
    }
}

impl Generation {
    /// A generation for the batches after `base`.
    pub(crate) fn new(base: u64) -> Self {
        Generation {
            shards: (0..SHARD_COUNT).map(|_| RwLock::default()).collect(),
            histograms: RwLock::default(),
            has_histograms: AtomicBool::new(false),
            base,
            last_sequence: AtomicU64::new(base),
            sample_count: AtomicU64::new(0),
            oldest_arrival_ms: AtomicI64::new(i64::MAX),
        }
    }

    /// Begins to write; `open` are the sequences of the oldest and the newest open snapshot.
    pub(crate) fn write(&self, open: Option<(u64, u64)>) -> GenerationWriter<'_> {
        let open = open.map(|(oldest, newest)| OpenSnapshots { oldest: self.cap(oldest), newest: self.cap(newest) });
        GenerationWriter {
            generation: self,
            shards: self.shards.iter().map(|shard| shard.write()).collect(),
            histograms: self.histograms.write(),
            open,
        }
    }

    /// A sequence as chunks count them.
    fn cap(&self, sequence: u64) -> u32 {
        u32::try_from(sequence.saturating_sub(self.base)).unwrap_or(u32::MAX)
    }

    /// Number of samples, late and overwritten ones included.
    pub(crate) fn sample_count(&self) -> u64 {
        self.sample_count.load(Ordering::Relaxed)
    }

    /// Sequences of the first and the last batch in here; none if there is none.
    pub(crate) fn sequences(&self) -> Option<(u64, u64)> {
        let last = self.last_sequence.load(Ordering::Acquire);
        (last > self.base).then_some((self.base + 1, last))
    }

    /// When the oldest batch in here arrived.
    pub(crate) fn oldest_arrival_ms(&self) -> Option<i64> {
        Some(self.oldest_arrival_ms.load(Ordering::Relaxed)).filter(|ms| *ms != i64::MAX)
    }

    /// True if the series has samples in here that a snapshot at `sequence` sees, in the range.
    pub(crate) fn has_samples(&self, series: SeriesRef, sequence: u64, range: TimeRange) -> bool {
        self.with(series, |chunk, pages| chunk.has_samples(pages, self.cap(sequence), range)).unwrap_or(false)
            || self.with_histograms(|all| all.has_samples(series, self.cap(sequence), range)).unwrap_or(false)
    }

    /// True if the series has any sample in here.
    pub(crate) fn holds(&self, series: SeriesRef) -> bool {
        self.with(series, |chunk, _| !chunk.is_empty()).unwrap_or(false)
            || self.with_histograms(|all| all.holds(series)).unwrap_or(false)
    }

    /// Appends to `out` the samples of a series that a snapshot at `sequence` sees, in the range.
    pub(crate) fn read(&self, series: SeriesRef, sequence: u64, range: TimeRange, out: &mut SampleColumns) {
        self.with(series, |chunk, pages| chunk.read(pages, self.cap(sequence), range, out));
        self.with_histograms(|all| all.read(series, self.cap(sequence), range, out));
    }

    /// Touches what reading these series needs. They lie in the order in which they came, so that who reads them in
    /// another order waits for memory at each step from chunk to unit to unit: here many such steps wait together.
    pub(crate) fn warm(&self, series: &[SeriesRef]) {
        let shards: Vec<_> = self.shards.iter().map(|shard| shard.read()).collect();
        let mut units: Vec<_> = series
            .iter()
            .filter_map(|series| {
                let shard = shards.get(series.shard())?;
                shard.chunks.get(series.place()).map(|chunk| (shard, chunk.last_unit()))
            })
            .collect();
        for _ in 0..WARM_UNITS {
            units.retain_mut(|(shard, at)| match at.and_then(|at| at.before(&shard.pages)) {
                Some(before) => {
                    *at = Some(before);
                    true
                }
                None => false,
            });
        }
        std::hint::black_box(&units);
    }

    /// First and last time of a series' samples in here.
    pub(crate) fn times(&self, series: SeriesRef) -> Option<TimeRange> {
        let floats = self.with(series, |chunk, _| chunk.times()).flatten();
        let histograms = self.with_histograms(|all| all.times(series)).flatten();
        floats.into_iter().chain(histograms).reduce(|a, b| a.union(&b))
    }

    /// Adds the UTC days on which the series has samples in here.
    pub(crate) fn add_days(&self, series: SeriesRef, days: &mut BTreeSet<i64>) {
        self.with(series, |chunk, pages| chunk.add_days(pages, days));
        self.with_histograms(|all| all.add_days(series, days));
    }

    /// The series that have samples in here.
    pub(crate) fn series(&self) -> Vec<SeriesRef> {
        let mut found = Vec::new();
        for (shard, content) in self.shards.iter().enumerate() {
            let content = content.read();
            let filled = content.chunks.iter().enumerate().filter(|(_, chunk)| !chunk.is_empty());
            found.extend(filled.map(|(place, _)| SeriesRef::at(shard, place)));
        }
        self.with_histograms(|all| {
            found.extend(all.series());
            found.sort_unstable();
            found.dedup();
        });
        found
    }

    /// Bytes of all samples.
    pub(crate) fn bytes(&self) -> u64 {
        let floats: u64 = self.shards.iter().map(|shard| shard.read().bytes() as u64).sum();
        floats + self.histogram_bytes()
    }

    /// Bytes of all histograms.
    pub(crate) fn histogram_bytes(&self) -> u64 {
        self.with_histograms(|all| all.bytes() as u64).unwrap_or(0)
    }

    /// Visits the histograms, if there are any.
    fn with_histograms<R>(&self, visit: impl FnOnce(&Histograms) -> R) -> Option<R> {
        self.has_histograms.load(Ordering::Acquire).then(|| visit(&self.histograms.read()))
    }

    fn with<R>(&self, series: SeriesRef, visit: impl FnOnce(&Chunk, &Pages) -> R) -> Option<R> {
        let shard = self.shards.get(series.shard())?.read();
        shard.chunks.get(series.place()).map(|chunk| visit(chunk, &shard.pages))
    }
}

/// Writes to a generation while all its shards are held.
#[derive(Debug)]
pub(crate) struct GenerationWriter<'a> {
    generation: &'a Generation,
    shards: Vec<RwLockWriteGuard<'a, Shard>>,
    histograms: RwLockWriteGuard<'a, Histograms>,
    open: Option<OpenSnapshots>,
}

impl GenerationWriter<'_> {
    /// Adds the samples of a batch; sequences rise.
    pub(crate) fn apply(&mut self, sequence: u64, arrived_ms: i64, samples: &[(SeriesRef, i64, f64)]) {
        let distance = self.generation.cap(sequence);
        for (series, timestamp_ms, value) in samples {
            if let Some(shard) = self.shards.get_mut(series.shard()) {
                shard.push(series.place(), distance, (*timestamp_ms, *value), self.open);
            }
        }
        if !self.histograms.is_empty() {
            for (series, timestamp_ms, _) in samples {
                self.histograms.note_float(*series, distance, *timestamp_ms);
            }
        }
        let generation = self.generation;
        generation.last_sequence.store(sequence, Ordering::Release);
        generation.sample_count.fetch_add(samples.len() as u64, Ordering::Relaxed);
        generation.oldest_arrival_ms.fetch_min(arrived_ms, Ordering::Relaxed);
    }

    /// Adds the histograms of the batch that was applied last; they win over its floats.
    pub(crate) fn apply_histograms(&mut self, sequence: u64, histograms: &[HistogramSample]) {
        let distance = self.generation.cap(sequence);
        for (series, timestamp_ms, histogram) in histograms {
            self.histograms.push(*series, distance, *timestamp_ms, histogram.clone());
        }
        self.generation.has_histograms.store(true, Ordering::Release);
        self.generation.sample_count.fetch_add(histograms.len() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_sees_the_batches_up_to_its_sequence() {
        let generation = Generation::new(100);
        let series = SeriesRef::at(3, 70);
        assert_eq!(generation.sequences(), None);
        generation.write(None).apply(101, 5, &[(series, 1, 1.0)]);
        generation.write(Some((101, 101))).apply(102, 4, &[(series, 2, 2.0), (series, 1, 3.0)]);
        let seen = |sequence| {
            let mut out = SampleColumns::default();
            generation.read(series, sequence, TimeRange::ALL, &mut out);
            (out.timestamps_ms, out.values)
        };
        assert_eq!(seen(102), (vec![1, 2], vec![3.0, 2.0]));
        assert_eq!(seen(101), (vec![1], vec![1.0]));
        assert_eq!(seen(100).0, Vec::<i64>::new());
        assert_eq!((generation.sequences(), generation.sample_count()), (Some((101, 102)), 3));
        assert_eq!((generation.oldest_arrival_ms(), generation.series()), (Some(4), vec![series]));
        assert!(generation.holds(series) && !generation.holds(SeriesRef::at(3, 71)));
    }
}
