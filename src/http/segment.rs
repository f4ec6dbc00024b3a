//! The one variable part of a path, as text.

use ::http::StatusCode;
use ::http::request::Parts;
use axum::extract::{FromRequestParts, Path};
use axum::response::Response;

use super::error::{Dialect, Fault};

/// A part of a path, decoded. One that is no text is refused in the shape of the dialect that owns the path.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Segment, Response> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Segment(text)),
            Err(_) => {
                let message = format!("a part of the path {} is not UTF-8", parts.uri.path());
                Err(Fault::new(StatusCode::BAD_REQUEST, message).response(Dialect::of_path(parts.uri.path())))
            }
        }
    }
}
