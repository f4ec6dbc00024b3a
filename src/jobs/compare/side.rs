//! What the documents say of one run.

use model::TimeRange;

use crate::jobs::diagnosis::Facts;
use crate::jobs::error::JobsError;
use crate::jobs::model::checkpoint::{Checkpoint, CheckpointSettings};
use crate::jobs::model::run::{Run, Settings};
use crate::jobs::model::state::{CheckpointState, JobState};
use crate::jobs::store::{Known, Reader};
use crate::jobs::timeline::restarts_in;

/// One run. Times are milliseconds since it began.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Side {
    /// Its id.
    pub id: String,
    /// Its name, if known.
    pub name: Option<String>,
    /// What it does.
    pub state: Option<JobState>,
    /// When it began, in milliseconds since 1970.
    pub started_ms: i64,
    /// How long it ran, or runs so far, or until nobody heard of it any more.
    pub length_ms: i64,
    /// True if it has ended.
    pub is_over: bool,
    /// Its operators at its end.
    pub facts: Facts,
    /// How long it took until it ran.
    pub start_up_ms: Option<i64>,
    /// When it restarted.
    pub restarts_ms: Vec<i64>,
    /// Its checkpoints, oldest first.
    pub checkpoints: Vec<CheckpointPoint>,
    /// What it was started with.
    pub settings: Option<Settings>,
    /// How it takes checkpoints.
    pub checkpoint_settings: Option<CheckpointSettings>,
}

/// A checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointPoint {
    /// Its number.
    pub id: i64,
    /// When it was triggered.
    pub at_ms: i64,
    /// How far it is.
    pub state: CheckpointState,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
    /// The size of its state.
    pub state_bytes: i64,
}

impl Side {
    /// Reads a run, as far as it was known at a time.
    ///
    /// # Errors
    /// [`JobsError`].
    pub fn read(reader: &Reader<'_>, job: &Known, at_ms: i64) -> Result<Side, JobsError> {
        let run = reader.document::<Run>(job, "", at_ms)?.map(|version| version.document);
        let facts = Facts::read(reader, job, at_ms)?;
        let started_ms = facts.started_ms.unwrap_or(job.first_ms);
        let end_ms = facts.ended_ms.unwrap_or(facts.at_ms);
        let since = |at_ms: i64| at_ms.saturating_sub(started_ms);
        let all = TimeRange { start_ms: started_ms, end_ms };
        let running = run.as_ref().and_then(|run| run.state_times.get(&JobState::Running)).copied();
        let restarts = restarts_in(reader, job, all, at_ms)?;
        let mut checkpoints: Vec<CheckpointPoint> = reader
            .documents::<Checkpoint>(job, at_ms)?
            .into_iter()
            .map(|version| version.document)
            .filter(|checkpoint| !checkpoint.is_savepoint && checkpoint.state != CheckpointState::InProgress)
            .map(|checkpoint| CheckpointPoint {
                id: checkpoint.id,
                at_ms: since(checkpoint.triggered_ms),
                state: checkpoint.state,
                duration_ms: checkpoint.sizes.duration_ms,
                state_bytes: checkpoint.sizes.state_bytes,
            })
            .collect();
        checkpoints.sort_by_key(|checkpoint| checkpoint.id);
        Ok(Side {
            id: job.subject.id.clone(),
            name: run.as_ref().map(|run| run.name.clone()),
            state: facts.state,
            started_ms,
            length_ms: since(end_ms).max(0),
            is_over: facts.ended_ms.is_some(),
            // After a restart the time of the state is that of the last one.
            start_up_ms: running.filter(|_| restarts.is_empty()).map(since).filter(|ms| *ms >= 0),
            restarts_ms: restarts.iter().map(|event| since(event.at_ms)).collect(),
            checkpoints,
            settings: reader.document::<Settings>(job, "", at_ms)?.map(|version| version.document),
            checkpoint_settings: reader.document::<CheckpointSettings>(job, "", at_ms)?.map(|version| version.document),
            facts,
        })
    }
}
