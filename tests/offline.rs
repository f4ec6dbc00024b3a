//! `verify` and `inspect` as programs, on real files: what they print and how they exit.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::Server;

/// Runs the program.
pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_streamgauge")).args(arguments).env_remove("STREAMGAUGE_DATA").output().unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

/// A closed store with a segment and a catalog.
fn store(dir: &Path) -> PathBuf {
    let data = dir.join("store");
    let server = Server::with(&[("data", data.to_str().unwrap()), ("parquet.enabled", "false")]);
    let metric = json!({"metric_name": "load", "metric_type": "gauge", "metric_value": 1.5, "timestamp": "2024-01-01T12:00:00Z"});
    let body = json!({"component_name": "a", "component_type": "monitor", "metrics": [metric]});
    assert_eq!(server.post_json("/api/metrics/report", &body).status, 200);
    drop(server);
    data
}

fn segment(data: &Path) -> PathBuf {
    std::fs::read_dir(data.join("segments")).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn verify_says_what_a_flipped_bit_touches_and_exits_1() {
    let dir = tempfile::tempdir().unwrap();
    let data = store(dir.path());
    let at = data.to_str().unwrap();
    let sound = run(&["verify", "--data", at]);
    assert!(sound.status.success(), "{sound:?}");
    assert!(String::from_utf8_lossy(&sound.stdout).contains(": sound; "), "{sound:?}");

    let path = segment(&data);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 8;
    std::fs::write(&path, &bytes).unwrap();
    let found = run(&["verify", "--data", at, "--format", "json"]);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    let report = json_of(&found);
    let damage = &report["damage"][0];
    assert_eq!(
        (&report["sound"], &damage["offset"], &damage["sections"]),
        (&json!(false), &json!(20), &json!(["data"]))
    );
    assert_eq!(damage["file"], path.display().to_string());
    assert_eq!(damage["seriesCount"], 1);
    assert_eq!(damage["series"][0]["labels"]["__name__"], "load");
    assert_eq!(damage["times"]["start"], "2024-01-01T12:00:00Z");
    let text = String::from_utf8(run(&["verify", "--data", at]).stdout).unwrap();
    for part in ["bit 3 of byte 20 is flipped", "touches  1 series, 2024-01-01T12:00:00Z", "__name__=\"load\""] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let none = run(&["verify", "--data", at, "--series", "0"]);
    assert!(String::from_utf8_lossy(&none.stdout).contains("and 1 more"), "{none:?}");
}

#[test]
fn verify_finds_a_broken_catalog_and_a_directory_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let data = store(dir.path());
    let catalog = data.join("catalog.db");
    let mut bytes = std::fs::read(&catalog).unwrap();
    // The header of the second page: what lies elsewhere may be room that nothing uses.
    assert!(bytes.len() > 2 * 4096, "a clean end brings the file up to date");
    bytes[4096..4096 + 300].fill(0xFF);
    std::fs::write(&catalog, &bytes).unwrap();
    let found = run(&["verify", "--data", data.to_str().unwrap(), "--format", "json"]);
    assert_eq!((found.status.code(), &json_of(&found)["damage"][0]["sections"]), (Some(1), &json!(["database"])));
    let nothing = run(&["verify", "--data", dir.path().join("no").to_str().unwrap()]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("No such file"), "{nothing:?}");
    let names: Vec<_> = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().ends_with("-shm")), "nothing is written: {names:?}");
}

#[test]
fn verify_and_inspect_work_beside_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let data = store(dir.path());
    let server =
        Server::with(&[("data", data.to_str().unwrap()), ("scrape_self", "true"), ("scrape_self_interval", "1s")]);
    for command in ["verify", "inspect"] {
        let output = run(&[command, "--data", data.to_str().unwrap(), "--format", "json"]);
        assert!(output.status.success(), "{command}: {output:?}");
    }
    drop(server);
}

#[test]
fn export_of_a_directory_heeds_its_retention_rules() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("store");
    let config = dir.path().join("streamgauge.toml");
    std::fs::write(&config, "retention = \"5d\"\n").unwrap();
    let options = [("data", data.to_str().unwrap()), ("retention", "5d"), ("parquet.enabled", "false")];
    let server = Server::with(&options);
    let post = |path: &str| assert_eq!(server.send("POST", path, &[], b"").status, 200, "{path}");
    post("/api/metrics/ttl/set?metric_name=long&ttl_days=30");
    let now_s = server.app().clock.now_ms() / 1000;
    let metrics = [("long", 10), ("plain", 3), ("short", 3)].map(|(name, days)| {
        let stamp = streamgauge::report::timestamp::format((now_s - days * 86_400) * 1000);
        json!({"metric_name": name, "metric_type": "gauge", "metric_value": 1.5, "timestamp": stamp})
    });
    let body = json!({"component_name": "a", "component_type": "monitor", "metrics": metrics});
    assert_eq!(server.post_json("/api/metrics/report", &body).status, 200);
    post("/api/v1/admin/storage/flush");
    post("/api/metrics/ttl/set?metric_name=short&ttl_days=1");
    drop(server);
    let exported = |name: &str| {
        let to = dir.path().join(name);
        let paths = [config.to_str().unwrap(), data.to_str().unwrap(), to.to_str().unwrap()];
        let output = run(&["export", "--config", paths[0], "--data", paths[1], "--to", paths[2]]);
        assert!(output.status.success(), "{output:?}");
        let text = std::fs::read_to_string(&to).unwrap();
        let names = ["long", "plain", "short"];
        let found: Vec<&str> =
            names.into_iter().filter(|name| text.contains(&format!("\"__name__\":\"{name}\""))).collect();
        (found, String::from_utf8(output.stderr).unwrap())
    };
    let (found, said) = exported("1.jsonl");
    assert_eq!((found, said.contains("warning")), (vec!["long", "plain"], false), "{said}");
    std::fs::remove_file(data.join("catalog.db")).unwrap();
    let (found, said) = exported("2.jsonl");
    assert_eq!(found, ["long", "plain", "short"]);
    assert!(said.contains("warning: nothing is left out for its age: "), "{said}");
}

#[test]
fn inspect_shows_a_store_and_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let data = store(dir.path());
    let content = json_of(&run(&["inspect", "--data", data.to_str().unwrap(), "--format", "json"]));
    assert_eq!(content["partitions"][0]["partition"], "2024-01-01");
    assert_eq!(
        (&content["segments"][0]["series"], &content["metrics"]["byBytes"][0]["name"]),
        (&json!(1), &json!("load"))
    );
    assert_eq!(content["segments"][0]["codecs"][0]["blocks"], 1);
    let text = run(&["inspect", "--data", data.to_str().unwrap()]);
    for part in ["2024-01-01", "metrics with the most series", "label values", "WAL file"] {
        assert!(String::from_utf8_lossy(&text.stdout).contains(part), "{part}: {text:?}");
    }
    let path = segment(&data);
    let one = json_of(&run(&["inspect", path.to_str().unwrap(), "--format", "json"]));
    assert_eq!((&one["segment"]["samples"], &one["segment"]["id"]), (&json!(1), &json!(1)));
    let text = run(&["inspect", path.to_str().unwrap()]);
    assert!(
        text.status.success() && String::from_utf8_lossy(&text.stdout).contains("label names: __name__"),
        "{text:?}"
    );
    let wrong = run(&["inspect", data.join("STORE").to_str().unwrap()]);
    assert!(!wrong.status.success() && !wrong.stderr.is_empty());
}
