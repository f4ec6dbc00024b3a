//! Blocks written beside the block of another series with the same times: a neighbouring bucket of a histogram, or its
//! count, which is the last bucket.
//!
//! # Bytes
//! [`Equal`]: none, all values have the bits of the base's. [`Difference`]: an integer stream; value `i` is the integer
//! part of the base's value `i` (toward 0, 0 for NaN, the nearest 64-bit integer for what is out of range) plus
//! difference `i`, as a float; the sum wraps.

use super::integers;
use super::scaled::{convert, fill, whole};
use super::{CodecNumber, Column, Preference, ValueCodec};
use crate::format::{Cursor, FormatError};

/// The values of the base.
pub(super) struct Equal;

/// Differences from the integers of the base.
pub(super) struct Difference;

impl ValueCodec for Equal {
    fn number(&self) -> CodecNumber {
        CodecNumber::Equal
    }

    fn encode(&self, column: &Column<'_>, _: Preference, _: &mut Vec<usize>, _: &mut Vec<u8>) -> bool {
        let pairs = || column.values.iter().zip(column.base);
        !column.base.is_empty() && pairs().all(|(value, base)| value.to_bits() == base.to_bits())
    }

    fn decode(
        &self,
        cursor: &mut Cursor<'_>,
        count: usize,
        base: &[f64],
        out: &mut Vec<f64>,
    ) -> Result<(), FormatError> {
        if base.len() != count {
            return Err(cursor.error("the block that this one is equal to is missing"));
        }
        out.extend_from_slice(base);
        Ok(())
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
        if column.base.is_empty() {
            return false;
        }
        let Some(mut numbers) = convert(column.values, exceptions, whole) else { return false };
        for (number, base) in numbers.iter_mut().zip(column.base) {
            *number = number.wrapping_sub(*base as i64);
        }
        fill(&mut numbers, exceptions);
        integers::encode(&numbers, preference, out);
        true
    }

    fn decode(
        &self,
        cursor: &mut Cursor<'_>,
        count: usize,
        base: &[f64],
        out: &mut Vec<f64>,
    ) -> Result<(), FormatError> {
        if base.len() != count {
            return Err(cursor.error("the block that this one differs from is missing"));
        }
        let mut rest = base;
        integers::decode_with(cursor, count, |row| {
            let (base, after) = rest.split_at_checked(row.len()).unwrap_or_default();
            rest = after;
            out.extend(row.iter().zip(base).map(|(n, base)| n.wrapping_add(*base as i64) as f64));
            Ok(())
        })
    }
}
