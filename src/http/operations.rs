//! What operators call: health, readiness, reload, flush and compaction now.

use std::sync::Arc;

use ::http::{HeaderMap, StatusCode};
use axum::Router;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;

use super::Peer;
use super::error::{Dialect, Fault, json_response};
use crate::app::App;
use crate::auth;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload).put(reload))
        .route("/api/v1/admin/storage/flush", post(flush))
        .route("/api/v1/admin/storage/compact", post(compact))
}

/// The process answers.
async fn healthy() -> Response {
    "Streamgauge is healthy.\n".into_response()
}

/// Every acknowledged sample answers queries: the server listens only after the replay of the WAL, so here it does.
async fn ready(State(app): State<Arc<App>>) -> Response {
    if *app.stopping().borrow() {
        return Fault::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping").response(Dialect::Text);
    }
    "Streamgauge is ready.\n".into_response()
}

/// Reads the scrape configuration again; a wrong one is refused and the old one goes on.
async fn reload(State(app): State<Arc<App>>, Extension(peer): Extension<Peer>, headers: HeaderMap) -> Response {
    if let Err(denied) = auth::may_administer(app.token.as_ref(), peer.0.ip(), &headers) {
        return Fault::from(denied).response(Dialect::Text);
    }
    match app.scrape.reload(&app).await {
        Ok(()) => "The configuration was read again.\n".into_response(),
        Err(problems) => {
            let message = format!("failed to reload config: {problems}");
            Fault::new(StatusCode::INTERNAL_SERVER_ERROR, message).response(Dialect::Text)
        }
    }
}

async fn flush(State(app): State<Arc<App>>, Extension(peer): Extension<Peer>, headers: HeaderMap) -> Response {
    administer(&app, peer, &headers, |db| {
        db.flush().map(|r| json!({"status": "success", "data": {"samples": r.samples, "segments": r.segments}}))
    })
    .await
}

async fn compact(State(app): State<Arc<App>>, Extension(peer): Extension<Peer>, headers: HeaderMap) -> Response {
    administer(&app, peer, &headers, |db| {
        db.compact().map(|r| {
            let data = json!({"segmentsBefore": r.segments_before, "segmentsAfter": r.segments_after});
            json!({"status": "success", "data": data})
        })
    })
    .await
}

/// Runs work on the database for a caller that may administer.
async fn administer(
    app: &Arc<App>,
    peer: Peer,
    headers: &HeaderMap,
    work: impl FnOnce(&storage::Db) -> Result<serde_json::Value, storage::StorageError> + Send + 'static,
) -> Response {
    if let Err(denied) = auth::may_administer(app.token.as_ref(), peer.0.ip(), headers) {
        return Fault::from(denied).response(Dialect::Prometheus);
    }
    let db = Arc::clone(&app.db);
    match app.workers.write(move || work(&db)).await {
        Ok(Ok(body)) => json_response(StatusCode::OK, &body),
        Ok(Err(error)) => {
            Fault::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).response(Dialect::Prometheus)
        }
        Err(error) => Fault::from(error).response(Dialect::Prometheus),
    }
}
