//! What happened to a job, in one list, oldest first: its states, deployments, restarts, changes of parallelism,
//! checkpoints, failures, and when nobody could see it.

use std::collections::{BTreeMap, BTreeSet};

use model::TimeRange;

use super::document::Document;
use super::error::JobsError;
use super::model::checkpoint::{Checkpoint, CheckpointStatistics};
use super::model::cluster::Cluster;
use super::model::failure::Failure;
use super::model::plan::Plan;
use super::model::run::Run;
use super::model::state::{CheckpointState, JobState};
use super::model::vertex::{Attempt, Subtask, Subtasks};
use super::store::{Known, Reader};

/// Versions of a document that are read at once; few in tests, so that they turn pages.
const PAGE: usize = if cfg!(test) { 2 } else { 1_000 };

/// Longest time between two deployments of one restart, in milliseconds: slots are given within seconds.
const RESTART_GAP_MS: i64 = 10_000;

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
    /// Subtasks were deployed again.
    Restart {
        /// How many; none if the source says no more than that it restarted.
        subtasks: u64,
        /// Of which vertices.
        vertices: Vec<String>,
        /// What failed before: the exception's class, or the first line of its text.
        cause: Option<String>,
        /// The checkpoint that it was restored from, where known.
        restored: Option<i64>,
    },
    /// A vertex has another parallelism from then on.
    Rescaled {
        /// The vertex.
        vertex: String,
        /// Before.
        from: i64,
        /// After.
        to: i64,
    },
    /// Its cluster did not answer from then on.
    Unreachable,
    /// Its cluster answered again.
    Reachable,
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
    let mut states = States::default();
    each_version::<Run>(reader, job, "", at_ms, |_, run| states.extend(run))?;
    let mut events = states.events();
    let deployed = Deployed::read(reader, job, at_ms)?;
    let failures = failures(reader, job, at_ms)?;
    let mut restarts = restarts(&deployed, &states, &failures);
    look_up_restored(reader, job, at_ms, &mut restarts)?;
    events.extend(restarts);
    events.extend(deployed.events());
    events.extend(rescaled(reader, job, at_ms)?);
    events.extend(contact(reader, job, at_ms)?);
    let checkpoints = reader.documents::<Checkpoint>(job, at_ms)?;
    events.extend(checkpoints.iter().map(|version| checkpoint(&version.document)));
    events.extend(failures.iter().map(failure));
    events.retain(|event| range.contains(event.at_ms));
    events.sort_by_key(|event| event.at_ms);
    Ok(events)
}

/// The restarts of a job in a closed range of time, oldest first, as far as was known at a time.
///
/// # Errors
/// [`JobsError`].
pub(super) fn restarts_in(
    reader: &Reader<'_>,
    job: &Known,
    range: TimeRange,
    at_ms: i64,
) -> Result<Vec<Event>, JobsError> {
    let mut states = States::default();
    each_version::<Run>(reader, job, "", at_ms, |_, run| states.extend(run))?;
    let deployed = Deployed::read(reader, job, at_ms)?;
    let mut restarts = restarts(&deployed, &states, &failures(reader, job, at_ms)?);
    restarts.retain(|event| range.contains(event.at_ms));
    Ok(restarts)
}

/// Calls `each` with the time of every version of a document that was known, oldest first; none where it was withdrawn.
fn each_version<D: Document>(
    reader: &Reader<'_>,
    of: &Known,
    key: &str,
    at_ms: i64,
    mut each: impl FnMut(i64, Option<D>),
) -> Result<(), JobsError> {
    let mut range = TimeRange { start_ms: i64::MIN, end_ms: at_ms };
    loop {
        let page = reader.history::<D>(of, key, range, PAGE)?;
        let (count, last_ms) = (page.len(), page.last().map(|(from_ms, _)| *from_ms));
        page.into_iter().for_each(|(from_ms, document)| each(from_ms, document));
        // There is one version at a time.
        match last_ms.and_then(|last_ms| last_ms.checked_add(1)) {
            Some(next_ms) if count == PAGE => range.start_ms = next_ms,
            _ => return Ok(()),
        }
    }
}

/// When a job was in which state: a version of the run knows when it was last in each, all together know every time.
#[derive(Default)]
struct States {
    times: BTreeSet<(i64, JobState)>,
    lost: BTreeSet<i64>,
}

