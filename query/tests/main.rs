//! Tests of the whole crate, one binary: `memory` is a source of series, `script` runs test scripts over it, `promql`
//! runs the scripts in `promql/`, `limits` holds what scripts cannot say.

extern crate streamgauge_query as query;

mod limits;
mod memory;
mod promql;
mod script;
