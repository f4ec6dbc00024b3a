//! `/jobs/:jobid` and what hangs below it, but for vertices and checkpoints.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::answer::Failure;
use super::fields::{Fields, Shape};
use super::io::{self, Numbers};
use super::overview::{kind, stale};
use super::parameters::Parameters;
use super::vertex;
use super::view::{Seen, View};
use crate::jobs::{
    Accumulators, Failure as JobFailure, Io, JobState, Outcome, Plan, PlanNode, Run, Settings, Subtasks, TaskState,
    Vertex, hex_id,
};

/// Failures that one answer lists, unless asked otherwise; as Flink.
const EXCEPTIONS_DEFAULT: usize = 20;

fn run(view: &View<'_>, seen: &Seen) -> Result<Run, Failure> {
    view.of(seen, "")?.ok_or_else(|| Failure::no_job(&seen.job.hex_id()))
}

pub(super) fn details(view: &View<'_>, seen: &Seen) -> Result<Value, Failure> {
    let (run, shape, id) = (run(view, seen)?, view.shape, seen.job.hex_id());
    let vertices = view.vertices(seen)?;
    let numbers = Numbers::read(view, seen, None)?;
    let subtasks: Vec<Subtasks> = view.all_of(seen)?;
    let entries: Vec<Value> = vertices.iter().map(|v| entry(shape, seen, v, &subtasks, &numbers)).collect();
    let mut counts = BTreeMap::new();
    vertices.iter().for_each(|v| *counts.entry(v.state).or_default() += 1);
    let fields = Fields::new(shape)
        .put("jid", id.as_str())
        .newer("application-id", run.application_id.as_deref().unwrap_or(&id))
        .put("name", run.name.as_str())
        .put("isStoppable", run.is_stoppable)
        .put("state", shape.job_state(run.state))
        .newer("job-type", kind(&run))
        .newer_if("schedulerType", run.scheduler.as_deref())
        .put("start-time", run.started_ms)
        .put("end-time", run.ended_ms.unwrap_or(-1))
        .put("duration", run.ended_ms.unwrap_or(seen.now_ms).saturating_sub(run.started_ms).max(0))
        .newer_if("maxParallelism", run.max_parallelism)
        .put("now", seen.now_ms)
        .put("timestamps", state_times(shape, &run))
        .put("vertices", entries)
        .put("status-counts", state_counts(shape, &counts))
        .put("plan", plan_object(view, seen, &run)?)
        .newer("pending-operators", run.pending_operators);
    Ok(stale(fields, seen).done())
}

fn state_times(shape: Shape, run: &Run) -> Map<String, Value> {
    let time = |state: JobState| run.state_times.get(&state).copied().unwrap_or(0);
    shape.job_states().map(|state| (state.as_str().to_owned(), time(state).into())).collect()
}

/// One field for each state of tasks.
pub(super) fn state_counts(shape: Shape, counts: &BTreeMap<TaskState, u64>) -> Map<String, Value> {
    let count = |state: TaskState| counts.get(&state).copied().unwrap_or(0);
    shape.task_states().map(|state| (state.as_str().to_owned(), count(state).into())).collect()
}

fn entry(shape: Shape, seen: &Seen, vertex: &Vertex, subtasks: &[Subtasks], numbers: &Numbers) -> Value {
    let io = vertex.totals.unwrap_or_else(|| {
        let of_vertex = subtasks.iter().find(|all| all.vertex == vertex.id);
        let parts: Vec<_> =
            of_vertex.into_iter().flat_map(|all| &all.subtasks).map(|s| numbers.of(&vertex.id, s)).collect();
        // A vertex of which no subtask is known is not one in which nothing happened.
        if parts.is_empty() { Default::default() } else { Io::sum(&parts) }
    });
    Fields::new(shape)
        .put("id", hex_id(&vertex.id))
        .newer_if("slotSharingGroupId", vertex.slot_sharing_group.as_deref())
        .put("name", vertex.name.as_str())
        .newer_if("maxParallelism", vertex.max_parallelism)
        .put("parallelism", vertex.parallelism)
        .put("status", shape.task_state(vertex.state))
        .put("start-time", vertex.started_ms.unwrap_or(-1))
        .put("end-time", vertex.ended_ms.unwrap_or(-1))
        .put("duration", vertex::duration(vertex.started_ms, vertex.ended_ms, seen.now_ms))
        .put("tasks", state_counts(shape, &vertex.tasks))
        .put("metrics", io::metrics(shape, &io))
        .done()
}

