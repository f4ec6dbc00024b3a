//! Our own view of jobs, for all engines: the list, what happened to one, and what holds it up; and the way in for engines
//! that tell of their own ([`push`], [`commands`]).
//!
//! Reads take `at` (milliseconds since 1970, or RFC 3339): the answer is what it would have been then.

pub(super) mod commands;
mod compare;
mod diagnosis;
mod push;
mod told;
mod wire;

use std::ops::RangeInclusive;
use std::sync::Arc;

use ::http::{StatusCode, Uri};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use model::{Scope, TimeRange};
use serde_json::{Map, Value, json};

use super::error::{Dialect, Fault, json_response};
use super::prometheus::parse_form;
use super::rights::read;
use super::segment::Segment;
use crate::app::App;
use crate::auth::Caller;
use crate::config::{Duration, OptionValue};
use crate::jobs::{Event, JobsError, Known, Origin, Reader, Run, SubjectKind, Vertex, What, timeline};

/// Events of an answer, the newest, when no limit is asked for.
const EVENTS_DEFAULT: usize = 1000;
/// Most events of an answer.
const EVENTS_MAX: usize = 10_000;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/jobs", read(get(list)))
        .route("/api/jobs/compare", read(get(compare::compare)))
        .route("/api/jobs/{id}", read(get(one)))
        .route("/api/jobs/{id}/diagnosis", read(get(diagnosis::diagnosis)))
        .route("/api/jobs/{id}/timeline", read(get(events)))
        .merge(push::routes())
        .merge(commands::routes())
}

/// The parameters of a request.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(uri: &Uri) -> Result<Parameters, Fault> {
        parse_form(uri.query().unwrap_or_default().as_bytes()).map(Parameters).map_err(Fault::bad_request)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn time(&self, name: &str) -> Result<Option<i64>, Fault> {
        let parse = |text: &str| {
            let time = text.parse().ok().or_else(|| crate::report::timestamp::parse(text, 0).ok());
            time.ok_or_else(|| Fault::bad_request(format!("{name}={text:?} is neither milliseconds nor RFC 3339")))
        };
        self.text(name).map(parse).transpose()
    }

    fn at(&self) -> Result<i64, Fault> {
        Ok(self.time("at")?.unwrap_or(i64::MAX))
    }

    /// A length of time in milliseconds, within bounds.
    fn span(&self, name: &str, default_ms: i64, bounds: RangeInclusive<i64>) -> Result<i64, Fault> {
        let Some(text) = self.text(name) else { return Ok(default_ms) };
        let ms = Duration::parse(text).ok().and_then(|span| i64::try_from(span.0).ok());
        ms.filter(|ms| bounds.contains(ms)).ok_or_else(|| {
            let (from, to) = (bounds.start() / 1000, bounds.end() / 1000);
            Fault::bad_request(format!("{name}={text:?} is not a duration from {from}s to {to}s"))
        })
    }

    fn limit(&self) -> Result<usize, Fault> {
        let Some(text) = self.text("limit") else { return Ok(EVENTS_DEFAULT) };
        let limit = text.parse().ok().filter(|limit| (1..=EVENTS_MAX).contains(limit));
        limit.ok_or_else(|| Fault::bad_request(format!("limit={text:?} is not a number from 1 to {EVENTS_MAX}")))
    }
}

/// Looks, on a worker, and answers in our own shape.
async fn answer(
    app: Arc<App>,
    look: impl FnOnce(&Reader<'_>) -> Result<Option<Value>, JobsError> + Send + 'static,
) -> Response {
    let done = app.clone().workers.query(None, move |_| app.jobs.read(look)).await;
    let found = done
        .map_err(Fault::from)
        .and_then(|found| found.map_err(|error| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())));
    let missing = || Fault::new(StatusCode::NOT_FOUND, "no such job");
    match found.and_then(|found| found.ok_or_else(missing)) {
        Ok(body) => json_response(StatusCode::OK, &body),
        Err(fault) => fault.response(Dialect::Plain),
    }
}

