//! Scraping: which targets there are, when each is asked, and how its answer becomes a batch.
//!
//! [`config`] reads the file, a `pool` per job follows `discovery` and runs a `target_loop` per target; each round of
//! it asks over `client` and gives the answer to `append`, which makes one batch of it with the help of `staleness`.

mod append;
mod blocking;
mod body;
mod builtin;
pub(crate) mod client;
pub mod config;
mod discovery;
mod glob;
mod number_labels;
mod pool;
pub mod relabel;
mod sample_labels;
mod staleness;
mod status;
mod target;
mod target_loop;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::app::App;
use crate::config::Config;
use config::{Job, Problem, ScrapeConfig};
pub use discovery::Feed;
pub(crate) use discovery::{Feeder, feed};
use pool::{Inheritance, Pool};
use status::PoolView;
pub use status::{ActiveTarget, DroppedTarget, Health, Targets};

/// A configuration file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblems(pub Vec<Problem>);

impl std::fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join("\n"))
    }
}

impl std::error::Error for ConfigProblems {}

/// How the configuration file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// False if the last reading failed; the configuration before goes on then.
    pub is_ok: bool,
    /// When the configuration that is in force was read, in milliseconds since 1970; none for the start.
    pub at_ms: Option<i64>,
}

/// All scraping of a server.
pub struct Scrapes {
    path: Option<PathBuf>,
    config: Mutex<Arc<ScrapeConfig>>,
    loaded: Mutex<Loaded>,
    views: Mutex<BTreeMap<String, Arc<PoolView>>>,
    /// Held while jobs start, change and end, so that these do not overtake each other.
    pools: tokio::sync::Mutex<Pools>,
}

#[derive(Default)]
struct Pools {
    running: BTreeMap<String, Pool>,
    /// Jobs that do not come from the configuration.
    builtin: Vec<Arc<Job>>,
    has_stopped: bool,
}

impl Scrapes {
    /// Reads the configuration file, if there is one; nothing runs yet.
    ///
    /// # Errors
    /// [`ConfigProblems`] if the file cannot be used.
    pub fn open(config: &Config) -> Result<Scrapes, ConfigProblems> {
        let path = config.scrape_config.clone();
        let loaded = load(path.as_deref())?;
        Ok(Scrapes {
            path,
            config: Mutex::new(Arc::new(loaded)),
            loaded: Mutex::new(Loaded { is_ok: true, at_ms: None }),
            views: Mutex::default(),
            pools: tokio::sync::Mutex::default(),
        })
    }

    /// What is scraped.
    pub fn config(&self) -> Arc<ScrapeConfig> {
        Arc::clone(&self.config.lock())
    }

    /// How the configuration file was read last.
    pub fn loaded(&self) -> Loaded {
        *self.loaded.lock()
    }

    /// All targets as they are now.
    pub fn targets(&self) -> Targets {
        let mut targets = Targets::default();
        for (job, view) in self.views.lock().iter() {
            view.collect(job, &mut targets);
        }
        targets
    }

    /// Names of the jobs.
    pub fn pool_names(&self) -> Vec<String> {
        self.views.lock().keys().cloned().collect()
    }

    /// The URLs that jobs of the configuration scrape now.
    pub(crate) fn configured_urls(&self) -> Vec<String> {
        let (config, views) = (self.config(), self.views.lock());
        let views = config.jobs.iter().filter_map(|job| views.get(&job.name));
        views.flat_map(|view| view.health()).map(|(url, _)| url).collect()
    }

    /// The URLs of a job's targets, and how they are.
    pub(crate) fn health(&self, job: &str) -> Vec<(String, Health)> {
        self.views.lock().get(job).map(|view| view.health()).unwrap_or_default()
    }

    /// Starts all jobs of a server that listens at this address: those of the configuration, the built-in ones, and `fed`,
    /// whose targets other parts of the server find.
    pub(crate) async fn start(&self, app: &Arc<App>, listen: SocketAddr, fed: Vec<Job>) {
        let mut pools = self.pools.lock().await;
        if app.config.scrape_self {
            pools.builtin = builtin::jobs(listen, app.config.scrape_self_interval, app.auth.own_secret());
        }
        pools.builtin.extend(fed.into_iter().map(Arc::new));
        self.apply(app, &mut pools, &self.config()).await;
    }

    /// Reads the configuration file again and changes what it changes. Targets that it leaves alone do not notice.
    ///
    /// # Errors
    /// [`ConfigProblems`]: the file cannot be used, and everything goes on as before.
    pub async fn reload(&self, app: &Arc<App>) -> Result<(), ConfigProblems> {
        let path = self.path.clone();
        let loaded = match tokio::task::spawn_blocking(move || load(path.as_deref())).await {
            Ok(loaded) => loaded,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        app.telemetry.reloads.add(&[if loaded.is_ok() { "ok" } else { "refused" }], 1);
        self.loaded.lock().is_ok = loaded.is_ok();
        let config = Arc::new(loaded?);
        self.loaded.lock().at_ms = Some(app.clock.now_ms());
        let mut pools = self.pools.lock().await;
        *self.config.lock() = Arc::clone(&config);
        self.apply(app, &mut pools, &config).await;
        tracing::info!(jobs = config.jobs.len(), "the scrape configuration was read again");
        Ok(())
    }

    /// Ends all scraping. Series get no markers: they go on when the server starts again.
    pub async fn stop(&self) {
        let mut pools = self.pools.lock().await;
        pools.has_stopped = true;
        let running = std::mem::take(&mut pools.running);
        let stops: Vec<_> = running.into_values().map(|pool| tokio::spawn(pool.stop())).collect();
        for stop in stops {
            let _ = stop.await;
        }
        self.views.lock().clear();
    }

    /// Makes the running jobs those of the configuration, with the built-in ones whose names it does not take.
    async fn apply(&self, app: &Arc<App>, pools: &mut Pools, config: &ScrapeConfig) {
        if pools.has_stopped {
            return;
        }
        let is_taken = |job: &&Arc<Job>| config.jobs.iter().any(|other| other.name == job.name);
        let builtin = pools.builtin.iter().filter(|job| !is_taken(job)).cloned();
        let wanted: Vec<Arc<Job>> = config.jobs.iter().cloned().chain(builtin).collect();
        let gone: Vec<String> =
            pools.running.keys().filter(|name| !wanted.iter().any(|job| job.name == **name)).cloned().collect();
        for name in gone {
            if let Some(pool) = pools.running.remove(&name) {
                pool.remove().await;
            }
        }
        for job in wanted {
            let inheritance = match pools.running.remove(&job.name) {
                Some(same) if same.job == job => {
                    pools.running.insert(job.name.clone(), same);
                    continue;
                }
                Some(changed) => changed.hand_over().await,
                None => Inheritance::new(),
            };
            pools.running.insert(job.name.clone(), Pool::start(Arc::clone(app), job, inheritance));
        }
        *self.views.lock() = pools.running.iter().map(|(n, pool)| (n.clone(), Arc::clone(&pool.view))).collect();
    }
}

/// Reads a file and logs what is unusual about it.
fn load(path: Option<&Path>) -> Result<ScrapeConfig, ConfigProblems> {
    let Some(path) = path else { return Ok(ScrapeConfig::default()) };
    let loaded = config::load(path).map_err(ConfigProblems)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Ok(loaded.config)
}
