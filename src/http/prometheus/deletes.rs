//! `admin/tsdb/delete_series` and `clean_tombstones`, and our own list of deletes, of which each can be undone for a
//! while.

use std::sync::Arc;

use ::http::StatusCode;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use model::{Matcher, Scope};
use serde_json::{Value, json};
use storage::{Db, Delete, DeleteError};

use super::error::ApiError;
use super::parameters::Parameters;
use super::query::engine_options;
use super::rfc3339;
use super::series::parse_selections;
use crate::app::App;
use crate::auth::Caller;
use crate::http::error::{Fault, json_response};
use crate::http::segment::Segment;

/// `POST|PUT /api/v1/admin/tsdb/delete_series`
pub(super) async fn delete_series(
    State(app): State<Arc<App>>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let mut selectors = parse_selections(parameters.all("match[]"), &engine_options(&app))?;
    if selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let range = parameters.range()?;
    if range.is_empty() {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    if let Some(forced) = caller.scope().forced() {
        selectors.iter_mut().for_each(|selector| selector.push(forced.clone()));
    }
    administer(&app, move |db| db.delete(selectors, range)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST|PUT /api/v1/admin/tsdb/clean_tombstones`: gives up now what is deleted.
pub(super) async fn clean_tombstones(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    administer(&app, |db| Ok(db.purge_deleted()?)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `GET /api/v1/admin/storage/deletes`: those that are not purged, in the order in which they were made.
pub(super) async fn list(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, ApiError> {
    let (deletes, scope) = (app.db.deletes(), caller.scope());
    let shown: Vec<Value> = deletes.iter().filter(|delete| is_within(delete, &scope)).map(describe).collect();
    Ok(json_response(StatusCode::OK, &json!({"status": "success", "data": shown})))
}

/// `POST /api/v1/admin/storage/deletes/{id}/undo`
pub(super) async fn undo(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Response, ApiError> {
    let id = id.parse::<u64>().map_err(|_| ApiError::parameter("id", format!("{id:?} is not a number")))?;
    let scope = caller.scope();
    administer(&app, move |db| {
        let is_foreign = |delete: &&Delete| delete.id == id && !is_within(delete, &scope);
        // A delete that reaches into other organizations is not there for one of them.
        if db.deletes().iter().find(is_foreign).is_some() { Err(DeleteError::Unknown(id)) } else { db.undo_delete(id) }
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// True if a delete hides nothing outside of the scope.
fn is_within(delete: &Delete, scope: &Scope) -> bool {
    let Some(forced) = scope.forced() else { return true };
    let is_forced = |m: &Matcher| (m.name(), m.op(), m.value()) == (forced.name(), forced.op(), forced.value());
    delete.selectors.iter().all(|selector| selector.iter().any(is_forced))
}

async fn administer<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&Db) -> Result<T, DeleteError> + Send + 'static,
) -> Result<T, ApiError> {
    let db = Arc::clone(&app.db);
    let done = app.workers.write(move || work(&db)).await.map_err(Fault::from)?;
    Ok(done.map_err(|error| {
        let status = match &error {
            DeleteError::TooMany { .. } | DeleteError::Final(_) => StatusCode::UNPROCESSABLE_ENTITY,
            DeleteError::Unknown(_) => StatusCode::NOT_FOUND,
            DeleteError::Source(_) | DeleteError::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Fault::new(status, error.to_string())
    })?)
}

fn describe(delete: &Delete) -> Value {
    let selector = |matchers: &Vec<Matcher>| {
        let matchers: Vec<String> = matchers.iter().map(Matcher::to_string).collect();
        format!("{{{}}}", matchers.join(","))
    };
    let time = |ms: i64| (ms != i64::MIN && ms != i64::MAX).then(|| rfc3339(ms));
    json!({
        "id": delete.id,
        "match": delete.selectors.iter().map(selector).collect::<Vec<_>>(),
        "start": time(delete.range.start_ms),
        "end": time(delete.range.end_ms),
        "madeAt": rfc3339(delete.made_ms),
        "undoUntil": rfc3339(delete.purge_from_ms),
    })
}
