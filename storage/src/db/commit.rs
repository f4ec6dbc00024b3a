//! The queue of batches between those who commit and the one thread that writes.
//!
//! A batch gets its sequence and its WAL record here, in the order of both; its caller then waits for its [`Ticket`].
//! While the committer writes and syncs one group, the next one gathers: one sync serves all that wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use model::{Histogram, Metadata};
use parking_lot::{Condvar, Mutex};

use crate::batch::{Committed, Exemplar, HistogramSample, SeriesRef};
use crate::error::{CommitError, StorageError};
use crate::head::generation::Generation;
use crate::head::registry::Registry;
use crate::wal::record::{BODY_MAX_BYTES, RecordEncoder, Stamp, SymbolLabel};

/// What a refused sender is told to wait.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Bytes that a sample takes while it waits: in the batch and in its record.
const SAMPLE_BYTES: usize = 40;
/// No queue takes more than what fits one record, whatever the options say.
pub(crate) const PENDING_BYTES_MAX: u64 = BODY_MAX_BYTES as u64 / 2;

/// What a batch holds.
#[derive(Debug, Default)]
pub(crate) struct BatchContent {
    pub(crate) samples: Vec<(SeriesRef, i64, f64)>,
    pub(crate) histograms: Vec<HistogramSample>,
    pub(crate) metadata: Vec<(String, Metadata)>,
    pub(crate) exemplars: Vec<(SeriesRef, Exemplar)>,
}

impl BatchContent {
    pub(crate) fn is_empty(&self) -> bool {
        self.sample_count() == 0 && self.metadata.is_empty() && self.exemplars.is_empty()
    }

    /// Samples of both kinds.
    pub(crate) fn sample_count(&self) -> u64 {
        (self.samples.len() + self.histograms.len()) as u64
    }

    /// Bytes for the account of what waits.
    fn pending_bytes(&self) -> u64 {
        let metadata = self.metadata.iter().map(|(family, m)| family.len() + m.help.len() + m.unit.len() + 64);
        let exemplars = self.exemplars.iter().map(|(_, exemplar)| exemplar.labels.heap_bytes() + 64);
        let histograms = self.histograms.iter().map(|(_, _, h)| 2 * (h.heap_bytes() + size_of::<Histogram>()));
        let others = histograms.sum::<usize>() + metadata.sum::<usize>() + exemplars.sum::<usize>();
        (self.samples.len() * SAMPLE_BYTES + others) as u64
    }
}

/// A batch that waits for its sync.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) content: BatchContent,
    pub(crate) sequence: u64,
    pub(crate) arrived_ms: i64,
    /// On the account of what waits.
    bytes: u64,
    ticket: Arc<Ticket<Result<Committed, CommitError>>>,
}

impl Waiting {
    /// Tells the caller how it ended; only the first time counts.
    pub(crate) fn finish(&self, result: Result<Committed, CommitError>) {
        self.ticket.finish(result);
    }
}

/// Nobody waits for ever for a batch that was forgotten: by a panic of the thread that had it.
impl Drop for Waiting {
    fn drop(&mut self) {
        self.finish(Err(CommitError::Closed));
    }
}

/// Hands one value from one thread to another.
#[derive(Debug)]
pub(crate) struct Ticket<T> {
    outcome: Mutex<Outcome<T>>,
    done: Condvar,
}

#[derive(Debug)]
enum Outcome<T> {
    Pending,
    Known(T),
    Taken,
}

impl<T> Ticket<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Ticket { outcome: Mutex::new(Outcome::Pending), done: Condvar::new() })
    }

    /// Says the value, unless it is said already.
    pub(crate) fn finish(&self, value: T) {
        let mut outcome = self.outcome.lock();
        if matches!(*outcome, Outcome::Pending) {
            *outcome = Outcome::Known(value);
            self.done.notify_all();
        }
    }

    /// Waits for the value; one waits.
    pub(crate) fn wait(&self) -> T {
        let mut outcome = self.outcome.lock();
        loop {
            if matches!(*outcome, Outcome::Known(_))
                && let Outcome::Known(value) = std::mem::replace(&mut *outcome, Outcome::Taken)
            {
                return value;
            }
            self.done.wait(&mut outcome);
        }
    }
}

