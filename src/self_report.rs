//! The server's own metrics in the NoETL dialect: what is reported, under which component, and the background work that
//! reports at each interval and writes signs of life to the catalog. A process that belongs to a worker pool
//! (`noetl.worker_pool_name`) does besides what NoETL's workers do: it registers the pool, sends heartbeats, reports, and
//! takes the pool off when it stops.

use std::sync::Arc;
use std::time::Duration;

use model::MetricType;
use storage::CommitError;

use crate::app::App;
use crate::catalog::{CatalogError, Component, NewComponent, OFFLINE, Source};
use crate::config::Registration;
use crate::report::{self, Raw, ReportSample};
use crate::supervise::supervised;

/// How often signs of life that came by reports are written to the catalog.
const SAVE_INTERVAL: Duration = Duration::from_secs(5);

const SERVER_API: &str = "server_api";
const WORKER_POOL: &str = "worker_pool";

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum SelfReportError {
    /// The component is not registered, and has to be.
    #[error("component {0:?} is not registered (report.registration = required)")]
    NotRegistered(String),
    /// The component could not be registered.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The samples could not be stored.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// What was reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfReported {
    /// Under which component.
    pub component_name: String,
    /// Its id.
    pub runtime_id: i64,
    /// Number of samples.
    pub metrics_reported: u64,
}

/// Reports this process and its host under a component: the one asked for, else the worker pool this process belongs
/// to, else the server's own.
///
/// # Errors
/// [`SelfReportError`].
pub fn report(app: &App, name: Option<&str>) -> Result<SelfReported, SelfReportError> {
    let now_ms = app.clock.now_ms();
    let pool = Some(app.config.noetl_worker_pool_name.as_str()).filter(|name| !name.is_empty());
    let name = name.or(pool).unwrap_or(&app.config.noetl_server_name);
    let component = component_of(app, name, now_ms)?;
    let mut metrics = system_metrics(app);
    let mut labels = "{}".to_owned();
    if name == app.config.noetl_server_name {
        metrics.extend(server_metrics(app, now_ms));
    } else if Some(name) == pool {
        metrics.extend(worker_metrics(app));
        if !app.config.noetl_worker_id.is_empty() {
            labels = serde_json::json!({ "worker_id": app.config.noetl_worker_id }).to_string();
        }
    }
    let samples: Vec<_> = metrics.iter().map(|metric| Ok(metric.sample(now_ms, Raw::of(&labels)))).collect();
    let who = report::Component { name: &component.name, kind: &component.kind, org: "" };
    let stored = app.reporter.store(&app.ingest, app.ingest.batch(), who, &samples, now_ms)?;
    app.catalog.seen(component.runtime_id, now_ms);
    Ok(SelfReported {
        component_name: component.name.clone(),
        runtime_id: component.runtime_id,
        metrics_reported: stored.inserted,
    })
}

fn component_of(app: &App, name: &str, now_ms: i64) -> Result<Arc<Component>, SelfReportError> {
    if let Some(known) = app.catalog.find("", name, None).filter(|component| !component.is_deregistered()) {
        return Ok(known);
    }
    let (is_server, is_pool) = (name == app.config.noetl_server_name, name == app.config.noetl_worker_pool_name);
    if !is_server && !is_pool && app.config.report_registration == Registration::Required {
        return Err(SelfReportError::NotRegistered(name.to_owned()));
    }
    let kind = if is_pool { WORKER_POOL } else { SERVER_API };
    let new = NewComponent { name: name.to_owned(), kind: kind.to_owned(), ..this_process() };
    Ok(Arc::new(app.catalog.register(new, Source::Report, now_ms)?.component))
}

/// What this process says of itself in a registration.
fn this_process() -> NewComponent {
    NewComponent {
        runtime: Some("rust".to_owned()),
        pid: Some(i64::from(std::process::id())),
        hostname: sysinfo::System::host_name().ok(),
        ..NewComponent::default()
    }
}

/// One metric of a self-report.
struct OwnMetric {
    name: &'static str,
    metric_type: MetricType,
    value: f64,
    help: &'static str,
    unit: &'static str,
}

impl OwnMetric {
    const fn gauge(name: &'static str, unit: &'static str, help: &'static str, value: f64) -> OwnMetric {
        OwnMetric { name, metric_type: MetricType::Gauge, value, help, unit }
    }

    const fn counter(name: &'static str, unit: &'static str, help: &'static str, value: f64) -> OwnMetric {
        OwnMetric { name, metric_type: MetricType::Counter, value, help, unit }
    }

    fn sample<'a>(&self, timestamp_ms: i64, labels: Raw<'a>) -> ReportSample<'a> {
        ReportSample {
            name: self.name.into(),
            metric_type: self.metric_type,
            value: self.value,
            timestamp_ms,
            labels,
            help: self.help.into(),
            unit: self.unit.into(),
        }
    }
}

