//! Flink's monitoring REST API, as views of the jobs and series that we have.
//!
//! The paths stand at the root, under `/v1`, under `/flink`, and on a listener of their own. Flink's own rules hold for
//! them, not ours: a trailing slash and doubled ones do not count, unknown parameters do not either, and a path that is
//! not there with this method is a 404 whatever other methods it has ([`route`]). So the router gives us whole trees, and
//! [`serve`] looks at the path. What only a cluster can do is sent on to it ([`forward`]), or becomes a
//! command for the agent of a job that its engine pushes ([`control`]).
//!
//! Every read takes two parameters of our own: `at` (milliseconds since 1970, or RFC 3339) gives the answer as it would
//! have been then, `cluster` confines lists to the jobs of one cluster.

mod answer;
mod checkpoints;
mod cluster;
mod control;
mod fields;
mod forward;
mod history;
mod io;
mod job;
mod metric_id;
mod metrics;
mod overview;
mod parameters;
mod release;
mod rescale;
mod route;
mod sampled;
mod sent;
mod throwable;
mod vertex;
mod view;

use std::sync::Arc;

use ::http::Uri;
use ::http::request::Parts;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use model::{Budget, Scope};
use serde_json::Value;

pub(super) use answer::of_fault;
pub(super) use route::segments;

use answer::Failure;
use fields::Shape;
use parameters::Parameters;
use route::{Ask, Forwarded, OfJob, OfMetrics, OfVertex, Route};
use sent::Sent;
use view::View;

use super::error::Fault;
use super::rights::allow;
use crate::app::App;
use crate::auth::{Caller, Need, Right};

/// The first segments that belong to this dialect at the root and behind `/v1` and `/flink`.
const TREES: [&str; 8] =
    ["cluster", "config", "jars", "jobmanager", "jobs", "overview", "savepoint-disposal", "taskmanagers"];

/// A prefix of its own, under which every path is ours.
const PREFIX: &str = "/flink";

pub(super) fn routes() -> Router<Arc<App>> {
    let mut router = Router::new().route(PREFIX, any(serve)).route(&format!("{PREFIX}/{{*rest}}"), any(serve));
    for version in ["", "/v1"] {
        for tree in TREES {
            router = router.route(&format!("{version}/{tree}"), any(serve));
            router = router.route(&format!("{version}/{tree}/{{*rest}}"), any(serve));
        }
    }
    router
}

/// True if a path that no route took is one of this dialect all the same: doubled slashes before it.
pub(super) fn owns(path: &str) -> bool {
    let segments = route::segments(path);
    let names: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    match names.as_slice() {
        ["flink", ..] => true,
        ["v1", tree, ..] | [tree, ..] => TREES.contains(tree),
        [] => false,
    }
}

/// The routes of a listener on which every path is ours.
pub(super) fn listener_routes() -> Router<Arc<App>> {
    Router::new().route("/", any(serve_alone)).route("/{*rest}", any(serve_alone)).fallback(serve_alone)
}

