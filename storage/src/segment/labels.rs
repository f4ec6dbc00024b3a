//! The labels of a segment: of one series, of all, and as an index.

use std::cmp::Ordering;
use std::sync::Arc;

use model::{Labels, METRIC_NAME, Matcher, Scope};
use roaring::{MultiOps, RoaringBitmap};

use super::layout::Section;
use super::paged::Paged;
use super::reader::{Segment, section_len};
use crate::error::StorageError;
use crate::format::FormatError;
use crate::index::postings::{EntriesPage, decode_list};
use crate::index::select::{LabelIndex, Needs, select};
use crate::index::symbols::{Name, SETS_PER_PAGE, SetsPage, VALUES_PER_PAGE, ValuesPage};
use crate::index::trigrams::{Trigrams, by_page};

/// Lists that are united at a time.
const LISTS_PER_UNION: usize = 256;

/// A page of label sets with the texts of their values.
#[derive(Debug, Default)]
pub(super) struct LabelSets {
    text: String,
    pairs: Vec<PairText>,
    /// For each set where its pairs end.
    ends: Vec<usize>,
}

/// A label: the place of its name among the segment's names, and of its value in the page's text.
#[derive(Debug, Clone, Copy)]
pub(super) struct PairText {
    pub(super) name: u32,
    start: usize,
    end: usize,
}

impl LabelSets {
    /// The pairs of a set of the page.
    pub(super) fn get(&self, i: usize) -> Option<&[PairText]> {
        let start = i.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.pairs.get(start..*self.ends.get(i)?)
    }

    /// The value of a pair of the page.
    pub(super) fn text(&self, pair: &PairText) -> Option<&str> {
        self.text.get(pair.start..pair.end)
    }
}

impl Segment {
    /// The series that pass the scope and all matchers.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], [`StorageError::Io`].
    pub(crate) fn select(&self, scope: &Scope, matchers: &[Matcher]) -> Result<RoaringBitmap, StorageError> {
        select(self, scope, matchers)
    }

