//! The host's metrics under node_exporter's names: what the built-in job `node` scrapes, and anybody else may.

use std::sync::Arc;

use ::http::{HeaderMap, header};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::error::{Dialect, Fault};
use super::rights::read_whole;
use crate::app::App;
use crate::exposition::{encode, negotiate};
use crate::system::host_families;

pub(super) fn routes() -> Router<Arc<App>> {
    let metrics = read_whole(get(metrics));
    Router::new().route("/api/streamgauge/v1/host/metrics", metrics.clone()).route("/metrics/host", metrics)
}

async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let negotiated = negotiate(&headers, true);
    let now_ms = app.clock.now_ms();
    // Looking at file systems can block.
    match tokio::task::spawn_blocking(move || encode(&host_families(now_ms), negotiated)).await {
        Ok(text) => ([(header::CONTENT_TYPE, negotiated.content_type())], text).into_response(),
        Err(error) => Fault::new(::http::StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).response(Dialect::Text),
    }
}
