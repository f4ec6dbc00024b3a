//! `le` and `quantile` as Prometheus 3 stores them: `1` and `1.0` are one bucket, whatever the client library writes
//! (Prometheus: `model/textparse/interface.go`, `normalizeFloatsInLabelValues`).

use std::borrow::Cow;

use model::MetricType;

/// The value of a label of a line below a `# TYPE` of this type.
pub(super) fn normal_value<'a>(metric_type: MetricType, name: &str, value: &'a str) -> Cow<'a, str> {
    let is_number = matches!((metric_type, name), (MetricType::Histogram, "le") | (MetricType::Summary, "quantile"));
    match value.parse::<f64>() {
        Ok(number) if is_number => Cow::Owned(open_metrics_number(number)),
        _ => Cow::Borrowed(value),
    }
}

/// A number as OpenMetrics writes it: Go's shortest form, with a fraction or an exponent always.
fn open_metrics_number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    // Where Go's format `g` changes to an exponent.
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') { plain } else { plain + ".0" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_go() {
        for (text, want) in [
            ("0", "0.0"),
            ("1", "1.0"),
            ("-1", "-1.0"),
            ("0.5", "0.5"),
            ("0.10", "0.1"),
            ("1e3", "1000.0"),
            ("250000", "250000.0"),
            ("1000000", "1e+06"),
            ("1234567", "1.234567e+06"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1e100", "1e+100"),
            ("+Inf", "+Inf"),
            ("-inf", "-Inf"),
            ("nan", "NaN"),
        ] {
            assert_eq!(normal_value(MetricType::Histogram, "le", text), want, "{text}");
        }
        assert_eq!(normal_value(MetricType::Summary, "quantile", "1"), "1.0");
        for (kind, name, value) in [
            (MetricType::Summary, "le", "1"),
            (MetricType::Histogram, "quantile", "1"),
            (MetricType::Histogram, "le", "x"),
        ] {
            assert_eq!(normal_value(kind, name, value), value);
        }
    }
}
