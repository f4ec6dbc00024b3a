//! `/jobs/:jobid/vertices/:vertexid` and what hangs below it, but for metrics.

use std::collections::BTreeMap;

use model::{Matcher, SampleColumns, TimeRange, is_stale};
use serde_json::{Map, Value, json};

use super::answer::Failure;
use super::fields::{Fields, Shape};
use super::io::{self, LOOKBACK_MS, Numbers};
use super::job::state_counts;
use super::view::{Seen, View};
use crate::jobs::{Accumulators, Attempt, Io, Subtask, Subtasks, TaskState, Vertex, hex_id};

/// The series of accumulators that are numbers.
const ACCUMULATOR: &str = "streamgauge_job_accumulator";

/// Metrics of backpressure, in milliseconds per second.
const PRESSURE: [&str; 3] = ["backPressuredTimeMsPerSecond", "idleTimeMsPerSecond", "busyTimeMsPerSecond"];

/// A vertex with its subtasks in their newest attempts.
struct Found {
    vertex: Vertex,
    subtasks: Vec<Subtask>,
}

impl Found {
    fn of(view: &View<'_>, seen: &Seen, id: &str, missing: impl FnOnce() -> String) -> Result<Found, Failure> {
        let vertex = view.vertices(seen)?.into_iter().find(|vertex| hex_id(&vertex.id) == id);
        let vertex = vertex.ok_or_else(|| Failure::not_found(missing()))?;
        let subtasks: Option<Subtasks> = view.of(seen, &vertex.id)?;
        Ok(Found { subtasks: subtasks.map(|all| all.subtasks).unwrap_or_default(), vertex })
    }

    /// As most handlers of Flink say it.
    fn vertex(view: &View<'_>, seen: &Seen, id: &str) -> Result<Found, Failure> {
        Found::of(view, seen, id, || format!("JobVertex {id} not found"))
    }

    /// As those say it that look for accumulators and subtasks.
    fn task(view: &View<'_>, seen: &Seen, id: &str) -> Result<Found, Failure> {
        Found::of(view, seen, id, || format!("No vertex with ID '{id}' exists."))
    }

    fn subtask(&self, index: i64) -> Result<&Subtask, Failure> {
        let found = self.subtasks.iter().find(|subtask| u64::try_from(index) == Ok(subtask.index));
        found.ok_or_else(|| Failure::not_found(format!("Invalid subtask index for vertex {}", hex_id(&self.vertex.id))))
    }
}

/// How long something lasts: until its end, or now; -1 if it did not begin.
pub(super) fn duration(started_ms: Option<i64>, ended_ms: Option<i64>, now_ms: i64) -> i64 {
    started_ms.map_or(-1, |started_ms| ended_ms.unwrap_or(now_ms).saturating_sub(started_ms).max(0))
}

pub(super) fn details(view: &View<'_>, seen: &Seen, id: &str) -> Result<Value, Failure> {
    let found = Found::vertex(view, seen, id)?;
    let numbers = Numbers::read(view, seen, Some(&found.vertex.id))?;
    let ios: Vec<Io> = found.subtasks.iter().map(|subtask| numbers.of(&found.vertex.id, subtask)).collect();
    let entries: Vec<Value> = found
        .subtasks
        .iter()
        .zip(&ios)
        .map(|(subtask, io)| subtask_object(view.shape, seen, subtask, io, true))
        .collect();
    Ok(heading(view.shape, seen, &found.vertex)
        .put("parallelism", found.vertex.parallelism)
        .newer_if("maxParallelism", found.vertex.max_parallelism)
        .put("subtasks", entries)
        .newer("aggregated", io::aggregated(&ios, &all_durations(seen, &found.subtasks)))
        .done())
}

fn heading(shape: Shape, seen: &Seen, vertex: &Vertex) -> Fields {
    Fields::new(shape).put("id", hex_id(&vertex.id)).put("name", vertex.name.as_str()).put("now", seen.now_ms)
}

fn all_durations(seen: &Seen, subtasks: &[Subtask]) -> Vec<Map<String, Value>> {
    subtasks.iter().map(|subtask| durations(seen, subtask)).collect()
}

fn durations(seen: &Seen, subtask: &Subtask) -> Map<String, Value> {
    let durations = subtask.state_durations(seen.now_ms);
    durations.into_iter().map(|(state, ms)| (state.as_str().to_owned(), ms.into())).collect()
}

