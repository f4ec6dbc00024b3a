//! What is scraped and how: the resolved form of a configuration file in Prometheus's format.

mod auth;
mod keys;
mod read;
mod section;
mod yaml;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use model::Labels;

pub use read::load;
pub(crate) use read::read_groups;
pub use section::{Problem, Severity};

use super::discovery::Feed;
use super::relabel::Rule;
use crate::config::{ByteSize, Duration, OptionValue};
use crate::exposition::Forms;

/// A configuration file.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrapeConfig {
    /// Where it was read; none without a file.
    pub path: Option<PathBuf>,
    /// Labels for whoever reads from us: federation and the like. Series that are kept do not get them.
    pub external_labels: Labels,
    /// The jobs, in the order of the file.
    pub jobs: Vec<Arc<Job>>,
    /// The file as YAML, without secrets.
    pub redacted: String,
}

impl Default for ScrapeConfig {
    fn default() -> Self {
        ScrapeConfig { path: None, external_labels: Labels::empty(), jobs: Vec::new(), redacted: String::new() }
    }
}

/// A file with what is unusual about it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: ScrapeConfig,
    /// Keys without effect and files that are missing.
    pub warnings: Vec<Problem>,
}

/// One entry of `scrape_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// `job_name`
    pub name: String,
    /// `scrape_interval`
    pub interval: Duration,
    /// `scrape_timeout`
    pub timeout: Duration,
    /// `scheme`
    pub scheme: String,
    /// `metrics_path`
    pub metrics_path: String,
    /// `params`
    pub params: Vec<(String, Vec<String>)>,
    /// Labels of the target give way to those of the sample.
    pub honor_labels: bool,
    /// Times in the exposition are kept.
    pub honor_timestamps: bool,
    /// Series with times of their own get staleness markers too.
    pub track_timestamps_staleness: bool,
    /// gzip is asked for.
    pub compression: bool,
    /// Formats that are asked for, the most wanted first.
    pub protocols: Vec<Protocol>,
    /// Which form of a histogram is taken from protobuf.
    pub histogram_forms: Forms,
    /// The format of an answer whose content type says nothing.
    pub fallback_protocol: Option<Protocol>,
    /// How targets are spoken to.
    pub client: ClientOptions,
    /// `relabel_configs`
    pub relabel: Vec<Rule>,
    /// `metric_relabel_configs`
    pub metric_relabel: Vec<Rule>,
    /// Limits.
    pub limits: Limits,
    /// `static_configs`
    pub static_groups: Vec<TargetGroup>,
    /// `file_sd_configs`
    pub file_sd: Vec<FileSd>,
    /// `http_sd_configs`
    pub http_sd: Vec<HttpSd>,
    /// Targets that another part of the server finds; never from a file.
    pub feed: Option<Feed>,
    /// The first scrape is not put off to spread the load: for the built-in jobs.
    pub starts_at_once: bool,
}

impl Job {
    /// A job without targets that scrapes `/metrics` over HTTP, and otherwise as the defaults of a file are.
    pub(crate) fn plain(name: impl Into<String>, interval: Duration, timeout: Duration) -> Job {
        Job {
            name: name.into(),
            interval,
            timeout: timeout.min(interval),
            scheme: "http".to_owned(),
            metrics_path: "/metrics".to_owned(),
            params: Vec::new(),
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            compression: true,
            protocols: Protocol::DEFAULT.to_vec(),
            histogram_forms: Forms { native: false, classic_too: false },
            fallback_protocol: None,
            client: ClientOptions::default(),
            relabel: Vec::new(),
            metric_relabel: Vec::new(),
            limits: Limits::default(),
            static_groups: Vec::new(),
            file_sd: Vec::new(),
            http_sd: Vec::new(),
            feed: None,
            starts_at_once: false,
        }
    }
}

/// Labels as they were found, before relabelling.
pub type Pairs = Vec<(String, String)>;

/// Targets with labels that they share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetGroup {
    /// Addresses.
    pub targets: Vec<String>,
    /// Labels of all of them.
    pub labels: Pairs,
}

/// One entry of `file_sd_configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSd {
    /// Paths; the last part may contain `*`.
    pub files: Vec<PathBuf>,
    /// How often the files are read even if nothing says that they changed.
    pub refresh: Duration,
}

/// One entry of `http_sd_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSd {
    /// Where the list is.
    pub url: String,
    /// How often it is read.
    pub refresh: Duration,
    /// How it is read.
    pub client: ClientOptions,
}

