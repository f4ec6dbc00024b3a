//! Which series of the head carry which label.
//!
//! Series are put in when someone asks, not when they are written: new ones wait in a list. A label pair that few
//! series carry, as most do, takes a small list instead of a bitmap.

use std::convert::Infallible;

use hashbrown::HashMap;
use model::{Matcher, Scope};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use roaring::RoaringBitmap;

use super::registry::Registry;
use super::symbols::SymbolsRead;
use crate::batch::SeriesRef;
use crate::index::select::{LabelIndex, Needs, select};

/// Series that a list holds before it becomes a bitmap.
const LIST_MAX: usize = 16;
/// New series that wait before someone must put them in: the committer does, between two groups, and 100,000 at once
/// held it up for 80 ms.
const WAITING_MAX: usize = 4096;

/// The postings of the head.
#[derive(Debug, Default)]
pub(crate) struct HeadPostings {
    index: RwLock<Index>,
    waiting: Mutex<Vec<SeriesRef>>,
}

#[derive(Debug, Default)]
struct Index {
    all: RoaringBitmap,
    /// By the symbols of name and value.
    names: HashMap<u32, HashMap<u32, List>>,
}

#[derive(Debug)]
enum List {
    Few(Vec<u32>),
    Many(Box<RoaringBitmap>),
}

impl List {
    fn insert(&mut self, series: u32) {
        match self {
            List::Few(list) if list.len() >= LIST_MAX => {
                let mut many: RoaringBitmap = list.iter().copied().collect();
                many.insert(series);
                *self = List::Many(Box::new(many));
            }
            List::Few(list) => {
                if !list.contains(&series) {
                    list.reserve_exact(1 + list.len() / 2);
                    list.push(series);
                }
            }
            List::Many(many) => {
                many.insert(series);
            }
        }
    }

    fn remove(&mut self, series: u32) {
        match self {
            List::Few(list) => list.retain(|have| *have != series),
            List::Many(many) => {
                many.remove(series);
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            List::Few(list) => list.is_empty(),
            List::Many(many) => many.is_empty(),
        }
    }

    fn add_to(&self, out: &mut RoaringBitmap) {
        match self {
            List::Few(list) => out.extend(list.iter().copied()),
            List::Many(many) => *out |= &**many,
        }
    }

    fn any(&self, mut test: impl FnMut(SeriesRef) -> bool) -> bool {
        match self {
            List::Few(list) => list.iter().any(|series| test(SeriesRef(*series))),
            List::Many(many) => many.iter().any(|series| test(SeriesRef(series))),
        }
    }
}

impl HeadPostings {
    /// Notes a series that has its first sample. Never takes the registry's locks.
    pub(crate) fn add_later(&self, series: impl Iterator<Item = SeriesRef>) {
        self.waiting.lock().extend(series);
    }

    /// Puts in what waits, if it is much.
    pub(crate) fn catch_up_if_due(&self, registry: &Registry) {
        if self.waiting.lock().len() >= WAITING_MAX {
            self.catch_up(registry);
        }
    }

    /// Puts in all series that wait.
    pub(crate) fn catch_up(&self, registry: &Registry) {
        if self.waiting.lock().is_empty() {
            return;
        }
        let view = registry.view();
        let mut index = self.index.write();
        for series in std::mem::take(&mut *self.waiting.lock()) {
            index.all.insert(series.0);
            for (name, value) in view.pairs(series) {
                let values = index.names.entry(name).or_default();
                values.entry(value).or_insert_with(|| List::Few(Vec::new())).insert(series.0);
            }
        }
    }

    /// Takes out series whose rows are still there.
    pub(crate) fn remove(&self, registry: &Registry, series: &[SeriesRef]) {
        self.catch_up(registry);
        let view = registry.view();
        let mut index = self.index.write();
        for series in series {
            index.all.remove(series.0);
            for (name, value) in view.pairs(*series) {
                let Some(values) = index.names.get_mut(&name) else { continue };
                if let Some(list) = values.get_mut(&value) {
                    list.remove(series.0);
                    if list.is_empty() {
                        values.remove(&value);
                    }
                }
                if values.is_empty() {
                    index.names.remove(&name);
                }
            }
        }
    }

    /// The series that pass the scope and all matchers.
    pub(crate) fn select(&self, registry: &Registry, scope: &Scope, matchers: &[Matcher]) -> RoaringBitmap {
        self.catch_up(registry);
        let labels = HeadLabels { symbols: registry.symbols().read(), index: self.index.read() };
        match select(&labels, scope, matchers) {
            Ok(selected) => selected,
            Err(never) => match never {},
        }
    }

