//! The bytes of every file: checked little-endian integers, varints, versions and checksums.
//!
//! Nothing else in the crate computes byte order or trusts a length that was read. A [`Cursor`] never panics and never
//! allocates by a number it has read; whoever uses one adds file and offset to its [`FormatError`].
//!
//! # Integers
//! Fixed widths are little-endian. A varint is LEB128: seven bits per byte, lowest first, the top bit says that more
//! follow; at most [`VARINT_MAX_BYTES`], and never longer than needed. Signed varints are zigzag: 0, −1, 1, −2, … as
//! 0, 1, 2, 3, … A text is its length in bytes as a varint, then UTF-8. A checksum is XXH3-64, seed 0.
#![expect(clippy::disallowed_methods, reason = "this is the one place that computes byte order")]

use std::path::Path;

use crate::error::StorageError;

/// Bytes of the longest varint.
pub(crate) const VARINT_MAX_BYTES: usize = 10;

/// What is wrong with bytes that were read, and where in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail} (at byte {position})")]
pub(crate) struct FormatError {
    /// Offset in the bytes given to the cursor.
    pub(crate) position: usize,
    /// What is wrong.
    pub(crate) detail: &'static str,
}

impl FormatError {
    /// An error at the start of the bytes.
    pub(crate) fn new(detail: &'static str) -> Self {
        FormatError { position: 0, detail }
    }

    /// The error as users see it, for bytes that begin at `base` of a file.
    pub(crate) fn in_file(&self, path: &Path, base: u64) -> StorageError {
        StorageError::Corrupt {
            path: path.to_owned(),
            offset: base.saturating_add(self.position as u64),
            detail: self.detail.to_owned(),
        }
    }
}

/// The version of a file's format: one number, rising by one with each change that older readers cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FormatVersion(pub(crate) u32);

impl FormatVersion {
    /// Accepts versions from 1 up to `known`.
    ///
    /// # Errors
    /// [`StorageError::NewerFormat`] for a later version, [`StorageError::Corrupt`] for 0.
    pub(crate) fn check(self, known: FormatVersion, path: &Path) -> Result<(), StorageError> {
        if self > known {
            return Err(StorageError::NewerFormat { path: path.to_owned(), found: self.0, known: known.0 });
        }
        if self.0 == 0 {
            return Err(FormatError::new("format version 0 does not exist").in_file(path, 0));
        }
        Ok(())
    }
}

/// XXH3-64, seed 0.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// XXH3-128, seed 0: finds equal content; equality is always confirmed by comparing.
pub(crate) fn content_hash(bytes: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(bytes)
}

/// XXH3-128 of the little-endian bytes of a column of times.
pub(crate) fn content_hash_i64(values: &[i64]) -> u128 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    let mut buffer = [0_u8; 512];
    for chunk in values.chunks(64) {
        for (bytes, value) in buffer.chunks_exact_mut(8).zip(chunk) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        hasher.update(buffer.get(..chunk.len() * 8).unwrap_or_default());
    }
    hasher.digest128()
}

