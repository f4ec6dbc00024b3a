//! Lengths of time: literals, and arithmetic over them and over the query's own times.

use nom::Parser;

use super::expr::literal;
use super::{Parsed, Problem, Tree, failure, height_over, nested, token, unexpected};
use crate::ast::{BinaryOp, DurationExpr, DurationFunction};
use crate::lexer::{Cursor, Kind};
use crate::span::Span;

/// Seconds of the longest duration: 64 bits of nanoseconds.
const SECONDS_MAX: f64 = i64::MAX as f64 / 1e9;

/// A range or step. What is known to be no length is refused here, the rest when the query's times are known.
pub(super) fn positive(input: Cursor<'_>) -> Parsed<'_, Tree<DurationExpr>> {
    let (rest, duration) = operation(input, 0)?;
    if matches!(rest.token.kind, Kind::Error(_)) {
        return Err(unexpected(rest));
    }
    if let DurationExpr::Literal { ms, span, .. } = *duration.root
        && ms <= 0
    {
        return Err(failure(span, "duration must be greater than 0"));
    }
    Ok((rest, duration))
}

/// An offset: one operand, because `x offset 5m * 2` multiplies `x offset 5m`.
pub(super) fn offset(input: Cursor<'_>) -> Parsed<'_, Tree<DurationExpr>> {
    signed_or(input, offset)
}

fn operation(input: Cursor<'_>, precedence_min: u8) -> Parsed<'_, Tree<DurationExpr>> {
    let (mut input, mut left) = signed_or(input, |input| operation(input, BinaryOp::PRECEDENCE_MAX))?;
    while let Some(op) = arithmetic(input.token.kind) {
        if op.precedence() < precedence_min {
            break;
        }
        (input, left) = right_side(input, op, left)?;
    }
    Ok((input, left))
}

/// The operator at the cursor and what follows it.
fn right_side(input: Cursor<'_>, op: BinaryOp, left: Tree<DurationExpr>) -> Parsed<'_, Tree<DurationExpr>> {
    let precedence = op.precedence();
    let right_min = if precedence == BinaryOp::PRECEDENCE_MAX { precedence } else { precedence + 1 };
    let (rest, right) = nested(input.advance(), |input| operation(input, right_min))?;
    if let DurationExpr::Literal { seconds: 0.0, .. } = *right.root {
        match op {
            BinaryOp::Div => return Err(failure(input.token.span, "division by zero")),
            BinaryOp::Mod => return Err(failure(input.token.span, "modulo by zero")),
            _ => {}
        }
    }
    let height = height_over(rest, [left.height, right.height])?;
    let span = left.root.span().to(right.root.span());
    Ok((rest, Tree::new(DurationExpr::Binary { op, left: left.root, right: right.root, span }, height)))
}

fn arithmetic(kind: Kind) -> Option<BinaryOp> {
    use BinaryOp::{Add, Div, Mod, Mul, Pow, Sub};
    match kind {
        Kind::Operator(op @ (Add | Sub | Mul | Div | Mod | Pow)) => Some(op),
        _ => None,
    }
}

/// A sign and what it belongs to, or an operand without sign. Signs of literals are part of them, `+` says nothing.
fn signed_or<'a>(
    input: Cursor<'a>,
    signed: impl FnOnce(Cursor<'a>) -> Parsed<'a, Tree<DurationExpr>>,
) -> Parsed<'a, Tree<DurationExpr>> {
    let negative = match input.token.kind {
        Kind::Operator(BinaryOp::Add) => false,
        Kind::Operator(BinaryOp::Sub) => true,
        _ => return operand(input),
    };
    let (rest, inner) = nested(input.advance(), signed)?;
    Ok((rest, apply_sign(rest, input.token.span, negative, inner)?))
}

fn apply_sign(
    input: Cursor<'_>,
    sign: Span,
    negative: bool,
    inner: Tree<DurationExpr>,
) -> Result<Tree<DurationExpr>, nom::Err<Problem>> {
    let Tree { root, height } = inner;
    let span = sign.to(root.span());
    match *root {
        DurationExpr::Literal { ms, seconds, is_number, .. } => {
            let (ms, seconds) = if negative { (-ms, -seconds) } else { (ms, seconds) };
            Ok(Tree::new(DurationExpr::Literal { ms, seconds, is_number, span }, height))
        }
        _ if negative => {
            let height = height_over(input, [height])?;
            Ok(Tree::new(DurationExpr::Unary { negative, expr: root, span }, height))
        }
        _ => Ok(Tree { root, height }),
    }
}

fn operand(input: Cursor<'_>) -> Parsed<'_, Tree<DurationExpr>> {
    match input.token.kind {
        Kind::Number | Kind::Duration => number(input),
        Kind::LeftParen => parens(input),
        _ => match function(input) {
            Some(function) => call(input, function),
            None => Err(unexpected(input)),
        },
    }
}

fn parens(input: Cursor<'_>) -> Parsed<'_, Tree<DurationExpr>> {
    let (rest, inner) = nested(input.advance(), |input| operation(input, 0))?;
    let (rest, close) = token(Kind::RightParen).parse(rest)?;
    let height = height_over(rest, [inner.height])?;
    let span = input.token.span.to(close.span);
    Ok((rest, Tree::new(DurationExpr::Paren { expr: inner.root, span }, height)))
}

fn number(input: Cursor<'_>) -> Parsed<'_, Tree<DurationExpr>> {
    let span = input.token.span;
    let (rest, (seconds, is_duration)) = literal(input)?;
    if seconds.is_nan() || seconds.abs() > SECONDS_MAX {
        return Err(failure(span, "duration out of range"));
    }
    let ms = (seconds * 1000.0).round() as i64;
    Ok((rest, Tree::new(DurationExpr::Literal { ms, seconds, is_number: !is_duration, span }, 1)))
}

/// The function that the word at the cursor names. `min` and `max` are what the last two were first called.
fn function(input: Cursor<'_>) -> Option<DurationFunction> {
    const NAMES: [(&str, DurationFunction); 6] = [
        ("step", DurationFunction::Step),
        ("range", DurationFunction::Range),
        ("min_of", DurationFunction::Min),
        ("max_of", DurationFunction::Max),
        ("min", DurationFunction::Min),
        ("max", DurationFunction::Max),
    ];
    let word = input.word();
    NAMES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, function)| *function)
}

/// `step()`, `range()`, `min_of(a, b)`, `max_of(a, b)`
fn call(input: Cursor<'_>, function: DurationFunction) -> Parsed<'_, Tree<DurationExpr>> {
    let (rest, _) = token(Kind::LeftParen).parse(input.advance())?;
    let (rest, args) = match function {
        DurationFunction::Step | DurationFunction::Range => (rest, Vec::new()),
        DurationFunction::Min | DurationFunction::Max => two_arguments(rest)?,
    };
    let (rest, _) = token(Kind::RightParen).parse(rest)?;
    let height = height_over(rest, args.iter().map(|arg| arg.height))?;
    let span = Span { start: input.token.span.start, end: rest.previous_end };
    let args = args.into_iter().map(|arg| *arg.root).collect();
    Ok((rest, Tree::new(DurationExpr::Call { function, args, span }, height)))
}

fn two_arguments(input: Cursor<'_>) -> Parsed<'_, Vec<Tree<DurationExpr>>> {
    let (rest, first) = nested(input, |input| operation(input, 0))?;
    let (rest, _) = token(Kind::Comma).parse(rest)?;
    let (rest, second) = nested(rest, |input| operation(input, 0))?;
    Ok((rest, vec![first, second]))
}
