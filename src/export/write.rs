//! Writes chunks as rows: JSON lines, CSV, or Parquet with the columns of the Parquet tier.
//!
//! | format | what is written | all labels |
//! |---|---|---|
//! | `jsonl` | one file, or standard output | object `labels` |
//! | `csv` | one file, or standard output | column `labels`, as JSON |
//! | `parquet` | a directory with `samples.parquet` and `series.parquet` | map `labels` in `series.parquet` |
//!
//! Files have other names until they are whole; what is already there is never replaced.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use model::{Histogram, Labels, SampleColumns, TimeRange, is_stale};
use storage::parquet::{RowColumns, RowSeries, RowsWriter, SeriesWriter};

use super::Chunk;
use super::lines::{push_histogram, push_value, special};
use crate::json::{push_labels, push_text};

/// What a file is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// One JSON object per sample.
    JsonLines,
    /// Comma-separated values with a header, as in RFC 4180.
    Csv,
    /// Parquet.
    Parquet,
}

impl FileFormat {
    /// The words for them.
    pub const WORDS: [&'static str; 3] = ["parquet", "csv", "jsonl"];

    /// The format of a word.
    pub fn parse(word: &str) -> Option<FileFormat> {
        match word {
            "jsonl" => Some(FileFormat::JsonLines),
            "csv" => Some(FileFormat::Csv),
            "parquet" => Some(FileFormat::Parquet),
            _ => None,
        }
    }
}

/// Writes an export.
pub struct FileWriter {
    to: PathBuf,
    kind: Kind,
}

enum Kind {
    Text { out: Box<dyn Write>, partial: Option<PathBuf>, columns: Option<RowColumns>, buffer: Vec<u8> },
    Parquet(Box<Pair>),
}

/// The two files of an export as Parquet.
struct Pair {
    partial: PathBuf,
    samples: RowsWriter<BufWriter<File>>,
    series: SeriesWriter<BufWriter<File>>,
    /// The series at hand, whose number is that of those before it.
    open: Option<OpenSeries>,
    next: i64,
}

struct OpenSeries {
    number: i64,
    labels: Labels,
    metric_type: Option<String>,
    times: TimeRange,
    samples: u64,
}

impl FileWriter {
    /// Begins to write to a path that is not there yet; `-` is standard output, for texts.
    ///
    /// # Errors
    /// A text for people.
    pub fn create(to: &Path, format: FileFormat, columns: &RowColumns) -> Result<FileWriter, String> {
        let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", to.display());
        let is_stdout = to == Path::new("-");
        if !is_stdout && to.exists() {
            return Err(failed(&"it is there already, and is not replaced"));
        }
        let partial = partial_of(to);
        let kind = match format {
            FileFormat::Parquet if is_stdout => return Err("Parquet is two files: --to names a directory".to_owned()),
            FileFormat::Parquet => Kind::Parquet(Box::new(Pair::create(partial, columns).map_err(|e| failed(&e))?)),
            FileFormat::Csv | FileFormat::JsonLines => {
                let out: Box<dyn Write> = if is_stdout {
                    Box::new(BufWriter::new(std::io::stdout()))
                } else {
                    Box::new(BufWriter::new(File::create(&partial).map_err(|e| failed(&e))?))
                };
                let columns = (format == FileFormat::Csv).then(|| columns.clone());
                let mut buffer = Vec::new();
                columns.iter().for_each(|columns| csv_header(&mut buffer, columns));
                Kind::Text { out, partial: (!is_stdout).then_some(partial), columns, buffer }
            }
        };
        Ok(FileWriter { to: to.to_owned(), kind })
    }

    /// Adds the rows of a chunk.
    ///
    /// # Errors
    /// A text that names the file.
    pub fn add(&mut self, chunk: &Chunk) -> Result<(), String> {
        let done = match &mut self.kind {
            Kind::Parquet(pair) => pair.add(chunk).map_err(|e| e.to_string()),
            Kind::Text { out, columns, buffer, .. } => {
                match columns {
                    Some(columns) => csv_rows(buffer, columns, chunk),
                    None => json_rows(buffer, chunk),
                }
                let written = out.write_all(buffer);
                buffer.clear();
                written.map_err(|e| e.to_string())
            }
        };
        done.map_err(|e| format!("{}: {e}", self.to.display()))
    }

    /// Ends the files, makes them durable and gives them their names.
    ///
    /// # Errors
    /// A text that names the file.
    pub fn finish(self) -> Result<(), String> {
        let to = self.to.clone();
        self.close().map_err(|e| format!("{}: {e}", to.display()))
    }

