//! A written segment reads back as a plain model says, in all its parts, and no damage goes unseen.

use std::collections::BTreeMap;
use std::path::Path;

use model::{Labels, MatchOp, Matcher, Metadata, MetricType, SampleColumns, Scope, TimeRange, stale_nan};
use proptest::prelude::*;

use super::*;
use crate::error::StorageError;
use crate::index::select::{LabelIndex, Needs};
use crate::index::symbols::SET_PAIRS_MAX;
use crate::index::trigrams::NAMES_MIN;
use crate::io::fake::FakeDisk;
use crate::io::{Disk, RealDisk};

type Plain = BTreeMap<Labels, SampleColumns>;

const META: SegmentMeta = SegmentMeta { sequence_min: 3, sequence_max: 99 };
const START_MS: i64 = 1_760_000_000_000;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied()).unwrap()
}

fn samples(times_ms: impl IntoIterator<Item = i64>, value: impl Fn(usize) -> f64) -> SampleColumns {
    let mut columns = SampleColumns::default();
    for (i, time_ms) in times_ms.into_iter().enumerate() {
        columns.push(time_ms, value(i));
    }
    columns
}

fn families() -> Vec<(String, Metadata)> {
    let of = |metric_type, help: &str, unit: &str| Metadata { metric_type, help: help.into(), unit: unit.into() };
    vec![
        ("latency_seconds".into(), of(MetricType::Histogram, "How long it took.", "seconds")),
        ("up".into(), of(MetricType::StateSet, "", "")),
    ]
}

fn write(disk: &dyn Disk, path: &Path, plain: &Plain) -> SegmentInfo {
    write_indexed(disk, path, plain, NAMES_MIN)
}

/// With an index of the names' parts if there are so many names.
fn write_indexed(disk: &dyn Disk, path: &Path, plain: &Plain, names_min: u32) -> SegmentInfo {
    disk.create_dir(path.parent().unwrap()).unwrap();
    let mut writer = SegmentWriter::create(disk, path, META).unwrap();
    writer.set_indexed_names_min(names_min);
    for (labels, samples) in plain {
        writer.add_series(labels, samples).unwrap();
    }
    writer.set_metadata(&families());
    writer.finish().unwrap()
}

/// A fleet: `targets` targets with a histogram of four buckets and two more series each, sampled together.
fn fleet(targets: usize, count: usize) -> Plain {
    let mut plain = Plain::new();
    for target in 0..targets {
        let instance = format!("10.0.{}.{}:9249", target / 250, target % 250);
        let job = format!("job-{}", target % 7);
        let times: Vec<i64> = (0..count).map(|i| START_MS + i as i64 * 15_000 + (i * target % 3) as i64).collect();
        let base = [("instance", instance.as_str()), ("job", job.as_str()), ("tm_id", &instance[5..])];
        for le in ["0.1", "0.5", "1", "+Inf"] {
            let l = [&base[..], &[("__name__", "latency_seconds_bucket"), ("le", le)]].concat();
            plain.insert(labels(&l), samples(times.clone(), |i| (i * le.len() * (target + 1)) as f64));
        }
        let l = [&base[..], &[("__name__", "load")]].concat();
        plain.insert(labels(&l), samples(times.clone(), |i| ((i * 7919 + target) % 400) as f64 / 100.0));
        let l = [&base[..], &[("__name__", "up")]].concat();
        plain.insert(labels(&l), samples(times, |i| if i + 1 == count { stale_nan() } else { 1.0 }));
    }
    plain
}

fn bits(columns: &SampleColumns) -> (Vec<i64>, Vec<u64>) {
    (columns.timestamps_ms.clone(), columns.values.iter().map(|v| v.to_bits()).collect())
}

