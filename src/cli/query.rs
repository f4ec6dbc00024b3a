//! `streamgauge query`: asks a running server over HTTP and prints a table.

mod table;

use clap::{Arg, ArgMatches, Command};
use serde_json::Value;

use super::client;
use crate::config::{Duration, OptionValue};
use crate::http::prometheus::{parse_time, rfc3339};

const EXAMPLES: &str = "\
EXAMPLES
  streamgauge query up
      The newest value of each series.
  streamgauge query 'rate(http_requests_total[5m])' --time 2026-11-01T12:00:00Z
      The same at another time.
  streamgauge query 'sum by (job) (up)' --range 1h --step 5m
      One line per series and step.
  streamgauge query up --url http://prometheus.example:9090
      Asks any server that has Prometheus's API.";

/// Steps of a range if none is asked for.
const STEPS: u64 = 60;

pub(super) fn command() -> Command {
    let value = |name: &'static str, what: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(what).help(help)
    };
    // It may begin with a minus, as `-up` does.
    let expression = Arg::new("expression").value_name("EXPR").required(true).allow_hyphen_values(true);
    Command::new("query")
        .about("Asks a running server and prints a table")
        .after_help(EXAMPLES)
        .arg(expression.help("An expression in PromQL."))
        .arg(value("range", "DURATION", "Evaluates over this time up to --time, such as 1h."))
        .arg(
            value("step", "DURATION", "Distance of the evaluations [default: a sixtieth of the range].")
                .requires("range"),
        )
        .arg(value("time", "TIME", "When: RFC 3339 or seconds since 1970 [default: now].").allow_hyphen_values(true))
        .arg(value("url", "URL", "The server.").default_value("http://127.0.0.1:8082"))
        .arg(client::token_flag())
        .arg(value("timeout", "DURATION", "How long to wait for the answer.").default_value("2m"))
}

pub(super) fn run(arguments: &ArgMatches) -> Result<(), String> {
    let text = |name: &str| arguments.get_one::<String>(name).map(String::as_str);
    let duration = |name: &str| {
        let parse = |given| Duration::parse(given).map_err(|e| format!("--{name}: {e}"));
        text(name).map(parse).transpose()
    };
    let expression = text("expression").unwrap_or_default();
    let time_ms = text("time").map(parse_time).transpose().map_err(|e| format!("--time: {e}"))?;
    let (path, form) = request(expression, time_ms, duration("range")?, duration("step")?)?;
    let url = format!("{}{path}", text("url").unwrap_or_default().trim_end_matches('/'));
    let timeout = duration("timeout")?.map_or(std::time::Duration::MAX, Duration::std);
    let token = client::token_of(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("cannot start a runtime: {e}"))?;
    let answer = runtime.block_on(client::post_form(&url, &form, token.as_deref(), timeout))?;
    show(expression, &url, &answer)
}

/// Names and values of a form.
type Form = Vec<(&'static str, String)>;

/// The path and the form of a request.
fn request(
    expression: &str,
    time_ms: Option<i64>,
    range: Option<Duration>,
    step: Option<Duration>,
) -> Result<(&'static str, Form), String> {
    let mut form = vec![("query", expression.to_owned())];
    let Some(range) = range else {
        form.extend(time_ms.map(|ms| ("time", seconds(ms))));
        return Ok(("/api/v1/query", form));
    };
    let step_ms = step.map_or_else(|| (range.0 / STEPS).max(1000), |step| step.0);
    if step_ms == 0 {
        return Err("--step: a step of 0 leads nowhere".to_owned());
    }
    let end_ms = time_ms.unwrap_or_else(|| storage::Clock::now_ms(&storage::SystemClock));
    form.push(("start", seconds(end_ms.saturating_sub(range.ms()))));
    form.push(("end", seconds(end_ms)));
    form.push(("step", format!("{}.{:03}", step_ms / 1000, step_ms % 1000)));
    Ok(("/api/v1/query_range", form))
}

/// A time as forms have it.
pub(super) fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}", ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000)
}

