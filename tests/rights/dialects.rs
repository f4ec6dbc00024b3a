//! Wrong rights over all dialects, each in its own shape: no token, one that is not known, one that has not the right, and the
//! right one of another organization, for which a thing is not there.

use serde_json::json;
use streamgauge::auth::Right;

use super::Guarded;
use crate::bad_input::Shape;

/// The id of zebra's job, in all dialects.
const JOB: &str = "b0000000000000000000000000000002";
/// What nobody has, in the place of it and of what else zebra has.
const NOBODYS: [(&str, &str); 4] = [
    (JOB, "c0000000000000000000000000000003"),
    ("zebra-job", "nobody-job"),
    ("zebra-pool", "nobody-pool"),
    ("/1/undo", "/7/undo"),
];

/// Tokens of zebra, one for each right and one for each without it; and one of another organization that has all.
const TOKENS: [super::Given<'_>; 9] = [
    ("read", &[Right::Read], Some("zebra")),
    ("write", &[Right::Write], Some("zebra")),
    ("control", &[Right::Control], Some("zebra")),
    ("admin", &[Right::Admin], Some("zebra")),
    ("not-read", &[Right::Write, Right::Control], Some("zebra")),
    ("not-write", &[Right::Read, Right::Control], Some("zebra")),
    ("not-control", &[Right::Read, Right::Write], Some("zebra")),
    ("not-admin", &[Right::Read, Right::Write, Right::Control], Some("zebra")),
    ("apple", &[Right::Admin], Some("apple")),
];