fn check(segment: &Segment, plain: &Plain) {
    assert_eq!(segment.len() as usize, plain.len());
    for (ordinal, (labels, samples)) in (0..).zip(plain) {
        assert_eq!(&segment.labels(ordinal).unwrap(), labels);
        let mut out = SampleColumns::default();
        segment.read(ordinal, TimeRange::ALL, &mut out).unwrap();
        assert!(bits(&out) == bits(samples), "samples of {labels}");
        let range = segment.time_range(ordinal).unwrap();
        assert_eq!(Some(&range.start_ms), samples.timestamps_ms.first());
        assert_eq!(Some(&range.end_ms), samples.timestamps_ms.last());
        assert_eq!(segment.sample_count(ordinal).unwrap() as usize, samples.len());
    }
}

#[test]
fn a_fleet_reads_back() {
    let plain = fleet(60, 30);
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&dyn Disk, &str); 3] =
        [(&FakeDisk::default(), "/db/0.seg"), (&RealDisk::mapped(), "1.seg"), (&RealDisk::pread(), "2.seg")];
    for (disk, path) in cases {
        let path = &dir.path().join(path);
        let info = write(disk, path, &plain);
        let segment = Segment::open(disk, path).unwrap();
        assert_eq!(segment.info(), info);
        assert_eq!((info.series, info.samples, info.bytes), (360, 10_800, disk.len(path).unwrap().unwrap()));
        assert_eq!((info.sequence_min, info.sequence_max), (3, 99));
        check(&segment, &plain);
        assert_eq!(segment.metadata().unwrap(), families());
        assert!(segment.verify().is_empty());
        assert!(segment.label_names().eq(["__name__", "instance", "job", "le", "tm_id"]));
        assert_eq!(segment.label_values("le").unwrap(), ["+Inf", "0.1", "0.5", "1"]);
        assert!(segment.label_values("no").unwrap().is_empty());
        for (ordinal, labels) in (0..).zip(plain.keys()) {
            assert_eq!(segment.ordinal_of(labels).unwrap(), Some(ordinal));
        }
        assert_eq!(segment.ordinal_of(&labels(&[("__name__", "load")])).unwrap(), None);
    }
}

#[test]
fn empty_segments_are_fine() {
    let disk = FakeDisk::default();
    let path = Path::new("/db/1.seg");
    let info = write(&disk, path, &Plain::new());
    let segment = Segment::open(&disk, path).unwrap();
    assert_eq!((segment.len(), info.samples), (0, 0));
    assert!(segment.info().range.is_empty());
    assert!(segment.select(&Scope::default(), &[]).unwrap().is_empty());
    assert!(segment.labels(0).is_err() && segment.read(0, TimeRange::ALL, &mut SampleColumns::default()).is_err());
}

#[test]
fn series_must_come_in_order() {
    let disk = FakeDisk::default();
    disk.create_dir(Path::new("/db")).unwrap();
    let mut writer = SegmentWriter::create(&disk, Path::new("/db/1.seg"), META).unwrap();
    let (a, b) = (labels(&[("a", "1")]), labels(&[("b", "1")]));
    let some = samples([1], |_| 1.0);
    writer.add_series(&b, &some).unwrap();
    assert!(writer.add_series(&a, &some).is_err());
    assert!(writer.add_series(&b, &some).is_err());
    writer.add_series(&labels(&[("d", "1")]), &SampleColumns::default()).unwrap();
    assert_eq!(writer.finish().unwrap().series, 1);
}

#[test]
fn as_many_labels_as_a_series_can_have() {
    let disk = FakeDisk::default();
    let path = Path::new("/db/1.seg");
    disk.create_dir(Path::new("/db")).unwrap();
    let names: Vec<String> = (0..=SET_PAIRS_MAX).map(|i| format!("l{i:06}")).collect();
    let of = |count: usize| Labels::from_pairs(names[..count].iter().map(|n| (n.as_str(), "v"))).unwrap();
    let mut writer = SegmentWriter::create(&disk, path, META).unwrap();
    let some = samples([1], |_| 1.0);
    writer.add_series(&of(SET_PAIRS_MAX), &some).unwrap();
    assert!(writer.add_series(&of(SET_PAIRS_MAX + 1), &some).is_err());
    writer.finish().unwrap();
    assert_eq!(Segment::open(&disk, path).unwrap().labels(0).unwrap(), of(SET_PAIRS_MAX));
}

