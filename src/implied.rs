//! Jobs that nobody told of: what the labels of their series say.
//!
//! - `rules` says which labels name a job, its operators and their subtasks, engine by engine.
//! - `sighting` puts together what one look at the series saw; `documents` makes of it what the store of jobs holds.
//! - `tracker` decides what has changed since and is to be written down. All these are pure.
//! - `look` has the series, the clock and the store; `status` says how it goes.
//! - `counts` reads how much went through the tasks of such a job, for views.
//!
//! Samples cost nothing more: every `jobs.implied_interval` the head is asked how recent the series are that carry such
//! labels, put together by these labels and without decoding anything. A job is as sure as its labels: it runs while samples
//! come, is what it was last and stale (`Run::lost_ms`) when they stop, and never ends. Whoever registers a job or
//! follows its cluster knows better, and takes it over (`jobs::store`).

mod counts;
mod documents;
mod look;
mod rules;
mod sighting;
mod status;
mod tracker;

pub(crate) use counts::{Flow, counts};
pub(crate) use look::run_supervised;
pub use status::Status;
