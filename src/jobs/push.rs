//! What engines tell of their own jobs, and how one telling changes what is known.
//!
//! The rules, so that reports may come late, twice and in any order:
//!
//! - A [`Push`] speaks of one moment, `at_ms`: what it says holds from then on. Before that the past stays as it was told;
//!   after that only what nobody has said since is filled in.
//! - The state of a **job** is what was claimed last before the moment that is asked for. Claims are kept by themselves
//!   ([`Standing`]), so a late one falls into its place.
//! - An **attempt** of a subtask comes into each state once: the earliest claim counts, the state is the one that it came
//!   into last, and after an end comes nothing. A higher number of attempt takes the place of a lower one, whenever it comes.
//! - Subtasks of a vertex that the engine never speaks of follow from the job's state ([`TaskDetail`]).
//! - A **checkpoint** that has ended does not become unfinished again.
//!
//! All of this is pure ([`picture`], [`standing`], [`checkpoints`]); `store/pushed` applies it inside one transaction.

pub(in crate::jobs) mod checkpoints;
mod error;
pub(in crate::jobs) mod picture;
mod standing;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::command::CommandKind;
use super::model::accumulator::Accumulators;
use super::model::checkpoint::{Checkpoint, CheckpointSettings, CheckpointSubtasks, RestoredCheckpoint};
use super::model::failure::Failure;
use super::model::plan::Edge;
use super::model::run::Settings;
use super::model::state::{JobKind, JobState, TaskState, words};
use super::model::vertex::Io;
use super::store::Subject;

pub use error::PushError;
pub use standing::Standing;
pub(in crate::jobs) use standing::{Amended, Claim, Contradiction, amend};

/// What an engine tells of one job at one moment.
#[derive(Debug, Clone)]
pub struct Push {
    /// The job.
    pub job: Subject,
    /// When it was so, in milliseconds since 1970.
    pub at_ms: i64,
    /// When it arrived.
    pub now_ms: i64,
    /// What the job is, if that is told.
    pub registration: Option<Registration>,
    /// What the job does.
    pub state: Option<JobState>,
    /// What its tasks do.
    pub tasks: Vec<Task>,
    /// Its checkpoints.
    pub checkpoints: Vec<Checkpoint>,
    /// The parts of subtasks in these.
    pub checkpoint_parts: Vec<CheckpointSubtasks>,
    /// What it was restored from.
    pub restored: Option<RestoredCheckpoint>,
    /// What failed.
    pub failures: Vec<Failure>,
    /// Its accumulators.
    pub accumulators: Vec<Accumulators>,
}

impl Push {
    /// One that says nothing yet.
    pub fn new(job: Subject, at_ms: i64, now_ms: i64) -> Push {
        Push {
            job,
            at_ms,
            now_ms,
            registration: None,
            state: None,
            tasks: Vec::new(),
            checkpoints: Vec::new(),
            checkpoint_parts: Vec::new(),
            restored: None,
            failures: Vec::new(),
            accumulators: Vec::new(),
        }
    }

    /// True if it may change the job as a whole or its tasks.
    pub(in crate::jobs) fn is_about_tasks(&self) -> bool {
        self.registration.is_some() || self.state.is_some() || !self.tasks.is_empty()
    }

    /// What it takes while it waits, in bytes, about.
    pub(in crate::jobs) fn bytes(&self) -> u64 {
        let vertices = self.registration.iter().flat_map(|registration| &registration.vertices);
        let vertices: usize = vertices.map(|vertex| 400 + vertex.description.len()).sum();
        let failures: usize = self.failures.iter().map(|failure| 200 + failure.stack_trace.len()).sum();
        let parts: usize = self.checkpoint_parts.iter().map(|parts| 200 * parts.subtasks.len()).sum();
        let accumulators: usize = self.accumulators.iter().map(|all| 100 * all.accumulators.len()).sum();
        (1000 + vertices + 300 * self.tasks.len() + 400 * self.checkpoints.len() + failures + parts + accumulators)
            as u64
    }
}

/// What a job is.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    /// The name; jobs of one name are runs of one pipeline.
    pub name: String,
    /// When it began; without it, when it was first told of.
    pub started_ms: Option<i64>,
    /// Where it runs: a name for people.
    pub cluster: Option<String>,
    /// Whether its input ends.
    pub kind: Option<JobKind>,
    /// Largest parallelism it can be scaled to.
    pub max_parallelism: Option<i64>,
    /// Whether it can be stopped without a savepoint.
    pub is_stoppable: bool,
    /// What it was started with.
    pub settings: Option<Settings>,
    /// How it takes checkpoints, if it does.
    pub checkpointing: Option<CheckpointSettings>,
    /// Its graph, from the sources to the sinks.
    pub vertices: Vec<NewVertex>,
    /// What its agent does and how often it gives signs of life.
    pub terms: Terms,
}

/// A vertex of the graph.
#[derive(Debug, Clone, PartialEq)]
pub struct NewVertex {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Number of its subtasks.
    pub parallelism: u64,
    /// Largest parallelism it can be scaled to.
    pub max_parallelism: Option<i64>,
    /// Vertices of one group may share a slot.
    pub slot_sharing_group: Option<String>,
    /// The operator's kind.
    pub operator: String,
    /// What it does, in words.
    pub description: String,
    /// Where its records come from.
    pub inputs: Vec<Edge>,
}

/// What is told of a vertex, or of one of its subtasks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Task {
    /// The vertex.
    pub vertex: String,
    /// The subtask; none means all of them.
    pub index: Option<u64>,
    /// The attempt; none means the newest.
    pub attempt: Option<u64>,
    /// When it came into states.
    pub times: BTreeMap<TaskState, i64>,
    /// Host and port of where it runs.
    pub endpoint: Option<String>,
    /// Its task manager.
    pub task_manager: Option<String>,
    /// Its id inside the engine.
    pub execution_id: Option<String>,
    /// What went through it.
    pub io: Option<Io>,
}

/// The vertices whose subtasks the engine speaks of. Those of others follow from the job's state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDetail {
    /// Their ids.
    pub vertices: BTreeSet<String>,
}

words! {
    /// What it means that heartbeats are missing.
    WhenMissed {
        /// The job stays as it was, and is stale.
        Stale = "stale",
        /// The job has failed.
        Failed = "failed",
        /// Nothing.
        Nothing = "nothing",
    }
}

/// What a job's agent does and how often it gives signs of life. What is absent is as the options say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// The commands that it carries out.
    pub commands: BTreeSet<CommandKind>,
    /// True if it says that it sends heartbeats. One that ever sent one is expected to go on, too.
    pub sends_heartbeats: bool,
    /// Milliseconds between two.
    pub interval_ms: Option<i64>,
    /// How many may be missing.
    pub missed_max: Option<u32>,
    /// What it means if more are.
    pub when_missed: Option<WhenMissed>,
}

/// What came of a push.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushed {
    /// True if the job was not known before.
    pub is_new: bool,
    /// Documents that are new or changed.
    pub changed: usize,
    /// The job's state now.
    pub state: JobState,
    /// Its name.
    pub name: String,
}
