//! Finds the one bit that is wrong, if there is only one: a checksum says which of all bits it can be.
//!
//! Nothing is ever repaired on the disk. Knowing the bit tells which series are touched, and proves the bytes around it.

use std::borrow::Cow;

use crate::error::StorageError;
use crate::io::Region;

/// Bytes in which a bit is looked for: each of their bits costs a checksum over all of them.
pub(crate) const SEARCH_BYTES_MAX: usize = 32 << 10;

/// The bit of `bytes` that must be flipped for `is_sound` to hold, if there is one and they are not too many. Bit `i` is
/// bit `i % 8` of byte `i / 8`.
pub(crate) fn flipped_bit(bytes: &[u8], mut is_sound: impl FnMut(&[u8]) -> bool) -> Option<usize> {
    if bytes.len() > SEARCH_BYTES_MAX {
        return None;
    }
    let mut tried = bytes.to_vec();
    (0..bytes.len() * 8).find(|bit| {
        flip(&mut tried, *bit);
        let found = is_sound(&tried);
        flip(&mut tried, *bit);
        found
    })
}

/// Flips a bit.
pub(crate) fn flip(bytes: &mut [u8], bit: usize) {
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
}

/// A file with one bit as it should be.
#[derive(Debug)]
pub(crate) struct Repaired {
    pub(crate) file: Box<dyn Region>,
    /// Bit of the file.
    pub(crate) bit: u64,
}

impl Region for Repaired {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read(&self, offset: u64, len: usize) -> Result<Cow<'_, [u8]>, StorageError> {
        let mut bytes = self.file.read(offset, len)?;
        let inside = (self.bit / 8).checked_sub(offset).and_then(|at| usize::try_from(at).ok());
        if let Some(at) = inside.filter(|at| *at < len) {
            flip(bytes.to_mut(), at * 8 + (self.bit % 8) as usize);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::checksum;

    #[test]
    fn any_one_bit_is_found_and_two_are_not() {
        let good: Vec<u8> = (0..40_u8).map(|i| i.wrapping_mul(37)).collect();
        let sum = checksum(&good);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            flip(&mut bad, bit);
            assert_eq!(flipped_bit(&bad, |bytes| checksum(bytes) == sum), Some(bit));
            flip(&mut bad, (bit + 9) % (good.len() * 8));
            assert_eq!(flipped_bit(&bad, |bytes| checksum(bytes) == sum), None);
        }
    }

    #[test]
    fn the_search_is_bounded() {
        let mut bytes = vec![0; SEARCH_BYTES_MAX];
        bytes[0] = 1;
        let is_zero = |bytes: &[u8]| bytes[0] == 0;
        assert_eq!(flipped_bit(&bytes, is_zero), Some(0));
        bytes.push(0);
        assert_eq!(flipped_bit(&bytes, is_zero), None);
    }
}
