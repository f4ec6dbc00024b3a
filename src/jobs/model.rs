//! The vocabulary of jobs: plain values, one file per idea. They are stored as they serialize, so a field may be added
//! with a default but never change its meaning.

pub(super) mod accumulator;
pub(super) mod checkpoint;
pub(super) mod cluster;
pub(super) mod failure;
pub(super) mod kept;
pub(super) mod plan;
pub(super) mod run;
pub(super) mod state;
pub(super) mod vertex;
