//! Groups of selected series by some of their labels, found by symbols wherever the series are.

use hashbrown::HashMap;
use model::{Labels, SeriesGroups};

use super::Pinned;
use crate::batch::SeriesRef;
use crate::head::registry::RegistryView;

/// Series of the head whose groups are found under one set of locks.
pub(super) const HEAD_GROUPS: usize = 4096;

/// Finds the groups of the head's series by the symbols of the labels that count.
pub(crate) struct HeadGroups<'g> {
    keep: &'g dyn Fn(&str) -> bool,
    /// By the symbol of the name.
    keeps: HashMap<u32, bool>,
    places: HashMap<Box<[(u32, u32)]>, u32>,
    key: Vec<(u32, u32)>,
}

impl<'g> HeadGroups<'g> {
    /// Groups by the names that `keep` lets pass.
    pub(crate) fn new(keep: &'g dyn Fn(&str) -> bool) -> Self {
        HeadGroups { keep, keeps: HashMap::new(), places: HashMap::new(), key: Vec::new() }
    }

    /// The place in `groups` of a series' group.
    pub(crate) fn place(&mut self, view: &RegistryView<'_>, series: SeriesRef, groups: &mut SeriesGroups) -> u32 {
        self.key.clear();
        for (name, value) in view.pairs(series) {
            if *self.keeps.entry(name).or_insert_with(|| (self.keep)(view.text(name))) {
                self.key.push((name, value));
            }
        }
        if let Some(place) = self.places.get(self.key.as_slice()) {
            return *place;
        }
        let texts = self.key.iter().map(|(name, value)| (view.text(*name), view.text(*value)));
        // What came from labels cannot be refused.
        let labels = Labels::from_pairs(texts).unwrap_or_else(|_| Labels::empty());
        let place = groups.place(labels);
        self.places.insert(self.key.as_slice().into(), place);
        place
    }
}

impl Pinned {
    /// All that is known of the head's series.
    pub(super) fn head_view(&self) -> RegistryView<'_> {
        self.engine.head.registry.view()
    }
}
