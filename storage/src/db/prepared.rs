//! Writing segments: from an ordered stream of series to installed files, for flush and compaction alike.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use model::TimeRange;

use super::engine::{Engine, LiveSegment};
use crate::error::StorageError;
use crate::format::FormatError;
use crate::io::Disk;
use crate::manifest::SegmentEntry;
use crate::names::Layout;
use crate::options::{Step, reached};
use crate::parquet::{CheckedFile, DayFile, DayWriter, open_rows};
use crate::segment::{Segment, SegmentInfo, SegmentMeta, SegmentWriter};

/// Milliseconds of a day: the length of a partition.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// Segments that have their names and are durable, and are not yet installed.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) live: Vec<Arc<LiveSegment>>,
}

/// Segments that are being written. Unless they become [`Prepared`] their files go again, also if a panic goes by.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    engine: &'a Engine,
    pub(crate) live: Vec<Arc<LiveSegment>>,
}

/// A time partition that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Partition {
    /// The UTC day; none for several days.
    pub(crate) day: Option<i64>,
    pub(crate) times: TimeRange,
}

impl Partition {
    /// The partition of a day.
    pub(crate) fn of_day(day: i64) -> Self {
        let start_ms = day.saturating_mul(DAY_MS);
        let end_ms = day.checked_add(1).and_then(|next| next.checked_mul(DAY_MS)).map_or(i64::MAX, |next| next - 1);
        Partition { day: Some(day), times: TimeRange { start_ms, end_ms } }
    }

    /// What lies before a day.
    pub(crate) fn before_day(day: i64) -> Self {
        let end_ms = day.saturating_mul(DAY_MS).saturating_sub(1);
        Partition { day: None, times: TimeRange { start_ms: i64::MIN, end_ms } }
    }
}

/// The UTC day of a time.
pub(crate) fn day_of(timestamp_ms: i64) -> i64 {
    timestamp_ms.div_euclid(DAY_MS)
}

/// The newest `days_max` days each in a partition of its own, what is older in one; in order of time.
pub(crate) fn newest_days(days: &BTreeSet<i64>, days_max: usize) -> Vec<Partition> {
    let own: Vec<i64> = days.iter().rev().take(days_max.max(1)).copied().collect();
    let mut out: Vec<Partition> = own.iter().map(|day| Partition::of_day(*day)).collect();
    if let Some(oldest) = own.last().filter(|_| days.len() > own.len()) {
        out.push(Partition::before_day(*oldest));
    }
    out.reverse();
    out
}

/// A segment that is being written under its temporary name, removed again if it is not finished.
pub(crate) struct OpenSegment<'a> {
    engine: &'a Engine,
    partition: Partition,
    id: u64,
    temporary: PathBuf,
    /// What it is under its own name, from shortly before it gets it.
    named: Option<SegmentEntry>,
    finished: bool,
}

impl<'a> OpenSegment<'a> {
    /// Begins a segment.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn create(
        engine: &'a Engine,
        partition: Partition,
        sequences: (u64, u64),
    ) -> Result<(Self, SegmentWriter), StorageError> {
        let open = OpenSegment::begin(engine, partition);
        let mut writer = SegmentWriter::create(&*engine.disk, &open.temporary, meta(sequences))?;
        writer.set_preference(engine.options.codec);
        Ok((open, writer))
    }

    /// Begins a day of Parquet, with its index.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn create_day(
        engine: &'a Engine,
        day: i64,
        sequences: (u64, u64),
    ) -> Result<(Self, DayWriter<'a>), StorageError> {
        let open = OpenSegment::begin(engine, Partition::of_day(day));
        let (columns, index) = (&engine.options.parquet_columns, (open.id, open.temporary.as_path()));
        let writer = DayWriter::create(&*engine.disk, &engine.layout, columns, index, day, meta(sequences))?;
        Ok((open, writer))
    }

    fn begin(engine: &'a Engine, partition: Partition) -> Self {
        let id = engine.new_segment();
        let temporary = engine.layout.tmp_dir().join(crate::names::segment_name(id));
        OpenSegment { engine, partition, id, temporary, named: None, finished: false }
    }

    /// Finishes the segment and gives it its name; nothing if it has no samples. The name is not durable yet.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn finish(self, writer: SegmentWriter) -> Result<Option<Arc<LiveSegment>>, StorageError> {
        let info = writer.finish()?;
        self.name(info, Vec::new())
    }

    /// As [`OpenSegment::finish`]; the names of the Parquet files are durable.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn finish_day(self, writer: DayWriter<'_>) -> Result<Option<Arc<LiveSegment>>, StorageError> {
        let (info, files) = writer.finish()?;
        self.name(info, files)
    }

    fn name(mut self, info: SegmentInfo, files: Vec<DayFile>) -> Result<Option<Arc<LiveSegment>>, StorageError> {
        let engine = self.engine;
        if info.samples == 0 {
            return Ok(None);
        }
        let entry = SegmentEntry {
            id: self.id,
            day: self.partition.day,
            times: info.range,
            sequence_min: info.sequence_min,
            sequence_max: info.sequence_max,
            series: u64::from(info.series),
            samples: info.samples,
            bytes: info.bytes,
            created_ms: engine.clock.now_ms(),
            files,
        };
        self.named = Some(entry.clone());
        reached(&engine.options.probe, Step::SegmentWritten);
        engine.disk.rename(&self.temporary, &engine.layout.segment(self.id))?;
        reached(&engine.options.probe, Step::SegmentRenamed);
        let segment = open_segment(&*engine.disk, &engine.layout, &entry)?;
        self.finished = true;
        engine.counters.segments_written.add(1);
        engine.counters.segment_bytes_written.add(entry.total_bytes());
        Ok(Some(Arc::new(LiveSegment::new(entry, segment))))
    }
}

