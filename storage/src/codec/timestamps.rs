//! Columns of strictly rising times. Scrapes lie on a grid and miss it by a little: the grid costs a few bytes, what
//! they miss it by a few bits each, and a gap is a number of slots that were left out, not a new beginning.
//!
//! # Bytes of a block of times
//! One byte: the form in the lower seven bits; the top bit, with form 1, says that slots were left out.
//! | form | then |
//! |---|---|
//! | 1 grid | first time (signed varint); period (varint); if slots were left out an integer stream of how many before each time but the first; an integer stream of each time less its slot |
//! | 2 stream | an integer stream of the times |
//!
//! The count is kept elsewhere. All arithmetic wraps; times that do not rise are an error.

use super::integers;
use super::machine::for_machine;
use super::{BLOCK_SAMPLES_MAX, Preference};
use crate::format::{Cursor, FormatError, Put};

const FORM_GRID: u8 = 1;
const FORM_STREAM: u8 = 2;
const FLAG_GAPS: u8 = 0b1000_0000;

/// Appends a block of strictly rising times.
pub(crate) fn encode_block(times_ms: &[i64], preference: Preference, out: &mut Vec<u8>) {
    debug_assert!(times_ms.len() <= BLOCK_SAMPLES_MAX, "a block has a bound");
    debug_assert!(times_ms.is_sorted_by(|a, b| a < b), "times rise");
    let start = out.len();
    out.put_u8(FORM_STREAM);
    integers::encode(times_ms, preference, out);
    let stream_bytes = out.len() - start;
    if let Some(grid) = Grid::find(times_ms) {
        let before = out.len();
        grid.encode(preference, out);
        if out.len() - before < stream_bytes {
            out.drain(start..before);
        } else {
            out.truncate(before);
        }
    }
}

struct Grid {
    first_ms: i64,
    period_ms: i64,
    /// Slots left out before each time but the first.
    gaps: Vec<i64>,
    /// Each time less its slot.
    residuals_ms: Vec<i64>,
}

impl Grid {
    fn find(times_ms: &[i64]) -> Option<Grid> {
        let (&first_ms, &last_ms) = (times_ms.first()?, times_ms.last()?);
        last_ms.checked_sub(first_ms)?;
        let mut distances: Vec<i64> = times_ms.windows(2).map(|w| w[1] - w[0]).collect();
        let middle = distances.len() / 2;
        if distances.is_empty() {
            return None;
        }
        let period_ms = *distances.select_nth_unstable(middle).1;
        let mut grid = Grid { first_ms, period_ms, gaps: Vec::new(), residuals_ms: Vec::with_capacity(times_ms.len()) };
        let mut slot = -1_i64;
        for time_ms in times_ms {
            let since_ms = time_ms - first_ms;
            let nearest = (since_ms / period_ms + i64::from(since_ms % period_ms > period_ms / 2)).max(slot + 1);
            if slot >= 0 {
                grid.gaps.push(nearest - slot - 1);
            }
            slot = nearest;
            grid.residuals_ms.push(since_ms.wrapping_sub(slot.wrapping_mul(period_ms)));
        }
        Some(grid)
    }

    fn encode(&self, preference: Preference, out: &mut Vec<u8>) {
        let has_gaps = self.gaps.iter().any(|gap| *gap != 0);
        out.put_u8(FORM_GRID | if has_gaps { FLAG_GAPS } else { 0 });
        out.put_zigzag(self.first_ms);
        out.put_varint(self.period_ms.unsigned_abs());
        if has_gaps {
            integers::encode(&self.gaps, preference, out);
        }
        integers::encode(&self.residuals_ms, preference, out);
    }
}

/// Reads the `count` times of a block to the end of `out`.
///
/// # Errors
/// [`FormatError`] if the bytes are not a block of that many rising times; `out` may have some of them then.
pub(crate) fn decode_block(bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), FormatError> {
    if count > BLOCK_SAMPLES_MAX {
        return Err(FormatError::new("a block with too many times"));
    }
    let mut cursor = Cursor::new(bytes);
    let start = out.len();
    out.reserve(count);
    match cursor.u8()? {
        FORM_STREAM => integers::decode(&mut cursor, count, out)?,
        first if first & !FLAG_GAPS == FORM_GRID => decode_grid(&mut cursor, first & FLAG_GAPS != 0, count, out)?,
        _ => return Err(cursor.error("a block of times of an unknown form")),
    }
    cursor.finish()?;
    let times_ms = out.get(start..).unwrap_or_default();
    if !rise(times_ms) {
        return Err(FormatError::new("times do not rise"));
    }
    Ok(())
}

