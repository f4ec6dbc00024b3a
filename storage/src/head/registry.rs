//! The series of the head: from labels to a number and back.
//!
//! A row holds symbols, not texts: which names a series has (a *schema*, shared) and its values. Rows are spread over
//! [`SHARD_COUNT`] shards by the hash of the labels; the lowest bits of a series' number are its shard. Locks are taken
//! in the order rows, schemas, symbols.
//!
//! A series that nobody used for long is *retired*: its row is marked, so that [`Registry::touch`] and
//! [`Registry::define`] do not find it, and is recycled when everyone who could hold its number has ended (`epoch`).

use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use model::Labels;
use parking_lot::{RwLock, RwLockReadGuard};

use super::budgets::{Budgets, Earlier};
use super::symbols::{Symbols, SymbolsRead};
use crate::batch::{Resolved, SeriesRef};
use crate::error::Refusal;
use crate::options::SeriesLimits;

const SHARD_BITS: u32 = 4;
/// Number of shards of everything that is kept by series.
pub(crate) const SHARD_COUNT: usize = 1 << SHARD_BITS;
/// In place of an epoch: the series is retired.
const RETIRED: u32 = u32::MAX;
/// Words of values that may lie unused in a shard before its gaps are closed.
const VALUES_SLACK: usize = 4096;

impl SeriesRef {
    /// The series' shard.
    pub(crate) fn shard(self) -> usize {
        self.0 as usize % SHARD_COUNT
    }

    /// The series' place in its shard.
    pub(crate) fn place(self) -> usize {
        (self.0 >> SHARD_BITS) as usize
    }

    /// The series at a place of a shard.
    pub(crate) fn at(shard: usize, place: usize) -> Self {
        SeriesRef((place as u32) << SHARD_BITS | shard as u32)
    }
}

/// All series of the head.
#[derive(Debug)]
pub(crate) struct Registry {
    symbols: Symbols,
    schemas: RwLock<Schemas>,
    shards: Vec<RwLock<Rows>>,
    budgets: Budgets,
}

/// Lists of label names, as symbols in order; never given up, there are few.
#[derive(Debug, Default)]
struct Schemas {
    ids: HashMap<Box<[u32]>, u32, DefaultHashBuilder>,
    names: Vec<Box<[u32]>>,
}

impl Schemas {
    fn names(&self, schema: u32) -> &[u32] {
        self.names.get(schema as usize).map_or(&[], |names| names)
    }
}

#[derive(Debug, Default)]
struct Rows {
    places: HashTable<u32>,
    rows: Vec<Row>,
    /// Values of all rows, each from its `start` on.
    values: Vec<u32>,
    /// Words of `values` that belong to no row any more.
    unused_values: usize,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Row {
    /// High half of the labels' hash; the low bits chose the shard.
    hash: u64,
    schema: u32,
    start: u32,
    /// The last epoch in which someone asked for the series, or [`RETIRED`].
    touched: AtomicU32,
}

impl Rows {
    fn values(&self, row: &Row, count: usize) -> &[u32] {
        let start = row.start as usize;
        self.values.get(start..start + count).unwrap_or_default()
    }
}

impl Rows {
    /// A row for a new series; `values` are its values' symbols.
    fn insert(&mut self, hash: u64, schema: u32, values: impl Iterator<Item = u32>, epoch: u32) -> usize {
        let row = Row { hash, schema, start: self.values.len() as u32, touched: AtomicU32::new(epoch) };
        self.values.extend(values);
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.rows.push(Row { hash, schema: 0, start: 0, touched: AtomicU32::new(RETIRED) });
                self.rows.len() as u32 - 1
            }
        };
        if let Some(slot) = self.rows.get_mut(place as usize) {
            *slot = row;
        }
        let rows = &self.rows;
        let rehash = |place: &u32| rows.get(*place as usize).map_or(0, |row| row.hash);
        self.places.insert_unique(hash, place, rehash);
        place as usize
    }

    /// Closes the gaps that recycled rows left in `values`.
    fn compact(&mut self, schemas: &Schemas) {
        let mut kept = Vec::with_capacity(self.values.len() - self.unused_values);
        let mut free = vec![false; self.rows.len()];
        for place in &self.free {
            if let Some(free) = free.get_mut(*place as usize) {
                *free = true;
            }
        }
        for (row, _) in self.rows.iter_mut().zip(free).filter(|(_, free)| !free) {
            let start = row.start as usize;
            let values = self.values.get(start..start + schemas.names(row.schema).len()).unwrap_or_default();
            row.start = kept.len() as u32;
            kept.extend_from_slice(values);
        }
        self.values = kept;
        self.unused_values = 0;
    }

    fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
            + (self.values.capacity() + self.free.capacity()) * size_of::<u32>()
            + self.places.capacity() * (size_of::<u32>() + 1)
    }
}

