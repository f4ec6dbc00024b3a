//! Applying what engines tell of their jobs, on the writer's thread, inside its savepoint. What follows from it is decided
//! in [`crate::jobs::push`]; this reads what is known, asks there, and records what changed, at the moment itself and at
//! the later ones that it reaches into.

mod accumulators;
pub(super) mod agents;
mod checkpoints;
mod claims;
mod moments;

use std::collections::{BTreeMap, BTreeSet};

use model::{Matcher, Scope};
use rusqlite::Connection;

use super::observation::{Observation, Origin, Subject};
use super::read::{Known, Reader};
use super::{JobOptions, implied, record};
use crate::jobs::document::{Document, accumulators_key, attempt_key};
use crate::jobs::error::JobsError;
use crate::jobs::model::checkpoint::{CheckpointStatistics, CheckpointSubtasks};
use crate::jobs::model::failure::Failure;
use crate::jobs::model::run::Run;
use crate::jobs::model::state::JobState;
use crate::jobs::model::vertex::{Attempt, Subtasks, Vertex};
use crate::jobs::push::picture::{Before, Moment, Older, Picture, merge_older, merge_replaced, replaced};
use crate::jobs::push::{Claim, Push, PushError, Pushed, Registration, Standing, TaskDetail};
use accumulators::{Telling, without_numbers};

/// Puts in what was told.
pub(super) fn push(connection: &Connection, push: &Push, options: &JobOptions) -> Result<Pushed, PushError> {
    let known = find(connection, &push.job)?;
    let is_new = match (&known, &push.registration) {
        (Some(known), _) if known.origin == Origin::Flink => {
            return Err(PushError::Foreign { id: push.job.id.clone(), origin: known.origin.as_str() });
        }
        (Some(known), _) if known.origin == Origin::Push => false,
        (_, Some(_)) => true,
        (_, None) => return Err(PushError::NotRegistered { id: push.job.id.clone() }),
    };
    let mut writing = Writing::begin(connection, push, options, is_new)?;
    if push.is_about_tasks() {
        writing.claim()?;
        writing.tell()?;
    }
    writing.checkpoints()?;
    writing.rest()?;
    if let Some(registration) = &push.registration {
        agents::agree(connection, &writing.known, &registration.terms, push.now_ms)?;
    }
    if agents::take_back(connection, &writing.known)? {
        writing.go_on()?;
    }
    writing.done(is_new)
}

/// Notes that nobody heard of a job since a time: it is stale, or has failed. False if it had ended, or is gone.
pub(super) fn give_up(
    connection: &Connection,
    job: &Subject,
    given_up: &agents::GivenUp,
    options: &JobOptions,
) -> Result<bool, PushError> {
    let Some(known) = find(connection, job)?.filter(|known| known.origin == Origin::Push) else { return Ok(false) };
    let empty = Push::new(job.clone(), given_up.at_ms, given_up.at_ms);
    let mut writing = Writing::of(connection, &empty, options, known)?;
    if Standing::at(&writing.claims, i64::MAX).ended_ms.is_some() {
        return Ok(false);
    }
    agents::mark_given_up(connection, &writing.known, given_up.at_ms)?;
    if given_up.has_failed {
        writing.keep(Claim { at_ms: given_up.at_ms, state: JobState::Failed, is_ours: true })?;
        writing.tell()?;
        let failure = Failure {
            at_ms: given_up.at_ms,
            name: Some(agents::GivenUp::NAME.to_owned()),
            stack_trace: given_up.reason(),
            task: None,
            endpoint: None,
            task_manager: None,
            labels: BTreeMap::new(),
            concurrent: Vec::new(),
        };
        writing.put_one(given_up.at_ms, &failure)?;
    } else if let Some(run) = writing.reader.document::<Run>(&writing.known, "", given_up.at_ms)? {
        writing.put_one(given_up.at_ms, &Run { lost_ms: Some(given_up.heard_ms), ..run.document })?;
    }
    Ok(true)
}

/// A job by its id and organization.
pub(super) fn find(connection: &Connection, job: &Subject) -> Result<Option<Known>, JobsError> {
    let scope = Scope::confined(Matcher::equal("org", &job.org));
    Reader::new(connection).find(&scope, job.kind, &job.id)
}

/// One telling that is being written.
struct Writing<'c> {
    connection: &'c Connection,
    reader: Reader<'c>,
    push: &'c Push,
    options: &'c JobOptions,
    known: Known,
    /// In the order of time.
    claims: Vec<Claim>,
    changed: usize,
}

