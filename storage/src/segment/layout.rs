//! The bytes of a segment file, version 1. This is the specification; the writer and the reader only own the order of
//! work.
//!
//! ```text
//! header | data | other sections … | checksums of the frames | footer | trailer
//! ```
//! Integers, varints and texts are as in `format.rs`; "stream" is an integer stream as in `codec/integers.rs`.
//!
//! **Header** ([`HEADER_BYTES`]): [`MAGIC`], version (`u32`), four bytes of zero.
//!
//! **Frames** cover everything from the header to the last section; see `frames.rs`. Their checksums follow, a `u64`
//! each.
//!
//! **Footer**: end of the frames (varint), checksum of the table of checksums (`u64`), then the [`Summary`] as varints
//! (times as signed ones) in the order of its fields, the number of sections (varint), and for each its kind, flags,
//! offset in the file and length, all varints. A reader skips sections it does not know, unless [`FLAG_NEEDED`] is set.
//!
//! **Trailer** ([`TRAILER_BYTES`]): checksum of the footer (`u64`), length of the footer (`u32`), version (`u32`),
//! [`MAGIC`].
//!
//! # Sections
//! | kind | content |
//! |---|---|
//! | [`Kind::Data`] | columns of times and of values, as the series come; offsets below are from its start |
//! | [`Kind::Names`] | for each label name in order: the name (text), number of its values (varint) |
//! | [`Kind::Values`] | paged: the values of all label pairs in order of (name, value), see `index/symbols.rs` |
//! | [`Kind::OwnSets`], [`Kind::SharedSets`] | paged: label sets as ids of pairs, see `index/symbols.rs` |
//! | [`Kind::Series`] | paged: [`SeriesPage`], [`SERIES_PER_PAGE`] series each, in label order |
//! | [`Kind::Times`] | paged: [`TimesPage`], [`TIMES_PER_PAGE`] columns each |
//! | [`Kind::Lists`], [`Kind::ListPages`] | postings, see `index/postings.rs` |
//! | [`Kind::NameParts`] | only if there are many names of metrics: which of them contain what, see `index/trigrams.rs` |
//! | [`Kind::StatisticsPages`] | paged: what the blocks that are large enough amount to, in order of the series, see `statistics.rs` |
//! | [`Kind::Statistics`] | the same without pages, as segments had it before; empty if there are pages |
//! | [`Kind::Metadata`] | what is known about metric families, see [`encode_metadata`] |
//! | [`Kind::Rows`] | only in the index of a Parquet day, and needed: its files, see `parquet/files.rs` |
//! | [`Kind::Histograms`] | which series have native histograms, and where; see `histograms.rs` |
//! | [`Kind::Buckets`] | only in segments of buckets, see `buckets.rs` |
//!
//! A **paged** section is its pages one after the other, then for each page the offset of its end in the section
//! (`u64`). Every page but the last has the full number of items; the number of items is in the footer.
//!
//! A label **pair** is a name with a value; its id is its place in the order of all pairs. The labels of a series are
//! the union of two sets of pairs: its own (the metric's name and what tells series of one target apart) and one that
//! is shared with other series (the target). Ids in a set rise, which is label order.
//!
//! A **column** of times or values with at most [`crate::codec::BLOCK_SAMPLES_MAX`] samples is one block (`codec.rs`,
//! `codec/timestamps.rs`). A longer one begins with a stream of the lengths of its blocks in bytes, for times followed
//! by a stream of the first time of each block; then the blocks, all but the last full. Series with equal times refer
//! to the same column of times; a column may be empty.
//!
//! Blocks of values may be written beside those of a **base**, an earlier series with the same column of times: block
//! `i` beside block `i` (`codec/beside.rs`). The blocks of a base may have a base of their own, up to [`BASES_MAX`] in a
//! row. Kinds 32 and up are for native histograms and exemplars.
//!
//! In the **index of a Parquet day** the data section has columns of times only. The offset of a series' values is the
//! number of its first row, its values take 0 bytes, and no series has a base.

mod column;
mod metadata;
mod pages;

use crate::format::{Cursor, FormatError, FormatVersion, Put};

pub(super) use column::{ColumnHead, block_count, block_samples};
pub(super) use metadata::{decode_metadata, encode_metadata};
pub(super) use pages::{SERIES_PER_PAGE, SeriesPage, SeriesRow, TIMES_PER_PAGE, TimesPage, TimesRow};

/// First and last bytes of a segment: `SGSEGMNT`.
pub(super) const MAGIC: u64 = 0x544E_4D47_4553_4753;
/// The version that is written.
pub(super) const VERSION: FormatVersion = FormatVersion(1);
/// Length of the header.
pub(super) const HEADER_BYTES: u64 = 16;
/// Length of the trailer.
pub(crate) const TRAILER_BYTES: usize = 24;
/// A reader that does not know the section must refuse the file.
pub(super) const FLAG_NEEDED: u64 = 1;

