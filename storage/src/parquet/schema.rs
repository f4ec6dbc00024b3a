//! The columns of the files, and how each is written. What others read of us is this.
//!
//! # Samples, version 2
//! | column | type | meaning |
//! |---|---|---|
//! | `metric` | string | name of the metric |
//! | one for each label of `parquet.label_columns` | string, null if the series has no such label | its value |
//! | `timestamp` | timestamp in milliseconds, UTC | time of the sample |
//! | `value` | double, null for a staleness marker and for a native histogram | value of the sample, every bit of it |
//! | `stale` | boolean | true for a staleness marker |
//! | `type` | string, null if not known | `counter`, `gauge`, `histogram`, … of the metric's family |
//! | `series` | 64-bit integer | joins with the series file of the same day and writing; no identity beyond that |
//! | `histogram` | struct, see `histograms.rs`; null for all other samples | a native histogram |
//!
//! Version 1 had no `histogram`, and no rows for native histograms. Columns are found by name, so each version is read.
//!
//! Rows are sorted by series in order of their labels, the name first, then by time.
//!
//! # Series, version 2 as version 1
//! `series`, `metric`, `type` as above; `labels`, a map of strings to strings, all of them with the name; `first` and
//! `last`, timestamps; `samples`, their number.
//!
//! The metadata of each file has `streamgauge.schema_version`, and of a day's files `streamgauge.sequence_min` and
//! `streamgauge.sequence_max`.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::columns::RowColumns;
use super::histograms::histogram_type;

/// Version of the columns, in the metadata of each file.
pub const SCHEMA_VERSION: &str = "2";

/// How large files and their parts get.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowLimits {
    /// Most rows of a row group, which is what a reader takes to a core of its own.
    pub(super) group_rows: usize,
    /// Rows of a row group at which it ends with its metric: another one may take another encoding.
    pub(super) group_rows_min: usize,
    /// Bytes of columns at which a row group ends: it is in memory until then, and native histograms have large rows.
    pub(super) group_bytes: usize,
    /// Bytes at which a file of samples ends, after the series at hand, and the next begins. Readers that split work by
    /// files, and stores that take files in one request, are best served by 64 to 256 MB.
    pub(super) file_bytes: u64,
}

impl Default for RowLimits {
    fn default() -> Self {
        RowLimits { group_rows: 1 << 20, group_rows_min: 1 << 17, group_bytes: 64 << 20, file_bytes: 192 << 20 }
    }
}

/// Largest dictionary of values: it is decoded with each page.
const DICTIONARY_BYTES: usize = 64 << 10;
/// Rows of a page of values: what one block of a series costs to read.
const VALUE_PAGE_ROWS: usize = 8192;
/// Rows of a page of any other column: those of labels are nothing but runs, those of times win by size.
const PAGE_ROWS: usize = 1 << 16;
const ZSTD_LEVEL: i32 = 6;

pub(super) const VALUE: &str = "value";
const TIMESTAMP: &str = "timestamp";
const SERIES: &str = "series";
const HISTOGRAM: &str = "histogram";

pub(super) fn samples_schema(columns: &RowColumns) -> Arc<Schema> {
    let text = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let mut fields = vec![Field::new("metric", text(), false)];
    fields.extend(columns.labels().iter().map(|label| Field::new(label, text(), true)));
    fields.extend([
        Field::new(TIMESTAMP, timestamp(), false),
        Field::new(VALUE, DataType::Float64, true),
        Field::new("stale", DataType::Boolean, false),
        Field::new("type", text(), true),
        Field::new(SERIES, DataType::Int64, false),
        Field::new(HISTOGRAM, histogram_type(), true),
    ]);
    Arc::new(Schema::new(fields))
}

pub(super) fn series_schema() -> Arc<Schema> {
    let entry =
        Fields::from(vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Utf8, true)]);
    let entries = Arc::new(Field::new("entries", DataType::Struct(entry), false));
    Arc::new(Schema::new(vec![
        Field::new(SERIES, DataType::Int64, false),
        Field::new("metric", DataType::Utf8, false),
        Field::new("type", DataType::Utf8, true),
        Field::new("labels", DataType::Map(entries, false), false),
        Field::new("first", timestamp(), false),
        Field::new("last", timestamp(), false),
        Field::new("samples", DataType::Int64, false),
    ]))
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

/// How the values of a row group are encoded: the smallest of these. Of a day of a thousand series 0.4 bytes per sample
/// went by that against the best single one: gauges of few values take a dictionary, rates plain bytes, most others the
/// split bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueEncoding {
    Split,
    Plain,
    Dictionary,
}

impl ValueEncoding {
    pub(super) const ALL: [ValueEncoding; 3] = [ValueEncoding::Split, ValueEncoding::Plain, ValueEncoding::Dictionary];
}

/// How the rows of a row group of samples are sorted, as far as Parquet has words for it.
pub(super) fn samples_sorting(schema: &Schema) -> Result<Vec<SortingColumn>, ParquetError> {
    // No column before these has others inside, so that places of fields are those of columns.
    [SERIES, TIMESTAMP].into_iter().map(|name| Ok(rising(schema.index_of(name)?))).collect()
}

/// How the rows of a file of series are sorted.
pub(super) fn series_sorting() -> Vec<SortingColumn> {
    vec![rising(0)]
}

fn rising(place: usize) -> SortingColumn {
    SortingColumn { column_idx: place as i32, descending: false, nulls_first: false }
}

/// How files are written.
pub(super) fn properties(
    metadata: &[(&str, String)],
    values: ValueEncoding,
    sorting: Vec<SortingColumn>,
) -> Result<WriterProperties, ParquetError> {
    let version = ("streamgauge.schema_version", SCHEMA_VERSION.to_owned());
    let metadata = std::iter::once(&version).chain(metadata);
    let metadata = metadata.map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone())).collect();
    let builder = WriterProperties::builder()
        .set_created_by(concat!("Streamgauge ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        // Whoever writes rows ends the groups.
        .set_max_row_group_row_count(None)
        .set_sorting_columns(Some(sorting))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_key_value_metadata(Some(metadata));
    let builder = without_dictionary(builder, TIMESTAMP, Encoding::DELTA_BINARY_PACKED);
    let builder = without_dictionary(builder, SERIES, Encoding::DELTA_BINARY_PACKED);
    let builder = builder.set_column_data_page_row_count_limit(ColumnPath::from(VALUE), VALUE_PAGE_ROWS);
    let builder = match values {
        ValueEncoding::Split => without_dictionary(builder, VALUE, Encoding::BYTE_STREAM_SPLIT),
        ValueEncoding::Plain => without_dictionary(builder, VALUE, Encoding::PLAIN),
        ValueEncoding::Dictionary => {
            builder.set_column_dictionary_page_size_limit(ColumnPath::from(VALUE), DICTIONARY_BYTES)
        }
    };
    Ok(builder.build())
}

fn without_dictionary(builder: WriterPropertiesBuilder, column: &str, encoding: Encoding) -> WriterPropertiesBuilder {
    let path = || ColumnPath::from(column);
    builder.set_column_dictionary_enabled(path(), false).set_column_encoding(path(), encoding)
}
