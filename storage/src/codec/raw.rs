//! The bits of the values as they are, eight bytes each: what everything else must beat.

use super::{Beside, CodecNumber, Column, Preference, ValueCodec};
use crate::format::{Cursor, FormatError, Put};

pub(super) struct Raw;

impl ValueCodec for Raw {
    fn number(&self) -> CodecNumber {
        CodecNumber::Raw
    }

    fn encode(&self, column: &Column<'_>, _: Preference, _: &mut Vec<usize>, out: &mut Vec<u8>) -> bool {
        column.values.iter().for_each(|v| out.put_f64(*v));
        true
    }

    fn decode(&self, cursor: &mut Cursor<'_>, _: Beside<'_>, out: &mut [f64]) -> Result<(), FormatError> {
        out.iter_mut().try_for_each(|value| cursor.f64().map(|read| *value = read))
    }
}
