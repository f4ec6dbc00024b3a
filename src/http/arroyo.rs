//! The Arroyo dialect: the endpoint of its console that shows the metrics of a job, and the method of its controller that
//! stands behind it.
//!
//! The endpoint is at the root, under `/api`, under `/arroyo` and on a listener of its own, where the controller's gRPC
//! method is as well ([`grpc`]). It answers in the shape of the API page and in the console's at once, and needs a bearer
//! token also where reading needs none: any will do then. Numbers come from the series of the job's workers, or from a real controller
//! (`arroyo.controller`). What is of our own: with `start` and `end` the history of a job, whether it runs or not; `at`
//! gives the answer as it would have been then; `step` is the distance of two points.

mod find;
mod grpc;
mod parameters;

use std::sync::Arc;

use ::http::{HeaderMap, StatusCode, Uri, header};
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use model::{Budget, Scope};
use serde::Serialize;

use super::error::{Dialect, Fault};
use super::rights::read;
use crate::app::App;
use crate::arroyo::controller::{Controller, ControllerError, SERVICE};
use crate::arroyo::tasks::{self, Tasks, TasksError, Wanted};
use crate::arroyo::wire::{self, Collection};
use crate::auth::{self, Caller};
use crate::jobs::{JobsError, Reader};
use find::{Found, by_public_ids};
use parameters::Asked;

/// A prefix of its own, under which every path is ours.
const PREFIX: &str = "/arroyo";

/// The endpoint, behind its version.
const GROUPS: &str = "/v1/pipelines/{pipeline_id}/jobs/{job_id}/operator_metric_groups";

pub(super) fn routes() -> Router<Arc<App>> {
    endpoints("").merge(endpoints(PREFIX))
}

/// The routes of a listener on which every path is ours.
pub(super) fn listener_routes() -> Router<Arc<App>> {
    let mut router = endpoints("");
    for method in crate::arroyo::rpc::METHODS {
        router = router.route(method, post(grpc::job_metrics));
    }
    router.fallback(grpc::elsewhere).method_not_allowed_fallback(super::error::wrong_method)
}

fn endpoints(prefix: &str) -> Router<Arc<App>> {
    Router::new()
        .route(&format!("{prefix}{GROUPS}"), read(get(operator_metric_groups)))
        .route(&format!("{prefix}/api{GROUPS}"), read(get(operator_metric_groups)))
}

/// True for paths whose errors have Arroyo's shape, `{"error":…}`, although Prometheus's stand beside them.
pub(super) fn owns(path: &str) -> bool {
    let under = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    under("/api/v1/pipelines") || under("/v1/pipelines") || under(PREFIX)
}

async fn operator_metric_groups(
    State(app): State<Arc<App>>,
    caller: Caller,
    ids: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    match answer(&app, &caller, ids, &headers, &uri).await {
        Ok(body) => (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(fault) => {
            if fault.status.is_server_error() {
                tracing::warn!(path = uri.path(), error = fault.message, "the metrics of a job cannot be shown");
            }
            fault.response(Dialect::Plain)
        }
    }
}

/// The body of the answer.
async fn answer(
    app: &Arc<App>,
    caller: &Caller,
    ids: Result<Path<(String, String)>, PathRejection>,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<String, Fault> {
    if !auth::has_bearer(headers) {
        let message = "a bearer token is needed (Authorization: Bearer …)";
        return Err(Fault::new(StatusCode::UNAUTHORIZED, message));
    }
    // What is no text is no id.
    let Path(ids) = ids.map_err(|_| no_job())?;
    let scope = caller.scope();
    let asked = Asked::of(uri, app.clock.now_ms())?;
    // The past is in the store, whoever tells of the present.
    if let Some(controller) = app.arroyo.as_ref().filter(|_| asked.is_now())
        && let Some(job_id) = known_there(app, controller, scope.clone(), ids.clone()).await?
    {
        return from_controller(app, controller, &job_id).await;
    }
    on_worker(app, move |app, budget| {
        let at_ms = asked.at_ms();
        let find = |reader: &Reader<'_>, scope: &Scope| by_public_ids(reader, scope, &ids.0, &ids.1, at_ms);
        let tasks = look(app, &scope, &asked, budget, find)?.ok_or_else(no_job)?;
        written(&Collection { data: tasks.all_operators() })
    })
    .await
}

/// Looks the job up as the document says; gives the controller's id of it if it is one of the controller's organization.
async fn known_there(
    app: &Arc<App>,
    controller: &Controller,
    scope: Scope,
    (pipeline_id, job_id): (String, String),
) -> Result<Option<String>, Fault> {
    let found = on_worker(app, move |app, _| {
        let found = app.jobs.read(|reader| by_public_ids(reader, &scope, &pipeline_id, &job_id, i64::MAX));
        found.map_err(of_jobs)?.ok_or_else(no_job)
    })
    .await?;
    Ok((found.org() == controller.org()).then(|| found.engine_id().to_owned()))
}

/// Asks the controller about a job.
async fn from_controller(app: &Arc<App>, controller: &Controller, job_id: &str) -> Result<String, Fault> {
    let told = controller.job_metrics(job_id).await;
    let outcome = match &told {
        Ok(Some(_)) => "success",
        Ok(None) => "not_found",
        Err(ControllerError::Unavailable(_)) => "unavailable",
        Err(ControllerError::Refused(_)) => "refused",
    };
    app.telemetry.arroyo_requests.add(&[outcome], 1);
    let Some(metrics) = told.map_err(|error| of_controller(controller, &error))? else {
        return written(&Collection { data: Vec::new() });
    };
    // They can be long.
    on_worker(app, move |_, _| {
        let data = wire::of_controller(&metrics)
            .map_err(|error| wrong(format!("{SERVICE} told what are no metrics: {error}")))?;
        written(&Collection { data })
    })
    .await
}

/// Runs work that reads, on a worker.
async fn on_worker<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App, &Budget) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let state = Arc::clone(app);
    app.workers.query(None, move |budget| work(&state, budget)).await.map_err(Fault::from)?
}

