//! Range functions over selectors and subqueries: one series after the other, all its windows at once.

use std::ops::Range;
use std::sync::atomic::Ordering;

use model::Labels;

use crate::ast::{Expr, Node};
use crate::error::{ErrorKind, QueryError};
use crate::eval::column::{Column, Scalars};
use crate::eval::notes::Notes;
use crate::eval::parallel::{Reading, Scan, Scratch};
use crate::eval::selector::find_resets;
use crate::eval::window::{RangeSamples, Windows};
use crate::eval::{Evaluator, Grid, Sink};
use crate::functions::partial;
use crate::functions::rollup::{Histograms, Met, Rolling, Rollup};
use crate::plan::strip;
use crate::span::Span;

/// A range function with its arguments.
struct RollupCall<'c> {
    rollup: &'static Rollup,
    params: Vec<Scalars<'c>>,
    /// Of the first argument, where annotations point to.
    span: Span,
}

/// The range argument of a range function.
pub(crate) fn range_arg(args: &[Expr]) -> Option<&Expr> {
    let is_range = |arg: &&Expr| matches!(arg.node, Node::MatrixSelector { .. } | Node::Subquery { .. });
    args.iter().map(strip).rfind(is_range)
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
        let range = range_arg(args).ok_or_else(|| self.broken("a range function without a range"))?;
        let mut names = CounterNames::new(rollup, range_span(args, range));
        let mut finish = |mut series: super::column::Series<'q>| {
            names.meet(series.labels.metric_name(), &self.notes);
            if !rollup.keeps_name {
                self.drop_name(&mut series);
            }
            sink(series)
        };
        match &range.node {
            Node::Subquery { expr, range: length, step, modifiers } => {
                let call = self.rollup_call(rollup, args, range, grid)?;
                let windows = self.subquery_windows(length, modifiers, grid)?;
                let inner = self.subquery_grid(&windows, step.as_ref())?;
                let mut samples = RangeSamples::default();
                // A step of a subquery can pass over samples, so their neighbours say nothing of it.
                self.finding_resets(false, || {
                    self.stream(expr, inner, &mut |mut series| {
                        self.subquery_samples(&series.column, inner, &mut samples)?;
                        let labels = || Ok(series.labels.clone());
                        let Some(column) = self.roll(&call, &labels, &samples, &windows)? else { return Ok(()) };
                        series = series.with_column(column)?;
                        finish(series)
                    })
                })
            }
            _ => self.scan_rollup(rollup, args, grid, |scan| self.each_series(scan, &mut finish)),
        }
    }

    /// Finds the series of a range function's selector and says `then` how to read them.
    pub(crate) fn scan_rollup<R>(
        &self,
        rollup: &'static Rollup,
        args: &[Expr],
        grid: Grid,
        then: impl FnOnce(&Scan<'_, 'q>) -> Result<R, QueryError>,
    ) -> Result<R, QueryError> {
        let range = range_arg(args).ok_or_else(|| self.broken("a range function without a range"))?;
        let Node::MatrixSelector { selector, range: length } = &range.node else {
            return Err(self.broken("a range function over what is no range"));
        };
        let call = self.rollup_call(rollup, args, range, grid)?;
        let windows = self.windows(selector, self.times.positive_ms(length)?, grid.steps)?;
        let set = self.select(selector, &windows)?;
        let span = range_span(args, range);
        let from_runs = partial::from_runs(rollup.name);
        let reading = from_runs.map_or(Reading::Samples, |f| Reading::Pieces(f.want, partial::cuts(&windows)));
        let finds_resets = self.finds_resets.load(Ordering::Relaxed);
        let transform = |i: usize, scratch: &mut Scratch<'q>| {
            if scratch.read.has_split_buckets {
                self.notes.split_buckets(span, &self.coarse(set.as_ref(), i, &windows)?);
            }
            if let Some(from_runs) = from_runs.filter(|_| !scratch.read.summaries.is_empty()) {
                let mut column = Column::absent(windows.steps.count(), self.budget)?;
                let is_exact = partial::roll(from_runs, &scratch.read, &windows, &mut column);
                // Where samples are gone, the last ones of buckets would be further off than any order of additions.
                if is_exact || !self.coarse(set.as_ref(), i, &windows)?.is_empty() {
                    return Ok((!column.is_vacant()).then_some(column));
                }
                set.samples(i, windows.union(), self.budget, &mut scratch.read.samples)?;
            }
            let coarse = self.coarse(set.as_ref(), i, &windows)?;
            if !coarse.is_empty() {
                // What is known of buckets beyond their last samples does not answer this function, or not these values.
                self.notes.samples_gone(span, rollup.name, &coarse);
            }
            if finds_resets {
                find_resets(&mut scratch.read.samples.histograms);
            }
            scratch.samples.refill(&mut scratch.read.samples);
            self.roll(&call, &|| Ok(set.labels(i)?), &scratch.samples, &windows)
        };
        then(&Scan { set: set.as_ref(), range: windows.union(), reading, transform: &transform })
    }

    fn rollup_call<'c>(
        &'c self,
        rollup: &'static Rollup,
        args: &[Expr],
        range: &Expr,
        grid: Grid,
    ) -> Result<RollupCall<'c>, QueryError>
    where
        'q: 'c,
    {
        let params = args.iter().map(strip).filter(|arg| !std::ptr::eq(*arg, range));
        let params = params.map(|arg| self.scalar(arg, grid)).collect::<Result<_, _>>()?;
        Ok(RollupCall { rollup, params, span: range_span(args, range) })
    }

    /// One series: the function over all its windows.
    fn roll(
        &self,
        call: &RollupCall<'_>,
        labels: &dyn Fn() -> Result<Labels, QueryError>,
        samples: &RangeSamples,
        windows: &Windows,
    ) -> Result<Option<Column<'q>>, QueryError> {
        if samples.values.is_empty()
            && (samples.histogram_times.is_empty()
                || (call.rollup.histograms != Histograms::See && call.rollup.of_histograms.is_none()))
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
        let met = rolling.run(call.rollup, &mut column).map_err(|error| match error.kind {
            ErrorKind::Execution => QueryError { span: Some(call.span), ..error },
            _ => error,
        })?;
        if met != Met::default() {
            self.note_met(met, call.span, labels()?.metric_name());
        }
        if call.rollup.name == "quantile_over_time" {
            self.note_quantiles(call, &bounds);
        }
        Ok((!column.is_vacant()).then_some(column))
    }

    fn note_met(&self, met: Met, span: Span, name: &str) {
        let notes = &self.notes;
        if met.mixed {
            notes.mixed_range(span, name);
        }
        if met.left_out {
            notes.ignored_in_range(span, name);
        }
        if met.not_counter {
            notes.not_counter(span, name);
        }
        if met.not_gauge {
            notes.not_gauge(span, name);
        }
        if met.mixed_schemas {
            notes.mixed_schemas(span, name);
        }
        if met.resets_collide {
            notes.resets_collide(span, "aggregation");
        }
        let works = [
            (met.reconciled_in_subtraction, "subtraction"),
            (met.reconciled_in_addition, "addition"),
            (met.reconciled_in_aggregation, "aggregation"),
        ];
        works.iter().filter(|(met, _)| *met).for_each(|(_, work)| notes.bounds_reconciled(span, work));
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

/// Where annotations about the range point to: at the first argument.
fn range_span(args: &[Expr], range: &Expr) -> Span {
    args.first().map(strip).unwrap_or(range).span
}

/// Notes names of metrics whose `rate` is asked for and that are not named like counters.
pub(crate) struct CounterNames {
    is_for_counters: bool,
    span: Span,
    last: String,
}

impl CounterNames {
    fn new(rollup: &Rollup, span: Span) -> Self {
        CounterNames { is_for_counters: matches!(rollup.name, "rate" | "increase"), span, last: String::new() }
    }

    /// For a call with these arguments.
    pub(crate) fn of_call(rollup: &Rollup, args: &[Expr]) -> Option<Self> {
        range_arg(args).map(|range| CounterNames::new(rollup, range_span(args, range)))
    }

    /// True if names matter.
    pub(crate) fn matter(&self) -> bool {
        self.is_for_counters
    }

    /// A metric of this name has a value.
    pub(crate) fn meet(&mut self, name: &str, notes: &Notes<'_>) {
        if self.is_for_counters && name != self.last {
            self.last.clear();
            self.last.push_str(name);
            if !is_counter_name(name) {
                notes.possible_non_counter(self.span, name);
            }
        }
    }
}

fn is_counter_name(name: &str) -> bool {
    name.is_empty() || ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix))
}
