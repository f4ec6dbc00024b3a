//! Reads the series of a selection and turns each into a column, on one or more threads.
//!
//! [`Evaluator::each_series`] gives the columns to a sink in the set's order. [`Evaluator::fold_series`] gives each
//! thread runs of neighbouring series and a state of its own to fold them into, so that columns need not travel.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use model::{Cuts, Pieces, SeriesSet, TimeRange, Want};

use crate::error::{ErrorKind, QueryError};
use crate::eval::column::{Charge, Column, Series};
use crate::eval::window::RangeSamples;
use crate::eval::{Evaluator, Sink};

/// Series that one thread does between two hand-overs.
const CHUNK_SERIES: usize = 64;
/// Chunks of each thread that may wait to be taken.
const WAITING_CHUNKS: usize = 4;
/// Series below which another thread is not worth its start.
const THREAD_SERIES_MIN: usize = 256;

/// Memory that is used again for each series.
pub(crate) struct Scratch<'q> {
    /// What was read.
    pub(crate) read: Pieces,
    /// The samples without markers, for range functions.
    pub(crate) samples: RangeSamples,
    charge: Charge<'q>,
}

impl Scratch<'_> {
    fn account(&mut self) -> Result<(), QueryError> {
        let read = &self.read.samples;
        let others = read.histograms.capacity() * size_of::<(i64, usize)>()
            + self.read.summaries.capacity() * size_of::<model::Summary>();
        let columns = (read.timestamps_ms.capacity() + read.values.capacity()) * size_of::<f64>();
        self.charge.grow_to(columns + others + self.samples.heap_bytes())
    }
}

/// How samples are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reading {
    /// One by one.
    Samples,
    /// One by one, but only staleness markers need their values.
    Times,
    /// Of each series the newest; with its value or without.
    Newest(bool),
    /// Runs may come as summaries.
    Pieces(Want, Cuts),
}

