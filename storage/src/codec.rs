//! How columns of values become bytes and come back bit for bit: the codecs, their numbers and the choice between them.
//!
//! A block is the values of at most [`BLOCK_SAMPLES_MAX`] samples. Each codec turns a column it can carry into bytes;
//! [`encode_block`] keeps the smallest. Values that a codec cannot carry (the staleness marker, −0, infinities, a stray
//! value of full precision among decimals) are exceptions that any codec may leave out.
//!
//! # Bytes of a block
//! One byte: the codec's number in the lower six bits ([`CodecNumber`]), bit 6 zero, bit 7 set if exceptions follow
//! (their form is in `exceptions.rs`). Then the codec's own bytes, described in its file, up to the end of the block.
//! The count of values is kept with the timestamps. Numbers are never used again for something else.
//!
//! A block may be written beside the block of another series with the same times ([`encode_block_beside`]); if it then
//! needs it ([`needs_base`]), the values of that block, the base, must be at hand to read it, and sometimes those of the
//! block at the end of the row of bases ([`needs_root`]).

mod beside;
mod coded;
mod constant;
mod exceptions;
pub(crate) mod histogram;
mod huffman;
pub(crate) mod integers;
mod machine;
mod miniblock;
mod ordered;
mod pack;
mod raw;
mod scaled;
pub(crate) mod timestamps;

pub(crate) use beside::{Beside, Fit};

use crate::format::{Cursor, FormatError, Put};

/// Most samples of one block; every block of a series but the last has as many.
pub(crate) const BLOCK_SAMPLES_MAX: usize = 2048;

const NUMBER_MASK: u8 = 0b0011_1111;
const FLAG_EXCEPTIONS: u8 = 0b1000_0000;

/// Bytes per value above which a decimal form is probably noise and the ordered bits are tried as well.
const NOISY_BYTES: usize = 4;

/// What matters more when codecs compete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preference {
    /// Only forms that decode fastest.
    Speed,
    /// A slower form where it saves at least [`BALANCED_SAVING_PERCENT`].
    #[default]
    Balanced,
    /// The smallest form.
    Size,
}

/// What Rice coding must save to be worth its decoding time, which is about twice that of packing.
const BALANCED_SAVING_PERCENT: usize = 10;

impl Preference {
    #[cfg(test)]
    pub(crate) const ALL: [Preference; 3] = [Preference::Speed, Preference::Balanced, Preference::Size];

    /// Bits that a Rice coding may take at most, if packing takes this many.
    fn rice_bits_max(self, packed_bits: usize) -> usize {
        match self {
            Preference::Speed => 0,
            Preference::Balanced => packed_bits * (100 - BALANCED_SAVING_PERCENT) / 100,
            Preference::Size => packed_bits.saturating_sub(1),
        }
    }
}

/// The codecs' numbers on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CodecNumber {
    /// All values have the same bits.
    Constant = 1,
    /// Integers.
    Integer = 2,
    /// Integers times a factor: decimals, sixtieths, milliseconds as seconds.
    Scaled = 3,
    /// The bits of the floats, in the order of the floats.
    Ordered = 4,
    /// The bits as they are.
    Raw = 5,
    /// The values of the base.
    Equal = 6,
    /// Integers as differences from those of the base.
    Difference = 7,
    /// Integers as differences from a share of those of the base.
    Share = 8,
    /// Integers as differences from what lies between those of base and root.
    Between = 9,
}

/// A way to write a column of values.
///
/// An implementer promises that [`ValueCodec::decode`] gives back bit for bit what was encoded, except at the places
/// that [`ValueCodec::encode`] put on the list of exceptions, and that any bytes give an error or some values, without
/// a panic and without more memory than the count allows.
trait ValueCodec: Sync {
    /// The number on disk.
    fn number(&self) -> CodecNumber;

    /// Appends the bytes of a column, and the places it cannot carry, rising, to `exceptions`; false if it cannot carry
    /// the column (then what it appended is dropped). The values at exceptions are free to choose.
    fn encode(
        &self,
        column: &Column<'_>,
        preference: Preference,
        exceptions: &mut Vec<usize>,
        out: &mut Vec<u8>,
    ) -> bool;

