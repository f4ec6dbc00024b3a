//! Runs test scripts in the language of Prometheus's `promqltest`: `load`, `clear`, `eval instant`, `eval range` and
//! `expect`, with native histograms as `{{schema:0 sum:5 count:4 buckets:[1 2 1]}}`.

use std::collections::BTreeMap;

use model::{Budget, Labels, SampleColumns, Scope, Steps, stale_nan};
use query::ast::Node;
use query::{Annotations, Answer, EngineOptions, QueryError, SampleValue, Value, run_instant, run_range};
use regex::Regex;

use crate::histogram_text;
use crate::memory::{Memory, Stored};

/// What became of one `eval`.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) line: usize,
    pub(crate) query: String,
    /// None if all expectations hold.
    pub(crate) failure: Option<String>,
}

#[derive(Debug, Clone)]
enum When {
    Instant(i64),
    Range(Steps),
}

#[derive(Debug, Default)]
struct Expected {
    ordered: bool,
    fail: Option<Text>,
    /// Kind (`warn`, `info`, `no_warn`, `no_info`) and wording.
    notes: Vec<(String, Text)>,
    string: Option<String>,
    scalar: Option<f64>,
    /// Start and step where the result is raw samples.
    raw: Option<(i64, i64)>,
    series: Vec<(Labels, Vec<Option<Stored>>)>,
}

#[derive(Debug, Clone)]
enum Text {
    Any,
    Exactly(String),
    Pattern(String),
}

impl Text {
    fn fits(&self, text: &str) -> bool {
        match self {
            Text::Any => true,
            Text::Exactly(want) => text == want,
            Text::Pattern(pattern) => Regex::new(pattern).unwrap().is_match(text),
        }
    }
}

/// Runs a script; panics if it cannot be read.
pub(crate) fn run(text: &str, options: &EngineOptions) -> Vec<Outcome> {
    let lines: Vec<&str> = text.lines().map(|l| if l.trim().starts_with('#') { "" } else { l.trim() }).collect();
    let mut memory = Memory::default();
    let mut outcomes = Vec::new();
    let mut i = 0;
    while i < lines.len() {
        let (line, command) = (i + 1, lines[i]);
        i += 1;
        let start = i;
        if !command.is_empty() {
            while i < lines.len() && !lines[i].is_empty() {
                i += 1;
            }
        }
        let block = &lines[start..i];
        match command.split_whitespace().next() {
            None => {}
            Some("clear") => memory = Memory::default(),
            Some("load" | "load_with_nhcb") => load(&mut memory, command, block),
            Some(word) if word.starts_with("eval") => {
                let (when, query, expected) = evaluation(command, block);
                let failure = check(&memory, &when, &query, &expected, options);
                outcomes.push(Outcome { line, query, failure });
            }
            Some(_) => panic!("line {line}: unknown command {command:?}"),
        }
    }
    outcomes
}

fn duration(text: &str) -> i64 {
    let text = text.trim();
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    if text == "0" {
        return 0;
    }
    let parts = Regex::new("([0-9]+)(ms|y|w|d|h|m|s)").unwrap();
    let unit = |name: &str| match name {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        _ => 365 * 86_400_000,
    };
    assert!(parts.is_match(text), "no duration: {text:?}");
    let total: i64 = parts.captures_iter(text).map(|c| c[1].parse::<i64>().unwrap() * unit(&c[2])).sum();
    sign * total
}

