//! Who may administer: requests from this machine that no foreign web page made, or requests with the token.

use std::net::IpAddr;
use std::path::Path;

use ::http::HeaderMap;
use ::http::header::{AUTHORIZATION, HOST, ORIGIN};
use subtle::ConstantTimeEq;

/// What proxies add to the requests that they pass on.
const FORWARDED: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// The token for administration.
pub struct Token(String);

impl Token {
    /// Reads the token from a file; white space around it does not count.
    ///
    /// # Errors
    /// A text for people that names the file.
    pub fn from_file(path: &Path) -> Result<Token, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let token = text.trim();
        if token.is_empty() {
            return Err(format!("{}: the token is empty", path.display()));
        }
        Ok(Token(token.to_owned()))
    }

    /// The secret itself, for who asks another server with it.
    pub fn secret(&self) -> &str {
        &self.0
    }

    fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// What a request is refused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// A token is needed, and none or a wrong one was given: 401.
    Unauthorized,
    /// A web page of another origin sent it: 403.
    Foreign,
}

impl Denied {
    /// For people.
    pub fn message(self) -> &'static str {
        match self {
            Denied::Unauthorized => {
                "administration from beyond loopback needs the token of auth_token_file (Authorization: Bearer …)"
            }
            Denied::Foreign => "refused: the request was made by a page of another origin",
        }
    }
}

/// Decides whether a request may administer. A token that is given must be right, wherever the request comes from.
///
/// # Errors
/// [`Denied`].
pub fn may_administer(token: Option<&Token>, peer: IpAddr, headers: &HeaderMap) -> Result<(), Denied> {
    let bearer = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    if let Some(given) = bearer {
        let (scheme, given) = given.split_once(' ').unwrap_or_default();
        let is_right = scheme.eq_ignore_ascii_case("bearer") && token.is_some_and(|t| t.is(given.trim()));
        return if is_right { Ok(()) } else { Err(Denied::Unauthorized) };
    }
    if is_foreign(headers) {
        return Err(Denied::Foreign);
    }
    let host = headers.get(HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let is_here = peer.to_canonical().is_loopback() && is_loopback_host(host) && !is_forwarded(headers);
    if is_here { Ok(()) } else { Err(Denied::Unauthorized) }
}

/// True if a proxy says that it passes the request on: it may come from anywhere then.
fn is_forwarded(headers: &HeaderMap) -> bool {
    FORWARDED.iter().any(|name| headers.contains_key(*name))
}

/// True if a browser says that a page of another origin made the request.
fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    if text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return true;
    }
    let host = headers.get(HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    headers.get(ORIGIN).is_some_and(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        origin.split_once("://").is_none_or(|(_, authority)| authority != host)
    })
}

/// A name that a page elsewhere cannot have been loaded from by rebinding its own name to loopback.
fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn loopback_without_a_foreign_page_or_the_token() {
        let token = Token("secret".to_owned());
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        let there: IpAddr = "10.0.0.7".parse().unwrap();
        let ask = |peer, pairs: &[(&'static str, &str)]| may_administer(Some(&token), peer, &headers(pairs));
        assert_eq!(ask(here, &[("host", "localhost:8082")]), Ok(()));
        assert_eq!(ask(here, &[("host", "[::1]:8082")]), Ok(()));
        assert_eq!(ask("::ffff:127.0.0.1".parse().unwrap(), &[("host", "127.0.0.1")]), Ok(()));
        assert_eq!(ask(here, &[("host", "evil.example:8082")]), Err(Denied::Unauthorized));
        assert_eq!(ask(there, &[("host", "10.0.0.1:8082")]), Err(Denied::Unauthorized));
        assert_eq!(ask(there, &[("host", "a"), ("authorization", "Bearer secret")]), Ok(()));
        assert_eq!(ask(there, &[("host", "a"), ("authorization", "Bearer secre")]), Err(Denied::Unauthorized));
        for given in ["bearer secret", "BEARER  secret"] {
            assert_eq!(ask(there, &[("host", "a"), ("authorization", given)]), Ok(()), "{given}");
        }
        for given in ["Basic x", "Basic secret", "secret", "Bearer", "Bearersecret"] {
            let asked = ask(here, &[("host", "localhost"), ("authorization", given)]);
            assert_eq!(asked, Err(Denied::Unauthorized), "{given}");
        }
        assert_eq!(ask(here, &[("host", "localhost:1"), ("origin", "http://localhost:1")]), Ok(()), "our own page");
        assert_eq!(ask(here, &[("host", "localhost:1"), ("origin", "http://localhost:2")]), Err(Denied::Foreign));
        assert_eq!(ask(here, &[("host", "localhost:1"), ("origin", "null")]), Err(Denied::Foreign));
        assert_eq!(ask(here, &[("host", "localhost"), ("sec-fetch-site", "cross-site")]), Err(Denied::Foreign));
        assert_eq!(ask(here, &[("host", "localhost"), ("sec-fetch-site", "same-origin")]), Ok(()));
    }

    #[test]
    fn what_a_proxy_on_this_machine_passes_on_needs_the_token() {
        let token = Token("secret".to_owned());
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        let ask = |pairs: &[(&'static str, &str)]| may_administer(Some(&token), here, &headers(pairs));
        let signs = [
            ("x-forwarded-for", "203.0.113.9"),
            ("forwarded", "for=203.0.113.9"),
            ("x-real-ip", "203.0.113.9"),
            ("x-forwarded-host", "metrics.example"),
            ("via", "1.1 proxy"),
        ];
        for sign in signs {
            assert_eq!(ask(&[("host", "127.0.0.1:8082"), sign]), Err(Denied::Unauthorized), "{sign:?}");
            assert_eq!(ask(&[("host", "127.0.0.1:8082"), sign, ("authorization", "Bearer secret")]), Ok(()));
        }
    }
}
