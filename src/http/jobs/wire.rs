//! The bodies of the push API as they are written (`docs/openapi/jobs.yaml`). Unknown fields are refused: a misspelt one would
//! be lost without a word.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use crate::jobs::{CheckpointState, CommandKind, CommandState, JobKind, JobState, TaskState, WhenMissed};

/// The last moment of the year 9999.
const TIME_MAX_MS: i64 = 253_402_300_799_999;

/// A moment: milliseconds since 1970, or RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time(pub(super) i64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        struct Moment;

        impl Visitor<'_> for Moment {
            type Value = Time;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a time from 1970 to 9999, in milliseconds since 1970 or as RFC 3339")
            }

            fn visit_i64<E: Error>(self, ms: i64) -> Result<Time, E> {
                let is_time = (0..=TIME_MAX_MS).contains(&ms);
                if is_time { Ok(Time(ms)) } else { Err(E::invalid_value(serde::de::Unexpected::Signed(ms), &self)) }
            }

            fn visit_u64<E: Error>(self, ms: u64) -> Result<Time, E> {
                self.visit_i64(i64::try_from(ms).unwrap_or(i64::MAX))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
                let wrong = |_| E::invalid_value(serde::de::Unexpected::Str(text), &self);
                let ms = crate::report::timestamp::parse(text, 0).map_err(wrong)?;
                self.visit_i64(ms)
            }
        }

        deserializer.deserialize_any(Moment)
    }
}

/// A whole number that is not negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Natural(pub(super) i64);

impl<'de> Deserialize<'de> for Natural {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Natural, D::Error> {
        let number = u64::deserialize(deserializer)?;
        i64::try_from(number).map(Natural).map_err(|_| D::Error::custom(format!("{number} is above 2^63-1")))
    }
}

/// `PUT /api/jobs/{id}`, `POST /api/jobs`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Registration {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) at: Option<Time>,
    pub(super) started: Option<Time>,
    pub(super) state: Option<JobState>,
    pub(super) cluster: Option<String>,
    pub(super) kind: Option<JobKind>,
    pub(super) max_parallelism: Option<u32>,
    #[serde(default)]
    pub(super) stoppable: bool,
    pub(super) settings: Option<Settings>,
    pub(super) checkpointing: Option<Checkpointing>,
    #[serde(default)]
    pub(super) vertices: Vec<Vertex>,
    #[serde(default)]
    pub(super) edges: Vec<Edge>,
    pub(super) heartbeat: Option<Heartbeats>,
    #[serde(default)]
    pub(super) commands: Vec<CommandKind>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    #[serde(default)]
    pub(super) restart_strategy: String,
    pub(super) parallelism: Option<u32>,
    #[serde(default)]
    pub(super) object_reuse: bool,
    pub(super) execution_mode: Option<String>,
    #[serde(default)]
    pub(super) user: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checkpointing {
    pub(super) mode: Option<String>,
    pub(super) interval_ms: Option<Natural>,
    pub(super) timeout_ms: Option<Natural>,
    #[serde(default)]
    pub(super) min_pause_ms: Natural,
    pub(super) max_concurrent: Option<u32>,
    #[serde(default)]
    pub(super) externalized: bool,
    #[serde(default)]
    pub(super) delete_on_cancellation: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vertex {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) parallelism: Option<u32>,
    pub(super) max_parallelism: Option<u32>,
    pub(super) slot_sharing_group: Option<String>,
    #[serde(default)]
    pub(super) operator: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) subtasks: Vec<Subtask>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Edge {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) ship_strategy: Option<String>,
    pub(super) exchange: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Heartbeats {
    pub(super) interval_ms: Option<Natural>,
    pub(super) max_missed: Option<u32>,
    pub(super) when_missed: Option<WhenMissed>,
}

/// `POST /api/jobs/{id}/report`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Report {
    pub(super) at: Option<Time>,
    pub(super) state: Option<JobState>,
    #[serde(default)]
    pub(super) vertices: Vec<Tasks>,
    #[serde(default)]
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) restored: Option<Restored>,
    #[serde(default)]
    pub(super) exceptions: Vec<Exception>,
    #[serde(default)]
    pub(super) accumulators: Vec<Accumulator>,
    #[serde(default)]
    pub(super) metrics: BTreeMap<String, f64>,
}

