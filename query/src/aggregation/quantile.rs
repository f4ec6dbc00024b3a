//! `quantile`: needs all values of a group at a step, so it holds its input.

use crate::aggregation::{Groups, Key, extremes};
use crate::ast::Aggregation;
use crate::error::QueryError;
use crate::eval::column::{Column, Series};
use crate::eval::{Evaluator, Grid, Sink};
use crate::numeric::{nan_first, quantile_of_sorted};
use crate::plan::strip;

impl<'q> Evaluator<'q> {
    /// `quantile(φ, vector)`.
    pub(super) fn quantile(
        &self,
        aggregation: &Aggregation,
        key: Key<'_>,
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        let param = self.param(aggregation)?;
        let phi = self.scalar(param, grid)?;
        let (min, max) = extremes(&phi, grid.len);
        self.notes.invalid_quantile(param.span, min);
        self.notes.invalid_quantile(param.span, max);

        let mut groups: Groups<Vec<Column<'q>>> = Groups::new();
        self.stream(strip(&aggregation.expr), grid, &mut |series| {
            if series.column.has_histograms() {
                self.notes.ignored_in_aggregation(aggregation.expr.span, aggregation.op.as_str());
            }
            if series.column.has_no_floats() {
                return Ok(());
            }
            let group = groups.enter(key.of(&series.labels), || Ok(Vec::new()))?;
            group.drop_name |= series.drop_name;
            group.state.push(series.column);
            Ok(())
        })?;
        let mut values = Vec::new();
        for group in groups.list {
            self.budget.check()?;
            let mut column = Column::absent(grid.len, self.budget)?;
            for i in 0..grid.len {
                values.clear();
                values.extend(group.state.iter().filter_map(|column| column.get(i)));
                if !values.is_empty() {
                    values.sort_unstable_by(nan_first);
                    column.set(i, quantile_of_sorted(phi.get(i), &values));
                }
            }
            let mut series = Series::new(group.labels, column)?;
            series.drop_name = group.drop_name;
            sink(series)?;
        }
        Ok(())
    }
}
