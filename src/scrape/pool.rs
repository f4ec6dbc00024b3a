//! The targets of one job: follows discovery, starts and ends loops.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::Labels;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::append;
use super::config::{Job, TargetGroup};
use super::discovery::{Discovery, Update};
use super::sample_labels::SampleLabels;
use super::staleness::Tracker;
use super::status::{PoolView, TargetView};
use super::target::{Outcome, Target, populate};
use super::target_loop;
use crate::app::App;
use crate::supervise::supervised;

/// Trackers of loops that ended, by the labels of their targets.
pub(super) type Inheritance = HashMap<Labels, Vec<Tracker>>;

/// How a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The server stops: series go on when it starts again, so nothing is marked.
    Stop,
    /// The job is gone from the configuration: its series end.
    Remove,
    /// The job is scraped in another way from now on: its trackers are handed over.
    HandOver,
}

/// A job that runs.
pub(super) struct Pool {
    pub(super) job: Arc<Job>,
    pub(super) view: Arc<PoolView>,
    end: watch::Sender<Option<End>>,
    task: JoinHandle<Inheritance>,
}

impl Pool {
    /// Starts a job that goes on for loops that ended.
    pub(super) fn start(app: Arc<App>, job: Arc<Job>, inheritance: Inheritance) -> Pool {
        let view = Arc::new(PoolView::default());
        let (end, ended) = watch::channel(None);
        let task = tokio::spawn(run_supervised(app, Arc::clone(&job), Arc::clone(&view), inheritance, ended));
        Pool { job, view, end, task }
    }

    async fn end(self, end: End) -> Inheritance {
        self.end.send_replace(Some(end));
        match self.task.await {
            Ok(inheritance) => inheritance,
            Err(error) => {
                tracing::error!(job = self.job.name, %error, "BUG: the job ended before it was told to");
                Inheritance::new()
            }
        }
    }

    /// Ends all loops because the server stops.
    pub(super) async fn stop(self) {
        self.end(End::Stop).await;
    }

    /// Ends all loops and their series.
    pub(super) async fn remove(self) {
        self.end(End::Remove).await;
    }

    /// Ends all loops; whoever goes on for them gets their trackers.
    pub(super) async fn hand_over(self) -> Inheritance {
        self.end(End::HandOver).await
    }
}

/// Runs a job until it is told to end. After a panic it starts with new loops: what the old ones knew is lost, so that
/// series of targets that go meanwhile are not marked.
async fn run_supervised(
    app: Arc<App>,
    job: Arc<Job>,
    view: Arc<PoolView>,
    mut inheritance: Inheritance,
    ended: watch::Receiver<Option<End>>,
) -> Inheritance {
    let start = || {
        let running = Running {
            app: Arc::clone(&app),
            job: Arc::clone(&job),
            view: Arc::clone(&view),
            loops: HashMap::new(),
            inheritance: std::mem::take(&mut inheritance),
            forced_error: Arc::default(),
        };
        running.run(ended.clone())
    };
    let is_end = |end: &Option<End>| end.is_some();
    supervised("scrape_job", &app.telemetry, ended.clone(), is_end, start, |_| ()).await.unwrap_or_default()
}

/// How the job is to end, when that is said; whoever could say it is gone only with the server.
async fn wait_for_end(ended: &mut watch::Receiver<Option<End>>) -> End {
    ended.wait_for(Option::is_some).await.ok().and_then(|end| *end).unwrap_or(End::Stop)
}

struct RunningLoop {
    view: Arc<TargetView>,
    tracker: Arc<Mutex<Tracker>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

struct Running {
    app: Arc<App>,
    job: Arc<Job>,
    view: Arc<PoolView>,
    /// By the key of their targets.
    loops: HashMap<String, RunningLoop>,
    inheritance: Inheritance,
    forced_error: Arc<Mutex<Option<String>>>,
}

impl Running {
    async fn run(mut self, mut ended: watch::Receiver<Option<End>>) -> Inheritance {
        let mut discovery = Discovery::start(&self.app, &self.job);
        let mut found: BTreeMap<usize, Vec<TargetGroup>> = BTreeMap::new();
        self.sync(&found).await;
        loop {
            // What was inherited and is not wanted ends only when every source has said what it has.
            if found.len() == discovery.sources {
                self.end_inheritance().await;
            }
            tokio::select! {
                end = wait_for_end(&mut ended) => return self.finish(end).await,
                Some(Update { source, groups }) = discovery.updates.recv() => {
                    found.insert(source, groups);
                    self.sync(&found).await;
                }
            }
        }
    }

