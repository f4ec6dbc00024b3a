//! Summaries and samples together are what samples alone are, whatever runs a series is written in.

use model::{
    Budget, Cuts, Pieces, Sample, SampleColumns, Scope, SeriesSource, Steps, Summary, TimeRange, Want, is_stale,
};
use proptest::prelude::*;

use super::DbOptions;
use super::tests::{NOW_MS, open_with, options, write};
use crate::io::fake::FakeDisk;

const STEP_MS: i64 = 15_000;
/// Times lie within these many steps, which are less than a day.
const STEPS: i64 = 5_000;
const START_MS: i64 = NOW_MS - NOW_MS % 86_400_000 - 86_400_000;

/// A run of neighbouring samples: first step, number, seed of the values.
type Run = (i64, i64, u64);

fn run() -> impl Strategy<Value = Run> {
    let length = prop_oneof![3 => 1_i64..40, 3 => 500_i64..700, 4 => 2_000_i64..4_600];
    (0..STEPS, length, any::<u64>())
}

/// Values of all kinds, more plain ones than others; markers in some runs only.
pub(super) fn value(seed: u64, i: i64) -> f64 {
    let noise =
        seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(i.cast_unsigned().wrapping_mul(0xD1B5_4A32_D192_ED03));
    let noise = (noise ^ noise >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40;
    match (seed % 8, noise % 4096) {
        (0, 0..4) | (1, 0..400) => model::stale_nan(),
        (2, 0..4) => f64::NAN,
        (2, 4..8) => f64::INFINITY,
        (3, 0..8) => -0.0,
        (4, 0..2) => 1e300,
        (5, _) => 7.0,
        (6, n) => n as f64 * 0.1,
        (_, n) => (i / 3 * 5 % 1000 + n.cast_signed() % 3) as f64,
    }
}

/// The samples of a range, as summaries would have them.
pub(super) fn summed(samples: &[Sample], range: TimeRange) -> Option<Summary> {
    let plain: Vec<Sample> =
        samples.iter().copied().filter(|s| range.contains(s.timestamp_ms) && !is_stale(s.value)).collect();
    let mut summary = Summary::of_count(range, plain.len() as u64);
    summary.first = *plain.first()?;
    summary.last = *plain.last()?;
    let by = |pick: fn(f64, f64) -> bool| {
        plain.iter().map(|s| s.value).reduce(|a, b| if pick(b, a) || a.is_nan() { b } else { a }).unwrap()
    };
    (summary.min, summary.max) = (by(|b, a| b < a), by(|b, a| b > a));
    summary.sum = plain.iter().map(|s| s.value).sum();
    let resets = || plain.windows(2).filter(|pair| pair[1].value < pair[0].value);
    summary.resets = resets().count() as u64;
    summary.reset_sum = resets().map(|pair| pair[0].value).sum();
    Some(summary)
}

pub(super) fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

pub(super) fn near(a: f64, b: f64) -> bool {
    same(a, b) || a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

/// Checks the pieces against the samples; gives how many were summarised.
fn check(samples: &[Sample], pieces: &Pieces, range: TimeRange, want: Want, cuts: &Cuts) -> u64 {
    let mut left: Vec<Sample> = samples.to_vec();
    let mut before = i64::MIN;
    for summary in &pieces.summaries {
        let run = summary.range;
        assert!(run.start_ms > before && !run.is_empty(), "in order, none within another");
        assert!(range.start_ms <= run.start_ms && run.end_ms <= range.end_ms, "inside the range");
        assert!(!cuts.split(run), "not split");
        before = run.end_ms;
        let expected = summed(samples, run).expect("not empty");
        assert_eq!(summary.count, expected.count);
        if want.has(Want::END_TIMES) {
            assert_eq!(summary.first.timestamp_ms, expected.first.timestamp_ms);
            assert_eq!(summary.last.timestamp_ms, expected.last.timestamp_ms);
        }
        if want.has(Want::END_VALUES) {
            assert!(same(summary.first.value, expected.first.value) && same(summary.last.value, expected.last.value));
        }
        if want.has(Want::EXTREMES) {
            assert!(same(summary.min, expected.min) && same(summary.max, expected.max), "{summary:?} {expected:?}");
        }
        if want.has(Want::SUM) {
            assert!(near(summary.sum + summary.compensation, expected.sum), "{summary:?} {expected:?}");
        }
        if want.has(Want::RESETS) {
            assert!(summary.resets == expected.resets && near(summary.reset_sum, expected.reset_sum));
        }
        left.retain(|sample| !run.contains(sample.timestamp_ms));
    }
    // Runs of nothing but markers may go without a trace where runs are asked for.
    let given: Vec<Sample> = pieces.samples.floats().filter(|s| !is_stale(s.value)).collect();
    left.retain(|s| !is_stale(s.value));
    assert!(left.iter().map(|s| s.timestamp_ms).eq(given.iter().map(|s| s.timestamp_ms)), "each sample once");
    if want.needs_values() {
        assert!(left.iter().zip(&given).all(|(a, b)| same(a.value, b.value)));
    }
    pieces.summaries.iter().map(|s| s.count).sum()
}

pub(super) const WANTS: [Want; 6] = [
    Want::COUNT,
    Want::END_TIMES,
    Want::SUM,
    Want::EXTREMES.and(Want::END_VALUES),
    Want::RESETS.and(Want::END_TIMES).and(Want::END_VALUES),
    Want::SUM.and(Want::EXTREMES).and(Want::RESETS).and(Want::END_TIMES).and(Want::END_VALUES),
];

/// Writes the runs, with a flush after each that says so; compacts if asked to.
fn filled(runs: &[(Run, bool)], compact: bool) -> super::Db {
    filled_as(runs, compact, None)
}

/// As [`filled`]; compacted into Parquet if that is asked for.
fn filled_as(runs: &[(Run, bool)], compact: bool, parquet_after_ms: Option<i64>) -> super::Db {
    let db = open_with(&FakeDisk::default(), DbOptions { parquet_after_ms, maintenance: false, ..options() });
    for ((first, length, seed), flushed) in runs {
        let samples: Vec<(usize, i64, f64)> =
            (*first..(first + length).min(STEPS)).map(|i| (0, START_MS + i * STEP_MS, value(*seed, i))).collect();
        write(&db, &samples).unwrap();
        if *flushed {
            db.flush().unwrap();
        }
    }
    if compact {
        db.compact().unwrap();
    }
    db
}

pub(super) fn each_want(db: &super::Db, range: TimeRange, cuts: &Cuts) -> u64 {
    let (budget, snapshot) = (Budget::unlimited(), db.snapshot());
    let set = snapshot.select(&Scope::default(), &[], range, &budget).unwrap();
    let (mut samples, mut pieces, mut summarised) = (SampleColumns::default(), Pieces::default(), 0);
    for i in 0..set.len() {
        set.samples(i, range, &budget, &mut samples).unwrap();
        set.times(i, range, &budget, &mut pieces.samples).unwrap();
        let markers = |s: &SampleColumns| s.values.iter().map(|v| is_stale(*v)).collect::<Vec<_>>();
        assert_eq!(
            (&samples.timestamps_ms, markers(&samples)),
            (&pieces.samples.timestamps_ms, markers(&pieces.samples))
        );
        for with_value in [true, false] {
            set.newest(i, range, with_value, &budget, &mut pieces.samples).unwrap();
            let (newest, last) = (pieces.samples.floats().next_back(), samples.floats().next_back());
            assert_eq!(newest.map(|s| s.timestamp_ms), last.map(|s| s.timestamp_ms));
            let same = |(a, b): (Sample, Sample)| {
                same(a.value, b.value) || !with_value && a.value == 0.0 && !is_stale(b.value)
            };
            assert!(newest.zip(last).is_none_or(same));
        }
        let samples: Vec<Sample> = samples.floats().collect();
        for want in WANTS {
            set.pieces(i, range, want, cuts, &budget, &mut pieces).unwrap();
            summarised += check(&samples, &pieces, range, want, cuts);
        }
    }
    summarised
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn pieces_are_the_samples(
        runs in prop::collection::vec((run(), any::<bool>()), 1..4),
        compact in any::<bool>(), parquet in any::<bool>(),
        range in (-10..STEPS, 0..2 * STEPS), windows in (1_i64..3_000, 1_i64..3_000),
    ) {
        let db = filled_as(&runs, compact, parquet.then_some(0));
        let range = TimeRange {
            start_ms: START_MS + range.0 * STEP_MS - 1,
            end_ms: START_MS + (range.0 + range.1) * STEP_MS,
        };
        let steps = |shift: i64| Steps { start_ms: range.start_ms - shift, end_ms: range.end_ms, step_ms: windows.0 * STEP_MS };
        let cuts = Cuts { starts: steps(windows.1 * STEP_MS), ends: steps(0) };
        each_want(&db, range, &cuts);
        each_want(&db, TimeRange::ALL, &Cuts::NONE);
    }
}

#[test]
fn whole_blocks_are_summarised_and_overlapping_runs_are_not() {
    let (all, no_cuts) = (TimeRange::ALL, Cuts::NONE);
    let plain = ((0, 4_096, 7), true);
    let apart = ((4_096, 600, 7), true);
    let across = ((2_040, 10, 15), true);
    let wants = WANTS.len() as u64;
    assert_eq!(each_want(&filled(&[plain], false), all, &no_cuts), wants * 4_096);
    assert_eq!(each_want(&filled(&[plain, apart], false), all, &no_cuts), wants * 4_696);
    // The ten late samples touch both blocks of the first run; only how many they are is known of themselves.
    assert_eq!(each_want(&filled(&[plain, across], false), all, &no_cuts), 0);
    assert_eq!(each_want(&filled(&[plain, across], true), all, &no_cuts), wants * 4_096);
    let cut = Steps { start_ms: START_MS, end_ms: START_MS, step_ms: 1 };
    let cuts = Cuts { starts: cut, ends: cut };
    assert_eq!(each_want(&filled(&[plain], false), all, &cuts), wants * 2_048);
}
