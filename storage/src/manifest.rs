//! The live set: which segments count, and from which WAL file on the head is to be replayed.
//!
//! # Format (version 1)
//! | field | width | meaning |
//! |---|---|---|
//! | magic | 8 | [`MAGIC`] |
//! | format | 4 | of the file |
//! | reserved | 4 | 0 |
//! | store | 16 | id of the store |
//! | version | varint | of the manifest, as in its name |
//! | next segment | varint | no segment has this id or a higher one |
//! | WAL floor | varint | number of the first WAL file that counts |
//! | flushed | varint | highest sequence of a batch that went into segments |
//! | sections | varint | how many follow: kind (varint), length (varint), content |
//! | checksum | 8 | of all before |
//!
//! Section 1, segments: count, then for each: id, partition (0 for a run of several days, else 1 and the UTC day since
//! 1970, zigzag), first and last time (zigzag), lowest and highest sequence, series, samples, bytes, time of creation
//! (zigzag). Section 3, if there was ever a delete: the number that the next delete gets (varint), how many there are
//! (varint), and each as `deletes.rs` says. Section 5, if there are Parquet days: how many there are (varint), and for
//! each the id of its index and the number of its files (varints), and each file as `parquet/files.rs` says. Section 7,
//! if there are roll-ups: as `rollup/entry.rs` says. A section with an odd kind that is not known is an error: it says that
//! something must not be read without it. Others are skipped.
//!
//! [`ManifestStore::install`] is the one way in which a segment becomes visible or is given up.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::TimeRange;

use crate::deletes::Delete;
use crate::error::StorageError;
use crate::format::{Cursor, FormatError, FormatVersion, Put, checksum};
use crate::io::Disk;
use crate::names::{Layout, manifest_name, manifest_version};
use crate::options::{Probe, Step, reached};
use crate::parquet::DayFile;
use crate::rollup::entry::Rollups;

/// `SGMANIF` and a zero byte.
const MAGIC: &[u8; 8] = b"SGMANIF\0";
const FORMAT: FormatVersion = FormatVersion(1);
const SECTION_SEGMENTS: u64 = 1;
const SECTION_DELETES: u64 = 3;
const SECTION_PARQUET: u64 = 5;
const SECTION_ROLLUPS: u64 = 7;
const SEGMENT_ENTRY_BYTES_MIN: usize = 11;

/// A segment of the live set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentEntry {
    pub(crate) id: u64,
    /// The UTC day since 1970 that all samples belong to; none for a run of several days.
    pub(crate) day: Option<i64>,
    pub(crate) times: TimeRange,
    pub(crate) sequence_min: u64,
    pub(crate) sequence_max: u64,
    pub(crate) series: u64,
    pub(crate) samples: u64,
    pub(crate) bytes: u64,
    pub(crate) created_ms: i64,
    /// The files of which it is the index, if it is one of a Parquet day.
    pub(crate) files: Vec<DayFile>,
}

/// A version of the live set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Manifest {
    pub(crate) store: u128,
    pub(crate) version: u64,
    pub(crate) next_segment: u64,
    pub(crate) wal_floor: u64,
    pub(crate) flushed_sequence: u64,
    /// In order of (lowest sequence, id).
    pub(crate) segments: Vec<SegmentEntry>,
    /// The number that the next delete gets.
    pub(crate) next_delete: u64,
    /// In order of their numbers.
    pub(crate) deletes: Vec<Delete>,
    pub(crate) rollups: Rollups,
}

