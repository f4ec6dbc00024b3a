use proptest::prelude::*;

use super::*;

fn label<'a>(symbols: (u32, u32), name: &'a str, value: &'a str) -> SymbolLabel<'a> {
    SymbolLabel { name_symbol: symbols.0, name, value_symbol: symbols.1, value }
}

const STAMP: Stamp = Stamp { generation: 2, sequence: 9, arrived_ms: 1000 };

fn read(bytes: &[u8]) -> Result<(RecordHeader, RecordBody), FormatError> {
    let header = RecordHeader::decode(bytes)?;
    let stored = bytes.get(HEADER_BYTES..HEADER_BYTES + header.stored_bytes as usize);
    let body = decode_body(&header, stored.ok_or_else(|| FormatError::new("cut"))?)?;
    Ok((header, body))
}

fn tiny() -> Vec<u8> {
    let (mut encoder, mut out) = (RecordEncoder::new(), Vec::new());
    encoder.define(5, [label((1, 2), "__name__", "up"), label((3, 4), "job", "a")].into_iter());
    encoder.define(6, [label((1, 2), "__name__", "up"), label((3, 2), "job", "up")].into_iter());
    encoder.samples([(5, 1000, 1.0), (6, 1000, -0.5)].into_iter());
    let metadata = Metadata { metric_type: MetricType::Gauge, help: "h".into(), unit: String::new() };
    encoder.metadata([("up", &metadata)].into_iter());
    encoder.exemplars([(6, 999, 2.0, &Labels::from_pairs([("t", "x")]).unwrap())].into_iter());
    encoder.finish(STAMP, &mut out).unwrap();
    out
}

/// The bytes of a tiny record: a change here is a change of the format, and needs a new version.
#[test]
fn bytes_are_pinned() {
    let out = tiny();
    let body = b"\x01\x20\x04\x08__name__\x02up\x03job\x01a\x02\x0a\x02\x00\x01\x02\x03\x02\x02\x00\x01\x02\x01\
        \x02\x0b\x02\x0a\x02\xd0\x0f\x00\x22\x3f\xf0\xbf\xe0\
        \x03\x08\x01\x02up\x02\x01h\x00\
        \x04\x11\x01\x06\xce\x0f\x00\x00\x00\x00\x00\x00\x00\x40\x04\x01t\x01x";
    assert_eq!(&out[HEADER_BYTES..], body, "{:?}", out[HEADER_BYTES..].escape_ascii().to_string());
    let header = &out[..HEADER_BYTES];
    assert_eq!(&header[..4], b"SGWR");
    assert_eq!(
        &header[16..],
        b"\x4c\0\0\0\x4c\0\0\0\x01\0\x01\0\x02\0\0\0\x09\0\0\0\0\0\0\0\xe8\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        "{:?}",
        header[16..].escape_ascii().to_string()
    );
}

#[test]
fn synced_to_is_written_into_every_header() {
    let mut out = tiny();
    out.extend(tiny());
    set_synced_to(&mut out, 4711);
    let (first, _) = read(&out).unwrap();
    let (second, body) = read(&out[HEADER_BYTES + first.stored_bytes as usize..]).unwrap();
    assert_eq!((first.synced_to, second.synced_to), (4711, 4711));
    assert_eq!(body.samples.len(), 2);
}

#[test]
fn unknown_kinds_and_sections_are_skipped() {
    let mut body = Vec::new();
    body.put_u8(99);
    body.put_varint(3);
    body.extend(b"xyz");
    let rest = tiny();
    body.extend(&rest[HEADER_BYTES..]);
    assert_eq!(decode_sections(&body).unwrap().samples.len(), 2);
    let header = RecordHeader { kind: 77, ..RecordHeader::decode(&rest).unwrap() };
    assert_eq!(decode_body(&header, &rest[HEADER_BYTES..]), Ok(RecordBody::default()));
}

#[test]
fn large_bodies_are_compressed() {
    let (mut encoder, mut out) = (RecordEncoder::new(), Vec::new());
    encoder.samples((0..1000_u32).map(|i| (i, 5, f64::from(i % 7))));
    encoder.finish(STAMP, &mut out).unwrap();
    let (header, body) = read(&out).unwrap();
    assert!(header.stored_bytes < header.raw_bytes / 4, "{header:?}");
    assert_eq!(body.samples.len(), 1000);
    assert_eq!(body.samples[999], (999, 5, f64::from(999 % 7)));
}

/// A body that says it is larger than its bytes, or than may be, must not take the memory.
#[test]
fn counts_and_lengths_are_not_believed() {
    for section in [b"\x01\x05\xff\xff\xff\xff\x0f", b"\x02\x05\xff\xff\xff\xff\x0f", b"\x03\x05\xff\xff\xff\xff\x0f"] {
        assert!(decode_sections(section).is_err());
    }
    let header = RecordHeader { raw_bytes: u32::MAX, flags: FLAG_ZSTD, ..RecordHeader::decode(&tiny()).unwrap() };
    let header = RecordHeader { body_checksum: checksum(b"x"), ..header };
    assert!(decode_body(&header, b"x").is_err());
}

proptest! {
    #[test]
    fn records_come_back(
        samples in prop::collection::vec((any::<u32>(), any::<i64>(), any::<u64>()), 0..200),
        numbers in prop::collection::vec(any::<u32>(), 0..5),
        value in "\\PC{1,5}",
    ) {
        let samples: Vec<_> = samples.into_iter().map(|(n, t, v)| (n, t, f64::from_bits(v))).collect();
        let (mut encoder, mut out) = (RecordEncoder::new(), Vec::new());
        let labels = Labels::from_pairs([("a", value.as_str()), ("b", "x")]).unwrap();
        for number in &numbers {
            encoder.define(*number, [label((1, 2), "a", &value), label((3, 4), "b", "x")].into_iter());
        }
        encoder.samples(samples.iter().copied());
        encoder.finish(STAMP, &mut out).unwrap();
        let (header, body) = read(&out).unwrap();
        prop_assert_eq!((header.generation, header.sequence, header.arrived_ms), (2, 9, 1000));
        let texts: Vec<&str> = body.series.texts().collect();
        let text = |number: &u32| texts[*number as usize];
        for (series, pairs) in body.series.series() {
            let back = Labels::from_pairs(pairs.iter().map(|(name, value)| (text(name), text(value)))).unwrap();
            prop_assert_eq!((&back, series.hash), (&labels, labels.hash128()));
        }
        prop_assert!(body.series.series().map(|(series, _)| series.wal_number).eq(numbers.iter().copied()));
        let bits = |list: &[(u32, i64, f64)]| list.iter().map(|(n, t, v)| (*n, *t, v.to_bits())).collect::<Vec<_>>();
        prop_assert_eq!(bits(&body.samples), bits(&samples));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = decode_sections(&bytes);
        let _ = read(&bytes);
    }

    /// One changed bit anywhere is an error, never other samples.
    #[test]
    fn a_flipped_bit_is_found(bit in 0..tiny().len() * 8) {
        let mut bytes = tiny();
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(read(&bytes).is_err());
    }
}
