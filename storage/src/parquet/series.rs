//! Writes the labels of series, once each.

use std::io::Write;
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, MapBuilder, MapFieldNames, StringBuilder, TimestampMillisecondBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::Schema;
use model::{Labels, TimeRange};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;

use super::schema::{ValueEncoding, properties, series_schema, series_sorting};

/// Series that are handed to the library at once.
const BATCH_SERIES: usize = 8192;
/// Series of a row group: it is in memory, with all labels, until it ends.
const GROUP_SERIES: usize = 16 * BATCH_SERIES;

/// Writes one file of series.
#[derive(Debug)]
pub struct SeriesWriter<W: Write + Send> {
    writer: ArrowWriter<W>,
    schema: Arc<Schema>,
    batch: Batch,
    rows: u64,
}

#[derive(Debug)]
struct Batch {
    series: Int64Builder,
    metric: StringBuilder,
    metric_type: StringBuilder,
    labels: MapBuilder<StringBuilder, StringBuilder>,
    first: TimestampMillisecondBuilder,
    last: TimestampMillisecondBuilder,
    samples: Int64Builder,
    count: usize,
}

impl Batch {
    fn new() -> Self {
        let names = MapFieldNames { entry: "entries".to_owned(), key: "keys".to_owned(), value: "values".to_owned() };
        Batch {
            series: Int64Builder::new(),
            metric: StringBuilder::new(),
            metric_type: StringBuilder::new(),
            labels: MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new()),
            first: TimestampMillisecondBuilder::new().with_timezone("UTC"),
            last: TimestampMillisecondBuilder::new().with_timezone("UTC"),
            samples: Int64Builder::new(),
            count: 0,
        }
    }

    fn take(&mut self) -> Vec<ArrayRef> {
        self.count = 0;
        vec![
            Arc::new(self.series.finish()),
            Arc::new(self.metric.finish()),
            Arc::new(self.metric_type.finish()),
            Arc::new(self.labels.finish()),
            Arc::new(self.first.finish()),
            Arc::new(self.last.finish()),
            Arc::new(self.samples.finish()),
        ]
    }
}

impl<W: Write + Send> SeriesWriter<W> {
    /// Begins a file; `metadata` goes into its footer.
    ///
    /// # Errors
    /// Those of the library.
    pub fn new(out: W, metadata: &[(&str, String)]) -> Result<Self, ParquetError> {
        let schema = series_schema();
        let options = ArrowWriterOptions::new()
            .with_properties(properties(metadata, ValueEncoding::Plain, series_sorting())?)
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(out, schema.clone(), options)?;
        Ok(SeriesWriter { writer, schema, batch: Batch::new(), rows: 0 })
    }

    /// Adds a series.
    ///
    /// # Errors
    /// Those of the library and of the output.
    pub fn add(
        &mut self,
        series: i64,
        labels: &Labels,
        metric_type: Option<&str>,
        times: TimeRange,
        samples: u64,
    ) -> Result<(), ParquetError> {
        let batch = &mut self.batch;
        batch.series.append_value(series);
        batch.metric.append_value(labels.metric_name());
        batch.metric_type.append_option(metric_type);
        for (name, value) in labels {
            batch.labels.keys().append_value(name);
            batch.labels.values().append_value(value);
        }
        batch.labels.append(true)?;
        batch.first.append_value(times.start_ms);
        batch.last.append_value(times.end_ms);
        batch.samples.append_value(samples.cast_signed());
        batch.count += 1;
        self.rows += 1;
        if batch.count == BATCH_SERIES {
            self.write_batch()?;
        }
        Ok(())
    }

    fn write_batch(&mut self) -> Result<(), ParquetError> {
        self.writer.write(&RecordBatch::try_new(self.schema.clone(), self.batch.take())?)?;
        if self.writer.in_progress_rows() >= GROUP_SERIES { self.writer.flush() } else { Ok(()) }
    }

    /// Number of series so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the file and gives the output back.
    ///
    /// # Errors
    /// Those of the library and of the output.
    pub fn finish(mut self) -> Result<W, ParquetError> {
        if self.batch.count > 0 {
            self.write_batch()?;
        }
        self.writer.into_inner()
    }
}
