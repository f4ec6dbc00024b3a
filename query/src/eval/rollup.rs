//! Range functions over selectors and subqueries: one series after the other, all its windows at once.

use std::ops::Range;

use model::Labels;

use crate::ast::{Expr, Node};
use crate::error::{ErrorKind, QueryError};
use crate::eval::column::{Column, Scalars};
use crate::eval::parallel::Scratch;
use crate::eval::window::{RangeSamples, Windows};
use crate::eval::{Evaluator, Grid, Sink};
use crate::functions::rollup::{Histograms, Rolling, Rollup};
use crate::plan::strip;
use crate::span::Span;

/// A range function with its arguments.
struct RollupCall<'c> {
    rollup: &'static Rollup,
    params: Vec<Scalars<'c>>,
    /// Of the first argument, where annotations point to.
    span: Span,
}

impl<'q> Evaluator<'q> {
    /// Evaluates a range function.
    pub(crate) fn stream_rollup(
        &self,
        rollup: &'static Rollup,
        args: &[Expr],
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        let is_range = |arg: &Expr| matches!(arg.node, Node::MatrixSelector { .. } | Node::Subquery { .. });
        let (mut range, mut params) = (None, Vec::new());
        for arg in args.iter().map(strip) {
            if is_range(arg) { range = Some(arg) } else { params.push(self.scalar(arg, grid)?) }
        }
        let range = range.ok_or_else(|| self.broken("a range function without a range"))?;
        let span = args.first().map(strip).unwrap_or(range).span;
        let call = RollupCall { rollup, params, span };
        let mut last_name = String::new();
        let mut finish = |mut series: super::column::Series<'q>| {
            if matches!(rollup.name, "rate" | "increase") {
                let name = series.labels.metric_name();
                if name != last_name {
                    last_name.clear();
                    last_name.push_str(name);
                    if !is_counter_name(name) {
                        self.notes.possible_non_counter(span, name);
                    }
                }
            }
            if !rollup.keeps_name {
                self.drop_name(&mut series);
            }
            sink(series)
        };
        match &range.node {
            Node::MatrixSelector { selector, range } => {
                let windows = self.windows(selector, self.times.positive_ms(range)?, grid.steps)?;
                let set = self.select(selector, &windows)?;
                let transform = |labels: &Labels, scratch: &mut Scratch<'q>| {
                    scratch.samples.refill(&scratch.read);
                    self.roll(&call, labels, &scratch.samples, &windows)
                };
                self.each_series(set.as_ref(), windows.union(), &transform, &mut finish)
            }
            Node::Subquery { expr, range, step, modifiers } => {
                let windows = self.subquery_windows(range, modifiers, grid)?;
                let inner = self.subquery_grid(&windows, step.as_ref())?;
                let mut samples = RangeSamples::default();
                self.stream(expr, inner, &mut |mut series| {
                    samples.times.clear();
                    samples.values.clear();
                    for (i, value) in series.column.present() {
                        samples.times.push(inner.steps.time_ms(i));
                        samples.values.push(value);
                    }
                    let Some(column) = self.roll(&call, &series.labels, &samples, &windows)? else { return Ok(()) };
                    series = series.with_column(column)?;
                    finish(series)
                })
            }
            _ => Err(self.broken("a range function over what is no range")),
        }
    }

    /// One series: the function over all its windows.
    fn roll(
        &self,
        call: &RollupCall<'_>,
        labels: &Labels,
        samples: &RangeSamples,
        windows: &Windows,
    ) -> Result<Option<Column<'q>>, QueryError> {
        if samples.values.is_empty()
            && (samples.histogram_times.is_empty() || call.rollup.histograms != Histograms::See)
        {
            return Ok(None);
        }
        let bounds: Vec<Range<usize>> = windows.slices(&samples.times).collect();
        let histogram_bounds: Vec<Range<usize>> = if samples.histogram_times.is_empty() {
            Vec::new()
        } else {
            windows.slices(&samples.histogram_times).collect()
        };
        let rolling =
            Rolling { samples, bounds: &bounds, histogram_bounds: &histogram_bounds, windows, params: &call.params };
        let mut column = Column::absent(bounds.len(), self.budget)?;
        let met = rolling.run(call.rollup, &mut column).map_err(|message| QueryError {
            kind: ErrorKind::Execution,
            message,
            span: Some(call.span),
        })?;
        if met.mixed {
            self.notes.mixed_range(call.span, labels.metric_name());
        }
        if met.left_out {
            self.notes.ignored_in_range(call.span, labels.metric_name());
        }
        if call.rollup.name == "quantile_over_time" {
            self.note_quantiles(call, &bounds);
        }
        Ok((!column.is_vacant()).then_some(column))
    }

    fn note_quantiles(&self, call: &RollupCall<'_>, bounds: &[Range<usize>]) {
        let Some(phi) = call.params.first() else { return };
        for (i, _) in bounds.iter().enumerate().filter(|(_, b)| !b.is_empty()) {
            self.notes.invalid_quantile(call.span, phi.get(i));
            if matches!(phi, Scalars::Constant(_)) {
                return;
            }
        }
    }
}

fn is_counter_name(name: &str) -> bool {
    name.is_empty() || ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix))
}
