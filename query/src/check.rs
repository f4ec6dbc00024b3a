//! The type check: types of operands and arguments, numbers of arguments, and what matching and selectors must obey.
//!
//! Errors come in the order in which Prometheus finds them, and with its words.

use std::collections::HashSet;

use model::{METRIC_NAME, Matcher};

use crate::ast::{Aggregation, Binary, Cardinality, Expr, Node, Selector, ValueType, VectorMatching};
use crate::functions::{Function, function};
use crate::parser::Problem;
use crate::quote::Quoted;
use crate::span::Span;

type Checked<T> = Result<T, Problem>;

/// Checks an expression and gives its type. Matchings are made to say what they mean: none between scalars,
/// many-to-many for set operators.
pub(crate) fn check(expr: &mut Expr, text: &str) -> Checked<ValueType> {
    let span = expr.span;
    match &mut expr.node {
        Node::Number { .. } => Ok(ValueType::Scalar),
        Node::String(_) => Ok(ValueType::String),
        Node::VectorSelector(selector) => check_selector(selector, span).map(|()| ValueType::Vector),
        Node::MatrixSelector { selector, .. } => check_selector(selector, span).map(|()| ValueType::Matrix),
        Node::Paren(inner) => check(inner, text),
        Node::Unary { expr: inner, .. } => check_unary(inner, span, text),
        Node::Subquery { expr: inner, .. } => check_subquery(inner, span, text),
        Node::Binary(binary) => check_binary(binary, span, text),
        Node::Aggregation(aggregation) => check_aggregation(aggregation, text),
        Node::Call { function: name, args } => match function(name) {
            Some(function) => check_call(function, args, span, text),
            None => Err(Problem::new(span, format!("unknown function with name {}", Quoted(name)))),
        },
    }
}

fn check_unary(inner: &mut Expr, span: Span, text: &str) -> Checked<ValueType> {
    match check(inner, text)? {
        found @ (ValueType::Scalar | ValueType::Vector) => Ok(found),
        found => {
            let found = Quoted(found.as_str());
            let message =
                format!("unary expression only allowed on expressions of type scalar or instant vector, got {found}");
            Err(Problem::new(span, message))
        }
    }
}

fn check_subquery(inner: &mut Expr, span: Span, text: &str) -> Checked<ValueType> {
    match check(inner, text)? {
        ValueType::Vector => Ok(ValueType::Matrix),
        found => {
            let found = found.result_type();
            Err(Problem::new(span, format!("subquery is only allowed on instant vector, got {found} instead")))
        }
    }
}

fn check_aggregation(aggregation: &mut Aggregation, text: &str) -> Checked<ValueType> {
    expect_type(&mut aggregation.expr, ValueType::Vector, "aggregation expression", text)?;
    if let (Some(param), Some(wanted)) = (&mut aggregation.param, aggregation.op.param_type()) {
        expect_type(param, wanted, "aggregation parameter", text)?;
    }
    Ok(ValueType::Vector)
}

fn expect_type(expr: &mut Expr, wanted: ValueType, place: &str, text: &str) -> Checked<()> {
    let found = check(expr, text)?;
    if found == wanted {
        return Ok(());
    }
    let message = format!("expected type {} in {place}, got {}", wanted.as_str(), found.as_str());
    Err(Problem::new(expr.span, message))
}

fn check_call(function: &Function, args: &mut [Expr], span: Span, text: &str) -> Checked<ValueType> {
    check_arity(function, args.len()).map_err(|message| Problem::new(span, message))?;
    let is_info = function.name == "info";
    if is_info && let Some(labels) = args.get(1) {
        check_info_selector(labels)?;
    }
    for (i, arg) in args.iter_mut().enumerate().take(if is_info { 1 } else { usize::MAX }) {
        // Further arguments have the type of the last.
        let Some(wanted) = function.args.get(i).or(function.args.last()).copied() else { continue };
        expect_type(arg, wanted, &format!("call to function {}", Quoted(function.name)), text)?;
    }
    Ok(function.returns)
}

fn check_arity(function: &Function, count: usize) -> Result<(), String> {
    let name = Quoted(function.name);
    let (min, max) = (function.args_min, function.args_max);
    if max == Some(min) && count != min {
        Err(format!("expected {min} argument(s) in call to {name}, got {count}"))
    } else if count < min {
        Err(format!("expected at least {min} argument(s) in call to {name}, got {count}"))
    } else if let Some(max) = max.filter(|max| count > *max) {
        Err(format!("expected at most {max} argument(s) in call to {name}, got {count}"))
    } else {
        Ok(())
    }
}

