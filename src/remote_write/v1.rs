//! Remote write 1.0: `prometheus.WriteRequest` (`prompb/remote.proto`, `prompb/types.proto`).

use super::intake::{Intake, metric_type};
use super::proto::{Fields, Value, WireError, sample};
use super::{RequestError, WireError as Wire};

/// Keys of this version never mean those of the other.
const CONTEXT: u64 = 1;
/// Fields of `WriteRequest`.
const TIMESERIES: u64 = 1;
const METADATA: u64 = 3;
/// Fields of `TimeSeries`.
const LABELS: u64 = 1;
const SAMPLES: u64 = 2;
const EXEMPLARS: u64 = 3;
const HISTOGRAMS: u64 = 4;

fn wire(source: Wire) -> RequestError {
    RequestError::Wire { message: "prometheus.WriteRequest", source }
}

pub(super) fn decode(body: &[u8], intake: &mut Intake<'_>) -> Result<(), RequestError> {
    let mut fields = Fields::new(body, 0);
    let mut labels = Vec::with_capacity(32);
    let mut index = 0;
    while let Some((number, value)) = fields.next().map_err(wire)? {
        match number {
            TIMESERIES => {
                let (bytes, offset) = value.bytes(&fields).map_err(wire)?;
                series(bytes, offset, index, &mut labels, intake)?;
                index += 1;
            }
            METADATA => {
                let (bytes, offset) = value.bytes(&fields).map_err(wire)?;
                metadata(bytes, offset, intake).map_err(wire)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// One `TimeSeries`: a first walk finds the labels, a second pushes what belongs to them.
fn series<'a>(
    bytes: &'a [u8],
    offset: usize,
    index: usize,
    labels: &mut Vec<(&'a str, &'a str)>,
    intake: &mut Intake<'_>,
) -> Result<(), RequestError> {
    labels.clear();
    let mut fields = Fields::new(bytes, offset);
    let (mut start, mut end, mut in_one_piece, mut rest) = (0, 0, true, 0);
    let mut before = 0;
    while let Some((number, value)) = fields.next().map_err(wire)? {
        if number == LABELS {
            let (label, at) = value.bytes(&fields).map_err(wire)?;
            labels.push(pair(label, at).map_err(wire)?);
            if labels.len() == 1 {
                start = before;
            } else if end != before {
                in_one_piece = false;
            }
            end = fields.position();
        } else if matches!(number, SAMPLES | HISTOGRAMS) {
            rest += 1;
        }
        before = fields.position();
    }
    intake.count(rest)?;
    // Every sender writes the labels first and together; if one does not, the whole series is the key.
    let raw = if in_one_piece { bytes.get(start..end).unwrap_or(bytes) } else { bytes };
    let key = intake.key(CONTEXT, raw);
    let Some(series) = intake.series(key, labels, index) else { return Ok(()) };
    let mut histograms = 0;
    let mut fields = Fields::new(bytes, offset);
    while let Some((number, value)) = fields.next().map_err(wire)? {
        match number {
            SAMPLES => {
                let (bytes, at) = value.bytes(&fields).map_err(wire)?;
                let (timestamp_ms, value) = sample(bytes, at).map_err(wire)?;
                intake.push(series, timestamp_ms, value, labels);
            }
            EXEMPLARS => {
                let (bytes, at) = value.bytes(&fields).map_err(wire)?;
                let (of, timestamp_ms, value) = exemplar(bytes, at).map_err(wire)?;
                intake.push_exemplar(series, &of, timestamp_ms, value, labels);
            }
            HISTOGRAMS => histograms += 1,
            _ => {}
        }
    }
    intake.refuse_histograms(histograms, labels);
    Ok(())
}

/// A `Label`: name is field 1, value field 2.
fn pair(bytes: &[u8], offset: usize) -> Result<(&str, &str), WireError> {
    let mut fields = Fields::new(bytes, offset);
    let (mut name, mut text) = ("", "");
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => name = utf8(value, &fields)?,
            2 => text = utf8(value, &fields)?,
            _ => {}
        }
    }
    Ok((name, text))
}

fn utf8<'a>(value: Value<'a>, fields: &Fields<'_>) -> Result<&'a str, WireError> {
    let (bytes, offset) = value.bytes(fields)?;
    std::str::from_utf8(bytes).map_err(|_| WireError { what: "a text that is not UTF-8", offset })
}

type Pairs<'a> = Vec<(&'a str, &'a str)>;

/// An `Exemplar`: labels are field 1, value 2, time 3.
fn exemplar(bytes: &[u8], offset: usize) -> Result<(Pairs<'_>, i64, f64), WireError> {
    let mut fields = Fields::new(bytes, offset);
    let (mut labels, mut timestamp_ms, mut number_value) = (Vec::new(), 0, 0.0);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => {
                let (label, at) = value.bytes(&fields)?;
                labels.push(pair(label, at)?);
            }
            2 => number_value = value.double(&fields)?,
            3 => timestamp_ms = value.varint(&fields)?.cast_signed(),
            _ => {}
        }
    }
    Ok((labels, timestamp_ms, number_value))
}

/// A `MetricMetadata`: type is field 1, family 2, help 4, unit 5.
fn metadata(bytes: &[u8], offset: usize, intake: &mut Intake<'_>) -> Result<(), WireError> {
    let mut fields = Fields::new(bytes, offset);
    let (mut kind, mut family, mut help, mut unit) = (0, "", "", "");
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => kind = value.varint(&fields)?,
            2 => family = utf8(value, &fields)?,
            4 => help = utf8(value, &fields)?,
            5 => unit = utf8(value, &fields)?,
            _ => {}
        }
    }
    intake.metadata(family, metric_type(kind), help, unit);
    Ok(())
}
