//! Expressions: operands, signs and the precedence loop of binary operators.

use nom::{IResult, Parser};

use super::{
    Parsed, Problem, Tree, call, failure, height_over, matching, modifiers, nested, selector, token, unexpected,
};
use crate::ast::{Binary, BinaryOp, Expr, Node};
use crate::lexer::{Cursor, Keyword, Kind, duration_ms, number, unquote};
use crate::quote::Quoted;
use crate::span::Span;

/// Any expression.
pub(super) fn expression(input: Cursor<'_>) -> Parsed<'_, Tree<Expr>> {
    operation(input, 0)
}

/// Operands joined by operators that bind at least as tightly as `precedence_min`.
fn operation(input: Cursor<'_>, precedence_min: u8) -> Parsed<'_, Tree<Expr>> {
    let (mut input, mut left) = operand(input)?;
    while let Kind::Operator(op) = input.token.kind {
        if op.precedence() < precedence_min {
            break;
        }
        (input, left) = right_side(input.advance(), op, left)?;
    }
    Ok((input, left))
}

/// What follows an operator. A function of its own, so that the frames of nested parentheses stay small.
fn right_side(input: Cursor<'_>, op: BinaryOp, left: Tree<Expr>) -> Parsed<'_, Tree<Expr>> {
    let precedence = op.precedence();
    let right_min = if precedence == BinaryOp::PRECEDENCE_MAX { precedence } else { precedence + 1 };
    let (rest, matching) = matching::modifiers(input)?;
    let (rest, right) = nested(rest, |input| operation(input, right_min))?;
    Ok((rest, binary(rest, op, matching, left, right)?))
}

fn binary(
    input: Cursor<'_>,
    op: BinaryOp,
    modifiers: matching::Modifiers,
    left: Tree<Expr>,
    right: Tree<Expr>,
) -> Result<Tree<Expr>, nom::Err<Problem>> {
    let height = height_over(input, [left.height, right.height])?;
    let span = left.root.span.to(right.root.span);
    let matching::Modifiers { returns_bool, matching } = modifiers;
    let binary = Binary { op, returns_bool, matching, left: *left.root, right: *right.root };
    Ok(Tree::new(Expr { node: Node::Binary(Box::new(binary)), span }, height))
}

/// An operand with its signs and modifiers.
fn operand(input: Cursor<'_>) -> Parsed<'_, Tree<Expr>> {
    match input.token.kind {
        Kind::Operator(BinaryOp::Add) => signed(input, false),
        Kind::Operator(BinaryOp::Sub) => signed(input, true),
        _ => {
            let (rest, expr) = primary(input)?;
            modifiers::modifiers(rest, expr)
        }
    }
}

/// A sign binds more loosely than `^` and more tightly than all else. Signs of literals are part of them.
fn signed(input: Cursor<'_>, negative: bool) -> Parsed<'_, Tree<Expr>> {
    let (rest, inner) = nested(input.advance(), |input| operation(input, BinaryOp::PRECEDENCE_MAX))?;
    Ok((rest, apply_sign(rest, input.token.span, negative, inner)?))
}

fn apply_sign(
    input: Cursor<'_>,
    sign: Span,
    negative: bool,
    inner: Tree<Expr>,
) -> Result<Tree<Expr>, nom::Err<Problem>> {
    let Tree { root, height } = inner;
    let span = sign.to(root.span);
    if let Node::Number { value, is_duration } = root.node {
        let value = if negative { -value } else { value };
        return Ok(Tree::new(Expr { node: Node::Number { value, is_duration }, span }, height));
    }
    let height = height_over(input, [height])?;
    Ok(Tree::new(Expr { node: Node::Unary { negative, expr: root }, span }, height))
}

fn primary(input: Cursor<'_>) -> Parsed<'_, Tree<Expr>> {
    let is_called = || input.advance().token.kind == Kind::LeftParen;
    match input.token.kind {
        Kind::Number | Kind::Duration => number_node(input),
        Kind::String => string_node(input),
        Kind::LeftParen => parens(input),
        Kind::Identifier if is_called() => call::call(input),
        Kind::Keyword(Keyword::Start | Keyword::End | Keyword::Step | Keyword::Range) if is_called() => {
            call::call(input)
        }
        Kind::Aggregation(op) if call::is_aggregation(input) => call::aggregation(input, op),
        _ => selector_node(input),
    }
}

fn parens(input: Cursor<'_>) -> Parsed<'_, Tree<Expr>> {
    let (rest, inner) = nested(input.advance(), expression)?;
    close_parens(rest, input.token.span, inner)
}

fn close_parens(input: Cursor<'_>, open: Span, inner: Tree<Expr>) -> Parsed<'_, Tree<Expr>> {
    let (rest, close) = token(Kind::RightParen).parse(input)?;
    let height = height_over(rest, [inner.height])?;
    Ok((rest, Tree::new(Expr { node: Node::Paren(inner.root), span: open.to(close.span) }, height)))
}

/// The value of a number or duration in seconds, and whether it is a duration.
pub(super) fn literal(input: Cursor<'_>) -> Parsed<'_, (f64, bool)> {
    let span = input.token.span;
    let value = match input.token.kind {
        Kind::Number => (number(input.word()).map_err(|message| failure(span, message))?, false),
        Kind::Duration => {
            let ms = duration_ms(input.word()).map_err(|error| failure(span, error.to_string()))?;
            (ms as f64 / 1000.0, true)
        }
        _ => return Err(unexpected(input)),
    };
    Ok((input.advance(), value))
}

fn number_node(input: Cursor<'_>) -> Parsed<'_, Tree<Expr>> {
    let (rest, (value, is_duration)) = literal(input)?;
    Ok((rest, Tree::new(Expr { node: Node::Number { value, is_duration }, span: input.token.span }, 1)))
}

fn string_node(input: Cursor<'_>) -> Parsed<'_, Tree<Expr>> {
    let (rest, text) = string(input)?;
    Ok((rest, Tree::new(Expr { node: Node::String(text), span: input.token.span }, 1)))
}

/// A string without its quotes.
pub(super) fn string(input: Cursor<'_>) -> IResult<Cursor<'_>, String, Problem> {
    if input.token.kind != Kind::String {
        return Err(unexpected(input));
    }
    let text = unquote(input.word()).ok_or_else(|| {
        let message = format!("error unquoting string {}: invalid UTF-8", Quoted(input.word()));
        failure(input.token.span, message)
    })?;
    Ok((input.advance(), text))
}

fn selector_node(input: Cursor<'_>) -> Parsed<'_, Tree<Expr>> {
    let (rest, selector) = selector::selector(input)?;
    let span = Span { start: input.token.span.start, end: rest.previous_end };
    Ok((rest, Tree::new(Expr { node: Node::VectorSelector(selector), span }, 1)))
}

/// True if an expression can start with such a token.
pub(super) fn starts_expression(kind: Kind) -> bool {
    selector::is_metric_name(kind)
        || matches!(
            kind,
            Kind::Number
                | Kind::Duration
                | Kind::String
                | Kind::LeftParen
                | Kind::LeftBrace
                | Kind::Operator(BinaryOp::Add | BinaryOp::Sub)
        )
}