/// −1 becomes 1, 1 becomes 2, and so on: small magnitudes become small numbers.
#[inline]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The inverse of [`zigzag`].
#[inline]
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Bytes of a value as a varint.
pub(crate) fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Appending integers to a buffer.
pub(crate) trait Put {
    /// Appends a byte.
    fn put_u8(&mut self, value: u8);
    /// Appends two bytes.
    fn put_u16(&mut self, value: u16);
    /// Appends four bytes.
    fn put_u32(&mut self, value: u32);
    /// Appends eight bytes.
    fn put_u64(&mut self, value: u64);
    /// Appends the bits of a float.
    fn put_f64(&mut self, value: f64) {
        self.put_u64(value.to_bits());
    }
    /// Appends an unsigned varint.
    fn put_varint(&mut self, value: u64);
    /// Appends a signed varint.
    fn put_zigzag(&mut self, value: i64) {
        self.put_varint(zigzag(value));
    }
    /// Appends a length-prefixed text.
    fn put_text(&mut self, text: &str);
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push((value & 0x7F) as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    fn put_text(&mut self, text: &str) {
        self.put_varint(text.len() as u64);
        self.extend_from_slice(text.as_bytes());
    }
}

/// A `u32` at an offset, if it lies inside.
#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A `u64` at an offset, if it lies inside.
#[inline(always)]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The low bytes of a `u64` at an offset; bytes beyond the end count as zero.
#[inline(always)]
pub(crate) fn u64_padded(bytes: &[u8], at: usize) -> u64 {
    u64_at(bytes, at).unwrap_or_else(|| {
        let mut word = [0_u8; 8];
        for (to, from) in word.iter_mut().zip(bytes.get(at..).unwrap_or_default()) {
            *to = *from;
        }
        u64::from_le_bytes(word)
    })
}

/// The big-endian `u64` at an offset; bytes beyond the end count as zero.
#[inline(always)]
pub(crate) fn u64_be_padded(bytes: &[u8], at: usize) -> u64 {
    u64_padded(bytes, at).swap_bytes()
}

/// The little-endian `u64` that ends before an offset inside; bytes before the start count as zero.
#[inline(always)]
pub(crate) fn u64_before(bytes: &[u8], end: usize) -> u64 {
    let word = end.checked_sub(8).and_then(|at| u64_at(bytes, at));
    word.unwrap_or_else(|| {
        let part = bytes.get(..end.min(8)).unwrap_or_default();
        u64_padded(part, 0).checked_shl(8 * (8 - part.len()) as u32).unwrap_or(0)
    })
}

/// Reads a row of little-endian words into `out`; false if there are fewer bytes.
#[inline(always)]
pub(crate) fn read_u32s<const N: usize>(bytes: &[u8], out: &mut [u32; N]) -> bool {
    let Some(bytes) = bytes.get(..N * 4) else { return false };
    for (word, chunk) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*chunk);
    }
    true
}

/// Reads a row of little-endian words into `out`; false if there are fewer bytes.
#[inline(always)]
pub(crate) fn read_u64s(bytes: &[u8], out: &mut [u64]) -> bool {
    let Some(bytes) = bytes.get(..out.len() * 8) else { return false };
    for (word, chunk) in out.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*chunk);
    }
    true
}

/// Appends the high bytes of a word, highest first, without trailing zero bytes.
pub(crate) fn put_high_bytes(out: &mut Vec<u8>, value: u64) {
    let used = 8 - value.trailing_zeros() as usize / 8;
    out.extend(value.to_be_bytes().iter().take(used));
}

/// Reads what [`put_high_bytes`] wrote; none if there are more than eight bytes.
pub(crate) fn high_bytes(bytes: &[u8]) -> Option<u64> {
    let mut word = [0_u8; 8];
    word.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_be_bytes(word))
}