fn meta(sequences: (u64, u64)) -> SegmentMeta {
    SegmentMeta { sequence_min: sequences.0, sequence_max: sequences.1 }
}

/// Opens the files of a segment.
///
/// # Errors
/// [`StorageError::Corrupt`], also if one is not there; [`StorageError::NewerFormat`], [`StorageError::Io`].
pub(crate) fn open_segment(disk: &dyn Disk, layout: &Layout, entry: &SegmentEntry) -> Result<Segment, StorageError> {
    let path = layout.segment(entry.id);
    let corrupt = |detail| FormatError::new(detail).in_file(&path, 0);
    if disk.len(&path)? != Some(entry.bytes) {
        return Err(corrupt("it is gone or has a wrong length"));
    }
    let mut segment = Segment::open(disk, &path)?;
    let files = match segment.rows_section()? {
        Some(section) => CheckedFile::decode(&section).map_err(|error| error.in_file(&path, 0))?,
        None => Vec::new(),
    };
    if !files.iter().map(|checked| &checked.file).eq(&entry.files) {
        return Err(corrupt("it is the index of other files than the manifest says"));
    }
    if entry.is_parquet() {
        segment.attach(open_rows(disk, &layout.parquet_dir(), &files)?);
    }
    Ok(segment)
}

impl Drop for OpenSegment<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // What stays in `tmp` goes at the next start.
        let _ = self.engine.disk.remove(&self.temporary);
        self.engine.remove_files(&self.named);
    }
}

impl<'a> Draft<'a> {
    /// Without a segment yet.
    pub(crate) fn new(engine: &'a Engine) -> Self {
        Draft { engine, live: Vec::new() }
    }

    /// Makes the names of the segments durable.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn make_durable(mut self) -> Result<Prepared, StorageError> {
        self.engine.disk.sync_dir(&self.engine.layout.segments_dir())?;
        reached(&self.engine.options.probe, Step::SegmentsDurable);
        Ok(Prepared { live: std::mem::take(&mut self.live) })
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        self.engine.remove_files(self.live.iter().map(|live| &live.entry));
    }
}

impl Prepared {
    /// Removes the files again, now or as soon as it is certain that they do not count: they were not installed, and will
    /// not be.
    pub(crate) fn discard(self, engine: &Engine) {
        engine.remove_files(self.live.iter().map(|live| &live.entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_do_not_overflow() {
        assert_eq!((day_of(-1), day_of(0), day_of(DAY_MS - 1), day_of(DAY_MS)), (-1, 0, 0, 1));
        for ms in [i64::MIN, -1, 0, 1_700_000_000_000, i64::MAX] {
            assert!(Partition::of_day(day_of(ms)).times.contains(ms), "{ms}");
        }
        assert!(!Partition::before_day(0).times.contains(0) && Partition::before_day(0).times.contains(-1));
    }

    #[test]
    fn the_oldest_days_share_a_partition_when_there_are_too_many() {
        let days: BTreeSet<i64> = [3, 5, 7].into();
        let own = |day| Partition::of_day(day);
        assert_eq!(newest_days(&days, 3), [own(3), own(5), own(7)]);
        assert_eq!(newest_days(&days, 2), [Partition::before_day(5), own(5), own(7)]);
        assert_eq!(newest_days(&days, 0), [Partition::before_day(7), own(7)]);
        assert_eq!(newest_days(&BTreeSet::new(), 2), []);
    }
}
