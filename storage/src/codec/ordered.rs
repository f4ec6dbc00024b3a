//! Floats of full precision as integers in the same order: neighbours in value are neighbours in number.
//!
//! Bytes: an integer stream of the values' bits, in which negative floats have all bits but the sign turned over. Every
//! bit pattern is carried. Common trailing zero bits (values that were 32-bit floats) fall to the stream's divisor.

use super::integers;
use super::machine::for_machine;
use super::{Beside, CodecNumber, Column, Preference, ValueCodec};
use crate::format::{Cursor, FormatError};

pub(super) struct Ordered;

/// The same map forth and back.
#[inline(always)]
fn turn(bits: i64) -> i64 {
    bits ^ ((bits >> 63) & i64::MAX)
}

impl ValueCodec for Ordered {
    fn number(&self) -> CodecNumber {
        CodecNumber::Ordered
    }

    fn encode(
        &self,
        column: &Column<'_>,
        preference: Preference,
        exceptions: &mut Vec<usize>,
        out: &mut Vec<u8>,
    ) -> bool {
        let mut numbers: Vec<i64> = column.values.iter().map(|v| turn(v.to_bits().cast_signed())).collect();
        if column.specials.len() < column.values.len() / 4 {
            exceptions.extend_from_slice(&column.specials);
            super::scaled::fill(&mut numbers, exceptions);
        }
        integers::encode(&numbers, preference, out);
        true
    }

    fn decode(&self, cursor: &mut Cursor<'_>, _: Beside<'_>, out: &mut [f64]) -> Result<(), FormatError> {
        integers::decode_floats(cursor, out, from_order)
    }
}

for_machine! {
    fn from_order(row: &[i64], out: &mut [f64]) {
        for (out, n) in out.iter_mut().zip(row) {
            *out = f64::from_bits(turn(*n).cast_unsigned());
        }
    }
}
