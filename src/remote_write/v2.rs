//! Remote write 2.0: `io.prometheus.write.v2.Request` (`prompb/io/prometheus/write/v2/types.proto`).
//!
//! Labels are references into one table of symbols. Each symbol is hashed once per request; the key of a series is the
//! hash of its symbols' hashes.

use model::{METRIC_NAME, MetricType};

use super::intake::{Intake, metric_type};
use super::proto::{Fields, WireError, each_u32, sample};
use super::{RequestError, WireError as Wire, histogram};
use crate::ingest::raw_hash;

/// Keys of this version never mean those of the other.
const CONTEXT: u64 = 2;
/// Fields of `Request`.
const SYMBOLS: u64 = 4;
const TIMESERIES: u64 = 5;
/// Fields of `TimeSeries`.
const LABELS_REFS: u64 = 1;
const SAMPLES: u64 = 2;
const HISTOGRAMS: u64 = 3;
const EXEMPLARS: u64 = 4;
const METADATA: u64 = 5;

fn wire(source: Wire) -> RequestError {
    RequestError::Wire { message: "io.prometheus.write.v2.Request", source }
}

/// The table of symbols of one request.
#[derive(Default)]
struct Symbols<'a> {
    texts: Vec<&'a str>,
    hashes: Vec<u128>,
}

impl<'a> Symbols<'a> {
    fn get(&self, reference: u32, offset: usize) -> Result<&'a str, WireError> {
        let missing = WireError { what: "a reference to a symbol that is not there", offset };
        self.texts.get(reference as usize).copied().ok_or(missing)
    }

    /// The label pairs behind references to names and values in turn.
    fn pairs(&self, references: &[u32], offset: usize, out: &mut Vec<(&'a str, &'a str)>) -> Result<(), WireError> {
        out.clear();
        if !references.len().is_multiple_of(2) {
            return Err(WireError { what: "an odd number of label references", offset });
        }
        for pair in references.chunks_exact(2) {
            if let [name, value] = pair {
                out.push((self.get(*name, offset)?, self.get(*value, offset)?));
            }
        }
        Ok(())
    }
}

/// What is reused from series to series.
#[derive(Default)]
struct Scratch<'a> {
    references: Vec<u32>,
    key_bytes: Vec<u8>,
    labels: Vec<(&'a str, &'a str)>,
    exemplar_labels: Vec<(&'a str, &'a str)>,
}

pub(super) fn decode(body: &[u8], intake: &mut Intake<'_>) -> Result<(), RequestError> {
    // Series may refer to symbols that stand behind them, so the table is read first.
    let mut symbols = Symbols::default();
    let mut fields = Fields::new(body, 0);
    while let Some((number, value)) = fields.next().map_err(wire)? {
        if number == SYMBOLS {
            let (bytes, offset) = value.bytes(&fields).map_err(wire)?;
            let not_utf8 = || wire(WireError { what: "a symbol that is not UTF-8", offset });
            symbols.texts.push(std::str::from_utf8(bytes).map_err(|_| not_utf8())?);
            symbols.hashes.push(raw_hash(bytes));
        }
    }
    if symbols.texts.first().is_some_and(|first| !first.is_empty()) {
        return Err(wire(WireError { what: "a first symbol that is not the empty text", offset: 0 }));
    }
    let mut scratch = Scratch::default();
    let mut fields = Fields::new(body, 0);
    let mut index = 0;
    while let Some((number, value)) = fields.next().map_err(wire)? {
        if number == TIMESERIES {
            let (bytes, offset) = value.bytes(&fields).map_err(wire)?;
            series(bytes, offset, index, &symbols, &mut scratch, intake)?;
            index += 1;
        }
    }
    Ok(())
}

