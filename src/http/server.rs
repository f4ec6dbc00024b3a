//! The listener: connection limit, timeouts of headers and answers, graceful end. axum's own server leaves these out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use super::progress::Progress;
use crate::app::App;
use crate::supervise::supervised;

/// Waits after an accept error that will come again at once (no free file descriptor), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the application stops, then lets open requests end within `http.shutdown_timeout`.
pub(crate) async fn serve(app: Arc<App>, listener: TcpListener, router: Router) {
    let connections = Arc::new(Semaphore::new(app.config.http_max_connections));
    let graceful = GracefulShutdown::new();
    let start = || accept_all(&app, &listener, &router, &connections, &graceful);
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
    router: &Router,
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
            router.clone().oneshot(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(app.config.http_header_timeout.std())
            .serve_connection(TokioIo::new(Progress::new(stream, app.config.http_body_timeout.std())), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "connection ended");
            }
            drop(permit);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
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
