//! Refused regular expressions, worded as Go words them where the two engines refuse the same.

use model::MatcherError;

/// The message for an expression that could not be compiled, on one line.
pub(crate) fn message(pattern: &str, error: &MatcherError) -> String {
    // The engine draws the expression over several lines and says last what is wrong.
    let reason = error.message.lines().rev().find_map(|line| line.trim().strip_prefix("error: "));
    let reason = reason.unwrap_or_else(|| error.message.lines().next().unwrap_or_default());
    let part = || marked(&error.message).unwrap_or_else(|| pattern.to_owned());
    let whole = || pattern.to_owned();
    let (told, shown) = match reason {
        "unclosed group" => ("missing closing )", whole()),
        "unopened group" => ("unexpected )", whole()),
        "unclosed character class" => ("missing closing ]", whole()),
        "repetition operator missing expression" => ("missing argument to repetition operator", part()),
        "incomplete escape sequence, reached end of pattern prematurely" => {
            ("trailing backslash at end of expression", String::new())
        }
        "unrecognized escape sequence" => ("invalid escape sequence", part()),
        "invalid character class range, the start must be <= the end" => ("invalid character class range", part()),
        other => (other, whole()),
    };
    format!("error parsing regexp: {told}: `{shown}`")
}

/// The part of an expression of one line that the engine has underlined.
fn marked(drawing: &str) -> Option<String> {
    let mut lines = drawing.lines().skip(1);
    let (pattern, marks) = (lines.next()?, lines.next()?);
    let marked = pattern.chars().zip(marks.chars()).filter(|(_, mark)| *mark == '^').map(|(c, _)| c).collect();
    marks.trim().chars().all(|c| c == '^').then_some(marked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{MatchOp, Matcher};

    #[test]
    fn reasons_are_one_line() {
        let all = [
            ("(", "missing closing ): `(`"),
            (")", "unexpected ): `)`"),
            ("[", "missing closing ]: `[`"),
            ("\\", "trailing backslash at end of expression: ``"),
            ("a\\qb", "invalid escape sequence: `\\q`"),
            ("é[b-a]", "invalid character class range: `b-a`"),
            ("a|*b", "missing argument to repetition operator: `*`"),
            ("(?P<n>a", "missing closing ): `(?P<n>a`"),
        ];
        for (pattern, end) in all {
            let error = Matcher::new("l", MatchOp::Regex, pattern).unwrap_err();
            assert_eq!(message(pattern, &error), format!("error parsing regexp: {end}"));
        }
        for pattern in ["(?z)", "a{2,1}", "(\n", "[a\n-"] {
            let error = Matcher::new("l", MatchOp::Regex, pattern).unwrap_err();
            let told = message("", &error);
            assert!(told.len() > 25 && !told.contains('\n'), "{told}");
        }
    }
}
