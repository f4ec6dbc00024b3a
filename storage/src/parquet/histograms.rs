//! Native histograms as a column of structs: plain numbers that need no knowledge of schemas to be used.
//!
//! | field | type | meaning |
//! |---|---|---|
//! | `count`, `sum` | double | all observations, and their sum |
//! | `buckets` | list of `lower`, `upper`, `count` (doubles) | the buckets from the lowest on, the zero bucket if it has observations; counts are of the bucket alone |
//! | `schema` | 32-bit integer | resolution: −4 to 8, or −53 for custom bounds |
//! | `zero_threshold`, `zero_count` | double | half width of the zero bucket, and its observations |
//! | `custom_bounds` | list of doubles | upper bounds of schema −53, without +Inf; null for other schemas |
//! | `reset_hint` | string | `reset`, `no_reset`, `gauge`; null if the sender did not know |
//!
//! Nothing is lost: the bound away from zero of a bucket, with the schema, says which one it is. A histogram that only
//! says that its series ended is a null with `stale` set, as for floats.

use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder, Float64Builder, Int32Builder, ListBuilder, StringBuilder, StructBuilder};
use arrow_array::{Array, ArrayRef, BooleanArray, StructArray, new_null_array};
use arrow_schema::{DataType, Field, Fields};
use model::Histogram;
use parquet::errors::ParquetError;

/// What a list's item is called in Parquet.
const ELEMENT: &str = "element";
const BUCKET: [&str; 3] = ["lower", "upper", "count"];

/// The type of the column.
pub(super) fn histogram_type() -> DataType {
    DataType::Struct(fields())
}

fn fields() -> Fields {
    let double = |name: &str| Field::new(name, DataType::Float64, false);
    Fields::from(vec![
        double("count"),
        double("sum"),
        Field::new("buckets", DataType::List(Arc::new(bucket_field())), false),
        Field::new("schema", DataType::Int32, false),
        double("zero_threshold"),
        double("zero_count"),
        Field::new("custom_bounds", DataType::List(Arc::new(double(ELEMENT))), true),
        Field::new("reset_hint", DataType::Utf8, true),
    ])
}

fn bucket_fields() -> Fields {
    BUCKET.iter().map(|name| Field::new(*name, DataType::Float64, false)).collect()
}

fn bucket_field() -> Field {
    Field::new(ELEMENT, DataType::Struct(bucket_fields()), false)
}

/// The column of so many rows, of which these have histograms, in order.
///
/// # Errors
/// Those of the library.
pub(super) fn histogram_column(rows: usize, found: &[(usize, Arc<Histogram>)]) -> Result<ArrayRef, ParquetError> {
    if found.is_empty() {
        return Ok(new_null_array(&histogram_type(), rows));
    }
    let (mut column, mut found, none) = (Column::new(), found.iter().peekable(), Histogram::default());
    for row in 0..rows {
        let histogram = found.next_if(|(at, _)| *at == row).map(|(_, histogram)| &**histogram);
        column.valid.push(histogram.is_some().then_some(true));
        column.push(histogram.unwrap_or(&none))?;
    }
    column.finish()
}

/// The column while it is built; what stands under a null is not seen.
struct Column {
    valid: Vec<Option<bool>>,
    count: Float64Builder,
    sum: Float64Builder,
    buckets: ListBuilder<StructBuilder>,
    schema: Int32Builder,
    zero_threshold: Float64Builder,
    zero_count: Float64Builder,
    custom_bounds: ListBuilder<Float64Builder>,
    reset_hint: StringBuilder,
}

impl Column {
    fn new() -> Self {
        let bounds = BUCKET.iter().map(|_| Box::new(Float64Builder::new()) as Box<dyn ArrayBuilder>).collect();
        let bucket = StructBuilder::new(bucket_fields(), bounds);
        let bound = Field::new(ELEMENT, DataType::Float64, false);
        Column {
            valid: Vec::new(),
            count: Float64Builder::new(),
            sum: Float64Builder::new(),
            buckets: ListBuilder::new(bucket).with_field(bucket_field()),
            schema: Int32Builder::new(),
            zero_threshold: Float64Builder::new(),
            zero_count: Float64Builder::new(),
            custom_bounds: ListBuilder::new(Float64Builder::new()).with_field(bound),
            reset_hint: StringBuilder::new(),
        }
    }

    fn push(&mut self, histogram: &Histogram) -> Result<(), ParquetError> {
        self.count.append_value(histogram.count);
        self.sum.append_value(histogram.sum);
        for bucket in histogram.all_buckets() {
            let values = self.buckets.values();
            for (place, value) in [bucket.lower, bucket.upper, bucket.count].into_iter().enumerate() {
                let builder = values.field_builder::<Float64Builder>(place);
                builder
                    .ok_or_else(|| ParquetError::General("a bucket has too few fields".to_owned()))?
                    .append_value(value);
            }
            values.append(true);
        }
        self.buckets.append(true);
        self.schema.append_value(histogram.schema);
        self.zero_threshold.append_value(histogram.zero_threshold);
        self.zero_count.append_value(histogram.zero_count);
        self.custom_bounds.values().append_slice(&histogram.custom_bounds);
        self.custom_bounds.append(histogram.has_custom_bounds());
        self.reset_hint.append_option(histogram.reset_hint.word());
        Ok(())
    }

    fn finish(mut self) -> Result<ArrayRef, ParquetError> {
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(self.count.finish()),
            Arc::new(self.sum.finish()),
            Arc::new(self.buckets.finish()),
            Arc::new(self.schema.finish()),
            Arc::new(self.zero_threshold.finish()),
            Arc::new(self.zero_count.finish()),
            Arc::new(self.custom_bounds.finish()),
            Arc::new(self.reset_hint.finish()),
        ];
        let valid = BooleanArray::from(self.valid);
        Ok(Arc::new(StructArray::try_new(fields(), arrays, valid.nulls().cloned())?))
    }
}
