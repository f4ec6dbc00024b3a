//! `streamgauge inspect`: says what is in a data directory or in one segment file.

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::{Value, json};
use storage::{MetricContent, SegmentContent, StoreContent, inspect, inspect_segment};

use super::offline::{data_flag, format_flag, is_json, path_of, print_json, times_json, times_text};

const ABOUT: &str = "Says what is in a data directory, or in one segment file: partitions, bytes, codecs, metrics";

const NOTES: &str = "\
It only reads, and takes no lock: it may run beside a server. What is in the head is not shown; \
`GET /api/v1/status/tsdb` shows it.";

pub(super) fn command() -> Command {
    let file = Arg::new("file").value_name("FILE").help("A segment file, instead of a data directory.");
    let top = Arg::new("top")
        .long("top")
        .value_name("N")
        .value_parser(value_parser!(usize))
        .default_value("10")
        .help("Metrics that are listed, by series and by bytes.");
    Command::new("inspect").about(ABOUT).after_help(NOTES).arg(data_flag()).arg(format_flag()).arg(top).arg(file)
}

pub(super) fn run(arguments: &ArgMatches) -> Result<(), String> {
    let top = arguments.get_one::<usize>("top").copied().unwrap_or_default();
    if let Some(file) = arguments.get_one::<String>("file") {
        let (segment, metrics) = inspect_segment(Path::new(file)).map_err(|error| error.to_string())?;
        if is_json(arguments) {
            print_json(&json!({"segment": segment_json(&segment), "metrics": top_json(&metrics, top)}));
        } else {
            print!("{}", lines(&[segment_text(&segment), metrics_text(&metrics, top)].concat()));
        }
        return Ok(());
    }
    let data = path_of(arguments, "data");
    let content = inspect(&data).map_err(|error| error.to_string())?;
    if is_json(arguments) {
        print_json(&store_json(&content, top));
    } else {
        print!("{}", lines(&store_text(&data, &content, top)));
    }
    match &content.unread[..] {
        [] => Ok(()),
        [first, ..] => {
            Err(format!("{} files cannot be read: {first}; `streamgauge verify` says more", content.unread.len()))
        }
    }
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// With two decimals; nothing was divided if there is nothing.
fn per_sample(bytes: u64, samples: u64) -> f64 {
    if samples == 0 { 0.0 } else { (bytes as f64 / samples as f64 * 100.0).round() / 100.0 }
}

/// Bytes of a segment with those of the Parquet files that it is the index of.
fn total_bytes(segment: &SegmentContent) -> u64 {
    segment.bytes + segment.parquet.iter().map(|(_, bytes, _)| bytes).sum::<u64>()
}

/// Segments, series, samples and bytes of each partition, newest first.
fn partitions(content: &StoreContent) -> Vec<(String, [u64; 4])> {
    let mut rows: Vec<(String, [u64; 4])> = Vec::new();
    for segment in &content.segments {
        let name = segment.day.clone().unwrap_or_else(|| "several days".to_owned());
        let row = [1, segment.series, segment.samples, total_bytes(segment)];
        match rows.last_mut().filter(|(last, _)| *last == name) {
            Some((_, sums)) => sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value),
            None => rows.push((name, row)),
        }
    }
    rows
}

fn sections(content: &StoreContent) -> BTreeMap<&str, u64> {
    let mut sums = BTreeMap::new();
    for (name, bytes) in content.segments.iter().flat_map(|segment| &segment.sections) {
        *sums.entry(name.as_str()).or_insert(0) += bytes;
    }
    sums
}

fn codecs(content: &StoreContent) -> BTreeMap<&str, (u64, u64)> {
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (name, (blocks, bytes)) in content.segments.iter().flat_map(|segment| &segment.codecs) {
        let sum = sums.entry(name).or_default();
        *sum = (sum.0 + blocks, sum.1 + bytes);
    }
    sums
}

fn by_series(metrics: &[MetricContent]) -> Vec<&MetricContent> {
    let mut list: Vec<&MetricContent> = metrics.iter().collect();
    list.sort_by(|a, b| b.series.cmp(&a.series).then_with(|| a.name.cmp(&b.name)));
    list
}

fn store_text(data: &Path, content: &StoreContent, top: usize) -> Vec<String> {
    let sum = |of: fn(&SegmentContent) -> u64| content.segments.iter().map(of).sum::<u64>();
    let (samples, bytes) = (sum(|segment| segment.samples), sum(total_bytes));
    let wal_bytes: u64 = content.wal_files.iter().map(|(_, bytes)| bytes).sum();
    let mut out = vec![
        format!("{}: store {:032x}, manifest {}", data.display(), content.store, content.manifest_version),
        format!(
            "  segments {}, {bytes} bytes, {samples} samples, {} bytes a sample",
            content.segments.len(),
            per_sample(bytes, samples)
        ),
        format!(
            "  WAL files {}, {wal_bytes} bytes; deletes {}; quarantine {}",
            content.wal_files.len(),
            content.deletes,
            content.quarantine.len()
        ),
        String::new(),
        format!(
            "{:<14}{:>10}{:>12}{:>16}{:>16}{:>10}",
            "partition", "segments", "series", "samples", "bytes", "B/sample"
        ),
    ];
    for (name, [segments, series, samples, bytes]) in partitions(content) {
        out.push(format!(
            "{name:<14}{segments:>10}{series:>12}{samples:>16}{bytes:>16}{:>10}",
            per_sample(bytes, samples)
        ));
    }
    out.push(String::new());
    out.push(format!("{:<32}{:>16}{:>10}", "section of segments", "bytes", "B/sample"));
    for (name, bytes) in sections(content) {
        out.push(format!("{name:<32}{bytes:>16}{:>10}", per_sample(bytes, samples)));
    }
    out.push(String::new());
    out.push(format!("{:<32}{:>16}{:>16}", "codec of values", "blocks", "bytes"));
    for (name, (blocks, bytes)) in codecs(content) {
        out.push(format!("{name:<32}{blocks:>16}{bytes:>16}"));
    }
    for segment in &content.segments {
        out.push(String::new());
        out.push(segment_line(segment));
        out.extend(parquet_lines(segment));
    }
    out.push(String::new());
    out.extend(metrics_text(&content.metrics, top));
    out.extend(content.wal_files.iter().map(|(number, bytes)| format!("WAL file {number}: {bytes} bytes")));
    out.extend(content.quarantine.iter().map(|name| format!("quarantine: {name}")));
    out
}

