//! What holds a job up, over jobs whose documents are put in here and whose numbers are reported: Flink's, Arroyo's, and
//! plain ones.

mod compare;
mod pushed;

use serde_json::{Value, json};
use streamgauge::jobs::{
    Edge, JobState, Observation, Origin, Plan, PlanNode, Run, Subject, Subtask, Subtasks, TaskState, Vertex,
};

use crate::support::Server;

/// An operator of a job: its name, who feeds it, and what each subtask reads of each metric.
pub(super) struct Op {
    name: &'static str,
    inputs: &'static [usize],
    metrics: Vec<(&'static str, Vec<f64>)>,
}

pub(super) fn op(name: &'static str, inputs: &'static [usize]) -> Op {
    Op { name, inputs, metrics: Vec::new() }
}

impl Op {
    fn reads(mut self, metric: &'static str, values: &[f64]) -> Op {
        self.metrics.push((metric, values.to_vec()));
        self
    }

    /// As Flink's reporter tells it: milliseconds per second at work and waiting for room, and records per second.
    pub(super) fn flink(self, busy: &[f64], held: &[f64], records: &[f64]) -> Op {
        let given = if self.inputs.is_empty() { "numRecordsOutPerSecond" } else { "numRecordsInPerSecond" };
        self.reads("busyTimeMsPerSecond", busy).reads("backPressuredTimeMsPerSecond", held).reads(given, records)
    }

