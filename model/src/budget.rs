//! What a query may use: an account of bytes and samples, and the flag that stops it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Why a query must stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// The client went away or the deadline passed; whoever set the flag knows which.
    #[error("the query was cancelled")]
    Cancelled,
    /// The query read more samples than it may.
    #[error(
        "query processing would load too many samples into memory in query execution: limit query.max_samples = {limit} reached"
    )]
    Samples {
        /// `query.max_samples`
        limit: u64,
    },
    /// The query holds more bytes than it may.
    #[error("the query needs more memory than it may use: limit query.max_bytes = {limit} reached")]
    Bytes {
        /// `query.max_bytes`
        limit: u64,
    },
}

/// The account of one query, shared by its threads. It never reads a clock: a timer elsewhere calls [`Budget::cancel`].
#[derive(Debug)]
pub struct Budget {
    cancelled: AtomicBool,
    samples_read: AtomicU64,
    samples_max: u64,
    bytes: AtomicU64,
    bytes_peak: AtomicU64,
    bytes_max: u64,
}

impl Budget {
    /// An account with limits on the samples read in total and the bytes held at one time.
    pub fn new(samples_max: u64, bytes_max: u64) -> Self {
        Budget {
            cancelled: AtomicBool::new(false),
            samples_read: AtomicU64::new(0),
            samples_max,
            bytes: AtomicU64::new(0),
            bytes_peak: AtomicU64::new(0),
            bytes_max,
        }
    }

    /// An account without limits, for background work and tests.
    pub fn unlimited() -> Self {
        Budget::new(u64::MAX, u64::MAX)
    }

    /// Asks the query to stop; it ends with [`BudgetError::Cancelled`] at its next check.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Fails if the query was cancelled. Cheap: call it once per series or block.
    ///
    /// # Errors
    /// [`BudgetError::Cancelled`].
    pub fn check(&self) -> Result<(), BudgetError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(BudgetError::Cancelled) } else { Ok(()) }
    }

    /// Counts samples that were decoded, and checks as [`Budget::check`] does.
    ///
    /// # Errors
    /// [`BudgetError::Samples`] above the limit, [`BudgetError::Cancelled`].
    pub fn add_samples(&self, count: u64) -> Result<(), BudgetError> {
        self.check()?;
        let before = self.samples_read.fetch_add(count, Ordering::Relaxed);
        if before.saturating_add(count) > self.samples_max {
            return Err(BudgetError::Samples { limit: self.samples_max });
        }
        Ok(())
    }

    /// Takes bytes out of the account; give them back with [`Budget::release_bytes`].
    ///
    /// # Errors
    /// [`BudgetError::Bytes`] if the query would hold more than its limit; nothing is taken then.
    pub fn take_bytes(&self, count: u64) -> Result<(), BudgetError> {
        let now = self.bytes.fetch_add(count, Ordering::Relaxed).saturating_add(count);
        if now > self.bytes_max {
            self.release_bytes(count);
            return Err(BudgetError::Bytes { limit: self.bytes_max });
        }
        self.bytes_peak.fetch_max(now, Ordering::Relaxed);
        Ok(())
    }

    /// Gives bytes back.
    pub fn release_bytes(&self, count: u64) {
        self.bytes.fetch_sub(count, Ordering::Relaxed);
    }

    /// Samples read so far.
    pub fn samples_read(&self) -> u64 {
        self.samples_read.load(Ordering::Relaxed)
    }

    /// The most bytes held at one time.
    pub fn bytes_peak(&self) -> u64 {
        self.bytes_peak.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_at_n_and_n_plus_1() {
        let budget = Budget::new(10, 100);
        assert_eq!(budget.add_samples(10), Ok(()));
        assert_eq!(budget.add_samples(1), Err(BudgetError::Samples { limit: 10 }));
        assert_eq!(budget.take_bytes(100), Ok(()));
        assert_eq!(budget.take_bytes(1), Err(BudgetError::Bytes { limit: 100 }));
        budget.release_bytes(1);
        assert_eq!(budget.take_bytes(1), Ok(()));
        assert_eq!(budget.bytes_peak(), 100);
        budget.cancel();
        assert_eq!(budget.check(), Err(BudgetError::Cancelled));
    }
}
