//! `/config`, `/overview`, `/jobmanager/config` and `/taskmanagers`.

use serde_json::Value;

use super::json::{Fields, WrongShape};
use crate::jobs::{Cluster, Kept, TaskManager};

/// A cluster that answers, from three answers.
///
/// # Errors
/// [`WrongShape`].
pub fn cluster(config: &Value, overview: &Value, job_manager_config: &Value) -> Result<Cluster, WrongShape> {
    let overview = Fields::of(overview)?;
    let mut configuration = Vec::new();
    for value in job_manager_config.as_array().map(Vec::as_slice).unwrap_or_default() {
        let entry = Fields::of(value)?;
        configuration.push((entry.text("key")?, entry.text("value")?));
    }
    Ok(Cluster {
        is_reachable: true,
        version: overview.text_if("flink-version"),
        commit: overview.text_if("flink-commit"),
        page: Kept(Fields::of(config)?.without(&[])),
        configuration,
    })
}

/// Fields of a task manager that the model has words for, or that move.
const TYPED: [&str; 8] =
    ["id", "path", "dataPort", "timeSinceLastHeartbeat", "slotsNumber", "freeSlots", "hardware", "metrics"];

/// `/taskmanagers`.
///
/// # Errors
/// [`WrongShape`].
pub fn task_managers(answer: &Value) -> Result<Vec<TaskManager>, WrongShape> {
    Fields::of(answer)?.list("taskmanagers")?.iter().map(task_manager).collect()
}

/// A task manager, from the list or, with what its slots are used for, from `/taskmanagers/:taskmanagerid`.
///
/// # Errors
/// [`WrongShape`].
pub fn task_manager(value: &Value) -> Result<TaskManager, WrongShape> {
    let fields = Fields::of(value)?;
    let hardware = fields.object("hardware")?;
    Ok(TaskManager {
        id: fields.text("id")?,
        path: fields.text_if("path"),
        data_port: fields.whole_if("dataPort"),
        slots: fields.whole("slotsNumber")?,
        free_slots: fields.whole("freeSlots")?,
        cpu_cores: hardware.whole_if("cpuCores"),
        physical_memory_bytes: hardware.whole_if("physicalMemory"),
        free_memory_bytes: hardware.whole_if("freeMemory"),
        managed_memory_bytes: hardware.whole_if("managedMemory"),
        kept: Kept(fields.without(&TYPED)),
    })
}
