//! The write-ahead log: what a batch is until it is in a segment.
//!
//! `record` is the format of a batch, `file` that of a file, `log` writes files, `replay` reads them, `commit` is the
//! queue of batches and the one thread that writes, syncs and applies them.

pub(crate) mod file;
pub(crate) mod log;
pub(crate) mod record;
pub(crate) mod replay;
