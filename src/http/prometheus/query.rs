//! `query` and `query_range`: parameters to evaluation to JSON, with limits, deadlines and the log of slow queries.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use model::{Scope, Steps};
use query::{Answer, EngineOptions, QueryError, Value};
use serde_json::json;

use super::encode::{AnswerPieces, TRUNCATED};
use super::error::ApiError;
use super::parameters::Parameters;
use super::{JSON, stream, time};
use crate::app::App;
use crate::auth::Caller;
use crate::workers::WorkError;

/// Bytes of an expression that a log line shows.
const LOGGED_BYTES: usize = 1024;

/// When an expression is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    At(i64),
    Over(Steps),
}

impl When {
    /// The word for our own metrics.
    fn kind(self) -> &'static str {
        match self {
            When::At(_) => "instant",
            When::Over(_) => "range",
        }
    }
}

/// A request to evaluate, checked but for the expression.
#[derive(Debug)]
struct Asked {
    scope: Scope,
    expression: String,
    when: When,
    lookback_delta_ms: Option<i64>,
    timeout: Option<Duration>,
    limit: Option<usize>,
    stats: bool,
}

/// What the worker gives back.
struct Evaluated {
    result: Result<Answer, QueryError>,
    queued: Duration,
    took: Duration,
    samples: u64,
}

/// `GET|POST /api/v1/query`
pub(super) async fn instant(
    State(app): State<Arc<App>>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let asked = Asked::instant(&app, caller.scope(), &parameters)?;
    asked.answer(&app).await
}

/// `GET|POST /api/v1/query_range`
pub(super) async fn range(
    State(app): State<Arc<App>>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let asked = Asked::range(&app, caller.scope(), &parameters)?;
    asked.answer(&app).await
}

/// Evaluates the expression in `query`: over `start`, `end`, `step` if one of them is there, else at `time`.
pub async fn evaluate(app: &Arc<App>, scope: Scope, parameters: &Parameters) -> Response {
    let is_range = ["start", "end", "step"].iter().any(|name| parameters.get(name).is_some());
    let asked = if is_range { Asked::range(app, scope, parameters) } else { Asked::instant(app, scope, parameters) };
    match asked {
        Ok(asked) => asked.answer(app).await.into_response(),
        Err(error) => error.into_response(),
    }
}

impl Asked {
    fn instant(app: &App, scope: Scope, parameters: &Parameters) -> Result<Asked, ApiError> {
        let time_ms = parameters.time("time")?.unwrap_or_else(|| app.clock.now_ms());
        Asked::at(When::At(time_ms), scope, parameters)
    }

    fn range(app: &App, scope: Scope, parameters: &Parameters) -> Result<Asked, ApiError> {
        let start_ms = parameters.required_time("start")?;
        let end_ms = parameters.required_time("end")?;
        if end_ms < start_ms {
            return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
        }
        let step_ms = time::parse_duration(parameters.get("step").unwrap_or_default())
            .map_err(|e| ApiError::parameter("step", e))?;
        if step_ms <= 0 {
            let message = "zero or negative query resolution step widths are not accepted. Try a positive integer";
            return Err(ApiError::parameter("step", message));
        }
        let steps = Steps { start_ms, end_ms, step_ms };
        check_resolution(steps, app.config.query_max_steps)?;
        Asked::at(When::Over(steps), scope, parameters)
    }

    fn at(when: When, scope: Scope, parameters: &Parameters) -> Result<Asked, ApiError> {
        let lookback = parameters.get("lookback_delta").map(time::parse_duration).transpose();
        Ok(Asked {
            scope,
            timeout: parameters.timeout()?,
            limit: parameters.limit()?,
            lookback_delta_ms: lookback
                .map_err(|e| ApiError::bad_data(format!("error parsing lookback delta duration: {e}")))?
                .filter(|ms| *ms > 0),
            stats: parameters.get("stats").is_some(),
            expression: parameters.get("query").unwrap_or_default().to_owned(),
            when,
        })
    }

