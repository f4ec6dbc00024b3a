//! How the option `flink` is read: the clusters to follow.
//!
//! In the file each is a table `[[flink]]`; as a text they are a JSON list of the same fields. A text that is no list is
//! the addresses of one cluster by commas.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::values::{Duration, OptionValue};
use crate::flink::Metrics;
use crate::flink::reporters::{configured, host};

/// Most clusters.
const CLUSTERS_MAX: usize = 100;
/// Most addresses of one cluster.
const URLS_MAX: usize = 16;
/// Shortest interval: Flink itself looks at its metrics every ten seconds, and keeps answers for three.
const INTERVAL_MIN: Duration = Duration(1000);

/// Most addresses or ranges of reporters of one cluster.
const REPORTERS_MAX: usize = 1000;
/// Most probes for reporters in one interval, where nothing else is said.
const PROBES_MAX_DEFAULT: usize = 64;

/// Longest interval: a number that is older than five minutes is not shown any more.
const INTERVAL_MAX: Duration = Duration(120_000);

/// The clusters to follow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FlinkClusters {
    /// In their order; names differ.
    pub clusters: Vec<FlinkCluster>,
}

/// A cluster to follow.
#[derive(Debug, Clone, PartialEq)]
pub struct FlinkCluster {
    /// What we call it; the label `cluster` of its series.
    pub name: String,
    /// Addresses of its JobManagers, in the order in which they are tried.
    pub urls: Vec<String>,
    /// Where its numbers come from.
    pub metrics: Metrics,
    /// Where its reporters are; none: they are looked for.
    pub reporters: Option<Vec<ReporterAddress>>,
    /// Most addresses that are tried for reporters in one interval.
    pub probes_max: usize,
    /// Time between two rounds.
    pub interval: Duration,
    /// Longest time that one request may take.
    pub timeout: Duration,
    /// Most requests about one job in one round.
    pub requests_max: usize,
    /// The organization that its jobs belong to.
    pub org: String,
    /// A file with the bearer token to ask with.
    pub token_file: Option<PathBuf>,
}

/// An address of reporters, or a range of them on one host: `host:9250` or `host:9250-9260`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReporterAddress {
    /// The host, in lower case; an address of IPv6 in brackets.
    pub host: String,
    /// The ports.
    pub ports: RangeInclusive<u16>,
}

impl ReporterAddress {
    /// Reads one.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn parse(text: &str) -> Result<ReporterAddress, String> {
        // What may be a password is not said again.
        let shown = if text.contains('@') { "what has an @ in it".to_owned() } else { format!("{text:?}") };
        let wrong = || format!("{shown} is no address of reporters such as host:9250 or host:9250-9260");
        let (name, ports) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
        let ports = configured::range(ports).filter(|_| host::is_host(name)).ok_or_else(wrong)?;
        let max = configured::PORTS_MAX;
        if ports.len() > max {
            return Err(format!("{text:?} has {} ports, more than {max}", ports.len()));
        }
        Ok(ReporterAddress { host: name.to_ascii_lowercase(), ports })
    }
}

impl fmt::Display for ReporterAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.ports.start(), self.ports.end());
        write!(f, "{}:{first}", self.host)?;
        if first == last { Ok(()) } else { write!(f, "-{last}") }
    }
}

impl FlinkCluster {
    /// The name of the job that scrapes its reporters.
    pub(crate) fn scrape_job(&self) -> String {
        let org = if self.org.is_empty() { String::new() } else { format!(" of {}", self.org) };
        format!("flink/{}{org}", self.name)
    }

    /// True if there is such a job.
    pub(crate) fn is_scraped(&self) -> bool {
        let is_off = self.reporters.as_ref().is_some_and(Vec::is_empty);
        self.metrics == Metrics::Scrape && !is_off
    }
}

/// The fields as they are written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    urls: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metrics: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reporters: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_probes: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interval: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_requests_per_job: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    org: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_file: Option<PathBuf>,
}

impl OptionValue for FlinkClusters {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let written: Vec<Written> = if text.is_empty() {
            Vec::new()
        } else if text.starts_with('[') {
            serde_json::from_str(text).map_err(|e| e.to_string())?
        } else {
            let urls = text.split(',').map(|url| url.trim().to_owned()).collect();
            vec![Written { urls, ..Written::default() }]
        };
        if written.len() > CLUSTERS_MAX {
            return Err(format!("{} clusters are more than {CLUSTERS_MAX}", written.len()));
        }
        let clusters: Vec<FlinkCluster> = written.into_iter().map(cluster).collect::<Result<_, _>>()?;
        for (i, one) in clusters.iter().enumerate() {
            // Their jobs have names of their own only if the clusters have.
            if clusters[..i].iter().any(|other| other.scrape_job() == one.scrape_job()) {
                return Err(format!("two clusters are called {:?}; give them a name each", one.name));
            }
        }
        Ok(FlinkClusters { clusters })
    }

    fn show(&self) -> String {
        if self.clusters.is_empty() {
            return String::new();
        }
        let written: Vec<Written> = self.clusters.iter().map(written).collect();
        serde_json::to_string(&written).unwrap_or_default()
    }
}

