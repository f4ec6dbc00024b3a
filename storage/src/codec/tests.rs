//! Every codec against every kind of column: bits come back, hostile bytes are refused, sizes stay in bounds.

use super::*;
use model::STALE_NAN_BITS;
use proptest::prelude::*;

fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

fn block(values: &[f64], preference: Preference) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_block(values, preference, &mut bytes);
    let mut back = vec![1.5];
    decode_block(&bytes, values.len(), &mut back).unwrap();
    assert!(same_bits(&back[1..], values), "{:?} came back as {:?}", values, &back[1..]);
    bytes
}

fn codec_of(bytes: &[u8]) -> u8 {
    bytes[0] & NUMBER_MASK
}

/// Numbers that differ from run to run of the index only.
fn noise(i: u64) -> u64 {
    let mut z = i.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn unit(i: u64) -> f64 {
    (noise(i) >> 11) as f64 / (1_u64 << 53) as f64
}

#[test]
fn every_codec_has_its_own_number() {
    let mut numbers: Vec<u8> = CODECS.iter().map(|c| c.number() as u8).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9], "numbers on disk never change");
    numbers.dedup();
    assert_eq!(numbers.len(), CODECS.len());
    assert!(numbers.iter().all(|n| n & !NUMBER_MASK == 0));
}

#[test]
fn blocks_are_pinned() {
    let stale = f64::from_bits(STALE_NAN_BITS);
    let cases: [(&[f64], &[u8]); 6] = [
        (&[1.0, 1.0, 1.0], &[1, 0x3F, 0xF0]),
        (&[0.0], &[1]),
        // Order 2, flat, divisor 2; first 10, second 1.
        (&[10.0, 12.0, 14.0, 16.0], &[2, 0b1110, 20, 2, 2]),
        // Scale 1; order 1, divisor 5, first 5; packed in 2 bits above 1: 0, 1, 2.
        (&[0.5, 1.0, 2.0, 3.5], &[3, 1, 0b0101, 10, 5, 2, 2, 0b10_0100]),
        // One exception, three places on, the staleness marker; then as above.
        (&[1.0, 2.0, 3.0, stale], &[0x82, 0, 6, 0b1010, 2, 2]),
        (&[f64::NAN, f64::INFINITY], &[5, 0, 0, 0, 0, 0, 0, 0xF8, 0x7F, 0, 0, 0, 0, 0, 0, 0xF0, 0x7F]),
    ];
    for (values, want) in cases {
        assert_eq!(block(values, Preference::Balanced), want, "{values:?}");
    }
}

#[test]
fn blocks_beside_others_are_pinned() {
    let beside = Beside { base: &[8.0, 16.0, 32.0, 48.0, 64.0], root: &[16.0, 40.0, 72.0, 96.0, 120.0] };
    let cases: [(&[f64], &[u8]); 4] = [
        (&[8.0, 16.0, 32.0, 48.0, 64.0], &[6]),
        // Order 1, all 1 more than the base.
        (&[9.0, 17.0, 33.0, 49.0, 65.0], &[7, 0b1000, 2]),
        // A quarter of the base and 3.
        (&[5.0, 7.0, 11.0, 15.0, 19.0], &[8, 64, 0b1000, 6]),
        // Halfway between base and root, and 5.
        (&[17.0, 33.0, 57.0, 77.0, 97.0], &[9, 128, 0b1000, 10]),
    ];
    for (values, want) in cases {
        let mut bytes = Vec::new();
        encode_block_beside(values, beside, Preference::Balanced, &mut bytes);
        assert_eq!(bytes, want, "{values:?}");
        let mut back = Vec::new();
        decode_block_beside(want, values.len(), beside, &mut back).unwrap();
        assert_eq!(back, values);
    }
}

#[test]
fn the_right_codec_wins() {
    let counter: Vec<f64> = (0..2048).map(|i| (i * 100 + noise(i) % 50) as f64).collect();
    let gauge: Vec<f64> = (0..2048).map(|i| (unit(i) * 1e4).round() / 1e4).collect();
    let meter: Vec<f64> = (0..2048).map(|i| (noise(i) % 10_000) as f64 / 60.0).collect();
    let walk: Vec<f64> = (0..2048)
        .scan(100.0, |x, i| {
            *x += unit(i);
            Some(*x)
        })
        .collect();
    let random: Vec<f64> = (0..2048).map(|i| f64::from_bits(noise(i))).collect();
    let cases = [
        (vec![7.25; 2048], CodecNumber::Constant, 4),
        (counter, CodecNumber::Integer, 2048 * 9 / 10),
        (gauge, CodecNumber::Scaled, 2048 * 18 / 10),
        (meter, CodecNumber::Scaled, 2048 * 18 / 10),
        (walk, CodecNumber::Ordered, 2048 * 7),
        (random, CodecNumber::Raw, 2048 * 8 + 2),
    ];
    for (values, codec, bytes_max) in cases {
        let bytes = block(&values, Preference::Balanced);
        assert_eq!(codec_of(&bytes), codec as u8);
        assert!(bytes.len() <= bytes_max, "{codec:?}: {} bytes", bytes.len());
    }
}