/// A head that is frozen, and the first WAL file that is needed when it is in segments.
#[derive(Debug, Clone)]
pub(crate) struct Frozen {
    pub(crate) generation: Arc<Generation>,
    pub(crate) wal_floor: u64,
}

/// Asks the committer to freeze the head; who waits has the ticket too.
#[derive(Debug)]
pub(crate) struct FreezeRequest(Arc<Ticket<Result<Frozen, StorageError>>>);

impl FreezeRequest {
    /// Tells the caller how it ended; only the first time counts.
    pub(crate) fn finish(&self, result: Result<Frozen, StorageError>) {
        self.0.finish(result);
    }
}

/// As with [`Waiting`]: who waits holds up all flushes.
impl Drop for FreezeRequest {
    fn drop(&mut self) {
        self.finish(Err(cannot_freeze("the thread that writes the WAL has ended".to_owned())));
    }
}

fn cannot_freeze(reason: String) -> StorageError {
    StorageError::Io { operation: "freeze", path: Default::default(), source: std::io::Error::other(reason) }
}

/// What the committer has to do next.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) group: Vec<Waiting>,
    /// The records of the group.
    pub(crate) records: Vec<u8>,
    pub(crate) freeze: Option<FreezeRequest>,
    /// Try to start a WAL file again.
    pub(crate) reopen: bool,
    pub(crate) stop: bool,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct CommitQueue {
    state: Mutex<State>,
    work: Condvar,
    pending_bytes_max: u64,
    /// Batches that are open and not committed yet.
    filling: AtomicUsize,
    /// The newest batch whose write failed: it may be on the disk all the same.
    failed_sequence: AtomicU64,
}

/// A batch that is being filled, until this is dropped.
#[derive(Debug)]
pub(crate) struct Filling<'q>(&'q AtomicUsize);

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct State {
    encoder: RecordEncoder,
    numbers: WalNumbers,
    next_sequence: u64,
    waiting: Vec<Waiting>,
    records: Vec<u8>,
    /// Of all batches that are not finished.
    pending_bytes: u64,
    freeze: Option<FreezeRequest>,
    reopen: bool,
    stop: bool,
    closed: bool,
    /// The committer waits for batches that are being filled.
    gathering: bool,
    /// Why nothing can be written: the WAL itself, or somebody's rule.
    wal_down: Option<String>,
    read_only: Option<String>,
}

/// Which series have a WAL number in the current WAL generation.
#[derive(Debug, Default)]
struct WalNumbers {
    generation: u32,
    next: u32,
    /// Generation and number, by series.
    by_series: Vec<(u32, u32)>,
}

impl WalNumbers {
    fn get(&self, series: SeriesRef) -> Option<u32> {
        self.by_series.get(series.0 as usize).filter(|(generation, _)| *generation == self.generation).map(|(_, n)| *n)
    }

    /// Gives the series a number; false if it has one.
    fn claim(&mut self, series: SeriesRef) -> bool {
        if self.get(series).is_some() {
            return false;
        }
        let index = series.0 as usize;
        if self.by_series.len() <= index {
            self.by_series.resize(index + 1, (0, 0));
        }
        if let Some(slot) = self.by_series.get_mut(index) {
            *slot = (self.generation, self.next);
            self.next += 1;
        }
        true
    }

    fn begin_generation(&mut self) {
        self.generation += 1;
        self.next = 0;
    }
}

