//! Who is there: the agents of jobs that engines push, and when each was last heard of.
//!
//! Whatever is told of a job is a sign of life of its agent. Signs of life are noted here without waiting for the disk and
//! written from time to time ([`watch_agents`]); a restart counts as one, as nobody can be heard while the server is down, and so
//! does a pause of the whole machine, or a jump of its clock. A job
//! whose agent sends heartbeats and misses too many is given up as was agreed. One of which nothing at all is heard for
//! `jobs.retention` is stale in any case, so that it does not stay for ever.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::Notify;

use super::push::{Push, PushError, Terms, WhenMissed};
use super::store::{AgentRow, GivenUp, Subject};
use super::{Jobs, JobsError};
use crate::app::App;
use crate::supervise::attempt;

/// How often it is looked who was not heard of.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Looks between two of which signs of life are written.
const SAVE_EVERY: u32 = 15;
/// Milliseconds that the clock may go forward, instead of [`LOOK_INTERVAL`], until that says nothing of the agents: it was
/// put right, or the machine or this process stood still. As by default one heartbeat is due every 15 seconds and four may be
/// missing, a shorter pause is no silence.
const AWAY_MS: i64 = 45_000;
/// The name where panics are counted.
const TASK: &str = "agents";

/// What is expected of agents that agreed on nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expectations {
    /// `jobs.heartbeat_interval` in milliseconds
    pub interval_ms: i64,
    /// `jobs.max_missed_heartbeats`
    pub missed_max: u32,
    /// `jobs.when_heartbeats_missed`
    pub when_missed: WhenMissed,
    /// `jobs.retention` in milliseconds
    pub silence_max_ms: Option<i64>,
}

/// The agents of all jobs that have not ended.
pub struct Agents {
    expectations: Expectations,
    known: RwLock<HashMap<Subject, Arc<Agent>>>,
}

/// A job's agent.
#[derive(Debug)]
pub struct Agent {
    terms: Terms,
    heard_ms: AtomicI64,
    saved_ms: AtomicI64,
    sends_heartbeats: AtomicBool,
    is_given_up: AtomicBool,
    commands: Arc<Notify>,
}

impl Agent {
    fn new(terms: Terms, heard_ms: i64, is_given_up: bool, commands: Arc<Notify>) -> Agent {
        Agent {
            heard_ms: AtomicI64::new(heard_ms),
            saved_ms: AtomicI64::new(heard_ms),
            sends_heartbeats: AtomicBool::new(terms.sends_heartbeats),
            is_given_up: AtomicBool::new(is_given_up),
            commands,
            terms,
        }
    }

    /// When it was last heard of.
    pub fn heard_ms(&self) -> i64 {
        self.heard_ms.load(Ordering::Relaxed)
    }

    /// Wakes whoever waits for commands.
    pub fn commands(&self) -> &Arc<Notify> {
        &self.commands
    }

    /// Milliseconds between two of its heartbeats.
    pub fn interval_ms(&self, expectations: &Expectations) -> i64 {
        self.terms.interval_ms.unwrap_or(expectations.interval_ms)
    }

    /// What is to be done with a job whose agent was not heard of for too long; none if it was.
    fn overdue(&self, expectations: &Expectations, now_ms: i64) -> Option<GivenUp> {
        if self.is_given_up.load(Ordering::Relaxed) {
            return None;
        }
        let (heard_ms, interval_ms) = (self.heard_ms(), self.interval_ms(expectations));
        let missed_max = self.terms.missed_max.unwrap_or(expectations.missed_max);
        let silent_ms = now_ms.saturating_sub(heard_ms);
        let given_up = |has_failed| GivenUp { heard_ms, at_ms: now_ms, interval_ms, missed_max, has_failed };
        let is_missed = silent_ms > interval_ms.saturating_mul(i64::from(missed_max));
        if self.sends_heartbeats.load(Ordering::Relaxed) && is_missed {
            match self.terms.when_missed.unwrap_or(expectations.when_missed) {
                WhenMissed::Stale => return Some(given_up(false)),
                WhenMissed::Failed => return Some(given_up(true)),
                WhenMissed::Nothing => {}
            }
        }
        expectations.silence_max_ms.filter(|silence_max_ms| silent_ms > *silence_max_ms).map(|_| given_up(false))
    }
}

