//! What the commands that work on a data directory without a server share: its flag, the format of their answer.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Arg, ArgMatches};
use model::TimeRange;
use serde_json::{Value, json};

use crate::config::OPTIONS;
use crate::http::prometheus::rfc3339;

/// `--data`, as the server has it.
pub(super) fn data_flag() -> Arg {
    let default = OPTIONS.iter().find(|option| option.name == "data").map_or("", |option| option.default);
    Arg::new("data")
        .long("data")
        .value_name("DIR")
        .env("STREAMGAUGE_DATA")
        .default_value(default)
        .value_parser(NonEmptyStringValueParser::new())
        .help("Data directory.")
}

/// `--format`.
pub(super) fn format_flag() -> Arg {
    Arg::new("format").long("format").value_parser(["text", "json"]).default_value("text").help("Form of the answer.")
}

/// A path among the arguments.
pub(super) fn path_of(arguments: &ArgMatches, name: &str) -> PathBuf {
    PathBuf::from(arguments.get_one::<String>(name).map(String::as_str).unwrap_or_default())
}

/// True if the answer is to be JSON.
pub(super) fn is_json(arguments: &ArgMatches) -> bool {
    arguments.get_one::<String>("format").is_some_and(|format| format == "json")
}

/// First and last time, for people.
pub(super) fn times_text(times: Option<TimeRange>) -> String {
    match times {
        Some(times) => format!("{} to {}", rfc3339(times.start_ms), rfc3339(times.end_ms)),
        None => "times unknown".to_owned(),
    }
}

/// First and last time, for programs.
pub(super) fn times_json(times: Option<TimeRange>) -> Value {
    let range = |times: TimeRange| {
        json!({
            "startMs": times.start_ms,
            "endMs": times.end_ms,
            "start": rfc3339(times.start_ms),
            "end": rfc3339(times.end_ms),
        })
    };
    times.map_or(Value::Null, range)
}

/// Prints JSON.
pub(super) fn print_json(value: &Value) {
    println!("{value:#}");
}