impl Manifest {
    /// The bytes of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.put_u32(FORMAT.0);
        out.put_u32(0);
        out.put_u64(self.store as u64);
        out.put_u64((self.store >> 64) as u64);
        for number in [self.version, self.next_segment, self.wal_floor, self.flushed_sequence] {
            out.put_varint(number);
        }
        let days: Vec<&SegmentEntry> = self.segments.iter().filter(|entry| entry.is_parquet()).collect();
        let has_rollups = self.rollups != Rollups::default();
        let more = [self.next_delete > 0, !days.is_empty(), has_rollups];
        out.put_varint(1 + more.into_iter().filter(|there| *there).count() as u64);
        let mut section = Vec::new();
        section.put_varint(self.segments.len() as u64);
        for entry in &self.segments {
            entry.encode(&mut section);
        }
        out.put_varint(SECTION_SEGMENTS);
        out.put_varint(section.len() as u64);
        out.append(&mut section);
        if self.next_delete > 0 {
            section.put_varint(self.next_delete);
            section.put_varint(self.deletes.len() as u64);
            self.deletes.iter().for_each(|delete| delete.encode(&mut section));
            out.put_varint(SECTION_DELETES);
            out.put_varint(section.len() as u64);
            out.append(&mut section);
        }
        if !days.is_empty() {
            encode_parquet(&days, &mut section);
            out.put_varint(SECTION_PARQUET);
            out.put_varint(section.len() as u64);
            out.append(&mut section);
        }
        if has_rollups {
            self.rollups.encode(&mut section);
            out.put_varint(SECTION_ROLLUPS);
            out.put_varint(section.len() as u64);
            out.append(&mut section);
        }
        let sum = checksum(&out);
        out.put_u64(sum);
        out
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`StorageError::NewerFormat`], [`StorageError::Corrupt`].
    pub(crate) fn decode(bytes: &[u8], path: &std::path::Path) -> Result<Self, StorageError> {
        let (format, rest) = decode_prefix(bytes).map_err(|error| error.in_file(path, 0))?;
        format.check(FORMAT, path)?;
        decode_content(rest).map_err(|error| error.in_file(path, 0))
    }

    /// The sealed files that this version needs, relative to the data directory: never written again, of any kind.
    /// Snapshots, backups and `verify` go by this list.
    pub(crate) fn sealed_files(&self) -> Vec<PathBuf> {
        self.segments.iter().chain(self.rollups.files()).flat_map(SegmentEntry::sealed_files).collect()
    }

    /// True if a segment or a run of roll-ups has this number.
    pub(crate) fn has_file(&self, id: u64) -> bool {
        self.segment(id).is_some() || self.rollups.files().any(|entry| entry.id == id)
    }

    /// The entry of a segment.
    pub(crate) fn segment(&self, id: u64) -> Option<&SegmentEntry> {
        self.segments.iter().find(|entry| entry.id == id)
    }

    /// The next version without these segments and with those.
    pub(crate) fn with(&self, removed: &[u64], added: Vec<SegmentEntry>) -> Manifest {
        let mut next = self.clone();
        next.segments.retain(|entry| !removed.contains(&entry.id));
        next.segments.extend(added);
        next.segments.sort_by_key(|entry| (entry.sequence_min, entry.id));
        next
    }
}

impl SegmentEntry {
    /// True if it is the index of a Parquet day.
    pub(crate) fn is_parquet(&self) -> bool {
        !self.files.is_empty()
    }

    /// True if a path is that of one of its files.
    pub(crate) fn has_file(&self, path: &Path, layout: &Layout) -> bool {
        *path == layout.segment(self.id) || self.files.iter().any(|file| *path == file.path(&layout.parquet_dir()))
    }

    /// Its files, relative to the data directory; the segment, which holds the checksums of all, is the first.
    pub(crate) fn sealed_files(&self) -> Vec<PathBuf> {
        let root = Layout::new("");
        let files = self.files.iter().map(|file| file.path(&root.parquet_dir()));
        std::iter::once(root.segment(self.id)).chain(files).collect()
    }

    /// Removes all its files; false if one of them is still there.
    pub(crate) fn remove_files(&self, disk: &dyn Disk, layout: &Layout) -> bool {
        let stays = |file: &PathBuf| disk.remove(&layout.root().join(file)).is_err();
        self.sealed_files().into_iter().filter(stays).count() == 0
    }

