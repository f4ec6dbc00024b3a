//! One metric of a report, checked: what is wrong with it refuses it alone.

use std::borrow::Cow;

use model::MetricType;

use super::decode::{Item, Metric};
use super::raw::{Kind, Raw};
use super::timestamp;
use crate::config::Config;
use crate::ingest::Rejection;

/// The metric types of a report.
const TYPES: [(&str, MetricType); 4] = [
    ("gauge", MetricType::Gauge),
    ("counter", MetricType::Counter),
    ("histogram", MetricType::Histogram),
    ("summary", MetricType::Summary),
];

/// What samples are checked against.
#[derive(Debug, Clone, Copy)]
pub struct SampleRules {
    /// The time of samples without one, in milliseconds since 1970.
    pub now_ms: i64,
    /// Zone of timestamps without one, in seconds east of UTC (`report.naive_timezone`).
    pub naive_offset_s: i32,
    /// `ingest.max_name_bytes`
    pub name_bytes_max: usize,
    /// `ingest.max_unit_bytes`
    pub unit_bytes_max: usize,
}

impl SampleRules {
    /// The rules of a configuration at a time.
    pub fn new(config: &Config, now_ms: i64) -> Self {
        SampleRules {
            now_ms,
            naive_offset_s: config.report_naive_timezone.offset_s,
            name_bytes_max: config.ingest_max_name_bytes,
            unit_bytes_max: config.ingest_max_unit_bytes,
        }
    }
}

/// A sample as a component reports it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportSample<'a> {
    /// The metric's name.
    pub name: Cow<'a, str>,
    /// Its type.
    pub metric_type: MetricType,
    /// The value.
    pub value: f64,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The labels as they stand in the body: an object, `null`, or nothing. Read only for a series not seen before.
    pub labels: Raw<'a>,
    /// Help text; empty if there is none.
    pub help: Cow<'a, str>,
    /// Unit; empty if there is none.
    pub unit: Cow<'a, str>,
}

/// Checks one entry of `metrics`.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check<'a>(item: &Item<'a>, rules: &SampleRules) -> Result<ReportSample<'a>, Rejection> {
    match item {
        Item::Metric(metric) => check_metric(metric, rules),
        Item::NotAnObject(kind) => Err(Rejection::Invalid(format!("a metric must be an object, not {kind}"))),
    }
}

fn check_metric<'a>(metric: &Metric<'a>, rules: &SampleRules) -> Result<ReportSample<'a>, Rejection> {
    let name = required(metric.name, "metric_name")?;
    if name.len() > rules.name_bytes_max {
        return Err(Rejection::name_too_long(&name, rules.name_bytes_max));
    }
    Ok(ReportSample {
        metric_type: metric_type(metric.metric_type)?,
        value: metric.value.number().map_err(|message| wrong("metric_value", &message))?,
        timestamp_ms: time(metric.timestamp, rules)?,
        labels: labels_of(metric.labels)?,
        help: optional(metric.help, "help_text")?,
        unit: unit(metric.unit, rules.unit_bytes_max)?,
        name,
    })
}

fn wrong(field: &str, message: &str) -> Rejection {
    Rejection::Invalid(format!("{field} {message}"))
}

fn optional<'a>(raw: Raw<'a>, field: &str) -> Result<Cow<'a, str>, Rejection> {
    raw.text().map(Option::unwrap_or_default).map_err(|message| wrong(field, &message))
}

fn required<'a>(raw: Raw<'a>, field: &str) -> Result<Cow<'a, str>, Rejection> {
    let text = match raw.kind() {
        Kind::Null => return Err(wrong(field, "must be a string, not null")),
        _ => raw.text().map_err(|message| wrong(field, &message))?,
    };
    match text {
        None => Err(wrong(field, "is missing")),
        Some(text) if text.is_empty() => Err(wrong(field, "is empty")),
        Some(text) => Ok(text),
    }
}

fn metric_type(raw: Raw<'_>) -> Result<MetricType, Rejection> {
    let text = required(raw, "metric_type")?;
    TYPES.iter().find(|(name, _)| *name == text).map(|(_, metric_type)| *metric_type).ok_or_else(|| {
        let text: String = text.chars().take(64).collect();
        wrong("metric_type", &format!("{text:?} is none of gauge, counter, histogram, summary"))
    })
}

