//! The hold on retention: while rules may be missing, nothing is dropped for its age.
//!
//! A rule may keep series longer than `retention` does; without it the next flush or merge would drop what it kept. So a
//! file in the data directory says why retention is held. It is there before a new catalog is begun, outlives restarts, and
//! goes when someone confirms the rules.

use std::io::{ErrorKind, Write};
use std::path::Path;

use super::error::CatalogError;

/// The file's name in the data directory. Its first line is the reason.
pub const HOLD_FILE: &str = "RETENTION_HELD";

const ADVICE: &str = "\nNothing is dropped for its age. Set the rules again that are missing, then confirm them:\n\
                      POST /api/v1/admin/storage/retention/confirm\n";

/// Why retention is held, if it is.
pub(super) fn reason(data_dir: &Path) -> Result<Option<String>, CatalogError> {
    let path = data_dir.join(HOLD_FILE);
    match std::fs::read(&path) {
        Ok(bytes) => {
            // One that was cut off holds, too.
            let text = String::from_utf8_lossy(&bytes);
            Ok(Some(text.lines().next().unwrap_or("it is not noted why").to_owned()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CatalogError::io(path, error)),
    }
}

/// Holds retention, durably. The first reason stays.
pub(super) fn begin(data_dir: &Path, why: &str) -> Result<(), CatalogError> {
    if reason(data_dir)?.is_some() {
        return Ok(());
    }
    let path = data_dir.join(HOLD_FILE);
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create_new(&path)?;
        file.write_all(format!("{}\n{ADVICE}", why.replace('\n', " ")).as_bytes())?;
        file.sync_all()?;
        sync(data_dir)
    };
    write().map_err(|e| CatalogError::io(&path, e))
}

/// Ends the hold.
pub(super) fn end(data_dir: &Path) -> Result<(), CatalogError> {
    let path = data_dir.join(HOLD_FILE);
    let removed = match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => sync(data_dir),
    };
    removed.map_err(|e| CatalogError::io(&path, e))
}

fn sync(dir: &Path) -> std::io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}
