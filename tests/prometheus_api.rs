//! Prometheus's HTTP API from outside: shapes of answers, parameters, limits, bad requests, and `streamgauge query`.

use serde_json::{Value, json};
use storage::Exemplar;
use streamgauge::ingest::Origin;

use crate::support::{Answer, Server};

/// Ten minutes after the epoch: the API must know old times.
const T: i64 = 600_000;

/// A series as label pairs, its times and values.
type Series<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

/// Stores samples.
fn store(server: &Server, series: &[Series<'_>]) {
    let app = server.app();
    let mut batch = app.ingest.batch();
    for (labels, samples) in series {
        let labels = model::Labels::from_pairs(labels.iter().copied()).unwrap();
        let defined = batch.define(None, &labels).unwrap();
        for (timestamp_ms, value) in *samples {
            batch.push(defined, *timestamp_ms, *value).unwrap();
        }
    }
    app.ingest.commit(Origin::RemoteWrite, batch).unwrap();
}

/// A server with three series at 590 s and 600 s.
fn example() -> Server {
    let server = Server::start();
    fill(&server);
    server
}

fn fill(server: &Server) {
    store(
        server,
        &[
            (&[("__name__", "requests_total"), ("job", "api"), ("code", "200")], &[(T - 10_000, 1.0), (T, 4.5)]),
            (&[("__name__", "requests_total"), ("job", "api"), ("code", "500")], &[(T - 10_000, 0.0), (T, 1e21)]),
            (
                &[("__name__", "temperature"), ("job", "sensor"), ("my.room", "a\"b")],
                &[(T - 10_000, -0.0), (T, f64::NAN)],
            ),
        ],
    );
}

fn form(server: &Server, path: &str, body: &str) -> Answer {
    server.send("POST", path, &[("content-type", "application/x-www-form-urlencoded")], body.as_bytes())
}

/// The data of a success.
fn data(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    assert_eq!(body["status"], "success");
    body["data"].clone()
}

#[test]
fn instant_queries_answer_in_the_order_that_clients_read() {
    let server = example();
    for (query, expected) in [
        ("1e21", r#"{"resultType":"scalar","result":[600,"1000000000000000000000"]}"#),
        ("%22a%5C%22b%22", r#"{"resultType":"string","result":[600,"a\"b"]}"#),
        (
            "temperature",
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"temperature","job":"sensor","my.room":"a\"b"},"value":[600,"NaN"]}]}"#,
        ),
        (
            "requests_total%7Bcode=%22500%22%7D",
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"requests_total","code":"500","job":"api"},"value":[600,"1e+21"]}]}"#,
        ),
        (
            "temperature%5B1m%5D",
            r#"{"resultType":"matrix","result":[{"metric":{"__name__":"temperature","job":"sensor","my.room":"a\"b"},"values":[[590,"-0"],[600,"NaN"]]}]}"#,
        ),
        ("nothing", r#"{"resultType":"vector","result":[]}"#),
    ] {
        let answer = server.get(&format!("/api/v1/query?query={query}&time=600"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.body, format!(r#"{{"status":"success","data":{expected}}}"#));
        assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
    }
}

#[test]
fn times_may_be_old_negative_or_have_a_calendar() {
    let server = example();
    let time = |text: &str| data(&server.get(&format!("/api/v1/query?query=time()&time={text}")))["result"].clone();
    assert_eq!(time("4"), json!([4, "4"]));
    assert_eq!(time("-1.5"), json!([-1.5, "-1.5"]));
    assert_eq!(time("1970-01-01T00:10:00Z"), json!([600, "600"]));
    assert_eq!(time("1970-01-01T02:10:00.250%2B02:00"), json!([600.25, "600.25"]));
}

#[test]
fn range_queries_take_durations_and_seconds() {
    let server = example();
    let path = "/api/v1/query_range?query=requests_total%7Bcode=%22200%22%7D&start=590&end=602";
    for step in ["5", "5s", "5.0"] {
        let answer = data(&server.get(&format!("{path}&step={step}")));
        assert_eq!(answer["resultType"], "matrix");
        assert_eq!(answer["result"][0]["values"], json!([[590, "1"], [595, "1"], [600, "4.5"]]), "{step}");
    }
    let scalar = data(&server.get("/api/v1/query_range?query=1&start=-1&end=0&step=1"));
    assert_eq!(scalar["result"], json!([{"metric": {}, "values": [[-1, "1"], [0, "1"]]}]));
}

#[test]
fn url_and_body_are_merged_and_the_body_wins() {
    let server = example();
    let same = data(&server.get("/api/v1/query?query=temperature&time=600"));
    assert_eq!(data(&form(&server, "/api/v1/query", "query=temperature&time=600")), same);
    assert_eq!(data(&form(&server, "/api/v1/query?time=600&query=nothing", "query=temperature")), same);
    assert_eq!(data(&form(&server, "/prometheus/api/v1/query", "query=temperature&time=600")), same);
    let series = data(&form(&server, "/api/v1/series?match[]=temperature", "match%5B%5D=requests_total"));
    assert_eq!(series.as_array().unwrap().len(), 3);
    let gzip = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, text).unwrap();
        encoder.finish().unwrap()
    };
    let headers = [("content-type", "application/x-www-form-urlencoded; charset=utf-8"), ("content-encoding", "gzip")];
    let packed = server.send("POST", "/api/v1/query", &headers, &gzip(b"query=temperature&time=600"));
    assert_eq!(data(&packed), same);
}

