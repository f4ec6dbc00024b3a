//! Prometheus's protobuf exposition (`io.prometheus.client.MetricFamily`, delimited), read as text with native
//! histograms beside it.
//!
//! A classic metric becomes the lines that the text format has for it. A native histogram becomes one line, whose
//! value says nothing, and the histogram under the number of that line; so what is done with lines (series, limits,
//! staleness) is done for both.

use std::collections::BTreeMap;
use std::fmt::Write;

use model::{Buckets, Histogram, ResetHint, Span};

use super::format_value;
use crate::remote_write::proto::{Fields, Value, WireError, each_double, each_varint, unzigzag};

/// Content type and `proto` of the format.
const CONTENT_TYPE: &str = "application/vnd.google.protobuf";
const MESSAGE: &str = "io.prometheus.client.MetricFamily";

const COUNTER: u64 = 0;
const GAUGE: u64 = 1;
const SUMMARY: u64 = 2;
const HISTOGRAM: u64 = 4;
const GAUGE_HISTOGRAM: u64 = 5;

/// Which form of a histogram that has both is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forms {
    /// Native histograms; without, only classic ones are taken.
    pub native: bool,
    /// Classic histograms beside native ones.
    pub classic_too: bool,
}

/// A scrape in the text format.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decoded {
    /// Its text.
    pub text: String,
    /// The native histograms by the number of their line, from 1, and whether their counts are integers.
    pub histograms: BTreeMap<usize, (Histogram, bool)>,
}

/// Why a scrape cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message is not valid.
    #[error("the body is not a valid {MESSAGE}: {0}")]
    Wire(#[from] WireError),
    /// The text becomes too long.
    #[error("the body takes too many bytes as text")]
    TooLong,
}

/// True for the content type of this format.
pub fn is_protobuf(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let is_type = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(CONTENT_TYPE));
    is_type && parts.any(|part| part.split_once('=').is_some_and(|(n, v)| n.trim() == "proto" && v.trim() == MESSAGE))
}

/// Reads a scrape whose text may have `text_max` bytes.
///
/// # Errors
/// [`DecodeError`].
pub fn decode(body: &[u8], forms: Forms, text_max: usize) -> Result<Decoded, DecodeError> {
    let mut families = Fields::new(body, 0);
    let mut out = Writer { forms, text_max, lines: 0, decoded: Decoded::default() };
    while let Some((bytes, offset)) = families.delimited()? {
        out.family(bytes, offset)?;
    }
    Ok(out.decoded)
}

/// What is made of a scrape.
struct Writer {
    forms: Forms,
    text_max: usize,
    lines: usize,
    decoded: Decoded,
}

/// A family's name and type.
struct Family<'a> {
    name: &'a str,
    kind: u64,
}

impl Writer {
    fn line(&mut self, text: std::fmt::Arguments<'_>) -> Result<(), DecodeError> {
        // Writing to a text cannot fail.
        let _ = self.decoded.text.write_fmt(text);
        self.decoded.text.push('\n');
        self.lines += 1;
        if self.decoded.text.len() > self.text_max { Err(DecodeError::TooLong) } else { Ok(()) }
    }

