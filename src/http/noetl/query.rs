//! `GET /api/metrics/query`: stored samples by the dialect's filters, or with `query=` an expression, which is answered
//! in Prometheus's shape.

use std::sync::Arc;

use ::http::Uri;
use axum::extract::State;
use axum::response::Response;
use model::{Budget, MetricType, TimeRange};
use serde::Serialize;

use super::answer::{Failure, ok};
use super::parameters::Parameters;
use super::rows::{Row, RowFilter, rows};
use super::selection::{Selection, failed};
use crate::app::App;
use crate::auth::Caller;
use crate::http::prometheus;
use crate::report::Problem;

/// Rows of an answer when no limit is asked for.
const LIMIT_DEFAULT: i64 = 1000;
/// Most rows of an answer.
const LIMIT_MAX: i64 = 10_000;

pub(super) async fn query(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Result<Response, Failure> {
    let parameters = Parameters::of(&uri)?;
    if parameters.has("query") {
        let parameters = prometheus::Parameters::from_pairs(parameters.into_pairs());
        return Ok(prometheus::evaluate(&app, caller.scope(), &parameters).await);
    }
    let selection = Selection::of(&caller, &parameters)?;
    let filter = row_filter(&app, &parameters)?;
    let state = Arc::clone(&app);
    let metrics = app.workers.query(None, move |budget| select(&state, &selection, filter, budget)).await??;
    ok(&Answer { count: metrics.len(), metrics, limit: filter.limit })
}

#[derive(Debug, Serialize)]
struct Answer {
    metrics: Vec<Row>,
    count: usize,
    limit: usize,
}

fn row_filter(app: &App, parameters: &Parameters) -> Result<RowFilter, Failure> {
    let zone = app.config.report_naive_timezone;
    let start_ms = parameters.time("start_time", zone)?.unwrap_or(i64::MIN);
    let end_ms = parameters.time("end_time", zone)?.unwrap_or(i64::MAX);
    if start_ms > end_ms {
        return Err(Failure::bad_request("start_time is after end_time"));
    }
    let limit = parameters.bounded("limit", LIMIT_DEFAULT, 1, LIMIT_MAX)?;
    let metric_type = parameters.text("metric_type").map(metric_type).transpose()?;
    let limit = usize::try_from(limit).unwrap_or_default();
    Ok(RowFilter { range: TimeRange { start_ms, end_ms }, metric_type, limit })
}

fn metric_type(text: &str) -> Result<MetricType, Problem> {
    text.parse().map_err(|()| {
        let message = "Input should be 'gauge', 'counter', 'histogram', 'summary' or 'unknown'";
        Problem::of_parameter("metric_type", "enum", message)
    })
}

fn select(app: &App, selection: &Selection, filter: RowFilter, budget: &Budget) -> Result<Vec<Row>, Failure> {
    let snapshot = app.db.snapshot();
    let found = selection.matchers(app, &snapshot, budget).and_then(|matchers| match matchers {
        Some(matchers) => rows(app, &snapshot, &selection.scope, &matchers, filter, budget),
        None => Ok(Vec::new()),
    });
    found.map_err(|error| failed(&error))
}
