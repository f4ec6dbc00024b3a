//! Where the blocks of a column are.

use crate::codec::{BLOCK_SAMPLES_MAX, Preference, integers};
use crate::format::{Cursor, FormatError};

/// Number of blocks of a column.
pub(in crate::segment) fn block_count(samples: usize) -> usize {
    samples.div_ceil(BLOCK_SAMPLES_MAX)
}

/// Samples of a block of a column.
pub(in crate::segment) fn block_samples(samples: usize, block: usize) -> usize {
    samples.saturating_sub(block * BLOCK_SAMPLES_MAX).min(BLOCK_SAMPLES_MAX)
}

/// The blocks of a column: where each begins and ends, and for times the first time of each.
#[derive(Debug, Default)]
pub(in crate::segment) struct ColumnHead {
    /// Ends of the blocks, from the start of the column; none if the column is one block.
    ends: Vec<usize>,
    /// Where the first block begins.
    start: usize,
    /// First times, for columns of times with more than one block.
    pub(in crate::segment) first_ms: Vec<i64>,
}

impl ColumnHead {
    /// Appends the head of a column, if it needs one.
    pub(in crate::segment) fn encode(block_bytes: &[i64], first_ms: Option<&[i64]>, out: &mut Vec<u8>) {
        if block_bytes.len() > 1 {
            integers::encode(block_bytes, Preference::Speed, out);
            if let Some(first_ms) = first_ms {
                integers::encode(first_ms, Preference::Speed, out);
            }
        }
    }

    /// Reads the head of the column with these bytes.
    pub(in crate::segment) fn decode(
        bytes: &[u8],
        samples: usize,
        with_times: bool,
    ) -> Result<ColumnHead, FormatError> {
        let blocks = block_count(samples);
        // Every block has a byte at least, so this bounds what the streams may allocate.
        if blocks > bytes.len() {
            return Err(FormatError::new("a column has too few bytes"));
        }
        if blocks <= 1 {
            return Ok(ColumnHead::default());
        }
        let mut cursor = Cursor::new(bytes);
        let (mut lengths, mut first_ms) = (Vec::with_capacity(blocks), Vec::new());
        integers::decode(&mut cursor, blocks, &mut lengths)?;
        if with_times {
            first_ms.reserve(blocks);
            integers::decode(&mut cursor, blocks, &mut first_ms)?;
        }
        let start = cursor.position();
        let mut end = start;
        let mut ends = Vec::with_capacity(blocks);
        for length in lengths {
            let length = usize::try_from(length).map_err(|_| FormatError::new("a block has a wrong length"))?;
            end = end.saturating_add(length);
            ends.push(end);
        }
        if end != bytes.len() {
            return Err(FormatError::new("the blocks do not fill their column"));
        }
        Ok(ColumnHead { ends, start, first_ms })
    }

    /// The bytes of a block of the column.
    pub(in crate::segment) fn block<'a>(&self, bytes: &'a [u8], block: usize) -> Result<&'a [u8], FormatError> {
        if self.ends.is_empty() && block == 0 {
            return Ok(bytes);
        }
        let start = block.checked_sub(1).map_or(Some(self.start), |before| self.ends.get(before).copied());
        let end = self.ends.get(block).copied();
        start.zip(end).and_then(|(start, end)| bytes.get(start..end)).ok_or(FormatError::new("there is no such block"))
    }
}
