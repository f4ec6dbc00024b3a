//! `GET|POST /api/streamgauge/v1/export`: all samples of a selection, as lines that `src/export/lines.rs` describes.
//!
//! The answer has no deadline, because it takes as long as its client takes to write it down; a client that takes nothing
//! for `http.body_timeout` is left, as everywhere. An answer that cannot be ended breaks off without its last line.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{StatusCode, header};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use hyper::body::Frame;
use model::{Budget, Labels, Matcher, SampleColumns, Scope, TimeRange};
use storage::Snapshot;
use tokio::sync::mpsc;

use super::prometheus::{ApiError, Parameters, engine_options, parse_selections};
use super::rights::read;
use crate::app::App;
use crate::auth::Caller;
use crate::export::{ReadError, chunks, encode, encode_end};
use crate::families::Families;

/// Bytes of lines that go out together.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that wait for the client.
const PIECES_WAITING: usize = 4;
/// The media type of lines of JSON.
const JSON_LINES: &str = "application/x-ndjson";

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/streamgauge/v1/export", read(get(export).post(export)))
}

async fn export(State(app): State<Arc<App>>, caller: Caller, parameters: Parameters) -> Result<Response, ApiError> {
    let mut selections = parse_selections(parameters.all("match[]"), &engine_options(&app))?;
    if selections.is_empty() {
        selections.push(Vec::new());
    }
    let range = parameters.range()?;
    let permit = app.workers.export()?;
    let (sender, receiver) = mpsc::channel(PIECES_WAITING);
    let work = Work { app, scope: caller.scope(), sender, piece: Vec::with_capacity(PIECE_BYTES) };
    tokio::task::spawn_blocking(move || {
        work.run(&selections, range);
        drop(permit);
    });
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, JSON_LINES)], Body::new(Lines(receiver))).into_response())
}

/// An export under way.
struct Work {
    app: Arc<App>,
    scope: Scope,
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Work {
    fn run(mut self, selections: &[Vec<Matcher>], range: TimeRange) {
        let db = Arc::clone(&self.app.db);
        let snapshot = db.snapshot();
        let mut families = Families::new(&db);
        match self.read(&snapshot, &mut families, selections, range) {
            Ok(()) => {}
            Err(ReadError::Source(error)) => {
                tracing::error!(%error, "an export breaks off");
                // The client sees a connection that ends too early.
                let _ = self.send(Err(io::Error::other(error.to_string())));
            }
            Err(ReadError::Receiver(reason)) => tracing::info!(reason, "an export breaks off"),
        }
    }

    fn read(
        &mut self,
        snapshot: &Snapshot,
        families: &mut Families<'_>,
        selections: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<(), ReadError<&'static str>> {
        let budget = Budget::new(u64::MAX, self.app.config.query_max_bytes.0);
        let (stopping, scope) = (self.app.stopping(), self.scope.clone());
        let totals =
            chunks(snapshot, &scope, selections, range, &budget, |labels: &Labels, samples: SampleColumns| {
                if *stopping.borrow() {
                    return Err("the server is stopping");
                }
                encode(&mut self.piece, labels, families.type_of(labels.metric_name()), &samples);
                if self.piece.len() < PIECE_BYTES { Ok(()) } else { self.flush() }
            })?;
        encode_end(&mut self.piece, &totals, snapshot.unreachable());
        self.flush().map_err(ReadError::Receiver)
    }

    fn flush(&mut self) -> Result<(), &'static str> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.send(Ok(piece.into()))
    }

    fn send(&self, piece: io::Result<Bytes>) -> Result<(), &'static str> {
        let patience: Duration = self.app.config.http_body_timeout.std();
        let sent = tokio::runtime::Handle::current().block_on(tokio::time::timeout(patience, self.sender.send(piece)));
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("the client has gone"),
            Err(_) => Err("the client takes nothing: limit http.body_timeout reached"),
        }
    }
}

/// What the worker sends, as a body.
struct Lines(mpsc::Receiver<io::Result<Bytes>>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
