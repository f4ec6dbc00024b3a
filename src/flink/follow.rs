//! One job of a cluster: what to ask next ([`ask`]), and what the answers say ([`answers`]): the collector without its sockets
//! and its clock.
//!
//! A round begins with what the list of all jobs says of it. If nothing has changed since the last round (Flink's
//! `last-modification` covers the states of all its subtasks) only the checkpoints are asked for, and from time to time the
//! accumulators; in the mode [`Metrics::Rest`] also the numbers. What has changed is asked for, and once more in the next
//! round, in the order of [`Ask`]; what does not fit into a round waits for the next, and is asked for once however often it
//! was wanted meanwhile.

mod answers;
mod ask;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub(super) use self::answers::numbers;
pub use self::answers::{FollowError, Number, Told};
pub use self::ask::Ask;
pub(crate) use self::ask::escaped;
pub(super) use self::ask::pieces;
use super::convert::{JobEntry, VertexTimes};
use crate::jobs::{Checkpoint, CheckpointState, Observation, Origin, Run, Subject, Vertex};

/// Rounds between two looks at accumulators, which move with every record and cost two requests for each vertex.
const ACCUMULATOR_ROUNDS: u64 = 6;

/// Rounds after a change until the names of metrics are asked for again, and then twice as many each time: operators
/// register metrics when their first record comes, and the cluster itself looks only from time to time.
const NAMES_ROUNDS_MIN: u64 = 8;

/// The most rounds between two times that the names of metrics are asked for.
const NAMES_ROUNDS_MAX: u64 = 64;

/// Where numbers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metrics {
    /// Flink's Prometheus reporters, which are found and scraped ([`super::reporters`]).
    Scrape,
    /// The REST API.
    Rest,
}

/// One job of a cluster.
#[derive(Debug)]
pub struct Follower {
    subject: Subject,
    cluster: String,
    metrics: Metrics,
    entry: JobEntry,
    run: Option<Run>,
    wanted: BTreeSet<Ask>,
    /// Wanted in the next round, and not before: what the cluster does not know yet.
    later: BTreeSet<Ask>,
    vertices: BTreeMap<String, Vertex>,
    /// Answers about vertices that wait for the times of their subtasks.
    halves: BTreeMap<String, Value>,
    /// Ended checkpoints with their tasks, of those that the source lists.
    checkpoints: BTreeMap<i64, Checkpoint>,
    /// Metric ids by vertex, empty for the job; only where numbers come from the REST API.
    names: BTreeMap<String, Vec<String>>,
    /// The newest attempts by vertex, in the order of the subtasks.
    attempts: BTreeMap<String, Vec<u64>>,
    are_failures_truncated: bool,
    /// False if the cluster said that the job takes none.
    has_checkpoints: bool,
    /// True in the round after a change.
    is_settling: bool,
    round: u64,
    /// The round of the last change.
    changed_round: u64,
}

impl Follower {
    /// Begins to follow a job that the list of all has; [`Follower::begin`] comes next.
    pub fn new(subject: Subject, cluster: impl Into<String>, metrics: Metrics, entry: JobEntry) -> Follower {
        let mut follower = Follower {
            subject,
            cluster: cluster.into(),
            metrics,
            entry,
            run: None,
            wanted: [Ask::Config, Ask::CheckpointConfig].into(),
            later: BTreeSet::new(),
            vertices: BTreeMap::new(),
            halves: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            names: BTreeMap::new(),
            attempts: BTreeMap::new(),
            are_failures_truncated: false,
            has_checkpoints: true,
            is_settling: true,
            round: 0,
            changed_round: 0,
        };
        follower.want_all();
        follower
    }

    /// True if it has ended and all that can be known of it is: there is nothing to ask any more.
    pub fn is_done(&self) -> bool {
        self.entry.state.has_ended() && !self.is_settling && self.wanted.is_empty() && self.later.is_empty()
    }

    /// The job's id.
    pub fn id(&self) -> &str {
        &self.subject.id
    }

    /// The job's name, once known.
    pub fn name(&self) -> &str {
        self.run.as_ref().map_or("", |run| &run.name)
    }

    /// The name of a vertex, once known.
    pub fn vertex_name(&self, id: &str) -> &str {
        self.vertices.get(id).map_or("", |vertex| &vertex.name)
    }

    /// The attempt that a metric of a subtask is of.
    pub fn attempt(&self, number: &Number) -> Option<u64> {
        self.attempts.get(number.vertex.as_deref()?)?.get(usize::try_from(number.subtask?).ok()?).copied()
    }

