//! `and`, `or`, `unless`: which elements of one vector have a partner in the other, step by step.

use std::collections::HashMap;

use model::Labels;

use crate::ast::{Binary, BinaryOp};
use crate::error::QueryError;
use crate::eval::column::Series;
use crate::eval::matching::Signature;
use crate::eval::{Evaluator, Grid, Sink, merged};

/// For each match group the steps at which any of its series has a value.
struct Presence {
    groups: HashMap<Labels, Vec<bool>>,
}

impl Presence {
    fn of(series: &[Series<'_>], signature: &Signature<'_>, len: usize) -> Self {
        let mut groups: HashMap<Labels, Vec<bool>> = HashMap::new();
        for one in series {
            let steps = groups.entry(signature.of(&one.labels)).or_insert_with(|| vec![false; len]);
            for i in one.column.occupied() {
                if let Some(step) = steps.get_mut(i) {
                    *step = true;
                }
            }
        }
        Presence { groups }
    }

    /// Takes away the values at steps at which the series' group is present, or is not.
    fn filter(&self, series: &mut Series<'_>, signature: &Signature<'_>, keep_if_present: bool) {
        let steps = self.groups.get(&signature.of(&series.labels));
        let is_present = |i: usize| steps.and_then(|s| s.get(i)).copied().unwrap_or(false);
        series.column.retain(|i| is_present(i) == keep_if_present);
    }
}

impl<'q> Evaluator<'q> {
    /// Evaluates a set operation.
    pub(crate) fn set_operation(&self, binary: &Binary, grid: Grid, sink: &mut Sink<'_, 'q>) -> Result<(), QueryError> {
        let signature = Signature::new(binary.matching.as_ref());
        if binary.op == BinaryOp::Or {
            let left = self.collect(&binary.left, grid)?;
            let mut right = self.collect(&binary.right, grid)?;
            let taken = Presence::of(&left, &signature, grid.len);
            right.iter_mut().for_each(|series| taken.filter(series, &signature, false));
            let all = left.into_iter().chain(right).filter(|s| !s.column.is_vacant()).collect();
            return merged(all)?.into_iter().try_for_each(sink);
        }
        let right = self.collect(&binary.right, grid)?;
        let partners = Presence::of(&right, &signature, grid.len);
        drop(right);
        self.stream(&binary.left, grid, &mut |mut series| {
            partners.filter(&mut series, &signature, binary.op == BinaryOp::And);
            if series.column.is_vacant() { Ok(()) } else { sink(series) }
        })
    }
}
