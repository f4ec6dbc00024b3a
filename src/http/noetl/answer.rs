//! What the handlers of this dialect give back, above all when they cannot do what was asked.

use ::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use storage::CommitError;

use crate::catalog::CatalogError;
use crate::http::error::{Dialect, Fault, json_response};
use crate::report::{DecodeError, Problem, Step};
use crate::workers::WorkError;

/// 200 with the fields in the order of the type.
pub(super) fn ok<T: Serialize>(answer: &T) -> Result<Response, Failure> {
    match serde_json::to_string(answer) {
        Ok(body) => Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response()),
        Err(error) => Err(Fault::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into()),
    }
}

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// One sentence: `{"detail": "…"}`.
    Fault(Fault),
    /// A list of problems: 422.
    Problems(Vec<Problem>),
    /// A body of its own.
    Body(StatusCode, Value),
}

impl Failure {
    pub(super) fn bad_request(message: impl Into<String>) -> Failure {
        Failure::Fault(Fault::bad_request(message))
    }

    pub(super) fn not_found(message: impl Into<String>) -> Failure {
        Failure::Fault(Fault::new(StatusCode::NOT_FOUND, message))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Failure::Fault(fault) => fault.response(Dialect::NoEtl),
            Failure::Problems(problems) => {
                let detail: Vec<Value> = problems.iter().map(problem).collect();
                json_response(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "detail": detail }))
            }
            Failure::Body(status, body) => json_response(status, &body),
        }
    }
}

fn problem(problem: &Problem) -> Value {
    let location: Vec<Value> = problem
        .location
        .iter()
        .map(|step| match step {
            Step::Name(name) => json!(name),
            Step::Index(index) => json!(index),
        })
        .collect();
    json!({"loc": location, "msg": problem.message, "type": problem.kind})
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Failure::Fault(fault)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Failure::Problems(vec![problem])
    }
}

impl From<WorkError> for Failure {
    fn from(error: WorkError) -> Self {
        Failure::Fault(error.into())
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        Failure::Fault((&error).into())
    }
}

impl From<CatalogError> for Failure {
    fn from(error: CatalogError) -> Self {
        let (status, retry_after_s) = match &error {
            CatalogError::TooManyComponents { .. }
            | CatalogError::RegistryTooLarge { .. }
            | CatalogError::TooManyRules { .. } => (StatusCode::BAD_REQUEST, None),
            error if error.is_read_only() => (StatusCode::SERVICE_UNAVAILABLE, Some(30)),
            CatalogError::Closed => (StatusCode::SERVICE_UNAVAILABLE, Some(1)),
            CatalogError::NewerSchema { .. }
            | CatalogError::ReadOnly(_)
            | CatalogError::Panicked(_)
            | CatalogError::Sqlite(_)
            | CatalogError::Io { .. } => (StatusCode::INTERNAL_SERVER_ERROR, None),
        };
        Failure::Fault(Fault { status, message: error.to_string(), retry_after_s })
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed { message, line, column } => {
                let message = format!("JSON decode error: {message} at line {line} column {column}");
                Problem::of_body("json_invalid", message).into()
            }
            DecodeError::Shape(problems) => Failure::Problems(problems),
            DecodeError::TooManySamples { limit } => {
                let message =
                    format!("too many metrics in one report: limit ingest.max_batch_samples = {limit} reached");
                Fault::new(StatusCode::PAYLOAD_TOO_LARGE, message).into()
            }
        }
    }
}
