//! What a block's samples amount to, so that questions about whole blocks need no decoding.
//!
//! # Bytes of a page
//! What most blocks have alike is left out: flags say which records have more. First a stream of flags and a stream of
//! counts, then blocks of values (`codec.rs`; none if empty), each after its length in bytes (varint): first values,
//! last values and sums of all records; then, of the records that have the flag, smallest values, largest values,
//! compensations, reset sums; last a stream of the numbers of resets. What is left out:
//! | flag | without it |
//! |---|---|
//! | 1 | the smallest value is the first |
//! | 2 | the largest value is the last |
//! | 4 | the compensation is 0 |
//! | 8 | there are no resets, and their sum is 0 |

use model::is_stale;

use crate::codec::{Preference, decode_block, encode_block, integers};
use crate::format::{Cursor, FormatError, Put};

/// Records of a page.
pub(super) const RECORDS_PER_PAGE: usize = 256;

const FLAG_MIN: i64 = 1;
const FLAG_MAX: i64 = 2;
const FLAG_COMPENSATION: i64 = 4;
const FLAG_RESETS: i64 = 8;

/// Blocks with fewer samples have no record: decoding them costs less than a microsecond, the record too many bytes.
pub(super) const SAMPLES_MIN: usize = 512;

/// Bytes of a record by itself.
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

    /// Appends a record by itself, as older segments have it: the fields in order.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.count);
        out.put_u32(self.resets);
        for value in [self.first, self.last, self.min, self.max, self.sum, self.compensation, self.reset_sum] {
            out.put_f64(value);
        }
    }

    /// Reads a record by itself.
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

/// The records of some blocks, in order.
#[derive(Debug, Default)]
pub(super) struct StatisticsPage {
    pub(super) records: Vec<BlockStatistics>,
}

impl StatisticsPage {
    /// Appends a page.
    pub(super) fn encode(records: &[BlockStatistics], out: &mut Vec<u8>) {
        let flags: Vec<i64> = records.iter().map(flags_of).collect();
        integers::encode(&flags, Preference::Speed, out);
        let counts: Vec<i64> = records.iter().map(|r| i64::from(r.count)).collect();
        integers::encode(&counts, Preference::Speed, out);
        let with = |flag: i64| records.iter().zip(&flags).filter(move |(_, flags)| *flags & flag != 0).map(|(r, _)| r);
        put_block(records.iter().map(|r| r.first), out);
        put_block(records.iter().map(|r| r.last), out);
        put_block(records.iter().map(|r| r.sum), out);
        put_block(with(FLAG_MIN).map(|r| r.min), out);
        put_block(with(FLAG_MAX).map(|r| r.max), out);
        put_block(with(FLAG_COMPENSATION).map(|r| r.compensation), out);
        put_block(with(FLAG_RESETS).map(|r| r.reset_sum), out);
        let resets: Vec<i64> = with(FLAG_RESETS).map(|r| i64::from(r.resets)).collect();
        integers::encode(&resets, Preference::Speed, out);
    }

    /// Reads the page of `count` records.
    pub(super) fn decode(bytes: &[u8], count: usize) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(bytes);
        let count = count.min(RECORDS_PER_PAGE);
        let (mut flags, mut counts) = (Vec::with_capacity(count), Vec::with_capacity(count));
        integers::decode(&mut cursor, count, &mut flags)?;
        integers::decode(&mut cursor, count, &mut counts)?;
        let with = |flag: i64| flags.iter().filter(|flags| **flags & flag != 0).count();
        let mut next = |count: usize| read_block(&mut cursor, count).map(Vec::into_iter);
        let (mut firsts, mut lasts, mut sums) = (next(count)?, next(count)?, next(count)?);
        let (mut mins, mut maxes) = (next(with(FLAG_MIN))?, next(with(FLAG_MAX))?);
        let (mut compensations, mut reset_sums) = (next(with(FLAG_COMPENSATION))?, next(with(FLAG_RESETS))?);
        let mut resets = Vec::with_capacity(with(FLAG_RESETS));
        integers::decode(&mut cursor, with(FLAG_RESETS), &mut resets)?;
        cursor.finish()?;
        let mut resets = resets.into_iter();
        let number = |n: i64| u32::try_from(n).map_err(|_| FormatError::new("a count of statistics is out of range"));
        let mut records = Vec::with_capacity(count);
        for (flags, samples) in flags.iter().zip(counts) {
            let has = |flag: i64| flags & flag != 0;
            // Each list is as long as there are flags for it.
            let (first, last) = (firsts.next().unwrap_or_default(), lasts.next().unwrap_or_default());
            let listed = |list: &mut std::vec::IntoIter<f64>, flag: i64, otherwise: f64| {
                if has(flag) { list.next().unwrap_or_default() } else { otherwise }
            };
            records.push(BlockStatistics {
                count: number(samples)?,
                resets: if has(FLAG_RESETS) { number(resets.next().unwrap_or_default())? } else { 0 },
                first,
                last,
                min: listed(&mut mins, FLAG_MIN, first),
                max: listed(&mut maxes, FLAG_MAX, last),
                sum: sums.next().unwrap_or_default(),
                compensation: listed(&mut compensations, FLAG_COMPENSATION, 0.0),
                reset_sum: listed(&mut reset_sums, FLAG_RESETS, 0.0),
            });
        }
        Ok(StatisticsPage { records })
    }
}

