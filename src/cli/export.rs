//! `streamgauge export`: samples of any selection and time into files, from a running server or from a data directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use model::{Budget, Matcher, Scope, TimeRange};
use storage::{Clock, SystemClock};

use super::client;
use super::query::seconds;
use crate::app::open_for_reading;
use crate::config::{Config, Duration as Length, Layer, OptionValue};
use crate::export::{Chunk, End, FileFormat, FileWriter, Line, Totals, chunks, decode};
use crate::families::Families;
use crate::http::prometheus::parse_time;

const EXAMPLES: &str = "\
EXAMPLES
  streamgauge export --match up --to up.csv
      All samples of a metric, from the server on this machine.
  streamgauge export --format parquet --match '{job=\"etl\"}' --start 2026-11-01T00:00:00Z --end 2026-12-01T00:00:00Z \
--to november
      A job's November: november/samples.parquet and november/series.parquet, with the columns of docs/offline.md.
  streamgauge export --data /var/lib/streamgauge --format jsonl --to - | gzip > all.jsonl.gz
      Everything, without a server. The directory must not be in use.

--start and --end belong to the range. Without --data a server is asked (--url).";

/// Longest line of an answer; ours have up to 8,192 samples and the labels of one series.
const LINE_BYTES_MAX: usize = 16 << 20;

pub(super) fn command() -> Command {
    let value = |name: &'static str, what: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(what).value_parser(NonEmptyStringValueParser::new()).help(help)
    };
    Command::new("export")
        .about("Writes samples of any selection and time to Parquet, CSV or JSON lines")
        .after_help(EXAMPLES)
        .arg(Arg::new("format").long("format").value_parser(FileFormat::WORDS).help("[default: by the name of --to]"))
        .arg(
            value("match", "SELECTOR", "Series selector; several select the union. Without one: everything.")
                .action(ArgAction::Append),
        )
        .arg(value("start", "TIME", "First time: RFC 3339 or seconds since 1970.").allow_hyphen_values(true))
        .arg(value("end", "TIME", "Last time.").allow_hyphen_values(true))
        .arg(value("to", "PATH", "File to write, `-` for standard output; a directory for Parquet.").required(true))
        .arg(value("url", "URL", "The server.").default_value("http://127.0.0.1:8082"))
        .arg(
            value("data", "DIR", "Reads a data directory instead, with the options of --config and STREAMGAUGE_*.")
                .conflicts_with("url"),
        )
        .arg(client::token_flag().conflicts_with("data"))
        .arg(value("config", "FILE", "Options in a TOML file.").env("STREAMGAUGE_CONFIG"))
        .arg(value("timeout", "DURATION", "How long to wait for a server's next bytes.").default_value("2m"))
}

pub(super) fn run(arguments: &ArgMatches) -> Result<(), String> {
    let text = |name: &str| arguments.get_one::<String>(name).map(String::as_str);
    let time = |name: &str| text(name).map(parse_time).transpose().map_err(|e| format!("--{name}: {e}"));
    let selectors: Vec<String> = arguments.get_many("match").into_iter().flatten().cloned().collect();
    let range = TimeRange { start_ms: time("start")?.unwrap_or(i64::MIN), end_ms: time("end")?.unwrap_or(i64::MAX) };
    if range.is_empty() {
        return Err("--end: it must not be before --start".to_owned());
    }
    let to = Path::new(text("to").unwrap_or_default());
    let format = format_of(text("format"), to)?;
    let config = config_of(arguments)?;
    let mut writer = FileWriter::create(to, format, &config.parquet_label_columns.0)?;
    let done = if text("data").is_some() {
        from_directory(config, &selectors, range, &mut writer)
    } else {
        let timeout = Length::parse(text("timeout").unwrap_or_default()).map_err(|e| format!("--timeout: {e}"))?;
        let server = Server {
            url: text("url").unwrap_or_default(),
            token: client::token_of(arguments)?,
            timeout: timeout.std(),
        };
        from_server(&server, &selectors, range, &mut writer)
    };
    // What is not finished goes with the writer.
    let end = done?;
    writer.finish()?;
    for warning in &end.warnings {
        eprintln!("warning: {warning}");
    }
    let histograms =
        if end.histograms > 0 { format!(" and {} native histograms", end.histograms) } else { String::new() };
    eprintln!("exported {} samples{histograms} of {} series", end.samples, end.series);
    Ok(())
}

fn format_of(word: Option<&str>, to: &Path) -> Result<FileFormat, String> {
    let word = word.or_else(|| to.extension().and_then(|extension| extension.to_str()));
    let format = word.and_then(FileFormat::parse);
    format.ok_or_else(|| format!("--format: one of {} is needed", FileFormat::WORDS.join(", ")))
}

/// The options that matter here: those of files and variables, and the directory.
fn config_of(arguments: &ArgMatches) -> Result<Config, String> {
    let wrong = |e: crate::config::ConfigError| e.to_string();
    let mut layers = Vec::new();
    if let Some(path) = arguments.get_one::<String>("config") {
        layers.push(Layer::from_file(&PathBuf::from(path)).map_err(wrong)?);
    }
    let variables = std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)));
    layers.push(Layer::from_environment(variables).map_err(wrong)?);
    let values = arguments.get_one::<String>("data").map(|data| ("data".to_owned(), data.clone()));
    layers.push(Layer { source_name: "flags".to_owned(), values: values.into_iter().collect() });
    crate::config::resolve(&layers).map_err(wrong)
}

