//! Looks at a whole segment file for `verify`: what is wrong with it, and the best that can be known of its content.
//!
//! If a single bit explains what is wrong, the segment with that bit repaired is what was written, for sure. Else it is
//! opened as it is, without a look at checksums: the decoders are safe with any bytes, but what they give may be wrong.

use std::path::Path;

use model::{SampleColumns, TimeRange};

use super::damage::DamagedSeries;
use super::frames::{FRAME_BYTES, FrameReader};
use super::layout::{Footer, HEADER_BYTES, Kind, Section, TRAILER_BYTES, read_header, read_trailer};
use super::reader::{Segment, open_frames, read_footer};
use super::statistics::{BlockStatistics, RECORD_BYTES};
use crate::error::StorageError;
use crate::format::checksum;
use crate::io::{Disk, Region};
use crate::repair::{Repaired, SEARCH_BYTES_MAX, flipped_bit};

/// Bytes at the end of a file in which a flipped bit is looked for: a footer of many sections and the trailer.
const TAIL_BYTES: u64 = 4096;

/// What was found in a file.
#[derive(Debug, Default)]
pub(crate) struct Examined {
    /// The segment, if it opens as it is.
    pub(crate) opened: Option<Segment>,
    /// What is wrong: offset in the file and text. None: every checksum is right.
    pub(crate) errors: Vec<(u64, String)>,
    /// The one bit of the file that explains it.
    pub(crate) bit: Option<u64>,
    /// The segment with that bit repaired, or else read without a look at checksums; none if it is sound, or nothing can
    /// be read.
    pub(crate) salvaged: Option<Segment>,
    /// Offsets of the frames with a wrong checksum.
    frames: Vec<u64>,
}

/// What a series takes in a file.
#[derive(Debug)]
pub(crate) struct SegmentBytes {
    /// Bytes of its column of values.
    pub(crate) values: u64,
    /// Bytes of its column of times, and the column's number: other series may have the same.
    pub(crate) times: u64,
    pub(crate) time_column: u32,
    /// Codec and bytes of each block of values.
    pub(crate) blocks: Vec<(String, u64)>,
}

/// What contradicts itself behind right checksums, and the series if it is one.
pub(crate) type Contradiction = (Option<u32>, String);

/// Looks at a file.
///
/// # Errors
/// [`StorageError::Io`], [`StorageError::NewerFormat`]; damage is no error.
pub(crate) fn examine(disk: &dyn Disk, path: &Path) -> Result<Examined, StorageError> {
    let mut found = Examined::default();
    match Segment::open(disk, path) {
        Ok(segment) => found.opened = Some(segment),
        Err(error @ StorageError::Corrupt { .. }) => found.note(error),
        Err(error) => return Err(error),
    }
    let frames = match frames_of(disk, path) {
        Ok(frames) => frames,
        Err(StorageError::Corrupt { .. }) => {
            found.bit = tail_bit(&*disk.open(path)?)?;
            found.salvage(disk, path)?;
            return Ok(found);
        }
        Err(error) => return Err(error),
    };
    // A file that does not open because of a frame says so twice.
    let bad = frames.verify_all();
    if !bad.is_empty() {
        found.errors.clear();
    }
    for (offset, error) in bad {
        if !matches!(error, StorageError::Corrupt { .. }) {
            return Err(error);
        }
        found.frames.push(offset);
        found.note(error);
    }
    if let [offset] = found.frames[..] {
        let bit = frames.frame_at(offset).and_then(|(bytes, sum)| flipped_bit(&bytes, |bytes| checksum(bytes) == sum));
        found.bit = bit.map(|bit| offset * 8 + bit as u64);
    }
    if !found.errors.is_empty() {
        found.salvage(disk, path)?;
    }
    Ok(found)
}

/// The frames of a file whose end is sound, whatever its header says.
fn frames_of(disk: &dyn Disk, path: &Path) -> Result<FrameReader, StorageError> {
    let region = disk.open(path)?;
    let trailer_at = region.len().saturating_sub(TRAILER_BYTES as u64);
    let trailer = region.read(trailer_at, TRAILER_BYTES)?;
    let (_, _, version) = read_trailer(&trailer).map_err(|e| e.in_file(path, trailer_at))?;
    // Header and trailer must agree. If the header is wrong, so is the first frame: the trailer is believed here.
    let header = region.read(0, HEADER_BYTES as usize)?;
    let stated = read_header(&header).ok().filter(|_| is_first_frame_sound(&*region, path, version));
    let footer = read_footer(&*region, stated.unwrap_or(version), path)?;
    open_frames(region, path, &footer)
}

