//! A batch of samples on its way in.

use std::sync::Arc;

use model::{Buckets, Histogram, Labels, Metadata};

use crate::codec::histogram::BUCKETS_MAX;
use crate::db::commit::{BatchContent, Filling};
use crate::db::engine::Engine;
use crate::db::metadata::News;
use crate::error::{CommitError, Refusal};
use crate::head::epoch::Pin;

/// A series of the head, valid as long as the [`Batch`] that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef(pub(crate) u32);

/// A series that a batch resolved, kept by its sender for the next batch: no table is asked then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldSeries {
    series: SeriesRef,
    epoch: u32,
}

/// The key of a series as its sender writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RawKey {
    /// Endpoint, component or target, and the relabel generation: equal bytes mean the same series only within one.
    pub context: u64,
    /// Hash of the raw label bytes under a secret key, by a pseudo-random function: a hit is taken as it is.
    pub hash: u128,
}

/// What a raw key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// A series.
    Series(SeriesRef),
    /// Relabelling drops it.
    Dropped,
}

/// A sample's link to a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Its labels, such as `trace_id`.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// Its time.
    pub timestamp_ms: i64,
}

/// What was made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The batch's place in the order of all batches.
    pub sequence: u64,
    /// Samples in it, histograms included.
    pub samples: u64,
}

/// Samples of one request or scrape. All of it becomes durable and visible at once, or nothing.
#[derive(Debug)]
pub struct Batch<'db> {
    engine: &'db Engine,
    /// Keeps the numbers of series from being used for others.
    epoch: Pin,
    filling: Filling<'db>,
    content: BatchContent,
    oldest_ms: i64,
    newest_ms: i64,
}

impl<'db> Batch<'db> {
    pub(crate) fn new(engine: &'db Engine, oldest_ms: i64, newest_ms: i64) -> Self {
        let epoch = engine.head.epochs.pin();
        let filling = engine.queue.announce();
        Batch { engine, epoch, filling, content: BatchContent::default(), oldest_ms, newest_ms }
    }

    /// The series (or the decision to drop it) that a raw key stood for when it was last defined; none: parse the
    /// labels and call [`Batch::define`].
    pub fn resolve(&self, key: RawKey) -> Option<Resolved> {
        self.engine.head.resolve(key, self.epoch.epoch())
    }

    /// As [`Batch::resolve`] for many keys at once, which takes less time for each: `out` is what they stand for in turn.
    pub fn resolve_all(&self, keys: &[RawKey], out: &mut Vec<Option<Resolved>>) {
        self.engine.head.resolve_all(keys, self.epoch.epoch(), out);
    }

    /// Finds or creates the series with these labels, and remembers it under the raw key if one is given.
    ///
    /// # Errors
    /// [`Refusal::TooManySeries`], [`Refusal::TooManySeriesOfJob`].
    pub fn define(&mut self, key: Option<RawKey>, labels: &Labels) -> Result<SeriesRef, Refusal> {
        let defined = self.engine.head.define(key, labels, self.epoch.epoch(), self.engine);
        if defined.is_err() {
            self.engine.make_room();
        }
        defined
    }

    /// Notes a series of this batch for later ones of the same database.
    pub fn hold(&self, series: SeriesRef) -> HeldSeries {
        HeldSeries { series, epoch: self.epoch.epoch() }
    }

    /// The series, if its number is sure to mean it still; none: ask [`Batch::resolve`].
    ///
    /// In the epoch in which a series was resolved it is not retired, so its number is not given to another.
    pub fn resume(&self, held: HeldSeries) -> Option<SeriesRef> {
        (held.epoch == self.epoch.epoch()).then_some(held.series)
    }

    /// Remembers that the series behind a raw key is dropped.
    pub fn define_dropped(&mut self, key: RawKey) {
        self.engine.head.raw_keys.insert(key, Resolved::Dropped);
    }

    /// Adds a float sample; staleness markers are samples too.
    ///
    /// # Errors
    /// [`Refusal::TooOld`], [`Refusal::TooNew`]; the batch goes on without it.
    pub fn push(&mut self, series: SeriesRef, timestamp_ms: i64, value: f64) -> Result<(), Refusal> {
        self.check_time(timestamp_ms)?;
        self.content.samples.push((series, timestamp_ms, value));
        Ok(())
    }

    /// Adds a native histogram sample, which wins over a float of this batch at the same time. Spans without buckets
    /// are left out.
    ///
    /// # Errors
    /// As [`Batch::push`]; [`Refusal::TooManyBuckets`] if there are more than are stored of one sample, ever.
    pub fn push_histogram(
        &mut self,
        series: SeriesRef,
        timestamp_ms: i64,
        mut histogram: Histogram,
    ) -> Result<(), Refusal> {
        self.check_time(timestamp_ms)?;
        let buckets = histogram.bucket_count().max(histogram.custom_bounds.len());
        if buckets > BUCKETS_MAX {
            return Err(Refusal::TooManyBuckets { buckets: buckets as u64, limit: BUCKETS_MAX as u64 });
        }
        for side in [&mut histogram.positive, &mut histogram.negative] {
            if side.spans.iter().any(|span| span.length == 0) {
                *side = Buckets::from_indexed(side.indexed());
            }
        }
        self.content.histograms.push((series, timestamp_ms, Arc::new(histogram)));
        Ok(())
    }

    fn check_time(&self, timestamp_ms: i64) -> Result<(), Refusal> {
        if timestamp_ms < self.oldest_ms {
            return Err(Refusal::TooOld { timestamp_ms, oldest_ms: self.oldest_ms });
        }
        if timestamp_ms > self.newest_ms {
            return Err(Refusal::TooNew { timestamp_ms, newest_ms: self.newest_ms });
        }
        Ok(())
    }

    /// Adds an exemplar of a series.
    pub fn push_exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) {
        self.content.exemplars.push((series, exemplar));
    }

    /// Says what a metric family is; written to the WAL only if it says something new. Above `ingest.max_metadata`
    /// families it is left out and counted.
    pub fn set_metadata(&mut self, family: &str, metadata: Metadata) {
        match self.engine.metadata.news(family, &metadata, self.content.metadata.len()) {
            News::Known => {}
            News::New => self.content.metadata.push((family.to_owned(), metadata)),
            News::NoRoom => self.engine.counters.metadata_dropped.add(1),
        }
    }

    /// Number of samples so far.
    pub fn len(&self) -> usize {
        self.content.samples.len() + self.content.histograms.len()
    }

    /// True if no sample was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the batch to the WAL, waits for its sync, and makes it visible.
    ///
    /// # Errors
    /// [`CommitError`]: nothing of the batch is acknowledged.
    pub fn commit(self) -> Result<Committed, CommitError> {
        let Batch { engine, epoch: _epoch, filling, content, .. } = self;
        drop(filling);
        engine.commit(content)
    }
}

/// A native histogram sample of a series.
pub(crate) type HistogramSample = (SeriesRef, i64, Arc<Histogram>);
