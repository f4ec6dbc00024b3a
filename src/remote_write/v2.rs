//! Remote write 2.0: `io.prometheus.write.v2.Request` (`prompb/io/prometheus/write/v2/types.proto`).
//!
//! Labels are references into one table of symbols. Each symbol is hashed once per request; the key of a series is the
//! hash of its symbols' hashes.

use model::METRIC_NAME;
use storage::SeriesRef;

use super::intake::{Intake, metric_type, name_of};
use super::proto::{Fields, WireError, each_u32, sample};
use super::{ReadError, RequestError, WireError as Wire, histogram};
use crate::exposition::family_name;
use crate::ingest::{Description, Refused, Rejection, raw_hash};

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
    /// None where one is not UTF-8: who refers to it is refused.
    texts: Vec<Option<&'a str>>,
    hashes: Vec<u128>,
}

impl<'a> Symbols<'a> {
    fn get(&self, reference: u64) -> Result<&'a str, Rejection> {
        let found = usize::try_from(reference).ok().and_then(|place| self.texts.get(place));
        match found {
            Some(Some(text)) => Ok(text),
            Some(None) => Err(Rejection::Invalid(format!("symbol {reference} is not UTF-8"))),
            None => Err(Rejection::Invalid(format!("a reference to symbol {reference}, which is not there"))),
        }
    }

    /// The label pairs behind references to names and values in turn.
    fn pairs(&self, references: &[u32], out: &mut Vec<(&'a str, &'a str)>) -> Result<(), Rejection> {
        out.clear();
        if !references.len().is_multiple_of(2) {
            return Err(Rejection::Invalid("an odd number of label references".to_owned()));
        }
        for pair in references.chunks_exact(2) {
            if let [name, value] = pair {
                out.push((self.get(u64::from(*name))?, self.get(u64::from(*value))?));
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
            let (bytes, _) = value.bytes(&fields).map_err(wire)?;
            symbols.texts.push(std::str::from_utf8(bytes).ok());
            symbols.hashes.push(raw_hash(bytes));
        }
    }
    if symbols.texts.first().is_some_and(|first| *first != Some("")) {
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
    let found = find(symbols, scratch, intake).map_err(ReadError::from);
    let name = || format!("series {index} {}", name_of(&scratch.labels));
    let found = intake.accept(found, Refused::Samples(samples as u64), name).map_err(wire)?;
    let Some(series) = found else { return Ok(()) };
    let said = description(what, symbols, &scratch.labels).map_err(ReadError::from);
    let name = || format!("metadata of {}", name_of(&scratch.labels));
    let said = intake.accept(said, Refused::Metadata, name).map_err(wire)?;
    if let Some(said) = said.flatten() {
        intake.metadata(said);
    }
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
                let of = &mut scratch.exemplar_labels;
                let read = exemplar(bytes, at, symbols, of);
                let pushed = read.and_then(|(ms, value)| Ok(intake.push_exemplar(series, of, ms, value)?));
                let name = || format!("an exemplar of {}", name_of(&scratch.labels));
                intake.accept(pushed, Refused::Exemplar, name).map_err(wire)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The series of the references that were read; its labels are read too, for messages.
fn find<'a>(symbols: &Symbols<'a>, scratch: &mut Scratch<'a>, intake: &mut Intake<'_>) -> Result<SeriesRef, Rejection> {
    symbols.pairs(&scratch.references, &mut scratch.labels)?;
    scratch.key_bytes.clear();
    for reference in &scratch.references {
        let hash = symbols.hashes.get(*reference as usize).copied().unwrap_or_default();
        scratch.key_bytes.extend_from_slice(&hash.to_le_bytes());
    }
    let key = intake.key(CONTEXT, &scratch.key_bytes);
    intake.known(key).map_or_else(|| intake.define(key, &scratch.labels), Ok)
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

/// What the series says of its family, if it does.
fn description<'a>(
    (kind, help, unit): (u64, u64, u64),
    symbols: &Symbols<'a>,
    labels: &[(&'a str, &'a str)],
) -> Result<Option<Description<'a>>, Rejection> {
    if (kind, help, unit) == (0, 0, 0) {
        return Ok(None);
    }
    let name = labels.iter().find(|(name, _)| *name == METRIC_NAME).map_or("", |(_, value)| *value);
    let metric_type = metric_type(kind);
    let family = family_name(name, metric_type);
    Ok(Some(Description { family, metric_type, help: symbols.get(help)?, unit: symbols.get(unit)? }))
}

/// An `Exemplar`: label references are field 1, value 2, time 3.
fn exemplar<'a>(
    bytes: &[u8],
    offset: usize,
    symbols: &Symbols<'a>,
    labels: &mut Vec<(&'a str, &'a str)>,
) -> Result<(i64, f64), ReadError> {
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
    symbols.pairs(&references, labels)?;
    Ok((timestamp_ms, number_value))
}
