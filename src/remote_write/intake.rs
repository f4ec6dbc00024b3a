//! What both versions do with a series: resolve it by its raw bytes, check it once when it is new, push its samples.

use std::collections::HashMap;

use model::{Labels, METRIC_NAME, MetricType};
use parking_lot::Mutex;
use storage::{Batch, RawKey, Resolved, SeriesRef};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::histogram::HistogramSample;
use super::{ReadError, RequestError, WireError};
use crate::ingest::{
    Description, Ingest, LabelLimits, ORG, Origin, Pair, Refused, Rejection, add_over, example, raw_hash, secret_seed,
};

/// Messages about refused series and samples that an answer carries at most.
const EXAMPLES_MAX: usize = 5;
/// Families whose metadata is remembered so that repeating it costs nothing; above, all are forgotten.
const SEEN_MAX: usize = 100_000;

/// What is remembered between requests.
#[derive(Debug, Default)]
pub struct Seen {
    /// Hash of a family's name to the hash of what was last said of it.
    metadata: Mutex<HashMap<u64, u64>>,
}

/// What became of a request's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Float samples in the batch.
    pub samples: u64,
    /// Native histogram samples in the batch.
    pub histograms: u64,
    /// Exemplars in the batch.
    pub exemplars: u64,
    /// Samples, exemplars and metadata that were refused. A series that was refused may have none.
    pub refused: u64,
    /// The first refusals, for the sender; empty if nothing was refused.
    pub examples: Vec<String>,
}

/// Takes one request in.
pub struct Intake<'a> {
    ingest: &'a Ingest,
    seen: &'a Seen,
    limits: LabelLimits,
    /// Whose all series are, if the sender belongs to an organization, and what that makes of the keys.
    org: Option<(&'a str, u64)>,
    batch: Batch<'a>,
    outcome: Outcome,
    samples_left: usize,
    samples_max: usize,
    noted: Vec<(u64, u64)>,
}

impl<'a> Intake<'a> {
    /// Starts a request that may have that many samples, of an organization's sender if one is named.
    pub fn new(ingest: &'a Ingest, seen: &'a Seen, samples_max: usize, org: Option<&'a str>) -> Self {
        Intake {
            org: org.map(|org| (org, raw_hash(org.as_bytes()) as u64)),
            ingest,
            seen,
            limits: ingest.limits(),
            batch: ingest.batch(),
            outcome: Outcome::default(),
            samples_left: samples_max,
            samples_max,
            noted: Vec::new(),
        }
    }

    /// Makes the batch durable.
    ///
    /// # Errors
    /// [`storage::CommitError`]: nothing is acknowledged.
    pub fn commit(self) -> Result<Outcome, storage::CommitError> {
        self.ingest.commit(Origin::RemoteWrite, self.batch)?;
        let mut metadata = self.seen.metadata.lock();
        if metadata.len() + self.noted.len() > SEEN_MAX {
            metadata.clear();
        }
        metadata.extend(self.noted);
        Ok(self.outcome)
    }

    /// The key of a series by its raw bytes, within one version of the message and the sender's organization.
    pub(super) fn key(&self, context: u64, raw: &[u8]) -> RawKey {
        RawKey { context: self.org.map_or(context, |(_, of_org)| context ^ of_org), hash: raw_hash(raw) }
    }

    /// The series that these bytes stood for when it was last defined.
    pub(super) fn known(&self, key: RawKey) -> Option<SeriesRef> {
        match self.batch.resolve(key) {
            Some(Resolved::Series(series)) => Some(series),
            // Remote write is not relabelled: nothing defines a drop here.
            Some(Resolved::Dropped) | None => None,
        }
    }

    /// As [`Intake::known`] for many keys, in turn.
    pub(super) fn all_known(&self, keys: &[RawKey], out: &mut Vec<Option<Resolved>>) {
        self.batch.resolve_all(keys, out);
    }

