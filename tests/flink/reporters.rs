//! The reporters of a followed cluster are found among the ports of its configuration, scraped, and let go. Cluster and
//! reporters are small servers.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::collector::{Answers, JOB, VERTEX, answers, cluster, wait};
use crate::exporter::{Asked, Exporter, Reply};
use crate::support::Server;

/// A reporter that a test can break.
struct Reporter {
    exporter: Exporter,
    is_up: Arc<AtomicBool>,
}

impl Reporter {
    fn start(page: String) -> Reporter {
        Reporter::that(move || Reply::text(&page))
    }

    fn that(answers: impl Fn() -> Reply + Send + Sync + 'static) -> Reporter {
        let is_up = Arc::new(AtomicBool::new(true));
        let up = Arc::clone(&is_up);
        let exporter = Exporter::start(move |_| if up.load(Ordering::SeqCst) { answers() } else { Reply::status(500) });
        Reporter { exporter, is_up }
    }

    /// A page longer than what is read to see whose it is.
    fn of_master() -> Reporter {
        let rest = "# and much more\n".repeat(50_000);
        Reporter::start(format!("flink_jobmanager_numRunningJobs{{host=\"h\",}} 1.0\n{rest}"))
    }

    fn of_manager(id: &str) -> Reporter {
        let labels = format!(
            "job_id=\"{JOB}\",task_id=\"{VERTEX}\",subtask_index=\"0\",task_attempt_num=\"0\",host=\"h\",tm_id=\"{id}\","
        );
        let name = "flink_taskmanager_job_task_busyTimeMsPerSecond";
        Reporter::start(format!("# TYPE {name} gauge\n{name}{{{labels}}} 996.0\n"))
    }

    fn address(&self) -> String {
        self.exporter.address.to_string()
    }

    fn port(&self) -> u16 {
        self.exporter.address.port()
    }
}

/// A cluster of one task manager, with its reporters, and what else answers on the ports of its configuration.
struct Scene {
    answers: Answers,
    cluster: Exporter,
    master: Reporter,
    manager: Reporter,
    others: Vec<Reporter>,
}

impl Scene {
    fn start() -> Scene {
        let answers = answers();
        let master = Reporter::of_master();
        let elsewhere = format!("http://{}/metrics", master.address());
        let scene = Scene {
            cluster: cluster(&answers),
            answers,
            master,
            manager: Reporter::of_manager("tm_1"),
            // A task manager of another cluster, something else altogether, and one that sends us on.
            others: vec![
                Reporter::of_manager("tm_2"),
                Reporter::start("node_load1 1\n".to_owned()),
                Reporter::that(move || Reply::redirect(&elsewhere)),
            ],
        };
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ports: Vec<String> = [free]
            .into_iter()
            .chain(scene.others.iter().map(Reporter::port))
            .chain([scene.master.port(), scene.manager.port()])
            .map(|port| port.to_string())
            .collect();
        let entry = |key: &str, value: &str| json!({"key": key, "value": value});
        let factory = "org.apache.flink.metrics.prometheus.PrometheusReporterFactory";
        scene.say(
            "/jobmanager/config",
            json!([
                entry("metrics.reporter.prom.factory.class", factory),
                entry("metrics.reporter.prom.port", &ports.join(",")),
            ]),
        );
        scene.list(true);
        scene
    }

    fn say(&self, path: &str, answer: Value) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// Lists the task manager, or none.
    fn list(&self, is_there: bool) {
        let manager = json!({
            "id": "tm-1", "path": "pekko.tcp://flink@localhost:36707/user/rpc/taskmanager_0", "dataPort": 1,
            "slotsNumber": 2, "freeSlots": 1, "hardware": {"cpuCores": 2},
        });
        self.say("/taskmanagers/tm-1", manager.clone());
        self.say("/taskmanagers", json!({"taskmanagers": if is_there { vec![manager] } else { Vec::new() }}));
    }

    /// A server that follows the cluster with these fields on top.
    fn follow(&self, fields: Value, options: &[(&str, &str)]) -> Server {
        let mut followed = json!({
            "urls": [format!("http://{}", self.cluster.address)], "name": "main", "interval": "1s", "timeout": "1s",
        });
        followed.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let text = json!([followed]).to_string();
        Server::with(&[&[("flink", text.as_str())], options].concat())
    }

    fn both(&self) -> Vec<String> {
        let mut both = [self.master.address(), self.manager.address()];
        both.sort();
        both.to_vec()
    }
}

/// Addresses of what the job of the cluster scrapes.
fn targets(server: &Server) -> Vec<String> {
    let found = server.get("/api/v1/targets?state=active").json();
    let active = found["data"]["activeTargets"].as_array().unwrap();
    let is_ours = |target: &&Value| target["scrapePool"].as_str().unwrap().starts_with("flink/main");
    let of_cluster = active.iter().filter(is_ours);
    let mut addresses: Vec<String> =
        of_cluster.map(|target| target["labels"]["instance"].as_str().unwrap().to_owned()).collect();
    addresses.sort();
    addresses
}