#[test]
fn annotations_stand_beside_the_data() {
    let server = example();
    let answer = server.get("/api/v1/query?query=quantile(2,temperature)&time=600").json();
    assert!(answer["warnings"][0].as_str().unwrap().contains("quantile value should be between 0 and 1"), "{answer}");
    let answer = server.get("/api/v1/query?query=rate(temperature%5B1m%5D)&time=600").json();
    assert!(answer["infos"][0].as_str().unwrap().contains("metric might not be a counter"), "{answer}");
}

#[test]
fn limits_stats_and_lookback_of_a_query() {
    let server = example();
    let path = "/api/v1/query?query=requests_total&time=605";
    let cut = server.get(&format!("{path}&limit=1")).json();
    assert_eq!(cut["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(cut["warnings"], json!(["results truncated due to limit"]));
    for all in ["limit=2", "limit=0", "limit="] {
        let answer = server.get(&format!("{path}&{all}")).json();
        assert_eq!((answer["data"]["result"].as_array().unwrap().len(), answer.get("warnings")), (2, None), "{all}");
    }
    assert_eq!(data(&server.get(&format!("{path}&lookback_delta=5")))["result"], json!([]));
    assert_eq!(data(&server.get(&format!("{path}&lookback_delta=6s")))["result"].as_array().unwrap().len(), 2);
    let stats = &data(&server.get(&format!("{path}&stats=all")))["stats"];
    assert!(stats["samples"]["totalQueryableSamples"].as_u64().unwrap() >= 2, "{stats}");
    assert!(stats["timings"]["execTotalTime"].as_f64().unwrap() > 0.0, "{stats}");
}

#[test]
fn series_labels_and_values() {
    let server = example();
    let list = |path: &str| data(&server.get(path));
    assert_eq!(
        list("/api/v1/series?match[]=temperature&match[]=%7Bjob=%22sensor%22%7D"),
        json!([{"__name__": "temperature", "job": "sensor", "my.room": "a\"b"}])
    );
    assert_eq!(list("/api/v1/labels"), json!(["__name__", "code", "job", "my.room"]));
    assert_eq!(list("/api/v1/labels?match[]=requests_total"), json!(["__name__", "code", "job"]));
    assert_eq!(list("/api/v1/label/job/values"), json!(["api", "sensor"]));
    assert_eq!(list("/api/v1/label/__name__/values?match[]=%7Bjob=~%22a.*%22%7D"), json!(["requests_total"]));
    assert_eq!(list("/api/v1/label/nothing/values"), json!([]));
    for name in ["my.room", "U__my_2e_room", "my%2Eroom"] {
        assert_eq!(list(&format!("/api/v1/label/{name}/values")), json!(["a\"b"]), "{name}");
    }
    assert_eq!(list("/api/v1/label/job/values?start=5&end=3"), json!([]), "an empty range");
    assert_eq!(list("/api/v1/labels?start=-1000&end=1970-01-01T00:10:00Z").as_array().unwrap().len(), 4);
}

#[test]
fn lists_are_cut_at_the_limit_and_say_so() {
    let server = example();
    for (path, all) in [
        ("/api/v1/series?match[]=requests_total&match[]=temperature", 3),
        ("/api/v1/labels?", 4),
        ("/api/v1/label/__name__/values?", 2),
    ] {
        for limit in 1..=all + 1 {
            let answer = server.get(&format!("{path}&limit={limit}")).json();
            assert_eq!(answer["data"].as_array().unwrap().len(), limit.min(all), "{path} {limit}");
            let warned = answer.get("warnings") == Some(&json!(["results truncated due to limit"]));
            assert_eq!(warned, limit < all, "{path} {limit}: {answer}");
        }
    }
}

#[test]
fn named_limits_hold_at_n_and_n_plus_1() {
    let with = |option: &str, value: &str| {
        let server = Server::with(&[(option, value)]);
        fill(&server);
        server
    };
    let limited = |server: &Server, path: &str, limit: &str| {
        let answer = server.get(path);
        let body = answer.json();
        assert_eq!((answer.status, body["errorType"].as_str()), (422, Some("execution")), "{path}: {body}");
        assert!(body["error"].as_str().unwrap().contains(limit), "{path}: {body}");
    };
    let server = with("query.max_series", "2");
    assert_eq!(server.get("/api/v1/series?match[]=requests_total").status, 200);
    limited(&server, "/api/v1/series?match[]=%7Bjob!=%22%22%7D", "limit query.max_series = 2 reached");
    limited(&server, "/api/v1/labels", "limit query.max_series = 2 reached");
    assert_eq!(server.get("/api/v1/series?match[]=%7Bjob!=%22%22%7D&limit=2").status, 200, "the client wants less");
    assert_eq!(server.get("/api/v1/label/job/values").status, 200);

    let server = with("query.max_samples", "2");
    assert_eq!(server.get("/api/v1/query?query=temperature%5B1m%5D&time=600").status, 200);
    limited(&server, "/api/v1/query?query=requests_total%5B1m%5D&time=600", "limit query.max_samples = 2 reached");

    let server = with("query.max_depth", "5");
    assert_eq!(server.get("/api/v1/query?query=((((1))))").status, 200);
    limited(&server, "/api/v1/query?query=(((((1)))))", "limit query.max_depth = 5 reached");

    let server = with("query.max_expression_bytes", "3");
    assert_eq!(server.get("/api/v1/query?query=111").status, 200);
    limited(&server, "/api/v1/query?query=1111", "limit query.max_expression_bytes = 3 reached");

    let server = with("query.max_steps", "2");
    assert_eq!(server.get("/api/v1/query_range?query=1&start=0&end=2&step=1").status, 200);
    let answer = server.get("/api/v1/query_range?query=1&start=0&end=3&step=1");
    assert_eq!((answer.status, answer.json()["errorType"].as_str()), (400, Some("bad_data")));
    let error = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("exceeded maximum resolution of 2 points per timeseries."), "{error}");
    assert!(error.contains("limit query.max_steps = 2 reached"), "{error}");

    let server = with("query.max_body_bytes", "7");
    assert_eq!(form(&server, "/api/v1/query", "query=1").status, 200);
    let answer = form(&server, "/api/v1/query", "query=11");
    assert_eq!(answer.status, 413);
    assert!(answer.json()["error"].as_str().unwrap().contains("query.max_body_bytes = 7"));
}

#[test]
fn deadlines_are_kept_and_named() {
    let server = Server::with(&[("query.timeout", "20ms"), ("query.max_samples", "100000000000")]);
    let slow = "max_over_time(vector(1)[300d:1s])";
    let ask = |extra: &str| {
        let answer = form(&server, "/api/v1/query", &format!("query={slow}{extra}"));
        let body = answer.json();
        assert_eq!((answer.status, body["errorType"].as_str()), (503, Some("timeout")), "{body}");
        body["error"].as_str().unwrap().to_owned()
    };
    assert!(ask("").contains("limit query.timeout = 20ms reached"));
    assert!(ask("&timeout=0.005").contains("parameter timeout = 5ms reached"));
    assert!(ask("&timeout=0").contains("parameter timeout = 0"));
    assert!(ask("&timeout=1h").contains("limit query.timeout = 20ms reached"), "no client lifts the limit");
}

#[test]
fn large_answers_are_streamed_whole() {
    let server = Server::start();
    let app = server.app();
    let mut batch = app.ingest.batch();
    for i in 0..3_000 {
        let value = format!("{i:05}");
        let labels = model::Labels::from_pairs([("__name__", "many"), ("i", value.as_str())]).unwrap();
        let series = batch.define(None, &labels).unwrap();
        batch.push(series, T, f64::from(i)).unwrap();
    }
    app.ingest.commit(Origin::RemoteWrite, batch).unwrap();
    let answer = server.get("/api/v1/query?query=many&time=600");
    assert_eq!(answer.header("content-length"), None, "in chunks");
    let result = data(&answer)["result"].clone();
    let values: Vec<&str> = result.as_array().unwrap().iter().map(|s| s["value"][1].as_str().unwrap()).collect();
    assert_eq!(values.len(), 3_000);
    assert_eq!((values[0], values[2_999]), ("0", "2999"));
    let series = server.get("/api/v1/series?match[]=many");
    assert_eq!(series.header("content-length"), None, "in chunks");
    assert_eq!(data(&series).as_array().unwrap().len(), 3_000);
}

#[test]
fn metadata_of_families() {
    let server = Server::start();
    let app = server.app();
    let mut batch = app.ingest.batch();
    for (name, help) in [("a_seconds", "first"), ("b_total", "second \"x\"")] {
        let metadata = model::Metadata { help: help.to_owned(), ..model::Metadata::default() };
        batch.set_metadata(name, metadata);
    }
    app.ingest.commit(Origin::RemoteWrite, batch).unwrap();
    let list = |query: &str| data(&server.get(&format!("/api/v1/metadata{query}")));
    let first = json!([{"type": "unknown", "unit": "", "help": "first"}]);
    assert_eq!(
        list(""),
        json!({"a_seconds": first, "b_total": [{"type": "unknown", "unit": "", "help": "second \"x\""}]})
    );
    assert_eq!(list("?metric=a_seconds&limit_per_metric=1"), json!({"a_seconds": first}));
    assert_eq!(list("?metric=nothing"), json!({}));
    assert_eq!(list("?limit=1").as_object().unwrap().len(), 1);
    assert_eq!(list("?limit=-1").as_object().unwrap().len(), 2);
    assert_eq!(list("?limit=0"), json!({}));
}

#[test]
fn exemplars_of_selected_series() {
    let server = Server::start();
    let app = server.app();
    let labels = |pairs: &[(&str, &str)]| model::Labels::from_pairs(pairs.iter().copied()).unwrap();
    let mut batch = app.ingest.batch();
    let series = batch.define(None, &labels(&[("__name__", "latency_bucket"), ("le", "1")])).unwrap();
    batch.push(series, T, 1.0).unwrap();
    batch.push_exemplar(series, Exemplar { labels: labels(&[("trace_id", "t1")]), value: 0.5, timestamp_ms: T });
    app.ingest.commit(Origin::RemoteWrite, batch).unwrap();
    let found = data(&form(&server, "/api/v1/query_exemplars", "query=sum(rate(latency_bucket[1m]))&start=0&end=600"));
    assert_eq!(
        found,
        json!([{
            "seriesLabels": {"__name__": "latency_bucket", "le": "1"},
            "exemplars": [{"labels": {"trace_id": "t1"}, "value": "0.5", "timestamp": 600}],
        }])
    );
    let probe = "/api/v1/query_exemplars?query=latency_bucket&start=1795236463462&end=1795236463463";
    assert_eq!(data(&server.get(probe)), json!([]), "Grafana's probe is in milliseconds");
    assert_eq!(data(&server.get("/api/v1/query_exemplars?query=1")), json!([]));
}

#[test]
fn expressions_are_formatted() {
    let server = Server::start();
    assert_eq!(data(&server.get("/api/v1/format_query?query=foo/bar")), json!("foo / bar"));
    assert_eq!(data(&form(&server, "/api/v1/format_query", "query=sum(a)by(b)")), json!("sum by (b) (a)"));
}

#[test]
fn federation_gives_the_latest_samples_as_text() {
    let server = Server::start();
    let now = server.app().clock.now_ms();
    store(
        &server,
        &[
            (&[("__name__", "b"), ("instance", "i"), ("A", "x")], &[(now - 2_000, 1.0), (now - 1_000, 2.5)]),
            (&[("__name__", "a")], &[(now - 1_000, 1.0)]),
            (&[("__name__", "b"), ("z", "\n")], &[(now - 1_000, f64::INFINITY)]),
            (&[("__name__", "b"), ("old", "1")], &[(now - 600_000, 1.0)]),
            (&[("__name__", "b"), ("ended", "1")], &[(now - 2_000, 1.0), (now - 1_000, model::stale_nan())]),
            (&[("__name__", "c")], &[(now - 1_000, 1.0)]),
        ],
    );
    let at = now - 1_000;
    let expected = format!(
        "# TYPE a untyped\na{{instance=\"\"}} 1 {at}\n# TYPE b untyped\nb{{A=\"x\",instance=\"i\"}} 2.5 {at}\n\
         b{{z=\"\\n\",instance=\"\"}} +Inf {at}\n"
    );
    for path in ["/federate", "/prometheus/federate"] {
        let answer = server.get(&format!("{path}?match[]=a&match[]=%7B__name__=~%22a%7Cb%22%7D"));
        assert_eq!((answer.status, answer.body.as_str()), (200, expected.as_str()));
        assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    }
    assert_eq!(server.get("/federate").body, "");
    let wrong = server.get("/federate?match[]=a%7B");
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("1:3: parse error") && !wrong.body.starts_with('{'), "{}", wrong.body);
}

