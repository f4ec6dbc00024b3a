//! Which addresses to try next, and which are targets: pure, the time is an argument.
//!
//! Ports are swept host by host, one port of a host at a time, until each process that is listed there has its reporter;
//! after a sweep in vain the host is left alone, longer each time. An address becomes a target when a reporter answered
//! there, never before. It ends when it does not answer for [`LET_GO_MS`], or when its process is not listed any more and
//! does not answer, or is not listed for as long.

use std::collections::{BTreeMap, BTreeSet};

use super::page::Reporter;
use super::{Address, Listed};
use crate::config::ReporterAddress;

/// How long a target stays that does not answer, or whose process the cluster does not list: five minutes, as long as a
/// sample is shown.
pub const LET_GO_MS: i64 = 5 * 60_000;

/// The wait after the first sweep of a host that did not find everything; it doubles with each that follows.
const AGAIN_MIN_MS: i64 = 10_000;
/// The longest wait.
const AGAIN_MAX_MS: i64 = 5 * 60_000;

/// A process whose reporter was found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Process {
    Master,
    Manager(String),
    /// Of an address that is configured: whose it is does not matter.
    Any,
}

#[derive(Debug)]
struct Found {
    process: Process,
    down_since_ms: Option<i64>,
    unlisted_since_ms: Option<i64>,
}

/// A host where reporters are looked for.
#[derive(Debug, Default)]
struct Host {
    ports: Vec<u16>,
    /// JobManagers that it has.
    masters: usize,
    /// Any reporter counts, as many as there are.
    is_open: bool,
    sweep: Sweep,
    /// A sweep in vain was told of.
    is_told: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sweep {
    /// The place of the next port in the list.
    next: usize,
    /// Not before this time.
    again_ms: i64,
    /// Sweeps in a row that did not find everything.
    misses: u32,
}

/// The search for the reporters of one cluster.
#[derive(Debug, Default)]
pub struct Search {
    hosts: BTreeMap<String, Host>,
    /// Hosts of the task managers that are listed, by id.
    managers: BTreeMap<String, String>,
    found: BTreeMap<Address, Found>,
    /// Targets whatever they answer.
    fixed: BTreeSet<Address>,
    /// The hosts are those of the configuration, not those that the cluster names.
    is_configured: bool,
    unfound: Vec<String>,
}

impl Search {
    /// Looks for the reporters of the processes that the cluster lists.
    pub fn of_processes() -> Search {
        Search::default()
    }

    /// Looks at these addresses. One with a single port is a target from now on.
    pub fn of_addresses(addresses: &[ReporterAddress]) -> Search {
        let mut search = Search { is_configured: true, ..Search::default() };
        for ReporterAddress { host, ports } in addresses {
            if ports.start() == ports.end() {
                search.fixed.insert(Address { host: host.clone(), port: *ports.start() });
            } else {
                let host = search.hosts.entry(host.clone()).or_default();
                host.is_open = true;
                host.ports.extend(ports.clone());
            }
        }
        search
    }

    /// True if there is something to find although the cluster says nothing.
    pub fn is_configured(&self) -> bool {
        self.is_configured
    }

    /// Takes in what the cluster lists now.
    pub fn listed(&mut self, listed: Listed, now_ms: i64) {
        let is_new = |(id, host): &(&String, &String)| self.managers.get(*id) != Some(*host);
        let grown: BTreeSet<String> = listed.managers.iter().filter(is_new).map(|(_, host)| host.clone()).collect();
        self.managers = listed.managers;
        if self.is_configured {
            if !grown.is_empty() {
                self.hosts.values_mut().for_each(|host| host.sweep = Sweep::default());
            }
            return;
        }
        let mut hosts: BTreeMap<String, Host> = BTreeMap::new();
        for (name, masters) in listed.masters {
            hosts.entry(name).or_default().masters = masters;
        }
        for name in self.managers.values() {
            hosts.entry(name.clone()).or_default();
        }
        for (name, host) in &mut hosts {
            host.ports.clone_from(&listed.ports);
            if let Some(before) = self.hosts.remove(name).filter(|before| before.ports == host.ports) {
                host.is_told = before.is_told;
                host.sweep = if grown.contains(name) { Sweep::default() } else { before.sweep };
            }
        }
        self.hosts = hosts;
        for found in self.found.values_mut() {
            let is_listed = !matches!(&found.process, Process::Manager(id) if !self.managers.contains_key(id));
            found.unlisted_since_ms = if is_listed { None } else { found.unlisted_since_ms.or(Some(now_ms)) };
        }
    }

