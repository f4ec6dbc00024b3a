//! The format of WAL records: one per batch, columnar inside.
//!
//! # Record (version 1)
//! A header of [`HEADER_BYTES`], then the body.
//!
//! | field | width | meaning |
//! |---|---|---|
//! | magic | 4 | [`MAGIC`]: where a record may begin, looked for after damage |
//! | header checksum | 4 | low half of the checksum of the header from here on |
//! | body checksum | 8 | of the body as stored |
//! | stored length | 4 | of the body as stored |
//! | raw length | 4 | of the body after decompression |
//! | kind | 1 | [`KIND_BATCH`]; other kinds are skipped |
//! | flags | 1 | bit 0: the body is zstd |
//! | version | 2 | of the body |
//! | generation | 4 | to which WAL generation the series numbers belong |
//! | sequence | 8 | of the batch |
//! | arrival | 8 | of the batch, milliseconds since 1970 |
//! | synced to | 8 | bytes of this file that were synced when the record was written: damage below is corruption, damage above may be a torn tail |
//!
//! The body is a list of sections: kind (1 byte), length (varint), content. Unknown sections are skipped.
//!
//! | section | content |
//! |---|---|
//! | 1 series | texts: count, each as text; then series: count, for each its WAL number (zigzag, difference to the one before), label count, for each label name and value as indices of texts |
//! | 2 samples | count; WAL numbers (zigzag, difference to the one before, first to 0); times (the same); values: for each two the number of bytes (4 bits each, low half first), then the bytes |
//! | 3 metadata | count; family, type (1 byte), help, unit |
//! | 4 exemplars | count; WAL number, time (zigzag), value (8 bytes), labels (canonical text) |
//! | 5 histograms | count; WAL numbers and times as in 2; for each one byte, 1 if the layout is that of the one before, else 0 and the layout (`codec/histogram.rs`); numbers: of each histogram count, zero count, sum and buckets, all as the values in 2 |
//! | 6, 7 | reserved: deletes, start times |
//!
//! A value's bytes are the high bytes of its bits, without trailing zero bytes: small integers take two or three.
//! A WAL number stands for a series within one generation; a record that defines it comes before those that use it.

use model::{Histogram, Labels, Metadata, MetricType};

use crate::codec::histogram::{numbers, numbers_mut, put_layout, read_layout, same_layout};
use crate::format::{Cursor, FormatError, Put, checksum, high_bytes, put_high_bytes};

/// Length of a record's header.
pub(crate) const HEADER_BYTES: usize = 56;
/// `SGWR`
pub(crate) const MAGIC: u32 = 0x5257_4753;
/// A batch.
pub(crate) const KIND_BATCH: u8 = 1;
/// The version of the body that is written.
const VERSION: u16 = 1;
const FLAG_ZSTD: u8 = 1;
/// The largest body that is read, decompressed.
pub(crate) const BODY_MAX_BYTES: usize = 1 << 30;
/// Bodies below are not worth the compressor's start.
const COMPRESS_MIN_BYTES: usize = 512;
const ZSTD_LEVEL: i32 = 1;

const SECTION_SERIES: u8 = 1;
const SECTION_SAMPLES: u8 = 2;
const SECTION_METADATA: u8 = 3;
const SECTION_EXEMPLARS: u8 = 4;
const SECTION_HISTOGRAMS: u8 = 5;

/// Custom bounds that layouts used again may add up to, for each byte of their section.
const BOUNDS_PER_BYTE_MAX: usize = 256;

/// What stands before a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) body_checksum: u64,
    pub(crate) stored_bytes: u32,
    pub(crate) raw_bytes: u32,
    pub(crate) kind: u8,
    flags: u8,
    pub(crate) version: u16,
    pub(crate) generation: u32,
    pub(crate) sequence: u64,
    pub(crate) arrived_ms: i64,
    pub(crate) synced_to: u64,
}

