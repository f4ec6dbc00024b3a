//! Flink's API over jobs and series that are put in here: shapes, rules of paths, the past, and what moves.

mod collector;
mod goldens;
mod history;
mod replay;
mod reporters;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use streamgauge::jobs::{
    Checkpoint, CheckpointSizes, CheckpointState, CheckpointStatistics, Cluster, Count, Failure, Io, JobState,
    Observation, Origin, Plan, PlanNode, Run, Subject, Subtask, Subtasks, TaskManager, TaskState, Vertex,
};

use crate::support::{Answer, Server, record_job};

const JOB: &str = "0d890d9d32ccfa02b7eab50fa0435103";
const VERTEX: &str = "857f407b0f317b9a9f938362a2c2d026";
const NO: &str = "0000000000000000000000000000000f";

fn run(state: JobState, started_ms: i64, ended_ms: Option<i64>) -> Run {
    Run {
        ended_ms,
        changed_ms: Some(started_ms),
        state_times: [(JobState::Initializing, started_ms), (JobState::Running, started_ms + 5)].into(),
        tasks: [(TaskState::Running, 2)].into(),
        max_parallelism: Some(16),
        scheduler: Some("Default".to_owned()),
        ..Run::new("demo", state, started_ms)
    }
}

fn subtask(index: u64, state: TaskState, started_ms: i64, totals: Option<Io>) -> Subtask {
    Subtask {
        endpoint: Some("host-1:4444".to_owned()),
        task_manager: Some("tm-1".to_owned()),
        started_ms: Some(started_ms),
        state_times: [(TaskState::Scheduled, started_ms), (TaskState::Running, started_ms + 2)].into(),
        totals,
        ..Subtask::new(index, 0, state)
    }
}

/// A job of one vertex with two subtasks in a cluster, which began at this time.
fn observe(server: &Server, at_ms: i64) {
    let app = server.app();
    let mut cluster = Observation::new(Subject::cluster("", "main"), Origin::Flink, at_ms);
    let known = Cluster { is_reachable: true, version: Some("2.3.0".to_owned()), ..Cluster::default() };
    cluster.put(&known).unwrap();
    cluster.put(&TaskManager { id: "tm-1".to_owned(), slots: 6, free_slots: 4, ..TaskManager::default() }).unwrap();
    app.jobs.record(cluster).unwrap();
    let mut job = Observation::new(Subject::job("", JOB), Origin::Flink, at_ms).in_cluster("main");
    job.put(&run(JobState::Running, at_ms, None)).unwrap();
    job.put(&Plan {
        kind: None,
        nodes: vec![PlanNode { id: VERTEX.to_owned(), parallelism: 2, ..PlanNode::default() }],
    })
    .unwrap();
    job.put(&Vertex {
        id: VERTEX.to_owned(),
        name: "score".to_owned(),
        position: 0,
        parallelism: 2,
        max_parallelism: Some(16),
        slot_sharing_group: None,
        state: TaskState::Running,
        started_ms: Some(at_ms),
        ended_ms: None,
        tasks: [(TaskState::Running, 2)].into(),
        totals: None,
    })
    .unwrap();
    let running = |index| subtask(index, TaskState::Running, at_ms, None);
    job.put(&Subtasks { vertex: VERTEX.to_owned(), subtasks: vec![running(0), running(1)] }).unwrap();
    app.jobs.record(job).unwrap();
}

