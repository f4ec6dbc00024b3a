//! Copying a file so that it is whole under its name or not there, and hashing it on the way.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::BackupError;

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Length and hash of what was copied or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) bytes: u64,
    pub(super) hash: u128,
}

/// Copies a file to a name that it gets when it is whole and synced.
pub(super) fn copy(from: &Path, to: &Path) -> Result<Content, BackupError> {
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    let failed = |operation, path| BackupError::io(operation, path);
    let mut target = File::create(part).map_err(failed("create", part))?;
    let content = read(from, |chunk| target.write_all(chunk).map_err(failed("write", part)))?;
    target.sync_all().map_err(failed("sync", part))?;
    fs::rename(part, to).map_err(failed("rename", part))?;
    Ok(content)
}

/// Hashes a file.
pub(super) fn hash(path: &Path) -> Result<Content, BackupError> {
    read(path, |_| Ok(()))
}

fn read(path: &Path, mut take: impl FnMut(&[u8]) -> Result<(), BackupError>) -> Result<Content, BackupError> {
    let mut file = File::open(path).map_err(BackupError::io("open", path))?;
    let (mut hasher, mut bytes, mut chunk) = (Xxh3::new(), 0, vec![0; CHUNK_BYTES]);
    loop {
        let count = file.read(&mut chunk).map_err(BackupError::io("read", path))?;
        let Some(part) = chunk.get(..count).filter(|part| !part.is_empty()) else { break };
        hasher.update(part);
        take(part)?;
        bytes += part.len() as u64;
    }
    Ok(Content { bytes, hash: hasher.digest128() })
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), BackupError> {
    File::open(dir).and_then(|opened| opened.sync_all()).map_err(BackupError::io("sync directory", dir))
}

/// Creates the directory of a file.
pub(super) fn create_parent(path: &Path) -> Result<(), BackupError> {
    let dir = path.parent().unwrap_or(path);
    fs::create_dir_all(dir).map_err(BackupError::io("create directory", dir))
}

/// Puts the mark into a directory that says that it is not whole.
pub(super) fn mark(dir: &Path, text: &str) -> Result<(), BackupError> {
    fs::create_dir_all(dir).map_err(BackupError::io("create directory", dir))?;
    let path = dir.join(storage::INCOMPLETE);
    fs::write(&path, text).map_err(BackupError::io("write", &path))?;
    File::open(&path).and_then(|opened| opened.sync_all()).map_err(BackupError::io("sync", &path))?;
    sync_dir(dir)
}

/// Makes all directories of these files durable, and then takes the mark away.
pub(super) fn unmark<'a>(dir: &Path, files: impl Iterator<Item = &'a Path>) -> Result<(), BackupError> {
    let mut dirs: Vec<&Path> = files.filter_map(Path::parent).collect();
    dirs.sort_unstable();
    dirs.dedup();
    dirs.into_iter().try_for_each(|inner| sync_dir(&dir.join(inner)))?;
    sync_dir(dir)?;
    let path = dir.join(storage::INCOMPLETE);
    fs::remove_file(&path).map_err(BackupError::io("remove", &path))?;
    sync_dir(dir)?;
    match dir.parent().filter(|above| !above.as_os_str().is_empty()) {
        Some(above) => sync_dir(above),
        None => Ok(()),
    }
}
