//! Wiring: what the server consists of, in which order it starts and stops.

use std::net::SocketAddr;
use std::sync::Arc;

use storage::{Clock, Db, DbOptions, SeriesLimits, StorageError, SystemClock, WalSync};
use tokio::sync::watch;

use crate::arroyo::controller::Controller;
use crate::auth::Auth;
use crate::catalog::{Catalog, CatalogError, CatalogOptions, rules_of};
use crate::config::{Config, HeartbeatsMissed, RetentionSize, Sync};
use crate::flink;
use crate::http;
use crate::http::Wire;
use crate::http::body::BodyMemory;
use crate::implied;
use crate::ingest::Ingest;
use crate::jobs::{Agents, Expectations, JobOptions, Jobs, JobsError, PushOptions, WhenMissed};
use crate::parquet_store::ParquetStore;
use crate::report::Reporter;
use crate::scrape::{self, Scrapes};
use crate::self_report;
use crate::system::System;
use crate::telemetry::Telemetry;
use crate::workers::Workers;

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The catalog of the data directory cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The jobs of the catalog cannot be read.
    #[error(transparent)]
    Jobs(#[from] JobsError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// `listen`
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file named in the configuration cannot be used.
    #[error("{0}")]
    Config(String),
}

/// Everything that request handlers and background work share.
pub struct App {
    /// The resolved configuration.
    pub config: Config,
    /// The database.
    pub db: Arc<Db>,
    /// Components, their heartbeats, and retention rules.
    pub catalog: Catalog,
    /// Jobs and clusters, at any time.
    pub jobs: Jobs,
    /// The agents of jobs that engines push.
    pub agents: Agents,
    /// How jobs are told from series alone.
    pub implied: implied::Status,
    /// Turns metric reports into batches.
    pub reporter: Reporter,
    /// The one way into the database for whatever takes samples in.
    pub ingest: Ingest,
    /// Where synchronous work runs.
    pub workers: Workers,
    /// What request bodies take.
    pub body_memory: Arc<BodyMemory>,
    /// What remote write remembers between requests.
    pub remote_write: crate::remote_write::Seen,
    /// All scraping.
    pub scrape: Scrapes,
    /// Our own metrics.
    pub telemetry: Arc<Telemetry>,
    /// Who may do what.
    pub auth: Auth,
    /// Readings of this host and this process.
    pub system: System,
    /// Where days of Parquet go, if somewhere.
    pub parquet_store: Option<ParquetStore>,
    /// Arroyo's controller, if there is one to ask.
    pub(crate) arroyo: Option<Controller>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// When the server started, in milliseconds since 1970.
    pub started_ms: i64,
    stopping: watch::Sender<bool>,
}

