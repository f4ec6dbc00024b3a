//! Which addresses the scrape configuration has already: the samples of a reporter that is scraped twice would count
//! twice.
//!
//! A configuration calls a machine by one name, and the cluster by another: two addresses are the same if their ports are
//! and their hosts lead to a common IP address. Names are looked up only where the ports agree, and seldom.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{Address, host};
use crate::scrape::client::look_up;

/// Most names that are looked up at the same time; others wait for the next round.
const NAMES_MAX: usize = 256;

/// How long what a name leads to is taken to be true.
const KNOWN_FOR: Duration = Duration::from_secs(300);

/// Longest time that all names of one round may take together.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What names of hosts lead to.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<String, (Instant, Vec<IpAddr>)>,
}

impl Names {
    /// Those of the targets that are the same as one of the others.
    pub(super) async fn among(&mut self, targets: &BTreeSet<Address>, others: &BTreeSet<Address>) -> BTreeSet<Address> {
        let mut by_port: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
        for other in others {
            by_port.entry(other.port).or_default().push(&other.host);
        }
        let doubtful: Vec<(&Address, &Vec<&str>)> =
            targets.iter().filter_map(|target| Some((target, by_port.get(&target.port)?))).collect();
        let names: HashSet<&str> =
            doubtful.iter().flat_map(|(target, hosts)| hosts.iter().copied().chain([target.host.as_str()])).collect();
        self.look_up(&names).await;
        let is_taken =
            |(target, hosts): &(&Address, &Vec<&str>)| hosts.iter().any(|other| self.is_same(&target.host, other));
        doubtful.into_iter().filter(is_taken).map(|(target, _)| target.clone()).collect()
    }

    async fn look_up(&mut self, names: &HashSet<&str>) {
        self.known.retain(|name, (since, _)| names.contains(name.as_str()) && since.elapsed() < KNOWN_FOR);
        let mut looking = JoinSet::new();
        for name in self.unknown(names) {
            // Until it is known otherwise, also where the resolver hangs: that must not hold us up each time.
            self.known.insert(name.clone(), (Instant::now(), Vec::new()));
            looking.spawn(async move { (look_up(&name, 0).await, name) });
        }
        let all = async {
            while let Some(looked_up) = looking.join_next().await {
                let (found, name) = match looked_up {
                    Ok(found) => found,
                    // It goes on in the task that waits, whose supervision counts it.
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => continue,
                };
                // A name that leads nowhere is not the same as anything.
                let ips = found.unwrap_or_default().into_iter().map(|address| address.ip().to_canonical()).collect();
                self.known.insert(name, (Instant::now(), ips));
            }
        };
        let _ = tokio::time::timeout(TIMEOUT, all).await;
    }

    /// Names to look up now.
    fn unknown(&self, names: &HashSet<&str>) -> Vec<String> {
        let is_unknown = |name: &&&str| ips(name).is_none() && !self.known.contains_key(**name);
        names.iter().filter(is_unknown).take(NAMES_MAX).map(|name| (*name).to_owned()).collect()
    }

    fn is_same(&self, one: &str, other: &str) -> bool {
        let (ones, others) = (self.of(one), self.of(other));
        one == other || ones.iter().any(|ip| others.contains(ip))
    }

    /// Where a name leads, as far as is known; loopback is one address.
    fn of(&self, name: &str) -> Vec<IpAddr> {
        let found = ips(name).or_else(|| self.known.get(name).map(|(_, ips)| ips.clone())).unwrap_or_default();
        found.into_iter().map(|ip| if ip.is_loopback() { Ipv4Addr::LOCALHOST.into() } else { ip }).collect()
    }
}

/// What a host that needs no look-up leads to.
fn ips(name: &str) -> Option<Vec<IpAddr>> {
    if host::is_loopback(name) {
        return Some(vec![Ipv4Addr::LOCALHOST.into()]);
    }
    host::ip(name).map(|ip| vec![ip])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> BTreeSet<Address> {
        let of = |text: &&str| Address::of_url(&format!("http://{text}/metrics")).unwrap();
        texts.iter().map(of).collect()
    }

    #[tokio::test]
    async fn an_address_is_the_same_under_another_name() {
        let mut names = Names::default();
        let ips = vec!["10.0.0.7".parse().unwrap()];
        names.known.insert("node-7".to_owned(), (Instant::now(), ips));
        names.known.insert("gone".to_owned(), (Instant::now(), Vec::new()));
        let targets = ["10.0.0.7:1", "10.0.0.7:2", "127.0.0.1:1", "127.0.0.1:2", "h:3", "gone:4", "[fd00::1]:5"];
        let others = ["node-7:1", "localhost:1", "[::1]:9", "h:3", "10.0.0.8:2", "10.0.0.9:4", "[fd00:0::1]:5"];
        let same = names.among(&addresses(&targets), &addresses(&others)).await;
        assert_eq!(same, addresses(&["10.0.0.7:1", "127.0.0.1:1", "h:3", "[fd00::1]:5"]));
        assert_eq!(names.among(&addresses(&targets), &BTreeSet::new()).await, BTreeSet::new());
        assert!(names.known.is_empty(), "names that nobody asks for are forgotten");
    }

    #[test]
    fn names_are_looked_up_up_to_a_limit() {
        let unknown = |count: usize| {
            let names: Vec<String> = (0..count).map(|i| format!("node-{i}")).collect();
            let all: HashSet<&str> = names.iter().map(String::as_str).chain(["127.0.0.1", "localhost"]).collect();
            Names::default().unknown(&all).len()
        };
        assert_eq!((unknown(NAMES_MAX), unknown(NAMES_MAX + 1)), (NAMES_MAX, NAMES_MAX));
    }
}
