//! Up to [`ROW`] integers in the form that is smallest for them: packed above a base, packed with exceptions (with
//! width 0: a sparse list of what differs from the base), Rice, or plain words.
//!
//! The first byte has the form in its top two bits and a width in the lower six.
//! | form | after the first byte |
//! |---|---|
//! | 0 packed | base (signed varint); each integer less the base, in width bits |
//! | 1 exceptions | base; count of exceptions (a byte, not 0); width of gaps (a byte); width of values (a byte); the gaps (positions between this exception and the one before), packed; the values, packed: zigzag of the difference from the base, less 1; all integers packed as in form 0, exceptions as 0 |
//! | 2 Rice | base; the low width bits of each zigzag difference from the base, packed; length of the rest (varint); for each integer as many 0 bits as the difference has above the width, then a 1, lowest bit of a byte first |
//! | 3 words | width 0; each integer in 64 bits, packed |
//!
//! All arithmetic wraps: any 64-bit integers can be carried.

use super::Preference;
use super::machine::for_machine;
use super::pack::{ROW, bits, pack, packed_bytes, unpack};
use crate::format::{Cursor, FormatError, Put, unzigzag, varint_len, zigzag};

const FORM_PACKED: u8 = 0;
const FORM_EXCEPTIONS: u8 = 1;
const FORM_RICE: u8 = 2;
const FORM_WORDS: u8 = 3;
const WIDTH_MAX: u32 = 63;

/// Exceptions that the search considers; beyond, packing wider was always smaller on measured data.
const EXCEPTIONS_MAX: usize = 48;
const EXCEPTIONS_HEADER_BITS: usize = 24;

/// Appends at most [`ROW`] integers.
pub(super) fn encode(values: &[i64], preference: Preference, out: &mut Vec<u8>) {
    debug_assert!(values.len() <= ROW, "a miniblock is one row");
    let mut row = [0_i64; ROW];
    let sorted = &mut row[..values.len()];
    sorted.copy_from_slice(values);
    sorted.sort_unstable();
    let plan = Packed::plan(sorted);
    if plan.bits >= values.len() * 64 {
        out.put_u8(FORM_WORDS << 6);
        let words: Vec<u64> = values.iter().map(|v| v.cast_unsigned()).collect();
        pack(&words, 64, out);
        return;
    }
    if let Some(rice) = Rice::plan(values, sorted, preference.rice_bits_max(plan.bits)) {
        rice.encode(values, out);
        return;
    }
    plan.encode(values, out);
}

/// How a row is packed above a base, with or without exceptions.
#[derive(Debug, Clone, Copy)]
struct Packed {
    base: i64,
    width: u32,
    exceptions: usize,
    /// Estimated size without the first byte.
    bits: usize,
}

impl Packed {
    /// Finds base and width: the window of width bits over the sorted values that is cheapest with what lies outside.
    fn plan(sorted: &[i64]) -> Packed {
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else {
            return Packed { base: 0, width: 0, exceptions: 0, bits: 8 };
        };
        let n = sorted.len();
        let full = bits(max.wrapping_sub(min).cast_unsigned());
        let whole = Packed { base: min, width: full, exceptions: 0, bits: base_bits(min) + n * full as usize };
        let mut best = if full > WIDTH_MAX { Packed { bits: usize::MAX, ..whole } } else { whole };
        let exceptions_max = EXCEPTIONS_MAX.min(n / 4);
        for width in (0..full.min(WIDTH_MAX + 1)).rev() {
            let Some((start, end)) = widest_window(sorted, width, exceptions_max) else { break };
            let base = sorted[start];
            let exceptions = n - (end - start);
            let value_bits = bits(zigzag(min.wrapping_sub(base)).max(zigzag(max.wrapping_sub(base))) - 1).max(1);
            let gap_bits = bits((n / exceptions.max(1)) as u64) + 1;
            let cost = base_bits(base)
                + n * width as usize
                + EXCEPTIONS_HEADER_BITS
                + exceptions * (value_bits + gap_bits) as usize;
            if cost < best.bits {
                best = Packed { base, width, exceptions, bits: cost };
            }
        }
        best
    }