/// The second argument of `info` is no selector of its own: it narrows the info metrics, and may be empty.
fn check_info_selector(arg: &Expr) -> Checked<()> {
    let refuse = |message: &str| Err(Problem::new(arg.span, message));
    match &arg.node {
        Node::VectorSelector(selector) if selector.name.is_some() => {
            refuse("expected label selectors only, got vector selector instead")
        }
        Node::VectorSelector(_) => Ok(()),
        _ => refuse("expected label selectors only"),
    }
}

fn check_binary(binary: &mut Binary, span: Span, text: &str) -> Checked<ValueType> {
    let left = check(&mut binary.left, text)?;
    let right = check(&mut binary.right, text)?;
    let op = binary.op;
    let at_op = |message: String| Err(Problem::new(op_span(binary, text), message));
    let scalars = left == ValueType::Scalar && right == ValueType::Scalar;
    if binary.returns_bool && !op.is_comparison() {
        return at_op("bool modifier can only be used on comparison operators".to_owned());
    }
    if op.is_comparison() && !binary.returns_bool && scalars {
        return at_op("comparisons between scalars must use BOOL modifier".to_owned());
    }
    if op.is_trim() && scalars {
        return at_op(format!("operator {} not allowed for scalar operations", Quoted(op.as_str())));
    }
    if let Some(label) = binary.matching.as_ref().and_then(label_in_both) {
        return at_op(format!("label {} must not occur in ON and GROUP clause at once", Quoted(label)));
    }
    for (side, found) in [(&binary.left, left), (&binary.right, right)] {
        if !matches!(found, ValueType::Scalar | ValueType::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err(Problem::new(side.span, message));
        }
    }
    let vectors = left == ValueType::Vector && right == ValueType::Vector;
    check_matching(binary, vectors).map_err(|message| Problem::new(span, message))?;
    Ok(if scalars { ValueType::Scalar } else { ValueType::Vector })
}

/// Checks the matching and makes it say what it means.
fn check_matching(binary: &mut Binary, vectors: bool) -> Result<(), String> {
    let op = binary.op;
    if let Some(matching) = &mut binary.matching {
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if !vectors {
            if !matching.labels.is_empty() {
                return Err("vector matching only allowed between instant vectors".to_owned());
            }
            if fills {
                return Err("filling in missing series only allowed between instant vectors".to_owned());
            }
            binary.matching = None;
        } else if op.is_set() {
            if matching.cardinality != Cardinality::OneToOne {
                return Err(format!("no grouping allowed for {} operation", Quoted(op.as_str())));
            }
            if fills {
                return Err("filling in missing series not allowed for set operators".to_owned());
            }
            matching.cardinality = Cardinality::ManyToMany;
        }
    }
    if op.is_set() && !vectors {
        return Err(format!("set operator {} not allowed in binary scalar expression", Quoted(op.as_str())));
    }
    Ok(())
}

fn label_in_both(matching: &VectorMatching) -> Option<&str> {
    if !matching.on {
        return None;
    }
    let include: HashSet<&str> = matching.include.iter().map(String::as_str).collect();
    matching.labels.iter().map(String::as_str).find(|label| include.contains(label))
}

/// Where the operator stands: behind the left side.
fn op_span(binary: &Binary, text: &str) -> Span {
    let between = text.get(binary.left.span.end..binary.right.span.start).unwrap_or_default();
    let blanks = between.len() - between.trim_start_matches([' ', '\t', '\n', '\r']).len();
    Span { start: binary.left.span.end + blanks, end: binary.right.span.start }
}

fn check_selector(selector: &Selector, span: Span) -> Checked<()> {
    match &selector.name {
        Some(name) => {
            // The last one is the name's own.
            let inside = selector.matchers.split_last().map_or(&[][..], |(_, inside)| inside);
            match inside.iter().find(|matcher| matcher.name() == METRIC_NAME) {
                Some(matcher) => {
                    let (name, other) = (Quoted(name), Quoted(matcher.value()));
                    Err(Problem::new(span, format!("metric name must not be set twice: {name} or {other}")))
                }
                None => Ok(()),
            }
        }
        // Otherwise a slip of the pen would select everything.
        None if selector.matchers.iter().all(Matcher::matches_empty) => {
            Err(Problem::new(span, "vector selector must contain at least one non-empty matcher"))
        }
        None => Ok(()),
    }
}
