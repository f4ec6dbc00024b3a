//! What scripts cannot say: budgets, limits at N and N + 1, cancellation, scopes, threads.

use model::{Budget, Labels, MatchOp, Matcher, Scope, Steps};
use query::ast::ValueType;
use query::{Answer, EngineOptions, ErrorKind, QueryError, Value, run_instant, run_range};

use crate::memory::{Memory, Stored};

/// `count` series of 10 samples, one a second.
fn many(count: usize) -> Memory {
    let mut memory = Memory::default();
    for i in 0..count {
        let (n, org) = (format!("{i:04}"), if i % 2 == 0 { "even" } else { "odd" });
        let labels = Labels::from_pairs([("__name__", "m_total"), ("n", n.as_str()), ("org", org)]).unwrap();
        for t in 0..10 {
            memory.add(&labels, t * 1000, Stored::Float((i as f64).sqrt() * t as f64));
        }
    }
    memory
}

const STEPS: Steps = Steps { start_ms: 0, end_ms: 9000, step_ms: 1000 };

fn range(memory: &Memory, query: &str, options: &EngineOptions, budget: &Budget) -> Result<Answer, QueryError> {
    run_range(memory, &Scope::default(), query, STEPS, options, budget)
}

#[test]
fn steps_at_the_limit() {
    let memory = many(1);
    let options = |steps_max| EngineOptions { steps_max, ..EngineOptions::default() };
    assert!(range(&memory, "m_total", &options(10), &Budget::unlimited()).is_ok());
    let error = range(&memory, "m_total", &options(9), &Budget::unlimited()).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Limit, "limit query.max_steps = 9 reached"));
}

#[test]
fn samples_at_the_limit() {
    let memory = many(3);
    let options = EngineOptions::default();
    assert!(range(&memory, "m_total", &options, &Budget::new(30, u64::MAX)).is_ok());
    let error = range(&memory, "m_total", &options, &Budget::new(29, u64::MAX)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Limit);
    assert!(error.message.contains("query.max_samples = 29"), "{}", error.message);
}

#[test]
fn memory_is_bounded_and_given_back() {
    let memory = many(100);
    let options = EngineOptions::default();
    for query in [
        "m_total * 2",
        "sum(rate(m_total[5s]))",
        "topk(3, m_total)",
        "quantile by (org) (0.5, m_total)",
        "m_total / on (n) m_total",
        "max_over_time(rate(m_total[3s])[5s:1s])",
        "count_values(\"v\", m_total)",
        "label_replace(m_total, \"x\", \"$1\", \"n\", \"(.*)\") or m_total",
    ] {
        let budget = Budget::new(u64::MAX, 1 << 40);
        range(&memory, query, &options, &budget).unwrap();
        let peak = budget.bytes_peak();
        assert!(peak > 0, "{query}");
        assert!(budget.take_bytes(1 << 40).is_ok(), "{query}: everything was given back");
        assert!(range(&memory, query, &options, &Budget::new(u64::MAX, peak)).is_ok(), "{query}");
        let error = range(&memory, query, &options, &Budget::new(u64::MAX, peak - 1)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Limit, "{query}");
    }
}

#[test]
fn aggregations_hold_groups_and_not_their_input() {
    let options = EngineOptions::default();
    let peak = |series| {
        let budget = Budget::unlimited();
        range(&many(series), "sum by (org) (rate(m_total[5s]))", &options, &budget).unwrap();
        budget.bytes_peak()
    };
    // The number of its group and of its name is all that is held of a series.
    assert_eq!(peak(1000) - peak(100), 900 * 2 * size_of::<u32>() as u64);
}

#[test]
fn subqueries_that_are_too_fine_are_refused() {
    let memory = many(1);
    let budget = Budget::new(u64::MAX, 1 << 20);
    let error = range(&memory, "sum_over_time(vector(1)[1y:1ms])", &EngineOptions::default(), &budget).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Limit);
}

