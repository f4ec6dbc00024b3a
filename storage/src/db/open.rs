//! Opening a data directory: its files, then the replay of the WAL.

pub(super) mod files;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use model::Metadata;

use self::files::{
    highest_segment, keep_files, open_rollups, open_segments, remove_strangers, set_manifests_aside, suspects,
};
use super::commit::CommitQueue;
use super::engine::{Engine, Signal, View};
use super::exemplars::ExemplarRing;
use super::metadata::MetadataMap;
use super::recent::Recent;
use super::store_file::{self, StoreFile};
use crate::batch::{Exemplar, HistogramSample, SeriesRef};
use crate::compaction::progress::Progress;
use crate::deletes::{Delete, leave_families};
use crate::error::StorageError;
use crate::head::Head;
use crate::head::generation::Generation;
use crate::io::Disk;
use crate::manifest::{Manifest, ManifestStore, SegmentEntry};
use crate::names::{Layout, wal_number};
use crate::options::{Clock, DbOptions};
use crate::retention::RetentionRules;
use crate::snapshot::OpenSnapshots;
use crate::stats::Counters;
use crate::wal::file::{ChainFile, chain};
use crate::wal::log::{LastFile, Log, WalFiles};
use crate::wal::record::{Definitions, RecordBody, RecordHeader};
use crate::wal::replay::{Damage, FileContent, Suspects, find_files, last_file, read_file};

/// Records that are decoded ahead of the one that is applied.
const REPLAY_AHEAD: usize = 64;

/// Opens or makes the directory; the log goes to the committer.
///
/// # Errors
/// [`StorageError`].
pub(crate) fn open(
    options: DbOptions,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
) -> Result<(Arc<Engine>, Log), StorageError> {
    let started = Instant::now();
    let layout = Layout::new(&options.data_dir);
    for dir in [layout.wal_dir(), layout.segments_dir(), layout.quarantine_dir(), layout.tmp_dir()] {
        disk.create_dir(&dir)?;
    }
    let lock = disk.lock(&layout.lock())?;
    refuse_incomplete(&*disk, &layout)?;
    let counters = Counters::default();
    for name in disk.list(&layout.tmp_dir())? {
        disk.remove(&layout.tmp_dir().join(name))?;
    }
    let known = store_file::read(&*disk, &layout)?;
    let store = known.unwrap_or_else(|| StoreFile::new(clock.now_ms()));
    let (mut manifests, bad) = ManifestStore::open(disk.clone(), layout.clone(), store.id, options.probe.clone())?;
    // All files are of the store that the manifest says.
    let store = StoreFile { id: manifests.current().store, ..store };
    if known.is_none() {
        store_file::write(&*disk, &layout, &store)?;
        if manifests.current().version > 0 {
            counters.findings.add("STORE was missing and was made again, with the id that the manifest has".to_owned());
        }
    }
    // The process before may have been killed between naming the manifest and making its name durable.
    disk.sync_dir(layout.root())?;
    remove_strangers(&*disk, &layout, manifests.current(), !bad.is_empty())?;
    set_manifests_aside(&*disk, &layout, &bad, &counters)?;
    let suspects = suspects(&*disk, &layout)?;
    let segments = open_segments(&*disk, &layout, &mut manifests, &suspects, &counters)?;
    let rollups = open_rollups(&*disk, &layout, &mut manifests, &suspects, &counters)?;
    let manifest = manifests.current().clone();

    let metadata = MetadataMap::new(options.metadata_max);
    for live in &segments {
        // Metadata that cannot be read is no reason not to serve the samples.
        let known: Vec<(String, Metadata)> = live.metadata(&manifest.deletes).unwrap_or_default();
        counters.metadata_dropped.add(metadata.apply(known));
    }
    let head = Head::new(options.series.clone());
    let exemplars = ExemplarRing::new(options.exemplars_max);
    let active = Generation::new(manifest.flushed_sequence);
    let mut replay = Replay {
        head: &head,
        active: &active,
        metadata: &metadata,
        deletes: &manifest.deletes,
        exemplars: &exemplars,
        suspects: &suspects,
        counters: &counters,
        epoch: head.epochs.pin(),
        series: BTreeMap::new(),
        sequence: manifest.flushed_sequence,
        wal_generation: 0,
        must_flush: false,
    };
    let wal = replay.run(&*disk, &layout, &manifest)?;
    let (sequence, wal_generation, must_flush) = (replay.sequence, replay.wal_generation, replay.must_flush);
    drop(replay);
    head.registry.count_jobs();
    let wal_files = Arc::new(WalFiles::new(wal.sizes));
    let mut log = Log::new(disk.clone(), layout.clone(), store.id, wal.last, wal.next_number, wal_files.clone());
    let queue = CommitQueue::new(sequence + 1, wal_generation + 1, options.pending_bytes_max);
    if let Err(error) = log.next_file() {
        // A full disk still answers queries.
        queue.wal_down(format!("the WAL cannot be written: {error}"));
    }
    if !suspects.is_empty() {
        let names: Vec<_> = suspects.iter().map(|name| name.display().to_string()).collect();
        counters.findings.add(format!(
            "the process before ended because it could not read {}; until the next start files are not mapped",
            names.join(", ")
        ));
        disk.remove(&layout.suspects())?;
    }
    let next_segment = highest_segment(&*disk, &layout)?.map_or(1, |id| id + 1).max(manifest.next_segment);
    counters.open_us.set(micros(started));
    let general_ms = options.retention_ms.filter(|_| !options.retention_held);
    let retention = RetentionRules::new(general_ms, Vec::new());
    let engine = Engine {
        recent: Recent::new(&segments, clock.now_ms(), options.series_idle_ms()),
        retention: parking_lot::RwLock::new(Arc::new(retention)),
        clock,
        disk,
        layout,
        head,
        queue,
        view: parking_lot::RwLock::new(View {
            active: Arc::new(active),
            frozen: None,
            segments: Arc::new(segments),
            rollups: Arc::new(rollups),
            rollup_floor_ms: manifest.rollups.floor_ms,
            deletes: Arc::new(manifest.deletes.clone()),
            sequence,
        }),
        snapshots: OpenSnapshots::default(),
        metadata,
        exemplars,
        counters,
        wal_files,
        manifest: parking_lot::Mutex::new(manifests),
        next_segment: next_segment.into(),
        flushing: parking_lot::Mutex::default(),
        compaction: Progress::default(),
        compacting: parking_lot::Mutex::default(),
        deleting: parking_lot::Mutex::default(),
        mixed_days: parking_lot::Mutex::default(),
        suspects: parking_lot::Mutex::default(),
        flush_signal: Signal::default(),
        compact_signal: Signal::default(),
        flush_requested: must_flush.into(),
        parquet_list_due: manifest.segments.iter().any(SegmentEntry::is_parquet).into(),
        lock: parking_lot::Mutex::new(Some(lock)),
        saving: parking_lot::Mutex::default(),
        options,
    };
    Ok((Arc::new(engine), log))
}

