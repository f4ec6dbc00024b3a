//! Writes samples as rows.

use std::io::Write;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use arrow_schema::Schema;
use model::{Labels, is_stale};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;

use super::columns::RowColumns;
use super::schema::{properties, samples_schema};

/// Rows that are handed to the library at once.
const BATCH_ROWS: usize = 1 << 16;

/// Writes one file of samples.
#[derive(Debug)]
pub struct RowsWriter<W: Write + Send> {
    writer: ArrowWriter<W>,
    schema: Arc<Schema>,
    columns: RowColumns,
    batch: Batch,
    rows: u64,
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
    metric_type: Texts,
    series: Vec<i64>,
}

impl<W: Write + Send> RowsWriter<W> {
    /// Begins a file; `metadata` goes into its footer.
    ///
    /// # Errors
    /// Those of the library.
    pub fn new(out: W, columns: &RowColumns, metadata: &[(&str, String)]) -> Result<Self, ParquetError> {
        let schema = samples_schema(columns);
        // Others need no types of Arrow's.
        let options = ArrowWriterOptions::new().with_properties(properties(metadata)?).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(out, schema.clone(), options)?;
        let batch = Batch { labels: columns.labels().iter().map(|_| Texts::default()).collect(), ..Batch::default() };
        Ok(RowsWriter { writer, schema, columns: columns.clone(), batch, rows: 0 })
    }

    /// Adds the samples of a series, in order of time. Series come in order of their labels.
    ///
    /// # Errors
    /// Those of the library and of the output.
    pub fn add(
        &mut self,
        series: i64,
        labels: &Labels,
        metric_type: Option<&str>,
        timestamps_ms: &[i64],
        values: &[f64],
    ) -> Result<(), ParquetError> {
        let (mut timestamps_ms, mut values) = (timestamps_ms, values);
        while !timestamps_ms.is_empty() {
            let room = BATCH_ROWS - self.batch.timestamps_ms.len();
            let count = timestamps_ms.len().min(values.len()).min(room);
            if count == 0 {
                return Err(ParquetError::General("times and values differ in number".to_owned()));
            }
            let ((times, times_left), (some, values_left)) = (timestamps_ms.split_at(count), values.split_at(count));
            let batch = &mut self.batch;
            batch.metric.push(Some(labels.metric_name()), count);
            for (texts, label) in batch.labels.iter_mut().zip(self.columns.labels()) {
                texts.push(labels.get(label), count);
            }
            batch.timestamps_ms.extend_from_slice(times);
            batch.values.extend(some.iter().map(|value| (!is_stale(*value)).then_some(*value)));
            batch.metric_type.push(metric_type, count);
            batch.series.resize(batch.series.len() + count, series);
            self.rows += count as u64;
            (timestamps_ms, values) = (times_left, values_left);
            if self.batch.timestamps_ms.len() == BATCH_ROWS {
                self.write_batch()?;
            }
        }
        Ok(())
    }

    fn write_batch(&mut self) -> Result<(), ParquetError> {
        let batch = &mut self.batch;
        let stale: BooleanArray = batch.values.iter().map(|value| Some(value.is_none())).collect();
        let mut arrays: Vec<ArrayRef> = vec![batch.metric.take()?];
        for texts in &mut batch.labels {
            arrays.push(texts.take()?);
        }
        let times = TimestampMillisecondArray::from(std::mem::take(&mut batch.timestamps_ms)).with_timezone("UTC");
        arrays.push(Arc::new(times));
        arrays.push(Arc::new(Float64Array::from(std::mem::take(&mut batch.values))));
        arrays.push(Arc::new(stale));
        arrays.push(batch.metric_type.take()?);
        arrays.push(Arc::new(Int64Array::from(std::mem::take(&mut batch.series))));
        self.writer.write(&RecordBatch::try_new(self.schema.clone(), arrays)?)
    }

    /// Number of rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// About how many bytes the file has so far.
    pub fn bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Ends the file and gives the output back.
    ///
    /// # Errors
    /// Those of the library and of the output.
    pub fn finish(mut self) -> Result<W, ParquetError> {
        if !self.batch.timestamps_ms.is_empty() {
            self.write_batch()?;
        }
        self.writer.into_inner()
    }
}