#[test]
fn ranges_read_only_what_lies_in_them() {
    let times: Vec<i64> = (0..5000).map(|i| START_MS + i * 1000 + (i % 5)).collect();
    let all = samples(times.clone(), |i| i as f64 / 4.0);
    let plain = Plain::from([(labels(&[("a", "1")]), all.clone())]);
    let disk = FakeDisk::default();
    let path = Path::new("/db/1.seg");
    write(&disk, path, &plain);
    let segment = Segment::open(&disk, path).unwrap();
    let picks = [0, 1, 2046, 2047, 2048, 2049, 4095, 4096, 4999];
    for from in picks {
        for to in picks {
            for (dfrom, dto) in [(0, 0), (1, -1), (-1, 1)] {
                let range = TimeRange { start_ms: times[from] + dfrom, end_ms: times[to] + dto };
                let mut want = SampleColumns::default();
                all.floats()
                    .filter(|s| range.contains(s.timestamp_ms))
                    .for_each(|s| want.push(s.timestamp_ms, s.value));
                let mut out = SampleColumns::default();
                segment.read(0, range, &mut out).unwrap();
                assert!(bits(&out) == bits(&want), "{range:?}");
            }
        }
    }
    let mut out = samples([START_MS - 5], |_| 9.0);
    segment.read(0, TimeRange { start_ms: times[4998], end_ms: i64::MAX }, &mut out).unwrap();
    assert_eq!(out.values, [9.0, 4998.0 / 4.0, 4999.0 / 4.0], "reading appends");
}

#[test]
fn statistics_say_what_the_blocks_hold() {
    let all = samples((0..4700).map(|i| START_MS + i * 1000), |i| ((i * 31) % 1000) as f64);
    let few = samples((0..100).map(|i| START_MS + i * 1000), |i| i as f64);
    let plain = Plain::from([
        (labels(&[("a", "1")]), few.clone()),
        (labels(&[("a", "2")]), all.clone()),
        (labels(&[("a", "3")]), few),
        (labels(&[("a", "4")]), all.clone()),
    ]);
    let disk = FakeDisk::default();
    let path = Path::new("/db/1.seg");
    write(&disk, path, &plain);
    let segment = Segment::open(&disk, path).unwrap();
    for ordinal in [1, 3] {
        let stats = segment.statistics(ordinal).unwrap();
        assert_eq!(stats.iter().map(|s| s.count).collect::<Vec<_>>(), [2048, 2048, 604]);
        for (stats, block) in stats.iter().zip(all.values.chunks(2048)) {
            assert_eq!(stats.sum, block.iter().sum::<f64>());
            assert_eq!((Some(&stats.first), Some(&stats.last)), (block.first(), block.last()));
            assert_eq!(stats.resets as usize, block.windows(2).filter(|w| w[1] < w[0]).count());
        }
    }
    assert!(segment.statistics(0).unwrap().is_empty());
}

fn naive(plain: &Plain, scope: &Scope, matchers: &[Matcher]) -> Vec<u32> {
    let passes =
        |l: &Labels| scope.forced().into_iter().chain(matchers).all(|m| m.matches(l.get(m.name()).unwrap_or_default()));
    (0..).zip(plain.keys()).filter(|(_, l)| passes(l)).map(|(i, _)| i).collect()
}

