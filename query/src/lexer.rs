//! Splits an expression into tokens, one at a time and without copying: a cursor knows the token it stands at and what
//! the lexer has to know to find the next one.
//!
//! Lexing depends on brackets: between braces words are no keywords, between square brackets there are lengths of time.
//! An error of the lexer is a token too; whoever meets it reports it, so that an error further left comes first.

mod number;
mod text;
mod token;

pub(crate) use number::{duration_ms, number};
pub(crate) use text::unquote;
pub(crate) use token::{Keyword, Kind, LexError, Token};

use crate::ast::BinaryOp;
use crate::span::Span;

/// An expression and how it may be read.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// The whole expression.
    pub(crate) text: &'a str,
    /// How deep the grammar may go.
    pub(crate) depth_max: usize,
}

/// A place in an expression: the token there, and what is behind it. Small, because every rule of the grammar holds a
/// few of them on the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    /// What is read.
    pub(crate) source: &'a Source<'a>,
    /// The token at this place.
    pub(crate) token: Token,
    /// Where the token before it ends.
    pub(crate) previous_end: usize,
    /// How deep the grammar stands here.
    pub(crate) depth: usize,
    state: State,
}

/// What the lexer must know behind a token.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    at: usize,
    parens: u32,
    in_braces: bool,
    bracket: Option<Bracket>,
}

/// What has been seen since `[`.
#[derive(Debug, Clone, Copy, Default)]
struct Bracket {
    duration: bool,
    colon: bool,
}

impl<'a> Cursor<'a> {
    /// The first token of an expression.
    pub(crate) fn new(source: &'a Source<'a>) -> Self {
        let (token, state) = next(source.text, State::default());
        Cursor { source, token, previous_end: 0, depth: 1, state }
    }

    /// The place of the next token. Behind an error or the end there is nothing else.
    pub(crate) fn advance(self) -> Self {
        if matches!(self.token.kind, Kind::End | Kind::Error(_)) {
            return self;
        }
        let (token, state) = next(self.source.text, self.state);
        Cursor { token, state, previous_end: self.token.span.end, ..self }
    }

    /// The same place, for rules at that depth.
    pub(crate) fn at_depth(self, depth: usize) -> Self {
        Cursor { depth, ..self }
    }

    /// The token as written.
    pub(crate) fn word(&self) -> &'a str {
        self.token.text(self.source.text)
    }
}

fn next(text: &str, mut state: State) -> (Token, State) {
    state.at = skip_blanks(text, state.at);
    let start = state.at;
    let (kind, end) = if state.in_braces {
        in_braces(text, &mut state)
    } else if state.bracket.is_some() {
        in_brackets(text, &mut state)
    } else {
        plain(text, &mut state)
    };
    state.at = end;
    // Errors about a bracket that has just been read stand behind it, as in Prometheus.
    let start = if let Kind::Error(error) = kind
        && error.is_behind()
    {
        end
    } else {
        start
    };
    (Token { kind, span: Span { start, end } }, state)
}

/// The end of white space and comments.
fn skip_blanks(text: &str, mut at: usize) -> usize {
    let bytes = text.as_bytes();
    loop {
        match bytes.get(at) {
            Some(b' ' | b'\t' | b'\n' | b'\r') => at += 1,
            Some(b'#') => at += bytes[at..].iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(bytes.len() - at),
            _ => return at,
        }
    }
}

fn char_at(text: &str, at: usize) -> Option<char> {
    text.get(at..).and_then(|rest| rest.chars().next())
}

/// Outside of braces and square brackets.
fn plain(text: &str, state: &mut State) -> (Kind, usize) {
    let at = state.at;
    let Some(c) = char_at(text, at) else {
        let kind = if state.parens > 0 { Kind::Error(LexError::UnclosedParen) } else { Kind::End };
        return (kind, at);
    };
    match c {
        'a'..='z' | 'A'..='Z' | '_' | ':' => {
            let end = at + word_length(&text[at..], true);
            (token::word(&text[at..end], &text[end..]), end)
        }
        _ => common(text, c, state),
    }
}

/// Between square brackets.
fn in_brackets(text: &str, state: &mut State) -> (Kind, usize) {
    let at = state.at;
    let seen = state.bracket.unwrap_or_default();
    let Some(c) = char_at(text, at) else {
        let error = match (seen.duration, state.parens) {
            (false, _) => LexError::EndInDuration,
            (true, 0) => LexError::UnclosedBracket,
            (true, _) => LexError::UnclosedParen,
        };
        return (Kind::Error(error), at);
    };
    match c {
        ':' => {
            let error = match seen {
                Bracket { duration: false, .. } => Some(LexError::EarlyColon),
                Bracket { colon: true, .. } => Some(LexError::SecondColon),
                _ => None,
            };
            state.bracket = Some(Bracket { colon: true, ..seen });
            (error.map_or(Kind::Colon, Kind::Error), at + 1)
        }
        'a'..='z' | 'A'..='Z' | '_' => {
            let end = at + word_length(&text[at..], false);
            let kind = if token::is_duration_function(&text[at..end]) {
                state.bracket = Some(Bracket { duration: true, ..seen });
                Kind::Identifier
            } else if seen.duration {
                Kind::Error(LexError::ExpectedColon(c))
            } else {
                Kind::Error(LexError::InDuration(c))
            };
            (kind, end)
        }
        '0'..='9' | '.' if c != '.' || text[at + 1..].starts_with(|c: char| c.is_ascii_digit()) => {
            state.bracket = Some(Bracket { duration: true, ..seen });
            common(text, c, state)
        }
        ']' | '(' | ')' | '+' | '-' | '*' | '/' | '%' | '^' | ',' => common(text, c, state),
        _ if seen.duration => common(text, c, state),
        _ => (Kind::Error(LexError::InDuration(c)), at),
    }
}

