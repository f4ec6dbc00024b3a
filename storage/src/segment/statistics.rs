//! What a block's samples amount to, so that questions about whole blocks need no decoding.

use model::is_stale;

use crate::format::{Cursor, FormatError, Put};

/// Blocks with fewer samples have no record: decoding them costs less than a microsecond, the record too many bytes.
pub(super) const SAMPLES_MIN: usize = 512;

/// Bytes of a record.
pub(super) const RECORD_BYTES: usize = 64;

/// Statistics of the samples of one block, without its staleness markers. If there are none, floats are 0.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct BlockStatistics {
    /// Number of samples.
    pub(crate) count: u32,
    /// How often a value was less than the one before it.
    pub(crate) resets: u32,
    /// First value.
    pub(crate) first: f64,
    /// Last value.
    pub(crate) last: f64,
    /// Smallest value; NaN only if there is no other.
    pub(crate) min: f64,
    /// Largest value; NaN only if there is no other.
    pub(crate) max: f64,
    /// Sum of the values in order; the exact sum is about this plus the compensation (Neumaier).
    pub(crate) sum: f64,
    /// What rounding took from the sum.
    pub(crate) compensation: f64,
    /// Sum of the values before resets: what an increase must add to `last - first`.
    pub(crate) reset_sum: f64,
}

impl BlockStatistics {
    /// The statistics of a block.
    pub(super) fn of(values: &[f64]) -> Self {
        let mut plain = values.iter().copied().filter(|v| !is_stale(*v));
        let Some(first) = plain.next() else { return BlockStatistics::default() };
        let mut stats =
            BlockStatistics { count: 1, first, last: first, min: first, max: first, sum: first, ..Default::default() };
        for value in plain {
            stats.count += 1;
            if value < stats.last {
                stats.resets += 1;
                stats.reset_sum += stats.last;
            }
            stats.last = value;
            if value < stats.min || stats.min.is_nan() {
                stats.min = value;
            }
            if value > stats.max || stats.max.is_nan() {
                stats.max = value;
            }
            stats.add(value);
        }
        stats
    }

    fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        if sum.is_infinite() {
            self.compensation = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.compensation += (self.sum - sum) + value;
        } else {
            self.compensation += (value - sum) + self.sum;
        }
        self.sum = sum;
    }

    /// Appends a record: the fields in order.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.count);
        out.put_u32(self.resets);
        for value in [self.first, self.last, self.min, self.max, self.sum, self.compensation, self.reset_sum] {
            out.put_f64(value);
        }
    }

    /// Reads a record.
    pub(super) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, FormatError> {
        Ok(BlockStatistics {
            count: cursor.u32()?,
            resets: cursor.u32()?,
            first: cursor.f64()?,
            last: cursor.f64()?,
            min: cursor.f64()?,
            max: cursor.f64()?,
            sum: cursor.f64()?,
            compensation: cursor.f64()?,
            reset_sum: cursor.f64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::stale_nan;

    #[test]
    fn staleness_markers_and_resets() {
        let stats = BlockStatistics::of(&[5.0, stale_nan(), 9.0, 2.0, 2.0, 2.0, stale_nan()]);
        let want = BlockStatistics {
            count: 5,
            resets: 1,
            first: 5.0,
            last: 2.0,
            min: 2.0,
            max: 9.0,
            sum: 20.0,
            compensation: 0.0,
            reset_sum: 9.0,
        };
        assert_eq!(stats, want);
        assert_eq!(BlockStatistics::of(&[stale_nan()]), BlockStatistics::default());
        let nan = BlockStatistics::of(&[f64::NAN, 3.0]);
        assert!((nan.min, nan.max) == (3.0, 3.0) && nan.sum.is_nan());
        let small = BlockStatistics::of(&[1e16, 1.0, 1.0, -1e16]);
        assert_eq!(small.sum + small.compensation, 2.0);
    }

    #[test]
    fn records_are_pinned() {
        let mut bytes = Vec::new();
        BlockStatistics { count: 2, resets: 1, first: 1.0, ..Default::default() }.encode(&mut bytes);
        assert_eq!(bytes.len(), RECORD_BYTES);
        assert_eq!(bytes[..16], [2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xF0, 0x3F]);
        let back = BlockStatistics::decode(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!(back, BlockStatistics { count: 2, resets: 1, first: 1.0, ..Default::default() });
    }
}
