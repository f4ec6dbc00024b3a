//! Every recorded request, asked here while a server follows a cluster that answers as the recorded one did: status, content
//! type, keys, types, and values that do not move. [`TOLERATED`] is the list of what may differ, each with its reason: texts and
//! values, and nothing else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::goldens::{Recording, compare, recording};
use crate::exporter::{Asked, Exporter, Reply};
use crate::support::{Answer, Server};

/// One recorded request and its answer.
#[derive(Debug, Clone)]
struct Recorded {
    file: String,
    method: String,
    path: String,
    body: Option<Value>,
    status: u16,
    content_type: String,
    answer: Value,
}

/// A difference that is right: of a request whose file or reason begins with the first.
struct Tolerated {
    of: &'static str,
    release: Option<&'static str>,
    what: What,
    #[expect(dead_code, reason = "it is for who reads the list")]
    because: &'static str,
}

/// What is not compared.
#[derive(PartialEq)]
enum What {
    /// Values: status, content type, keys and types are.
    Values,
    /// The text of an error: status, content type and number of texts are.
    Message,
}

const fn tolerated(of: &'static str, what: What, because: &'static str) -> Tolerated {
    Tolerated { of, release: None, what, because }
}

const TOLERATED: [Tolerated; 5] = [
    tolerated(
        "jobs_JOBID__just_submitted",
        What::Values,
        "the job runs meanwhile; what is new in it was asked for before the first metrics came",
    ),
    tolerated("jobs_JOBID_vertices_VID_backpressure__cold_deprecated", What::Values, "metrics are there meanwhile"),
    tolerated("unknown task manager", What::Message, "the second part is a stack trace of Java"),
    Tolerated {
        release: Some("golden-1.9"),
        ..tolerated("wrong method", What::Message, "2.3 names the path, 1.9 does not")
    },
    Tolerated { release: Some("golden-1.9"), ..tolerated("OPTIONS", What::Message, "as above") },
];

fn is_tolerated(recorded: &Recorded, release: &str, what: &What) -> bool {
    TOLERATED.iter().any(|one| {
        recorded.file.starts_with(one.of) && one.release.is_none_or(|only| only == release) && one.what == *what
    })
}

