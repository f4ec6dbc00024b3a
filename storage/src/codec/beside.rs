//! Blocks written beside the blocks of other series with the same times: neighbouring buckets of a histogram, or its
//! count, which is the last bucket.
//!
//! The base is the series that this one is beside, the root the one at which its row of bases ends (the base itself, if
//! that has none). Both count as integers: a float stands for its integer part (toward 0, 0 for NaN, the nearest 64-bit
//! integer for what is out of range). Sums and products wrap, shifts keep the sign.
//!
//! # Bytes
//! | codec | bytes | value `i` is, as a float |
//! |---|---|---|
//! | [`Equal`] | none | that of the base, bit for bit |
//! | [`Difference`] | an integer stream | integer `i` + `base[i]` |
//! | [`Share`] | a share (byte), an integer stream | integer `i` + (`base[i]` · share >> 8) |
//! | [`Between`] | a share (byte), an integer stream | integer `i` + `base[i]` + ((`root[i]` − `base[i]`) · share >> 8) |

use super::integers;
use super::machine::for_machine;
use super::pack::{ROW, bits};
use super::scaled::{ROUNDER, convert, fill, to_floats, whole};
use super::{CodecNumber, Column, Preference, ValueCodec};
use crate::format::{Cursor, FormatError, Put, zigzag};

/// The values that a block is written beside: as many as it has, or none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Beside<'a> {
    /// Of the base.
    pub(crate) base: &'a [f64],
    /// Of the root; none if it is the base.
    pub(crate) root: &'a [f64],
}

impl<'a> Beside<'a> {
    /// This, without what has not `count` values.
    pub(super) fn fitting(self, count: usize) -> Self {
        let fit = |values: &'a [f64]| if values.len() == count { values } else { &[] };
        Beside { base: fit(self.base), root: fit(self.root) }
    }
}

/// Which way of writing a block beside others suits best, and what it brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fit {
    codec: CodecNumber,
    share: u8,
    /// Bits of the steps that are left, added up.
    pub(crate) cost: usize,
    /// The same of the values by themselves.
    alone: usize,
}

impl Fit {
    /// Looks for the best way; none without a base.
    pub(crate) fn of(values: &[f64], beside: Beside<'_>) -> Option<Fit> {
        let Beside { base, root } = beside.fitting(values.len());
        if base.is_empty() || values.len() < 2 {
            return (!base.is_empty()).then_some(Fit { codec: CodecNumber::Difference, share: 0, cost: 0, alone: 1 });
        }
        let steps = |values: &[f64]| -> Vec<f64> { values.windows(2).map(|w| step(w[0], w[1])).collect() };
        let (value, base) = (steps(values), steps(base));
        let alone = step_bits(&value, &[], 0.0);
        let difference = step_bits(&value, &base, 1.0);
        let mut best = Fit { codec: CodecNumber::Difference, share: 0, cost: difference, alone };
        let mut offer = |codec, value: &[f64], by: &[f64]| {
            let share = share_of(value, by);
            let cost = step_bits(value, by, f64::from(share) / SHARES) + SHARE_BITS;
            if share > 0 && cost < best.cost {
                best = Fit { codec, share, cost, alone };
            }
        };
        offer(CodecNumber::Share, &value, &base);
        if !root.is_empty() {
            let root = steps(root);
            let subtract = |a: &[f64]| -> Vec<f64> { a.iter().zip(&base).map(|(a, base)| a - base).collect() };
            offer(CodecNumber::Between, &subtract(&value), &subtract(&root));
        }
        Some(best)
    }

    /// The same share for another codec.
    #[cfg(test)]
    pub(super) fn with_codec(self, codec: CodecNumber) -> Self {
        Fit { codec, ..self }
    }

    /// True if the values by themselves need not be tried.
    pub(super) fn is_clear(&self) -> bool {
        self.cost * 10 < self.alone * 9
    }
}

/// A share is in parts of this.
const SHARES: f64 = 256.0;
const SHARE_BITS: usize = 8;

