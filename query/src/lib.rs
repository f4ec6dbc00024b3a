//! PromQL as of Prometheus 3.x: parser, type check and evaluator over a [`model::SeriesSource`].
//!
//! This crate opens no file and no socket and never reads the wall clock: time is an argument.

mod aggregation;
mod answer;
pub mod ast;
mod check;
mod error;
mod eval;
mod functions;
mod histogram;
mod lexer;
mod numeric;
mod options;
mod parser;
mod plan;
mod print;
mod quote;
mod regex_error;
mod span;

pub use answer::{Annotations, Answer, SampleValue, SeriesPoints, Value, VectorElement};
pub use error::{ErrorKind, QueryError};
pub use eval::{run_instant, run_range};
pub use functions::{FUNCTIONS, Function, function};
pub use options::EngineOptions;
pub use parser::{parse, parse_any_matchers, parse_matchers};
pub use print::pretty;
pub use span::Span;
