//! The push API: engines register their jobs, report what happens to them, and send heartbeats (`docs/jobs.md`,
//! `docs/openapi/jobs.yaml`).

use std::sync::Arc;

use ::http::{HeaderMap, StatusCode};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{post, put};
use model::{Labels, Matcher, Scope};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::commands::shown as shown_command;
use super::told::{self, Limits, Measure, Number, Told};
use super::wire;
use crate::app::App;
use crate::auth::Caller;
use crate::catalog::CatalogError;
use crate::flink::convert::Moving;
use crate::flink::follow::Number as Named;
use crate::flink::samples::Owner;
use crate::http::body::{self, BodyLimits};
use crate::http::error::{Dialect, Fault, json_response};
use crate::http::rights;
use crate::http::segment::Segment;
use crate::ingest::{Origin as SampleOrigin, Refused, Rejection};
use crate::jobs::{
    JobsError, Known, Origin, PushError, Pushed, Reader, Run, Subject, SubjectKind, Subtasks, Vertex, hex_id,
};

/// What stands where the id of a job does.
const PATH_OF_ITS_OWN: &str = "compare";
/// Seconds after which to try again when too much waits, and when the disk is full.
const RETRY_SOON_S: u64 = 1;
const RETRY_LATER_S: u64 = 30;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/jobs", rights::write(post(create)))
        .route("/api/jobs/{id}", rights::write(put(register)))
        .route("/api/jobs/{id}/report", rights::write(post(report)))
        .route("/api/jobs/{id}/heartbeat", rights::write(post(heartbeat)))
}

/// The job of a path, of the caller's organization.
pub(super) fn subject(caller: &Caller, id: &str) -> Result<Subject, Fault> {
    told::check_id("the job id", id)?;
    if id == PATH_OF_ITS_OWN {
        return Err(Fault::bad_request(format!("{id:?} is a path of this API and no job id")));
    }
    Ok(Subject::job(caller.org_name(), id))
}

/// Answers in our own shape.
pub(super) fn respond(done: Result<(StatusCode, Value), Fault>) -> Response {
    match done {
        Ok((status, body)) => json_response(status, &body),
        Err(fault) => fault.response(Dialect::Plain),
    }
}

/// Reads a body of JSON; an empty one has the fields of an empty object.
pub(super) async fn read<T: DeserializeOwned>(app: &App, headers: &HeaderMap, body: Body) -> Result<T, Fault> {
    let limits = BodyLimits::new(app, ("jobs.max_report_bytes", app.config.jobs_max_report_bytes.usize()));
    let sent = body::read(headers, body, &limits).await?;
    if !sent.is_empty() {
        body::require_json(headers)?;
    }
    let sent = body::decode(headers, sent, &limits)?;
    let text: &[u8] = if sent.is_empty() { b"{}" } else { &sent };
    serde_json::from_slice(text).map_err(|e| Fault::bad_request(format!("the body does not fit: {e}")))
}

async fn create(State(app): State<Arc<App>>, caller: Caller, headers: HeaderMap, body: Body) -> Response {
    let work = async {
        let sent: wire::Registration = read(&app, &headers, body).await?;
        let id = sent.id.clone().ok_or_else(|| Fault::bad_request("the body does not fit: missing field `id`"))?;
        accept_registration(&app, subject(&caller, &id)?, sent).await
    };
    respond(work.await)
}

async fn register(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(id): Segment,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let work = async {
        let job = subject(&caller, &id)?;
        let sent: wire::Registration = read(&app, &headers, body).await?;
        if let Some(other) = sent.id.as_ref().filter(|other| **other != id) {
            return Err(Fault::bad_request(format!("the body is about job {other:?}, the path about {id:?}")));
        }
        accept_registration(&app, job, sent).await
    };
    respond(work.await)
}

async fn accept_registration(
    app: &Arc<App>,
    job: Subject,
    sent: wire::Registration,
) -> Result<(StatusCode, Value), Fault> {
    let told = told::registration(&Limits::new(&app.config), job, sent, app.clock.now_ms())?;
    put_in(app, told).await
}

async fn report(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(id): Segment,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let work = async {
        let job = subject(&caller, &id)?;
        let sent: wire::Report = read(&app, &headers, body).await?;
        let told = told::report(&Limits::new(&app.config), job, sent, app.clock.now_ms())?;
        put_in(&app, told).await
    };
    respond(work.await)
}