impl States {
    fn extend(&mut self, run: Option<Run>) {
        let Some(run) = run else { return };
        self.times.extend(run.state_times.iter().map(|(state, at_ms)| (*at_ms, *state)));
        self.lost.extend(run.lost_ms);
    }

    fn events(&self) -> Vec<Event> {
        let states = self.times.iter().map(|(at_ms, state)| Event { at_ms: *at_ms, what: What::State(*state) });
        states.chain(self.lost.iter().map(|at_ms| Event { at_ms: *at_ms, what: What::Lost })).collect()
    }

    /// When it began to restart, and the next time that it did.
    fn restarting(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        let begins = || self.times.iter().filter(|(_, state)| *state == JobState::Restarting).map(|(at_ms, _)| *at_ms);
        begins().zip(begins().skip(1).chain([i64::MAX]))
    }
}

/// A subtask that was deployed.
struct Deployment {
    at_ms: i64,
    vertex: String,
    subtask: u64,
    attempt: u64,
}

/// All of them, in the order of time.
struct Deployed(Vec<Deployment>);

impl Deployed {
    fn read(reader: &Reader<'_>, job: &Known, at_ms: i64) -> Result<Deployed, JobsError> {
        let newest = reader.documents::<Subtasks>(job, at_ms)?;
        let older = reader.documents::<Attempt>(job, at_ms)?;
        let newest = newest.iter().flat_map(|version| {
            let of = &version.document;
            of.subtasks.iter().map(move |subtask| (of.vertex.as_str(), subtask))
        });
        let older = older.iter().map(|version| (version.document.vertex.as_str(), &version.document.subtask));
        Ok(Deployed::of(newest.chain(older)))
    }

    fn of<'a>(subtasks: impl Iterator<Item = (&'a str, &'a Subtask)>) -> Deployed {
        let deployment = |(vertex, subtask): (&str, &Subtask)| {
            let (vertex, at_ms) = (vertex.to_owned(), subtask.started_ms?);
            Some(Deployment { at_ms, vertex, subtask: subtask.index, attempt: subtask.attempt })
        };
        let mut all: Vec<Deployment> = subtasks.filter_map(deployment).collect();
        all.sort_by(|a, b| (a.at_ms, &a.vertex, a.subtask).cmp(&(b.at_ms, &b.vertex, b.subtask)));
        Deployed(all)
    }

    /// One event for the subtasks of a vertex in one attempt.
    fn events(&self) -> Vec<Event> {
        let mut groups: BTreeMap<(&str, u64), (i64, u64)> = BTreeMap::new();
        for one in &self.0 {
            groups.entry((&one.vertex, one.attempt)).or_insert((one.at_ms, 0)).1 += 1;
        }
        let event = |((vertex, attempt), (at_ms, subtasks)): ((&str, u64), (i64, u64))| {
            let what = What::Deployment { vertex: vertex.to_owned(), attempt, subtasks };
            Event { at_ms, what }
        };
        groups.into_iter().map(event).collect()
    }

    /// Deployments that are no first attempts, those of one restart together: no subtask comes twice in it.
    fn again(&self) -> Vec<Vec<&Deployment>> {
        let mut groups: Vec<Vec<&Deployment>> = Vec::new();
        let mut places: BTreeSet<(&str, u64)> = BTreeSet::new();
        for one in self.0.iter().filter(|one| one.attempt > 0) {
            let is_near = groups.last().and_then(|group| group.last());
            let is_near = is_near.is_some_and(|last| one.at_ms - last.at_ms <= RESTART_GAP_MS);
            if !is_near {
                places.clear();
            }
            // A subtask that comes again belongs to the next one.
            let is_first = places.insert((one.vertex.as_str(), one.subtask));
            match groups.last_mut() {
                Some(group) if is_near && is_first => group.push(one),
                _ => {
                    places = [(one.vertex.as_str(), one.subtask)].into();
                    groups.push(vec![one]);
                }
            }
        }
        groups
    }
}

