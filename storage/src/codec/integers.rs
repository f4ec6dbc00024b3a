//! A stream of integers as first value, common divisor, and order 0, 1 or 2 differences in miniblocks.
//!
//! # Bytes
//! Nothing for no integers. Else a flag byte, the first integer (signed varint), with flag [`FLAG_DIVISOR`] the divisor
//! (varint), with order 2 and at least two integers the first difference over the divisor (signed varint), and unless
//! [`FLAG_FLAT`] is set the residuals in miniblocks of [`ROW`], the last one shorter. Bits 0 and 1 of the flag byte are
//! the order. Let `d[i] = (value[i] - value[0]) / divisor`. Residual `i` is, by order, `d[i]`, `d[i] - d[i-1]`, or
//! `d[i] - 2 d[i-1] + d[i-2]`. A stream shorter than a row begins with the first residual that is not known already
//! (index 1, with order 2 index 2). A longer one begins with index 0, so that rows are full, and repeats the first
//! residual that counts in the places of those that do not. All arithmetic wraps.

use super::machine::for_machine;
use super::miniblock;
use super::pack::{ROW, bits};
use super::{Preference, coded};
use crate::format::{Cursor, FormatError, Put, zigzag};

const ORDER_MASK: u8 = 0b0011;
const ORDER_MAX: u8 = 2;
/// A divisor follows.
const FLAG_DIVISOR: u8 = 0b0100;
/// All residuals are 0 and left out.
const FLAG_FLAT: u8 = 0b1000;
/// The residuals are coded (`coded.rs`), not in miniblocks.
const FLAG_CODED: u8 = 0b1_0000;
const FLAGS_KNOWN: u8 = ORDER_MASK | FLAG_DIVISOR | FLAG_FLAT | FLAG_CODED;

/// Below this count all orders are encoded and the smallest kept; above, estimates decide.
const TRY_ALL_MAX: usize = 32;

/// Streams up to this count are decoded in a smaller row.
const SMALL_MAX: usize = 32;

/// What an estimate takes for the place of an exception.
const EXCEPTION_PLACE_BITS: usize = 6;

/// Appends the integers.
pub(crate) fn encode(values: &[i64], preference: Preference, out: &mut Vec<u8>) {
    let Some(&first) = values.first() else { return };
    let divisor = common_divisor(values, first);
    let d: Vec<i64> = values.iter().map(|v| divide(v.wrapping_sub(first), divisor)).collect();
    let candidates: [Residuals; 3] = [0, 1, 2].map(|order| Residuals::new(&d, order));
    if let Some(flat) = candidates.iter().find(|c| c.is_flat()) {
        return flat.encode(first, divisor, preference, out);
    }
    let start = out.len();
    let try_all = values.len() <= TRY_ALL_MAX;
    let mut ranked: [(usize, &Residuals); 3] =
        candidates.each_ref().map(|c| (if try_all { 0 } else { c.estimate() }, c));
    ranked.sort_by_key(|(cost, _)| *cost);
    let bound = ranked[0].0 + ranked[0].0 / 16;
    for (i, (_, candidate)) in ranked.into_iter().filter(|(cost, _)| *cost <= bound).enumerate() {
        let before = out.len();
        candidate.encode(first, divisor, preference, out);
        if i > 0 {
            if out.len() - before < before - start {
                out.drain(start..before);
            } else {
                out.truncate(before);
            }
        }
    }
}

