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
use super::pack::bits;
use super::scaled::{ROUNDER, convert, fill, whole};
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

    /// This, with the base as its own root: for what is predicted from the base alone.
    fn without_root(self) -> Self {
        Beside { root: self.base, ..self }
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

/// Decodes an integer stream row by row. A value is its integer and what is predicted from the integers of base and root;
/// `sum` makes that of a row if floats hold all of it exactly, and else returns false.
fn decode_beside(
    cursor: &mut Cursor<'_>,
    beside: Beside<'_>,
    out: &mut [f64],
    sum: impl Fn(&[f64], &[f64], &[i64], &mut [f64]) -> bool,
    predicted: impl Fn(i64, i64) -> i64,
) -> Result<(), FormatError> {
    let Beside { mut base, mut root } = beside;
    if base.len() != out.len() {
        return Err(cursor.error("the block that this one differs from is missing"));
    }
    integers::decode_floats(cursor, out, |differences, out| {
        let (base, root) = (take(&mut base, out.len()), take(&mut root, out.len()));
        if !sum(base, root, differences, out) {
            sum_any(base, root, differences, out, &predicted);
        }
    })
}

/// The next values, or none if there are fewer.
fn take<'a>(values: &mut &'a [f64], count: usize) -> &'a [f64] {
    let (taken, rest) = values.split_at_checked(count).unwrap_or_default();
    *values = rest;
    taken
}

