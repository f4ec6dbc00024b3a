//! Answers of Flink's REST API as documents, one file per group of endpoints.
//!
//! Both releases are read by the fields that are there: `@class` or `className`, `host` or `endpoint`, `root-exception` or
//! `exceptionHistory`. Fields that move while a task runs are taken out ([`io`]).

mod accumulators;
mod checkpoints;
mod cluster;
mod exceptions;
mod io;
mod job;
mod json;
mod pressure;
mod vertex;

pub use accumulators::accumulators;
pub use checkpoints::{checkpoint, checkpoint_settings, checkpoint_subtasks, checkpoints};
pub use cluster::{cluster, task_manager, task_managers};
pub use exceptions::{Failures, failures};
pub use io::Moving;
pub use job::{Job, JobEntries, JobEntry, job, job_entries, outcome, settings};
pub use json::WrongShape;
pub use pressure::back_pressure;
pub use vertex::{VertexTimes, attempt, subtasks, vertex_times};