    fn encode(self, values: &[i64], out: &mut Vec<u8>) {
        let mut offsets = [0_u64; ROW];
        let offsets = &mut offsets[..values.len()];
        for (offset, value) in offsets.iter_mut().zip(values) {
            *offset = value.wrapping_sub(self.base).cast_unsigned();
        }
        // Offsets wrap: a value far below the base may fit although it was planned as an exception.
        let exceptions = self.exceptions > 0 && offsets.iter().any(|offset| bits(*offset) > self.width);
        let form = if exceptions { FORM_EXCEPTIONS } else { FORM_PACKED };
        out.put_u8(form << 6 | self.width as u8);
        out.put_zigzag(self.base);
        if exceptions {
            put_exceptions(offsets, self.width, out);
        }
        pack(offsets, self.width, out);
    }
}

fn base_bits(base: i64) -> usize {
    8 * varint_len(zigzag(base))
}

/// The largest run of sorted values that fits the width, if it leaves out at most `left_out_max`.
fn widest_window(sorted: &[i64], width: u32, left_out_max: usize) -> Option<(usize, usize)> {
    let n = sorted.len();
    let mut best: Option<(usize, usize)> = None;
    let mut end = n - left_out_max;
    for start in 0..=left_out_max {
        let fits = |end: usize| bits(sorted[end].wrapping_sub(sorted[start]).cast_unsigned()) <= width;
        end = end.max(start + n - left_out_max).min(n);
        if !fits(end - 1) {
            continue;
        }
        while end < n && fits(end) {
            end += 1;
        }
        if best.is_none_or(|(s, e)| end - start > e - s) {
            best = Some((start, end));
        }
        if end == n {
            break;
        }
    }
    best
}

/// Writes what does not fit the width and sets it to 0.
fn put_exceptions(offsets: &mut [u64], width: u32, out: &mut Vec<u8>) {
    let (mut gaps, mut excess) = (Vec::with_capacity(EXCEPTIONS_MAX), Vec::with_capacity(EXCEPTIONS_MAX));
    let mut next = 0;
    for (i, offset) in offsets.iter_mut().enumerate() {
        if bits(*offset) > width {
            gaps.push((i - next) as u64);
            excess.push(zigzag(offset.cast_signed()) - 1);
            *offset = 0;
            next = i + 1;
        }
    }
    let width_of = |list: &[u64]| bits(list.iter().copied().max().unwrap_or_default());
    let (gap_width, value_width) = (width_of(&gaps), width_of(&excess));
    out.put_u8(gaps.len() as u8);
    out.put_u8(gap_width as u8);
    out.put_u8(value_width as u8);
    pack(&gaps, gap_width, out);
    pack(&excess, value_width, out);
}

/// Quotients in unary, remainders packed.
#[derive(Debug, Clone, Copy)]
struct Rice {
    base: i64,
    width: u32,
}

impl Rice {
    /// The best Rice coding, if it takes at most `bits_max`.
    fn plan(values: &[i64], sorted: &[i64], bits_max: usize) -> Option<Rice> {
        let base = *sorted.get(sorted.len() / 2)?;
        let difference = |v: &i64| zigzag(v.wrapping_sub(base));
        let low = bits_max / values.len().max(1);
        let sum = values.iter().try_fold(0_u64, |sum, v| sum.checked_add(difference(v)))?;
        let guess = bits(sum / values.len() as u64).saturating_sub(1);
        let mut best: Option<(usize, u32)> = None;
        for width in [guess.saturating_sub(1), guess, guess + 1] {
            if width as usize > low || width > 32 {
                continue;
            }
            let unary: u64 = values.iter().map(|v| (difference(v) >> width) + 1).sum();
            let cost = base_bits(base) + 16 + values.len() * width as usize + usize::try_from(unary).ok()?;
            if cost <= bits_max && best.is_none_or(|(c, _)| cost < c) {
                best = Some((cost, width));
            }
        }
        best.map(|(_, width)| Rice { base, width })
    }

    fn encode(self, values: &[i64], out: &mut Vec<u8>) {
        out.put_u8(FORM_RICE << 6 | self.width as u8);
        out.put_zigzag(self.base);
        let mut low = [0_u64; ROW];
        let low = &mut low[..values.len()];
        let mut unary = Vec::with_capacity(ROW);
        let mut bit = 0;
        for (low, value) in low.iter_mut().zip(values) {
            let difference = zigzag(value.wrapping_sub(self.base));
            *low = difference & ((1 << self.width) - 1);
            bit += (difference >> self.width) as usize;
            unary.resize(bit / 8 + 1, 0_u8);
            unary[bit / 8] |= 1 << (bit % 8);
            bit += 1;
        }
        pack(low, self.width, out);
        out.put_varint(unary.len() as u64);
        out.extend_from_slice(&unary);
    }
}

