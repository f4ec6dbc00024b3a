//! What to ask a cluster as a whole next, and which of its jobs are followed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::convert::{self, JobEntry};
use super::follow::{self, FollowError, Follower, Metrics, Number};
use super::reporters::Sighting;
use crate::jobs::{Cluster, MetricNames, Observation, Origin, Run, Subject, TaskManager};

/// Rounds between two looks at what seldom changes: configuration and version.
const CONFIGURATION_ROUNDS: u64 = 60;

/// Rounds in a row that a list of metrics is asked for while it is empty.
const EMPTY_ROUNDS: u64 = 3;

/// What can be asked of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClusterAsk {
    /// `/jobs/overview`: first, and in every round. Whoever answers it is there.
    Jobs,
    /// `/overview`
    Overview,
    /// `/config`
    Config,
    /// `/jobmanager/config`
    Configuration,
    /// `/taskmanagers`
    TaskManagers,
    /// `/taskmanagers/:taskmanagerid`, when its slots are used otherwise.
    TaskManager(String),
    /// `/jobmanager/metrics`, the names.
    MetricNames,
    /// `/taskmanagers/metrics`, the names, the same for all.
    TaskManagerMetricNames,
    /// `/jobmanager/metrics?get=`, with this list.
    Values(String),
    /// `/taskmanagers/:taskmanagerid/metrics?get=`, with this list.
    TaskManagerValues(String, String),
}

/// What an answer about a cluster says.
#[derive(Debug, Default)]
pub struct ClusterTold {
    /// To record.
    pub observations: Vec<Observation>,
    /// Metrics of the master, or of the task manager that is named.
    pub metrics: Vec<(Option<String>, Number)>,
}

impl ClusterAsk {
    /// The path.
    pub fn path(&self) -> String {
        match self {
            ClusterAsk::Jobs => "/jobs/overview".to_owned(),
            ClusterAsk::Overview => "/overview".to_owned(),
            ClusterAsk::Config => "/config".to_owned(),
            ClusterAsk::Configuration => "/jobmanager/config".to_owned(),
            ClusterAsk::TaskManagers => "/taskmanagers".to_owned(),
            ClusterAsk::TaskManager(id) => format!("/taskmanagers/{}", follow::escaped(id)),
            ClusterAsk::MetricNames => "/jobmanager/metrics".to_owned(),
            ClusterAsk::TaskManagerMetricNames => "/taskmanagers/metrics".to_owned(),
            ClusterAsk::Values(list) => format!("/jobmanager/metrics?get={list}"),
            ClusterAsk::TaskManagerValues(id, list) => {
                format!("/taskmanagers/{}/metrics?get={list}", follow::escaped(id))
            }
        }
    }
}

/// The key of the names of the master's metrics.
const MASTER: &str = "";
/// The key of the names of task managers' metrics.
const TASK_MANAGERS: &str = "taskmanagers";

/// What the store has of a cluster from before this process began.
#[derive(Debug, Default)]
pub struct Recalled {
    /// The cluster, as it was last.
    pub cluster: Option<Cluster>,
    /// Jobs that had neither ended nor been lost.
    pub runs: Vec<(String, Run)>,
    /// Ids of task managers.
    pub task_managers: Vec<String>,
}

/// A cluster that is followed.
#[derive(Debug)]
pub struct FollowedCluster {
    subject: Subject,
    metrics: Metrics,
    wanted: BTreeSet<ClusterAsk>,
    /// Answers that make one document together.
    parts: BTreeMap<ClusterAsk, Value>,
    known: Option<Cluster>,
    /// False if `known` may not be in the store.
    is_recorded: bool,
    /// Task managers that are in the store, and what is there of them if it was written by this process.
    task_managers: BTreeMap<String, Option<TaskManager>>,
    /// Addresses of the task managers that were listed last, whether or not they could be recorded.
    listed: BTreeMap<String, Option<String>>,
    /// Metric ids of the master and of task managers, as pieces of a list; only where numbers come from the REST API.
    lists: BTreeMap<&'static str, Vec<String>>,
    jobs: BTreeMap<String, Follower>,
    /// Jobs that were followed before this process began, and that nobody has seen end.
    recalled: BTreeMap<String, Run>,
    /// Jobs that are followed since the last list.
    fresh: Vec<String>,
    /// Wanted in the next round.
    later: BTreeSet<ClusterAsk>,
    round: u64,
}

