//! The file of tokens: what it says, how it is checked, and how a token is made and found.
//!
//! A TOML table `[[token]]` each, with `name` (for logs), `sha256` (of the secret, in hex), `rights` and, for one that is
//! confined to an organization, `org`. Only the hash is kept. Secrets are 256 random bits, which nobody tries out, so one
//! round of SHA-256 is as good as any slow hash; it is computed and compared with all entries in constant time.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SecureRandom;
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::right::{Right, Rights};

/// Most tokens of a file: each request with a token is compared with all.
const TOKENS_MAX: usize = 1000;
/// Largest file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Longest name of a token, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Longest name of an organization, in bytes, as the job store has it.
const ORG_BYTES_MAX: usize = 255;
/// Bytes of a secret before they are written as text.
const SECRET_BYTES: usize = 32;
/// What secrets begin with, so that people and scanners know one that stands where it should not.
const SECRET_PREFIX: &str = "sgt_";

/// SHA-256 of a secret.
type Hash = [u8; 32];

/// Whoever has the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// For logs.
    pub name: Arc<str>,
    /// What it may do.
    pub rights: Rights,
    /// The only organization that it sees; none sees all.
    pub org: Option<Arc<str>>,
}

/// All tokens of a file.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    entries: Vec<(Hash, Token)>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    token: Vec<WrittenToken>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenToken {
    name: String,
    sha256: String,
    rights: Vec<Right>,
    org: Option<String>,
}

impl Tokens {
    /// Reads a file.
    pub(super) fn from_file(path: &Path) -> Result<Tokens, String> {
        let wrong = |message: String| format!("{}: {message}", path.display());
        let mut text = String::new();
        let opened = std::fs::File::open(path).map_err(|e| wrong(e.to_string()))?;
        opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|e| wrong(e.to_string()))?;
        Tokens::parse(&text).map_err(wrong)
    }

    pub(super) fn parse(text: &str) -> Result<Tokens, String> {
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("the file of tokens is larger than {FILE_BYTES_MAX} bytes"));
        }
        let written: Written = toml::from_str(text).map_err(|e| {
            format!("{} (`streamgauge token` makes tokens and adds them to the file)", e.to_string().trim_end())
        })?;
        if written.token.len() > TOKENS_MAX {
            return Err(format!("{} tokens are more than {TOKENS_MAX}", written.token.len()));
        }
        let mut tokens = Tokens::default();
        for (i, written) in written.token.into_iter().enumerate() {
            let name = written.name.clone();
            let entry = entry(written).map_err(|message| format!("token {} ({name:?}): {message}", i + 1))?;
            let is_there = |(hash, token): &(Hash, Token)| *hash == entry.0 || token.name == entry.1.name;
            if tokens.entries.iter().any(is_there) {
                return Err(format!("token {} ({name:?}): another one has its name or its hash", i + 1));
            }
            tokens.entries.push(entry);
        }
        Ok(tokens)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The token with this secret. All are compared, so that the time says nothing of where one stands.
    pub(super) fn find(&self, secret: &str) -> Option<&Token> {
        let given = hash(secret);
        let mut found = None;
        for (hash, token) in &self.entries {
            if bool::from(hash.ct_eq(&given)) {
                found = Some(token);
            }
        }
        found
    }
}

fn entry(written: WrittenToken) -> Result<(Hash, Token), String> {
    let WrittenToken { name, sha256, rights, org } = written;
    check_name("name", &name, NAME_BYTES_MAX)?;
    if let Some(org) = &org {
        check_name("org", org, ORG_BYTES_MAX)?;
    }
    let hash = from_hex(&sha256).ok_or("sha256 is not 64 hex digits")?;
    if rights.is_empty() {
        return Err("rights has none of read, write, control, admin".to_owned());
    }
    Ok((hash, Token { name: name.into(), rights: Rights::of(&rights), org: org.map(Arc::from) }))
}

fn check_name(field: &str, name: &str, bytes_max: usize) -> Result<(), String> {
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(format!("{field} is empty or has control characters"));
    }
    if name.len() > bytes_max {
        return Err(format!("{field} has {} bytes, more than {bytes_max}", name.len()));
    }
    Ok(())
}

fn hash(secret: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, secret.as_bytes()).as_ref());
    hash
}