/// Reads `out.len()` integers, at most [`ROW`]; `words` is as long and free to use.
///
/// # Errors
/// [`FormatError`] if the bytes are not a miniblock of that many integers.
#[inline]
pub(super) fn decode(cursor: &mut Cursor<'_>, words: &mut [u64], out: &mut [i64]) -> Result<(), FormatError> {
    let first = cursor.u8()?;
    let (form, width) = (first >> 6, u32::from(first & 0x3F));
    match form {
        FORM_PACKED => {
            let base = cursor.zigzag()?;
            unpack_above(cursor, width, base, words, out)?;
        }
        FORM_EXCEPTIONS => decode_exceptions(cursor, width, words, out)?,
        FORM_RICE => decode_rice(cursor, width, words, out)?,
        _ if width == 0 => {
            unpack_above(cursor, 64, 0, words, out)?;
        }
        _ => return Err(cursor.error("a miniblock of an unknown form")),
    }
    Ok(())
}

#[inline]
fn unpack_next(cursor: &mut Cursor<'_>, width: u32, out: &mut [u64]) -> Result<(), FormatError> {
    let bytes = cursor.take(packed_bytes(out.len(), width))?;
    unpack(bytes, width, out)
}

/// Reads integers that were packed above a base.
#[inline]
fn unpack_above(
    cursor: &mut Cursor<'_>,
    width: u32,
    base: i64,
    words: &mut [u64],
    out: &mut [i64],
) -> Result<(), FormatError> {
    if width == 0 {
        out.fill(base);
        return Ok(());
    }
    unpack_next(cursor, width, words)?;
    add_base(words, base, out);
    Ok(())
}

for_machine! {
    fn add_base(words: &[u64], base: i64, out: &mut [i64]) {
        for (out, word) in out.iter_mut().zip(words) {
            *out = word.cast_signed().wrapping_add(base);
        }
    }
}

fn decode_exceptions(
    cursor: &mut Cursor<'_>,
    width: u32,
    words: &mut [u64],
    out: &mut [i64],
) -> Result<(), FormatError> {
    let base = cursor.zigzag()?;
    let count = usize::from(cursor.u8()?);
    let (gap_width, value_width) = (u32::from(cursor.u8()?), u32::from(cursor.u8()?));
    if count == 0 || count > words.len() || gap_width > 8 || value_width > 64 {
        return Err(cursor.error("exceptions that cannot be"));
    }
    let gaps = cursor.take(packed_bytes(count, gap_width))?;
    let excess = cursor.take(packed_bytes(count, value_width))?;
    unpack_above(cursor, width, base, words, out)?;
    // The words are free again, and clearing arrays would take longer than the few exceptions that there are mostly.
    if let Some((gap_words, rest)) = words.split_at_mut_checked(count)
        && let Some(excess_words) = rest.get_mut(..count)
    {
        unpack(gaps, gap_width, gap_words)?;
        unpack(excess, value_width, excess_words)?;
        return put_back(cursor, base, gap_words, excess_words, out);
    }
    let (mut gap_words, mut excess_words) = ([0_u64; ROW], [0_u64; ROW]);
    unpack(gaps, gap_width, &mut gap_words[..count])?;
    unpack(excess, value_width, &mut excess_words[..count])?;
    put_back(cursor, base, &gap_words[..count], &excess_words[..count], out)
}

/// Puts the exceptions in their places.
fn put_back(cursor: &Cursor<'_>, base: i64, gaps: &[u64], excess: &[u64], out: &mut [i64]) -> Result<(), FormatError> {
    let mut next = 0;
    for (gap, excess) in gaps.iter().zip(excess) {
        let at = next + *gap as usize;
        let value = out.get_mut(at).ok_or_else(|| cursor.error("an exception lies outside its row"))?;
        *value = base.wrapping_add(unzigzag(excess.wrapping_add(1)));
        next = at + 1;
    }
    Ok(())
}