impl App {
    /// Opens the data directory and wires the parts; nothing listens yet.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn open(config: Config) -> Result<Arc<App>, StartError> {
        App::open_with(config, |_| {})
    }

    /// As [`App::open`], with a last word on the options of the database, for tests.
    ///
    /// # Errors
    /// [`StartError`].
    #[doc(hidden)]
    pub fn open_with(config: Config, adjust: impl FnOnce(&mut DbOptions)) -> Result<Arc<App>, StartError> {
        App::open_at(config, Arc::new(SystemClock), adjust)
    }

    /// As [`App::open_with`], with a clock of the caller's.
    ///
    /// # Errors
    /// [`StartError`].
    #[doc(hidden)]
    pub fn open_at(
        config: Config,
        clock: Arc<dyn Clock>,
        adjust: impl FnOnce(&mut DbOptions),
    ) -> Result<Arc<App>, StartError> {
        // Before the data directory is touched: a wrong file is the user's to mend first.
        let auth = Auth::open(&config).map_err(StartError::Config)?;
        let scrape = Scrapes::open(&config).map_err(|e| StartError::Config(e.to_string()))?;
        let parquet_store = ParquetStore::open(&config).map_err(StartError::Config)?;
        let arroyo = Controller::of(&config).map_err(StartError::Config)?;
        // Rules may keep longer than the general retention, and are known only when the catalog is open.
        let mut options = DbOptions { retention_held: true, ..db_options(&config) };
        adjust(&mut options);
        let db = Arc::new(open_db(parquet_store.as_ref(), options, Arc::clone(&clock))?);
        for finding in db.findings() {
            tracing::error!(finding, "the data directory is damaged; the rest is served");
        }
        let telemetry = Arc::new(Telemetry::default());
        // After the database: only who holds its lock may open the catalog.
        let stats = db.stats();
        if stats.segments + stats.head_samples > 0 {
            Catalog::hold_if_missing(&config.data)?;
        }
        let catalog = Catalog::open(&config.data, catalog_options(&config), Arc::clone(&telemetry), clock.now_ms())?;
        let store = Arc::clone(&db);
        catalog.refuse_while(move || store.read_only());
        if let Some(reason) = catalog.retention_hold() {
            tracing::error!(
                reason,
                "retention is held: nothing is dropped for its age until the rules are confirmed by \
                 POST /api/v1/admin/storage/retention/confirm"
            );
        }
        apply_rules(&catalog, &db);
        let jobs = Jobs::new(&catalog, job_options(&config));
        let agents = Agents::open(&jobs, expectations(&config), clock.now_ms())?;
        Ok(Arc::new(App {
            ingest: Ingest::new(&config, Arc::clone(&db), Arc::clone(&telemetry)),
            catalog,
            jobs,
            agents,
            implied: implied::Status::default(),
            reporter: Reporter::default(),
            workers: Workers::new(&config),
            body_memory: BodyMemory::new(&config),
            remote_write: crate::remote_write::Seen::default(),
            scrape,
            started_ms: clock.now_ms(),
            stopping: watch::Sender::new(false),
            config,
            db,
            telemetry,
            auth,
            system: System::new(),
            parquet_store,
            arroyo,
            clock,
        }))
    }

    /// Reads the scrape configuration and the tokens again. What is wrong goes on as it was; the other is changed all the
    /// same, so that a token can be taken back whatever else is broken.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub async fn reload(self: &Arc<App>) -> Result<(), String> {
        let state = Arc::clone(self);
        let tokens = match tokio::task::spawn_blocking(move || state.auth.reload()).await {
            Ok(tokens) => tokens,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        if let Ok(tokens @ 1..) = tokens {
            tracing::info!(tokens, "the tokens were read again");
        }
        let scrape = self.scrape.reload(self).await.map_err(|problems| problems.to_string());
        let wrong: Vec<String> = [tokens.map(|_| ()), scrape].into_iter().filter_map(Result::err).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    /// Tells the database the retention rules of the catalog, which have changed.
    pub fn apply_rules(&self) {
        apply_rules(&self.catalog, &self.db);
    }

    /// A signal that turns true when the server stops; background work ends then.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }
}

/// A server that listens.
pub struct Running {
    /// Its parts.
    pub app: Arc<App>,
    /// Where it listens; the port is a real one also if port 0 was asked for.
    pub address: SocketAddr,
    /// Where it listens for Flink's API alone, if it does (`flink_listen`).
    pub flink_address: Option<SocketAddr>,
    /// Where it listens for TSP's API alone, if it does (`tsp_listen`).
    pub tsp_address: Option<SocketAddr>,
    /// Where it listens for Arroyo's API alone, if it does (`arroyo_listen`).
    pub arroyo_address: Option<SocketAddr>,
    tasks: tokio::task::JoinSet<()>,
}

