//! What real clusters answered, taken in and asked again: every field is there with its type, and what does not move has
//! its value. The recordings are not part of the project; the variable names the folder that has `golden-1.9` and `golden`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use streamgauge::flink::convert;
use streamgauge::jobs::{MetricNames, Observation, Origin, Subject, Vertex};

use crate::exporter::{Exporter, Reply};
use crate::support::Server;

/// The folder with recordings.
const VARIABLE: &str = "STREAMGAUGE_FLINK_GOLDENS";

/// Fields whose values move with the clock of who asks, or with the numbers of tasks that run: the recordings of one cluster
/// were made one after the other. Below them only fields and types are compared.
const MOVING: [&str; 18] = [
    "now",
    "end-timestamp",
    "duration",
    "timeSinceLastHeartbeat",
    "read-bytes",
    "write-bytes",
    "read-records",
    "write-records",
    "read-bytes-complete",
    "write-bytes-complete",
    "read-records-complete",
    "write-records-complete",
    "accumulated-backpressured-time",
    "accumulated-idle-time",
    "accumulated-busy-time",
    "status-duration",
    "aggregated",
    "metrics",
];

/// The id of an execution, which no other answer has: we make one up.
fn is_execution_id(at: &str) -> bool {
    at.contains("/attempts/") && at.ends_with("/accumulators.id")
}

/// Recorded answers by path.
pub(super) struct Recording {
    answers: BTreeMap<String, (u16, Value)>,
    at_ms: i64,
}

impl Recording {
    /// A file of a release's.
    pub(super) fn json(release: &str, file: &str) -> Value {
        let path = folder(release).join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// A path of the index with the ids that were recorded.
    pub(super) fn with_ids(index: &Value, path: &str) -> String {
        let ids = index["ids"].as_object().unwrap();
        ids.iter().fold(path.to_owned(), |path, (name, id)| {
            path.replace(&format!("{{{name}}}"), id.as_str().unwrap_or_default())
        })
    }

    fn read(release: &str) -> Recording {
        let index = Recording::json(release, "index.json");
        let mut answers = BTreeMap::new();
        for request in index["requests"].as_array().unwrap() {
            let (method, file) =
                (request["method"].as_str().unwrap_or_default(), request["file"].as_str().unwrap_or_default());
            if method != "GET" || !file.ends_with(".json") || file.contains("empty_") {
                continue;
            }
            let path = Recording::with_ids(&index, request["path"].as_str().unwrap());
            answers.insert(path, (request["status"].as_u64().unwrap() as u16, Recording::json(release, file)));
        }
        let at_ms = answers.values().filter_map(|(_, answer)| answer["now"].as_i64()).max().unwrap();
        Recording { answers, at_ms }
    }

    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        self.answers.get(path).filter(|(status, _)| *status == 200).map(|(_, answer)| answer)
    }

    /// Takes all in, as a collector does.
    fn record(&self, server: &Server) {
        let app = server.app();
        let get = |path: &str| self.get(path).unwrap_or_else(|| panic!("no recording of {path}"));
        let mut cluster = Observation::new(Subject::cluster("", "main"), Origin::Flink, self.at_ms);
        cluster.put(&convert::cluster(get("/config"), get("/overview"), get("/jobmanager/config")).unwrap()).unwrap();
        for manager in convert::task_managers(get("/taskmanagers")).unwrap() {
            let details = self.get(&format!("/taskmanagers/{}", manager.id));
            cluster.put(&details.map_or(manager, |answer| convert::task_manager(answer).unwrap())).unwrap();
        }
        app.jobs.record(cluster).unwrap();
        for entry in convert::job_entries(get("/jobs/overview")).unwrap().entries {
            let mut seen = Observation::new(Subject::job("", &entry.id), Origin::Flink, self.at_ms).in_cluster("main");
            let moving = self.job(&mut seen, &entry);
            app.jobs.record(seen).unwrap();
            self.report(server, &entry.id, &moving);
        }
    }

