//! What every answer is made from: one state of the job store, one of the series, and the moment that is asked for.

use std::cell::RefCell;
use std::collections::HashMap;

use model::{Budget, Scope, SeriesSource, Steps};
use serde_json::Value;

use super::answer::Failure;
use super::fields::Shape;
use super::history::{History, Newest};
use super::parameters::Parameters;
use super::route::{Ask, OfJob, OfMetrics, OfVertex};
use super::{checkpoints, cluster, job, metrics, overview, vertex};
use crate::jobs::{Document, Known, Reader, Run, SubjectKind, Version, Vertex};

/// One moment.
pub(super) struct View<'v> {
    pub(super) reader: &'v Reader<'v>,
    pub(super) series: &'v dyn SeriesSource,
    pub(super) budget: &'v Budget,
    pub(super) scope: Scope,
    pub(super) shape: Shape,
    /// Documents that hold then.
    pub(super) at_ms: i64,
    /// The only cluster that lists are about, if one is named.
    pub(super) cluster: Option<String>,
    /// What "now" is in the answer.
    pub(super) now_ms: i64,
    /// The times that metrics are asked for, where it is more than one.
    pub(super) steps: Option<Steps>,
    /// Since when clusters do not answer, by organization and name: looked up once for all their jobs.
    pub(super) lost: RefCell<HashMap<(String, String), Option<i64>>>,
}

/// A job, and the moment that its answers speak of.
pub(super) struct Seen {
    pub(super) job: Known,
    /// Now, or when its cluster was lost: then nothing is known of what came after.
    pub(super) now_ms: i64,
    pub(super) is_stale: bool,
}