    /// The label names of which some series passes the test.
    pub(crate) fn names(&self, registry: &Registry, mut test: impl FnMut(SeriesRef) -> bool) -> Vec<String> {
        self.catch_up(registry);
        let symbols = registry.symbols().read();
        let index = self.index.read();
        let passing = index.names.iter().filter(|(_, values)| values.values().any(|list| list.any(&mut test)));
        passing.map(|(name, _)| symbols.text(*name).to_owned()).collect()
    }

    /// The values of a label of which some series passes the test.
    pub(crate) fn values(
        &self,
        registry: &Registry,
        name: &str,
        mut test: impl FnMut(SeriesRef) -> bool,
    ) -> Vec<String> {
        self.catch_up(registry);
        let symbols = registry.symbols().read();
        let index = self.index.read();
        let values = symbols.find(name).and_then(|name| index.names.get(&name));
        let passing = values.into_iter().flatten().filter(|(_, list)| list.any(&mut test));
        passing.map(|(value, _)| symbols.text(*value).to_owned()).collect()
    }
}

/// The index under locks that are held.
struct HeadLabels<'a> {
    symbols: SymbolsRead<'a>,
    index: RwLockReadGuard<'a, Index>,
}

impl HeadLabels<'_> {
    fn values(&self, name: &str) -> Option<&HashMap<u32, List>> {
        self.index.names.get(&self.symbols.find(name)?)
    }
}

impl LabelIndex for HeadLabels<'_> {
    type Error = Infallible;

    fn all(&self) -> Result<RoaringBitmap, Infallible> {
        Ok(self.index.all.clone())
    }

    fn with_name(&self, name: &str) -> Result<RoaringBitmap, Infallible> {
        self.with_values(name, Needs::default(), &mut |_| true)
    }

    fn with_pair(&self, name: &str, value: &str) -> Result<RoaringBitmap, Infallible> {
        let mut out = RoaringBitmap::new();
        let list = self.symbols.find(value).and_then(|value| self.values(name)?.get(&value));
        list.into_iter().for_each(|list| list.add_to(&mut out));
        Ok(out)
    }

    fn with_values(
        &self,
        name: &str,
        needs: Needs<'_>,
        passes: &mut dyn FnMut(&str) -> bool,
    ) -> Result<RoaringBitmap, Infallible> {
        let mut out = RoaringBitmap::new();
        for (value, list) in self.values(name).into_iter().flatten() {
            let value = self.symbols.text(*value);
            if value.starts_with(needs.prefix) && passes(value) {
                list.add_to(&mut out);
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::select::tests::any_matcher;
    use model::Labels;
    use proptest::prelude::*;

    proptest! {
        /// Selection agrees with testing the labels of each series, before and after some are removed.
        #[test]
        fn selects_what_passes(
            sets in prop::collection::btree_set(prop::collection::btree_map("[ab]", "[xy]{1,2}", 0..3), 0..40),
            matchers in prop::collection::vec(any_matcher(), 0..3),
            removed in 0_usize..4,
        ) {
            let (registry, postings) = (Registry::new(crate::options::SeriesLimits::default()), HeadPostings::default());
            let mut series = Vec::new();
            for set in &sets {
                let labels = Labels::from_pairs(set.iter().map(|(n, v)| (n.as_str(), v.as_str()))).unwrap();
                series.push((registry.define(&labels, 0, &()).unwrap(), labels));
            }
            postings.add_later(series.iter().map(|(series, _)| *series));
            let gone: Vec<_> = series.drain(..removed.min(series.len())).map(|(series, _)| series).collect();
            postings.remove(&registry, &gone);
            let passes = |l: &Labels| matchers.iter().all(|m| m.matches(l.get(m.name()).unwrap_or_default()));
            let want: RoaringBitmap = series.iter().filter(|(_, l)| passes(l)).map(|(s, _)| s.0).collect();
            prop_assert_eq!(postings.select(&registry, &Scope::default(), &matchers), want);
            let mut names = postings.names(&registry, |_| true);
            names.sort();
            let mut all: Vec<String> = series.iter().flat_map(|(_, l)| l.iter().map(|(n, _)| n.to_owned())).collect();
            all.sort();
            all.dedup();
            prop_assert_eq!(names, all);
            let mut values = postings.values(&registry, "a", |_| true);
            values.sort();
            let mut all: Vec<String> = series.iter().filter_map(|(_, l)| l.get("a").map(str::to_owned)).collect();
            all.sort();
            all.dedup();
            prop_assert_eq!(values, all);
        }
    }

    #[test]
    fn lists_become_bitmaps() {
        let mut list = List::Few(Vec::new());
        for series in (0..40).chain(0..40) {
            list.insert(series);
        }
        let mut out = RoaringBitmap::new();
        list.add_to(&mut out);
        assert_eq!(out, (0..40).collect::<RoaringBitmap>());
        (0..40).for_each(|series| list.remove(series));
        assert!(list.is_empty());
    }
}