/// Splits a line into the labels in front and the rest.
fn metric(line: &str) -> (Labels, &str) {
    let name_end = line.find(|c: char| c == '{' || c.is_whitespace()).unwrap_or(line.len());
    let mut end = name_end;
    if line[name_end..].starts_with('{') {
        let (mut quote, mut escaped) = (None, false);
        for (at, c) in line[name_end..].char_indices() {
            match quote {
                Some(_) if escaped => escaped = false,
                Some('"' | '\'') if c == '\\' => escaped = true,
                Some(open) if c == open => quote = None,
                Some(_) => {}
                None if matches!(c, '"' | '\'' | '`') => quote = Some(c),
                None if c == '}' => {
                    end = name_end + at + 1;
                    break;
                }
                None => {}
            }
        }
    }
    let (text, rest) = line.split_at(end);
    if text == "{}" {
        return (Labels::empty(), rest);
    }
    let expr = query::parse(text, &EngineOptions::default()).unwrap_or_else(|e| panic!("{text:?}: {e}"));
    let Node::VectorSelector(selector) = expr.node else { panic!("no series: {text:?}") };
    let pairs = selector.matchers.iter().map(|m| (m.name(), m.value()));
    (Labels::from_pairs(pairs).unwrap(), rest)
}

/// Reads `1 2+3x4 _ stale NaN {{sum:1}}x2`.
fn values(text: &str) -> Vec<Option<Stored>> {
    const NUMBER: &str = r"(?:[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|(?i:inf|nan))";
    let item = Regex::new(&format!(r"^(stale|[+-]?{NUMBER})([+-]{NUMBER})?(?:x([0-9]+))?$")).unwrap();
    let blank = Regex::new(r"^_(?:x([0-9]+))?$").unwrap();
    let mut rest = text.trim();
    let mut out = Vec::new();
    while !rest.is_empty() {
        if rest.starts_with("{{") {
            let (histograms, after) = histogram_text::sequence(rest);
            out.extend(histograms.into_iter().map(|histogram| Some(Stored::Histogram(histogram))));
            rest = after.trim_start();
            continue;
        }
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = after.trim_start();
        if let Some(found) = blank.captures(word) {
            let count = found.get(1).map_or(1, |n| n.as_str().parse().unwrap());
            out.extend(std::iter::repeat_n(None, count));
            continue;
        }
        let found = item.captures(word).unwrap_or_else(|| panic!("no value: {word:?}"));
        let times = found.get(3).map_or(0, |n| n.as_str().parse::<usize>().unwrap());
        let step: f64 = found.get(2).map_or(0.0, |n| n.as_str().parse().unwrap());
        let first = if &found[1] == "stale" { stale_nan() } else { found[1].parse().unwrap() };
        let mut value = first;
        for n in 0..=times {
            if n > 0 && step != 0.0 {
                value += step;
            }
            out.push(Some(Stored::Float(value)));
        }
    }
    out
}

fn load(memory: &mut Memory, command: &str, block: &[&str]) {
    let gap = duration(command.split_whitespace().nth(1).unwrap());
    for line in block {
        let (labels, rest) = metric(line);
        for (i, sample) in values(rest).into_iter().enumerate() {
            if let Some(sample) = sample {
                memory.add(&labels, gap * i as i64, sample);
            }
        }
    }
}

fn evaluation(command: &str, block: &[&str]) -> (When, String, Expected) {
    let instant = Regex::new(r"^eval(?:_(fail|warn|ordered|info))?\s+instant\s+at\s+(\S+)\s+(.+)$").unwrap();
    let range =
        Regex::new(r"^eval(?:_(fail|warn|info))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)$").unwrap();
    let mut expected = Expected::default();
    let (kind, when, query) = if let Some(found) = instant.captures(command) {
        (found.get(1).map(|m| m.as_str().to_owned()), When::Instant(duration(&found[2])), found[3].to_owned())
    } else {
        let found = range.captures(command).unwrap_or_else(|| panic!("no evaluation: {command:?}"));
        let steps = Steps { start_ms: duration(&found[2]), end_ms: duration(&found[3]), step_ms: duration(&found[4]) };
        (found.get(1).map(|m| m.as_str().to_owned()), When::Range(steps), found[5].to_owned())
    };
    match kind.as_deref() {
        Some("fail") => expected.fail = Some(Text::Any),
        Some("ordered") => expected.ordered = true,
        Some(note) => expected.notes.push((note.to_owned(), Text::Any)),
        None => {}
    }
    for line in block {
        expectation(line, &mut expected);
    }
    (when, query, expected)
}

