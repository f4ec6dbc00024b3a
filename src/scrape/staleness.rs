//! Which series a target had, so that those that are gone get a staleness marker.
//!
//! Series are remembered by the hash of their line, not by their labels, in the order of the scrape: a target says the
//! same lines in the same order each time, so the next line is mostly found without a look-up. A marker needs the series
//! itself: the database mostly still knows the hash; where it does not, the labels are read from the last body, which is
//! kept as it was sent.

use std::collections::HashSet;

use hashbrown::HashTable;
use model::{Labels, MetricType, stale_nan};
use storage::{Batch, HeldSeries, RawKey, Resolved, SeriesRef};

use super::body::Body;
use super::sample_labels::SampleLabels;
use crate::exposition::{Entry, Parser, parse_labels};
use crate::ingest::raw_hash;

/// The series about each scrape, in the order in which they are written.
pub(super) const REPORTS: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// Keys of [`REPORTS`] must not be those of lines: no line begins with this.
const REPORT_PREFIX: &str = "# ";

/// What is known about a line.
#[derive(Debug, Clone, Copy)]
struct Seen {
    hash: u128,
    series: HeldSeries,
    /// The scrape that had it last.
    round: u32,
    /// Its series has a value that a marker would end.
    is_live: bool,
    /// The same before the scrape that is going on.
    was_live: bool,
}

/// What a line is in its scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sighting {
    New,
    Known,
    /// It stood in this scrape already.
    Again,
}

/// The series of one target.
pub(super) struct Tracker {
    labels: SampleLabels,
    context: u64,
    /// In the order in which they came first.
    seen: Vec<Seen>,
    /// Places in `seen`, by hash.
    places: HashTable<u32>,
    /// Where the next line is looked for first.
    next: usize,
    round: u32,
    /// How many of `seen` this round had.
    seen_now: usize,
    /// How many of `seen` were there before this round; those that it added stand behind them.
    seen_before: usize,
    has_reports: bool,
    body: Option<Body>,
    /// Trackers of targets that this one goes on for: their series end unless they are here too.
    predecessors: Vec<Tracker>,
    /// Of the metadata lines that were written last.
    pub(super) metadata_digest: u64,
}

fn hash(raw: &str) -> u128 {
    raw_hash(raw.as_bytes())
}

impl Tracker {
    pub(super) fn new(labels: SampleLabels) -> Tracker {
        Tracker {
            context: labels.context(),
            labels,
            seen: Vec::new(),
            places: HashTable::new(),
            next: 0,
            round: 0,
            seen_now: 0,
            seen_before: 0,
            has_reports: false,
            body: None,
            predecessors: Vec::new(),
            metadata_digest: 0,
        }
    }

    /// Goes on for targets with the same labels that were scraped in another way.
    pub(super) fn inherit(&mut self, predecessors: Vec<Tracker>) {
        self.predecessors.extend(predecessors);
    }

    pub(super) fn labels(&self) -> &SampleLabels {
        &self.labels
    }

    pub(super) fn key(&self, raw: &str) -> RawKey {
        RawKey { context: self.context, hash: hash(raw) }
    }

    /// The key of a series about the scrape itself.
    pub(super) fn report_key(&self, name: &str) -> RawKey {
        self.key(&format!("{REPORT_PREFIX}{name}"))
    }

    /// Begins a scrape.
    pub(super) fn begin(&mut self) {
        self.round = self.round.wrapping_add(1);
        self.seen_now = 0;
        self.seen_before = self.seen.len();
        self.next = 0;
    }

    /// The series of a line, as an earlier batch held it.
    pub(super) fn held(&mut self, key: RawKey) -> Option<HeldSeries> {
        let place = self.place(key.hash)?;
        // `sight` of the same line looks here first.
        self.next = place;
        self.seen.get(place).map(|seen| seen.series)
    }

    fn place(&self, hash: u128) -> Option<usize> {
        if self.seen.get(self.next).is_some_and(|seen| seen.hash == hash) {
            return Some(self.next);
        }
        let same = |place: &u32| self.seen.get(*place as usize).is_some_and(|seen| seen.hash == hash);
        self.places.find(hash as u64, same).map(|place| *place as usize)
    }

    /// Notes a line of this scrape and its series; a line that is not tracked gets no markers.
    pub(super) fn sight(&mut self, key: RawKey, series: HeldSeries, is_tracked: bool) -> Sighting {
        let (hash, round) = (key.hash, self.round);
        let Some(place) = self.place(hash) else {
            self.add(Seen { hash, series, round, is_live: is_tracked, was_live: false });
            return Sighting::New;
        };
        self.next = place + 1;
        let Some(seen) = self.seen.get_mut(place).filter(|seen| seen.round != round) else { return Sighting::Again };
        *seen = Seen { hash, series, round, is_live: is_tracked, was_live: seen.is_live };
        self.seen_now += 1;
        Sighting::Known
    }

    fn add(&mut self, seen: Seen) {
        // Lines are bounded far below by `ingest.max_batch_samples`.
        let Ok(place) = u32::try_from(self.seen.len()) else { return };
        self.seen.push(seen);
        self.seen_now += 1;
        self.next = self.seen.len();
        let Tracker { seen, places, .. } = self;
        let hash_at = |place: &u32| seen.get(*place as usize).map_or(0, |seen| seen.hash as u64);
        places.insert_unique(hash_at(&place), place, hash_at);
    }