    /// Bytes of all its files.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.bytes + self.files.iter().map(|file| file.bytes).sum::<u64>()
    }

    /// Appends the bytes; those of its files are in a section of their own.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.id);
        match self.day {
            Some(day) => {
                out.put_u8(1);
                out.put_zigzag(day);
            }
            None => out.put_u8(0),
        }
        out.put_zigzag(self.times.start_ms);
        out.put_zigzag(self.times.end_ms);
        for number in [self.sequence_min, self.sequence_max, self.series, self.samples, self.bytes] {
            out.put_varint(number);
        }
        out.put_zigzag(self.created_ms);
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// [`FormatError`] if the bytes are none.
    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, FormatError> {
        let id = cursor.varint()?;
        let day = match cursor.u8()? {
            0 => None,
            1 => Some(cursor.zigzag()?),
            _ => return Err(cursor.error("a segment has an unknown kind of partition")),
        };
        let times = TimeRange { start_ms: cursor.zigzag()?, end_ms: cursor.zigzag()? };
        let (sequence_min, sequence_max) = (cursor.varint()?, cursor.varint()?);
        let (series, samples, bytes) = (cursor.varint()?, cursor.varint()?, cursor.varint()?);
        let created_ms = cursor.zigzag()?;
        if times.is_empty() || sequence_min > sequence_max {
            return Err(cursor.error("a segment's range ends before it begins"));
        }
        Ok(SegmentEntry {
            id,
            day,
            times,
            sequence_min,
            sequence_max,
            series,
            samples,
            bytes,
            created_ms,
            files: Vec::new(),
        })
    }
}

/// Checks magic and checksum; gives the format and the bytes between the two.
fn decode_prefix(bytes: &[u8]) -> Result<(FormatVersion, Cursor<'_>), FormatError> {
    let mut cursor = Cursor::new(bytes);
    if cursor.take(MAGIC.len())? != MAGIC {
        return Err(FormatError::new("this is no manifest"));
    }
    let counted = bytes.len().checked_sub(8).ok_or_else(|| cursor.error("the manifest is cut"))?;
    let (content, sum) = bytes.split_at_checked(counted).unwrap_or_default();
    if Cursor::new(sum).u64()? != checksum(content) {
        return Err(cursor.error("the manifest has a wrong checksum"));
    }
    let mut cursor = Cursor::new(content);
    cursor.take(MAGIC.len())?;
    let format = FormatVersion(cursor.u32()?);
    cursor.u32()?;
    Ok((format, cursor))
}

fn decode_content(mut cursor: Cursor<'_>) -> Result<Manifest, FormatError> {
    let store = u128::from(cursor.u64()?) | u128::from(cursor.u64()?) << 64;
    let (version, next_segment) = (cursor.varint()?, cursor.varint()?);
    let (wal_floor, flushed_sequence) = (cursor.varint()?, cursor.varint()?);
    let mut manifest = Manifest { store, version, next_segment, wal_floor, flushed_sequence, ..Manifest::default() };
    for _ in 0..cursor.varint()? {
        let kind = cursor.varint()?;
        let length = cursor.length()?;
        let mut section = Cursor::new(cursor.take(length)?);
        if kind == SECTION_SEGMENTS {
            let count = section.length()?;
            if count > section.rest().len() / SEGMENT_ENTRY_BYTES_MIN {
                return Err(cursor.error("the manifest has more segments than bytes"));
            }
            manifest.segments =
                (0..count).map(|_| SegmentEntry::decode(&mut section)).collect::<Result<_, FormatError>>()?;
            section.finish()?;
        } else if kind == SECTION_DELETES {
            manifest.next_delete = section.varint()?;
            let count = section.length()?;
            if count > section.rest().len() {
                return Err(cursor.error("the manifest has more deletes than bytes"));
            }
            manifest.deletes = (0..count).map(|_| Delete::decode(&mut section)).collect::<Result<_, FormatError>>()?;
            section.finish()?;
        } else if kind == SECTION_PARQUET {
            decode_parquet(&mut section, &mut manifest.segments)?;
            section.finish()?;
        } else if kind == SECTION_ROLLUPS {
            manifest.rollups = Rollups::decode(&mut section)?;
            section.finish()?;
        } else if kind % 2 == 1 {
            return Err(cursor.error("the manifest has a section that must be understood and is not known"));
        }
    }
    cursor.finish()?;
    Ok(manifest)
}

