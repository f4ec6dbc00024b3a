//! Aggregations that keep a few numbers per group and step: `sum`, `avg`, `count`, `min`, `max`, `group`, `stddev`,
//! `stdvar`. Series are folded in as they come, so memory is O(groups × steps).

use model::{Labels, METRIC_NAME, SeriesGroups};

use std::sync::Arc;

use crate::aggregation::histograms::{HistogramFolds, OnHistograms};
use crate::aggregation::{Groups, Key};
use crate::ast::{Aggregation, Expr, Node};
use crate::error::QueryError;
use crate::eval::column::{Charge, Column, Series};
use crate::eval::parallel::Scan;
use crate::eval::rollup::{CounterNames, range_arg};
use crate::eval::selector::Aspect;
use crate::eval::{Evaluator, Grid, Sink};
use crate::functions::rollup::{self, Rollup};
use crate::numeric::{KahanSum, Mean, zero_or_nan};
use crate::plan::{is_step_invariant, strip};

/// What is kept of the values of one group at one step.
pub(super) trait Fold: Copy {
    /// False if only that there are values counts.
    const NEEDS_VALUES: bool = true;
    /// What becomes of histograms.
    const HISTOGRAMS: OnHistograms = OnHistograms::Ignore;

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
    const HISTOGRAMS: OnHistograms = OnHistograms::Sum;

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
    const HISTOGRAMS: OnHistograms = OnHistograms::Mean;

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
    const HISTOGRAMS: OnHistograms = OnHistograms::Count;

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
    const HISTOGRAMS: OnHistograms = OnHistograms::Count;

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
    histograms: HistogramFolds,
    drop_name: bool,
}

/// What came of adding a series to a group.
#[derive(Debug, Clone, Copy, Default)]
struct Added {
    /// It had a value that counts.
    has_value: bool,
    /// It had histograms that do not count.
    ignored: bool,
    /// Its histograms do not fit the others of the group.
    misfits: bool,
}

impl<F: Fold> Folded<F> {
    fn new(steps: usize) -> Self {
        Folded { states: vec![None; steps], histograms: HistogramFolds::default(), drop_name: false }
    }

    /// Adds a series.
    fn add(&mut self, column: &Column<'_>, charge: &mut Charge<'_>) -> Result<Added, QueryError> {
        let mut added = Added::default();
        for (i, value) in column.present() {
            added.has_value = true;
            self.push(i, value);
        }
        if column.has_histograms() {
            match F::HISTOGRAMS {
                OnHistograms::Ignore => added.ignored = true,
                OnHistograms::Count => {
                    added.has_value = true;
                    column.histograms().for_each(|(i, _)| self.push(i, 1.0));
                }
                kind => {
                    added.has_value = true;
                    added.misfits = !self.histograms.add(column, kind, charge)?;
                }
            }
        }
        Ok(added)
    }

    fn push(&mut self, i: usize, value: f64) {
        match self.states.get_mut(i) {
            Some(Some(state)) => state.push(value),
            Some(empty) => *empty = Some(F::first(value)),
            None => {}
        }
    }

