//! TSP's API, line by line of its page: each endpoint with each of its fields, and every error code, over jobs that are put
//! in here. What is stopped is stopped on a small cluster.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use streamgauge::jobs::{
    Count, Failure, Io, JobState, MetricNames, Observation, Origin, Run, Subject, Subtask, Subtasks, TaskState, Vertex,
};

use crate::exporter::{Exporter, Reply};
use crate::support::{Answer, Server};

const JOB: &str = "ef2b95159960214b4f2753bafe91c7f2";
const OLDER: &str = "00000000000000000000000000000001";

fn run(name: &str, started_ms: i64) -> Run {
    Run::new(name, JobState::Running, started_ms)
}

fn vertex(position: u64, name: &str, totals: Option<Io>) -> Vertex {
    Vertex {
        id: format!("{position:032x}"),
        name: name.to_owned(),
        position,
        parallelism: 1,
        max_parallelism: None,
        slot_sharing_group: None,
        state: if totals.is_some() { TaskState::Finished } else { TaskState::Running },
        started_ms: None,
        ended_ms: None,
        tasks: Default::default(),
        totals,
    }
}

/// The one subtask of a vertex that runs.
fn subtasks(vertex: &Vertex) -> Subtasks {
    Subtasks { vertex: vertex.id.clone(), subtasks: vec![Subtask::new(0, 0, TaskState::Running)] }
}

fn failure(at_ms: i64) -> Failure {
    Failure {
        at_ms,
        name: None,
        stack_trace: "java.lang.X: no\n\tat x".to_owned(),
        task: None,
        endpoint: None,
        task_manager: None,
        labels: Default::default(),
        concurrent: Vec::new(),
    }
}

/// Two runs of one name; the newer one has three vertices that run, and has failed once.
fn start() -> Server {
    let server = Server::start();
    let now_ms = server.app().clock.now_ms();
    let mut older = Observation::new(Subject::job("", OLDER), Origin::Push, now_ms - 60_000);
    older.put(&run("Albert tests", now_ms - 60_000)).unwrap();
    server.app().jobs.record(older).unwrap();
    let mut newer = Observation::new(Subject::job("", JOB), Origin::Push, now_ms - 30_000);
    newer.put(&run("Albert tests", now_ms - 30_000)).unwrap();
    newer.put(&failure(now_ms - 20_000)).unwrap();
    let mut metrics = Vec::new();
    for (position, name, read, written) in [(0, "Source", 0, 9197), (1, "PatternsSearch", 9197, 12), (2, "Sink", 12, 0)]
    {
        let vertex = vertex(position, name, None);
        newer.put(&vertex).unwrap();
        newer.put(&subtasks(&vertex)).unwrap();
        let names = vec!["currentInputWatermark".to_owned()];
        newer.put(&MetricNames { of: vertex.id.clone(), names }).unwrap();
        let labels = json!({"job_id": JOB, "task_id": vertex.id, "subtask_index": "0", "task_attempt_num": "0"});
        let watermark = 1_538_572_801_842_i64 + position as i64;
        for (name, value) in [("numRecordsIn", read), ("numRecordsOut", written), ("currentInputWatermark", watermark)]
        {
            let name = format!("flink_taskmanager_job_task_{name}");
            metrics.push(json!({"metric_name": name, "metric_type": "gauge", "metric_value": value, "labels": labels}));
        }
    }
    server.app().jobs.record(newer).unwrap();
    let answer = server.post_json("/api/metrics/report", &json!({"component_name": "reporter", "metrics": metrics}));
    assert_eq!(answer.status, 200, "{}", answer.body);
    server
}