pub(super) fn status(view: &View<'_>, seen: &Seen) -> Result<Value, Failure> {
    Ok(json!({"status": view.shape.job_state(run(view, seen)?.state)}))
}

pub(super) fn plan(view: &View<'_>, seen: &Seen) -> Result<Value, Failure> {
    Ok(json!({"plan": plan_object(view, seen, &run(view, seen)?)?}))
}

fn plan_object(view: &View<'_>, seen: &Seen, run: &Run) -> Result<Value, Failure> {
    let plan: Plan = view.of(seen, "")?.unwrap_or_default();
    let nodes: Vec<Value> = plan.nodes.iter().map(|node| node_object(view.shape, node)).collect();
    Ok(Fields::new(view.shape)
        .put("jid", seen.job.hex_id())
        .put("name", run.name.as_str())
        .newer("type", plan.kind.map_or(kind(run), |kind| kind.as_str()))
        .put("nodes", nodes)
        .done())
}

fn node_object(shape: Shape, node: &PlanNode) -> Value {
    let fields = Fields::new(shape)
        .put("id", hex_id(&node.id))
        .put("parallelism", node.parallelism)
        .put("operator", node.operator.as_str())
        .put("operator_strategy", node.strategy.as_str())
        .put("description", node.description.as_str())
        .put("optimizer_properties", Value::Object(node.optimizer_properties.0.clone()));
    if node.inputs.is_empty() {
        return fields.done();
    }
    let input = |edge: &crate::jobs::Edge| {
        let mut input = Map::new();
        input.insert("num".to_owned(), edge.number.into());
        input.insert("id".to_owned(), hex_id(&edge.from).into());
        let named = [("ship_strategy", &edge.ship_strategy), ("exchange", &edge.exchange)];
        let known = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.as_deref()?.into())));
        input.extend(known);
        input.extend(edge.kept.0.clone());
        Value::Object(input)
    };
    fields.put("inputs", node.inputs.iter().map(input).collect::<Vec<_>>()).done()
}

pub(super) fn config(view: &View<'_>, seen: &Seen) -> Result<Value, Failure> {
    let name = run(view, seen)?.name;
    let fields = Fields::new(view.shape).put("jid", seen.job.hex_id()).put("name", name);
    let Some(settings): Option<Settings> = view.of(seen, "")? else {
        // A job that told nothing of its settings has none to show; the object is there for those who look into it.
        return Ok(fields.put("execution-config", execution(view.shape, &Settings::default())).done());
    };
    Ok(fields.put("execution-config", execution(view.shape, &settings)).done())
}

fn execution(shape: Shape, settings: &Settings) -> Value {
    let user: Map<String, Value> =
        settings.user.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    Fields::new(shape)
        .page("execution-mode", settings.execution_mode.as_deref().unwrap_or("PIPELINED"))
        .put("restart-strategy", settings.restart_strategy.as_str())
        .put("job-parallelism", settings.parallelism)
        .put("object-reuse-mode", settings.object_reuse)
        .put("user-config", user)
        .done()
}

pub(super) fn exceptions(view: &View<'_>, seen: &Seen, parameters: &Parameters) -> Result<Value, Failure> {
    let limit = parameters.number("maxExceptions")?.unwrap_or(EXCEPTIONS_DEFAULT);
    let mut failures: Vec<JobFailure> = view.all_of(seen)?;
    failures.sort_by_key(|failure| std::cmp::Reverse(failure.at_ms));
    let root = failures.first().cloned();
    let is_truncated = failures.len() > limit || run(view, seen)?.are_failures_truncated;
    failures.truncate(limit);
    let entries: Vec<Value> = failures.iter().map(exception).collect();
    let with_task = failures.iter().flat_map(|failure| std::iter::once(failure).chain(&failure.concurrent));
    let all: Vec<Value> = with_task.filter(|failure| failure.task.is_some()).map(page_exception).collect();
    Ok(Fields::new(view.shape)
        .page("root-exception", root.as_ref().map(|failure| failure.stack_trace.as_str()))
        .page("timestamp", root.as_ref().map(|failure| failure.at_ms))
        .page("all-exceptions", all)
        .page("truncated", is_truncated)
        .newer("exceptionHistory", json!({"entries": entries, "truncated": is_truncated}))
        .done())
}