    /// A `MetricFamily`: name is field 1, help 2, type 3, the metrics 4.
    fn family(&mut self, bytes: &[u8], offset: usize) -> Result<(), DecodeError> {
        let mut fields = Fields::new(bytes, offset);
        let (mut family, mut help, mut metrics) = (Family { name: "", kind: COUNTER }, "", Vec::new());
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => family.name = text(value, &fields)?,
                2 => help = text(value, &fields)?,
                3 => family.kind = value.varint(&fields)?,
                4 => metrics.push(value.bytes(&fields)?),
                _ => {}
            }
        }
        let name = quoted_name(family.name);
        let kind = match family.kind {
            COUNTER => "counter",
            GAUGE => "gauge",
            SUMMARY => "summary",
            HISTOGRAM | GAUGE_HISTOGRAM => "histogram",
            _ => "untyped",
        };
        if !help.is_empty() {
            self.line(format_args!("# HELP {name} {}", help.replace('\\', "\\\\").replace('\n', "\\n")))?;
        }
        self.line(format_args!("# TYPE {name} {kind}"))?;
        metrics.into_iter().try_for_each(|(bytes, offset)| self.metric(&family, bytes, offset))
    }

    /// A `Metric`: labels are field 1; gauge 2, counter 3, summary 4, untyped 5; time 6; histogram 7.
    fn metric(&mut self, family: &Family<'_>, bytes: &[u8], offset: usize) -> Result<(), DecodeError> {
        let mut fields = Fields::new(bytes, offset);
        let (mut labels, mut time, mut content) = (String::new(), String::new(), None);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => push_label(&mut labels, value, &fields)?,
                6 => time = format!(" {}", value.varint(&fields)?.cast_signed()),
                2..=5 | 7 => content = Some((number, value.bytes(&fields)?)),
                _ => {}
            }
            if labels.len() > self.text_max {
                return Err(DecodeError::TooLong);
            }
        }
        match content {
            Some((7, (bytes, offset))) => self.histogram(family, &labels, &time, bytes, offset),
            Some((4, (bytes, offset))) => self.summary(family, &labels, &time, bytes, offset),
            Some((_, (bytes, offset))) => {
                let mut fields = Fields::new(bytes, offset);
                let mut number_value = 0.0;
                while let Some((number, value)) = fields.next()? {
                    if number == 1 {
                        number_value = value.double(&fields)?;
                    }
                }
                self.sample(family.name, "", &labels, "", number_value, &time)
            }
            None => Ok(()),
        }
    }

    fn sample(
        &mut self,
        name: &str,
        suffix: &str,
        labels: &str,
        more: &str,
        value: f64,
        time: &str,
    ) -> Result<(), DecodeError> {
        let comma = if labels.is_empty() || more.is_empty() { "" } else { "," };
        let name = format!("{name}{suffix}");
        let value = format_value(value);
        if is_plain_name(&name) {
            return self.line(format_args!("{name}{{{labels}{comma}{more}}} {value}{time}"));
        }
        let behind = if labels.is_empty() && more.is_empty() { "" } else { "," };
        self.line(format_args!("{{{}{behind}{labels}{comma}{more}}} {value}{time}", quoted(&name)))
    }

    /// A `Summary`: count is field 1, sum 2, quantiles 3.
    fn summary(
        &mut self,
        family: &Family<'_>,
        labels: &str,
        time: &str,
        bytes: &[u8],
        offset: usize,
    ) -> Result<(), DecodeError> {
        let mut fields = Fields::new(bytes, offset);
        let (mut count, mut sum) = (0, 0.0);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => count = value.varint(&fields)?,
                2 => sum = value.double(&fields)?,
                3 => {
                    let (bytes, at) = value.bytes(&fields)?;
                    let [quantile, value] = pair_of_doubles(bytes, at)?;
                    let label = format!("quantile=\"{}\"", format_value(quantile));
                    self.sample(family.name, "", labels, &label, value, time)?;
                }
                _ => {}
            }
        }
        self.sample(family.name, "_sum", labels, "", sum, time)?;
        self.sample(family.name, "_count", labels, "", count as f64, time)
    }

    fn histogram(
        &mut self,
        family: &Family<'_>,
        labels: &str,
        time: &str,
        bytes: &[u8],
        offset: usize,
    ) -> Result<(), DecodeError> {
        let read = ReadHistogram::read(bytes, offset, family.kind == GAUGE_HISTOGRAM)?;
        let native = self.forms.native && read.is_native();
        if native {
            self.sample(family.name, "", labels, "", 0.0, time)?;
            self.decoded.histograms.insert(self.lines, (read.native, read.is_integer));
        }
        if native && !self.forms.classic_too {
            return Ok(());
        }
        let mut has_infinity = false;
        for (bound, count) in &read.classic {
            has_infinity |= *bound == f64::INFINITY;
            let label = format!("le=\"{}\"", format_value(*bound));
            self.sample(family.name, "_bucket", labels, &label, *count, time)?;
        }
        if !has_infinity {
            self.sample(family.name, "_bucket", labels, "le=\"+Inf\"", read.count, time)?;
        }
        self.sample(family.name, "_sum", labels, "", read.sum, time)?;
        self.sample(family.name, "_count", labels, "", read.count, time)
    }
}

