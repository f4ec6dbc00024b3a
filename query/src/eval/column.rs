//! Values over the step grid: a column has one place for each evaluation time, a series is a column with labels.
//!
//! Memory of columns is taken from the query's budget when they are made and given back when they are dropped, so the
//! account always shows what the evaluation really holds.

use std::sync::Arc;

use model::{Budget, Histogram, Labels, STALE_NAN_BITS};

use crate::error::{ErrorKind, QueryError};

/// Bytes taken from a budget, given back on drop.
#[derive(Debug)]
pub(crate) struct Charge<'q> {
    budget: &'q Budget,
    bytes: u64,
}

impl<'q> Charge<'q> {
    /// Takes `bytes`.
    pub(crate) fn take(budget: &'q Budget, bytes: usize) -> Result<Self, QueryError> {
        let bytes = bytes as u64;
        budget.take_bytes(bytes)?;
        Ok(Charge { budget, bytes })
    }

    /// The budget.
    pub(crate) fn budget(&self) -> &'q Budget {
        self.budget
    }

    /// Takes more if `bytes` in total are more than what was taken so far.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), QueryError> {
        let more = (bytes as u64).saturating_sub(self.bytes);
        if more > 0 {
            self.budget.take_bytes(more)?;
            self.bytes += more;
        }
        Ok(())
    }

    /// Takes `bytes` more.
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), QueryError> {
        self.budget.take_bytes(bytes as u64)?;
        self.bytes += bytes as u64;
        Ok(())
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.budget.release_bytes(self.bytes);
    }
}

/// One place per evaluation time, each with a value or without.
///
/// The staleness marker's bits say "no value": a marker never survives selection, so the bits are free. Values are
/// floats, and most columns have nothing else; native histograms stand in a sparse list beside them, by rising place. A
/// place has one or the other.
#[derive(Debug)]
pub(crate) struct Column<'q> {
    values: Vec<f64>,
    histograms: Vec<(usize, Arc<Histogram>)>,
    charge: Charge<'q>,
}

const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// A value that can stand in a column: a computed NaN that happens to have the marker's bits becomes an ordinary one.
fn storable(value: f64) -> f64 {
    if value.to_bits() == STALE_NAN_BITS { f64::NAN } else { value }
}

fn as_value(raw: f64) -> Option<f64> {
    (raw.to_bits() != STALE_NAN_BITS).then_some(raw)
}

impl<'q> Column<'q> {
    /// A column of `len` places without values.
    pub(crate) fn absent(len: usize, budget: &'q Budget) -> Result<Self, QueryError> {
        Self::with(len, ABSENT, budget)
    }

    /// A column with the same value everywhere.
    pub(crate) fn constant(len: usize, value: f64, budget: &'q Budget) -> Result<Self, QueryError> {
        Self::with(len, storable(value), budget)
    }

    fn with(len: usize, raw: f64, budget: &'q Budget) -> Result<Self, QueryError> {
        let charge = Charge::take(budget, len.saturating_mul(size_of::<f64>()))?;
        let mut values = Vec::new();
        values.try_reserve_exact(len).map_err(|_| QueryError {
            kind: ErrorKind::Limit,
            message: format!("no memory for {len} evaluation times"),
            span: None,
        })?;
        values.resize(len, raw);
        Ok(Column { values, histograms: Vec::new(), charge })
    }

    /// Number of places.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The float at place `i`, if there is one.
    pub(crate) fn get(&self, i: usize) -> Option<f64> {
        self.values.get(i).copied().and_then(as_value)
    }

    /// Puts a float at place `i`.
    pub(crate) fn set(&mut self, i: usize, value: f64) {
        if let Some(place) = self.values.get_mut(i) {
            *place = storable(value);
            self.take_histogram(i);
        }
    }

    /// Takes the value at place `i` away.
    pub(crate) fn clear(&mut self, i: usize) {
        if let Some(place) = self.values.get_mut(i) {
            *place = ABSENT;
            self.take_histogram(i);
        }
    }

    fn take_histogram(&mut self, i: usize) {
        if !self.histograms.is_empty()
            && let Ok(at) = self.histograms.binary_search_by_key(&i, |(place, _)| *place)
        {
            self.histograms.remove(at);
        }
    }

    /// The histogram at place `i`, if there is one.
    pub(crate) fn histogram(&self, i: usize) -> Option<&Arc<Histogram>> {
        let at = self.histograms.binary_search_by_key(&i, |(place, _)| *place).ok()?;
        self.histograms.get(at).map(|(_, histogram)| histogram)
    }

