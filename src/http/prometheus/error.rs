//! Errors in Prometheus's shape, with its error types and statuses (`web/api/v1/api.go`, `respondError`).

use std::time::Duration;

use ::http::StatusCode;
use axum::response::{IntoResponse, Response};
use query::{ErrorKind, QueryError};
use serde_json::json;

use crate::http::error::{Dialect, Fault, json_response};
use crate::workers::WorkError;

/// A request that fails.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    fault: Fault,
    /// Where the status alone does not say the type.
    error_type: Option<&'static str>,
}

impl ApiError {
    /// 400 for a parameter's value.
    pub(in crate::http) fn parameter(name: &str, message: impl std::fmt::Display) -> ApiError {
        ApiError::bad_data(format!("invalid parameter {name:?}: {message}"))
    }

    /// 400.
    pub(super) fn bad_data(message: impl Into<String>) -> ApiError {
        Fault::bad_request(message).into()
    }

    /// 422 for a limit on what an answer may hold.
    pub(super) fn limit(name: &str, limit: usize, advice: &str) -> ApiError {
        let message = format!("the answer is too large: limit {name} = {limit} reached{advice}");
        Fault::new(StatusCode::UNPROCESSABLE_ENTITY, message).into()
    }

    /// The error of an expression that came as parameter `name`.
    pub(super) fn of_query(name: &str, error: &QueryError) -> ApiError {
        match error.kind {
            ErrorKind::Parse => ApiError::parameter(name, &error.message),
            _ => ApiError::evaluation(error),
        }
    }

    /// The error of matchers or an evaluation.
    pub(super) fn evaluation(error: &QueryError) -> ApiError {
        let (status, error_type) = match error.kind {
            ErrorKind::Parse => (StatusCode::BAD_REQUEST, "bad_data"),
            ErrorKind::Execution | ErrorKind::Limit => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
            ErrorKind::Cancelled => (StatusCode::SERVICE_UNAVAILABLE, "canceled"),
            ErrorKind::Storage => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        ApiError { fault: Fault::new(status, error.message.clone()), error_type: Some(error_type) }
    }

    /// The error of a query that was given this deadline by its client, if by any.
    pub(super) fn of_work(error: WorkError, asked: Option<Duration>) -> ApiError {
        match error {
            WorkError::Timeout(limit) if asked == Some(limit) => {
                let message = format!("query timed out in query execution: parameter timeout = {limit:?} reached");
                let fault = Fault::new(StatusCode::SERVICE_UNAVAILABLE, message);
                ApiError { fault, error_type: Some("timeout") }
            }
            other => other.into(),
        }
    }

    /// The word for our own metrics.
    pub(super) fn outcome(&self) -> &'static str {
        self.error_type.unwrap_or(match self.fault.status.as_u16() {
            400..=499 => "bad_data",
            _ => "unavailable",
        })
    }

    /// The same error as a line of text, for the endpoints that are not JSON.
    pub(super) fn as_text(&self) -> Response {
        self.fault.response(Dialect::Text)
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> ApiError {
        ApiError { fault, error_type: None }
    }
}

impl From<WorkError> for ApiError {
    fn from(error: WorkError) -> ApiError {
        let error_type = matches!(error, WorkError::Timeout(_)).then_some("timeout");
        ApiError { fault: error.into(), error_type }
    }
}

impl From<model::SourceError> for ApiError {
    fn from(error: model::SourceError) -> ApiError {
        ApiError::evaluation(&error.into())
    }
}

impl From<model::BudgetError> for ApiError {
    fn from(error: model::BudgetError) -> ApiError {
        ApiError::evaluation(&error.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self.error_type {
            Some(kind) => json_response(
                self.fault.status,
                &json!({"status": "error", "errorType": kind, "error": self.fault.message}),
            ),
            None => self.fault.response(Dialect::Prometheus),
        }
    }
}
