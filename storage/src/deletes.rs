//! Deletes: predicates that hide samples at once, and that compaction applies later.
//!
//! A delete is a list of selectors and a range of times, with the sequence of the last batch that it can hide. What is
//! written later is visible, whatever it looks like. A segment is covered by a delete if its highest sequence is not
//! above the delete's; because a delete flushes the head before it counts, and because a merge of covered segments with
//! others applies the delete to the covered ones, a segment is covered as a whole or not at all.
//!
//! Until `purge_from_ms` a delete can be undone: nothing that it hides is given up, and what it covers is not merged with
//! what it does not. From then on each compaction leaves out what is hidden, and a delete that hides nothing any more is
//! forgotten.
//!
//! # Bytes of a delete, in the manifest
//! Id (varint), sequence (varint), first and last time, when it was made, when it is purged (zigzag); number of
//! selectors, for each the number of its matchers, for each its operator (`u8`: 0 `=`, 1 `!=`, 2 `=~`, 3 `!~`), name and
//! value (texts); number of metric families whose metadata it takes along, and their names (texts).

mod mask;

use model::{Labels, MatchOp, Matcher, Metadata, TimeRange};

use crate::format::{Cursor, FormatError, Put};

pub(crate) use mask::Mask;

/// The operators, by their numbers.
const OPERATORS: [MatchOp; 4] = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
/// A selector, a matcher or a family takes at least this many bytes.
const ITEM_BYTES_MIN: usize = 1;

/// A delete that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// Its number, which is never used again.
    pub id: u64,
    /// A series is hidden if it passes all matchers of one of these.
    pub selectors: Vec<Vec<Matcher>>,
    /// Samples in this closed range are hidden.
    pub range: TimeRange,
    /// When it was made, in milliseconds since 1970.
    pub made_ms: i64,
    /// From when on it cannot be undone, in milliseconds since 1970.
    pub purge_from_ms: i64,
    /// Sequence of the last batch that it hides.
    pub(crate) sequence: u64,
    /// Families of which no series was left.
    pub(crate) families: Vec<String>,
}

impl Delete {
    /// True if it hides what lies in batches up to this sequence.
    pub(crate) fn covers(&self, sequence_max: u64) -> bool {
        sequence_max <= self.sequence
    }

    /// True if what it hides may be given up.
    pub(crate) fn is_final(&self, now_ms: i64) -> bool {
        self.purge_from_ms <= now_ms
    }

    /// True if series with these labels are hidden.
    pub(crate) fn selects(&self, labels: &Labels) -> bool {
        let passes = |m: &Matcher| m.matches(labels.get(m.name()).unwrap_or_default());
        self.selectors.iter().any(|selector| selector.iter().all(passes))
    }

    /// True if a sample or an exemplar of these labels and this time is hidden.
    pub(crate) fn hides(&self, labels: &Labels, timestamp_ms: i64) -> bool {
        self.range.contains(timestamp_ms) && self.selects(labels)
    }

    /// Appends the bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.id);
        out.put_varint(self.sequence);
        for ms in [self.range.start_ms, self.range.end_ms, self.made_ms, self.purge_from_ms] {
            out.put_zigzag(ms);
        }
        out.put_varint(self.selectors.len() as u64);
        for selector in &self.selectors {
            out.put_varint(selector.len() as u64);
            for matcher in selector {
                let operator = OPERATORS.iter().position(|op| *op == matcher.op()).unwrap_or_default();
                out.put_u8(operator as u8);
                out.put_text(matcher.name());
                out.put_text(matcher.value());
            }
        }
        out.put_varint(self.families.len() as u64);
        for family in &self.families {
            out.put_text(family);
        }
    }

    /// Reads a delete.
    ///
    /// # Errors
    /// [`FormatError`] if the bytes are none.
    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, FormatError> {
        let (id, sequence) = (cursor.varint()?, cursor.varint()?);
        let range = TimeRange { start_ms: cursor.zigzag()?, end_ms: cursor.zigzag()? };
        let (made_ms, purge_from_ms) = (cursor.zigzag()?, cursor.zigzag()?);
        let mut selectors = Vec::new();
        for _ in 0..count(cursor)? {
            let matchers = (0..count(cursor)?).map(|_| decode_matcher(cursor)).collect::<Result<_, FormatError>>()?;
            selectors.push(matchers);
        }
        let families =
            (0..count(cursor)?).map(|_| Ok(cursor.text()?.to_owned())).collect::<Result<_, FormatError>>()?;
        Ok(Delete { id, selectors, range, made_ms, purge_from_ms, sequence, families })
    }
}

/// Takes out what deletes took along of metadata that was written up to this sequence.
pub(crate) fn leave_families(deletes: &[Delete], sequence: u64, known: &mut Vec<(String, Metadata)>) {
    for delete in deletes.iter().filter(|delete| delete.covers(sequence)) {
        known.retain(|(family, _)| !delete.families.contains(family));
    }
}

/// A number of items, of which there can be no more than bytes.
fn count(cursor: &mut Cursor<'_>) -> Result<usize, FormatError> {
    let count = cursor.length()?;
    if count > cursor.rest().len() / ITEM_BYTES_MIN {
        return Err(cursor.error("a delete has more items than bytes"));
    }
    Ok(count)
}

fn decode_matcher(cursor: &mut Cursor<'_>) -> Result<Matcher, FormatError> {
    let operator = OPERATORS.get(usize::from(cursor.u8()?)).copied();
    let operator = operator.ok_or_else(|| cursor.error("a delete has an unknown operator"))?;
    let (name, value) = (cursor.text()?.to_owned(), cursor.text()?.to_owned());
    Matcher::new(name, operator, value).map_err(|_| cursor.error("a delete has an expression that cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delete() -> Delete {
        let regex = Matcher::new("job", MatchOp::NotRegex, "a|b.+").unwrap();
        Delete {
            id: 3,
            selectors: vec![vec![Matcher::equal("__name__", "up"), regex], Vec::new()],
            range: TimeRange { start_ms: -1, end_ms: 2 },
            made_ms: 4,
            purge_from_ms: 6,
            sequence: 5,
            families: vec!["up".to_owned()],
        }
    }

    #[test]
    fn bytes_are_pinned() {
        let mut bytes = Vec::new();
        delete().encode(&mut bytes);
        assert_eq!(bytes, b"\x03\x05\x01\x04\x08\x0c\x02\x02\x00\x08__name__\x02up\x03\x03job\x05a|b.+\x00\x01\x02up");
        assert_eq!(Delete::decode(&mut Cursor::new(&bytes)).unwrap(), delete());
        for cut in 0..bytes.len() {
            assert!(Delete::decode(&mut Cursor::new(&bytes[..cut])).is_err(), "{cut}");
        }
        bytes[8] = 4;
        assert!(Delete::decode(&mut Cursor::new(&bytes)).is_err(), "an unknown operator");
    }

    #[test]
    fn one_selector_is_enough() {
        let mut delete = delete();
        let of = |job: &str| Labels::from_pairs([("__name__", "up"), ("job", job)]).unwrap();
        assert!(delete.selects(&of("a")), "the second selects everything");
        delete.selectors.pop();
        assert!(!delete.selects(&of("a")) && !delete.selects(&of("bb")) && delete.selects(&of("b")));
    }
}
