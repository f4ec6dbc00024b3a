//! Writes families as text 0.0.4 (1.0.0 with quoted names) or OpenMetrics 1.0.

use std::fmt::Write as _;

use model::{METRIC_NAME, MetricType};

use super::scan::{is_plain_label_name, is_plain_metric_name};
use super::{Escaping, Family, FamilySample, Format, Negotiated};

/// Writes the families, in their order.
pub fn encode(families: &[Family], negotiated: Negotiated) -> String {
    let mut out = String::new();
    for family in families {
        write_family(&mut out, family, negotiated);
    }
    if negotiated.format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

/// A value as both formats have it.
pub fn format_value(value: f64) -> String {
    let mut out = String::new();
    write_value(&mut out, value);
    out
}

fn write_family(out: &mut String, family: &Family, negotiated: Negotiated) {
    let (name, metric_type) = head_of(family, negotiated.format);
    let mut quoted = String::new();
    write_metric_name(&mut quoted, name, negotiated.escaping);
    let metadata = &family.metadata;
    if !metadata.help.is_empty() {
        let _ = writeln!(out, "# HELP {quoted} {}", escape(&metadata.help, negotiated.format == Format::OpenMetrics));
    }
    let _ = writeln!(out, "# TYPE {quoted} {metric_type}");
    // OpenMetrics wants the unit as the end of the name.
    let unit = &metadata.unit;
    if negotiated.format == Format::OpenMetrics && !unit.is_empty() && name.ends_with(&format!("_{unit}")) {
        let _ = writeln!(out, "# UNIT {quoted} {unit}");
    }
    for sample in &family.samples {
        write_sample(out, sample, negotiated);
    }
}

/// Name and type as the format's head lines have them.
fn head_of(family: &Family, format: Format) -> (&str, &'static str) {
    let metric_type = family.metadata.metric_type;
    match (format, metric_type) {
        (Format::Text, MetricType::Counter | MetricType::Gauge | MetricType::Histogram | MetricType::Summary) => {
            (&family.name, metric_type.as_str())
        }
        (Format::Text, MetricType::Info | MetricType::StateSet) => (&family.name, "gauge"),
        (Format::Text, _) => (&family.name, "untyped"),
        // A counter's lines end in _total there, and the head has the name without it.
        (Format::OpenMetrics, MetricType::Counter) => match family.name.strip_suffix("_total") {
            Some(base) => (base, "counter"),
            None => (&family.name, "unknown"),
        },
        (Format::OpenMetrics, MetricType::Info) => match family.name.strip_suffix("_info") {
            Some(base) => (base, "info"),
            None => (&family.name, "unknown"),
        },
        (Format::OpenMetrics, _) => (&family.name, metric_type.as_str()),
    }
}

fn write_sample(out: &mut String, sample: &FamilySample, negotiated: Negotiated) {
    write_line(out, sample.labels.iter(), sample.value, sample.timestamp_ms, negotiated);
}

/// Writes one sample's line; the metric's name is the label `__name__`. A label may be empty here: `instance=""` tells
/// the reader not to add its own.
pub fn write_line<'a>(
    out: &mut String,
    labels: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    value: f64,
    timestamp_ms: Option<i64>,
    negotiated: Negotiated,
) {
    let name = labels.clone().find(|(n, _)| *n == METRIC_NAME).map_or("", |(_, name)| name);
    let in_braces = negotiated.escaping == Escaping::AllowUtf8 && !is_plain_metric_name(name);
    let mut labels = labels.filter(|(n, _)| *n != METRIC_NAME).peekable();
    if !in_braces {
        write_metric_name(out, name, negotiated.escaping);
    }
    if in_braces || labels.peek().is_some() {
        out.push('{');
        let mut separator = "";
        if in_braces {
            write_metric_name(out, name, negotiated.escaping);
            separator = ",";
        }
        for (label, value) in labels {
            out.push_str(separator);
            separator = ",";
            write_label_name(out, label, negotiated.escaping);
            let _ = write!(out, "=\"{}\"", escape(value, true));
        }
        out.push('}');
    }
    out.push(' ');
    write_value(out, value);
    if let Some(timestamp_ms) = timestamp_ms {
        write_timestamp(out, timestamp_ms, negotiated.format);
    }
    out.push('\n');
}

fn write_timestamp(out: &mut String, timestamp_ms: i64, format: Format) {
    let _ = match format {
        Format::Text => write!(out, " {timestamp_ms}"),
        Format::OpenMetrics => {
            let sign = if timestamp_ms < 0 { "-" } else { "" };
            let ms = timestamp_ms.unsigned_abs();
            write!(out, " {sign}{}.{:03}", ms / 1000, ms % 1000)
        }
    };
}

fn write_metric_name(out: &mut String, name: &str, escaping: Escaping) {
    let name = escaping.apply(name);
    if is_plain_metric_name(&name) {
        out.push_str(&name);
    } else {
        let _ = write!(out, "\"{}\"", escape(&name, true));
    }
}

