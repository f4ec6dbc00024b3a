//! Options that say what requests without a token may do.

use super::values::OptionValue;
use crate::auth::{Right, Rights};

impl OptionValue for Rights {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// What requests from elsewhere may do without a token: `auth_anonymous`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anonymous {
    /// Read and write where there are no tokens, nothing where there are.
    Auto,
    /// These, which are never control or administration.
    Rights(Rights),
}

impl Anonymous {
    /// What they are on a server with or without a file of tokens.
    pub fn rights(self, has_tokens: bool) -> Rights {
        match self {
            Anonymous::Rights(rights) => rights,
            Anonymous::Auto if has_tokens => Rights::NONE,
            Anonymous::Auto => Rights::of(&[Right::Read, Right::Write]),
        }
    }
}

impl std::str::FromStr for Anonymous {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Anonymous::Auto);
        }
        let rights: Rights = text.parse()?;
        if rights.has(Right::Control) || rights.has(Right::Admin) {
            return Err(
                "control and admin are never open: they need a token, or a request from this machine".to_owned()
            );
        }
        Ok(Anonymous::Rights(rights))
    }
}

impl OptionValue for Anonymous {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn show(&self) -> String {
        match self {
            Anonymous::Auto => "auto".to_owned(),
            Anonymous::Rights(rights) => rights.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_token_never_controls() {
        for text in ["auto", "none", "read", "write", "read,write"] {
            assert_eq!(Anonymous::parse(text).unwrap().show(), text);
        }
        for text in ["control", "admin", "read,control"] {
            assert!(Anonymous::parse(text).unwrap_err().contains("never open"), "{text}");
        }
        assert!(Anonymous::parse("all").is_err());
        assert_eq!(Anonymous::Auto.rights(true), Rights::NONE);
        assert_eq!(Anonymous::Auto.rights(false).to_string(), "read,write");
    }
}