impl CommitQueue {
    /// A queue whose first batch gets `next_sequence` and is written in WAL generation `generation`, which is above 0.
    pub(crate) fn new(next_sequence: u64, generation: u32, pending_bytes_max: u64) -> Self {
        let state = State {
            encoder: RecordEncoder::new(),
            numbers: WalNumbers { generation, ..WalNumbers::default() },
            next_sequence,
            waiting: Vec::new(),
            records: Vec::new(),
            pending_bytes: 0,
            freeze: None,
            reopen: false,
            stop: false,
            closed: false,
            gathering: false,
            wal_down: None,
            read_only: None,
        };
        let pending_bytes_max = pending_bytes_max.min(PENDING_BYTES_MAX);
        CommitQueue {
            state: Mutex::new(state),
            work: Condvar::new(),
            pending_bytes_max,
            filling: AtomicUsize::new(0),
            failed_sequence: AtomicU64::new(0),
        }
    }

    /// Notes that the write of a group failed, before anyone is told.
    pub(super) fn note_failed(&self, group: &[Waiting]) {
        let newest = group.iter().map(|waiting| waiting.sequence).max().unwrap_or_default();
        self.failed_sequence.fetch_max(newest, Ordering::SeqCst);
    }

    /// The newest batch whose write failed; 0 if none did. Those before it are visible, or failed as well.
    pub(super) fn failed_sequence(&self) -> u64 {
        self.failed_sequence.load(Ordering::SeqCst)
    }

