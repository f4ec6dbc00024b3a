//! Jobs that engines push: seen in every dialect and at any time, after a restart, given up when nobody is heard of, refused
//! by name when something is wrong.

mod commands;
mod openapi;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use storage::Clock;
use streamgauge::auth::{Rights, Token, with_entry};

use crate::support::{Answer, Server};

const JOB: &str = "etl/nightly";
const PATH: &str = "/api/jobs/etl%2Fnightly";
/// 2026-11-21T20:00:00Z
const START_MS: i64 = 1_795_291_200_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// A clock that is set.
#[derive(Debug)]
struct SetClock(AtomicI64);

impl SetClock {
    fn new() -> Arc<SetClock> {
        Arc::new(SetClock(AtomicI64::new(START_MS)))
    }

    /// Sets the time after the start.
    fn set(&self, after_ms: i64) {
        self.0.store(START_MS + after_ms, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn send(server: &Server, method: &str, path: &str, body: &Value) -> Answer {
    server.send(method, path, &[("content-type", "application/json")], body.to_string().as_bytes())
}

/// Sends what must be taken.
fn sent(server: &Server, method: &str, path: &str, body: &Value) -> Value {
    let answer = send(server, method, path, body);
    assert!((200..300).contains(&answer.status), "{method} {path} {body}: {} {}", answer.status, answer.body);
    answer.json()
}

fn got(server: &Server, path: &str) -> Value {
    let answer = server.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

/// A job of a source, a vertex with two subtasks and a sink, whose agent takes all commands but `rescale`.
fn graph() -> Value {
    json!({
        "name": "nightly", "started": START_MS, "at": START_MS, "cluster": "etl-1",
        "vertices": [
            {"id": "source", "name": "Source: orders"}, {"id": "score", "parallelism": 2}, {"id": "sink"},
        ],
        "edges": [{"from": "source", "to": "score", "ship_strategy": "HASH"}, {"from": "score", "to": "sink"}],
        "checkpointing": {"interval_ms": 10_000},
        "commands": ["cancel", "stop", "savepoint", "checkpoint"],
    })
}

/// Registers the job and lets it run; gives its id in Flink's dialect.
fn running(server: &Server) -> String {
    let registered = sent(server, "PUT", PATH, &graph());
    sent(server, "POST", &format!("{PATH}/report"), &json!({"at": START_MS + 1000, "state": "RUNNING"}));
    registered["flink_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_job_is_seen_in_every_dialect_at_any_time_and_after_a_restart() {
    let clock = SetClock::new();
    clock.set(100_000);
    let mut server = Server::with_clock(&[], clock);
    let registered = send(&server, "PUT", PATH, &graph());
    assert_eq!((registered.status, registered.json()["state"].clone()), (201, json!("CREATED")));
    assert_eq!(send(&server, "PUT", PATH, &graph()).status, 200, "known by now");
    let hex = running(&server);
    let report = json!({
        "at": START_MS + 20_000,
        "vertices": [{"id": "score", "subtasks": [
            {"index": 0, "state": "RUNNING", "times": {"DEPLOYING": START_MS + 2000, "RUNNING": START_MS + 3000},
             "endpoint": "worker-1:4000", "task_manager": "worker-1", "io": {"read_records": 43_192, "write_records": 7}},
            {"index": 1, "state": "RUNNING", "io": {"read_records": 6_511, "write_records": 1}},
        ]}],
        "checkpoints": [
            {"id": 4, "state": "COMPLETED", "triggered": START_MS + 10_000, "acknowledged": START_MS + 10_500,
             "path": "s3://c/4", "sizes": {"state_bytes": 2048},
             "tasks": [{"vertex": "score", "subtasks": [{"index": 0, "acknowledged": START_MS + 10_400}, {"index": 1}]}]},
            {"id": 5, "state": "FAILED", "triggered": START_MS + 15_000, "failure": {"message": "the disk is full"}},
        ],
        "exceptions": [{"at": START_MS + 5000, "name": "java.lang.X", "message": "no such key", "task": "score (1/2)"}],
        "accumulators": [{"vertex": "score", "name": "records", "value": 12}],
        "metrics": {"numRestarts": 3},
    });
    let answer = sent(&server, "POST", &format!("{PATH}/report"), &report);
    assert_eq!((&answer["samples"]["stored"], &answer["samples"]["refused"]), (&json!(6), &json!(0)));
    sent(
        &server,
        "POST",
        &format!("{PATH}/report"),
        &json!({
            "at": START_MS + 50_000, "state": "FINISHED",
            "vertices": [{"id": "score", "subtasks": [
                {"index": 0, "state": "FINISHED", "io": {"read_records": 50_000, "write_records": 9, "read_bytes": 1, "write_bytes": 1}},
                {"index": 1, "state": "FINISHED", "io": {"read_records": 7_000, "write_records": 2, "read_bytes": 1, "write_bytes": 1}},
            ]}],
        }),
    );
    for round in ["before", "after a restart"] {
        let at = |after_ms: i64| START_MS + after_ms;
        let own = got(&server, PATH);
        assert_eq!(
            (&own["id"], &own["state"], &own["cluster"]),
            (&json!(JOB), &json!("FINISHED"), &json!("etl-1")),
            "{round}"
        );
        assert_eq!(got(&server, &format!("{PATH}?at={}", at(30_000)))["state"], "RUNNING");
        let events = got(&server, &format!("{PATH}/timeline"));
        let kinds: Vec<&str> =
            events["events"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
        for (kind, count) in [("state", 3), ("exception", 1), ("checkpoint", 2)] {
            assert_eq!(kinds.iter().filter(|found| **found == kind).count(), count, "{kinds:?}");
        }
        assert!(kinds.contains(&"deployment"), "{kinds:?}");
        let job = got(&server, &format!("/jobs/{hex}?at={}", at(20_000)));
        assert_eq!((&job["state"], &job["vertices"][1]["name"]), (&json!("RUNNING"), &json!("score")));
        assert_eq!(job["vertices"][1]["metrics"]["read-records"], 49_703);
        assert_eq!(job["plan"]["nodes"][2]["inputs"][0]["ship_strategy"], Value::Null);
        assert_eq!(job["plan"]["nodes"][1]["inputs"][0]["ship_strategy"], "HASH");
        let job = got(&server, &format!("/jobs/{hex}"));
        assert_eq!((&job["state"], &job["duration"]), (&json!("FINISHED"), &json!(50_000)));
        assert_eq!(job["vertices"][1]["metrics"]["read-records"], 57_000, "the totals of what has ended");
        assert_eq!(job["vertices"][0]["status"], "FINISHED", "it follows its job");
        let vertex = job["vertices"][1]["id"].as_str().unwrap();
        let details = got(&server, &format!("/jobs/{hex}/vertices/{vertex}?at={}", at(20_000)));
        assert_eq!(details["subtasks"][0]["endpoint"], "worker-1:4000");
        let accumulators = got(&server, &format!("/jobs/{hex}/vertices/{vertex}/accumulators?at={}", at(20_000)));
        assert_eq!(
            accumulators["user-accumulators"],
            json!([{"name": "records", "type": "LongCounter", "value": "12"}])
        );
        let checkpoints = got(&server, &format!("/jobs/{hex}/checkpoints"));
        let counts = json!({"restored": 0, "total": 2, "in_progress": 0, "completed": 1, "failed": 1});
        assert_eq!(checkpoints["counts"], counts);
        assert_eq!(checkpoints["summary"]["state_size"]["max"], 2048);
        assert_eq!(checkpoints["latest"]["failed"]["failure_message"], "the disk is full");
        let part = got(&server, &format!("/jobs/{hex}/checkpoints/details/4/subtasks/{vertex}"));
        assert_eq!(part["subtasks"][0]["end_to_end_duration"], 400);
        let exceptions = got(&server, &format!("/jobs/{hex}/exceptions"));
        assert_eq!(exceptions["root-exception"], "java.lang.X: no such key");
        let overview = got(&server, "/jobs/overview");
        assert_eq!((&overview["jobs"][0]["jid"], &overview["jobs"][0]["tasks"]["finished"]), (&json!(hex), &json!(4)));
        assert_eq!(got(&server, "/tsp/job/nightly/status/")["response"]["jid"], json!(hex));
        let restarts = got(&server, &format!("/jobs/{hex}/metrics?get=numRestarts&at={}", at(20_000)));
        assert_eq!(restarts, json!([{"id": "numRestarts", "value": "3"}]));
        server = server.restart();
    }
}

#[test]
fn reports_come_late_and_twice() {
    let clock = SetClock::new();
    clock.set(100_000);
    let server = Server::with_clock(&[], clock);
    let hex = running(&server);
    let report = format!("{PATH}/report");
    let attempt = |number: i64, state: &str, at: i64| json!({"at": START_MS + at, "vertices": [{"id": "score", "subtasks": [{"index": 0, "attempt": number, "state": state}]}]});
    sent(&server, "POST", &report, &attempt(1, "RUNNING", 30_000));
    sent(&server, "POST", &report, &attempt(0, "FAILED", 25_000));
    let again = sent(&server, "POST", &report, &attempt(0, "FAILED", 25_000));
    assert_eq!(again["changed"], 0);
    sent(&server, "POST", &report, &json!({"at": START_MS + 40_000, "state": "RUNNING"}));
    sent(&server, "POST", &report, &json!({"at": START_MS + 26_000, "state": "RESTARTING"}));
    let state = |at: i64| got(&server, &format!("/jobs/{hex}/status?at={}", START_MS + at))["status"].clone();
    assert_eq!([state(25_000), state(27_000), state(60_000)], ["RUNNING", "RESTARTING", "RUNNING"]);
    let vertex = got(&server, &format!("/jobs/{hex}"))["vertices"][1]["id"].as_str().unwrap().to_owned();
    let attempts = format!("/jobs/{hex}/vertices/{vertex}/subtasks/0/attempts");
    assert_eq!(got(&server, &format!("{attempts}/0"))["status"], "FAILED");
    assert_eq!(got(&server, &format!("{attempts}/1"))["status"], "RUNNING");
}

#[test]
fn a_job_that_nobody_is_heard_of_is_stale_and_comes_back() {
    let clock = SetClock::new();
    let server =
        Server::with_clock(&[("jobs.heartbeat_interval", "10s"), ("jobs.max_missed_heartbeats", "2")], clock.clone());
    let hex = running(&server);
    clock.set(15_000);
    let heartbeat = format!("{PATH}/heartbeat");
    assert_eq!(sent(&server, "POST", &heartbeat, &json!({}))["interval_ms"], 10_000);
    clock.set(35_000);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(got(&server, PATH)["lost"], Value::Null, "two are missing");
    clock.set(35_001);
    wait_until("the job is stale", || got(&server, PATH)["lost"] == START_MS + 15_000);
    assert_eq!(got(&server, PATH)["state"], "RUNNING", "what it was last");
    assert_eq!(got(&server, &format!("/jobs/{hex}"))["stale-since"], START_MS + 15_000);
    let answer = sent(&server, "POST", &heartbeat, &json!({}));
    assert_eq!((answer["state"].as_str(), got(&server, PATH)["lost"].clone()), (Some("RUNNING"), Value::Null));
    clock.set(40_000);
    let lost_then = got(&server, &format!("{PATH}?at={}", START_MS + 35_000));
    assert_eq!(lost_then["lost"], Value::Null, "before it was noticed");
}

#[test]
fn a_job_says_itself_what_missing_heartbeats_mean() {
    let clock = SetClock::new();
    let server = Server::with_clock(&[], clock.clone());
    let with = |when: &str| {
        let mut graph = graph();
        graph["heartbeat"] = json!({"interval_ms": 1000, "max_missed": 1, "when_missed": when});
        graph["state"] = json!("RUNNING");
        graph
    };
    sent(&server, "PUT", "/api/jobs/fails", &with("failed"));
    sent(&server, "PUT", "/api/jobs/stays", &with("nothing"));
    sent(&server, "PUT", "/api/jobs/quiet", &graph());
    clock.set(2001);
    wait_until("the job has failed", || got(&server, "/api/jobs/fails")["state"] == "FAILED");
    assert_eq!(got(&server, "/api/jobs/fails")["ended"], START_MS + 2001);
    for job in ["stays", "quiet"] {
        let shown = got(&server, &format!("/api/jobs/{job}"));
        assert_eq!((&shown["ended"], &shown["lost"]), (&Value::Null, &Value::Null), "{job}");
    }
    let events = got(&server, "/api/jobs/fails/timeline");
    let failure = events["events"].as_array().unwrap().iter().find(|event| event["kind"] == "exception").unwrap();
    assert_eq!(failure["name"], "HeartbeatsMissing");
    clock.set(3000);
    let server = server.restart();
    assert_eq!(sent(&server, "POST", "/api/jobs/fails/heartbeat", &json!({}))["state"], "RUNNING");
    assert_eq!(got(&server, &format!("/api/jobs/fails?at={}", START_MS + 2500))["state"], "FAILED");
}

/// Method, path, body, status and what the message names.
type Bad = (&'static str, String, Value, u16, &'static str);

#[test]
fn what_is_wrong_is_refused_by_name_in_our_own_shape() {
    let server = Server::with(&[("jobs.max_report_bytes", "2000"), ("jobs.max_vertices", "3")]);
    let mut known = graph();
    known.as_object_mut().unwrap().extend([("at".to_owned(), json!(1000)), ("started".to_owned(), json!(1000))]);
    sent(&server, "PUT", PATH, &known);
    sent(&server, "PUT", "/api/jobs/done", &json!({"name": "n", "at": 1000, "state": "FINISHED"}));
    let report = || format!("{PATH}/report");
    let four: Vec<Value> = (0..4).map(|i| json!({"id": format!("v{i}")})).collect();
    let long = "x".repeat(256);
    let cases: Vec<Bad> = vec![
        ("PUT", PATH.to_owned(), json!({}), 400, "missing field `name`"),
        ("PUT", PATH.to_owned(), json!({"name": "n", "id": "other"}), 400, "the body is about job"),
        ("PUT", PATH.to_owned(), json!({"name": "n", "vertices": four}), 400, "limit jobs.max_vertices = 3 reached"),
        ("PUT", format!("/api/jobs/{long}"), json!({"name": "n"}), 400, "1 to 255 bytes"),
        ("PUT", format!("/api/jobs/{}", &long[1..]), json!({"name": "n"}), 201, ""),
        ("PUT", "/api/jobs/done".to_owned(), json!({"name": "n", "state": "RUNNING"}), 409, "is FINISHED since 1000"),
        ("POST", "/api/jobs".to_owned(), json!({"name": "n"}), 400, "missing field `id`"),
        ("POST", "/api/jobs".to_owned(), json!({"id": "compare", "name": "n"}), 400, "is a path of this API"),
        ("POST", "/api/jobs/nobody/report".to_owned(), json!({"state": "RUNNING"}), 404, "register it first"),
        ("POST", report(), json!({"state": "SLEEPING"}), 400, "unknown variant `SLEEPING`"),
        ("POST", report(), json!({"vertices": [{"id": "nope"}]}), 200, ""),
        ("POST", report(), json!({"vertices": [{"id": "nope", "state": "RUNNING"}]}), 400, "has no vertex \"nope\""),
        ("POST", report(), json!({"vertices": [{"id": "score", "subtasks": [{"index": 2}]}]}), 400, "has no subtask 2"),
        ("POST", report(), json!({"at": "tomorrow"}), 400, "a time from 1970 to 9999"),
        ("POST", report(), json!({"at": 253_402_300_799_999_i64}), 400, "limit ingest.max_future"),
        ("POST", report(), json!([1]), 400, "the body does not fit"),
        ("POST", "/api/jobs/nobody/heartbeat".to_owned(), json!({}), 404, "register it first"),
        ("POST", format!("{PATH}/heartbeat"), json!({"a": 1}), 400, "unknown field `a`"),
        ("GET", "/api/jobs/nobody/commands".to_owned(), Value::Null, 404, "register it first"),
        ("GET", format!("{PATH}/commands?wait=61s"), Value::Null, 400, "no duration up to 60s"),
        ("GET", format!("{PATH}/commands?state=lost"), Value::Null, 400, "none of pending, running"),
        ("GET", format!("{PATH}/commands/7"), Value::Null, 404, "has no command \"7\""),
        ("POST", format!("{PATH}/commands"), json!({"kind": "fly"}), 400, "unknown variant `fly`"),
        (
            "POST",
            format!("{PATH}/commands"),
            json!({"kind": "stop", "parameters": {"a": 1}}),
            400,
            "do not fit stop: unknown field `a`",
        ),
        (
            "POST",
            format!("{PATH}/commands"),
            json!({"kind": "rescale", "parameters": {"parallelism": 2}}),
            409,
            "takes no command",
        ),
        ("POST", format!("{PATH}/commands"), json!({"kind": "stop", "id": "a/b"}), 400, "the id of a command"),
        ("POST", format!("{PATH}/commands"), json!({"kind": "stop", "id": &long[..65]}), 400, "1 to 64 letters"),
        ("POST", format!("{PATH}/commands"), json!({"kind": "stop", "id": &long[..64]}), 202, ""),
        ("GET", format!("{PATH}/commands?wait=60s"), Value::Null, 200, ""),
        ("PUT", format!("{PATH}/commands/7"), json!({"state": "running"}), 404, "has no command"),
        ("PUT", format!("{PATH}/commands/7"), json!({"state": "pending"}), 400, "running, completed or failed"),
        ("PUT", format!("{PATH}/commands/7"), json!({"state": "failed"}), 400, "what failed has an error"),
        ("DELETE", PATH.to_owned(), Value::Null, 405, "does not take DELETE"),
        ("GET", report(), Value::Null, 405, "does not take GET"),
    ];
    for (method, path, body, status, message) in cases {
        let answer =
            if body.is_null() { server.send(method, &path, &[], b"") } else { send(&server, method, &path, &body) };
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.body);
        if status >= 400 {
            let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
            assert!(error.contains(message), "{method} {path} {body}: {error}");
        }
    }
    let text = server.send("POST", &report(), &[("content-type", "text/plain")], b"{}");
    assert_eq!((text.status, text.json()["error"].as_str().is_some()), (415, true));
    let broken = server.send("POST", &report(), &[("content-type", "application/json")], b"{\n\"state\":");
    assert!(broken.status == 400 && broken.body.contains("line 2"), "{}", broken.body);
    let sized = |bytes: usize| {
        let body = json!({"exceptions": [{"message": ""}]}).to_string();
        let text = "x".repeat(bytes - body.len());
        json!({"exceptions": [{"message": text}]})
    };
    assert_eq!(send(&server, "POST", &report(), &sized(2000)).status, 200);
    let refused = send(&server, "POST", &report(), &sized(2001));
    assert_eq!(refused.status, 413);
    assert!(refused.body.contains("limit jobs.max_report_bytes = 2000 bytes reached"), "{}", refused.body);
    let foreign = server.send("POST", &format!("{PATH}/commands"), &[("origin", "http://evil.example")], b"{}");
    assert_eq!(foreign.status, 403);
    assert_eq!(got(&server, PATH)["state"], "CREATED", "nothing of it changed the job");
}

/// The words of a shell command, as far as the page has quotes.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), None::<String>, false);
    for sign in command.chars() {
        match sign {
            '\'' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            sign if sign.is_whitespace() && !is_quoted => words.extend(word.take()),
            sign => word.get_or_insert_default().push(sign),
        }
    }
    assert!(!is_quoted, "{command}");
    words.extend(word);
    words
}

/// Does what a command of the page does; gives the answer.
fn run(server: &Server, command: &str) -> Answer {
    let words = words(command);
    assert_eq!(words[..2], ["curl", "-sf"], "{command}");
    let (mut method, mut headers, mut body, mut url) = ("GET".to_owned(), Vec::new(), String::new(), String::new());
    let mut rest = words.into_iter().skip(2);
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-X" => method = rest.next().unwrap(),
            "-H" => headers.push(rest.next().unwrap()),
            "-d" => body = rest.next().unwrap(),
            _ => url = word,
        }
    }
    let path = url.strip_prefix("http://127.0.0.1:8082").unwrap_or_else(|| panic!("{command}"));
    let headers: Vec<(&str, &str)> = headers.iter().map(|header| header.split_once(": ").unwrap()).collect();
    server.send(&method, path, &headers, body.as_bytes())
}

#[test]
fn the_commands_of_the_page_do_what_it_says() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/jobs.md")).unwrap();
    let server = Server::start();
    let blocks = page.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    let commands: Vec<String> =
        blocks.flat_map(|block| block.split("curl ").skip(1)).map(|command| format!("curl {command}")).collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in &commands {
        let answer = run(&server, command);
        assert!((200..300).contains(&answer.status), "{command}: {} {}", answer.status, answer.body);
    }
    let job = got(&server, "/api/jobs/orders-1");
    assert_eq!((&job["state"], &job["name"]), (&json!("FINISHED"), &json!("orders")));
    let command = got(&server, "/api/jobs/orders-2/commands/nightly");
    assert_eq!((&command["state"], &command["location"]), (&json!("completed"), &json!("s3://savepoints/1")));
}

#[test]
fn a_job_of_another_organization_does_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens.toml");
    let text = ["one", "two"].iter().fold(String::new(), |text, name| {
        let token = Token { name: (*name).into(), rights: Rights::ALL, org: Some((*name).into()) };
        with_entry(&text, &token, name).unwrap()
    });
    std::fs::write(&path, text).unwrap();
    let server = Server::with(&[("auth_token_file", path.to_str().unwrap())]);
    let ask = |token: &str, method: &str, path: &str, body: &Value| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = if method == "GET" { String::new() } else { body.to_string() };
        server.send(method, path, &headers, body.as_bytes())
    };
    for (token, name) in [("one", "ours"), ("two", "theirs")] {
        let job = json!({"name": name, "at": 1000, "commands": ["stop"]});
        assert_eq!(ask(token, "PUT", "/api/jobs/same", &job).status, 201, "{token}");
    }
    let hidden = ask("two", "PUT", "/api/jobs/hidden", &json!({"name": "theirs", "at": 1000, "commands": ["stop"]}));
    let hex = hidden.json()["flink_id"].as_str().unwrap().to_owned();
    assert_eq!(ask("one", "POST", "/api/jobs/same/report", &json!({"at": 2000, "state": "RUNNING"})).status, 200);
    for (token, name, state) in [("one", "ours", "RUNNING"), ("two", "theirs", "CREATED")] {
        let job = ask(token, "GET", "/api/jobs/same", &json!({})).json();
        assert_eq!((&job["name"], &job["state"]), (&json!(name), &json!(state)), "{token}");
    }
    for (method, path, body) in [
        ("POST", "/api/jobs/hidden/report".to_owned(), json!({"state": "RUNNING"})),
        ("POST", "/api/jobs/hidden/heartbeat".to_owned(), json!({})),
        ("POST", "/api/jobs/hidden/commands".to_owned(), json!({"kind": "stop"})),
        ("GET", "/api/jobs/hidden/commands".to_owned(), json!({})),
        ("PATCH", format!("/jobs/{hex}"), json!({})),
        ("POST", format!("/jobs/{hex}/stop"), json!({})),
    ] {
        let answer = ask("one", method, &path, &body);
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.body);
    }
    let given = ask("two", "POST", &format!("/jobs/{hex}/stop"), &json!({}));
    assert_eq!(given.status, 202, "{}", given.body);
    let trigger = given.json()["request-id"].as_str().unwrap().to_owned();
    let status = format!("/jobs/{hex}/savepoints/{trigger}");
    assert_eq!(ask("two", "GET", &status, &json!({})).status, 200);
    assert_eq!(ask("one", "GET", &status, &json!({})).status, 404);
}
