//! The labels of a line: `name{label="value",…}` or `{"name",label="value",…}`.

use std::borrow::Cow;

use model::METRIC_NAME;

use super::scan::{Scan, is_plain_label_name, is_plain_metric_name};

/// Names and values in the order of the line, the metric's name as `__name__`.
pub type LabelPairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Reads what stands before the value of a line; a comma behind the last label is allowed.
///
/// # Errors
/// A text for people that says what is wrong.
pub fn parse_labels(raw: &str) -> Result<LabelPairs<'_>, String> {
    let mut scan = Scan::new(raw);
    scan.blanks();
    let name = scan.until(|b| matches!(b, b'{' | b' ' | b'\t'));
    let mut pairs = Vec::new();
    if !name.is_empty() {
        if !is_plain_metric_name(name) {
            return Err(format!("{name:?} is not a metric name; other names stand in quotes within the braces"));
        }
        pairs.push((Cow::Borrowed(METRIC_NAME), Cow::Borrowed(name)));
    }
    scan.blanks();
    if scan.eat("{") {
        in_braces(&mut scan, &mut pairs)?;
        scan.blanks();
    }
    if !scan.is_at_end() {
        return Err(format!("{:?} stands behind the labels", beginning(scan.rest())));
    }
    if !pairs.iter().any(|(name, _)| name == METRIC_NAME) {
        return Err("there is no metric name".to_owned());
    }
    Ok(pairs)
}

/// Reads labels without a metric name, as exemplars have them; the brace is already taken.
pub(super) fn in_braces<'a>(scan: &mut Scan<'a>, pairs: &mut LabelPairs<'a>) -> Result<(), String> {
    loop {
        scan.blanks();
        if scan.eat("}") {
            return Ok(());
        }
        let is_quoted = scan.rest().starts_with('"');
        let name = if is_quoted {
            scan.quoted().ok_or("a quoted name does not end")?
        } else {
            Cow::Borrowed(scan.until(|b| matches!(b, b'=' | b',' | b'}' | b' ' | b'\t' | b'"')))
        };
        scan.blanks();
        if scan.eat("=") {
            if !is_quoted && !is_plain_label_name(&name) {
                return Err(format!("{name:?} is not a label name; other names stand in quotes"));
            }
            scan.blanks();
            if !scan.rest().starts_with('"') {
                return Err(format!("the value of label {name:?} does not stand in quotes"));
            }
            let value = scan.quoted().ok_or_else(|| format!("the value of label {name:?} does not end"))?;
            pairs.push((name, value));
        } else if is_quoted && !pairs.iter().any(|(n, _)| n == METRIC_NAME) {
            pairs.push((Cow::Borrowed(METRIC_NAME), name));
        } else {
            return Err(format!("a \"=\" is missing behind label {name:?}"));
        }
        scan.blanks();
        if !scan.eat(",") && !scan.rest().starts_with('}') {
            return Err(format!("a comma or a brace is missing before {:?}", beginning(scan.rest())));
        }
    }
}

fn beginning(text: &str) -> String {
    text.chars().take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &str) -> Result<Vec<(String, String)>, String> {
        parse_labels(raw).map(|list| list.into_iter().map(|(n, v)| (n.into_owned(), v.into_owned())).collect())
    }

    #[test]
    fn plain_and_quoted_names_escapes_and_the_trailing_comma() {
        let want = |list: &[(&str, &str)]| Ok(list.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect::<Vec<_>>());
        assert_eq!(read("up"), want(&[("__name__", "up")]));
        assert_eq!(read("a:b {\tx = \"1\" , y=\"2\",}"), want(&[("__name__", "a:b"), ("x", "1"), ("y", "2")]));
        assert_eq!(read(r#"m{l="a\"b\\c\nd\x"}"#), want(&[("__name__", "m"), ("l", "a\"b\\c\nd\\x")]));
        assert_eq!(
            read(r#"{"my.metric","label.name"="ü",l="}"}"#),
            want(&[("__name__", "my.metric"), ("label.name", "ü"), ("l", "}")])
        );
        assert_eq!(read("m{}"), want(&[("__name__", "m")]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (raw, message) in [
            ("", "no metric name"),
            ("{}", "no metric name"),
            ("1a", "not a metric name"),
            ("ü", "not a metric name"),
            ("m{l=1}", "does not stand in quotes"),
            ("m{l=\"1}", "does not end"),
            ("m{l=\"1\" x=\"2\"}", "a comma or a brace is missing"),
            ("m{l}", "\"=\" is missing"),
            ("m{,}", "\"=\" is missing"),
            ("m{a.b=\"1\"}", "not a label name"),
            ("m{l=\"1\"", "a comma or a brace is missing"),
            ("m{\"n\"}", "\"=\" is missing"),
            ("m{} x", "stands behind the labels"),
        ] {
            let error = read(raw).unwrap_err();
            assert!(error.contains(message), "{raw:?}: {error}");
        }
    }
}