fn written(cluster: &FlinkCluster) -> Written {
    let metrics = match cluster.metrics {
        Metrics::Scrape => "scrape",
        Metrics::Rest => "rest",
    };
    Written {
        urls: cluster.urls.clone(),
        name: Some(cluster.name.clone()),
        metrics: Some(metrics.to_owned()),
        reporters: cluster.reporters.as_ref().map(|all| all.iter().map(ToString::to_string).collect()),
        max_probes: Some(cluster.probes_max),
        interval: Some(cluster.interval.show()),
        timeout: Some(cluster.timeout.show()),
        max_requests_per_job: Some(cluster.requests_max),
        org: Some(cluster.org.clone()).filter(|org| !org.is_empty()),
        token_file: cluster.token_file.clone(),
    }
}

fn cluster(written: Written) -> Result<FlinkCluster, String> {
    if written.urls.is_empty() || written.urls.len() > URLS_MAX {
        return Err(format!("{} addresses of a cluster, and not 1 to {URLS_MAX}", written.urls.len()));
    }
    written.urls.iter().try_for_each(|url| check(url))?;
    let metrics = match written.metrics.as_deref() {
        None | Some("scrape") => Metrics::Scrape,
        Some("rest") => Metrics::Rest,
        Some(other) => return Err(format!("metrics = {other:?} is neither scrape nor rest")),
    };
    let reporters = written.reporters.as_deref().map(reporters).transpose()?;
    if metrics == Metrics::Rest && reporters.as_ref().is_some_and(|all| !all.is_empty()) {
        return Err("reporters are scraped, but metrics = \"rest\" asks for numbers over the REST API".to_owned());
    }
    let probes_max = written.max_probes.unwrap_or(PROBES_MAX_DEFAULT);
    if probes_max == 0 {
        return Err("max_probes = 0 would find nothing; reporters = [] scrapes none".to_owned());
    }
    let interval = Duration::parse(written.interval.as_deref().unwrap_or("10s"))?;
    if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        let (least, most) = (INTERVAL_MIN.show(), INTERVAL_MAX.show());
        return Err(format!("interval = {:?} is not from {least} to {most}", interval.show()));
    }
    let requests_max = written.max_requests_per_job.unwrap_or(40);
    if requests_max == 0 {
        return Err("max_requests_per_job = 0 would ask nothing".to_owned());
    }
    Ok(FlinkCluster {
        // The address says which cluster it is where there is only one or nobody gave names.
        name: written.name.filter(|name| !name.is_empty()).unwrap_or_else(|| authority(&written.urls[0])),
        metrics,
        reporters,
        probes_max,
        interval,
        timeout: Duration::parse(written.timeout.as_deref().unwrap_or("10s"))?,
        requests_max,
        org: written.org.unwrap_or_default(),
        token_file: written.token_file,
        urls: written.urls,
    })
}

/// An address stands in errors, in the configuration that is shown and, where the cluster has no other name, in labels.
fn check(url: &str) -> Result<(), String> {
    let uri: Option<::http::Uri> = url.parse().ok();
    if uri.as_ref().and_then(|uri| uri.authority()).is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("an address has a user or a password in it, which everyone would see: use token_file".to_owned());
    }
    let is_web = |uri: &::http::Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    if !uri.as_ref().is_some_and(is_web) || url.contains(['?', '#']) {
        return Err(format!("{url:?} is no address such as http://host:8081"));
    }
    Ok(())
}

fn reporters(written: &[String]) -> Result<Vec<ReporterAddress>, String> {
    if written.len() > REPORTERS_MAX {
        return Err(format!("{} addresses of reporters are more than {REPORTERS_MAX}", written.len()));
    }
    written.iter().map(|text| ReporterAddress::parse(text)).collect()
}

