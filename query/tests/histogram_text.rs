//! Native histograms in test scripts: `{{schema:1 sum:2 count:3 z_bucket:1 z_bucket_w:0.5 buckets:[1 1] offset:-1}}`.

use std::sync::Arc;

use model::{Buckets, Histogram, ResetHint};
use regex::Regex;

/// Reads one histogram; gives what follows it.
fn histogram(text: &str) -> (Histogram, &str) {
    let end = text.find("}}").unwrap_or_else(|| panic!("no end: {text:?}"));
    let field = Regex::new(r"([a-z_]+):(?:\[([^\]]*)\]|([^\s\]]+))").unwrap();
    let mut made = Histogram::default();
    let (mut sides, mut offsets) = ([Vec::new(), Vec::new()], [0_i32; 2]);
    for found in field.captures_iter(&text[2..end]) {
        let word = found.get(3).map_or("", |m| m.as_str());
        let number = || word.parse::<f64>().unwrap_or_else(|_| panic!("no number: {word:?}"));
        let list = || -> Vec<f64> {
            found.get(2).map_or("", |m| m.as_str()).split_whitespace().map(|n| n.parse().unwrap()).collect()
        };
        match &found[1] {
            "schema" => made.schema = word.parse().unwrap(),
            "sum" => made.sum = number(),
            "count" => made.count = number(),
            "z_bucket" => made.zero_count = number(),
            "z_bucket_w" => made.zero_threshold = number(),
            "custom_values" => made.custom_bounds = list(),
            "buckets" => sides[0] = list(),
            "n_buckets" => sides[1] = list(),
            "offset" => offsets[0] = word.parse().unwrap(),
            "n_offset" => offsets[1] = word.parse().unwrap(),
            "counter_reset_hint" => {
                made.reset_hint = match word {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NoReset,
                    "gauge" => ResetHint::Gauge,
                    _ => panic!("no hint: {word:?}"),
                }
            }
            key => panic!("no field of a histogram: {key:?}"),
        }
    }
    let [positive, negative] =
        [0, 1].map(|side| Buckets::from_indexed((offsets[side]..).zip(sides[side].iter().copied())));
    (Histogram { positive, negative, ..made }, &text[end + 2..])
}

/// Reads `{{…}}`, `{{…}}x3` or `{{…}}+{{…}}x3`; gives what follows it.
pub(crate) fn sequence(text: &str) -> (Vec<Arc<Histogram>>, &str) {
    let (first, mut rest) = histogram(text);
    let mut step = None;
    if rest.starts_with("+{{") {
        let (more, after) = histogram(&rest[1..]);
        (step, rest) = (Some(more), after);
    }
    let mut times = 0;
    if let Some(found) = Regex::new("^x([0-9]+)").unwrap().captures(rest) {
        times = found[1].parse().unwrap();
        rest = &rest[found[0].len()..];
    }
    let mut all = vec![Arc::new(first)];
    for _ in 0..times {
        let last = all[all.len() - 1].clone();
        all.push(step.as_ref().map_or(last.clone(), |step| Arc::new(last.plus(step).unwrap().0)));
    }
    (all, rest)
}

/// True if both say the same, numbers being as close as `close` says. A hint counts where a gauge is wanted.
pub(crate) fn same(found: &Histogram, want: &Histogram, close: impl Fn(f64, f64) -> bool) -> bool {
    let (mut found, mut want) = (found.clone(), want.clone());
    found.compact();
    want.compact();
    let same_side = |a: &Buckets, b: &Buckets| {
        a.counts.len() == b.counts.len() && a.indexed().zip(b.indexed()).all(|(a, b)| a.0 == b.0 && close(a.1, b.1))
    };
    found.schema == want.schema
        && found.zero_threshold == want.zero_threshold
        && found.custom_bounds == want.custom_bounds
        && close(found.zero_count, want.zero_count)
        && close(found.count, want.count)
        && close(found.sum, want.sum)
        && same_side(&found.positive, &want.positive)
        && same_side(&found.negative, &want.negative)
        && (want.reset_hint != ResetHint::Gauge || found.reset_hint == ResetHint::Gauge)
}
