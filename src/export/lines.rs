//! Chunks as lines of JSON, on the way from a server; and what stands in the last line.
//!
//! ```json
//! {"metric":{"__name__":"up","job":"a"},"type":"gauge","values":[1,0.5,"NaN",null],"timestamps":[1700000000000,…]}
//! {"end":true,"series":1,"samples":4,"histograms":0,"warnings":[]}
//! ```
//! A chunk with native histograms has them as pairs of time and object in `histograms`; see `lines/histogram.rs`.
//!
//! Values are numbers; the texts `NaN`, `+Inf` and `-Inf`; `NaN:` and sixteen hexadecimal digits for a NaN with other bits
//! than the usual; null for a staleness marker. An answer without the last line is not whole.

mod histogram;

use std::sync::Arc;

use model::{Labels, SampleColumns, is_stale, stale_nan};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Chunk, Totals};
use crate::json::{push_labels, push_text};
pub(super) use histogram::push_row as push_histogram;

/// The last line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    end: bool,
    /// Series with samples.
    pub series: u64,
    /// Float samples.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// What a person should know, such as what could not be read.
    pub warnings: Vec<String>,
}

impl End {
    /// The end of an export that read so much.
    pub fn new(totals: &Totals, mut warnings: Vec<String>) -> End {
        let Totals { series, samples, histograms, rolled_up } = *totals;
        if rolled_up > 0 {
            warnings.push(format!(
                "samples of some of the time are not kept any more of {rolled_up} series; the last one of each bucket of a \
                 roll-up stands for them"
            ));
        }
        End { end: true, series, samples, histograms, warnings }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// Samples.
    Chunk(Chunk),
    /// There is no more.
    End(End),
}

/// A line is not one of ours.
#[derive(Debug, thiserror::Error)]
#[error("not a line of an export: {0}")]
pub struct LineError(String);

/// Appends a chunk as a line.
pub fn encode(out: &mut Vec<u8>, labels: &Labels, metric_type: Option<&str>, samples: &SampleColumns) {
    out.extend_from_slice(b"{\"metric\":");
    push_labels(out, labels);
    if let Some(metric_type) = metric_type {
        out.extend_from_slice(b",\"type\":");
        push_text(out, metric_type);
    }
    out.extend_from_slice(b",\"values\":[");
    for (i, value) in samples.values.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push_value(out, *value);
    }
    out.extend_from_slice(b"],\"timestamps\":[");
    for (i, timestamp_ms) in samples.timestamps_ms.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(timestamp_ms.to_string().as_bytes());
    }
    out.push(b']');
    if !samples.histograms.is_empty() {
        out.extend_from_slice(b",\"histograms\":[");
        histogram::push_all(out, &samples.histograms);
        out.push(b']');
    }
    out.extend_from_slice(b"}\n");
}

/// Appends the last line.
pub fn encode_end(out: &mut Vec<u8>, totals: &Totals, warnings: Vec<String>) {
    let written = serde_json::to_writer(&mut *out, &End::new(totals, warnings));
    debug_assert!(written.is_ok(), "a vector takes all bytes");
    out.push(b'\n');
}

/// Appends a value as JSON.
pub(super) fn push_value(out: &mut Vec<u8>, value: f64) {
    let text = match value {
        _ if is_stale(value) => "null".to_owned(),
        // The shortest text that is read back to the same bits.
        _ if value.is_finite() => format!("{value:?}"),
        _ => format!("\"{}\"", special(value)),
    };
    out.extend_from_slice(text.as_bytes());
}

/// What is no number, as text.
pub(super) fn special(value: f64) -> String {
    match value {
        _ if value.to_bits() == f64::NAN.to_bits() => "NaN".to_owned(),
        _ if value.is_nan() => format!("NaN:{:016x}", value.to_bits()),
        _ if value > 0.0 => "+Inf".to_owned(),
        _ => "-Inf".to_owned(),
    }
}

