//! `absent` and `absent_over_time`: one series, with labels taken from the selector, at the steps without any value.

use model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp};

use crate::ast::{Expr, Node};
use crate::error::QueryError;
use crate::eval::column::{Column, Series};
use crate::eval::{Evaluator, Grid, Sink, failed};
use crate::functions::rollup::Rollup;
use crate::plan::strip;

impl<'q> Evaluator<'q> {
    /// `absent(vector)`.
    pub(crate) fn absent(&self, arg: &Expr, grid: Grid, sink: &mut Sink<'_, 'q>) -> Result<(), QueryError> {
        let mut column = Column::constant(grid.len, 1.0, self.budget)?;
        self.stream(arg, grid, &mut |series| {
            cut(&mut column, &series);
            Ok(())
        })?;
        self.give_absent(arg, column, sink)
    }

    /// `absent_over_time(range)`.
    pub(crate) fn absent_over_time(
        &self,
        rollup: &'static Rollup,
        args: &[Expr],
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        let mut column = Column::constant(grid.len, 1.0, self.budget)?;
        self.stream_rollup(rollup, args, grid, &mut |series| {
            cut(&mut column, &series);
            Ok(())
        })?;
        let arg = args.first().ok_or_else(|| self.broken("absent_over_time without an argument"))?;
        self.give_absent(arg, column, sink)
    }

    fn give_absent(&self, arg: &Expr, column: Column<'q>, sink: &mut Sink<'_, 'q>) -> Result<(), QueryError> {
        if column.is_vacant() {
            return Ok(());
        }
        let mut series = Series::new(selector_labels(arg)?, column)?;
        self.drop_name(&mut series);
        sink(series)
    }
}

/// Takes away the places at which the series has a value.
fn cut(column: &mut Column<'_>, series: &Series<'_>) {
    for i in series.column.occupied() {
        column.clear(i);
    }
}

/// The labels that a selector fixes with `=`, each named once and by no other matcher before or after.
fn selector_labels(arg: &Expr) -> Result<Labels, QueryError> {
    let matchers = match &strip(arg).node {
        Node::VectorSelector(selector) | Node::MatrixSelector { selector, .. } => selector.matchers.as_slice(),
        _ => &[],
    };
    let mut builder = LabelsBuilder::default();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|m| m.name() != METRIC_NAME) {
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            builder.set(matcher.name(), matcher.value());
            seen.push(matcher.name());
        } else {
            builder.remove(matcher.name());
        }
    }
    builder.build().map_err(|error| failed(&error.to_string()))
}
