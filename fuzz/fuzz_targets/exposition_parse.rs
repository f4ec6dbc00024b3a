//! Both text formats and the labels of their lines: an error or entries, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use streamgauge::exposition::{Entry, Format, Parser, parse_labels};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for format in [Format::Text, Format::OpenMetrics] {
        for entry in Parser::new(text, format) {
            if let Ok(Entry::Series(line)) = entry {
                let _ = parse_labels(line.raw);
            }
        }
    }
});
