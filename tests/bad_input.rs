//! Bad input over all endpoints: what is refused, with which status, in the shape of the dialect that owns the path, and
//! naming what is wrong. Nothing of it may break the server or cost anything that was accepted.

use std::io::{Read, Write};

use crate::remote_write::{Proto, series};
use crate::support::{Answer, Server};

/// Which shape an error must have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    /// `{"status":"error","errorType":…,"error":…}`
    Prometheus,
    /// `{"detail":…}`
    NoEtl,
    /// `{"error":…}`
    Plain,
    /// A line of text.
    Text,
    /// `{"errors":[…]}`
    Flink,
    /// `{"errorCode":…,"message":…,"errors":[]}`
    Tsp,
}
use Shape::{Flink, NoEtl, Plain, Prometheus, Text, Tsp};

impl Shape {
    /// What an error says, if it has the shape.
    pub(crate) fn message_of(self, answer: &Answer) -> String {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_else(|| panic!("{}", answer.body)).to_owned();
        match self {
            Text => answer.body.clone(),
            Plain => text(&answer.json()["error"]),
            NoEtl => {
                let detail = &answer.json()["detail"];
                assert!(detail.is_string() || detail.is_array(), "{}", answer.body);
                answer.body.clone()
            }
            Prometheus => {
                let body = answer.json();
                assert!(body["status"] == "error" && body["errorType"].is_string(), "{body}");
                text(&body["error"])
            }
            Flink => {
                assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{}", answer.body);
                text(&answer.json()["errors"][0])
            }
            Tsp => {
                let body = answer.json();
                assert!(body["errorCode"].is_u64() && body["errors"] == serde_json::json!([]), "{body}");
                text(&body["message"])
            }
        }
    }
}

struct Row {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    status: u16,
    shape: Shape,
    message: &'static str,
}

fn row(method: &'static str, path: impl Into<String>, status: u16, shape: Shape, message: &'static str) -> Row {
    Row { method, path: path.into(), headers: Vec::new(), body: Vec::new(), status, shape, message }
}

impl Row {
    fn header(mut self, name: &'static str, value: impl Into<String>) -> Row {
        self.headers.push((name, value.into()));
        self
    }

