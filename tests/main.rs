//! The whole server from outside: one binary, one module per concern.

mod api;
mod remote_write;
mod support;
