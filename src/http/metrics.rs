//! `/metrics`: our own counters and gauges, for any scraper, ours included.

mod parquet_store;
mod storage;

use std::sync::Arc;

use ::http::{HeaderMap, header};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model::MetricType;

use super::error::{Dialect, Fault};
use super::prometheus::PREFIXES;
use super::rights::read_whole;
use crate::app::App;
use crate::exposition::{Family, encode, negotiate};
use crate::system::Readings;
use crate::telemetry::family;

pub(super) fn routes() -> Router<Arc<App>> {
    let metrics = read_whole(get(metrics));
    PREFIXES
        .into_iter()
        .fold(Router::new(), |router, prefix| router.route(&format!("{prefix}/metrics"), metrics.clone()))
}

async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let wanted = negotiate(&headers, true);
    // A thread for it: readings of the system block.
    let collected = tokio::task::spawn_blocking(move || encode(&own_families(&app), wanted)).await;
    match collected {
        Ok(text) => ([(header::CONTENT_TYPE, wanted.content_type())], text).into_response(),
        Err(_) => Fault::new(::http::StatusCode::SERVICE_UNAVAILABLE, "the server is stopping").response(Dialect::Text),
    }
}

/// All our own metrics at this moment. Blocks for some files below `/proc`.
pub fn own_families(app: &App) -> Vec<Family> {
    let mut families = app.telemetry.collect();
    families.extend(server_families(app));
    families.extend(storage::families(&app.db.stats()));
    families.extend(app.parquet_store.iter().flat_map(|store| parquet_store::families(&store.stats())));
    families.extend(storage::budget_families(&app.db.budgets()));
    families.extend(process_families(&app.system.readings()));
    families.sort_by(|a, b| a.name.cmp(&b.name));
    families
}

fn gauge(name: &str, help: &str, value: f64) -> Family {
    single(name, MetricType::Gauge, help, value)
}

fn single(name: &str, metric_type: MetricType, help: &str, value: f64) -> Family {
    let mut family = family(name, metric_type, help);
    family.push(&[], value);
    family
}

fn server_families(app: &App) -> Vec<Family> {
    let mut build = family("streamgauge_build_info", MetricType::Gauge, "Version of the server; always 1.");
    build.push(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let implied = app.implied.outcome();
    let held = f64::from(u8::from(app.catalog.retention_hold().is_some()));
    vec![
        build,
        gauge("streamgauge_start_time_seconds", "When the server started.", app.started_ms as f64 / 1000.0),
        gauge(
            "streamgauge_retention_held",
            "1 while nothing is dropped for its age, because retention rules may be missing.",
            held,
        ),
        gauge("streamgauge_implied_jobs", "Jobs that live and that only series tell of.", implied.jobs as f64),
        gauge(
            "streamgauge_implied_jobs_left_out",
            "Jobs that the last look at series left out: above jobs.max_implied_jobs, or with ids that are too long.",
            implied.jobs_left_out as f64,
        ),
        gauge(
            "streamgauge_implied_tasks_left_out",
            "Subtasks above jobs.max_implied_tasks that the last look at series left out.",
            implied.tasks_left_out as f64,
        ),
        gauge(
            "streamgauge_implied_look_seconds",
            "Duration of the last look at series for jobs.",
            implied.took.as_secs_f64(),
        ),
        gauge("streamgauge_body_bytes", "Memory that request bodies take.", app.body_memory.taken() as f64),
    ]
}

/// The process under the names that Prometheus's client libraries give it.
fn process_families(readings: &Readings) -> Vec<Family> {
    let (counter, gauge) = (MetricType::Counter, MetricType::Gauge);
    let rows = [
        (
            "process_cpu_seconds_total",
            counter,
            "Total user and system CPU time spent in seconds.",
            readings.process_cpu_seconds,
        ),
        ("process_resident_memory_bytes", gauge, "Resident memory size in bytes.", readings.process_rss_bytes as f64),
        ("process_virtual_memory_bytes", gauge, "Virtual memory size in bytes.", readings.process_virtual_bytes as f64),
        ("process_open_fds", gauge, "Number of open file descriptors.", readings.process_open_files as f64),
        ("process_max_fds", gauge, "Maximum number of open file descriptors.", readings.process_open_files_max as f64),
        (
            "process_start_time_seconds",
            gauge,
            "Start time of the process since unix epoch in seconds.",
            readings.process_start_s as f64,
        ),
    ];
    // 0 says that this system does not tell; only the CPU time of a young process may be so short.
    let is_told = |metric_type, value| value > 0.0 || metric_type == counter && readings.process_start_s > 0;
    let known = rows.into_iter().filter(|(_, metric_type, _, value)| is_told(*metric_type, *value));
    known.map(|(name, metric_type, help, value)| single(name, metric_type, help, value)).collect()
}