/// What is the same outside of braces.
fn common(text: &str, c: char, state: &mut State) -> (Kind, usize) {
    let at = state.at;
    let second = char_at(text, at + c.len_utf8());
    let one = |kind| (kind, at + 1);
    let or_equal = |plain, with_equal| {
        if second == Some('=') { (Kind::Operator(with_equal), at + 2) } else { (Kind::Operator(plain), at + 1) }
    };
    match c {
        ',' => one(Kind::Comma),
        '*' => one(Kind::Operator(BinaryOp::Mul)),
        '/' => one(Kind::Operator(BinaryOp::Div)),
        '%' => one(Kind::Operator(BinaryOp::Mod)),
        '+' => one(Kind::Operator(BinaryOp::Add)),
        '-' => one(Kind::Operator(BinaryOp::Sub)),
        '^' => one(Kind::Operator(BinaryOp::Pow)),
        '@' => one(Kind::At),
        '<' if second == Some('/') => (Kind::Operator(BinaryOp::TrimUpper), at + 2),
        '>' if second == Some('/') => (Kind::Operator(BinaryOp::TrimLower), at + 2),
        '<' => or_equal(BinaryOp::Less, BinaryOp::LessEqual),
        '>' => or_equal(BinaryOp::Greater, BinaryOp::GreaterEqual),
        '=' => match second {
            Some('=') => (Kind::Operator(BinaryOp::Equal), at + 2),
            Some('~') => (Kind::Error(LexError::AfterEqual('~')), at),
            _ => one(Kind::Assign),
        },
        '!' => match second {
            Some('=') => (Kind::Operator(BinaryOp::NotEqual), at + 2),
            other => (Kind::Error(LexError::AfterBang(other.unwrap_or(char::REPLACEMENT_CHARACTER))), at),
        },
        '0'..='9' => number::scan(text, at),
        '.' if second.is_some_and(|c| c.is_ascii_digit()) => number::scan(text, at),
        '"' | '\'' | '`' => text::scan(text, at, c),
        '(' => {
            state.parens = state.parens.saturating_add(1);
            one(Kind::LeftParen)
        }
        ')' if state.parens == 0 => one(Kind::Error(LexError::RightParen)),
        ')' => {
            state.parens -= 1;
            one(Kind::RightParen)
        }
        '{' => {
            state.in_braces = true;
            one(Kind::LeftBrace)
        }
        '[' if state.bracket.is_some() => (Kind::Error(LexError::LeftBracket), at),
        '[' => {
            state.bracket = Some(Bracket::default());
            one(Kind::LeftBracket)
        }
        ']' if state.bracket.is_none() => (Kind::Error(LexError::RightBracket), at),
        ']' => {
            state.bracket = None;
            one(Kind::RightBracket)
        }
        _ => (Kind::Error(LexError::Character(c)), at),
    }
}

/// Between braces.
fn in_braces(text: &str, state: &mut State) -> (Kind, usize) {
    let at = state.at;
    let Some(c) = char_at(text, at) else { return (Kind::Error(LexError::EndInBraces), at) };
    let second = char_at(text, at + c.len_utf8());
    match c {
        'a'..='z' | 'A'..='Z' | '_' => (Kind::Identifier, at + word_length(&text[at..], false)),
        ',' => (Kind::Comma, at + 1),
        '"' | '\'' | '`' => text::scan(text, at, c),
        '=' if second == Some('~') => (Kind::EqualRegex, at + 2),
        '=' => (Kind::Assign, at + 1),
        '!' => match second {
            Some('~') => (Kind::NotEqualRegex, at + 2),
            Some('=') => (Kind::Operator(BinaryOp::NotEqual), at + 2),
            other => (Kind::Error(LexError::AfterBangInBraces(other.unwrap_or(char::REPLACEMENT_CHARACTER))), at),
        },
        '{' => (Kind::Error(LexError::LeftBrace), at),
        '}' => {
            state.in_braces = false;
            (Kind::RightBrace, at + 1)
        }
        _ => (Kind::Error(LexError::InBraces(c)), at),
    }
}

/// Bytes of the word at the start.
fn word_length(text: &str, with_colons: bool) -> usize {
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || (with_colons && *b == b':');
    text.bytes().position(|b| !is_word(&b)).unwrap_or(text.len())
}