fn system_metrics(app: &App) -> Vec<OwnMetric> {
    let now = app.system.readings();
    vec![
        OwnMetric::gauge("noetl_system_cpu_usage_percent", "percent", "CPU usage percentage", now.cpu_percent),
        OwnMetric::gauge(
            "noetl_system_memory_usage_bytes",
            "bytes",
            "Memory usage in bytes",
            now.memory_used_bytes as f64,
        ),
        OwnMetric::gauge(
            "noetl_system_memory_usage_percent",
            "percent",
            "Memory usage percentage",
            now.memory_percent(),
        ),
        OwnMetric::gauge(
            "noetl_process_cpu_percent",
            "percent",
            "Process CPU usage percentage",
            now.process_cpu_percent,
        ),
        OwnMetric::gauge(
            "noetl_process_memory_rss_bytes",
            "bytes",
            "Process resident memory",
            now.process_rss_bytes as f64,
        ),
        OwnMetric::gauge(
            "noetl_process_start_time_seconds",
            "seconds",
            "Process start time since 1970",
            now.process_start_s as f64,
        ),
        OwnMetric::gauge("noetl_uptime_seconds", "seconds", "Time since the process started", now.process_uptime_s),
    ]
}

fn server_metrics(app: &App, now_ms: i64) -> Vec<OwnMetric> {
    let options = app.catalog.options();
    let is_active =
        |component: &Arc<Component>| component.kind == WORKER_POOL && component.status_at(now_ms, &options) != OFFLINE;
    let active = app.catalog.components().iter().filter(|component| is_active(component)).count();
    let requests = app.telemetry.http_requests.sum(|_| true);
    // Labels are the handler and the status code.
    let errors = app.telemetry.http_requests.sum(|key| key.last().is_some_and(|code| code.starts_with('5')));
    vec![
        OwnMetric::gauge("noetl_server_active_workers", "workers", "Worker pools that are not offline", active as f64),
        OwnMetric::gauge(
            "noetl_server_queue_size",
            "requests",
            "Requests that wait for a thread",
            app.workers.waiting() as f64,
        ),
        OwnMetric::counter("noetl_server_api_requests_total", "requests", "Requests answered", requests),
        OwnMetric::counter("noetl_server_api_errors_total", "requests", "Requests that failed with 5xx", errors),
        OwnMetric::counter(
            "noetl_server_api_request_seconds_total",
            "seconds",
            "Time spent on requests",
            app.telemetry.http_micros.sum(|_| true),
        ),
    ]
}

fn worker_metrics(app: &App) -> Vec<OwnMetric> {
    vec![
        OwnMetric::gauge(
            "noetl_worker_active_tasks",
            "tasks",
            "Requests that are worked on",
            app.workers.active() as f64,
        ),
        OwnMetric::gauge(
            "noetl_worker_queue_size",
            "tasks",
            "Requests that wait for a thread",
            app.workers.waiting() as f64,
        ),
        worker_status(true),
    ]
}

/// Whether a worker pool lives, under the name that NoETL's workers give it.
fn worker_status(is_active: bool) -> OwnMetric {
    let value = f64::from(u8::from(is_active));
    OwnMetric::gauge("noetl_worker_status", "status", "Worker status (1=active, 0=inactive)", value)
}

/// Reports for each registered worker pool whether it lives: one that does not cannot say so itself.
fn report_pools(app: &App) -> Result<(), CommitError> {
    let (now_ms, options) = (app.clock.now_ms(), app.catalog.options());
    let own = app.config.noetl_worker_pool_name.as_str();
    let is_reported = |pool: &Arc<Component>| {
        pool.kind == WORKER_POOL && !pool.is_deregistered() && (pool.name != own || !pool.org.is_empty())
    };
    for pool in app.catalog.components().into_iter().filter(is_reported) {
        let status = worker_status(pool.status_at(now_ms, &options) != OFFLINE);
        let who = report::Component { name: &pool.name, kind: &pool.kind, org: &pool.org };
        let samples = [Ok(status.sample(now_ms, Raw::of("{}")))];
        app.reporter.store(&app.ingest, app.ingest.batch(), who, &samples, now_ms)?;
    }
    Ok(())
}

/// Registers the server, which can be reached at this address unless the configuration names another.
pub(crate) async fn register(app: &Arc<App>, url: String) {
    let app = Arc::clone(app);
    on_thread(move || register_server(&app, url)).await;
}

/// Reports at each interval until the application stops, also through panics.
pub(crate) async fn run_supervised(app: Arc<App>) {
    let start = || run(Arc::clone(&app));
    supervised("self_report", &app.telemetry, app.stopping(), |stop| *stop, start, |_| ()).await;
}

