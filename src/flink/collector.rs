//! The collector: one task for each cluster, which asks in rounds and keeps what it is told.
//!
//! What to ask is decided by [`super::cluster`] and [`super::follow`]; this file has the sockets, the clock and the store.
//! Requests of a cluster follow one another over one connection, so that it never has more than one of ours to answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::StatusCode;
use model::{Labels, Matcher, Scope};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::cluster::{ClusterAsk, FollowedCluster, Recalled};
use super::follow::{Ask, FollowError, Follower, Metrics, Number, Told};
use super::reach::Reach;
use super::reporters::Sighting;
use super::samples::{self, Owner};
use crate::app::App;
use crate::config::FlinkCluster;
use crate::ingest::{Origin, Refused, Rejection};
use crate::jobs::{Checkpoint, Cluster, Known, Observation, SubjectKind, TaskManager, Version};
use crate::scrape::client::{self, Client, FetchError};
use crate::scrape::config::{Auth, ClientOptions, Secret};
use crate::supervise::{attempt, supervised};

/// The task's name where its panics are counted.
const TASK: &str = "flink";

/// Most bytes of one answer: the details of a job with thousands of subtasks are a few million.
const ANSWER_BYTES_MAX: (&str, usize) = ("the answer of a cluster", 64 << 20);

/// Jobs that are written down at the same time.
const WRITES_MAX: usize = 32;

/// Jobs in a row without an answer at which a round ends.
const MISSES_MAX: usize = 3;

/// Checkpoints that are looked up of a job that is followed again; Flink lists ten and four.
const RECALLED_MAX: usize = 20;

/// Hears after each round what the cluster says of its processes.
pub(crate) type Sightings = watch::Sender<Option<Sighting>>;

/// Follows a cluster until the application stops, also through panics: it is followed anew then.
pub(crate) async fn run_supervised(app: Arc<App>, cluster: FlinkCluster, sightings: Sightings) {
    let start = || run(Arc::clone(&app), cluster.clone(), sightings.clone());
    supervised(TASK, &app.telemetry, app.stopping(), |stop| *stop, start, |_| ()).await;
}

async fn run(app: Arc<App>, cluster: FlinkCluster, sightings: Sightings) {
    let mut stopping = app.stopping();
    let followed = cluster.clone();
    let recalled = on_thread(&app, move |app| recall(app, &followed)).await.unwrap_or_default();
    let mut collector = Collector::new(app, cluster, recalled, sightings);
    let mut wait = Duration::ZERO;
    loop {
        tokio::select! {
            () = async { drop(stopping.wait_for(|stop| *stop).await) } => return,
            () = tokio::time::sleep(wait) => {}
        }
        let began = Instant::now();
        let done = tokio::select! {
            () = async { drop(stopping.wait_for(|stop| *stop).await) } => return,
            done = collector.round() => done,
        };
        let rest = collector.cluster.interval.std().saturating_sub(began.elapsed());
        wait = match done {
            Ok(()) => rest,
            // One that lists its jobs and says no more of them is there: another address would be asked at once.
            Err(reason) if collector.has_listed => collector.failed(&reason).await.max(rest),
            Err(reason) => collector.failed(&reason).await,
        };
    }
}

/// What the store has of a cluster. If it cannot be read, the cluster is followed as if it were new.
fn recall(app: &App, cluster: &FlinkCluster) -> Recalled {
    let scope = Scope::confined(Matcher::equal("org", &cluster.org));
    let found = app.jobs.read(|reader| {
        let mut recalled = Recalled::default();
        if let Some(known) = reader.find(&scope, SubjectKind::Cluster, &cluster.name)? {
            recalled.cluster = reader.document::<Cluster>(&known, "", i64::MAX)?.map(|version| version.document);
            let managers = reader.documents::<TaskManager>(&known, i64::MAX)?;
            recalled.task_managers = managers.into_iter().map(|version| version.document.id).collect();
        }
        let of_cluster = |job: &Known| job.cluster.as_deref() == Some(cluster.name.as_str());
        let runs = reader.runs(&scope, i64::MAX)?.into_iter().filter(|(job, _)| of_cluster(job));
        let runs = runs.map(|(job, run)| (job.subject.id, run.document));
        recalled.runs = runs.filter(|(_, run)| !run.state.has_ended() && run.lost_ms.is_none()).collect();
        Ok(recalled)
    });
    found.unwrap_or_else(|error| {
        tracing::error!(%error, cluster = cluster.name, "what is known of a cluster cannot be read");
        Recalled::default()
    })
}

