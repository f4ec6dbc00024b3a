//! What Flink's API costs with many jobs: 1,000 jobs of 20 vertices of parallelism 8, with five series for each subtask, asked
//! over HTTP from one client. `cargo bench --bench jobs`; the goals are 20 ms for `/jobs/overview` and 5 ms for the metrics
//! of a vertex's subtasks (medians). With `STREAMGAUGE_FLINK_URL` a real cluster is asked the same of its few jobs.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use model::Labels;
use streamgauge::config::{Layer, resolve};
use streamgauge::ingest::Origin as Source;
use streamgauge::jobs::{
    JobState, Observation, Origin, Plan, PlanNode, Run, Subject, Subtask, Subtasks, TaskState, Vertex,
};
use streamgauge::{App, Running};

const JOBS: u64 = 1000;
const VERTICES: u64 = 20;
const PARALLELISM: u64 = 8;
const METRICS: [&str; 5] =
    ["numRecordsIn", "numRecordsOut", "numBytesIn", "busyTimeMsPerSecond", "backPressuredTimeMsPerSecond"];
/// Requests of each kind; the first tenth is not counted.
const REQUESTS: usize = 200;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data").display().to_string();
    let values = [("data", data.as_str()), ("listen", "127.0.0.1:0"), ("scrape_self", "false"), ("log_level", "warn")];
    let values = values.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let config = resolve(&[Layer { source_name: "bench".to_owned(), values }]).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let app = App::open(config).unwrap();
    let running = runtime.block_on(Running::start(std::sync::Arc::clone(&app))).unwrap();
    let base = format!("http://{}", running.address);

    let started = Instant::now();
    let now_ms = app.clock.now_ms();
    // As many threads as share a commit well.
    std::thread::scope(|scope| {
        for part in 0..8 {
            let app = &app;
            scope.spawn(move || (0..JOBS).filter(|job| job % 8 == part).for_each(|job| record(app, job, now_ms)));
        }
    });
    println!("{JOBS} jobs recorded in {:?}", started.elapsed());
    let started = Instant::now();
    write_samples(&app, now_ms);
    println!("{} series written in {:?}", JOBS * VERTICES * PARALLELISM * METRICS.len() as u64, started.elapsed());

    let vertex = format!("/jobs/{}/vertices/{}", job_id(500), vertex_id(500, 7));
    for path in [
        "/jobs".to_owned(),
        "/jobs/overview".to_owned(),
        format!("/jobs/overview?at={now_ms}"),
        format!("/jobs/{}", job_id(500)),
        vertex.clone(),
        format!("{vertex}/backpressure"),
        format!("{vertex}/subtasks/metrics"),
        format!("{vertex}/subtasks/metrics?get=numRecordsIn,busyTimeMsPerSecond"),
        format!("/api/jobs/{}/diagnosis", job_id(500)),
    ] {
        let (median, bytes) = median(&format!("{base}{path}"));
        println!("{median:>10.2?} {bytes:>9} bytes  {path}");
    }
    if let Ok(url) = std::env::var("STREAMGAUGE_FLINK_URL") {
        beside(&url);
    }
    runtime.block_on(running.stop()).unwrap();
}

