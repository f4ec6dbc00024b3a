//! What others read of us, to the last column; and rows across pages, row groups and files.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use model::{Buckets, CUSTOM_BOUNDS_SCHEMA, Histogram, Labels, ResetHint, SampleColumns, TimeRange, stale_nan};
use parquet::basic::Encoding;
use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter,
    RowGroupMetaData,
};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::TrackedWrite;
use parquet::schema::printer::print_schema;
use proptest::prelude::*;

use super::files::CheckedFile;
use super::schema::RowLimits;
use super::*;
use crate::error::StorageError;
use crate::io::Disk;
use crate::io::fake::FakeDisk;
use crate::names::Layout;
use crate::segment::{FrameWriter, Segment, SegmentMeta};

fn labels(metric: &str, i: usize) -> Labels {
    let le = i.to_string();
    Labels::from_pairs([("__name__", metric), ("job", "etl"), ("le", le.as_str()), ("x", "y")]).unwrap()
}

fn columns() -> RowColumns {
    RowColumns::new(vec!["job".to_owned(), "le".to_owned()]).unwrap()
}

fn custom() -> Arc<Histogram> {
    Arc::new(Histogram {
        schema: CUSTOM_BOUNDS_SCHEMA,
        count: 3.0,
        sum: 1.5,
        positive: Buckets::from_indexed([(0, 1.0), (2, 2.0)]),
        custom_bounds: vec![0.5, 1.0],
        ..Histogram::default()
    })
}

fn exponential() -> Arc<Histogram> {
    Arc::new(Histogram {
        zero_threshold: 0.25,
        zero_count: 2.0,
        count: 9.0,
        sum: -4.5,
        positive: Buckets::from_indexed([(-1, 1.0), (3, 4.0)]),
        negative: Buckets::from_indexed([(2, 2.0)]),
        reset_hint: ResetHint::Gauge,
        ..Histogram::default()
    })
}

/// A file with floats, a staleness marker, histograms of both kinds and one that says that the series ended.
fn mixed() -> Bytes {
    let metadata = [("streamgauge.sequence_min", "3".to_owned())];
    let mut writer = RowsWriter::new(Vec::new(), &columns(), &metadata).unwrap();
    let stale = Arc::new(Histogram { sum: stale_nan(), ..Histogram::default() });
    let histograms = [(1000, custom()), (3000, exponential()), (4000, stale)];
    let all = labels("m", 0);
    let series = RowSeries { number: 7, labels: &all, metric_type: Some("gauge") };
    writer.add(&series, &[0, 2000], &[0.5, stale_nan()], &histograms).unwrap();
    assert_eq!(writer.rows(), 5);
    writer.finish().unwrap().into()
}

fn open(bytes: Bytes) -> SerializedFileReader<Bytes> {
    SerializedFileReader::new(bytes).unwrap()
}

fn schema_of(metadata: &ParquetMetaData) -> String {
    let mut text = Vec::new();
    print_schema(&mut text, metadata.file_metadata().schema());
    String::from_utf8(text).unwrap()
}

fn column<'a>(group: &'a RowGroupMetaData, path: &str) -> &'a ColumnChunkMetaData {
    group.columns().iter().find(|column| column.column_path().string() == path).unwrap()
}

/// Readers know these names, types and places. Whoever changes them gives the schema another version.
#[test]
fn the_columns_of_samples_are_pinned() {
    let file = open(mixed());
    let wanted = "message arrow_schema {
  REQUIRED BYTE_ARRAY metric (STRING);
  OPTIONAL BYTE_ARRAY job (STRING);
  OPTIONAL BYTE_ARRAY le (STRING);
  REQUIRED INT64 timestamp (TIMESTAMP(MILLIS,true));
  OPTIONAL DOUBLE value;
  REQUIRED BOOLEAN stale;
  OPTIONAL BYTE_ARRAY type (STRING);
  REQUIRED INT64 series;
  OPTIONAL group histogram {
    REQUIRED DOUBLE count;
    REQUIRED DOUBLE sum;
    REQUIRED group buckets (LIST) {
      REPEATED group list {
        REQUIRED group element {
          REQUIRED DOUBLE lower;
          REQUIRED DOUBLE upper;
          REQUIRED DOUBLE count;
        }
      }
    }
    REQUIRED INT32 schema;
    REQUIRED DOUBLE zero_threshold;
    REQUIRED DOUBLE zero_count;
    OPTIONAL group custom_bounds (LIST) {
      REPEATED group list {
        REQUIRED DOUBLE element;
      }
    }
    OPTIONAL BYTE_ARRAY reset_hint (STRING);
  }
}
";
    assert_eq!(schema_of(file.metadata()), wanted);
    let keys = file.metadata().file_metadata().key_value_metadata().unwrap();
    let keys: Vec<_> = keys.iter().map(|pair| (pair.key.as_str(), pair.value.as_deref().unwrap())).collect();
    assert_eq!(keys, [("streamgauge.schema_version", "2"), ("streamgauge.sequence_min", "3")]);
    assert!(file.metadata().file_metadata().created_by().unwrap().starts_with("Streamgauge "));
}

