//! Pulls entries out of a scrape, line by line, without allocating for samples.

use std::borrow::Cow;

use model::MetricType;

use super::Format;
use super::labels::{LabelPairs, in_braces};
use super::scan::{Scan, unescape};

/// The NaN that a NaN in a text becomes (Prometheus: `model/value/value.go`, `NormalNaN`): never the staleness marker.
const NORMAL_NAN_BITS: u64 = 0x7FF8_0000_0000_0001;

/// A text that is not of its format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// One line that says something.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry<'a> {
    /// `# HELP`
    Help {
        /// The family.
        family: Cow<'a, str>,
        /// For people.
        help: Cow<'a, str>,
    },
    /// `# TYPE`
    Type {
        /// The family.
        family: Cow<'a, str>,
        /// Its type.
        metric_type: MetricType,
    },
    /// `# UNIT`
    Unit {
        /// The family.
        family: Cow<'a, str>,
        /// Its unit.
        unit: &'a str,
    },
    /// A sample.
    Series(SeriesLine<'a>),
}

/// A sample's line.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesLine<'a> {
    /// Name and labels as they stand in the line: equal texts are equal series. Not checked yet, see
    /// [`super::parse_labels`].
    pub raw: &'a str,
    /// The value.
    pub value: f64,
    /// The time, where the line has one.
    pub timestamp_ms: Option<i64>,
    /// The exemplar, where the line has one (OpenMetrics only).
    pub exemplar: Option<ExemplarLine<'a>>,
    /// The line's number, from 1.
    pub line: usize,
}

/// An exemplar behind a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct ExemplarLine<'a> {
    /// Its labels.
    pub labels: LabelPairs<'a>,
    /// Its value.
    pub value: f64,
    /// Its time, where it has one.
    pub timestamp_ms: Option<i64>,
}

/// Iterates over the entries of a scrape. The first error is the last item.
#[derive(Debug, Clone)]
pub struct Parser<'a> {
    rest: &'a str,
    format: Format,
    line: usize,
    ended: bool,
}

impl<'a> Parser<'a> {
    /// Begins with the first line.
    pub fn new(text: &'a str, format: Format) -> Self {
        Parser { rest: text, format, line: 0, ended: false }
    }

    /// The next line without its end; none behind the last.
    fn next_line(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        self.line += 1;
        let end = memchr::memchr(b'\n', self.rest.as_bytes()).unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(end);
        let rest = rest.get(1..).unwrap_or_default();
        self.rest = rest;
        Some(line.strip_suffix('\r').unwrap_or(line))
    }

    fn error(&mut self, message: impl Into<String>) -> ParseError {
        self.ended = true;
        ParseError { line: self.line.max(1), message: message.into() }
    }

    /// A line's entry; none for one that says nothing.
    fn entry(&mut self, line: &'a str) -> Result<Option<Entry<'a>>, String> {
        let is_open_metrics = self.format == Format::OpenMetrics;
        let mut scan = Scan::new(line);
        if !is_open_metrics {
            scan.blanks();
        }
        if scan.is_at_end() {
            return if is_open_metrics { Err("a blank line".to_owned()) } else { Ok(None) };
        }
        if scan.eat("#") {
            return comment(&mut scan, self.format);
        }
        let series = sample(&mut scan, self.format, self.line)?;
        Ok(Some(Entry::Series(series)))
    }
}

impl<'a> Iterator for Parser<'a> {
    type Item = Result<Entry<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        loop {
            let Some(line) = self.next_line() else {
                self.ended = true;
                return match self.format {
                    Format::Text => None,
                    Format::OpenMetrics => Some(Err(self.error("the text does not end with # EOF"))),
                };
            };
            if self.format == Format::OpenMetrics && line == "# EOF" {
                self.ended = true;
                return (!self.rest.is_empty()).then(|| Err(self.error("something stands behind # EOF")));
            }
            match self.entry(line) {
                Ok(Some(entry)) => return Some(Ok(entry)),
                Ok(None) => {}
                Err(message) => return Some(Err(self.error(message))),
            }
        }
    }
}

/// What stands behind a `#`: `HELP`, `TYPE`, `UNIT`, or in the text format anything.
fn comment<'a>(scan: &mut Scan<'a>, format: Format) -> Result<Option<Entry<'a>>, String> {
    scan.blanks();
    let keyword = scan.token();
    let is_known = matches!((keyword, format), ("HELP" | "TYPE", _) | ("UNIT", Format::OpenMetrics));
    if !is_known {
        return match format {
            Format::Text => Ok(None),
            Format::OpenMetrics => Err(format!("a comment that is none of HELP, TYPE, UNIT, EOF: {keyword:?}")),
        };
    }
    scan.blanks();
    let family = match scan.rest().starts_with('"') {
        true => scan.quoted().ok_or("a quoted name does not end")?,
        false => Cow::Borrowed(scan.token()),
    };
    if family.is_empty() {
        return Err(format!("{keyword} without a name"));
    }
    scan.blanks();
    let rest = scan.rest();
    Ok(Some(match keyword {
        "HELP" => Entry::Help { family, help: unescape(rest, format == Format::OpenMetrics) },
        "UNIT" => Entry::Unit { family, unit: rest },
        _ => {
            let kind = rest.trim_end_matches([' ', '\t']);
            let metric_type = kind.parse().map_err(|()| format!("{kind:?} is not a metric type"))?;
            Entry::Type { family, metric_type }
        }
    }))
}

