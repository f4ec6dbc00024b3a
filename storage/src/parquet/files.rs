//! What the manifest and the index of a day know of its files.
//!
//! # Bytes
//! Of a file, in the manifest and in the index: what is in it (`u8`: 0 samples, 1 series), its name below `parquet/`
//! (text), its length in bytes and its rows (varints). The section of the index: number of files (varint), then for each
//! these bytes and the checksums of its frames of 16 KiB (`u64` each). The rows of the files of samples are numbered one
//! file after the other.

use std::path::{Path, PathBuf};

use crate::format::{Cursor, FormatError, Put};
use crate::segment::FRAME_BYTES;

const SUM_BYTES: u64 = 8;

/// What is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Samples, one in each row.
    Samples,
    /// Series with their labels.
    Series,
}

/// A file of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayFile {
    /// What is in it.
    pub kind: FileKind,
    /// Its name below `parquet/`, with `/` between the parts.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
}

/// A file whose content can be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckedFile {
    pub(crate) file: DayFile,
    /// The checksums of its frames.
    pub(super) table: Vec<u8>,
}

impl DayFile {
    /// Where it is.
    pub(crate) fn path(&self, parquet_dir: &Path) -> PathBuf {
        self.name.split('/').fold(parquet_dir.to_owned(), |path, part| path.join(part))
    }

    /// Appends the bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(u8::from(self.kind == FileKind::Series));
        out.put_text(&self.name);
        out.put_varint(self.bytes);
        out.put_varint(self.rows);
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`FormatError`] if the bytes are none, or the name leads elsewhere.
    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, FormatError> {
        let kind = match cursor.u8()? {
            0 => FileKind::Samples,
            1 => FileKind::Series,
            _ => return Err(cursor.error("a file of a day has an unknown kind")),
        };
        let name = cursor.text()?.to_owned();
        let is_plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\\');
        if !name.split('/').all(is_plain) {
            return Err(cursor.error("a file of a day has a name that leads elsewhere"));
        }
        Ok(DayFile { kind, name, bytes: cursor.varint()?, rows: cursor.varint()? })
    }
}

impl CheckedFile {
    /// The bytes of the section.
    #[cfg(feature = "parquet")]
    pub(super) fn encode(files: &[CheckedFile]) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_varint(files.len() as u64);
        for checked in files {
            checked.file.encode(&mut out);
            out.extend_from_slice(&checked.table);
        }
        out
    }

    /// Reads the section.
    ///
    /// # Errors
    /// [`FormatError`] if the bytes are none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<CheckedFile>, FormatError> {
        let mut cursor = Cursor::new(bytes);
        let mut files = Vec::new();
        for _ in 0..cursor.varint()? {
            let file = DayFile::decode(&mut cursor)?;
            let table_bytes = file.bytes.div_ceil(FRAME_BYTES as u64).checked_mul(SUM_BYTES);
            let table_bytes = table_bytes.and_then(|n| usize::try_from(n).ok());
            let table = cursor.take(table_bytes.ok_or_else(|| cursor.error("a file of a day is too large"))?)?.to_vec();
            files.push(CheckedFile { file, table });
        }
        cursor.finish()?;
        Ok(files)
    }
}

#[cfg(test)]
#[cfg(feature = "parquet")]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_pinned() {
        let file = |kind, name: &str, bytes: u64| CheckedFile {
            file: DayFile { kind, name: name.to_owned(), bytes, rows: 3 },
            table: vec![7; bytes.div_ceil(FRAME_BYTES as u64) as usize * 8],
        };
        let files = vec![file(FileKind::Samples, "a/b", 16385), file(FileKind::Series, "c", 5)];
        let bytes = CheckedFile::encode(&files);
        let mut want = b"\x02\x00\x03a/b\x81\x80\x01\x03".to_vec();
        want.extend([7; 16]);
        want.extend(b"\x01\x01c\x05\x03");
        want.extend([7; 8]);
        assert_eq!(bytes, want);
        assert_eq!(CheckedFile::decode(&bytes).unwrap(), files);
        assert!((0..bytes.len()).all(|cut| CheckedFile::decode(&bytes[..cut]).is_err()));
        for name in ["../x", "/x", "a//b", ""] {
            assert!(CheckedFile::decode(&CheckedFile::encode(&[file(FileKind::Series, name, 1)])).is_err(), "{name}");
        }
    }
}