/// Samples of the vertex's subtasks, as Flink's reporter names them.
fn samples(server: &Server) {
    let mut metrics = Vec::new();
    for (index, records, pressed) in [("0", 43_192.0, 0.0), ("1", 6_511.0, 967.0)] {
        let labels = json!({"job_id": JOB, "task_id": VERTEX, "subtask_index": index, "task_attempt_num": "0"});
        for (name, value) in [("numRecordsIn", records), ("backPressuredTimeMsPerSecond", pressed)] {
            let name = format!("flink_taskmanager_job_task_{name}");
            metrics.push(json!({"metric_name": name, "metric_type": "gauge", "metric_value": value, "labels": labels}));
        }
    }
    let answer = server.post_json("/api/metrics/report", &json!({"component_name": "reporter", "metrics": metrics}));
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn errors(answer: &Answer) -> String {
    answer.json()["errors"][0].as_str().unwrap().to_owned()
}

#[test]
fn the_rules_of_paths_are_flinks() {
    let server = Server::start();
    let now_ms = server.app().clock.now_ms();
    observe(&server, now_ms - 60_000);
    for path in ["/jobs", "/jobs/", "//jobs", "/v1/jobs", "/flink/jobs", "/flink/v1/jobs", "/v1//jobs", "/jobs?bogus=1"]
    {
        let answer = server.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.json(), json!({"jobs": [{"id": JOB, "status": "RUNNING"}]}), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("content-type"), Some("application/json; charset=UTF-8"));
    }
    let upper = server.get(&format!("/jobs/{}", JOB.to_uppercase()));
    assert_eq!(upper.json()["jid"], JOB);
    for (method, path, message) in [
        ("GET", "/flink/nosuchpath", "Unable to load requested file /nosuchpath."),
        ("POST", "/overview", "Not found: /overview"),
        ("OPTIONS", "/jobs", "Not found: /jobs"),
        ("DELETE", &format!("/jobs/{JOB}"), "Not found: /jobs/"),
        ("GET", &format!("/jobs/{JOB}/stop"), "Unable to load requested file"),
    ] {
        let answer = server.send(method, path, &[], b"");
        assert_eq!(answer.status, 404, "{method} {path}");
        assert!(errors(&answer).starts_with(message), "{method} {path}: {}", answer.body);
    }
    assert_eq!(server.send("HEAD", "/jobs", &[], b"").status, 404);
    assert_eq!(server.get("/v2/jobs").status, 404);
}

#[test]
fn a_listener_of_its_own_has_a_shape_of_its_own_and_nothing_else() {
    let server =
        Server::with(&[("flink_listen", "127.0.0.1:0"), ("flink_listen_shape", "page"), ("flink_shape", "2.x")]);
    let now_ms = server.app().clock.now_ms();
    observe(&server, now_ms - 60_000);
    let path = format!("/jobs/{JOB}/vertices/{VERTEX}");
    let (page, newer) = (server.get_flink(&path).json(), server.get(&path).json());
    assert_eq!(page["subtasks"][0]["host"], "host-1:4444");
    assert_eq!((page["subtasks"][0].get("endpoint"), page.get("aggregated")), (None, None));
    assert_eq!(newer["subtasks"][0]["endpoint"], "host-1:4444");
    assert_eq!(newer["subtasks"][0].get("host"), None);
    for path in ["/", "/nosuchpath", "/api/v1/query", "/metrics", "//"] {
        let answer = server.get_flink(path);
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(errors(&answer), format!("Unable to load requested file {path}."));
    }
    assert_eq!(server.get_flink("//v1//jobs/").status, 200);
}