    fn parallelism(&self) -> usize {
        self.metrics.iter().map(|(_, values)| values.len()).max().unwrap_or(1)
    }
}

pub(super) fn run(name: &str, state: JobState, started_ms: i64, ended_ms: Option<i64>) -> Run {
    let mut state_times = std::collections::BTreeMap::from([(JobState::Running, started_ms)]);
    state_times.extend(ended_ms.map(|ended_ms| (state, ended_ms)));
    Run { ended_ms, state_times, ..Run::new(name, state, started_ms) }
}

fn subtask(index: u64, attempt: u64, started_ms: i64) -> Subtask {
    Subtask {
        task_manager: Some(format!("tm-{index}")),
        started_ms: Some(started_ms),
        ..Subtask::new(index, attempt, TaskState::Running)
    }
}

/// The id of an operator.
fn id(place: usize) -> String {
    format!("{place:032x}")
}

/// The documents of a job that runs since a time.
pub(super) fn observe(server: &Server, job: &str, name: &str, ops: &[Op], at_ms: i64) {
    let mut seen = Observation::new(Subject::job("", job), Origin::Push, at_ms);
    seen.put(&run(name, JobState::Running, at_ms, None)).unwrap();
    let node = |(place, op): (usize, &Op)| PlanNode {
        id: id(place),
        parallelism: op.parallelism() as i64,
        inputs: op.inputs.iter().map(|input| Edge { from: id(*input), ..Edge::default() }).collect(),
        ..PlanNode::default()
    };
    seen.put(&Plan { kind: None, nodes: ops.iter().enumerate().map(node).collect() }).unwrap();
    for (place, op) in ops.iter().enumerate() {
        let vertex = Vertex {
            id: id(place),
            name: op.name.to_owned(),
            position: place as u64,
            parallelism: op.parallelism() as i64,
            max_parallelism: Some(128),
            slot_sharing_group: None,
            state: TaskState::Running,
            started_ms: Some(at_ms),
            ended_ms: None,
            tasks: [(TaskState::Running, op.parallelism() as u64)].into(),
            totals: None,
        };
        seen.put(&vertex).unwrap();
        let subtasks = (0..op.parallelism() as u64).map(|index| subtask(index, 0, at_ms)).collect();
        seen.put(&Subtasks { vertex: id(place), subtasks }).unwrap();
    }
    server.app().jobs.record(seen).unwrap();
}

/// Reports what the operators read, at a time, with the names and labels of an engine.
pub(super) fn report(server: &Server, job: &str, ops: &[Op], engine: Engine, at_ms: i64) {
    let timestamp = streamgauge::report::timestamp::format(at_ms);
    let mut metrics = Vec::new();
    for (place, op) in ops.iter().enumerate() {
        for (metric, values) in &op.metrics {
            for (index, value) in values.iter().enumerate() {
                let (name, labels) = engine.named(job, metric, &id(place), index);
                metrics.push(json!({
                    "metric_name": name, "metric_type": "gauge", "metric_value": value, "labels": labels,
                    "timestamp": timestamp,
                }));
            }
        }
    }
    let answer = server.post_json("/api/metrics/report", &json!({"component_name": "engine", "metrics": metrics}));
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Whose names metrics have.
#[derive(Clone, Copy)]
pub(super) enum Engine {
    Flink,
    Arroyo,
    Plain,
}

impl Engine {
    fn named(self, job: &str, metric: &str, operator: &str, index: usize) -> (String, Value) {
        let index = index.to_string();
        match self {
            Engine::Flink => (
                format!("flink_taskmanager_job_task_{metric}"),
                json!({"job_id": job, "task_id": operator, "subtask_index": index, "task_attempt_num": "0"}),
            ),
            Engine::Arroyo => (
                format!("arroyo_worker_{metric}"),
                json!({"job_id": job, "node_id": operator, "subtask_idx": index, "connection_id": "0"}),
            ),
            Engine::Plain => {
                (format!("etl_{metric}"), json!({"job_id": job, "operator_id": operator, "subtask_index": index}))
            }
        }
    }
}

const JOB: &str = "0d890d9d32ccfa02b7eab50fa0435103";

/// A job with these operators, whose numbers were reported a few times in the last minute.
fn serve(ops: &[Op], engine: Engine) -> (Server, i64) {
    let server = Server::start();
    let now_ms = server.app().clock.now_ms();
    observe(&server, JOB, "demo", ops, now_ms - 600_000);
    for before_ms in [61_000, 31_000, 1_000] {
        report(&server, JOB, ops, engine, now_ms - before_ms);
    }
    (server, now_ms)
}

fn diagnosis(server: &Server, query: &str) -> Value {
    let answer = server.get(&format!("/api/jobs/{JOB}/diagnosis{query}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// The verdict, the operator by its name, and its subtasks.
fn verdict(found: &Value) -> (String, Value, Value) {
    let one = &found["bottleneck"];
    let word = found["verdict"].as_str().unwrap().to_owned();
    (word, one["operator"]["name"].clone(), one["subtasks"].clone())
}

fn is_bottleneck(found: &Value, name: &str, subtasks: &Value) {
    assert_eq!(verdict(found), ("bottleneck".to_owned(), json!(name), subtasks.clone()), "{found:#}");
    let sentence = found["sentence"].as_str().unwrap();
    assert!(sentence.starts_with(&format!("`{name}` is the bottleneck: ")), "{sentence}");
}

/// The demo job, with the numbers that a real cluster showed.
fn demo() -> Vec<Op> {
    vec![
        op("Source: orders -> parse", &[]).flink(&[0.0, 0.0], &[967.0, 965.0], &[514.3, 514.1]),
        op("score", &[0]).flink(&[996.0, 109.0], &[0.0, 0.0], &[652.8, 101.0]),
        op("totals -> blackhole: Writer", &[1]).flink(&[0.0, 0.0], &[0.0, 0.0], &[652.7, 74.4]),
    ]
}

#[test]
fn every_reading_can_be_asked_for_again() {
    let (server, _) = serve(&demo(), Engine::Flink);
    let found = diagnosis(&server, "");
    is_bottleneck(&found, "score", &json!([0]));
    assert!(found["sentence"].as_str().unwrap().contains("Subtask 0 gets 6.46 times as many records as the other"));
    let evidence = found["findings"][0]["evidence"].as_array().unwrap();
    assert!(evidence.len() >= 6, "{evidence:#?}");
    let seconds = found["at"].as_f64().unwrap() / 1000.0;
    for item in evidence {
        let expression = item["expression"].as_str().unwrap();
        let form = [("query", expression), ("time", &seconds.to_string())];
        let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", url_encoded(value))).collect();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = server.send("POST", "/api/v1/query", &headers, body.join("&").as_bytes()).json();
        let result = answer["data"]["result"].as_array().unwrap();
        assert_eq!(result.len(), 1, "{expression}: {answer}");
        let value: f64 = result[0]["value"][1].as_str().unwrap().parse().unwrap();
        assert_eq!(json!(value), item["value"], "{expression}");
    }
}

fn url_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn topologies_whose_answer_is_known() {
    let even = |value: f64| vec![value; 4];
    let slow_source = [
        op("kafka", &[]).flink(&even(985.0), &even(0.0), &even(90.0)),
        op("map", &[0]).flink(&even(40.0), &even(0.0), &even(90.0)),
        op("sink", &[1]).flink(&even(20.0), &even(0.0), &even(90.0)),
    ];
    let (server, _) = serve(&slow_source, Engine::Flink);
    let found = diagnosis(&server, "");
    is_bottleneck(&found, "kafka", &json!([]));
    assert!(found["sentence"].as_str().unwrap().contains("nobody holds it up: what limits the job is its own work"));

    let slow_sink = [
        op("kafka", &[]).flink(&even(30.0), &even(940.0), &even(90.0)),
        op("map", &[0]).flink(&even(100.0), &even(880.0), &even(90.0)),
        op("sink", &[1]).flink(&even(990.0), &even(0.0), &even(90.0)),
    ];
    let (server, _) = serve(&slow_sink, Engine::Flink);
    let found = diagnosis(&server, "");
    is_bottleneck(&found, "sink", &json!([]));
    assert!(
        found["sentence"]
            .as_str()
            .unwrap()
            .ends_with("write in larger batches, or look at the system that it writes to.")
    );

    let skewed_join = [
        op("left", &[]).flink(&even(50.0), &even(900.0), &even(300.0)),
        op("right", &[]).flink(&even(50.0), &even(600.0), &even(100.0)),
        op("join", &[0, 1]).flink(&[180.0, 210.0, 1000.0, 190.0], &even(0.0), &[170.0, 190.0, 1060.0, 180.0]),
        op("sink", &[2]).flink(&even(80.0), &even(0.0), &even(200.0)),
    ];
    let (server, _) = serve(&skewed_join, Engine::Flink);
    let found = diagnosis(&server, "");
    is_bottleneck(&found, "join", &json!([2]));
    let sentence = found["sentence"].as_str().unwrap();
    assert!(
        sentence.contains("`left`, which feeds it, waits 90 % of its time") && sentence.contains("and `right`,"),
        "{sentence}"
    );
}

#[test]
fn an_idle_job_and_one_that_waits_for_its_input_have_no_bottleneck() {
    let idle = [
        op("orders", &[]).flink(&[0.0], &[0.0], &[113.5]),
        op("score", &[0]).flink(&[0.0], &[0.0], &[113.5]),
        op("totals", &[1]).flink(&[0.0], &[0.0], &[113.2]),
    ];
    let (server, _) = serve(&idle, Engine::Flink);
    let found = diagnosis(&server, "");
    assert_eq!(verdict(&found), ("none".to_owned(), Value::Null, Value::Null), "{found:#}");
    let expected = "No operator is a bottleneck: nobody waits for room to send, and the busiest, `orders`, is busy 0 % of the \
                    time. The job is all but idle: it waits for input.";
    assert_eq!((&found["sentence"], &found["findings"]), (&json!(expected), &json!([])));
}

#[test]
fn other_engines_are_read_by_what_they_have() {
    let queue = |rest: f64| ("tx_queue_rem", vec![rest, rest]);
    let with = |name, inputs, rest: f64| {
        let (metric, values) = queue(rest);
        op(name, inputs).reads(metric, &values).reads("tx_queue_size", &[100.0, 100.0])
    };
    let arroyo =
        [with("source", &[], 3.0), with("window", &[0], 95.0), op("sink", &[1]).reads("messages_recv", &[1.0, 1.0])];
    let (server, _) = serve(&arroyo, Engine::Arroyo);
    let found = diagnosis(&server, "");
    is_bottleneck(&found, "window", &json!([]));
    assert!(
        found["sentence"].as_str().unwrap().contains("the queues behind `source`, which feeds it, are 96 % full"),
        "{found:#}"
    );
    assert_eq!(found["missing"][0]["measure"], "busy");

    let plain = [
        op("read", &[]).reads("task_busy_ratio", &[0.1]).reads("task_backpressured_ratio", &[0.8]),
        op("write", &[0]).reads("task_busy_ratio", &[0.97]),
    ];
    let (server, _) = serve(&plain, Engine::Plain);
    is_bottleneck(&diagnosis(&server, ""), "write", &json!([]));
}

#[test]
fn what_was_not_measured_is_said_and_the_past_is_what_it_was() {
    let (server, now_ms) = serve(&demo(), Engine::Flink);
    let before = diagnosis(&server, &format!("?at={}", now_ms - 400_000));
    assert_eq!(before["verdict"], "unknown", "{before:#}");
    assert!(before["sentence"].as_str().unwrap().contains("neither busy time, nor backpressure, nor queues"));
    let short = diagnosis(&server, &format!("?at={}&window=1s", now_ms - 45_000));
    assert_eq!(short["verdict"], "unknown");
    let long = diagnosis(&server, &format!("?at={}&window=1h", now_ms - 45_000));
    assert_eq!((&long["verdict"], &long["window"]), (&json!("bottleneck"), &json!(3_600_000)));
    // Then it was idle; now it is not.
    let ops = [op("a", &[]).flink(&[0.0], &[0.0], &[0.0])];
    observe(&server, "other", "demo", &ops, now_ms - 600_000);
    report(&server, "other", &ops, Engine::Flink, now_ms - 300_000);
    report(&server, "other", &[op("a", &[]).flink(&[990.0], &[0.0], &[5.0])], Engine::Flink, now_ms - 1000);
    let at = |query: &str| server.get(&format!("/api/jobs/other/diagnosis{query}")).json()["verdict"].clone();
    assert_eq!((at(""), at(&format!("?at={}", now_ms - 299_000))), (json!("bottleneck"), json!("none")));
    let mut end = Observation::new(Subject::job("", "other"), Origin::Push, now_ms - 500);
    end.put(&run("demo", JobState::Finished, now_ms - 600_000, Some(now_ms - 500))).unwrap();
    server.app().jobs.record(end).unwrap();
    assert_eq!((at(""), at(&format!("?at={}", now_ms - 1000))), (json!("not_running"), json!("bottleneck")));
}

#[test]
fn restarts_are_counted_from_attempts_and_stand_in_the_timeline() {
    let (server, now_ms) = serve(&demo(), Engine::Flink);
    for attempt in 1..=3 {
        let at_ms = now_ms - 400_000 + attempt * 60_000;
        let mut seen = Observation::new(Subject::job("", JOB), Origin::Flink, at_ms + 1000);
        let again = |index| subtask(index, attempt as u64, at_ms);
        seen.put(&Subtasks { vertex: id(1), subtasks: vec![again(0), again(1)] }).unwrap();
        server.app().jobs.record(seen).unwrap();
    }
    let found = diagnosis(&server, "");
    assert_eq!(
        (&found["findings"][0]["kind"], &found["findings"][0]["severity"]),
        (&json!("restarts"), &json!("critical"))
    );
    assert!(
        found["sentence"].as_str().unwrap().starts_with("The job restarted 3 times within an hour: mend that first. ")
    );
    let timeline = server.get(&format!("/api/jobs/{JOB}/timeline")).json();
    let restarts: Vec<Value> =
        timeline["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "restart").cloned().collect();
    let expected = json!({
        "at": now_ms - 340_000, "kind": "restart", "subtasks": 2, "vertices": [id(1)], "cause": null,
        "restored_checkpoint": null,
    });
    assert_eq!((restarts.len(), &restarts[0]), (3, &expected));
}

#[test]
fn jobs_of_one_id_in_two_organizations_are_told_apart() {
    let server = Server::start();
    let (app, now_ms) = (server.app(), server.app().clock.now_ms());
    for (org, busy) in [("apple", 0.1), ("zebra", 0.99)] {
        let mut seen = Observation::new(Subject::job(org, "orders-1"), Origin::Push, now_ms - 60_000);
        seen.put(&run("orders", JobState::Running, now_ms - 60_000, None)).unwrap();
        app.jobs.record(seen).unwrap();
        let labels = [("__name__", "etl_busy_ratio"), ("job_id", "orders-1"), ("operator_id", "all"), ("org", org)];
        let mut batch = app.ingest.batch();
        let series = batch.define(None, &model::Labels::from_pairs(labels).unwrap()).unwrap();
        batch.push(series, now_ms - 1000, busy).unwrap();
        app.ingest.commit(streamgauge::ingest::Origin::Report, batch).unwrap();
    }
    // Who sees both is shown the first by name.
    let found = server.get("/api/jobs/orders-1/diagnosis").json();
    assert_eq!(found["operators"][0]["measures"]["busy"], 0.1, "{found:#}");
}

#[test]
fn bad_questions_are_refused_in_our_own_shape() {
    let (server, _) = serve(&demo(), Engine::Flink);
    for (path, status) in [
        ("/api/jobs/nope/diagnosis".to_owned(), 404),
        (format!("/api/jobs/{JOB}/diagnosis?at=noon"), 400),
        (format!("/api/jobs/{JOB}/diagnosis?at=5"), 404),
        (format!("/api/jobs/{JOB}/diagnosis?window=soon"), 400),
        (format!("/api/jobs/{JOB}/diagnosis?window=999ms"), 400),
        (format!("/api/jobs/{JOB}/diagnosis?window=86401s"), 400),
        (format!("/api/jobs/{JOB}/diagnosis?window=86400s"), 200),
        (format!("/api/jobs/{JOB}/diagnosis?window=1s"), 200),
    ] {
        let answer = server.get(&path);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(status == 200 || answer.json()["error"].is_string(), "{path}");
    }
    assert_eq!(server.get(&format!("/api/jobs/{}/diagnosis", JOB.to_uppercase())).status, 200);
    assert_eq!(server.send("POST", &format!("/api/jobs/{JOB}/diagnosis"), &[], b"").status, 405);
}
