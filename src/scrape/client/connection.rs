//! One connection to one server, plain or over TLS.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use ::http::header::HOST;
use ::http::{HeaderMap, HeaderValue, Request, Response, Uri};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{FetchError, tls};
use crate::scrape::blocking::blocking;
use crate::scrape::config::TlsOptions;

/// A connection that requests with bodies of one kind can be sent over, one after the other.
pub(crate) struct Connection<B = Empty<Bytes>> {
    sender: SendRequest<B>,
    server: (bool, String),
    /// Ends with the connection; aborted when it is dropped, also in the middle of an answer.
    driver: tokio::task::AbortHandle,
}

impl<B> Drop for Connection<B> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn server_of(uri: &Uri) -> (bool, String) {
    let is_tls = uri.scheme_str() == Some("https");
    (is_tls, uri.authority().map(ToString::to_string).unwrap_or_default())
}

impl<B> Connection<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Connects to the server of a URL.
    pub(crate) async fn open(uri: &Uri, options: &TlsOptions) -> Result<Connection<B>, FetchError> {
        let url = || uri.to_string();
        let host = uri.host().ok_or_else(|| FetchError::Url(url()))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let server = server_of(uri);
        let port = uri.port_u16().unwrap_or(if server.0 { 443 } else { 80 });
        let failed = |detail: String| FetchError::Connect { url: url(), detail };
        let addresses = look_up(host, port).await.map_err(|e| failed(format!("lookup {host}: {e}")))?;
        let stream =
            TcpStream::connect(&*addresses).await.map_err(|e| failed(format!("connect {host}:{port}: {e}")))?;
        // A request is one small packet that must not wait for more.
        let _ = stream.set_nodelay(true);
        if !server.0 {
            return Connection::over(stream, server).await.map_err(failed);
        }
        let config = client_config(options.clone()).await?;
        let name = options.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name.clone())
            .map_err(|_| FetchError::Tls(format!("{name:?} is not a server name")))?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|e| failed(format!("tls: {e}")))?;
        Connection::over(stream, server).await.map_err(failed)
    }

    async fn over<S>(stream: S, server: (bool, String)) -> Result<Connection<B>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer gets the error; a connection that ends in between is no event.
            let _ = connection.await;
        });
        Ok(Connection { sender, server, driver: driver.abort_handle() })
    }

    /// True if requests for this URL can go over the connection, as far as is known.
    pub(super) fn serves(&self, uri: &Uri) -> bool {
        !self.sender.is_closed() && self.server == server_of(uri)
    }

    /// Sends a request; gives back the head of the answer. The URL is that of the request, its server that of the
    /// connection.
    pub(crate) async fn exchange(&mut self, mut request: Request<B>) -> Result<Response<Incoming>, hyper::Error> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let path = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
        *request.uri_mut() = path;
        if let Ok(host) = HeaderValue::from_str(&self.server.1) {
            request.headers_mut().insert(HOST, host);
        }
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }
}

impl Connection {
    /// Sends a GET; gives back the head of the answer.
    pub(super) async fn send(&mut self, uri: &Uri, headers: HeaderMap) -> Result<Response<Incoming>, hyper::Error> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        self.exchange(request).await
    }
}

/// The addresses of a host.
pub(crate) async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let name = host.to_owned();
    let found = blocking(move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>)).await?;
    found.map_err(|e| e.to_string())
}

/// Reads the certificates anew at each connection, so that they can be changed; on a thread, because that takes time.
async fn client_config(options: TlsOptions) -> Result<Arc<rustls::ClientConfig>, FetchError> {
    match blocking(move || tls::client_config(&options)).await {
        Ok(config) => config.map(Arc::new).map_err(FetchError::Tls),
        Err(error) => Err(FetchError::Tls(error)),
    }
}
