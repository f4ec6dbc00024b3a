//! A range query gives at each step what an instant query gives at that time: windows that slide, parts that are
//! evaluated once and series that flow through change nothing.

use std::collections::BTreeMap;

use model::{Budget, Labels, Scope, Steps, stale_nan};
use proptest::prelude::*;
use query::{EngineOptions, SampleValue, Value, run_instant, run_range};

use crate::memory::{Memory, Stored};

const EXPRESSIONS: &[&str] = &[
    "m",
    "m offset 7s",
    "m @ 100",
    "timestamp(m)",
    "rate(m[40s])",
    "increase(m[2m] offset -5s)",
    "delta(m[30s])",
    "irate(m[20s])",
    "changes(m[10m])",
    "resets(m[10m])",
    "sum_over_time(m[10m])",
    "avg_over_time(m[10m])",
    "min_over_time(m[10m])",
    "max_over_time(m[10m])",
    "stddev_over_time(m[10m])",
    "quantile_over_time(0.3, m[10m])",
    "quantile_over_time(time() / 1000, m[1m])",
    "mad_over_time(m[1m])",
    "ts_of_max_over_time(m[10m])",
    "count_over_time(m[40s])",
    "last_over_time(m[20s])",
    "deriv(m[10m])",
    "predict_linear(m[10m], 30)",
    "predict_linear(m[1m] @ 200, 30)",
    "double_exponential_smoothing(m[1m], 0.4, 0.6)",
    "absent(m{k=\"a\"})",
    "absent_over_time(m{k=\"a\"}[9s])",
    "sum(m)",
    "avg by (g) (rate(m[1m]))",
    "stddev(m)",
    "topk(2, m)",
    "bottomk by (g) (1, m)",
    "limitk(2, m)",
    "count_values(\"v\", m)",
    "quantile(0.4, m)",
    "m + on (k) m",
    "m > 5",
    "m / on (g) group_left sum by (g) (m)",
    "m and m > 3",
    "m unless m > 3",
    "m > 3 or m offset 20s",
    "max_over_time(rate(m[30s])[2m:15s])",
    "sum_over_time(m[1m:7s] offset 11s)",
    "scalar(m{k=\"a\"}) + time()",
    "clamp(m, 2, time())",
    "label_replace(m > 4, \"k\", \"x\", \"k\", \"a\")",
];

/// Four series with gaps, markers, repeats and NaN.
fn data(raw: &[(u8, i64, f64)]) -> Memory {
    let mut memory = Memory::default();
    let mut times = [0_i64; 4];
    for (series, gap, value) in raw {
        let i = usize::from(series % 4);
        times[i] += gap * 500;
        let (k, g) = (["a", "b", "c", "d"][i], ["x", "y"][i % 2]);
        let labels = Labels::from_pairs([("__name__", "m"), ("k", k), ("g", g)]).unwrap();
        memory.add(&labels, times[i], Stored::Float(*value));
    }
    memory
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        10 => (0_i32..12).prop_map(f64::from),
        4 => -50.0_f64..50.0,
        1 => Just(f64::NAN),
        1 => Just(stale_nan()),
        1 => Just(f64::INFINITY),
    ]
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-7 * (1.0 + a.abs().max(b.abs()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn range_queries_agree_with_instant_queries(
        raw in prop::collection::vec((any::<u8>(), 1_i64..60, value()), 0..400),
        start in 0_i64..200, step in 1_i64..60,
    ) {
        let memory = data(&raw);
        let (options, scope, budget) = (EngineOptions::default(), Scope::default(), Budget::unlimited());
        let steps = Steps { start_ms: start * 1000, end_ms: (start + step * 20) * 1000, step_ms: step * 1000 };
        for query in EXPRESSIONS {
            let whole = run_range(&memory, &scope, query, steps, &options, &budget);
            let mut wanted: BTreeMap<(Labels, i64), f64> = BTreeMap::new();
            let mut failed = false;
            for time in steps.iter() {
                match run_instant(&memory, &scope, query, time, &options, &budget).map(|answer| answer.value) {
                    Ok(Value::Vector(elements)) => {
                        for element in elements {
                            let SampleValue::Float(value) = element.value else { panic!("no float") };
                            wanted.insert((element.labels, time), value);
                        }
                    }
                    Ok(Value::Scalar(value)) => {
                        wanted.insert((Labels::empty(), time), value);
                    }
                    Ok(other) => panic!("{query}: {other:?}"),
                    Err(_) => failed = true,
                }
            }
            prop_assert_eq!(whole.is_err(), failed, "{}", query);
            let Ok(Value::Matrix(matrix)) = whole.map(|answer| answer.value) else { continue };
            let found: BTreeMap<(Labels, i64), f64> = matrix
                .iter()
                .flat_map(|s| s.points.floats().map(|p| ((s.labels.clone(), p.timestamp_ms), p.value)))
                .collect();
            for (key, value) in &wanted {
                let same = found.get(key).is_some_and(|f| close(*f, *value));
                prop_assert!(same, "{}: {:?}: {} became {:?}", query, key, value, found.get(key));
            }
            prop_assert_eq!(found.len(), wanted.len(), "{}", query);
        }
    }
}
