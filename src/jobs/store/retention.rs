//! Forgetting: jobs that ended long ago, versions that nobody can ask for any more, checkpoints and attempts above their
//! limits, after a day most of what changes with every checkpoint or all the time, contents that nothing points to. Each piece is a change of its own, so
//! that others get their turn at the writer between them.

use model::Scope;
use rusqlite::{Connection, OptionalExtension};

use super::{JobOptions, Jobs, SubjectKind, Version};
use crate::jobs::document::Document;
use crate::jobs::error::JobsError;
use crate::jobs::model::checkpoint::{Checkpoint, CheckpointStatistics, CheckpointSubtasks};
use crate::jobs::model::cluster::Cluster;
use crate::jobs::model::failure::Failure;
use crate::jobs::model::vertex::Attempt;

/// Checkpoints whose parts by subtask are kept: Flink itself keeps ten, and they are the largest documents of a job.
const PARTS_MAX: usize = 10;

/// Age at which what changes with every checkpoint is thinned out. With a checkpoint in every ten seconds the statistics
/// alone would be 8 MB a day.
const THIN_AFTER_MS: i64 = 86_400_000;

/// Changes of one document within an hour above which the last of that hour is enough once it is [`THIN_AFTER_MS`] old. A job
/// that fails and restarts again and again changes all its documents each time, for days on end: gigabytes that nobody
/// reads. Jobs that do what they should change less often.
const FLAPPING: i64 = 30;

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
        for subject in abandoned(jobs, horizon_ms)? {
            jobs.writer.write(move |connection: &Connection| forget_subject(connection, subject), |()| ())?;
            forgotten.jobs += 1;
        }
    }
    for subject in subjects(jobs)? {
        let options = jobs.options;
        let thin_ms = now_ms.saturating_sub(THIN_AFTER_MS);
        let change = move |connection: &Connection| {
            let thinned = thin(connection, subject, thin_ms)? + thin_flapping(connection, subject, thin_ms)?;
            Ok::<_, JobsError>(thinned + forget_versions(connection, subject, horizon_ms, &options)?)
        };
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

/// Jobs that nobody saw end, of clusters that have not answered since before the horizon.
fn abandoned(jobs: &Jobs, horizon_ms: i64) -> Result<Vec<i64>, JobsError> {
    jobs.read(|reader| {
        let mut found = Vec::new();
        for cluster in reader.list(&Scope::default(), SubjectKind::Cluster, i64::MAX)? {
            let contact: Option<Version<Cluster>> = reader.document(&cluster, "", i64::MAX)?;
            if contact.is_some_and(|contact| !contact.document.is_reachable && contact.from_ms < horizon_ms) {
                found.extend(reader.running_in(&cluster)?);
            }
        }
        Ok(found)
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
    for table in ["version", "claim", "command", "agent"] {
        connection.prepare_cached(&format!("DELETE FROM {table} WHERE subject_ref = ?1"))?.execute((subject,))?;
    }
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
    count += forget_failures(connection, subject, options.push.failures_max)?;
    count += forget_attempts(connection, subject, options.attempts_max)?;
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
        // The last claim of each state stays: it says since when.
        let claimed = "DELETE FROM claim WHERE subject_ref = ?1 AND at_ms < ?2 AND EXISTS \
                       (SELECT 1 FROM claim n WHERE n.subject_ref = claim.subject_ref AND n.state = claim.state \
                        AND n.at_ms > claim.at_ms AND n.at_ms <= ?2)";
        connection.prepare_cached(claimed)?.execute((subject, horizon_ms))?;
    }
    Ok(count)
}

/// The newest attempts of each subtask stay: their keys end with the number.
fn forget_attempts(connection: &Connection, subject: i64, keep: usize) -> Result<usize, JobsError> {
    let sql = "DELETE FROM version WHERE subject_ref = ?1 AND kind = ?2 AND key IN (SELECT key FROM \
               (SELECT key, row_number() OVER (PARTITION BY of ORDER BY CAST(substr(key, length(of) + 1) AS INTEGER) DESC) AS place \
                FROM (SELECT DISTINCT key, rtrim(key, '0123456789') AS of FROM version WHERE subject_ref = ?1 AND kind = ?2)) \
               WHERE place > ?3)";
    let keep = i64::try_from(keep).unwrap_or(i64::MAX);
    Ok(connection.prepare_cached(sql)?.execute((subject, Attempt::KIND.as_str(), keep))?)
}

/// The newest failures stay: their keys begin with the time.
fn forget_failures(connection: &Connection, subject: i64, keep: usize) -> Result<usize, JobsError> {
    let sql = "DELETE FROM version WHERE subject_ref = ?1 AND kind = ?2 AND key <= \
               (SELECT DISTINCT key FROM version WHERE subject_ref = ?1 AND kind = ?2 ORDER BY key DESC LIMIT 1 OFFSET ?3)";
    let keep = i64::try_from(keep).unwrap_or(i64::MAX);
    Ok(connection.prepare_cached(sql)?.execute((subject, Failure::KIND.as_str(), keep))?)
}

/// The newest checkpoints by number stay, and of the newest of these the parts of their subtasks.
fn forget_checkpoints(connection: &Connection, subject: i64, keep: usize) -> Result<usize, JobsError> {
    // Keys of parts begin with that of their checkpoint and a slash, and the sign after a slash is a zero.
    let sql = "DELETE FROM version WHERE subject_ref = ?1 AND kind = ?2 AND key < ?3 || '0'";
    let mut count = 0;
    for (kind, keep) in [(Checkpoint::KIND, keep), (CheckpointSubtasks::KIND, keep.min(PARTS_MAX))] {
        if let Some(newest_gone) = newest_gone(connection, subject, keep)? {
            count += connection.prepare_cached(sql)?.execute((subject, kind.as_str(), newest_gone))?;
        }
    }
    Ok(count)
}

/// The key of the newest checkpoint that is not among so many newest.
fn newest_gone(connection: &Connection, subject: i64, keep: usize) -> Result<Option<String>, JobsError> {
    // Those whose parts are still there count although they are gone themselves.
    let sql = "SELECT DISTINCT substr(key, 1, 19) AS id FROM version WHERE subject_ref = ?1 AND kind IN (?2, ?3) \
               ORDER BY id DESC LIMIT 1 OFFSET ?4";
    let (whole, parts) = (Checkpoint::KIND.as_str(), CheckpointSubtasks::KIND.as_str());
    let keep = i64::try_from(keep).unwrap_or(i64::MAX);
    Ok(connection.prepare_cached(sql)?.query_row((subject, whole, parts, keep), |row| row.get(0)).optional()?)
}

/// What changes with every checkpoint is kept at every change for [`THIN_AFTER_MS`]; then the statistics as they were at the
/// end of each hour are enough, and of each checkpoint what was known of it first and last.
fn thin(connection: &Connection, subject: i64, before_ms: i64) -> Result<usize, JobsError> {
    let hourly = "DELETE FROM version WHERE subject_ref = ?1 AND kind = ?2 AND from_ms < ?3 AND EXISTS \
                  (SELECT 1 FROM version n WHERE n.subject_ref = version.subject_ref AND n.kind = version.kind \
                   AND n.key = version.key AND n.from_ms > version.from_ms \
                   AND n.from_ms / 3600000 = version.from_ms / 3600000)";
    let statistics = CheckpointStatistics::KIND.as_str();
    let count = connection.prepare_cached(hourly)?.execute((subject, statistics, before_ms))?;
    let between = "DELETE FROM version WHERE subject_ref = ?1 AND kind = ?2 AND from_ms < ?3 AND EXISTS \
                   (SELECT 1 FROM version n WHERE n.subject_ref = version.subject_ref AND n.kind = version.kind \
                    AND n.key = version.key AND n.from_ms > version.from_ms) AND EXISTS \
                   (SELECT 1 FROM version o WHERE o.subject_ref = version.subject_ref AND o.kind = version.kind \
                    AND o.key = version.key AND o.from_ms < version.from_ms)";
    Ok(count + connection.prepare_cached(between)?.execute((subject, Checkpoint::KIND.as_str(), before_ms))?)
}

/// Of documents and claims that changed more than [`FLAPPING`] times in an hour, those that held at its end stay.
fn thin_flapping(connection: &Connection, subject: i64, before_ms: i64) -> Result<usize, JobsError> {
    let versions = "DELETE FROM version WHERE subject_ref = ?1 AND (kind, key, from_ms) IN (SELECT kind, key, from_ms FROM \
                    (SELECT kind, key, from_ms, count(*) OVER hour AS changes, max(from_ms) OVER hour AS last_ms \
                     FROM version WHERE subject_ref = ?1 AND from_ms < ?2 \
                     WINDOW hour AS (PARTITION BY kind, key, from_ms / 3600000)) \
                    WHERE changes > ?3 AND from_ms < last_ms)";
    let count = connection.prepare_cached(versions)?.execute((subject, before_ms, FLAPPING))?;
    let claims = "DELETE FROM claim WHERE subject_ref = ?1 AND at_ms IN (SELECT at_ms FROM \
                  (SELECT at_ms, count(*) OVER hour AS changes, max(at_ms) OVER hour AS last_ms \
                   FROM claim WHERE subject_ref = ?1 AND at_ms < ?2 \
                   WINDOW hour AS (PARTITION BY state, at_ms / 3600000)) WHERE changes > ?3 AND at_ms < last_ms)";
    connection.prepare_cached(claims)?.execute((subject, before_ms, FLAPPING))?;
    Ok(count)
}

fn forget_contents(connection: &Connection, after: i64, last: i64) -> Result<usize, JobsError> {
    let sql = "DELETE FROM content WHERE content_ref > ?1 AND content_ref <= ?2 \
               AND NOT EXISTS (SELECT 1 FROM version WHERE version.content_ref = content.content_ref)";
    Ok(connection.prepare_cached(sql)?.execute((after, last))?)
}
