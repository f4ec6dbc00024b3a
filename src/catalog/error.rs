//! What can go wrong with the catalog.

use std::path::PathBuf;

/// Why a change was not made or the catalog cannot be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogError {
    /// The registry is full.
    #[error("the registry of components is full: limit report.max_components = {limit} reached")]
    TooManyComponents {
        /// `report.max_components`
        limit: usize,
    },
    /// What the components say of themselves takes as much memory as it may.
    #[error("the registry of components is full: limit report.max_registry_bytes = {limit} reached")]
    RegistryTooLarge {
        /// `report.max_registry_bytes`
        limit: u64,
    },
    /// There are as many retention rules as there may be.
    #[error("limit storage.max_retention_rules = {limit} reached")]
    TooManyRules {
        /// `storage.max_retention_rules`
        limit: usize,
    },
    /// The file was written by a newer version.
    #[error("{path} has schema version {found}, this version reads up to {known}")]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// The store takes nothing, nor does the catalog.
    #[error("read-only: {0}")]
    ReadOnly(String),
    /// The server is stopping.
    #[error("the catalog is closed")]
    Closed,
    /// We have a bug; the change may be kept.
    #[error("the change of the catalog panicked: {0}")]
    Panicked(String),
    /// SQLite failed; nothing of the change is kept.
    #[error("catalog: {0}")]
    Sqlite(std::sync::Arc<rusqlite::Error>),
    /// A file operation failed.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::sync::Arc<std::io::Error>,
    },
}

impl CatalogError {
    pub(super) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> CatalogError {
        CatalogError::Io { path: path.into(), source: std::sync::Arc::new(source) }
    }

    /// True if there is no room for a change now; the same may be tried later.
    pub fn is_read_only(&self) -> bool {
        match self {
            CatalogError::ReadOnly(_) => true,
            CatalogError::Sqlite(error) => error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            _ => false,
        }
    }

    /// True if the file is not what was written.
    pub(super) fn is_corrupt(&self) -> bool {
        let CatalogError::Sqlite(error) = self else { return false };
        matches!(
            error.sqlite_error_code(),
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
        )
    }
}

impl From<rusqlite::Error> for CatalogError {
    fn from(error: rusqlite::Error) -> Self {
        CatalogError::Sqlite(std::sync::Arc::new(error))
    }
}
