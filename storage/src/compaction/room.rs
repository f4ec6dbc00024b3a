//! Whether the disk has room for a piece of work in the background.
//!
//! What is merged lies there twice until it is installed. Without a look ahead a large day would take the free space that
//! `storage.min_free_bytes` keeps, and the store would refuse samples until the piece is done; or it would fill the disk,
//! fail, and begin again. What an operator asks for is tried in any case.

use std::sync::Arc;

use super::plan::{Effort, Job};
use crate::db::engine::{Engine, LiveSegment};
use crate::error::StorageError;
use crate::io::Space;
use crate::manifest::SegmentEntry;

/// A day of Parquet is reckoned at so many times the bytes of its segments: 2.2 were measured (`BENCHMARKS.md`).
const PARQUET_GROWTH: u64 = 3;

impl Engine {
    /// Refuses background work that would need of the free space that is kept.
    ///
    /// # Errors
    /// [`StorageError::Io`] that says what is needed, if the disk has no room.
    pub(super) fn check_room(&self, job: &Job, live: &[Arc<LiveSegment>], effort: Effort) -> Result<(), StorageError> {
        if effort == Effort::Everything {
            return Ok(());
        }
        // If nobody can tell, writing will show it.
        let Ok(space) = self.disk.space(self.layout.root()) else { return Ok(()) };
        let (floor, need) = (self.options.free_bytes_min, Need::of(job, live.iter().map(|live| &live.entry)));
        if need.bytes <= need.room(space, floor) {
            return Ok(());
        }
        let reason = format!(
            "no room to write up to {} bytes: {} are free, storage.min_free_bytes is {floor}",
            need.bytes, space.free_bytes
        );
        let source = std::io::Error::new(std::io::ErrorKind::StorageFull, reason);
        Err(StorageError::Io { operation: "compact", path: self.layout.root().to_owned(), source })
    }
}

/// What a piece of work needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Need {
    /// At most so many are written before anything is removed.
    bytes: u64,
    /// It only leaves out what may go, and so makes room.
    is_purge: bool,
}

impl Need {
    fn of<'a>(job: &Job, inputs: impl Iterator<Item = &'a SegmentEntry>) -> Need {
        let converts = |entry: &SegmentEntry| matches!(job, Job::Convert { .. }) && !entry.is_parquet();
        let (mut bytes, mut is_converted) = (0_u64, false);
        for entry in inputs {
            let growth = if converts(entry) { PARQUET_GROWTH } else { 1 };
            bytes = bytes.saturating_add(entry.total_bytes().saturating_mul(growth));
            is_converted |= converts(entry);
        }
        let is_purge = job.inputs().len() == 1 && !is_converted && !matches!(job, Job::Split { .. });
        Need { bytes, is_purge }
    }

    /// Bytes that may be taken. Below the floor the store is read-only already: then the work costs no sample, and may end
    /// that.
    fn room(self, space: Space, floor: u64) -> u64 {
        let keeps_floor = !self.is_purge && space.free_bytes >= floor;
        if keeps_floor { space.free_bytes - floor } else { space.free_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parquet::{DayFile, FileKind};

    fn entry(id: u64, bytes: u64, parquet_bytes: Option<u64>) -> SegmentEntry {
        let file = |bytes| DayFile { kind: FileKind::Samples, name: "samples".to_owned(), bytes, rows: 1 };
        SegmentEntry { files: parquet_bytes.map(file).into_iter().collect(), ..SegmentEntry::of_day(id, 0, bytes) }
    }

    #[test]
    fn a_day_of_parquet_needs_more_than_a_merge() {
        let (old, late) = (entry(1, 10, Some(200)), entry(2, 7, None));
        let need = |job: &Job, inputs: &[&SegmentEntry]| {
            let Need { bytes, is_purge } = Need::of(job, inputs.iter().copied());
            (bytes, is_purge)
        };
        assert_eq!(need(&Job::Merge { inputs: vec![2, 3], day: Some(0) }, &[&late, &entry(3, 5, None)]), (12, false));
        assert_eq!(need(&Job::Convert { inputs: vec![1, 2], day: 0 }, &[&old, &late]), (231, false));
        assert_eq!(need(&Job::Convert { inputs: vec![2], day: 0 }, &[&late]), (21, false));
        assert_eq!(need(&Job::Split { input: 2 }, &[&late]), (7, false));
        assert_eq!(need(&Job::of_one(&late), &[&late]), (7, true));
        assert_eq!(need(&Job::of_one(&old), &[&old]), (210, true));
    }

    #[test]
    fn the_floor_is_kept_unless_the_store_is_below_it_or_room_is_made() {
        let room =
            |is_purge, free_bytes| Need { bytes: 0, is_purge }.room(Space { free_bytes, total_bytes: 1000 }, 100);
        assert_eq!([99, 100, 130].map(|free| room(false, free)), [99, 0, 30]);
        assert_eq!([99, 100, 130].map(|free| room(true, free)), [99, 100, 130]);
    }
}
