//! Which format a reader wants (`Accept`), and which a target sent (`Content-Type`).

use ::http::HeaderMap;
use ::http::header::ACCEPT;

use super::{Escaping, Format};

/// A format with all that its content type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// The format.
    pub format: Format,
    /// What becomes of names that are not plain.
    pub escaping: Escaping,
    version: &'static str,
}

impl Negotiated {
    /// Text 0.0.4, which everybody reads.
    pub const TEXT: Negotiated = Negotiated { format: Format::Text, escaping: Escaping::Underscores, version: "0.0.4" };

    /// For the header `Content-Type`.
    pub fn content_type(&self) -> String {
        let kind = match self.format {
            Format::Text => "text/plain",
            Format::OpenMetrics => "application/openmetrics-text",
        };
        // Readers of 0.0.4 know no escaping and might not expect the word.
        let escaping = match self.version {
            "0.0.4" => String::new(),
            _ => format!("; escaping={}", self.escaping.as_str()),
        };
        format!("{kind}; version={}; charset=utf-8{escaping}", self.version)
    }
}

/// The best format that the reader accepts; text 0.0.4 if it says nothing that we know.
pub fn negotiate(headers: &HeaderMap, open_metrics: bool) -> Negotiated {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    let mut best = (0.0, Negotiated::TEXT);
    for item in accepted {
        if let Some((quality, offer)) = offer(item, open_metrics)
            && quality > best.0
        {
            best = (quality, offer);
        }
    }
    best.1
}

/// A media range with its quality, if it is one of ours.
fn offer(item: &str, open_metrics: bool) -> Option<(f64, Negotiated)> {
    let mut parts = item.split(';').map(str::trim);
    let kind = parts.next()?.to_ascii_lowercase();
    let (mut quality, mut version, mut escaping) = (1.0, "", None);
    for (name, value) in parts.filter_map(|p| p.split_once('=')) {
        match name.trim() {
            "q" => quality = value.trim().parse().ok()?,
            "version" => version = value.trim(),
            "escaping" => escaping = Escaping::from_name(value.trim()),
            _ => {}
        }
    }
    let named = |format, version| Negotiated { format, escaping: escaping.unwrap_or(Escaping::Underscores), version };
    let negotiated = match (kind.as_str(), version) {
        ("application/openmetrics-text", "1.0.0" | "") if open_metrics => named(Format::OpenMetrics, "1.0.0"),
        ("application/openmetrics-text", "0.0.1") if open_metrics => named(Format::OpenMetrics, "0.0.1"),
        ("text/plain", "1.0.0") => named(Format::Text, "1.0.0"),
        ("text/plain" | "text/*", "0.0.4" | "") | ("*/*", _) => Negotiated::TEXT,
        _ => return None,
    };
    Some((quality, negotiated))
}

/// The format of a content type; none for one that is neither (a scraper then uses its fallback or fails).
pub fn format_of_content_type(content_type: &str) -> Option<Format> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/openmetrics-text") {
        Some(Format::OpenMetrics)
    } else if kind.eq_ignore_ascii_case("text/plain") {
        Some(Format::Text)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(accept: &str, open_metrics: bool) -> String {
        let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
        negotiate(&headers, open_metrics).content_type()
    }

    #[test]
    fn the_best_known_format_wins() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                          text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        assert_eq!(
            asked(prometheus, true),
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
        );
        assert_eq!(asked(prometheus, false), "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8");
        for accept in ["text/html,*/*;q=0.8", "text/plain", "application/json", "nonsense;q=x", ""] {
            assert_eq!(asked(accept, true), "text/plain; version=0.0.4; charset=utf-8", "{accept}");
        }
        assert_eq!(negotiate(&HeaderMap::new(), true), Negotiated::TEXT);
    }

    #[test]
    fn content_types() {
        assert_eq!(format_of_content_type("text/plain; version=0.0.4"), Some(Format::Text));
        assert_eq!(format_of_content_type("application/openmetrics-text"), Some(Format::OpenMetrics));
        assert_eq!(format_of_content_type("text/html"), None);
    }
}