impl Row {
    /// Notes that someone of this epoch uses the series; false if it is retired.
    fn touch(&self, epoch: u32) -> bool {
        let mut before = self.touched.load(Ordering::Acquire);
        loop {
            if before == RETIRED {
                return false;
            }
            if before >= epoch {
                return true;
            }
            match self.touched.compare_exchange_weak(before, epoch, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => before = now,
            }
        }
    }
}

impl Registry {
    /// A registry without series.
    pub(crate) fn new(limits: SeriesLimits) -> Self {
        Registry {
            symbols: Symbols::default(),
            schemas: RwLock::default(),
            shards: (0..SHARD_COUNT).map(|_| RwLock::default()).collect(),
            budgets: Budgets::new(limits),
        }
    }

    /// Notes that someone of this epoch uses the series; false if it is retired.
    pub(crate) fn touch(&self, series: SeriesRef, epoch: u32) -> bool {
        let Some(shard) = self.shards.get(series.shard()) else { return false };
        shard.read().rows.get(series.place()).is_some_and(|row| row.touch(epoch))
    }

    /// As [`Registry::touch`] for the series among many keys' answers; those that are retired are taken out.
    pub(crate) fn touch_all(&self, found: &mut [Option<Resolved>], epoch: u32) {
        let shards: Vec<_> = self.shards.iter().map(|shard| shard.read()).collect();
        let is_alive = |series: SeriesRef| {
            let rows = shards.get(series.shard()).and_then(|rows| rows.rows.get(series.place()));
            rows.is_some_and(|row| row.touch(epoch))
        };
        for one in found {
            one.take_if(|one| matches!(one, Resolved::Series(series) if !is_alive(*series)));
        }
    }

    /// Finds the series with these labels, or makes it if there is room in its budgets.
    ///
    /// # Errors
    /// [`Refusal::TooManySeries`], [`Refusal::TooManySeriesOfJob`].
    pub(crate) fn define(&self, labels: &Labels, epoch: u32, earlier: &dyn Earlier) -> Result<SeriesRef, Refusal> {
        let hash = labels.hash128();
        let (index, hash) = (hash as usize % SHARD_COUNT, (hash >> 64) as u64);
        let Some(shard) = self.shards.get(index) else { return Err(Refusal::TooManySeries { limit: 0 }) };
        if let Some(found) = self.find(&shard.read(), index, hash, labels, epoch) {
            return Ok(found);
        }
        // New: a place and the symbols first, then the row; someone else may make it in between.
        let place_of_budget = match self.budgets.take(labels, earlier) {
            Ok(place) => place,
            // The last place may be that of this series.
            Err(refusal) => return self.find(&shard.read(), index, hash, labels, epoch).ok_or(refusal),
        };
        let mut symbols = Vec::with_capacity(2 * labels.len());
        let names = || labels.iter().map(|(name, _)| name);
        let schema = self.known_schema(names()).unwrap_or_else(|| {
            self.symbols.intern(names(), &mut symbols);
            self.schema(&mut symbols)
        });
        self.symbols.intern(labels.iter().map(|(_, value)| value), &mut symbols);
        let mut rows = shard.write();
        if let Some(found) = self.find(&rows, index, hash, labels, epoch) {
            drop(rows);
            self.symbols.release(symbols.into_iter());
            self.budgets.put_back(labels, &place_of_budget);
            return Ok(found);
        }
        let place = rows.insert(hash, schema, symbols.into_iter(), epoch);
        Ok(SeriesRef::at(index, place))
    }

