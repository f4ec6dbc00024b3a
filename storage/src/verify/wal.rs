//! The WAL: every file of the chain, every record, and what is lost with a damaged one.
//!
//! The rules are those of a replay (`wal/replay.rs`): what lies behind the last synced place may be torn, what lies
//! behind a seal was never acknowledged and is not looked at. Here also what a replay has twice is checked, and a file
//! that looks as if it had never been started is damage unless a power loss explains it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::{Labels, TimeRange};

use super::segments::with_bit;
use super::{FoundDamage, LOOKS_MAX, Touched, TouchedSeries, Work, is_missing};
use crate::error::StorageError;
use crate::format::checksum;
use crate::manifest::Manifest;
use crate::names::wal_number;
use crate::repair::{flip, flipped_bit};
use crate::wal::file::{ChainFile, FILE_HEADER_BYTES, FileHeader, Seal, chain};
use crate::wal::record::{HEADER_BYTES, RecordBody, RecordHeader, decode_body};
use crate::wal::replay::{Damage, Suspects, find_files, is_torn, read_file};

const NOTHING_LOST: &str = "nothing is lost: no acknowledged record stands only here";
const RECORD_LOST: &str = "the record is skipped by a start: its samples are lost unless they were flushed before";

/// What cannot be read is an error here.
const NO_SUSPECTS: Suspects = Suspects::new();

/// A series as records name it: WAL generation and WAL number.
type Key = (u32, u32);

/// What the sound records say.
#[derive(Default)]
struct Known {
    labels: BTreeMap<Key, Labels>,
    /// Times of samples whose series no sound record defines.
    orphans: BTreeMap<Key, TimeRange>,
}

/// A damaged record, as far as it can be read all the same.
struct Salvaged {
    bit: Option<u64>,
    header: Option<RecordHeader>,
    body: RecordBody,
    is_sure: bool,
}

/// What one look at the WAL found.
#[derive(Default)]
struct Look {
    records: u64,
    files: Vec<u64>,
    damage: Vec<FoundDamage>,
    notes: Vec<String>,
}

impl Work {
    /// Looks at the WAL from the manifest's floor on.
    pub(super) fn verify_wal(&mut self, store: u128, mut manifest: Manifest) -> Result<(), StorageError> {
        // Beside a server: a flush removes files, and what is being written looks torn in other ways than a crash leaves.
        let mut looks = 0;
        let look = loop {
            looks += 1;
            let newer = |work: &Work| work.newer_than(&manifest).filter(|_| looks < LOOKS_MAX);
            match self.look_at_wal(store, &manifest) {
                Ok(look) if look.damage.is_empty() || looks == 2 && newer(self).is_none() || looks >= LOOKS_MAX => {
                    break look;
                }
                Ok(_) => {}
                Err(error) if is_missing(&error) && newer(self).is_some() => {}
                Err(error) => return Err(error),
            }
            manifest = self.newer_than(&manifest).unwrap_or(manifest);
        };
        for number in look.files {
            let bytes = self.disk.len(&self.layout.wal(number))?.unwrap_or_default();
            self.count_file(bytes);
        }
        self.report.wal_records = look.records;
        self.report.damage.extend(look.damage);
        self.report.notes.extend(look.notes);
        Ok(())
    }

    fn look_at_wal(&self, store: u128, manifest: &Manifest) -> Result<Look, StorageError> {
        let (disk, layout) = (&*self.disk, &self.layout);
        let names = self.list(&layout.wal_dir())?;
        let numbers: Vec<u64> =
            names.iter().filter_map(|name| wal_number(name)).filter(|number| *number >= manifest.wal_floor).collect();
        let found = find_files(disk, layout, store, numbers.iter().copied(), &NO_SUSPECTS)?;
        let (files, bad_headers) = chain(&found, manifest.wal_floor);
        let mut look = Look { files: numbers.clone(), ..Look::default() };
        let mut places: Vec<(ChainFile, Damage)> = Vec::new();
        for file in &files {
            let content = read_file(disk, layout, also_repeated(*file), &NO_SUSPECTS, &mut |_, _| ())?;
            look.records += content.records;
            places.extend(content.damage.into_iter().map(|damage| (*file, damage)));
            let length = disk.len(&layout.wal(file.number))?.unwrap_or_default();
            if file.seal.is_none() && content.sound_bytes < length {
                let path = layout.wal(file.number);
                let torn = length - content.sound_bytes;
                look.notes.push(format!("{}: {torn} bytes at its end are torn or being written", path.display()));
            }
        }
        if !places.is_empty() {
            // Only now: the labels of all series take memory.
            let mut known = Known::default();
            for file in &files {
                let mut note = |header: RecordHeader, body: RecordBody| known.add(header, &body);
                read_file(disk, layout, also_repeated(*file), &NO_SUSPECTS, &mut note)?;
            }
            self.add_record_damage(&mut look, known, places)?;
        }
        for number in numbers.iter().chain(&bad_headers).copied().collect::<std::collections::BTreeSet<u64>>() {
            let is_found = found.iter().any(|(n, header)| *n == number && header.is_some());
            if !is_found {
                look.damage.extend(self.file_header_damage(number, store)?);
            }
        }
        Ok(look)
    }