    /// Fills `out` from exactly these bytes; what the block was written beside may be as long or not.
    ///
    /// # Errors
    /// [`FormatError`] if the bytes are not a column of that many values.
    fn decode(&self, cursor: &mut Cursor<'_>, beside: Beside<'_>, out: &mut [f64]) -> Result<(), FormatError>;
}

/// All codecs, in the order in which they are tried.
static CODECS: &[&dyn ValueCodec] = &[
    &constant::Constant,
    &beside::Equal,
    &beside::Between,
    &beside::Share,
    &beside::Difference,
    &scaled::Integer,
    &scaled::Scaled,
    &ordered::Ordered,
    &raw::Raw,
];

/// A column to encode, and what is known about it.
struct Column<'a> {
    values: &'a [f64],
    /// Values of other series at the same times.
    beside: Beside<'a>,
    /// How these serve best.
    fit: Option<Fit>,
    /// Places of values that only the bits can tell from others: NaNs, infinities and −0. Rising.
    specials: Vec<usize>,
}

impl<'a> Column<'a> {
    fn new(values: &'a [f64], beside: Beside<'a>) -> Self {
        let special = |v: &f64| !v.is_finite() || (*v == 0.0 && v.is_sign_negative());
        let specials = values.iter().enumerate().filter(|(_, v)| special(v)).map(|(i, _)| i).collect();
        let beside = beside.fitting(values.len());
        Column { values, beside, fit: Fit::of(values, beside), specials }
    }
}

/// Appends the bytes of a block in the smallest form.
pub(crate) fn encode_block(values: &[f64], preference: Preference, out: &mut Vec<u8>) {
    encode_block_beside(values, Beside::default(), preference, out);
}

/// Appends the bytes of a block in the smallest form, which may be one that refers to what it is written beside.
pub(crate) fn encode_block_beside(values: &[f64], beside: Beside<'_>, preference: Preference, out: &mut Vec<u8>) {
    debug_assert!(values.len() <= BLOCK_SAMPLES_MAX, "a block has a bound");
    let column = Column::new(values, beside);
    let start = out.len();
    let mut best: Option<usize> = None;
    for codec in CODECS {
        if best.is_some_and(|bytes| !worth_trying(codec.number(), bytes, &column)) {
            continue;
        }
        let before = out.len();
        if !encode_with(*codec, &column, preference, out) {
            out.truncate(before);
            continue;
        }
        let bytes = out.len() - before;
        if best.is_none_or(|smallest| bytes < smallest) {
            out.drain(start..before);
            best = Some(bytes);
        } else {
            out.truncate(before);
        }
    }
}

/// Whether a codec may beat what the ones before it reached.
fn worth_trying(codec: CodecNumber, best_bytes: usize, column: &Column<'_>) -> bool {
    let count = column.values.len();
    match codec {
        CodecNumber::Constant => true,
        // An equal block has one byte.
        CodecNumber::Equal | CodecNumber::Difference | CodecNumber::Share | CodecNumber::Between => best_bytes > 1,
        // A constant has at most nine bytes.
        CodecNumber::Integer => best_bytes > count.min(9) && !column.fit.is_some_and(|fit| fit.is_clear()),
        // Integers are scaled by 1 already.
        CodecNumber::Scaled | CodecNumber::Ordered => best_bytes > NOISY_BYTES * count,
        CodecNumber::Raw => best_bytes > size_of_val(column.values),
    }
}

fn encode_with(codec: &dyn ValueCodec, column: &Column<'_>, preference: Preference, out: &mut Vec<u8>) -> bool {
    let mut exceptions = Vec::new();
    let at = out.len();
    out.put_u8(codec.number() as u8);
    if !codec.encode(column, preference, &mut exceptions, out) {
        return false;
    }
    if !exceptions.is_empty() {
        let payload = out.split_off(at + 1);
        if let Some(first) = out.last_mut() {
            *first |= FLAG_EXCEPTIONS;
        }
        exceptions::put(&exceptions, column.values, out);
        out.extend_from_slice(&payload);
    }
    true
}

/// The name of the codec that a block of values was written with, for people.
pub(crate) fn name_of(block: &[u8]) -> String {
    let number = block.first().map(|first| first & NUMBER_MASK);
    let codec = CODECS.iter().find(|codec| Some(codec.number() as u8) == number);
    match (codec, number) {
        (Some(codec), _) => format!("{:?}", codec.number()).to_lowercase(),
        (None, Some(number)) => format!("codec {number}"),
        (None, None) => "none".to_owned(),
    }
}