    fn job(&self, seen: &mut Observation, entry: &convert::JobEntry) -> Vec<convert::Moving> {
        let mut moving = Vec::new();
        let base = format!("/jobs/{}", entry.id);
        let mut job = match self.get(&base) {
            Some(details) => convert::job(details, entry).unwrap(),
            None => convert::job(&self.in_short(&entry.id), entry).unwrap(),
        };
        if let Some(answer) = self.get(&format!("{base}/exceptions")) {
            let failures = convert::failures(answer).unwrap();
            job.run.are_failures_truncated = failures.is_truncated;
            failures.failures.iter().for_each(|failure| seen.put(failure).unwrap());
        }
        seen.put(&job.run).unwrap();
        seen.put(&job.plan).unwrap();
        if let Some(answer) = self.get(&format!("{base}/config")) {
            seen.put(&convert::settings(answer).unwrap()).unwrap();
        }
        if let Some(outcome) = self.get(&format!("{base}/execution-result")).and_then(|a| convert::outcome(a).unwrap())
        {
            seen.put(&outcome).unwrap();
        }
        self.checkpoints(seen, &base);
        if let Some(answer) = self.get(&format!("{base}/accumulators")) {
            seen.put(&convert::accumulators(answer, "", None, false).unwrap().0).unwrap();
        }
        for vertex in &job.vertices {
            seen.put(vertex).unwrap();
            let path = format!("{base}/vertices/{}", vertex.id);
            moving.extend(self.vertex(seen, &path, vertex));
            let shown = self.get(&base).and_then(|details| details["vertices"].as_array());
            let shown = shown.and_then(|all| all.iter().find(|shown| shown["id"] == vertex.id.as_str()));
            if let (None, Some(shown)) = (self.get(&path), shown) {
                moving.extend(alone(seen, shown));
            }
        }
        moving
    }

    /// A job whose details were not recorded, as the list of all has it.
    fn in_short(&self, id: &str) -> Value {
        let all = self.get("/jobs/overview").unwrap()["jobs"].as_array().unwrap();
        let mut job = all.iter().find(|job| job["jid"] == id).unwrap().clone();
        job["timestamps"] = json!({});
        job["vertices"] = json!([]);
        job["plan"] = json!({"nodes": []});
        job
    }

