//! What went through tasks: from the documents of those that have ended, from the series of those that run. Series have it under
//! Flink's names, or, of a job that only series tell of, under those of its engine.

use std::collections::HashMap;

use model::{MatchOp, Matcher, SampleColumns, TimeRange, is_stale};
use serde_json::{Map, Value, json};

use super::answer::Failure;
use super::fields::{Fields, Shape};
use super::view::{Seen, View};
use crate::implied::{self, Flow};
use crate::jobs::{Count, Io, Origin, Subtask};

/// How old the newest sample may be: as for an instant query.
pub(super) const LOOKBACK_MS: i64 = 300_000;

/// Before the names of all series of tasks.
pub(super) const TASK: &str = "flink_taskmanager_job_task_";

/// The metrics that the numbers come from, in the order of [`Io`]'s fields.
const METRICS: [&str; 7] = [
    "numBytesIn",
    "numBytesOut",
    "numRecordsIn",
    "numRecordsOut",
    "accumulateBackPressuredTimeMs",
    "accumulateIdleTimeMs",
    "accumulateBusyTimeMs",
];

/// The newest number of a metric of a subtask, and its attempt.
type Newest = (u64, f64);

/// Numbers of a job's tasks that run.
pub(super) struct Numbers(HashMap<(String, u64), [Option<Newest>; METRICS.len()]>);

impl Numbers {
    /// Reads them, of one vertex (by its own id) or of all.
    pub(super) fn read(view: &View<'_>, seen: &Seen, vertex: Option<&str>) -> Result<Numbers, Failure> {
        let mut numbers = Numbers(HashMap::new());
        newest(view, seen, vertex, &METRICS, |task, index, attempt, metric, value| {
            let slot = &mut numbers.0.entry((task.to_owned(), index)).or_default()[metric];
            if slot.is_none_or(|(before, _)| before <= attempt) {
                *slot = Some((attempt, value));
            }
        })?;
        if seen.job.origin == Origin::Metrics {
            numbers.add_counts(view, seen)?;
        }
        Ok(numbers)
    }

    /// Adds what the counters of an engine that is not Flink say. It numbers no attempts.
    fn add_counts(&mut self, view: &View<'_>, seen: &Seen) -> Result<(), Failure> {
        let range = TimeRange { start_ms: seen.now_ms.saturating_sub(LOOKBACK_MS), end_ms: seen.now_ms };
        let each = |task: &str, index, flow, value| {
            let slot = &mut self.0.entry((task.to_owned(), index)).or_default()[place(flow)];
            *slot = Some((0, slot.map_or(0.0, |(_, sum)| sum) + value));
        };
        Ok(implied::counts(view.series, &view.scope, &seen.job.subject, range, view.budget, each)?)
    }

    /// The numbers of a subtask's attempt.
    pub(super) fn of(&self, vertex: &str, subtask: &Subtask) -> Io {
        if let Some(totals) = subtask.totals {
            return totals;
        }
        let found = self.0.get(&(vertex.to_owned(), subtask.index)).copied().unwrap_or_default();
        let value = |metric: usize| found[metric].filter(|(attempt, _)| *attempt == subtask.attempt).map(|(_, v)| v);
        let whole = |metric: usize| value(metric).map(|value| value as i64);
        let count = |metric| Count { value: whole(metric).unwrap_or(0), is_complete: whole(metric).is_some() };
        Io {
            read_bytes: count(0),
            write_bytes: count(1),
            read_records: count(2),
            write_records: count(3),
            backpressured_ms: whole(4),
            idle_ms: whole(5),
            busy_ms: value(6),
        }
    }
}

/// The place in [`METRICS`] of what another engine counts.
fn place(flow: Flow) -> usize {
    match flow {
        Flow::BytesIn => 0,
        Flow::BytesOut => 1,
        Flow::RecordsIn => 2,
        Flow::RecordsOut => 3,
    }
}

