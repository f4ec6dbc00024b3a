//! Function calls and aggregations.

use nom::Parser;

use super::expr::{expression, starts_expression};
use super::labels::labels;
use super::{Parsed, Tree, failure, height_over, nested, token, unexpected, within};
use crate::ast::{Aggregation, AggregationOp, Expr, Grouping, Node};
use crate::functions::function;
use crate::lexer::{Cursor, Keyword, Kind};
use crate::quote::Quoted;
use crate::span::Span;

/// `name(arguments)`
pub(super) fn call(input: Cursor<'_>) -> Parsed<'_, Tree<Expr>> {
    let (rest, args) = arguments(input.advance())?;
    let name = function(input.word())
        .ok_or_else(|| failure(input.token.span, format!("unknown function with name {}", Quoted(input.word()))))?;
    let height = height_over(rest, args.iter().map(|arg| arg.height))?;
    let args = args.into_iter().map(|arg| arg.root).collect();
    let span = Span { start: input.token.span.start, end: rest.previous_end };
    Ok((rest, Tree { root: Expr { node: Node::Call { function: name.name, args }, span }, height }))
}

/// `(a, b)`; a comma before the end is refused.
fn arguments(input: Cursor<'_>) -> Parsed<'_, Vec<Tree<Expr>>> {
    let (mut input, _) = token(Kind::LeftParen).parse(input)?;
    let mut args = Vec::new();
    if input.token.kind == Kind::RightParen {
        return Ok((input.advance(), args));
    }
    loop {
        let (rest, arg) = nested(input, expression)?;
        args.push(arg);
        match rest.token.kind {
            Kind::RightParen => return Ok((rest.advance(), args)),
            Kind::Comma => input = rest.advance(),
            _ => return Err(unexpected(rest)),
        }
        if !starts_expression(input.token.kind) && !matches!(input.token.kind, Kind::Error(_)) {
            return Err(failure(rest.token.span, "trailing commas not allowed in function call args"));
        }
    }
}

/// True if the operator at the cursor aggregates; otherwise it is a metric's name.
pub(super) fn is_aggregation(input: Cursor<'_>) -> bool {
    matches!(input.advance().token.kind, Kind::LeftParen | Kind::Keyword(Keyword::By | Keyword::Without))
}

/// `sum by (a) (x)` or `sum(x) by (a)`.
pub(super) fn aggregation(input: Cursor<'_>, op: AggregationOp) -> Parsed<'_, Tree<Expr>> {
    let (rest, (args, grouping)) = within("aggregation", "", |input| {
        let (input, before) = grouping(input)?;
        let (input, args) = arguments(input)?;
        match before {
            None => {
                let (input, after) = grouping(input)?;
                Ok((input, (args, after)))
            }
            before => Ok((input, (args, before))),
        }
    })(input.advance())?;
    let span = Span { start: input.token.span.start, end: rest.previous_end };
    let height = height_over(rest, args.iter().map(|arg| arg.height))?;
    let (param, expr) = operands(op, args.into_iter().map(|arg| arg.root).collect()).map_err(|m| failure(span, m))?;
    // `by ()` is one group, as no grouping is.
    let grouping = grouping.filter(|grouping| grouping.without || !grouping.labels.is_empty());
    let node = Node::Aggregation(Box::new(Aggregation { op, grouping, param, expr }));
    Ok((rest, Tree { root: Expr { node, span }, height }))
}

/// The parameter, if the operator has one, and what is aggregated.
fn operands(op: AggregationOp, args: Vec<Expr>) -> Result<(Option<Expr>, Expr), String> {
    let count = args.len();
    let expected = if op.param_type().is_some() { 2 } else { 1 };
    let mut args = args.into_iter();
    match (args.next(), args.next()) {
        (None, _) => Err("no arguments for aggregate expression provided".to_owned()),
        (Some(expr), None) if expected == 1 => Ok((None, expr)),
        (Some(param), Some(expr)) if expected == 2 && count == 2 => Ok((Some(param), expr)),
        _ => Err(format!(
            "wrong number of arguments for aggregate expression provided, expected {expected}, got {count}"
        )),
    }
}

fn grouping(input: Cursor<'_>) -> Parsed<'_, Option<Grouping>> {
    let without = match input.token.kind {
        Kind::Keyword(Keyword::By) => false,
        Kind::Keyword(Keyword::Without) => true,
        _ => return Ok((input, None)),
    };
    let (rest, labels) = labels(input.advance())?;
    Ok((rest, Some(Grouping { without, labels })))
}
