//! Following Flink clusters: what their REST API answers becomes documents of [`crate::jobs`], and numbers that move become
//! samples.
//!
//! - [`convert`] turns one answer, of 1.9 or 2.x, into documents. It is pure: what is asked when, and of whom, is no
//!   concern of it.
//!
//! An answer of another shape than either is an error that names the field, and the rest of the round goes on: a cluster of
//! a release that does not exist yet must not stop the collection.

pub mod convert;