#[test]
fn a_staleness_marker_costs_two_bytes() {
    let clean: Vec<f64> = (0..240).map(|i| (i * 7 % 100) as f64 / 100.0).collect();
    let mut ended = clean.clone();
    *ended.last_mut().unwrap() = f64::from_bits(STALE_NAN_BITS);
    let (clean, ended) = (block(&clean, Preference::Balanced), block(&ended, Preference::Balanced));
    assert!(ended.len() <= clean.len() + 3, "{} after {}", ended.len(), clean.len());
    let mut constant = vec![1.0; 240];
    constant[239] = f64::from_bits(STALE_NAN_BITS);
    assert!(block(&constant, Preference::Balanced).len() <= 6);
}

#[test]
fn what_is_like_the_base_costs_little_and_needs_it() {
    let base: Vec<f64> = (0..2048).map(|i| (i * 100 + noise(i) % 50) as f64).collect();
    let mut near: Vec<f64> = base.iter().enumerate().map(|(i, v)| v + (i / 7) as f64).collect();
    near[5] = f64::from_bits(STALE_NAN_BITS);
    let third: Vec<f64> =
        base.iter().enumerate().map(|(i, v)| (v * 0.3).round() + (noise(i as u64) % 4) as f64).collect();
    let root: Vec<f64> = (0..2048).map(|i| base[i] * 2.0 + (i * 50 + noise(i as u64) as usize % 90) as f64).collect();
    let between: Vec<f64> = base.iter().zip(&root).map(|(base, root)| (base + (root - base) * 0.4).round()).collect();
    let cases = [
        (&base, CodecNumber::Equal, 1),
        (&near, CodecNumber::Difference, 300),
        (&third, CodecNumber::Share, 900),
        (&between, CodecNumber::Between, 500),
    ];
    for (values, codec, bytes_max) in cases {
        let mut bytes = Vec::new();
        let beside = Beside { base: &base, root: &root };
        encode_block_beside(values, beside, Preference::Balanced, &mut bytes);
        assert_eq!(codec_of(&bytes), codec as u8, "{codec:?}");
        assert!(bytes.len() <= bytes_max, "{codec:?}: {} bytes", bytes.len());
        assert!(needs_base(&bytes));
        assert_eq!(needs_root(&bytes), codec == CodecNumber::Between);
        let mut back = Vec::new();
        decode_block_beside(&bytes, values.len(), beside, &mut back).unwrap();
        assert!(same_bits(&back, values));
        for wrong in [&[][..], &base[1..]] {
            let beside = Beside { base: wrong, root: &root };
            assert!(decode_block_beside(&bytes, values.len(), beside, &mut Vec::new()).is_err());
            let beside = Beside { base: &base, root: wrong };
            let refused = decode_block_beside(&bytes, values.len(), beside, &mut Vec::new()).is_err();
            assert_eq!(refused, needs_root(&bytes));
        }
    }
    assert!(!needs_base(&block(&base, Preference::Balanced)) && !needs_base(&[]));
}

/// Bytes per sample on data like that of the measurements; bounds a tenth above what was measured when written.
#[test]
fn sizes_stay_in_bounds() {
    let rounds = |kind: fn(u64, &mut f64) -> f64| -> f64 {
        let mut bytes = 0;
        for series in 0..8_u64 {
            let mut state = 0.0;
            let values: Vec<f64> = (0..16_384).map(|i| kind(series << 32 | i, &mut state)).collect();
            bytes += values.chunks(BLOCK_SAMPLES_MAX).map(|c| block(c, Preference::Balanced).len()).sum::<usize>();
        }
        bytes as f64 / (8.0 * 16_384.0)
    };
    let bucket = rounds(|i, total| {
        *total += (40.0 * unit(i) * unit(i ^ 77)).round();
        *total
    });
    let counter = rounds(|i, total| {
        *total = if noise(i).is_multiple_of(5760) {
            0.0
        } else {
            *total + (100.0 + 30.0 * (unit(2 * i) + unit(2 * i + 1) - 1.0)).round()
        };
        *total
    });
    let gauge = rounds(|i, level| {
        *level = (*level + unit(2 * i) + unit(2 * i + 1) - 1.0).clamp(-40.0, 40.0);
        (*level * 10.0).round() / 10.0
    });
    for (name, got, bound) in [("bucket", bucket, 0.85), ("counter", counter, 0.80), ("gauge", gauge, 0.70)] {
        assert!(got <= bound, "{name}: {got:.3} bytes per sample, at most {bound}");
    }
}