impl RecordHeader {
    /// Reads and checks a header.
    ///
    /// # Errors
    /// [`FormatError`] if it is cut, has no magic or a wrong checksum.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(bytes);
        if cursor.u32()? != MAGIC {
            return Err(FormatError::new("no record begins here"));
        }
        let expected = cursor.u32()?;
        let rest = bytes.get(8..HEADER_BYTES).ok_or_else(|| cursor.error("a record's header is cut"))?;
        if checksum(rest) as u32 != expected {
            return Err(FormatError::new("a record's header has a wrong checksum"));
        }
        Ok(RecordHeader {
            body_checksum: cursor.u64()?,
            stored_bytes: cursor.u32()?,
            raw_bytes: cursor.u32()?,
            kind: cursor.u8()?,
            flags: cursor.u8()?,
            version: cursor.u16()?,
            generation: cursor.u32()?,
            sequence: cursor.u64()?,
            arrived_ms: cursor.u64()?.cast_signed(),
            synced_to: cursor.u64()?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u32(MAGIC);
        out.put_u32(0);
        out.put_u64(self.body_checksum);
        out.put_u32(self.stored_bytes);
        out.put_u32(self.raw_bytes);
        out.put_u8(self.kind);
        out.put_u8(self.flags);
        out.put_u16(self.version);
        out.put_u32(self.generation);
        out.put_u64(self.sequence);
        out.put_u64(self.arrived_ms.cast_unsigned());
        out.put_u64(self.synced_to);
        if let Some(header) = out.get_mut(start..) {
            seal_header(header);
        }
    }
}

/// Writes the checksum of a header into it.
fn seal_header(header: &mut [u8]) {
    let sum = checksum(header.get(8..HEADER_BYTES).unwrap_or_default()) as u32;
    let mut field = Vec::with_capacity(4);
    field.put_u32(sum);
    if let Some(to) = header.get_mut(4..8) {
        to.copy_from_slice(&field);
    }
}

/// Writes into every header of the records in `records` up to where the file is synced. The writer knows it only when
/// it writes them.
pub(crate) fn set_synced_to(records: &mut [u8], synced_to: u64) {
    let mut field = Vec::with_capacity(8);
    field.put_u64(synced_to);
    let mut rest = records;
    while let Ok(header) = RecordHeader::decode(rest) {
        if let Some(to) = rest.get_mut(HEADER_BYTES - 8..HEADER_BYTES) {
            to.copy_from_slice(&field);
        }
        seal_header(rest);
        let whole = HEADER_BYTES + header.stored_bytes as usize;
        rest = rest.get_mut(whole..).unwrap_or_default();
    }
}

/// Builds bodies and wraps them into records; keeps its buffers.
pub(crate) struct RecordEncoder {
    body: Vec<u8>,
    section: Vec<u8>,
    texts: hashbrown::HashMap<u32, u32>,
    text_bytes: Vec<u8>,
    series: Vec<u8>,
    series_count: u64,
    series_before: i64,
    compressor: Option<zstd::bulk::Compressor<'static>>,
    compressed: Vec<u8>,
    /// [`BODY_MAX_BYTES`]; less in tests.
    pub(crate) body_max_bytes: usize,
}

impl std::fmt::Debug for RecordEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordEncoder").finish_non_exhaustive()
    }
}

/// One label as symbols and texts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SymbolLabel<'a> {
    pub(crate) name_symbol: u32,
    pub(crate) name: &'a str,
    pub(crate) value_symbol: u32,
    pub(crate) value: &'a str,
}

/// What goes into a record's header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) generation: u32,
    pub(crate) sequence: u64,
    pub(crate) arrived_ms: i64,
}

impl RecordEncoder {
    /// An encoder; without compression if the compressor cannot be built.
    pub(crate) fn new() -> Self {
        RecordEncoder {
            body: Vec::new(),
            section: Vec::new(),
            texts: hashbrown::HashMap::new(),
            text_bytes: Vec::new(),
            series: Vec::new(),
            series_count: 0,
            series_before: 0,
            compressor: zstd::bulk::Compressor::new(ZSTD_LEVEL).ok(),
            compressed: Vec::new(),
            body_max_bytes: BODY_MAX_BYTES,
        }
    }

