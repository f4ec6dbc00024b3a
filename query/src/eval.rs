//! Evaluates expressions by series: each expression gives, for a whole grid of evaluation times, scalars or a stream
//! of series with one place per time.
//!
//! This file only dispatches. Series flow through callbacks ([`Sink`]) from selectors upwards, so that an aggregation
//! holds its groups and not its input; operators that must see everything collect their operands first.

mod absent;
mod binary;
mod call;
pub(crate) mod column;
mod info;
mod matching;
pub(crate) mod notes;
pub(crate) mod parallel;
pub(crate) mod rollup;
pub(crate) mod selector;
mod sets;
mod subquery;
pub(crate) mod window;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use model::{Budget, Labels, METRIC_NAME, Scope, SeriesSource, Steps};

use crate::answer::{Answer, SampleValue, SeriesPoints, Value, VectorElement};
use crate::ast::{Expr, Node, ValueType};
use crate::error::{ErrorKind, QueryError};
use crate::eval::column::{Scalars, Series};
use crate::eval::notes::Notes;
use crate::eval::selector::Aspect;
use crate::options::EngineOptions;
use crate::plan::{self, QueryTimes, type_of};

/// Labels that say what kind of values a metric has, and that are dropped when an operation changes the kind.
const KIND_LABELS: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

/// Steps between two looks at the budget: subqueries can have millions.
pub(crate) const STEPS_PER_CHECK: usize = 1 << 16;

/// Takes series one at a time.
pub(crate) type Sink<'s, 'q> = dyn FnMut(Series<'q>) -> Result<(), QueryError> + 's;

/// Evaluation times and their number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    /// The times.
    pub(crate) steps: Steps,
    /// How many there are.
    pub(crate) len: usize,
}

impl Grid {
    pub(crate) fn new(steps: Steps) -> Self {
        Grid { steps, len: steps.count() }
    }

    /// The first time alone.
    fn first(&self) -> Self {
        Grid { steps: Steps::at(self.steps.start_ms), len: self.len.min(1) }
    }
}

/// Evaluates an expression at one time.
///
/// `time_ms` is in milliseconds since 1970. The answer has the type of the expression; a range selector gives its raw
/// samples. Memory and samples are taken from `budget`, which also carries the order to stop.
///
/// # Errors
/// A parse error with its place, an evaluation that cannot be done on this data, a limit that was reached, a
/// cancellation, or a failed read; see [`ErrorKind`].
///
/// ```
/// use model::{Budget, Matcher, SeriesSet, SeriesSource, Scope, SourceError, TimeRange};
/// use streamgauge_query::{EngineOptions, Value, run_instant};
///
/// /// A store without data.
/// struct Nothing;
///
/// impl SeriesSource for Nothing {
///     fn select(
///         &self, _: &Scope, _: &[Matcher], _: TimeRange, _: &Budget,
///     ) -> Result<Box<dyn SeriesSet + '_>, SourceError> {
///         Err(SourceError::Storage("there is nothing".to_owned()))
///     }
/// }
///
/// let (options, budget) = (EngineOptions::default(), Budget::unlimited());
/// let answer = run_instant(&Nothing, &Scope::default(), "1 + time()", 41_000, &options, &budget)?;
/// assert_eq!(answer.value, Value::Scalar(42.0));
/// # Ok::<(), streamgauge_query::QueryError>(())
/// ```
pub fn run_instant(
    source: &dyn SeriesSource,
    scope: &Scope,
    expression: &str,
    time_ms: i64,
    options: &EngineOptions,
    budget: &Budget,
) -> Result<Answer, QueryError> {
    let expr = crate::parse(expression, options)?;
    let times = QueryTimes { steps: Steps::at(time_ms), is_range: false };
    let evaluator = Evaluator {
        source,
        scope,
        budget,
        options,
        times,
        notes: Notes::new(expression),
        finds_resets: AtomicBool::new(false),
    };
    let value = evaluator.instant(&expr)?;
    Ok(Answer { value, annotations: evaluator.notes.finish() })
}

/// Evaluates an expression at each of `steps`.
///
/// The answer is a matrix sorted by labels; a scalar becomes one series without labels.
///
/// # Errors
/// As [`run_instant`]; also if the expression is a range vector or a text, or if there are more steps than
/// `query.max_steps`.
pub fn run_range(
    source: &dyn SeriesSource,
    scope: &Scope,
    expression: &str,
    steps: Steps,
    options: &EngineOptions,
    budget: &Budget,
) -> Result<Answer, QueryError> {
    let expr = crate::parse(expression, options)?;
    if steps.count() > options.steps_max {
        return Err(EngineOptions::limit_error("query.max_steps", options.steps_max));
    }
    let type_name = match type_of(&expr) {
        ValueType::Matrix => Some("range vector"),
        ValueType::String => Some("string"),
        ValueType::Scalar | ValueType::Vector => None,
    };
    if let Some(name) = type_name {
        let message = format!("invalid expression type {name:?} for range query, must be Scalar or instant Vector");
        return Err(QueryError { kind: ErrorKind::Parse, message, span: Some(expr.span) });
    }
    let times = QueryTimes { steps, is_range: true };
    let evaluator = Evaluator {
        source,
        scope,
        budget,
        options,
        times,
        notes: Notes::new(expression),
        finds_resets: AtomicBool::new(false),
    };
    let value = Value::Matrix(evaluator.range(&expr)?);
    Ok(Answer { value, annotations: evaluator.notes.finish() })
}

