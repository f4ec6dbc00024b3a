//! Numbers and names in sentences.

use super::evidence::Evidence;

/// A share in per cent, with one digit where it is not whole.
pub(in crate::jobs) fn percent(share: f64) -> String {
    let percent = (share * 1000.0).round() / 10.0;
    format!("{percent} %")
}

/// A length of time in the unit that says most.
pub(in crate::jobs) fn span(ms: f64) -> String {
    let rounded = |value: f64| (value * 10.0).round() / 10.0;
    match ms.abs() {
        size if size < 1_000.0 => format!("{} ms", ms.round()),
        size if size < 120_000.0 => format!("{} s", rounded(ms / 1_000.0)),
        size if size < 7_200_000.0 => format!("{} min", rounded(ms / 60_000.0)),
        size if size < 172_800_000.0 => format!("{} h", rounded(ms / 3_600_000.0)),
        _ => format!("{} d", rounded(ms / 86_400_000.0)),
    }
}

/// How often per second, or how many times: three digits are enough to act on.
pub(in crate::jobs) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let scale = 10_f64.powi(digits);
    format!("{}", (value * scale).round() / scale)
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}

/// `a`, `a or b`, `a, b or c`.
pub(super) fn either(parts: &[String]) -> String {
    match parts {
        [before @ .., last] if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        parts => parts.concat(),
    }
}

/// `subtask 0`, `subtasks 0 and 3`; of many the first.
pub(super) fn subtasks(indexes: &[u64]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = indexes.iter().take(SHOWN).map(u64::to_string).collect();
    match (indexes.len(), indexes.len().saturating_sub(SHOWN)) {
        (1, _) => format!("subtask {}", shown.concat()),
        (_, 0) => format!("subtasks {}", list(&shown)),
        (_, more) => format!("subtasks {} and {more} more", shown.join(", ")),
    }
}

/// `1 record`, `2 records`.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

impl Evidence {
    /// The name of an operator, as a sentence shows it.
    pub(super) fn named(&self, operator: usize) -> String {
        self.facts.operators.get(operator).map(|facts| format!("`{}`", facts.name)).unwrap_or_default()
    }

    /// The names of several.
    pub(super) fn named_all(&self, operators: &[usize]) -> String {
        list(&operators.iter().map(|operator| self.named(*operator)).collect::<Vec<_>>())
    }
}

/// A sentence begins with a capital letter, unless it begins with a name.
pub(super) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_help() {
        assert_eq!([0.996, 0.5, 1.0, 0.0].map(percent), ["99.6 %", "50 %", "100 %", "0 %"]);
        assert_eq!(
            [250.0, 19_513.0, 120_000.0, 7_200_000.0, 2e8].map(span),
            ["250 ms", "19.5 s", "2 min", "2 h", "2.3 d"]
        );
        assert_eq!([652.8, 12.34, 6.461].map(number), ["653", "12.3", "6.46"]);
        assert_eq!(subtasks(&[0]), "subtask 0");
        assert_eq!(subtasks(&[0, 3]), "subtasks 0 and 3");
        assert_eq!(subtasks(&[0, 1, 2, 3, 4, 5, 6]), "subtasks 0, 1, 2, 3, 4 and 2 more");
        assert_eq!(sentence("its subtask"), "Its subtask");
    }
}