    /// Adds the definition of a series; all of them come before anything else of the record.
    pub(crate) fn define<'a>(&mut self, wal_number: u32, labels: impl ExactSizeIterator<Item = SymbolLabel<'a>>) {
        self.series_count += 1;
        self.series.put_zigzag(i64::from(wal_number) - self.series_before);
        self.series_before = i64::from(wal_number);
        self.series.put_varint(labels.len() as u64);
        for label in labels {
            for (symbol, text) in [(label.name_symbol, label.name), (label.value_symbol, label.value)] {
                let next = self.texts.len() as u32;
                let index = *self.texts.entry(symbol).or_insert_with(|| {
                    self.text_bytes.put_text(text);
                    next
                });
                self.series.put_varint(u64::from(index));
            }
        }
    }

    fn end_series(&mut self) {
        if self.series_count == 0 {
            return;
        }
        self.section.put_varint(self.texts.len() as u64);
        self.section.append(&mut self.text_bytes);
        self.section.put_varint(self.series_count);
        self.section.append(&mut self.series);
        self.texts.clear();
        (self.series_count, self.series_before) = (0, 0);
        self.end_section(SECTION_SERIES);
    }

    fn end_section(&mut self, kind: u8) {
        self.body.put_u8(kind);
        self.body.put_varint(self.section.len() as u64);
        self.body.append(&mut self.section);
    }

    /// Adds the samples: WAL number, time, value.
    pub(crate) fn samples(&mut self, samples: impl ExactSizeIterator<Item = (u32, i64, f64)> + Clone) {
        self.end_series();
        if samples.len() == 0 {
            return;
        }
        self.section.put_varint(samples.len() as u64);
        put_places(&mut self.section, samples.clone().map(|(wal_number, timestamp_ms, _)| (wal_number, timestamp_ms)));
        put_values(&mut self.section, samples.map(|(_, _, value)| value.to_bits()));
        self.end_section(SECTION_SAMPLES);
    }

    /// Adds the native histograms: WAL number, time, histogram.
    pub(crate) fn histograms<'a>(
        &mut self,
        histograms: impl ExactSizeIterator<Item = (u32, i64, &'a Histogram)> + Clone,
    ) {
        self.end_series();
        if histograms.len() == 0 {
            return;
        }
        self.section.put_varint(histograms.len() as u64);
        put_places(&mut self.section, histograms.clone().map(|(number, ms, _)| (number, ms)));
        let mut before: Option<&Histogram> = None;
        for (_, _, histogram) in histograms.clone() {
            let is_same = before.is_some_and(|before| same_layout(before, histogram));
            self.section.put_u8(u8::from(is_same));
            if !is_same {
                put_layout(&mut self.section, histogram);
            }
            before = Some(histogram);
        }
        let values: Vec<u64> = histograms.flat_map(|(_, _, h)| numbers(h).map(f64::to_bits)).collect();
        put_values(&mut self.section, values.into_iter());
        self.end_section(SECTION_HISTOGRAMS);
    }

    /// Adds metadata of families.
    pub(crate) fn metadata<'a>(&mut self, list: impl ExactSizeIterator<Item = (&'a str, &'a Metadata)>) {
        self.end_series();
        if list.len() == 0 {
            return;
        }
        self.section.put_varint(list.len() as u64);
        for (family, metadata) in list {
            self.section.put_text(family);
            self.section.put_u8(type_code(metadata.metric_type));
            self.section.put_text(&metadata.help);
            self.section.put_text(&metadata.unit);
        }
        self.end_section(SECTION_METADATA);
    }

    /// Adds exemplars: WAL number, time, value, labels.
    pub(crate) fn exemplars<'a>(&mut self, list: impl ExactSizeIterator<Item = (u32, i64, f64, &'a Labels)>) {
        self.end_series();
        if list.len() == 0 {
            return;
        }
        self.section.put_varint(list.len() as u64);
        for (wal_number, timestamp_ms, value, labels) in list {
            self.section.put_varint(u64::from(wal_number));
            self.section.put_zigzag(timestamp_ms);
            self.section.put_f64(value);
            self.section.put_text(labels.canonical());
        }
        self.end_section(SECTION_EXEMPLARS);
    }

    /// Appends the record to `out` and begins a new one. Nothing is appended, and the length given back, if the body
    /// is longer than a record can hold.
    pub(crate) fn finish(&mut self, stamp: Stamp, out: &mut Vec<u8>) -> Result<(), usize> {
        self.end_series();
        let mut body = std::mem::take(&mut self.body);
        let raw_bytes = body.len();
        if raw_bytes > self.body_max_bytes {
            return Err(raw_bytes);
        }
        let packed = self.compress(&body);
        let stored: &[u8] = if packed { &self.compressed } else { &body };
        let header = RecordHeader {
            body_checksum: checksum(stored),
            stored_bytes: stored.len() as u32,
            raw_bytes: raw_bytes as u32,
            kind: KIND_BATCH,
            flags: if packed { FLAG_ZSTD } else { 0 },
            version: VERSION,
            generation: stamp.generation,
            sequence: stamp.sequence,
            arrived_ms: stamp.arrived_ms,
            synced_to: 0,
        };
        header.encode(out);
        out.extend_from_slice(stored);
        body.clear();
        self.body = body;
        Ok(())
    }

    /// Compresses into `self.compressed`; false if that does not pay (an eighth at least).
    fn compress(&mut self, body: &[u8]) -> bool {
        let Some(compressor) = self.compressor.as_mut().filter(|_| body.len() >= COMPRESS_MIN_BYTES) else {
            return false;
        };
        self.compressed.clear();
        self.compressed.reserve(zstd::zstd_safe::compress_bound(body.len()));
        let done = compressor.compress_to_buffer(body, &mut self.compressed);
        done.is_ok_and(|bytes| bytes < body.len() - body.len() / 8)
    }
}

