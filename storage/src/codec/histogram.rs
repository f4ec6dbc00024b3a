//! How native histogram samples become bytes and come back bit for bit.
//!
//! # Bytes of a block
//! A block has at most [`BLOCK_SAMPLES_MAX`] samples of one series. Integers are varints unless said otherwise; a
//! *sequence* is its values in pieces of at most [`super::BLOCK_SAMPLES_MAX`], each piece with its length in bytes before
//! it, as a block of floats (`codec.rs`).
//!
//! | part | content |
//! |---|---|
//! | times | length in bytes, then a block of times (`timestamps.rs`) |
//! | layouts | number of runs of samples with the same layout; for each its number of samples and the layout |
//! | counts, zero counts, sums | three sequences with a value for each sample |
//! | buckets | run after run: if the run has [`COLUMN_SAMPLES_MIN`] samples or more, a sequence for each bucket; else one sequence, sample after sample |
//!
//! A **layout** is what seldom changes from sample to sample: reset hint (1 byte), schema (zigzag), zero threshold (8
//! bytes), for the positive and then the negative side the number of spans and for each its offset (zigzag) and its
//! length, at last the number of custom bounds and the bounds (8 bytes each). Spans have a length of 1 at least.

use std::sync::Arc;

use model::{Buckets, Histogram, ResetHint, Span};

use super::{Beside, Preference, decode_block_beside, encode_block, timestamps};
use crate::format::{Cursor, FormatError, Put};

/// Most samples of one block; every block of a series but the last has as many.
pub(crate) const BLOCK_SAMPLES_MAX: usize = 128;
/// Most buckets of one sample, both sides together, and most custom bounds.
pub(crate) const BUCKETS_MAX: usize = 4096;
/// Runs of fewer samples are too short for columns.
const COLUMN_SAMPLES_MIN: usize = 4;

/// A histogram at a time.
pub(crate) type HistogramPoint = (i64, Arc<Histogram>);

/// True if both have the same layout.
pub(crate) fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    let same_bounds = a.custom_bounds.len() == b.custom_bounds.len()
        && a.custom_bounds.iter().zip(&b.custom_bounds).all(|(a, b)| a.to_bits() == b.to_bits());
    a.reset_hint == b.reset_hint
        && a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && a.positive.spans == b.positive.spans
        && a.negative.spans == b.negative.spans
        && same_bounds
}

/// Appends the layout of a histogram.
pub(crate) fn put_layout(out: &mut Vec<u8>, histogram: &Histogram) {
    out.put_u8(match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NoReset => 2,
        ResetHint::Gauge => 3,
    });
    out.put_zigzag(i64::from(histogram.schema));
    out.put_f64(histogram.zero_threshold);
    for side in [&histogram.positive, &histogram.negative] {
        out.put_varint(side.spans.len() as u64);
        for span in &side.spans {
            out.put_zigzag(i64::from(span.offset));
            out.put_varint(u64::from(span.length));
        }
    }
    out.put_varint(histogram.custom_bounds.len() as u64);
    histogram.custom_bounds.iter().for_each(|bound| out.put_f64(*bound));
}

/// Reads a layout: a histogram whose numbers are all 0.
///
/// # Errors
/// [`FormatError`] if these are not the bytes of one, or if it has more than [`BUCKETS_MAX`] buckets.
pub(crate) fn read_layout(cursor: &mut Cursor<'_>) -> Result<Histogram, FormatError> {
    let reset_hint = match cursor.u8()? {
        0 => ResetHint::Unknown,
        1 => ResetHint::Reset,
        2 => ResetHint::NoReset,
        3 => ResetHint::Gauge,
        _ => return Err(cursor.error("an unknown reset hint")),
    };
    let schema = i32::try_from(cursor.zigzag()?).map_err(|_| cursor.error("a schema is out of range"))?;
    let zero_threshold = cursor.f64()?;
    let positive = read_side(cursor, BUCKETS_MAX)?;
    let negative = read_side(cursor, BUCKETS_MAX - positive.counts.len())?;
    let bounds = cursor.length()?;
    if bounds > BUCKETS_MAX || bounds > cursor.rest().len() / size_of::<f64>() {
        return Err(cursor.error("too many custom bounds"));
    }
    let custom_bounds = (0..bounds).map(|_| cursor.f64()).collect::<Result<_, _>>()?;
    Ok(Histogram { schema, zero_threshold, positive, negative, custom_bounds, reset_hint, ..Histogram::default() })
}