#[test]
fn selection_over_a_fleet() {
    let plain = fleet(60, 2);
    let disk = FakeDisk::default();
    let path = Path::new("/db/1.seg");
    write(&disk, path, &plain);
    let segment = Segment::open(&disk, path).unwrap();
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let cases: &[&[(&str, MatchOp, &str)]] = &[
        &[],
        &[("__name__", Equal, "up")],
        &[("__name__", Equal, "no")],
        &[("__name__", Equal, "latency_seconds_bucket"), ("le", Regex, "0.5|1")],
        &[("__name__", Regex, "l.+"), ("job", NotEqual, "job-1")],
        &[("instance", Regex, "10\\.0\\.0\\.1.*"), ("le", Equal, "")],
        &[("le", NotEqual, "")],
        &[("le", Regex, ".*")],
        &[("le", NotRegex, ".+")],
        &[("nothing", Equal, ""), ("job", Regex, "job-(1|2)")],
        &[("nothing", NotEqual, "")],
        &[("job", NotRegex, "job-[1-5]"), ("instance", Regex, ".*7:.*")],
    ];
    for case in cases {
        let matchers: Vec<Matcher> = case.iter().map(|(n, op, v)| Matcher::new(*n, *op, *v).unwrap()).collect();
        for scope in [Scope::default(), Scope::confined(Matcher::equal("job", "job-2"))] {
            let got: Vec<u32> = segment.select(&scope, &matchers).unwrap().iter().collect();
            assert_eq!(got, naive(&plain, &scope, &matchers), "{matchers:?}");
        }
    }
}

#[test]
fn parts_of_names_are_indexed_from_a_number_of_names_on() {
    let disk = FakeDisk::default();
    for (names, is_indexed) in [(NAMES_MIN - 1, false), (NAMES_MIN, true)] {
        let path = PathBuf::from(format!("/db/{names}.seg"));
        // `Z` comes before `__name__`, so that names do not begin with a page.
        let plain = (0..names).map(|i| {
            let name = format!("service_{i}_{}_total", if i % 97 == 0 { "Cpu" } else { "requests" });
            (labels(&[("Z", "z"), ("__name__", &name)]), samples([START_MS], |_| 1.0))
        });
        let plain: Plain = plain.collect();
        write(&disk, &path, &plain);
        let segment = Segment::open(&disk, &path).unwrap();
        assert_eq!(segment.name_parts.is_some(), is_indexed, "{names} names");
        assert!(segment.is_name_index_right().unwrap());
        for expression in ["(?i).*cpu.*", ".*_97_.*", "service_4.*Cpu.*", ".*gpu.*", ".+0_Cpu_total|.*_33_.*", ".*u_.*"]
        {
            for op in [MatchOp::Regex, MatchOp::NotRegex] {
                let matchers = [Matcher::new("__name__", op, expression).unwrap()];
                let got: Vec<u32> = segment.select(&Scope::default(), &matchers).unwrap().iter().collect();
                assert_eq!(got, naive(&plain, &Scope::default(), &matchers), "{expression}");
            }
        }
        // Where the index is, only the pages that it names are read.
        let mut tested = 0;
        let parts = [vec!["_97_".to_owned()]];
        let needs = Needs { prefix: "", parts: &parts };
        let found = segment.with_values("__name__", needs, &mut |_| {
            tested += 1;
            true
        });
        assert_eq!(found.unwrap().len(), tested);
        assert!(if is_indexed { tested <= 64 } else { tested == u64::from(names) }, "{tested} names are tested");
    }
}

/// An index that leaves a name out is found behind right checksums.
#[test]
fn a_wrong_index_of_names_is_a_contradiction() {
    let (disk, path) = (FakeDisk::default(), Path::new("/db/1.seg"));
    write_indexed(&disk, path, &small(), 1);
    let good = disk.bytes(path).unwrap();
    let segment = Segment::open(&disk, path).unwrap();
    assert_eq!(segment.contradictions().unwrap().1, []);
    let section = segment.name_parts.unwrap();
    let mut seen = 0;
    for at in section.offset..section.offset + section.bytes {
        let mut bytes = good.clone();
        bytes[at as usize] ^= 1;
        disk.damage(path, super::forge::reseal(&bytes).unwrap());
        seen += u64::from(!Segment::open(&disk, path).unwrap().contradictions().unwrap().1.is_empty());
    }
    assert_eq!(seen, section.bytes);
}