fn put_places(out: &mut Vec<u8>, places: impl Iterator<Item = (u32, i64)> + Clone) {
    let mut before = 0;
    for (wal_number, _) in places.clone() {
        out.put_zigzag(i64::from(wal_number) - before);
        before = i64::from(wal_number);
    }
    let mut before = 0_i64;
    for (_, timestamp_ms) in places {
        out.put_zigzag(timestamp_ms.wrapping_sub(before));
        before = timestamp_ms;
    }
}

fn put_values(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = u64> + Clone) {
    let lengths_at = out.len();
    out.resize(lengths_at + values.len().div_ceil(2), 0);
    for (i, bits) in values.enumerate() {
        let before = out.len();
        put_high_bytes(out, bits);
        let length = (out.len() - before) as u8;
        if let Some(pair) = out.get_mut(lengths_at + i / 2) {
            *pair |= length << (4 * (i % 2));
        }
    }
}

/// Series as a record defines them: each text once, labels as pairs of texts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Definitions {
    text: String,
    /// Where each text ends.
    text_ends: Vec<usize>,
    series: Vec<SeriesDefinition>,
    /// Labels of all series: numbers of the texts of name and value.
    labels: Vec<(u32, u32)>,
}

/// A series definition as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeriesDefinition {
    pub(crate) wal_number: u32,
    /// [`Labels::hash128`] of the labels.
    pub(crate) hash: u128,
    labels_end: usize,
}

impl Definitions {
    /// The texts, by their numbers.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> + Clone {
        let starts = std::iter::once(0).chain(self.text_ends.iter().copied());
        starts.zip(&self.text_ends).map(|(start, end)| self.text.get(start..*end).unwrap_or_default())
    }

    /// The series with their labels, which are valid and in order.
    pub(crate) fn series(&self) -> impl ExactSizeIterator<Item = (&SeriesDefinition, &[(u32, u32)])> {
        let mut start = 0;
        self.series.iter().map(move |series| {
            let labels = self.labels.get(start..series.labels_end).unwrap_or_default();
            start = series.labels_end;
            (series, labels)
        })
    }
}

/// An exemplar as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExemplarEntry {
    pub(crate) wal_number: u32,
    pub(crate) timestamp_ms: i64,
    pub(crate) value: f64,
    pub(crate) labels: Labels,
}

/// A body as it was read.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct RecordBody {
    pub(crate) series: Definitions,
    /// WAL number, time, value.
    pub(crate) samples: Vec<(u32, i64, f64)>,
    /// WAL number, time, histogram.
    pub(crate) histograms: Vec<(u32, i64, Histogram)>,
    pub(crate) metadata: Vec<(String, Metadata)>,
    pub(crate) exemplars: Vec<ExemplarEntry>,
}

/// Reads the body that stands behind `header`.
///
/// # Errors
/// [`FormatError`] for a wrong checksum, a later version, or bytes that are not a body.
pub(crate) fn decode_body(header: &RecordHeader, stored: &[u8]) -> Result<RecordBody, FormatError> {
    if checksum(stored) != header.body_checksum {
        return Err(FormatError::new("a record's body has a wrong checksum"));
    }
    if header.kind != KIND_BATCH {
        return Ok(RecordBody::default());
    }
    if header.version != VERSION {
        return Err(FormatError::new("a record has an unknown version"));
    }
    if header.flags & FLAG_ZSTD == 0 {
        return decode_sections(stored);
    }
    let raw_bytes = header.raw_bytes as usize;
    if raw_bytes > BODY_MAX_BYTES {
        return Err(FormatError::new("a record's body is too long"));
    }
    let raw = zstd::bulk::decompress(stored, raw_bytes)
        .map_err(|_| FormatError::new("a record's body cannot be decompressed"))?;
    decode_sections(&raw)
}

