//! Flink's monitoring REST API, as views of the jobs and series that we have.
//!
//! The paths stand at the root, under `/v1`, under `/flink`, and on a listener of their own. Flink's own rules hold for
//! them, not ours: a trailing slash and doubled ones do not count, unknown parameters do not either, and a path that is
//! not there with this method is a 404 whatever other methods it has ([`route`]). So the router gives us whole trees, and
//! [`serve`] looks at the path. What only a cluster can do is sent on to it ([`forward`]).
//!
//! Every read takes two parameters of our own: `at` (milliseconds since 1970, or RFC 3339) gives the answer as it would
//! have been then, `cluster` confines lists to the jobs of one cluster.

mod answer;
mod checkpoints;
mod cluster;
mod fields;
mod forward;
mod io;
mod job;
mod metric_id;
mod metrics;
mod overview;
mod parameters;
mod route;
mod vertex;
mod view;

use std::sync::Arc;

use ::http::Uri;
use ::http::request::Parts;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Router};
use model::Budget;
use serde_json::Value;

pub(super) use answer::of_fault;
pub(super) use route::segments;

use answer::Failure;
use fields::Shape;
use parameters::Parameters;
use route::{Ask, Forwarded, OfJob, OfMetrics, Route};
use view::View;

use super::Peer;
use super::error::Fault;
use crate::app::App;

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
pub(super) async fn serve(State(app): State<Arc<App>>, Extension(peer): Extension<Peer>, request: Request) -> Response {
    respond(&app, app.config.flink_shape.into(), peer, request).await
}

/// Answers any request on our own listener.
async fn serve_alone(State(app): State<Arc<App>>, Extension(peer): Extension<Peer>, request: Request) -> Response {
    respond(&app, app.config.flink_listen_shape.into(), peer, request).await
}

async fn respond(app: &Arc<App>, shape: Shape, peer: Peer, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let path = path.strip_prefix(PREFIX).filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(path);
    let answered = match route::of(&head.method, path) {
        Ok(Route::Read(ask)) => read(app, shape, ask, path, &head.uri).await,
        Ok(Route::Forward(forwarded)) => forward::answer(app, forwarded, peer, head, body).await,
        Ok(Route::Unknown) => Err(Failure::unknown_path(&head.method, path)),
        Err(failure) => Err(failure),
    };
    answered.unwrap_or_else(Failure::into_response)
}

async fn read(app: &Arc<App>, shape: Shape, ask: Ask, path: &str, uri: &Uri) -> Result<Response, Failure> {
    let parameters = Parameters::of(uri)?;
    let is_past = parameters.text("at").is_some();
    let state = Arc::clone(app);
    let done = app.workers.query(None, move |budget| see(&state, shape, &ask, &parameters, budget)).await?;
    match done {
        Ok(body) => Ok(answer::ok(&body)),
        Err(failure) if failure.is_no_job() && !is_past => {
            forward::look_for_young(app, &route::plain(path), uri).await?.ok_or(failure)
        }
        Err(failure) => Err(failure),
    }
}

/// The moment that a request asks for, for dialects that are made of this one.
pub(super) fn at(uri: &Uri) -> Result<Option<i64>, Fault> {
    Ok(Parameters::of(uri)?.at()?)
}

/// `/jobs/:jobid` in the page's shape.
pub(super) async fn job_details(app: &Arc<App>, id: &str, uri: &Uri) -> Result<Value, Fault> {
    ask(app, Ask::Job(id.to_owned(), OfJob::Details), uri).await
}

/// `/jobs/:jobid/exceptions` in the page's shape.
pub(super) async fn job_exceptions(app: &Arc<App>, id: &str, uri: &Uri) -> Result<Value, Fault> {
    ask(app, Ask::Job(id.to_owned(), OfJob::Exceptions), uri).await
}

/// `/jobs/overview` in the page's shape.
pub(super) async fn jobs_overview(app: &Arc<App>, uri: &Uri) -> Result<Value, Fault> {
    ask(app, Ask::JobsOverview, uri).await
}

/// `…/vertices/:vertexid/watermarks`
pub(super) async fn watermarks(app: &Arc<App>, id: &str, vertex: &str, uri: &Uri) -> Result<Value, Fault> {
    ask(app, Ask::Metrics(OfMetrics::Watermarks(id.to_owned(), vertex.to_owned())), uri).await
}

/// Cancels a job on its cluster; `head` says so.
pub(super) async fn cancel(app: &Arc<App>, id: String, peer: Peer, head: Parts, body: Body) -> Result<(), Fault> {
    let path = format!("/jobs/{id}");
    let forwarded = Forwarded { job: Some(id), is_control: true, path };
    let answer = forward::answer(app, forwarded, peer, head, body).await?;
    if answer.status().is_success() { Ok(()) } else { Err(Fault::new(answer.status(), "the cluster refused")) }
}

async fn ask(app: &Arc<App>, ask: Ask, uri: &Uri) -> Result<Value, Fault> {
    let parameters = Parameters::of(uri)?;
    let state = Arc::clone(app);
    let done = app.workers.query(None, move |budget| see(&state, Shape::Page, &ask, &parameters, budget)).await?;
    Ok(done?)
}

/// Makes the view of one moment.
fn see(app: &App, shape: Shape, ask: &Ask, parameters: &Parameters, budget: &Budget) -> Result<Value, Failure> {
    let snapshot = app.db.snapshot();
    let now_ms = app.clock.now_ms();
    let at_ms = parameters.at()?;
    let mut failure = None;
    let seen = app.jobs.read(|reader| {
        let view = View {
            reader,
            series: &snapshot,
            budget,
            scope: model::Scope::default(),
            shape,
            at_ms: at_ms.unwrap_or(i64::MAX),
            cluster: parameters.text("cluster").map(str::to_owned),
            now_ms: at_ms.unwrap_or(now_ms),
            lost: Default::default(),
        };
        Ok(view.answer(ask, parameters).map_err(|e| failure = Some(e)).ok())
    })?;
    match (seen, failure) {
        (Some(body), _) => Ok(body),
        (None, Some(failure)) => Err(failure),
        (None, None) => Err(Failure::internal("nothing was answered")),
    }
}
