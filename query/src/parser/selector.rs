//! Series selectors: a name, conditions in braces, or both.

use model::{METRIC_NAME, MatchOp, Matcher};

use super::expr::string;
use super::{Parsed, failure, unexpected, within};
use crate::ast::{BinaryOp, Modifiers, Selector};
use crate::lexer::{Cursor, Keyword, Kind};
use crate::regex_error;

const CONTEXT: &str = "label matching";

/// True if a metric's name can be such a token: keywords are names where they cannot mean anything else.
pub(super) fn is_metric_name(kind: Kind) -> bool {
    match kind {
        Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregation(_) => true,
        Kind::Operator(op) => op.is_set(),
        Kind::Keyword(keyword) => matches!(
            keyword,
            Keyword::Offset
                | Keyword::Smoothed
                | Keyword::Anchored
                | Keyword::By
                | Keyword::Without
                | Keyword::Start
                | Keyword::End
                | Keyword::Step
                | Keyword::Range
        ),
        _ => false,
    }
}

/// `name`, `name{…}` or `{…}`.
pub(super) fn selector(input: Cursor<'_>) -> Parsed<'_, Selector> {
    let (rest, name) = match input.token.kind {
        Kind::LeftBrace => (input, None),
        kind if is_metric_name(kind) => (input.advance(), Some(input.word().to_owned())),
        _ => return Err(unexpected(input)),
    };
    let (rest, mut matchers) = match rest.token.kind {
        Kind::LeftBrace => braces(rest.advance())?,
        _ => (rest, Vec::new()),
    };
    // The name comes last: so the type check finds names that stand in the braces too.
    matchers.extend(name.as_deref().map(|name| Matcher::equal(METRIC_NAME, name)));
    Ok((rest, Selector { name, matchers, modifiers: Modifiers::default() }))
}

/// What follows `{`.
fn braces(input: Cursor<'_>) -> Parsed<'_, Vec<Matcher>> {
    let (mut input, mut matchers) = (input, Vec::new());
    if input.token.kind == Kind::RightBrace {
        return Ok((input.advance(), matchers));
    }
    loop {
        let (rest, matcher) = within(CONTEXT, "identifier or \"}\"", matcher)(input)?;
        matchers.push(matcher);
        let (rest, is_last) = within(CONTEXT, "\",\" or \"}\"", |input| match input.token.kind {
            Kind::Comma => {
                let behind = input.advance();
                let is_last = behind.token.kind == Kind::RightBrace;
                Ok((if is_last { behind.advance() } else { behind }, is_last))
            }
            Kind::RightBrace => Ok((input.advance(), true)),
            _ => Err(unexpected(input)),
        })(rest)?;
        if is_last {
            return Ok((rest, matchers));
        }
        input = rest;
    }
}

/// `label="value"`, `"label"="value"` or `"metric"`.
fn matcher(input: Cursor<'_>) -> Parsed<'_, Matcher> {
    match input.token.kind {
        Kind::Identifier => {
            let (rest, op) = within(CONTEXT, "label matching operator", match_op)(input.advance())?;
            condition(input, rest, input.word().to_owned(), op)
        }
        Kind::String => {
            let (rest, name) = string(input)?;
            match match_op(rest) {
                Ok((rest, op)) => condition(input, rest, name, op),
                Err(_) => Ok((rest, Matcher::equal(METRIC_NAME, name))),
            }
        }
        _ => Err(unexpected(input)),
    }
}

fn match_op(input: Cursor<'_>) -> Parsed<'_, MatchOp> {
    let op = match input.token.kind {
        Kind::Assign => MatchOp::Equal,
        Kind::Operator(BinaryOp::NotEqual) => MatchOp::NotEqual,
        Kind::EqualRegex => MatchOp::Regex,
        Kind::NotEqualRegex => MatchOp::NotRegex,
        _ => return Err(unexpected(input)),
    };
    Ok((input.advance(), op))
}

fn condition<'a>(start: Cursor<'a>, input: Cursor<'a>, name: String, op: MatchOp) -> Parsed<'a, Matcher> {
    let (rest, value) = within(CONTEXT, "string", string)(input)?;
    match Matcher::new(name, op, value.as_str()) {
        Ok(matcher) => Ok((rest, matcher)),
        Err(error) => Err(failure(start.token.span, regex_error::message(&value, &error))),
    }
}
