//! What was claimed of the states of jobs: the table `claim`.

use rusqlite::Connection;

use super::Known;
use crate::jobs::model::state::JobState;
use crate::jobs::push::{Amended, Claim, Contradiction, PushError, amend};

/// All claims of a job, in the order of time.
pub(super) fn all(connection: &Connection, job: &Known) -> Result<Vec<Claim>, PushError> {
    let sql = "SELECT at_ms, state, is_ours FROM claim WHERE subject_ref = ?1 ORDER BY at_ms";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map((job.reference(),), |row| {
        // The table has only words that we wrote.
        let state = JobState::of(row.get_ref(1)?.as_str()?).unwrap_or(JobState::Created);
        Ok(Claim { at_ms: row.get(0)?, state, is_ours: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Keeps a claim among the others; gives all that there are then.
pub(super) fn keep(
    connection: &Connection,
    job: &Known,
    mut claims: Vec<Claim>,
    new: Claim,
) -> Result<Vec<Claim>, PushError> {
    let Amended { is_kept, dropped } = amend(&claims, new).map_err(|found| refused(job, new, found))?;
    for at_ms in &dropped {
        let sql = "DELETE FROM claim WHERE subject_ref = ?1 AND at_ms = ?2";
        connection.prepare_cached(sql)?.execute((job.reference(), at_ms))?;
    }
    claims.retain(|claim| !dropped.contains(&claim.at_ms));
    if is_kept {
        let sql = "INSERT OR REPLACE INTO claim (subject_ref, at_ms, state, is_ours) VALUES (?1, ?2, ?3, ?4)";
        let values = (job.reference(), new.at_ms, new.state.as_str(), new.is_ours);
        connection.prepare_cached(sql)?.execute(values)?;
        claims.push(new);
        claims.sort_by_key(|claim| claim.at_ms);
    }
    Ok(claims)
}

fn refused(job: &Known, new: Claim, found: Contradiction) -> PushError {
    let id = job.subject.id.clone();
    let (claimed, at_ms) = (new.state.as_str(), new.at_ms);
    match found {
        Contradiction::HasEnded(end) => {
            PushError::HasEnded { id, state: end.state.as_str(), since_ms: end.at_ms, claimed, at_ms }
        }
        Contradiction::WentOn(later) => {
            PushError::WentOn { id, claimed, at_ms, state: later.state.as_str(), later_ms: later.at_ms }
        }
    }
}
