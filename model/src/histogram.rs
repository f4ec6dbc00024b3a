//! Native histogram samples, as Prometheus defines them (`model/histogram/float_histogram.go`).

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