    /// Puts a histogram at place `i`.
    pub(crate) fn set_histogram(&mut self, i: usize, histogram: Arc<Histogram>) -> Result<(), QueryError> {
        let Some(place) = self.values.get_mut(i) else { return Ok(()) };
        *place = ABSENT;
        match self.histograms.binary_search_by_key(&i, |(place, _)| *place) {
            Ok(at) => {
                if let Some((_, held)) = self.histograms.get_mut(at) {
                    *held = histogram;
                }
            }
            Err(at) => {
                self.charge.add(size_of::<(usize, Histogram)>() + histogram.heap_bytes())?;
                self.histograms.insert(at, (i, histogram));
            }
        }
        Ok(())
    }

    /// True if a place has a histogram.
    pub(crate) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// Place and histogram, for the places that have one.
    pub(crate) fn histograms(&self) -> impl Iterator<Item = (usize, &Arc<Histogram>)> + '_ {
        self.histograms.iter().map(|(i, histogram)| (*i, histogram))
    }

    /// Replaces each histogram or takes it away; the closure is told the place.
    pub(crate) fn filter_map_histograms(
        &mut self,
        mut change: impl FnMut(usize, Arc<Histogram>) -> Option<Arc<Histogram>>,
    ) {
        if !self.histograms.is_empty() {
            let before = std::mem::take(&mut self.histograms);
            self.histograms.extend(before.into_iter().filter_map(|(i, h)| Some((i, change(i, h)?))));
        }
    }

    /// Takes all histograms away.
    pub(crate) fn clear_histograms(&mut self) {
        self.histograms.clear();
    }

    /// True if place `i` has a value of either kind.
    pub(crate) fn has(&self, i: usize) -> bool {
        self.get(i).is_some() || (self.has_histograms() && self.histogram(i).is_some())
    }

    /// The places that have a value of either kind, those with floats first.
    pub(crate) fn occupied(&self) -> impl Iterator<Item = usize> + '_ {
        self.present().map(|(i, _)| i).chain(self.histograms.iter().map(|(i, _)| *i))
    }

    /// Takes away the values of either kind at the places that do not pass.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        self.filter_map(|i, value| keep(i).then_some(value));
        self.filter_map_histograms(|i, histogram| keep(i).then_some(histogram));
    }

    /// Copies the value at place `from` of another column, of either kind, to place `to`.
    pub(crate) fn copy_from(&mut self, to: usize, other: &Column<'_>, from: usize) -> Result<(), QueryError> {
        if let Some(value) = other.get(from) {
            self.set(to, value);
        } else if let Some(histogram) = other.histogram(from) {
            self.set_histogram(to, histogram.clone())?;
        }
        Ok(())
    }

    /// True if no place has a value of either kind.
    pub(crate) fn is_vacant(&self) -> bool {
        self.histograms.is_empty() && self.has_no_floats()
    }

    /// True if no place has a float.
    pub(crate) fn has_no_floats(&self) -> bool {
        self.values.iter().all(|raw| as_value(*raw).is_none())
    }

    /// The float of each place in turn.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = Option<f64>> + '_ {
        self.values.iter().map(|raw| as_value(*raw))
    }

    /// Place and float, for the places that have one.
    pub(crate) fn present(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.iter().enumerate().filter_map(|(i, value)| Some((i, value?)))
    }

    /// Replaces each float.
    pub(crate) fn map(&mut self, mut change: impl FnMut(f64) -> f64) {
        for place in &mut self.values {
            if let Some(value) = as_value(*place) {
                *place = storable(change(value));
            }
        }
    }

    /// Replaces each float or takes it away; the closure is told the place.
    pub(crate) fn filter_map(&mut self, mut change: impl FnMut(usize, f64) -> Option<f64>) {
        for (i, place) in self.values.iter_mut().enumerate() {
            if let Some(value) = as_value(*place) {
                *place = change(i, value).map_or(ABSENT, storable);
            }
        }
    }

    /// The budget that this column is charged to.
    pub(crate) fn budget(&self) -> &'q Budget {
        self.charge.budget
    }
}

/// Labels with a value at each evaluation time.
#[derive(Debug)]
pub(crate) struct Series<'q> {
    /// The labels, the metric's name still among them where it is to be dropped in the end.
    pub(crate) labels: Labels,
    /// True if name, type and unit are no longer true of the values and go at the end of the evaluation.
    pub(crate) drop_name: bool,
    /// The values.
    pub(crate) column: Column<'q>,
}