/// One evaluation: what it reads from, what it may use, and what it has to say.
pub(crate) struct Evaluator<'q> {
    source: &'q dyn SeriesSource,
    scope: &'q Scope,
    pub(crate) budget: &'q Budget,
    pub(crate) options: &'q EngineOptions,
    times: QueryTimes,
    pub(crate) notes: Notes<'q>,
    /// True while what is evaluated is asked for counts and sums of histograms only; then selectors find out about
    /// counter resets, as Prometheus does there.
    finds_resets: AtomicBool,
}

impl<'q> Evaluator<'q> {
    fn instant(&self, expr: &Expr) -> Result<Value, QueryError> {
        let grid = Grid::new(self.times.steps);
        let expr = plan::strip(expr);
        match (&expr.node, type_of(expr)) {
            (Node::MatrixSelector { selector, range }, _) => {
                Ok(Value::Matrix(self.raw_samples(selector, range, expr.span, grid)?))
            }
            (Node::Subquery { expr, range, step, modifiers }, _) => {
                Ok(Value::Matrix(self.subquery_points(expr, range, step.as_ref(), modifiers, grid)?))
            }
            (Node::String(text), _) => Ok(Value::String(text.clone())),
            (_, ValueType::Scalar) => Ok(Value::Scalar(self.scalar(expr, grid)?.get(0))),
            _ => {
                let mut series = self.finished(self.collect(expr, grid)?)?;
                if !plan::is_ordered(expr) {
                    series.sort_by(|a, b| a.labels.cmp(&b.labels));
                }
                let element = |s: Series<'_>| {
                    let histogram = || s.column.histogram(0).cloned().map(SampleValue::Histogram);
                    let value = s.column.get(0).map(SampleValue::Float).or_else(histogram)?;
                    Some(VectorElement { value, labels: s.labels })
                };
                Ok(Value::Vector(series.into_iter().filter_map(element).collect()))
            }
        }
    }

    fn range(&self, expr: &Expr) -> Result<Vec<SeriesPoints>, QueryError> {
        let grid = Grid::new(self.times.steps);
        let series = match type_of(expr) {
            ValueType::Scalar if grid.len > 0 => {
                let scalars = self.scalar(expr, grid)?;
                vec![self.series_of(&scalars, grid)?]
            }
            _ => self.finished(self.collect(expr, grid)?)?,
        };
        Ok(self.matrix(series, grid))
    }

    /// The series as points at the times that have a value, sorted by labels.
    fn matrix(&self, series: Vec<Series<'q>>, grid: Grid) -> Vec<SeriesPoints> {
        let mut matrix: Vec<SeriesPoints> = series
            .into_iter()
            .map(|s| SeriesPoints { points: subquery::points_of(&s.column, grid.steps), labels: s.labels })
            .filter(|s| !s.points.is_empty())
            .collect();
        matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
        matrix
    }

    /// Evaluates an instant vector and gives its series to `sink` one by one; series without any value may be left
    /// out.
    pub(crate) fn stream(&self, expr: &Expr, grid: Grid, sink: &mut Sink<'_, 'q>) -> Result<(), QueryError> {
        self.budget.check()?;
        if grid.len == 0 {
            return Ok(());
        }
        if grid.len > 1 && plan::is_step_invariant(expr) {
            return self.stream_node(expr, grid.first(), &mut |series| sink(series.broadcast(grid.len)?));
        }
        if !self.options.delayed_name_removal && drops_names(expr) {
            // Names go at once here, so what collides must be found at once.
            let mut all = Vec::new();
            self.stream_node(expr, grid, &mut |series| {
                all.push(series);
                Ok(())
            })?;
            return merged(all)?.into_iter().try_for_each(sink);
        }
        self.stream_node(expr, grid, sink)
    }

    fn stream_node(&self, expr: &Expr, grid: Grid, sink: &mut Sink<'_, 'q>) -> Result<(), QueryError> {
        match &expr.node {
            Node::Paren(inner) => self.stream(inner, grid, sink),
            Node::Unary { negative: false, expr } => self.stream(expr, grid, sink),
            Node::Unary { negative: true, expr } => self.stream(expr, grid, &mut |mut series| {
                series.column.map(|value| -value);
                series.column.filter_map_histograms(|_, mut histogram| {
                    Arc::make_mut(&mut histogram).multiply(-1.0);
                    Some(histogram)
                });
                self.drop_name(&mut series);
                sink(series)
            }),
            Node::VectorSelector(selector) => self.stream_selector(selector, expr.span, Aspect::Value, grid, sink),
            Node::Binary(binary) => self.stream_binary(binary, expr.span, grid, sink),
            Node::Aggregation(aggregation) => self.stream_aggregation(aggregation, grid, sink),
            Node::Call { function, args } => self.stream_call(function, args, expr.span, grid, sink),
            Node::Number { .. } | Node::String(_) | Node::MatrixSelector { .. } | Node::Subquery { .. } => {
                Err(self.broken("an instant vector was expected"))
            }
        }
    }

    /// All series of an instant vector.
    pub(crate) fn collect(&self, expr: &Expr, grid: Grid) -> Result<Vec<Series<'q>>, QueryError> {
        let mut all = Vec::new();
        self.stream(expr, grid, &mut |series| {
            all.push(series);
            Ok(())
        })?;
        Ok(all)
    }

    /// Evaluates a scalar.
    pub(crate) fn scalar(&self, expr: &Expr, grid: Grid) -> Result<Scalars<'q>, QueryError> {
        self.budget.check()?;
        if grid.len > 1 && plan::is_step_invariant(expr) {
            return Ok(Scalars::Constant(self.scalar(expr, grid.first())?.get(0)));
        }
        match &expr.node {
            Node::Number { value, .. } => Ok(Scalars::Constant(*value)),
            Node::Paren(inner) => self.scalar(inner, grid),
            Node::Unary { negative, expr } => {
                let mut scalars = self.scalar(expr, grid)?;
                if *negative {
                    scalars.map(|value| -value);
                }
                Ok(scalars)
            }
            Node::Binary(binary) => self.scalar_binary(binary, grid),
            Node::Call { function, args } => self.scalar_call(function, args, grid),
            _ => Err(self.broken("a scalar was expected")),
        }
    }

    /// A scalar as a series without labels.
    fn series_of(&self, scalars: &Scalars<'q>, grid: Grid) -> Result<Series<'q>, QueryError> {
        let mut column = column::Column::absent(grid.len, self.budget)?;
        for i in 0..grid.len {
            if i % STEPS_PER_CHECK == 0 {
                self.budget.check()?;
            }
            column.set(i, scalars.get(i));
        }
        Series::new(Labels::empty(), column)
    }

    /// Notes that the values are no longer those of the metric.
    pub(crate) fn drop_name(&self, series: &mut Series<'q>) {
        if self.options.delayed_name_removal {
            series.drop_name = true;
        } else {
            series.labels = without_kind(&series.labels);
        }
    }

    /// The series as they leave the evaluation: dropped names are gone, series that are now the same are one.
    fn finished(&self, mut series: Vec<Series<'q>>) -> Result<Vec<Series<'q>>, QueryError> {
        for one in series.iter_mut().filter(|s| s.drop_name) {
            one.labels = without_kind(&one.labels);
            one.drop_name = false;
        }
        series.retain(|s| !s.column.is_vacant());
        merged(series)
    }

    /// An error of the engine itself: the type check should have refused the expression.
    pub(crate) fn broken(&self, what: &str) -> QueryError {
        failed(&format!("the expression cannot be evaluated: {what}"))
    }
}

/// An evaluation that cannot be done on this data.
pub(crate) fn failed(message: &str) -> QueryError {
    QueryError { kind: ErrorKind::Execution, message: message.to_owned(), span: None }
}

/// The labels without those that say what kind of values there are.
pub(crate) fn without_kind(labels: &Labels) -> Labels {
    labels.filtered(|name| !KIND_LABELS.contains(&name))
}

fn drops_names(expr: &Expr) -> bool {
    matches!(expr.node, Node::Call { .. } | Node::Binary(_) | Node::Unary { .. })
}

/// Makes one series of those with the same labels, in the order of their first.
///
/// # Errors
/// If two of them have a value at the same time.
pub(crate) fn merged(series: Vec<Series<'_>>) -> Result<Vec<Series<'_>>, QueryError> {
    let mut places: HashMap<Labels, usize> = HashMap::with_capacity(series.len());
    let mut merged: Vec<Series<'_>> = Vec::with_capacity(series.len());
    for one in series {
        let Some(first) = places.get(&one.labels).and_then(|place| merged.get_mut(*place)) else {
            places.insert(one.labels.clone(), merged.len());
            merged.push(one);
            continue;
        };
        for i in one.column.occupied() {
            if first.column.has(i) {
                return Err(failed("vector cannot contain metrics with the same labelset"));
            }
            first.column.copy_from(i, &one.column, i)?;
        }
    }
    Ok(merged)
}