fn encode_parquet(days: &[&SegmentEntry], out: &mut Vec<u8>) {
    out.put_varint(days.len() as u64);
    for entry in days {
        out.put_varint(entry.id);
        out.put_varint(entry.files.len() as u64);
        entry.files.iter().for_each(|file| file.encode(out));
    }
}

/// Gives the files of the days to their segments, which stand before this section.
fn decode_parquet(cursor: &mut Cursor<'_>, segments: &mut [SegmentEntry]) -> Result<(), FormatError> {
    for _ in 0..cursor.varint()? {
        let (id, count) = (cursor.varint()?, cursor.varint()?);
        let Some(entry) = segments.iter_mut().find(|entry| entry.id == id) else {
            return Err(cursor.error("a Parquet day has no index"));
        };
        for _ in 0..count {
            entry.files.push(DayFile::decode(cursor)?);
        }
    }
    Ok(())
}

/// Writes versions of the manifest, one after the other.
#[derive(Debug)]
pub(crate) struct ManifestStore {
    disk: Arc<dyn Disk>,
    layout: Layout,
    probe: Option<Arc<dyn Probe>>,
    current: Arc<Manifest>,
    /// Above every version that was ever tried.
    next_version: u64,
    /// Older versions, and ones whose install failed after they may have got their names, whose files may still be there.
    left: Vec<u64>,
    /// Segments that only versions of the second kind name: they may count after a crash, until the next success.
    open: BTreeSet<u64>,
    /// Segments that do not count, whose files go with the next success.
    given_up: Vec<SegmentEntry>,
}