fn from_hex(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if text.len() != 2 * hash.len() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (i, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// A new secret of 256 random bits.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_secret() -> Result<String, String> {
    let mut bytes = [0; SECRET_BYTES];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no random bytes".to_owned())?;
    Ok(format!("{SECRET_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}

/// The text with an entry for a token behind it.
///
/// # Errors
/// The text is no file of tokens, or would not be one any more.
pub fn with_entry(text: &str, token: &Token, secret: &str) -> Result<String, String> {
    Tokens::parse(text)?;
    let mut new = text.to_owned();
    if !new.is_empty() {
        new.push_str(if new.ends_with('\n') { "\n" } else { "\n\n" });
    }
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let digits: String = hash(secret).iter().map(|byte| format!("{byte:02x}")).collect();
    let rights: Vec<String> = token.rights.iter().map(|right| quoted(right.as_str())).collect();
    new.push_str(&format!("[[token]]\nname = {}\nsha256 = \"{digits}\"\n", quoted(&token.name)));
    new.push_str(&format!("rights = [{}]\n", rights.join(", ")));
    if let Some(org) = &token.org {
        new.push_str(&format!("org = {}\n", quoted(org)));
    }
    Tokens::parse(&new)?;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, digit: &str, more: &str) -> String {
        format!("[[token]]\nname = {name:?}\nsha256 = \"{}\"\n{more}\n", digit.repeat(64 / digit.len()))
    }

    fn wrong(text: &str) -> String {
        Tokens::parse(text).map(|tokens| tokens.len()).unwrap_err()
    }

    #[test]
    fn a_secret_finds_its_token_and_nothing_else_does() {
        // printf abc | sha256sum
        let of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let text = format!(
            "{}{}",
            written("a", of_abc, "rights = [\"read\"]\norg = \"o\""),
            written("b", "0", "rights = [\"admin\"]")
        );
        let tokens = Tokens::parse(&text).unwrap();
        let found = tokens.find("abc").unwrap();
        assert_eq!((&*found.name, found.rights, found.org.as_deref()), ("a", Rights::of(&[Right::Read]), Some("o")));
        for other in ["", "ab", "abcd", of_abc, "ABC"] {
            assert_eq!(tokens.find(other), None, "{other:?}");
        }
        assert_eq!(Tokens::default().find("abc"), None);
    }

    #[test]
    fn an_added_entry_is_read_back() {
        let token = Token {
            name: "ci \"x\"".into(),
            rights: Rights::of(&[Right::Write, Right::Read]),
            org: Some("ö\\".into()),
        };
        let secret = new_secret().unwrap();
        assert!(secret.starts_with(SECRET_PREFIX) && secret.len() == SECRET_PREFIX.len() + 43, "{secret}");
        assert_ne!(secret, new_secret().unwrap());
        let first = with_entry("# ours", &token, &secret).unwrap();
        assert!(first.starts_with("# ours\n\n[[token]]\n") && !first.contains(&secret), "{first}");
        assert_eq!(Tokens::parse(&first).unwrap().find(&secret), Some(&token));
        assert!(with_entry(&first, &token, "other").unwrap_err().contains("another one has its name"));
        let other = Token { name: "other".into(), org: None, ..token };
        assert!(with_entry(&first, &other, &secret).unwrap_err().contains("or its hash"));
        let both = with_entry(&first, &other, "other").unwrap();
        assert_eq!(Tokens::parse(&both).unwrap().len(), 2);
        let nobody = Token { rights: Rights::NONE, name: "nobody".into(), org: None };
        assert!(with_entry("", &nobody, "x").unwrap_err().contains("rights has none"));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        for (text, message) in [
            ("just-a-secret\n".to_owned(), "streamgauge token"),
            ("[[token]]\nname = \"a\"\n".to_owned(), "sha256"),
            (written("a", "0", ""), "rights"),
            (written("a", "0", "rights = []"), "token 1 (\"a\"): rights has none of read, write, control, admin"),
            (written("a", "0", "rights = [\"root\"]"), "root"),
            (written("a", "0", "rights = [\"read\"]\nscope = 1"), "scope"),
            (written("", "0", "rights = [\"read\"]"), "name is empty"),
            (written("a", "0", "rights = [\"read\"]\norg = \"\""), "org is empty"),
            (written("a", "0", "rights = [\"read\"]\norg = \"\\u0007\""), "control characters"),
            (written("a", "g", "rights = [\"read\"]"), "64 hex digits"),
            (written("a", "0", "rights = [\"read\"]").replacen("0000", "000", 1), "64 hex digits"),
        ] {
            let said = wrong(&text);
            assert!(said.contains(message), "{text}\n{said}");
        }
    }

    #[test]
    fn limits_hold_at_n_and_n_plus_1() {
        let rights = "rights = [\"read\"]";
        let many = |count: usize| {
            (0..count).map(|i| written(&format!("n{i}"), &format!("{i:064x}"), rights)).collect::<String>()
        };
        assert_eq!(Tokens::parse(&many(TOKENS_MAX)).unwrap().len(), TOKENS_MAX);
        assert_eq!(wrong(&many(TOKENS_MAX + 1)), "1001 tokens are more than 1000");
        let named = |bytes: usize| written(&"n".repeat(bytes), "0", rights);
        assert!(Tokens::parse(&named(NAME_BYTES_MAX)).is_ok());
        assert!(wrong(&named(NAME_BYTES_MAX + 1)).contains("name has 65 bytes, more than 64"));
        let of = |bytes: usize| written("a", "0", &format!("{rights}\norg = {:?}", "o".repeat(bytes)));
        assert!(Tokens::parse(&of(ORG_BYTES_MAX)).is_ok());
        assert!(wrong(&of(ORG_BYTES_MAX + 1)).contains("org has 256 bytes, more than 255"));
        let file = |bytes: usize| "#".repeat(bytes);
        assert!(Tokens::parse(&file(FILE_BYTES_MAX as usize)).is_ok());
        assert!(wrong(&file(FILE_BYTES_MAX as usize + 1)).contains("larger than 1048576 bytes"));
    }
}