/// Calls `each` with task id, subtask, attempt, place in `metrics` and the newest value before the moment.
pub(super) fn newest(
    view: &View<'_>,
    seen: &Seen,
    vertex: Option<&str>,
    metrics: &[&str],
    mut each: impl FnMut(&str, u64, u64, usize, f64),
) -> Result<(), Failure> {
    let names = format!("{TASK}({})", metrics.join("|"));
    let by_name = Matcher::new(model::METRIC_NAME, MatchOp::Regex, names).map_err(Failure::internal)?;
    let mut matchers = vec![by_name, Matcher::equal("job_id", &seen.job.subject.id)];
    matchers.extend(vertex.map(|id| Matcher::equal("task_id", id)));
    let range = TimeRange { start_ms: seen.now_ms.saturating_sub(LOOKBACK_MS), end_ms: seen.now_ms };
    let set = view.series.select(&view.scope, &matchers, range, view.budget)?;
    let mut samples = SampleColumns::default();
    for i in 0..set.len() {
        view.budget.check().map_err(model::SourceError::from)?;
        set.newest(i, range, true, view.budget, &mut samples)?;
        let Some(sample) = samples.floats().next_back().filter(|sample| !is_stale(sample.value)) else { continue };
        let labels = set.labels(i)?;
        let name = labels.metric_name().strip_prefix(TASK).unwrap_or_default();
        let metric = metrics.iter().position(|metric| *metric == name);
        let index = labels.get("subtask_index").and_then(|index| index.parse().ok());
        if let (Some(metric), Some(index), Some(task)) = (metric, index, labels.get("task_id")) {
            // A source that numbers no attempts has only the first.
            let attempt = labels.get("task_attempt_num").and_then(|number| number.parse().ok()).unwrap_or(0);
            each(task, index, attempt, metric, sample.value);
        }
    }
    Ok(())
}

/// The object `metrics`.
pub(super) fn metrics(shape: Shape, io: &Io) -> Value {
    let counts = [
        ("read-bytes", io.read_bytes),
        ("write-bytes", io.write_bytes),
        ("read-records", io.read_records),
        ("write-records", io.write_records),
    ];
    let fields = counts.into_iter().fold(Fields::new(shape), |fields, (name, count)| {
        fields.put(name, count.value).put(&format!("{name}-complete"), count.is_complete)
    });
    fields
        .newer_if("accumulated-backpressured-time", io.backpressured_ms)
        .newer_if("accumulated-idle-time", io.idle_ms)
        .newer_if("accumulated-busy-time", io.busy_ms)
        .done()
}

/// Takes one number out of what is known.
type Pick = fn(&Io) -> Option<i64>;

/// The object `aggregated` over subtasks, with the time that they spent in each state.
pub(super) fn aggregated(parts: &[Io], durations: &[Map<String, Value>]) -> Value {
    let of = |pick: Pick| summary(parts.iter().filter_map(pick).collect());
    let mut metrics = Map::new();
    let picks: [(&str, Pick); 7] = [
        ("read-bytes", |io| Some(io.read_bytes.value)),
        ("write-bytes", |io| Some(io.write_bytes.value)),
        ("read-records", |io| Some(io.read_records.value)),
        ("write-records", |io| Some(io.write_records.value)),
        ("accumulated-backpressured-time", |io| io.backpressured_ms),
        ("accumulated-idle-time", |io| io.idle_ms),
        ("accumulated-busy-time", |io| io.busy_ms.map(|ms| ms as i64)),
    ];
    for (name, pick) in picks {
        metrics.extend(of(pick).map(|summary| (name.to_owned(), summary)));
    }
    let mut states = Map::new();
    for name in durations.iter().flat_map(Map::keys) {
        let values = durations.iter().filter_map(|all| all.get(name)?.as_i64()).collect();
        states.extend(summary(values).map(|summary| (name.clone(), summary)));
    }
    json!({"metrics": metrics, "status-duration": states})
}

/// Flink's percentile of few values is the one at rank `p (n + 1)`, rounded as its library does: for one it is this one.
fn summary(mut values: Vec<i64>) -> Option<Value> {
    values.sort_unstable();
    let (min, max) = (*values.first()?, *values.last()?);
    let sum: i64 = values.iter().fold(0, |sum, value| sum.saturating_add(*value));
    let percentile = |p: f64| {
        let rank = p * (values.len() as f64 + 1.0);
        let below = rank.floor();
        let at = |rank: f64| values[(rank.max(1.0) as usize).min(values.len()) - 1] as f64;
        (at(below) + (rank - below) * (at(below + 1.0) - at(below))) as i64
    };
    let count = i64::try_from(values.len()).unwrap_or(i64::MAX);
    Some(json!({
        "min": min, "max": max, "avg": sum / count, "sum": sum,
        "median": percentile(0.5), "p25": percentile(0.25), "p75": percentile(0.75), "p95": percentile(0.95),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of a vertex of two subtasks, as Flink 2.3 gave them.
    #[test]
    fn two_subtasks_are_summed_up_as_flink_does() {
        let found = summary(vec![43_191, 6_511]).unwrap();
        let expected = json!({
            "min": 6511, "max": 43191, "avg": 24851, "sum": 49702, "median": 24851, "p25": 6511, "p75": 43191, "p95": 43191,
        });
        assert_eq!(found, expected);
        assert_eq!(summary(vec![7]).unwrap()["p95"], 7);
        assert_eq!(summary(Vec::new()), None);
    }
}