impl FollowedCluster {
    /// Begins to follow; [`FollowedCluster::begin`] comes next.
    pub fn new(
        org: impl Into<String>,
        name: impl Into<String>,
        metrics: Metrics,
        recalled: Recalled,
    ) -> FollowedCluster {
        FollowedCluster {
            subject: Subject::cluster(org, name),
            metrics,
            wanted: BTreeSet::new(),
            parts: BTreeMap::new(),
            is_recorded: recalled.cluster.is_some(),
            known: recalled.cluster,
            task_managers: recalled.task_managers.into_iter().map(|id| (id, None)).collect(),
            listed: BTreeMap::new(),
            lists: BTreeMap::new(),
            jobs: BTreeMap::new(),
            recalled: recalled.runs.into_iter().collect(),
            fresh: Vec::new(),
            later: BTreeSet::new(),
            round: 0,
        }
    }

    /// Who it is in the store.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Begins a round.
    pub fn begin(&mut self) {
        self.wanted.extend([ClusterAsk::Jobs, ClusterAsk::TaskManagers]);
        self.wanted.append(&mut self.later);
        let is_known = self.is_recorded && self.known.as_ref().is_some_and(|cluster| cluster.is_reachable);
        if !is_known || self.round.is_multiple_of(CONFIGURATION_ROUNDS) {
            self.wanted.extend([ClusterAsk::Overview, ClusterAsk::Config, ClusterAsk::Configuration]);
            self.wanted.extend([ClusterAsk::MetricNames, ClusterAsk::TaskManagerMetricNames]);
        }
        self.round += 1;
        let lists = |of: &'static str| self.lists.get(of).into_iter().flatten();
        self.wanted.extend(lists(MASTER).map(|list| ClusterAsk::Values(list.clone())));
        for id in self.task_managers.keys() {
            let ask = |list: &String| ClusterAsk::TaskManagerValues(id.clone(), list.clone());
            self.wanted.extend(lists(TASK_MANAGERS).map(ask));
        }
    }

    /// The next question of the round.
    pub fn take(&mut self) -> Option<ClusterAsk> {
        self.wanted.pop_first()
    }

    /// The jobs that have something to be asked for.
    pub fn jobs(&mut self) -> impl Iterator<Item = (&String, &mut Follower)> {
        self.jobs.iter_mut()
    }

    /// One job that is followed.
    pub fn job(&mut self, id: &str) -> Option<&mut Follower> {
        self.jobs.get_mut(id)
    }

    /// Follows a job no more; if the cluster still has it, it is followed anew from the next list on.
    pub fn forget(&mut self, id: &str) {
        self.jobs.remove(id);
    }

    /// What was told of the cluster could not be written down: it is asked for everything again.
    pub fn forget_cluster(&mut self) {
        self.is_recorded = false;
        self.task_managers.values_mut().for_each(|manager| *manager = None);
    }

    /// The jobs that are followed since this was asked last.
    pub fn take_fresh(&mut self) -> Vec<String> {
        std::mem::take(&mut self.fresh)
    }

    /// What is known of its processes since the JobManager at `url` answered; none before its configuration is known.
    pub fn sighting(&self, url: &str) -> Option<Sighting> {
        let known = self.known.as_ref().filter(|cluster| cluster.is_reachable)?;
        Some(Sighting {
            url: url.to_owned(),
            configuration: known.configuration.clone(),
            managers: self.listed.clone().into_iter().collect(),
        })
    }

    fn observation(&self, at_ms: i64) -> Observation {
        Observation::new(self.subject.clone(), Origin::Flink, at_ms)
    }