    /// Takes in how the targets are; of those that are not among them nothing is known.
    pub fn scraped(&mut self, is_up: &BTreeMap<Address, bool>, now_ms: i64) {
        for (address, found) in &mut self.found {
            if is_up.get(address) != Some(&false) {
                found.down_since_ms = None;
            } else if found.down_since_ms.is_none() {
                found.down_since_ms = Some(now_ms);
                // Its process may have taken another port.
                if let Some(host) = self.hosts.get_mut(&address.host) {
                    host.sweep = Sweep::default();
                }
            }
        }
    }

    /// Lets go of targets whose time has passed; gives them.
    pub fn settle(&mut self, now_ms: i64) -> Vec<Address> {
        let is_long_ago = |since: Option<i64>| since.is_some_and(|since_ms| now_ms - since_ms >= LET_GO_MS);
        let gone = |found: &Found| {
            let is_gone = found.unlisted_since_ms.is_some() && found.down_since_ms.is_some();
            is_gone || is_long_ago(found.unlisted_since_ms) || is_long_ago(found.down_since_ms)
        };
        self.found.extract_if(.., |_, found| gone(found)).map(|(address, _)| address).collect()
    }

    /// Targets whose processes are not listed any more, at most half as many: whose they are is to be asked again, and
    /// there must be room for others.
    pub fn doubtful(&self, max: usize) -> Vec<Address> {
        let is_doubtful = |(_, found): &(&Address, &Found)| found.unlisted_since_ms.is_some();
        self.found.iter().filter(is_doubtful).map(|(address, _)| address.clone()).take(max.div_ceil(2)).collect()
    }

    /// The addresses to try next, at most `max` and one of each host; those that are waited for longest first. What they
    /// answer is to be told before this is asked again.
    pub fn wave(&mut self, now_ms: i64, max: usize) -> Vec<Address> {
        let wanting = self.wanting();
        let mut due: Vec<(usize, String)> = Vec::new();
        for name in wanting {
            if let Some(host) = self.hosts.get_mut(&name).filter(|host| host.sweep.again_ms <= now_ms) {
                skip_known(&name, host, &self.found, &self.fixed);
                if host.sweep.next < host.ports.len() {
                    due.push((host.sweep.next, name));
                } else if !host.ports.is_empty() {
                    end_sweep(&mut host.sweep, now_ms);
                    if !host.is_open && !std::mem::replace(&mut host.is_told, true) {
                        self.unfound.push(name);
                    }
                }
            }
        }
        due.sort();
        due.truncate(max);
        let mut wave = Vec::with_capacity(due.len());
        for (next, name) in due {
            if let Some(host) = self.hosts.get_mut(&name)
                && let Some(port) = host.ports.get(next).copied()
            {
                host.sweep.next = next + 1;
                wave.push(Address { host: name, port });
            }
        }
        wave
    }

    /// Takes in whose reporter answered at an address, if one did; true if it is a target from now on that was none.
    pub fn answered(&mut self, address: Address, reporter: Option<Reporter>) -> bool {
        let process = reporter.and_then(|reporter| self.process(&address, reporter));
        let Some(process) = process else {
            // Of one that is a target nobody is there any more, or only who is not listed.
            return false;
        };
        let found = Found { process: process.clone(), down_since_ms: None, unlisted_since_ms: None };
        let is_new = self.found.insert(address.clone(), found).is_none();
        self.moved(&process, &address);
        is_new
    }

    /// A process has its reporter at this address: where it was before it is not any more.
    fn moved(&mut self, process: &Process, to: &Address) {
        let is_before = |(other, found): &(&Address, &Found)| match process {
            Process::Manager(_) => *other != to && found.process == *process,
            Process::Master => other.host == to.host && found.process == *process && !found.is_placed(),
            Process::Any => false,
        };
        let before = self.found.iter().find(is_before).map(|(address, _)| address.clone());
        if let Some(before) = before {
            self.found.remove(&before);
        }
    }

