//! Reads chunks from a snapshot: the union of several selections, a long series piece by piece.

use std::sync::Arc;

use model::{
    Budget, Histogram, Labels, Matcher, SampleColumns, Scope, SeriesSet, SeriesSource, SourceError, TimeRange,
};

/// Most samples of each kind in a chunk.
const CHUNK_SAMPLES: usize = 8192;
/// Most buckets and bounds of histograms in a chunk, unless one histogram has more.
const CHUNK_BUCKETS: usize = 1 << 16;
/// What a histogram counts as when it is reckoned how much one read gives.
const HISTOGRAM_SAMPLES: usize = 64;
/// Time that is read at once, at first.
const WINDOW_MS: i64 = 86_400_000;
/// Samples that one read should give at most; the time that is read at once adapts to it.
const READ_SAMPLES: usize = 1 << 20;

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E> {
    /// The data could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The receiver said so.
    #[error("{0}")]
    Receiver(E),
}

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Series with samples in the range.
    pub series: u64,
    /// Float samples.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Series of which the last samples of buckets stand for samples that are not kept any more.
    pub rolled_up: u64,
}

/// Gives each series that one of the selections selects, in order of labels, in pieces in order of time.
///
/// # Errors
/// [`ReadError`].
pub fn chunks<E>(
    source: &dyn SeriesSource,
    scope: &Scope,
    selections: &[Vec<Matcher>],
    range: TimeRange,
    budget: &Budget,
    mut each: impl FnMut(&Labels, SampleColumns) -> Result<(), E>,
) -> Result<Totals, ReadError<E>> {
    let mut cursors = Vec::with_capacity(selections.len());
    for matchers in selections {
        cursors.push(Cursor::new(source.select(scope, matchers, range, budget)?)?);
    }
    let mut totals = Totals::default();
    while let Some(labels) = cursors.iter().filter_map(|cursor| cursor.labels.as_ref()).min().cloned() {
        let mut is_read = false;
        for cursor in cursors.iter_mut().filter(|cursor| cursor.labels.as_ref() == Some(&labels)) {
            if !std::mem::replace(&mut is_read, true) {
                let mut series = Series { cursor, range, budget, window_ms: WINDOW_MS, totals: &mut totals };
                series.read(|samples| each(&labels, samples))?;
            }
            cursor.advance()?;
        }
    }
    Ok(totals)
}

/// A sorted set, at one of its series.
struct Cursor<'a> {
    set: Box<dyn SeriesSet + 'a>,
    next: usize,
    /// None at the end.
    labels: Option<Labels>,
}

impl<'a> Cursor<'a> {
    fn new(set: Box<dyn SeriesSet + 'a>) -> Result<Self, SourceError> {
        let mut cursor = Cursor { set, next: 0, labels: None };
        cursor.advance()?;
        Ok(cursor)
    }

    fn advance(&mut self) -> Result<(), SourceError> {
        self.labels = if self.next < self.set.len() { Some(self.set.labels(self.next)?) } else { None };
        self.next += 1;
        Ok(())
    }
}

/// The series at which a cursor stands.
struct Series<'a, 'b> {
    cursor: &'a Cursor<'b>,
    range: TimeRange,
    budget: &'a Budget,
    /// Time that is read at once: each series has samples of its own density.
    window_ms: i64,
    totals: &'a mut Totals,
}

