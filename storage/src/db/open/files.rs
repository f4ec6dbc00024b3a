//! The files of a data directory when it is opened: what the manifest names is opened, what is corrupt is put aside, what
//! no manifest names goes.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::db::engine::{LiveSegment, Rollup};
use crate::db::prepared::open_segment;
use crate::error::StorageError;
use crate::io::Disk;
use crate::manifest::{Manifest, ManifestStore, SegmentEntry};
use crate::names::{Layout, manifest_version, segment_id, wal_number};
use crate::segment::Segment;
use crate::stats::Counters;
use crate::wal::replay::Suspects;

/// Puts manifests aside that are corrupt, after [`remove_strangers`] has put aside what only they may name: as long as one
/// is there, a start that is cut off is begun again.
pub(super) fn set_manifests_aside(
    disk: &dyn Disk,
    layout: &Layout,
    bad: &[String],
    counters: &Counters,
) -> Result<(), StorageError> {
    if bad.is_empty() {
        return Ok(());
    }
    disk.sync_dir(&layout.quarantine_dir())?;
    for name in bad {
        counters.findings.add(format!("{name} is corrupt and was put aside; the version before it counts"));
        disk.rename(&layout.root().join(name), &layout.quarantine_dir().join(name))?;
        counters.quarantined.add(1);
    }
    disk.sync_dir(layout.root())
}

/// Removes what a crash left: segments, manifests and WAL files that do not count. If a newer manifest is lost, the
/// segments may be what it named: they are put aside.
pub(super) fn remove_strangers(
    disk: &dyn Disk,
    layout: &Layout,
    manifest: &Manifest,
    is_old: bool,
) -> Result<(), StorageError> {
    for name in disk.list(&layout.segments_dir())? {
        if segment_id(&name).is_none_or(|id| manifest.has_file(id)) {
            continue;
        }
        let path = layout.segments_dir().join(&name);
        if is_old {
            disk.rename(&path, &layout.quarantine_dir().join(name))?;
        } else {
            disk.remove(&path)?;
        }
    }
    remove_parquet_strangers(disk, layout, manifest, is_old)?;
    for name in disk.list(layout.root())? {
        if manifest_version(&name).is_some_and(|version| version < manifest.version) {
            disk.remove(&layout.root().join(name))?;
        }
    }
    for name in disk.list(&layout.wal_dir())? {
        if wal_number(&name).is_some_and(|number| number < manifest.wal_floor) {
            disk.remove(&layout.wal_dir().join(name))?;
        }
    }
    Ok(())
}

fn remove_parquet_strangers(
    disk: &dyn Disk,
    layout: &Layout,
    manifest: &Manifest,
    is_old: bool,
) -> Result<(), StorageError> {
    let root = layout.parquet_dir();
    if disk.list_dirs(layout.root())?.iter().all(|name| !root.ends_with(name)) {
        return Ok(());
    }
    let files = manifest.segments.iter().flat_map(|entry| &entry.files);
    let known: BTreeSet<PathBuf> = files.map(|file| file.path(&root)).collect();
    for kind in disk.list_dirs(&root)? {
        for day in disk.list_dirs(&root.join(&kind))? {
            let dir = root.join(&kind).join(day);
            for name in disk.list(&dir)? {
                let path = dir.join(&name);
                match known.contains(&path) {
                    true => {}
                    false if is_old => disk.rename(&path, &layout.quarantine_dir().join(name))?,
                    false => disk.remove(&path)?,
                }
            }
        }
    }
    Ok(())
}

pub(super) fn highest_segment(disk: &dyn Disk, layout: &Layout) -> Result<Option<u64>, StorageError> {
    // Those put aside too, so that no other one gets their names.
    let (live, aside) = (disk.list(&layout.segments_dir())?, disk.list(&layout.quarantine_dir())?);
    Ok(live.iter().chain(&aside).filter_map(|name| segment_id(name)).max())
}