    /// Nobody answered at the address of a target whose process is not listed.
    pub fn is_gone(&mut self, address: &Address) -> bool {
        let is_unlisted = self.found.get(address).is_some_and(|found| found.unlisted_since_ms.is_some());
        is_unlisted && self.found.remove(address).is_some()
    }

    /// The addresses that are scraped.
    pub fn targets(&self) -> BTreeSet<Address> {
        self.found.keys().chain(&self.fixed).cloned().collect()
    }

    /// Hosts of which a first sweep did not find all reporters, since this was asked last.
    pub fn take_unfound(&mut self) -> Vec<String> {
        std::mem::take(&mut self.unfound)
    }

    /// The process that a reporter belongs to; none if it is not listed, or has its reporter elsewhere.
    fn process(&self, address: &Address, reporter: Reporter) -> Option<Process> {
        let host = self.hosts.get(&address.host);
        if self.is_configured {
            return Some(Process::Any);
        }
        let is_free = |process: &Process| {
            !self.found.iter().any(|(other, found)| other != address && found.process == *process && found.is_placed())
        };
        match reporter {
            Reporter::Master => {
                let is_placed = |(other, found): &(&Address, &Found)| {
                    *other != address && other.host == address.host && found.is_master()
                };
                let placed = self.found.iter().filter(is_placed).count();
                host.is_some_and(|host| placed < host.masters).then_some(Process::Master)
            }
            Reporter::Manager(Some(id)) => {
                let process = Process::Manager(id.clone());
                (self.managers.contains_key(&id) && is_free(&process)).then_some(process)
            }
            Reporter::Manager(None) => {
                let here = self.managers.iter().filter(|(_, host)| **host == address.host);
                here.map(|(id, _)| Process::Manager(id.clone())).find(is_free)
            }
        }
    }

    /// Hosts that have processes without a reporter that answers.
    fn wanting(&self) -> BTreeSet<String> {
        let placed = |found: &&Found| found.is_placed();
        let managers: BTreeSet<&str> = self.found.values().filter(placed).filter_map(Found::manager).collect();
        let mut masters: BTreeMap<&str, usize> = BTreeMap::new();
        for (address, _) in self.found.iter().filter(|(_, found)| found.is_master()) {
            *masters.entry(&address.host).or_default() += 1;
        }
        let without = self.managers.iter().filter(|(id, _)| !managers.contains(id.as_str()));
        let has_too_few = |(name, host): &(&String, &Host)| {
            host.is_open || masters.get(name.as_str()).copied().unwrap_or_default() < host.masters
        };
        let others = self.hosts.iter().filter(has_too_few).map(|(name, _)| name.clone());
        without.map(|(_, host)| host.clone()).chain(others).collect()
    }
}

impl Found {
    fn is_placed(&self) -> bool {
        self.down_since_ms.is_none()
    }

    fn is_master(&self) -> bool {
        self.process == Process::Master && self.is_placed()
    }

    fn manager(&self) -> Option<&str> {
        match &self.process {
            Process::Manager(id) => Some(id),
            Process::Master | Process::Any => None,
        }
    }
}

/// Steps over addresses that are targets already.
fn skip_known(name: &str, host: &mut Host, found: &BTreeMap<Address, Found>, fixed: &BTreeSet<Address>) {
    while let Some(port) = host.ports.get(host.sweep.next) {
        let address = Address { host: name.to_owned(), port: *port };
        if !found.contains_key(&address) && !fixed.contains(&address) {
            return;
        }
        host.sweep.next += 1;
    }
}

fn end_sweep(sweep: &mut Sweep, now_ms: i64) {
    let wait_ms = (AGAIN_MIN_MS << sweep.misses.min(16)).min(AGAIN_MAX_MS);
    *sweep = Sweep { next: 0, again_ms: now_ms.saturating_add(wait_ms), misses: sweep.misses.saturating_add(1) };
}

#[cfg(test)]
mod tests;
