//! Scrapes as texts at chosen times into a database of their own; what it holds afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Budget, Labels, Matcher, SampleColumns, Scope, SeriesSource, TimeRange, is_stale};
use storage::{Clock, Db, DbOptions};

use super::*;
use crate::config::Config;
use crate::scrape::client::Answer;
use crate::scrape::config::load;
use crate::scrape::sample_labels::SampleLabels;
use crate::telemetry::Telemetry;

const NOW_MS: i64 = 1_700_000_000_000;

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now_ms(&self) -> i64 {
        NOW_MS
    }
}

/// A database with the way into it.
struct Store {
    ingest: Ingest,
    db: Arc<Db>,
    telemetry: Arc<Telemetry>,
    _dir: tempfile::TempDir,
}

impl Store {
    fn new() -> Store {
        let dir = tempfile::tempdir().unwrap();
        let db = Arc::new(Db::open(DbOptions::new(dir.path()), Arc::new(Fixed)).unwrap());
        let telemetry = Arc::new(Telemetry::default());
        let config = Config { ingest_max_help_bytes: 10, ..Config::defaults().unwrap() };
        let ingest = Ingest::new(&config, Arc::clone(&db), Arc::clone(&telemetry));
        Store { ingest, db, telemetry, _dir: dir }
    }

    /// Samples of the series that are not about scrapes, as `seconds=value`, markers as `seconds=stale`.
    fn lines(&self) -> BTreeMap<String, String> {
        self.all(|name| !REPORTS.contains(&name))
    }

    /// Samples of one series about scrapes.
    fn report(&self, name: &str) -> String {
        self.all(|n| n == name).into_values().collect()
    }

    fn all(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
        let (budget, range) = (Budget::new(u64::MAX, u64::MAX), TimeRange { start_ms: i64::MIN, end_ms: i64::MAX });
        let any = Matcher::new("__name__", model::MatchOp::NotEqual, "").unwrap();
        let snapshot = self.db.snapshot();
        let set = snapshot.select(&Scope::default(), &[any], range, &budget).unwrap();
        let mut out = BTreeMap::new();
        let mut columns = SampleColumns::default();
        for i in (0..set.len()).filter(|i| wanted(set.labels(*i).unwrap().metric_name())) {
            set.samples(i, range, &budget, &mut columns).unwrap();
            let text = |t: i64, v: f64| {
                format!("{}={}", (t - NOW_MS) as f64 / 1000.0, if is_stale(v) { "stale".into() } else { v.to_string() })
            };
            let samples: Vec<String> = columns.floats().map(|s| text(s.timestamp_ms, s.value)).collect();
            let labels = set.labels(i).unwrap().filtered(|name| name != "job");
            out.insert(labels.to_string(), samples.join(" "));
        }
        out
    }
}

fn job(body: &str) -> Arc<Job> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.yml");
    std::fs::write(&path, format!("scrape_configs:\n- job_name: j\n{body}")).unwrap();
    Arc::clone(&load(&path).unwrap().config.jobs[0])
}

/// A target that is scraped by hand.
struct Target {
    job: Arc<Job>,
    tracker: Tracker,
}

impl Target {
    fn new(body: &str) -> Target {
        let job = job(body);
        let labels = Labels::from_pairs([("job", "j")]).unwrap();
        Target { tracker: Tracker::new(SampleLabels::new(&job, &labels)), job }
    }

    fn body(&self, text: &str, open_metrics: bool) -> Body {
        let content_type = if open_metrics { "application/openmetrics-text" } else { "text/plain" };
        let body = bytes::Bytes::copy_from_slice(text.as_bytes());
        let answer = Answer { content_type: Some(content_type.to_owned()), gzip: false, body };
        Body::new(answer, &self.job, ("test", 1 << 20)).unwrap()
    }

