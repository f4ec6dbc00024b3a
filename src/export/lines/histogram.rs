//! Native histograms as JSON: whole, on the way from a server; and with bounds, as others read them in rows.
//!
//! ```json
//! {"schema":3,"count":7.0,"sum":2.5,"zero_threshold":1e-128,"zero_count":1.0,"positive":[[-2,4.0],[5,2.0]],"negative":[],
//!  "custom_bounds":[],"reset_hint":"gauge"}
//! {"count":7.0,"sum":2.5,"buckets":[{"lower":0.5,"upper":0.545…,"count":4.0},…],"schema":3,"zero_threshold":1e-128,
//!  "zero_count":1.0,"custom_bounds":null,"reset_hint":"gauge"}
//! ```
//! The first has the index and the count of each bucket; the second the fields of the Parquet column `histogram`.

use std::sync::Arc;

use model::{Buckets, Histogram, ResetHint};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{push_value, value};

/// Appends pairs of time and histogram.
pub(super) fn push_all(out: &mut Vec<u8>, histograms: &[(i64, Arc<Histogram>)]) {
    for (i, (timestamp_ms, histogram)) in histograms.iter().enumerate() {
        out.extend_from_slice(format!("{}[{timestamp_ms},", if i > 0 { "," } else { "" }).as_bytes());
        push_whole(out, histogram);
        out.push(b']');
    }
}

fn push_whole(out: &mut Vec<u8>, histogram: &Histogram) {
    out.extend_from_slice(format!("{{\"schema\":{}", histogram.schema).as_bytes());
    push_numbers(
        out,
        [
            ("count", histogram.count),
            ("sum", histogram.sum),
            ("zero_threshold", histogram.zero_threshold),
            ("zero_count", histogram.zero_count),
        ],
    );
    for (name, side) in [("positive", &histogram.positive), ("negative", &histogram.negative)] {
        out.extend_from_slice(format!(",\"{name}\":").as_bytes());
        push_list(out, side.indexed(), |out, (index, count)| {
            out.extend_from_slice(format!("[{index},").as_bytes());
            push_value(out, count);
            out.push(b']');
        });
    }
    out.extend_from_slice(b",\"custom_bounds\":");
    push_list(out, &histogram.custom_bounds, |out, bound| push_value(out, *bound));
    push_hint(out, histogram.reset_hint);
}

/// Appends a histogram as it stands in rows.
pub(in crate::export) fn push_row(out: &mut Vec<u8>, histogram: &Histogram) {
    out.push(b'{');
    let start = out.len();
    push_numbers(out, [("count", histogram.count), ("sum", histogram.sum)]);
    // The comma before the first.
    out.remove(start);
    out.extend_from_slice(b",\"buckets\":");
    push_list(out, histogram.all_buckets(), |out, bucket| {
        out.extend_from_slice(b"{\"lower\":");
        push_value(out, bucket.lower);
        push_numbers(out, [("upper", bucket.upper), ("count", bucket.count)]);
        out.push(b'}');
    });
    out.extend_from_slice(format!(",\"schema\":{}", histogram.schema).as_bytes());
    push_numbers(out, [("zero_threshold", histogram.zero_threshold), ("zero_count", histogram.zero_count)]);
    out.extend_from_slice(b",\"custom_bounds\":");
    if histogram.has_custom_bounds() {
        push_list(out, &histogram.custom_bounds, |out, bound| push_value(out, *bound));
    } else {
        out.extend_from_slice(b"null");
    }
    push_hint(out, histogram.reset_hint);
}

fn push_numbers<const N: usize>(out: &mut Vec<u8>, numbers: [(&str, f64); N]) {
    for (name, number) in numbers {
        out.extend_from_slice(format!(",\"{name}\":").as_bytes());
        push_value(out, number);
    }
}

fn push_list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut push: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push(out, item);
    }
    out.push(b']');
}

fn push_hint(out: &mut Vec<u8>, hint: ResetHint) {
    let text = hint.word().map_or_else(|| "null".to_owned(), |word| format!("\"{word}\""));
    out.extend_from_slice(format!(",\"reset_hint\":{text}}}").as_bytes());
}