    /// Undoes what this scrape noted: it failed. Lines that it added are forgotten, so that a target that never succeeds
    /// and has other lines each time does not fill the memory.
    pub(super) fn undo(&mut self) {
        let (round, before) = (self.round, self.seen_before);
        self.seen.truncate(before);
        self.places.retain(|place| (*place as usize) < before);
        for seen in self.seen.iter_mut().filter(|seen| seen.round == round) {
            *seen = Seen { round: round.wrapping_sub(1), is_live: seen.was_live, was_live: false, ..*seen };
        }
        self.seen_now = 0;
    }

    /// How many lines are remembered, and how many of them are found by their hash.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> (usize, usize) {
        (self.seen.len(), self.places.len())
    }

    /// Puts markers for the series that this scrape did not have, `pushed` being those that it had. After a failed
    /// scrape, which had none, that is all of them.
    pub(super) fn mark_gone(&self, batch: &mut Batch<'_>, pushed: &[SeriesRef], timestamp_ms: i64) {
        let mut gone = HashSet::new();
        if self.seen_now < self.seen.len() {
            gone.extend(self.seen.iter().filter(|s| s.is_live && s.round != self.round).map(|seen| seen.hash));
        }
        if gone.is_empty() && self.predecessors.is_empty() {
            return;
        }
        // Two lines can be one series (their labels in another order, or made equal by relabelling): a series that this
        // scrape had under another line is not gone.
        let pushed: HashSet<SeriesRef> = pushed.iter().copied().collect();
        self.mark(batch, &gone, &pushed, timestamp_ms);
        for predecessor in &self.predecessors {
            predecessor.mark_all(batch, &pushed, timestamp_ms);
        }
    }

    /// Puts markers for everything: the target itself is gone.
    pub(super) fn mark_end(&self, batch: &mut Batch<'_>, timestamp_ms: i64) {
        self.mark_all(batch, &HashSet::new(), timestamp_ms);
    }

    fn mark_all(&self, batch: &mut Batch<'_>, pushed: &HashSet<SeriesRef>, timestamp_ms: i64) {
        let live: HashSet<u128> = self.seen.iter().filter(|seen| seen.is_live).map(|seen| seen.hash).collect();
        self.mark(batch, &live, pushed, timestamp_ms);
        if self.has_reports {
            for name in REPORTS {
                if let Ok(labels) = self.labels.report(name)
                    && let Ok(series) = batch.define(Some(self.report_key(name)), &labels)
                {
                    mark_one(batch, series, pushed, timestamp_ms);
                }
            }
        }
        for predecessor in &self.predecessors {
            predecessor.mark_all(batch, pushed, timestamp_ms);
        }
    }

    fn mark(&self, batch: &mut Batch<'_>, gone: &HashSet<u128>, pushed: &HashSet<SeriesRef>, timestamp_ms: i64) {
        let mut forgotten = HashSet::new();
        for hash in gone {
            match batch.resolve(RawKey { context: self.context, hash: *hash }) {
                Some(Resolved::Series(series)) => mark_one(batch, series, pushed, timestamp_ms),
                Some(Resolved::Dropped) => {}
                None => {
                    forgotten.insert(*hash);
                }
            }
        }
        if !forgotten.is_empty() {
            for labels in self.read_again(&forgotten) {
                if let Ok(series) = batch.define(None, &labels) {
                    mark_one(batch, series, pushed, timestamp_ms);
                }
            }
        }
    }

    /// The labels of lines, from the last body.
    fn read_again(&self, hashes: &HashSet<u128>) -> Vec<Labels> {
        let Some(body) = &self.body else { return Vec::new() };
        let Ok(text) = body.text() else { return Vec::new() };
        let mut found = Vec::new();
        let mut metric_type = MetricType::Unknown;
        for entry in Parser::new(&text, body.format()).flatten() {
            if let Entry::Type { metric_type: stated, .. } = entry {
                metric_type = stated;
            }
            let Entry::Series(line) = entry else { continue };
            if hashes.contains(&hash(line.raw))
                && let Ok(pairs) = parse_labels(line.raw)
                && let Ok(Some(labels)) =
                    self.labels.of(metric_type, pairs.iter().map(|(n, v)| (n.as_ref(), v.as_ref())))
            {
                found.push(labels);
            }
        }
        found
    }

    /// Takes over that a scrape with this body was made durable.
    pub(super) fn succeeded(&mut self, body: Body) {
        let round = self.round;
        if self.seen_now < self.seen.len() {
            self.seen.retain(|seen| seen.round == round);
            self.places.clear();
            for (place, seen) in (0..).zip(&self.seen) {
                let hash_at = |place: &u32| self.seen.get(*place as usize).map_or(0, |seen| seen.hash as u64);
                self.places.insert_unique(seen.hash as u64, place, hash_at);
            }
        }
        self.body = Some(body);
        self.has_reports = true;
        self.predecessors.clear();
    }

    /// Takes over that the markers of a failed scrape were made durable. The lines stay known: a target that comes back
    /// has not added series.
    pub(super) fn failed(&mut self) {
        for seen in &mut self.seen {
            seen.is_live = false;
        }
        self.has_reports = true;
        self.predecessors.clear();
    }
}

fn mark_one(batch: &mut Batch<'_>, series: SeriesRef, pushed: &HashSet<SeriesRef>, timestamp_ms: i64) {
    if !pushed.contains(&series) {
        // Refused only where the sample before it would be refused too.
        let _ = batch.push(series, timestamp_ms, stale_nan());
    }
}
