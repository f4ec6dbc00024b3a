//! `/jobs/:jobid/checkpoints` and what hangs below it.

use serde_json::{Map, Value, json};

use super::answer::Failure;
use super::fields::{Fields, Shape};
use super::view::{Seen, View};
use crate::jobs::{
    Checkpoint, CheckpointSettings, CheckpointSizes, CheckpointState, CheckpointStatistics, CheckpointSubtasks,
    Distribution, RestoredCheckpoint, SubtaskCheckpoint, TaskCheckpoint, checkpoint_key, checkpoint_subtasks_key,
    hex_id,
};

/// Names of percentiles, in the order of [`Distribution::percentiles`].
const PERCENTILES: [&str; 5] = ["p50", "p90", "p95", "p99", "p999"];

/// The measure that newer releases do not measure any more: always 0, and so are its percentiles.
const ALIGNMENT_BUFFERED: &str = "alignment_buffered";

/// Measures of the summary over all checkpoints, and whether the page has them.
const MEASURES: [(&str, bool); 6] = [
    ("state_size", true),
    ("end_to_end_duration", true),
    (ALIGNMENT_BUFFERED, true),
    ("checkpointed_size", false),
    ("processed_data", false),
    ("persisted_data", false),
];

pub(super) fn statistics(view: &View<'_>, seen: &Seen) -> Result<Value, Failure> {
    let statistics: CheckpointStatistics = view.of(seen, "")?.ok_or_else(not_enabled)?;
    let one = |id: Option<i64>| -> Result<Value, Failure> {
        let found = id.map(|id| view.of::<Checkpoint>(seen, &checkpoint_key(id))).transpose()?.flatten();
        Ok(found.map_or(Value::Null, |found| object(view.shape, &found, false)))
    };
    let mut history = Vec::new();
    for id in &statistics.history {
        let found: Option<Checkpoint> = view.of(seen, &checkpoint_key(*id))?;
        history.extend(found.map(|found| object(view.shape, &found, false)));
    }
    let counts = statistics.counts;
    Ok(json!({
        "counts": {
            "restored": counts.restored,
            "total": counts.total,
            "in_progress": counts.in_progress,
            "completed": counts.completed,
            "failed": counts.failed,
        },
        "summary": summary(view.shape, &statistics),
        "latest": {
            "completed": one(statistics.latest_completed)?,
            "savepoint": one(statistics.latest_savepoint)?,
            "failed": one(statistics.latest_failed)?,
            "restored": statistics.restored.as_ref().map(restored),
        },
        "history": history,
    }))
}

fn not_enabled() -> Failure {
    Failure::not_found("Checkpointing has not been enabled.")
}

fn summary(shape: Shape, statistics: &CheckpointStatistics) -> Value {
    let fields = MEASURES.into_iter().fold(Fields::new(shape), |fields, (name, is_of_page)| {
        let found = statistics.summary.get(name).copied().unwrap_or_default();
        let shown = distribution(shape, name, &found);
        if is_of_page { fields.put(name, shown) } else { fields.newer(name, shown) }
    });
    fields.done()
}

fn distribution(shape: Shape, name: &str, found: &Distribution) -> Value {
    let fields = Fields::new(shape).put("min", found.min).put("max", found.max).put("avg", found.avg);
    let unknown = if name == ALIGNMENT_BUFFERED { json!(0.0) } else { json!("NaN") };
    let percentiles = PERCENTILES.iter().enumerate();
    let fields = percentiles.fold(fields, |fields, (i, percentile)| {
        let value = found.percentiles.map_or_else(|| unknown.clone(), |all| json!(all[i]));
        fields.newer(percentile, value)
    });
    fields.done()
}

fn restored(restored: &RestoredCheckpoint) -> Value {
    json!({
        "id": restored.id,
        "restore_timestamp": restored.at_ms,
        "is_savepoint": restored.is_savepoint,
        "external_path": restored.path,
    })
}

/// The class of a checkpoint, which the page writes as `@class`.
fn class(state: CheckpointState) -> &'static str {
    match state {
        CheckpointState::InProgress => "in_progress",
        CheckpointState::Completed => "completed",
        CheckpointState::Failed => "failed",
    }
}

