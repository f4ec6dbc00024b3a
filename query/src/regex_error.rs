//! Refused regular expressions, worded as Go words them where the two engines refuse the same.

use model::MatcherError;

/// The message for an expression that could not be compiled, on one line.
pub(crate) fn message(pattern: &str, error: &MatcherError) -> String {
    // The engine draws the expression over several lines and says last what is wrong.
    let reason = error.message.lines().rev().find_map(|line| line.trim().strip_prefix("error: "));
    let reason = reason.unwrap_or_else(|| error.message.lines().next().unwrap_or_default());
    let told = match reason {
        "unclosed group" => "missing closing )",
        "unopened group" => "unexpected )",
        "unclosed character class" => "missing closing ]",
        "repetition operator missing expression" => "missing argument to repetition operator",
        "incomplete escape sequence, reached end of pattern prematurely" => "trailing backslash at end of expression",
        "unrecognized escape sequence" => "invalid escape sequence",
        other => other,
    };
    format!("error parsing regexp: {told}: `{pattern}`")
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
            ("*", "missing argument to repetition operator: `*`"),
            ("\\", "trailing backslash at end of expression: `\\`"),
            ("\\q", "invalid escape sequence: `\\q`"),
            ("(?P<n>a", "missing closing ): `(?P<n>a`"),
        ];
        for (pattern, end) in all {
            let error = Matcher::new("l", MatchOp::Regex, pattern).unwrap_err();
            assert_eq!(message(pattern, &error), format!("error parsing regexp: {end}"));
        }
        let error = Matcher::new("l", MatchOp::Regex, "[b-a]").unwrap_err();
        assert!(!message("[b-a]", &error).contains('\n'));
    }
}
