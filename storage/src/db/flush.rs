//! From the head into segments: freeze, write, install, and then the WAL goes.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use model::{SampleColumns, TimeRange};

use super::FlushReport;
use super::commit::Frozen;
use super::engine::Engine;
use super::prepared::{Draft, OpenSegment, Prepared, newest_days};
use crate::batch::SeriesRef;
use crate::error::StorageError;
use crate::head::generation::Generation;
use crate::options::{Step, reached};
use crate::precision;
use crate::segment::SegmentWriter;

/// Series whose labels are read under one set of locks.
const LABELS_LOCKED: usize = 256;
/// What an open float sample takes.
const FLOAT_BYTES: u64 = 16;

impl Engine {
    /// Asks for a flush in the background.
    pub(crate) fn request_flush(&self) {
        self.flush_requested.store(true, Ordering::Release);
        self.flush_signal.raise();
    }

    /// Wakes the flusher if the head or the WAL is large enough.
    pub(crate) fn flush_if_due(&self) {
        if self.is_head_large() {
            self.request_flush();
        }
    }

    /// True if the head or the WAL is as large as it should become. Half of the WAL's bound, because it goes on growing
    /// while the head is written.
    pub(crate) fn is_head_large(&self) -> bool {
        let (samples, histogram_bytes) = {
            let view = self.view.read();
            (view.active.sample_count(), view.active.histogram_bytes())
        };
        // A histogram takes the memory of many floats.
        let samples = samples + histogram_bytes / FLOAT_BYTES;
        samples >= self.options.head_samples_max || self.wal_files.total_bytes() >= self.options.wal_bytes_max / 2
    }

    /// True if the oldest sample in the head is older than it may be.
    pub(crate) fn is_head_old(&self) -> bool {
        let age_max = i64::try_from(self.options.head_age_max.as_millis()).unwrap_or(i64::MAX);
        let oldest = self.view.read().active.oldest_arrival_ms();
        oldest.is_some_and(|oldest| oldest.saturating_add(age_max) <= self.clock.now_ms())
    }

    /// A series was refused: if the head may hold series that are idle, a flush makes it forget them.
    pub(crate) fn make_room(&self) {
        let since_ms = self.clock.now_ms().saturating_sub(self.options.series_idle_ms());
        // After that flush the head has nothing as old for some time: refusals by the thousand ask for one flush.
        if self.view.read().active.oldest_arrival_ms().is_some_and(|oldest| oldest < since_ms) {
            self.request_flush();
        }
    }

    /// Writes all that is in the head now into segments.
    ///
    /// # Errors
    /// I/O errors; the samples stay in the head and in the WAL then.
    pub(crate) fn flush(&self) -> Result<FlushReport, StorageError> {
        self.flush_with(&mut self.flushing.lock())
    }