    /// As [`Registry::define`] for labels that are symbols already, and their hash ([`Labels::hash128`]); says whether
    /// the series is new. The caller has references to all symbols: those to the values of a new series are the
    /// registry's from now on. `schema` is that of the series before, as a guess. There is no limit: what a replay
    /// defines was let in once. Call [`Registry::count_jobs`] after the last of them.
    pub(crate) fn define_interned(
        &self,
        hash: u128,
        labels: &[(u32, u32)],
        schema: &mut Option<u32>,
        epoch: u32,
    ) -> Option<(SeriesRef, bool)> {
        let (index, hash) = (hash as usize % SHARD_COUNT, (hash >> 64) as u64);
        let mut rows = self.shards.get(index)?.write();
        let names = || labels.iter().map(|(name, _)| *name);
        let is_same = |guess: &u32| self.schemas.read().names(*guess).iter().copied().eq(names());
        let schema = match schema.filter(is_same) {
            Some(schema) => schema,
            None => {
                let mut list: Vec<u32> = names().collect();
                self.symbols.hold(names());
                *schema.insert(self.schema(&mut list))
            }
        };
        let values = || labels.iter().map(|(_, value)| *value);
        let found = rows.places.find(hash, |place| {
            rows.rows.get(*place as usize).is_some_and(|row| {
                let have = rows.values(row, labels.len());
                row.hash == hash && row.schema == schema && have.iter().copied().eq(values()) && row.touch(epoch)
            })
        });
        if let Some(place) = found {
            return Some((SeriesRef::at(index, *place as usize), false));
        }
        let place = rows.insert(hash, schema, values(), epoch);
        self.budgets.add_replayed();
        Some((SeriesRef::at(index, place), true))
    }

