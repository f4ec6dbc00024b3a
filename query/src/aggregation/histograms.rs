//! Native histograms in aggregations: put together by `sum` and `avg`, counted by `count` and `group`, left out of the
//! others.

use std::collections::BTreeMap;

use model::{Histogram, HistogramMean, HistogramSum, Incompatible, Joined};

use crate::error::QueryError;
use crate::eval::column::{Charge, Column};
use crate::functions::histograms::Together;

/// What an aggregation does about histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnHistograms {
    /// Adds them.
    Sum,
    /// Takes their mean.
    Mean,
    /// Counts them like floats.
    Count,
    /// Leaves them out.
    Ignore,
}

/// The sum or the mean of some histograms.
#[derive(Debug)]
enum Total {
    Sum(HistogramSum),
    Mean(HistogramMean),
}

/// The histograms of one group at one step.
#[derive(Debug)]
pub(super) struct HistogramFold {
    /// None once histograms met that cannot be put together.
    total: Option<Total>,
    /// What was noted about them.
    pub(super) noted: Together,
}

impl HistogramFold {
    fn of(histogram: &Histogram, kind: OnHistograms) -> Self {
        let total = match kind {
            OnHistograms::Mean => Total::Mean(HistogramMean::of(histogram)),
            _ => Total::Sum(HistogramSum::of(histogram)),
        };
        let mut noted = Together::default();
        noted.meet(histogram);
        HistogramFold { total: Some(total), noted }
    }

    /// Adds a histogram; false if it is the first that does not fit.
    fn push(&mut self, histogram: &Histogram) -> bool {
        self.noted.meet(histogram);
        let joined = match &mut self.total {
            Some(Total::Sum(sum)) => sum.add(histogram),
            Some(Total::Mean(mean)) => mean.push(histogram),
            None => return true,
        };
        self.take(joined)
    }

    fn take(&mut self, joined: Result<Joined, Incompatible>) -> bool {
        match joined {
            Ok(joined) => self.noted.reconciled |= joined.bounds_reconciled,
            Err(Incompatible) => self.total = None,
        }
        joined.is_ok()
    }

    /// Adds the histograms of another; false if they are the first that do not fit.
    fn join(&mut self, other: HistogramFold) -> bool {
        self.noted.join(other.noted);
        let joined = match (&mut self.total, other.total) {
            (Some(Total::Sum(sum)), Some(Total::Sum(more))) => sum.join(more),
            (Some(Total::Mean(mean)), Some(Total::Mean(more))) => mean.join(more),
            _ => {
                self.total = None;
                return true;
            }
        };
        self.take(joined)
    }

    /// The result, if the histograms fitted together.
    pub(super) fn finish(&self) -> Option<Histogram> {
        self.total.as_ref().map(|total| match total {
            Total::Sum(sum) => sum.finish(),
            Total::Mean(mean) => mean.finish(),
        })
    }

    fn bytes(&self) -> usize {
        let heap = match &self.total {
            Some(Total::Sum(sum)) => sum.heap_bytes(),
            Some(Total::Mean(mean)) => mean.heap_bytes(),
            None => 0,
        };
        size_of::<(usize, Self)>() + heap
    }
}

/// The histograms of one group by step.
#[derive(Debug, Default)]
pub(super) struct HistogramFolds(BTreeMap<usize, HistogramFold>);

impl HistogramFolds {
    /// Adds the histograms of a series; false if one of them is the first of its step that does not fit.
    pub(super) fn add(
        &mut self,
        column: &Column<'_>,
        kind: OnHistograms,
        charge: &mut Charge<'_>,
    ) -> Result<bool, QueryError> {
        let mut fits = true;
        for (i, histogram) in column.histograms() {
            match self.0.get_mut(&i) {
                Some(fold) => fits &= fold.push(histogram),
                None => {
                    let fold = HistogramFold::of(histogram, kind);
                    charge.add(fold.bytes())?;
                    self.0.insert(i, fold);
                }
            }
        }
        Ok(fits)
    }

    /// Adds those of another, which come after these; false if some of them do not fit.
    pub(super) fn join(&mut self, later: HistogramFolds) -> bool {
        let mut fits = true;
        for (i, later) in later.0 {
            match self.0.entry(i) {
                std::collections::btree_map::Entry::Occupied(mut entry) => fits &= entry.get_mut().join(later),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(later);
                }
            }
        }
        fits
    }

    /// Step and state, for the steps that have one.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &HistogramFold)> {
        self.0.iter().map(|(i, fold)| (*i, fold))
    }
}