    /// As [`Engine::flush`], for who goes on to keep other flushes out.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn flush_with(&self, prepared: &mut Option<Prepared>) -> Result<FlushReport, StorageError> {
        let mut report = FlushReport::default();
        let done = self.flush_steps(prepared, &mut report);
        if let Err(error) = &done {
            self.counters.flush_failures.add(1);
            self.note_failure("flush", error);
        }
        done.map(|()| report)
    }

    fn flush_steps(&self, prepared: &mut Option<Prepared>, report: &mut FlushReport) -> Result<(), StorageError> {
        // One that failed before has left its head frozen.
        let left = self.view.read().frozen.clone();
        if let Some(frozen) = left {
            self.flush_frozen(&frozen, prepared, report)?;
        }
        let is_empty = self.view.read().active.sample_count() == 0;
        if is_empty && self.wal_files.total_bytes() < self.options.wal_file_bytes.min(self.options.wal_bytes_max / 2) {
            return Ok(());
        }
        self.freeze_and_flush(prepared, report)
    }

    fn freeze_and_flush(&self, prepared: &mut Option<Prepared>, report: &mut FlushReport) -> Result<(), StorageError> {
        let frozen = self.queue.freeze()?;
        reached(&self.options.probe, Step::FlushFrozen);
        self.flush_frozen(&frozen, prepared, report)
    }

    /// Begins the WAL anew, even if there is nothing to flush: it restates the metadata that was known when it began.
    ///
    /// # Errors
    /// As those of [`Engine::flush`].
    pub(crate) fn restart_wal(&self) -> Result<(), StorageError> {
        let mut prepared = self.flushing.lock();
        self.flush_with(&mut prepared)?;
        self.freeze_and_flush(&mut prepared, &mut FlushReport::default())
    }

    fn flush_frozen(
        &self,
        frozen: &Frozen,
        prepared: &mut Option<Prepared>,
        report: &mut FlushReport,
    ) -> Result<(), StorageError> {
        if prepared.is_none() {
            let mut draft = Draft::new(self);
            self.write_frozen(frozen, &mut draft)?;
            *prepared = Some(draft.make_durable()?);
        }
        let live = prepared.as_ref().map(|prepared| prepared.live.clone()).unwrap_or_default();
        // A failed install leaves open whether these segments count after a crash: they stay prepared for the next try.
        let flushed = frozen.generation.sequences().map_or(0, |(_, last)| last);
        let touched = self.rolled_up_times(&live)?;
        self.install(
            &[],
            &live,
            |manifest| {
                touched.into_iter().for_each(|(times, sequence)| manifest.rollups.touch(times, sequence));
                manifest.wal_floor = frozen.wal_floor;
                manifest.flushed_sequence = manifest.flushed_sequence.max(flushed);
            },
            |view| {
                view.frozen = None;
                // In the same moment: whatever happens next, they must not be taken for those of the next head.
                *prepared = None;
            },
        )?;
        let samples = live.iter().map(|live| live.entry.samples).sum::<u64>();
        self.counters.flushes.add(1);
        self.counters.flushed_samples.add(samples);
        report.samples += samples;
        report.segments += live.len() as u64;
        self.wal_files.remove_below(frozen.wal_floor, &*self.disk, &self.layout);
        reached(&self.options.probe, Step::WalRemoved);
        self.forget_idle_series();
        self.compact_signal.raise();
        Ok(())
    }

    /// Writes the segments of a frozen head, one per day, the oldest days together if there are too many.
    fn write_frozen(&self, frozen: &Frozen, draft: &mut Draft<'_>) -> Result<(), StorageError> {
        let generation = &frozen.generation;
        let Some(sequences) = generation.sequences() else { return Ok(()) };
        let series = generation.series();
        let mut days = BTreeSet::new();
        for series in &series {
            generation.add_days(*series, &mut days);
        }
        let ordered = self.head.registry.ordered(&series);
        let metadata = self.metadata.all();
        let partitions = newest_days(&days, self.options.open_partitions_max);
        for (i, partition) in partitions.iter().enumerate() {
            let (open, mut writer) = OpenSegment::create(self, *partition, sequences)?;
            if i + 1 == partitions.len() {
                // All of it with the newest day: retention drops the others first.
                writer.set_metadata(&metadata);
            }
            if partitions.len() == 1 {
                self.write_series(generation, &ordered, partition.times, &mut writer)?;
            } else {
                let overlaps = |series: &&SeriesRef| {
                    generation.times(**series).is_some_and(|have| have.overlaps(&partition.times))
                };
                let here: Vec<SeriesRef> = ordered.iter().filter(overlaps).copied().collect();
                self.write_series(generation, &here, partition.times, &mut writer)?;
            }
            draft.live.extend(open.finish(writer)?);
        }
        Ok(())
    }

    /// Writes the samples in `times` of these series.
    fn write_series(
        &self,
        generation: &Generation,
        ordered: &[SeriesRef],
        times: TimeRange,
        writer: &mut SegmentWriter,
    ) -> Result<(), StorageError> {
        let (retention, now_ms) = (self.retention.read().clone(), self.clock.now_ms());
        let mut samples = SampleColumns::default();
        let mut labels = Vec::with_capacity(LABELS_LOCKED);
        for some in ordered.chunks(LABELS_LOCKED) {
            // The head keeps the rows of series with samples in a generation.
            labels.clear();
            let view = self.head.registry.view();
            labels.extend(some.iter().map(|series| view.labels(*series)));
            drop(view);
            generation.warm(some);
            for (series, labels) in some.iter().zip(&labels) {
                let start_ms = times.start_ms.max(retention.oldest_ms(labels, now_ms));
                samples.clear();
                generation.read(*series, u64::MAX, TimeRange { start_ms, ..times }, &mut samples);
                precision::apply(&self.options.precision, labels, &mut samples.values);
                if !samples.is_empty() {
                    writer.add_series(labels, &samples)?;
                }
            }
        }
        Ok(())
    }

    /// Lets the head forget series that have had no samples for long.
    fn forget_idle_series(&self) {
        let since_ms = self.clock.now_ms().saturating_sub(self.options.series_idle_ms());
        let active = self.view.read().active.clone();
        let retired = self.head.collect(&active, since_ms, |series| self.queue.forget(series));
        self.counters.retired_series.add(retired);
    }
}