impl Running {
    /// Listens and starts the background work.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub async fn start(app: Arc<App>) -> Result<Running, StartError> {
        let (listener, address) = listen(app.config.listen).await?;
        let flink = listen_if(app.config.flink_listen).await?;
        let tsp = listen_if(app.config.tsp_listen).await?;
        let arroyo = listen_if(app.config.arroyo_listen).await?;
        if let Some(store) = &app.parquet_store {
            store.start(Arc::clone(&app.clock), Arc::clone(&app.telemetry)).map_err(StartError::Config)?;
        }
        self_report::register(&app, format!("http://{address}")).await;
        crate::flink::left::mark_left(&app).await;
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(http::serve(Arc::clone(&app), listener, http::router(Arc::clone(&app)), Wire::Http1));
        let flink_address = flink.as_ref().map(|(_, address)| *address);
        if let Some((listener, _)) = flink {
            tasks.spawn(http::serve(Arc::clone(&app), listener, http::flink_router(Arc::clone(&app)), Wire::Http1));
        }
        let tsp_address = tsp.as_ref().map(|(_, address)| *address);
        if let Some((listener, _)) = tsp {
            tasks.spawn(http::serve(Arc::clone(&app), listener, http::tsp_router(Arc::clone(&app)), Wire::Http1));
        }
        let arroyo_address = arroyo.as_ref().map(|(_, address)| *address);
        if let Some((listener, _)) = arroyo {
            let router = http::arroyo_router(Arc::clone(&app));
            tasks.spawn(http::serve(Arc::clone(&app), listener, router, Wire::Http1And2));
        }
        tasks.spawn(self_report::run_supervised(Arc::clone(&app)));
        tasks.spawn(crate::jobs::retain_regularly(Arc::clone(&app)));
        tasks.spawn(crate::jobs::watch_agents(Arc::clone(&app)));
        if app.config.jobs_implied {
            tasks.spawn(implied::run_supervised(Arc::clone(&app)));
        }
        let fed = follow_flink(&app, &mut tasks);
        app.scrape.start(&app, address, fed).await;
        Ok(Running { app, address, flink_address, tsp_address, arroyo_address, tasks })
    }

    /// Stops: no new requests, the open ones end, background work ends, the database is flushed and closed.
    ///
    /// # Errors
    /// [`StorageError`] if the last flush failed; everything acknowledged is in the WAL all the same.
    pub async fn stop(mut self) -> Result<(), StorageError> {
        // Before the listener goes: scrapes of ourselves must not fail on the way out.
        self.app.scrape.stop().await;
        self.app.stopping.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        let app = Arc::clone(&self.app);
        let close = move || {
            if let Some(store) = &app.parquet_store {
                store.stop();
            }
            app.jobs.close_readers();
            app.catalog.close();
            app.db.close()
        };
        match tokio::task::spawn_blocking(close).await {
            Ok(closed) => closed,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

/// Follows the Flink clusters; gives the jobs that scrape their reporters.
fn follow_flink(app: &Arc<App>, tasks: &mut tokio::task::JoinSet<()>) -> Vec<scrape::config::Job> {
    let mut jobs = Vec::new();
    for cluster in &app.config.flink.clusters {
        let (sightings, seen) = watch::channel(None);
        tasks.spawn(flink::collector::run_supervised(Arc::clone(app), cluster.clone(), sightings));
        if cluster.is_scraped() {
            let (feeder, feed) = scrape::feed();
            jobs.push(flink::reporters::look::job(cluster, feed));
            tasks.spawn(flink::reporters::look::run_supervised(Arc::clone(app), cluster.clone(), seen, feeder));
        }
    }
    jobs
}

/// Listens on an address; gives it with its real port.
async fn listen(address: SocketAddr) -> Result<(tokio::net::TcpListener, SocketAddr), StartError> {
    let listen_error = |source| StartError::Listen { address, source };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    Ok((listener, address))
}

async fn listen_if(address: Option<SocketAddr>) -> Result<Option<(tokio::net::TcpListener, SocketAddr)>, StartError> {
    match address {
        Some(address) => listen(address).await.map(Some),
        None => Ok(None),
    }
}

/// Opens the database of a data directory that no server has open, as a server does, but without background work. The
/// second says why retention is held, if it is.
///
/// # Errors
/// [`StartError`].
pub fn open_for_reading(config: &Config, clock: Arc<dyn Clock>) -> Result<(Db, Option<String>), StartError> {
    let parquet_store = ParquetStore::open(config).map_err(StartError::Config)?;
    let options = DbOptions { maintenance: false, retention_held: true, ..db_options(config) };
    let db = open_db(parquet_store.as_ref(), options, clock)?;
    let held = match rules_of(&config.data) {
        Ok(rules) => {
            db.set_retention_rules(rules);
            None
        }
        Err(reason) => Some(reason),
    };
    Ok((db, held))
}

fn open_db(store: Option<&ParquetStore>, options: DbOptions, clock: Arc<dyn Clock>) -> Result<Db, StorageError> {
    match store {
        Some(store) => Db::open_on(store.disk(), options, clock),
        None => Db::open(options, clock),
    }
}

fn apply_rules(catalog: &Catalog, db: &Db) {
    catalog.apply_rules(|rules| db.set_retention_rules(rules.to_vec()));
}

/// What the catalog needs of the configuration.
fn catalog_options(config: &Config) -> CatalogOptions {
    CatalogOptions {
        components_max: config.report_max_components,
        bytes_max: config.report_max_registry_bytes.0,
        rules_max: config.storage_max_retention_rules,
        heartbeat_interval_ms: config.noetl_worker_heartbeat_interval.ms(),
        report_interval_ms: config.noetl_worker_metrics_interval.ms(),
    }
}

/// What the store of jobs needs of the configuration.
fn job_options(config: &Config) -> JobOptions {
    JobOptions {
        jobs_max: config.jobs_max_jobs,
        implied_max: config.jobs_max_implied_jobs,
        documents_max: config.jobs_max_documents,
        document_bytes_max: usize::try_from(config.jobs_max_document_bytes.0).unwrap_or(usize::MAX),
        pending_bytes_max: config.jobs_max_pending_bytes.0,
        checkpoints_max: config.jobs_max_checkpoints,
        attempts_max: config.jobs_max_attempts,
        retention_ms: (config.jobs_retention.0 > 0).then(|| config.jobs_retention.ms()),
        push: PushOptions {
            late_changes_max: config.jobs_max_late_changes,
            failures_max: config.jobs_max_exceptions,
            commands_max: config.jobs_max_commands,
            command_timeout_ms: config.jobs_command_timeout.ms(),
            command_result_timeout_ms: config.jobs_command_result_timeout.ms(),
        },
    }
}

/// What is expected of the agents of jobs.
fn expectations(config: &Config) -> Expectations {
    Expectations {
        interval_ms: config.jobs_heartbeat_interval.ms(),
        missed_max: u32::try_from(config.jobs_max_missed_heartbeats).unwrap_or(u32::MAX),
        when_missed: match config.jobs_when_heartbeats_missed {
            HeartbeatsMissed::Stale => WhenMissed::Stale,
            HeartbeatsMissed::Failed => WhenMissed::Failed,
            HeartbeatsMissed::Nothing => WhenMissed::Nothing,
        },
        silence_max_ms: (config.jobs_retention.0 > 0).then(|| config.jobs_retention.ms()),
    }
}

/// What the database needs of the configuration.
fn db_options(config: &Config) -> DbOptions {
    DbOptions {
        retention_ms: (config.retention.0 > 0).then(|| config.retention.ms()),
        rollups: config.rollups.rules.clone(),
        retention_bytes: match config.retention_size {
            RetentionSize::Auto => half_of_file_system(&config.data),
            RetentionSize::Unbounded => None,
            RetentionSize::Bytes(bytes) => Some(bytes),
        },
        future_max_ms: config.ingest_max_future.ms(),
        wal_sync: match config.wal_sync {
            Sync::Always => WalSync::Always,
            Sync::Interval(interval) => WalSync::Interval(interval.std()),
        },
        wal_file_bytes: config.wal_file_bytes.0,
        wal_bytes_max: config.wal_max_bytes.0,
        head_samples_max: config.head_max_samples,
        head_age_max: config.head_max_age.std(),
        series: SeriesLimits {
            series_max: config.ingest_max_series,
            label: config.ingest_job_label.clone(),
            per_job: config.ingest_max_series_per_job.0,
            of_job: config.ingest_max_series_of_job.0.clone(),
        },
        series_idle_max: config.head_series_idle.std(),
        metadata_max: config.ingest_max_metadata,
        exemplars_max: config.ingest_max_exemplars,
        pending_bytes_max: config.ingest_max_pending_bytes.0,
        open_partitions_max: config.storage_max_open_partitions,
        codec: config.storage_codec.preference(),
        precision: config.storage_precision.rules.clone(),
        parquet_after_ms: config.parquet_enabled.then(|| config.parquet_after.ms()),
        parquet_columns: config.parquet_label_columns.0.clone(),
        deletes_max: config.storage_max_deletes,
        delete_undo: config.storage_delete_undo.std(),
        free_bytes_min: config.storage_min_free_bytes.0,
        compaction_rate: Some(config.storage_compaction_rate.0).filter(|rate| *rate > 0),
        ..DbOptions::new(&config.data)
    }
}

/// Half the size of the file system that holds the directory or its nearest parent that exists.
fn half_of_file_system(data: &std::path::Path) -> Option<u64> {
    let absolute = std::path::absolute(data).ok()?;
    let there = absolute.ancestors().find(|p| p.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    Some(stat.f_blocks.saturating_mul(stat.f_frsize) / 2)
}
