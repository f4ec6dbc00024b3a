//! The residuals of a long stream as short codes for their high parts and plain low bits: within a few percent of what
//! their distribution allows, where packing pays for the widest of each row and Rice for each bit one by one.
//!
//! Every residual is `base of its row + (symbol << width) + low bits`. Symbols have canonical Huffman codes of at most
//! [`CODE_BITS_MAX`] bits, which stand in [`LANES`] streams, so that a decoder follows eight at a time: each code waits
//! for the one before it in its lane only.
//!
//! # Bytes
//! | part | |
//! |---|---|
//! | width | of the low bits, a byte, at most [`WIDTH_MAX`] |
//! | symbols | their number less 1, a byte; at most [`SYMBOLS_MAX`] |
//! | code lengths | of each symbol; 0 if it does not occur; two bits each: 0 as the one before (4 for the first), 1 one more, 2 one less, 3 the length follows in four bits; lowest bits first, up to a whole byte |
//! | bases | of the first row (signed varint), then for each other row by how many `1 << width` it differs from the one before (signed varint) |
//! | exceptions | how many (varint), then for each the distance from the place after the one before (varint) and its difference from the base of its row (signed varint) |
//! | lengths | bytes of the first pair of lanes (varint), of each other pair less those of the one before (signed varint) |
//! | low bits | of each row, packed |
//! | lanes | in pairs: lane 0 and backwards lane 1, lane 2 and backwards lane 3, and so on |
//!
//! Residual `i` has its code in lane `i % 8`, highest bits of a byte first; the last byte is filled up with zeros. The
//! bytes of a lane with an odd number stand from the end of its pair to the front.
//!
//! Codes of one length follow one another in the order of symbols, shorter ones come first; they leave no code unused.
//! An exception has some symbol in its place. All arithmetic wraps.

use super::machine::for_machine;
use super::pack::{ROW, bits, pack, packed_bytes, unpack};
use super::{BLOCK_SAMPLES_MAX, huffman};
use crate::format::{Cursor, FormatError, Put, u64_be_padded, u64_before, varint_len, zigzag};

/// Fewest and most residuals of a stream in this form: below, the table of codes costs more than it brings.
pub(super) const COUNT_MIN: usize = 512;
const COUNT_MAX: usize = BLOCK_SAMPLES_MAX;

const ROWS_MAX: usize = COUNT_MAX.div_ceil(ROW);
const LANES: usize = 8;
const PAIRS: usize = LANES / 2;
const SYMBOLS_MAX: usize = 64;
/// Longest code: a table of all is two KiB, made in a tenth of the time that decoding a block takes.
const CODE_BITS_MAX: u32 = 10;
/// A symbol's bits on top of the low ones stay below 64.
const WIDTH_MAX: u32 = 57;
/// Symbols that are decoded from one word of a lane.
const SYMBOLS_PER_WORD: usize = 4;

/// What a residual that has no symbol is reckoned to cost, in bits.
const EXCEPTION_BITS: usize = 40;
/// Most exceptions, as a share of the stream.
const EXCEPTIONS_SHARE: usize = 16;

/// How a stream is best coded.
#[derive(Debug)]
pub(super) struct Plan {
    width: u32,
    /// Of each row.
    bases: Vec<i64>,
    lengths: [u8; SYMBOLS_MAX],
    /// One more than the highest symbol.
    symbols: usize,
    /// Size without the header, about.
    pub(super) bits: usize,
}

impl Plan {
    /// Finds width, bases and codes; none if the stream does not suit.
    pub(super) fn new(residuals: &[i64]) -> Option<Plan> {
        if !(COUNT_MIN..=COUNT_MAX).contains(&residuals.len()) {
            return None;
        }
        let medians: Vec<i64> = residuals.chunks(ROW).map(median).collect();
        let spread = spread_bits(residuals, &medians);
        let widths = [spread.saturating_sub(3), spread.saturating_sub(2)];
        let narrow = Plan::with_width(residuals, &medians, widths[0]);
        let wide = (widths[0] != widths[1]).then(|| Plan::with_width(residuals, &medians, widths[1])).flatten();
        [narrow, wide].into_iter().flatten().min_by_key(|plan| plan.bits)
    }