/// Whether the bytes are a block that can be read only beside its base.
pub(crate) fn needs_base(bytes: &[u8]) -> bool {
    const NUMBERS: [u8; 4] =
        [CodecNumber::Equal as u8, CodecNumber::Difference as u8, CodecNumber::Share as u8, CodecNumber::Between as u8];
    bytes.first().is_some_and(|first| NUMBERS.contains(&(first & NUMBER_MASK)))
}

/// Whether the bytes are a block for which the root at the end of its row of bases must be at hand as well.
pub(crate) fn needs_root(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first & NUMBER_MASK == CodecNumber::Between as u8)
}

/// What the head of a block tells of its staleness markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Markers {
    /// There are so many.
    Count(usize),
    /// As many as in the block it is written beside.
    AsBase,
    /// The values must be decoded to know.
    Unknown,
}

/// What a block of `count` values tells of its staleness markers without being decoded.
///
/// # Errors
/// [`FormatError`] if the bytes are no block.
pub(crate) fn markers(bytes: &[u8], count: usize) -> Result<Markers, FormatError> {
    const CONSTANT: u8 = CodecNumber::Constant as u8;
    const INTEGER: u8 = CodecNumber::Integer as u8;
    const SCALED: u8 = CodecNumber::Scaled as u8;
    const EQUAL: u8 = CodecNumber::Equal as u8;
    const DIFFERENCE: u8 = CodecNumber::Difference as u8;
    const SHARE: u8 = CodecNumber::Share as u8;
    const BETWEEN: u8 = CodecNumber::Between as u8;
    let mut cursor = Cursor::new(bytes);
    let first = cursor.u8()?;
    let exceptions = if first & FLAG_EXCEPTIONS == 0 { Vec::new() } else { exceptions::read(&mut cursor, count)? };
    let left_out = exceptions.iter().filter(|(_, value)| model::is_stale(*value)).count();
    Ok(match first & NUMBER_MASK {
        // What comes from integers is a number.
        INTEGER | SCALED | DIFFERENCE | SHARE | BETWEEN => Markers::Count(left_out),
        CONSTANT => match crate::format::high_bytes(cursor.rest()) {
            Some(bits) if bits != model::STALE_NAN_BITS => Markers::Count(left_out),
            _ => Markers::Unknown,
        },
        EQUAL if exceptions.is_empty() => Markers::AsBase,
        _ => Markers::Unknown,
    })
}

/// Reads the `count` values of a block that needs no base to the end of `out`.
///
/// # Errors
/// [`FormatError`] if the bytes are not a block of that many values; `out` may have some of them then.
pub(crate) fn decode_block(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), FormatError> {
    decode_block_beside(bytes, count, Beside::default(), out)
}

/// Reads the `count` values of a block to the end of `out`; `beside` has what it was written beside.
///
/// # Errors
/// As [`decode_block`]; also if the base is needed and has not as many values.
pub(crate) fn decode_block_beside(
    bytes: &[u8],
    count: usize,
    beside: Beside<'_>,
    out: &mut Vec<f64>,
) -> Result<(), FormatError> {
    if count > BLOCK_SAMPLES_MAX {
        return Err(FormatError::new("a block with too many samples"));
    }
    let mut cursor = Cursor::new(bytes);
    let first = cursor.u8()?;
    let number = first & NUMBER_MASK;
    let codec = CODECS
        .iter()
        .find(|c| c.number() as u8 == number && first & !(NUMBER_MASK | FLAG_EXCEPTIONS) == 0)
        .ok_or(FormatError::new("a block of an unknown codec"))?;
    let exceptions = if first & FLAG_EXCEPTIONS == 0 { Vec::new() } else { exceptions::read(&mut cursor, count)? };
    let start = out.len();
    out.resize(start + count, 0.0);
    let values = out.get_mut(start..).unwrap_or_default();
    codec.decode(&mut cursor, beside, values)?;
    cursor.finish()?;
    for (at, value) in exceptions {
        if let Some(slot) = values.get_mut(at) {
            *slot = value;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
