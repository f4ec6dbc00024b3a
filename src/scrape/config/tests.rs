//! Whole files in, resolved configuration or problems with lines out. What is good and what is not was compared with
//! `promtool check config` 3.5 (`agrees_with_promtool` does it again where the program is at hand).

use super::*;
use crate::scrape::relabel::{Action, RuleSpec};

fn load_text(text: &str) -> Result<Loaded, Vec<Problem>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("prometheus.yml");
    std::fs::write(&path, text).unwrap();
    load(&path)
}

/// The problems as `line: message`.
fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|p| format!("{}: {}", p.line, p.message)).collect()
}

fn good(text: &str) -> ScrapeConfig {
    load_text(text).unwrap_or_else(|problems| panic!("{:?} in\n{text}", lines(&problems))).config
}

fn job(body: &str) -> String {
    format!("scrape_configs:\n- job_name: a\n{body}")
}

#[test]
fn a_file_as_debian_ships_it() {
    let text = "\
# Sample config for Prometheus.
global:
  scrape_interval:     15s # Set the scrape interval to every 15 seconds. Default is every 1 minute.
  evaluation_interval: 15s
  external_labels:
      monitor: 'example'
alerting:
  alertmanagers:
  - static_configs:
    - targets: ['localhost:9093']
rule_files:
  # - \"first_rules.yml\"
scrape_configs:
  - job_name: 'prometheus'
    scrape_interval: 5s
    scrape_timeout: 5s
    static_configs:
      - targets: ['localhost:9090']
  - job_name: node
    static_configs:
      - targets: ['localhost:9100']
";
    let loaded = load_text(text).unwrap();
    assert_eq!(
        lines(&loaded.warnings),
        ["7: alerting is not supported and has no effect", "11: rule_files is not supported and has no effect"]
    );
    assert!(loaded.warnings.iter().all(|w| w.severity == Severity::Unsupported));
    let config = loaded.config;
    assert_eq!(config.external_labels.get("monitor"), Some("example"));
    let jobs: Vec<_> = config.jobs.iter().map(|j| (j.name.as_str(), j.interval.0, j.timeout.0)).collect();
    assert_eq!(jobs, [("prometheus", 5_000, 5_000), ("node", 15_000, 10_000)]);
    let node = &config.jobs[1];
    assert_eq!(node.static_groups, [TargetGroup { targets: vec!["localhost:9100".into()], labels: vec![] }]);
    assert_eq!((node.scheme.as_str(), node.metrics_path.as_str()), ("http", "/metrics"));
    assert!(node.honor_timestamps && !node.honor_labels && node.compression && !node.client.redirects_refused);
    assert_eq!(node.protocols, Protocol::DEFAULT);
}

