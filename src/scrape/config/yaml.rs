//! A YAML document as a tree of nodes with the line of each, and scalars as they are written.
//!
//! Prometheus reads `80` or `yes` into a text as those letters; a typed reading would make `1.0` a `1`. So a scalar keeps
//! its text here, and what it means is decided by whoever asks for it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_saphyr::{Location, Spanned};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// From 1; the line of the alias if the value stands at an anchor.
    pub(crate) line: u64,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    /// The letters with their meaning.
    Bool(String, bool),
    /// A number without quotes, as it is written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One pair of a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// The line of the key.
    pub(crate) line: u64,
    pub(crate) node: Node,
}

/// A document that is not YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// From 1; 0 if unknown.
    pub(crate) line: u64,
    pub(crate) message: String,
}

/// Reads a document; an empty one is null.
pub(crate) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let options = serde_saphyr::options! { with_snippet: false };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Ok(raw.value.into_node(raw.referenced, raw.defined, text)),
        // A document of comments alone has no node.
        Err(_) if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) => {
            Ok(Node { line: 1, value: Value::Null })
        }
        Err(error) => {
            let line = error.location().map_or(0, |location| location.line());
            Err(SyntaxError { line, message: error.without_snippet().to_string() })
        }
    }
}

/// A value as serde gives it, before the letters of its scalars are looked up.
enum Raw {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl Raw {
    fn into_node(self, referenced: Location, defined: Location, text: &str) -> Node {
        let node = |raw: Spanned<Raw>| raw.value.into_node(raw.referenced, raw.defined, text);
        let value = match self {
            Raw::Null => Value::Null,
            Raw::Bool(value) => Value::Bool(letters(defined, text).unwrap_or_else(|| value.to_string()), value),
            Raw::Number(value) => Value::Number(letters(defined, text).unwrap_or(value)),
            Raw::Text(value) => Value::Text(value),
            Raw::List(list) => Value::List(list.into_iter().map(node).collect()),
            Raw::Map(map) => Value::Map(
                map.into_iter()
                    .map(|(key, value)| {
                        let line = key.referenced.line();
                        Entry { key: node(key).scalar().unwrap_or_default().to_owned(), line, node: node(value) }
                    })
                    .collect(),
            ),
        };
        Node { line: referenced.line(), value }
    }
}

/// The letters at a place in the source.
fn letters(location: Location, text: &str) -> Option<String> {
    let start = usize::try_from(location.span().byte_offset()?).ok()?;
    let length = usize::try_from(location.span().byte_len()?).ok()?;
    let letters = text.get(start..start.checked_add(length)?)?.trim();
    (!letters.is_empty()).then(|| letters.to_owned())
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = access.next_element()? {
            list.push(element);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = access.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

impl Node {
    /// The letters of a scalar; none for null, lists and maps.
    pub(crate) fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Number(text) | Value::Bool(text, _) => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(..) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The same tree with the values of secret keys replaced, at any depth.
    pub(crate) fn redacted(&self, is_secret: &dyn Fn(&str) -> bool) -> Node {
        let value = match &self.value {
            Value::List(list) => Value::List(list.iter().map(|node| node.redacted(is_secret)).collect()),
            Value::Map(map) => Value::Map(map.iter().map(|entry| entry.redacted(is_secret)).collect()),
            Value::Text(text) => Value::Text(without_password(text)),
            other => other.clone(),
        };
        Node { line: self.line, value }
    }
}

/// A URL without the password that may stand in it; any other text as it is.
fn without_password(text: &str) -> String {
    let hidden = || {
        let (scheme, rest) = text.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let (credentials, host) = authority.rsplit_once('@')?;
        let (username, _) = credentials.split_once(':')?;
        Some(format!("{scheme}://{username}:<secret>@{host}{}", rest.get(authority.len()..)?))
    };
    hidden().unwrap_or_else(|| text.to_owned())
}

impl Entry {
    fn redacted(&self, is_secret: &dyn Fn(&str) -> bool) -> Entry {
        let node = match (is_secret(&self.key), self.node.scalar()) {
            (true, Some(_)) => Node { line: self.node.line, value: Value::Text("<secret>".to_owned()) },
            _ => self.node.redacted(is_secret),
        };
        Entry { key: self.key.clone(), line: self.line, node }
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(_, value) => serializer.serialize_bool(*value),
            Value::Number(text) => match text.parse::<i64>() {
                Ok(value) => serializer.serialize_i64(value),
                Err(_) => serializer.serialize_str(text),
            },
            Value::Text(text) => serializer.serialize_str(text),
            Value::List(list) => {
                let mut seq = serializer.serialize_seq(Some(list.len()))?;
                list.iter().try_for_each(|node| seq.serialize_element(node))?;
                seq.end()
            }
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|entry| map.serialize_entry(&entry.key, &entry.node))?;
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(node: &'a Node, key: &str) -> &'a Entry {
        let Value::Map(map) = &node.value else { panic!("{node:?}") };
        map.iter().find(|e| e.key == key).unwrap()
    }

    #[test]
    fn scalars_keep_their_letters_and_lines() {
        let node =
            parse("# first\na: 1.0\nb: yes\nc: '5'\nd: 0x1F\ne: 1e3\nf: nan\n\ng:\n- x: ~\n  80: 007\n").unwrap();
        for (key, text, line) in
            [("a", "1.0", 2), ("b", "yes", 3), ("c", "5", 4), ("d", "0x1F", 5), ("e", "1e3", 6), ("f", "nan", 7)]
        {
            let entry = entry(&node, key);
            assert_eq!((entry.node.scalar(), entry.line), (Some(text), line), "{key}");
        }
        assert!(matches!(entry(&node, "c").node.value, Value::Text(_)), "quoted is a text");
        let Value::List(list) = &entry(&node, "g").node.value else { panic!() };
        assert_eq!(entry(&list[0], "x").node.value, Value::Null);
        let octal = entry(&list[0], "80");
        assert_eq!((octal.node.scalar(), octal.line), (Some("007"), 11));
    }

    #[test]
    fn anchors_and_merge_keys_are_followed() {
        let node = parse("base: &b\n  t: 1.50\n  u: x\nmore:\n  <<: *b\n  u: y\nref: *b\n").unwrap();
        assert_eq!(entry(&entry(&node, "more").node, "t").node.scalar(), Some("1.50"));
        assert_eq!(entry(&entry(&node, "more").node, "u").node.scalar(), Some("y"));
        assert_eq!(entry(&entry(&node, "ref").node, "u").node.scalar(), Some("x"));
    }

    #[test]
    fn what_is_not_yaml_is_refused_with_its_line() {
        assert_eq!(parse("").unwrap().value, Value::Null);
        assert_eq!(parse("# only a comment\n\n").unwrap().value, Value::Null);
        for (text, line) in [("a: 1\nb: [1, 2\n", 2), ("a: 1\na: 2\n", 2), ("a: 1\n\tb: 2\n", 1)] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}: {}", error.message);
        }
        let bomb = (1..12).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, i| {
            let before = format!("*a{},", i - 1).repeat(9);
            format!("{text}a{i}: &a{i} [{before}]\n")
        });
        assert!(parse(&bomb).is_err(), "expansion is bounded");
    }

    #[test]
    fn secrets_are_redacted_at_any_depth() {
        let node = parse("a:\n- password: x\n  username: u\n  n: 5\n  url: http://me:x@h/p\n").unwrap();
        let text = serde_saphyr::to_string(&node.redacted(&|key| key == "password")).unwrap();
        assert!(text.contains("password: <secret>") && text.contains("username: u") && !text.contains('x'), "{text}");
        assert!(text.contains("me:<secret>@h/p"), "{text}");
        assert!(parse(&text).is_ok(), "{text}");
    }
}
