//! Counts of series by metric name, label name and label pair: the first `limit` of each, most first.

use std::collections::{BTreeMap, HashMap};

use model::{Budget, Labels, METRIC_NAME, Scope, SeriesSource, TimeRange};
use serde_json::{Value, json};

use crate::http::prometheus::error::ApiError;

/// Bytes that one entry of a table costs beside its text, about.
const ENTRY_BYTES: u64 = 64;

/// What is known of one label value.
type Values = HashMap<String, u64>;

/// Counts all series of the view, in the shape of `status/tsdb`.
pub(super) fn count(
    source: &dyn SeriesSource,
    scope: &Scope,
    limit: usize,
    budget: &Budget,
) -> Result<Value, ApiError> {
    let set = source.select(scope, &[], TimeRange::ALL, budget)?;
    let mut counts = Counts::default();
    for i in 0..set.len() {
        budget.check()?;
        counts.add(&set.labels(i)?, budget)?;
    }
    let answer = counts.answer(set.len(), limit);
    budget.release_bytes(counts.taken_bytes);
    Ok(answer)
}

#[derive(Default)]
struct Counts {
    labels: BTreeMap<String, Values>,
    taken_bytes: u64,
}

impl Counts {
    fn add(&mut self, labels: &Labels, budget: &Budget) -> Result<(), ApiError> {
        for (name, value) in labels {
            if !self.labels.contains_key(name) {
                self.labels.insert(name.to_owned(), Values::new());
            }
            let Some(values) = self.labels.get_mut(name) else { continue };
            if let Some(count) = values.get_mut(value) {
                *count += 1;
                continue;
            }
            let bytes = value.len() as u64 + ENTRY_BYTES;
            budget.take_bytes(bytes)?;
            self.taken_bytes += bytes;
            values.insert(value.to_owned(), 1);
        }
        Ok(())
    }

    fn answer(&self, series: usize, limit: usize) -> Value {
        let metrics = self.labels.get(METRIC_NAME).into_iter().flatten().map(|(name, n)| (name.clone(), *n));
        let values = self.labels.iter().map(|(name, values)| (name.clone(), values.len() as u64));
        let bytes = self.labels.iter().map(|(name, values)| {
            let bytes: u64 = values.iter().map(|(value, series)| value.len() as u64 * series).sum();
            (name.clone(), bytes)
        });
        let pairs = self.labels.iter().flat_map(|(name, values)| values.iter().map(move |(v, n)| ((name, v), *n)));
        let pairs = most(pairs, limit).into_iter().map(|((name, value), n)| (format!("{name}={value}"), n));
        json!({
            "headStats": {
                "numSeries": series,
                "numLabelPairs": self.labels.values().map(HashMap::len).sum::<usize>(),
            },
            "seriesCountByMetricName": entries(most(metrics, limit)),
            "labelValueCountByLabelName": entries(most(values, limit)),
            "memoryInBytesByLabelName": entries(most(bytes, limit)),
            "seriesCountByLabelValuePair": entries(pairs.collect()),
        })
    }
}

/// The greatest counts, greatest first, equal ones by name.
fn most<N: Ord>(all: impl Iterator<Item = (N, u64)>, limit: usize) -> Vec<(N, u64)> {
    let mut all: Vec<(N, u64)> = all.collect();
    all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all.truncate(limit);
    all
}

fn entries(all: Vec<(String, u64)>) -> Value {
    all.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_come_first_and_ties_by_name() {
        let budget = Budget::new(0, 10_000);
        let mut counts = Counts::default();
        for pairs in [
            [("__name__", "a"), ("job", "x")],
            [("__name__", "a"), ("job", "y")],
            [("__name__", "b"), ("job", "x")],
            [("__name__", "c"), ("job", "x")],
        ] {
            counts.add(&Labels::from_pairs(pairs).unwrap(), &budget).unwrap();
        }
        let answer = counts.answer(4, 2);
        assert_eq!(answer["headStats"], json!({"numSeries": 4, "numLabelPairs": 5}));
        assert_eq!(answer["seriesCountByMetricName"], json!([{"name": "a", "value": 2}, {"name": "b", "value": 1}]));
        assert_eq!(
            answer["seriesCountByLabelValuePair"],
            json!([{"name": "job=x", "value": 3}, {"name": "__name__=a", "value": 2}])
        );
        assert_eq!(
            answer["labelValueCountByLabelName"],
            json!([{"name": "__name__", "value": 3}, {"name": "job", "value": 2}])
        );
    }

    #[test]
    fn the_tables_are_in_the_account() {
        let series = |i: usize| Labels::from_pairs([("l", format!("{i}").as_str())]).unwrap();
        let budget = Budget::new(0, 2 * (ENTRY_BYTES + 1));
        let mut counts = Counts::default();
        counts.add(&series(1), &budget).unwrap();
        counts.add(&series(2), &budget).unwrap();
        assert!(counts.add(&series(3), &budget).is_err());
    }
}
