//! `info`: adds the labels of info metrics, such as `target_info`, to the series that they belong to.
//!
//! An info series belongs to a series with the same `instance` and `job`. Which one does can change from step to step,
//! so the result is put together step by step for each series.

use std::collections::{BTreeMap, HashMap};

use model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};

use crate::ast::{Expr, Modifiers, Node, Selector};
use crate::error::QueryError;
use crate::eval::column::{Column, Series};
use crate::eval::selector::Aspect;
use crate::eval::{Evaluator, Grid, Sink, failed, merged};
use crate::plan::strip;

/// The metric that is meant when none is named.
const TARGET_INFO: &str = "target_info";

/// The names of info metrics where only names to leave out are given.
const INFO_NAMES: &str = ".+_info";

/// The labels by which info series belong to others.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// What the second argument asks for.
struct Wanted {
    /// Which metrics are info metrics.
    names: Vec<Matcher>,
    /// Which labels to add, and their conditions.
    data: Vec<Matcher>,
}

impl Wanted {
    fn of(arg: Option<&Expr>) -> Self {
        let matchers: &[Matcher] = match arg.map(|arg| &strip(arg).node) {
            Some(Node::VectorSelector(selector)) => &selector.matchers,
            _ => &[],
        };
        let (mut names, data): (Vec<_>, Vec<_>) = matchers.iter().cloned().partition(|m| m.name() == METRIC_NAME);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, TARGET_INFO));
        } else if names.iter().all(Matcher::is_negative) {
            // Conditions that only exclude say nothing of what an info metric is; its name does.
            names.extend(Matcher::new(METRIC_NAME, MatchOp::Regex, INFO_NAMES).ok());
        }
        Wanted { names, data }
    }

    fn is_info(&self, labels: &Labels) -> bool {
        self.names.iter().all(|m| m.matches(labels.metric_name()))
    }

    fn takes(&self, label: &str) -> bool {
        self.data.is_empty() || self.data.iter().any(|m| m.name() == label)
    }

    /// True if a series without any info series stays.
    fn accepts_nothing(&self) -> bool {
        self.data.iter().all(Matcher::matches_empty)
    }
}

/// Info series by metric name and identifying labels; the columns hold the times of the samples.
struct InfoSeries<'q> {
    by_identity: HashMap<Labels, Vec<Series<'q>>>,
    names: Vec<String>,
}

fn identity(name: &str, labels: &Labels) -> Result<Labels, QueryError> {
    let mut builder = LabelsBuilder::default();
    builder.set(METRIC_NAME, name);
    for label in IDENTIFYING {
        builder.set(label, labels.get(label).unwrap_or_default());
    }
    builder.build().map_err(|error| failed(&error.to_string()))
}

impl<'q> Evaluator<'q> {
    /// `info(vector, {matchers})`.
    pub(crate) fn info(&self, args: &[Expr], grid: Grid, sink: &mut Sink<'_, 'q>) -> Result<(), QueryError> {
        let base_arg = self.arg(args, 0)?;
        let base = self.collect(base_arg, grid)?;
        let wanted = Wanted::of(args.get(1));
        let info = self.info_series(&base, base_arg, &wanted, grid)?;
        let mut enriched = Vec::new();
        for series in base {
            self.budget.check()?;
            if wanted.is_info(&series.labels) {
                enriched.push(series);
            } else {
                enriched.extend(self.enrich(&series, &info, &wanted)?);
            }
        }
        merged(enriched)?.into_iter().try_for_each(sink)
    }

    /// Finds the info series that can belong to any of the series.
    fn info_series(
        &self,
        base: &[Series<'q>],
        base_arg: &Expr,
        wanted: &Wanted,
        grid: Grid,
    ) -> Result<InfoSeries<'q>, QueryError> {
        let mut found = InfoSeries { by_identity: HashMap::new(), names: Vec::new() };
        let identified = |labels: &Labels| IDENTIFYING.iter().any(|label| labels.get(label).is_some());
        let enrichable = || base.iter().filter(|series| !wanted.is_info(&series.labels));
        if !enrichable().any(|series| identified(&series.labels)) {
            return Ok(found);
        }
        let matchers = wanted.names.iter().chain(&wanted.data).cloned().collect();
        // The info series are seen as of the time at which the first selector sees its series.
        let modifiers = first_modifiers(base_arg).cloned().unwrap_or_default();
        let selector = Selector { name: None, matchers, modifiers };
        self.stream_selector(&selector, base_arg.span, Aspect::Time, grid, &mut |series| {
            let name = series.labels.metric_name().to_owned();
            let identity = identity(&name, &series.labels)?;
            if !found.names.contains(&name) {
                found.names.push(name);
            }
            found.by_identity.entry(identity).or_default().push(series);
            Ok(())
        })?;
        Ok(found)
    }

