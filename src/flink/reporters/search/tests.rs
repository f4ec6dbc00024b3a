//! Clusters that list processes, ports that answer, and what becomes a target of it.

use super::*;

/// A cluster with reporters that a test can start and end.
struct Scene {
    search: Search,
    /// Who answers where.
    pages: BTreeMap<Address, Reporter>,
    now_ms: i64,
    /// Everything that was tried.
    tried: Vec<String>,
}

fn at(text: &str) -> Address {
    let (host, port) = text.rsplit_once(':').unwrap();
    Address { host: host.to_owned(), port: port.parse().unwrap() }
}

fn manager(id: &str) -> Reporter {
    Reporter::Manager(Some(id.to_owned()))
}

fn listed(ports: impl IntoIterator<Item = u16>, managers: &[(&str, &str)]) -> Listed {
    Listed {
        ports: ports.into_iter().collect(),
        masters: BTreeMap::from([("jm".to_owned(), 1)]),
        managers: managers.iter().map(|(id, host)| ((*id).to_owned(), (*host).to_owned())).collect(),
        left_out: 0,
    }
}

impl Scene {
    fn new(search: Search) -> Scene {
        Scene { search, pages: BTreeMap::new(), now_ms: 0, tried: Vec::new() }
    }

    /// The TaskManager `a`, whose reporter at `h:1` is a target.
    fn with_one_found() -> Scene {
        let mut scene = Scene::new(Search::of_processes());
        scene.search.listed(listed([1], &[("a", "h")]), 0);
        scene.answers("h:1", manager("a"));
        scene.round(100);
        scene
    }

    fn answers(&mut self, address: &str, reporter: Reporter) {
        self.pages.insert(at(address), reporter);
    }

    /// As the collector's task does it, with at most so many probes; what is tried, in order.
    fn round(&mut self, max: usize) -> Vec<String> {
        let up: BTreeMap<Address, bool> =
            self.search.targets().into_iter().map(|a| (a.clone(), self.pages.contains_key(&a))).collect();
        self.search.scraped(&up, self.now_ms);
        self.search.settle(self.now_ms);
        let (before, mut left) = (self.tried.len(), max);
        let mut wave = self.search.doubtful(left);
        loop {
            left -= wave.len();
            for address in wave {
                self.tried.push(address.to_string());
                let reporter = self.pages.get(&address).cloned();
                if reporter.is_none() {
                    self.search.is_gone(&address);
                }
                self.search.answered(address, reporter);
            }
            wave = if left == 0 { Vec::new() } else { self.search.wave(self.now_ms, left) };
            if wave.is_empty() {
                return self.tried[before..].to_vec();
            }
        }
    }

    fn targets(&self) -> Vec<String> {
        self.search.targets().iter().map(ToString::to_string).collect()
    }
}

#[test]
fn ports_are_tried_until_each_process_has_its_reporter() {
    let mut scene = Scene::new(Search::of_processes());
    scene.search.listed(listed(9250..=9260, &[("a", "h"), ("b", "h")]), 0);
    scene.answers("jm:9250", Reporter::Master);
    scene.answers("h:9251", manager("b"));
    scene.answers("h:9252", manager("a"));
    let tried = scene.round(100);
    assert_eq!(tried, ["h:9250", "jm:9250", "h:9251", "h:9252"], "and none beyond");
    assert_eq!(scene.targets(), ["h:9251", "h:9252", "jm:9250"], "what never answered is none");
    scene.now_ms += 10_000;
    assert_eq!(scene.round(100), Vec::<String>::new(), "nothing is left to find");
}

#[test]
fn a_round_tries_at_most_so_many_and_the_others_come_next() {
    let hosts: Vec<String> = (0..5).map(|i| format!("h{i}")).collect();
    let managers: Vec<(&str, &str)> = hosts.iter().map(|host| (host.as_str(), host.as_str())).collect();
    let mut scene = Scene::new(Search::of_processes());
    scene.search.listed(Listed { masters: BTreeMap::new(), ..listed([1, 2], &managers) }, 0);
    assert_eq!(scene.round(4), ["h0:1", "h1:1", "h2:1", "h3:1"]);
    assert_eq!(scene.round(4), ["h4:1", "h0:2", "h1:2", "h2:2"], "whoever waits longest first");
    let mut all = Scene::new(Search::of_processes());
    all.search.listed(Listed { masters: BTreeMap::new(), ..listed([1, 2], &managers) }, 0);
    assert_eq!(all.round(10).len(), 10, "as many as there are");
    all.search.listed(Listed { masters: BTreeMap::new(), ..listed([3], &managers) }, 0);
    assert_eq!(all.round(5).len(), 5, "other ports are tried at once");
}

#[test]
fn a_host_without_reporters_is_tried_later_and_later() {
    let mut scene = Scene::new(Search::of_processes());
    scene.search.listed(listed([1, 2], &[]), 0);
    assert_eq!(scene.round(100), ["jm:1", "jm:2"]);
    assert_eq!(scene.search.take_unfound(), ["jm"]);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let since = scene.now_ms;
        while scene.round(100).is_empty() {
            scene.now_ms += 1000;
        }
        waits.push((scene.now_ms - since) / 1000);
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300]);
    assert!(scene.search.take_unfound().is_empty(), "said once");
    // A process that was not there before is looked for at once.
    scene.search.listed(listed([1, 2], &[("a", "jm")]), scene.now_ms);
    assert_eq!(scene.round(100), ["jm:1", "jm:2"]);
}