    fn with_width(residuals: &[i64], medians: &[i64], width: u32) -> Option<Plan> {
        if width > WIDTH_MAX {
            return None;
        }
        let middle = (SYMBOLS_MAX as i64 / 2) << width;
        let mut bases = rounded_bases(medians, middle, width);
        let mut counts = [0_u32; SYMBOLS_MAX];
        let mut exceptions = 0;
        for (row, base) in residuals.chunks(ROW).zip(&bases) {
            for residual in row {
                match counts.get_mut(symbol(*residual, *base, width)) {
                    Some(count) => *count += 1,
                    None => exceptions += 1,
                }
            }
        }
        if exceptions > residuals.len() / EXCEPTIONS_SHARE {
            return None;
        }
        let lowest = counts.iter().position(|count| *count > 0)?;
        counts.rotate_left(lowest);
        bases.iter_mut().for_each(|base| *base = base.wrapping_add((lowest as i64) << width));
        let symbols = counts.iter().rposition(|count| *count > 0)? + 1;
        let lengths = huffman::code_lengths(&counts, CODE_BITS_MAX)?;
        let codes: usize = counts.iter().zip(&lengths).map(|(count, bits)| *count as usize * usize::from(*bits)).sum();
        let header = 8 * (16 + bases.len()) + 3 * symbols + 8 * varint_len(zigzag(*bases.first()?));
        let bits = codes + residuals.len() * width as usize + exceptions * EXCEPTION_BITS + header;
        Some(Plan { width, bases, lengths, symbols, bits })
    }

    /// Appends the stream.
    pub(super) fn encode(&self, residuals: &[i64], out: &mut Vec<u8>) {
        out.put_u8(self.width as u8);
        out.put_u8((self.symbols - 1) as u8);
        put_lengths(&self.lengths[..self.symbols], out);
        self.put_bases(out);
        let codes = huffman::codes(&self.lengths);
        // The commonest symbol is the cheapest to put where none counts.
        let filler = (0..self.symbols).filter(|s| self.lengths[*s] > 0).min_by_key(|s| self.lengths[*s]).unwrap_or(0);
        let mask = (1_u64 << self.width) - 1;
        let mut lanes: [BitWriter; LANES] = Default::default();
        let (mut low, mut exceptions) = (Vec::new(), Vec::new());
        for (r, (row, base)) in residuals.chunks(ROW).zip(&self.bases).enumerate() {
            let mut low_row = [0_u64; ROW];
            for (i, residual) in row.iter().enumerate() {
                let difference = residual.wrapping_sub(*base);
                let mut symbol = symbol(*residual, *base, self.width);
                if symbol < self.symbols && self.lengths[symbol] > 0 {
                    low_row[i] = difference.cast_unsigned() & mask;
                } else {
                    symbol = filler;
                    exceptions.push((r * ROW + i, difference));
                }
                lanes[i % LANES].put(codes[symbol], u32::from(self.lengths[symbol]));
            }
            pack(&low_row[..row.len()], self.width, &mut low);
        }
        put_exceptions(&exceptions, out);
        let lanes = lanes.map(BitWriter::finish);
        let pairs: Vec<usize> = lanes.as_chunks::<2>().0.iter().map(|[a, b]| a.len() + b.len()).collect();
        out.put_varint(pairs[0] as u64);
        pairs.windows(2).for_each(|pair| out.put_zigzag(pair[1] as i64 - pair[0] as i64));
        out.extend_from_slice(&low);
        for [forward, backward] in lanes.as_chunks::<2>().0 {
            out.extend_from_slice(forward);
            out.extend(backward.iter().rev());
        }
    }

