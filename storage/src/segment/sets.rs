//! Splits the labels of each series in its own and those it shares with others, so that what a target's series have in
//! common is written once.
//!
//! Which names are a series' own is decided for the whole segment by counting: taking `le` out of the shared labels
//! leaves one set where there was one per bucket; taking `instance` out would leave few shared sets, but as many own
//! ones. The choice only decides about size.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;
use hashbrown::{HashSet, HashTable};
use model::METRIC_NAME;

use super::rows::SortedRows;

/// Series that are looked at to decide.
const SAMPLE_SERIES_MAX: usize = 16 << 10;

/// Names that are tried: bounds the work where there are thousands.
const CANDIDATES_MAX: usize = 48;

/// A name becomes a series' own only if that leaves at most this share of the sets, in percent.
const GAIN_PERCENT: usize = 95;

/// The label sets of all series.
#[derive(Debug, Default)]
pub(super) struct SplitRows {
    pub(super) own: SetTable,
    pub(super) shared: SetTable,
    /// For each series its own set and its shared set.
    pub(super) rows: Vec<(u32, u32)>,
}

impl SplitRows {
    /// Splits the labels of all series.
    pub(super) fn new(rows: &SortedRows) -> Self {
        let is_own = own_names(rows);
        let mut split = SplitRows { rows: Vec::with_capacity(rows.series as usize), ..Default::default() };
        let (mut own, mut shared) = (Vec::new(), Vec::new());
        rows.for_each(|row| {
            own.clear();
            shared.clear();
            for pair in row {
                let name = rows.name_of.get(*pair as usize).copied().unwrap_or_default();
                if is_own.get(name as usize) == Some(&true) { own.push(*pair) } else { shared.push(*pair) }
            }
            split.rows.push((split.own.intern(&own), split.shared.intern(&shared)));
        });
        let (own, shared) = (split.own.sort(), split.shared.sort());
        for row in &mut split.rows {
            *row = (own[row.0 as usize], shared[row.1 as usize]);
        }
        split
    }
}

/// Different sets of pairs.
#[derive(Debug, Default)]
pub(super) struct SetTable {
    pairs: Vec<u32>,
    ends: Vec<usize>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The set that was asked for last.
    last: Option<u32>,
    /// The sets in order, once sorted.
    order: Vec<u32>,
}

impl SetTable {
    fn intern(&mut self, set: &[u32]) -> u32 {
        // Neighbours often have one of their two sets in common.
        if let Some(last) = self.last.filter(|last| self.first_seen(*last) == set) {
            return last;
        }
        let id = self.look_up(set);
        self.last = Some(id);
        id
    }

    fn look_up(&mut self, set: &[u32]) -> u32 {
        let hash = self.hasher.hash_one(set);
        if let Some(id) = self.table.find(hash, |id| self.first_seen(*id) == set) {
            return *id;
        }
        // There are no more sets than series.
        let id = self.ends.len() as u32;
        self.pairs.extend_from_slice(set);
        self.ends.push(self.pairs.len());
        let (pairs, ends, hasher) = (&self.pairs, &self.ends, &self.hasher);
        self.table.insert_unique(hash, id, |id| hasher.hash_one(slice(pairs, ends, *id)));
        id
    }

    fn first_seen(&self, id: u32) -> &[u32] {
        slice(&self.pairs, &self.ends, id)
    }

    /// Puts the sets in order; gives the final id of each first-seen number.
    fn sort(&mut self) -> Vec<u32> {
        self.table = HashTable::new();
        let mut order: Vec<u32> = (0..self.ends.len() as u32).collect();
        order.sort_unstable_by(|a, b| self.first_seen(*a).cmp(self.first_seen(*b)));
        let mut ranks = vec![0; order.len()];
        for (rank, id) in (0..).zip(&order) {
            ranks[*id as usize] = rank;
        }
        self.order = order;
        ranks
    }

    /// Number of sets.
    pub(super) fn len(&self) -> u32 {
        self.ends.len() as u32
    }

    /// A set by its final id.
    pub(super) fn get(&self, id: u32) -> &[u32] {
        self.order.get(id as usize).map_or(&[], |first_seen| self.first_seen(*first_seen))
    }
}

fn slice<'a>(pairs: &'a [u32], ends: &[usize], id: u32) -> &'a [u32] {
    let start = (id as usize).checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
    ends.get(id as usize).and_then(|end| pairs.get(start..*end)).unwrap_or_default()
}