/// What is asked for, the right that it needs, and what another organization is told: status and a part of the text.
struct Row {
    shape: Shape,
    method: &'static str,
    path: String,
    body: String,
    right: &'static str,
    elsewhere: (u16, &'static str),
}

fn row(shape: Shape, of: (&'static str, &str, &'static str), body: &str, elsewhere: (u16, &'static str)) -> Row {
    let (method, path, right) = of;
    Row { shape, method, path: path.to_owned(), body: body.to_owned(), right, elsewhere }
}

fn rows() -> Vec<Row> {
    let flink = |method, path: &str, right| row(Shape::Flink, (method, path, right), "", (404, "not found"));
    let tsp = |path: &str, right| row(Shape::Tsp, ("GET", path, right), "", (400, "No such job"));
    let arroyo = |prefix: &str| {
        let path = format!("{prefix}/v1/pipelines/zebra-job/jobs/{JOB}/operator_metric_groups");
        row(Shape::Plain, ("GET", &path, "read"), "", (404, "Job not found"))
    };
    let jobs = |path: &str| row(Shape::Plain, ("GET", path, "read"), "", (404, "no such job"));
    let push =
        |method, path: &str, right, body| row(Shape::Plain, (method, path, right), body, (404, "register it first"));
    let noetl = |method, path: &str, right, body| row(Shape::NoEtl, (method, path, right), body, (404, "nobody-pool"));
    let job = |rest: &str| format!("/jobs/{JOB}{rest}");
    let own = |rest: &str| format!("/api/jobs/{JOB}{rest}");
    vec![
        flink("GET", &job(""), "read"),
        flink("GET", &format!("/v1{}", job("/exceptions")), "read"),
        flink("GET", &format!("/flink{}", job("/resource-requirements")), "read"),
        flink("PATCH", &job("?mode=cancel"), "control"),
        flink("POST", &job("/stop"), "control"),
        flink("PUT", &job("/resource-requirements"), "control"),
        tsp("/tsp/job/zebra-job/status/", "read"),
        tsp("/tsp/job/zebra-job/statusAndMetrics", "read"),
        tsp("/tsp/jobs/zebra-job/exceptions/", "read"),
        tsp("/tsp/job/zebra-job/stop/", "control"),
        arroyo(""),
        arroyo("/api"),
        arroyo("/arroyo"),
        jobs(&own("")),
        jobs(&own("/timeline")),
        jobs(&own("/diagnosis")),
        jobs(&format!("/api/jobs/compare?a={JOB}&b={JOB}")),
        push("POST", &own("/report"), "write", r#"{"state":"RUNNING"}"#),
        push("POST", &own("/heartbeat"), "write", "{}"),
        push("GET", &own("/commands"), "read", ""),
        push("POST", &own("/commands"), "control", r#"{"kind":"stop"}"#),
        noetl("POST", "/api/worker/pool/heartbeat", "write", r#"{"name":"zebra-pool"}"#),
        noetl("POST", "/api/metrics/ttl/extend-component?component_name=zebra-pool&ttl_days=1", "admin", ""),
        noetl("POST", "/api/worker/pool/deregister", "write", r#"{"name":"zebra-pool"}"#),
        row(Shape::Prometheus, ("POST", "/api/v1/admin/storage/deletes/1/undo", "admin"), "", (404, "no delete 7")),
    ]
}

/// A server with a job, a worker pool and a delete of zebra's.
fn example() -> Guarded {
    let guarded = Guarded::with(&TOKENS, &[]);
    let json = [("content-type", "application/json")];
    let job = json!({"name": "zebra-job", "commands": ["stop", "cancel", "rescale"]}).to_string();
    let answer = guarded.ask("write", "PUT", &format!("/api/jobs/{JOB}"), &json, job.as_bytes());
    assert_eq!((answer.status, &answer.json()["flink_id"]), (201, &json!(JOB)), "{}", answer.body);
    let answer = guarded.ask("write", "POST", "/api/worker/pool/register", &json, br#"{"name":"zebra-pool"}"#);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let metric = json!([{"metric_name": "zebras", "metric_type": "gauge", "metric_value": 1}]);
    let report =
        json!({"component_name": "zebra-pool", "component_type": "worker_pool", "metrics": metric}).to_string();
    let answer = guarded.ask("write", "POST", "/api/metrics/report", &json, report.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
    let delete = "/api/v1/admin/tsdb/delete_series?match%5B%5D=zebras";
    assert_eq!(guarded.ask("admin", "POST", delete, &[super::FORM], b"").status, 204);
    guarded
}

/// With what nobody has in the place of zebra's.
fn nobodys(text: &str) -> String {
    NOBODYS.iter().fold(text.to_owned(), |text, (zebras, nobodys)| text.replace(zebras, nobodys))
}

#[test]
fn each_dialect_refuses_each_kind_of_wrong_right_in_its_own_shape() {
    let guarded = example();
    let mut wrong = Vec::new();
    for row in rows() {
        let headers: &[(&str, &str)] = if row.body.is_empty() { &[] } else { &[("content-type", "application/json")] };
        let send = |token: &str, path: &str, body: &str| guarded.ask(token, row.method, path, headers, body.as_bytes());
        let mut expect = |what: &str, answer: &crate::support::Answer, status: u16, message: &str| {
            let says = std::panic::catch_unwind(|| row.shape.message_of(answer)).unwrap_or_default();
            if answer.status != status || !says.contains(message) {
                let body: String = answer.body.chars().take(200).collect();
                let Row { method, path, .. } = &row;
                wrong.push(format!("{method} {path} {what}: want {status} {message:?}, got {} {body}", answer.status));
            }
        };
        let right = row.right;
        let known = |token: &str| send(token, &row.path, &row.body);
        expect("without a token", &known(""), 401, &format!("the right to {right} needs a token"));
        expect("with a wrong token", &known("wrong"), 401, "the token is not known");
        let insufficient = format!("not-{right}");
        expect("without the right", &known(&insufficient), 403, &format!("has not the right to {right}"));
        // Nobody's has the same answer as zebra's: whoever asks does not learn that there is one.
        let (status, message) = row.elsewhere;
        let missing = send("apple", &nobodys(&row.path), &nobodys(&row.body));
        expect("about nobody's", &missing, status, message);
        let foreign = known("apple");
        expect("of another organization", &foreign, missing.status, "");
        if nobodys(&foreign.body).replace("delete 1", "delete 7") != missing.body {
            wrong.push(format!("{} {}: {} and {}", row.method, row.path, foreign.body, missing.body));
        }
        // Last, because it changes something.
        let own = known(right);
        if [401, 403, status].contains(&own.status) {
            wrong.push(format!("{} {} with the right: {} {}", row.method, row.path, own.status, own.body));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
