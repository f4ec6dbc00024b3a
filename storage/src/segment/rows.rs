//! The labels of the series that are being written: pairs interned, one short row per series.
//!
//! Labels cannot be written before all are known, since a pair's id is its place among all pairs; so this is what a
//! segment costs in memory while it is written: a few bytes per series, and each pair once. Series come in label order,
//! so of each only the labels that are not those of the one before are looked up and noted.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;
use hashbrown::{HashMap, HashTable};
use model::Labels;

use crate::format::{Cursor, Put};

/// A label pair as it was first seen.
#[derive(Debug, Clone, Copy)]
struct Pair {
    name: u32,
    /// Where its value is in the text of all values.
    start: usize,
    bytes: u32,
}

/// Collects the labels of series in order.
#[derive(Debug, Default)]
pub(super) struct LabelRows {
    names: Vec<String>,
    name_ids: HashMap<String, u32>,
    values: String,
    pairs: Vec<Pair>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// For each series as varints: number of labels, number of those that differ from the one at the same place of the
    /// series before, and for each of these its distance to the one that differed before, and its pair.
    rows: Vec<u8>,
    series: u32,
    /// The labels of the last series.
    before: Option<Labels>,
    /// Places and pairs of the labels that differ.
    changed: Vec<(usize, u32)>,
}

impl LabelRows {
    /// Adds a series; false if there is no ordinal left for it or for one of its labels.
    pub(super) fn push(&mut self, labels: &Labels) -> bool {
        let count = labels.len();
        if self.series == u32::MAX || self.pairs.len() + count > u32::MAX as usize {
            return false;
        }
        let before = self.before.replace(labels.clone());
        let mut before = before.iter().flatten();
        let mut changed = std::mem::take(&mut self.changed);
        changed.clear();
        for (place, (name, value)) in labels.iter().enumerate() {
            if before.next() != Some((name, value)) {
                changed.push((place, self.intern(name, value)));
            }
        }
        self.rows.put_varint(count as u64);
        self.rows.put_varint(changed.len() as u64);
        let mut next = 0;
        for (place, pair) in &changed {
            self.rows.put_varint((place - next) as u64);
            self.rows.put_varint(u64::from(*pair));
            next = place + 1;
        }
        self.changed = changed;
        self.series += 1;
        true
    }

    /// Number of series.
    pub(super) fn len(&self) -> u32 {
        self.series
    }

    fn intern(&mut self, name: &str, value: &str) -> u32 {
        let name = match self.name_ids.get(name) {
            Some(id) => *id,
            None => {
                let id = self.names.len() as u32;
                self.names.push(name.to_owned());
                self.name_ids.insert(name.to_owned(), id);
                id
            }
        };
        let (values, pairs, hasher) = (&self.values, &self.pairs, &self.hasher);
        let text = |pair: &Pair| values.get(pair.start..pair.start + pair.bytes as usize).unwrap_or_default();
        let hash_of = |pair: &Pair| hasher.hash_one((pair.name, text(pair)));
        let known = self.table.find(hasher.hash_one((name, value)), |id| {
            pairs.get(*id as usize).is_some_and(|pair| pair.name == name && text(pair) == value)
        });
        if let Some(id) = known {
            return *id;
        }
        let id = pairs.len() as u32;
        self.table.insert_unique(hasher.hash_one((name, value)), id, |id| pairs.get(*id as usize).map_or(0, hash_of));
        // Labels bound their texts far below 4 GiB.
        self.pairs.push(Pair { name, start: values.len(), bytes: value.len() as u32 });
        self.values.push_str(value);
        id
    }

