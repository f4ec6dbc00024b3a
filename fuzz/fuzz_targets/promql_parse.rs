//! Expressions: an error with a place in the text, or a tree that is printed and parsed to itself; never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use query::{EngineOptions, parse, parse_matchers, pretty};

fuzz_target!(|text: &str| {
    let options = EngineOptions::default();
    let _ = parse_matchers(text, &options);
    let Ok(expr) = parse(text, &options) else { return };
    let printed = expr.to_string();
    let again = parse(&printed, &options).unwrap_or_else(|e| panic!("{printed:?}, printed of {text:?}: {e}"));
    assert_eq!(again.to_string(), printed, "{text:?}");
    let _ = pretty(&expr);
});
