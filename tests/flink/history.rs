//! Metrics over time: `start`, `end` and `step` on every path that ends in `/metrics`.

use serde_json::{Value, json};
use streamgauge::jobs::{JobState, Observation, Origin, Subject};

use super::{JOB, VERTEX, errors, observe, run};
use crate::support::Server;

/// Records of both subtasks in every minute of ten, and the uptime of the job.
fn serve(options: &[(&str, &str)]) -> (Server, i64) {
    let server = Server::with(options);
    let began_ms = server.app().clock.now_ms() / 60_000 * 60_000 - 600_000;
    observe(&server, began_ms);
    let mut metrics = Vec::new();
    for minute in 0..10_i64 {
        let timestamp = streamgauge::report::timestamp::format(began_ms + minute * 60_000);
        let mut add = |name: &str, labels: Value, value: i64| {
            metrics.push(json!({
                "metric_name": name, "metric_type": "gauge", "metric_value": value, "labels": labels, "timestamp": timestamp,
            }));
        };
        for (index, each) in [("0", 100), ("1", 10)] {
            let labels = json!({"job_id": JOB, "task_id": VERTEX, "subtask_index": index, "task_attempt_num": "0"});
            add("flink_taskmanager_job_task_numRecordsIn", labels, minute * each);
        }
        add("flink_jobmanager_job_uptime", json!({"job_id": JOB}), minute * 60_000);
    }
    let answer = server.post_json("/api/metrics/report", &json!({"component_name": "reporter", "metrics": metrics}));
    assert_eq!(answer.status, 200, "{}", answer.body);
    (server, began_ms)
}

