//! What was read from the store, in blocks of a fixed size: the least recently used go first.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

/// Bytes of a block: fetching one takes about as long as a request does to begin with.
pub(super) const BLOCK_BYTES: u64 = 1 << 20;

/// Which block: of which file, and which of its blocks.
pub(super) type Key = (u64, u64);

#[derive(Debug, Default)]
struct State {
    blocks: HashMap<Key, (Bytes, u64)>,
    /// By the time of the last use, counted in uses.
    by_use: BTreeMap<u64, Key>,
    uses: u64,
    bytes: usize,
    fetching: HashSet<Key>,
}

/// Blocks in memory, at most so many bytes of them.
#[derive(Debug)]
pub(super) struct Cache {
    state: Mutex<State>,
    fetched: Condvar,
    bytes_max: usize,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Cache {
        Cache { state: Mutex::default(), fetched: Condvar::new(), bytes_max }
    }

    /// Bytes that are held.
    pub(super) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// The block, fetched if it is not there. Who asks for a block that another thread fetches waits for that.
    ///
    /// # Errors
    /// What `fetch` says; whoever waited tries for themselves then.
    pub(super) fn get<E>(&self, key: Key, fetch: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        let mut state = self.state.lock();
        loop {
            if let Some(bytes) = state.touch(key) {
                return Ok(bytes);
            }
            if state.fetching.insert(key) {
                break;
            }
            self.fetched.wait(&mut state);
        }
        drop(state);
        let _fetching = Fetching { cache: self, key };
        let bytes = fetch()?;
        self.state.lock().insert(key, bytes.clone(), self.bytes_max);
        Ok(bytes)
    }
}

/// Ends a fetch, however it ends.
struct Fetching<'a> {
    cache: &'a Cache,
    key: Key,
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        self.cache.state.lock().fetching.remove(&self.key);
        self.cache.fetched.notify_all();
    }
}

impl State {
    fn touch(&mut self, key: Key) -> Option<Bytes> {
        let (bytes, used) = self.blocks.get_mut(&key)?;
        self.by_use.remove(used);
        self.uses += 1;
        *used = self.uses;
        self.by_use.insert(self.uses, key);
        Some(bytes.clone())
    }

    fn insert(&mut self, key: Key, bytes: Bytes, bytes_max: usize) {
        if bytes.len() > bytes_max {
            return;
        }
        self.uses += 1;
        self.bytes += bytes.len();
        self.by_use.insert(self.uses, key);
        if let Some((old, used)) = self.blocks.insert(key, (bytes, self.uses)) {
            self.bytes -= old.len();
            self.by_use.remove(&used);
        }
        while self.bytes > bytes_max {
            let Some((_, oldest)) = self.by_use.pop_first() else { return };
            if let Some((bytes, _)) = self.blocks.remove(&oldest) {
                self.bytes -= bytes.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn of(len: usize) -> Result<Bytes, ()> {
        Ok(Bytes::from(vec![7; len]))
    }

    #[test]
    fn the_least_recently_used_go_at_the_bound() {
        let cache = Cache::new(300);
        for block in 0..3 {
            cache.get((1, block), || of(100)).unwrap();
        }
        assert_eq!(cache.bytes(), 300, "at the bound nothing goes");
        cache.get((1, 0), || Err::<Bytes, _>("is held")).unwrap();
        cache.get((1, 3), || of(1)).unwrap();
        assert_eq!(cache.bytes(), 201);
        assert_eq!(cache.get((1, 1), || Err("gone")), Err("gone"));
        cache.get((1, 0), || Err::<Bytes, _>("is held")).unwrap();
        cache.get((2, 0), || of(301)).unwrap();
        assert_eq!(cache.bytes(), 201, "what is larger than the bound is not held");
    }

    #[test]
    fn a_block_is_fetched_once() {
        let (cache, fetches) = (Cache::new(1000), AtomicUsize::new(0));
        let fetch = || {
            fetches.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(std::time::Duration::from_millis(20));
            of(10)
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| cache.get((1, 1), fetch).unwrap());
            }
        });
        assert_eq!(fetches.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_failed_fetch_leaves_the_next_one_free() {
        let cache = Cache::new(1000);
        assert_eq!(cache.get((1, 1), || Err(1)), Err(1));
        assert_eq!(cache.get((1, 1), || Ok::<_, i32>(Bytes::from_static(b"x"))), Ok(Bytes::from_static(b"x")));
    }
}
