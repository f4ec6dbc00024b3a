//! Two runs of one job, years apart and on the same time since each began.

use serde_json::{Value, json};
use streamgauge::jobs::{Checkpoint, CheckpointSizes, CheckpointState, JobState, Observation, Origin, Subject};

use super::{Engine, Op, observe, op, report, run};
use crate::support::Server;

const MINUTE_MS: i64 = 60_000;

fn demo(busy: f64, held: f64, records: f64) -> Vec<Op> {
    vec![
        op("orders", &[]).flink(&[10.0, 10.0], &[held, held], &[records, records]),
        op("score", &[0]).flink(&[busy, busy], &[0.0, 0.0], &[records, records]),
    ]
}

fn checkpoint(id: i64, triggered_ms: i64, duration_ms: i64) -> Checkpoint {
    Checkpoint {
        id,
        state: CheckpointState::Completed,
        is_savepoint: false,
        savepoint_format: None,
        kind: None,
        triggered_ms,
        latest_ack_ms: triggered_ms + duration_ms,
        sizes: CheckpointSizes { duration_ms, state_bytes: 1000, ..CheckpointSizes::default() },
        subtasks: 2,
        acknowledged: 2,
        path: None,
        is_discarded: None,
        failure: None,
        tasks: Default::default(),
    }
}

/// A run of ten minutes with a report in each, which ended.
fn past(server: &Server, id: &str, ops: &[Op], started_ms: i64, duration_ms: i64) {
    observe(server, id, "demo", ops, started_ms);
    for minute in 1..=10 {
        report(server, id, ops, Engine::Flink, started_ms + minute * MINUTE_MS - 1);
    }
    let ended_ms = started_ms + 10 * MINUTE_MS;
    let mut end = Observation::new(Subject::job("", id), Origin::Push, ended_ms);
    end.put(&run("demo", JobState::Finished, started_ms, Some(ended_ms))).unwrap();
    end.put(&checkpoint(1, started_ms + 1000, duration_ms)).unwrap();
    server.app().jobs.record(end).unwrap();
}

fn find<'v>(found: &'v Value, measure: &str, operator: Option<&str>) -> &'v Value {
    let is = |one: &&Value| one["measure"] == measure && one["operator"]["name"].as_str() == operator;
    found["numbers"]
        .as_array()
        .unwrap()
        .iter()
        .find(is)
        .unwrap_or_else(|| panic!("{measure} {operator:?} in {found:#}"))
}

#[test]
fn a_run_that_is_held_up_is_told_from_one_that_was_not() {
    let server = Server::with(&[("storage.max_open_partitions", "8")]);
    let now_ms = server.app().clock.now_ms();
    past(&server, "before", &demo(600.0, 0.0, 400.0), now_ms - 90 * 24 * 60 * MINUTE_MS, 1200);
    past(&server, "after", &demo(990.0, 950.0, 270.0), now_ms - 60 * MINUTE_MS, 19_500);
    let found = server.get("/api/jobs/compare?a=before&b=after").json();
    assert_eq!((&found["length"], &found["step"]), (&json!(10 * MINUTE_MS), &json!(5000)), "{found:#}");
    let throughput = find(&found, "throughput", None);
    assert_eq!(
        (&throughput["a"], &throughput["b"], &throughput["change"]),
        (&json!(800.0), &json!(540.0), &json!("worse"))
    );
    assert_eq!(throughput["ratio"], 0.675);
    let checkpoints = find(&found, "checkpoint_duration", None);
    assert_eq!((&checkpoints["a"], &checkpoints["b"]), (&json!(1200.0), &json!(19_500.0)));
    assert_eq!(find(&found, "runtime", None)["change"], "same");
    assert!((find(&found, "busy", Some("score"))["b"].as_f64().unwrap() - 0.99).abs() < 1e-9);
    assert_eq!(found["bottlenecks"]["a"]["verdict"], "none", "{found:#}");
    assert_eq!(found["bottlenecks"]["b"]["operator"]["name"], "score");
    let sentence = found["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("In the first 10 min of the second run, against the first: "), "{sentence}");
    assert!(sentence.contains("duration of checkpoints 19.5 s instead of 1.2 s (worse)"), "{sentence}");
    let is_busy = |one: &&Value| one["measure"] == "busy" && one["operator"]["name"] == "score";
    let course = found["courses"].as_array().unwrap().iter().find(is_busy).unwrap();
    let times = found["times"].as_array().unwrap();
    assert_eq!((times.len(), &times[0], course["a"].as_array().unwrap().len()), (120, &json!(5000), 120));
    assert_eq!((&course["a"][119], &course["b"][119]), (&json!(0.6), &json!(0.99)));
    assert_eq!(course["a"][0], Value::Null, "nothing was measured before the first minute");
    // The same way round again is the same run.
    let same = server.get("/api/jobs/compare?a=after&b=after").json();
    assert!(same["sentence"].as_str().unwrap().contains("no number of the second run differs"), "{}", same["sentence"]);
    // As it was known after two minutes.
    let early = now_ms - 58 * MINUTE_MS;
    let found = server.get(&format!("/api/jobs/compare?a=before&b=after&at={early}&step=30s")).json();
    assert_eq!((&found["length"], found["times"].as_array().unwrap().len()), (&json!(2 * MINUTE_MS), 4));
    assert_eq!(found["b"]["state"], "RUNNING");
    let cut = server.get("/api/jobs/compare?a=before&b=after&length=3m&step=1m").json();
    assert_eq!(cut["times"], json!([60_000, 120_000, 180_000]));
}

#[test]
fn bad_questions_are_refused_in_our_own_shape() {
    let server = Server::with(&[("query.max_steps", "100")]);
    let now_ms = server.app().clock.now_ms();
    past(&server, "one", &demo(600.0, 0.0, 400.0), now_ms - 60 * MINUTE_MS, 1200);
    // It has run since 1970, and nothing was measured of it.
    observe(&server, "old", "demo", &[], 0);
    for (query, status, message) in [
        ("", 400, "a is missing"),
        ("?a=one", 400, "b is missing"),
        ("?a=one&b=two", 404, "no such job: two"),
        ("?a=one&b=one&at=noon", 400, "at=\"noon\""),
        ("?a=one&b=one&step=0s", 400, "step=\"0s\""),
        ("?a=one&b=one&length=x", 400, "length=\"x\""),
        ("?a=one&b=one&step=5s", 422, "limit query.max_steps"),
        ("?a=one&b=one&step=6s", 200, ""),
        ("?a=old&b=old&step=1s", 422, "limit query.max_steps"),
    ] {
        let answer = server.get(&format!("/api/jobs/compare{query}"));
        assert_eq!(answer.status, status, "{query}: {}", answer.body);
        let said = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(said.starts_with(message) || said.contains(message), "{query}: {said}");
    }
}
