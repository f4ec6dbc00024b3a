//! Budgets of series: what each way in answers when a job has as many as it may.

use std::time::{Duration, Instant};

use serde_json::json;
use streamgauge::scrape::Health;

use crate::exporter::{Exporter, Reply};
use crate::remote_write::{request, series, write};
use crate::support::Server;

const PATIENCE: Duration = Duration::from_secs(20);

fn own_metric(server: &Server, line: &str) -> Option<f64> {
    let text = server.get("/metrics").body;
    let value = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' ').map(str::to_owned))?;
    value.parse().ok()
}

#[test]
fn a_report_names_each_metric_that_has_no_place() {
    let server = Server::with(&[("ingest.job_label", "component"), ("ingest.max_series_of_job", "small=2, none=0")]);
    let metric = |i: usize| json!({"metric_name": format!("m{i}"), "metric_type": "gauge", "metric_value": i});
    let report = |component: &str, metrics: Vec<serde_json::Value>| {
        server.post_json("/api/metrics/report", &json!({"component_name": component, "metrics": metrics}))
    };
    let answer = report("small", vec![metric(0), metric(1), metric(2)]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = answer.json();
    assert_eq!(body["metrics_inserted"], 2);
    let want = r#"limit ingest.max_series_of_job = 2 reached by the series with component="small""#;
    assert_eq!(body["rejected"], json!([{"index": 2, "error": want}]));
    let again = report("small", vec![metric(1), metric(0)]);
    assert_eq!(again.json()["metrics_inserted"], 2, "those that are there go on");
    let none = report("none", vec![metric(0)]);
    assert_eq!(none.status, 400, "{}", none.body);
    assert_eq!(report("other", (0..9).map(metric).collect()).json()["metrics_inserted"], 9);

    assert_eq!(own_metric(&server, "streamgauge_refused_series_total"), Some(2.0));
    assert_eq!(own_metric(&server, r#"streamgauge_budget_refused_series_total{budget="small"}"#), Some(1.0));
    assert_eq!(own_metric(&server, r#"streamgauge_budget_series{budget="small"}"#), Some(2.0));
    assert_eq!(own_metric(&server, r#"streamgauge_budget_max_series{budget="small"}"#), Some(2.0));
    let rejected = r#"streamgauge_ingest_rejected_samples_total{origin="report", reason="too_many_series_of_job"}"#;
    let rejected = own_metric(&server, rejected).or_else(|| own_metric(&server, &rejected.replace(", ", ",")));
    assert_eq!(rejected, Some(2.0));
}

#[test]
fn remote_write_stores_the_rest_and_answers_what_a_sender_does_not_retry() {
    let server = Server::with(&[("ingest.max_series_per_job", "2")]);
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let one =
        |i: usize, job: &str| series(&[("__name__", "m"), ("i", &i.to_string()), ("job", job)], &[(now_ms, i as f64)]);
    assert_eq!(write(&server, &request(&[one(0, "a"), one(1, "a")])).status, 204);
    let answer = write(&server, &request(&[one(0, "a"), one(2, "a"), one(0, "b")]));
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(answer.body.contains(r#"limit ingest.max_series_per_job = 2 reached by the series with job="a""#));
    assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), Some("2"));
    assert_eq!(answer.header("retry-after"), None);
    assert_eq!(write(&server, &request(&[one(1, "a"), one(0, "a")])).status, 204, "those that are there go on");
    assert_eq!(server.app().db.series_count(), 3);
}

#[test]
fn a_scrape_is_taken_in_part_and_its_target_says_so() {
    let exporter = Exporter::start(|_| Reply::text("a 1\nb 2\nc 3\nd 4\n"));
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "global:\n  scrape_interval: 250ms\n  scrape_timeout: 200ms\nscrape_configs:\n- job_name: j\n  static_configs:\n  - targets: ['{}']\n",
        exporter.address
    );
    let path = dir.path().join("prometheus.yml");
    std::fs::write(&path, config).unwrap();
    // Three of the four lines; the five series about the scrape come after them.
    let server = Server::with(&[("scrape_config", path.to_str().unwrap()), ("ingest.max_series_of_job", "j=3")]);
    let until = Instant::now() + PATIENCE;
    let target = loop {
        let targets = server.app().scrape.targets().active;
        match targets.into_iter().find(|t| t.health != Health::Unknown) {
            Some(target) => break target,
            None => assert!(Instant::now() < until, "the target is not scraped"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(target.health, Health::Up);
    let want =
        r#"6 series refused; the first: d: limit ingest.max_series_of_job = 3 reached by the series with job="j""#;
    assert_eq!(target.last_error, want);
    assert_eq!(server.app().db.series_count(), 3);
}