/// Restarts, from what was deployed again and, where that is not known, from the states of the job.
fn restarts(deployed: &Deployed, states: &States, failures: &[Failure]) -> Vec<Event> {
    let again = deployed.again();
    let mut found: Vec<Event> = Vec::new();
    for group in &again {
        let Some(at_ms) = group.first().map(|one| one.at_ms) else { continue };
        let vertices: BTreeSet<&str> = group.iter().map(|one| one.vertex.as_str()).collect();
        let vertices = vertices.into_iter().map(str::to_owned).collect();
        found.push(restart(at_ms, group.len() as u64, vertices));
    }
    for (from_ms, to_ms) in states.restarting() {
        let is_known = again.iter().flatten().any(|one| (from_ms..to_ms).contains(&one.at_ms));
        if !is_known {
            found.push(restart(from_ms, 0, Vec::new()));
        }
    }
    found.sort_by_key(|event| event.at_ms);
    let mut before_ms = i64::MIN;
    for event in &mut found {
        let since = |failure: &&Failure| before_ms < failure.at_ms && failure.at_ms <= event.at_ms;
        let newest = failures.iter().filter(since).max_by_key(|failure| failure.at_ms);
        before_ms = event.at_ms;
        if let What::Restart { cause, .. } = &mut event.what {
            *cause = newest.map(in_short);
        }
    }
    found
}

fn restart(at_ms: i64, subtasks: u64, vertices: Vec<String>) -> Event {
    Event { at_ms, what: What::Restart { subtasks, vertices, cause: None, restored: None } }
}

fn in_short(failure: &Failure) -> String {
    failure.name.clone().unwrap_or_else(|| first_line(failure))
}

fn first_line(failure: &Failure) -> String {
    failure.stack_trace.lines().next().unwrap_or_default().to_owned()
}

/// The statistics know the newest restore only: those that held before the next restart know that of this one.
fn look_up_restored(reader: &Reader<'_>, job: &Known, at_ms: i64, restarts: &mut [Event]) -> Result<(), JobsError> {
    let ends: Vec<i64> = restarts.iter().skip(1).map(|next| next.at_ms - 1).chain([at_ms]).collect();
    for (event, end_ms) in restarts.iter_mut().zip(ends) {
        let statistics = reader.document::<CheckpointStatistics>(job, "", end_ms)?;
        let newest = statistics.and_then(|version| version.document.restored);
        if let What::Restart { restored, .. } = &mut event.what {
            // It is restored before its tasks are deployed.
            *restored =
                newest.filter(|from| from.at_ms.abs_diff(event.at_ms) <= RESTART_GAP_MS as u64).map(|from| from.id);
        }
    }
    Ok(())
}

fn failures(reader: &Reader<'_>, job: &Known, at_ms: i64) -> Result<Vec<Failure>, JobsError> {
    Ok(reader.documents::<Failure>(job, at_ms)?.into_iter().map(|version| version.document).collect())
}

/// Changes of parallelism.
fn rescaled(reader: &Reader<'_>, job: &Known, at_ms: i64) -> Result<Vec<Event>, JobsError> {
    let (mut known, mut events) = (BTreeMap::new(), Vec::new());
    each_version::<Plan>(reader, job, "", at_ms, |at_ms, plan| {
        for node in plan.iter().flat_map(|plan| &plan.nodes) {
            let before = known.insert(node.id.clone(), node.parallelism);
            if let Some(from) = before.filter(|from| *from != node.parallelism) {
                let what = What::Rescaled { vertex: node.id.clone(), from, to: node.parallelism };
                events.push(Event { at_ms, what });
            }
        }
    })?;
    Ok(events)
}

/// When the job's cluster did not answer while the job was there.
fn contact(reader: &Reader<'_>, job: &Known, at_ms: i64) -> Result<Vec<Event>, JobsError> {
    let Some(cluster) = super::contact::cluster_of(reader, job)? else { return Ok(Vec::new()) };
    let (mut was_reachable, mut events) = (true, Vec::new());
    each_version::<Cluster>(reader, &cluster, "", at_ms, |at_ms, contact| {
        let is_reachable = contact.is_none_or(|contact| contact.is_reachable);
        let is_of_job = job.first_ms <= at_ms && job.ended_ms.is_none_or(|ended_ms| at_ms <= ended_ms);
        if is_reachable != was_reachable && is_of_job {
            events.push(Event { at_ms, what: if is_reachable { What::Reachable } else { What::Unreachable } });
        }
        was_reachable = is_reachable;
    })?;
    Ok(events)
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
    let what = What::Failure { name: failure.name.clone(), message: first_line(failure), task: failure.task.clone() };
    Event { at_ms: failure.at_ms, what }
}

#[cfg(test)]
mod tests;
