//! `GET /api/jobs/{id}/diagnosis`: which operator holds a job up, and why.

use std::sync::Arc;

use ::http::{StatusCode, Uri};
use axum::extract::State;
use axum::response::Response;
use model::{Budget, Scope};
use query::ErrorKind;
use serde_json::{Map, Value, json};

use super::{Parameters, find};
use crate::app::App;
use crate::auth::Caller;
use crate::http::error::{Dialect, Fault, json_response};
use crate::http::prometheus::engine_options;
use crate::http::segment::Segment;
use crate::jobs::diagnosis::{
    Diagnosis, Evidence, Facts, Finding, Item, Measure, MeasureError, Meter, Missing, Place, Verdict, diagnose,
    thresholds,
};
use crate::jobs::{Known, Run};

/// What is asked for.
struct Asked {
    scope: Scope,
    id: String,
    at_ms: Option<i64>,
    window_ms: i64,
}

pub(super) async fn diagnosis(State(app): State<Arc<App>>, caller: Caller, Segment(id): Segment, uri: Uri) -> Response {
    match answer(&app, caller.scope(), id, &uri).await {
        Ok(body) => json_response(StatusCode::OK, &body),
        Err(fault) => fault.response(Dialect::Plain),
    }
}

async fn answer(app: &Arc<App>, scope: Scope, id: String, uri: &Uri) -> Result<Value, Fault> {
    let parameters = Parameters::of(uri)?;
    let bounds = thresholds::WINDOW_MS_MIN..=thresholds::WINDOW_MS_MAX;
    let window_ms = parameters.span("window", thresholds::WINDOW_MS, bounds)?;
    let asked = Asked { scope, id, at_ms: parameters.time("at")?, window_ms };
    let state = Arc::clone(app);
    app.workers.query(None, move |budget| judge(&state, &asked, budget)).await?
}

fn judge(app: &App, asked: &Asked, budget: &Budget) -> Result<Value, Fault> {
    let at_ms = asked.at_ms.unwrap_or_else(|| app.clock.now_ms());
    let (job, name, facts) = facts(app, &asked.scope, &asked.id, at_ms)?;
    let (evidence, found) = diagnosed(app, &asked.scope, facts, asked.window_ms, budget)?;
    Ok(shown(&job, name, &evidence, &found))
}

/// A job with its name and what the documents say of it.
fn facts(app: &App, scope: &Scope, id: &str, at_ms: i64) -> Result<(Known, Option<String>, Facts), Fault> {
    let read = app.jobs.read(|reader| {
        let Some(job) = find(reader, scope, id, at_ms)? else { return Ok(None) };
        let run = reader.document::<Run>(&job, "", at_ms)?;
        let facts = Facts::read(reader, &job, at_ms)?;
        Ok(Some((job, run.map(|run| run.document.name), facts)))
    });
    let found = read.map_err(|error| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    found.ok_or_else(|| Fault::new(StatusCode::NOT_FOUND, format!("no such job: {id}")))
}

/// Measures around the moment of the facts, and judges.
pub(super) fn diagnosed(
    app: &App,
    scope: &Scope,
    facts: Facts,
    window_ms: i64,
    budget: &Budget,
) -> Result<(Evidence, Diagnosis), Fault> {
    let (series, options) = (app.db.snapshot(), engine_options(app));
    let meter = Meter { series: &series, scope, options: &options, budget };
    let evidence = meter.evidence(facts, window_ms).map_err(of_measure)?;
    let found = diagnose(&evidence);
    Ok((evidence, found))
}

/// A limit is the caller's to mind; everything else that goes wrong is ours.
pub(super) fn of_measure(error: MeasureError) -> Fault {
    let error = match error {
        MeasureError::Query(error) => error,
        MeasureError::Source(error) => error.into(),
    };
    let status = match error.kind {
        ErrorKind::Limit => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Parse | ErrorKind::Execution | ErrorKind::Storage => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Fault::new(status, error.message)
}

fn shown(job: &Known, name: Option<String>, evidence: &Evidence, found: &Diagnosis) -> Value {
    let facts = &evidence.facts;
    let bottleneck = match &found.verdict {
        Verdict::Bottleneck(one) => json!({
            "operator": named(evidence, Some(one.operator)),
            "subtasks": one.subtasks,
            "certain": one.is_certain,
        }),
        _ => Value::Null,
    };
    json!({
        "id": job.subject.id,
        "name": name,
        "state": facts.state.map(|state| state.as_str()),
        "at": facts.at_ms,
        "window": evidence.window_ms,
        "lost": facts.lost_ms,
        "verdict": found.verdict.as_str(),
        "sentence": found.sentence,
        "bottleneck": bottleneck,
        "findings": found.findings.iter().map(|one| finding(evidence, one)).collect::<Vec<_>>(),
        "operators": (0..facts.operators.len()).map(|place| operator(evidence, place)).collect::<Vec<_>>(),
        "missing": found.missing.iter().map(|one| missing(evidence, one)).collect::<Vec<_>>(),
    })
}

fn named(evidence: &Evidence, operator: Option<usize>) -> Value {
    let facts = operator.and_then(|place| evidence.facts.operators.get(place));
    facts.map_or(Value::Null, |facts| json!({"id": facts.id, "name": facts.name}))
}

fn id(evidence: &Evidence, operator: usize) -> Option<&str> {
    evidence.facts.operators.get(operator).map(|facts| facts.id.as_str())
}

fn finding(evidence: &Evidence, one: &Finding) -> Value {
    json!({
        "kind": one.kind.as_str(),
        "severity": one.severity.as_str(),
        "operator": named(evidence, one.operator),
        "subtasks": one.subtasks,
        "sentence": one.sentence,
        "evidence": one.evidence.iter().map(|one| item(evidence, one)).collect::<Vec<_>>(),
    })
}

fn item(evidence: &Evidence, one: &Item) -> Value {
    let (at, text) = match &one.place {
        Place::Series(expression) => ("expression", expression),
        Place::Document(document) => ("document", document),
    };
    let mut shown = Map::new();
    shown.insert("measure".to_owned(), one.what.into());
    shown.insert("operator".to_owned(), one.operator.and_then(|operator| id(evidence, operator)).into());
    shown.insert("subtask".to_owned(), one.subtask.into());
    shown.insert("value".to_owned(), one.value.into());
    shown.insert("unit".to_owned(), one.unit.as_str().into());
    shown.insert(at.to_owned(), text.as_str().into());
    Value::Object(shown)
}

/// An operator with what was measured of all its subtasks together; what was not is not there.
fn operator(evidence: &Evidence, place: usize) -> Value {
    let facts = &evidence.facts.operators[place];
    let measured = evidence.operators.get(place);
    let value = |measure: Measure| Some((measure.as_str().to_owned(), measured?.value(measure)?.into()));
    let measures: Map<String, Value> = Measure::ALL.into_iter().filter_map(value).collect();
    json!({
        "id": facts.id,
        "name": facts.name,
        "state": facts.state.map(|state| state.as_str()),
        "parallelism": facts.parallelism,
        "inputs": facts.inputs.iter().filter_map(|input| id(evidence, *input)).collect::<Vec<_>>(),
        "measures": measures,
    })
}

fn missing(evidence: &Evidence, one: &Missing) -> Value {
    json!({
        "measure": one.measure.as_str(),
        "operators": one.operators.iter().filter_map(|place| id(evidence, *place)).collect::<Vec<_>>(),
        "sentence": one.sentence,
    })
}
