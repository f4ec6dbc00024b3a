//! Memory for the samples of open chunks: pages that are mapped when they are needed and given back as a whole with
//! their generation.
//!
//! A chunk takes its samples in *units*, each behind the one before, so that a series with few samples takes little and
//! nothing is moved when it grows. Pages are mapped, not taken from the allocator: what a flush frees goes back to the
//! system at once, however long-lived what was allocated meanwhile is.
//!
//! # A unit
//! The address of the unit before (4 bytes), the offsets of its samples' times (4 bytes each), their values (8 bytes
//! each). Its capacity is known from the place of its first sample in the chunk.

#![expect(clippy::disallowed_methods, reason = "these bytes never leave the process")]

use memmap2::MmapMut;

/// Size of a page; a multiple of the system's. One per shard is not full.
const PAGE_BYTES: usize = 256 << 10;
/// Addresses count words of this size.
const WORD_BYTES: usize = 4;
const PAGE_WORDS: usize = PAGE_BYTES / WORD_BYTES;
const VALUE_BYTES: usize = 8;

/// The pages of one shard.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    pages: Vec<MmapMut>,
    /// Words taken of the last page.
    used: usize,
}

/// A unit that is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unit<'a> {
    /// The address of the unit before; of no meaning in the first.
    pub(crate) before: u32,
    offsets: &'a [[u8; WORD_BYTES]],
    values: &'a [[u8; VALUE_BYTES]],
}

impl Unit<'_> {
    /// The offset of the `i`-th time.
    pub(crate) fn offset(&self, i: usize) -> u32 {
        self.offsets.get(i).map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// Number of the first `count` offsets that are less than `bound`.
    pub(crate) fn count_below(&self, count: usize, bound: u64) -> usize {
        let offsets = self.offsets.get(..count).unwrap_or_default();
        offsets.partition_point(|bytes| u64::from(u32::from_le_bytes(*bytes)) < bound)
    }

    /// The samples `from..to`, as offsets and values.
    pub(crate) fn samples(&self, from: usize, to: usize) -> impl DoubleEndedIterator<Item = (u32, f64)> {
        let offsets = self.offsets.get(from..to).unwrap_or_default();
        let values = self.values.get(from..to).unwrap_or_default();
        let words = |(offset, value): (&[u8; 4], &[u8; 8])| (u32::from_le_bytes(*offset), f64::from_le_bytes(*value));
        offsets.iter().zip(values).map(words)
    }
}

fn unit_words(capacity: usize) -> usize {
    1 + capacity * (WORD_BYTES + VALUE_BYTES) / WORD_BYTES
}

impl Pages {
    /// Takes room for a unit behind `before`; none if the system has no memory or all addresses are used.
    pub(crate) fn take(&mut self, before: u32, capacity: usize) -> Option<u32> {
        let words = unit_words(capacity);
        if self.pages.is_empty() || self.used + words > PAGE_WORDS {
            self.pages.push(MmapMut::map_anon(PAGE_BYTES).ok()?);
            self.used = 0;
        }
        let address = u32::try_from((self.pages.len() - 1) * PAGE_WORDS + self.used).ok()?;
        self.used += words;
        self.bytes_mut(address, 0, WORD_BYTES)?.copy_from_slice(&before.to_le_bytes());
        Some(address)
    }

    /// Writes the `i`-th sample of a unit; none if there is no such place.
    pub(crate) fn set(&mut self, unit: u32, capacity: usize, i: usize, offset: u32, value: f64) -> Option<()> {
        let values_at = WORD_BYTES * (1 + capacity);
        self.bytes_mut(unit, WORD_BYTES * (1 + i), WORD_BYTES)?.copy_from_slice(&offset.to_le_bytes());
        self.bytes_mut(unit, values_at + VALUE_BYTES * i, VALUE_BYTES)?.copy_from_slice(&value.to_le_bytes());
        Some(())
    }

    /// The unit at an address.
    pub(crate) fn get(&self, unit: u32, capacity: usize) -> Option<Unit<'_>> {
        let start = unit as usize % PAGE_WORDS * WORD_BYTES;
        let bytes =
            self.pages.get(unit as usize / PAGE_WORDS)?.get(start..start + unit_words(capacity) * WORD_BYTES)?;
        let (before, rest) = bytes.split_first_chunk::<WORD_BYTES>()?;
        let (offsets, values) = rest.split_at_checked(capacity * WORD_BYTES)?;
        let before = u32::from_le_bytes(*before);
        Some(Unit { before, offsets: offsets.as_chunks().0, values: values.as_chunks().0 })
    }

    fn bytes_mut(&mut self, unit: u32, from: usize, count: usize) -> Option<&mut [u8]> {
        let start = unit as usize % PAGE_WORDS * WORD_BYTES + from;
        self.pages.get_mut(unit as usize / PAGE_WORDS)?.get_mut(start..start + count)
    }

    /// Bytes that were taken.
    pub(crate) fn bytes(&self) -> usize {
        self.pages.len().saturating_sub(1) * PAGE_BYTES + self.used * WORD_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_keep_their_samples_over_pages() {
        let mut pages = Pages::default();
        let count = PAGE_WORDS / unit_words(128) * 3;
        let mut units = Vec::new();
        for i in 0..count as u32 {
            let unit = pages.take(i, 128).unwrap();
            for place in 0..128 {
                pages.set(unit, 128, place, i + place as u32, f64::from(i) + 0.5).unwrap();
            }
            units.push(unit);
        }
        assert_eq!(pages.bytes().div_ceil(PAGE_BYTES), 3);
        for (i, address) in (0_u32..).zip(units) {
            let unit = pages.get(address, 128).unwrap();
            assert_eq!((unit.before, unit.offset(0), unit.offset(127)), (i, i, i + 127));
            assert_eq!(unit.count_below(128, u64::from(i) + 5), 5);
            assert!(unit.samples(2, 4).eq([(i + 2, f64::from(i) + 0.5), (i + 3, f64::from(i) + 0.5)]));
        }
        assert!(pages.get(u32::MAX, 2).is_none());
    }
}
