//! `POST /api/metrics/report`: decode, find or register the component, store, say what was refused.

use std::sync::Arc;

use ::http::{HeaderMap, StatusCode};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use storage::Batch;

use super::answer::{Failure, ok};
use crate::app::App;
use crate::auth::Caller;
use crate::catalog::{Component, NewComponent, Source};
use crate::config::{Config, Registration};
use crate::http::body::{self, BodyLimits};
use crate::report::{self, Item, Report, SampleRules, Stored};

pub(super) async fn report(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    body::require_json(&headers)?;
    let limits = BodyLimits::of_samples(&app);
    let sent = body::read(&headers, body, &limits).await?;
    let state = Arc::clone(&app);
    let answer = app.workers.write(move || accept(&state, &caller, &headers, sent, &limits)).await??;
    ok(&answer)
}

fn accept(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    sent: Bytes,
    limits: &BodyLimits,
) -> Result<Answer, Failure> {
    // Open from here on: a sync of others may wait a little for it.
    let batch = app.ingest.batch();
    let body = body::decode(headers, sent, limits)?;
    let report = report::decode(&body, app.config.ingest_max_batch_samples)?;
    let now_ms = app.clock.now_ms();
    let org = caller.org_name();
    let component = component_of(app, org, &report, now_ms)?;
    let stored = store(app, batch, &component, &report.metrics, now_ms)?;
    answer(&stored, component.runtime_id, app.config.report_max_listed_rejections)
}

/// Stores what a component reports.
pub(super) fn store(
    app: &App,
    batch: Batch<'_>,
    component: &Component,
    metrics: &[Item<'_>],
    now_ms: i64,
) -> Result<Stored, Failure> {
    let rules = SampleRules::new(&app.config, now_ms);
    let samples: Vec<_> = metrics.iter().map(|item| report::check(item, &rules)).collect();
    let labels = report::Component { name: &component.name, kind: &component.kind, org: &component.org };
    Ok(app.reporter.store(&app.ingest, batch, labels, &samples, now_ms)?)
}

/// The component that reports: the known one, or with automatic registration a new one.
fn component_of(app: &App, org: &str, report: &Report<'_>, now_ms: i64) -> Result<Arc<Component>, Failure> {
    let name = report.component_name.as_deref().filter(|name| !name.is_empty());
    let kind = report.component_type.as_deref().filter(|kind| !kind.is_empty());
    check_names(&app.config, name, kind)?;
    let (name, known) = match (report.runtime_id, name) {
        (None, None) => return Err(Failure::bad_request("either runtime_id or component_name is required")),
        (None, Some(name)) => (name.to_owned(), find(app, org, name, kind)),
        (Some(id), name) => {
            let known = of_runtime(app, org, id, name, kind)?;
            (known.name.clone(), Some(known))
        }
    };
    if let Some(known) = known.as_ref().filter(|component| !component.is_deregistered()) {
        app.catalog.seen(known.runtime_id, now_ms);
        return Ok(Arc::clone(known));
    }
    if app.config.report_registration == Registration::Required {
        let message = format!("component {name:?} is not registered (report.registration = required)");
        return Err(Failure::not_found(message));
    }
    let kind = known.map_or_else(|| kind.unwrap_or_default().to_owned(), |component| component.kind.clone());
    let new = NewComponent { org: org.to_owned(), name, kind, ..NewComponent::default() };
    Ok(Arc::new(app.catalog.register(new, Source::Report, now_ms)?.component))
}

/// The component of a name and, if it says one, a type. Where components have to register, it is their name that counts: a
/// worker reports as `queue_worker` under the name of its pool.
fn find(app: &App, org: &str, name: &str, kind: Option<&str>) -> Option<Arc<Component>> {
    let has_to = app.config.report_registration == Registration::Required;
    app.catalog.find(org, name, kind).or_else(|| app.catalog.find(org, name, None).filter(|_| has_to))
}

/// The component with an id; what else the body says of it must agree.
fn of_runtime(
    app: &App,
    org: &str,
    id: i64,
    name: Option<&str>,
    kind: Option<&str>,
) -> Result<Arc<Component>, Failure> {
    let known = app.catalog.component(id).filter(|known| org.is_empty() || known.org == org);
    let known = known.ok_or_else(|| Failure::not_found(format!("runtime_id {id} is not known")))?;
    for (field, said, registered) in [("component_name", name, &known.name), ("component_type", kind, &known.kind)] {
        if let Some(said) = said.filter(|said| said != registered) {
            let message = format!("runtime_id {id} is registered with {field} {registered:?}, not {said:?}");
            return Err(Failure::bad_request(message));
        }
    }
    Ok(known)
}

/// Limits on the names of components.
pub(super) fn check_names(config: &Config, name: Option<&str>, kind: Option<&str>) -> Result<(), Failure> {
    for (field, text, option, limit) in [
        ("component_name", name, "ingest.max_name_bytes", config.ingest_max_name_bytes),
        ("component_type", kind, "report.max_type_bytes", config.report_max_type_bytes),
    ] {
        let bytes = text.map_or(0, str::len);
        if bytes > limit {
            return Err(Failure::bad_request(format!("{field} has {bytes} bytes: limit {option} = {limit} reached")));
        }
    }
    Ok(())
}

fn answer(stored: &Stored, runtime_id: i64, listed_max: usize) -> Result<Answer, Failure> {
    let (rejected, count) = (rejected(stored, listed_max), stored.rejected.len());
    if let (0, Some(first)) = (stored.inserted, rejected.first()) {
        let detail = format!("all {count} metrics were rejected; metrics[{}]: {}", first.index, first.error);
        let body = json!({"detail": detail, "rejected": rejected, "rejected_count": count});
        return Err(Failure::Body(StatusCode::BAD_REQUEST, body));
    }
    Ok(Answer {
        status: "ok",
        runtime_id,
        metrics_inserted: stored.inserted,
        rejected,
        rejected_count: Some(count).filter(|count| *count > 0),
    })
}

/// What was refused, as far as it is listed.
pub(super) fn rejected(stored: &Stored, listed_max: usize) -> Vec<Rejected> {
    let listed = stored.rejected.iter().take(listed_max);
    listed.map(|(index, rejection)| Rejected { index: *index, error: rejection.to_string() }).collect()
}

/// What a report is answered with.
#[derive(Debug, Serialize)]
struct Answer {
    status: &'static str,
    runtime_id: i64,
    metrics_inserted: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<Rejected>,
    /// How many there are, also beyond those that are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_count: Option<usize>,
}

/// A metric that was refused.
#[derive(Debug, Serialize)]
pub(super) struct Rejected {
    index: usize,
    error: String,
}
