//! Reading WAL files after a start.
//!
//! Of a sealed file everything up to its seal must be sound. The last file may have a torn tail: what was written after
//! its last sync. A bad record is a torn tail only if no later record says that the file was synced beyond it;
//! otherwise it is damage, which is reported and stepped over. The last record of all has no later one: it is reported
//! if it is whole and wrong, which no power loss leaves that loses whole sectors. What is bad in a part that the next file repeats is no
//! damage: it is there once more.
//!
//! Of a file on which the process before ended ([`crate::names::SUSPECTS`]) pages that the disk cannot read are damage;
//! of any other that is an error, because the next try may read them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use super::file::{ChainFile, FILE_HEADER_BYTES, FileHeader, FoundFile};
use super::log::LastFile;
use super::record::{HEADER_BYTES, MAGIC, RecordBody, RecordHeader, decode_body};
use crate::error::StorageError;
use crate::format::{Cursor, FormatError, checksum};
use crate::io::{Disk, Region};
use crate::names::Layout;

/// Names of the files on which the process before ended.
pub(crate) type Suspects = BTreeSet<OsString>;

/// Bytes that are read at once of a file that cannot be read as a whole.
const PAGE_BYTES: usize = 4096;

/// Bytes that a disk writes as a whole: what is missing of a write is missing in such pieces.
const SECTOR_BYTES: usize = 512;

/// A place where a WAL file is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) file: u64,
    pub(crate) offset: u64,
    pub(crate) detail: String,
}

/// What was found in a WAL file.
#[derive(Debug, Default)]
pub(crate) struct FileContent {
    /// Number of records that count.
    pub(crate) records: u64,
    pub(crate) damage: Vec<Damage>,
    /// Bytes that count: up to the seal, or to the torn tail.
    pub(crate) sound_bytes: u64,
    /// Of a sealed file: the sound records that the next file repeats. Of the last file: those behind the last place of
    /// which a record says that it was synced.
    pub(crate) unsure: Vec<u8>,
    /// A record says that something of this file was synced, so the file itself is on the disk.
    pub(crate) is_sure: bool,
    /// A part that counts cannot be read.
    pub(crate) has_gaps: bool,
}

/// Reads the records of a file of the chain and gives those that count to `sink`, in order.
///
/// # Errors
/// [`StorageError::Io`].
pub(crate) fn read_file(
    disk: &dyn Disk,
    layout: &Layout,
    file: ChainFile,
    suspects: &Suspects,
    sink: &mut dyn FnMut(RecordHeader, RecordBody),
) -> Result<FileContent, StorageError> {
    let path = layout.wal(file.number);
    let region = disk.open(&path)?;
    let (bytes, gaps) = read_bytes(&*region, is_suspect(suspects, &path))?;
    let mut content = FileContent::default();
    let end = match file.seal.map(|seal| usize::try_from(seal.bytes).unwrap_or(usize::MAX)) {
        Some(sealed) if sealed > bytes.len() => {
            let detail = format!("the file ends here, {sealed} bytes of it were synced");
            content.note(file, bytes.len(), detail);
            bytes.len()
        }
        Some(sealed) => sealed,
        None => bytes.len(),
    };
    for (at, detail) in gaps.into_iter().filter(|(at, _)| *at < end) {
        content.has_gaps = true;
        content.note(file, at, detail);
    }
    let counted = bytes.get(..end).unwrap_or_default();
    let synced_to = read_records(counted, file, &mut content, sink);
    content.is_sure = synced_to > 0;
    let from = file.seal.map_or(synced_to.max(FILE_HEADER_BYTES as u64), |seal| seal.repeated_from);
    let (from, to) = (usize::try_from(from).unwrap_or(usize::MAX), usize::try_from(content.sound_bytes));
    content.unsure = bytes.get(from..to.unwrap_or(usize::MAX)).unwrap_or_default().to_vec();
    Ok(content)
}

fn is_suspect(suspects: &Suspects, path: &Path) -> bool {
    path.file_name().is_some_and(|name| suspects.contains(name))
}

/// Where a part of a file begins that cannot be read, and why it cannot.
type Gap = (usize, String);