    /// A new round, with what the list of all says of the job now.
    pub fn begin(&mut self, entry: JobEntry) {
        self.round += 1;
        // Attempts come last of all and can be many; numbers do not wait for them.
        let is_behind = self.wanted.iter().any(|ask| !matches!(ask, Ask::Attempt(..)));
        self.wanted.append(&mut self.later);
        let has_changed = self.entry != entry;
        self.entry = entry;
        if has_changed {
            self.changed_round = self.round;
            self.want_all();
        } else if self.is_settling {
            // A cluster answers from a cache of some seconds: what it said right after the change may be from before it.
            self.wanted.extend([Ask::Details, Ask::Exceptions]);
        }
        self.is_settling = has_changed;
        if self.entry.state.has_ended() {
            return;
        }
        if self.has_checkpoints {
            self.wanted.insert(Ask::Checkpoints);
        }
        if self.round.is_multiple_of(ACCUMULATOR_ROUNDS) {
            self.wanted.insert(Ask::Accumulators);
        }
        if names_are_due(self.round - self.changed_round) {
            self.want_names();
        }
        // What did not fit into the rounds before comes first: else the last vertices of a large job would never be asked for.
        if self.metrics == Metrics::Rest && !is_behind {
            self.want_numbers();
        }
    }

    /// What the job was last, once anything is known of it: it is followed no more.
    pub fn into_run(self) -> Option<Run> {
        self.run
    }

    /// Takes the next questions, at most so many.
    pub fn take(&mut self, requests_max: usize) -> Vec<Ask> {
        let mut asks = Vec::new();
        while asks.len() < requests_max
            && let Some(ask) = self.wanted.pop_first()
        {
            asks.push(ask);
        }
        asks
    }

    /// Puts a question back that nobody answered: it is asked again in the next round.
    pub fn put_back(&mut self, ask: Ask) {
        self.later.insert(ask);
    }

    /// The cluster refused a question. What it failed at is asked again in the next round; what is not there is not, until
    /// something changes.
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn refused(&mut self, ask: Ask, has_failed: bool, at_ms: i64) -> Result<Told, FollowError> {
        let mut told = Told::default();
        match ask {
            ask if has_failed => self.put_back(ask),
            Ask::Checkpoints => self.has_checkpoints = false,
            // Without its times the vertex is worth more than nothing.
            Ask::SubtaskTimes(id) => {
                if let Some(half) = self.halves.remove(&id) {
                    let mut seen = self.observation(at_ms);
                    told.moving = self.put_subtasks(&half, &VertexTimes::default(), &mut seen)?;
                    told.observation = Some(seen);
                }
            }
            _ => {}
        }
        Ok(told)
    }

    /// Remembers what the job was when it was recorded last, before this process began.
    pub fn recall_run(&mut self, run: Run) {
        self.run.get_or_insert(run);
    }

    /// Remembers checkpoints that were recorded before, so that they are not asked for again.
    pub fn recall(&mut self, checkpoints: impl IntoIterator<Item = Checkpoint>) {
        let has_ended = |checkpoint: &Checkpoint| checkpoint.state != CheckpointState::InProgress;
        let whole = checkpoints.into_iter().filter(|checkpoint| has_ended(checkpoint) && !checkpoint.tasks.is_empty());
        self.checkpoints.extend(whole.map(|checkpoint| (checkpoint.id, checkpoint)));
    }

    fn want_all(&mut self) {
        self.has_checkpoints = true;
        self.wanted.extend([Ask::Details, Ask::Exceptions, Ask::Checkpoints, Ask::Accumulators]);
        self.wanted.insert(if self.entry.state.has_ended() { Ask::ExecutionResult } else { Ask::MetricNames });
    }

    /// Vertices are asked for theirs only if the job has any at all.
    fn want_vertex_accumulators(&mut self) {
        for id in self.vertices.keys() {
            self.wanted.insert(Ask::VertexAccumulators(id.clone()));
            self.wanted.insert(Ask::SubtaskAccumulators(id.clone()));
        }
    }

    fn want_names(&mut self) {
        let running: Vec<String> = self.running().map(|vertex| vertex.id.clone()).collect();
        self.wanted.insert(Ask::MetricNames);
        self.wanted.extend(running.into_iter().map(Ask::VertexMetricNames));
    }

    fn want_numbers(&mut self) {
        if self.names.get("").is_some_and(|names| !names.is_empty()) {
            self.wanted.insert(Ask::Values);
        }
        let running: Vec<String> = self.running().map(|vertex| vertex.id.clone()).collect();
        for id in running {
            let pieces = self.lists(&id).len();
            self.wanted.extend((0..pieces).map(|piece| Ask::VertexValues(id.clone(), piece)));
            self.wanted.insert(Ask::Vertex(id));
        }
    }

    fn running(&self) -> impl Iterator<Item = &Vertex> {
        self.vertices.values().filter(|vertex| !vertex.state.has_ended())
    }

    fn observation(&self, at_ms: i64) -> Observation {
        Observation::new(self.subject.clone(), Origin::Flink, at_ms).in_cluster(&self.cluster).of_the_present()
    }
}

/// True if names of metrics are asked for so many rounds after a change.
fn names_are_due(rounds: u64) -> bool {
    rounds >= NAMES_ROUNDS_MIN && (rounds.is_power_of_two() || rounds.is_multiple_of(NAMES_ROUNDS_MAX))
}

#[cfg(test)]
mod tests;
