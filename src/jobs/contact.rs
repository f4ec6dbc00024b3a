//! Whether anyone still hears of a job.

use model::{Matcher, Scope};

use super::error::JobsError;
use super::model::cluster::Cluster;
use super::model::run::Run;
use super::store::{Known, Reader, SubjectKind, Version};
use crate::ingest::ORG;

/// The cluster that a job came from, if it is known.
pub(super) fn cluster_of(reader: &Reader<'_>, job: &Known) -> Result<Option<Known>, JobsError> {
    let Some(cluster) = &job.cluster else { return Ok(None) };
    let scope = Scope::confined(Matcher::equal(ORG, &job.subject.org));
    reader.find(&scope, SubjectKind::Cluster, cluster)
}

/// Since when the cluster of a job does not answer, as was known at a time.
///
/// # Errors
/// [`JobsError`].
pub(crate) fn silent_since(reader: &Reader<'_>, job: &Known, at_ms: i64) -> Result<Option<i64>, JobsError> {
    let contact = contact(reader, job, at_ms)?;
    Ok(contact.filter(|version| !version.document.is_reachable).map(|version| version.from_ms))
}

/// The release of the cluster of a job, as was known at a time.
///
/// # Errors
/// [`JobsError`].
pub(crate) fn cluster_version(reader: &Reader<'_>, job: &Known, at_ms: i64) -> Result<Option<String>, JobsError> {
    Ok(contact(reader, job, at_ms)?.and_then(|version| version.document.version))
}

/// What was known of the cluster of a job.
fn contact(reader: &Reader<'_>, job: &Known, at_ms: i64) -> Result<Option<Version<Cluster>>, JobsError> {
    match cluster_of(reader, job)? {
        Some(cluster) => reader.document(&cluster, "", at_ms),
        None => Ok(None),
    }
}

/// Since when nobody has heard of a job, as was known at a time: its cluster does not answer, or knows it no more. A job
/// that has ended stays what it is, whatever happens to its cluster.
///
/// # Errors
/// [`JobsError`].
pub(super) fn lost_ms(
    reader: &Reader<'_>,
    job: &Known,
    run: Option<&Run>,
    at_ms: i64,
) -> Result<Option<i64>, JobsError> {
    if run.is_some_and(|run| run.state.has_ended()) {
        return Ok(None);
    }
    let silent = silent_since(reader, job, at_ms)?;
    Ok(run.and_then(|run| run.lost_ms).into_iter().chain(silent).min())
}
