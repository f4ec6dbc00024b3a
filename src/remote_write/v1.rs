//! Remote write 1.0: `prometheus.WriteRequest` (`prompb/remote.proto`, `prompb/types.proto`).

use storage::SeriesRef;

use super::intake::{Intake, metric_type};
use super::proto::{Fields, Value, WireError, sample};
use super::{RequestError, WireError as Wire, histogram};

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

/// What is reused from series to series.
#[derive(Default)]
struct Scratch<'a> {
    labels: Vec<(&'a str, &'a str)>,
    samples: Vec<(i64, f64)>,
}

pub(super) fn decode(body: &[u8], intake: &mut Intake<'_>) -> Result<(), RequestError> {
    let mut fields = Fields::new(body, 0);
    let mut scratch = Scratch::default();
    let mut index = 0;
    while let Some((number, value)) = fields.next().map_err(wire)? {
        match number {
            TIMESERIES => {
                let (bytes, offset) = value.bytes(&fields).map_err(wire)?;
                series(bytes, offset, index, &mut scratch, intake)?;
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

/// What a walk over a `TimeSeries` finds, beside its float samples.
struct Walk<'a> {
    /// The bytes of all labels, which are the series' key.
    raw: &'a [u8],
    histograms: usize,
    exemplars: usize,
}

/// One `TimeSeries`. The labels of one that is known are not read.
fn series<'a>(
    bytes: &'a [u8],
    offset: usize,
    index: usize,
    scratch: &mut Scratch<'a>,
    intake: &mut Intake<'_>,
) -> Result<(), RequestError> {
    let found = walk(bytes, offset, &mut scratch.samples).map_err(wire)?;
    intake.count(scratch.samples.len() + found.histograms)?;
    let key = intake.key(CONTEXT, found.raw);
    let known = match intake.known(key) {
        Some(series) => Some(series),
        None => {
            labels(bytes, offset, &mut scratch.labels).map_err(wire)?;
            intake.series(key, &scratch.labels, index)
        }
    };
    let Some(series) = known else { return Ok(()) };
    for (timestamp_ms, value) in &scratch.samples {
        if let Err(rejection) = intake.push(series, *timestamp_ms, *value) {
            labels(bytes, offset, &mut scratch.labels).map_err(wire)?;
            intake.refuse_sample(&rejection, &scratch.labels);
        }
    }
    if found.histograms + found.exemplars > 0 {
        labels(bytes, offset, &mut scratch.labels).map_err(wire)?;
        rest(bytes, offset, series, &scratch.labels, intake)?;
    }
    Ok(())
}

/// Finds the labels without reading them, and reads the samples.
fn walk<'a>(bytes: &'a [u8], offset: usize, samples: &mut Vec<(i64, f64)>) -> Result<Walk<'a>, WireError> {
    samples.clear();
    let mut fields = Fields::new(bytes, offset);
    let (mut range, mut in_one_piece) = (None::<(usize, usize)>, true);
    let (mut histograms, mut exemplars) = (0, 0);
    let mut before = 0;
    while let Some((number, value)) = fields.next()? {
        match number {
            LABELS => {
                value.bytes(&fields)?;
                let (start, end) = range.unwrap_or((before, before));
                in_one_piece &= end == before;
                range = Some((start, fields.position()));
            }
            SAMPLES => {
                let (bytes, at) = value.bytes(&fields)?;
                samples.push(sample(bytes, at)?);
            }
            HISTOGRAMS => histograms += 1,
            EXEMPLARS => exemplars += 1,
            _ => {}
        }
        before = fields.position();
    }
    // Every sender writes the labels together; if one does not, the whole series is the key.
    let labels = range.filter(|_| in_one_piece).and_then(|(start, end)| bytes.get(start..end));
    Ok(Walk { raw: labels.unwrap_or(bytes), histograms, exemplars })
}

/// The labels of a `TimeSeries`, in its order.
fn labels<'a>(bytes: &'a [u8], offset: usize, out: &mut Pairs<'a>) -> Result<(), WireError> {
    out.clear();
    let mut fields = Fields::new(bytes, offset);
    while let Some((number, value)) = fields.next()? {
        if number == LABELS {
            let (label, at) = value.bytes(&fields)?;
            out.push(pair(label, at)?);
        }
    }
    Ok(())
}

/// Exemplars and histograms.
fn rest(
    bytes: &[u8],
    offset: usize,
    series: SeriesRef,
    labels: &[(&str, &str)],
    intake: &mut Intake<'_>,
) -> Result<(), RequestError> {
    let mut fields = Fields::new(bytes, offset);
    while let Some((number, value)) = fields.next().map_err(wire)? {
        match number {
            EXEMPLARS => {
                let (bytes, at) = value.bytes(&fields).map_err(wire)?;
                let (of, timestamp_ms, value) = exemplar(bytes, at).map_err(wire)?;
                intake.push_exemplar(series, &of, timestamp_ms, value, labels);
            }
            HISTOGRAMS => {
                let (bytes, at) = value.bytes(&fields).map_err(wire)?;
                intake.push_histogram(series, histogram::sample(bytes, at).map_err(wire)?, labels);
            }
            _ => {}
        }
    }
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
