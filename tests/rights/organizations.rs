//! Two organizations and who sees both: all that is apple's has "apple" in it, all that is zebra's "zebra". What an
//! organization asks for has its own word and never the other's.

use serde_json::{Value, json};
use streamgauge::auth::Right;
use streamgauge::jobs::{Cluster, Observation, Origin, Subject};

use super::{FORM, Guarded};
use crate::remote_write::{Proto, request, series};
use crate::support::record_job;

const ORGS: [&str; 2] = ["apple", "zebra"];
/// The ids of their jobs.
const JOBS: [&str; 2] = ["a0000000000000000000000000000001", "b0000000000000000000000000000002"];

/// A server with series and jobs of both, all with the same shape.
fn example() -> Guarded {
    let tokens: [super::Given<'_>; 3] = [
        ("apple", &[Right::Admin], Some("apple")),
        ("zebra", &[Right::Admin], Some("zebra")),
        ("both", &[Right::Admin], None),
    ];
    let guarded = Guarded::with(&tokens, &[]);
    let now_ms = guarded.server.app().clock.now_ms();
    for (org, job) in ORGS.into_iter().zip(JOBS) {
        write(&guarded, org, now_ms);
        report(&guarded, org);
        observe(&guarded, org, job, now_ms);
    }
    guarded
}

/// By remote write: a series under the same labels from both, and one with words of its own.
fn write(guarded: &Guarded, org: &str, now_ms: i64) {
    let value = if org == "apple" { 1.0 } else { 2.0 };
    let (name, label, text) = (format!("{org}_rows_total"), format!("{org}_label"), format!("{org}_value"));
    let exemplar = Proto::default().message(1, Proto::default().bytes(1, "trace").bytes(2, org)).double(2, 0.5);
    let own = series(&[("__name__", &name), (&label, &text), ("job", org)], &[(now_ms, value)]);
    let own = own.message(3, exemplar.int(3, now_ms as u64));
    let shared = series(&[("__name__", "shared"), ("job", "same")], &[(now_ms, value)]);
    let said = Proto::default().int(1, 1).bytes(2, &name).bytes(4, format!("Help of {org}"));
    let body = snap::raw::Encoder::new().compress_vec(&request(&[own, shared]).message(3, said).0).unwrap();
    for path in ["/api/v1/write", "/prometheus/api/v1/push"] {
        let answer = guarded.ask(org, "POST", path, &[("content-type", "application/x-protobuf")], &body);
        assert_eq!(answer.status, 204, "{}", answer.body);
    }
}

