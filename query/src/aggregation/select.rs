//! Aggregations that keep some of their elements as they are: `topk`, `bottomk`, `limitk`, `limit_ratio`.
//!
//! Each group holds at most k elements per step, each a value and the place of its series; the input flows through.

use std::collections::HashMap;

use std::sync::Arc;

use model::{Histogram, Labels};
use xxhash_rust::xxh64::xxh64;

use crate::aggregation::{Group, Groups, Key, extremes};
use crate::ast::{Aggregation, AggregationOp};
use crate::error::QueryError;
use crate::eval::column::{Charge, Column, Series};
use crate::eval::{Evaluator, Grid, Sink, failed};
use crate::functions::sort::{falling, rising};
use crate::plan::strip;
use crate::quote::Number;

/// An element that was kept.
#[derive(Debug, Clone, Copy)]
struct Kept {
    value: f64,
    /// Place of its series.
    series: usize,
}

/// The elements kept so far of one group at one step: a binary heap with the worst on top for `topk` and `bottomk`.
///
/// It is Prometheus's heap, so that of equal elements the same ones stay.
#[derive(Debug, Default, Clone)]
struct Heap(Vec<Kept>);

/// True if the first is worse: it leaves before the second.
type Worse = fn(f64, f64) -> bool;

fn lower(a: f64, b: f64) -> bool {
    a.is_nan() || a < b
}

fn higher(a: f64, b: f64) -> bool {
    a.is_nan() || a > b
}

impl Heap {
    /// Offers an element; true if it was added or took another's place.
    fn offer(&mut self, element: Kept, k: usize, worse: Worse) -> bool {
        if self.0.len() < k {
            self.0.push(element);
            self.rise(worse);
            return true;
        }
        let Some(top) = self.0.first_mut() else { return false };
        let is_better = worse(top.value, element.value) && !element.value.is_nan();
        if is_better {
            *top = element;
            self.sink(worse);
        }
        is_better
    }

    /// Lets the last element rise to its place.
    fn rise(&mut self, worse: Worse) {
        let mut at = self.0.len().saturating_sub(1);
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.is_worse(at, parent, worse) {
                break;
            }
            self.0.swap(at, parent);
            at = parent;
        }
    }

    /// Lets the first element sink to its place.
    fn sink(&mut self, worse: Worse) {
        let mut at = 0;
        loop {
            let left = 2 * at + 1;
            if left >= self.0.len() {
                break;
            }
            let right = left + 1;
            let child = if right < self.0.len() && self.is_worse(right, left, worse) { right } else { left };
            if !self.is_worse(child, at, worse) {
                break;
            }
            self.0.swap(at, child);
            at = child;
        }
    }

    fn is_worse(&self, a: usize, b: usize, worse: Worse) -> bool {
        match (self.0.get(a), self.0.get(b)) {
            (Some(a), Some(b)) => worse(a.value, b.value),
            _ => false,
        }
    }
}

/// What is kept of a vector.
struct Selection<'s, 'q> {
    evaluator: &'s Evaluator<'q>,
    grid: Grid,
    groups: Groups<Vec<Heap>>,
    /// Labels of the series that had an element kept at some time, and whether their name is to be dropped.
    series: Vec<(Labels, bool)>,
    /// The elements that are histograms, by step and place of the series.
    histograms: HashMap<(usize, usize), Arc<Histogram>>,
    charge: Charge<'q>,
}

