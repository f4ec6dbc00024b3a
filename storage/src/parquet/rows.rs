//! Writes samples as rows.

use std::io::Write;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMillisecondArray,
};
use arrow_schema::Schema;
use model::{Histogram, Labels, is_stale};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;

use super::columns::RowColumns;
use super::histograms::histogram_column;
use super::schema::{RowLimits, VALUE, ValueEncoding, properties, samples_schema, samples_sorting};

/// Rows that are handed to the library at once.
const BATCH_ROWS: usize = 1 << 16;
/// Buckets of histograms that are handed to the library at once: 24 bytes each, twice for a moment.
const BATCH_BUCKETS: usize = 1 << 19;

/// The series that rows belong to.
#[derive(Debug, Clone, Copy)]
pub struct RowSeries<'a> {
    /// Its number, which joins with the file of series.
    pub number: i64,
    /// Its labels.
    pub labels: &'a Labels,
    /// The type of its family, if it is known.
    pub metric_type: Option<&'a str>,
}

/// Writes one file of samples.
#[derive(Debug)]
pub struct RowsWriter<W: Write + Send> {
    file: SerializedFileWriter<W>,
    schema: Arc<Schema>,
    columns: RowColumns,
    /// One for each encoding of values.
    factories: Vec<ArrowRowGroupWriterFactory>,
    /// Place of the column of values; no column before it has others inside.
    value: usize,
    limits: RowLimits,
    batch: Batch,
    group: Option<Group>,
    metric: String,
    rows: u64,
}

/// A row group that is being written.
#[derive(Debug)]
struct Group {
    /// All columns, those inside others one by one; that of values once for each encoding.
    columns: Vec<Vec<ArrowColumnWriter>>,
    rows: usize,
}

impl Group {
    /// About how many bytes its columns have so far.
    fn bytes(&self) -> usize {
        self.columns.iter().flatten().map(ArrowColumnWriter::get_estimated_total_bytes).sum()
    }
}

/// A column of texts, as runs.
#[derive(Debug, Default)]
struct Texts {
    values: Vec<String>,
    keys: Vec<Option<i32>>,
}

impl Texts {
    fn push(&mut self, text: Option<&str>, rows: usize) {
        let key = text.map(|text| {
            if self.values.last().is_none_or(|last| last != text) {
                self.values.push(text.to_owned());
            }
            // There are no more than rows in a batch.
            self.values.len() as i32 - 1
        });
        self.keys.resize(self.keys.len() + rows, key);
    }

    fn take(&mut self) -> Result<ArrayRef, ParquetError> {
        let values: StringArray = std::mem::take(&mut self.values).into_iter().map(Some).collect();
        let keys = Int32Array::from(std::mem::take(&mut self.keys));
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(values))?))
    }
}

/// Rows that wait.
#[derive(Debug, Default)]
struct Batch {
    metric: Texts,
    labels: Vec<Texts>,
    timestamps_ms: Vec<i64>,
    values: Vec<Option<f64>>,
    stale: Vec<bool>,
    metric_type: Texts,
    series: Vec<i64>,
    /// With the numbers of their rows.
    histograms: Vec<(usize, Arc<Histogram>)>,
    buckets: usize,
}

impl Batch {
    fn rows(&self) -> usize {
        self.timestamps_ms.len()
    }

    fn is_full(&self) -> bool {
        self.rows() >= BATCH_ROWS || self.buckets >= BATCH_BUCKETS
    }

    /// Adds what rows of one series have alike.
    fn repeat(&mut self, columns: &RowColumns, series: &RowSeries<'_>, rows: usize) {
        self.metric.push(Some(series.labels.metric_name()), rows);
        for (texts, label) in self.labels.iter_mut().zip(columns.labels()) {
            texts.push(series.labels.get(label), rows);
        }
        self.metric_type.push(series.metric_type, rows);
        self.series.resize(self.series.len() + rows, series.number);
    }
}

impl<W: Write + Send> RowsWriter<W> {
    /// Begins a file; `metadata` goes into its footer.
    ///
    /// # Errors
    /// Those of the library.
    pub fn new(out: W, columns: &RowColumns, metadata: &[(&str, String)]) -> Result<Self, ParquetError> {
        Self::with_limits(out, columns, metadata, RowLimits::default())
    }

