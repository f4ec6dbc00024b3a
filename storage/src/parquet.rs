//! Old days as Parquet, for everyone to read: typed rows in `parquet/samples/dt=YYYY-MM-DD/*.parquet`, and the labels of
//! each series once in `parquet/series/dt=YYYY-MM-DD/*.parquet`.
//!
//! `schema` says what the columns are, `rows` (with `histograms`) and `series` write them, `day` writes the files of one
//! day with their index, `files` is what the index knows of them, `read` gives values back by the number of their row, and `live`
//! writes the list of the files that count.
//!
//! The index of a day is a segment that has everything but values (`segment/value_rows.rs`), so that queries find
//! series, times and statistics as in any segment. It stands among the segments, out of the way of other readers.

#[cfg(not(feature = "parquet"))]
mod absent;
mod columns;
#[cfg(feature = "parquet")]
mod day;
#[cfg(feature = "parquet")]
mod error;
mod files;
#[cfg(feature = "parquet")]
mod histograms;
mod live;
#[cfg(feature = "parquet")]
mod read;
#[cfg(feature = "parquet")]
mod rows;
#[cfg(feature = "parquet")]
mod schema;
#[cfg(feature = "parquet")]
mod series;
#[cfg(test)]
#[cfg(feature = "parquet")]
mod tests;

#[cfg(not(feature = "parquet"))]
pub(crate) use absent::{DayWriter, open_rows};
pub use columns::{RESERVED_COLUMNS, RowColumns};
#[cfg(feature = "parquet")]
pub(crate) use day::DayWriter;
pub(crate) use files::CheckedFile;
pub use files::{DayFile, FileKind};
pub(crate) use live::write_list;
#[cfg(feature = "parquet")]
pub(crate) use read::open_rows;
#[cfg(feature = "parquet")]
pub use rows::{RowSeries, RowsWriter};
#[cfg(feature = "parquet")]
pub use schema::SCHEMA_VERSION;
#[cfg(feature = "parquet")]
pub use series::SeriesWriter;