/// Most series that must be decoded to read one whose blocks have bases.
///
/// Each costs about as much as the series itself, so this trades reading for size. A classic histogram of a dozen
/// buckets is two rows of neighbours with 5, which costs it 4 % more than one row.
pub(super) const BASES_MAX: u32 = 5;

/// The kinds of sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data = 1,
    Names = 2,
    Values = 3,
    OwnSets = 4,
    SharedSets = 5,
    Series = 6,
    Times = 7,
    Lists = 8,
    ListPages = 9,
    Statistics = 10,
    Metadata = 11,
    Rows = 12,
    StatisticsPages = 13,
    NameParts = 14,
    Buckets = 16,
    /// Only there if there are native histograms.
    Histograms = 32,
}

impl Kind {
    /// True if this version reads sections of the kind with this number.
    pub(super) fn is_known(kind: u64) -> bool {
        let others = [Kind::Buckets, Kind::Histograms];
        (Kind::Data as u64..=Kind::NameParts as u64).contains(&kind) || others.iter().any(|other| *other as u64 == kind)
    }
}

impl Kind {
    /// The name of a kind for people; none if it is not known.
    pub(super) fn name_of(kind: u64) -> Option<&'static str> {
        const NAMES: [(Kind, &str); 16] = [
            (Kind::Data, "data"),
            (Kind::Names, "label names"),
            (Kind::Values, "label values"),
            (Kind::OwnSets, "own label sets"),
            (Kind::SharedSets, "shared label sets"),
            (Kind::Series, "series"),
            (Kind::Times, "times"),
            (Kind::Lists, "postings"),
            (Kind::ListPages, "postings pages"),
            (Kind::Statistics, "statistics"),
            (Kind::Metadata, "metadata"),
            (Kind::Rows, "files of a Parquet day"),
            (Kind::StatisticsPages, "statistics pages"),
            (Kind::NameParts, "parts of names"),
            (Kind::Histograms, "native histograms"),
            (Kind::Buckets, "buckets"),
        ];
        NAMES.iter().find(|(known, _)| *known as u64 == kind).map(|(_, name)| *name)
    }
}

/// Where a section is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Section {
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// What the footer says about the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Summary {
    pub(super) series: u64,
    pub(super) samples: u64,
    pub(super) time_min_ms: i64,
    pub(super) time_max_ms: i64,
    pub(super) sequence_min: u64,
    pub(super) sequence_max: u64,
    pub(super) names: u64,
    pub(super) pairs: u64,
    pub(super) own_sets: u64,
    pub(super) shared_sets: u64,
    pub(super) times: u64,
    pub(super) statistics: u64,
    pub(super) families: u64,
}

/// The footer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Footer {
    pub(super) frames_end: u64,
    pub(super) table_checksum: u64,
    pub(super) summary: Summary,
    /// Kind, flags and place.
    pub(super) sections: Vec<(u64, u64, Section)>,
}

/// The bytes of the header.
pub(super) fn header() -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES as usize);
    out.put_u64(MAGIC);
    out.put_u32(VERSION.0);
    out.put_u32(0);
    out
}

/// The version that the header of a file states.
pub(super) fn read_header(bytes: &[u8]) -> Result<FormatVersion, FormatError> {
    let mut cursor = Cursor::new(bytes);
    if cursor.u64()? != MAGIC {
        return Err(FormatError::new("this is not a segment"));
    }
    let version = FormatVersion(cursor.u32()?);
    if cursor.u32()? != 0 {
        return Err(cursor.error("the header has unknown fields"));
    }
    cursor.finish()?;
    Ok(version)
}

