//! `GET /api/jobs/compare`: two runs side by side, on the time since each began.

use std::sync::Arc;

use ::http::{StatusCode, Uri};
use axum::extract::State;
use axum::response::Response;
use model::{Budget, Scope, Steps};
use serde_json::{Map, Value, json};

use super::diagnosis::{diagnosed, of_measure};
use super::{Parameters, find};
use crate::app::App;
use crate::auth::Caller;
use crate::http::error::{Dialect, Fault, json_response};
use crate::http::prometheus::engine_options;
use crate::jobs::compare::{
    Comparison, Course, MEASURES, Number, Pair, Side, Tracks, compare as compared, courses, pairs,
};
use crate::jobs::diagnosis::{Facts, Meter, Over, Verdict, thresholds};
use crate::jobs::{JobsError, Known, Reader};

/// Steps of a course unless `step` says how long one is.
const STEPS: i64 = 120;
/// The shortest step, in milliseconds: scrapes are not closer.
const STEP_MS_MIN: i64 = 1_000;
/// The shortest time before each step that a value is averaged over, in milliseconds: rates need two samples.
const WINDOW_MS_MIN: i64 = 60_000;
/// The longest `length` and `step`, in milliseconds.
const SPAN_MS_MAX: i64 = 10 * 365 * 86_400_000;

/// The longest time that is compared, in milliseconds: the durations of PromQL end at 292 years.
const LENGTH_MS_MAX: i64 = 100 * 365 * 86_400_000;

/// What is asked for.
struct Asked {
    scope: Scope,
    a: String,
    b: String,
    at_ms: Option<i64>,
    length_ms: Option<i64>,
    step_ms: Option<i64>,
}

pub(super) async fn compare(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Response {
    match answer(&app, caller.scope(), &uri).await {
        Ok(body) => json_response(StatusCode::OK, &body),
        Err(fault) => fault.response(Dialect::Plain),
    }
}

async fn answer(app: &Arc<App>, scope: Scope, uri: &Uri) -> Result<Value, Fault> {
    let parameters = Parameters::of(uri)?;
    let run = |name: &str| {
        let missing = || Fault::bad_request(format!("{name} is missing: the id of a run"));
        parameters.text(name).map(str::to_owned).ok_or_else(missing)
    };
    let span = |name: &str| match parameters.text(name) {
        Some(_) => parameters.span(name, 0, STEP_MS_MIN..=SPAN_MS_MAX).map(Some),
        None => Ok(None),
    };
    let asked = Asked {
        scope,
        a: run("a")?,
        b: run("b")?,
        at_ms: parameters.time("at")?,
        length_ms: span("length")?,
        step_ms: span("step")?,
    };
    let state = Arc::clone(app);
    app.workers.query(None, move |budget| look(&state, &asked, budget)).await?
}

fn look(app: &App, asked: &Asked, budget: &Budget) -> Result<Value, Fault> {
    let at_ms = asked.at_ms.unwrap_or_else(|| app.clock.now_ms());
    let look = Look { app, scope: &asked.scope, budget };
    let (a, b) = (look.side(&asked.a, at_ms)?, look.side(&asked.b, at_ms)?);
    let common_ms = a.length_ms.min(b.length_ms).min(LENGTH_MS_MAX);
    let length_ms = asked.length_ms.map_or(common_ms, |length_ms| length_ms.min(common_ms));
    // Whole seconds, so that a course is as long as it is asked for.
    let even_ms = (length_ms / STEPS + STEP_MS_MIN - 1) / STEP_MS_MIN * STEP_MS_MIN;
    let step_ms = asked.step_ms.unwrap_or(even_ms).max(STEP_MS_MIN);
    check_steps(length_ms / step_ms, app.config.query_max_steps)?;
    let span = Span { length_ms, step_ms };
    let courses = courses(&pairs(&a, &b), look.tracks(&a, span)?, look.tracks(&b, span)?);
    let found = compared(&a, &b, &courses, length_ms);
    let verdicts = [look.verdict(&a, length_ms)?, look.verdict(&b, length_ms)?];
    Ok(shown([&a, &b], &courses, &found, verdicts, span))
}

/// The answer has the time of each step, also where nothing was measured; a run may have begun in 1970.
fn check_steps(count: i64, steps_max: usize) -> Result<(), Fault> {
    if usize::try_from(count).is_ok_and(|count| count <= steps_max) {
        return Ok(());
    }
    let message =
        format!("{count} steps are too many: limit query.max_steps = {steps_max} reached; ask for a longer step");
    Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, message))
}

/// Where everything is read.
struct Look<'l> {
    app: &'l App,
    scope: &'l Scope,
    budget: &'l Budget,
}

