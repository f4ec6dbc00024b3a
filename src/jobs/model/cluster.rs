//! Clusters and their task managers.

use serde::{Deserialize, Serialize};

use super::kept::Kept;

/// A cluster as a whole. When nobody answers, its jobs are what they were last known to be, and stale.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Whether it answers.
    pub is_reachable: bool,
    /// The engine's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The short commit of the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// What the engine's own page is told (Flink's `/config`).
    #[serde(default, skip_serializing_if = "Kept::is_empty")]
    pub page: Kept,
    /// The configuration, in the source's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configuration: Vec<(String, String)>,
}

/// A task manager or worker. The time of its last heartbeat and the use of its memory are series.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskManager {
    /// Its id.
    pub id: String,
    /// Its address inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The port for records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_port: Option<i64>,
    /// Its slots.
    pub slots: i64,
    /// Slots that nobody uses.
    pub free_slots: i64,
    /// Number of cores, where known; as are the three below, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<i64>,
    /// Memory of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical_memory_bytes: Option<i64>,
    /// Largest heap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_memory_bytes: Option<i64>,
    /// Memory that the engine manages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_memory_bytes: Option<i64>,
    /// What else the engine says (resources, memory configuration).
    #[serde(default, skip_serializing_if = "Kept::is_empty")]
    pub kept: Kept,
}

/// The metrics that a source lists for something, by its own names.
///
/// Series have names in which dots and other characters became underscores; with this list a view finds the way back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricNames {
    /// What has them: a vertex by its id, or, empty, the subject itself (a job, or a cluster's master); a task manager of
    /// a cluster by its id.
    pub of: String,
    /// The names, sorted.
    pub names: Vec<String>,
}