impl Footer {
    /// The bytes of footer and trailer.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_varint(self.frames_end);
        out.put_u64(self.table_checksum);
        let s = &self.summary;
        out.put_varint(s.series);
        out.put_varint(s.samples);
        out.put_zigzag(s.time_min_ms);
        out.put_zigzag(s.time_max_ms);
        for value in [s.sequence_min, s.sequence_max, s.names, s.pairs, s.own_sets, s.shared_sets] {
            out.put_varint(value);
        }
        for value in [s.times, s.statistics, s.families] {
            out.put_varint(value);
        }
        out.put_varint(self.sections.len() as u64);
        for (kind, flags, section) in &self.sections {
            for value in [*kind, *flags, section.offset, section.bytes] {
                out.put_varint(value);
            }
        }
        let (checksum, bytes) = (crate::format::checksum(&out), out.len());
        out.put_u64(checksum);
        out.put_u32(u32::try_from(bytes).unwrap_or(u32::MAX));
        out.put_u32(VERSION.0);
        out.put_u64(MAGIC);
        out
    }

    /// Reads a footer whose checksum was verified.
    pub(super) fn decode(bytes: &[u8]) -> Result<Footer, FormatError> {
        let mut cursor = Cursor::new(bytes);
        let (frames_end, table_checksum) = (cursor.varint()?, cursor.u64()?);
        let (series, samples) = (cursor.varint()?, cursor.varint()?);
        let (time_min_ms, time_max_ms) = (cursor.zigzag()?, cursor.zigzag()?);
        let mut rest = [0_u64; 9];
        for value in &mut rest {
            *value = cursor.varint()?;
        }
        let [sequence_min, sequence_max, names, pairs, own_sets, shared_sets, times, statistics, families] = rest;
        let mut sections = Vec::new();
        for _ in 0..cursor.varint()? {
            let (kind, flags) = (cursor.varint()?, cursor.varint()?);
            let section = Section { offset: cursor.varint()?, bytes: cursor.varint()? };
            if section.offset.checked_add(section.bytes).is_none_or(|end| end > frames_end) {
                return Err(cursor.error("a section lies outside the file"));
            }
            sections.push((kind, flags, section));
        }
        cursor.finish()?;
        let summary = Summary {
            series,
            samples,
            time_min_ms,
            time_max_ms,
            sequence_min,
            sequence_max,
            names,
            pairs,
            own_sets,
            shared_sets,
            times,
            statistics,
            families,
        };
        // Ordinals and ids are u32 everywhere.
        if [series, names, pairs, own_sets, shared_sets, times].iter().any(|n| *n > u64::from(u32::MAX)) {
            return Err(cursor.error("a count is too large"));
        }
        Ok(Footer { frames_end, table_checksum, summary, sections })
    }
}