#[test]
fn unknown_and_malformed_ids_are_told_apart_and_metrics_mind_neither() {
    let server = Server::start();
    let now_ms = server.app().clock.now_ms();
    observe(&server, now_ms - 60_000);
    let vertex = format!("/jobs/{JOB}/vertices/{VERTEX}");
    for (path, status, message) in [
        (format!("/jobs/{NO}"), 404, format!("Job {NO} not found")),
        (format!("/jobs/{NO}/vertices/{VERTEX}/subtasktimes"), 404, format!("Job {NO} not found")),
        (format!("/jobs/{JOB}/vertices/{NO}"), 404, format!("JobVertex {NO} not found")),
        (format!("/jobs/{JOB}/vertices/{NO}/accumulators"), 404, format!("No vertex with ID '{NO}' exists.")),
        (format!("{vertex}/subtasks/99"), 404, format!("Invalid subtask index for vertex {VERTEX}")),
        (format!("{vertex}/subtasks/0/attempts/9"), 404, "Could not find execution attempt".to_owned()),
        (format!("{vertex}/subtasks/-1"), 400, "Bad request, could not parse parameters".to_owned()),
        (
            "/jobs/nothex".to_owned(),
            400,
            "Bad request, could not parse parameters: Cannot resolve path parameter (jobid)".to_owned(),
        ),
        (
            "/jobs/metrics?jobs=xyz".to_owned(),
            400,
            "Bad request, could not parse parameters: Cannot resolve query parameter (jobs)".to_owned(),
        ),
        (format!("/jobs/{JOB}/checkpoints"), 404, "Checkpointing has not been enabled.".to_owned()),
        ("/taskmanagers/nope".to_owned(), 500, "Internal server error.".to_owned()),
        (format!("/jobs/{JOB}?at=noon"), 400, "Bad request".to_owned()),
    ] {
        let answer = server.get(&path);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(errors(&answer).starts_with(&message), "{path}: {}", answer.body);
    }
    for path in [
        format!("/jobs/{NO}/metrics"),
        format!("/jobs/{JOB}/vertices/{NO}/metrics?get=0.x"),
        format!("/jobs/{JOB}/vertices/{NO}/subtasks/metrics"),
        format!("{vertex}/subtasks/99/metrics"),
        format!("/jobs/metrics?jobs={NO}&get=uptime"),
        "/taskmanagers/nope/metrics".to_owned(),
        "/taskmanagers/metrics?taskmanagers=nope&get=x".to_owned(),
    ] {
        let answer = server.get(&path);
        assert_eq!((answer.status, answer.json()), (200, json!([])), "{path}");
    }
}

#[test]
fn moving_numbers_come_from_the_series_and_those_of_the_end_from_the_document() {
    let server = Server::start();
    let now_ms = server.app().clock.now_ms();
    let began_ms = now_ms - 60_000;
    observe(&server, began_ms);
    let unknown = server.get(&format!("/jobs/{JOB}")).json();
    assert_eq!(unknown["vertices"][0]["metrics"]["read-records-complete"], false);
    samples(&server);
    let details = server.get(&format!("/jobs/{JOB}")).json();
    let metrics = &details["vertices"][0]["metrics"];
    assert_eq!((&metrics["read-records"], &metrics["read-records-complete"]), (&json!(49_703), &json!(true)));
    assert_eq!(metrics["write-records-complete"], false, "nobody reported it");
    let vertex = format!("/jobs/{JOB}/vertices/{VERTEX}");
    let found = server.get(&vertex).json();
    assert_eq!(found["subtasks"][0]["metrics"]["read-records"], 43_192);
    assert_eq!(found["subtasks"][0]["host"], "host-1:4444", "with its port here");
    assert_eq!(server.get(&format!("{vertex}/subtasks/0")).json()["host"], "host-1", "and without it there");
    assert_eq!(found["aggregated"]["metrics"]["read-records"]["avg"], 24_851);
    let asked = server.get(&format!("{vertex}/subtasks/metrics?get=numRecordsIn&agg=min,max&subtasks=0-1")).json();
    assert_eq!(asked, json!([{"id": "numRecordsIn", "min": 6511.0, "max": 43192.0}]));
    let asked = server.get(&format!("{vertex}/metrics?get=1.numRecordsIn,1.nope")).json();
    assert_eq!(asked, json!([{"id": "1.numRecordsIn", "value": "6511"}]));
    let pressure = server.get(&format!("{vertex}/backpressure")).json();
    assert_eq!((&pressure["status"], &pressure["backpressure-level"]), (&json!("ok"), &json!("high")));
    assert_eq!(pressure["subtasks"][1]["ratio"], 0.967);
    // The attempt ends: its totals are in the document, whatever the series say.
    let count = |value| Count { value, is_complete: true };
    let totals = Io { read_records: count(50_000), ..Io::default() };
    let mut end = Observation::new(Subject::job("", JOB), Origin::Flink, now_ms);
    let ended = |index| subtask(index, TaskState::Finished, began_ms, Some(totals));
    end.put(&Subtasks { vertex: VERTEX.to_owned(), subtasks: vec![ended(0), ended(1)] }).unwrap();
    server.app().jobs.record(end).unwrap();
    assert_eq!(server.get(&vertex).json()["subtasks"][1]["metrics"]["read-records"], 50_000);
}

