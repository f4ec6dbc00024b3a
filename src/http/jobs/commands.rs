//! Commands for the agents of jobs: given here or in another dialect, fetched by the agent, and answered.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ::http::request::Parts;
use ::http::{HeaderMap, StatusCode, Uri};
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::response::Response;
use axum::routing::{get, post, put};
use serde_json::{Value, json};

use super::Parameters;
use super::push::{find_pushed, read, respond, subject};
use super::told::Limits;
use super::wire;
use crate::app::App;
use crate::auth::Caller;
use crate::config::{Duration as Length, OptionValue};
use crate::http::error::{Dialect, Fault};
use crate::http::rights;
use crate::http::segment::Segment;
use crate::jobs::{Command, CommandOrder, CommandOutcome, CommandReport, CommandState, PushError, Subject};

/// Longest time that a request may wait for a command.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Longest id that who gives a command may give it, in bytes.
const COMMAND_ID_BYTES_MAX: usize = 64;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/jobs/{id}/commands", rights::read(get(list)))
        .route("/api/jobs/{id}/commands", rights::control(post(give)))
        .route("/api/jobs/{id}/commands/{command}", rights::read(get(one)))
        .route("/api/jobs/{id}/commands/{command}", rights::write(put(note)))
}

/// The job and the command of a path.
struct Of(String, String);

impl<S: Send + Sync> FromRequestParts<S> for Of {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Of, Response> {
        match Path::<(String, String)>::from_request_parts(parts, state).await {
            Ok(Path((id, command))) => Ok(Of(id, command)),
            Err(_) => {
                let message = format!("a part of the path {} is not UTF-8", parts.uri.path());
                Err(Fault::bad_request(message).response(Dialect::Plain))
            }
        }
    }
}

/// A command as agents and others see it; what is not known is null.
pub(super) fn shown(job: &str, command: &Command) -> Value {
    let outcome = &command.outcome;
    json!({
        "id": command.id,
        "job": job,
        "kind": command.kind.as_str(),
        "parameters": command.parameters,
        "state": command.state.as_str(),
        "created": command.created_ms,
        "changed": command.changed_ms,
        "expires": command.expires_ms,
        "location": outcome.location,
        "checkpoint": outcome.checkpoint,
        "error": outcome.error,
        "error_class": outcome.error_class,
    })
}

/// Gives a command and wakes the agent that waits for one.
///
/// # Errors
/// As [`crate::jobs::Jobs::order_command`].
pub(in crate::http) async fn order(app: &Arc<App>, order: CommandOrder) -> Result<Command, Fault> {
    let state = Arc::clone(app);
    let given = app
        .workers
        .write(move || {
            let job = order.job.clone();
            let given = state.jobs.order_command(order);
            if let Some(agent) = state.agents.find(&job) {
                agent.commands().notify_waiters();
            }
            given
        })
        .await?;
    Ok(given?)
}

async fn give(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(id): Segment,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let work = async {
        let job = subject(&caller, &id)?;
        let sent: wire::NewCommand = read(&app, &headers, body).await?;
        if let Some(command) = &sent.id {
            check_command_id(command)?;
        }
        let parameters = sent.kind.parameters(Value::Object(sent.parameters.unwrap_or_default()));
        let parameters = parameters.map_err(|error| {
            Fault::bad_request(format!("the parameters do not fit {}: {error}", sent.kind.as_str()))
        })?;
        let now_ms = app.clock.now_ms();
        let given = order(&app, CommandOrder { job, kind: sent.kind, parameters, id: sent.id, now_ms }).await?;
        Ok((StatusCode::ACCEPTED, shown(&id, &given)))
    };
    respond(work.await)
}

fn check_command_id(id: &str) -> Result<(), Fault> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=COMMAND_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_plain) {
        return Ok(());
    }
    let message = format!("the id of a command is 1 to {COMMAND_ID_BYTES_MAX} letters, digits and signs of - _ .");
    Err(Fault::bad_request(message))
}

/// Which commands are asked for, and how long may be waited for one.
struct Listing {
    state: Option<CommandState>,
    wait: Duration,
}

impl Listing {
    fn of(uri: &Uri) -> Result<Listing, Fault> {
        let parameters = Parameters::of(uri)?;
        let state = parameters.text("state").map(|word| {
            let words = || CommandState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", ");
            let wrong = || Fault::bad_request(format!("state={word:?} is none of {}", words()));
            CommandState::of(word).ok_or_else(wrong)
        });
        let wait = parameters.text("wait").map(|text| {
            let wait = Length::parse(text).ok().map(Length::std).filter(|wait| *wait <= WAIT_MAX);
            wait.ok_or_else(|| {
                Fault::bad_request(format!("wait={text:?} is no duration up to {WAIT_MAX:?}, such as 30s"))
            })
        });
        Ok(Listing { state: state.transpose()?, wait: wait.transpose()?.unwrap_or_default() })
    }
}