fn flags_of(record: &BlockStatistics) -> i64 {
    let differ = |a: f64, b: f64| a.to_bits() != b.to_bits();
    let mut flags = 0;
    flags |= if differ(record.min, record.first) { FLAG_MIN } else { 0 };
    flags |= if differ(record.max, record.last) { FLAG_MAX } else { 0 };
    flags |= if differ(record.compensation, 0.0) { FLAG_COMPENSATION } else { 0 };
    flags |= if record.resets != 0 || differ(record.reset_sum, 0.0) { FLAG_RESETS } else { 0 };
    flags
}

fn put_block(values: impl Iterator<Item = f64>, out: &mut Vec<u8>) {
    let values: Vec<f64> = values.collect();
    let mut block = Vec::new();
    if !values.is_empty() {
        encode_block(&values, Preference::default(), &mut block);
    }
    out.put_varint(block.len() as u64);
    out.extend_from_slice(&block);
}

fn read_block(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<f64>, FormatError> {
    let length = cursor.length()?;
    let bytes = cursor.take(length)?;
    let mut values = Vec::with_capacity(count);
    if count > 0 {
        decode_block(bytes, count, &mut values)?;
    } else if length > 0 {
        return Err(cursor.error("statistics that belong to nothing"));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::stale_nan;
    use proptest::prelude::*;

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

    #[test]
    fn pages_are_pinned() {
        let counter =
            BlockStatistics { count: 2, first: 1.0, last: 3.0, min: 1.0, max: 3.0, sum: 4.0, ..Default::default() };
        let gauge = BlockStatistics { min: 0.0, max: 5.0, resets: 1, reset_sum: 5.0, ..counter };
        let mut bytes = Vec::new();
        StatisticsPage::encode(&[counter, gauge], &mut bytes);
        let want: [&[u8]; 5] = [
            // Flags 0 and 11: order 2, flat, divisor 11, first 0, then 1; counts 2 and 2.
            &[0b1110, 0, 11, 2, 0b1000, 4],
            // Constants: 1, 3 and 4.
            &[3, 1, 0x3F, 0xF0, 3, 1, 0x40, 0x08, 3, 1, 0x40, 0x10],
            // Smallest 0, largest 5, no compensations, reset sum 5.
            &[1, 1, 3, 1, 0x40, 0x14, 0, 3, 1, 0x40, 0x14],
            // One reset.
            &[0b1000, 2],
            &[],
        ];
        assert_eq!(bytes, want.concat());
        assert_eq!(StatisticsPage::decode(&bytes, 2).unwrap().records, [counter, gauge]);
        for end in 0..bytes.len() {
            assert!(StatisticsPage::decode(&bytes[..end], 2).is_err(), "{end}");
        }
    }

    fn float() -> impl Strategy<Value = f64> {
        prop_oneof![Just(0.0), Just(-0.0), Just(f64::NAN), Just(7.5), any::<u64>().prop_map(f64::from_bits)]
    }

    proptest! {
        #[test]
        fn records_come_back_bit_for_bit(
            rows in prop::collection::vec((0_u32..2049, 0_u32..3, prop::array::uniform7(float())), 0..=RECORDS_PER_PAGE),
        ) {
            let record = |(count, resets, f): &(u32, u32, [f64; 7])| BlockStatistics {
                count: *count,
                resets: *resets,
                first: f[0],
                last: f[1],
                min: f[2],
                max: f[3],
                sum: f[4],
                compensation: f[5],
                reset_sum: f[6],
            };
            let records: Vec<BlockStatistics> = rows.iter().map(record).collect();
            let bytes = |records: &[BlockStatistics]| {
                let mut out = Vec::new();
                records.iter().for_each(|record| record.encode(&mut out));
                out
            };
            let mut page = Vec::new();
            StatisticsPage::encode(&records, &mut page);
            let back = StatisticsPage::decode(&page, records.len()).unwrap().records;
            prop_assert!(bytes(&back) == bytes(&records));
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), count in 0_usize..=RECORDS_PER_PAGE) {
            let _ = StatisticsPage::decode(&bytes, count);
        }
    }
}
