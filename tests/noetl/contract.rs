//! The dialect's document line by line: its variables, its calls with every status, its columns, its metrics.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use streamgauge::config::{Layer, resolve};

use super::{EXAMPLE, metric, one, report, rows};
use crate::support::Server;

#[test]
fn the_variables_of_the_document_are_read() {
    let variables = [
        ("NOETL_WORKER_METRICS_INTERVAL", "61"),
        ("NOETL_WORKER_HEARTBEAT_INTERVAL", "16"),
        ("NOETL_WORKER_POOL_NAME", "worker-cpu"),
        ("NOETL_WORKER_ID", "unique-worker-id"),
        ("NOETL_SERVER_METRICS_INTERVAL", "62"),
        ("NOETL_SERVER_NAME", "my-server"),
        ("NOETL_SERVER_URL", "http://localhost:8082"),
    ];
    let read = |variables: &[(&str, &str)]| {
        let owned: Vec<_> = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        resolve(&[Layer::from_environment(owned.into_iter()).unwrap()]).unwrap()
    };
    let config = read(&variables);
    let intervals = [
        config.noetl_worker_metrics_interval.0,
        config.noetl_worker_heartbeat_interval.0,
        config.noetl_server_metrics_interval.0,
    ];
    assert_eq!(intervals, [61_000, 16_000, 62_000]);
    let names = [
        config.noetl_worker_pool_name.as_str(),
        &config.noetl_worker_id,
        &config.noetl_server_name,
        &config.noetl_server_url,
    ];
    assert_eq!(names, ["worker-cpu", "unique-worker-id", "my-server", "http://localhost:8082"]);
    let config = read(&[]);
    let defaults = [
        config.noetl_worker_metrics_interval.0,
        config.noetl_worker_heartbeat_interval.0,
        config.noetl_server_metrics_interval.0,
    ];
    assert_eq!((defaults, config.noetl_server_name.as_str()), ([60_000, 15_000, 60_000], "noetl-server"));
}

const JSON: (&str, &str) = ("content-type", "application/json");

