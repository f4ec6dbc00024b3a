//! A server in this process on a free port with a directory of its own, and a small HTTP client.

use std::sync::Arc;

use storage::{Clock, SystemClock};
use streamgauge::config::{Layer, resolve};
use streamgauge::jobs::{JobState, Observation, Origin, Run, Subject};
use streamgauge::{App, Running};

/// A running server; it stops when dropped.
pub(crate) struct Server {
    runtime: tokio::runtime::Runtime,
    running: Option<Running>,
    base: String,
    options: Vec<(String, String)>,
    clock: Arc<dyn Clock>,
    dir: Arc<tempfile::TempDir>,
}

/// An answer.
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The body as text.
    pub(crate) body: String,
    /// The headers, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e} in {}", self.body))
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

impl Server {
    /// Starts a server with defaults, without the built-in scrape jobs.
    pub(crate) fn start() -> Server {
        Server::with(&[])
    }

    /// Starts a server with these options on top.
    pub(crate) fn with(options: &[(&str, &str)]) -> Server {
        Server::with_clock(options, Arc::new(SystemClock))
    }

    /// The same with a clock of the test's.
    pub(crate) fn with_clock(options: &[(&str, &str)], clock: Arc<dyn Clock>) -> Server {
        let options = options.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Server::open(Arc::new(tempfile::tempdir().unwrap()), options, clock)
    }

    /// Stops the server and starts it again on the same data.
    pub(crate) fn restart(self) -> Server {
        let (dir, options, clock) = (Arc::clone(&self.dir), self.options.clone(), Arc::clone(&self.clock));
        drop(self);
        Server::open(dir, options, clock)
    }

    fn open(dir: Arc<tempfile::TempDir>, options: Vec<(String, String)>, clock: Arc<dyn Clock>) -> Server {
        let data = dir.path().join("data").display().to_string();
        let ground = [("data", data.as_str()), ("listen", "127.0.0.1:0"), ("scrape_self", "false")];
        let ground = ground.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
        let values = ground.chain(options.iter().cloned()).collect();
        let config = resolve(&[Layer { source_name: "test".to_owned(), values }]).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let app = App::open_at(config, Arc::clone(&clock), |_| ()).unwrap();
        let running = runtime.block_on(Running::start(app)).unwrap();
        let base = format!("http://{}", running.address);
        Server { runtime, running: Some(running), base, options, clock, dir }
    }

    /// The shared parts.
    pub(crate) fn app(&self) -> Arc<App> {
        Arc::clone(&self.running.as_ref().unwrap().app)
    }

    /// Waits for work of the server.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// The address of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// GET.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    /// POST with JSON.
    pub(crate) fn post_json(&self, path: &str, body: &serde_json::Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// Any request.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        send(&self.url(path), method, headers, body)
    }

    /// GET on the listener for TSP's API.
    pub(crate) fn get_tsp(&self, path: &str) -> Answer {
        let address = self.running.as_ref().unwrap().tsp_address.unwrap();
        send(&format!("http://{address}{path}"), "GET", &[], b"")
    }

    /// Where Arroyo's API and its controller's method are.
    pub(crate) fn arroyo_url(&self) -> String {
        format!("http://{}", self.running.as_ref().unwrap().arroyo_address.unwrap())
    }

    /// Any request without a body on that listener.
    pub(crate) fn send_arroyo(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send_arroyo_body(method, path, headers, b"")
    }

    /// The same with a body.
    pub(crate) fn send_arroyo_body(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        send(&format!("{}{path}", self.arroyo_url()), method, headers, body)
    }

    /// GET on the listener for Flink's API.
    pub(crate) fn get_flink(&self, path: &str) -> Answer {
        self.send_flink("GET", path, &[], b"")
    }

    /// Any request on the listener for Flink's API.
    pub(crate) fn send_flink(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let address = self.running.as_ref().unwrap().flink_address.unwrap();
        send(&format!("http://{address}{path}"), method, headers, body)
    }
}

/// Any request to any address.
fn send(url: &str, method: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    // Redirects are answers like others: Flink has one without an address.
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .build()
        .into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = match (method, body.is_empty()) {
        ("GET" | "HEAD" | "DELETE" | "OPTIONS", true) => agent.run(request.body(()).unwrap()).unwrap(),
        _ => agent.run(request.body(body).unwrap()).unwrap(),
    };
    Answer {
        status: response.status().as_u16(),
        headers: response
            .headers()
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_str().unwrap_or_default().to_owned()))
            .collect(),
        body: response.body_mut().read_to_string().unwrap(),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop()).unwrap();
        }
    }
}

/// Records a job that began now, as one of a cluster that is followed or as a pushed one.
pub(crate) fn record_job(app: &App, job: Subject, name: &str, cluster: Option<&str>, now_ms: i64) {
    let origin = if cluster.is_some() { Origin::Flink } else { Origin::Push };
    let mut seen = Observation::new(job, origin, now_ms);
    if let Some(cluster) = cluster {
        seen = seen.in_cluster(cluster);
    }
    seen.put(&Run::new(name, JobState::Running, now_ms)).unwrap();
    app.jobs.record(seen).unwrap();
}
