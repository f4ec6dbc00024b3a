//! A cluster is followed, is lost, comes back under another address, and forgets a job. The cluster is a small server that
//! answers from a table of paths.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::exporter::{Asked, Exporter, Reply};
use crate::support::Server;

pub(super) const JOB: &str = "0d890d9d32ccfa02b7eab50fa0435103";
pub(super) const VERTEX: &str = "857f407b0f317b9a9f938362a2c2d026";

/// Answers by path, which a test may change while the cluster runs; other paths are 404.
pub(super) type Answers = Arc<Mutex<BTreeMap<String, Value>>>;

pub(super) fn cluster(answers: &Answers) -> Exporter {
    let answers = Arc::clone(answers);
    Exporter::start(move |asked| {
        let path = asked.path.split('?').next().unwrap_or_default();
        let found = answers.lock().unwrap().get(path).map(Value::to_string);
        found.map_or_else(|| Reply::status(404), |body| Reply::json(&body))
    })
}

/// A cluster of today with one job of one vertex.
pub(super) fn answers() -> Answers {
    let metrics = json!({
        "read-bytes": 10, "read-bytes-complete": true, "write-bytes": 20, "write-bytes-complete": true,
        "read-records": 3, "read-records-complete": true, "write-records": 4, "write-records-complete": true,
        "accumulated-backpressured-time": 5, "accumulated-idle-time": 6, "accumulated-busy-time": 7.0,
    });
    let job = format!("/jobs/{JOB}");
    let vertex = format!("{job}/vertices/{VERTEX}");
    let list = [
        ("/overview".to_owned(), json!({"flink-version": "2.3.0", "flink-commit": "c0f8d1a"})),
        ("/config".to_owned(), json!({"refresh-interval": 3000, "features": {"web-submit": true}})),
        ("/jobmanager/config".to_owned(), json!([{"key": "rest.port", "value": "8081"}])),
        ("/jobmanager/metrics".to_owned(), json!([{"id": "numRunningJobs"}])),
        ("/taskmanagers/metrics".to_owned(), json!([{"id": "Status.JVM.CPU.Load"}])),
        ("/taskmanagers".to_owned(), json!({"taskmanagers": [manager()]})),
        ("/taskmanagers/tm-1".to_owned(), manager()),
        ("/jobs/overview".to_owned(), overview("RUNNING", 100, true)),
        (job.clone(), details("RUNNING", -1, &metrics)),
        (format!("{job}/exceptions"), json!({"exceptionHistory": {"entries": [], "truncated": false}})),
        (format!("{job}/accumulators"), accumulators("user-task-accumulators")),
        (format!("{vertex}/accumulators"), accumulators("user-accumulators")),
        (format!("{vertex}/subtasks/accumulators"), json!({"id": VERTEX, "subtasks": []})),
        (format!("{job}/config"), json!({"jid": JOB, "execution-config": config()})),
        (format!("{job}/checkpoints"), checkpoints()),
        (format!("{job}/checkpoints/config"), checkpoint_config()),
        (format!("{job}/metrics"), json!([{"id": "uptime", "value": "77"}])),
        (format!("{vertex}/subtasks/metrics"), json!([{"id": "busyTimeMsPerSecond"}])),
        (format!("{vertex}/metrics"), json!([{"id": "0.busyTimeMsPerSecond", "value": "996.0"}])),
        (vertex, json!({"id": VERTEX, "name": "score", "parallelism": 1, "subtasks": [subtask(&metrics)]})),
    ];
    Arc::new(Mutex::new(BTreeMap::from(list)))
}

fn config() -> Value {
    json!({"restart-strategy": "none", "job-parallelism": 1, "object-reuse-mode": false, "user-config": {"a": "b"}})
}

fn checkpoints() -> Value {
    json!({
        "counts": {"restored": 0, "total": 0, "in_progress": 0, "completed": 0, "failed": 0}, "summary": {},
        "latest": {"completed": null, "savepoint": null, "failed": null, "restored": null}, "history": [],
    })
}

fn checkpoint_config() -> Value {
    json!({
        "mode": "exactly_once", "interval": 5000, "timeout": 600_000, "min_pause": 0, "max_concurrent": 1,
        "externalization": {"enabled": true, "delete_on_cancellation": true},
    })
}

