//! `/jobs/:jobid/checkpoints` and what hangs below it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::json::{Fields, WrongShape, wrong};
use crate::jobs::{
    Alignment, Checkpoint, CheckpointCounts, CheckpointFailure, CheckpointSettings, CheckpointSizes, CheckpointState,
    CheckpointStatistics, CheckpointSubtasks, Distribution, Kept, RestoredCheckpoint, SubtaskCheckpoint,
    TaskCheckpoint,
};

/// `/jobs/:jobid/checkpoints`: the numbers, and the checkpoints in it, each once.
///
/// # Errors
/// [`WrongShape`]; so for all here.
pub fn checkpoints(answer: &Value) -> Result<(CheckpointStatistics, Vec<Checkpoint>), WrongShape> {
    let fields = Fields::of(answer)?;
    let latest = fields.object("latest")?;
    let history = fields.list("history")?;
    let mut all: BTreeMap<i64, Checkpoint> = BTreeMap::new();
    let mut newest = [None; 3];
    for (slot, name) in newest.iter_mut().zip(["completed", "savepoint", "failed"]) {
        if let Some(value) = latest.get(name) {
            let found = checkpoint(value)?;
            *slot = Some(found.id);
            all.insert(found.id, found);
        }
    }
    let mut listed = Vec::new();
    for value in history {
        let found = checkpoint(value)?;
        listed.push(found.id);
        all.insert(found.id, found);
    }
    let counts = fields.object("counts")?;
    let [latest_completed, latest_savepoint, latest_failed] = newest;
    let statistics = CheckpointStatistics {
        counts: CheckpointCounts {
            restored: counts.whole("restored")?,
            total: counts.whole("total")?,
            in_progress: counts.whole("in_progress")?,
            completed: counts.whole("completed")?,
            failed: counts.whole("failed")?,
        },
        summary: summary(fields.object("summary")?)?,
        latest_completed,
        latest_savepoint,
        latest_failed,
        restored: latest.object_if("restored").map(restored).transpose()?,
        history: listed,
    };
    Ok((statistics, all.into_values().collect()))
}

fn summary(summary: Fields<'_>) -> Result<BTreeMap<String, Distribution>, WrongShape> {
    let entry = |(name, value): (&String, &Value)| Ok((name.clone(), distribution(Fields::of(value)?)?));
    summary.entries().map(entry).collect()
}

fn distribution(fields: Fields<'_>) -> Result<Distribution, WrongShape> {
    // A percentile of nothing is the text "NaN".
    let percentile = |name| fields.number_if(name);
    let percentiles: Option<Vec<f64>> = ["p50", "p90", "p95", "p99", "p999"].into_iter().map(percentile).collect();
    Ok(Distribution {
        min: fields.whole("min")?,
        max: fields.whole("max")?,
        avg: fields.whole("avg")?,
        percentiles: percentiles.and_then(|all| all.try_into().ok()),
    })
}

fn restored(fields: Fields<'_>) -> Result<RestoredCheckpoint, WrongShape> {
    Ok(RestoredCheckpoint {
        id: fields.whole("id")?,
        at_ms: fields.whole("restore_timestamp")?,
        is_savepoint: fields.is("is_savepoint"),
        path: fields.text_if("external_path"),
    })
}

fn state(fields: Fields<'_>) -> Result<CheckpointState, WrongShape> {
    CheckpointState::of(&fields.text("status")?).ok_or_else(|| wrong("status", "state of a checkpoint"))
}

/// One checkpoint, from a list (then without tasks) or from `…/details/:checkpointid`.
///
/// # Errors
/// [`WrongShape`].
pub fn checkpoint(value: &Value) -> Result<Checkpoint, WrongShape> {
    let fields = Fields::of(value)?;
    let state = state(fields)?;
    let failed_ms = fields.whole_if("failure_timestamp").filter(|_| state == CheckpointState::Failed);
    let task = |(vertex, value): (&String, &Value)| Ok((vertex.clone(), task(Fields::of(value)?)?));
    let tasks = fields.object_if("tasks").map(|tasks| tasks.entries().map(task).collect());
    Ok(Checkpoint {
        id: fields.whole("id")?,
        state,
        is_savepoint: fields.is("is_savepoint"),
        savepoint_format: fields.text_if("savepointFormat"),
        kind: fields.text_if("checkpoint_type"),
        triggered_ms: fields.whole("trigger_timestamp")?,
        latest_ack_ms: fields.whole("latest_ack_timestamp")?,
        sizes: sizes(fields)?,
        subtasks: fields.whole("num_subtasks")?,
        acknowledged: fields.whole("num_acknowledged_subtasks")?,
        path: fields.text_if("external_path"),
        is_discarded: fields.is_if("discarded"),
        failure: failed_ms.map(|at_ms| CheckpointFailure { at_ms, message: fields.text_if("failure_message") }),
        tasks: tasks.transpose()?.unwrap_or_default(),
    })
}

