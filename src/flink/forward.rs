//! Requests that only a cluster can answer, sent on to it: control, jars, and the state of what was triggered.

use std::time::Duration;

use ::http::header::AUTHORIZATION;
use ::http::{HeaderMap, HeaderName, Method, Request, Response, Uri};
use axum::body::Body;
use http_body_util::BodyExt;

use crate::config::FlinkCluster;
use crate::scrape::client::{self, Connection};
use crate::scrape::config::{Auth, ClientOptions, Secret};

/// How long a cluster may take until it begins to answer: to run a jar it runs the program's `main` first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// Headers that go to the cluster. Our caller's token does not.
const SENT: [&str; 3] = ["accept", "content-length", "content-type"];

/// Headers that come back.
const RETURNED: [&str; 2] = ["content-length", "content-type"];

/// What is sent on.
pub(crate) struct Forward {
    /// The method.
    pub(crate) method: Method,
    /// Path and query on the cluster.
    pub(crate) path: String,
    /// The headers as they came.
    pub(crate) headers: HeaderMap,
    /// The body as it comes.
    pub(crate) body: Body,
}

/// Why a cluster did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    /// No address can be reached.
    #[error("the cluster {cluster} does not answer: {reason}")]
    Unreachable {
        /// Its name.
        cluster: String,
        /// What went wrong with its last address.
        reason: String,
    },
}

/// Sends a request to the first address of a cluster that can be reached. Its answer is passed on as it comes, with its
/// status and its errors; a body is never sent twice.
///
/// # Errors
/// [`ForwardError`].
pub(crate) async fn forward(cluster: &FlinkCluster, forward: Forward) -> Result<Response<Body>, ForwardError> {
    let unreachable = |reason: String| ForwardError::Unreachable { cluster: cluster.name.clone(), reason };
    let options = options(cluster);
    let (mut connection, base) = open(cluster, &options).await.map_err(unreachable)?;
    let url = format!("{}{}", base.trim_end_matches('/'), forward.path);
    let uri: Uri = url.parse().map_err(|_| unreachable(format!("{url:?} is not a URL")))?;
    let mut request = Request::new(forward.body);
    *request.method_mut() = forward.method;
    *request.uri_mut() = uri;
    copy(&SENT, &forward.headers, request.headers_mut());
    if let Some(token) = client::credentials(&options.auth).await.map_err(|e| unreachable(e.to_string()))? {
        request.headers_mut().insert(AUTHORIZATION, token);
    }
    let answered = tokio::time::timeout(ANSWER_TIMEOUT, connection.exchange(request)).await;
    let answer = match answered {
        Ok(answer) => answer.map_err(|e| unreachable(e.to_string()))?,
        Err(_) => return Err(unreachable(format!("no answer within {ANSWER_TIMEOUT:?}"))),
    };
    let (head, body) = answer.into_parts();
    // The connection ends when it is dropped: it stays as long as the body is read.
    let body = body.map_frame(move |frame| {
        let _ = &connection;
        frame
    });
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = head.status;
    copy(&RETURNED, &head.headers, response.headers_mut());
    Ok(response)
}

fn copy(names: &[&'static str], from: &HeaderMap, to: &mut HeaderMap) {
    for name in names {
        if let Some(value) = from.get(*name) {
            to.insert(HeaderName::from_static(name), value.clone());
        }
    }
}

fn options(cluster: &FlinkCluster) -> ClientOptions {
    let token = cluster.token_file.clone();
    let auth = token.map(|path| Auth::Header { kind: "Bearer".to_owned(), credentials: Secret::File(path) });
    ClientOptions { auth: auth.unwrap_or_default(), ..ClientOptions::default() }
}

/// Opens a connection to the first address that takes one.
async fn open<'c>(cluster: &'c FlinkCluster, options: &ClientOptions) -> Result<(Connection<Body>, &'c str), String> {
    let mut reason = "it has no address".to_owned();
    for url in &cluster.urls {
        let Ok(uri) = url.parse::<Uri>() else { continue };
        let opened = tokio::time::timeout(cluster.timeout.std(), Connection::open(&uri, &options.tls)).await;
        match opened {
            Ok(Ok(connection)) => return Ok((connection, url.as_str())),
            Ok(Err(error)) => reason = error.to_string(),
            Err(_) => reason = format!("no connection to {url} within {:?}", cluster.timeout.std()),
        }
    }
    Err(reason)
}
