//! Commands for the agents of jobs: what an agent is told to do, and what came of it.
//!
//! A command waits until the agent says that it has begun, then until it says how it went. Both have a time by which they
//! must have come; whether it has passed is seen when the command is looked at ([`Command::at`]), so nothing has to run for it.
//! An agent may see a command several times: ids tell commands apart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::model::state::words;

words! {
    /// What an agent can be told to do.
    CommandKind {
        /// End the job now.
        Cancel = "cancel",
        /// End the job with a savepoint.
        Stop = "stop",
        /// Write a savepoint.
        Savepoint = "savepoint",
        /// Write a checkpoint.
        Checkpoint = "checkpoint",
        /// Run with another parallelism.
        Rescale = "rescale",
    }
}

words! {
    /// How far a command is.
    CommandState {
        /// No agent has begun.
        Pending = "pending",
        /// The agent has begun.
        Running = "running",
        /// It is done.
        Completed = "completed",
        /// It could not be done.
        Failed = "failed",
    }
}

impl CommandState {
    /// True if nothing comes after it.
    pub fn is_done(self) -> bool {
        matches!(self, CommandState::Completed | CommandState::Failed)
    }
}

/// What a cancellation is given with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelParameters {}

/// What a job is stopped with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopParameters {
    /// Where the savepoint is to lie; as the engine is set up without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_directory: Option<String>,
    /// The savepoint's format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Whether what waits for times that have not come is flushed before.
    #[serde(default)]
    pub drain: bool,
}

/// What a savepoint is written with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavepointParameters {
    /// Where it is to lie; as the engine is set up without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_directory: Option<String>,
    /// Its format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Whether the job is cancelled afterwards.
    #[serde(default)]
    pub cancel_job: bool,
}

/// What a checkpoint is written with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointParameters {
    /// The engine's word for its type, such as `FULL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// What a job is rescaled to: one number for all vertices, or one for each of some.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RescaleParameters {
    /// Subtasks of every vertex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
    /// Subtasks by vertex.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vertices: BTreeMap<String, u32>,
}

impl CommandKind {
    /// The parameters of a command of this kind in their one form.
    ///
    /// # Errors
    /// A text for people.
    pub fn parameters(self, given: Value) -> Result<Map<String, Value>, String> {
        fn one<P: serde::de::DeserializeOwned + Serialize>(given: Value) -> Result<Map<String, Value>, String> {
            let read: P = serde_json::from_value(given).map_err(|e| e.to_string())?;
            match serde_json::to_value(read) {
                Ok(Value::Object(object)) => Ok(object),
                Ok(other) => Err(format!("{other} is no object")),
                Err(error) => Err(error.to_string()),
            }
        }
        match self {
            CommandKind::Cancel => one::<CancelParameters>(given),
            CommandKind::Stop => one::<StopParameters>(given),
            CommandKind::Savepoint => one::<SavepointParameters>(given),
            CommandKind::Checkpoint => one::<CheckpointParameters>(given),
            CommandKind::Rescale => {
                let object = one::<RescaleParameters>(given)?;
                let numbers = object.get("vertices").and_then(Value::as_object).into_iter().flat_map(Map::values);
                let mut numbers = numbers.chain(object.get("parallelism")).peekable();
                if numbers.peek().is_none() {
                    return Err("either parallelism or vertices is needed".to_owned());
                }
                if numbers.any(|number| number.as_u64() == Some(0)) {
                    return Err("a parallelism is at least 1".to_owned());
                }
                drop(numbers);
                Ok(object)
            }
        }
    }
}

/// A command.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Its id, of 32 hexadecimal digits, unique within its job.
    pub id: String,
    /// What is to be done.
    pub kind: CommandKind,
    /// With what; [`CommandKind`]'s own names.
    pub parameters: Map<String, Value>,
    /// How far it is.
    pub state: CommandState,
    /// When it was given, in milliseconds since 1970.
    pub created_ms: i64,
    /// When the agent last said something of it.
    pub changed_ms: i64,
    /// When it counts as failed unless the agent says something before.
    pub expires_ms: i64,
    /// What came of it.
    pub outcome: CommandOutcome,
}