/// For each name whether it is a series' own.
fn own_names(rows: &SortedRows) -> Vec<bool> {
    let sample = sample(rows);
    let name_of = |pair: u32| rows.name_of.get(pair as usize).copied().unwrap_or_default() as usize;
    let mut is_own: Vec<bool> = rows.names.iter().map(|name| name == METRIC_NAME).collect();
    // Each series as two sums, one number per pair, so that moving a pair from one set to the other is a subtraction.
    let mut sums: Vec<(u64, u64)> = Vec::with_capacity(sample.len());
    for row in &sample {
        let of = |own: bool| {
            row.iter().filter(|pair| is_own[name_of(**pair)] == own).fold(0_u64, |sum, p| sum.wrapping_add(mix(*p)))
        };
        sums.push((of(true), of(false)));
    }
    let candidates = frequent_names(&sample, is_own.len(), name_of);
    let distinct = |sums: &mut dyn Iterator<Item = u64>| sums.collect::<HashSet<u64>>().len();
    let mut sets = distinct(&mut sums.iter().map(|s| s.0)) + distinct(&mut sums.iter().map(|s| s.1));
    loop {
        let mut best: Option<(usize, usize)> = None;
        for name in candidates.iter().copied().filter(|name| !is_own[*name]) {
            let moved = sample.iter().zip(&sums).map(|(row, sum)| move_name(row, *sum, |pair| name_of(pair) == name));
            let (own, shared): (HashSet<u64>, HashSet<u64>) = moved.unzip();
            let count = own.len() + shared.len();
            if best.is_none_or(|(fewest, _)| count < fewest) {
                best = Some((count, name));
            }
        }
        let Some((count, name)) = best.filter(|(count, _)| count * 100 < sets * GAIN_PERCENT) else { break };
        for (row, sum) in sample.iter().zip(&mut sums) {
            *sum = move_name(row, *sum, |pair| name_of(pair) == name);
        }
        is_own[name] = true;
        sets = count;
    }
    is_own
}

/// The names that most series have.
fn frequent_names(sample: &[Vec<u32>], names: usize, name_of: impl Fn(u32) -> usize) -> Vec<usize> {
    let mut counts = vec![0_usize; names];
    sample.iter().flatten().for_each(|pair| counts[name_of(*pair)] += 1);
    let mut order: Vec<usize> = (0..names).filter(|name| counts[*name] > 0).collect();
    order.sort_by_key(|name| std::cmp::Reverse(counts[*name]));
    order.truncate(CANDIDATES_MAX);
    order
}

fn move_name(row: &[u32], (own, shared): (u64, u64), is_moved: impl Fn(u32) -> bool) -> (u64, u64) {
    let moved = row.iter().find(|pair| is_moved(**pair)).map_or(0, |pair| mix(*pair));
    (own.wrapping_add(moved), shared.wrapping_sub(moved))
}

/// A number for a pair that spreads over 64 bits (splitmix64).
fn mix(pair: u32) -> u64 {
    let mut z = u64::from(pair).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// All series, or if there are many a share of the targets: whether a series is in depends on that one of its labels
/// whose name has the most values, which is mostly the instance.
fn sample(rows: &SortedRows) -> Vec<Vec<u32>> {
    let counts = rows.name_counts();
    let values_of = |pair: &u32| {
        let name = rows.name_of.get(*pair as usize).copied().unwrap_or_default();
        counts.get(name as usize).copied().unwrap_or_default()
    };
    let every = (rows.series as usize).div_ceil(SAMPLE_SERIES_MAX).max(1) as u64;
    let mut sample = Vec::new();
    rows.for_each(|row| {
        let key = row.iter().copied().max_by_key(values_of);
        if sample.len() < 2 * SAMPLE_SERIES_MAX && mix(key.unwrap_or(0)).is_multiple_of(every) {
            sample.push(row.to_vec());
        }
    });
    sample
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;
    use crate::segment::rows::LabelRows;

    #[test]
    fn what_targets_have_in_common_is_found() {
        let mut all = std::collections::BTreeSet::new();
        for target in 0..200 {
            let instance = format!("host-{target}:9100");
            let base = [("instance", instance.as_str()), ("job", "node"), ("rack", if target < 9 { "a" } else { "b" })];
            for name in ["up", "load"] {
                all.insert(Labels::from_pairs([&base[..], &[("__name__", name)]].concat()).unwrap());
            }
            for le in ["1", "2", "3", "+Inf"] {
                let own = [("__name__", "latency_bucket"), ("le", le)];
                all.insert(Labels::from_pairs([&base[..], &own].concat()).unwrap());
            }
        }
        let mut rows = LabelRows::default();
        assert!(all.iter().all(|labels| rows.push(labels)));
        let rows = rows.sorted();
        let split = SplitRows::new(&rows);
        assert_eq!((split.own.len(), split.shared.len()), (6, 200));
        // Put together again, the pairs are those of the series.
        let names_and_values: Vec<(String, String)> = rows
            .name_of
            .iter()
            .zip(rows.values())
            .map(|(n, v)| (rows.names[*n as usize].clone(), v.to_owned()))
            .collect();
        for (labels, (own, shared)) in all.iter().zip(&split.rows) {
            let pairs = split.own.get(*own).iter().chain(split.shared.get(*shared));
            let pairs = pairs.map(|p| &names_and_values[*p as usize]).map(|(n, v)| (n.as_str(), v.as_str()));
            assert_eq!(&Labels::from_pairs(pairs).unwrap(), labels);
        }
    }
}