    /// Evaluates on a worker and encodes.
    async fn answer(self, app: &Arc<App>) -> Result<Response, ApiError> {
        let (when, limit, wants_stats, timeout) = (self.when, self.limit, self.stats, self.timeout);
        if timeout == Some(Duration::ZERO) {
            return Err(ApiError::of_work(WorkError::Timeout(Duration::ZERO), timeout));
        }
        let expression = self.expression.clone();
        let begun = Instant::now();
        let db = Arc::clone(&app.db);
        let mut options = engine_options(app);
        options.lookback_delta_ms = self.lookback_delta_ms.unwrap_or(options.lookback_delta_ms);
        let evaluated = app
            .workers
            .query(timeout, move |budget| {
                let queued = begun.elapsed();
                let source = db.snapshot();
                let mut result = match when {
                    When::At(time_ms) => {
                        query::run_instant(&source, &self.scope, &self.expression, time_ms, &options, budget)
                    }
                    When::Over(steps) => {
                        query::run_range(&source, &self.scope, &self.expression, steps, &options, budget)
                    }
                };
                if let Ok(answer) = &mut result {
                    answer.annotations.warnings.extend(source.unreachable());
                }
                Evaluated { result, queued, took: begun.elapsed(), samples: budget.samples_read() }
            })
            .await;
        let samples = evaluated.as_ref().ok().map(|e| e.samples);
        let outcome = match evaluated {
            Ok(evaluated) => {
                let stats = wants_stats.then(|| stats(&evaluated));
                evaluated.result.map(|a| (a, stats)).map_err(|e| ApiError::of_query("query", &e))
            }
            Err(error) => Err(ApiError::of_work(error, timeout)),
        };
        let word = outcome.as_ref().err().map_or("success", ApiError::outcome);
        app.telemetry.queries.add(&[when.kind(), word], 1);
        app.telemetry.query_samples.add(&[], samples.unwrap_or_default());
        Slow { kind: when.kind(), outcome: word, took: begun.elapsed(), samples, expression: &expression }
            .log(app.config.query_log_slower.std());
        let (mut answer, stats) = outcome?;
        if let Some(limit) = limit {
            cut(&mut answer, limit);
        }
        let time_ms = match when {
            When::At(time_ms) => time_ms,
            When::Over(steps) => steps.start_ms,
        };
        Ok(stream::respond(AnswerPieces::new(answer, time_ms, stats.as_ref()), JSON))
    }
}

/// Prometheus's own bound: the number of steps behind the first.
fn check_resolution(steps: Steps, steps_max: usize) -> Result<(), ApiError> {
    if steps.count() <= steps_max.saturating_add(1) {
        return Ok(());
    }
    Err(ApiError::bad_data(format!(
        "exceeded maximum resolution of {} points per timeseries. Try decreasing the query resolution (?step=XX). \
         limit query.max_steps = {steps_max} reached",
        with_thousands(steps_max)
    )))
}

