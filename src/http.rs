//! The HTTP edge: one router, one file per dialect, and what they share.
//!
//! A dialect decodes, calls, encodes; it owns the shape of its errors, also for paths it does not know ([`error`]).

pub mod body;
pub mod error;
mod export;
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
    routes()
        .fallback(error::unknown_path)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), count))
        .layer(tower_http::compression::CompressionLayer::new())
        .with_state(app)
}

/// The routes of all dialects; `docs/api.md` names each.
fn routes() -> Router<Arc<App>> {
    Router::new()
        .merge(export::routes())
        .merge(metrics::routes())
        .merge(noetl::routes())
        .merge(operations::routes())
        .merge(prometheus::routes())
        .merge(host::routes())
        .merge(remote_write::routes())
        .merge(snapshots::routes())
        .merge(welcome::routes())
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The paths in a text, each between two of these marks.
    fn paths_between(text: &str, mark: char) -> BTreeSet<String> {
        text.split(mark).filter(|part| part.starts_with('/') && !part.contains(' ')).map(str::to_owned).collect()
    }

    #[test]
    fn every_route_is_documented_and_every_documented_one_is_there() {
        // Each path stands in the tree's text; those below `/prometheus` are named once for all on the page.
        let mut routes = paths_between(&format!("{:?}", routes()), '"');
        routes.retain(|path| !path.starts_with("/prometheus/") && !path.contains("__private"));
        assert!(routes.len() > 40 && routes.contains("/api/v1/query"), "{routes:?}");
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md")).unwrap();
        let tables: String = page.lines().filter(|line| line.starts_with("| ")).collect();
        // A table's cell says `GET, POST /path`.
        let documented: BTreeSet<String> = tables
            .split('`')
            .filter_map(|part| part.rsplit_once(' '))
            .filter(|(methods, _)| methods.split(", ").all(|m| ["GET", "POST", "PUT", "DELETE"].contains(&m)))
            .map(|(_, path)| path.to_owned())
            .collect();
        let missing: Vec<_> = routes.difference(&documented).collect();
        let gone: Vec<_> = documented.difference(&routes).collect();
        assert!(
            missing.is_empty() && gone.is_empty(),
            "not documented: {missing:?}; documented and not there: {gone:?}"
        );
    }
}
