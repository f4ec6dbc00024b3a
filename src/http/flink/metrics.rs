//! Every path that ends in `/metrics`: values of series, under the ids that Flink gives them ([`super::metric_id`]): the newest,
//! or over time ([`super::history`]).
//!
//! Whatever is not known has no metrics, and that is an empty list and no error.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::answer::Failure;
use super::history::{Aggregate, Members, Reads};
use super::metric_id::{self, CHECKPOINT_PATH, Family};
use super::parameters::{Parameters, hex_id};
use super::route::OfMetrics;
use super::view::{Seen, View};
use crate::jobs::{Checkpoint, CheckpointStatistics, MetricNames, Version, checkpoint_key};

/// Values by metric id.
type Values<V> = BTreeMap<String, V>;

/// Answers a request at the times that it asks for.
pub(super) fn answer<R: Reads>(
    view: &View<'_>,
    reads: &R,
    of: &OfMetrics,
    parameters: &Parameters,
) -> Result<Value, Failure> {
    match of {
        OfMetrics::JobManager => of_job_manager(view, reads, parameters),
        OfMetrics::TaskManager(id) => of_task_manager(view, reads, id, parameters),
        OfMetrics::TaskManagers => of_task_managers(view, reads, parameters),
        OfMetrics::Jobs => of_jobs(view, reads, parameters),
        OfMetrics::Job(id) => of_job(view, reads, id, parameters),
        OfMetrics::Vertex(job, id) => of_vertex(view, reads, job, id, parameters),
        OfMetrics::Subtasks(job, id) => of_subtasks(view, reads, job, id, parameters),
        OfMetrics::Subtask(job, id, index) => of_subtask(view, reads, job, id, *index, parameters),
        OfMetrics::Watermarks(job, id) => watermarks(view, reads, job, id),
    }
}

/// Values of one thing: `[{"id"}]`, or with `get` `[{"id","value"}]`.
fn plain<R: Reads>(reads: &R, values: &Values<R::Value>, parameters: &Parameters) -> Result<Value, Failure> {
    let asked = parameters.list("get");
    let entry = |(id, value): (&String, &R::Value)| Ok(json!({"id": id, "value": reads.shown(id, value)?}));
    let entries: Vec<Value> = if asked.is_empty() {
        values.keys().map(|id| json!({"id": id})).collect()
    } else {
        let entries = values.iter().filter(|(id, _)| asked.contains(&id.as_str())).map(entry);
        entries.collect::<Result<_, Failure>>()?
    };
    Ok(entries.into())
}

/// How members are put together.
const AGGREGATES: [(&str, Aggregate); 5] = [
    ("min", |values| extreme(values, f64::min)),
    ("max", |values| extreme(values, f64::max)),
    ("avg", average),
    ("sum", |values| values.iter().sum()),
    (SKEW, skew),
];

/// As `Math.min` and `Math.max`: one that is not a number leaves no number.
fn extreme(values: &[f64], of_two: fn(f64, f64) -> f64) -> f64 {
    let of_two = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { of_two(a, b) };
    values.iter().copied().reduce(of_two).unwrap_or(f64::NAN)
}

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The mean distance from the average, in per cent of it.
fn skew(values: &[f64]) -> f64 {
    let average = average(values);
    let distance = values.iter().map(|value| (value - average).abs()).sum::<f64>() / values.len() as f64;
    if average == 0.0 { 0.0 } else { 100.0 * distance / average }
}

/// The aggregate that only newer releases know.
const SKEW: &str = "skew";

/// Values of several members put together: numbers, one field for each aggregate that is asked for.
fn aggregate<R: Reads>(
    knows_skew: bool,
    reads: &R,
    members: &[Values<R::Value>],
    parameters: &Parameters,
) -> Result<Value, Failure> {
    let known = |name: &str| AGGREGATES.iter().find(|(known, _)| *known == name && (name != SKEW || knows_skew));
    let wanted = parameters.list("agg");
    let wanted: Vec<_> = wanted
        .into_iter()
        .map(|name| known(name).ok_or_else(|| Failure::unresolved("query", "agg", name)))
        .collect::<Result<_, _>>()?;
    let asked = parameters.list("get");
    if asked.is_empty() {
        let ids: std::collections::BTreeSet<&String> = members.iter().flat_map(BTreeMap::keys).collect();
        return Ok(ids.into_iter().map(|id| json!({"id": id})).collect::<Vec<_>>().into());
    }
    let mut entries = Vec::new();
    for id in asked {
        if metric_id::is_text(id) {
            continue;
        }
        let values: Vec<&R::Value> = members.iter().filter_map(|member| member.get(id)).collect();
        if values.is_empty() {
            // As Flink does: one that nobody has leaves nothing of the answer.
            return Ok(json!([]));
        }
        if metric_id::is_boolean(id) {
            continue;
        }
        let mut entry = Map::new();
        entry.insert("id".to_owned(), id.into());
        let chosen = AGGREGATES.iter().filter(|(name, _)| known(name).is_some());
        let chosen = chosen.filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|(wanted, _)| wanted == name));
        for (name, of) in chosen {
            entry.insert((*name).to_owned(), reads.together(*of, &values)?);
        }
        entries.push(Value::Object(entry));
    }
    Ok(entries.into())
}