    /// As [`RowsWriter::new`], with limits of the caller's choice.
    ///
    /// # Errors
    /// As there.
    pub(super) fn with_limits(
        out: W,
        columns: &RowColumns,
        metadata: &[(&str, String)],
        limits: RowLimits,
    ) -> Result<Self, ParquetError> {
        let schema = samples_schema(columns);
        let sorting = samples_sorting(&schema)?;
        let value = schema.index_of(VALUE)?;
        let root = ArrowSchemaConverter::new().convert(&schema)?.root_schema_ptr();
        let open =
            |encoding| -> Result<_, ParquetError> { Ok(Arc::new(properties(metadata, encoding, sorting.clone())?)) };
        let mut factories = Vec::new();
        for encoding in ValueEncoding::ALL {
            // Only what it says of its columns is needed.
            let template = SerializedFileWriter::new(std::io::sink(), root.clone(), open(encoding)?)?;
            factories.push(ArrowRowGroupWriterFactory::new(&template, schema.clone()));
        }
        let file = SerializedFileWriter::new(out, root, open(ValueEncoding::Split)?)?;
        let batch = Batch { labels: columns.labels().iter().map(|_| Texts::default()).collect(), ..Batch::default() };
        let columns = columns.clone();
        let metric = String::new();
        Ok(RowsWriter { file, schema, columns, factories, value, limits, batch, group: None, metric, rows: 0 })
    }

    /// Adds samples of a series, in order of time. Series come in order of their labels.
    ///
    /// # Errors
    /// Those of the library and of the output.
    pub fn add(
        &mut self,
        series: &RowSeries<'_>,
        timestamps_ms: &[i64],
        values: &[f64],
        histograms: &[(i64, Arc<Histogram>)],
    ) -> Result<(), ParquetError> {
        if timestamps_ms.len() != values.len() {
            return Err(ParquetError::General("times and values differ in number".to_owned()));
        }
        if self.metric != series.labels.metric_name() {
            self.metric = series.labels.metric_name().to_owned();
            if self.group_rows() >= self.limits.group_rows_min {
                self.end_group()?;
            }
        }
        let (mut timestamps_ms, mut values) = (timestamps_ms, values);
        for (timestamp_ms, histogram) in histograms {
            let before = timestamps_ms.partition_point(|ms| ms < timestamp_ms).min(values.len());
            let ((times, times_left), (some, values_left)) = (timestamps_ms.split_at(before), values.split_at(before));
            self.add_floats(series, times, some)?;
            self.add_histogram(series, *timestamp_ms, histogram)?;
            (timestamps_ms, values) = (times_left, values_left);
        }
        self.add_floats(series, timestamps_ms, values)
    }

    /// Adds float samples; there are as many times as values.
    fn add_floats(&mut self, series: &RowSeries<'_>, times: &[i64], values: &[f64]) -> Result<(), ParquetError> {
        let (mut times, mut values) = (times, values);
        while !times.is_empty() {
            let room = (BATCH_ROWS - self.batch.rows()).min(self.limits.group_rows - self.group_rows());
            let count = times.len().min(room);
            let ((some_times, times_left), (some, values_left)) = (times.split_at(count), values.split_at(count));
            let batch = &mut self.batch;
            batch.repeat(&self.columns, series, count);
            batch.timestamps_ms.extend_from_slice(some_times);
            batch.values.extend(some.iter().map(|value| (!is_stale(*value)).then_some(*value)));
            batch.stale.extend(some.iter().map(|value| is_stale(*value)));
            self.rows += count as u64;
            (times, values) = (times_left, values_left);
            self.end_full()?;
        }
        Ok(())
    }

    fn add_histogram(
        &mut self,
        series: &RowSeries<'_>,
        timestamp_ms: i64,
        histogram: &Arc<Histogram>,
    ) -> Result<(), ParquetError> {
        let batch = &mut self.batch;
        if !histogram.is_stale() {
            batch.histograms.push((batch.rows(), Arc::clone(histogram)));
            batch.buckets += histogram.bucket_count() + histogram.custom_bounds.len() + 1;
        }
        batch.repeat(&self.columns, series, 1);
        batch.timestamps_ms.push(timestamp_ms);
        batch.values.push(None);
        batch.stale.push(histogram.is_stale());
        self.rows += 1;
        self.end_full()
    }

