//! Label names and values, each kept once.
//!
//! Texts lie in pages that never change once they are full, so that who sorts them can take them along without copying
//! ([`Symbols::snapshot`]). A symbol lives as long as something refers to it; its number is used again afterwards.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::{RwLock, RwLockReadGuard};

/// Size of a page; longer texts get a page of their own.
const PAGE_BYTES: usize = 64 << 10;

/// Texts with numbers.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    ids: HashTable<u32>,
    hasher: DefaultHashBuilder,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Full pages; an empty one was given up.
    pages: Vec<Page>,
    current: String,
    current_live_bytes: usize,
}

#[derive(Debug, Clone)]
struct Page {
    text: Arc<str>,
    live_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    references: AtomicU32,
}

/// Where a text lies; the page behind the last full one is the current one.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    page: u32,
    start: u32,
    bytes: u32,
}

impl Place {
    fn of(self, page: &str) -> &str {
        let start = self.start as usize;
        page.get(start..start + self.bytes as usize).unwrap_or_default()
    }
}

impl Table {
    fn text(&self, symbol: u32) -> &str {
        let Some(entry) = self.entries.get(symbol as usize) else { return "" };
        entry.place.of(self.pages.get(entry.place.page as usize).map_or(self.current.as_str(), |page| &page.text))
    }

    fn find(&self, text: &str) -> Option<u32> {
        self.ids.find(self.hasher.hash_one(text), |id| self.text(*id) == text).copied()
    }

    fn insert(&mut self, text: &str) -> u32 {
        if !self.current.is_empty() && self.current.len() + text.len() > PAGE_BYTES {
            let text = Arc::from(std::mem::take(&mut self.current));
            self.pages.push(Page { text, live_bytes: self.current_live_bytes });
            self.current_live_bytes = 0;
        }
        if self.current.capacity() == 0 {
            self.current.reserve_exact(PAGE_BYTES.max(text.len()));
        }
        let place = Place { page: self.pages.len() as u32, start: self.current.len() as u32, bytes: text.len() as u32 };
        self.current.push_str(text);
        self.current_live_bytes += text.len();
        let entry = Entry { place, references: AtomicU32::new(0) };
        let symbol = match self.free.pop() {
            Some(symbol) => symbol,
            None => {
                self.entries.push(Entry { place: Place::default(), references: AtomicU32::new(0) });
                self.entries.len() as u32 - 1
            }
        };
        if let Some(slot) = self.entries.get_mut(symbol as usize) {
            *slot = entry;
        }
        let hash = self.hasher.hash_one(text);
        let Table { ids, hasher, entries, pages, current, .. } = self;
        let rehash = |id: &u32| {
            let place = entries.get(*id as usize).map_or(Place::default(), |entry| entry.place);
            hasher.hash_one(place.of(pages.get(place.page as usize).map_or(current.as_str(), |page| &page.text)))
        };
        ids.insert_unique(hash, symbol, rehash);
        symbol
    }

    fn remove(&mut self, symbol: u32) {
        let hash = self.hasher.hash_one(self.text(symbol));
        if let Ok(found) = self.ids.find_entry(hash, |id| *id == symbol) {
            found.remove();
        }
        let Some(place) = self.entries.get(symbol as usize).map(|entry| entry.place) else { return };
        match self.pages.get_mut(place.page as usize) {
            Some(page) => {
                page.live_bytes = page.live_bytes.saturating_sub(place.bytes as usize);
                if page.live_bytes == 0 {
                    page.text = Arc::from("");
                }
            }
            None => self.current_live_bytes = self.current_live_bytes.saturating_sub(place.bytes as usize),
        }
        self.free.push(symbol);
    }
}

impl Symbols {
    /// Gives each text its symbol, with one more reference to it.
    pub(crate) fn intern<'a>(&self, texts: impl Iterator<Item = &'a str> + Clone, out: &mut Vec<u32>) {
        let start = out.len();
        let mut missing = false;
        {
            let table = self.table.read();
            for text in texts.clone() {
                let found = table.find(text);
                if let Some(entry) = found.and_then(|symbol| table.entries.get(symbol as usize)) {
                    entry.references.fetch_add(1, Ordering::Relaxed);
                }
                missing |= found.is_none();
                out.push(found.unwrap_or(u32::MAX));
            }
        }
        if !missing {
            return;
        }
        let mut table = self.table.write();
        for (text, symbol) in texts.zip(out.iter_mut().skip(start)).filter(|(_, symbol)| **symbol == u32::MAX) {
            *symbol = table.find(text).unwrap_or_else(|| table.insert(text));
            if let Some(entry) = table.entries.get(*symbol as usize) {
                entry.references.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Takes one more reference to each, of which someone has one.
    pub(crate) fn hold(&self, symbols: impl Iterator<Item = u32>) {
        let table = self.table.read();
        for entry in symbols.filter_map(|symbol| table.entries.get(symbol as usize)) {
            entry.references.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends the caller's one reference to each symbol, of which it gave so many to others.
    pub(crate) fn settle(&self, given: impl Iterator<Item = (u32, u32)>) {
        let mut table = self.table.write();
        for (symbol, count) in given {
            let Some(entry) = table.entries.get_mut(symbol as usize) else { continue };
            let references = entry.references.get_mut();
            *references = references.wrapping_add(count).wrapping_sub(1);
            if *references == 0 {
                table.remove(symbol);
            }
        }
    }

    /// Takes back one reference to each.
    pub(crate) fn release(&self, symbols: impl Iterator<Item = u32>) {
        let mut table = self.table.write();
        for symbol in symbols {
            let Some(entry) = table.entries.get(symbol as usize) else { continue };
            if entry.references.fetch_sub(1, Ordering::Relaxed) == 1 {
                table.remove(symbol);
            }
        }
    }

    /// Access to many texts under one lock.
    pub(crate) fn read(&self) -> SymbolsRead<'_> {
        SymbolsRead(self.table.read())
    }

    /// The texts as they are now, to be used without the lock.
    pub(crate) fn snapshot(&self) -> SymbolsSnapshot {
        let table = self.table.read();
        let mut pages: Vec<Arc<str>> = table.pages.iter().map(|page| page.text.clone()).collect();
        pages.push(Arc::from(table.current.as_str()));
        SymbolsSnapshot { pages, places: table.entries.iter().map(|entry| entry.place).collect() }
    }

    /// Number of symbols in use, and the bytes they take.
    pub(crate) fn size(&self) -> (u64, u64) {
        let table = self.table.read();
        let texts: usize = table.pages.iter().map(|page| page.text.len()).sum();
        let bytes = texts
            + table.current.capacity()
            + table.entries.capacity() * size_of::<Entry>()
            + table.ids.capacity() * (size_of::<u32>() + 1);
        (table.ids.len() as u64, bytes as u64)
    }
}

/// Symbols under a lock that is held.
#[derive(Debug)]
pub(crate) struct SymbolsRead<'a>(RwLockReadGuard<'a, Table>);

impl SymbolsRead<'_> {
    /// The text of a symbol.
    pub(crate) fn text(&self, symbol: u32) -> &str {
        self.0.text(symbol)
    }

    /// The symbol of a text, if it has one.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        self.0.find(text)
    }
}