#[test]
fn everything_that_is_supported_is_read() {
    let config = good(
        "\
global: {scrape_interval: 30s, scrape_timeout: 20s, sample_limit: 7, body_size_limit: 1KB}
scrape_configs:
- job_name: all
  scrape_interval: 1m
  scheme: https
  metrics_path: /probe
  params: {module: [http_2xx, 5], empty: }
  honor_labels: yes
  honor_timestamps: false
  track_timestamps_staleness: true
  enable_compression: false
  scrape_protocols: [PrometheusText0.0.4, OpenMetricsText1.0.0]
  fallback_scrape_protocol: PrometheusText0.0.4
  follow_redirects: false
  basic_auth: {username: u, password: 'p w'}
  tls_config: {insecure_skip_verify: true, server_name: s, min_version: TLS13}
  sample_limit: 10
  label_limit: 11
  label_name_length_limit: 12
  label_value_length_limit: 13
  target_limit: 14
  body_size_limit: 10MB
  relabel_configs:
  - {source_labels: [__address__, x], separator: '', regex: 'a(.+)', target_label: t, replacement: '${1}', action: Replace}
  metric_relabel_configs:
  - {regex: tmp_.*, action: labeldrop}
  static_configs:
  - targets: [a:1, b]
    labels: {zone: 1.0, on: yes}
  file_sd_configs:
  - {files: ['d/*.json'], refresh_interval: 10m}
  http_sd_configs:
  - {url: 'http://x/y', bearer_token: tok}
- job_name: b
",
    );
    let all = &config.jobs[0];
    assert_eq!((all.interval.0, all.timeout.0), (60_000, 20_000));
    assert_eq!((all.scheme.as_str(), all.metrics_path.as_str()), ("https", "/probe"));
    assert_eq!(all.params, [("module".into(), vec!["http_2xx".into(), "5".into()]), ("empty".into(), vec![])]);
    assert!(all.honor_labels && !all.honor_timestamps && all.track_timestamps_staleness && !all.compression);
    assert_eq!(all.protocols, [Protocol::Text0, Protocol::OpenMetrics1]);
    assert_eq!(all.fallback_protocol, Some(Protocol::Text0));
    assert!(all.client.redirects_refused && all.client.tls.insecure_skip_verify && all.client.tls.only_1_3);
    let text = |t: &str| Secret::Text(t.to_owned());
    assert_eq!(all.client.auth, Auth::Basic { username: text("u"), password: text("p w") });
    let limits = Limits {
        body_size: Some(ByteSize(10 << 20)),
        samples: Some(10),
        targets: Some(14),
        labels: Some(11),
        label_name_bytes: Some(12),
        label_value_bytes: Some(13),
    };
    assert_eq!(all.limits, limits);
    let rule = RuleSpec {
        source_labels: vec!["__address__".into(), "x".into()],
        separator: String::new(),
        regex: "a(.+)".into(),
        target_label: "t".into(),
        replacement: "${1}".into(),
        ..RuleSpec::default()
    };
    assert_eq!(all.relabel, [Rule::new(rule).unwrap()]);
    let drop = RuleSpec { regex: "tmp_.*".into(), action: Action::LabelDrop, ..RuleSpec::default() };
    assert_eq!(all.metric_relabel, [Rule::new(drop).unwrap()]);
    let labels = vec![("zone".into(), "1.0".into()), ("on".into(), "yes".into())];
    assert_eq!(all.static_groups, [TargetGroup { targets: vec!["a:1".into(), "b".into()], labels }]);
    assert!(all.file_sd[0].files[0].ends_with("d/*.json") && all.file_sd[0].files[0].is_absolute());
    assert_eq!(all.file_sd[0].refresh.0, 600_000);
    assert_eq!(all.http_sd[0].client.auth, Auth::Header { kind: "Bearer".into(), credentials: text("tok") });
    assert_eq!(config.jobs[1].limits.samples, Some(7), "taken over from global");
    assert_eq!(config.jobs[1].limits.body_size, Some(ByteSize(1024)));
    assert!(!format!("{all:?}").contains("p w"), "secrets are not shown");
    assert!(!config.redacted.contains("p w") && config.redacted.contains("http_2xx"), "{}", config.redacted);
}

