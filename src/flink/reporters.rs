//! The Prometheus reporters of a cluster that is followed: where they are, and which of them are scraped.
//!
//! Each process of Flink takes the first free port of a range for its reporter, and tells nobody which. So the ports are
//! tried on the hosts of the processes that the cluster lists; a page that answers says itself whose it is. A process has
//! one reporter, and what belongs to none that is listed is another cluster's.
//!
//! - [`configured`] reads the ports out of the cluster's configuration, [`host`] the hosts out of its answers, and
//!   [`page`] whose reporter wrote a page.
//! - [`search`] decides what to try next, and which addresses are targets. All of these are pure; the time is an argument.
//! - `look` has the sockets: one task for each cluster. It feeds a job of [`crate::scrape`], which does the rest. `taken`
//!   knows which addresses the scrape configuration has already.

pub mod configured;
pub mod host;
pub(crate) mod look;
pub mod page;
pub mod search;
mod taken;

use std::collections::BTreeMap;
use std::fmt;

use super::samples::sanitized;

/// Most task managers of one cluster whose reporters are looked for.
const MANAGERS_MAX: usize = 2000;

/// Where a reporter is or may be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// A name, or an IP address; one of version 6 in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Address {
    /// The address that a URL leads to; none if it names no host.
    pub(crate) fn of_url(url: &str) -> Option<Address> {
        let uri: ::http::Uri = url.parse().ok()?;
        let port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        Some(Address { host: uri.host()?.to_ascii_lowercase(), port: uri.port_u16().unwrap_or(port) })
    }
}

/// What a cluster that answers says of its processes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sighting {
    /// The JobManager that answered.
    pub url: String,
    /// Its configuration.
    pub configuration: Vec<(String, String)>,
    /// Id and address of each task manager.
    pub managers: Vec<(String, Option<String>)>,
}

/// The processes of a cluster, and the ports that their reporters may have.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listed {
    /// The ports, in the order in which Flink tries them.
    pub ports: Vec<u16>,
    /// How many JobManagers a host has.
    pub masters: BTreeMap<String, usize>,
    /// The hosts of task managers, by their ids in the form that labels have.
    pub managers: BTreeMap<String, String>,
    /// Task managers above the limit: nobody looks for them.
    pub left_out: usize,
}

impl Listed {
    /// What a sighting says, with the addresses of the JobManagers that are configured.
    pub fn new(urls: &[String], sighting: &Sighting) -> Listed {
        let mut listed = Listed { ports: configured::ports(&sighting.configuration), ..Listed::default() };
        for address in urls.iter().filter_map(|url| Address::of_url(url)) {
            *listed.masters.entry(address.host).or_default() += 1;
        }
        let answered = Address::of_url(&sighting.url).map(|address| address.host);
        for (id, path) in &sighting.managers {
            let named = path.as_deref().and_then(host::of_path);
            let Some(host) = named.and_then(|host| host::seen_from(host, answered.as_deref())) else { continue };
            if listed.managers.len() == MANAGERS_MAX {
                listed.left_out += 1;
                continue;
            }
            listed.managers.insert(sanitized(id), host);
        }
        listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(managers: &[(&str, &str)]) -> Sighting {
        Sighting {
            url: "http://jm:8081".to_owned(),
            configuration: vec![
                ("metrics.reporter.p.class".to_owned(), "o.PrometheusReporter".to_owned()),
                ("metrics.reporter.p.port".to_owned(), "9250-9251".to_owned()),
            ],
            managers: managers.iter().map(|(id, path)| ((*id).to_owned(), Some((*path).to_owned()))).collect(),
        }
    }

    #[test]
    fn processes_have_the_hosts_that_the_cluster_and_the_configuration_name() {
        let managers = [
            ("tm-1", "pekko.tcp://flink@10.0.0.7:36707/user/rpc/taskmanager_0"),
            ("tm-2", "akka.tcp://flink@localhost:35067/user/taskmanager_0"),
            ("local", "akka://flink/user/taskmanager_0"),
            ("metadata", "pekko.tcp://flink@169.254.169.254:1/user/rpc/taskmanager_0"),
        ];
        let mut sighting = sighting(&managers);
        sighting.managers.push(("without".to_owned(), None));
        let urls = ["http://jm:8081/", "https://JM:8082", "http://[::1]:8081"].map(str::to_owned);
        let listed = Listed::new(&urls, &sighting);
        let pairs = |pairs: [(&str, &str); 2]| BTreeMap::from(pairs.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(listed.ports, [9250, 9251]);
        assert_eq!(listed.masters, BTreeMap::from([("jm".to_owned(), 2), ("[::1]".to_owned(), 1)]));
        // What a cluster calls its own machine is the machine that answered, not ours.
        assert_eq!(listed.managers, pairs([("tm_1", "10.0.0.7"), ("tm_2", "jm")]));
        assert_eq!(listed.left_out, 0);
    }

    #[test]
    fn task_managers_are_looked_for_up_to_a_limit() {
        let of = |count: usize| {
            let path = Some("pekko.tcp://flink@h:1/user/rpc/taskmanager_0".to_owned());
            let managers = (0..count).map(|i| (format!("tm{i}"), path.clone())).collect();
            let listed = Listed::new(&[], &Sighting { managers, ..sighting(&[]) });
            (listed.managers.len(), listed.left_out)
        };
        assert_eq!(of(MANAGERS_MAX), (MANAGERS_MAX, 0));
        assert_eq!(of(MANAGERS_MAX + 1), (MANAGERS_MAX, 1));
    }

    #[test]
    fn a_url_leads_to_an_address() {
        let of = |url: &str| Address::of_url(url).map(|address| address.to_string());
        assert_eq!(of("http://H:9250/metrics"), Some("h:9250".to_owned()));
        assert_eq!(of("https://h/metrics"), Some("h:443".to_owned()));
        assert_eq!(of("http://[::1]:1/"), Some("[::1]:1".to_owned()));
        assert_eq!(of("/metrics"), None);
    }
}