/// The sums by their definition, one by one, whatever the values are.
fn sum_any(base: &[f64], root: &[f64], differences: &[i64], out: &mut [f64], predicted: impl Fn(i64, i64) -> i64) {
    for (((out, base), root), n) in out.iter_mut().zip(base).zip(root).zip(differences) {
        *out = predicted(*base as i64, *root as i64).wrapping_add(*n) as f64;
    }
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
        decode_beside(cursor, beside.without_root(), out, |base, _, n, out| sum(base, n, out), |base, _| base)
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
        let sum = |base: &[f64], _: &[f64], n: &[i64], out: &mut [f64]| sum_share(base, share, n, out);
        decode_beside(cursor, beside.without_root(), out, sum, |base, _| part(base, share))
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
        let sum = |base: &[f64], root: &[f64], n: &[i64], out: &mut [f64]| sum_between(base, root, share, n, out);
        decode_beside(cursor, beside, out, sum, |base, root| between(base, root, share))
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

// The definition in integers takes a conversion from floats and one back, for which AVX2 has no instruction, as it has none
// for products and shifts of 64 bits. Nearly all rows are small integers, and are summed as floats: a third less time.

/// Integers from `-(1 << EXACT_BITS)` to just below `1 << EXACT_BITS` are summed as floats. What lies between two is less
/// than one bit more; its share, less [`TO_FLOOR`], is a multiple of 1/512 below 2^44, and so held exactly by 53 bits.
const EXACT_BITS: u32 = 43;
/// A little less than a half: taken off a multiple of 1/256, it makes the nearest integer the one that is not above.
const TO_FLOOR: f64 = 127.5 / SHARES;

/// Whether all numbers of a row were integers well within what floats hold exactly, looked at without a branch.
#[derive(Default)]
struct Exactness {
    not_integer: u64,
    beyond: u64,
}

impl Exactness {
    /// Takes note of the value, and returns it plus [`ROUNDER`].
    #[inline(always)]
    fn see(&mut self, value: f64) -> f64 {
        let rounded = value + ROUNDER;
        // −0 comes back as 0, so it counts as no integer.
        self.not_integer |= (rounded - ROUNDER).to_bits() ^ value.to_bits();
        self.see_integer(rounded.to_bits().wrapping_sub(ROUNDER.to_bits()));
        rounded
    }

    #[inline(always)]
    fn see_integer(&mut self, number: u64) {
        self.beyond |= number.wrapping_add(1 << EXACT_BITS);
    }

    #[inline(always)]
    fn holds(&self) -> bool {
        self.not_integer == 0 && self.beyond >> (EXACT_BITS + 1) == 0
    }
}

/// The sum of an integer that is a float plus [`ROUNDER`], and another.
#[inline(always)]
fn plus(rounded: f64, n: i64) -> f64 {
    f64::from_bits(rounded.to_bits().wrapping_add(n.cast_unsigned())) - ROUNDER
}

for_machine! {
    /// Base and differences; false if these floats do not hold all that exactly.
    fn sum(base: &[f64], differences: &[i64], out: &mut [f64]) -> bool {
        let mut exact = Exactness::default();
        for ((out, base), n) in out.iter_mut().zip(base).zip(differences) {
            exact.see_integer(n.cast_unsigned());
            *out = plus(exact.see(*base), *n);
        }
        exact.holds()
    }
}

for_machine! {
    /// As [`sum()`], with a share of the base.
    fn sum_share(base: &[f64], share: u8, differences: &[i64], out: &mut [f64]) -> bool {
        let (mut exact, share) = (Exactness::default(), f64::from(share) / SHARES);
        for ((out, base), n) in out.iter_mut().zip(base).zip(differences) {
            exact.see_integer(n.cast_unsigned());
            exact.see(*base);
            *out = plus(base * share - TO_FLOOR + ROUNDER, *n);
        }
        exact.holds()
    }
}

for_machine! {
    /// As [`sum()`], with a share of the way from base to root.
    fn sum_between(base: &[f64], root: &[f64], share: u8, differences: &[i64], out: &mut [f64]) -> bool {
        let (mut exact, share) = (Exactness::default(), f64::from(share) / SHARES);
        for (((out, base), root), n) in out.iter_mut().zip(base).zip(root).zip(differences) {
            exact.see_integer(n.cast_unsigned());
            exact.see(*base);
            exact.see(*root);
            *out = base + plus((root - base) * share - TO_FLOOR + ROUNDER, *n);
        }
        exact.holds()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::machine::tests::at_each_level;
    use proptest::prelude::*;

    /// Integers around all bounds, and what is no integer.
    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (0_u32..62, -2_i64..=2, any::<bool>()).prop_map(|(bits, off, negative)| {
                let value = ((1_i64 << bits) + off) as f64;
                if negative { -value } else { value }
            }),
            4 => (-1_i64 << 43..1 << 43).prop_map(|n| n as f64),
            1 => any::<u64>().prop_map(f64::from_bits),
            1 => prop::sample::select(vec![-0.0, 0.5, 2_251_799_813_685_247.5, f64::NAN, f64::INFINITY]),
        ]
    }

    fn difference() -> impl Strategy<Value = i64> {
        prop_oneof![-300_i64..300, -1_i64 << 43..1 << 43, (0_u32..63, -2_i64..=2).prop_map(|(b, off)| (1 << b) + off)]
    }

    proptest! {
        /// Rows of one number too, so that one alone is refused or summed.
        #[test]
        fn floats_sum_as_integers_or_refuse(
            row in prop::collection::vec((value(), value(), difference()), 1..20), length in 1_usize..20, share: u8,
        ) {
            let row = &row[..length.min(row.len())];
            let base: Vec<f64> = row.iter().map(|(base, ..)| *base).collect();
            let root: Vec<f64> = row.iter().map(|(_, root, _)| *root).collect();
            let differences: Vec<i64> = row.iter().map(|(.., n)| *n).collect();
            let check = |name: &str, fast: &dyn Fn(&mut [f64]) -> bool, predicted: &dyn Fn(i64, i64) -> i64| {
                let mut want = vec![0.0; row.len()];
                sum_any(&base, &root, &differences, &mut want, predicted);
                for got in at_each_level(|| {
                    let mut got = vec![0.0; row.len()];
                    fast(&mut got).then_some(got)
                }) {
                    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                    prop_assert!(got.is_none_or(|got| bits(&got) == bits(&want)), "{name}");
                }
                Ok(())
            };
            check("base", &|out| sum(&base, &differences, out), &|base, _| base)?;
            check("share", &|out| sum_share(&base, share, &differences, out), &|base, _| part(base, share))?;
            check(
                "between",
                &|out| sum_between(&base, &root, share, &differences, out),
                &|base, root| between(base, root, share),
            )?;
        }
    }

    /// Rows longer than any vector: nothing within the bounds takes the slow way, and one bit more would be too much.
    #[test]
    fn rows_at_the_bounds_are_summed_exactly() {
        const ROW: usize = 300;
        let (most, least) = ((1_i64 << EXACT_BITS) - 1, -1_i64 << EXACT_BITS);
        let high: Vec<f64> = (0..ROW as i64).map(|i| (most - i) as f64).collect();
        let low: Vec<f64> = (0..ROW as i64).map(|i| (least + i / 7) as f64).collect();
        let n = [most; ROW];
        let check = |want: [f64; ROW], fast: &dyn Fn(&mut [f64]) -> bool| {
            for got in at_each_level(|| {
                let mut got = [0.0; ROW];
                fast(&mut got).then_some(got)
            }) {
                assert_eq!(got, Some(want));
            }
        };
        for (base, root) in [(&high, &low), (&low, &high)] {
            let want = |predicted: &dyn Fn(i64, i64) -> i64| {
                let mut want = [0.0; ROW];
                sum_any(base, root, &n, &mut want, predicted);
                want
            };
            check(want(&|base, _| base), &|out| sum(base, &n, out));
            for share in 0..=u8::MAX {
                check(want(&|base, _| part(base, share)), &|out| sum_share(base, share, &n, out));
                check(want(&|b, r| between(b, r, share)), &|out| sum_between(base, root, share, &n, out));
            }
        }
        for (base, root, n) in [(most + 1, 0, 0), (0, least - 1, 0), (0, 0, most + 1)] {
            assert!(!sum_between(&[base as f64], &[root as f64], 1, &[n], &mut [0.0]));
        }
    }
}