/// The bytes of a file. Of a suspect, pages that cannot be read are zeros.
fn read_bytes(region: &dyn Region, is_suspect: bool) -> Result<(Cow<'_, [u8]>, Vec<Gap>), StorageError> {
    let whole = region.read_all();
    if !is_suspect || !matches!(whole, Err(StorageError::Io { .. })) {
        return Ok((whole?, Vec::new()));
    }
    let mut bytes = vec![0; usize::try_from(region.len()).unwrap_or_default()];
    let (mut gaps, mut in_gap) = (Vec::new(), false);
    for (i, page) in bytes.chunks_mut(PAGE_BYTES).enumerate() {
        let at = i * PAGE_BYTES;
        match region.read(at as u64, page.len()) {
            Ok(read) => {
                page.copy_from_slice(&read);
                in_gap = false;
            }
            Err(StorageError::Io { source, .. }) => {
                if !std::mem::replace(&mut in_gap, true) {
                    gaps.push((at, format!("it cannot be read: {source}")));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok((Cow::Owned(bytes), gaps))
}

/// What the next file must say of the one that was last, after a start. `before` is the same without that one.
pub(crate) fn last_file(header: &FileHeader, content: FileContent, before: LastFile) -> LastFile {
    if content.is_sure {
        let repeated_from = content.sound_bytes.saturating_sub(content.unsure.len() as u64);
        let (number, bytes) = (header.number, content.sound_bytes);
        return LastFile { number, bytes, repeated_from, unsure: content.unsure };
    }
    // Nothing was ever appended to it, perhaps it was never synced: the next file takes its place.
    let whole = content.unsure.len() >= before.unsure.len();
    LastFile {
        number: header.previous_number,
        bytes: header.previous_bytes,
        repeated_from: header.repeated_from,
        unsure: if whole { content.unsure } else { before.unsure },
    }
}

impl FileContent {
    fn note(&mut self, file: ChainFile, offset: usize, detail: impl Into<String>) {
        let offset = offset as u64;
        if file.seal.is_none_or(|seal| offset < seal.repeated_from) {
            self.damage.push(Damage { file: file.number, offset, detail: detail.into() });
        }
    }
}

/// Reads the records; returns up to where the last of them says that the file was synced.
fn read_records(
    bytes: &[u8],
    file: ChainFile,
    content: &mut FileContent,
    sink: &mut dyn FnMut(RecordHeader, RecordBody),
) -> u64 {
    let mut position = FILE_HEADER_BYTES;
    // A bad place, until it is known whether it is damage or the tail.
    let mut suspect: Option<(usize, FormatError)> = None;
    let sealed = file.seal.is_some();
    let mut synced_to = 0;
    while position < bytes.len() {
        let rest = bytes.get(position..).unwrap_or_default();
        let header = RecordHeader::decode(rest);
        if let (Some((at, error)), Ok(header)) = (&suspect, &header)
            && (sealed || header.synced_to > *at as u64)
        {
            content.note(file, *at, error.detail);
            suspect = None;
        }
        match header.map_err(|error| (None, error)).and_then(|header| read_one(header, rest)) {
            Ok((header, body, length)) => {
                // Behind a suspect, and not known to be synced beyond it: this record was never acknowledged.
                if suspect.is_none() {
                    content.records += 1;
                    synced_to = synced_to.max(header.synced_to);
                    sink(header, body);
                }
                position += length;
            }
            Err((length, error)) => {
                suspect.get_or_insert((position, error));
                position += length.unwrap_or_else(|| next_magic(rest));
            }
        }
    }
    content.sound_bytes = match suspect {
        // Of a sealed file, too, only what is sound can be repeated.
        Some((at, error)) if sealed => {
            content.note(file, at, error.detail);
            at as u64
        }
        Some((at, error)) => {
            if !is_torn(bytes, at) {
                content.note(file, at, error.detail);
            }
            at as u64
        }
        None => bytes.len() as u64,
    };
    synced_to
}

/// True if the last bad place of a file looks like a write that was never finished: cut, or with a sector that is not
/// written. What is whole and wrong is damage, perhaps of a record that was acknowledged.
pub(crate) fn is_torn(bytes: &[u8], at: usize) -> bool {
    let rest = bytes.get(at..).unwrap_or_default();
    let length = match RecordHeader::decode(rest) {
        Ok(header) => HEADER_BYTES.saturating_add(header.stored_bytes as usize),
        Err(_) => rest.len().max(HEADER_BYTES),
    };
    let Some(mut record) = rest.get(..length) else { return true };
    let mut to_boundary = SECTOR_BYTES - at % SECTOR_BYTES;
    while !record.is_empty() {
        let (sector, behind) = record.split_at(to_boundary.min(record.len()));
        if sector.iter().all(|byte| *byte == 0) {
            return true;
        }
        (record, to_boundary) = (behind, SECTOR_BYTES);
    }
    false
}

/// Header, body and length of the record at the start of `rest`, or its length if the header at least is sound.
fn read_one(
    header: RecordHeader,
    rest: &[u8],
) -> Result<(RecordHeader, RecordBody, usize), (Option<usize>, FormatError)> {
    let length = HEADER_BYTES + header.stored_bytes as usize;
    let stored = rest.get(HEADER_BYTES..length).ok_or((None, FormatError::new("a record is cut")))?;
    let body = decode_body(&header, stored).map_err(|error| (Some(length), error))?;
    Ok((header, body, length))
}

/// Distance to the next place at which a record may begin.
fn next_magic(rest: &[u8]) -> usize {
    let is_magic = |window: &&[u8]| Cursor::new(window).u32() == Ok(MAGIC);
    let later = rest.get(1..).unwrap_or_default();
    later.windows(4).position(|window| is_magic(&window)).map_or(rest.len(), |at| at + 1)
}

/// The header of a file; none if it or the front behind it is not whole.
///
/// # Errors
/// [`StorageError::NewerFormat`], [`StorageError::Io`].
fn read_header(disk: &dyn Disk, path: &Path) -> Result<Option<FileHeader>, StorageError> {
    let region = disk.open(path)?;
    let length = usize::try_from(region.len()).unwrap_or(usize::MAX).min(FILE_HEADER_BYTES);
    let Some(header) = FileHeader::decode(&region.read(0, length)?, path)? else { return Ok(None) };
    if header.front_bytes > region.len().saturating_sub(FILE_HEADER_BYTES as u64) {
        return Ok(None);
    }
    let front = region.read(FILE_HEADER_BYTES as u64, usize::try_from(header.front_bytes).unwrap_or(usize::MAX))?;
    Ok(Some(header).filter(|_| checksum(&front) == header.front_checksum))
}

/// Looks at the WAL files with these numbers, which rise, and leaves out those that were never started.
///
/// # Errors
/// [`StorageError::NewerFormat`], [`StorageError::Io`].
pub(crate) fn find_files(
    disk: &dyn Disk,
    layout: &Layout,
    store: u128,
    numbers: impl Iterator<Item = u64>,
    suspects: &Suspects,
) -> Result<Vec<FoundFile>, StorageError> {
    let mut found = Vec::new();
    for number in numbers {
        let path = layout.wal(number);
        let header = match read_header(disk, &path) {
            Err(StorageError::Io { .. }) if is_suspect(suspects, &path) => None,
            header => header?.filter(|header| header.number == number && header.store == store),
        };
        if header.is_none() {
            let content = read_file(disk, layout, ChainFile { number, seal: None }, suspects, &mut |_, _| ())?;
            if !content.is_sure && !content.has_gaps {
                continue;
            }
        }
        found.push((number, header));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::io::fake::{Failure, FakeDisk};
    use crate::wal::log::{Log, WalFiles};
    use crate::wal::record::{RecordEncoder, Stamp};

    const STORE: u128 = 5;
    const NONE: Suspects = Suspects::new();

    fn layout() -> Layout {
        Layout::new("/d")
    }

    fn record(sequence: u64) -> Vec<u8> {
        let (mut encoder, mut out) = (RecordEncoder::new(), Vec::new());
        encoder.samples([(0, sequence as i64, 1.5)].into_iter());
        encoder.finish(Stamp { generation: 1, sequence, arrived_ms: 0 }, &mut out).unwrap();
        out
    }

    fn log(disk: &FakeDisk) -> Log {
        disk.create_dir(&layout().wal_dir()).unwrap();
        Log::new(Arc::new(disk.clone()), layout(), STORE, LastFile::default(), 1, Arc::new(WalFiles::default()))
    }

    fn replay(disk: &FakeDisk) -> (Vec<u64>, Vec<Damage>) {
        let (sequences, damage, _) = replay_all(disk);
        (sequences, damage)
    }

    /// As after a start: sequences, damage, and what the next file is told.
    fn replay_all(disk: &FakeDisk) -> (Vec<u64>, Vec<Damage>, LastFile) {
        let names = disk.list(&layout().wal_dir()).unwrap();
        let numbers = names.iter().map(|name| crate::names::wal_number(name).unwrap());
        let found = find_files(disk, &layout(), STORE, numbers, &NONE).unwrap();
        let (mut sequences, mut damage, mut last) = (Vec::new(), Vec::new(), LastFile::default());
        let (files, damaged) = crate::wal::file::chain(&found, 1);
        for number in damaged {
            damage.push(Damage { file: number, offset: 0, detail: "header".to_owned() });
        }
        for file in files {
            // As the engine does, which knows by the sequence what it has.
            let mut note = |header: RecordHeader, _: RecordBody| {
                if sequences.last().is_none_or(|last| *last < header.sequence) {
                    sequences.push(header.sequence);
                }
            };
            let content = read_file(disk, &layout(), file, &NONE, &mut note).unwrap();
            damage.extend(content.damage.clone());
            if let Some(header) = found.iter().find(|(n, _)| *n == file.number).unwrap().1 {
                last = last_file(&header, content, last);
            }
        }
        (sequences, damage, last)
    }

    #[test]
    fn a_torn_tail_costs_only_what_was_not_synced() {
        for seed in 0..100 {
            let disk = FakeDisk::default();
            let mut log = log(&disk);
            log.next_file().unwrap();
            log.append(&mut record(1)).unwrap();
            log.sync().unwrap();
            log.append(&mut [record(2), record(3)].concat()).unwrap();
            let (sequences, damage) = replay(&disk.crash(seed));
            assert!([1, 2, 3].starts_with(&sequences) && !sequences.is_empty(), "{seed}: {sequences:?}");
            assert!(damage.is_empty(), "{seed}: {damage:?}");
        }
    }

    /// The kernel may count pages as clean after a failed sync: then a restarted process syncs without an error, and
    /// they are not on the disk all the same.
    #[test]
    fn what_a_process_before_did_not_sync_is_written_again() {
        let disk = FakeDisk::default();
        let mut before = log(&disk);
        before.next_file().unwrap();
        before.append(&mut record(1)).unwrap();
        before.sync().unwrap();
        before.append(&mut record(2)).unwrap();
        disk.fail_kind_at("sync", 0, Failure::Once);
        before.sync().unwrap_err();
        let disk = disk.kill();
        assert_eq!(replay(&disk).0, [1, 2]);
        // Several starts, each killed after or in the middle of starting its first file.
        for kinds in [&[][..], &["write"], &["sync"], &["sync directory"], &["sync", "write", "sync", "none"]] {
            let mut disk = disk.kill();
            for (number, kind) in (2..).zip(kinds) {
                disk.fail_kind_at(kind, 0, Failure::Dead);
                start(&disk, number);
                disk = disk.kill();
            }
            let mut after = start(&disk, 10);
            after.append(&mut record(3)).unwrap();
            after.sync().unwrap();
            for seed in 0..40 {
                let (sequences, damage) = replay(&disk.crash(seed));
                assert_eq!(sequences, [1, 2, 3], "{kinds:?} {seed}");
                assert!(damage.is_empty(), "{kinds:?} {seed}: {damage:?}");
            }
        }
    }

    /// On a full disk it is tried again and again.
    #[test]
    fn a_file_that_cannot_be_started_is_removed() {
        let disk = FakeDisk::default();
        let mut log = log(&disk);
        log.next_file().unwrap();
        log.append(&mut record(1)).unwrap();
        log.sync().unwrap();
        for kind in ["create", "write", "sync", "sync directory"] {
            disk.fail_kind_at(kind, 0, Failure::Once);
            log.next_file().unwrap_err();
            assert_eq!(disk.list(&layout().wal_dir()).unwrap(), ["00000000000000000001.wal"], "{kind}");
        }
        log.next_file().unwrap();
        log.append(&mut record(2)).unwrap();
        log.sync().unwrap();
        for seed in 0..20 {
            assert_eq!(replay(&disk.crash(seed)), (vec![1, 2], vec![]));
        }
    }

    fn start(disk: &FakeDisk, number: u64) -> Log {
        let files = Arc::new(WalFiles::default());
        let mut log = Log::new(Arc::new(disk.clone()), layout(), STORE, replay_all(disk).2, number, files);
        let _ = log.next_file();
        log
    }

    #[test]
    fn damage_below_what_was_synced_is_reported_and_stepped_over() {
        let disk = FakeDisk::default();
        let mut log = log(&disk);
        log.next_file().unwrap();
        for sequence in 1..=3 {
            log.append(&mut record(sequence)).unwrap();
            log.sync().unwrap();
        }
        let path = layout().wal(1);
        let good = disk.bytes(&path).unwrap();
        let length = record(1).len();
        // In the second record: its magic, its header, its length, its body.
        for at in [0, 30, 17, HEADER_BYTES + 2] {
            let mut bytes = good.clone();
            bytes[FILE_HEADER_BYTES + length + at] ^= 0x40;
            disk.damage(&path, bytes);
            let (sequences, damage) = replay(&disk);
            assert_eq!(sequences, [1, 3], "byte {at}");
            assert_eq!(damage.len(), 1);
            assert_eq!(damage[0].offset, (FILE_HEADER_BYTES + length) as u64);
        }
        let mut bytes = good.clone();
        *bytes.last_mut().unwrap() ^= 1;
        disk.damage(&path, bytes);
        let (sequences, damage) = replay(&disk);
        assert_eq!((sequences, damage.len()), (vec![1, 2], 1), "whole and wrong is no torn tail");
        for cut in 1..length {
            disk.damage(&path, good[..good.len() - cut].to_vec());
            assert_eq!(replay(&disk), (vec![1, 2], vec![]), "cut by {cut}");
        }
        let mut bytes = good.clone();
        bytes[FILE_HEADER_BYTES + 2 * length..].fill(0);
        disk.damage(&path, bytes);
        assert_eq!(replay(&disk), (vec![1, 2], vec![]), "a sector that was not written");
    }

    /// A file whose header is damaged is told from one that was never started.
    #[test]
    fn damaged_headers_do_not_hide_files() {
        let disk = FakeDisk::default();
        let mut log = log(&disk);
        for sequence in [1, 3, 5] {
            log.next_file().unwrap();
            for sequence in [sequence, sequence + 1] {
                log.append(&mut record(sequence)).unwrap();
                log.sync().unwrap();
            }
        }
        for number in 1..=3 {
            let (disk, path) = (disk.kill(), layout().wal(number));
            let mut bytes = disk.bytes(&path).unwrap();
            bytes[20] ^= 1;
            disk.damage(&path, bytes);
            let (sequences, damage) = replay(&disk);
            assert_eq!(sequences, [1, 2, 3, 4, 5, 6]);
            assert_eq!(damage.iter().map(|d| d.file).collect::<Vec<_>>(), [number]);
            // The starts after that one find it again, as long as nothing was flushed.
            for next in 7..10 {
                let mut log = start(&disk, next);
                log.append(&mut record(next)).unwrap();
                log.sync().unwrap();
                let (sequences, damage) = replay(&disk);
                assert_eq!(sequences, (1..=next).collect::<Vec<_>>(), "{number} {next}");
                assert_eq!(damage.iter().map(|d| d.file).collect::<Vec<_>>(), [number]);
            }
        }
    }

    #[test]
    fn a_sealed_file_ends_at_its_seal_and_is_sound_before() {
        let disk = FakeDisk::default();
        let mut log = log(&disk);
        log.next_file().unwrap();
        log.append(&mut record(1)).unwrap();
        log.sync().unwrap();
        log.append(&mut record(2)).unwrap();
        disk.fail_kind_at("sync", 0, Failure::Once);
        log.sync().unwrap_err();
        log.append(&mut record(9)).unwrap_err();
        log.next_file().unwrap();
        log.append(&mut record(3)).unwrap();
        log.sync().unwrap();
        for disk in (0..20).map(|seed| disk.crash(seed)).chain([disk.kill()]) {
            assert_eq!(replay(&disk).0, [1, 3], "what was not synced was not acknowledged");
        }
        let mut bytes = disk.bytes(&layout().wal(1)).unwrap();
        bytes.truncate(FILE_HEADER_BYTES + 10);
        disk.damage(&layout().wal(1), bytes);
        let (sequences, damage) = replay(&disk);
        assert_eq!(sequences, [3]);
        assert!(!damage.is_empty(), "a sealed file has no torn tail");
    }

    #[test]
    fn a_failed_write_is_cut_off_by_the_seal() {
        let disk = FakeDisk::default();
        let mut log = log(&disk);
        log.next_file().unwrap();
        log.append(&mut record(1)).unwrap();
        disk.fail_kind_at("write", 0, Failure::Once);
        log.append(&mut record(2)).unwrap_err();
        log.next_file().unwrap();
        log.append(&mut record(3)).unwrap();
        log.sync().unwrap();
        let (sequences, damage) = replay(&disk.crash(3));
        assert_eq!(sequences, [1, 3], "what was written before the failure was synced with the seal");
        assert!(damage.is_empty());
    }

    #[test]
    fn a_file_that_could_not_be_started_is_left_out() {
        for kind in ["create", "write", "sync", "sync directory"] {
            let disk = FakeDisk::default();
            let mut log = log(&disk);
            log.next_file().unwrap();
            log.append(&mut record(1)).unwrap();
            log.sync().unwrap();
            disk.fail_kind_at(kind, 0, Failure::Once);
            log.next_file().unwrap_err();
            log.append(&mut record(2)).unwrap_err();
            log.next_file().unwrap();
            log.append(&mut record(3)).unwrap();
            log.sync().unwrap();
            for disk in (0..20).map(|seed| disk.crash(seed)).chain([disk.kill()]) {
                assert_eq!(replay(&disk).0, [1, 3], "{kind}");
            }
        }
    }
}
