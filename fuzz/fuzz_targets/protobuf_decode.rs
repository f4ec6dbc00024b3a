//! Any bytes as a scrape in protobuf, in each form that is taken: an error or text, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use streamgauge::exposition::{Forms, decode_protobuf};

fuzz_target!(|data: &[u8]| {
    for (native, classic_too) in [(true, true), (true, false), (false, false)] {
        let _ = decode_protobuf(data, Forms { native, classic_too }, 1 << 20);
    }
});