/// A `Histogram`, of which the classic and the native form may be there.
#[derive(Debug, Default)]
struct ReadHistogram {
    count: f64,
    sum: f64,
    classic: Vec<(f64, f64)>,
    native: Histogram,
    is_integer: bool,
}

impl ReadHistogram {
    /// Fields: count 1, sum 2, classic buckets 3, count as float 4, schema 5, zero threshold 6, zero count 7 and as float
    /// 8; spans, deltas and counts below zero 9 to 11, above zero 12 to 14.
    fn read(bytes: &[u8], offset: usize, is_gauge: bool) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes, offset);
        let mut read = ReadHistogram { is_integer: true, ..ReadHistogram::default() };
        if is_gauge {
            read.native.reset_hint = ResetHint::Gauge;
        }
        let (mut below, mut above) = (0_i64, 0_i64);
        while let Some((number, value)) = fields.next()? {
            let native = &mut read.native;
            match number {
                1 if read.is_integer => native.count = value.varint(&fields)? as f64,
                2 => native.sum = value.double(&fields)?,
                3 => {
                    let (bytes, at) = value.bytes(&fields)?;
                    read.classic.push(classic_bucket(bytes, at)?);
                }
                4 => {
                    let count = value.double(&fields)?;
                    if count > 0.0 {
                        (native.count, read.is_integer) = (count, false);
                    }
                }
                5 => native.schema = i32::try_from(unzigzag(value.varint(&fields)?)).unwrap_or(i32::MAX),
                6 => native.zero_threshold = value.double(&fields)?,
                7 if read.is_integer => native.zero_count = value.varint(&fields)? as f64,
                8 if !read.is_integer => native.zero_count = value.double(&fields)?,
                9 => native.negative.spans.push(span(value, &fields)?),
                10 => add_deltas(&mut native.negative, &mut below, value, &fields)?,
                11 => each_double(value, &fields, |count| native.negative.counts.push(count))?,
                12 => native.positive.spans.push(span(value, &fields)?),
                13 => add_deltas(&mut native.positive, &mut above, value, &fields)?,
                14 => each_double(value, &fields, |count| native.positive.counts.push(count))?,
                _ => {}
            }
        }
        (read.count, read.sum) = (read.native.count, read.native.sum);
        Ok(read)
    }

    /// As Prometheus tells it: an empty native histogram has an empty span, so that it can be told from a classic one.
    fn is_native(&self) -> bool {
        let native = &self.native;
        !native.positive.spans.is_empty()
            || !native.negative.spans.is_empty()
            || native.zero_threshold > 0.0
            || native.zero_count > 0.0
    }
}

fn add_deltas(side: &mut Buckets, last: &mut i64, value: Value<'_>, fields: &Fields<'_>) -> Result<(), WireError> {
    each_varint(value, fields, |delta| {
        *last = last.wrapping_add(unzigzag(delta));
        side.counts.push(*last as f64);
    })
}

/// A `BucketSpan`: offset is field 1, length 2.
fn span(value: Value<'_>, fields: &Fields<'_>) -> Result<Span, WireError> {
    let (bytes, offset) = value.bytes(fields)?;
    let mut fields = Fields::new(bytes, offset);
    let mut span = Span::default();
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => span.offset = i32::try_from(unzigzag(value.varint(&fields)?)).unwrap_or(i32::MAX),
            2 => span.length = u32::try_from(value.varint(&fields)?).unwrap_or(u32::MAX),
            _ => {}
        }
    }
    Ok(span)
}

