//! Subqueries: their windows over the outer grid and the finer grid on which the inner expression is evaluated.

use model::{SampleColumns, Steps};

use crate::answer::SeriesPoints;
use crate::ast::{DurationExpr, Expr, Modifiers};
use crate::error::QueryError;
use crate::eval::column::Column;
use crate::eval::window::{RangeSamples, Windows};
use crate::eval::{Evaluator, Grid, STEPS_PER_CHECK};

impl<'q> Evaluator<'q> {
    /// The windows of a subquery over the outer grid.
    pub(crate) fn subquery_windows(
        &self,
        range: &DurationExpr,
        modifiers: &Modifiers,
        grid: Grid,
    ) -> Result<Windows, QueryError> {
        Ok(Windows {
            steps: grid.steps,
            pinned_ms: self.times.pinned_ms(modifiers),
            offset_ms: self.times.offset_ms(modifiers)?,
            range_ms: self.times.positive_ms(range)?,
        })
    }

    /// The grid that covers all windows: multiples of the step, whatever the windows' edges are.
    pub(crate) fn subquery_grid(&self, windows: &Windows, step: Option<&DurationExpr>) -> Result<Grid, QueryError> {
        let step_ms = match step {
            Some(step) => self.times.positive_ms(step)?,
            None => self.options.default_subquery_step_ms.max(1),
        };
        Ok(aligned(windows.start_ms(0), windows.union().end_ms, step_ms))
    }

    /// The values of one inner series as samples, which count as read.
    pub(crate) fn subquery_samples(
        &self,
        column: &Column<'_>,
        inner: Grid,
        samples: &mut RangeSamples,
    ) -> Result<(), QueryError> {
        samples.clear();
        for part in (0..inner.len).step_by(STEPS_PER_CHECK) {
            let before = samples.values.len();
            for i in part..(part + STEPS_PER_CHECK).min(inner.len) {
                if let Some(value) = column.get(i) {
                    samples.times.push(inner.steps.time_ms(i));
                    samples.values.push(value);
                }
            }
            self.budget.add_samples((samples.values.len() - before) as u64)?;
        }
        for (i, histogram) in column.histograms() {
            samples.push_histogram(inner.steps.time_ms(i), histogram.clone());
        }
        self.budget.add_samples(samples.histograms.len() as u64)?;
        Ok(())
    }

    /// What the inner expression gives in the one window of an instant query of the subquery itself.
    pub(crate) fn subquery_points(
        &self,
        expr: &Expr,
        range: &DurationExpr,
        step: Option<&DurationExpr>,
        modifiers: &Modifiers,
        grid: Grid,
    ) -> Result<Vec<SeriesPoints>, QueryError> {
        let windows = self.subquery_windows(range, modifiers, grid)?;
        let inner = self.subquery_grid(&windows, step)?;
        let mut series = Vec::new();
        self.stream(expr, inner, &mut |one| {
            series.push(one);
            Ok(())
        })?;
        Ok(self.matrix(self.finished(series)?, inner))
    }
}

/// The multiples of `step_ms` in the range that is open on the left.
fn aligned(after_ms: i64, end_ms: i64, step_ms: i64) -> Grid {
    let start_ms = after_ms.div_euclid(step_ms).saturating_add(1).saturating_mul(step_ms);
    Grid::new(Steps { start_ms, end_ms, step_ms })
}

/// Times and values of a column as points.
pub(crate) fn points_of(column: &super::column::Column<'_>, steps: Steps) -> SampleColumns {
    let mut points = SampleColumns::default();
    for (i, value) in column.present() {
        points.push(steps.time_ms(i), value);
    }
    points.histograms.extend(column.histograms().map(|(i, histogram)| (steps.time_ms(i), histogram.clone())));
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_aligned_to_the_step() {
        let starts = |after, step| aligned(after, 100, step).steps.start_ms;
        assert_eq!([starts(-1, 10), starts(0, 10), starts(9, 10), starts(10, 10)], [0, 10, 10, 20]);
        assert_eq!([starts(-7, 5), starts(-10, 5), starts(-11, 5)], [-5, -5, -10]);
        assert_eq!(aligned(3, 4, 10).len, 0);
    }
}
