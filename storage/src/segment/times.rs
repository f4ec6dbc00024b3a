//! Columns of times while a segment is written: each different one is written once, however many series have it.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::layout::{ColumnHead, TIMES_PER_PAGE, TimesPage, TimesRow, block_count, block_samples};
use crate::codec::{BLOCK_SAMPLES_MAX, Preference, timestamps};
use crate::format::{FormatError, content_hash_i64};

/// Bytes of encoded columns that are kept to compare new ones with. What falls out is written again when it comes
/// again: a cohort's series are seldom that far apart.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Short columns that are kept as they came, so that comparing needs no decoding: how many, and how short.
const PLAIN_COLUMNS: usize = 256;
const PLAIN_SAMPLES_MAX: usize = 1024;

/// A column that was written and may come again.
#[derive(Debug)]
struct Kept {
    hash: u128,
    count: usize,
    bytes: Vec<u8>,
}

/// Gives columns of times their numbers.
#[derive(Debug, Default)]
pub(super) struct TimesColumns {
    by_hash: HashMap<u128, u32>,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    /// Number of the first column that is kept.
    kept_first: u32,
    /// By hash: number and times of a column that came last.
    plain: Vec<(u32, Vec<i64>)>,
    count: u32,
    rows: Vec<TimesRow>,
    pages: Vec<Vec<u8>>,
}

impl TimesColumns {
    /// The number of a column, and its bytes if it is new and must be written at `offset` of the data.
    pub(super) fn add(&mut self, times_ms: &[i64], offset: u64) -> (u32, Option<Vec<u8>>) {
        let hash = content_hash_i64(times_ms);
        let slot = hash as usize % PLAIN_COLUMNS;
        if let Some((number, _)) = self.plain.get(slot).filter(|(_, plain)| !plain.is_empty() && plain == times_ms) {
            return (*number, None);
        }
        if let Some(number) = self.by_hash.get(&hash).copied()
            && self.is_equal(number, times_ms)
        {
            self.keep_plain(slot, number, times_ms);
            return (number, None);
        }
        let bytes = encode_column(times_ms);
        let number = self.count;
        self.count += 1;
        self.push_row(TimesRow {
            offset,
            bytes: bytes.len() as u32,
            count: times_ms.len() as u32,
            first_ms: times_ms.first().copied().unwrap_or_default(),
            last_ms: times_ms.last().copied().unwrap_or_default(),
        });
        self.keep(hash, times_ms.len(), bytes.clone());
        self.keep_plain(slot, number, times_ms);
        (number, Some(bytes))
    }

    fn keep_plain(&mut self, slot: usize, number: u32, times_ms: &[i64]) {
        if times_ms.len() > PLAIN_SAMPLES_MAX {
            return;
        }
        self.plain.resize_with(PLAIN_COLUMNS, Default::default);
        if let Some((known, plain)) = self.plain.get_mut(slot) {
            *known = number;
            plain.clear();
            plain.extend_from_slice(times_ms);
        }
    }

    fn is_equal(&self, number: u32, times_ms: &[i64]) -> bool {
        let kept = number.checked_sub(self.kept_first).and_then(|i| self.kept.get(i as usize));
        kept.is_some_and(|kept| {
            let mut decoded = Vec::new();
            kept.count == times_ms.len()
                && decode_column(&kept.bytes, kept.count, &mut decoded).is_ok()
                && decoded == times_ms
        })
    }

    fn keep(&mut self, hash: u128, count: usize, bytes: Vec<u8>) {
        self.by_hash.insert(hash, self.count - 1);
        self.kept_bytes += bytes.len() + size_of::<Kept>();
        self.kept.push_back(Kept { hash, count, bytes });
        while self.kept_bytes > KEPT_BYTES_MAX
            && let Some(oldest) = self.kept.pop_front()
        {
            self.kept_bytes -= oldest.bytes.len() + size_of::<Kept>();
            if self.by_hash.get(&oldest.hash) == Some(&self.kept_first) {
                self.by_hash.remove(&oldest.hash);
            }
            self.kept_first += 1;
        }
    }

    fn push_row(&mut self, row: TimesRow) {
        self.rows.push(row);
        if self.rows.len() == TIMES_PER_PAGE {
            self.end_page();
        }
    }

    fn end_page(&mut self) {
        if !self.rows.is_empty() {
            let mut page = Vec::new();
            TimesPage::encode(&self.rows, &mut page);
            self.pages.push(page);
            self.rows.clear();
        }
    }

    /// Ends: the number of columns and the pages that list them.
    pub(super) fn finish(mut self) -> (u32, Vec<Vec<u8>>) {
        self.end_page();
        (self.count, self.pages)
    }
}

fn encode_column(times_ms: &[i64]) -> Vec<u8> {
    let (mut blocks, mut lengths, mut firsts) = (Vec::new(), Vec::new(), Vec::new());
    for block in times_ms.chunks(BLOCK_SAMPLES_MAX) {
        let start = blocks.len();
        timestamps::encode_block(block, Preference::Balanced, &mut blocks);
        lengths.push((blocks.len() - start) as i64);
        firsts.extend(block.first());
    }
    let mut bytes = Vec::new();
    ColumnHead::encode(&lengths, Some(&firsts), &mut bytes);
    bytes.extend_from_slice(&blocks);
    bytes
}

fn decode_column(bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), FormatError> {
    let head = ColumnHead::decode(bytes, count, true)?;
    for block in 0..block_count(count) {
        timestamps::decode_block(head.block(bytes, block)?, block_samples(count, block), out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_columns_are_written_once() {
        let mut columns = TimesColumns::default();
        let a: Vec<i64> = (0..5000).map(|i| i * 1000 + i % 7).collect();
        let b: Vec<i64> = a.iter().map(|t| t + 1).collect();
        let (first, bytes) = columns.add(&a, 0);
        let bytes = bytes.unwrap();
        let mut back = Vec::new();
        decode_column(&bytes, a.len(), &mut back).unwrap();
        assert_eq!(back, a);
        assert_eq!(columns.add(&a, 10), (first, None));
        assert!(columns.add(&b, 20).1.is_some());
        assert_eq!(columns.add(&a, 30), (first, None));
        assert!(columns.add(&a[1..], 40).1.is_some());
        let short: Vec<Vec<i64>> = (0..2000).map(|i| vec![i, i + 1 + i % 3]).collect();
        let numbers: Vec<u32> = short.iter().map(|times| columns.add(times, 50).0).collect();
        assert_eq!((numbers[0], numbers[1999]), (3, 2002));
        assert!(short.iter().zip(&numbers).all(|(times, number)| columns.add(times, 60) == (*number, None)));
        let (count, pages) = columns.finish();
        assert_eq!((count, pages.len()), (2003, 2003_usize.div_ceil(TIMES_PER_PAGE)));
        let rows = TimesPage::decode(&pages[0], TIMES_PER_PAGE).unwrap().rows;
        assert_eq!((rows[1].offset, rows[1].count, rows[1].first_ms, rows[1].last_ms), (20, 5000, b[0], b[4999]));
    }
}
