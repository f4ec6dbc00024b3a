//! Arroyo: metrics of its jobs as its console shows them, from series of its workers or from its controller.
//!
//! - [`tasks`] reads the series `arroyo_worker_*` of a job and makes of them what a controller would: rates of counters
//!   ([`rate`]), backpressure of queues, one point per step.
//! - [`controller`] asks a real controller over gRPC; [`rpc`] has the messages, [`wire`] the JSON inside them.
//!
//! [`crate::http`] has the views: the console's endpoint, and the controller's own method for who asks us.

pub(crate) mod controller;
pub(crate) mod rate;
pub(crate) mod rpc;
pub(crate) mod tasks;
pub(crate) mod wire;