#[test]
fn the_past_is_what_it_was_and_a_lost_cluster_leaves_its_jobs_as_they_were_last() {
    let server = Server::start();
    let app = server.app();
    let now_ms = app.clock.now_ms();
    let began_ms = now_ms - 600_000;
    observe(&server, began_ms);
    let before = server.get(&format!("/jobs/overview?at={}", began_ms - 1)).json();
    assert_eq!(before, json!({"jobs": []}));
    let mut lost = Observation::new(Subject::cluster("", "main"), Origin::Flink, began_ms + 30_000);
    lost.put(&Cluster { is_reachable: false, ..Cluster::default() }).unwrap();
    app.jobs.record(lost).unwrap();
    let stale = server.get(&format!("/jobs/{JOB}")).json();
    assert_eq!((&stale["state"], &stale["duration"]), (&json!("RUNNING"), &json!(30_000)));
    assert_eq!(stale["stale-since"], began_ms + 30_000);
    assert_eq!(server.get("/overview").json()["taskmanagers"], 0);
    let then = server.get(&format!("/jobs/{JOB}?at={}", began_ms + 10_000)).json();
    assert_eq!((&then["now"], &then["duration"]), (&json!(began_ms + 10_000), &json!(10_000)));
    assert_eq!(then.get("stale-since"), None);
    assert_eq!(server.get(&format!("/overview?at={}", began_ms + 10_000)).json()["slots-total"], 6);
    // It ends: from then on it is finished, and before it was running.
    let mut end = Observation::new(Subject::job("", JOB), Origin::Flink, began_ms + 40_000);
    end.put(&run(JobState::Finished, began_ms, Some(began_ms + 40_000))).unwrap();
    app.jobs.record(end).unwrap();
    assert_eq!(server.get(&format!("/jobs/{JOB}/status")).json(), json!({"status": "FINISHED"}));
    let earlier = server.get(&format!("/jobs/{JOB}/status?at={}", began_ms + 39_999)).json();
    assert_eq!(earlier, json!({"status": "RUNNING"}));
}

#[test]
fn checkpoints_and_exceptions_have_the_fields_of_both_releases() {
    let server = Server::start();
    let app = server.app();
    let now_ms = app.clock.now_ms();
    observe(&server, now_ms - 60_000);
    let mut more = Observation::new(Subject::job("", JOB), Origin::Flink, now_ms - 30_000);
    let checkpoint = Checkpoint {
        id: 3,
        state: CheckpointState::Completed,
        is_savepoint: false,
        savepoint_format: None,
        kind: None,
        triggered_ms: now_ms - 31_000,
        latest_ack_ms: now_ms - 30_500,
        sizes: CheckpointSizes { duration_ms: 500, state_bytes: 7532, ..CheckpointSizes::default() },
        subtasks: 2,
        acknowledged: 2,
        path: Some("file:/chk-3".to_owned()),
        is_discarded: Some(false),
        failure: None,
        tasks: BTreeMap::new(),
    };
    more.put(&checkpoint).unwrap();
    let statistics =
        CheckpointStatistics { latest_completed: Some(3), history: vec![3], ..CheckpointStatistics::default() };
    more.put(&statistics).unwrap();
    more.put(&Failure {
        at_ms: now_ms - 40_000,
        name: Some("java.lang.IllegalStateException".to_owned()),
        stack_trace: "java.lang.IllegalStateException: no\n\tat x".to_owned(),
        task: Some("score (1/2) - execution #0".to_owned()),
        endpoint: Some("host-1:4444".to_owned()),
        task_manager: Some("tm-1".to_owned()),
        labels: BTreeMap::new(),
        concurrent: Vec::new(),
    })
    .unwrap();
    app.jobs.record(more).unwrap();
    let found = server.get(&format!("/jobs/{JOB}/checkpoints")).json();
    let completed = &found["latest"]["completed"];
    assert_eq!((&completed["@class"], &completed["className"]), (&json!("completed"), &json!("completed")));
    assert_eq!(found["history"][0]["state_size"], 7532);
    assert_eq!(found["summary"]["state_size"]["p99"], "NaN");
    assert_eq!(found["latest"]["savepoint"], Value::Null);
    assert_eq!(server.get(&format!("/jobs/{JOB}/checkpoints/details/3")).json()["external_path"], "file:/chk-3");
    let missing = server.get(&format!("/jobs/{JOB}/checkpoints/details/999999"));
    assert_eq!(missing.status, 404);
    assert_eq!(errors(&missing), "Could not find checkpointing statistics for checkpoint 999999.");
    let found = server.get(&format!("/jobs/{JOB}/exceptions")).json();
    assert!(found["root-exception"].as_str().unwrap().starts_with("java.lang.IllegalStateException"));
    assert_eq!(found["all-exceptions"][0]["location"], "host-1:4444");
    assert_eq!(found["exceptionHistory"]["entries"][0]["taskManagerId"], "tm-1");
    let none = server.get(&format!("/jobs/{JOB}/exceptions?maxExceptions=0")).json();
    assert_eq!((&none["truncated"], &none["exceptionHistory"]["entries"]), (&json!(true), &json!([])));
}

