//! Values that are integers times an exact factor: counters, decimals, sixtieths, milliseconds read as seconds.
//!
//! # Bytes
//! [`Integer`]: an integer stream. [`Scaled`]: a byte with the number of the scale, then an integer stream. A value is
//! the integer as a float, put through the scale's operation, which rounds as IEEE 754 says:
//! | scale | operation |
//! |---|---|
//! | 1 to 15 | divided by 10 to that power |
//! | 33 to 47 | times 10 to the power of the scale less 32 |
//! | 64 | divided by 60 |
//! | 65, 66, 67 | times 1e-3, 1e-6, 1e-9 |
//! | 68 | divided by 1e3, twice |
//!
//! The encoder takes a scale only for values that come back bit for bit; the others are exceptions.

use super::integers;
use super::machine::{Level, for_machine, level};
use super::{Beside, CodecNumber, Column, Preference, ValueCodec};
use crate::format::{Cursor, FormatError, Put};

/// Powers of ten that a float holds exactly and that are used here.
const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
const TIMES_BASE: u8 = 32;
const SIXTIETHS: u8 = 64;
const TIMES_MILLI: u8 = 65;
const TIMES_MICRO: u8 = 66;
const TIMES_NANO: u8 = 67;
const THOUSANDTHS_TWICE: u8 = 68;

/// The scales that are tried if neither decimals nor plain integers fit.
const OTHER_SCALES: [u8; 5] = [SIXTIETHS, TIMES_MILLI, TIMES_MICRO, TIMES_NANO, THOUSANDTHS_TWICE];

/// Values that are looked at to find a scale.
const PROBES: usize = 24;

/// Most values left out, as a share of the block.
const EXCEPTIONS_SHARE: usize = 8;

/// Adding and subtracting it rounds a float of magnitude below 2^51 to an integer, ties to even, and leaves the integer
/// in the low bits on the way: plain arithmetic, which compilers turn into vector code on every machine.
pub(super) const ROUNDER: f64 = 6_755_399_441_055_744.0;
const ROUNDED_MAX: f64 = 2_251_799_813_685_248.0;

/// Plain integers.
pub(super) struct Integer;

/// Integers with a scale.
pub(super) struct Scaled;

impl ValueCodec for Integer {
    fn number(&self) -> CodecNumber {
        CodecNumber::Integer
    }

    fn encode(
        &self,
        column: &Column<'_>,
        preference: Preference,
        exceptions: &mut Vec<usize>,
        out: &mut Vec<u8>,
    ) -> bool {
        let probes = Probes::new(column.values);
        let fits = probes.iter().filter(|v| whole(*v).is_some()).count();
        if fits * 2 < probes.count() {
            return false;
        }
        let Some(mut numbers) = convert(column.values, exceptions, whole) else { return false };
        fill(&mut numbers, exceptions);
        integers::encode(&numbers, preference, out);
        true
    }

    fn decode(&self, cursor: &mut Cursor<'_>, _: Beside<'_>, out: &mut [f64]) -> Result<(), FormatError> {
        integers::decode_floats(cursor, out, to_floats)
    }
}

impl ValueCodec for Scaled {
    fn number(&self) -> CodecNumber {
        CodecNumber::Scaled
    }

    fn encode(
        &self,
        column: &Column<'_>,
        preference: Preference,
        exceptions: &mut Vec<usize>,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some((scale, mut numbers)) = Probes::new(column.values).scale(column.values, exceptions) else {
            return false;
        };
        out.put_u8(scale);
        fill(&mut numbers, exceptions);
        integers::encode(&numbers, preference, out);
        true
    }

