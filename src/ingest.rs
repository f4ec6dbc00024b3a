//! The one way in: limits on labels, the account of what was refused, and the commit.
//!
//! Report, scrape and remote write decode on their own and then go through here, so that a limit means the same
//! everywhere and each refusal is counted with an example that can be read.

mod raw_hash;
mod whose;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Histogram, Labels, Metadata, MetricType, SCHEMA_MAX};
use parking_lot::Mutex;
use storage::{Batch, Db, Exemplar, Refusal};

use crate::config::Config;
use crate::telemetry::Telemetry;

pub use raw_hash::{raw_hash, raw_hash_of, raw_hash_with, secret_seed};
pub use whose::{ORG, Pair, add_over};

/// Where samples come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// `POST /api/metrics/report` and self-reports.
    Report,
    /// Scraped targets.
    Scrape,
    /// Prometheus remote write.
    RemoteWrite,
    /// The collector that follows Flink clusters.
    Flink,
    /// What engines push of their jobs.
    Jobs,
}

impl Origin {
    /// The value of the label `origin` in our own metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Report => "report",
            Origin::Scrape => "scrape",
            Origin::RemoteWrite => "remote_write",
            Origin::Flink => "flink",
            Origin::Jobs => "jobs",
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
    /// A unit is too long.
    #[error("the unit has {bytes} bytes: limit ingest.max_unit_bytes = {limit} reached")]
    UnitTooLong {
        /// Its length.
        bytes: usize,
        /// `ingest.max_unit_bytes`
        limit: usize,
    },
    /// The labels of an exemplar are too long.
    #[error(
        "names and values have {characters} characters: OpenMetrics allows {EXEMPLAR_CHARACTERS_MAX} in an exemplar"
    )]
    ExemplarTooLong {
        /// Of all names and values.
        characters: usize,
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
            Rejection::UnitTooLong { .. } => "unit_too_long",
            Rejection::ExemplarTooLong { .. } => "exemplar_too_long",
            Rejection::Invalid(_) => "invalid",
        }
    }
}

/// What was refused, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// So many samples: one, or all that a request has of a series.
    Samples(u64),
    /// An exemplar; its sample is stored.
    Exemplar,
    /// What a metric family is; its samples are stored.
    Metadata,
}

impl Refused {
    /// The word for what it is.
    pub fn as_str(self) -> &'static str {
        match self {
            Refused::Samples(_) => "samples",
            Refused::Exemplar => "exemplars",
            Refused::Metadata => "metadata",
        }
    }

    /// How much.
    pub fn count(self) -> u64 {
        match self {
            Refused::Samples(count) => count,
            Refused::Exemplar | Refused::Metadata => 1,
        }
    }
}

/// Most characters of an exemplar's labels, names and values together (OpenMetrics 1.0, and Prometheus).
pub const EXEMPLAR_CHARACTERS_MAX: usize = 128;

/// What is said of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description<'a> {
    /// Its name, without suffixes such as `_bucket`.
    pub family: &'a str,
    /// Its type.
    pub metric_type: MetricType,
    /// For people; may be empty.
    pub help: &'a str,
    /// Base unit; may be empty.
    pub unit: &'a str,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectionCount {
    /// From where it came.
    pub origin: Origin,
    /// What it was: [`Refused::as_str`].
    pub of: &'static str,
    /// Why: [`Rejection::reason`].
    pub reason: &'static str,
    /// How much was refused since the start.
    pub count: u64,
    /// The newest, as [`example`] has it.
    pub example: String,
}

/// Most bytes of the name of what was refused in an example: whoever sends a line of a megabyte need not read it again.
const EXAMPLE_BYTES_MAX: usize = 256;

/// What was refused and why, for people.
pub fn example(what: &str, rejection: &Rejection) -> String {
    format!("{}: {rejection}", cut(what, EXAMPLE_BYTES_MAX))
}

/// The longest beginning of whole characters that keeps the limit.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// The way in.
pub struct Ingest {
    db: Arc<Db>,
    telemetry: Arc<Telemetry>,
    limits: LabelLimits,
    histogram_buckets_max: usize,
    /// `ingest.max_help_bytes`
    help_bytes_max: usize,
    /// `ingest.max_unit_bytes`
    unit_bytes_max: usize,
    /// By origin, kind and reason.
    rejections: Mutex<BTreeMap<(Origin, &'static str, &'static str), RejectionCount>>,
}

impl Ingest {
    pub(crate) fn new(config: &Config, db: Arc<Db>, telemetry: Arc<Telemetry>) -> Ingest {
        let limits = LabelLimits {
            labels_max: config.ingest_max_labels,
            name_bytes_max: config.ingest_max_name_bytes,
            value_bytes_max: config.ingest_max_value_bytes,
        };
        Ingest {
            db,
            telemetry,
            limits,
            histogram_buckets_max: config.ingest_max_histogram_buckets,
            help_bytes_max: config.ingest_max_help_bytes,
            unit_bytes_max: config.ingest_max_unit_bytes,
            rejections: Mutex::default(),
        }
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

    /// An exemplar with these labels.
    ///
    /// # Errors
    /// [`Rejection`] above [`EXEMPLAR_CHARACTERS_MAX`] or a limit on labels, and for labels that are none.
    pub fn exemplar<'a>(
        &self,
        labels: impl Iterator<Item = (&'a str, &'a str)> + Clone,
        value: f64,
        timestamp_ms: i64,
    ) -> Result<Exemplar, Rejection> {
        let characters: usize = labels.clone().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
        if characters > EXEMPLAR_CHARACTERS_MAX {
            return Err(Rejection::ExemplarTooLong { characters });
        }
        self.limits.check(labels.clone())?;
        let labels = Labels::from_pairs(labels).map_err(|error| Rejection::Invalid(error.to_string()))?;
        Ok(Exemplar { labels, value, timestamp_ms })
    }

