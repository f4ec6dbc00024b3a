//! What is known of the jobs that live, and what is to be written down when a look shows something else.
//!
//! Documents hold from the time of the samples that show them, never from that of the look: a look after a pause writes
//! the same as one that came at once. A job that has fallen silent is forgotten here; the store has it, and gives it back
//! when samples come again ([`Tracker::remember`]).

use std::collections::BTreeMap;

use super::documents::{self, Operators};
use super::sighting::{JobKey, Sighting};
use crate::jobs::{JobState, JobsError, Observation, Origin, Run, Subject, Subtasks, Vertex};

/// What the store has of a job.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tracked {
    pub(super) run: Run,
    pub(super) operators: Operators,
    /// From when on the newest of its documents holds.
    pub(super) at_ms: i64,
    /// Time of its newest sample, where known.
    pub(super) newest_ms: Option<i64>,
}

/// The jobs that live.
#[derive(Debug)]
pub(super) struct Tracker {
    stale_after_ms: i64,
    jobs: BTreeMap<JobKey, Tracked>,
}

impl Tracker {
    /// Knows none.
    pub(super) fn new(stale_after_ms: i64) -> Tracker {
        Tracker { stale_after_ms, jobs: BTreeMap::new() }
    }

    /// Number of jobs.
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn has(&self, key: &JobKey) -> bool {
        self.jobs.contains_key(key)
    }

    /// The jobs with the time of their newest sample.
    pub(super) fn newest(&self) -> impl Iterator<Item = (&JobKey, i64)> {
        self.jobs.iter().filter_map(|(key, job)| Some((key, job.newest_ms?)))
    }

    /// Takes in what the store has of a job.
    pub(super) fn remember(&mut self, key: JobKey, job: Tracked) {
        self.jobs.insert(key, job);
    }

    /// Knows a job no more: what is in the store of it is another's, or may be another than was thought.
    pub(super) fn forget(&mut self, key: &JobKey) {
        self.jobs.remove(key);
    }

    /// A job that is not in the store, and whose first sample has this time. What is to be written: how it began, and if
    /// it is silent already how it ended.
    ///
    /// # Errors
    /// [`JobsError::Unwritable`].
    pub(super) fn begin(
        &mut self,
        key: &JobKey,
        seen: &Sighting,
        first_ms: i64,
    ) -> Result<Vec<Observation>, JobsError> {
        let at_ms = first_ms.min(seen.newest_ms);
        let operators = documents::operators(seen, &Operators::new(), at_ms);
        let run = documents::run(&key.id, seen.name.as_deref(), &operators, at_ms);
        let mut observation = observation(key, at_ms);
        observation.put(&run)?;
        put_changes(&mut observation, &Operators::new(), &operators)?;
        self.jobs.insert(key.clone(), Tracked { run, operators, at_ms, newest_ms: Some(seen.newest_ms) });
        let mut all = vec![observation];
        if !seen.is_live {
            all.extend(self.lose(key, seen.newest_ms)?);
        }
        Ok(all)
    }

    /// A job that is known. What is to be written, if something is.
    ///
    /// # Errors
    /// [`JobsError::Unwritable`].
    pub(super) fn see(&mut self, key: &JobKey, seen: &Sighting) -> Result<Option<Observation>, JobsError> {
        if !seen.is_live {
            return self.lose(key, seen.newest_ms);
        }
        let Some(job) = self.jobs.get_mut(key) else { return Ok(None) };
        job.newest_ms = job.newest_ms.max(Some(seen.newest_ms));
        let at_ms = seen.newest_ms.max(job.at_ms);
        let operators = documents::operators(seen, &job.operators, at_ms);
        let mut run = Run { lost_ms: None, tasks: documents::tasks(&operators), ..job.run.clone() };
        if let Some(name) = &seen.name {
            run.name.clone_from(name);
        }
        if job.run.lost_ms.is_some() {
            run.state_times.insert(JobState::Running, at_ms);
        }
        let mut observation = observation(key, at_ms);
        if run != job.run {
            observation.put(&run)?;
        }
        put_changes(&mut observation, &job.operators, &operators)?;
        if observation.is_empty() {
            return Ok(None);
        }
        (job.run, job.operators, job.at_ms) = (run, operators, at_ms);
        Ok(Some(observation))
    }

    /// The jobs that a look did not see; those of them whose newest sample is not known.
    pub(super) fn unseen<'t>(
        &'t self,
        seen: &'t BTreeMap<JobKey, Sighting>,
    ) -> impl Iterator<Item = (&'t JobKey, bool)> {
        let unseen = self.jobs.iter().filter(|(key, _)| !seen.contains_key(*key));
        unseen.map(|(key, job)| (key, job.newest_ms.is_none()))
    }

    /// The time of the newest sample of a job was looked up; without any it is that of its newest document.
    pub(super) fn set_newest(&mut self, key: &JobKey, newest_ms: Option<i64>) {
        if let Some(job) = self.jobs.get_mut(key) {
            job.newest_ms = Some(newest_ms.map_or(job.at_ms, |newest_ms| newest_ms.max(job.at_ms)));
        }
    }

    /// A job that was not seen. What is to be written, if it has been silent for long enough.
    ///
    /// # Errors
    /// [`JobsError::Unwritable`].
    pub(super) fn miss(&mut self, key: &JobKey, now_ms: i64) -> Result<Option<Observation>, JobsError> {
        let newest_ms = self.jobs.get(key).and_then(|job| job.newest_ms);
        match newest_ms.filter(|newest_ms| now_ms.saturating_sub(*newest_ms) > self.stale_after_ms) {
            Some(newest_ms) => self.lose(key, newest_ms),
            None => Ok(None),
        }
    }

    /// A job fell silent after a sample: it stays what it was last.
    fn lose(&mut self, key: &JobKey, newest_ms: i64) -> Result<Option<Observation>, JobsError> {
        let Some(job) = self.jobs.remove(key) else { return Ok(None) };
        let lost_ms = job.newest_ms.map_or(newest_ms, |known| known.max(newest_ms)).max(job.at_ms);
        if job.run.lost_ms.is_some_and(|known| known >= lost_ms) {
            return Ok(None);
        }
        let mut observation = observation(key, lost_ms);
        observation.put(&Run { lost_ms: Some(lost_ms), ..job.run })?;
        Ok(Some(observation))
    }
}

fn observation(key: &JobKey, at_ms: i64) -> Observation {
    Observation::new(Subject::job(&key.org, &key.id), Origin::Metrics, at_ms)
}

/// Puts what differs, and with it the plan.
fn put_changes(observation: &mut Observation, before: &Operators, now: &Operators) -> Result<(), JobsError> {
    if before == now {
        return Ok(());
    }
    for (id, drawn) in now {
        let known = before.get(id);
        if known.is_none_or(|known| known.vertex != drawn.vertex) {
            observation.put(&drawn.vertex)?;
        }
        if known.is_none_or(|known| known.subtasks != drawn.subtasks) {
            observation.put(&drawn.subtasks)?;
        }
    }
    for id in before.keys().filter(|id| !now.contains_key(*id)) {
        observation.withdraw::<Vertex>(id);
        observation.withdraw::<Subtasks>(id);
    }
    observation.put(&documents::plan(now))
}

#[cfg(test)]
mod tests;
