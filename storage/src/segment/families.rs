//! Which series a series is best written beside: a neighbouring bucket of the same histogram, or for a count the bucket
//! of all. Keeps encoded columns of the histograms that are being written, up to a bound, and the last decoded ones.

use std::collections::VecDeque;
use std::rc::Rc;

use hashbrown::HashMap;
use model::{Labels, METRIC_NAME};

use super::layout::{BASES_MAX, ColumnHead, block_count, block_samples};
use crate::codec::{BLOCK_SAMPLES_MAX, Beside, Fit, decode_block_beside, needs_base, needs_root};
use crate::format::content_hash;

/// Bytes of columns that are kept. Labels may come between the buckets of a histogram, so that those of many are open
/// at a time; what falls out costs size, nothing else.
const KEPT_BYTES_MAX: usize = 32 << 20;

/// Buckets that are kept of one histogram, so that looking for neighbours stays cheap.
const BUCKETS_MAX: usize = 256;

/// Decoded columns that are kept: more than stand in a row of bases.
const DECODED: usize = 8;

const BUCKET: &str = "_bucket";
const COUNT: &str = "_count";
/// The label of a bucket's upper bound.
const BOUND: &str = "le";

/// Where a series is in its family.
#[derive(Debug)]
pub(super) struct Place {
    /// Hash of what the series of the histogram have in common. If two histograms have the same, a base serves worse.
    family: u128,
    /// The upper bound; none of a count.
    bound: Option<f64>,
    times: u32,
    ordinal: u32,
    count: usize,
}

/// The series to write another one beside.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) ordinal: u32,
    values: Rc<Vec<f64>>,
    /// Of the series at the end of the row of bases, if that is another one.
    root: Option<Rc<Vec<f64>>>,
    index: usize,
    depth: u32,
}

impl Base {
    /// What a block is written beside.
    pub(super) fn block(&self, block: usize) -> Beside<'_> {
        let values = |of: &'_ Rc<Vec<f64>>| -> std::ops::Range<usize> {
            let start = (block * BLOCK_SAMPLES_MAX).min(of.len());
            start..(start + BLOCK_SAMPLES_MAX).min(of.len())
        };
        Beside {
            base: self.values.get(values(&self.values)).unwrap_or_default(),
            root: self.root.as_ref().and_then(|root| root.get(values(root))).unwrap_or_default(),
        }
    }
}

#[derive(Debug)]
struct Bucket {
    bound: f64,
    times: u32,
    ordinal: u32,
    count: usize,
    /// The bucket it is written beside, as an index in the family, and how many there are in a row.
    base: Option<usize>,
    depth: u32,
    column: Vec<u8>,
}

/// The histograms that are being written.
#[derive(Debug, Default)]
pub(super) struct Families {
    by_hash: HashMap<u128, Vec<Bucket>>,
    /// Families, oldest first.
    order: VecDeque<u128>,
    kept_bytes: usize,
    /// Columns by ordinal, the last used first.
    decoded: VecDeque<(u32, Rc<Vec<f64>>)>,
}

impl Families {
    /// The place of a series; none if it is neither a bucket nor a count.
    pub(super) fn place(&self, labels: &Labels, times: u32, ordinal: u32, count: usize) -> Option<Place> {
        let name = labels.metric_name();
        let (stem, bound) = match labels.get(BOUND) {
            Some(bound) => (name.strip_suffix(BUCKET)?, Some(bound.parse().ok().filter(|b: &f64| !b.is_nan())?)),
            None => (name.strip_suffix(COUNT)?, None),
        };
        let mut text = stem.as_bytes().to_vec();
        text.push(0);
        let others = labels.filtered(|name| name != BOUND && name != METRIC_NAME);
        text.extend_from_slice(others.canonical().as_bytes());
        let family = content_hash(&text);
        // A count without buckets before it is of no use to others, and has no base.
        (bound.is_some() || self.by_hash.contains_key(&family)).then_some(Place {
            family,
            bound,
            times,
            ordinal,
            count,
        })
    }