    /// What was read; none if it was refused, which is counted under what `name` says.
    ///
    /// # Errors
    /// The message is broken.
    pub(super) fn accept<T>(
        &mut self,
        read: Result<T, ReadError>,
        refused: Refused,
        name: impl FnOnce() -> String,
    ) -> Result<Option<T>, WireError> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(ReadError::Wire(error)) => Err(error),
            Err(ReadError::Content(rejection)) => {
                self.refuse(&rejection, refused, &name());
                Ok(None)
            }
        }
    }

    /// Finds or makes the series with these labels.
    pub(super) fn define(&mut self, key: RawKey, labels: &[(&str, &str)]) -> Result<SeriesRef, Rejection> {
        let labels = match self.org {
            None => self.checked(labels.iter().copied())?,
            Some((org, _)) => {
                let mut pairs: Vec<Pair<'_>> = labels.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
                add_over(&mut pairs, ORG, org);
                self.checked(pairs.iter().map(|(name, value)| (&**name, &**value)))?
            }
        };
        if labels.metric_name().is_empty() {
            return Err(Rejection::Invalid(format!("there is no metric name (label {METRIC_NAME})")));
        }
        Ok(self.batch.define(Some(key), &labels)?)
    }

    fn checked<'l>(&self, labels: impl Iterator<Item = (&'l str, &'l str)> + Clone) -> Result<Labels, Rejection> {
        self.limits.check(labels.clone())?;
        Labels::from_pairs(labels).map_err(|error| Rejection::Invalid(error.to_string()))
    }

    /// Adds a sample; what is wrong with it is for [`Intake::refuse_sample`].
    pub(super) fn push(&mut self, series: SeriesRef, timestamp_ms: i64, value: f64) -> Result<(), Rejection> {
        self.batch.push(series, timestamp_ms, value)?;
        self.outcome.samples += 1;
        Ok(())
    }

    /// Counts a sample of the series with these labels as refused.
    pub(super) fn refuse_sample(&mut self, rejection: &Rejection, labels: &[(&str, &str)]) {
        self.refuse(rejection, Refused::Samples(1), &format!("a sample of {}", name_of(labels)));
    }

    /// Adds an exemplar.
    pub(super) fn push_exemplar(
        &mut self,
        series: SeriesRef,
        labels: &[(&str, &str)],
        timestamp_ms: i64,
        value: f64,
    ) -> Result<(), Rejection> {
        let exemplar = self.ingest.exemplar(labels.iter().copied(), value, timestamp_ms)?;
        self.batch.push_exemplar(series, exemplar);
        self.outcome.exemplars += 1;
        Ok(())
    }

    /// Adds a native histogram sample of the series with these labels; one that is not valid is refused.
    pub(super) fn push_histogram(&mut self, series: SeriesRef, sample: HistogramSample, labels: &[(&str, &str)]) {
        let HistogramSample { timestamp_ms, mut histogram, is_integer } = sample;
        let fitted = self.ingest.fit_histogram(&mut histogram, is_integer);
        let pushed = fitted.and_then(|()| Ok(self.batch.push_histogram(series, timestamp_ms, histogram)?));
        match pushed {
            Ok(()) => self.outcome.histograms += 1,
            Err(rejection) => self.refuse_sample(&rejection, labels),
        }
    }

    /// Counts samples against the limit of one request.
    pub(super) fn count(&mut self, samples: usize) -> Result<(), RequestError> {
        match self.samples_left.checked_sub(samples) {
            Some(left) => {
                self.samples_left = left;
                Ok(())
            }
            None => Err(RequestError::TooManySamples { limit: self.samples_max }),
        }
    }

    /// Notes what a metric family is, if that is news. What is above a limit is no refusal that the sender hears of: its
    /// samples are stored, and it would say the same with each request.
    pub(super) fn metadata(&mut self, said: Description<'_>) {
        let Description { family, metric_type, help, unit } = said;
        let hash = |text: &str, seed: u64| xxh3_64_with_seed(text.as_bytes(), seed);
        let key = hash(family, secret_seed());
        let content = hash(unit, hash(help, secret_seed() ^ metric_type as u64));
        if family.is_empty() || self.seen.metadata.lock().get(&key) == Some(&content) {
            return;
        }
        if self.noted.last() != Some(&(key, content)) {
            if self.noted.len() < SEEN_MAX {
                self.noted.push((key, content));
            }
            self.ingest.describe(Origin::RemoteWrite, &mut self.batch, said);
        }
    }

    fn refuse(&mut self, rejection: &Rejection, refused: Refused, what: &str) {
        self.ingest.reject(Origin::RemoteWrite, refused, rejection, what);
        self.outcome.refused += refused.count();
        if self.outcome.examples.len() < EXAMPLES_MAX {
            self.outcome.examples.push(example(what, rejection));
        }
    }
}

/// The type behind the number that both versions use.
pub(super) fn metric_type(number: u64) -> MetricType {
    match number {
        1 => MetricType::Counter,
        2 => MetricType::Gauge,
        3 => MetricType::Histogram,
        4 => MetricType::GaugeHistogram,
        5 => MetricType::Summary,
        6 => MetricType::Info,
        7 => MetricType::StateSet,
        _ => MetricType::Unknown,
    }
}

/// The metric's name for messages, cut to a readable length.
pub(super) fn name_of(labels: &[(&str, &str)]) -> String {
    let name = labels.iter().find(|(name, _)| *name == METRIC_NAME).map_or("{}", |(_, value)| *value);
    format!("{:?}", name.chars().take(64).collect::<String>())
}
