//! Making a backup of a directory that nobody changes: a saved snapshot, or a data directory under its lock.

use std::fs;
use std::path::{Path, PathBuf};

use storage::DataFile;

use super::copy::{Content, copy, create_parent, hash, mark, unmark};
use super::list::{FILE_NAME, List, ListedFile};
use super::{BackupError, Progress};
use crate::catalog;

const MARK: &str = "a backup is being made here\n";

/// What a backup took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// Where it is.
    pub path: PathBuf,
    /// Files and bytes in it.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Files that were copied; the others were there already.
    pub copied_files: u64,
    /// Bytes of these.
    pub copied_bytes: u64,
    /// What is damaged in the store, and so in the backup.
    pub damage: Vec<String>,
}

/// An earlier backup.
struct Earlier {
    dir: PathBuf,
    /// None if it was cut off.
    list: Option<List>,
}

/// Makes the backup `name` of `source` below `to`.
///
/// # Errors
/// [`BackupError`]; what was copied is used by the next try.
pub fn save(
    source: &Path,
    to: &Path,
    name: &str,
    now_ms: i64,
    progress: &mut Progress<'_>,
) -> Result<Saved, BackupError> {
    let target = to.join(name);
    if target.exists() {
        return Err(BackupError::Refused(format!("there is a backup {} already", target.display())));
    }
    let earlier = earlier_backups(to)?;
    let mut files = storage::data_files(source)?;
    for name in [catalog::FILE_NAME, catalog::HOLD_FILE] {
        if source.join(name).is_file() {
            // Before the manifest, which comes last.
            files.insert(files.len() - 1, DataFile::unsealed(name));
        }
    }
    mark(&target, MARK)?;
    let mut saved = Saved { path: target.clone(), ..Saved::default() };
    let mut list = List { created_ms: now_ms, files: Vec::new() };
    for file in &files {
        let content = save_file(source, &target, file, &earlier, progress, &mut saved)?;
        saved.files += 1;
        saved.bytes += content.bytes;
        list.files.push(ListedFile { path: file.path.clone(), bytes: content.bytes, hash: content.hash });
    }
    progress("list", Path::new(FILE_NAME))?;
    let path = target.join(FILE_NAME);
    fs::write(&path, list.render()).map_err(BackupError::io("write", &path))?;
    fs::File::open(&path).and_then(|opened| opened.sync_all()).map_err(BackupError::io("sync", &path))?;
    unmark(&target, list.files.iter().map(|file| file.path.as_path()))?;
    for cut in earlier.iter().filter(|earlier| earlier.list.is_none()) {
        fs::remove_dir_all(&cut.dir).map_err(BackupError::io("remove", &cut.dir))?;
    }
    Ok(saved)
}

fn save_file(
    source: &Path,
    target: &Path,
    file: &DataFile,
    earlier: &[Earlier],
    progress: &mut Progress<'_>,
    saved: &mut Saved,
) -> Result<Content, BackupError> {
    let (from, to) = (source.join(&file.path), target.join(&file.path));
    create_parent(&to)?;
    if let Some(seal) = &file.sealed_by
        && let Some((known, content)) = find_same(source, file, seal, earlier)?
    {
        progress("link", &file.path)?;
        // Where files cannot have two names they are copied.
        if fs::hard_link(&known, &to).is_ok() {
            return Ok(content);
        }
    }
    progress("copy", &file.path)?;
    let content = copy(&from, &to)?;
    saved.copied_files += 1;
    saved.copied_bytes += content.bytes;
    if file.sealed_by.is_some() {
        let damage = storage::check_sealed_file(&to)?;
        saved.damage.extend(damage.into_iter().map(|damage| format!("{}: {damage}", from.display())));
    }
    Ok(content)
}

/// The same sealed file in an earlier backup.
fn find_same(
    source: &Path,
    file: &DataFile,
    seal: &Path,
    earlier: &[Earlier],
) -> Result<Option<(PathBuf, Content)>, BackupError> {
    let from = source.join(&file.path);
    let bytes = fs::metadata(&from).map_err(BackupError::io("stat", &from))?.len();
    for backup in earlier {
        let (known, known_seal) = (backup.dir.join(&file.path), backup.dir.join(seal));
        let is_same_length = fs::metadata(&known).is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes);
        // After a restore of an old state, a name may stand for another file than before.
        if !is_same_length || !known_seal.is_file() || !storage::have_same_seal(&source.join(seal), &known_seal)? {
            continue;
        }
        let content = match &backup.list {
            Some(list) => list.find(&file.path).map(|listed| Content { bytes: listed.bytes, hash: listed.hash }),
            // Under its name it is whole, however far the backup got.
            None => Some(hash(&known)?),
        };
        if let Some(content) = content.filter(|content| content.bytes == bytes) {
            return Ok(Some((known, content)));
        }
    }
    Ok(None)
}

/// The backups below a directory, newest first.
fn earlier_backups(to: &Path) -> Result<Vec<Earlier>, BackupError> {
    let mut found = Vec::new();
    for dir in directories(to)? {
        // Cut off before it had its mark, it is empty.
        let is_empty = fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_none());
        let is_cut = is_empty || dir.join(storage::INCOMPLETE).exists();
        let list = fs::read(dir.join(FILE_NAME)).ok().and_then(|bytes| List::parse(&bytes).ok());
        // A directory that is neither is none of ours.
        if is_cut && !is_empty && !is_marked_by_us(&dir) || !is_cut && list.is_none() {
            continue;
        }
        found.push(Earlier { dir, list: list.filter(|_| !is_cut) });
    }
    found.sort_by_key(|earlier| std::cmp::Reverse(earlier.list.as_ref().map(|list| list.created_ms)));
    Ok(found)
}

fn is_marked_by_us(dir: &Path) -> bool {
    fs::read_to_string(dir.join(storage::INCOMPLETE)).is_ok_and(|text| MARK.starts_with(&text))
}

/// The directories in a directory; none if it is not there.
pub(super) fn directories(dir: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let failed = || BackupError::io("list", dir);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed())?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed())?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}
