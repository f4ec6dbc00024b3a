//! Says what is in a data directory or in one segment file: partitions, segments, sections, codecs, metrics, WAL files.
//!
//! It only reads, by checked `pread`, and takes no lock; of a running server's directory it shows one moment. What
//! cannot be read is named in the answer and left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use model::{Labels, METRIC_NAME, TimeRange};

use crate::error::StorageError;
use crate::io::{Disk, RealDisk};
use crate::manifest::{Manifest, SegmentEntry};
use crate::names::{Layout, segment_id, wal_number};
use crate::retention::day_text;
use crate::segment::{Segment, SegmentBytes};

/// What is in a data directory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoreContent {
    /// Id of the store.
    pub store: u128,
    /// Version of the manifest.
    pub manifest_version: u64,
    /// Sequence of the last batch that is in segments.
    pub flushed_sequence: u64,
    /// Deletes that are not purged.
    pub deletes: u64,
    /// The segments, newest partition first.
    pub segments: Vec<SegmentContent>,
    /// The files of the WAL that count or may: number and bytes.
    pub wal_files: Vec<(u64, u64)>,
    /// Names of the files in the quarantine.
    pub quarantine: Vec<String>,
    /// All metrics of the segments.
    pub metrics: Vec<MetricContent>,
    /// What could not be read, in words.
    pub unread: Vec<String>,
}

/// What is in a segment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SegmentContent {
    /// The file.
    pub path: PathBuf,
    /// Its id; none if the name is not that of a segment.
    pub id: Option<u64>,
    /// The partition: a UTC day as `YYYY-MM-DD`; none for several days, or if only the file is known.
    pub day: Option<String>,
    /// Flushed runs that went into it are not told apart any more; segments merged into it by compaction have one
    /// sequence range together: first and last batch.
    pub sequences: (u64, u64),
    /// Times of its samples.
    pub times: Option<TimeRange>,
    /// Series in it.
    pub series: u64,
    /// Samples in it.
    pub samples: u64,
    /// Length of the file.
    pub bytes: u64,
    /// The Parquet files of which it is the index: name below `parquet/`, bytes and rows.
    pub parquet: Vec<(String, u64, u64)>,
    /// Bytes of each section, in order of the file.
    pub sections: Vec<(String, u64)>,
    /// Blocks and bytes of values by codec.
    pub codecs: BTreeMap<String, (u64, u64)>,
    /// Columns of times, of which series that arrive together share one.
    pub time_columns: u64,
    /// Names of its label names.
    pub label_names: Vec<String>,
}

/// What is in the segments of one metric.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricContent {
    /// The value of `__name__`; empty for series without one.
    pub name: String,
    /// Series, each counted in each segment that has it.
    pub series: u64,
    /// Samples.
    pub samples: u64,
    /// Bytes of their values and times; times that several series share count with the first.
    pub bytes: u64,
}

/// Reads a data directory.
///
/// # Errors
/// [`StorageError`] if it has no readable manifest, I/O errors.
pub fn inspect(data_dir: &Path) -> Result<StoreContent, StorageError> {
    inspect_on(&RealDisk::pread(), data_dir)
}

/// Reads a segment file.
///
/// # Errors
/// [`StorageError`] if the file is no readable segment.
pub fn inspect_segment(path: &Path) -> Result<(SegmentContent, Vec<MetricContent>), StorageError> {
    let mut metrics = BTreeMap::new();
    let content = segment_content(&RealDisk::pread(), path, None, &mut metrics)?;
    Ok((content, by_bytes(metrics)))
}

pub(crate) fn inspect_on(disk: &dyn Disk, data_dir: &Path) -> Result<StoreContent, StorageError> {
    let layout = Layout::new(data_dir);
    let manifest = crate::verify::newest_manifest(disk, &layout)?.unwrap_or_default();
    let mut content = StoreContent {
        store: manifest.store,
        manifest_version: manifest.version,
        flushed_sequence: manifest.flushed_sequence,
        deletes: manifest.deletes.len() as u64,
        ..StoreContent::default()
    };
    let mut metrics = BTreeMap::new();
    for entry in in_order(&manifest) {
        let path = layout.segment(entry.id);
        match segment_content(disk, &path, Some(entry), &mut metrics) {
            Ok(segment) => content.segments.push(segment),
            Err(error) => content.unread.push(error.to_string()),
        }
    }
    // A snapshot has none of these directories.
    let listed = |dir: PathBuf| disk.list(&dir).unwrap_or_default();
    for number in listed(layout.wal_dir()).iter().filter_map(|name| wal_number(name)) {
        let bytes = disk.len(&layout.wal(number))?.unwrap_or_default();
        content.wal_files.push((number, bytes));
    }
    content.quarantine = listed(layout.quarantine_dir());
    content.metrics = by_bytes(metrics);
    Ok(content)
}

/// Newest partition first, in it in order of sequence; runs of several days last.
fn in_order(manifest: &Manifest) -> Vec<&SegmentEntry> {
    let mut entries: Vec<&SegmentEntry> = manifest.segments.iter().collect();
    entries.sort_by_key(|entry| (std::cmp::Reverse(entry.day), entry.sequence_min, entry.id));
    entries
}

fn by_bytes(metrics: BTreeMap<String, MetricContent>) -> Vec<MetricContent> {
    let mut list: Vec<MetricContent> = metrics.into_values().collect();
    list.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    list
}

