//! The export of the newest values in the text format.

use super::{EXAMPLE, metric, one, report};
use crate::support::Server;

fn export(server: &Server, query: &str) -> String {
    let answer = server.get(&format!("/api/metrics/prometheus?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    answer.body
}

#[test]
fn the_export_has_the_newest_values_with_help_and_type() {
    let server = Server::start();
    report(&server, EXAMPLE);
    let expected = "# HELP noetl_system_cpu_usage_percent CPU usage percentage\n\
                    # TYPE noetl_system_cpu_usage_percent gauge\n\
                    noetl_system_cpu_usage_percent{component=\"worker-cpu-01\",component_type=\"worker_pool\",hostname=\"node-1\"} 45.2\n";
    assert_eq!(export(&server, ""), expected, "by arrival, although its timestamp is of 2024");
    let typed = |name: &str, kind: &str, value: &str, labels: &str| {
        format!(r#"{{"metric_name":"{name}","metric_type":"{kind}","metric_value":{value},"labels":{{{labels}}}}}"#)
    };
    let metrics = [
        typed("h_bucket", "histogram", "1", r#""le":"+Inf""#),
        typed("h_bucket", "histogram", "1", r#""le":"0.5""#),
        typed("h_sum", "histogram", "0.25", ""),
        typed("h_count", "histogram", "1", ""),
        typed("whole", "histogram", "7", ""),
        typed("s", "summary", "3", ""),
        typed("odd.name", "counter", "5", r#""odd label":"a\"b\\c\n""#),
        typed("odd_name", "counter", "6", ""),
        typed("ended", "gauge", "1", ""),
    ];
    assert_eq!(report(&server, &one(&metrics.join(","))).json()["metrics_inserted"], 9);
    let app = server.app();
    let mut batch = app.ingest.batch();
    let ended =
        model::Labels::from_pairs([("__name__", "ended"), ("component", "c"), ("component_type", "monitor")]).unwrap();
    let series = batch.define(None, &ended).unwrap();
    let later_ms = app.clock.now_ms() + 1000;
    batch.push(series, later_ms, model::stale_nan()).unwrap();
    app.ingest.commit(streamgauge::ingest::Origin::Scrape, batch).unwrap();

    let own = r#"component="c",component_type="monitor""#;
    let text = export(&server, "component_name=c");
    let expected = format!(
        "# TYPE h histogram\nh_bucket{{{own},le=\"0.5\"}} 1\nh_bucket{{{own},le=\"+Inf\"}} 1\nh_sum{{{own}}} 0.25\nh_count{{{own}}} 1\n\
         # TYPE odd_name counter\nodd_name{{{own}}} 6\nodd_name{{{own},odd_label=\"a\\\"b\\\\c\\n\"}} 5\n\
         # TYPE s untyped\ns{{{own}}} 3\n\
         # TYPE whole untyped\nwhole{{{own}}} 7\n"
    );
    assert_eq!(text, expected);
    let accept = [("accept", "text/plain;version=1.0.0;escaping=allow-utf-8")];
    let whole = server.send("GET", "/api/metrics/prometheus?component_name=c", &accept, b"").body;
    assert!(
        whole.contains(
            "\n{\"odd.name\",component=\"c\",component_type=\"monitor\",\"odd label\"=\"a\\\"b\\\\c\\n\"} 5\n"
        ),
        "{whole}"
    );
    let id = report(&server, EXAMPLE).json()["runtime_id"].clone();
    assert!(export(&server, &format!("runtime_id={id}")).starts_with("# HELP noetl_system"));
    assert_eq!(export(&server, "component_name=nobody"), "");
    assert_eq!(server.get("/api/metrics/prometheus?runtime_id=x").status, 422);
}

#[test]
fn the_export_leaves_out_what_arrived_before_the_window() {
    let server = Server::with(&[("export.window", "300ms")]);
    report(&server, &one(&metric("m", "1", "")));
    assert!(export(&server, "").contains("m{"));
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert_eq!(export(&server, ""), "");
    report(&server, &one(&metric("m", "1", r#","timestamp":"2020-01-01T00:00:00Z""#)));
    assert!(export(&server, "").contains("m{"), "its newest value, because something arrived");
}

#[test]
fn the_export_has_a_limit() {
    let server = Server::with(&[("query.max_series", "2")]);
    report(&server, &one(&[metric("a", "1", ""), metric("b", "1", "")].join(",")));
    assert_eq!(export(&server, "").lines().count(), 4);
    report(&server, &one(&metric("c", "1", "")));
    let answer = server.get("/api/metrics/prometheus");
    assert_eq!(answer.status, 422);
    assert!(answer.body.contains("limit query.max_series = 2 reached"), "{}", answer.body);
}
