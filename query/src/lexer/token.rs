//! The kinds of tokens, and how messages name them.

use std::fmt;

use crate::ast::{AggregationOp, BinaryOp};
use crate::quote::{CodePoint, Quoted, QuotedChar};
use crate::span::Span;

/// Characters of a long token that a message shows.
const SHOWN_MAX: usize = 10;

/// A token with its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    /// What it is.
    pub(crate) kind: Kind,
    /// Where it stands.
    pub(crate) span: Span,
}

/// The kinds of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    End,
    Error(LexError),
    Identifier,
    /// A name with a colon.
    MetricIdentifier,
    Number,
    Duration,
    /// With its quotes.
    String,
    Comma,
    Colon,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    /// `=`
    Assign,
    EqualRegex,
    NotEqualRegex,
    At,
    Operator(BinaryOp),
    Aggregation(AggregationOp),
    Keyword(Keyword),
}

/// Words with a meaning of their own, in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    Offset,
    Smoothed,
    Anchored,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
    Start,
    End,
    Step,
    Range,
}

const KEYWORDS: &[(&str, Keyword)] = &[
    ("offset", Keyword::Offset),
    ("smoothed", Keyword::Smoothed),
    ("anchored", Keyword::Anchored),
    ("by", Keyword::By),
    ("without", Keyword::Without),
    ("on", Keyword::On),
    ("ignoring", Keyword::Ignoring),
    ("group_left", Keyword::GroupLeft),
    ("group_right", Keyword::GroupRight),
    ("fill", Keyword::Fill),
    ("fill_left", Keyword::FillLeft),
    ("fill_right", Keyword::FillRight),
    ("bool", Keyword::Bool),
    ("start", Keyword::Start),
    ("end", Keyword::End),
    ("step", Keyword::Step),
    ("range", Keyword::Range),
];

/// What the lexer can refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LexError {
    UnclosedParen,
    UnclosedBracket,
    EndInDuration,
    EndInBraces,
    EarlyColon,
    SecondColon,
    RightParen,
    LeftBracket,
    RightBracket,
    LeftBrace,
    Character(char),
    ExpectedColon(char),
    InDuration(char),
    InBraces(char),
    AfterEqual(char),
    AfterBang(char),
    AfterBangInBraces(char),
    /// The token's own text is no number.
    Number,
    UnterminatedString,
    UnterminatedRawString,
    InvalidUtf8,
    EscapeEnd,
    UnknownEscape(char),
    EscapeCharacter(char),
    EscapeCodePoint,
}

impl LexError {
    /// True if the message stands behind the token that gave rise to it.
    pub(super) fn is_behind(self) -> bool {
        matches!(self, LexError::RightParen | LexError::EarlyColon)
    }

