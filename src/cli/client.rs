//! One request over HTTP or HTTPS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderName, Method, Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use clap::{Arg, ArgMatches};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Bytes of a refusal that are shown.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// What the server said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: String,
}

/// The flag that names a file with a token.
pub(super) fn token_flag() -> Arg {
    Arg::new("token-file")
        .long("token-file")
        .value_name("FILE")
        .help("File with a token for the server (the secret that `streamgauge token` printed), if it wants one.")
}

/// The token of [`token_flag`], if one is given.
pub(super) fn token_of(arguments: &ArgMatches) -> Result<Option<String>, String> {
    arguments.get_one::<String>("token-file").map(|path| token_in(Path::new(path))).transpose()
}

/// White space around a token does not count.
fn token_in(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("{}: this is no token: one word is expected", path.display()));
    }
    Ok(token.to_owned())
}

/// Posts a form.
pub(super) async fn post_form(
    url: &str,
    form: &[(&str, String)],
    token: Option<&str>,
    timeout: Duration,
) -> Result<Answer, String> {
    let headers = form_headers(token);
    let asked = exchange_at(url, Method::POST, &headers, encoded(form));
    match tokio::time::timeout(timeout, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(late(url, timeout)),
    }
}

/// Posts a form and hands over the body of a 200 as it comes; `timeout` is for each part of it.
pub(super) async fn post_form_streaming(
    url: &str,
    form: &[(&str, String)],
    token: Option<&str>,
    timeout: Duration,
    mut each: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), String> {
    let headers = form_headers(token);
    let response = send(url, Method::POST, &headers, encoded(form));
    let mut response = tokio::time::timeout(timeout, response).await.map_err(|_| late(url, timeout))??;
    let status = response.status();
    let mut refusal = Vec::new();
    while let Some(frame) = tokio::time::timeout(timeout, response.frame()).await.map_err(|_| late(url, timeout))? {
        let frame = frame.map_err(|e| format!("{url}: the answer breaks off: {e}; the server's log says why"))?;
        let Some(bytes) = frame.data_ref() else { continue };
        match status {
            StatusCode::OK => each(bytes)?,
            _ if refusal.len() < REFUSAL_BYTES_MAX => refusal.extend_from_slice(bytes),
            _ => break,
        }
    }
    match status {
        StatusCode::OK => Ok(()),
        _ => Err(format!("{url} answered {status}: {}", String::from_utf8_lossy(&refusal))),
    }
}

fn form_headers(token: Option<&str>) -> Vec<(HeaderName, String)> {
    let form = (header::CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned());
    std::iter::once(form).chain(token.map(bearer)).collect()
}

fn bearer(token: &str) -> (HeaderName, String) {
    (header::AUTHORIZATION, format!("Bearer {token}"))
}

fn encoded(form: &[(&str, String)]) -> String {
    let pair = |(name, value): &(&str, String)| format!("{}={}", escape(name), escape(value));
    form.iter().map(pair).collect::<Vec<_>>().join("&")
}

fn late(url: &str, timeout: Duration) -> String {
    format!("{url} did not answer within {timeout:?} (--timeout)")
}

/// Asks without a body, with a token if there is one.
pub(super) async fn ask(method: Method, url: &str, token: Option<&str>, timeout: Duration) -> Result<Answer, String> {
    let headers: Vec<_> = token.map(bearer).into_iter().collect();
    match tokio::time::timeout(timeout, exchange_at(url, method, &headers, String::new())).await {
        Ok(answer) => answer,
        Err(_) => Err(late(url, timeout)),
    }
}

async fn exchange_at(
    url: &str,
    method: Method,
    headers: &[(HeaderName, String)],
    body: String,
) -> Result<Answer, String> {
    let response = send(url, method, headers, body).await?;
    let status = response.status();
    let body = response.collect().await.map_err(|e| format!("{url}: {e}"))?.to_bytes();
    Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
}

/// Sends a request and gives the answer when its head is there.
async fn send(
    url: &str,
    method: Method,
    headers: &[(HeaderName, String)],
    body: String,
) -> Result<Response<Incoming>, String> {
    let wrong = || format!("--url: {url:?} is not a URL such as http://127.0.0.1:8082");
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let host = uri.host().filter(|h| !h.is_empty()).ok_or_else(wrong)?;
    let is_tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(wrong()),
    };
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    // Brackets belong to the URL, not to the address.
    let name = host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((name, port)).await.map_err(|e| {
        format!("cannot reach {host}:{port}: {e}; is the server running there? (`streamgauge` starts one, --url names another)")
    })?;
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, uri.authority().map_or("", |a| a.as_str()))
        .header(header::USER_AGENT, concat!("streamgauge/", env!("CARGO_PKG_VERSION")));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|e| format!("{url}: {e}"))?;
    if is_tls {
        let stream = encrypted(stream, name).await.map_err(|e| format!("{url}: {e}"))?;
        exchange(stream, request).await
    } else {
        exchange(stream, request).await
    }
    .map_err(|e| format!("{url}: {e}"))
}

/// Speaks TLS with the certificates that this system trusts.
async fn encrypted(
    stream: TcpStream,
    name: &str,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).map_err(|e| e.to_string())?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|e| e.to_string())
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the body of the answer, or with the runtime.
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// Percent-encodes a form value.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_values_are_encoded() {
        assert_eq!(escape("a{b=\"ü\"} + 1"), "a%7Bb%3D%22%C3%BC%22%7D%20%2B%201");
    }

    #[test]
    fn a_token_is_one_word_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let path = dir.path().join("token");
            std::fs::write(&path, text).unwrap();
            token_in(&path)
        };
        assert_eq!(read(" sgt_x\n"), Ok("sgt_x".to_owned()));
        for wrong in ["", "\n", "two words", "[[token]]\nname = \"x\"", "ü"] {
            assert!(read(wrong).unwrap_err().contains("no token"), "{wrong:?}");
        }
        assert!(token_in(&dir.path().join("missing")).is_err());
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_explained() {
        let ask =
            |url: &'static str| async move { post_form(url, &[], None, Duration::from_secs(5)).await.unwrap_err() };
        for wrong in ["127.0.0.1:8082/x", "ftp://a/b", "http:///x", "nonsense", "http://a b/"] {
            assert!(ask(wrong).await.contains("is not a URL"), "{wrong}: {}", ask(wrong).await);
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let message = post_form(&format!("http://{free}/x"), &[], None, Duration::from_secs(5)).await.unwrap_err();
        assert!(message.contains("is the server running"), "{message}");
    }
}
