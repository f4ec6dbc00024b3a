//! Range functions say the same whether a source gives samples or summaries of runs of them.

use model::{
    Budget, Coarse, Cuts, Labels, Matcher, Pieces, Sample, SampleColumns, Scope, SeriesSet, SeriesSource, SourceError,
    Steps, Summary, TimeRange, Want, is_stale, stale_nan,
};
use proptest::prelude::*;
use query::{EngineOptions, Value, run_instant, run_range};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::memory::{Memory, Stored};

/// Gives summaries of up to `length` samples wherever it may.
struct Summing<'m> {
    memory: &'m Memory,
    length: usize,
    given: AtomicUsize,
    /// Of each run only the last sample is left, beside what it amounts to.
    gone: bool,
}

impl<'m> Summing<'m> {
    fn of(memory: &'m Memory, length: usize) -> Self {
        Summing { memory, length, given: AtomicUsize::new(0), gone: false }
    }
}

struct SummingSet<'m> {
    set: Box<dyn SeriesSet + 'm>,
    source: &'m Summing<'m>,
}

impl SeriesSource for Summing<'_> {
    fn select(
        &self,
        scope: &Scope,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Box<dyn SeriesSet + '_>, SourceError> {
        Ok(Box::new(SummingSet { set: self.memory.select(scope, matchers, range, budget)?, source: self }))
    }
}

impl SeriesSet for SummingSet<'_> {
    fn len(&self) -> usize {
        self.set.len()
    }

    fn labels(&self, i: usize) -> Result<Labels, SourceError> {
        self.set.labels(i)
    }

    fn samples(&self, i: usize, range: TimeRange, budget: &Budget, out: &mut SampleColumns) -> Result<(), SourceError> {
        self.set.samples(i, range, budget, out)?;
        if self.source.gone {
            let all: Vec<Sample> = out.floats().collect();
            out.clear();
            all.chunks(self.source.length).filter_map(<[Sample]>::last).for_each(|s| out.push(s.timestamp_ms, s.value));
        }
        Ok(())
    }

    fn coarsest_ms(&self) -> i64 {
        if self.source.gone { self.source.length as i64 * 1000 } else { 0 }
    }

    fn coarse(&self, _: usize, _: TimeRange) -> Result<Vec<Coarse>, SourceError> {
        Ok(vec![Coarse { until_ms: i64::MAX, resolution_ms: self.coarsest_ms() }])
    }

    fn pieces(
        &self,
        i: usize,
        range: TimeRange,
        want: Want,
        cuts: &Cuts,
        budget: &Budget,
        out: &mut Pieces,
    ) -> Result<(), SourceError> {
        out.clear();
        let mut all = SampleColumns::default();
        self.set.samples(i, range, budget, &mut all)?;
        let samples: Vec<Sample> = all.floats().collect();
        for run in samples.chunks(self.source.length) {
            let (first, last) = (run[0].timestamp_ms, run[run.len() - 1].timestamp_ms);
            let covered = TimeRange { start_ms: first, end_ms: last };
            match summed(run, covered).filter(|_| !cuts.split(covered)) {
                Some(summary) => {
                    self.source.given.fetch_add(1, Ordering::Relaxed);
                    out.summaries.push(only(summary, want));
                }
                None => run.iter().for_each(|s| {
                    let value = if want.needs_values() || is_stale(s.value) { s.value } else { 0.0 };
                    out.samples.push(s.timestamp_ms, value);
                }),
            }
        }
        Ok(())
    }
}

/// A summary with nonsense in what was not wanted.
fn only(mut summary: Summary, want: Want) -> Summary {
    const NONSENSE: f64 = -77.0;
    if !want.has(Want::END_TIMES) {
        (summary.first.timestamp_ms, summary.last.timestamp_ms) = (i64::MIN, i64::MAX);
    }
    if !want.has(Want::END_VALUES) {
        (summary.first.value, summary.last.value) = (NONSENSE, NONSENSE);
    }
    if !want.has(Want::EXTREMES) {
        (summary.min, summary.max) = (NONSENSE, NONSENSE);
    }
    if !want.has(Want::SUM) {
        (summary.sum, summary.compensation) = (NONSENSE, NONSENSE);
    }
    if !want.has(Want::RESETS) {
        (summary.resets, summary.reset_sum) = (77, NONSENSE);
    }
    summary
}

