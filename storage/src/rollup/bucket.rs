//! Buckets: how samples and runs of samples are put into them, and fine ones into coarse ones.

use model::{Pieces, Sample, SampleColumns, Summary, TimeRange, Want, is_stale, stale_nan};

/// All that a bucket knows.
pub(crate) const EVERYTHING: Want =
    Want::END_TIMES.and(Want::END_VALUES).and(Want::EXTREMES).and(Want::SUM).and(Want::RESETS);

/// What the samples of a series in one bucket amount to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bucket {
    /// The last millisecond that belongs to it.
    pub(crate) end_ms: i64,
    /// All of it but markers, from the first to the last sample; none if there are only markers.
    pub(crate) summary: Option<Summary>,
    /// Time of the staleness marker that is the newest sample.
    pub(crate) marker_ms: Option<i64>,
}

impl Bucket {
    /// From its first to its last sample; of a marker alone the time of that.
    pub(crate) fn range(&self) -> Option<TimeRange> {
        let of_marker = || self.marker_ms.map(|ms| TimeRange { start_ms: ms, end_ms: ms });
        self.summary.map(|summary| summary.range).or_else(of_marker)
    }

    /// True if the samples that it was made of are all among these, of which everything is known: then the bucket that
    /// these make says as much. There may be more, and markers in place of some.
    pub(crate) fn is_among(&self, pieces: &Pieces) -> bool {
        let Some(range) = self.range() else { return true };
        let times = &pieces.samples.timestamps_ms;
        let from = times.partition_point(|ms| *ms < range.start_ms);
        let to = times.partition_point(|ms| *ms <= range.end_ms);
        let lone = times.get(from..to).unwrap_or_default();
        let times_of = |run: &Summary| TimeRange { start_ms: run.first.timestamp_ms, end_ms: run.last.timestamp_ms };
        let runs = || pieces.summaries.iter().filter(|run| times_of(run).overlaps(&range));
        let has = |ms: i64| lone.binary_search(&ms).is_ok() || runs().any(|run| times_of(run).contains(ms));
        let count = lone.len() as u64 + runs().map(|run| run.count).sum::<u64>();
        count >= self.summary.map_or(1, |summary| summary.count) && has(range.start_ms) && has(range.end_ms)
    }
}

/// The last millisecond of the bucket that a time belongs to.
pub(crate) fn end_of(timestamp_ms: i64, resolution_ms: i64) -> i64 {
    let over = timestamp_ms.rem_euclid(resolution_ms);
    if over == 0 { timestamp_ms } else { timestamp_ms.saturating_add(resolution_ms - over) }
}

/// All the times of the bucket that a time belongs to.
pub(crate) fn times_of(timestamp_ms: i64, resolution_ms: i64) -> TimeRange {
    let end_ms = end_of(timestamp_ms, resolution_ms);
    TimeRange { start_ms: end_ms.saturating_sub(resolution_ms - 1), end_ms }
}

/// The sum of two, and what rounding took from it (Knuth's two-sum; nothing of a sum that is not finite).
fn add(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    if !sum.is_finite() {
        return (sum, 0.0);
    }
    let b_there = sum - a;
    (sum, (a - (sum - b_there)) + (b - b_there))
}

/// A run of one sample.
fn of_sample(sample: Sample) -> Summary {
    let range = TimeRange { start_ms: sample.timestamp_ms, end_ms: sample.timestamp_ms };
    let value = sample.value;
    Summary { first: sample, last: sample, min: value, max: value, sum: value, ..Summary::of_count(range, 1) }
}

/// A run and the one right after it as one.
fn join(a: &Summary, b: &Summary) -> Summary {
    let is_reset = b.first.value < a.last.value;
    let (sum, lost) = add(a.sum, b.sum);
    let taken = if is_reset { a.last.value } else { 0.0 };
    Summary {
        range: TimeRange { start_ms: a.range.start_ms, end_ms: b.range.end_ms },
        count: a.count + b.count,
        first: a.first,
        last: b.last,
        min: if b.min < a.min || a.min.is_nan() { b.min } else { a.min },
        max: if b.max > a.max || a.max.is_nan() { b.max } else { a.max },
        sum,
        compensation: a.compensation + b.compensation + lost,
        resets: a.resets + b.resets + u64::from(is_reset),
        reset_sum: a.reset_sum + b.reset_sum + taken,
    }
}

