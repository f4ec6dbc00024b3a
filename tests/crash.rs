//! Kill -9 under concurrent writes: nothing acknowledged is lost, nothing is there twice, nothing was never sent.
//!
//! The server runs in a process of its own (this binary again, in [`child`]). It is killed from outside at a random
//! moment, or ends itself by SIGKILL in the middle of a step of the engine. `CRASH_CYCLES` says how often (the
//! default is a short form; the full one has 200).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use streamgauge::config::{Layer, resolve};
use streamgauge::{App, Running};

/// Environment of the child: where the data is, and at which step it ends itself (`name:count`).
const DIR: &str = "CRASH_DIR";
const STEP: &str = "CRASH_STEP";
/// Files in the directory: the child's address, and the step at which it ended itself.
const ADDRESS: &str = "address";
const HIT: &str = "hit";

/// The steps that are hit, by what they are in the middle of.
const STEPS: [(&str, &[&str]); 3] = [
    ("roll", &["WalRoll", "WalRolled"]),
    ("flush", &["FlushFrozen", "SegmentWritten", "SegmentRenamed", "SegmentsDurable", "WalRemoved"]),
    ("install", &["ManifestWritten", "ManifestSynced", "ManifestRenamed", "ManifestDurable", "ManifestInstalled"]),
];

/// Ends the process at the given occurrence of a step.
#[derive(Debug)]
struct KillAt {
    step: String,
    left: AtomicU32,
    dir: PathBuf,
}

impl storage::Probe for KillAt {
    fn reached(&self, step: storage::Step) {
        if format!("{step:?}") == self.step && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            std::fs::write(self.dir.join(HIT), &self.step).unwrap();
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
    }
}

/// The server process. Not a test of its own.
#[test]
#[ignore = "the process that the test below starts and kills"]
fn child() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let probe = std::env::var(STEP).ok().map(|text| {
        let (step, count) = text.split_once(':').unwrap();
        let left = AtomicU32::new(count.parse().unwrap());
        Arc::new(KillAt { step: step.to_owned(), left, dir: dir.clone() }) as Arc<dyn storage::Probe>
    });
    // Small files, so that a second of writing rolls and flushes many times.
    let options = [
        ("data", dir.join("data").display().to_string()),
        ("listen", "127.0.0.1:0".to_owned()),
        ("scrape_self", "false".to_owned()),
        ("wal.file_bytes", "32KiB".to_owned()),
        ("wal.max_bytes", "160KiB".to_owned()),
        ("storage.min_free_bytes", "1MiB".to_owned()),
    ];
    let values = options.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
    let config = resolve(&[Layer { source_name: "test".to_owned(), values }]).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let app = App::open_with(config, |options| options.probe = probe).unwrap();
    let running = runtime.block_on(Running::start(app)).unwrap();
    std::fs::write(dir.join("address.tmp"), running.address.to_string()).unwrap();
    std::fs::rename(dir.join("address.tmp"), dir.join(ADDRESS)).unwrap();
    // Ends by a kill; if the parent is gone, by itself.
    std::thread::sleep(Duration::from_secs(120));
}

/// A started child.
struct Server {
    process: Child,
    base: String,
    ready_after: Duration,
}

impl Server {
    /// Starts the child and waits until it is ready; none if it ended itself before.
    fn start(dir: &Path, step: Option<&str>) -> Option<Server> {
        let _ = std::fs::remove_file(dir.join(ADDRESS));
        let started = Instant::now();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "crash::child", "--ignored", "--nocapture"]).env(DIR, dir).env_remove(STEP);
        if let Some(step) = step {
            command.env(STEP, step);
        }
        let log = std::fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
        let mut process = command.stdout(Stdio::null()).stderr(log).stdin(Stdio::null()).spawn().unwrap();
        loop {
            if let Ok(address) = std::fs::read_to_string(dir.join(ADDRESS)) {
                let base = format!("http://{address}");
                if ureq::get(format!("{base}/-/ready")).call().is_ok_and(|r| r.status() == 200) {
                    return Some(Server { process, base, ready_after: started.elapsed() });
                }
            }
            if let Some(status) = process.try_wait().unwrap() {
                ended_at_its_step(dir, &status.to_string());
                return None;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "not ready after a minute");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn kill(mut self) {
        let _ = self.process.kill();
        self.process.wait().unwrap();
    }
}

