//! The TSP dialect: jobs by name, in the envelope `{"response", "messages"}`.
//!
//! TSP asked Flink and repackaged what it said; so does this, with the answers of [`super::flink`]. The paths stand under
//! `/tsp` and on a listener of their own, with and without a slash at their end; at the root `jobs/overview` and
//! `jobs/{id}/exceptions` are Flink's. The `uuid` of a path is the job's name: the run that began last. Reads take `at`, as
//! Flink's do.

mod route;

use std::sync::Arc;

use ::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use serde_json::{Map, Value, json};

use super::error::{Fault, json_response};
use super::flink;
use super::rights::allow;
use crate::app::App;
use crate::auth::{Caller, Need, Right};
use route::Ask;

const PREFIX: &str = "/tsp";

/// The routes of a listener on which every path is ours.
pub(super) fn listener_routes() -> Router<Arc<App>> {
    Router::new().route("/", any(serve)).route("/{*rest}", any(serve)).fallback(serve)
}

/// What a job that is not there is to TSP's clients.
const NO_JOB: u32 = 4006;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route(PREFIX, any(serve)).route(&format!("{PREFIX}/{{*rest}}"), any(serve))
}

/// Why a request is refused, by TSP's numbers.
#[derive(Debug, Clone, PartialEq)]
struct Problem {
    status: StatusCode,
    code: u32,
    message: String,
    retry_after_s: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, code: u32, message: impl Into<String>) -> Problem {
        Problem { status, code, message: message.into(), retry_after_s: None }
    }

    fn no_job() -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, NO_JOB, "No such job.")
    }

    fn response(&self) -> Response {
        let mut response =
            json_response(self.status, &json!({"errorCode": self.code, "message": self.message, "errors": []}));
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Problem {
        let (status, code) = match fault.status {
            StatusCode::NOT_FOUND => return Problem::no_job(),
            StatusCode::BAD_REQUEST => (fault.status, 4002),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => (fault.status, 5000),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, 5005),
        };
        Problem { retry_after_s: fault.retry_after_s, ..Problem::new(status, code, fault.message) }
    }
}

/// An error that another layer found, for a path of ours.
pub(super) fn of_fault(fault: &Fault) -> Response {
    let problem = match fault.status {
        StatusCode::NOT_FOUND => Problem::new(fault.status, 4004, &fault.message),
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(fault.status, 4005, &fault.message),
        _ => Problem::from(fault.clone()),
    };
    problem.response()
}

async fn serve(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Response {
    let path = request.uri().path();
    let path = path.strip_prefix(PREFIX).filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(path);
    let Some(ask) = route::of(path) else {
        return of_fault(&Fault::new(StatusCode::NOT_FOUND, format!("no such path: {path}")));
    };
    let right = if matches!(ask, Ask::Stop(_)) { Right::Control } else { Right::Read };
    if let Err(denied) = allow(&caller, Need::of(right), request.method(), path) {
        return of_fault(&denied.into());
    }
    if request.method() != Method::GET {
        let message = format!("{path} does not take {}", request.method());
        let mut refused = of_fault(&Fault::new(StatusCode::METHOD_NOT_ALLOWED, message));
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return refused;
    }
    match answer(&app, &caller, ask, request).await {
        Ok(response) => json_response(StatusCode::OK, &json!({"response": response, "messages": []})),
        Err(problem) => problem.response(),
    }
}

async fn answer(app: &Arc<App>, caller: &Caller, ask: Ask, request: Request) -> Result<Value, Problem> {
    let uri = request.uri().clone();
    match ask {
        Ask::Version => Ok(env!("CARGO_PKG_VERSION").into()),
        Ask::Overview => overview(app, caller, &uri).await,
        Ask::Status(uuid) => Ok(status(&details(app, caller, &uuid, &uri).await?)),
        Ask::StatusAndMetrics(uuid) => {
            let details = details(app, caller, &uuid, &uri).await?;
            Ok(json!({"details": status(&details), "metrics": metrics(app, caller, &details, &uri).await?}))
        }
        Ask::Exceptions(uuid) => {
            let id = find(app, caller, &uuid, &uri).await?;
            let found = flink::job_exceptions(app, caller, &id, &uri).await?;
            Ok(cut(&found, &["timestamp", "root-exception", "truncated"]))
        }
        Ask::Stop(uuid) => stop(app, caller, &uuid, request).await,
    }
}

/// The id of the newest run of a name.
async fn find(app: &Arc<App>, caller: &Caller, uuid: &str, uri: &Uri) -> Result<String, Problem> {
    let at_ms = flink::at(uri)?.unwrap_or(i64::MAX);
    let (state, name, scope) = (Arc::clone(app), uuid.to_owned(), caller.scope());
    let found = app.workers.query(None, move |_| state.jobs.read(|reader| reader.newest_of(&scope, &name, at_ms)));
    let found =
        found.await.map_err(Fault::from)?.map_err(|e| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    found.map(|job| job.hex_id()).ok_or_else(Problem::no_job)
}

/// What Flink says of the newest run of a name.
async fn details(app: &Arc<App>, caller: &Caller, uuid: &str, uri: &Uri) -> Result<Value, Problem> {
    let id = find(app, caller, uuid, uri).await?;
    Ok(flink::job_details(app, caller, &id, uri).await?)
}

async fn overview(app: &Arc<App>, caller: &Caller, uri: &Uri) -> Result<Value, Problem> {
    let found = flink::jobs_overview(app, caller, uri).await?;
    let jobs = found["jobs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let list: Vec<Value> = jobs.iter().map(|job| cut(job, &["name", "jid"])).collect();
    // The document's answer where there are none.
    Ok(if list.is_empty() { 0.into() } else { list.into() })
}

/// Some fields of an object; those that are not there are null.
fn cut(object: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), object[*name].clone())).collect::<Map<_, _>>().into()
}