async fn list(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Response {
    let asked = Parameters::of(&uri).and_then(|parameters| {
        let (name, state) = (parameters.text("name").map(str::to_owned), parameters.text("state").map(str::to_owned));
        Ok((parameters.at()?, name, state))
    });
    let (at_ms, name, state) = match asked {
        Ok(asked) => asked,
        Err(fault) => return fault.response(Dialect::Plain),
    };
    let shared = Arc::clone(&app);
    answer(app, move |reader| {
        let mut jobs = reader.runs(&caller.scope(), at_ms)?;
        jobs.retain(|(_, run)| {
            let run = &run.document;
            name.as_ref().is_none_or(|name| *name == run.name) && state.as_ref().is_none_or(|s| s == run.state.as_str())
        });
        jobs.sort_by_key(|(_, run)| std::cmp::Reverse(run.document.started_ms));
        let jobs: Vec<Value> = jobs.iter().map(|(job, run)| shown(&shared, job, Some(&run.document))).collect();
        Ok(Some(json!({"jobs": jobs})))
    })
    .await
}

async fn one(State(app): State<Arc<App>>, caller: Caller, Segment(id): Segment, uri: Uri) -> Response {
    let at_ms = match Parameters::of(&uri).and_then(|parameters| parameters.at()) {
        Ok(at_ms) => at_ms,
        Err(fault) => return fault.response(Dialect::Plain),
    };
    let shared = Arc::clone(&app);
    answer(app, move |reader| {
        let scope = caller.scope();
        let Some(job) = find(reader, &scope, &id, at_ms)? else { return Ok(None) };
        let run = reader.document::<Run>(&job, "", at_ms)?;
        let mut object = shown(&shared, &job, run.as_ref().map(|run| &run.document));
        let runs = match &job.pipeline_id {
            Some(pipeline) => reader.of_pipeline(&scope, pipeline)?,
            None => Vec::new(),
        };
        let runs: Vec<&str> =
            runs.iter().filter(|run| run.first_ms <= at_ms).map(|run| run.subject.id.as_str()).collect();
        object["runs"] = json!(runs);
        object["vertices"] = vertices(reader, &job, at_ms)?;
        Ok(Some(object))
    })
    .await
}

async fn events(State(app): State<Arc<App>>, caller: Caller, Segment(id): Segment, uri: Uri) -> Response {
    let asked = Parameters::of(&uri).and_then(|parameters| {
        let start_ms = parameters.time("start")?.unwrap_or(i64::MIN);
        let end_ms = parameters.time("end")?.unwrap_or(i64::MAX);
        Ok((TimeRange { start_ms, end_ms }, parameters.at()?, parameters.limit()?))
    });
    let (range, at_ms, limit) = match asked {
        Ok(asked) => asked,
        Err(fault) => return fault.response(Dialect::Plain),
    };
    answer(app, move |reader| {
        let Some(job) = find(reader, &caller.scope(), &id, at_ms)? else { return Ok(None) };
        let mut events = timeline(reader, &job, range, at_ms)?;
        let is_cut = events.len() > limit;
        events.drain(..events.len().saturating_sub(limit));
        let events: Vec<Value> = events.iter().map(event).collect();
        Ok(Some(json!({"id": job.subject.id, "events": events, "truncated": is_cut})))
    })
    .await
}

/// A job by its own id, or by the one that Flink's dialect shows.
fn find(reader: &Reader<'_>, scope: &Scope, id: &str, at_ms: i64) -> Result<Option<Known>, JobsError> {
    let found = reader.find(scope, SubjectKind::Job, id)?;
    let found = match found {
        Some(found) => Some(found),
        None => reader.find_hex(scope, SubjectKind::Job, &id.to_ascii_lowercase())?,
    };
    Ok(found.filter(|job| job.first_ms <= at_ms))
}

/// The vertices of a job in their order.
fn vertices(reader: &Reader<'_>, job: &Known, at_ms: i64) -> Result<Value, JobsError> {
    let mut vertices: Vec<Vertex> = reader.documents(job, at_ms)?.into_iter().map(|version| version.document).collect();
    vertices.sort_by_key(|vertex| vertex.position);
    let shown = |vertex: &Vertex| {
        json!({
            "id": vertex.id,
            "name": vertex.name,
            "parallelism": vertex.parallelism,
            "state": vertex.state.as_str(),
            "started": vertex.started_ms,
        })
    };
    Ok(vertices.iter().map(shown).collect())
}

/// A job in few words. What is not known is null.
fn shown(app: &App, job: &Known, run: Option<&Run>) -> Value {
    let lost_ms = run.and_then(|run| run.lost_ms);
    // Only series say all the time that a job is there.
    let newest_ms = || app.implied.newest_ms(&job.subject).filter(|_| job.origin == Origin::Metrics);
    json!({
        "id": job.subject.id,
        "org": job.subject.org,
        "name": run.map(|run| run.name.as_str()),
        "pipeline_id": job.pipeline_id,
        "origin": job.origin.as_str(),
        "cluster": job.cluster,
        "state": run.map(|run| run.state.as_str()),
        "started": run.map(|run| run.started_ms),
        "ended": run.and_then(|run| run.ended_ms),
        "lost": lost_ms,
        "first_seen": job.first_ms,
        "last_seen": lost_ms.or_else(newest_ms),
    })
}

fn event(event: &Event) -> Value {
    let (kind, fields) = match &event.what {
        What::State(state) => ("state", json!({"state": state.as_str()})),
        What::Lost => ("lost", json!({})),
        What::Deployment { vertex, attempt, subtasks } => {
            ("deployment", json!({"vertex": vertex, "attempt": attempt, "subtasks": subtasks}))
        }
        What::Restart { subtasks, vertices, cause, restored } => (
            "restart",
            json!({"subtasks": subtasks, "vertices": vertices, "cause": cause, "restored_checkpoint": restored}),
        ),
        What::Rescaled { vertex, from, to } => ("rescaled", json!({"vertex": vertex, "from": from, "to": to})),
        What::Unreachable => ("unreachable", json!({})),
        What::Reachable => ("reachable", json!({})),
        What::Checkpoint { id, state, is_savepoint, duration_ms, state_bytes } => (
            if *is_savepoint { "savepoint" } else { "checkpoint" },
            json!({"checkpoint": id, "state": state.as_str(), "duration": duration_ms, "state_bytes": state_bytes}),
        ),
        What::Failure { name, message, task } => ("exception", json!({"name": name, "message": message, "task": task})),
    };
    let mut shown = Map::new();
    shown.insert("at".to_owned(), event.at_ms.into());
    shown.insert("kind".to_owned(), kind.into());
    shown.extend(fields.as_object().cloned().unwrap_or_default());
    Value::Object(shown)
}
