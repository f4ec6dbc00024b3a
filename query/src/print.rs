//! Expressions as text: Prometheus's canonical form on one line ([`std::fmt::Display`]), and over several lines
//! ([`pretty()`]). Reading the text gives the same expression again.

mod pretty;

pub use pretty::pretty;

use std::fmt::{self, Display, Formatter, Write};

use model::{METRIC_NAME, MatchOp, Matcher};

use crate::ast::{
    Aggregation, AtModifier, Binary, BinaryOp, Cardinality, DurationExpr, DurationFunction, Expr, Grouping, Modifiers,
    Node, Selector, VectorMatching,
};
use crate::quote::{Number, Quoted, plain};

/// Units from the largest to the smallest in milliseconds, and if a length is only written in it when nothing is left:
/// `90d` reads better than `12w6d`.
const UNITS: [(&str, u64, bool); 7] = [
    ("y", 365 * 86_400_000, true),
    ("w", 7 * 86_400_000, true),
    ("d", 86_400_000, false),
    ("h", 3_600_000, false),
    ("m", 60_000, false),
    ("s", 1_000, false),
    ("ms", 1, false),
];

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.node {
            Node::Number { value, is_duration } => write_number(f, *value, *is_duration),
            Node::String(text) => Quoted(text).fmt(f),
            Node::VectorSelector(selector) => selector.fmt(f),
            Node::MatrixSelector { selector, range } => {
                write_series(f, selector)?;
                write!(f, "[{}]", Top(range))?;
                write_modifiers(f, &selector.modifiers)
            }
            Node::Subquery { expr, .. } => {
                expr.fmt(f)?;
                write_subquery_suffix(f, &self.node)
            }
            Node::Unary { negative, expr } => write!(f, "{}{expr}", sign(*negative)),
            Node::Paren(inner) => write!(f, "({inner})"),
            Node::Binary(binary) => match infinite_base(binary) {
                Some(base) => write!(f, "{base} {} {}", Operation(binary), binary.right),
                None => write!(f, "{} {} {}", binary.left, Operation(binary), binary.right),
            },
            Node::Aggregation(aggregation) => {
                write_aggregation_head(f, aggregation)?;
                f.write_char('(')?;
                if let Some(param) = &aggregation.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", aggregation.expr)
            }
            Node::Call { function, args } => {
                write!(f, "{function}(")?;
                write_list(f, args)?;
                f.write_char(')')
            }
        }
    }
}

/// The left side of a power, if it is infinity: with its sign in front, the sign would be that of the power.
fn infinite_base(binary: &Binary) -> Option<&'static str> {
    let is_infinite = matches!(binary.left.node, Node::Number { value: f64::INFINITY, .. });
    (binary.op == BinaryOp::Pow && is_infinite).then_some("Inf")
}

impl Display for Selector {
    /// The selector with its modifiers.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_series(f, self)?;
        write_modifiers(f, &self.modifiers)
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            DurationExpr::Literal { seconds, is_number, .. } => write_number(f, *seconds, !is_number),
            DurationExpr::Unary { negative, expr, .. } => write!(f, "{}{expr}", sign(*negative)),
            DurationExpr::Binary { op, left, right, .. } => write!(f, "{left} {} {right}", op.as_str()),
            DurationExpr::Paren { expr, .. } => write!(f, "({expr})"),
            DurationExpr::Call { function, args, .. } => {
                let name = match function {
                    DurationFunction::Step => "step",
                    DurationFunction::Range => "range",
                    DurationFunction::Min => "min_of",
                    DurationFunction::Max => "max_of",
                };
                write!(f, "{name}(")?;
                write_list(f, args)?;
                f.write_char(')')
            }
        }
    }
}

/// A length that stands alone: a number of seconds is written as a duration.
struct Top<'a>(&'a DurationExpr);

impl Display for Top<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            DurationExpr::Literal { ms, .. } => write_duration(f, *ms),
            other => other.fmt(f),
        }
    }
}

/// A binary operator with its modifiers.
struct Operation<'a>(&'a Binary);

impl Display for Operation<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.op.as_str())?;
        if self.0.returns_bool {
            f.write_str(" bool")?;
        }
        self.0.matching.as_ref().map_or(Ok(()), |matching| write_matching(f, matching))
    }
}

fn sign(negative: bool) -> char {
    if negative { '-' } else { '+' }
}