fn read_side(cursor: &mut Cursor<'_>, buckets_max: usize) -> Result<Buckets, FormatError> {
    let count = cursor.length()?;
    if count > cursor.rest().len() {
        return Err(cursor.error("a count is larger than the data"));
    }
    let (mut spans, mut buckets) = (Vec::with_capacity(count), 0_u64);
    for _ in 0..count {
        let offset = i32::try_from(cursor.zigzag()?).map_err(|_| cursor.error("an offset is out of range"))?;
        let length = u32::try_from(cursor.varint()?).unwrap_or(u32::MAX);
        buckets += u64::from(length);
        if length == 0 || buckets > buckets_max as u64 {
            return Err(cursor.error("a histogram has an empty span, or too many buckets"));
        }
        spans.push(Span { offset, length });
    }
    Ok(Buckets { spans, counts: vec![0.0; buckets as usize] })
}

/// What is not layout: count, zero count, sum and the buckets of both sides.
pub(crate) fn numbers(histogram: &Histogram) -> impl Iterator<Item = f64> + '_ {
    let sides = histogram.positive.counts.iter().chain(&histogram.negative.counts).copied();
    [histogram.count, histogram.zero_count, histogram.sum].into_iter().chain(sides)
}

/// The same, to be set.
pub(crate) fn numbers_mut(histogram: &mut Histogram) -> impl Iterator<Item = &mut f64> {
    let sides = histogram.positive.counts.iter_mut().chain(&mut histogram.negative.counts);
    [&mut histogram.count, &mut histogram.zero_count, &mut histogram.sum].into_iter().chain(sides)
}

fn put_sequence(out: &mut Vec<u8>, values: &[f64]) {
    let mut block = Vec::new();
    for piece in values.chunks(super::BLOCK_SAMPLES_MAX) {
        block.clear();
        encode_block(piece, Preference::Balanced, &mut block);
        out.put_varint(block.len() as u64);
        out.extend_from_slice(&block);
    }
}

fn read_sequence(cursor: &mut Cursor<'_>, count: usize, out: &mut Vec<f64>) -> Result<(), FormatError> {
    out.clear();
    while out.len() < count {
        let piece = (count - out.len()).min(super::BLOCK_SAMPLES_MAX);
        let length = cursor.length()?;
        decode_block_beside(cursor.take(length)?, piece, Beside::default(), out)?;
    }
    Ok(())
}

/// The numbers of samples of the runs with the same layout.
fn runs(samples: &[HistogramPoint]) -> impl Iterator<Item = &[HistogramPoint]> {
    samples.chunk_by(|(_, a), (_, b)| same_layout(a, b))
}

/// Appends a block; the samples are in order of time.
pub(crate) fn encode(samples: &[HistogramPoint], out: &mut Vec<u8>) {
    debug_assert!(samples.len() <= BLOCK_SAMPLES_MAX, "a block has a bound");
    let (mut block, times): (Vec<u8>, Vec<i64>) = (Vec::new(), samples.iter().map(|(ms, _)| *ms).collect());
    timestamps::encode_block(&times, Preference::Balanced, &mut block);
    out.put_varint(block.len() as u64);
    out.extend_from_slice(&block);
    out.put_varint(runs(samples).count() as u64);
    for run in runs(samples) {
        out.put_varint(run.len() as u64);
        run.iter().take(1).for_each(|(_, first)| put_layout(out, first));
    }
    let columns: [fn(&Histogram) -> f64; 3] = [|h| h.count, |h| h.zero_count, |h| h.sum];
    for column in columns {
        put_sequence(out, &samples.iter().map(|(_, h)| column(h)).collect::<Vec<_>>());
    }
    for run in runs(samples) {
        let rows = run.iter().map(|(_, h)| numbers(h).skip(3));
        if run.len() < COLUMN_SAMPLES_MIN {
            put_sequence(out, &rows.flatten().collect::<Vec<_>>());
            continue;
        }
        let mut rows: Vec<_> = rows.collect();
        loop {
            let column: Vec<f64> = rows.iter_mut().filter_map(Iterator::next).collect();
            if column.is_empty() {
                break;
            }
            put_sequence(out, &column);
        }
    }
}