#[test]
fn the_columns_of_series_are_pinned() {
    let mut writer = SeriesWriter::new(Vec::new(), &[]).unwrap();
    let times = TimeRange { start_ms: -1, end_ms: 5 };
    writer.add(0, &labels("m", 0), None, times, 2).unwrap();
    let file = open(writer.finish().unwrap().into());
    let wanted = "message arrow_schema {
  REQUIRED INT64 series;
  REQUIRED BYTE_ARRAY metric (STRING);
  OPTIONAL BYTE_ARRAY type (STRING);
  REQUIRED group labels (MAP) {
    REPEATED group entries {
      REQUIRED BYTE_ARRAY keys (STRING);
      OPTIONAL BYTE_ARRAY values (STRING);
    }
  }
  REQUIRED INT64 first (TIMESTAMP(MILLIS,true));
  REQUIRED INT64 last (TIMESTAMP(MILLIS,true));
  REQUIRED INT64 samples;
}
";
    assert_eq!(schema_of(file.metadata()), wanted);
    let sorting = file.metadata().row_group(0).sorting_columns().unwrap();
    assert_eq!(sorting.iter().map(|column| column.column_idx).collect::<Vec<_>>(), [0]);
}

/// What sizes and reads rely on: no dictionary where it costs, and a page index for each column.
#[test]
fn encodings_pages_and_order_are_pinned() {
    let file = open(mixed());
    let group = file.metadata().row_group(0);
    for name in ["timestamp", "series"] {
        let encodings: Vec<Encoding> = column(group, name).encodings().collect();
        assert!(encodings.contains(&Encoding::DELTA_BINARY_PACKED), "{name}: {encodings:?}");
        assert_eq!(column(group, name).dictionary_page_offset(), None, "{name}");
    }
    for column in group.columns() {
        assert!(matches!(column.compression(), parquet::basic::Compression::ZSTD(_)), "{column:?}");
        assert!(column.offset_index_offset().is_some() && column.column_index_offset().is_some(), "{column:?}");
    }
    let sorting: Vec<_> = group.sorting_columns().unwrap().iter().map(|c| (c.column_idx, c.descending)).collect();
    let place = |name| group.columns().iter().position(|c| c.column_path().string() == name).unwrap() as i32;
    assert_eq!(sorting, [(place("series"), false), (place("timestamp"), false)]);
    for (values, wanted) in [
        (
            (0..20_000_u32).map(|i| f64::from(i.wrapping_mul(2_654_435_769) >> 28) * 0.1).collect::<Vec<_>>(),
            Encoding::RLE_DICTIONARY,
        ),
        ((0..20_000).map(|i| f64::from(i) * 0.1 + 7.0).collect(), Encoding::BYTE_STREAM_SPLIT),
    ] {
        let mut writer = RowsWriter::new(Vec::new(), &columns(), &[]).unwrap();
        let (all, times): (_, Vec<i64>) = (labels("m", 0), (0..20_000).collect());
        writer.add(&RowSeries { number: 0, labels: &all, metric_type: None }, &times, &values, &[]).unwrap();
        let file = open(writer.finish().unwrap().into());
        let encodings: Vec<Encoding> = column(file.metadata().row_group(0), "value").encodings().collect();
        assert!(encodings.contains(&wanted), "{encodings:?}");
    }
}

#[test]
fn histograms_are_rows_with_bounds() {
    let rows: Vec<String> = open(mixed()).get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
    let has = |row: usize, parts: &[&str]| {
        parts.iter().for_each(|part| assert!(rows[row].contains(part), "{part} in {}", rows[row]));
    };
    assert_eq!(rows.len(), 5);
    has(0, &["value: 0.5", "stale: false", "series: 7", "histogram: null"]);
    has(
        1,
        &["value: null", "stale: false", "histogram: {count: 3.0, sum: 1.5, buckets: [", "custom_bounds: [0.5, 1.0]"],
    );
    has(1, &["buckets: [{lower: -inf, upper: 0.5, count: 1.0}, {lower: 1.0, upper: inf, count: 2.0}]", "schema: -53"]);
    has(2, &["value: null", "stale: true", "histogram: null"]);
    has(3, &["zero_threshold: 0.25, zero_count: 2.0, custom_bounds: null, reset_hint: \"gauge\""]);
    has(
        3,
        &[
            "[{lower: -4E0, upper: -2E0, count: 2.0}, {lower: -2.5E-1, upper: 0.25, count: 2.0}, {lower: 0.25, upper: 0.5",
        ],
    );
    has(4, &["value: null", "stale: true", "histogram: null"]);
}