fn write_list<T: Display>(f: &mut Formatter<'_>, items: &[T]) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

fn write_number(f: &mut Formatter<'_>, value: f64, is_duration: bool) -> fmt::Result {
    if is_duration { write_duration(f, (value * 1000.0).round() as i64) } else { f.write_str(&plain(value)) }
}

fn write_duration(f: &mut Formatter<'_>, ms: i64) -> fmt::Result {
    if ms == 0 {
        return f.write_str("0s");
    }
    if ms < 0 {
        f.write_char('-')?;
    }
    let mut rest = ms.unsigned_abs();
    for (unit, unit_ms, exact) in UNITS {
        let count = rest / unit_ms;
        if count > 0 && (!exact || rest.is_multiple_of(unit_ms)) {
            write!(f, "{count}{unit}")?;
            rest -= count * unit_ms;
        }
    }
    Ok(())
}

/// The selector without modifiers, matchers in order.
fn write_series(f: &mut Formatter<'_>, selector: &Selector) -> fmt::Result {
    let name = selector.name.as_deref().unwrap_or_default();
    f.write_str(name)?;
    let is_name = |m: &Matcher| m.name() == METRIC_NAME && m.op() == MatchOp::Equal && m.value() == name;
    let conditions: Vec<Condition<'_>> =
        selector.matchers.iter().filter(|matcher| name.is_empty() || !is_name(matcher)).map(Condition).collect();
    match conditions.as_slice() {
        // Only `info` takes braces with nothing in them.
        [] => f.write_str(if name.is_empty() { "{}" } else { "" }),
        // Written as it goes: one expression may join thousands of names.
        [condition] => write!(f, "{{{condition}}}"),
        _ => {
            let mut texts: Vec<String> = conditions.iter().map(ToString::to_string).collect();
            texts.sort_unstable();
            write!(f, "{{{}}}", texts.join(","))
        }
    }
}

/// A matcher as it stands between braces.
struct Condition<'a>(&'a Matcher);

impl Display for Condition<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Condition(matcher) = self;
        if is_plain_label(matcher.name()) {
            f.write_str(matcher.name())?;
        } else {
            Quoted(matcher.name()).fmt(f)?;
        }
        write!(f, "{}{}", matcher.op().as_str(), Quoted(matcher.value()))
    }
}

fn is_plain_label(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Label names of a grouping. Names with colons need no quotes there, words that are numbers do.
fn write_labels(f: &mut Formatter<'_>, labels: &[String]) -> fmt::Result {
    for (i, label) in labels.iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        let is_number = label.eq_ignore_ascii_case("inf") || label.eq_ignore_ascii_case("nan");
        if !is_number && is_plain_label(label.trim_start_matches(':').replace(':', "_").as_str()) {
            f.write_str(label)?;
        } else {
            Quoted(label).fmt(f)?;
        }
    }
    Ok(())
}

fn write_modifiers(f: &mut Formatter<'_>, modifiers: &Modifiers) -> fmt::Result {
    match modifiers.at {
        None => {}
        Some(AtModifier::Time(ms)) => write!(f, " @ {:.3}", ms as f64 / 1000.0)?,
        Some(AtModifier::Start) => f.write_str(" @ start()")?,
        Some(AtModifier::End) => f.write_str(" @ end()")?,
    }
    modifiers.offset.as_ref().map_or(Ok(()), |offset| write!(f, " offset {}", Top(offset)))
}

fn write_subquery_suffix(f: &mut Formatter<'_>, node: &Node) -> fmt::Result {
    let Node::Subquery { range, step, modifiers, .. } = node else { return Ok(()) };
    write!(f, "[{}:", Top(range))?;
    if let Some(step) = step {
        Top(step).fmt(f)?;
    }
    f.write_char(']')?;
    write_modifiers(f, modifiers)
}

fn write_aggregation_head(f: &mut Formatter<'_>, aggregation: &Aggregation) -> fmt::Result {
    f.write_str(aggregation.op.as_str())?;
    let Some(Grouping { without, labels }) = &aggregation.grouping else { return Ok(()) };
    f.write_str(if *without { " without (" } else { " by (" })?;
    write_labels(f, labels)?;
    f.write_str(") ")
}

fn write_matching(f: &mut Formatter<'_>, matching: &VectorMatching) -> fmt::Result {
    let group = match matching.cardinality {
        Cardinality::ManyToOne => Some("group_left"),
        Cardinality::OneToMany => Some("group_right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if matching.on || !matching.labels.is_empty() || group.is_some() {
        f.write_str(if matching.on { " on (" } else { " ignoring (" })?;
        write_labels(f, &matching.labels)?;
        f.write_char(')')?;
    }
    if let Some(group) = group {
        write!(f, " {group} (")?;
        write_labels(f, &matching.include)?;
        f.write_char(')')?;
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => write!(f, " fill ({})", Number(left)),
        (left, right) => {
            left.map_or(Ok(()), |value| write!(f, " fill_left ({})", Number(value)))?;
            right.map_or(Ok(()), |value| write!(f, " fill_right ({})", Number(value)))
        }
    }
}