/// What is made of one series, by its place in the set; none if nothing.
pub(crate) type Transform<'t, 'q> =
    dyn Fn(usize, &mut Scratch<'q>) -> Result<Option<Column<'q>>, QueryError> + Sync + 't;

/// A selection to be read, and what is made of each series.
pub(crate) struct Scan<'t, 'q> {
    /// The series.
    pub(crate) set: &'t dyn SeriesSet,
    /// What of them is read.
    pub(crate) range: TimeRange,
    /// How it is read.
    pub(crate) reading: Reading,
    /// What is made of it.
    pub(crate) transform: &'t Transform<'t, 'q>,
}

impl<'q> Scan<'_, 'q> {
    fn column(&self, i: usize, scratch: &mut Scratch<'q>) -> Result<Option<Column<'q>>, QueryError> {
        let budget = scratch.charge.budget();
        budget.check()?;
        match &self.reading {
            Reading::Samples => {
                scratch.read.summaries.clear();
                self.set.samples(i, self.range, budget, &mut scratch.read.samples)?;
            }
            Reading::Times => {
                scratch.read.summaries.clear();
                self.set.times(i, self.range, budget, &mut scratch.read.samples)?;
            }
            Reading::Newest(with_value) => {
                scratch.read.summaries.clear();
                self.set.newest(i, self.range, *with_value, budget, &mut scratch.read.samples)?;
            }
            Reading::Pieces(want, cuts) => self.set.pieces(i, self.range, *want, cuts, budget, &mut scratch.read)?,
        }
        if scratch.read.is_empty() {
            return Ok(None);
        }
        let made = (self.transform)(i, scratch)?;
        scratch.account()?;
        Ok(made)
    }

    fn series(&self, i: usize, scratch: &mut Scratch<'q>) -> Result<Option<Series<'q>>, QueryError> {
        match self.column(i, scratch)? {
            Some(column) => Series::new(self.set.labels(i)?, column).map(Some),
            None => Ok(None),
        }
    }
}

impl<'q> Evaluator<'q> {
    /// Reads each series, transforms it and gives it to `sink`, in the set's order.
    pub(crate) fn each_series(&self, scan: &Scan<'_, 'q>, sink: &mut Sink<'_, 'q>) -> Result<(), QueryError> {
        let len = scan.set.len();
        let threads = self.threads_for(len);
        if threads == 1 {
            let mut scratch = self.scratch()?;
            for i in 0..len {
                if let Some(series) = scan.series(i, &mut scratch)? {
                    sink(series)?;
                }
            }
            return Ok(());
        }
        let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = |made: mpsc::SyncSender<(usize, Result<Vec<Series<'q>>, QueryError>)>| {
            let mut scratch = self.scratch();
            while !stopped.load(Ordering::Relaxed) {
                let chunk = next.fetch_add(1, Ordering::Relaxed);
                let start = chunk.saturating_mul(CHUNK_SERIES);
                if start >= len {
                    break;
                }
                let places = start..(start + CHUNK_SERIES).min(len);
                let series = match &mut scratch {
                    Ok(scratch) => places.filter_map(|i| scan.series(i, scratch).transpose()).collect(),
                    Err(error) => Err(error.clone()),
                };
                if made.send((chunk, series)).is_err() {
                    break;
                }
            }
        };
        let (sender, receiver) = mpsc::sync_channel(threads * WAITING_CHUNKS);
        thread::scope(|scope| {
            let start = |sender| scope.spawn(|| work(sender));
            let running: Vec<_> = (0..threads).map(|_| start(sender.clone())).collect();
            drop(sender);
            let mut in_order = InOrder { waiting: BTreeMap::new(), next: 0 };
            let mut given = Ok(());
            for (chunk, series) in &receiver {
                given = in_order.add(chunk, series, sink);
                if given.is_err() {
                    break;
                }
            }
            // Threads that wait to hand over find nobody to take it, and end.
            stopped.store(true, Ordering::Relaxed);
            drop(receiver);
            let dead = running.into_iter().filter_map(|thread| thread.join().err()).count();
            given?;
            if dead == 0 { Ok(()) } else { Err(died()) }
        })
    }

    /// Folds all series into states: each run of neighbouring series into one that `make` gives, by `fold`, which is
    /// told the series' place; gives the states in the set's order.
    pub(crate) fn fold_series<S: Send>(
        &self,
        scan: &Scan<'_, 'q>,
        runs: usize,
        make: impl Fn() -> Result<S, QueryError> + Sync,
        fold: impl Fn(&mut S, usize, &Column<'q>) -> Result<(), QueryError> + Sync,
    ) -> Result<Vec<S>, QueryError> {
        let len = scan.set.len();
        let threads = self.threads_for(len);
        let runs = if threads == 1 { 1 } else { runs.clamp(1, len.max(1)) };
        let run = |places: Range<usize>| -> Result<S, QueryError> {
            let (mut state, mut scratch) = (make()?, self.scratch()?);
            for i in places {
                if let Some(column) = scan.column(i, &mut scratch)? {
                    fold(&mut state, i, &column)?;
                }
            }
            Ok(state)
        };
        let places = |i: usize| len * i / runs..len * (i + 1) / runs;
        if runs == 1 {
            return Ok(vec![run(0..len)?]);
        }
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done: Vec<(usize, Result<S, QueryError>)> = Vec::new();
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= runs {
                    return done;
                }
                let state = run(places(i));
                if state.is_err() {
                    next.store(runs, Ordering::Relaxed);
                }
                done.push((i, state));
            }
        };
        let mut states = thread::scope(|scope| {
            let running: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut all = work();
            for thread in running {
                all.extend(thread.join().map_err(|_| died())?);
            }
            Ok::<_, QueryError>(all)
        })?;
        states.sort_by_key(|(i, _)| *i);
        states.into_iter().map(|(_, state)| state).collect()
    }

    /// Threads that are worth their start for so many series.
    pub(crate) fn threads_for(&self, series: usize) -> usize {
        self.options.threads.clamp(1, (series / THREAD_SERIES_MIN).max(1))
    }

    fn scratch(&self) -> Result<Scratch<'q>, QueryError> {
        Ok(Scratch { read: Pieces::default(), samples: RangeSamples::default(), charge: Charge::take(self.budget, 0)? })
    }
}

fn died() -> QueryError {
    QueryError { kind: ErrorKind::Execution, message: "a thread of the evaluation died".to_owned(), span: None }
}

/// Chunks that came before their turn.
struct InOrder<'q> {
    waiting: BTreeMap<usize, Result<Vec<Series<'q>>, QueryError>>,
    next: usize,
}

impl<'q> InOrder<'q> {
    /// Takes a chunk and gives to `sink` what is due.
    fn add(
        &mut self,
        chunk: usize,
        series: Result<Vec<Series<'q>>, QueryError>,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        self.waiting.insert(chunk, series);
        while let Some(due) = self.waiting.remove(&self.next) {
            self.next += 1;
            for series in due? {
                sink(series)?;
            }
        }
        Ok(())
    }
}
