//! Writes one day: files of rows, the file of series, and the index that PromQL reads.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use model::{Labels, Metadata, SampleColumns};
use parquet::errors::ParquetError;

use super::columns::RowColumns;
use super::error::writing;
use super::files::{CheckedFile, DayFile, FileKind};
use super::rows::{RowSeries, RowsWriter};
use super::schema::RowLimits;
use super::series::SeriesWriter;
use crate::error::StorageError;
use crate::io::Disk;
use crate::names::Layout;
use crate::retention::day_text;
use crate::segment::{FrameWriter, SegmentInfo, SegmentMeta, SegmentWriter};

/// What names of series may have behind the name of their family.
const PARTS: [&str; 6] = ["_bucket", "_count", "_sum", "_total", "_created", "_info"];

/// A day that is being written. Its files are under temporary names until [`DayWriter::finish`].
#[derive(Debug)]
pub(crate) struct DayWriter<'a> {
    disk: &'a dyn Disk,
    layout: &'a Layout,
    columns: &'a RowColumns,
    limits: RowLimits,
    id: u64,
    day: i64,
    meta: SegmentMeta,
    index: SegmentWriter,
    floats: RowFiles,
    /// Native histograms have files of their own, behind the others: so values stand in rows without gaps.
    histograms: RowFiles,
    series: OpenFile<SeriesWriter<Sink>>,
    types: HashMap<String, &'static str>,
    attempt: Attempt<'a>,
}

/// Files of samples of one kind: those that are written, and the one that is open.
#[derive(Debug)]
struct RowFiles {
    /// Stands in their names behind the number of the day's index.
    mark: &'static str,
    open: Option<OpenFile<RowsWriter<Sink>>>,
    done: Vec<(PathBuf, CheckedFile)>,
}

impl RowFiles {
    fn new(mark: &'static str) -> Self {
        RowFiles { mark, open: None, done: Vec::new() }
    }
}

/// A file under its temporary name.
#[derive(Debug)]
struct OpenFile<T> {
    temporary: PathBuf,
    name: String,
    writer: T,
}

