//! Arithmetic and comparisons of two vectors: elements with the same signature meet, step by step.
//!
//! Series are put into match groups once; within a group each step is looked at on its own, because series may take
//! turns. The sides are called "many" and "one"; for `group_right` the right side is the many side.

use std::collections::HashMap;

use model::{Labels, LabelsBuilder};

use crate::ast::{Binary, Cardinality, VectorMatching};
use crate::error::QueryError;
use crate::span::Span;
use std::sync::Arc;

use crate::eval::binary::{HistogramOutcome, Operand, Outcome, apply, is_arithmetic, truth};
use crate::eval::column::{Column, Series};
use crate::eval::{Evaluator, Grid, KIND_LABELS, Sink, failed, merged};

/// The labels by which elements of two vectors find each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signature<'m> {
    on: bool,
    names: &'m [String],
}

impl<'m> Signature<'m> {
    /// The signature of a matching; without one all labels but the name count.
    pub(crate) fn new(matching: Option<&'m VectorMatching>) -> Self {
        matching.map_or(Signature { on: false, names: &[] }, |m| Signature { on: m.on, names: &m.labels })
    }

    /// The labels of a series that count.
    pub(crate) fn of(&self, labels: &Labels) -> Labels {
        labels.filtered(|name| self.counts(name))
    }

    fn counts(&self, name: &str) -> bool {
        let is_named = self.names.iter().any(|n| n == name);
        if self.on { is_named } else { !is_named && name != model::METRIC_NAME }
    }
}

/// The series of both sides with one signature, as places in the operands.
#[derive(Debug, Default)]
struct Group {
    signature: Option<Labels>,
    many: Vec<usize>,
    one: Vec<usize>,
}

/// Why and when the operation fails; the first step counts, then the order of Prometheus's checks.
struct Failure {
    step: usize,
    phase: u8,
    message: String,
}

/// One operation of two vectors.
struct Join<'j, 'q> {
    evaluator: &'j Evaluator<'q>,
    binary: &'j Binary,
    span: Span,
    cardinality: Cardinality,
    include: &'j [String],
    signature: Signature<'j>,
    many: Vec<Series<'q>>,
    one: Vec<Series<'q>>,
    fill_many: Option<f64>,
    fill_one: Option<f64>,
    grid: Grid,
    failure: Option<Failure>,
}

/// Results of one match group by their labels; a step is taken when a result was made there, kept or not.
struct Results<'q> {
    places: HashMap<Labels, usize>,
    series: Vec<(Series<'q>, Vec<bool>)>,
}

impl<'q> Evaluator<'q> {
    /// Evaluates arithmetic or a comparison of two vectors.
    pub(crate) fn match_vectors(
        &self,
        binary: &Binary,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        let matching = binary.matching.as_ref();
        let left = self.collect(&binary.left, grid)?;
        let right = self.collect(&binary.right, grid)?;
        let cardinality = matching.map_or(Cardinality::OneToOne, |m| m.cardinality);
        let (fill_left, fill_right) = (matching.and_then(|m| m.fill_left), matching.and_then(|m| m.fill_right));
        let swapped = cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let (fill_many, fill_one) = if swapped { (fill_right, fill_left) } else { (fill_left, fill_right) };
        let join = Join {
            evaluator: self,
            binary,
            span,
            cardinality,
            include: matching.map_or(&[], |m| &m.include),
            signature: Signature::new(matching),
            many,
            one,
            fill_many,
            fill_one,
            grid,
            failure: None,
        };
        join.run()?.into_iter().try_for_each(sink)
    }
}