/// Reads a block of `count` samples to the end of `out`.
///
/// # Errors
/// [`FormatError`] if the bytes are not a block of that many samples; `out` is as it was then.
pub(crate) fn decode(bytes: &[u8], count: usize, out: &mut Vec<HistogramPoint>) -> Result<(), FormatError> {
    if count > BLOCK_SAMPLES_MAX {
        return Err(FormatError::new("a block with too many histograms"));
    }
    let mut cursor = Cursor::new(bytes);
    let length = cursor.length()?;
    let mut times = Vec::with_capacity(count);
    timestamps::decode_block(cursor.take(length)?, count, &mut times)?;
    let mut layouts = Vec::new();
    let mut samples: Vec<Histogram> = Vec::with_capacity(count);
    for _ in 0..cursor.varint()? {
        let run = cursor.length()?;
        if run == 0 || run > count - samples.len() {
            return Err(cursor.error("layouts for another number of histograms"));
        }
        layouts.push(run);
        let layout = read_layout(&mut cursor)?;
        samples.extend(std::iter::repeat_n(layout, run));
    }
    if samples.len() != count {
        return Err(cursor.error("layouts for another number of histograms"));
    }
    let mut values = Vec::new();
    let columns: [fn(&mut Histogram) -> &mut f64; 3] = [|h| &mut h.count, |h| &mut h.zero_count, |h| &mut h.sum];
    for column in columns {
        read_sequence(&mut cursor, count, &mut values)?;
        samples.iter_mut().zip(&values).for_each(|(sample, value)| *column(sample) = *value);
    }
    let mut rest = samples.as_mut_slice();
    for run in layouts {
        let (run, behind) = rest.split_at_mut(run.min(rest.len()));
        read_buckets(&mut cursor, run, &mut values)?;
        rest = behind;
    }
    cursor.finish()?;
    out.extend(times.into_iter().zip(samples.into_iter().map(Arc::new)));
    Ok(())
}

