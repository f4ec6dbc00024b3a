//! Arroyo's API, line by line of its page: inputs, outputs and every status, over jobs and series that are put in here.

mod controller;
mod grpc;

use serde_json::{Value, json};
use streamgauge::auth::{Right, Rights, Token, with_entry};
use streamgauge::jobs::{JobState, Observation, Origin, Run, Subject};

use crate::remote_write::{Proto, series};
use crate::support::{Answer, Server};

/// The public id of the job, and the controller's own.
const JOB: &str = "jc_def456";
const ENGINE_JOB: &str = "job_9f2c";

const TOKEN: (&str, &str) = ("authorization", "Bearer anything");

fn run(name: &str, started_ms: i64, ended_ms: Option<i64>) -> Run {
    Run {
        ended_ms,
        engine_id: Some(ENGINE_JOB.to_owned()),
        ..Run::new(name, if ended_ms.is_some() { JobState::Finished } else { JobState::Running }, started_ms)
    }
}

fn record(server: &Server, id: &str, at_ms: i64, run: &Run) {
    let mut seen = Observation::new(Subject::job("", id), Origin::Push, at_ms);
    seen.put(run).unwrap();
    server.app().jobs.record(seen).unwrap();
}

/// Writes samples of a subtask's series, as its worker names them.
fn write(server: &Server, name: &str, task: (&str, &str), samples: &[(i64, f64)]) {
    write_of(server, "", name, task, samples);
}

/// The same for a job of an organization.
fn write_of(server: &Server, org: &str, name: &str, (node, subtask): (&str, &str), samples: &[(i64, f64)]) {
    let name = format!("arroyo_worker_{name}");
    let labels = [
        ("__name__", name.as_str()),
        ("job_id", ENGINE_JOB),
        ("node_id", node),
        ("operator_name", "op"),
        ("org", org),
        ("subtask_idx", subtask),
    ];
    let labels: Vec<(&str, &str)> = labels.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let message = Proto::default().message(1, series(&labels, samples));
    let body = snap::raw::Encoder::new().compress_vec(&message.0).unwrap();
    let answer = server.send("POST", "/api/v1/write", &[("content-type", "application/x-protobuf")], &body);
    assert_eq!(answer.status, 204, "{}", answer.body);
}

/// A job that began a minute ago, with one operator of two subtasks: 100 messages a second since, a queue that is three
/// quarters full. Gives the time of the newest sample.
fn with_job(server: &Server) -> i64 {
    let now_ms = server.app().clock.now_ms();
    record(server, JOB, now_ms - 60_000, &run("clicks", now_ms - 60_000, None));
    let newest_ms = now_ms - 1000;
    let counted = |per_second: f64| -> Vec<(i64, f64)> {
        (0..=10).map(|i| (newest_ms - 20_000 + i * 2000, i as f64 * 2.0 * per_second)).collect()
    };
    write(server, "messages_sent", ("1", "0"), &counted(100.0));
    write(server, "messages_sent", ("1", "1"), &counted(50.0));
    write(server, "bytes_sent", ("1", "0"), &counted(1000.0));
    write(server, "tx_queue_size", ("1", "0"), &[(newest_ms, 99.0)]);
    write(server, "tx_queue_rem", ("1", "0"), &[(newest_ms, 24.0)]);
    newest_ms
}

/// The public id that the pipeline of the job has.
fn pipeline(server: &Server) -> String {
    server.get(&format!("/api/jobs/{JOB}")).json()["pipeline_id"].as_str().unwrap().to_owned()
}

/// The endpoint for the job.
fn path(server: &Server) -> String {
    format!("/v1/pipelines/{}/jobs/{JOB}/operator_metric_groups", pipeline(server))
}

fn ask(server: &Server, path: &str) -> Answer {
    server.send("GET", path, &[TOKEN], b"")
}

fn data(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json()["data"].as_array().unwrap().clone()
}

/// The points of a metric of a subtask in the console's shape.
fn points(operator: &Value, name: &str, index: u64) -> Vec<Value> {
    let groups = operator["metric_groups"].as_array().unwrap();
    let group = groups.iter().find(|group| group["name"] == name).unwrap();
    let subtasks = group["subtasks"].as_array().unwrap();
    let subtask = subtasks.iter().find(|subtask| subtask["index"] == index);
    subtask.map_or_else(Vec::new, |subtask| subtask["metrics"].as_array().unwrap().clone())
}

fn assert_error(answer: &Answer, status: u16, message: &str, what: &str) {
    assert_eq!(answer.status, status, "{what}: {}", answer.body);
    let body = answer.json();
    let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["error"], "{what}");
    assert!(body["error"].as_str().unwrap().contains(message), "{what}: {}", answer.body);
}