/// Puts what comes in order of time into buckets.
#[derive(Debug)]
pub(crate) struct Filler {
    resolution_ms: i64,
    pub(crate) buckets: Vec<Bucket>,
}

impl Filler {
    /// For buckets of this length.
    pub(crate) fn new(resolution_ms: i64) -> Self {
        Filler { resolution_ms, buckets: Vec::new() }
    }

    /// The bucket of a time that is not before those that came.
    fn bucket(&mut self, timestamp_ms: i64) -> Option<&mut Bucket> {
        let end_ms = end_of(timestamp_ms, self.resolution_ms);
        if self.buckets.last().is_none_or(|last| last.end_ms != end_ms) {
            self.buckets.push(Bucket { end_ms, summary: None, marker_ms: None });
        }
        self.buckets.last_mut()
    }

    /// Adds a sample, or a marker.
    pub(crate) fn add_sample(&mut self, sample: Sample) {
        if is_stale(sample.value) {
            if let Some(bucket) = self.bucket(sample.timestamp_ms) {
                bucket.marker_ms = Some(sample.timestamp_ms);
            }
        } else {
            self.add_summary(&of_sample(sample));
        }
    }

    /// Adds a run that lies in one bucket, without markers.
    pub(crate) fn add_summary(&mut self, summary: &Summary) {
        if let Some(bucket) = self.bucket(summary.last.timestamp_ms) {
            let range = TimeRange { start_ms: summary.first.timestamp_ms, end_ms: summary.last.timestamp_ms };
            let summary = Summary { range, ..*summary };
            bucket.summary = Some(bucket.summary.map_or(summary, |before| join(&before, &summary)));
            bucket.marker_ms = None;
        }
    }

    /// Adds all samples and runs of a series, of which everything is known.
    pub(crate) fn add_pieces(&mut self, pieces: &Pieces) {
        let mut summaries = pieces.summaries.iter().peekable();
        for sample in pieces.samples.floats() {
            while let Some(summary) = summaries.next_if(|s| s.range.start_ms <= sample.timestamp_ms) {
                self.add_summary(summary);
            }
            self.add_sample(sample);
        }
        summaries.for_each(|summary| self.add_summary(summary));
    }

    /// Adds finer buckets.
    pub(crate) fn add_buckets(&mut self, fine: &[Bucket]) {
        for bucket in fine {
            bucket.summary.iter().for_each(|summary| self.add_summary(summary));
            if let Some(timestamp_ms) = bucket.marker_ms {
                self.add_sample(Sample { timestamp_ms, value: stale_nan() });
            }
        }
    }
}

