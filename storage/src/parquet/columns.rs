//! Which labels have a column of their own.

use std::sync::Arc;

/// Names that a label's column must not have: ours, and that of the partition.
pub const RESERVED_COLUMNS: [&str; 9] =
    ["metric", "timestamp", "value", "stale", "type", "series", "histogram", "labels", "dt"];

/// Which labels have a column of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowColumns {
    labels: Arc<[String]>,
}

impl RowColumns {
    /// Columns for these labels.
    ///
    /// # Errors
    /// A text for people if a name is reserved, empty, or there twice: readers tell no upper from lower case.
    pub fn new(labels: Vec<String>) -> Result<Self, String> {
        let mut seen: Vec<String> = RESERVED_COLUMNS.iter().map(|name| (*name).to_owned()).collect();
        for label in &labels {
            let folded = label.to_lowercase();
            if label.is_empty() || label == model::METRIC_NAME {
                return Err(format!("{label:?} cannot be a column: it is no label, or the metric's name"));
            }
            if seen.contains(&folded) {
                return Err(format!("{label:?} cannot be a column: there is one of this name"));
            }
            seen.push(folded);
        }
        Ok(RowColumns { labels: labels.into() })
    }

    /// The labels in order.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }
}

/// The labels that have a column unless the configuration says otherwise: those of pipelines, hosts and histograms.
impl Default for RowColumns {
    fn default() -> Self {
        let labels = [
            "job",
            "instance",
            "component",
            "job_id",
            "job_name",
            "operator_id",
            "operator_name",
            "task_id",
            "task_name",
            "subtask_index",
            "le",
            "quantile",
        ];
        RowColumns { labels: labels.map(str::to_owned).into() }
    }
}
