//! Which series a series is best written beside: the neighbouring bucket of the same histogram, or for a count the
//! bucket of all. Keeps encoded columns of the histograms that are being written, up to a bound.

use std::collections::VecDeque;

use hashbrown::HashMap;
use model::{Labels, METRIC_NAME};

use super::layout::{BASES_MAX, ColumnHead, block_count, block_samples};
use crate::codec::{decode_block_beside, needs_base};
use crate::format::content_hash;

/// Bytes of columns that are kept. Labels may come between the buckets of a histogram, so that those of many are open
/// at a time; what falls out costs size, nothing else.
const KEPT_BYTES_MAX: usize = 32 << 20;

/// Buckets that are kept of one histogram, so that looking for neighbours stays cheap.
const BUCKETS_MAX: usize = 256;

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
    pub(super) values: Vec<f64>,
    index: usize,
    depth: u32,
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

    /// The base to try for a series.
    pub(super) fn base_of(&self, place: &Place) -> Option<Base> {
        let buckets = self.by_hash.get(&place.family)?;
        let bound = place.bound.unwrap_or(f64::INFINITY);
        let usable = |b: &Bucket| b.times == place.times && b.depth < BASES_MAX;
        let candidates = || buckets.iter().enumerate().filter(|(_, b)| usable(b));
        let below = candidates().filter(|(_, b)| b.bound <= bound).max_by(|a, b| a.1.bound.total_cmp(&b.1.bound));
        // The bucket of all comes first in label order: too far from the others, but most useful to one without events.
        let above = || candidates().min_by(|a, b| a.1.bound.total_cmp(&b.1.bound));
        let (index, bucket) = below.or_else(above)?;
        let mut values = Vec::with_capacity(bucket.count);
        decode(buckets, index, &mut values)?;
        Some(Base { ordinal: bucket.ordinal, values, index, depth: bucket.depth + 1 })
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

/// Appends the values of a bucket, block by block with the bases it is written beside.
fn decode(buckets: &[Bucket], index: usize, out: &mut Vec<f64>) -> Option<()> {
    let count = buckets.get(index)?.count;
    (0..block_count(count)).try_for_each(|block| decode_block(buckets, index, block, out))
}

fn decode_block(buckets: &[Bucket], index: usize, block: usize, out: &mut Vec<f64>) -> Option<()> {
    let bucket = buckets.get(index)?;
    let head = ColumnHead::decode(&bucket.column, bucket.count, false).ok()?;
    let bytes = head.block(&bucket.column, block).ok()?;
    let mut base = Vec::new();
    if needs_base(bytes) {
        decode_block(buckets, bucket.base?, block, &mut base)?;
    }
    decode_block_beside(bytes, block_samples(bucket.count, block), &base, out).ok()
}