/// The files on which the last process ended, by name; none if it did not end so.
///
/// # Errors
/// [`StorageError::Io`].
pub(super) fn suspects(disk: &dyn Disk, layout: &Layout) -> Result<Suspects, StorageError> {
    let path = layout.suspects();
    if disk.len(&path)?.is_none() {
        return Ok(Suspects::new());
    }
    let region = disk.open(&path)?;
    let bytes = region.read_all()?;
    let paths = bytes.split(|byte| *byte == b'\n').map(|line| Path::new(OsStr::from_bytes(line)));
    Ok(paths.filter_map(|path| path.file_name().map(OsStr::to_owned)).collect())
}

/// As [`open_segment`]; of a suspect every byte is read, and what cannot be read counts as corrupt.
fn open_suspect(
    disk: &dyn Disk,
    layout: &Layout,
    entry: &SegmentEntry,
    suspects: &Suspects,
) -> Result<Segment, StorageError> {
    let files = entry.files.iter().map(|file| file.path(&layout.parquet_dir()));
    let mut paths = std::iter::once(layout.segment(entry.id)).chain(files);
    if !paths.any(|path| path.file_name().is_some_and(|name| suspects.contains(name))) {
        return open_segment(disk, layout, entry);
    }
    let unreadable = |error: StorageError| match error {
        StorageError::Io { path, source, .. } => {
            StorageError::Corrupt { path, offset: 0, detail: format!("it cannot be read: {source}") }
        }
        other => other,
    };
    let segment = open_segment(disk, layout, entry).map_err(unreadable)?;
    match segment.verify().into_iter().next() {
        Some(error) => Err(unreadable(error)),
        None => Ok(segment),
    }
}

/// Opens the segments of the manifest; one that is corrupt or gone is taken out of it, and the rest is served.
pub(super) fn open_segments(
    disk: &dyn Disk,
    layout: &Layout,
    manifests: &mut ManifestStore,
    suspects: &Suspects,
    counters: &Counters,
) -> Result<Vec<Arc<LiveSegment>>, StorageError> {
    let (mut live, mut bad) = (Vec::new(), Vec::new());
    for entry in manifests.current().segments.clone() {
        match open_suspect(disk, layout, &entry, suspects) {
            Ok(segment) => live.push(Arc::new(LiveSegment::new(entry, segment))),
            Err(StorageError::Corrupt { .. }) => bad.push(entry),
            Err(error) => return Err(error),
        }
    }
    let without: Vec<u64> = bad.iter().map(|entry| entry.id).collect();
    let next = manifests.current().with(&without, Vec::new());
    set_aside(disk, layout, &bad, counters, || manifests.install(next, |_| ()))?;
    Ok(live)
}

/// Opens the roll-ups of the manifest; one that is corrupt or gone is taken out of it, and its days are built anew if
/// their samples are there.
pub(super) fn open_rollups(
    disk: &dyn Disk,
    layout: &Layout,
    manifests: &mut ManifestStore,
    suspects: &Suspects,
    counters: &Counters,
) -> Result<Vec<Rollup>, StorageError> {
    let (mut rollups, mut bad) = (Vec::new(), Vec::new());
    for entry in manifests.current().rollups.runs.clone() {
        if !entry.has_file() {
            rollups.push(Rollup { entry, live: None });
            continue;
        }
        match open_suspect(disk, layout, &entry.segment, suspects) {
            Ok(segment) if segment.resolution_ms() == Some(entry.resolution_ms) => {
                let live = Some(Arc::new(LiveSegment::of_run(&entry, segment)));
                rollups.push(Rollup { entry, live });
            }
            Ok(_) | Err(StorageError::Corrupt { .. }) => bad.push(entry.segment),
            Err(error) => return Err(error),
        }
    }
    let mut next = Manifest::clone(manifests.current());
    next.rollups.runs.retain(|run| !run.has_file() || bad.iter().all(|bad| bad.id != run.segment.id));
    set_aside(disk, layout, &bad, counters, || manifests.install(next, |_| ()))?;
    Ok(rollups)
}

