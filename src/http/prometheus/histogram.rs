//! Native histograms in JSON: count, sum and the buckets that are not empty, with their bounds.
//!
//! Bounds follow Prometheus's `model/histogram/generic.go`: bucket `i` of schema `s` ends at `2^(i * 2^-s)`, schema -53
//! carries its bounds.

use model::{Buckets, Histogram};

use super::number::push_sample;

/// The schema whose bounds are listed in the histogram.
const CUSTOM_SCHEMA: i32 = -53;

/// Which bounds belong to a bucket, by Prometheus's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bounds {
    LeftOpen = 0,
    RightOpen = 1,
    Closed = 3,
}

/// A bucket with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    bounds: Bounds,
    lower: f64,
    upper: f64,
    count: f64,
}

/// Appends `{"count":"…","sum":"…","buckets":[…]}`.
pub(super) fn push_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    out.extend_from_slice(b"{\"count\":");
    push_quoted(out, histogram.count);
    out.extend_from_slice(b",\"sum\":");
    push_quoted(out, histogram.sum);
    let mut separator: &[u8] = b",\"buckets\":[";
    let full = buckets(histogram);
    for bucket in &full {
        out.extend_from_slice(separator);
        separator = b",";
        out.push(b'[');
        out.push(b'0' + bucket.bounds as u8);
        for number in [bucket.lower, bucket.upper, bucket.count] {
            out.push(b',');
            push_quoted(out, number);
        }
        out.push(b']');
    }
    out.extend_from_slice(if full.is_empty() { b"}" } else { b"]}" });
}

fn push_quoted(out: &mut Vec<u8>, number: f64) {
    out.push(b'"');
    push_sample(out, number);
    out.push(b'"');
}

/// The buckets that are not empty, from the lowest to the highest.
fn buckets(histogram: &Histogram) -> Vec<Bucket> {
    let mut all: Vec<Bucket> = indexed(&histogram.negative)
        .map(|(index, count)| {
            let (lower, upper) = (-bound(histogram, index), -bound(histogram, index - 1));
            Bucket { bounds: Bounds::RightOpen, lower, upper, count }
        })
        .collect();
    all.reverse();
    let zero = histogram.zero_threshold;
    all.push(Bucket { bounds: Bounds::Closed, lower: -zero, upper: zero, count: histogram.zero_count });
    all.extend(indexed(&histogram.positive).map(|(index, count)| {
        let (lower, upper) = (bound(histogram, index - 1), bound(histogram, index));
        Bucket { bounds: Bounds::LeftOpen, lower, upper, count }
    }));
    all.retain(|bucket| bucket.count != 0.0);
    all
}

/// Index and count of each bucket.
fn indexed(buckets: &Buckets) -> impl Iterator<Item = (i32, f64)> + '_ {
    let mut next = 0_i32;
    let indices = buckets.spans.iter().flat_map(move |span| {
        let first = next.saturating_add(span.offset);
        next = first.saturating_add(i32::try_from(span.length).unwrap_or(i32::MAX));
        first..next
    });
    indices.zip(buckets.counts.iter().copied())
}

/// The upper bound of a bucket on the positive side.
fn bound(histogram: &Histogram, index: i32) -> f64 {
    if histogram.schema == CUSTOM_SCHEMA {
        let bounds = &histogram.custom_bounds;
        return match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(i) => bounds.get(i).copied().unwrap_or(f64::INFINITY),
        };
    }
    let exponent = f64::from(index) * (-f64::from(histogram.schema)).exp2();
    // The bucket that ends at 2^1024 ends at the largest float; one more is there for infinities.
    if exponent == 1024.0 { f64::MAX } else { exponent.exp2() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Span;

    fn text(histogram: &Histogram) -> String {
        let mut out = Vec::new();
        push_histogram(&mut out, histogram);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn buckets_from_low_to_high_without_empty_ones() {
        let histogram = Histogram {
            schema: 0,
            zero_threshold: 0.001,
            zero_count: 2.0,
            count: 9.5,
            sum: -3.25,
            positive: Buckets {
                spans: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }],
                counts: vec![1.0, 0.0, 3.0],
            },
            negative: Buckets { spans: vec![Span { offset: 1, length: 2 }], counts: vec![1.5, 2.0] },
            ..Histogram::default()
        };
        assert_eq!(
            text(&histogram),
            r#"{"count":"9.5","sum":"-3.25","buckets":[[1,"-4","-2","2"],[1,"-2","-1","1.5"],[3,"-0.001","0.001","2"],[0,"0.5","1","1"],[0,"4","8","3"]]}"#
        );
    }

    #[test]
    fn custom_bounds_and_empty_histograms() {
        let histogram = Histogram {
            schema: CUSTOM_SCHEMA,
            count: 3.0,
            sum: 7.0,
            positive: Buckets { spans: vec![Span { offset: 0, length: 3 }], counts: vec![1.0, 1.0, 1.0] },
            custom_bounds: vec![5.0, 10.0],
            ..Histogram::default()
        };
        assert_eq!(
            text(&histogram),
            r#"{"count":"3","sum":"7","buckets":[[0,"-Inf","5","1"],[0,"5","10","1"],[0,"10","+Inf","1"]]}"#
        );
        assert_eq!(text(&Histogram::default()), r#"{"count":"0","sum":"0"}"#);
    }

    #[test]
    fn the_last_exponential_bucket_ends_at_the_largest_float() {
        let histogram = Histogram { schema: -4, ..Histogram::default() };
        assert_eq!(bound(&histogram, 64), f64::MAX);
        assert_eq!(bound(&histogram, 65), f64::INFINITY);
        let histogram = Histogram { schema: 2, ..Histogram::default() };
        assert_eq!(bound(&histogram, 4), 2.0);
        assert_eq!(bound(&histogram, -8), 0.25);
    }
}
