//! Series of the head in the order of their labels.
//!
//! Texts are ranked first, so that a label is two small numbers; several labels make one key of 128 bits, and only series
//! whose keys are equal are looked at again, by their next labels. The registry's locks are held for some thousand series
//! at a time: sorting a million must not hold up new series.

use super::registry::Registry;
use crate::batch::SeriesRef;

/// Series whose rows are looked at under one set of locks.
const LOCKED: usize = 4096;
const KEY_BITS: u32 = 128;

/// A series with the key of its next labels.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// Two halves, so that a row takes 24 bytes.
    key: [u64; 2],
    series: SeriesRef,
}

/// How labels become keys.
#[derive(Debug)]
struct Keys {
    /// By symbol, from 1 on.
    name_ranks: Vec<u32>,
    value_ranks: Vec<u32>,
    value_bits: u32,
    label_bits: u32,
}

impl Keys {
    /// Ranks the names and values of these series.
    fn new(registry: &Registry, series: &[SeriesRef]) -> Self {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for some in series.chunks(LOCKED) {
            let view = registry.view();
            for (name, value) in some.iter().flat_map(|series| view.pairs(*series)) {
                mark(&mut names, name);
                mark(&mut values, value);
            }
        }
        let symbols = registry.symbols().snapshot();
        let (name_count, value_count) = (symbols.rank(&mut names), symbols.rank(&mut values));
        // 0 stands behind the last label, so there is one number more than ranks.
        let bits = |count: u32| u32::BITS - count.leading_zeros();
        let value_bits = bits(value_count);
        let label_bits = (bits(name_count) + value_bits).max(1);
        Keys { name_ranks: names, value_ranks: values, value_bits, label_bits }
    }

    /// Labels in a key.
    fn labels(&self) -> usize {
        (KEY_BITS / self.label_bits) as usize
    }

    fn label(&self, (name, value): (u32, u32)) -> u128 {
        let rank = |ranks: &[u32], symbol: u32| u128::from(ranks.get(symbol as usize).copied().unwrap_or_default());
        rank(&self.name_ranks, name) << self.value_bits | rank(&self.value_ranks, value)
    }

    /// The key of labels; those missing at the end count as less than any.
    fn key(&self, mut labels: impl Iterator<Item = (u32, u32)>) -> [u64; 2] {
        let of_next = |key: u128, _| key << self.label_bits | labels.next().map_or(0, |label| self.label(label));
        let key = (0..self.labels()).fold(0, of_next);
        [(key >> 64) as u64, key as u64]
    }

    /// True if there may be labels behind those of a key.
    fn goes_on(&self, key: [u64; 2]) -> bool {
        let key = u128::from(key[0]) << 64 | u128::from(key[1]);
        key & ((1 << self.label_bits) - 1) != 0
    }
}

fn mark(marks: &mut Vec<u32>, symbol: u32) {
    let symbol = symbol as usize;
    if marks.len() <= symbol {
        marks.resize(symbol + 1, 0);
    }
    if let Some(slot) = marks.get_mut(symbol) {
        *slot = 1;
    }
}

/// See [`Registry::ordered`].
pub(super) fn ordered(registry: &Registry, series: &[SeriesRef]) -> Vec<SeriesRef> {
    let keys = Keys::new(registry, series);
    let mut rows: Vec<Row> = series.iter().map(|series| Row { key: [0; 2], series: *series }).collect();
    let whole = 0..rows.len();
    let mut groups = vec![whole];
    let mut depth = 0;
    while !groups.is_empty() {
        let mut equal = Vec::new();
        fill(registry, &keys, depth, &groups, &mut rows);
        for group in groups {
            let group_rows = rows.get_mut(group.clone()).unwrap_or_default();
            group_rows.sort_unstable_by_key(|row| row.key);
            let mut start = group.start;
            for same in group_rows.chunk_by(|a, b| a.key == b.key) {
                if same.len() > 1 && same.first().is_some_and(|row| keys.goes_on(row.key)) {
                    equal.push(start..start + same.len());
                }
                start += same.len();
            }
        }
        groups = equal;
        depth += keys.labels();
    }
    rows.iter().map(|row| row.series).collect()
}

/// Gives the rows in these groups the keys of their labels from the place `depth` on.
fn fill(registry: &Registry, keys: &Keys, depth: usize, groups: &[std::ops::Range<usize>], rows: &mut [Row]) {
    let mut view = registry.view();
    let mut locked = 0;
    for group in groups {
        for some in rows.get_mut(group.clone()).unwrap_or_default().chunks_mut(LOCKED) {
            locked += some.len();
            if locked > LOCKED {
                drop(view);
                view = registry.view();
                locked = some.len();
            }
            for row in some {
                row.key = keys.key(view.pairs(row.series).skip(depth));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::Labels;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn order_is_that_of_the_labels(
            sets in prop::collection::btree_set(prop::collection::btree_map("[ab\\x00]{1,2}", "[ab]{1,2}", 0..4), 0..40),
            same in 0_usize..60,
        ) {
            // Many labels that are equal, so that the series differ behind what fits one key.
            let common: Vec<(String, String)> = (0..same).map(|i| (format!("A{i:02}"), format!("{i}"))).collect();
            let registry = Registry::new(crate::options::SeriesLimits::default());
            let mut model: BTreeMap<Labels, SeriesRef> = BTreeMap::new();
            for set in sets {
                let labels = Labels::from_pairs(set.iter().chain(common.iter().map(|(n, v)| (n, v))).map(|(n, v)| (n.as_str(), v.as_str()))).unwrap();
                let series = registry.define(&labels, 0, &()).unwrap();
                model.insert(labels, series);
            }
            let series: Vec<SeriesRef> = model.values().rev().copied().collect();
            prop_assert_eq!(registry.ordered(&series), model.into_values().collect::<Vec<_>>());
        }
    }

    #[test]
    fn more_series_than_are_locked_at_a_time() {
        let registry = Registry::new(crate::options::SeriesLimits::default());
        let labels = |i: u32| {
            Labels::from_pairs([("a", format!("{}", i % 3).as_str()), ("i", format!("{i:06}").as_str())]).unwrap()
        };
        let count = 3 * LOCKED as u32;
        let series: Vec<SeriesRef> = (0..count).map(|i| registry.define(&labels(i), 0, &()).unwrap()).collect();
        let want = (0..3).flat_map(|a| (0..count).filter(move |i| i % 3 == a)).map(|i| series[i as usize]);
        assert!(registry.ordered(&series).into_iter().eq(want));
    }
}
