//! The grammar of PromQL 3.x over spanned tokens.
//!
//! Every rule takes a [`Cursor`] and gives the cursor behind what it read, as `nom` wants it. Which rule applies is
//! always clear from the next token or two, so nothing is read twice and the first error is the error. Binary operators
//! are one precedence loop. Recursion is bounded by the depth limit on the way down ([`nested`]) and the trees by the
//! same limit on the way up ([`Tree`]), so that nothing that walks or drops a tree can overflow the stack.

mod call;
mod duration;
mod expr;
mod labels;
mod matching;
mod modifiers;
mod problem;
mod selector;
#[cfg(test)]
mod tests;

pub(crate) use problem::{Context, Problem};

use nom::combinator::verify;
use nom::error::ParseError;
use nom::{Err, IResult, Parser};

use crate::ast::Expr;
use crate::error::{ErrorKind, QueryError};
use crate::lexer::{Cursor, Kind, Source, Token};
use crate::options::EngineOptions;
use model::Matcher;

/// What a rule gives.
type Parsed<'a, T> = IResult<Cursor<'a>, T, Problem>;

/// A tree with its height; a leaf has height 1. Boxed: rules hand trees on and on, and the stack is what bounds depth.
struct Tree<T> {
    root: Box<T>,
    height: usize,
}

/// Reads and type-checks an expression.
///
/// # Errors
/// A parse error `LINE:COLUMN: parse error: MESSAGE` as Prometheus words it, or a limit: `query.max_expression_bytes`,
/// `query.max_depth`.
pub fn parse(text: &str, options: &EngineOptions) -> Result<Expr, QueryError> {
    let mut expr = parse_unchecked(text, options)?;
    crate::check::check(&mut expr, text).map_err(|problem| problem.into_error(text))?;
    Ok(expr)
}

fn parse_unchecked(text: &str, options: &EngineOptions) -> Result<Expr, QueryError> {
    let source = source(text, options)?;
    let start = Cursor::new(&source);
    if start.token.kind == Kind::End {
        let problem = Problem::new(crate::Span::default(), "no expression found in input");
        return Err(problem.into_error(text));
    }
    whole(expr::expression, start).map(|expr| *expr.root)
}

/// Reads a series selector, as `match[]` has it.
///
/// # Errors
/// As [`parse`]; and if all its matchers would match a series without the label, because it would then mean all series.
pub fn parse_matchers(text: &str, options: &EngineOptions) -> Result<Vec<Matcher>, QueryError> {
    let matchers = parse_any_matchers(text, options)?;
    if matchers.iter().all(Matcher::matches_empty) {
        let message = "match[] must contain at least one non-empty matcher".to_owned();
        return Err(QueryError { kind: ErrorKind::Parse, message, span: None });
    }
    Ok(matchers)
}

/// As [`parse_matchers`], where all series but some, or all, may well be meant.
///
/// # Errors
/// As [`parse`].
pub fn parse_any_matchers(text: &str, options: &EngineOptions) -> Result<Vec<Matcher>, QueryError> {
    let source = source(text, options)?;
    Ok(whole(selector::selector, Cursor::new(&source))?.matchers)
}

fn source<'a>(text: &'a str, options: &EngineOptions) -> Result<Source<'a>, QueryError> {
    if text.len() > options.expression_bytes_max {
        return Err(EngineOptions::limit_error("query.max_expression_bytes", options.expression_bytes_max));
    }
    Ok(Source { text, depth_max: options.depth_max })
}

/// Runs a rule that must read everything.
fn whole<'a, T>(rule: impl Fn(Cursor<'a>) -> Parsed<'a, T>, start: Cursor<'a>) -> Result<T, QueryError> {
    let result = rule(start).and_then(|(rest, output)| match rest.token.kind {
        Kind::End => Ok(output),
        _ => Err(unexpected(rest)),
    });
    result.map_err(|error| match error {
        Err::Error(problem) | Err::Failure(problem) => problem.into_error(start.source.text),
        Err::Incomplete(_) => Problem::unexpected(start).into_error(start.source.text),
    })
}

/// Takes one token.
fn any_token(input: Cursor<'_>) -> Parsed<'_, Token> {
    match input.token.kind {
        Kind::End | Kind::Error(_) => Err(Err::Error(Problem::unexpected(input))),
        _ => Ok((input.advance(), input.token)),
    }
}

/// Takes a token of that kind.
fn token<'a>(kind: Kind) -> impl Parser<Cursor<'a>, Output = Token, Error = Problem> {
    verify(any_token, move |token: &Token| token.kind == kind)
}

/// Runs a rule whose unexpected tokens are reported with this context unless a rule inside has a nearer one.
fn within<'a, T>(
    within: &'static str,
    expected: &'static str,
    mut rule: impl FnMut(Cursor<'a>) -> Parsed<'a, T>,
) -> impl FnMut(Cursor<'a>) -> Parsed<'a, T> {
    move |input| rule(input).map_err(|error| error.map(|problem| problem.within(Context { within, expected })))
}

/// Runs a rule one level deeper.
fn nested<'a, T>(input: Cursor<'a>, rule: impl FnOnce(Cursor<'a>) -> Parsed<'a, T>) -> Parsed<'a, T> {
    let depth = input.depth;
    if depth >= input.source.depth_max {
        return Err(Err::Failure(Problem::depth(input.source.depth_max)));
    }
    let (rest, output) = rule(input.at_depth(depth + 1))?;
    Ok((rest.at_depth(depth), output))
}

impl<T> Tree<T> {
    fn new(root: T, height: usize) -> Self {
        Tree { root: Box::new(root), height }
    }
}

/// The height of a tree over trees of these heights.
fn height_over(input: Cursor<'_>, heights: impl IntoIterator<Item = usize>) -> Result<usize, Err<Problem>> {
    let height = heights.into_iter().max().unwrap_or(0) + 1;
    if height > input.source.depth_max { Err(Err::Failure(Problem::depth(input.source.depth_max))) } else { Ok(height) }
}

fn unexpected(input: Cursor<'_>) -> Err<Problem> {
    Err::Failure(Problem::from_error_kind(input, nom::error::ErrorKind::Fail))
}

fn failure(at: crate::Span, message: impl Into<String>) -> Err<Problem> {
    Err::Failure(Problem::new(at, message))
}