impl Look<'_> {
    fn side(&self, id: &str, at_ms: i64) -> Result<Side, Fault> {
        self.read(id, at_ms, |reader, job| Side::read(reader, job, at_ms))
    }

    fn read<T>(
        &self,
        id: &str,
        at_ms: i64,
        view: impl FnOnce(&Reader<'_>, &Known) -> Result<T, JobsError>,
    ) -> Result<T, Fault> {
        let read = self.app.jobs.read(|reader| match find(reader, self.scope, id, at_ms)? {
            Some(job) => view(reader, &job).map(Some),
            None => Ok(None),
        });
        let found = read.map_err(|error| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        found.ok_or_else(|| Fault::new(StatusCode::NOT_FOUND, format!("no such job: {id}")))
    }

    /// The courses of a run's operators; a value stands for the time before its step.
    fn tracks(&self, side: &Side, span: Span) -> Result<Tracks, Fault> {
        let Span { length_ms, step_ms } = span;
        if length_ms < step_ms {
            return Ok(Tracks::new());
        }
        let (series, options) = (self.app.db.snapshot(), engine_options(self.app));
        let meter = Meter { series: &series, scope: self.scope, options: &options, budget: self.budget };
        let start_ms = side.started_ms.saturating_add(step_ms);
        let steps = Steps { start_ms, end_ms: side.started_ms.saturating_add(length_ms), step_ms };
        let over = Over { steps, window_ms: step_ms.max(WINDOW_MS_MIN) };
        meter.tracks(&side.facts, &MEASURES, over).map_err(of_measure)
    }

    /// What held a run up in that time.
    fn verdict(&self, side: &Side, length_ms: i64) -> Result<Value, Fault> {
        // At its very end it runs no more.
        let at_ms = side.started_ms.saturating_add(length_ms).saturating_sub(i64::from(side.is_over));
        let facts = self.read(&side.id, i64::MAX, |reader, job| Facts::read(reader, job, at_ms))?;
        let window_ms = length_ms.clamp(thresholds::WINDOW_MS_MIN, thresholds::WINDOW_MS_MAX);
        let (evidence, found) = diagnosed(self.app, self.scope, facts, window_ms, self.budget)?;
        let operator = match &found.verdict {
            Verdict::Bottleneck(one) => evidence.facts.operators.get(one.operator),
            _ => None,
        };
        let operator = operator.map(|facts| json!({"id": facts.id, "name": facts.name}));
        Ok(json!({"verdict": found.verdict.as_str(), "operator": operator, "sentence": found.sentence}))
    }
}

/// The time that is compared.
#[derive(Clone, Copy)]
struct Span {
    length_ms: i64,
    step_ms: i64,
}

fn shown(sides: [&Side; 2], courses: &[Course], found: &Comparison, verdicts: [Value; 2], span: Span) -> Value {
    let [a, b] = sides;
    let [of_a, of_b] = verdicts;
    let pair = |pair: &Pair| operator(a, b, *pair);
    let steps = span.length_ms / span.step_ms.max(1);
    let times: Vec<i64> = (1..=steps).map(|step| step * span.step_ms).collect();
    json!({
        "a": heading(a),
        "b": heading(b),
        "length": span.length_ms,
        "step": span.step_ms,
        "sentence": found.sentence,
        "bottlenecks": {"a": of_a, "b": of_b},
        "operators": found.pairs.iter().map(pair).collect::<Vec<_>>(),
        "numbers": found.numbers.iter().map(|one| number(a, b, one)).collect::<Vec<_>>(),
        "settings": found.settings.iter().map(|one| json!({"name": one.name, "a": one.a, "b": one.b})).collect::<Vec<_>>(),
        "times": times,
        "courses": courses.iter().map(|one| course(a, b, one)).collect::<Vec<_>>(),
        "checkpoints": {"a": checkpoints(a, span.length_ms), "b": checkpoints(b, span.length_ms)},
        "restarts": {"a": restarts(a, span.length_ms), "b": restarts(b, span.length_ms)},
    })
}

fn heading(side: &Side) -> Value {
    json!({
        "id": side.id,
        "name": side.name,
        "state": side.state.map(|state| state.as_str()),
        "started": side.started_ms,
        "length": side.length_ms,
    })
}

/// An operator of both runs; of one alone the other's id is null.
fn operator(a: &Side, b: &Side, pair: Pair) -> Value {
    let of = |side: &Side, place: Option<usize>| {
        place.and_then(|place| side.facts.operators.get(place)).map(|facts| (facts.id.clone(), facts.name.clone()))
    };
    let (of_a, of_b) = (of(a, pair.a), of(b, pair.b));
    let name = of_a.as_ref().or(of_b.as_ref()).map(|(_, name)| name.clone());
    json!({"name": name, "a": of_a.map(|(id, _)| id), "b": of_b.map(|(id, _)| id)})
}

fn number(a: &Side, b: &Side, one: &Number) -> Value {
    json!({
        "measure": one.of.as_str(),
        "unit": one.of.unit().as_str(),
        "operator": one.pair.map(|pair| operator(a, b, pair)),
        "a": one.a,
        "b": one.b,
        "ratio": one.ratio(),
        "change": one.change.as_str(),
    })
}

fn course(a: &Side, b: &Side, one: &Course) -> Value {
    let mut shown = Map::new();
    shown.insert("measure".to_owned(), one.measure.as_str().into());
    shown.insert("unit".to_owned(), one.measure.unit().as_str().into());
    shown.insert("operator".to_owned(), operator(a, b, one.pair));
    shown.insert("a".to_owned(), json!(one.a));
    shown.insert("b".to_owned(), json!(one.b));
    Value::Object(shown)
}

fn checkpoints(side: &Side, length_ms: i64) -> Vec<Value> {
    let shown = side.checkpoints.iter().filter(|one| one.at_ms <= length_ms).map(|one| {
        json!({
            "checkpoint": one.id, "at": one.at_ms, "state": one.state.as_str(), "duration": one.duration_ms,
            "state_bytes": one.state_bytes,
        })
    });
    shown.collect()
}

fn restarts(side: &Side, length_ms: i64) -> Vec<i64> {
    side.restarts_ms.iter().copied().filter(|at_ms| *at_ms <= length_ms).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_bounded_whatever_was_measured() {
        assert_eq!([check_steps(0, 10), check_steps(10, 10)], [Ok(()), Ok(())]);
        let refused = check_steps(11, 10).unwrap_err();
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(refused.message.contains("11 steps are too many: limit query.max_steps = 10"), "{}", refused.message);
        assert!(check_steps(i64::MAX / STEP_MS_MIN, 11_000).is_err());
    }
}
