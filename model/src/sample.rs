//! Samples, alone and in columns, and the staleness marker.

use std::sync::Arc;

use crate::histogram::Histogram;
use crate::time::TimeRange;

/// Prometheus's staleness marker: the NaN with exactly these bits (`model/value/value.go`, `StaleNaN`).
pub const STALE_NAN_BITS: u64 = 0x7FF0_0000_0000_0002;

/// The staleness marker as a value.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// True for the staleness marker, false for every other value, other NaNs included.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// A value at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Milliseconds since 1970-01-01 UTC; may be negative.
    pub timestamp_ms: i64,
    /// The value, bit for bit as it was sent.
    pub value: f64,
}

/// Samples of one series in columns, each column sorted by strictly rising time.
///
/// A series can have float and native histogram samples side by side; a time is in one of the two columns only.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SampleColumns {
    /// Times of `values`.
    pub timestamps_ms: Vec<i64>,
    /// Float values, staleness markers included.
    pub values: Vec<f64>,
    /// Native histogram samples.
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}

impl SampleColumns {
    /// Forgets all samples but keeps the memory.
    pub fn clear(&mut self) {
        self.timestamps_ms.clear();
        self.values.clear();
        self.histograms.clear();
    }

    /// Appends a float sample; the caller keeps the times rising.
    pub fn push(&mut self, timestamp_ms: i64, value: f64) {
        debug_assert!(self.timestamps_ms.last().is_none_or(|last| *last < timestamp_ms), "times rise");
        self.timestamps_ms.push(timestamp_ms);
        self.values.push(value);
    }

    /// Times of the first and the last sample of either kind; none if there is none.
    pub fn time_range(&self) -> Option<TimeRange> {
        let floats = self.timestamps_ms.first().zip(self.timestamps_ms.last()).map(|(a, b)| (*a, *b));
        let histograms = self.histograms.first().zip(self.histograms.last()).map(|(a, b)| (a.0, b.0));
        let ends = floats.into_iter().chain(histograms).map(|(start_ms, end_ms)| TimeRange { start_ms, end_ms });
        ends.reduce(|a, b| a.union(&b))
    }

    /// Number of float samples.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// True if there is no sample of either kind.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.histograms.is_empty()
    }

    /// The float samples.
    pub fn floats(&self) -> impl DoubleEndedIterator<Item = Sample> + ExactSizeIterator + '_ {
        self.timestamps_ms.iter().zip(&self.values).map(|(&timestamp_ms, &value)| Sample { timestamp_ms, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_nan_is_stale() {
        assert!(is_stale(stale_nan()));
        assert!(!is_stale(f64::NAN));
        assert!(!is_stale(f64::from_bits(STALE_NAN_BITS ^ 1)));
    }
}
