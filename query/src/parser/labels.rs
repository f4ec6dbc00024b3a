//! Lists of label names, as `by`, `on` and `group_left` have them.

use super::expr::string;
use super::{Parsed, failure, unexpected, within};
use crate::ast::BinaryOp;
use crate::lexer::{Cursor, Kind};

const CONTEXT: &str = "grouping opts";

/// `(a, "b c",)`
pub(super) fn labels(input: Cursor<'_>) -> Parsed<'_, Vec<String>> {
    if input.token.kind != Kind::LeftParen {
        return within(CONTEXT, "\"(\"", |input| Err(unexpected(input)))(input);
    }
    let (mut input, mut labels) = (input.advance(), Vec::new());
    loop {
        // A comma may stand before the end.
        if input.token.kind == Kind::RightParen {
            return Ok((input.advance(), labels));
        }
        let (rest, name) = within(CONTEXT, "label", label)(input)?;
        labels.push(name);
        input = match rest.token.kind {
            Kind::Comma => rest.advance(),
            Kind::RightParen => rest,
            _ => return within(CONTEXT, "\",\" or \")\"", |input| Err(unexpected(input)))(rest),
        };
    }
}

/// A label's name; all words may be one here.
fn label(input: Cursor<'_>) -> Parsed<'_, String> {
    match input.token.kind {
        Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregation(_) | Kind::Keyword(_) => {
            Ok((input.advance(), input.word().to_owned()))
        }
        Kind::Operator(op) if BinaryOp::WORDS.contains(&op) => Ok((input.advance(), input.word().to_owned())),
        Kind::String => {
            let (rest, name) = string(input)?;
            if name.is_empty() {
                let message = format!(
                    "unexpected {} in {CONTEXT}, expected valid label",
                    input.token.describe(input.source.text)
                );
                return Err(failure(input.token.span, message));
            }
            Ok((rest, name))
        }
        _ => Err(unexpected(input)),
    }
}