fn series<'a>(
    bytes: &'a [u8],
    offset: usize,
    index: usize,
    symbols: &Symbols<'a>,
    scratch: &mut Scratch<'a>,
    intake: &mut Intake<'_>,
) -> Result<(), RequestError> {
    scratch.references.clear();
    let (mut samples, mut what) = (0, (0, 0, 0));
    let mut fields = Fields::new(bytes, offset);
    while let Some((number, value)) = fields.next().map_err(wire)? {
        match number {
            LABELS_REFS => each_u32(value, &fields, |n| scratch.references.push(n)).map_err(wire)?,
            SAMPLES | HISTOGRAMS => samples += 1,
            METADATA => {
                let (bytes, at) = value.bytes(&fields).map_err(wire)?;
                what = metadata(bytes, at).map_err(wire)?;
            }
            _ => {}
        }
    }
    intake.count(samples)?;
    symbols.pairs(&scratch.references, offset, &mut scratch.labels).map_err(wire)?;
    scratch.key_bytes.clear();
    for reference in &scratch.references {
        let hash = symbols.hashes.get(*reference as usize).copied().unwrap_or_default();
        scratch.key_bytes.extend_from_slice(&hash.to_le_bytes());
    }
    let key = intake.key(CONTEXT, &scratch.key_bytes);
    let known = intake.known(key).or_else(|| intake.series(key, &scratch.labels, index));
    let Some(series) = known else { return Ok(()) };
    note(what, offset, symbols, &scratch.labels, intake).map_err(wire)?;
    let mut fields = Fields::new(bytes, offset);
    while let Some((number, value)) = fields.next().map_err(wire)? {
        match number {
            SAMPLES => {
                let (bytes, at) = value.bytes(&fields).map_err(wire)?;
                let (timestamp_ms, value) = sample(bytes, at).map_err(wire)?;
                if let Err(rejection) = intake.push(series, timestamp_ms, value) {
                    intake.refuse_sample(&rejection, &scratch.labels);
                }
            }
            HISTOGRAMS => {
                let (bytes, at) = value.bytes(&fields).map_err(wire)?;
                intake.push_histogram(series, histogram::sample(bytes, at).map_err(wire)?, &scratch.labels);
            }
            EXEMPLARS => {
                let (bytes, at) = value.bytes(&fields).map_err(wire)?;
                let (timestamp_ms, value) = exemplar(bytes, at, symbols, &mut scratch.exemplar_labels).map_err(wire)?;
                intake.push_exemplar(series, &scratch.exemplar_labels, timestamp_ms, value, &scratch.labels);
            }
            _ => {}
        }
    }
    Ok(())
}

/// A `Metadata`: type is field 1, the symbols of help and unit are 3 and 4.
fn metadata(bytes: &[u8], offset: usize) -> Result<(u64, u64, u64), WireError> {
    let mut fields = Fields::new(bytes, offset);
    let mut what = (0, 0, 0);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => what.0 = value.varint(&fields)?,
            3 => what.1 = value.varint(&fields)?,
            4 => what.2 = value.varint(&fields)?,
            _ => {}
        }
    }
    Ok(what)
}

/// Notes what the series' family is, if the series says so.
fn note(
    (kind, help, unit): (u64, u64, u64),
    offset: usize,
    symbols: &Symbols<'_>,
    labels: &[(&str, &str)],
    intake: &mut Intake<'_>,
) -> Result<(), WireError> {
    if (kind, help, unit) == (0, 0, 0) {
        return Ok(());
    }
    let text = |reference: u64| symbols.get(u32::try_from(reference).unwrap_or(u32::MAX), offset);
    let name = labels.iter().find(|(name, _)| *name == METRIC_NAME).map_or("", |(_, value)| *value);
    let metric_type = metric_type(kind);
    intake.metadata(family_of(name, metric_type), metric_type, text(help)?, text(unit)?);
    Ok(())
}

/// The family of a series: histograms and summaries have several series with suffixes.
fn family_of(name: &str, metric_type: MetricType) -> &str {
    let suffixes: &[&str] = match metric_type {
        MetricType::Histogram | MetricType::GaugeHistogram => &["_bucket", "_count", "_sum", "_gcount", "_gsum"],
        MetricType::Summary => &["_count", "_sum"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

/// An `Exemplar`: label references are field 1, value 2, time 3.
fn exemplar<'a>(
    bytes: &[u8],
    offset: usize,
    symbols: &Symbols<'a>,
    labels: &mut Vec<(&'a str, &'a str)>,
) -> Result<(i64, f64), WireError> {
    let mut fields = Fields::new(bytes, offset);
    let (mut references, mut timestamp_ms, mut number_value) = (Vec::new(), 0, 0.0);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => each_u32(value, &fields, |n| references.push(n))?,
            2 => number_value = value.double(&fields)?,
            3 => timestamp_ms = value.varint(&fields)?.cast_signed(),
            _ => {}
        }
    }
    symbols.pairs(&references, offset, labels)?;
    Ok((timestamp_ms, number_value))
}
