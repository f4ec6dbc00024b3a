//! The way back: a backup into an empty directory, each file compared with the list, and the whole verified.

use std::fs;
use std::path::{Path, PathBuf};

use super::copy::{copy, create_parent, hash, mark, unmark};
use super::list::{FILE_NAME, List};
use super::save::directories;
use super::{BackupError, Progress};

const MARK: &str = "a restore is being made here\n";

/// What is to be restored.
#[derive(Debug, Clone, Copy)]
pub struct Restore<'a> {
    /// A backup, or the directory of several, of which the newest is taken.
    pub from: &'a Path,
    /// The name of one of several.
    pub name: Option<&'a str>,
    /// Goes on beside files of the backup that are damaged.
    pub allows_damage: bool,
}

/// What was restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// The backup.
    pub backup: PathBuf,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// Files restored.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Files that are not as they were when the backup was made.
    pub damage: Vec<String>,
}

/// Restores a backup into a directory that is empty, or holds a restore that was cut off.
///
/// # Errors
/// [`BackupError`]; the directory does not open then, and the restore can be done again.
pub fn restore(what: Restore<'_>, target: &Path, progress: &mut Progress<'_>) -> Result<Restored, BackupError> {
    let (backup, list) = find_backup(what.from, what.name)?;
    refuse_full(target)?;
    mark(target, MARK)?;
    let mut restored = Restored { backup: backup.clone(), created_ms: list.created_ms, ..Restored::default() };
    for file in &list.files {
        let (from, to) = (backup.join(&file.path), target.join(&file.path));
        let is_right = |content: super::copy::Content| (content.bytes, content.hash) == (file.bytes, file.hash);
        // Of a restore that was cut off.
        if to.is_file() && is_right(hash(&to)?) {
            restored.files += 1;
            restored.bytes += file.bytes;
            continue;
        }
        progress("copy", &file.path)?;
        create_parent(&to)?;
        let outcome = copy(&from, &to).and_then(|content| {
            let detail = "its length or hash is not the one in the backup's list".to_owned();
            if is_right(content) { Ok(()) } else { Err(BackupError::Damaged { path: from.clone(), detail }) }
        });
        match outcome {
            Ok(()) => {}
            Err(error) if what.allows_damage && is_of(&error, &from) => restored.damage.push(error.to_string()),
            Err(error) => return Err(error),
        }
        restored.files += 1;
        restored.bytes += file.bytes;
    }
    unmark(target, list.files.iter().map(|file| file.path.as_path()))?;
    Ok(restored)
}

/// True if an error is about a file.
fn is_of(error: &BackupError, file: &Path) -> bool {
    match error {
        BackupError::Damaged { path, .. } | BackupError::Io { path, .. } => path == file,
        BackupError::Storage(_) | BackupError::Refused(_) => false,
    }
}

/// The backup itself, or the newest one in a directory of several.
fn find_backup(from: &Path, name: Option<&str>) -> Result<(PathBuf, List), BackupError> {
    if let Some(name) = name {
        let dir = from.join(name);
        let list = read_list(&dir)?;
        return Ok((dir, list));
    }
    if from.join(FILE_NAME).exists() || from.join(storage::INCOMPLETE).exists() {
        return Ok((from.to_owned(), read_list(from)?));
    }
    let whole = directories(from)?
        .into_iter()
        .filter(|dir| dir.join(FILE_NAME).exists() && !dir.join(storage::INCOMPLETE).exists());
    let mut found = Vec::new();
    for dir in whole {
        found.push((read_list(&dir)?, dir));
    }
    found.sort_by_key(|(list, _)| list.created_ms);
    match found.pop() {
        Some((list, dir)) => Ok((dir, list)),
        None => Err(BackupError::Refused(format!("there is no whole backup in {}", from.display()))),
    }
}

fn read_list(dir: &Path) -> Result<List, BackupError> {
    if dir.join(storage::INCOMPLETE).exists() {
        return Err(BackupError::Refused(format!("the backup {} was not finished", dir.display())));
    }
    let path = dir.join(FILE_NAME);
    let bytes = fs::read(&path).map_err(BackupError::io("read", &path))?;
    List::parse(&bytes).map_err(|detail| BackupError::Damaged { path, detail })
}

/// Nothing is written into a directory that holds something else than a restore that was cut off.
fn refuse_full(target: &Path) -> Result<(), BackupError> {
    let entries = match fs::read_dir(target) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(BackupError::io("list", target))?,
    };
    let is_empty = entries.count() == 0;
    // The mark itself may have been cut off.
    let is_cut = fs::read_to_string(target.join(storage::INCOMPLETE)).is_ok_and(|text| MARK.starts_with(&text));
    if is_empty || is_cut {
        return Ok(());
    }
    Err(BackupError::Refused(format!("{} is not empty: restore into a new directory", target.display())))
}
