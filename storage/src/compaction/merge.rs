//! Series of several segments, in the order of their labels, each once, the newest write at each time.

use std::sync::Arc;

use model::{Labels, SampleColumns, TimeRange};

use crate::db::engine::LiveSegment;
use crate::deletes::{Delete, Mask};
use crate::error::StorageError;
use crate::retention::RetentionRules;
use crate::snapshot::Merged;

/// Reads segments side by side.
#[derive(Debug)]
pub(super) struct MergedSeries {
    /// In order of sequence.
    inputs: Vec<Input>,
    retention: Arc<RetentionRules>,
    now_ms: i64,
}

#[derive(Debug)]
struct Input {
    live: Arc<LiveSegment>,
    /// What is left out of it.
    mask: Option<Arc<Mask>>,
    ordinal: u32,
    /// Of the series at `ordinal`; none at the end.
    labels: Option<Labels>,
}

impl Input {
    fn read(&self, range: TimeRange, samples: &mut SampleColumns) -> Result<(), StorageError> {
        self.live.segment.read(self.ordinal, range, samples)?;
        self.mask.iter().for_each(|mask| mask.remove(self.ordinal, samples));
        Ok(())
    }

    fn load(&mut self) -> Result<(), StorageError> {
        let segment = &self.live.segment;
        self.labels = if self.ordinal < segment.len() { Some(segment.labels(self.ordinal)?) } else { None };
        Ok(())
    }
}

impl MergedSeries {
    /// Begins with the first series of `segments`, which stand in order of sequence; samples that retention lets go at
    /// `now_ms`, and those that `deletes` hide, are left out.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn new(
        segments: &[Arc<LiveSegment>],
        deletes: &[Delete],
        retention: Arc<RetentionRules>,
        now_ms: i64,
    ) -> Result<Self, StorageError> {
        let mut inputs = Vec::new();
        for live in segments {
            let mut input = Input { live: live.clone(), mask: live.mask_of(deletes)?, ordinal: 0, labels: None };
            input.load()?;
            inputs.push(input);
        }
        Ok(MergedSeries { inputs, retention, now_ms })
    }

    /// Series of the inputs that were read so far; one that several inputs have counts in each.
    pub(super) fn series_read(&self) -> u64 {
        self.inputs.iter().map(|input| u64::from(input.ordinal)).sum()
    }

    /// The next series, with its samples in `out`, which may be none.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn next(&mut self, out: &mut SampleColumns) -> Result<Option<Labels>, StorageError> {
        out.clear();
        let Some(labels) = self.inputs.iter().filter_map(|input| input.labels.as_ref()).min().cloned() else {
            return Ok(None);
        };
        let range = TimeRange { start_ms: self.retention.oldest_ms(&labels, self.now_ms), end_ms: i64::MAX };
        let mut merged = Merged { out, newer: SampleColumns::default() };
        for input in self.inputs.iter_mut().filter(|input| input.labels.as_ref() == Some(&labels)) {
            merged.add(|samples| input.read(range, samples))?;
            input.ordinal += 1;
            input.load()?;
        }
        Ok(Some(labels))
    }
}
