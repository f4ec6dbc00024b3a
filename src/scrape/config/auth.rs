//! Reads how servers are spoken to: `basic_auth`, `authorization`, `bearer_token`, `tls_config`.

use super::keys;
use super::section::{Reader, Section};
use super::{Auth, ClientOptions, Pem, Secret, TlsOptions};

/// Versions of TLS by their names in files. Below 1.2 nothing is spoken, so those set no other bound.
const TLS_VERSIONS: [&str; 4] = ["TLS10", "TLS11", "TLS12", "TLS13"];

/// Reads the keys of Prometheus's HTTP client from a section that has them.
pub(super) fn client(reader: &mut Reader, section: Section<'_>) -> ClientOptions {
    ClientOptions {
        auth: auth(reader, section),
        tls: tls(reader, section),
        redirects_refused: !reader.bool(section, "follow_redirects", true),
    }
}

fn auth(reader: &mut Reader, section: Section<'_>) -> Auth {
    let given: Vec<&str> = ["basic_auth", "authorization", "bearer_token", "bearer_token_file"]
        .into_iter()
        .filter(|key| section.get(key).is_some())
        .collect();
    if let [_, second, ..] = given.as_slice() {
        let message = format!(
            "at most one of basic_auth, authorization, bearer_token and bearer_token_file may be set, here are {}",
            given.join(" and ")
        );
        reader.error(section.line_of(second), message);
        return Auth::None;
    }
    match given.first().copied() {
        Some("basic_auth") => basic(reader, section),
        Some("authorization") => authorization(reader, section),
        Some(_) => secret(reader, section, "bearer_token")
            .map_or(Auth::None, |credentials| Auth::Header { kind: "Bearer".to_owned(), credentials }),
        None => Auth::None,
    }
}

fn basic(reader: &mut Reader, parent: Section<'_>) -> Auth {
    let Some(node) = parent.get("basic_auth") else { return Auth::None };
    let section = reader.section(node, &keys::BASIC_AUTH);
    let empty = || Secret::Text(String::new());
    Auth::Basic {
        username: secret(reader, section, "username").unwrap_or_else(empty),
        password: secret(reader, section, "password").unwrap_or_else(empty),
    }
}

fn authorization(reader: &mut Reader, parent: Section<'_>) -> Auth {
    let Some(node) = parent.get("authorization") else { return Auth::None };
    let section = reader.section(node, &keys::AUTHORIZATION);
    let kind = reader.text(section, "type").map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
    let kind = kind.unwrap_or_else(|| "Bearer".to_owned());
    if kind.eq_ignore_ascii_case("basic") {
        reader
            .error(section.line_of("type"), r#"authorization type cannot be set to "basic", use "basic_auth" instead"#);
    }
    secret(reader, section, "credentials").map_or(Auth::None, |credentials| Auth::Header { kind, credentials })
}

/// Takes `USER:PASSWORD@` out of a URL.
pub(super) fn credentials_in_url(url: &str) -> Option<(String, Auth)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (credentials, host) = authority.rsplit_once('@')?;
    let (username, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let text = |text: &str| Secret::Text(percent_decoded(text));
    let auth = Auth::Basic { username: text(username), password: text(password) };
    let path = rest.get(authority.len()..)?;
    Some((format!("{scheme}://{host}{path}"), auth))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..2).filter(|_| *first == b'%').and_then(|c| std::str::from_utf8(c).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads `KEY` or `KEY_file`.
fn secret(reader: &mut Reader, section: Section<'_>, key: &str) -> Option<Secret> {
    let file_key = format!("{key}_file");
    let text = reader.text(section, key).filter(|t| !t.is_empty());
    let file = reader.file(section, &file_key);
    match (text, file) {
        (Some(_), Some(_)) => {
            reader.error(section.line_of(&file_key), format!("at most one of {key} and {file_key} may be set"));
            None
        }
        (Some(text), None) => Some(Secret::Text(text)),
        (None, file) => file.map(Secret::File),
    }
}

fn tls(reader: &mut Reader, parent: Section<'_>) -> TlsOptions {
    let Some(node) = parent.get("tls_config") else { return TlsOptions::default() };
    let section = reader.section(node, &keys::TLS);
    let (min, max) = (tls_version(reader, section, "min_version"), tls_version(reader, section, "max_version"));
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        reader.error(
            section.line_of("max_version"),
            "tls_config.max_version must be greater than or equal to tls_config.min_version if both are specified",
        );
    }
    if max.is_some_and(|max| max < 2) {
        reader.error(section.line_of("max_version"), "TLS below 1.2 is not spoken");
    }
    TlsOptions {
        ca: secret(reader, section, "ca"),
        client: client_certificate(reader, section),
        server_name: reader.text(section, "server_name").filter(|name| !name.is_empty()),
        insecure_skip_verify: reader.bool(section, "insecure_skip_verify", false),
        only_1_3: min == Some(3),
        only_1_2: max == Some(2),
    }
}

fn client_certificate(reader: &mut Reader, section: Section<'_>) -> Option<(Pem, Pem)> {
    match (secret(reader, section, "cert"), secret(reader, section, "key")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => {
            reader.error(
                section.line,
                "exactly one of key or key_file must be configured when a client certificate is configured",
            );
            None
        }
        (None, Some(_)) => {
            reader.error(
                section.line,
                "exactly one of cert or cert_file must be configured when a client key is configured",
            );
            None
        }
    }
}

fn tls_version(reader: &mut Reader, section: Section<'_>, key: &str) -> Option<usize> {
    let text = reader.text(section, key)?;
    let version = TLS_VERSIONS.iter().position(|name| *name == text);
    if version.is_none() {
        reader.error(
            section.line_of(key),
            format!("{key}: unknown TLS version {text}, known are {}", TLS_VERSIONS.join(", ")),
        );
    }
    version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_of_urls() {
        let text = |t: &str| Secret::Text(t.to_owned());
        let (url, auth) = credentials_in_url("https://u%40x:p%3A%zz@h:1/a@b?c").unwrap();
        assert_eq!(url, "https://h:1/a@b?c");
        assert_eq!(auth, Auth::Basic { username: text("u@x"), password: text("p:%zz") });
        assert_eq!(credentials_in_url("https://h/a@b"), None);
    }
}