    /// The numbers of tasks that run, as the cluster's reporter has them.
    fn report(&self, server: &Server, job: &str, moving: &[convert::Moving]) {
        let mut metrics = Vec::new();
        for task in moving {
            let (index, attempt) = (task.subtask.to_string(), task.attempt.to_string());
            let labels =
                json!({"job_id": job, "task_id": task.vertex, "subtask_index": index, "task_attempt_num": attempt});
            let timestamp = streamgauge::report::timestamp::format(self.at_ms - 1000);
            metrics.extend(task.samples().into_iter().map(|(name, value)| {
                json!({
                    "metric_name": name, "metric_type": "gauge", "metric_value": value, "labels": labels,
                    "timestamp": timestamp,
                })
            }));
        }
        if !metrics.is_empty() {
            let body = json!({"component_name": "reporter", "metrics": metrics});
            let answer = server.post_json("/api/metrics/report", &body);
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    }

    fn checkpoints(&self, seen: &mut Observation, base: &str) {
        if let Some(answer) = self.get(&format!("{base}/checkpoints/config")) {
            seen.put(&convert::checkpoint_settings(answer).unwrap()).unwrap();
        }
        let Some(answer) = self.get(&format!("{base}/checkpoints")) else { return };
        let (statistics, checkpoints) = convert::checkpoints(answer).unwrap();
        seen.put(&statistics).unwrap();
        for checkpoint in checkpoints {
            let details = format!("{base}/checkpoints/details/{}", checkpoint.id);
            let full = self.get(&details).map_or(checkpoint, |answer| convert::checkpoint(answer).unwrap());
            for vertex in full.tasks.keys() {
                if let Some(answer) = self.get(&format!("{details}/subtasks/{vertex}")) {
                    seen.put(&convert::checkpoint_subtasks(answer, vertex).unwrap()).unwrap();
                }
            }
            seen.put(&full).unwrap();
        }
    }

    fn vertex(&self, seen: &mut Observation, base: &str, vertex: &Vertex) -> Vec<convert::Moving> {
        let (id, mut moving) = (vertex.id.as_str(), Vec::new());
        let times = self.get(&format!("{base}/subtasktimes")).map(|answer| convert::vertex_times(answer).unwrap());
        if let Some(answer) = self.get(base) {
            let (subtasks, numbers) = convert::subtasks(answer, &times.unwrap_or_default()).unwrap();
            for subtask in &subtasks.subtasks {
                for attempt in 0..subtask.attempt {
                    let path = format!("{base}/subtasks/{}/attempts/{attempt}", subtask.index);
                    if let Some(answer) = self.get(&path) {
                        seen.put(&convert::attempt(answer, id).unwrap()).unwrap();
                    }
                }
            }
            seen.put(&subtasks).unwrap();
            moving = numbers;
        }
        if let Some(answer) = self.get(&format!("{base}/accumulators")) {
            seen.put(&convert::accumulators(answer, id, None, false).unwrap().0).unwrap();
        }
        if let Some(answer) = self.get(&format!("{base}/subtasks/accumulators")) {
            for (index, subtask) in (0..).zip(answer["subtasks"].as_array().unwrap()) {
                seen.put(&convert::accumulators(subtask, id, Some(index), false).unwrap().0).unwrap();
            }
        }
        moving
    }
}

/// Of a vertex whose details were not recorded: one subtask stands for all.
fn alone(seen: &mut Observation, shown: &Value) -> Vec<convert::Moving> {
    let mut one = shown.clone();
    one["subtask"] = 0.into();
    one["attempt"] = 0.into();
    let answer = json!({"id": shown["id"], "subtasks": [one]});
    let (subtasks, moving) = convert::subtasks(&answer, &convert::VertexTimes::default()).unwrap();
    seen.put(&subtasks).unwrap();
    moving
}

/// Where an answer departs from the recorded one. Of what moves only fields and types are compared.
pub(super) fn compare(recorded: &Value, found: &Value, at: &str, is_moving: bool, faults: &mut Vec<String>) {
    let name = at.rsplit('.').next().unwrap_or_default();
    let is_moving = is_moving || MOVING.contains(&name) || is_execution_id(at);
    match (recorded, found) {
        (Value::Object(recorded), Value::Object(found)) => {
            for (key, value) in recorded {
                match found.get(key) {
                    Some(other) => compare(value, other, &format!("{at}.{key}"), is_moving, faults),
                    None => faults.push(format!("{at}.{key}: missing")),
                }
            }
        }
        (Value::Array(recorded), Value::Array(found)) => {
            if recorded.len() != found.len() && !is_moving {
                faults.push(format!("{at}: {} elements, recorded {}", found.len(), recorded.len()));
            }
            for (i, one) in recorded.iter().enumerate() {
                if let Some(other) = counterpart(one, i, found) {
                    compare(one, other, &format!("{at}.{i}"), is_moving, faults);
                }
            }
        }
        (recorded, found) if std::mem::discriminant(recorded) != std::mem::discriminant(found) => {
            faults.push(format!("{at}: {found}, recorded {recorded}"));
        }
        (Value::Number(recorded), Value::Number(found)) if recorded.is_f64() != found.is_f64() => {
            faults.push(format!("{at}: {found}, recorded {recorded}: another kind of number"));
        }
        (recorded, found) if recorded != found && !is_moving => {
            faults.push(format!("{at}: {found}, recorded {recorded}"));
        }
        _ => {}
    }
}

/// Jobs come in no order; everything else has its place.
fn counterpart<'a>(one: &Value, i: usize, found: &'a [Value]) -> Option<&'a Value> {
    let id = |value: &Value| value.get("jid").or(value.get("id").filter(|id| id.is_string())).cloned();
    match id(one) {
        Some(own) => found.iter().find(|other| id(other).as_ref() == Some(&own)),
        None => found.get(i),
    }
}

/// Paths of which nothing can be compared here, and why: metrics need the series of the cluster, which a recording of
/// answers does not have; control and jars need a cluster; of the job with `maxExceptions` nothing else was recorded.
fn is_beyond(path: &str) -> bool {
    ["metrics", "/jars", "/savepoint", "backpressure", "watermarks", "flamegraph", "/rescales", "resource-requirements"]
        .iter()
        .chain(&["/applications", "/datasets", "/logs", "jobmanager/config", "includeSerializedValue", "maxExceptions"])
        .any(|part| path.contains(part))
}

