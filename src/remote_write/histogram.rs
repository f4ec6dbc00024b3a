//! Native histogram samples in both versions of the message, which give the fields the same numbers (`prompb/types.proto`,
//! `io/prometheus/write/v2/types.proto`).
//!
//! Integer histograms carry the difference of each bucket to the one before, float histograms absolute counts; both
//! become absolute floats.

use model::{Buckets, Histogram, ResetHint, Span};

use super::proto::{Fields, Value, WireError, each_double, unzigzag};

const COUNT_INT: u64 = 1;
const COUNT_FLOAT: u64 = 2;
const SUM: u64 = 3;
const SCHEMA: u64 = 4;
const ZERO_THRESHOLD: u64 = 5;
const ZERO_COUNT_INT: u64 = 6;
const ZERO_COUNT_FLOAT: u64 = 7;
const NEGATIVE_SPANS: u64 = 8;
const NEGATIVE_DELTAS: u64 = 9;
const NEGATIVE_COUNTS: u64 = 10;
const POSITIVE_SPANS: u64 = 11;
const POSITIVE_DELTAS: u64 = 12;
const POSITIVE_COUNTS: u64 = 13;
const RESET_HINT: u64 = 14;
const TIMESTAMP: u64 = 15;
const CUSTOM_VALUES: u64 = 16;

/// A histogram as it was sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HistogramSample {
    pub(super) timestamp_ms: i64,
    pub(super) histogram: Histogram,
    /// True if the counts were integers, which must add up.
    pub(super) is_integer: bool,
}

/// Reads a `Histogram`. Whether its parts fit together is not looked at.
pub(super) fn sample(bytes: &[u8], offset: usize) -> Result<HistogramSample, WireError> {
    let mut fields = Fields::new(bytes, offset);
    let mut read = HistogramSample { timestamp_ms: 0, histogram: Histogram::default(), is_integer: true };
    let (mut positive, mut negative) = (Side::default(), Side::default());
    while let Some((number, value)) = fields.next()? {
        let histogram = &mut read.histogram;
        match number {
            COUNT_INT => histogram.count = value.varint(&fields)? as f64,
            COUNT_FLOAT => {
                histogram.count = value.double(&fields)?;
                read.is_integer = false;
            }
            SUM => histogram.sum = value.double(&fields)?,
            SCHEMA => histogram.schema = unzigzag(value.varint(&fields)?) as i32,
            ZERO_THRESHOLD => histogram.zero_threshold = value.double(&fields)?,
            ZERO_COUNT_INT => histogram.zero_count = value.varint(&fields)? as f64,
            ZERO_COUNT_FLOAT => histogram.zero_count = value.double(&fields)?,
            NEGATIVE_SPANS => negative.spans.push(span(value, &fields)?),
            NEGATIVE_DELTAS => negative.add_deltas(value, &fields)?,
            NEGATIVE_COUNTS => each_double(value, &fields, |count| negative.counts.push(count))?,
            POSITIVE_SPANS => positive.spans.push(span(value, &fields)?),
            POSITIVE_DELTAS => positive.add_deltas(value, &fields)?,
            POSITIVE_COUNTS => each_double(value, &fields, |count| positive.counts.push(count))?,
            RESET_HINT => histogram.reset_hint = reset_hint(value.varint(&fields)?),
            TIMESTAMP => read.timestamp_ms = value.varint(&fields)?.cast_signed(),
            CUSTOM_VALUES => each_double(value, &fields, |bound| histogram.custom_bounds.push(bound))?,
            _ => {}
        }
    }
    read.histogram.positive = positive.buckets();
    read.histogram.negative = negative.buckets();
    Ok(read)
}

/// One side of zero while it is read.
#[derive(Debug, Default)]
struct Side {
    spans: Vec<Span>,
    counts: Vec<f64>,
    /// The last count, of which the next delta is told.
    last: i64,
}

impl Side {
    fn add_deltas(&mut self, value: Value<'_>, fields: &Fields<'_>) -> Result<(), WireError> {
        super::proto::each_varint(value, fields, |delta| {
            self.last = self.last.wrapping_add(unzigzag(delta));
            self.counts.push(self.last as f64);
        })
    }

    fn buckets(self) -> Buckets {
        Buckets { spans: self.spans, counts: self.counts }
    }
}

/// A `BucketSpan`: offset is field 1, length field 2.
fn span(value: Value<'_>, fields: &Fields<'_>) -> Result<Span, WireError> {
    let (bytes, offset) = value.bytes(fields)?;
    let mut fields = Fields::new(bytes, offset);
    let mut span = Span::default();
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => span.offset = unzigzag(value.varint(&fields)?) as i32,
            2 => {
                let length = u32::try_from(value.varint(&fields)?);
                span.length = length.map_err(|_| fields.error("a length of more than 32 bits"))?;
            }
            _ => {}
        }
    }
    Ok(span)
}

fn reset_hint(number: u64) -> ResetHint {
    match number {
        1 => ResetHint::Reset,
        2 => ResetHint::NoReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_told_by_differences_and_floats_as_they_are() {
        // Count 6, sum 2.5, schema 1, threshold 0.25, zero count 1, spans (-1, 2) and (3, 1), deltas 1, 1, -1, time 5.
        let mut bytes = vec![0x08, 6, 0x19];
        bytes.extend(2.5_f64.to_le_bytes());
        bytes.extend([0x20, 2, 0x29]);
        bytes.extend(0.25_f64.to_le_bytes());
        bytes.extend([0x30, 1, 0x5A, 4, 8, 1, 16, 2, 0x5A, 4, 8, 6, 16, 1, 0x62, 3, 2, 2, 1, 0x70, 3, 0x78, 5]);
        let read = sample(&bytes, 0).unwrap();
        let spans = vec![Span { offset: -1, length: 2 }, Span { offset: 3, length: 1 }];
        let want = Histogram {
            schema: 1,
            zero_threshold: 0.25,
            zero_count: 1.0,
            count: 6.0,
            sum: 2.5,
            positive: Buckets { spans, counts: vec![1.0, 2.0, 1.0] },
            reset_hint: ResetHint::Gauge,
            ..Histogram::default()
        };
        assert_eq!(read, HistogramSample { timestamp_ms: 5, histogram: want, is_integer: true });
        // Custom bounds and absolute counts, one of them not packed.
        let mut bytes = vec![0x11];
        bytes.extend(1.5_f64.to_le_bytes());
        bytes.extend([0x20, 105, 0x6A, 8]);
        bytes.extend(1.5_f64.to_le_bytes());
        bytes.extend([0x82, 1, 16]);
        bytes.extend(5.0_f64.to_le_bytes());
        bytes.extend(10.0_f64.to_le_bytes());
        bytes.extend([0x81, 1]);
        bytes.extend(20.0_f64.to_le_bytes());
        let read = sample(&bytes, 0).unwrap();
        assert_eq!((read.histogram.schema, read.is_integer), (-53, false));
        assert_eq!((read.histogram.custom_bounds, read.histogram.positive.counts), (vec![5.0, 10.0, 20.0], vec![1.5]));
        // Any cut is an error or another histogram, and never a panic.
        for cut in 0..bytes.len() {
            let _ = sample(&bytes[..cut], 0);
        }
        assert!(sample(&[0x6A, 3, 0, 0, 0], 0).is_err(), "no whole double");
        assert!(sample(&[0x5A, 7, 16, 0x80, 0x80, 0x80, 0x80, 0x10], 0).is_err(), "a span that is too long");
    }
}
