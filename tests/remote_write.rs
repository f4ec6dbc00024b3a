//! Remote write over HTTP: both versions, what is refused and how, what is stored all the same.

use model::{Budget, Matcher, Sample, SampleColumns, Scope, SeriesSource, TimeRange};
use serde_json::json;

use crate::support::{Answer, Server};

/// Protobuf by hand.
#[derive(Default, Clone)]
pub(crate) struct Proto(pub(crate) Vec<u8>);

impl Proto {
    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    pub(crate) fn int(mut self, field: u64, n: u64) -> Self {
        self.varint(field << 3);
        self.varint(n);
        self
    }

    pub(crate) fn bytes(mut self, field: u64, bytes: impl AsRef<[u8]>) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.as_ref().len() as u64);
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    pub(crate) fn message(self, field: u64, message: Proto) -> Self {
        self.bytes(field, message.0)
    }

    pub(crate) fn double(mut self, field: u64, n: f64) -> Self {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&n.to_le_bytes());
        self
    }

    fn packed(self, field: u64, numbers: &[u64]) -> Self {
        let mut list = Proto::default();
        numbers.iter().for_each(|n| list.varint(*n));
        self.message(field, list)
    }
}

fn label(name: &str, value: &str) -> Proto {
    Proto::default().bytes(1, name).bytes(2, value)
}

fn sample(timestamp_ms: i64, value: f64) -> Proto {
    Proto::default().double(1, value).int(2, timestamp_ms as u64)
}

/// A series of version 1.0.
pub(crate) fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Proto {
    let of = labels.iter().fold(Proto::default(), |p, (n, v)| p.message(1, label(n, v)));
    samples.iter().fold(of, |p, (t, v)| p.message(2, sample(*t, *v)))
}

