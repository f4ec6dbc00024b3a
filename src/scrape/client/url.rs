//! The little that is needed of URLs: where a redirect leads, and how parameters are written.

use ::http::Uri;
use ::http::uri::{Parts, PathAndQuery};

/// Where a `Location` leads, seen from a URL.
pub(super) fn join(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    if location.contains("://") {
        return location.parse().ok();
    }
    if let Some(rest) = location.strip_prefix("//") {
        return format!("{}://{rest}", base.scheme_str()?).parse().ok();
    }
    let path = match (location.starts_with('/'), location.starts_with('?')) {
        (true, _) => location.to_owned(),
        (_, true) => format!("{}{location}", base.path()),
        // Relative to the directory of the path.
        _ => format!("{}/{location}", base.path().rsplit_once('/').map_or("", |(directory, _)| directory)),
    };
    let mut parts: Parts = base.clone().into_parts();
    parts.path_and_query = Some(path.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

/// Names and values as a query, sorted by name, escaped as Go's `url.Values.Encode` does.
pub(in crate::scrape) fn encode_query<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<(&str, &str)> = pairs.collect();
    pairs.sort_by_key(|(name, _)| *name);
    let texts: Vec<String> = pairs.iter().map(|(n, v)| format!("{}={}", escape(n), escape(v))).collect();
    texts.join("&")
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_browsers_go() {
        let base: Uri = "http://a:1/b/c?d=e".parse().unwrap();
        for (location, want) in [
            ("https://x/y", "https://x/y"),
            ("//x/y", "http://x/y"),
            ("/y?z", "http://a:1/y?z"),
            ("y", "http://a:1/b/y"),
            ("?q=1", "http://a:1/b/c?q=1"),
            ("/y#part", "http://a:1/y"),
        ] {
            assert_eq!(join(&base, location).unwrap().to_string(), want, "{location}");
        }
        assert_eq!(join(&base, "/a b"), None);
    }

    #[test]
    fn queries_are_escaped_and_sorted() {
        let pairs = [("match[]", "{job=\"a b\"}"), ("a", "é&="), ("match[]", "up")];
        assert_eq!(encode_query(pairs.into_iter()), "a=%C3%A9%26%3D&match%5B%5D=%7Bjob%3D%22a+b%22%7D&match%5B%5D=up");
    }
}
