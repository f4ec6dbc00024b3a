//! Deletes from outside: what a client of Prometheus's admin API sees, and what an operator can take back.

use serde_json::Value;

use crate::support::Server;

const DELETE: &str = "/api/v1/admin/tsdb/delete_series";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// A server with reported metrics of two components.
fn example() -> Server {
    let server = Server::start();
    for (component, value) in [("extract", 1), ("load", 2)] {
        let metric = |name: &str| format!(r#"{{"metric_name":"{name}","metric_type":"gauge","metric_value":{value}}}"#);
        let body = format!(
            r#"{{"component_name":"{component}","component_type":"worker","metrics":[{},{}]}}"#,
            metric("rows_done"),
            metric("lag_seconds")
        );
        let headers = [("content-type", "application/json")];
        let answer = server.send("POST", "/api/metrics/report", &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    server
}

fn post(server: &Server, path: &str, body: &str) -> u16 {
    let answer = server.send("POST", path, &[FORM], body.as_bytes());
    assert!(answer.status != 204 || answer.body.is_empty());
    answer.status
}

fn count(server: &Server, expression: &str) -> usize {
    let answer = server.get(&format!("/api/v1/query?query={expression}")).json();
    answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}")).len()
}

fn listed(server: &Server) -> Vec<Value> {
    server.get("/api/v1/admin/storage/deletes").json()["data"].as_array().unwrap().clone()
}

#[test]
fn what_is_deleted_is_gone_everywhere_and_can_be_taken_back() {
    let server = example();
    assert_eq!(count(&server, "rows_done"), 2);
    assert_eq!(post(&server, DELETE, "match[]=rows_done"), 204);
    assert_eq!((count(&server, "rows_done"), count(&server, "lag_seconds")), (0, 2));
    assert_eq!(server.get("/api/v1/series?match%5B%5D=rows_done").json()["data"], serde_json::json!([]));
    let names = server.get("/api/v1/label/__name__/values").json()["data"].clone();
    assert!(!names.as_array().unwrap().contains(&"rows_done".into()), "{names}");
    assert!(server.get("/api/v1/metadata?metric=rows_done").json()["data"].get("rows_done").is_none());
    let found = server.get("/api/metrics/query?metric_name=rows_done");
    assert!(!found.body.contains("extract"), "{}", found.body);
    let exported = server.get("/api/metrics/prometheus").body;
    assert!(exported.contains("lag_seconds{") && !exported.contains("rows_done{"), "{exported}");
    let deletes = listed(&server);
    assert_eq!(deletes[0]["match"], serde_json::json!([r#"{__name__="rows_done"}"#]));
    assert_eq!(post(&server, "/api/v1/admin/storage/deletes/1/undo", ""), 204);
    assert_eq!((count(&server, "rows_done"), listed(&server).len()), (2, 0));
}

#[test]
fn cleaned_tombstones_do_not_come_back() {
    let server = example();
    let put = server.send("PUT", DELETE, &[FORM], b"match[]=rows_done&match[]={component=\"load\"}&start=0");
    assert_eq!(put.status, 204, "{}", put.body);
    assert_eq!((count(&server, "rows_done"), count(&server, "lag_seconds")), (0, 1));
    assert_eq!(post(&server, "/api/v1/admin/tsdb/clean_tombstones", ""), 204);
    assert_eq!((count(&server, "rows_done"), listed(&server).len()), (0, 0));
    assert_eq!(post(&server, "/api/v1/admin/storage/deletes/1/undo", ""), 404);
    assert_eq!(post(&server, DELETE, "match[]=lag_seconds&end=1"), 204);
    assert_eq!((count(&server, "lag_seconds"), listed(&server).len()), (1, 0), "nothing is that old");
}
