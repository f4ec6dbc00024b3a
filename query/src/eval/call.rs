//! Function calls: finds out which family a function belongs to and evaluates its arguments.

use std::sync::atomic::Ordering;

use model::Histogram;

use crate::ast::{Expr, Node};
use crate::error::QueryError;
use crate::eval::column::{Column, Scalars, Series};
use crate::eval::selector::Aspect;
use crate::eval::{Evaluator, Grid, STEPS_PER_CHECK, Sink, failed, merged};
use crate::functions::{label, math, rollup, sort, time};
use crate::plan::strip;
use crate::span::Span;

impl<'q> Evaluator<'q> {
    /// Evaluates a function that gives an instant vector.
    pub(crate) fn stream_call(
        &self,
        function: &str,
        args: &[Expr],
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        if let Some(rollup) = rollup::find(function) {
            return match function {
                "absent_over_time" => self.absent_over_time(rollup, args, grid, sink),
                _ => self.stream_rollup(rollup, args, grid, sink),
            };
        }
        if let Some(change) = math::find(function) {
            return self.elementwise(self.arg(args, 0)?, grid, sink, |_, value| Some(change(value)));
        }
        if let Some(part) = time::find(function) {
            return match args.first() {
                Some(arg) => self.elementwise(arg, grid, sink, |_, value| Some(part(value))),
                None => {
                    let times = self.step_seconds(grid)?;
                    let mut series = self.series_of(&times, grid)?;
                    series.column.map(part);
                    sink(series)
                }
            };
        }
        match function {
            "clamp" | "clamp_min" | "clamp_max" => self.clamp(function, args, grid, sink),
            "round" => {
                let nearest = args.get(1).map_or(Ok(Scalars::Constant(1.0)), |arg| self.scalar(arg, grid))?;
                self.elementwise(self.arg(args, 0)?, grid, sink, |i, value| Some(math::round(value, nearest.get(i))))
            }
            "timestamp" => self.timestamp(self.arg(args, 0)?, grid, sink),
            "vector" => sink(self.series_of(&self.scalar(self.arg(args, 0)?, grid)?, grid)?),
            "absent" => self.absent(self.arg(args, 0)?, grid, sink),
            "label_replace" => self.label_replace(args, grid, sink),
            "label_join" => self.label_join(args, grid, sink),
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => {
                self.sort(function, args, span, grid, sink)
            }
            "histogram_quantile" => self.histogram_quantile(args, grid, sink),
            "histogram_quantiles" => self.histogram_quantiles(args, grid, sink),
            "histogram_fraction" => self.histogram_fraction(args, grid, sink),
            "histogram_count" => self.of_histograms(args, true, grid, sink, |h| h.count),
            "histogram_sum" => self.of_histograms(args, true, grid, sink, |h| h.sum),
            "histogram_avg" => self.of_histograms(args, true, grid, sink, Histogram::mean),
            "histogram_stddev" => self.of_histograms(args, false, grid, sink, |h| h.variance().sqrt()),
            "histogram_stdvar" => self.of_histograms(args, false, grid, sink, Histogram::variance),
            "info" => self.info(args, grid, sink),
            _ => Err(self.broken(&format!("function {function}"))),
        }
    }

