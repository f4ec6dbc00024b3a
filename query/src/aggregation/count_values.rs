//! `count_values`: one series for each value that occurs, told apart by a label.

use std::collections::HashMap;

use model::{Labels, LabelsBuilder};

use crate::aggregation::Key;
use crate::ast::{Aggregation, Node};
use crate::error::QueryError;
use crate::eval::column::{Column, Series};
use crate::eval::{Evaluator, Grid, Sink, failed};
use crate::plan::strip;
use crate::quote::plain;

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
                        let labels = value_labels(&series.labels, key, label, value)?;
                        let place = match places.get(&labels) {
                            Some(place) => *place,
                            None => {
                                let column = Column::absent(grid.len, self.budget)?;
                                counts.push(Series::new(labels.clone(), column)?);
                                places.insert(labels, counts.len() - 1);
                                counts.len() - 1
                            }
                        };
                        seen.insert(value.to_bits(), place);
                        place
                    }
                };
                if let Some(series) = counts.get_mut(place) {
                    let before = series.column.get(i).unwrap_or(0.0);
                    series.column.set(i, before + 1.0);
                }
            }
            Ok(())
        })?;
        counts.into_iter().try_for_each(sink)
    }
}

/// The labels of the group with the value in its label; `without` may take that label away again.
fn value_labels(labels: &Labels, key: Key<'_>, label: &str, value: f64) -> Result<Labels, QueryError> {
    let mut builder = LabelsBuilder::from_labels(&key.of(labels));
    if !key.without || key.keeps(label) {
        builder.set(label, &plain(value));
    }
    builder.build().map_err(|error| failed(&error.to_string()))
}