/// Fails with the server's log if it did not end itself at its step.
fn ended_at_its_step(dir: &Path, how: &str) {
    let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
    assert!(dir.join(HIT).exists(), "the server ended by itself ({how}):\n{log}");
}

/// What was sent: by series and time in milliseconds, the value, and whether it was acknowledged.
type Sent = Arc<Mutex<BTreeMap<(String, i64), (f64, bool)>>>;

/// Writes until told to stop or the server is gone; notes each sample before it is sent and when it is acknowledged.
fn write(base: &str, writer: usize, cycle: usize, sent: &Sent, stop: &AtomicBool) {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).build().into();
    for round in 0_i64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // Mostly rising times; every fifth batch lies days back, in partitions of its own.
        let day = if round % 5 == 4 { round % 3 + 1 } else { 0 };
        let base_ms = 1_700_000_000_000 - day * 86_400_000 + cycle as i64 * 1_000_000 + round * 10;
        let mut metrics = Vec::new();
        let mut keys = Vec::new();
        for n in 0..20_i64 {
            let timestamp_ms = base_ms + n % 2;
            let value = (cycle * 1_000_000) as f64 + round as f64 + n as f64 / 100.0;
            let name = format!("crash_{writer}_{n}");
            let stamp = jiff::Timestamp::from_millisecond(timestamp_ms).unwrap().to_string();
            metrics.push(serde_json::json!({"metric_name": name, "metric_type": "gauge", "metric_value": value,
                                            "timestamp": stamp, "labels": {}}));
            keys.push(((name, timestamp_ms), value));
        }
        {
            let mut sent = sent.lock().unwrap();
            for (key, value) in &keys {
                sent.insert(key.clone(), (*value, false));
            }
        }
        let body = serde_json::json!({"component_name": format!("w{writer}"), "component_type": "worker_pool",
                                      "metrics": metrics});
        let answer = agent
            .post(format!("{base}/api/metrics/report"))
            .header("content-type", "application/json")
            .send(body.to_string());
        match answer {
            Ok(mut response) => {
                let text = response.body_mut().read_to_string().unwrap_or_default();
                assert!(text.contains("\"metrics_inserted\":20"), "{text}");
                let mut sent = sent.lock().unwrap();
                for (key, _) in keys {
                    sent.get_mut(&key).unwrap().1 = true;
                }
            }
            // The server was killed: what of this batch is there is not known.
            Err(_) => return,
        }
    }
}

/// Flushes and compacts without pause until told to stop or the server is gone.
fn maintain(base: &str, stop: &AtomicBool) {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).build().into();
    while !stop.load(Ordering::Relaxed) {
        for what in ["flush", "compact"] {
            if agent.post(format!("{base}/api/v1/admin/storage/{what}")).send_empty().is_err() {
                return;
            }
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// Everything the server has, by series and time; the error of a question that is not answered.
fn stored(base: &str) -> Result<HashMap<(String, i64), f64>, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).build().into();
    let mut found = HashMap::new();
    for writer in 0..WRITERS {
        let query = format!("{{__name__=~\"crash_{writer}_.+\"}}[30d]");
        let mut response = agent
            .post(format!("{base}/api/v1/query"))
            .send_form([("query", query.as_str()), ("time", "1700604800")])?;
        let text = response.body_mut().with_config().limit(1 << 30).read_to_string()?;
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        for series in answer["data"]["result"].as_array().unwrap() {
            let name = series["metric"]["__name__"].as_str().unwrap();
            for point in series["values"].as_array().unwrap() {
                let timestamp_ms = (point[0].as_f64().unwrap() * 1000.0).round() as i64;
                let value: f64 = point[1].as_str().unwrap().parse().unwrap();
                let twice = found.insert((name.to_owned(), timestamp_ms), value);
                assert_eq!(twice, None, "{name} at {timestamp_ms} is there twice");
            }
        }
    }
    Ok(found)
}

