//! Samples of one series from several runs: at equal times the newer wins.

use std::collections::{BTreeMap, BTreeSet};

use model::SampleColumns;

/// Samples of one series, to which newer ones are added: at equal times the newer wins.
pub(crate) struct Merged<'a> {
    pub(crate) out: &'a mut SampleColumns,
    pub(crate) newer: SampleColumns,
}

impl Merged<'_> {
    /// Adds what `read` appends; nothing of it if it fails.
    pub(crate) fn add<E>(&mut self, read: impl FnOnce(&mut SampleColumns) -> Result<(), E>) -> Result<(), E> {
        if self.out.is_empty() {
            return read(self.out).inspect_err(|_| self.out.clear());
        }
        self.newer.clear();
        read(&mut self.newer)?;
        merge(self.out, &mut self.newer);
        Ok(())
    }
}

/// Merges `newer` into `out`. A time is in one of the two columns of the result, floats or histograms.
fn merge(out: &mut SampleColumns, newer: &mut SampleColumns) {
    if newer.is_empty() {
        return;
    }
    let plain = out.histograms.is_empty() && newer.histograms.is_empty();
    let behind = out.timestamps_ms.last().is_none_or(|last| newer.timestamps_ms.first().is_none_or(|t| last < t));
    if plain && behind {
        out.timestamps_ms.append(&mut newer.timestamps_ms);
        out.values.append(&mut newer.values);
        return;
    }
    let replaced: BTreeSet<i64> = newer.histograms.iter().map(|(ms, _)| *ms).collect();
    let older = std::mem::take(out);
    let mut floats = newer.timestamps_ms.iter().copied().zip(newer.values.iter().copied()).peekable();
    for (ms, value) in older.timestamps_ms.into_iter().zip(older.values) {
        while let Some((newer_ms, newer_value)) = floats.next_if(|(newer_ms, _)| *newer_ms <= ms) {
            out.push(newer_ms, newer_value);
        }
        if out.timestamps_ms.last() != Some(&ms) && !replaced.contains(&ms) {
            out.push(ms, value);
        }
    }
    for (ms, value) in floats {
        out.push(ms, value);
    }
    if plain {
        return;
    }
    let mut histograms: BTreeMap<i64, _> = older.histograms.into_iter().collect();
    histograms.retain(|ms, _| newer.timestamps_ms.binary_search(ms).is_err());
    histograms.extend(newer.histograms.drain(..));
    out.histograms = histograms.into_iter().collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use model::Histogram;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn merging_is_writing_over(
            older in prop::collection::btree_map(0_i64..12, any::<bool>(), 0..8),
            newer in prop::collection::btree_map(0_i64..12, any::<bool>(), 0..8),
        ) {
            let columns = |map: &BTreeMap<i64, bool>, value: f64| {
                let mut out = SampleColumns::default();
                for (ms, histogram) in map {
                    if *histogram {
                        out.histograms.push((*ms, Arc::new(Histogram { sum: value, ..Histogram::default() })));
                    } else {
                        out.push(*ms, value);
                    }
                }
                out
            };
            let mut out = columns(&older, 1.0);
            merge(&mut out, &mut columns(&newer, 2.0));
            let mut model: BTreeMap<i64, (bool, f64)> = older.iter().map(|(ms, h)| (*ms, (*h, 1.0))).collect();
            model.extend(newer.iter().map(|(ms, h)| (*ms, (*h, 2.0))));
            let floats: Vec<(i64, f64)> = out.floats().map(|s| (s.timestamp_ms, s.value)).collect();
            let of = |kind: bool| model.iter().filter(move |(_, (h, _))| *h == kind).map(|(ms, (_, v))| (*ms, *v));
            prop_assert_eq!(floats, of(false).collect::<Vec<_>>());
            let histograms: Vec<(i64, f64)> = out.histograms.iter().map(|(ms, h)| (*ms, h.sum)).collect();
            prop_assert_eq!(histograms, of(true).collect::<Vec<_>>());
        }
    }
}