impl<'a> DayWriter<'a> {
    /// Begins the day; `index` is the temporary name of the index.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn create(
        disk: &'a dyn Disk,
        layout: &'a Layout,
        columns: &'a RowColumns,
        (id, index): (u64, &Path),
        day: i64,
        meta: SegmentMeta,
    ) -> Result<Self, StorageError> {
        let temporary = layout.tmp_dir().join(format!("{id:020}-series.parquet"));
        let name = format!("series/dt={}/{id:020}.parquet", day_text(day));
        let mut attempt = Attempt { disk, paths: Vec::new() };
        let sink = attempt.create(&temporary)?;
        let series = SeriesWriter::new(sink, &footer(meta)).map_err(|e| writing(&temporary, e))?;
        Ok(DayWriter {
            disk,
            layout,
            columns,
            limits: RowLimits::default(),
            id,
            day,
            meta,
            index: SegmentWriter::create_index(disk, index, meta)?,
            floats: RowFiles::new(""),
            histograms: RowFiles::new("-histograms"),
            series: OpenFile { temporary, name, writer: series },
            types: HashMap::new(),
            attempt,
        })
    }

    /// Sets other limits, before the first series.
    #[cfg(test)]
    pub(super) fn set_limits(&mut self, limits: RowLimits) {
        self.limits = limits;
    }

    /// Says what is known about metric families, sorted by family; before the first series.
    pub(crate) fn set_metadata(&mut self, families: &[(String, Metadata)]) {
        self.types = families.iter().map(|(family, known)| (family.clone(), known.metric_type.as_str())).collect();
        self.index.set_metadata(families);
    }

    /// Adds the next series; as [`SegmentWriter::add_series`].
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn add_series(&mut self, labels: &Labels, samples: &SampleColumns) -> Result<(), StorageError> {
        let Some(times) = samples.time_range() else { return self.index.add_series(labels, samples) };
        let number = i64::from(self.index.series());
        self.index.add_series(labels, samples)?;
        let metric_type = self.type_of(labels.metric_name());
        let count = (samples.values.len() + samples.histograms.len()) as u64;
        let added = self.series.writer.add(number, labels, metric_type, times, count);
        added.map_err(|e| writing(&self.series.temporary, e))?;
        let series = RowSeries { number, labels, metric_type };
        if !samples.values.is_empty() {
            self.add_rows(
                |day| &mut day.floats,
                |writer| writer.add(&series, &samples.timestamps_ms, &samples.values, &[]),
            )?;
        }
        if !samples.histograms.is_empty() {
            self.add_rows(|day| &mut day.histograms, |writer| writer.add(&series, &[], &[], &samples.histograms))?;
        }
        Ok(())
    }

    /// Adds rows to the open file of a kind, and ends it if it is large enough.
    fn add_rows(
        &mut self,
        files: impl Fn(&mut Self) -> &mut RowFiles,
        add: impl FnOnce(&mut RowsWriter<Sink>) -> Result<(), ParquetError>,
    ) -> Result<(), StorageError> {
        let mut open = match files(self).open.take() {
            Some(open) => open,
            None => {
                let (mark, number) = (files(self).mark, files(self).done.len());
                self.next_file(mark, number)?
            }
        };
        add(&mut open.writer).map_err(|e| writing(&open.temporary, e))?;
        if open.writer.bytes() >= self.limits.file_bytes {
            files(self).done.push(end_file(open)?);
        } else {
            files(self).open = Some(open);
        }
        Ok(())
    }

    fn type_of(&self, metric: &str) -> Option<&'static str> {
        let family = || PARTS.iter().find_map(|part| self.types.get(metric.strip_suffix(part)?));
        self.types.get(metric).or_else(family).copied()
    }

    fn next_file(&mut self, mark: &str, number: usize) -> Result<OpenFile<RowsWriter<Sink>>, StorageError> {
        let file = format!("{:020}{mark}-{number:04}.parquet", self.id);
        let temporary = self.layout.tmp_dir().join(&file);
        let name = format!("samples/dt={}/{file}", day_text(self.day));
        let sink = self.attempt.create(&temporary)?;
        let writer = RowsWriter::with_limits(sink, self.columns, &footer(self.meta), self.limits);
        let writer = writer.map_err(|e| writing(&temporary, e))?;
        Ok(OpenFile { temporary, name, writer })
    }

    /// Ends all files, gives those of Parquet their names, durably, and syncs the index, whose name is the caller's to
    /// give. Gives what the index says of itself and the other files; there are none if there are no samples.
    ///
    /// # Errors
    /// [`StorageError::Io`]; the Parquet files are gone then.
    pub(crate) fn finish(mut self) -> Result<(SegmentInfo, Vec<DayFile>), StorageError> {
        let mut done = Vec::new();
        // Those with the values first: the index numbers their rows.
        for files in [&mut self.floats, &mut self.histograms] {
            done.append(&mut files.done);
            if let Some(open) = files.open.take() {
                done.push(end_file(open)?);
            }
        }
        let DayWriter { series: OpenFile { temporary, name, writer }, mut index, mut attempt, .. } = self;
        let rows = writer.rows();
        let sink = writer.finish().map_err(|e| writing(&temporary, e))?;
        done.push((temporary, sink.end(FileKind::Series, name, rows)?));
        let (temporaries, files): (Vec<PathBuf>, Vec<CheckedFile>) = done.into_iter().unzip();
        index.set_rows(CheckedFile::encode(&files));
        let files: Vec<DayFile> = files.into_iter().map(|checked| checked.file).collect();
        let info = index.finish()?;
        if info.samples == 0 {
            return Ok((info, Vec::new()));
        }
        let (disk, parquet_dir) = (self.disk, self.layout.parquet_dir());
        for (temporary, file) in temporaries.iter().zip(&files) {
            let path = file.path(&parquet_dir);
            let dir = path.parent().unwrap_or(&parquet_dir);
            disk.create_dir(dir)?;
            attempt.paths.push(path.clone());
            disk.rename(temporary, &path)?;
            disk.sync_dir(dir)?;
        }
        attempt.paths.clear();
        Ok((info, files))
    }
}

fn end_file(open: OpenFile<RowsWriter<Sink>>) -> Result<(PathBuf, CheckedFile), StorageError> {
    let OpenFile { temporary, name, writer } = open;
    let rows = writer.rows();
    let sink = writer.finish().map_err(|e| writing(&temporary, e))?;
    Ok((temporary, sink.end(FileKind::Samples, name, rows)?))
}

/// Removes the files of an attempt that failed.
#[derive(Debug)]
struct Attempt<'a> {
    disk: &'a dyn Disk,
    paths: Vec<PathBuf>,
}

impl Attempt<'_> {
    fn create(&mut self, path: &Path) -> Result<Sink, StorageError> {
        self.paths.push(path.to_owned());
        Ok(Sink(FrameWriter::create(self.disk, path)?))
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        // One that stays does not count, and goes at the next start.
        self.paths.iter().for_each(|path| drop(self.disk.remove(path)));
    }
}

/// What stands in the footer of each file of a day.
fn footer(meta: SegmentMeta) -> [(&'static str, String); 2] {
    [
        ("streamgauge.sequence_min", meta.sequence_min.to_string()),
        ("streamgauge.sequence_max", meta.sequence_max.to_string()),
    ]
}

/// A file of ours as the library writes it.
#[derive(Debug)]
struct Sink(FrameWriter);

impl Sink {
    /// Syncs the file.
    fn end(self, kind: FileKind, name: String, rows: u64) -> Result<CheckedFile, StorageError> {
        let bytes = self.0.position();
        let (table, mut file) = self.0.finish()?;
        file.sync()?;
        Ok(CheckedFile { file: DayFile { kind, name, bytes, rows }, table })
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.append(bytes).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