    fn decode(&self, cursor: &mut Cursor<'_>, _: Beside<'_>, out: &mut [f64]) -> Result<(), FormatError> {
        let scale = cursor.u8()?;
        match scale {
            1..=15 => integers::decode_floats(cursor, out, |row, out| divide(row, power(scale), out)),
            33..=47 => integers::decode_floats(cursor, out, |row, out| multiply(row, power(scale - TIMES_BASE), out)),
            SIXTIETHS => integers::decode_floats(cursor, out, |row, out| divide(row, 60.0, out)),
            TIMES_MILLI => integers::decode_floats(cursor, out, |row, out| multiply(row, 1e-3, out)),
            TIMES_MICRO => integers::decode_floats(cursor, out, |row, out| multiply(row, 1e-6, out)),
            TIMES_NANO => integers::decode_floats(cursor, out, |row, out| multiply(row, 1e-9, out)),
            THOUSANDTHS_TWICE => integers::decode_floats(cursor, out, divide_twice),
            _ => Err(cursor.error("an unknown scale")),
        }
    }
}

fn power(scale: u8) -> f64 {
    POWERS.get(usize::from(scale)).copied().unwrap_or(1.0)
}

for_machine! {
    /// The integers as floats.
    fn to_floats(row: &[i64], out: &mut [f64]) {
        for (out, n) in out.iter_mut().zip(row) {
            *out = *n as f64;
        }
    }
}

for_machine! {
    fn multiply(row: &[i64], factor: f64, out: &mut [f64]) {
        for (out, n) in out.iter_mut().zip(row) {
            *out = *n as f64 * factor;
        }
    }
}

for_machine! {
    fn divide_twice(row: &[i64], out: &mut [f64]) {
        for (out, n) in out.iter_mut().zip(row) {
            *out = *n as f64 / 1e3 / 1e3;
        }
    }
}

/// The integers divided by one of the divisors in use.
#[inline]
fn divide(row: &[i64], divisor: f64, out: &mut [f64]) {
    if level() > Level::Portable {
        return divide_fused(row, divisor, out);
    }
    for (out, n) in out.iter_mut().zip(row) {
        *out = *n as f64 / divisor;
    }
}

for_machine! {
    /// Division takes four times as long as this, where multiplication with addition is one instruction: a quotient from
    /// the rounded reciprocal, and two corrections. The first brings it next to the exact quotient, and from there the
    /// second gives the rounded one (Markstein's theorem; nothing here is near the ends of the range of floats).
    fn divide_fused(row: &[i64], divisor: f64, out: &mut [f64]) {
        let reciprocal = 1.0 / divisor;
        for (out, n) in out.iter_mut().zip(row) {
            let n = *n as f64;
            let quotient = n * reciprocal;
            let nearer = (-quotient).mul_add(divisor, n).mul_add(reciprocal, quotient);
            *out = (-nearer).mul_add(divisor, n).mul_add(reciprocal, nearer);
        }
    }
}

/// Puts at each of the rising places a number that costs little: the number before it (at the start the first that
/// follows), and in a column that mostly rises a step beyond.
pub(super) fn fill(numbers: &mut [i64], places: &[usize]) {
    if places.is_empty() {
        return;
    }
    let pairs = numbers.len().saturating_sub(1 + 2 * places.len());
    let rising = numbers.windows(2).filter(|w| w[0] < w[1]).count() * 4 > pairs * 3;
    let leading = places.iter().enumerate().take_while(|(i, place)| i == *place).count();
    let first = numbers.get(leading).copied().unwrap_or_default();
    let (leaders, places) = places.split_at(leading);
    for place in leaders {
        numbers[*place] = first;
    }
    for place in places {
        let at = |back: usize| place.checked_sub(back).and_then(|i| numbers.get(i)).copied();
        let before = at(1).unwrap_or(first);
        let step = if rising { before.wrapping_sub(at(2).unwrap_or(before)) } else { 0 };
        numbers[*place] = before.wrapping_add(step);
    }
}