fn sample<'a>(scan: &mut Scan<'a>, format: Format, line: usize) -> Result<SeriesLine<'a>, String> {
    let raw = match series_text_from_the_end(scan, format) {
        Some(raw) => raw,
        None => series_text(scan)?,
    };
    scan.blanks();
    let value = number(scan.token())?;
    scan.blanks();
    let mut timestamp_ms = None;
    if !scan.is_at_end() && !scan.rest().starts_with('#') {
        timestamp_ms = Some(timestamp(scan.token(), format)?);
        scan.blanks();
    }
    let mut exemplar = None;
    if format == Format::OpenMetrics && scan.eat("#") {
        exemplar = Some(read_exemplar(scan)?);
    }
    if !scan.is_at_end() {
        return Err(format!("{:?} stands behind the sample", scan.rest().chars().take(20).collect::<String>()));
    }
    Ok(SeriesLine { raw, value, timestamp_ms, exemplar, line })
}

/// Takes name and labels as they stand, where that is quick: nothing behind them has braces in the text format, so the
/// last brace of the line closes them. In a line that is wrong it takes too much, which reading the value or the labels
/// finds.
fn series_text_from_the_end<'a>(scan: &mut Scan<'a>, format: Format) -> Option<&'a str> {
    if format != Format::Text {
        return None;
    }
    let last = scan.rest().bytes().rposition(|b| b == b'}')?;
    scan.take(last + 1)
}

/// Takes name and labels as they stand: up to the brace that closes them, or the first blank if there is none.
fn series_text<'a>(scan: &mut Scan<'a>) -> Result<&'a str, String> {
    let start = scan.rest();
    scan.until(|b| matches!(b, b'{' | b' ' | b'\t'));
    let after_name = scan.clone();
    scan.blanks();
    if !scan.eat("{") {
        *scan = after_name;
    } else {
        loop {
            scan.until(|b| matches!(b, b'"' | b'}'));
            if scan.eat("}") {
                break;
            }
            if scan.is_at_end() || scan.quoted_raw().is_none() {
                return Err("the labels do not end".to_owned());
            }
        }
    }
    let length = start.len() - scan.rest().len();
    start.get(..length).filter(|raw| !raw.is_empty()).ok_or_else(|| "a line without a name".to_owned())
}

fn number(token: &str) -> Result<f64, String> {
    match token.parse::<f64>() {
        Ok(value) if value.is_nan() => Ok(f64::from_bits(NORMAL_NAN_BITS)),
        Ok(value) => Ok(value),
        Err(_) if token.is_empty() => Err("a value is missing".to_owned()),
        Err(_) => Err(format!("{token:?} is not a number")),
    }
}

/// Milliseconds in the text format, seconds with a fraction in OpenMetrics.
fn timestamp(token: &str, format: Format) -> Result<i64, String> {
    let wrong = || format!("{token:?} is not a timestamp");
    match format {
        Format::Text => token.parse().map_err(|_| wrong()),
        Format::OpenMetrics => {
            let ms = token.parse::<f64>().map_err(|_| wrong())? * 1000.0;
            // A time of 2^63 ms lies beyond every limit anyway.
            if ms.is_finite() && ms.abs() < 9.2e18 { Ok(ms as i64) } else { Err(wrong()) }
        }
    }
}