fn manager() -> Value {
    json!({"id": "tm-1", "path": "pekko://x", "dataPort": 1, "slotsNumber": 2, "freeSlots": 1, "hardware": {"cpuCores": 2}})
}

fn overview(state: &str, changed_ms: i64, is_there: bool) -> Value {
    let job = json!({
        "jid": JOB, "name": "demo", "state": state, "start-time": 90, "end-time": -1, "duration": 1,
        "last-modification": changed_ms, "tasks": {"running": 1, "total": 1},
    });
    json!({"jobs": if is_there { vec![job] } else { Vec::new() }})
}

fn details(state: &str, ended_ms: i64, metrics: &Value) -> Value {
    json!({
        "jid": JOB, "name": "demo", "isStoppable": false, "state": state, "start-time": 90, "end-time": ended_ms,
        "now": 200, "timestamps": {"RUNNING": 95},
        "vertices": [{
            "id": VERTEX, "name": "score", "parallelism": 1, "status": state, "start-time": 92, "end-time": ended_ms,
            "tasks": {"RUNNING": 1}, "metrics": metrics,
        }],
        "plan": {"type": "STREAMING", "nodes": [{"id": VERTEX, "parallelism": 1, "description": "score<br/>"}]},
    })
}

fn subtask(metrics: &Value) -> Value {
    json!({
        "subtask": 0, "status": "RUNNING", "attempt": 0, "endpoint": "h:1", "taskmanager-id": "tm-1",
        "start-time": 92, "end-time": -1, "metrics": metrics, "status-duration": {"DEPLOYING": 3, "RUNNING": 9},
    })
}

fn accumulators(list: &str) -> Value {
    let mut answer = json!({"id": VERTEX});
    answer[list] = json!([
        {"name": "parsed", "type": "IntCounter", "value": "56020"},
        {"name": "sizes", "type": "Histogram", "value": "{0=1, 1=2}"},
    ]);
    answer
}

fn follow(urls: &[String]) -> Server {
    let cluster = json!([{"urls": urls, "name": "main", "metrics": "rest", "interval": "1s", "timeout": "5s"}]);
    Server::with(&[("flink", &cluster.to_string())])
}

