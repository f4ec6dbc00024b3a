//! Saved snapshots: Prometheus's `admin/tsdb/snapshot`, and how to list and remove what it leaves.

use std::sync::Arc;

use ::http::StatusCode;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get, post};
use serde_json::{Value, json};
use storage::{Db, StorageError};

use super::error::{Fault, json_response};
use super::operations::on_database;
use super::prometheus::{ApiError, PREFIX, Parameters};
use super::rights::admin_whole;
use super::segment::Segment;
use crate::app::App;
use crate::backup;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/admin/tsdb/snapshot", admin_whole(post(save).put(save)))
        .route(&format!("{PREFIX}/api/v1/admin/tsdb/snapshot"), admin_whole(post(save).put(save)))
        .route("/api/v1/admin/storage/snapshots", admin_whole(get(list)))
        .route("/api/v1/admin/storage/snapshots/{name}", admin_whole(delete(remove)))
}

/// `POST /api/v1/admin/tsdb/snapshot?skip_head=`
async fn save(State(app): State<Arc<App>>, parameters: Parameters) -> Result<Response, ApiError> {
    let skip_head = parameters.get("skip_head").map(parse_bool).transpose();
    let skip_head = skip_head.map_err(|e| ApiError::parameter("skip_head", e))?.unwrap_or(false);
    let name = backup::new_name(app.clock.now_ms());
    let with_catalog = Arc::clone(&app);
    let saved = on_database(&app, move |db| {
        let add = |dir: &std::path::Path| {
            with_catalog.catalog.copy_to(dir).map_err(|error| StorageError::Io {
                operation: "copy the catalog to",
                path: dir.to_owned(),
                source: std::io::Error::other(error.to_string()),
            })
        };
        db.save_snapshot(&name, skip_head, &add)
    });
    let data = json!({"name": saved.await?.name});
    Ok(json_response(StatusCode::OK, &json!({"status": "success", "data": data})))
}

/// `GET /api/v1/admin/storage/snapshots`
async fn list(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let data = on_database(&app, listed).await?;
    Ok(json_response(StatusCode::OK, &json!({"status": "success", "data": data})))
}

fn listed(db: &Db) -> Result<Vec<Value>, StorageError> {
    let saved = db.saved_snapshots()?;
    let shown = saved.into_iter().map(|one| {
        // Who reads it need not stand where the server does.
        let path = std::path::absolute(&one.path).unwrap_or(one.path);
        json!({"name": one.name, "path": path.display().to_string(), "bytes": one.bytes, "samples": one.samples})
    });
    Ok(shown.collect())
}

/// `DELETE /api/v1/admin/storage/snapshots/{name}`
async fn remove(State(app): State<Arc<App>>, Segment(name): Segment) -> Result<Response, ApiError> {
    let known = name.clone();
    let removed = on_database(&app, move |db| {
        // A name that cannot be one is just not there.
        Ok(db.saved_snapshots()?.iter().any(|saved| saved.name == known) && db.remove_saved_snapshot(&known)?)
    });
    if !removed.await? {
        return Err(Fault::new(StatusCode::NOT_FOUND, format!("there is no snapshot {name:?}")).into());
    }
    Ok(json_response(StatusCode::OK, &json!({"status": "success", "data": {"name": name}})))
}

/// As Go reads it (`strconv.ParseBool`).
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}
