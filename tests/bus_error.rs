//! A mapped file that someone cuts: the process ends, names the file, and the next one serves the rest.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

const SIGBUS: i32 = 7;

/// A server in a process of its own.
struct Process {
    child: Child,
    base: String,
}

impl Process {
    fn start(data: &Path) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_streamgauge"))
            .args(["--listen", "127.0.0.1:0", "--scrape-self", "false", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let base = line.trim().rsplit(' ').next().unwrap().to_owned();
        assert!(base.starts_with("http://"), "{line:?}");
        Process { child, base }
    }

    fn post(&self, path: &str, body: &Value) {
        let request = ureq::post(format!("{}{path}", self.base)).header("content-type", "application/json");
        assert_eq!(request.send(body.to_string()).unwrap().status(), 200);
    }

    fn get(&self, path: &str) -> Result<Value, ureq::Error> {
        let text = ureq::get(format!("{}{path}", self.base)).call()?.body_mut().read_to_string()?;
        Ok(serde_json::from_str(&text).unwrap())
    }

    fn sum_over(&self, day: &str) -> Result<Value, ureq::Error> {
        let query = "sum(count_over_time(%7B__name__=~%22noise.*%22%7D%5B1d%5D))%2B0*sum(sum_over_time(%7B__name__=~%22noise.*%22%7D%5B1d%5D))";
        self.get(&format!("/api/v1/query?query={query}&time={day}T23:59:59Z"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A day of values that no codec makes small.
fn report(server: &Process, day: &str) {
    for minute in 0..10_u64 {
        let metric = |i: u64| {
            let noise = (i * 10 + minute + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
            let value = noise.wrapping_mul(0xBF58_476D_1CE4_E5B9) as f64 / u64::MAX as f64;
            json!({"metric_name": format!("noise_{i}"), "metric_type": "gauge", "metric_value": value,
                   "timestamp": format!("{day}T12:{minute:02}:00Z")})
        };
        let metrics: Vec<Value> = (0..1000).map(metric).collect();
        server.post(
            "/api/metrics/report",
            &json!({"component_name": "a", "component_type": "monitor", "metrics": metrics}),
        );
    }
    server.post("/api/v1/admin/storage/flush", &json!({}));
}

#[test]
fn a_file_that_is_cut_ends_the_process_which_names_it_and_the_next_serves_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = Process::start(&data);
    report(&server, "2024-01-01");
    report(&server, "2024-01-02");
    let names = std::fs::read_dir(data.join("segments")).unwrap().map(|entry| entry.unwrap().path());
    let cut = names.max().unwrap();
    let file = std::fs::File::options().write(true).open(&cut).unwrap();
    assert!(file.metadata().unwrap().len() > 40_000, "{:?}", file.metadata());
    file.set_len(8192).unwrap();
    assert!(server.sum_over("2024-01-02").is_err(), "there is nobody to answer");
    let status = server.child.wait().unwrap();
    assert_eq!(status.signal(), Some(SIGBUS), "{status:?}");
    let mut log = String::new();
    server.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    let line = log.lines().find(|line| line.starts_with("FATAL")).unwrap();
    assert!(line.contains(cut.to_str().unwrap()) && line.contains("SIGBUS"), "{line}");
    assert!(data.join("SUSPECTS").exists());

    let server = Process::start(&data);
    assert!(!data.join("SUSPECTS").exists());
    let count = |day| server.sum_over(day).unwrap()["data"]["result"][0]["value"][1].clone();
    assert_eq!((count("2024-01-01"), count("2024-01-02")), (json!("10000"), Value::Null));
    let findings = server.get("/api/streamgauge/v1/storage").unwrap().to_string();
    assert!(findings.contains(cut.file_name().unwrap().to_str().unwrap()), "{findings}");
    assert!(data.join("quarantine").join(cut.file_name().unwrap()).exists());
}