/// How servers are spoken to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClientOptions {
    /// Who we say we are.
    pub auth: Auth,
    /// For https.
    pub tls: TlsOptions,
    /// Redirects are not followed.
    pub redirects_refused: bool,
}

/// Who we say we are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Auth {
    /// Nobody.
    #[default]
    None,
    /// A name and a password.
    Basic {
        /// The name.
        username: Secret,
        /// The password.
        password: Secret,
    },
    /// `Authorization: KIND CREDENTIALS`.
    Header {
        /// Such as `Bearer`.
        kind: String,
        /// What follows.
        credentials: Secret,
    },
}

/// A text that is never shown, or the file that holds it; the file is read at each use, so that it can be changed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Stands in the configuration.
    Text(String),
    /// Stands in a file; white space around it does not count.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Text(_) => f.write_str("<secret>"),
            Secret::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// PEM in the configuration or in a file.
pub type Pem = Secret;

/// `tls_config`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// Certificates that servers must descend from; none: those of the system.
    pub ca: Option<Pem>,
    /// Our own certificate with its key.
    pub client: Option<(Pem, Pem)>,
    /// The name that the certificate must have; none: that of the address.
    pub server_name: Option<String>,
    /// Any certificate will do.
    pub insecure_skip_verify: bool,
    /// TLS 1.2 is not enough.
    pub only_1_3: bool,
    /// TLS 1.3 is too much.
    pub only_1_2: bool,
}

/// A format of a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// OpenMetrics 1.0.0
    OpenMetrics1,
    /// OpenMetrics 0.0.1
    OpenMetrics0,
    /// Prometheus text 1.0.0: 0.0.4 with quoted names.
    Text1,
    /// Prometheus text 0.0.4
    Text0,
    /// Protobuf, the only one with native histograms.
    Protobuf,
}

impl Protocol {
    /// The text formats, in the order in which Prometheus asks for them by default.
    pub const DEFAULT: [Protocol; 4] =
        [Protocol::OpenMetrics1, Protocol::OpenMetrics0, Protocol::Text1, Protocol::Text0];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::OpenMetrics1 => "OpenMetricsText1.0.0",
            Protocol::OpenMetrics0 => "OpenMetricsText0.0.1",
            Protocol::Text1 => "PrometheusText1.0.0",
            Protocol::Text0 => "PrometheusText0.0.4",
            Protocol::Protobuf => "PrometheusProto",
        }
    }

    /// The content type, with the way of escaping names where the format knows one.
    pub fn content_type(self) -> &'static str {
        match self {
            Protocol::OpenMetrics1 => "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
            Protocol::OpenMetrics0 => "application/openmetrics-text;version=0.0.1",
            Protocol::Text1 => "text/plain;version=1.0.0;escaping=allow-utf-8",
            Protocol::Text0 => "text/plain;version=0.0.4",
            Protocol::Protobuf => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
        }
    }

    /// True for OpenMetrics.
    pub fn is_open_metrics(self) -> bool {
        matches!(self, Protocol::OpenMetrics1 | Protocol::OpenMetrics0)
    }
}

/// Limits of a job; none is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes of a body, decompressed.
    pub body_size: Option<ByteSize>,
    /// Samples of a scrape after relabelling.
    pub samples: Option<u64>,
    /// Targets of the job.
    pub targets: Option<u64>,
    /// Labels of a series, its name included.
    pub labels: Option<u64>,
    /// Bytes of a label name.
    pub label_name_bytes: Option<u64>,
    /// Bytes of a label value.
    pub label_value_bytes: Option<u64>,
}

/// A duration as Prometheus shows it: years and weeks only if nothing is left over.
pub(crate) fn show_duration(duration: Duration) -> String {
    const YEAR_MS: u64 = 31_536_000_000;
    const WEEK_MS: u64 = 604_800_000;
    const DAY_MS: u64 = 86_400_000;
    let ms = duration.0;
    if ms == 0 {
        return "0s".to_owned();
    }
    for (unit_ms, unit) in [(YEAR_MS, "y"), (WEEK_MS, "w")] {
        if ms.is_multiple_of(unit_ms) {
            return format!("{}{unit}", ms / unit_ms);
        }
    }
    let rest = ms % DAY_MS;
    let days = if ms >= DAY_MS { format!("{}d", ms / DAY_MS) } else { String::new() };
    if rest == 0 { days } else { days + &Duration(rest).show() }
}

#[cfg(test)]
mod tests;