    /// The schema with these names, if there is one: it holds its names, so that no references are taken.
    fn known_schema<'a>(&self, names: impl Iterator<Item = &'a str>) -> Option<u32> {
        let schemas = self.schemas.read();
        let symbols = self.symbols.read();
        let names: Option<Vec<u32>> = names.map(|name| symbols.find(name)).collect();
        schemas.ids.get(names?.as_slice()).copied()
    }

    /// The schema with these names; takes the list, whose references it keeps if the schema is new.
    fn schema(&self, names: &mut Vec<u32>) -> u32 {
        let known = self.schemas.read().ids.get(names.as_slice()).copied();
        if let Some(known) = known {
            self.symbols.release(names.drain(..));
            return known;
        }
        let mut schemas = self.schemas.write();
        if let Some(known) = schemas.ids.get(names.as_slice()).copied() {
            self.symbols.release(names.drain(..));
            return known;
        }
        let schema = schemas.names.len() as u32;
        let list: Box<[u32]> = names.drain(..).collect();
        schemas.ids.insert(list.clone(), schema);
        schemas.names.push(list);
        schema
    }

    /// Finds the series with these labels, without a note that someone uses it.
    pub(crate) fn lookup(&self, labels: &Labels) -> Option<SeriesRef> {
        let hash = labels.hash128();
        let (index, hash) = (hash as usize % SHARD_COUNT, (hash >> 64) as u64);
        // No row was touched before epoch 0: none changes.
        self.find(&self.shards.get(index)?.read(), index, hash, labels, 0)
    }

    fn find(&self, rows: &Rows, shard: usize, hash: u64, labels: &Labels, epoch: u32) -> Option<SeriesRef> {
        let schemas = self.schemas.read();
        let symbols = self.symbols.read();
        let same = |place: &u32| {
            rows.rows.get(*place as usize).is_some_and(|row| {
                let names = schemas.names(row.schema);
                let values = rows.values(row, names.len());
                row.hash == hash
                    && same_labels(names, values, |symbol| symbols.text(symbol), labels.iter())
                    && row.touch(epoch)
            })
        };
        rows.places.find(hash, same).map(|place| SeriesRef::at(shard, *place as usize))
    }

    /// The labels of a series.
    pub(crate) fn labels(&self, series: SeriesRef) -> Labels {
        self.view().labels(series)
    }

    /// Access to many series under one set of locks; holds up new series, so keep it short.
    pub(crate) fn view(&self) -> RegistryView<'_> {
        RegistryView {
            rows: self.shards.iter().map(|shard| shard.read()).collect(),
            schemas: self.schemas.read(),
            symbols: self.symbols.read(),
        }
    }

    /// Puts series in the order of their labels. They must be pinned, or have samples in a generation that is there.
    pub(crate) fn ordered(&self, series: &[SeriesRef]) -> Vec<SeriesRef> {
        super::order::ordered(self, series)
    }

    /// Unlinks the series that nobody touched since before `oldest_epoch` and that may go.
    ///
    /// Their rows stay until [`Registry::recycle`].
    pub(crate) fn retire(&self, oldest_epoch: u32, may_go: impl Fn(SeriesRef) -> bool) -> Vec<SeriesRef> {
        let mut retired = Vec::new();
        let mut jobs = JobCounts::new(self.symbols.read().find(self.budgets.label()));
        for (index, shard) in self.shards.iter().enumerate() {
            let mut rows = shard.write();
            let Rows { places, rows, values, .. } = &mut *rows;
            let schemas = self.schemas.read();
            places.retain(|place| {
                let series = SeriesRef::at(index, *place as usize);
                let Some(row) = rows.get(*place as usize) else { return true };
                let goes = row.touched.load(Ordering::Acquire) < oldest_epoch && may_go(series);
                if goes {
                    row.touched.store(RETIRED, Ordering::Release);
                    retired.push(series);
                    jobs.add(&schemas, row, values);
                }
                !goes
            });
        }
        // Until they are recycled, the retired rows refer to their symbols.
        let symbols = self.symbols.read();
        for (job, count) in jobs.counts(&symbols) {
            self.budgets.give_back(job, count);
        }
        drop(symbols);
        retired
    }

    /// Counts the series of each job anew, from their symbols, after a replay.
    pub(crate) fn count_jobs(&self) {
        let mut jobs = JobCounts::new(self.symbols.read().find(self.budgets.label()));
        for shard in &self.shards {
            let shard = shard.read();
            let schemas = self.schemas.read();
            for row in shard.places.iter().filter_map(|place| shard.rows.get(*place as usize)) {
                jobs.add(&schemas, row, &shard.values);
            }
        }
        self.budgets.set_jobs(jobs.counts(&self.symbols.read()));
    }

    /// Gives up the rows of retired series. Nobody may hold their numbers any more.
    pub(crate) fn recycle(&self, retired: &[SeriesRef]) {
        let mut symbols = Vec::new();
        for series in retired {
            let Some(shard) = self.shards.get(series.shard()) else { continue };
            let mut rows = shard.write();
            let schemas = self.schemas.read();
            let Some(row) = rows.rows.get(series.place()) else { continue };
            let count = schemas.names(row.schema).len();
            symbols.extend_from_slice(rows.values(row, count));
            rows.unused_values += count;
            rows.free.push(series.place() as u32);
            if rows.unused_values > VALUES_SLACK.max(rows.values.len() / 2) {
                rows.compact(&schemas);
            }
        }
        self.symbols.release(symbols.into_iter());
    }

    /// Access to the texts.
    pub(crate) fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// What is taken of the limits of series.
    pub(crate) fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// Number of series.
    pub(crate) fn series_count(&self) -> u64 {
        self.budgets.series_count()
    }

    /// Bytes of rows and symbols.
    pub(crate) fn bytes(&self) -> u64 {
        let rows: usize = self.shards.iter().map(|shard| shard.read().bytes()).sum();
        rows as u64 + self.symbols.size().1
    }
}

/// Series by job: by the symbol of the value of one label.
#[derive(Debug)]
struct JobCounts {
    /// The label; none if no series has it.
    name: Option<u32>,
    /// By schema, the place of the label in it.
    places: Vec<Option<Option<usize>>>,
    by_value: HashMap<Option<u32>, u64>,
}

impl JobCounts {
    fn new(name: Option<u32>) -> Self {
        JobCounts { name, places: Vec::new(), by_value: HashMap::default() }
    }

    fn add(&mut self, schemas: &Schemas, row: &Row, values: &[u32]) {
        let schema = row.schema as usize;
        if self.places.len() <= schema {
            self.places.resize(schema + 1, None);
        }
        let find = || schemas.names(row.schema).iter().position(|name| Some(*name) == self.name);
        let place = self.places.get_mut(schema).and_then(|place| *place.get_or_insert_with(find));
        let value = place.and_then(|place| values.get(row.start as usize + place).copied());
        *self.by_value.entry(value).or_default() += 1;
    }

