//! One run of a job: its state and what it was started with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::state::{JobKind, JobState, TaskState};

/// A job as a whole. Its id is that of its subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The name; runs of one name belong together.
    pub name: String,
    /// What it does.
    pub state: JobState,
    /// When it began, in milliseconds since 1970, as all times here.
    pub started_ms: i64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<i64>,
    /// When it or one of its tasks last changed state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_ms: Option<i64>,
    /// When it last came into each state.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub state_times: BTreeMap<JobState, i64>,
    /// Number of its subtasks in each state.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<TaskState, u64>,
    /// Whether its input ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<JobKind>,
    /// Largest parallelism it can be scaled to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallelism: Option<i64>,
    /// Whether it can be stopped without a savepoint.
    #[serde(default)]
    pub is_stoppable: bool,
    /// The scheduler's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<String>,
    /// The application that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_id: Option<String>,
    /// Operators whose place in the graph is not decided yet.
    #[serde(default)]
    pub pending_operators: u64,
    /// Its id inside its engine, where that is not the public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_id: Option<String>,
    /// Since when its cluster, which answers, does not know it any more, although nobody saw it end: it is stale then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_ms: Option<i64>,
    /// True if the source shows fewer failures than there were.
    #[serde(default)]
    pub are_failures_truncated: bool,
}

impl Run {
    /// A run of which nothing else is known.
    pub fn new(name: impl Into<String>, state: JobState, started_ms: i64) -> Run {
        Run {
            name: name.into(),
            state,
            started_ms,
            ended_ms: None,
            changed_ms: None,
            state_times: BTreeMap::new(),
            tasks: BTreeMap::new(),
            kind: None,
            max_parallelism: None,
            is_stoppable: false,
            scheduler: None,
            application_id: None,
            pending_operators: 0,
            engine_id: None,
            lost_ms: None,
            are_failures_truncated: false,
        }
    }
}

/// What a job gave back at its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The source's word for how it went (`SUCCEEDED`, `FAILED`, `CANCELED`).
    pub status: String,
    /// Milliseconds that it ran.
    pub runtime_ms: i64,
    /// Results of its accumulators, serialized by the engine, in base 64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub accumulator_results: BTreeMap<String, String>,
    /// Why it failed: the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_class: Option<String>,
    /// Why it failed: the stack trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_stack_trace: Option<String>,
    /// Why it failed: serialized by the engine, in base 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_serialized: Option<String>,
}

/// What a job was started with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// In words.
    pub restart_strategy: String,
    /// The default parallelism of its operators; -1 is the cluster's.
    pub parallelism: i64,
    /// Whether records are reused between operators of one task.
    pub object_reuse: bool,
    /// `PIPELINED` or `BATCH`, from engines that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_mode: Option<String>,
    /// The user's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub user: BTreeMap<String, String>,
}
