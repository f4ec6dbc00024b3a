//! The database: one writer side, many snapshots. (In memory until the WAL and the segments are in.)

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::{
    Budget, Labels, Matcher, Metadata, Sample, SampleColumns, Scope, SeriesSet, SeriesSource, SourceError, TimeRange,
};
use parking_lot::RwLock;

use crate::batch::{Batch, Committed, Exemplar, RawKey, Resolved, SeriesRef};
use crate::error::{CommitError, Refusal, StorageError};
use crate::options::{Clock, DbOptions};

/// What a flush did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlushReport {
    /// Samples that went from the head into segments.
    pub samples: u64,
    /// Segments written.
    pub segments: u64,
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Segments that were merged away.
    pub segments_before: u64,
    /// Segments written.
    pub segments_after: u64,
}

/// What retention dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionReport {
    /// The days dropped, as `YYYY-MM-DD`.
    pub dropped_days: Vec<String>,
    /// Bytes freed.
    pub freed_bytes: u64,
}

/// The newest sample of a series and when it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Latest {
    /// The series.
    pub labels: Labels,
    /// The sample with the greatest time.
    pub sample: Sample,
    /// When the newest batch with this series arrived, in milliseconds since 1970.
    pub arrived_ms: i64,
}

#[derive(Debug, Default)]
struct State {
    sequence: u64,
    series: Vec<Series>,
    by_labels: BTreeMap<Labels, SeriesRef>,
    raw: HashMap<RawKey, Resolved>,
    metadata: BTreeMap<String, Metadata>,
    exemplars: Vec<(Labels, Exemplar)>,
}

#[derive(Debug, Clone)]
struct Series {
    labels: Labels,
    samples: BTreeMap<i64, f64>,
    arrived_ms: i64,
}

/// A database in one directory. Share it behind an `Arc`.
#[derive(Debug)]
pub struct Db {
    options: DbOptions,
    clock: Arc<dyn Clock>,
    state: RwLock<State>,
}

impl Db {
    /// Opens or creates the database and replays its WAL.
    ///
    /// # Errors
    /// [`StorageError::Locked`] if another process has it, [`StorageError::NewerFormat`], I/O errors.
    pub fn open(options: DbOptions, clock: Arc<dyn Clock>) -> Result<Db, StorageError> {
        Ok(Db { options, clock, state: RwLock::default() })
    }