fn object(shape: Shape, checkpoint: &Checkpoint, with_tasks: bool) -> Value {
    let tasks: Map<String, Value> = if with_tasks {
        let tasks = checkpoint.tasks.iter();
        tasks.map(|(vertex, task)| (hex_id(vertex), task_fields(shape, checkpoint.id, task).done())).collect()
    } else {
        Map::new()
    };
    let fields = Fields::new(shape)
        .page("@class", class(checkpoint.state))
        .newer("className", class(checkpoint.state))
        .put("id", checkpoint.id)
        .put("status", checkpoint.state.as_str())
        .put("is_savepoint", checkpoint.is_savepoint)
        .newer("savepointFormat", checkpoint.savepoint_format.as_deref())
        .put("trigger_timestamp", checkpoint.triggered_ms)
        .put("latest_ack_timestamp", checkpoint.latest_ack_ms)
        .put("num_subtasks", checkpoint.subtasks)
        .put("num_acknowledged_subtasks", checkpoint.acknowledged)
        .newer("checkpoint_type", kind(checkpoint))
        .put("tasks", tasks);
    let fields = sizes(fields, &checkpoint.sizes);
    match checkpoint.state {
        CheckpointState::InProgress => fields,
        CheckpointState::Completed => fields
            .put("external_path", checkpoint.path.as_deref())
            .put("discarded", checkpoint.is_discarded.unwrap_or(false)),
        CheckpointState::Failed => fields
            .put("failure_timestamp", checkpoint.failure.as_ref().map(|failure| failure.at_ms))
            .put("failure_message", checkpoint.failure.as_ref().and_then(|failure| failure.message.as_deref())),
    }
    .done()
}

fn kind(checkpoint: &Checkpoint) -> &str {
    let plain = if checkpoint.is_savepoint { "SAVEPOINT" } else { "CHECKPOINT" };
    checkpoint.kind.as_deref().unwrap_or(plain)
}

fn sizes(fields: Fields, sizes: &CheckpointSizes) -> Fields {
    fields
        .newer("checkpointed_size", sizes.checkpointed_bytes.unwrap_or(sizes.state_bytes))
        .put("state_size", sizes.state_bytes)
        .put("end_to_end_duration", sizes.duration_ms)
        .put(ALIGNMENT_BUFFERED, sizes.alignment_buffered_bytes)
        .newer_if("processed_data", sizes.processed_bytes)
        .newer_if("persisted_data", sizes.persisted_bytes)
}

fn task_fields(shape: Shape, id: i64, task: &TaskCheckpoint) -> Fields {
    let fields = Fields::new(shape)
        .put("id", id)
        .put("status", task.state.as_str())
        .put("latest_ack_timestamp", task.latest_ack_ms)
        .put("num_subtasks", task.subtasks)
        .put("num_acknowledged_subtasks", task.acknowledged);
    sizes(fields, &task.sizes)
}

fn find(view: &View<'_>, seen: &Seen, id: i64) -> Result<Checkpoint, Failure> {
    let found = view.of(seen, &checkpoint_key(id))?;
    found.ok_or_else(|| Failure::not_found(format!("Could not find checkpointing statistics for checkpoint {id}.")))
}

pub(super) fn details(view: &View<'_>, seen: &Seen, id: i64) -> Result<Value, Failure> {
    Ok(object(view.shape, &find(view, seen, id)?, true))
}

pub(super) fn subtasks(view: &View<'_>, seen: &Seen, id: i64, vertex: &str) -> Result<Value, Failure> {
    let checkpoint = find(view, seen, id)?;
    let task = checkpoint.tasks.iter().find(|(own, _)| hex_id(own) == vertex);
    let missing = || Failure::not_found(format!("There is no checkpoint statistics for task {vertex}."));
    let (own, task) = task.ok_or_else(missing)?;
    let parts: Option<CheckpointSubtasks> = view.of(seen, &checkpoint_subtasks_key(id, own))?;
    let parts = parts.map(|parts| parts.subtasks).unwrap_or_default();
    let subtasks: Vec<Value> = parts.iter().map(|subtask| subtask_object(view.shape, subtask)).collect();
    let acknowledged: Vec<&SubtaskCheckpoint> = parts.iter().filter(|part| part.ack_ms.is_some()).collect();
    Ok(task_fields(view.shape, id, task)
        .put("summary", subtask_summary(view.shape, &acknowledged))
        .put("subtasks", subtasks)
        .done())
}

