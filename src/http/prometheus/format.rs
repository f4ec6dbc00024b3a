//! `format_query`: an expression in its canonical form.

use std::sync::Arc;

use ::http::StatusCode;
use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::error::ApiError;
use super::parameters::Parameters;
use super::query::engine_options;
use crate::app::App;
use crate::http::error::json_response;

/// `GET|POST /api/v1/format_query`
pub(super) async fn format(State(app): State<Arc<App>>, parameters: Parameters) -> Result<Response, ApiError> {
    let expression = parameters.get("query").unwrap_or_default().to_owned();
    let options = engine_options(&app);
    let formatted = app.workers.query(None, move |_| query::parse(&expression, &options).map(|e| query::pretty(&e)));
    let text = formatted.await?.map_err(|e| ApiError::of_query("query", &e))?;
    Ok(json_response(StatusCode::OK, &json!({"status": "success", "data": text})))
}
