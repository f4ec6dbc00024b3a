//! `/jobs` and `/jobs/overview`: all jobs in few words.

use serde_json::{Map, Value, json};

use super::answer::Failure;
use super::fields::{Fields, Shape};
use super::view::{Seen, View};
use crate::jobs::{JobKind, Known, Run, TaskState, Version};

pub(super) fn ids(view: &View<'_>) -> Result<Value, Failure> {
    let id = |(job, run): (Known, Version<Run>)| json!({"id": job.hex_id(), "status": view.shape.job_state(run.document.state)});
    let jobs: Vec<Value> = newest_first(view)?.into_iter().map(id).collect();
    Ok(json!({"jobs": jobs}))
}

pub(super) fn overview(view: &View<'_>) -> Result<Value, Failure> {
    let mut jobs = Vec::new();
    for (job, run) in newest_first(view)? {
        let seen = view.seen(job, Some(&run.document))?;
        jobs.push(entry(view.shape, &seen, &run));
    }
    Ok(json!({"jobs": jobs}))
}

/// All jobs, the one that began last first.
fn newest_first(view: &View<'_>) -> Result<Vec<(Known, Version<Run>)>, Failure> {
    let mut runs = view.runs()?;
    runs.sort_by_key(|(_, run)| std::cmp::Reverse(run.document.started_ms));
    Ok(runs)
}

fn entry(shape: Shape, seen: &Seen, version: &Version<Run>) -> Value {
    let run = &version.document;
    let changed_ms = run.changed_ms.unwrap_or(version.from_ms);
    let fields = Fields::new(shape)
        .put("jid", seen.job.hex_id())
        .put("name", run.name.as_str())
        .newer("jobType", kind(run))
        .newer_if("schedulerType", run.scheduler.as_deref())
        .put("start-time", run.started_ms)
        .put("end-time", run.ended_ms.unwrap_or(-1))
        .put("duration", run.ended_ms.unwrap_or(seen.now_ms).saturating_sub(run.started_ms).max(0))
        .put("state", shape.job_state(run.state))
        .put("last-modification", changed_ms)
        .put("tasks", tasks(shape, run))
        .newer("pending-operators", run.pending_operators);
    stale(fields, seen).done()
}

/// The word for what a job does; one that nobody named is a stream, as everything was before there were words.
pub(super) fn kind(run: &Run) -> &'static str {
    run.kind.unwrap_or(JobKind::Streaming).as_str()
}

/// A field of our own: nobody has heard of the job since its cluster was lost.
pub(super) fn stale(fields: Fields, seen: &Seen) -> Fields {
    if seen.is_stale { fields.newer("stale-since", seen.now_ms) } else { fields }
}

fn tasks(shape: Shape, run: &Run) -> Map<String, Value> {
    let count = |state: TaskState| run.tasks.get(&state).copied().unwrap_or(0);
    let mut tasks = Map::new();
    tasks.insert("total".to_owned(), run.tasks.values().sum::<u64>().into());
    tasks.extend(shape.task_states().map(|state| (state.as_str().to_ascii_lowercase(), count(state).into())));
    tasks
}