/// Why there is no answer.
enum Missing {
    /// The cluster answered with this status.
    Refused(StatusCode),
    /// It answered with something else than JSON, or with too much.
    Unusable(String),
    /// Nobody answered, or not in time.
    Unreachable(String),
}

impl Missing {
    /// For people.
    fn reason(&self) -> String {
        match self {
            Missing::Refused(status) => format!("HTTP status {status}"),
            Missing::Unusable(reason) | Missing::Unreachable(reason) => reason.clone(),
        }
    }
}

struct Collector {
    app: Arc<App>,
    cluster: FlinkCluster,
    followed: FollowedCluster,
    reach: Reach,
    client: Client,
    sightings: Sightings,
    /// True if the cluster listed its jobs in this round.
    has_listed: bool,
    /// What is being written down, by job; the oldest first.
    writing: VecDeque<(String, JoinHandle<Option<bool>>)>,
}

/// What a round gathers of one job.
#[derive(Default)]
struct Gathered {
    observation: Option<Observation>,
    samples: Vec<(Labels, f64)>,
}

impl Gathered {
    fn add(&mut self, cluster: &FlinkCluster, job: &Follower, ask: &Ask, told: Result<Told, FollowError>) {
        let told = match told {
            Ok(told) => told,
            Err(error) => {
                tracing::warn!(%error, cluster = cluster.name, job = job.id(), ?ask, "an answer cannot be used");
                return;
            }
        };
        self.samples.extend(samples(cluster, job, &told));
        if let Some(more) = told.observation {
            match &mut self.observation {
                Some(all) => all.append(more),
                none => *none = Some(more),
            }
        }
    }
}

impl Collector {
    fn new(app: Arc<App>, cluster: FlinkCluster, recalled: Recalled, sightings: Sightings) -> Collector {
        let auth = cluster
            .token_file
            .clone()
            .map_or(Auth::None, |path| Auth::Header { kind: "Bearer".to_owned(), credentials: Secret::File(path) });
        Collector {
            followed: FollowedCluster::new(&cluster.org, &cluster.name, cluster.metrics, recalled),
            reach: Reach::new(cluster.urls.iter().cloned()),
            client: Client::new(ClientOptions { auth, ..ClientOptions::default() }),
            app,
            cluster,
            sightings,
            has_listed: false,
            writing: VecDeque::new(),
        }
    }

    /// Asks everything that is wanted now.
    ///
    /// The error is for people: why the round could not go on.
    async fn round(&mut self) -> Result<(), String> {
        if self.app.db.read_only().is_some() {
            // Nothing can be written down now; others say so. What is asked for would have to be asked for again.
            return Ok(());
        }
        let at_ms = self.app.clock.now_ms();
        self.followed.begin();
        self.has_listed = false;
        let asked = self.ask_cluster(at_ms).await;
        let asked = match asked {
            Ok(()) => {
                let sighting = self.reach.url().and_then(|url| self.followed.sighting(url));
                self.sightings.send_replace(sighting);
                self.ask_jobs(at_ms).await
            }
            lost => lost,
        };
        // What was told before the cluster went away counts.
        self.finish_writing(0).await;
        asked
    }

