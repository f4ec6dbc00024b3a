//! The newest sample of each series and when its last batch arrived, without looking at any chunk or segment.

use model::Sample;
use parking_lot::RwLock;

use super::registry::SHARD_COUNT;
use crate::batch::SeriesRef;

/// By series, sharded as the registry is.
#[derive(Debug)]
pub(crate) struct Newest {
    shards: Vec<RwLock<Vec<NewestSample>>>,
}

/// The newest sample of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NewestSample {
    /// The sample with the greatest time; of equal times the last written.
    pub(crate) sample: Sample,
    /// When the last batch with this series arrived.
    pub(crate) arrived_ms: i64,
}

/// No sample yet.
const NONE: NewestSample = NewestSample { sample: Sample { timestamp_ms: 0, value: 0.0 }, arrived_ms: i64::MIN };

impl Newest {
    /// Nothing is known.
    pub(crate) fn new() -> Self {
        Newest { shards: (0..SHARD_COUNT).map(|_| RwLock::default()).collect() }
    }

    /// Notes the samples of a batch; appends to `first` the series that have their first one.
    pub(crate) fn apply(&self, arrived_ms: i64, samples: &[(SeriesRef, i64, f64)], first: &mut Vec<SeriesRef>) {
        let arrived_ms = arrived_ms.max(i64::MIN + 1);
        let mut shards: Vec<_> = self.shards.iter().map(|shard| shard.write()).collect();
        for (series, timestamp_ms, value) in samples {
            let Some(shard) = shards.get_mut(series.shard()) else { continue };
            let place = series.place();
            if shard.len() <= place {
                shard.resize(place + 1, NONE);
            }
            let Some(newest) = shard.get_mut(place) else { continue };
            let sample = Sample { timestamp_ms: *timestamp_ms, value: *value };
            if newest.arrived_ms == NONE.arrived_ms {
                *newest = NewestSample { sample, arrived_ms };
                first.push(*series);
                continue;
            }
            newest.arrived_ms = arrived_ms;
            if newest.sample.timestamp_ms <= *timestamp_ms {
                newest.sample = sample;
            }
        }
    }

    /// The newest sample of a series, if it has one.
    pub(crate) fn get(&self, series: SeriesRef) -> Option<NewestSample> {
        let found = self.shards.get(series.shard())?.read().get(series.place()).copied();
        found.filter(|newest| newest.arrived_ms != NONE.arrived_ms)
    }

    /// Forgets series that are gone.
    pub(crate) fn forget(&self, gone: &[SeriesRef]) {
        for series in gone {
            let Some(shard) = self.shards.get(series.shard()) else { continue };
            if let Some(newest) = shard.write().get_mut(series.place()) {
                *newest = NONE;
            }
        }
    }

    /// Bytes of all entries.
    pub(crate) fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| (shard.read().capacity() * size_of::<NewestSample>()) as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_time_counts_and_of_equal_ones_the_last() {
        let (newest, mut first) = (Newest::new(), Vec::new());
        let series = SeriesRef::at(2, 5);
        newest.apply(100, &[(series, 10, 1.0), (series, 10, 2.0)], &mut first);
        newest.apply(200, &[(series, 9, 3.0)], &mut first);
        let sample = Sample { timestamp_ms: 10, value: 2.0 };
        assert_eq!(newest.get(series), Some(NewestSample { sample, arrived_ms: 200 }));
        assert_eq!((first.as_slice(), newest.get(SeriesRef::at(2, 4))), (&[series][..], None));
        newest.forget(&[series]);
        assert_eq!(newest.get(series), None);
    }
}
