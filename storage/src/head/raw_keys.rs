//! From the bytes a sender writes for a series to the series, without reading the labels.
//!
//! Bounded: a shard has a young and an old table. When the young one is full it becomes the old one, and what was in
//! the old one and was not asked for since is forgotten; its sender's labels are parsed once more then.

use hashbrown::HashTable;
use parking_lot::RwLock;

use crate::batch::{RawKey, Resolved, SeriesRef};

const SHARDS: usize = 16;
/// Keys that are remembered at most, by default: eight million, 20 bytes each before the table's slack.
pub(crate) const RAW_KEYS_MAX: usize = 8 << 20;
/// Stands for a series that relabelling drops.
const DROPPED: u32 = u32::MAX;

/// The remembered keys.
#[derive(Debug)]
pub(crate) struct RawKeys {
    shards: Vec<RwLock<Shard>>,
    /// Keys in a shard's young table at which it grows old.
    young_max: usize,
}

#[derive(Debug, Default)]
struct Shard {
    young: HashTable<Entry>,
    old: HashTable<Entry>,
}

/// A key's 128 bits and the series; words, so that it takes 20 bytes.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: [u32; 4],
    series: u32,
}

/// The key as the table keeps it: contexts are spread over the bits, the sender's hash is keyed already.
fn mixed(key: RawKey) -> u128 {
    let context = u128::from(key.context).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    key.hash ^ context.rotate_left(64) ^ context
}

fn words(mixed: u128) -> [u32; 4] {
    [mixed as u32, (mixed >> 32) as u32, (mixed >> 64) as u32, (mixed >> 96) as u32]
}

fn table_hash(key: &[u32; 4]) -> u64 {
    u64::from(key[2]) | u64::from(key[3]) << 32
}

impl RawKeys {
    /// A table for `keys_max` keys.
    pub(crate) fn new(keys_max: usize) -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        RawKeys { shards, young_max: (keys_max / SHARDS / 2).max(1) }
    }

    fn shard(&self, mixed: u128) -> Option<&RwLock<Shard>> {
        self.shards.get(mixed as usize % SHARDS)
    }

    /// What a key stands for. A series must be confirmed alive by the registry.
    pub(crate) fn get(&self, key: RawKey) -> Option<Resolved> {
        let mixed = mixed(key);
        let words = words(mixed);
        let hash = table_hash(&words);
        let shard = self.shard(mixed)?;
        let found = {
            let tables = shard.read();
            if let Some(entry) = tables.young.find(hash, |entry| entry.key == words) {
                return Some(resolved(entry.series));
            }
            tables.old.find(hash, |entry| entry.key == words).copied()?
        };
        self.put(mixed, found.series);
        Some(resolved(found.series))
    }

    /// What each of many keys stands for, in turn, as [`RawKeys::get`].
    ///
    /// A look-up waits for memory most of the time. Side by side, with the locks taken once, they wait together.
    pub(crate) fn get_all(&self, keys: &[RawKey], out: &mut Vec<Option<Resolved>>) {
        let mut grown_old = Vec::new();
        let shards: Vec<_> = self.shards.iter().map(|shard| shard.read()).collect();
        for key in keys {
            let mixed = mixed(*key);
            let words = words(mixed);
            let hash = table_hash(&words);
            let found = shards.get(mixed as usize % SHARDS).and_then(|tables| {
                let young = tables.young.find(hash, |entry| entry.key == words);
                young.map(|entry| entry.series).or_else(|| {
                    let old = tables.old.find(hash, |entry| entry.key == words)?;
                    grown_old.push((mixed, old.series));
                    Some(old.series)
                })
            });
            out.push(found.map(resolved));
        }
        drop(shards);
        for (mixed, series) in grown_old {
            self.put(mixed, series);
        }
    }

    /// Remembers what a key stands for.
    pub(crate) fn insert(&self, key: RawKey, series: Resolved) {
        let series = match series {
            Resolved::Series(series) => series.0,
            Resolved::Dropped => DROPPED,
        };
        self.put(mixed(key), series);
    }

    fn put(&self, mixed: u128, series: u32) {
        let key = words(mixed);
        let hash = table_hash(&key);
        let Some(shard) = self.shard(mixed) else { return };
        let mut tables = shard.write();
        if let Some(entry) = tables.young.find_mut(hash, |entry| entry.key == key) {
            entry.series = series;
            return;
        }
        if tables.young.len() >= self.young_max {
            tables.old = std::mem::take(&mut tables.young);
        }
        tables.young.insert_unique(hash, Entry { key, series }, |entry| table_hash(&entry.key));
    }

    /// Forgets the keys of series that are gone.
    pub(crate) fn forget(&self, gone: impl Fn(SeriesRef) -> bool) {
        for shard in &self.shards {
            let mut tables = shard.write();
            let Shard { young, old } = &mut *tables;
            for table in [young, old] {
                table.retain(|entry| entry.series == DROPPED || !gone(SeriesRef(entry.series)));
            }
        }
    }

    /// Number of keys, and the bytes they take.
    pub(crate) fn size(&self) -> (u64, u64) {
        let (mut count, mut bytes) = (0, 0);
        for shard in &self.shards {
            let tables = shard.read();
            count += tables.young.len() + tables.old.len();
            bytes += (tables.young.capacity() + tables.old.capacity()) * (size_of::<Entry>() + 1);
        }
        (count as u64, bytes as u64)
    }
}

fn resolved(series: u32) -> Resolved {
    if series == DROPPED { Resolved::Dropped } else { Resolved::Series(SeriesRef(series)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(context: u64, hash: u128) -> RawKey {
        RawKey { context, hash }
    }

    #[test]
    fn keys_are_told_apart_by_context_and_hash() {
        let keys = RawKeys::new(1000);
        keys.insert(key(1, 5), Resolved::Series(SeriesRef(7)));
        keys.insert(key(2, 5), Resolved::Dropped);
        assert_eq!(keys.get(key(1, 5)), Some(Resolved::Series(SeriesRef(7))));
        assert_eq!(keys.get(key(2, 5)), Some(Resolved::Dropped));
        assert_eq!((keys.get(key(1, 6)), keys.get(key(3, 5))), (None, None));
        keys.insert(key(1, 5), Resolved::Series(SeriesRef(8)));
        assert_eq!(keys.get(key(1, 5)), Some(Resolved::Series(SeriesRef(8))));
        keys.forget(|series| series == SeriesRef(8));
        assert_eq!((keys.get(key(1, 5)), keys.get(key(2, 5))), (None, Some(Resolved::Dropped)));
    }

    #[test]
    fn the_table_is_bounded_and_keeps_what_is_asked_for() {
        let keys = RawKeys::new(SHARDS * 2 * 10);
        let spread = |i: u64| key(0, u128::from(i) << 64 | u128::from(i));
        for i in 0..10_000 {
            keys.insert(spread(i), Resolved::Dropped);
            assert!(keys.get(spread(0)).is_some(), "asked for all the time, gone after {i}");
            let mut several = Vec::new();
            keys.get_all(&[spread(0), spread(i), spread(u64::MAX)], &mut several);
            assert_eq!(several, [Some(Resolved::Dropped), Some(Resolved::Dropped), None][..], "after {i}");
        }
        assert!(keys.size().0 <= (SHARDS * 2 * 10) as u64, "{:?}", keys.size());
        assert_eq!(keys.get(spread(100)), None);
    }
}