impl View<'_> {
    /// The answer to a request.
    pub(super) fn answer(&self, ask: &Ask, parameters: &Parameters) -> Result<Value, Failure> {
        match ask {
            Ask::Config => cluster::config(self),
            Ask::Overview => cluster::overview(self),
            Ask::JobManagerConfig => cluster::configuration(self),
            Ask::TaskManagers => cluster::task_managers(self),
            Ask::TaskManager(id) => cluster::task_manager(self, id),
            Ask::Jobs => overview::ids(self),
            Ask::JobsOverview => overview::overview(self),
            Ask::Job(id, OfJob::ExecutionResult) => {
                job::execution_result(self, &self.find_job(id)?.ok_or_else(|| Failure::no_result(id))?)
            }
            Ask::Job(id, of) => self.of_job(&self.job(id)?, of, parameters),
            Ask::Metrics(of) => self.of_metrics(of, parameters),
        }
    }

    fn of_metrics(&self, of: &OfMetrics, parameters: &Parameters) -> Result<Value, Failure> {
        match self.steps {
            None => metrics::answer(self, &Newest, of, parameters),
            Some(steps) => metrics::answer(self, &History { steps, budget: self.budget }, of, parameters),
        }
    }

    fn of_job(&self, seen: &Seen, of: &OfJob, parameters: &Parameters) -> Result<Value, Failure> {
        match of {
            OfJob::Details => job::details(self, seen),
            OfJob::Status => job::status(self, seen),
            OfJob::Accumulators => job::accumulators(self, seen),
            OfJob::Checkpoints => checkpoints::statistics(self, seen),
            OfJob::CheckpointConfig => checkpoints::settings(self, seen),
            OfJob::Checkpoint(id) => checkpoints::details(self, seen, *id),
            OfJob::CheckpointSubtasks(id, vertex) => checkpoints::subtasks(self, seen, *id, vertex),
            OfJob::Config => job::config(self, seen),
            OfJob::Exceptions => job::exceptions(self, seen, parameters),
            OfJob::ExecutionResult => job::execution_result(self, seen),
            OfJob::Plan => job::plan(self, seen),
            OfJob::Vertex(id, of) => self.of_vertex(seen, id, of),
        }
    }

    fn of_vertex(&self, seen: &Seen, id: &str, of: &OfVertex) -> Result<Value, Failure> {
        match of {
            OfVertex::Details => vertex::details(self, seen, id),
            OfVertex::Accumulators => vertex::accumulators(self, seen, id),
            OfVertex::BackPressure => vertex::back_pressure(self, seen, id),
            OfVertex::SubtaskAccumulators => vertex::subtask_accumulators(self, seen, id),
            OfVertex::Subtask(index) => vertex::subtask(self, seen, id, *index),
            OfVertex::Attempt(index, attempt) => vertex::attempt(self, seen, id, *index, *attempt),
            OfVertex::AttemptAccumulators(index, attempt) => {
                vertex::attempt_accumulators(self, seen, id, *index, *attempt)
            }
            OfVertex::SubtaskTimes => vertex::times(self, seen, id),
            OfVertex::TaskManagers => vertex::task_managers(self, seen, id),
        }
    }

    /// All jobs with their runs, of the cluster that is asked for.
    pub(super) fn runs(&self) -> Result<Vec<(Known, Version<Run>)>, Failure> {
        let mut runs = self.reader.runs(&self.scope, self.at_ms)?;
        runs.retain(|(job, _)| self.cluster.is_none() || self.cluster == job.cluster);
        Ok(runs)
    }

    /// The clusters, all or the one that is asked for.
    pub(super) fn clusters(&self) -> Result<Vec<Known>, Failure> {
        let mut clusters = self.reader.list(&self.scope, SubjectKind::Cluster, self.at_ms)?;
        clusters.retain(|cluster| self.cluster.as_ref().is_none_or(|asked| *asked == cluster.subject.id));
        Ok(clusters)
    }

    /// A job by the id in a path.
    pub(super) fn job(&self, id: &str) -> Result<Seen, Failure> {
        self.find_job(id)?.ok_or_else(|| Failure::no_job(id))
    }

    /// The same for who does not mind that there is none.
    pub(super) fn find_job(&self, id: &str) -> Result<Option<Seen>, Failure> {
        let found = self.reader.find_hex(&self.scope, SubjectKind::Job, id)?;
        let Some(job) = found.filter(|job| job.first_ms <= self.at_ms) else { return Ok(None) };
        let run: Option<Version<Run>> = self.reader.document(&job, "", self.at_ms)?;
        let run = run.map(|version| version.document);
        Ok(Some(self.seen(job, run.as_ref())?))
    }

    /// Looks whether the job's cluster still answered, and still knew it.
    pub(super) fn seen(&self, job: Known, run: Option<&Run>) -> Result<Seen, Failure> {
        let lost_ms = match &job.cluster {
            // A job that has ended stays what it is, whatever happens to its cluster.
            Some(cluster) if run.is_none_or(|run| !run.state.has_ended()) => self.lost(&job, cluster)?,
            _ => None,
        };
        let lost_ms = run.and_then(|run| run.lost_ms).into_iter().chain(lost_ms).min();
        let now_ms = lost_ms.map_or(self.now_ms, |lost_ms| lost_ms.min(self.now_ms));
        Ok(Seen { job, now_ms, is_stale: lost_ms.is_some() })
    }

    /// Since when a job's cluster does not answer.
    fn lost(&self, job: &Known, cluster: &str) -> Result<Option<i64>, Failure> {
        let key = (job.subject.org.clone(), cluster.to_owned());
        if let Some(known) = self.lost.borrow().get(&key) {
            return Ok(*known);
        }
        let lost_ms = crate::jobs::silent_since(self.reader, job, self.at_ms)?;
        self.lost.borrow_mut().insert(key, lost_ms);
        Ok(lost_ms)
    }

    /// A document of a job.
    pub(super) fn of<D: Document>(&self, seen: &Seen, key: &str) -> Result<Option<D>, Failure> {
        let found: Option<Version<D>> = self.reader.document(&seen.job, key, self.at_ms)?;
        Ok(found.map(|version| version.document))
    }

    /// All documents of a kind of a job.
    pub(super) fn all_of<D: Document>(&self, seen: &Seen) -> Result<Vec<D>, Failure> {
        let found: Vec<Version<D>> = self.reader.documents(&seen.job, self.at_ms)?;
        Ok(found.into_iter().map(|version| version.document).collect())
    }

    /// The vertices of a job in their order.
    pub(super) fn vertices(&self, seen: &Seen) -> Result<Vec<Vertex>, Failure> {
        let mut vertices: Vec<Vertex> = self.all_of(seen)?;
        vertices.sort_by_key(|vertex| vertex.position);
        Ok(vertices)
    }
}