/// Answers any request to one of our paths among others.
pub(super) async fn serve(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Response {
    respond(&app, app.config.flink_shape.into(), &caller, request).await
}

/// Answers any request on our own listener.
async fn serve_alone(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Response {
    respond(&app, app.config.flink_listen_shape.into(), &caller, request).await
}

async fn respond(app: &Arc<App>, shape: Shape, caller: &Caller, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let path = path.strip_prefix(PREFIX).filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(path);
    let answered = match route::of(&head.method, path) {
        Ok(Route::Read(ask)) => read(app, shape, caller, ask, path, &head, body).await,
        Ok(Route::Forward(forwarded)) => forward::answer(app, forwarded, caller, head, body).await,
        Ok(Route::Unknown) => Err(Failure::unknown_path(&head.method, path)),
        // What is wrong with a path is for who may read it.
        Err(failure) => Err(caller.check(Need::of(Right::Read)).map_or_else(Failure::from, |()| failure)),
    };
    answered.unwrap_or_else(Failure::into_response)
}

async fn read(
    app: &Arc<App>,
    shape: Shape,
    caller: &Caller,
    ask: Ask,
    path: &str,
    head: &Parts,
    body: Body,
) -> Result<Response, Failure> {
    allow(caller, Need::of(Right::Read), &head.method, path)?;
    let sent = Sent::read(app, &head.headers, body).await?;
    let parameters = Parameters::of(&head.uri)?;
    let is_past = parameters.text("at").is_some();
    if let (Ask::Job(job, OfJob::Vertex(vertex, OfVertex::BackPressure)), false) = (&ask, is_past) {
        sampled::sample(app, caller.scope(), job, vertex, forward::target(&route::plain(path), &head.uri)).await?;
    }
    let (state, scope) = (Arc::clone(app), caller.scope());
    let done =
        app.workers.query(None, move |budget| see(&state, shape, scope, &ask, &parameters, sent, budget)).await?;
    match done {
        Ok(body) => Ok(answer::ok(&body)),
        Err(failure) if failure.is_no_job() && !is_past => {
            forward::look_for_young(app, caller, &route::plain(path), &head.uri).await?.ok_or(failure)
        }
        Err(failure) => Err(failure),
    }
}

/// The moment that a request asks for, for dialects that are made of this one.
pub(super) fn at(uri: &Uri) -> Result<Option<i64>, Fault> {
    Ok(Parameters::of(uri)?.at()?)
}

/// `/jobs/:jobid` in the page's shape.
pub(super) async fn job_details(app: &Arc<App>, caller: &Caller, id: &str, uri: &Uri) -> Result<Value, Fault> {
    ask(app, caller, Ask::Job(id.to_owned(), OfJob::Details), uri).await
}

/// `/jobs/:jobid/exceptions` in the page's shape.
pub(super) async fn job_exceptions(app: &Arc<App>, caller: &Caller, id: &str, uri: &Uri) -> Result<Value, Fault> {
    ask(app, caller, Ask::Job(id.to_owned(), OfJob::Exceptions), uri).await
}

/// `/jobs/overview` in the page's shape.
pub(super) async fn jobs_overview(app: &Arc<App>, caller: &Caller, uri: &Uri) -> Result<Value, Fault> {
    ask(app, caller, Ask::JobsOverview, uri).await
}

/// `…/vertices/:vertexid/watermarks`
pub(super) async fn watermarks(
    app: &Arc<App>,
    caller: &Caller,
    id: &str,
    vertex: &str,
    uri: &Uri,
) -> Result<Value, Fault> {
    ask(app, caller, Ask::Metrics(OfMetrics::Watermarks(id.to_owned(), vertex.to_owned())), uri).await
}

/// Cancels a job on its cluster; `head` says so.
pub(super) async fn cancel(app: &Arc<App>, id: String, caller: &Caller, head: Parts, body: Body) -> Result<(), Fault> {
    let path = format!("/jobs/{id}");
    let forwarded = Forwarded { job: Some(id), is_control: true, path };
    let answer = forward::answer(app, forwarded, caller, head, body).await?;
    if answer.status().is_success() { Ok(()) } else { Err(Fault::new(answer.status(), "the cluster refused")) }
}

async fn ask(app: &Arc<App>, caller: &Caller, ask: Ask, uri: &Uri) -> Result<Value, Fault> {
    let parameters = Parameters::of(uri)?;
    let (state, scope) = (Arc::clone(app), caller.scope());
    let done = app
        .workers
        .query(None, move |budget| see(&state, Shape::Page, scope, &ask, &parameters, Sent::Nothing, budget))
        .await?;
    Ok(done?)
}

/// Makes the view of one moment.
fn see(
    app: &App,
    shape: Shape,
    scope: Scope,
    ask: &Ask,
    parameters: &Parameters,
    sent: Sent,
    budget: &Budget,
) -> Result<Value, Failure> {
    let snapshot = app.db.snapshot();
    let now_ms = app.clock.now_ms();
    let at_ms = parameters.at()?;
    let steps = match ask {
        Ask::Metrics(_) => history::steps(parameters, at_ms.unwrap_or(now_ms), app.config.query_max_steps)?,
        _ => None,
    };
    let mut failure = None;
    let seen = app.jobs.read(|reader| {
        let view = View {
            reader,
            series: &snapshot,
            budget,
            scope,
            shape,
            at_ms: at_ms.unwrap_or(i64::MAX),
            cluster: parameters.text("cluster").map(str::to_owned),
            now_ms: at_ms.unwrap_or(now_ms),
            steps,
            lost: Default::default(),
        };
        let answered = view.take(sent, ask).and_then(|()| view.answer(ask, parameters));
        Ok(answered.map_err(|e| failure = Some(e)).ok())
    })?;
    match (seen, failure) {
        (Some(body), _) => Ok(body),
        (None, Some(failure)) => Err(failure),
        (None, None) => Err(Failure::internal("nothing was answered")),
    }
}
