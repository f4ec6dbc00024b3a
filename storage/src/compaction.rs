//! Fewer and larger segments. `plan` says which to merge, `merge` brings their series together, `run` does it;
//! `purge` finds what retention rules let go.
//!
//! Only segments that are adjacent in sequence are merged: one whose sequences lie between those of others, and whose
//! times overlap with theirs, must be among them, or it could not be told any more which write was the last.

mod merge;
pub(crate) mod plan;
mod purge;
mod run;