    /// Ends collecting: puts names and pairs in order.
    pub(super) fn sorted(self) -> SortedRows {
        let LabelRows { names, values, pairs, rows, series, .. } = self;
        let value = |pair: &Pair| values.get(pair.start..pair.start + pair.bytes as usize).unwrap_or_default();
        let mut name_order: Vec<u32> = (0..names.len() as u32).collect();
        name_order.sort_unstable_by_key(|id| &names[*id as usize]);
        let mut name_ranks = vec![0_u32; names.len()];
        for (rank, id) in (0..).zip(&name_order) {
            name_ranks[*id as usize] = rank;
        }
        let mut order: Vec<u32> = (0..pairs.len() as u32).collect();
        order.sort_unstable_by_key(|id| {
            let pair = &pairs[*id as usize];
            (name_ranks[pair.name as usize], value(pair))
        });
        let mut ranks = vec![0_u32; pairs.len()];
        let mut name_of = Vec::with_capacity(pairs.len());
        for (rank, id) in (0..).zip(&order) {
            ranks[*id as usize] = rank;
            name_of.push(name_ranks[pairs[*id as usize].name as usize]);
        }
        let mut sorted_names = vec![String::new(); names.len()];
        for (name, rank) in names.into_iter().zip(&name_ranks) {
            sorted_names[*rank as usize] = name;
        }
        SortedRows { names: sorted_names, name_of, values, pairs, order, ranks, rows, series }
    }
}

/// Collected labels with their final ids.
#[derive(Debug)]
pub(super) struct SortedRows {
    /// Names in order.
    pub(super) names: Vec<String>,
    /// The name of each pair, as an index of `names`.
    pub(super) name_of: Vec<u32>,
    values: String,
    pairs: Vec<Pair>,
    /// The first-seen number of each pair.
    order: Vec<u32>,
    /// The id of each first-seen number.
    ranks: Vec<u32>,
    rows: Vec<u8>,
    /// Number of series.
    pub(super) series: u32,
}

impl SortedRows {
    /// Number of pairs.
    pub(super) fn pairs(&self) -> u32 {
        self.order.len() as u32
    }

    /// The values of all pairs, in order.
    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        self.order.iter().filter_map(|id| {
            let pair = self.pairs.get(*id as usize)?;
            self.values.get(pair.start..pair.start + pair.bytes as usize)
        })
    }

    /// Number of values of each name, in order.
    pub(super) fn name_counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.names.len()];
        for name in &self.name_of {
            counts[*name as usize] += 1;
        }
        counts
    }

    /// Calls `each` with the pairs of every series in order.
    pub(super) fn for_each(&self, mut each: impl FnMut(&[u32])) {
        let mut cursor = Cursor::new(&self.rows);
        let mut row = Vec::new();
        while let (Ok(count), Ok(changed)) = (cursor.length(), cursor.length()) {
            row.resize(count, 0);
            let mut next = 0;
            for _ in 0..changed {
                let (Ok(distance), Ok(pair)) = (cursor.length(), cursor.length()) else { return };
                next += distance;
                if let (Some(slot), Some(rank)) = (row.get_mut(next), self.ranks.get(pair)) {
                    *slot = *rank;
                }
                next += 1;
            }
            each(&row);
        }
    }

    /// Gives up what only [`SortedRows::for_each`] needs.
    pub(super) fn end_rows(&mut self) {
        (self.rows, self.ranks) = (Vec::new(), Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_come_back(
            sets in prop::collection::vec(prop::collection::btree_map("[a-d]{1,2}", "[xy]{1,2}", 0..6), 0..30),
        ) {
            let mut rows = LabelRows::default();
            let sets: Vec<Labels> =
                sets.iter().map(|s| Labels::from_pairs(s.iter().map(|(n, v)| (n.as_str(), v.as_str()))).unwrap()).collect();
            prop_assert!(sets.iter().all(|labels| rows.push(labels)));
            let rows = rows.sorted();
            let texts: Vec<(&str, &str)> =
                rows.name_of.iter().zip(rows.values()).map(|(n, v)| (rows.names[*n as usize].as_str(), v)).collect();
            prop_assert!(texts.is_sorted_by(|a, b| a < b));
            let mut back = Vec::new();
            rows.for_each(|row| back.push(Labels::from_pairs(row.iter().map(|id| texts[*id as usize])).unwrap()));
            prop_assert_eq!(back, sets);
        }
    }
}