fn decode_sections(body: &[u8]) -> Result<RecordBody, FormatError> {
    let mut out = RecordBody::default();
    let mut cursor = Cursor::new(body);
    while !cursor.is_empty() {
        let kind = cursor.u8()?;
        let length = cursor.length()?;
        let mut section = Cursor::new(cursor.take(length)?);
        match kind {
            SECTION_SERIES => decode_series(&mut section, &mut out.series)?,
            SECTION_SAMPLES => decode_samples(&mut section, &mut out.samples)?,
            SECTION_HISTOGRAMS => decode_histograms(&mut section, &mut out.histograms)?,
            SECTION_METADATA => decode_metadata(&mut section, &mut out.metadata)?,
            SECTION_EXEMPLARS => decode_exemplars(&mut section, &mut out.exemplars)?,
            _ => continue,
        }
        section.finish()?;
    }
    Ok(out)
}

/// A count of things that take at least `least_bytes` each in what is left.
fn count(cursor: &mut Cursor<'_>, least_bytes: usize) -> Result<usize, FormatError> {
    let count = cursor.length()?;
    if count > cursor.rest().len() / least_bytes {
        return Err(cursor.error("a count is larger than the data"));
    }
    Ok(count)
}

fn wal_number(cursor: &mut Cursor<'_>, before: &mut i64) -> Result<u32, FormatError> {
    *before = before.wrapping_add(cursor.zigzag()?);
    u32::try_from(*before).map_err(|_| cursor.error("a WAL number is out of range"))
}

fn decode_series(cursor: &mut Cursor<'_>, out: &mut Definitions) -> Result<(), FormatError> {
    *out = Definitions::default();
    let text_count = count(cursor, 1)?;
    let texts: Vec<&str> = (0..text_count).map(|_| cursor.text()).collect::<Result<_, _>>()?;
    for text in &texts {
        out.text.push_str(text);
        out.text_ends.push(out.text.len());
    }
    let series_count = count(cursor, 2)?;
    out.series.reserve(series_count);
    let (mut before, mut pairs, mut canonical) = (0, Vec::new(), String::new());
    for _ in 0..series_count {
        let wal_number = wal_number(cursor, &mut before)?;
        let label_count = count(cursor, 2)?;
        pairs.clear();
        for _ in 0..label_count {
            let (name, value) = (cursor.length()?, cursor.length()?);
            let (Some(name_text), Some(value_text)) = (texts.get(name), texts.get(value)) else {
                return Err(cursor.error("a label refers to a text that is not there"));
            };
            pairs.push((*name_text, *value_text));
            // There are fewer texts than bytes in a body.
            out.labels.push((name as u32, value as u32));
        }
        let is_valid = pairs.is_sorted_by(|a, b| a.0 < b.0) && pairs.iter().all(|(_, value)| !value.is_empty());
        canonical.clear();
        if !is_valid || Labels::push_canonical(&pairs, &mut canonical).is_err() {
            return Err(cursor.error("a series has no valid labels"));
        }
        let (hash, labels_end) = (Labels::hash128_of(&canonical), out.labels.len());
        out.series.push(SeriesDefinition { wal_number, hash, labels_end });
    }
    Ok(())
}

fn decode_samples(cursor: &mut Cursor<'_>, out: &mut Vec<(u32, i64, f64)>) -> Result<(), FormatError> {
    let sample_count = count(cursor, 2)?;
    out.reserve(sample_count);
    let start = out.len();
    let mut before = 0;
    for _ in 0..sample_count {
        out.push((wal_number(cursor, &mut before)?, 0, 0.0));
    }
    let mut before = 0_i64;
    for (_, timestamp_ms, _) in out.iter_mut().skip(start) {
        before = before.wrapping_add(cursor.zigzag()?);
        *timestamp_ms = before;
    }
    let lengths = cursor.take(sample_count.div_ceil(2))?;
    let lengths = lengths.iter().flat_map(|pair| [pair & 15, pair >> 4]);
    for ((_, _, value), length) in out.iter_mut().skip(start).zip(lengths) {
        let bytes = cursor.take(usize::from(length))?;
        let bits = high_bytes(bytes).ok_or_else(|| cursor.error("a value has more than eight bytes"))?;
        *value = f64::from_bits(bits);
    }
    Ok(())
}