/// Reads a line.
///
/// # Errors
/// [`LineError`].
pub fn decode(line: &str) -> Result<Line, LineError> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        metric: std::collections::BTreeMap<std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>>,
        #[serde(default, rename = "type")]
        metric_type: Option<String>,
        // Raw, so that numbers are read to the last bit.
        #[serde(borrow)]
        values: Vec<&'a RawValue>,
        timestamps: Vec<i64>,
        #[serde(borrow, default)]
        histograms: Vec<(i64, histogram::Wire<'a>)>,
    }
    let wrong = |e: serde_json::Error| LineError(e.to_string());
    if line.starts_with("{\"end\"") {
        return serde_json::from_str(line).map(Line::End).map_err(wrong);
    }
    let wire: Wire<'_> = serde_json::from_str(line).map_err(wrong)?;
    let labels = Labels::from_pairs(wire.metric.iter().map(|(name, value)| (&**name, &**value)));
    let labels = labels.map_err(|e| LineError(e.to_string()))?;
    if wire.values.len() != wire.timestamps.len() || !wire.timestamps.is_sorted_by(|a, b| a < b) {
        return Err(LineError("times and values do not belong together".to_owned()));
    }
    let values = wire.values.iter().map(|raw| value(raw.get())).collect::<Option<Vec<f64>>>();
    let values = values.ok_or_else(|| LineError("a value is none".to_owned()))?;
    let histograms =
        wire.histograms.iter().map(|(ms, wire)| Some((*ms, Arc::new(wire.read()?)))).collect::<Option<Vec<_>>>();
    let histograms = histograms.filter(|all| all.is_sorted_by(|(a, _), (b, _)| a < b));
    let histograms = histograms.ok_or_else(|| LineError("a histogram is none".to_owned()))?;
    let samples = SampleColumns { timestamps_ms: wire.timestamps, values, histograms };
    Ok(Line::Chunk(Chunk { labels, metric_type: wire.metric_type, samples }))
}

fn value(text: &str) -> Option<f64> {
    match text {
        "null" => Some(stale_nan()),
        "\"NaN\"" => Some(f64::NAN),
        "\"+Inf\"" => Some(f64::INFINITY),
        "\"-Inf\"" => Some(f64::NEG_INFINITY),
        _ => match text.strip_prefix("\"NaN:").and_then(|rest| rest.strip_suffix('"')) {
            Some(digits) => {
                let bits = u64::from_str_radix(digits, 16).ok().map(f64::from_bits);
                bits.filter(|value| value.is_nan() && digits.len() == 16)
            }
            None => text.parse().ok().filter(|value: &f64| value.is_finite()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_as_described() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a\"ü\n")]).unwrap();
        let mut samples = SampleColumns::default();
        let odd = f64::from_bits(0x7ff8_0000_0000_0001);
        for (ms, value) in [(-1, 1.0), (2, f64::NAN), (3, stale_nan()), (4, f64::NEG_INFINITY), (5, -0.0), (6, odd)] {
            samples.push(ms, value);
        }
        let mut out = Vec::new();
        encode(&mut out, &labels, Some("gauge"), &samples);
        encode_end(&mut out, &Totals { series: 1, samples: 6, histograms: 2, rolled_up: 0 }, vec!["w".to_owned()]);
        let text = String::from_utf8(out).unwrap();
        let expected = concat!(
            r#"{"metric":{"__name__":"up","job":"a\"ü\n"},"type":"gauge","values":[1.0,"NaN",null,"-Inf",-0.0,"#,
            r#""NaN:7ff8000000000001"],"timestamps":[-1,2,3,4,5,6]}"#,
            "\n",
            r#"{"end":true,"series":1,"samples":6,"histograms":2,"warnings":["w"]}"#,
            "\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn the_end_says_when_buckets_stand_for_samples() {
        let end = End::new(&Totals { series: 7, rolled_up: 3, ..Totals::default() }, vec!["w".to_owned()]);
        assert_eq!((end.series, end.warnings.len(), end.warnings[0].as_str()), (7, 2, "w"));
        assert!(end.warnings[1].contains("of 3 series; the last one of each bucket of a roll-up"), "{end:?}");
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for bad in [
            "",
            "{}",
            r#"{"end":1}"#,
            r#"{"metric":{},"values":[1],"timestamps":[]}"#,
            r#"{"metric":{},"values":[1,2],"timestamps":[2,1]}"#,
            r#"{"metric":{},"values":["x"],"timestamps":[1]}"#,
            r#"{"metric":{},"values":["NaN:7ff0000000000000"],"timestamps":[1]}"#,
            r#"{"metric":{},"values":[1e999],"timestamps":[1]}"#,
            r#"{"metric":{},"values":[true],"timestamps":[1]}"#,
        ] {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_bit_comes_back(
            bits in prop::collection::vec(any::<u64>(), 1..50),
            job in any::<String>(),
            metric_type in prop::option::of("[a-z]+"),
        ) {
            let labels = Labels::from_pairs([("__name__", "m"), ("job", job.as_str())]).unwrap();
            let mut samples = SampleColumns::default();
            bits.iter().enumerate().for_each(|(i, bits)| samples.push(i as i64, f64::from_bits(*bits)));
            let mut out = Vec::new();
            encode(&mut out, &labels, metric_type.as_deref(), &samples);
            let line = std::str::from_utf8(&out).unwrap();
            let Line::Chunk(chunk) = decode(line.trim_end()).unwrap() else { panic!("{line}") };
            prop_assert_eq!((&chunk.labels, &chunk.metric_type), (&labels, &metric_type));
            let got: Vec<u64> = chunk.samples.values.iter().map(|value| value.to_bits()).collect();
            prop_assert_eq!(got, bits);
        }
    }
}
