//! Which names of metrics may contain a text: for each three bytes in a row the pages of names that have them.
//!
//! Names are folded ([`model::fold_case`]). They are found by pages of [`VALUES_PER_PAGE`], as they are read: names that
//! follow one another have most of their trigrams in common, so that this takes a quarter of what single names would. A
//! page that is found may still have no such name: whoever asks tests the names themselves.
//!
//! # Bytes
//! Number of trigrams (`u32`); for each of them, rising: its three bytes, and where its list ends (`u32`); then the lists,
//! each in the form of `postings.rs`: places of pages, counted from the page with the first name.

use hashbrown::HashMap;
use model::fold_case;
use roaring::RoaringBitmap;

use super::postings::{decode_list, encode_list};
use super::symbols::VALUES_PER_PAGE;
use crate::format::{FormatError, Put, u32_at};

/// Names from which on a segment has such an index: to test a thousand takes 0.1 ms, which is about what an
/// answer with a hundred names takes anyway.
pub(crate) const NAMES_MIN: u32 = 1024;

/// Trigrams of a text that are looked up: what many have in common leaves little to the next.
const LOOKUPS_MAX: usize = 32;

const ENTRY_BYTES: usize = 7;

type Trigram = [u8; 3];

/// The pages of each trigram, rising.
fn collect<'a>(names: impl Iterator<Item = (u32, &'a str)>) -> Vec<(Trigram, Vec<u32>)> {
    let mut lists: HashMap<Trigram, Vec<u32>> = HashMap::new();
    for (page, name) in names {
        for trigram in trigrams(&fold_case(name)) {
            let list = lists.entry(trigram).or_default();
            if list.last() != Some(&page) {
                list.push(page);
            }
        }
    }
    let mut lists: Vec<_> = lists.into_iter().collect();
    lists.sort_unstable_by_key(|(trigram, _)| *trigram);
    lists
}

fn trigrams(text: &str) -> impl Iterator<Item = Trigram> + '_ {
    text.as_bytes().windows(3).filter_map(|window| window.first_chunk().copied())
}

/// The names, which rise, with the places of their pages; the first of them has the id `first_pair` among all pairs.
pub(crate) fn by_page<'a>(
    first_pair: u32,
    names: impl Iterator<Item = &'a str>,
) -> impl Iterator<Item = (u32, &'a str)> {
    let skipped = first_pair % VALUES_PER_PAGE as u32;
    (skipped..).map(|place| place / VALUES_PER_PAGE as u32).zip(names)
}

/// The index of names with the places of their pages, which rise; none if it would be too large.
pub(crate) fn encode<'a>(names: impl Iterator<Item = (u32, &'a str)>) -> Option<Vec<u8>> {
    let lists = collect(names);
    let (mut out, mut bytes) = (Vec::with_capacity(4 + lists.len() * ENTRY_BYTES), Vec::new());
    out.put_u32(u32::try_from(lists.len()).ok()?);
    for (trigram, pages) in &lists {
        encode_list(pages, &mut bytes);
        out.extend_from_slice(trigram);
        out.put_u32(u32::try_from(bytes.len()).ok()?);
    }
    out.extend_from_slice(&bytes);
    Some(out)
}

/// The index of a segment's names.
#[derive(Debug)]
pub(crate) struct Trigrams<'a> {
    entries: &'a [u8],
    lists: &'a [u8],
    pages: u32,
}

impl<'a> Trigrams<'a> {
    /// An index of so many pages of names.
    pub(crate) fn open(bytes: &'a [u8], pages: u32) -> Result<Self, FormatError> {
        let entries = u32_at(bytes, 0).and_then(|count| (count as usize).checked_mul(ENTRY_BYTES));
        let parts = bytes.get(4..).zip(entries).and_then(|(rest, entries)| rest.split_at_checked(entries));
        let (entries, lists) = parts.ok_or(FormatError::new("the index of names is cut off"))?;
        Ok(Trigrams { entries, lists, pages })
    }

    /// The pages in which there may be a name that contains, folded, a text of each part; none if the index does not
    /// tell, since texts of less than three bytes are not in it.
    pub(crate) fn candidates(&self, parts: &[Vec<String>]) -> Result<Option<RoaringBitmap>, FormatError> {
        let mut left: Option<RoaringBitmap> = None;
        for part in parts.iter().filter(|part| part.iter().all(|text| text.len() >= 3)) {
            let mut found = RoaringBitmap::new();
            for text in part {
                found |= self.with_text(text)?;
            }
            left = Some(match left {
                Some(left) => left & found,
                None => found,
            });
        }
        Ok(left)
    }

    /// The pages that have all trigrams of a text.
    fn with_text(&self, text: &str) -> Result<RoaringBitmap, FormatError> {
        let mut lists = Vec::new();
        for trigram in trigrams(text).take(LOOKUPS_MAX) {
            match self.find(trigram) {
                Some(entry) => lists.push(self.list(entry)?),
                None => return Ok(RoaringBitmap::new()),
            }
        }
        // What is written in few bytes has few pages or is read in no time.
        lists.sort_unstable_by_key(|list| list.len());
        let mut left: Option<RoaringBitmap> = None;
        for list in lists {
            // To read the one page is cheaper than to look on.
            if left.as_ref().is_some_and(|left| left.len() <= 1) {
                break;
            }
            let list = decode_list(list, self.pages)?;
            left = Some(match left {
                Some(left) => left & list,
                None => list,
            });
        }
        Ok(left.unwrap_or_default())
    }