fn decode_grid(cursor: &mut Cursor<'_>, has_gaps: bool, count: usize, out: &mut Vec<i64>) -> Result<(), FormatError> {
    let mut slot_ms = cursor.zigzag()?;
    let period_ms = cursor.varint()?.cast_signed();
    if !has_gaps {
        let start = out.len();
        out.resize(start + count, 0);
        let mut rest = out.get_mut(start..).unwrap_or_default();
        return integers::decode_with(cursor, count, |row| {
            let (times, after) = std::mem::take(&mut rest).split_at_mut(row.len());
            rest = after;
            slot_ms = on_grid(row, slot_ms, period_ms, times);
            Ok(())
        });
    }
    let start = out.len();
    out.extend((count > 0).then_some(slot_ms));
    integers::decode_with(cursor, count.saturating_sub(1), |row| {
        for gap in row {
            slot_ms = slot_ms.wrapping_add(gap.wrapping_add(1).wrapping_mul(period_ms));
            out.push(slot_ms);
        }
        Ok(())
    })?;
    let mut slots = out.get_mut(start..).unwrap_or_default().iter_mut();
    integers::decode_with(cursor, count, |row| {
        for (residual, slot) in row.iter().zip(slots.by_ref()) {
            *slot = slot.wrapping_add(*residual);
        }
        Ok(())
    })
}

for_machine! {
    /// Puts on the grid what misses it by this much; gives the next slot.
    fn on_grid(row: &[i64], slot_ms: i64, period_ms: i64, out: &mut [i64]) -> i64 {
        let mut slot_ms = slot_ms;
        for (out, residual) in out.iter_mut().zip(row) {
            *out = slot_ms.wrapping_add(*residual);
            slot_ms = slot_ms.wrapping_add(period_ms);
        }
        slot_ms
    }
}

for_machine! {
    fn rise(times_ms: &[i64]) -> bool {
        let mut wrong = 0;
        for (before, after) in times_ms.iter().zip(times_ms.get(1..).unwrap_or_default()) {
            wrong |= u64::from(before >= after);
        }
        wrong == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(times_ms: &[i64]) -> usize {
        let mut bytes = Vec::new();
        encode_block(times_ms, Preference::Balanced, &mut bytes);
        let mut back = Vec::new();
        decode_block(&bytes, times_ms.len(), &mut back).unwrap();
        assert!(back == times_ms, "{} times do not come back", times_ms.len());
        bytes.len()
    }

    const START_MS: i64 = 1_760_000_000_000;

    #[test]
    fn scrapes_cost_what_they_miss_the_grid_by() {
        let exact: Vec<i64> = (0..2048).map(|i| START_MS + i * 15_000).collect();
        assert!(round_trip(&exact) <= 16);
        let gaps: Vec<i64> = exact.iter().enumerate().filter(|(i, _)| i % 500 != 7).map(|(_, t)| *t).collect();
        assert!(round_trip(&gaps) <= 80);
        let jitter: Vec<i64> = exact.iter().enumerate().map(|(i, t)| t + (i as i64 * 7919) % 11 - 5).collect();
        assert!(round_trip(&jitter) <= 2048 * 55 / 100);
        let late: Vec<i64> =
            exact.iter().enumerate().map(|(i, t)| t + if i % 33 == 5 { 3 + i as i64 % 13 } else { 0 }).collect();
        assert!(round_trip(&late) <= 2048 / 10);
        assert!(round_trip(&exact[..6]) <= 12);
    }

    #[test]
    fn extremes_come_back() {
        for times_ms in
            [&[][..], &[0], &[i64::MIN], &[i64::MIN, i64::MAX], &[i64::MIN, 0, i64::MAX], &[-1, 0, 1, i64::MAX]]
        {
            round_trip(times_ms);
        }
    }

    #[test]
    fn times_that_do_not_rise_are_refused() {
        let mut bytes = vec![FORM_STREAM];
        integers::encode(&[1, 2, 2], Preference::Balanced, &mut bytes);
        assert!(decode_block(&bytes, 3, &mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn any_rising_times_come_back(
            first in prop_oneof![Just(START_MS), any::<i64>()],
            steps in prop::collection::vec(prop_oneof![6 => Just(15_000_i64), 2 => 14_990_i64..15_010, 1 => 1_i64..1_000_000_000, 1 => 1..i64::MAX], 0..600),
        ) {
            let mut times_ms = vec![first];
            for step in steps {
                if let Some(next) = times_ms.last().and_then(|last| last.checked_add(step)) {
                    times_ms.push(next);
                }
            }
            round_trip(&times_ms);
        }

        #[test]
        fn any_bytes_are_taken_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 1..300), form in 0_u8..3, count in 0_usize..600) {
            bytes[0] = bytes[0] & FLAG_GAPS | form;
            let mut out = Vec::new();
            let _ = decode_block(&bytes, count, &mut out);
            prop_assert!(out.len() <= count);
        }
    }
}