#[test]
fn federation_adds_the_external_labels_that_series_lack() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("prometheus.yml");
    let federated = |external: &str| {
        std::fs::write(&path, format!("global: {{external_labels: {external}}}\n")).unwrap();
        let server = Server::with(&[("scrape_config", &path.display().to_string())]);
        let at = server.app().clock.now_ms() - 1_000;
        let own: &[(&str, &str)] = &[("__name__", "a"), ("region", "own"), ("instance", "i"), ("z", "1")];
        store(&server, &[(&[("__name__", "a")], &[(at, 1.0)]), (own, &[(at, 2.0)])]);
        let body = server.get("/federate?match[]=a").body;
        body.replace(&format!(" {at}\n"), "\n").replace("# TYPE a untyped\n", "")
    };
    assert_eq!(
        federated("{region: eu, cluster: c}"),
        "a{cluster=\"c\",instance=\"\",region=\"eu\"} 1\na{instance=\"i\",region=\"own\",z=\"1\",cluster=\"c\"} 2\n"
    );
    assert_eq!(federated("{instance: x}"), "a{instance=\"x\"} 1\na{instance=\"i\",region=\"own\",z=\"1\"} 2\n");
}

#[test]
fn status_pages() {
    let server = example();
    let status = |page: &str| data(&server.get(&format!("/api/v1/status/{page}")));
    let build = status("buildinfo");
    let version: Vec<u32> = build["version"].as_str().unwrap().split('.').map(|n| n.parse().unwrap()).collect();
    assert!(version >= vec![2, 24], "{build}");
    assert_eq!(build.get("features"), None, "Grafana would take us for another product");
    assert_eq!(status("runtimeinfo")["reloadConfigSuccess"], true);
    assert_eq!(status("flags")["query.max-steps"], "11000");
    assert_eq!(status("config"), json!({"yaml": ""}));
    assert_eq!(status("walreplay"), json!({"min": 0, "max": 0, "current": 0}));
    let tsdb = status("tsdb?limit=1");
    assert_eq!(tsdb["headStats"]["numSeries"], 3);
    assert_eq!(tsdb["seriesCountByMetricName"], json!([{"name": "requests_total", "value": 2}]));
    assert_eq!(data(&server.get("/api/v1/rules?type=alert")), json!({"groups": []}));
    assert_eq!(data(&server.get("/api/v1/alerts")), json!({"alerts": []}));
    assert_eq!(data(&server.get("/api/v1/targets"))["activeTargets"], json!([]));
}

