//! `count_values`: one series for each value that occurs, told apart by a label.

use std::collections::HashMap;

use model::{Labels, LabelsBuilder};

use crate::aggregation::Key;
use crate::ast::{Aggregation, Node};
use crate::error::QueryError;
use crate::eval::column::{Column, Series};
use crate::eval::{Evaluator, Grid, Sink, failed};
use crate::plan::strip;
use crate::quote::{ShownHistogram as Shown, plain};

impl<'q> Evaluator<'q> {
    /// `count_values("label", vector)`.
    pub(super) fn count_values(
        &self,
        aggregation: &Aggregation,
        key: Key<'_>,
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        let Node::String(label) = &self.param(aggregation)?.node else {
            return Err(self.broken("a text was expected"));
        };
        if label.is_empty() {
            return Err(failed("invalid label name \"\""));
        }
        let mut places: HashMap<Labels, usize> = HashMap::new();
        let mut counts: Vec<Series<'q>> = Vec::new();
        self.stream(strip(&aggregation.expr), grid, &mut |series| {
            // The labels are made once for each value of a series, not once for each step.
            let mut seen: HashMap<u64, usize> = HashMap::new();
            for (i, value) in series.column.present() {
                let place = match seen.get(&value.to_bits()) {
                    Some(place) => *place,
                    None => {
                        let labels = value_labels(&series.labels, key, label, &plain(value))?;
                        let place = self.place_of(&mut places, &mut counts, labels, grid)?;
                        seen.insert(value.to_bits(), place);
                        place
                    }
                };
                count(&mut counts, place, i);
            }
            for (i, histogram) in series.column.histograms() {
                let labels = value_labels(&series.labels, key, label, &Shown(histogram).to_string())?;
                let place = self.place_of(&mut places, &mut counts, labels, grid)?;
                count(&mut counts, place, i);
            }
            Ok(())
        })?;
        counts.into_iter().try_for_each(sink)
    }

    /// The place of the series with these labels, made if there is none.
    fn place_of(
        &self,
        places: &mut HashMap<Labels, usize>,
        counts: &mut Vec<Series<'q>>,
        labels: Labels,
        grid: Grid,
    ) -> Result<usize, QueryError> {
        if let Some(place) = places.get(&labels) {
            return Ok(*place);
        }
        let column = Column::absent(grid.len, self.budget)?;
        counts.push(Series::new(labels.clone(), column)?);
        places.insert(labels, counts.len() - 1);
        Ok(counts.len() - 1)
    }
}

/// Counts one more at step `i`.
fn count(counts: &mut [Series<'_>], place: usize, i: usize) {
    if let Some(series) = counts.get_mut(place) {
        let before = series.column.get(i).unwrap_or(0.0);
        series.column.set(i, before + 1.0);
    }
}

/// The labels of the group with the value in its label; `without` may take that label away again.
fn value_labels(labels: &Labels, key: Key<'_>, label: &str, value: &str) -> Result<Labels, QueryError> {
    let mut builder = LabelsBuilder::from_labels(&key.of(labels));
    if !key.without || key.keeps(label) {
        builder.set(label, value);
    }
    builder.build().map_err(|error| failed(&error.to_string()))
}