    /// Nobody answers any more: what is to be recorded, once.
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn lost(&mut self, at_ms: i64) -> Result<Option<Observation>, FollowError> {
        self.wanted.clear();
        self.parts.clear();
        self.later.clear();
        // One that was never reached is no less lost: its jobs may be in the store from before.
        if self.is_recorded && self.known.as_ref().is_some_and(|cluster| !cluster.is_reachable) {
            return Ok(None);
        }
        let lost = Cluster { is_reachable: false, ..self.known.clone().unwrap_or_default() };
        let mut seen = self.observation(at_ms);
        seen.put(&lost)?;
        self.known = Some(lost);
        self.is_recorded = true;
        Ok(Some(seen))
    }

    /// Takes an answer with status 200 in, and gives what is to be recorded.
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn answered(&mut self, ask: &ClusterAsk, answer: Value, at_ms: i64) -> Result<ClusterTold, FollowError> {
        let mut told = ClusterTold::default();
        let mut seen = self.observation(at_ms);
        match ask {
            ClusterAsk::Jobs => told.observations = self.listed(&answer, at_ms)?,
            ClusterAsk::Overview | ClusterAsk::Config | ClusterAsk::Configuration => {
                self.parts.insert(ask.clone(), answer);
                self.whole(&mut seen)?;
            }
            ClusterAsk::TaskManagers => self.managers(&answer, &mut seen)?,
            ClusterAsk::TaskManager(_) => {
                let manager = convert::task_manager(&answer)?;
                seen.put(&manager)?;
                self.task_managers.insert(manager.id.clone(), Some(manager));
            }
            ClusterAsk::MetricNames => self.metric_names(ask, MASTER, &answer, &mut seen)?,
            ClusterAsk::TaskManagerMetricNames => self.metric_names(ask, TASK_MANAGERS, &answer, &mut seen)?,
            ClusterAsk::Values(_) => {
                told.metrics = follow::numbers(None, &answer).into_iter().map(|number| (None, number)).collect();
            }
            ClusterAsk::TaskManagerValues(id, _) => {
                let numbers = follow::numbers(None, &answer).into_iter();
                told.metrics = numbers.map(|number| (Some(id.clone()), number)).collect();
            }
        }
        told.observations.extend(Some(seen).filter(|seen| !seen.is_empty()));
        Ok(told)
    }

    /// Nothing is said by an empty list: the cluster begins to look only when it is asked.
    fn metric_names(
        &mut self,
        ask: &ClusterAsk,
        of: &'static str,
        answer: &Value,
        seen: &mut Observation,
    ) -> Result<(), FollowError> {
        let listed = answer.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut names: Vec<String> = listed.iter().filter_map(|name| Some(name["id"].as_str()?.to_owned())).collect();
        if names.is_empty() {
            // The round has been counted when it began.
            if (1..=EMPTY_ROUNDS).contains(&(self.round % CONFIGURATION_ROUNDS)) {
                self.later.insert(ask.clone());
            }
            return Ok(());
        }
        names.sort_unstable();
        if self.metrics == Metrics::Rest {
            self.lists.insert(of, follow::pieces(names.iter().cloned()));
        }
        seen.put(&MetricNames { of: of.to_owned(), names })?;
        Ok(())
    }

    /// The document of the cluster, when all its parts are there.
    fn whole(&mut self, seen: &mut Observation) -> Result<(), FollowError> {
        let part = |ask| self.parts.get(&ask);
        let parts = (part(ClusterAsk::Config), part(ClusterAsk::Overview), part(ClusterAsk::Configuration));
        let (Some(config), Some(overview), Some(configuration)) = parts else { return Ok(()) };
        let cluster = convert::cluster(config, overview, configuration)?;
        seen.put(&cluster)?;
        self.parts.clear();
        self.known = Some(cluster);
        self.is_recorded = true;
        Ok(())
    }