/// What a reader may find out about a segment, as one value that can be compared.
fn everything(segment: &Segment) -> Result<String, StorageError> {
    let mut text = format!("{:?}{:?}", segment.info(), segment.metadata()?);
    for name in segment.label_names().map(str::to_owned).collect::<Vec<_>>() {
        text.push_str(&format!("{name}{:?}", segment.label_values(&name)?));
        for value in segment.label_values(&name)? {
            let list = segment.select(&Scope::default(), &[Matcher::equal(&name, value)])?;
            text.push_str(&format!("{:?}", list.iter().collect::<Vec<_>>()));
        }
    }
    for part in [".*oad.*", ".*seconds.*", ".*nothing.*"] {
        let matcher = Matcher::new("__name__", MatchOp::Regex, part).unwrap();
        text.push_str(&format!("{:?}", segment.select(&Scope::default(), &[matcher])?));
    }
    for ordinal in 0..segment.len() {
        let mut out = SampleColumns::default();
        segment.read(ordinal, TimeRange::ALL, &mut out)?;
        text.push_str(&format!("{}{:?}{:?}", segment.labels(ordinal)?, bits(&out), segment.statistics(ordinal)?));
    }
    Ok(text)
}

fn small() -> Plain {
    let mut plain = fleet(2, 6);
    plain.extend(histograms(&["1", "2", "5", "+Inf"], 20));
    plain.insert(labels(&[("__name__", "long")]), samples((0..600).map(|i| START_MS + i * 1000), |i| i as f64));
    plain
}

/// Histograms of three targets: a label after the bound comes between buckets, counts are the last bucket, and one
/// target has other times for half of its buckets.
fn histograms(bounds: &[&str], count: usize) -> Plain {
    let mut plain = Plain::new();
    for (t, target) in ["a", "b", "c"].into_iter().enumerate() {
        let mut total = vec![0.0; count];
        for (b, le) in bounds.iter().enumerate() {
            let mut sum = 0.0;
            for (i, total) in total.iter_mut().enumerate() {
                sum += f64::from(((i * 64 + b * 4 + t) as u32).wrapping_mul(2_654_435_761) >> 28);
                *total += sum;
            }
            let shift = i64::from(t == 2 && b % 2 == 0);
            let of = |i: usize| if i + 1 == count { stale_nan() } else { total[i] };
            let times = || (0..count).map(|i| START_MS + i as i64 * 15_000 + shift);
            plain.insert(labels(&[("__name__", "wait_bucket"), ("le", le), ("target", target)]), samples(times(), of));
            plain.insert(labels(&[("__name__", "wait_count"), ("target", target)]), samples(times(), of));
        }
    }
    plain
}

const BOUNDS: [&str; 14] =
    ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "25", "50", "+Inf"];

#[test]
fn histograms_are_written_beside_their_neighbours() {
    let disk = FakeDisk::default();
    let path = Path::new("/db/1.seg");
    for count in [1, 30, 2048, 5000] {
        let plain = histograms(&BOUNDS, count);
        disk.remove(path).unwrap();
        write(&disk, path, &plain);
        let segment = Segment::open(&disk, path).unwrap();
        check(&segment, &plain);
        let row = |l: &[(&str, &str)]| segment.series_row(segment.ordinal_of(&labels(l)).unwrap().unwrap()).unwrap();
        if count > 1000 {
            let counts = row(&[("__name__", "wait_count"), ("target", "a")]);
            assert!(counts.base_distance > 0 && counts.values_bytes < 20, "{counts:?}");
            let bases = (0..segment.len()).filter(|o| segment.series_row(*o).unwrap().base_distance > 0).count();
            assert!((25..=42).contains(&bases), "{bases} series have bases");
        }
        // A range that begins in a later block.
        let range = TimeRange { start_ms: START_MS + 2100 * 15_000, end_ms: START_MS + 2200 * 15_000 };
        for (ordinal, samples) in (0..).zip(plain.values()) {
            let mut out = SampleColumns::default();
            segment.read(ordinal, range, &mut out).unwrap();
            let want: Vec<f64> = samples
                .timestamps_ms
                .iter()
                .zip(&samples.values)
                .filter(|(t, _)| (range.start_ms..=range.end_ms).contains(*t))
                .map(|(_, v)| *v)
                .collect();
            assert!(out.values.iter().map(|v| v.to_bits()).eq(want.iter().map(|v| v.to_bits())));
        }
    }
}

