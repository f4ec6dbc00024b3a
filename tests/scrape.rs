//! Scraping from outside: real HTTP, real files, short intervals.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use model::{Budget, Matcher, Sample, SampleColumns, Scope, SeriesSource, TimeRange, is_stale};
use streamgauge::scrape::{ActiveTarget, Health};

use crate::exporter::{Exporter, Reply};
use crate::support::Server;

/// Long enough for a busy machine; a test that passes waits for a fraction of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server with a scrape configuration of its own.
struct Scraper {
    server: Server,
    dir: tempfile::TempDir,
}

impl Scraper {
    /// Starts with jobs that are written below `scrape_configs`, at a quarter of a second.
    fn start(jobs: &str) -> Scraper {
        let dir = tempfile::tempdir().unwrap();
        write_config(dir.path(), jobs);
        let path = dir.path().join("prometheus.yml").display().to_string();
        Scraper { server: Server::with(&[("scrape_config", &path)]), dir }
    }

    fn targets(&self) -> Vec<ActiveTarget> {
        self.server.app().scrape.targets().active
    }

    /// Waits for a target that is as it should be.
    fn wait_for(&self, what: &str, is_so: impl Fn(&ActiveTarget) -> bool) -> ActiveTarget {
        let until = Instant::now() + PATIENCE;
        loop {
            let targets = self.targets();
            if let Some(target) = targets.iter().find(|t| is_so(t)) {
                return target.clone();
            }
            assert!(Instant::now() < until, "{what}: {targets:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_for_error(&self, part: &str) {
        self.wait_for(part, |t| t.health == Health::Down && t.last_error.contains(part));
    }

    /// The samples of the series with this name and these labels.
    fn samples(&self, name: &str, labels: &[(&str, &str)]) -> Vec<Sample> {
        let (budget, range) = (Budget::new(u64::MAX, u64::MAX), TimeRange { start_ms: i64::MIN, end_ms: i64::MAX });
        let matchers: Vec<Matcher> =
            [("__name__", name)].iter().chain(labels).map(|(n, v)| Matcher::equal(*n, *v)).collect();
        let snapshot = self.server.app().db.snapshot();
        let set = snapshot.select(&Scope::default(), &matchers, range, &budget).unwrap();
        let mut columns = SampleColumns::default();
        let mut all = Vec::new();
        for i in 0..set.len() {
            set.samples(i, range, &budget, &mut columns).unwrap();
            all.extend(columns.floats());
        }
        all
    }

    /// Waits until the samples of a series are as they should be.
    fn wait_for_samples(&self, name: &str, labels: &[(&str, &str)], is_so: impl Fn(&[Sample]) -> bool) -> Vec<Sample> {
        let until = Instant::now() + PATIENCE;
        loop {
            let samples = self.samples(name, labels);
            if is_so(&samples) {
                return samples;
            }
            assert!(Instant::now() < until, "{name} {labels:?}: {samples:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn reload(&self, jobs: &str) -> (u16, String) {
        write_config(self.dir.path(), jobs);
        let answer = self.server.send("POST", "/-/reload", &[], b"");
        (answer.status, answer.body)
    }
}

fn write_config(dir: &Path, jobs: &str) {
    let text = format!("global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\nscrape_configs:\n{jobs}");
    std::fs::write(dir.join("prometheus.yml"), text).unwrap();
}

/// A job with one target; further keys stand in `more`, each line indented by two.
fn job(exporter: &Exporter, more: &str) -> String {
    format!("- job_name: j\n  static_configs: [{{targets: ['{}']}}]\n{more}", exporter.address)
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

#[test]
fn a_target_is_scraped_over_one_connection_with_prometheuss_headers() {
    let exporter = Exporter::start(|_| Reply::text("# HELP rows Rows.\n# TYPE rows counter\nrows{table=\"a\"} 7\n"));
    let scraper = Scraper::start(&job(
        &exporter,
        "  metrics_path: /m\n  params: {q: [a b]}\n  basic_auth: {username: u, password: p}\n",
    ));
    let samples = scraper.wait_for_samples("rows", &[("table", "a"), ("job", "j")], |s| s.len() >= 4);
    assert!(samples.iter().all(|s| s.value == 7.0), "{samples:?}");
    let target = scraper.wait_for("up", |t| t.health == Health::Up);
    assert_eq!(target.scrape_url, format!("http://{}/m?q=a+b", exporter.address));
    assert_eq!(target.labels.get("instance"), Some(exporter.address.to_string().as_str()));
    assert_eq!((target.scrape_pool.as_str(), target.last_error.as_str()), ("j", ""));
    assert_eq!(target.discovered_labels.get("__param_q"), Some("a b"));
    let asked = exporter.asked();
    assert_eq!(asked[0].path, "/m?q=a+b");
    assert_eq!(asked[0].header("authorization"), Some("Basic dTpw"));
    assert_eq!(asked[0].header("accept-encoding"), Some("gzip"));
    assert_eq!(asked[0].header("x-prometheus-scrape-timeout-seconds"), Some("0.25"));
    assert!(asked[0].header("user-agent").unwrap().starts_with("Streamgauge/"));
    let accept = asked[0].header("accept").unwrap();
    assert!(accept.starts_with("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.9,"), "{accept}");
    assert!(exporter.connections() < exporter.asked().len() / 2, "connections are kept");
    let metadata = scraper.server.app().db.metadata_of("rows").unwrap();
    assert_eq!(metadata.help, "Rows.");
    assert!(scraper.wait_for_samples("up", &[("job", "j")], |s| s.len() >= 2).iter().all(|s| s.value == 1.0));
}

#[test]
fn a_target_that_fails_is_down_until_it_recovers() {
    let status = Arc::new(AtomicUsize::new(200));
    let state = Arc::clone(&status);
    let exporter =
        Exporter::start(move |_| Reply { status: state.load(Ordering::SeqCst) as u16, ..Reply::text("rows 1\n") });
    let scraper = Scraper::start(&job(&exporter, ""));
    scraper.wait_for("up", |t| t.health == Health::Up);
    status.store(503, Ordering::SeqCst);
    scraper.wait_for_error("server returned HTTP status 503 Service Unavailable");
    let samples = scraper.wait_for_samples("rows", &[], |s| s.last().is_some_and(|s| is_stale(s.value)));
    let down = scraper.wait_for_samples("up", &[], |s| s.last().is_some_and(|s| s.value == 0.0));
    let first_down = down.iter().find(|s| s.value == 0.0).unwrap();
    assert_eq!(samples.last().unwrap().timestamp_ms, first_down.timestamp_ms, "marked with the first failure");
    status.store(200, Ordering::SeqCst);
    scraper.wait_for("up again", |t| t.health == Health::Up);
    scraper.wait_for_samples("rows", &[], |s| s.last().is_some_and(|s| s.value == 1.0));
}

#[test]
fn a_slow_target_and_one_that_is_not_there_are_down_with_the_reason() {
    let exporter = Exporter::start(|_| Reply { delay: Duration::from_secs(1), ..Reply::text("rows 1\n") });
    let scraper = Scraper::start(&job(&exporter, ""));
    scraper.wait_for_error("context deadline exceeded (scrape_timeout 250ms)");
    assert!(scraper.samples("rows", &[]).is_empty());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let scraper = Scraper::start(&format!("- job_name: j\n  static_configs: [{{targets: ['{closed}']}}]\n"));
    scraper.wait_for_error("Connection refused");
}

#[test]
fn a_series_that_vanishes_is_marked_at_the_time_of_the_next_scrape() {
    let body = Arc::new(Mutex::new("stays 1\ngoes 2\n".to_owned()));
    let state = Arc::clone(&body);
    let exporter = Exporter::start(move |_| Reply::text(&state.lock().unwrap()));
    let scraper = Scraper::start(&job(&exporter, ""));
    scraper.wait_for_samples("goes", &[], |s| !s.is_empty());
    *body.lock().unwrap() = "stays 1\n".to_owned();
    let goes = scraper.wait_for_samples("goes", &[], |s| s.last().is_some_and(|s| is_stale(s.value)));
    let end = goes.last().unwrap().timestamp_ms;
    let stays = scraper.wait_for_samples("stays", &[], |s| s.last().is_some_and(|s| s.timestamp_ms > end));
    assert!(stays.iter().any(|s| s.timestamp_ms == end) && stays.iter().all(|s| s.value == 1.0), "{stays:?}");
    assert_eq!(scraper.samples("goes", &[]).iter().filter(|s| is_stale(s.value)).count(), 1);
}

#[test]
fn gzip_is_undone_within_the_limit() {
    let gzip = |text: &str| {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text.as_bytes()).unwrap();
        let mut reply = Reply { body: encoder.finish().unwrap(), ..Reply::text("") };
        reply.headers.push(("content-encoding", "gzip".to_owned()));
        reply
    };
    // `rows 1\n` and a comment: 1,024 bytes when unpacked.
    let text = format!("rows 1\n#{}\n", "x".repeat(1024 - 9));
    assert_eq!(text.len(), 1024);
    let exporter = Exporter::start(move |_| gzip(&text));
    let scraper = Scraper::start(&job(&exporter, "  body_size_limit: 1KB\n"));
    scraper.wait_for_samples("rows", &[("job", "j")], |s| !s.is_empty());
    let scraper = Scraper::start(&job(&exporter, "  body_size_limit: 1023B\n"));
    scraper.wait_for_error("limit body_size_limit = 1023 bytes reached");
    let plain = Exporter::start(|_| Reply::text("rows 1\n"));
    let scraper = Scraper::start(&job(&plain, "  body_size_limit: 6B\n  enable_compression: false\n"));
    scraper.wait_for_error("limit body_size_limit = 6 bytes reached");
    assert_eq!(plain.asked()[0].header("accept-encoding"), Some("identity"));
    let odd = Exporter::start(|_| {
        let mut reply = Reply::text("rows 1\n");
        reply.headers.push(("content-encoding", "br".to_owned()));
        reply
    });
    Scraper::start(&job(&odd, "")).wait_for_error("content encoding \"br\"");
}

#[test]
fn redirects_are_followed_without_giving_credentials_away() {
    let end = Exporter::start(|_| Reply::text("rows 1\n"));
    let to = format!("http://{}/end", end.address);
    let exporter = Exporter::start(move |asked| match asked.path.as_str() {
        "/metrics" => Reply::redirect("/next?x=1"),
        "/next?x=1" => Reply::redirect(&to),
        _ => Reply::redirect("/loop"),
    });
    let scraper = Scraper::start(&job(&exporter, "  bearer_token: secret\n"));
    scraper.wait_for_samples("rows", &[], |s| s.len() >= 2);
    assert_eq!(exporter.asked()[1].header("authorization"), Some("Bearer secret"), "the same server");
    assert_eq!((end.asked()[0].path.as_str(), end.asked()[0].header("authorization")), ("/end", None));
    Scraper::start(&job(&exporter, "  follow_redirects: false\n")).wait_for_error("HTTP status 302 Found");
    Scraper::start(&job(&exporter, "  metrics_path: /loop\n")).wait_for_error("stopped after 10 redirects");
}

#[test]
fn https_trusts_what_the_configuration_names() {
    let text = |name: &str| fixture(name).display().to_string();
    let own = Exporter::tls(&text("self.pem"), &text("self_key.pem"), |_| Reply::text("rows 1\n"));
    let signed = Exporter::tls(&text("leaf.pem"), &text("leaf_key.pem"), |_| Reply::text("rows 1\n"));
    let https = |exporter: &Exporter, tls: &str| {
        Scraper::start(&job(
            exporter,
            &format!("  scheme: https\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  tls_config: {{{tls}}}\n"),
        ))
    };
    let up = |scraper: Scraper| drop(scraper.wait_for_samples("rows", &[], |s| !s.is_empty()));
    up(https(&own, &format!("ca_file: '{}'", text("self.pem"))));
    up(https(&signed, &format!("ca_file: '{}'", text("ca.pem"))));
    up(https(&signed, "insecure_skip_verify: true, min_version: TLS13"));
    up(https(&signed, &format!("ca_file: '{}', server_name: localhost", text("ca.pem"))));
    https(&own, &format!("ca_file: '{}'", text("ca.pem"))).wait_for_error("invalid peer certificate");
    https(&own, "").wait_for_error("tls");
    for ca in ["self.pem", "ca.pem"] {
        let exporter = if ca == "self.pem" { &own } else { &signed };
        https(exporter, &format!("ca_file: '{}', server_name: other", text(ca))).wait_for_error("not valid for name");
    }
    https(&own, "ca_file: /nowhere/ca.pem").wait_for_error("/nowhere/ca.pem");
}

#[test]
fn a_reload_changes_what_it_changes() {
    let exporter = Exporter::start(|_| Reply::text("a 1\nb 2\n"));
    let keep = Exporter::start(|_| Reply::text("kept 1\n"));
    let other = format!("- job_name: keep\n  static_configs: [{{targets: ['{}']}}]\n", keep.address);
    let scraper = Scraper::start(&format!("{}{other}", job(&exporter, "")));
    for name in ["a", "b", "kept"] {
        scraper.wait_for_samples(name, &[], |s| s.len() >= 2);
    }
    let rules = "  metric_relabel_configs:\n  - {source_labels: [__name__], regex: b, action: drop}\n";
    assert_eq!(scraper.reload(&format!("{}{other}", job(&exporter, rules))).0, 200);
    let b = scraper.wait_for_samples("b", &[], |s| s.last().is_some_and(|s| is_stale(s.value)));
    let end = b.last().unwrap().timestamp_ms;
    let a = scraper.wait_for_samples("a", &[], |s| s.last().is_some_and(|s| s.timestamp_ms > end + 500));
    assert!(a.iter().all(|s| s.value == 1.0), "{a:?}");
    assert!(scraper.samples("b", &[]).last().is_some_and(|s| is_stale(s.value)));
    let up = scraper.samples("up", &[("job", "j")]);
    assert!(up.iter().all(|s| s.value == 1.0), "the target went on: {up:?}");
    assert_eq!(keep.connections(), 1, "a job that did not change did not notice");

    let (status, body) = scraper.reload("- job_name: j\n  wrong: 1\n");
    assert_eq!(status, 500);
    assert!(body.contains("prometheus.yml:4: field wrong not found in scrape_config"), "{body}");
    let before = scraper.samples("a", &[]).len();
    scraper.wait_for_samples("a", &[], |s| s.len() > before + 1);

    assert_eq!(scraper.reload(&other).0, 200);
    let up = scraper.wait_for_samples("up", &[("job", "j")], |s| s.last().is_some_and(|s| is_stale(s.value)));
    let a = scraper.samples("a", &[]);
    assert!(is_stale(a.last().unwrap().value) && a.last().unwrap().timestamp_ms == up.last().unwrap().timestamp_ms);
    assert_eq!(scraper.targets().len(), 1);
}

#[test]
fn a_reload_needs_the_rights() {
    let exporter = Exporter::start(|_| Reply::text("a 1\n"));
    let scraper = Scraper::start(&job(&exporter, ""));
    let foreign = scraper.server.send("POST", "/-/reload", &[("origin", "http://evil.example")], b"");
    assert_eq!(foreign.status, 403);
    let wrong = scraper.server.send("POST", "/-/reload", &[("authorization", "Bearer x")], b"");
    assert_eq!(wrong.status, 401);
    assert_eq!(scraper.server.get("/-/reload").status, 405);
}

#[test]
fn targets_come_and_go_with_files_and_lists() {
    let exporter = Exporter::start(|_| Reply::text("a 1\n"));
    let list = Arc::new(Mutex::new("[]".to_owned()));
    let state = Arc::clone(&list);
    let directory = Exporter::start(move |_| Reply::json(&state.lock().unwrap()));
    let scraper = Scraper::start(&format!(
        "- job_name: file\n  file_sd_configs: [{{files: ['t*.json'], refresh_interval: 100ms}}]\n\
         - job_name: http\n  http_sd_configs: [{{url: 'http://{}/list', refresh_interval: 100ms}}]\n",
        directory.address
    ));
    let group = format!("[{{\"targets\": [\"{}\"], \"labels\": {{\"zone\": \"z\"}}}}]", exporter.address);
    let file = scraper.dir.path().join("t1.json");
    std::fs::write(&file, &group).unwrap();
    *list.lock().unwrap() = group.clone();
    let found = scraper.wait_for("by file", |t| t.scrape_pool == "file" && t.health == Health::Up);
    assert_eq!(found.labels.get("zone"), Some("z"));
    assert_eq!(found.discovered_labels.get("__meta_filepath"), Some(file.display().to_string().as_str()));
    let found = scraper.wait_for("by list", |t| t.scrape_pool == "http" && t.health == Health::Up);
    assert_eq!(found.discovered_labels.get("__meta_url"), Some(format!("http://{}/list", directory.address).as_str()));
    assert_eq!(directory.asked()[0].header("accept"), Some("application/json"));

    std::fs::write(&file, "broken").unwrap();
    *list.lock().unwrap() = "broken".to_owned();
    let count = scraper.samples("a", &[]).len();
    scraper.wait_for_samples("a", &[], |s| s.len() > count + 6);
    assert_eq!(scraper.targets().len(), 2, "what cannot be read changes nothing");

    std::fs::remove_file(&file).unwrap();
    *list.lock().unwrap() = "[]".to_owned();
    for pool in ["file", "http"] {
        scraper.wait_for_samples("up", &[("job", pool)], |s| s.last().is_some_and(|s| is_stale(s.value)));
    }
    assert!(scraper.targets().is_empty());
}

#[test]
fn limits_and_relabelling_of_targets() {
    let exporter = Exporter::start(|_| Reply::text("a 1\n"));
    let two = format!(
        "- job_name: j\n  target_limit: LIMIT\n  static_configs: [{{targets: ['{0}', 'localhost:{1}', '{0}', 'gone:1']}}]\n  relabel_configs:\n  - {{source_labels: [__address__], regex: 'gone:.*', action: drop}}\n",
        exporter.address,
        exporter.address.port()
    );
    let scraper = Scraper::start(&two.replace("LIMIT", "2"));
    scraper.wait_for("up", |t| t.health == Health::Up);
    assert_eq!(scraper.targets().len(), 2, "the address that is there twice is one target");
    let dropped = scraper.server.app().scrape.targets().dropped;
    assert_eq!(dropped[0].discovered_labels.get("__address__"), Some("gone:1"));
    assert_eq!(scraper.reload(&two.replace("LIMIT", "1")).0, 200);
    scraper.wait_for_error("target_limit exceeded (number of targets: 2, limit: 1)");
}

#[test]
fn the_end_of_the_server_marks_nothing() {
    let exporter = Exporter::start(|_| Reply::text("a 1\n"));
    let scraper = Scraper::start(&job(&exporter, ""));
    scraper.wait_for_samples("a", &[], |s| s.len() >= 2);
    let app = scraper.server.app();
    scraper.server.block_on(app.scrape.stop());
    for name in ["a", "up"] {
        let samples = scraper.samples(name, &[]);
        assert!(samples.iter().all(|s| s.value == 1.0), "{name}: {samples:?}");
    }
    let count = exporter.asked().len();
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(exporter.asked().len(), count);
}

#[test]
fn a_server_with_a_wrong_file_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    write_config(dir.path(), "- job_name: j\n  scrape_intervall: 5s\n");
    let mut config = streamgauge::Config::defaults().unwrap();
    config.data = dir.path().join("data");
    config.scrape_config = Some(dir.path().join("prometheus.yml"));
    let error = streamgauge::App::open(config).err().unwrap().to_string();
    assert!(error.contains("prometheus.yml:4: field scrape_intervall not found in scrape_config"), "{error}");
    assert!(!dir.path().join("data").exists(), "and touches nothing");
}

#[test]
fn the_server_and_its_host_are_scraped_without_any_configuration() {
    let server = Server::with(&[("scrape_self", "true")]);
    let dir = tempfile::tempdir().unwrap();
    let scraper = Scraper { server, dir };
    let began = Instant::now();
    for job in ["streamgauge", "node"] {
        scraper.wait_for_samples("up", &[("job", job)], |s| s.last().is_some_and(|s| s.value == 1.0));
    }
    scraper.wait_for_samples("node_load1", &[("job", "node")], |s| !s.is_empty());
    #[cfg(target_os = "linux")]
    scraper.wait_for_samples("node_cpu_seconds_total", &[("mode", "idle"), ("cpu", "0")], |s| !s.is_empty());
    assert!(began.elapsed() < Duration::from_secs(20));
}
