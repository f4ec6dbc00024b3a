//! The listener: connection limit, timeouts of headers and answers, graceful end. axum's own server leaves these out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::HOST;
use ::http::{HeaderValue, Version};
use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;

use super::opening::Opening;
use super::progress::Progress;
use super::unread::Swallowed;
use crate::app::App;
use crate::config::Config;
use crate::supervise::supervised;

/// Waits after an accept error that will come again at once (no free file descriptor), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Most bytes of a request's line and headers (HTTP/1); more is answered with 431.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// About what is read from a connection at once, and what waits to be written: a body is copied from here while it is still
/// in the processor's cache. With hyper's 408 KiB a report takes 4 % more CPU time.
const BUFFER_BYTES: usize = 64 << 10;

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// HTTP/1 only.
    Http1,
    /// HTTP/1, and HTTP/2 of clients that begin with it, as those of gRPC do.
    Http1And2,
}

/// Serves until the application stops, then lets open requests end within `http.shutdown_timeout`.
pub(crate) async fn serve(app: Arc<App>, listener: TcpListener, router: Router, wire: Wire) {
    let connections = Arc::new(Semaphore::new(app.config.http_max_connections));
    let graceful = GracefulShutdown::new();
    let start = || accept_all(&app, &listener, (&router, wire), &connections, &graceful);
    supervised("listener", &app.telemetry, app.stopping(), |stop| *stop, start, |_| ()).await;
    drop(listener);
    let limit = app.config.http_shutdown_timeout.std();
    if tokio::time::timeout(limit, graceful.shutdown()).await.is_err() {
        tracing::warn!(?limit, "requests were still open at the end of http.shutdown_timeout");
    }
}

/// Takes connections until the application stops; each goes on in a task of its own.
async fn accept_all(
    app: &App,
    listener: &TcpListener,
    (router, wire): (&Router, Wire),
    connections: &Arc<Semaphore>,
    graceful: &GracefulShutdown,
) {
    let mut stopping = app.stopping();
    loop {
        // The permit is taken before the accept: above the limit, connections wait in the kernel's queue.
        let accepted = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            accepted = accept(listener, connections) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else { continue };
        let router = router.clone();
        let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            name_host(&mut request);
            router.clone().oneshot(Swallowed::request(request))
        });
        let stream = Progress::new(stream, app.config.http_body_timeout.std());
        match wire {
            Wire::Http1 => {
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(app.config.http_header_timeout.std());
                builder.max_buf_size(BUFFER_BYTES).max_header_size(HEADER_BYTES_MAX);
                let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
                tokio::spawn(run(connection, peer, permit));
            }
            Wire::Http1And2 => {
                let stream = Opening::new(stream, app.config.http_header_timeout.std());
                let connection = either(&app.config).serve_connection(TokioIo::new(stream), service).into_owned();
                tokio::spawn(run(graceful.watch(connection), peer, permit));
            }
        }
    }
}

/// Serves HTTP/1 or HTTP/2, whichever the client begins with. A client of HTTP/2 that does not answer a ping is left.
fn either(config: &Config) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let timeout = config.http_header_timeout.std();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(timeout).max_buf_size(BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.http_max_streams)
        .keep_alive_interval(timeout)
        .keep_alive_timeout(timeout);
    builder
}

/// HTTP/2 has the host beside the headers; who asks where a request was meant to go looks among them.
fn name_host<B>(request: &mut hyper::Request<B>) {
    if request.version() != Version::HTTP_2 || request.headers().contains_key(HOST) {
        return;
    }
    let host = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().insert(HOST, host);
    }
}

/// Waits for the end of a connection, and gives its place back.
async fn run<E: std::fmt::Display>(
    connection: impl Future<Output = Result<(), E>>,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    if let Err(error) = connection.await {
        tracing::debug!(%peer, %error, "connection ended");
    }
    drop(permit);
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Small answers must not wait for the peer's acknowledgement of the one before.
            let _ = stream.set_nodelay(true);
            Some((stream, peer, permit))
        }
        Err(error) => {
            tracing::warn!(%error, "accept failed");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