    fn put_bases(&self, out: &mut Vec<u8>) {
        let Some(first) = self.bases.first() else { return };
        out.put_zigzag(*first);
        for pair in self.bases.windows(2) {
            out.put_zigzag(pair[1].wrapping_sub(pair[0]) >> self.width);
        }
    }
}

/// The symbol of a residual, beyond the last one if it has none.
#[inline]
fn symbol(residual: i64, base: i64, width: u32) -> usize {
    (residual.wrapping_sub(base).cast_unsigned() >> width).min(SYMBOLS_MAX as u64) as usize
}

fn median(row: &[i64]) -> i64 {
    let mut copy = [0_i64; ROW];
    let copy = &mut copy[..row.len()];
    copy.copy_from_slice(row);
    *copy.select_nth_unstable(row.len() / 2).1
}

/// Bits of the zigzag differences from the medians that two thirds of the residuals do not exceed.
fn spread_bits(residuals: &[i64], medians: &[i64]) -> u32 {
    let mut counts = [0_usize; 65];
    for (row, median) in residuals.chunks(ROW).zip(medians) {
        for residual in row {
            counts[bits(zigzag(residual.wrapping_sub(*median))) as usize] += 1;
        }
    }
    let mut below = 0;
    let reached = counts.iter().position(|count| {
        below += count;
        below * 3 >= residuals.len() * 2
    });
    reached.unwrap_or(64) as u32
}

/// Bases `middle` below the medians, at whole multiples of `1 << width` from the first.
fn rounded_bases(medians: &[i64], middle: i64, width: u32) -> Vec<i64> {
    let first = medians.first().copied().unwrap_or_default().wrapping_sub(middle);
    let half = (1_i64 << width) >> 1;
    let steps = |median: &i64| median.wrapping_sub(middle).wrapping_sub(first).wrapping_add(half) >> width;
    medians.iter().map(|median| first.wrapping_add(steps(median) << width)).collect()
}

fn put_lengths(lengths: &[u8], out: &mut Vec<u8>) {
    let mut writer = LowBitWriter::default();
    let mut before = LENGTH_BEFORE_FIRST;
    for length in lengths {
        match i32::from(*length) - i32::from(before) {
            0 => writer.put(0, 2, out),
            1 => writer.put(1, 2, out),
            -1 => writer.put(2, 2, out),
            _ => {
                writer.put(3, 2, out);
                writer.put(u32::from(*length), 4, out);
            }
        }
        before = *length;
    }
    writer.finish(out);
}

const LENGTH_BEFORE_FIRST: u8 = 4;

fn put_exceptions(exceptions: &[(usize, i64)], out: &mut Vec<u8>) {
    out.put_varint(exceptions.len() as u64);
    let mut next = 0;
    for (place, difference) in exceptions {
        out.put_varint((place - next) as u64);
        out.put_zigzag(*difference);
        next = place + 1;
    }
}

/// Bits from the lowest of each byte on.
#[derive(Default)]
struct LowBitWriter {
    word: u32,
    used: u32,
}

impl LowBitWriter {
    fn put(&mut self, value: u32, count: u32, out: &mut Vec<u8>) {
        self.word |= value << self.used;
        self.used += count;
        if self.used >= 8 {
            out.put_u8((self.word & 0xFF) as u8);
            self.word >>= 8;
            self.used -= 8;
        }
    }

    fn finish(self, out: &mut Vec<u8>) {
        if self.used > 0 {
            out.put_u8(self.word as u8);
        }
    }
}

/// Bits from the highest of each byte on.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    word: u64,
    used: u32,
}