fn write_label_name(out: &mut String, name: &str, escaping: Escaping) {
    let name = escaping.apply_to_label(name);
    if is_plain_label_name(&name) {
        out.push_str(&name);
    } else {
        let _ = write!(out, "\"{}\"", escape(&name, true));
    }
}

fn escape(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out
}

fn write_value(out: &mut String, value: f64) {
    let size = value.abs();
    let _ = match value {
        _ if value.is_nan() => out.write_str("NaN"),
        f64::INFINITY => out.write_str("+Inf"),
        f64::NEG_INFINITY => out.write_str("-Inf"),
        _ if size != 0.0 && !(1e-7..1e21).contains(&size) => write!(out, "{value:e}"),
        _ => write!(out, "{value}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Entry, Parser, negotiate, parse_labels};
    use model::{Labels, Metadata};
    use proptest::prelude::*;

    type Line<'a> = (&'a [(&'a str, &'a str)], f64, Option<i64>);

    fn family(name: &str, metric_type: MetricType, samples: &[Line<'_>]) -> Family {
        Family {
            name: name.to_owned(),
            metadata: Metadata { metric_type, help: "H \\ \"q\"\nl".to_owned(), unit: "seconds".to_owned() },
            samples: samples
                .iter()
                .map(|(labels, value, timestamp_ms)| FamilySample {
                    labels: Labels::from_pairs(labels.iter().copied()).unwrap(),
                    value: *value,
                    timestamp_ms: *timestamp_ms,
                })
                .collect(),
        }
    }

    fn asked(accept: &str) -> Negotiated {
        let headers = ::http::HeaderMap::from_iter([(::http::header::ACCEPT, accept.parse().unwrap())]);
        negotiate(&headers, true)
    }

    #[test]
    fn each_format() {
        let families = [
            family(
                "a_seconds_total",
                MetricType::Counter,
                &[(&[("__name__", "a_seconds_total"), ("l", "x\"\n\\")], 1.5, Some(1234))],
            ),
            family(
                "b.c",
                MetricType::Gauge,
                &[
                    (&[("__name__", "b.c")], f64::NEG_INFINITY, None),
                    (&[("__name__", "b.c"), ("d:e", "1")], 1e21, None),
                ],
            ),
        ];
        assert_eq!(
            encode(&families, Negotiated::TEXT),
            "# HELP a_seconds_total H \\\\ \"q\"\\nl\n# TYPE a_seconds_total counter\n\
             a_seconds_total{l=\"x\\\"\\n\\\\\"} 1.5 1234\n\
             # HELP b_c H \\\\ \"q\"\\nl\n# TYPE b_c gauge\nb_c -Inf\nb_c{d_e=\"1\"} 1e21\n"
        );
        assert_eq!(
            encode(&families, asked("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8")),
            "# HELP a_seconds H \\\\ \\\"q\\\"\\nl\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
             a_seconds_total{l=\"x\\\"\\n\\\\\"} 1.5 1.234\n\
             # HELP \"b.c\" H \\\\ \\\"q\\\"\\nl\n# TYPE \"b.c\" gauge\n{\"b.c\"} -Inf\n{\"b.c\",\"d:e\"=\"1\"} 1e21\n# EOF\n"
        );
    }

    #[test]
    fn values() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e20, "100000000000000000000"),
            (1e-8, "1e-8"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(format_value(value), text);
        }
    }

    proptest! {
        /// What is written is read back, in both formats, whatever the names.
        #[test]
        fn written_and_read_back(
            name in "[a-z.é\"\\\\ ]{1,6}",
            label in "[a-z.é\"\\\\ ]{1,6}",
            text in "[a-z}{\",\\\\\\n é]{1,8}",
            value in any::<f64>().prop_filter("NaN is written as one", |v| !v.is_nan()),
            timestamp_ms in prop::option::of(-1_000_000_000_000_i64..4_000_000_000_000),
        ) {
            let family = family(&name, MetricType::Gauge, &[(&[("__name__", &name), (&label, &text)], value, timestamp_ms)]);
            for accept in ["text/plain;version=1.0.0;escaping=allow-utf-8", "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8"] {
                let negotiated = asked(accept);
                let written = encode(std::slice::from_ref(&family), negotiated);
                let entries: Result<Vec<_>, _> = Parser::new(&written, negotiated.format).collect();
                let entries = entries.unwrap();
                let Some(Entry::Series(line)) = entries.last() else { panic!("{written}") };
                prop_assert_eq!(line.value.to_bits(), value.to_bits());
                // Seconds with a fraction pass through a float and may lose a millisecond.
                prop_assert!(line.timestamp_ms.zip(timestamp_ms).is_none_or(|(a, b)| (a - b).abs() <= 1));
                prop_assert_eq!(line.timestamp_ms.is_some(), timestamp_ms.is_some());
                let pairs = parse_labels(line.raw).unwrap();
                let labels = Labels::from_pairs(pairs.iter().map(|(n, v)| (&**n, &**v))).unwrap();
                prop_assert_eq!(&labels, &family.samples[0].labels);
            }
        }
    }
}