    /// Starts a batch.
    pub fn batch(&self) -> Batch<'_> {
        let now_ms = self.clock.now_ms();
        let oldest_ms = self.options.retention_ms.map_or(i64::MIN, |keep| now_ms.saturating_sub(keep));
        Batch::new(self, oldest_ms, now_ms.saturating_add(self.options.future_max_ms))
    }

    /// A consistent view of everything committed so far.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state.read();
        Snapshot { series: state.by_labels.values().map(|r| state.series[r.0 as usize].clone()).collect() }
    }

    /// The newest sample of each series that passes and received a sample since `arrived_since_ms`, sorted by labels.
    pub fn latest(&self, scope: &Scope, matchers: &[Matcher], arrived_since_ms: i64) -> Vec<Latest> {
        let state = self.state.read();
        state
            .by_labels
            .iter()
            .map(|(labels, r)| (labels, &state.series[r.0 as usize]))
            .filter(|(labels, s)| s.arrived_ms >= arrived_since_ms && passes(scope, matchers, labels))
            .filter_map(|(labels, s)| {
                let (&timestamp_ms, &value) = s.samples.last_key_value()?;
                let sample = Sample { timestamp_ms, value };
                Some(Latest { labels: labels.clone(), sample, arrived_ms: s.arrived_ms })
            })
            .collect()
    }

    /// What is known about metric families, sorted by family.
    pub fn metadata(&self) -> Vec<(String, Metadata)> {
        self.state.read().metadata.iter().map(|(n, m)| (n.clone(), m.clone())).collect()
    }

    /// What is known about one metric family.
    pub fn metadata_of(&self, family: &str) -> Option<Metadata> {
        self.state.read().metadata.get(family).cloned()
    }

    /// Exemplars of the series that pass, in the range.
    pub fn exemplars(&self, scope: &Scope, matchers: &[Matcher], range: TimeRange) -> Vec<(Labels, Vec<Exemplar>)> {
        let mut found: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        for (labels, exemplar) in &self.state.read().exemplars {
            if range.contains(exemplar.timestamp_ms) && passes(scope, matchers, labels) {
                found.entry(labels.clone()).or_default().push(exemplar.clone());
            }
        }
        found.into_iter().collect()
    }

    /// Number of active series.
    pub fn series_count(&self) -> u64 {
        self.state.read().series.len() as u64
    }

    /// Writes the head into segments now; returns when they are installed.
    ///
    /// # Errors
    /// I/O errors; the head stays as it is then.
    pub fn flush(&self) -> Result<FlushReport, StorageError> {
        Ok(FlushReport::default())
    }

    /// Does all compaction that is due now.
    ///
    /// # Errors
    /// I/O errors; what was there stays.
    pub fn compact(&self) -> Result<CompactReport, StorageError> {
        Ok(CompactReport::default())
    }

    /// Applies retention by age and size now.
    ///
    /// # Errors
    /// I/O errors.
    pub fn enforce_retention(&self) -> Result<RetentionReport, StorageError> {
        Ok(RetentionReport::default())
    }

    /// Flushes and closes; later commits fail with [`CommitError::Closed`].
    ///
    /// # Errors
    /// As [`Db::flush`].
    pub fn close(&self) -> Result<(), StorageError> {
        Ok(())
    }

    pub(crate) fn resolve(&self, key: RawKey) -> Option<Resolved> {
        self.state.read().raw.get(&key).copied()
    }

    pub(crate) fn define(&self, key: Option<RawKey>, labels: &Labels) -> Result<SeriesRef, Refusal> {
        let mut state = self.state.write();
        let series = match state.by_labels.get(labels) {
            Some(series) => *series,
            None if state.series.len() as u64 >= self.options.series_max => {
                return Err(Refusal::TooManySeries { limit: self.options.series_max });
            }
            None => {
                let series = SeriesRef(u32::try_from(state.series.len()).unwrap_or(u32::MAX));
                state.series.push(Series { labels: labels.clone(), samples: BTreeMap::new(), arrived_ms: i64::MIN });
                state.by_labels.insert(labels.clone(), series);
                series
            }
        };
        if let Some(key) = key {
            state.raw.insert(key, Resolved::Series(series));
        }
        Ok(series)
    }

    pub(crate) fn define_dropped(&self, key: RawKey) {
        self.state.write().raw.insert(key, Resolved::Dropped);
    }

    pub(crate) fn has_labels<'a>(
        &self,
        series: SeriesRef,
        mut labels: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> bool {
        let have = self.state.read().series[series.0 as usize].labels.clone();
        have.iter().all(|pair| labels.next() == Some(pair)) && labels.next().is_none()
    }

    pub(crate) fn commit(&self, batch: Batch<'_>) -> Result<Committed, CommitError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state.write();
        state.sequence += 1;
        let samples = batch.samples.len() as u64;
        for (series, timestamp_ms, value) in batch.samples {
            let series = &mut state.series[series.0 as usize];
            series.samples.insert(timestamp_ms, value);
            series.arrived_ms = now_ms;
        }
        for (series, exemplar) in batch.exemplars {
            let labels = state.series[series.0 as usize].labels.clone();
            state.exemplars.push((labels, exemplar));
        }
        state.metadata.extend(batch.metadata);
        Ok(Committed { sequence: state.sequence, samples })
    }
}

fn passes(scope: &Scope, matchers: &[Matcher], labels: &Labels) -> bool {
    scope.forced().into_iter().chain(matchers).all(|m| m.matches(labels.get(m.name()).unwrap_or_default()))
}

/// A consistent view of the database.
#[derive(Debug, Clone)]
pub struct Snapshot {
    series: Vec<Series>,
}

impl SeriesSource for Snapshot {
    fn select(
        &self,
        scope: &Scope,
        matchers: &[Matcher],
        _range: TimeRange,
        _budget: &Budget,
    ) -> Result<Box<dyn SeriesSet + '_>, SourceError> {
        let set: Vec<&Series> = self.series.iter().filter(|s| passes(scope, matchers, &s.labels)).collect();
        Ok(Box::new(Selected(set)))
    }
}

struct Selected<'a>(Vec<&'a Series>);

impl SeriesSet for Selected<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn labels(&self, i: usize) -> Labels {
        self.0[i].labels.clone()
    }

    fn samples(&self, i: usize, range: TimeRange, budget: &Budget, out: &mut SampleColumns) -> Result<(), SourceError> {
        out.clear();
        if !range.is_empty() {
            for (&timestamp_ms, &value) in self.0[i].samples.range(range.start_ms..=range.end_ms) {
                out.push(timestamp_ms, value);
            }
        }
        budget.add_samples(out.len() as u64)?;
        Ok(())
    }
}
