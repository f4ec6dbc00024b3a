//! Where documents are kept: tables of `catalog.db` (`catalog/schema.rs`).
//!
//! [`record`] writes, on the catalog's one writer; [`read`] reads, each view inside one transaction, so that what it puts
//! together belongs together; [`retention`] forgets; [`verify`] looks for damage. What engines push goes through [`pushed`],
//! commands for their agents through [`commands`]; [`implied`] gives way to those who know a job better than its series.

mod commands;
mod implied;
mod observation;
mod pushed;
mod read;
mod record;
mod retention;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rusqlite::Connection;

pub use commands::{CommandOrder, CommandReport};
pub(crate) use observation::ID_BYTES_MAX;
pub use observation::{Observation, Origin, Recorded, Subject, SubjectKind};
pub use read::{Known, Reader, Version};
pub use retention::Forgotten;
pub use verify::check;

pub(in crate::jobs) use pushed::agents::{AgentRow, GivenUp};

use super::error::JobsError;
use super::push::{Push, PushError, Pushed};
use crate::catalog::{Catalog, Writer};

/// Connections that wait for the next read; more are closed when their read ends.
const IDLE_READERS_MAX: usize = 8;

/// Limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobOptions {
    /// `jobs.max_jobs`
    pub jobs_max: usize,
    /// `jobs.max_implied_jobs`
    pub implied_max: usize,
    /// `jobs.max_documents`
    pub documents_max: usize,
    /// `jobs.max_document_bytes`
    pub document_bytes_max: usize,
    /// `jobs.max_pending_bytes`
    pub pending_bytes_max: u64,
    /// `jobs.max_checkpoints`, of one job
    pub checkpoints_max: usize,
    /// `jobs.max_attempts`, of one subtask
    pub attempts_max: usize,
    /// `jobs.retention` in milliseconds; none keeps for ever.
    pub retention_ms: Option<i64>,
    /// Of jobs that engines push.
    pub push: PushOptions,
}

/// Limits of what engines push, and of commands for their agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushOptions {
    /// `jobs.max_late_changes`
    pub late_changes_max: usize,
    /// `jobs.max_exceptions`, of one job
    pub failures_max: usize,
    /// `jobs.max_commands`, of one job
    pub commands_max: usize,
    /// `jobs.command_timeout` in milliseconds
    pub command_timeout_ms: i64,
    /// `jobs.command_result_timeout` in milliseconds
    pub command_result_timeout_ms: i64,
}

/// All jobs and clusters. Share it behind an `Arc`.
pub struct Jobs {
    path: PathBuf,
    options: JobOptions,
    writer: Arc<Writer>,
    readers: Mutex<Vec<Connection>>,
    pending_bytes: Arc<AtomicU64>,
}

impl Jobs {
    /// The jobs in a catalog.
    pub fn new(catalog: &Catalog, options: JobOptions) -> Jobs {
        Jobs {
            path: catalog.path().to_owned(),
            options,
            writer: catalog.writer(),
            readers: Mutex::default(),
            pending_bytes: Arc::default(),
        }
    }

    /// Records what was observed and returns when it is durable: all of the observation or nothing.
    ///
    /// # Errors
    /// [`JobsError`].
    pub fn record(&self, observation: Observation) -> Result<Recorded, JobsError> {
        observation.check(&self.options)?;
        let pending = Pending::admit(&self.pending_bytes, observation.bytes(), self.options.pending_bytes_max)?;
        let options = self.options;
        self.writer.write(
            move |connection| {
                // Given back when the change is made, not when it is acknowledged: it waits no more.
                let _pending = pending;
                record::record(connection, &observation, &options)
            },
            |_| (),
        )
    }

    /// Records what may be recorded of an observation whose source nobody can ask for less, and returns when it is durable;
    /// documents that are too large are left out. Gives why, of each. Where there are more documents than may be recorded
    /// at once, they are in parts, each whole or not at all.
    ///
    /// # Errors
    /// [`JobsError`]; parts before it are recorded.
    pub fn record_what_fits(&self, mut observation: Observation) -> Result<(Recorded, Vec<JobsError>), JobsError> {
        let left_out = observation.leave_out(&self.options);
        let mut recorded = Recorded::default();
        for part in observation.parts(self.options.documents_max, self.options.pending_bytes_max) {
            let Recorded { changed, unchanged } = self.record(part)?;
            recorded.changed += changed;
            recorded.unchanged += unchanged;
        }
        Ok((recorded, left_out))
    }

