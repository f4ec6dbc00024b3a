//! A look at the series every `jobs.implied_interval`, and what is written down of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Budget, BudgetError, Matcher, Scope, SeriesSource, SourceError, TimeRange};

use super::documents::{Drawn, Operators};
use super::rules::{Rule, rules};
use super::sighting::{Bounds, JobKey, Look, Sighting};
use super::status::Outcome;
use super::tracker::{Tracked, Tracker};
use crate::app::App;
use crate::jobs::{JobsError, Known, Observation, Origin, Reader, Run, Subject, SubjectKind, Subtasks, Vertex};
use crate::supervise::supervised;

/// The task's name where its panics are counted.
const TASK: &str = "implied_jobs";

/// The shortest pause between two looks.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Observations that share a transaction: others who write get their turn after it.
const WRITTEN_AT_ONCE: usize = 64;

/// Series of a job that are asked for their first and last samples: enough to tell when it began.
const SPAN_SERIES_MAX: usize = 1000;

/// Looks until the application stops, also through panics: what was known is read from the store again then.
pub(crate) async fn run_supervised(app: Arc<App>) {
    let start = || run(Arc::clone(&app));
    supervised(TASK, &app.telemetry, app.stopping(), |stop| *stop, start, |_| ()).await;
}

async fn run(app: Arc<App>) {
    let mut stopping = app.stopping();
    let pause = app.config.jobs_implied_interval.std().max(PAUSE_MIN);
    let mut looker = Looker::new(app);
    loop {
        tokio::select! {
            () = async { drop(stopping.wait_for(|stop| *stop).await) } => return,
            () = tokio::time::sleep(pause) => {}
        }
        let looked = tokio::task::spawn_blocking(move || {
            looker.round();
            looker
        });
        looker = match looked.await {
            Ok(looker) => looker,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Threads are refused only when the server stops.
            Err(_) => return,
        };
    }
}

/// Why a look came to nothing; the next one tries again.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("the series of jobs: {0}")]
    Budget(#[from] BudgetError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Jobs(#[from] JobsError),
}

/// What the store says of a job that was seen and is not tracked.
enum Found {
    Nothing,
    /// Only series told of it so far.
    Implied(Box<Tracked>),
    /// Others tell of it.
    Elsewhere,
}

struct Looker {
    app: Arc<App>,
    rules: Vec<Rule>,
    tracker: Tracker,
    is_recalled: bool,
    /// True while something is left out: it is said once.
    is_limited: bool,
}

impl Looker {
    fn new(app: Arc<App>) -> Looker {
        let tracker = Tracker::new(app.config.jobs_implied_stale_after.ms());
        Looker { app, rules: rules(), tracker, is_recalled: false, is_limited: false }
    }

    fn round(&mut self) {
        if self.app.db.read_only().is_some() {
            // Nothing can be written down now; others say so.
            return;
        }
        let began = Instant::now();
        match self.look() {
            Ok(mut outcome) => {
                outcome.took = began.elapsed();
                self.report(outcome);
            }
            Err(error) => tracing::warn!(%error, "jobs could not be told from their series; tried again"),
        }
    }

    fn report(&mut self, outcome: Outcome) {
        let Outcome { jobs_left_out, tasks_left_out, .. } = outcome;
        let is_limited = jobs_left_out + tasks_left_out > 0;
        if is_limited && !self.is_limited {
            tracing::warn!(
                jobs_left_out,
                tasks_left_out,
                "series tell of more jobs or subtasks than jobs.max_implied_jobs and jobs.max_implied_tasks allow"
            );
        }
        self.is_limited = is_limited;
        let newest = self.tracker.newest().map(|(key, newest_ms)| (subject(key), newest_ms));
        self.app.implied.set(outcome, newest);
    }

