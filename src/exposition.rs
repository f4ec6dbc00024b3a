//! Prometheus's text formats, read and written: text 0.0.4 (and 1.0.0, which adds quoted names), OpenMetrics 1.0.
//!
//! [`Parser`] pulls entries out of a scrape without allocating; [`parse_labels`] reads a line's labels only when
//! somebody needs them. [`group()`] makes families of flat samples, [`encode`] writes them.

mod escape;
mod family;
mod group;
mod labels;
mod negotiate;
mod parse;
mod protobuf;
mod scan;
mod write;

pub use escape::Escaping;
pub use family::{Family, FamilySample, family_name};
pub use group::{family_of, group};
pub use labels::{LabelPairs, parse_labels};
pub use negotiate::{Negotiated, format_of_content_type, negotiate};
pub use parse::{Entry, ExemplarLine, ParseError, Parser, SeriesLine};
pub use protobuf::{DecodeError, Decoded, Forms, decode as decode_protobuf, is_protobuf};
pub use write::{encode, format_value, write_line};

/// Which of the formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text 0.0.4 and 1.0.0.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}