#[test]
fn points_of_subqueries_count_as_samples() {
    let run = |samples_max| {
        let budget = Budget::new(samples_max, 1 << 30);
        range(&many(0), "max_over_time(vector(1)[20d:1s])", &EngineOptions::default(), &budget)
    };
    let points = 20 * 86_400 + 9;
    assert!(run(points).is_ok());
    let error = run(points - 1).unwrap_err();
    assert_eq!((error.kind, error.message.contains("query.max_samples")), (ErrorKind::Limit, true));
}

/// A budget that is cancelled while a long subquery is evaluated ends it long before its end.
#[test]
fn long_subqueries_notice_a_cancellation() {
    let budget = Budget::unlimited();
    let began = std::sync::Barrier::new(2);
    let ended = std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            began.wait();
            range(&many(0), "max_over_time((vector(1) + time())[100d:1s])", &EngineOptions::default(), &budget)
        });
        began.wait();
        std::thread::sleep(std::time::Duration::from_millis(5));
        budget.cancel();
        running.join().unwrap()
    });
    assert_eq!(ended.unwrap_err().kind, ErrorKind::Cancelled);
}

#[test]
fn cancelled_queries_stop() {
    let budget = Budget::unlimited();
    budget.cancel();
    let error = range(&many(1), "1 + 1", &EngineOptions::default(), &budget).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
}

#[test]
fn scopes_confine_every_selector() {
    let memory = many(4);
    let scope = Scope::confined(Matcher::new("org", MatchOp::Equal, "odd").unwrap());
    let count = |query| {
        let budget = Budget::unlimited();
        let answer = run_instant(&memory, &scope, query, 5000, &EngineOptions::default(), &budget).unwrap();
        let Value::Vector(elements) = answer.value else { panic!("no vector") };
        elements.len()
    };
    assert_eq!(count("m_total"), 2);
    assert_eq!(count("rate(m_total[5s]) or m_total"), 2);
    assert_eq!(count("m_total{org=\"even\"}"), 0);
}

#[test]
fn threads_change_nothing() {
    let memory = many(500);
    for query in ["sum by (org) (rate(m_total[5s]))", "m_total", "topk(5, deriv(m_total[4s]))"] {
        let on = |threads| {
            let options = EngineOptions { threads, ..EngineOptions::default() };
            range(&memory, query, &options, &Budget::unlimited()).unwrap()
        };
        assert_eq!(on(1), on(3), "{query}");
    }
    let options = EngineOptions { threads: 3, ..EngineOptions::default() };
    let error = range(&memory, "m_total", &options, &Budget::new(4999, u64::MAX)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Limit);
}