impl<'q> Series<'q> {
    /// A series as it was selected; its labels are charged to the column.
    pub(crate) fn new(labels: Labels, mut column: Column<'q>) -> Result<Self, QueryError> {
        column.charge.add(labels.heap_bytes() + size_of::<Self>())?;
        Ok(Series { labels, drop_name: false, column })
    }

    /// The same series with another column.
    pub(crate) fn with_column(&self, column: Column<'q>) -> Result<Self, QueryError> {
        let mut series = Series::new(self.labels.clone(), column)?;
        series.drop_name = self.drop_name;
        Ok(series)
    }

    /// The same value at `len` places; for what was evaluated at a single time.
    pub(crate) fn broadcast(self, len: usize) -> Result<Self, QueryError> {
        let budget = self.column.budget();
        let column = match (self.column.get(0), self.column.histogram(0)) {
            (Some(value), _) => Column::constant(len, value, budget)?,
            (None, histogram) => {
                let mut column = Column::absent(len, budget)?;
                if let Some(histogram) = histogram {
                    for i in 0..len {
                        column.set_histogram(i, histogram.clone())?;
                    }
                }
                column
            }
        };
        self.with_column(column)
    }
}

/// A number at each evaluation time.
#[derive(Debug)]
pub(crate) enum Scalars<'q> {
    /// The same at all times.
    Constant(f64),
    /// One for each time.
    Column(Column<'q>),
}

impl Scalars<'_> {
    /// The number at place `i`; NaN beyond the end.
    pub(crate) fn get(&self, i: usize) -> f64 {
        match self {
            Scalars::Constant(value) => *value,
            Scalars::Column(column) => column.get(i).unwrap_or(f64::NAN),
        }
    }

    /// Replaces each number.
    pub(crate) fn map(&mut self, mut change: impl FnMut(f64) -> f64) {
        match self {
            Scalars::Constant(value) => *value = change(*value),
            Scalars::Column(column) => column.map(change),
        }
    }

    /// The numbers at the first `len` places; a constant counts once.
    pub(crate) fn distinct(&self, len: usize) -> impl Iterator<Item = f64> + '_ {
        let count = match self {
            Scalars::Constant(_) => len.min(1),
            Scalars::Column(column) => column.len().min(len),
        };
        (0..count).map(|i| self.get(i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::stale_nan;

    #[test]
    fn a_computed_marker_is_a_value() {
        let budget = Budget::unlimited();
        let mut column = Column::absent(2, &budget).unwrap();
        column.set(0, f64::from_bits(STALE_NAN_BITS | 1 << 63));
        column.map(|v| -v);
        assert!(column.get(0).unwrap().is_nan());
        column.set(1, stale_nan());
        assert!(column.get(1).unwrap().is_nan());
        column.clear(1);
        assert_eq!(column.get(1), None);
        assert_eq!(column.present().count(), 1);
    }

    #[test]
    fn a_place_has_a_float_or_a_histogram() {
        let budget = Budget::unlimited();
        let histogram = |count| Arc::new(Histogram { count, ..Histogram::default() });
        let mut column = Column::constant(3, 1.0, &budget).unwrap();
        column.set_histogram(2, histogram(2.0)).unwrap();
        column.set_histogram(0, histogram(1.0)).unwrap();
        assert_eq!(column.iter().collect::<Vec<_>>(), [None, Some(1.0), None]);
        assert_eq!(column.histograms().map(|(i, h)| (i, h.count)).collect::<Vec<_>>(), [(0, 1.0), (2, 2.0)]);
        assert_eq!(column.occupied().collect::<Vec<_>>(), [1, 0, 2]);
        column.set(0, 5.0);
        assert!(column.histogram(0).is_none() && column.has(0));
        column.retain(|i| i == 2);
        assert!(column.has_no_floats() && !column.is_vacant());
        column.clear(2);
        assert!(column.is_vacant());
    }

    #[test]
    fn memory_is_taken_and_given_back() {
        let budget = Budget::new(0, 800);
        let column = Column::absent(100, &budget).unwrap();
        assert!(Column::absent(1, &budget).is_err());
        drop(column);
        assert!(Column::absent(100, &budget).is_ok());
        assert!(Column::absent(101, &budget).is_err());
        assert!(Column::absent(usize::MAX, &budget).is_err());
    }
}
