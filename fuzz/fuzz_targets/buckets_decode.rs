//! Any bytes as the buckets of a series: an error or an answer, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| storage::fuzzing::buckets(data));