/// Every call of the dialect with every status that it has of itself, and a text that the answer contains.
#[test]
fn every_call_has_its_answers() {
    let server = Server::start();
    let ok = one(&metric("m", "1", ""));
    let long = "x".repeat(256);
    let long_name = format!("/api/metrics/self-report?component_name={long}");
    let pool = r#"{"name":"p","runtime":"python","capacity":4}"#;
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(65_536));
    let table: &[(&str, &str, &str, u16, &str)] = &[
        ("POST", "/api/metrics/report", EXAMPLE, 200, r#""metrics_inserted":1"#),
        ("POST", "/api/metrics/report", &ok, 200, r#""status":"ok""#),
        ("POST", "/api/metrics/report", r#"{"metrics":[]}"#, 400, "either runtime_id or component_name"),
        ("POST", "/api/metrics/report", r#"{"component_name":"c","metrics":[{}]}"#, 400, r#""rejected_count":1"#),
        ("POST", "/api/metrics/report", r#"{"runtime_id":777,"metrics":[]}"#, 404, "777 is not known"),
        ("POST", "/api/metrics/report", "{", 422, "json_invalid"),
        ("GET", "/api/metrics/report", "", 405, "does not take GET"),
        ("GET", "/api/metrics/query?component_name=worker-cpu-01&metric_name=cpu_usage", "", 200, r#""count":1"#),
        ("GET", "/api/metrics/query?start_time=2&end_time=1", "", 400, "start_time is after end_time"),
        ("GET", "/api/metrics/query?limit=10001", "", 422, "less_than_equal"),
        ("POST", "/api/metrics/query", "{}", 405, "does not take POST"),
        ("POST", "/api/metrics/self-report?component_name=server", "", 200, r#""metrics_reported":7"#),
        ("POST", &long_name, "", 400, "limit ingest.max_name_bytes = 255"),
        ("GET", "/api/metrics/self-report", "", 405, "does not take GET"),
        ("GET", "/api/metrics/prometheus", "", 200, "# TYPE noetl_system_cpu_usage_percent gauge"),
        ("GET", "/api/metrics/prometheus?runtime_id=x", "", 422, "int_parsing"),
        ("POST", "/api/metrics/prometheus", "", 405, "does not take POST"),
        ("GET", "/api/metrics/components", "", 200, r#""name":"worker-cpu-01""#),
        ("POST", "/api/metrics/components", "", 405, "does not take POST"),
        ("POST", "/api/metrics/cleanup", "", 200, r#""dropped_count":0"#),
        ("GET", "/api/metrics/cleanup", "", 405, "does not take GET"),
        ("POST", "/api/metrics/partitions/create?days_ahead=3", "", 200, r#""days_ahead":3"#),
        ("POST", "/api/metrics/partitions/create?days_ahead=366", "", 422, "less_than_equal"),
        ("GET", "/api/metrics/partitions/create", "", 405, "does not take GET"),
        ("POST", "/api/metrics/ttl/set?metric_name=m&ttl_days=2", "", 200, r#""new_ttl_days":2"#),
        ("POST", "/api/metrics/ttl/set?metric_name=nobody_has_it", "", 200, r#""updated_metrics":0"#),
        ("POST", "/api/metrics/ttl/set", "", 422, "Field required"),
        ("GET", "/api/metrics/ttl/set?metric_name=m", "", 405, "does not take GET"),
        ("POST", "/api/metrics/ttl/extend-component?component_name=c&ttl_days=3", "", 200, r#""updated_metrics":1"#),
        ("POST", "/api/metrics/ttl/extend-component?component_name=nobody", "", 404, "is not known"),
        ("POST", "/api/metrics/ttl/extend-component?component_name=c&ttl_days=x", "", 422, "int_parsing"),
        ("GET", "/api/metrics/ttl/extend-component", "", 405, "does not take GET"),
        (
            "POST",
            "/api/runtime/register",
            r#"{"name":"b","kind":"broker","uri":"http://b"}"#,
            200,
            r#""kind":"broker""#,
        ),
        ("POST", "/api/runtime/register", r#"{"name":"b","kind":"robot"}"#, 400, "is none of worker_pool"),
        ("POST", "/api/runtime/register", r#"{"kind":"broker"}"#, 422, "Field required"),
        ("POST", "/api/runtime/register", r#"{"name":"b","kind":"broker","capacity":-1}"#, 422, "greater_than_equal"),
        ("GET", "/api/runtime/register", "", 405, "does not take GET"),
        ("DELETE", "/api/runtime/deregister", r#"{"name":"b","kind":"broker"}"#, 200, r#""status":"ok""#),
        ("DELETE", "/api/runtime/deregister", r#"{"name":"nobody"}"#, 404, "is not known"),
        ("DELETE", "/api/runtime/deregister", "{}", 422, "Field required"),
        ("POST", "/api/runtime/deregister", r#"{"name":"b"}"#, 405, "does not take POST"),
        ("POST", "/api/worker/pool/register", pool, 200, r#""kind":"worker_pool""#),
        ("POST", "/api/worker/pool/register", r#"{"name":"p","kind":"broker"}"#, 400, "register it as a runtime"),
        ("POST", "/api/worker/pool/register", r#"{"name":" "}"#, 422, "string_too_short"),
        ("POST", "/api/worker/pool/register", r#"{"name":"p","labels":[1]}"#, 422, "dict_type"),
        ("POST", "/api/worker/pool/register", &large, 413, "limit report.max_registration_bytes = 65536"),
        ("GET", "/api/worker/pool/register", "", 405, "does not take GET"),
        ("POST", "/api/worker/pool/heartbeat", r#"{"name":"p"}"#, 200, r#""status":"ok""#),
        ("POST", "/api/worker/pool/heartbeat", r#"{"name":"q"}"#, 404, "is not known"),
        ("POST", "/api/worker/pool/heartbeat", r#"{"name":"q","registration":{}}"#, 200, r#""status":"recreated""#),
        ("POST", "/api/worker/pool/heartbeat", r#"{"name":"r","registration":{"kind":"robot"}}"#, 400, "robot"),
        ("POST", "/api/worker/pool/heartbeat", r#"{"name":"p","metrics":{}}"#, 422, "metrics must be a list"),
        ("POST", "/api/worker/pool/heartbeat", &large, 413, "limit report.max_registration_bytes"),
        ("GET", "/api/worker/pool/heartbeat", "", 405, "does not take GET"),
        ("GET", "/api/worker/pools?runtime=python&status=ready", "", 200, r#""count":1"#),
        ("POST", "/api/worker/pools", "", 405, "does not take POST"),
        ("POST", "/api/worker/pool/deregister", r#"{"name":"p"}"#, 200, r#""name":"p""#),
        ("DELETE", "/api/worker/pool/deregister?name=q", "", 200, r#""name":"q""#),
        ("DELETE", "/api/worker/pool/deregister", r#"{"name":"nobody"}"#, 404, "is not known"),
        ("POST", "/api/worker/pool/deregister", "{}", 422, "Field required"),
        ("GET", "/api/worker/pool/deregister", "", 405, "does not take GET"),
        ("GET", "/api/metrics/nothing", "", 404, "no such path"),
        ("GET", "/api/worker/nothing", "", 404, "no such path"),
        ("GET", "/api/runtime/nothing", "", 404, "no such path"),
    ];
    for (method, path, body, status, says) in table {
        let headers: &[(&str, &str)] = if body.is_empty() { &[] } else { &[JSON] };
        let answer = server.send(method, path, headers, body.as_bytes());
        assert_eq!(answer.status, *status, "{method} {path} {body}: {}", answer.body);
        assert!(answer.body.contains(says), "{method} {path} {body}: {}\nwants {says}", answer.body);
        if *status >= 400 {
            let detail = answer.json()["detail"].clone();
            let is_right = if *status == 422 { detail.is_array() } else { detail.is_string() };
            assert!(is_right, "{method} {path} {body}: {}", answer.body);
        }
    }
}

/// What the server itself cannot do now is said so, and when to come again.
#[test]
fn a_store_that_cannot_take_more_says_when_to_come_again() {
    for (option, value, status) in
        [("storage.min_free_bytes", "1000000TiB", 503), ("ingest.max_pending_bytes", "1", 429)]
    {
        let server = Server::with(&[(option, value)]);
        let answer = report(&server, EXAMPLE);
        assert_eq!(answer.status, status, "{option}: {}", answer.body);
        assert!(answer.json()["detail"].is_string(), "{}", answer.body);
        assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u64>().is_ok()), "{option}");
        let one_more = json!({"metric_name": "m", "metric_type": "gauge", "metric_value": 1});
        let beat = json!({"name": "p", "registration": {}, "metrics": [one_more]});
        assert_eq!(server.post_json("/api/worker/pool/heartbeat", &beat).status, status, "{option}");
    }
}

#[test]
fn the_columns_of_the_table_are_the_fields_of_a_row() {
    let server = Server::start();
    for kind in ["gauge", "counter", "histogram", "summary"] {
        let body = format!(
            r#"{{"component_name":"c","component_type":"monitor","metrics":[{{"metric_name":"of_{kind}","metric_type":"{kind}","metric_value":1}}]}}"#
        );
        assert_eq!(report(&server, &body).json()["metrics_inserted"], 1, "{kind}");
        let row = rows(&server, &format!("metric_name=of_{kind}&metric_type={kind}"))[0].clone();
        let columns: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = [
            "metric_id",
            "runtime_id",
            "metric_name",
            "metric_type",
            "metric_value",
            "labels",
            "help_text",
            "unit",
            "timestamp",
            "created_at",
            "component_name",
            "component_type",
        ];
        expected.sort_unstable();
        let mut columns = columns;
        columns.sort_unstable();
        assert_eq!(columns, expected);
    }
}

#[test]
fn workers_report_with_their_heartbeats() {
    let server = Server::start();
    let beat = |body: &Value| server.post_json("/api/worker/pool/heartbeat", body);
    let gauge = |name: &str, value: Value| {
        let labels = json!({"component": "worker-cpu", "worker_id": "w-1", "hostname": "h"});
        json!({"metric_name": name, "metric_type": "gauge", "metric_value": value, "labels": labels, "help_text": "", "unit": ""})
    };
    let metrics = json!([
        gauge("noetl_system_cpu_usage_percent", json!(45.2)),
        gauge("noetl_system_memory_usage_percent", json!(12)),
        gauge("noetl_process_memory_rss_bytes", json!(1024)),
        gauge("noetl_worker_active_tasks", json!(3)),
        gauge("noetl_worker_queue_size", json!(0)),
    ]);
    let unknown = beat(&json!({"name": "worker-cpu", "metrics": metrics}));
    assert_eq!(unknown.status, 404, "{}", unknown.body);
    assert!(rows(&server, "component_name=worker-cpu").is_empty(), "nothing of it counts");
    let first = beat(&json!({"name": "worker-cpu", "registration": {"runtime": "cpu"}, "metrics": metrics}));
    let id = first.json()["runtime_id"].as_str().unwrap().to_owned();
    let expected = json!({"status": "recreated", "name": "worker-cpu", "runtime_id": id, "metrics_inserted": 5});
    assert_eq!((first.status, first.json()), (200, expected));
    let found = rows(&server, "component_name=worker-cpu&match=exact");
    assert_eq!(found.len(), 5);
    assert!(found.iter().all(|row| row["component_type"] == "worker_pool" && row["runtime_id"] == json!(id.parse::<i64>().unwrap())));
    assert_eq!(found[0]["labels"]["worker_id"], "w-1");
    // A wrong metric leaves the good ones, and the sign of life counts also when all are wrong.
    let some =
        beat(&json!({"name": "worker-cpu", "metrics": [gauge("good", json!(1)), gauge("bad", json!([]))]})).json();
    assert_eq!((&some["metrics_inserted"], &some["rejected_count"]), (&json!(1), &json!(1)));
    assert_eq!(some["rejected"][0]["index"], 1);
    let none = beat(&json!({"name": "worker-cpu", "metrics": [gauge("bad", json!(null))]}));
    assert_eq!((none.status, &none.json()["metrics_inserted"]), (200, &json!(0)));
    let plain = beat(&json!({"name": "worker-cpu", "metrics": null})).json();
    assert_eq!(plain, json!({"status": "ok", "name": "worker-cpu", "runtime_id": id}), "without metrics as ever");
    let wrong = beat(&json!({"name": "somebody", "registration": {}, "metrics": "x"}));
    assert_eq!(wrong.status, 422);
    assert_eq!(beat(&json!({"name": "somebody"})).status, 404, "a body of a wrong shape registers nobody");
}

#[test]
fn registrations_are_read_as_workers_write_them() {
    let server = Server::with(&[("report.registration", "required")]);
    let pool = json!({
        "name": " worker-cpu ", "runtime": "cpu", "base_url": "http://queue-worker", "status": "Ready", "capacity": null,
        "labels": ["a", "b"], "pid": 12, "hostname": "h",
    });
    let registered = server.post_json("/api/worker/pool/register", &pool).json();
    assert_eq!((&registered["name"], &registered["runtime"]), (&json!("worker-cpu"), &json!("cpu")));
    let item = server.get("/api/worker/pools?status=ready&runtime=cpu").json()["items"][0].clone();
    assert_eq!(
        (&item["labels"], &item["status"], &item["capacity"]),
        (&json!(["a", "b"]), &json!("ready"), &Value::Null)
    );
    // A worker of the pool reports under the pool's name, with a type of its own.
    let body = format!(
        r#"{{"component_name":"worker-cpu","component_type":"queue_worker","metrics":[{}]}}"#,
        metric("noetl_worker_status", "1", "")
    );
    assert_eq!(report(&server, &body).json()["runtime_id"].to_string(), registered["runtime_id"].as_str().unwrap());
    assert_eq!(rows(&server, "metric_name=noetl_worker_status")[0]["component_type"], "worker_pool");
    assert_eq!(report(&server, EXAMPLE).status, 404, "nobody registered it");
    // Where they need not, it is a component of its own.
    let server = Server::start();
    server.post_json("/api/worker/pool/register", &pool);
    report(&server, &body);
    assert_eq!(rows(&server, "metric_name=noetl_worker_status")[0]["component_type"], "queue_worker");
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn component(server: &Server, name: &str) -> Value {
    let all = server.get("/api/metrics/components").json();
    all["components"].as_array().unwrap().iter().find(|one| one["name"] == name).cloned().unwrap_or_default()
}

#[test]
fn the_pool_of_this_process_lives_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().display().to_string();
    let pool = [
        ("data", data.as_str()),
        ("noetl.worker_pool_name", "worker-cpu"),
        ("noetl.worker_id", "w-1"),
        ("noetl.worker_heartbeat_interval", "50ms"),
        ("noetl.worker_metrics_interval", "50ms"),
    ];
    let server = Server::with(&pool);
    until("it registers", || component(&server, "worker-cpu")["status"] == "ready");
    let first = component(&server, "worker-cpu");
    assert_eq!(first["component_type"], "worker_pool");
    until("heartbeats", || component(&server, "worker-cpu")["last_heartbeat"] != first["last_heartbeat"]);
    let tasks = "component_name=worker-cpu&metric_name=noetl_worker_active_tasks";
    until("reports", || !rows(&server, tasks).is_empty());
    assert_eq!(rows(&server, tasks)[0]["labels"]["worker_id"], "w-1");
    server.post_json("/api/worker/pool/deregister", &json!({"name": "worker-cpu"}));
    until("it comes back", || component(&server, "worker-cpu")["status"] == "ready");
    drop(server);
    let server = Server::with(&pool[..1]);
    assert_eq!(component(&server, "worker-cpu")["status"], "offline", "it was taken off at once");
}

#[test]
fn the_server_says_whether_pools_live() {
    let server =
        Server::with(&[("noetl.server_metrics_interval", "50ms"), ("noetl.worker_heartbeat_interval", "500ms")]);
    server.post_json("/api/worker/pool/register", &json!({"name": "p"}));
    server.post_json("/api/worker/pool/register", &json!({"name": "gone"}));
    server.post_json("/api/worker/pool/deregister", &json!({"name": "gone"}));
    let newest =
        |query: &str| rows(&server, &format!("{query}&limit=1")).first().map(|row| row["metric_value"].as_f64());
    let status = "component_name=p&metric_name=noetl_worker_status";
    until("it lives", || newest(status) == Some(Some(1.0)));
    assert_eq!(newest("metric_name=noetl_server_active_workers"), Some(Some(1.0)));
    until("four heartbeats are missing", || newest(status) == Some(Some(0.0)));
    until("it is not counted", || newest("metric_name=noetl_server_active_workers") == Some(Some(0.0)));
    assert!(rows(&server, "component_name=gone&match=exact").is_empty(), "of one that went nothing is said");
    let requests = newest("metric_name=noetl_server_api_requests_total").unwrap().unwrap();
    assert!(requests >= 5.0, "{requests}");
}
