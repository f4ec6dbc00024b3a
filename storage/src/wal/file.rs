//! The header of WAL files, and which part of which file counts.
//!
//! # File header (version 1)
//! | field | width | meaning |
//! |---|---|---|
//! | magic | 8 | [`MAGIC`] |
//! | version | 4 | of the file |
//! | reserved | 4 | 0 |
//! | number | 8 | of this file, as in its name |
//! | previous number | 8 | of the file whose records come before; 0 for none |
//! | previous length | 8 | bytes of that file that count; what lies behind was never acknowledged |
//! | repeated from | 8 | offset in that file from which on its records stand at the front of this one again |
//! | front length | 8 | bytes of the records behind the header that are repeated |
//! | front checksum | 8 | of these |
//! | store | 16 | id of the store |
//! | checksum | 8 | of all before |
//!
//! A file whose header or front is not whole was never started, unless a record in it says that something was synced.
//! A file is sealed by its successor's header, never by writing to it. All that counts of it was synced by the process
//! that wrote it, or is repeated in the successor: a sync by a later process proves nothing, because the kernel may have
//! dropped the pages after a sync that failed before that process began. Numbers are never used twice: a file that could
//! not be started leaves a gap in the chain, and is removed at the next start.

use std::path::Path;

use crate::error::StorageError;
use crate::format::{Cursor, FormatError, FormatVersion, Put, checksum};

/// `SGWAL` and three zero bytes.
const MAGIC: &[u8; 8] = b"SGWAL\0\0\0";
const VERSION: FormatVersion = FormatVersion(1);
/// Length of the header.
pub(crate) const FILE_HEADER_BYTES: usize = 88;

/// What a WAL file says of itself and of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) number: u64,
    pub(crate) previous_number: u64,
    pub(crate) previous_bytes: u64,
    pub(crate) repeated_from: u64,
    pub(crate) front_bytes: u64,
    pub(crate) front_checksum: u64,
    pub(crate) store: u128,
}

impl FileHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FILE_HEADER_BYTES);
        out.extend_from_slice(MAGIC);
        out.put_u32(VERSION.0);
        out.put_u32(0);
        out.put_u64(self.number);
        out.put_u64(self.previous_number);
        out.put_u64(self.previous_bytes);
        out.put_u64(self.repeated_from);
        out.put_u64(self.front_bytes);
        out.put_u64(self.front_checksum);
        out.put_u64(self.store as u64);
        out.put_u64((self.store >> 64) as u64);
        let sum = checksum(&out);
        out.put_u64(sum);
        out
    }

    /// Reads the header of a file; none if there is no whole and sound one.
    ///
    /// # Errors
    /// [`StorageError::NewerFormat`].
    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Option<Self>, StorageError> {
        let Ok((version, header)) = decode(bytes) else { return Ok(None) };
        version.check(VERSION, path)?;
        Ok(Some(header))
    }
}

fn decode(bytes: &[u8]) -> Result<(FormatVersion, FileHeader), FormatError> {
    let mut cursor = Cursor::new(bytes);
    if cursor.take(MAGIC.len())? != MAGIC {
        return Err(FormatError::new("no WAL file"));
    }
    let version = FormatVersion(cursor.u32()?);
    cursor.u32()?;
    let (number, previous_number) = (cursor.u64()?, cursor.u64()?);
    let (previous_bytes, repeated_from) = (cursor.u64()?, cursor.u64()?);
    let (front_bytes, front_checksum) = (cursor.u64()?, cursor.u64()?);
    let store = u128::from(cursor.u64()?) | u128::from(cursor.u64()?) << 64;
    let position = cursor.position();
    if cursor.u64()? != checksum(bytes.get(..position).unwrap_or_default()) {
        return Err(FormatError::new("a WAL file's header has a wrong checksum"));
    }
    let header =
        FileHeader { number, previous_number, previous_bytes, repeated_from, front_bytes, front_checksum, store };
    Ok((version, header))
}

/// A file of the chain and how much of it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChainFile {
    pub(crate) number: u64,
    /// None for the last file: it counts up to its torn tail.
    pub(crate) seal: Option<Seal>,
}

/// How a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    /// Bytes that count.
    pub(crate) bytes: u64,
    /// From here on the next file has the records again.
    pub(crate) repeated_from: u64,
}

/// A file of the directory: its number and its header, if that is sound.
pub(crate) type FoundFile = (u64, Option<FileHeader>);