impl Series<'_, '_> {
    fn read<E>(&mut self, mut each: impl FnMut(SampleColumns) -> Result<(), E>) -> Result<(), ReadError<E>> {
        let i = self.cursor.next - 1;
        let extent = self.cursor.set.extent(i, self.range)?;
        let (mut from_ms, mut samples, mut is_new) = (extent.start_ms, SampleColumns::default(), true);
        while from_ms <= extent.end_ms {
            let to_ms = extent.end_ms.min(from_ms.saturating_add(self.window_ms - 1));
            let window = TimeRange { start_ms: from_ms, end_ms: to_ms };
            self.cursor.set.samples(i, window, self.budget, &mut samples)?;
            self.totals.histograms += samples.histograms.len() as u64;
            self.totals.samples += samples.len() as u64;
            if !samples.is_empty() {
                self.totals.series += u64::from(std::mem::take(&mut is_new));
            }
            cut(&samples, &mut each).map_err(ReadError::Receiver)?;
            let amount = samples.len() + samples.histograms.len() * HISTOGRAM_SAMPLES;
            if amount > READ_SAMPLES {
                self.window_ms = (self.window_ms / 4).max(1);
            } else if amount < READ_SAMPLES / 4 {
                self.window_ms = self.window_ms.saturating_mul(2);
            }
            if to_ms == i64::MAX {
                break;
            }
            from_ms = to_ms + 1;
        }
        let set = &self.cursor.set;
        let has_buckets = !is_new && set.coarsest_ms() > 0 && !set.coarse(i, self.range)?.is_empty();
        self.totals.rolled_up += u64::from(has_buckets);
        Ok(())
    }
}

/// Gives samples in chunks that follow each other in time.
fn cut<E>(samples: &SampleColumns, each: &mut impl FnMut(SampleColumns) -> Result<(), E>) -> Result<(), E> {
    let (times, values, histograms) = (&samples.timestamps_ms, &samples.values, &samples.histograms);
    let (mut float, mut histogram) = (0, 0);
    while float < values.len() || histogram < histograms.len() {
        let mut float_end = values.len().min(float + CHUNK_SAMPLES);
        // No histogram that is later than the next chunk's first float.
        let until_ms = times.get(float_end).copied();
        let in_time = until_ms.map_or(histograms.len(), |until| histograms.partition_point(|(ms, _)| *ms < until));
        let histogram_end = in_time.min(histogram + fitting(&histograms[histogram..]));
        if histogram_end < in_time {
            let next_ms = histograms[histogram_end].0;
            float_end = float_end.min(times.partition_point(|ms| *ms < next_ms));
        }
        each(SampleColumns {
            timestamps_ms: times[float..float_end].to_vec(),
            values: values[float..float_end].to_vec(),
            histograms: histograms[histogram..histogram_end].to_vec(),
        })?;
        (float, histogram) = (float_end, histogram_end);
    }
    Ok(())
}