fn expectation(line: &str, expected: &mut Expected) {
    let raw = Regex::new(r"^expect range vector\s+from\s+(\S+)\s+to\s+\S+\s+step\s+(\S+)$").unwrap();
    let note = Regex::new(r"^expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(regex|msg):(.+))?$").unwrap();
    if let Some(text) = line.strip_prefix("expect string ") {
        let expr = query::parse(text, &EngineOptions::default()).unwrap();
        let Node::String(text) = expr.node else { panic!("no text: {text}") };
        expected.string = Some(text);
    } else if let Some(found) = raw.captures(line) {
        expected.raw = Some((duration(&found[1]), duration(&found[2])));
    } else if let Some(found) = note.captures(line) {
        let text = match found.get(2).map(|m| m.as_str()) {
            Some("msg") => Text::Exactly(found[3].trim().to_owned()),
            Some(_) => Text::Pattern(found[3].trim().to_owned()),
            None => Text::Any,
        };
        match &found[1] {
            "ordered" => expected.ordered = true,
            "fail" => expected.fail = Some(text),
            kind => expected.notes.push((kind.to_owned(), text)),
        }
    } else if let Ok(number) = line.parse::<f64>() {
        expected.scalar = Some(number);
    } else {
        let (labels, rest) = metric(line);
        expected.series.push((labels, values(rest)));
    }
}

fn check(memory: &Memory, when: &When, query: &str, expected: &Expected, options: &EngineOptions) -> Option<String> {
    let result = match when {
        When::Instant(time) => instant(memory, query, *time, options),
        When::Range(steps) => run_range(memory, &Scope::default(), query, *steps, options, &Budget::unlimited()),
    };
    let answer = match (result, &expected.fail) {
        (Err(error), Some(text)) if text.fits(&error.message) => return None,
        (Err(error), _) => return Some(format!("failed: {}", error.message)),
        (Ok(_), Some(_)) => return Some("should have failed".into()),
        (Ok(answer), None) => answer,
    };
    let notes = check_notes(&answer.annotations, expected);
    let values = match when {
        When::Instant(time) => check_instant(&answer.value, *time, expected)
            .or_else(|| check_as_range(memory, query, *time, &answer.value, options)),
        When::Range(steps) => check_matrix(&answer.value, steps.start_ms, steps.step_ms, expected),
    };
    notes.or(values)
}

fn instant(memory: &Memory, query: &str, time: i64, options: &EngineOptions) -> Result<Answer, QueryError> {
    run_instant(memory, &Scope::default(), query, time, options, &Budget::unlimited())
}

fn check_notes(notes: &Annotations, expected: &Expected) -> Option<String> {
    for (kind, text) in &expected.notes {
        let found = if kind.ends_with("warn") { &notes.warnings } else { &notes.infos };
        let holds = match kind.strip_prefix("no_") {
            Some(_) => found.is_empty(),
            None => found.iter().any(|note| text.fits(note)),
        };
        if !holds {
            return Some(format!("expected {kind} {text:?}, found {found:?}"));
        }
    }
    None
}

/// Equal, or within a millionth, as in `promqltest`.
fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() / (a.abs() + b.abs()) < 1e-6
}

fn same(found: &Stored, want: &Stored) -> bool {
    match (found, want) {
        (Stored::Float(found), Stored::Float(want)) => close(*found, *want),
        (Stored::Histogram(found), Stored::Histogram(want)) => histogram_text::same(found, want, close),
        _ => false,
    }
}

fn stored(value: &SampleValue) -> Stored {
    match value {
        SampleValue::Float(value) => Stored::Float(*value),
        SampleValue::Histogram(histogram) => Stored::Histogram(histogram.clone()),
    }
}

/// Floats and histograms by time.
fn by_time(points: &SampleColumns) -> BTreeMap<i64, Stored> {
    let floats = points.floats().map(|p| (p.timestamp_ms, Stored::Float(p.value)));
    floats.chain(points.histograms.iter().map(|(time, h)| (*time, Stored::Histogram(h.clone())))).collect()
}

