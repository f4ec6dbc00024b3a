//! Checkpoints as they are told of: what is not said follows from the rest where it can.

use std::collections::BTreeMap;

use super::{Limits, Told, check_id, wire};
use crate::http::error::Fault;
use crate::jobs::{
    Alignment, Checkpoint, CheckpointFailure, CheckpointSizes, CheckpointState, CheckpointSubtasks, SubtaskCheckpoint,
    TaskCheckpoint,
};

impl Told {
    pub(super) fn checkpoint(&mut self, limits: &Limits, told: wire::Checkpoint) -> Result<(), Fault> {
        limits.names([
            ("checkpoint.kind", &told.kind),
            ("checkpoint.format", &told.format),
            ("checkpoint.path", &told.path),
        ])?;
        let message = told.failure.as_ref().and_then(|failure| failure.message.as_deref()).unwrap_or_default();
        limits.text("checkpoint.failure.message", message)?;
        let (at_ms, has_failed) = (self.push.at_ms, told.state == CheckpointState::Failed);
        let failure = told.failure.as_ref().map(|failure| CheckpointFailure {
            at_ms: failure.at.map_or(at_ms, |at| at.0),
            message: failure.message.clone(),
        });
        let failure = failure.or_else(|| has_failed.then_some(CheckpointFailure { at_ms, message: None }));
        let mut tasks = BTreeMap::new();
        for task in &told.tasks {
            check_id("the vertex id", &task.vertex)?;
            tasks.insert(task.vertex.clone(), task_checkpoint(&told, task));
            if !task.subtasks.is_empty() {
                self.push.checkpoint_parts.push(CheckpointSubtasks {
                    checkpoint: told.id.0,
                    vertex: task.vertex.clone(),
                    subtasks: task.subtasks.iter().map(|part| subtask_checkpoint(told.triggered, part)).collect(),
                });
            }
        }
        let completed_ms = (told.state == CheckpointState::Completed).then_some(at_ms);
        let ack_ms = told.acknowledged.map(|time| time.0).or(completed_ms);
        let sum = |of: fn(&TaskCheckpoint) -> i64| tasks.values().map(of).fold(0, i64::saturating_add);
        let subtasks = told.subtasks.map_or_else(|| sum(|task| task.subtasks), i64::from);
        let acknowledged = match (told.acknowledged_subtasks, told.state) {
            (Some(count), _) => i64::from(count),
            (None, CheckpointState::Completed) => subtasks,
            (None, _) => sum(|task| task.acknowledged),
        };
        self.push.checkpoints.push(Checkpoint {
            id: told.id.0,
            state: told.state,
            is_savepoint: told.savepoint,
            savepoint_format: told.format,
            kind: told.kind,
            triggered_ms: told.triggered.0,
            latest_ack_ms: ack_ms.unwrap_or(-1),
            sizes: sizes(&told.sizes, told.triggered, ack_ms),
            subtasks,
            acknowledged,
            path: told.path,
            is_discarded: told.discarded,
            failure: failure.filter(|_| has_failed),
            tasks,
        });
        Ok(())
    }
}

fn sizes(told: &wire::Sizes, triggered: wire::Time, ack_ms: Option<i64>) -> CheckpointSizes {
    let lasted_ms = ack_ms.map(|ack_ms| ack_ms.saturating_sub(triggered.0).max(0));
    CheckpointSizes {
        duration_ms: told.duration_ms.map(|duration| duration.0).or(lasted_ms).unwrap_or(-1),
        state_bytes: told.state_bytes.0,
        checkpointed_bytes: told.checkpointed_bytes.map(|bytes| bytes.0),
        alignment_buffered_bytes: told.alignment_buffered_bytes.0,
        processed_bytes: told.processed_bytes.map(|bytes| bytes.0),
        persisted_bytes: told.persisted_bytes.map(|bytes| bytes.0),
    }
}

fn task_checkpoint(checkpoint: &wire::Checkpoint, told: &wire::TaskCheckpoint) -> TaskCheckpoint {
    let acks = told.subtasks.iter().filter_map(|subtask| subtask.acknowledged.map(|time| time.0));
    let ack_ms = told.acknowledged.map(|time| time.0).or_else(|| acks.clone().max());
    let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    TaskCheckpoint {
        state: told.state.unwrap_or(checkpoint.state),
        latest_ack_ms: ack_ms.unwrap_or(-1),
        sizes: sizes(&told.sizes, checkpoint.triggered, ack_ms),
        subtasks: whole(told.subtasks.len()),
        acknowledged: told.acknowledged_subtasks.map_or_else(|| whole(acks.count()), i64::from),
    }
}

fn subtask_checkpoint(triggered: wire::Time, told: &wire::SubtaskCheckpoint) -> SubtaskCheckpoint {
    let ack_ms = told.acknowledged.map(|time| time.0);
    SubtaskCheckpoint {
        index: i64::from(told.index),
        ack_ms,
        sizes: sizes(&told.sizes, triggered, ack_ms),
        sync_ms: told.sync_ms.0,
        async_ms: told.async_ms.0,
        alignment: Alignment {
            duration_ms: told.alignment.duration_ms.0,
            buffered_bytes: told.alignment.buffered_bytes.0,
            processed_bytes: told.alignment.processed_bytes.map(|bytes| bytes.0),
            persisted_bytes: told.alignment.persisted_bytes.map(|bytes| bytes.0),
        },
        start_delay_ms: told.start_delay_ms.map(|ms| ms.0),
        is_unaligned: told.unaligned,
        is_aborted: told.aborted,
    }
}