fn summed(run: &[Sample], covered: TimeRange) -> Option<Summary> {
    let plain: Vec<Sample> = run.iter().copied().filter(|s| !is_stale(s.value)).collect();
    // What overflows on its way is not for summaries.
    if plain.iter().any(|s| s.value.abs() > 1e290) {
        return None;
    }
    let mut summary = Summary::of_count(covered, plain.len() as u64);
    (summary.first, summary.last) = (*plain.first()?, *plain.last()?);
    let by = |pick: fn(f64, f64) -> bool| {
        plain.iter().map(|s| s.value).reduce(|a, b| if pick(b, a) || a.is_nan() { b } else { a }).unwrap()
    };
    (summary.min, summary.max) = (by(|b, a| b < a), by(|b, a| b > a));
    for sample in &plain {
        let sum = summary.sum + sample.value;
        summary.compensation += match summary.sum.abs() >= sample.value.abs() {
            true => (summary.sum - sum) + sample.value,
            false => (sample.value - sum) + summary.sum,
        };
        summary.sum = sum;
    }
    for pair in plain.windows(2).filter(|pair| pair[1].value < pair[0].value) {
        summary.resets += 1;
        summary.reset_sum += pair[0].value;
    }
    Some(summary)
}

const FUNCTIONS: [&str; 19] = [
    "count_over_time",
    "present_over_time",
    "absent_over_time",
    "sum_over_time",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "first_over_time",
    "last_over_time",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "ts_of_max_over_time",
    "resets",
    "changes",
    "rate",
    "increase",
    "delta",
];

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        12 => (0_i64..50).prop_map(|v| v as f64),
        4 => -1e6_f64..1e6,
        2 => Just(stale_nan()),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => Just(-0.0),
        1 => Just(f64::MAX),
    ]
}

fn near(a: f64, b: f64, scale: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(scale)
}

fn matrix(source: &dyn SeriesSource, expression: &str, steps: Steps, threads: usize) -> Vec<(Labels, Vec<(i64, f64)>)> {
    let options = EngineOptions { threads, ..EngineOptions::default() };
    let answer = run_range(source, &Scope::default(), expression, steps, &options, &Budget::unlimited()).unwrap();
    let Value::Matrix(series) = answer.value else { panic!("a matrix") };
    let points = |s: &SampleColumns| s.floats().map(|p| (p.timestamp_ms, p.value)).collect();
    series.iter().map(|s| (s.labels.clone(), points(&s.points))).collect()
}

proptest! {
    #[test]
    fn summaries_change_nothing(
        gaps in prop::collection::vec((1_i64..4, value()), 1..90), length in 1_usize..12,
        start in 0_i64..100, count in 1_i64..8, step in 1_i64..200, range in 1_i64..300, offset in -30_i64..30,
    ) {
        let mut memory = Memory::default();
        for k in ["a", "b", "c"] {
            let labels = Labels::from_pairs([("__name__", "m_total"), ("k", k)]).unwrap();
            let mut time = 0;
            for (gap, value) in &gaps {
                time += gap * 1000 * k.len() as i64 + i64::from(k.as_bytes()[0]);
                memory.add(&labels, time, Stored::Float(*value));
            }
        }
        let steps = Steps { start_ms: start * 1000, end_ms: (start + count * step) * 1000, step_ms: step * 1000 };
        let source = Summing::of(&memory, length);
        let largest = gaps.iter().map(|(_, v)| v.abs()).filter(|v| v.is_finite()).fold(1e-3, f64::max);
        for function in FUNCTIONS {
            // What rises and falls by more than its result is rounded in one order or the other.
            let scale = if matches!(function, "rate" | "increase" | "delta") { largest } else { 1e-3 };
            for expression in [
                format!("{function}(m_total[{range}s] offset {offset}s)"),
                format!("sum({function}(m_total[{range}s]))"),
                format!("{function}(m_total[{range}s] @ {start})"),
            ] {
                let (plain, given) = (matrix(&memory, &expression, steps, 1), matrix(&source, &expression, steps, 1));
                prop_assert_eq!(plain.len(), given.len(), "{}", expression);
                for ((a, plain), (b, given)) in plain.iter().zip(&given) {
                    prop_assert_eq!(a, b);
                    let same = plain.len() == given.len()
                        && plain.iter().zip(given).all(|(p, g)| p.0 == g.0 && near(p.1, g.1, scale));
                    prop_assert!(same, "{}: {:?} {:?}", expression, plain, given);
                }
            }
        }
    }
}

