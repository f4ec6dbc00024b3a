//! What operators call: health, readiness, reload, flush and compaction now, and how far compaction is.

use std::sync::Arc;

use ::http::StatusCode;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;

use super::error::{Dialect, Fault, json_response};
use super::prometheus::rfc3339;
use super::rights::{admin_whole, read_whole};
use crate::app::App;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/-/reload", admin_whole(post(reload).put(reload)))
        .route("/api/v1/admin/storage/flush", admin_whole(post(flush)))
        .route("/api/v1/admin/storage/compact", admin_whole(post(compact)))
        .route("/api/v1/admin/storage/retention/confirm", admin_whole(post(confirm_retention)))
        .route("/api/streamgauge/v1/compaction", read_whole(get(compaction)))
        .route("/api/streamgauge/v1/storage", read_whole(get(storage_state)))
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

/// Reads the scrape configuration and the tokens again; a wrong file is refused and the old one goes on.
async fn reload(State(app): State<Arc<App>>) -> Response {
    match app.reload().await {
        Ok(()) => "The configuration was read again.\n".into_response(),
        Err(problems) => {
            let message = format!("failed to reload config: {problems}");
            Fault::new(StatusCode::INTERNAL_SERVER_ERROR, message).response(Dialect::Text)
        }
    }
}

async fn flush(State(app): State<Arc<App>>) -> Response {
    administer(&app, |db| {
        db.flush().map(|r| json!({"status": "success", "data": {"samples": r.samples, "segments": r.segments}}))
    })
    .await
}

async fn compact(State(app): State<Arc<App>>) -> Response {
    administer(&app, |db| {
        db.compact().map(|r| {
            let data = json!({
                "segmentsBefore": r.segments_before,
                "segmentsAfter": r.segments_after,
                "segmentsSetAside": r.set_aside,
            });
            json!({"status": "success", "data": data})
        })
    })
    .await
}

/// `POST /api/v1/admin/storage/retention/confirm`: the retention rules are all there, samples may be dropped again.
async fn confirm_retention(State(app): State<Arc<App>>) -> Response {
    let confirmed = async {
        let state = Arc::clone(&app);
        let confirm = move || state.catalog.confirm_rules().map(|()| state.apply_rules());
        let done = app.workers.write(confirm).await?;
        done.map_err(|error| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    };
    match confirmed.await {
        Ok(()) => {
            let data = json!({"rules": app.catalog.rules().len()});
            json_response(StatusCode::OK, &json!({"status": "success", "data": data}))
        }
        Err(fault) => fault.response(Dialect::Prometheus),
    }
}

/// `GET /api/streamgauge/v1/compaction`: what compaction does now, what it left alone, and what waits.
async fn compaction(State(app): State<Arc<App>>) -> Response {
    let db = Arc::clone(&app.db);
    match app.workers.query(None, move |_| db.compaction()).await {
        Ok(status) => json_response(StatusCode::OK, &compaction_body(&status)),
        Err(error) => Fault::from(error).response(Dialect::Plain),
    }
}

/// `GET /api/streamgauge/v1/storage`: whether the store takes writes, what was refused, what was found wrong on the disk,
/// and what failed last.
async fn storage_state(State(app): State<Arc<App>>) -> Response {
    let work = Arc::clone(&app);
    let body = move || {
        let stats = work.db.stats();
        let rejections = work.ingest.rejections().into_iter().map(|one| {
            json!({
                "origin": one.origin.as_str(),
                "of": one.of,
                "reason": one.reason,
                "count": one.count,
                "example": one.example,
            })
        });
        json!({
            "readOnly": stats.read_only,
            "retentionHeld": work.catalog.retention_hold(),
            "rejections": rejections.collect::<Vec<_>>(),
            "findings": work.db.findings(),
            "failures": work.db.failures().iter().map(failure_body).collect::<Vec<_>>(),
            "quarantineFiles": stats.quarantine_files,
            "freeBytes": stats.free_bytes,
            "walBytes": stats.wal_bytes,
            "headSamples": stats.head_samples,
            "segments": stats.segments,
            "savedSnapshots": stats.saved_snapshots,
        })
    };
    match app.workers.query(None, move |_| body()).await {
        Ok(body) => json_response(StatusCode::OK, &body),
        Err(error) => Fault::from(error).response(Dialect::Plain),
    }
}

fn failure_body(failure: &storage::WorkFailure) -> serde_json::Value {
    json!({"work": failure.work, "error": failure.error, "time": rfc3339(failure.at_ms)})
}

fn compaction_body(status: &storage::CompactionStatus) -> serde_json::Value {
    let running = status.running.as_ref().map(|job| {
        json!({
            "kind": job.kind,
            "day": job.day,
            "segments": job.inputs,
            "bytes": job.bytes,
            "doneBytes": job.done_bytes,
            "startTime": rfc3339(job.started_ms),
        })
    });
    let set_aside = status
        .set_aside
        .iter()
        .map(|one| json!({"segment": one.segment, "error": one.error, "until": rfc3339(one.until_ms)}));
    json!({
        "running": running,
        "waiting": {"jobs": status.waiting_jobs, "bytes": status.waiting_bytes},
        "setAside": set_aside.collect::<Vec<_>>(),
    })
}

/// Runs work on the database and answers with what it gives.
async fn administer(
    app: &Arc<App>,
    work: impl FnOnce(&storage::Db) -> Result<serde_json::Value, storage::StorageError> + Send + 'static,
) -> Response {
    match on_database(app, work).await {
        Ok(body) => json_response(StatusCode::OK, &body),
        Err(fault) => fault.response(Dialect::Prometheus),
    }
}

/// Runs work on the database.
pub(super) async fn on_database<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&storage::Db) -> Result<T, storage::StorageError> + Send + 'static,
) -> Result<T, Fault> {
    let db = Arc::clone(&app.db);
    let done = app.workers.write(move || work(&db)).await?;
    done.map_err(|error| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
