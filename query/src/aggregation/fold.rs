//! Aggregations that keep a few numbers per group and step: `sum`, `avg`, `count`, `min`, `max`, `group`, `stddev`,
//! `stdvar`. Series are folded in as they come, so memory is O(groups × steps).

use model::{Labels, METRIC_NAME, SeriesGroups};

use crate::aggregation::{Groups, Key};
use crate::ast::{Expr, Node};
use crate::error::QueryError;
use crate::eval::column::{Charge, Column, Series};
use crate::eval::parallel::Scan;
use crate::eval::rollup::{CounterNames, range_arg};
use crate::eval::selector::Aspect;
use crate::eval::{Evaluator, Grid, Sink};
use crate::functions::rollup::{self, Rollup};
use crate::numeric::{KahanSum, Mean, zero_or_nan};
use crate::plan::is_step_invariant;

/// What is kept of the values of one group at one step.
pub(super) trait Fold: Copy {
    /// False if only that there are values counts.
    const NEEDS_VALUES: bool = true;

    /// After the first value.
    fn first(value: f64) -> Self;
    /// Adds a value.
    fn push(&mut self, value: f64);
    /// Adds the values of another, which come after this one's.
    fn join(&mut self, other: Self);
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
    fn join(&mut self, other: Self) {
        self.0 = self.0.join(other.0);
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
    fn join(&mut self, other: Self) {
        self.0 = self.0.join(other.0);
    }
    fn value(&self) -> f64 {
        self.0.value()
    }
}

#[derive(Clone, Copy)]
pub(super) struct Count(u64);

impl Fold for Count {
    const NEEDS_VALUES: bool = false;

    fn first(_: f64) -> Self {
        Count(1)
    }
    fn push(&mut self, _: f64) {
        self.0 += 1;
    }
    fn join(&mut self, other: Self) {
        self.0 += other.0;
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
    fn join(&mut self, other: Self) {
        self.push(other.0);
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
    fn join(&mut self, other: Self) {
        self.push(other.0);
    }
    fn value(&self) -> f64 {
        self.0
    }
}

/// `group`: 1 where there is any element.
#[derive(Clone, Copy)]
pub(super) struct One;

impl Fold for One {
    const NEEDS_VALUES: bool = false;

    fn first(_: f64) -> Self {
        One
    }
    fn push(&mut self, _: f64) {}
    fn join(&mut self, _: Self) {}
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
    fn join(&mut self, other: Self) {
        // Chan, Golub and LeVeque: the squares around the common mean.
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        self.mean += delta * (other.count / count);
        self.squares += other.squares + delta * delta * (self.count * other.count / count);
        self.count = count;
    }
    fn value(&self) -> f64 {
        self.squares / self.count
    }
}

/// The states of one group, a place for each step; empty as long as no series of the group had a value.
struct Folded<F> {
    states: Vec<Option<F>>,
    drop_name: bool,
}

impl<F: Fold> Folded<F> {
    fn new(steps: usize) -> Self {
        Folded { states: vec![None; steps], drop_name: false }
    }

    /// Adds a series; true if it had a value.
    fn add(&mut self, column: &Column<'_>) -> bool {
        let mut has_value = false;
        for (i, value) in column.present() {
            has_value = true;
            match self.states.get_mut(i) {
                Some(Some(state)) => state.push(value),
                Some(empty) => *empty = Some(F::first(value)),
                None => {}
            }
        }
        has_value
    }

    /// Adds what was folded from the series after these.
    fn join(&mut self, later: Self) {
        self.drop_name |= later.drop_name;
        if self.states.is_empty() {
            self.states = later.states;
            return;
        }
        for (state, later) in self.states.iter_mut().zip(later.states) {
            match (state, later) {
                (Some(state), Some(later)) => state.join(later),
                (state, Some(later)) => *state = Some(later),
                (_, None) => {}
            }
        }
    }
}

/// Groups with their states, and what they are charged to.
type FoldedGroups<'q, F> = (Vec<(Labels, Folded<F>)>, Charge<'q>);

/// States of all groups over a run of series.
struct Run<'q, F> {
    groups: Vec<Folded<F>>,
    /// Which of the names had a value.
    names_met: Vec<bool>,
    charge: Charge<'q>,
}

/// Groups times steps up to which each run of a selection has states of its own, beyond one for each thread.
const STATES_PER_RUN_MAX: usize = 1 << 16;
/// Runs for each thread, so that one that is done early finds more.
const RUNS_PER_THREAD: usize = 4;

impl<'q> Evaluator<'q> {
    /// Folds all series of an expression into groups and gives the groups' results.
    pub(super) fn fold<F: Fold + Send>(
        &self,
        expr: &Expr,
        key: Key<'_>,
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        let is_pinned = grid.len > 1 && is_step_invariant(expr);
        let groups = match &expr.node {
            _ if is_pinned || grid.len == 0 || !self.options.delayed_name_removal => None,
            Node::VectorSelector(selector) => {
                let fold = |scan: &Scan<'_, 'q>| self.fold_scan::<F>(scan, key, grid, None);
                let aspect = if F::NEEDS_VALUES { Aspect::Value } else { Aspect::Presence };
                Some(self.scan_selector(selector, aspect, grid, fold)?)
            }
            Node::Call { function, args } => match rollup::find(function).filter(|r| is_selected(r, args)) {
                Some(rollup) => {
                    let fold = |scan: &Scan<'_, 'q>| self.fold_scan::<F>(scan, key, grid, Some((rollup, args)));
                    Some(self.scan_rollup(rollup, args, grid, fold)?)
                }
                None => None,
            },
            _ => None,
        };
        let (groups, _charge) = match groups {
            Some(groups) => groups,
            None => self.fold_stream::<F>(expr, key, grid)?,
        };
        for (labels, folded) in groups {
            let mut column = Column::absent(grid.len, self.budget)?;
            for (i, state) in folded.states.iter().enumerate() {
                if let Some(state) = state {
                    column.set(i, state.value());
                }
            }
            if !column.is_vacant() {
                let mut series = Series::new(labels, column)?;
                series.drop_name = folded.drop_name;
                sink(series)?;
            }
        }
        Ok(())
    }

