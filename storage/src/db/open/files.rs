//! The files of a data directory when it is opened: what the manifest names is opened, what is corrupt is put aside, what
//! no manifest names goes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::db::engine::{LiveSegment, Rollup};
use crate::db::prepared::open_segment;
use crate::error::StorageError;
use crate::io::Disk;
use crate::manifest::{Manifest, ManifestStore, SegmentEntry};
use crate::names::{Layout, manifest_version, segment_id, wal_number};
use crate::stats::Counters;

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

/// Opens the segments of the manifest; one that is corrupt or gone is taken out of it, and the rest is served.
pub(super) fn open_segments(
    disk: &dyn Disk,
    layout: &Layout,
    manifests: &mut ManifestStore,
    counters: &Counters,
) -> Result<Vec<Arc<LiveSegment>>, StorageError> {
    let (mut live, mut bad) = (Vec::new(), Vec::new());
    for entry in manifests.current().segments.clone() {
        match open_segment(disk, layout, &entry) {
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
    counters: &Counters,
) -> Result<Vec<Rollup>, StorageError> {
    let (mut rollups, mut bad) = (Vec::new(), Vec::new());
    for entry in manifests.current().rollups.runs.clone() {
        if !entry.has_file() {
            rollups.push(Rollup { entry, live: None });
            continue;
        }
        match open_segment(disk, layout, &entry.segment) {
            Ok(segment) if segment.resolution_ms() == Some(entry.resolution_ms) => {
                let live = Some(Arc::new(LiveSegment::new(entry.segment.clone(), segment)));
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

/// Gives the files of a corrupt segment second names that no start removes. The first go after the manifest is without
/// it.
pub(crate) fn keep_in_quarantine(disk: &dyn Disk, layout: &Layout, entry: &SegmentEntry) -> Result<(), StorageError> {
    let parquet = entry.files.iter().map(|file| file.path(&layout.parquet_dir()));
    for path in std::iter::once(layout.segment(entry.id)).chain(parquet) {
        let Some(name) = path.file_name() else { continue };
        let kept = layout.quarantine_dir().join(name);
        if disk.len(&path)?.is_some() && disk.len(&kept)?.is_none() {
            disk.hard_link(&path, &kept)?;
        }
    }
    disk.sync_dir(&layout.quarantine_dir())
}
