//! Components: registration, heartbeats, the lists of them, and what this process reports of itself.

use serde_json::{Value, json};

use super::{EXAMPLE, metric, one, report, rows};
use crate::support::Server;

#[test]
fn components_register_report_beat_and_go() {
    let server = Server::start();
    let pool = json!({
        "name": "worker-cpu", "runtime": "python", "uri": "http://w:1", "status": "ready", "capacity": 4,
        "labels": {"zone": "a"}, "pid": 12, "hostname": "h", "meta": {}
    });
    let answer = server.post_json("/api/worker/pool/register", &pool);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let id = answer.json()["runtime_id"].as_str().unwrap().to_owned();
    let expected =
        json!({"status": "ok", "name": "worker-cpu", "runtime_id": id, "kind": "worker_pool", "runtime": "python"});
    assert_eq!(answer.json(), expected);
    let beat = |body: Value| server.post_json("/api/worker/pool/heartbeat", &body);
    let ok = beat(json!({"name": "worker-cpu"}));
    assert_eq!((ok.status, ok.json()), (200, json!({"status": "ok", "name": "worker-cpu", "runtime_id": id})));
    let unknown = beat(json!({"name": "nobody"}));
    assert_eq!((unknown.status, unknown.json()), (404, json!({"detail": "component \"nobody\" is not known"})));
    let recreated = beat(json!({"name": "nobody", "registration": {"runtime": "rust", "capacity": 1}}));
    assert_eq!((recreated.status, &recreated.json()["status"]), (200, &json!("recreated")));

    let pools = server.get("/api/worker/pools?runtime=python").json();
    assert_eq!((&pools["count"], &pools["runtime"], &pools["status"]), (&json!(1), &json!("python"), &Value::Null));
    let item = &pools["items"][0];
    assert_eq!(
        (&item["name"], &item["capacity"], &item["labels"]["zone"]),
        (&json!("worker-cpu"), &json!(4), &json!("a"))
    );
    assert!(item["heartbeat"].as_str().is_some_and(|t| t.ends_with('Z')));

    let by_id = format!(r#"{{"runtime_id":"{id}","metrics":[{}]}}"#, metric("m", "1", ""));
    assert_eq!(report(&server, &by_id).json()["runtime_id"].to_string(), id, "a number here");
    let other = format!(r#"{{"runtime_id":{id},"component_name":"x","metrics":[]}}"#);
    assert_eq!(report(&server, &other).status, 400);

    let gone = server.send("DELETE", "/api/worker/pool/deregister?name=worker-cpu", &[], b"");
    assert_eq!((gone.status, &gone.json()["status"]), (200, &json!("ok")));
    assert_eq!(server.get("/api/worker/pools?status=ready").json()["count"], 1);
    let components = server.get("/api/metrics/components").json();
    let states: Vec<(&str, &str)> = components["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["name"].as_str().unwrap(), c["status"].as_str().unwrap()))
        .filter(|(name, _)| *name != "noetl-server")
        .collect();
    assert_eq!(states, [("nobody", "ready"), ("worker-cpu", "offline")]);
    let back = server.post_json("/api/worker/pool/register", &pool).json();
    assert_eq!((&back["status"], &back["runtime_id"]), (&json!("recreated"), &json!(id)));
    let posted = server.post_json("/api/worker/pool/deregister", &json!({"name": "worker-cpu", "kind": "worker_pool"}));
    assert_eq!(posted.status, 200);
    let broker =
        server.post_json("/api/runtime/register", &json!({"name": "b", "component_type": "broker", "base_url": "u"}));
    assert_eq!((broker.status, &broker.json()["kind"]), (200, &json!("broker")));
    let body = json!({"name": "b"}).to_string();
    let gone =
        server.send("DELETE", "/api/runtime/deregister", &[("content-type", "application/json")], body.as_bytes());
    assert_eq!(gone.status, 200, "{}", gone.body);
}

#[test]
fn rows_find_a_component_that_said_its_kind_later() {
    let server = Server::start();
    let untyped = format!(r#"{{"component_name":"w","metrics":[{}]}}"#, metric("m", "1", ""));
    let id = report(&server, &untyped).json()["runtime_id"].as_i64().unwrap();
    let registered = server.post_json("/api/worker/pool/register", &json!({"name": "w", "kind": "worker_pool"}));
    assert_eq!(registered.json()["runtime_id"], id.to_string());
    report(&server, &untyped.replace(r#""m""#, r#""n""#));
    let ids = |query: &str| -> Vec<(String, Value)> {
        let mut found: Vec<_> = rows(&server, query)
            .iter()
            .map(|row| (row["metric_name"].as_str().unwrap().to_owned(), row["runtime_id"].clone()))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    };
    let both = [("m".to_owned(), json!(id)), ("n".to_owned(), json!(id))];
    assert_eq!(ids("component_name=w&match=exact"), both);
    assert_eq!(ids(&format!("runtime_id={id}")), both);
    // Another of the name: whose the older rows are is not known any more.
    let other = server.post_json("/api/runtime/register", &json!({"name": "w", "kind": "broker"})).json();
    assert_eq!(ids(&format!("runtime_id={id}")), both[1..]);
    assert!(ids(&format!("runtime_id={}", other["runtime_id"].as_str().unwrap())).is_empty());
    assert_eq!(ids("component_name=w&match=exact"), [("m".to_owned(), Value::Null), both[1].clone()]);
}

#[test]
fn a_pool_that_goes_takes_no_server_of_its_name_along() {
    let server = Server::start();
    server.post_json("/api/worker/pool/register", &json!({"name": "x"}));
    std::thread::sleep(std::time::Duration::from_millis(5));
    server.post_json("/api/runtime/register", &json!({"name": "x", "kind": "broker"}));
    let gone = |answer: crate::support::Answer| (answer.status, answer.json()["kind"].clone());
    let go = |path: &str| gone(server.post_json(path, &json!({"name": "x"})));
    assert_eq!(go("/api/worker/pool/deregister"), (200, json!("worker_pool")), "not the one that lived last");
    assert_eq!(go("/api/worker/pool/deregister"), (200, json!("worker_pool")));
    let runtime = server.send("DELETE", "/api/runtime/deregister?name=x", &[], b"");
    assert_eq!(gone(runtime), (200, json!("broker")), "no kind is usual here");
}

#[test]
fn bad_registrations_are_refused_by_name() {
    let server = Server::with(&[("report.max_registration_bytes", "300")]);
    for (path, body, status, says) in [
        ("/api/runtime/register", "{}", 422, r#"{"loc":["body","kind"],"msg":"Field required","type":"missing"}"#),
        ("/api/runtime/register", r#"{"name":"a"}"#, 422, r#"["body","kind"]"#),
        (
            "/api/runtime/register",
            r#"{"name":"a","kind":"robot"}"#,
            400,
            r#"kind \"robot\" is none of worker_pool, broker"#,
        ),
        ("/api/runtime/register", r#"{"name":"","kind":"broker"}"#, 422, "string_too_short"),
        ("/api/runtime/register", "[]", 422, "model_attributes_type"),
        ("/api/runtime/register", "{", 422, "JSON decode error: EOF while parsing an object at line 1 column 1"),
        ("/api/worker/pool/register", "{}", 422, r#"["body","name"]"#),
        (
            "/api/worker/pool/register",
            r#"{"name":5}"#,
            422,
            r#"{"loc":["body","name"],"msg":"Input should be a valid string","type":"string_type"}"#,
        ),
        ("/api/worker/pool/register", r#"{"name":"a","capacity":"4"}"#, 422, "int_type"),
        ("/api/worker/pool/register", r#"{"name":"a","labels":"x"}"#, 422, "dict_type"),
        ("/api/worker/pool/heartbeat", "{}", 422, r#"["body","name"]"#),
        ("/api/worker/pool/heartbeat", r#"{"name":"x","registration":{"kind":"robot"}}"#, 400, "robot"),
        ("/api/worker/pool/deregister", r#"{"name":"x"}"#, 404, r#"component \"x\" is not known"#),
        ("/api/worker/pool/deregister", "{}", 422, "missing"),
    ] {
        let answer = server.send("POST", path, &[("content-type", "application/json")], body.as_bytes());
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.body);
        assert!(answer.body.contains(says), "{path} {body}: {}", answer.body);
    }
    let at =
        |n: usize| json!({"name": "a", "status": "x".repeat(n - json!({"name": "a", "status": ""}).to_string().len())});
    assert_eq!(server.post_json("/api/worker/pool/register", &at(300)).status, 200);
    let answer = server.post_json("/api/worker/pool/register", &at(301));
    assert_eq!(answer.status, 413);
    assert!(answer.body.contains("report.max_registration_bytes = 300"), "{}", answer.body);
}

#[test]
fn registration_may_be_required() {
    let server = Server::with(&[("report.registration", "required")]);
    let refused = report(&server, EXAMPLE);
    assert_eq!(refused.status, 404);
    assert!(refused.body.contains("report.registration = required"), "{}", refused.body);
    assert_eq!(server.send("POST", "/api/metrics/self-report?component_name=x", &[], b"").status, 404);
    server.post_json("/api/worker/pool/register", &json!({"name": "worker-cpu-01"}));
    assert_eq!(report(&server, EXAMPLE).status, 200);
    server.post_json("/api/worker/pool/deregister", &json!({"name": "worker-cpu-01"}));
    assert_eq!(report(&server, EXAMPLE).status, 404);
}

#[test]
fn the_registry_has_a_limit() {
    // The server itself is one of them.
    let server = Server::with(&[("report.max_components", "2")]);
    assert_eq!(report(&server, EXAMPLE).status, 200);
    let full = report(&server, &one(&metric("m", "1", "")));
    assert_eq!(full.status, 400);
    assert!(full.body.contains("report.max_components = 2"), "{}", full.body);
}

#[test]
fn a_component_reports_itself() {
    let server = Server::with(&[("noetl.worker_pool_name", "pool"), ("noetl.worker_id", "w-1")]);
    let ask = |query: &str| server.send("POST", &format!("/api/metrics/self-report{query}"), &[], b"");
    let other = ask("?component_name=server").json();
    assert_eq!(
        (&other["status"], &other["component_name"], &other["metrics_reported"]),
        (&json!("ok"), &json!("server"), &json!(7))
    );
    assert!(other["runtime_id"].is_i64());
    assert_eq!(ask("").json()["component_name"], "pool");
    assert_eq!(ask("?component_name=noetl-server").json()["metrics_reported"], 12);
    let names = |component: &str| -> Vec<String> {
        let mut names: Vec<String> = rows(&server, &format!("component_name={component}&match=exact"))
            .iter()
            .map(|row| row["metric_name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    let system = [
        "noetl_process_cpu_percent",
        "noetl_process_memory_rss_bytes",
        "noetl_process_start_time_seconds",
        "noetl_system_cpu_usage_percent",
        "noetl_system_memory_usage_bytes",
        "noetl_system_memory_usage_percent",
        "noetl_uptime_seconds",
    ];
    let with = |more: &[&'static str]| {
        let mut all: Vec<&str> = system.iter().chain(more).copied().collect();
        all.sort_unstable();
        all
    };
    assert_eq!(names("server"), system);
    assert_eq!(names("pool"), with(&["noetl_worker_active_tasks", "noetl_worker_queue_size", "noetl_worker_status"]));
    assert_eq!(
        names("noetl-server"),
        with(&[
            "noetl_server_active_workers",
            "noetl_server_api_errors_total",
            "noetl_server_api_request_seconds_total",
            "noetl_server_api_requests_total",
            "noetl_server_queue_size",
        ])
    );
    let row = &rows(&server, "component_name=pool&metric_name=rss")[0];
    assert_eq!((&row["labels"]["worker_id"], &row["component_type"]), (&json!("w-1"), &json!("worker_pool")));
    assert!(row["metric_value"].as_f64().is_some_and(|bytes| bytes > 1e6), "{row}");
    let active = &rows(&server, "metric_name=noetl_server_active_workers")[0];
    assert_eq!(active["metric_value"].as_f64(), Some(1.0), "the pool");
}

#[test]
fn the_server_reports_by_itself() {
    let server = Server::with(&[("noetl.server_metrics_interval", "50ms"), ("noetl.server_name", "me")]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while rows(&server, "component_name=me&metric_name=noetl_uptime_seconds").is_empty() {
        assert!(std::time::Instant::now() < deadline, "no report");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let components = server.get("/api/metrics/components").json();
    let me = components["components"].as_array().unwrap().iter().find(|c| c["name"] == "me").unwrap().clone();
    assert_eq!((&me["component_type"], &me["status"]), (&json!("server_api"), &json!("ready")));
}