    /// What is wrong with a file without a sound header; nothing if it was never started.
    fn file_header_damage(&self, number: u64, store: u128) -> Result<Option<FoundDamage>, StorageError> {
        let path = self.layout.wal(number);
        if self.disk.len(&path)?.is_none() {
            let detail = "the file is missing: a later one was written after it";
            let touched = Touched::default();
            return Ok(Some(wal_damage(path, None, "file", detail.to_owned(), "all records in it are lost", touched)));
        }
        let bytes = self.disk.open(&path)?.read_all()?.into_owned();
        let fits = |header: &FileHeader| header.number == number && header.store == store;
        let decode = |bytes: &[u8]| FileHeader::decode(bytes, &path).ok().flatten().filter(|header| fits(header));
        let Some(header_bytes) = bytes.get(..FILE_HEADER_BYTES).filter(|bytes| bytes.iter().any(|byte| *byte != 0))
        else {
            return Ok(None);
        };
        let nothing = Touched::nothing();
        let Some(header) = decode(header_bytes) else {
            let bit = flipped_bit(header_bytes, |bytes| decode(bytes).is_some());
            let detail = match FileHeader::decode(header_bytes, &path)? {
                Some(_) => "it is of another store, or has another number".to_owned(),
                None => with_bit("its header is wrong", bit.map(|bit| bit as u64)),
            };
            let offset = bit.map(|bit| bit as u64 / 8);
            let effect = "its records are read all the same; how the file before it ends is not known";
            return Ok(Some(wal_damage(path, offset, "header", detail, effect, nothing)));
        };
        let front_bytes = usize::try_from(header.front_bytes).unwrap_or(usize::MAX);
        let front = bytes.get(FILE_HEADER_BYTES..FILE_HEADER_BYTES.saturating_add(front_bytes));
        let Some(front) = front.filter(|_| !is_torn(&bytes, FILE_HEADER_BYTES)) else { return Ok(None) };
        let bit = flipped_bit(front, |front| checksum(front) == header.front_checksum);
        let bit = bit.map(|bit| (FILE_HEADER_BYTES * 8 + bit) as u64);
        let detail = with_bit("the records that it repeats have a wrong checksum", bit);
        let offset = bit.map_or(FILE_HEADER_BYTES as u64, |bit| bit / 8);
        Ok(Some(wal_damage(path, Some(offset), "repeated records", detail, NOTHING_LOST, nothing)))
    }

    /// Says what is lost with damaged records.
    fn add_record_damage(
        &self,
        look: &mut Look,
        mut known: Known,
        places: Vec<(ChainFile, Damage)>,
    ) -> Result<(), StorageError> {
        let mut salvaged = Vec::new();
        for (file, damage) in places {
            let path = self.layout.wal(file.number);
            let bytes = self.disk.open(&path)?.read_all()?.into_owned();
            let at = usize::try_from(damage.offset).unwrap_or(usize::MAX);
            let record = salvage(bytes.get(at..).unwrap_or_default());
            salvaged.push((file, damage, path, record));
        }
        // Definitions of damaged records first: the samples of others need them, and are lost without.
        for (_, _, _, record) in &salvaged {
            let Some(header) = &record.header else { continue };
            for (number, labels) in definitions(&record.body) {
                known.labels.entry((header.generation, number)).or_insert(labels);
            }
        }
        for (file, damage, path, record) in salvaged {
            let bit = record.bit.map(|bit| damage.offset * 8 + bit);
            let is_repeated = file.seal.is_some_and(|seal| damage.offset >= seal.repeated_from);
            let touched =
                if is_repeated { Touched::nothing() } else { known.touched(&record, self.options.series_max) };
            let effect = if is_repeated { NOTHING_LOST } else { RECORD_LOST };
            let mut detail = with_bit(&damage.detail, bit);
            if let Some(header) = &record.header {
                let arrived = header.arrived_ms;
                detail = format!("{detail}; batch {}, which arrived at {arrived} ms since 1970", header.sequence);
            }
            let offset = bit.map_or(damage.offset, |bit| bit / 8);
            look.damage.push(wal_damage(path, Some(offset), "record", detail, effect, touched));
        }
        Ok(())
    }
}

