//! How names beyond `[a-zA-Z_:][a-zA-Z0-9_:]*` are written for readers that do not know quoted names.
//!
//! The schemes are Prometheus's (`escaping=` in content negotiation, "Escaping Schemes" of its documentation).

use std::borrow::Cow;

use model::{Labels, LabelsBuilder, METRIC_NAME};

use super::scan::{is_plain_label_name, is_plain_metric_name};

/// What becomes of a name that is not plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escaping {
    /// It stays, in quotes.
    AllowUtf8,
    /// Each odd character becomes `_`.
    Underscores,
    /// `.` becomes `_dot_`, `_` becomes `__`, other odd characters `__`.
    Dots,
    /// `U__` before the name, `_` becomes `__`, odd characters their code in hexadecimal between underscores.
    Values,
}

impl Escaping {
    /// The name in content types.
    pub fn as_str(self) -> &'static str {
        match self {
            Escaping::AllowUtf8 => "allow-utf-8",
            Escaping::Underscores => "underscores",
            Escaping::Dots => "dots",
            Escaping::Values => "values",
        }
    }

    /// The scheme of that name.
    pub fn from_name(name: &str) -> Option<Escaping> {
        [Escaping::AllowUtf8, Escaping::Underscores, Escaping::Dots, Escaping::Values]
            .into_iter()
            .find(|e| e.as_str() == name)
    }

    /// A name in this scheme.
    pub fn apply(self, name: &str) -> Cow<'_, str> {
        let plain = is_plain_metric_name(name);
        match self {
            Escaping::AllowUtf8 => Cow::Borrowed(name),
            Escaping::Underscores | Escaping::Values if plain => Cow::Borrowed(name),
            Escaping::Dots if plain && !name.contains('_') => Cow::Borrowed(name),
            Escaping::Underscores => each(name, |_, out| out.push('_')),
            Escaping::Dots => each_with(name, |c, out| match c {
                '.' => out.push_str("_dot_"),
                _ => out.push_str("__"),
            }),
            Escaping::Values => {
                let body = each_with(name, |c, out| match c {
                    '_' => out.push_str("__"),
                    c => out.push_str(&format!("_{:x}_", u32::from(c))),
                });
                Cow::Owned(format!("U__{body}"))
            }
        }
    }

    /// The name of a label in this scheme.
    pub fn apply_to_label(self, name: &str) -> Cow<'_, str> {
        match self {
            Escaping::AllowUtf8 => Cow::Borrowed(name),
            _ if is_plain_label_name(name) => Cow::Borrowed(name),
            // A colon is fine in metric names only.
            _ => Cow::Owned(self.apply(name).replace(':', "_")),
        }
    }

    /// A whole label set in this scheme; of labels whose names become equal the first one stays.
    pub fn apply_to_labels(self, labels: &Labels) -> Labels {
        let name = self.apply(labels.metric_name());
        if name == labels.metric_name() && labels.iter().all(|(label, _)| self.apply_to_label(label) == label) {
            return labels.clone();
        }
        let mut escaped = LabelsBuilder::default();
        escaped.set(METRIC_NAME, &name);
        for (label, value) in labels.iter().filter(|(label, _)| *label != METRIC_NAME) {
            let label = self.apply_to_label(label);
            if escaped.get(&label).is_none() {
                escaped.set(&label, value);
            }
        }
        // A text can only have grown beyond what any label set holds; then it stays as it is.
        escaped.build().unwrap_or_else(|_| labels.clone())
    }
}

fn is_fine(i: usize, c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':' || (c.is_ascii_digit() && i > 0)
}

/// Replaces what is not fine at its place.
fn each(name: &str, replace: impl Fn(char, &mut String)) -> Cow<'static, str> {
    let mut out = String::with_capacity(name.len());
    for (i, c) in name.chars().enumerate() {
        if is_fine(i, c) { out.push(c) } else { replace(c, &mut out) }
    }
    Cow::Owned(out)
}

/// As [`each`], underscores too.
fn each_with(name: &str, replace: impl Fn(char, &mut String)) -> Cow<'static, str> {
    let mut out = String::with_capacity(name.len() + 8);
    for (i, c) in name.chars().enumerate() {
        if is_fine(i, c) && c != '_' { out.push(c) } else { replace(c, &mut out) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_sets() {
        let labels = Labels::from_pairs([("__name__", "a.b"), ("c.d", "1"), ("c_d", "2"), ("e:f", "3")]).unwrap();
        assert_eq!(Escaping::Underscores.apply_to_labels(&labels).to_string(), r#"{__name__="a_b", c_d="1", e_f="3"}"#);
        assert_eq!(Escaping::AllowUtf8.apply_to_labels(&labels), labels);
    }

    #[test]
    fn each_scheme() {
        let all = |name: &'static str| {
            [Escaping::AllowUtf8, Escaping::Underscores, Escaping::Dots, Escaping::Values].map(|e| e.apply(name))
        };
        assert_eq!(all("up"), ["up", "up", "up", "up"]);
        assert_eq!(all("a_b"), ["a_b", "a_b", "a__b", "a_b"]);
        assert_eq!(
            all("mysystem.prod.x"),
            ["mysystem.prod.x", "mysystem_prod_x", "mysystem_dot_prod_dot_x", "U__mysystem_2e_prod_2e_x"]
        );
        assert_eq!(all("1ü_"), ["1ü_", "___", "______", "U___31__fc___"]);
    }
}