    /// The jobs and how many series each has.
    fn counts<'a>(&'a self, symbols: &'a SymbolsRead<'a>) -> impl Iterator<Item = (&'a str, u64)> {
        self.by_value.iter().map(|(value, count)| (value.map_or("", |value| symbols.text(value)), *count))
    }
}

fn same_labels<'a, 'b>(
    names: &[u32],
    values: &[u32],
    text: impl Fn(u32) -> &'b str,
    mut labels: impl Iterator<Item = (&'a str, &'a str)>,
) -> bool {
    names.iter().zip(values).all(|(name, value)| labels.next() == Some((text(*name), text(*value))))
        && labels.next().is_none()
}

/// All series under locks that are held.
#[derive(Debug)]
pub(crate) struct RegistryView<'a> {
    rows: Vec<RwLockReadGuard<'a, Rows>>,
    schemas: RwLockReadGuard<'a, Schemas>,
    symbols: SymbolsRead<'a>,
}

impl RegistryView<'_> {
    /// The symbols of name and value of each label of a series.
    pub(crate) fn pairs(&self, series: SeriesRef) -> impl ExactSizeIterator<Item = (u32, u32)> + '_ {
        let rows = self.rows.get(series.shard());
        let row = rows.and_then(|rows| Some((rows, rows.rows.get(series.place())?)));
        let (names, values) = row.map_or((&[][..], &[][..]), |(rows, row)| {
            let names = self.schemas.names(row.schema);
            (names, rows.values(row, names.len()))
        });
        names.iter().copied().zip(values.iter().copied())
    }

    /// The text of a symbol.
    pub(crate) fn text(&self, symbol: u32) -> &str {
        self.symbols.text(symbol)
    }

    /// The labels of a series.
    pub(crate) fn labels(&self, series: SeriesRef) -> Labels {
        let pairs: Vec<(&str, &str)> =
            self.pairs(series).map(|(name, value)| (self.text(name), self.text(value))).collect();
        labels_of(&pairs)
    }
}