/// `Success`: the page's shape and the console's.
#[test]
fn metrics_of_a_running_job_have_both_shapes() {
    let server = Server::start();
    let newest_ms = with_job(&server);
    let found = data(&ask(&server, &path(&server)));
    let [operator] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&operator["operator_id"], &operator["node_id"]), (&json!("node_1"), &json!(1)));
    let page = json!([
        {"index": 0, "metrics": [
            {"name": "bytes_sent", "value": 20_000.0}, {"name": "messages_sent", "value": 2000.0},
            {"name": "backpressure", "value": 0.75}, {"name": "tx_queue_size", "value": 99.0},
            {"name": "tx_queue_rem", "value": 24.0},
        ]},
        {"index": 1, "metrics": [{"name": "messages_sent", "value": 1000.0}, {"name": "backpressure", "value": 0.0}]},
    ]);
    assert_eq!(operator["subtasks"], page);
    let sent = points(operator, "messages_sent", 0);
    assert_eq!(sent.len(), 10, "a rate needs two samples");
    let newest = sent.last().unwrap();
    assert_eq!(newest["time"].as_i64().unwrap(), newest_ms * 1000, "microseconds");
    assert!((newest["value"].as_f64().unwrap() - 100.0).abs() < 1e-6, "a rate per second: {newest}");
    assert!((points(operator, "messages_sent", 1)[0]["value"].as_f64().unwrap() - 50.0).abs() < 1e-6);
    assert_eq!(points(operator, "backpressure", 0), [json!({"time": newest_ms * 1000, "value": 0.75})]);
    assert!(points(operator, "messages_recv", 0).is_empty());
}

/// What is older than five minutes is not for the console.
#[test]
fn the_console_sees_five_minutes() {
    let server = Server::start();
    let now_ms = server.app().clock.now_ms();
    record(&server, JOB, now_ms - 900_000, &run("clicks", now_ms - 900_000, None));
    let samples: Vec<(i64, f64)> = (0..=90).map(|i| (now_ms - 900_000 + i * 10_000, i as f64)).collect();
    write(&server, "bytes_recv", ("0", "0"), &samples);
    let found = data(&ask(&server, &path(&server)));
    let times: Vec<i64> =
        points(&found[0], "bytes_recv", 0).iter().map(|point| point["time"].as_i64().unwrap() / 1000).collect();
    assert!((29..=31).contains(&times.len()), "{}", times.len());
    assert!(times[0] >= now_ms - 300_000 && times.windows(2).all(|pair| pair[0] < pair[1]));
}

/// The path stands where Arroyo's API and its console look for it.
#[test]
fn every_path_answers_the_same() {
    let server = Server::with(&[("arroyo_listen", "127.0.0.1:0")]);
    with_job(&server);
    let path = path(&server);
    let at = format!("at={}", server.app().clock.now_ms());
    let expected = data(&ask(&server, &format!("{path}?{at}")));
    assert!(!expected.is_empty());
    for prefix in ["/api", "/arroyo", "/arroyo/api"] {
        assert_eq!(data(&ask(&server, &format!("{prefix}{path}?{at}"))), expected, "{prefix}");
    }
    for prefix in ["", "/api"] {
        assert_eq!(data(&server.send_arroyo("GET", &format!("{prefix}{path}?{at}"), &[TOKEN])), expected, "{prefix}");
    }
    let named = path.replace(&pipeline(&server), "clicks");
    assert_eq!(data(&ask(&server, &format!("{named}?{at}"))), expected, "a pipeline by its name");
    let own = path.replace(JOB, ENGINE_JOB);
    assert_eq!(data(&ask(&server, &format!("{own}?{at}"))), expected, "the controller's id of the job");
    for path in ["/", "/jobs", "/api/v1/query", "/v1/pipelines", "/flink/jobs"] {
        assert_error(&server.send_arroyo("GET", path, &[TOKEN]), 404, "no such path", path);
    }
    for path in ["/api/v1/pipelines", "/v1/pipelines/x/jobs", "/arroyo/nothing", "/arroyo"] {
        assert_error(&ask(&server, path), 404, "no such path", path);
    }
    for prefix in ["", "/api", "/arroyo"] {
        let answer = server.send("POST", &format!("{prefix}{path}"), &[TOKEN], b"");
        assert_error(&answer, 405, "does not take POST", prefix);
        assert_eq!(answer.header("allow"), Some("GET,HEAD"));
    }
}