/// `response` in the envelope; `messages` is empty.
fn response(server: &Server, path: &str) -> Value {
    let answer = server.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    assert_eq!(keys(&body), ["messages", "response"], "{path}");
    assert_eq!(body["messages"], json!([]), "{path}");
    body["response"].clone()
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The table of `status`: name, duration, status, start-time, jid; the example: state, vertices.
#[test]
fn status_is_the_job_in_brief() {
    let server = start();
    let now_ms = server.app().clock.now_ms();
    let status = response(&server, "/tsp/job/Albert%20tests/status/");
    assert_eq!(keys(&status), ["duration", "jid", "name", "start-time", "state", "status", "vertices"]);
    assert_eq!((&status["name"], &status["jid"]), (&json!("Albert tests"), &json!(JOB)), "the newest run");
    assert_eq!((&status["status"], &status["state"]), (&json!("RUNNING"), &json!("RUNNING")));
    assert!((30_000..40_000).contains(&status["duration"].as_i64().unwrap()));
    assert!((now_ms - 40_000..=now_ms - 30_000).contains(&status["start-time"].as_i64().unwrap()));
    let vertices = json!([
        {"id": format!("{:032x}", 0), "name": "Source", "metrics": {"read-records": 0, "write-records": 9197}},
        {"id": format!("{:032x}", 1), "name": "PatternsSearch", "metrics": {"read-records": 9197, "write-records": 12}},
        {"id": format!("{:032x}", 2), "name": "Sink", "metrics": {"read-records": 12, "write-records": 0}},
    ]);
    assert_eq!(status["vertices"], vertices);
    let before = status["start-time"].as_i64().unwrap() - 1;
    let before = response(&server, &format!("/tsp/job/Albert%20tests/status?at={before}"));
    assert_eq!(before["jid"], OLDER, "the run before");
}

/// `status`: one of Flink's, whichever it is.
#[test]
fn every_state_of_flink_is_shown() {
    let server = Server::start();
    for (number, state) in JobState::ALL.iter().enumerate() {
        let mut seen = Observation::new(Subject::job("", format!("{number:032x}")), Origin::Push, 1000);
        let ended_ms = state.has_ended().then_some(5000);
        seen.put(&Run { state: *state, ended_ms, ..run(state.as_str(), 1000) }).unwrap();
        server.app().jobs.record(seen).unwrap();
        let shown = if *state == JobState::Initializing { "CREATED" } else { state.as_str() };
        let status = response(&server, &format!("/tsp/job/{}/status/", state.as_str()));
        assert_eq!((&status["status"], &status["state"]), (&json!(shown), &json!(shown)));
    }
}

/// The table of `statusAndMetrics`: metrics, details; numbers are texts.
#[test]
fn status_and_metrics_are_the_same_details_and_three_texts() {
    let server = start();
    let both = response(&server, "/tsp/job/Albert%20tests/statusAndMetrics/");
    assert_eq!(keys(&both), ["details", "metrics"]);
    let metrics = json!({"numRecordsRead": "9197", "numRecordsProcessed": "12", "currentEventTs": "1538572801843"});
    assert_eq!(both["metrics"], metrics);
    let mut status = response(&server, "/tsp/job/Albert%20tests/status");
    let mut details = both["details"].clone();
    // Time goes on between two requests.
    for answer in [&mut status, &mut details] {
        assert!(answer["duration"].as_i64().unwrap() >= 30_000);
        answer["duration"] = Value::Null;
    }
    assert_eq!(details, status);
}

/// The page's own example, of a job that has ended.
#[test]
fn the_example_of_the_page_is_answered_as_it_stands() {
    let server = Server::with(&[("jobs.retention", "0")]);
    let (started_ms, ended_ms) = (1_538_572_801_842, 1_538_572_801_842 + 22_372);
    let whole = |value| Count { value, is_complete: true };
    let io = |read, written| Io { read_records: whole(read), write_records: whole(written), ..Io::default() };
    let mut seen = Observation::new(Subject::job("", JOB), Origin::Push, ended_ms);
    seen.put(&Run { state: JobState::Finished, ended_ms: Some(ended_ms), ..run("Albert_tests7", started_ms) }).unwrap();
    seen.put(&vertex(0, "Source", Some(io(0, 9197)))).unwrap();
    seen.put(&vertex(1, "Sink", Some(io(0, 0)))).unwrap();
    server.app().jobs.record(seen).unwrap();
    let both = response(&server, "/tsp/job/Albert_tests7/statusAndMetrics/");
    let mut details = both["details"].clone();
    assert_eq!(details["vertices"].as_array().unwrap().len(), 2);
    details.as_object_mut().unwrap().remove("vertices");
    let page = json!({
        "duration": 22372, "name": "Albert_tests7", "state": "FINISHED", "status": "FINISHED",
        "start-time": 1_538_572_801_842_i64, "jid": "ef2b95159960214b4f2753bafe91c7f2",
    });
    assert_eq!(details, page);
    assert_eq!(both["metrics"], json!({"numRecordsRead": "9197", "currentEventTs": "0", "numRecordsProcessed": "0"}));
    assert_eq!(response(&server, "/tsp/job/Albert_tests7/status/"), both["details"]);
}

/// A job of which only the name is known has numbers all the same.
#[test]
fn there_are_zeros_where_there_are_no_numbers() {
    let server = start();
    let at = server.app().clock.now_ms() - 45_000;
    let both = response(&server, &format!("/tsp/job/Albert%20tests/statusAndMetrics?at={at}"));
    assert_eq!(both["metrics"], json!({"numRecordsRead": "0", "numRecordsProcessed": "0", "currentEventTs": "0"}));
    assert_eq!(both["details"]["vertices"], json!([]));
}

/// The table of `exceptions`: root-exception, timestamp, truncated; null where there was none.
#[test]
fn exceptions_are_the_newest_one() {
    let server = start();
    let now_ms = server.app().clock.now_ms();
    // The page says `jobs`, TSP's code `job`.
    for jobs in ["jobs", "job"] {
        let exceptions = response(&server, &format!("/tsp/{jobs}/Albert%20tests/exceptions"));
        assert_eq!(keys(&exceptions), ["root-exception", "timestamp", "truncated"]);
        assert_eq!(exceptions["root-exception"], "java.lang.X: no\n\tat x");
        assert!((now_ms - 30_000..=now_ms - 20_000).contains(&exceptions["timestamp"].as_i64().unwrap()));
        assert_eq!(exceptions["truncated"], false);
    }
    let at = now_ms - 45_000;
    let none = response(&server, &format!("/tsp/jobs/Albert%20tests/exceptions/?at={at}"));
    assert_eq!(none, json!({"root-exception": null, "timestamp": null, "truncated": false}));
    let mut cut = Observation::new(Subject::job("", JOB), Origin::Push, now_ms);
    cut.put(&Run { are_failures_truncated: true, ..run("Albert tests", now_ms - 30_000) }).unwrap();
    server.app().jobs.record(cut).unwrap();
    assert_eq!(response(&server, "/tsp/jobs/Albert%20tests/exceptions")["truncated"], true);
}

/// `jobs/overview`: all jobs, or 0; `metainfo/getVersion`: a version.
#[test]
fn the_list_of_jobs_and_the_version() {
    let server = start();
    let list = json!([{"name": "Albert tests", "jid": JOB}, {"name": "Albert tests", "jid": OLDER}]);
    assert_eq!(response(&server, "/tsp/jobs/overview/"), list);
    let empty = Server::start();
    assert_eq!(response(&empty, "/tsp/jobs/overview/"), 0, "as the page says");
    let version = response(&empty, "/tsp/metainfo/getVersion/");
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    let parts: Vec<&str> = version.as_str().unwrap().split('.').collect();
    assert!(parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok()), "{version}");
    assert_eq!(server.get("/jobs/overview").json()["jobs"].as_array().unwrap().len(), 2, "at the root it is Flink's");
}

