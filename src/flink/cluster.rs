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
mod tests;