/// Compares all that the server has with what was sent; an error if it does not answer.
fn check(base: &str, sent: &Sent) -> Result<(), ureq::Error> {
    let found = stored(base)?;
    let mut sent = sent.lock().unwrap();
    for (key, (value, acknowledged)) in sent.iter_mut() {
        match found.get(key) {
            // What is there once stays there: from now on it counts as acknowledged.
            Some(got) => {
                assert_eq!(got, value, "{key:?} has another value");
                *acknowledged = true;
            }
            None => assert!(!*acknowledged, "{key:?} = {value} was acknowledged and is lost"),
        }
    }
    for key in found.keys() {
        assert!(sent.contains_key(key), "{key:?} was never sent");
    }
    Ok(())
}

const WRITERS: usize = 3;

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let cycles: usize = std::env::var("CRASH_CYCLES").map_or(7, |n| n.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let sent = Sent::default();
    let mut hits: BTreeMap<&str, usize> = BTreeMap::new();
    let mut slowest_start = Duration::ZERO;
    for cycle in 0..cycles {
        // Every fourth kill comes at a random moment, the others in the middle of something.
        let (kind, step) = match cycle % 4 {
            3 => ("random", None),
            group => {
                let (kind, steps) = STEPS[group];
                (kind, Some(format!("{}:{}", steps[cycle / 4 % steps.len()], 1 + cycle / 4 % 3)))
            }
        };
        let _ = std::fs::remove_file(dir.path().join(HIT));
        let Some(server) = Server::start(dir.path(), step.as_deref()) else {
            // A step that also happens during the start.
            *hits.entry(kind).or_default() += 1;
            continue;
        };
        slowest_start = slowest_start.max(server.ready_after);
        let stop = AtomicBool::new(false);
        let (base, mut process) = (server.base, server.process);
        if let Err(error) = check(&base, &sent) {
            // A flush of what the WAL left may reach the step before anything is written.
            let status = process.wait().unwrap();
            ended_at_its_step(dir.path(), &format!("{step:?}: {error}, {status}"));
            println!("{step:?} came before the first write");
            *hits.entry(kind).or_default() += 1;
            continue;
        }
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (base, sent, stop) = (&base, &sent, &stop);
                scope.spawn(move || write(base, writer, cycle, sent, stop));
            }
            scope.spawn(|| maintain(&base, &stop));
            // A step kills from within, at the latest a kill from outside ends the cycle.
            let patience = match step {
                Some(_) => Duration::from_secs(20),
                None => Duration::from_millis(200 + (cycle as u64 * 7919) % 900),
            };
            let started = Instant::now();
            while started.elapsed() < patience && process.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = process.kill();
            process.wait().unwrap();
            stop.store(true, Ordering::Relaxed);
        });
        let by_step = dir.path().join(HIT).exists();
        assert!(step.is_none() || by_step, "{step:?} did not happen within the cycle");
        *hits.entry(kind).or_default() += 1;
    }
    let server = Server::start(dir.path(), None).unwrap();
    slowest_start = slowest_start.max(server.ready_after);
    check(&server.base, &sent).unwrap();
    server.kill();
    let acknowledged = sent.lock().unwrap().values().filter(|(_, yes)| *yes).count();
    println!("{cycles} kills {hits:?}; {acknowledged} acknowledged samples; slowest start {slowest_start:?}");
    assert!(acknowledged > cycles * 20, "only {acknowledged} samples were acknowledged");
    for (kind, _) in STEPS {
        let wanted = if cycles >= 50 { 5 } else { usize::from(cycles >= 4) };
        assert!(hits.get(kind).copied().unwrap_or_default() >= wanted, "{kind} was hit too seldom: {hits:?}");
    }
}
