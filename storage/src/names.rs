//! Every name on the disk, and where it stands in the data directory.
//!
//! | name | what it is |
//! |---|---|
//! | `LOCK` | held by the process that has the directory open |
//! | `STORE` | what this directory is (`db/store_file.rs`) |
//! | `MANIFEST-<n>` | the live set, version n (`manifest.rs`); the highest one counts |
//! | `wal/<n>.wal` | WAL file n (`wal/file.rs`) |
//! | `segments/<id>.seg` | segment files (`segment/layout.rs`) |
//! | `parquet/` | old days for everyone to read (`parquet.rs`) |
//! | `quarantine/` | files that were found corrupt, moved out of the way |
//! | `tmp/` | files that are being written; emptied at start |
//! | `snapshots/<name>/` | saved snapshots: data directories of their own (`db/saved.rs`) |
//! | `SUSPECTS` | paths of files that a mapping could not read, one a line: the process ended with it, the next start looks |
//! | `INCOMPLETE` | this directory is still being made by a snapshot, a backup or a restore, or that was cut off |
//!
//! Numbers are written with twenty digits, so that names sort as their numbers do.

use std::path::{Path, PathBuf};

const MANIFEST_PREFIX: &str = "MANIFEST-";
const WAL_SUFFIX: &str = ".wal";
const SEGMENT_SUFFIX: &str = ".seg";

/// Name of the file that says that a directory is not whole yet.
pub const INCOMPLETE: &str = "INCOMPLETE";

/// Name of the file that says which mapped files could not be read. Whoever handles the signal appends to it.
pub const SUSPECTS: &str = "SUSPECTS";

/// The paths inside one data directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of a data directory.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Layout { root: root.into() }
    }

    /// The data directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The lock file.
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("LOCK")
    }

    /// The file that says what the directory is.
    pub(crate) fn store(&self) -> PathBuf {
        self.root.join("STORE")
    }

    /// The directory of WAL files.
    pub(crate) fn wal_dir(&self) -> PathBuf {
        self.root.join("wal")
    }

    /// The directory of segments.
    pub(crate) fn segments_dir(&self) -> PathBuf {
        self.root.join("segments")
    }

    /// The directory of old days as Parquet.
    pub(crate) fn parquet_dir(&self) -> PathBuf {
        self.root.join("parquet")
    }

    /// The directory of files found corrupt.
    pub(crate) fn quarantine_dir(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// The directory of files that are being written.
    pub(crate) fn tmp_dir(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// The directory of saved snapshots.
    pub(crate) fn snapshots_dir(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// The file that says that the directory is not whole yet.
    pub(crate) fn incomplete(&self) -> PathBuf {
        self.root.join(INCOMPLETE)
    }

    /// The list of files that a mapping could not read.
    pub(crate) fn suspects(&self) -> PathBuf {
        self.root.join(SUSPECTS)
    }

    /// A WAL file.
    pub(crate) fn wal(&self, number: u64) -> PathBuf {
        self.wal_dir().join(wal_name(number))
    }

    /// A segment.
    pub(crate) fn segment(&self, id: u64) -> PathBuf {
        self.segments_dir().join(segment_name(id))
    }

    /// A version of the manifest.
    pub(crate) fn manifest(&self, version: u64) -> PathBuf {
        self.root.join(manifest_name(version))
    }
}

/// Name of a WAL file.
pub(crate) fn wal_name(number: u64) -> String {
    format!("{number:020}{WAL_SUFFIX}")
}

/// Name of a segment file.
pub(crate) fn segment_name(id: u64) -> String {
    format!("{id:020}{SEGMENT_SUFFIX}")
}

/// Name of a manifest file.
pub(crate) fn manifest_name(version: u64) -> String {
    format!("{MANIFEST_PREFIX}{version:020}")
}

/// The number of a WAL file, if the name is one.
pub(crate) fn wal_number(name: &str) -> Option<u64> {
    number(name.strip_suffix(WAL_SUFFIX)?)
}

/// The id of a segment, if the name is one.
pub(crate) fn segment_id(name: &str) -> Option<u64> {
    number(name.strip_suffix(SEGMENT_SUFFIX)?)
}

/// The version of a manifest, if the name is one.
pub(crate) fn manifest_version(name: &str) -> Option<u64> {
    number(name.strip_prefix(MANIFEST_PREFIX)?)
}

fn number(digits: &str) -> Option<u64> {
    let plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_pinned_and_read_back() {
        assert_eq!(wal_name(7), "00000000000000000007.wal");
        assert_eq!(segment_name(u64::MAX), "18446744073709551615.seg");
        assert_eq!(manifest_name(12), "MANIFEST-00000000000000000012");
        assert_eq!(wal_number(&wal_name(7)), Some(7));
        assert_eq!(segment_id(&segment_name(u64::MAX)), Some(u64::MAX));
        assert_eq!(manifest_version(&manifest_name(12)), Some(12));
        for name in ["7.wal", "+0000000000000000007.wal", "99999999999999999999.wal", "00000000000000000007.seg", ""] {
            assert_eq!(wal_number(name), None, "{name}");
        }
    }
}