    /// The series with what its info series say; several series if that changes with time.
    fn enrich(
        &self,
        series: &Series<'q>,
        info: &InfoSeries<'q>,
        wanted: &Wanted,
    ) -> Result<Vec<Series<'q>>, QueryError> {
        let mut candidates = Vec::new();
        for name in &info.names {
            if let Some(list) = info.by_identity.get(&identity(name, &series.labels)?) {
                candidates.push(list);
            }
        }
        let mut parts: BTreeMap<Vec<Option<usize>>, Option<Series<'q>>> = BTreeMap::new();
        for i in series.column.occupied() {
            let chosen = candidates.iter().map(|list| newest(list, i)).collect::<Result<Vec<_>, _>>()?;
            if !parts.contains_key(&chosen) {
                let matched = candidates.iter().zip(&chosen).filter_map(|(list, at)| list.get((*at)?));
                let part = match with_data(series, matched.map(|s| &s.labels), wanted)? {
                    Some(labels) => {
                        let mut part = series.with_column(Column::absent(series.column.len(), self.budget)?)?;
                        part.labels = labels;
                        Some(part)
                    }
                    None => None,
                };
                parts.insert(chosen.clone(), part);
            }
            if let Some(Some(part)) = parts.get_mut(&chosen) {
                part.column.copy_from(i, &series.column, i)?;
            }
        }
        Ok(parts.into_values().flatten().collect())
    }
}

/// The place of the series with the newest sample at step `i`.
fn newest(list: &[Series<'_>], i: usize) -> Result<Option<usize>, QueryError> {
    let mut best: Option<(f64, usize)> = None;
    for (at, series) in list.iter().enumerate() {
        let Some(time) = series.column.get(i) else { continue };
        match best {
            Some((newest, before)) if newest == time => {
                let first = list.get(before).map(|s| s.labels.to_string()).unwrap_or_default();
                let ms = time * 1000.0;
                return Err(failed(&format!(
                    "found duplicate series for info metric: existing {first} @ {ms}, new {} @ {ms}",
                    series.labels
                )));
            }
            Some((newest, _)) if newest > time => {}
            _ => best = Some((time, at)),
        }
    }
    Ok(best.map(|(_, at)| at))
}

/// The labels with the data labels of the matched info series; none if the series is to be left out.
fn with_data<'l>(
    series: &Series<'_>,
    matched: impl Iterator<Item = &'l Labels>,
    wanted: &Wanted,
) -> Result<Option<Labels>, QueryError> {
    let mut added: BTreeMap<&str, &str> = BTreeMap::new();
    let mut any = false;
    for labels in matched {
        any = true;
        for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME && wanted.takes(name)) {
            if series.labels.get(name).is_some() {
                continue;
            }
            if added.insert(name, value).is_some_and(|before| before != value) {
                return Err(failed(&format!("conflicting label: {name}")));
            }
        }
    }
    if !any && !wanted.accepts_nothing() {
        return Ok(None);
    }
    let mut builder = LabelsBuilder::from_labels(&series.labels);
    for (name, value) in added {
        builder.set(name, value);
    }
    builder.build().map(Some).map_err(|error| failed(&error.to_string()))
}

/// The modifiers of the first selector in the expression.
fn first_modifiers(expr: &Expr) -> Option<&Modifiers> {
    match &expr.node {
        Node::VectorSelector(selector) | Node::MatrixSelector { selector, .. } => Some(&selector.modifiers),
        Node::Subquery { expr, .. } | Node::Unary { expr, .. } | Node::Paren(expr) => first_modifiers(expr),
        Node::Binary(binary) => first_modifiers(&binary.left).or_else(|| first_modifiers(&binary.right)),
        Node::Aggregation(aggregation) => first_modifiers(&aggregation.expr),
        Node::Call { args, .. } => args.iter().find_map(first_modifiers),
        Node::Number { .. } | Node::String(_) => None,
    }
}