fn check_instant(value: &Value, time: i64, expected: &Expected) -> Option<String> {
    let elements = match value {
        Value::String(text) => return (Some(text) != expected.string.as_ref()).then(|| format!("text {text:?}")),
        Value::Scalar(number) => {
            let holds = expected.scalar.is_some_and(|want| close(*number, want));
            return (!holds).then(|| format!("scalar {number}, expected {:?}", expected.scalar));
        }
        Value::Matrix(_) => {
            let (start, step) = expected.raw.unwrap_or((time, 1));
            return check_matrix(value, start, step, expected);
        }
        Value::Vector(elements) => elements,
    };
    let floats: Vec<(&Labels, Stored)> = elements.iter().map(|e| (&e.labels, stored(&e.value))).collect();
    if floats.len() != expected.series.len() || expected.scalar.is_some() || expected.string.is_some() {
        return Some(format!("elements {floats:?}"));
    }
    for (i, (labels, want)) in expected.series.iter().enumerate() {
        let found = if expected.ordered { floats.get(i) } else { floats.iter().find(|(l, _)| *l == labels) };
        let Some((found_labels, value)) = found else { return Some(format!("{labels} is missing: {floats:?}")) };
        if *found_labels != labels || !want[0].as_ref().is_some_and(|want| same(value, want)) {
            return Some(format!("{found_labels} {value:?}, expected {labels} {want:?}"));
        }
    }
    None
}

fn check_matrix(value: &Value, start: i64, step: i64, expected: &Expected) -> Option<String> {
    let Value::Matrix(matrix) = value else { return Some(format!("no matrix: {value:?}")) };
    let found: BTreeMap<&Labels, BTreeMap<i64, Stored>> =
        matrix.iter().map(|s| (&s.labels, by_time(&s.points))).collect();
    if found.len() != matrix.len() || found.len() != expected.series.len() {
        return Some(format!("series {found:?}"));
    }
    for (labels, want) in &expected.series {
        let Some(points) = found.get(labels) else { return Some(format!("{labels} is missing: {found:?}")) };
        let at = |i: usize| start + step * i as i64;
        let want: BTreeMap<i64, &Stored> =
            want.iter().enumerate().filter_map(|(i, v)| Some((at(i), v.as_ref()?))).collect();
        let all_same = want.len() == points.len()
            && want.iter().all(|(time, value)| points.get(time).is_some_and(|found| same(found, value)));
        if !all_same {
            return Some(format!("{labels} {points:?}, expected {want:?}"));
        }
    }
    None
}

/// An instant query gives what a range query gives at the same time.
fn check_as_range(memory: &Memory, query: &str, time: i64, value: &Value, options: &EngineOptions) -> Option<String> {
    let sees_range = Regex::new(r"(?i)\b(start|end|step|range)\s*\(").unwrap().is_match(query);
    let want: BTreeMap<Labels, Stored> = match value {
        _ if sees_range => return None,
        Value::Scalar(number) => [(Labels::empty(), Stored::Float(*number))].into(),
        Value::Vector(elements) => elements.iter().map(|e| (e.labels.clone(), stored(&e.value))).collect(),
        Value::String(_) | Value::Matrix(_) => return None,
    };
    let steps = Steps { start_ms: time - 45_000, end_ms: time + 30_000, step_ms: 15_000 };
    let answer = match run_range(memory, &Scope::default(), query, steps, options, &Budget::unlimited()) {
        Ok(answer) => answer,
        // Another step may fail where this one does not.
        Err(_) => return None,
    };
    let Value::Matrix(matrix) = answer.value else { return Some("no matrix as a range query".into()) };
    let at = |s: &query::SeriesPoints| by_time(&s.points).remove(&time);
    let found: BTreeMap<Labels, Stored> = matrix.iter().filter_map(|s| Some((s.labels.clone(), at(s)?))).collect();
    let all_same = found.len() == want.len()
        && want.iter().all(|(labels, value)| found.get(labels).is_some_and(|f| same(f, value)));
    (!all_same).then(|| format!("as a range query {found:?}, as an instant query {want:?}"))
}
