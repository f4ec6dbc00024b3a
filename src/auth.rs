//! Who may do what, and sees what.
//!
//! A request with a token has the token's rights, wherever it comes from, and sees what belongs to the token's organization
//! ([`tokens`]). One without has the rights of this machine or of others (`auth_local`, `auth_anonymous`), by where it
//! comes from ([`origin`]); a web page of another origin may only read what anyone may. A token that is given must be right. Each route
//! says what it [needs](Need).

mod origin;
mod right;
mod tokens;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ::http::header::AUTHORIZATION;
use ::http::{HeaderMap, HeaderValue};
use model::{Matcher, Scope};
use parking_lot::RwLock;

pub use right::{Right, Rights};
pub use tokens::{Token, new_secret, with_entry};

use crate::config::Config;
use crate::ingest::ORG;
use tokens::Tokens;

/// What a request must be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// The right.
    pub right: Right,
    /// True if it concerns the whole server: a token of one organization does not do.
    pub is_whole: bool,
}

impl Need {
    /// A right, for what the caller sees.
    pub const fn of(right: Right) -> Need {
        Need { right, is_whole: false }
    }

    /// A right, for the whole server.
    pub const fn whole(right: Right) -> Need {
        Need { right, is_whole: true }
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no token, and without one the right is not given: 401.
    #[error("the right to {} needs a token here (Authorization: Bearer …, of auth_token_file)", .0.as_str())]
    Missing(Right),
    /// There is no such token: 401.
    #[error("the token is not known (Authorization: Bearer …, of auth_token_file)")]
    Unknown,
    /// A web page of another origin sent it: 403.
    #[error("refused: the request was made by a page of another origin")]
    Foreign,
    /// The token has not the right: 403.
    #[error("the token {name:?} has not the right to {}", .right.as_str())]
    Insufficient {
        /// The token's name.
        name: Arc<str>,
        /// The right that is needed.
        right: Right,
    },
    /// The token is of one organization, and the request concerns all: 403.
    #[error("the token {name:?} is of one organization, and this concerns the whole server")]
    Confined {
        /// The token's name.
        name: Arc<str>,
    },
}

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Whoever has a token.
    Known(Token),
    /// Somebody without one.
    Anonymous {
        /// What may be done all the same.
        rights: Rights,
        /// True for a page of another origin.
        is_foreign: bool,
    },
    /// Somebody with a token that is none.
    Unknown {
        /// What may be done all the same: nothing where there are tokens.
        rights: Rights,
    },
}

impl Caller {
    /// Checks what a request needs.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check(&self, need: Need) -> Result<(), Denied> {
        let right = need.right;
        match self {
            Caller::Known(token) if !token.rights.has(right) => {
                Err(Denied::Insufficient { name: Arc::clone(&token.name), right })
            }
            Caller::Known(token) if need.is_whole && token.org.is_some() => {
                Err(Denied::Confined { name: Arc::clone(&token.name) })
            }
            Caller::Known(_) => Ok(()),
            Caller::Anonymous { rights, is_foreign } => match (rights.has(right), is_foreign) {
                (true, false) => Ok(()),
                // It may read what anyone may.
                (true, true) if right == Right::Read => Ok(()),
                (_, true) => Err(Denied::Foreign),
                (false, false) => Err(Denied::Missing(right)),
            },
            Caller::Unknown { rights } if rights.has(right) => Ok(()),
            Caller::Unknown { .. } => Err(Denied::Unknown),
        }
    }

    /// The only organization that is seen and written for; none if all are.
    pub fn org(&self) -> Option<&Arc<str>> {
        match self {
            Caller::Known(token) => token.org.as_ref(),
            Caller::Anonymous { .. } | Caller::Unknown { .. } => None,
        }
    }

    /// The same as a text, empty if there is none.
    pub fn org_name(&self) -> &str {
        self.org().map_or("", |org| org)
    }

    /// What every read is confined to.
    pub fn scope(&self) -> Scope {
        self.org().map_or_else(Scope::default, |org| Scope::confined(Matcher::equal(ORG, &**org)))
    }

    /// For logs.
    pub fn name(&self) -> &str {
        match self {
            Caller::Known(token) => &token.name,
            Caller::Anonymous { .. } | Caller::Unknown { .. } => "without a token",
        }
    }
}

/// Knows the callers of a server.
pub struct Auth {
    path: Option<PathBuf>,
    tokens: RwLock<Tokens>,
    local: Rights,
    anonymous: Rights,
    /// With it the server scrapes itself, and reads what it needs to.
    own_secret: String,
    own: Tokens,
}

impl Auth {
    /// Reads the file of tokens, if there is one.
    ///
    /// # Errors
    /// A text for people that names the file.
    pub fn open(config: &Config) -> Result<Auth, String> {
        let path = config.auth_token_file.clone();
        let tokens = path.as_deref().map(Tokens::from_file).transpose()?.unwrap_or_default();
        let own_secret = new_secret()?;
        let own = Token { name: "own".into(), rights: Rights::of(&[Right::Read]), org: None };
        Ok(Auth {
            local: config.auth_local,
            anonymous: config.auth_anonymous.rights(path.is_some()),
            tokens: RwLock::new(tokens),
            path,
            own: Tokens::parse(&with_entry("", &own, &own_secret)?)?,
            own_secret,
        })
    }

    /// Reads the file of tokens again; gives their number.
    ///
    /// # Errors
    /// As [`Auth::open`]; the tokens before go on then.
    pub fn reload(&self) -> Result<usize, String> {
        let Some(path) = &self.path else { return Ok(0) };
        let tokens = Tokens::from_file(path)?;
        let count = tokens.len();
        *self.tokens.write() = tokens;
        Ok(count)
    }

    /// The secret with which the server reads from itself.
    pub fn own_secret(&self) -> &str {
        &self.own_secret
    }

    /// Who makes a request.
    pub fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> Caller {
        let is_foreign = origin::is_foreign(headers);
        let is_local = origin::is_local(peer, headers) && !is_foreign;
        let rights = if is_local { self.local } else { self.anonymous };
        let Some(given) = headers.get(AUTHORIZATION) else { return Caller::Anonymous { rights, is_foreign } };
        let found = bearer(given).and_then(|secret| {
            let own = self.own.find(secret).cloned();
            self.tokens.read().find(secret).cloned().or(own)
        });
        match found {
            Some(token) => Caller::Known(token),
            // Where there are no tokens, clients may send what was meant for somebody else; but they must not control
            // anything with it.
            None if self.path.is_none() => {
                let most = if is_foreign { vec![Right::Read] } else { vec![Right::Read, Right::Write] };
                Caller::Unknown { rights: rights.and(Rights::of(&most)) }
            }
            None => Caller::Unknown { rights: Rights::NONE },
        }
    }
}

/// True if a request carries a bearer token, whichever: for paths whose own API wants one of every caller.
pub fn has_bearer(headers: &HeaderMap) -> bool {
    headers.get(AUTHORIZATION).and_then(bearer).is_some_and(|secret| !secret.is_empty())
}

/// What stands behind `Bearer`.
fn bearer(given: &HeaderValue) -> Option<&str> {
    let (scheme, secret) = given.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

#[cfg(test)]
mod tests;
