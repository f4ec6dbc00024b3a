//! Following Flink clusters: what their REST API answers becomes documents of [`crate::jobs`], and numbers that move become
//! samples.
//!
//! - [`convert`] turns one answer, of 1.9 or 2.x, into documents. It is pure: what is asked when, and of whom, is no
//!   concern of it.
//! - [`follow`] and [`cluster`] decide what to ask next of a job and of a cluster, and [`reach`] whom. They are pure too:
//!   answers and times go in, questions and documents come out.
//! - [`reporters`] finds the cluster's Prometheus reporters, where numbers come from these.
//! - [`forward`] sends on what only a cluster can do; [`left`] marks clusters that are not followed any more.
//! - [`samples`] names the series of numbers; `collector` has the sockets, the clock and the stores.
//!
//! What it costs a JobManager, per round: two requests (jobs, task managers), one for each running job in which nothing
//! has changed, and at most `max_requests_per_job` for each job; one at a time. A job that has ended and is known costs
//! nothing. Besides that, requests of our callers for jobs that are not in the store are sent on.
//!
//! An answer of another shape than either is an error that names the field, and the rest of the round goes on: a cluster of
//! a release that does not exist yet must not stop the collection.

pub mod cluster;
pub(crate) mod collector;
pub mod convert;
pub mod follow;
pub(crate) mod forward;
pub(crate) mod left;
pub mod reach;
pub mod reporters;
pub mod samples;

pub use follow::Metrics;
