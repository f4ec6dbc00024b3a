//! Why something that was told of a job, or a command for its agent, is refused.

use crate::catalog::CatalogError;
use crate::jobs::error::JobsError;

/// Why something that was told of a job is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PushError {
    /// Nobody registered it.
    #[error("no job {id:?} is registered: register it first (PUT /api/jobs/{{id}})")]
    NotRegistered {
        /// Its id.
        id: String,
    },
    /// Someone else tells of it.
    #[error("job {id:?} is followed by {origin}: it cannot be told of here")]
    Foreign {
        /// Its id.
        id: String,
        /// Who does.
        origin: &'static str,
    },
    /// It has ended.
    #[error(
        "job {id:?} is {state} since {since_ms}: it cannot be {claimed} at {at_ms}; a new run has an id of its own"
    )]
    HasEnded {
        /// Its id.
        id: String,
        /// How.
        state: &'static str,
        /// When.
        since_ms: i64,
        /// What was told.
        claimed: &'static str,
        /// Of when.
        at_ms: i64,
    },
    /// It did something later.
    #[error("job {id:?} cannot have become {claimed} at {at_ms}: it was {state} at {later_ms}")]
    WentOn {
        /// Its id.
        id: String,
        /// What was told.
        claimed: &'static str,
        /// Of when.
        at_ms: i64,
        /// What it was later.
        state: &'static str,
        /// When.
        later_ms: i64,
    },
    /// The graph has no such vertex.
    #[error("the graph of job {job:?} has no vertex {vertex:?}")]
    NoVertex {
        /// The job.
        job: String,
        /// The vertex.
        vertex: String,
    },
    /// The vertex has no such subtask.
    #[error("vertex {vertex:?} has no subtask {index}: its parallelism is {parallelism}")]
    NoSubtask {
        /// The vertex.
        vertex: String,
        /// The subtask.
        index: u64,
        /// How many there are.
        parallelism: i64,
    },
    /// It speaks of a past that too much has happened since.
    #[error("too late: more than {limit} changes came after {at_ms} (limit jobs.max_late_changes)")]
    TooLate {
        /// `jobs.max_late_changes`
        limit: usize,
        /// The moment.
        at_ms: i64,
    },
    /// The job's agent does not carry it out.
    #[error("nobody can carry this out: the agent of job {id:?} takes no command {kind:?}{others}")]
    NoAgent {
        /// The job.
        id: String,
        /// The command.
        kind: &'static str,
        /// Those that it takes, in words; empty if there are none.
        others: String,
    },
    /// As many commands as may wait.
    #[error("too many commands of job {id:?} are not done: limit jobs.max_commands = {limit} reached")]
    TooManyCommands {
        /// The job.
        id: String,
        /// `jobs.max_commands`
        limit: usize,
    },
    /// There is no such command.
    #[error("job {id:?} has no command {command:?}")]
    NoCommand {
        /// The job.
        id: String,
        /// The command.
        command: String,
    },
    /// The command is another one, or is done already.
    #[error("command {command:?} {detail}")]
    CommandConflict {
        /// The command.
        command: String,
        /// Why not.
        detail: String,
    },
    /// The store refused it.
    #[error(transparent)]
    Jobs(#[from] JobsError),
}

impl From<CatalogError> for PushError {
    fn from(error: CatalogError) -> PushError {
        PushError::Jobs(error.into())
    }
}

impl From<rusqlite::Error> for PushError {
    fn from(error: rusqlite::Error) -> PushError {
        PushError::Jobs(error.into())
    }
}