/// The integers behind all values; places without one go to `exceptions`. None if those are too many.
pub(super) fn convert(
    values: &[f64],
    exceptions: &mut Vec<usize>,
    number: impl Fn(f64) -> Option<i64>,
) -> Option<Vec<i64>> {
    exceptions.clear();
    let mut numbers = Vec::with_capacity(values.len());
    for (i, value) in values.iter().enumerate() {
        numbers.push(number(*value).unwrap_or_else(|| {
            exceptions.push(i);
            0
        }));
        if exceptions.len() > values.len() / EXCEPTIONS_SHARE + 1 {
            return None;
        }
    }
    (exceptions.len() < values.len()).then_some(numbers)
}

/// The integer that is exactly this float.
#[inline]
pub(super) fn whole(value: f64) -> Option<i64> {
    let number = value as i64;
    ((number as f64).to_bits() == value.to_bits() && number != i64::MAX).then_some(number)
}

/// The integer that the scale turns into exactly this float.
#[inline]
fn scaled(value: f64, up: impl Fn(f64) -> f64, down: impl Fn(f64) -> f64) -> Option<i64> {
    let rounded = up(value) + ROUNDER;
    let number = rounded.to_bits().wrapping_sub(ROUNDER.to_bits()).cast_signed();
    let integer = rounded - ROUNDER;
    (integer.abs() < ROUNDED_MAX && down(integer).to_bits() == value.to_bits()).then_some(number)
}

fn with_scale(value: f64, scale: u8) -> Option<i64> {
    match scale {
        0..TIMES_BASE => scaled(value, |v| v * power(scale), |n| n / power(scale)),
        TIMES_BASE..SIXTIETHS => scaled(value, |v| v / power(scale - TIMES_BASE), |n| n * power(scale - TIMES_BASE)),
        SIXTIETHS => scaled(value, |v| v * 60.0, |n| n / 60.0),
        TIMES_MILLI => scaled(value, |v| v * 1e3, |n| n * 1e-3),
        TIMES_MICRO => scaled(value, |v| v * 1e6, |n| n * 1e-6),
        TIMES_NANO => scaled(value, |v| v * 1e9, |n| n * 1e-9),
        _ => scaled(value, |v| v * 1e6, |n| n / 1e3 / 1e3),
    }
}

/// Converts with a number of digits that fits the probes; if that leaves values out, also with as many as these need,
/// and keeps what leaves out fewer. Digits that most values do not have fall to the stream's divisor or cost little.
fn refined(values: &[f64], scale: u8, exceptions: &mut Vec<usize>) -> Option<(u8, Vec<i64>)> {
    let coarse = convert(values, exceptions, |v| with_scale(v, scale));
    let needs = |i: &usize| {
        let value = values.get(*i).filter(|v| v.is_finite() && **v != 0.0)?;
        (scale + 1..=15).find(|digits| with_scale(*value, *digits).is_some())
    };
    if let Some(finer) = exceptions.iter().filter_map(needs).max().filter(|_| scale < TIMES_BASE) {
        let mut left_out = Vec::new();
        if let Some(numbers) = convert(values, &mut left_out, |v| with_scale(v, finer))
            && (coarse.is_none() || left_out.len() < exceptions.len())
        {
            *exceptions = left_out;
            return Some((finer, numbers));
        }
    }
    coarse.map(|numbers| (scale, numbers))
}

/// A few values, spread over the block, that speak for it.
struct Probes([f64; PROBES], usize);

impl Probes {
    fn new(values: &[f64]) -> Self {
        let mut probes = [0.0; PROBES];
        let step = values.len().div_ceil(PROBES).max(1);
        let plain = values.iter().step_by(step).filter(|v| v.is_finite() && v.to_bits() << 1 != 0);
        let mut count = 0;
        for (probe, value) in probes.iter_mut().zip(plain) {
            *probe = *value;
            count += 1;
        }
        Probes(probes, count)
    }

    fn count(&self) -> usize {
        self.1
    }

