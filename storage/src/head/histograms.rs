//! The native histogram samples of one generation of the head, beside its chunks of floats.
//!
//! Samples stand in the order in which they came, each with the distance of its batch, so that a snapshot sees those
//! up to its own. At equal times the later batch wins, whichever kind its sample is: a float that may come after a
//! histogram of its time leaves a note here.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;
use model::{Histogram, SampleColumns, TimeRange};

use crate::batch::SeriesRef;
use crate::db::prepared::DAY_MS;

/// The histograms of all series.
#[derive(Debug, Default)]
pub(crate) struct Histograms {
    series: HashMap<SeriesRef, Column>,
    /// A bit for each number of a series that has histograms: most floats are of others.
    has: Vec<u64>,
    bytes: usize,
}

/// The histograms of one series.
#[derive(Debug)]
struct Column {
    /// In the order of arrival.
    entries: Vec<Entry>,
    newest_ms: i64,
}

/// A histogram, or the note that a float was written at its time.
#[derive(Debug)]
struct Entry {
    /// The batch, as chunks count them.
    sequence: u32,
    timestamp_ms: i64,
    histogram: Option<Arc<Histogram>>,
}

impl Column {
    /// What a snapshot at `cap` sees in the range: the last entry at each time, in order of time.
    fn visible(&self, cap: u32, range: TimeRange) -> Vec<&Entry> {
        let entries =
            self.entries.get(..self.entries.partition_point(|entry| entry.sequence <= cap)).unwrap_or_default();
        let mut seen: Vec<&Entry> = entries.iter().filter(|entry| range.contains(entry.timestamp_ms)).collect();
        seen.sort_by_key(|entry| entry.timestamp_ms);
        seen.dedup_by(|later, earlier| {
            let same = later.timestamp_ms == earlier.timestamp_ms;
            if same {
                *earlier = *later;
            }
            same
        });
        seen
    }
}

impl Histograms {
    /// True if there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Adds a histogram of the batch `sequence`.
    pub(crate) fn push(&mut self, series: SeriesRef, sequence: u32, timestamp_ms: i64, histogram: Arc<Histogram>) {
        self.bytes += size_of::<Entry>() + size_of::<Histogram>() + histogram.heap_bytes();
        let column = self.series.entry(series).or_insert(Column { entries: Vec::new(), newest_ms: i64::MIN });
        column.newest_ms = column.newest_ms.max(timestamp_ms);
        column.entries.push(Entry { sequence, timestamp_ms, histogram: Some(histogram) });
        let word = series.0 as usize / 64;
        if self.has.len() <= word {
            self.has.resize(word + 1, 0);
        }
        if let Some(bits) = self.has.get_mut(word) {
            *bits |= 1 << (series.0 % 64);
        }
    }

    /// Notes a float of the batch `sequence`.
    pub(crate) fn note_float(&mut self, series: SeriesRef, sequence: u32, timestamp_ms: i64) {
        let bits = self.has.get(series.0 as usize / 64).copied().unwrap_or(0);
        if bits & (1 << (series.0 % 64)) == 0 {
            return;
        }
        if let Some(column) = self.series.get_mut(&series).filter(|column| timestamp_ms <= column.newest_ms) {
            self.bytes += size_of::<Entry>();
            column.entries.push(Entry { sequence, timestamp_ms, histogram: None });
        }
    }

    /// True if a snapshot at `cap` sees a histogram of the series in the range.
    pub(crate) fn has_samples(&self, series: SeriesRef, cap: u32, range: TimeRange) -> bool {
        let column = self.series.get(&series);
        column.is_some_and(|column| column.visible(cap, range).iter().any(|entry| entry.histogram.is_some()))
    }

    /// True if the series has any histogram.
    pub(crate) fn holds(&self, series: SeriesRef) -> bool {
        self.series.contains_key(&series)
    }

    /// Adds to the floats in `out` what a snapshot at `cap` sees of the series in the range; floats that a histogram was
    /// written over go.
    pub(crate) fn read(&self, series: SeriesRef, cap: u32, range: TimeRange, out: &mut SampleColumns) {
        let Some(column) = self.series.get(&series) else { return };
        for entry in column.visible(cap, range) {
            let Some(histogram) = &entry.histogram else { continue };
            if let Ok(at) = out.timestamps_ms.binary_search(&entry.timestamp_ms) {
                out.timestamps_ms.remove(at);
                out.values.remove(at);
            }
            out.histograms.push((entry.timestamp_ms, histogram.clone()));
        }
    }

    /// First and last time of a series' histograms.
    pub(crate) fn times(&self, series: SeriesRef) -> Option<TimeRange> {
        let times = self.series.get(&series)?.entries.iter().map(|entry| entry.timestamp_ms);
        times.map(|ms| TimeRange { start_ms: ms, end_ms: ms }).reduce(|a, b| a.union(&b))
    }

    /// Adds the UTC days of a series' histograms.
    pub(crate) fn add_days(&self, series: SeriesRef, days: &mut BTreeSet<i64>) {
        let entries = self.series.get(&series).map_or(&[][..], |column| &column.entries);
        days.extend(entries.iter().map(|entry| entry.timestamp_ms.div_euclid(DAY_MS)));
    }

    /// The series that have histograms.
    pub(crate) fn series(&self) -> impl Iterator<Item = SeriesRef> + '_ {
        self.series.keys().copied()
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.has.capacity() * size_of::<u64>() + self.series.capacity() * size_of::<(SeriesRef, Column)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn the_last_write_of_either_kind_wins(
            writes in prop::collection::vec((0_i64..6, any::<bool>()), 0..40), cap in 0_u32..45,
        ) {
            let series = SeriesRef::at(1, 2);
            let (mut histograms, mut floats, mut want) = (Histograms::default(), BTreeMap::new(), BTreeMap::new());
            for (i, (ms, is_histogram)) in writes.iter().enumerate() {
                let (sequence, value) = (i as u32 + 1, i as f64);
                if *is_histogram {
                    histograms.push(series, sequence, *ms, Arc::new(Histogram { sum: value, ..Histogram::default() }));
                } else {
                    histograms.note_float(series, sequence, *ms);
                }
                if sequence <= cap {
                    want.insert(*ms, (*is_histogram, value));
                    if !is_histogram {
                        floats.insert(*ms, value);
                    }
                }
            }
            let mut out = SampleColumns::default();
            floats.iter().for_each(|(ms, value)| out.push(*ms, *value));
            histograms.read(series, cap, TimeRange::ALL, &mut out);
            let mut found: BTreeMap<i64, (bool, f64)> =
                out.floats().map(|s| (s.timestamp_ms, (false, s.value))).collect();
            let floats_found = found.len();
            found.extend(out.histograms.iter().map(|(ms, h)| (*ms, (true, h.sum))));
            prop_assert_eq!(found.len(), floats_found + out.histograms.len(), "each time is in one column");
            prop_assert_eq!(&found, &want);
            let any = want.values().any(|(is_histogram, _)| *is_histogram);
            prop_assert_eq!(histograms.has_samples(series, cap, TimeRange::ALL), any);
        }
    }
}