/// A classic `Bucket`: cumulative count is field 1, upper bound 2, count as float 4.
fn classic_bucket(bytes: &[u8], offset: usize) -> Result<(f64, f64), WireError> {
    let mut fields = Fields::new(bytes, offset);
    let (mut bound, mut count) = (0.0, 0.0);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => count = value.varint(&fields)? as f64,
            2 => bound = value.double(&fields)?,
            4 => count = Some(value.double(&fields)?).filter(|float| *float > 0.0).unwrap_or(count),
            _ => {}
        }
    }
    Ok((bound, count))
}

/// A `Quantile`: φ is field 1, the value 2.
fn pair_of_doubles(bytes: &[u8], offset: usize) -> Result<[f64; 2], WireError> {
    let mut fields = Fields::new(bytes, offset);
    let mut pair = [0.0; 2];
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => pair[0] = value.double(&fields)?,
            2 => pair[1] = value.double(&fields)?,
            _ => {}
        }
    }
    Ok(pair)
}

/// Appends a `LabelPair`: name is field 1, value 2.
fn push_label(labels: &mut String, value: Value<'_>, fields: &Fields<'_>) -> Result<(), WireError> {
    let (bytes, offset) = value.bytes(fields)?;
    let mut fields = Fields::new(bytes, offset);
    let (mut name, mut text_value) = ("", "");
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => name = text(value, &fields)?,
            2 => text_value = text(value, &fields)?,
            _ => {}
        }
    }
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.push_str(&quoted_name(name));
    labels.push('=');
    labels.push_str(&quoted(text_value));
    Ok(())
}

fn text<'a>(value: Value<'a>, fields: &Fields<'_>) -> Result<&'a str, WireError> {
    let (bytes, offset) = value.bytes(fields)?;
    std::str::from_utf8(bytes).map_err(|_| WireError { what: "a text that is not UTF-8", offset })
}

fn is_plain_name(name: &str) -> bool {
    let is_fit =
        |(i, c): (usize, char)| c == '_' || c == ':' || c.is_ascii_alphabetic() || (i > 0 && c.is_ascii_digit());
    !name.is_empty() && name.chars().enumerate().all(is_fit)
}

