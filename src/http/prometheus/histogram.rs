//! Native histograms in JSON: count, sum and the buckets that are not empty, with their bounds.

use model::{Bucket, Histogram};

use super::number::push_sample;

/// Prometheus's number for which bounds belong to a bucket.
fn bounds(bucket: &Bucket) -> u8 {
    match (bucket.has_lower, bucket.has_upper) {
        (false, true) => b'0',
        (true, false) => b'1',
        (false, false) => b'2',
        (true, true) => b'3',
    }
}

/// Appends `{"count":"…","sum":"…","buckets":[…]}`.
pub(super) fn push_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    out.extend_from_slice(b"{\"count\":");
    push_quoted(out, histogram.count);
    out.extend_from_slice(b",\"sum\":");
    push_quoted(out, histogram.sum);
    let mut separator: &[u8] = b",\"buckets\":[";
    let mut full = histogram.all_buckets();
    full.retain(|bucket| bucket.count != 0.0);
    for bucket in &full {
        out.extend_from_slice(separator);
        separator = b",";
        out.push(b'[');
        out.push(bounds(bucket));
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

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Buckets, CUSTOM_BOUNDS_SCHEMA as CUSTOM_SCHEMA, Span};

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
            r#"{"count":"3","sum":"7","buckets":[[3,"-Inf","5","1"],[0,"5","10","1"],[0,"10","+Inf","1"]]}"#
        );
        assert_eq!(text(&Histogram::default()), r#"{"count":"0","sum":"0"}"#);
    }
}
