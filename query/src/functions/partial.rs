//! Range functions over runs of samples: what a run amounts to, how two neighbouring runs are joined, and for each
//! function that needs no more than that, what it makes of the run that fills its window.

use model::{Cuts, Pieces, Sample, Steps, Summary, Want, is_stale};

use crate::eval::column::Column;
use crate::eval::window::Windows;
use crate::functions::rate::{Kind, Stretch};
use crate::functions::rollup::slide;
use crate::numeric::KahanSum;

/// What a run of samples amounts to, as far as it was wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Partial {
    pub(crate) count: u64,
    pub(crate) first: Sample,
    pub(crate) last: Sample,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) sum: KahanSum,
    pub(crate) resets: u64,
    /// What resets took.
    pub(crate) lost: KahanSum,
}

impl Partial {
    fn of(sample: Sample) -> Self {
        let value = sample.value;
        Partial {
            count: 1,
            first: sample,
            last: sample,
            min: value,
            max: value,
            sum: KahanSum::default().plus(value),
            resets: 0,
            lost: KahanSum::default(),
        }
    }

    fn of_summary(summary: &Summary) -> Self {
        Partial {
            count: summary.count,
            first: summary.first,
            last: summary.last,
            min: summary.min,
            max: summary.max,
            sum: KahanSum { sum: summary.sum, lost: summary.compensation },
            resets: summary.resets,
            lost: KahanSum::of(summary.reset_sum),
        }
    }

    /// This run and the one right after it as one.
    fn join(self, next: Self) -> Self {
        let mut lost = self.lost.join(next.lost);
        let reset = next.first.value < self.last.value;
        if reset {
            lost = lost.plus(self.last.value);
        }
        Partial {
            count: self.count + next.count,
            first: self.first,
            last: next.last,
            min: smaller(self.min, next.min),
            max: larger(self.max, next.max),
            sum: self.sum.join(next.sum),
            resets: self.resets + next.resets + u64::from(reset),
            lost,
        }
    }
}

/// The smaller, the first of equals; NaN only if both are.
pub(crate) fn smaller(a: f64, b: f64) -> f64 {
    if b < a || a.is_nan() { b } else { a }
}

/// The larger, the first of equals; NaN only if both are.
pub(crate) fn larger(a: f64, b: f64) -> f64 {
    if b > a || a.is_nan() { b } else { a }
}

/// The value for a window, of which the times before its first and of its last millisecond are told.
type Finish = fn(&Partial, i64, i64) -> Option<f64>;

/// How a range function is answered from what its window's samples amount to.
#[derive(Clone, Copy)]
pub(crate) struct FromRuns {
    /// What must be known of each run.
    pub(crate) want: Want,
    /// What it is then.
    pub(crate) finish: Finish,
}

/// The functions that runs answer.
pub(crate) fn from_runs(function: &str) -> Option<FromRuns> {
    let ends = Want::END_TIMES.and(Want::END_VALUES);
    let (want, finish): (Want, Finish) = match function {
        "count_over_time" => (Want::COUNT, |run, _, _| Some(run.count as f64)),
        "present_over_time" | "absent_over_time" => (Want::COUNT, |_, _, _| Some(1.0)),
        "sum_over_time" => (Want::SUM, |run, _, _| Some(run.sum.total())),
        "avg_over_time" => (Want::SUM, |run, _, _| {
            let count = run.count as f64;
            Some(run.sum.sum / count + run.sum.lost / count)
        }),
        "min_over_time" => (Want::EXTREMES, |run, _, _| Some(run.min)),
        "max_over_time" => (Want::EXTREMES, |run, _, _| Some(run.max)),
        "first_over_time" => (Want::END_VALUES, |run, _, _| Some(run.first.value)),
        "last_over_time" => (Want::END_VALUES, |run, _, _| Some(run.last.value)),
        "ts_of_first_over_time" => (Want::END_TIMES, |run, _, _| Some(run.first.timestamp_ms as f64 / 1000.0)),
        "ts_of_last_over_time" => (Want::END_TIMES, |run, _, _| Some(run.last.timestamp_ms as f64 / 1000.0)),
        "resets" => (Want::RESETS.and(Want::END_VALUES), |run, _, _| Some(run.resets as f64)),
        "rate" => (ends.and(Want::RESETS), |run, start, end| stretched(run, start, end, Kind::RATE)),
        "increase" => (ends.and(Want::RESETS), |run, start, end| stretched(run, start, end, Kind::INCREASE)),
        "delta" => (ends, |run, start, end| stretched(run, start, end, Kind::DELTA)),
        _ => return None,
    };
    Some(FromRuns { want, finish })
}

fn stretched(run: &Partial, start_ms: i64, end_ms: i64, kind: Kind) -> Option<f64> {
    if run.count < 2 {
        return None;
    }
    let lost = if kind.is_counter() { run.lost.total() } else { 0.0 };
    let stretch = Stretch { first: run.first, last: run.last, count: run.count, start_ms, end_ms };
    stretch.of(run.last.value - run.first.value + lost, kind)
}

/// Where the windows part samples.
pub(crate) fn cuts(windows: &Windows) -> Cuts {
    let last = windows.steps.count().saturating_sub(1);
    let steps = |first_ms, last_ms| Steps { start_ms: first_ms, end_ms: last_ms, step_ms: windows.steps.step_ms };
    Cuts {
        starts: steps(windows.start_ms(0), windows.start_ms(last)),
        ends: steps(windows.end_ms(0), windows.end_ms(last)),
    }
}

/// Runs a function over the pieces of one series; false if the values may depend on the order in which samples are added, so
/// that these must be looked at one by one if they are there.
pub(crate) fn roll(from_runs: FromRuns, pieces: &Pieces, windows: &Windows, column: &mut Column<'_>) -> bool {
    let mut times = Vec::with_capacity(pieces.summaries.len());
    let mut runs: Vec<Partial> = Vec::with_capacity(pieces.summaries.len());
    let mut summaries = pieces.summaries.iter().peekable();
    for sample in pieces.samples.floats().filter(|sample| !is_stale(sample.value)) {
        while let Some(summary) = summaries.next_if(|summary| summary.range.start_ms <= sample.timestamp_ms) {
            times.push(summary.range.start_ms);
            runs.push(Partial::of_summary(summary));
        }
        times.push(sample.timestamp_ms);
        runs.push(Partial::of(sample));
    }
    for summary in summaries {
        times.push(summary.range.start_ms);
        runs.push(Partial::of_summary(summary));
    }
    let Some(first) = runs.first().copied() else { return true };
    let adds_up = from_runs.want.has(Want::SUM) || from_runs.want.has(Want::RESETS);
    let mut overflown = false;
    let mut tell = |i: usize, run: Partial| {
        if let Some(value) = (from_runs.finish)(&run, windows.start_ms(i), windows.end_ms(i)) {
            // What an overflow or an infinity on the way makes of a sum depends on the order of its terms.
            overflown |= adds_up && !value.is_finite();
            column.set(i, value);
        }
    };
    if windows.steps.count() == 1 {
        // All that was read lies in the one window.
        tell(0, runs.iter().skip(1).fold(first, |all, run| all.join(*run)));
    } else {
        let of = |i: usize| runs.get(i).copied().unwrap_or(first);
        slide(windows.slices(&times), of, Partial::join, tell);
    }
    !overflown
}
