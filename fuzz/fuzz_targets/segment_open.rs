//! Any bytes as segments, also behind right checksums: opened, selected from, read, verified: an error or an answer, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| storage::fuzzing::segment(data));