impl<'q> Selection<'_, 'q> {
    /// Offers each element of a series to its group by `keep`, which is told the step.
    fn offer(
        &mut self,
        series: &Series<'q>,
        key: Key<'_>,
        takes_histograms: bool,
        mut keep: impl FnMut(usize, Kept, &mut Heap) -> bool,
    ) -> Result<(), QueryError> {
        let (charge, len) = (&mut self.charge, self.grid.len);
        let group = self.groups.enter(key.of(&series.labels), || {
            charge.add(len.saturating_mul(size_of::<Heap>()))?;
            Ok(vec![Heap::default(); len])
        })?;
        let place = self.series.len();
        let (mut kept, mut grown) = (false, 0);
        for (i, value) in series.column.present() {
            if let Some(heap) = group.state.get_mut(i) {
                let before = heap.0.len();
                kept |= keep(i, Kept { value, series: place }, heap);
                grown += heap.0.len() - before;
            }
        }
        for (i, histogram) in series.column.histograms() {
            let element = Kept { value: f64::NAN, series: place };
            let Some(heap) = group.state.get_mut(i).filter(|_| takes_histograms) else { continue };
            let before = heap.0.len();
            if keep(i, element, heap) {
                kept = true;
                charge.add(size_of::<((usize, usize), Histogram)>() + histogram.heap_bytes())?;
                self.histograms.insert((i, place), histogram.clone());
            }
            grown += heap.0.len() - before;
        }
        charge.add(grown * size_of::<Kept>())?;
        if kept {
            charge.add(series.labels.heap_bytes())?;
            self.series.push((series.labels.clone(), series.drop_name));
        }
        Ok(())
    }

    /// Gives the kept elements: for one step group by group in the order `sort` makes, else series by series.
    fn give(self, sort: impl Fn(&mut Vec<Kept>), sink: &mut Sink<'_, 'q>) -> Result<(), QueryError> {
        if self.grid.len == 1 {
            for Group { state, .. } in self.groups.list {
                let mut kept = state.into_iter().next().unwrap_or_default().0;
                sort(&mut kept);
                for element in kept {
                    let Some((labels, drop_name)) = self.series.get(element.series) else { continue };
                    let mut column = Column::constant(1, element.value, self.evaluator.budget)?;
                    if let Some(histogram) = self.histograms.get(&(0, element.series)) {
                        column.set_histogram(0, histogram.clone())?;
                    }
                    let mut series = Series::new(labels.clone(), column)?;
                    series.drop_name = *drop_name;
                    sink(series)?;
                }
            }
            return Ok(());
        }
        let mut columns: HashMap<usize, Column<'q>> = HashMap::new();
        let steps = self.groups.list.iter().flat_map(|group| group.state.iter().enumerate());
        for (i, element) in steps.flat_map(|(i, heap)| heap.0.iter().map(move |kept| (i, kept))) {
            let column = match columns.entry(element.series) {
                std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert(Column::absent(self.grid.len, self.evaluator.budget)?)
                }
            };
            match self.histograms.get(&(i, element.series)) {
                Some(histogram) => column.set_histogram(i, histogram.clone())?,
                None => column.set(i, element.value),
            }
        }
        for (place, (labels, drop_name)) in self.series.into_iter().enumerate() {
            if let Some(column) = columns.remove(&place) {
                let mut series = Series::new(labels, column)?;
                series.drop_name = drop_name;
                sink(series)?;
            }
        }
        Ok(())
    }
}

impl<'q> Evaluator<'q> {
    fn selection(&self, grid: Grid) -> Result<Selection<'_, 'q>, QueryError> {
        let charge = Charge::take(self.budget, 0)?;
        Ok(Selection {
            evaluator: self,
            grid,
            groups: Groups::new(),
            series: Vec::new(),
            histograms: HashMap::new(),
            charge,
        })
    }

    /// `topk`, `bottomk` and `limitk`.
    pub(super) fn select_k(
        &self,
        aggregation: &Aggregation,
        key: Key<'_>,
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        let k = self.scalar(self.param(aggregation)?, grid)?;
        let (min, max) = extremes(&k, grid.len);
        if max < 1.0 {
            return Ok(());
        }
        if max.is_nan() {
            return Err(failed("Parameter value is NaN"));
        }
        if min <= i64::MIN as f64 {
            return Err(failed(&format!("Scalar value {} underflows int64", Number(min))));
        }
        if max >= i64::MAX as f64 {
            return Err(failed(&format!("Scalar value {} overflows int64", Number(max))));
        }
        let worse: Worse = if aggregation.op == AggregationOp::BottomK { higher } else { lower };
        let ranks = aggregation.op != AggregationOp::LimitK;
        let mut selection = self.selection(grid)?;
        self.stream(strip(&aggregation.expr), grid, &mut |series| {
            if ranks && series.column.has_histograms() {
                self.notes.ignored_in_aggregation(aggregation.expr.span, aggregation.op.as_str());
            }
            selection.offer(&series, key, !ranks, |i, element, heap| {
                // A float below 1 becomes 0; the largest possible k is far above any number of series.
                let k = k.get(i).max(0.0) as usize;
                if ranks {
                    heap.offer(element, k, worse)
                } else {
                    let has_room = heap.0.len() < k;
                    if has_room {
                        heap.0.push(element);
                    }
                    has_room
                }
            })
        })?;
        selection.give(
            |kept| match aggregation.op {
                AggregationOp::TopK => kept.sort_by(|a, b| falling(a.value, b.value)),
                AggregationOp::BottomK => kept.sort_by(|a, b| rising(a.value, b.value)),
                _ => {}
            },
            sink,
        )
    }

