//! The whole server from outside: one binary, one module per concern.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod api;
mod arroyo;
mod backup;
mod bad_input;
mod budgets;
mod bus_error;
mod connections;
mod crash;
mod deletes;
mod diagnosis;
mod documents;
mod exporter;
mod flink;
mod implied;
mod noetl;
mod offline;
mod panics;
mod prometheus_api;
mod push;
mod remote_write;
mod rights;
mod rollups;
mod scrape;
mod snapshots;
mod support;
mod tsp;