/// Writes what was told, and then its numbers: who gets no answer may send all of it again.
async fn put_in(app: &Arc<App>, told: Told) -> Result<(StatusCode, Value), Fault> {
    let state = Arc::clone(app);
    app.workers.write(move || write(&state, told)).await?
}

fn write(app: &App, told: Told) -> Result<(StatusCode, Value), Fault> {
    let Told { push, numbers } = told;
    let (job, at_ms, now_ms) = (push.job.clone(), push.at_ms, push.now_ms);
    let terms = push.registration.as_ref().map(|registration| registration.terms.clone());
    let pushed = app.jobs.push(push)?;
    match terms {
        _ if pushed.state.has_ended() => app.agents.ended(&job),
        Some(terms) => app.agents.agreed(&job, terms, now_ms),
        None => app.agents.heard(&job, now_ms),
    }
    let samples = store(app, &job, &numbers, at_ms)?;
    let status = if pushed.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, answer(&job, &pushed, &samples)))
}

fn answer(job: &Subject, pushed: &Pushed, samples: &Stored) -> Value {
    json!({
        "id": job.id,
        "flink_id": hex_id(&job.id),
        "name": pushed.name,
        "state": pushed.state.as_str(),
        "changed": pushed.changed,
        "samples": {"stored": samples.stored, "refused": samples.refused, "first_refusal": samples.first_refusal},
    })
}

/// What became of numbers.
#[derive(Debug, Default)]
struct Stored {
    stored: u64,
    refused: u64,
    first_refusal: Option<String>,
}

/// Writes numbers as samples of one moment, under the names and labels that Flink's reporter gives.
fn store(app: &App, job: &Subject, numbers: &[Number], at_ms: i64) -> Result<Stored, Fault> {
    let mut stored = Stored::default();
    if numbers.is_empty() {
        return Ok(stored);
    }
    let samples = app.jobs.read(|reader| samples(reader, job, numbers, at_ms)).map_err(|error| Fault::from(&error))?;
    let mut batch = app.ingest.batch();
    for (labels, value) in samples {
        let fits = app.ingest.limits().check(labels.iter());
        let written = fits
            .and_then(|()| Ok(batch.define(None, &labels)?))
            .and_then(|series| batch.push(series, at_ms, value).map_err(Rejection::from));
        match written {
            Ok(_) => stored.stored += 1,
            Err(rejection) => {
                let name = labels.metric_name();
                app.ingest.reject(SampleOrigin::Jobs, Refused::Samples(1), &rejection, name);
                stored.refused += 1;
                stored.first_refusal.get_or_insert_with(|| format!("{name}: {rejection}"));
            }
        }
    }
    app.ingest.commit(SampleOrigin::Jobs, batch).map_err(|error| Fault::from(&error))?;
    Ok(stored)
}

/// The samples that numbers are, with the names and attempts of their tasks at a time.
fn samples(
    reader: &Reader<'_>,
    job: &Subject,
    numbers: &[Number],
    at_ms: i64,
) -> Result<Vec<(Labels, f64)>, JobsError> {
    let scope = Scope::confined(Matcher::equal("org", &job.org));
    let Some(known) = reader.find(&scope, SubjectKind::Job, &job.id)? else { return Ok(Vec::new()) };
    let name = reader.document::<Run>(&known, "", at_ms)?.map(|run| run.document.name).unwrap_or_default();
    let vertices = reader.documents::<Vertex>(&known, at_ms)?;
    let subtasks = reader.documents::<Subtasks>(&known, at_ms)?;
    let name_of = |id: &str| vertices.iter().find(|vertex| vertex.document.id == id).map(|v| v.document.name.as_str());
    let newest = |number: &Number| {
        let all = subtasks.iter().find(|all| Some(&all.document.vertex) == number.vertex.as_ref())?;
        let found = all.document.subtasks.iter().find(|subtask| Some(subtask.index) == number.subtask);
        found.map(|subtask| subtask.attempt)
    };
    let owner =
        Owner { org: &job.org, cluster: known.cluster.as_deref().unwrap_or_default(), job: &job.id, job_name: &name };
    let mut samples = Vec::new();
    for number in numbers {
        let vertex_name = number.vertex.as_deref().and_then(name_of).unwrap_or_default();
        let attempt = number.attempt.or_else(|| newest(number));
        let named = |name: &String, value: f64| Named {
            vertex: number.vertex.clone(),
            subtask: number.subtask,
            name: name.clone(),
            value,
        };
        match &number.of {
            Measure::Metric(name, value) => samples.extend(owner.metric(&named(name, *value), vertex_name, attempt)),
            Measure::Accumulator(name, value) => samples.extend(owner.accumulator(&named(name, *value), vertex_name)),
            Measure::Io(io) => {
                let vertex = number.vertex.clone().unwrap_or_default();
                let (subtask, attempt) = (number.subtask.unwrap_or(0), attempt.unwrap_or(0));
                samples.extend(owner.moving(&Moving { vertex, subtask, attempt, io: *io }, vertex_name));
            }
        }
    }
    Ok(samples)
}