    /// Details are asked for of a task manager whose entry in the list has changed; one that is not listed is gone.
    fn managers(&mut self, answer: &Value, seen: &mut Observation) -> Result<(), FollowError> {
        let mut gone: BTreeSet<String> = self.task_managers.keys().cloned().collect();
        let managers = convert::task_managers(answer)?;
        self.listed = managers.iter().map(|manager| (manager.id.clone(), manager.path.clone())).collect();
        for listed in managers {
            gone.remove(&listed.id);
            let known = self.task_managers.get(&listed.id).and_then(Option::as_ref);
            if known.is_some_and(|known| is_same(known, &listed)) {
                continue;
            }
            self.wanted.insert(ClusterAsk::TaskManager(listed.id.clone()));
            seen.put(&listed)?;
            self.task_managers.insert(listed.id.clone(), Some(listed));
        }
        for id in gone {
            self.task_managers.remove(&id);
            seen.withdraw::<TaskManager>(id);
        }
        Ok(())
    }

    fn listed(&mut self, answer: &Value, at_ms: i64) -> Result<Vec<Observation>, FollowError> {
        let entries: BTreeMap<String, JobEntry> =
            convert::job_entries(answer)?.into_iter().map(|entry| (entry.id.clone(), entry)).collect();
        let mut observations = Vec::new();
        for (id, follower) in &mut self.jobs {
            if !entries.contains_key(id) {
                observations.extend(follower.lost(at_ms)?);
            }
        }
        self.jobs.retain(|id, _| entries.contains_key(id));
        let mut recalled = std::mem::take(&mut self.recalled);
        for (id, run) in &mut recalled {
            if !entries.contains_key(id) {
                run.lost_ms = Some(at_ms);
                let subject = Subject::job(&self.subject.org, id.as_str());
                let mut seen = Observation::new(subject, Origin::Flink, at_ms).in_cluster(&self.subject.id);
                seen.put(&*run)?;
                observations.push(seen);
            }
        }
        for (id, entry) in entries {
            if let Some(follower) = self.jobs.get_mut(&id) {
                follower.begin(entry);
            } else {
                let subject = Subject::job(&self.subject.org, &id);
                let mut follower = Follower::new(subject, &self.subject.id, self.metrics, entry);
                if let Some(run) = recalled.remove(&id) {
                    follower.recall_run(run);
                }
                self.fresh.push(id.clone());
                self.jobs.insert(id, follower);
            }
        }
        Ok(observations)
    }
}