    fn body(mut self, kind: &str, body: impl Into<Vec<u8>>) -> Row {
        self.body = body.into();
        self.header("content-type", kind)
    }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const PROTO: &str = "application/x-protobuf";

/// A report with one metric that has these fields on top of sound ones.
fn report(fields: &str) -> String {
    format!(
        r#"{{"component_name":"w","component_type":"worker_pool","metrics":[{{"metric_name":"m","metric_type":"gauge","metric_value":1{fields}}}]}}"#
    )
}

fn reports() -> Vec<Row> {
    let post =
        |body: &str, status, message| row("POST", "/api/metrics/report", status, NoEtl, message).body(JSON, body);
    let long = "x".repeat(300);
    vec![
        post("", 422, "line 1"),
        post("{", 422, "line 1"),
        post("{\n \"metrics\": [}", 422, "line 2"),
        post("[]", 422, "model_attributes_type"),
        post("null", 422, "model_attributes_type"),
        post(r#"{"component_name":"w"}"#, 422, "metrics"),
        post(r#"{"metrics":[]}"#, 400, "component_name"),
        post(r#"{"component_name":"w","metrics":{}}"#, 422, "metrics"),
        post(r#"{"component_name":7,"metrics":[]}"#, 422, "component_name"),
        post(r#"{"component_name":"w","component_type":"p","metrics":[{"metric_name":"m"}]}"#, 400, "metric_type"),
        post(&report(r#","metric_type":"rate""#), 400, r#"metric_type \"rate\" is none of"#),
        post(&report("").replace(r#""gauge""#, r#""speed""#), 400, "speed"),
        post(&report("").replace(r#""metric_value":1"#, r#""metric_value":NaN"#), 422, "line 1"),
        post(
            &report("").replace(r#""metric_value":1"#, r#""metric_value":"seven""#),
            400,
            "metric_value must be a number",
        ),
        post(&report("").replace(r#""metric_value":1"#, r#""metric_value":[1]"#), 400, "metric_value"),
        post(&report("").replace(r#""metric_name":"m""#, r#""metric_name":"""#), 400, "metric_name"),
        post(&report("").replace(r#""metric_name":"m""#, &format!(r#""metric_name":"{long}""#)), 400, "255"),
        post(&report(r#","timestamp":"yesterday""#), 400, "yesterday"),
        post(&report(r#","timestamp":"2024-13-01T00:00:00Z""#), 400, "2024-13-01"),
        post(&report(r#","timestamp":"9999-01-01T00:00:00Z""#), 400, "ingest.max_future"),
        post(&report(r#","labels":{"a":[1]}"#), 400, r#"label \"a\" must be a string, not a list"#),
        post(&report(r#","labels":7"#), 400, "labels"),
        post(&report(&format!(r#","unit":"{long}""#)), 400, "unit"),
        post(
            &report("").replace(r#""component_name":"w""#, r#""runtime_id":123456,"component_name":"""#),
            404,
            "123456",
        ),
        post(&report(""), 415, "content encoding").header("content-encoding", "br"),
        post("no gzip", 400, "not valid gzip").header("content-encoding", "gzip"),
        row("POST", "/api/metrics/report", 413, NoEtl, "ingest.max_decoded_bytes")
            .body(JSON, gzip(&vec![b' '; 300_000]))
            .header("content-encoding", "gzip"),
        row("POST", "/api/metrics/report", 413, NoEtl, "ingest.max_body_bytes").body(JSON, vec![b' '; 100_001]),
        row("GET", "/api/metrics/report", 405, NoEtl, "GET"),
    ]
}

fn noetl() -> Vec<Row> {
    let get = |path: &str, status, message| row("GET", path, status, NoEtl, message);
    let post = |path: &str, body: &str, status, message| row("POST", path, status, NoEtl, message).body(JSON, body);
    vec![
        get("/api/metrics/query?limit=0", 422, "limit"),
        get("/api/metrics/query?limit=10001", 422, "limit"),
        get("/api/metrics/query?limit=many", 422, "limit"),
        get("/api/metrics/query?start_time=noon", 422, "start_time"),
        get("/api/metrics/query?runtime_id=x", 422, "runtime_id"),
        get("/api/metrics/nothing", 404, "no such path"),
        get("/api/runtime/nothing", 404, "no such path"),
        post("/api/worker/pool/heartbeat", r#"{"name":"nobody"}"#, 404, "nobody"),
        post("/api/worker/pool/heartbeat", "{}", 422, "name"),
        post("/api/worker/pool/register", r#"{"name":"p","kind":"toaster"}"#, 400, "toaster"),
        post("/api/worker/pool/register", "{", 422, "JSON decode error"),
        post("/api/runtime/register", r#"{"kind":"broker"}"#, 422, "name"),
        row("POST", "/api/runtime/register", 415, NoEtl, "content type").body(FORM, "name=x"),
        post("/api/worker/pool/register", &" ".repeat(3001), 413, "report.max_registration_bytes"),
        post("/api/worker/pool/heartbeat", &" ".repeat(3001), 413, "report.max_registration_bytes"),
        post("/api/metrics/ttl/set?metric_name=m&ttl_days=0", "", 422, "ttl_days"),
        post("/api/metrics/ttl/set?ttl_days=1", "", 422, "metric_name"),
        post("/api/metrics/ttl/extend-component?component_name=nobody&ttl_days=1", "", 404, "nobody"),
        post("/api/metrics/partitions/create?days_ahead=x", "", 422, "days_ahead"),
        post("/api/metrics/cleanup", "", 403, "another origin").header("origin", "http://elsewhere.example"),
        row("DELETE", "/api/metrics/components", 405, NoEtl, "DELETE"),
    ]
}

fn remote_writes() -> Vec<Row> {
    let snappy = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
    let write = |body: Vec<u8>, status, message| row("POST", "/api/v1/write", status, Text, message).body(PROTO, body);
    let of = |labels: &[(&str, &str)], samples: &[(i64, f64)]| {
        snappy(&Proto::default().message(1, series(labels, samples)).0)
    };
    let long = "v".repeat(5000);
    vec![
        write(b"nonsense".to_vec(), 400, "snappy"),
        write(snappy(b"\x0A\x09x"), 400, "longer than its message"),
        write(of(&[("job", "x")], &[(1, 1.0)]), 400, "no metric name"),
        write(of(&[("__name__", "x"), ("__name__", "y")], &[(1, 1.0)]), 400, "twice"),
        write(of(&[("__name__", "x"), ("l", &long)], &[(1, 1.0)]), 400, "ingest.max_value_bytes"),
        write(of(&[("__name__", "x")], &[(i64::MAX, 1.0)]), 400, "ingest.max_future"),
        write(vec![0xFF, 0xFF, 0xFF, 0xFF, 0x0F], 413, "ingest.max_decoded_bytes"),
        row("POST", "/api/v1/write", 415, Text, "content type").body(JSON, "{}"),
        row("POST", "/api/v1/push", 415, Text, "content encoding").body(PROTO, "x").header("content-encoding", "lzma"),
        row("PUT", "/api/v1/write", 405, Text, "PUT"),
        row("PUT", "/prometheus/api/v1/write", 405, Text, "PUT"),
        row("POST", "/prometheus/api/v1/push", 415, Text, "content type").body(JSON, "{}"),
    ]
}

fn expressions() -> Vec<Row> {
    let get = |query: &str, status, message| {
        row("GET", format!("/api/v1/query?query={}", encode(query)), status, Prometheus, message)
    };
    let deep = "(".repeat(5000);
    vec![
        row("GET", "/api/v1/query", 400, Prometheus, "parse error"),
        get("sum(", 400, "1:5: parse error"),
        get("up{job=\"x}", 400, "parse error"),
        get("up offset", 400, "parse error"),
        get("rate(up)", 400, "expected type range vector"),
        get("nothing(up)", 400, "unknown function"),
        get("up[5m]+1", 400, "parse error"),
        get("{}", 400, "matcher"),
        get("up{job=~\"(\"}", 400, "regexp"),
        get("sum by (a b) (up)", 400, "parse error"),
        get("1 == 1", 400, "BOOL"),
        get("up\n  and bool up", 400, "2:"),
        get(&deep, 422, "query.max_depth"),
        get("label_replace(up, \"x\", \"$1\", \"job\", \"(\")", 422, "regular expression"),
        row("GET", "/api/v1/query?query=up&time=yesterday", 400, Prometheus, "time"),
        row("GET", "/api/v1/query?query=up&timeout=soon", 400, Prometheus, "timeout"),
        row("GET", "/api/v1/query?query=%ZZ", 400, Prometheus, "malformed URL encoding at \"%ZZ\""),
        row(
            "GET",
            "/api/v1/query_range?query=up&start=1&end=0&step=1",
            400,
            Prometheus,
            "end timestamp must not be before start",
        ),
        row("GET", "/api/v1/query_range?query=up&start=0&end=1&step=0", 400, Prometheus, "step"),
        row("GET", "/api/v1/query_range?query=up&start=0&end=1", 400, Prometheus, "step"),
        row("GET", "/api/v1/query_range?query=up&start=0&end=1000000&step=1", 400, Prometheus, "11,000"),
        row("GET", "/api/v1/query_range?query=up[5m]&start=0&end=1&step=1", 400, Prometheus, "invalid expression type"),
        row("POST", "/api/v1/query", 415, Prometheus, "content type \"text/csv\"").body("text/csv", "query=up"),
        row("POST", "/api/v1/query", 413, Prometheus, "query.max_body_bytes").body(FORM, vec![b'q'; 50_001]),
        row("DELETE", "/api/v1/query", 405, Prometheus, "DELETE"),
    ]
}

fn index() -> Vec<Row> {
    let get = |path: &str, status, message| row("GET", path, status, Prometheus, message);
    vec![
        get("/api/v1/series", 400, "match[]"),
        get("/api/v1/series?match[]=up{", 400, "parse error"),
        get("/api/v1/series?match[]=up&start=x", 400, "start"),
        get("/api/v1/series?match[]=up&limit=-1", 400, "limit"),
        get("/api/v1/series?match[]=%7B%7D", 400, "matcher"),
        get("/api/v1/labels?match[]=1", 400, "parse error"),
        get("/api/v1/labels?start=2&end=x", 400, "end"),
        get("/api/v1/label//values", 400, "invalid label name"),
        get("/api/v1/label/job/values?limit=x", 400, "limit"),
        get("/api/v1/metadata?limit=x", 400, "limit"),
        get("/api/v1/query_exemplars?query=up&start=x&end=1", 400, "start"),
        get("/api/v1/format_query?query=sum(", 400, "parse error"),
        get("/api/v1/status/nothing", 404, "no such path"),
        get("/api/v1/nothing", 404, "no such path"),
        row("GET", "/federate?match[]=up{", 400, Text, "parse error"),
        row("POST", "/federate", 405, Text, "POST"),
        row("POST", "/prometheus/federate", 405, Text, "POST"),
        row("POST", "/prometheus/metrics", 405, Text, "POST"),
        row("GET", "/prometheus/nothing", 404, Prometheus, "no such path"),
        row("GET", "/nothing", 404, Plain, "no such path"),
        row("GET", "/-/nothing", 404, Plain, "no such path"),
        row("GET", "/%FF", 404, Plain, "no such path"),
    ]
}

/// An id that no job has.
const NO_JOB: &str = "0123456789abcdef0123456789abcdef";
/// The id of a job that its engine pushes, in all dialects.
const PUSHED: &str = "fedcba9876543210fedcba9876543210";

fn flink() -> Vec<Row> {
    let get = |path: String, status, message| row("GET", path, status, Flink, message);
    let job = |rest: &str| format!("/jobs/{NO_JOB}{rest}");
    let pushed = |rest: &str| format!("/jobs/{PUSHED}{rest}");
    vec![
        get(job(""), 404, "not found"),
        get(job("/plan"), 404, "not found"),
        get(format!("/v1{}", job("/exceptions")), 404, "not found"),
        get(format!("/flink{}", job("/checkpoints/details/7")), 404, "not found"),
        get(job(&format!("/vertices/{NO_JOB}")), 404, "not found"),
        get("/taskmanagers/nobody".to_owned(), 500, "Internal server error"),
        get("/jobs/x".to_owned(), 400, "(jobid) from value \"x\""),
        get(format!("/jobs/{NO_JOB}0"), 400, "jobid"),
        get("/jobs/%FF/plan".to_owned(), 400, "jobid"),
        get(job("/vertices/x"), 400, "vertexid"),
        get(job("/checkpoints/details/x"), 400, "checkpointid"),
        get(job(&format!("/vertices/{NO_JOB}/subtasks/-1")), 400, "subtaskindex"),
        get(job(&format!("/vertices/{NO_JOB}/subtasks/0/attempts/99999999999999999999")), 400, "attempt"),
        get("/jobs?at=noon".to_owned(), 400, "noon"),
        get("/jobs/overview?at=%ZZ".to_owned(), 400, "malformed URL encoding"),
        get("/jobs/metrics?start=1&end=0".to_owned(), 400, "end lies before start"),
        get("/jobs/metrics?end=1".to_owned(), 400, "start is missing"),
        get("/jobs/metrics?start=0&end=100000&step=1".to_owned(), 400, "query.max_steps"),
        get("/jobs/x/nothing".to_owned(), 404, "Unable to load requested file"),
        row("GET", "/v1/nothing", 404, Plain, "no such path: /v1/nothing"),
        row("GET", "/overview", 400, Flink, "did not match expected format EmptyRequestBody").body(JSON, "{"),
        row("GET", job("/plan"), 400, Flink, "did not match expected format").body("text/csv", "a,b"),
        row("GET", "/overview", 413, Flink, "query.max_body_bytes").body(JSON, vec![b' '; 50_001]),
        row("POST", "/overview", 404, Flink, "Not found: /overview"),
        row("DELETE", "/jobs", 404, Flink, "Not found"),
        row("PATCH", "/jobs/x", 400, Flink, "jobid"),
        row("PATCH", job(""), 404, Flink, "not found"),
        row("POST", job("/savepoints"), 404, Flink, "not found").body(JSON, "{"),
        get(pushed(&format!("/vertices/{NO_JOB}")), 404, "JobVertex"),
        get(pushed("/savepoints/x"), 400, "triggerid"),
        get(pushed(&format!("/savepoints/{NO_JOB}")), 404, "no savepoint operation"),
        row("PATCH", pushed("?mode=fly"), 400, Flink, "(mode) from value \"fly\""),
        row("PATCH", pushed("/rescaling?parallelism=none"), 400, Flink, "parallelism"),
        row("POST", pushed("/savepoints"), 400, Flink, "expected format SavepointTriggerRequestBody").body(JSON, "{"),
        row("POST", pushed("/stop"), 400, Flink, "StopWithSavepointRequestBody").body(JSON, "[1]"),
        row("PUT", pushed("/resource-requirements"), 400, Flink, "JobResourceRequirementsBody").body(JSON, "7"),
        row("POST", pushed("/savepoints"), 413, Flink, "jobs.max_report_bytes").body(JSON, vec![b' '; 2001]),
        row("POST", "/jars/upload", 503, Flink, "No cluster is followed").body("text/csv", "x"),
        row("DELETE", "/cluster?cluster=nobody", 503, Flink, "nobody"),
        row("PATCH", job(""), 401, Flink, "token").header("authorization", "Bearer wrong"),
        row("POST", "/jars/upload", 401, Flink, "token").header("x-forwarded-for", "203.0.113.9"),
        row("DELETE", "/cluster", 403, Flink, "another origin").header("origin", "null"),
    ]
}

fn tsp() -> Vec<Row> {
    let get = |path: &str, status, message| row("GET", path, status, Tsp, message);
    vec![
        get("/tsp/job/nobody/status/", 400, "No such job"),
        get("/tsp/job/%FF/statusAndMetrics", 400, "No such job"),
        get("/tsp/job/nobody/stop/", 400, "No such job"),
        get("/tsp/jobs/nobody/exceptions/", 400, "No such job"),
        get("/tsp/job/x/status?at=noon", 400, "noon"),
        get("/tsp/job/x/status?at=%ZZ", 400, "malformed URL encoding"),
        get("/tsp/nothing", 404, "no such path"),
        get("/tsp", 404, "no such path"),
        row("POST", "/tsp/jobs/overview/", 405, Tsp, "does not take POST").body(JSON, "{"),
        row("POST", "/tsp/job/x/stop/", 405, Tsp, "does not take POST").body(JSON, vec![b' '; 200_000]),
        get("/tsp/job/x/stop/", 401, "token").header("authorization", "Bearer wrong"),
        get("/tsp/job/x/stop/", 401, "token").header("host", "rebound.example"),
        get("/tsp/job/x/stop/", 403, "another origin").header("sec-fetch-site", "cross-site"),
    ]
}

fn jobs() -> Vec<Row> {
    let get = |path: String, status, message| row("GET", path, status, Plain, message);
    vec![
        get(format!("/api/jobs/{NO_JOB}"), 404, "no such job"),
        get("/api/jobs/nobody/timeline".to_owned(), 404, "no such job"),
        get("/api/jobs/%FF".to_owned(), 400, "not UTF-8"),
        get("/api/jobs?at=noon".to_owned(), 400, "at=\"noon\""),
        get("/api/jobs?at=%ZZ".to_owned(), 400, "malformed URL encoding"),
        get("/api/jobs/x?at=-".to_owned(), 400, "at=\"-\""),
        get("/api/jobs/x/timeline?start=x".to_owned(), 400, "start=\"x\""),
        get("/api/jobs/x/timeline?limit=0".to_owned(), 400, "from 1 to 10000"),
        get("/api/jobs/x/timeline?limit=10001".to_owned(), 400, "from 1 to 10000"),
        get(format!("/api/jobs/{NO_JOB}/diagnosis"), 404, "no such job"),
        get("/api/jobs/x/diagnosis?window=soon".to_owned(), 400, "window=\"soon\""),
        get("/api/jobs/%FF/diagnosis".to_owned(), 400, "not UTF-8"),
        get("/api/jobs/compare?b=x".to_owned(), 400, "a is missing"),
        get("/api/jobs/compare?a=x&b=y".to_owned(), 404, "no such job: x"),
        get("/api/jobs/compare?a=x&b=y&step=-1s".to_owned(), 400, "step=\"-1s\""),
        get("/api/jobs/x/nothing".to_owned(), 404, "no such path"),
        row("DELETE", "/api/jobs", 405, Plain, "does not take DELETE"),
        row("PUT", "/api/jobs/x/timeline", 405, Plain, "does not take PUT"),
    ]
}

fn arroyo() -> Vec<Row> {
    let path = |pipeline: &str, job: &str| format!("/v1/pipelines/{pipeline}/jobs/{job}/operator_metric_groups");
    let ask = |path: String, status, message| {
        row("GET", path, status, Plain, message).header("authorization", "Bearer anything")
    };
    let known = |query: &str| format!("{}?{query}", path("pushed", PUSHED));
    vec![
        ask(path("pl_1", "jc_1"), 404, "Job not found"),
        ask(format!("/api{}", path("pl_1", "jc_1")), 404, "Job not found"),
        ask(format!("/arroyo/api{}", path("pl_1", "jc_1")), 404, "Job not found"),
        ask(path("pl_1", PUSHED), 404, "Job not found"),
        ask(path("pushed", NO_JOB), 404, "Job not found"),
        ask(path("pushed", &"x".repeat(5000)), 404, "Job not found"),
        ask(path("%FF", PUSHED), 404, "Job not found"),
        ask(path("pushed", "%FF"), 404, "Job not found"),
        ask(known("at=noon"), 400, "at=\"noon\""),
        ask(known("start=2&end=1"), 400, "start is after end"),
        ask(known("step=0"), 400, "step=\"0\""),
        ask(known("end=%ZZ"), 400, "malformed URL encoding"),
        ask("/arroyo/nothing".to_owned(), 404, "no such path"),
        ask("/v1/pipelines".to_owned(), 404, "no such path"),
        row("POST", path("pushed", PUSHED), 405, Plain, "does not take POST").body(JSON, vec![b' '; 200_000]),
        row("GET", path("pushed", PUSHED), 401, Plain, "a bearer token is needed"),
        row("GET", path("pl_1", "jc_1"), 401, Plain, "a bearer token is needed").header("authorization", "Basic dTpw"),
        row("GET", known("at=noon"), 401, Plain, "a bearer token is needed").header("authorization", "Bearer "),
    ]
}

fn pushes() -> Vec<Row> {
    let send = |method, path: &str, body: &str, status, message| {
        row(method, format!("/api/jobs{path}"), status, Plain, message).body(JSON, body)
    };
    let register = |body: &str, message| send("PUT", &format!("/{NO_JOB}"), body, 400, message);
    let report = |body: &str, status, message| send("POST", &format!("/{PUSHED}/report"), body, status, message);
    let command = |status, message| send("POST", &format!("/{PUSHED}/commands"), r#"{"kind":"stop"}"#, status, message);
    let (long, blank) = ("x".repeat(256), vec![b' '; 2001]);
    vec![
        register("{", "line 1"),
        register("[]", "the body does not fit"),
        register("{}", "missing field `name`"),
        register(r#"{"name":7}"#, "invalid type"),
        register(r#"{"name":"n","colour":1}"#, "unknown field `colour`"),
        send("PUT", "/%FF", r#"{"name":"n"}"#, 400, "not UTF-8"),
        send("PUT", "/%00", r#"{"name":"n"}"#, 400, "control characters"),
        send("PUT", &format!("/{long}"), r#"{"name":"n"}"#, 400, "1 to 255 bytes"),
        send("POST", "", r#"{"id":"compare","name":"n"}"#, 400, "is a path of this API"),
        send("POST", "/nobody/report", r#"{"state":"RUNNING"}"#, 404, "register it first"),
        send("POST", "/nobody/heartbeat", "{}", 404, "register it first"),
        send("POST", "/nobody/commands", r#"{"kind":"stop"}"#, 404, "register it first"),
        row("GET", "/api/jobs/nobody/commands", 404, Plain, "register it first"),
        row("GET", format!("/api/jobs/{PUSHED}/commands/7"), 404, Plain, "has no command \"7\""),
        row("GET", format!("/api/jobs/{PUSHED}/commands/%FF"), 400, Plain, "not UTF-8"),
        send("PUT", &format!("/{PUSHED}/commands/7"), r#"{"state":"running"}"#, 404, "has no command"),
        report(r#"{"state":"SLEEPING"}"#, 400, "unknown variant `SLEEPING`"),
        report("{\n\"state\":", 400, "line 2"),
        report(r#"{"vertices":[{"id":"nope","state":"RUNNING"}]}"#, 400, "has no vertex \"nope\""),
        row("POST", format!("/api/jobs/{PUSHED}/report"), 415, Plain, "content type \"text/csv\"")
            .body("text/csv", "{}"),
        report("no gzip", 400, "not valid gzip").header("content-encoding", "gzip"),
        row("POST", format!("/api/jobs/{PUSHED}/report"), 413, Plain, "jobs.max_report_bytes")
            .body(JSON, blank.clone()),
        row("POST", format!("/api/jobs/{PUSHED}/report"), 413, Plain, "jobs.max_report_bytes")
            .body(JSON, gzip(&blank))
            .header("content-encoding", "gzip"),
        row("PUT", format!("/api/jobs/{NO_JOB}"), 413, Plain, "jobs.max_report_bytes").body(JSON, blank),
        row("DELETE", format!("/api/jobs/{PUSHED}"), 405, Plain, "does not take DELETE"),
        report("{}", 403, "another origin").header("origin", "http://elsewhere.example"),
        command(401, "token").header("authorization", "Bearer wrong"),
        command(401, "token").header("x-forwarded-for", "203.0.113.9"),
        command(403, "another origin").header("sec-fetch-site", "cross-site"),
    ]
}

fn administration() -> Vec<Row> {
    let flush = |status, message| row("POST", "/api/v1/admin/storage/flush", status, Prometheus, message);
    vec![
        row("GET", "/api/v1/admin/storage/flush", 405, Prometheus, "GET"),
        row("GET", "/api/v1/admin/storage/compact", 405, Prometheus, "GET"),
        row("GET", "/-/reload", 405, Text, "GET"),
        row("GET", "/api/v1/admin/tsdb/delete_series", 405, Prometheus, "GET"),
        row("POST", "/api/v1/admin/tsdb/delete_series", 400, Prometheus, "match[]"),
        row("POST", "/api/v1/admin/tsdb/delete_series?match[]=up{", 400, Prometheus, "parse error"),
        row("POST", "/api/v1/admin/tsdb/delete_series?match[]=%7B%7D", 400, Prometheus, "matcher"),
        row("POST", "/api/v1/admin/tsdb/delete_series?match[]=up&start=x", 400, Prometheus, "start"),
        row("POST", "/api/v1/admin/tsdb/delete_series?match[]=up&start=2&end=1", 400, Prometheus, "end"),
        row("POST", "/api/v1/admin/tsdb/delete_series?match[]=up", 401, Prometheus, "token")
            .header("authorization", "Bearer wrong"),
        // Rights before parameters: what the body is like is nobody's to learn.
        row("POST", "/api/v1/admin/tsdb/delete_series", 401, Prometheus, "token")
            .header("authorization", "Bearer wrong")
            .body("text/csv", vec![b'x'; 60_000]),
        row("POST", "/api/v1/admin/tsdb/delete_series?match[]=%ZZ", 401, Prometheus, "token")
            .header("x-forwarded-for", "203.0.113.9"),
        row("POST", "/api/v1/admin/tsdb/snapshot?skip_head=perhaps", 400, Prometheus, "skip_head"),
        row("POST", "/api/v1/admin/tsdb/snapshot?skip_head=perhaps", 401, Prometheus, "token")
            .header("authorization", "Bearer wrong")
            .body("text/csv", "x"),
        row("GET", "/api/v1/admin/tsdb/clean_tombstones", 405, Prometheus, "GET"),
        row("POST", "/api/v1/admin/tsdb/clean_tombstones", 403, Prometheus, "another origin").header("origin", "null"),
        row("POST", "/api/v1/admin/storage/deletes/x/undo", 400, Prometheus, "id"),
        row("POST", "/api/v1/admin/storage/deletes/%FF/undo", 400, Prometheus, "not UTF-8"),
        row("POST", "/api/v1/admin/storage/deletes/7/undo", 404, Prometheus, "no delete 7"),
        row("DELETE", "/api/v1/admin/storage/snapshots/%FF", 400, Prometheus, "not UTF-8"),
        row("DELETE", "/api/v1/admin/storage/snapshots/nobody", 404, Prometheus, "no snapshot"),
        flush(401, "token").header("authorization", "Bearer wrong"),
        flush(401, "token").header("authorization", "Basic dTpw"),
        flush(401, "token").header("host", "rebound.example"),
        flush(403, "another origin").header("origin", "http://elsewhere.example"),
        flush(403, "another origin").header("sec-fetch-site", "cross-site"),
        row("POST", "/-/reload", 403, Text, "another origin").header("origin", "null"),
    ]
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

#[test]
fn each_bad_input_is_refused_as_its_dialect_does() {
    let server = Server::with(&[
        ("ingest.max_body_bytes", "100000"),
        ("ingest.max_decoded_bytes", "200000"),
        ("query.max_body_bytes", "50000"),
        ("jobs.max_report_bytes", "2000"),
        ("report.max_registration_bytes", "3000"),
    ]);
    let job = br#"{"name":"pushed","commands":["savepoint","stop"]}"#;
    let known = server.send("PUT", &format!("/api/jobs/{PUSHED}"), &[("content-type", JSON)], job);
    assert_eq!((known.status, &known.json()["flink_id"]), (201, &PUSHED.into()), "{}", known.body);
    let of_series = [reports(), noetl(), remote_writes(), expressions(), index(), administration()];
    let of_jobs = [flink(), tsp(), arroyo(), jobs(), pushes()];
    let rows: Vec<Row> = of_series.into_iter().chain(of_jobs).flatten().collect();
    assert!(rows.len() >= 200, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        let headers: Vec<(&str, &str)> = row.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let path = row.path.replace('[', "%5B").replace(']', "%5D").replace('{', "%7B").replace('}', "%7D");
        let answer = server.send(row.method, &path, &headers, &row.body);
        assert!(!row.message.is_empty(), "{} {}", row.method, row.path);
        let fits = std::panic::catch_unwind(|| {
            answer.status == row.status && row.shape.message_of(&answer).contains(row.message)
        });
        if !fits.unwrap_or(false) {
            let beginning: String = answer.body.chars().take(200).collect();
            let sent = String::from_utf8_lossy(&row.body[..row.body.len().min(120)]).into_owned();
            wrong.push(format!(
                "{} {} {sent}\n    want {} {:?} {:?}\n    got  {} {beginning}",
                row.method, row.path, row.status, row.shape, row.message, answer.status
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    still_works(&server);
}

/// Bytes that are no HTTP, headers without end, bodies that are announced and never come.
#[test]
fn connections_that_misbehave_are_closed() {
    let server = Server::with(&[("http.header_timeout", "300ms"), ("http.body_timeout", "300ms")]);
    let address = server.url("").replace("http://", "");
    let endless =
        format!("GET /-/healthy HTTP/1.1\r\nHost: x\r\n{}", "x-filler: yyyyyyyyyyyyyyyyyyyy\r\n".repeat(50_000));
    // Line and headers together are 64 KiB, and a byte more.
    let [most, too_many] = [65_536, 65_537].map(|bytes| {
        let (start, end) = ("GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx: ", "\r\n\r\n");
        format!("{start}{}{end}", "y".repeat(bytes - start.len() - end.len()))
    });
    for (bytes, status) in [
        (most.as_bytes(), Some("200")),
        (too_many.as_bytes(), Some("431")),
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03"[..], Some("400")),
        (b"GET / HTTP/9.9\r\n\r\n", Some("400")),
        (b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", Some("400")),
        (endless.as_bytes(), Some("431")),
        (b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n", None),
        (b"POST /api/metrics/report HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", Some("408")),
        (b"POST /api/metrics/report HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", Some("413")),
    ] {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        // The server may close before everything is sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.take(4096).read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let line = answer.lines().next().unwrap_or_default();
        match status {
            Some(status) => assert!(line.contains(status), "{:?}: {answer:?}", &bytes[..bytes.len().min(60)]),
            None => assert!(!line.contains("200"), "{line}"),
        }
    }
    still_works(&server);
}

/// What was accepted is there, and more is accepted.
fn still_works(server: &Server) {
    assert_eq!(server.get("/-/ready").status, 200);
    let good = server.send("POST", "/api/metrics/report", &[("content-type", JSON)], report("").as_bytes());
    assert_eq!(good.status, 200, "{}", good.body);
    let found = server.get("/api/v1/query?query=m").json();
    assert_eq!(found["data"]["result"][0]["value"][1], "1", "{found}");
}
