//! The columns of the files, and how each is written. What others read of us is this.
//!
//! # Samples, version 1
//! | column | type | meaning |
//! |---|---|---|
//! | `metric` | string | name of the metric |
//! | one for each label of `parquet.label_columns` | string, null if the series has no such label | its value |
//! | `timestamp` | timestamp in milliseconds, UTC | time of the sample |
//! | `value` | double, null for a staleness marker | value of the sample, every bit of it |
//! | `stale` | boolean | true for a staleness marker |
//! | `type` | string, null if not known | `counter`, `gauge`, `histogram`, … of the metric's family |
//! | `series` | 64-bit integer | joins with the series file of the same day and writing; no identity beyond that |
//!
//! Rows are sorted by series in order of their labels, the name first, then by time.
//!
//! # Series, version 1
//! `series`, `metric`, `type` as above; `labels`, a map of strings to strings, all of them with the name; `first` and
//! `last`, timestamps; `samples`, their number.
//!
//! The metadata of each file has `streamgauge.schema_version`, and of a day's files `streamgauge.sequence_min` and
//! `streamgauge.sequence_max`.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::columns::RowColumns;

/// Version of the columns, in the metadata of each file.
pub const SCHEMA_VERSION: &str = "1";

/// Most rows of a row group.
pub(super) const GROUP_ROWS: usize = 1 << 20;
/// Rows of a row group at which it ends with its metric: another one may take another encoding.
pub(super) const GROUP_ROWS_MIN: usize = 1 << 17;
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

/// How files are written.
pub(super) fn properties(metadata: &[(&str, String)], values: ValueEncoding) -> Result<WriterProperties, ParquetError> {
    let version = ("streamgauge.schema_version", SCHEMA_VERSION.to_owned());
    let metadata = std::iter::once(&version).chain(metadata);
    let metadata = metadata.map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone())).collect();
    let builder = WriterProperties::builder()
        .set_created_by(concat!("Streamgauge ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
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
