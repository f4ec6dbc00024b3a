//! Time to live as retention rules, clean-up, and who may ask for them.

use serde_json::json;

use super::{EXAMPLE, metric, one, report, rows};
use crate::support::Server;

#[test]
fn time_to_live_and_clean_up() {
    let server = Server::start();
    report(&server, EXAMPLE);
    let post = |path: &str| server.send("POST", path, &[], b"");
    let set = post("/api/metrics/ttl/set?metric_name=noetl_system_cpu_usage_percent&ttl_days=3");
    assert_eq!(set.status, 200, "{}", set.body);
    let set = set.json();
    assert_eq!((&set["status"], &set["updated_metrics"], &set["new_ttl_days"]), (&json!("ok"), &json!(1), &json!(3)));
    let extended = post("/api/metrics/ttl/extend-component?component_name=worker-cpu-01").json();
    assert_eq!((&extended["updated_metrics"], &extended["new_ttl_days"]), (&json!(1), &json!(1)));
    assert_eq!(server.app().catalog.rules().len(), 2);
    let cleaned = post("/api/metrics/cleanup").json();
    assert_eq!(cleaned["status"], "ok");
    assert_eq!(
        cleaned["dropped_partitions"].as_array().map(Vec::len),
        cleaned["dropped_count"].as_u64().map(|n| n as usize)
    );
    let created = post("/api/metrics/partitions/create").json();
    assert_eq!(
        (&created["created_partitions"], &created["created_count"], &created["days_ahead"]),
        (&json!([]), &json!(0), &json!(7))
    );
    for (path, status, says) in [
        ("/api/metrics/ttl/set", 422, r#"["query","metric_name"]"#),
        ("/api/metrics/ttl/set?metric_name=m&ttl_days=0", 422, "greater_than_equal"),
        ("/api/metrics/ttl/set?metric_name=m&ttl_days=36526", 422, "less_than_equal"),
        ("/api/metrics/ttl/extend-component?component_name=nobody", 404, "is not known"),
        ("/api/metrics/partitions/create?days_ahead=x", 422, "int_parsing"),
    ] {
        let answer = post(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.body.contains(says), "{path}: {}", answer.body);
    }
    for path in ["cleanup", "partitions/create", "ttl/set?metric_name=m", "ttl/extend-component?component_name=c"] {
        let foreign = [("origin", "http://elsewhere.example")];
        let answer = server.send("POST", &format!("/api/metrics/{path}"), &foreign, b"");
        assert_eq!(answer.status, 403, "{path}: {}", answer.body);
        assert!(answer.json()["detail"].is_string());
        let wrong = server.send("POST", &format!("/api/metrics/{path}"), &[("authorization", "Bearer x")], b"");
        assert_eq!(wrong.status, 401);
    }
}

/// What a lost rule kept must not go before someone has looked.
#[test]
fn without_its_catalog_a_store_drops_nothing_until_the_rules_are_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().display().to_string();
    let start = || Server::with(&[("data", &data), ("retention", "5d")]);
    let post = |server: &Server, path: &str| {
        let answer = server.send("POST", path, &[], b"");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    };
    let held = |server: &Server| server.get("/api/streamgauge/v1/storage").json()["retentionHeld"].clone();
    let is_there = |server: &Server| !rows(server, "component_name=c").is_empty();
    let server = start();
    post(&server, "/api/metrics/ttl/set?metric_name=long&ttl_days=30");
    let ten_days_ago = (server.app().clock.now_ms() / 1000 - 10 * 86_400) * 1000;
    let stamp = streamgauge::report::timestamp::format(ten_days_ago);
    report(&server, &one(&metric("long", "1", &format!(r#","timestamp":"{stamp}""#))));
    assert!(is_there(&server) && held(&server).is_null());
    drop(server);
    std::fs::remove_file(dir.path().join("catalog.db")).unwrap();
    for _ in 0..2 {
        let server = start();
        assert!(held(&server).as_str().unwrap().starts_with("catalog.db was missing"));
        assert!(server.get("/metrics").body.contains("\nstreamgauge_retention_held 1"));
        let cleaned = post(&server, "/api/metrics/cleanup");
        assert_eq!((&cleaned["dropped_count"], is_there(&server)), (&json!(0), true));
        assert!(cleaned["message"].as_str().unwrap().starts_with("Retention by age is held"), "{cleaned}");
    }
    let server = start();
    let foreign = [("origin", "http://elsewhere.example")];
    let confirm = "/api/v1/admin/storage/retention/confirm";
    assert_eq!(server.send("POST", confirm, &foreign, b"").status, 403);
    post(&server, "/api/metrics/ttl/set?metric_name=long&ttl_days=30");
    assert_eq!(post(&server, confirm)["data"]["rules"], 1);
    assert!(is_there(&server) && held(&server).is_null());
    drop(server);
    assert!(is_there(&start()));
}

#[test]
fn to_extend_never_shortens() {
    let server = Server::start();
    report(&server, EXAMPLE);
    let extend = |days: i64| {
        let path = format!("/api/metrics/ttl/extend-component?component_name=worker-cpu-01&ttl_days={days}");
        let answer = server.send("POST", &path, &[], b"").json();
        (answer["new_ttl_days"].clone(), answer["message"].as_str().unwrap().to_owned())
    };
    // The example is years old and kept for ever.
    let (days, message) = extend(7);
    assert_eq!(days, 7);
    let said =
        r#"1 series with component="worker-cpu-01" are kept for at least 7 days; those that are kept longer stay so"#;
    assert_eq!(message, said);
    assert_eq!(rows(&server, "component_name=worker-cpu-01").len(), 1, "for ever is longer");
    let (days, message) = extend(3);
    assert_eq!(days, 7);
    assert!(message.contains("for at least 7 days, as was set before;"), "{message}");
    let set = "/api/metrics/ttl/set?metric_name=noetl_system_cpu_usage_percent&ttl_days=";
    assert_eq!(server.send("POST", &format!("{set}36525"), &[], b"").status, 200);
    extend(8);
    assert_eq!(rows(&server, "component_name=worker-cpu-01").len(), 1, "a hundred years are longer");
    assert_eq!(server.send("POST", &format!("{set}1"), &[], b"").status, 200);
    assert!(rows(&server, "component_name=worker-cpu-01").is_empty(), "what is set later may shorten");
}

#[test]
fn time_to_live_hides_old_samples_and_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().display().to_string();
    let server = Server::with(&[("data", &data)]);
    let ten_days_ago = server.app().clock.now_ms() / 1000 - 10 * 86_400;
    let old = |name: &str| {
        let stamp = streamgauge::report::timestamp::format(ten_days_ago * 1000);
        one(&metric(name, "1", &format!(r#","timestamp":"{stamp}""#)))
    };
    let post = |server: &Server, path: &str| {
        let answer = server.send("POST", &format!("/api/metrics/{path}"), &[], b"");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    };
    report(&server, &old("short"));
    report(&server, &old("long"));
    post(&server, "ttl/set?metric_name=short&ttl_days=1");
    let names = |server: &Server| -> Vec<String> {
        rows(server, "component_name=c").iter().map(|row| row["metric_name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&server), ["long"]);
    post(&server, "ttl/extend-component?component_name=c&ttl_days=30");
    assert_eq!(names(&server), ["long", "short"], "what was set last counts");
    post(&server, "ttl/set?metric_name=short&ttl_days=2");
    drop(server);
    let server = Server::with(&[("data", &data)]);
    assert_eq!(names(&server), ["long"]);
    report(&server, &old("short"));
    assert_eq!(names(&server), ["long"]);
    assert_eq!(server.app().catalog.rules().len(), 2);
}
