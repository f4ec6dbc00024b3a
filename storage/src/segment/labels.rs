//! The labels of a segment: of one series, of all, and as an index.

use std::cmp::Ordering;
use std::sync::Arc;

use model::{Labels, Matcher, Scope};
use roaring::{MultiOps, RoaringBitmap};

use super::reader::Segment;
use crate::error::StorageError;
use crate::format::FormatError;
use crate::index::postings::{EntriesPage, decode_list};
use crate::index::select::{LabelIndex, select};
use crate::index::symbols::{Name, SetsPage, VALUES_PER_PAGE, ValuesPage};

/// Lists that are united at a time.
const LISTS_PER_UNION: usize = 256;

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
        let mut pairs = self.pairs_of(ordinal)?;
        pairs.sort_unstable();
        let mut values = Vec::with_capacity(pairs.len());
        for pair in &pairs {
            values.push((self.name_of(*pair), self.value_page(*pair)?, *pair as usize % VALUES_PER_PAGE));
        }
        let texts: Option<Vec<(&str, &str)>> = values
            .iter()
            .map(|(name, page, i)| Some((name.as_ref()?.text.as_str(), page.get(*i).filter(|v| !v.is_empty())?)))
            .collect();
        let rising = texts.filter(|texts| texts.is_sorted_by(|a, b| a.0 < b.0));
        let labels = rising.and_then(|texts| Labels::from_sorted(&texts).ok());
        labels.ok_or_else(|| self.corrupt(0, &FormatError::new("a series has labels that cannot be")))
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

    /// The ids of a series' label pairs, in no order.
    fn pairs_of(&self, ordinal: u32) -> Result<Vec<u32>, StorageError> {
        let row = self.series_row(ordinal)?;
        let pairs = self.summary.pairs as u32;
        let decode = |bytes: &[u8], count: usize| SetsPage::decode(bytes, count, pairs);
        let take = |page: &SetsPage, i: usize| page.get(i).map(<[u32]>::to_vec);
        let mut set = self.own_sets.get(&self.frames, row.own, decode, take)?;
        self.shared_sets.get(&self.frames, row.shared, decode, |page, i| {
            set.extend_from_slice(page.get(i)?);
            Some(())
        })?;
        Ok(set)
    }

    fn name_of(&self, pair: u32) -> Option<&Name> {
        let at = self.names.partition_point(|name| name.first_pair <= pair);
        self.names[..at].iter().rev().find(|name| name.pairs > 0)
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
        prefix: &str,
        passes: &mut dyn FnMut(&str) -> bool,
    ) -> Result<RoaringBitmap, StorageError> {
        let Some(name) = self.find_name(name) else { return Ok(RoaringBitmap::new()) };
        let mut lists: Vec<RoaringBitmap> = Vec::new();
        let first = if prefix.is_empty() { name.first_pair } else { self.lower_bound(name, prefix)? };
        self.for_each_value(first, name.first_pair + name.pairs, |pair, value| {
            if !value.starts_with(prefix) {
                return Ok(false);
            }
            if passes(value) {
                lists.push(self.list(pair)?);
                if lists.len() == LISTS_PER_UNION {
                    let union = lists.drain(..).union();
                    lists.push(union);
                }
            }
            Ok(true)
        })?;
        Ok(lists.union())
    }
}
