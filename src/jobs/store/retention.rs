//! Forgetting: jobs that ended long ago, versions that nobody can ask for any more, checkpoints above the limit, contents
//! that nothing points to. Each piece is a change of its own, so that others get their turn at the writer between them.

use rusqlite::{Connection, OptionalExtension};

use super::{JobOptions, Jobs};
use crate::jobs::document::Document;
use crate::jobs::error::JobsError;
use crate::jobs::model::checkpoint::{Checkpoint, CheckpointSubtasks};

/// What was forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Jobs as a whole.
    pub jobs: usize,
    /// Versions of documents of others.
    pub versions: usize,
    /// Contents that nothing pointed to.
    pub contents: usize,
}

pub(super) fn retain(jobs: &Jobs, now_ms: i64) -> Result<Forgotten, JobsError> {
    let mut forgotten = Forgotten::default();
    let horizon_ms = jobs.options.retention_ms.map(|keep_ms| now_ms.saturating_sub(keep_ms));
    if let Some(horizon_ms) = horizon_ms {
        for subject in ended_before(jobs, horizon_ms)? {
            let change = move |connection: &Connection| forget_ended(connection, subject, horizon_ms);
            forgotten.jobs += jobs.writer.write(change, |_| ())?;
        }
    }
    for subject in subjects(jobs)? {
        let options = jobs.options;
        let change = move |connection: &Connection| forget_versions(connection, subject, horizon_ms, &options);
        forgotten.versions += jobs.writer.write(change, |_| ())?;
    }
    let mut after = 0;
    while let Some(last) = contents_until(jobs, after)? {
        let change = move |connection: &Connection| forget_contents(connection, after, last);
        forgotten.contents += jobs.writer.write(change, |_| ())?;
        after = last;
    }
    Ok(forgotten)
}

fn ended_before(jobs: &Jobs, horizon_ms: i64) -> Result<Vec<i64>, JobsError> {
    jobs.read(|reader| {
        reader.references("SELECT subject_ref FROM subject WHERE kind = 'job' AND ended_ms < ?1", horizon_ms)
    })
}

fn subjects(jobs: &Jobs) -> Result<Vec<i64>, JobsError> {
    jobs.read(|reader| reader.references("SELECT subject_ref FROM subject WHERE subject_ref > ?1", 0))
}

/// The last content of the next piece of ten thousand, if there is one.
fn contents_until(jobs: &Jobs, after: i64) -> Result<Option<i64>, JobsError> {
    let sql = "SELECT max(content_ref) FROM \
               (SELECT content_ref FROM content WHERE content_ref > ?1 ORDER BY content_ref LIMIT 10000) \
               HAVING max(content_ref) IS NOT NULL";
    Ok(jobs.read(|reader| reader.references(sql, after))?.first().copied())
}

/// Looks again: the job may have been told of since it was found.
fn forget_ended(connection: &Connection, subject: i64, horizon_ms: i64) -> Result<usize, JobsError> {
    let sql = "SELECT 1 FROM subject WHERE subject_ref = ?1 AND ended_ms < ?2";
    let is_still = connection.prepare_cached(sql)?.exists((subject, horizon_ms))?;
    if is_still {
        forget_subject(connection, subject)?;
    }
    Ok(usize::from(is_still))
}

/// Removes a subject with all its versions, and its pipeline if that has no other run.
pub(super) fn forget_subject(connection: &Connection, subject: i64) -> Result<(), JobsError> {
    let pipeline: Option<i64> = connection
        .prepare_cached("SELECT pipeline_ref FROM subject WHERE subject_ref = ?1")?
        .query_row((subject,), |row| row.get(0))?;
    connection.prepare_cached("DELETE FROM version WHERE subject_ref = ?1")?.execute((subject,))?;
    connection.prepare_cached("DELETE FROM subject WHERE subject_ref = ?1")?.execute((subject,))?;
    let unused = "DELETE FROM pipeline WHERE pipeline_ref = ?1 \
                  AND NOT EXISTS (SELECT 1 FROM subject WHERE subject.pipeline_ref = pipeline.pipeline_ref)";
    connection.prepare_cached(unused)?.execute((pipeline,))?;
    Ok(())
}

fn forget_versions(
    connection: &Connection,
    subject: i64,
    horizon_ms: Option<i64>,
    options: &JobOptions,
) -> Result<usize, JobsError> {
    let mut count = forget_checkpoints(connection, subject, options.checkpoints_max)?;
    if let Some(horizon_ms) = horizon_ms {
        // What holds at the horizon stays: from there on every question has its answer.
        let superseded = "DELETE FROM version WHERE subject_ref = ?1 AND from_ms < ?2 AND EXISTS \
                          (SELECT 1 FROM version n WHERE n.subject_ref = version.subject_ref AND n.kind = version.kind \
                           AND n.key = version.key AND n.from_ms > version.from_ms AND n.from_ms <= ?2)";
        count += connection.prepare_cached(superseded)?.execute((subject, horizon_ms))?;
        // A withdrawal that is now the oldest says nothing any more.
        let withdrawn = "DELETE FROM version WHERE subject_ref = ?1 AND from_ms <= ?2 AND content_ref IS NULL \
                         AND NOT EXISTS (SELECT 1 FROM version o WHERE o.subject_ref = version.subject_ref \
                         AND o.kind = version.kind AND o.key = version.key AND o.from_ms < version.from_ms)";
        count += connection.prepare_cached(withdrawn)?.execute((subject, horizon_ms))?;
    }
    Ok(count)
}

/// The newest checkpoints by number stay, with the parts of their subtasks.
fn forget_checkpoints(connection: &Connection, subject: i64, keep: usize) -> Result<usize, JobsError> {
    let newest_gone = "SELECT DISTINCT key FROM version WHERE subject_ref = ?1 AND kind = ?2 \
                       ORDER BY key DESC LIMIT 1 OFFSET ?3";
    let keep = i64::try_from(keep).unwrap_or(i64::MAX);
    let values = (subject, Checkpoint::KIND.as_str(), keep);
    let newest_gone: Option<String> =
        connection.prepare_cached(newest_gone)?.query_row(values, |row| row.get(0)).optional()?;
    let Some(newest_gone) = newest_gone else { return Ok(0) };
    // Keys of parts begin with that of their checkpoint and a slash, and the sign after a slash is a zero.
    let sql = "DELETE FROM version WHERE subject_ref = ?1 AND kind IN (?2, ?3) AND key < ?4 || '0'";
    let kinds = (Checkpoint::KIND.as_str(), CheckpointSubtasks::KIND.as_str());
    Ok(connection.prepare_cached(sql)?.execute((subject, kinds.0, kinds.1, newest_gone))?)
}

fn forget_contents(connection: &Connection, after: i64, last: i64) -> Result<usize, JobsError> {
    let sql = "DELETE FROM content WHERE content_ref > ?1 AND content_ref <= ?2 \
               AND NOT EXISTS (SELECT 1 FROM version WHERE version.content_ref = content.content_ref)";
    Ok(connection.prepare_cached(sql)?.execute((after, last))?)
}
