//! The one way in: limits on labels, the account of what was refused, and the commit.
//!
//! Report, scrape and remote write decode on their own and then go through here, so that a limit means the same
//! everywhere and each refusal is counted with an example that can be read.

mod raw_hash;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Histogram, SCHEMA_MAX};
use parking_lot::Mutex;
use storage::{Batch, Db, Refusal};

use crate::config::Config;
use crate::telemetry::Telemetry;

pub use raw_hash::{raw_hash, secret_seed};

/// Where samples come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// `POST /api/metrics/report` and self-reports.
    Report,
    /// Scraped targets.
    Scrape,
    /// Prometheus remote write.
    RemoteWrite,
}

impl Origin {
    /// The value of the label `origin` in our own metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Report => "report",
            Origin::Scrape => "scrape",
            Origin::RemoteWrite => "remote_write",
        }
    }
}

/// Why a sample or a series was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The database refused it.
    #[error(transparent)]
    Storage(#[from] Refusal),
    /// It has too many labels.
    #[error("{count} labels: limit ingest.max_labels = {limit} reached")]
    TooManyLabels {
        /// How many it has.
        count: usize,
        /// `ingest.max_labels`
        limit: usize,
    },
    /// A native histogram has too many buckets, and cannot be made coarser.
    #[error("{count} buckets or custom bounds: limit ingest.max_histogram_buckets = {limit} reached")]
    TooManyBuckets {
        /// How many it has.
        count: usize,
        /// `ingest.max_histogram_buckets`
        limit: usize,
    },
    /// A metric or label name is too long.
    #[error("name {name:?}… has {bytes} bytes: limit ingest.max_name_bytes = {limit} reached")]
    NameTooLong {
        /// Its beginning.
        name: String,
        /// Its length.
        bytes: usize,
        /// `ingest.max_name_bytes`
        limit: usize,
    },
    /// A label value is too long.
    #[error("the value of label {name:?} has {bytes} bytes: limit ingest.max_value_bytes = {limit} reached")]
    ValueTooLong {
        /// The label.
        name: String,
        /// Length of the value.
        bytes: usize,
        /// `ingest.max_value_bytes`
        limit: usize,
    },
    /// Anything else that makes a sample unusable; the text says what.
    #[error("{0}")]
    Invalid(String),
}

impl Rejection {
    /// The rejection of a name above the limit.
    pub fn name_too_long(name: &str, limit: usize) -> Rejection {
        Rejection::NameTooLong { name: name.chars().take(32).collect(), bytes: name.len(), limit }
    }

    /// The value of the label `reason` in our own metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Rejection::Storage(Refusal::TooOld { .. }) => "too_old",
            Rejection::Storage(Refusal::TooNew { .. }) => "too_new",
            Rejection::Storage(Refusal::TooManySeries { .. }) => "too_many_series",
            Rejection::Storage(Refusal::TooManySeriesOfJob { .. }) => "too_many_series_of_job",
            Rejection::TooManyLabels { .. } => "too_many_labels",
            Rejection::TooManyBuckets { .. } | Rejection::Storage(Refusal::TooManyBuckets { .. }) => "too_many_buckets",
            Rejection::NameTooLong { .. } => "name_too_long",
            Rejection::ValueTooLong { .. } => "value_too_long",
            Rejection::Invalid(_) => "invalid",
        }
    }
}

/// Schemas up to here are known to Prometheus, and made coarser when they are received.
const SCHEMA_REDUCIBLE_MAX: i32 = 52;

/// Limits on labels.
#[derive(Debug, Clone, Copy)]
pub struct LabelLimits {
    /// `ingest.max_labels`
    pub labels_max: usize,
    /// `ingest.max_name_bytes`
    pub name_bytes_max: usize,
    /// `ingest.max_value_bytes`
    pub value_bytes_max: usize,
}

impl LabelLimits {
    /// Checks labels before they become a series.
    ///
    /// # Errors
    /// The first limit that is passed.
    pub fn check<'a>(&self, labels: impl Iterator<Item = (&'a str, &'a str)>) -> Result<(), Rejection> {
        let mut count = 0;
        for (name, value) in labels {
            count += 1;
            if name.len() > self.name_bytes_max {
                return Err(self.name_too_long(name));
            }
            // The metric's name is a name wherever it stands.
            if name == model::METRIC_NAME && value.len() > self.name_bytes_max {
                return Err(self.name_too_long(value));
            }
            if value.len() > self.value_bytes_max {
                let limit = self.value_bytes_max;
                return Err(Rejection::ValueTooLong { name: name.to_owned(), bytes: value.len(), limit });
            }
        }
        if count > self.labels_max {
            return Err(Rejection::TooManyLabels { count, limit: self.labels_max });
        }
        Ok(())
    }

    fn name_too_long(&self, name: &str) -> Rejection {
        Rejection::name_too_long(name, self.name_bytes_max)
    }
}

