//! The seam between storage and query: how series are found and read.

use std::collections::HashMap;

use crate::budget::{Budget, BudgetError};
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::sample::SampleColumns;
use crate::summary::{Coarse, Cuts, Pieces, Want};
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
            for (name, _) in &set.labels(i)? {
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
            if let Some(value) = set.labels(i)?.get(name)
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

    /// Labels of series `i`; `i` is below [`SeriesSet::len`]. They may be put together only now, so ask once.
    ///
    /// # Errors
    /// [`SourceError`] if they cannot be read.
    fn labels(&self, i: usize) -> Result<Labels, SourceError>;

    /// Puts the series into groups by those of their labels whose names `keep` lets pass.
    ///
    /// Cheaper than [`SeriesSet::labels`] of each series where a source knows labels by symbols.
    ///
    /// # Errors
    /// [`SourceError`] if labels cannot be read or the budget is used up.
    fn groups(&self, keep: &dyn Fn(&str) -> bool, budget: &Budget) -> Result<SeriesGroups, SourceError> {
        let mut groups = SeriesGroups::default();
        for i in 0..self.len() {
            budget.check()?;
            groups.push(self.labels(i)?.filtered(keep));
        }
        Ok(groups)
    }

    /// A part of the range that has all samples of series `i` in it, for who reads a long range in pieces.
    ///
    /// The default knows no smaller one than the range.
    ///
    /// # Errors
    /// [`SourceError`] if it cannot be read.
    fn extent(&self, i: usize, range: TimeRange) -> Result<TimeRange, SourceError> {
        let _ = i;
        Ok(range)
    }

    /// Reads the samples of series `i` in the closed range into `out`, which is cleared first.
    ///
    /// Times rise strictly; duplicates are resolved (the last write wins); staleness markers are there. Samples read
    /// are counted in the budget.
    ///
    /// # Errors
    /// [`SourceError`] if a block is corrupt or the budget is used up.
    fn samples(&self, i: usize, range: TimeRange, budget: &Budget, out: &mut SampleColumns) -> Result<(), SourceError>;

    /// Reads as [`SeriesSet::samples`], for who asks when there are samples and not what they are: the values of samples
    /// other than staleness markers may be 0.
    ///
    /// The default reads them all.
    ///
    /// # Errors
    /// As [`SeriesSet::samples`].
    fn times(&self, i: usize, range: TimeRange, budget: &Budget, out: &mut SampleColumns) -> Result<(), SourceError> {
        self.samples(i, range, budget, out)
    }

    /// Reads as [`SeriesSet::samples`], for who asks for the newest sample in the range only: it is there, others may be
    /// left out. Without `with_value` its value may be 0, unless it is a staleness marker.
    ///
    /// The default reads them all.
    ///
    /// # Errors
    /// As [`SeriesSet::samples`].
    fn newest(
        &self,
        i: usize,
        range: TimeRange,
        with_value: bool,
        budget: &Budget,
        out: &mut SampleColumns,
    ) -> Result<(), SourceError> {
        if with_value { self.samples(i, range, budget, out) } else { self.times(i, range, budget, out) }
    }

    /// Reads as [`SeriesSet::samples`], but a run of samples may stand as a [`crate::Summary`] instead.
    ///
    /// The contract of an implementer:
    /// - Samples and summaries together are exactly what `samples` would give: each sample is in one of them, once.
    ///   A summary lies inside `range`, is not [`Cuts::split`], and no sample that is given lies in its range.
    /// - Where runs overlap (duplicates, late samples, deletes, retention that cuts a run), what would have to be merged
    ///   comes as samples: a summary is used only of a run to which nothing else has to be added or taken away.
    /// - A summary knows all that is in `want`. What is not known (a time of the first sample, say, because the run
    ///   begins with markers) means samples.
    /// - Of a series that has native histograms in the range, all comes as samples.
    /// - If `want` has no need of values, the values of samples other than markers may be 0.
    /// - Each sample and each summary counts as one in the budget.
    ///
    /// A source with buckets of fixed resolutions takes the coarsest that are not split, and finer ones or samples at the
    /// edges. Where the samples are gone and it has nothing finer for a bucket that is split, the bucket stands as a whole
    /// at the time of its last sample, which is then the range of its summary, and [`Pieces::has_split_buckets`] says so.
    ///
    /// The default gives samples only.
    ///
    /// # Errors
    /// As [`SeriesSet::samples`].
    fn pieces(
        &self,
        i: usize,
        range: TimeRange,
        want: Want,
        cuts: &Cuts,
        budget: &Budget,
        out: &mut Pieces,
    ) -> Result<(), SourceError> {
        let _ = (want, cuts);
        out.clear();
        self.samples(i, range, budget, &mut out.samples)
    }

    /// The length of the coarsest buckets that may stand for samples that are gone, in milliseconds; 0 if none do.
    fn coarsest_ms(&self) -> i64 {
        0
    }

    /// Where in the range of series `i` buckets stand for samples that are gone; the coarsest first, which are the oldest.
    /// There, [`SeriesSet::samples`] and its like give the last sample of each bucket, and the staleness marker that ended
    /// it.
    ///
    /// # Errors
    /// As [`SeriesSet::samples`].
    fn coarse(&self, i: usize, range: TimeRange) -> Result<Vec<Coarse>, SourceError> {
        let _ = (i, range);
        Ok(Vec::new())
    }
}

/// Series by group.
#[derive(Debug, Clone, Default)]
pub struct SeriesGroups {
    /// For each series the place of its group in `labels`.
    pub group_of: Vec<u32>,
    /// The labels of each group, each once, in the order in which the groups come up.
    pub labels: Vec<Labels>,
    places: HashMap<Labels, u32>,
}

impl SeriesGroups {
    /// The place of the group with these labels, made if there is none.
    pub fn place(&mut self, labels: Labels) -> u32 {
        let next = self.labels.len() as u32;
        *self.places.entry(labels).or_insert_with_key(|labels| {
            self.labels.push(labels.clone());
            next
        })
    }

    /// Adds the next series, which is in the group with these labels.
    pub fn push(&mut self, labels: Labels) {
        let place = self.place(labels);
        self.group_of.push(place);
    }
}
