//! The newest exemplars, in memory. They are in the WAL as long as their batch is, and go with a restart after that.

use std::collections::{BTreeMap, VecDeque};

use model::{Labels, Matcher, Scope, TimeRange};
use parking_lot::Mutex;

use super::passes;
use crate::batch::Exemplar;
use crate::deletes::Delete;

/// A bounded list; the oldest go first.
#[derive(Debug)]
pub(crate) struct ExemplarRing {
    list: Mutex<VecDeque<(Labels, Exemplar)>>,
    count_max: usize,
}

impl ExemplarRing {
    /// Room for that many.
    pub(crate) fn new(count_max: usize) -> Self {
        ExemplarRing { list: Mutex::default(), count_max }
    }

    /// Adds exemplars of series.
    pub(crate) fn extend(&self, exemplars: impl Iterator<Item = (Labels, Exemplar)>) {
        let mut list = self.list.lock();
        for one in exemplars {
            list.push_back(one);
            if list.len() > self.count_max {
                list.pop_front();
            }
        }
    }

    /// Those of the series that pass, in the range, by series in order of labels, then of time.
    pub(crate) fn select(&self, scope: &Scope, matchers: &[Matcher], range: TimeRange) -> Vec<(Labels, Vec<Exemplar>)> {
        let mut found: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        for (labels, exemplar) in self.list.lock().iter() {
            if range.contains(exemplar.timestamp_ms) && passes(scope, matchers, labels) {
                let list = found.entry(labels.clone()).or_default();
                // The same one arrives with each scrape until there is a new one.
                if !list.contains(exemplar) {
                    list.push(exemplar.clone());
                }
            }
        }
        for list in found.values_mut() {
            list.sort_by_key(|exemplar| exemplar.timestamp_ms);
        }
        found.into_iter().collect()
    }

    /// Forgets those that a delete hides.
    pub(crate) fn remove(&self, delete: &Delete) {
        self.list.lock().retain(|(labels, one)| !delete.range.contains(one.timestamp_ms) || !delete.selects(labels));
    }

    /// Number of exemplars.
    pub(crate) fn len(&self) -> usize {
        self.list.lock().len()
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
        ring.extend([(of("a"), exemplar(4))].into_iter());
        assert_eq!(ring.len(), 3);
        let all = ring.select(&Scope::default(), &[], TimeRange::ALL);
        assert_eq!(all, [(of("a"), vec![exemplar(4)]), (of("b"), vec![exemplar(5)])]);
        let some = ring.select(&Scope::default(), &[Matcher::equal("job", "b")], TimeRange { start_ms: 5, end_ms: 5 });
        assert_eq!(some.len(), 1);
    }
}