fn authority(url: &str) -> String {
    let uri: Option<::http::Uri> = url.parse().ok();
    uri.and_then(|uri| uri.authority().map(ToString::to_string)).unwrap_or_else(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_alone_are_one_cluster() {
        let found = FlinkClusters::parse("http://a:8081, http://b:8081").unwrap();
        let [cluster] = &found.clusters[..] else { panic!("{found:?}") };
        assert_eq!((cluster.name.as_str(), cluster.urls.len()), ("a:8081", 2));
        assert_eq!((cluster.metrics, cluster.interval.0), (Metrics::Scrape, 10_000));
        assert_eq!((&cluster.reporters, cluster.probes_max), (&None, PROBES_MAX_DEFAULT));
        assert!(cluster.is_scraped());
        assert_eq!(FlinkClusters::parse(&found.show()).unwrap(), found);
        assert_eq!(FlinkClusters::parse("").unwrap().show(), "");
    }

    #[test]
    fn a_list_names_every_field() {
        let text = r#"[{"urls":["https://a"],"name":"x","metrics":"rest","interval":"1s","timeout":"2s",
            "max_requests_per_job":3,"org":"o","token_file":"/t"},{"urls":["http://b"],"max_probes":7,
            "reporters":["H:9250-9260","[::1]:1"]}]"#;
        let found = FlinkClusters::parse(text).unwrap();
        assert_eq!(found.clusters.len(), 2);
        assert_eq!((found.clusters[0].metrics, found.clusters[0].requests_max), (Metrics::Rest, 3));
        let reporters: Vec<String> = found.clusters[1].reporters.iter().flatten().map(ToString::to_string).collect();
        assert_eq!((reporters.join(" ").as_str(), found.clusters[1].probes_max), ("h:9250-9260 [::1]:1", 7));
        assert_eq!(
            found.clusters.iter().map(FlinkCluster::scrape_job).collect::<Vec<_>>(),
            ["flink/x of o", "flink/b"]
        );
        assert_eq!(found.clusters.iter().map(FlinkCluster::is_scraped).collect::<Vec<_>>(), [false, true]);
        assert_eq!(FlinkClusters::parse(&found.show()).unwrap(), found);
    }

    #[test]
    fn reporters_that_are_none_turn_scraping_off() {
        let found = FlinkClusters::parse(r#"[{"urls":["http://a"],"reporters":[]}]"#).unwrap();
        assert!(!found.clusters[0].is_scraped());
        assert_eq!(FlinkClusters::parse(&found.show()).unwrap(), found);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, wrong) in [
            ("localhost", "is no address"),
            ("ftp://a", "is no address"),
            ("http://a?x=", "is no address"),
            ("http://a/#", "is no address"),
            ("http://me:secret@a:8081", "use token_file"),
            (r#"[{"urls":[]}]"#, "0 addresses"),
            (r#"[{"urls":["http://a"],"metrics":"push"}]"#, "neither scrape nor rest"),
            (r#"[{"urls":["http://a"],"interval":"999ms"}]"#, "not from 1s to 2m"),
            (r#"[{"urls":["http://a"],"interval":"120001ms"}]"#, "not from 1s to 2m"),
            (r#"[{"urls":["http://a"],"max_requests_per_job":0}]"#, "would ask nothing"),
            (r#"[{"urls":["http://a"],"max_probes":0}]"#, "would find nothing"),
            (r#"[{"urls":["http://a"],"metrics":"rest","reporters":["h:1"]}]"#, "over the REST API"),
            (r#"[{"urls":["http://a"],"reporters":["h"]}]"#, "is no address of reporters"),
            (r#"[{"urls":["http://a"],"reporters":["h:0"]}]"#, "is no address of reporters"),
            (r#"[{"urls":["http://a"],"reporters":["http://h:1"]}]"#, "is no address of reporters"),
            (r#"[{"urls":["http://a"],"reporters":["::1:1"]}]"#, "is no address of reporters"),
            (r#"[{"urls":["http://a"],"reporters":["me:secret@h:1"]}]"#, "is no address of reporters"),
            (r#"[{"urls":["http://a"],"reporters":["h:2-1"]}]"#, "is no address of reporters"),
            (r#"[{"urls":["http://a"],"colour":"red"}]"#, "unknown field"),
            (r#"[{"urls":["http://a"]},{"urls":["http://a"]}]"#, "two clusters"),
        ] {
            let error = FlinkClusters::parse(text).unwrap_err();
            assert!(error.contains(wrong) && !error.contains("secret"), "{text}: {error}");
        }
        let many = |count: usize| {
            let list: Vec<String> = (0..count).map(|i| format!(r#"{{"urls":["http://h{i}"]}}"#)).collect();
            FlinkClusters::parse(&format!("[{}]", list.join(",")))
        };
        assert!(many(CLUSTERS_MAX).is_ok() && many(CLUSTERS_MAX + 1).is_err());
        let ports = |count: usize| ReporterAddress::parse(&format!("h:1000-{}", 999 + count));
        assert!(ports(configured::PORTS_MAX).is_ok() && ports(configured::PORTS_MAX + 1).is_err());
        let reporters = |count: usize| {
            let list = vec![r#""h:1""#; count].join(",");
            FlinkClusters::parse(&format!(r#"[{{"urls":["http://a"],"reporters":[{list}]}}]"#))
        };
        assert!(reporters(REPORTERS_MAX).is_ok() && reporters(REPORTERS_MAX + 1).is_err());
        let urls = |count: usize| FlinkClusters::parse(&vec!["http://a"; count].join(","));
        assert!(urls(URLS_MAX).is_ok() && urls(URLS_MAX + 1).is_err());
    }
}