/// What lies between two values; nothing where one of them is no number.
fn step(from: f64, to: f64) -> f64 {
    let step = to - from;
    if step.is_finite() { step } else { 0.0 }
}

/// The share of `by` that comes nearest to the values.
fn share_of(values: &[f64], by: &[f64]) -> u8 {
    let products: f64 = values.iter().zip(by).map(|(value, by)| value * by).sum();
    let squares: f64 = by.iter().map(|by| by * by).sum();
    (products / squares * SHARES).round() as u8
}

/// Bits of what is left of the values, about.
fn step_bits(values: &[f64], by: &[f64], share: f64) -> usize {
    let left = |i: usize, value: &f64| value - by.get(i).copied().unwrap_or_default() * share;
    values.iter().enumerate().map(|(i, value)| bits(zigzag(left(i, value).round() as i64)) as usize).sum()
}

/// The values of the base.
pub(super) struct Equal;

/// Differences from the integers of the base.
pub(super) struct Difference;

/// Differences from a share of the base.
pub(super) struct Share;

/// Differences from what lies at a share of the way from base to root.
pub(super) struct Between;

impl ValueCodec for Equal {
    fn number(&self) -> CodecNumber {
        CodecNumber::Equal
    }

    fn encode(&self, column: &Column<'_>, _: Preference, _: &mut Vec<usize>, _: &mut Vec<u8>) -> bool {
        let base = column.beside.base;
        let pairs = || column.values.iter().zip(base);
        !base.is_empty() && pairs().all(|(value, base)| value.to_bits() == base.to_bits())
    }

    fn decode(&self, cursor: &mut Cursor<'_>, beside: Beside<'_>, out: &mut [f64]) -> Result<(), FormatError> {
        if beside.base.len() != out.len() {
            return Err(cursor.error("the block that this one is equal to is missing"));
        }
        out.copy_from_slice(beside.base);
        Ok(())
    }
}

/// Encodes what is left of the values when a prediction is taken off.
fn encode_from(
    column: &Column<'_>,
    preference: Preference,
    exceptions: &mut Vec<usize>,
    out: &mut Vec<u8>,
    predicted: impl Fn(usize) -> i64,
) -> bool {
    let Some(mut numbers) = convert(column.values, exceptions, whole) else { return false };
    for (i, number) in numbers.iter_mut().enumerate() {
        *number = number.wrapping_sub(predicted(i));
    }
    fill(&mut numbers, exceptions);
    integers::encode(&numbers, preference, out);
    true
}

/// Decodes an integer stream row by row and adds to each row what `add` predicts from the integers of the base.
fn decode_beside(
    cursor: &mut Cursor<'_>,
    base: &[f64],
    out: &mut [f64],
    mut add: impl FnMut(&mut [i64], &[i64]),
) -> Result<(), FormatError> {
    if base.len() != out.len() {
        return Err(cursor.error("the block that this one differs from is missing"));
    }
    let (mut rest, mut integers) = (base, [0; ROW]);
    integers::decode_floats(cursor, out, |row, out| {
        let integers = next_integers(&mut rest, &mut integers[..row.len()]);
        add(integers, row);
        to_floats(integers, out);
    })
}

/// The integers of the next values, as many as there is room for.
fn next_integers<'a>(rest: &mut &[f64], out: &'a mut [i64]) -> &'a mut [i64] {
    let (values, after) = rest.split_at_checked(out.len()).unwrap_or_default();
    *rest = after;
    to_integers(values, out);
    out
}

impl ValueCodec for Difference {
    fn number(&self) -> CodecNumber {
        CodecNumber::Difference
    }

    fn encode(
        &self,
        column: &Column<'_>,
        preference: Preference,
        exceptions: &mut Vec<usize>,
        out: &mut Vec<u8>,
    ) -> bool {
        let base = column.beside.base;
        column.fit.is_some_and(|fit| fit.codec == self.number())
            && encode_from(column, preference, exceptions, out, |i| base[i] as i64)
    }

