//! `rules`, `alerts`, `alertmanagers`: we evaluate no rules, so there are none; clients want the empty lists.

use ::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::error::ApiError;
use super::parameters::Parameters;
use crate::http::error::json_response;

/// `GET /api/v1/rules`
pub(super) async fn rules(parameters: Parameters) -> Result<Response, ApiError> {
    match parameters.get("type") {
        None | Some("alert" | "record") => {}
        Some(other) => return Err(ApiError::parameter("type", format!("not supported value {other:?}"))),
    }
    Ok(json_response(StatusCode::OK, &json!({"status": "success", "data": {"groups": []}})))
}

/// `GET /api/v1/alerts`
pub(super) async fn alerts() -> Response {
    json_response(StatusCode::OK, &json!({"status": "success", "data": {"alerts": []}}))
}

/// `GET /api/v1/alertmanagers`
pub(super) async fn alertmanagers() -> Response {
    let none = json!({"activeAlertmanagers": [], "droppedAlertmanagers": []});
    json_response(StatusCode::OK, &json!({"status": "success", "data": none}))
}
