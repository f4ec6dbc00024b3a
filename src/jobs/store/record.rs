//! Writing an observation, on the writer's thread, inside its savepoint.

use rusqlite::{Connection, OptionalExtension};

use super::observation::{Entry, Observation, Origin, Recorded, Subject, SubjectKind};
use super::{JobOptions, implied, retention};
use crate::jobs::document::Document;
use crate::jobs::error::JobsError;
use crate::jobs::hex_id::hex_id;
use crate::jobs::model::run::Run;
use crate::jobs::model::vertex::Subtasks;

pub(super) fn record(
    connection: &Connection,
    observation: &Observation,
    options: &JobOptions,
) -> Result<Recorded, JobsError> {
    let subject = subject(connection, observation, options)?;
    let mut recorded = Recorded::default();
    for entry in &observation.entries {
        let at_ms = match observation.is_of_the_present {
            true => newest_ms(connection, subject, entry.kind.as_str(), &entry.key)?,
            false => None,
        };
        let at_ms = at_ms.max(Some(observation.at_ms)).unwrap_or(observation.at_ms);
        if entry.kind == Subtasks::KIND {
            keep_superseded(connection, subject, entry, observation, at_ms)?;
        }
        let body = entry.body.as_deref();
        match put(connection, subject, entry.kind.as_str(), &entry.key, at_ms, body)? {
            true => recorded.changed += 1,
            false => recorded.unchanged += 1,
        }
        if let Some(run) = &entry.run {
            link(connection, subject, &observation.subject.org, run, at_ms)?;
        }
    }
    Ok(recorded)
}

/// As [`record`], in a savepoint of its own: one that fails leaves the others of its change.
pub(super) fn record_in_savepoint(
    connection: &Connection,
    observation: &Observation,
    options: &JobOptions,
) -> Result<Recorded, JobsError> {
    connection.execute_batch("SAVEPOINT observation")?;
    let recorded = record(connection, observation, options);
    let end = if recorded.is_ok() { "RELEASE observation" } else { "ROLLBACK TO observation; RELEASE observation" };
    connection.execute_batch(end)?;
    recorded
}

/// The row of the subject, made if it is new.
fn subject(connection: &Connection, observation: &Observation, options: &JobOptions) -> Result<i64, JobsError> {
    let Subject { kind, org, id } = &observation.subject;
    let find = "SELECT subject_ref, origin FROM subject WHERE kind = ?1 AND id = ?2 AND org = ?3";
    let both = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?));
    let found = connection.prepare_cached(find)?.query_row((kind.as_str(), id, org), both).optional()?;
    if let Some((found, origin)) = found {
        implied::give_way(connection, found, &origin, observation)?;
        let touch = "UPDATE subject SET first_ms = min(first_ms, ?2), origin = ?3, cluster = coalesce(?4, cluster) \
                     WHERE subject_ref = ?1 AND (first_ms > ?2 OR origin <> ?3 OR cluster IS NOT coalesce(?4, cluster))";
        let values = (found, observation.at_ms, observation.origin.as_str(), &observation.cluster);
        connection.prepare_cached(touch)?.execute(values)?;
        return Ok(found);
    }
    if *kind == SubjectKind::Job {
        implied::make_room(connection, observation.origin, options)?;
        make_room(connection, observation.origin, options)?;
    }
    let insert = "INSERT INTO subject (kind, org, id, hex_id, origin, cluster, first_ms) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let (hex_id, origin) = (hex_id(id), observation.origin.as_str());
    let values = (kind.as_str(), org, id, hex_id, origin, &observation.cluster, observation.at_ms);
    connection.prepare_cached(insert)?.execute(values)?;
    Ok(connection.last_insert_rowid())
}

/// The job that ended first goes when there are too many: what runs is worth more than what ran. One that only series tell
/// of takes the place of no other kind.
fn make_room(connection: &Connection, by: Origin, options: &JobOptions) -> Result<(), JobsError> {
    let limit = options.jobs_max;
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM subject WHERE kind = 'job'")?
        .query_row((), |row| row.get(0))?;
    if usize::try_from(count).is_ok_and(|count| count < limit) {
        return Ok(());
    }
    let oldest = "SELECT subject_ref FROM subject WHERE kind = 'job' AND ended_ms IS NOT NULL \
                  AND (?1 <> 'metrics' OR origin = 'metrics') ORDER BY ended_ms LIMIT 1";
    let oldest = connection.prepare_cached(oldest)?.query_row((by.as_str(),), |row| row.get(0)).optional()?;
    let oldest = oldest.ok_or(JobsError::TooManyJobs { limit })?;
    retention::forget_subject(connection, oldest)?;
    Ok(())
}

/// Makes a document hold from a time on; false if it does already.
pub(super) fn put(
    connection: &Connection,
    subject: i64,
    kind: &str,
    key: &str,
    at_ms: i64,
    body: Option<&str>,
) -> Result<bool, JobsError> {
    let known = match body {
        Some(body) => content(connection, body)?.map(Some),
        None => Some(None),
    };
    let before = holds(connection, subject, kind, key, at_ms)?;
    // Nothing before the first version and nothing after a withdrawal are the same.
    if known.is_some_and(|content| before.flatten() == content) {
        return Ok(false);
    }
    let content = match (known, body) {
        (Some(content), _) => content,
        (None, Some(body)) => Some(insert_content(connection, body)?),
        (None, None) => None,
    };
    let insert =
        "INSERT OR REPLACE INTO version (subject_ref, kind, key, from_ms, content_ref) VALUES (?1, ?2, ?3, ?4, ?5)";
    connection.prepare_cached(insert)?.execute((subject, kind, key, at_ms, content))?;
    Ok(true)
}

