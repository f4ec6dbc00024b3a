//! Reads the labels of series after series of a segment, mostly from pages that it has at hand: as keys whose bytes
//! stand in label order, as texts, or as the group that a series belongs to.
//!
//! # Keys
//! For each label its name and its value, each with its zero bytes followed by a one and two zero bytes at the end. The
//! order of keys as bytes is the order of [`model::Labels`].

use std::sync::Arc;

use hashbrown::HashMap;
use model::{Labels, SeriesGroups};

use super::labels::{LabelSets, PairText};
use super::layout::{SERIES_PER_PAGE, SeriesPage, SeriesRow};
use super::reader::Segment;
use crate::error::StorageError;
use crate::format::FormatError;
use crate::index::symbols::SETS_PER_PAGE;

/// Appends a label to a key; labels come in order.
pub(crate) fn push_key(name: &str, value: &str, key: &mut Vec<u8>) {
    for text in [name, value] {
        if text.as_bytes().contains(&0) {
            for byte in text.bytes() {
                key.push(byte);
                if byte == 0 {
                    key.push(1);
                }
            }
        } else {
            key.extend_from_slice(text.as_bytes());
        }
        key.extend_from_slice(&[0, 0]);
    }
}

/// A page at hand and its number.
type Held<T> = Option<(u32, Arc<T>)>;

/// Reads labels of a segment in turn.
#[derive(Debug)]
pub(crate) struct LabelCursor<'s> {
    segment: &'s Segment,
    rows: Held<SeriesPage>,
    own: Held<LabelSets>,
    shared: Held<LabelSets>,
}

fn held<T>(
    slot: &mut Held<T>,
    number: u32,
    read: impl FnOnce() -> Result<Arc<T>, StorageError>,
) -> Result<&T, StorageError> {
    if slot.as_ref().is_none_or(|(at_hand, _)| *at_hand != number) {
        *slot = None;
    }
    Ok(&match slot {
        Some(held) => held,
        None => slot.insert((number, read()?)),
    }
    .1)
}

impl Segment {
    /// A cursor over the labels of its series.
    pub(crate) fn label_cursor(&self) -> LabelCursor<'_> {
        LabelCursor { segment: self, rows: None, own: None, shared: None }
    }
}

impl LabelCursor<'_> {
    /// What the series section says about a series.
    pub(super) fn row(&mut self, ordinal: u32) -> Result<SeriesRow, StorageError> {
        let segment = self.segment;
        let number = ordinal / SERIES_PER_PAGE as u32;
        let page = held(&mut self.rows, number, || segment.series_page(number))?;
        page.rows.get(ordinal as usize % SERIES_PER_PAGE).copied().ok_or_else(|| bad_labels(segment))
    }

    /// Tells the labels of a series, in order.
    pub(crate) fn each(&mut self, ordinal: u32, mut label: impl FnMut(&str, &str)) -> Result<(), StorageError> {
        let row = self.row(ordinal)?;
        let segment = self.segment;
        let own_page = row.own / SETS_PER_PAGE as u32;
        let shared_page = row.shared / SETS_PER_PAGE as u32;
        let own = held(&mut self.own, own_page, || segment.label_sets(&segment.own_sets, own_page))?;
        let shared = held(&mut self.shared, shared_page, || segment.label_sets(&segment.shared_sets, shared_page))?;
        let sets = own.get(row.own as usize % SETS_PER_PAGE).zip(shared.get(row.shared as usize % SETS_PER_PAGE));
        let (mut left, mut right) = sets.ok_or_else(|| bad_labels(segment))?;
        let mut before = None;
        loop {
            let (sets, pair) = match (left.split_first(), right.split_first()) {
                (Some((a, rest)), b) if b.is_none_or(|(b, _)| a.name < b.name) => {
                    left = rest;
                    (own, a)
                }
                (_, Some((b, rest))) => {
                    right = rest;
                    (shared, b)
                }
                (_, None) => return Ok(()),
            };
            let is_next = before.replace(pair.name).is_none_or(|before| before < pair.name);
            let name = segment.name_text(pair.name).filter(|_| is_next);
            let value = sets.text(pair).filter(|value| !value.is_empty());
            let (name, value) = name.zip(value).ok_or_else(|| bad_labels(segment))?;
            label(name, value);
        }
    }

    /// Appends the key of a series.
    pub(crate) fn push_key(&mut self, ordinal: u32, key: &mut Vec<u8>) -> Result<(), StorageError> {
        self.each(ordinal, |name, value| push_key(name, value, key))
    }
}

fn bad_labels(segment: &Segment) -> StorageError {
    segment.corrupt(0, &FormatError::new("a series has labels that cannot be"))
}

/// What of a label set makes a group: place of the name, and value.
type SetKey = Vec<(u32, String)>;

