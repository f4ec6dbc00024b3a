//! Native histogram samples, as Prometheus defines them (`model/histogram/float_histogram.go`).
//!
//! A histogram is sparse: only runs of buckets that have observations are there. Exponential schemas share their
//! bounds, so that histograms of different resolutions can be added after the finer one was made coarser; custom
//! bounds are reconciled to those that both histograms have.

mod arithmetic;
mod buckets;
mod invalid;
mod reset;
mod statistics;
mod sum;
mod trim;

pub use arithmetic::{Incompatible, Joined};
use buckets::bucket_bound;

pub use buckets::Bucket;
pub use invalid::InvalidHistogram;
pub use statistics::{QuantileNote, StatisticNote};
pub use sum::{HistogramMean, HistogramSum};

/// The schema whose bounds stand in the histogram.
pub const CUSTOM_BOUNDS_SCHEMA: i32 = -53;
/// The coarsest exponential schema: each bucket is 2^16 times the one before.
pub const SCHEMA_MIN: i32 = -4;
/// The finest exponential schema: 256 buckets for each power of 2.
pub const SCHEMA_MAX: i32 = 8;

/// A run of consecutive buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Gap to the run before, in buckets; for the first run the index of its first bucket.
    pub offset: i32,
    /// Number of buckets in the run.
    pub length: u32,
}

/// The buckets on one side of zero.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Buckets {
    /// Which buckets there are.
    pub spans: Vec<Span>,
    /// Absolute count of each bucket, in the order of the spans.
    pub counts: Vec<f64>,
}

/// What the sender knew about a counter reset at this sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResetHint {
    /// Nothing: look at the values.
    #[default]
    Unknown,
    /// There was a reset.
    Reset,
    /// There was none.
    NoReset,
    /// The histogram is a gauge: resets have no meaning.
    Gauge,
}

impl ResetHint {
    /// All hints.
    pub const ALL: [ResetHint; 4] = [ResetHint::Unknown, ResetHint::Reset, ResetHint::NoReset, ResetHint::Gauge];

    /// Its word in rows for other programs; none if nothing is known.
    pub fn word(self) -> Option<&'static str> {
        match self {
            ResetHint::Unknown => None,
            ResetHint::Reset => Some("reset"),
            ResetHint::NoReset => Some("no_reset"),
            ResetHint::Gauge => Some("gauge"),
        }
    }
}

/// A native histogram with float counts; integer histograms are converted when they arrive.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// Resolution: −4 to 8 for exponential buckets, −53 for custom bounds.
    pub schema: i32,
    /// Half width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Sum of all observations; the staleness marker stands here.
    pub sum: f64,
    /// Buckets above zero.
    pub positive: Buckets,
    /// Buckets below zero.
    pub negative: Buckets,
    /// Upper bounds for schema −53, without +Inf.
    pub custom_bounds: Vec<f64>,
    /// What the sender knew about resets.
    pub reset_hint: ResetHint,
}

impl Histogram {
    /// True if the bounds are custom ones.
    pub fn has_custom_bounds(&self) -> bool {
        self.schema == CUSTOM_BOUNDS_SCHEMA
    }

    /// True if this sample only says that the series ended.
    pub fn is_stale(&self) -> bool {
        crate::is_stale(self.sum)
    }

    /// Number of buckets with a count of their own, on both sides.
    pub fn bucket_count(&self) -> usize {
        self.positive.counts.len() + self.negative.counts.len()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let side =
            |side: &Buckets| side.spans.capacity() * size_of::<Span>() + side.counts.capacity() * size_of::<f64>();
        side(&self.positive) + side(&self.negative) + self.custom_bounds.capacity() * size_of::<f64>()
    }
}
