//! Aggregations that keep a few numbers per group and step: `sum`, `avg`, `count`, `min`, `max`, `group`, `stddev`,
//! `stdvar`. Series are folded in as they come, so memory is O(groups × steps).

use crate::aggregation::{Groups, Key};
use crate::ast::Expr;
use crate::error::QueryError;
use crate::eval::column::{Charge, Column, Series};
use crate::eval::{Evaluator, Grid, Sink};
use crate::numeric::{KahanSum, Mean, zero_or_nan};

/// What is kept of the values of one group at one step.
pub(super) trait Fold: Copy {
    /// After the first value.
    fn first(value: f64) -> Self;
    /// Adds a value.
    fn push(&mut self, value: f64);
    /// The result.
    fn value(&self) -> f64;
}

#[derive(Clone, Copy)]
pub(super) struct Sum(KahanSum);

impl Fold for Sum {
    fn first(value: f64) -> Self {
        Sum(KahanSum::of(value))
    }
    fn push(&mut self, value: f64) {
        self.0 = self.0.plus(value);
    }
    fn value(&self) -> f64 {
        self.0.total()
    }
}

#[derive(Clone, Copy)]
pub(super) struct Avg(Mean);

impl Fold for Avg {
    fn first(value: f64) -> Self {
        Avg(Mean::of(value))
    }
    fn push(&mut self, value: f64) {
        self.0.push(value);
    }
    fn value(&self) -> f64 {
        self.0.value()
    }
}

#[derive(Clone, Copy)]
pub(super) struct Count(u64);

impl Fold for Count {
    fn first(_: f64) -> Self {
        Count(1)
    }
    fn push(&mut self, _: f64) {
        self.0 += 1;
    }
    fn value(&self) -> f64 {
        self.0 as f64
    }
}

#[derive(Clone, Copy)]
pub(super) struct Min(f64);

impl Fold for Min {
    fn first(value: f64) -> Self {
        Min(value)
    }
    fn push(&mut self, value: f64) {
        if self.0 > value || self.0.is_nan() {
            self.0 = value;
        }
    }
    fn value(&self) -> f64 {
        self.0
    }
}

#[derive(Clone, Copy)]
pub(super) struct Max(f64);

impl Fold for Max {
    fn first(value: f64) -> Self {
        Max(value)
    }
    fn push(&mut self, value: f64) {
        if self.0 < value || self.0.is_nan() {
            self.0 = value;
        }
    }
    fn value(&self) -> f64 {
        self.0
    }
}

/// `group`: 1 where there is any element.
#[derive(Clone, Copy)]
pub(super) struct One;

impl Fold for One {
    fn first(_: f64) -> Self {
        One
    }
    fn push(&mut self, _: f64) {}
    fn value(&self) -> f64 {
        1.0
    }
}

/// The variance of a population by Welford's recurrence.
#[derive(Clone, Copy)]
pub(super) struct Variance {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Fold for Variance {
    fn first(value: f64) -> Self {
        Variance { count: 1.0, mean: value, squares: zero_or_nan(value) }
    }
    fn push(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }
    fn value(&self) -> f64 {
        self.squares / self.count
    }
}

impl<'q> Evaluator<'q> {
    /// Folds all series of an expression into groups and gives the groups' results.
    pub(super) fn fold<F: Fold>(
        &self,
        expr: &Expr,
        key: Key<'_>,
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        let mut charge = Charge::take(self.budget, 0)?;
        let mut groups: Groups<Vec<Option<F>>> = Groups::new();
        self.stream(expr, grid, &mut |series| {
            let group = groups.enter(key.of(&series.labels), || {
                charge.add(grid.len.saturating_mul(size_of::<Option<F>>()) + series.labels.heap_bytes())?;
                Ok(vec![None; grid.len])
            })?;
            let mut has_value = false;
            for (i, value) in series.column.present() {
                has_value = true;
                match group.state.get_mut(i) {
                    Some(Some(state)) => state.push(value),
                    Some(empty) => *empty = Some(F::first(value)),
                    None => {}
                }
            }
            group.drop_name |= has_value && series.drop_name;
            Ok(())
        })?;
        for group in groups.list {
            let mut column = Column::absent(grid.len, self.budget)?;
            for (i, state) in group.state.iter().enumerate() {
                if let Some(state) = state {
                    column.set(i, state.value());
                }
            }
            if !column.is_vacant() {
                let mut series = Series::new(group.labels, column)?;
                series.drop_name = group.drop_name;
                sink(series)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<F: Fold>(values: &[f64]) -> f64 {
        let mut state = F::first(values[0]);
        values[1..].iter().for_each(|value| state.push(*value));
        state.value()
    }

    #[test]
    fn folds_by_hand() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        assert_eq!(of::<Sum>(&[2.0, 8.0, 1e100, -1e100]), 10.0);
        assert_eq!(of::<Sum>(&[2.0, inf]), inf);
        assert!(of::<Sum>(&[inf, -inf]).is_nan());
        assert_eq!(of::<Avg>(&[2.0, 8.0, 1e100, -1e100]), 2.5);
        assert_eq!(of::<Avg>(&[inf, 2.0]), inf);
        assert_eq!(of::<Count>(&[nan, 1.0]), 2.0);
        assert_eq!(of::<Min>(&[nan, 3.0, 1.0]), 1.0);
        assert_eq!(of::<Max>(&[nan, 3.0, 1.0]), 3.0);
        assert_eq!(of::<One>(&[nan, 3.0]), 1.0);
        assert_eq!(of::<Variance>(&[1.0, 2.0, 3.0, 6.0]), 3.5);
        assert!(of::<Variance>(&[inf]).is_nan());
        assert!(of::<Variance>(&[1.0, inf]).is_nan());
    }
}
