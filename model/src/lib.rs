//! The vocabulary of Streamgauge: plain values, no I/O.
//!
//! `storage` and `query` meet only here, in [`SeriesSource`]. Nothing in this crate opens a file, starts a thread or
//! reads a clock.
//!
//! # Glossary
//! | word | one meaning |
//! |---|---|
//! | label | a name and a value, both UTF-8; an empty value is the same as no label |
//! | series | the samples of one label set ([`Labels`]); the metric's name is the label `__name__` |
//! | sample | a time in milliseconds since 1970 and a value ([`Sample`], or a native [`Histogram`]) |
//! | matcher | a condition on one label ([`Matcher`]) |
//! | staleness marker | a sample with the one NaN of [`STALE_NAN_BITS`]: the series ended here |
//! | chunk | the open, growing samples of one series in the head |
//! | block | the encoded samples of one series in a segment |
//! | segment | an immutable, mapped file of one time partition |
//! | head | what is not yet in segments, kept safe by the WAL |
//! | summary | what a run of consecutive samples amounts to ([`Summary`]) |
//! | roll-up | what is kept of series in buckets of a fixed length, the resolution, when their samples are gone |
//! | bucket | what a series' samples in `(k·r−r, k·r]` amount to, `r` being the resolution of a roll-up |
//! | postings | the series that carry one label pair |
//! | step grid | the evaluation times of a range query ([`Steps`]) |

mod budget;
mod histogram;
mod kahan;
mod labels;
mod matcher;
mod metadata;
mod sample;
mod source;
mod summary;
mod time;

pub use budget::{Budget, BudgetError};
pub use histogram::{
    Bucket, Buckets, CUSTOM_BOUNDS_SCHEMA, Histogram, HistogramMean, HistogramSum, Incompatible, InvalidHistogram,
    Joined, QuantileNote, ResetHint, SCHEMA_MAX, SCHEMA_MIN, Span, StatisticNote,
};
pub use kahan::KahanSum;
pub use labels::{LABEL_TEXT_MAX_BYTES, Labels, LabelsBuilder, LabelsError, METRIC_NAME};
pub use matcher::{MatchOp, Matcher, MatcherError, anchored_regex, fold_case};
pub use metadata::{Metadata, MetricType};
pub use sample::{STALE_NAN_BITS, Sample, SampleColumns, is_stale, stale_nan};
pub use source::{Scope, SeriesGroups, SeriesSet, SeriesSource, SourceError};
pub use summary::{Coarse, Cuts, Pieces, Summary, Want};
pub use time::{Steps, TimeRange, civil_from_days};