/// Reads integers from bytes that nobody has vouched for.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, position: 0 }
    }

    /// Offset of the next byte.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// What is still to be read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// True if everything was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// An error at this place.
    pub(crate) fn error(&self, detail: &'static str) -> FormatError {
        FormatError { position: self.position, detail }
    }

    /// Ends reading.
    ///
    /// # Errors
    /// [`FormatError`] if bytes are left.
    pub(crate) fn finish(&self) -> Result<(), FormatError> {
        if self.is_empty() { Ok(()) } else { Err(self.error("bytes are left over")) }
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let taken = self.rest().get(..count).ok_or_else(|| self.error("the data ends too early"))?;
        self.position += count;
        Ok(taken)
    }

    /// The next byte.
    pub(crate) fn u8(&mut self) -> Result<u8, FormatError> {
        let byte = *self.bytes.get(self.position).ok_or_else(|| self.error("the data ends too early"))?;
        self.position += 1;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let array = *self.rest().first_chunk().ok_or_else(|| self.error("the data ends too early"))?;
        self.position += N;
        Ok(array)
    }

    /// The next two bytes.
    pub(crate) fn u16(&mut self) -> Result<u16, FormatError> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next four bytes.
    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next eight bytes.
    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next eight bytes as a float's bits.
    pub(crate) fn f64(&mut self) -> Result<f64, FormatError> {
        self.u64().map(f64::from_bits)
    }

    /// An unsigned varint.
    pub(crate) fn varint(&mut self) -> Result<u64, FormatError> {
        let start = self.position;
        let wrong = |detail| FormatError { position: start, detail };
        let mut value = 0_u64;
        for i in 0..VARINT_MAX_BYTES {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7F);
            if i == VARINT_MAX_BYTES - 1 && byte > 1 {
                return Err(wrong("a varint has more than 64 bits"));
            }
            value |= bits << (7 * i);
            if byte < 0x80 {
                if byte == 0 && i > 0 {
                    return Err(wrong("a varint is longer than needed"));
                }
                return Ok(value);
            }
        }
        Err(wrong("a varint is too long"))
    }

    /// A signed varint.
    pub(crate) fn zigzag(&mut self) -> Result<i64, FormatError> {
        self.varint().map(unzigzag)
    }

    /// A varint that is a length or a count; the caller compares it with what there is.
    pub(crate) fn length(&mut self) -> Result<usize, FormatError> {
        let start = self.position;
        usize::try_from(self.varint()?)
            .map_err(|_| FormatError { position: start, detail: "a length does not fit this machine" })
    }

    /// A length-prefixed text.
    pub(crate) fn text(&mut self) -> Result<&'a str, FormatError> {
        let length = self.length()?;
        let start = self.position;
        std::str::from_utf8(self.take(length)?)
            .map_err(|_| FormatError { position: start, detail: "a text is not UTF-8" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_pinned() {
        let mut out = Vec::new();
        out.put_u8(1);
        out.put_u16(0x0203);
        out.put_u32(0x0405_0607);
        out.put_u64(0x0809_0A0B_0C0D_0E0F);
        out.put_varint(300);
        out.put_zigzag(-2);
        out.put_text("é");
        let want: &[u8] = b"\x01\x03\x02\x07\x06\x05\x04\x0f\x0e\x0d\x0c\x0b\x0a\x09\x08\xac\x02\x03\x02\xc3\xa9";
        assert_eq!(out, want);
        let mut cursor = Cursor::new(&out);
        assert_eq!((cursor.u8(), cursor.u16(), cursor.u32()), (Ok(1), Ok(0x0203), Ok(0x0405_0607)));
        assert_eq!((cursor.u64(), cursor.varint()), (Ok(0x0809_0A0B_0C0D_0E0F), Ok(300)));
        assert_eq!((cursor.zigzag(), cursor.text()), (Ok(-2), Ok("é")));
        assert_eq!(cursor.finish(), Ok(()));
        assert_eq!(checksum(b"streamgauge"), 18_225_151_819_541_835_619);
        assert_eq!(content_hash_i64(&[1, -1]), content_hash(b"\x01\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"));
    }

    #[test]
    fn words_are_padded_with_zeros() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(u64_padded(&bytes, 1), 0x0908_0706_0504_0302);
        assert_eq!((u64_padded(&bytes, 7), u64_padded(&bytes, 9), u64_padded(&bytes, 99)), (0x0908, 0, 0));
        assert_eq!(u64_be_padded(&bytes, 7), 0x0809_0000_0000_0000);
        assert_eq!((u64_before(&bytes, 9), u64_before(&bytes, 8)), (0x0908_0706_0504_0302, 0x0807_0605_0403_0201));
        assert_eq!((u64_before(&bytes, 2), u64_before(&bytes, 0)), (0x0201_0000_0000_0000, 0));
    }

    #[test]
    fn bad_varints_are_refused() {
        for bytes in [&b""[..], b"\x80", b"\x80\x00", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", &[0xFF; 11]] {
            assert!(Cursor::new(bytes).varint().is_err(), "{bytes:?}");
        }
        let longest = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(Cursor::new(longest).varint(), Ok(u64::MAX));
        assert!(Cursor::new(b"\xff\xff\xff\xff\x0fabc").text().is_err());
    }

    proptest! {
        #[test]
        fn integers_come_back(value: u64, at in 0_u32..64) {
            let value = value >> at;
            let mut out = Vec::new();
            out.put_varint(value);
            prop_assert_eq!(out.len(), varint_len(value));
            prop_assert_eq!(Cursor::new(&out).varint(), Ok(value));
            prop_assert_eq!(zigzag(unzigzag(value)), value);
            let mut out = Vec::new();
            put_high_bytes(&mut out, value << at);
            prop_assert_eq!(high_bytes(&out), Some(value << at));
        }
    }
}