pub(crate) fn request(all: &[Proto]) -> Proto {
    all.iter().fold(Proto::default(), |p, s| p.message(1, s.clone()))
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

fn post(server: &Server, kind: &str, message: &Proto) -> Answer {
    let headers = [("content-type", kind), ("content-encoding", "snappy")];
    server.send("POST", "/api/v1/write", &headers, &snappy(&message.0))
}

pub(crate) fn write(server: &Server, message: &Proto) -> Answer {
    post(server, "application/x-protobuf", message)
}

/// Labels and samples of all series that have samples, in order.
fn stored(server: &Server) -> Vec<(String, Vec<Sample>)> {
    let (snapshot, budget) = (server.app().db.snapshot(), Budget::unlimited());
    let set = snapshot.select(&Scope::default(), &[], TimeRange::ALL, &budget).unwrap();
    let mut samples = SampleColumns::default();
    (0..set.len())
        .map(|i| {
            set.samples(i, TimeRange::ALL, &budget, &mut samples).unwrap();
            (set.labels(i).unwrap().to_string(), samples.floats().collect::<Vec<_>>())
        })
        .filter(|(_, samples)| !samples.is_empty())
        .collect()
}

fn one(timestamp_ms: i64, value: f64) -> Vec<Sample> {
    vec![Sample { timestamp_ms, value }]
}

#[test]
fn version_1_stores_samples_metadata_and_exemplars() {
    let server = Server::start();
    let exemplar = Proto::default().message(1, label("trace_id", "t1")).double(2, 0.5).int(3, 7);
    let a = series(&[("__name__", "a_total"), ("job", "j")], &[(-5, 1.0), (7, f64::INFINITY)]).message(3, exemplar);
    let metadata = Proto::default().int(1, 1).bytes(2, "a_total").bytes(4, "Help of a").bytes(5, "rows");
    // Unsorted labels and an empty value are the same series as the sorted ones without it.
    let b = series(&[("job", "j"), ("gone", ""), ("__name__", "b")], &[(1, 2.0)]);
    let again = series(&[("__name__", "b"), ("job", "j")], &[(1, 3.0)]);
    for round in 0..2 {
        let answer = write(&server, &request(&[a.clone(), b.clone(), again.clone()]).message(3, metadata.clone()));
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "round {round}");
        assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), Some("4"));
        assert_eq!(answer.header("x-prometheus-remote-write-exemplars-written"), Some("1"));
    }
    let all = stored(&server);
    assert_eq!(all[0].0, r#"{__name__="a_total", job="j"}"#);
    assert_eq!(all[0].1, [one(-5, 1.0), one(7, f64::INFINITY)].concat());
    assert_eq!(all[1], (r#"{__name__="b", job="j"}"#.to_owned(), one(1, 3.0)));
    assert_eq!(all.len(), 2);
    let app = server.app();
    let known = app.db.metadata_of("a_total").unwrap();
    assert_eq!((known.help.as_str(), known.unit.as_str()), ("Help of a", "rows"));
    let exemplars = app.db.exemplars(&Scope::default(), &[Matcher::equal("__name__", "a_total")], TimeRange::ALL);
    assert_eq!(exemplars[0].1[0].labels.get("trace_id"), Some("t1"));
    assert_eq!(app.telemetry.samples_accepted.get(&["remote_write"]), 8);
}

#[test]
fn version_2_resolves_symbols() {
    let server = Server::start();
    let symbols = ["", "__name__", "h_bucket", "le", "0.5", "Help of h", "seconds", "trace_id", "x"];
    let table = symbols.iter().fold(Proto::default(), |p, s| p.bytes(4, s));
    let exemplar = Proto::default().packed(1, &[7, 8]).double(2, 0.25).int(3, 9);
    let metadata = Proto::default().int(1, 3).int(3, 5).int(4, 6);
    let of = Proto::default()
        .packed(1, &[1, 2, 3, 4])
        .message(2, sample(9, 4.0))
        .message(4, exemplar)
        .message(5, metadata)
        .int(6, 1);
    for _ in 0..2 {
        let answer = post(&server, V2, &table.clone().message(5, of.clone()));
        assert_eq!(answer.status, 204, "{}", answer.body);
        assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), Some("1"));
        assert_eq!(answer.header("x-prometheus-remote-write-histograms-written"), Some("0"));
        assert_eq!(answer.header("x-prometheus-remote-write-exemplars-written"), Some("1"));
    }
    assert_eq!(stored(&server), [(r#"{__name__="h_bucket", le="0.5"}"#.to_owned(), one(9, 4.0))]);
    let known = server.app().db.metadata_of("h").unwrap();
    assert_eq!((known.metric_type, known.unit.as_str()), (model::MetricType::Histogram, "seconds"));
}

/// A histogram of integers: one observation in each of `buckets` buckets from index 1 on.
fn histogram(timestamp_ms: i64, buckets: u64, schema: u64) -> Proto {
    let span = Proto::default().int(1, 2).int(2, buckets);
    let deltas: Vec<u64> = (0..buckets).map(|i| if i == 0 { 2 } else { 0 }).collect();
    Proto::default()
        .int(1, buckets)
        .double(3, 1.5)
        .int(4, schema)
        .message(11, span)
        .packed(12, &deltas)
        .int(15, timestamp_ms as u64)
}

fn stored_histograms(server: &Server) -> Vec<(i64, i32, Vec<f64>)> {
    let (snapshot, budget) = (server.app().db.snapshot(), Budget::unlimited());
    let set = snapshot.select(&Scope::default(), &[], TimeRange::ALL, &budget).unwrap();
    let mut samples = SampleColumns::default();
    let mut found = Vec::new();
    for i in 0..set.len() {
        set.samples(i, TimeRange::ALL, &budget, &mut samples).unwrap();
        let of = |(ms, h): &(i64, std::sync::Arc<model::Histogram>)| (*ms, h.schema, h.positive.counts.clone());
        found.extend(samples.histograms.iter().map(of));
    }
    found
}

#[test]
fn both_versions_store_native_histograms() {
    let server = Server::with(&[("ingest.max_histogram_buckets", "4")]);
    let first = series(&[("__name__", "h")], &[(1, 1.0)]).message(4, histogram(5, 4, 4));
    let answer = write(&server, &request(&[first]));
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), Some("1"));
    assert_eq!(answer.header("x-prometheus-remote-write-histograms-written"), Some("1"));
    // One bucket more than the limit: merged by twos.
    let table = ["", "__name__", "h"].iter().fold(Proto::default(), |p, s| p.bytes(4, s));
    let second = Proto::default().packed(1, &[1, 2]).message(3, histogram(6, 5, 4));
    let answer = post(&server, V2, &table.message(5, second));
    assert_eq!(answer.status, 204, "{}", answer.body);
    assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), Some("0"));
    assert_eq!(answer.header("x-prometheus-remote-write-histograms-written"), Some("1"));
    let one = |n: usize| vec![1.0; n];
    assert_eq!(stored_histograms(&server), [(5, 2, one(4)), (6, 1, vec![2.0, 2.0, 1.0])]);
    // Custom bounds cannot be merged: refused, and only they.
    let custom = |bounds: u64| {
        let values = (0..bounds).fold(Proto::default(), |p, i| p.double(16, i as f64));
        series(&[("__name__", "c")], &[(1, 1.0)]).message(4, Proto([Proto::default().int(4, 105).0, values.0].concat()))
    };
    assert_eq!(write(&server, &request(&[custom(4)])).status, 204);
    let answer = write(&server, &request(&[custom(5)]));
    assert_eq!(answer.status, 400);
    assert!(
        answer.body.contains("5 buckets or custom bounds: limit ingest.max_histogram_buckets = 4 reached"),
        "{}",
        answer.body
    );
    // What is finer than any schema that is kept becomes coarser.
    assert_eq!(
        write(&server, &request(&[series(&[("__name__", "z")], &[]).message(4, histogram(7, 4, 2 * 9))])).status,
        204
    );
    assert_eq!(stored_histograms(&server).last(), Some(&(7, 8, vec![2.0, 2.0])));
    let answer = server.get("/api/v1/query?query=histogram_count(h)&time=0.010");
    assert!(answer.body.contains(r#""value":[0.010,"5"]"#), "{}", answer.body);
}

#[test]
fn a_bad_series_does_not_cost_its_request() {
    let server = Server::with(&[("ingest.max_labels", "3"), ("ingest.max_future", "1h")]);
    let good = series(&[("__name__", "good")], &[(1, 1.0)]);
    let future = 1_000_000_000_000_000;
    let (two, many) = ([(1, 1.0), (2, 1.0)], [("__name__", "x"), ("a", "1"), ("b", "2"), ("c", "3")]);
    for (bad, refused, reason) in [
        (series(&[("job", "nameless")], &two), 2, "there is no metric name"),
        (series(&[("__name__", "x"), ("a", "1"), ("a", "2")], &[(1, 1.0)]), 1, r#"label name "a" is there twice"#),
        (series(&[("__name__", "x"), ("", "1")], &[(1, 1.0)]), 1, "empty name"),
        (series(&many, &two).message(4, histogram(3, 1, 0)), 3, "limit ingest.max_labels = 3 reached"),
        (series(&many, &[]), 0, "limit ingest.max_labels = 3 reached"),
        (series(&[("__name__", "x")], &[(future, 1.0)]), 1, "ingest.max_future"),
        (series(&[("__name__", "x")], &[]).message(4, Proto::default().int(1, 1)), 1, "histogram has 1 observations"),
        (series(&[("__name__", "x")], &[]).message(4, Proto::default().int(4, 19)), 1, "unknown schema -10"),
        (series(&[("__name__", "x")], &two).message(1, label("a", "").bytes(2, b"\xFF")), 2, "not UTF-8"),
    ] {
        let answer = write(&server, &request(&[bad, good.clone()]));
        assert_eq!(answer.status, 400);
        let begins = format!("1 stored, {refused} refused: ");
        assert!(answer.body.contains(reason) && answer.body.starts_with(&begins), "{}", answer.body);
        assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), Some("1"));
    }
    let good_is_there = stored(&server).iter().any(|(name, samples)| name.contains("good") && samples.len() == 1);
    assert!(good_is_there);
    let page = server.get("/api/streamgauge/v1/storage").json();
    let counts: Vec<_> =
        page["rejections"].as_array().unwrap().iter().map(|one| (&one["reason"], &one["count"])).collect();
    let expected = [(json!("invalid"), json!(8)), (json!("too_many_labels"), json!(3)), (json!("too_new"), json!(1))];
    assert_eq!(counts, expected.iter().map(|(reason, count)| (reason, count)).collect::<Vec<_>>());
    let newest = &page["rejections"][0];
    assert_eq!((&newest["origin"], &newest["of"]), (&json!("remote_write"), &json!("samples")));
    assert!(newest["example"].as_str().unwrap().starts_with("series 0 \"x\": a text that is not UTF-8"), "{newest}");
}