    fn take(&mut self, store: &Store, fetched: Result<Body, String>, second: i64) -> Result<Counts, String> {
        let job = Arc::clone(&self.job);
        let intake = Intake { ingest: &store.ingest, job: &job, samples_max: 1000 };
        take_in(intake, &mut self.tracker, fetched, NOW_MS + second * 1000, 0.25)
    }

    fn scrape(&mut self, store: &Store, second: i64, text: &str) -> Result<Counts, String> {
        let body = self.body(text, false);
        self.take(store, Ok(body), second)
    }

    fn fail(&mut self, store: &Store, second: i64) {
        assert_eq!(self.take(store, Err("refused".into()), second), Err("refused".to_owned()));
    }
}

fn lines(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn a_series_that_disappears_is_marked_and_can_come_back() {
    let (store, mut target) = (Store::new(), Target::new(""));
    let counts = |scraped, kept, added| Ok(Counts { scraped, kept, added, ..Counts::default() });
    assert_eq!(target.scrape(&store, 0, "a 1\nb{x=\"y\"} 2\n"), counts(2, 2, 2));
    assert_eq!(target.scrape(&store, 1, "a 3\n"), counts(1, 1, 0));
    assert_eq!(target.scrape(&store, 2, "a 4\n"), counts(1, 1, 0));
    assert_eq!(target.scrape(&store, 3, "a 5\nb{x=\"y\"} 6\n"), counts(2, 2, 1));
    let want = lines(&[(r#"{__name__="a"}"#, "0=1 1=3 2=4 3=5"), (r#"{__name__="b", x="y"}"#, "0=2 1=stale 3=6")]);
    assert_eq!(store.lines(), want);
    assert_eq!(store.report("up"), "0=1 1=1 2=1 3=1");
    assert_eq!(store.report("scrape_duration_seconds"), "0=0.25 1=0.25 2=0.25 3=0.25");
    assert_eq!(store.report("scrape_samples_scraped"), "0=2 1=1 2=1 3=2");
    assert_eq!(store.report("scrape_samples_post_metric_relabeling"), "0=2 1=1 2=1 3=2");
    assert_eq!(store.report("scrape_series_added"), "0=2 1=0 2=0 3=1");
}

#[test]
fn a_failed_scrape_marks_everything_once_and_adds_nothing_when_it_is_over() {
    let (store, mut target) = (Store::new(), Target::new(""));
    target.scrape(&store, 0, "a 1\nb 2\n").unwrap();
    target.fail(&store, 1);
    target.fail(&store, 2);
    assert_eq!(target.scrape(&store, 3, "a 3\nb 4\n").unwrap().added, 0);
    assert_eq!(
        store.lines(),
        lines(&[(r#"{__name__="a"}"#, "0=1 1=stale 3=3"), (r#"{__name__="b"}"#, "0=2 1=stale 3=4")])
    );
    assert_eq!(store.report("up"), "0=1 1=0 2=0 3=1");
    assert_eq!(store.report("scrape_samples_scraped"), "0=2 1=0 2=0 3=2");
}

#[test]
fn a_text_that_is_wrong_stores_nothing_of_itself() {
    let (store, mut target) = (Store::new(), Target::new(""));
    target.scrape(&store, 0, "a 1\nb 2\n").unwrap();
    for (second, text, error) in [
        (1, "a 3\nnew 1\nwrong\n", "line 3: a value is missing"),
        (2, "a 4\nb{x=\"1\",x=\"2\"} 1\n", "line 2: label \"x\" is there twice"),
        (3, "1a 1\n", "line 1: \"1a\" is not a metric name"),
    ] {
        let got = target.scrape(&store, second, text).unwrap_err();
        assert!(got.starts_with(error), "{got}");
    }
    assert_eq!(store.lines(), lines(&[(r#"{__name__="a"}"#, "0=1 1=stale"), (r#"{__name__="b"}"#, "0=2 1=stale")]));
    assert_eq!(store.report("scrape_samples_scraped"), "0=2 1=2 2=2 3=1");
    assert_eq!(store.report("up"), "0=1 1=0 2=0 3=0");
}

#[test]
fn sample_limit_holds_at_n_and_n_plus_1() {
    let (store, mut target) = (
        Store::new(),
        Target::new(
            "  sample_limit: 2\n  metric_relabel_configs:\n  - {source_labels: [__name__], regex: 'drop.*', action: drop}\n",
        ),
    );
    assert_eq!(target.scrape(&store, 0, "a 1\nb 2\ndropped 3\n").unwrap().kept, 2);
    let error = target.scrape(&store, 1, "a 1\nb 2\nc 3\n").unwrap_err();
    assert_eq!(error, "sample limit exceeded: limit sample_limit = 2 reached");
    assert_eq!(store.lines(), lines(&[(r#"{__name__="a"}"#, "0=1 1=stale"), (r#"{__name__="b"}"#, "0=2 1=stale")]));
    let mut target = Target::new("");
    let many = |n: usize| (0..n).map(|i| format!("m{i} 1\n")).collect::<String>();
    assert!(target.scrape(&store, 2, &many(1000)).is_ok());
    assert!(target.scrape(&store, 3, &many(1001)).unwrap_err().contains("ingest.max_batch_samples = 1000"));
}

#[test]
fn times_of_lines_are_kept_unless_told_otherwise() {
    let text = format!("a 1 {}\nb 2\n", NOW_MS - 5_000);
    let want_kept = lines(&[(r#"{__name__="a"}"#, "-5=1"), (r#"{__name__="b"}"#, "0=2 1=stale")]);
    let (store, mut target) = (Store::new(), Target::new(""));
    target.scrape(&store, 0, &text).unwrap();
    target.scrape(&store, 1, "").unwrap();
    assert_eq!(store.lines(), want_kept, "a series with times of its own gets no marker");
    let (store, mut target) = (Store::new(), Target::new("  track_timestamps_staleness: true\n"));
    target.scrape(&store, 0, &text).unwrap();
    target.scrape(&store, 1, "").unwrap();
    assert_eq!(store.lines()[r#"{__name__="a"}"#], "-5=1 1=stale");
    let (store, mut target) = (Store::new(), Target::new("  honor_timestamps: false\n"));
    target.scrape(&store, 0, &text).unwrap();
    assert_eq!(store.lines()[r#"{__name__="a"}"#], "0=1");
}

#[test]
fn buckets_and_quantiles_are_those_of_prometheus_3() {
    let (store, other, mut target) = (Store::new(), Store::new(), Target::new(""));
    let text = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\n# TYPE s summary\ns{quantile=\"0\"} 2\n# TYPE g gauge\ng{le=\"1\"} 3\n";
    target.scrape(&store, 0, text).unwrap();
    let names: Vec<String> = store.lines().into_keys().collect();
    let want = [r#"{__name__="g", le="1"}"#, r#"{__name__="h_bucket", le="1.0"}"#, r#"{__name__="s", quantile="0.0"}"#];
    assert_eq!(names, want);
    end(&other.ingest, &target.tracker, NOW_MS).unwrap();
    assert_eq!(other.lines().into_keys().collect::<Vec<_>>(), want, "also when read again");
}

#[test]
fn of_equal_lines_the_first_counts() {
    let (store, mut target) = (Store::new(), Target::new(""));
    let counts = target.scrape(&store, 0, "a 1\na 2\nb 3\n").unwrap();
    assert_eq!(counts, Counts { scraped: 3, kept: 3, added: 2, duplicates: 1, ..Counts::default() });
    assert_eq!(store.lines()[r#"{__name__="a"}"#], "0=1");
}

#[test]
fn a_series_that_is_written_differently_is_not_gone() {
    let (store, mut target) = (Store::new(), Target::new(""));
    target.scrape(&store, 0, "a{x=\"1\",y=\"2\"} 1\n").unwrap();
    target.scrape(&store, 1, "a{y=\"2\",x=\"1\"} 2\n").unwrap();
    assert_eq!(store.lines(), lines(&[(r#"{__name__="a", x="1", y="2"}"#, "0=1 1=2")]));
}

#[test]
fn one_sample_outside_the_limits_of_the_server_costs_itself_alone() {
    let (store, mut target) = (Store::new(), Target::new(""));
    let far = NOW_MS + 10 * 86_400_000;
    let long = "v".repeat(5000);
    for second in [0, 1] {
        target.scrape(&store, second, &format!("a 1\nfar 1 {far}\nlong{{l=\"{long}\"}} 1\nb 2\n")).unwrap();
    }
    assert_eq!(store.lines(), lines(&[(r#"{__name__="a"}"#, "0=1 1=1"), (r#"{__name__="b"}"#, "0=2 1=2")]));
    assert_eq!(store.telemetry.samples_rejected.get(&["scrape", "too_new"]), 2);
    assert_eq!(store.telemetry.samples_rejected.get(&["scrape", "value_too_long"]), 2);
}

#[test]
fn metadata_and_exemplars_are_kept() {
    let (store, mut target) = (Store::new(), Target::new(""));
    let text = "# HELP a Help that is long\n# TYPE a counter\n# UNIT a s\na_total 5 # {t=\"x\"} 3 1700000000\n# EOF\n";
    let body = target.body(text, true);
    target.take(&store, Ok(body), 0).unwrap();
    let metadata = store.db.metadata_of("a").unwrap();
    assert_eq!(
        (metadata.metric_type, metadata.help.as_str(), metadata.unit.as_str()),
        (MetricType::Counter, "Help that ", "s")
    );
    let range = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
    let exemplars = store.db.exemplars(&Scope::default(), &[], range);
    assert_eq!((exemplars[0].1[0].value, exemplars[0].1[0].timestamp_ms), (3.0, NOW_MS));
}

#[test]
fn what_is_said_beside_samples_has_limits_and_costs_no_sample() {
    let (store, mut target) = (Store::new(), Target::new(""));
    let (unit, characters) = ("u".repeat(51), "x".repeat(128));
    let text = format!("# TYPE a counter\n# UNIT a {unit}\na_total 5 # {{t=\"{characters}\"}} 3 1700000000\n# EOF\n");
    let body = target.body(&text, true);
    assert_eq!(target.take(&store, Ok(body), 0).unwrap().refused, 0);
    assert_eq!(store.lines(), lines(&[(r#"{__name__="a_total"}"#, "0=5")]));
    assert!(store.db.exemplars(&Scope::default(), &[], TimeRange::ALL).is_empty());
    assert_eq!(store.db.metadata_of("a"), None);
    assert_eq!(store.telemetry.exemplars_rejected.get(&["scrape", "exemplar_too_long"]), 1);
    assert_eq!(store.telemetry.metadata_rejected.get(&["scrape", "unit_too_long"]), 1);
}

#[test]
fn scrapes_that_fail_leave_nothing_behind() {
    let (store, mut target) = (Store::new(), Target::new(""));
    target.scrape(&store, 0, "a 1\nb 2\n").unwrap();
    for second in 1..6 {
        assert!(target.scrape(&store, second, &format!("new{second} 1\na 1\nwrong\n")).is_err());
        assert_eq!(target.tracker.remembered(), (2, 2));
    }
    let counts = target.scrape(&store, 6, "new1 1\na 1\nb 1\n").unwrap();
    assert_eq!((counts.kept, counts.added), (3, 1), "what is known from before goes on");
    assert_eq!(target.tracker.remembered(), (3, 3));
    target.scrape(&store, 7, "a 1\n").unwrap();
    assert_eq!(store.lines()[r#"{__name__="new1"}"#], "6=1 7=stale");
}

#[test]
fn the_end_of_a_target_marks_its_series_and_its_reports() {
    let (store, mut target) = (Store::new(), Target::new(""));
    target.scrape(&store, 0, "a 1\nb 2\n").unwrap();
    target.scrape(&store, 1, "a 1\n").unwrap();
    end(&store.ingest, &target.tracker, NOW_MS + 2000).unwrap();
    assert_eq!(store.lines(), lines(&[(r#"{__name__="a"}"#, "0=1 1=1 2=stale"), (r#"{__name__="b"}"#, "0=2 1=stale")]));
    for name in REPORTS {
        assert!(store.report(name).ends_with("2=stale"), "{name}: {}", store.report(name));
    }
    let never = Target::new("");
    end(&store.ingest, &never.tracker, NOW_MS + 3000).unwrap();
    assert!(store.report("up").ends_with("2=stale"), "a target that was never scraped has nothing to end");
}

#[test]
fn who_goes_on_for_a_target_ends_only_what_it_does_not_have() {
    let store = Store::new();
    let mut old = Target::new("");
    old.scrape(&store, 0, "a 1\nb 2\nc 3\n").unwrap();
    let rules = "  metric_relabel_configs:\n  - {source_labels: [__name__], regex: b, action: drop}\n";
    let mut new = Target::new(rules);
    new.tracker.inherit(vec![old.tracker]);
    new.scrape(&store, 1, "a 4\nb 5\n").unwrap();
    new.scrape(&store, 2, "a 6\n").unwrap();
    let want = [
        (r#"{__name__="a"}"#, "0=1 1=4 2=6"),
        (r#"{__name__="b"}"#, "0=2 1=stale"),
        (r#"{__name__="c"}"#, "0=3 1=stale"),
    ];
    assert_eq!(store.lines(), lines(&want));
    assert_eq!(store.report("up"), "0=1 1=1 2=1");
    let mut never = Target::new("");
    never.tracker.inherit(vec![new.tracker]);
    end(&store.ingest, &never.tracker, NOW_MS + 3000).unwrap();
    assert_eq!(store.lines()[r#"{__name__="a"}"#], "0=1 1=4 2=6 3=stale", "an end before the first scrape");
}

/// The database has forgotten the lines: here it is another one, which never knew them.
#[test]
fn markers_are_written_also_when_the_lines_are_forgotten() {
    let (before, after, mut target) = (Store::new(), Store::new(), Target::new(""));
    target.scrape(&before, 0, "a{x=\"1\"} 1\nb 2\n").unwrap();
    // A flush ends the epoch in which held series are taken as they are.
    Target::new("").scrape(&after, 0, "").unwrap();
    after.db.flush().unwrap();
    target.scrape(&after, 1, "b 2\n").unwrap();
    assert_eq!(after.lines(), lines(&[(r#"{__name__="a", x="1"}"#, "1=stale"), (r#"{__name__="b"}"#, "1=2")]));
    end(&after.ingest, &target.tracker, NOW_MS).unwrap();
}

#[test]
fn an_answer_of_unknown_kind_needs_the_fallback() {
    let answer = |kind: Option<&str>| Answer {
        content_type: kind.map(str::to_owned),
        gzip: false,
        body: bytes::Bytes::from_static(b"a 1\n"),
    };
    let strict = job("");
    let lax = job("  fallback_scrape_protocol: OpenMetricsText1.0.0\n");
    for kind in [None, Some("text/html")] {
        assert!(Body::new(answer(kind), &strict, ("x", 9)).unwrap_err().contains("unsupported Content-Type"));
        assert_eq!(Body::new(answer(kind), &lax, ("x", 9)).unwrap().format(), crate::exposition::Format::OpenMetrics);
    }
    assert_eq!(
        Body::new(answer(Some("text/plain")), &lax, ("x", 9)).unwrap().format(),
        crate::exposition::Format::Text
    );
}
