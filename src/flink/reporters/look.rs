//! Looks for the reporters of one cluster and feeds the job that scrapes them.
//!
//! What is asked of an address that nobody configured is little: `GET /metrics` without credentials, no redirects, the
//! beginning of the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::page::{self, Reporter};
use super::search::Search;
use super::taken::Names;
use super::{Address, Listed, Sighting};
use crate::app::App;
use crate::config::FlinkCluster;
use crate::ingest::ORG;
use crate::scrape::client::{Ask, Client};
use crate::scrape::config::{ClientOptions, Job, TargetGroup};
use crate::scrape::{Feed, Feeder, Health};
use crate::supervise::supervised;

/// The task's name where its panics are counted.
const TASK: &str = "flink_reporters";

/// The label `job` of all that reporters are scraped for.
const JOB: &str = "flink";

/// How much of a page is read to see whose it is: a line is enough.
const PAGE_BYTES_MAX: (&str, usize) = ("the beginning of a reporter's page", 256 << 10);

/// Longest time that one address may take. A busy task manager needs seconds for its page.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses that are tried at the same time.
const PROBES_AT_ONCE: usize = 8;

/// The pause before the first look: by then the targets of the scrape configuration are known, also those in files.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What the collector of a cluster says of it after each round; none before the first.
pub(crate) type Sightings = watch::Receiver<Option<Sighting>>;

/// The job that scrapes the reporters of a cluster.
pub(crate) fn job(cluster: &FlinkCluster, feed: Feed) -> Job {
    Job {
        client: ClientOptions { redirects_refused: true, ..ClientOptions::default() },
        feed: Some(feed),
        ..Job::plain(cluster.scrape_job(), cluster.interval, cluster.timeout)
    }
}

/// Looks for reporters until the application stops; after a panic it begins anew.
pub(crate) async fn run_supervised(app: Arc<App>, cluster: FlinkCluster, sightings: Sightings, feeder: Feeder) {
    let start = || run(Look::new(Arc::clone(&app), cluster.clone(), sightings.clone(), feeder.clone()));
    supervised(TASK, &app.telemetry, app.stopping(), |stop| *stop, start, |_| ()).await;
}

async fn run(mut look: Look) {
    let mut stopping = look.app.stopping();
    let rounds = async {
        tokio::time::sleep(FIRST_PAUSE).await;
        let mut is_news = true;
        loop {
            look.round(is_news).await;
            is_news = look.wait().await;
        }
    };
    tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => {}
        () = rounds => {}
    }
}

struct Look {
    app: Arc<App>,
    cluster: FlinkCluster,
    sightings: Sightings,
    feeder: Feeder,
    search: Search,
    names: Names,
    /// Targets that the scrape configuration has.
    taken: BTreeSet<Address>,
    /// That there is nothing to look for was told, or that there is too much.
    is_told: bool,
}

impl Look {
    fn new(app: Arc<App>, cluster: FlinkCluster, sightings: Sightings, feeder: Feeder) -> Look {
        let search = cluster.reporters.as_deref().map_or_else(Search::of_processes, Search::of_addresses);
        let (names, taken) = (Names::default(), BTreeSet::new());
        Look { app, cluster, sightings, feeder, search, names, taken, is_told: false }
    }

    /// Waits for the next round of the collector, or for an interval; true if it says something.
    async fn wait(&mut self) -> bool {
        let interval = self.cluster.interval.std();
        match tokio::time::timeout(interval, self.sightings.changed()).await {
            Ok(Ok(())) => true,
            // The collector is there for as long as the server is.
            Ok(Err(_)) => {
                tokio::time::sleep(interval).await;
                false
            }
            Err(_) => false,
        }
    }

    async fn round(&mut self, is_news: bool) {
        let is_news = is_news || self.sightings.has_changed().unwrap_or(false);
        let sighting = self.sightings.borrow_and_update().clone().filter(|_| is_news);
        let is_there = sighting.is_some();
        if let Some(sighting) = sighting {
            self.listed(&sighting);
        }
        let now_ms = self.app.clock.now_ms();
        self.search.scraped(&self.health(), now_ms);
        for address in self.search.settle(now_ms) {
            tracing::info!(%address, cluster = self.cluster.name, "a reporter is gone");
        }
        self.feed().await;
        // A cluster that does not answer says nothing about where its processes are.
        if is_there || self.search.is_configured() {
            self.probe(now_ms).await;
        }
    }