fn quoted_name(name: &str) -> String {
    if is_plain_name(name) { name.to_owned() } else { quoted(name) }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Protobuf by hand.
    #[derive(Default, Clone)]
    struct Proto(Vec<u8>);

    impl Proto {
        fn varint(&mut self, mut n: u64) {
            while n >= 0x80 {
                self.0.push(n as u8 | 0x80);
                n >>= 7;
            }
            self.0.push(n as u8);
        }

        fn int(mut self, field: u64, n: u64) -> Self {
            self.varint(field << 3);
            self.varint(n);
            self
        }

        fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
            self.varint(field << 3 | 2);
            self.varint(bytes.len() as u64);
            self.0.extend_from_slice(bytes);
            self
        }

        fn double(mut self, field: u64, n: f64) -> Self {
            self.varint(field << 3 | 1);
            self.0.extend_from_slice(&n.to_le_bytes());
            self
        }

        fn family(name: &str, kind: u64, metrics: &[Proto]) -> Vec<u8> {
            let head = Proto::default().bytes(1, name.as_bytes()).bytes(2, b"Help\nme").int(3, kind);
            let all = metrics.iter().fold(head, |p, metric| p.bytes(4, &metric.0));
            let mut out = Proto::default();
            out.varint(all.0.len() as u64);
            out.0.extend(all.0);
            out.0
        }

        fn metric(labels: &[(&str, &str)]) -> Proto {
            labels.iter().fold(Proto::default(), |p, (name, value)| {
                p.bytes(1, &Proto::default().bytes(1, name.as_bytes()).bytes(2, value.as_bytes()).0)
            })
        }
    }

    const NATIVE: Forms = Forms { native: true, classic_too: false };

    fn histogram() -> Proto {
        let bucket = |count, bound| Proto::default().int(1, count).double(2, bound).0;
        let span = |offset, length| Proto::default().int(1, offset).int(2, length).0;
        let of = Proto::default()
            .int(1, 6)
            .double(2, 2.5)
            .bytes(3, &bucket(4, 0.5))
            .int(5, 2)
            .double(6, 0.25)
            .int(7, 1)
            .bytes(12, &span(1, 2))
            .bytes(12, &span(6, 1))
            .bytes(13, &[2, 2, 1]);
        Proto::metric(&[("l", "a\"b")]).bytes(7, &of.0)
    }

    #[test]
    fn classic_metrics_are_text() {
        let quantile = Proto::default().double(1, 0.5).double(2, 3.0).0;
        let body = [
            Proto::family("c_total", 0, &[Proto::metric(&[]).bytes(3, &Proto::default().double(1, 7.0).0).int(6, 5)]),
            Proto::family("g.x", 1, &[Proto::metric(&[("a b", "v")]).bytes(2, &Proto::default().double(1, -1.5).0)]),
            Proto::family(
                "s",
                2,
                &[Proto::metric(&[]).bytes(4, &Proto::default().int(1, 2).double(2, 4.0).bytes(3, &quantile).0)],
            ),
            Proto::family("h", 4, &[histogram()]),
        ]
        .concat();
        let decoded = decode(&body, Forms { native: false, classic_too: false }, 10_000).unwrap();
        let want = "# HELP c_total Help\\nme\n# TYPE c_total counter\nc_total{} 7 5\n\
                    # HELP \"g.x\" Help\\nme\n# TYPE \"g.x\" gauge\n{\"g.x\",\"a b\"=\"v\"} -1.5\n\
                    # HELP s Help\\nme\n# TYPE s summary\ns{quantile=\"0.5\"} 3\ns_sum{} 4\ns_count{} 2\n\
                    # HELP h Help\\nme\n# TYPE h histogram\nh_bucket{l=\"a\\\"b\",le=\"0.5\"} 4\n\
                    h_bucket{l=\"a\\\"b\",le=\"+Inf\"} 6\nh_sum{l=\"a\\\"b\"} 2.5\nh_count{l=\"a\\\"b\"} 6\n";
        assert_eq!(decoded.text, want);
        assert!(decoded.histograms.is_empty());
        assert_eq!(
            crate::exposition::Parser::new(&decoded.text, crate::exposition::Format::Text)
                .filter(Result::is_err)
                .count(),
            0
        );
        assert_eq!(decode(&body, NATIVE, 100), Err(DecodeError::TooLong));
    }

    #[test]
    fn native_histograms_stand_beside_their_line() {
        let body = [Proto::family("h", 4, &[histogram()]), Proto::family("g", 5, &[histogram()])].concat();
        let decoded = decode(&body, NATIVE, 10_000).unwrap();
        assert_eq!(decoded.text.lines().nth(2), Some("h{l=\"a\\\"b\"} 0"));
        assert_eq!(decoded.text.lines().count(), 6);
        let spans = vec![Span { offset: -1, length: 2 }, Span { offset: 3, length: 1 }];
        let want = Histogram {
            schema: 1,
            zero_threshold: 0.25,
            zero_count: 1.0,
            count: 6.0,
            sum: 2.5,
            positive: Buckets { spans, counts: vec![1.0, 2.0, 1.0] },
            ..Histogram::default()
        };
        let gauge = Histogram { reset_hint: ResetHint::Gauge, ..want.clone() };
        assert_eq!(decoded.histograms, BTreeMap::from([(3, (want, true)), (6, (gauge, true))]));
        let both = decode(&body, Forms { native: true, classic_too: true }, 10_000).unwrap();
        assert_eq!((both.text.lines().count(), both.histograms.len()), (14, 2));
        assert!(decode(&body[..body.len() - 1], NATIVE, 10_000).is_err());
    }

    #[test]
    fn content_types() {
        assert!(is_protobuf(
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
        ));
        assert!(!is_protobuf("application/vnd.google.protobuf; proto=other"));
        assert!(!is_protobuf("text/plain"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        ) {
            let _ = decode(&bytes, NATIVE, 1000);
            let mut body = Proto::family("h", 4, &[histogram()]);
            for (at, byte) in flips {
                let at = at.index(body.len());
                body[at] = byte;
            }
            let _ = decode(&body, NATIVE, 1000);
        }
    }
}
