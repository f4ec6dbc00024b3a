//! What to ask a cluster as a whole next, and which of its jobs are followed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::convert::{self, JobEntries, JobEntry, WrongShape};
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
    /// Jobs whose entries in the list cannot be read, with their ids where these can.
    pub unreadable: Vec<(Option<String>, WrongShape)>,
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
    /// Jobs that are in the store and not followed, as they were last: those from before this process began that nobody
    /// has seen end, and those of which something could not be written down.
    recalled: BTreeMap<String, Run>,
    /// Jobs whose loss was told last.
    losing: BTreeMap<String, Run>,
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
            losing: BTreeMap::new(),
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

    /// What was told of a job could not be written down. If the cluster still has it, it is followed anew from the next
    /// list on; if not, what it was last is to be written then.
    pub fn forget(&mut self, id: &str) {
        if let Some(run) = self.jobs.remove(id).and_then(Follower::into_run) {
            self.recalled.insert(id.to_owned(), run);
        }
    }

    /// What was told of the cluster last could not be written down: it is asked for everything again.
    pub fn forget_cluster(&mut self) {
        self.is_recorded = false;
        self.task_managers.values_mut().for_each(|manager| *manager = None);
        self.recalled.append(&mut self.losing);
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
        Observation::new(self.subject.clone(), Origin::Flink, at_ms).of_the_present()
    }

    /// Nobody answers any more: what is to be recorded, once.
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn lost(&mut self, at_ms: i64) -> Result<Option<Observation>, FollowError> {
        self.wanted.clear();
        self.parts.clear();
        self.later.clear();
        self.losing.clear();
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
        // What was told before is in the store: else it would have been said ([`FollowedCluster::forget_cluster`]).
        self.losing.clear();
        let mut told = ClusterTold::default();
        let mut seen = self.observation(at_ms);
        match ask {
            ClusterAsk::Jobs => self.listed(&answer, at_ms, &mut told)?,
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

    fn listed(&mut self, answer: &Value, at_ms: i64, told: &mut ClusterTold) -> Result<(), FollowError> {
        let JobEntries { entries, unreadable } = convert::job_entries(answer)?;
        let entries: BTreeMap<String, JobEntry> = entries.into_iter().map(|entry| (entry.id.clone(), entry)).collect();
        // A job whose entry cannot be read is there all the same; without its id it may be any.
        let is_there = |id: &String| {
            entries.contains_key(id) || unreadable.iter().any(|(of, _)| of.as_ref().is_none_or(|of| of == id))
        };
        for (id, follower) in self.jobs.extract_if(.., |id, _| !is_there(id)) {
            let run = follower.into_run().filter(|run| !run.state.has_ended());
            self.recalled.extend(run.map(|run| (id, run)));
        }
        self.losing = self.recalled.extract_if(.., |id, _| !is_there(id)).collect();
        for (id, run) in &self.losing {
            told.observations.push(self.loss(id, run, at_ms)?);
        }
        for (id, entry) in entries {
            if let Some(follower) = self.jobs.get_mut(&id) {
                follower.begin(entry);
            } else {
                let subject = Subject::job(&self.subject.org, &id);
                let mut follower = Follower::new(subject, &self.subject.id, self.metrics, entry);
                if let Some(run) = self.recalled.remove(&id) {
                    follower.recall_run(run);
                }
                self.fresh.push(id.clone());
                self.jobs.insert(id, follower);
            }
        }
        told.unreadable = unreadable;
        Ok(())
    }

    /// The list of all has a job no more: what it was last is all that will be known. That of one that ended is its end.
    fn loss(&self, id: &str, run: &Run, at_ms: i64) -> Result<Observation, FollowError> {
        let subject = Subject::job(&self.subject.org, id);
        let seen = Observation::new(subject, Origin::Flink, at_ms).in_cluster(&self.subject.id);
        let mut seen = seen.of_the_present();
        let lost_ms = (!run.state.has_ended()).then_some(at_ms);
        seen.put(&Run { lost_ms, ..run.clone() })?;
        Ok(seen)
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

    fn details(state: &str) -> Value {
        json!({
            "name": "n", "state": state, "start-time": 1, "end-time": 9, "timestamps": {}, "vertices": [], "plan": {"nodes": []},
        })
    }

    fn run(state: &str) -> Run {
        let entry = JobEntry { id: "old".to_owned(), state: JobState::Running, changed_ms: 1, tasks: BTreeMap::new() };
        convert::job(&details(state), &entry).unwrap().run
    }

    /// A job is followed, and this is what it says of itself.
    fn tell(cluster: &mut FollowedCluster, id: &str, state: &str) {
        let job = cluster.job(id).unwrap();
        job.answered(&follow::Ask::Details, &details(state), 1).unwrap();
    }

    fn followed(cluster: &mut FollowedCluster) -> Vec<String> {
        cluster.jobs().map(|(id, _)| id.clone()).collect()
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
        let run = run("RUNNING");
        let mut cluster = cluster(vec![("old".to_owned(), run.clone()), ("a".to_owned(), run)]);
        assert_eq!(told(cluster.answered(&ClusterAsk::Jobs, jobs(&["a", "b", "c", "d"]), 5)), 1, "the old one");
        assert_eq!(followed(&mut cluster), ["a", "b", "c", "d"]);
        tell(&mut cluster, "c", "FINISHED");
        let gone = told(cluster.answered(&ClusterAsk::Jobs, jobs(&["b"]), 6));
        assert_eq!(gone, 1, "one had ended, and of one nothing is known");
        assert_eq!(followed(&mut cluster), ["b"]);
        assert_eq!(told(cluster.answered(&ClusterAsk::Jobs, jobs(&["b"]), 7)), 0, "once");
    }

    #[test]
    fn a_loss_that_could_not_be_written_down_is_told_again() {
        let mut cluster = cluster(vec![("old".to_owned(), run("RUNNING"))]);
        for at_ms in [5, 6] {
            assert_eq!(told(cluster.answered(&ClusterAsk::Jobs, jobs(&[]), at_ms)), 1);
            cluster.forget_cluster();
        }
        assert_eq!(told(cluster.answered(&ClusterAsk::Jobs, jobs(&[]), 7)), 1);
        cluster.answered(&ClusterAsk::TaskManagers, managers(1), 7).unwrap();
        cluster.forget_cluster();
        assert_eq!(told(cluster.answered(&ClusterAsk::Jobs, jobs(&[]), 8)), 0, "it was something else");
    }

    #[test]
    fn a_job_that_could_not_be_written_down_is_lost_or_has_ended_all_the_same() {
        let mut cluster = cluster(Vec::new());
        cluster.answered(&ClusterAsk::Jobs, jobs(&["runs", "ended", "there"]), 5).unwrap();
        for (id, state) in [("runs", "RUNNING"), ("ended", "FINISHED"), ("there", "RUNNING")] {
            tell(&mut cluster, id, state);
            cluster.forget(id);
        }
        let told = cluster.answered(&ClusterAsk::Jobs, jobs(&["there"]), 6).unwrap();
        assert_eq!(followed(&mut cluster), ["there"]);
        let texts: Vec<String> = told.observations.iter().map(|seen| format!("{seen:?}")).collect();
        let has = |word: &str| texts.iter().map(|text| text.contains(word)).collect::<Vec<_>>();
        assert_eq!(has("FINISHED"), [true, false], "{texts:?}");
        assert_eq!(has("lost_ms: Some(6)"), [false, true], "{texts:?}");
    }

    #[test]
    fn a_job_whose_entry_cannot_be_read_is_not_lost() {
        let mut cluster = cluster(vec![("old".to_owned(), run("RUNNING"))]);
        cluster.answered(&ClusterAsk::Jobs, jobs(&["old", "a"]), 5).unwrap();
        tell(&mut cluster, "a", "RUNNING");
        let mut list = jobs(&["old", "a"]);
        list["jobs"][1]["state"] = json!("DREAMING");
        let told = cluster.answered(&ClusterAsk::Jobs, list.clone(), 6).unwrap();
        assert_eq!((told.observations.len(), told.unreadable.len()), (0, 1));
        assert_eq!(followed(&mut cluster), ["a", "old"]);
        list["jobs"][1] = json!("whose?");
        list["jobs"][0]["jid"] = json!("new");
        let told = cluster.answered(&ClusterAsk::Jobs, list, 7).unwrap();
        assert_eq!((told.observations.len(), told.unreadable.len()), (0, 1), "it may be any of them");
        assert_eq!(followed(&mut cluster), ["a", "new", "old"]);
        let mut cluster = self::cluster(vec![("old".to_owned(), run("RUNNING"))]);
        cluster.answered(&ClusterAsk::Jobs, json!({"jobs": [{"jid": "old"}]}), 5).unwrap();
        assert_eq!(super::tests::told(cluster.answered(&ClusterAsk::Jobs, jobs(&[]), 6)), 1, "it was there until then");
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
