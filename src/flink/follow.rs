//! What to ask a cluster of one job next, and what its answers say: the collector without its sockets and its clock.
//!
//! A round begins with what the list of all jobs says of it. If nothing has changed since the last round (Flink's
//! `last-modification` covers the states of all its subtasks) only the checkpoints are asked for, and from time to time the
//! accumulators; in the mode [`Metrics::Rest`] also the numbers. What has changed is asked for, and once more in the next
//! round, in the order of [`Ask`]; what does not fit into a round waits for the next, and is asked for once however often it
//! was wanted meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::convert::{self, JobEntry, Moving, VertexTimes, WrongShape};
use crate::jobs::{Checkpoint, CheckpointState, JobsError, MetricNames, Observation, Origin, Run, Subject, Vertex};

/// Rounds between two looks at accumulators, which move with every record and cost two requests for each vertex.
const ACCUMULATOR_ROUNDS: u64 = 6;

/// Rounds after a change in which the names of metrics are asked for again, twice as many each time: operators register
/// metrics when their first record comes, and the cluster itself looks only from time to time.
const NAMES_ROUNDS: std::ops::RangeInclusive<u64> = 8..=64;

/// True if names of metrics are asked for so many rounds after a change.
fn names_are_due(rounds: u64) -> bool {
    let (first, last) = NAMES_ROUNDS.into_inner();
    rounds >= first && (rounds.is_power_of_two() || rounds.is_multiple_of(last))
}

/// Longest list of metrics in one request, in bytes: Flink's server refuses a first line of more than 4096.
const GET_BYTES_MAX: usize = 3500;

/// Most such requests about one vertex, whatever parallelism a cluster says it has.
const PIECES_MAX: usize = 1000;

/// Earlier attempts of a subtask that are asked for; Flink keeps so many.
const ATTEMPTS_MAX: u64 = 16;

/// Where numbers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metrics {
    /// Flink's Prometheus reporters, which are found and scraped ([`super::reporters`]).
    Scrape,
    /// The REST API.
    Rest,
}

/// What can be asked of a job, the most telling first: what does not fit into a round stands last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// `/jobs/:jobid`
    Details,
    /// `…/exceptions`
    Exceptions,
    /// `…/checkpoints`
    Checkpoints,
    /// `…/execution-result`, of a job that has ended.
    ExecutionResult,
    /// `…/config`, once.
    Config,
    /// `…/checkpoints/config`, once.
    CheckpointConfig,
    /// `…/vertices/:vertexid`
    Vertex(String),
    /// `…/vertices/:vertexid/subtasktimes`, of releases whose subtasks do not say how long they were in each state.
    SubtaskTimes(String),
    /// `…/checkpoints/details/:checkpointid`
    Checkpoint(i64),
    /// `…/checkpoints/details/:checkpointid/subtasks/:vertexid`
    CheckpointSubtasks(i64, String),
    /// `…/metrics`, the names.
    MetricNames,
    /// `…/vertices/:vertexid/subtasks/metrics`, the names.
    VertexMetricNames(String),
    /// `…/metrics?get=`
    Values,
    /// `…/vertices/:vertexid/metrics?get=`, a piece of the list.
    VertexValues(String, usize),
    /// `…/accumulators`
    Accumulators,
    /// `…/vertices/:vertexid/accumulators`
    VertexAccumulators(String),
    /// `…/vertices/:vertexid/subtasks/accumulators`
    SubtaskAccumulators(String),
    /// `…/vertices/:vertexid/subtasks/:subtaskindex/attempts/:attempt`, of one that a newer took the place of.
    Attempt(String, u64, u64),
}

/// A number that moves, under Flink's metric id or an accumulator's name.
#[derive(Debug, Clone, PartialEq)]
pub struct Number {
    /// The vertex; none for the job as a whole.
    pub vertex: Option<String>,
    /// The subtask; none for all together.
    pub subtask: Option<u64>,
    /// The id or name.
    pub name: String,
    /// The value.
    pub value: f64,
}

/// What an answer says.
#[derive(Debug, Default)]
pub struct Told {
    /// Documents to record, if any.
    pub observation: Option<Observation>,
    /// What went through tasks that run.
    pub moving: Vec<Moving>,
    /// Metrics.
    pub metrics: Vec<Number>,
    /// Accumulators of tasks that run.
    pub accumulators: Vec<Number>,
}