    async fn ask_cluster(&mut self, at_ms: i64) -> Result<(), String> {
        while let Some(ask) = self.followed.take() {
            match self.get(&ask.path()).await {
                Ok(answer) => {
                    if ask == ClusterAsk::Jobs {
                        self.reach.answered();
                        self.has_listed = true;
                    }
                    self.tell_cluster(&ask, answer, at_ms).await;
                }
                Err(Missing::Unreachable(reason)) => return Err(reason),
                // A JobManager that does not lead answers with an error until it does.
                Err(missing) if ask == ClusterAsk::Jobs => return Err(missing.reason()),
                Err(missing) => self.missed(&ask.path(), &missing),
            }
        }
        self.recall_checkpoints().await;
        Ok(())
    }

    async fn ask_jobs(&mut self, at_ms: i64) -> Result<(), String> {
        let ids: Vec<String> = self.followed.jobs().map(|(id, _)| id.clone()).collect();
        let mut misses = 0;
        for id in ids {
            let mut gathered = Gathered::default();
            let asked = self.ask_job(&id, at_ms, &mut gathered).await;
            self.write(id, gathered, at_ms).await;
            match asked {
                Ok(()) => misses = 0,
                // One job whose details take too long must not keep the others from being asked for.
                Err(reason) => {
                    misses += 1;
                    if misses == MISSES_MAX {
                        return Err(reason);
                    }
                }
            }
        }
        Ok(())
    }

    fn missed(&self, path: &str, missing: &Missing) {
        let (cluster, reason) = (&self.cluster.name, missing.reason());
        match missing {
            Missing::Refused(_) => tracing::debug!(cluster, path, reason, "a cluster refused a request"),
            _ => tracing::warn!(cluster, path, reason, "an answer cannot be used"),
        }
    }

    async fn tell_cluster(&mut self, ask: &ClusterAsk, answer: Value, at_ms: i64) {
        let told = match self.followed.answered(ask, answer, at_ms) {
            Ok(told) => told,
            Err(error) => {
                tracing::warn!(%error, cluster = self.cluster.name, ?ask, "an answer cannot be used");
                return;
            }
        };
        let (org, name) = (&self.cluster.org, &self.cluster.name);
        for (job, error) in &told.unreadable {
            tracing::warn!(%error, cluster = name, job, "a job in the list of a cluster cannot be read");
        }
        let sample =
            |(manager, number): &(Option<String>, Number)| samples::of_cluster(org, name, manager.as_deref(), number);
        let samples: Vec<_> = told.metrics.iter().filter_map(sample).collect();
        let kept = on_thread(&self.app, move |app| {
            write_samples(app, &samples, at_ms);
            let mut is_kept = true;
            for observation in told.observations {
                is_kept &= record(app, observation);
            }
            is_kept
        });
        if kept.await != Some(true) {
            self.followed.forget_cluster();
        }
    }

    /// Asks about one job, within the bound of a round.
    async fn ask_job(&mut self, id: &str, at_ms: i64, gathered: &mut Gathered) -> Result<(), String> {
        for _ in 0..self.cluster.requests_max {
            let Some(job) = self.followed.job(id) else { return Ok(()) };
            let Some(ask) = job.take(1).pop() else { return Ok(()) };
            let path = job.path(&ask);
            let answered = self.get(&path).await;
            if let Err(missing @ (Missing::Refused(_) | Missing::Unusable(_))) = &answered {
                self.missed(&path, missing);
            }
            let Some(job) = self.followed.job(id) else { return Ok(()) };
            let told = match answered {
                Ok(answer) => job.answered(&ask, &answer, at_ms),
                Err(Missing::Refused(status)) => job.refused(ask.clone(), status.is_server_error(), at_ms),
                Err(Missing::Unusable(_)) => job.refused(ask.clone(), false, at_ms),
                Err(Missing::Unreachable(reason)) => {
                    job.put_back(ask);
                    return Err(reason);
                }
            };
            gathered.add(&self.cluster, job, &ask, told);
        }
        Ok(())
    }