fn of_job_manager<R: Reads>(view: &View<'_>, reads: &R, parameters: &Parameters) -> Result<Value, Failure> {
    let mut all = Values::new();
    for cluster in view.clusters()? {
        let names: Option<Version<MetricNames>> = view.reader.document(&cluster, "", view.at_ms)?;
        let names = names.map(|version| version.document.names).unwrap_or_default();
        let found = reads.values(view, view.now_ms, Family::JobManager, &[], &names)?;
        all.extend(found.into_values().flatten());
    }
    plain(reads, &all, parameters)
}

fn of_task_manager<R: Reads>(view: &View<'_>, reads: &R, id: &str, parameters: &Parameters) -> Result<Value, Failure> {
    let members = task_managers(view, reads)?;
    let none = Values::new();
    plain(reads, members.get(id).unwrap_or(&none), parameters)
}

fn of_task_managers<R: Reads>(view: &View<'_>, reads: &R, parameters: &Parameters) -> Result<Value, Failure> {
    let chosen = parameters.list("taskmanagers");
    let members =
        task_managers(view, reads)?.into_iter().filter(|(id, _)| chosen.is_empty() || chosen.contains(&id.as_str()));
    let members: Vec<Values<R::Value>> = members.map(|(_, values)| values).collect();
    aggregate(view.is_tolerant(None)?, reads, &members, parameters)
}

/// Values by the id of the task manager.
fn task_managers<R: Reads>(view: &View<'_>, reads: &R) -> Result<Members<R::Value>, Failure> {
    let mut members = BTreeMap::new();
    for cluster in view.clusters()? {
        let managers: Vec<Version<crate::jobs::TaskManager>> = view.reader.documents(&cluster, view.at_ms)?;
        let names: Vec<Version<MetricNames>> = view.reader.documents(&cluster, view.at_ms)?;
        let names: Vec<String> = names.into_iter().flat_map(|version| version.document.names).collect();
        let mut found = reads.values(view, view.now_ms, Family::TaskManager, &[], &names)?;
        for manager in managers {
            let id = manager.document.id;
            let values = found.remove(&id).or_else(|| found.remove(&metric_id::sanitized(&id)));
            members.insert(id, values.unwrap_or_default());
        }
    }
    Ok(members)
}

fn of_jobs<R: Reads>(view: &View<'_>, reads: &R, parameters: &Parameters) -> Result<Value, Failure> {
    let mut members = Vec::new();
    let chosen = parameters.list("jobs");
    if chosen.is_empty() {
        for (job, run) in view.runs()? {
            members.push(of_seen(view, reads, &view.seen(job, Some(&run.document))?)?);
        }
    }
    for text in chosen {
        let id = hex_id("jobs", text).map_err(|_| Failure::unresolved("query", "jobs", text))?;
        if let Some(seen) = view.find_job(&id)? {
            members.push(of_seen(view, reads, &seen)?);
        }
    }
    let mut answer = aggregate(view.is_tolerant(None)?, reads, &members, parameters)?;
    // A text has no course.
    let lists_ids = parameters.list("get").is_empty() && !R::IS_PAST;
    if let Some(ids) = answer.as_array_mut().filter(|ids| lists_ids && !ids.is_empty()) {
        ids.push(json!({"id": CHECKPOINT_PATH}));
    }
    Ok(answer)
}

fn of_job<R: Reads>(view: &View<'_>, reads: &R, id: &str, parameters: &Parameters) -> Result<Value, Failure> {
    let Some(seen) = view.find_job(id)? else { return Ok(json!([])) };
    let values = of_seen(view, reads, &seen)?;
    let mut entries = plain(reads, &values, parameters)?;
    let asked = parameters.list("get");
    if let Some(entries) = entries.as_array_mut().filter(|_| !values.is_empty() && !R::IS_PAST) {
        if asked.is_empty() {
            entries.push(json!({"id": CHECKPOINT_PATH}));
        } else if asked.contains(&CHECKPOINT_PATH) {
            entries.push(json!({"id": CHECKPOINT_PATH, "value": checkpoint_path(view, &seen)?}));
        }
    }
    Ok(entries)
}