#[test]
fn summaries_are_used_and_threads_change_nothing() {
    let mut memory = Memory::default();
    for n in 0..3_000 {
        let (n, g) = (n.to_string(), (n % 7).to_string());
        let labels = Labels::from_pairs([("__name__", "m_total"), ("n", &n), ("g", &g)]).unwrap();
        (0..20).for_each(|t| memory.add(&labels, t * 1000, Stored::Float((t * 3) as f64)));
    }
    let source = Summing::of(&memory, 5);
    let steps = Steps { start_ms: 20_000, end_ms: 20_000, step_ms: 1 };
    for expression in ["sum by (g) (max_over_time(m_total[1m]))", "rate(m_total[1m])", "avg(m_total)", "count(m_total)"]
    {
        let one = matrix(&memory, expression, steps, 1);
        for threads in [1, 3] {
            assert_eq!(matrix(&source, expression, steps, threads), one, "{expression}");
        }
    }
    assert_eq!(source.given.load(Ordering::Relaxed), 2 * 2 * 3_000 * 4);
}

/// Samples a second from 1 s on, of which only the last of each five is left.
fn gone(memory: &mut Memory, values: &[f64]) {
    let labels = Labels::from_pairs([("__name__", "m")]).unwrap();
    (1..).zip(values).for_each(|(second, value)| memory.add(&labels, second * 1000, Stored::Float(*value)));
}

#[test]
fn an_infinity_does_not_take_the_buckets_from_other_windows() {
    let mut memory = Memory::default();
    for odd in [f64::INFINITY, f64::NAN] {
        let mut values = vec![2.0; 20];
        values[7] = odd;
        gone(&mut memory, &values);
        let source = Summing { gone: true, ..Summing::of(&memory, 5) };
        let steps = Steps { start_ms: 5_000, end_ms: 20_000, step_ms: 5_000 };
        let options = EngineOptions::default();
        let budget = Budget::unlimited();
        let answer = run_range(&source, &Scope::default(), "sum_over_time(m[5s])", steps, &options, &budget).unwrap();
        let Value::Matrix(series) = answer.value else { panic!("a matrix") };
        let found: Vec<f64> = series[0].points.floats().map(|point| point.value).collect();
        assert_eq!(format!("{found:?}"), format!("{:?}", [10.0, odd, 10.0, 10.0]));
        assert!(answer.annotations.warnings.is_empty(), "{:?}", answer.annotations.warnings);
    }
}

#[test]
fn the_last_samples_of_buckets_are_not_taken_for_all() {
    let mut memory = Memory::default();
    gone(&mut memory, &[1.0; 10]);
    let source = Summing { gone: true, ..Summing::of(&memory, 5) };
    let ask = |source: &dyn SeriesSource| {
        let budget = Budget::unlimited();
        let answer = run_instant(source, &Scope::default(), "m[10s]", 10_000, &EngineOptions::default(), &budget);
        answer.unwrap().annotations.infos
    };
    let infos = ask(&source);
    let info = infos.first().unwrap();
    assert!(info.contains("the last one of each bucket of a roll-up stands for them, resolution 5s"), "{info}");
    assert_eq!(ask(&memory).len(), 0);
}
