//! Who may still hold a series number.
//!
//! Each open batch and each snapshot pins the epoch in which it began. A series that a batch may have resolved is not
//! retired. One that is retired is unlinked at once, but its number and its labels are kept until everyone who began
//! before, snapshots too, has ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The epochs and their pins.
#[derive(Debug, Default)]
pub(crate) struct Epochs {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    current: u32,
    /// Number of pins by epoch: of batches, and of those who only read.
    writers: BTreeMap<u32, u64>,
    readers: BTreeMap<u32, u64>,
}

impl State {
    fn pins(&mut self, writer: bool) -> &mut BTreeMap<u32, u64> {
        if writer { &mut self.writers } else { &mut self.readers }
    }
}

impl Epochs {
    /// Pins the current epoch for someone who may write to series.
    pub(crate) fn pin(self: &Arc<Self>) -> Pin {
        self.pin_as(true)
    }

    /// Pins the current epoch for someone who only reads.
    pub(crate) fn pin_reader(self: &Arc<Self>) -> Pin {
        self.pin_as(false)
    }

    fn pin_as(self: &Arc<Self>, writer: bool) -> Pin {
        let mut state = self.state.lock();
        let epoch = state.current;
        *state.pins(writer).entry(epoch).or_insert(0) += 1;
        Pin { epochs: self.clone(), epoch, writer }
    }

    /// Begins the next epoch; returns the one that ended.
    pub(crate) fn advance(&self) -> u32 {
        let mut state = self.state.lock();
        let ended = state.current;
        state.current += 1;
        ended
    }

    /// The oldest epoch that a writer is in or can still pin.
    pub(crate) fn oldest_writer(&self) -> u32 {
        let state = self.state.lock();
        state.writers.keys().next().copied().unwrap_or(state.current)
    }

    /// The oldest epoch that someone is in or can still pin.
    pub(crate) fn oldest(&self) -> u32 {
        let state = self.state.lock();
        let oldest = state.writers.keys().next().into_iter().chain(state.readers.keys().next()).min().copied();
        oldest.unwrap_or(state.current)
    }
}

/// Holds an epoch until it is dropped.
#[derive(Debug)]
pub(crate) struct Pin {
    epochs: Arc<Epochs>,
    epoch: u32,
    writer: bool,
}

impl Pin {
    /// The epoch.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.epochs.state.lock();
        let pins = state.pins(self.writer);
        if let Some(count) = pins.get_mut(&self.epoch) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.epoch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_pin_holds() {
        let epochs = Arc::new(Epochs::default());
        let first = epochs.pin();
        assert_eq!(epochs.advance(), 0);
        let second = epochs.pin();
        let third = epochs.pin();
        let reader = epochs.pin_reader();
        assert_eq!((epochs.oldest(), second.epoch()), (0, 1));
        drop(first);
        drop(third);
        assert_eq!(epochs.oldest(), 1);
        epochs.advance();
        let fourth = epochs.pin();
        drop(second);
        assert_eq!((epochs.oldest(), epochs.oldest_writer()), (1, 2));
        drop((reader, fourth));
        let second = epochs.pin();
        drop(second);
        epochs.advance();
        assert_eq!(epochs.oldest(), 3);
    }
}
