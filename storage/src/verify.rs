//! Says whether a data directory is sound: every checksum of every file that counts, every block decoded, and for each
//! damage which file and section it is in and which series and times it touches.
//!
//! It only reads, by checked `pread`, and takes no lock: beside a running server, files that come and go meanwhile are
//! told from those that are missing by the manifest. What is wrong by a single flipped bit is found to the bit
//! (`repair.rs`): then labels and times are known for sure although the checksum fails.
//!
//! `manifest`, `segments` and `wal` look at one kind of file each; a new kind of sealed file gets a module beside them.

mod manifest;
mod segments;
mod wal;

pub(crate) use manifest::newest as newest_manifest;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Labels, TimeRange};

use crate::error::StorageError;
use crate::io::{Disk, RealDisk};
use crate::manifest::Manifest;
use crate::names::Layout;

/// How often a part is looked at again because the store changed meanwhile.
const LOOKS_MAX: usize = 5;

/// What is asked of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Most series that are listed for one damage; they are counted all the same.
    pub series_max: usize,
    /// Files below `parquet/`, by their paths from there, that may be missing because they are kept elsewhere.
    pub elsewhere: BTreeSet<PathBuf>,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        VerifyOptions { series_max: 1000, elsewhere: BTreeSet::new() }
    }
}

/// What was looked at, and what is wrong.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VerifyReport {
    /// Files that were looked at.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Series of segments that were decoded; one that several segments have counts in each.
    pub series: u64,
    /// Samples of these.
    pub samples: u64,
    /// Sound records of the WAL.
    pub wal_records: u64,
    /// What is wrong.
    pub damage: Vec<FoundDamage>,
    /// What is worth knowing and no damage: files that do not count, a torn tail of the WAL.
    pub notes: Vec<String>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundDamage {
    /// The file.
    pub path: PathBuf,
    /// The byte at which it begins, if that is known.
    pub offset: Option<u64>,
    /// The parts of the file that it is in.
    pub sections: Vec<String>,
    /// What is wrong.
    pub detail: String,
    /// What it means for who uses the store.
    pub effect: String,
    /// The series and times it touches.
    pub touched: Touched,
}

/// The series and times that a damage touches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Touched {
    /// Number of series; none if it cannot be known.
    pub series_count: Option<u64>,
    /// The first of these, in order of the file.
    pub series: Vec<TouchedSeries>,
    /// The times of the samples that are touched, of all series together.
    pub times: Option<TimeRange>,
}

/// A series that a damage touches.
#[derive(Debug, Clone, PartialEq)]
pub struct TouchedSeries {
    /// Its labels; none if they are lost.
    pub labels: Option<Labels>,
    /// The times of its samples that are touched.
    pub times: Option<TimeRange>,
    /// False if labels or times were read from bytes whose checksum is wrong.
    pub is_sure: bool,
}

impl Touched {
    /// No series at all.
    fn nothing() -> Self {
        Touched { series_count: Some(0), ..Touched::default() }
    }

    /// Adds a series; it is listed if fewer than `series_max` are.
    fn add(&mut self, series: TouchedSeries, series_max: usize) {
        if let Some(times) = series.times.filter(|times| !times.is_empty()) {
            self.times = Some(self.times.map_or(times, |all| all.union(&times)));
        }
        *self.series_count.get_or_insert(0) += 1;
        if self.series.len() < series_max {
            self.series.push(series);
        }
    }
}

/// Verifies a data directory, or one that a snapshot or a backup made.
///
/// # Errors
/// [`StorageError::Io`] if the directory cannot be read; [`StorageError::NewerFormat`]. Damage is no error.
pub fn verify(data_dir: &Path, options: VerifyOptions) -> Result<VerifyReport, StorageError> {
    verify_on(Arc::new(RealDisk::pread()), data_dir, options)
}

/// As [`verify`], on a disk of the caller's choice.
///
/// # Errors
/// As [`verify`].
pub(crate) fn verify_on(
    disk: Arc<dyn Disk>,
    data_dir: &Path,
    options: VerifyOptions,
) -> Result<VerifyReport, StorageError> {
    let mut work = Work { disk, layout: Layout::new(data_dir), options, report: VerifyReport::default() };
    work.look_at_directory()?;
    let (store, manifest) = work.find_manifest()?;
    work.verify_segments(&manifest)?;
    work.verify_wal(store, manifest)?;
    Ok(work.report)
}

/// A verification that goes on.
struct Work {
    disk: Arc<dyn Disk>,
    layout: Layout,
    options: VerifyOptions,
    report: VerifyReport,
}

impl Work {
    fn look_at_directory(&mut self) -> Result<(), StorageError> {
        let names = self.disk.list(self.layout.root())?;
        if names.iter().any(|name| name == crate::names::INCOMPLETE) {
            let detail = "a snapshot, backup or restore into this directory was not finished";
            let effect = "it does not open; do it again";
            let path = self.layout.incomplete();
            self.report.damage.push(whole_store(path, None, &["marker"], detail, effect));
        }
        let quarantine = self.list(&self.layout.quarantine_dir())?;
        if !quarantine.is_empty() {
            let dir = self.layout.quarantine_dir();
            let files = quarantine.join(", ");
            self.report.notes.push(format!("{} holds files that were found damaged before: {files}", dir.display()));
        }
        Ok(())
    }

    /// The files of a directory of the layout; none if it is not there, as in a snapshot.
    fn list(&self, dir: &Path) -> Result<Vec<String>, StorageError> {
        match self.disk.list(dir) {
            Err(error) if is_missing(&error) => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// Counts a file that is looked at.
    fn count_file(&mut self, bytes: u64) {
        self.report.files += 1;
        self.report.bytes += bytes;
    }

    /// The newest manifest now, if it can be read and is another than this.
    fn newer_than(&self, manifest: &Manifest) -> Option<Manifest> {
        // Between the listing and the reading the server may have gone on once more.
        let looks = (0..LOOKS_MAX).find_map(|_| manifest::newest(&*self.disk, &self.layout).ok().flatten());
        looks.filter(|newest| newest.version > manifest.version)
    }
}

/// Damage that concerns everything in the store.
fn whole_store(path: PathBuf, offset: Option<u64>, sections: &[&str], detail: &str, effect: &str) -> FoundDamage {
    FoundDamage {
        path,
        offset,
        sections: sections.iter().map(|section| (*section).to_owned()).collect(),
        detail: detail.to_owned(),
        effect: effect.to_owned(),
        touched: Touched::default(),
    }
}

fn is_missing(error: &StorageError) -> bool {
    matches!(error, StorageError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

/// Offset and text of an error, if it is damage and not a disk that does not answer.
fn damage_of(error: StorageError) -> Result<(u64, String), StorageError> {
    match error {
        StorageError::Corrupt { offset, detail, .. } => Ok((offset, detail)),
        other => Err(other),
    }
}

#[cfg(test)]
mod tests;