fn time(raw: Raw<'_>, rules: &SampleRules) -> Result<i64, Rejection> {
    match raw.kind() {
        Kind::Absent | Kind::Null => return Ok(rules.now_ms),
        Kind::String => {}
        other => {
            let message = format!("must be a string such as \"2024-01-01T12:00:00Z\", not {other}");
            return Err(wrong("timestamp", &message));
        }
    }
    let text = optional(raw, "timestamp")?;
    timestamp::parse(&text, rules.naive_offset_s).map_err(|error| wrong("timestamp", &error.to_string()))
}

fn labels_of(raw: Raw<'_>) -> Result<Raw<'_>, Rejection> {
    match raw.kind() {
        Kind::Object => Ok(raw),
        Kind::Absent | Kind::Null => Ok(Raw::default()),
        other => Err(wrong("labels", &format!("must be an object, not {other}"))),
    }
}

fn unit(raw: Raw<'_>, bytes_max: usize) -> Result<Cow<'_, str>, Rejection> {
    let unit = optional(raw, "unit")?;
    if unit.len() > bytes_max {
        return Err(Rejection::UnitTooLong { bytes: unit.len(), limit: bytes_max });
    }
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::decode;

    const RULES: SampleRules = SampleRules { now_ms: 42, naive_offset_s: 0, name_bytes_max: 6, unit_bytes_max: 3 };

    fn checked(metric: &str) -> Result<String, String> {
        let body = format!("{{\"metrics\":[{metric}]}}");
        let report = decode(body.as_bytes(), 1).unwrap();
        check(&report.metrics[0], &RULES).map(|sample| format!("{sample:?}")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_may_be_left_out() {
        let body = br#"{"metrics":[{"metric_name":"m","metric_type":"gauge","metric_value":1}]}"#;
        let report = decode(body, 1).unwrap();
        let expected = ReportSample {
            name: "m".into(),
            metric_type: MetricType::Gauge,
            value: 1.0,
            timestamp_ms: 42,
            labels: Raw::default(),
            help: "".into(),
            unit: "".into(),
        };
        assert_eq!(check(&report.metrics[0], &RULES), Ok(expected));
    }

    #[test]
    fn limits_hold_at_n_and_n_plus_1() {
        let with = |name: &str, unit: &str| {
            checked(&format!(r#"{{"metric_name":"{name}","metric_type":"gauge","metric_value":1,"unit":"{unit}"}}"#))
        };
        assert!(with("123456", "123").is_ok());
        assert!(with("1234567", "1").unwrap_err().contains("ingest.max_name_bytes = 6"));
        assert!(with("1", "1234").unwrap_err().contains("ingest.max_unit_bytes = 3"));
    }

    #[test]
    fn each_field_is_refused_by_name() {
        let base = [("metric_name", "\"m\""), ("metric_type", "\"gauge\""), ("metric_value", "1")];
        for (field, value, says) in [
            ("metric_name", "null", "metric_name must be a string, not null"),
            ("metric_name", "1", "metric_name must be a string, not a number"),
            ("metric_name", "\"\"", "metric_name is empty"),
            ("metric_type", "\"Gauge\"", "metric_type \"Gauge\" is none of gauge, counter, histogram, summary"),
            ("metric_type", "[]", "metric_type must be a string, not a list"),
            ("metric_value", "\"1\"", "metric_value must be a number; only NaN"),
            ("metric_value", "null", "metric_value must be a number, not null"),
            ("metric_value", "1e400", "metric_value is out of the range of a double"),
            ("timestamp", "1704110400", "timestamp must be a string such as \"2024-01-01T12:00:00Z\", not a number"),
            ("timestamp", "\"soon\"", "timestamp \"soon\" is not a timestamp"),
            ("labels", "[]", "labels must be an object, not a list"),
            ("labels", "\"a\"", "labels must be an object, not a string"),
            ("help_text", "{}", "help_text must be a string, not an object"),
            ("unit", "true", "unit must be a string, not a boolean"),
        ] {
            let others = base.into_iter().filter(|(name, _)| *name != field);
            let fields: Vec<String> =
                others.chain([(field, value)]).map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let error = checked(&format!("{{{}}}", fields.join(","))).unwrap_err();
            assert!(error.starts_with(says), "{error}");
        }
        assert_eq!(checked("{}").unwrap_err(), "metric_name is missing");
        assert_eq!(checked("[1]").unwrap_err(), "a metric must be an object, not a list");
    }
}