/// What is known of a job at the time that is asked for: none if there is no such job, nothing in it if the job did not
/// run and its history is not asked for.
fn look(
    app: &App,
    scope: &Scope,
    asked: &Asked,
    budget: &Budget,
    find: impl FnOnce(&Reader<'_>, &Scope) -> Result<Option<Found>, JobsError>,
) -> Result<Option<Tasks>, Fault> {
    let series = app.db.snapshot();
    let found = app.jobs.read(|reader| find(reader, scope)).map_err(of_jobs)?;
    let Some(found) = found else { return Ok(None) };
    if !asked.is_history() && !found.is_running() {
        return Ok(Some(Tasks::default()));
    }
    let wanted = Wanted {
        job_ids: found.ids(),
        org: found.org().to_owned(),
        range: asked.range(found.started_ms()),
        step_ms: asked.step_ms(),
        points_max: app.config.arroyo_max_points,
    };
    tasks::read(&series, scope, &wanted, budget).map(Some).map_err(of_tasks)
}

fn no_job() -> Fault {
    Fault::new(StatusCode::NOT_FOUND, "Job not found")
}

/// 500 as Arroyo says it, and why.
fn wrong(detail: impl std::fmt::Display) -> Fault {
    Fault::new(StatusCode::INTERNAL_SERVER_ERROR, format!("Something went wrong: {detail}"))
}

fn of_jobs(error: JobsError) -> Fault {
    wrong(error)
}

fn of_tasks(error: TasksError) -> Fault {
    match error {
        TasksError::TooManyPoints { .. } => Fault::bad_request(error.to_string()),
        // The account of the query is the caller's to mend: less time, fewer points.
        TasksError::Source(model::SourceError::Budget(_)) => {
            Fault::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
        }
        TasksError::Source(_) => wrong(error),
    }
}

fn of_controller(controller: &Controller, error: &ControllerError) -> Fault {
    match error {
        ControllerError::Unavailable(_) => {
            Fault::new(StatusCode::SERVICE_UNAVAILABLE, format!("{error} ({})", controller.url()))
        }
        ControllerError::Refused(_) => wrong(format!("{SERVICE}: {error}")),
    }
}

fn written(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_pipelines_are_arroyos_by_whole_segments() {
        for path in ["/api/v1/pipelines", "/api/v1/pipelines/x", "/v1/pipelines/pl_1/jobs", "/arroyo", "/arroyo/x"] {
            assert!(owns(path), "{path}");
        }
        for path in ["/api/v1/query", "/v1/jobs", "/api/v1/pipelinesx", "/pipelines", "/arroyox"] {
            assert!(!owns(path), "{path}");
        }
    }

    #[test]
    fn what_goes_wrong_has_the_status_of_the_table() {
        let too_many = of_tasks(TasksError::TooManyPoints { limit: 7 });
        assert_eq!(too_many.status, StatusCode::BAD_REQUEST);
        assert!(too_many.message.contains("arroyo.max_points = 7"));
        let budget = model::BudgetError::Bytes { limit: 9 };
        let refused = of_tasks(TasksError::Source(model::SourceError::Budget(budget)));
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        let broken = of_tasks(TasksError::Source(model::SourceError::Storage("a file".to_owned())));
        assert_eq!((broken.status.as_u16(), broken.message.as_str()), (500, "Something went wrong: a file"),);
    }
}