/// Rows of the row groups of a file with so many samples of each of some metrics.
fn group_rows(limits: RowLimits, metrics: &[(&str, usize)]) -> Vec<i64> {
    let mut writer = RowsWriter::with_limits(Vec::new(), &columns(), &[], limits).unwrap();
    for (metric, rows) in metrics {
        let (times, values): (Vec<i64>, Vec<f64>) = (0..*rows as i64).map(|i| (i, i as f64)).unzip();
        let all = labels(metric, 0);
        writer.add(&RowSeries { number: 0, labels: &all, metric_type: None }, &times, &values, &[]).unwrap();
    }
    let file = open(writer.finish().unwrap().into());
    file.metadata().row_groups().iter().map(RowGroupMetaData::num_rows).collect()
}

const SMALL: RowLimits =
    RowLimits { group_rows: 1000, group_rows_min: 100, group_bytes: usize::MAX, file_bytes: u64::MAX };

#[test]
fn row_groups_end_at_their_limits() {
    assert_eq!(group_rows(SMALL, &[("a", 1000)]), [1000]);
    assert_eq!(group_rows(SMALL, &[("a", 1001)]), [1000, 1]);
    assert_eq!(group_rows(SMALL, &[("a", 99), ("b", 1)]), [100]);
    assert_eq!(group_rows(SMALL, &[("a", 100), ("b", 1)]), [100, 1], "with its metric");
    let large = RowLimits { group_rows: 70_000, ..SMALL };
    assert_eq!(group_rows(large, &[("a", 140_001)]), [70_000, 70_000, 1], "limits are no multiple of a batch");
    let RowLimits { group_rows, group_rows_min, group_bytes, file_bytes } = RowLimits::default();
    assert_eq!((group_rows, group_rows_min, group_bytes, file_bytes), (1 << 20, 1 << 17, 64 << 20, 192 << 20));
}

/// Rows of the row groups of a file with so many histograms of 160 buckets.
fn histogram_group_rows(limits: RowLimits, histograms: usize) -> Vec<i64> {
    let mut writer = RowsWriter::with_limits(Vec::new(), &columns(), &[], limits).unwrap();
    let of = |i: usize| {
        let positive = Buckets::from_indexed((0..160).map(|b| (b, (i * 7919 + b as usize * 31) as f64)));
        (i as i64, Arc::new(Histogram { positive, ..Histogram::default() }))
    };
    let histograms: Vec<_> = (0..histograms).map(of).collect();
    let all = labels("m", 0);
    writer.add(&RowSeries { number: 0, labels: &all, metric_type: None }, &[], &[], &histograms).unwrap();
    let file = open(writer.finish().unwrap().into());
    file.metadata().row_groups().iter().map(RowGroupMetaData::num_rows).collect()
}

#[test]
fn row_groups_of_large_rows_end_by_their_bytes() {
    let count = 4000;
    assert_eq!(histogram_group_rows(RowLimits::default(), count), [count as i64]);
    let groups = histogram_group_rows(RowLimits { group_bytes: 1 << 10, ..RowLimits::default() }, count);
    // A batch is as many histograms as have 2^19 buckets, and each is looked at.
    let batch = (1_i64 << 19) / 161 + 1;
    assert_eq!(groups, [batch, count as i64 - batch]);
}

#[test]
fn row_groups_of_series_end_at_their_limit() {
    let groups = |series: usize| {
        let mut writer = SeriesWriter::new(Vec::new(), &[]).unwrap();
        let (all, times) = (labels("m", 0), TimeRange { start_ms: 0, end_ms: 5 });
        (0..series).for_each(|i| writer.add(i as i64, &all, None, times, 2).unwrap());
        let file = open(writer.finish().unwrap().into());
        file.metadata().row_groups().iter().map(RowGroupMetaData::num_rows).collect::<Vec<_>>()
    };
    let limit = 1 << 17;
    assert_eq!(groups(limit), [limit as i64]);
    assert_eq!(groups(limit + 1), [limit as i64, 1]);
}

