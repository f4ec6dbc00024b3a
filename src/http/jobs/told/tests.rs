//! Limits at N and N+1, what follows from what is not said, and what is refused.

use serde_json::{Value, json};

use super::*;

const LIMITS: Limits = Limits {
    vertices_max: 3,
    subtasks_max: 6,
    items_max: 4,
    metrics_max: 2,
    name_bytes_max: 8,
    text_bytes_max: 12,
    future_max_ms: 1000,
};
const NOW_MS: i64 = 50_000;

fn registered(body: Value) -> Result<Told, String> {
    let body = serde_json::from_value(body).map_err(|e| e.to_string())?;
    registration(&LIMITS, Subject::job("", "j"), body, NOW_MS).map_err(|fault| fault.message)
}

fn reported(body: Value) -> Result<Told, String> {
    let body = serde_json::from_value(body).map_err(|e| e.to_string())?;
    report(&LIMITS, Subject::job("", "j"), body, NOW_MS).map_err(|fault| fault.message)
}

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// Whether a body with so much of something is taken; what the refusal says, if not.
type Case = (&'static str, fn(usize) -> Result<Told, String>, usize);

#[test]
fn every_limit_holds_at_n_and_n_plus_1() {
    let cases: [Case; 14] = [
        (
            "jobs.max_vertices = 3",
            |n| {
                registered(
                    json!({"name": "n", "vertices": (0..n).map(|i| json!({"id": format!("v{i}")})).collect::<Vec<_>>()}),
                )
            },
            3,
        ),
        (
            "jobs.max_subtasks = 6",
            |n| {
                registered(
                    json!({"name": "n", "vertices": [{"id": "a", "parallelism": 4}, {"id": "b", "parallelism": n}]}),
                )
            },
            2,
        ),
        (
            "jobs.max_documents = 4",
            |n| {
                let subtask = |index: usize| json!({"index": index, "state": "RUNNING"});
                registered(
                    json!({"name": "n", "vertices": [{"id": "a", "subtasks": (0..n).map(subtask).collect::<Vec<_>>()}]}),
                )
            },
            4,
        ),
        (
            "jobs.max_documents = 4",
            |n| {
                let edges = vec![json!({"from": "a", "to": "a"}); n];
                registered(json!({"name": "n", "vertices": [{"id": "a"}], "edges": edges}))
            },
            4,
        ),
        (
            "jobs.max_documents = 4",
            |n| {
                let user: BTreeMap<String, &str> = (0..n).map(|i| (i.to_string(), "")).collect();
                registered(json!({"name": "n", "settings": {"user": user}}))
            },
            4,
        ),
        ("jobs.max_name_bytes = 8", |n| registered(json!({"name": text(n)})), 8),
        (
            "jobs.max_text_bytes = 12",
            |n| registered(json!({"name": "n", "vertices": [{"id": "a", "description": text(n)}]})),
            12,
        ),
        ("255 bytes", |n| registered(json!({"name": "n", "vertices": [{"id": text(n), "name": "v"}]})), 255),
        ("ingest.max_future = 1000", |n| reported(json!({"at": NOW_MS + n as i64})), 1000),
        ("jobs.max_documents = 4", |n| reported(json!({"exceptions": vec![json!({"message": "m"}); n]})), 4),
        (
            "jobs.max_documents = 4",
            |n| {
                let subtasks: Vec<Value> = (0..n).map(|index| json!({"index": index})).collect();
                reported(json!({"checkpoints": [{
                    "id": 1, "state": "COMPLETED", "triggered": 1, "tasks": [{"vertex": "a", "subtasks": subtasks}],
                }]}))
            },
            2,
        ),
        (
            "ingest.max_batch_samples = 2",
            |n| {
                let metrics: BTreeMap<String, f64> = (0..n).map(|i| (format!("m{i}"), 1.0)).collect();
                reported(json!({"metrics": metrics}))
            },
            2,
        ),
        ("jobs.max_text_bytes = 12", |n| reported(json!({"exceptions": [{"stack_trace": text(n)}]})), 12),
        (
            "jobs.max_name_bytes = 8",
            |n| reported(json!({"vertices": [{"id": "a", "subtasks": [{"index": 0, "endpoint": text(n)}]}]})),
            8,
        ),
    ];
    for (limit, ask, most) in cases {
        assert!(ask(most).is_ok(), "{limit} at {most}: {:?}", ask(most));
        let refused = ask(most + 1).unwrap_err();
        assert!(refused.contains(limit), "{limit}: {refused}");
    }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for (body, message) in [
        (json!({}), "missing field `name`"),
        (json!({"name": ""}), "the name of a job is not empty"),
        (json!({"name": "n", "nmae": 1}), "unknown field `nmae`"),
        (json!({"name": "n", "state": "RUNING"}), "unknown variant `RUNING`, expected one of `INITIALIZING`"),
        (json!({"name": "n", "vertices": [{}]}), "missing field `id`"),
        (json!({"name": "n", "vertices": [{"id": ""}]}), "the vertex id \"\""),
        (json!({"name": "n", "vertices": [{"id": "a\n"}]}), "without control characters"),
        (json!({"name": "n", "vertices": [{"id": "a"}, {"id": "a"}]}), "two vertices have the id \"a\""),
        (
            json!({"name": "n", "vertices": [{"id": "a", "parallelism": 0}]}),
            "the parallelism of vertex \"a\" is at least 1",
        ),
        (json!({"name": "n", "vertices": [{"id": "a", "parallelism": -1}]}), "expected u32"),
        (
            json!({"name": "n", "edges": [{"from": "a", "to": "b"}]}),
            "an edge names the vertex \"a\", which is not there",
        ),
        (json!({"name": "n", "heartbeat": {"interval_ms": 0}}), "heartbeat.interval_ms is at least 1"),
        (json!({"name": "n", "heartbeat": {"when_missed": "sad"}}), "unknown variant `sad`"),
        (json!({"name": "n", "commands": ["fly"]}), "unknown variant `fly`, expected one of `cancel`"),
        (json!({"name": "n", "at": "noon"}), "a time from 1970 to 9999"),
    ] {
        let refused = registered(body.clone()).unwrap_err();
        assert!(refused.contains(message), "{body}: {refused}");
    }
    for (body, message) in [
        (json!({"exceptions": [{}]}), "an exception has a message or a stack_trace"),
        (
            json!({"exceptions": [{"message": "m", "concurrent": [{"message": "m", "concurrent": [{"message": "m"}]}]}]}),
            "no concurrent ones itself",
        ),
        (json!({"accumulators": [{"name": "n", "value": 1, "subtask": 0}]}), "has a subtask but no vertex"),
        (json!({"accumulators": [{"name": "n", "value": null}]}), "a number or a text"),
        (json!({"checkpoints": [{"id": -1, "state": "COMPLETED", "triggered": 1}]}), "invalid value: integer `-1`"),
        (json!({"checkpoints": [{"id": 1, "state": "COMPLETED"}]}), "missing field `triggered`"),
        (json!({"vertices": [{"id": "a", "subtasks": [{"index": 0, "times": {"RUNING": 1}}]}]}), "RUNING"),
        (json!([]), "invalid length 0"),
    ] {
        let refused = reported(body.clone()).unwrap_err();
        assert!(refused.contains(message), "{body}: {refused}");
    }
}

#[test]
fn a_graph_is_read_with_its_edges_by_target() {
    let told = registered(json!({
        "name": "n", "at": "1970-01-01T00:00:09Z", "started": 7, "commands": ["stop"],
        "vertices": [{"id": "a", "name": "A"}, {"id": "b", "parallelism": 2}, {"id": "c"}],
        "edges": [{"from": "a", "to": "c", "ship_strategy": "HASH"}, {"from": "b", "to": "c"}],
        "heartbeat": {"interval_ms": 5000},
    }))
    .unwrap();
    assert_eq!((told.push.at_ms, told.push.now_ms, told.push.state), (9000, NOW_MS, None));
    let registration = told.push.registration.unwrap();
    let inputs: Vec<(&str, u64)> =
        registration.vertices[2].inputs.iter().map(|edge| (edge.from.as_str(), edge.number)).collect();
    assert_eq!(inputs, [("a", 0), ("b", 1)]);
    assert_eq!((registration.vertices[1].name.as_str(), registration.vertices[1].parallelism), ("b", 2));
    assert!(registration.terms.sends_heartbeats && registration.terms.missed_max.is_none());
}

#[test]
fn what_is_not_said_of_a_checkpoint_follows_from_the_rest() {
    let told = reported(json!({"at": 900, "checkpoints": [{
        "id": 1, "state": "COMPLETED", "triggered": 100,
        "tasks": [{"vertex": "a", "subtasks": [{"index": 0, "acknowledged": 150}, {"index": 1}]}],
    }]}))
    .unwrap();
    let checkpoint = &told.push.checkpoints[0];
    assert_eq!((checkpoint.latest_ack_ms, checkpoint.sizes.duration_ms), (900, 800));
    assert_eq!((checkpoint.subtasks, checkpoint.acknowledged), (2, 2));
    let task = &checkpoint.tasks["a"];
    assert_eq!((task.latest_ack_ms, task.sizes.duration_ms, task.subtasks, task.acknowledged), (150, 50, 2, 1));
    assert_eq!(told.push.checkpoint_parts[0].subtasks[1].ack_ms, None);
    let told = reported(json!({"at": 900, "checkpoints": [
        {"id": 1, "state": "IN_PROGRESS", "triggered": 100}, {"id": 2, "state": "FAILED", "triggered": 100},
    ]}))
    .unwrap();
    let [begun, failed] = &told.push.checkpoints[..] else { panic!("{told:?}") };
    assert_eq!((begun.latest_ack_ms, begun.sizes.duration_ms), (-1, -1));
    assert_eq!(failed.failure.as_ref().map(|failure| failure.at_ms), Some(900));
}

#[test]
fn numbers_are_told_apart_from_texts() {
    let told = reported(json!({"accumulators": [
        {"name": "count", "value": 5}, {"name": "mean", "value": 0.5}, {"vertex": "a", "subtask": 1, "name": "list", "value": "[1]"},
    ]}))
    .unwrap();
    assert_eq!(told.numbers.len(), 2);
    let kinds: Vec<&str> =
        told.push.accumulators.iter().flat_map(|all| &all.accumulators).map(|one| one.kind.as_str()).collect();
    assert_eq!(kinds, ["LongCounter", "DoubleCounter", "String"]);
    assert_eq!(told.push.accumulators[1].subtask, Some(1));
}

#[test]
fn a_subtask_comes_into_its_state_when_it_is_told_unless_a_time_is_named() {
    let told = reported(json!({"at": 900, "vertices": [
        {"id": "a", "state": "DEPLOYING"},
        {"id": "b", "subtasks": [{"index": 1, "state": "RUNNING", "times": {"DEPLOYING": 5, "RUNNING": 7}, "io": {"read_records": 3}}]},
    ]}))
    .unwrap();
    let [all, one] = &told.push.tasks[..] else { panic!("{told:?}") };
    assert_eq!((all.index, &all.times), (None, &[(TaskState::Deploying, 900)].into()));
    assert_eq!((one.index, one.times[&TaskState::Running]), (Some(1), 7));
    assert!(one.io.is_some_and(|io| io.read_records.is_complete && !io.read_bytes.is_complete));
}
