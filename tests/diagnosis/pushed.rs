//! Jobs that an engine pushes, graph and numbers: three topologies whose answer is known, and one that is idle.

use serde_json::{Value, json};

use super::{is_bottleneck, verdict};
use crate::support::Server;

/// An operator of a pushed job: its id, who feeds it, and of each subtask busy and waiting, in milliseconds per second.
type Op = (&'static str, &'static [&'static str], [(f64, f64); 3]);

/// All subtasks alike.
fn even(busy: f64, held: f64) -> [(f64, f64); 3] {
    [(busy, held); 3]
}

/// Registers a job, lets it run, tells its numbers, and asks what holds it up.
fn pushed(server: &Server, job: &str, ops: &[Op]) -> Value {
    let send = |method: &str, path: &str, body: &Value| {
        let headers = [("content-type", "application/json")];
        let answer = server.send(method, path, &headers, body.to_string().as_bytes());
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
    };
    let now_ms = server.app().clock.now_ms();
    let vertices: Vec<Value> =
        ops.iter().map(|(id, _, loads)| json!({"id": id, "name": id, "parallelism": loads.len()})).collect();
    let edges: Vec<Value> =
        ops.iter().flat_map(|(id, inputs, _)| inputs.iter().map(move |from| json!({"from": from, "to": id}))).collect();
    let registration = json!({"name": job, "at": now_ms - 60_000, "vertices": vertices, "edges": edges});
    send("PUT", &format!("/api/jobs/{job}"), &registration);
    send("POST", &format!("/api/jobs/{job}/report"), &json!({"at": now_ms - 50_000, "state": "RUNNING"}));
    let subtask = |(index, (busy, held)): (usize, &(f64, f64))| {
        json!({
            "index": index, "state": "RUNNING",
            "metrics": {"busyTimeMsPerSecond": busy, "backPressuredTimeMsPerSecond": held},
        })
    };
    let told: Vec<Value> = ops
        .iter()
        .map(|(id, _, loads)| json!({"id": id, "subtasks": loads.iter().enumerate().map(subtask).collect::<Vec<_>>()}))
        .collect();
    send("POST", &format!("/api/jobs/{job}/report"), &json!({"at": now_ms - 1000, "vertices": told}));
    let answer = server.get(&format!("/api/jobs/{job}/diagnosis"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

#[test]
fn pushed_topologies_are_judged() {
    let server = Server::start();
    let slow_source: [Op; 3] =
        [("kafka", &[], even(985.0, 0.0)), ("map", &["kafka"], even(40.0, 0.0)), ("sink", &["map"], even(20.0, 0.0))];
    is_bottleneck(&pushed(&server, "slow-source", &slow_source), "kafka", &json!([]));
    let slow_sink: [Op; 3] = [
        ("kafka", &[], even(30.0, 940.0)),
        ("map", &["kafka"], even(100.0, 880.0)),
        ("sink", &["map"], even(990.0, 0.0)),
    ];
    is_bottleneck(&pushed(&server, "slow-sink", &slow_sink), "sink", &json!([]));
    let skewed_join: [Op; 4] = [
        ("left", &[], even(50.0, 900.0)),
        ("right", &[], even(50.0, 600.0)),
        ("join", &["left", "right"], [(180.0, 0.0), (1000.0, 0.0), (190.0, 0.0)]),
        ("sink", &["join"], even(80.0, 0.0)),
    ];
    is_bottleneck(&pushed(&server, "skewed-join", &skewed_join), "join", &json!([1]));
    let idle: [Op; 2] = [("kafka", &[], even(5.0, 0.0)), ("sink", &["kafka"], even(1.0, 0.0))];
    let found = pushed(&server, "idle", &idle);
    assert_eq!(verdict(&found).0, "none", "{found:#}");
}

/// An engine may speak of some subtasks only: of the others nothing is known, and that is no reason to say that they do not
/// run.
#[test]
fn subtasks_that_nobody_speaks_of_are_not_missed() {
    let server = Server::start();
    let ops: [Op; 2] = [("kafka", &[], even(30.0, 900.0)), ("sink", &["kafka"], even(990.0, 0.0))];
    pushed(&server, "some", &ops);
    let now_ms = server.app().clock.now_ms();
    let more = json!({
        "name": "some", "at": now_ms - 500,
        "vertices": [{"id": "kafka", "name": "kafka", "parallelism": 3}, {"id": "sink", "name": "sink", "parallelism": 5}],
        "edges": [{"from": "kafka", "to": "sink"}],
    });
    let headers = [("content-type", "application/json")];
    let answer = server.send("PUT", "/api/jobs/some", &headers, more.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
    is_bottleneck(&server.get("/api/jobs/some/diagnosis").json(), "sink", &json!([]));
}
