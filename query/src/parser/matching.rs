//! What may stand between a binary operator and its right side.

use nom::combinator::opt;
use nom::sequence::delimited;
use nom::{IResult, Parser};

use super::expr::literal;
use super::labels::labels;
use super::{Parsed, Problem, token};
use crate::ast::{BinaryOp, Cardinality, VectorMatching};
use crate::lexer::{Cursor, Keyword, Kind};

/// `bool on (…) group_left (…) fill (…)`.
pub(super) struct Modifiers {
    pub(super) returns_bool: bool,
    /// None if it says nothing else than no modifiers do.
    pub(super) matching: Option<VectorMatching>,
}

/// All modifiers, each of which may be left out.
pub(super) fn modifiers(input: Cursor<'_>) -> Parsed<'_, Modifiers> {
    let (input, returns_bool) = opt(keyword(Keyword::Bool)).parse(input)?;
    let mut matching = VectorMatching {
        cardinality: Cardinality::OneToOne,
        on: false,
        labels: Vec::new(),
        include: Vec::new(),
        fill_left: None,
        fill_right: None,
    };
    let (input, has_labels) = on_or_ignoring(input, &mut matching)?;
    let input = if has_labels { group(input, &mut matching)? } else { input };
    let input = fill(input, &mut matching)?;
    let says_something = matching.on
        || !matching.labels.is_empty()
        || matching.cardinality != Cardinality::OneToOne
        || matching.fill_left.is_some()
        || matching.fill_right.is_some();
    let matching = says_something.then_some(matching);
    Ok((input, Modifiers { returns_bool: returns_bool.is_some(), matching }))
}

fn keyword<'a>(keyword: Keyword) -> impl Parser<Cursor<'a>, Output = crate::lexer::Token, Error = Problem> {
    token(Kind::Keyword(keyword))
}

fn on_or_ignoring<'a>(input: Cursor<'a>, matching: &mut VectorMatching) -> IResult<Cursor<'a>, bool, Problem> {
    matching.on = match input.token.kind {
        Kind::Keyword(Keyword::On) => true,
        Kind::Keyword(Keyword::Ignoring) => false,
        _ => return Ok((input, false)),
    };
    let (input, names) = labels(input.advance())?;
    matching.labels = names;
    Ok((input, true))
}

fn group<'a>(input: Cursor<'a>, matching: &mut VectorMatching) -> Result<Cursor<'a>, nom::Err<Problem>> {
    matching.cardinality = match input.token.kind {
        Kind::Keyword(Keyword::GroupLeft) => Cardinality::ManyToOne,
        Kind::Keyword(Keyword::GroupRight) => Cardinality::OneToMany,
        _ => return Ok(input),
    };
    let input = input.advance();
    if input.token.kind != Kind::LeftParen {
        return Ok(input);
    }
    let (input, names) = labels(input)?;
    matching.include = names;
    Ok(input)
}

/// `fill (0)`, or one or both of `fill_left (0)` and `fill_right (0)`.
fn fill<'a>(mut input: Cursor<'a>, matching: &mut VectorMatching) -> Result<Cursor<'a>, nom::Err<Problem>> {
    loop {
        let (left, right) = match input.token.kind {
            Kind::Keyword(Keyword::Fill) => (true, true),
            Kind::Keyword(Keyword::FillLeft) => (true, false),
            Kind::Keyword(Keyword::FillRight) => (false, true),
            _ => return Ok(input),
        };
        // A value that is set twice is left to be an unexpected token.
        if (left && matching.fill_left.is_some()) || (right && matching.fill_right.is_some()) {
            return Ok(input);
        }
        let (rest, value) =
            delimited(token(Kind::LeftParen), signed_number, token(Kind::RightParen)).parse(input.advance())?;
        if left {
            matching.fill_left = Some(value);
        }
        if right {
            matching.fill_right = Some(value);
        }
        input = rest;
    }
}

/// A number or duration with at most one sign.
pub(super) fn signed_number(input: Cursor<'_>) -> Parsed<'_, f64> {
    let (input, negative) = match input.token.kind {
        Kind::Operator(BinaryOp::Add) => (input.advance(), false),
        Kind::Operator(BinaryOp::Sub) => (input.advance(), true),
        _ => (input, false),
    };
    let (rest, (value, _)) = literal(input)?;
    Ok((rest, if negative { -value } else { value }))
}
