//! One value for the whole block. Bytes: the high bytes of its bits, highest first, without trailing zero bytes.

use super::{Beside, CodecNumber, Column, Preference, ValueCodec};
use crate::format::{Cursor, FormatError, high_bytes, put_high_bytes};

/// Most exceptions as a share of the block: beyond, a constant is not what it is about.
const EXCEPTIONS_SHARE: usize = 8;

pub(super) struct Constant;

impl ValueCodec for Constant {
    fn number(&self) -> CodecNumber {
        CodecNumber::Constant
    }

    fn encode(&self, column: &Column<'_>, _: Preference, exceptions: &mut Vec<usize>, out: &mut Vec<u8>) -> bool {
        let values = column.values;
        let Some(first) = values.first() else { return true };
        let mut bits = first.to_bits();
        if !values.iter().all(|v| v.to_bits() == bits) {
            if column.specials.is_empty() || column.specials.len() > values.len() / EXCEPTIONS_SHARE {
                return false;
            }
            let mut is_special = column.specials.iter().peekable();
            let mut plain = values.iter().enumerate().filter(|(i, _)| is_special.next_if_eq(&i).is_none());
            let Some((_, value)) = plain.next() else { return false };
            bits = value.to_bits();
            if !plain.all(|(_, v)| v.to_bits() == bits) {
                return false;
            }
            exceptions.extend_from_slice(&column.specials);
        }
        put_high_bytes(out, bits);
        true
    }

    fn decode(&self, cursor: &mut Cursor<'_>, _: Beside<'_>, out: &mut [f64]) -> Result<(), FormatError> {
        let bytes = cursor.take(cursor.rest().len())?;
        let bits = high_bytes(bytes).ok_or_else(|| cursor.error("a constant with too many bytes"))?;
        out.fill(f64::from_bits(bits));
        Ok(())
    }
}