impl<'c> Writing<'c> {
    /// Makes the job if it is new.
    fn begin(
        connection: &'c Connection,
        push: &'c Push,
        options: &'c JobOptions,
        is_new: bool,
    ) -> Result<Writing<'c>, PushError> {
        let cluster = push.registration.as_ref().and_then(|registration| registration.cluster.clone());
        if is_new || cluster.is_some() {
            let mut nothing = Observation::new(push.job.clone(), Origin::Push, push.at_ms);
            nothing.cluster = cluster;
            nothing.check(options)?;
            record::record(connection, &nothing, options)?;
        }
        let missing = || PushError::NotRegistered { id: push.job.id.clone() };
        let known = find(connection, &push.job)?.ok_or_else(missing)?;
        if is_new {
            // That its series fell silent later, for one: it would be what holds last.
            implied::forget_later_runs(connection, &known, push.at_ms)?;
        }
        Writing::of(connection, push, options, known)
    }

    fn of(
        connection: &'c Connection,
        push: &'c Push,
        options: &'c JobOptions,
        known: Known,
    ) -> Result<Writing<'c>, PushError> {
        let claims = claims::all(connection, &known)?;
        Ok(Writing { connection, reader: Reader::new(connection), push, options, known, claims, changed: 0 })
    }

    /// Keeps what was said of the job's state. One that says nothing of it when it registers has been made.
    fn claim(&mut self) -> Result<(), PushError> {
        let state = match self.push.state {
            Some(state) => state,
            None if self.claims.is_empty() => JobState::Created,
            None => return Ok(()),
        };
        self.keep(Claim { at_ms: self.push.at_ms, state, is_ours: false })
    }

    fn keep(&mut self, claim: Claim) -> Result<(), PushError> {
        self.claims = claims::keep(self.connection, &self.known, std::mem::take(&mut self.claims), claim)?;
        Ok(())
    }

    /// Changes the picture of the job at the moment that is told of, and at those that came after it.
    fn tell(&mut self) -> Result<(), PushError> {
        let at_ms = self.push.at_ms;
        let later = self.moments_after(at_ms)?;
        // Looked at first: what is put in for a moment holds until the next one.
        let before = later.iter().map(|later_ms| self.picture(*later_ms)).collect::<Result<Vec<_>, _>>()?;
        let now = self.picture(at_ms)?;
        let older = match later.is_empty() {
            true => Vec::new(),
            false => self.reader.documents::<Attempt>(&self.known, at_ms)?,
        };
        let known = Before::new(now.as_ref(), older.into_iter().map(|version| version.document));
        let base = match &now {
            Some(now) => now.clone(),
            None => self.first_picture()?.unwrap_or_else(|| Picture::new(at_ms)),
        };
        self.change(at_ms, now.as_ref(), base, Moment::Told)?;
        for (later_ms, before) in later.into_iter().zip(before) {
            if let Some(before) = before {
                self.change(later_ms, Some(&before), before.clone(), Moment::Later(&known))?;
            }
        }
        Ok(())
    }

    fn change(
        &mut self,
        at_ms: i64,
        before: Option<&Picture>,
        mut picture: Picture,
        moment: Moment<'_>,
    ) -> Result<(), PushError> {
        let standing = Standing::at(&self.claims, at_ms);
        let older = picture.tell(self.push, &standing, moment)?;
        let mut seen = self.observation(at_ms);
        // Before the newest, of which the store keeps what is not there yet when newer ones come.
        for attempt in self.older_attempts(at_ms, before, &picture, &older, moment)? {
            seen.put(&attempt)?;
        }
        // What was put in for an earlier moment holds here too now, unless it is put right.
        let anew = if moment.is_later() { Some(self.picture(at_ms)?) } else { None };
        let holds = anew.as_ref().map_or(before, Option::as_ref);
        put_changed(&mut seen, before, holds, &picture)?;
        if let (Moment::Told, Some(registration)) = (moment, &self.push.registration) {
            self.put_settings(&mut seen, registration)?;
        }
        self.record(&seen)
    }

    /// Attempts that newer ones took the place of now, and older ones that were told of.
    fn older_attempts(
        &self,
        at_ms: i64,
        before: Option<&Picture>,
        after: &Picture,
        older: &Older,
        moment: Moment<'_>,
    ) -> Result<Vec<Attempt>, PushError> {
        let known = |key: &str| -> Result<Option<Attempt>, PushError> {
            Ok(self.reader.document(&self.known, key, at_ms)?.map(|version| version.document))
        };
        let mut attempts: BTreeMap<String, Attempt> = BTreeMap::new();
        for attempt in before.into_iter().flat_map(|before| replaced(before, after)) {
            let key = attempt.key();
            let merged = merge_replaced(known(&key)?, attempt);
            attempts.insert(key, merged);
        }
        for task in older {
            let key = attempt_key(&task.vertex, task.index.unwrap_or(0), task.attempt.unwrap_or(0));
            let known = match attempts.remove(&key) {
                Some(known) => Some(known),
                None => known(&key)?,
            };
            attempts.insert(key, merge_older(known, task, moment));
        }
        Ok(attempts.into_values().collect())
    }

    fn put_settings(&self, seen: &mut Observation, registration: &Registration) -> Result<(), PushError> {
        if let Some(settings) = &registration.settings {
            seen.put(settings)?;
        }
        let Some(checkpointing) = &registration.checkpointing else { return Ok(()) };
        seen.put(checkpointing)?;
        if self.reader.document::<CheckpointStatistics>(&self.known, "", self.push.at_ms)?.is_none() {
            seen.put(&CheckpointStatistics::default())?;
        }
        Ok(())
    }

    /// What nothing else depends on: failures, accumulators, the parts of checkpoints.
    fn rest(&mut self) -> Result<(), PushError> {
        let push = self.push;
        let mut seen = self.observation(push.at_ms);
        for failure in &push.failures {
            seen.put(failure)?;
        }
        self.record(&seen)?;
        for parts in &push.checkpoint_parts {
            self.amend(&parts.key(), |known: Option<&CheckpointSubtasks>, is_late| match known {
                Some(known) if is_late => known.clone(),
                _ => parts.clone(),
            })?;
        }
        let has_ended = Standing::at(&self.claims, push.at_ms).ended_ms.is_some();
        for told in &push.accumulators {
            let told = if has_ended { told.clone() } else { without_numbers(told) };
            let key = accumulators_key(&told.vertex, told.subtask);
            let mut telling = Telling::new(&told);
            self.amend(&key, |known, is_late| telling.merge(known, is_late))?;
        }
        Ok(())
    }

    /// The job that was given up is heard of: from now on it is what it was.
    fn go_on(&mut self) -> Result<(), PushError> {
        let now_ms = self.push.now_ms;
        let is_supposed = self.claims.last().is_some_and(|last| last.is_ours && last.state == JobState::Failed);
        let said = self.claims.iter().rev().find(|claim| !claim.is_ours).map(|claim| claim.state);
        if let Some(state) = said.filter(|_| is_supposed) {
            self.keep(Claim { at_ms: now_ms, state, is_ours: true })?;
        }
        let nothing = Push::new(self.push.job.clone(), now_ms, now_ms);
        let mut going = Writing::of(self.connection, &nothing, self.options, self.known.clone())?;
        going.tell()?;
        self.changed += going.changed;
        Ok(())
    }

    fn done(self, is_new: bool) -> Result<Pushed, PushError> {
        let run: Option<Run> = self.reader.document(&self.known, "", i64::MAX)?.map(|version| version.document);
        let standing = Standing::at(&self.claims, i64::MAX);
        Ok(Pushed {
            is_new,
            changed: self.changed,
            state: run.as_ref().map_or(standing.state, |run| run.state),
            name: run.map(|run| run.name).unwrap_or_default(),
        })
    }

    /// Changes a document at the moment that is told of and at each later one at which it changed.
    fn amend<D: Document + Clone + PartialEq>(
        &mut self,
        key: &str,
        mut change: impl FnMut(Option<&D>, bool) -> D,
    ) -> Result<(), PushError> {
        let at_ms = self.push.at_ms;
        let later = self.versions_after::<D>(key, at_ms)?;
        for moment_ms in std::iter::once(at_ms).chain(later) {
            let known: Option<D> = self.reader.document(&self.known, key, moment_ms)?.map(|version| version.document);
            let changed = change(known.as_ref(), moment_ms > at_ms);
            if known.as_ref() != Some(&changed) {
                self.put_one(moment_ms, &changed)?;
            }
        }
        Ok(())
    }

    fn put_one<D: Document>(&mut self, at_ms: i64, document: &D) -> Result<(), PushError> {
        let mut seen = self.observation(at_ms);
        seen.put(document)?;
        self.record(&seen)
    }

    fn observation(&self, at_ms: i64) -> Observation {
        Observation::new(self.push.job.clone(), Origin::Push, at_ms)
    }

    fn record(&mut self, seen: &Observation) -> Result<(), PushError> {
        if !seen.is_empty() {
            seen.check(self.options)?;
            self.changed += record::record(self.connection, seen, self.options)?.changed;
        }
        Ok(())
    }
}

