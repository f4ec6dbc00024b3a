//! What a request may do, in four words.

use serde::Deserialize;

/// One of the things that requests do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Ask for samples, series, jobs, and what the server says of itself.
    Read,
    /// Bring samples, and say what components and jobs do.
    Write,
    /// Act on jobs: cancel, stop, savepoints, jars.
    Control,
    /// Change what is stored and how the server works: deletes, retention, snapshots, reload.
    Admin,
}

impl Right {
    /// All of them.
    pub const ALL: [Right; 4] = [Right::Read, Right::Write, Right::Control, Right::Admin];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::Write => "write",
            Right::Control => "control",
            Right::Admin => "admin",
        }
    }
}

/// A set of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(u8);

impl Rights {
    /// No right.
    pub const NONE: Rights = Rights(0);
    /// Every right.
    pub const ALL: Rights = Rights(0b1111);

    /// The set of these; who may administer may do everything.
    pub fn of(rights: &[Right]) -> Rights {
        if rights.contains(&Right::Admin) {
            return Rights::ALL;
        }
        Rights(rights.iter().fold(0, |all, right| all | bit(*right)))
    }

    /// True if the right is among them.
    pub fn has(self, right: Right) -> bool {
        self.0 & bit(right) != 0
    }

    /// The rights that both have.
    pub fn and(self, other: Rights) -> Rights {
        Rights(self.0 & other.0)
    }

    /// Those that are in the set.
    pub fn iter(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |right| self.has(*right))
    }
}

fn bit(right: Right) -> u8 {
    1 << right as u8
}

impl std::fmt::Display for Rights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<&str> = self.iter().map(Right::as_str).collect();
        f.write_str(if words.is_empty() { "none" } else { "" })?;
        f.write_str(&words.join(","))
    }
}

impl std::str::FromStr for Rights {
    type Err = String;

    /// Reads words by commas, or `none`.
    fn from_str(text: &str) -> Result<Rights, String> {
        if text.trim() == "none" {
            return Ok(Rights::NONE);
        }
        let right = |word: &str| {
            let found = Right::ALL.into_iter().find(|right| right.as_str() == word.trim());
            found.ok_or_else(|| format!("{:?} is none of read, write, control, admin", word.trim()))
        };
        let rights = text.split(',').map(right).collect::<Result<Vec<Right>, String>>()?;
        Ok(Rights::of(&rights))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_in_words() {
        let read = |text: &str| text.parse::<Rights>().map(|rights| rights.to_string());
        assert_eq!(read("write, read").unwrap(), "read,write");
        assert_eq!(read("none").unwrap(), "none");
        assert_eq!(read("admin").unwrap(), "read,write,control,admin", "who administers may do everything");
        for wrong in ["", "read,", "root", "Read", "none,read"] {
            assert!(read(wrong).unwrap_err().contains("is none of"), "{wrong}");
        }
    }

    #[test]
    fn a_set_has_what_was_put_in_and_no_more() {
        let some = Rights::of(&[Right::Read, Right::Control]);
        assert_eq!(some.iter().collect::<Vec<_>>(), [Right::Read, Right::Control]);
        assert_eq!(some.and(Rights::of(&[Right::Read, Right::Write])), Rights::of(&[Right::Read]));
        assert!(Rights::ALL.has(Right::Admin) && !Rights::NONE.has(Right::Read));
    }
}