/// True if the checksum of the first frame is right, as far as the end of the file tells.
fn is_first_frame_sound(region: &dyn Region, path: &Path, version: crate::format::FormatVersion) -> bool {
    let sound = || -> Option<bool> {
        let footer = read_footer(region, version, path).ok()?;
        let len = usize::try_from(footer.frames_end).ok()?.min(FRAME_BYTES);
        let sum = crate::format::u64_at(&region.read(footer.frames_end, 8).ok()?, 0)?;
        Some(checksum(&region.read(0, len).ok()?) == sum)
    };
    sound().unwrap_or(true)
}

/// The bit of trailer, footer or table of checksums that makes the end of the file sound.
fn tail_bit(region: &dyn Region) -> Result<Option<u64>, StorageError> {
    let Ok(header) = region.read(0, HEADER_BYTES as usize) else { return Ok(None) };
    let Ok(version) = read_header(&header) else { return Ok(None) };
    let start = region.len() - region.len().min(TAIL_BYTES);
    let tail = region.read(start, (region.len() - start) as usize)?;
    let footer_in = |tail: &[u8]| -> Option<(Footer, usize)> {
        let trailer_at = tail.len().checked_sub(TRAILER_BYTES)?;
        let (sum, bytes, stated) = read_trailer(tail.get(trailer_at..)?).ok()?;
        let at = trailer_at.checked_sub(bytes as usize)?;
        let footer = tail.get(at..trailer_at)?;
        let is_sound = stated == version && checksum(footer) == sum;
        Some((Footer::decode(footer).ok().filter(|_| is_sound)?, at))
    };
    let Some((footer, at)) = footer_in(&tail) else {
        let bit = flipped_bit(&tail, |tail| footer_in(tail).is_some());
        return Ok(bit.map(|bit| start * 8 + bit as u64));
    };
    let table_bytes = (start + at as u64).saturating_sub(footer.frames_end);
    if table_bytes > SEARCH_BYTES_MAX as u64 {
        return Ok(None);
    }
    let table = region.read(footer.frames_end, table_bytes as usize)?;
    let bit = flipped_bit(&table, |table| checksum(table) == footer.table_checksum);
    Ok(bit.map(|bit| footer.frames_end * 8 + bit as u64))
}

impl Examined {
    fn note(&mut self, error: StorageError) {
        if let StorageError::Corrupt { offset, detail, .. } = error {
            self.errors.push((offset, detail));
        }
    }

    /// Opens what can be opened in spite of the damage.
    fn salvage(&mut self, disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
        self.salvaged = match self.bit {
            Some(bit) => Segment::open_region(Box::new(Repaired { file: disk.open(path)?, bit }), path).ok(),
            None => open_unverified(disk.open(path)?, path),
        };
        Ok(())
    }