/// A subtask's attempt. The page gives `host` with its port here and there, and `start_time` beside `start-time`.
fn subtask_object(shape: Shape, seen: &Seen, subtask: &Subtask, io: &Io, with_port: bool) -> Value {
    Fields::new(shape)
        .put("subtask", subtask.index)
        .put("status", shape.task_state(subtask.state))
        .put("attempt", subtask.attempt)
        .page("host", host(subtask, with_port))
        .newer("endpoint", endpoint(subtask))
        .put("start-time", subtask.started_ms.unwrap_or(-1))
        .put("start_time", subtask.started_ms.unwrap_or(-1))
        .put("end-time", subtask.ended_ms.unwrap_or(-1))
        .put("duration", duration(subtask.started_ms, subtask.ended_ms, seen.now_ms))
        .put("metrics", io::metrics(shape, io))
        .newer("taskmanager-id", task_manager(subtask))
        .newer("status-duration", durations(seen, subtask))
        .done()
}

/// Flink's word for a task that is not placed.
const UNASSIGNED: &str = "(unassigned)";

fn endpoint(subtask: &Subtask) -> &str {
    subtask.endpoint.as_deref().unwrap_or(UNASSIGNED)
}

fn host(subtask: &Subtask, with_port: bool) -> &str {
    let endpoint = endpoint(subtask);
    if with_port { endpoint } else { endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host) }
}

fn task_manager(subtask: &Subtask) -> &str {
    subtask.task_manager.as_deref().unwrap_or(UNASSIGNED)
}

pub(super) fn subtask(view: &View<'_>, seen: &Seen, id: &str, index: i64) -> Result<Value, Failure> {
    let found = Found::task(view, seen, id)?;
    let subtask = found.subtask(index)?;
    let numbers = Numbers::read(view, seen, Some(&found.vertex.id))?;
    Ok(subtask_object(view.shape, seen, subtask, &numbers.of(&found.vertex.id, subtask), false))
}

/// One attempt, the newest or one before.
fn find_attempt(view: &View<'_>, seen: &Seen, found: &Found, index: i64, attempt: i64) -> Result<Subtask, Failure> {
    let newest = found.subtask(index)?;
    if u64::try_from(attempt) == Ok(newest.attempt) {
        return Ok(newest.clone());
    }
    let key = crate::jobs::attempt_key(&found.vertex.id, newest.index, u64::try_from(attempt).unwrap_or_default());
    let older: Option<Attempt> = view.of(seen, &key)?;
    let missing =
        || Failure::not_found(format!("Could not find execution attempt number {attempt} of subtask {index}."));
    older.map(|attempt| attempt.subtask).ok_or_else(missing)
}

pub(super) fn attempt(view: &View<'_>, seen: &Seen, id: &str, index: i64, attempt: i64) -> Result<Value, Failure> {
    let found = Found::task(view, seen, id)?;
    let subtask = find_attempt(view, seen, &found, index, attempt)?;
    let numbers = Numbers::read(view, seen, Some(&found.vertex.id))?;
    Ok(subtask_object(view.shape, seen, &subtask, &numbers.of(&found.vertex.id, &subtask), false))
}

pub(super) fn times(view: &View<'_>, seen: &Seen, id: &str) -> Result<Value, Failure> {
    let found = Found::vertex(view, seen, id)?;
    let entry = |subtask: &Subtask| {
        let time = |state: TaskState| subtask.state_times.get(&state).copied().unwrap_or(0);
        let times: Map<String, Value> =
            view.shape.task_states().map(|state| (state.as_str().to_owned(), time(state).into())).collect();
        let since = subtask.state_times.get(&TaskState::Scheduled).copied();
        Fields::new(view.shape)
            .put("subtask", subtask.index)
            .page("host", host(subtask, false))
            .newer("endpoint", endpoint(subtask))
            .put("duration", duration(since, subtask.ended_ms, seen.now_ms))
            .put("timestamps", times)
            .done()
    };
    let entries: Vec<Value> = found.subtasks.iter().map(entry).collect();
    Ok(heading(view.shape, seen, &found.vertex).put("subtasks", entries).done())
}

