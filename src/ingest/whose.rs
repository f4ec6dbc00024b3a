//! Labels that say whose a series is. They are added to what a sender says of it, and win over it.

use std::borrow::Cow;

/// The label with the organization that a series belongs to. Senders whose token has one cannot say another; without such
/// tokens it is a label as any other.
pub const ORG: &str = "org";

/// Stands before the name of a label that says other than the added one.
const EXPORTED: &str = "exported_";

/// Name and value of a label.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Adds a label; one of that name that says otherwise is renamed.
pub fn add_over<'a>(pairs: &mut Vec<Pair<'a>>, name: &'a str, value: &'a str) {
    if let Some(at) = pairs.iter().position(|(n, _)| n == name) {
        let (_, other) = pairs.swap_remove(at);
        if other != value {
            let mut renamed = format!("{EXPORTED}{name}");
            while pairs.iter().any(|(n, _)| *n == renamed) {
                renamed.insert_str(0, EXPORTED);
            }
            pairs.push((renamed.into(), other));
        }
    }
    pairs.push((name.into(), value.into()));
}