    /// Names of the parts of the file in which the damage is.
    pub(crate) fn sections(&self) -> Vec<String> {
        let known = self.salvaged.as_ref().or(self.opened.as_ref());
        let ranges: Vec<(u64, u64)> = match self.bit {
            Some(bit) => vec![(bit / 8, bit / 8 + 1)],
            None if self.frames.is_empty() => self.errors.iter().map(|(offset, _)| (*offset, offset + 1)).collect(),
            None => {
                let end = known.map_or(u64::MAX, |segment| segment.frames.end());
                self.frames.iter().map(|frame| (*frame, (frame + FRAME_BYTES as u64).min(end))).collect()
            }
        };
        let mut names = Vec::new();
        for (start, end) in ranges {
            for name in known.map_or_else(|| vec!["file".to_owned()], |segment| segment.parts_in(start, end)) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// The series that cannot be read because of the damage, or not be found.
    pub(crate) fn series(&self) -> Vec<DamagedSeries> {
        let Some(salvaged) = &self.salvaged else { return Vec::new() };
        let all = |segment: &Segment| {
            let range = |ordinal| segment.time_range(ordinal).unwrap_or(segment.info().range);
            (0..segment.len()).map(|ordinal| DamagedSeries { ordinal, range: range(ordinal) }).collect()
        };
        let Some(opened) = &self.opened else { return all(salvaged) };
        let is_hit = |kind: Kind| {
            let section = salvaged.sections.iter().find(|(known, _)| *known == kind as u64);
            section.is_some_and(|(_, section)| self.frames.iter().any(|frame| overlaps(*section, *frame)))
        };
        // Without its lists a segment answers no selection, and without the parts of names not all.
        if is_hit(Kind::Lists) || is_hit(Kind::ListPages) || is_hit(Kind::NameParts) {
            return all(salvaged);
        }
        let mut series = opened.damage().series;
        if is_hit(Kind::Statistics) || is_hit(Kind::StatisticsPages) {
            let known: std::collections::BTreeSet<u32> = series.iter().map(|one| one.ordinal).collect();
            for ordinal in (0..salvaged.len()).filter(|ordinal| !known.contains(ordinal)) {
                if opened.statistics(ordinal).is_err() {
                    let range = salvaged.time_range(ordinal).unwrap_or(salvaged.info().range);
                    series.push(DamagedSeries { ordinal, range });
                }
            }
            series.sort_unstable_by_key(|one| one.ordinal);
        }
        series
    }
}

fn overlaps(section: Section, frame: u64) -> bool {
    section.bytes > 0 && section.offset < frame + FRAME_BYTES as u64 && frame < section.offset + section.bytes
}

/// Opens a segment without a look at checksums, if its end can be made sense of.
fn open_unverified(region: Box<dyn Region>, path: &Path) -> Option<Segment> {
    let trailer_at = region.len().checked_sub(TRAILER_BYTES as u64)?;
    let start = trailer_at.saturating_sub(TAIL_BYTES);
    let tail = region.read(start, usize::try_from(trailer_at - start).ok()?).ok()?.into_owned();
    // The footer is where its frames and their table end; how long it is may be what is damaged.
    let fits = |at: usize| -> Option<Footer> {
        let footer = Footer::decode(tail.get(at..)?).ok()?;
        let table = footer.frames_end.div_ceil(FRAME_BYTES as u64).checked_mul(8)?;
        (footer.frames_end.checked_add(table)? == start + at as u64).then_some(footer)
    };
    let footer = (0..tail.len()).rev().find_map(fits)?;
    Segment::assemble(FrameReader::unverified(path, region, footer.frames_end), footer, path).ok()
}

impl Segment {
    /// Names of the parts of the file that lie in a range of bytes.
    fn parts_in(&self, start: u64, end: u64) -> Vec<String> {
        let frames_end = self.frames.end();
        let table_end = frames_end + frames_end.div_ceil(FRAME_BYTES as u64) * 8;
        let trailer_at = self.frames.file_bytes().saturating_sub(TRAILER_BYTES as u64);
        let fixed = [
            ("header", 0, HEADER_BYTES),
            ("checksums", frames_end, table_end),
            ("footer", table_end, trailer_at),
            ("trailer", trailer_at, u64::MAX),
        ];
        let sections = self.sections.iter().map(|(kind, section)| {
            let name = Kind::name_of(*kind).map_or_else(|| format!("section {kind}"), str::to_owned);
            (name, section.offset, section.offset + section.bytes)
        });
        let parts = fixed.into_iter().map(|(name, from, to)| (name.to_owned(), from, to));
        parts.chain(sections).filter(|(_, from, to)| *from < end && start < *to).map(|(name, _, _)| name).collect()
    }

    /// Bytes of each section, by its name, in order of the file.
    pub(crate) fn section_bytes(&self) -> Vec<(String, u64)> {
        let name = |kind: u64| Kind::name_of(kind).map_or_else(|| format!("section {kind}"), str::to_owned);
        self.sections.iter().map(|(kind, section)| (name(*kind), section.bytes)).collect()
    }

    /// What a series takes in the file.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], [`StorageError::Io`].
    pub(crate) fn bytes_of(&self, ordinal: u32) -> Result<SegmentBytes, StorageError> {
        let row = self.series_row(ordinal)?;
        let times = self.times_row(row.times)?;
        let mut blocks = Vec::new();
        // An index of a Parquet day has no blocks.
        if let Some(open) = self.open_columns(ordinal, TimeRange::ALL)?.filter(|_| !self.is_index()) {
            for block in 0..open.block_count() {
                let bytes = open.value_bytes(block).map_err(|e| self.corrupt(row.values_offset, &e))?;
                blocks.push((crate::codec::name_of(bytes), bytes.len() as u64));
            }
        }
        let values = if self.is_index() { 0 } else { u64::from(row.values_bytes) };
        let times = u64::from(times.bytes);
        Ok(SegmentBytes { values, times, time_column: row.times, blocks })
    }

    /// Decodes everything, behind right checksums: gives how many samples there are, and what contradicts itself, with
    /// the series if it is one. A contradiction is a fault of the program that wrote the file, or of memory.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn contradictions(&self) -> Result<(u64, Vec<Contradiction>), StorageError> {
        let mut found = Vec::new();
        let mut note = |ordinal, outcome: Result<Option<&'static str>, StorageError>| match outcome {
            Ok(None) => Ok(()),
            Ok(Some(text)) => {
                found.push((ordinal, text.to_owned()));
                Ok(())
            }
            Err(StorageError::Corrupt { detail, .. }) => {
                found.push((ordinal, detail));
                Ok(())
            }
            Err(error) => Err(error),
        };
        let (mut samples, mut before, mut total) = (SampleColumns::default(), None, 0);
        for ordinal in 0..self.len() {
            samples.clear();
            let read = self.read(ordinal, TimeRange::ALL, &mut samples);
            total += (samples.len() + samples.histograms.len()) as u64;
            note(Some(ordinal), read.and_then(|()| self.check_samples(ordinal, &samples)))?;
            if self.resolution_ms().is_some() {
                note(Some(ordinal), self.all_buckets(ordinal).map(|_| None))?;
            }
            match self.labels(ordinal) {
                Ok(labels) => {
                    let is_next = before.as_ref().is_none_or(|before| *before < labels);
                    note(Some(ordinal), Ok((!is_next).then_some("the series are not in the order of their labels")))?;
                    before = Some(labels);
                }
                Err(error) => note(Some(ordinal), Err(error))?,
            }
        }
        note(None, Ok((total != self.info().samples).then_some("it holds another number of samples than it says")))?;
        note(None, self.metadata().map(|_| None))?;
        note(None, self.check_lists())?;
        let is_right = self.is_name_index_right();
        note(None, is_right.map(|right| (!right).then_some("the index of names is not that of its names")))?;
        Ok((total, found))
    }

