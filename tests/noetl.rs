//! The NoETL dialect from outside: reports and queries, and what is refused with which answer.

mod contract;
mod export;
mod registry;
mod time_to_live;

use serde_json::{Value, json};

use crate::support::{Answer, Server};

/// The body of the dialect's document, byte for byte.
const EXAMPLE: &str = r#"{
"component_name": "worker-cpu-01",
"component_type": "worker_pool",
"metrics": [
{
"metric_name": "noetl_system_cpu_usage_percent",
"metric_type": "gauge",
"metric_value": 45.2,
"timestamp": "2024-01-01T12:00:00Z",
"labels": {
"component": "worker-cpu-01",
"hostname": "node-1"
},
"help_text": "CPU usage percentage",
"unit": "percent"
}
]
}
"#;

fn report(server: &Server, body: &str) -> Answer {
    server.send("POST", "/api/metrics/report", &[("content-type", "application/json")], body.as_bytes())
}

fn metric(name: &str, value: &str, more: &str) -> String {
    format!(r#"{{"metric_name":"{name}","metric_type":"gauge","metric_value":{value}{more}}}"#)
}

fn one(metric: &str) -> String {
    format!(r#"{{"component_name":"c","component_type":"monitor","metrics":[{metric}]}}"#)
}

fn rows(server: &Server, query: &str) -> Vec<Value> {
    let answer = server.get(&format!("/api/metrics/query?{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    let body = answer.json();
    let rows = body["metrics"].as_array().unwrap().clone();
    assert_eq!(body["count"], rows.len());
    rows
}

#[test]
fn the_example_of_the_document_is_stored_and_found() {
    let server = Server::start();
    let answer = report(&server, EXAMPLE);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = answer.json();
    let id = body["runtime_id"].as_i64().unwrap();
    assert_eq!(body, json!({"status": "ok", "runtime_id": id, "metrics_inserted": 1}));

    let found = rows(&server, "component_name=worker-cpu-01&metric_name=cpu_usage");
    assert_eq!(found.len(), 1);
    let mut row = found[0].clone();
    assert!(row["metric_id"].as_u64().is_some_and(|id| id < 1 << 53));
    // The newest sample of a series says when it arrived.
    assert!(row["created_at"].as_str().is_some_and(|at| at > "2025"), "{row}");
    for field in ["metric_id", "created_at"] {
        row.as_object_mut().unwrap().remove(field);
    }
    assert_eq!(
        row,
        json!({
            "runtime_id": id,
            "component_name": "worker-cpu-01",
            "component_type": "worker_pool",
            "metric_name": "noetl_system_cpu_usage_percent",
            "metric_type": "gauge",
            "metric_value": 45.2,
            "labels": {"component": "worker-cpu-01", "component_type": "worker_pool", "hostname": "node-1"},
            "help_text": "CPU usage percentage",
            "unit": "percent",
            "timestamp": "2024-01-01T12:00:00Z",
        })
    );
    assert!(rows(&server, "metric_name=cpu_usage&match=exact").is_empty());
    assert!(rows(&server, "component_name=worker-cpu-02").is_empty());
    assert_eq!(rows(&server, &format!("runtime_id={id}&metric_type=gauge")).len(), 1);
    assert!(rows(&server, "metric_type=counter").is_empty());
    assert!(rows(&server, "runtime_id=999").is_empty());
}

#[test]
fn filters_by_time_and_limit_give_the_newest_first() {
    let server = Server::start();
    let metrics: Vec<String> = (0..50)
        .map(|i| metric("m", &i.to_string(), &format!(r#","timestamp":"2024-01-{:02}T00:00:00""#, i % 28 + 1)))
        .chain((0..3).map(|i| metric("other", &i.to_string(), r#","timestamp":"2024-01-01T00:00:00""#)))
        .collect();
    let answer = report(&server, &one(&metrics.join(",")));
    assert_eq!(answer.json()["metrics_inserted"], 53);
    let all = rows(&server, "metric_name=m");
    assert_eq!(all.len(), 28, "the last one of a series and a millisecond counts");
    let times: Vec<&str> = all.iter().map(|row| row["timestamp"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a > b), "{times:?}");
    assert_eq!((all[0]["metric_value"].as_f64(), all[27]["metric_value"].as_f64()), (Some(27.0), Some(28.0)));
    let some = rows(&server, "metric_name=m&limit=2&end_time=2024-01-05T12:00:00Z&start_time=1704067200");
    let times: Vec<&str> = some.iter().map(|row| row["timestamp"].as_str().unwrap()).collect();
    assert_eq!(times, ["2024-01-05T00:00:00Z", "2024-01-04T00:00:00Z"]);
    assert_eq!(rows(&server, "limit=10000").len(), 29);
    let none = server.get("/api/metrics/query?metric_name=nothing").json();
    assert_eq!(none, json!({"metrics": [], "count": 0, "limit": 1000}));
}

#[test]
fn values_labels_and_types_come_back_as_they_were_meant() {
    let server = Server::start();
    let metrics = [
        metric("nan", r#""NaN""#, ""),
        metric("inf", r#""-Infinity""#, ""),
        metric("exact", "0.30000000000000004", r#","labels":{"n":1.50,"b":false,"x":null,"component":"other"}"#),
        r#"{"metric_name":"h_bucket","metric_type":"histogram","metric_value":3,"labels":{"le":"1"}}"#.to_owned(),
    ];
    assert_eq!(report(&server, &one(&metrics.join(","))).json()["metrics_inserted"], 4);
    let value = |name: &str| rows(&server, &format!("metric_name={name}"))[0].clone();
    assert_eq!(value("nan")["metric_value"], "NaN");
    assert_eq!(value("inf")["metric_value"], "-Infinity");
    let exact = value("exact");
    assert_eq!(exact["metric_value"].as_f64(), Some(0.300_000_000_000_000_04));
    assert_eq!(
        exact["labels"],
        json!({"n": "1.50", "b": "false", "component": "c", "component_type": "monitor", "exported_component": "other"})
    );
    assert_eq!((&exact["help_text"], &exact["unit"]), (&Value::Null, &Value::Null));
    assert_eq!(value("h_bucket")["metric_type"], "histogram", "known by its family");
    assert_eq!(rows(&server, "metric_type=histogram").len(), 1);
}

#[test]
fn bodies_are_taken_compressed() {
    let server = Server::start();
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, EXAMPLE.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(EXAMPLE.as_bytes(), 1).unwrap();
    for (encoding, body) in [("gzip", gzip), ("zstd", zstd)] {
        let headers = [("content-type", "application/json; charset=utf-8"), ("content-encoding", encoding)];
        let answer = server.send("POST", "/api/metrics/report", &headers, &body);
        assert_eq!(answer.status, 200, "{encoding}: {}", answer.body);
    }
    assert_eq!(rows(&server, "").len(), 1);
}

/// What a bad body is answered with: status, and a text that its answer contains.
#[test]
fn bad_reports_are_refused_by_name() {
    let server = Server::with(&[("ingest.max_batch_samples", "3"), ("ingest.max_body_bytes", "20000")]);
    let long = "x".repeat(256);
    let many_labels: Vec<String> = (0..65).map(|i| format!(r#""l{i}":"v""#)).collect();
    let table: Vec<(String, u16, &str)> = vec![
        // No JSON, or no report: a list of problems with their places.
        (String::new(), 422, "JSON decode error: EOF while parsing a value at line 1 column 0"),
        ("{".into(), 422, "at line 1 column 1"),
        ("{\n \"metrics\": [\n  {,}]}".into(), 422, "at line 3 column 4"),
        ("nonsense".into(), 422, "json_invalid"),
        (r#"{"component_name":"c","metrics":[]} trailing"#.into(), 422, "trailing characters at line 1 column 37"),
        (one(&metric("m", "NaN", "")), 422, "json_invalid"),
        (one(&metric("m", "Infinity", "")), 422, "json_invalid"),
        (one(&metric("m", "01", "")), 422, "json_invalid"),
        ("[]".into(), 422, "model_attributes_type"),
        ("null".into(), 422, "model_attributes_type"),
        ("3".into(), 422, "model_attributes_type"),
        (
            r#"{"component_name":"c"}"#.into(),
            422,
            r#""loc":["body","metrics"],"msg":"Field required","type":"missing""#,
        ),
        (r#"{"component_name":"c","metrics":{}}"#.into(), 422, "metrics must be a list, not an object"),
        (r#"{"component_name":"c","metrics":null}"#.into(), 422, "metrics must be a list, not null"),
        (r#"{"component_name":1,"metrics":[]}"#.into(), 422, r#""loc":["body","component_name"]"#),
        (r#"{"component_name":"c","component_type":[],"metrics":[]}"#.into(), 422, r#""type":"string_type""#),
        (r#"{"runtime_id":"x","metrics":[]}"#.into(), 422, "runtime_id must be a whole number"),
        (r#"{"runtime_id":1.5,"metrics":[]}"#.into(), 422, r#""type":"int_type""#),
        // Who reports.
        (r#"{"metrics":[]}"#.into(), 400, "either runtime_id or component_name is required"),
        (r#"{"component_name":"","metrics":[]}"#.into(), 400, "either runtime_id or component_name is required"),
        (r#"{"runtime_id":777,"metrics":[]}"#.into(), 404, "runtime_id 777 is not known"),
        (format!(r#"{{"component_name":"{long}","metrics":[]}}"#), 400, "limit ingest.max_name_bytes = 255 reached"),
        (
            format!(r#"{{"component_name":"c","component_type":"{}","metrics":[]}}"#, &long[..51]),
            400,
            "limit report.max_type_bytes = 50 reached",
        ),
        // One metric, and it is wrong: refused with its place.
        (one("{}"), 400, r#"{"error":"metric_name is missing","index":0}"#),
        (one("null"), 400, "a metric must be an object, not null"),
        (one(r#"{"metric_type":"gauge","metric_value":1}"#), 400, "metric_name is missing"),
        (one(&metric("", "1", "")), 400, "metric_name is empty"),
        (one(&metric(&long, "1", "")), 400, "limit ingest.max_name_bytes = 255 reached"),
        (one(r#"{"metric_name":"m","metric_value":1}"#), 400, "metric_type is missing"),
        (
            one(r#"{"metric_name":"m","metric_type":"timer","metric_value":1}"#),
            400,
            r#"metric_type \"timer\" is none of gauge, counter, histogram, summary"#,
        ),
        (one(r#"{"metric_name":"m","metric_type":"gauge"}"#), 400, "metric_value is missing"),
        (one(&metric("m", "null", "")), 400, "metric_value must be a number, not null"),
        (one(&metric("m", r#""12""#, "")), 400, "only NaN, Infinity and -Infinity are written as strings"),
        (one(&metric("m", "true", "")), 400, "metric_value must be a number, not a boolean"),
        (one(&metric("m", "1e999", "")), 400, "metric_value is out of the range of a double"),
        (one(&metric("m", "1", r#","timestamp":1704110400"#)), 400, "not a number"),
        (one(&metric("m", "1", r#","timestamp":"01/01/2024""#)), 400, r#"timestamp \"01/01/2024\" is not a timestamp"#),
        (one(&metric("m", "1", r#","timestamp":"2024-02-30T00:00:00Z""#)), 400, "is not a timestamp"),
        (one(&metric("m", "1", r#","timestamp":"9999-01-01T00:00:00Z""#)), 400, "limit ingest.max_future"),
        (one(&metric("m", "1", r#","labels":[]"#)), 400, "labels must be an object, not a list"),
        (one(&metric("m", "1", r#","labels":{"a":{}}"#)), 400, r#"label \"a\" must be a string, not an object"#),
        (one(&metric("m", "1", r#","labels":{"a":[1]}"#)), 400, r#"label \"a\" must be a string, not a list"#),
        (one(&metric("m", "1", r#","labels":{"":"x"}"#)), 400, "a label has an empty name"),
        (one(&metric("m", "1", r#","labels":{"__name__":"x"}"#)), 400, "is reserved"),
        (one(&metric("m", "1", r#","labels":{"a":"\udc00"}"#)), 400, "is not valid Unicode"),
        (one(&metric("m", "1", &format!(r#","labels":{{"{long}":"x"}}"#))), 400, "ingest.max_name_bytes = 255"),
        (
            one(&metric("m", "1", &format!(r#","labels":{{"a":"{}"}}"#, "x".repeat(4097)))),
            400,
            "limit ingest.max_value_bytes = 4096 reached",
        ),
        (
            one(&metric("m", "1", &format!(r#","labels":{{{}}}"#, many_labels.join(",")))),
            400,
            "limit ingest.max_labels = 64",
        ),
        (one(&metric("m", "1", &format!(r#","unit":"{}""#, &long[..51]))), 400, "limit ingest.max_unit_bytes = 50"),
        (one(&metric("m", "1", r#","unit":5"#)), 400, "unit must be a string, not a number"),
        (one(&metric("m", "1", r#","help_text":["x"]"#)), 400, "help_text must be a string, not a list"),
        // Too much.
        (one(&vec![metric("m", "1", ""); 4].join(",")), 413, "limit ingest.max_batch_samples = 3 reached"),
        (one(&metric("m", "1", &" ".repeat(20_000))), 413, "limit ingest.max_body_bytes = 20000"),
    ];
    assert!(table.len() >= 50);
    for (body, status, says) in &table {
        let answer = report(&server, body);
        let detail = answer.json()["detail"].clone();
        assert_eq!(answer.status, *status, "{body}\n{}", answer.body);
        assert!(answer.body.contains(says), "{body}\n{}\nwants {says}", answer.body);
        assert_eq!(detail.is_array(), *status == 422, "{}", answer.body);
        assert!(detail.is_array() || detail.is_string(), "{}", answer.body);
    }
    assert!(rows(&server, "").is_empty(), "nothing of it is stored");
    let json = ("content-type", "application/json");
    for (headers, status, says) in [
        ([("content-type", "text/plain"), ("x-a", "b")], 415, r#"content type \"text/plain\" is not JSON"#),
        ([("content-type", "application/x-www-form-urlencoded"), ("x-a", "b")], 415, "send Content-Type"),
        ([json, ("content-encoding", "br")], 415, "send identity, gzip or zstd"),
        ([json, ("content-encoding", "gzip")], 400, "not valid gzip"),
    ] {
        let answer = server.send("POST", "/api/metrics/report", &headers, EXAMPLE.as_bytes());
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(answer.json()["detail"].is_string() && answer.body.contains(says), "{}", answer.body);
    }
    assert_eq!(server.get("/api/metrics/report").status, 405);
}

#[test]
fn limits_of_names_are_kept_to_the_byte() {
    let server = Server::start();
    let (name, short) = ("n".repeat(255), "t".repeat(50));
    let body = format!(
        r#"{{"component_name":"{name}","component_type":"{short}","metrics":[{}]}}"#,
        metric(&name, "1", &format!(r#","unit":"{short}""#))
    );
    assert_eq!(report(&server, &body).status, 200);
    assert_eq!(rows(&server, &format!("metric_name={name}"))[0]["unit"], short);
}

#[test]
fn timestamps_without_a_zone_are_of_the_configured_one() {
    let server = Server::with(&[("report.naive_timezone", "+02:00")]);
    report(&server, &one(&metric("m", "1", r#","timestamp":"2024-01-01 12:00:00.25""#)));
    assert_eq!(rows(&server, "metric_name=m")[0]["timestamp"], "2024-01-01T10:00:00.250Z");
    assert_eq!(rows(&server, "metric_name=m&start_time=2024-01-01T12:00:00").len(), 1);
    assert!(rows(&server, "metric_name=m&start_time=2024-01-01T12:00:00Z").is_empty());
}

#[test]
fn a_bad_metric_leaves_the_good_ones() {
    let server = Server::with(&[("report.max_listed_rejections", "2")]);
    let metrics = [
        metric("good", "1", ""),
        metric("bad", "{}", ""),
        metric("also_good", "2", ""),
        metric("bad", "[]", ""),
        metric("bad", "null", ""),
    ];
    let answer = report(&server, &one(&metrics.join(",")));
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!((&body["metrics_inserted"], &body["rejected_count"]), (&json!(2), &json!(3)));
    assert_eq!(body["rejected"].as_array().unwrap().len(), 2, "no more than are to be listed");
    assert_eq!(body["rejected"][1], json!({"index": 3, "error": "metric_value must be a number, not a list"}));
    assert_eq!(rows(&server, "").len(), 2);
    let all = report(&server, &one(&metrics[1]));
    assert_eq!(all.status, 400);
    assert_eq!(
        all.json()["detail"],
        "all 1 metrics were rejected; metrics[0]: metric_value must be a number, not an object"
    );
    assert_eq!(all.json()["rejected"][0]["index"], 0);
    assert_eq!(report(&server, &one("")).json()["metrics_inserted"], 0, "an empty list is a sign of life");
}

#[test]
fn bad_queries_are_refused_by_name() {
    let server = Server::start();
    for (query, status, says) in [
        ("limit=0", 422, "greater than or equal to 1"),
        ("limit=10001", 422, "less than or equal to 10000"),
        ("limit=ten", 422, "int_parsing"),
        ("runtime_id=a", 422, r#""loc":["query","runtime_id"]"#),
        ("metric_type=timer", 422, r#""loc":["query","metric_type"]"#),
        ("start_time=soon", 422, "datetime_parsing"),
        ("end_time=2024-13-01T00:00:00Z", 422, r#""loc":["query","end_time"]"#),
        ("match=fuzzy", 422, "Input should be 'exact'"),
        ("start_time=2&end_time=1", 400, "start_time is after end_time"),
    ] {
        let answer = server.get(&format!("/api/metrics/query?{query}"));
        assert_eq!(answer.status, status, "{query}: {}", answer.body);
        assert!(answer.body.contains(says), "{query}: {}", answer.body);
    }
    let server = Server::with(&[("query.max_samples", "2")]);
    report(&server, &one(&[metric("a", "1", ""), metric("b", "1", ""), metric("c", "1", "")].join(",")));
    let answer = server.get("/api/metrics/query");
    assert_eq!(answer.status, 422, "{}", answer.body);
    assert!(answer.body.contains("limit query.max_samples = 2 reached"), "{}", answer.body);
    assert_eq!(rows(&server, "metric_name=a").len(), 1);
}

#[test]
fn an_expression_is_answered_as_prometheus_does() {
    let server = Server::start();
    report(&server, EXAMPLE);
    let at = |query: &str| server.get(&format!("/api/metrics/query?{query}"));
    let instant = at("query=noetl_system_cpu_usage_percent&time=2024-01-01T12:01:00Z").json();
    assert_eq!((&instant["status"], &instant["data"]["resultType"]), (&json!("success"), &json!("vector")));
    assert_eq!(instant["data"]["result"][0]["value"], json!([1_704_110_460, "45.2"]));
    let range = at("query=noetl_system_cpu_usage_percent&start=1704110400&end=1704110460&step=30").json();
    assert_eq!(range["data"]["result"][0]["values"].as_array().map(Vec::len), Some(3));
    for query in ["query=sum(", "query="] {
        let wrong = at(query);
        assert_eq!((wrong.status, &wrong.json()["errorType"]), (400, &json!("bad_data")), "{}", wrong.body);
    }
}