fn decode_histograms(cursor: &mut Cursor<'_>, out: &mut Vec<(u32, i64, Histogram)>) -> Result<(), FormatError> {
    let section_bytes = cursor.rest().len();
    let count = count(cursor, 3)?;
    let mut places = Vec::with_capacity(count);
    let mut before = 0;
    for _ in 0..count {
        places.push((wal_number(cursor, &mut before)?, 0));
    }
    let mut before = 0_i64;
    for (_, timestamp_ms) in &mut places {
        before = before.wrapping_add(cursor.zigzag()?);
        *timestamp_ms = before;
    }
    // Layouts are repeated only when it is known that there is a number for each of their buckets.
    let (mut layouts, mut layout_of) = (Vec::new(), Vec::with_capacity(count));
    let (mut value_count, mut bound_count) = (0, 0);
    for _ in 0..count {
        if cursor.u8()? == 0 {
            layouts.push(read_layout(cursor)?);
        }
        let layout: &Histogram = layouts.last().ok_or_else(|| cursor.error("a histogram without a layout"))?;
        value_count += numbers(layout).count();
        bound_count += layout.custom_bounds.len();
        layout_of.push(layouts.len() - 1);
    }
    if value_count.div_ceil(2) > cursor.rest().len() || bound_count > section_bytes.saturating_mul(BOUNDS_PER_BYTE_MAX)
    {
        return Err(cursor.error("histograms have more buckets than there are numbers"));
    }
    let lengths = cursor.take(value_count.div_ceil(2))?;
    let mut lengths = lengths.iter().flat_map(|pair| [pair & 15, pair >> 4]);
    out.reserve(count);
    for ((number, timestamp_ms), layout) in places.into_iter().zip(layout_of) {
        let mut histogram = layouts.get(layout).cloned().unwrap_or_default();
        for place in numbers_mut(&mut histogram) {
            let bytes = cursor.take(usize::from(lengths.next().unwrap_or_default()))?;
            let bits = high_bytes(bytes).ok_or_else(|| cursor.error("a value has more than eight bytes"))?;
            *place = f64::from_bits(bits);
        }
        out.push((number, timestamp_ms, histogram));
    }
    Ok(())
}

fn decode_metadata(cursor: &mut Cursor<'_>, out: &mut Vec<(String, Metadata)>) -> Result<(), FormatError> {
    for _ in 0..count(cursor, 4)? {
        let family = cursor.text()?.to_owned();
        let metric_type = type_of(cursor.u8()?);
        let (help, unit) = (cursor.text()?.to_owned(), cursor.text()?.to_owned());
        out.push((family, Metadata { metric_type, help, unit }));
    }
    Ok(())
}

fn decode_exemplars(cursor: &mut Cursor<'_>, out: &mut Vec<ExemplarEntry>) -> Result<(), FormatError> {
    for _ in 0..count(cursor, 11)? {
        let number = u32::try_from(cursor.varint()?).map_err(|_| cursor.error("a WAL number is out of range"))?;
        let (timestamp_ms, value) = (cursor.zigzag()?, cursor.f64()?);
        let labels =
            Labels::from_canonical(cursor.text()?).ok_or_else(|| cursor.error("an exemplar has no valid labels"))?;
        out.push(ExemplarEntry { wal_number: number, timestamp_ms, value, labels });
    }
    Ok(())
}

/// The number of a metric type on the disk.
fn type_code(metric_type: MetricType) -> u8 {
    match metric_type {
        MetricType::Unknown => 0,
        MetricType::Counter => 1,
        MetricType::Gauge => 2,
        MetricType::Histogram => 3,
        MetricType::GaugeHistogram => 4,
        MetricType::Summary => 5,
        MetricType::Info => 6,
        MetricType::StateSet => 7,
    }
}

/// The type with a number; what a later version may add reads as unknown.
fn type_of(code: u8) -> MetricType {
    match code {
        1 => MetricType::Counter,
        2 => MetricType::Gauge,
        3 => MetricType::Histogram,
        4 => MetricType::GaugeHistogram,
        5 => MetricType::Summary,
        6 => MetricType::Info,
        7 => MetricType::StateSet,
        _ => MetricType::Unknown,
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