impl BitWriter {
    #[inline]
    fn put(&mut self, code: u16, count: u32) {
        self.word = self.word << count | u64::from(code);
        self.used += count;
        while self.used >= 8 {
            self.used -= 8;
            self.bytes.put_u8((self.word >> self.used) as u8);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.used > 0 {
            self.bytes.put_u8((self.word << (8 - self.used)) as u8);
        }
        self.bytes
    }
}

/// Reads a stream row by row.
pub(super) struct Decoder<'a> {
    width: u32,
    bases: [i64; ROWS_MAX],
    row: usize,
    table: Table,
    /// Of the row at hand.
    entries: [u16; ROW],
    low: &'a [u8],
    lanes: [Pair<'a>; PAIRS],
    exceptions: Cursor<'a>,
    exceptions_left: usize,
    /// Where the next exception is, from the start of the row to come.
    next_exception: usize,
}

impl<'a> Decoder<'a> {
    /// Reads all but the rows; the cursor then stands behind the stream.
    pub(super) fn new(cursor: &mut Cursor<'a>, count: usize) -> Result<Self, FormatError> {
        if !(COUNT_MIN..=COUNT_MAX).contains(&count) {
            return Err(cursor.error("a coded stream with too few or too many integers"));
        }
        let (width, symbols) = (u32::from(cursor.u8()?), usize::from(cursor.u8()?) + 1);
        if width > WIDTH_MAX || symbols > SYMBOLS_MAX {
            return Err(cursor.error("a coded stream that cannot be"));
        }
        let table = Table::read(cursor, symbols)?;
        let rows = count.div_ceil(ROW);
        let mut bases = [0_i64; ROWS_MAX];
        let mut base = cursor.zigzag()?;
        bases[0] = base;
        for slot in bases.iter_mut().take(rows).skip(1) {
            base = base.wrapping_add(cursor.zigzag()? << width);
            *slot = base;
        }
        let exceptions_left = cursor.length()?;
        let mut exceptions = cursor.clone();
        for _ in 0..exceptions_left {
            // Each has two bytes at least, so this ends with the bytes.
            cursor.varint()?;
            cursor.varint()?;
        }
        let next_exception = if exceptions_left > 0 { exceptions.length()? } else { usize::MAX };
        let mut lengths = [0_usize; PAIRS];
        let mut length = cursor.length()?.cast_signed() as i64;
        lengths[0] = length as usize;
        for slot in lengths.iter_mut().skip(1) {
            length = length.wrapping_add(cursor.zigzag()?);
            *slot = usize::try_from(length).map_err(|_| cursor.error("a lane with a wrong length"))?;
        }
        let last = count % ROW;
        let low_bytes = count / ROW * packed_bytes(ROW, width) + packed_bytes(last, width);
        let low = cursor.take(low_bytes)?;
        let mut lanes = [Pair::default(); PAIRS];
        for (lane, length) in lanes.iter_mut().zip(lengths) {
            lane.bytes = cursor.take(length)?;
        }
        let entries = [0; ROW];
        Ok(Decoder { width, bases, row: 0, table, entries, low, lanes, exceptions, exceptions_left, next_exception })
    }

    /// Fills the next row; `words` is as long and free to use.
    #[inline]
    pub(super) fn next_row(&mut self, words: &mut [u64], out: &mut [i64]) -> Result<(), FormatError> {
        let (bytes, rest) = self.low.split_at_checked(packed_bytes(out.len(), self.width)).unwrap_or_default();
        self.low = rest;
        unpack(bytes, self.width, words)?;
        let entries = &mut self.entries[..out.len()];
        decode_codes(&self.table, &mut self.lanes, entries);
        let base = self.bases.get(self.row).copied().unwrap_or_default();
        self.row += 1;
        join(entries, words, self.width, base, out);
        while let Some(slot) = out.get_mut(self.next_exception) {
            *slot = base.wrapping_add(self.exceptions.zigzag()?);
            self.exceptions_left -= 1;
            let gap = if self.exceptions_left > 0 { self.exceptions.length()? } else { usize::MAX };
            self.next_exception = gap.saturating_add(self.next_exception + 1);
        }
        self.next_exception = self.next_exception.saturating_sub(out.len());
        Ok(())
    }

