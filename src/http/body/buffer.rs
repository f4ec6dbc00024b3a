//! The memory of request bodies: one account of all, and the vectors that go from body to body.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::http::StatusCode;
use bytes::Bytes;
use parking_lot::Mutex;

use super::too_large;
use crate::config::Config;
use crate::http::error::Fault;

/// What is taken at once for a body that announces its length: few announce more, and who sends nothing holds little.
pub(super) const FIRST_BYTES: usize = 1 << 20;
/// Least that a buffer grows by.
pub(super) const GROWTH_BYTES: usize = 64 << 10;
/// Smallest and largest vector that is kept for the next body. Otherwise the allocator gives the pages of most bodies back
/// to the kernel, which clears them again for the next: 1 to 2 % of the CPU time of reports of 400 KB.
const SPARE_BYTES_MIN: usize = 64 << 10;
const SPARE_BYTES_MAX: usize = FIRST_BYTES;
/// Most vectors that are kept. While no body has them they are not counted.
const SPARES_MAX: usize = 8;
/// What a refused sender is told to wait.
pub(super) const RETRY_AFTER_S: u64 = 1;

/// The memory that all request bodies may take together, as sent and decompressed (`http.max_body_memory`).
#[derive(Debug)]
pub struct BodyMemory {
    max: u64,
    taken: AtomicU64,
    spares: Mutex<Vec<Vec<u8>>>,
}

impl BodyMemory {
    pub(crate) fn new(config: &Config) -> Arc<BodyMemory> {
        BodyMemory::of(config.http_max_body_memory.0)
    }

    pub(super) fn of(max: u64) -> Arc<BodyMemory> {
        Arc::new(BodyMemory { max, taken: AtomicU64::new(0), spares: Mutex::default() })
    }

    /// Bytes that bodies take now.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// 429 if there is no room now, 413 if there never is.
    fn take(&self, had: usize, more: usize) -> Result<(), Fault> {
        let before = self.taken.fetch_add(more as u64, Ordering::Relaxed);
        if before.saturating_add(more as u64) <= self.max {
            return Ok(());
        }
        self.give_back(more);
        if (had as u64).saturating_add(more as u64) > self.max {
            return Err(too_large(("http.max_body_memory", self.max), "the body"));
        }
        let message =
            format!("too many request bodies in memory: limit http.max_body_memory = {} bytes reached", self.max);
        let retry_after_s = Some(RETRY_AFTER_S);
        Err(Fault { status: StatusCode::TOO_MANY_REQUESTS, message, retry_after_s })
    }

    fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// A vector of a body that is gone, with room for so many bytes and at most for twice as many, so that little bodies
    /// hold little.
    fn spare(&self, size: usize) -> Option<Vec<u8>> {
        let mut spares = self.spares.lock();
        let at = spares.iter().position(|spare| (size..=size.saturating_mul(2)).contains(&spare.capacity()))?;
        Some(spares.swap_remove(at))
    }

    /// Keeps a vector for the next body, if need be in place of the one that was not asked for the longest.
    fn keep(&self, mut vector: Vec<u8>) {
        if !(SPARE_BYTES_MIN..=SPARE_BYTES_MAX).contains(&vector.capacity()) {
            return;
        }
        vector.clear();
        let mut spares = self.spares.lock();
        let oldest = (spares.len() == SPARES_MAX).then(|| spares.remove(0));
        spares.push(vector);
        drop((spares, oldest));
    }
}

/// Bytes of a body within the account; they leave it with the last of the [`Bytes`] made of them.
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    pub(super) taken: usize,
    memory: Arc<BodyMemory>,
}

impl Buffer {
    pub(super) fn new(memory: &Arc<BodyMemory>) -> Buffer {
        Buffer { bytes: Vec::new(), taken: 0, memory: Arc::clone(memory) }
    }

    /// Makes room for so many bytes in all.
    pub(super) fn grow(&mut self, size: usize) -> Result<(), Fault> {
        let more = size.saturating_sub(self.taken);
        if more == 0 || (self.taken == 0 && self.take_spare(size)) {
            return Ok(());
        }
        self.memory.take(self.taken, more)?;
        self.taken += more;
        self.bytes.reserve_exact(size - self.bytes.len());
        Ok(())
    }