/// Adds what a picture has other than what holds; `before` is what held before anything was told.
fn put_changed(
    seen: &mut Observation,
    before: Option<&Picture>,
    holds: Option<&Picture>,
    after: &Picture,
) -> Result<(), JobsError> {
    if holds.is_none_or(|holds| holds.run != after.run) {
        seen.put(&after.run)?;
    }
    if holds.is_none_or(|holds| holds.plan != after.plan) {
        seen.put(&after.plan)?;
    }
    let detail = |picture: Option<&Picture>| picture.map_or_else(TaskDetail::default, |known| known.detail.clone());
    if detail(holds) != after.detail {
        seen.put(&after.detail)?;
    }
    // What only followed from the job's state is no attempt that a newer one takes the place of.
    let known = detail(before).vertices;
    let spoken_of: BTreeSet<&String> = after.detail.vertices.difference(&known).collect();
    for id in &spoken_of {
        seen.withdraw::<Subtasks>((*id).clone());
    }
    for (id, vertex) in &after.vertices {
        if holds.and_then(|holds| holds.vertices.get(id)) != Some(vertex) {
            seen.put(vertex)?;
        }
    }
    for (id, subtasks) in &after.subtasks {
        if spoken_of.contains(id) || holds.and_then(|holds| holds.subtasks.get(id)) != Some(subtasks) {
            seen.put(subtasks)?;
        }
    }
    for id in holds.iter().flat_map(|holds| holds.vertices.keys()).filter(|id| !after.vertices.contains_key(*id)) {
        seen.withdraw::<Vertex>(id.clone());
        seen.withdraw::<Subtasks>(id.clone());
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