    /// Hands over what is enough for a batch, and ends a row group that has enough.
    fn end_full(&mut self) -> Result<(), ParquetError> {
        if self.batch.is_full() {
            self.write_batch()?;
        }
        let is_large = || self.group.as_ref().is_some_and(|group| group.bytes() >= self.limits.group_bytes);
        if self.group_rows() >= self.limits.group_rows || (self.batch.rows() == 0 && is_large()) {
            self.end_group()?;
        }
        Ok(())
    }

    /// Rows that are not in an ended row group.
    fn group_rows(&self) -> usize {
        self.batch.rows() + self.group.as_ref().map_or(0, |group| group.rows)
    }

    fn write_batch(&mut self) -> Result<(), ParquetError> {
        let batch = &mut self.batch;
        let rows = batch.rows();
        if rows == 0 {
            return Ok(());
        }
        let histograms = histogram_column(rows, &std::mem::take(&mut batch.histograms))?;
        batch.buckets = 0;
        let mut arrays: Vec<ArrayRef> = vec![batch.metric.take()?];
        for texts in &mut batch.labels {
            arrays.push(texts.take()?);
        }
        let times = TimestampMillisecondArray::from(std::mem::take(&mut batch.timestamps_ms)).with_timezone("UTC");
        arrays.push(Arc::new(times));
        arrays.push(Arc::new(Float64Array::from(std::mem::take(&mut batch.values))));
        arrays.push(Arc::new(BooleanArray::from(std::mem::take(&mut batch.stale))));
        arrays.push(batch.metric_type.take()?);
        arrays.push(Arc::new(Int64Array::from(std::mem::take(&mut batch.series))));
        arrays.push(histograms);
        let mut group = match self.group.take() {
            Some(group) => group,
            None => self.begin_group()?,
        };
        let mut columns = group.columns.iter_mut();
        for (field, array) in self.schema.fields().iter().zip(&arrays) {
            for leaf in compute_leaves(field, array)? {
                let writers = columns.next().into_iter().flatten();
                writers.into_iter().try_for_each(|writer| writer.write(&leaf))?;
            }
        }
        group.rows += rows;
        self.group = Some(group);
        Ok(())
    }

    fn begin_group(&self) -> Result<Group, ParquetError> {
        let number = self.file.flushed_row_groups().len();
        let mut columns: Vec<Vec<ArrowColumnWriter>> = Vec::new();
        for (place, factory) in self.factories.iter().enumerate() {
            let writers = factory.create_column_writers(number)?;
            if place == 0 {
                columns = writers.into_iter().map(|writer| vec![writer]).collect();
            } else if let (Some(values), Some(writer)) =
                (columns.get_mut(self.value), writers.into_iter().nth(self.value))
            {
                values.push(writer);
            }
        }
        Ok(Group { columns, rows: 0 })
    }

    /// Ends the row group; of the encodings of values the smallest stays.
    fn end_group(&mut self) -> Result<(), ParquetError> {
        self.write_batch()?;
        let Some(group) = self.group.take() else { return Ok(()) };
        let mut row_group = self.file.next_row_group()?;
        for writers in group.columns {
            let chunks: Vec<ArrowColumnChunk> =
                writers.into_iter().map(ArrowColumnWriter::close).collect::<Result<_, ParquetError>>()?;
            let smallest = chunks.into_iter().min_by_key(|chunk| chunk.close().bytes_written);
            smallest.map_or(Ok(()), |chunk| chunk.append_to_row_group(&mut row_group))?;
        }
        row_group.close()?;
        Ok(())
    }

    /// Number of rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// About how many bytes the file has so far.
    pub fn bytes(&self) -> u64 {
        let columns = self.group.iter().flat_map(|group| &group.columns);
        let first = columns.filter_map(|writers| writers.first());
        let open: usize = first.map(ArrowColumnWriter::get_estimated_total_bytes).sum();
        (self.file.bytes_written() + open) as u64
    }

    /// Ends the file and gives the output back.
    ///
    /// # Errors
    /// Those of the library and of the output.
    pub fn finish(mut self) -> Result<W, ParquetError> {
        self.end_group()?;
        self.file.into_inner()
    }
}