/// A file under checksums, as the index of a day knows it.
fn checked(disk: &FakeDisk, layout: &Layout, bytes: &[u8], rows: u64) -> CheckedFile {
    let name = format!("{rows}-{}.parquet", bytes.len());
    let file = DayFile { kind: FileKind::Samples, name, bytes: bytes.len() as u64, rows };
    let mut frames = FrameWriter::create(disk, &file.path(&layout.parquet_dir())).unwrap();
    frames.append(bytes).unwrap();
    let (table, _) = frames.finish().unwrap();
    CheckedFile { file, table }
}

/// The file with another number of rows in its one row group, behind right checksums.
fn with_rows(bytes: &Bytes, rows: i64) -> Vec<u8> {
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    let mut builder = reader.parse_and_finish(bytes).unwrap().into_builder();
    let groups = builder.take_row_groups().into_iter();
    let groups = groups.map(|group| group.into_builder().set_num_rows(rows).build().unwrap()).collect();
    let metadata = builder.set_row_groups(groups).build();
    let mut out = Vec::new();
    let mut tracked = TrackedWrite::new(&mut out);
    // The old footer stays where it is, and nobody looks at it.
    tracked.write_all(bytes).unwrap();
    ParquetMetaDataWriter::new_with_tracked(tracked, &metadata).finish().unwrap();
    out
}

#[test]
fn rows_that_cannot_be_are_refused() {
    let (disk, layout) = (FakeDisk::default(), Layout::new(Path::new("/data")));
    [layout.root().to_owned(), layout.parquet_dir()].iter().for_each(|dir| disk.create_dir(dir).unwrap());
    let mut writer = RowsWriter::new(Vec::new(), &columns(), &[]).unwrap();
    let (all, times): (_, Vec<i64>) = (labels("m", 0), (0..20_000).collect());
    let values: Vec<f64> = times.iter().map(|ms| *ms as f64).collect();
    writer.add(&RowSeries { number: 0, labels: &all, metric_type: None }, &times, &values, &[]).unwrap();
    let bytes: Bytes = writer.finish().unwrap().into();
    let last = |rows: u64| {
        let file = checked(&disk, &layout, &with_rows(&bytes, rows.cast_signed()), rows);
        let mut out = Vec::new();
        open_rows(&disk, &layout.parquet_dir(), &[file]).unwrap().read(rows - 1, 1, &mut out).map(|()| out)
    };
    assert_eq!(last(20_000).unwrap(), [19_999.0]);
    for rows in [16_384, 20_001, 1 << 22, 1 << 61, 1 << 63] {
        let error = last(rows).unwrap_err();
        assert!(matches!(error, StorageError::Corrupt { .. }), "{rows}: {error}");
    }
    let half = checked(&disk, &layout, &bytes, 1 << 63);
    let error = open_rows(&disk, &layout.parquet_dir(), &[half.clone(), half]).unwrap_err();
    assert!(error.to_string().contains("too many rows"), "{error}");
}

/// A day with these series, and its files.
struct Day {
    disk: FakeDisk,
    index: Segment,
    files: Vec<CheckedFile>,
}

fn day(limits: RowLimits, series: &[(Labels, SampleColumns)]) -> Day {
    let (disk, layout) = (FakeDisk::default(), Layout::new(Path::new("/data")));
    let path = Path::new("/data/index");
    for dir in [layout.root().to_owned(), layout.tmp_dir(), layout.parquet_dir()] {
        disk.create_dir(&dir).unwrap();
    }
    let (meta, columns) = (SegmentMeta { sequence_min: 1, sequence_max: 9 }, columns());
    let mut writer = DayWriter::create(&disk, &layout, &columns, (5, path), 0, meta).unwrap();
    writer.set_limits(limits);
    series.iter().for_each(|(labels, samples)| writer.add_series(labels, samples).unwrap());
    let (_, files) = writer.finish().unwrap();
    let mut index = Segment::open(&disk, path).unwrap();
    let checked = CheckedFile::decode(&index.rows_section().unwrap().unwrap()).unwrap();
    assert!(checked.iter().map(|checked| &checked.file).eq(&files));
    index.attach(open_rows(&disk, &layout.parquet_dir(), &checked).unwrap());
    Day { disk, index, files: checked }
}

