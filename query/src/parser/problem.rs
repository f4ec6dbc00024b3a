//! What the grammar and the type check object to, worded as Prometheus words it.

use nom::error::{ErrorKind as NomKind, ParseError};

use crate::error::{ErrorKind, QueryError};
use crate::lexer::{Cursor, Kind};
use crate::options::EngineOptions;
use crate::span::Span;

/// The first thing that is wrong with an expression. Boxed: it travels through every step of the grammar.
#[derive(Debug)]
pub(crate) struct Problem(Box<Detail>);

#[derive(Debug)]
struct Detail {
    at: Span,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    /// A token that does not belong there. Its context is added by the innermost rule that has one.
    Unexpected {
        token: String,
        context: Option<Context>,
    },
    Message(String),
    Depth(usize),
}

/// What was being read, and what could have stood there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    /// `label matching`
    pub(crate) within: &'static str,
    /// `identifier or "}"`; may be empty.
    pub(crate) expected: &'static str,
}

impl Problem {
    /// An error with its own words.
    pub(crate) fn new(at: Span, message: impl Into<String>) -> Self {
        Problem(Box::new(Detail { at, cause: Cause::Message(message.into()) }))
    }

    /// The token at the cursor does not belong there. If it is an error of the lexer, that is the problem.
    pub(crate) fn unexpected(input: Cursor<'_>) -> Self {
        let cause = match input.token.kind {
            Kind::Error(error) => Cause::Message(error.message(input.word())),
            _ => Cause::Unexpected { token: input.token.describe(input.source.text), context: None },
        };
        Problem(Box::new(Detail { at: input.token.span, cause }))
    }

    /// The expression is nested too deeply.
    pub(crate) fn depth(depth_max: usize) -> Self {
        Problem(Box::new(Detail { at: Span::default(), cause: Cause::Depth(depth_max) }))
    }

    /// Adds what was being read, if nothing further inside did.
    #[must_use]
    pub(crate) fn within(mut self, outer: Context) -> Self {
        if let Cause::Unexpected { context: context @ None, .. } = &mut self.0.cause {
            *context = Some(outer);
        }
        self
    }

    /// The error for the caller: `LINE:COLUMN: parse error: MESSAGE`.
    pub(crate) fn into_error(self, text: &str) -> QueryError {
        let Detail { at, cause } = *self.0;
        let message = match cause {
            Cause::Depth(limit) => return EngineOptions::limit_error("query.max_depth", limit),
            Cause::Message(message) => message,
            Cause::Unexpected { token, context } => match context {
                None => format!("unexpected {token}"),
                Some(Context { within, expected: "" }) => format!("unexpected {token} in {within}"),
                Some(Context { within, expected }) => format!("unexpected {token} in {within}, expected {expected}"),
            },
        };
        let place = if text.is_empty() {
            "unknown position".to_owned()
        } else {
            let (line, column) = at.line_column(text);
            format!("{line}:{column}")
        };
        QueryError { kind: ErrorKind::Parse, message: format!("{place}: parse error: {message}"), span: Some(at) }
    }
}

impl<'a> ParseError<Cursor<'a>> for Problem {
    fn from_error_kind(input: Cursor<'a>, _: NomKind) -> Self {
        Problem::unexpected(input)
    }

    fn append(_: Cursor<'a>, _: NomKind, other: Self) -> Self {
        other
    }
}