/// Body, and the line and a part of the message that it is refused with.
const BAD: &[(&str, u64, &str)] = &[
    ("scrape_configs: 5\n", 1, "must be a list"),
    ("- a\n", 1, "must be a map"),
    ("global:\n  scrape_intervall: 5s\n", 2, "field scrape_intervall not found in global"),
    ("globals: {}\n", 1, "field globals not found"),
    ("global:\n  scrape_interval: 5x\n", 2, "not a duration"),
    ("global:\n  scrape_interval: 15\n", 2, "not a duration"),
    ("global:\n  scrape_interval: 5s\n  scrape_timeout: 6s\n", 3, "global scrape timeout greater"),
    ("global:\n  external_labels: {'': x}\n", 2, "empty name"),
    ("global:\n  sample_limit: many\n", 2, "whole number"),
    ("global:\n  body_size_limit: 10\n", 2, "not a size"),
    ("scrape_configs:\n- scrape_interval: 5s\n", 2, "job_name is empty"),
    ("scrape_configs:\n- job_name: a\n- job_name: a\n", 3, "multiple scrape configs with job name"),
    ("scrape_configs:\n-\n", 2, "empty or null scrape config"),
    (
        "scrape_configs:\n- job_name: a\n  scrape_interval: 5s\n  scrape_timeout: 6s\n",
        4,
        "greater than scrape interval",
    ),
    ("scrape_configs:\n- job_name: a\n  honor_labels: maybe\n", 3, "true or false"),
    ("scrape_configs:\n- job_name: a\n  unknown_sd_configs: []\n", 3, "field unknown_sd_configs not found"),
    ("scrape_configs:\n- job_name: a\n  static_configs:\n  - target: [b]\n", 4, "field target not found"),
    ("scrape_configs:\n- job_name: a\n  static_configs:\n  - targets: ['http://b']\n", 4, "not a valid hostname"),
    ("scrape_configs:\n- job_name: a\n  static_configs:\n  - targets: [{b: c}]\n", 4, "must be a text"),
    ("scrape_configs:\n- job_name: a\n  file_sd_configs:\n  - {}\n", 4, "at least one path name"),
    ("scrape_configs:\n- job_name: a\n  file_sd_configs:\n  - files: [a.txt]\n", 4, "not valid for file discovery"),
    (
        "scrape_configs:\n- job_name: a\n  file_sd_configs:\n  - files: ['*/a.json']\n",
        4,
        "not valid for file discovery",
    ),
    ("scrape_configs:\n- job_name: a\n  http_sd_configs:\n  - url: ftp://x\n", 4, "URL scheme"),
    ("scrape_configs:\n- job_name: a\n  http_sd_configs:\n  - refresh_interval: 1m\n", 4, "URL is missing"),
    ("scrape_configs:\n- job_name: a\n  relabel_configs:\n  - action: rename\n", 4, "unknown relabel action"),
    (
        "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - regex: '('\n    target_label: x\n",
        4,
        "error parsing regexp",
    ),
    (
        "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - action: hashmod\n    target_label: x\n",
        4,
        "non-zero modulus",
    ),
    ("scrape_configs:\n- job_name: a\n  relabel_configs:\n  - source_label: [x]\n", 4, "field source_label not found"),
    ("scrape_configs:\n- job_name: a\n  relabel_configs:\n  -\n", 4, "empty or null target relabeling rule"),
    ("scrape_configs:\n- job_name: a\n  basic_auth: {password: x}\n  bearer_token: y\n", 4, "at most one of"),
    ("scrape_configs:\n- job_name: a\n  authorization: {type: Basic}\n", 3, "use \"basic_auth\" instead"),
    ("scrape_configs:\n- job_name: a\n  basic_auth: {password: x, password_file: y}\n", 3, "at most one of password"),
    ("scrape_configs:\n- job_name: a\n  tls_config: {cert_file: c}\n", 3, "key or key_file"),
    ("scrape_configs:\n- job_name: a\n  tls_config: {min_version: TLS14}\n", 3, "unknown TLS version"),
    ("scrape_configs:\n- job_name: a\n  scrape_protocols: [Text]\n", 3, "unknown scrape protocol"),
    (
        "scrape_configs:\n- job_name: a\n  scrape_protocols: [PrometheusText0.0.4, PrometheusText0.0.4]\n",
        3,
        "duplicated",
    ),
    ("scrape_configs:\n- job_name: a\n  scrape_protocols: []\n", 3, "cannot be empty"),
    ("scrape_configs: [\n", 1, "unclosed bracket"),
    ("a: 1\na: 2\n", 2, "duplicate"),
];

#[test]
fn bad_files_are_refused_with_the_line() {
    for (text, line, part) in BAD {
        let problems = load_text(text).expect_err(text);
        let error = problems.iter().find(|p| p.severity == Severity::Error && p.message.contains(part));
        let error = error.unwrap_or_else(|| panic!("{:?} in\n{text}", lines(&problems)));
        assert_eq!(error.line, *line, "{} in\n{text}", error.message);
    }
}

/// Files that are good; with them, what is only warned of.
const GOOD: &[(&str, &[&str])] = &[
    ("", &[]),
    ("# nothing\n", &[]),
    ("global:\nscrape_configs:\n", &[]),
    ("global: {scrape_interval: 5s}\nscrape_configs: [{job_name: a}]\n", &[]),
    ("remote_write:\n- url: http://x\n", &["1: remote_write is not supported and has no effect"]),
    ("global:\n  query_log_file: x\n", &["2: query_log_file is not supported and has no effect"]),
    (
        "scrape_configs:\n- job_name: a\n  dns_sd_configs:\n  - {names: [x], type: A, port: 1}\n  oauth2: {client_id: i, token_url: 'http://x'}\n",
        &["3: dns_sd_configs is not supported and has no effect", "5: oauth2 is not supported and has no effect"],
    ),
    ("scrape_configs:\n- job_name: a\n  scrape_protocols: [PrometheusProto, PrometheusText0.0.4]\n", &[]),
    ("scrape_configs:\n- job_name: a\n  enable_http2: true\n  proxy_from_environment: false\n", &[]),
    (
        "scrape_configs:\n- job_name: a\n  native_histogram_bucket_limit: 160\n",
        &["3: native_histogram_bucket_limit: 160 is not supported and has no effect (only 0)"],
    ),
    (
        "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - {source_labels: [x], regex: 'a|b', action: keep}\n  static_configs:\n  - targets: ['http://a/b']\n",
        &[],
    ),
];

