//! What may stand behind an operand: ranges, subqueries, `offset`, `@`.

use nom::Parser;
use nom::sequence::pair;

use super::matching::signed_number;
use super::{Parsed, Problem, Tree, duration, failure, height_over, token, unexpected, within};
use crate::ast::{AtModifier, DurationExpr, Expr, Modifiers, Node};
use crate::lexer::{Cursor, Keyword, Kind};
use crate::quote::plain;
use crate::span::Span;

const SUBQUERY: &str = "subquery selector";

/// Reads all modifiers behind an operand.
pub(super) fn modifiers(mut input: Cursor<'_>, mut expr: Tree<Expr>) -> Parsed<'_, Tree<Expr>> {
    loop {
        input = match input.token.kind {
            Kind::LeftBracket => {
                let (rest, ranged) = brackets(input, expr)?;
                expr = ranged;
                rest
            }
            Kind::Keyword(Keyword::Offset) => offset(input.advance(), &mut expr)?,
            Kind::At => at(input.advance(), &mut expr)?,
            Kind::Keyword(Keyword::Anchored | Keyword::Smoothed) => {
                let word = input.word().to_ascii_lowercase();
                return Err(failure(expr.root.span, format!("{word} modifier is experimental and not enabled")));
            }
            _ => return Ok((input, expr)),
        };
    }
}

/// `[range]` or `[range:step]`.
fn brackets(input: Cursor<'_>, expr: Tree<Expr>) -> Parsed<'_, Tree<Expr>> {
    let open = input.token.span;
    let (input, range) = within(SUBQUERY, "number or duration", duration::positive)(input.advance())?;
    match input.token.kind {
        Kind::RightBracket => matrix(input, open, expr, range),
        Kind::Colon => subquery(input.advance(), expr, range),
        _ => within("subquery or range", "\":\" or \"]\"", |input| Err(unexpected(input)))(input),
    }
}

fn matrix<'a>(input: Cursor<'a>, open: Span, expr: Tree<Expr>, range: Tree<DurationExpr>) -> Parsed<'a, Tree<Expr>> {
    let Node::VectorSelector(selector) = expr.root.node else {
        return Err(failure(open, "ranges only allowed for vector selectors"));
    };
    if selector.modifiers.offset.is_some() {
        return Err(failure(open, "no offset modifiers allowed before range"));
    }
    if matches!(selector.modifiers.at, Some(AtModifier::Time(_))) {
        return Err(failure(open, "no @ modifiers allowed before range"));
    }
    let height = height_over(input, [expr.height, range.height])?;
    let span = expr.root.span.to(input.token.span);
    let node = Node::MatrixSelector { selector, range: *range.root };
    Ok((input.advance(), Tree::new(Expr { node, span }, height)))
}

/// What follows `[range:`.
fn subquery(input: Cursor<'_>, expr: Tree<Expr>, range: Tree<DurationExpr>) -> Parsed<'_, Tree<Expr>> {
    let (input, step) = match input.token.kind {
        Kind::RightBracket => (input, None),
        _ => {
            let (input, step) = within(SUBQUERY, "number or duration or \"]\"", duration::positive)(input)?;
            (input, Some(step))
        }
    };
    let (rest, close) = within(SUBQUERY, "\"]\"", |input| token(Kind::RightBracket).parse(input))(input)?;
    let step_height = step.as_ref().map_or(0, |step| step.height);
    let height = height_over(rest, [expr.height, range.height, step_height])?;
    let span = expr.root.span.to(close.span);
    let node = Node::Subquery {
        expr: expr.root,
        range: *range.root,
        step: step.map(|step| *step.root),
        modifiers: Modifiers::default(),
    };
    Ok((rest, Tree::new(Expr { node, span }, height)))
}

/// The modifiers of what can have some.
fn modifiers_of<'e>(expr: &'e mut Expr, modifier: &str) -> Result<&'e mut Modifiers, nom::Err<Problem>> {
    match &mut expr.node {
        Node::VectorSelector(selector) | Node::MatrixSelector { selector, .. } => Ok(&mut selector.modifiers),
        Node::Subquery { modifiers, .. } => Ok(modifiers),
        _ => Err(failure(
            expr.span,
            format!(
                "{modifier} modifier must be preceded by an instant vector selector or range vector selector or a \
                 subquery"
            ),
        )),
    }
}

fn offset<'a>(input: Cursor<'a>, expr: &mut Tree<Expr>) -> Result<Cursor<'a>, nom::Err<Problem>> {
    let (rest, offset) = within("offset", "number or duration", duration::offset)(input)?;
    let span = expr.root.span;
    let modifiers = modifiers_of(&mut expr.root, "offset")?;
    if modifiers.offset.is_some() {
        return Err(failure(span, "offset may not be set multiple times"));
    }
    // An offset of nothing is none.
    modifiers.offset = Some(*offset.root).filter(|offset| !matches!(offset, DurationExpr::Literal { ms: 0, .. }));
    expr.root.span.end = rest.previous_end;
    expr.height = expr.height.max(height_over(rest, [offset.height])?);
    Ok(rest)
}

fn at<'a>(input: Cursor<'a>, expr: &mut Tree<Expr>) -> Result<Cursor<'a>, nom::Err<Problem>> {
    let span = expr.root.span;
    let (rest, at) = within("@", "timestamp", |input| at_time(input, span))(input)?;
    let modifiers = modifiers_of(&mut expr.root, "@")?;
    if modifiers.at.is_some() {
        return Err(failure(span, "@ <timestamp> may not be set multiple times"));
    }
    modifiers.at = Some(at);
    expr.root.span.end = rest.previous_end;
    Ok(rest)
}

/// `start()`, `end()` or seconds since 1970.
fn at_time(input: Cursor<'_>, span: Span) -> Parsed<'_, AtModifier> {
    let edge = match input.token.kind {
        Kind::Keyword(Keyword::Start) => AtModifier::Start,
        Kind::Keyword(Keyword::End) => AtModifier::End,
        _ => {
            let (rest, seconds) = signed_number(input)?;
            let ms = (seconds * 1000.0).round();
            // Negated, so that NaN is refused too.
            if !(ms > i64::MIN as f64 && ms < i64::MAX as f64) {
                let shown = if seconds.is_finite() { format!("{seconds:.6}") } else { plain(seconds) };
                return Err(failure(span, format!("timestamp out of bounds for @ modifier: {shown}")));
            }
            return Ok((rest, AtModifier::Time(ms as i64)));
        }
    };
    let (rest, _) = pair(token(Kind::LeftParen), token(Kind::RightParen)).parse(input.advance())?;
    Ok((rest, edge))
}