impl Agents {
    /// Those that are in the store.
    ///
    /// # Errors
    /// [`JobsError::Catalog`].
    pub fn open(jobs: &Jobs, expectations: Expectations, now_ms: i64) -> Result<Agents, JobsError> {
        let known = jobs.agents()?.into_iter().map(|row| {
            let AgentRow { job, terms, heard_ms, is_given_up } = row;
            let agent = Agent::new(terms, now_ms, is_given_up, Arc::default());
            agent.saved_ms.store(heard_ms, Ordering::Relaxed);
            (job, Arc::new(agent))
        });
        Ok(Agents { expectations, known: RwLock::new(known.collect()) })
    }

    /// What is expected of those that agreed on nothing else.
    pub fn expectations(&self) -> &Expectations {
        &self.expectations
    }

    /// The agent of a job that has not ended.
    pub fn find(&self, job: &Subject) -> Option<Arc<Agent>> {
        self.known.read().get(job).cloned()
    }

    /// Notes that a job was registered.
    pub fn agreed(&self, job: &Subject, terms: Terms, now_ms: i64) {
        let mut known = self.known.write();
        let before = known.get(job);
        let commands = before.map(|agent| Arc::clone(agent.commands())).unwrap_or_default();
        let sends_heartbeats = before.is_some_and(|agent| agent.sends_heartbeats.load(Ordering::Relaxed));
        let terms = Terms { sends_heartbeats: terms.sends_heartbeats || sends_heartbeats, ..terms };
        known.insert(job.clone(), Arc::new(Agent::new(terms, now_ms, false, commands)));
    }

    /// Notes a sign of life that came with something that was written.
    pub fn heard(&self, job: &Subject, now_ms: i64) {
        if let Some(agent) = self.find(job) {
            agent.heard_ms.fetch_max(now_ms, Ordering::Relaxed);
            agent.is_given_up.store(false, Ordering::Relaxed);
        }
    }

    /// Notes a heartbeat. A job that was given up goes on, which is written before this returns.
    ///
    /// # Errors
    /// [`PushError::NotRegistered`] for a job that has ended or is not there; what writing gives.
    pub fn heartbeat(&self, jobs: &Jobs, job: &Subject, now_ms: i64) -> Result<Arc<Agent>, PushError> {
        let agent = self.find(job).ok_or_else(|| PushError::NotRegistered { id: job.id.clone() })?;
        agent.sends_heartbeats.store(true, Ordering::Relaxed);
        if agent.is_given_up.load(Ordering::Relaxed)
            && let Err(error) = jobs.push(Push::new(job.clone(), now_ms, now_ms))
        {
            if matches!(error, PushError::NotRegistered { .. }) {
                // It was forgotten with all that is old.
                self.ended(job);
            }
            return Err(error);
        }
        self.heard(job, now_ms);
        Ok(agent)
    }

    /// Forgets the agent of a job that has ended; who waits for its commands is told.
    pub fn ended(&self, job: &Subject) {
        if let Some(agent) = self.known.write().remove(job) {
            agent.commands.notify_waiters();
        }
    }