    /// Says that a batch is on its way, so that a sync may wait for it a little.
    pub(crate) fn announce(&self) -> Filling<'_> {
        self.filling.fetch_add(1, Ordering::Relaxed);
        Filling(&self.filling)
    }

    /// Puts a batch in and waits until it is durable and visible.
    pub(crate) fn commit(
        &self,
        content: BatchContent,
        arrived_ms: i64,
        registry: &Registry,
    ) -> Result<Committed, CommitError> {
        let ticket = Ticket::new();
        {
            let mut state = self.state.lock();
            state.check_writable()?;
            if content.is_empty() {
                return Ok(Committed { sequence: state.next_sequence.saturating_sub(1), samples: 0 });
            }
            if state.pending_bytes.saturating_add(content.pending_bytes()) > self.pending_bytes_max {
                return Err(overloaded(self.pending_bytes_max));
            }
            let sequence = state.next_sequence;
            let mut waiting = Waiting { content, sequence, arrived_ms, bytes: 0, ticket: ticket.clone() };
            if !state.encode(&mut waiting, registry) {
                // The numbers that it took are not in any record.
                state.renumber(registry, self.pending_bytes_max);
                return Err(overloaded(self.pending_bytes_max));
            }
            state.next_sequence += 1;
            state.waiting.push(waiting);
            if !(state.gathering && self.is_one_filling()) {
                self.work.notify_one();
            }
        }
        ticket.wait()
    }

    fn is_one_filling(&self) -> bool {
        self.filling.load(Ordering::Relaxed) > 0
    }

    /// Waits for work, at most this long, and then at most as long as `gather` for batches that are being filled.
    pub(crate) fn take(&self, timeout: Duration, gather: Duration) -> Work {
        let mut state = self.state.lock();
        if !state.has_work() {
            self.work.wait_for(&mut state, timeout);
        }
        let until = Instant::now() + gather;
        state.gathering = !gather.is_zero();
        while state.gathering {
            state.gathering = state.has_only_batches()
                && self.is_one_filling()
                && !self.work.wait_until(&mut state, until).timed_out();
        }
        let freeze = state.freeze.take();
        let (group, records) = (std::mem::take(&mut state.waiting), std::mem::take(&mut state.records));
        if freeze.is_some() {
            // What comes after the freeze defines its series anew: the files before it will go.
            state.numbers.begin_generation();
        }
        Work { group, records, freeze, reopen: std::mem::take(&mut state.reopen), stop: state.stop }
    }

    /// Takes finished batches off the account, and `records` back for their memory.
    pub(crate) fn release(&self, group: &[Waiting], mut records: Vec<u8>) {
        let mut state = self.state.lock();
        state.pending_bytes -= group.iter().map(|waiting| waiting.bytes).sum::<u64>();
        if state.records.capacity() == 0 {
            records.clear();
            state.records = records;
        }
    }

    /// After records were lost: what waits is encoded anew, so that it defines all series it uses.
    pub(crate) fn renumber(&self, registry: &Registry) {
        self.state.lock().renumber(registry, self.pending_bytes_max);
    }

    /// The WAL cannot be written: refuses everything, also what waits already.
    pub(crate) fn wal_down(&self, reason: String) {
        let mut state = self.state.lock();
        state.records.clear();
        let refused = std::mem::take(&mut state.waiting);
        state.pending_bytes -= refused.iter().map(|waiting| waiting.bytes).sum::<u64>();
        for waiting in refused {
            waiting.finish(Err(CommitError::ReadOnly(reason.clone())));
        }
        if let Some(freeze) = state.freeze.take() {
            freeze.finish(Err(cannot_freeze(reason.clone())));
        }
        state.wal_down = Some(reason);
    }

    /// The WAL can be written again.
    pub(crate) fn wal_up(&self) {
        self.state.lock().wal_down = None;
    }

    /// True while the WAL cannot be written.
    pub(crate) fn is_wal_down(&self) -> bool {
        self.state.lock().wal_down.is_some()
    }

    /// Asks the committer to try to start a WAL file again.
    pub(crate) fn request_reopen(&self) {
        self.state.lock().reopen = true;
        self.work.notify_one();
    }

    /// Refuses batches for this reason, or takes them again.
    pub(crate) fn set_read_only(&self, reason: Option<String>) {
        self.state.lock().read_only = reason;
    }

    /// Why batches are refused, if they are.
    pub(crate) fn read_only(&self) -> Option<String> {
        let state = self.state.lock();
        state.wal_down.clone().or_else(|| state.read_only.clone())
    }

    /// Freezes the head behind all batches that are in the queue now.
    ///
    /// # Errors
    /// I/O errors of the next WAL file.
    pub(crate) fn freeze(&self) -> Result<Frozen, StorageError> {
        let ticket = Ticket::new();
        {
            let mut state = self.state.lock();
            if let Some(reason) = &state.wal_down {
                return Err(cannot_freeze(reason.clone()));
            }
            if state.stop {
                return Err(StorageError::Closed);
            }
            state.freeze = Some(FreezeRequest(ticket.clone()));
            self.work.notify_one();
        }
        ticket.wait()
    }

    /// True while somebody waits for a freeze that the committer has not taken.
    #[cfg(test)]
    pub(super) fn has_freeze(&self) -> bool {
        self.state.lock().freeze.is_some()
    }

    /// Forgets the WAL numbers of series whose numbers will be used again.
    pub(crate) fn forget(&self, series: &[SeriesRef]) {
        let mut state = self.state.lock();
        for series in series {
            if let Some(slot) = state.numbers.by_series.get_mut(series.0 as usize) {
                *slot = (0, 0);
            }
        }
    }

    /// Refuses new batches; what waits goes on.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
    }

    /// Ends the committer when nothing waits any more.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        (state.closed, state.stop) = (true, true);
        self.work.notify_one();
    }

    /// Bytes of batches that are not finished.
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.state.lock().pending_bytes
    }
}

fn overloaded(limit: u64) -> CommitError {
    CommitError::Overloaded { limit_name: "ingest.max_pending_bytes", limit, retry_after: RETRY_AFTER }
}

impl State {
    fn has_work(&self) -> bool {
        !self.waiting.is_empty() || self.freeze.is_some() || self.reopen || self.stop
    }

    fn has_only_batches(&self) -> bool {
        !self.waiting.is_empty() && self.freeze.is_none() && !self.reopen && !self.stop
    }