/// The same requests to a real cluster, about the first of its jobs that runs.
fn beside(url: &str) {
    let get = |path: &str| -> serde_json::Value {
        let text = ureq::get(&format!("{url}{path}")).call().unwrap().body_mut().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let jobs = get("/jobs");
    let jobs = jobs["jobs"].as_array().unwrap();
    let job = jobs.iter().find(|job| job["status"] == "RUNNING").unwrap()["id"].as_str().unwrap();
    let vertex = get(&format!("/jobs/{job}"))["vertices"][0]["id"].as_str().unwrap().to_owned();
    let vertex = format!("/jobs/{job}/vertices/{vertex}");
    println!("{url} with {} jobs", jobs.len());
    for path in [
        "/jobs".to_owned(),
        "/jobs/overview".to_owned(),
        format!("/jobs/{job}"),
        vertex.clone(),
        format!("{vertex}/backpressure"),
        format!("{vertex}/subtasks/metrics"),
        format!("{vertex}/subtasks/metrics?get=numRecordsOut"),
    ] {
        let (median, bytes) = median(&format!("{url}{path}"));
        println!("{median:>10.2?} {bytes:>9} bytes  {path}");
    }
}

fn job_id(job: u64) -> String {
    format!("{job:032x}")
}

fn vertex_id(job: u64, vertex: u64) -> String {
    format!("{:016x}{job:016x}", vertex + 1)
}

fn record(app: &App, job: u64, now_ms: i64) {
    let began_ms = now_ms - 60_000;
    let mut seen = Observation::new(Subject::job("", job_id(job)), Origin::Push, began_ms);
    let run = Run {
        changed_ms: Some(began_ms),
        state_times: [(JobState::Created, began_ms), (JobState::Running, began_ms + 50)].into(),
        tasks: [(TaskState::Running, VERTICES * PARALLELISM)].into(),
        max_parallelism: Some(128),
        scheduler: Some("Default".to_owned()),
        ..Run::new(format!("job-{}", job % 300), JobState::Running, began_ms)
    };
    seen.put(&run).unwrap();
    let node = |vertex| PlanNode { id: vertex_id(job, vertex), parallelism: 8, ..PlanNode::default() };
    seen.put(&Plan { kind: None, nodes: (0..VERTICES).map(node).collect() }).unwrap();
    for vertex in 0..VERTICES {
        seen.put(&Vertex {
            id: vertex_id(job, vertex),
            name: format!("operator {vertex}"),
            position: vertex,
            parallelism: 8,
            max_parallelism: Some(128),
            slot_sharing_group: None,
            state: TaskState::Running,
            started_ms: Some(began_ms),
            ended_ms: None,
            tasks: [(TaskState::Running, PARALLELISM)].into(),
            totals: None,
        })
        .unwrap();
        let subtasks = (0..PARALLELISM).map(|index| subtask(index, began_ms)).collect();
        seen.put(&Subtasks { vertex: vertex_id(job, vertex), subtasks }).unwrap();
    }
    app.jobs.record(seen).unwrap();
}

fn subtask(index: u64, began_ms: i64) -> Subtask {
    Subtask {
        endpoint: Some(format!("worker-{index}:41000")),
        task_manager: Some(format!("worker-{index}")),
        started_ms: Some(began_ms),
        state_times: BTreeMap::from([(TaskState::Scheduled, began_ms), (TaskState::Running, began_ms + 40)]),
        ..Subtask::new(index, 0, TaskState::Running)
    }
}

fn write_samples(app: &App, now_ms: i64) {
    for job in 0..JOBS {
        let mut batch = app.ingest.batch();
        let id = job_id(job);
        for vertex in 0..VERTICES {
            let task = vertex_id(job, vertex);
            for index in 0..PARALLELISM {
                let subtask = index.to_string();
                for (i, metric) in METRICS.iter().enumerate() {
                    let name = format!("flink_taskmanager_job_task_{metric}");
                    let pairs = [
                        ("__name__", name.as_str()),
                        ("job_id", &id),
                        ("task_id", &task),
                        ("subtask_index", &subtask),
                        ("task_attempt_num", "0"),
                    ];
                    let series = batch.define(None, &Labels::from_pairs(pairs).unwrap()).unwrap();
                    batch.push(series, now_ms, (job + vertex + index) as f64 * i as f64).unwrap();
                }
            }
        }
        app.ingest.commit(Source::Report, batch).unwrap();
    }
}

/// The median time of a request, and the size of its answer.
fn median(url: &str) -> (Duration, usize) {
    let agent = ureq::Agent::new_with_defaults();
    let mut times = Vec::new();
    let mut bytes = 0;
    for _ in 0..REQUESTS {
        let started = Instant::now();
        let body = agent.get(url).call().unwrap().body_mut().read_to_string().unwrap();
        times.push(started.elapsed());
        bytes = body.len();
    }
    let mut counted = times.split_off(REQUESTS / 10);
    counted.sort_unstable();
    (counted[counted.len() / 2], bytes)
}