fn read_buckets(cursor: &mut Cursor<'_>, run: &mut [Histogram], values: &mut Vec<f64>) -> Result<(), FormatError> {
    let buckets = run.first().map_or(0, Histogram::bucket_count);
    if run.len() < COLUMN_SAMPLES_MIN {
        read_sequence(cursor, run.len() * buckets, values)?;
        let places = run.iter_mut().flat_map(|histogram| numbers_mut(histogram).skip(3));
        places.zip(values.iter()).for_each(|(place, value)| *place = *value);
        return Ok(());
    }
    for bucket in 0..buckets {
        read_sequence(cursor, run.len(), values)?;
        for (histogram, value) in run.iter_mut().zip(values.iter()) {
            let above = histogram.positive.counts.len();
            let place = match bucket.checked_sub(above) {
                None => histogram.positive.counts.get_mut(bucket),
                Some(below) => histogram.negative.counts.get_mut(below),
            };
            place.into_iter().for_each(|place| *place = *value);
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use model::{CUSTOM_BOUNDS_SCHEMA, stale_nan};
    use proptest::prelude::*;

    prop_compose! {
        /// Any histogram, valid or not, within the bound of buckets.
        pub(crate) fn any_histogram()(
            schema in prop_oneof![-4_i32..=8, Just(CUSTOM_BOUNDS_SCHEMA)],
            numbers in prop::collection::vec(prop_oneof![8 => 0_u32..1000, 1 => Just(u32::MAX)], 3),
            sum in prop_oneof![6 => -1e3_f64..1e3, 1 => Just(f64::NAN), 1 => Just(stale_nan()), 1 => Just(-0.0)],
            positive in prop::collection::btree_map(-30_i32..30, 0_u32..1000, 0..8),
            negative in prop::collection::btree_map(-30_i32..30, 0.0_f64..1000.0, 0..4),
            bounds in prop::collection::vec(-5.0_f64..5.0, 0..4),
            hint in prop_oneof![Just(ResetHint::Unknown), Just(ResetHint::Gauge), Just(ResetHint::Reset), Just(ResetHint::NoReset)],
        ) -> Histogram {
            Histogram {
                schema,
                zero_threshold: f64::from(numbers[0]) / 1000.0,
                zero_count: f64::from(numbers[1]),
                count: f64::from(numbers[2]),
                sum,
                positive: Buckets::from_indexed(positive.into_iter().map(|(i, n)| (i, f64::from(n)))),
                negative: Buckets::from_indexed(negative),
                custom_bounds: bounds,
                reset_hint: hint,
            }
        }
    }

    /// Everything bit for bit: NaN is not equal to itself.
    pub(crate) fn bits(histogram: &Histogram) -> (Histogram, Vec<u64>) {
        let mut layout = histogram.clone();
        numbers_mut(&mut layout).for_each(|number| *number = 0.0);
        (layout, numbers(histogram).map(f64::to_bits).collect())
    }

    fn points(histograms: impl IntoIterator<Item = Histogram>) -> Vec<HistogramPoint> {
        (0..).step_by(15_000).zip(histograms.into_iter().map(Arc::new)).collect()
    }

    fn round_trip(samples: &[HistogramPoint]) -> usize {
        let (mut bytes, mut back) = (Vec::new(), Vec::new());
        encode(samples, &mut bytes);
        decode(&bytes, samples.len(), &mut back).unwrap();
        let all = |list: &[HistogramPoint]| list.iter().map(|(ms, h)| (*ms, bits(h))).collect::<Vec<_>>();
        assert_eq!(all(&back), all(samples));
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut], samples.len(), &mut Vec::new()).is_err(), "cut at {cut}");
        }
        bytes.len()
    }

    fn counter(n: u64) -> Histogram {
        let n = n as f64;
        Histogram {
            schema: 3,
            zero_threshold: 0.001,
            zero_count: n,
            count: 7.0 * n,
            sum: 2.5 * n,
            positive: Buckets::from_indexed([(0, n), (1, 2.0 * n), (5, 3.0 * n)]),
            ..Histogram::default()
        }
    }

    #[test]
    fn counters_take_little_more_than_their_layout() {
        let one = round_trip(&points([counter(1)]));
        let many = round_trip(&points((1..=128).map(counter)));
        assert!(many < 2 * one, "{one} bytes for one, {many} for 128");
    }

    /// Two samples with one layout, byte by byte.
    #[test]
    fn a_block_is_pinned() {
        let histogram = |n: f64| Histogram {
            schema: 1,
            zero_threshold: 0.5,
            zero_count: 1.0,
            count: 3.0,
            sum: 2.0,
            positive: Buckets { spans: vec![Span { offset: -1, length: 2 }], counts: vec![n, 1.0] },
            ..Histogram::default()
        };
        // Constants and raw bits are codecs that no choice can drop from what is read.
        let constant = |value: f64| {
            let mut bits = Vec::new();
            crate::format::put_high_bytes(&mut bits, value.to_bits());
            [&[1 + bits.len() as u8, 1][..], &bits].concat()
        };
        let mut raw = Vec::new();
        [1.0; 4].into_iter().for_each(|value| raw.put_f64(value));
        let parts: Vec<Vec<u8>> = vec![
            // Times 1000 and 2000: as in a segment.
            vec![7, 2, 0x0E, 0xD0, 0x0F, 0xE8, 0x07, 2],
            // One run of two.
            vec![1, 2],
            // Hint, schema 1, threshold 0.5.
            vec![0, 2, 0, 0, 0, 0, 0, 0, 0xE0, 0x3F],
            // One span of two at -1, no span, no bounds.
            vec![1, 1, 2, 0, 0],
            constant(3.0),
            constant(1.0),
            constant(2.0),
            constant(1.0),
        ];
        let mut bytes = parts.concat();
        let mut back = Vec::new();
        decode(&bytes, 2, &mut back).unwrap();
        let want = [(1000, Arc::new(histogram(1.0))), (2000, Arc::new(histogram(1.0)))];
        assert_eq!(back, want);
        let mut encoded = Vec::new();
        encode(&want, &mut encoded);
        assert_eq!(encoded, bytes, "what is written today");
        // The same with the bits as they are.
        bytes.truncate(bytes.len() - constant(1.0).len());
        bytes.push(1 + raw.len() as u8);
        bytes.push(5);
        bytes.extend(raw);
        back.clear();
        decode(&bytes, 2, &mut back).unwrap();
        assert_eq!(back, want);
    }

    #[test]
    fn too_many_buckets_are_refused() {
        let layout = |length: u32| {
            let mut out = Vec::new();
            let positive = Buckets { spans: vec![Span { offset: 0, length }], counts: Vec::new() };
            put_layout(&mut out, &Histogram { positive, ..Histogram::default() });
            read_layout(&mut Cursor::new(&out)).map(|h| h.bucket_count())
        };
        assert_eq!(layout(BUCKETS_MAX as u32), Ok(BUCKETS_MAX));
        assert!(layout(BUCKETS_MAX as u32 + 1).is_err());
        assert!(layout(0).is_err());
    }

    proptest! {
        #[test]
        fn blocks_come_back_bit_for_bit(
            histograms in prop::collection::vec((any_histogram(), 1_usize..12), 0..8),
        ) {
            let repeated = histograms.into_iter().flat_map(|(h, times)| std::iter::repeat_n(h, times));
            round_trip(&points(repeated.take(BLOCK_SAMPLES_MAX)));
        }

        #[test]
        fn any_bytes_give_an_error_or_histograms(
            mut bytes in prop::collection::vec(any::<u8>(), 0..80), count in 0_usize..9,
            histograms in prop::collection::vec(any_histogram(), 1..6),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let _ = decode(&bytes, count, &mut Vec::new());
            bytes.clear();
            encode(&points(histograms.clone()), &mut bytes);
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = decode(&bytes, histograms.len(), &mut Vec::new());
        }
    }
}