    /// `limit_ratio`: a sample of the series by the hash of their labels; `r` and `r − 1` complement each other.
    pub(super) fn limit_ratio(
        &self,
        aggregation: &Aggregation,
        key: Key<'_>,
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        let param = self.param(aggregation)?;
        let ratio = self.scalar(param, grid)?;
        let (min, max) = extremes(&ratio, grid.len);
        if max == 0.0 && min == 0.0 {
            return Ok(());
        }
        if max.is_nan() {
            return Err(failed("Ratio value is NaN"));
        }
        if max > 1.0 {
            self.notes.invalid_ratio(param.span, max, 1.0);
        }
        if min < -1.0 {
            self.notes.invalid_ratio(param.span, min, -1.0);
        }
        let mut selection = self.selection(grid)?;
        self.stream(strip(&aggregation.expr), grid, &mut |series| {
            let offset = sample_offset(&series.labels);
            selection.offer(&series, key, true, |i, element, heap| {
                let ratio = ratio.get(i).clamp(-1.0, 1.0);
                let keep = (ratio > 0.0 && offset < ratio) || (ratio < 0.0 && offset >= 1.0 + ratio);
                if keep {
                    heap.0.push(element);
                }
                keep
            })
        })?;
        selection.give(|_| {}, sink)
    }
}

/// Where between 0 and 1 a series stands: Prometheus's hash of its labels (XXH64 of the lengths and texts in turn, a
/// length being one byte, or 255 and three bytes from 255 on) as a share of all hashes.
fn sample_offset(labels: &Labels) -> f64 {
    let mut bytes = Vec::with_capacity(labels.canonical().len());
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        match u8::try_from(text.len()) {
            Ok(length) if length < u8::MAX => bytes.push(length),
            _ => {
                bytes.push(u8::MAX);
                bytes.extend(text.len().to_le_bytes().into_iter().take(3));
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    xxh64(&bytes, 0) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_equal_elements_the_heap_decides() {
        let mut heap = Heap::default();
        for (series, value) in [1.0, 1.0, 2.0].into_iter().enumerate() {
            heap.offer(Kept { value, series }, 2, lower);
        }
        let mut kept: Vec<usize> = heap.0.iter().map(|k| k.series).collect();
        kept.sort_unstable();
        assert_eq!(kept, [1, 2]);
    }

    proptest! {
        #[test]
        fn the_best_stay(values in prop::collection::vec(prop_oneof![8 => -5_i32..5, 1 => Just(99)], 0..40), k in 1_usize..6) {
            let values: Vec<f64> = values.into_iter().map(|v| if v == 99 { f64::NAN } else { f64::from(v) }).collect();
            let mut heap = Heap::default();
            for (series, value) in values.iter().enumerate() {
                heap.offer(Kept { value: *value, series }, k, lower);
            }
            let mut kept: Vec<f64> = heap.0.iter().map(|e| e.value).collect();
            kept.sort_by(|a, b| falling(*a, *b));
            let mut all = values.clone();
            all.sort_by(|a, b| falling(*a, *b));
            all.truncate(k);
            let bits = |list: &[f64]| list.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&kept), bits(&all));
        }
    }

    #[test]
    fn offsets_follow_the_hash() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]).unwrap();
        let want = xxh64(b"\x08__name__\x02up\x03job\x01a", 0) as f64 / u64::MAX as f64;
        assert_eq!(sample_offset(&labels), want);
        let long = "v".repeat(300);
        let labels = Labels::from_pairs([("l", long.as_str())]).unwrap();
        let bytes = [b"\x01l\xff\x2c\x01\x00".as_slice(), long.as_bytes()].concat();
        assert_eq!(sample_offset(&labels), xxh64(&bytes, 0) as f64 / u64::MAX as f64);
    }
}