#[test]
fn targets_are_those_that_are_scraped() {
    let server = Server::with(&[("scrape_self", "true")]);
    let jobs = || {
        let targets = data(&server.get("/api/v1/targets?state=active"));
        let targets = targets["activeTargets"].as_array().unwrap().clone();
        targets.iter().map(|t| t["scrapePool"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // Each job finds its targets on its own.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while jobs().len() < 2 && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(jobs(), ["node", "streamgauge"]);
    assert_eq!(data(&server.get("/api/v1/scrape_pools")), json!({"scrapePools": ["node", "streamgauge"]}));
    let one = data(&server.get("/api/v1/targets?scrapePool=node"));
    assert_eq!(one["activeTargets"].as_array().unwrap().len(), 1);
}

#[test]
fn our_own_metrics_count_queries() {
    let server = example();
    assert_eq!(server.get("/api/v1/query?query=temperature&time=600").status, 200);
    assert_eq!(server.get("/api/v1/query?query=up%20up").status, 400);
    let answer = server.get("/metrics");
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    for line in [
        "streamgauge_queries_total{kind=\"instant\",outcome=\"success\"} 1",
        "streamgauge_queries_total{kind=\"instant\",outcome=\"bad_data\"} 1",
        "# TYPE streamgauge_series gauge",
        "streamgauge_series 3",
        "streamgauge_committed_samples_total 6",
    ] {
        assert!(answer.body.lines().any(|l| l == line), "{line} in {}", answer.body);
    }
    let accept = [("accept", "application/openmetrics-text; version=1.0.0")];
    let open = server.send("GET", "/metrics", &accept, b"");
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(open.body.ends_with("# EOF\n"));
}

#[test]
fn the_first_page_says_what_to_open() {
    let answer = Server::start().get("/");
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").unwrap().starts_with("text/html"));
    assert!(answer.body.contains("/api/v1/query?query=up"));
}

/// A bad request: method, path, form body, status, type of the error, and what its message has.
type Bad = (&'static str, &'static str, &'static str, u16, &'static str, &'static str);

const BAD: &[Bad] = &[
    (
        "GET",
        "/api/v1/query",
        "",
        400,
        "bad_data",
        "invalid parameter \"query\": unknown position: parse error: no expression found in input",
    ),
    (
        "GET",
        "/api/v1/query?query=up%20up",
        "",
        400,
        "bad_data",
        "invalid parameter \"query\": 1:4: parse error: unexpected identifier \"up\"",
    ),
    ("GET", "/api/v1/query?query=sum(%0Aup", "", 400, "bad_data", "parse error: unclosed left parenthesis"),
    ("GET", "/api/v1/query?query=foo%7Ba=~%22(%22%7D", "", 400, "bad_data", "1:5: parse error: error parsing regexp"),
    (
        "GET",
        "/api/v1/query?query=rate(up)",
        "",
        400,
        "bad_data",
        "expected type range vector in call to function \"rate\", got instant vector",
    ),
    ("GET", "/api/v1/query?query=nosuch(1)", "", 400, "bad_data", "unknown function with name \"nosuch\""),
    (
        "GET",
        "/api/v1/query?query=1&time=abc",
        "",
        400,
        "bad_data",
        "invalid parameter \"time\": invalid time value for 'time': cannot parse \"abc\" to a valid timestamp",
    ),
    ("GET", "/api/v1/query?query=1&time=NaN", "", 400, "bad_data", "cannot parse \"NaN\""),
    ("GET", "/api/v1/query?query=1&time=2026-13-01T00:00:00Z", "", 400, "bad_data", "invalid parameter \"time\""),
    (
        "GET",
        "/api/v1/query?query=1&timeout=abc",
        "",
        400,
        "bad_data",
        "invalid parameter \"timeout\": cannot parse \"abc\" to a valid duration",
    ),
    ("GET", "/api/v1/query?query=1&timeout=-1", "", 400, "bad_data", "invalid parameter \"timeout\""),
    ("GET", "/api/v1/query?query=1&timeout=0", "", 503, "timeout", "query timed out in query execution"),
    (
        "GET",
        "/api/v1/query?query=1&limit=abc",
        "",
        400,
        "bad_data",
        "invalid parameter \"limit\": cannot parse \"abc\"",
    ),
    (
        "GET",
        "/api/v1/query?query=1&limit=-1",
        "",
        400,
        "bad_data",
        "invalid parameter \"limit\": limit must be non-negative",
    ),
    (
        "GET",
        "/api/v1/query?query=1&lookback_delta=abc",
        "",
        400,
        "bad_data",
        "error parsing lookback delta duration: cannot parse \"abc\" to a valid duration",
    ),
    ("GET", "/api/v1/query?query=%zz", "", 400, "bad_data", "malformed URL encoding at \"%zz\""),
    ("GET", "/api/v1/query?query=%ff", "", 400, "bad_data", "invalid parameter \"query\": the value is not UTF-8"),
    (
        "GET",
        "/api/v1/query?query=requests_total*on(job)requests_total&time=600",
        "",
        422,
        "execution",
        "found duplicate series for the match group",
    ),
    ("POST", "/api/v1/query", "query=%4", 400, "bad_data", "malformed URL encoding"),
    ("PUT", "/api/v1/query?query=1", "", 405, "bad_data", "does not take PUT"),
    ("DELETE", "/api/v1/series?match[]=up", "", 405, "bad_data", "does not take DELETE"),
    ("POST", "/api/v1/label/job/values", "", 405, "bad_data", "does not take POST"),
    (
        "GET",
        "/api/v1/query_range?query=1",
        "",
        400,
        "bad_data",
        "invalid parameter \"start\": cannot parse \"\" to a valid timestamp",
    ),
    (
        "GET",
        "/api/v1/query_range?query=1&start=1",
        "",
        400,
        "bad_data",
        "invalid parameter \"end\": cannot parse \"\" to a valid timestamp",
    ),
    (
        "GET",
        "/api/v1/query_range?query=1&start=1&end=0&step=1",
        "",
        400,
        "bad_data",
        "invalid parameter \"end\": end timestamp must not be before start time",
    ),
    (
        "GET",
        "/api/v1/query_range?query=1&start=1&end=2",
        "",
        400,
        "bad_data",
        "invalid parameter \"step\": cannot parse \"\" to a valid duration",
    ),
    (
        "GET",
        "/api/v1/query_range?query=1&start=1&end=2&step=0",
        "",
        400,
        "bad_data",
        "invalid parameter \"step\": zero or negative query resolution step widths are not accepted",
    ),
    ("GET", "/api/v1/query_range?query=1&start=1&end=2&step=0.0001", "", 400, "bad_data", "invalid parameter \"step\""),
    ("GET", "/api/v1/query_range?query=1&start=1&end=2&step=1e30", "", 400, "bad_data", "It overflows int64"),
    (
        "GET",
        "/api/v1/query_range?query=1&start=0&end=11001&step=1",
        "",
        400,
        "bad_data",
        "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
    ),
    (
        "GET",
        "/api/v1/query_range?query=up%5B5m%5D&start=0&end=1&step=1",
        "",
        400,
        "bad_data",
        "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector",
    ),
    (
        "GET",
        "/api/v1/query_range?query=%22a%22&start=0&end=1&step=1",
        "",
        400,
        "bad_data",
        "invalid expression type \"string\" for range query",
    ),
    ("GET", "/api/v1/series", "", 400, "bad_data", "no match[] parameter provided"),
    (
        "GET",
        "/api/v1/series?match[]=up%7B",
        "",
        400,
        "bad_data",
        "invalid parameter \"match[]\": 1:4: parse error: unexpected end of input inside braces",
    ),
    (
        "GET",
        "/api/v1/series?match[]=%7B%7D",
        "",
        400,
        "bad_data",
        "match[] must contain at least one non-empty matcher",
    ),
    ("GET", "/api/v1/series?match[]=up%5B5m%5D", "", 400, "bad_data", "1:3: parse error: unexpected \"[\""),
    (
        "GET",
        "/api/v1/series?match[]=up&start=x",
        "",
        400,
        "bad_data",
        "invalid parameter \"start\": invalid time value for 'start'",
    ),
    ("GET", "/api/v1/series?match[]=up&limit=1.5", "", 400, "bad_data", "invalid parameter \"limit\""),
    (
        "POST",
        "/api/v1/labels",
        "match[]=",
        400,
        "bad_data",
        "invalid parameter \"match[]\": unknown position: parse error: unexpected end of input",
    ),
    ("GET", "/api/v1/label/%ff/values", "", 400, "bad_data", "invalid label name"),
    ("GET", "/api/v1/metadata?limit=x", "", 400, "bad_data", "limit must be a number"),
    ("GET", "/api/v1/metadata?limit_per_metric=x", "", 400, "bad_data", "limit_per_metric must be a number"),
    ("GET", "/api/v1/query_exemplars", "", 400, "bad_data", "no expression found in input"),
    (
        "GET",
        "/api/v1/query_exemplars?query=up&start=1&end=0",
        "",
        400,
        "bad_data",
        "end timestamp must not be before start timestamp",
    ),
    (
        "GET",
        "/api/v1/format_query?query=foo%20foo",
        "",
        400,
        "bad_data",
        "invalid parameter \"query\": 1:5: parse error: unexpected identifier \"foo\"",
    ),
    (
        "GET",
        "/api/v1/rules?type=bogus",
        "",
        400,
        "bad_data",
        "invalid parameter \"type\": not supported value \"bogus\"",
    ),
    ("GET", "/api/v1/status/tsdb?limit=0", "", 400, "bad_data", "limit must be a positive number"),
    ("GET", "/api/v1/status/nothing", "", 404, "not_found", "no such path"),
    ("GET", "/prometheus/api/v1/nothing", "", 404, "not_found", "no such path"),
];

#[test]
fn bad_requests_are_refused_in_prometheuss_shape() {
    let server = example();
    for (method, path, body, status, error_type, message) in BAD {
        let answer = match *method {
            "POST" => form(&server, path, body),
            method => server.send(method, path, &[], body.as_bytes()),
        };
        let json = answer.json();
        assert_eq!((answer.status, json["status"].as_str()), (*status, Some("error")), "{method} {path}: {json}");
        assert_eq!(json["errorType"], *error_type, "{method} {path}: {json}");
        let said = json["error"].as_str().unwrap();
        assert!(said.contains(message), "{method} {path}: {said}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{method} {path}");
    }
    assert_eq!(server.get("/api/v1/query?query=1").status, 200, "nothing was lost");
}

#[test]
fn bodies_that_are_no_forms_are_refused() {
    let server = Server::start();
    let post = |headers: &[(&str, &str)], body: &[u8]| server.send("POST", "/api/v1/query", headers, body);
    let json_body = post(&[("content-type", "application/json")], b"{\"query\":\"1\"}");
    assert_eq!(json_body.status, 415);
    assert!(json_body.json()["error"].as_str().unwrap().contains("application/json"));
    assert_eq!(post(&[("content-type", "text/plain")], b"query=1").status, 415);
    let form_type = ("content-type", "application/x-www-form-urlencoded");
    assert_eq!(post(&[form_type, ("content-encoding", "br")], b"x").status, 415);
    assert_eq!(post(&[form_type, ("content-encoding", "gzip")], b"nonsense").status, 400);
}

#[test]
fn the_command_prints_tables_and_explains_errors() {
    let server = example();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_streamgauge"))
            .args(["query", "--url", &server.url("/")])
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, table, _) = run(&["requests_total", "--time", "600"]);
    let expected = "\
metric          code  job  value
requests_total  200   api  4.5
requests_total  500   api  1e+21
";
    assert_eq!((code, table.as_str()), (Some(0), expected));
    let (code, table, _) =
        run(&["sum(requests_total{code='200'})", "--time", "600", "--range", "10s", "--step", "10s"]);
    assert_eq!(code, Some(0));
    assert_eq!(table, "time                  value\n1970-01-01T00:09:50Z  1\n1970-01-01T00:10:00Z  4.5\n");
    let (code, table, note) = run(&["nothing"]);
    assert_eq!((code, table.as_str(), note.as_str()), (Some(0), "", "no series\n"));
    let (code, _, message) = run(&["sum(up"]);
    assert_eq!(code, Some(1));
    assert!(message.contains("parse error: unclosed left parenthesis\n  sum(up\n        ^"), "{message}");
}