/// As many in a row as may be, and never one more.
#[test]
fn rows_of_bases_are_bounded() {
    let disk = FakeDisk::default();
    let path = Path::new("/db/1.seg");
    write(&disk, path, &histograms(&BOUNDS, 2048));
    let segment = Segment::open(&disk, path).unwrap();
    let depth = |mut ordinal: u32| {
        let mut depth = 0;
        while segment.series_row(ordinal).unwrap().base_distance > 0 {
            ordinal -= segment.series_row(ordinal).unwrap().base_distance;
            depth += 1;
        }
        depth
    };
    assert_eq!((0..segment.len()).map(depth).max(), Some(layout::BASES_MAX));
}

/// Segments of each version stay readable: this one was written by the first release.
#[test]
fn old_segments_are_read() {
    let disk = FakeDisk::default();
    let path = Path::new("/db/1.seg");
    disk.create_dir(Path::new("/db")).unwrap();
    let bytes = include_bytes!("../../tests/fixtures/segment_v1/fleet.seg");
    disk.create(path).unwrap().append(bytes).unwrap();
    let segment = Segment::open(&disk, path).unwrap();
    check(&segment, &fleet(3, 2200));
    assert_eq!(segment.metadata().unwrap(), families());
    assert_eq!(segment.statistics(0).unwrap().len(), 1);
}

#[test]
fn damage_is_found_when_it_is_read_and_by_verify() {
    let disk = FakeDisk::default();
    let path = Path::new("/db/1.seg");
    let plain = fleet(120, 2000);
    write(&disk, path, &plain);
    let mut bytes = disk.bytes(path).unwrap();
    assert!(bytes.len() > 10 * frames::FRAME_BYTES);
    let at = 5 * frames::FRAME_BYTES + 77;
    bytes[at] ^= 4;
    disk.damage(path, bytes);
    let segment = Segment::open(&disk, path).unwrap();
    let found = segment.verify();
    let [StorageError::Corrupt { offset, .. }] = &found[..] else { panic!("{found:?}") };
    assert_eq!(*offset, 5 * frames::FRAME_BYTES as u64);
    let read = |ordinal| segment.read(ordinal, TimeRange::ALL, &mut SampleColumns::default());
    let lost = (0..segment.len()).filter(|ordinal| read(*ordinal).is_err()).count();
    assert!((1..=40).contains(&lost), "{lost} of {} series are lost, the others are served", segment.len());
    // What verification names is what cannot be read.
    let damage = segment.damage();
    assert_eq!(damage.errors.len(), 1);
    let unread: Vec<u32> = (0..segment.len()).filter(|ordinal| read(*ordinal).is_err()).collect();
    assert_eq!(damage.series.iter().map(|s| s.ordinal).collect::<Vec<_>>(), unread);
    assert!(damage.series.iter().all(|s| Ok(s.range) == segment.time_range(s.ordinal).map_err(|_| ())));
}