    /// Ends reading.
    pub(super) fn finish(&self) -> Result<(), FormatError> {
        if self.exceptions_left > 0 {
            return Err(self.exceptions.error("an exception lies outside its stream"));
        }
        if self.lanes.iter().any(|pair| pair.bits[0].div_ceil(8) + pair.bits[1].div_ceil(8) != pair.bytes.len()) {
            return Err(self.exceptions.error("codes are missing or left over"));
        }
        Ok(())
    }
}

/// Two streams of codes, one from the front and one from the end of their bytes.
#[derive(Clone, Copy, Default)]
struct Pair<'a> {
    bytes: &'a [u8],
    /// Bits of each that are done.
    bits: [usize; 2],
}

impl Pair<'_> {
    /// The bits to come of each, highest first: 56 at least, then whatever. The lowest is a mark: as many bits of the
    /// word are used as zeros come to stand below it.
    #[inline(always)]
    fn words(&self) -> [u64; 2] {
        let [forward, backward] = self.bits;
        let end = self.bytes.len().saturating_sub(backward >> 3);
        [
            u64_be_padded(self.bytes, forward >> 3) << (forward & 7) | 1,
            u64_before(self.bytes, end) << (backward & 7) | 1,
        ]
    }
}

/// What code a word begins with, by its first bits.
struct Table {
    /// Symbol and length: see [`ENTRY_LENGTH_BITS`].
    entries: [u16; 1 << CODE_BITS_MAX],
    /// Bits of the word that do not count.
    shift: u32,
}

/// The length is in the lower bits of an entry, so that shifting by the entry shifts by the length, and the symbol above.
const ENTRY_LENGTH_BITS: u32 = 6;

impl Table {
    fn read(cursor: &mut Cursor<'_>, symbols: usize) -> Result<Table, FormatError> {
        let lengths = read_lengths(cursor, symbols)?;
        let longest = lengths.iter().copied().max().map_or(0, u32::from);
        if longest == 0 || longest > CODE_BITS_MAX {
            return Err(cursor.error("codes that are too long"));
        }
        // Where the codes of each length begin among all words.
        let mut starts = [0_usize; CODE_BITS_MAX as usize + 2];
        for length in lengths.iter().filter(|length| **length > 0) {
            starts[usize::from(*length) + 1] += 1 << (longest - u32::from(*length));
        }
        for length in 1..starts.len() {
            starts[length] += starts[length - 1];
        }
        if starts.last() != Some(&(1 << longest)) {
            return Err(cursor.error("codes are left unused, or there are too many"));
        }
        let mut entries = [0_u16; 1 << CODE_BITS_MAX];
        for (symbol, length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
            let run = 1 << (longest - u32::from(*length));
            let start = &mut starts[usize::from(*length)];
            if let Some(slots) = entries.get_mut(*start..*start + run) {
                slots.fill((symbol << ENTRY_LENGTH_BITS) as u16 | u16::from(*length));
            }
            *start += run;
        }
        Ok(Table { entries, shift: u64::BITS - longest })
    }

    #[inline(always)]
    fn entry(&self, word: u64) -> u16 {
        self.entries[(word >> (self.shift & 63)) as usize & ((1 << CODE_BITS_MAX) - 1)]
    }
}

fn read_lengths(cursor: &mut Cursor<'_>, symbols: usize) -> Result<[u8; SYMBOLS_MAX], FormatError> {
    let mut lengths = [0_u8; SYMBOLS_MAX];
    let (mut word, mut have, mut before) = (0_u32, 0, LENGTH_BEFORE_FIRST);
    let mut next = |cursor: &mut Cursor<'_>, count: u32| -> Result<u8, FormatError> {
        if have < count {
            word |= u32::from(cursor.u8()?) << have;
            have += 8;
        }
        let value = word & ((1 << count) - 1);
        word >>= count;
        have -= count;
        Ok(value as u8)
    };
    for slot in lengths.iter_mut().take(symbols) {
        before = match next(cursor, 2)? {
            0 => before,
            1 => before + 1,
            2 => before.checked_sub(1).ok_or_else(|| cursor.error("a code with a negative length"))?,
            _ => next(cursor, 4)?,
        };
        *slot = before;
    }
    Ok(lengths)
}