    fn check_samples(&self, ordinal: u32, samples: &SampleColumns) -> Result<Option<&'static str>, StorageError> {
        let times = &samples.timestamps_ms;
        let range = self.time_range(ordinal)?;
        let ends = times.first().zip(times.last()).map(|(first, last)| (*first, *last));
        let histograms = samples.histograms.first().zip(samples.histograms.last()).map(|(a, b)| (a.0, b.0));
        let ends = ends.into_iter().chain(histograms).map(|(start_ms, end_ms)| TimeRange { start_ms, end_ms });
        let rises = times.is_sorted_by(|a, b| a < b) && samples.histograms.is_sorted_by(|a, b| a.0 < b.0);
        if ends.reduce(|a, b| a.union(&b)).is_some_and(|ends| ends != range) || !rises {
            return Ok(Some("its times do not rise, or are not where they should be"));
        }
        if samples.len() + samples.histograms.len() != self.sample_count(ordinal)? as usize {
            return Ok(Some("it has another number of samples than it says"));
        }
        let statistics = self.statistics(ordinal)?;
        let blocks = samples.values.chunks(crate::codec::BLOCK_SAMPLES_MAX);
        // Bit by bit: a NaN is equal to itself here.
        let bytes = |statistics: &BlockStatistics| {
            let mut out = Vec::with_capacity(RECORD_BYTES);
            statistics.encode(&mut out);
            out
        };
        let is_right =
            |(stated, values): (&BlockStatistics, &[f64])| bytes(stated) == bytes(&BlockStatistics::of(values));
        let is_float = samples.histograms.is_empty();
        Ok((is_float && !statistics.iter().zip(blocks).all(is_right))
            .then_some("statistics are not those of its values"))
    }

    /// Each series that has a label name is in the list of exactly one of its values.
    fn check_lists(&self) -> Result<Option<&'static str>, StorageError> {
        use crate::index::select::LabelIndex;
        for name in self.label_names().map(str::to_owned).collect::<Vec<_>>() {
            let all = self.with_name(&name)?;
            let mut united = roaring::RoaringBitmap::new();
            let mut listed = 0;
            for value in self.label_values(&name)? {
                let list = self.with_pair(&name, &value)?;
                listed += list.len();
                united |= list;
            }
            if united != all || listed != all.len() {
                return Ok(Some("the postings of a label's values are not those of its name"));
            }
        }
        Ok(None)
    }
}