    /// The message; `word` is the token's text.
    pub(crate) fn message(self, word: &str) -> String {
        match self {
            LexError::UnclosedParen => "unclosed left parenthesis".to_owned(),
            LexError::UnclosedBracket => "unclosed left bracket".to_owned(),
            LexError::EndInDuration => "unexpected end of input in duration expression".to_owned(),
            LexError::EndInBraces => "unexpected end of input inside braces".to_owned(),
            LexError::EarlyColon => "unexpected colon before duration in duration expression".to_owned(),
            LexError::SecondColon => "unexpected colon ':'".to_owned(),
            LexError::RightParen => "unexpected right parenthesis ')'".to_owned(),
            LexError::LeftBracket => "unexpected left bracket '['".to_owned(),
            LexError::RightBracket => "unexpected right bracket ']'".to_owned(),
            LexError::LeftBrace => "unexpected left brace '{'".to_owned(),
            LexError::Character(c) => format!("unexpected character: {}", QuotedChar(c)),
            LexError::ExpectedColon(c) => format!("unexpected character: {}, expected ':'", QuotedChar(c)),
            LexError::InDuration(c) => format!("unexpected character in duration expression: {}", QuotedChar(c)),
            LexError::InBraces(c) => format!("unexpected character inside braces: {}", QuotedChar(c)),
            LexError::AfterEqual(c) => format!("unexpected character after '=': {}", QuotedChar(c)),
            LexError::AfterBang(c) => format!("unexpected character after '!': {}", QuotedChar(c)),
            LexError::AfterBangInBraces(c) => {
                format!("unexpected character after '!' inside braces: {}", QuotedChar(c))
            }
            LexError::Number => format!("bad number or duration syntax: {}", Quoted(word)),
            LexError::UnterminatedString => "unterminated quoted string".to_owned(),
            LexError::UnterminatedRawString => "unterminated raw string".to_owned(),
            LexError::InvalidUtf8 => "invalid UTF-8 rune".to_owned(),
            LexError::EscapeEnd => "escape sequence not terminated".to_owned(),
            LexError::UnknownEscape(c) => format!("unknown escape sequence {}", CodePoint(c)),
            LexError::EscapeCharacter(c) => format!("illegal character {} in escape sequence", CodePoint(c)),
            LexError::EscapeCodePoint => "escape sequence is an invalid Unicode code point".to_owned(),
        }
    }
}

impl Token {
    /// The token as written.
    pub(crate) fn text<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.span.start..self.span.end).unwrap_or_default()
    }

    /// How a message names the token.
    pub(crate) fn describe(&self, text: &str) -> String {
        let word = self.text(text);
        match self.kind {
            Kind::End => "end of input".to_owned(),
            Kind::Identifier => format!("identifier {}", Quoted(word)),
            Kind::MetricIdentifier => format!("metric identifier {}", Quoted(word)),
            Kind::String => format!("string {}", Shown(word)),
            Kind::Number => format!("number {}", Shown(word)),
            Kind::Duration => format!("duration {}", Shown(word)),
            Kind::Operator(_) | Kind::At | Kind::EqualRegex | Kind::NotEqualRegex => format!("<op:{word}>"),
            Kind::Aggregation(_) => format!("<aggr:{word}>"),
            Kind::Keyword(Keyword::Start | Keyword::End | Keyword::Step | Keyword::Range) => Quoted(word).to_string(),
            Kind::Keyword(_) => format!("<{word}>"),
            _ => Quoted(word).to_string(),
        }
    }
}

/// A token's text in quotes, cut if it is long.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() <= SHOWN_MAX {
            return write!(f, "{}", Quoted(self.0));
        }
        let end = self.0.char_indices().nth(SHOWN_MAX).map_or(self.0.len(), |(i, _)| i);
        write!(f, "{}...", Quoted(&self.0[..end]))
    }
}

/// The kind of a word outside of braces and brackets; `rest` is what follows it.
pub(super) fn word(word: &str, rest: &str) -> Kind {
    let is = |name: &str| word.eq_ignore_ascii_case(name);
    if let Some(op) = BinaryOp::WORDS.iter().find(|op| is(op.as_str())) {
        return Kind::Operator(*op);
    }
    if let Some(op) = AggregationOp::ALL.iter().find(|op| is(op.as_str())) {
        return Kind::Aggregation(*op);
    }
    if is("inf") || is("nan") {
        return Kind::Number;
    }
    match KEYWORDS.iter().find(|(name, _)| is(name)).map(|(_, keyword)| *keyword) {
        // These came late: metrics of that name go on working.
        Some(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight) if !rest.trim_start().starts_with('(') => {
            Kind::Identifier
        }
        Some(keyword) => Kind::Keyword(keyword),
        None if word.contains(':') => Kind::MetricIdentifier,
        None => Kind::Identifier,
    }
}

/// True for the words that may stand between square brackets.
pub(super) fn is_duration_function(word: &str) -> bool {
    ["step", "range", "min", "max", "min_of", "max_of"].iter().any(|name| word.eq_ignore_ascii_case(name))
}