    /// Begins to write down what a round told of a job. The next job is asked for meanwhile, so that several share one
    /// commit.
    async fn write(&mut self, id: String, gathered: Gathered, at_ms: i64) {
        if gathered.observation.is_none() && gathered.samples.is_empty() {
            return;
        }
        self.finish_writing(WRITES_MAX - 1).await;
        let writing = start(&self.app, move |app| {
            let is_kept = gathered.observation.is_none_or(|observation| record(app, observation));
            write_samples(app, &gathered.samples, at_ms);
            is_kept
        });
        self.writing.push_back((id, writing));
    }

    /// Waits until at most so many jobs are being written. One that could not be is followed anew: everything is asked for
    /// again.
    async fn finish_writing(&mut self, left: usize) {
        while self.writing.len() > left
            && let Some((id, writing)) = self.writing.pop_front()
        {
            if writing.await.ok().flatten() != Some(true) {
                self.followed.forget(&id);
            }
        }
    }

    /// Looks up what is known of the jobs that are followed since now.
    async fn recall_checkpoints(&mut self) {
        for id in self.followed.take_fresh() {
            let (org, job) = (self.cluster.org.clone(), id.clone());
            let found = on_thread(&self.app, move |app| checkpoints(app, &org, &job)).await.unwrap_or_default();
            if let Some(job) = self.followed.job(&id) {
                job.recall(found);
            }
        }
    }