/// Why an answer is of no use; the round goes on without it.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// It is of no shape that we know.
    #[error(transparent)]
    Shape(#[from] WrongShape),
    /// It cannot be written down.
    #[error(transparent)]
    Jobs(#[from] JobsError),
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

    /// The path of a question, with its parameters.
    pub fn path(&self, ask: &Ask) -> String {
        let rest = match ask {
            Ask::Details => String::new(),
            Ask::Exceptions => "/exceptions".to_owned(),
            Ask::Checkpoints => "/checkpoints".to_owned(),
            Ask::ExecutionResult => "/execution-result".to_owned(),
            Ask::Config => "/config".to_owned(),
            Ask::CheckpointConfig => "/checkpoints/config".to_owned(),
            Ask::Vertex(id) => format!("/vertices/{id}"),
            Ask::SubtaskTimes(id) => format!("/vertices/{id}/subtasktimes"),
            Ask::Checkpoint(id) => format!("/checkpoints/details/{id}"),
            Ask::CheckpointSubtasks(id, vertex) => format!("/checkpoints/details/{id}/subtasks/{vertex}"),
            Ask::MetricNames => "/metrics".to_owned(),
            Ask::VertexMetricNames(id) => format!("/vertices/{id}/subtasks/metrics"),
            Ask::Values => format!("/metrics?get={}", self.lists("").first().cloned().unwrap_or_default()),
            Ask::VertexValues(id, piece) => {
                format!("/vertices/{id}/metrics?get={}", self.lists(id).get(*piece).cloned().unwrap_or_default())
            }
            Ask::Accumulators => "/accumulators".to_owned(),
            Ask::VertexAccumulators(id) => format!("/vertices/{id}/accumulators"),
            Ask::SubtaskAccumulators(id) => format!("/vertices/{id}/subtasks/accumulators"),
            Ask::Attempt(id, index, attempt) => format!("/vertices/{id}/subtasks/{index}/attempts/{attempt}"),
        };
        format!("/jobs/{}{rest}", self.subject.id)
    }

    /// The ids of all metrics of a vertex (or, empty, of the job) as values of `get`, in pieces that fit into a request.
    fn lists(&self, vertex: &str) -> Vec<String> {
        let names = self.names.get(vertex).map(Vec::as_slice).unwrap_or_default();
        let subtasks = self.vertices.get(vertex).map_or(0, |vertex| vertex.parallelism);
        let ids: Box<dyn Iterator<Item = String> + '_> = if vertex.is_empty() {
            Box::new(names.iter().cloned())
        } else {
            Box::new((0..subtasks).flat_map(move |index| names.iter().map(move |name| format!("{index}.{name}"))))
        };
        pieces(ids)
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

    /// Takes an answer with status 200 in. All answers of a round have the same time, so that what they say together holds
    /// from one moment on.
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn answered(&mut self, ask: &Ask, answer: &Value, at_ms: i64) -> Result<Told, FollowError> {
        let mut told = Told::default();
        let mut seen = self.observation(at_ms);
        match ask {
            Ask::Details => self.details(answer, &mut seen)?,
            Ask::Exceptions => self.exceptions(answer, &mut seen)?,
            Ask::Checkpoints => self.checkpoints(answer, &mut seen)?,
            Ask::Checkpoint(id) => self.checkpoint(*id, answer, &mut seen)?,
            Ask::CheckpointSubtasks(_, vertex) => seen.put(&convert::checkpoint_subtasks(answer, vertex)?)?,
            Ask::ExecutionResult => convert::outcome(answer)?.iter().try_for_each(|outcome| seen.put(outcome))?,
            Ask::Config => seen.put(&convert::settings(answer)?)?,
            Ask::CheckpointConfig => seen.put(&convert::checkpoint_settings(answer)?)?,
            Ask::Vertex(id) => told.moving = self.vertex(id, answer, &mut seen)?,
            Ask::SubtaskTimes(id) => told.moving = self.subtask_times(id, answer, &mut seen)?,
            Ask::Attempt(id, _, _) => seen.put(&convert::attempt(answer, id)?)?,
            Ask::MetricNames => self.metric_names("", answer, &mut seen)?,
            Ask::VertexMetricNames(id) => self.metric_names(id, answer, &mut seen)?,
            Ask::Values => told.metrics = numbers(None, answer),
            Ask::VertexValues(id, _) => told.metrics = numbers(Some(id), answer),
            Ask::Accumulators => {
                told.accumulators = self.accumulators("", None, answer, &mut seen)?;
                if !seen.is_empty() {
                    self.want_vertex_accumulators();
                }
            }
            Ask::VertexAccumulators(id) => told.accumulators = self.accumulators(id, None, answer, &mut seen)?,
            Ask::SubtaskAccumulators(id) => {
                for subtask in answer["subtasks"].as_array().map(Vec::as_slice).unwrap_or_default() {
                    let index = subtask["subtask"].as_u64();
                    told.accumulators.extend(self.accumulators(id, index, subtask, &mut seen)?);
                }
            }
        }
        told.observation = Some(seen).filter(|seen| !seen.is_empty());
        Ok(told)
    }

    fn details(&mut self, answer: &Value, seen: &mut Observation) -> Result<(), FollowError> {
        let mut job = convert::job(answer, &self.entry)?;
        job.run.are_failures_truncated = self.are_failures_truncated;
        seen.put(&job.run)?;
        seen.put(&job.plan)?;
        for vertex in job.vertices {
            seen.put(&vertex)?;
            self.wanted.insert(Ask::Vertex(vertex.id.clone()));
            if !vertex.state.has_ended() {
                self.wanted.insert(Ask::VertexMetricNames(vertex.id.clone()));
            }
            self.vertices.insert(vertex.id.clone(), vertex);
        }
        if job.run.state.has_ended() {
            // All answers come from the same cache: what was said before this one may be from before the end.
            self.wanted.extend([Ask::Exceptions, Ask::Checkpoints, Ask::ExecutionResult, Ask::Accumulators]);
        } else if self.entry.state.has_ended() {
            // The cache is older than the list, which says that the job has ended: it is asked again.
            self.later.insert(Ask::Details);
        }
        self.run = Some(job.run);
        Ok(())
    }

    fn exceptions(&mut self, answer: &Value, seen: &mut Observation) -> Result<(), FollowError> {
        let found = convert::failures(answer)?;
        self.are_failures_truncated = found.is_truncated;
        found.failures.iter().try_for_each(|failure| seen.put(failure))?;
        if let Some(run) = self.run.as_mut().filter(|run| run.are_failures_truncated != found.is_truncated) {
            run.are_failures_truncated = found.is_truncated;
            seen.put(&*run)?;
        }
        Ok(())
    }

    /// Releases that do not say how long subtasks were in their states are asked once more; the document waits for that.
    fn vertex(&mut self, id: &str, answer: &Value, seen: &mut Observation) -> Result<Vec<Moving>, FollowError> {
        let subtasks = answer["subtasks"].as_array().map(Vec::as_slice).unwrap_or_default();
        if subtasks.iter().any(|subtask| subtask.get("status-duration").is_none()) {
            self.halves.insert(id.to_owned(), answer.clone());
            self.wanted.insert(Ask::SubtaskTimes(id.to_owned()));
            return Ok(Vec::new());
        }
        self.put_subtasks(answer, &VertexTimes::default(), seen)
    }

    fn put_subtasks(
        &mut self,
        answer: &Value,
        times: &VertexTimes,
        seen: &mut Observation,
    ) -> Result<Vec<Moving>, FollowError> {
        let (subtasks, moving) = convert::subtasks(answer, times)?;
        seen.put(&subtasks)?;
        let newest = self.attempts.entry(subtasks.vertex.clone()).or_default();
        newest.resize(subtasks.subtasks.len(), 0);
        let before = newest.clone();
        for subtask in &subtasks.subtasks {
            // An index beyond the list would be no subtask of this vertex.
            let Some(known) = usize::try_from(subtask.index).ok().and_then(|index| newest.get_mut(index)) else {
                continue;
            };
            let missed = subtask.attempt.saturating_sub(ATTEMPTS_MAX).max(*known)..subtask.attempt;
            let ask = |attempt| Ask::Attempt(subtasks.vertex.clone(), subtask.index, attempt);
            self.wanted.extend(missed.map(ask));
            *known = subtask.attempt;
        }
        if *newest != before {
            // A job that restarts faster than its attempts are asked for would be owed more and more of them.
            let is_kept = |index: u64, attempt: u64| {
                let newest = usize::try_from(index).ok().and_then(|index| newest.get(index));
                newest.is_none_or(|newest| newest.saturating_sub(ATTEMPTS_MAX) <= attempt)
            };
            self.wanted.retain(|ask| match ask {
                Ask::Attempt(vertex, index, attempt) if *vertex == subtasks.vertex => is_kept(*index, *attempt),
                _ => true,
            });
        }
        Ok(moving)
    }

    fn subtask_times(&mut self, id: &str, answer: &Value, seen: &mut Observation) -> Result<Vec<Moving>, FollowError> {
        let Some(half) = self.halves.remove(id) else { return Ok(Vec::new()) };
        self.put_subtasks(&half, &convert::vertex_times(answer)?, seen)
    }

    /// Checkpoints in a list come without their tasks. Each that has ended is asked for once; what the list says of it
    /// later (that it was removed) is put together with the tasks that are known.
    fn checkpoints(&mut self, answer: &Value, seen: &mut Observation) -> Result<(), FollowError> {
        let (statistics, listed) = convert::checkpoints(answer)?;
        seen.put(&statistics)?;
        let ids: BTreeSet<i64> = listed.iter().map(|checkpoint| checkpoint.id).collect();
        self.checkpoints.retain(|id, _| ids.contains(id));
        for mut checkpoint in listed {
            if let Some(known) = self.checkpoints.get_mut(&checkpoint.id) {
                checkpoint.tasks = std::mem::take(&mut known.tasks);
                *known = checkpoint.clone();
            } else if checkpoint.state != CheckpointState::InProgress {
                self.wanted.insert(Ask::Checkpoint(checkpoint.id));
            }
            seen.put(&checkpoint)?;
        }
        Ok(())
    }

    fn checkpoint(&mut self, id: i64, answer: &Value, seen: &mut Observation) -> Result<(), FollowError> {
        let checkpoint = convert::checkpoint(answer)?;
        seen.put(&checkpoint)?;
        // Parts of subtasks cost a request for each vertex: of several that ended since the last round, those of the
        // newest are asked for.
        let is_newest = self.checkpoints.keys().all(|known| *known < id);
        if is_newest {
            let is_older = |ask: &Ask| matches!(ask, Ask::CheckpointSubtasks(other, _) if *other < id);
            self.wanted.retain(|ask| !is_older(ask));
            self.wanted.extend(checkpoint.tasks.keys().map(|vertex| Ask::CheckpointSubtasks(id, vertex.clone())));
        }
        if checkpoint.state != CheckpointState::InProgress {
            self.checkpoints.insert(id, checkpoint);
        }
        Ok(())
    }

    fn metric_names(&mut self, of: &str, answer: &Value, seen: &mut Observation) -> Result<(), FollowError> {
        let listed = answer.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut names: Vec<String> = listed.iter().filter_map(|name| Some(name["id"].as_str()?.to_owned())).collect();
        if names.is_empty() {
            // The first answer is empty: the cluster begins to look only when it is asked.
            let again = if of.is_empty() { Ask::MetricNames } else { Ask::VertexMetricNames(of.to_owned()) };
            let has_ended = self.vertices.get(of).is_some_and(|vertex| vertex.state.has_ended());
            if !self.entry.state.has_ended() && !has_ended {
                self.later.insert(again);
            }
            return Ok(());
        }
        names.sort_unstable();
        let names = MetricNames { of: of.to_owned(), names };
        seen.put(&names)?;
        if self.metrics == Metrics::Rest {
            self.names.insert(names.of, names.names);
        }
        Ok(())
    }

    fn accumulators(
        &self,
        vertex: &str,
        subtask: Option<u64>,
        answer: &Value,
        seen: &mut Observation,
    ) -> Result<Vec<Number>, FollowError> {
        let has_ended = self.vertices.get(vertex).is_some_and(|vertex| vertex.state.has_ended());
        let is_moving = !self.entry.state.has_ended() && !has_ended;
        let (accumulators, moving) = convert::accumulators(answer, vertex, subtask, is_moving)?;
        if !accumulators.accumulators.is_empty() {
            seen.put(&accumulators)?;
        }
        let vertex = Some(vertex.to_owned()).filter(|vertex| !vertex.is_empty());
        let number = |(name, value)| Number { vertex: vertex.clone(), subtask, name, value };
        Ok(moving.into_iter().map(number).collect())
    }
}

/// Ids as values of `get`, in pieces that fit into a request.
pub(super) fn pieces(ids: impl Iterator<Item = String>) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for id in ids {
        let id = escaped(&id);
        let is_full = pieces.len() == PIECES_MAX;
        match pieces.last_mut().filter(|piece| piece.len() + 1 + id.len() <= GET_BYTES_MAX) {
            Some(piece) => {
                piece.push(',');
                piece.push_str(&id);
            }
            None if is_full => break,
            None => pieces.push(id),
        }
    }
    pieces
}

/// The values of `?get=`, those that are numbers or yes and no; of a vertex's the subtask stands before the name.
pub(super) fn numbers(vertex: Option<&String>, answer: &Value) -> Vec<Number> {
    let number = |entry: &Value| {
        let (id, text) = (entry["id"].as_str()?, entry["value"].as_str()?);
        let value = match text {
            "true" => 1.0,
            "false" => 0.0,
            text => text.parse().ok()?,
        };
        let (subtask, name) = match vertex {
            Some(_) => id.split_once('.').and_then(|(index, name)| Some((Some(index.parse().ok()?), name)))?,
            None => (None, id),
        };
        Some(Number { vertex: vertex.cloned(), subtask, name: name.to_owned(), value })
    };
    answer.as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(number).collect()
}

/// An id in a query: what could end it or the list is escaped.
pub(crate) fn escaped(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests;
