//! Roll-ups in queries: the same answers with and without them, and what queries say when samples are gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use model::{Budget, Labels, Scope, Steps};
use proptest::prelude::*;
use query::{Annotations, EngineOptions, Value, run_range};
use storage::{Clock, Db, DbOptions, RollupRule, RollupRules};

use crate::support::Server;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;
const STEP_MS: i64 = 15_000;
const START_MS: i64 = 1_700_006_400_000;

/// A clock that is set.
#[derive(Debug)]
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A database with two days of a counter that resets and of a gauge, a little off the minute, that is rolled up.
struct Example {
    db: Db,
    clock: Arc<SetClock>,
    _dir: tempfile::TempDir,
}

fn example(phase_ms: i64, rolled_up: bool) -> Example {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(AtomicI64::new(START_MS + 3 * DAY_MS)));
    let rule = |resolution_ms| RollupRule { resolution_ms, keep_ms: None, matchers: Vec::new() };
    let rules = if rolled_up { vec![rule(HOUR_MS / 12), rule(HOUR_MS)] } else { Vec::new() };
    let options = DbOptions {
        retention_ms: Some(20 * DAY_MS),
        rollups: RollupRules::new(rules).unwrap(),
        ..DbOptions::new(dir.path().join("data"))
    };
    let db = Db::open(options, clock.clone()).unwrap();
    let mut batch = db.batch();
    for (name, i) in [("c_total", "0"), ("c_total", "1"), ("g", "0")] {
        let labels = Labels::from_pairs([("__name__", name), ("i", i)]).unwrap();
        let series = batch.define(None, &labels).unwrap();
        for step in 0..2 * DAY_MS / STEP_MS {
            let value = if name == "g" { step * 7919 % 101 - 50 } else { step * 3 % 7001 + 5 };
            batch.push(series, START_MS + phase_ms + step * STEP_MS, value as f64).unwrap();
        }
    }
    batch.commit().unwrap();
    db.flush().unwrap();
    db.compact().unwrap();
    assert_eq!(db.stats().rollup_failures, 0);
    Example { db, clock, _dir: dir }
}

impl Example {
    /// The points of all series, and what the query says beside them.
    fn ask(&self, expression: &str, steps: Steps) -> (Answer, Annotations, u64) {
        let (snapshot, budget) = (self.db.snapshot(), Budget::unlimited());
        let options = EngineOptions { threads: 2, ..EngineOptions::default() };
        let answer = run_range(&snapshot, &Scope::default(), expression, steps, &options, &budget).unwrap();
        let Value::Matrix(matrix) = answer.value else { panic!("a matrix") };
        let points = |s: &model::SampleColumns| s.floats().map(|s| (s.timestamp_ms, s.value)).collect();
        let found = matrix.iter().map(|series| (series.labels.clone(), points(&series.points))).collect();
        (found, answer.annotations, budget.samples_read())
    }
}

fn hours(first: i64, last: i64) -> Steps {
    Steps { start_ms: START_MS + first * HOUR_MS, end_ms: START_MS + last * HOUR_MS, step_ms: HOUR_MS }
}

type Answer = Vec<(Labels, Vec<(i64, f64)>)>;

fn assert_near(a: &Answer, b: &Answer, expression: &str) {
    assert_eq!(a.len(), b.len(), "{expression}");
    for ((labels, points), (others, other_points)) in a.iter().zip(b) {
        assert_eq!((labels, points.len()), (others, other_points.len()), "{expression}");
        for ((time, value), (other_time, other)) in points.iter().zip(other_points) {
            let near = value == other || (value - other).abs() <= 1e-9 * value.abs().max(other.abs());
            assert!(time == other_time && near, "{expression} at {time}: {value} and {other}");
        }
    }
}