fn segment_line(segment: &SegmentContent) -> String {
    format!(
        "{} ({}): {} bytes, {} series, {} samples, {} bytes a sample, batches {} to {}, {}",
        segment.path.display(),
        segment.day.as_deref().unwrap_or("several days"),
        segment.bytes,
        segment.series,
        segment.samples,
        per_sample(total_bytes(segment), segment.samples),
        segment.sequences.0,
        segment.sequences.1,
        times_text(segment.times)
    )
}

fn parquet_lines(segment: &SegmentContent) -> Vec<String> {
    let files = segment.parquet.iter();
    files.map(|(name, bytes, rows)| format!("  parquet/{name}: {bytes} bytes, {rows} rows")).collect()
}

fn segment_text(segment: &SegmentContent) -> Vec<String> {
    let mut out = vec![
        segment_line(&SegmentContent { day: segment.day.clone().or(Some("a file".to_owned())), ..segment.clone() }),
        format!("  columns of times {}, label names: {}", segment.time_columns, segment.label_names.join(", ")),
    ];
    let share = |bytes: u64| per_sample(bytes, segment.samples);
    out.extend(segment.sections.iter().map(|(name, bytes)| format!("  {name:<24}{bytes:>16}{:>10}", share(*bytes))));
    let codecs = segment.codecs.iter();
    out.extend(codecs.map(|(name, (blocks, bytes))| format!("  codec {name:<18}{blocks:>10} blocks{bytes:>16} bytes")));
    out
}

fn metrics_text(metrics: &[MetricContent], top: usize) -> Vec<String> {
    let row = |metric: &MetricContent| {
        let MetricContent { name, series, samples, bytes } = metric;
        format!("{name:<48}{series:>12}{samples:>16}{bytes:>16}{:>10}", per_sample(*bytes, *samples))
    };
    let head = |title: &str| format!("{title:<48}{:>12}{:>16}{:>16}{:>10}", "series", "samples", "bytes", "B/sample");
    let mut out = vec![head("metrics with the most bytes")];
    out.extend(metrics.iter().take(top).map(row));
    out.push(head("metrics with the most series"));
    out.extend(by_series(metrics).into_iter().take(top).map(row));
    out
}

fn segment_json(segment: &SegmentContent) -> Value {
    let named = |name: &str, bytes: u64| json!({"name": name, "bytes": bytes});
    let (codecs, parquet) = (segment.codecs.iter(), segment.parquet.iter());
    json!({
        "file": segment.path.display().to_string(),
        "id": segment.id,
        "day": segment.day,
        "firstBatch": segment.sequences.0,
        "lastBatch": segment.sequences.1,
        "times": times_json(segment.times),
        "series": segment.series,
        "samples": segment.samples,
        "bytes": segment.bytes,
        "bytesPerSample": per_sample(total_bytes(segment), segment.samples),
        "parquet": parquet.map(|(name, b, rows)| json!({"name": name, "bytes": b, "rows": rows})).collect::<Vec<_>>(),
        "sections": segment.sections.iter().map(|(name, bytes)| named(name, *bytes)).collect::<Vec<_>>(),
        "codecs": codecs.map(|(n, (blocks, bytes))| json!({"name": n, "blocks": blocks, "bytes": bytes})).collect::<Vec<_>>(),
        "timeColumns": segment.time_columns,
        "labelNames": segment.label_names,
    })
}

fn top_json(metrics: &[MetricContent], top: usize) -> Value {
    let row = |metric: &MetricContent| json!({"name": metric.name, "series": metric.series, "samples": metric.samples, "bytes": metric.bytes});
    json!({
        "byBytes": metrics.iter().take(top).map(row).collect::<Vec<_>>(),
        "bySeries": by_series(metrics).into_iter().take(top).map(row).collect::<Vec<_>>(),
    })
}

fn store_json(content: &StoreContent, top: usize) -> Value {
    let partition = |(name, [segments, series, samples, bytes]): (String, [u64; 4])| json!({"partition": name, "segments": segments, "series": series, "samples": samples, "bytes": bytes});
    json!({
        "store": format!("{:032x}", content.store),
        "manifestVersion": content.manifest_version,
        "flushedSequence": content.flushed_sequence,
        "deletes": content.deletes,
        "partitions": partitions(content).into_iter().map(partition).collect::<Vec<_>>(),
        "segments": content.segments.iter().map(segment_json).collect::<Vec<_>>(),
        "metrics": top_json(&content.metrics, top),
        "walFiles": content.wal_files.iter().map(|(n, b)| json!({"number": n, "bytes": b})).collect::<Vec<_>>(),
        "quarantine": content.quarantine,
        "unread": content.unread,
    })
}
