//! What every endpoint shares: unknown paths, wrong methods, health, rights.

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
