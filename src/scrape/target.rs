//! From a discovered address to a target: labels, relabelling, URL (Prometheus: `scrape/target.go`, 3.5).

use model::{Labels, LabelsBuilder};
use xxhash_rust::xxh3::xxh3_64;

use super::client::encode_query;
use super::config::{Job, Pairs, show_duration};
use super::relabel::relabel;
use crate::config::{Duration, OptionValue};

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const PARAM_PREFIX: &str = "__param_";
const META_PREFIX: &str = "__meta_";
/// Labels with this prefix are for the scrape, never for the series.
const INTERNAL_PREFIX: &str = "__";
const JOB: &str = "job";
const INSTANCE: &str = "instance";

/// Something that is scraped.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    /// What its series get.
    pub(super) labels: Labels,
    /// What it was discovered with, before relabelling.
    pub(super) discovered: Labels,
    pub(super) url: String,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    /// All labels after relabelling, internal ones included, and the URL: two targets with the same are one.
    pub(super) key: String,
}

/// What became of a discovered address.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    Target(Box<Target>),
    /// Relabelling dropped it; its discovered labels are shown to people.
    Dropped(Labels),
    /// It cannot be scraped.
    Invalid(String),
}

/// Makes a target of an address with the labels of its group.
pub(super) fn populate(job: &Job, address: &str, group_labels: &Pairs) -> Outcome {
    let mut labels = discovered_labels(job, address, group_labels);
    let discovered = match labels.build() {
        Ok(discovered) => discovered,
        Err(error) => return Outcome::Invalid(error.to_string()),
    };
    if !relabel(&job.relabel, &mut labels) {
        return Outcome::Dropped(discovered);
    }
    match target(job, labels, discovered) {
        Ok(target) => Outcome::Target(Box::new(target)),
        Err(message) => Outcome::Invalid(message),
    }
}

fn discovered_labels(job: &Job, address: &str, group_labels: &Pairs) -> LabelsBuilder {
    let mut labels = LabelsBuilder::default();
    for (name, value) in group_labels {
        labels.set(name, value);
    }
    labels.set(ADDRESS, address);
    let (interval, timeout) = (show_duration(job.interval), show_duration(job.timeout));
    let defaults = [
        (JOB, job.name.as_str()),
        (INTERVAL, &interval),
        (TIMEOUT, &timeout),
        (METRICS_PATH, &job.metrics_path),
        (SCHEME, &job.scheme),
    ];
    let params: Vec<(String, &str)> =
        job.params.iter().filter_map(|(n, v)| Some((format!("{PARAM_PREFIX}{n}"), v.first()?.as_str()))).collect();
    for (name, value) in defaults.into_iter().chain(params.iter().map(|(n, v)| (n.as_str(), *v))) {
        if labels.get(name).is_none() {
            labels.set(name, value);
        }
    }
    labels
}

fn target(job: &Job, mut labels: LabelsBuilder, discovered: Labels) -> Result<Target, String> {
    let address = labels.get(ADDRESS).ok_or("no address")?.to_owned();
    if address.contains('/') {
        return Err(format!("{address:?} is not a valid hostname"));
    }
    let (interval, timeout) = (duration(&labels, INTERVAL, "interval")?, duration(&labels, TIMEOUT, "timeout")?);
    if timeout > interval {
        let (t, i) = (show_duration(timeout), show_duration(interval));
        return Err(format!("scrape timeout cannot be greater than scrape interval ({t:?} > {i:?})"));
    }
    let meta: Vec<String> =
        labels.iter().map(|(n, _)| n).filter(|n| n.starts_with(META_PREFIX)).map(str::to_owned).collect();
    for name in meta {
        labels.remove(&name);
    }
    if labels.get(INSTANCE).is_none() {
        labels.set(INSTANCE, &address);
    }
    let url = url(job, &labels, &address);
    if url.parse::<::http::Uri>().map_or(true, |uri| uri.host().is_none()) {
        return Err(format!("{url:?} is not a URL"));
    }
    let all = labels.build().map_err(|e| e.to_string())?;
    Ok(Target {
        labels: all.filtered(|name| !name.starts_with(INTERNAL_PREFIX)),
        discovered,
        key: format!("{url} {}", all.canonical()),
        url,
        interval,
        timeout,
    })
}

fn duration(labels: &LabelsBuilder, label: &str, what: &str) -> Result<Duration, String> {
    let text = labels.get(label).unwrap_or_default();
    match Duration::parse(text) {
        Ok(Duration(0)) => Err(format!("scrape {what} cannot be 0")),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("error parsing scrape {what}: {error}")),
    }
}

/// The URL. A parameter's first value is what relabelling left in its label; further values stay.
fn url(job: &Job, labels: &LabelsBuilder, address: &str) -> String {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for (name, value) in labels.iter() {
        if let Some(param) = name.strip_prefix(PARAM_PREFIX) {
            pairs.push((param, value));
        }
    }
    for (name, values) in &job.params {
        // A label that relabelling removed leaves the configured first value in place, as in Prometheus.
        let replaced = usize::from(pairs.iter().any(|(n, _)| n == name));
        pairs.extend(values.iter().skip(replaced).map(|value| (name.as_str(), value.as_str())));
    }
    let query = encode_query(pairs.into_iter());
    let path = labels.get(METRICS_PATH).unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{}://{address}{slash}{}{mark}{query}", labels.get(SCHEME).unwrap_or("http"), escape_path(path))
}

