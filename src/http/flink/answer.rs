//! Answers and errors in Flink's shape: `{"errors":["…"]}`, and a header that lets any page read them.

use ::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::{BudgetError, SourceError};
use serde_json::{Value, json};

use crate::auth::Denied;
use crate::http::error::Fault;
use crate::jobs::JobsError;
use crate::workers::WorkError;

const JSON: &str = "application/json; charset=UTF-8";

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    status: StatusCode,
    errors: Vec<String>,
    retry_after_s: Option<u64>,
    is_no_job: bool,
}

impl Failure {
    fn new(status: StatusCode, message: impl Into<String>) -> Failure {
        Failure { status, errors: vec![message.into()], retry_after_s: None, is_no_job: false }
    }

    /// 404 for something that is not in the store.
    pub(super) fn not_found(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, message)
    }

    /// 404 for a job.
    pub(super) fn no_job(id: &str) -> Failure {
        Failure { is_no_job: true, ..Failure::not_found(format!("Job {id} not found")) }
    }

    /// The same as Flink says it where the result of a job is asked for.
    pub(super) fn no_result(id: &str) -> Failure {
        Failure { is_no_job: true, ..Failure::not_found(format!("Could not find Flink job ({id})")) }
    }

    /// True if it is that there is no such job.
    pub(super) fn is_no_job(&self) -> bool {
        self.is_no_job
    }

    /// 404 for a path, or a path with this method. With `GET`, Flink looks for a file then.
    pub(super) fn unknown_path(method: &Method, path: &str) -> Failure {
        if method == Method::GET {
            Failure::not_found(format!("Unable to load requested file {path}."))
        } else {
            Failure::not_found(format!("Not found: {path}"))
        }
    }

    /// 400 for a part of the path or a parameter; `of` is `path` or `query`.
    pub(super) fn unresolved(of: &str, name: &str, value: &str) -> Failure {
        let message = format!(
            "Bad request, could not parse parameters: Cannot resolve {of} parameter ({name}) from value \"{value}\"."
        );
        Failure::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400 for a value that Flink does not know.
    pub(super) fn bad_request(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400 for a body that is not of the format that an endpoint takes.
    pub(super) fn unexpected_body(format: &str) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, format!("Request did not match expected format {format}."))
    }

    /// 503 for a request that nobody here can carry out.
    pub(super) fn unavailable(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// 409 for what is too late.
    pub(super) fn conflict(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::CONFLICT, message)
    }

    /// 308 without a place to go to, as Flink answers what it gave up.
    pub(super) fn gone(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::PERMANENT_REDIRECT, message)
    }

    /// A command that was not given: where nobody carries it out, 503 as for a cluster that is not there.
    pub(super) fn of_command(fault: Fault) -> Failure {
        let status = if fault.status == StatusCode::CONFLICT { StatusCode::SERVICE_UNAVAILABLE } else { fault.status };
        Failure { status, ..Failure::from(fault) }
    }

    /// 413 for a body above a limit.
    pub(super) fn too_large(limit: &str, bytes: usize) -> Failure {
        let message = format!("The body is too large: limit {limit} = {bytes} bytes reached.");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// 500 in Flink's two entries.
    pub(super) fn internal(message: impl std::fmt::Display) -> Failure {
        let trace = format!("<Exception on server side:\n{message}\nEnd of exception on server side>");
        let errors = vec!["Internal server error.".to_owned(), trace];
        Failure { status: StatusCode::INTERNAL_SERVER_ERROR, errors, retry_after_s: None, is_no_job: false }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = respond(self.status, &json!({"errors": self.errors}));
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure { retry_after_s: fault.retry_after_s, ..Failure::new(fault.status, fault.message) }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Fault {
        Fault { status: failure.status, message: failure.errors.join("\n"), retry_after_s: failure.retry_after_s }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Failure {
        Fault::from(denied).into()
    }
}

impl From<WorkError> for Failure {
    fn from(error: WorkError) -> Failure {
        Fault::from(error).into()
    }
}

impl From<JobsError> for Failure {
    fn from(error: JobsError) -> Failure {
        Failure::internal(error)
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Failure {
        match error {
            // A limit is the caller's to mind: less time, fewer metrics.
            SourceError::Budget(BudgetError::Samples { .. } | BudgetError::Bytes { .. }) => {
                Failure::bad_request(error.to_string())
            }
            SourceError::Budget(BudgetError::Cancelled) | SourceError::Storage(_) => Failure::internal(error),
        }
    }
}

/// What a cluster answered: any page may read it, as it may when the cluster is asked directly.
pub(super) fn of_cluster(mut answer: Response) -> Response {
    answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    answer
}

/// 200 with a body.
pub(super) fn ok(body: &Value) -> Response {
    respond(StatusCode::OK, body)
}

/// An error that another layer found, for a path of ours.
pub(in crate::http) fn of_fault(fault: &Fault) -> Response {
    Failure::from(fault.clone()).into_response()
}

/// An answer of any status.
pub(super) fn respond(status: StatusCode, body: &Value) -> Response {
    let everyone = (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static(JSON)), everyone], body.to_string()).into_response()
}
