//! The language, as scripts: each file in `promql/` is one test.

use query::EngineOptions;

use crate::script;

fn check(name: &str, text: &str, cases: usize) {
    for threads in [1, 2] {
        let options = EngineOptions { threads, ..EngineOptions::default() };
        let outcomes = script::run(text, &options);
        assert_eq!(outcomes.len(), cases, "{name}: cases that were found");
        let failed: Vec<String> = outcomes
            .iter()
            .filter_map(|o| Some(format!("{name}:{}: {}\n  {}", o.line, o.query, o.failure.as_ref()?)))
            .collect();
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }
}

#[test]
fn selectors() {
    check("selectors", include_str!("promql/selectors.test"), 17);
}

#[test]
fn ranges() {
    check("ranges", include_str!("promql/ranges.test"), 35);
}

#[test]
fn operators() {
    check("operators", include_str!("promql/operators.test"), 28);
}

#[test]
fn aggregations() {
    check("aggregations", include_str!("promql/aggregations.test"), 28);
}

#[test]
fn functions() {
    check("functions", include_str!("promql/functions.test"), 28);
}

#[test]
fn native_histograms() {
    check("native_histograms", include_str!("promql/native_histograms.test"), 56);
}
