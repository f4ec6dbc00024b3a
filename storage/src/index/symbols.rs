//! Label names, values and label sets as pages of bytes.
//!
//! # Bytes
//! A page of values ([`VALUES_PER_PAGE`]; in order of their pairs, so sorted by name, then value): for each value the
//! number of bytes it shares with the value before it in the page (varint), and the rest (text).
//!
//! A page of label sets ([`SETS_PER_PAGE`], sorted): a stream of how many pairs each set has, then for each position
//! that a set has a stream of the ids there, of the sets that are long enough. Ids in a set rise.

use model::LABEL_TEXT_MAX_BYTES;

use crate::codec::{Preference, integers};
use crate::format::{Cursor, FormatError, Put};

/// Values in a page.
pub(crate) const VALUES_PER_PAGE: usize = 16;
/// Label sets in a page.
pub(crate) const SETS_PER_PAGE: usize = 64;

/// Most labels of one series: a guard against hostile bytes, far above any limit that users set.
pub(crate) const SET_PAIRS_MAX: usize = 1 << 16;

/// A name and how many values it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    /// The label's name.
    pub(crate) text: String,
    /// The id of its first pair.
    pub(crate) first_pair: u32,
    /// Number of its pairs.
    pub(crate) pairs: u32,
}

/// Appends names with the number of values of each.
pub(crate) fn encode_names<'a>(names: impl Iterator<Item = (&'a str, u32)>, out: &mut Vec<u8>) {
    for (name, pairs) in names {
        out.put_text(name);
        out.put_varint(u64::from(pairs));
    }
}

/// Reads names; their pairs must add up to `pairs`.
pub(crate) fn decode_names(bytes: &[u8], pairs: u32) -> Result<Vec<Name>, FormatError> {
    let mut cursor = Cursor::new(bytes);
    let mut names: Vec<Name> = Vec::new();
    let mut next = 0_u32;
    while !cursor.is_empty() {
        let text = cursor.text()?;
        let count = u32::try_from(cursor.varint()?).map_err(|_| cursor.error("a name with too many values"))?;
        if names.last().is_some_and(|before| before.text.as_str() >= text) {
            return Err(cursor.error("names are not sorted"));
        }
        names.push(Name { text: text.to_owned(), first_pair: next, pairs: count });
        next = next.checked_add(count).ok_or_else(|| cursor.error("too many label pairs"))?;
    }
    if next != pairs { Err(cursor.error("the names have a wrong number of values")) } else { Ok(names) }
}

/// Appends a page of values.
pub(crate) fn encode_values<'a>(values: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    let mut before = "";
    for value in values {
        let shared = shared_prefix(before, value);
        out.put_varint(shared as u64);
        out.put_text(value.get(shared..).unwrap_or_default());
        before = value;
    }
}

/// Bytes that two texts share at the start, up to the end of a character.
fn shared_prefix(a: &str, b: &str) -> usize {
    let mut shared = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    while !b.is_char_boundary(shared) {
        shared -= 1;
    }
    shared
}

/// Values of a page.
#[derive(Debug, Default)]
pub(crate) struct ValuesPage {
    text: String,
    ends: Vec<usize>,
}

impl ValuesPage {
    /// Reads the page of `count` values.
    pub(crate) fn decode(bytes: &[u8], count: usize) -> Result<ValuesPage, FormatError> {
        let mut cursor = Cursor::new(bytes);
        let mut page = ValuesPage::default();
        for i in 0..count {
            let shared = cursor.length()?;
            let rest = cursor.text()?;
            let before = i.checked_sub(1).and_then(|i| page.range(i)).unwrap_or(0..0);
            let end = before.start.saturating_add(shared);
            let is_wrong = end > before.end || !page.text.is_char_boundary(end);
            if is_wrong || shared.saturating_add(rest.len()) > LABEL_TEXT_MAX_BYTES {
                return Err(cursor.error("a value shares more than there is"));
            }
            page.text.extend_from_within(before.start..end);
            page.text.push_str(rest);
            page.ends.push(page.text.len());
        }
        cursor.finish()?;
        Ok(page)
    }

    fn range(&self, i: usize) -> Option<std::ops::Range<usize>> {
        Some(i.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?..*self.ends.get(i)?)
    }

    /// A value of the page.
    pub(crate) fn get(&self, i: usize) -> Option<&str> {
        self.text.get(self.range(i)?)
    }