/// Wherever one byte of the frames is wrong, every series that cannot be read is named with its times.
#[test]
fn damage_anywhere_names_the_series_it_touches() {
    let disk = FakeDisk::default();
    let path = Path::new("/db/1.seg");
    let plain = histograms(&BOUNDS, 5000);
    let info = write(&disk, path, &plain);
    let good = disk.bytes(path).unwrap();
    assert!(Segment::open(&disk, path).unwrap().damage().series.is_empty());
    let (mut opened, mut some) = (0, 0);
    for frame in 0..good.len() / frames::FRAME_BYTES {
        let mut bytes = good.clone();
        bytes[frame * frames::FRAME_BYTES + 99] ^= 1;
        disk.damage(path, bytes);
        let Ok(segment) = Segment::open(&disk, path) else { continue };
        opened += 1;
        let damage = segment.damage();
        assert!(!damage.errors.is_empty());
        let named: Vec<u32> = damage.series.iter().map(|s| s.ordinal).collect();
        some += usize::from(!named.is_empty() && named.len() < plain.len());
        for (ordinal, samples) in (0..).zip(plain.values()) {
            let mut out = SampleColumns::default();
            let is_read = segment.read(ordinal, TimeRange::ALL, &mut out).is_ok();
            assert!(is_read || named.contains(&ordinal), "frame {frame}: series {ordinal} is not named");
            assert!(!is_read || bits(&out) == bits(samples));
        }
        assert!(
            damage
                .series
                .iter()
                .all(|s| s.range.start_ms >= info.range.start_ms && s.range.end_ms <= info.range.end_ms)
        );
    }
    assert!(opened > 3 && some > 0, "{opened} opened, {some} touch some series");
}

/// What a series costs beside its samples, and what samples cost, on data like that of real fleets.
#[test]
fn sizes_stay_in_bounds() {
    let disk = FakeDisk::default();
    for (targets, count, per_sample_max) in [(500, 6, 2.6), (40, 240, 0.45)] {
        let path = PathBuf::from(format!("/db/{targets}.seg"));
        let info = write(&disk, &path, &fleet(targets, count));
        let per_sample = info.bytes as f64 / info.samples as f64;
        assert!(per_sample <= per_sample_max, "{targets} targets: {per_sample:.2} bytes per sample");
    }
}

#[test]
fn no_flipped_bit_goes_unseen() {
    let disk = FakeDisk::default();
    let path = Path::new("/db/1.seg");
    write_indexed(&disk, path, &small(), 1);
    let good = disk.open(path).unwrap().read_all().unwrap().into_owned();
    let want = everything(&Segment::open(&disk, path).unwrap()).unwrap();
    let mut errors = 0;
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        disk.damage(path, bytes);
        match Segment::open(&disk, path).and_then(|segment| everything(&segment)) {
            Ok(text) => assert!(text == want, "bit {bit} changed an answer"),
            Err(_) => errors += 1,
        }
    }
    assert!(errors > good.len() * 7, "{errors} of {} flips were seen", good.len() * 8);
}

