//! The registry: registration, deregistration and heartbeats of components, and the lists of them.

use std::sync::Arc;

use ::http::{HeaderMap, StatusCode, Uri};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::answer::Failure;
use super::fields::Fields;
use super::parameters::Parameters;
use super::report::{check_names, rejected, store};
use super::selection::is_seen;
use crate::app::App;
use crate::auth::Caller;
use crate::catalog::{CatalogError, Component, NewComponent, Source};
use crate::http::error::json_response;
use crate::report::{self, Stored, timestamp};

/// The kinds that can register.
const KINDS: [&str; 5] = ["worker_pool", "broker", "server_api", "scheduler", "monitor"];
/// The kind of the calls for worker pools.
const WORKER_POOL: &str = "worker_pool";

/// `GET /api/metrics/components`
pub(super) async fn components(State(app): State<Arc<App>>, caller: Caller) -> Response {
    let scope = caller.scope();
    let (now_ms, options) = (app.clock.now_ms(), app.catalog.options());
    let components: Vec<Value> = app
        .catalog
        .components()
        .iter()
        .filter(|component| is_seen(&scope, component))
        .map(|component| {
            json!({
                "runtime_id": component.runtime_id,
                "name": component.name,
                "component_type": kind_of(component),
                "status": component.status_at(now_ms, &options),
                "last_heartbeat": timestamp::format(component.heartbeat_ms),
            })
        })
        .collect();
    json_response(StatusCode::OK, &json!({ "components": components }))
}