/// The one metric that is a text; without a checkpoint it is Flink's word for that.
fn checkpoint_path(view: &View<'_>, seen: &Seen) -> Result<String, Failure> {
    let statistics: Option<CheckpointStatistics> = view.of(seen, "")?;
    let newest = statistics.and_then(|statistics| statistics.latest_completed);
    let newest = newest.map(|id| view.of::<Checkpoint>(seen, &checkpoint_key(id))).transpose()?.flatten();
    Ok(newest.and_then(|checkpoint| checkpoint.path).unwrap_or_else(|| "n/a".to_owned()))
}

/// Metrics of a job as a whole. One that has ended has none any more.
fn of_seen<R: Reads>(view: &View<'_>, reads: &R, seen: &Seen) -> Result<Values<R::Value>, Failure> {
    if !R::IS_PAST && has_ended(view, seen)? {
        return Ok(Values::new());
    }
    let names = names(view, seen, "")?;
    let of_job = [("job_id", seen.job.subject.id.as_str())];
    let found = reads.values(view, seen.now_ms, Family::Job, &of_job, &names)?;
    Ok(found.into_values().flatten().filter(|(id, _)| !metric_id::is_text(id)).collect())
}

fn has_ended(view: &View<'_>, seen: &Seen) -> Result<bool, Failure> {
    let run: Option<crate::jobs::Run> = view.of(seen, "")?;
    Ok(run.is_none_or(|run| run.state.has_ended()))
}

fn names(view: &View<'_>, seen: &Seen, of: &str) -> Result<Vec<String>, Failure> {
    let names: Option<MetricNames> = view.of(seen, of)?;
    Ok(names.map(|names| names.names).unwrap_or_default())
}

/// Values of a vertex by subtask.
fn by_subtask<R: Reads>(
    view: &View<'_>,
    reads: &R,
    job: &str,
    vertex: &str,
) -> Result<BTreeMap<u64, Values<R::Value>>, Failure> {
    let Some(seen) = view.find_job(job)? else { return Ok(BTreeMap::new()) };
    let found = view.vertices(&seen)?.into_iter().find(|found| crate::jobs::hex_id(&found.id) == vertex);
    let Some(found) = found else { return Ok(BTreeMap::new()) };
    if !R::IS_PAST && has_ended(view, &seen)? {
        return Ok(BTreeMap::new());
    }
    let names = names(view, &seen, &found.id)?;
    let of_vertex = [("job_id", seen.job.subject.id.as_str()), ("task_id", found.id.as_str())];
    let members = reads.values(view, seen.now_ms, Family::Task, &of_vertex, &names)?;
    Ok(members.into_iter().filter_map(|(index, values)| Some((index.parse().ok()?, values))).collect())
}

/// Metrics of a vertex: those of its subtasks, each id behind the subtask's index.
fn of_vertex<R: Reads>(
    view: &View<'_>,
    reads: &R,
    job: &str,
    vertex: &str,
    parameters: &Parameters,
) -> Result<Value, Failure> {
    let members = by_subtask(view, reads, job, vertex)?;
    let behind = |(index, values): (u64, Values<R::Value>)| {
        values.into_iter().map(move |(id, value)| (format!("{index}.{id}"), value))
    };
    plain(reads, &members.into_iter().flat_map(behind).collect(), parameters)
}

fn of_subtasks<R: Reads>(
    view: &View<'_>,
    reads: &R,
    job: &str,
    vertex: &str,
    parameters: &Parameters,
) -> Result<Value, Failure> {
    let chosen = parameters.text("subtasks").map(ranges);
    let is_chosen = |index: u64| chosen.as_ref().is_none_or(|ranges| ranges.iter().any(|range| range.contains(&index)));
    let members = by_subtask(view, reads, job, vertex)?.into_iter().filter(|(index, _)| is_chosen(*index));
    let members: Vec<Values<R::Value>> = members.map(|(_, values)| values).collect();
    aggregate(view.is_tolerant(Some(job))?, reads, &members, parameters)
}

/// `1,3,5-9`. What cannot be read selects nothing.
fn ranges(text: &str) -> Vec<std::ops::RangeInclusive<u64>> {
    let range = |part: &str| match part.split_once('-') {
        Some((from, to)) => Some(from.trim().parse().ok()?..=to.trim().parse().ok()?),
        None => part.trim().parse().ok().map(|index| index..=index),
    };
    text.split(',').filter_map(range).collect()
}