impl Recorded {
    /// All of a release in their order, those off the happy path last.
    fn all(release: &str) -> Vec<Recorded> {
        let (index, errors) = (Recording::json(release, "index.json"), Recording::json(release, "errors.json"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let with_ids = |path: &Value| Recording::with_ids(&index, &text(path));
        let requests = index["requests"].as_array().unwrap().iter().filter(|one| {
            one["method"].is_string() && one["file"].as_str().is_some_and(|file| file.ends_with(".json"))
        });
        let happy = requests.map(|one| Recorded {
            file: text(&one["file"]),
            method: text(&one["method"]),
            path: with_ids(&one["path"]),
            body: one.get("request_body").cloned(),
            status: one["status"].as_u64().unwrap() as u16,
            content_type: text(&one["content_type"]),
            answer: Recording::json(release, one["file"].as_str().unwrap()),
        });
        let others = errors.as_array().unwrap().iter().map(|one| Recorded {
            file: text(&one["why"]),
            method: text(&one["method"]),
            path: with_ids(&one["path"]),
            body: one.get("request_body").cloned(),
            status: one["status"].as_u64().unwrap() as u16,
            content_type: text(&one["headers"]["content-type"]),
            answer: one["body"].clone(),
        });
        happy.chain(others).collect()
    }

    /// Asked of a cluster without jobs and jars, which had them when the rest was recorded: a test of its own asks for these.
    fn is_of_empty(&self) -> bool {
        self.file.starts_with("empty__") || self.file.contains("__empty_cluster")
    }

    fn reply(&self) -> Reply {
        let mut reply = Reply::json(&self.answer.to_string());
        reply.status = self.status;
        reply.headers = vec![("content-type", self.content_type.clone())];
        reply
    }

    fn ask(&self, server: &Server) -> Answer {
        let (headers, body) = match &self.body {
            Some(body) => (vec![("content-type", "application/json")], body.to_string()),
            None if self.method == "POST" => (vec![("content-type", "application/json")], "no JSON".to_owned()),
            None => (Vec::new(), String::new()),
        };
        server.send_flink(&self.method, &self.path, &headers, body.as_bytes())
    }

    /// Where the answer departs from the recorded one.
    fn departures(&self, answer: &Answer, release: &str) -> Vec<String> {
        let tolerated = |what: &What| is_tolerated(self, release, what);
        let what = format!("{} {} ({})", self.method, self.path, self.file);
        let found = (answer.status, answer.header("content-type").unwrap_or_default());
        if found != (self.status, self.content_type.as_str()) {
            let wanted = (self.status, &self.content_type);
            return vec![format!("{what}: {found:?} {}, recorded {wanted:?}", answer.body)];
        }
        let mut faults = Vec::new();
        if self.answer.get("errors").is_some() {
            self.compare_errors(&answer.json(), tolerated(&What::Message), &what, &mut faults);
        } else {
            let is_moving =
                tolerated(&What::Values) || self.path.contains("/metrics") || self.path.ends_with("/watermarks");
            compare(&self.answer, &answer.json(), &self.path, is_moving, &mut faults);
            emptied(&self.answer, &answer.json(), &self.path, &mut faults);
        }
        faults
    }

    /// 2.3 says the class and a stack trace besides the message.
    fn compare_errors(&self, answer: &Value, is_text_tolerated: bool, what: &str, faults: &mut Vec<String>) {
        let texts = |answer: &Value| -> Vec<String> {
            let list = answer["errors"].as_array().cloned().unwrap_or_default();
            list.iter().map(|text| text.as_str().unwrap_or_default().to_owned()).collect()
        };
        let (recorded, found) = (texts(&self.answer), texts(answer));
        let says = |(recorded, found): (&String, &String)| !found.is_empty() && recorded.contains(found.as_str());
        let says_the_same = is_text_tolerated || recorded.iter().zip(&found).all(says);
        if recorded.len() != found.len() || !says_the_same {
            let short: Vec<&str> = recorded.iter().filter_map(|text| text.lines().next()).collect();
            faults.push(format!("{what}: {found:?}, recorded {short:?}"));
        }
    }

    /// What only a cluster can answer: each question comes to it once, in the recorded order.
    fn is_sent_on(&self) -> bool {
        let of_cluster = ["/jars", "/savepoint", "/rescaling", "resource-requirements", "/flamegraph", "/rescales"];
        let more = ["/jobmanager/config", "jm-operator-metrics", "/applications", "/datasets", "/logs"];
        let is_own = self.path == "/jobmanager/config";
        self.method != "GET" || !is_own && of_cluster.iter().chain(&more).any(|part| self.path.contains(part))
    }
}

/// Where a list was recorded with something in it, and has nothing: of lists that move only what is there is compared.
fn emptied(recorded: &Value, found: &Value, at: &str, faults: &mut Vec<String>) {
    match (recorded, found) {
        (Value::Object(recorded), Value::Object(found)) => {
            let both = recorded.iter().filter_map(|(key, value)| Some((key, value, found.get(key)?)));
            both.for_each(|(key, value, other)| emptied(value, other, &format!("{at}.{key}"), faults));
        }
        (Value::Array(recorded), Value::Array(found)) if found.is_empty() && !recorded.is_empty() => {
            faults.push(format!("{at}: nothing, recorded {}", recorded.len()));
        }
        _ => {}
    }
}

/// A cluster that answers what was recorded, and values of metrics that were only listed.
struct Cluster {
    documents: BTreeMap<String, Value>,
    in_turn: Vec<(Recorded, AtomicUsize)>,
}

impl Cluster {
    fn new(recording: &Recording, all: &[Recorded]) -> Cluster {
        let mut documents = recording.completed();
        let failed = all.iter().find(|one| one.file.starts_with("extra__jobs_JOBID_exceptions__max1"));
        // Of one job the exceptions were recorded only shortened: that is all there is.
        documents.extend(failed.map(|one| (one.path.split('?').next().unwrap().to_owned(), one.answer.clone())));
        let in_turn = all.iter().filter(|one| one.is_sent_on()).map(|one| (one.clone(), AtomicUsize::new(0)));
        Cluster { documents, in_turn: in_turn.collect() }
    }

    fn answer(&self, asked: &Asked) -> Reply {
        let is_asked = |one: &Recorded| {
            let body: Option<Value> = serde_json::from_slice(&asked.body).ok();
            one.method == asked.method && one.path == asked.path && one.body == body
        };
        let same: Vec<_> = self.in_turn.iter().filter(|(one, _)| is_asked(one)).collect();
        if let Some((next, times)) = same.iter().find(|(_, times)| times.load(Ordering::SeqCst) == 0).or(same.last()) {
            times.fetch_add(1, Ordering::SeqCst);
            return next.reply();
        }
        if let (Some(answer), "GET") = (self.documents.get(&asked.path), asked.method.as_str()) {
            return Reply::json(&answer.to_string());
        }
        let missing = || Reply { status: 404, ..Reply::json(r#"{"errors":["Not found."]}"#) };
        let mut reply = self.values(&asked.path).unwrap_or_else(missing);
        reply.headers = vec![("content-type", "application/json; charset=UTF-8".to_owned())];
        reply
    }

    /// Names and values of metrics that were not recorded: of what back pressure follows from those that it was made of,
    /// others move anyway.
    fn values(&self, path: &str) -> Option<Reply> {
        let (base, list) = path.split_once("/metrics")?;
        let vertex = base.trim_end_matches("/subtasks");
        let pressed = self.documents.get(&format!("{vertex}/backpressure"));
        let pressed = pressed.filter(|answer| answer["subtasks"][0]["busyRatio"].is_number());
        let Some(list) = list.strip_prefix("?get=") else {
            pressed?;
            let names = Value::from_iter(PRESSURE.map(|(name, _)| json!({"id": name})));
            return Some(Reply::json(&names.to_string()));
        };
        let value = |id: &str| {
            let (index, name) = id.split_once('.')?;
            let (_, field) = PRESSURE.iter().find(|(known, _)| *known == name)?;
            let ratio = pressed?["subtasks"][index.parse::<usize>().ok()?][field].as_f64()?;
            Some((ratio * 1000.0).to_string())
        };
        let values = list.split(',').map(|id| {
            let id = id.replace("%20", " ");
            json!({"id": id, "value": value(&id).unwrap_or_else(|| "1".to_owned())})
        });
        let is_known = |path: &str| self.documents.contains_key(path);
        if !is_known(base) && !is_known(vertex) && !is_known(&format!("{base}/metrics")) {
            return None;
        }
        Some(Reply::json(&Value::from_iter(values).to_string()))
    }
}

/// What back pressure is made of in 2.x, by its fields.
const PRESSURE: [(&str, &str); 3] = [
    ("backPressuredTimeMsPerSecond", "ratio"),
    ("idleTimeMsPerSecond", "idleRatio"),
    ("busyTimeMsPerSecond", "busyRatio"),
];

fn replay(release: &'static str, shape: &str) {
    let (recording, mut all) = (recording(release), Recorded::all(release));
    all.retain(|one| !one.is_of_empty());
    let cluster = Arc::new(Cluster::new(&recording, &all));
    let answering = Arc::clone(&cluster);
    let exporter = Exporter::start(move |asked| answering.answer(asked));
    let url = format!("http://{}", exporter.address);
    let settings = json!([{"urls": [url], "name": "main", "metrics": "rest", "interval": "1s"}]).to_string();
    let options = [("flink", settings.as_str()), ("flink_listen", "127.0.0.1:0"), ("flink_listen_shape", shape)];
    let server = Server::with(&options);
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut left: Vec<&Recorded> = all.iter().filter(|one| !one.is_sent_on()).collect();
    let reading = left.len();
    // Until a job is in the store its cluster answers, and that would tell nothing.
    let count = |answer: &Value| answer["jobs"].as_array().map_or(0, Vec::len);
    let jobs = count(recording.get("/jobs/overview").unwrap());
    while count(&server.get("/jobs/overview").json()) < jobs {
        assert!(Instant::now() < deadline, "not all {jobs} jobs are known");
        std::thread::sleep(Duration::from_millis(50));
    }
    while !left.is_empty() {
        let mut faults = Vec::new();
        left.retain(|one| {
            let found = one.departures(&one.ask(&server), release);
            faults.extend(found.iter().cloned());
            !found.is_empty()
        });
        let rest = faults.join("\n");
        assert!(left.is_empty() || Instant::now() < deadline, "{} of {reading} depart:\n{rest}", left.len());
        std::thread::sleep(Duration::from_millis(500));
    }
    let sent_on: Vec<&Recorded> = all.iter().filter(|one| one.is_sent_on()).collect();
    let faults: Vec<String> = sent_on.iter().flat_map(|one| one.departures(&one.ask(&server), release)).collect();
    assert!(faults.is_empty(), "{} of {} depart:\n{}", faults.len(), sent_on.len(), faults.join("\n"));
    assert!(reading > 120 && sent_on.len() > 40, "{reading} and {} requests", sent_on.len());
}

#[test]
#[ignore = "needs recordings of clusters"]
fn every_answer_of_1_9_in_the_shape_of_the_page() {
    replay("golden-1.9", "page");
}

#[test]
#[ignore = "needs recordings of clusters"]
fn every_answer_of_1_9_in_both_shapes() {
    replay("golden-1.9", "superset");
}

#[test]
#[ignore = "needs recordings of clusters"]
fn every_answer_of_2_3_in_its_own_shape() {
    replay("golden", "2.x");
}

#[test]
#[ignore = "needs recordings of clusters"]
fn every_answer_of_2_3_in_both_shapes() {
    replay("golden", "superset");
}

/// A cluster without jobs, and without jars.
#[test]
#[ignore = "needs recordings of clusters"]
fn an_empty_cluster_is_answered_as_it_answered() {
    for (release, shape) in
        [("golden-1.9", "page"), ("golden-1.9", "superset"), ("golden", "2.x"), ("golden", "superset")]
    {
        let all: Vec<Recorded> = Recorded::all(release).into_iter().filter(Recorded::is_of_empty).collect();
        let configuration = recording(release).get("/jobmanager/config").unwrap().clone();
        let known: Mutex<Vec<Recorded>> = Mutex::new(all.clone());
        let exporter = Exporter::start(move |asked| match asked.path.as_str() {
            "/jobmanager/config" => Reply::json(&configuration.to_string()),
            path => known
                .lock()
                .unwrap()
                .iter()
                .find(|one| one.path == path)
                .map_or_else(|| Reply::status(404), Recorded::reply),
        });
        let options = [
            ("flink", format!("http://{}", exporter.address)),
            ("flink_listen", "127.0.0.1:0".to_owned()),
            ("flink_listen_shape", shape.to_owned()),
        ];
        let server = Server::with(&options.each_ref().map(|(name, value)| (*name, value.as_str())));
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let faults: Vec<String> = all.iter().flat_map(|one| one.departures(&one.ask(&server), release)).collect();
            if faults.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "{} of {} depart:\n{}", faults.len(), all.len(), faults.join("\n"));
            std::thread::sleep(Duration::from_millis(200));
        }
        assert!(all.len() == 7, "{} requests", all.len());
    }
}
