//! What the answers about a job say: documents to record, numbers, and what is to be asked next.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::convert::{self, Moving, VertexTimes, WrongShape};
use super::{Ask, Follower, Metrics};
use crate::jobs::{CheckpointState, JobsError, MetricNames, Observation};

/// Earlier attempts of a subtask that are asked for; Flink keeps so many.
const ATTEMPTS_MAX: u64 = 16;

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

impl Follower {
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

    pub(super) fn put_subtasks(
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

/// The values of `?get=`, those that are numbers or yes and no; of a vertex's the subtask stands before the name.
pub(in crate::flink) fn numbers(vertex: Option<&String>, answer: &Value) -> Vec<Number> {
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
