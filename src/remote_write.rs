//! Prometheus remote write 1.0 and 2.0: messages walked by hand, labels hashed as they stand, nothing copied for a
//! series that is known.
//!
//! Specifications: Prometheus Remote-Write 1.0 (`prometheus.WriteRequest`) and 2.0 (`io.prometheus.write.v2.Request`).
//! The HTTP side is in `http/remote_write.rs`.

mod histogram;
mod intake;
pub(crate) mod proto;
mod v1;
mod v2;

pub use intake::{Intake, Outcome, Seen};
pub use proto::WireError;

use crate::ingest::Rejection;

/// Which message a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// `prometheus.WriteRequest`
    V1,
    /// `io.prometheus.write.v2.Request`
    V2,
}

/// Why a whole request was refused; nothing of it is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The message cannot be read.
    #[error("the body is not a valid {message}: {source}")]
    Wire {
        /// The message's name.
        message: &'static str,
        /// Where and what.
        source: WireError,
    },
    /// More samples than one request may have.
    #[error("too many samples in one request: limit ingest.max_batch_samples = {limit} reached")]
    TooManySamples {
        /// `ingest.max_batch_samples`
        limit: usize,
    },
}

/// Why a part of a message is not taken.
#[derive(Debug)]
enum ReadError {
    /// The message is broken here: all of it is refused.
    Wire(WireError),
    /// What it says is wrong: this part is refused alone.
    Content(Rejection),
}

impl From<WireError> for ReadError {
    fn from(error: WireError) -> Self {
        ReadError::Wire(error)
    }
}

impl From<Rejection> for ReadError {
    fn from(rejection: Rejection) -> Self {
        ReadError::Content(rejection)
    }
}

/// Walks a message and puts its samples into the intake.
///
/// # Errors
/// [`RequestError`]; refusals of single series and samples are in the intake's outcome.
pub fn decode(message: Message, body: &[u8], intake: &mut Intake<'_>) -> Result<(), RequestError> {
    match message {
        Message::V1 => v1::decode(body, intake),
        Message::V2 => v2::decode(body, intake),
    }
}
