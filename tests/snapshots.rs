//! Saved snapshots over HTTP: what Prometheus's endpoint answers, and that a new process opens what it leaves.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Answer, Server};

const SAVE: &str = "/api/v1/admin/tsdb/snapshot";

fn report(server: &Server, component: &str, value: f64) {
    let metric = json!({"metric_name": "load", "metric_type": "gauge", "metric_value": value, "timestamp": "2024-01-01T12:00:00Z"});
    let body = json!({"component_name": component, "component_type": "monitor", "metrics": [metric]});
    assert_eq!(server.post_json("/api/metrics/report", &body).status, 200);
}

fn post(server: &Server, path: &str) -> Answer {
    server.send("POST", path, &[("content-type", "application/x-www-form-urlencoded")], b"")
}

fn saved(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = answer.json();
    let name = body["data"]["name"].as_str().unwrap().to_owned();
    assert_eq!(body, json!({"status": "success", "data": {"name": name}}), "as Prometheus answers");
    name
}

fn listed(server: &Server) -> Vec<Value> {
    server.get("/api/v1/admin/storage/snapshots").json()["data"].as_array().unwrap().clone()
}

fn loads(server: &Server) -> usize {
    let answer = server.get("/api/v1/query?query=load&time=2024-01-01T12:00:00Z").json();
    answer["data"]["result"].as_array().unwrap().len()
}

#[test]
fn a_snapshot_is_opened_by_a_new_process_with_its_catalog() {
    let server = Server::start();
    report(&server, "a", 1.0);
    let whole = saved(&post(&server, SAVE));
    report(&server, "b", 2.0);
    let sealed = saved(&post(&server, &format!("/prometheus{SAVE}?skip_head=true")));
    let rows = listed(&server);
    let mut names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    let mut want = [whole.as_str(), sealed.as_str()];
    want.sort_unstable();
    assert_eq!(names, want);
    for row in rows {
        let path = PathBuf::from(row["path"].as_str().unwrap());
        assert!(path.is_absolute() && row["bytes"].as_u64() > Some(0) && row["samples"].as_u64() > Some(0), "{row}");
        let copy = Server::with(&[("data", path.to_str().unwrap())]);
        assert_eq!(loads(&copy), 1, "what came later is not in it, nor what was in the head");
        let components = copy.get("/api/metrics/components").json().to_string();
        let has_b = row["name"] == sealed.as_str();
        assert_eq!((components.contains("\"a\""), components.contains("\"b\"")), (true, has_b), "{components}");
    }
    assert_eq!(loads(&server), 2);

    let path = format!("/api/v1/admin/storage/snapshots/{whole}");
    let gone = server.send("DELETE", &path, &[], b"");
    assert_eq!((gone.status, gone.json()), (200, json!({"status": "success", "data": {"name": whole}})));
    assert_eq!(listed(&server).len(), 1);
    let again = server.send("DELETE", &path, &[], b"");
    assert_eq!((again.status, &again.json()["errorType"]), (404, &json!("not_found")));
    assert_eq!(server.send("DELETE", "/api/v1/admin/storage/snapshots/..%2F..", &[], b"").status, 404);
}

#[test]
fn who_may_not_administer_saves_and_sees_nothing() {
    let server = Server::start();
    let foreign: &[(&str, &str)] = &[("origin", "http://elsewhere.example")];
    for (method, path) in [
        ("POST", SAVE),
        ("PUT", SAVE),
        ("GET", "/api/v1/admin/storage/snapshots"),
        ("DELETE", "/api/v1/admin/storage/snapshots/x"),
    ] {
        let refused = server.send(method, path, foreign, b"");
        assert_eq!((refused.status, &refused.json()["status"]), (403, &json!("error")), "{method} {path}");
    }
    assert!(listed(&server).is_empty());
    let wrong = post(&server, &format!("{SAVE}?skip_head=maybe"));
    assert_eq!(
        (wrong.status, wrong.json()["error"].as_str().unwrap()),
        (400, "invalid parameter \"skip_head\": strconv.ParseBool: parsing \"maybe\": invalid syntax")
    );
    assert_eq!(server.send("PUT", SAVE, &[], b"").status, 200);
}

#[test]
fn compaction_shows_what_it_does() {
    let server = Server::with(&[("parquet.enabled", "false")]);
    report(&server, "a", 1.0);
    post(&server, "/api/v1/admin/storage/flush");
    let idle = json!({"running": null, "waiting": {"jobs": 0, "bytes": 0}, "setAside": []});
    assert_eq!(server.get("/api/streamgauge/v1/compaction").json(), idle);
    let done = post(&server, "/api/v1/admin/storage/compact").json();
    assert_eq!(done["data"], json!({"segmentsBefore": 0, "segmentsAfter": 0, "segmentsSetAside": 0}));
    let state = server.get("/api/streamgauge/v1/storage").json();
    assert_eq!((&state["readOnly"], &state["findings"], &state["segments"]), (&Value::Null, &json!([]), &json!(1)));
    assert_eq!(state["failures"], json!([]));
    let metrics = server.get("/metrics").body;
    for name in ["streamgauge_compaction_bytes 0", "streamgauge_compaction_set_aside_segments 0"] {
        assert!(metrics.contains(&format!("\n{name}\n")), "{name}");
    }
}