fn samples(first: i64, floats: usize, histograms: usize) -> SampleColumns {
    let mut out = SampleColumns::default();
    (0..floats as i64).for_each(|i| out.push(i * 10, (first + i) as f64 * 0.1));
    let stale = Arc::new(Histogram { sum: stale_nan(), ..Histogram::default() });
    let of = |i: usize| [custom(), exponential(), stale.clone()][i % 3].clone();
    out.histograms = (0..histograms).map(|i| (i as i64 * 10 + 5, of(i))).collect();
    out
}

/// Values lie in files of their own, so histograms among them move none.
#[test]
fn a_day_with_both_kinds_gives_both_back() {
    let all = [samples(0, 3, 0), samples(10, 0, 4), samples(20, 5, 5), samples(30, 2, 0)];
    let series: Vec<_> = (0..).zip(all).map(|(i, samples)| (labels("m", i), samples)).collect();
    let day = day(RowLimits::default(), &series);
    let names: Vec<_> = day.files.iter().map(|checked| (checked.file.name.as_str(), checked.file.rows)).collect();
    let file = |kind: &str, rest: &str| format!("{kind}/dt=1970-01-01/00000000000000000005{rest}.parquet");
    let wanted = [(file("samples", "-0000"), 10), (file("samples", "-histograms-0000"), 9), (file("series", ""), 4)];
    assert!(names.iter().copied().eq(wanted.iter().map(|(name, rows)| (name.as_str(), *rows))), "{names:?}");
    for (ordinal, (_, wanted)) in (0..).zip(&series) {
        let mut got = SampleColumns::default();
        day.index.read(ordinal, TimeRange::ALL, &mut got).unwrap();
        let text = |samples: &SampleColumns| format!("{samples:?}");
        assert_eq!(text(&got), text(wanted));
    }
}

#[test]
fn a_file_ends_when_it_is_large_enough_and_the_next_begins() {
    let series: Vec<_> = (0..4).map(|i| (labels("m", i), samples(i as i64 * 7919, 20_000, 0))).collect();
    let file_rows = |file_bytes| {
        let day = day(RowLimits { file_bytes, ..SMALL }, &series);
        let samples = day.files.iter().filter(|checked| checked.file.kind == FileKind::Samples);
        samples.map(|checked| (checked.file.rows, checked.file.bytes)).collect::<Vec<_>>()
    };
    // All groups are ended, so that what a file has when a series ends is known to the byte.
    let footer_free = |rows: usize| {
        let mut writer = RowsWriter::with_limits(Vec::new(), &columns(), &[], SMALL).unwrap();
        for (i, (all, samples)) in series.iter().enumerate().take(rows / 20_000) {
            let series = RowSeries { number: i as i64, labels: all, metric_type: None };
            writer.add(&series, &samples.timestamps_ms, &samples.values, &[]).unwrap();
        }
        writer.bytes()
    };
    let two = footer_free(40_000);
    let rows = |bytes| file_rows(bytes).iter().map(|(rows, _)| *rows).collect::<Vec<_>>();
    assert_eq!(rows(two), [40_000, 40_000]);
    assert_eq!(rows(two + 1), [60_000, 20_000]);
    assert_eq!(rows(1), [20_000; 4]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    /// Any piece of rows, across pages, row groups and files, is what was written.
    #[test]
    fn rows_come_back_from_wherever_they_are(
        counts in prop::collection::vec(0..12_000_usize, 1..5),
        group_rows in prop::sample::select(vec![1000, 8192, 9000, 20_000]),
        file_bytes in prop::sample::select(vec![1, 20_000, u64::MAX]),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..20_000_usize), 8),
    ) {
        let series: Vec<_> =
            (0..).zip(&counts).map(|(i, count)| (labels("m", i), samples(i as i64 * 104_729, *count, i % 3))).collect();
        let day = day(RowLimits { group_rows, group_rows_min: 500, file_bytes, ..RowLimits::default() }, &series);
        let all: Vec<u64> = series.iter().flat_map(|(_, s)| s.values.iter().map(|v| v.to_bits())).collect();
        let rows = open_rows(&day.disk, Path::new("/data/parquet"), &day.files).unwrap();
        for (first, count) in cuts {
            let first = if all.is_empty() { 0 } else { first.index(all.len()) };
            let count = count.min(all.len() - first);
            let mut got = Vec::new();
            rows.read(first as u64, count, &mut got).unwrap();
            prop_assert!(got.iter().map(|v| v.to_bits()).eq(all[first..first + count].iter().copied()));
        }
        let histograms: usize = series.iter().map(|(_, s)| s.histograms.len()).sum();
        let mut out = Vec::new();
        prop_assert!(rows.read((all.len() + histograms) as u64, 1, &mut out).is_err(), "there is no such row");
    }
}
