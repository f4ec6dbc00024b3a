//! What was agreed with the agents of jobs: the table `agent`.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row};

use super::super::observation::{Subject, SubjectKind};
use super::Known;
use crate::jobs::command::CommandKind;
use crate::jobs::error::JobsError;
use crate::jobs::push::{Terms, WhenMissed};

/// A job's agent as it stands in the file.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::jobs) struct AgentRow {
    pub(in crate::jobs) job: Subject,
    pub(in crate::jobs) terms: Terms,
    /// When it was last heard of, as far as it was written.
    pub(in crate::jobs) heard_ms: i64,
    pub(in crate::jobs) is_given_up: bool,
}

/// Why a job is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::jobs) struct GivenUp {
    /// When its agent was last heard of.
    pub(in crate::jobs) heard_ms: i64,
    /// When it is given up.
    pub(in crate::jobs) at_ms: i64,
    /// Milliseconds between two heartbeats.
    pub(in crate::jobs) interval_ms: i64,
    /// How many may be missing.
    pub(in crate::jobs) missed_max: u32,
    /// Whether it has failed; else it is stale.
    pub(in crate::jobs) has_failed: bool,
}

impl GivenUp {
    /// The name of the failure.
    pub(super) const NAME: &str = "HeartbeatsMissing";

    pub(super) fn reason(&self) -> String {
        let GivenUp { interval_ms, missed_max, .. } = self;
        let since = crate::report::timestamp::format(self.heard_ms);
        format!(
            "{}: no sign of life since {since}; more than {missed_max} heartbeats, one every {interval_ms} ms, were missed",
            GivenUp::NAME
        )
    }
}

/// Writes what an agent said when it registered the job.
pub(super) fn agree(connection: &Connection, job: &Known, terms: &Terms, now_ms: i64) -> Result<(), JobsError> {
    let commands: Vec<&str> = terms.commands.iter().map(|kind| kind.as_str()).collect();
    let sql = "INSERT INTO agent (subject_ref, commands, sends_heartbeats, interval_ms, missed_max, when_missed, heard_ms) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (subject_ref) DO UPDATE SET commands = excluded.commands, \
               sends_heartbeats = max(sends_heartbeats, excluded.sends_heartbeats), interval_ms = excluded.interval_ms, \
               missed_max = excluded.missed_max, when_missed = excluded.when_missed, \
               heard_ms = max(heard_ms, excluded.heard_ms)";
    let when_missed = terms.when_missed.map(WhenMissed::as_str);
    let values = (
        job.reference(),
        commands.join(" "),
        terms.sends_heartbeats,
        terms.interval_ms,
        terms.missed_max,
        when_missed,
        now_ms,
    );
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// True if the job had been given up; it is not any more.
pub(super) fn take_back(connection: &Connection, job: &Known) -> Result<bool, JobsError> {
    let sql = "UPDATE agent SET given_up_ms = NULL WHERE subject_ref = ?1 AND given_up_ms IS NOT NULL";
    Ok(connection.prepare_cached(sql)?.execute((job.reference(),))? > 0)
}

pub(super) fn mark_given_up(connection: &Connection, job: &Known, at_ms: i64) -> Result<(), JobsError> {
    let sql = "UPDATE agent SET given_up_ms = ?2 WHERE subject_ref = ?1";
    connection.prepare_cached(sql)?.execute((job.reference(), at_ms))?;
    Ok(())
}

/// Writes when agents were last heard of, and that they send heartbeats.
pub(in crate::jobs) fn save_heard(connection: &Connection, heard: &[(Subject, i64, bool)]) -> Result<(), JobsError> {
    let sql = "UPDATE agent SET heard_ms = max(heard_ms, ?3), sends_heartbeats = max(sends_heartbeats, ?4) \
               WHERE subject_ref = (SELECT subject_ref FROM subject WHERE kind = ?5 AND id = ?1 AND org = ?2)";
    let mut statement = connection.prepare_cached(sql)?;
    for (job, heard_ms, sends_heartbeats) in heard {
        statement.execute((&job.id, &job.org, heard_ms, sends_heartbeats, job.kind.as_str()))?;
    }
    Ok(())
}

const COLUMNS: &str = "s.org, s.id, a.commands, a.sends_heartbeats, a.interval_ms, a.missed_max, a.when_missed, a.heard_ms, a.given_up_ms";

/// The agents of all jobs that have not ended, or are only given up.
pub(in crate::jobs) fn all(connection: &Connection) -> Result<Vec<AgentRow>, JobsError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM agent a JOIN subject s USING (subject_ref) \
         WHERE s.origin = 'push' AND (s.ended_ms IS NULL OR a.given_up_ms IS NOT NULL)"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map((), of_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The agent of one job.
pub(in crate::jobs) fn of_job(connection: &Connection, job: &Known) -> Result<Option<AgentRow>, JobsError> {
    let sql = format!("SELECT {COLUMNS} FROM agent a JOIN subject s USING (subject_ref) WHERE a.subject_ref = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row((job.reference(),), of_row).optional()?)
}

fn of_row(row: &Row<'_>) -> rusqlite::Result<AgentRow> {
    let words: String = row.get(2)?;
    let commands: BTreeSet<CommandKind> = words.split(' ').filter_map(CommandKind::of).collect();
    let when_missed: Option<String> = row.get(6)?;
    Ok(AgentRow {
        job: Subject { kind: SubjectKind::Job, org: row.get(0)?, id: row.get(1)? },
        terms: Terms {
            commands,
            sends_heartbeats: row.get(3)?,
            interval_ms: row.get(4)?,
            missed_max: row.get(5)?,
            when_missed: when_missed.as_deref().and_then(WhenMissed::of),
        },
        heard_ms: row.get(7)?,
        is_given_up: row.get::<_, Option<i64>>(8)?.is_some(),
    })
}
