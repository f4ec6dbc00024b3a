//! The Streamgauge server as a library, so that tests can start it in-process.
//!
//! What comes in (report, scrape, remote write) is decoded at the edge and handed to [`ingest`]; what is asked is
//! decoded at the edge, evaluated by `query` over a snapshot of `storage`, and encoded at the edge. `storage` and
//! `query` are synchronous: [`workers`] is the one place where async hands work to threads.

pub mod app;
mod arroyo;
pub mod auth;
pub mod backup;
pub mod bus_error;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod export;
pub mod exposition;
pub mod families;
pub mod flink;
pub mod http;
pub mod implied;
pub mod ingest;
pub mod jobs;
mod json;
pub mod parquet_store;
pub mod remote_write;
pub mod report;
pub mod scrape;
pub mod self_report;
mod supervise;
pub mod system;
pub mod telemetry;
pub mod workers;

pub use app::{App, Running};
pub use config::Config;