/// Different keys of the sets of one section.
#[derive(Debug, Default)]
struct SetKeys {
    /// By set the number of its key, [`UNKNOWN`] before it is asked for.
    of: Vec<u32>,
    numbers: HashMap<SetKey, u32>,
    list: Vec<SetKey>,
}

const UNKNOWN: u32 = u32::MAX;

impl SetKeys {
    fn new(sets: u64) -> Self {
        SetKeys { of: vec![UNKNOWN; sets as usize], ..SetKeys::default() }
    }

    fn known(&self, set: u32) -> Option<u32> {
        self.of.get(set as usize).copied().filter(|number| *number != UNKNOWN)
    }

    fn add(&mut self, set: u32, key: SetKey) -> u32 {
        let next = self.list.len() as u32;
        let number = *self.numbers.entry(key).or_insert_with_key(|key| {
            self.list.push(key.clone());
            next
        });
        if let Some(known) = self.of.get_mut(set as usize) {
            *known = number;
        }
        number
    }

    fn get(&self, number: u32) -> &[(u32, String)] {
        self.list.get(number as usize).map_or(&[], Vec::as_slice)
    }
}

/// Finds the groups of a segment's series by some of their labels: each label set is looked at once.
pub(crate) struct SegmentGroups<'s> {
    cursor: LabelCursor<'s>,
    /// For each name whether it makes groups.
    keeps: Vec<bool>,
    own: SetKeys,
    shared: SetKeys,
    /// By the keys of both sets.
    places: HashMap<(u32, u32), u32>,
}

impl<'s> SegmentGroups<'s> {
    /// Groups by the names that `keep` lets pass.
    pub(crate) fn new(segment: &'s Segment, keep: &dyn Fn(&str) -> bool) -> Self {
        SegmentGroups {
            cursor: segment.label_cursor(),
            keeps: segment.label_names().map(keep).collect(),
            own: SetKeys::new(segment.summary.own_sets),
            shared: SetKeys::new(segment.summary.shared_sets),
            places: HashMap::new(),
        }
    }

    /// The place in `groups` of a series' group.
    pub(crate) fn place(&mut self, ordinal: u32, groups: &mut SeriesGroups) -> Result<u32, StorageError> {
        let row = self.cursor.row(ordinal)?;
        let segment = self.cursor.segment;
        let own = match self.own.known(row.own) {
            Some(number) => number,
            None => {
                let page = row.own / SETS_PER_PAGE as u32;
                let sets = held(&mut self.cursor.own, page, || segment.label_sets(&segment.own_sets, page))?;
                self.own.add(row.own, kept(&self.keeps, sets, row.own).ok_or_else(|| bad_labels(segment))?)
            }
        };
        let shared = match self.shared.known(row.shared) {
            Some(number) => number,
            None => {
                let page = row.shared / SETS_PER_PAGE as u32;
                let sets = held(&mut self.cursor.shared, page, || segment.label_sets(&segment.shared_sets, page))?;
                self.shared.add(row.shared, kept(&self.keeps, sets, row.shared).ok_or_else(|| bad_labels(segment))?)
            }
        };
        if let Some(place) = self.places.get(&(own, shared)) {
            return Ok(*place);
        }
        let pairs = self.own.get(own).iter().chain(self.shared.get(shared));
        let texts: Option<Vec<(&str, &str)>> =
            pairs.map(|(name, value)| Some((segment.name_text(*name)?, value.as_str()))).collect();
        let labels = Labels::from_pairs(texts.unwrap_or_default()).map_err(|_| bad_labels(segment))?;
        let place = groups.place(labels);
        self.places.insert((own, shared), place);
        Ok(place)
    }
}

/// The pairs of a set whose names make groups.
fn kept(keeps: &[bool], sets: &LabelSets, set: u32) -> Option<SetKey> {
    let pairs: &[PairText] = sets.get(set as usize % SETS_PER_PAGE)?;
    let pairs = pairs.iter().filter(|pair| keeps.get(pair.name as usize) == Some(&true));
    pairs.map(|pair| Some((pair.name, sets.text(pair)?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_labels(
            a in prop::collection::btree_map("[ab\0]{1,3}", "[ab\0\u{1}é]{1,3}", 0..4),
            b in prop::collection::btree_map("[ab\0]{1,3}", "[ab\0\u{1}é]{1,3}", 0..4),
        ) {
            let of = |map: &std::collections::BTreeMap<String, String>| {
                let labels = Labels::from_pairs(map.iter().map(|(n, v)| (n.as_str(), v.as_str()))).unwrap();
                let mut key = Vec::new();
                labels.iter().for_each(|(name, value)| push_key(name, value, &mut key));
                (labels, key)
            };
            let ((a, a_key), (b, b_key)) = (of(&a), of(&b));
            prop_assert_eq!(a.cmp(&b), a_key.cmp(&b_key));
        }
    }
}