/// The parts of a trailer: checksum and length of the footer, and the version.
pub(super) fn read_trailer(bytes: &[u8]) -> Result<(u64, u32, FormatVersion), FormatError> {
    let mut cursor = Cursor::new(bytes);
    let parts = (cursor.u64()?, cursor.u32()?, FormatVersion(cursor.u32()?));
    if cursor.u64()? != MAGIC {
        return Err(FormatError::new("the end of the segment is missing"));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use model::{Labels, SampleColumns};

    use super::*;
    use crate::io::Disk;
    use crate::io::fake::FakeDisk;
    use crate::segment::{Segment, SegmentMeta, SegmentWriter};

    /// Two series of one target with the same times, byte by byte.
    #[test]
    fn a_small_segment_is_pinned() {
        let disk = FakeDisk::default();
        disk.create_dir(Path::new("/db")).unwrap();
        let path = Path::new("/db/1.seg");
        let mut writer = SegmentWriter::create(&disk, path, SegmentMeta { sequence_min: 3, sequence_max: 99 }).unwrap();
        for (job, values) in [("a", [1.0, 1.0]), ("b", [0.5, 1.5])] {
            let labels = Labels::from_pairs([("__name__", "up"), ("job", job)]).unwrap();
            let samples =
                SampleColumns { timestamps_ms: vec![1000, 2000], values: values.to_vec(), histograms: Vec::new() };
            writer.add_series(&labels, &samples).unwrap();
        }
        writer.finish().unwrap();

        let want: &[(&str, &[u8])] = &[
            ("header", b"SGSEGMNT\x01\0\0\0\0\0\0\0"),
            // A stream of order 2 without residuals: 1000 and 1000 more.
            ("data: times", &[2, 0x0E, 0xD0, 0x0F, 0xE8, 0x07, 2]),
            ("data: values of a, constant", &[1, 0x3F, 0xF0]),
            ("data: values of b, tenths: 5 and 10 more", &[3, 1, 0x0E, 10, 10, 2]),
            ("names", b"\x08__name__\x01\x03job\x02"),
            ("values", b"\0\x02up\0\x01a\0\x01b"),
            ("values: ends of pages", &[10, 0, 0, 0, 0, 0, 0, 0]),
            ("own sets: length 1, pair 0", &[8, 2, 8, 0]),
            ("own sets: ends of pages", &[4, 0, 0, 0, 0, 0, 0, 0]),
            ("shared sets: lengths 1 and 1, pairs 1 and 2", &[8, 2, 0x0A, 2, 2]),
            ("shared sets: ends of pages", &[5, 0, 0, 0, 0, 0, 0, 0]),
            ("series: own 0 and 0, shared 0 and 1", &[8, 0, 0x0A, 0, 2]),
            ("series: data from 0, statistics from 0", &[0, 0]),
            (
                "series: times 0 and 0, no bases, skipped 7 and 0, bytes 3 and 6",
                &[8, 0, 8, 0, 0x0E, 14, 7, 1, 0x0E, 6, 3, 2],
            ),
            ("series: no statistics", &[8, 0]),
            ("series: ends of pages", &[21, 0, 0, 0, 0, 0, 0, 0]),
            (
                "times: offset 0, bytes 7, count 2, first 1000, span 1000",
                &[8, 0, 8, 14, 8, 4, 8, 0xD0, 0x0F, 8, 0xD0, 0x0F],
            ),
            ("times: ends of pages", &[12, 0, 0, 0, 0, 0, 0, 0]),
            ("lists: series 0 and 1; series 0; series 1", &[1, 0, 1, 1, 0, 0, 1, 1, 0]),
            ("list pages: offsets 0, 3, 6, 0, 0; lengths 3", &[4, 0, 3, 2, 0, 9, 8, 6]),
            ("list pages: ends of pages", &[8, 0, 0, 0, 0, 0, 0, 0]),
            ("checksum of the only frame", &[0x58, 0x92, 0xAD, 0xD0, 0xFA, 0x5E, 0xFC, 0xEB]),
            ("footer: end of the frames", &[0xA4, 1]),
            ("footer: checksum of the table", &[0x16, 0x70, 0xE9, 0xAC, 0xBE, 0xEC, 0x32, 0xC4]),
            ("footer: 2 series, 4 samples, 1000 to 2000 ms, batches 3 to 99", &[2, 4, 0xD0, 0x0F, 0xA0, 0x1F, 3, 99]),
            ("footer: 2 names, 3 pairs, 1 own set, 2 shared, 1 column of times", &[2, 3, 1, 2, 1]),
            ("footer: no statistics, no families; 11 sections", &[0, 0, 11]),
            ("footer: data, names, values", &[1, 1, 16, 16, 2, 1, 32, 15, 3, 1, 47, 18]),
            ("footer: own sets, shared sets, series", &[4, 1, 65, 12, 5, 1, 77, 13, 6, 1, 90, 29]),
            ("footer: times, lists, list pages", &[7, 1, 119, 20, 8, 1, 0x8B, 1, 9, 9, 1, 0x94, 1, 16]),
            ("footer: statistics, metadata", &[10, 0, 0xA4, 1, 0, 11, 0, 0xA4, 1, 0]),
            ("trailer: checksum of the footer", &[0x62, 0xE7, 0x90, 0xED, 0xDA, 0xFA, 0xC0, 0x14]),
            ("trailer: length of the footer, version", &[74, 0, 0, 0, 1, 0, 0, 0]),
            ("trailer: magic", b"SGSEGMNT"),
        ];
        let bytes = disk.bytes(path).unwrap();
        let mut at = 0;
        for (what, part) in want {
            assert_eq!(&bytes[at..at + part.len()], *part, "{what}");
            at += part.len();
        }
        assert_eq!(at, bytes.len());
        assert!(Segment::open(&disk, path).is_ok());
    }

    #[test]
    fn unknown_sections_are_skipped_unless_they_are_needed() {
        for (kind, flags, opens) in [(63, 0, true), (u64::MAX, 0, true), (63, FLAG_NEEDED, false)] {
            let known = (1..=11).map(|kind| (kind, FLAG_NEEDED, Section::default()));
            let sections = known.chain([(kind, flags, Section::default())]).collect();
            let table_checksum = crate::format::checksum(&[]);
            let footer = Footer { sections, table_checksum, ..Default::default() };
            let mut bytes = header();
            bytes.extend_from_slice(&footer.encode());
            let disk = FakeDisk::default();
            disk.create_dir(Path::new("/db")).unwrap();
            disk.create(Path::new("/db/1.seg")).unwrap().append(&bytes).unwrap();
            assert_eq!(Segment::open(&disk, Path::new("/db/1.seg")).is_ok(), opens, "kind {kind}, flags {flags}");
        }
    }

    #[test]
    fn newer_versions_are_refused_by_name() {
        let mut bytes = header();
        bytes[8] = 2;
        bytes.extend_from_slice(&Footer::default().encode());
        let trailer_version = bytes.len() - 12;
        bytes[trailer_version] = 2;
        let disk = FakeDisk::default();
        disk.create_dir(Path::new("/db")).unwrap();
        disk.create(Path::new("/db/1.seg")).unwrap().append(&bytes).unwrap();
        let error = Segment::open(&disk, Path::new("/db/1.seg")).unwrap_err();
        assert_eq!(error.to_string(), "/db/1.seg has format 2, this version reads up to 1");
    }
}
