//! The head: series, and the samples that are not yet in segments. What is here is kept safe by the WAL.
//!
//! `registry` and `symbols` know the series (`order` sorts them, `budgets` says how many there may be), `raw_keys` how
//! their senders write them, `newest` their last sample, `epoch` who may still hold a series' number, `postings` which
//! series carry a label. They live as long as the process. Samples lie in `generation`s, one `chunk` per series, in `pages` that go with their generation: the active one
//! takes writes, a frozen one is on its way into segments.

pub(crate) mod budgets;
pub(crate) mod chunk;
pub(crate) mod epoch;
pub(crate) mod generation;
mod histograms;
pub(crate) mod newest;
mod order;
mod pages;
pub(crate) mod postings;
pub(crate) mod raw_keys;
pub(crate) mod registry;
pub(crate) mod symbols;

use std::sync::Arc;

use model::{Labels, stale_nan};
use parking_lot::Mutex;

use crate::batch::{HistogramSample, RawKey, Resolved, SeriesRef};
use crate::error::Refusal;
use crate::options::SeriesLimits;
use budgets::Earlier;
use epoch::Epochs;
use generation::{Generation, GenerationWriter};
use newest::Newest;
use postings::HeadPostings;
use raw_keys::{RAW_KEYS_MAX, RawKeys};
use registry::Registry;

/// All that is known of the active series.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) registry: Registry,
    pub(crate) raw_keys: RawKeys,
    pub(crate) newest: Newest,
    pub(crate) postings: HeadPostings,
    pub(crate) epochs: Arc<Epochs>,
    /// Series that were retired in an epoch and wait until all pins of it are gone.
    retired: Mutex<Vec<(u32, Vec<SeriesRef>)>>,
}

impl Head {
    /// An empty head for so many series.
    pub(crate) fn new(limits: SeriesLimits) -> Self {
        Head {
            registry: Registry::new(limits),
            raw_keys: RawKeys::new(RAW_KEYS_MAX),
            newest: Newest::new(),
            postings: HeadPostings::default(),
            epochs: Arc::default(),
            retired: Mutex::default(),
        }
    }

    /// What a raw key stands for, to someone who has pinned `epoch`.
    pub(crate) fn resolve(&self, key: RawKey, epoch: u32) -> Option<Resolved> {
        let resolved = self.raw_keys.get(key)?;
        match resolved {
            Resolved::Series(series) if !self.registry.touch(series, epoch) => None,
            _ => Some(resolved),
        }
    }

    /// As [`Head::resolve`] for many keys; gives what they stand for in turn.
    pub(crate) fn resolve_all(&self, keys: &[RawKey], epoch: u32, out: &mut Vec<Option<Resolved>>) {
        out.clear();
        self.raw_keys.get_all(keys, out);
        self.registry.touch_all(out, epoch);
    }

    /// Finds or makes a series, to someone who has pinned `epoch`.
    ///
    /// # Errors
    /// [`Refusal::TooManySeries`], [`Refusal::TooManySeriesOfJob`].
    pub(crate) fn define(
        &self,
        key: Option<RawKey>,
        labels: &Labels,
        epoch: u32,
        earlier: &dyn Earlier,
    ) -> Result<SeriesRef, Refusal> {
        let series = self.registry.define(labels, epoch, earlier)?;
        if let Some(key) = key {
            self.raw_keys.insert(key, Resolved::Series(series));
        }
        Ok(series)
    }

    /// Makes a batch visible.
    pub(crate) fn apply(
        &self,
        writer: &mut GenerationWriter<'_>,
        sequence: u64,
        arrived_ms: i64,
        samples: &[(SeriesRef, i64, f64)],
        histograms: &[HistogramSample],
    ) {
        writer.apply(sequence, arrived_ms, samples);
        let mut first = Vec::new();
        self.newest.apply(arrived_ms, samples, &mut first);
        if !histograms.is_empty() {
            writer.apply_histograms(sequence, histograms);
            // No number stands for a histogram: where one is wanted, the series has ended.
            let markers: Vec<_> = histograms.iter().map(|(series, ms, _)| (*series, *ms, stale_nan())).collect();
            self.newest.apply(arrived_ms, &markers, &mut first);
        }
        if !first.is_empty() {
            self.postings.add_later(first.into_iter());
        }
    }

