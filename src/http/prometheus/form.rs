//! `application/x-www-form-urlencoded`, strictly: what cannot be decoded is refused and never guessed.

/// Reads the pairs of a URL's query or a form body, in their order.
///
/// # Errors
/// For people: the escape that is none, or the name of the parameter that is not UTF-8.
pub(in crate::http) fn parse(text: &[u8]) -> Result<Vec<(String, String)>, String> {
    let parts = text.split(|b| *b == b'&').filter(|part| !part.is_empty());
    parts.map(pair).collect()
}

/// Undoes `%XX` in a part of a path, where `+` stands for itself; none if the part is not what it says.
pub(in crate::http) fn decode_segment(part: &str) -> Option<String> {
    String::from_utf8(decode(part.replace('+', "%2B").as_bytes()).ok()?).ok()
}

fn pair(part: &[u8]) -> Result<(String, String), String> {
    let at = part.iter().position(|b| *b == b'=').unwrap_or(part.len());
    let name = String::from_utf8(decode(&part[..at])?)
        .map_err(|e| format!("the parameter name {:?} is not UTF-8", String::from_utf8_lossy(e.as_bytes())))?;
    let value = String::from_utf8(decode(part.get(at + 1..).unwrap_or_default())?)
        .map_err(|_| format!("invalid parameter {name:?}: the value is not UTF-8"))?;
    Ok((name, value))
}

/// Undoes `+` and `%XX`.
fn decode(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let escape = after.get(..2).and_then(|digits| {
                    let digits =
                        std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
                    u8::from_str_radix(digits, 16).ok()
                });
                let wrong = || {
                    format!("malformed URL encoding at \"%{}\"", String::from_utf8_lossy(&after[..after.len().min(2)]))
                };
                out.push(escape.ok_or_else(wrong)?);
                rest = &after[2..];
            }
            other => out.push(other),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_are_decoded_in_their_order() {
        let pairs = parse(b"match%5B%5D=up&query=a+b%2Bc&&empty=&bare&x=1=2").unwrap();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("match[]", "up"), ("query", "a b+c"), ("empty", ""), ("bare", ""), ("x", "1=2")]);
    }

    #[test]
    fn parts_of_paths_keep_their_plus() {
        assert_eq!(decode_segment("a+b%2Fc%C3%A9").as_deref(), Some("a+b/cé"));
        assert_eq!(decode_segment("%zz").or(decode_segment("%ff")), None);
    }

    #[test]
    fn what_cannot_be_decoded_is_refused() {
        assert_eq!(parse(b"a=%zz").unwrap_err(), "malformed URL encoding at \"%zz\"");
        assert_eq!(parse(b"a=%+1").unwrap_err(), "malformed URL encoding at \"%+1\"");
        assert_eq!(parse(b"a=%4").unwrap_err(), "malformed URL encoding at \"%4\"");
        assert_eq!(parse(b"a=%ff").unwrap_err(), "invalid parameter \"a\": the value is not UTF-8");
        assert!(parse(b"%ff=1").unwrap_err().contains("name"));
    }

    proptest! {
        #[test]
        fn every_text_survives(name in "[^&=]{1,8}", value in any::<String>()) {
            let encode = |t: &str| t.bytes().map(|b| format!("%{b:02x}")).collect::<String>();
            let text = format!("{}={}", encode(&name), encode(&value));
            prop_assert_eq!(parse(text.as_bytes()), Ok(vec![(name, value)]));
        }

        #[test]
        fn no_bytes_panic(bytes in any::<Vec<u8>>()) {
            let _ = parse(&bytes);
        }
    }
}