fn sizes(fields: Fields<'_>) -> Result<CheckpointSizes, WrongShape> {
    Ok(CheckpointSizes {
        duration_ms: fields.whole("end_to_end_duration")?,
        state_bytes: fields.whole("state_size")?,
        checkpointed_bytes: fields.whole_if("checkpointed_size"),
        alignment_buffered_bytes: fields.whole_if("alignment_buffered").unwrap_or(0),
        processed_bytes: fields.whole_if("processed_data"),
        persisted_bytes: fields.whole_if("persisted_data"),
    })
}

fn task(fields: Fields<'_>) -> Result<TaskCheckpoint, WrongShape> {
    Ok(TaskCheckpoint {
        state: state(fields)?,
        latest_ack_ms: fields.whole("latest_ack_timestamp")?,
        sizes: sizes(fields)?,
        subtasks: fields.whole("num_subtasks")?,
        acknowledged: fields.whole("num_acknowledged_subtasks")?,
    })
}

/// `…/details/:checkpointid/subtasks/:vertexid`: the part of each subtask.
///
/// # Errors
/// [`WrongShape`].
pub fn checkpoint_subtasks(answer: &Value, vertex: &str) -> Result<CheckpointSubtasks, WrongShape> {
    let fields = Fields::of(answer)?;
    let subtasks = fields.list("subtasks")?.iter().map(checkpoint_subtask);
    Ok(CheckpointSubtasks {
        checkpoint: fields.whole("id")?,
        vertex: vertex.to_owned(),
        subtasks: subtasks.collect::<Result<_, _>>()?,
    })
}

fn checkpoint_subtask(value: &Value) -> Result<SubtaskCheckpoint, WrongShape> {
    let fields = Fields::of(value)?;
    let index = fields.whole("index")?;
    let Some(ack_ms) = fields.whole_if("ack_timestamp") else {
        return Ok(SubtaskCheckpoint { index, ..SubtaskCheckpoint::default() });
    };
    let (durations, alignment) = (fields.object("checkpoint")?, fields.object("alignment")?);
    Ok(SubtaskCheckpoint {
        index,
        ack_ms: Some(ack_ms),
        sizes: sizes(fields)?,
        sync_ms: durations.whole("sync")?,
        async_ms: durations.whole("async")?,
        alignment: Alignment {
            duration_ms: alignment.whole("duration")?,
            buffered_bytes: alignment.whole("buffered")?,
            processed_bytes: alignment.whole_if("processed"),
            persisted_bytes: alignment.whole_if("persisted"),
        },
        start_delay_ms: fields.whole_if("start_delay"),
        is_unaligned: fields.is_if("unaligned_checkpoint"),
        is_aborted: fields.is_if("aborted"),
    })
}

/// `/jobs/:jobid/checkpoints/config`.
///
/// # Errors
/// [`WrongShape`].
pub fn checkpoint_settings(answer: &Value) -> Result<CheckpointSettings, WrongShape> {
    const TYPED: [&str; 6] = ["mode", "interval", "timeout", "min_pause", "max_concurrent", "externalization"];
    let fields = Fields::of(answer)?;
    let externalization = fields.object("externalization")?;
    Ok(CheckpointSettings {
        mode: fields.text("mode")?,
        interval_ms: fields.whole("interval")?,
        timeout_ms: fields.whole("timeout")?,
        min_pause_ms: fields.whole("min_pause")?,
        max_concurrent: fields.whole("max_concurrent")?,
        is_externalized: externalization.is("enabled"),
        delete_on_cancellation: externalization.is("delete_on_cancellation"),
        kept: Kept(fields.without(&TYPED)),
    })
}