/// How often something was refused, and the newest example.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RejectionCount {
    /// Samples refused so far.
    pub count: u64,
    /// The newest, as a text: what was refused and why.
    pub example: String,
}

/// The way in.
pub struct Ingest {
    db: Arc<Db>,
    telemetry: Arc<Telemetry>,
    limits: LabelLimits,
    histogram_buckets_max: usize,
    rejections: Mutex<BTreeMap<(Origin, &'static str), RejectionCount>>,
}

impl Ingest {
    pub(crate) fn new(config: &Config, db: Arc<Db>, telemetry: Arc<Telemetry>) -> Ingest {
        let limits = LabelLimits {
            labels_max: config.ingest_max_labels,
            name_bytes_max: config.ingest_max_name_bytes,
            value_bytes_max: config.ingest_max_value_bytes,
        };
        let histogram_buckets_max = config.ingest_max_histogram_buckets;
        Ingest { db, telemetry, limits, histogram_buckets_max, rejections: Mutex::default() }
    }

    /// Limits on labels.
    pub fn limits(&self) -> LabelLimits {
        self.limits
    }

    /// Checks a native histogram and makes it fit: what is finer than any schema that is kept, or has more buckets than
    /// `ingest.max_histogram_buckets`, is merged into coarser buckets.
    ///
    /// # Errors
    /// [`Rejection`] if its parts do not fit together, or if it cannot be made coarse enough.
    pub fn fit_histogram(&self, histogram: &mut Histogram, is_integer: bool) -> Result<(), Rejection> {
        if (SCHEMA_MAX + 1..=SCHEMA_REDUCIBLE_MAX).contains(&histogram.schema) {
            histogram.coarsen(SCHEMA_MAX);
        }
        histogram.validate(is_integer).map_err(|error| Rejection::Invalid(error.to_string()))?;
        let (count, limit) = (histogram.bucket_count().max(histogram.custom_bounds.len()), self.histogram_buckets_max);
        let is_fit = histogram.custom_bounds.len() <= limit && histogram.coarsen_to_fit(limit);
        if is_fit { Ok(()) } else { Err(Rejection::TooManyBuckets { count, limit }) }
    }

    /// Starts a batch.
    pub fn batch(&self) -> Batch<'_> {
        self.db.batch()
    }

    /// Commits a batch and counts it.
    ///
    /// # Errors
    /// [`storage::CommitError`]: nothing of the batch is acknowledged.
    pub fn commit(&self, origin: Origin, batch: Batch<'_>) -> Result<storage::Committed, storage::CommitError> {
        let committed = batch.commit();
        match &committed {
            Ok(done) => self.telemetry.samples_accepted.add(&[origin.as_str()], done.samples),
            Err(_) => self.telemetry.commits_failed.add(&[origin.as_str()], 1),
        }
        committed
    }

    /// Counts a refusal; `what` names the sample or series for the example.
    pub fn reject(&self, origin: Origin, rejection: &Rejection, what: &str) {
        self.telemetry.samples_rejected.add(&[origin.as_str(), rejection.reason()], 1);
        let mut all = self.rejections.lock();
        let entry = all.entry((origin, rejection.reason())).or_default();
        entry.count += 1;
        entry.example = format!("{what}: {rejection}");
    }

    /// All refusals by origin and reason, with an example of each.
    pub fn rejections(&self) -> Vec<(Origin, &'static str, RejectionCount)> {
        self.rejections.lock().iter().map(|((origin, reason), count)| (*origin, *reason, count.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_limits_hold_at_n_and_n_plus_1() {
        let limits = LabelLimits { labels_max: 2, name_bytes_max: 8, value_bytes_max: 10 };
        let check = |labels: &[(&str, &str)]| limits.check(labels.iter().copied()).map_err(|r| r.reason());
        assert_eq!(check(&[("__name__", "12345678"), ("12345678", "1234567890")]), Ok(()));
        assert_eq!(check(&[("a", "1"), ("b", "1"), ("c", "1")]), Err("too_many_labels"));
        assert_eq!(check(&[("123456789", "1")]), Err("name_too_long"));
        assert_eq!(check(&[("__name__", "123456789")]), Err("name_too_long"));
        assert_eq!(check(&[("a", "12345678901")]), Err("value_too_long"));
    }
}
