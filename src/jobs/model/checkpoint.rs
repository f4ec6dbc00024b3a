//! Checkpoints and savepoints, by task and subtask, and the statistics over all of a job.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::kept::Kept;
use super::state::CheckpointState;

/// A checkpoint or savepoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its number within the job.
    pub id: i64,
    /// How far it is.
    pub state: CheckpointState,
    /// Whether a user asked for it.
    pub is_savepoint: bool,
    /// A savepoint's format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savepoint_format: Option<String>,
    /// `CHECKPOINT`, `SAVEPOINT`, `SYNC_SAVEPOINT` or the like, from engines that say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// When it began.
    pub triggered_ms: i64,
    /// When the last subtask so far acknowledged it; -1 if none has.
    pub latest_ack_ms: i64,
    /// Its sizes and times over all tasks.
    pub sizes: CheckpointSizes,
    /// Number of subtasks that take part.
    pub subtasks: i64,
    /// Number of those that have acknowledged.
    pub acknowledged: i64,
    /// Where it lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether it was removed, of a completed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_discarded: Option<bool>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<CheckpointFailure>,
    /// By vertex, once its details were asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<String, TaskCheckpoint>,
}

/// Why a checkpoint failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointFailure {
    /// When.
    pub at_ms: i64,
    /// In words, where the source has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Sizes in bytes and times in milliseconds of a checkpoint, whole or of one task or subtask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointSizes {
    /// From the trigger to the last acknowledgement; -1 if there is none yet.
    pub duration_ms: i64,
    /// The whole state.
    pub state_bytes: i64,
    /// What was written for this checkpoint; equal to the state unless increments are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpointed_bytes: Option<i64>,
    /// Bytes that were held back while barriers were aligned.
    pub alignment_buffered_bytes: i64,
    /// Bytes that were processed while barriers were aligned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed_bytes: Option<i64>,
    /// Bytes in flight that were written with the checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persisted_bytes: Option<i64>,
}

/// The part of one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskCheckpoint {
    /// How far it is.
    pub state: CheckpointState,
    /// When the last subtask so far acknowledged; -1 if none has.
    pub latest_ack_ms: i64,
    /// Over its subtasks.
    pub sizes: CheckpointSizes,
    /// Number of its subtasks.
    pub subtasks: i64,
    /// Number of those that have acknowledged.
    pub acknowledged: i64,
}

/// The parts of a task's subtasks in a checkpoint: a document of its own, as there are many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointSubtasks {
    /// The checkpoint.
    pub checkpoint: i64,
    /// The vertex.
    pub vertex: String,
    /// By index.
    pub subtasks: Vec<SubtaskCheckpoint>,
}

/// The part of one subtask. Without an acknowledgement it waits, and nothing else is known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SubtaskCheckpoint {
    /// Its index.
    pub index: i64,
    /// When it acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_ms: Option<i64>,
    /// Its sizes.
    #[serde(default)]
    pub sizes: CheckpointSizes,
    /// Milliseconds in which it processed nothing.
    #[serde(default)]
    pub sync_ms: i64,
    /// Milliseconds of writing beside its work.
    #[serde(default)]
    pub async_ms: i64,
    /// While barriers were aligned.
    #[serde(default)]
    pub alignment: Alignment,
    /// Milliseconds from the trigger to the first barrier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_delay_ms: Option<i64>,
    /// Whether barriers overtook records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_unaligned: Option<bool>,
    /// Whether it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_aborted: Option<bool>,
}

/// The time in which barriers were aligned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alignment {
    /// Its length in milliseconds.
    pub duration_ms: i64,
    /// Bytes that were held back.
    pub buffered_bytes: i64,
    /// Bytes that were processed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed_bytes: Option<i64>,
    /// Bytes that were written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persisted_bytes: Option<i64>,
}

/// How a job takes checkpoints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckpointSettings {
    /// `exactly_once` or `at_least_once`.
    pub mode: String,
    /// Milliseconds between two; 2^63-1 if there are none.
    pub interval_ms: i64,
    /// Milliseconds after which one is given up.
    pub timeout_ms: i64,
    /// Milliseconds between the end of one and the start of the next.
    pub min_pause_ms: i64,
    /// Most at the same time.
    pub max_concurrent: i64,
    /// Whether they stay when the job ends.
    pub is_externalized: bool,
    /// Whether one that would stay is removed when the job is cancelled.
    pub delete_on_cancellation: bool,
    /// What else the engine says.
    #[serde(default, skip_serializing_if = "Kept::is_empty")]
    pub kept: Kept,
}

/// All checkpoints of a job in numbers. They change with each checkpoint, not with each record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckpointStatistics {
    /// How many there were.
    pub counts: CheckpointCounts,
    /// Of the completed ones, by the name of the measure: `state_size`, `end_to_end_duration`, `alignment_buffered`,
    /// and from newer engines `checkpointed_size`, `processed_data`, `persisted_data`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub summary: BTreeMap<String, Distribution>,
    /// The newest completed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_completed: Option<i64>,
    /// The newest savepoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_savepoint: Option<i64>,
    /// The newest that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_failed: Option<i64>,
    /// The newest that the job was restored from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<RestoredCheckpoint>,
    /// The numbers that the source lists, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<i64>,
}

/// How many checkpoints there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointCounts {
    /// Restores.
    pub restored: i64,
    /// All.
    pub total: i64,
    /// Not done yet.
    pub in_progress: i64,
    /// Whole.
    pub completed: i64,
    /// Given up.
    pub failed: i64,
}

/// How a measure is distributed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// The smallest.
    pub min: i64,
    /// The largest.
    pub max: i64,
    /// The mean, rounded down.
    pub avg: i64,
    /// 50, 90, 95, 99 and 99.9 %, from engines that say; absent also while there is nothing to measure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentiles: Option<[f64; 5]>,
}

/// What a job was restored from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestoredCheckpoint {
    /// Its number.
    pub id: i64,
    /// When.
    pub at_ms: i64,
    /// Whether it was a savepoint.
    pub is_savepoint: bool,
    /// Where it lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}