    /// Lets go of the series without samples in `active` whose last batch arrived before `idle_since_ms`.
    ///
    /// Call it when no other generation is visible to new snapshots. `forget` hears of the numbers that will be used
    /// again, before they are.
    pub(crate) fn collect(&self, active: &Generation, idle_since_ms: i64, forget: impl FnOnce(&[SeriesRef])) -> u64 {
        // Now, so that a series which nobody of the epoch that ends here can hold any more goes at once.
        self.epochs.advance();
        let oldest = self.epochs.oldest_writer();
        let idle = |series| self.newest.get(series).is_none_or(|newest| newest.arrived_ms < idle_since_ms);
        let retired = self.registry.retire(oldest, |series| idle(series) && !active.holds(series));
        let count = retired.len() as u64;
        let ended = self.epochs.advance();
        let mut waiting = self.retired.lock();
        if !retired.is_empty() {
            waiting.push((ended, retired));
        }
        let oldest = self.epochs.oldest();
        let mut ready = Vec::new();
        waiting.retain_mut(|(ended, series)| {
            if *ended < oldest {
                ready.append(series);
            }
            *ended >= oldest
        });
        drop(waiting);
        if !ready.is_empty() {
            let gone: hashbrown::HashSet<SeriesRef> = ready.iter().copied().collect();
            self.raw_keys.forget(|series| gone.contains(&series));
            self.postings.remove(&self.registry, &ready);
            self.newest.forget(&ready);
            forget(&ready);
            self.registry.recycle(&ready);
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(hash: u128) -> RawKey {
        RawKey { context: 0, hash }
    }

    #[test]
    fn idle_series_go_when_no_one_can_hold_them() {
        let head = Head::new(SeriesLimits::default());
        let generation = Generation::new(0);
        let labels = Labels::from_pairs([("a", "1")]).unwrap();
        let held = head.epochs.pin();
        let series = head.define(Some(key(1)), &labels, held.epoch(), &()).unwrap();
        let forgotten = |_: &[SeriesRef]| panic!("nothing may be recycled yet");
        assert_eq!(head.collect(&generation, 50, forgotten), 0, "a batch is open");
        head.apply(&mut generation.write(None), 1, 10, &[(series, 5, 1.0)], &[]);
        drop(held);
        assert_eq!(head.collect(&generation, 50, forgotten), 0, "it has samples");
        let next = Generation::new(1);
        assert_eq!(head.collect(&next, 10, forgotten), 0, "it is not idle");

        let batch = head.epochs.pin();
        assert_eq!(head.resolve(key(1), batch.epoch()), Some(Resolved::Series(series)));
        assert_eq!(head.collect(&next, 50, forgotten), 0, "a batch has resolved it");
        drop(batch);
        let reader = head.epochs.pin_reader();
        assert_eq!(head.collect(&next, 50, forgotten), 1);
        assert_eq!(head.resolve(key(1), reader.epoch()), None);
        head.raw_keys.insert(key(2), Resolved::Dropped);
        let mut found = Vec::new();
        head.resolve_all(&[key(1), key(2), key(3)], reader.epoch(), &mut found);
        assert_eq!(found, [None, Some(Resolved::Dropped), None]);
        assert_eq!(head.registry.labels(series), labels, "the snapshot still reads it");
        drop(reader);
        let mut recycled = Vec::new();
        head.collect(&next, 50, |gone| recycled.extend_from_slice(gone));
        assert_eq!(recycled, [series]);
        assert!(head.postings.select(&head.registry, &model::Scope::default(), &[]).is_empty());
        let pin = head.epochs.pin();
        let again = head.define(Some(key(1)), &labels, pin.epoch(), &()).unwrap();
        assert_eq!((again, head.newest.get(again)), (series, None));
    }
}
