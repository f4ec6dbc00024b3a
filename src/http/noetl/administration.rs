//! Clean-up and time to live: what the dialect does by partitions and columns is done here by retention.

use std::sync::Arc;

use ::http::{HeaderMap, StatusCode, Uri};
use axum::extract::{Extension, State};
use axum::response::Response;
use model::{Budget, METRIC_NAME, Matcher, Scope, SeriesSource, TimeRange};
use serde_json::{Value, json};

use super::answer::Failure;
use super::parameters::Parameters;
use super::selection::failed;
use crate::app::App;
use crate::auth;
use crate::catalog::RetentionRule;
use crate::http::Peer;
use crate::http::error::{Fault, json_response};
use crate::report::COMPONENT;

const DAY_MS: i64 = 86_400_000;
/// Longest time to live: a hundred years.
const TTL_DAYS_MAX: i64 = 36_525;
const DAYS_AHEAD_DEFAULT: i64 = 7;
const DAYS_AHEAD_MAX: i64 = 365;

fn permit(app: &App, peer: Peer, headers: &HeaderMap) -> Result<(), Failure> {
    let allowed = auth::may_administer(app.token.as_ref(), peer.0.ip(), headers);
    allowed.map_err(|denied| Failure::Fault(Fault::from(denied)))
}

/// `POST /api/metrics/cleanup`
pub(super) async fn clean_up(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    permit(&app, peer, &headers)?;
    let db = Arc::clone(&app.db);
    let report = app
        .workers
        .write(move || db.enforce_retention())
        .await?
        .map_err(|error| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let count = report.dropped_days.len();
    Ok(json_response(
        StatusCode::OK,
        &json!({
            "status": "ok",
            "dropped_partitions": report.dropped_days,
            "dropped_count": count,
            "message": format!("Retention applied: {count} days dropped, {} bytes freed", report.freed_bytes),
        }),
    ))
}

/// `POST /api/metrics/partitions/create`
pub(super) async fn create_partitions(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    permit(&app, peer, &headers)?;
    let days_ahead = Parameters::of(&uri)?.bounded("days_ahead", DAYS_AHEAD_DEFAULT, 1, DAYS_AHEAD_MAX)?;
    Ok(json_response(
        StatusCode::OK,
        &json!({
            "status": "ok",
            "created_partitions": Vec::<Value>::new(),
            "created_count": 0,
            "days_ahead": days_ahead,
            "message": "Nothing to create: partitions are made when samples come in",
        }),
    ))
}

/// `POST /api/metrics/ttl/set`
pub(super) async fn set_ttl(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    permit(&app, peer, &headers)?;
    let parameters = Parameters::of(&uri)?;
    let name = parameters.required("metric_name")?.to_owned();
    keep(&app, &parameters, "metric_name", METRIC_NAME, name).await
}

/// `POST /api/metrics/ttl/extend-component`
pub(super) async fn extend_component(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    permit(&app, peer, &headers)?;
    let parameters = Parameters::of(&uri)?;
    let name = parameters.required("component_name")?.to_owned();
    if app.catalog.find(&name, None).is_none() {
        return Err(Failure::not_found(format!("component {name:?} is not known")));
    }
    keep(&app, &parameters, "component_name", COMPONENT, name).await
}

/// Sets the rule that keeps the series with this label value for `ttl_days`, and counts them.
async fn keep(
    app: &Arc<App>,
    parameters: &Parameters,
    field: &'static str,
    label: &'static str,
    value: String,
) -> Result<Response, Failure> {
    let days = parameters.bounded("ttl_days", 1, 1, TTL_DAYS_MAX)?;
    let matcher = Matcher::equal(label, value.as_str());
    let state = Arc::clone(app);
    let count = app
        .workers
        .write(move || -> Result<usize, Failure> {
            let count = count(&state, &matcher)?;
            let rule = RetentionRule { matchers: vec![matcher], keep_ms: days * DAY_MS };
            state.catalog.set_rule(rule, state.clock.now_ms())?;
            state.apply_rules();
            Ok(count)
        })
        .await??;
    Ok(json_response(
        StatusCode::OK,
        &json!({
            "status": "ok",
            field: value,
            "updated_metrics": count,
            "new_ttl_days": days,
            "message": format!("{count} series with {label}={value:?} are kept for {days} days"),
        }),
    ))
}

/// Number of series that pass.
fn count(app: &App, matcher: &Matcher) -> Result<usize, Failure> {
    let snapshot = app.db.snapshot();
    let selected =
        snapshot.select(&Scope::default(), std::slice::from_ref(matcher), TimeRange::ALL, &Budget::unlimited());
    selected.map(|set| set.len()).map_err(|error| failed(&error))
}
