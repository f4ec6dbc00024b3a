//! Writes the postings of a segment: lists in passes of bounded memory, each different list once.

use hashbrown::HashMap;

use super::frames::FrameWriter;
use super::layout::{FLAG_NEEDED, Kind, Section};
use super::rows::SortedRows;
use super::sections::Sections;
use super::sets::{SetTable, SplitRows};
use crate::error::StorageError;
use crate::format::content_hash;
use crate::index::postings::{ENTRIES_PER_PAGE, encode_entries, encode_list, encode_ranges};
/// Postings that are collected at a time: bounds memory, at the price of one more pass over the series for each.
const POSTINGS_PER_PASS: usize = 4 << 20;

/// Bytes of postings that are kept to find equal lists (`instance` and `job_id` may stand for the same series).
const LISTS_KEPT_BYTES_MAX: usize = 32 << 20;

/// Writes the lists of all pairs, then of all names, and their directory.
pub(super) fn write_postings(
    sections: &mut Sections,
    rows: &SortedRows,
    split: &SplitRows,
) -> Result<(), StorageError> {
    let start = sections.file.position();
    let mut lists = Lists::default();
    let counts = pair_counts(rows, split);
    let mut first = 0;
    while first < counts.len() {
        let mut total = 0;
        let fits = |count: &&u32| {
            total += **count as usize;
            total <= POSTINGS_PER_PASS
        };
        let last = first + counts[first..].iter().take_while(fits).count().max(1);
        lists.add_pass(&mut sections.file, split, &counts[first..last], first as u32)?;
        first = last;
    }
    let mut list = Vec::new();
    for ranges in name_ranges(rows, split) {
        list.clear();
        encode_ranges(&ranges, &mut list);
        lists.add(&mut sections.file, &list)?;
    }
    lists.flush(&mut sections.file)?;
    let section = Section { offset: start, bytes: sections.file.position() - start };
    sections.list.push((Kind::Lists as u64, FLAG_NEEDED, section));
    let pages = lists.entries.chunks(ENTRIES_PER_PAGE).map(|entries| {
        let mut page = Vec::new();
        encode_entries(entries, &mut page);
        page
    });
    sections.paged(Kind::ListPages, pages)
}

/// Number of series of each pair.
fn pair_counts(rows: &SortedRows, split: &SplitRows) -> Vec<u32> {
    let mut counts = vec![0_u32; rows.pairs() as usize];
    for (own, shared) in &split.rows {
        for pair in split.own.get(*own).iter().chain(split.shared.get(*shared)) {
            counts[*pair as usize] += 1;
        }
    }
    counts
}

/// For each name the ranges of series that have it.
fn name_ranges(rows: &SortedRows, split: &SplitRows) -> Vec<Vec<(u32, u32)>> {
    let names_of = |table: &SetTable| -> Vec<Vec<u32>> {
        let name_of = |pair: &u32| rows.name_of.get(*pair as usize).copied().unwrap_or_default();
        (0..table.len()).map(|id| table.get(id).iter().map(name_of).collect()).collect()
    };
    let (own_names, shared_names) = (names_of(&split.own), names_of(&split.shared));
    let mut ranges: Vec<Vec<(u32, u32)>> = vec![Vec::new(); rows.names.len()];
    for (ordinal, (own, shared)) in (0_u32..).zip(&split.rows) {
        for name in own_names[*own as usize].iter().chain(&shared_names[*shared as usize]) {
            let ranges = &mut ranges[*name as usize];
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == ordinal => *last = ordinal,
                _ => ranges.push((ordinal, ordinal)),
            }
        }
    }
    ranges
}

/// Postings lists as they are written, each different one once.
#[derive(Default)]
struct Lists {
    /// Lists that are not in the file yet: what new ones are compared with.
    kept: Vec<u8>,
    /// Bytes of lists in the file.
    written: u64,
    /// Places in `kept` by hash.
    known: HashMap<u128, (usize, usize)>,
    entries: Vec<(u64, u32)>,
}

impl Lists {
    /// Adds the lists of the pairs from `first` on, whose lengths are `counts`.
    fn add_pass(
        &mut self,
        file: &mut FrameWriter,
        split: &SplitRows,
        counts: &[u32],
        first: u32,
    ) -> Result<(), StorageError> {
        let mut next: Vec<usize> = Vec::with_capacity(counts.len());
        let mut total = 0;
        for count in counts {
            next.push(total);
            total += *count as usize;
        }
        let mut ordinals = vec![0_u32; total];
        for (ordinal, (own, shared)) in (0_u32..).zip(&split.rows) {
            for pair in split.own.get(*own).iter().chain(split.shared.get(*shared)) {
                if let Some(next) = pair.checked_sub(first).and_then(|i| next.get_mut(i as usize)) {
                    ordinals[*next] = ordinal;
                    *next += 1;
                }
            }
        }
        let (mut start, mut list) = (0, Vec::new());
        for end in next {
            list.clear();
            encode_list(&ordinals[start..end], &mut list);
            self.add(file, &list)?;
            start = end;
        }
        Ok(())
    }

    fn add(&mut self, file: &mut FrameWriter, list: &[u8]) -> Result<(), StorageError> {
        let hash = content_hash(list);
        let equal = self.known.get(&hash).filter(|(start, end)| self.kept.get(*start..*end) == Some(list));
        let start = match equal {
            Some((start, _)) => *start,
            None => {
                let start = self.kept.len();
                self.kept.extend_from_slice(list);
                self.known.insert(hash, (start, self.kept.len()));
                start
            }
        };
        // Even all possible ordinals take less than 4 GiB as a Roaring bitmap.
        self.entries.push((self.written + start as u64, list.len() as u32));
        if self.kept.len() > LISTS_KEPT_BYTES_MAX { self.flush(file) } else { Ok(()) }
    }

    fn flush(&mut self, file: &mut FrameWriter) -> Result<(), StorageError> {
        file.append(&self.kept)?;
        self.written += self.kept.len() as u64;
        self.kept.clear();
        self.known.clear();
        Ok(())
    }
}
