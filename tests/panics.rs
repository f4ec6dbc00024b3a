//! A panic in the background is counted, shown, and over after a pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use storage::{Clock, SystemClock};
use streamgauge::scrape::Health;

use crate::exporter::{Exporter, Reply};
use crate::support::Server;

const PATIENCE: Duration = Duration::from_secs(20);

/// A clock that panics once in whoever asks it next, if that is a task of the server and no thread of the database.
#[derive(Debug, Default)]
struct Broken(AtomicBool);

impl Clock for Broken {
    fn now_ms(&self) -> i64 {
        let is_database = std::thread::current().name().is_some_and(|name| name.starts_with("storage"));
        assert!(is_database || !self.0.swap(false, Ordering::SeqCst), "the clock is broken");
        SystemClock.now_ms()
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_scrape_loop_that_panics_starts_again() {
    let exporter = Exporter::start(|_| Reply::text("a 1\n"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("prometheus.yml");
    let config = format!(
        "global: {{scrape_interval: 250ms, scrape_timeout: 200ms}}\nscrape_configs:\n- job_name: j\n  \
         static_configs: [{{targets: ['{}']}}]\n",
        exporter.address
    );
    std::fs::write(&path, config).unwrap();
    let clock = Arc::new(Broken::default());
    let server = Server::with_clock(&[("scrape_config", path.to_str().unwrap())], clock.clone());
    let target = || server.app().scrape.targets().active.into_iter().next();
    let is = |health: Health| move |t: &streamgauge::scrape::ActiveTarget| t.health == health;
    wait_until("the target is up", || target().as_ref().is_some_and(is(Health::Up)));
    clock.0.store(true, Ordering::SeqCst);
    wait_until("the panic is shown", || target().is_some_and(|t| t.last_error.contains("the clock is broken")));
    assert!(target().as_ref().is_some_and(is(Health::Down)));
    let asked = exporter.asked().len();
    wait_until("the target is up again", || target().as_ref().is_some_and(is(Health::Up)));
    assert!(exporter.asked().len() > asked);
    assert_eq!(server.app().telemetry.background_panics.get(&["scrape"]), 1);
}