/// Puts corrupt files aside: named in the quarantine first, then taken out of the manifest, then gone from their places.
fn set_aside(
    disk: &dyn Disk,
    layout: &Layout,
    bad: &[SegmentEntry],
    counters: &Counters,
    install: impl FnOnce() -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    if bad.is_empty() {
        return Ok(());
    }
    for entry in bad {
        let path = layout.segment(entry.id);
        counters.findings.add(format!("{} is corrupt or gone and was put aside", path.display()));
        keep_in_quarantine(disk, layout, entry)?;
    }
    install()?;
    for entry in bad {
        disk.remove(&layout.segment(entry.id))?;
        entry.files.iter().try_for_each(|file| disk.remove(&file.path(&layout.parquet_dir())))?;
    }
    counters.quarantined.add(bad.len() as u64);
    counters.manifest_installs.add(1);
    Ok(())
}

/// Keeps the files of a corrupt segment as [`keep_files`] does. Their first names go after the manifest is without it.
pub(crate) fn keep_in_quarantine(disk: &dyn Disk, layout: &Layout, entry: &SegmentEntry) -> Result<(), StorageError> {
    let parquet = entry.files.iter().map(|file| file.path(&layout.parquet_dir()));
    keep_files(disk, layout, std::iter::once(layout.segment(entry.id)).chain(parquet))
}

/// Gives files that are there second names in the quarantine, which no start removes.
pub(super) fn keep_files(
    disk: &dyn Disk,
    layout: &Layout,
    paths: impl IntoIterator<Item = PathBuf>,
) -> Result<(), StorageError> {
    for path in paths {
        let Some(name) = path.file_name() else { continue };
        let kept = layout.quarantine_dir().join(name);
        if disk.len(&path)?.is_some() && disk.len(&kept)?.is_none() {
            disk.hard_link(&path, &kept)?;
        }
    }
    disk.sync_dir(&layout.quarantine_dir())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::tests::{NOW_MS, open, read_all, write};
    use crate::io::fake::FakeDisk;

    const DAY_MS: i64 = 86_400_000;

    /// A store of two days with a segment each, closed; the first segment is too large to be read whole when opened.
    fn two_days() -> (FakeDisk, Vec<PathBuf>) {
        let disk = FakeDisk::default();
        let db = open(&disk);
        let noise = |i: u64| f64::from_bits(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let samples: Vec<_> = (0..20_000).map(|i| (i % 500, NOW_MS - DAY_MS + i as i64, noise(i as u64))).collect();
        write(&db, &samples).unwrap();
        write(&db, &[(0, NOW_MS, 2.0)]).unwrap();
        db.flush().unwrap();
        drop(db);
        let is_segment = |path: &PathBuf| path.starts_with("/data/segments");
        let segments: Vec<PathBuf> = disk.paths().into_iter().filter(is_segment).collect();
        assert_eq!(segments.len(), 2);
        (disk, segments)
    }

    fn note(disk: &FakeDisk, path: &Path) {
        let mut file = disk.create(Path::new("/data/SUSPECTS")).unwrap();
        file.append(format!("{}\n", path.display()).as_bytes()).unwrap();
        file.sync().unwrap();
    }

    #[test]
    fn a_sound_suspect_is_served_and_forgotten() {
        let (disk, segments) = two_days();
        note(&disk, &segments[0]);
        let db = open(&disk);
        assert_eq!((db.stats().quarantined, db.stats().segments), (0, 2));
        assert!(db.findings()[0].contains(segments[0].file_name().unwrap().to_str().unwrap()), "{:?}", db.findings());
        drop(db);
        assert_eq!(open(&disk).findings(), Vec::<String>::new());
    }

    #[test]
    fn every_byte_of_a_suspect_is_read_at_the_start() {
        let (disk, segments) = two_days();
        let large = segments.iter().max_by_key(|path| disk.bytes(path).unwrap().len()).unwrap();
        let mut bytes = disk.bytes(large).unwrap();
        bytes[40] ^= 1;
        disk.damage(large, bytes);
        let db = open(&disk);
        assert_eq!(db.findings(), Vec::<String>::new(), "nobody has read it");
        drop(db);
        note(&disk, large);
        let db = open(&disk);
        assert_eq!((db.stats().quarantined, db.stats().quarantine_files, db.stats().segments), (1, 1, 1));
        assert_eq!(read_all(&db.snapshot()).len(), 1, "the rest is served");
    }
}