fn of_subtask<R: Reads>(
    view: &View<'_>,
    reads: &R,
    job: &str,
    vertex: &str,
    index: i64,
    parameters: &Parameters,
) -> Result<Value, Failure> {
    let members = by_subtask(view, reads, job, vertex)?;
    let values = u64::try_from(index).ok().and_then(|index| members.get(&index)).cloned();
    plain(reads, &values.unwrap_or_default(), parameters)
}

/// The watermarks of a vertex, an endpoint of 2.x.
fn watermarks<R: Reads>(view: &View<'_>, reads: &R, job: &str, vertex: &str) -> Result<Value, Failure> {
    const WATERMARK: &str = "currentInputWatermark";
    let members = by_subtask(view, reads, job, vertex)?;
    let mut entries = Vec::new();
    for (index, values) in members {
        if let Some(value) = values.get(WATERMARK) {
            entries.push(json!({"id": format!("{index}.{WATERMARK}"), "value": reads.shown(WATERMARK, value)?}));
        }
    }
    Ok(entries.into())
}

#[cfg(test)]
mod tests {
    use super::super::history::Newest;
    use super::*;

    fn parameters(query: &str) -> Parameters {
        Parameters::of(&format!("/x?{query}").parse().unwrap()).unwrap()
    }

    fn members() -> Vec<Values<f64>> {
        let member = |records: f64, pressed: f64| {
            Values::from([("numRecordsIn".to_owned(), records), ("isBackPressured".to_owned(), pressed)])
        };
        vec![member(6511.0, 0.0), member(43192.0, 1.0)]
    }

    /// The numbers are those that Flink 2.3 gave for the same two values.
    #[test]
    fn members_are_put_together_as_flink_does() {
        let found = aggregate(true, &Newest, &members(), &parameters("get=numRecordsIn")).unwrap();
        let expected = json!([{
            "id": "numRecordsIn", "min": 6511.0, "max": 43192.0, "avg": 24851.5, "sum": 49703.0,
            "skew": 73.80037422288393,
        }]);
        assert_eq!(found, expected);
        let found = aggregate(true, &Newest, &members(), &parameters("get=numRecordsIn&agg=max,min")).unwrap();
        assert_eq!(found, json!([{"id": "numRecordsIn", "min": 6511.0, "max": 43192.0}]));
        let page = aggregate(false, &Newest, &members(), &parameters("get=numRecordsIn")).unwrap();
        assert_eq!(page[0].get("skew"), None);
        assert_eq!(skew(&[0.0, 0.0]), 0.0);
    }

    /// Jackson writes what is not finite as a text.
    #[test]
    fn what_is_not_finite_is_a_text() {
        let of = |values: &[f64]| {
            let members: Vec<_> = values.iter().map(|value| Values::from([("m".to_owned(), *value)])).collect();
            aggregate(true, &Newest, &members, &parameters("get=m&agg=min,max,sum")).unwrap()
        };
        let texts = |text: &str| json!([{"id": "m", "min": text, "max": text, "sum": text}]);
        assert_eq!(of(&[1.0, f64::NAN, 2.0]), texts("NaN"));
        assert_eq!(of(&[f64::INFINITY]), texts("Infinity"));
        assert_eq!(
            of(&[f64::NEG_INFINITY, 1.0]),
            json!([{"id": "m", "min": "-Infinity", "max": 1.0, "sum": "-Infinity"}])
        );
    }

    #[test]
    fn what_nobody_has_empties_the_answer_and_what_is_no_number_is_left_out() {
        let of = |query| aggregate(true, &Newest, &members(), &parameters(query)).unwrap();
        assert_eq!(of("get=numRecordsIn,nope&agg=sum"), json!([]));
        assert_eq!(of("get=isBackPressured,numRecordsIn&agg=sum"), json!([{"id": "numRecordsIn", "sum": 49703.0}]));
        assert_eq!(of("agg=sum"), json!([{"id": "isBackPressured"}, {"id": "numRecordsIn"}]));
        let refused = aggregate(true, &Newest, &members(), &parameters("get=x&agg=median"));
        assert_eq!(refused, Err(Failure::unresolved("query", "agg", "median")));
        let refused = aggregate(false, &Newest, &members(), &parameters("get=x&agg=skew"));
        assert_eq!(refused, Err(Failure::unresolved("query", "agg", "skew")));
    }

    #[test]
    fn ranges_of_subtasks_that_cannot_be_read_select_nothing() {
        let chosen = |text: &str| {
            let ranges = ranges(text);
            (0..12).filter(|index| ranges.iter().any(|range| range.contains(index))).collect::<Vec<_>>()
        };
        assert_eq!(chosen("1,3,5-9"), [1, 3, 5, 6, 7, 8, 9]);
        assert!(chosen("a-b,1-0,,-2,3-").is_empty());
    }
}