impl ManifestStore {
    /// Reads the newest sound version, or begins with an empty one; the second is the names of the versions that are
    /// not sound.
    ///
    /// # Errors
    /// [`StorageError::NewerFormat`], I/O errors; [`StorageError::Corrupt`] if there are versions and none is sound.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        layout: Layout,
        store: u128,
        probe: Option<Arc<dyn Probe>>,
    ) -> Result<(Self, Vec<String>), StorageError> {
        let mut versions: Vec<u64> =
            disk.list(layout.root())?.iter().filter_map(|name| manifest_version(name)).collect();
        versions.sort_unstable();
        let next_version = versions.last().map_or(1, |last| last.saturating_add(1));
        let (mut bad, mut first_error, mut found) = (Vec::new(), None, None);
        for version in versions.iter().rev() {
            let path = layout.manifest(*version);
            match Manifest::decode(&disk.open(&path)?.read_all()?, &path) {
                Ok(manifest) => {
                    found = Some(manifest);
                    break;
                }
                Err(error @ StorageError::Corrupt { .. }) => {
                    bad.push(manifest_name(*version));
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        let current = match (found, first_error) {
            (Some(manifest), _) => manifest,
            (None, Some(error)) => return Err(error),
            (None, None) => Manifest { store, next_segment: 1, wal_floor: 1, ..Manifest::default() },
        };
        let current = Arc::new(current);
        let (left, open, given_up) = (Vec::new(), BTreeSet::new(), Vec::new());
        Ok((ManifestStore { disk, layout, probe, current, next_version, left, open, given_up }, bad))
    }

    /// The version that counts.
    pub(crate) fn current(&self) -> &Arc<Manifest> {
        &self.current
    }

    /// Makes a version durable, and only then visible, by `swap`.
    ///
    /// The order is: write, sync, rename, sync the directory, swap. After an error the old version counts for this
    /// process. Which of the two counts after a crash is open from the rename on: files that are to go then are given to
    /// [`ManifestStore::give_up`].
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn install(
        &mut self,
        mut manifest: Manifest,
        swap: impl FnOnce(&Arc<Manifest>),
    ) -> Result<(), StorageError> {
        manifest.version = self.next_version;
        self.next_version += 1;
        let temporary = self.temporary(manifest.version);
        if let Err(error) = self.write(&manifest, &temporary) {
            // It is tried again and again on a full disk.
            let _ = self.disk.remove(&temporary);
            return Err(error);
        }
        if let Err(error) = self.name(&manifest, &temporary) {
            let _ = self.disk.remove(&temporary);
            self.left.push(manifest.version);
            let named = manifest.segments.iter().chain(manifest.rollups.files()).map(|entry| entry.id);
            self.open.extend(named.filter(|id| !self.current.has_file(*id)));
            return Err(error);
        }
        let before = std::mem::replace(&mut self.current, Arc::new(manifest));
        swap(&self.current);
        self.left.push(before.version);
        self.open.clear();
        self.remove_left();
        reached(&self.probe, Step::ManifestInstalled);
        Ok(())
    }

    /// After a success: removes what no version needs any more. What cannot be removed now is tried again after the
    /// next one, or at the next start.
    fn remove_left(&mut self) {
        let left = std::mem::take(&mut self.left);
        self.left.extend(left.into_iter().filter(|old| self.disk.remove(&self.layout.manifest(*old)).is_err()));
        let mut given_up = std::mem::take(&mut self.given_up);
        given_up.retain(|entry| !self.current.has_file(entry.id) && !entry.remove_files(&*self.disk, &self.layout));
        self.given_up = given_up;
    }

    /// Takes segments that do not count and that nobody will install; gives back those whose files may go now. Those
    /// that may count after a crash go with the next success.
    pub(crate) fn give_up(&mut self, gone: impl IntoIterator<Item = SegmentEntry>) -> Vec<SegmentEntry> {
        let (wait, go): (Vec<_>, Vec<_>) = gone.into_iter().partition(|entry| self.open.contains(&entry.id));
        self.given_up.extend(wait);
        go
    }

    /// Takes segments whose files could not be removed: it is tried again with the next success.
    pub(crate) fn remove_later(&mut self, gone: impl IntoIterator<Item = SegmentEntry>) {
        self.given_up.extend(gone);
    }

    fn temporary(&self, version: u64) -> PathBuf {
        self.layout.tmp_dir().join(manifest_name(version))
    }

    /// Writes a version and makes it durable under a temporary name.
    fn write(&self, manifest: &Manifest, temporary: &Path) -> Result<(), StorageError> {
        let mut file = self.disk.create(temporary)?;
        file.append(&manifest.encode())?;
        reached(&self.probe, Step::ManifestWritten);
        file.sync()?;
        reached(&self.probe, Step::ManifestSynced);
        Ok(())
    }

    /// Gives a version its name, durably.
    fn name(&self, manifest: &Manifest, temporary: &Path) -> Result<(), StorageError> {
        self.disk.rename(temporary, &self.layout.manifest(manifest.version))?;
        reached(&self.probe, Step::ManifestRenamed);
        self.disk.sync_dir(self.layout.root())?;
        reached(&self.probe, Step::ManifestDurable);
        Ok(())
    }
}

#[cfg(test)]
impl SegmentEntry {
    /// One sample of one series, anywhere in a day; what a test is about, it sets itself.
    pub(crate) fn of_day(id: u64, day: i64, bytes: u64) -> Self {
        SegmentEntry {
            id,
            day: Some(day),
            times: crate::db::prepared::Partition::of_day(day).times,
            sequence_min: id,
            sequence_max: id,
            series: 1,
            samples: 1,
            bytes,
            created_ms: 0,
            files: Vec::new(),
        }
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