#[test]
fn a_slash_at_the_end_does_not_count_and_a_listener_has_nothing_else() {
    let server = Server::with(&[("tsp_listen", "127.0.0.1:0")]);
    let mut seen = Observation::new(Subject::job("", JOB), Origin::Push, 1000);
    seen.put(&Run { state: JobState::Finished, ended_ms: Some(5000), ..run("a", 1000) }).unwrap();
    server.app().jobs.record(seen).unwrap();
    for path in [
        "/job/a/status",
        "/job/a/statusAndMetrics",
        "/jobs/overview",
        "/jobs/a/exceptions",
        "/job/a/exceptions",
        "/metainfo/getVersion",
    ] {
        let expected = response(&server, &format!("/tsp{path}"));
        assert_eq!(response(&server, &format!("/tsp{path}/")), expected, "{path}");
        for end in ["", "/"] {
            assert_eq!(server.get_tsp(&format!("{path}{end}")).json()["response"], expected, "{path}{end}");
        }
    }
    for path in ["/", "/jobs", "/api/v1/query", "/tsp/jobs"] {
        let answer = server.get_tsp(path);
        assert_eq!((answer.status, &answer.json()["errorCode"]), (404, &json!(4004)), "{path}");
    }
}

/// Paths that a small cluster was asked for with other methods than GET, as `METHOD path`.
type Changes = Arc<Mutex<Vec<String>>>;

/// A cluster that has the job, and answers to a cancellation with this status.
fn cluster(changes: &Changes, status: u16) -> Exporter {
    let changes = Arc::clone(changes);
    Exporter::start(move |asked| {
        let path = asked.path.split('?').next().unwrap_or_default();
        let job = json!({
            "jid": JOB, "name": "Albert tests", "isStoppable": false, "state": "RUNNING", "start-time": 90, "end-time": -1,
            "now": 200, "timestamps": {"RUNNING": 95}, "vertices": [], "plan": {"type": "STREAMING", "nodes": []},
        });
        let listed = json!({
            "jid": JOB, "name": "Albert tests", "state": "RUNNING", "start-time": 90, "end-time": -1, "duration": 1,
            "last-modification": 100, "tasks": {"running": 1, "total": 1},
        });
        if asked.method != "GET" {
            changes.lock().unwrap().push(format!("{} {}", asked.method, asked.path));
            return Reply { status, ..Reply::json("{}") };
        }
        match path.strip_prefix("/jobs/") {
            Some("overview") => Reply::json(&json!({"jobs": [listed]}).to_string()),
            Some(JOB) => Reply::json(&job.to_string()),
            _ => Reply::status(404),
        }
    })
}