fn wait_for_targets(server: &Server, expected: &[String]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while targets(server) != expected {
        assert!(Instant::now() < deadline, "{:?} are scraped, and not {expected:?}", targets(server));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Labels and value of each series of an instant query.
fn query(server: &Server, expression: &str) -> Vec<(Value, String)> {
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let found = server.send("POST", "/api/v1/query", &form, format!("query={expression}").as_bytes()).json();
    let result = found["data"]["result"].as_array().unwrap();
    result.iter().map(|one| (one["metric"].clone(), one["value"][1].as_str().unwrap().to_owned())).collect()
}

fn wait_for_values(server: &Server, expression: &str, expected: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = query(server, expression);
        if found.iter().map(|(_, value)| value.as_str()).eq(expected.iter().copied()) {
            return;
        }
        assert!(Instant::now() < deadline, "{expression} is {found:?}, and not {expected:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn reporters_are_found_on_their_ports_and_scraped() {
    let scene = Scene::start();
    let server = scene.follow(json!({}), &[]);
    wait_for_targets(&server, &scene.both());
    wait_for_values(&server, "up", &["1", "1"]);
    for (labels, _) in query(&server, "up") {
        let expected = json!({
            "__name__": "up", "job": "flink", "cluster": "main", "instance": labels["instance"],
        });
        assert_eq!(labels, expected);
    }
    // Flink's API finds the numbers as it finds those of a job of the configuration.
    let path = format!("/jobs/{JOB}/vertices/{VERTEX}/subtasks/0/metrics?get=busyTimeMsPerSecond");
    let found = wait(&server, &path, |found| found != &json!([]));
    assert_eq!(found, json!([{"id": "busyTimeMsPerSecond", "value": "996.0"}]));
    for other in &scene.others {
        let is_scrape = |asked: &Asked| asked.header("x-prometheus-scrape-timeout-seconds").is_some();
        assert!(!other.exporter.asked().iter().any(is_scrape), "also not what it sends us on to");
    }
    let asked = scene.master.exporter.asked();
    assert!(asked.iter().all(|asked| asked.path == "/metrics" && asked.header("authorization").is_none()), "{asked:?}");
}

#[test]
fn a_reporter_that_is_gone_is_down_until_its_process_is_not_listed() {
    let scene = Scene::start();
    let server = scene.follow(json!({}), &[]);
    wait_for_targets(&server, &scene.both());
    let up = format!("up{{instance=\"{}\"}}", scene.manager.address());
    wait_for_values(&server, &up, &["1"]);
    scene.manager.is_up.store(false, Ordering::SeqCst);
    wait_for_values(&server, &up, &["0"]);
    assert_eq!(targets(&server), scene.both());
    scene.list(false);
    wait_for_targets(&server, &[scene.master.address()]);
    wait_for_values(&server, &up, &[]);
    // It comes back.
    scene.manager.is_up.store(true, Ordering::SeqCst);
    scene.list(true);
    wait_for_targets(&server, &scene.both());
}

#[test]
fn what_the_scrape_configuration_has_is_not_scraped_twice() {
    let scene = Scene::start();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("prometheus.yml");
    // By another name than the cluster's.
    let text = |targets: &str| {
        format!(
            "scrape_configs:\n- job_name: own\n  scrape_interval: 1s\n  static_configs: [{{targets: [{targets}]}}]\n"
        )
    };
    std::fs::write(&config, text(&format!("'localhost:{}'", scene.manager.port()))).unwrap();
    let server = scene.follow(json!({}), &[("scrape_config", config.to_str().unwrap())]);
    wait_for_targets(&server, &[scene.master.address()]);
    let busy = "flink_taskmanager_job_task_busyTimeMsPerSecond";
    wait_for_values(&server, busy, &["996"]);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(targets(&server), [scene.master.address()], "it stays so");
    assert_eq!(query(&server, busy).len(), 1);
    // Without that job it is scraped like the other.
    std::fs::write(&config, text("")).unwrap();
    assert_eq!(server.send("POST", "/-/reload", &[], b"").status, 200);
    wait_for_targets(&server, &scene.both());
    let ours = format!("{busy}{{cluster=\"main\"}}");
    wait_for_values(&server, &ours, &["996"]);
}

#[test]
fn addresses_that_are_configured_take_the_place_of_those_that_are_found() {
    let scene = Scene::start();
    let server = scene.follow(json!({"reporters": [scene.manager.address()], "org": "acme"}), &[]);
    wait_for_targets(&server, &[scene.manager.address()]);
    wait_for_values(&server, "up{org=\"acme\",cluster=\"main\",job=\"flink\"}", &["1"]);
    assert!(scene.master.exporter.asked().is_empty(), "nobody else is asked");
    drop(server);
    // One port is a target before it has answered.
    scene.manager.is_up.store(false, Ordering::SeqCst);
    let server = scene.follow(json!({"reporters": [scene.manager.address()]}), &[]);
    wait_for_values(&server, "up", &["0"]);
}

#[test]
fn no_reporters_turn_scraping_off() {
    let scene = Scene::start();
    let server = scene.follow(json!({"reporters": []}), &[]);
    wait(&server, "/jobs/overview", |found| found["jobs"][0]["name"] == "demo");
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(server.get("/api/v1/scrape_pools").json()["data"]["scrapePools"], json!([]));
    assert!(scene.master.exporter.asked().is_empty() && scene.manager.exporter.asked().is_empty());
}