    /// Makes the loops those of the targets that there are now.
    async fn sync(&mut self, found: &BTreeMap<usize, Vec<TargetGroup>>) {
        let job = Arc::clone(&self.job);
        let (mut targets, mut dropped) = (BTreeMap::<String, Target>::new(), Vec::new());
        for group in job.static_groups.iter().chain(found.values().flatten()) {
            for address in &group.targets {
                match populate(&job, address, &group.labels) {
                    Outcome::Target(target) => drop(targets.insert(target.key.clone(), *target)),
                    Outcome::Dropped(labels) => dropped.push(labels),
                    Outcome::Invalid(error) => tracing::warn!(job = job.name, address, error, "target left out"),
                }
            }
        }
        self.check_count(targets.len());
        let gone: Vec<String> = self.loops.keys().filter(|key| !targets.contains_key(*key)).cloned().collect();
        let gone: Vec<RunningLoop> = gone.iter().filter_map(|key| self.loops.remove(key)).collect();
        for ended in stop_loops(gone).await {
            let (labels, tracker) = ended;
            self.inheritance.entry(labels).or_default().push(tracker);
        }
        for (key, target) in targets {
            if !self.loops.contains_key(&key) {
                let started = self.start_loop(target);
                self.loops.insert(key, started);
            }
        }
        let mut active: Vec<Arc<TargetView>> = self.loops.values().map(|l| Arc::clone(&l.view)).collect();
        active.sort_by(|a, b| (&a.target.url, &a.target.key).cmp(&(&b.target.url, &b.target.key)));
        *self.view.active.lock() = active;
        *self.view.dropped.lock() = dropped;
    }

    /// Above `target_limit` no target is scraped, as in Prometheus: which ones to leave out would be arbitrary.
    fn check_count(&self, count: usize) {
        let limit = self.job.limits.targets.filter(|limit| count as u64 > *limit);
        *self.forced_error.lock() =
            limit.map(|limit| format!("target_limit exceeded (number of targets: {count}, limit: {limit})"));
    }

    fn start_loop(&mut self, target: Target) -> RunningLoop {
        let mut tracker = Tracker::new(SampleLabels::new(&self.job, &target.labels));
        tracker.inherit(self.inheritance.remove(&target.labels).unwrap_or_default());
        let tracker = Arc::new(Mutex::new(tracker));
        let view = Arc::new(TargetView { target, last: Mutex::default() });
        let (stop, stopped) = watch::channel(false);
        let running = target_loop::Loop {
            app: Arc::clone(&self.app),
            job: Arc::clone(&self.job),
            view: Arc::clone(&view),
            tracker: Arc::clone(&tracker),
            forced_error: Arc::clone(&self.forced_error),
        };
        let task = tokio::spawn(target_loop::run_supervised(running, stopped));
        RunningLoop { view, tracker, stop, task }
    }

    async fn end_inheritance(&mut self) {
        let gone: Vec<Tracker> = self.inheritance.drain().flat_map(|(_, trackers)| trackers).collect();
        end_series(&self.app, gone).await;
    }

    async fn finish(mut self, end: End) -> Inheritance {
        let loops: Vec<RunningLoop> = self.loops.drain().map(|(_, l)| l).collect();
        let ended = stop_loops(loops).await;
        if end == End::Stop {
            return Inheritance::new();
        }
        for (labels, tracker) in ended {
            self.inheritance.entry(labels).or_default().push(tracker);
        }
        if end == End::Remove {
            self.end_inheritance().await;
        }
        self.inheritance
    }
}

/// Ends loops, all at the same time; gives back what they knew.
async fn stop_loops(loops: Vec<RunningLoop>) -> Vec<(Labels, Tracker)> {
    for running in &loops {
        running.stop.send_replace(true);
    }
    let mut ended = Vec::with_capacity(loops.len());
    for RunningLoop { view, tracker, task, .. } in loops {
        let _ = task.await;
        // The loop's own handle went with it.
        if let Some(tracker) = Arc::into_inner(tracker) {
            ended.push((view.target.labels.clone(), tracker.into_inner()));
        }
    }
    ended
}

/// Writes the markers of series whose targets are gone, with the time of now: nothing that comes later has to wait for
/// them, because a sample that comes later ends what a marker began.
async fn end_series(app: &Arc<App>, trackers: Vec<Tracker>) {
    if trackers.is_empty() {
        return;
    }
    let now_ms = app.clock.now_ms();
    let work = {
        let app = Arc::clone(app);
        move || trackers.iter().try_for_each(|tracker| append::end(&app.ingest, tracker, now_ms))
    };
    match app.workers.write(work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error, "staleness markers of targets that are gone were not written"),
        Err(error) => tracing::warn!(%error, "staleness markers of targets that are gone were not written"),
    }
}