/// The folder of a release.
fn folder(release: &str) -> PathBuf {
    let all = std::env::var(VARIABLE).unwrap_or_else(|_| panic!("{VARIABLE} names no folder"));
    Path::new(&all).join(release)
}

pub(super) fn recording(release: &str) -> Recording {
    Recording::read(release)
}

/// Asks for everything that was recorded, as of a time if one is given; gives what departs from it.
fn departures(recording: &Recording, server: &Server, at_ms: Option<i64>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut asked = 0;
    for (path, (status, recorded)) in recording.answers.iter().filter(|(path, _)| !is_beyond(path)) {
        let separator = if path.contains('?') { '&' } else { '?' };
        let at = at_ms.map(|at_ms| format!("{separator}at={at_ms}")).unwrap_or_default();
        let answer = server.get(&format!("{path}{at}"));
        asked += 1;
        if answer.status != *status {
            faults.push(format!("{path}: status {}, recorded {status}", answer.status));
        } else if *status == 200 {
            compare(recorded, &answer.json(), path, false, &mut faults);
        }
    }
    assert!(asked > 30, "{asked} paths asked");
    faults
}

fn check(release: &str) {
    let recording = recording(release);
    let server = Server::start();
    recording.record(&server);
    let faults = departures(&recording, &server, Some(recording.at_ms));
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

impl Recording {
    /// What a cluster answers that was not recorded: details of jobs and vertices, as far as others tell of them.
    pub(super) fn completed(&self) -> BTreeMap<String, Value> {
        let mut all: BTreeMap<String, Value> = self
            .answers
            .iter()
            .filter(|(_, (status, _))| *status == 200)
            .map(|(p, (_, a))| (p.clone(), a.clone()))
            .collect();
        for job in self.get("/jobs/overview").unwrap()["jobs"].as_array().unwrap() {
            let id = job["jid"].as_str().unwrap();
            let details = all.entry(format!("/jobs/{id}")).or_insert_with(|| self.in_short(id)).clone();
            for vertex in details["vertices"].as_array().unwrap() {
                let mut one = vertex.clone();
                one["subtask"] = 0.into();
                one["attempt"] = 0.into();
                let path = format!("/jobs/{id}/vertices/{}", vertex["id"].as_str().unwrap());
                all.entry(path).or_insert_with(|| json!({"id": vertex["id"], "subtasks": [one]}));
            }
        }
        all
    }
}

/// The same through the collector; and once more when the cluster is gone and the server was started again.
fn follow(release: &str) {
    let recording = recording(release);
    let (answers, is_up) = (recording.completed(), Arc::new(AtomicBool::new(true)));
    let up = Arc::clone(&is_up);
    let cluster = Exporter::start(move |asked| match answers.get(&asked.path).filter(|_| up.load(Ordering::SeqCst)) {
        Some(answer) => Reply::json(&answer.to_string()),
        None => Reply::status(404),
    });
    let url = format!("http://{}", cluster.address);
    let settings = json!([{"urls": [url], "name": "main", "metrics": "rest", "interval": "1s"}]);
    let server = Server::with(&[("flink", &settings.to_string())]);
    let deadline = Instant::now() + Duration::from_secs(30);
    // Until a job is in the store its cluster answers, and that would tell nothing.
    let count = |answer: &Value| answer["jobs"].as_array().map_or(0, Vec::len);
    let jobs = count(recording.get("/jobs/overview").unwrap());
    while count(&server.get("/jobs/overview").json()) < jobs {
        assert!(Instant::now() < deadline, "not all {jobs} jobs are known");
        std::thread::sleep(Duration::from_millis(50));
    }
    loop {
        let faults = departures(&recording, &server, None);
        if faults.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{} faults:\n{}", faults.len(), faults.join("\n"));
        std::thread::sleep(Duration::from_millis(500));
    }
    let at_ms = server.app().clock.now_ms();
    is_up.store(false, Ordering::SeqCst);
    while server.get("/jobs/overview").json()["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .all(|job| job.get("stale-since").is_none())
    {
        assert!(Instant::now() < deadline + Duration::from_secs(30), "the cluster is not lost");
        std::thread::sleep(Duration::from_millis(200));
    }
    let since = |server: &Server| -> Vec<Value> {
        let overview = server.get("/jobs/overview").json();
        overview["jobs"].as_array().unwrap().iter().filter_map(|job| job.get("stale-since").cloned()).collect()
    };
    let (stale_since, config) = (since(&server), server.get("/config").json());
    let server = server.restart();
    // Longer than it takes to find that the cluster is still gone.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!((since(&server), server.get("/config").json()), (stale_since, config));
    let faults = departures(&recording, &server, Some(at_ms));
    assert!(faults.is_empty(), "{} faults after the end of the cluster:\n{}", faults.len(), faults.join("\n"));
}

/// Ends of the ids that a Prometheus reporter leaves out of histograms.
const NOT_SCRAPED: [&str; 5] = ["_min", "_max", "_mean", "_stddev", "_p90"];

impl Recording {
    /// The lists of metric ids, as a collector keeps them.
    fn record_names(&self, server: &Server) {
        let names = |of: &str, path: &str| {
            let listed = self.get(path)?.as_array()?.iter().filter_map(|one| Some(one["id"].as_str()?.to_owned()));
            Some(MetricNames { of: of.to_owned(), names: listed.collect() })
        };
        let mut cluster = Observation::new(Subject::cluster("", "main"), Origin::Flink, self.at_ms);
        cluster.put(&names("", "/jobmanager/metrics").unwrap()).unwrap();
        cluster.put(&names("taskmanagers", "/taskmanagers/metrics").unwrap()).unwrap();
        server.app().jobs.record(cluster).unwrap();
        for entry in convert::job_entries(self.get("/jobs/overview").unwrap()).unwrap().entries {
            let base = format!("/jobs/{}", entry.id);
            let mut seen = Observation::new(Subject::job("", &entry.id), Origin::Flink, self.at_ms);
            let of_job = names("", &format!("{base}/metrics"));
            let vertices = self.get(&base).and_then(|job| job["vertices"].as_array()).into_iter().flatten();
            let of_vertices = vertices.filter_map(|vertex| {
                let id = vertex["id"].as_str()?;
                names(id, &format!("{base}/vertices/{id}/subtasks/metrics"))
            });
            of_job.into_iter().chain(of_vertices).for_each(|names| seen.put(&names).unwrap());
            server.app().jobs.record(seen).unwrap();
        }
    }
}

/// The ids of a list of metrics, those left out that no reporter has.
fn ids(answer: &Value) -> Vec<String> {
    let ids = answer.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned());
    let mut ids: Vec<String> = ids.filter(|id| !NOT_SCRAPED.iter().any(|end| id.ends_with(end))).collect();
    ids.sort();
    ids
}

/// What the cluster's reporters showed in the same minute answers the same requests for metrics: the same ids, and of
/// each the same fields of the same types.
#[test]
#[ignore = "needs recordings of clusters"]
fn metrics_of_2_3_are_answered_from_what_its_reporters_showed() {
    let recording = recording("golden");
    let exporters = ["prometheus_jobmanager.prom", "prometheus_taskmanager.prom"].map(|file| {
        let text = std::fs::read_to_string(folder("golden").join(file)).unwrap();
        Exporter::start(move |_| Reply::text(&text))
    });
    let targets = exporters.each_ref().map(|exporter| format!("'{}'", exporter.address)).join(", ");
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: flink\n  static_configs: \
         [{{targets: [{targets}]}}]\n"
    );
    std::fs::write(&config, text).unwrap();
    let server = Server::with(&[("scrape_config", &config.display().to_string())]);
    recording.record(&server);
    recording.record_names(&server);
    let paths: Vec<&String> = recording.answers.keys().filter(|path| path.contains("/metrics")).collect();
    assert!(paths.len() > 15, "{paths:?}");
    let departures = || {
        let mut faults = Vec::new();
        for path in &paths {
            let (recorded, answer) = (recording.get(path).unwrap(), server.get(path));
            if answer.status != 200 || ids(recorded) != ids(&answer.json()) {
                faults.push(format!("{path}: {} {}\n  recorded {recorded}", answer.status, answer.body));
            } else {
                compare(recorded, &answer.json(), path, true, &mut faults);
            }
        }
        faults
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let faults = departures();
        if faults.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{} faults:\n{}", faults.len(), faults.join("\n"));
        std::thread::sleep(Duration::from_millis(500));
    }
    let job = recording.answers.keys().find(|path| path.ends_with("lastCheckpointExternalPath")).unwrap();
    let shown = server.get(job).json();
    let path = shown.as_array().unwrap().iter().find(|one| one["id"] == "lastCheckpointExternalPath").unwrap();
    assert!(path["value"].as_str().unwrap().starts_with("file:/"), "a text, and not the 0 that a reporter makes of it");
}

