//! Lengths of time: literals, and arithmetic over them and over the query's own times.

use nom::Parser;
use nom::sequence::pair;

use super::expr::literal;
use super::{Parsed, Tree, failure, height_over, nested, token, unexpected};
use crate::ast::{BinaryOp, DurationExpr, DurationFunction};
use crate::lexer::{Cursor, Kind};
use crate::span::Span;

/// Seconds of the longest duration: 64 bits of nanoseconds.
const SECONDS_MAX: f64 = i64::MAX as f64 / 1e9;

/// A range or step. What is known to be no length is refused here, the rest when the query's times are known.
pub(super) fn positive(input: Cursor<'_>) -> Parsed<'_, Tree<DurationExpr>> {
    let (rest, duration) = operation(input, 0)?;
    if let DurationExpr::Literal { ms, span, .. } = duration.root
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
        let precedence = op.precedence();
        if precedence < precedence_min {
            break;
        }
        let right_min = if precedence == BinaryOp::PRECEDENCE_MAX { precedence } else { precedence + 1 };
        let (rest, right) = nested(input.advance(), |input| operation(input, right_min))?;
        if let DurationExpr::Literal { seconds: 0.0, .. } = right.root {
            match op {
                BinaryOp::Div => return Err(failure(input.token.span, "division by zero")),
                BinaryOp::Mod => return Err(failure(input.token.span, "modulo by zero")),
                _ => {}
            }
        }
        let height = height_over(rest, [left.height, right.height])?;
        let span = left.root.span().to(right.root.span());
        let root = DurationExpr::Binary { op, left: Box::new(left.root), right: Box::new(right.root), span };
        left = Tree { root, height };
        input = rest;
    }
    Ok((input, left))
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
    let sign = input.token.span;
    let (rest, inner) = nested(input.advance(), signed)?;
    let span = sign.to(inner.root.span());
    let root = match inner.root {
        DurationExpr::Literal { ms, seconds, is_number, .. } if negative => {
            DurationExpr::Literal { ms: -ms, seconds: -seconds, is_number, span }
        }
        DurationExpr::Literal { ms, seconds, is_number, .. } => DurationExpr::Literal { ms, seconds, is_number, span },
        root if negative => {
            let height = height_over(rest, [inner.height])?;
            return Ok((rest, Tree { root: DurationExpr::Unary { negative, expr: Box::new(root), span }, height }));
        }
        root => root,
    };
    Ok((rest, Tree { root, height: inner.height }))
}

fn operand(input: Cursor<'_>) -> Parsed<'_, Tree<DurationExpr>> {
    match input.token.kind {
        Kind::Number | Kind::Duration => number(input),
        Kind::LeftParen => {
            let (rest, inner) = nested(input.advance(), |input| operation(input, 0))?;
            let (rest, close) = token(Kind::RightParen).parse(rest)?;
            let height = height_over(rest, [inner.height])?;
            let span = input.token.span.to(close.span);
            Ok((rest, Tree { root: DurationExpr::Paren { expr: Box::new(inner.root), span }, height }))
        }
        _ => call(input),
    }
}

fn number(input: Cursor<'_>) -> Parsed<'_, Tree<DurationExpr>> {
    let span = input.token.span;
    let (rest, (seconds, is_duration)) = literal(input)?;
    if seconds.is_nan() || seconds.abs() > SECONDS_MAX {
        return Err(failure(span, "duration out of range"));
    }
    let ms = (seconds * 1000.0).round() as i64;
    Ok((rest, Tree { root: DurationExpr::Literal { ms, seconds, is_number: !is_duration, span }, height: 1 }))
}

/// `step()`, `range()`, `min_of(a, b)`, `max_of(a, b)`; also `min` and `max`, as they were first called.
fn call(input: Cursor<'_>) -> Parsed<'_, Tree<DurationExpr>> {
    let word = input.word().to_ascii_lowercase();
    let function = match (input.token.kind, word.as_str()) {
        (Kind::String, _) => return Err(unexpected(input)),
        (_, "step") => DurationFunction::Step,
        (_, "range") => DurationFunction::Range,
        (_, "min" | "min_of") => DurationFunction::Min,
        (_, "max" | "max_of") => DurationFunction::Max,
        _ => return Err(unexpected(input)),
    };
    let (rest, args) = match function {
        DurationFunction::Step | DurationFunction::Range => {
            let (rest, _) = pair(token(Kind::LeftParen), token(Kind::RightParen)).parse(input.advance())?;
            (rest, Vec::new())
        }
        DurationFunction::Min | DurationFunction::Max => {
            let (rest, _) = token(Kind::LeftParen).parse(input.advance())?;
            let (rest, first) = nested(rest, |input| operation(input, 0))?;
            let (rest, _) = token(Kind::Comma).parse(rest)?;
            let (rest, second) = nested(rest, |input| operation(input, 0))?;
            let (rest, _) = token(Kind::RightParen).parse(rest)?;
            (rest, vec![first, second])
        }
    };
    let height = height_over(rest, args.iter().map(|arg| arg.height))?;
    let span = Span { start: input.token.span.start, end: rest.previous_end };
    let args = args.into_iter().map(|arg| arg.root).collect();
    Ok((rest, Tree { root: DurationExpr::Call { function, args, span }, height }))
}