/// A server with tokens, whose secrets are their names: one that may read, one that may not, and two of organizations.
fn closed() -> (Server, tempfile::TempDir) {
    closed_with(&[])
}

/// The same with options on top.
fn closed_with(options: &[(&str, &str)]) -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.toml");
    let tokens: [(&str, Right, Option<&str>); 4] = [
        ("reader", Right::Read, None),
        ("writer", Right::Write, None),
        ("of-one", Right::Read, Some("one")),
        ("of-two", Right::Read, Some("two")),
    ];
    let text = tokens.iter().fold(String::new(), |text, (name, right, org)| {
        let token = Token { name: (*name).into(), rights: Rights::of(&[*right]), org: org.map(Into::into) };
        with_entry(&text, &token, name).unwrap()
    });
    std::fs::write(&file, text).unwrap();
    let own = [("auth_token_file", file.to_str().unwrap()), ("arroyo_listen", "127.0.0.1:0")];
    (Server::with(&[&own, options].concat()), dir)
}

/// `Bearer token`, required; `Auth failure`: 401.
#[test]
fn a_bearer_token_is_needed() {
    let open = Server::start();
    with_job(&open);
    let (closed, _dir) = closed();
    with_job(&closed);
    for (server, given, status, message) in [
        (&open, None, 401, "a bearer token is needed"),
        (&open, Some("Basic c2VjcmV0"), 401, "a bearer token is needed"),
        (&open, Some("Bearer "), 401, "a bearer token is needed"),
        (&open, Some("Bearer whatever"), 200, ""),
        (&closed, None, 401, "a bearer token is needed"),
        (&closed, Some("Bearer whatever"), 401, "the token is not known"),
        (&closed, Some("Basic c2VjcmV0"), 401, "the token is not known"),
        (&closed, Some("Bearer writer"), 403, "has not the right to read"),
        (&closed, Some("Bearer reader"), 200, ""),
        (&closed, Some("bearer reader"), 200, ""),
    ] {
        let headers: Vec<(&str, &str)> = given.iter().map(|given| ("authorization", *given)).collect();
        let answer = server.send("GET", &path(server), &headers, b"");
        let unknown = server.send("GET", "/v1/pipelines/x/jobs/y/operator_metric_groups", &headers, b"");
        if status == 200 {
            assert_eq!((answer.status, unknown.status), (200, 404), "{given:?}: {}", answer.body);
        } else {
            assert_error(&answer, status, message, "the job");
            assert_error(&unknown, status, message, "rights come first");
            assert_eq!(answer.header("www-authenticate"), (status == 401).then_some("Bearer"));
        }
    }
    let elsewhere = [("x-forwarded-for", "203.0.113.9")];
    let answer = closed.send("GET", &path(&closed), &elsewhere, b"");
    assert_error(&answer, 401, "the right to read needs a token", "from elsewhere");
}

/// `Job validation`: the job belongs to the caller's organization.
#[test]
fn a_job_of_another_organization_is_not_found() {
    let (server, _dir) = closed();
    let now_ms = server.app().clock.now_ms();
    let mut seen = Observation::new(Subject::job("one", JOB), Origin::Push, now_ms - 60_000);
    seen.put(&run("clicks", now_ms - 60_000, None)).unwrap();
    server.app().jobs.record(seen).unwrap();
    for (org, rate) in [("one", 10.0), ("two", 1000.0), ("", 5000.0)] {
        let samples: Vec<(i64, f64)> = (0..3).map(|i| (now_ms - 6000 + i * 2000, i as f64 * rate)).collect();
        write_of(&server, org, "bytes_sent", ("1", "0"), &samples);
    }
    let path = "/v1/pipelines/clicks/jobs/jc_def456/operator_metric_groups";
    let ask = |token: &str| server.send("GET", path, &[("authorization", &format!("Bearer {token}"))], b"");
    for token in ["of-one", "reader"] {
        let found = data(&ask(token));
        let newest = points(&found[0], "bytes_sent", 0).pop().unwrap();
        assert!((newest["value"].as_f64().unwrap() - 5.0).abs() < 1e-6, "{token}: only its own series: {newest}");
    }
    assert_error(&ask("of-two"), 404, "Job not found", "of another organization");
}

