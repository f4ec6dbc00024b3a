//! `POST /api/metrics/self-report`: this process and its host, reported under a component.

use std::sync::Arc;

use ::http::{StatusCode, Uri};
use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::answer::Failure;
use super::parameters::Parameters;
use super::report::check_names;
use crate::app::App;
use crate::http::error::json_response;
use crate::self_report::{self, SelfReportError};

pub(super) async fn self_report(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Failure> {
    let name = Parameters::of(&uri)?.text("component_name").map(str::to_owned);
    check_names(&app.config, name.as_deref(), None)?;
    let state = Arc::clone(&app);
    let done = app.workers.write(move || self_report::report(&state, name.as_deref())).await??;
    let answer = json!({
        "status": "ok",
        "component_name": done.component_name,
        "runtime_id": done.runtime_id,
        "metrics_reported": done.metrics_reported,
    });
    Ok(json_response(StatusCode::OK, &answer))
}

impl From<SelfReportError> for Failure {
    fn from(error: SelfReportError) -> Self {
        match error {
            SelfReportError::NotRegistered(_) => Failure::not_found(error.to_string()),
            SelfReportError::Catalog(error) => error.into(),
            SelfReportError::Commit(error) => error.into(),
        }
    }
}