/// Escapes what may not stand in a path, as Go's `url.URL` does for text that is not escaped yet.
fn escape_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'-' | b'_' | b'.' | b'~' | b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'@' => {
                out.push(char::from(byte));
            }
            b'!' | b'\'' | b'(' | b')' | b'*' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl Target {
    /// How long after `now_ms` the first scrape of a target begins, so that targets are spread over the interval and
    /// each keeps its place in it over restarts. In milliseconds.
    pub(super) fn offset_ms(&self, now_ms: i64) -> u64 {
        let interval = self.interval.0.max(1);
        let place = xxh3_64(self.key.as_bytes()) % interval;
        let now = now_ms.rem_euclid(i64::try_from(interval).unwrap_or(i64::MAX)).unsigned_abs();
        (place + interval - now) % interval
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::load;
    use super::*;

    fn job(body: &str) -> Job {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.yml");
        std::fs::write(&path, format!("scrape_configs:\n- job_name: j\n{body}")).unwrap();
        (*load(&path).unwrap().config.jobs[0]).clone()
    }

    fn kept(job: &Job, address: &str, labels: &[(&str, &str)]) -> Target {
        let labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        match populate(job, address, &labels) {
            Outcome::Target(target) => *target,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_plain_target() {
        let target = kept(&job(""), "h:1", &[("zone", "a"), ("__meta_x", "y")]);
        assert_eq!(target.labels.to_string(), r#"{instance="h:1", job="j", zone="a"}"#);
        assert_eq!(target.url, "http://h:1/metrics");
        assert_eq!((target.interval.0, target.timeout.0), (60_000, 10_000));
        assert_eq!(target.discovered.get("__meta_x"), Some("y"));
        assert_eq!(target.discovered.get("__scrape_interval__"), Some("1m"));
    }

    /// The blackbox exporter's well-known way.
    #[test]
    fn a_probe() {
        let job = job(
            "  metrics_path: probe\n  scheme: https\n  params: {module: [m, n]}\n  relabel_configs:\n  - {source_labels: [__address__], target_label: __param_target}\n  - {source_labels: [__param_target], target_label: instance}\n  - {target_label: __address__, replacement: 'bb:9115'}\n  - {target_label: __scrape_interval__, replacement: 5s}\n  - {target_label: __scrape_timeout__, replacement: 4s}\n",
        );
        let target = kept(&job, "http://x.org/a b", &[]);
        assert_eq!(target.url, "https://bb:9115/probe?module=m&module=n&target=http%3A%2F%2Fx.org%2Fa+b");
        assert_eq!(target.labels.to_string(), r#"{instance="http://x.org/a b", job="j"}"#);
        assert_eq!((target.interval.0, target.timeout.0), (5_000, 4_000));
    }

    #[test]
    fn what_cannot_be_scraped_says_why() {
        let invalid = |body: &str, address: &str| match populate(&job(body), address, &Pairs::new()) {
            Outcome::Invalid(message) => message,
            other => panic!("{other:?}"),
        };
        let set = |label: &str, value: &str| {
            format!("  relabel_configs:\n  - {{target_label: {label}, replacement: '{value}'}}\n")
        };
        assert_eq!(invalid("", "a/b"), "\"a/b\" is not a valid hostname");
        assert_eq!(invalid(&set("__address__", ""), "a"), "no address");
        assert!(invalid(&set("__scrape_interval__", "x"), "a").starts_with("error parsing scrape interval"));
        assert_eq!(invalid(&set("__scrape_interval__", "0s"), "a"), "scrape interval cannot be 0");
        assert!(invalid(&set("__scrape_timeout__", "2m"), "a").contains("cannot be greater than scrape interval"));
        assert!(invalid(&set("__address__", "a b"), "a").contains("is not a URL"));
    }

    #[test]
    fn dropped_targets_keep_their_discovered_labels() {
        let job = job("  relabel_configs:\n  - {source_labels: [__address__], regex: 'a', action: drop}\n");
        let Outcome::Dropped(discovered) = populate(&job, "a", &Pairs::new()) else { panic!() };
        assert_eq!(discovered.get("__address__"), Some("a"));
    }

    #[test]
    fn paths_are_escaped() {
        assert_eq!(escape_path("/a b?c%é"), "/a%20b%3Fc%25%C3%A9");
    }

    #[test]
    fn places_in_the_interval_are_kept_and_spread() {
        let job = job("");
        let places: Vec<u64> = (0..50).map(|i| kept(&job, &format!("h:{i}"), &[]).offset_ms(0)).collect();
        assert!(places.iter().all(|p| *p < 60_000));
        assert!(places.iter().filter(|p| **p < 30_000).count() > 10, "{places:?}");
        assert!(places.iter().filter(|p| **p >= 30_000).count() > 10, "{places:?}");
        let target = kept(&job, "h:1", &[]);
        for now in [0, 1, 59_999, 123_456, -5] {
            let at = now + i64::try_from(target.offset_ms(now)).unwrap();
            assert_eq!(at.rem_euclid(60_000), i64::try_from(target.offset_ms(0)).unwrap(), "{now}");
        }
    }
}