    /// Says in a batch what a metric family is. A help above `ingest.max_help_bytes` is cut; if the name or the unit is
    /// above its limit, nothing is said, and that is counted.
    pub fn describe(&self, origin: Origin, batch: &mut Batch<'_>, said: Description<'_>) {
        match self.metadata(said) {
            Ok(metadata) => batch.set_metadata(said.family, metadata),
            Err(rejection) => self.reject(origin, Refused::Metadata, &rejection, said.family),
        }
    }

    fn metadata(&self, said: Description<'_>) -> Result<Metadata, Rejection> {
        let Description { family, metric_type, help, unit } = said;
        if family.len() > self.limits.name_bytes_max {
            return Err(self.limits.name_too_long(family));
        }
        if unit.len() > self.unit_bytes_max {
            return Err(Rejection::UnitTooLong { bytes: unit.len(), limit: self.unit_bytes_max });
        }
        Ok(Metadata { metric_type, help: cut(help, self.help_bytes_max).to_owned(), unit: unit.to_owned() })
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

    /// Counts a refusal; `what` names the sample, series or family for the example.
    pub fn reject(&self, origin: Origin, refused: Refused, rejection: &Rejection, what: &str) {
        let counter = match refused {
            Refused::Samples(_) => &self.telemetry.samples_rejected,
            Refused::Exemplar => &self.telemetry.exemplars_rejected,
            Refused::Metadata => &self.telemetry.metadata_rejected,
        };
        counter.add(&[origin.as_str(), rejection.reason()], refused.count());
        let (of, reason, example) = (refused.as_str(), rejection.reason(), example(what, rejection));
        let mut all = self.rejections.lock();
        let before = all.get(&(origin, of, reason)).map_or(0, |known| known.count);
        let count = before + refused.count();
        all.insert((origin, of, reason), RejectionCount { origin, of, reason, count, example });
    }

    /// All refusals since the start by origin, kind and reason, with the newest example of each.
    pub fn rejections(&self) -> Vec<RejectionCount> {
        self.rejections.lock().values().cloned().collect()
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

    fn ingest(dir: &tempfile::TempDir) -> (Ingest, Arc<Db>, Arc<Telemetry>) {
        let db = Arc::new(Db::open(storage::DbOptions::new(dir.path()), Arc::new(storage::SystemClock)).unwrap());
        let config = Config {
            ingest_max_name_bytes: 8,
            ingest_max_help_bytes: 5,
            ingest_max_unit_bytes: 3,
            ..Config::defaults().unwrap()
        };
        let telemetry = Arc::new(Telemetry::default());
        (Ingest::new(&config, Arc::clone(&db), Arc::clone(&telemetry)), db, telemetry)
    }

    #[test]
    fn what_is_said_of_families_keeps_its_limits_at_n_and_n_plus_1() {
        let dir = tempfile::tempdir().unwrap();
        let (ingest, db, telemetry) = ingest(&dir);
        let describe = |family, help, unit| {
            let mut batch = ingest.batch();
            let said = Description { family, metric_type: MetricType::Gauge, help, unit };
            ingest.describe(Origin::Scrape, &mut batch, said);
            ingest.commit(Origin::Scrape, batch).unwrap();
            db.metadata_of(family).map(|known| (known.help, known.unit))
        };
        let said = |help: &str, unit: &str| Some((help.to_owned(), unit.to_owned()));
        assert_eq!(describe("12345678", "12345", "123"), said("12345", "123"));
        assert_eq!(describe("cut", "123456", ""), said("12345", ""));
        assert_eq!(describe("cut", "1234é", ""), said("1234", ""), "between characters");
        assert_eq!(describe("123456789", "", ""), None);
        assert_eq!(describe("unit", "", "1234"), None);
        let refused = |reason| telemetry.metadata_rejected.get(&["scrape", reason]);
        assert_eq!((refused("name_too_long"), refused("unit_too_long")), (1, 1));
        let example = &ingest.rejections()[1].example;
        assert_eq!(example, "unit: the unit has 4 bytes: limit ingest.max_unit_bytes = 3 reached");
    }

    #[test]
    fn exemplars_have_128_characters_and_not_one_more() {
        let dir = tempfile::tempdir().unwrap();
        let (ingest, ..) = ingest(&dir);
        let check = |labels: &[(&str, &str)]| ingest.exemplar(labels.iter().copied(), 1.0, 2).map_err(|r| r.reason());
        let umlauts = "ü".repeat(120);
        assert!(check(&[("12345678", &umlauts)]).is_ok(), "characters, not bytes");
        assert_eq!(check(&[("12345678", &umlauts), ("x", "")]), Err("exemplar_too_long"));
        assert_eq!(check(&[("123456789", "")]), Err("name_too_long"), "limits on labels hold too");
        assert_eq!(check(&[("a", "1"), ("a", "2")]), Err("invalid"));
    }

    #[test]
    fn examples_are_short_and_counts_are_of_samples() {
        let dir = tempfile::tempdir().unwrap();
        let (ingest, _, telemetry) = ingest(&dir);
        for count in [2, 3] {
            let rejection = Rejection::Invalid(format!("{count} are wrong"));
            ingest.reject(Origin::Report, Refused::Samples(count), &rejection, &"é".repeat(129));
        }
        let all = ingest.rejections();
        assert_eq!((all.len(), all[0].of, all[0].count), (1, "samples", 5));
        assert_eq!(all[0].example, format!("{}: 3 are wrong", "é".repeat(128)));
        assert_eq!(telemetry.samples_rejected.get(&["report", "invalid"]), 5);
    }
}