    fn check_writable(&self) -> Result<(), CommitError> {
        if self.closed {
            return Err(CommitError::Closed);
        }
        match self.wal_down.as_ref().or(self.read_only.as_ref()) {
            Some(reason) => Err(CommitError::ReadOnly(reason.clone())),
            None => Ok(()),
        }
    }

    /// Appends the batch's record and puts the batch on the account; false, without either, if it does not fit into a
    /// record.
    fn encode(&mut self, waiting: &mut Waiting, registry: &Registry) -> bool {
        let State { encoder, numbers, records, pending_bytes, .. } = self;
        let before = records.len();
        let content = &waiting.content;
        let used = content.samples.iter().map(|(series, _, _)| *series);
        let used = used.chain(content.histograms.iter().map(|(series, _, _)| *series));
        let used = used.chain(content.exemplars.iter().map(|(series, _)| *series));
        let new: Vec<SeriesRef> = used.filter(|series| numbers.claim(*series)).collect();
        let defines = !new.is_empty();
        if defines {
            let view = registry.view();
            for series in new {
                let label = |(name_symbol, value_symbol)| SymbolLabel {
                    name_symbol,
                    name: view.text(name_symbol),
                    value_symbol,
                    value: view.text(value_symbol),
                };
                encoder.define(numbers.get(series).unwrap_or_default(), view.pairs(series).map(label));
            }
        }
        let number = |series: SeriesRef| numbers.get(series).unwrap_or_default();
        encoder.samples(content.samples.iter().map(|(series, ms, value)| (number(*series), *ms, *value)));
        encoder
            .histograms(content.histograms.iter().map(|(series, ms, histogram)| (number(*series), *ms, &**histogram)));
        encoder.metadata(content.metadata.iter().map(|(family, metadata)| (family.as_str(), metadata)));
        encoder.exemplars(
            content
                .exemplars
                .iter()
                .map(|(series, exemplar)| (number(*series), exemplar.timestamp_ms, exemplar.value, &exemplar.labels)),
        );
        let stamp =
            Stamp { generation: numbers.generation, sequence: waiting.sequence, arrived_ms: waiting.arrived_ms };
        if encoder.finish(stamp, records).is_err() {
            return false;
        }
        // How much definitions take is known only now: they keep the next batch out.
        let definitions = if defines { (records.len() - before) as u64 } else { 0 };
        let bytes = content.pending_bytes() + definitions;
        *pending_bytes = *pending_bytes - waiting.bytes + bytes;
        waiting.bytes = bytes;
        true
    }

    /// Encodes anew what waits, in the next generation. What does not fit into a record any more, because it has to
    /// define series that a record before it defined, is refused.
    fn renumber(&mut self, registry: &Registry, limit: u64) {
        let mut waiting = std::mem::take(&mut self.waiting);
        loop {
            self.numbers.begin_generation();
            self.records.clear();
            // Behind one without a record, the numbers that it took would not be defined.
            let Some(unfit) = waiting.iter_mut().position(|one| !self.encode(one, registry)) else { break };
            let unfit = waiting.remove(unfit);
            self.pending_bytes -= unfit.bytes;
            unfit.finish(Err(overloaded(limit)));
        }
        self.waiting = waiting;
    }
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;
    use crate::options::SeriesLimits;

    /// A registry with a series whose definition takes about so many bytes that do not compress.
    fn with_series(bytes: usize) -> (Registry, SeriesRef) {
        let registry = Registry::new(SeriesLimits::default());
        let mut dice = crate::io::fake::Dice(1);
        let text: String = (0..bytes).map(|_| char::from(b'0' + dice.next(75) as u8)).collect();
        let series = registry.define(&Labels::from_pairs([("a", text.as_str())]).unwrap(), 0, &()).unwrap();
        (registry, series)
    }

    fn samples(series: SeriesRef, count: i64) -> BatchContent {
        BatchContent { samples: (0..count).map(|ms| (series, ms, 1.0)).collect(), ..BatchContent::default() }
    }

