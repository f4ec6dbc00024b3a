//! Encoding and decoding blocks of 2,048 samples by themselves, per kind of data, as the default configuration chooses
//! the codecs. Figures are samples per second; the bytes per sample of each kind are printed first.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod columns;

use std::hint::black_box;

use columns::SAMPLES;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use streamgauge_storage::benching::{BLOCK_SAMPLES, decode_times, decode_values, encode_times, encode_values};

/// A column with what it is written beside.
struct Case {
    name: String,
    values: Vec<f64>,
    base: Vec<f64>,
    root: Vec<f64>,
}

impl Case {
    fn blocks(&self) -> impl Iterator<Item = [&[f64]; 3]> {
        let blocks = |i: usize| {
            let range = |of: &[f64]| (i * BLOCK_SAMPLES).min(of.len())..((i + 1) * BLOCK_SAMPLES).min(of.len());
            [&self.values, &self.base, &self.root].map(|of| &of[range(of)])
        };
        (0..SAMPLES / BLOCK_SAMPLES).map(blocks)
    }
}

fn cases() -> Vec<Case> {
    let alone = |(name, values): (&str, Vec<f64>)| Case { name: name.to_owned(), values, base: vec![], root: vec![] };
    let mut cases: Vec<Case> = columns::kinds().into_iter().map(alone).collect();
    let buckets = columns::buckets();
    let all = buckets.last().unwrap().clone();
    cases.push(Case { name: "bucket, all".to_owned(), values: all.clone(), base: vec![], root: vec![] });
    cases.push(Case { name: "bucket, first".to_owned(), values: buckets[0].clone(), base: all.clone(), root: vec![] });
    for place in [1, 2, 5] {
        let name = format!("bucket, number {}", place + 1);
        cases.push(Case { name, values: buckets[place].clone(), base: buckets[place - 1].clone(), root: all.clone() });
    }
    cases
}

fn values(criterion: &mut Criterion) {
    let cases = cases();
    let encoded: Vec<Vec<Vec<u8>>> = cases.iter().map(encode).collect();
    for (case, blocks) in cases.iter().zip(&encoded) {
        let bytes: usize = blocks.iter().map(Vec::len).sum();
        println!("{}: {:.3} bytes per sample", case.name, bytes as f64 / SAMPLES as f64);
    }
    let mut group = group(criterion, "decode");
    for (case, blocks) in cases.iter().zip(&encoded) {
        let mut out = Vec::with_capacity(BLOCK_SAMPLES);
        group.bench_function(&case.name, |bencher| {
            bencher.iter(|| {
                for (bytes, [values, base, root]) in blocks.iter().zip(case.blocks()) {
                    out.clear();
                    assert!(decode_values(black_box(bytes), values.len(), base, root, &mut out));
                }
            })
        });
    }
    group.finish();
    let mut group = self::group(criterion, "encode");
    for case in &cases {
        group.bench_function(&case.name, |bencher| bencher.iter(|| black_box(encode(case))));
    }
}

fn encode(case: &Case) -> Vec<Vec<u8>> {
    let block = |[values, base, root]: [&[f64]; 3]| {
        let mut bytes = Vec::new();
        encode_values(values, base, root, &mut bytes);
        bytes
    };
    case.blocks().map(block).collect()
}

fn times(criterion: &mut Criterion) {
    let mut group = group(criterion, "times");
    for (name, times_ms) in columns::times() {
        let encode = || -> Vec<Vec<u8>> {
            let block = |times_ms: &[i64]| {
                let mut bytes = Vec::new();
                encode_times(times_ms, &mut bytes);
                bytes
            };
            times_ms.chunks(BLOCK_SAMPLES).map(block).collect()
        };
        let blocks = encode();
        let bytes: usize = blocks.iter().map(Vec::len).sum();
        println!("times, {name}: {:.4} bytes per sample", bytes as f64 / SAMPLES as f64);
        let mut out = Vec::with_capacity(BLOCK_SAMPLES);
        group.bench_function(format!("decode, {name}"), |bencher| {
            bencher.iter(|| {
                for bytes in &blocks {
                    out.clear();
                    assert!(decode_times(black_box(bytes), BLOCK_SAMPLES, &mut out));
                }
            })
        });
        group.bench_function(format!("encode, {name}"), |bencher| bencher.iter(|| black_box(encode())));
    }
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(SAMPLES as u64));
    group
}

criterion_group!(benches, values, times);
criterion_main!(benches);
