//! Stored samples as rows of the dialect's table, newest first.
//!
//! Time is read from its newest end in windows that grow, until there are enough rows: asking for the newest thousand of
//! a year of samples reads the last minutes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use model::{
    Budget, Labels, METRIC_NAME, Matcher, MetricType, SampleColumns, Scope, SeriesSet, SeriesSource, SourceError,
    TimeRange, is_stale,
};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use storage::Snapshot;
use xxhash_rust::xxh3::xxh3_64;

use crate::app::App;
use crate::families::Families;
use crate::ingest::ORG;
use crate::report::{COMPONENT, COMPONENT_TYPE, timestamp};

/// The newest window; each next one is as much longer as [`WINDOW_GROWTH`] says.
const WINDOW_FIRST_MS: i64 = 300_000;
const WINDOW_GROWTH: i64 = 4;

/// Which rows are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowFilter {
    pub(super) range: TimeRange,
    pub(super) metric_type: Option<MetricType>,
    pub(super) limit: usize,
}

/// A sample of the series at a place of the set.
#[derive(Debug, Clone, Copy)]
struct Found {
    timestamp_ms: i64,
    series: usize,
    value: f64,
}

/// The newest rows of the series that pass.
pub(super) fn rows(
    app: &App,
    snapshot: &Snapshot,
    scope: &Scope,
    matchers: &[Matcher],
    filter: RowFilter,
    budget: &Budget,
) -> Result<Vec<Row>, SourceError> {
    let set = snapshot.select(scope, matchers, filter.range, budget)?;
    let mut families = Families::new(&app.db);
    let mut series = Vec::new();
    for i in 0..set.len() {
        let passes = match filter.metric_type {
            Some(asked) => families.of(set.labels(i)?.metric_name()).metric_type == asked,
            None => true,
        };
        if passes {
            series.push(i);
        }
    }
    let newest_ms = app.clock.now_ms().saturating_add(app.config.ingest_max_future.ms());
    let found = newest(&*set, &series, filter, newest_ms, budget)?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    found.iter().map(|found| Ok(row(app, &mut families, set.labels(found.series)?, found))).collect()
}

/// The newest samples, newest first, at equal times in the order of the series.
fn newest(
    set: &dyn SeriesSet,
    series: &[usize],
    filter: RowFilter,
    newest_ms: i64,
    budget: &Budget,
) -> Result<Vec<Found>, SourceError> {
    // The least of the rows so far is on top.
    let mut best: BinaryHeap<Reverse<(i64, Reverse<usize>, u64)>> = BinaryHeap::new();
    let mut columns = SampleColumns::default();
    for window in windows(filter.range, newest_ms) {
        for &i in series {
            set.samples(i, window, budget, &mut columns)?;
            // From the new end: the first that is too old ends the series.
            for sample in columns.floats().rev().filter(|sample| !is_stale(sample.value)) {
                let candidate = Reverse((sample.timestamp_ms, Reverse(i), sample.value.to_bits()));
                if best.len() < filter.limit {
                    best.push(candidate);
                } else if best.peek().is_some_and(|least| candidate < *least) {
                    best.pop();
                    best.push(candidate);
                } else {
                    break;
                }
            }
        }
        if best.len() >= filter.limit {
            break;
        }
    }
    let sorted = best.into_sorted_vec();
    Ok(sorted
        .into_iter()
        .map(|Reverse((timestamp_ms, Reverse(series), bits))| Found {
            timestamp_ms,
            series,
            value: f64::from_bits(bits),
        })
        .collect())
}

/// Cuts a range into windows, newest first, without gaps or overlaps.
fn windows(range: TimeRange, newest_ms: i64) -> impl Iterator<Item = TimeRange> {
    let mut end_ms = Some(range.end_ms).filter(|_| !range.is_empty());
    let mut length_ms = WINDOW_FIRST_MS;
    let mut first_start_ms = Some(range.end_ms.min(newest_ms).saturating_sub(WINDOW_FIRST_MS));
    std::iter::from_fn(move || {
        let end = end_ms?;
        let start = first_start_ms.take().unwrap_or_else(|| {
            length_ms = length_ms.saturating_mul(WINDOW_GROWTH);
            end.saturating_sub(length_ms)
        });
        let start_ms = start.max(range.start_ms);
        end_ms = if start_ms > range.start_ms { start_ms.checked_sub(1) } else { None };
        Some(TimeRange { start_ms, end_ms: end })
    })
}

