//! Control of jobs that their engines push: what Flink's clients ask for becomes commands for the job's agent, and the state of
//! what was triggered is that of the command.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::http::{HeaderMap, Method, StatusCode};
use axum::body::Body;
use axum::response::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::answer::{self, Failure};
use super::parameters::{Parameters, hex_id};
use super::throwable;
use crate::app::App;
use crate::http::body::{self, BodyLimits};
use crate::http::jobs::commands;
use crate::jobs::{
    CancelParameters, CheckpointParameters, Command, CommandKind, CommandOrder, CommandOutcome, CommandState, JobState,
    Known, RescaleParameters, Run, SavepointParameters, StopParameters, Vertex, hex_id as hex_id_of,
};

/// A request about a job that its engine pushes.
pub(super) struct Control<'r> {
    /// The job.
    pub(super) job: &'r Known,
    /// The method.
    pub(super) method: &'r Method,
    /// The parts of the path behind the job's id.
    pub(super) rest: Vec<&'r str>,
    /// The parameters.
    pub(super) parameters: &'r Parameters,
    /// The headers.
    pub(super) headers: &'r HeaderMap,
}

#[derive(Debug, Default, Deserialize)]
struct SavepointBody {
    #[serde(rename = "target-directory")]
    target_directory: Option<String>,
    #[serde(rename = "cancel-job")]
    cancel_job: Option<bool>,
    #[serde(rename = "formatType")]
    format: Option<String>,
    #[serde(rename = "triggerId")]
    trigger: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct StopBody {
    #[serde(rename = "targetDirectory")]
    target_directory: Option<String>,
    drain: Option<bool>,
    #[serde(rename = "formatType")]
    format: Option<String>,
    #[serde(rename = "triggerId")]
    trigger: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct CheckpointBody {
    #[serde(rename = "checkpointType")]
    kind: Option<String>,
    #[serde(rename = "triggerId")]
    trigger: Option<String>,
}

/// What a vertex needs, of `…/resource-requirements`.
#[derive(Debug, Deserialize)]
struct Requirements {
    parallelism: Bounds,
}

#[derive(Debug, Deserialize)]
struct Bounds {
    #[serde(rename = "upperBound")]
    upper: u32,
}

pub(super) async fn answer(app: &Arc<App>, control: Control<'_>, body: Body) -> Result<Response, Failure> {
    let Control { job, parameters, headers, .. } = control;
    match (control.method.as_str(), control.rest.as_slice()) {
        ("PATCH", []) => terminate(app, job, parameters).await,
        ("POST", ["savepoints"]) => {
            let sent: SavepointBody = read(app, headers, body, "SavepointTriggerRequestBody").await?;
            let (target_directory, format) = (sent.target_directory, sent.format);
            let with = SavepointParameters { target_directory, format, cancel_job: sent.cancel_job.unwrap_or(false) };
            let order = order(app, job, CommandKind::Savepoint, &with, sent.trigger)?;
            triggered(app, order, StatusCode::ACCEPTED).await
        }
        ("POST", ["stop"]) => {
            let sent: StopBody = read(app, headers, body, "StopWithSavepointRequestBody").await?;
            let (target_directory, format) = (sent.target_directory, sent.format);
            let with = StopParameters { target_directory, format, drain: sent.drain.unwrap_or(false) };
            let order = order(app, job, CommandKind::Stop, &with, sent.trigger)?;
            triggered(app, order, StatusCode::ACCEPTED).await
        }
        ("POST", ["checkpoints"]) => {
            let sent: CheckpointBody = read(app, headers, body, "CheckpointTriggerRequestBody").await?;
            let with = CheckpointParameters { kind: sent.kind };
            let order = order(app, job, CommandKind::Checkpoint, &with, sent.trigger)?;
            triggered(app, order, StatusCode::ACCEPTED).await
        }
        ("PATCH", ["rescaling"]) => {
            let with = RescaleParameters { parallelism: Some(parallelism(parameters)?), vertices: BTreeMap::new() };
            triggered(app, order(app, job, CommandKind::Rescale, &with, None)?, StatusCode::OK).await
        }
        ("GET", [kind @ ("savepoints" | "checkpoints" | "rescaling"), trigger]) => {
            status(app, job, kind, &hex_id("triggerid", trigger)?).await
        }
        ("GET", ["resource-requirements"]) => requirements(app, job).await,
        ("PUT", ["resource-requirements"]) => {
            let sent: BTreeMap<String, Requirements> = read(app, headers, body, "JobResourceRequirementsBody").await?;
            require(app, job, sent).await
        }
        _ => {
            let message = format!("Job {} has no cluster here: nobody can carry this out.", job.hex_id());
            Err(Failure::unavailable(message))
        }
    }
}

/// Reads a body; an empty one says nothing, as in 2.x. `format` is the name that Flink has for it.
async fn read<T: DeserializeOwned + Default>(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    format: &str,
) -> Result<T, Failure> {
    let limits = BodyLimits::new(app, ("jobs.max_report_bytes", app.config.jobs_max_report_bytes.usize()));
    let sent = body::read(headers, body, &limits).await?;
    let sent = body::decode(headers, sent, &limits)?;
    if sent.is_empty() {
        return Ok(T::default());
    }
    let unfit = |error| Failure::bad_request(format!("Request did not match expected format {format}. {error}"));
    serde_json::from_slice(&sent).map_err(unfit)
}

fn parallelism(parameters: &Parameters) -> Result<u32, Failure> {
    let Some(text) = parameters.text("parallelism") else {
        return Err(Failure::bad_request("Bad request, could not parse parameters: parallelism is needed."));
    };
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| Failure::unresolved("query", "parallelism", text))
}

fn order<P: serde::Serialize>(
    app: &App,
    job: &Known,
    kind: CommandKind,
    with: &P,
    trigger: Option<String>,
) -> Result<CommandOrder, Failure> {
    let id = trigger.map(|trigger| hex_id("triggerId", &trigger)).transpose()?;
    let given = serde_json::to_value(with).map_err(Failure::internal)?;
    let parameters: Map<String, Value> = kind.parameters(given).map_err(Failure::bad_request)?;
    Ok(CommandOrder { job: job.subject.clone(), kind, parameters, id, now_ms: app.clock.now_ms() })
}

/// Gives a command; its id is that of the trigger.
async fn triggered(app: &Arc<App>, order: CommandOrder, status: StatusCode) -> Result<Response, Failure> {
    let given = commands::order(app, order).await.map_err(Failure::of_command)?;
    Ok(answer::respond(status, &json!({"request-id": given.id})))
}

/// `PATCH /jobs/:jobid`
async fn terminate(app: &Arc<App>, job: &Known, parameters: &Parameters) -> Result<Response, Failure> {
    match parameters.text("mode").unwrap_or("cancel") {
        "cancel" => {}
        "stop" => {
            return Err(Failure::gone(
                "The termination mode \"stop\" has been removed. For an ungraceful shutdown, please use \"cancel\" \
                 instead. For a graceful shutdown, please use \"jobs/:jobId/stop\" instead.",
            ));
        }
        other => return Err(Failure::unresolved("query", "mode", other)),
    }
    let accepted = || Ok(answer::respond(StatusCode::ACCEPTED, &json!({})));
    match run(app, job).await?.map(|run| run.state) {
        Some(JobState::Canceled) => accepted(),
        Some(state) if state.has_ended() => {
            let state = state.as_str();
            Err(Failure::conflict(format!(
                "Job cancellation failed because the job has already reached another terminal state ({state})."
            )))
        }
        _ => {
            let order = order(app, job, CommandKind::Cancel, &CancelParameters {}, None)?;
            commands::order(app, order).await.map_err(Failure::of_command)?;
            accepted()
        }
    }
}

async fn run(app: &Arc<App>, job: &Known) -> Result<Option<Run>, Failure> {
    let (state, job) = (Arc::clone(app), job.clone());
    let found = app.workers.query(None, move |_| state.jobs.read(|reader| reader.document::<Run>(&job, "", i64::MAX)));
    Ok(found.await??.map(|version| version.document))
}

/// `…/savepoints/:triggerid` and its likes.
async fn status(app: &Arc<App>, job: &Known, kind: &str, trigger: &str) -> Result<Response, Failure> {
    let found = commands::find(app, &job.subject, trigger).await?;
    let is_one = |command: &Command| match kind {
        // The state of a stop is asked for as that of a savepoint.
        "savepoints" => matches!(command.kind, CommandKind::Savepoint | CommandKind::Stop),
        "checkpoints" => command.kind == CommandKind::Checkpoint,
        _ => command.kind == CommandKind::Rescale,
    };
    let missing = || {
        let (kind, id) = (kind.trim_end_matches('s'), job.hex_id());
        Failure::not_found(format!("There is no {kind} operation with triggerId={trigger} for job {id}."))
    };
    let command = found.filter(is_one).ok_or_else(missing)?;
    Ok(answer::ok(&match command.state {
        CommandState::Pending | CommandState::Running => json!({"status": {"id": "IN_PROGRESS"}, "operation": null}),
        CommandState::Completed => json!({"status": {"id": "COMPLETED"}, "operation": operation(&command)}),
        CommandState::Failed => {
            json!({"status": {"id": "COMPLETED"}, "operation": {"failure-cause": cause(&command.outcome)}})
        }
    }))
}

fn operation(command: &Command) -> Value {
    match command.kind {
        CommandKind::Savepoint | CommandKind::Stop => json!({"location": command.outcome.location}),
        CommandKind::Checkpoint => json!({"checkpointId": command.outcome.checkpoint}),
        CommandKind::Cancel | CommandKind::Rescale => json!({}),
    }
}

/// The agent's own class where it has one; whoever reads a stack trace finds at least what was said.
fn cause(outcome: &CommandOutcome) -> Value {
    let class = outcome.error_class.as_deref().unwrap_or("CommandFailed");
    let error = outcome.error.as_deref().unwrap_or_default();
    let trace = format!("{class}: {error}");
    let serialized = throwable::serialized(class, error, &trace);
    json!({"class": class, "stack-trace": trace, "serialized-throwable": serialized})
}

/// `GET …/resource-requirements`: from one subtask of each vertex to as many as it has.
async fn requirements(app: &Arc<App>, job: &Known) -> Result<Response, Failure> {
    let bounds = |vertex: Vertex| {
        let upper = vertex.parallelism.max(1);
        (hex_id_of(&vertex.id), json!({"parallelism": {"lowerBound": 1, "upperBound": upper}}))
    };
    let all: Map<String, Value> = vertices(app, job).await?.into_iter().map(bounds).collect();
    Ok(answer::ok(&Value::Object(all)))
}

async fn vertices(app: &Arc<App>, job: &Known) -> Result<Vec<Vertex>, Failure> {
    let (state, job) = (Arc::clone(app), job.clone());
    let found = app.workers.query(None, move |_| state.jobs.read(|reader| reader.documents::<Vertex>(&job, i64::MAX)));
    Ok(found.await??.into_iter().map(|version| version.document).collect())
}

/// `PUT …/resource-requirements`: every vertex gets as many subtasks as it may have.
async fn require(app: &Arc<App>, job: &Known, sent: BTreeMap<String, Requirements>) -> Result<Response, Failure> {
    let ids: BTreeMap<String, String> =
        vertices(app, job).await?.into_iter().map(|vertex| (hex_id_of(&vertex.id), vertex.id)).collect();
    let mut wanted = BTreeMap::new();
    for (hex, requirements) in sent {
        let id = ids.get(&hex.to_ascii_lowercase());
        let id = id.ok_or_else(|| Failure::bad_request(format!("JobVertex {hex} not found")))?;
        wanted.insert(id.clone(), requirements.parallelism.upper);
    }
    let with = RescaleParameters { parallelism: None, vertices: wanted };
    let order = order(app, job, CommandKind::Rescale, &with, None)?;
    commands::order(app, order).await.map_err(Failure::of_command)?;
    Ok(answer::ok(&json!({})))
}