    /// The labels of a series.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], [`StorageError::Io`].
    pub(crate) fn labels(&self, ordinal: u32) -> Result<Labels, StorageError> {
        let row = self.series_row(ordinal)?;
        let own = self.label_sets(&self.own_sets, row.own / SETS_PER_PAGE as u32)?;
        let shared = self.label_sets(&self.shared_sets, row.shared / SETS_PER_PAGE as u32)?;
        let sets = own.get(row.own as usize % SETS_PER_PAGE).zip(shared.get(row.shared as usize % SETS_PER_PAGE));
        let corrupt = || self.corrupt(0, &FormatError::new("a series has labels that cannot be"));
        let (own_set, shared_set) = sets.ok_or_else(corrupt)?;
        let mut texts: Vec<(&str, &str)> = Vec::with_capacity(own_set.len() + shared_set.len());
        let (mut own_set, mut shared_set) = (own_set.iter().peekable(), shared_set.iter().peekable());
        loop {
            let own_is_next = match (own_set.peek(), shared_set.peek()) {
                (Some(a), Some(b)) => a.name < b.name,
                (a, b) => match a.or(b) {
                    Some(_) => a.is_some(),
                    None => break,
                },
            };
            let (sets, pair) = if own_is_next { (&own, own_set.next()) } else { (&shared, shared_set.next()) };
            let name = pair.and_then(|pair| self.names.get(pair.name as usize));
            let value = pair.and_then(|pair| sets.text.get(pair.start..pair.end));
            texts.push(name.map(|name| name.text.as_str()).zip(value.filter(|v| !v.is_empty())).ok_or_else(corrupt)?);
        }
        if !texts.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(corrupt());
        }
        Labels::from_sorted(&texts).map_err(|_| corrupt())
    }

    /// The ordinal of the series with these labels, if it is here.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], [`StorageError::Io`].
    pub(crate) fn ordinal_of(&self, labels: &Labels) -> Result<Option<u32>, StorageError> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.labels(middle)?.cmp(labels) {
                Ordering::Equal => return Ok(Some(middle)),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// The names of all labels, sorted.
    pub(crate) fn label_names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| name.text.as_str())
    }

    /// All values of a label, sorted.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], [`StorageError::Io`].
    pub(crate) fn label_values(&self, name: &str) -> Result<Vec<String>, StorageError> {
        let mut values = Vec::new();
        if let Some(name) = self.find_name(name) {
            self.for_each_value(name.first_pair, name.first_pair + name.pairs, |_, value| {
                values.push(value.to_owned());
                Ok(true)
            })?;
        }
        Ok(values)
    }

    /// The text of a name by its place among the names.
    pub(super) fn name_text(&self, place: u32) -> Option<&str> {
        self.names.get(place as usize).map(|name| name.text.as_str())
    }

    /// A page of label sets with their texts.
    pub(super) fn label_sets(&self, section: &Paged<LabelSets>, page: u32) -> Result<Arc<LabelSets>, StorageError> {
        section.page_with(&self.frames, page, |bytes, count| {
            match SetsPage::decode(bytes, count, self.summary.pairs as u32) {
                Ok(sets) => self.resolve(&sets, count),
                Err(error) => Ok(Err(error)),
            }
        })
    }

    fn resolve(&self, sets: &SetsPage, count: usize) -> Result<Result<LabelSets, FormatError>, StorageError> {
        let mut resolved = LabelSets::default();
        // Sets that follow one another have values that are near each other in the same position.
        let mut near: Vec<(u32, Arc<ValuesPage>)> = Vec::new();
        for set in (0..count).filter_map(|i| sets.get(i)) {
            for (position, pair) in set.iter().enumerate() {
                let page = pair / VALUES_PER_PAGE as u32;
                if near.get(position).is_none_or(|(number, _)| *number != page) {
                    let values = (page, self.value_page(*pair)?);
                    match near.get_mut(position) {
                        Some(slot) => *slot = values,
                        None => near.push(values),
                    }
                }
                let value = near.get(position).and_then(|(_, values)| values.get(*pair as usize % VALUES_PER_PAGE));
                let (Some(name), Some(value)) = (self.name_of(*pair), value) else {
                    return Ok(Err(FormatError::new("a label pair without a name or a value")));
                };
                let start = resolved.text.len();
                resolved.text.push_str(value);
                resolved.pairs.push(PairText { name, start, end: resolved.text.len() });
            }
            resolved.ends.push(resolved.pairs.len());
        }
        Ok(Ok(resolved))
    }

    /// The place of a pair's name among the names.
    fn name_of(&self, pair: u32) -> Option<u32> {
        let at = self.names.partition_point(|name| name.first_pair <= pair);
        let before = self.names.get(..at).unwrap_or_default();
        before.iter().rposition(|name| name.pairs > 0).map(|place| place as u32)
    }

    fn find_name(&self, name: &str) -> Option<&Name> {
        self.names.binary_search_by(|n| n.text.as_str().cmp(name)).ok().and_then(|at| self.names.get(at))
    }

    fn value_page(&self, pair: u32) -> Result<Arc<ValuesPage>, StorageError> {
        self.values.page(&self.frames, pair / VALUES_PER_PAGE as u32, ValuesPage::decode)
    }

    /// The first pair of a name whose value is not less than `value`.
    fn lower_bound(&self, name: &Name, value: &str) -> Result<u32, StorageError> {
        let (mut low, mut high) = (name.first_pair, name.first_pair + name.pairs);
        while low < high {
            let middle = low + (high - low) / 2;
            let less = self
                .values
                .get(&self.frames, middle, ValuesPage::decode, |page, i| page.get(i).map(|text| text < value))?;
            if less { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// Calls `each` with the pairs from `first` up to `end` and their values, as long as it says so.
    fn for_each_value(
        &self,
        first: u32,
        end: u32,
        mut each: impl FnMut(u32, &str) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let mut pair = first;
        while pair < end {
            let page = self.value_page(pair)?;
            let before = pair;
            for value in page.iter().skip(pair as usize % VALUES_PER_PAGE).take((end - pair) as usize) {
                if !each(pair, value)? {
                    return Ok(());
                }
                pair += 1;
            }
            if pair == before {
                return Err(self.corrupt(0, &FormatError::new("a page of values is too short")));
            }
        }
        Ok(())
    }

    /// The pairs of a name from `first` on that may have what is needed, as ranges that rise.
    fn may_have(&self, name: &Name, first: u32, parts: &[Vec<String>]) -> Result<Vec<(u32, u32)>, StorageError> {
        let end = name.first_pair + name.pairs;
        let candidates = match self.name_parts {
            Some(section) if name.text == METRIC_NAME && !parts.is_empty() => {
                self.with_trigrams(section, name, |index| index.candidates(parts))?
            }
            _ => None,
        };
        let Some(pages) = candidates else { return Ok(vec![(first, end)]) };
        let (first_page, per_page) = (name.first_pair / VALUES_PER_PAGE as u32, VALUES_PER_PAGE as u32);
        let ranges = pages.iter().map(|page| {
            let start = (first_page + page).saturating_mul(per_page);
            (start.max(first), start.saturating_add(per_page).min(end))
        });
        Ok(ranges.filter(|(start, end)| start < end).collect())
    }

    /// Asks the index of names, which are the values of `name`.
    fn with_trigrams<R>(
        &self,
        section: Section,
        name: &Name,
        ask: impl FnOnce(&Trigrams<'_>) -> Result<R, FormatError>,
    ) -> Result<R, StorageError> {
        let per_page = VALUES_PER_PAGE as u32;
        let pages = (name.first_pair % per_page + name.pairs).div_ceil(per_page);
        let bytes = self.part(section, 0, section_len(section))?;
        let answer = Trigrams::open(&bytes, pages).and_then(|index| ask(&index));
        answer.map_err(|e| self.corrupt(section.offset, &e))
    }

    /// True if the index of names, if there is one, is that of the names.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], [`StorageError::Io`].
    pub(super) fn is_name_index_right(&self) -> Result<bool, StorageError> {
        let Some(section) = self.name_parts else { return Ok(true) };
        let Some(name) = self.find_name(METRIC_NAME) else { return Ok(false) };
        let names = self.label_values(METRIC_NAME)?;
        self.with_trigrams(section, name, |index| {
            index.is_of(by_page(name.first_pair, names.iter().map(String::as_str)))
        })
    }

    /// A postings list by its number: the pairs in order, then the names.
    fn list(&self, number: u32) -> Result<RoaringBitmap, StorageError> {
        let (offset, bytes) = self.entries.get(&self.frames, number, EntriesPage::decode, |page, i| page.get(i))?;
        let bytes = self.part(self.lists, offset, bytes as usize)?;
        decode_list(&bytes, self.len()).map_err(|e| self.corrupt(self.lists.offset + offset, &e))
    }
}

impl LabelIndex for Segment {
    type Error = StorageError;

    fn all(&self) -> Result<RoaringBitmap, StorageError> {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.len());
        Ok(all)
    }

    fn with_name(&self, name: &str) -> Result<RoaringBitmap, StorageError> {
        match self.names.binary_search_by(|n| n.text.as_str().cmp(name)) {
            Ok(at) => self.list(self.summary.pairs as u32 + at as u32),
            Err(_) => Ok(RoaringBitmap::new()),
        }
    }

    fn with_pair(&self, name: &str, value: &str) -> Result<RoaringBitmap, StorageError> {
        let Some(name) = self.find_name(name) else { return Ok(RoaringBitmap::new()) };
        let pair = self.lower_bound(name, value)?;
        if pair < name.first_pair + name.pairs
            && self.value_page(pair)?.get(pair as usize % VALUES_PER_PAGE) == Some(value)
        {
            return self.list(pair);
        }
        Ok(RoaringBitmap::new())
    }

    fn with_values(
        &self,
        name: &str,
        needs: Needs<'_>,
        passes: &mut dyn FnMut(&str) -> bool,
    ) -> Result<RoaringBitmap, StorageError> {
        let Some(name) = self.find_name(name) else { return Ok(RoaringBitmap::new()) };
        let mut lists: Vec<RoaringBitmap> = Vec::new();
        let first = if needs.prefix.is_empty() { name.first_pair } else { self.lower_bound(name, needs.prefix)? };
        let mut is_past = false;
        for (start, end) in self.may_have(name, first, needs.parts)? {
            self.for_each_value(start, end, |pair, value| {
                is_past = !value.starts_with(needs.prefix);
                if !is_past && passes(value) {
                    lists.push(self.list(pair)?);
                    if lists.len() == LISTS_PER_UNION {
                        let union = lists.drain(..).union();
                        lists.push(union);
                    }
                }
                Ok(!is_past)
            })?;
            if is_past {
                break;
            }
        }
        Ok(lists.union())
    }
}
