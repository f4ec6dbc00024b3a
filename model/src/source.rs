//! The seam between storage and query: how series are found and read.

use crate::budget::{Budget, BudgetError};
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::sample::SampleColumns;
use crate::time::TimeRange;

/// What every read is confined to: a matcher that is added to each selection.
///
/// The default confines nothing. The server derives the scope from the caller's rights (label `org`).
#[derive(Debug, Clone, Default)]
pub struct Scope {
    forced: Option<Matcher>,
}

impl Scope {
    /// A scope in which only series that pass the matcher exist.
    pub fn confined(matcher: Matcher) -> Self {
        Scope { forced: Some(matcher) }
    }

    /// The matcher to add, if any.
    pub fn forced(&self) -> Option<&Matcher> {
        self.forced.as_ref()
    }
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The query's account is empty, or it was cancelled.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// The data could not be read: an I/O error or a corrupt file; the text names it.
    #[error("{0}")]
    Storage(String),
}

/// A consistent, immutable view of all series. One query takes one view and sees each sample once.
///
/// Implementers promise that two calls with the same arguments give the same answer, however long the view is held.
pub trait SeriesSource: Send + Sync {
    /// Finds the series that pass all matchers and the scope, and that may have samples in the range.
    ///
    /// An empty matcher list selects everything. The set is sorted by [`Labels`]; a series without samples in the
    /// range may be in it.
    ///
    /// # Errors
    /// [`SourceError`] if a file cannot be read or the budget is used up.
    fn select(
        &self,
        scope: &Scope,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Box<dyn SeriesSet + '_>, SourceError>;

    /// The names of all labels of the series that pass, sorted, each once.
    ///
    /// # Errors
    /// As [`SeriesSource::select`].
    fn label_names(
        &self,
        scope: &Scope,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<String>, SourceError> {
        let set = self.select(scope, matchers, range, budget)?;
        let mut names = std::collections::BTreeSet::new();
        for i in 0..set.len() {
            budget.check()?;
            for (name, _) in &set.labels(i) {
                if !names.contains(name) {
                    names.insert(name.to_owned());
                }
            }
        }
        Ok(names.into_iter().collect())
    }

    /// The values of one label over the series that pass, sorted, each once.
    ///
    /// # Errors
    /// As [`SeriesSource::select`].
    fn label_values(
        &self,
        scope: &Scope,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<String>, SourceError> {
        let set = self.select(scope, matchers, range, budget)?;
        let mut values = std::collections::BTreeSet::new();
        for i in 0..set.len() {
            budget.check()?;
            if let Some(value) = set.labels(i).get(name)
                && !values.contains(value)
            {
                values.insert(value.to_owned());
            }
        }
        Ok(values.into_iter().collect())
    }
}

/// Selected series, addressed by position; several threads may read different series at the same time.
pub trait SeriesSet: Send + Sync {
    /// Number of series.
    fn len(&self) -> usize;

    /// True if nothing was selected.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Labels of series `i`; `i` is below [`SeriesSet::len`].
    fn labels(&self, i: usize) -> Labels;

    /// Reads the samples of series `i` in the closed range into `out`, which is cleared first.
    ///
    /// Times rise strictly; duplicates are resolved (the last write wins); staleness markers are there. Samples read
    /// are counted in the budget.
    ///
    /// # Errors
    /// [`SourceError`] if a block is corrupt or the budget is used up.
    fn samples(&self, i: usize, range: TimeRange, budget: &Budget, out: &mut SampleColumns) -> Result<(), SourceError>;
}
