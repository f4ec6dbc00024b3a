//! The files `STORE` and `MANIFEST-*`: which version counts, and whether the two fit together.

use super::segments::with_bit;
use super::{LOOKS_MAX, Work, damage_of, is_missing, whole_store};
use crate::db::store_file;
use crate::error::StorageError;
use crate::io::Disk;
use crate::manifest::Manifest;
use crate::names::{Layout, manifest_version};
use crate::repair::{flip, flipped_bit};

const NOT_OPENED: &str = "the store does not open; everything in it is touched";

/// The newest sound manifest.
pub(crate) fn newest(disk: &dyn Disk, layout: &Layout) -> Result<Option<Manifest>, StorageError> {
    let mut versions = versions(disk, layout)?;
    while let Some(version) = versions.pop() {
        let path = layout.manifest(version);
        let read = disk.open(&path).and_then(|file| Ok(file.read_all()?.into_owned()));
        if let Some(manifest) = read.ok().and_then(|bytes| Manifest::decode(&bytes, &path).ok()) {
            return Ok(Some(manifest));
        }
    }
    Ok(None)
}

/// The versions that are there, rising.
fn versions(disk: &dyn Disk, layout: &Layout) -> Result<Vec<u64>, StorageError> {
    let mut versions: Vec<u64> = disk.list(layout.root())?.iter().filter_map(|name| manifest_version(name)).collect();
    versions.sort_unstable();
    Ok(versions)
}

impl Work {
    /// The store's id and the manifest that counts, or that would if it were sound; an empty one if there is none.
    pub(super) fn find_manifest(&mut self) -> Result<(u128, Manifest), StorageError> {
        let store = self.verify_store_file()?;
        let mut found = None;
        // A server removes the old version after it has installed a new one.
        for _ in 0..LOOKS_MAX {
            found = self.read_manifests()?;
            if found.is_some() || versions(&*self.disk, &self.layout)?.is_empty() {
                break;
            }
        }
        let manifest = found.unwrap_or_default();
        let is_new = manifest.version == 0;
        if let Some(store) = store.filter(|store| !is_new && *store != manifest.store) {
            let detail = format!("it belongs to store {:032x}, the directory is store {store:032x}", manifest.store);
            let path = self.layout.manifest(manifest.version);
            self.report.damage.push(whole_store(
                path,
                Some(16),
                &["header"],
                &detail,
                "one of the two is of another store",
            ));
        }
        Ok((if is_new { store.unwrap_or_default() } else { manifest.store }, manifest))
    }

    fn verify_store_file(&mut self) -> Result<Option<u128>, StorageError> {
        let path = self.layout.store();
        let bytes = match self.disk.open(&path).and_then(|file| Ok(file.read_all()?.into_owned())) {
            Ok(bytes) => bytes,
            Err(error) if is_missing(&error) => {
                let detail = "it is missing: this is no data directory, or not a whole one";
                self.report.damage.push(whole_store(path, None, &["file"], detail, NOT_OPENED));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        self.count_file(bytes.len() as u64);
        match store_file::parse_strictly(&bytes, &path) {
            Ok(store) => Ok(Some(store.id)),
            Err(error) => {
                let (offset, detail) = damage_of(error)?;
                self.report.damage.push(whole_store(path, Some(offset), &["text"], &detail, NOT_OPENED));
                Ok(None)
            }
        }
    }

    /// Looks at all versions; the one that counts is the newest sound one. If there is none, the newest in which a
    /// single bit is wrong is what the store was.
    fn read_manifests(&mut self) -> Result<Option<Manifest>, StorageError> {
        let mut damaged = Vec::new();
        let mut found = None;
        for version in versions(&*self.disk, &self.layout)?.into_iter().rev() {
            let path = self.layout.manifest(version);
            let bytes = match self.disk.open(&path).and_then(|file| Ok(file.read_all()?.into_owned())) {
                Ok(bytes) => bytes,
                Err(error) if is_missing(&error) => continue,
                Err(error) => return Err(error),
            };
            self.count_file(bytes.len() as u64);
            match Manifest::decode(&bytes, &path) {
                Ok(manifest) if manifest.version == version => {
                    found.get_or_insert(manifest);
                }
                Ok(manifest) => {
                    let detail = format!("it says that it is version {}", manifest.version);
                    damaged.push((path, None, detail, None));
                }
                Err(error) => {
                    let (_, detail) = damage_of(error)?;
                    let is_sound = |bytes: &[u8]| Manifest::decode(bytes, &path).is_ok();
                    let bit = flipped_bit(&bytes, is_sound);
                    let repaired = bit.and_then(|bit| {
                        let mut right = bytes.clone();
                        flip(&mut right, bit);
                        Manifest::decode(&right, &path).ok()
                    });
                    let detail = with_bit(&detail, bit.map(|bit| bit as u64));
                    damaged.push((path, bit.map(|bit| bit as u64 / 8), detail, repaired));
                }
            }
        }
        for (path, offset, detail, repaired) in damaged {
            let effect = match &found {
                Some(sound) => format!("version {} counts instead: what came after it is not seen", sound.version),
                None => NOT_OPENED.to_owned(),
            };
            let mut damage = whole_store(path, offset, &["manifest"], &detail, &effect);
            let named = repaired.as_ref().map(|manifest| manifest.segments.as_slice()).unwrap_or_default();
            damage.touched.times = named.iter().map(|entry| entry.times).reduce(|a, b| a.union(&b));
            self.report.damage.push(damage);
            if found.is_none() {
                found = repaired;
            }
        }
        Ok(found)
    }
}