/// What came of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandOutcome {
    /// Where the savepoint lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<i64>,
    /// The class of the error, in the agent's own terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_class: Option<String>,
    /// Why it could not be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl CommandOutcome {
    /// A failure that we see ourselves.
    pub(in crate::jobs) fn failed(class: &str, error: impl Into<String>) -> CommandOutcome {
        CommandOutcome { error_class: Some(class.to_owned()), error: Some(error.into()), ..CommandOutcome::default() }
    }
}

/// The class of a command's error when its time has passed.
pub const TIMED_OUT: &str = "TimedOut";
/// The class of a command's error when its job had ended before.
pub const JOB_ENDED: &str = "JobEnded";

impl Command {
    /// The command as it is at a time: failed if nobody took it, or nobody said how it went, in time.
    pub fn at(mut self, now_ms: i64) -> Command {
        if self.state.is_done() || now_ms < self.expires_ms {
            return self;
        }
        let waited = |from_ms: i64| self.expires_ms.saturating_sub(from_ms).max(0);
        let error = match self.state {
            CommandState::Pending => {
                let waited = waited(self.created_ms);
                format!("no agent took the command within {waited} ms (jobs.command_timeout)")
            }
            _ => {
                let waited = waited(self.changed_ms);
                format!("the agent began and did not say how it went within {waited} ms (jobs.command_result_timeout)")
            }
        };
        self.outcome = CommandOutcome::failed(TIMED_OUT, error);
        self.state = CommandState::Failed;
        self.changed_ms = self.expires_ms;
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn command(state: CommandState) -> Command {
        Command {
            id: "c".to_owned(),
            kind: CommandKind::Savepoint,
            parameters: Map::new(),
            state,
            created_ms: 100,
            changed_ms: 150,
            expires_ms: 200,
            outcome: CommandOutcome::default(),
        }
    }

    #[test]
    fn parameters_are_those_of_the_kind() {
        let read = |kind: CommandKind, given: Value| kind.parameters(given).map(Value::Object);
        let savepoint = json!({"target_directory": "s3://x", "cancel_job": true});
        assert_eq!(read(CommandKind::Savepoint, savepoint.clone()), Ok(savepoint));
        assert_eq!(read(CommandKind::Stop, json!({})), Ok(json!({"drain": false})));
        assert_eq!(read(CommandKind::Rescale, json!({"vertices": {"a": 2}})), Ok(json!({"vertices": {"a": 2}})));
        for (kind, given, message) in [
            (CommandKind::Cancel, json!({"drain": true}), "unknown field `drain`"),
            (CommandKind::Stop, json!({"drain": "yes"}), "invalid type"),
            (CommandKind::Rescale, json!({}), "either parallelism or vertices"),
            (CommandKind::Rescale, json!({"parallelism": 0}), "at least 1"),
            (CommandKind::Rescale, json!({"vertices": {"a": 0}}), "at least 1"),
        ] {
            let refused = read(kind, given).unwrap_err();
            assert!(refused.contains(message), "{refused}");
        }
    }

    #[test]
    fn what_nobody_takes_or_answers_in_time_has_failed() {
        for state in CommandState::ALL.iter().copied() {
            assert_eq!(command(state).at(199), command(state), "one millisecond before");
        }
        let late = command(CommandState::Pending).at(200);
        assert_eq!((late.state, late.changed_ms), (CommandState::Failed, 200));
        assert!(late.outcome.error.unwrap().starts_with("no agent took the command within 100 ms"));
        let late = command(CommandState::Running).at(200);
        assert!(late.outcome.error.unwrap().contains("within 50 ms"));
        assert_eq!(command(CommandState::Completed).at(i64::MAX), command(CommandState::Completed));
    }
}