pub(super) fn task_managers(view: &View<'_>, seen: &Seen, id: &str) -> Result<Value, Failure> {
    let found = Found::vertex(view, seen, id)?;
    let numbers = Numbers::read(view, seen, Some(&found.vertex.id))?;
    let mut groups: BTreeMap<(&str, &str), Vec<&Subtask>> = BTreeMap::new();
    for subtask in &found.subtasks {
        groups.entry((endpoint(subtask), task_manager(subtask))).or_default().push(subtask);
    }
    let of_group = |((endpoint, id), subtasks): ((&str, &str), Vec<&Subtask>)| {
        let ios: Vec<Io> = subtasks.iter().map(|subtask| numbers.of(&found.vertex.id, subtask)).collect();
        let mut counts = BTreeMap::new();
        subtasks.iter().for_each(|subtask| *counts.entry(subtask.state).or_default() += 1);
        let started_ms = subtasks.iter().filter_map(|subtask| subtask.started_ms).min();
        // It has ended when its last one has.
        let ends: Option<Vec<i64>> = subtasks.iter().map(|subtask| subtask.ended_ms).collect();
        let ended_ms = ends.and_then(|ends| ends.into_iter().max());
        let durations: Vec<_> = subtasks.iter().map(|subtask| durations(seen, subtask)).collect();
        Fields::new(view.shape)
            .page("host", endpoint)
            .newer("endpoint", endpoint)
            .put("status", view.shape.task_state(TaskState::together(&counts)))
            .put("start-time", started_ms.unwrap_or(-1))
            .put("end-time", ended_ms.unwrap_or(-1))
            .put("duration", duration(started_ms, ended_ms, seen.now_ms))
            .put("metrics", io::metrics(view.shape, &Io::sum(&ios)))
            .put("status-counts", state_counts(view.shape, &counts))
            .newer("taskmanager-id", id)
            .newer("aggregated", io::aggregated(&ios, &durations))
            .done()
    };
    let entries: Vec<Value> = groups.into_iter().map(of_group).collect();
    Ok(heading(view.shape, seen, &found.vertex).put("taskmanagers", entries).done())
}

pub(super) fn back_pressure(view: &View<'_>, seen: &Seen, id: &str) -> Result<Value, Failure> {
    let deprecated = || Ok(json!({"status": "deprecated"}));
    let vertex = view.vertices(seen)?.into_iter().find(|vertex| hex_id(&vertex.id) == id);
    let Some(vertex) = vertex.filter(|vertex| !vertex.state.has_ended()) else { return deprecated() };
    let mut ratios: BTreeMap<u64, [Option<f64>; PRESSURE.len()]> = BTreeMap::new();
    io::newest(view, seen, Some(&vertex.id), &PRESSURE, |_, index, _, metric, value| {
        ratios.entry(index).or_default()[metric] = Some(value / 1000.0);
    })?;
    let mut worst = 0.0_f64;
    let mut entries = Vec::new();
    for (index, [pressed, idle, busy]) in ratios {
        let Some(ratio) = pressed.filter(|ratio| ratio.is_finite()) else { continue };
        worst = worst.max(ratio);
        let finite = |ratio: Option<f64>| ratio.filter(|ratio| ratio.is_finite());
        entries.push(
            Fields::new(view.shape)
                .put("subtask", index)
                .put("backpressure-level", level(ratio))
                .newer("backpressureLevel", level(ratio))
                .put("ratio", ratio)
                .newer_if("idleRatio", finite(idle))
                .newer_if("busyRatio", finite(busy))
                .done(),
        );
    }
    if entries.is_empty() {
        return deprecated();
    }
    Ok(Fields::new(view.shape)
        .put("status", "ok")
        .put("backpressure-level", level(worst))
        .newer("backpressureLevel", level(worst))
        .put("end-timestamp", seen.now_ms)
        .put("subtasks", entries)
        .done())
}

/// Flink's words for how long of its time a task is held back.
fn level(ratio: f64) -> &'static str {
    match ratio {
        ratio if ratio <= 0.1 => "ok",
        ratio if ratio <= 0.5 => "low",
        _ => "high",
    }
}

pub(super) fn accumulators(view: &View<'_>, seen: &Seen, id: &str) -> Result<Value, Failure> {
    let found = Found::task(view, seen, id)?;
    let list = accumulators_of(view, seen, &found, None)?;
    Ok(json!({"id": id, "user-accumulators": list}))
}