/// True if the list says nothing new of a task manager whose details are known: the list does not say what slots are
/// used for.
fn is_same(known: &TaskManager, listed: &TaskManager) -> bool {
    let mut known = known.clone();
    known.kept.0.remove("allocatedSlots");
    known == *listed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jobs::JobState;

    fn cluster(runs: Vec<(String, Run)>) -> FollowedCluster {
        FollowedCluster::new("", "main", Metrics::Scrape, Recalled { runs, ..Recalled::default() })
    }

    fn jobs(ids: &[&str]) -> Value {
        let job = |id: &&str| json!({"jid": id, "state": "RUNNING", "last-modification": 1, "tasks": {"running": 1}});
        json!({"jobs": ids.iter().map(job).collect::<Vec<_>>()})
    }

    fn managers(free_slots: i64) -> Value {
        json!({"taskmanagers": [{"id": "tm", "slotsNumber": 2, "freeSlots": free_slots, "hardware": {}}]})
    }

    fn all(cluster: &mut FollowedCluster) -> Vec<ClusterAsk> {
        cluster.begin();
        std::iter::from_fn(|| cluster.take()).collect()
    }

    /// How many observations there are to record.
    fn told(told: Result<ClusterTold, FollowError>) -> usize {
        told.unwrap().observations.len()
    }

    #[test]
    fn numbers_are_asked_for_where_nobody_scrapes() {
        let names = json!([{"id": "a"}, {"id": "b.c"}]);
        let mut scraped = cluster(Vec::new());
        scraped.answered(&ClusterAsk::MetricNames, names.clone(), 1).unwrap();
        assert!(!all(&mut scraped).iter().any(|ask| matches!(ask, ClusterAsk::Values(_))));
        let mut cluster = FollowedCluster::new("", "main", Metrics::Rest, Recalled::default());
        cluster.answered(&ClusterAsk::TaskManagers, managers(1), 1).unwrap();
        cluster.answered(&ClusterAsk::MetricNames, names.clone(), 1).unwrap();
        cluster.answered(&ClusterAsk::TaskManagerMetricNames, names, 1).unwrap();
        let asks = all(&mut cluster);
        let list = "a,b.c".to_owned();
        let of_manager = ClusterAsk::TaskManagerValues("tm".to_owned(), list.clone());
        assert!(asks.contains(&ClusterAsk::Values(list)) && asks.contains(&of_manager));
        let told = cluster.answered(&of_manager, json!([{"id": "b.c", "value": "2.5"}]), 1).unwrap();
        assert_eq!((told.metrics[0].0.as_deref(), told.metrics[0].1.value), (Some("tm"), 2.5));
    }

    #[test]
    fn what_seldom_changes_is_seldom_asked_for() {
        let mut cluster = cluster(Vec::new());
        assert_eq!(all(&mut cluster).len(), 7);
        let parts = [
            (ClusterAsk::Overview, json!({"flink-version": "2.3.0"})),
            (ClusterAsk::Config, json!({"refresh-interval": 3000})),
            (ClusterAsk::Configuration, json!([{"key": "a", "value": "b"}])),
        ];
        let counts: Vec<usize> =
            parts.into_iter().map(|(ask, answer)| told(cluster.answered(&ask, answer, 1))).collect();
        assert_eq!(counts, [0, 0, 1], "one document of three answers");
        for _ in 1..CONFIGURATION_ROUNDS {
            assert_eq!(all(&mut cluster), [ClusterAsk::Jobs, ClusterAsk::TaskManagers]);
        }
        assert_eq!(all(&mut cluster).len(), 7);
    }

    #[test]
    fn a_cluster_is_lost_once_and_asked_for_everything_when_it_is_back() {
        let mut cluster = cluster(Vec::new());
        assert!(cluster.lost(1).unwrap().is_some(), "also one that never answered");
        assert!(cluster.lost(2).unwrap().is_none());
        assert!(all(&mut cluster).contains(&ClusterAsk::Config));
        cluster.forget_cluster();
        assert!(cluster.lost(3).unwrap().is_some(), "what could not be recorded is to be recorded again");
    }

    #[test]
    fn a_cluster_that_is_gone_before_this_process_began_stays_what_it_was() {
        let known = Cluster { is_reachable: true, version: Some("2.3.0".to_owned()), ..Cluster::default() };
        let follow = |known: &Cluster| {
            let recalled = Recalled { cluster: Some(known.clone()), ..Recalled::default() };
            FollowedCluster::new("", "main", Metrics::Scrape, recalled)
        };
        let mut cluster = follow(&known);
        assert!(all(&mut cluster).contains(&ClusterAsk::Config), "it may be another by now");
        assert!(cluster.lost(1).unwrap().is_some());
        let lost = Cluster { is_reachable: false, ..known };
        assert_eq!(cluster.known.as_ref(), Some(&lost));
        assert!(follow(&lost).lost(2).unwrap().is_none(), "since when it is lost stays known");
    }

    #[test]
    fn an_empty_list_of_metrics_is_asked_for_some_rounds_more() {
        let mut cluster = cluster(Vec::new());
        let asked = |cluster: &mut FollowedCluster| {
            let is_asked = all(cluster).contains(&ClusterAsk::MetricNames);
            cluster.answered(&ClusterAsk::MetricNames, json!([]), 1).unwrap();
            is_asked
        };
        cluster.known = Some(Cluster { is_reachable: true, ..Cluster::default() });
        cluster.is_recorded = true;
        let rounds: Vec<bool> = (0..6).map(|_| asked(&mut cluster)).collect();
        assert_eq!(rounds, [true, true, true, true, false, false]);
        for _ in 6..=CONFIGURATION_ROUNDS {
            all(&mut cluster);
        }
        cluster.answered(&ClusterAsk::MetricNames, json!([{"id": "a"}]), 1).unwrap();
        assert!(!all(&mut cluster).contains(&ClusterAsk::MetricNames));
    }

    #[test]
    fn processes_are_seen_when_the_configuration_is_known_also_if_nothing_can_be_recorded() {
        let mut cluster = cluster(Vec::new());
        let mut listed = managers(1);
        listed["taskmanagers"][0]["path"] = json!("pekko.tcp://flink@h:1/user/rpc/taskmanager_0");
        cluster.answered(&ClusterAsk::TaskManagers, listed, 1).unwrap();
        assert_eq!(cluster.sighting("http://jm"), None);
        for (ask, answer) in [
            (ClusterAsk::Overview, json!({"flink-version": "2.3.0"})),
            (ClusterAsk::Config, json!({})),
            (ClusterAsk::Configuration, json!([{"key": "a", "value": "b"}])),
        ] {
            cluster.answered(&ask, answer, 1).unwrap();
        }
        let path = Some("pekko.tcp://flink@h:1/user/rpc/taskmanager_0".to_owned());
        let seen = Sighting {
            url: "http://jm".to_owned(),
            configuration: vec![("a".to_owned(), "b".to_owned())],
            managers: vec![("tm".to_owned(), path)],
        };
        assert_eq!(cluster.sighting("http://jm"), Some(seen.clone()));
        cluster.forget_cluster();
        assert_eq!(cluster.sighting("http://jm"), Some(seen));
        cluster.lost(2).unwrap();
        assert_eq!(cluster.sighting("http://jm"), None);
    }

    #[test]
    fn jobs_that_are_not_listed_any_more_are_lost_also_those_from_before() {
        let run = crate::flink::convert::job(
            &json!({
                "name": "n", "state": "RUNNING", "start-time": 1, "timestamps": {}, "vertices": [], "plan": {"nodes": []},
            }),
            &JobEntry { id: "old".to_owned(), state: JobState::Running, changed_ms: 1, tasks: BTreeMap::new() },
        );
        let run = run.unwrap().run;
        let mut cluster = cluster(vec![("old".to_owned(), run.clone()), ("a".to_owned(), run)]);
        assert_eq!(told(cluster.answered(&ClusterAsk::Jobs, jobs(&["a", "b"]), 5)), 1, "the old one");
        assert_eq!(cluster.jobs().count(), 2);
        let gone = told(cluster.answered(&ClusterAsk::Jobs, jobs(&["b"]), 6));
        assert_eq!(gone, 1, "the one that was known from before and is gone now");
        assert_eq!(cluster.jobs().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn task_managers_are_looked_at_when_their_slots_change() {
        let mut cluster = cluster(Vec::new());
        let details = ClusterAsk::TaskManager("tm".to_owned());
        assert_eq!(told(cluster.answered(&ClusterAsk::TaskManagers, managers(1), 1)), 1);
        assert_eq!(cluster.take(), Some(details.clone()));
        let mut answer = managers(1)["taskmanagers"][0].clone();
        answer["allocatedSlots"] = json!([{"jobId": "j"}]);
        cluster.answered(&details, answer, 1).unwrap();
        assert_eq!(told(cluster.answered(&ClusterAsk::TaskManagers, managers(1), 2)), 0);
        assert_eq!(cluster.take(), None);
        cluster.answered(&ClusterAsk::TaskManagers, managers(0), 3).unwrap();
        assert_eq!(cluster.take(), Some(details));
        assert_eq!(told(cluster.answered(&ClusterAsk::TaskManagers, json!({"taskmanagers": []}), 4)), 1, "it is gone");
        let recalled = Recalled { task_managers: vec!["before".to_owned()], ..Recalled::default() };
        let mut cluster = FollowedCluster::new("", "main", Metrics::Scrape, recalled);
        let gone = told(cluster.answered(&ClusterAsk::TaskManagers, json!({"taskmanagers": []}), 4));
        assert_eq!(gone, 1, "also one from before");
    }
}
