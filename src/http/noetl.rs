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

use super::rights::{admin, admin_whole, read, write, write_whole};
use crate::app::App;

pub(super) fn routes() -> Router<Arc<App>> {
    let deregister_pool = delete(registry::deregister_pool).post(registry::deregister_pool);
    Router::new()
        .route("/api/metrics/report", write(post(report::report)))
        .route("/api/metrics/query", read(get(query::query)))
        .route("/api/metrics/prometheus", read(get(export::export)))
        .route("/api/metrics/components", read(get(registry::components)))
        .route("/api/metrics/self-report", write_whole(post(self_report::self_report)))
        .route("/api/metrics/cleanup", admin_whole(post(administration::clean_up)))
        .route("/api/metrics/partitions/create", admin_whole(post(administration::create_partitions)))
        .route("/api/metrics/ttl/set", admin(post(administration::set_ttl)))
        .route("/api/metrics/ttl/extend-component", admin(post(administration::extend_component)))
        .route("/api/runtime/register", write(post(registry::register)))
        .route("/api/runtime/deregister", write(delete(registry::deregister)))
        .route("/api/worker/pool/register", write(post(registry::register_pool)))
        .route("/api/worker/pool/deregister", write(deregister_pool))
        .route("/api/worker/pool/heartbeat", write(post(registry::heartbeat)))
        .route("/api/worker/pools", read(get(registry::pools)))
}