/// What buckets answer, of a range that is filled in.
const ANSWERED: [&str; 12] = [
    "rate(c_total[R])",
    "sum(increase(c_total[R]))",
    "sum by (i) (delta(g[R]))",
    "resets(c_total[R])",
    "sum_over_time(g[R])",
    "avg_over_time(g[R])",
    "min_over_time(g[R])",
    "max(max_over_time(g[R]))",
    "count_over_time(g[R])",
    "last_over_time(g[R]) - first_over_time(g[R])",
    "ts_of_last_over_time(g[R]) - ts_of_first_over_time(g[R])",
    "present_over_time(g[R])",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    /// While samples are kept, nothing but the cost tells whether there are roll-ups; when they are gone, windows that
    /// are whole buckets have the same answers.
    #[test]
    fn answers_are_the_same(
        phase_ms in 1..STEP_MS, range_hours in 1_i64..8, misaligned_ms in prop_oneof![Just(0_i64), -HOUR_MS..HOUR_MS],
    ) {
        let (with, without) = (example(phase_ms, true), example(phase_ms, false));
        let ask = |steps| ANSWERED.map(|expression| {
            let expression = expression.replace('R', &format!("{range_hours}h"));
            let ((a, notes, cost), (b, other_notes, other_cost)) =
                (with.ask(&expression, steps), without.ask(&expression, steps));
            assert_near(&a, &b, &expression);
            assert_eq!(notes, other_notes);
            (expression, b, cost, other_cost)
        });
        let steps = hours(8, 46);
        let odd = Steps { start_ms: steps.start_ms + misaligned_ms, end_ms: steps.end_ms + misaligned_ms, ..steps };
        ask(odd);
        let before = ask(steps);
        for (expression, _, cost, other_cost) in &before {
            prop_assert!(cost * 20 < *other_cost, "{expression}: {cost} of {other_cost}");
        }
        with.clock.0.store(START_MS + 30 * DAY_MS, Ordering::Relaxed);
        with.db.enforce_retention().unwrap();
        prop_assert_eq!(with.db.stats().segments, 0);
        for (expression, expected, _, _) in &before {
            let (found, notes, _) = with.ask(expression, steps);
            assert_near(&found, expected, expression);
            prop_assert!(notes.warnings.is_empty(), "{:?}", notes.warnings);
        }
    }
}

#[test]
fn queries_say_when_samples_are_gone() {
    let example = example(7_000, true);
    example.clock.0.store(START_MS + 30 * DAY_MS, Ordering::Relaxed);
    example.db.enforce_retention().unwrap();
    // The last sample of each five minutes, eight seconds before their end, for ten minutes.
    let steps = Steps { start_ms: START_MS + HOUR_MS, end_ms: START_MS + HOUR_MS + 600_000, step_ms: 60_000 };
    let (found, notes, _) = example.ask("timestamp(g)", steps);
    let seconds: Vec<i64> = found[0].1.iter().map(|(time, at)| time / 1000 - *at as i64).collect();
    assert_eq!(seconds, [8, 68, 128, 188, 248, 8, 68, 128, 188, 248, 8]);
    let info = notes.infos.iter().next().unwrap();
    assert!(info.contains("last one of each bucket of a roll-up stands for them, resolution 300s"), "{info}");
    // Two samples in the last five minutes of the range are not two buckets.
    let (found, notes, _) = example.ask("quantile_over_time(0.5, g[1h])", hours(2, 3));
    assert_eq!(found[0].1.len(), 2);
    let warning = notes.warnings.iter().next().unwrap();
    assert!(warning.contains("quantile_over_time needs samples that are not kept any more"), "{warning}");
    assert!(warning.ends_with("(1:20)"), "{warning}");
    // Within buckets: each counts to where its last sample lies.
    let steps = Steps { start_ms: START_MS + 2 * HOUR_MS + 90_000, end_ms: START_MS + 3 * HOUR_MS, step_ms: HOUR_MS };
    let (found, notes, _) = example.ask("count_over_time(g[1h])", steps);
    assert_eq!(found[0].1, [(steps.start_ms, 240.0)]);
    let warning = notes.warnings.iter().next().unwrap();
    assert!(warning.contains("windows do not begin and end with the buckets of roll-ups"), "{warning}");
    let (found, _, _) = example.ask("sum(count_over_time(g[7m]))", steps);
    assert_eq!(found[0].1, [(steps.start_ms, 40.0)], "of two buckets the last sample lies in the seven minutes");
}

#[test]
fn the_option_reaches_the_store_and_its_metrics() {
    let server = Server::with(&[("rollups", "5m:90d; 1h:0:{job=~\"a.+\"}")]);
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains("streamgauge_rollup_runs 0\n"), "{metrics}");
}