#[test]
fn a_reporter_of_nobody_who_is_listed_is_no_target() {
    let mut scene = Scene::new(Search::of_processes());
    scene.search.listed(listed([1, 2, 3, 4], &[("a", "h")]), 0);
    scene.answers("h:1", manager("another_cluster"));
    scene.answers("h:2", Reporter::Master);
    scene.answers("h:3", manager("a"));
    scene.answers("jm:1", Reporter::Master);
    scene.answers("jm:2", Reporter::Master);
    scene.round(100);
    assert_eq!(scene.targets(), ["h:3", "jm:1"], "one JobManager where one is");
    // Without ids, as many as the host has.
    let mut scene = Scene::new(Search::of_processes());
    scene.search.listed(listed([1, 2, 3], &[("a", "h"), ("b", "h")]), 0);
    (1..=3).for_each(|port| scene.answers(&format!("h:{port}"), Reporter::Manager(None)));
    scene.round(100);
    assert_eq!(scene.targets(), ["h:1", "h:2"]);
}

#[test]
fn a_target_that_does_not_answer_stays_for_a_time() {
    let mut scene = Scene::with_one_found();
    scene.pages.clear();
    scene.round(100);
    scene.now_ms = LET_GO_MS - 1;
    scene.round(100);
    assert_eq!(scene.targets(), ["h:1"]);
    scene.now_ms = LET_GO_MS;
    scene.round(100);
    assert_eq!(scene.targets(), Vec::<String>::new());
    // What answers in between begins anew.
    scene.answers("h:1", manager("a"));
    scene.now_ms += AGAIN_MAX_MS;
    scene.round(100);
    assert_eq!(scene.targets(), ["h:1"]);
}

#[test]
fn a_target_whose_process_is_gone_ends_at_once_if_nobody_answers() {
    let mut scene = Scene::with_one_found();
    scene.search.listed(listed([1], &[]), 1);
    assert_eq!(scene.round(100), ["h:1"], "whose it is now");
    assert_eq!(scene.targets(), ["h:1"], "it still answers: the JobManager may be new");
    scene.search.listed(listed([1], &[("a", "h")]), 2);
    assert_eq!(scene.round(100), Vec::<String>::new());
    scene.search.listed(listed([1], &[]), 3);
    scene.now_ms = 3 + LET_GO_MS;
    scene.round(100);
    assert_eq!(scene.targets(), Vec::<String>::new(), "it was not listed for too long");
    scene.search.listed(listed([1], &[("a", "h")]), 4 + LET_GO_MS);
    scene.round(100);
    assert_eq!(scene.targets(), ["h:1"]);
    scene.search.listed(listed([1], &[]), 5 + LET_GO_MS);
    scene.pages.clear();
    scene.round(100);
    assert_eq!(scene.targets(), Vec::<String>::new());
}

#[test]
fn whoever_is_not_listed_leaves_room_for_whoever_is() {
    let hosts: Vec<String> = (0..5).map(|i| format!("h{i}")).collect();
    let managers: Vec<(&str, &str)> = hosts.iter().map(|host| (host.as_str(), host.as_str())).collect();
    let mut scene = Scene::new(Search::of_processes());
    scene.search.listed(listed([1], &managers), 0);
    hosts.iter().for_each(|host| scene.answers(&format!("{host}:1"), manager(host)));
    scene.round(100);
    scene.search.listed(listed([1], &[("new", "h9")]), 1);
    assert_eq!(scene.round(4), ["h0:1", "h1:1", "h9:1"]);
    assert_eq!(scene.round(5)[..3], ["h0:1", "h1:1", "h2:1"]);
}

#[test]
fn whoever_takes_the_place_of_a_process_takes_its_target() {
    let mut scene = Scene::new(Search::of_processes());
    scene.search.listed(listed([1, 2], &[("a", "h")]), 0);
    scene.answers("h:1", manager("a"));
    scene.answers("jm:1", Reporter::Master);
    scene.round(100);
    // Another process on the same port: the target goes on.
    scene.search.listed(listed([1, 2], &[("b", "h")]), 1);
    scene.answers("h:1", manager("b"));
    scene.round(100);
    assert_eq!(scene.targets(), ["h:1", "jm:1"]);
    assert!(scene.search.doubtful(1).is_empty());
    // The same process, started again on another port.
    scene.pages.clear();
    scene.answers("h:2", manager("b"));
    scene.answers("jm:2", Reporter::Master);
    scene.round(100);
    assert_eq!(scene.targets(), ["h:2", "jm:2"]);
}

#[test]
fn configured_addresses_need_no_cluster() {
    let addresses = ["nat:9250", "[::1]:9250-9252"].map(|text| ReporterAddress::parse(text).unwrap());
    let mut scene = Scene::new(Search::of_addresses(&addresses));
    assert!(scene.search.is_configured());
    assert_eq!(scene.targets(), ["nat:9250"], "one port is a target before it answers");
    scene.answers("[::1]:9251", manager("whoever"));
    scene.answers("[::1]:9252", Reporter::Master);
    assert_eq!(scene.round(100), ["[::1]:9250", "[::1]:9251", "[::1]:9252"]);
    assert_eq!(scene.targets(), ["[::1]:9251", "[::1]:9252", "nat:9250"]);
    // What the cluster names is not asked.
    scene.search.listed(listed([1], &[("a", "h")]), 0);
    assert_eq!(scene.round(100), ["[::1]:9250"], "but it has grown");
    scene.pages.clear();
    scene.round(100);
    scene.now_ms = LET_GO_MS;
    scene.round(100);
    assert_eq!(scene.targets(), ["nat:9250"]);
}