    /// Puts in what an engine tells of its job, and returns when it is durable: all of it or nothing.
    ///
    /// # Errors
    /// [`PushError`].
    pub fn push(&self, push: Push) -> Result<Pushed, PushError> {
        let pending = Pending::admit(&self.pending_bytes, push.bytes(), self.options.pending_bytes_max)?;
        let options = self.options;
        self.writer.write(
            move |connection| {
                let _pending = pending;
                pushed::push(connection, &push, &options)
            },
            |_| (),
        )
    }

    /// Records several observations, each whole or not at all, and returns when they are durable: they share a sync.
    /// Gives what came of each, in their order.
    ///
    /// # Errors
    /// [`JobsError`], if none could be recorded.
    pub fn record_all(&self, observations: Vec<Observation>) -> Result<Vec<Result<Recorded, JobsError>>, JobsError> {
        let bytes = observations.iter().map(Observation::bytes).sum();
        let pending = Pending::admit(&self.pending_bytes, bytes, self.options.pending_bytes_max)?;
        let options = self.options;
        self.writer.write(
            move |connection| {
                let _pending = pending;
                let each = |observation: &Observation| {
                    observation.check(&options)?;
                    record::record_in_savepoint(connection, observation, &options)
                };
                Ok::<_, JobsError>(observations.iter().map(each).collect())
            },
            |_| (),
        )
    }

    /// Gives up a job that nobody is heard of; false if it had ended.
    pub(in crate::jobs) fn give_up(&self, job: Subject, given_up: GivenUp) -> Result<bool, PushError> {
        let options = self.options;
        self.writer.write(move |connection| pushed::give_up(connection, &job, &given_up, &options), |_| ())
    }

    /// The agents of jobs that have not ended.
    pub(in crate::jobs) fn agents(&self) -> Result<Vec<AgentRow>, JobsError> {
        self.read(|reader| pushed::agents::all(reader.connection()))
    }

    /// Writes when agents were last heard of.
    pub(in crate::jobs) fn save_heard(&self, heard: Vec<(Subject, i64, bool)>) -> Result<(), JobsError> {
        self.writer.write(move |connection| pushed::agents::save_heard(connection, &heard), |()| ())
    }

    /// The limits.
    pub fn options(&self) -> &JobOptions {
        &self.options
    }

    /// Reads as of one moment of the file: what is committed meanwhile is not seen.
    ///
    /// # Errors
    /// What `view` gave, or [`JobsError::Catalog`].
    pub fn read<T>(&self, view: impl FnOnce(&Reader<'_>) -> Result<T, JobsError>) -> Result<T, JobsError> {
        // Two statements: the lock must not be held while a file is opened.
        let idle = self.readers.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => Catalog::reader(&self.path)?,
        };
        let seen = {
            let transaction = connection.unchecked_transaction()?;
            view(&Reader::new(&transaction))
        };
        let mut readers = self.readers.lock();
        if readers.len() < IDLE_READERS_MAX {
            readers.push(connection);
        }
        seen
    }

    /// Closes the connections that wait for reads. The catalog is closed after that: only its last connection moves the WAL
    /// into the file.
    pub(crate) fn close_readers(&self) {
        self.readers.lock().clear();
    }

    /// Forgets what is older than the retention and above the limits.
    ///
    /// # Errors
    /// [`JobsError::Catalog`]; the rest goes the next time.
    pub fn retain(&self, now_ms: i64) -> Result<Forgotten, JobsError> {
        retention::retain(self, now_ms)
    }

    /// Bytes that wait to be written.
    pub fn pending_bytes(&self) -> u64 {
        self.pending_bytes.load(Ordering::Relaxed)
    }
}

/// A share of the bytes that may wait; given back when dropped.
struct Pending {
    all: Arc<AtomicU64>,
    bytes: u64,
}

impl Pending {
    fn admit(all: &Arc<AtomicU64>, bytes: u64, limit: u64) -> Result<Pending, JobsError> {
        let admitted = all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            waiting.checked_add(bytes).filter(|sum| *sum <= limit)
        });
        admitted.map_err(|_| JobsError::Overloaded { limit })?;
        Ok(Pending { all: Arc::clone(all), bytes })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod tests;