#[test]
#[ignore = "needs recordings of clusters"]
fn a_cluster_of_1_9_is_answered_as_it_answered() {
    check("golden-1.9");
}

#[test]
#[ignore = "needs recordings of clusters"]
fn a_cluster_of_2_3_is_answered_as_it_answered() {
    check("golden");
}

#[test]
#[ignore = "needs recordings of clusters"]
fn a_cluster_of_1_9_is_followed_and_outlived() {
    follow("golden-1.9");
}

#[test]
#[ignore = "needs recordings of clusters"]
fn a_cluster_of_2_3_is_followed_and_outlived() {
    follow("golden");
}

/// The samples of a scrape, as reports of one moment.
fn reported(text: &str, at_ms: i64) -> Vec<Value> {
    let timestamp = streamgauge::report::timestamp::format(at_ms);
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{')?;
        // No label of these has a comma or a quote in its value.
        let pairs = labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
        let labels: BTreeMap<&str, &str> = pairs.map(|(name, value)| (name, value.trim_matches('"'))).collect();
        let value: f64 = value.parse().ok()?;
        let is_of_task = name.starts_with("flink_taskmanager_job_task_") && value.is_finite();
        is_of_task.then(|| {
            json!({
                "metric_name": name, "metric_type": "gauge", "metric_value": value, "labels": labels,
                "timestamp": timestamp,
            })
        })
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

/// The demo job is held up by the hot subtask of `score`, the flaky one by nobody, and the batch job has ended.
#[test]
#[ignore = "needs recordings of clusters"]
fn what_a_cluster_of_2_3_showed_is_judged() {
    let recording = recording("golden");
    let folder = std::env::var(VARIABLE).unwrap();
    let text = std::fs::read_to_string(Path::new(&folder).join("golden/prometheus_taskmanager.prom")).unwrap();
    let server = Server::start();
    recording.record(&server);
    let metrics = reported(&text, recording.at_ms - 1000);
    assert!(metrics.len() > 500, "{} samples", metrics.len());
    for part in metrics.chunks(500) {
        let answer = server.post_json("/api/metrics/report", &json!({"component_name": "reporter", "metrics": part}));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let jobs = recording.get("/jobs/overview").unwrap()["jobs"].as_array().unwrap();
    let diagnosis = |name: &str| {
        let id = jobs.iter().find(|job| job["name"] == name).unwrap()["jid"].as_str().unwrap();
        server.get(&format!("/api/jobs/{id}/diagnosis?at={}", recording.at_ms)).json()
    };
    let found = diagnosis("demo-stream");
    let one = &found["bottleneck"];
    assert_eq!((&one["operator"]["name"], &one["subtasks"]), (&json!("score"), &json!([0])), "{found:#}");
    let sentence = found["sentence"].as_str().unwrap();
    let expected = "`score` is the bottleneck: its subtask 0 is busy 99.6 % of the time, the other 10.9 %, and `Source: orders -> \
                    parse`, which feeds it, waits 96.7 % of its time for room to send. Subtask 0 gets 6.46 times as many records";
    assert!(sentence.starts_with(expected), "{sentence}");
    let finding =
        |kind: &str| found["findings"].as_array().unwrap().iter().find(|finding| finding["kind"] == kind).unwrap();
    let checkpoints = finding("slow_checkpoints")["sentence"].as_str().unwrap();
    assert!(checkpoints.contains("passed before the first barrier reached subtask 0 of `score`"), "{checkpoints}");
    let lag = finding("watermark_lag");
    assert_eq!(lag["operator"]["name"], "score", "where event time is lost: {found:#}");
    assert_eq!(diagnosis("demo-flaky")["verdict"], "none");
    let batch = diagnosis("demo-batch");
    assert_eq!(batch["verdict"], "not_running", "{batch:#}");
}