    /// Folds series as they are given by any expression.
    fn fold_stream<F: Fold>(&self, expr: &Expr, key: Key<'_>, grid: Grid) -> Result<FoldedGroups<'q, F>, QueryError> {
        let mut charge = Charge::take(self.budget, 0)?;
        let mut groups: Groups<Folded<F>> = Groups::new();
        self.stream(expr, grid, &mut |series| {
            let group = groups.enter(key.of(&series.labels), || {
                charge.add(grid.len.saturating_mul(size_of::<Option<F>>()) + series.labels.heap_bytes())?;
                Ok(Folded::new(grid.len))
            })?;
            let has_value = group.state.add(&series.column);
            group.state.drop_name |= has_value && series.drop_name;
            Ok(())
        })?;
        Ok((groups.list.into_iter().map(|group| (group.labels, group.state)).collect(), charge))
    }

    /// Folds the series of a selection where they are read, without putting their labels together.
    fn fold_scan<F: Fold + Send>(
        &self,
        scan: &Scan<'_, 'q>,
        key: Key<'_>,
        grid: Grid,
        call: Option<(&'static Rollup, &[Expr])>,
    ) -> Result<FoldedGroups<'q, F>, QueryError> {
        let groups = scan.set.groups(&|name| key.keeps(name), self.budget)?;
        let mut counters = call.and_then(|(rollup, args)| CounterNames::of_call(rollup, args));
        let names = match counters.as_ref().filter(|counters| counters.matter()) {
            Some(_) => scan.set.groups(&|name| name == METRIC_NAME, self.budget)?,
            None => SeriesGroups::default(),
        };
        let places = (groups.group_of.len() + names.group_of.len()) * size_of::<u32>();
        let charge = Charge::take(self.budget, places)?;
        let drop_name = call.is_some_and(|(rollup, _)| !rollup.keeps_name);
        let per_thread =
            if groups.labels.len().saturating_mul(grid.len) > STATES_PER_RUN_MAX { 1 } else { RUNS_PER_THREAD };
        let runs = self.threads_for(scan.set.len()) * per_thread;
        let make = || {
            let bytes = groups.labels.len() * size_of::<Folded<F>>();
            let empty = || Folded { states: Vec::new(), drop_name: false };
            Ok(Run {
                groups: std::iter::repeat_with(empty).take(groups.labels.len()).collect(),
                names_met: vec![false; names.labels.len()],
                charge: Charge::take(self.budget, bytes)?,
            })
        };
        let fold = |run: &mut Run<'q, F>, i: usize, column: &Column<'q>| {
            let place = groups.group_of.get(i).copied().unwrap_or_default();
            let Some(folded) = run.groups.get_mut(place as usize) else { return Ok(()) };
            if folded.states.is_empty() {
                run.charge.add(grid.len.saturating_mul(size_of::<Option<F>>()))?;
                folded.states = vec![None; grid.len];
            }
            if folded.add(column) {
                folded.drop_name |= drop_name;
                if let Some(met) = names.group_of.get(i).and_then(|name| run.names_met.get_mut(*name as usize)) {
                    *met = true;
                }
            }
            Ok(())
        };
        let mut done = self.fold_series(scan, runs, make, fold)?.into_iter();
        let Some(mut all) = done.next() else { return Ok((Vec::new(), charge)) };
        for later in done {
            all.groups.iter_mut().zip(later.groups).for_each(|(group, later)| group.join(later));
            all.names_met.iter_mut().zip(later.names_met).for_each(|(met, later)| *met |= later);
        }
        let states: usize = all.groups.iter().map(|group| group.states.len() * size_of::<Option<F>>()).sum();
        let labels: usize = groups.labels.iter().map(Labels::heap_bytes).sum();
        all.charge.grow_to(states + labels + groups.labels.len() * size_of::<Folded<F>>())?;
        for (name, _) in names.labels.iter().zip(&all.names_met).filter(|(_, met)| **met) {
            if let Some(counters) = &mut counters {
                counters.meet(name.metric_name(), &self.notes);
            }
        }
        Ok((groups.labels.into_iter().zip(all.groups).collect(), all.charge))
    }
}

/// True if the function is called with the samples of a selector.
fn is_selected(rollup: &Rollup, args: &[Expr]) -> bool {
    rollup.name != "absent_over_time"
        && range_arg(args).is_some_and(|range| matches!(range.node, Node::MatrixSelector { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<F: Fold>(values: &[f64]) -> f64 {
        let mut state = F::first(values[0]);
        values[1..].iter().for_each(|value| state.push(*value));
        state.value()
    }

    fn joined<F: Fold>(parts: [&[f64]; 2]) -> f64 {
        let mut parts = parts.into_iter().map(|values| {
            let mut state = F::first(values[0]);
            values[1..].iter().for_each(|value| state.push(*value));
            state
        });
        let mut state = parts.next().unwrap();
        state.join(parts.next().unwrap());
        state.value()
    }

    proptest::proptest! {
        #[test]
        fn joining_is_folding_on(
            a in proptest::collection::vec(any_value(), 1..20),
            b in proptest::collection::vec(any_value(), 1..20),
        ) {
            let all: Vec<f64> = a.iter().chain(&b).copied().collect();
            let pairs = [
                ("sum", joined::<Sum>([&a, &b]), of::<Sum>(&all)),
                ("avg", joined::<Avg>([&a, &b]), of::<Avg>(&all)),
                ("count", joined::<Count>([&a, &b]), of::<Count>(&all)),
                ("min", joined::<Min>([&a, &b]), of::<Min>(&all)),
                ("max", joined::<Max>([&a, &b]), of::<Max>(&all)),
                ("group", joined::<One>([&a, &b]), of::<One>(&all)),
                ("stdvar", joined::<Variance>([&a, &b]), of::<Variance>(&all)),
            ];
            for (name, joined, whole) in pairs {
                let is_near = (joined - whole).abs() <= 1e-9 * whole.abs().max(1.0);
                proptest::prop_assert!(joined == whole || is_near || (joined.is_nan() && whole.is_nan()), "{name}: {joined} {whole}");
            }
        }
    }

    fn any_value() -> impl proptest::strategy::Strategy<Value = f64> {
        use proptest::prelude::*;
        prop_oneof![
            20 => -1e3_f64..1e3,
            4 => Just(1e100),
            1 => Just(f64::NAN),
            1 => Just(f64::INFINITY),
            1 => Just(-0.0),
        ]
    }

    #[test]
    fn means_of_parts_do_not_overflow() {
        assert!((joined::<Avg>([&[f64::MAX, f64::MAX], &[f64::MAX]]) / f64::MAX - 1.0).abs() < 1e-15);
        assert_eq!(joined::<Avg>([&[f64::MAX], &[f64::MAX]]), f64::MAX);
        assert!(joined::<Avg>([&[f64::INFINITY], &[f64::NEG_INFINITY]]).is_nan());
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
