//! What every endpoint shares: unknown paths, wrong methods, health, rights.

use serde_json::json;
use streamgauge::jobs::{JobsError, Observation, Origin, Subject, TaskManager};

use crate::support::Server;

#[test]
fn health_and_readiness() {
    let server = Server::start();
    assert_eq!(server.get("/-/healthy").status, 200);
    assert_eq!(server.get("/-/ready").status, 200);
}

#[test]
fn unknown_paths_and_wrong_methods_answer_in_the_owners_shape() {
    let server = Server::start();
    let answer = server.get("/api/v1/nothing");
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["errorType"], "not_found");
    assert_eq!(server.get("/api/metrics/nothing").json()["detail"], "no such path: /api/metrics/nothing");
    assert_eq!(server.get("/nothing").json()["error"], "no such path: /nothing");
    let answer = server.send("DELETE", "/-/healthy", &[], b"");
    assert_eq!(answer.status, 405);
    assert!(answer.header("allow").is_some_and(|a| a.contains("GET")));
}

#[test]
fn administration_is_for_loopback_without_foreign_pages() {
    let server = Server::start();
    assert_eq!(server.send("POST", "/api/v1/admin/storage/flush", &[], b"").status, 200);
    assert_eq!(server.send("POST", "/api/v1/admin/storage/compact", &[], b"").status, 200);
    let foreign = server.send("POST", "/api/v1/admin/storage/flush", &[("origin", "http://elsewhere.example")], b"");
    assert_eq!((foreign.status, foreign.json()["status"].as_str()), (403, Some("error")));
    let wrong = server.send("POST", "/api/v1/admin/storage/flush", &[("authorization", "Bearer x")], b"");
    assert_eq!(wrong.status, 401);
}

/// Below the floor of free space nothing is written, neither samples nor what is kept in the catalog.
#[test]
fn a_store_without_room_takes_nothing_and_goes_on_answering() {
    let server = Server::with(&[("storage.min_free_bytes", "1000000000000000")]);
    let metric = json!({"metric_name": "m", "metric_type": "gauge", "metric_value": 1});
    for (path, body) in [
        ("/api/metrics/report", json!({"component_name": "w", "metrics": [metric]})),
        ("/api/runtime/register", json!({"name": "w", "kind": "broker"})),
        ("/api/metrics/ttl/set?metric_name=m&ttl_days=1", json!(null)),
    ] {
        let answer = server.post_json(path, &body);
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("30")), "{path}: {}", answer.body);
        assert!(answer.body.contains("storage.min_free_bytes"), "{path}: {}", answer.body);
    }
    let mut seen = Observation::new(Subject::cluster("", "main"), Origin::Flink, 7);
    seen.put(&TaskManager { id: "tm".to_owned(), ..TaskManager::default() }).unwrap();
    let refused = server.app().jobs.record(seen);
    assert!(matches!(&refused, Err(JobsError::Catalog(error)) if error.is_read_only()), "{refused:?}");
    for path in ["/api/jobs", "/jobs/overview", "/api/metrics/components", "/api/v1/query?query=1", "/-/ready"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
}