/// A failure as 2.x shows it.
fn exception(failure: &JobFailure) -> Value {
    let mut shown = exception_alone(failure);
    let others: Vec<Value> = failure.concurrent.iter().map(exception_alone).map(Value::Object).collect();
    shown.insert("concurrentExceptions".to_owned(), others.into());
    Value::Object(shown)
}

fn exception_alone(failure: &JobFailure) -> Map<String, Value> {
    let labels: Map<String, Value> = failure.labels.iter().map(|(n, v)| (n.clone(), v.as_str().into())).collect();
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    put("exceptionName", failure.name.as_deref().into());
    put("stacktrace", failure.stack_trace.as_str().into());
    put("timestamp", failure.at_ms.into());
    put("failureLabels", labels.into());
    put("taskName", failure.task.as_deref().into());
    put("endpoint", failure.endpoint.as_deref().into());
    put("taskManagerId", failure.task_manager.as_deref().into());
    shown
}

/// A failure of a task as the page shows it.
fn page_exception(failure: &JobFailure) -> Value {
    json!({
        "exception": failure.stack_trace,
        "task": failure.task,
        "location": failure.endpoint,
        "timestamp": failure.at_ms,
    })
}

pub(super) fn execution_result(view: &View<'_>, seen: &Seen) -> Result<Value, Failure> {
    let run = run(view, seen)?;
    let Some(ended_ms) = run.ended_ms else { return Ok(json!({"status": {"id": "IN_PROGRESS"}})) };
    let outcome: Option<Outcome> = view.of(seen, "")?;
    let status = match run.state {
        JobState::Finished => "SUCCEEDED",
        JobState::Canceled => "CANCELED",
        JobState::Failed => "FAILED",
        _ => "UNKNOWN",
    };
    let results: Map<String, Value> =
        outcome.iter().flat_map(|o| &o.accumulator_results).map(|(n, v)| (n.clone(), v.as_str().into())).collect();
    let mut fields = Fields::new(view.shape)
        .put("id", seen.job.hex_id())
        .newer("name", run.name.as_str())
        .newer("application-id", run.application_id.clone().unwrap_or_else(|| seen.job.hex_id()))
        .put("application-status", outcome.as_ref().map_or(status, |outcome| outcome.status.as_str()))
        .put("accumulator-results", results)
        .put(
            "net-runtime",
            outcome.as_ref().map_or(ended_ms.saturating_sub(run.started_ms), |outcome| outcome.runtime_ms),
        )
        .newer("start-time", run.started_ms)
        .newer("end-time", ended_ms);
    if let Some(class) = outcome.as_ref().and_then(|outcome| outcome.failure_class.as_deref()) {
        let trace = outcome.as_ref().and_then(|outcome| outcome.failure_stack_trace.as_deref());
        let serialized = outcome.as_ref().and_then(|outcome| outcome.failure_serialized.as_deref());
        fields = fields
            .put("failure-cause", json!({"class": class, "stack-trace": trace, "serialized-throwable": serialized}));
    }
    Ok(json!({"status": {"id": "COMPLETED"}, "job-execution-result": fields.done()}))
}

pub(super) fn accumulators(view: &View<'_>, seen: &Seen) -> Result<Value, Failure> {
    run(view, seen)?;
    let all: Vec<Accumulators> = view.all_of(seen)?;
    // A source that does not put them together for the job has them by vertex.
    let of_job = all.iter().any(|one| one.vertex.is_empty());
    let mut merged = Vec::new();
    for one in all.iter().filter(|one| one.subtask.is_none() && one.vertex.is_empty() == of_job) {
        merged.extend(vertex::accumulator_list(view, seen, one)?);
    }
    Ok(json!({
        "job-accumulators": [],
        "user-task-accumulators": merged,
        "serialized-user-task-accumulators": {},
    }))
}