/// `GET /api/worker/pools`
pub(super) async fn pools(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Result<Response, Failure> {
    let scope = caller.scope();
    let parameters = Parameters::of(&uri)?;
    let (runtime, status) = (parameters.text("runtime"), parameters.text("status"));
    let (now_ms, options) = (app.clock.now_ms(), app.catalog.options());
    let items: Vec<Value> = app
        .catalog
        .components()
        .iter()
        .filter(|component| component.kind == WORKER_POOL && is_seen(&scope, component))
        .filter(|component| runtime.is_none_or(|runtime| component.runtime.as_deref() == Some(runtime)))
        .map(|component| (component.status_at(now_ms, &options), component))
        .filter(|(state, _)| status.is_none_or(|status| status == *state))
        .map(|(state, component)| pool(component, state))
        .collect();
    let count = items.len();
    let answer = json!({"items": items, "count": count, "runtime": runtime, "status": status});
    Ok(json_response(StatusCode::OK, &answer))
}

fn pool(component: &Component, status: &str) -> Value {
    let labels = component.labels.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    json!({
        "name": component.name,
        "runtime": component.runtime,
        "status": status,
        "capacity": component.capacity,
        "labels": labels,
        "heartbeat": timestamp::format(component.heartbeat_ms),
        "created_at": timestamp::format(component.created_ms),
        "updated_at": timestamp::format(component.updated_ms),
    })
}

/// `POST /api/runtime/register`
pub(super) async fn register(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let fields = Fields::read(&app, &headers, body).await?;
    let new = new_component(&app, &caller, fields, None)?;
    registered(&app, new).await
}

/// `POST /api/worker/pool/register`
pub(super) async fn register_pool(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let fields = Fields::read(&app, &headers, body).await?;
    let new = new_component(&app, &caller, fields, Some(WORKER_POOL))?;
    registered(&app, new).await
}

async fn registered(app: &Arc<App>, new: NewComponent) -> Result<Response, Failure> {
    let now_ms = app.clock.now_ms();
    let done = in_catalog(app, move |app| app.catalog.register(new, Source::Call, now_ms)).await?;
    let status = if done.recreated { "recreated" } else { "ok" };
    Ok(json_response(StatusCode::OK, &registration(&done.component, status)))
}

/// `DELETE /api/runtime/deregister`: name and kind in the body or in the query string.
pub(super) async fn deregister(
    State(app): State<Arc<App>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    take_off(&app, &caller, Sent { uri, headers, body }, None).await
}

/// `DELETE` and `POST /api/worker/pool/deregister`: as [`deregister`].
pub(super) async fn deregister_pool(
    State(app): State<Arc<App>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    take_off(&app, &caller, Sent { uri, headers, body }, Some(WORKER_POOL)).await
}

/// A request.
struct Sent {
    uri: Uri,
    headers: HeaderMap,
    body: Body,
}

/// Takes off the component that a request names; without a kind preferably one of the `usual` kind.
async fn take_off(
    app: &Arc<App>,
    caller: &Caller,
    sent: Sent,
    usual: Option<&'static str>,
) -> Result<Response, Failure> {
    let parameters = Parameters::of(&sent.uri)?;
    let mut fields = Fields::read(app, &sent.headers, sent.body).await?;
    let name = match parameters.text("name") {
        Some(name) if !fields.has("name") => name.to_owned(),
        _ => fields.required("name"),
    };
    let kind = fields
        .text(&["kind", "component_type"])
        .or_else(|| parameters.text("kind").or(parameters.text("component_type")).map(str::to_owned));
    fields.finish()?;
    let now_ms = app.clock.now_ms();
    let (asked, org) = (name.clone(), caller.org_name().to_owned());
    let gone = in_catalog(app, move |app| {
        let kind = kind.as_deref().or_else(|| known_kind(app, &org, &asked, usual?));
        app.catalog.deregister(&org, &asked, kind, now_ms)
    })
    .await?;
    let component = gone.ok_or_else(|| unknown(&name))?;
    Ok(json_response(StatusCode::OK, &registration(&component, "ok")))
}

/// `POST /api/worker/pool/heartbeat`: a sign of life, and with `metrics` a report of the pool.
pub(super) async fn heartbeat(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let (mut fields, body) = Fields::read_with_body(&app, &headers, body).await?;
    let name = fields.required("name");
    let again = fields.object("registration");
    let has_metrics = fields.has("metrics");
    fields.finish()?;
    if has_metrics {
        // Before anything is noted: a body with a wrong shape is refused whole.
        report::decode(&body, app.config.ingest_max_batch_samples)?;
    }
    let now_ms = app.clock.now_ms();
    let (asked, org) = (name.clone(), caller.org_name().to_owned());
    let known = in_catalog(&app, move |app| {
        let kind = known_kind(app, &org, &asked, WORKER_POOL);
        app.catalog.heartbeat(&org, &asked, kind, now_ms)
    })
    .await?;
    let (component, status) = match (known, again) {
        (Some(component), _) => (component, "ok"),
        (None, None) => return Err(unknown(&name)),
        (None, Some(again)) => {
            let new = new_component(&app, &caller, Fields::of(named(again, &name)), Some(WORKER_POOL))?;
            let done = in_catalog(&app, move |app| app.catalog.register(new, Source::Call, now_ms)).await?;
            (done.component, "recreated")
        }
    };
    let mut answer = json!({"status": status, "name": component.name, "runtime_id": component.runtime_id.to_string()});
    if has_metrics {
        let stored = report_of(&app, component, body, now_ms).await?;
        answer["metrics_inserted"] = json!(stored.inserted);
        // The sign of life counts all the same.
        if !stored.rejected.is_empty() {
            answer["rejected"] = json!(rejected(&stored, app.config.report_max_listed_rejections));
            answer["rejected_count"] = json!(stored.rejected.len());
        }
    }
    Ok(json_response(StatusCode::OK, &answer))
}

/// Stores the metrics of a heartbeat.
async fn report_of(app: &Arc<App>, component: Component, body: Bytes, now_ms: i64) -> Result<Stored, Failure> {
    let state = Arc::clone(app);
    let work = move || {
        let sent = report::decode(&body, state.config.ingest_max_batch_samples)?;
        store(&state, state.ingest.batch(), &component, &sent.metrics, now_ms)
    };
    app.workers.write(work).await?
}

/// The usual kind, if a component of it has this name: a pool's heartbeat is that of the pool, also if a server has the
/// same name.
fn known_kind(app: &App, org: &str, name: &str, usual: &'static str) -> Option<&'static str> {
    app.catalog.find(org, name, Some(usual)).map(|_| usual)
}

/// A registration within a heartbeat need not repeat the name; another name than the heartbeat's does not count.
fn named(mut registration: Map<String, Value>, name: &str) -> Map<String, Value> {
    registration.insert("name".to_owned(), name.into());
    registration
}

/// Reads a registration; with a kind, it is the only one that these calls take.
fn new_component(app: &App, caller: &Caller, mut fields: Fields, only: Option<&str>) -> Result<NewComponent, Failure> {
    let named_kind = fields.has("kind") || fields.has("component_type");
    let kind = match (named_kind, only) {
        (true, _) => fields.text(&["kind", "component_type"]).unwrap_or_default(),
        (false, Some(kind)) => kind.to_owned(),
        (false, None) => fields.required("kind"),
    };
    let new = NewComponent {
        org: caller.org_name().to_owned(),
        name: fields.required("name"),
        kind,
        runtime: fields.text(&["runtime"]),
        uri: fields.text(&["uri", "base_url"]),
        status: fields.text(&["status"]).filter(|status| !status.is_empty()).map(|status| status.to_lowercase()),
        capacity: fields.count("capacity"),
        labels: fields.labels("labels").map(|labels| labels.to_string()),
        pid: fields.whole("pid"),
        hostname: fields.text(&["hostname"]),
        meta: fields.object("meta").map(|meta| Value::Object(meta).to_string()),
    };
    fields.finish()?;
    check_names(&app.config, Some(&new.name), None)?;
    if !KINDS.contains(&new.kind.as_str()) {
        let kind: String = new.kind.chars().take(64).collect();
        return Err(Failure::bad_request(format!("kind {kind:?} is none of {}", KINDS.join(", "))));
    }
    if let Some(only) = only.filter(|only| *only != new.kind) {
        return Err(Failure::bad_request(format!("kind {:?} is not {only:?}: register it as a runtime", new.kind)));
    }
    Ok(new)
}

/// The answer of the runtime calls; here the id is a string.
fn registration(component: &Component, status: &str) -> Value {
    json!({
        "status": status,
        "name": component.name,
        "runtime_id": component.runtime_id.to_string(),
        "kind": kind_of(component),
        "runtime": component.runtime,
    })
}

/// Null for a component that never said its type.
fn kind_of(component: &Component) -> Option<&str> {
    Some(component.kind.as_str()).filter(|kind| !kind.is_empty())
}

fn unknown(name: &str) -> Failure {
    let name: String = name.chars().take(64).collect();
    Failure::not_found(format!("component {name:?} is not known"))
}

/// Runs work on the catalog, which waits for the disk.
async fn in_catalog<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Result<T, CatalogError> + Send + 'static,
) -> Result<T, Failure> {
    let state = Arc::clone(app);
    Ok(app.workers.write(move || work(&state)).await??)
}
