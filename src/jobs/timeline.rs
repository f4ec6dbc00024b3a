//! What happened to a job, in one list: its states, deployments, checkpoints and failures, oldest first.

use std::collections::{BTreeMap, BTreeSet};

use model::TimeRange;

use super::error::JobsError;
use super::model::checkpoint::Checkpoint;
use super::model::failure::Failure;
use super::model::run::Run;
use super::model::state::{CheckpointState, JobState};
use super::model::vertex::{Attempt, Subtask, Subtasks};
use super::store::{Known, Reader};

/// Versions of the run that are looked at: each change of state makes a few.
const RUNS_MAX: usize = 10_000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When.
    pub at_ms: i64,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// The job came into a state.
    State(JobState),
    /// Its cluster does not know it any more, although nobody saw it end.
    Lost,
    /// Subtasks of a vertex were deployed in an attempt; the time is that of the first.
    Deployment {
        /// The vertex.
        vertex: String,
        /// The attempt, from 0; another one than 0 is a restart.
        attempt: u64,
        /// How many subtasks.
        subtasks: u64,
    },
    /// A checkpoint or savepoint ended, or is at work since then.
    Checkpoint {
        /// Its number.
        id: i64,
        /// How it ended.
        state: CheckpointState,
        /// Whether a user asked for it.
        is_savepoint: bool,
        /// How long it took, or takes so far, in milliseconds.
        duration_ms: i64,
        /// The size of its state.
        state_bytes: i64,
    },
    /// Something failed.
    Failure {
        /// The exception's class, where known.
        name: Option<String>,
        /// The first line of its text.
        message: String,
        /// The task that failed.
        task: Option<String>,
    },
}

/// What happened to a job in a closed range of time, as far as was known at a time.
///
/// # Errors
/// [`JobsError`].
pub fn timeline(reader: &Reader<'_>, job: &Known, range: TimeRange, at_ms: i64) -> Result<Vec<Event>, JobsError> {
    let known = TimeRange { start_ms: i64::MIN, end_ms: at_ms };
    let runs = reader.history::<Run>(job, "", known, RUNS_MAX)?;
    let mut events = states(runs.into_iter().filter_map(|(_, run)| run));
    let subtasks = reader.documents::<Subtasks>(job, at_ms)?;
    let attempts = reader.documents::<Attempt>(job, at_ms)?;
    let newest = subtasks.iter().flat_map(|version| {
        let of = &version.document;
        of.subtasks.iter().map(move |subtask| (of.vertex.as_str(), subtask))
    });
    let older = attempts.iter().map(|version| (version.document.vertex.as_str(), &version.document.subtask));
    events.extend(deployments(newest.chain(older)));
    let checkpoints = reader.documents::<Checkpoint>(job, at_ms)?;
    events.extend(checkpoints.iter().map(|version| checkpoint(&version.document)));
    let failures = reader.documents::<Failure>(job, at_ms)?;
    events.extend(failures.iter().map(|version| failure(&version.document)));
    events.retain(|event| range.start_ms <= event.at_ms && event.at_ms <= range.end_ms);
    events.sort_by_key(|event| event.at_ms);
    Ok(events)
}

/// A version of the run knows when it was last in each state: all versions together know every time.
fn states(runs: impl Iterator<Item = Run>) -> Vec<Event> {
    let (mut times, mut lost) = (BTreeSet::new(), BTreeSet::new());
    for run in runs {
        times.extend(run.state_times.iter().map(|(state, at_ms)| (*at_ms, *state)));
        lost.extend(run.lost_ms);
    }
    let states = times.into_iter().map(|(at_ms, state)| Event { at_ms, what: What::State(state) });
    states.chain(lost.into_iter().map(|at_ms| Event { at_ms, what: What::Lost })).collect()
}

fn deployments<'a>(subtasks: impl Iterator<Item = (&'a str, &'a Subtask)>) -> Vec<Event> {
    let mut groups: BTreeMap<(&str, u64), (i64, u64)> = BTreeMap::new();
    for (vertex, subtask) in subtasks {
        let Some(started_ms) = subtask.started_ms else { continue };
        let group = groups.entry((vertex, subtask.attempt)).or_insert((started_ms, 0));
        *group = (group.0.min(started_ms), group.1 + 1);
    }
    let event = |((vertex, attempt), (at_ms, subtasks)): ((&str, u64), (i64, u64))| {
        let what = What::Deployment { vertex: vertex.to_owned(), attempt, subtasks };
        Event { at_ms, what }
    };
    groups.into_iter().map(event).collect()
}

fn checkpoint(checkpoint: &Checkpoint) -> Event {
    let failed_ms = checkpoint.failure.as_ref().map(|failure| failure.at_ms);
    let at_ms = match checkpoint.state {
        CheckpointState::InProgress => checkpoint.triggered_ms,
        CheckpointState::Completed => checkpoint.latest_ack_ms.max(checkpoint.triggered_ms),
        CheckpointState::Failed => failed_ms.unwrap_or(checkpoint.triggered_ms),
    };
    let what = What::Checkpoint {
        id: checkpoint.id,
        state: checkpoint.state,
        is_savepoint: checkpoint.is_savepoint,
        duration_ms: checkpoint.sizes.duration_ms,
        state_bytes: checkpoint.sizes.state_bytes,
    };
    Event { at_ms, what }
}

fn failure(failure: &Failure) -> Event {
    let message = failure.stack_trace.lines().next().unwrap_or_default().to_owned();
    let what = What::Failure { name: failure.name.clone(), message, task: failure.task.clone() };
    Event { at_ms: failure.at_ms, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::TaskState;

    #[test]
    fn every_time_in_a_state_is_there_although_each_version_knows_only_the_last() {
        let run = |times: &[(JobState, i64)]| -> Run {
            let times: BTreeMap<&str, i64> = times.iter().map(|(state, at)| (state.as_str(), *at)).collect();
            let run = serde_json::json!({
                "name": "n", "state": "RUNNING", "started_ms": 1, "is_stoppable": false, "state_times": times,
            });
            serde_json::from_value(run).unwrap()
        };
        let running = |at| (JobState::Running, at);
        let versions = [
            run(&[running(5)]),
            run(&[(JobState::Restarting, 7), running(5)]),
            run(&[(JobState::Restarting, 7), running(9)]),
        ];
        let found: Vec<_> = states(versions.into_iter()).into_iter().map(|event| (event.at_ms, event.what)).collect();
        let state = |at, state| (at, What::State(state));
        assert_eq!(found, [state(5, JobState::Running), state(7, JobState::Restarting), state(9, JobState::Running)]);
    }

    #[test]
    fn subtasks_of_one_attempt_are_deployed_together() {
        let subtask = |index, attempt, started_ms| Subtask {
            index,
            attempt,
            state: TaskState::Running,
            endpoint: None,
            task_manager: None,
            execution_id: None,
            started_ms,
            ended_ms: None,
            state_times: BTreeMap::new(),
            totals: None,
        };
        let all = [subtask(0, 1, Some(20)), subtask(1, 0, Some(11)), subtask(0, 0, Some(10)), subtask(2, 0, None)];
        let found = deployments(all.iter().map(|subtask| ("v", subtask)));
        let event = |at_ms, attempt, subtasks| Event {
            at_ms,
            what: What::Deployment { vertex: "v".to_owned(), attempt, subtasks },
        };
        assert_eq!(found, [event(10, 0, 2), event(20, 1, 1)]);
    }
}