    fn wait_for(is_so: impl Fn() -> bool) {
        let began = std::time::Instant::now();
        while !is_so() {
            assert!(began.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_group_waits_a_little_for_batches_that_are_being_filled() {
        let (registry, series) = with_series(10);
        let queue = CommitQueue::new(1, 1, PENDING_BYTES_MAX);
        let commit = || queue.commit(samples(series, 1), 0, &registry);
        let long = Duration::from_secs(3600);
        std::thread::scope(|scope| {
            let filling = queue.announce();
            let first = scope.spawn(commit);
            let taking = scope.spawn(|| queue.take(long, long).group.len());
            wait_for(|| queue.state.lock().gathering);
            drop(filling);
            let second = scope.spawn(commit);
            assert_eq!(taking.join().unwrap(), 2, "for the second, and no longer");

            let _filling = queue.announce();
            let third = scope.spawn(commit);
            wait_for(|| !queue.state.lock().waiting.is_empty());
            assert_eq!(queue.take(long, Duration::from_millis(1)).group.len(), 1, "no longer than this");

            let fourth = scope.spawn(commit);
            let taking = scope.spawn(|| queue.take(long, long).group.len());
            wait_for(|| queue.state.lock().gathering);
            queue.stop();
            assert_eq!(taking.join().unwrap(), 1, "not when there is something else to do");
            // Groups that were only taken are forgotten, and their callers are told.
            for commit in [first, second, third, fourth] {
                assert!(matches!(commit.join().unwrap(), Err(CommitError::Closed)));
            }
        });
    }

    /// The definition is in the record of the first batch; when that is lost, the second has to have it.
    #[test]
    fn a_batch_that_does_not_fit_any_more_is_refused_and_not_acknowledged() {
        for (definition, is_refused) in [(1000, true), (10, false)] {
            let (registry, series) = with_series(definition);
            let queue = CommitQueue::new(1, 1, PENDING_BYTES_MAX);
            let commit = |count| queue.commit(samples(series, count), 0, &registry);
            std::thread::scope(|scope| {
                let first = scope.spawn(|| commit(1));
                wait_for(|| queue.pending_bytes() > 0);
                let lost = queue.take(Duration::ZERO, Duration::ZERO);
                assert_eq!(lost.group.len(), 1);
                let alone = queue.pending_bytes();
                let second = scope.spawn(|| commit(2));
                wait_for(|| queue.pending_bytes() > alone);
                queue.state.lock().encoder.body_max_bytes = 500;
                queue.renumber(&registry);
                queue.release(&lost.group, lost.records);
                drop(lost.group);
                assert!(matches!(first.join().unwrap(), Err(CommitError::Closed)));
                let work = queue.take(Duration::ZERO, Duration::ZERO);
                assert_eq!((work.group.is_empty(), work.records.is_empty()), (is_refused, is_refused));
                queue.release(&work.group, work.records);
                drop(work.group);
                let end = second.join().unwrap();
                assert_eq!(matches!(end, Err(CommitError::Overloaded { .. })), is_refused, "{end:?}");
                assert_eq!(queue.pending_bytes(), 0);
            });
        }
    }

    #[test]
    fn definitions_of_series_count_as_pending() {
        let (registry, series) = with_series(1000);
        let queue = CommitQueue::new(1, 1, 600);
        let commit = || queue.commit(samples(series, 1), 0, &registry);
        std::thread::scope(|scope| {
            let first = scope.spawn(commit);
            wait_for(|| queue.pending_bytes() > 0);
            assert!(queue.pending_bytes() > 600, "{}", queue.pending_bytes());
            assert!(matches!(commit(), Err(CommitError::Overloaded { limit: 600, .. })));
            let work = queue.take(Duration::ZERO, Duration::ZERO);
            queue.release(&work.group, work.records);
            assert_eq!(queue.pending_bytes(), 0);
            drop(work.group);
            assert!(first.join().unwrap().is_err());
        });
    }
}