/// The greatest common divisor of all differences from the first value; 1 if there are none.
fn common_divisor(values: &[i64], first: i64) -> u64 {
    let mut divisor = 0_u64;
    for value in values {
        let difference = value.wrapping_sub(first).unsigned_abs();
        if difference != 0 {
            divisor = gcd(divisor, difference);
            if divisor == 1 {
                break;
            }
        }
    }
    divisor.max(1)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn divide(value: i64, divisor: u64) -> i64 {
    match i64::try_from(divisor) {
        Ok(1) => value,
        Ok(divisor) => value.wrapping_div(divisor),
        // Only i64::MIN and 0 are multiples of 2^63.
        Err(_) => value >> 63,
    }
}

/// The residuals of one order, as they are stored.
struct Residuals {
    order: u8,
    second: Option<i64>,
    values: Vec<i64>,
}

impl Residuals {
    fn new(d: &[i64], order: u8) -> Self {
        let at = |i: usize| d.get(i).copied().unwrap_or_default();
        let known = known_residuals(order);
        let mut values = Vec::with_capacity(d.len());
        match order {
            0 => values.extend_from_slice(d),
            1 => {
                values.push(0);
                values.extend(d.windows(2).map(|w| w[1].wrapping_sub(w[0])));
            }
            _ => {
                values.extend([0, 0].iter().take(d.len()));
                values.extend(d.windows(3).map(|w| w[2].wrapping_sub(w[1].wrapping_mul(2)).wrapping_add(w[0])));
            }
        }
        if d.len() >= ROW {
            let filler = values.get(known).copied().unwrap_or_default();
            values.iter_mut().take(known).for_each(|v| *v = filler);
        } else {
            values.drain(..known.min(d.len()));
        }
        Residuals { order, second: (order == ORDER_MAX && d.len() > 1).then(|| at(1)), values }
    }

    fn is_flat(&self) -> bool {
        self.values.iter().all(|v| *v == 0)
    }

    /// A size in bits to compare orders by: all residuals packed around a typical one, with exceptions.
    fn estimate(&self) -> usize {
        let mut sample: Vec<i64> = self.values.iter().step_by(self.values.len().div_ceil(15).max(1)).copied().collect();
        sample.sort_unstable();
        let typical = sample.get(sample.len() / 2).copied().unwrap_or_default();
        let mut counts = [0_usize; 65];
        for value in &self.values {
            counts[bits(zigzag(value.wrapping_sub(typical))) as usize] += 1;
        }
        let widest = counts.iter().rposition(|c| *c > 0).unwrap_or(0);
        let (mut best, mut wider) = (self.values.len() * widest, 0);
        for width in (0..widest).rev() {
            wider += counts[width + 1];
            best = best.min(self.values.len() * width + wider * (widest + EXCEPTION_PLACE_BITS));
        }
        best
    }

    fn encode(&self, first: i64, divisor: u64, preference: Preference, out: &mut Vec<u8>) {
        let flat = self.is_flat();
        let mut flags = self.order;
        flags |= if divisor > 1 { FLAG_DIVISOR } else { 0 };
        flags |= if flat { FLAG_FLAT } else { 0 };
        let at = out.len();
        out.put_u8(flags);
        out.put_zigzag(first);
        if divisor > 1 {
            out.put_varint(divisor);
        }
        if let Some(second) = self.second {
            out.put_zigzag(second);
        }
        if flat {
            return;
        }
        let rows = out.len();
        for row in self.values.chunks(ROW) {
            miniblock::encode(row, preference, out);
        }
        if preference != Preference::Speed
            && let Some(plan) = coded::Plan::new(&self.values)
            && plan.bits < (out.len() - rows) * 8
        {
            let before = out.len();
            plan.encode(&self.values, out);
            if out.len() - before < before - rows {
                out.drain(rows..before);
                out[at] |= FLAG_CODED;
            } else {
                out.truncate(before);
            }
        }
    }
}

/// Residuals at the start that follow from the first values.
fn known_residuals(order: u8) -> usize {
    usize::from(order.max(1))
}

/// Reads `count` integers and hands them on in order, at most [`ROW`] at a time.
///
/// # Errors
/// [`FormatError`] if the bytes are not a stream of that many integers, or what `sink` returns.
#[inline]
pub(crate) fn decode_with(
    cursor: &mut Cursor<'_>,
    count: usize,
    mut sink: impl FnMut(&[i64]) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    if count == 0 {
        return Ok(());
    }
    // Small streams are many, and clearing rows that they do not fill would cost more than decoding them.
    if count <= SMALL_MAX {
        return decode_rows::<SMALL_MAX>(cursor, count, &mut sink);
    }
    decode_rows::<ROW>(cursor, count, &mut sink)
}

#[inline]
fn decode_rows<const N: usize>(
    cursor: &mut Cursor<'_>,
    count: usize,
    sink: &mut impl FnMut(&[i64]) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let mut decoder = Decoder::start(cursor, count)?;
    if decoder.is_coded {
        return decode_coded(decoder, cursor, count, sink);
    }
    let (mut words, mut row) = ([0_u64; N], [0_i64; N]);
    let mut left = count;
    while left > 0 {
        let n = left.min(N);
        let (Some(words), Some(row)) = (words.get_mut(..n), row.get_mut(..n)) else { break };
        decoder.next_row(row, |stored, skip| miniblock::decode(cursor, &mut words[skip..], stored))?;
        sink(row)?;
        left -= n;
    }
    Ok(())
}

/// As [`decode_rows`], for coded residuals.
fn decode_coded(
    mut decoder: Decoder,
    cursor: &mut Cursor<'_>,
    count: usize,
    sink: &mut impl FnMut(&[i64]) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let mut residuals = coded::Decoder::new(cursor, count)?;
    let (mut words, mut row) = ([0_u64; ROW], [0_i64; ROW]);
    let mut left = count;
    while left > 0 {
        let n = left.min(ROW);
        let (words, row) = (&mut words[..n], &mut row[..n]);
        decoder.next_row(row, |stored, _| residuals.next_row(words, stored))?;
        sink(row)?;
        left -= n;
    }
    residuals.finish()
}

/// Reads `count` integers at the end of `out`, which has room for them.
///
/// # Errors
/// As [`decode_with`].
pub(crate) fn decode(cursor: &mut Cursor<'_>, count: usize, out: &mut Vec<i64>) -> Result<(), FormatError> {
    decode_with(cursor, count, |row| {
        out.extend_from_slice(row);
        Ok(())
    })
}

/// Reads as many integers as there is room for in `out`, which `convert` fills row by row.
///
/// # Errors
/// As [`decode_with`].
#[inline]
pub(super) fn decode_floats(
    cursor: &mut Cursor<'_>,
    out: &mut [f64],
    mut convert: impl FnMut(&[i64], &mut [f64]),
) -> Result<(), FormatError> {
    let count = out.len();
    let mut rest = out;
    decode_with(cursor, count, |row| {
        let (filled, after) = std::mem::take(&mut rest).split_at_mut(row.len());
        rest = after;
        convert(row, filled);
        Ok(())
    })
}

struct Decoder {
    order: u8,
    is_flat: bool,
    is_coded: bool,
    divisor: i64,
    second: i64,
    /// Integers that were handed on.
    done: usize,
    /// Residuals at the start that are not stored.
    left_out: usize,
    /// The first integer until there is a last one.
    last: i64,
    /// The difference of the last two integers.
    slope: i64,
}

impl Decoder {
    fn start(cursor: &mut Cursor<'_>, count: usize) -> Result<Self, FormatError> {
        let flags = cursor.u8()?;
        let order = flags & ORDER_MASK;
        if flags & !FLAGS_KNOWN != 0 || order > ORDER_MAX {
            return Err(cursor.error("unknown flags of an integer stream"));
        }
        let last = cursor.zigzag()?;
        let divisor = if flags & FLAG_DIVISOR == 0 { 1 } else { cursor.varint()?.cast_signed() };
        let second = if order == ORDER_MAX && count > 1 { cursor.zigzag()? } else { 0 };
        let left_out = if count >= ROW { 0 } else { known_residuals(order) };
        let (is_flat, is_coded) = (flags & FLAG_FLAT != 0, flags & FLAG_CODED != 0);
        if is_flat && is_coded {
            return Err(cursor.error("flags of an integer stream that exclude each other"));
        }
        Ok(Decoder { order, is_flat, is_coded, divisor, second, done: 0, left_out, last, slope: 0 })
    }

    /// Fills the row with what comes next; `residuals` fills its part that is stored, which begins at the given place.
    #[inline]
    fn next_row(
        &mut self,
        row: &mut [i64],
        residuals: impl FnOnce(&mut [i64], usize) -> Result<(), FormatError>,
    ) -> Result<(), FormatError> {
        if self.is_flat {
            self.progress(row);
            return Ok(());
        }
        let skip = self.left_out.min(row.len());
        let (_, stored) = row.split_at_mut(skip);
        if !stored.is_empty() {
            residuals(stored, skip)?;
        }
        let known = if self.done == 0 { known_residuals(self.order).min(row.len()) } else { 0 };
        // What is known replaces the fillers: residuals that give d[0] = 0 and d[1] = second.
        let (head, _) = row.split_at_mut(known);
        head.iter_mut().zip([0, self.second]).for_each(|(residual, known)| *residual = known);
        if self.divisor != 1 {
            multiply(row, self.divisor);
        }
        self.done += row.len();
        match self.order {
            0 if self.last == 0 => {}
            0 => add(row, self.last),
            1 => self.sum(row),
            _ => {
                let (head, tail) = row.split_at_mut(known);
                self.sum(head);
                if known > 1 {
                    self.slope = self.second.wrapping_mul(self.divisor);
                }
                self.sum_twice(tail);
            }
        }
        Ok(())
    }

    /// Fills a row of a stream without residuals: the first integer, or with order 2 equal steps from it.
    fn progress(&mut self, row: &mut [i64]) {
        let step = if self.order == ORDER_MAX { self.second.wrapping_mul(self.divisor) } else { 0 };
        for value in row {
            *value = self.last;
            self.last = self.last.wrapping_add(step);
        }
    }

    #[inline]
    fn sum(&mut self, row: &mut [i64]) {
        for value in row {
            self.last = self.last.wrapping_add(*value);
            *value = self.last;
        }
    }

    #[inline]
    fn sum_twice(&mut self, row: &mut [i64]) {
        for value in row {
            self.slope = self.slope.wrapping_add(*value);
            self.last = self.last.wrapping_add(self.slope);
            *value = self.last;
        }
    }
}

for_machine! {
    fn multiply(row: &mut [i64], factor: i64) {
        row.iter_mut().for_each(|value| *value = value.wrapping_mul(factor));
    }
}

for_machine! {
    fn add(row: &mut [i64], term: i64) {
        row.iter_mut().for_each(|value| *value = value.wrapping_add(term));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(values: &[i64]) -> usize {
        let mut sizes = Vec::new();
        for preference in Preference::ALL {
            let mut bytes = Vec::new();
            encode(values, preference, &mut bytes);
            let mut back = Vec::new();
            let mut cursor = Cursor::new(&bytes);
            decode(&mut cursor, values.len(), &mut back).unwrap();
            cursor.finish().unwrap();
            assert!(back == values, "{} integers do not come back", values.len());
            sizes.push(bytes.len());
        }
        assert!(sizes.is_sorted_by(|a, b| a >= b), "a preference for size costs no bytes: {sizes:?}");
        sizes[1]
    }

    #[test]
    fn each_order_finds_its_data() {
        assert_eq!(round_trip(&[5; 2048]), 2);
        assert_eq!(round_trip(&(0..2048).map(|i| 7 + 15_000 * i).collect::<Vec<_>>()), 1 + 1 + 2 + 1);
        assert_eq!(round_trip(&(0..200).map(|i| i * i).collect::<Vec<_>>()), 1 + 1 + 1 + 2);
        let gauge: Vec<i64> =
            (0..2048_i64).map(|i| 40_000 + 1000 * (i.wrapping_mul(-7_046_029_254_386_353_131) >> 32 & 63)).collect();
        let bytes = round_trip(&gauge);
        assert!(bytes < 2048 * 6 / 8 + 40, "{bytes}");
        assert_eq!(round_trip(&[]), 0);
        assert_eq!(round_trip(&[i64::MIN]), 11);
    }

    #[test]
    fn extremes_wrap() {
        round_trip(&[i64::MIN, 0, i64::MIN, 0]);
        round_trip(&[i64::MAX, i64::MIN, i64::MAX, -1, 1]);
        round_trip(&[0, i64::MIN, 0]);
        round_trip(&(0..300).map(|i| if i % 3 == 0 { i64::MIN } else { i64::MAX - i }).collect::<Vec<_>>());
    }

    fn column() -> impl Strategy<Value = Vec<i64>> {
        (
            prop_oneof![0_usize..40, 250_usize..260, 500_usize..530],
            prop_oneof![Just(1_i64), Just(10), Just(1 << 40), any::<i64>()],
            any::<u64>(),
            0_u32..63,
            0_u8..3,
        )
            .prop_map(|(count, scale, seed, shift, sums)| {
                let mut state = seed;
                let mut values: Vec<i64> = (0..count)
                    .map(|_| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        (state.cast_signed() >> shift).wrapping_mul(scale)
                    })
                    .collect();
                for _ in 0..sums {
                    let mut sum = 0_i64;
                    for value in &mut values {
                        sum = sum.wrapping_add(*value);
                        *value = sum;
                    }
                }
                values
            })
    }

    proptest! {
        #[test]
        fn any_integers_come_back(values in column()) {
            round_trip(&values);
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), count in 0_usize..600) {
            let mut out = Vec::new();
            let _ = decode(&mut Cursor::new(&bytes), count, &mut out);
            prop_assert!(out.len() <= count);
        }
    }
}
