//! What is known about metric families. The newest report wins.

use std::collections::BTreeMap;

use model::Metadata;
use parking_lot::RwLock;

/// What a batch is to do with metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// It is known already.
    Known,
    /// It has to be said.
    New,
    /// There is no room for it.
    NoRoom,
}

/// Metadata by family, bounded.
#[derive(Debug)]
pub(crate) struct MetadataMap {
    families: RwLock<BTreeMap<String, Metadata>>,
    families_max: usize,
}

impl MetadataMap {
    /// Room for that many families.
    pub(crate) fn new(families_max: usize) -> Self {
        MetadataMap { families: RwLock::default(), families_max }
    }

    /// What is to be done with metadata in a batch that says `said` others. No batch says more than there is room for.
    pub(crate) fn news(&self, family: &str, metadata: &Metadata, said: usize) -> News {
        let families = self.families.read();
        match families.get(family) {
            Some(known) if known == metadata => News::Known,
            known if said < self.families_max && (known.is_some() || families.len() < self.families_max) => News::New,
            _ => News::NoRoom,
        }
    }

    /// Notes metadata; returns how many families there was no room for.
    pub(crate) fn apply(&self, list: impl IntoIterator<Item = (String, Metadata)>) -> u64 {
        let mut families = self.families.write();
        let mut dropped = 0;
        for (family, metadata) in list {
            if families.len() < self.families_max || families.contains_key(&family) {
                families.insert(family, metadata);
            } else {
                dropped += 1;
            }
        }
        dropped
    }

    /// Forgets families.
    pub(crate) fn remove(&self, gone: &[String]) {
        let mut known = self.families.write();
        gone.iter().for_each(|family| drop(known.remove(family)));
    }

    /// All of it, sorted by family.
    pub(crate) fn all(&self) -> Vec<(String, Metadata)> {
        self.families.read().iter().map(|(family, metadata)| (family.clone(), metadata.clone())).collect()
    }

    /// What is known about one family.
    pub(crate) fn get(&self, family: &str) -> Option<Metadata> {
        self.families.read().get(family).cloned()
    }

    /// Number of families.
    pub(crate) fn len(&self) -> usize {
        self.families.read().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_bounded_and_the_newest_wins() {
        let map = MetadataMap::new(2);
        let of = |help: &str| Metadata { help: help.into(), ..Metadata::default() };
        assert_eq!(map.apply([("a".to_owned(), of("1")), ("b".to_owned(), of("1"))]), 0);
        assert_eq!(map.apply([("c".to_owned(), of("1")), ("a".to_owned(), of("2"))]), 1);
        assert_eq!((map.get("a"), map.get("c"), map.len()), (Some(of("2")), None, 2));
        assert_eq!((map.news("a", &of("2"), 0), map.news("a", &of("3"), 1)), (News::Known, News::New));
        assert_eq!(map.news("c", &of("1"), 0), News::NoRoom, "a third family");
        assert_eq!(map.news("a", &of("3"), 2), News::NoRoom, "the third of one batch");
    }
}
