//! Why jobs fail.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An exception that ended an attempt or the job. Each is a document of its own, so that none is lost when the source
/// forgets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// When.
    pub at_ms: i64,
    /// The exception's class, where the source says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The whole text.
    pub stack_trace: String,
    /// The task that failed, such as `score (1/2) - execution #0`; absent for a failure of the job as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Where it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// On which task manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_manager: Option<String>,
    /// What the engine's classifiers say of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Others that came with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concurrent: Vec<Failure>,
}

impl Failure {
    /// Tells failures of one job apart: the time, and a hash of task and first line.
    pub(in crate::jobs) fn key(&self) -> String {
        let first = self.stack_trace.lines().next().unwrap_or_default();
        let text = format!("{}\n{first}", self.task.as_deref().unwrap_or_default());
        format!("{:013}-{:016x}", self.at_ms, xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
    }
}
