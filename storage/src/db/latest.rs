//! The newest sample of each series, within the account of who asks: from the head, and for some minutes after a start
//! from what was written shortly before it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use model::{Budget, BudgetError, Labels, Matcher, Sample, Scope};

use super::engine::Engine;
use crate::batch::SeriesRef;
use crate::deletes::Delete;
use crate::head::newest::NewestSample;

/// Series of the head that are looked up under one set of locks.
pub(super) const AT_A_TIME: usize = 4096;

/// The newest sample of a series and when it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Latest {
    /// The series.
    pub labels: Labels,
    /// The sample with the greatest time.
    pub sample: Sample,
    /// When the newest batch with this series arrived, in milliseconds since 1970.
    pub arrived_ms: i64,
}

impl Latest {
    /// Bytes that it takes with its place in the map.
    fn bytes(&self) -> u64 {
        (size_of::<(Labels, Latest)>() + self.labels.heap_bytes()) as u64
    }
}

/// By series, each taken out of the account.
pub(super) struct LatestBySeries<'b> {
    found: BTreeMap<Labels, Latest>,
    budget: &'b Budget,
}

impl LatestBySeries<'_> {
    /// Takes one in, unless one of its series is there that it does not replace.
    pub(super) fn put(&mut self, newest: Latest, replaces: impl FnOnce(&Latest) -> bool) -> Result<(), BudgetError> {
        self.budget.check()?;
        match self.found.entry(newest.labels.clone()) {
            Entry::Occupied(mut known) if replaces(known.get()) => *known.get_mut() = newest,
            Entry::Occupied(_) => {}
            Entry::Vacant(place) => {
                self.budget.take_bytes(newest.bytes())?;
                place.insert(newest);
            }
        }
        Ok(())
    }
}

impl Engine {
    /// As [`super::Db::latest`].
    pub(super) fn latest(
        &self,
        scope: &Scope,
        matchers: &[Matcher],
        since_ms: i64,
        budget: &Budget,
    ) -> Result<Vec<Latest>, BudgetError> {
        let now_ms = self.clock.now_ms();
        let mut latest = LatestBySeries { found: BTreeMap::new(), budget };
        self.recent.latest(scope, matchers, since_ms, now_ms, &mut latest)?;
        let head = &self.head;
        // The numbers stay as they are until the labels are read.
        let _epoch = head.epochs.pin_reader();
        let selected = head.postings.select(&head.registry, scope, matchers);
        let arrived = |series| Some((series, head.newest.get(series).filter(|newest| newest.arrived_ms >= since_ms)?));
        let mut selected = selected.iter().peekable();
        while selected.peek().is_some() {
            let some = selected.by_ref().take(AT_A_TIME);
            let newest: Vec<_> = some.filter_map(|series| arrived(SeriesRef(series))).collect();
            let view = head.registry.view();
            for (series, NewestSample { sample, arrived_ms }) in newest {
                let newest = Latest { labels: view.labels(series), sample, arrived_ms };
                // A series that was forgotten and came back has two numbers for a while.
                latest.put(newest, |known| known.arrived_ms <= arrived_ms)?;
            }
        }
        let mut latest = latest.found;
        let rules = self.retention.read().clone();
        let deletes = self.view.read().deletes.clone();
        latest.retain(|labels, latest| {
            let ms = latest.sample.timestamp_ms;
            let hides = |delete: &Delete| {
                latest.arrived_ms <= delete.made_ms && delete.range.contains(ms) && delete.selects(labels)
            };
            ms >= rules.oldest_ms(labels, now_ms) && !deletes.iter().any(hides)
        });
        Ok(latest.into_values().collect())
    }

    /// As [`super::Db::arrival`].
    pub(super) fn arrival(&self, labels: &Labels, timestamp_ms: i64) -> Option<i64> {
        // The number stays as it is so long.
        let _epoch = self.head.epochs.pin_reader();
        let newest = self.head.newest.get(self.head.registry.lookup(labels)?)?;
        (newest.sample.timestamp_ms == timestamp_ms).then_some(newest.arrived_ms)
    }
}
