//! Accumulators of the users' code.

use serde::{Deserialize, Serialize};

/// The accumulators of one vertex over all subtasks, of one subtask's newest attempt, or of the job as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accumulators {
    /// The vertex; empty for the job as a whole.
    pub vertex: String,
    /// The subtask, or none for all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtask: Option<u64>,
    /// In the source's order.
    pub accumulators: Vec<Accumulator>,
}

/// One accumulator.
///
/// The value of one that is a number is absent while its task runs: it is the newest sample of
/// `streamgauge_job_accumulator` with the labels `job_id`, `task_id` (not for the job), `subtask_index` (not for all
/// together) and `accumulator`. One that is no number (a histogram, a list) is kept as text; whoever records decides how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accumulator {
    /// Its name.
    pub name: String,
    /// The engine's type, such as `LongCounter`.
    pub kind: String,
    /// As the source shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}