fn segment_content(
    disk: &dyn Disk,
    path: &Path,
    entry: Option<&SegmentEntry>,
    metrics: &mut BTreeMap<String, MetricContent>,
) -> Result<SegmentContent, StorageError> {
    let segment = Segment::open(disk, path)?;
    let info = segment.info();
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut content = SegmentContent {
        path: path.to_owned(),
        id: segment_id(name),
        day: entry.and_then(|entry| entry.day).map(day_text),
        sequences: (info.sequence_min, info.sequence_max),
        times: Some(info.range).filter(|range| !range.is_empty()),
        series: u64::from(info.series),
        samples: info.samples,
        bytes: info.bytes,
        sections: segment.section_bytes(),
        parquet: entry.map(parquet_files).unwrap_or_default(),
        label_names: segment.label_names().map(str::to_owned).collect(),
        ..SegmentContent::default()
    };
    let parquet_bytes: u64 = content.parquet.iter().map(|(_, bytes, _)| bytes).sum();
    let mut columns = BTreeSet::new();
    for ordinal in 0..segment.len() {
        let SegmentBytes { values, times, time_column, blocks } = segment.bytes_of(ordinal)?;
        let times = if columns.insert(time_column) { times } else { 0 };
        for (codec, bytes) in blocks {
            let counted = content.codecs.entry(codec).or_default();
            *counted = (counted.0 + 1, counted.1 + bytes);
        }
        let labels = segment.labels(ordinal)?;
        let metric = metric_of(&labels, metrics);
        metric.series += 1;
        let samples = u64::from(segment.sample_count(ordinal)?);
        metric.samples += samples;
        // Rows of a Parquet day share pages: each sample counts the same.
        let rows = u128::from(parquet_bytes) * u128::from(samples) / u128::from(info.samples.max(1));
        metric.bytes += values + times + u64::try_from(rows).unwrap_or_default();
    }
    content.time_columns = columns.len() as u64;
    Ok(content)
}

fn parquet_files(entry: &SegmentEntry) -> Vec<(String, u64, u64)> {
    entry.files.iter().map(|file| (file.name.clone(), file.bytes, file.rows)).collect()
}

fn metric_of<'a>(labels: &Labels, metrics: &'a mut BTreeMap<String, MetricContent>) -> &'a mut MetricContent {
    let name = labels.get(METRIC_NAME).unwrap_or_default();
    metrics.entry(name.to_owned()).or_insert_with(|| MetricContent { name: name.to_owned(), ..Default::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::tests::{NOW_MS, open, write};
    use crate::io::fake::FakeDisk;

    const DAY_MS: i64 = 86_400_000;

    #[test]
    fn everything_in_a_store_is_counted_once() {
        let disk = FakeDisk::default();
        let db = open(&disk);
        let rows: Vec<_> = (0..300).map(|i| (i % 3, NOW_MS + i as i64 / 3 * 1000, (i * i) as f64)).collect();
        write(&db, &rows).unwrap();
        write(&db, &[(7, NOW_MS - DAY_MS, 1.0)]).unwrap();
        db.flush().unwrap();
        write(&db, &[(8, NOW_MS, 1.0)]).unwrap();
        let stats = db.stats();
        let content = inspect_on(&disk, Path::new("/data")).unwrap();
        assert_eq!((content.manifest_version, content.flushed_sequence), (stats.manifest_version, 2));
        let days: Vec<_> = content.segments.iter().map(|one| one.day.as_deref().unwrap()).collect();
        assert_eq!(days, ["2023-11-14", "2023-11-13"], "the newest first");
        let sum = |of: fn(&SegmentContent) -> u64| content.segments.iter().map(of).sum::<u64>();
        assert_eq!((sum(|one| one.bytes), sum(|one| one.samples)), (stats.segment_bytes, 301));
        assert_eq!(content.wal_files.iter().map(|(_, bytes)| bytes).sum::<u64>(), stats.wal_bytes);
        let newest = &content.segments[0];
        assert_eq!((newest.series, newest.samples, newest.time_columns), (3, 300, 1), "they arrived together");
        assert_eq!(newest.label_names, ["__name__", "i", "odd"]);
        let in_sections: u64 = newest.sections.iter().map(|(_, bytes)| bytes).sum();
        assert!(in_sections < newest.bytes && in_sections > newest.bytes / 2, "{newest:?}");
        assert_eq!(newest.codecs.values().map(|(blocks, _)| blocks).sum::<u64>(), 3, "{:?}", newest.codecs);
        let [metric] = &content.metrics[..] else { panic!("{:?}", content.metrics) };
        let data: u64 = content.segments.iter().map(|one| one.sections[0].1).sum();
        assert_eq!((metric.name.as_str(), metric.series, metric.samples, metric.bytes), ("m", 4, 301, data));

        let bad = &content.segments[1].path;
        let mut bytes = disk.bytes(bad).unwrap();
        bytes[20] ^= 1;
        disk.damage(bad, bytes);
        let content = inspect_on(&disk, Path::new("/data")).unwrap();
        assert_eq!((content.segments.len(), content.unread.len()), (1, 1));
        assert!(content.unread[0].contains("corrupt"), "{:?}", content.unread);
    }
}
