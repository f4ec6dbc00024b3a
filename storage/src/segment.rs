//! Segments: immutable files of one time partition, with their own index of labels.
//!
//! [`SegmentWriter`] takes series in label order and writes as it goes; [`Segment`] opens a file in a few reads, whatever
//! its size, and decodes only what is asked for. `segment/layout.rs` is the specification of the bytes.

mod bases;
mod buckets;
mod damage;
mod examine;
mod families;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod forge;
mod frames;
mod histograms;
mod label_cursor;
mod labels;
mod layout;
mod paged;
mod pieces;
mod postings_writer;
mod reader;
mod rows;
mod sections;
mod sets;
mod statistics;
mod times;
mod value_rows;
mod writer;

use std::path::PathBuf;

use model::TimeRange;

#[cfg(feature = "fuzzing")]
pub(crate) use buckets::decode_behind;
pub(crate) use damage::DamagedSeries;
pub(crate) use examine::{Examined, SegmentBytes, examine};
pub(crate) use frames::{FRAME_BYTES, FrameReader, FrameWriter};
pub(crate) use label_cursor::{LabelCursor, SegmentGroups, push_key};
pub(crate) use layout::TRAILER_BYTES;
pub(crate) use pieces::{PiecesRequest, is_summable};
pub(crate) use reader::Segment;
pub(crate) use statistics::BlockStatistics;
pub(crate) use value_rows::ValueRows;
pub(crate) use writer::SegmentWriter;

/// What the writer is told about a segment beside its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentMeta {
    /// First batch that the samples came from.
    pub(crate) sequence_min: u64,
    /// Last batch that the samples came from.
    pub(crate) sequence_max: u64,
}

/// What a segment says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentInfo {
    /// The file.
    pub(crate) path: PathBuf,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// Number of series.
    pub(crate) series: u32,
    /// Number of samples.
    pub(crate) samples: u64,
    /// Times of the samples; empty if there are none.
    pub(crate) range: TimeRange,
    /// First batch that the samples came from.
    pub(crate) sequence_min: u64,
    /// Last batch that the samples came from.
    pub(crate) sequence_max: u64,
}

#[cfg(test)]
mod tests;
