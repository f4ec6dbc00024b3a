//! Errors to status codes, once; the shape is that of the dialect that owns the path.

use ::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use storage::CommitError;

use super::prometheus::PREFIX;
use crate::auth::Denied;
use crate::workers::WorkError;

/// What went wrong with a request, before any dialect gives it a shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// The status.
    pub status: StatusCode,
    /// For people: what, where, which limit.
    pub message: String,
    /// Seconds after which to try again, for 429 and 503.
    pub retry_after_s: Option<u64>,
}

impl Fault {
    /// A fault with this status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Fault {
        Fault { status, message: message.into(), retry_after_s: None }
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Fault {
        Fault::new(StatusCode::BAD_REQUEST, message)
    }

    /// Answers in the shape of a dialect.
    pub fn response(&self, dialect: Dialect) -> Response {
        let mut response = match dialect {
            Dialect::Prometheus => {
                let kind = match self.status {
                    StatusCode::NOT_FOUND => "not_found",
                    StatusCode::UNPROCESSABLE_ENTITY => "execution",
                    StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => "unavailable",
                    status if status.is_server_error() => "internal",
                    _ => "bad_data",
                };
                json_response(self.status, &json!({"status": "error", "errorType": kind, "error": self.message}))
            }
            Dialect::NoEtl => json_response(self.status, &json!({"detail": self.message})),
            Dialect::Text => (self.status, format!("{}\n", self.message)).into_response(),
            Dialect::Flink => super::flink::of_fault(self),
            Dialect::Tsp => super::tsp::of_fault(self),
            Dialect::Plain => json_response(self.status, &json!({"error": self.message})),
        };
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A JSON answer.
pub fn json_response(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

impl From<WorkError> for Fault {
    fn from(error: WorkError) -> Fault {
        let retry_after_s = match error {
            WorkError::Busy { .. } | WorkError::Exporting { .. } | WorkError::Stopping => Some(1),
            WorkError::Timeout(_) => None,
        };
        let status = match error {
            WorkError::Busy { .. } | WorkError::Exporting { .. } => StatusCode::TOO_MANY_REQUESTS,
            WorkError::Timeout(_) | WorkError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        Fault { status, message: error.to_string(), retry_after_s }
    }
}

impl From<&CommitError> for Fault {
    fn from(error: &CommitError) -> Fault {
        let (status, retry_after_s) = match error {
            CommitError::Overloaded { retry_after, .. } => {
                (StatusCode::TOO_MANY_REQUESTS, Some(retry_after.as_secs().max(1)))
            }
            CommitError::ReadOnly(_) => (StatusCode::SERVICE_UNAVAILABLE, Some(30)),
            CommitError::Closed => (StatusCode::SERVICE_UNAVAILABLE, Some(1)),
            CommitError::Storage(_) => (StatusCode::INTERNAL_SERVER_ERROR, None),
        };
        Fault { status, message: error.to_string(), retry_after_s }
    }
}

impl From<Denied> for Fault {
    fn from(denied: Denied) -> Fault {
        let status = match denied {
            Denied::Missing(_) | Denied::Unknown => StatusCode::UNAUTHORIZED,
            Denied::Foreign | Denied::Insufficient { .. } | Denied::Confined { .. } => StatusCode::FORBIDDEN,
        };
        Fault::new(status, denied.to_string())
    }
}

/// Who owns the shape of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `{"status":"error","errorType":…,"error":…}`
    Prometheus,
    /// FastAPI's `{"detail":…}`
    NoEtl,
    /// A line of text, as remote-write senders and scrapers log it.
    Text,
    /// Flink's `{"errors":[…]}`.
    Flink,
    /// TSP's `{"errorCode":…,"message":…,"errors":[]}`.
    Tsp,
    /// `{"error":…}`, our own and Arroyo's.
    Plain,
}

impl Dialect {
    /// The owner of a path, known or not.
    pub fn of_path(path: &str) -> Dialect {
        // What stands below the prefix is all Prometheus's, in the shapes that it has at the root.
        let below = path.strip_prefix(PREFIX).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let inner = below.unwrap_or(path);
        let under =
            |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if ["/api/v1/write", "/api/v1/push", "/metrics", "/federate"].contains(&inner) || under("/-") {
            Dialect::Text
        } else if super::arroyo::owns(path) {
            Dialect::Plain
        } else if below.is_some() || under("/api/v1") {
            Dialect::Prometheus
        } else if under("/api/metrics") || under("/api/runtime") || under("/api/worker") {
            Dialect::NoEtl
        } else if super::flink::owns(path) {
            Dialect::Flink
        } else if under("/tsp") {
            Dialect::Tsp
        } else {
            Dialect::Plain
        }
    }
}

/// Answers for a path that nobody owns.
pub(super) async fn unknown_path(uri: Uri) -> Response {
    let fault = Fault::new(StatusCode::NOT_FOUND, format!("no such path: {}", uri.path()));
    // An unknown path is JSON also where the known ones beside it answer with text.
    let dialect = match Dialect::of_path(uri.path()) {
        Dialect::Text => Dialect::Plain,
        owner => owner,
    };
    fault.response(dialect)
}

/// Answers for a path that exists, but not with this method; axum adds `Allow`.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> Response {
    let fault = Fault::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()));
    fault.response(Dialect::of_path(uri.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_path_is_found_by_whole_segments() {
        assert_eq!(Dialect::of_path("/api/v1/query"), Dialect::Prometheus);
        assert_eq!(Dialect::of_path("/api/v1x"), Dialect::Plain);
        assert_eq!(Dialect::of_path("/api/v1/write"), Dialect::Text);
        assert_eq!(Dialect::of_path("/api/metrics/nothing"), Dialect::NoEtl);
        assert_eq!(Dialect::of_path("/-/ready"), Dialect::Text);
        assert_eq!(Dialect::of_path("//jobs/overview"), Dialect::Flink);
        assert_eq!(Dialect::of_path("/v1/jobs"), Dialect::Flink);
        assert_eq!(Dialect::of_path("/v1/pipelines"), Dialect::Plain);
        assert_eq!(Dialect::of_path("/api/v1/pipelines/x"), Dialect::Plain);
        assert_eq!(Dialect::of_path("/api/v1/pipelinesx"), Dialect::Prometheus);
        assert_eq!(Dialect::of_path("/tsp/jobs/overview"), Dialect::Tsp);
        assert_eq!(Dialect::of_path("/"), Dialect::Plain);
        assert_eq!(Dialect::of_path("/prometheusx"), Dialect::Plain);
        assert_eq!(Dialect::of_path("/prometheus/nothing"), Dialect::Prometheus);
    }

    #[test]
    fn the_prefix_changes_no_shape() {
        for path in ["/api/v1/write", "/api/v1/push", "/metrics", "/federate", "/api/v1/query", "/api/v1/nothing"] {
            assert_eq!(Dialect::of_path(&format!("/prometheus{path}")), Dialect::of_path(path), "{path}");
        }
    }

    #[test]
    fn who_is_not_known_learns_how_to_say_it() {
        let denied = |denied| Fault::from(denied).response(Dialect::Plain);
        assert_eq!(denied(Denied::Unknown).headers().get(header::WWW_AUTHENTICATE).unwrap(), "Bearer");
        assert!(denied(Denied::Foreign).headers().get(header::WWW_AUTHENTICATE).is_none());
    }
}