for_machine! {
    /// Decodes as many codes as there is room for, into the entries of the table.
    fn decode_codes(table: &Table, lanes: &mut [Pair<'_>; PAIRS], out: &mut [u16]) {
        let (groups, rest) = out.as_chunks_mut::<{ LANES * SYMBOLS_PER_WORD }>();
        for group in groups {
            let mut words = [[0; 2]; PAIRS];
            for (words, pair) in words.iter_mut().zip(lanes.iter()) {
                *words = pair.words();
            }
            for step in group.as_chunks_mut::<LANES>().0 {
                for (out, word) in step.iter_mut().zip(words.as_flattened_mut()) {
                    *out = table.entry(*word);
                    *word <<= *out & 63;
                }
            }
            for (pair, words) in lanes.iter_mut().zip(words) {
                pair.bits[0] += words[0].trailing_zeros() as usize;
                pair.bits[1] += words[1].trailing_zeros() as usize;
            }
        }
        for (i, out) in rest.iter_mut().enumerate() {
            let pair = &mut lanes[i % LANES / 2];
            *out = table.entry(pair.words()[i % 2]);
            pair.bits[i % 2] += usize::from(*out & 63);
        }
    }
}

for_machine! {
    /// Puts symbols and low bits together.
    fn join(entries: &[u16], low: &[u64], width: u32, base: i64, out: &mut [i64]) {
        for ((out, entry), low) in out.iter_mut().zip(entries).zip(low) {
            let symbol = u64::from(*entry >> ENTRY_LENGTH_BITS);
            *out = base.wrapping_add((symbol << (width & 63) | low).cast_signed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::machine::tests::at_each_level;
    use proptest::prelude::*;

    fn decode(bytes: &[u8], count: usize) -> Result<Vec<i64>, FormatError> {
        let mut cursor = Cursor::new(bytes);
        let mut decoder = Decoder::new(&mut cursor, count)?;
        let (mut words, mut out) = ([0; ROW], vec![0; count]);
        for row in out.chunks_mut(ROW) {
            decoder.next_row(&mut words[..row.len()], row)?;
        }
        decoder.finish()?;
        cursor.finish()?;
        Ok(out)
    }

    fn encode(residuals: &[i64]) -> Option<(Vec<u8>, usize)> {
        let plan = Plan::new(residuals)?;
        let mut bytes = Vec::new();
        plan.encode(residuals, &mut bytes);
        Some((bytes, plan.bits))
    }

    /// Sums of four draws: about normal.
    fn noise(count: usize, spread: u64, seed: u64) -> Vec<i64> {
        let mut state = seed | 1;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % spread
        };
        (0..count).map(|_| (draw() + draw() + draw() + draw()).cast_signed() - 2 * spread.cast_signed()).collect()
    }

    #[test]
    fn what_is_near_normal_costs_little_more_than_its_entropy() {
        for spread in [3_u64, 100, 40_000, 1 << 30] {
            let residuals = noise(2048, spread, spread);
            let (bytes, _) = encode(&residuals).unwrap();
            assert_eq!(decode(&bytes, 2048).unwrap(), residuals);
            // A normal distribution of deviation d has the entropy log2(4.13 d); these have about 0.58 of the spread.
            let entropy = (0.577 * spread as f64 * 4.13).log2() * 2048.0 / 8.0;
            assert!((bytes.len() as f64) < entropy * 1.03 + 40.0, "{spread}: {} bytes, entropy {entropy}", bytes.len());
        }
    }

    #[test]
    fn few_values_far_off_are_exceptions() {
        let mut residuals = noise(1500, 100, 7);
        (residuals[0], residuals[255], residuals[256], residuals[1499]) = (i64::MIN, 1 << 40, i64::MAX, -1_000_000_007);
        let (bytes, _) = encode(&residuals).unwrap();
        assert_eq!(decode(&bytes, 1500).unwrap(), residuals);
        assert!(bytes.len() < 1500 + 60, "{}", bytes.len());
    }

    #[test]
    fn bytes_are_pinned() {
        // Symbols 0 to 3 with codes 0, 10, 110 and 111 above the base 5, one exception.
        let mut residuals: Vec<i64> = (0..512).map(|i| 5 + [0, 0, 0, 0, 1, 1, 2, 3][i / 8 % 8]).collect();
        residuals[9] = 1000;
        let (bytes, bits) = encode(&residuals).unwrap();
        let want: [&[u8]; 7] = [
            // Width 0, four symbols.
            &[0, 3],
            // Lengths 1, 2, 3, 3: the length 1 written out, then one more twice, then the same.
            &[0b0100_0111, 0b0001],
            // The bases of two rows.
            &[10, 0],
            // An exception at place 9, 995 above the base.
            &[1, 9, 0xC6, 0x0F],
            // Pairs of 28 bytes.
            &[28, 0, 0, 0],
            // Lane 0: 64 codes, eight times 0 0 0 0 10 10 110 111.
            &[0b0000_1010, 0b1101_1100, 0b0010_1011, 0b0111_0000],
            &[],
        ];
        let want = want.concat();
        assert_eq!(bytes[..want.len()], want);
        assert_eq!(bytes.len(), want.len() - 4 + 4 * 28);
        assert_eq!(decode(&bytes, 512).unwrap(), residuals);
        assert!(bits.abs_diff(bytes.len() * 8) < 200, "{bits} estimated, {} bytes", bytes.len());
    }

    #[test]
    fn damaged_tables_are_refused() {
        let (bytes, _) = encode(&noise(512, 9, 3)).unwrap();
        assert!(decode(&bytes, 512).is_ok());
        for count in [COUNT_MIN - 1, COUNT_MAX + 1, 513] {
            assert!(decode(&bytes, count).is_err());
        }
        for (at, to) in [(0, WIDTH_MAX as u8 + 1), (1, SYMBOLS_MAX as u8), (2, 0xFF), (2, 0)] {
            let mut bytes = bytes.clone();
            bytes[at] = to;
            assert!(decode(&bytes, 512).is_err(), "{to} at {at}");
        }
    }

    proptest! {
        #[test]
        fn any_residuals_come_back(
            count in COUNT_MIN..=COUNT_MAX,
            spread in prop_oneof![2_u64..20, 20_u64..1_000_000, Just(1 << 31)],
            shift in 0_u32..30,
            seed: u64,
            far in prop::collection::vec((any::<prop::sample::Index>(), any::<i64>()), 0..6),
        ) {
            let mut residuals: Vec<i64> = noise(count, spread, seed).into_iter().map(|v| v << shift).collect();
            for (at, value) in far {
                let at = at.index(count);
                residuals[at] = value;
            }
            if let Some((bytes, _)) = encode(&residuals) {
                for back in at_each_level(|| decode(&bytes, count)) {
                    prop_assert!(back.unwrap() == residuals);
                }
            }
        }

        #[test]
        fn damaged_bytes_are_taken_or_refused(seed: u64, at: prop::sample::Index, to: u8, header: bool) {
            let (mut bytes, _) = encode(&noise(600, 40, seed)).unwrap();
            let at = at.index(if header { 30 } else { bytes.len() });
            let _ = decode(&bytes[..at], 600);
            bytes[at] = to;
            let _ = decode(&bytes, 600);
        }
    }
}