impl<'q> Join<'_, 'q> {
    fn run(mut self) -> Result<Vec<Series<'q>>, QueryError> {
        let active = self.active_steps();
        let groups = self.groups();
        let mut results = Vec::new();
        for group in &groups {
            self.evaluator.budget.check()?;
            let partners = self.partners(group, &active);
            results.extend(self.join_group(group, &partners, &active)?);
        }
        if let Some(failure) = self.failure {
            return Err(failed(&failure.message));
        }
        merged(results)
    }

    /// The steps at which anything can meet: with one side empty nothing is compared, so nothing can be wrong either.
    fn active_steps(&self) -> Vec<bool> {
        let present = |side: &[Series<'_>]| {
            let mut steps = vec![false; self.grid.len];
            for i in side.iter().flat_map(|series| series.column.occupied()) {
                if let Some(step) = steps.get_mut(i) {
                    *step = true;
                }
            }
            steps
        };
        let fills = self.fill_many.is_some() || self.fill_one.is_some();
        let (many, one) = (present(&self.many), present(&self.one));
        many.into_iter().zip(one).map(|(m, o)| if fills { m || o } else { m && o }).collect()
    }

    fn groups(&self) -> Vec<Group> {
        let mut places: HashMap<Labels, usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        for (is_many, side) in [(false, &self.one), (true, &self.many)] {
            for (i, series) in side.iter().enumerate() {
                let signature = self.signature.of(&series.labels);
                let place = *places.entry(signature.clone()).or_insert_with(|| {
                    groups.push(Group { signature: Some(signature), ..Group::default() });
                    groups.len() - 1
                });
                if let Some(group) = groups.get_mut(place) {
                    if is_many { group.many.push(i) } else { group.one.push(i) }
                }
            }
        }
        groups
    }

    fn fail(&mut self, step: usize, phase: u8, message: impl FnOnce() -> String) {
        if self.failure.as_ref().is_none_or(|f| (step, phase) < (f.step, f.phase)) {
            self.failure = Some(Failure { step, phase, message: message() });
        }
    }

    /// For each step the series of the one side that is there, as a place in `one`.
    fn partners(&mut self, group: &Group, active: &[bool]) -> Vec<Option<usize>> {
        let mut partners: Vec<Option<usize>> = vec![None; self.grid.len];
        let mut clashes = Vec::new();
        for place in &group.one {
            let Some(series) = self.one.get(*place) else { continue };
            for i in series.column.occupied() {
                let Some(partner) = partners.get_mut(i) else { continue };
                match partner {
                    Some(before) if active.get(i) == Some(&true) => clashes.push((i, *before, *place)),
                    _ => *partner = Some(*place),
                }
            }
        }
        if let Some((step, before, place)) = clashes.into_iter().min() {
            let side = if self.cardinality == Cardinality::OneToMany { "left" } else { "right" };
            let text = |labels: Option<&Labels>| labels.map(ToString::to_string).unwrap_or_default();
            let matched = text(group.signature.as_ref());
            let second = text(self.one.get(place).map(|s| &s.labels));
            let first = text(self.one.get(before).map(|s| &s.labels));
            self.fail(step, 0, || {
                format!(
                    "found duplicate series for the match group {matched} on the {side} hand-side of the operation: \
                     [{second}, {first}];many-to-many matching not allowed: matching labels must be unique on one side"
                )
            });
        }
        partners
    }

    fn join_group(
        &mut self,
        group: &Group,
        partners: &[Option<usize>],
        active: &[bool],
    ) -> Result<Vec<Series<'q>>, QueryError> {
        let mut results = Results { places: HashMap::new(), series: Vec::new() };
        let mut matched = vec![false; self.grid.len];
        let many = std::mem::take(&mut self.many);
        let one = std::mem::take(&mut self.one);
        let signature = group.signature.clone().unwrap_or_else(Labels::empty);
        for series in group.many.iter().filter_map(|place| many.get(*place)) {
            // Result labels depend on the partner, which rarely changes from step to step.
            let mut last: Option<(Option<usize>, usize)> = None;
            for (i, value) in series.column.present().filter(|(i, _)| active.get(*i) == Some(&true)) {
                let place = partners.get(i).copied().flatten();
                let partner = place.and_then(|p| one.get(p));
                let (partner_value, partner_labels) = match (partner, self.fill_one) {
                    (Some(partner), _) => (partner.column.get(i), &partner.labels),
                    (None, Some(fill)) => (Some(fill), &signature),
                    (None, None) => continue,
                };
                let Some(partner_value) = partner_value else { continue };
                let result = match last {
                    Some((same, result)) if same == place => result,
                    _ => self.result_place(&mut results, &series.labels, partner_labels, series.drop_name)?,
                };
                last = Some((place, result));
                self.put(&mut results, &mut matched, (i, result), value, partner_value);
            }
            self.join_histograms(series, (&one, partners, active), &signature, &mut results, &mut matched)?;
        }
        if let Some(fill) = self.fill_many {
            for (i, place) in partners.iter().enumerate().filter(|(i, _)| active.get(*i) == Some(&true)) {
                let Some(partner) = place.and_then(|p| one.get(p)) else { continue };
                if matched.get(i) == Some(&true) {
                    continue;
                }
                let Some(value) = Operand::at(&partner.column, i) else { continue };
                let result = self.result_place(&mut results, &signature, &partner.labels, false)?;
                match value {
                    Operand::Float(value) => self.put(&mut results, &mut matched, (i, result), fill, value),
                    _ => self.put_histogram(&mut results, &mut matched, (i, result), Operand::Float(fill), value)?,
                }
            }
        }
        (self.many, self.one) = (many, one);
        Ok(results.series.into_iter().map(|(series, _)| series).filter(|s| !s.column.is_vacant()).collect())
    }

    /// Joins what has a histogram on either side.
    fn join_histograms(
        &mut self,
        series: &Series<'q>,
        (one, partners, active): (&[Series<'q>], &[Option<usize>], &[bool]),
        signature: &Labels,
        results: &mut Results<'q>,
        matched: &mut [bool],
    ) -> Result<(), QueryError> {
        let any = series.column.has_histograms() || one.iter().any(|series| series.column.has_histograms());
        if !any {
            return Ok(());
        }
        for i in (0..self.grid.len).filter(|i| active.get(*i) == Some(&true)) {
            let Some(value) = Operand::at(&series.column, i) else { continue };
            let partner = partners.get(i).copied().flatten().and_then(|place| one.get(place));
            let (partner_value, labels) = match (partner, self.fill_one) {
                (Some(partner), _) => (Operand::at(&partner.column, i), &partner.labels),
                (None, Some(fill)) => (Some(Operand::Float(fill)), signature),
                (None, None) => continue,
            };
            let Some(partner_value) = partner_value else { continue };
            if value.is_histogram() || partner_value.is_histogram() {
                let place = self.result_place(results, &series.labels, labels, series.drop_name)?;
                self.put_histogram(results, matched, (i, place), value, partner_value)?;
            }
        }
        Ok(())
    }

    /// As [`Join::put`], for operands one of which is a histogram at least.
    fn put_histogram(
        &mut self,
        results: &mut Results<'q>,
        matched: &mut [bool],
        (step, place): (usize, usize),
        many: Operand<'_>,
        one: Operand<'_>,
    ) -> Result<(), QueryError> {
        let (left, right) = if self.cardinality == Cardinality::OneToMany { (one, many) } else { (many, one) };
        let outcome = self.evaluator.apply_to_histograms(self.binary.op, left, right, self.span);
        let Some(outcome) = outcome else { return Ok(()) };
        let Some((series, _)) = results.series.get_mut(place) else { return Ok(()) };
        match (outcome, left) {
            (HistogramOutcome::Value(value), _) => series.column.set_histogram(step, Arc::new(value))?,
            (HistogramOutcome::Holds(holds), _) if self.binary.returns_bool => series.column.set(step, truth(holds)),
            (HistogramOutcome::Holds(true), Operand::Histogram(left)) => {
                series.column.set_histogram(step, left.clone())?;
            }
            (HistogramOutcome::Holds(_), _) => {}
        }
        self.check_unique(results, matched, step, place);
        Ok(())
    }

    /// Where results of this pair go.
    fn result_place(
        &self,
        results: &mut Results<'q>,
        many: &Labels,
        one: &Labels,
        many_drops_name: bool,
    ) -> Result<usize, QueryError> {
        let labels = self.result_labels(many, one)?;
        if let Some(place) = results.places.get(&labels) {
            return Ok(*place);
        }
        let column = Column::absent(self.grid.len, self.evaluator.budget)?;
        let mut series = Series::new(labels.clone(), column)?;
        series.drop_name = many_drops_name;
        if self.binary.returns_bool {
            self.evaluator.drop_name(&mut series);
        }
        results.series.push((series, vec![false; self.grid.len]));
        results.places.insert(labels, results.series.len() - 1);
        Ok(results.series.len() - 1)
    }

    fn result_labels(&self, many: &Labels, one: &Labels) -> Result<Labels, QueryError> {
        let one_to_one = self.cardinality == Cardinality::OneToOne;
        let arithmetic = is_arithmetic(self.binary.op);
        let base = many.filtered(|name| {
            let is_kind = arithmetic && KIND_LABELS.contains(&name);
            let is_named = self.signature.names.iter().any(|n| n == name);
            !is_kind && (!one_to_one || is_named == self.signature.on)
        });
        if self.include.is_empty() {
            return Ok(base);
        }
        let mut builder = LabelsBuilder::from_labels(&base);
        for name in self.include {
            builder.set(name, one.get(name).unwrap_or_default());
        }
        builder.build().map_err(|error| failed(&error.to_string()))
    }

    /// Computes one element and puts it at step and place.
    fn put(
        &mut self,
        results: &mut Results<'q>,
        matched: &mut [bool],
        (step, place): (usize, usize),
        many: f64,
        one: f64,
    ) {
        let Some((series, _)) = results.series.get_mut(place) else { return };
        let (left, right) = if self.cardinality == Cardinality::OneToMany { (one, many) } else { (many, one) };
        match apply(self.binary.op, left, right) {
            Outcome::Value(value) => series.column.set(step, value),
            Outcome::Holds(_) if self.binary.op.is_trim() => {
                self.evaluator.notes.incompatible_types(self.span, "float", self.binary.op.as_str(), "float");
                return;
            }
            Outcome::Holds(holds) if self.binary.returns_bool => series.column.set(step, truth(holds)),
            Outcome::Holds(true) => series.column.set(step, left),
            Outcome::Holds(false) => {}
        }
        self.check_unique(results, matched, step, place);
    }

    /// Notes that an element was made at step and place, and that there must be no other.
    fn check_unique(&mut self, results: &mut Results<'q>, matched: &mut [bool], step: usize, place: usize) {
        let is_second = matched.get_mut(step).is_some_and(|m| std::mem::replace(m, true));
        let Some((_, taken)) = results.series.get_mut(place) else { return };
        let is_taken = taken.get_mut(step).is_some_and(|t| std::mem::replace(t, true));
        let problem = match self.cardinality {
            Cardinality::OneToOne if is_second => "many-to-one matching must be explicit (group_left/group_right)",
            Cardinality::OneToOne => return,
            _ if is_taken => "grouping labels must ensure unique matches",
            _ => return,
        };
        self.fail(step, 1, || format!("multiple matches for labels: {problem}"));
    }
}
