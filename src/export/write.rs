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
use std::io::{BufWriter, ErrorKind, Write};
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

/// Names that are tried for what is not whole yet.
const PARTIALS_MAX: usize = 100;

/// Writes an export.
pub struct FileWriter {
    to: PathBuf,
    /// None for standard output.
    partial: Option<Partial>,
    kind: Kind,
}

enum Kind {
    Text { out: Box<dyn Write>, columns: Option<RowColumns>, buffer: Vec<u8> },
    Parquet(Box<Pair>),
}

/// What has another name until it is whole; it is removed if it does not become so.
struct Partial(PathBuf);

impl Partial {
    /// Makes it beside the path, so that a rename is enough, under the first name that is free: others were left by exports
    /// that were killed, or belong to one that runs.
    fn create<T>(to: &Path, make: impl Fn(&Path) -> std::io::Result<T>) -> std::io::Result<(Partial, T)> {
        let mut made = Err(ErrorKind::AlreadyExists.into());
        for number in 0..PARTIALS_MAX {
            let mut name = to.as_os_str().to_owned();
            name.push(if number == 0 { ".partial".to_owned() } else { format!(".{number}.partial") });
            let path = PathBuf::from(name);
            made = make(&path).map(|made| (Partial(path), made));
            if made.as_ref().err().is_none_or(|error| error.kind() != ErrorKind::AlreadyExists) {
                break;
            }
        }
        made
    }

    /// Gives it its own name, durably.
    fn publish(self, to: &Path) -> std::io::Result<()> {
        std::fs::rename(&self.0, to)?;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let removed = if self.0.is_dir() { std::fs::remove_dir_all(&self.0) } else { std::fs::remove_file(&self.0) };
        // Else it has its own name.
        if let Err(error) = removed.or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) }) {
            tracing::warn!(path = %self.0.display(), %error, "an unfinished export could not be removed");
        }
    }
}

/// The two files of an export as Parquet.
struct Pair {
    dir: PathBuf,
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
        let (partial, kind) = match format {
            FileFormat::Parquet if is_stdout => return Err("Parquet is two files: --to names a directory".to_owned()),
            FileFormat::Parquet => {
                let (partial, ()) = Partial::create(to, |path| std::fs::create_dir(path)).map_err(|e| failed(&e))?;
                let pair = Pair::create(&partial.0, columns).map_err(|e| failed(&e))?;
                (Some(partial), Kind::Parquet(Box::new(pair)))
            }
            FileFormat::Csv | FileFormat::JsonLines => {
                let (partial, out): (_, Box<dyn Write>) = if is_stdout {
                    (None, Box::new(std::io::stdout()))
                } else {
                    let (partial, file) = Partial::create(to, |path| File::create_new(path)).map_err(|e| failed(&e))?;
                    (Some(partial), Box::new(file))
                };
                let columns = (format == FileFormat::Csv).then(|| columns.clone());
                let mut buffer = Vec::new();
                columns.iter().for_each(|columns| csv_header(&mut buffer, columns));
                (partial, Kind::Text { out: Box::new(BufWriter::new(out)), columns, buffer })
            }
        };
        Ok(FileWriter { to: to.to_owned(), partial, kind })
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

    /// Ends the files, makes them durable and gives them their names. If that fails, they are removed; so they are if it is
    /// not called.
    ///
    /// # Errors
    /// A text that names the file.
    pub fn finish(self) -> Result<(), String> {
        let to = self.to.clone();
        self.close().map_err(|e| format!("{}: {e}", to.display()))
    }

    fn close(self) -> Result<(), Box<dyn std::error::Error>> {
        match self.kind {
            Kind::Text { mut out, buffer, .. } => {
                out.write_all(&buffer)?;
                out.flush()?;
                if let Some(Partial(path)) = &self.partial {
                    File::open(path)?.sync_all()?;
                }
            }
            Kind::Parquet(pair) => pair.finish()?,
        }
        Ok(self.partial.map_or(Ok(()), |partial| partial.publish(&self.to))?)
    }
}

impl Pair {
    fn create(dir: &Path, columns: &RowColumns) -> Result<Pair, Box<dyn std::error::Error>> {
        let file = |name: &str| File::create(dir.join(name)).map(BufWriter::new);
        let samples = RowsWriter::new(file("samples.parquet")?, columns, &[])?;
        let series = SeriesWriter::new(file("series.parquet")?, &[])?;
        Ok(Pair { dir: dir.to_owned(), samples, series, open: None, next: 0 })
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

    fn finish(mut self) -> Result<(), Box<dyn std::error::Error>> {
        self.end_series()?;
        for out in [self.samples.finish()?, self.series.finish()?] {
            out.into_inner()?.sync_all()?;
        }
        Ok(File::open(&self.dir)?.sync_all()?)
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
    fn what_is_not_finished_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        for format in [FileFormat::Csv, FileFormat::JsonLines, FileFormat::Parquet] {
            let mut writer = FileWriter::create(&dir.path().join("out"), format, &columns()).unwrap();
            writer.add(&chunk("a", 0, &VALUES)).unwrap();
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "{format:?}");
            drop(writer);
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{format:?}");
        }
    }

    #[test]
    fn what_cannot_be_finished_is_gone_too() {
        let dir = tempfile::tempdir().unwrap();
        for format in [FileFormat::Csv, FileFormat::Parquet] {
            let to = dir.path().join("out");
            let mut writer = FileWriter::create(&to, format, &columns()).unwrap();
            writer.add(&chunk("a", 0, &VALUES)).unwrap();
            // Neither a file nor a directory can take its place.
            std::fs::create_dir(&to).unwrap();
            std::fs::write(to.join("x"), "mine").unwrap();
            assert!(writer.finish().is_err(), "{format:?}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "{format:?}");
            std::fs::remove_dir_all(&to).unwrap();
        }
    }

    #[test]
    fn what_another_export_left_is_not_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("out.partial")).unwrap();
        std::fs::write(path("out.1.partial"), "theirs").unwrap();
        for format in [FileFormat::Csv, FileFormat::Parquet] {
            let writer = FileWriter::create(&path("out"), format, &columns()).unwrap();
            assert!(path("out.2.partial").exists());
            writer.finish().unwrap();
            std::fs::rename(path("out"), path(&format!("{format:?}"))).unwrap();
        }
        assert!(path("out.partial").is_dir() && !path("out.2.partial").exists());
        assert_eq!(std::fs::read_to_string(path("out.1.partial")).unwrap(), "theirs");
        (2..PARTIALS_MAX).for_each(|number| std::fs::write(path(&format!("out.{number}.partial")), "").unwrap());
        assert!(FileWriter::create(&path("out"), FileFormat::Csv, &columns()).is_err());
        std::fs::remove_file(path("out.99.partial")).unwrap();
        assert!(FileWriter::create(&path("out"), FileFormat::Csv, &columns()).is_ok());
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
