//! Metric reports of the NoETL dialect: from the bytes of a body to a committed batch.
//!
//! [`decode()`] checks syntax and the outermost shape, [`check`] one metric at a time, [`Reporter`] turns samples into
//! series of the database. Who may report, and under which id, is decided by the HTTP edge and the catalog.

mod decode;
mod labels;
mod metadata;
mod plain;
mod problem;
mod raw;
mod sample;
mod store;
pub mod timestamp;

pub use decode::{DecodeError, Item, Metric, Report, decode};
pub use labels::{COMPONENT, COMPONENT_TYPE, Component, series_labels};
pub use problem::{Problem, Step};
pub use raw::{Kind, Raw};
pub use sample::{ReportSample, SampleRules, check};
pub use store::{Reporter, Stored};
