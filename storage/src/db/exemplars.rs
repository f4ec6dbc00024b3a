//! The newest exemplars, in memory. They are in the WAL as long as their batch is, and go with a restart after that.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};

use model::{Labels, Matcher, Scope, TimeRange};
use parking_lot::Mutex;

use super::passes;
use crate::batch::Exemplar;
use crate::deletes::Delete;

/// A bounded list; the oldest go first.
#[derive(Debug)]
pub(crate) struct ExemplarRing {
    kept: Mutex<Kept>,
    count_max: usize,
}

#[derive(Debug, Default)]
struct Kept {
    list: VecDeque<(Labels, Exemplar)>,
    /// Of each series in the list the newest, and how many it has there.
    series: HashMap<Labels, (Exemplar, usize)>,
}

impl Kept {
    /// Adds one, unless it is the newest of its series: the same one arrives with each scrape until there is a new one.
    fn push(&mut self, labels: Labels, exemplar: Exemplar) {
        let labels = match self.series.entry(labels) {
            Entry::Occupied(known) if known.get().0 == exemplar => return,
            Entry::Occupied(mut known) => {
                let (newest, count) = known.get_mut();
                *newest = exemplar.clone();
                *count += 1;
                // All of a series share one allocation.
                known.key().clone()
            }
            Entry::Vacant(place) => {
                let labels = place.key().clone();
                place.insert((exemplar.clone(), 1));
                labels
            }
        };
        self.list.push_back((labels, exemplar));
    }

    fn pop(&mut self) {
        let Some((labels, _)) = self.list.pop_front() else { return };
        if let Entry::Occupied(mut known) = self.series.entry(labels) {
            known.get_mut().1 -= 1;
            if known.get().1 == 0 {
                known.remove();
            }
        }
    }
}

impl ExemplarRing {
    /// Room for that many.
    pub(crate) fn new(count_max: usize) -> Self {
        ExemplarRing { kept: Mutex::default(), count_max }
    }

    /// Adds exemplars of series.
    pub(crate) fn extend(&self, exemplars: impl Iterator<Item = (Labels, Exemplar)>) {
        let mut kept = self.kept.lock();
        for (labels, exemplar) in exemplars {
            kept.push(labels, exemplar);
            if kept.list.len() > self.count_max {
                kept.pop();
            }
        }
    }

    /// Those of the series that pass, in the range, by series in order of labels, then of time.
    pub(crate) fn select(&self, scope: &Scope, matchers: &[Matcher], range: TimeRange) -> Vec<(Labels, Vec<Exemplar>)> {
        let mut found: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        for (labels, exemplar) in &self.kept.lock().list {
            if range.contains(exemplar.timestamp_ms) && passes(scope, matchers, labels) {
                found.entry(labels.clone()).or_default().push(exemplar.clone());
            }
        }
        for list in found.values_mut() {
            list.sort_by_key(|exemplar| exemplar.timestamp_ms);
            list.dedup();
        }
        found.into_iter().collect()
    }

    /// Forgets those that a delete hides.
    pub(crate) fn remove(&self, delete: &Delete) {
        let mut kept = self.kept.lock();
        let before = std::mem::take(&mut *kept);
        for (labels, one) in before.list {
            if !delete.hides(&labels, one.timestamp_ms) {
                kept.push(labels, one);
            }
        }
    }

    /// Number of exemplars.
    pub(crate) fn len(&self) -> usize {
        self.kept.lock().list.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(timestamp_ms: i64) -> Exemplar {
        Exemplar { labels: Labels::empty(), value: 1.0, timestamp_ms }
    }

    #[test]
    fn the_newest_are_kept_sorted_and_once() {
        let ring = ExemplarRing::new(3);
        let of = |value| Labels::from_pairs([("job", value)]).unwrap();
        ring.extend([(of("a"), exemplar(1)), (of("b"), exemplar(5)), (of("a"), exemplar(4))].into_iter());
        ring.extend([(of("a"), exemplar(4)), (of("b"), exemplar(3))].into_iter());
        assert_eq!(ring.len(), 3);
        let all = ring.select(&Scope::default(), &[], TimeRange::ALL);
        assert_eq!(all, [(of("a"), vec![exemplar(4)]), (of("b"), vec![exemplar(3), exemplar(5)])]);
        let some = ring.select(&Scope::default(), &[Matcher::equal("job", "b")], TimeRange { start_ms: 5, end_ms: 5 });
        assert_eq!(some.len(), 1);
    }

    #[test]
    fn what_arrives_with_each_scrape_takes_one_place() {
        let ring = ExemplarRing::new(3);
        let of = |value| Labels::from_pairs([("job", value)]).unwrap();
        for _ in 0..5 {
            ring.extend([(of("a"), exemplar(1)), (of("b"), exemplar(1))].into_iter());
        }
        assert_eq!(ring.len(), 2);
        // The only one of a series goes and comes back: it is new again.
        ring.extend([(of("b"), exemplar(2)), (of("b"), exemplar(3)), (of("a"), exemplar(1))].into_iter());
        let all = ring.select(&Scope::default(), &[], TimeRange::ALL);
        assert_eq!(all, [(of("a"), vec![exemplar(1)]), (of("b"), vec![exemplar(2), exemplar(3)])]);
        assert_eq!(ring.kept.lock().series.len(), 2);
        ring.extend([(of("c"), exemplar(1)), (of("d"), exemplar(1)), (of("e"), exemplar(1))].into_iter());
        assert_eq!(ring.kept.lock().series.len(), 3, "series without exemplars are forgotten");
    }
}
