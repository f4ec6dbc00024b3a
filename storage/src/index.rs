//! From labels to series: the label pairs and sets of a segment, postings, and the way from matchers to ids.

pub(crate) mod postings;
pub(crate) mod select;
pub(crate) mod symbols;
pub(crate) mod trigrams;
