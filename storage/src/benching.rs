//! What benchmarks call: the codecs by themselves, as the default configuration chooses them.

use crate::codec::{self, BLOCK_SAMPLES_MAX, Beside, Preference};

/// Most samples of a block.
pub const BLOCK_SAMPLES: usize = BLOCK_SAMPLES_MAX;

/// Appends the values as one block, beside those of a base and a root, which may be empty.
pub fn encode_values(values: &[f64], base: &[f64], root: &[f64], out: &mut Vec<u8>) {
    codec::encode_block_beside(values, Beside { base, root }, Preference::default(), out);
}

/// Appends the values of a block; false if the bytes are none.
pub fn decode_values(bytes: &[u8], count: usize, base: &[f64], root: &[f64], out: &mut Vec<f64>) -> bool {
    codec::decode_block_beside(bytes, count, Beside { base, root }, out).is_ok()
}

/// Appends strictly rising times as one block.
pub fn encode_times(times_ms: &[i64], out: &mut Vec<u8>) {
    codec::timestamps::encode_block(times_ms, Preference::default(), out);
}

/// Appends the times of a block; false if the bytes are none.
pub fn decode_times(bytes: &[u8], count: usize, out: &mut Vec<i64>) -> bool {
    codec::timestamps::decode_block(bytes, count, out).is_ok()
}
