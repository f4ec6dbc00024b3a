//! Aggregations: elements are put into groups by their labels; the files below say what is made of a group.

mod count_values;
mod fold;
mod histograms;
mod quantile;
mod select;

use std::collections::HashMap;

use model::{Labels, METRIC_NAME};

use crate::ast::{Aggregation, AggregationOp, Expr, Grouping};
use crate::error::QueryError;
use crate::eval::column::Scalars;
use crate::eval::{Evaluator, Grid, Sink, failed};
use crate::plan::strip;

/// The labels that make the groups.
#[derive(Debug, Clone, Copy)]
struct Key<'g> {
    without: bool,
    names: &'g [String],
}

impl<'g> Key<'g> {
    fn new(grouping: Option<&'g Grouping>) -> Self {
        grouping.map_or(Key { without: false, names: &[] }, |g| Key { without: g.without, names: &g.labels })
    }

    /// The labels of the group that a series belongs to.
    fn of(&self, labels: &Labels) -> Labels {
        labels.filtered(|name| self.keeps(name))
    }

    fn keeps(&self, name: &str) -> bool {
        let is_named = self.names.iter().any(|n| n == name);
        if self.without { !is_named && name != METRIC_NAME } else { is_named }
    }
}

/// Groups in the order of their first element.
#[derive(Debug)]
struct Groups<T> {
    places: HashMap<Labels, usize>,
    list: Vec<Group<T>>,
}

#[derive(Debug)]
struct Group<T> {
    labels: Labels,
    /// True if any element's name is to be dropped.
    drop_name: bool,
    state: T,
}

impl<T> Groups<T> {
    fn new() -> Self {
        Groups { places: HashMap::new(), list: Vec::new() }
    }

    /// The group with these labels, made if there is none.
    fn enter(
        &mut self,
        labels: Labels,
        make: impl FnOnce() -> Result<T, QueryError>,
    ) -> Result<&mut Group<T>, QueryError> {
        let place = match self.places.get(&labels) {
            Some(place) => *place,
            None => {
                self.list.push(Group { labels: labels.clone(), drop_name: false, state: make()? });
                self.places.insert(labels, self.list.len() - 1);
                self.list.len() - 1
            }
        };
        self.list.get_mut(place).ok_or_else(|| failed("a group of an aggregation is lost"))
    }
}

impl<'q> Evaluator<'q> {
    /// Evaluates an aggregation.
    pub(crate) fn stream_aggregation(
        &self,
        aggregation: &Aggregation,
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        let key = Key::new(aggregation.grouping.as_ref());
        match aggregation.op {
            AggregationOp::Sum => self.fold::<fold::Sum>(aggregation, key, grid, sink),
            AggregationOp::Avg => self.fold::<fold::Avg>(aggregation, key, grid, sink),
            AggregationOp::Count => self.fold::<fold::Count>(aggregation, key, grid, sink),
            AggregationOp::Min => self.fold::<fold::Min>(aggregation, key, grid, sink),
            AggregationOp::Max => self.fold::<fold::Max>(aggregation, key, grid, sink),
            AggregationOp::Group => self.fold::<fold::One>(aggregation, key, grid, sink),
            AggregationOp::Stdvar => self.fold::<fold::Variance>(aggregation, key, grid, sink),
            AggregationOp::Stddev => self.fold::<fold::Variance>(aggregation, key, grid, &mut |mut series| {
                series.column.map(f64::sqrt);
                sink(series)
            }),
            AggregationOp::Quantile => self.quantile(aggregation, key, grid, sink),
            AggregationOp::CountValues => self.count_values(aggregation, key, grid, sink),
            AggregationOp::TopK | AggregationOp::BottomK | AggregationOp::LimitK => {
                self.select_k(aggregation, key, grid, sink)
            }
            AggregationOp::LimitRatio => self.limit_ratio(aggregation, key, grid, sink),
        }
    }

    /// The parameter, such as `k` or φ.
    fn param<'a>(&self, aggregation: &'a Aggregation) -> Result<&'a Expr, QueryError> {
        aggregation.param.as_ref().map(strip).ok_or_else(|| self.broken("an aggregation without its parameter"))
    }
}

/// The smallest and the largest of a parameter's values; NaN if any is.
fn extremes(scalars: &Scalars<'_>, len: usize) -> (f64, f64) {
    use crate::functions::math::{larger, smaller};
    let start = (f64::INFINITY, f64::NEG_INFINITY);
    scalars.distinct(len).fold(start, |(min, max), value| (smaller(min, value), larger(max, value)))
}