/// In 2.0 labels are references: those of one series can be wrong in more ways.
#[test]
fn a_bad_reference_costs_its_series_alone() {
    let server = Server::start();
    let table = |more: Proto| {
        let symbols = Proto::default().bytes(4, "").bytes(4, "__name__").bytes(4, "good").bytes(4, b"\xFF");
        Proto([symbols.0, more.0].concat())
    };
    let of = |references: &[u64]| Proto::default().packed(1, references).message(2, sample(1, 1.0));
    let good = of(&[1, 2]);
    for (bad, reason) in [
        (of(&[1]), "odd number of label references"),
        (of(&[1, 9]), "symbol 9, which is not there"),
        (of(&[1, 3]), "symbol 3 is not UTF-8"),
        (of(&[1, 2, 3, 2]), "symbol 3 is not UTF-8"),
    ] {
        let answer = post(&server, V2, &table(Proto::default().message(5, bad).message(5, good.clone())));
        assert_eq!(answer.status, 400, "{reason}");
        assert!(answer.body.starts_with("1 stored, 1 refused") && answer.body.contains(reason), "{}", answer.body);
        assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), Some("1"));
    }
    // What stands beside the samples of a series does not cost these.
    let exemplar = Proto::default().packed(1, &[3, 2]).double(2, 0.25).int(3, 9);
    for beside in [of(&[1, 2]).message(4, exemplar), of(&[1, 2]).message(5, Proto::default().int(1, 1).int(3, 3))] {
        let answer = post(&server, V2, &table(Proto::default().message(5, beside)));
        assert_eq!((answer.status, answer.header("x-prometheus-remote-write-samples-written")), (400, Some("1")));
        assert!(answer.body.starts_with("1 stored, 1 refused") && answer.body.contains("not UTF-8"), "{}", answer.body);
    }
    assert_eq!(post(&server, V2, &table(Proto::default().message(5, good))).status, 204, "nobody refers to it");
    assert_eq!(stored(&server), [(r#"{__name__="good"}"#.to_owned(), one(1, 1.0))]);
}

#[test]
fn exemplars_and_metadata_have_limits_and_cost_no_sample() {
    let server = Server::with(&[("ingest.max_unit_bytes", "3"), ("ingest.max_help_bytes", "4")]);
    let with = |characters: usize| {
        let trace = label("t", &"x".repeat(characters - 1));
        let exemplar = Proto::default().message(1, trace).double(2, 0.5).int(3, 7);
        series(&[("__name__", "a")], &[(1, 1.0)]).message(3, exemplar)
    };
    assert_eq!(write(&server, &request(&[with(128)])).status, 204);
    let answer = write(&server, &request(&[with(129)]));
    assert_eq!((answer.status, answer.header("x-prometheus-remote-write-samples-written")), (400, Some("1")));
    assert!(answer.body.starts_with("1 stored, 1 refused: an exemplar of \"a\": names and"), "{}", answer.body);
    let said = |family: &str, help: &str, unit: &str| {
        let metadata = Proto::default().int(1, 2).bytes(2, family).bytes(4, help).bytes(5, unit);
        assert_eq!(write(&server, &Proto::default().message(3, metadata)).status, 204);
        server.app().db.metadata_of(family).map(|known| (known.help, known.unit))
    };
    assert_eq!(said("a", "12345", "123"), Some(("1234".to_owned(), "123".to_owned())));
    assert_eq!(said("b", "", "1234"), None);
    assert_eq!(server.app().telemetry.metadata_rejected.get(&["remote_write", "unit_too_long"]), 1);
    let broken = Proto::default().message(3, Proto::default().bytes(2, b"\xFF")).message(1, with(128));
    let answer = write(&server, &broken);
    assert_eq!((answer.status, answer.header("x-prometheus-remote-write-samples-written")), (400, Some("1")));
}

#[test]
fn metadata_and_exemplars_are_bounded_by_number() {
    let server = Server::with(&[("ingest.max_metadata", "2"), ("ingest.max_exemplars", "3")]);
    let metadata = |i: usize| Proto::default().int(1, 2).bytes(2, format!("m{i}"));
    let all = (0..5).fold(Proto::default(), |p, i| p.message(3, metadata(i)));
    assert_eq!(write(&server, &all).status, 204);
    let exemplar = |t: u64| Proto::default().message(1, label("t", "x")).double(2, 0.5).int(3, t);
    let with = (1..=4).fold(series(&[("__name__", "a")], &[(1, 1.0)]), |p, t| p.message(3, exemplar(t)));
    assert_eq!(write(&server, &request(&[with])).status, 204);
    let stats = server.app().db.stats();
    assert_eq!((stats.metadata_families, stats.metadata_dropped, stats.exemplars), (2, 3, 3));
}

#[test]
fn requests_that_cannot_be_read_are_refused_whole() {
    let server = Server::with(&[
        ("ingest.max_body_bytes", "1000B"),
        ("ingest.max_decoded_bytes", "2000B"),
        ("ingest.max_batch_samples", "3"),
    ]);
    let fine = request(&[series(&[("__name__", "x")], &[(1, 1.0)])]);
    let good = snappy(&fine.0);
    let table = |list: &[&str]| list.iter().fold(Proto::default(), |p, s| p.bytes(4, s));
    let v1 = "application/x-protobuf";
    let wrap = |p: Proto| snappy(&p.0);
    let samples =
        |n: i64| wrap(request(&[series(&[("__name__", "y")], &(0..n).map(|t| (t, 0.0)).collect::<Vec<_>>())]));
    let rows: Vec<(&str, &str, Vec<u8>, u16, &str)> = vec![
        (v1, "snappy", b"nonsense".to_vec(), 400, "not valid snappy"),
        (v1, "snappy", vec![], 400, "not valid snappy"),
        (v1, "snappy", good[..good.len() - 1].to_vec(), 400, "not valid snappy"),
        (v1, "snappy", snappy(b"\xFF\xFF"), 400, "not a valid prometheus.WriteRequest: a cut number at byte 2"),
        (v1, "snappy", snappy(b"\x0B"), 400, "unknown wire type"),
        (v1, "snappy", snappy(b"\x0A\x09x"), 400, "longer than its message"),
        (v1, "snappy", wrap(Proto::default().int(1, 1)), 400, "should be a message or a text"),
        (v1, "snappy", wrap(request(&[Proto::default().int(1, 1)])), 400, "should be a message or a text"),
        (
            v1,
            "snappy",
            wrap(request(&[series(&[("__name__", "x")], &[]).message(2, Proto::default().int(1, 1))])),
            400,
            "should be a double",
        ),
        (
            v1,
            "snappy",
            wrap(request(&[series(&[("__name__", "x")], &[]).message(2, Proto::default().double(2, 1.0))])),
            400,
            "should be an integer",
        ),
        (V2, "snappy", wrap(table(&["x"])), 400, "first symbol"),
        (
            V2,
            "snappy",
            wrap(table(&[""]).message(5, Proto::default().packed(1, &[1 << 40, 0]))),
            400,
            "more than 32 bits",
        ),
        (v1, "br", good.clone(), 415, "content encoding"),
        (v1, "gzip", b"no gzip".to_vec(), 400, "not valid gzip"),
        ("application/json", "snappy", good.clone(), 415, "content type"),
        ("application/x-protobuf;proto=other.Message", "snappy", good.clone(), 415, "content type"),
        ("text/plain", "snappy", good.clone(), 415, "content type"),
        (v1, "snappy", vec![0; 1001], 413, "ingest.max_body_bytes = 1000"),
        (v1, "snappy", snappy(&[0; 2001]), 413, "ingest.max_decoded_bytes = 2000"),
        (v1, "snappy", samples(4), 413, "ingest.max_batch_samples = 3"),
        (v1, "snappy", vec![0xFF, 0xFF, 0xFF, 0xFF, 0x0F], 413, "ingest.max_decoded_bytes"),
    ];
    for (kind, encoding, body, status, message) in &rows {
        let headers = [("content-type", *kind), ("content-encoding", *encoding)];
        let answer = server.send("POST", "/api/v1/write", &headers, body);
        assert_eq!(answer.status, *status, "{message}: {}", answer.body);
        assert!(answer.body.contains(message), "{message}: {}", answer.body);
        assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), Some("0"), "{message}");
    }
    assert_eq!(stored(&server), [], "nothing of a refused request is stored");
    assert_eq!(server.send("POST", "/api/v1/push", &[("content-type", v1)], &samples(3)).status, 204);
    assert_eq!(stored(&server)[0].1.len(), 3);
    assert_eq!(server.get("/api/v1/write").status, 405);
}