/// All texts of one moment.
#[derive(Debug)]
pub(crate) struct SymbolsSnapshot {
    pages: Vec<Arc<str>>,
    places: Vec<Place>,
}

impl SymbolsSnapshot {
    /// The text of a symbol.
    pub(crate) fn text(&self, symbol: u32) -> &str {
        let Some(place) = self.places.get(symbol as usize) else { return "" };
        self.pages.get(place.page as usize).map_or("", |page| place.of(page))
    }

    /// Gives each symbol that is marked in `marks` (by symbol, not 0) its rank in the order of the texts, from 1 on;
    /// returns how many there are.
    pub(crate) fn rank(&self, marks: &mut [u32]) -> u32 {
        let marked = (0_u32..).zip(marks.iter()).filter(|(_, mark)| **mark != 0);
        let mut order: Vec<u32> = marked.map(|(symbol, _)| symbol).collect();
        order.sort_unstable_by_key(|symbol| self.text(*symbol));
        for (rank, symbol) in (1..).zip(&order) {
            if let Some(mark) = marks.get_mut(*symbol as usize) {
                *mark = rank;
            }
        }
        order.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kept_once_and_given_up() {
        let symbols = Symbols::default();
        let mut ids = Vec::new();
        symbols.intern(["a", "b", "a"].into_iter(), &mut ids);
        assert_eq!((ids[0], symbols.read().find("b")), (ids[2], Some(ids[1])));
        symbols.release([ids[0]].into_iter());
        assert_eq!(symbols.read().text(ids[0]), "a", "one reference is left");
        symbols.release([ids[0]].into_iter());
        assert_eq!((symbols.read().find("a"), symbols.size().0), (None, 1));
        let mut again = Vec::new();
        symbols.intern(["c"].into_iter(), &mut again);
        assert_eq!(again, [ids[0]], "numbers are used again");
    }

    #[test]
    fn references_that_were_given_away_count() {
        let symbols = Symbols::default();
        let mut ids = Vec::new();
        symbols.intern(["a", "b"].into_iter(), &mut ids);
        symbols.settle([(ids[0], 2), (ids[1], 0)].into_iter());
        assert_eq!((symbols.read().find("a"), symbols.read().find("b")), (Some(ids[0]), None));
        symbols.release([ids[0]].into_iter());
        assert!(symbols.read().find("a").is_some(), "one of two is left");
        symbols.release([ids[0]].into_iter());
        assert_eq!(symbols.size().0, 0);
    }

    #[test]
    fn pages_fill_up_and_go() {
        let symbols = Symbols::default();
        let texts: Vec<String> = (0..3).map(|i| i.to_string().repeat(PAGE_BYTES / 2 + 1)).collect();
        let long = "x".repeat(PAGE_BYTES * 2);
        let mut ids = Vec::new();
        symbols.intern(texts.iter().map(String::as_str).chain([long.as_str(), "end"]), &mut ids);
        let before = symbols.snapshot();
        for (text, id) in texts.iter().map(String::as_str).chain([long.as_str(), "end"]).zip(&ids) {
            assert!(symbols.read().text(*id) == text && before.text(*id) == text);
        }
        let full = symbols.size().1;
        symbols.release(ids[..4].iter().copied());
        assert!(symbols.size().1 + 4 * (PAGE_BYTES as u64 / 2) < full);
        assert_eq!(symbols.read().text(ids[4]), "end");
        assert!(before.text(ids[3]) == long, "a snapshot keeps its texts");
    }

    #[test]
    fn ranks_are_those_of_the_texts() {
        let symbols = Symbols::default();
        let mut ids = Vec::new();
        symbols.intern(["b", "c", "a", ""].into_iter(), &mut ids);
        let mut ranks = vec![0; ids.len()];
        ids.iter().filter(|id| **id != ids[1]).for_each(|id| ranks[*id as usize] = 1);
        assert_eq!(symbols.snapshot().rank(&mut ranks), 3);
        let of = |i: usize| ranks[ids[i] as usize];
        assert_eq!((of(3), of(2), of(0), of(1)), (1, 2, 3, 0));
    }
}
