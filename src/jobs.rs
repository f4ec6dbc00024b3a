//! Jobs: what runs, ran and failed, with its graph, attempts, checkpoints and exceptions, at any time in the past.
//!
//! One model for every engine and every dialect. The contract of this module:
//!
//! - **Subjects and documents.** A [`Subject`] is a job (one run) or a cluster. What is known of it is a set of typed
//!   [`Document`]s, each with a kind and a key inside the subject (a vertex by its id, a checkpoint by its number).
//! - **Stored on change.** A document is recorded with the time at which it was so. It holds until the next one of its
//!   kind and key, or until it is withdrawn. Recording what already holds changes nothing. Equal contents are kept once.
//! - **As of any time.** Every read takes a time and sees for each document the newest that is not later. Recordings may
//!   come late: they go into the past and leave the present alone. At equal times the last recording wins.
//! - **No moving numbers.** What counts up while a job runs (records, bytes, busy time, user counters) is no part of a
//!   document: whoever records takes it out and writes samples instead, and a view puts it back from the metric store,
//!   at the time that was asked for. [`Io`] says how. When an attempt has ended its totals move no more: then they stay
//!   in the document, and are exact, also when its series are long gone.
//! - **Thinned with age.** After a day, of what changes with every checkpoint one version an hour is enough, so of what changed
//!   more than thirty times in that hour, and of each checkpoint the first and the last: older answers about these are up to
//!   an hour old. Everything else is exact as long as it is kept.
//! - **Moments, not ages.** Documents hold times, never durations until now; a view computes these from the time asked for.
//! - **Unknown is not zero.** What a source did not say is absent ([`Option`]); a view says so in its dialect's way.
//! - **Organizations.** Every subject belongs to one (`org`, empty by default); a read passes a [`Scope`](::model::Scope) and
//!   sees nothing of others: a foreign job does not exist.
//! - **Runs.** Jobs of one name and organization are runs of one pipeline.
//! - **Durability.** [`Jobs::record`] returns after the commit is synced. What waits is bounded in bytes; above, the
//!   caller is told to come back.
//! - **Fields of one engine.** What only one engine knows and no other view needs stays in [`Kept`], by that engine's own
//!   names; its dialect hands it out again.
//!
//! - **Pushed jobs.** What an engine tells of its own job goes through [`Jobs::push`]: late, repeated and partial reports are
//!   merged by the rules of `push`. [`Agents`] knows who is there to carry out a [`Command`], and who has not been heard of.
//!
//! `model` is the vocabulary, `store` keeps it in `catalog.db`, `timeline` puts together what happened to a job. None of them
//! knows HTTP or a dialect: [`crate::http`] has the views, and the collectors turn an engine's answers into documents.

mod agents;
mod command;
pub mod compare;
mod contact;
pub mod diagnosis;
mod document;
mod error;
mod hex_id;
mod model;
mod push;
mod store;
mod timeline;
mod upkeep;

pub(crate) use agents::watch_agents;
pub use agents::{Agent, Agents, Expectations};
pub use command::{
    CancelParameters, CheckpointParameters, Command, CommandKind, CommandOutcome, CommandState, JOB_ENDED,
    RescaleParameters, SavepointParameters, StopParameters, TIMED_OUT,
};
pub(crate) use contact::{cluster_version, silent_since};
pub use document::{Document, Kind};
pub(crate) use document::{accumulators_key, attempt_key, checkpoint_key, checkpoint_subtasks_key};
pub use error::JobsError;
pub(crate) use hex_id::hex_id;
pub use model::accumulator::{Accumulator, Accumulators};
pub use model::checkpoint::{
    Alignment, Checkpoint, CheckpointCounts, CheckpointFailure, CheckpointSettings, CheckpointSizes,
    CheckpointStatistics, CheckpointSubtasks, Distribution, RestoredCheckpoint, SubtaskCheckpoint, TaskCheckpoint,
};
pub use model::cluster::{Cluster, MetricNames, TaskManager};
pub use model::failure::Failure;
pub use model::kept::Kept;
pub use model::plan::{Edge, Plan, PlanNode};
pub use model::run::{Outcome, Run, Settings};
pub use model::state::{CheckpointState, JobKind, JobState, TaskState};
pub use model::vertex::{Attempt, Count, Io, Subtask, Subtasks, Vertex};
pub use push::{NewVertex, Push, PushError, Pushed, Registration, Standing, Task, TaskDetail, Terms, WhenMissed};
pub(crate) use store::ID_BYTES_MAX;
pub use store::{
    CommandOrder, CommandReport, Forgotten, JobOptions, Jobs, Known, Observation, Origin, PushOptions, Reader,
    Recorded, Subject, SubjectKind, Version, check,
};
pub use timeline::{Event, What, timeline};
pub(crate) use upkeep::retain_regularly;

/// What tests of other parts open a store with.
#[cfg(test)]
pub(crate) mod testing {
    pub(crate) use super::store::tests::{OPTIONS, open_with};
}