    fn decode(&self, cursor: &mut Cursor<'_>, beside: Beside<'_>, out: &mut [f64]) -> Result<(), FormatError> {
        decode_beside(cursor, beside.base, out, add)
    }
}

impl ValueCodec for Share {
    fn number(&self) -> CodecNumber {
        CodecNumber::Share
    }

    fn encode(
        &self,
        column: &Column<'_>,
        preference: Preference,
        exceptions: &mut Vec<usize>,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(fit) = column.fit.filter(|fit| fit.codec == self.number()) else { return false };
        out.put_u8(fit.share);
        let base = column.beside.base;
        encode_from(column, preference, exceptions, out, |i| part(base[i] as i64, fit.share))
    }

    fn decode(&self, cursor: &mut Cursor<'_>, beside: Beside<'_>, out: &mut [f64]) -> Result<(), FormatError> {
        let share = cursor.u8()?;
        decode_beside(cursor, beside.base, out, |base, row| add_to_share(base, share, row))
    }
}

impl ValueCodec for Between {
    fn number(&self) -> CodecNumber {
        CodecNumber::Between
    }

    fn encode(
        &self,
        column: &Column<'_>,
        preference: Preference,
        exceptions: &mut Vec<usize>,
        out: &mut Vec<u8>,
    ) -> bool {
        let Beside { base, root } = column.beside;
        let Some(fit) = column.fit.filter(|fit| fit.codec == self.number() && !root.is_empty()) else { return false };
        out.put_u8(fit.share);
        encode_from(column, preference, exceptions, out, |i| between(base[i] as i64, root[i] as i64, fit.share))
    }

    fn decode(&self, cursor: &mut Cursor<'_>, beside: Beside<'_>, out: &mut [f64]) -> Result<(), FormatError> {
        let share = cursor.u8()?;
        if beside.root.len() != out.len() {
            return Err(cursor.error("the block at the root of this one is missing"));
        }
        let (mut rest, mut integers) = (beside.root, [0; ROW]);
        decode_beside(cursor, beside.base, out, |base, row| {
            add_between(base, next_integers(&mut rest, &mut integers[..row.len()]), share, row);
        })
    }
}

#[inline(always)]
fn part(whole: i64, share: u8) -> i64 {
    whole.wrapping_mul(i64::from(share)) >> 8
}

#[inline(always)]
fn between(base: i64, root: i64, share: u8) -> i64 {
    base.wrapping_add(part(root.wrapping_sub(base), share))
}

/// The integers that these floats count as.
fn to_integers(values: &[f64], out: &mut [i64]) {
    if !whole_integers(values, out) {
        out.iter_mut().zip(values).for_each(|(out, value)| *out = *value as i64);
    }
}

for_machine! {
    /// The integers that these floats are; false if one of them is none, or −0, or not well within 52 bits.
    fn whole_integers(values: &[f64], out: &mut [i64]) -> bool {
        let (mut different, mut range) = (0_u64, 0_u64);
        for (out, value) in out.iter_mut().zip(values) {
            let rounded = value + ROUNDER;
            let number = rounded.to_bits().wrapping_sub(ROUNDER.to_bits());
            *out = number.cast_signed();
            different |= (rounded - ROUNDER).to_bits() ^ value.to_bits();
            range |= number.wrapping_add(1 << 51);
        }
        different == 0 && range >> 52 == 0
    }
}

for_machine! {
    fn add(base: &mut [i64], row: &[i64]) {
        for (base, n) in base.iter_mut().zip(row) {
            *base = base.wrapping_add(*n);
        }
    }
}

for_machine! {
    fn add_to_share(base: &mut [i64], share: u8, row: &[i64]) {
        for (base, n) in base.iter_mut().zip(row) {
            *base = part(*base, share).wrapping_add(*n);
        }
    }
}

for_machine! {
    fn add_between(base: &mut [i64], root: &[i64], share: u8, row: &[i64]) {
        for ((base, root), n) in base.iter_mut().zip(root).zip(row) {
            *base = between(*base, *root, share).wrapping_add(*n);
        }
    }
}