    /// All values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).filter_map(|i| self.get(i))
    }
}

/// Appends a page of label sets.
pub(crate) fn encode_sets(sets: &[&[u32]], out: &mut Vec<u8>) {
    let lengths: Vec<i64> = sets.iter().map(|set| set.len() as i64).collect();
    integers::encode(&lengths, Preference::Speed, out);
    let longest = sets.iter().map(|set| set.len()).max().unwrap_or(0);
    let mut column = Vec::with_capacity(sets.len());
    for position in 0..longest {
        column.clear();
        column.extend(sets.iter().filter_map(|set| set.get(position)).map(|id| i64::from(*id)));
        integers::encode(&column, Preference::Speed, out);
    }
}

/// Label sets of a page.
#[derive(Debug, Default)]
pub(crate) struct SetsPage {
    sets: Vec<Vec<u32>>,
}

impl SetsPage {
    /// Reads the page of `count` sets; every id is below `pairs`.
    pub(crate) fn decode(bytes: &[u8], count: usize, pairs: u32) -> Result<SetsPage, FormatError> {
        let mut cursor = Cursor::new(bytes);
        let mut lengths = Vec::with_capacity(count);
        integers::decode(&mut cursor, count, &mut lengths)?;
        let lengths: Option<Vec<usize>> =
            lengths.into_iter().map(|n| usize::try_from(n).ok().filter(|n| *n <= SET_PAIRS_MAX)).collect();
        let lengths = lengths.ok_or_else(|| cursor.error("a label set that cannot be"))?;
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let mut sets: Vec<Vec<u32>> = vec![Vec::new(); count];
        let mut column = Vec::with_capacity(count);
        for position in 0..longest {
            let long_enough = || lengths.iter().filter(|n| **n > position).count();
            column.clear();
            integers::decode(&mut cursor, long_enough(), &mut column)?;
            let mut ids = column.iter();
            for (set, length) in sets.iter_mut().zip(&lengths) {
                if *length > position
                    && let Some(id) = ids.next()
                {
                    let id = u32::try_from(*id).ok().filter(|id| *id < pairs && set.last() < Some(id));
                    set.push(id.ok_or_else(|| cursor.error("a label pair that cannot be"))?);
                }
            }
        }
        cursor.finish()?;
        Ok(SetsPage { sets })
    }

    /// A set of the page.
    pub(crate) fn get(&self, i: usize) -> Option<&[u32]> {
        self.sets.get(i).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_come_back(values in prop::collection::btree_set("[ab☃é]{0,6}", 0..=VALUES_PER_PAGE)) {
            let mut bytes = Vec::new();
            encode_values(values.iter().map(String::as_str), &mut bytes);
            let page = ValuesPage::decode(&bytes, values.len()).unwrap();
            prop_assert!(page.iter().eq(values.iter().map(String::as_str)));
            prop_assert_eq!(page.get(values.len()), None);
        }

        #[test]
        fn sets_come_back(sets in prop::collection::vec(prop::collection::btree_set(0_u32..100, 0..8), 0..=SETS_PER_PAGE)) {
            let sets: Vec<Vec<u32>> = sets.into_iter().map(|set| set.into_iter().collect()).collect();
            let mut bytes = Vec::new();
            encode_sets(&sets.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut bytes);
            let page = SetsPage::decode(&bytes, sets.len(), 100).unwrap();
            prop_assert_eq!(&page.sets, &sets);
            if sets.iter().flatten().any(|id| *id == 99) {
                prop_assert!(SetsPage::decode(&bytes, sets.len(), 99).is_err());
            }
        }

        #[test]
        fn names_come_back(names in prop::collection::btree_map("[a-c]{1,3}", 0_u32..5, 0..6)) {
            let mut bytes = Vec::new();
            encode_names(names.iter().map(|(n, c)| (n.as_str(), *c)), &mut bytes);
            let back = decode_names(&bytes, names.values().sum()).unwrap();
            prop_assert!(back.iter().map(|n| (&n.text, &n.pairs)).eq(names.iter()));
            prop_assert!(decode_names(&bytes, names.values().sum::<u32>() + 1).is_err());
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0_usize..=64) {
            let _ = ValuesPage::decode(&bytes, count);
            let _ = SetsPage::decode(&bytes, count, 50);
            let _ = decode_names(&bytes, 5);
        }
    }
}
