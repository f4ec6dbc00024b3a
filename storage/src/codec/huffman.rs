//! Canonical Huffman codes of bounded length: lengths from counts, codes from lengths.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Code lengths for symbols that occur so often, 0 for those that do not occur; none if fewer than two do.
///
/// Rare symbols are counted as more frequent until no code is longer than `bits_max`: a little longer than the best
/// codes of bounded length, and found in a few microseconds. There are at most `2^bits_max` symbols.
pub(super) fn code_lengths<const N: usize>(counts: &[u32; N], bits_max: u32) -> Option<[u8; N]> {
    let total: u32 = counts.iter().sum();
    let occur = counts.iter().filter(|count| **count > 0).count();
    if occur < 2 {
        return None;
    }
    let mut least = 1;
    loop {
        let lengths = unbounded(counts, least);
        if lengths.iter().all(|bits| u32::from(*bits) <= bits_max) {
            return Some(lengths);
        }
        // In the end all count the same, and codes have as many bits as the number of symbols.
        least = (least * 2).max(total >> (bits_max + 2));
    }
}

fn unbounded<const N: usize>(counts: &[u32; N], least: u32) -> [u8; N] {
    let mut heap: BinaryHeap<Reverse<(u32, usize)>> =
        counts.iter().enumerate().filter(|(_, c)| **c > 0).map(|(i, c)| Reverse(((*c).max(least), i))).collect();
    // The node above each: symbols first, then the nodes in the order of their making, the root last.
    let mut above = vec![0_usize; 2 * N];
    let mut made = N;
    while let Some(Reverse((low, a))) = heap.pop() {
        let Some(Reverse((high, b))) = heap.pop() else { break };
        (above[a], above[b]) = (made, made);
        heap.push(Reverse((low + high, made)));
        made += 1;
    }
    let mut depths = vec![0_u8; made];
    for node in (N..made.saturating_sub(1)).rev() {
        depths[node] = depths[above[node]] + 1;
    }
    let mut lengths = [0_u8; N];
    for (symbol, length) in lengths.iter_mut().enumerate().filter(|(i, _)| counts[*i] > 0) {
        *length = depths[above[symbol]] + 1;
    }
    lengths
}

/// The codes that follow from the lengths: shorter ones first, then in order of the symbols.
pub(super) fn codes<const N: usize>(lengths: &[u8; N]) -> [u16; N] {
    let mut codes = [0_u16; N];
    let longest = lengths.iter().copied().max().unwrap_or_default();
    let mut next = 0_u16;
    for length in 1..=longest {
        next <<= 1;
        for (code, _) in codes.iter_mut().zip(lengths).filter(|(_, own)| **own == length) {
            *code = next;
            next += 1;
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frequent_symbols_have_short_codes() {
        assert_eq!(code_lengths(&[8, 0, 4, 2, 2], 10), Some([1, 0, 2, 3, 3]));
        assert_eq!(codes(&[1, 0, 2, 3, 3]), [0b0, 0, 0b10, 0b110, 0b111]);
        assert_eq!(code_lengths(&[0, 7, 0], 10), None);
        assert_eq!(code_lengths(&[1, 1_000_000, 0], 10), Some([1, 1, 0]));
    }

    proptest! {
        #[test]
        fn codes_are_complete_and_bounded(shape in prop::collection::vec(0_u32..12, 64), bits_max in 6_u32..=10) {
            // Fibonacci-like counts make the deepest trees.
            let counts: [u32; 64] = std::array::from_fn(|i| shape[i].checked_sub(1).map_or(0, |s| 3_u32.pow(s)));
            prop_assume!(counts.iter().filter(|c| **c > 0).count() >= 2);
            let lengths = code_lengths(&counts, bits_max).unwrap();
            let mut space = 0_u32;
            for (count, length) in counts.iter().zip(lengths) {
                prop_assert_eq!(*count > 0, length > 0);
                prop_assert!(u32::from(length) <= bits_max);
                space += if length > 0 { 1 << (bits_max - u32::from(length)) } else { 0 };
            }
            prop_assert_eq!(space, 1 << bits_max);
        }
    }
}