fn read_exemplar<'a>(scan: &mut Scan<'a>) -> Result<ExemplarLine<'a>, String> {
    scan.blanks();
    if !scan.eat("{") {
        return Err("an exemplar without labels".to_owned());
    }
    let mut labels = Vec::new();
    in_braces(scan, &mut labels)?;
    scan.blanks();
    let value = number(scan.token())?;
    scan.blanks();
    let timestamp_ms = match scan.is_at_end() {
        true => None,
        false => Some(timestamp(scan.token(), Format::OpenMetrics)?),
    };
    Ok(ExemplarLine { labels, value, timestamp_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn series<'a>(raw: &'a str, value: f64, timestamp_ms: Option<i64>, line: usize) -> Entry<'a> {
        Entry::Series(SeriesLine { raw, value, timestamp_ms, exemplar: None, line })
    }

    fn all(text: &str, format: Format) -> Result<Vec<Entry<'_>>, ParseError> {
        Parser::new(text, format).collect()
    }

    #[test]
    fn the_text_format() {
        let text = "# HELP a_total Rows \\\\ and\\nlines \"q\"\n# TYPE a_total counter\n\n  # a comment\n\
                    a_total{l=\"}\\\"\",} 1e3 -5\r\n\tb  +Inf\nc{x=\"1\"}NaN\n{\"d.e\"} 2";
        let list = all(text, Format::Text).unwrap();
        assert_eq!(list[0], Entry::Help { family: "a_total".into(), help: "Rows \\ and\nlines \"q\"".into() });
        assert_eq!(list[1], Entry::Type { family: "a_total".into(), metric_type: MetricType::Counter });
        assert_eq!(list[2], series("a_total{l=\"}\\\"\",}", 1000.0, Some(-5), 5));
        assert_eq!(list[3], series("b", f64::INFINITY, None, 6));
        assert_eq!(list[5], series("{\"d.e\"}", 2.0, None, 8));
        let Entry::Series(nan) = &list[4] else { panic!("{:?}", list[4]) };
        assert_eq!((nan.raw, nan.value.to_bits()), ("c{x=\"1\"}", NORMAL_NAN_BITS));
        assert_eq!(all("", Format::Text), Ok(vec![]));
    }

    #[test]
    fn openmetrics() {
        let text = "# TYPE a counter\n# UNIT a seconds\n# HELP a Say \\\"hi\\\"\n\
                    a_total 5 1520879607.789 # {trace_id=\"KOO5S4vxi0o\"} 0.67 1520879607.7\na_created 3\n# EOF\n";
        let list = all(text, Format::OpenMetrics).unwrap();
        assert_eq!(list[1], Entry::Unit { family: "a".into(), unit: "seconds" });
        assert_eq!(list[2], Entry::Help { family: "a".into(), help: "Say \"hi\"".into() });
        let Entry::Series(line) = &list[3] else { panic!("{:?}", list[3]) };
        assert_eq!((line.value, line.timestamp_ms), (5.0, Some(1_520_879_607_789)));
        let exemplar = line.exemplar.as_ref().unwrap();
        assert_eq!((exemplar.value, exemplar.timestamp_ms), (0.67, Some(1_520_879_607_700)));
        assert_eq!(exemplar.labels, [("trace_id".into(), "KOO5S4vxi0o".into())]);
    }

    #[test]
    fn errors_say_the_line() {
        for (text, format, line, message) in [
            ("a 1\nb\n", Format::Text, 2, "a value is missing"),
            ("a x", Format::Text, 1, "\"x\" is not a number"),
            ("a 1 2 3", Format::Text, 1, "\"3\" stands behind"),
            ("a 1 2.5", Format::Text, 1, "not a timestamp"),
            ("a{b=\"1\n", Format::Text, 1, "labels do not end"),
            ("a{b", Format::Text, 1, "labels do not end"),
            ("# TYPE a thing", Format::Text, 1, "not a metric type"),
            ("# HELP", Format::Text, 1, "HELP without a name"),
            ("# TYPE \"a", Format::Text, 1, "does not end"),
            (" ", Format::OpenMetrics, 1, "a line without a name"),
            ("a 1\n", Format::OpenMetrics, 1, "does not end with # EOF"),
            ("a 1\n\n# EOF", Format::OpenMetrics, 2, "a blank line"),
            ("# EOF\na 1\n", Format::OpenMetrics, 1, "behind # EOF"),
            ("# hello\n# EOF", Format::OpenMetrics, 1, "none of HELP"),
            ("a 1 # x\n# EOF", Format::OpenMetrics, 1, "exemplar without labels"),
            ("a 1 1e300\n# EOF", Format::OpenMetrics, 1, "not a timestamp"),
        ] {
            let error = all(text, format).unwrap_err();
            assert!(error.line == line && error.message.contains(message), "{text:?}: {error}");
        }
    }

    /// Name and labels of the only line; none if the line or its labels are wrong.
    fn only_raw(text: &str, format: Format) -> Option<String> {
        match all(text, format).ok()?.pop()? {
            Entry::Series(line) => crate::exposition::parse_labels(line.raw).ok().map(|_| line.raw.to_owned()),
            _ => None,
        }
    }

    proptest! {
        /// The formats find the end of the labels from different ends of the line.
        #[test]
        fn labels_end_where_they_end_from_both_sides(
            labels in "(\\{(a=\"[ab{}=, \\\\\"]{0,4}\",?){0,2}\\}?)?", more in "[ {}\"1]{0,3}",
        ) {
            let line = format!("a{labels}{more} 1");
            let text = only_raw(&line, Format::Text);
            prop_assert_eq!(text, only_raw(&format!("{line}\n# EOF"), Format::OpenMetrics), "{}", line);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[ab#{}=\",\\\\ \\n0-9.\\-#EOFHLPTYé]{0,60}") {
            for format in [Format::Text, Format::OpenMetrics] {
                for entry in Parser::new(&text, format) {
                    if let Ok(Entry::Series(line)) = entry {
                        let _ = crate::exposition::parse_labels(line.raw);
                    }
                }
            }
        }
    }
}