/// Prints an answer, or says why it is an error.
fn show(expression: &str, url: &str, answer: &client::Answer) -> Result<(), String> {
    let not_ours = || {
        let beginning: String = answer.body.chars().take(200).collect();
        format!("{url} answered {} and no Prometheus API: {beginning}", answer.status)
    };
    let body: Value = serde_json::from_str(&answer.body).map_err(|_| not_ours())?;
    match body["status"].as_str() {
        Some("success") => {}
        Some("error") => return Err(explain(expression, body["error"].as_str().unwrap_or_default())),
        _ => return Err(not_ours()),
    }
    for (list, word) in [("warnings", "warning"), ("infos", "info")] {
        for note in body[list].as_array().into_iter().flatten() {
            eprintln!("{word}: {}", note.as_str().unwrap_or_default());
        }
    }
    match table::render(&body["data"]) {
        Some(text) if text.is_empty() => eprintln!("no series"),
        Some(text) => print!("{text}"),
        None => return Err(not_ours()),
    }
    Ok(())
}

/// The message, and where it knows a place, the line of the expression with a mark under it.
fn explain(expression: &str, message: &str) -> String {
    let place = message.split_once("parse error:").and_then(|(before, _)| {
        let mut numbers = before.trim_end().trim_end_matches(':').rsplit([':', ' ']);
        let column: usize = numbers.next()?.parse().ok()?;
        let line: usize = numbers.next()?.parse().ok()?;
        Some((expression.lines().nth(line.checked_sub(1)?)?, column.checked_sub(1)?))
    });
    match place {
        Some((line, column)) => format!("{message}\n  {line}\n  {}^", " ".repeat(column)),
        None => message.to_owned(),
    }
}

/// For cells of tables: seconds since 1970, as the API writes them.
fn time_cell(seconds: &Value) -> String {
    let ms = seconds.as_f64().map(|s| (s * 1000.0).round() as i64);
    ms.map_or_else(|| seconds.to_string(), rfc3339)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_requests() {
        assert_eq!(request("up", None, None, None).unwrap(), ("/api/v1/query", vec![("query", "up".to_owned())]));
        let (path, form) = request("up", Some(-1_500), Some(Duration(60_000)), Some(Duration(500))).unwrap();
        assert_eq!(path, "/api/v1/query_range");
        let form: Vec<_> = form.iter().map(|(n, v)| (*n, v.as_str())).collect();
        assert_eq!(form, [("query", "up"), ("start", "-61.500"), ("end", "-1.500"), ("step", "0.500")]);
        let (_, form) = request("up", Some(0), Some(Duration(3_600_000)), None).unwrap();
        assert!(form.contains(&("step", "60.000".to_owned())));
        let (_, form) = request("up", Some(0), Some(Duration(1)), None).unwrap();
        assert!(form.contains(&("step", "1.000".to_owned())), "never finer than a second by itself");
        assert!(request("up", None, Some(Duration(1)), Some(Duration(0))).is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
        let matches = |arguments: &[&str]| command().try_get_matches_from([&["query"], arguments].concat());
        assert!(matches(&["up", "--time", "-5"]).is_ok());
        assert!(matches(&["up", "--step", "1m"]).is_err(), "a step needs a range");
        assert!(matches(&[]).is_err());
        for arguments in [&["-up"][..], &["-up", "--time", "-5"], &["--range", "1h", "-up"], &["--", "-up"]] {
            let found = matches(arguments).unwrap();
            assert_eq!(found.get_one::<String>("expression").unwrap(), "-up", "{arguments:?}");
        }
        assert!(matches(&["up", "--tiem", "5"]).is_err(), "no option");
    }

    #[test]
    fn parse_errors_are_shown_in_the_expression() {
        let message = "invalid parameter \"query\": 2:3: parse error: unexpected end of input";
        assert_eq!(explain("sum(\nup", message), format!("{message}\n  up\n    ^"));
        assert_eq!(explain("up", "something else"), "something else");
        assert_eq!(explain("", "unknown position: parse error: x"), "unknown position: parse error: x");
    }
}