#[test]
fn lists_are_of_all_clusters_or_of_one() {
    let server = Server::start();
    let app = server.app();
    let now_ms = app.clock.now_ms();
    observe(&server, now_ms - 60_000);
    let mut other = Observation::new(Subject::job("", NO), Origin::Push, now_ms - 50_000);
    other.put(&run(JobState::Running, now_ms - 50_000, None)).unwrap();
    app.jobs.record(other).unwrap();
    let count = |path: &str| server.get(path).json()["jobs"].as_array().unwrap().len();
    assert_eq!([count("/jobs"), count("/jobs?cluster=main"), count("/jobs/overview?cluster=nope")], [2, 1, 0]);
    let overview = |path: &str| server.get(path).json();
    assert_eq!(overview("/overview")["jobs-running"], 2);
    assert_eq!(overview("/overview?cluster=main")["jobs-running"], 1);
    assert_eq!(overview("/overview?cluster=nope")["taskmanagers"], 0);
}

#[test]
fn what_happened_to_a_job_is_one_list() {
    let server = Server::start();
    let app = server.app();
    let now_ms = app.clock.now_ms();
    let began_ms = now_ms - 60_000;
    observe(&server, began_ms);
    let mut more = Observation::new(Subject::job("", JOB), Origin::Flink, began_ms + 50_000);
    let mut failed = run(JobState::Failed, began_ms, Some(began_ms + 50_000));
    failed.state_times.insert(JobState::Failed, began_ms + 50_000);
    more.put(&failed).unwrap();
    app.jobs.record(more).unwrap();
    let found = server.get(&format!("/api/jobs/{JOB}/timeline")).json();
    let kinds: Vec<String> = found["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| format!("{} {}", e["kind"].as_str().unwrap(), e["state"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(kinds, ["state INITIALIZING", "deployment ", "state RUNNING", "state FAILED"]);
    let newest = server.get(&format!("/api/jobs/{JOB}/timeline?limit=1")).json();
    assert_eq!((&newest["truncated"], &newest["events"][0]["state"]), (&json!(true), &json!("FAILED")));
    let part = server.get(&format!("/api/jobs/{JOB}/timeline?start={}&end={}", began_ms + 1, began_ms + 10)).json();
    assert_eq!(part["events"].as_array().unwrap().len(), 1);
    let then = server.get(&format!("/api/jobs/{JOB}/timeline?at={}", began_ms + 10)).json();
    assert_eq!(then["events"].as_array().unwrap().len(), 3, "what was known then");
    let one = server.get(&format!("/api/jobs/{JOB}")).json();
    assert_eq!((&one["state"], &one["runs"], &one["cluster"]), (&json!("FAILED"), &json!([JOB]), &json!("main")));
    assert_eq!(server.get("/api/jobs?state=RUNNING").json(), json!({"jobs": []}));
    assert_eq!(server.get("/api/jobs?name=demo").json()["jobs"][0]["id"], JOB);
    for (path, status) in [("/api/jobs/nope", 404), ("/api/jobs?at=noon", 400), ("/api/jobs/x/timeline?limit=0", 400)] {
        let answer = server.get(path);
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.json()["error"].is_string(), "{path}: {}", answer.body);
    }
    let limit = |limit: usize| server.get(&format!("/api/jobs/{JOB}/timeline?limit={limit}")).status;
    assert_eq!([limit(10_000), limit(10_001)], [200, 400]);
}