fn get(server: &Server, path: &str) -> Value {
    let answer = server.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

#[test]
fn every_path_gives_its_values_at_each_step() {
    let (server, began_ms) = serve(&[]);
    let times = format!("start={}&end={}&step=60s", began_ms + 60_000, began_ms + 180_000);
    let at = |minute: i64| began_ms + minute * 60_000;
    let vertex = format!("/jobs/{JOB}/vertices/{VERTEX}");
    let pairs = json!([[at(1), "100"], [at(2), "200"], [at(3), "300"]]);
    let found = get(&server, &format!("{vertex}/subtasks/0/metrics?get=numRecordsIn&{times}"));
    assert_eq!(found, json!([{"id": "numRecordsIn", "value": pairs}]));
    let found = get(&server, &format!("{vertex}/metrics?get=0.numRecordsIn,1.nope&{times}"));
    assert_eq!(found, json!([{"id": "0.numRecordsIn", "value": pairs}]));
    let found = get(&server, &format!("{vertex}/subtasks/metrics?get=numRecordsIn&agg=min,sum&{times}"));
    let expected = json!([{
        "id": "numRecordsIn",
        "min": [[at(1), 10.0], [at(2), 20.0], [at(3), 30.0]],
        "sum": [[at(1), 110.0], [at(2), 220.0], [at(3), 330.0]],
    }]);
    assert_eq!(found, expected);
    let uptime = json!([[at(1), "60000"], [at(2), "120000"], [at(3), "180000"]]);
    let found = get(&server, &format!("/jobs/{JOB}/metrics?get=uptime,lastCheckpointExternalPath&{times}"));
    assert_eq!(found, json!([{"id": "uptime", "value": uptime}]));
    let found = get(&server, &format!("/v1/jobs/metrics?get=uptime&agg=max&{times}"));
    assert_eq!(found[0]["max"][2], json!([at(3), 180_000.0]));
    let ids = get(&server, &format!("{vertex}/subtasks/metrics?{times}"));
    assert_eq!(ids, json!([{"id": "numRecordsIn"}]));
    // Before the first sample there is nothing, and nothing stands for it.
    let early = format!("start={}&end={}&step=60000", began_ms - 60_000, began_ms);
    let found = get(&server, &format!("{vertex}/subtasks/0/metrics?get=numRecordsIn&{early}"));
    assert_eq!(found[0]["value"], json!([[at(0), "0"]]));
}

#[test]
fn what_has_ended_has_the_metrics_that_it_had() {
    let (server, began_ms) = serve(&[]);
    let mut end = Observation::new(Subject::job("", JOB), Origin::Flink, began_ms + 590_000);
    end.put(&run(JobState::Finished, began_ms, Some(began_ms + 590_000))).unwrap();
    server.app().jobs.record(end).unwrap();
    let subtask = format!("/jobs/{JOB}/vertices/{VERTEX}/subtasks/0/metrics?get=numRecordsIn");
    assert_eq!(get(&server, &subtask), json!([]));
    let found = get(&server, &format!("{subtask}&start={began_ms}&end={}", began_ms + 500_000));
    let values = found[0]["value"].as_array().unwrap();
    assert_eq!((values.len(), &values[250]), (251, &json!([began_ms + 500_000, "800"])));
    let job = get(&server, &format!("/jobs/{JOB}/metrics?get=uptime&start={began_ms}&end={began_ms}"));
    assert_eq!(job, json!([{"id": "uptime", "value": [[began_ms, "0"]]}]));
}

#[test]
fn bad_times_are_refused_as_flink_refuses_parameters() {
    let (server, _) = serve(&[("query.max_steps", "10")]);
    let path = format!("/jobs/{JOB}/metrics?get=uptime");
    for (query, message) in [
        ("start=noon", "Bad request, could not parse parameters: Cannot resolve query parameter (start)"),
        ("start=0&end=x", "Bad request, could not parse parameters: Cannot resolve query parameter (end)"),
        ("start=0&end=9&step=0", "Bad request, could not parse parameters: Cannot resolve query parameter (step)"),
        ("end=9", "start is missing"),
        ("start=9&end=8", "end lies before start"),
        ("start=0&end=10000&step=1s", "11 steps are too many: limit query.max_steps = 10 reached"),
    ] {
        let answer = server.get(&format!("{path}&{query}"));
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
        assert!(errors(&answer).starts_with(message), "{query}: {}", answer.body);
    }
    assert_eq!(get(&server, &format!("{path}&start=0&end=9000&step=1s")), json!([]));
}

/// Times that nobody means, on every path that reads: an answer or a refusal, but never a failure of ours.
#[test]
fn the_ends_of_time_break_nothing() {
    let (server, began_ms) = serve(&[]);
    let (min, max) = (i64::MIN, i64::MAX);
    let job = format!("/jobs/{JOB}");
    let vertex = format!("{job}/vertices/{VERTEX}");
    let of = |base: &str, rest: &[&str]| rest.iter().map(|rest| format!("{base}{rest}")).collect::<Vec<_>>();
    let details = ["", "/status", "/plan", "/config", "/exceptions", "/accumulators", "/execution-result", "/metrics"];
    let tasks = ["", "/backpressure", "/subtasktimes", "/taskmanagers", "/subtasks/0", "/metrics", "/subtasks/metrics"];
    let lists =
        ["/jobs", "/jobs/overview", "/overview", "/config", "/taskmanagers", "/jobs/metrics", "/jobmanager/metrics"];
    let ours = ["", "/timeline", "/diagnosis"];
    let paths = [
        of("", &lists),
        of(&job, &details),
        of(&vertex, &tasks),
        of(&format!("/api{job}"), &ours),
        of("/api/jobs", &["", &format!("/compare?a={JOB}&b={JOB}&x=")]),
        of("/tsp", &["/jobs/overview", "/job/demo/status", "/job/demo/statusAndMetrics", "/job/demo/exceptions"]),
    ]
    .concat();
    let mut wrong = Vec::new();
    for path in &paths {
        for query in [
            format!("at={min}"),
            "at=-1".to_owned(),
            format!("at={max}"),
            format!("get=uptime,numRecordsIn&start={min}&end={max}&step={max}"),
            format!("get=uptime,numRecordsIn&start={max}&end={max}"),
            format!("get=uptime,numRecordsIn&start={began_ms}&end={max}&at={max}"),
        ] {
            let answer = server.get(&format!("{path}{}{query}", if path.contains('?') { '&' } else { '?' }));
            if ![200, 400, 404, 422].contains(&answer.status) {
                let body: String = answer.body.chars().take(200).collect();
                wrong.push(format!("{path} {query}: {} {body}", answer.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