fn subtask_object(shape: Shape, subtask: &SubtaskCheckpoint) -> Value {
    let status = if subtask.ack_ms.is_some() { "completed" } else { "pending_or_failed" };
    let fields = Fields::new(shape)
        .page("@class", status)
        .newer("className", status)
        .put("index", subtask.index)
        .put("status", status);
    let Some(ack_ms) = subtask.ack_ms else { return fields.done() };
    let alignment = Fields::new(shape)
        .put("buffered", subtask.alignment.buffered_bytes)
        .put("duration", subtask.alignment.duration_ms)
        .newer_if("processed", subtask.alignment.processed_bytes)
        .newer_if("persisted", subtask.alignment.persisted_bytes);
    fields
        .put("ack_timestamp", ack_ms)
        .put("end_to_end_duration", subtask.sizes.duration_ms)
        .newer("checkpointed_size", subtask.sizes.checkpointed_bytes.unwrap_or(subtask.sizes.state_bytes))
        .put("state_size", subtask.sizes.state_bytes)
        .put("checkpoint", json!({"sync": subtask.sync_ms, "async": subtask.async_ms}))
        .put("alignment", alignment.done())
        .newer_if("start_delay", subtask.start_delay_ms)
        .newer_if("unaligned_checkpoint", subtask.is_unaligned)
        .newer_if("aborted", subtask.is_aborted)
        .done()
}

/// Over the subtasks that have acknowledged. Flink gives no percentiles of subtasks.
fn subtask_summary(shape: Shape, subtasks: &[&SubtaskCheckpoint]) -> Value {
    let over = |name: &str, pick: fn(&SubtaskCheckpoint) -> i64| {
        let values: Vec<i64> = subtasks.iter().map(|subtask| pick(subtask)).collect();
        let sum: i64 = values.iter().fold(0, |sum, value| sum.saturating_add(*value));
        let count = i64::try_from(values.len()).unwrap_or(i64::MAX).max(1);
        let (min, max) = (values.iter().min().copied(), values.iter().max().copied());
        let found = Distribution { min: min.unwrap_or(0), max: max.unwrap_or(0), avg: sum / count, percentiles: None };
        distribution(shape, name, &found)
    };
    let alignment = Fields::new(shape)
        .put("buffered", over(ALIGNMENT_BUFFERED, |s| s.alignment.buffered_bytes))
        .newer("processed", over("processed", |s| s.alignment.processed_bytes.unwrap_or(0)))
        .newer("persisted", over("persisted", |s| s.alignment.persisted_bytes.unwrap_or(0)))
        .put("duration", over("duration", |s| s.alignment.duration_ms));
    let checkpointed = |s: &SubtaskCheckpoint| s.sizes.checkpointed_bytes.unwrap_or(s.sizes.state_bytes);
    Fields::new(shape)
        .newer("checkpointed_size", over("checkpointed_size", checkpointed))
        .put("state_size", over("state_size", |s| s.sizes.state_bytes))
        .put("end_to_end_duration", over("end_to_end_duration", |s| s.sizes.duration_ms))
        .put(
            "checkpoint_duration",
            json!({"sync": over("sync", |s| s.sync_ms), "async": over("async", |s| s.async_ms)}),
        )
        .put("alignment", alignment.done())
        .newer("start_delay", over("start_delay", |s| s.start_delay_ms.unwrap_or(0)))
        .done()
}

pub(super) fn settings(view: &View<'_>, seen: &Seen) -> Result<Value, Failure> {
    let none = || Failure::not_found(format!("Checkpointing is not enabled for this job ({}).", seen.job.hex_id()));
    let settings: CheckpointSettings = view.of(seen, "")?.ok_or_else(none)?;
    Ok(Fields::new(view.shape)
        .kept(&settings.kept)
        .put("mode", settings.mode)
        .put("interval", settings.interval_ms)
        .put("timeout", settings.timeout_ms)
        .put("min_pause", settings.min_pause_ms)
        .put("max_concurrent", settings.max_concurrent)
        .put(
            "externalization",
            json!({"enabled": settings.is_externalized, "delete_on_cancellation": settings.delete_on_cancellation}),
        )
        .done())
}