async fn list(State(app): State<Arc<App>>, caller: Caller, Segment(id): Segment, uri: Uri) -> Response {
    let work = async {
        let (job, listing) = (subject(&caller, &id)?, Listing::of(&uri)?);
        let found = wait_for(&app, &job, &listing).await?;
        let commands: Vec<Value> = found.iter().map(|command| shown(&id, command)).collect();
        Ok((StatusCode::OK, json!({"commands": commands})))
    };
    respond(work.await)
}

/// The commands of a job; if there are none, waits until there are, the time is over, the job ends, or the server stops.
async fn wait_for(app: &Arc<App>, job: &Subject, listing: &Listing) -> Result<Vec<Command>, Fault> {
    let until = tokio::time::Instant::now() + listing.wait;
    let mut stopping = app.stopping();
    loop {
        let agent = app.agents.find(job);
        let is_there = agent.is_some();
        let commands = agent.map(|agent| Arc::clone(agent.commands())).unwrap_or_default();
        let mut given = pin!(commands.notified());
        // Listens before it looks: a command that comes in between is not missed.
        given.as_mut().enable();
        let found = look(app, job, listing.state).await?;
        if !found.is_empty() || !is_there || tokio::time::Instant::now() >= until {
            return Ok(found);
        }
        tokio::select! {
            () = given => {}
            () = tokio::time::sleep_until(until) => {}
            _ = stopping.wait_for(|stop| *stop) => return Ok(found),
        }
    }
}

async fn look(app: &Arc<App>, job: &Subject, state: Option<CommandState>) -> Result<Vec<Command>, Fault> {
    let (shared, job) = (Arc::clone(app), job.clone());
    let now_ms = app.clock.now_ms();
    let found = app.workers.query(None, move |_| {
        shared.jobs.read(|reader| {
            let Some(known) = find_pushed(reader, &job)? else { return Ok(Err(job)) };
            Ok(Ok(reader.commands(&known)?))
        })
    });
    let commands = found.await?.map_err(|error| Fault::from(&error))?;
    let commands = commands.map_err(|job| Fault::from(PushError::NotRegistered { id: job.id }))?;
    let commands = commands.into_iter().map(|command| command.at(now_ms));
    Ok(commands.filter(|command| state.is_none_or(|state| state == command.state)).collect())
}

async fn one(State(app): State<Arc<App>>, caller: Caller, Of(id, command): Of) -> Response {
    let work = async {
        let job = subject(&caller, &id)?;
        let found = find(&app, &job, &command).await?;
        let missing = || Fault::from(PushError::NoCommand { id: id.clone(), command: command.clone() });
        Ok((StatusCode::OK, shown(&id, &found.ok_or_else(missing)?)))
    };
    respond(work.await)
}

/// A command as it is now; none if there is no such job or command.
///
/// # Errors
/// What reading gives.
pub(in crate::http) async fn find(app: &Arc<App>, job: &Subject, command: &str) -> Result<Option<Command>, Fault> {
    let (state, job, command) = (Arc::clone(app), job.clone(), command.to_owned());
    let now_ms = app.clock.now_ms();
    let found = app.workers.query(None, move |_| {
        state.jobs.read(|reader| match find_pushed(reader, &job)? {
            Some(known) => reader.command(&known, &command),
            None => Ok(None),
        })
    });
    let found = found.await?.map_err(|error| Fault::from(&error))?;
    Ok(found.map(|command| command.at(now_ms)))
}

async fn note(
    State(app): State<Arc<App>>,
    caller: Caller,
    Of(id, command): Of,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let work = async {
        let job = subject(&caller, &id)?;
        let sent: wire::CommandReport = read(&app, &headers, body).await?;
        let report = said(&app, job, command, sent)?;
        let state = Arc::clone(&app);
        let noted = app.workers.write(move || state.jobs.report_command(report)).await??;
        Ok((StatusCode::OK, shown(&id, &noted)))
    };
    respond(work.await)
}

fn said(app: &App, job: Subject, command: String, sent: wire::CommandReport) -> Result<CommandReport, Fault> {
    let has_error = sent.error.is_some() || sent.error_class.is_some();
    match sent.state {
        CommandState::Pending => return Err(Fault::bad_request("an agent says running, completed or failed")),
        CommandState::Failed if sent.error.is_none() => return Err(Fault::bad_request("what failed has an error")),
        CommandState::Running | CommandState::Completed if has_error => {
            return Err(Fault::bad_request("only what failed has an error"));
        }
        _ => {}
    }
    Limits::new(&app.config).outcome(&sent)?;
    let outcome = CommandOutcome {
        location: sent.location,
        checkpoint: sent.checkpoint.map(|id| id.0),
        error_class: sent.error_class,
        error: sent.error,
    };
    Ok(CommandReport { job, command, state: sent.state, outcome, now_ms: app.clock.now_ms() })
}