async fn heartbeat(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(id): Segment,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let work = async {
        let job = subject(&caller, &id)?;
        let _: wire::Heartbeat = read(&app, &headers, body).await?;
        let state = Arc::clone(&app);
        app.workers.write(move || alive(&state, &job)).await?
    };
    respond(work.await)
}

/// Notes a sign of life; gives the commands that are not done. An agent whose job has ended learns that.
fn alive(app: &App, job: &Subject) -> Result<(StatusCode, Value), Fault> {
    let now_ms = app.clock.now_ms();
    let interval_ms = match app.agents.heartbeat(&app.jobs, job, now_ms) {
        Ok(agent) => Some(agent.interval_ms(app.agents.expectations())),
        // It may have ended; what is not there at all is found below.
        Err(PushError::NotRegistered { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let seen = app.jobs.read(|reader| {
        let Some(known) = find_pushed(reader, job)? else { return Ok(None) };
        let run = reader.document::<Run>(&known, "", i64::MAX)?;
        Ok(Some((run, reader.commands(&known)?)))
    });
    let (run, commands) = seen
        .map_err(|error| Fault::from(&error))?
        .ok_or_else(|| Fault::from(PushError::NotRegistered { id: job.id.clone() }))?;
    let commands = commands.into_iter().map(|command| command.at(now_ms));
    let open: Vec<Value> =
        commands.filter(|command| !command.state.is_done()).map(|command| shown_command(&job.id, &command)).collect();
    let state = run.map(|run| run.document.state.as_str());
    Ok((StatusCode::OK, json!({"id": job.id, "state": state, "interval_ms": interval_ms, "commands": open})))
}

/// A job that its engine pushes.
pub(super) fn find_pushed(reader: &Reader<'_>, job: &Subject) -> Result<Option<Known>, JobsError> {
    let scope = Scope::confined(Matcher::equal("org", &job.org));
    Ok(reader.find(&scope, SubjectKind::Job, &job.id)?.filter(|known| known.origin == Origin::Push))
}

impl From<PushError> for Fault {
    fn from(error: PushError) -> Fault {
        let status = match &error {
            PushError::NotRegistered { .. } | PushError::NoCommand { .. } => StatusCode::NOT_FOUND,
            PushError::Foreign { .. }
            | PushError::HasEnded { .. }
            | PushError::WentOn { .. }
            | PushError::NoAgent { .. }
            | PushError::CommandConflict { .. } => StatusCode::CONFLICT,
            PushError::NoVertex { .. } | PushError::NoSubtask { .. } | PushError::TooLate { .. } => {
                StatusCode::BAD_REQUEST
            }
            PushError::TooManyCommands { .. } => StatusCode::TOO_MANY_REQUESTS,
            PushError::Jobs(error) => return Fault::from(error),
        };
        Fault::new(status, error.to_string())
    }
}

impl From<&JobsError> for Fault {
    fn from(error: &JobsError) -> Fault {
        let (status, retry_after_s) = match error {
            JobsError::TooManyJobs { .. } | JobsError::TooManyImpliedJobs { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, None)
            }
            JobsError::Outranked { .. } => (StatusCode::CONFLICT, None),
            JobsError::Overloaded { .. } => (StatusCode::TOO_MANY_REQUESTS, Some(RETRY_SOON_S)),
            JobsError::DocumentTooLarge { .. } | JobsError::TooManyDocuments { .. } | JobsError::NameTooLong { .. } => {
                (StatusCode::BAD_REQUEST, None)
            }
            JobsError::Catalog(error) if error.is_read_only() => (StatusCode::SERVICE_UNAVAILABLE, Some(RETRY_LATER_S)),
            JobsError::Catalog(CatalogError::Closed) => (StatusCode::SERVICE_UNAVAILABLE, Some(RETRY_SOON_S)),
            JobsError::Unwritable { .. } | JobsError::Corrupt { .. } | JobsError::Catalog(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, None)
            }
        };
        Fault { status, message: error.to_string(), retry_after_s }
    }
}