/// A whole histogram as it comes; numbers are raw, so that they are read to the last bit.
#[derive(Deserialize)]
pub(super) struct Wire<'a> {
    schema: i32,
    #[serde(borrow)]
    count: &'a RawValue,
    #[serde(borrow)]
    sum: &'a RawValue,
    #[serde(borrow)]
    zero_threshold: &'a RawValue,
    #[serde(borrow)]
    zero_count: &'a RawValue,
    #[serde(borrow)]
    positive: Vec<(i32, &'a RawValue)>,
    #[serde(borrow)]
    negative: Vec<(i32, &'a RawValue)>,
    #[serde(borrow)]
    custom_bounds: Vec<&'a RawValue>,
    reset_hint: Option<String>,
}

impl Wire<'_> {
    /// The histogram; none if a number is none, buckets are not in order, or the hint is unknown.
    pub(super) fn read(&self) -> Option<Histogram> {
        let number = |raw: &RawValue| value(raw.get());
        let side = |buckets: &[(i32, &RawValue)]| {
            let buckets =
                buckets.iter().map(|(index, raw)| Some((*index, number(raw)?))).collect::<Option<Vec<_>>>()?;
            buckets.is_sorted_by(|(a, _), (b, _)| a < b).then(|| Buckets::from_indexed(buckets))
        };
        Some(Histogram {
            schema: self.schema,
            zero_threshold: number(self.zero_threshold)?,
            zero_count: number(self.zero_count)?,
            count: number(self.count)?,
            sum: number(self.sum)?,
            positive: side(&self.positive)?,
            negative: side(&self.negative)?,
            custom_bounds: self.custom_bounds.iter().map(|raw| number(raw)).collect::<Option<Vec<_>>>()?,
            reset_hint: ResetHint::ALL.into_iter().find(|hint| hint.word() == self.reset_hint.as_deref())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{Chunk, Line, decode, encode};
    use model::{Labels, SampleColumns, stale_nan};
    use proptest::prelude::*;

    fn histogram() -> Histogram {
        Histogram {
            schema: 0,
            zero_threshold: 0.25,
            zero_count: 2.0,
            count: 9.0,
            sum: f64::NAN,
            positive: Buckets::from_indexed([(-1, 1.0), (3, 4.0)]),
            negative: Buckets::from_indexed([(2, 2.0)]),
            custom_bounds: Vec::new(),
            reset_hint: ResetHint::NoReset,
        }
    }

    #[test]
    fn rows_have_bounds() {
        let mut out = Vec::new();
        push_row(&mut out, &histogram());
        let wanted = concat!(
            r#"{"count":9.0,"sum":"NaN","buckets":[{"lower":-4.0,"upper":-2.0,"count":2.0},"#,
            r#"{"lower":-0.25,"upper":0.25,"count":2.0},{"lower":0.25,"upper":0.5,"count":1.0},"#,
            r#"{"lower":4.0,"upper":8.0,"count":4.0}],"schema":0,"zero_threshold":0.25,"zero_count":2.0,"#,
            r#""custom_bounds":null,"reset_hint":"no_reset"}"#
        );
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
        let custom = Histogram {
            schema: model::CUSTOM_BOUNDS_SCHEMA,
            positive: Buckets::from_indexed([(1, 3.0)]),
            custom_bounds: vec![0.5],
            ..Histogram::default()
        };
        let mut out = Vec::new();
        push_row(&mut out, &custom);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(r#""buckets":[{"lower":0.5,"upper":"+Inf","count":3.0}]"#), "{text}");
        assert!(text.ends_with(r#""custom_bounds":[0.5],"reset_hint":null}"#), "{text}");
    }

    fn back(chunk: &Chunk) -> Chunk {
        let mut out = Vec::new();
        encode(&mut out, &chunk.labels, None, &chunk.samples);
        let line = std::str::from_utf8(&out).unwrap();
        let Line::Chunk(chunk) = decode(line.trim_end()).unwrap() else { panic!("{line}") };
        chunk
    }

    fn chunk(histograms: Vec<(i64, Arc<Histogram>)>) -> Chunk {
        let labels = Labels::from_pairs([("__name__", "m")]).unwrap();
        Chunk { labels, metric_type: None, samples: SampleColumns { histograms, ..SampleColumns::default() } }
    }

    #[test]
    fn a_stale_histogram_comes_back_as_one() {
        let stale = Histogram { sum: stale_nan(), ..Histogram::default() };
        let got = back(&chunk(vec![(-3, Arc::new(stale)), (4, Arc::new(histogram()))]));
        let [(-3, stale), (4, other)] = &got.samples.histograms[..] else { panic!("{got:?}") };
        assert!(stale.is_stale() && other.sum.is_nan() && !other.is_stale());
    }

    #[test]
    fn what_is_no_histogram_is_refused() {
        let mut good = Vec::new();
        push_whole(&mut good, &histogram());
        let good = String::from_utf8(good).unwrap();
        let line =
            |inside: &str| format!(r#"{{"metric":{{}},"values":[],"timestamps":[],"histograms":[[1,{inside}]]}}"#);
        assert!(decode(&line(&good)).is_ok(), "{good}");
        for (part, bad) in [("no_reset", "maybe"), ("[3,4.0]", "[-1,4.0]"), ("\"count\":9.0", "\"count\":true")] {
            assert!(good.contains(part) && decode(&line(&good.replace(part, bad))).is_err(), "{bad}");
        }
        let twice = line(&format!("{good}],[1,{good}"));
        assert!(decode(&twice).is_err(), "times do not rise");
    }

    proptest! {
        #[test]
        fn every_number_comes_back(
            numbers in prop::array::uniform4(prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::SUBNORMAL),
            sides in prop::collection::vec((-1000..1000_i32, any::<u32>()), 0..20),
            bounds in prop::collection::vec(prop::num::f64::NORMAL, 0..5),
            hint in 0..4_usize,
        ) {
            let side = |of: bool| {
                let some = sides.iter().filter(|(_, count)| count.is_multiple_of(2) == of);
                let sorted: std::collections::BTreeMap<i32, u32> = some.copied().collect();
                Buckets::from_indexed(sorted.into_iter().map(|(index, count)| (index, f64::from(count))))
            };
            let [zero_threshold, zero_count, count, sum] = numbers;
            let made = Histogram {
                schema: 2, zero_threshold, zero_count, count, sum, positive: side(true), negative: side(false),
                custom_bounds: bounds, reset_hint: ResetHint::ALL[hint],
            };
            let chunk = chunk(vec![(7, Arc::new(made))]);
            prop_assert_eq!(back(&chunk), chunk);
        }
    }
}
