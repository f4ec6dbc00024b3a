//! The ports of Prometheus reporters, as a cluster's own configuration has them (Flink: `ReporterSetup`,
//! `PrometheusReporterFactory`, `NetUtils.getPortRangeFromString`).

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Most ports that are tried on a host, whatever the configuration says: the first of them, as Flink takes them in order.
pub const PORTS_MAX: usize = 100;

/// The names of the reporters that are active; without it all are.
const ACTIVE: &str = "metrics.reporters";
const PREFIX: &str = "metrics.reporter.";
/// Of releases since 1.10, and of those until 1.16.
const CLASS_SUFFIXES: [&str; 2] = [".factory.class", ".class"];
/// What the class is called at its end. The one that pushes to a gateway is `PrometheusPushGatewayReporter`.
const CLASSES: [&str; 2] = ["PrometheusReporter", "PrometheusReporterFactory"];
const DEFAULT_PORT: &str = "9249";

/// The ports that a process may take for its reporter, in the order in which it tries them; at most [`PORTS_MAX`], and
/// none if the cluster has no such reporter.
pub fn ports(configuration: &[(String, String)]) -> Vec<u16> {
    let active = value(configuration, ACTIVE).unwrap_or_default();
    let active: Vec<&str> = active.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let names: BTreeSet<&str> = configuration.iter().filter_map(|(key, class)| reporter(key, class)).collect();
    let mut ports = Vec::new();
    for name in names.into_iter().filter(|name| active.is_empty() || active.contains(name)) {
        let written = value(configuration, &format!("{PREFIX}{name}.port")).unwrap_or(DEFAULT_PORT);
        // A cap before equal ones are left out: a list may repeat itself for as long as an answer may be.
        for port in written.split(',').take(PORTS_MAX).filter_map(range).flatten().take(PORTS_MAX) {
            if ports.len() < PORTS_MAX && !ports.contains(&port) {
                ports.push(port);
            }
        }
    }
    ports
}

/// A port, or a range such as `9250-9260`; none if it is neither, or has the port 0, which means any.
pub fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.trim().parse().ok()?..=last.trim().parse().ok()?;
    (*range.start() > 0 && !range.is_empty()).then_some(range)
}

fn value<'c>(configuration: &'c [(String, String)], key: &str) -> Option<&'c str> {
    let value = configuration.iter().find(|(other, _)| other == key).map(|(_, value)| value.as_str())?;
    Some(value.trim().trim_matches(['"', '\'']))
}

/// The name of the reporter if an entry says that it is one of Prometheus.
fn reporter<'c>(key: &'c str, class: &str) -> Option<&'c str> {
    let rest = key.strip_prefix(PREFIX)?;
    let name = CLASS_SUFFIXES.iter().find_map(|suffix| rest.strip_suffix(suffix))?;
    let class = class.trim().trim_matches(['"', '\'']);
    let class = class.rsplit('.').next().unwrap_or_default();
    (!name.contains('.') && CLASSES.iter().any(|end| class.ends_with(end))).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTORY: &str = "org.apache.flink.metrics.prometheus.PrometheusReporterFactory";
    const NONE: [u16; 0] = [];

    fn of(pairs: &[(&str, &str)]) -> Vec<u16> {
        let configuration: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        ports(&configuration)
    }

    #[test]
    fn reporters_of_all_releases_are_found() {
        let old = "org.apache.flink.metrics.prometheus.PrometheusReporter";
        let port = ("metrics.reporter.prom.port", "9249-9250");
        assert_eq!(of(&[("metrics.reporter.prom.class", old), port]), [9249, 9250]);
        assert_eq!(of(&[("metrics.reporter.prom.factory.class", FACTORY), port]), [9249, 9250]);
        let both = [("metrics.reporter.prom.class", old), ("metrics.reporter.prom.factory.class", FACTORY)];
        assert_eq!(of(&both), [9249], "the default, once");
        let own = "org.apache.flink.metrics.prometheus.LoopbackPrometheusReporterFactory";
        assert_eq!(of(&[("metrics.reporter.prom.factory.class", own), port]), [9249, 9250]);
        assert_eq!(of(&[port, ("rest.port", "8081")]), NONE, "a port alone is no reporter");
    }

    #[test]
    fn other_reporters_are_none_of_ours() {
        for class in [
            "org.apache.flink.metrics.prometheus.PrometheusPushGatewayReporterFactory",
            "org.apache.flink.metrics.jmx.JMXReporterFactory",
            "",
        ] {
            assert_eq!(of(&[("metrics.reporter.a.factory.class", class), ("metrics.reporter.a.port", "1")]), NONE);
        }
        assert_eq!(of(&[("metrics.reporter.a.b.class", FACTORY)]), NONE, "no name has a dot");
    }

    #[test]
    fn only_active_reporters_count() {
        let two = |active: &str| {
            of(&[
                ("metrics.reporters", active),
                ("metrics.reporter.a.factory.class", FACTORY),
                ("metrics.reporter.a.port", "1"),
                ("metrics.reporter.b.factory.class", FACTORY),
                ("metrics.reporter.b.port", "2"),
            ])
        };
        assert_eq!(two(""), [1, 2]);
        assert_eq!(two("b , jmx"), [2]);
        assert_eq!(two("jmx"), NONE);
    }

    #[test]
    fn ports_are_numbers_ranges_and_lists_of_both() {
        let of =
            |ports: &str| of(&[("metrics.reporter.a.class", "PrometheusReporter"), ("metrics.reporter.a.port", ports)]);
        assert_eq!(of("9251, 9250-9252,9300"), [9251, 9250, 9252, 9300]);
        assert_eq!(of("'9250'"), [9250]);
        for nothing in ["", "0", "0-3", "65536", "5-4", "x", "-", "1-"] {
            assert_eq!(of(nothing), NONE, "{nothing}");
        }
        assert_eq!(of("65535-65535"), [65535]);
    }

    #[test]
    fn ports_are_tried_up_to_a_limit() {
        let of =
            |ports: &str| of(&[("metrics.reporter.a.class", "PrometheusReporter"), ("metrics.reporter.a.port", ports)]);
        let end = 1000 + u16::try_from(PORTS_MAX).unwrap();
        assert_eq!(of(&format!("1000-{}", end - 1)).last(), Some(&(end - 1)));
        assert_eq!(of(&format!("1000-{end}")).last(), Some(&(end - 1)));
        assert_eq!(of(&"1-65535,".repeat(100_000)).len(), PORTS_MAX);
    }
}