fn micros(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A directory that a snapshot, a backup or a restore was making when it was cut off is not a store: opened, it would
/// lose the files that its manifest, written last, would name.
fn refuse_incomplete(disk: &dyn Disk, layout: &Layout) -> Result<(), StorageError> {
    let path = layout.incomplete();
    match disk.len(&path)? {
        None => Ok(()),
        Some(_) => Err(StorageError::Incomplete { path: layout.root().to_owned() }),
    }
}

/// What there was of the WAL.
#[derive(Debug)]
struct FoundWal {
    sizes: BTreeMap<u64, u64>,
    last: LastFile,
    next_number: u64,
}

/// Brings the head back.
struct Replay<'a> {
    head: &'a Head,
    active: &'a Generation,
    metadata: &'a MetadataMap,
    deletes: &'a [Delete],
    exemplars: &'a ExemplarRing,
    suspects: &'a Suspects,
    counters: &'a Counters,
    epoch: crate::head::epoch::Pin,
    /// By WAL generation and WAL number.
    series: BTreeMap<u32, Vec<Option<SeriesRef>>>,
    sequence: u64,
    wal_generation: u32,
    must_flush: bool,
}

impl Replay<'_> {
    fn run(&mut self, disk: &dyn Disk, layout: &Layout, manifest: &Manifest) -> Result<FoundWal, StorageError> {
        let started = Instant::now();
        let numbers: Vec<u64> = disk.list(&layout.wal_dir())?.iter().filter_map(|name| wal_number(name)).collect();
        let mut sizes = BTreeMap::new();
        for number in &numbers {
            sizes.insert(*number, disk.len(&layout.wal(*number))?.unwrap_or_default());
        }
        let found = find_files(disk, layout, manifest.store, numbers.iter().copied(), self.suspects)?;
        let (files, damaged) = chain(&found, manifest.wal_floor);
        self.counters.wal_damaged.add(damaged.len() as u64);
        for number in &damaged {
            let path = layout.wal(*number);
            self.counters.findings.add(format!("{} is missing or has no sound header", path.display()));
            self.keep_damaged(disk, layout, *number)?;
        }
        let mut last = LastFile::default();
        for file in &files {
            let content = self.replay_file(disk, layout, *file)?;
            // What is in a file with a damaged header goes into segments at once: the chain cannot go on behind it.
            match found.iter().find(|(number, _)| *number == file.number).and_then(|(_, header)| header.as_ref()) {
                Some(header) => last = last_file(header, content, last),
                None => self.must_flush = true,
            }
        }
        self.counters.replay_us.set(micros(started));
        let next_number =
            numbers.iter().copied().max().unwrap_or_default().max(manifest.wal_floor.saturating_sub(1)) + 1;
        Ok(FoundWal { sizes, last, next_number })
    }

    fn replay_file(&mut self, disk: &dyn Disk, layout: &Layout, file: ChainFile) -> Result<FileContent, StorageError> {
        // One thread reads, checks and decompresses; this one applies.
        let suspects = self.suspects;
        let (sender, receiver) = sync_channel::<(RecordHeader, RecordBody)>(REPLAY_AHEAD);
        let content = std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                read_file(disk, layout, file, suspects, &mut |header, body| {
                    // The receiver takes everything; it is gone only if it panicked.
                    let _ = sender.send((header, body));
                })
            });
            for (header, body) in receiver {
                self.apply(&header, body);
            }
            reader.join().unwrap_or_else(|_| {
                let source = std::io::Error::other("the reading thread panicked");
                Err(StorageError::Io { operation: "replay", path: layout.wal(file.number), source })
            })
        })?;
        // The next start may map it, and end on it again.
        self.must_flush |= content.has_gaps;
        self.counters.replayed_records.add(content.records);
        self.counters.wal_damaged.add(content.damage.len() as u64);
        for Damage { offset, detail, .. } in &content.damage {
            let path = layout.wal(file.number);
            self.counters.findings.add(format!("{} is corrupt at byte {offset}: {detail}", path.display()));
        }
        if !content.damage.is_empty() {
            self.keep_damaged(disk, layout, file.number)?;
        }
        Ok(content)
    }

    /// Keeps a damaged file beyond the next flush, for someone to look at.
    fn keep_damaged(&self, disk: &dyn Disk, layout: &Layout, number: u64) -> Result<(), StorageError> {
        keep_files(disk, layout, [layout.wal(number)])?;
        self.counters.quarantined.add(1);
        Ok(())
    }

    /// Brings back the series that a record defines: its texts are looked up once, its series by their symbols.
    fn define(&mut self, generation: u32, definitions: &Definitions) {
        let registry = &self.head.registry;
        let mut symbols = Vec::new();
        registry.symbols().intern(definitions.texts(), &mut symbols);
        // References are counted here and noted once: most texts of a record are in hundreds of its series.
        let mut given = vec![0_u32; symbols.len()];
        let numbers = self.series.entry(generation).or_default();
        let (mut labels, mut schema) = (Vec::new(), None);
        for (definition, texts) in definitions.series() {
            let symbol = |text: u32| symbols.get(text as usize).copied().unwrap_or_default();
            labels.clear();
            labels.extend(texts.iter().map(|(name, value)| (symbol(*name), symbol(*value))));
            let found = registry.define_interned(definition.hash, &labels, &mut schema, self.epoch.epoch());
            if found.is_some_and(|(_, is_new)| is_new) {
                for (_, value) in texts {
                    given.get_mut(*value as usize).into_iter().for_each(|count| *count += 1);
                }
            }
            let index = definition.wal_number as usize;
            if numbers.len() <= index {
                // Numbers are given out one after the other; one that jumps is damage that a checksum did not find.
                numbers.resize(index.min(numbers.len() + NUMBERS_AHEAD) + 1, None);
            }
            if let Some(slot) = numbers.get_mut(index) {
                *slot = found.map(|(series, _)| series);
            }
        }
        registry.symbols().settle(symbols.into_iter().zip(given));
    }

    fn apply(&mut self, header: &RecordHeader, mut body: RecordBody) {
        self.wal_generation = self.wal_generation.max(header.generation);
        if header.sequence <= self.sequence && !(body.samples.is_empty() && body.histograms.is_empty()) {
            // A record that the next file repeats.
            return;
        }
        self.sequence = self.sequence.max(header.sequence);
        self.define(header.generation, &body.series);
        let numbers = self.series.entry(header.generation).or_default();
        let find = |number: u32| numbers.get(number as usize).copied().flatten();
        let mut samples = Vec::with_capacity(body.samples.len());
        samples.extend(body.samples.iter().filter_map(|(n, ms, value)| Some((find(*n)?, *ms, *value))));
        let sent = body.samples.len() + body.histograms.len();
        let histograms = body.histograms.into_iter().filter_map(|(n, ms, h)| Some((find(n)?, ms, Arc::new(h))));
        let histograms: Vec<HistogramSample> = histograms.collect();
        let kept = samples.len() + histograms.len();
        self.counters.replayed_samples.add(kept as u64);
        self.counters.wal_lost_samples.add((sent - kept) as u64);
        if kept > 0 {
            let mut writer = self.active.write(None);
            self.head.apply(&mut writer, header.sequence, header.arrived_ms, &samples, &histograms);
        }
        leave_families(self.deletes, header.sequence, &mut body.metadata);
        self.counters.metadata_dropped.add(self.metadata.apply(body.metadata));
        let covering = || self.deletes.iter().filter(|delete| delete.covers(header.sequence));
        let exemplars = body.exemplars.into_iter().filter_map(|one| {
            let labels = self.head.registry.labels(find(one.wal_number)?);
            if covering().any(|delete| delete.hides(&labels, one.timestamp_ms)) {
                return None;
            }
            Some((labels, Exemplar { labels: one.labels, value: one.value, timestamp_ms: one.timestamp_ms }))
        });
        self.exemplars.extend(exemplars);
    }
}

/// WAL numbers by which a definition may be ahead of all before it: those of records that are damaged.
const NUMBERS_AHEAD: usize = 1 << 24;