/// The file with that part of it too which the next file has again.
fn also_repeated(file: ChainFile) -> ChainFile {
    let seal = file.seal.map(|seal| Seal { repeated_from: u64::MAX, ..seal });
    ChainFile { seal, ..file }
}

fn wal_damage(
    path: PathBuf,
    offset: Option<u64>,
    section: &str,
    detail: String,
    effect: &str,
    touched: Touched,
) -> FoundDamage {
    FoundDamage { path, offset, sections: vec![section.to_owned()], detail, effect: effect.to_owned(), touched }
}

impl Known {
    fn add(&mut self, header: RecordHeader, body: &RecordBody) {
        for (number, labels) in definitions(body) {
            self.labels.insert((header.generation, number), labels);
        }
        for (number, timestamp_ms) in sample_times(body) {
            let key = (header.generation, number);
            if !self.labels.contains_key(&key) {
                let here = TimeRange { start_ms: timestamp_ms, end_ms: timestamp_ms };
                self.orphans.entry(key).and_modify(|times| *times = times.union(&here)).or_insert(here);
            }
        }
    }

    /// The series of a damaged record, and those of later records that only it defines.
    fn touched(&self, record: &Salvaged, series_max: usize) -> Touched {
        let Some(header) = &record.header else { return Touched::default() };
        let mut times: BTreeMap<Key, Option<TimeRange>> = BTreeMap::new();
        for (number, _) in definitions(&record.body) {
            let key = (header.generation, number);
            times.insert(key, self.orphans.get(&key).copied());
        }
        for (number, timestamp_ms) in sample_times(&record.body) {
            let here = TimeRange { start_ms: timestamp_ms, end_ms: timestamp_ms };
            let known = times.entry((header.generation, number)).or_default();
            *known = Some(known.map_or(here, |times| times.union(&here)));
        }
        let mut touched = Touched::nothing();
        for (key, times) in times {
            let labels = self.labels.get(&key).cloned();
            touched.add(TouchedSeries { labels, times, is_sure: record.is_sure }, series_max);
        }
        touched
    }
}

/// WAL numbers and labels of the series that a record defines.
fn definitions(body: &RecordBody) -> Vec<(u32, Labels)> {
    let texts: Vec<&str> = body.series.texts().collect();
    let text = |number: u32| texts.get(number as usize).copied().unwrap_or_default();
    let labels_of =
        |pairs: &[(u32, u32)]| Labels::from_pairs(pairs.iter().map(|(name, value)| (text(*name), text(*value))));
    body.series.series().filter_map(|(series, pairs)| Some((series.wal_number, labels_of(pairs).ok()?))).collect()
}

/// WAL numbers and times of all samples of a record.
fn sample_times(body: &RecordBody) -> impl Iterator<Item = (u32, i64)> {
    let floats = body.samples.iter().map(|(number, timestamp_ms, _)| (*number, *timestamp_ms));
    floats.chain(body.histograms.iter().map(|(number, timestamp_ms, _)| (*number, *timestamp_ms)))
}

/// Reads a damaged record in spite of it: with the one bit repaired that explains it, else without its checksum.
fn salvage(rest: &[u8]) -> Salvaged {
    let nothing = Salvaged { bit: None, header: None, body: RecordBody::default(), is_sure: false };
    let Some(head) = rest.get(..HEADER_BYTES) else { return nothing };
    let body_of =
        |header: &RecordHeader| rest.get(HEADER_BYTES..HEADER_BYTES.checked_add(header.stored_bytes as usize)?);
    let Ok(header) = RecordHeader::decode(rest) else {
        let whole = |head: &[u8]| {
            let header = RecordHeader::decode(head).ok()?;
            let body = decode_body(&header, body_of(&header)?).ok()?;
            Some((header, body))
        };
        let Some(bit) = flipped_bit(head, |head| whole(head).is_some()) else { return nothing };
        let mut right = head.to_vec();
        flip(&mut right, bit);
        let Some((header, body)) = whole(&right) else { return nothing };
        return Salvaged { bit: Some(bit as u64), header: Some(header), body, is_sure: true };
    };
    let Some(stored) = body_of(&header) else { return Salvaged { header: Some(header), ..nothing } };
    if let Some(bit) = flipped_bit(stored, |stored| checksum(stored) == header.body_checksum) {
        let mut right = stored.to_vec();
        flip(&mut right, bit);
        let body = decode_body(&header, &right).unwrap_or_default();
        let bit = Some((HEADER_BYTES * 8 + bit) as u64);
        return Salvaged { bit, header: Some(header), body, is_sure: true };
    }
    let mut believed = header;
    believed.body_checksum = checksum(stored);
    let body = decode_body(&believed, stored).unwrap_or_default();
    Salvaged { bit: None, header: Some(header), body, is_sure: false }
}
