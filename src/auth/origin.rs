//! Where a request comes from: this machine or elsewhere, and whether a web page of somebody else made it.

use std::net::IpAddr;

use ::http::HeaderMap;
use ::http::header::{HOST, ORIGIN};

/// What proxies add to the requests that they pass on.
const FORWARDED: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// True if a program on this machine made the request: over loopback, under a name that a page elsewhere cannot have been
/// loaded from by rebinding its own name to loopback, and without a sign of a proxy between.
pub(super) fn is_local(peer: IpAddr, headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    peer.to_canonical().is_loopback() && is_loopback_host(host) && !is_forwarded(headers)
}

/// True if a proxy says that it passes the request on: it may come from anywhere then.
fn is_forwarded(headers: &HeaderMap) -> bool {
    FORWARDED.iter().any(|name| headers.contains_key(*name))
}

/// True if a browser says that a page of another origin made the request.
pub(super) fn is_foreign(headers: &HeaderMap) -> bool {
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
    fn this_machine_is_loopback_under_a_loopback_name() {
        let ask = |peer: &str, host: &str| is_local(peer.parse().unwrap(), &headers(&[("host", host)]));
        assert!(ask("127.0.0.1", "localhost:8082") && ask("127.0.0.1", "[::1]:8082"));
        assert!(ask("::ffff:127.0.0.1", "127.0.0.1") && ask("::1", "LOCALHOST"));
        assert!(!ask("127.0.0.1", "evil.example:8082"), "a name that was bound to loopback");
        assert!(!ask("127.0.0.1", ""));
        assert!(!ask("10.0.0.7", "10.0.0.1:8082") && !ask("10.0.0.7", "localhost"));
    }

    #[test]
    fn what_a_proxy_on_this_machine_passes_on_comes_from_elsewhere() {
        for sign in FORWARDED {
            let passed_on = headers(&[("host", "127.0.0.1:8082"), (sign, "203.0.113.9")]);
            assert!(!is_local("127.0.0.1".parse().unwrap(), &passed_on), "{sign}");
        }
    }

    #[test]
    fn pages_of_other_origins_are_foreign() {
        let ask = |name, value| is_foreign(&headers(&[("host", "localhost:1"), (name, value)]));
        assert!(!ask("origin", "http://localhost:1"), "our own page");
        assert!(ask("origin", "http://localhost:2") && ask("origin", "null") && ask("origin", "localhost:1"));
        assert!(ask("sec-fetch-site", "cross-site") && ask("sec-fetch-site", "same-site"));
        assert!(!ask("sec-fetch-site", "same-origin") && !ask("sec-fetch-site", "none"));
        assert!(!is_foreign(&headers(&[("host", "localhost")])), "no browser");
    }
}
