//! The values of a block that its codec could not carry: places and bits.
//!
//! # Bytes
//! Count less 1 (varint), then for each: twice the distance from the place after the one before (varint), plus 1 if the
//! eight bytes of its bits follow; without them it is the staleness marker.

use model::STALE_NAN_BITS;

use crate::format::{Cursor, FormatError, Put};

/// Appends the values at these rising places.
pub(super) fn put(places: &[usize], values: &[f64], out: &mut Vec<u8>) {
    out.put_varint(places.len().saturating_sub(1) as u64);
    let mut next = 0;
    for place in places {
        let bits = values.get(*place).copied().unwrap_or_default().to_bits();
        let distance = 2 * (place - next) as u64;
        if bits == STALE_NAN_BITS {
            out.put_varint(distance);
        } else {
            out.put_varint(distance + 1);
            out.put_u64(bits);
        }
        next = place + 1;
    }
}

/// Reads places and values; every place is below `count`.
///
/// # Errors
/// [`FormatError`] if the bytes are no such list.
pub(super) fn read(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<(usize, f64)>, FormatError> {
    let more = cursor.length()?;
    if more >= count {
        return Err(cursor.error("more exceptions than values"));
    }
    let mut list = Vec::with_capacity(more + 1);
    let mut next = 0_usize;
    for _ in 0..=more {
        let code = cursor.length()?;
        let place = next.saturating_add(code / 2);
        if place >= count {
            return Err(cursor.error("an exception lies outside its block"));
        }
        let bits = if code % 2 == 1 { cursor.u64()? } else { STALE_NAN_BITS };
        list.push((place, f64::from_bits(bits)));
        next = place + 1;
    }
    Ok(list)
}