/// A vertex that is reported of: as a whole, or by subtask.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tasks {
    pub(super) id: String,
    pub(super) state: Option<TaskState>,
    #[serde(default)]
    pub(super) subtasks: Vec<Subtask>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subtask {
    pub(super) index: u32,
    pub(super) attempt: Option<u32>,
    pub(super) state: Option<TaskState>,
    #[serde(default)]
    pub(super) times: BTreeMap<TaskState, Time>,
    pub(super) endpoint: Option<String>,
    pub(super) task_manager: Option<String>,
    pub(super) execution_id: Option<String>,
    pub(super) io: Option<Io>,
    #[serde(default)]
    pub(super) metrics: BTreeMap<String, f64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Io {
    pub(super) read_bytes: Option<Natural>,
    pub(super) write_bytes: Option<Natural>,
    pub(super) read_records: Option<Natural>,
    pub(super) write_records: Option<Natural>,
    pub(super) backpressured_ms: Option<Natural>,
    pub(super) idle_ms: Option<Natural>,
    pub(super) busy_ms: Option<Natural>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checkpoint {
    pub(super) id: Natural,
    pub(super) state: CheckpointState,
    pub(super) triggered: Time,
    pub(super) acknowledged: Option<Time>,
    #[serde(default)]
    pub(super) savepoint: bool,
    pub(super) kind: Option<String>,
    pub(super) format: Option<String>,
    pub(super) path: Option<String>,
    pub(super) discarded: Option<bool>,
    #[serde(default)]
    pub(super) sizes: Sizes,
    pub(super) subtasks: Option<u32>,
    pub(super) acknowledged_subtasks: Option<u32>,
    pub(super) failure: Option<CheckpointFailure>,
    #[serde(default)]
    pub(super) tasks: Vec<TaskCheckpoint>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sizes {
    pub(super) duration_ms: Option<Natural>,
    #[serde(default)]
    pub(super) state_bytes: Natural,
    pub(super) checkpointed_bytes: Option<Natural>,
    #[serde(default)]
    pub(super) alignment_buffered_bytes: Natural,
    pub(super) processed_bytes: Option<Natural>,
    pub(super) persisted_bytes: Option<Natural>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckpointFailure {
    pub(super) at: Option<Time>,
    pub(super) message: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskCheckpoint {
    pub(super) vertex: String,
    pub(super) state: Option<CheckpointState>,
    pub(super) acknowledged: Option<Time>,
    #[serde(default)]
    pub(super) sizes: Sizes,
    pub(super) acknowledged_subtasks: Option<u32>,
    #[serde(default)]
    pub(super) subtasks: Vec<SubtaskCheckpoint>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubtaskCheckpoint {
    pub(super) index: u32,
    pub(super) acknowledged: Option<Time>,
    #[serde(default)]
    pub(super) sizes: Sizes,
    #[serde(default)]
    pub(super) sync_ms: Natural,
    #[serde(default)]
    pub(super) async_ms: Natural,
    #[serde(default)]
    pub(super) alignment: Alignment,
    pub(super) start_delay_ms: Option<Natural>,
    pub(super) unaligned: Option<bool>,
    pub(super) aborted: Option<bool>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Alignment {
    #[serde(default)]
    pub(super) duration_ms: Natural,
    #[serde(default)]
    pub(super) buffered_bytes: Natural,
    pub(super) processed_bytes: Option<Natural>,
    pub(super) persisted_bytes: Option<Natural>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Restored {
    pub(super) id: Natural,
    pub(super) at: Option<Time>,
    #[serde(default)]
    pub(super) savepoint: bool,
    pub(super) path: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exception {
    pub(super) at: Option<Time>,
    pub(super) name: Option<String>,
    pub(super) message: Option<String>,
    pub(super) stack_trace: Option<String>,
    pub(super) task: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) task_manager: Option<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) concurrent: Vec<Exception>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Accumulator {
    pub(super) vertex: Option<String>,
    pub(super) subtask: Option<u32>,
    pub(super) name: String,
    pub(super) kind: Option<String>,
    pub(super) value: AccumulatorValue,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "the value of an accumulator is a number or a text")]
pub(super) enum AccumulatorValue {
    Whole(i64),
    Number(f64),
    Text(String),
}

/// `POST /api/jobs/{id}/commands`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewCommand {
    pub(super) kind: CommandKind,
    pub(super) id: Option<String>,
    pub(super) parameters: Option<serde_json::Map<String, serde_json::Value>>,
}

/// `PUT /api/jobs/{id}/commands/{command}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandReport {
    pub(super) state: CommandState,
    pub(super) location: Option<String>,
    pub(super) checkpoint: Option<Natural>,
    pub(super) error: Option<String>,
    pub(super) error_class: Option<String>,
}

/// `POST /api/jobs/{id}/heartbeat`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Heartbeat {}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn times_are_milliseconds_or_rfc_3339_from_1970_to_9999() {
        assert_eq!(from_value::<Time>(json!(5)).unwrap(), Time(5));
        assert_eq!(from_value::<Time>(json!("2024-01-01T12:00:00Z")).unwrap(), Time(1_704_110_400_000));
        assert_eq!(from_value::<Time>(json!(TIME_MAX_MS)).unwrap(), Time(TIME_MAX_MS));
        for bad in
            [json!(TIME_MAX_MS + 1), json!(-1), json!(u64::MAX), json!(1.5), json!("noon"), json!(null), json!([])]
        {
            let refused = from_value::<Time>(bad.clone()).unwrap_err().to_string();
            assert!(refused.contains("a time from 1970 to 9999"), "{bad}: {refused}");
        }
    }

    #[test]
    fn sizes_are_not_negative_and_fit() {
        assert_eq!(from_value::<Natural>(json!(i64::MAX)).unwrap().0, i64::MAX);
        assert!(from_value::<Natural>(json!(i64::MAX as u64 + 1)).is_err());
        assert!(from_value::<Natural>(json!(-1)).is_err());
    }
}
