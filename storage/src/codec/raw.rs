//! The bits of the values as they are, eight bytes each: what everything else must beat.

use super::{CodecNumber, Column, Preference, ValueCodec};
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

    fn decode(&self, cursor: &mut Cursor<'_>, count: usize, _: &[f64], out: &mut Vec<f64>) -> Result<(), FormatError> {
        for _ in 0..count {
            out.push(cursor.f64()?);
        }
        Ok(())
    }
}
