//! Decoded blocks that others are written beside. The series of a family follow one another, so each thread keeps the
//! last few; without them a histogram's bucket would decode all those before it in its row of bases.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Series of which a thread keeps blocks: a histogram's, mostly.
const SERIES: usize = 16;

/// Blocks that it keeps of each: a day of scrapes. A block has 16 KiB at most, so this is a MiB if histograms are read.
const BLOCKS: usize = 4;

/// Which block: segment, ordinal of the series, number of the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockKey {
    pub(super) segment: u64,
    pub(super) ordinal: u32,
    pub(super) block: usize,
}

type Slot = (Option<BlockKey>, Vec<f64>);

thread_local! {
    static SLOTS: RefCell<[Slot; SERIES * BLOCKS]> =
        const { RefCell::new([const { (None, Vec::new()) }; SERIES * BLOCKS]) };
}

/// A number that no other open segment of this process has.
pub(super) fn next_segment() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn with_slot<R>(key: BlockKey, visit: impl FnOnce(&mut Slot) -> R) -> Option<R> {
    let at = key.ordinal as usize % SERIES * BLOCKS + key.block % BLOCKS;
    SLOTS.with_borrow_mut(|slots| slots.get_mut(at).map(visit))
}

/// Takes the values of a block out, if they are kept; give them back with [`give`].
pub(super) fn take(key: BlockKey) -> Option<Vec<f64>> {
    with_slot(key, |slot| slot.0.take_if(|kept| *kept == key).map(|_| std::mem::take(&mut slot.1))).flatten()
}

/// Keeps the values of a block.
pub(super) fn give(key: BlockKey, values: Vec<f64>) {
    with_slot(key, |slot| *slot = (Some(key), values));
}

/// Keeps a copy of the values of a block.
pub(super) fn keep(key: BlockKey, values: &[f64]) {
    with_slot(key, |(kept, copy)| {
        *kept = Some(key);
        copy.clear();
        copy.extend_from_slice(values);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_by_all_of_their_key() {
        let key = BlockKey { segment: next_segment(), ordinal: 3, block: 1 };
        assert_ne!(key.segment, next_segment());
        keep(key, &[1.0, 2.0]);
        assert_eq!(take(BlockKey { block: 0, ..key }), None);
        assert_eq!(take(BlockKey { segment: u64::MAX, ..key }), None);
        assert_eq!(take(BlockKey { ordinal: 3 + SERIES as u32, ..key }), None);
        assert_eq!(take(key), Some(vec![1.0, 2.0]));
        assert_eq!(take(key), None, "it is out");
        give(key, vec![3.0]);
        keep(BlockKey { ordinal: 3 + SERIES as u32, ..key }, &[4.0]);
        assert_eq!(take(key), None, "another has its place");
    }
}
