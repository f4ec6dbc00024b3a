//! Jobs that nobody told of: series with the labels of each engine make them appear in every view, and silence, restarts,
//! limits and those who know better do what they should.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use storage::Clock;
use streamgauge::jobs::{JobState, Observation, Origin, Run, Subject};

use crate::support::Server;

const JOB: &str = "0d890d9d32ccfa02b7eab50fa0435103";
const VERTEX: &str = "857f407b0f317b9a9f938362a2c2d026";
const SOURCE: &str = "bc764cd8ddf7a0cff126f51c16239658";
const NOW_MS: i64 = 1_790_000_000_000;

/// A clock that stands until it is moved.
#[derive(Debug)]
struct SetClock(AtomicI64);

impl SetClock {
    fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn start(options: &[(&str, &str)]) -> (Server, Arc<SetClock>) {
    let clock = Arc::new(SetClock(AtomicI64::new(NOW_MS)));
    let options: Vec<_> = [("jobs.implied_interval", "100ms")].iter().chain(options).copied().collect();
    (Server::with_clock(&options, clock.clone()), clock)
}

/// Reports one sample, now, of each of these series.
fn report(server: &Server, series: &[(&str, Value)]) {
    report_at(server, series, &[server.app().clock.now_ms()]);
}

/// Reports one sample of each of these series at each of these times.
fn report_at(server: &Server, series: &[(&str, Value)], times: &[i64]) {
    let metric = |(name, labels): &(&str, Value), at_ms: i64| {
        let at = streamgauge::report::timestamp::format(at_ms);
        json!({"metric_name": name, "metric_type": "gauge", "metric_value": 7, "labels": labels, "timestamp": at})
    };
    let metrics: Vec<Value> = times.iter().flat_map(|at| series.iter().map(|one| metric(one, *at))).collect();
    let answer = server.post_json("/api/metrics/report", &json!({"component_name": "reporter", "metrics": metrics}));
    assert_eq!(answer.json()["metrics_inserted"], metrics.len(), "{}", answer.body);
}

/// Asks until the answer is as wanted.
fn wait(server: &Server, path: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = server.get(path).json();
        if is_wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{path}: {answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for so many looks that begin from now on, at least.
fn looks(server: &Server, count: usize) {
    for _ in 0..count {
        let before = server.app().implied.looks();
        let deadline = Instant::now() + Duration::from_secs(20);
        while server.app().implied.looks() < before + 2 {
            assert!(Instant::now() < deadline, "no look");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn ids(jobs: &Value) -> Vec<&str> {
    jobs["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect()
}

/// What Flink's reporters show of a job with a source and two subtasks of another vertex.
fn flink_series() -> Vec<(&'static str, Value)> {
    let task = |id: &str, name: &str, index: &str| {
        json!({
            "job_id": JOB, "job_name": "demo_stream", "task_id": id, "task_name": name, "subtask_index": index,
            "task_attempt_num": "1", "tm_id": "tm_1", "host": "127_0_0_1",
        })
    };
    vec![
        ("flink_jobmanager_job_uptime", json!({"job_id": JOB, "job_name": "demo_stream", "host": "127_0_0_1"})),
        ("flink_taskmanager_job_task_numRecordsOut", task(SOURCE, "Source:_orders____parse", "0")),
        ("flink_taskmanager_job_task_numRecordsIn", task(VERTEX, "score", "0")),
        ("flink_taskmanager_job_task_numRecordsIn", task(VERTEX, "score", "1")),
        ("flink_taskmanager_Status_JVM_CPU_Load", json!({"tm_id": "tm_1"})),
    ]
}

#[test]
fn a_job_of_flinks_reporters_is_in_every_view() {
    let (server, _) = start(&[]);
    report(&server, &flink_series());
    let jobs = wait(&server, "/api/jobs", |jobs| ids(jobs) == [JOB]);
    let job = &jobs["jobs"][0];
    assert_eq!(
        (&job["origin"], &job["state"], &job["name"], &job["lost"]),
        (&json!("metrics"), &json!("RUNNING"), &json!("demo_stream"), &Value::Null)
    );
    assert_eq!((&job["first_seen"], &job["started"]), (&json!(NOW_MS), &json!(NOW_MS)));
    wait(&server, "/api/jobs", |jobs| jobs["jobs"][0]["last_seen"] == NOW_MS);
    let one = server.get(&format!("/api/jobs/{JOB}")).json();
    let vertices: Vec<(&str, i64)> = one["vertices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|vertex| (vertex["name"].as_str().unwrap(), vertex["parallelism"].as_i64().unwrap()))
        .collect();
    assert_eq!(vertices, [("Source:_orders____parse", 1), ("score", 2)]);

    assert_eq!(server.get("/jobs").json(), json!({"jobs": [{"id": JOB, "status": "RUNNING"}]}));
    let overview = server.get("/jobs/overview").json()["jobs"][0].clone();
    assert_eq!((&overview["name"], &overview["tasks"]["running"]), (&json!("demo_stream"), &json!(3)));
    assert_eq!(overview.get("stale-since"), None);
    let details = server.get(&format!("/jobs/{JOB}")).json();
    assert_eq!((&details["vertices"][0]["id"], &details["vertices"][1]["id"]), (&json!(SOURCE), &json!(VERTEX)));
    assert_eq!(details["vertices"][1]["metrics"]["read-records"], 14);
    assert_eq!(details["vertices"][1]["metrics"]["read-records-complete"], true);
    assert_eq!(details["plan"]["nodes"][1]["parallelism"], 2);
    let vertex = server.get(&format!("/jobs/{JOB}/vertices/{VERTEX}")).json();
    let subtask = &vertex["subtasks"][1];
    assert_eq!(
        (&subtask["attempt"], &subtask["host"], &subtask["taskmanager-id"]),
        (&json!(1), &json!("127_0_0_1"), &json!("tm_1"))
    );
    let metrics = server.get(&format!("/jobs/{JOB}/vertices/{VERTEX}/subtasks/metrics?get=numRecordsIn&agg=sum"));
    assert_eq!(metrics.json(), json!([{"id": "numRecordsIn", "sum": 14.0}]));

    assert_eq!(server.get("/tsp/jobs/overview").json()["response"], json!([{"name": "demo_stream", "jid": JOB}]));
    let status = server.get("/tsp/job/demo_stream/statusAndMetrics").json();
    assert_eq!(status["response"]["details"]["state"], "RUNNING");
    assert_eq!(status["response"]["metrics"]["numRecordsRead"], "7");
}

#[test]
fn other_engines_and_plain_labels_imply_jobs_too() {
    let (server, _) = start(&[]);
    let arroyo = |node: &str, index: &str| json!({"job_id": "job_a", "node_id": node, "operator_name": format!("op_{node}"), "subtask_idx": index});
    report(
        &server,
        &[
            ("arroyo_worker_messages_recv", arroyo("2", "0")),
            ("arroyo_worker_messages_recv", arroyo("2", "1")),
            ("arroyo_worker_messages_sent", arroyo("10", "0")),
            (
                "conveyor_router_records_routed_total",
                json!({"pipeline_id": "user-analytics", "stage_id": "filter-stage"}),
            ),
            ("conveyor_router_records_received_total", json!({"source_id": "kafka-source-1"})),
            (
                "rows_total",
                json!({"job_id": "etl-7", "pipeline_id": "etl", "operator_id": "load", "subtask_index": "0"}),
            ),
            ("rows_total", json!({"job_id": "etl-7", "pipeline_id": "etl", "org": "acme"})),
            ("errors_total", json!({"pipeline_id": "alone"})),
            ("up", json!({"job": "node"})),
        ],
    );
    let jobs = wait(&server, "/api/jobs", |jobs| ids(jobs).len() == 5);
    let mut found: Vec<(&str, &str, &str)> = jobs["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| (job["org"].as_str().unwrap(), job["id"].as_str().unwrap(), job["name"].as_str().unwrap()))
        .collect();
    found.sort_unstable();
    let expected = [
        ("", "alone", "alone"),
        ("", "etl-7", "etl"),
        ("", "job_a", "job_a"),
        ("", "user-analytics", "user-analytics"),
        ("acme", "etl-7", "etl"),
    ];
    assert_eq!(found, expected);
    let vertices = |id: &str| -> Vec<(String, i64)> {
        let job = server.get(&format!("/api/jobs/{id}")).json();
        let vertices = job["vertices"].as_array().unwrap().clone();
        vertices.iter().map(|v| (v["name"].as_str().unwrap().to_owned(), v["parallelism"].as_i64().unwrap())).collect()
    };
    assert_eq!(vertices("job_a"), [("op_2".to_owned(), 2), ("op_10".to_owned(), 1)]);
    assert_eq!(vertices("user-analytics"), [("filter-stage".to_owned(), 1)]);
    assert_eq!(vertices("etl-7"), [("load".to_owned(), 1)]);
    assert!(vertices("alone").is_empty());
    assert_eq!(server.get("/jobs").json()["jobs"].as_array().unwrap().len(), 5, "in Flink's form too");
}

/// Each sample is 7.
#[test]
fn what_went_through_the_tasks_of_other_engines_is_counted() {
    let (server, _) = start(&[]);
    let arroyo = |node: &str, index: &str, connection: &str| {
        json!({
            "job_id": "job_a", "pipeline_name": "clicks", "node_id": node, "operator_name": format!("op_{node}"),
            "subtask_idx": index, "connection": connection,
        })
    };
    let plain = json!({"job_id": "etl", "operator_id": "load", "subtask_index": "0"});
    report(
        &server,
        &[
            ("arroyo_worker_messages_sent", arroyo("1", "0", "a")),
            ("arroyo_worker_messages_sent", arroyo("1", "0", "b")),
            ("arroyo_worker_bytes_sent", arroyo("1", "0", "a")),
            ("arroyo_worker_messages_recv", arroyo("2", "0", "a")),
            ("arroyo_worker_messages_recv", arroyo("2", "1", "a")),
            ("arroyo_worker_bytes_recv", arroyo("2", "1", "a")),
            ("arroyo_worker_tx_queue_size", arroyo("1", "0", "a")),
            ("conveyor_router_records_routed_total", json!({"pipeline_id": "routes", "stage_id": "filter"})),
            ("etl_records_in_total", plain.clone()),
            ("etl_bytes_out_total", plain),
        ],
    );
    let jobs = wait(&server, "/jobs/overview", |found| found["jobs"].as_array().unwrap().len() == 3);
    let jid = |name: &str| {
        let job = jobs["jobs"].as_array().unwrap().iter().find(|job| job["name"] == name).unwrap();
        job["jid"].as_str().unwrap()
    };
    // Read and written: bytes and records, each with whether somebody counts it.
    let counted = |metrics: &Value| {
        ["read-bytes", "write-bytes", "read-records", "write-records"].map(|name| {
            let is_complete = metrics[format!("{name}-complete")].as_bool().unwrap();
            (metrics[name].as_i64().unwrap(), is_complete)
        })
    };
    let (no, yes) = ((0, false), |count: i64| (count, true));
    let details = server.get(&format!("/jobs/{}", jid("clicks"))).json();
    let of = |vertex: usize| counted(&details["vertices"][vertex]["metrics"]);
    assert_eq!(of(0), [no, yes(7), no, yes(14)], "two connections of one subtask: {details}");
    assert_eq!(of(1)[2..], [yes(14), no], "two subtasks");
    let vertex = details["vertices"][1]["id"].as_str().unwrap();
    let subtask = |index: &str| {
        let path = format!("/jobs/{}/vertices/{vertex}/subtasks/{index}", jid("clicks"));
        counted(&server.get(&path).json()["metrics"])
    };
    assert_eq!((subtask("0"), subtask("1")), ([no, no, yes(7), no], [yes(7), no, yes(7), no]));
    let only = |name: &str| {
        let job = server.get(&format!("/jobs/{}", jid(name))).json();
        counted(&job["vertices"][0]["metrics"])
    };
    assert_eq!(only("routes"), [no, no, yes(7), no]);
    assert_eq!(only("etl"), [no, yes(7), yes(7), no]);
    let tsp = server.get("/tsp/job/clicks/statusAndMetrics").json()["response"]["metrics"].clone();
    assert_eq!((&tsp["numRecordsRead"], &tsp["numRecordsProcessed"]), (&json!("14"), &json!("14")));
}

/// Arroyo's own endpoint knows such a job by the name of its pipeline, or the id that the pipeline got.
#[test]
fn arroyos_console_sees_a_job_that_only_its_workers_tell_of() {
    let (server, clock) = start(&[]);
    let labels = |index: &str| json!({"job_id": "job_a", "pipeline_name": "clicks", "node_id": "3", "operator_name": "op_3", "subtask_idx": index});
    let series = [
        ("arroyo_worker_messages_recv", labels("0")),
        ("arroyo_worker_messages_recv", labels("1")),
        ("arroyo_worker_tx_queue_size", labels("0")),
        ("arroyo_worker_tx_queue_rem", labels("0")),
    ];
    report_at(&server, &series, &[NOW_MS - 4000, NOW_MS - 2000, NOW_MS]);
    wait(&server, "/api/jobs", |jobs| ids(jobs) == ["job_a"]);
    let ask = |path: &str| server.send("GET", path, &[("authorization", "Bearer anything")], b"");
    let groups = |pipeline: &str| format!("/v1/pipelines/{pipeline}/jobs/job_a/operator_metric_groups");
    let job = server.get("/api/jobs/job_a").json();
    let answer = ask(&groups(job["pipeline_id"].as_str().unwrap()));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(ask(&groups("clicks")).json(), answer.json());
    let found = answer.json();
    let operator = &found["data"][0];
    assert_eq!((&operator["operator_id"], &operator["node_id"]), (&json!("node_3"), &json!(3)), "{found}");
    let metrics = |index: usize| -> Vec<(String, f64)> {
        let metrics = operator["subtasks"][index]["metrics"].as_array().unwrap();
        metrics.iter().map(|m| (m["name"].as_str().unwrap().to_owned(), m["value"].as_f64().unwrap())).collect()
    };
    let named =
        |list: &[(&str, f64)]| list.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect::<Vec<_>>();
    let queue = [("messages_recv", 7.0), ("backpressure", 0.0), ("tx_queue_size", 7.0), ("tx_queue_rem", 7.0)];
    assert_eq!(metrics(0), named(&queue));
    assert_eq!(metrics(1), named(&[("messages_recv", 7.0), ("backpressure", 0.0)]));
    assert_eq!(ask(&groups("nobody")).status, 404);
    // When its workers fall silent it does not run, and its history is there.
    clock.advance(400_000);
    wait(&server, "/api/jobs", |jobs| jobs["jobs"][0]["lost"] == NOW_MS);
    assert_eq!(ask(&groups("clicks")).json(), json!({"data": []}));
    let history = ask(&format!("{}?start={}&end={NOW_MS}", groups("clicks"), NOW_MS - 4000)).json();
    assert_eq!(history["data"][0]["operator_id"], "node_3", "{history}");
}

#[test]
fn silence_makes_a_job_stale_and_a_restart_doubles_nothing() {
    let (server, clock) = start(&[]);
    report(&server, &flink_series());
    wait(&server, "/api/jobs", |jobs| ids(jobs) == [JOB]);
    clock.advance(240_000);
    let server = server.restart();
    looks(&server, 1);
    assert_eq!(server.get("/api/jobs").json()["jobs"][0]["lost"], Value::Null, "not for long enough");
    // It is known from the store and from samples of before the restart that the job is silent.
    clock.advance(61_000);
    let jobs = wait(&server, "/api/jobs", |jobs| jobs["jobs"][0]["lost"] == NOW_MS);
    assert_eq!(jobs["jobs"][0]["last_seen"], NOW_MS);
    let overview = server.get("/jobs/overview").json()["jobs"][0].clone();
    assert_eq!((&overview["state"], &overview["stale-since"]), (&json!("RUNNING"), &json!(NOW_MS)));
    let one = server.get(&format!("/api/jobs/{JOB}")).json();
    assert_eq!(one["vertices"].as_array().unwrap().len(), 2, "as it was last");

    let server = server.restart();
    clock.advance(1000);
    report(&server, &flink_series());
    let jobs = wait(&server, "/api/jobs", |jobs| jobs["jobs"][0]["lost"].is_null());
    assert_eq!((ids(&jobs), &jobs["jobs"][0]["first_seen"]), (vec![JOB], &json!(NOW_MS)));
    let timeline = server.get(&format!("/api/jobs/{JOB}/timeline")).json();
    let kinds: Vec<(i64, &str)> = timeline["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["at"].as_i64().unwrap() - NOW_MS, event["kind"].as_str().unwrap()))
        // The attempt that is seen first is not the first one: there was a restart, too.
        .filter(|(_, kind)| ["state", "lost"].contains(kind))
        .collect();
    assert_eq!(kinds, [(0, "state"), (0, "lost"), (302_000, "state")]);
}

#[test]
fn samples_of_the_past_tell_when_a_job_was_there() {
    let (server, _) = start(&[]);
    let series = [("rows_total", json!({"job_id": "old", "operator_id": "load"}))];
    report_at(&server, &series, &[NOW_MS - 90_000_000, NOW_MS - 80_000_000]);
    let jobs = wait(&server, "/api/jobs", |jobs| ids(jobs) == ["old"]);
    let job = &jobs["jobs"][0];
    assert_eq!((&job["started"], &job["lost"]), (&json!(NOW_MS - 90_000_000), &json!(NOW_MS - 80_000_000)));
    let at = |ms: i64| server.get(&format!("/api/jobs?at={ms}")).json();
    assert!(ids(&at(NOW_MS - 90_000_001)).is_empty());
    assert_eq!(at(NOW_MS - 85_000_000)["jobs"][0]["lost"], Value::Null);
}

fn pushed(name: &str, engine_id: Option<&str>) -> Run {
    Run { engine_id: engine_id.map(str::to_owned), ..Run::new(name, JobState::Running, NOW_MS) }
}

fn push(server: &Server, id: &str, run: &Run) {
    let mut observation = Observation::new(Subject::job("", id), Origin::Push, NOW_MS);
    observation.put(run).unwrap();
    server.app().jobs.record(observation).unwrap();
}

#[test]
fn who_registers_a_job_wins() {
    let (server, clock) = start(&[]);
    push(&server, "first", &pushed("registered first", None));
    let of = |id: &str| ("rows_total", json!({"job_id": id, "operator_id": "load"}));
    report(&server, &[of("first"), of("later"), of("engine-7")]);
    wait(&server, "/api/jobs", |jobs| ids(jobs).len() == 3);
    push(&server, "later", &pushed("registered later", None));
    push(&server, "public-7", &pushed("known by another id", Some("engine-7")));
    clock.advance(1000);
    report(&server, &[of("first"), of("later"), of("engine-7")]);
    wait(&server, "/api/jobs", |jobs| !ids(jobs).contains(&"engine-7"));
    looks(&server, 2);
    let jobs = server.get("/api/jobs").json();
    let mut found: Vec<(&str, &str, &str)> = jobs["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| (job["id"].as_str().unwrap(), job["origin"].as_str().unwrap(), job["name"].as_str().unwrap()))
        .collect();
    found.sort_unstable();
    let expected = [
        ("first", "push", "registered first"),
        ("later", "push", "registered later"),
        ("public-7", "push", "known by another id"),
    ];
    assert_eq!(found, expected);
    for id in ["first", "later"] {
        assert_eq!(server.get(&format!("/api/jobs/{id}")).json()["vertices"], json!([]), "{id}");
    }
}

#[test]
fn it_is_switched_off_by_an_option() {
    let (server, _) = start(&[("jobs.implied", "false")]);
    report(&server, &flink_series());
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!((server.app().implied.looks(), server.get("/api/jobs").json()), (0, json!({"jobs": []})));
}

#[test]
fn jobs_and_tasks_are_bounded_at_n_and_n_plus_1() {
    let (server, clock) = start(&[("jobs.max_implied_jobs", "2"), ("jobs.max_implied_tasks", "2")]);
    let of =
        |id: &str, index: &str| ("rows_total", json!({"job_id": id, "operator_id": "load", "subtask_index": index}));
    report(&server, &[of("a", "0"), of("a", "1"), of("b", "0")]);
    wait(&server, "/api/jobs", |jobs| ids(jobs).len() == 2);
    looks(&server, 1);
    let outcome = server.app().implied.outcome();
    assert_eq!((outcome.jobs, outcome.jobs_left_out, outcome.tasks_left_out), (2, 0, 0));
    report(&server, &[of("a", "2"), of("c", "0")]);
    looks(&server, 1);
    let outcome = server.app().implied.outcome();
    assert_eq!((outcome.jobs, outcome.jobs_left_out, outcome.tasks_left_out), (2, 1, 1));
    assert_eq!(server.get("/api/jobs/a").json()["vertices"][0]["parallelism"], 2);
    let own = server.get("/metrics").body;
    assert!(own.contains("\nstreamgauge_implied_jobs_left_out 1\n"), "{own}");
    // One that has fallen silent makes room.
    clock.advance(200_000);
    report(&server, &[of("b", "0"), of("c", "0")]);
    clock.advance(200_000);
    let jobs = wait(&server, "/api/jobs", |jobs| ids(jobs).contains(&"c"));
    let mut left = ids(&jobs);
    left.sort_unstable();
    assert_eq!(left, ["b", "c"]);
}

/// One that cannot be read hides no other, also not from a server that starts with it.
#[test]
fn a_damaged_job_stops_no_look() {
    let (server, _clock) = start(&[]);
    report(&server, &[("rows", json!({"job_id": "damaged"}))]);
    wait(&server, "/api/jobs", |jobs| ids(jobs) == ["damaged"]);
    let file = rusqlite::Connection::open(server.app().config.data.join("catalog.db")).unwrap();
    file.busy_timeout(Duration::from_secs(5)).unwrap();
    let damaged = file.execute("UPDATE content SET body = '3' WHERE body LIKE '%\"name\":\"damaged\"%'", ()).unwrap();
    assert!(damaged > 0);
    drop(file);
    let server = server.restart();
    report(&server, &[("rows", json!({"job_id": "sound"})), ("rows", json!({"job_id": "damaged"}))]);
    let jobs = wait(&server, "/api/jobs", |jobs| jobs["jobs"].as_array().is_some_and(|all| !all.is_empty()));
    assert_eq!(ids(&jobs), ["sound"]);
}
