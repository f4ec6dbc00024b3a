//! TSP's API over a job that is put in here: the envelope, numbers as texts, and every error of its table.

use serde_json::{Value, json};
use streamgauge::jobs::{Failure, JobState, Observation, Origin, Run, Subject};

use crate::support::Server;

const JOB: &str = "ef2b95159960214b4f2753bafe91c7f2";

fn run(name: &str, started_ms: i64) -> Run {
    Run {
        name: name.to_owned(),
        state: JobState::Running,
        started_ms,
        ended_ms: None,
        changed_ms: None,
        state_times: Default::default(),
        tasks: Default::default(),
        kind: None,
        max_parallelism: None,
        is_stoppable: false,
        scheduler: None,
        application_id: None,
        pending_operators: 0,
        engine_id: None,
        lost_ms: None,
        are_failures_truncated: false,
    }
}

fn start() -> Server {
    let server = Server::start();
    let now_ms = server.app().clock.now_ms();
    let mut older =
        Observation::new(Subject::job("", "00000000000000000000000000000001"), Origin::Push, now_ms - 60_000);
    older.put(&run("Albert tests", now_ms - 60_000)).unwrap();
    server.app().jobs.record(older).unwrap();
    let mut newer = Observation::new(Subject::job("", JOB), Origin::Push, now_ms - 30_000);
    newer.put(&run("Albert tests", now_ms - 30_000)).unwrap();
    newer
        .put(&Failure {
            at_ms: now_ms - 20_000,
            name: None,
            stack_trace: "java.lang.X: no".to_owned(),
            task: None,
            endpoint: None,
            task_manager: None,
            labels: Default::default(),
            concurrent: Vec::new(),
        })
        .unwrap();
    server.app().jobs.record(newer).unwrap();
    server
}

fn response(server: &Server, path: &str) -> Value {
    let answer = server.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    let body = answer.json();
    assert_eq!(body["messages"], json!([]), "{path}");
    body["response"].clone()
}

#[test]
fn the_newest_run_of_a_name_is_shown_in_the_envelope() {
    let server = start();
    for end in ["", "/"] {
        let status = response(&server, &format!("/tsp/job/Albert%20tests/status{end}"));
        assert_eq!(
            (&status["jid"], &status["state"], &status["status"]),
            (&json!(JOB), &json!("RUNNING"), &json!("RUNNING"))
        );
        assert!((30_000..40_000).contains(&status["duration"].as_i64().unwrap()));
        let both = response(&server, &format!("/tsp/job/Albert%20tests/statusAndMetrics{end}"));
        assert_eq!(both["metrics"], json!({"numRecordsRead": "0", "numRecordsProcessed": "0", "currentEventTs": "0"}));
        assert_eq!(both["details"]["name"], "Albert tests");
        for jobs in ["job", "jobs"] {
            let exceptions = response(&server, &format!("/tsp/{jobs}/Albert%20tests/exceptions{end}"));
            assert_eq!(
                (&exceptions["root-exception"], &exceptions["truncated"]),
                (&json!("java.lang.X: no"), &json!(false))
            );
        }
        let overview = response(&server, &format!("/tsp/jobs/overview{end}"));
        assert_eq!(overview[0], json!({"name": "Albert tests", "jid": JOB}));
        assert_eq!(response(&server, &format!("/tsp/metainfo/getVersion{end}")), env!("CARGO_PKG_VERSION"));
    }
    let began_ms = response(&server, "/tsp/job/Albert%20tests/status")["start-time"].as_i64().unwrap();
    let before = response(&server, &format!("/tsp/job/Albert%20tests/status?at={}", began_ms - 1));
    assert_eq!(before["jid"], "00000000000000000000000000000001", "the run before");
}

#[test]
fn a_listener_of_its_own_has_nothing_else() {
    let server = Server::with(&[("tsp_listen", "127.0.0.1:0")]);
    assert_eq!(server.get_tsp("/jobs/overview").json(), json!({"response": 0, "messages": []}));
    assert_eq!(server.get_tsp("/metainfo/getVersion/").json()["response"], env!("CARGO_PKG_VERSION"));
    for path in ["/", "/jobs", "/api/v1/query"] {
        let answer = server.get_tsp(path);
        assert_eq!((answer.status, &answer.json()["errorCode"]), (404, &json!(4004)), "{path}");
    }
}

#[test]
fn errors_have_tsps_numbers() {
    let server = start();
    for (method, path, status, code) in [
        ("GET", "/tsp/job/nobody/status/", 400, 4006),
        ("GET", "/tsp/job/nobody/statusAndMetrics", 400, 4006),
        ("GET", "/tsp/job/nobody/stop/", 400, 4006),
        ("GET", "/tsp/jobs/nobody/exceptions", 400, 4006),
        ("GET", "/tsp/job/Albert%20tests/status?at=noon", 400, 4002),
        ("GET", "/tsp/nosuchpath", 404, 4004),
        ("GET", "/tsp", 404, 4004),
        ("POST", "/tsp/jobs/overview", 405, 4005),
        ("GET", "/tsp/job/Albert%20tests/stop/", 500, 5005),
    ] {
        let answer = server.send(method, path, &[], b"");
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        let body = answer.json();
        assert_eq!((&body["errorCode"], &body["errors"]), (&json!(code), &json!([])), "{method} {path}");
        assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{method} {path}");
    }
    let foreign = [("origin", "http://evil.example")];
    assert_eq!(server.send("GET", "/tsp/job/Albert%20tests/stop/", &foreign, b"").status, 403);
    let empty = Server::start();
    assert_eq!(response(&empty, "/tsp/jobs/overview/"), 0, "as the document says");
    assert_eq!(server.get("/jobs/overview").json()["jobs"].as_array().unwrap().len(), 2, "at the root it is Flink's");
}
