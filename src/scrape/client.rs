//! Asks servers over HTTP/1.1 and HTTPS: one connection per target that is kept open, redirects, credentials, and a
//! limit on what is read. Deadlines are set by the caller: dropping a request closes its connection.

mod connection;
mod tls;
mod url;

use std::error::Error as _;

use ::http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, LOCATION, USER_AGENT};
use ::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::blocking::blocking;
use super::config::{Auth, ClientOptions, Secret};
pub(crate) use connection::{Connection, look_up};
pub(super) use url::encode_query;

/// Redirects that are followed for one request, as in Go's client.
const REDIRECTS_MAX: usize = 10;

/// What we call ourselves.
pub(super) const AGENT: &str = concat!("Streamgauge/", env!("CARGO_PKG_VERSION"));

/// Why there is no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{0:?} is not a URL")]
    Url(String),
    #[error("Get {url:?}: {detail}")]
    Connect { url: String, detail: String },
    #[error("Get {url:?}: {detail}")]
    Broken { url: String, detail: String },
    #[error("Get {url:?}: stopped after {REDIRECTS_MAX} redirects")]
    Redirects { url: String },
    #[error("server returned HTTP status {0}")]
    Status(StatusCode),
    #[error("body size limit exceeded: limit {name} = {limit} bytes reached")]
    TooLarge { name: &'static str, limit: usize },
    #[error("unable to read {0}")]
    Secret(String),
    #[error("tls_config: {0}")]
    Tls(String),
    #[error("the server sent the content encoding {0:?}, which was not asked for")]
    Encoding(String),
}

/// What is asked for besides the address.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    pub(crate) headers: HeaderMap,
    pub(crate) compression: bool,
    /// Name and value of the limit on the bytes of the body as sent.
    pub(crate) body_max: (&'static str, usize),
    /// A longer body is no error; what is beyond the limit is not read.
    pub(crate) is_cut: bool,
}

/// An answer with status 200, its body as it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) content_type: Option<String>,
    pub(crate) gzip: bool,
    pub(crate) body: Bytes,
}

/// A client of one server.
pub(crate) struct Client {
    options: ClientOptions,
    kept: Option<Connection>,
    /// Length of the last body: the next one is about as long, and growing to that costs copies.
    body_bytes: usize,
}

impl Client {
    pub(crate) fn new(options: ClientOptions) -> Client {
        Client { options, kept: None, body_bytes: 0 }
    }

    /// GET, redirects followed.
    pub(crate) async fn get(&mut self, url: &str, ask: &Ask) -> Result<Answer, FetchError> {
        let first: Uri = url.parse().map_err(|_| FetchError::Url(url.to_owned()))?;
        let credentials = credentials(&self.options.auth).await?;
        let mut uri = first.clone();
        for _ in 0..=REDIRECTS_MAX {
            // Credentials are for the server that was configured, not for one that it points to.
            let same_server = uri.authority() == first.authority() && uri.scheme() == first.scheme();
            let headers = headers(ask, credentials.as_ref().filter(|_| same_server));
            let response = self.send(&uri, headers).await?;
            let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
            match location.filter(|_| is_redirect(response.status()) && !self.options.redirects_refused) {
                None => return self.read(&uri, response, ask).await,
                Some(location) => {
                    let next = url::join(&uri, location).ok_or_else(|| FetchError::Url(location.to_owned()))?;
                    // Its body is not read, so this connection cannot be used again.
                    self.kept = None;
                    uri = next;
                }
            }
        }
        Err(FetchError::Redirects { url: url.to_owned() })
    }

    /// Sends a request over the connection that was kept, or over a new one.
    async fn send(&mut self, uri: &Uri, headers: HeaderMap) -> Result<::http::Response<Incoming>, FetchError> {
        if let Some(mut connection) = self.kept.take().filter(|kept| kept.serves(uri)) {
            // The server may have closed it since; that shows only now, and GET can be sent again.
            if let Ok(response) = connection.send(uri, headers.clone()).await {
                self.kept = Some(connection);
                return Ok(response);
            }
        }
        let mut connection: Connection = Connection::open(uri, &self.options.tls).await?;
        let response = connection.send(uri, headers).await.map_err(|error| broken(uri, &error))?;
        self.kept = Some(connection);
        Ok(response)
    }

    async fn read(&mut self, uri: &Uri, response: ::http::Response<Incoming>, ask: &Ask) -> Result<Answer, FetchError> {
        let (head, mut body) = response.into_parts();
        if head.status != StatusCode::OK {
            self.kept = None;
            return Err(FetchError::Status(head.status));
        }
        let text =
            |name| head.headers.get(name).map(|v: &HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned());
        let gzip = match text(CONTENT_ENCODING).as_deref().map(str::trim) {
            None | Some("" | "identity") => false,
            Some(encoding) if encoding.eq_ignore_ascii_case("gzip") => true,
            Some(encoding) => return Err(FetchError::Encoding(encoding.to_owned())),
        };
        let body_max = ask.body_max;
        let told = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let mut all = BytesMut::with_capacity(told.max(self.body_bytes).min(body_max.1));
        while let Some(frame) = body.frame().await {
            let data = frame.map_err(|error| broken(uri, &error))?.into_data().unwrap_or_default();
            if all.len() + data.len() > body_max.1 {
                self.kept = None;
                if ask.is_cut {
                    all.extend_from_slice(&data[..body_max.1 - all.len()]);
                    break;
                }
                return Err(FetchError::TooLarge { name: body_max.0, limit: body_max.1 });
            }
            all.extend_from_slice(&data);
        }
        self.body_bytes = all.len();
        Ok(Answer { content_type: text(CONTENT_TYPE), gzip, body: all.freeze() })
    }
}

fn broken(uri: &Uri, error: &hyper::Error) -> FetchError {
    // hyper's own text names the kind; the reason stands below it.
    let detail = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    FetchError::Broken { url: uri.to_string(), detail }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn headers(ask: &Ask, credentials: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = ask.headers.clone();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    let encoding = if ask.compression { "gzip" } else { "identity" };
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
    if let Some(credentials) = credentials {
        headers.insert(AUTHORIZATION, credentials.clone());
    }
    headers
}

/// The value of the header `Authorization`.
pub(crate) async fn credentials(auth: &Auth) -> Result<Option<HeaderValue>, FetchError> {
    let text = match auth {
        Auth::None => return Ok(None),
        Auth::Basic { username, password } => {
            let pair = format!("{}:{}", read_secret(username).await?, read_secret(password).await?);
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        }
        Auth::Header { kind, credentials } => format!("{kind} {}", read_secret(credentials).await?),
    };
    let unfit = |_| FetchError::Secret("the credentials: they do not fit into a header".to_owned());
    let mut value = HeaderValue::try_from(text).map_err(unfit)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// The text of a secret; a file is read on a thread of its own, because file systems can hang.
async fn read_secret(secret: &Secret) -> Result<String, FetchError> {
    let path = match secret {
        Secret::Text(text) => return Ok(text.clone()),
        Secret::File(path) => path.clone(),
    };
    let name = path.display().to_string();
    match blocking(move || std::fs::read_to_string(path)).await {
        Ok(Ok(text)) => Ok(text.trim().to_owned()),
        Ok(Err(error)) => Err(FetchError::Secret(format!("{name}: {error}"))),
        Err(error) => Err(FetchError::Secret(format!("{name}: {error}"))),
    }
}