    /// The base to try for a series with these values.
    pub(super) fn base_of(&mut self, place: &Place, values: &[f64]) -> Option<Base> {
        let buckets = self.by_hash.get(&place.family)?;
        let bound = place.bound.unwrap_or(f64::INFINITY);
        let usable = |b: &Bucket| b.times == place.times && b.depth < BASES_MAX;
        let candidates = || buckets.iter().enumerate().filter(|(_, b)| usable(b));
        let below = candidates().filter(|(_, b)| b.bound <= bound).max_by(|a, b| a.1.bound.total_cmp(&b.1.bound));
        let above = candidates().filter(|(_, b)| b.bound > bound).min_by(|a, b| a.1.bound.total_cmp(&b.1.bound));
        let (below, above) = (below.map(|(index, _)| index), above.map(|(index, _)| index));
        let mut bases = [below, above].map(|index| self.base(place.family, index?)).into_iter().flatten();
        let (one, other) = (bases.next()?, bases.next());
        let cost = |base: &Base| {
            let block = values.get(..BLOCK_SAMPLES_MAX).unwrap_or(values);
            Fit::of(block, base.block(0)).map_or(usize::MAX, |fit| fit.cost)
        };
        match other {
            Some(other) if cost(&other) < cost(&one) => Some(other),
            _ => Some(one),
        }
    }

    fn base(&mut self, family: u128, index: usize) -> Option<Base> {
        let buckets = self.by_hash.get(&family)?;
        let bucket = buckets.get(index)?;
        let values = column(&mut self.decoded, buckets, index)?;
        let root = root_of(buckets, index);
        let root = if root == index { None } else { Some(column(&mut self.decoded, buckets, root)?) };
        Some(Base { ordinal: bucket.ordinal, values, root, index, depth: bucket.depth + 1 })
    }

    /// Keeps the column of a bucket, written beside `base` or by itself.
    pub(super) fn keep(&mut self, place: Place, base: Option<&Base>, column: Vec<u8>) {
        let Some(bound) = place.bound else { return };
        let Place { family, times, ordinal, count, .. } = place;
        let buckets = self.by_hash.entry(family).or_insert_with(|| {
            self.order.push_back(family);
            Vec::new()
        });
        if buckets.len() >= BUCKETS_MAX {
            return;
        }
        self.kept_bytes += column.len() + size_of::<Bucket>();
        let (depth, base) = (base.map_or(0, |b| b.depth), base.map(|b| b.index));
        buckets.push(Bucket { bound, times, ordinal, count, base, depth, column });
        while self.kept_bytes > KEPT_BYTES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            let buckets = self.by_hash.remove(&oldest).unwrap_or_default();
            self.kept_bytes -= buckets.iter().map(|b| b.column.len() + size_of::<Bucket>()).sum::<usize>();
        }
    }
}

/// The bucket at the end of the row of bases.
fn root_of(buckets: &[Bucket], mut index: usize) -> usize {
    while let Some(base) = buckets.get(index).and_then(|bucket| bucket.base) {
        index = base;
    }
    index
}

/// The values of a bucket.
fn column(decoded: &mut VecDeque<(u32, Rc<Vec<f64>>)>, buckets: &[Bucket], index: usize) -> Option<Rc<Vec<f64>>> {
    let bucket = buckets.get(index)?;
    if let Some(at) = decoded.iter().position(|(ordinal, _)| *ordinal == bucket.ordinal) {
        let kept = decoded.remove(at)?;
        let values = Rc::clone(&kept.1);
        decoded.push_front(kept);
        return Some(values);
    }
    let base = match bucket.base {
        Some(base) => Some((column(decoded, buckets, base)?, column(decoded, buckets, root_of(buckets, index))?)),
        None => None,
    };
    let mut values = Vec::with_capacity(bucket.count);
    let head = ColumnHead::decode(&bucket.column, bucket.count, false).ok()?;
    for block in 0..block_count(bucket.count) {
        let bytes = head.block(&bucket.column, block).ok()?;
        let samples = block_samples(bucket.count, block);
        let part = |of: &Rc<Vec<f64>>| -> Vec<f64> { of.iter().skip(values.len()).take(samples).copied().collect() };
        let base_block = base.as_ref().filter(|_| needs_base(bytes)).map(|(base, _)| part(base)).unwrap_or_default();
        let root_block = base.as_ref().filter(|_| needs_root(bytes)).map(|(_, root)| part(root)).unwrap_or_default();
        decode_block_beside(bytes, samples, Beside { base: &base_block, root: &root_block }, &mut values).ok()?;
    }
    let values = Rc::new(values);
    decoded.push_front((bucket.ordinal, Rc::clone(&values)));
    decoded.truncate(DECODED);
    Some(values)
}
