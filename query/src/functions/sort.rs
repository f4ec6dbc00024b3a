//! Orders of instant vectors: by value, and by labels with numbers in them compared as numbers.

use std::cmp::Ordering;

use model::Labels;

/// Rising, NaN last.
pub(crate) fn rising(a: f64, b: f64) -> Ordering {
    nan_last(a, b).unwrap_or_else(|| a.partial_cmp(&b).unwrap_or(Ordering::Equal))
}

/// Falling, NaN last.
pub(crate) fn falling(a: f64, b: f64) -> Ordering {
    nan_last(a, b).unwrap_or_else(|| b.partial_cmp(&a).unwrap_or(Ordering::Equal))
}

fn nan_last(a: f64, b: f64) -> Option<Ordering> {
    (a.is_nan() || b.is_nan()).then(|| a.is_nan().cmp(&b.is_nan()))
}

/// By the named labels in natural order, then by all labels.
pub(crate) fn by_labels(a: &Labels, b: &Labels, names: &[&str]) -> Ordering {
    let named = names.iter().map(|name| natural(a.get(name).unwrap_or_default(), b.get(name).unwrap_or_default()));
    named.fold(Ordering::Equal, Ordering::then).then_with(|| a.cmp(b))
}

/// Runs of digits compare as numbers, everything else as text: `x2` before `x10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    while !rest_a.is_empty() && !rest_b.is_empty() {
        let (part_a, part_b);
        (part_a, rest_a) = split_part(rest_a);
        (part_b, rest_b) = split_part(rest_b);
        let order = match (part_a.parse::<u64>(), part_b.parse::<u64>()) {
            (Ok(number_a), Ok(number_b)) => number_a.cmp(&number_b),
            _ => part_a.cmp(part_b),
        };
        if order.is_ne() {
            return order;
        }
    }
    rest_a.len().cmp(&rest_b.len()).then_with(|| a.cmp(b))
}

/// The leading run of digits or of anything else.
fn split_part(text: &str) -> (&str, &str) {
    let digits_first = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits_first).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_stands_last_both_ways() {
        let mut values = [f64::NAN, 1.0, f64::INFINITY, -1.0];
        values.sort_by(|a, b| rising(*a, *b));
        assert_eq!(values[..3], [-1.0, 1.0, f64::INFINITY]);
        values.sort_by(|a, b| falling(*a, *b));
        assert_eq!(values[..3], [f64::INFINITY, 1.0, -1.0]);
        assert!(values[3].is_nan());
    }

    #[test]
    fn numbers_in_text_count_as_numbers() {
        let mut texts = ["x10", "x2", "x", "y1", "x2a", "10", "9", ""];
        texts.sort_by(|a, b| natural(a, b));
        assert_eq!(texts, ["", "9", "10", "x", "x2", "x2a", "x10", "y1"]);
        assert_eq!(natural("01", "1"), Ordering::Less);
        assert_eq!(natural("1", "1"), Ordering::Equal);
    }
}