/// One row of the table.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    metric_id: u64,
    runtime_id: Option<i64>,
    component_name: Option<String>,
    component_type: Option<String>,
    metric_name: String,
    metric_type: &'static str,
    metric_value: Value,
    labels: LabelObject,
    help_text: Option<String>,
    unit: Option<String>,
    timestamp: String,
    created_at: String,
}

fn row(app: &App, families: &mut Families<'_>, labels: Labels, found: &Found) -> Row {
    let (component, kind) = (labels.get(COMPONENT), labels.get(COMPONENT_TYPE));
    let org = labels.get(ORG).unwrap_or_default();
    let owner = component.and_then(|name| app.catalog.of_series(org, name, kind));
    let runtime_id = owner.map(|component| component.runtime_id);
    let metadata = families.of(labels.metric_name());
    // The arrival is kept for the newest sample of a series only.
    let created_ms = app.db.arrival(&labels, found.timestamp_ms).unwrap_or(found.timestamp_ms);
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    Row {
        metric_id: metric_id(&labels, found.timestamp_ms),
        runtime_id,
        component_name: component.map(str::to_owned),
        component_type: kind.map(str::to_owned),
        metric_name: labels.metric_name().to_owned(),
        metric_type: metadata.metric_type.as_str(),
        metric_value: json_value(found.value),
        help_text: some(&metadata.help),
        unit: some(&metadata.unit),
        timestamp: timestamp::format(found.timestamp_ms),
        created_at: timestamp::format(created_ms),
        labels: LabelObject(labels),
    }
}

/// A number that names the row: 53 bits of a hash of series and time, which JSON's numbers hold.
fn metric_id(labels: &Labels, timestamp_ms: i64) -> u64 {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(&labels.hash128().to_le_bytes());
    bytes[16..].copy_from_slice(&timestamp_ms.to_le_bytes());
    xxh3_64(&bytes) >> 11
}

/// JSON has no NaN and no infinity.
fn json_value(value: f64) -> Value {
    if value.is_nan() {
        json!("NaN")
    } else if value.is_infinite() {
        json!(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        json!(value)
    }
}

/// Labels as a JSON object, without the metric's name, which has a column of its own.
#[derive(Debug)]
struct LabelObject(Labels);

impl Serialize for LabelObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter(|(name, _)| *name != METRIC_NAME))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn windows_cover_the_range_once(start_ms in any::<i64>(), end_ms in any::<i64>(), newest_ms in any::<i64>()) {
            let range = TimeRange { start_ms, end_ms };
            let windows: Vec<TimeRange> = windows(range, newest_ms).collect();
            if range.is_empty() {
                prop_assert!(windows.is_empty());
            } else {
                prop_assert_eq!(windows.first().unwrap().end_ms, end_ms);
                prop_assert_eq!(windows.last().unwrap().start_ms, start_ms);
                for pair in windows.windows(2) {
                    prop_assert_eq!(pair[1].end_ms, pair[0].start_ms - 1);
                }
                prop_assert!(windows.iter().all(|w| !w.is_empty()) && windows.len() < 64);
            }
        }
    }

    #[test]
    fn values_that_json_has_no_number_for() {
        assert_eq!(json_value(f64::NAN), json!("NaN"));
        assert_eq!(json_value(f64::NEG_INFINITY), json!("-Infinity"));
        assert_eq!(json_value(0.1).to_string(), "0.1");
        let labels = Labels::from_pairs([("a", "b")]).unwrap();
        assert!(metric_id(&labels, 1) < 1 << 53);
        assert_ne!(metric_id(&labels, 1), metric_id(&labels, 2));
    }
}