    /// Evaluates a function that gives a scalar.
    pub(crate) fn scalar_call(&self, function: &str, args: &[Expr], grid: Grid) -> Result<Scalars<'q>, QueryError> {
        let seconds = |ms: i64| Ok(Scalars::Constant(ms as f64 / 1000.0));
        match function {
            "time" => self.step_seconds(grid),
            "pi" => Ok(Scalars::Constant(std::f64::consts::PI)),
            "start" => seconds(self.times.steps.start_ms),
            "end" => seconds(self.times.steps.end_ms),
            "step" => seconds(self.times.step_ms()),
            "range" => seconds(self.times.range_ms()),
            "scalar" => self.scalar_of_vector(self.arg(args, 0)?, grid),
            "min_of" | "max_of" => {
                let join = if function == "min_of" { math::smaller } else { math::larger };
                let first = self.scalar(self.arg(args, 0)?, grid)?;
                args.iter()
                    .skip(1)
                    .try_fold(first, |so_far, arg| self.combine(&so_far, &self.scalar(arg, grid)?, grid, join))
            }
            _ => Err(self.broken(&format!("function {function}"))),
        }
    }

    /// Argument `i`.
    pub(crate) fn arg<'a>(&self, args: &'a [Expr], i: usize) -> Result<&'a Expr, QueryError> {
        args.get(i).ok_or_else(|| self.broken("an argument is missing"))
    }

    /// The text of argument `i`.
    pub(crate) fn text<'a>(&self, args: &'a [Expr], i: usize) -> Result<&'a str, QueryError> {
        match &strip(self.arg(args, i)?).node {
            Node::String(text) => Ok(text),
            _ => Err(self.broken("a text was expected")),
        }
    }

    /// The evaluation times in seconds.
    fn step_seconds(&self, grid: Grid) -> Result<Scalars<'q>, QueryError> {
        let mut column = Column::absent(grid.len, self.budget)?;
        for (i, time_ms) in grid.steps.iter().enumerate() {
            if i % STEPS_PER_CHECK == 0 {
                self.budget.check()?;
            }
            column.set(i, time_ms as f64 / 1000.0);
        }
        Ok(Scalars::Column(column))
    }

    /// A function of each float and its step; values for which it gives none go, and so do histograms.
    fn elementwise(
        &self,
        arg: &Expr,
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
        change: impl Fn(usize, f64) -> Option<f64>,
    ) -> Result<(), QueryError> {
        self.stream(arg, grid, &mut |mut series| {
            series.column.filter_map(&change);
            series.column.clear_histograms();
            self.drop_name(&mut series);
            sink(series)
        })
    }

    /// A function of each histogram; floats go. `of_totals` if it looks at count and sum only.
    fn of_histograms(
        &self,
        args: &[Expr],
        of_totals: bool,
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
        value: impl Fn(&Histogram) -> f64,
    ) -> Result<(), QueryError> {
        let arg = self.arg(args, 0)?;
        let mut give = |series: Series<'q>| {
            if !series.column.has_histograms() {
                return Ok(());
            }
            let mut column = Column::absent(grid.len, self.budget)?;
            series.column.histograms().for_each(|(i, histogram)| column.set(i, value(histogram)));
            let mut series = series.with_column(column)?;
            self.drop_name(&mut series);
            sink(series)
        };
        self.finding_resets(of_totals, || self.stream(arg, grid, &mut give))
    }

    /// Runs `then` with or without selectors that find out about counter resets.
    pub(crate) fn finding_resets<R>(&self, finds: bool, then: impl FnOnce() -> R) -> R {
        let before = self.finds_resets.swap(finds, Ordering::Relaxed);
        let result = then();
        self.finds_resets.store(before, Ordering::Relaxed);
        result
    }

    fn clamp(&self, function: &str, args: &[Expr], grid: Grid, sink: &mut Sink<'_, 'q>) -> Result<(), QueryError> {
        let bound = |i| self.scalar(self.arg(args, i)?, grid);
        let (min, max) = match function {
            "clamp" => (bound(1)?, bound(2)?),
            "clamp_min" => (bound(1)?, Scalars::Constant(f64::INFINITY)),
            _ => (Scalars::Constant(f64::NEG_INFINITY), bound(1)?),
        };
        self.elementwise(self.arg(args, 0)?, grid, sink, |i, value| math::clamp(value, min.get(i), max.get(i)))
    }

    /// The time of each sample of a selector; of anything else the evaluation time.
    fn timestamp(&self, arg: &Expr, grid: Grid, sink: &mut Sink<'_, 'q>) -> Result<(), QueryError> {
        if let Node::VectorSelector(selector) = &strip(arg).node {
            return self.stream_selector(selector, arg.span, Aspect::Time, grid, &mut |mut series| {
                self.drop_name(&mut series);
                sink(series)
            });
        }
        let seconds = |i| grid.steps.time_ms(i) as f64 / 1000.0;
        self.stream(arg, grid, &mut |mut series| {
            let places: Vec<usize> = series.column.histograms().map(|(i, _)| i).collect();
            series.column.filter_map(|i, _| Some(seconds(i)));
            places.into_iter().for_each(|i| series.column.set(i, seconds(i)));
            self.drop_name(&mut series);
            sink(series)
        })
    }

    /// The value of the only element; NaN where there is none or more than one.
    fn scalar_of_vector(&self, arg: &Expr, grid: Grid) -> Result<Scalars<'q>, QueryError> {
        let mut column = Column::constant(grid.len, f64::NAN, self.budget)?;
        let mut counts = Column::constant(grid.len, 0.0, self.budget)?;
        self.stream(arg, grid, &mut |series| {
            for (i, value) in series.column.present() {
                let count = counts.get(i).unwrap_or(0.0);
                column.set(i, if count == 0.0 { value } else { f64::NAN });
                counts.set(i, count + 1.0);
            }
            Ok(())
        })?;
        Ok(Scalars::Column(column))
    }

    fn label_replace(&self, args: &[Expr], grid: Grid, sink: &mut Sink<'_, 'q>) -> Result<(), QueryError> {
        let text = |i| self.text(args, i);
        let replace = label::Replace::new(text(1)?, text(2)?, text(3)?, text(4)?)?;
        self.relabel(self.arg(args, 0)?, replace.target, grid, sink, |series| {
            match replace.apply(&series.labels).map_err(|error| failed(&error.to_string()))? {
                Some(labels) => series.labels = labels,
                None => return Ok(false),
            }
            Ok(true)
        })
    }

    fn label_join(&self, args: &[Expr], grid: Grid, sink: &mut Sink<'_, 'q>) -> Result<(), QueryError> {
        let sources = (3..args.len()).map(|i| self.text(args, i)).collect::<Result<_, _>>()?;
        let join = label::Join::new(self.text(args, 1)?, self.text(args, 2)?, sources)?;
        self.relabel(self.arg(args, 0)?, join.target, grid, sink, |series| {
            series.labels = join.apply(&series.labels).map_err(|error| failed(&error.to_string()))?;
            Ok(true)
        })
    }

    /// Changes labels; series that become the same are one if they take turns. A name that was written stays.
    fn relabel(
        &self,
        arg: &Expr,
        target: &str,
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
        change: impl Fn(&mut Series<'q>) -> Result<bool, QueryError>,
    ) -> Result<(), QueryError> {
        let mut all = self.collect(arg, grid)?;
        for series in &mut all {
            if change(series)? && target == model::METRIC_NAME {
                series.drop_name = false;
            }
        }
        merged(all)?.into_iter().try_for_each(sink)
    }

    fn sort(
        &self,
        function: &str,
        args: &[Expr],
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        let names = (1..args.len()).map(|i| self.text(args, i)).collect::<Result<Vec<_>, _>>()?;
        let by_value = matches!(function, "sort" | "sort_desc");
        let mut all = Vec::new();
        self.stream(self.arg(args, 0)?, grid, &mut |mut series| {
            if by_value {
                series.column.clear_histograms();
            }
            match self.times.is_range {
                true => sink(series)?,
                false if series.column.is_vacant() => {}
                false => all.push(series),
            }
            Ok(())
        })?;
        if self.times.is_range {
            self.notes.sort_in_range_query(span);
            return Ok(());
        }
        let value = |series: &Series<'_>| series.column.get(0).unwrap_or(f64::NAN);
        all.sort_by(|a, b| match function {
            "sort" => sort::rising(value(a), value(b)),
            "sort_desc" => sort::falling(value(a), value(b)),
            "sort_by_label" => sort::by_labels(&a.labels, &b.labels, &names),
            _ => sort::by_labels(&b.labels, &a.labels, &names),
        });
        all.into_iter().try_for_each(sink)
    }
}