    fn iter(&self) -> impl Iterator<Item = f64> + '_ {
        self.0.iter().copied().take(self.1)
    }

    /// The scale that carries the column, with the integers.
    fn scale(&self, values: &[f64], exceptions: &mut Vec<usize>) -> Option<(u8, Vec<i64>)> {
        if self.count() == 0 {
            return None;
        }
        if let Some(found) = self.decimals().and_then(|digits| refined(values, digits, exceptions)) {
            return Some(found);
        }
        for scale in OTHER_SCALES {
            let fits = self.iter().filter(|v| with_scale(*v, scale).is_some()).count();
            if fits * 8 >= self.count() * 7
                && let Some(numbers) = convert(values, exceptions, |v| with_scale(v, scale))
            {
                return Some((scale, numbers));
            }
        }
        None
    }

    /// The fewest digits after the point (or zeros before it) with which nearly all probes come back.
    fn decimals(&self) -> Option<u8> {
        let (mut digits, mut misfits) = (0, 0);
        let times = |v| (1..=15).rev().map(|zeros| TIMES_BASE + zeros).find(|scale| with_scale(v, *scale).is_some());
        if self.iter().all(|v| v.abs() >= ROUNDED_MAX) {
            let scales: Option<Vec<u8>> = self.iter().map(times).collect();
            return scales?.into_iter().min();
        }
        for value in self.iter() {
            match (digits..=15).find(|digits| with_scale(value, *digits).is_some()) {
                Some(found) => digits = found,
                None => misfits += 1,
            }
        }
        (misfits * 8 <= self.count()).then_some(digits.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale_of(values: &[f64]) -> Option<u8> {
        let mut exceptions = Vec::new();
        Probes::new(values).scale(values, &mut exceptions).map(|(scale, _)| scale)
    }

    #[test]
    fn scales_are_found() {
        assert_eq!(scale_of(&[1.25, 3.5, 7.0, 0.75]), Some(2));
        assert_eq!(scale_of(&[0.1, 0.2, 0.3, 1e-3]), Some(3));
        assert_eq!(scale_of(&[1.0 / 60.0, 7.0 / 60.0, 59.0 / 60.0, 2.0 / 3.0]), Some(SIXTIETHS));
        assert_eq!(scale_of(&[3e17, 25e16, 1e18]), Some(TIMES_BASE + 15));
        let nano: Vec<f64> = (1..500).map(|i| f64::from(i * 1_234_567) * 1e-9).collect();
        assert!(scale_of(&nano).is_some());
        assert_eq!(scale_of(&[std::f64::consts::PI, std::f64::consts::E, 1.0 / 7.0, 0.123_456_789_012_345_67]), None);
    }

    #[test]
    fn odd_values_among_decimals_are_exceptions() {
        let mut values: Vec<f64> = (0..256).map(|i| f64::from(i) / 100.0).collect();
        values[7] = std::f64::consts::PI;
        values[9] = f64::NAN;
        values[0] = -0.0;
        let mut exceptions = Vec::new();
        let (_, numbers) = Probes::new(&values).scale(&values, &mut exceptions).unwrap();
        assert!(exceptions.starts_with(&[0, 7, 9]) && exceptions.len() == 3, "{exceptions:?}");
        assert_eq!(numbers.len(), 256);
    }

    #[test]
    fn holes_are_filled_from_the_left() {
        let mut numbers = [0, 0, 5, 0, 0, 8];
        fill(&mut numbers, &[0, 1, 3, 4]);
        assert_eq!(numbers, [5, 5, 5, 5, 5, 8]);
        let mut numbers = [0, 10, 20, 30, 0, 50, 0];
        fill(&mut numbers, &[4, 6]);
        assert_eq!(numbers, [0, 10, 20, 30, 40, 50, 60]);
        let mut numbers = [0, 0];
        fill(&mut numbers, &[0, 1]);
        assert_eq!(numbers, [0, 0]);
    }
}