/// From when on the newest version of a document holds.
fn newest_ms(connection: &Connection, subject: i64, kind: &str, key: &str) -> Result<Option<i64>, JobsError> {
    let sql = "SELECT max(from_ms) FROM version WHERE subject_ref = ?1 AND kind = ?2 AND key = ?3";
    Ok(connection.prepare_cached(sql)?.query_row((subject, kind, key), |row| row.get(0))?)
}

/// The content that holds at a time; the outer level is none before the first version.
fn holds(
    connection: &Connection,
    subject: i64,
    kind: &str,
    key: &str,
    at_ms: i64,
) -> Result<Option<Option<i64>>, JobsError> {
    let sql = "SELECT content_ref FROM version WHERE subject_ref = ?1 AND kind = ?2 AND key = ?3 AND from_ms <= ?4 \
               ORDER BY from_ms DESC LIMIT 1";
    Ok(connection.prepare_cached(sql)?.query_row((subject, kind, key, at_ms), |row| row.get(0)).optional()?)
}

/// A content that is there. The text is compared, so that two of one hash are never mixed up.
fn content(connection: &Connection, body: &str) -> Result<Option<i64>, JobsError> {
    let sql = "SELECT content_ref FROM content WHERE hash = ?1 AND body = ?2";
    Ok(connection.prepare_cached(sql)?.query_row((hash(body.as_bytes()), body), |row| row.get(0)).optional()?)
}

fn insert_content(connection: &Connection, body: &str) -> Result<i64, JobsError> {
    connection
        .prepare_cached("INSERT INTO content (hash, body) VALUES (?1, ?2)")?
        .execute((hash(body.as_bytes()), body))?;
    Ok(connection.last_insert_rowid())
}

/// SQLite's integers are signed.
pub(super) fn hash(body: &[u8]) -> i64 {
    xxhash_rust::xxh3::xxh3_64(body).cast_signed()
}

/// Attempts that newer ones take the place of become documents of their own, as they were last known, unless someone
/// has told more of them.
fn keep_superseded(
    connection: &Connection,
    subject: i64,
    entry: &Entry,
    observation: &Observation,
    at_ms: i64,
) -> Result<(), JobsError> {
    let Some(now) = entry.body.as_deref() else { return Ok(()) };
    let Some(Some(before)) = holds(connection, subject, entry.kind.as_str(), &entry.key, at_ms)? else {
        return Ok(());
    };
    let body = "SELECT body FROM content WHERE content_ref = ?1";
    let before: String = connection.prepare_cached(body)?.query_row((before,), |row| row.get(0))?;
    if before == now {
        return Ok(());
    }
    let read = |text: &str| {
        serde_json::from_str::<Subtasks>(text).map_err(|e| JobsError::Corrupt {
            subject: observation.subject.id.clone(),
            kind: entry.kind.as_str(),
            key: entry.key.clone(),
            detail: e.to_string(),
        })
    };
    for attempt in read(now)?.superseded(read(&before)?) {
        let (kind, key) = (crate::jobs::Attempt::KIND.as_str(), attempt.key());
        if holds(connection, subject, kind, &key, i64::MAX)?.flatten().is_none() {
            let unwritable = |e: serde_json::Error| JobsError::Unwritable { kind, detail: e.to_string() };
            let text = serde_json::to_string(&attempt).map_err(unwritable)?;
            put(connection, subject, kind, &key, at_ms, Some(&text))?;
        }
    }
    Ok(())
}

/// Keeps beside the job what its newest run says, and links it to the other runs of its name.
fn link(connection: &Connection, subject: i64, org: &str, run: &Run, at_ms: i64) -> Result<(), JobsError> {
    if newest_ms(connection, subject, Run::KIND.as_str(), "")?.is_some_and(|newest| newest > at_ms) {
        return Ok(());
    }
    let pipeline_id = pipeline_id(org, &run.name);
    connection
        .prepare_cached("INSERT OR IGNORE INTO pipeline (org, pipeline_id, name, created_ms) VALUES (?1, ?2, ?3, ?4)")?
        .execute((org, pipeline_id, &run.name, at_ms))?;
    let update = "UPDATE subject SET started_ms = ?2, ended_ms = ?3, \
                  pipeline_ref = (SELECT pipeline_ref FROM pipeline WHERE org = ?4 AND name = ?5) WHERE subject_ref = ?1 \
                  AND (started_ms IS NOT ?2 OR ended_ms IS NOT ?3 OR pipeline_ref IS NOT \
                  (SELECT pipeline_ref FROM pipeline WHERE org = ?4 AND name = ?5))";
    // A lost job takes its turn with those that ended: nothing will be heard of it.
    let ended_ms = run.ended_ms.or(run.lost_ms);
    connection.prepare_cached(update)?.execute((subject, run.started_ms, ended_ms, org, &run.name))?;
    Ok(())
}

/// A public id that the same name always has.
fn pipeline_id(org: &str, name: &str) -> String {
    let text = format!("{}:{org}{name}", org.len());
    format!("pl_{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}
