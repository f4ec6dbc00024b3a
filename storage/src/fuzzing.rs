//! What fuzz targets call: each decoder of the crate with any bytes. Errors are fine, panics are not.

use std::path::Path;

use model::{Cuts, MatchOp, Matcher, SampleColumns, Scope, TimeRange, Want};

use crate::codec::{self, BLOCK_SAMPLES_MAX, Beside};
use crate::format::{Put, checksum};
use crate::io::Disk;
use crate::io::fake::FakeDisk;
use crate::manifest::Manifest;
use crate::names::Layout;
use crate::segment::forge::reseal;
use crate::segment::{PiecesRequest, Segment};
use crate::wal::file::{ChainFile, FileHeader};
use crate::wal::record::{HEADER_BYTES, RecordHeader, decode_body};
use crate::wal::replay::{Suspects, read_file};

fn disk_with(path: &Path, bytes: &[u8]) -> Option<FakeDisk> {
    let disk = FakeDisk::default();
    disk.create_dir(path.parent()?).ok()?;
    disk.create(path).ok()?.append(bytes).ok()?;
    Some(disk)
}

/// Reads the bytes as a WAL file, and as the body of one record whose checksums are right.
pub fn wal(bytes: &[u8]) {
    let layout = Layout::new("/db");
    let path = layout.wal(1);
    let _ = FileHeader::decode(bytes, &path);
    if let Some(disk) = disk_with(&path, bytes) {
        let mut records = 0_u64;
        let file = ChainFile { number: 1, seal: None };
        let _ = read_file(&disk, &layout, file, &Suspects::new(), &mut |_, _| records += 1);
    }
    if let Some((flags, body)) = bytes.split_first() {
        let header = forged_header(*flags, body);
        if let Ok(header) = RecordHeader::decode(&header) {
            let _ = decode_body(&header, body);
        }
    }
}

/// A header that fits the body; its first fields are those of `record.rs`.
fn forged_header(flags: u8, body: &[u8]) -> Vec<u8> {
    let mut rest = Vec::new();
    rest.put_u64(checksum(body));
    rest.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    rest.put_u32(1 << 16);
    rest.put_u8(crate::wal::record::KIND_BATCH);
    rest.put_u8(flags & 1);
    rest.put_u16(1);
    rest.put_u32(1);
    rest.resize(HEADER_BYTES - 8, 0);
    let mut header = Vec::new();
    header.put_u32(crate::wal::record::MAGIC);
    header.put_u32(checksum(&rest) as u32);
    header.extend_from_slice(&rest);
    header
}

/// Reads the bytes as a manifest, as they are and with a right checksum.
pub fn manifest(bytes: &[u8]) {
    let path = Path::new("/db/MANIFEST-1");
    let _ = Manifest::decode(bytes, path);
    if let Some((content, _)) = bytes.split_last_chunk::<8>() {
        let mut forged = content.to_vec();
        forged.put_u64(checksum(content));
        let _ = Manifest::decode(&forged, path);
    }
}

/// Reads the bytes as what lies behind the values of a series in a segment of buckets; the first two say how many samples
/// it has.
pub fn buckets(bytes: &[u8]) {
    if let Some((count, behind)) = bytes.split_first_chunk::<2>() {
        let samples = usize::from(count[0]) << 8 | usize::from(count[1]);
        let _ = crate::segment::decode_behind(behind, samples);
    }
}

/// Opens the bytes as a segment, as they are and with checksums made right, selects and reads everything.
pub fn segment(bytes: &[u8]) {
    read_segment(bytes);
    if let Some(forged) = reseal(bytes) {
        read_segment(&forged);
    }
}

fn read_segment(bytes: &[u8]) {
    let path = Path::new("/db/1.seg");
    let Some(disk) = disk_with(path, bytes) else { return };
    let Ok(segment) = Segment::open(&disk, path) else { return };
    let _ = segment.metadata();
    let _ = segment.label_names();
    for matcher in [Matcher::equal("job", "a"), Matcher::equal("__name__", "up")] {
        let _ = segment.select(&Scope::default(), &[matcher]);
    }
    for expression in ["n.*", ".*seconds.*|.*loa.+", "(?i).*Bucket.*"] {
        if let Ok(matcher) = Matcher::new("__name__", MatchOp::Regex, expression) {
            let _ = segment.select(&Scope::default(), &[matcher]);
        }
    }
    let mut samples = SampleColumns::default();
    for ordinal in 0..segment.len().min(4096) {
        samples.clear();
        let _ = segment.labels(ordinal);
        let _ = segment.read(ordinal, TimeRange::ALL, &mut samples);
        let _ = segment.statistics(ordinal);
        let mut summaries = Vec::new();
        for want in [Want::COUNT, Want::SUM.and(Want::END_TIMES)] {
            let request = PiecesRequest { range: TimeRange::ALL, want, cuts: &Cuts::NONE, others: &[] };
            let _ = segment.read_pieces(ordinal, &request, &mut samples, &mut summaries);
        }
        let _ = segment.read_buckets(ordinal, TimeRange::ALL, Want::RESETS, &mut Vec::new());
        let _ = segment.all_buckets(ordinal);
        let _ = segment.read_newest_time(ordinal, TimeRange::ALL, &mut SampleColumns::default());
    }
    let _ = segment.verify();
}

/// Decodes the bytes as blocks of values, alone and beside others, and of times; the first two say how many.
pub fn block(bytes: &[u8]) {
    let Some((count, block)) = bytes.split_first_chunk::<2>() else { return };
    let count = (usize::from(count[0]) << 8 | usize::from(count[1])) % (BLOCK_SAMPLES_MAX + 1);
    let _ = codec::decode_block(block, count, &mut Vec::new());
    let _ = codec::timestamps::decode_block(block, count, &mut Vec::new());
    // A base of integers that are decoded fast, and a root with values that no integer stands for.
    let base: Vec<f64> = (0..count).map(|i| (i * i) as f64).collect();
    let odd = [f64::NAN, f64::INFINITY, -0.0, 0.5, -1e300, 1e18];
    let root: Vec<f64> = base.iter().zip(odd.iter().cycle()).map(|(base, odd)| base + odd).collect();
    for beside in [Beside { base: &base, root: &root }, Beside { base: &root, root: &base }] {
        let _ = codec::decode_block_beside(block, count, beside, &mut Vec::new());
    }
    let histograms = count % (codec::histogram::BLOCK_SAMPLES_MAX + 1);
    let _ = codec::histogram::decode(block, histograms, &mut Vec::new());
}