/// Asks until the answer is as wanted.
pub(super) fn wait(server: &Server, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = server.get(path);
        if answer.status == 200 && is_so(&answer.json()) {
            return answer.json();
        }
        assert!(Instant::now() < deadline, "{path} still answers {}: {}", answer.status, answer.body);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the job is in the store. Until then its cluster answers.
fn wait_for_job(server: &Server) {
    wait(server, "/jobs/overview", |found| found["jobs"][0]["name"] == "demo");
}

#[test]
fn what_a_cluster_answers_is_answered_here() {
    let answers = answers();
    let cluster = cluster(&answers);
    let server = follow(&[format!("http://{}", cluster.address)]);
    let job = format!("/jobs/{JOB}");
    wait_for_job(&server);
    let found = wait(&server, &job, |found| found["vertices"][0]["metrics"]["read-records-complete"] == true);
    let metrics = &found["vertices"][0]["metrics"];
    assert_eq!((&metrics["read-records"], &metrics["accumulated-busy-time"]), (&json!(3), &json!(7.0)));
    let vertex = format!("{job}/vertices/{VERTEX}");
    let pressure =
        wait(&server, &format!("{vertex}/subtasks/0/metrics?get=busyTimeMsPerSecond"), |found| found != &json!([]));
    assert_eq!(pressure, json!([{"id": "busyTimeMsPerSecond", "value": "996.0"}]));
    wait(&server, &format!("{job}/metrics?get=uptime"), |found| found[0]["value"] == "77");
    let accumulators = wait(&server, &format!("{job}/accumulators"), |found| {
        found["user-task-accumulators"][0]["value"].as_str().is_some_and(|value| value != "n/a")
    });
    let values: Vec<&str> = accumulators["user-task-accumulators"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["value"].as_str().unwrap())
        .collect();
    assert_eq!(values, ["56020", "{0=1, 1=2}"]);
    assert_eq!(server.get("/config").json()["features"]["web-submit"], true);
    assert_eq!(server.get("/jobmanager/config").json(), json!([{"key": "rest.port", "value": "8081"}]));
    assert_eq!(server.get("/taskmanagers").json()["taskmanagers"][0]["slotsNumber"], 2);
    // The job ends: its details are asked for again, and what it was is still known.
    let ended = json!({"read-records": 9, "read-records-complete": true});
    answers.lock().unwrap().insert("/jobs/overview".to_owned(), overview("FINISHED", 300, true));
    answers.lock().unwrap().insert(job.clone(), details("FINISHED", 300, &ended));
    let found = wait(&server, &job, |found| found["state"] == "FINISHED");
    assert_eq!((&found["end-time"], &found["vertices"][0]["metrics"]["read-records"]), (&json!(300), &json!(9)));
}

#[test]
fn a_job_in_which_nothing_changes_costs_a_few_requests() {
    let answers = answers();
    let cluster = cluster(&answers);
    let urls = [format!("http://{}", cluster.address)];
    let settings = json!([{"urls": urls, "interval": "1s", "max_requests_per_job": 40}]);
    let server = Server::with(&[("flink", &settings.to_string())]);
    wait_for_job(&server);
    std::thread::sleep(Duration::from_millis(1500));
    let before = cluster.asked().len();
    std::thread::sleep(Duration::from_millis(2500));
    let after = cluster.asked();
    let rounds = after[before..].iter().filter(|asked| asked.path == "/jobs/overview").count();
    assert!((1..=3).contains(&rounds), "{rounds} rounds");
    // Jobs, task managers and checkpoints; the accumulators of six rounds may be among them once.
    let count = after.len() - before;
    assert!(count <= 3 * (rounds + 1) + 3, "{count} requests in {rounds} rounds: {:?}", &after[before..]);
    assert_eq!(cluster.connections(), 1);
}

#[test]
fn a_lost_cluster_leaves_its_jobs_stale_and_another_address_is_asked_before() {
    // A cluster without answers refuses everything, as a JobManager does that does not lead.
    let (leads, follows) = (answers(), Answers::default());
    let (first, second) = (cluster(&leads), cluster(&follows));
    let server = follow(&[&first, &second].map(|cluster| format!("http://{}", cluster.address)));
    let job = format!("/jobs/{JOB}");
    wait_for_job(&server);
    assert!(second.asked().is_empty(), "the first answers");
    *follows.lock().unwrap() = std::mem::take(&mut *leads.lock().unwrap());
    let deadline = Instant::now() + Duration::from_secs(10);
    while second.asked().len() < 2 {
        assert!(Instant::now() < deadline, "nobody asked the second address");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.get(&job).json().get("stale-since"), None);
    let all = std::mem::take(&mut *follows.lock().unwrap());
    let stale = wait(&server, &job, |found| found.get("stale-since").is_some());
    assert_eq!((&stale["state"], &stale["now"]), (&json!("RUNNING"), &stale["stale-since"]));
    assert_eq!(server.get("/overview").json()["taskmanagers"], 0);
    *leads.lock().unwrap() = all;
    wait(&server, &job, |found| found.get("stale-since").is_none());
}

#[test]
fn a_job_that_its_cluster_forgot_is_stale_and_the_cluster_is_not() {
    let answers = answers();
    let cluster = cluster(&answers);
    let server = follow(&[format!("http://{}", cluster.address)]);
    let job = format!("/jobs/{JOB}");
    wait_for_job(&server);
    answers.lock().unwrap().insert("/jobs/overview".to_owned(), overview("RUNNING", 100, false));
    wait(&server, &job, |found| found.get("stale-since").is_some());
    assert_eq!(server.get("/overview").json()["taskmanagers"], 1);
}

#[test]
fn a_cluster_is_left_alone_while_nothing_can_be_written_down() {
    let answers = answers();
    let cluster = cluster(&answers);
    let urls = [format!("http://{}", cluster.address)];
    let flink = json!([{"urls": urls, "name": "main", "interval": "1s"}]).to_string();
    let server = Server::with(&[("flink", &flink), ("storage.min_free_bytes", "1000000000000000")]);
    std::thread::sleep(Duration::from_millis(500));
    assert!(cluster.asked().is_empty(), "{:?}", cluster.asked());
    drop(server);
}

#[test]
fn an_answer_of_an_unknown_shape_does_not_stop_the_others() {
    let answers = answers();
    answers
        .lock()
        .unwrap()
        .insert(format!("/jobs/{JOB}/exceptions"), json!({"exceptionHistory": 7, "root-exception": 7}));
    answers.lock().unwrap().insert("/taskmanagers".to_owned(), json!(["no", "objects"]));
    let cluster = cluster(&answers);
    let server = follow(&[format!("http://{}", cluster.address)]);
    wait_for_job(&server);
}

#[test]
fn control_is_sent_on_to_the_cluster_that_the_job_came_from() {
    let answers = answers();
    let trigger = json!({"request-id": "2914a1b6157585829cf985c4118057d2"});
    answers.lock().unwrap().insert(format!("/jobs/{JOB}/savepoints"), trigger.clone());
    answers.lock().unwrap().insert("/jars".to_owned(), json!({"address": "http://c", "files": []}));
    let cluster = cluster(&answers);
    let server = follow(&[format!("http://{}", cluster.address)]);
    wait_for_job(&server);
    let path = format!("/flink/v1//jobs/{}/savepoints/?x=1&cluster=other", JOB.to_uppercase());
    let json = [("content-type", "application/json"), ("authorization", "Bearer nobody's")];
    let refused = server.send("POST", &path, &json, b"{}");
    assert_eq!(refused.status, 401, "a token that is given must be right");
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    let foreign = [("content-type", "application/json"), ("origin", "http://evil.example")];
    assert_eq!(server.send("POST", &path, &foreign, b"{}").status, 403);
    assert!(cluster.asked().iter().all(|asked| !asked.path.contains("savepoints")));
    let answer = server.send("POST", &path, &[("content-type", "application/json")], br#"{"cancel-job":false}"#);
    assert_eq!((answer.status, answer.json()), (200, trigger), "{}", answer.body);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let asked = cluster.asked();
    let sent = asked.iter().find(|asked| asked.path.contains("savepoints")).unwrap();
    assert_eq!(sent.path, format!("/jobs/{JOB}/savepoints?x=1"));
    assert_eq!(sent.header("content-length"), Some("20"));
    assert_eq!(server.get("/jars").json()["files"], json!([]));
    let missing = server.send("DELETE", "/jars/nope.jar", &[], b"");
    assert_eq!(missing.status, 404, "as the cluster says");
    let other = server.get("/jars?cluster=other");
    assert_eq!(other.status, 503);
    assert!(other.json()["errors"][0].as_str().unwrap().contains("other"), "{}", other.body);
}

/// Who starts a job over us asks for it at once.
#[test]
fn a_job_that_is_too_young_to_be_known_is_asked_of_its_cluster() {
    const YOUNG: &str = "000000000000000000000000000000aa";
    let answers = answers();
    answers.lock().unwrap().insert(format!("/jobs/{YOUNG}/status"), json!({"status": "INITIALIZING"}));
    let cluster = cluster(&answers);
    let server = follow(&[format!("http://{}", cluster.address)]);
    wait_for_job(&server);
    let asked = |path: &str| cluster.asked().iter().filter(|asked| asked.path.starts_with(path)).count();
    let status = server.get(&format!("/flink/v1/jobs/{YOUNG}/status?cluster=main"));
    assert_eq!((status.status, status.json()), (200, json!({"status": "INITIALIZING"})), "{}", status.body);
    assert_eq!(status.header("access-control-allow-origin"), Some("*"));
    for path in [format!("/jobs/{YOUNG}/plan"), format!("/jobs/{YOUNG}/status?cluster=other")] {
        let missing = server.get(&path);
        assert_eq!(missing.status, 404, "{path}");
        assert_eq!(missing.json(), json!({"errors": [format!("Job {YOUNG} not found")]}), "in our words");
    }
    let count = asked(&format!("/jobs/{YOUNG}"));
    assert_eq!(server.get(&format!("/jobs/{YOUNG}/status?at=1000")).status, 404, "nobody is asked about the past");
    assert_eq!((count, asked(&format!("/jobs/{YOUNG}"))), (2, 2), "the two that are not confined to another");
    answers.lock().unwrap().clear();
    wait(&server, &format!("/jobs/{JOB}"), |found| found.get("stale-since").is_some());
    let before = asked("/jobs/0000");
    assert_eq!(server.get(&format!("/jobs/{YOUNG}/status")).status, 404);
    assert_eq!(asked("/jobs/0000"), before, "one that is lost is not asked");
}

#[test]
fn where_no_cluster_is_control_is_refused_in_flinks_shape() {
    let server = Server::start();
    let unknown = format!("Job {JOB} not found");
    for (method, path, status, message) in [
        ("POST", format!("/jobs/{JOB}/stop"), 404, unknown.as_str()),
        ("GET", "/jars".to_owned(), 503, "No cluster is followed"),
        ("DELETE", "/cluster".to_owned(), 503, "No cluster is followed"),
    ] {
        let answer = server.send(method, &path, &[], b"");
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        assert!(answer.json()["errors"][0].as_str().unwrap().starts_with(message), "{}", answer.body);
    }
    let small = Server::with(&[("flink", "http://127.0.0.1:1"), ("flink_max_upload_bytes", "4")]);
    let path = "/jars/upload";
    assert_eq!(small.send("POST", path, &[], b"12345").status, 413);
    let fits = small.send("POST", path, &[], b"1234");
    assert_eq!(fits.status, 503, "within the limit, and nobody is there: {}", fits.body);
}

/// Who sends no length is known to be above the limit only on the way.
#[test]
fn an_upload_of_unknown_length_is_bounded_at_n_and_n_plus_1() {
    let patient = Reply { delay: Duration::from_secs(1), ..Reply::json(r#"{"status":"success"}"#) };
    let cluster = Exporter::start(move |_| patient.clone());
    let url = format!("http://{}", cluster.address);
    let server = Server::with(&[("flink", url.as_str()), ("flink_max_upload_bytes", "4")]);
    for (chunk, status) in [("4\r\n1234", "200"), ("5\r\n12345", "413")] {
        let head = "POST /jars/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nTransfer-Encoding: chunked";
        let mut stream = std::net::TcpStream::connect(server.url("").replace("http://", "")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(format!("{head}\r\n\r\n{chunk}\r\n0\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
        assert_eq!(answer.contains("flink_max_upload_bytes = 4"), status == "413", "{answer}");
    }
}

/// Flink 1.9 does not know the method that its own page lists first.
#[test]
fn the_plan_of_a_jar_is_asked_for_by_the_method_that_the_cluster_knows() {
    let cluster = Exporter::start(|asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/jars/a.jar/plan?parallelism=2") => Reply::json(&String::from_utf8_lossy(&asked.body)),
        ("POST", "/jars/b.jar/plan") => Reply::json(r#"{"plan":{}}"#),
        _ => Reply::status(404),
    });
    let server = follow(&[format!("http://{}", cluster.address)]);
    let post = |path: &str, body: &[u8]| server.send("POST", path, &[("content-type", "application/json")], body);
    let answer = post("/jars/a.jar/plan?parallelism=2", br#"{"entryClass":"A"}"#);
    assert_eq!((answer.status, answer.json()), (200, json!({"entryClass": "A"})), "{}", answer.body);
    let answer = post("/jars/b.jar/plan", b"{}");
    assert_eq!((answer.status, answer.json()), (200, json!({"plan": {}})), "{}", answer.body);
    assert_eq!(post("/jars/c.jar/plan", b"").status, 404, "neither is known");
    let body = |bytes: usize| [b"{", " ".repeat(bytes - 2).as_bytes(), b"}"].concat();
    assert_eq!(post("/jars/b.jar/plan", &body(1 << 20)).status, 200);
    assert_eq!(post("/jars/b.jar/plan", &body((1 << 20) + 1)).status, 413);
    let asked = cluster.asked();
    let of_b = |asked: &&Asked| asked.path.starts_with("/jars/b");
    assert!(asked.iter().filter(of_b).all(|asked| asked.method == "POST"), "what is known is asked for once");
}

/// Releases before 1.13 know how much tasks are held back only when someone asks; what they say then is kept.
#[test]
fn back_pressure_is_asked_for_where_it_is_not_measured() {
    let answers = answers();
    let path = format!("/jobs/{JOB}/vertices/{VERTEX}/backpressure");
    let pressure = json!({"status": "ok", "backpressure-level": "high", "end-timestamp": 1, "subtasks": [
        {"subtask": 0, "backpressure-level": "high", "ratio": 0.7},
    ]});
    let cluster = cluster(&answers);
    let server = follow(&[format!("http://{}", cluster.address)]);
    wait_for_job(&server);
    answers.lock().unwrap().insert(path.clone(), pressure);
    assert_eq!(server.get(&path).json()["status"], "deprecated", "2.3 measures it, and has not shown it yet");
    let measured = |asked: &Asked| asked.path == path;
    assert!(!cluster.asked().iter().any(measured));
    answers.lock().unwrap().insert("/overview".to_owned(), json!({"flink-version": "1.9.3", "flink-commit": "c"}));
    let old = follow(&[format!("http://{}", cluster.address)]);
    wait_for_job(&old);
    let answer = old.get(&path).json();
    assert_eq!((&answer["backpressure-level"], &answer["subtasks"][0]["ratio"]), (&json!("high"), &json!(0.7)));
    let at_ms = old.app().clock.now_ms();
    answers.lock().unwrap().remove(&path);
    let kept = old.get(&format!("{path}?at={at_ms}")).json();
    assert_eq!(kept["subtasks"], answer["subtasks"]);
    assert_eq!(cluster.asked().iter().filter(|asked| measured(asked)).count(), 1, "the past is not asked for");
}

/// The page's way to rescale is refused by every release; an adaptive scheduler has another.
#[test]
fn rescaling_is_done_in_the_way_that_the_cluster_knows() {
    let answers = answers();
    let requirements = Arc::new(Mutex::new(None));
    let (known, table) = (Arc::clone(&requirements), Arc::clone(&answers));
    let cluster = Exporter::start(move |asked| {
        let found = |path: &str| table.lock().unwrap().get(path).map(|answer| Reply::json(&answer.to_string()));
        let refused = || Reply { status: 503, ..Reply::json(r#"{"errors":["Rescaling is temporarily disabled."]}"#) };
        let mut known = known.lock().unwrap();
        match (asked.method.as_str(), asked.path.split('?').next().unwrap().rsplit('/').next().unwrap(), &mut *known) {
            ("PATCH", "rescaling", _) => refused(),
            ("GET", "resource-requirements", Some(known)) => Reply::json(&Value::to_string(known)),
            ("PUT", "resource-requirements", Some(known)) => {
                let wanted: Value = serde_json::from_slice(&asked.body).unwrap();
                if wanted[VERTEX]["parallelism"]["upperBound"] == 99 {
                    return Reply { status: 400, ..Reply::json(r#"{"errors":["above the maximum"]}"#) };
                }
                *known = wanted;
                Reply::json("{}")
            }
            ("GET", ..) => found(&asked.path).unwrap_or_else(|| Reply::status(404)),
            _ => Reply::status(404),
        }
    });
    let server = follow(&[format!("http://{}", cluster.address)]);
    wait_for_job(&server);
    let path = format!("/jobs/{JOB}/rescaling");
    let rescale = |parallelism: &str| server.send("PATCH", &format!("{path}?parallelism={parallelism}"), &[], b"");
    let refused = rescale("3");
    assert_eq!((refused.status, &refused.json()["errors"][0]), (503, &json!("Rescaling is temporarily disabled.")));
    let bounds = |lower: u64, upper: u64| json!({VERTEX: {"parallelism": {"lowerBound": lower, "upperBound": upper}}});
    *requirements.lock().unwrap() = Some(bounds(2, 4));
    let done = rescale("1");
    assert_eq!(done.status, 200, "{}", done.body);
    assert_eq!(*requirements.lock().unwrap(), Some(bounds(1, 1)));
    let state = server.get(&format!("{path}/{}", done.json()["request-id"].as_str().unwrap()));
    assert_eq!((state.status, state.json()), (200, json!({"status": {"id": "COMPLETED"}, "operation": {}})));
    assert_eq!(server.get(&format!("{path}/{JOB}")).status, 404, "an id that nobody gave");
    let refused = rescale("99");
    assert_eq!((refused.status, &refused.json()["errors"][0]), (400, &json!("above the maximum")));
    assert_eq!(rescale("0").status, 503, "as the cluster says");
    assert_eq!(*requirements.lock().unwrap(), Some(bounds(1, 1)));
}