/// By a report that says it is the other's.
fn report(guarded: &Guarded, org: &str) {
    let labels = json!({"org": "nobody", "of": org});
    let metric = json!({"metric_name": "reported", "metric_type": "gauge", "metric_value": 1, "labels": labels});
    let body = json!({"component_name": format!("{org}-worker"), "component_type": "worker_pool", "metrics": [metric]});
    let json = [("content-type", "application/json")];
    let answer = guarded.ask(org, "POST", "/api/metrics/report", &json, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn observe(guarded: &Guarded, org: &str, job: &str, now_ms: i64) {
    let app = guarded.server.app();
    let name = format!("{org}-cluster");
    let mut cluster = Observation::new(Subject::cluster(org, name.as_str()), Origin::Flink, now_ms);
    cluster.put(&Cluster { is_reachable: true, ..Cluster::default() }).unwrap();
    app.jobs.record(cluster).unwrap();
    record_job(&app, Subject::job(org, job), &format!("{org}-job"), Some(&name), now_ms);
}

/// Paths that show something of each organization.
fn shown(now_s: i64) -> Vec<String> {
    let any = "%7B__name__%3D~%22.%2B%22%7D";
    let (start, end) = (now_s - 60, now_s + 60);
    let range = format!("start={start}&end={end}");
    [
        format!("/api/v1/query?query={any}"),
        format!("/prometheus/api/v1/query?query={any}"),
        format!("/api/v1/query?query=count+by+(org,job)+({any})"),
        "/api/v1/query?query=shared+or+absent(shared)".to_owned(),
        format!("/api/v1/query_range?query={any}&{range}&step=30"),
        format!("/api/v1/query_exemplars?query={any}&{range}"),
        format!("/api/v1/series?match[]={any}"),
        "/api/v1/labels".to_owned(),
        format!("/api/v1/labels?match[]={any}"),
        "/api/v1/label/__name__/values".to_owned(),
        "/api/v1/label/org/values".to_owned(),
        "/api/v1/label/job/values".to_owned(),
        "/api/v1/metadata".to_owned(),
        "/api/v1/status/tsdb?limit=100".to_owned(),
        format!("/federate?match[]={any}"),
        "/api/streamgauge/v1/export".to_owned(),
        format!("/api/streamgauge/v1/export?match[]={any}&{range}"),
        "/api/metrics/query".to_owned(),
        "/api/metrics/query?metric_name=shared".to_owned(),
        "/api/metrics/query?component_name=worker".to_owned(),
        format!("/api/metrics/query?query={any}"),
        "/api/metrics/prometheus".to_owned(),
        "/api/metrics/prometheus?metric_name=rows_total".to_owned(),
        "/api/metrics/components".to_owned(),
        "/api/worker/pools".to_owned(),
        "/api/jobs".to_owned(),
        "/jobs/overview".to_owned(),
        "/flink/v1/jobs/overview".to_owned(),
        "/tsp/jobs/overview/".to_owned(),
    ]
    .into_iter()
    .map(|path| path.replace("[]", "%5B%5D"))
    .collect()
}

#[test]
fn what_belongs_to_another_organization_is_not_there() {
    let guarded = example();
    let now_s = guarded.server.app().clock.now_ms() / 1000;
    let mut wrong = Vec::new();
    for path in shown(now_s) {
        for (token, seen, unseen) in
            [("apple", &ORGS[..1], &ORGS[1..]), ("zebra", &ORGS[1..], &ORGS[..1]), ("both", &ORGS[..], &[])]
        {
            let answer = guarded.get(token, &path);
            let shows = |org: &&str| answer.body.contains(*org);
            if answer.status != 200 || !seen.iter().all(shows) || unseen.iter().any(shows) {
                let body: String = answer.body.chars().take(300).collect();
                wrong.push(format!("{path} for {token}: {} {body}", answer.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{} answers:\n{}", wrong.len(), wrong.join("\n"));
    let metadata = |token: &str| guarded.get(token, "/api/v1/metadata?metric=zebra_rows_total").json()["data"].clone();
    assert_eq!(metadata("apple"), json!({}));
    assert!(metadata("zebra").to_string().contains("Help of zebra"), "{}", metadata("zebra"));
    assert_eq!(guarded.get("apple", "/api/v1/label/zebra_label/values").json()["data"], json!([]));
}

/// A family is there for who has a series of it, also if it is a part of a histogram, and a name that only begins like it is
/// none.
#[test]
fn what_is_known_of_a_family_is_for_who_has_a_series_of_it() {
    let guarded = example();
    let now_ms = guarded.server.app().clock.now_ms();
    let write = |token: &str, names: &[&str], help: &str| {
        let mut message = Proto::default();
        for name in names {
            message = message.message(1, series(&[("__name__", name), ("job", "x")], &[(now_ms, 1.0)]));
        }
        let said = Proto::default().int(1, 3).bytes(2, "lat").bytes(4, help);
        let message = if help.is_empty() { message } else { message.message(3, said) };
        let body = snap::raw::Encoder::new().compress_vec(&message.0).unwrap();
        let answer = guarded.ask(token, "POST", "/api/v1/write", &[("content-type", "application/x-protobuf")], &body);
        assert_eq!(answer.status, 204, "{}", answer.body);
    };
    write("zebra", &["lat_bucket", "lat_sum", "lat_count"], "What only zebra measures");
    write("apple", &["latency", "lat_other", "xlat_count"], "");
    let shows = |token: &str| {
        ["", "?metric=lat", "?limit=1000", "?metric=lat&limit=1"].map(|query| {
            let answer = guarded.get(token, &format!("/api/v1/metadata{query}"));
            assert_eq!(answer.status, 200, "{query}: {}", answer.body);
            let family = answer.json()["data"]["lat"].clone();
            assert_eq!(answer.body.contains("only zebra"), !family.is_null(), "{query}: {}", answer.body);
            family[0]["type"] == "histogram"
        })
    };
    assert_eq!((shows("zebra"), shows("both"), shows("apple")), ([true; 4], [true; 4], [false; 4]));
    write("apple", &["lat_count"], "");
    assert_eq!(shows("apple"), [true; 4], "it has a part of one now");
}

fn values(guarded: &Guarded, token: &str, expression: &str) -> Vec<(Value, Value)> {
    let body = guarded.get(token, &format!("/api/v1/query?query={expression}")).json();
    let result = body["data"]["result"].as_array().unwrap_or_else(|| panic!("{body}"));
    result.iter().map(|series| (series["metric"]["org"].clone(), series["value"][1].clone())).collect()
}

/// Both sent the same bytes.
#[test]
fn what_is_written_belongs_to_the_senders_organization() {
    let guarded = example();
    assert_eq!(values(&guarded, "apple", "shared"), [(json!("apple"), json!("1"))]);
    assert_eq!(values(&guarded, "zebra", "shared"), [(json!("zebra"), json!("2"))]);
    assert_eq!(values(&guarded, "both", "sum(shared)"), [(Value::Null, json!("3"))]);
    let reported = guarded.get("apple", "/api/v1/query?query=reported").json();
    let labels = &reported["data"]["result"][0]["metric"];
    assert_eq!((&labels["org"], &labels["exported_org"]), (&json!("apple"), &json!("nobody")), "{labels}");
    // No expression gets out: neither by a matcher on the label, nor by one that any series passes.
    for expression in
        ["shared%7Borg%3D%22zebra%22%7D", "shared%7Borg!%3D%22apple%22%7D", "shared+offset+-1m+unless+shared"]
    {
        assert_eq!(values(&guarded, "apple", expression), [], "{expression}");
    }
}

#[test]
fn a_delete_reaches_its_own_organization_and_is_its_own() {
    let guarded = example();
    let post = |token: &str, path: &str| guarded.ask(token, "POST", path, &[FORM], b"").status;
    let delete = "/api/v1/admin/tsdb/delete_series?match%5B%5D=shared";
    assert_eq!(post("apple", delete), 204);
    assert_eq!(values(&guarded, "both", "shared"), [(json!("zebra"), json!("2"))]);
    let listed =
        |token: &str| guarded.get(token, "/api/v1/admin/storage/deletes").json()["data"].as_array().unwrap().len();
    assert_eq!((listed("apple"), listed("zebra"), listed("both")), (1, 0, 1));
    let id = guarded.get("apple", "/api/v1/admin/storage/deletes").json()["data"][0]["id"].to_string();
    let undo = format!("/api/v1/admin/storage/deletes/{id}/undo");
    assert_eq!(post("zebra", &undo), 404, "there is none for zebra");
    assert_eq!(post("apple", &undo), 204);
    assert_eq!(values(&guarded, "both", "shared").len(), 2);
    assert_eq!(post("both", delete), 204);
    assert_eq!((listed("apple"), values(&guarded, "apple", "shared").len()), (0, 0), "made by who sees all");
}

#[test]
fn a_retention_rule_is_about_the_series_of_its_organization() {
    let guarded = example();
    let set = guarded.ask("apple", "POST", "/api/metrics/ttl/set?metric_name=shared&ttl_days=1", &[], b"");
    assert_eq!((set.status, set.json()["updated_metrics"].as_i64()), (200, Some(1)), "{}", set.body);
    let rules = guarded.server.app().catalog.rules();
    let matchers: Vec<String> = rules[0].matchers.iter().map(ToString::to_string).collect();
    assert_eq!(matchers, [r#"org="apple""#, r#"__name__="shared""#]);
}

/// Both have a worker pool of the same name.
#[test]
fn components_of_another_organization_are_not_there() {
    let guarded = example();
    let json = [("content-type", "application/json")];
    let post =
        |token: &str, path: &str, body: Value| guarded.ask(token, "POST", path, &json, body.to_string().as_bytes());
    let id = |token: &str| {
        let answer = post(token, "/api/worker/pool/register", json!({"name": "pool", "runtime": token}));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["runtime_id"].as_str().unwrap().parse::<i64>().unwrap()
    };
    let (apples, zebras) = (id("apple"), id("zebra"));
    assert_ne!(apples, zebras);
    let metric = json!([{"metric_name": "of_runtime", "metric_type": "gauge", "metric_value": 1}]);
    let report =
        |token: &str, id: i64| post(token, "/api/metrics/report", json!({"runtime_id": id, "metrics": metric})).status;
    assert_eq!((report("apple", apples), report("zebra", zebras)), (200, 200));
    assert_eq!(report("apple", zebras), 404, "an id of another organization is not known");
    let rows = |token: &str, id: i64| {
        let answer = guarded.get(token, &format!("/api/metrics/query?runtime_id={id}")).json();
        let rows = answer["metrics"].as_array().unwrap().clone();
        assert!(rows.iter().all(|row| row["runtime_id"] == id), "{rows:?}");
        rows.len()
    };
    assert_eq!((rows("apple", apples), rows("apple", zebras)), (1, 0));
    assert_eq!((rows("both", apples), rows("both", zebras)), (1, 1));
    let take_off = |token: &str| post(token, "/api/worker/pool/deregister", json!({"name": "pool"})).status;
    assert_eq!((take_off("both"), take_off("apple")), (404, 200), "who is of none has none of this name");
    assert_eq!(post("apple", "/api/worker/pool/heartbeat", json!({"name": "zebra-worker"})).status, 404);
    let pools = |token: &str| guarded.get(token, "/api/worker/pools?status=ready").json()["items"].clone();
    assert!(!pools("apple").to_string().contains("\"pool\""), "{}", pools("apple"));
    assert!(pools("zebra").to_string().contains("\"pool\""), "{}", pools("zebra"));
}

#[test]
fn jobs_of_another_organization_are_not_found() {
    let guarded = example();
    let [apple, zebra] = JOBS;
    for path in [
        "/jobs/ID",
        "/v1/jobs/ID/status",
        "/flink/jobs/ID/plan",
        "/jobs/ID/exceptions",
        "/api/jobs/ID",
        "/api/jobs/ID/timeline",
        "/api/jobs/ID/diagnosis",
        "/api/jobs/compare?a=ID&b=ID",
    ] {
        let ask = |token: &str, job: &str| guarded.get(token, &path.replace("ID", job)).status;
        assert_eq!((ask("apple", apple), ask("zebra", zebra)), (200, 200), "{path}");
        assert_eq!((ask("apple", zebra), ask("zebra", apple)), (404, 404), "{path}");
        assert_eq!((ask("both", apple), ask("both", zebra)), (200, 200), "{path}");
    }
    for path in ["/tsp/job/zebra-job/status", "/tsp/job/zebra-job/stop/", "/tsp/jobs/zebra-job/exceptions"] {
        let answer = guarded.get("apple", path);
        assert_eq!((answer.status, &answer.json()["errorCode"]), (400, &json!(4006)), "{path}: {}", answer.body);
    }
    let cancel = |token: &str, job: &str| {
        let answer = guarded.ask(token, "PATCH", &format!("/jobs/{job}?mode=cancel"), &[], b"");
        (answer.status, answer.body)
    };
    let unknown = "c0000000000000000000000000000003";
    let (status, body) = cancel("apple", zebra);
    let (same_status, same_body) = cancel("apple", unknown);
    assert_eq!(
        (status, body.replace(zebra, "")),
        (same_status, same_body.replace(unknown, "")),
        "as one that is not there"
    );
    assert_eq!(status, 404, "{body}");
}
