//! `backup` and `restore` as programs: of a running server, of a directory, and killed at any moment.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use streamgauge::jobs::Subject;

use crate::offline::run;
use crate::support::{Server, record_job};

fn report(server: &Server, component: &str, day: u32) {
    let time = format!("2024-01-{day:02}T12:00:00Z");
    let metric = json!({"metric_name": "load", "metric_type": "gauge", "metric_value": day, "timestamp": time});
    let body = json!({"component_name": component, "component_type": "monitor", "metrics": [metric]});
    assert_eq!(server.post_json("/api/metrics/report", &body).status, 200);
}

fn samples(server: &Server) -> Value {
    let answer = server.get("/api/v1/query?query=load[60d]&time=2024-02-01T00:00:00Z").json();
    assert_eq!(answer["status"], "success");
    answer["data"]["result"].clone()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn answer(arguments: &[&str]) -> Value {
    let output = run(arguments);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_running_server_is_backed_up_and_comes_back_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (to, target) = (dir.path().join("backups"), dir.path().join("restored"));
    // Else an old day may become Parquet between the two.
    let server = Server::with(&[("parquet.enabled", "false")]);
    report(&server, "a", 1);
    let url = server.url("/");
    let first = answer(&["backup", "--url", &url, "--to", text(&to), "--format", "json"]);
    assert_eq!(first["copiedFiles"], first["files"]);
    report(&server, "b", 2);
    let app = server.app();
    record_job(&app, Subject::job("", "kept"), "load", None, app.clock.now_ms());
    let second = answer(&["backup", "--url", &url, "--to", text(&to), "--format", "json"]);
    assert_eq!(second["files"].as_u64().unwrap() - second["copiedFiles"].as_u64().unwrap(), 1, "{second}");
    let want = samples(&server);
    report(&server, "c", 3);
    record_job(&app, Subject::job("", "late"), "load", None, app.clock.now_ms());
    let left = server.get("/api/v1/admin/storage/snapshots").json();
    assert_eq!(left["data"], json!([]), "the snapshots are gone");

    let restored = answer(&["restore", "--from", text(&to), "--data", text(&target), "--format", "json"]);
    assert_eq!((&restored["verified"]["sound"], &restored["backup"]), (&json!(true), &second["path"]));
    let copy = Server::with(&[("data", text(&target))]);
    assert_eq!(samples(&copy), want);
    let components = copy.get("/api/metrics/components").body;
    assert!(components.contains("\"b\"") && !components.contains("\"c\""), "{components}");
    let jobs = copy.get("/api/jobs").json();
    let ids: Vec<&Value> = jobs["jobs"].as_array().unwrap().iter().map(|job| &job["id"]).collect();
    assert_eq!(ids, ["kept"], "jobs are part of it");
    let again = run(&["restore", "--from", text(&to), "--data", text(&target)]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("is not empty"), "{again:?}");
}

#[test]
fn a_directory_is_backed_up_if_no_server_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let (data, to, target) = (dir.path().join("data"), dir.path().join("backups"), dir.path().join("restored"));
    let server = Server::with(&[("data", text(&data))]);
    report(&server, "a", 1);
    let refused = run(&["backup", "--data", text(&data), "--to", text(&to)]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("with --url"), "{refused:?}");
    let want = samples(&server);
    drop(server);
    assert!(run(&["backup", "--data", text(&data), "--to", text(&to)]).status.success());
    assert!(run(&["restore", "--from", text(&to), "--data", text(&target)]).status.success());
    assert_eq!(samples(&Server::with(&[("data", text(&target))])), want);
    for arguments in [
        ["backup", "--url", "http://127.0.0.1:1", "--to", text(&to)],
        ["restore", "--from", text(&data), "--data", "/nonexistent"],
    ] {
        let failed = run(&arguments);
        assert!(failed.status.code() == Some(1) && !failed.stderr.is_empty(), "{failed:?}");
    }
}

/// Killed at any moment, both can be done again, and what they leave is whole.
#[test]
fn killed_backups_and_restores_are_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let (data, to, target) = (dir.path().join("data"), dir.path().join("backups"), dir.path().join("restored"));
    let server = Server::with(&[("data", text(&data))]);
    (1..29).for_each(|day| report(&server, "a", day));
    let want = samples(&server);
    drop(server);
    let kill_after = |arguments: &[&str], micros: u64| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_streamgauge"))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(micros));
        child.kill().unwrap();
        !child.wait().unwrap().success()
    };
    let mut killed = 0;
    for round in 0..25 {
        killed += usize::from(kill_after(&["backup", "--data", text(&data), "--to", text(&to)], round * 4000));
    }
    assert!(killed > 0);
    assert!(run(&["backup", "--data", text(&data), "--to", text(&to)]).status.success());
    for backup in std::fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().path()) {
        let verified = run(&["verify", "--data", text(&backup)]);
        assert!(verified.status.success(), "{verified:?}");
    }
    for round in 0..25 {
        if !kill_after(&["restore", "--from", text(&to), "--data", text(&target)], round * 4000) {
            std::fs::remove_dir_all(&target).unwrap();
        }
    }
    let done = run(&["restore", "--from", text(&to), "--data", text(&target)]);
    let is_done = done.status.success() || String::from_utf8_lossy(&done.stderr).contains("is not empty");
    assert!(is_done, "{done:?}");
    assert_eq!(samples(&Server::with(&[("data", text(&target))])), want);
}
