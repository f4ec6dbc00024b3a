//! Reads the series of a selection one by one and turns each into a column, on one or more threads, in order.

use std::thread;

use model::{Labels, SampleColumns, SeriesSet, TimeRange};

use crate::error::{ErrorKind, QueryError};
use crate::eval::column::{Charge, Column, Series};
use crate::eval::window::RangeSamples;
use crate::eval::{Evaluator, Sink};

/// Series that one thread does between two hand-overs.
const BATCH_SERIES: usize = 64;

/// Memory that is used again for each series.
pub(crate) struct Scratch<'q> {
    /// What was read.
    pub(crate) read: SampleColumns,
    /// The same without markers, for range functions.
    pub(crate) samples: RangeSamples,
    charge: Charge<'q>,
}

impl Scratch<'_> {
    fn account(&mut self) -> Result<(), QueryError> {
        let read = &self.read;
        let histograms = read.histograms.capacity() * size_of::<(i64, usize)>();
        let columns = (read.timestamps_ms.capacity() + read.values.capacity()) * size_of::<f64>();
        self.charge.grow_to(columns + histograms + self.samples.heap_bytes())
    }
}

/// What is made of one series; none if nothing.
pub(crate) type Transform<'t, 'q> =
    dyn Fn(&Labels, &mut Scratch<'q>) -> Result<Option<Column<'q>>, QueryError> + Sync + 't;

impl<'q> Evaluator<'q> {
    /// Reads each series of `set` in `range`, transforms it and gives it to `sink`, in the set's order.
    pub(crate) fn each_series(
        &self,
        set: &dyn SeriesSet,
        range: TimeRange,
        transform: &Transform<'_, 'q>,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        let threads = self.options.threads.clamp(1, set.len().div_ceil(BATCH_SERIES).max(1));
        if threads == 1 {
            let mut scratch = self.scratch()?;
            for i in 0..set.len() {
                if let Some(series) = self.one_series(set, i, range, transform, &mut scratch)? {
                    sink(series)?;
                }
            }
            return Ok(());
        }
        let mut next = 0;
        while next < set.len() {
            let batch_end = (next + threads * BATCH_SERIES).min(set.len());
            for part in self.batch(set, next..batch_end, range, transform)? {
                sink(part)?;
            }
            next = batch_end;
        }
        Ok(())
    }

    /// One batch, its series spread over threads.
    fn batch(
        &self,
        set: &dyn SeriesSet,
        places: std::ops::Range<usize>,
        range: TimeRange,
        transform: &Transform<'_, 'q>,
    ) -> Result<Vec<Series<'q>>, QueryError> {
        let places: Vec<usize> = places.collect();
        let parts: Vec<Result<Vec<Series<'q>>, QueryError>> = thread::scope(|scope| {
            let work = |part: &[usize]| -> Result<Vec<Series<'q>>, QueryError> {
                let mut scratch = self.scratch()?;
                let made = part.iter().map(|i| self.one_series(set, *i, range, transform, &mut scratch));
                made.filter_map(Result::transpose).collect()
            };
            let running: Vec<_> = places.chunks(BATCH_SERIES).map(|part| scope.spawn(move || work(part))).collect();
            let died = || QueryError {
                kind: ErrorKind::Execution,
                message: "a thread of the evaluation died".to_owned(),
                span: None,
            };
            running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(died()))).collect()
        });
        let mut all = Vec::with_capacity(places.len());
        for part in parts {
            all.extend(part?);
        }
        Ok(all)
    }

    fn scratch(&self) -> Result<Scratch<'q>, QueryError> {
        Ok(Scratch {
            read: SampleColumns::default(),
            samples: RangeSamples::default(),
            charge: Charge::take(self.budget, 0)?,
        })
    }

    fn one_series(
        &self,
        set: &dyn SeriesSet,
        i: usize,
        range: TimeRange,
        transform: &Transform<'_, 'q>,
        scratch: &mut Scratch<'q>,
    ) -> Result<Option<Series<'q>>, QueryError> {
        self.budget.check()?;
        set.samples(i, range, self.budget, &mut scratch.read)?;
        if scratch.read.is_empty() {
            return Ok(None);
        }
        let labels = set.labels(i)?;
        let made = transform(&labels, scratch)?;
        scratch.account()?;
        made.map(|column| Series::new(labels, column)).transpose()
    }
}