    fn len(&self) -> usize {
        self.entries.len() / ENTRY_BYTES
    }

    fn trigram(&self, entry: usize) -> Option<Trigram> {
        self.entries.get(entry * ENTRY_BYTES..)?.first_chunk().copied()
    }

    fn find(&self, trigram: Trigram) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let there = self.trigram(middle)?;
            if there == trigram {
                return Some(middle);
            }
            if there < trigram { low = middle + 1 } else { high = middle }
        }
        None
    }

    /// The bytes of a list.
    fn list(&self, entry: usize) -> Result<&'a [u8], FormatError> {
        let end = |entry: usize| u32_at(self.entries, entry * ENTRY_BYTES + 3).map(|end| end as usize);
        let start = entry.checked_sub(1).map_or(Some(0), end);
        let list = start.zip(end(entry)).and_then(|(start, end)| self.lists.get(start..end));
        list.ok_or(FormatError::new("a list of the index of names lies outside it"))
    }

    /// True if this is the index of these names, whatever the forms of its lists.
    pub(crate) fn is_of<'n>(&self, names: impl Iterator<Item = (u32, &'n str)>) -> Result<bool, FormatError> {
        let want = collect(names);
        if want.len() != self.len() {
            return Ok(false);
        }
        for (entry, (trigram, pages)) in want.iter().enumerate() {
            let list = decode_list(self.list(entry)?, self.pages)?;
            if self.trigram(entry) != Some(*trigram) || !list.iter().eq(pages.iter().copied()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Vec<Vec<String>> {
        vec![vec![text.to_owned()]]
    }

    #[test]
    fn a_small_index_is_pinned() {
        let bytes = encode([(0, "Up"), (0, "cpu"), (0, "upCp"), (1, "CPUs"), (2, "x")].into_iter()).unwrap();
        let want: &[&[u8]] = &[
            &[4, 0, 0, 0],
            b"cpu\x03\0\0\0",
            b"pcp\x06\0\0\0",
            b"pus\x09\0\0\0",
            b"upc\x0C\0\0\0",
            // Ranges: pages 0 and 1, page 0, page 1, page 0.
            &[1, 0, 1],
            &[1, 0, 0],
            &[1, 1, 0],
            &[1, 0, 0],
        ];
        assert_eq!(bytes, want.concat());
        let index = Trigrams::open(&bytes, 3).unwrap();
        let pages =
            |text: &str| -> Vec<u32> { index.candidates(&[vec![text.to_owned()]]).unwrap().unwrap().iter().collect() };
        assert_eq!((pages("cpu"), pages("cpus"), pages("cpux")), (vec![0, 1], vec![1], vec![]));
        // Too short to tell; a part beside it still does.
        assert_eq!(index.candidates(&text("up")).unwrap(), None);
        assert_eq!(index.candidates(&[text("up"), text("pus")].concat()).unwrap().unwrap().len(), 1);
        assert_eq!(index.candidates(&[vec!["pus".into(), "u".into()]]).unwrap(), None);
        assert!(Trigrams::open(&bytes, 1).unwrap().candidates(&text("cpu")).is_err(), "a page that is not there");
        assert!(Trigrams::open(&bytes[..20], 3).is_err());
    }

    proptest! {
        #[test]
        fn no_name_is_missed(
            names in prop::collection::btree_set("[abcAK\u{212A}é]{0,7}", 0..80),
            parts in prop::collection::vec(prop::collection::vec("[abcké]{1,5}", 1..3), 0..3),
            first_pair in 0_u32..40,
        ) {
            let paged = || by_page(first_pair, names.iter().map(String::as_str));
            let bytes = encode(paged()).unwrap();
            let pages = paged().last().map_or(0, |(page, _)| page + 1);
            let index = Trigrams::open(&bytes, pages).unwrap();
            prop_assert!(index.is_of(paged()).unwrap());
            if names.iter().any(|name| fold_case(name).len() >= 3) {
                prop_assert!(!index.is_of(std::iter::empty()).unwrap());
            }
            let Some(found) = index.candidates(&parts).unwrap() else { return Ok(()) };
            for (page, name) in paged() {
                let folded = fold_case(name);
                let passes = parts.iter().all(|part| part.iter().any(|text| folded.contains(text.as_str())));
                prop_assert!(!passes || found.contains(page), "{} is missed", name);
            }
        }

        #[test]
        fn any_bytes_are_taken_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 4..200), count in 0_u8..20) {
            bytes[..4].copy_from_slice(&[count, 0, 0, 0]);
            if let Ok(index) = Trigrams::open(&bytes, 50) {
                let any = bytes.get(4..7).and_then(|any| std::str::from_utf8(any).ok()).unwrap_or("abc").to_owned();
                let _ = index.candidates(&[vec![any]]);
                let _ = index.is_of([(0, "abcd")].into_iter());
            }
        }
    }
}