#[test]
fn names_can_be_dropped_at_once() {
    let mut memory = Memory::default();
    for name in ["a", "b"] {
        let labels = Labels::from_pairs([("__name__", name), ("k", name)]).unwrap();
        memory.add(&labels, 0, Stored::Float(1.0));
    }
    let labels = |query, delayed_name_removal| {
        let options = EngineOptions { delayed_name_removal, ..EngineOptions::default() };
        let budget = Budget::unlimited();
        let answer = run_instant(&memory, &Scope::default(), query, 0, &options, &budget)?;
        let Value::Vector(elements) = answer.value else { panic!("no vector") };
        Ok::<_, QueryError>(elements.into_iter().map(|e| e.labels.to_string()).collect::<Vec<_>>())
    };
    let replaced = r#"label_replace(abs({k="a"}), "n", "$1", "__name__", "(.*)")"#;
    assert_eq!(labels(replaced, true).unwrap(), [r#"{k="a", n="a"}"#]);
    assert_eq!(labels(replaced, false).unwrap(), [r#"{k="a"}"#]);
    let clash = r#"label_replace(abs({k=~".+"}), "k", "x", "", "")"#;
    let sum = r#"sum(abs(label_replace({k=~".+"}, "k", "x", "", "")))"#;
    assert!(labels(clash, true).is_err() || labels(clash, false).is_err());
    assert!(labels(sum, true).is_ok());
    let error = labels(sum, false).unwrap_err();
    assert_eq!(error.message, "vector cannot contain metrics with the same labelset");
}

/// The stack of the thread, in bytes; without optimization each level takes some 20 KiB, with it a third.
const STACK_BYTES: usize = 8 << 20;

#[test]
fn the_deepest_expression_fits_the_stack() {
    let check = || {
        let memory = many(1);
        let options = EngineOptions::default();
        // How many levels of the tree each repetition makes, and what is repeated.
        for (levels, open, inner, close) in [
            (1, "abs(", "m_total", ")"),
            (1, "sum(", "m_total", ")"),
            (1, "", "m_total", " + 1"),
            (2, "-(", "m_total", ")"),
            (2, "1 + (", "m_total", ")"),
            (2, "m_total + (", "m_total", ")"),
            (2, "m_total or (", "m_total", ")"),
            (2, "1 + (", "time()", ")"),
            (2, "sum_over_time(", "m_total", "[1s:1s])"),
        ] {
            let count = (options.depth_max - 2) / levels;
            let query = format!("{}{inner}{}", open.repeat(count), close.repeat(count));
            let result = range(&memory, &query, &options, &Budget::unlimited());
            assert!(result.is_ok(), "{open}: {result:?}");
        }
    };
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(check).unwrap().join().unwrap();
}

#[test]
fn times_at_the_ends_of_the_clock_do_not_panic() {
    let mut memory = many(2);
    let labels = Labels::from_pairs([("__name__", "m_total"), ("n", "far"), ("org", "odd")]).unwrap();
    for time in [i64::MIN, i64::MIN + 1, -1, i64::MAX - 1, i64::MAX] {
        memory.add(&labels, time, Stored::Float(1.0));
    }
    let options = EngineOptions::default();
    for query in [
        "m_total",
        "rate(m_total[290y])",
        "deriv(m_total[290y])",
        "predict_linear(m_total[290y], 1)",
        "irate(m_total[290y] offset -290y)",
        "sum_over_time(m_total[1h:1m])",
        "timestamp(m_total offset 290y)",
        "time() + year()",
    ] {
        for time in [i64::MIN, i64::MIN + 1, 0, i64::MAX - 1, i64::MAX] {
            let scope = Scope::default();
            assert!(run_instant(&memory, &scope, query, time, &options, &Budget::unlimited()).is_ok(), "{query}");
            let steps = Steps { start_ms: time, end_ms: time.saturating_add(5), step_ms: 5 };
            assert!(run_range(&memory, &scope, query, steps, &options, &Budget::unlimited()).is_ok(), "{query}");
        }
    }
}

#[test]
fn every_function_of_the_table_can_be_evaluated() {
    let memory = many(2);
    for function in query::FUNCTIONS {
        let most = function.args_max.unwrap_or(function.args_min + 2);
        for count in function.args_min..=most {
            let kind = |i: usize| function.args.get(i).or(function.args.last());
            let args = (0..count).map(|i| match kind(i) {
                Some(ValueType::Scalar) => "0.5",
                Some(ValueType::String) => "\"x\"",
                Some(ValueType::Matrix) => "m_total[5s]",
                _ if function.name == "info" && i == 1 => "{org=~\".*\"}",
                _ => "m_total",
            });
            let query = format!("{}({})", function.name, args.collect::<Vec<_>>().join(", "));
            let error = range(&memory, &query, &EngineOptions::default(), &Budget::unlimited()).err();
            // Two series that are told apart by one label only can become the same.
            let is_clash = |e: &QueryError| e.message == "vector cannot contain metrics with the same labelset";
            assert!(error.as_ref().is_none_or(is_clash), "{query}: {error:?}");
        }
    }
}
