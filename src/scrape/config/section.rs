//! Reads sections of the tree: checks their keys against the tables, gives typed values, and gathers every problem
//! with its line instead of stopping at the first.

use std::fmt;
use std::path::{Path, PathBuf};

use super::keys::{Keys, Support};
use super::yaml::{Entry, Node, Value};
use crate::config::{Duration, OptionValue};

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something that Prometheus knows and we do not: the rest works without it.
    Unsupported,
    /// A file of targets that is not there (yet).
    MissingTargets,
    /// Any other file that is named and not there: wrong when checked, bearable when serving.
    MissingFile,
    /// The file cannot be used.
    Error,
}

/// Something wrong with a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// From 1; 0 if it concerns the whole file.
    pub line: u64,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        write!(f, " {}", self.message)
    }
}

/// Gathers problems of one file.
pub(super) struct Reader {
    path: PathBuf,
    problems: Vec<Problem>,
}

/// A map whose keys have been checked.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    entries: &'a [Entry],
    /// The line of the section itself.
    pub(super) line: u64,
}

impl<'a> Section<'a> {
    /// The value of a key; a key without a value is as good as not there.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (entry.node.value != Value::Null).then_some(&entry.node)
    }

    /// The line of a key, or of the section if the key is not there.
    pub(super) fn line_of(&self, key: &str) -> u64 {
        self.entries.iter().find(|entry| entry.key == key).map_or(self.line, |entry| entry.line)
    }
}

impl Reader {
    pub(super) fn new(path: &Path) -> Reader {
        Reader { path: path.to_owned(), problems: Vec::new() }
    }

    pub(super) fn problem(&mut self, severity: Severity, line: u64, message: impl Into<String>) {
        self.problems.push(Problem { path: self.path.clone(), line, severity, message: message.into() });
    }

    pub(super) fn error(&mut self, line: u64, message: impl Into<String>) {
        self.problem(Severity::Error, line, message);
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// The directory that relative paths start from.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// Checks the keys of a map; null is a section without keys.
    pub(super) fn section<'a>(&mut self, node: &'a Node, keys: &Keys) -> Section<'a> {
        let entries: &[Entry] = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            _ => {
                self.error(node.line, format!("{} must be a map, here is {}", keys.section, node.kind()));
                &[]
            }
        };
        for entry in entries {
            self.check_key(entry, keys);
        }
        Section { entries, line: node.line }
    }

    fn check_key(&mut self, entry: &Entry, keys: &Keys) {
        let (key, line) = (&entry.key, entry.line);
        match keys.keys.iter().find(|(name, _)| name == key).map(|(_, support)| support) {
            None => self.error(line, format!("field {key} not found in {}", keys.section)),
            Some(Support::Yes | Support::NoEffect) => {}
            Some(Support::No) => {
                self.problem(Severity::Unsupported, line, format!("{key} is not supported and has no effect"))
            }
            Some(Support::Only(values)) => {
                if let Some(value) = entry.node.scalar().filter(|value| !values.contains(value)) {
                    let message =
                        format!("{key}: {value} is not supported and has no effect (only {})", values.join(", "));
                    self.problem(Severity::Unsupported, line, message);
                }
            }
        }
    }

    /// The letters of a scalar.
    pub(super) fn text(&mut self, section: Section<'_>, key: &str) -> Option<String> {
        let node = section.get(key)?;
        self.scalar(node, key)
    }

    pub(super) fn scalar(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = node.scalar().map(str::to_owned);
        if text.is_none() {
            self.error(node.line, format!("{what} must be a text, here is {}", node.kind()));
        }
        text
    }

    pub(super) fn bool(&mut self, section: Section<'_>, key: &str, default: bool) -> bool {
        match section.get(key) {
            None => default,
            Some(Node { value: Value::Bool(_, value), .. }) => *value,
            Some(node) => {
                self.error(node.line, format!("{key} must be true or false, here is {}", node.kind()));
                default
            }
        }
    }

    /// A whole number; 0 if it is not there.
    pub(super) fn count(&mut self, section: Section<'_>, key: &str) -> Option<u64> {
        let node = section.get(key)?;
        let value = match &node.value {
            Value::Number(text) => text.parse().ok(),
            _ => None,
        };
        if value.is_none() {
            self.error(node.line, format!("{key} must be a whole number"));
        }
        value
    }

    /// A duration; none if it is not there or 0, which is the same to Prometheus.
    pub(super) fn duration(&mut self, section: Section<'_>, key: &str) -> Option<Duration> {
        let node = section.get(key)?;
        let text = self.scalar(node, key)?;
        match Duration::parse(&text) {
            Ok(duration) => (duration.0 > 0).then_some(duration),
            Err(message) => {
                self.error(node.line, format!("{key}: {message}"));
                None
            }
        }
    }

    /// The elements of a list; nothing is a list without elements.
    pub(super) fn list<'a>(&mut self, section: Section<'a>, key: &str) -> &'a [Node] {
        match section.get(key) {
            None => &[],
            Some(Node { value: Value::List(list), .. }) => list,
            Some(node) => {
                self.error(node.line, format!("{key} must be a list, here is {}", node.kind()));
                &[]
            }
        }
    }

    /// A list of texts. A single text counts as a list of one, as in Prometheus.
    pub(super) fn texts(&mut self, section: Section<'_>, key: &str) -> Vec<String> {
        match section.get(key) {
            Some(node) if node.scalar().is_some() => self.scalar(node, key).into_iter().collect(),
            _ => {
                let list = self.list(section, key);
                list.iter().filter_map(|node| self.scalar(node, key)).collect()
            }
        }
    }

    /// A map of texts. A value that is missing is the empty text.
    pub(super) fn text_map(&mut self, section: Section<'_>, key: &str) -> Vec<(String, String)> {
        match section.get(key) {
            None => Vec::new(),
            Some(Node { value: Value::Map(entries), .. }) => entries
                .iter()
                .filter_map(|entry| match entry.node.value {
                    Value::Null => Some((entry.key.clone(), String::new())),
                    _ => Some((entry.key.clone(), self.scalar(&entry.node, &entry.key)?)),
                })
                .collect(),
            Some(node) => {
                self.error(node.line, format!("{key} must be a map, here is {}", node.kind()));
                Vec::new()
            }
        }
    }

    /// A path, relative to the file's directory.
    pub(super) fn path(&mut self, section: Section<'_>, key: &str) -> Option<PathBuf> {
        let text = self.text(section, key).filter(|text| !text.is_empty())?;
        Some(self.resolve(&text))
    }

    /// A path of a file that should be there.
    pub(super) fn file(&mut self, section: Section<'_>, key: &str) -> Option<PathBuf> {
        let path = self.path(section, key)?;
        if let Err(error) = std::fs::metadata(&path) {
            let message = format!("{key}: {}: {error}", path.display());
            self.problem(Severity::MissingFile, section.line_of(key), message);
        }
        Some(path)
    }
}
