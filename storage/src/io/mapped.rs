//! Mapped files, and which file an address belongs to: a read of a mapping that the disk cannot serve is no error but a
//! signal (SIGBUS), and who handles it has nothing but the address.

use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use memmap2::Mmap;
use parking_lot::Mutex;

use super::{Region, checked_range, outside};
use crate::error::StorageError;

/// Mapped files that can be named, as many as Linux allows mappings by default. Further ones are mapped without a name.
const NAMED_MAX: usize = 65_530;

/// A mapped file's place in memory.
#[derive(Debug)]
struct Place {
    /// Zero: nobody has the place. Written last when it is taken, first when it is given back.
    start: AtomicUsize,
    len: AtomicUsize,
    path: AtomicPtr<std::ffi::c_char>,
}

impl Place {
    const fn free() -> Place {
        Place { start: AtomicUsize::new(0), len: AtomicUsize::new(0), path: AtomicPtr::new(null_mut()) }
    }
}

static PLACES: [Place; NAMED_MAX] = [const { Place::free() }; NAMED_MAX];

/// Which places are taken.
static TAKEN: Mutex<Taken> = Mutex::new(Taken { ever: 0, free: Vec::new() });

#[derive(Debug)]
struct Taken {
    /// Places below this one were taken once.
    ever: usize,
    /// Of these, the ones that were given back.
    free: Vec<usize>,
}

/// The path of the mapped file that has this address, and the offset in the file.
///
/// Takes no lock and no memory: it may be called by a signal handler, on behalf of the thread whose read failed. That
/// thread holds the region, so its place cannot go meanwhile.
pub fn mapped_file_at(address: usize) -> Option<(&'static CStr, u64)> {
    PLACES.iter().find_map(|place| {
        let start = place.start.load(Ordering::Acquire);
        let offset = address.checked_sub(start).filter(|_| start != 0)?;
        let path = place.path.load(Ordering::Acquire);
        let is_inside = offset < place.len.load(Ordering::Acquire);
        // A place that changed hands in between is not the one of a region that is being read.
        if !is_inside || path.is_null() || place.start.load(Ordering::Acquire) != start {
            return None;
        }
        // SAFETY: the path is a text that `NamedPlace` keeps until it gives the place back, which it does after the
        // region has gone; see above for why that is not now.
        Some((unsafe { CStr::from_ptr(path) }, offset as u64))
    })
}

/// A place that is taken.
#[derive(Debug)]
struct NamedPlace {
    number: usize,
    /// What the place points to.
    _path: CString,
}

impl NamedPlace {
    /// Takes a place; none if all are taken.
    fn take(map: &Mmap, path: &Path) -> Option<NamedPlace> {
        let path = CString::new(path.as_os_str().as_bytes()).ok()?;
        let number = {
            let mut taken = TAKEN.lock();
            match taken.free.pop() {
                Some(number) => number,
                None => {
                    let number = taken.ever;
                    PLACES.get(number)?;
                    taken.ever += 1;
                    number
                }
            }
        };
        let place = PLACES.get(number)?;
        place.path.store(path.as_ptr().cast_mut(), Ordering::Release);
        place.len.store(map.len(), Ordering::Release);
        place.start.store(map.as_ptr().addr(), Ordering::Release);
        Some(NamedPlace { number, _path: path })
    }
}

impl Drop for NamedPlace {
    fn drop(&mut self) {
        if let Some(place) = PLACES.get(self.number) {
            place.start.store(0, Ordering::Release);
            place.path.store(null_mut(), Ordering::Release);
        }
        TAKEN.lock().free.push(self.number);
    }
}

/// A file that is read through a mapping.
#[derive(Debug)]
pub(super) struct MappedRegion {
    // Before the place: a region that is being read has its name.
    map: Mmap,
    path: PathBuf,
    _place: Option<NamedPlace>,
}

impl MappedRegion {
    /// Maps a file that is not empty.
    pub(super) fn new(file: &File, path: &Path) -> io::Result<MappedRegion> {
        // SAFETY: the engine never writes to or shortens a file that it has opened as a region (files are written
        // once and then only renamed and removed), and the directory lock keeps other processes of ours away. A file
        // that someone else cuts, or that the disk cannot read, ends in SIGBUS; `mapped_file_at` names it then.
        let map = unsafe { Mmap::map(file) }?;
        let place = NamedPlace::take(&map, path);
        Ok(MappedRegion { map, path: path.to_owned(), _place: place })
    }
}

impl Region for MappedRegion {
    fn len(&self) -> u64 {
        self.map.len() as u64
    }

    fn read(&self, offset: u64, len: usize) -> Result<Cow<'_, [u8]>, StorageError> {
        let bytes = checked_range(offset, len, self.len()).and_then(|range| self.map.get(range));
        bytes.map(Cow::Borrowed).ok_or_else(|| outside(&self.path, offset, len, self.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(dir: &Path, name: &str, bytes: usize) -> MappedRegion {
        let path = dir.join(name);
        std::fs::write(&path, vec![1; bytes]).unwrap();
        MappedRegion::new(&File::open(&path).unwrap(), &path).unwrap()
    }

    fn found(address: usize) -> Option<(PathBuf, u64)> {
        mapped_file_at(address).map(|(path, offset)| (PathBuf::from(path.to_str().unwrap()), offset))
    }

    #[test]
    fn an_address_has_a_file_as_long_as_the_region_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let one = region(dir.path(), "one", 10_000);
        let start = one.map.as_ptr().addr();
        assert_eq!(found(start), Some((dir.path().join("one"), 0)));
        assert_eq!(found(start + 9_999), Some((dir.path().join("one"), 9_999)));
        assert!(found(start + 10_000).is_none_or(|(path, _)| path != dir.path().join("one")));
        let number = one._place.as_ref().unwrap().number;
        drop(one);
        assert_eq!(PLACES[number].start.load(Ordering::Acquire), 0);
        // The place is used again, sooner or later by this very test.
        let many: Vec<_> = (0..100).map(|i| region(dir.path(), &format!("many-{i}"), 1)).collect();
        for (i, region) in many.iter().enumerate() {
            assert_eq!(found(region.map.as_ptr().addr()), Some((dir.path().join(format!("many-{i}")), 0)));
        }
        assert_eq!(found(0), None);
    }
}