/// The last sample of each bucket, and the marker that ended it: what a segment of buckets holds as its samples.
pub(crate) fn last_samples(buckets: &[Bucket]) -> SampleColumns {
    let mut out = SampleColumns::default();
    for bucket in buckets {
        bucket.summary.iter().for_each(|summary| out.push(summary.last.timestamp_ms, summary.last.value));
        bucket.marker_ms.iter().for_each(|ms| out.push(*ms, stale_nan()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_are_open_on_the_left() {
        let at = |ms| times_of(ms, 10);
        assert_eq!((at(0), at(1)), (TimeRange { start_ms: -9, end_ms: 0 }, TimeRange { start_ms: 1, end_ms: 10 }));
        assert_eq!((at(10), at(11).end_ms, at(-10).end_ms, at(-9).end_ms), (at(1), 20, -10, 0));
        assert_eq!(times_of(i64::MAX, 7).end_ms, i64::MAX);
        assert!(end_of(i64::MIN, 7) < i64::MIN + 7);
    }

    fn filled(resolution_ms: i64, samples: &[(i64, f64)]) -> Vec<Bucket> {
        let mut filler = Filler::new(resolution_ms);
        samples.iter().for_each(|(timestamp_ms, value)| {
            filler.add_sample(Sample { timestamp_ms: *timestamp_ms, value: *value });
        });
        filler.buckets
    }

    #[test]
    fn a_bucket_by_hand() {
        let buckets = filled(10, &[(1, 5.0), (4, 9.0), (7, 2.0), (10, 3.0), (12, stale_nan()), (31, 1.0)]);
        let range = TimeRange { start_ms: 1, end_ms: 10 };
        let first = Summary {
            first: Sample { timestamp_ms: 1, value: 5.0 },
            last: Sample { timestamp_ms: 10, value: 3.0 },
            min: 2.0,
            max: 9.0,
            sum: 19.0,
            resets: 1,
            reset_sum: 9.0,
            ..Summary::of_count(range, 4)
        };
        assert_eq!(buckets[0], Bucket { end_ms: 10, summary: Some(first), marker_ms: None });
        assert_eq!(buckets[1], Bucket { end_ms: 20, summary: None, marker_ms: Some(12) });
        assert_eq!((buckets.len(), buckets[2].end_ms), (3, 40));
        let samples = last_samples(&buckets);
        assert_eq!(samples.timestamps_ms, [10, 12, 31]);
        assert!(is_stale(samples.values[1]));
    }

    #[test]
    fn what_a_bucket_was_made_of_is_there_or_not() {
        let bucket = filled(10, &[(1, 5.0), (4, 9.0), (7, 2.0)])[0];
        let lone = |times: &[i64]| {
            let mut pieces = Pieces::default();
            times.iter().for_each(|ms| pieces.samples.push(*ms, 0.0));
            pieces
        };
        let is_among = |times: &[i64]| bucket.is_among(&lone(times));
        assert!(is_among(&[1, 4, 7]) && is_among(&[-5, 0, 1, 2, 4, 7, 8]));
        // Others do not make up for one that is gone.
        assert!(!is_among(&[1, 4, 8]) && !is_among(&[1, 7, 8]) && !is_among(&[2, 3, 4, 5, 7]) && !is_among(&[]));
        let run = |start_ms, end_ms, count| {
            let at = |timestamp_ms| Sample { timestamp_ms, value: 0.0 };
            let range = TimeRange { start_ms, end_ms: 100 };
            Summary { first: at(start_ms), last: at(end_ms), ..Summary::of_count(range, count) }
        };
        let with_runs = |times: &[i64], runs: Vec<Summary>| bucket.is_among(&Pieces { summaries: runs, ..lone(times) });
        assert!(with_runs(&[1], vec![run(4, 7, 2)]) && with_runs(&[], vec![run(1, 7, 3)]));
        assert!(!with_runs(&[1], vec![run(4, 6, 2)]) && !with_runs(&[], vec![run(1, 7, 2)]));
        let marker = filled(10, &[(3, stale_nan())])[0];
        assert_eq!(marker.range(), Some(TimeRange { start_ms: 3, end_ms: 3 }));
        assert!(marker.is_among(&lone(&[3])) && !marker.is_among(&lone(&[2, 4])));
    }

    #[test]
    fn a_marker_counts_only_as_the_newest() {
        let buckets = filled(10, &[(1, 5.0), (4, stale_nan()), (7, 2.0)]);
        assert_eq!((buckets.len(), buckets[0].marker_ms), (1, None));
        let exact = filled(10, &[(1, 1e16), (2, 1.0), (3, 1.0), (4, -1e16)])[0].summary.unwrap();
        assert_eq!(exact.sum + exact.compensation, 2.0);
    }

    proptest! {
        /// Coarse buckets made of fine ones are those made of the samples.
        #[test]
        fn buckets_nest(
            gaps in prop::collection::vec(1_i64..30, 0..80), raw in prop::collection::vec(-3_i32..12, 80),
        ) {
            let mut time = -100;
            let samples: Vec<(i64, f64)> = gaps.iter().zip(&raw).map(|(gap, value)| {
                time += gap;
                (time, if *value == -3 { stale_nan() } else { f64::from(*value) })
            }).collect();
            let mut coarse = Filler::new(60);
            coarse.add_buckets(&filled(20, &samples));
            prop_assert_eq!(coarse.buckets, filled(60, &samples));
        }
    }
}
