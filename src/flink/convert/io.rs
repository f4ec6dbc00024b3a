//! Numbers that move: taken out of answers, kept in documents only of what has ended.

use super::json::Fields;
use crate::jobs::{Count, Io};

/// The numbers of a subtask that runs, to be written as samples of the series that [`Io`] names.
#[derive(Debug, Clone, PartialEq)]
pub struct Moving {
    /// The vertex.
    pub vertex: String,
    /// The subtask.
    pub subtask: u64,
    /// Its attempt.
    pub attempt: u64,
    /// The numbers.
    pub io: Io,
}

impl Moving {
    /// Names of series, as Flink's reporter has them, and their values; numbers that are not whole yet are left out.
    pub fn samples(&self) -> Vec<(&'static str, f64)> {
        let whole = |count: Count| count.is_complete.then_some(count.value as f64);
        let all = [
            ("flink_taskmanager_job_task_numBytesIn", whole(self.io.read_bytes)),
            ("flink_taskmanager_job_task_numBytesOut", whole(self.io.write_bytes)),
            ("flink_taskmanager_job_task_numRecordsIn", whole(self.io.read_records)),
            ("flink_taskmanager_job_task_numRecordsOut", whole(self.io.write_records)),
            ("flink_taskmanager_job_task_accumulateBackPressuredTimeMs", self.io.backpressured_ms.map(|ms| ms as f64)),
            ("flink_taskmanager_job_task_accumulateIdleTimeMs", self.io.idle_ms.map(|ms| ms as f64)),
            ("flink_taskmanager_job_task_accumulateBusyTimeMs", self.io.busy_ms),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// The object `metrics` of a vertex or subtask.
pub(super) fn io(metrics: Fields<'_>) -> Io {
    let count = |name: &str| Count {
        value: metrics.whole_if(name).unwrap_or(0),
        is_complete: metrics.is(&format!("{name}-complete")),
    };
    Io {
        read_bytes: count("read-bytes"),
        write_bytes: count("write-bytes"),
        read_records: count("read-records"),
        write_records: count("write-records"),
        backpressured_ms: metrics.whole_if("accumulated-backpressured-time"),
        idle_ms: metrics.whole_if("accumulated-idle-time"),
        // Java writes NaN as a text where a source cannot tell; then it is not known.
        busy_ms: metrics.number_if("accumulated-busy-time"),
    }
}
