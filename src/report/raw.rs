//! One JSON value as it stands in the body: checked for syntax, not yet read.
//!
//! Decoding keeps slices of the body; a value is read only when it is needed, and a value of the wrong type costs its
//! own sample, never the others.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A JSON value as text; the default is a value that is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

/// The types of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Not there at all.
    Absent,
    /// `null`
    Null,
    /// `true`, `false`
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// A list.
    List,
    /// An object.
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Absent => "missing",
            Kind::Null => "null",
            Kind::Boolean => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::List => "a list",
            Kind::Object => "an object",
        })
    }
}

impl<'a> Raw<'a> {
    /// The text of a value whose syntax is known to be right.
    pub(crate) fn of(json: &'a str) -> Self {
        Raw(json)
    }

    /// The text as it stands in the body; empty if there is no value.
    pub fn json(self) -> &'a str {
        self.0
    }

    /// The type.
    pub fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            None => Kind::Absent,
            Some(b'n') => Kind::Null,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'"') => Kind::String,
            Some(b'[') => Kind::List,
            Some(b'{') => Kind::Object,
            Some(_) => Kind::Number,
        }
    }

    /// True if there is no value or `null`.
    pub fn is_none(self) -> bool {
        matches!(self.kind(), Kind::Absent | Kind::Null)
    }

    /// A string; none if there is no value or `null`.
    ///
    /// # Errors
    /// A text that completes "NAME …" if the value has another type, or names half a surrogate pair.
    pub fn text(self) -> Result<Option<Cow<'a, str>>, String> {
        match self.kind() {
            Kind::Absent | Kind::Null => Ok(None),
            Kind::String => self.unescape().map(Some),
            other => Err(format!("must be a string, not {other}")),
        }
    }

    fn unescape(self) -> Result<Cow<'a, str>, String> {
        let inner = self.0.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or_default();
        if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
            return Ok(Cow::Borrowed(inner));
        }
        serde_json::from_str(self.0).map(Cow::Owned).map_err(|_| "is not valid Unicode".to_owned())
    }

    /// A number, read exactly; NaN and infinities are written as strings.
    ///
    /// # Errors
    /// A text that completes "NAME …".
    pub fn number(self) -> Result<f64, String> {
        match self.kind() {
            Kind::Number => {
                // JSON's numbers are a part of what Rust reads; it rounds correctly, where serde_json's own may not.
                let value: f64 = self.0.parse().map_err(|_| "is not a number".to_owned())?;
                if value.is_finite() { Ok(value) } else { Err("is out of the range of a double".to_owned()) }
            }
            Kind::String => named_number(&self.unescape()?)
                .ok_or_else(|| "must be a number; only NaN, Infinity and -Infinity are written as strings".to_owned()),
            Kind::Absent => Err("is missing".to_owned()),
            other => Err(format!("must be a number, not {other}")),
        }
    }

    /// A whole number, also within a string as other calls answer it; none if there is no value or `null`.
    ///
    /// # Errors
    /// A text that completes "NAME …".
    pub fn whole(self) -> Result<Option<i64>, String> {
        let text = match self.kind() {
            Kind::Absent | Kind::Null => return Ok(None),
            Kind::Number => Cow::Borrowed(self.0),
            Kind::String => self.unescape()?,
            other => return Err(format!("must be a whole number, not {other}")),
        };
        text.parse().map(Some).map_err(|_| "must be a whole number".to_owned())
    }
}

fn named_number(text: &str) -> Option<f64> {
    let (sign, name) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if name.eq_ignore_ascii_case("infinity") || name.eq_ignore_ascii_case("inf") {
        Some(sign * f64::INFINITY)
    } else if text.eq_ignore_ascii_case("nan") {
        Some(f64::NAN)
    } else {
        None
    }
}

impl<'de> Deserialize<'de> for Raw<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'de RawValue>::deserialize(deserializer).map(|raw| Raw(raw.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers() {
        assert_eq!(Raw("45.2").number(), Ok(45.2));
        assert_eq!(Raw("-0").number().map(f64::to_bits), Ok((-0.0_f64).to_bits()));
        assert_eq!(Raw(r#""-Infinity""#).number(), Ok(f64::NEG_INFINITY));
        assert_eq!(Raw(r#""+Inf""#).number(), Ok(f64::INFINITY));
        assert!(Raw(r#""NaN""#).number().unwrap().is_nan());
        for bad in ["1e999", r#""45.2""#, r#""""#, r#""-NaN""#, "true", "null", "[1]", "{}", ""] {
            assert!(Raw(bad).number().is_err(), "{bad}");
        }
    }

    #[test]
    fn texts_and_whole_numbers() {
        assert_eq!(Raw(r#""a\u00e9\n""#).text(), Ok(Some(Cow::Borrowed("aé\n"))));
        assert_eq!(Raw("null").text(), Ok(None));
        assert_eq!(Raw(r#""\ud800""#).text(), Err("is not valid Unicode".to_owned()));
        assert_eq!(Raw("1").text(), Err("must be a string, not a number".to_owned()));
        assert_eq!(Raw(r#""12""#).whole(), Ok(Some(12)));
        assert_eq!(Raw("-12").whole(), Ok(Some(-12)));
        assert!(Raw("1.0").whole().is_err());
        assert!(Raw("true").whole().is_err());
    }

    proptest! {
        /// Every double comes back bit for bit from its shortest text.
        #[test]
        fn doubles_are_exact(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                let text = serde_json::to_string(&value).unwrap();
                prop_assert_eq!(Raw(&text).number().map(f64::to_bits), Ok(bits));
            }
        }
    }
}
