//! Which job a request means: by the public ids of pipeline and job, or by the controller's own id.

use model::Scope;

use crate::jobs::{JobsError, Known, Reader, Run, SubjectKind};

/// A job, as it was at the time that is asked for.
pub(super) struct Found {
    job: Known,
    run: Option<Run>,
}

impl Found {
    fn of(reader: &Reader<'_>, job: Known, at_ms: i64) -> Result<Option<Found>, JobsError> {
        if job.first_ms > at_ms {
            return Ok(None);
        }
        let run = reader.document::<Run>(&job, "", at_ms)?.map(|version| version.document);
        Ok(Some(Found { job, run }))
    }

    /// Whether metrics may be there. One that nobody told the end of may run.
    pub(super) fn is_running(&self) -> bool {
        self.run.as_ref().is_none_or(|run| !run.state.has_ended() && run.lost_ms.is_none())
    }

    /// What the controller calls it.
    pub(super) fn engine_id(&self) -> &str {
        self.own_id().unwrap_or(&self.job.subject.id)
    }

    /// The controller's own id, where the public one is another.
    fn own_id(&self) -> Option<&str> {
        self.run.as_ref().and_then(|run| run.engine_id.as_deref())
    }

    /// All ids that its series may carry.
    pub(super) fn ids(&self) -> Vec<String> {
        let mut ids = vec![self.job.subject.id.clone()];
        ids.extend(self.own_id().map(str::to_owned));
        ids
    }

    pub(super) fn org(&self) -> &str {
        &self.job.subject.org
    }

    /// When it began, as far as known.
    pub(super) fn started_ms(&self) -> i64 {
        self.run.as_ref().map_or(self.job.first_ms, |run| run.started_ms)
    }
}

/// The job of a pipeline, which is named by its public id or by its name; the job by its public id or by the controller's.
pub(super) fn by_public_ids(
    reader: &Reader<'_>,
    scope: &Scope,
    pipeline_id: &str,
    job_id: &str,
    at_ms: i64,
) -> Result<Option<Found>, JobsError> {
    if let Some(job) = reader.find(scope, SubjectKind::Job, job_id)? {
        let found = Found::of(reader, job, at_ms)?;
        return Ok(found.filter(|found| is_of(found, pipeline_id)));
    }
    for job in reader.of_pipeline(scope, pipeline_id)? {
        if let Some(found) = Found::of(reader, job, at_ms)?
            && found.own_id() == Some(job_id)
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn is_of(found: &Found, pipeline_id: &str) -> bool {
    found.job.pipeline_id.as_deref() == Some(pipeline_id)
        || found.run.as_ref().is_some_and(|run| run.name == pipeline_id)
}

/// The job that the controller calls so, the newest of them.
pub(super) fn by_engine_id(
    reader: &Reader<'_>,
    scope: &Scope,
    engine_id: &str,
    at_ms: i64,
) -> Result<Option<Found>, JobsError> {
    let found = match reader.find(scope, SubjectKind::Job, engine_id)? {
        Some(job) => Some(job),
        None => reader.find_engine_id(scope, engine_id)?,
    };
    found.map_or(Ok(None), |job| Found::of(reader, job, at_ms))
}