/// The files that count, in order: the one with the highest number and those that it was written after, down to
/// `floor`. `found` has, by rising numbers, the files with a sound header, and those without one that hold synced records
/// all the same.
///
/// The second list has the numbers of files that are damaged: without a sound header, or named and not there. The chain
/// goes on below them with the next file there is. One without a header counts also if the next file names the one before
/// it: a start that finds it last can begin its own file with the name of no other.
pub(crate) fn chain(found: &[FoundFile], floor: u64) -> (Vec<ChainFile>, Vec<u64>) {
    let mut files = Vec::new();
    let mut damaged = Vec::new();
    let below = |limit: u64| found.iter().map(|(n, _)| *n).filter(|n| *n < limit && *n >= floor).max();
    let mut next = below(u64::MAX);
    let mut seal = None;
    while let Some(number) = next {
        let here = found.iter().find(|(n, _)| *n == number);
        if here.is_some() {
            files.push(ChainFile { number, seal });
        }
        match here.and_then(|(_, header)| header.as_ref()) {
            Some(header) => {
                let previous = header.previous_number;
                let is_passed = |n: u64| n >= floor && previous < n && n < number;
                for (passed, _) in found.iter().rev().filter(|(n, header)| header.is_none() && is_passed(*n)) {
                    files.push(ChainFile { number: *passed, seal: None });
                    damaged.push(*passed);
                }
                next = Some(previous).filter(|n| *n >= floor.max(1) && *n < number);
                seal = Some(Seal { bytes: header.previous_bytes, repeated_from: header.repeated_from });
            }
            None => {
                damaged.push(number);
                next = below(number);
                seal = None;
            }
        }
    }
    files.reverse();
    (files, damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(number: u64, previous_number: u64, previous_bytes: u64) -> FileHeader {
        let repeated_from = previous_bytes;
        FileHeader {
            number,
            previous_number,
            previous_bytes,
            repeated_from,
            front_bytes: 5,
            front_checksum: 6,
            store: 7,
        }
    }

    #[test]
    fn header_bytes_are_pinned() {
        let bytes = FileHeader { store: 1 << 64 | 2, ..header(3, 2, 100) }.encode();
        assert_eq!(bytes.len(), FILE_HEADER_BYTES);
        let fields =
            b"SGWAL\0\0\0\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x64\0\0\0\0\0\0\0\x64\0\0\0\0\0\0\0\
            \x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0";
        assert_eq!(&bytes[..80], fields);
        let path = Path::new("x");
        assert_eq!(
            FileHeader::decode(&bytes, path).unwrap(),
            Some(FileHeader { store: 1 << 64 | 2, ..header(3, 2, 100) })
        );
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FileHeader::decode(&bad, path).unwrap(), None);
        }
        assert_eq!(FileHeader::decode(&bytes[..87], path).unwrap(), None);
    }

    #[test]
    fn a_newer_file_is_refused_by_name() {
        let mut bytes = header(1, 0, 0).encode();
        bytes[8] = 2;
        let sum = checksum(&bytes[..80]);
        bytes.truncate(80);
        bytes.put_u64(sum);
        let refused = FileHeader::decode(&bytes, Path::new("w.wal")).unwrap_err();
        assert!(refused.to_string().contains("w.wal has format 2"), "{refused}");
    }

    #[test]
    fn the_chain_leaves_out_what_could_not_be_started() {
        // 6 was sealed at 50 by 8; 7 was an attempt that failed after its header.
        let found = |headers: &[FileHeader]| headers.iter().map(|h| (h.number, Some(*h))).collect::<Vec<FoundFile>>();
        let headers = [header(5, 4, 10), header(6, 5, 40), header(7, 6, 50), header(8, 6, 50)];
        let file = |number, bytes: Option<u64>| {
            let seal = bytes.map(|bytes| Seal { bytes, repeated_from: bytes });
            ChainFile { number, seal }
        };
        let whole = vec![file(5, Some(40)), file(6, Some(50)), file(8, None)];
        assert_eq!(chain(&found(&headers), 5), (whole.clone(), vec![]));
        assert_eq!(chain(&found(&headers), 8), (vec![file(8, None)], vec![]));
        assert_eq!(chain(&found(&headers), 9), (vec![], vec![]));
        assert_eq!(chain(&found(&headers), 1).1, [4], "a file that the chain names is not there");
        assert_eq!(chain(&[], 0), (vec![], vec![]));
        let mut found = found(&headers);
        found[1].1 = None;
        let around = vec![file(5, None), file(6, Some(50)), file(8, None)];
        assert_eq!(chain(&found, 5), (around, vec![6]), "the chain goes on below a damaged header");
    }

    #[test]
    fn a_damaged_file_stays_in_the_chain_when_later_starts_went_on_without_it() {
        let file = |number, bytes: Option<u64>| {
            let seal = bytes.map(|bytes| Seal { bytes, repeated_from: bytes });
            ChainFile { number, seal }
        };
        // 6 and 7 lost their headers while they were the last ones; 8 could only name 5, or nothing if that was not there.
        let found = [(5, Some(header(5, 4, 10))), (6, None), (7, None), (8, Some(header(8, 5, 40)))];
        let rest = vec![file(6, None), file(7, None), file(8, None)];
        let all = [vec![file(5, Some(40))], rest.clone()].concat();
        assert_eq!(chain(&found, 5), (all, vec![7, 6]));
        assert_eq!(chain(&found, 7).0, rest[1..]);
        let alone = [(6, None), (7, None), (8, Some(header(8, 0, 0)))];
        assert_eq!(chain(&alone, 1), (rest, vec![7, 6]));
    }
}
