//! Writes samples as rows.

use std::io::Write;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMillisecondArray,
};
use arrow_schema::Schema;
use model::{Labels, is_stale};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;

use super::columns::RowColumns;
use super::schema::{GROUP_ROWS, GROUP_ROWS_MIN, VALUE, ValueEncoding, properties, samples_schema};

/// Rows that are handed to the library at once.
const BATCH_ROWS: usize = 1 << 16;

/// Writes one file of samples.
#[derive(Debug)]
pub struct RowsWriter<W: Write + Send> {
    file: SerializedFileWriter<W>,
    schema: Arc<Schema>,
    columns: RowColumns,
    /// One for each encoding of values.
    factories: Vec<ArrowRowGroupWriterFactory>,
    /// Place of the column of values.
    value: usize,
    batch: Batch,
    group: Option<Group>,
    metric: String,
    rows: u64,
}

/// A row group that is being written.
#[derive(Debug)]
struct Group {
    /// All columns; that of values once for each encoding.
    columns: Vec<Vec<ArrowColumnWriter>>,
    rows: usize,
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

impl Batch {
    fn rows(&self) -> usize {
        self.timestamps_ms.len()
    }
}

impl<W: Write + Send> RowsWriter<W> {
    /// Begins a file; `metadata` goes into its footer.
    ///
    /// # Errors
    /// Those of the library.
    pub fn new(out: W, columns: &RowColumns, metadata: &[(&str, String)]) -> Result<Self, ParquetError> {
        let schema = samples_schema(columns);
        let value = schema.index_of(VALUE)?;
        let root = ArrowSchemaConverter::new().convert(&schema)?.root_schema_ptr();
        let open = |encoding| -> Result<_, ParquetError> { Ok(Arc::new(properties(metadata, encoding)?)) };
        let mut factories = Vec::new();
        for encoding in ValueEncoding::ALL {
            // Only what it says of its columns is needed.
            let template = SerializedFileWriter::new(std::io::sink(), root.clone(), open(encoding)?)?;
            factories.push(ArrowRowGroupWriterFactory::new(&template, schema.clone()));
        }
        let file = SerializedFileWriter::new(out, root, open(ValueEncoding::Split)?)?;
        let batch = Batch { labels: columns.labels().iter().map(|_| Texts::default()).collect(), ..Batch::default() };
        let columns = columns.clone();
        Ok(RowsWriter { file, schema, columns, factories, value, batch, group: None, metric: String::new(), rows: 0 })
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
        if self.metric != labels.metric_name() {
            self.metric = labels.metric_name().to_owned();
            if self.group_rows() >= GROUP_ROWS_MIN {
                self.end_group()?;
            }
        }
        let (mut timestamps_ms, mut values) = (timestamps_ms, values);
        while !timestamps_ms.is_empty() {
            let room = BATCH_ROWS - self.batch.rows();
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
            if self.batch.rows() == BATCH_ROWS {
                self.write_batch()?;
            }
            if self.group_rows() >= GROUP_ROWS {
                self.end_group()?;
            }
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
        let mut group = match self.group.take() {
            Some(group) => group,
            None => self.begin_group()?,
        };
        for ((field, array), writers) in self.schema.fields().iter().zip(&arrays).zip(&mut group.columns) {
            for leaf in compute_leaves(field, array)? {
                writers.iter_mut().try_for_each(|writer| writer.write(&leaf))?;
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