    /// Nobody could be heard for a while, or it is not known how long that was: all are heard of now.
    fn hear_all(&self, now_ms: i64) {
        for agent in self.known.read().values() {
            agent.heard_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Forgets the agents of jobs that were given up and are forgotten themselves.
    ///
    /// # Errors
    /// [`JobsError::Catalog`]; they are forgotten the next time.
    pub(super) fn forget_gone(&self, jobs: &Jobs) -> Result<(), JobsError> {
        let there: HashSet<Subject> = jobs.agents()?.into_iter().map(|row| row.job).collect();
        // A job that is registered meanwhile is not given up.
        let is_kept =
            |job: &Subject, agent: &mut Arc<Agent>| there.contains(job) || !agent.is_given_up.load(Ordering::Relaxed);
        self.known.write().retain(is_kept);
        Ok(())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.known.read().len()
    }

    /// Gives up the jobs whose agents were not heard of; gives their number.
    fn give_up(&self, jobs: &Jobs, now_ms: i64) -> usize {
        let overdue: Vec<(Subject, Arc<Agent>, GivenUp)> = {
            let known = self.known.read();
            let overdue = |(job, agent): (&Subject, &Arc<Agent>)| {
                Some((job.clone(), Arc::clone(agent), agent.overdue(&self.expectations, now_ms)?))
            };
            known.iter().filter_map(overdue).collect()
        };
        let mut count = 0;
        for (job, agent, given_up) in overdue {
            match jobs.give_up(job.clone(), given_up) {
                Ok(true) => {
                    tracing::warn!(
                        job = job.id,
                        failed = given_up.has_failed,
                        "a job's agent is not heard of any more"
                    );
                    agent.is_given_up.store(true, Ordering::Relaxed);
                    count += 1;
                }
                Ok(false) => self.ended(&job),
                Err(error) => tracing::error!(%error, job = job.id, "a job that is not heard of cannot be given up"),
            }
        }
        count
    }

    /// Writes the signs of life that are not in the file.
    fn save(&self, jobs: &Jobs) -> Result<(), JobsError> {
        let agents: Vec<(Subject, Arc<Agent>)> = {
            let known = self.known.read();
            known.iter().map(|(job, agent)| (job.clone(), Arc::clone(agent))).collect()
        };
        let newer = agents.into_iter().filter(|(_, agent)| agent.heard_ms() > agent.saved_ms.load(Ordering::Relaxed));
        let newer: Vec<(Subject, i64, Arc<Agent>)> = newer.map(|(job, agent)| (job, agent.heard_ms(), agent)).collect();
        if newer.is_empty() {
            return Ok(());
        }
        let sends = |agent: &Agent| agent.sends_heartbeats.load(Ordering::Relaxed);
        jobs.save_heard(newer.iter().map(|(job, heard_ms, agent)| (job.clone(), *heard_ms, sends(agent))).collect())?;
        for (_, heard_ms, agent) in newer {
            agent.saved_ms.fetch_max(heard_ms, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Looks who was not heard of, until the application stops; then what was heard is written once more.
pub(crate) async fn watch_agents(app: Arc<App>) {
    let mut stopping = app.stopping();
    for look in 1_u32.. {
        let before_ms = app.clock.now_ms();
        let is_last = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => true,
            () = tokio::time::sleep(LOOK_INTERVAL) => false,
        };
        let now_ms = app.clock.now_ms();
        if was_away(before_ms, now_ms) {
            tracing::warn!(
                before_ms,
                now_ms,
                "the clock jumped, or the server stood still: all agents count as heard of"
            );
            app.agents.hear_all(now_ms);
        }
        let state = Arc::clone(&app);
        let work =
            move || attempt(TASK, &state.telemetry, || look_round(&state, is_last, is_last || look % SAVE_EVERY == 0));
        // A panic is counted and in the log; a thread is refused only when the server stops.
        drop(tokio::task::spawn_blocking(work).await);
        if is_last {
            return;
        }
    }
}

/// True if the clock does not say that about [`LOOK_INTERVAL`] has passed.
fn was_away(before_ms: i64, now_ms: i64) -> bool {
    !(0..=AWAY_MS).contains(&now_ms.saturating_sub(before_ms))
}

fn look_round(app: &App, is_last: bool, saves: bool) {
    if !is_last && app.agents.count() > 0 {
        app.agents.give_up(&app.jobs, app.clock.now_ms());
    }
    if saves && let Err(error) = app.agents.save(&app.jobs) {
        tracing::warn!(%error, "signs of life of agents could not be written; they are the next time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expectations =
        Expectations { interval_ms: 10, missed_max: 3, when_missed: WhenMissed::Stale, silence_max_ms: Some(1000) };

    fn agent(terms: Terms) -> Agent {
        Agent::new(terms, 100, false, Arc::default())
    }

    fn beating() -> Terms {
        Terms { sends_heartbeats: true, ..Terms::default() }
    }

    #[test]
    fn too_many_missing_heartbeats_mean_what_was_agreed() {
        let usual = agent(beating());
        assert_eq!(usual.overdue(&EXPECTED, 130), None, "three are missing");
        let given_up = usual.overdue(&EXPECTED, 131).unwrap();
        assert_eq!((given_up.heard_ms, given_up.at_ms, given_up.has_failed), (100, 131, false));
        let own = agent(Terms {
            interval_ms: Some(5),
            missed_max: Some(1),
            when_missed: Some(WhenMissed::Failed),
            ..beating()
        });
        assert_eq!(own.overdue(&EXPECTED, 105), None);
        assert!(own.overdue(&EXPECTED, 106).unwrap().has_failed);
        let never = agent(Terms { when_missed: Some(WhenMissed::Nothing), ..beating() });
        assert_eq!(never.overdue(&EXPECTED, 1100), None);
        let silent = never.overdue(&EXPECTED, 1101).unwrap();
        assert!(!silent.has_failed, "in any case after the retention");
        usual.is_given_up.store(true, Ordering::Relaxed);
        assert_eq!(usual.overdue(&EXPECTED, 500), None, "once");
    }

    #[test]
    fn who_never_sends_heartbeats_misses_none() {
        let quiet = agent(Terms::default());
        assert_eq!(quiet.overdue(&EXPECTED, 1100), None);
        assert!(quiet.overdue(&EXPECTED, 1101).is_some());
        let for_ever = Expectations { silence_max_ms: None, ..EXPECTED };
        assert_eq!(quiet.overdue(&for_ever, i64::MAX), None);
    }

    #[test]
    fn a_jump_of_the_clock_is_no_silence() {
        assert!(!was_away(1000, 1000) && !was_away(1000, 1000 + AWAY_MS));
        assert!(was_away(1000, 1001 + AWAY_MS) && was_away(1000, 999));
        let (_dir, _catalog, jobs) = store();
        let agents = Agents::open(&jobs, EXPECTED, 0).unwrap();
        let job = Subject::job("", "j");
        agents.agreed(&job, beating(), 5_000);
        let is_overdue = |now_ms| agents.find(&job).unwrap().overdue(&EXPECTED, now_ms).is_some();
        assert!(is_overdue(90_000));
        agents.hear_all(90_000);
        assert!(!is_overdue(90_000) && !is_overdue(90_030), "forward");
        agents.hear_all(200);
        assert!(!is_overdue(230) && is_overdue(231), "back: it is noticed when it falls silent");
    }

    #[test]
    fn agents_of_forgotten_jobs_are_forgotten() {
        let (_dir, _catalog, jobs) = store();
        let agents = Agents::open(&jobs, EXPECTED, 0).unwrap();
        for id in ["gone", "new"] {
            agents.agreed(&Subject::job("", id), beating(), 5);
        }
        agents.find(&Subject::job("", "gone")).unwrap().is_given_up.store(true, Ordering::Relaxed);
        agents.forget_gone(&jobs).unwrap();
        assert_eq!(agents.count(), 1);
        assert!(agents.find(&Subject::job("", "new")).is_some(), "one that is being registered");
    }

    fn store() -> (tempfile::TempDir, crate::catalog::Catalog, Jobs) {
        let dir = tempfile::tempdir().unwrap();
        let (catalog, jobs) = crate::jobs::testing::open_with(&dir, crate::jobs::testing::OPTIONS);
        (dir, catalog, jobs)
    }
}