/// A server that follows a cluster and knows its job.
fn follow(cluster: &Exporter) -> Server {
    let settings = json!([{"urls": [format!("http://{}", cluster.address)], "interval": "1s"}]);
    let server = Server::with(&[("flink", &settings.to_string())]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.get("/tsp/job/Albert%20tests/status").status != 200 {
        assert!(Instant::now() < deadline, "the job is not in the store");
        std::thread::sleep(Duration::from_millis(20));
    }
    server
}

/// `stop`: the job is cancelled on its cluster.
#[test]
fn stop_cancels_the_job_on_its_cluster() {
    let changes = Changes::default();
    let cluster = cluster(&changes, 202);
    let server = follow(&cluster);
    for (count, end) in ["", "/"].into_iter().enumerate() {
        let answer = server.get(&format!("/tsp/job/Albert%20tests/stop{end}"));
        assert_eq!((answer.status, answer.json()), (200, json!({"response": 1, "messages": []})), "{}", answer.body);
        assert_eq!(changes.lock().unwrap().len(), count + 1);
    }
    assert_eq!(changes.lock().unwrap()[0], format!("PATCH /jobs/{JOB}?mode=cancel"));
    let foreign = server.send("GET", "/tsp/job/Albert%20tests/stop/", &[("origin", "http://evil.example")], b"");
    assert_error(&foreign, 403, 5000, "a foreign page");
    let wrong = server.send("GET", "/tsp/job/Albert%20tests/stop/", &[("authorization", "Bearer x")], b"");
    assert_error(&wrong, 401, 5000, "a wrong token");
    assert_eq!(wrong.header("www-authenticate"), Some("Bearer"));
    assert_eq!(changes.lock().unwrap().len(), 2, "neither came through");
    let with_body = server.send("GET", "/tsp/job/Albert%20tests/stop/", &[], b"body");
    assert_eq!(with_body.status, 200, "a body stays here, and what is said of it: {}", with_body.body);
}

fn assert_error(answer: &Answer, status: u16, code: u32, what: &str) {
    assert_eq!(answer.status, status, "{what}: {}", answer.body);
    let body = answer.json();
    assert_eq!(keys(&body), ["errorCode", "errors", "message"], "{what}");
    assert_eq!((&body["errorCode"], &body["errors"]), (&json!(code), &json!([])), "{what}");
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{what}");
}

/// `Common error codes`: 4006 for a job that is not found; and what TSP's code has besides.
#[test]
fn errors_have_tsps_numbers() {
    let server = start();
    for (method, path, status, code) in [
        ("GET", "/tsp/job/nobody/status/", 400, 4006),
        ("GET", "/tsp/job/nobody/statusAndMetrics", 400, 4006),
        ("GET", "/tsp/job/nobody/stop/", 400, 4006),
        ("GET", "/tsp/jobs/nobody/exceptions", 400, 4006),
        ("GET", "/tsp/job/nobody/exceptions", 400, 4006),
        ("GET", &format!("/tsp/job/{JOB}/status"), 400, 4006),
        ("GET", "/tsp/job/Albert%20tests/status?at=1", 400, 4006),
        ("GET", "/tsp/job/%FF/status", 400, 4006),
        ("GET", "/tsp/job/Albert%20tests/status?at=noon", 400, 4002),
        ("GET", "/tsp/jobs/overview?at=%ZZ", 400, 4002),
        ("GET", "/tsp/nosuchpath", 404, 4004),
        ("GET", "/tsp/job/Albert%20tests", 404, 4004),
        ("GET", "/tsp", 404, 4004),
        ("POST", "/tsp/jobs/overview", 405, 4005),
        ("DELETE", "/tsp/job/Albert%20tests/stop", 405, 4005),
        ("GET", "/tsp/job/Albert%20tests/stop/", 500, 5005),
    ] {
        assert_error(&server.send(method, path, &[], b""), status, code, &format!("{method} {path}"));
    }
    assert_eq!(server.get("/tsp/job/nobody/status/").json()["message"], "No such job.");
    assert_eq!(server.send("POST", "/tsp/jobs/overview", &[], b"").header("allow"), Some("GET"));
    let cluster = cluster(&Changes::default(), 409);
    let refused = follow(&cluster).get("/tsp/job/Albert%20tests/stop");
    assert_error(&refused, 500, 5005, "the cluster refuses");
}
