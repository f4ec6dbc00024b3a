//! Tests of the whole crate, one binary: `memory` is a source of series, `script` runs test scripts over it, `promql`
//! runs the scripts in `promql/`, `steps` compares range with instant
//! queries, `runs` summaries with samples, `limits` holds what scripts cannot say.

#![expect(clippy::unwrap_used, reason = "a test may panic, helpers of tests included")]

extern crate streamgauge_query as query;

mod histogram_text;
mod limits;
mod memory;
mod promql;
mod runs;
mod script;
mod steps;
