//! Samples of any selection and time, as rows in files: what `streamgauge export` writes and the server streams for it.
//!
//! Samples come in chunks, series after series in order of their labels, each series in order of time ([`read`]). On the way
//! from a server each chunk is a line of JSON ([`lines`]); at the end it becomes rows ([`mod@write`]). Only one chunk and what a
//! file's writer has open is in memory at a time.

mod lines;
mod read;
mod write;

use model::{Labels, SampleColumns};

pub use lines::{End, Line, LineError, decode, encode, encode_end};
pub use read::{ReadError, Totals, chunks};
pub use write::{FileFormat, FileWriter};

/// Samples of one series; more of the same series may follow, later in time.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// All labels.
    pub labels: Labels,
    /// The type of its family, such as `counter`, if it is known.
    pub metric_type: Option<String>,
    /// Samples of either kind, at least one.
    pub samples: SampleColumns,
}
