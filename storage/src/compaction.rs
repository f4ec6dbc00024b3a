//! Fewer and larger segments. `plan` says which to merge, `merge` brings their series together, `run` does it;
//! `purge` finds what retention rules let go. `pace` keeps the work within a rate and out of the way of queries,
//! `progress` says how far it is.
//!
//! A segment that cannot be read fails its own piece of work only: it is set aside, and the rest goes on.
//!
//! Only segments that are adjacent in sequence are merged: one whose sequences lie between those of others, and whose
//! times overlap with theirs, must be among them, or it could not be told any more which write was the last.

mod merge;
pub(crate) mod pace;
pub(crate) mod plan;
pub(crate) mod progress;
mod purge;
mod room;
pub(crate) mod run;