    /// Looks at all series, and writes down what has changed.
    fn look(&mut self) -> Result<Outcome, LookError> {
        let now_ms = self.app.clock.now_ms();
        if !self.is_recalled {
            self.recall()?;
        }
        let (mut seen, names_left_out) = self.series(now_ms)?;
        let (mut found, room) = self.find(&mut seen)?;
        let mut round =
            Round { outcome: Outcome { jobs_left_out: names_left_out, ..Outcome::default() }, ..Round::default() };
        for (key, sighting) in &seen {
            round.outcome.tasks_left_out += sighting.tasks_left_out;
            match found.remove(key) {
                None => {}
                Some(Found::Implied(tracked)) => self.tracker.remember(key.clone(), *tracked),
                Some(Found::Elsewhere | Found::Nothing) => {
                    self.begin(key, sighting, room, &mut round)?;
                    continue;
                }
            }
            let observation = self.tracker.see(key, sighting)?;
            round.writes.extend(observation.map(|observation| (key.clone(), observation)));
        }
        self.miss(&seen, now_ms, &mut round)?;
        self.write(&mut round);
        round.outcome.jobs = self.tracker.len();
        Ok(round.outcome)
    }

    /// What was live when the server last ran, or when something could not be written down.
    fn recall(&mut self) -> Result<(), LookError> {
        let recalled = self.app.jobs.read(|reader| {
            let running = reader.implied_running()?.into_iter().map(|job| (key_of(&job), job));
            let unknown = running.filter(|(key, _)| !self.tracker.has(key));
            let read = |(key, job): (JobKey, Known)| Ok((key, readable(tracked(reader, &job))?.flatten()));
            unknown.map(read).collect::<Result<Vec<_>, JobsError>>()
        })?;
        for (key, tracked) in recalled {
            if let Some(tracked) = tracked {
                self.tracker.remember(key, tracked);
            }
        }
        self.is_recalled = true;
        Ok(())
    }

    /// What the series that received samples lately say, and how many names were too long.
    fn series(&self, now_ms: i64) -> Result<(BTreeMap<JobKey, Sighting>, usize), LookError> {
        let config = &self.app.config;
        let stale_after_ms = config.jobs_implied_stale_after.ms();
        let bounds = Bounds { stale_after_ms, tasks_max: config.jobs_max_implied_tasks };
        let since_ms = now_ms.saturating_sub(stale_after_ms);
        let budget = self.budget();
        let mut look = Look::new(now_ms, bounds);
        for rule in &self.rules {
            let groups =
                self.app.db.latest_groups(&Scope::default(), rule.matchers(), rule.labels(), since_ms, &budget)?;
            groups.iter().for_each(|group| look.add(rule, group));
        }
        let names_left_out = look.names_left_out();
        Ok((look.finish(), names_left_out))
    }

    fn budget(&self) -> Budget {
        Budget::new(self.app.config.query_max_samples, self.app.config.query_max_bytes.0)
    }

    /// Looks up the jobs that were seen and are not tracked, and takes out those that others tell of. Also gives how many
    /// more jobs there may be that only series tell of.
    fn find(&mut self, seen: &mut BTreeMap<JobKey, Sighting>) -> Result<(BTreeMap<JobKey, Found>, usize), LookError> {
        let unknown: Vec<&JobKey> = seen.keys().filter(|key| !self.tracker.has(key)).collect();
        let (found, engine_ids, count) = self.app.jobs.read(|reader| {
            let found = |key| Ok::<_, JobsError>(readable(find(reader, key))?.unwrap_or(Found::Elsewhere));
            let found = unknown.iter().map(|key| Ok(((*key).clone(), found(key)?)));
            let found: BTreeMap<JobKey, Found> = found.collect::<Result<_, JobsError>>()?;
            Ok((found, reader.engine_ids()?, reader.implied_count()?))
        })?;
        self.give_way(&engine_ids)?;
        seen.retain(|key, _| {
            let is_elsewhere = matches!(found.get(key), Some(Found::Elsewhere));
            !is_elsewhere && !engine_ids.contains(&(key.org.clone(), key.id.clone()))
        });
        Ok((found, self.app.config.jobs_max_implied_jobs.saturating_sub(count)))
    }