/// Labels from texts that came from labels, so that they cannot be refused.
fn labels_of(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_sorted(pairs).unwrap_or_else(|_| Labels::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn series_are_found_by_labels_and_counted() {
        let registry = Registry::new(SeriesLimits::default());
        let a = labels(&[("__name__", "up"), ("job", "a")]);
        let b = labels(&[("__name__", "up"), ("job", "b")]);
        let first = registry.define(&a, 0, &()).unwrap();
        let second = registry.define(&b, 0, &()).unwrap();
        assert_eq!((registry.define(&a, 0, &()), registry.labels(second)), (Ok(first), b.clone()));
        assert_eq!(registry.labels(first), a);
        assert_eq!(registry.series_count(), 2);
    }

    #[test]
    fn the_empty_label_set_is_a_series_too() {
        let registry = Registry::new(SeriesLimits::default());
        let series = registry.define(&Labels::empty(), 0, &()).unwrap();
        assert_eq!(registry.define(&Labels::empty(), 0, &()), Ok(series));
        assert_eq!(registry.labels(series), Labels::empty());
    }

    #[test]
    fn retired_series_are_not_found_and_their_place_is_used_again() {
        let registry = Registry::new(SeriesLimits::default());
        let a = labels(&[("job", "a"), ("instance", "1")]);
        let series = registry.define(&a, 3, &()).unwrap();
        assert!(registry.retire(3, |_| true).is_empty(), "epoch 3 may still hold it");
        assert!(registry.retire(4, |_| false).is_empty());
        assert_eq!(registry.retire(4, |_| true), [series]);
        assert!(!registry.touch(series, 9));
        assert_eq!((registry.series_count(), registry.labels(series)), (0, a.clone()));
        let again = registry.define(&a, 5, &()).unwrap();
        assert_ne!(again, series, "the old number may still be held");
        registry.recycle(&[series]);
        assert_eq!(registry.labels(again), a, "its symbols are still referred to");
        assert_eq!(registry.retire(6, |_| true), [again]);
        registry.recycle(&[again]);
        assert_eq!(registry.symbols().read().find("a"), None);
    }

    /// In between two steps of one sender another makes the same series; it was there before the start.
    struct Race<'a> {
        registry: &'a Registry,
        before: &'a [Labels],
        is_run: std::cell::Cell<bool>,
    }

    impl Earlier for Race<'_> {
        fn is_open(&self) -> bool {
            true
        }
        fn holds(&self, labels: &Labels) -> bool {
            if !self.is_run.replace(true) {
                self.registry.define(labels, 0, self).unwrap();
            }
            self.before.contains(labels)
        }
        fn count(&self, _: &str, _: &str) -> u64 {
            self.before.len() as u64
        }
    }

    #[test]
    fn of_two_who_make_a_series_at_once_both_have_it_and_it_counts_once() {
        let of_job = |i: &str| labels(&[("i", i), ("job", "a")]);
        let limits = |per_job| SeriesLimits { per_job: Some(per_job), ..SeriesLimits::default() };
        for before in [&[][..], &[of_job("0"), of_job("1")]] {
            let registry = Registry::new(limits(before.len().max(1) as u64));
            let race = Race { registry: &registry, before, is_run: false.into() };
            let series = registry.define(&of_job("0"), 0, &race).unwrap();
            assert_eq!((registry.labels(series), registry.series_count()), (of_job("0"), 1));
            // The last place is taken, or kept.
            assert!(registry.define(&of_job("7"), 0, &race).is_err(), "{before:?}");
        }
    }

    /// A replay and a sender find the same series, whoever made it.
    #[test]
    fn series_are_the_same_by_texts_and_by_symbols() {
        let registry = Registry::new(SeriesLimits::default());
        let sets = [&[("a", "1")][..], &[("a", "1"), ("b", "2")], &[("a", "b"), ("b", "a")], &[], &[("b", "2")]];
        let by_symbols = |set: &[(&str, &str)], schema: &mut Option<u32>| {
            let mut symbols = Vec::new();
            registry.symbols().intern(set.iter().flat_map(|(name, value)| [*name, *value]), &mut symbols);
            let pairs: Vec<(u32, u32)> = symbols.chunks(2).map(|pair| (pair[0], pair[1])).collect();
            let (series, is_new) = registry.define_interned(labels(set).hash128(), &pairs, schema, 0).unwrap();
            // One reference to each is ours; the values' are given away with a new series.
            let given = pairs.iter().flat_map(|(name, value)| [(*name, 0), (*value, u32::from(is_new))]);
            registry.symbols().settle(given);
            series
        };
        let mut schema = None;
        let first: Vec<SeriesRef> = sets.iter().map(|set| by_symbols(set, &mut schema)).collect();
        let again: Vec<SeriesRef> = sets.iter().rev().map(|set| by_symbols(set, &mut schema)).collect();
        let by_texts: Vec<SeriesRef> = sets.iter().map(|set| registry.define(&labels(set), 0, &()).unwrap()).collect();
        assert!(first == by_texts && first.iter().rev().eq(&again));
        assert!(sets.iter().zip(&first).all(|(set, series)| registry.labels(*series) == labels(set)));
        // Each row holds its own values, each schema its names: nothing else is left.
        registry.recycle(&registry.retire(1, |_| true));
        assert_eq!((registry.symbols().read().find("1"), registry.symbols().read().find("2")), (None, None));
        assert!(registry.symbols().read().find("a").is_some());
    }

    #[test]
    fn gaps_of_recycled_rows_are_closed() {
        let registry = Registry::new(SeriesLimits::default());
        let one = |i: usize| labels(&[("a", &i.to_string()), ("b", "x")]);
        let total = 2 * SHARD_COUNT * VALUES_SLACK;
        let all: Vec<SeriesRef> = (0..total).map(|i| registry.define(&one(i), 0, &()).unwrap()).collect();
        let before = registry.bytes();
        let kept: std::collections::BTreeSet<SeriesRef> = all.iter().step_by(8).copied().collect();
        let gone = registry.retire(1, |series| !kept.contains(&series));
        registry.recycle(&gone);
        assert!(registry.bytes() < before);
        for i in (0..total).step_by(8) {
            assert_eq!(registry.labels(all[i]), one(i));
        }
    }
}
