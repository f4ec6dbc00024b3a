//! Remote write 1.0: `prometheus.WriteRequest` (`prompb/remote.proto`, `prompb/types.proto`).

use storage::{RawKey, Resolved, SeriesRef};

use super::intake::{Intake, metric_type, name_of};
use super::proto::{Fields, Value, WireError, sample};
use super::{ReadError, RequestError, WireError as Wire, histogram};
use crate::ingest::{Description, Refused, Rejection};

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

/// Series whose keys are looked up together: their look-ups wait for memory at the same time.
const TOGETHER: usize = 64;

/// Series that were walked over, and what is reused from some to the next.
#[derive(Default)]
struct Walked<'a> {
    series: Vec<Walk<'a>>,
    keys: Vec<RawKey>,
    known: Vec<Option<Resolved>>,
    /// Samples of all of them.
    samples: Vec<(i64, f64)>,
    labels: Vec<(&'a str, &'a str)>,
}

pub(super) fn decode(body: &[u8], intake: &mut Intake<'_>) -> Result<(), RequestError> {
    let mut fields = Fields::new(body, 0);
    let mut walked = Walked::default();
    let mut index = 0;
    while let Some((number, value)) = fields.next().map_err(wire)? {
        match number {
            TIMESERIES => {
                let (bytes, offset) = value.bytes(&fields).map_err(wire)?;
                walked.add(bytes, offset, index, intake)?;
                index += 1;
                if walked.series.len() == TOGETHER {
                    walked.push(intake)?;
                }
            }
            METADATA => {
                let (bytes, offset) = value.bytes(&fields).map_err(wire)?;
                let name = || format!("metadata at byte {offset}");
                let read = intake.accept(metadata(bytes, offset), Refused::Metadata, name).map_err(wire)?;
                if let Some(said) = read {
                    intake.metadata(said);
                }
            }
            _ => {}
        }
    }
    walked.push(intake)
}

/// What a walk over a `TimeSeries` finds.
struct Walk<'a> {
    bytes: &'a [u8],
    offset: usize,
    /// Place among the series of the request.
    index: usize,
    /// The bytes of all labels, which are the series' key.
    raw: &'a [u8],
    /// Float samples.
    samples: usize,
    histograms: usize,
    exemplars: usize,
}

impl<'a> Walked<'a> {
    fn add(
        &mut self,
        bytes: &'a [u8],
        offset: usize,
        index: usize,
        intake: &mut Intake<'_>,
    ) -> Result<(), RequestError> {
        let found = walk(bytes, offset, index, &mut self.samples).map_err(wire)?;
        intake.count(found.samples + found.histograms)?;
        self.keys.push(intake.key(CONTEXT, found.raw));
        self.series.push(found);
        Ok(())
    }

    /// Gives all of them to the batch. The labels of those that are known are not read.
    fn push(&mut self, intake: &mut Intake<'_>) -> Result<(), RequestError> {
        intake.all_known(&self.keys, &mut self.known);
        let mut samples = self.samples.as_slice();
        for ((walk, key), known) in self.series.drain(..).zip(self.keys.drain(..)).zip(&self.known) {
            let (own, rest) = samples.split_at_checked(walk.samples).unwrap_or_default();
            samples = rest;
            walk.push(key, *known, own, &mut self.labels, intake)?;
        }
        self.samples.clear();
        Ok(())
    }
}

impl<'a> Walk<'a> {
    fn push(
        &self,
        key: RawKey,
        known: Option<Resolved>,
        samples: &[(i64, f64)],
        scratch: &mut Pairs<'a>,
        intake: &mut Intake<'_>,
    ) -> Result<(), RequestError> {
        let series = match known {
            Some(Resolved::Series(series)) => Some(series),
            // Remote write is not relabelled: nothing defines a drop here.
            Some(Resolved::Dropped) | None => self.define(key, scratch, intake)?,
        };
        let Some(series) = series else { return Ok(()) };
        for (timestamp_ms, value) in samples {
            if let Err(rejection) = intake.push(series, *timestamp_ms, *value) {
                intake.refuse_sample(&rejection, self.named(scratch));
            }
        }
        if self.histograms + self.exemplars > 0 {
            rest(self.bytes, self.offset, series, self.named(scratch), intake)?;
        }
        Ok(())
    }

    /// Reads the labels of a series that is not known; none if it was refused.
    fn define(
        &self,
        key: RawKey,
        scratch: &mut Pairs<'a>,
        intake: &mut Intake<'_>,
    ) -> Result<Option<SeriesRef>, RequestError> {
        let read = labels(self.bytes, self.offset, scratch);
        let defined = read.and_then(|()| Ok(intake.define(key, scratch)?));
        let refused = Refused::Samples((self.samples + self.histograms) as u64);
        intake.accept(defined, refused, || format!("series {} {}", self.index, name_of(scratch))).map_err(wire)
    }

    /// The labels of a series that is known, for messages: they made it, so they can be read.
    fn named<'s>(&self, scratch: &'s mut Pairs<'a>) -> &'s Pairs<'a> {
        let _ = labels(self.bytes, self.offset, scratch);
        scratch
    }
}

/// Finds the labels without reading them, and reads the samples.
fn walk<'a>(
    bytes: &'a [u8],
    offset: usize,
    index: usize,
    samples: &mut Vec<(i64, f64)>,
) -> Result<Walk<'a>, WireError> {
    let samples_before = samples.len();
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
    let (raw, samples) = (labels.unwrap_or(bytes), samples.len() - samples_before);
    Ok(Walk { bytes, offset, index, raw, samples, histograms, exemplars })
}

/// The labels of a `TimeSeries`, in its order.
fn labels<'a>(bytes: &'a [u8], offset: usize, out: &mut Pairs<'a>) -> Result<(), ReadError> {
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
                let read = exemplar(bytes, at);
                let pushed = read.and_then(|(of, ms, value)| Ok(intake.push_exemplar(series, &of, ms, value)?));
                let name = || format!("an exemplar of {}", name_of(labels));
                intake.accept(pushed, Refused::Exemplar, name).map_err(wire)?;
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
fn pair(bytes: &[u8], offset: usize) -> Result<(&str, &str), ReadError> {
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

fn utf8<'a>(value: Value<'a>, fields: &Fields<'_>) -> Result<&'a str, ReadError> {
    let (bytes, offset) = value.bytes(fields)?;
    let invalid = |_| Rejection::Invalid(format!("a text that is not UTF-8 at byte {offset}"));
    Ok(std::str::from_utf8(bytes).map_err(invalid)?)
}

type Pairs<'a> = Vec<(&'a str, &'a str)>;

/// An `Exemplar`: labels are field 1, value 2, time 3.
fn exemplar(bytes: &[u8], offset: usize) -> Result<(Pairs<'_>, i64, f64), ReadError> {
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
fn metadata(bytes: &[u8], offset: usize) -> Result<Description<'_>, ReadError> {
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
    Ok(Description { family, metric_type: metric_type(kind), help, unit })
}