/// What 1.9 refuses and 2.3 answers: a body with fields that nobody asked for, and skew.
#[test]
fn what_releases_contradict_each_other_in_follows_the_cluster() {
    let server = Server::with(&[("flink_listen", "127.0.0.1:0"), ("flink_listen_shape", "page")]);
    let fields = |send: &dyn Fn(&str) -> Answer, path: &str| {
        let answer = send(path);
        let is_refused =
            answer.status == 400 && errors(&answer).contains("did not match expected format EmptyRequestBody");
        assert!(answer.status == 200 || is_refused, "{path}: {} {}", answer.status, answer.body);
        answer.status
    };
    let both = |path: &str| fields(&|path| server.send("GET", path, &[], br#"{"x": 1}"#), path);
    let page = |path: &str| fields(&|path| server.send_flink("GET", path, &[], br#"{"x": 1}"#), path);
    assert_eq!((both("/overview"), page("/overview")), (200, 400), "there is no cluster");
    let now_ms = server.app().clock.now_ms();
    observe(&server, now_ms - 60_000);
    samples(&server);
    let mut old = Observation::new(Subject::cluster("", "old"), Origin::Flink, now_ms);
    old.put(&Cluster { is_reachable: true, version: Some("1.9.3".to_owned()), ..Cluster::default() }).unwrap();
    server.app().jobs.record(old).unwrap();
    record_job(&server.app(), Subject::job("", NO), "old-job", Some("old"), now_ms);
    let (of_old, of_new) = (format!("/jobs/{NO}/status"), format!("/jobs/{JOB}/status"));
    assert_eq!((both(&of_old), both(&of_new), page(&of_new)), (400, 200, 400));
    assert_eq!((both("/jobs?cluster=old"), both("/jobs?cluster=main")), (400, 200));
    let skew = |job: &str| format!("/jobs/{job}/vertices/{VERTEX}/subtasks/metrics?get=numRecordsIn&agg=skew");
    let refused = server.get(&skew(NO));
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(
        errors(&refused).ends_with("Cannot resolve query parameter (agg) from value \"skew\"."),
        "{}",
        refused.body
    );
    assert!(server.get(&skew(JOB)).json()[0]["skew"].is_f64());
    assert_eq!(server.send_flink("GET", &skew(JOB), &[], b"").status, 400, "the page has none");
    for body in ["{}", " { } "] {
        assert_eq!(server.send_flink("GET", "/overview", &[], body.as_bytes()).status, 200, "{body:?}");
    }
}

#[test]
fn a_body_on_a_get_is_bounded_at_n_and_n_plus_1() {
    let server = Server::with(&[("query.max_body_bytes", "1000")]);
    let sent = |bytes: usize| server.send("GET", "/overview", &[], format!("{{{}}}", " ".repeat(bytes - 2)).as_bytes());
    assert_eq!(sent(1000).status, 200, "{}", sent(1000).body);
    let refused = sent(1001);
    assert!(
        refused.status == 413 && errors(&refused).contains("limit query.max_body_bytes = 1000"),
        "{}",
        refused.body
    );
}

#[test]
fn an_id_that_flink_could_not_have_gets_one_that_it_could() {
    let server = Server::start();
    let app = server.app();
    let mut job = Observation::new(Subject::job("", "etl/nightly"), Origin::Push, 1000);
    job.put(&run(JobState::Running, 1000, None)).unwrap();
    app.jobs.record(job).unwrap();
    let id = server.get("/jobs").json()["jobs"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 32);
    assert_eq!(server.get(&format!("/jobs/{id}")).json()["name"], "demo");
}