/// How many histograms fit into a chunk, at least one.
fn fitting(histograms: &[(i64, Arc<Histogram>)]) -> usize {
    let mut left = CHUNK_BUCKETS;
    let fits = |(_, histogram): &&(i64, Arc<Histogram>)| {
        let rest = left.checked_sub(histogram.bucket_count() + histogram.custom_bounds.len());
        left = rest.unwrap_or_default();
        rest.is_some()
    };
    histograms.iter().take(CHUNK_SAMPLES).take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Coarse;
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Series in memory; its sets know no extent but that of their samples. Of those that are not `whole` samples are gone.
    #[derive(Default)]
    struct Held {
        series: Vec<(Labels, SampleColumns)>,
        whole_from_ms: i64,
        /// Samples of the largest read.
        largest_read: AtomicUsize,
    }

    struct HeldSet<'a> {
        series: Vec<&'a (Labels, SampleColumns)>,
        held: &'a Held,
    }

    impl Held {
        fn of(series: Vec<(Labels, SampleColumns)>) -> Self {
            Held { series, whole_from_ms: i64::MIN, ..Held::default() }
        }
    }

    impl SeriesSource for Held {
        fn select(
            &self,
            _: &Scope,
            matchers: &[Matcher],
            _: TimeRange,
            _: &Budget,
        ) -> Result<Box<dyn SeriesSet + '_>, SourceError> {
            let passes = |labels: &Labels| {
                matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
            };
            let series = self.series.iter().filter(|(labels, _)| passes(labels)).collect();
            Ok(Box::new(HeldSet { series, held: self }))
        }
    }

    impl SeriesSet for HeldSet<'_> {
        fn len(&self) -> usize {
            self.series.len()
        }

        fn labels(&self, i: usize) -> Result<Labels, SourceError> {
            Ok(self.series[i].0.clone())
        }

        fn extent(&self, i: usize, range: TimeRange) -> Result<TimeRange, SourceError> {
            let times = &self.series[i].1.timestamps_ms;
            Ok(TimeRange {
                start_ms: range.start_ms.max(*times.first().unwrap()),
                end_ms: range.end_ms.min(*times.last().unwrap()),
            })
        }

        fn samples(&self, i: usize, range: TimeRange, _: &Budget, out: &mut SampleColumns) -> Result<(), SourceError> {
            out.clear();
            let all = &self.series[i].1;
            all.floats().filter(|s| range.contains(s.timestamp_ms)).for_each(|s| out.push(s.timestamp_ms, s.value));
            out.histograms.extend(all.histograms.iter().filter(|(ms, _)| range.contains(*ms)).cloned());
            self.held.largest_read.fetch_max(out.len(), Ordering::Relaxed);
            Ok(())
        }

        fn coarsest_ms(&self) -> i64 {
            if self.held.whole_from_ms == i64::MIN { 0 } else { 1000 }
        }

        fn coarse(&self, i: usize, range: TimeRange) -> Result<Vec<Coarse>, SourceError> {
            let first_ms = self.series[i].1.timestamps_ms.first().copied().unwrap_or(i64::MAX);
            let until_ms = range.end_ms.min(self.held.whole_from_ms - 1);
            let is_gone = first_ms.max(range.start_ms) <= until_ms;
            Ok(is_gone.then_some(Coarse { until_ms, resolution_ms: 1000 }).into_iter().collect())
        }
    }

    fn series(name: &str, times: impl Iterator<Item = i64>) -> (Labels, SampleColumns) {
        let mut samples = SampleColumns::default();
        times.for_each(|ms| samples.push(ms, ms as f64));
        (Labels::from_pairs([("__name__", name)]).unwrap(), samples)
    }

    fn read(source: &Held, selectors: &[&str], range: TimeRange) -> (Vec<(Labels, SampleColumns)>, Totals, usize) {
        let parse = |text: &&str| query::parse_matchers(text, &query::EngineOptions::default()).unwrap();
        let selections: Vec<_> = selectors.iter().map(parse).collect();
        let (mut found, mut largest): (Vec<(Labels, SampleColumns)>, usize) = (Vec::new(), 0);
        let each = |labels: &Labels, samples: SampleColumns| {
            largest = largest.max(samples.len());
            match found.last_mut().filter(|(last, _)| last == labels) {
                Some((_, all)) => {
                    samples.floats().for_each(|s| all.push(s.timestamp_ms, s.value));
                    all.histograms.extend(samples.histograms);
                }
                None => found.push((labels.clone(), samples)),
            }
            Ok::<_, Infallible>(())
        };
        let totals = chunks(source, &Scope::default(), &selections, range, &Budget::unlimited(), each).unwrap();
        (found, totals, largest)
    }

    #[test]
    fn series_that_several_selections_find_come_once_and_in_order() {
        let held = Held::of(["a", "b", "c", "d"].map(|name| series(name, [1, 5].into_iter())).into());
        let (found, totals, _) = read(&held, &[r#"{__name__=~"b|d"}"#, "c", r#"{__name__=~"a|b|c"}"#], TimeRange::ALL);
        assert_eq!(found, held.series);
        assert_eq!(totals, Totals { series: 4, samples: 8, ..Totals::default() });
        let (found, totals, _) = read(&held, &["a", "a"], TimeRange { start_ms: 2, end_ms: 5 });
        assert_eq!((found.len(), found[0].1.timestamps_ms.as_slice()), (1, &[5][..]));
        assert_eq!(totals.samples, 1);
        assert_eq!(read(&held, &["a"], TimeRange { start_ms: 2, end_ms: 4 }).1, Totals::default());
    }

    #[test]
    fn chunks_follow_each_other_in_time_and_none_is_too_large() {
        let bucket_count = CHUNK_BUCKETS / 2;
        let large = Histogram { custom_bounds: vec![0.0; bucket_count], ..Histogram::default() };
        let (large, small) = (Arc::new(large), Arc::new(Histogram::default()));
        let over = Arc::new(Histogram { custom_bounds: vec![0.0; CHUNK_BUCKETS + 1], ..Histogram::default() });
        let floats = |count: i64| series("m", (0..count).map(|i| i * 10)).1;
        let some = |of: &Arc<Histogram>, times: &mut dyn Iterator<Item = i64>| {
            times.map(|ms| (ms, of.clone())).collect::<Vec<_>>()
        };
        let limit = CHUNK_SAMPLES as i64;
        for (floats, histograms, wanted) in [
            (floats(limit), vec![], 1),
            (floats(limit + 1), vec![], 2),
            (floats(0), some(&small, &mut (0..limit)), 1),
            (floats(0), some(&small, &mut (0..=limit)), 2),
            (floats(0), some(&large, &mut (0..2)), 1),
            (floats(0), some(&large, &mut (0..3)), 2),
            (floats(0), some(&over, &mut (0..2)), 2),
            (floats(10), some(&large, &mut (0..5).map(|i| i * 20 + 5)), 3),
            (floats(2 * limit), some(&small, &mut [-5, 5, limit * 10 + 5, limit * 30].into_iter()), 2),
        ] {
            let whole = SampleColumns { histograms, ..floats };
            let (mut joined, mut chunks, mut last_ms) = (SampleColumns::default(), 0, i64::MIN);
            cut(&whole, &mut |mut chunk: SampleColumns| {
                let range = chunk.time_range().unwrap();
                assert!(range.start_ms > last_ms && chunk.len() <= CHUNK_SAMPLES);
                (last_ms, chunks) = (range.end_ms, chunks + 1);
                joined.timestamps_ms.append(&mut chunk.timestamps_ms);
                joined.values.append(&mut chunk.values);
                joined.histograms.append(&mut chunk.histograms);
                Ok::<_, Infallible>(())
            })
            .unwrap();
            assert!(joined == whole, "{chunks} chunks");
            assert_eq!(chunks, wanted, "{} {}", whole.len(), whole.histograms.len());
        }
    }

    #[test]
    fn long_and_dense_series_come_whole_in_chunks() {
        let dense = series("dense", 0..3_000_000);
        let sparse = series("sparse", [i64::MIN, -5, 0, 1 << 50, i64::MAX].into_iter());
        let held = Held::of(vec![dense, sparse]);
        let (found, totals, largest) = read(&held, &[r#"{__name__!=""}"#], TimeRange::ALL);
        assert!(found == held.series, "all samples, in order");
        assert_eq!((totals.samples, largest), (3_000_005, CHUNK_SAMPLES));
    }

    #[test]
    fn a_dense_series_is_read_in_pieces_whatever_came_before_it() {
        let sparse = series("a", [0, 1 << 50].into_iter());
        let dense = series("b", (0..2_500_000).map(|i| i * 100));
        let held = Held::of(vec![sparse, dense]);
        let (found, ..) = read(&held, &[r#"{__name__!=""}"#], TimeRange::ALL);
        assert!(found == held.series);
        let largest = held.largest_read.load(Ordering::Relaxed);
        assert!(largest <= READ_SAMPLES, "{largest}");
    }

    #[test]
    fn series_with_samples_that_are_gone_are_counted() {
        let held = ["a", "b"].map(|name| series(name, [if name == "a" { 1 } else { 5 }, 9].into_iter()));
        let held = Held { whole_from_ms: 5, ..Held::of(held.into()) };
        assert_eq!(read(&held, &["a", "b"], TimeRange::ALL).1.rolled_up, 1);
        assert_eq!(read(&held, &["a", "b"], TimeRange { start_ms: 5, end_ms: 10 }).1.rolled_up, 0);
        assert_eq!(read(&held, &["a"], TimeRange { start_ms: 2, end_ms: 4 }).1, Totals::default());
    }
}