/// `pipeline_id`, `job_id`; `Job not found`: 404.
#[test]
fn a_job_that_is_not_of_the_pipeline_is_not_found() {
    let server = Server::start();
    let newest_ms = with_job(&server);
    let pipeline = pipeline(&server);
    let now_ms = server.app().clock.now_ms();
    record(&server, "jc_other", now_ms - 10_000, &Run { engine_id: None, ..run("orders", now_ms - 10_000, None) });
    for (pipeline, job) in [
        ("pl_abc123", JOB),
        (pipeline.as_str(), "jc_nobody"),
        (pipeline.as_str(), "jc_other"),
        ("orders", JOB),
        ("pl_abc123", "jc_nobody"),
        ("%00", "%2F..%2F"),
        (pipeline.as_str(), "%FF"),
        ("\u{e4}", "'; DROP TABLE subject; --"),
        (pipeline.as_str(), &"x".repeat(5000)),
    ] {
        let encode = |text: &str| text.replace(' ', "%20").replace('\u{e4}', "%C3%A4");
        let path = format!("/v1/pipelines/{}/jobs/{}/operator_metric_groups", encode(pipeline), encode(job));
        assert_error(&ask(&server, &path), 404, "Job not found", &path);
    }
    let before = format!("{}?at={}", path(&server), newest_ms - 59_001);
    assert_error(&ask(&server, &before), 404, "Job not found", "it was not there yet");
}

/// `Job not running`: an empty collection; its history on request.
#[test]
fn an_ended_job_shows_nothing_but_its_history() {
    let server = Server::start();
    let newest_ms = with_job(&server);
    let began_ms = newest_ms - 59_000;
    record(&server, JOB, newest_ms, &run("clicks", began_ms, Some(newest_ms)));
    let path = path(&server);
    assert_eq!(ask(&server, &path).json(), json!({"data": []}), "as the page says");
    let history = |query: &str| {
        let found = data(&ask(&server, &format!("{path}?{query}")));
        found.first().map_or(0, |operator| points(operator, "messages_sent", 0).len())
    };
    assert_eq!(history(&format!("start={began_ms}&end={newest_ms}")), 10);
    assert_eq!(history(&format!("start={began_ms}")), 10);
    assert_eq!(history(&format!("end={newest_ms}")), 10);
    assert_eq!(history(&format!("end={}", newest_ms - 10_000)), 5);
    assert!((2..=3).contains(&history(&format!("start={began_ms}&step=10s"))), "one point for each step");
    assert_eq!(history(&format!("end={}", began_ms - 1)), 0);
    assert_eq!(history(&format!("at={}", newest_ms - 1)), 9, "it ran then");
    assert_eq!(history(&format!("at={newest_ms}")), 0, "it had ended then");
    let lost = Run { lost_ms: Some(newest_ms), ..run("clicks", began_ms, None) };
    record(&server, JOB, newest_ms + 1, &lost);
    assert_eq!(ask(&server, &path).json(), json!({"data": []}), "a lost job does not run");
    let server = server.restart();
    let kept = data(&ask(&server, &format!("{path}?start={began_ms}&end={newest_ms}")));
    assert_eq!(points(&kept[0], "messages_sent", 0).len(), 10);
}

#[test]
fn a_job_without_series_has_no_operators() {
    let server = Server::start();
    let now_ms = server.app().clock.now_ms();
    record(&server, JOB, now_ms, &run("clicks", now_ms, None));
    assert_eq!(ask(&server, &path(&server)).json(), json!({"data": []}));
}

#[test]
fn parameters_of_our_own_are_looked_at() {
    let server = Server::start();
    with_job(&server);
    let path = path(&server);
    for (query, message) in
        [("at=noon", "at="), ("start=2&end=1", "start is after end"), ("step=0", "step="), ("end=%ZZ", "%ZZ")]
    {
        assert_error(&ask(&server, &format!("{path}?{query}")), 400, message, query);
    }
    assert_eq!(ask(&server, &format!("{path}?bogus=1")).status, 200);
}

#[test]
fn the_points_of_an_answer_are_bounded() {
    let points = |max: usize| {
        let server = Server::with(&[("arroyo.max_points", &max.to_string())]);
        with_job(&server);
        ask(&server, &path(&server))
    };
    // 11 samples of three counters, one of each side of the queue and of its backpressure, 11 of the free subtask.
    assert_eq!(points(47).status, 200);
    assert_error(&points(46), 400, "limit arroyo.max_points = 46 reached", "one less");
}

/// Nothing of Arroyo is mixed up with what stands beside it at the root.
#[test]
fn prometheus_and_flink_keep_their_paths() {
    let server = Server::start();
    assert_eq!(server.get("/api/v1/nothing").json()["status"], "error");
    assert!(server.get("/v1/jobs/nothex").json()["errors"].is_array());
    assert_eq!(server.get("/prometheus/api/v1/pipelines").json()["status"], "error");
}
