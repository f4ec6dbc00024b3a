//! Clean-up and time to live: what the dialect does by partitions and columns is done here by retention.

use std::sync::Arc;

use ::http::{StatusCode, Uri};
use axum::extract::State;
use axum::response::Response;
use model::{Budget, METRIC_NAME, Matcher, Scope, SeriesSource, TimeRange};
use serde_json::{Value, json};
use storage::RetentionRule;

use super::answer::Failure;
use super::parameters::Parameters;
use super::selection::{failed, is_seen};
use crate::app::App;
use crate::auth::Caller;
use crate::http::error::{Fault, json_response};
use crate::report::{COMPONENT, Problem};

const DAY_MS: i64 = 86_400_000;
/// Longest time to live: a hundred years.
const TTL_DAYS_MAX: i64 = 36_525;
const DAYS_AHEAD_DEFAULT: i64 = 7;
const DAYS_AHEAD_MAX: i64 = 365;

/// `POST /api/metrics/cleanup`
pub(super) async fn clean_up(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    let db = Arc::clone(&app.db);
    let report = app
        .workers
        .write(move || db.enforce_retention())
        .await?
        .map_err(|error| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let count = report.dropped_days.len();
    let message = match app.catalog.retention_hold() {
        Some(reason) => format!("Retention by age is held: {reason}"),
        None => format!("Retention applied: {count} days dropped, {} bytes freed", report.freed_bytes),
    };
    Ok(json_response(
        StatusCode::OK,
        &json!({
            "status": "ok",
            "dropped_partitions": report.dropped_days,
            "dropped_count": count,
            "message": message,
        }),
    ))
}

/// `POST /api/metrics/partitions/create`
pub(super) async fn create_partitions(uri: Uri) -> Result<Response, Failure> {
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
pub(super) async fn set_ttl(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Result<Response, Failure> {
    let parameters = Parameters::of(&uri)?;
    let name = parameters.required("metric_name")?.to_owned();
    let days = days(&parameters)?;
    let matchers = seen_by(&caller, Matcher::equal(METRIC_NAME, name.as_str()));
    let kept = keep(&app, RetentionRule::new(matchers, days * DAY_MS)).await?;
    let message = format!("{} series with {METRIC_NAME}={name:?} are kept for {days} days", kept.series);
    Ok(kept.answer("metric_name", &name, &message))
}

/// `POST /api/metrics/ttl/extend-component`
pub(super) async fn extend_component(
    State(app): State<Arc<App>>,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Failure> {
    let parameters = Parameters::of(&uri)?;
    let name = parameters.required("component_name")?.to_owned();
    let scope = caller.scope();
    if !app.catalog.components().iter().any(|component| component.name == name && is_seen(&scope, component)) {
        return Err(Failure::not_found(format!("component {name:?} is not known")));
    }
    let days = days(&parameters)?;
    let matchers = seen_by(&caller, Matcher::equal(COMPONENT, name.as_str()));
    let kept = keep(&app, RetentionRule::at_least(matchers, days * DAY_MS)).await?;
    let before = if kept.days > days { ", as was set before" } else { "" };
    let message = format!(
        "{} series with {COMPONENT}={name:?} are kept for at least {} days{before}; those that are kept longer stay so",
        kept.series, kept.days
    );
    Ok(kept.answer("component_name", &name, &message))
}

/// The matchers of a rule: it is only about series that its caller sees.
fn seen_by(caller: &Caller, matcher: Matcher) -> Vec<Matcher> {
    caller.scope().forced().cloned().into_iter().chain([matcher]).collect()
}

fn days(parameters: &Parameters) -> Result<i64, Problem> {
    parameters.bounded("ttl_days", 1, 1, TTL_DAYS_MAX)
}

/// A rule that was set.
struct Kept {
    series: usize,
    days: i64,
}

impl Kept {
    fn answer(&self, field: &str, value: &str, message: &str) -> Response {
        let body = json!({
            "status": "ok",
            field: value,
            "updated_metrics": self.series,
            "new_ttl_days": self.days,
            "message": message,
        });
        json_response(StatusCode::OK, &body)
    }
}

/// Sets a rule and counts its series.
async fn keep(app: &Arc<App>, rule: RetentionRule) -> Result<Kept, Failure> {
    let state = Arc::clone(app);
    app.workers
        .write(move || -> Result<Kept, Failure> {
            let series = count(&state, &rule.matchers)?;
            let rule = state.catalog.set_rule(rule, state.clock.now_ms())?;
            state.apply_rules();
            Ok(Kept { series, days: rule.keep_ms / DAY_MS })
        })
        .await?
}

/// Number of series that pass; the scope is among the matchers.
fn count(app: &App, matchers: &[Matcher]) -> Result<usize, Failure> {
    let snapshot = app.db.snapshot();
    let selected = snapshot.select(&Scope::default(), matchers, TimeRange::ALL, &Budget::unlimited());
    selected.map(|set| set.len()).map_err(|error| failed(&error))
}