    /// Notes that an address did not answer; gives the time to wait.
    async fn failed(&mut self, reason: &str) -> Duration {
        let was_lost = self.reach.is_lost();
        let url = self.reach.url().unwrap_or_default().to_owned();
        let now_ms = self.app.clock.now_ms();
        let wait = self.reach.failed(spread(&self.cluster.name, now_ms));
        tracing::debug!(reason, url, cluster = self.cluster.name, "a JobManager does not answer");
        if !self.reach.is_lost() {
            return wait;
        }
        if !was_lost {
            tracing::warn!(reason, cluster = self.cluster.name, "the cluster is lost; its jobs stay as they were");
        }
        match self.followed.lost(now_ms) {
            Ok(Some(observation)) => {
                if on_thread(&self.app, move |app| record(app, observation)).await != Some(true) {
                    self.followed.forget_cluster();
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the loss of a cluster cannot be recorded"),
        }
        wait
    }

    async fn get(&mut self, path: &str) -> Result<Value, Missing> {
        let Some(base) = self.reach.url() else { return Err(Missing::Unreachable("no address".to_owned())) };
        let url = format!("{base}{path}");
        let ask = client::Ask { body_max: ANSWER_BYTES_MAX, ..client::Ask::default() };
        let timeout = self.cluster.timeout.std();
        let answered = tokio::time::timeout(timeout, self.client.get(&url, &ask)).await;
        let outcome = match answered {
            Ok(Ok(answer)) => serde_json::from_slice(&answer.body)
                .map_err(|error| Missing::Unusable(format!("Get {url:?}: the answer is not JSON: {error}"))),
            Ok(Err(FetchError::Status(status))) => Err(Missing::Refused(status)),
            Ok(Err(error @ (FetchError::TooLarge { .. } | FetchError::Encoding(_)))) => {
                Err(Missing::Unusable(error.to_string()))
            }
            Ok(Err(error)) => Err(Missing::Unreachable(error.to_string())),
            Err(_) => Err(Missing::Unreachable(format!("Get {url:?}: no answer within {timeout:?}"))),
        };
        let word = match &outcome {
            Ok(_) => "success",
            Err(Missing::Refused(_)) => "refused",
            Err(Missing::Unusable(_)) => "unusable",
            Err(Missing::Unreachable(_)) => "unreachable",
        };
        self.app.telemetry.flink_requests.add(&[self.cluster.name.as_str(), word], 1);
        outcome
    }
}

/// What an answer about a job gives to the metric store. Where a reporter is scraped, only accumulators: it has none.
fn samples(cluster: &FlinkCluster, job: &Follower, told: &Told) -> Vec<(Labels, f64)> {
    let owner = Owner { org: &cluster.org, cluster: &cluster.name, job: job.id(), job_name: job.name() };
    let vertex_name = |vertex: &Option<String>| vertex.as_deref().map_or("", |vertex| job.vertex_name(vertex));
    let mut samples: Vec<_> =
        told.accumulators.iter().filter_map(|number| owner.accumulator(number, vertex_name(&number.vertex))).collect();
    if cluster.metrics == Metrics::Rest {
        for moving in &told.moving {
            samples.extend(owner.moving(moving, job.vertex_name(&moving.vertex)));
        }
        samples.extend(
            told.metrics
                .iter()
                .filter_map(|number| owner.metric(number, vertex_name(&number.vertex), job.attempt(number))),
        );
    }
    samples
}

/// The newest checkpoints of a job that were recorded.
fn checkpoints(app: &App, org: &str, job: &str) -> Vec<Checkpoint> {
    let scope = Scope::confined(Matcher::equal("org", org));
    let found = app.jobs.read(|reader| {
        let Some(known) = reader.find(&scope, SubjectKind::Job, job)? else { return Ok(Vec::new()) };
        reader.documents::<Checkpoint>(&known, i64::MAX)
    });
    let all: Vec<Version<Checkpoint>> = found.unwrap_or_else(|error| {
        tracing::error!(%error, job, "the checkpoints of a job cannot be read");
        Vec::new()
    });
    all.into_iter().rev().take(RECALLED_MAX).map(|version| version.document).collect()
}

/// Records what may be kept of an observation; false if that failed.
fn record(app: &App, observation: Observation) -> bool {
    let of = observation.subject().id.clone();
    let recorded = app.jobs.record_what_fits(observation);
    match &recorded {
        Ok((_, left_out)) => {
            left_out.iter().for_each(|error| tracing::warn!(%error, of, "what a cluster said cannot be kept"));
        }
        Err(error) => tracing::error!(%error, of, "what a cluster said cannot be recorded"),
    }
    recorded.is_ok()
}

/// Writes samples of one moment.
pub(crate) fn write_samples(app: &App, samples: &[(Labels, f64)], at_ms: i64) {
    if samples.is_empty() {
        return;
    }
    let mut batch = app.ingest.batch();
    for (labels, value) in samples {
        let fits = app.ingest.limits().check(labels.iter());
        let written = fits
            .and_then(|()| Ok(batch.define(None, labels)?))
            .and_then(|series| batch.push(series, at_ms, *value).map_err(Rejection::from));
        if let Err(rejection) = written {
            app.ingest.reject(Origin::Flink, Refused::Samples(1), &rejection, labels.metric_name());
        }
    }
    if let Err(error) = app.ingest.commit(Origin::Flink, batch) {
        tracing::warn!(%error, "numbers of a cluster could not be written");
    }
}

/// A number from 0 to 1 that differs between collectors and moments.
fn spread(name: &str, now_ms: i64) -> f64 {
    let hash = xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), now_ms.cast_unsigned());
    hash as f64 / u64::MAX as f64
}

/// Starts work that blocks; it gives none if it panics.
fn start<T: Send + 'static>(app: &Arc<App>, work: impl FnOnce(&App) -> T + Send + 'static) -> JoinHandle<Option<T>> {
    let app = Arc::clone(app);
    tokio::task::spawn_blocking(move || attempt(TASK, &app.telemetry, || work(&app)).ok())
}

/// Runs work that blocks; none if it panicked or the server stops.
async fn on_thread<T: Send + 'static>(app: &Arc<App>, work: impl FnOnce(&App) -> T + Send + 'static) -> Option<T> {
    start(app, work).await.ok().flatten()
}