async fn run(app: Arc<App>) {
    let mut stopping = app.stopping();
    let mut save = timer(SAVE_INTERVAL);
    let mut report = timer(app.config.noetl_server_metrics_interval.std());
    let mut worker = Worker::start(&app).await;
    loop {
        let work: fn(&App) = tokio::select! {
            // The guard of the signal must not live across the work below.
            () = async { drop(stopping.wait_for(|stop| *stop).await) } => break,
            () = tick(&mut save) => save_seen,
            () = tick(&mut report) => report_server,
            () = tick(&mut worker.heartbeat) => beat,
            () = tick(&mut worker.report) => report_pool,
        };
        let state = Arc::clone(&app);
        on_thread(move || work(&state)).await;
    }
    on_thread(move || {
        take_off_pool(&app);
        save_seen(&app);
    })
    .await;
}

/// What this process does as a member of a worker pool; nothing if it is none.
struct Worker {
    heartbeat: Option<tokio::time::Interval>,
    report: Option<tokio::time::Interval>,
}

impl Worker {
    async fn start(app: &Arc<App>) -> Worker {
        if app.config.noetl_worker_pool_name.is_empty() {
            return Worker { heartbeat: None, report: None };
        }
        let state = Arc::clone(app);
        on_thread(move || register_pool(&state)).await;
        Worker {
            heartbeat: timer(app.config.noetl_worker_heartbeat_interval.std()),
            report: timer(app.config.noetl_worker_metrics_interval.std()),
        }
    }
}

fn register_pool(app: &App) {
    let new = NewComponent {
        name: app.config.noetl_worker_pool_name.clone(),
        kind: WORKER_POOL.to_owned(),
        capacity: i64::try_from(app.config.ingest_max_concurrent + app.config.query_max_concurrent).ok(),
        ..this_process()
    };
    if let Err(error) = app.catalog.register(new, Source::Call, app.clock.now_ms()) {
        tracing::warn!(%error, "the worker pool could not be registered");
    }
}

/// A sign of life of the pool; one that somebody took off is registered again.
fn beat(app: &App) {
    let name = &app.config.noetl_worker_pool_name;
    match app.catalog.heartbeat("", name, Some(WORKER_POOL), app.clock.now_ms()) {
        Ok(Some(_)) => {}
        Ok(None) => register_pool(app),
        Err(error) => tracing::warn!(%error, "the heartbeat of the worker pool could not be noted"),
    }
}

fn report_pool(app: &App) {
    if let Err(error) = report(app, Some(&app.config.noetl_worker_pool_name)) {
        tracing::warn!(%error, "the worker pool's metrics could not be reported");
    }
}

fn take_off_pool(app: &App) {
    let name = &app.config.noetl_worker_pool_name;
    if name.is_empty() {
        return;
    }
    if let Err(error) = app.catalog.deregister("", name, Some(WORKER_POOL), app.clock.now_ms()) {
        tracing::warn!(%error, "the worker pool could not be taken off");
    }
}

/// A timer whose first tick comes after a whole period; none for no period.
fn timer(period: Duration) -> Option<tokio::time::Interval> {
    let start = tokio::time::Instant::now().checked_add(period).filter(|_| !period.is_zero())?;
    let mut timer = tokio::time::interval_at(start, period);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    Some(timer)
}

async fn tick(timer: &mut Option<tokio::time::Interval>) {
    match timer {
        Some(timer) => {
            timer.tick().await;
        }
        None => std::future::pending().await,
    }
}

async fn on_thread(work: impl FnOnce() + Send + 'static) {
    match tokio::task::spawn_blocking(work).await {
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => tracing::error!(%error, "background work of the registry was not done"),
        Ok(()) => {}
    }
}

fn register_server(app: &App, url: String) {
    let uri = Some(app.config.noetl_server_url.clone()).filter(|url| !url.is_empty()).unwrap_or(url);
    let new = NewComponent {
        name: app.config.noetl_server_name.clone(),
        kind: SERVER_API.to_owned(),
        uri: Some(uri),
        ..this_process()
    };
    if let Err(error) = app.catalog.register_reporting(new, app.clock.now_ms()) {
        tracing::warn!(%error, "the server could not register itself");
    }
}

fn save_seen(app: &App) {
    let server = app.catalog.find("", &app.config.noetl_server_name, Some(SERVER_API));
    if let Some(server) = server {
        app.catalog.seen(server.runtime_id, app.clock.now_ms());
    }
    // While the store is read-only that is said elsewhere, and not each time.
    if let Err(error) = app.catalog.save_seen()
        && !error.is_read_only()
    {
        tracing::warn!(%error, "signs of life could not be saved");
    }
}

fn report_server(app: &App) {
    let reported = report(app, Some(&app.config.noetl_server_name)).map(|_| ());
    if let Err(error) = reported.and_then(|()| report_pools(app).map_err(SelfReportError::from)) {
        tracing::warn!(%error, "the server's own metrics could not be reported");
    }
}