    /// True if there was a vector with so much room, and all of its room is within the account.
    fn take_spare(&mut self, size: usize) -> bool {
        let Some(spare) = self.memory.spare(size) else { return false };
        let fits = self.memory.take(0, spare.capacity()).is_ok();
        if fits {
            (self.taken, self.bytes) = (spare.capacity(), spare);
        } else {
            self.memory.keep(spare);
        }
        fits
    }

    /// Makes room for more bytes, and for some that follow them, so that a long body grows in few steps; for `most` in all,
    /// if these are not more.
    pub(super) fn grow_by(&mut self, more: usize, most: usize) -> Result<(), Fault> {
        let needed = self.bytes.len() + more;
        if needed <= self.taken {
            return Ok(());
        }
        let ample = (2 * self.taken).max(GROWTH_BYTES).min(most).max(needed);
        self.grow(ample).or_else(|_| self.grow(needed))
    }

    /// So many zeros, to be written over.
    pub(super) fn zeroed(memory: &Arc<BodyMemory>, size: usize) -> Result<Buffer, Fault> {
        let mut buffer = Buffer::new(memory);
        buffer.grow(size)?;
        if size > SPARE_BYTES_MAX {
            // Zeros of the kernel's, which cost nothing before they are written over.
            buffer.bytes = vec![0; size];
        } else {
            buffer.bytes.resize(size, 0);
        }
        Ok(buffer)
    }

    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.memory.keep(std::mem::take(&mut self.bytes));
        self.memory.give_back(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(memory: &Arc<BodyMemory>, size: usize) -> Buffer {
        let mut buffer = Buffer::new(memory);
        buffer.grow(size).unwrap();
        buffer.bytes.resize(size, b'x');
        buffer
    }

    #[test]
    fn a_body_takes_the_vector_of_one_that_is_gone() {
        let memory = BodyMemory::of(u64::MAX);
        let first = filled(&memory, 100_000).freeze();
        let place = first.as_ptr();
        drop(first);
        assert_eq!(memory.taken(), 0, "what is kept is nobody's");
        assert_ne!(filled(&memory, 49_999).bytes.as_ptr(), place, "less than half of it");
        assert_ne!(filled(&memory, 100_001).bytes.as_ptr(), place, "more than there is");
        let mut second = filled(&memory, 50_000);
        assert_eq!((second.bytes.as_ptr(), second.taken, memory.taken()), (place, 100_000, 100_000), "counted whole");
        second.grow(200_000).unwrap();
        assert_eq!((&second.bytes[..], memory.taken()), (&[b'x'; 50_000][..], 200_000));
        drop(second);
        assert_eq!(&Buffer::zeroed(&memory, 150_000).unwrap().bytes[..], [0; 150_000], "nothing of another body");
    }

    #[test]
    fn a_spare_that_is_too_much_for_the_account_is_left() {
        let memory = BodyMemory::of(100_000);
        drop(filled(&memory, 100_000));
        let (small, other) = (filled(&memory, 40_000), filled(&memory, 60_000));
        assert_eq!((small.taken, other.taken, memory.taken()), (40_000, 60_000, 100_000));
        drop((small, other));
        assert_eq!(filled(&memory, 60_000).taken, 100_000, "it is still there");
    }

    #[test]
    fn the_limits_on_spares_hold_at_n_and_n_plus_1() {
        let memory = BodyMemory::of(u64::MAX);
        let kept = || memory.spares.lock().iter().map(Vec::capacity).collect::<Vec<_>>();
        for (size, is_kept) in
            [(SPARE_BYTES_MIN - 1, 0), (SPARE_BYTES_MAX + 1, 0), (SPARE_BYTES_MIN, 1), (SPARE_BYTES_MAX, 2)]
        {
            drop(filled(&memory, size));
            assert_eq!(kept().len(), is_kept, "{size}");
        }
        let sizes: Vec<usize> = (0..=SPARES_MAX).map(|i| 300_000 + i).collect();
        let many: Vec<Buffer> = sizes.iter().map(|size| filled(&memory, *size)).collect();
        drop(many);
        assert_eq!(kept(), sizes[1..], "the newest");
        assert!(memory.spares.lock().iter().all(Vec::is_empty));
    }
}
