//! Names that a URL cannot hold as they are: the escaping `U__` (`model/metric.go`, `UnescapeName`).

/// Undoes the escaping: `__` is `_`, `_XX_` the character with that code in hexadecimal. A name without the prefix, or
/// with an escape that is none, is the name itself.
pub(super) fn unescape(name: &str) -> String {
    name.strip_prefix("U__").and_then(decode).unwrap_or_else(|| name.to_owned())
}

fn decode(escaped: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let (digits, after) = rest.split_once('_')?;
        if digits.len() > 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        out.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes() {
        for (name, expected) in [
            ("job", "job"),
            ("U__job", "job"),
            ("U__my_2e_job", "my.job"),
            ("U__a__b", "a_b"),
            ("U___1f600_", "😀"),
            ("U__my_2", "U__my_2"),
            ("U__my_zz_", "U__my_zz_"),
            ("U__x_d800_", "U__x_d800_"),
            ("U__x_1234567_", "U__x_1234567_"),
        ] {
            assert_eq!(unescape(name), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_unescaped(name in any::<String>()) {
            let escape = |c: char| match c {
                '_' => "__".to_owned(),
                c if c.is_ascii_alphanumeric() || c == ':' => c.to_string(),
                c => format!("_{:x}_", u32::from(c)),
            };
            let escaped: String = name.chars().map(escape).collect();
            prop_assert_eq!(unescape(&format!("U__{escaped}")), name);
        }
    }
}