fn decode_rice(cursor: &mut Cursor<'_>, width: u32, words: &mut [u64], out: &mut [i64]) -> Result<(), FormatError> {
    let base = cursor.zigzag()?;
    if width > 32 {
        return Err(cursor.error("a Rice width that cannot be"));
    }
    unpack_next(cursor, width, words)?;
    let length = cursor.length()?;
    let unary = cursor.take(length)?;
    let mut next = words.iter_mut();
    // Bit after the last 1. Taking the lowest 1 off the word is all that the next step must wait for.
    let mut start = 0_u64;
    for at in (0..unary.len()).step_by(8) {
        let mut word = crate::format::u64_padded(unary, at);
        while word != 0 {
            let bit = at as u64 * 8 + u64::from(word.trailing_zeros());
            let Some(value) = next.next() else { return Err(cursor.error("Rice bits are left over")) };
            *value |= (bit - start) << width;
            start = bit + 1;
            word &= word - 1;
        }
    }
    if next.len() > 0 {
        return Err(cursor.error("Rice bits are missing"));
    }
    for (out, word) in out.iter_mut().zip(words) {
        *out = base.wrapping_add(unzigzag(*word));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(values: &[i64], preference: Preference) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(values, preference, &mut bytes);
        let (mut words, mut back) = (vec![0; values.len()], vec![0; values.len()]);
        let mut cursor = Cursor::new(&bytes);
        decode(&mut cursor, &mut words, &mut back).unwrap();
        cursor.finish().unwrap();
        assert_eq!(back, values);
        bytes
    }

    fn form(bytes: &[u8]) -> u8 {
        bytes[0] >> 6
    }

    /// The least is more than half the range of integers below the others, and so wraps to a little above them.
    #[test]
    fn what_is_planned_as_an_exception_may_wrap_into_the_width() {
        for preference in Preference::ALL {
            round_trip(&[i64::MAX, i64::MIN, i64::MAX, i64::MAX - 86_399_999], preference);
        }
    }

    #[test]
    fn the_smallest_form_is_found() {
        let flat = [7_i64; ROW];
        assert_eq!(round_trip(&flat, Preference::Balanced), [0, 14]);
        let mut sparse = flat;
        (sparse[3], sparse[200]) = (8, i64::MIN);
        let bytes = round_trip(&sparse, Preference::Balanced);
        assert_eq!((form(&bytes), bytes[0] & 0x3F), (FORM_EXCEPTIONS, 0));
        assert!(bytes.len() < 24, "{}", bytes.len());
        // Two-sided and falling by half with each step: what Rice codes are for.
        let noise: Vec<i64> = (1..=256_i64)
            .map(|i| {
                let hash = i.wrapping_mul(-7_046_029_254_386_353_131) >> 20;
                i64::from((hash | 1 << 20).trailing_zeros()) * 8 + (hash >> 30 & 7)
            })
            .enumerate()
            .map(|(i, v)| if i % 2 == 0 { v } else { -v })
            .collect();
        assert_eq!(form(&round_trip(&noise, Preference::Size)), FORM_RICE);
        assert_eq!(form(&round_trip(&noise, Preference::Speed)), FORM_EXCEPTIONS);
        let wild: Vec<i64> = (0..256).map(|i| if i % 2 == 0 { i64::MIN + i } else { i64::MAX - i }).collect();
        assert_eq!(form(&round_trip(&wild, Preference::Balanced)), FORM_WORDS);
        let reset: Vec<i64> = (0..256).map(|i| if i == 99 { -1_000_000_007 } else { 1000 + i % 16 }).collect();
        assert!(round_trip(&reset, Preference::Speed).len() < 256 * 4 / 8 + 20);
    }

    fn nasty() -> impl Strategy<Value = i64> {
        prop_oneof![
            8 => -3_i64..4,
            4 => -1000_i64..1000,
            1 => any::<i64>(),
            1 => prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0)],
        ]
    }

    proptest! {
        #[test]
        fn any_integers_come_back(values in prop::collection::vec(nasty(), 0..=ROW)) {
            for preference in Preference::ALL {
                let bytes = round_trip(&values, preference);
                prop_assert!(bytes.len() <= values.len() * 8 + 16, "{} bytes for {}", bytes.len(), values.len());
            }
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600), count in 0_usize..=ROW) {
            let _ = decode(&mut Cursor::new(&bytes), &mut vec![0; count], &mut vec![0; count]);
        }

        #[test]
        fn damaged_bytes_are_taken_or_refused(values in prop::collection::vec(nasty(), 1..=ROW), at: prop::sample::Index, to: u8) {
            let mut bytes = Vec::new();
            encode(&values, Preference::Size, &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] = to;
            let (mut words, mut out) = (vec![0; values.len()], vec![0; values.len()]);
            let _ = decode(&mut Cursor::new(&bytes), &mut words, &mut out);
            let _ = decode(&mut Cursor::new(&bytes[..at]), &mut words, &mut out);
        }
    }
}
