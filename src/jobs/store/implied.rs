//! Jobs that only series tell of ([`Origin::Metrics`]): they are guesses, so they give way to whoever knows better, and
//! have a limit of their own.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension};

use super::observation::{Observation, Origin};
use super::record::put;
use super::{JobOptions, Jobs, Known, Reader, Subject, retention};
use crate::jobs::error::JobsError;
use crate::jobs::model::run::Run;
use crate::jobs::{Document, SubjectKind};

/// Before an observation of a job that is there is recorded: series say nothing of a job that others tell of, and when
/// others begin to, what the series said holds no more from then on. The run is there until it is told anew.
pub(super) fn give_way(
    connection: &Connection,
    subject: i64,
    origin: &str,
    observation: &Observation,
) -> Result<(), JobsError> {
    let (was_implied, is_implied) = (origin == Origin::Metrics.as_str(), observation.origin == Origin::Metrics);
    match (was_implied, is_implied) {
        (false, true) => Err(JobsError::Outranked { id: observation.subject.id.clone() }),
        (true, false) => withdraw(connection, subject, observation),
        (true, true) | (false, false) => Ok(()),
    }
}

/// Nothing that series said holds from the time of an observation on, but for the run if the observation has none.
fn withdraw(connection: &Connection, subject: i64, observation: &Observation) -> Result<(), JobsError> {
    let at_ms = observation.at_ms;
    let is_told = observation.entries.iter().any(|entry| entry.run.is_some());
    let kept = if is_told { "" } else { Run::KIND.as_str() };
    let later = "DELETE FROM version WHERE subject_ref = ?1 AND from_ms > ?2 AND kind <> ?3";
    connection.prepare_cached(later)?.execute((subject, at_ms, kept))?;
    let all = "SELECT DISTINCT kind, key FROM version WHERE subject_ref = ?1 AND kind <> ?2";
    let both = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let mut statement = connection.prepare_cached(all)?;
    let rows = statement.query_map((subject, kept), both)?;
    let documents: Vec<(String, String)> = rows.collect::<Result<_, _>>()?;
    for (kind, key) in documents {
        put(connection, subject, &kind, &key, at_ms, None)?;
    }
    Ok(())
}

/// Forgets what series said of a job's run after a time, of which someone who knows better will say what it was.
pub(super) fn forget_later_runs(connection: &Connection, job: &Known, at_ms: i64) -> Result<(), JobsError> {
    let sql = "DELETE FROM version WHERE subject_ref = ?1 AND kind = ?2 AND from_ms > ?3";
    connection.prepare_cached(sql)?.execute((job.reference(), Run::KIND.as_str(), at_ms))?;
    Ok(())
}

/// Before a job is added that only series tell of: the one that fell silent first goes when there are too many of them.
pub(super) fn make_room(connection: &Connection, by: Origin, options: &JobOptions) -> Result<(), JobsError> {
    let limit = options.implied_max;
    if by != Origin::Metrics || count(connection)? < limit {
        return Ok(());
    }
    let silent = "SELECT subject_ref FROM subject WHERE kind = 'job' AND origin = 'metrics' AND ended_ms IS NOT NULL \
                  ORDER BY ended_ms LIMIT 1";
    let silent = connection.prepare_cached(silent)?.query_row((), |row| row.get(0)).optional()?;
    retention::forget_subject(connection, silent.ok_or(JobsError::TooManyImpliedJobs { limit })?)
}

/// Number of jobs that only series tell of.
fn count(connection: &Connection) -> Result<usize, JobsError> {
    let sql = "SELECT count(*) FROM subject WHERE kind = 'job' AND origin = 'metrics'";
    let count: i64 = connection.prepare_cached(sql)?.query_row((), |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

impl Reader<'_> {
    /// The jobs that only series tell of and that have not fallen silent.
    ///
    /// # Errors
    /// [`JobsError::Catalog`].
    pub fn implied_running(&self) -> Result<Vec<Known>, JobsError> {
        self.known_where("s.kind = 'job' AND s.origin = 'metrics' AND s.ended_ms IS NULL")
    }

    /// Number of jobs that only series tell of.
    ///
    /// # Errors
    /// [`JobsError::Catalog`].
    pub fn implied_count(&self) -> Result<usize, JobsError> {
        count(self.connection)
    }

    /// The ids that engines give the jobs that others tell of, where these are known by other ones, of those that have not
    /// ended; with their organizations.
    ///
    /// # Errors
    /// [`JobsError::Catalog`].
    pub fn engine_ids(&self) -> Result<BTreeSet<(String, String)>, JobsError> {
        let sql = "SELECT s.org, json_extract(c.body, '$.engine_id') AS engine_id FROM subject s \
                   JOIN version v ON v.subject_ref = s.subject_ref AND v.kind = ?1 AND v.key = '' AND v.from_ms = \
                   (SELECT max(from_ms) FROM version w WHERE w.subject_ref = s.subject_ref AND w.kind = ?1 AND w.key = '') \
                   JOIN content c USING (content_ref) \
                   WHERE s.kind = 'job' AND s.ended_ms IS NULL AND s.origin <> 'metrics' AND engine_id IS NOT NULL";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map((Run::KIND.as_str(),), |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl Jobs {
    /// Forgets jobs that only series tell of, those of them that are still that.
    ///
    /// # Errors
    /// [`JobsError::Catalog`]; then all are there.
    pub fn forget_implied(&self, jobs: Vec<Subject>) -> Result<usize, JobsError> {
        let change = move |connection: &Connection| {
            let find =
                "SELECT subject_ref FROM subject WHERE kind = ?1 AND id = ?2 AND org = ?3 AND origin = 'metrics'";
            let mut forgotten = 0;
            for job in &jobs {
                let values = (SubjectKind::Job.as_str(), &job.id, &job.org);
                let found = connection.prepare_cached(find)?.query_row(values, |row| row.get(0)).optional()?;
                if let Some(found) = found {
                    retention::forget_subject(connection, found)?;
                    forgotten += 1;
                }
            }
            Ok(forgotten)
        };
        self.writer.write(change, |_| ())
    }
}