    /// Forgets jobs that others have begun to tell of under ids of their own.
    fn give_way(&mut self, engine_ids: &BTreeSet<(String, String)>) -> Result<(), LookError> {
        let keys = engine_ids.iter().map(|(org, id)| JobKey { org: org.clone(), id: id.clone() });
        let doubled: Vec<JobKey> = keys.filter(|key| self.tracker.has(key)).collect();
        if !doubled.is_empty() {
            self.app.jobs.forget_implied(doubled.iter().map(subject).collect())?;
            doubled.iter().for_each(|key| self.tracker.forget(key));
        }
        Ok(())
    }

    /// A job that is in the store in no way, if there may be one more. One that is silent already takes nobody's place.
    fn begin(&mut self, key: &JobKey, seen: &Sighting, room: usize, round: &mut Round) -> Result<(), LookError> {
        let limit = self.app.config.jobs_max_implied_jobs;
        let fits = if seen.is_live { self.tracker.len() < limit } else { round.begun < room };
        if !fits {
            round.outcome.jobs_left_out += 1;
            return Ok(());
        }
        round.begun += 1;
        let first_ms = self.span_if(key, TimeRange::ALL).map_or(seen.newest_ms, |span| span.start_ms);
        tracing::debug!(job = key.id, org = key.org, "series tell of a job that nobody told of");
        let observations = self.tracker.begin(key, seen, first_ms)?;
        round.writes.extend(observations.into_iter().map(|observation| (key.clone(), observation)));
        Ok(())
    }

    /// The jobs that were not seen.
    fn miss(&mut self, seen: &BTreeMap<JobKey, Sighting>, now_ms: i64, round: &mut Round) -> Result<(), LookError> {
        let unseen: Vec<(JobKey, bool)> =
            self.tracker.unseen(seen).map(|(key, is_unknown)| (key.clone(), is_unknown)).collect();
        for (key, is_unknown) in unseen {
            if is_unknown {
                // It lived when the server last ran: its newest sample may be from before.
                let span = self.span_if(&key, TimeRange { start_ms: i64::MIN, end_ms: now_ms });
                self.tracker.set_newest(&key, span.map(|span| span.end_ms));
            }
            let observation = self.tracker.miss(&key, now_ms)?;
            round.writes.extend(observation.map(|observation| (key, observation)));
        }
        Ok(())
    }

    /// As [`Looker::span`]. A job whose samples cannot be read, or are too many to be looked at, stops no look: it is there
    /// since it was seen.
    fn span_if(&self, key: &JobKey, range: TimeRange) -> Option<TimeRange> {
        self.span(key, range).unwrap_or_else(|error| {
            tracing::warn!(%error, job = key.id, org = key.org, "when the samples of a job began and ended is not known");
            None
        })
    }

    /// When the samples of a job in a range began and ended, as far as its first [`SPAN_SERIES_MAX`] series tell.
    fn span(&self, key: &JobKey, range: TimeRange) -> Result<Option<TimeRange>, LookError> {
        let (snapshot, budget) = (self.app.db.snapshot(), self.budget());
        let mut all: Option<TimeRange> = None;
        for rule in &self.rules {
            let set = snapshot.select(&Scope::default(), &rule.matchers_of(key), range, &budget)?;
            for i in 0..set.len().min(SPAN_SERIES_MAX) {
                let extent = set.extent(i, range)?;
                if !extent.is_empty() {
                    all = Some(all.map_or(extent, |all| all.union(&extent)));
                }
            }
        }
        Ok(all)
    }

