//! What programs that copy a data directory need to know of it: its files, and a lock against servers.

use std::path::{Path, PathBuf};

use crate::error::StorageError;
use crate::io::{Disk, DiskLock, RealDisk, Region};
use crate::manifest::Manifest;
use crate::names::{Layout, manifest_version, wal_number};
use crate::segment::{TRAILER_BYTES, examine};

/// A file that a copy of a data directory must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Its path in the data directory.
    pub path: PathBuf,
    /// Of a file that is never written again, so that copies may share it: the file whose end holds the checksum of all
    /// of it, which may be itself ([`have_same_seal`]).
    pub sealed_by: Option<PathBuf>,
}

impl DataFile {
    /// A file that is written again, or whose content nothing vouches for.
    pub fn unsealed(path: impl Into<PathBuf>) -> Self {
        DataFile { path: path.into(), sealed_by: None }
    }
}

/// The files that a copy of a data directory must have, in the order in which they are to be written: the manifest comes
/// last. The directory must be one that nobody changes: locked, or a saved snapshot.
///
/// # Errors
/// [`StorageError`] if the directory is not whole or its newest manifest is damaged: a copy would hold less than it
/// seems to. I/O errors.
pub fn data_files(data_dir: &Path) -> Result<Vec<DataFile>, StorageError> {
    let (disk, layout) = (RealDisk::pread(), Layout::new(data_dir));
    if disk.len(&layout.incomplete())?.is_some() {
        return Err(StorageError::Incomplete { path: data_dir.to_owned() });
    }
    let versions = disk.list(data_dir)?.into_iter().filter_map(|name| manifest_version(&name));
    let root = Layout::new("");
    let mut files = vec![DataFile::unsealed(root.store())];
    let mut manifest = None;
    if let Some(version) = versions.max() {
        let path = layout.manifest(version);
        manifest = Some(Manifest::decode(&disk.open(&path)?.read_all()?, &path)?);
    }
    for entry in manifest.iter().flat_map(|manifest| manifest.segments.iter().chain(manifest.rollups.files())) {
        // The index of a Parquet day holds the checksums of its files.
        let sealed = entry.sealed_files().into_iter();
        files.extend(sealed.map(|path| DataFile { path, sealed_by: Some(root.segment(entry.id)) }));
    }
    let floor = manifest.as_ref().map_or(0, |manifest| manifest.wal_floor);
    // A snapshot has no WAL.
    let logs = if layout.wal_dir().is_dir() { disk.list(&layout.wal_dir())? } else { Vec::new() };
    let numbers = logs.iter().filter_map(|name| wal_number(name)).filter(|number| *number >= floor);
    files.extend(numbers.map(|number| DataFile::unsealed(root.wal(number))));
    files.extend(manifest.map(|manifest| DataFile::unsealed(root.manifest(manifest.version))));
    Ok(files)
}

/// Keeps servers away from a data directory until it is dropped.
///
/// # Errors
/// [`StorageError::Locked`] if a server has it, I/O errors.
pub fn lock_data_dir(data_dir: &Path) -> Result<Box<dyn DiskLock>, StorageError> {
    RealDisk::pread().lock(&Layout::new(data_dir).lock())
}

/// What is wrong with the checksums of one sealed file, in words; nothing if it is sound, or of a kind without any.
///
/// # Errors
/// [`StorageError::NewerFormat`], I/O errors.
pub fn check_sealed_file(path: &Path) -> Result<Vec<String>, StorageError> {
    if !is_segment(path) {
        return Ok(Vec::new());
    }
    let found = examine(&RealDisk::pread(), path)?;
    Ok(found.errors.into_iter().map(|(offset, detail)| format!("byte {offset}: {detail}")).collect())
}

/// Whether two segments were written with the same content, by the checksum at their ends that covers all others: damage
/// since then does not count.
///
/// # Errors
/// I/O errors.
pub fn have_same_seal(a: &Path, b: &Path) -> Result<bool, StorageError> {
    let (a, b) = (RealDisk::pread().open(a)?, RealDisk::pread().open(b)?);
    let seal = |file: &dyn Region| -> Result<Vec<u8>, StorageError> {
        let start = file.len().saturating_sub(TRAILER_BYTES as u64);
        Ok(file.read(start, TRAILER_BYTES.min(usize::try_from(file.len()).unwrap_or(TRAILER_BYTES)))?.into_owned())
    };
    Ok(a.len() == b.len() && seal(&*a)? == seal(&*b)?)
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "seg")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::db::tests::{NOW_MS, TestClock, write};
    use crate::rollup::{RollupRule, RollupRules};
    use crate::{Db, DbOptions};

    #[test]
    fn a_copy_has_the_files_of_roll_ups_too() {
        let dir = tempfile::tempdir().unwrap();
        let rule = RollupRule { resolution_ms: 300_000, keep_ms: None, matchers: Vec::new() };
        let rollups = RollupRules::new(vec![rule]).unwrap();
        let options = DbOptions { free_bytes_min: 0, maintenance: false, rollups, ..DbOptions::new(dir.path()) };
        let db = Db::open(options, TestClock::new()).unwrap();
        let yesterday: Vec<_> = (0..200).map(|i| (0, NOW_MS - 86_400_000 - i * 60_000, i as f64)).collect();
        write(&db, &yesterday).unwrap();
        db.flush().unwrap();
        let before = data_files(dir.path()).unwrap().len();
        db.compact().unwrap();
        db.close().unwrap();
        let copied: BTreeSet<PathBuf> = data_files(dir.path()).unwrap().into_iter().map(|file| file.path).collect();
        let names = RealDisk::pread().list(&dir.path().join("segments")).unwrap();
        assert!(names.iter().all(|name| copied.contains(&Path::new("segments").join(name))), "{names:?}, {copied:?}");
        assert!(copied.len() > before, "{names:?}");
    }
}