fn nasty_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        Just(0.0),
        Just(-0.0),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(f64::from_bits(STALE_NAN_BITS)),
        Just(f64::NAN),
        Just(-f64::NAN),
        Just(f64::MAX),
        Just(f64::MIN_POSITIVE),
        Just(5e-324),
        Just(i64::MAX as f64),
        Just(i64::MIN as f64),
        Just(9_007_199_254_740_993.0),
    ]
}

/// Columns as senders make them, with a few nasty values strewn in.
fn column() -> impl Strategy<Value = Vec<f64>> {
    let clean = (0_u8..8, any::<u64>(), prop_oneof![0_usize..20, 250_usize..262, Just(512), Just(700)]).prop_map(
        |(kind, seed, count)| {
            let mut total = 0.0;
            (0..count as u64)
                .map(|i| {
                    let r = noise(seed ^ i);
                    total += (r % 100) as f64;
                    match kind {
                        0 => 42.0,
                        1 => total,
                        2 => (r % 10_000) as f64 / 100.0,
                        3 => (r % 1000) as f64 / 60.0,
                        4 => (r % 1_000_000) as f64 * 1e-9,
                        5 => (r % 64) as f64 * 1e17,
                        6 => f64::from((r as f32) / 3.0),
                        _ => f64::from_bits(r),
                    }
                })
                .collect::<Vec<f64>>()
        },
    );
    let holes = prop::collection::vec((any::<prop::sample::Index>(), nasty_value()), 0..6);
    (clean, holes).prop_map(|(mut values, holes)| {
        if !values.is_empty() {
            for (at, value) in holes {
                let at = at.index(values.len());
                values[at] = value;
            }
        }
        values
    })
}

proptest! {
    #[test]
    fn every_codec_gives_back_what_it_takes(values in column(), base in column(), root in column()) {
        let fitting = |values: &[f64], of: &[f64]| -> Vec<f64> { of.iter().cycle().copied().take(values.len()).collect() };
        let (base, root) = (fitting(&values, &base), fitting(&values, &root));
        let beside = Beside { base: &base, root: &root };
        for codec in CODECS {
            for preference in Preference::ALL {
                let mut bytes = Vec::new();
                let mut column = Column::new(&values, beside);
                column.fit = column.fit.map(|fit| fit.with_codec(codec.number()));
                if encode_with(*codec, &column, preference, &mut bytes) {
                    let decode = || {
                        let mut back = Vec::new();
                        decode_block_beside(&bytes, values.len(), beside, &mut back).unwrap();
                        back
                    };
                    for back in machine::tests::at_each_level(decode) {
                        prop_assert!(same_bits(&back, &values), "{:?}: {values:?} came back as {back:?}", codec.number());
                    }
                } else {
                    prop_assert!(!matches!(codec.number(), CodecNumber::Ordered | CodecNumber::Raw));
                }
            }
        }
    }

    #[test]
    fn the_choice_gives_back_and_never_exceeds_raw(values in column()) {
        for preference in Preference::ALL {
            prop_assert!(block(&values, preference).len() <= values.len() * 8 + 1);
        }
    }

    #[test]
    fn columns_of_nasty_values_come_back(values in prop::collection::vec(nasty_value(), 0..40)) {
        prop_assert!(block(&values, Preference::Balanced).len() <= values.len() * 8 + 1);
    }

    #[test]
    fn any_bytes_are_taken_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 1..200), number in 0_u8..12, count in 0_usize..600, base in column()) {
        bytes[0] = bytes[0] & FLAG_EXCEPTIONS | number;
        let decode = || {
            let mut out = Vec::new();
            let beside = Beside { base: &base, root: &base };
            let decoded = decode_block_beside(&bytes, count, beside, &mut out);
            (decoded, out.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
        };
        let [portable, avx2, avx512] = machine::tests::at_each_level(decode);
        for fast in [avx2, avx512] {
            prop_assert!(fast.1.len() <= count && fast.1.capacity() <= 2 * BLOCK_SAMPLES_MAX);
            prop_assert_eq!(&fast, &portable);
        }
    }

    #[test]
    fn damaged_blocks_are_taken_or_refused(values in column(), at: prop::sample::Index, to: u8) {
        let mut bytes = block(&values, Preference::Balanced);
        let at = at.index(bytes.len());
        let _ = decode_block(&bytes[..at], values.len(), &mut Vec::new());
        bytes[at] = to;
        let _ = decode_block(&bytes, values.len(), &mut Vec::new());
    }
}