#[test]
fn good_files_are_taken_and_warn_with_the_line() {
    for (text, warnings) in GOOD {
        let loaded = load_text(text).unwrap_or_else(|problems| panic!("{:?} in\n{text}", lines(&problems)));
        assert_eq!(lines(&loaded.warnings), *warnings, "{text}");
    }
}

#[test]
#[ignore = "needs STREAMGAUGE_TEST_PROMTOOL to name a promtool of 3.5 or newer"]
fn agrees_with_promtool() {
    let promtool = std::env::var("STREAMGAUGE_TEST_PROMTOOL").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("prometheus.yml");
    let accepts = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let output = std::process::Command::new(&promtool).args(["check", "config"]).arg(&path).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (text, _, _) in BAD {
        let (accepted, said) = accepts(text);
        assert!(!accepted, "promtool takes\n{text}{said}");
    }
    for (text, _) in GOOD {
        let (accepted, said) = accepts(text);
        assert!(accepted, "promtool refuses\n{text}{said}");
    }
}

/// promtool takes it, and Prometheus then fails at each scrape.
#[test]
fn tls_versions_in_the_wrong_order_are_refused() {
    let problems = load_text(&job("  tls_config: {min_version: TLS13, max_version: TLS12}\n")).unwrap_err();
    assert!(lines(&problems)[0].starts_with("3: tls_config.max_version must be"), "{problems:?}");
}

#[test]
fn missing_files_are_told_apart() {
    let loaded = load_text(&job(
        "  basic_auth: {username: u, password_file: nowhere}\n  file_sd_configs:\n  - files: [gone.json]\n",
    ))
    .unwrap();
    let severities: Vec<_> = loaded.warnings.iter().map(|w| (w.line, w.severity)).collect();
    assert_eq!(severities, [(3, Severity::MissingFile), (5, Severity::MissingTargets)], "{:?}", loaded.warnings);
    let problems = load(std::path::Path::new("/nowhere/prometheus.yml")).unwrap_err();
    assert!(problems[0].to_string().starts_with("/nowhere/prometheus.yml: No such file"), "{}", problems[0]);
}

#[test]
fn included_files_are_read_with_their_own_lines() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("conf.d")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("prometheus.yml", "scrape_config_files: ['conf.d/*.yml']\nscrape_configs:\n- job_name: a\n");
    write("conf.d/b.yml", "scrape_configs:\n- job_name: b\n");
    let loaded = load(&dir.path().join("prometheus.yml")).unwrap();
    let names: Vec<_> = loaded.config.jobs.iter().map(|j| j.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    write("conf.d/c.yml", "scrape_configs:\n- job_name: c\n  wrong: 1\n- job_name: a\n");
    let problems = load(&dir.path().join("prometheus.yml")).unwrap_err();
    assert_eq!(lines(&problems).len(), 2, "{problems:?}");
    assert!(problems.iter().all(|p| p.path.ends_with("conf.d/c.yml")));
}

#[test]
fn groups_of_discovery() {
    let json = r#"[{"targets": ["a:1", "b:2"], "labels": {"x": "y"}}, {"targets": []}]"#;
    assert_eq!(read_groups(json).unwrap()[0].labels, [("x".into(), "y".into())]);
    assert_eq!(read_groups(json).unwrap().len(), 2);
    assert_eq!(read_groups("- targets: [a]\n").unwrap()[0].targets, ["a"]);
    assert!(read_groups(r#"{"targets": []}"#).unwrap_err().contains("list"));
    assert!(read_groups("[{\"targets\": [\"a\"],\n \"lables\": {}}]").unwrap_err().starts_with("line 2: field lables"));
    assert!(read_groups("[").is_err());
}

#[test]
fn durations_as_prometheus_shows_them() {
    for (ms, text) in [
        (0, "0s"),
        (15_000, "15s"),
        (90_000, "1m30s"),
        (604_800_000, "1w"),
        (9 * 86_400_000, "9d"),
        (86_400_000 + 1, "1d1ms"),
    ] {
        assert_eq!(show_duration(crate::config::Duration(ms)), text);
    }
}
