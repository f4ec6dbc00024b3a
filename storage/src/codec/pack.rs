//! Bit packing: integers of one width, as few bits as they need.
//!
//! A full row of [`ROW`] integers is interleaved so that plain code over arrays becomes vector code and later
//! machine-specific code reads the same bytes: up to width 32 it is eight lanes of `u32` words (integer `i` is in lane
//! `i % 8`, and each lane is a little-endian bit stream of its own, lowest bits first, word `w` of all lanes side by
//! side); above it is four lanes of `u64` words. A shorter run is one little-endian bit stream without lanes. The bytes
//! of either follow from count and width ([`packed_bytes`]).

use super::machine::for_machine;
use crate::format::{FormatError, Put, read_u32s, read_u64s, u64_padded};

/// Integers in a full row.
pub(super) const ROW: usize = 256;

const NARROW_MAX: usize = 32;
/// The widest integer that one word holds wherever in a byte it begins.
const ONE_LOAD_MAX: usize = 57;
const LANES32: usize = 8;
const LANES64: usize = 4;

/// Bytes that `count` integers of a width take.
pub(super) fn packed_bytes(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Bits that the value needs.
pub(super) fn bits(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// Appends the integers; each is below `2^width`.
pub(super) fn pack(values: &[u64], width: u32, out: &mut Vec<u8>) {
    debug_assert!(values.iter().all(|v| bits(*v) <= width), "values fit the width");
    match (values.len(), width as usize) {
        (_, 0) => {}
        (ROW, b @ ..=NARROW_MAX) => pack_row32(values, b, out),
        (ROW, b) => pack_row64(values, b, out),
        (_, b) => pack_run(values, b, out),
    }
}

fn pack_row32(values: &[u64], b: usize, out: &mut Vec<u8>) {
    let mut words = [0_u32; ROW];
    for (i, value) in values.iter().enumerate() {
        let (row, lane) = (i / LANES32, i % LANES32);
        let (word, shift) = (row * b / 32, row * b % 32);
        let wide = value << shift;
        words[word * LANES32 + lane] |= (wide & u64::from(u32::MAX)) as u32;
        if shift + b > 32 {
            words[(word + 1) * LANES32 + lane] |= (wide >> 32) as u32;
        }
    }
    for word in words.iter().take(b * LANES32) {
        out.put_u32(*word);
    }
}

fn pack_row64(values: &[u64], b: usize, out: &mut Vec<u8>) {
    let mut words = [0_u64; ROW];
    for (i, value) in values.iter().enumerate() {
        let (row, lane) = (i / LANES64, i % LANES64);
        let (word, shift) = (row * b / 64, row * b % 64);
        words[word * LANES64 + lane] |= value << shift;
        if shift + b > 64 {
            words[(word + 1) * LANES64 + lane] |= value >> (64 - shift);
        }
    }
    for word in words.iter().take(b * LANES64) {
        out.put_u64(*word);
    }
}

fn pack_run(values: &[u64], b: usize, out: &mut Vec<u8>) {
    let (mut word, mut used) = (0_u128, 0);
    for value in values {
        word |= u128::from(*value) << used;
        used += b;
        while used >= 8 {
            out.put_u8((word & 0xFF) as u8);
            word >>= 8;
            used -= 8;
        }
    }
    if used > 0 {
        out.put_u8((word & 0xFF) as u8);
    }
}

/// Reads `out.len()` integers of a width (at most 64) from exactly the bytes that [`pack`] wrote.
///
/// # Errors
/// [`FormatError`] if there are fewer bytes.
#[inline]
pub(super) fn unpack(bytes: &[u8], width: u32, out: &mut [u64]) -> Result<(), FormatError> {
    if width == 0 {
        out.fill(0);
        return Ok(());
    }
    if let Ok(row) = <&mut [u64; ROW]>::try_from(&mut *out) {
        return if unpack_row(bytes, width as usize, row) {
            Ok(())
        } else {
            Err(FormatError::new("a packed row is too short"))
        };
    }
    if bytes.len() < packed_bytes(out.len(), width) {
        return Err(FormatError::new("a packed run is too short"));
    }
    unpack_run(bytes, width as usize, out);
    Ok(())
}

fn unpack_run(bytes: &[u8], b: usize, out: &mut [u64]) {
    let whole = if b <= ONE_LOAD_MAX { unpack_groups(bytes, b, out) } else { 0 };
    let mask = u64::MAX >> (64 - b);
    let mut bit = whole * b;
    for value in out.iter_mut().skip(whole) {
        let (byte, shift) = (bit / 8, bit % 8);
        let mut word = u64_padded(bytes, byte) >> shift;
        if shift + b > 64 {
            word |= u64_padded(bytes, byte + 8) << (64 - shift);
        }
        *value = word & mask;
        bit += b;
    }
}

/// Unpacks groups of eight, which begin at whole bytes, as long as there is room to read words; says how many integers
/// that were. One function per width, so that all places and shifts are constants.
fn unpack_groups(bytes: &[u8], b: usize, out: &mut [u64]) -> usize {
    macro_rules! by_width {
        ($($n:literal)*) => {
            match b {
                $($n => groups::<$n>(bytes, out),)*
                _ => 0,
            }
        };
    }
    by_width!(
        1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40
        41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57
    )
}

#[inline]
fn groups<const B: usize>(bytes: &[u8], out: &mut [u64]) -> usize {
    let mask = u64::MAX >> (64 - B);
    let mut done = 0;
    for group in out.as_chunks_mut::<8>().0 {
        let start = done / 8 * B;
        let Some(window) = bytes.get(start..start + B + 8) else { break };
        for (i, value) in group.iter_mut().enumerate() {
            let (byte, shift) = (i * B / 8, i * B % 8);
            *value = (u64_padded(window, byte) >> shift) & mask;
        }
        done += 8;
    }
    done
}

for_machine! {
    /// Unpacks a row of at most 32 bits each; false if there are too few bytes. The word after the last is never used:
    /// what it adds lies above the width.
    fn unpack_row32(bytes: &[u8], width: usize, out: &mut [u64; ROW]) -> bool {
        let Some(words) = bytes.as_chunks::<{ LANES32 * 4 }>().0.get(..width) else { return false };
        let mask = u64::from(u32::MAX >> (32 - width));
        for (row, out) in out.as_chunks_mut::<LANES32>().0.iter_mut().enumerate() {
            let (word, shift) = (row * width / 32, row * width % 32);
            let (Some(low), Some(high)) = (words.get(word), words.get((word + 1).min(width - 1))) else { return false };
            let (mut lows, mut highs) = ([0_u32; LANES32], [0_u32; LANES32]);
            read_u32s(low, &mut lows);
            read_u32s(high, &mut highs);
            for ((out, low), high) in out.iter_mut().zip(lows).zip(highs) {
                *out = (u64::from(low) | u64::from(high) << 32) >> shift & mask;
            }
        }
        true
    }
}

for_machine! {
    /// As [`unpack_row32`], for more bits.
    fn unpack_row64(bytes: &[u8], width: usize, out: &mut [u64; ROW]) -> bool {
        let Some(words) = bytes.as_chunks::<{ LANES64 * 8 }>().0.get(..width) else { return false };
        let mask = u64::MAX >> (64 - width);
        for (row, out) in out.as_chunks_mut::<LANES64>().0.iter_mut().enumerate() {
            let (word, shift) = (row * width / 64, row * width % 64);
            let (Some(low), Some(high)) = (words.get(word), words.get((word + 1).min(width - 1))) else { return false };
            let (mut lows, mut highs) = ([0_u64; LANES64], [0_u64; LANES64]);
            read_u64s(low, &mut lows);
            read_u64s(high, &mut highs);
            for ((out, low), high) in out.iter_mut().zip(lows).zip(highs) {
                *out = (low >> shift | high << 1 << (63 - shift)) & mask;
            }
        }
        true
    }
}

fn unpack_row(bytes: &[u8], width: usize, out: &mut [u64; ROW]) -> bool {
    match width {
        1..=NARROW_MAX => unpack_row32(bytes, width, out),
        33..=64 => unpack_row64(bytes, width, out),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_width_and_length_comes_back() {
        let mut state = 1_u64;
        for width in 0..=64_u32 {
            for count in [0, 1, 2, 7, 8, 63, 255, ROW, 300] {
                let values: Vec<u64> = (0..count)
                    .map(|_| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        if width == 0 { 0 } else { (state ^ (state >> 29)) >> (64 - width) }
                    })
                    .collect();
                let mut bytes = Vec::new();
                pack(&values, width, &mut bytes);
                assert_eq!(bytes.len(), packed_bytes(count, width), "width {width}, {count} values");
                let mut back = vec![1; count];
                unpack(&bytes, width, &mut back).unwrap();
                assert_eq!(back, values, "width {width}, {count} values");
                if !bytes.is_empty() {
                    assert!(unpack(&bytes[1..], width, &mut back).is_err());
                }
            }
        }
    }

    #[test]
    fn bytes_are_pinned() {
        let mut bytes = Vec::new();
        pack(&[1, 2, 3, 4, 5], 3, &mut bytes);
        assert_eq!(bytes, [0b1101_0001, 0b0101_1000]);
        let row: Vec<u64> = (0..256).map(|i| i % 16).collect();
        let mut bytes = Vec::new();
        pack(&row, 4, &mut bytes);
        // Lane 0 holds 0, 8, 0, 8, …; lane 1 holds 1, 9, 1, 9, …
        assert_eq!(bytes[..8], [0x80, 0x80, 0x80, 0x80, 0x91, 0x91, 0x91, 0x91]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400), width in 0_u32..=64, count in 0_usize..=256) {
            let mut out = vec![0; count];
            let enough = bytes.len() >= packed_bytes(count, width);
            prop_assert_eq!(unpack(&bytes, width, &mut out).is_ok(), enough);
        }
    }
}
