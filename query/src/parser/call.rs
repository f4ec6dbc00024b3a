//! Function calls and aggregations.

use nom::{Err, Parser};

use super::expr::{expression, starts_expression};
use super::labels::labels;
use super::{Parsed, Problem, Tree, failure, height_over, nested, token, unexpected, within};
use crate::ast::{Aggregation, AggregationOp, Expr, Grouping, Node};
use crate::functions::function;
use crate::lexer::{Cursor, Keyword, Kind};
use crate::quote::Quoted;
use crate::span::Span;

/// `name(arguments)`
pub(super) fn call(input: Cursor<'_>) -> Parsed<'_, Tree<Expr>> {
    let (rest, args) = arguments(input.advance())?;
    Ok((rest, call_node(input, rest, args)?))
}

fn call_node(input: Cursor<'_>, rest: Cursor<'_>, args: Vec<Tree<Expr>>) -> Result<Tree<Expr>, Err<Problem>> {
    let name = function(input.word())
        .ok_or_else(|| failure(input.token.span, format!("unknown function with name {}", Quoted(input.word()))))?;
    let height = height_over(rest, args.iter().map(|arg| arg.height))?;
    let args = args.into_iter().map(|arg| *arg.root).collect();
    let span = Span { start: input.token.span.start, end: rest.previous_end };
    Ok(Tree::new(Expr { node: Node::Call { function: name.name, args }, span }, height))
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
        if rest.token.kind == Kind::RightParen {
            return Ok((rest.advance(), args));
        }
        input = comma(rest)?;
    }
}

/// The comma before another argument.
fn comma(input: Cursor<'_>) -> Result<Cursor<'_>, Err<Problem>> {
    let (rest, comma) = token(Kind::Comma).parse(input)?;
    if starts_expression(rest.token.kind) || matches!(rest.token.kind, Kind::Error(_)) {
        Ok(rest)
    } else {
        Err(failure(comma.span, "trailing commas not allowed in function call args"))
    }
}

/// True if the operator at the cursor aggregates; otherwise it is a metric's name.
pub(super) fn is_aggregation(input: Cursor<'_>) -> bool {
    matches!(input.advance().token.kind, Kind::LeftParen | Kind::Keyword(Keyword::By | Keyword::Without))
}

/// `sum by (a) (x)` or `sum(x) by (a)`.
pub(super) fn aggregation(input: Cursor<'_>, op: AggregationOp) -> Parsed<'_, Tree<Expr>> {
    let (rest, (args, grouping)) = within("aggregation", "", aggregation_parts)(input.advance())?;
    let span = Span { start: input.token.span.start, end: rest.previous_end };
    Ok((rest, aggregation_node(rest, op, span, args, grouping)?))
}

fn aggregation_parts(input: Cursor<'_>) -> Parsed<'_, (Vec<Tree<Expr>>, Option<Grouping>)> {
    let (input, before) = grouping(input)?;
    let (input, args) = arguments(input)?;
    if before.is_some() {
        return Ok((input, (args, before)));
    }
    if let Kind::Error(_) = input.token.kind {
        return Err(unexpected(input));
    }
    let (input, after) = grouping(input)?;
    Ok((input, (args, after)))
}

fn aggregation_node(
    input: Cursor<'_>,
    op: AggregationOp,
    span: Span,
    args: Vec<Tree<Expr>>,
    grouping: Option<Grouping>,
) -> Result<Tree<Expr>, Err<Problem>> {
    let height = height_over(input, args.iter().map(|arg| arg.height))?;
    let args = args.into_iter().map(|arg| *arg.root).collect();
    let (param, expr) = operands(op, args).map_err(|message| failure(span, message))?;
    // `by ()` is one group, as no grouping is.
    let grouping = grouping.filter(|grouping| grouping.without || !grouping.labels.is_empty());
    let node = Node::Aggregation(Box::new(Aggregation { op, grouping, param, expr }));
    Ok(Tree::new(Expr { node, span }, height))
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