    /// Adds what was folded from the series after these; false if histograms do not fit together.
    fn join(&mut self, later: Self) -> bool {
        self.drop_name |= later.drop_name;
        let fits = self.histograms.join(later.histograms);
        if self.states.is_empty() {
            self.states = later.states;
            return fits;
        }
        for (state, later) in self.states.iter_mut().zip(later.states) {
            match (state, later) {
                (Some(state), Some(later)) => state.join(later),
                (state, Some(later)) => *state = Some(later),
                (_, None) => {}
            }
        }
        fits
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
        aggregation: &Aggregation,
        key: Key<'_>,
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        let expr = strip(&aggregation.expr);
        let is_pinned = grid.len > 1 && is_step_invariant(expr);
        let groups = match &expr.node {
            _ if is_pinned || grid.len == 0 || !self.options.delayed_name_removal => None,
            Node::VectorSelector(selector) => {
                let fold = |scan: &Scan<'_, 'q>| self.fold_scan::<F>(aggregation, scan, key, grid, None);
                let aspect = if F::NEEDS_VALUES { Aspect::Value } else { Aspect::Presence };
                Some(self.scan_selector(selector, expr.span, aspect, grid, fold)?)
            }
            Node::Call { function, args } => match rollup::find(function).filter(|r| is_selected(r, args)) {
                Some(rollup) => {
                    let fold =
                        |scan: &Scan<'_, 'q>| self.fold_scan::<F>(aggregation, scan, key, grid, Some((rollup, args)));
                    Some(self.scan_rollup(rollup, args, grid, fold)?)
                }
                None => None,
            },
            _ => None,
        };
        let (groups, _charge) = match groups {
            Some(groups) => groups,
            None => self.fold_stream::<F>(aggregation, key, grid)?,
        };
        for (labels, folded) in groups {
            let mut column = Column::absent(grid.len, self.budget)?;
            for (i, state) in folded.states.iter().enumerate() {
                if let Some(state) = state {
                    column.set(i, state.value());
                }
            }
            self.give_histograms(aggregation, &folded, &mut column)?;
            if !column.is_vacant() {
                let mut series = Series::new(labels, column)?;
                series.drop_name = folded.drop_name;
                sink(series)?;
            }
        }
        Ok(())
    }

    /// Puts the histograms of a group into its column. Beside floats they make no value.
    fn give_histograms<F: Fold>(
        &self,
        aggregation: &Aggregation,
        folded: &Folded<F>,
        column: &mut Column<'q>,
    ) -> Result<(), QueryError> {
        let span = aggregation.expr.span;
        for (i, fold) in folded.histograms.iter() {
            if column.has(i) {
                column.clear(i);
                self.notes.mixed_aggregation(span);
                continue;
            }
            if fold.noted.reset && fold.noted.no_reset {
                self.notes.resets_collide(span, "aggregation");
            }
            if fold.noted.reconciled {
                self.notes.bounds_reconciled(span, "aggregation");
            }
            if let Some(histogram) = fold.finish() {
                column.set_histogram(i, Arc::new(histogram))?;
            }
        }
        Ok(())
    }

    /// Says what there is to say of a series that was added; `name` is that of its metric.
    fn note_added(
        &self,
        aggregation: &Aggregation,
        added: Added,
        name: impl FnOnce() -> Result<Labels, QueryError>,
    ) -> Result<(), QueryError> {
        if added.ignored {
            self.notes.ignored_in_aggregation(aggregation.expr.span, aggregation.op.as_str());
        }
        if added.misfits {
            self.notes.mixed_schemas(aggregation.expr.span, name()?.metric_name());
        }
        Ok(())
    }

    /// Folds series as they are given by any expression.
    fn fold_stream<F: Fold>(
        &self,
        aggregation: &Aggregation,
        key: Key<'_>,
        grid: Grid,
    ) -> Result<FoldedGroups<'q, F>, QueryError> {
        let expr = strip(&aggregation.expr);
        let mut charge = Charge::take(self.budget, 0)?;
        let mut groups: Groups<Folded<F>> = Groups::new();
        self.stream(expr, grid, &mut |series| {
            let group = groups.enter(key.of(&series.labels), || {
                charge.add(grid.len.saturating_mul(size_of::<Option<F>>()) + series.labels.heap_bytes())?;
                Ok(Folded::new(grid.len))
            })?;
            let added = group.state.add(&series.column, &mut charge)?;
            group.state.drop_name |= added.has_value && series.drop_name;
            self.note_added(aggregation, added, || Ok(series.labels.clone()))
        })?;
        Ok((groups.list.into_iter().map(|group| (group.labels, group.state)).collect(), charge))
    }

    /// Folds the series of a selection where they are read, without putting their labels together.
    fn fold_scan<F: Fold + Send>(
        &self,
        aggregation: &Aggregation,
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
            let empty = || Folded::new(0);
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
            let added = folded.add(column, &mut run.charge)?;
            self.note_added(aggregation, added, || Ok(scan.set.labels(i)?))?;
            if added.has_value {
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
            for ((group, later), labels) in all.groups.iter_mut().zip(later.groups).zip(&groups.labels) {
                if !group.join(later) {
                    self.notes.mixed_schemas(aggregation.expr.span, labels.metric_name());
                }
            }
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