    /// Removes what was written so far.
    pub fn abandon(self) {
        let removed = match self.kind {
            Kind::Text { partial: Some(partial), .. } => std::fs::remove_file(partial),
            Kind::Text { .. } => Ok(()),
            Kind::Parquet(pair) => std::fs::remove_dir_all(&pair.partial),
        };
        if let Err(error) = removed {
            tracing::warn!(to = %self.to.display(), %error, "an unfinished export could not be removed");
        }
    }

    fn close(self) -> Result<(), Box<dyn std::error::Error>> {
        let partial = match self.kind {
            Kind::Text { mut out, partial, buffer, .. } => {
                out.write_all(&buffer)?;
                out.flush()?;
                drop(out);
                let Some(partial) = partial else { return Ok(()) };
                File::open(&partial)?.sync_all()?;
                partial
            }
            Kind::Parquet(pair) => pair.finish()?,
        };
        std::fs::rename(partial, self.to)?;
        Ok(())
    }
}

/// The name until all is written: beside the other, so that a rename is enough.
fn partial_of(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

impl Pair {
    fn create(partial: PathBuf, columns: &RowColumns) -> Result<Pair, Box<dyn std::error::Error>> {
        std::fs::create_dir(&partial)?;
        let file = |name: &str| File::create(partial.join(name)).map(BufWriter::new);
        let samples = RowsWriter::new(file("samples.parquet")?, columns, &[])?;
        let series = SeriesWriter::new(file("series.parquet")?, &[])?;
        Ok(Pair { partial, samples, series, open: None, next: 0 })
    }

    fn add(&mut self, chunk: &Chunk) -> Result<(), Box<dyn std::error::Error>> {
        let SampleColumns { timestamps_ms, values, histograms } = &chunk.samples;
        let Some(times) = chunk.samples.time_range() else { return Ok(()) };
        if self.open.as_ref().is_none_or(|open| open.labels != chunk.labels) {
            self.end_series()?;
            self.open = Some(OpenSeries {
                number: self.next,
                labels: chunk.labels.clone(),
                metric_type: chunk.metric_type.clone(),
                times,
                samples: 0,
            });
            self.next += 1;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        open.times.end_ms = times.end_ms;
        open.samples += (values.len() + histograms.len()) as u64;
        let (number, metric_type) = (open.number, chunk.metric_type.as_deref());
        let series = RowSeries { number, labels: &chunk.labels, metric_type };
        Ok(self.samples.add(&series, timestamps_ms, values, histograms)?)
    }

    fn end_series(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let Some(open) = self.open.take() else { return Ok(()) };
        Ok(self.series.add(open.number, &open.labels, open.metric_type.as_deref(), open.times, open.samples)?)
    }

    fn finish(mut self) -> Result<PathBuf, Box<dyn std::error::Error>> {
        self.end_series()?;
        for out in [self.samples.finish()?, self.series.finish()?] {
            out.into_inner()?.sync_all()?;
        }
        File::open(&self.partial)?.sync_all()?;
        Ok(self.partial)
    }
}

fn time_text(timestamp_ms: i64) -> String {
    match Timestamp::from_millisecond(timestamp_ms) {
        Ok(time) => format!("{time:.3}"),
        // Beyond the years that have four digits: milliseconds since 1970.
        Err(_) => timestamp_ms.to_string(),
    }
}

/// What a row says.
#[derive(Clone, Copy)]
enum Row<'a> {
    Float(f64),
    Stale,
    Histogram(&'a Histogram),
}

/// The samples of both kinds in order of time.
fn in_order(samples: &SampleColumns) -> impl Iterator<Item = (i64, Row<'_>)> {
    let of_float = |value| if is_stale(value) { Row::Stale } else { Row::Float(value) };
    let mut floats = samples.floats().map(move |sample| (sample.timestamp_ms, of_float(sample.value))).peekable();
    let of_histogram = samples
        .histograms
        .iter()
        .map(|(ms, histogram)| (*ms, if histogram.is_stale() { Row::Stale } else { Row::Histogram(histogram) }));
    let mut histograms = of_histogram.peekable();
    std::iter::from_fn(move || match (floats.peek(), histograms.peek()) {
        (Some((float_ms, _)), Some((histogram_ms, _))) if histogram_ms < float_ms => histograms.next(),
        (None, _) => histograms.next(),
        _ => floats.next(),
    })
}

fn json_rows(out: &mut Vec<u8>, chunk: &Chunk) {
    let mut head = b"{\"metric\":".to_vec();
    push_text(&mut head, chunk.labels.metric_name());
    head.extend_from_slice(b",\"labels\":");
    push_labels(&mut head, &chunk.labels);
    head.extend_from_slice(b",\"type\":");
    match &chunk.metric_type {
        Some(metric_type) => push_text(&mut head, metric_type),
        None => head.extend_from_slice(b"null"),
    }
    for (timestamp_ms, sample) in in_order(&chunk.samples) {
        out.extend_from_slice(&head);
        out.extend_from_slice(format!(",\"timestamp\":\"{}\",\"value\":", time_text(timestamp_ms)).as_bytes());
        match sample {
            Row::Float(value) => push_value(out, value),
            Row::Stale | Row::Histogram(_) => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(format!(",\"stale\":{}", matches!(sample, Row::Stale)).as_bytes());
        if let Row::Histogram(histogram) = sample {
            out.extend_from_slice(b",\"histogram\":");
            push_histogram(out, histogram);
        }
        out.extend_from_slice(b"}\n");
    }
}

fn csv_header(out: &mut Vec<u8>, columns: &RowColumns) {
    out.extend_from_slice(b"metric,");
    for label in columns.labels() {
        push_field(out, label);
        out.push(b',');
    }
    out.extend_from_slice(b"timestamp,value,stale,type,labels,histogram\r\n");
}

fn csv_rows(out: &mut Vec<u8>, columns: &RowColumns, chunk: &Chunk) {
    let (mut head, mut tail, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    push_field(&mut head, chunk.labels.metric_name());
    for label in columns.labels() {
        head.push(b',');
        push_field(&mut head, chunk.labels.get(label).unwrap_or_default());
    }
    push_field(&mut tail, chunk.metric_type.as_deref().unwrap_or_default());
    tail.push(b',');
    push_labels(&mut labels, &chunk.labels);
    push_field(&mut tail, &String::from_utf8_lossy(&labels));
    tail.push(b',');
    for (timestamp_ms, sample) in in_order(&chunk.samples) {
        let value = match sample {
            Row::Float(value) if value.is_finite() => format!("{value:?}"),
            Row::Float(value) => special(value),
            Row::Stale | Row::Histogram(_) => String::new(),
        };
        out.extend_from_slice(&head);
        let (time, stale) = (time_text(timestamp_ms), matches!(sample, Row::Stale));
        out.extend_from_slice(format!(",{time},{value},{stale},").as_bytes());
        out.extend_from_slice(&tail);
        if let Row::Histogram(histogram) = sample {
            let mut text = Vec::new();
            push_histogram(&mut text, histogram);
            push_field(out, &String::from_utf8_lossy(&text));
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// A field, in quotes where it needs them.
fn push_field(out: &mut Vec<u8>, text: &str) {
    if !text.contains(['"', ',', '\r', '\n']) {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Buckets, stale_nan};
    use std::sync::Arc;

    fn chunk(job: &str, from_ms: i64, values: &[f64]) -> Chunk {
        let labels = Labels::from_pairs([("__name__", "m"), ("job", job), ("other", "a,\"b\"\n")]).unwrap();
        let mut samples = SampleColumns::default();
        (from_ms..).zip(values).for_each(|(ms, value)| samples.push(ms, *value));
        Chunk { labels, metric_type: Some("gauge".to_owned()), samples }
    }

    fn columns() -> RowColumns {
        RowColumns::new(vec!["job".to_owned(), "le".to_owned()]).unwrap()
    }

    fn written(format: FileFormat, chunks: &[Chunk]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("out");
        let mut writer = FileWriter::create(&to, format, &columns()).unwrap();
        chunks.iter().for_each(|chunk| writer.add(chunk).unwrap());
        assert!(!to.exists(), "until it is whole it has another name");
        writer.finish().unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        std::fs::read_to_string(to).unwrap()
    }

    const VALUES: [f64; 5] = [0.1, f64::NAN, -0.0, f64::INFINITY, 5e-324];

    #[test]
    fn json_lines() {
        let text = written(FileFormat::JsonLines, &[chunk("x", -1, &VALUES), chunk("x", 4, &[stale_nan()])]);
        let head = r#"{"metric":"m","labels":{"__name__":"m","job":"x","other":"a,\"b\"\n"},"type":"gauge","#;
        let rows = [
            r#""timestamp":"1969-12-31T23:59:59.999Z","value":0.1,"stale":false}"#,
            r#""timestamp":"1970-01-01T00:00:00.000Z","value":"NaN","stale":false}"#,
            r#""timestamp":"1970-01-01T00:00:00.001Z","value":-0.0,"stale":false}"#,
            r#""timestamp":"1970-01-01T00:00:00.002Z","value":"+Inf","stale":false}"#,
            r#""timestamp":"1970-01-01T00:00:00.003Z","value":5e-324,"stale":false}"#,
            r#""timestamp":"1970-01-01T00:00:00.004Z","value":null,"stale":true}"#,
        ];
        assert_eq!(text, rows.map(|row| format!("{head}{row}\n")).concat());
    }

    #[test]
    fn comma_separated_values() {
        let text = written(FileFormat::Csv, &[chunk("a,b", 0, &[0.5, stale_nan()])]);
        let tail = r#"gauge,"{""__name__"":""m"",""job"":""a,b"",""other"":""a,\""b\""\n""}""#;
        let expected = [
            "metric,job,le,timestamp,value,stale,type,labels,histogram".to_owned(),
            format!(r#"m,"a,b",,1970-01-01T00:00:00.000Z,0.5,false,{tail},"#),
            format!(r#"m,"a,b",,1970-01-01T00:00:00.001Z,,true,{tail},"#),
        ];
        assert_eq!(text, expected.map(|line| line + "\r\n").concat());
        assert_eq!(written(FileFormat::Csv, &[]).lines().count(), 1, "also without samples there is a header");
    }

    /// Floats at 0 and 2, a histogram at 1, and one at 3 that says that the series ended.
    fn mixed() -> Chunk {
        let mut chunk = chunk("x", 0, &[0.5]);
        chunk.samples.push(2, 1.5);
        let histogram =
            Histogram { count: 2.0, sum: 3.0, positive: Buckets::from_indexed([(1, 2.0)]), ..Histogram::default() };
        let stale = Histogram { sum: stale_nan(), ..Histogram::default() };
        chunk.samples.histograms = vec![(1, Arc::new(histogram)), (3, Arc::new(stale))];
        chunk
    }

    #[test]
    fn histograms_stand_among_floats_in_order_of_time() {
        let histogram = concat!(
            r#"{"count":2.0,"sum":3.0,"buckets":[{"lower":1.0,"upper":2.0,"count":2.0}],"schema":0,"#,
            r#""zero_threshold":0.0,"zero_count":0.0,"custom_bounds":null,"reset_hint":null}"#
        );
        let text = written(FileFormat::JsonLines, &[mixed()]);
        let ends: Vec<&str> = text.lines().map(|line| line.split_once("00:00:00.00").unwrap().1).collect();
        let second = format!(r#"1Z","value":null,"stale":false,"histogram":{histogram}}}"#);
        let floats = [r#"0Z","value":0.5,"stale":false}"#, r#"2Z","value":1.5,"stale":false}"#];
        assert_eq!(ends, [floats[0], &second, floats[1], r#"3Z","value":null,"stale":true}"#]);
        let text = written(FileFormat::Csv, &[mixed()]);
        let ends: Vec<&str> = text.lines().skip(1).map(|line| line.split_once("00:00:00.00").unwrap().1).collect();
        assert!(ends[1].starts_with("1Z,,false,gauge,") && ends[3].starts_with("3Z,,true,gauge,"), "{text}");
        let quoted = format!("\"{}\"", histogram.replace('"', "\"\""));
        assert!(ends[1].ends_with(&format!(",{quoted}")) && ends[0].ends_with("\","), "{text}");
    }

    #[test]
    fn what_is_abandoned_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        for format in [FileFormat::Csv, FileFormat::JsonLines, FileFormat::Parquet] {
            let mut writer = FileWriter::create(&dir.path().join("out"), format, &columns()).unwrap();
            writer.add(&chunk("a", 0, &VALUES)).unwrap();
            writer.abandon();
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{format:?}");
        }
    }

    #[test]
    fn nothing_is_replaced_and_parquet_needs_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        for format in [FileFormat::Csv, FileFormat::Parquet] {
            let error = FileWriter::create(dir.path(), format, &columns()).err().unwrap();
            assert!(error.contains("is there already"), "{error}");
        }
        assert!(FileWriter::create(Path::new("-"), FileFormat::Parquet, &columns()).is_err());
    }

    #[test]
    fn parquet_numbers_its_series() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("out");
        let mut writer = FileWriter::create(&to, FileFormat::Parquet, &columns()).unwrap();
        for chunk in [chunk("a", 0, &VALUES), chunk("a", 5, &VALUES), chunk("b", 0, &VALUES)] {
            writer.add(&chunk).unwrap();
        }
        let Kind::Parquet(pair) = &writer.kind else { panic!() };
        assert_eq!((pair.samples.rows(), pair.series.rows(), pair.next), (15, 1, 2));
        writer.finish().unwrap();
        for name in ["samples.parquet", "series.parquet"] {
            let bytes = std::fs::read(to.join(name)).unwrap();
            assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"), "{name}");
        }
    }
}
