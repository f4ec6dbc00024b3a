//! The NoETL dialect: reports, queries, the export, the registry of components, clean-up and time to live.
//!
//! Errors are FastAPI's: `{"detail": "…"}`, and a list of problems with their places for a body or a parameter that has
//! the wrong shape (422).

mod administration;
mod answer;
mod export;
mod fields;
mod parameters;
mod query;
mod registry;
mod report;
mod rows;
mod selection;
mod self_report;

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post};

use crate::app::App;

pub(super) fn routes() -> Router<Arc<App>> {
    let deregister_pool = delete(registry::deregister_pool).post(registry::deregister_pool);
    Router::new()
        .route("/api/metrics/report", post(report::report))
        .route("/api/metrics/query", get(query::query))
        .route("/api/metrics/prometheus", get(export::export))
        .route("/api/metrics/components", get(registry::components))
        .route("/api/metrics/self-report", post(self_report::self_report))
        .route("/api/metrics/cleanup", post(administration::clean_up))
        .route("/api/metrics/partitions/create", post(administration::create_partitions))
        .route("/api/metrics/ttl/set", post(administration::set_ttl))
        .route("/api/metrics/ttl/extend-component", post(administration::extend_component))
        .route("/api/runtime/register", post(registry::register))
        .route("/api/runtime/deregister", delete(registry::deregister))
        .route("/api/worker/pool/register", post(registry::register_pool))
        .route("/api/worker/pool/deregister", deregister_pool)
        .route("/api/worker/pool/heartbeat", post(registry::heartbeat))
        .route("/api/worker/pools", get(registry::pools))
}