    fn listed(&mut self, sighting: &Sighting) {
        let listed = Listed::new(&self.cluster.urls, sighting);
        let cluster = &self.cluster.name;
        if listed.left_out > 0 && !self.is_told {
            let (left_out, max) = (listed.left_out, listed.managers.len());
            tracing::warn!(cluster, left_out, max, "the cluster has more task managers than are looked for reporters");
            self.is_told = true;
        }
        if listed.ports.is_empty() && !self.search.is_configured() && !self.is_told {
            tracing::info!(cluster, "the cluster's configuration names no Prometheus reporter; nothing is scraped");
            self.is_told = true;
        }
        self.search.listed(listed, self.app.clock.now_ms());
    }

    /// How the targets are that we scrape; one that has not been scraped yet is fine.
    fn health(&self) -> BTreeMap<Address, bool> {
        let all = self.app.scrape.health(&self.cluster.scrape_job());
        all.into_iter().filter_map(|(url, health)| Some((Address::of_url(&url)?, health != Health::Down))).collect()
    }

    /// Tries what is to be tried, within the bound of a round.
    async fn probe(&mut self, now_ms: i64) {
        let (began, mut left) = (Instant::now(), self.cluster.probes_max);
        let mut wave = self.search.doubtful(left);
        loop {
            left -= wave.len();
            let mut is_changed = false;
            for (address, reporter) in self.ask(wave).await {
                is_changed |= self.answered(address, reporter);
            }
            if is_changed {
                self.feed().await;
            }
            // Addresses that take their time must not keep us from what is new.
            let is_over = left == 0 || began.elapsed() >= self.cluster.interval.std();
            wave = if is_over { Vec::new() } else { self.search.wave(now_ms, left) };
            if wave.is_empty() {
                break;
            }
        }
        for host in self.search.take_unfound() {
            tracing::info!(
                host,
                cluster = self.cluster.name,
                "not all processes on the host have a reporter on the ports of the cluster's configuration"
            );
        }
    }

    /// True if the targets have changed.
    fn answered(&mut self, address: Address, reporter: Option<Reporter>) -> bool {
        let cluster = self.cluster.name.as_str();
        let outcome = if reporter.is_some() { "reporter" } else { "none" };
        self.app.telemetry.flink_probes.add(&[cluster, outcome], 1);
        let is_gone = reporter.is_none() && self.search.is_gone(&address);
        let text = address.to_string();
        let is_new = self.search.answered(address, reporter);
        if is_new {
            tracing::info!(address = text, cluster, "a reporter is found");
        }
        is_new || is_gone
    }

    async fn ask(&self, wave: Vec<Address>) -> Vec<(Address, Option<Reporter>)> {
        let timeout = PROBE_TIMEOUT.min(self.cluster.timeout.std());
        let mut answered = Vec::with_capacity(wave.len());
        for some in wave.chunks(PROBES_AT_ONCE) {
            let mut asking = JoinSet::new();
            for address in some.iter().cloned() {
                asking.spawn(async move {
                    let reporter = tokio::time::timeout(timeout, reporter_at(&address)).await.ok().flatten();
                    (address, reporter)
                });
            }
            while let Some(asked) = asking.join_next().await {
                match asked {
                    Ok(asked) => answered.push(asked),
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => {}
                }
            }
        }
        answered
    }

    /// Tells the job its targets: those that the scrape configuration does not have.
    async fn feed(&mut self) {
        let targets = self.search.targets();
        let urls = self.app.scrape.configured_urls();
        let others: BTreeSet<Address> = urls.iter().filter_map(|url| Address::of_url(url)).collect();
        let taken = self.names.among(&targets, &others).await;
        for address in taken.difference(&self.taken) {
            let cluster = &self.cluster.name;
            tracing::info!(%address, cluster, "the scrape configuration has this reporter; it is not scraped twice");
        }
        let targets = targets.difference(&taken).map(ToString::to_string).collect();
        self.taken = taken;
        self.feeder.say(vec![TargetGroup { targets, labels: self.labels() }]);
    }

    fn labels(&self) -> Vec<(String, String)> {
        let FlinkCluster { name, org, .. } = &self.cluster;
        let pairs = [("job", JOB), ("cluster", name), (ORG, org)];
        let given = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        given.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// Whose reporter answers at an address, if one does.
async fn reporter_at(address: &Address) -> Option<Reporter> {
    let mut client = Client::new(ClientOptions { redirects_refused: true, ..ClientOptions::default() });
    let ask = Ask { body_max: PAGE_BYTES_MAX, is_cut: true, ..Ask::default() };
    let answer = client.get(&format!("http://{address}/metrics"), &ask).await.ok()?;
    page::reporter(&String::from_utf8_lossy(&answer.body))
}
