//! Prometheus's HTTP API, at the root and under `/prometheus`: GET and form POST, as Grafana and other clients ask it.

mod deletes;
mod encode;
mod error;
mod exemplars;
mod federate;
mod form;
mod format;
mod histogram;
mod metadata;
mod names;
mod number;
mod parameters;
mod query;
mod rules;
mod series;
mod status;
mod stream;
mod targets;
mod time;

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, get, post};

use super::rights::{admin, admin_whole, read, read_whole};
use crate::app::App;

pub use error::ApiError;
pub(in crate::http) use form::{decode_segment, parse as parse_form};
pub use parameters::Parameters;
pub(super) use query::engine_options;
pub use query::evaluate;
pub(super) use series::parse_selections;
pub(crate) use time::{parse_time, rfc3339};

/// The media type of answers.
const JSON: &str = "application/json";

/// Where Prometheus's paths stand: clients are given either as their base.
pub(super) const PREFIXES: [&str; 2] = ["", PREFIX];
pub(super) const PREFIX: &str = "/prometheus";

pub(super) fn routes() -> Router<Arc<App>> {
    let mut router = Router::new();
    for (path, methods) in endpoints() {
        for prefix in PREFIXES {
            router = router.route(&format!("{prefix}{path}"), methods.clone());
        }
    }
    router
}

/// All endpoints with their methods.
fn endpoints() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    vec![
        ("/api/v1/query", read(get(query::instant).post(query::instant))),
        ("/api/v1/query_range", read(get(query::range).post(query::range))),
        ("/api/v1/query_exemplars", read(get(exemplars::query).post(exemplars::query))),
        ("/api/v1/format_query", read(get(format::format).post(format::format))),
        ("/api/v1/series", read(get(series::series).post(series::series))),
        ("/api/v1/labels", read(get(series::labels).post(series::labels))),
        ("/api/v1/label/{name}/values", read(get(series::values))),
        ("/api/v1/metadata", read(get(metadata::metadata))),
        ("/api/v1/targets", read(get(targets::targets))),
        ("/api/v1/scrape_pools", read(get(targets::pools))),
        ("/api/v1/rules", read(get(rules::rules))),
        ("/api/v1/alerts", read(get(rules::alerts))),
        ("/api/v1/alertmanagers", read(get(rules::alertmanagers))),
        ("/api/v1/status/buildinfo", read(get(status::build))),
        ("/api/v1/status/runtimeinfo", read_whole(get(status::runtime))),
        ("/api/v1/status/flags", read_whole(get(status::flags))),
        ("/api/v1/status/config", read_whole(get(status::config))),
        ("/api/v1/status/tsdb", read(get(status::tsdb))),
        ("/api/v1/status/walreplay", read(get(status::wal_replay))),
        ("/api/v1/admin/tsdb/delete_series", admin(post(deletes::delete_series).put(deletes::delete_series))),
        (
            "/api/v1/admin/tsdb/clean_tombstones",
            admin_whole(post(deletes::clean_tombstones).put(deletes::clean_tombstones)),
        ),
        ("/api/v1/admin/storage/deletes", admin(get(deletes::list))),
        ("/api/v1/admin/storage/deletes/{id}/undo", admin(post(deletes::undo))),
        ("/federate", read(get(federate::federate))),
    ]
}
