//! The catalog: components with their heartbeats, and retention rules, in `catalog.db` (SQLite); [`crate::jobs`] keeps
//! its tables in the same file and writes through the same thread.
//!
//! One thread writes ([`writer`]); a change is acknowledged after its commit is synced, and only then shown. Reads are
//! answered from memory: there are few components, and each report asks for its own. The file is in WAL mode and can be
//! read with standard tools while the server runs. [`schema`] owns its tables and their versions.

mod components;
mod error;
mod hold;
mod mirror;
mod rules;
mod schema;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;

pub use components::{Component, NewComponent, OFFLINE, Registered, Source};
pub use error::CatalogError;
pub use hold::HOLD_FILE;
pub use rules::rules_of;

use crate::telemetry::Telemetry;
use mirror::Mirror;
pub(crate) use writer::Writer;

/// The file's name in the data directory.
pub const FILE_NAME: &str = "catalog.db";

/// Where files go that cannot be used.
const QUARANTINE: &str = "quarantine";

/// Limits and expectations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogOptions {
    /// `report.max_components`
    pub components_max: usize,
    /// `report.max_registry_bytes`
    pub bytes_max: u64,
    /// `storage.max_retention_rules`
    pub rules_max: usize,
    /// Milliseconds between two heartbeats of a component that registered (`noetl.worker_heartbeat_interval`).
    pub heartbeat_interval_ms: i64,
    /// Milliseconds between two reports of a component that only reports (`noetl.worker_metrics_interval`).
    pub report_interval_ms: i64,
}

/// Components and rules of one data directory. Share it behind an `Arc`.
pub struct Catalog {
    path: PathBuf,
    options: CatalogOptions,
    writer: Arc<Writer>,
    mirror: Arc<RwLock<Mirror>>,
}

impl Catalog {
    /// Opens or creates the catalog in a data directory. A file that is not a database goes to `quarantine/`, with an
    /// error in the log, and a new one is begun; retention is held then, as beside a rule that cannot be read.
    ///
    /// # Errors
    /// [`CatalogError::NewerSchema`], I/O errors.
    pub fn open(
        data_dir: &Path,
        options: CatalogOptions,
        telemetry: Arc<Telemetry>,
        now_ms: i64,
    ) -> Result<Catalog, CatalogError> {
        std::fs::create_dir_all(data_dir).map_err(|e| CatalogError::io(data_dir, e))?;
        let path = data_dir.join(FILE_NAME);
        let opened = match schema::open(&path) {
            Err(error) if error.is_corrupt() => {
                let why = format!("{FILE_NAME} could not be read, and with it no retention rule: {error}");
                hold::begin(data_dir, &why)?;
                let kept = quarantine(data_dir, now_ms)?;
                tracing::error!(%error, kept = %kept.display(), "the catalog cannot be read; a new one is begun");
                schema::open(&path)
            }
            opened => opened,
        };
        let connection = opened?;
        let mut mirror = Mirror::load(&connection)?;
        if let Some(text) = mirror.unreadable_rules.first() {
            hold::begin(data_dir, &rules::unreadable_reason(text))?;
        }
        mirror.held = hold::reason(data_dir)?;
        let mirror = Arc::new(RwLock::new(mirror));
        Ok(Catalog { path, options, writer: Arc::new(Writer::start(connection, telemetry)?), mirror })
    }

    /// The options.
    pub fn options(&self) -> CatalogOptions {
        self.options
    }

    /// The one way to write to the file, for who has tables of his own in it.
    pub(crate) fn writer(&self) -> Arc<Writer> {
        Arc::clone(&self.writer)
    }

    /// A connection that only reads.
    pub(crate) fn reader(path: &Path) -> Result<rusqlite::Connection, CatalogError> {
        schema::open_for_reading(path)
    }

    /// A connection to a file that perhaps no server has open; it changes nothing, and knows the version of the file.
    pub(crate) fn read_only(path: &Path) -> Result<rusqlite::Connection, CatalogError> {
        schema::read_only(path)
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a copy of what is committed now into another directory, whole and synced; retention is held there as here.
    ///
    /// # Errors
    /// I/O errors; also if there is such a file.
    pub fn copy_to(&self, dir: &Path) -> Result<(), CatalogError> {
        if let Some(held) = self.retention_hold() {
            hold::begin(dir, &held)?;
        }
        let copy = dir.join(FILE_NAME);
        schema::copy(&self.path, &copy)?;
        let synced = |path: &Path| std::fs::File::open(path).and_then(|opened| opened.sync_all());
        synced(&copy).and_then(|()| synced(dir)).map_err(|e| CatalogError::io(&copy, e))
    }

    /// Refuses changes from now on with [`CatalogError::ReadOnly`] while `reason` gives one: what the disk has no room for in
    /// the store, it has none for in here.
    pub(crate) fn refuse_while(&self, reason: impl Fn() -> Option<String> + Send + Sync + 'static) {
        self.writer.set_gate(reason);
    }

    /// Ends the writer when all changes so far are committed; later changes fail with [`CatalogError::Closed`].
    pub fn close(&self) {
        self.writer.close();
    }
}

/// Says what is wrong with the file of a catalog, without changing it: nothing if it is sound.
pub fn check(path: &Path) -> Vec<String> {
    match schema::check(path) {
        Ok(problems) => problems,
        Err(error) => vec![error.to_string()],
    }
}

/// Moves the file with SQLite's two beside it out of the way.
fn quarantine(data_dir: &Path, now_ms: i64) -> Result<std::path::PathBuf, CatalogError> {
    let folder = data_dir.join(QUARANTINE);
    let moved = || -> std::io::Result<std::path::PathBuf> {
        std::fs::create_dir_all(&folder)?;
        let kept = folder.join(format!("{FILE_NAME}.{now_ms}"));
        for suffix in ["", "-wal", "-shm"] {
            let from = data_dir.join(format!("{FILE_NAME}{suffix}"));
            if from.exists() {
                std::fs::rename(&from, folder.join(format!("{FILE_NAME}.{now_ms}{suffix}")))?;
            }
        }
        Ok(kept)
    };
    moved().map_err(|e| CatalogError::io(&folder, e))
}

#[cfg(test)]
mod tests;
