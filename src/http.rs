//! The HTTP edge: one router, one file per dialect, and what they share.
//!
//! A dialect decodes, calls, encodes; it owns the shape of its errors, also for paths it does not know ([`error`]).

mod arroyo;
pub mod body;
pub mod error;
mod export;
mod flink;
mod host;
mod jobs;
pub mod metrics;
mod noetl;
mod opening;
mod operations;
mod progress;
pub mod prometheus;
mod remote_write;
mod rights;
mod segment;
mod server;
mod snapshots;
mod tsp;
mod unread;
mod welcome;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::app::App;
use crate::auth::Caller;

pub(crate) use server::{Wire, serve};

/// Where a request came from; the server puts it into each request.
pub type Peer = ConnectInfo<SocketAddr>;

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    layered(routes().fallback(elsewhere).method_not_allowed_fallback(error::wrong_method), app)
}

/// The routes of the listener on which every path is Flink's.
pub fn flink_router(app: Arc<App>) -> Router {
    layered(flink::listener_routes(), app)
}

/// The routes of the listener on which every path is TSP's.
pub fn tsp_router(app: Arc<App>) -> Router {
    layered(tsp::listener_routes(), app)
}

/// The routes of the listener on which every path is Arroyo's.
pub fn arroyo_router(app: Arc<App>) -> Router {
    layered(arroyo::listener_routes(), app)
}

/// What all listeners have in common.
fn layered(routes: Router<Arc<App>>, app: Arc<App>) -> Router {
    routes
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), rights::identify))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), count))
        .layer(tower_http::compression::CompressionLayer::new())
        .with_state(app)
}

/// The routes of all dialects; `docs/api.md` names each.
fn routes() -> Router<Arc<App>> {
    Router::new()
        .merge(arroyo::routes())
        .merge(export::routes())
        .merge(flink::routes())
        .merge(metrics::routes())
        .merge(noetl::routes())
        .merge(operations::routes())
        .merge(prometheus::routes())
        .merge(host::routes())
        .merge(jobs::routes())
        .merge(remote_write::routes())
        .merge(snapshots::routes())
        .merge(tsp::routes())
        .merge(welcome::routes())
}

/// Answers for a path that no route took.
async fn elsewhere(app: State<Arc<App>>, caller: Caller, request: Request) -> Response {
    if flink::owns(request.uri().path()) {
        return flink::serve(app, caller, request).await;
    }
    error::unknown_path(request.uri().clone()).await
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

    /// The paths in the tables of a part of the page: a table's cell says `GET, POST /path`.
    fn documented(part: &str) -> BTreeSet<String> {
        let tables: String = part.lines().filter(|line| line.starts_with("| ")).collect();
        let cells = tables.split('`').filter_map(|cell| cell.rsplit_once(' '));
        cells
            .filter(|(methods, _)| methods.split(", ").all(|m| ["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&m)))
            .map(|(_, path)| path.to_owned())
            .collect()
    }

    /// Each path stands in the text of the router's tree.
    fn served() -> BTreeSet<String> {
        let mut paths = paths_between(&format!("{:?}", routes()), '"');
        paths.retain(|path| !path.contains("__private"));
        assert!(paths.len() > 40 && paths.contains("/api/v1/query"), "{paths:?}");
        paths
    }

    fn page() -> String {
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md")).unwrap()
    }

    fn assert_same(served: &BTreeSet<String>, documented: &BTreeSet<String>) {
        let missing: Vec<_> = served.difference(documented).collect();
        let gone: Vec<_> = documented.difference(served).collect();
        assert!(
            missing.is_empty() && gone.is_empty(),
            "not documented: {missing:?}; documented and not there: {gone:?}"
        );
    }

    #[test]
    fn every_route_is_documented_and_every_documented_one_is_there() {
        let mut at_the_root = served();
        at_the_root.retain(|path| !path.starts_with(prometheus::PREFIX));
        assert_same(&at_the_root, &documented(&page()));
    }

    #[test]
    fn what_stands_below_the_prefix_is_what_the_page_says() {
        let below: BTreeSet<String> =
            served().iter().filter_map(|path| path.strip_prefix(prometheus::PREFIX)).map(str::to_owned).collect();
        let page = page();
        let part = |title: &str| {
            let (_, from) = page.split_once(&format!("## {title}\n")).unwrap();
            documented(from.split("\n## ").next().unwrap())
        };
        let mut said = part("Prometheus");
        said.extend(part("Writing"));
        said.extend(["/metrics", "/api/v1/admin/tsdb/snapshot"].map(str::to_owned));
        assert_same(&below, &said);
    }
}