#[test]
fn truncated_files_are_refused() {
    let disk = FakeDisk::default();
    let path = Path::new("/db/1.seg");
    write(&disk, path, &small());
    let good = disk.open(path).unwrap().read_all().unwrap().into_owned();
    for length in 0..good.len() {
        disk.damage(path, good[..length].to_vec());
        assert!(Segment::open(&disk, path).is_err(), "{length} of {} bytes", good.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Right checksums over wrong bytes: the file was written by somebody else, or our own memory was damaged.
    #[test]
    fn hostile_bytes_give_an_error_or_an_answer(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let disk = FakeDisk::default();
        let path = Path::new("/db/1.seg");
        write_indexed(&disk, path, &small(), 1);
        let good = disk.open(path).unwrap().read_all().unwrap().into_owned();
        let bytes = forge(&good, &damage);
        disk.damage(path, bytes);
        let _ = Segment::open(&disk, path).and_then(|segment| everything(&segment));
    }

    #[test]
    fn any_series_read_back(
        series in prop::collection::btree_map(
            prop::collection::btree_map("[abc]", "[xyz☃]{1,3}", 0..4),
            prop::collection::btree_map(-50_i64..50, any::<u64>().prop_map(f64::from_bits), 1..20),
            0..40,
        ),
        name in "[abc]", op in prop_oneof![Just(MatchOp::Equal), Just(MatchOp::NotEqual), Just(MatchOp::Regex), Just(MatchOp::NotRegex)],
        value in prop_oneof!["[xyz]{0,2}", Just("x.*".to_owned()), Just("x|y".to_owned()), Just("(x|y)?".to_owned())],
    ) {
        let plain: Plain = series
            .iter()
            .map(|(l, s)| {
                let l = Labels::from_pairs(l.iter().map(|(n, v)| (n.as_str(), v.as_str()))).unwrap();
                let values: Vec<f64> = s.values().copied().collect();
                (l, samples(s.keys().copied(), |i| values[i]))
            })
            .collect();
        let disk = FakeDisk::default();
        let path = Path::new("/db/1.seg");
        write(&disk, path, &plain);
        let segment = Segment::open(&disk, path).unwrap();
        check(&segment, &plain);
        let matchers = [Matcher::new(name, op, value).unwrap()];
        let got: Vec<u32> = segment.select(&Scope::default(), &matchers).unwrap().iter().collect();
        prop_assert_eq!(got, naive(&plain, &Scope::default(), &matchers));
    }
}

proptest! {
    /// With the index as without it, for any names and expressions.
    #[test]
    fn parts_of_names_select_the_same(
        names in prop::collection::btree_set("([abAB_]{1,3}|cpu|Cpu|task|Ta\u{17F}\u{212A}|é|☃){1,4}", 1..60),
        also in prop::collection::vec("[a-e]{1,3}", 0..20),
        expression in "(\\(\\?i\\))?((\\.\\*|\\.\\+|a|b_|cpu|(CPU|ask)|[ab]+|(ab?|_)+|x?|as|é|\\||☃){1,5})",
        negative in any::<bool>(),
    ) {
        let op = if negative { MatchOp::NotRegex } else { MatchOp::Regex };
        // What the random text is not an expression of is of no interest.
        let Ok(matcher) = Matcher::new("__name__", op, expression) else { return Ok(()) };
        let mut plain: Plain = names.iter().map(|name| (labels(&[("__name__", name)]), samples([1], |_| 1.0))).collect();
        // Values of a label before the names, so that these begin anywhere in a page.
        plain.extend(also.iter().map(|value| (labels(&[("A", value), ("__name__", "cpu")]), samples([1], |_| 1.0))));
        let (disk, matchers) = (FakeDisk::default(), [matcher]);
        for (number, names_min) in [(1, 1), (2, u32::MAX)] {
            let path = PathBuf::from(format!("/db/{number}.seg"));
            write_indexed(&disk, &path, &plain, names_min);
            let segment = Segment::open(&disk, &path).unwrap();
            prop_assert_eq!(segment.name_parts.is_some(), names_min == 1);
            prop_assert!(segment.is_name_index_right().unwrap());
            let got: Vec<u32> = segment.select(&Scope::default(), &matchers).unwrap().iter().collect();
            prop_assert_eq!(got, naive(&plain, &Scope::default(), &matchers));
        }
    }
}

/// Writes the fixture anew: only while no release has written this version.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_fixture() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/segment_v1/fleet.seg"));
    RealDisk::pread().remove(path).unwrap();
    write(&RealDisk::pread(), path, &fleet(3, 2200));
}

/// Writes the fuzz target's seed with an index of names anew.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_seed() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/segment_open/names.seg"));
    let _ = std::fs::remove_file(path);
    write_indexed(&RealDisk::pread(), path, &small(), 1);
}

/// Damages the content of a segment and makes its checksums right again.
fn forge(good: &[u8], damage: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let footer_bytes = crate::format::u32_at(good, good.len() - layout::TRAILER_BYTES + 8).unwrap() as usize;
    let content = good.len() - layout::TRAILER_BYTES - footer_bytes;
    for (at, to) in damage {
        bytes[at.index(content)] = *to;
    }
    super::forge::reseal(&bytes).unwrap()
}