/// Opens the database as a server does, without its background work.
fn from_directory(
    config: Config,
    selectors: &[String],
    range: TimeRange,
    writer: &mut FileWriter,
) -> Result<End, String> {
    if !config.data.join("STORE").exists() {
        return Err(format!("--data: {} is no data directory", config.data.display()));
    }
    let parse = |text: &String| {
        query::parse_matchers(text, &query::EngineOptions::default()).map_err(|e| format!("--match {text}: {e}"))
    };
    let mut selections = selectors.iter().map(parse).collect::<Result<Vec<Vec<Matcher>>, String>>()?;
    if selections.is_empty() {
        selections.push(Vec::new());
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let budget = Budget::new(u64::MAX, config.query_max_bytes.0);
    let (db, held) = open_for_reading(&config, clock).map_err(|e| e.to_string())?;
    if let Some(reason) = held {
        eprintln!("warning: nothing is left out for its age: {reason}");
    }
    let (snapshot, mut families) = (db.snapshot(), Families::new(&db));
    let totals: Totals = chunks(&snapshot, &Scope::default(), &selections, range, &budget, |labels, samples| {
        let metric_type = families.type_of(labels.metric_name()).map(str::to_owned);
        writer.add(&Chunk { labels: labels.clone(), metric_type, samples })
    })
    .map_err(|e| e.to_string())?;
    Ok(End::new(&totals, snapshot.unreachable()))
}

/// A server to ask, and how.
struct Server<'a> {
    url: &'a str,
    token: Option<String>,
    timeout: Duration,
}

fn from_server(
    server: &Server<'_>,
    selectors: &[String],
    range: TimeRange,
    writer: &mut FileWriter,
) -> Result<End, String> {
    let mut form: Vec<(&str, String)> = selectors.iter().map(|selector| ("match[]", selector.clone())).collect();
    let bounds = [("start", range.start_ms, i64::MIN), ("end", range.end_ms, i64::MAX)];
    form.extend(bounds.iter().filter(|(_, ms, none)| ms != none).map(|(name, ms, _)| (*name, seconds(*ms))));
    let url = format!("{}/api/streamgauge/v1/export", server.url.trim_end_matches('/'));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("cannot start a runtime: {e}"))?;
    let mut lines = Lines { rest: Vec::new(), end: None, writer };
    let token = server.token.as_deref();
    runtime.block_on(client::post_form_streaming(&url, &form, token, server.timeout, |bytes| lines.take(bytes)))?;
    lines.end.ok_or_else(|| format!("{url}: the answer breaks off; the server's log says why"))
}

/// Lines of an answer, as they come.
struct Lines<'a> {
    rest: Vec<u8>,
    end: Option<End>,
    writer: &'a mut FileWriter,
}

impl Lines<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        // What waits has no end of a line.
        let mut looked_at = self.rest.len();
        self.rest.extend_from_slice(bytes);
        let mut done = 0;
        while let Some(len) = self.rest[looked_at..].iter().position(|byte| *byte == b'\n') {
            let end = looked_at + len;
            let line = std::str::from_utf8(&self.rest[done..end]).map_err(|e| e.to_string())?;
            if self.end.is_some() {
                return Err("the answer goes on behind its end".to_owned());
            }
            match decode(line).map_err(|e| e.to_string())? {
                Line::Chunk(chunk) => self.writer.add(&chunk)?,
                Line::End(end) => self.end = Some(end),
            }
            done = end + 1;
            looked_at = done;
        }
        self.rest.drain(..done);
        if self.rest.len() > LINE_BYTES_MAX {
            return Err(format!("a line of the answer is longer than {LINE_BYTES_MAX} bytes"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
        let matches = |arguments: &[&str]| command().try_get_matches_from([&["export"], arguments].concat());
        assert!(matches(&["--to", "x.csv", "--match", "a", "--match", "b", "--start", "-5"]).is_ok());
        assert!(matches(&["--match", "a"]).is_err(), "--to is needed");
        assert!(matches(&["--to", "x", "--format", "xml"]).is_err());
        assert!(matches(&["--to", "x", "--data", "d", "--url", "http://x"]).is_err());
    }

    #[test]
    fn the_name_tells_the_format_unless_it_is_given() {
        let of = |word, to: &str| format_of(word, Path::new(to));
        assert_eq!(of(None, "a/b.csv"), Ok(FileFormat::Csv));
        assert_eq!(of(Some("jsonl"), "-"), Ok(FileFormat::JsonLines));
        assert_eq!(of(Some("parquet"), "x.csv"), Ok(FileFormat::Parquet));
        assert!(of(None, "-").is_err() && of(None, "x.txt").is_err());
    }

    #[test]
    fn lines_come_in_pieces_and_end_once() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("x.jsonl");
        let mut writer =
            FileWriter::create(&to, FileFormat::JsonLines, &storage::parquet::RowColumns::default()).unwrap();
        let mut lines = Lines { rest: Vec::new(), end: None, writer: &mut writer };
        let text = concat!(
            r#"{"metric":{"__name__":"m"},"values":[1],"timestamps":[1]}"#,
            "\n",
            r#"{"end":true,"series":1,"samples":1,"histograms":0,"warnings":[]}"#,
            "\n"
        );
        text.as_bytes().chunks(7).for_each(|bytes| lines.take(bytes).unwrap());
        assert_eq!(lines.end.as_ref().map(|end| end.samples), Some(1));
        assert!(lines.take(b"{}\n").is_err());
        (lines.rest, lines.end) = (Vec::new(), None);
        assert!(lines.take(&vec![b'x'; LINE_BYTES_MAX]).is_ok());
        assert!(lines.take(b"x").unwrap_err().contains("longer"));
        writer.finish().unwrap();
        assert_eq!(std::fs::read_to_string(to).unwrap().lines().count(), 1);
    }
}
