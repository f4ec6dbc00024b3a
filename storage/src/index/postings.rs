//! Postings: the ordinals of the series that carry one label pair, in the form that is smallest.
//!
//! # Bytes of a list
//! A byte for the form, then
//! | form | content |
//! |---|---|
//! | 1 range | first ordinal (varint), count less 1 (varint): what a metric's name has, since series are in label order |
//! | 2 stream | count (varint), an integer stream of the rising ordinals |
//! | 3 roaring | a Roaring bitmap in its portable format |
//!
//! Equal lists are written once. The directory ([`ENTRIES_PER_PAGE`] lists to a page) has for each pair in order, and
//! after the last pair for each label name in order (the series that have the label at all), where its list is: a page
//! is a stream of offsets in the section of lists, and a stream of lengths in bytes.

use roaring::RoaringBitmap;

use crate::codec::{Preference, integers};
use crate::format::{Cursor, FormatError, Put, varint_len};

/// Lists in a page of the directory.
pub(crate) const ENTRIES_PER_PAGE: usize = 256;

/// Lists up to this length are written as a stream if that is smaller; longer ones would take too long to read.
const STREAM_MAX: usize = 16 << 10;

const FORM_RANGE: u8 = 1;
const FORM_STREAM: u8 = 2;
const FORM_ROARING: u8 = 3;

/// Appends a list of rising ordinals, which is not empty.
pub(crate) fn encode_list(ordinals: &[u32], out: &mut Vec<u8>) {
    let (Some(first), Some(last)) = (ordinals.first(), ordinals.last()) else { return };
    if (last - first) as usize == ordinals.len() - 1 {
        return encode_range(*first, ordinals.len() as u32, out);
    }
    let mut bitmap = RoaringBitmap::new();
    bitmap.extend(ordinals.iter().copied());
    bitmap.optimize();
    let roaring_bytes = bitmap.serialized_size();
    if ordinals.len() <= STREAM_MAX {
        let start = out.len();
        out.put_u8(FORM_STREAM);
        out.put_varint(ordinals.len() as u64);
        let column: Vec<i64> = ordinals.iter().map(|o| i64::from(*o)).collect();
        integers::encode(&column, Preference::Speed, out);
        if out.len() - start <= roaring_bytes {
            return;
        }
        out.truncate(start);
    }
    put_roaring(&bitmap, out);
}

/// Appends the list of all ordinals of some ranges, which rise and are not empty.
pub(crate) fn encode_ranges(ranges: &[(u32, u32)], out: &mut Vec<u8>) {
    if let [(first, last)] = ranges {
        return encode_range(*first, last - first + 1, out);
    }
    let mut bitmap = RoaringBitmap::new();
    for (first, last) in ranges {
        bitmap.insert_range(*first..=*last);
    }
    bitmap.optimize();
    put_roaring(&bitmap, out);
}

fn encode_range(first: u32, count: u32, out: &mut Vec<u8>) {
    out.reserve(1 + varint_len(u64::from(first)) + varint_len(u64::from(count)));
    out.put_u8(FORM_RANGE);
    out.put_varint(u64::from(first));
    out.put_varint(u64::from(count - 1));
}

fn put_roaring(bitmap: &RoaringBitmap, out: &mut Vec<u8>) {
    out.put_u8(FORM_ROARING);
    let written = bitmap.serialize_into(&mut *out);
    debug_assert!(written.is_ok(), "writing to memory does not fail");
}

/// Reads a list; every ordinal is below `series`.
///
/// # Errors
/// [`FormatError`] if the bytes are no list.
pub(crate) fn decode_list(bytes: &[u8], series: u32) -> Result<RoaringBitmap, FormatError> {
    let mut cursor = Cursor::new(bytes);
    let list = match cursor.u8()? {
        FORM_RANGE => {
            let (first, more) = (cursor.varint()?, cursor.varint()?);
            let last = first.checked_add(more).and_then(|last| u32::try_from(last).ok());
            let last = last.filter(|last| *last < series).ok_or(FormatError::new("postings of no series"))?;
            let mut list = RoaringBitmap::new();
            list.insert_range(first as u32..=last);
            list
        }
        FORM_STREAM => {
            let count = cursor.length()?;
            if count > STREAM_MAX {
                return Err(cursor.error("a list is too long"));
            }
            let mut ordinals = Vec::with_capacity(count);
            integers::decode_with(&mut cursor, count, |row| {
                for value in row {
                    ordinals.push(u32::try_from(*value).map_err(|_| FormatError::new("postings of no series"))?);
                }
                Ok(())
            })?;
            RoaringBitmap::from_sorted_iter(ordinals).map_err(|_| FormatError::new("postings are not sorted"))?
        }
        FORM_ROARING => {
            let mut rest = cursor.take(cursor.rest().len())?;
            let list = RoaringBitmap::deserialize_from(&mut rest)
                .map_err(|_| FormatError::new("postings are no Roaring bitmap"))?;
            if !rest.is_empty() {
                return Err(cursor.error("bytes are left over"));
            }
            list
        }
        _ => return Err(FormatError::new("postings of an unknown form")),
    };
    cursor.finish()?;
    if list.max().is_some_and(|last| last >= series) {
        return Err(FormatError::new("postings of no series"));
    }
    Ok(list)
}

