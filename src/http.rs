//! The HTTP edge: one router, one file per dialect, and what they share.
//!
//! A dialect decodes, calls, encodes; it owns the shape of its errors, also for paths it does not know ([`error`]).

pub mod body;
pub mod error;
mod host;
pub mod metrics;
mod noetl;
mod operations;
pub mod prometheus;
mod remote_write;
mod server;
mod snapshots;
mod welcome;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::app::App;

pub(crate) use server::serve;

/// Where a request came from; the server puts it into each request.
pub type Peer = ConnectInfo<SocketAddr>;

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .merge(metrics::routes())
        .merge(noetl::routes())
        .merge(operations::routes())
        .merge(prometheus::routes())
        .merge(host::routes())
        .merge(remote_write::routes())
        .merge(snapshots::routes())
        .merge(welcome::routes())
        .fallback(error::unknown_path)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), count))
        .layer(tower_http::compression::CompressionLayer::new())
        .with_state(app)
}

/// Counts each request under the route that answered it, never under its full path: that would be unbounded.
async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let handler = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let started = Instant::now();
    let response = next.run(request).await;
    app.telemetry.http_requests.add(&[&handler, response.status().as_str()], 1);
    let elapsed_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    app.telemetry.http_micros.add(&[&handler], elapsed_us);
    response
}