    /// Writes down what a round gathered. Of a job that could not be written nothing is believed any more.
    fn write(&mut self, round: &mut Round) {
        let mut failed: Option<(usize, JobsError)> = None;
        let mut writes = std::mem::take(&mut round.writes).into_iter().peekable();
        while writes.peek().is_some() {
            let (keys, observations): (Vec<JobKey>, Vec<Observation>) = writes.by_ref().take(WRITTEN_AT_ONCE).unzip();
            let outcomes = match self.app.jobs.record_all(observations) {
                Ok(outcomes) => outcomes,
                Err(error) => keys.iter().map(|_| Err(error.clone())).collect(),
            };
            for (key, outcome) in keys.iter().zip(outcomes) {
                let Err(error) = outcome else { continue };
                self.tracker.forget(key);
                match error {
                    // Someone was quicker.
                    JobsError::Outranked { .. } => {}
                    JobsError::TooManyImpliedJobs { .. } | JobsError::TooManyJobs { .. } => {
                        round.outcome.jobs_left_out += 1;
                    }
                    error => failed = Some((failed.map_or(1, |(count, _)| count + 1), error)),
                }
            }
        }
        if let Some((count, error)) = failed {
            // One that fell silent is seen no more: only the store knows that it was there.
            self.is_recalled = false;
            tracing::warn!(%error, count, "jobs that series tell of could not be written down; tried again");
        }
    }
}

/// What a look gathers.
#[derive(Default)]
struct Round {
    outcome: Outcome,
    writes: Vec<(JobKey, Observation)>,
    /// Jobs that are new.
    begun: usize,
}

fn subject(key: &JobKey) -> Subject {
    Subject::job(&key.org, &key.id)
}

fn key_of(job: &Known) -> JobKey {
    JobKey { org: job.subject.org.clone(), id: job.subject.id.clone() }
}

/// Nothing of what is damaged in the store; it stays as it is, and the others are looked at.
fn readable<T>(read: Result<T, JobsError>) -> Result<Option<T>, JobsError> {
    match read {
        Err(error @ JobsError::Corrupt { .. }) => {
            tracing::error!(%error, "a job that series tell of is left alone");
            Ok(None)
        }
        read => read.map(Some),
    }
}

fn find(reader: &Reader<'_>, key: &JobKey) -> Result<Found, JobsError> {
    let scope = Scope::confined(Matcher::equal("org", &key.org));
    let mut found = reader.find(&scope, SubjectKind::Job, &key.id)?;
    if found.is_none() && key.org.is_empty() {
        // Series without an organization may be those of a job that someone told of with one.
        let elsewhere = reader.find(&Scope::default(), SubjectKind::Job, &key.id)?;
        found = elsewhere.filter(|job| job.origin != Origin::Metrics);
    }
    match found {
        None => Ok(Found::Nothing),
        Some(job) if job.origin != Origin::Metrics => Ok(Found::Elsewhere),
        Some(job) => Ok(tracked(reader, &job)?.map_or(Found::Nothing, |tracked| Found::Implied(Box::new(tracked)))),
    }
}

/// What the store has of a job; none if it does not even have a run.
fn tracked(reader: &Reader<'_>, job: &Known) -> Result<Option<Tracked>, JobsError> {
    let Some(run) = reader.document::<Run>(job, "", i64::MAX)? else { return Ok(None) };
    let vertices = reader.documents::<Vertex>(job, i64::MAX)?;
    let mut at_ms = run.from_ms;
    let mut subtasks: BTreeMap<String, Subtasks> = BTreeMap::new();
    for version in reader.documents::<Subtasks>(job, i64::MAX)? {
        at_ms = at_ms.max(version.from_ms);
        subtasks.insert(version.document.vertex.clone(), version.document);
    }
    let mut operators = Operators::new();
    for version in vertices {
        at_ms = at_ms.max(version.from_ms);
        let (id, vertex) = (version.document.id.clone(), version.document);
        let empty = || Subtasks { vertex: id.clone(), subtasks: Vec::new() };
        let subtasks = subtasks.remove(&id).unwrap_or_else(empty);
        operators.insert(id, Drawn { vertex, subtasks });
    }
    Ok(Some(Tracked { run: run.document, operators, at_ms, newest_ms: None }))
}