pub(super) fn subtask_accumulators(view: &View<'_>, seen: &Seen, id: &str) -> Result<Value, Failure> {
    let found = Found::task(view, seen, id)?;
    let mut entries = Vec::new();
    for subtask in &found.subtasks {
        let entry = Fields::new(view.shape)
            .put("subtask", subtask.index)
            .put("attempt", subtask.attempt)
            .page("host", host(subtask, false))
            .newer("endpoint", endpoint(subtask))
            .put("user-accumulators", accumulators_of(view, seen, &found, Some(subtask.index))?);
        entries.push(entry.done());
    }
    Ok(json!({"id": id, "parallelism": found.vertex.parallelism, "subtasks": entries}))
}

pub(super) fn attempt_accumulators(
    view: &View<'_>,
    seen: &Seen,
    id: &str,
    index: i64,
    attempt: i64,
) -> Result<Value, Failure> {
    let found = Found::task(view, seen, id)?;
    let subtask = find_attempt(view, seen, &found, index, attempt)?;
    // Those of earlier attempts went with them.
    let is_newest = found.subtask(index)?.attempt == subtask.attempt;
    let list = if is_newest { accumulators_of(view, seen, &found, Some(subtask.index))? } else { Vec::new() };
    let execution = subtask.execution_id.clone();
    let execution = execution.unwrap_or_else(|| hex_id(&format!("{}/{id}/{index}/{attempt}", seen.job.subject.id)));
    Ok(json!({"subtask": index, "attempt": attempt, "id": execution, "user-accumulators": list}))
}

fn accumulators_of(view: &View<'_>, seen: &Seen, found: &Found, subtask: Option<u64>) -> Result<Vec<Value>, Failure> {
    let key = crate::jobs::accumulators_key(&found.vertex.id, subtask);
    let all: Option<Accumulators> = view.of(seen, &key)?;
    all.map_or_else(|| Ok(Vec::new()), |all| accumulator_list(view, seen, &all))
}

/// Accumulators with the values that their series have where the document has none.
pub(super) fn accumulator_list(view: &View<'_>, seen: &Seen, all: &Accumulators) -> Result<Vec<Value>, Failure> {
    let values = if all.accumulators.iter().all(|one| one.value.is_some()) {
        BTreeMap::new()
    } else {
        accumulator_values(view, seen, all)?
    };
    let shown = |one: &crate::jobs::Accumulator| {
        let value = one.value.clone().or_else(|| values.get(&one.name).map(|value| number(&one.kind, *value)));
        json!({"name": one.name, "type": one.kind, "value": value.unwrap_or_else(|| "n/a".to_owned())})
    };
    Ok(all.accumulators.iter().map(shown).collect())
}

fn accumulator_values(view: &View<'_>, seen: &Seen, all: &Accumulators) -> Result<BTreeMap<String, f64>, Failure> {
    let matchers = [
        Matcher::equal(model::METRIC_NAME, ACCUMULATOR),
        Matcher::equal("job_id", &seen.job.subject.id),
        Matcher::equal("task_id", &all.vertex),
        Matcher::equal("subtask_index", all.subtask.map(|index| index.to_string()).unwrap_or_default()),
    ];
    let range = TimeRange { start_ms: seen.now_ms.saturating_sub(LOOKBACK_MS), end_ms: seen.now_ms };
    let set = view.series.select(&view.scope, &matchers, range, view.budget)?;
    let mut values = BTreeMap::new();
    let mut samples = SampleColumns::default();
    for i in 0..set.len() {
        set.newest(i, range, true, view.budget, &mut samples)?;
        let newest = samples.floats().next_back().filter(|sample| !is_stale(sample.value));
        if let (Some(sample), Some(name)) = (newest, set.labels(i)?.get("accumulator")) {
            values.insert(name.to_owned(), sample.value);
        }
    }
    Ok(values)
}

/// As Java shows a number of an accumulator's type.
fn number(kind: &str, value: f64) -> String {
    if kind.starts_with("Double") || kind.starts_with("Average") { format!("{value:?}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_backpressure_are_those_of_flink() {
        assert_eq!([0.0, 0.1, 0.11, 0.5, 0.51].map(level), ["ok", "ok", "low", "low", "high"]);
    }
}