/// Flink's details cut to what TSP shows; its document calls the state `status` in its table and `state` in its example.
fn status(details: &Value) -> Value {
    let mut shown = cut(details, &["jid", "name", "state", "start-time", "duration"]);
    shown["status"] = details["state"].clone();
    let vertex = |vertex: &Value| {
        let mut shown = cut(vertex, &["id", "name"]);
        shown["metrics"] = cut(&vertex["metrics"], &["read-records", "write-records"]);
        shown
    };
    shown["vertices"] = vertices(details).iter().map(vertex).collect::<Vec<_>>().into();
    shown
}

fn vertices(details: &Value) -> &[Value] {
    details["vertices"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// TSP's three numbers, as texts.
async fn metrics(app: &Arc<App>, caller: &Caller, details: &Value, uri: &Uri) -> Result<Value, Problem> {
    let vertices = vertices(details);
    let number = |vertex: Option<&Value>, name: &str| {
        let value = vertex.and_then(|vertex| vertex["metrics"][name].as_i64());
        value.unwrap_or(0).to_string()
    };
    let watermarks = match searching(vertices) {
        Some(vertex) => flink::watermarks(app, caller, text(details, "jid"), text(vertex, "id"), uri).await?,
        None => Value::Null,
    };
    Ok(json!({
        "numRecordsRead": number(vertices.first(), "write-records"),
        "numRecordsProcessed": number(vertices.last(), "read-records"),
        "currentEventTs": event_time(&watermarks).to_string(),
    }))
}

fn text<'v>(object: &'v Value, name: &str) -> &'v str {
    object[name].as_str().unwrap_or_default()
}

/// The vertex that searches patterns: named so, else the last but the sink.
fn searching(vertices: &[Value]) -> Option<&Value> {
    let is_named = |vertex: &&Value| text(vertex, "name").to_ascii_lowercase().contains("pattern");
    vertices.iter().find(is_named).or_else(|| vertices.iter().rev().nth(1)).or(vertices.last())
}

/// The watermark that all subtasks have passed; 0 if there is none.
fn event_time(watermarks: &Value) -> i64 {
    let all = watermarks.as_array().map(Vec::as_slice).unwrap_or_default();
    let times = all.iter().filter_map(|one| one["value"].as_str()?.parse::<i64>().ok());
    // Before the first watermark it is the smallest number there is.
    times.min().unwrap_or(0).max(0)
}

/// Cancels the job, as TSP did, on the cluster that it came from.
async fn stop(app: &Arc<App>, caller: &Caller, uuid: &str, request: Request) -> Result<Value, Problem> {
    let (mut head, _) = request.into_parts();
    let id = find(app, caller, uuid, &head.uri).await?;
    head.method = Method::PATCH;
    head.uri = Uri::from_static("/?mode=cancel");
    // They are about a body that is not sent on: a cluster would wait for it.
    head.headers.clear();
    flink::cancel(app, id, caller, head, Body::empty()).await?;
    Ok(1.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_cut_to_what_tsp_shows() {
        let details = json!({
            "jid": "j", "name": "n", "state": "RUNNING", "start-time": 5, "duration": 7, "now": 12, "plan": {},
            "vertices": [{"id": "v", "name": "x", "parallelism": 1, "metrics": {"read-records": 1, "write-records": 2, "read-bytes": 3}}],
        });
        let expected = json!({
            "jid": "j", "name": "n", "state": "RUNNING", "status": "RUNNING", "start-time": 5, "duration": 7,
            "vertices": [{"id": "v", "name": "x", "metrics": {"read-records": 1, "write-records": 2}}],
        });
        assert_eq!(status(&details), expected);
    }

    #[test]
    fn who_is_to_wait_is_told_how_long() {
        let fault = Fault { retry_after_s: Some(7), ..Fault::new(StatusCode::TOO_MANY_REQUESTS, "wait") };
        let answer = Problem::from(fault).response();
        assert_eq!(
            (answer.status(), answer.headers()[header::RETRY_AFTER].as_bytes()),
            (StatusCode::TOO_MANY_REQUESTS, &b"7"[..])
        );
    }

    #[test]
    fn the_event_time_is_the_watermark_that_all_have_passed() {
        let of = |values: &[&str]| event_time(&values.iter().map(|v| json!({"value": v})).collect::<Vec<_>>().into());
        assert_eq!(of(&["1795220207989", "1795220227516"]), 1_795_220_207_989);
        assert_eq!(of(&["-9223372036854775808", "5"]), 0);
        assert_eq!(of(&[]) + event_time(&Value::Null), 0);
    }

    #[test]
    fn the_vertex_that_searches_is_named_so_or_stands_before_the_sink() {
        let names = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        let found = |all: &[&str]| searching(&names(all)).map(|vertex| text(vertex, "name").to_owned());
        assert_eq!(found(&["source", "PatternsSearch", "x", "sink"]).as_deref(), Some("PatternsSearch"));
        assert_eq!(found(&["source", "map", "sink"]).as_deref(), Some("map"));
        assert_eq!(found(&["all"]).as_deref(), Some("all"));
        assert_eq!(found(&[]), None);
    }
}