/// Appends a page of the directory: offset and length of each list.
pub(crate) fn encode_entries(entries: &[(u64, u32)], out: &mut Vec<u8>) {
    let offsets: Vec<i64> = entries.iter().map(|(offset, _)| offset.cast_signed()).collect();
    let lengths: Vec<i64> = entries.iter().map(|(_, bytes)| i64::from(*bytes)).collect();
    integers::encode(&offsets, Preference::Speed, out);
    integers::encode(&lengths, Preference::Speed, out);
}

/// Places of the lists in a page of the directory.
#[derive(Debug, Default)]
pub(crate) struct EntriesPage {
    entries: Vec<(u64, u32)>,
}

impl EntriesPage {
    /// Reads the page of `count` lists.
    pub(crate) fn decode(bytes: &[u8], count: usize) -> Result<EntriesPage, FormatError> {
        let mut cursor = Cursor::new(bytes);
        let (mut offsets, mut lengths) = (Vec::with_capacity(count), Vec::with_capacity(count));
        integers::decode(&mut cursor, count, &mut offsets)?;
        integers::decode(&mut cursor, count, &mut lengths)?;
        cursor.finish()?;
        let entry = |(offset, length): (i64, i64)| Some((u64::try_from(offset).ok()?, u32::try_from(length).ok()?));
        let entries: Option<Vec<_>> = offsets.into_iter().zip(lengths).map(entry).collect();
        Ok(EntriesPage { entries: entries.ok_or(FormatError::new("a list lies outside its section"))? })
    }

    /// Offset and length of a list.
    pub(crate) fn get(&self, i: usize) -> Option<(u64, u32)> {
        self.entries.get(i).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(ordinals: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_list(ordinals, &mut bytes);
        let last = *ordinals.last().unwrap();
        let list = decode_list(&bytes, last + 1).unwrap();
        assert!(list.iter().eq(ordinals.iter().copied()));
        assert!(decode_list(&bytes, last).is_err(), "ordinals are checked");
        bytes
    }

    #[test]
    fn each_form_has_its_lists() {
        assert_eq!(round_trip(&[7]), [FORM_RANGE, 7, 0]);
        assert_eq!(round_trip(&(5..300_005).collect::<Vec<_>>()).len(), 5);
        let thin: Vec<u32> = (0..30).map(|i| i * 33_331 + i * i).collect();
        let bytes = round_trip(&thin);
        assert!(bytes[0] == FORM_STREAM && bytes.len() < 60, "{}", bytes.len());
        let many: Vec<u32> = (0..20_000).map(|i| i * 3).collect();
        assert_eq!(round_trip(&many)[0], FORM_ROARING);
        let mut bytes = Vec::new();
        encode_ranges(&[(3, 9), (20, 20)], &mut bytes);
        assert!(decode_list(&bytes, 21).unwrap().iter().eq((3..=9).chain([20])));
    }

    proptest! {
        #[test]
        fn any_list_comes_back(ordinals in prop::collection::btree_set(0_u32..200_000, 1..400)) {
            round_trip(&ordinals.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_taken_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 1..300), form in 0_u8..5) {
            bytes[0] = form;
            let _ = decode_list(&bytes, 1000);
            let _ = EntriesPage::decode(&bytes, 100);
        }

        #[test]
        fn entries_come_back(entries in prop::collection::vec((0_u64..1 << 40, any::<u32>()), 0..=ENTRIES_PER_PAGE)) {
            let mut bytes = Vec::new();
            encode_entries(&entries, &mut bytes);
            prop_assert_eq!(EntriesPage::decode(&bytes, entries.len()).unwrap().entries, entries);
        }
    }
}