/// `11,000`
fn with_thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The engine's settings of this server.
pub(in crate::http) fn engine_options(app: &App) -> EngineOptions {
    let config = &app.config;
    EngineOptions {
        lookback_delta_ms: config.query_lookback_delta.ms(),
        default_subquery_step_ms: config.query_default_subquery_step.ms(),
        // One more than the bound of the API, which counts the steps behind the first.
        steps_max: config.query_max_steps.saturating_add(1),
        expression_bytes_max: config.query_max_expression_bytes,
        depth_max: config.query_max_depth.0,
        delayed_name_removal: config.query_delayed_name_removal,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// What `stats` asks for, in seconds; what we do not measure is left out.
fn stats(evaluated: &Evaluated) -> serde_json::Value {
    let eval = evaluated.took.saturating_sub(evaluated.queued);
    json!({
        "timings": {
            "evalTotalTime": eval.as_secs_f64(),
            "execQueueTime": evaluated.queued.as_secs_f64(),
            "execTotalTime": evaluated.took.as_secs_f64(),
        },
        "samples": {"totalQueryableSamples": evaluated.samples},
    })
}

/// Leaves as many series as the client wants.
fn cut(answer: &mut Answer, limit: usize) {
    let had = match &mut answer.value {
        Value::Scalar(_) | Value::String(_) => return,
        Value::Vector(elements) => {
            let had = elements.len();
            elements.truncate(limit);
            had
        }
        Value::Matrix(series) => {
            let had = series.len();
            series.truncate(limit);
            had
        }
    };
    if had > limit {
        answer.annotations.warnings.insert(TRUNCATED.to_owned());
    }
}

/// A line of the log.
struct Slow<'a> {
    kind: &'static str,
    outcome: &'static str,
    took: Duration,
    samples: Option<u64>,
    expression: &'a str,
}

impl Slow<'_> {
    /// Logs a query that took longer than the bound; a bound of 0 is none.
    fn log(&self, bound: Duration) {
        if bound.is_zero() || self.took <= bound {
            return;
        }
        let cut = self.expression.floor_char_boundary(LOGGED_BYTES);
        tracing::warn!(
            kind = self.kind,
            outcome = self.outcome,
            seconds = self.took.as_secs_f64(),
            samples = self.samples,
            query = &self.expression[..cut],
            "slow query"
        );
    }
}

#[cfg(test)]
mod tests {
    use model::Labels;
    use query::{Annotations, SampleValue, VectorElement};

    use super::*;

    #[test]
    fn the_resolution_is_bounded_as_in_prometheus() {
        let steps = |n: i64| Steps { start_ms: 0, end_ms: n * 1000, step_ms: 1000 };
        assert_eq!(check_resolution(steps(11_000), 11_000), Ok(()));
        let error = format!("{:?}", check_resolution(steps(11_001), 11_000).unwrap_err());
        assert!(
            error.contains("resolution of 11,000 points") && error.contains("limit query.max_steps = 11000 reached")
        );
        assert!(check_resolution(Steps { start_ms: i64::MIN, end_ms: i64::MAX, step_ms: 1 }, 11_000).is_err());
    }

    #[test]
    fn thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (11_000, "11,000"), (1_234_567, "1,234,567")] {
            assert_eq!(with_thousands(number), text);
        }
    }

    /// What is logged while the closure runs.
    fn logged(work: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Lines(Arc<parking_lot::Mutex<Vec<u8>>>);
        impl std::io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(log, work);
        let text = lines.0.lock().clone();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn only_slow_queries_are_logged_and_long_ones_cut() {
        let expression = format!("up{}", "ö".repeat(LOGGED_BYTES));
        let seconds = Duration::from_secs;
        let slow = |took, bound| {
            let slow = Slow { kind: "range", outcome: "success", took, samples: Some(7), expression: &expression };
            logged(|| slow.log(bound))
        };
        assert_eq!(slow(seconds(2), seconds(2)), "");
        assert_eq!(slow(seconds(2), Duration::ZERO), "");
        let line = slow(seconds(3), seconds(2));
        assert!(line.contains("slow query") && line.contains("seconds=3.0") && line.contains("samples=7"), "{line}");
        assert!(line.contains("query=\"upö") && line.len() < LOGGED_BYTES + 200, "{line}");
    }

    #[test]
    fn a_limit_cuts_and_says_so() {
        let element = || VectorElement { labels: Labels::empty(), value: SampleValue::Float(1.0) };
        let vector =
            || Answer { value: Value::Vector(vec![element(), element()]), annotations: Annotations::default() };
        let (mut whole, mut less) = (vector(), vector());
        cut(&mut whole, 2);
        cut(&mut less, 1);
        assert_eq!(whole, vector());
        assert!(matches!(&less.value, Value::Vector(v) if v.len() == 1));
        assert!(less.annotations.warnings.contains(TRUNCATED));
    }
}
