//! The command line: `streamgauge` serves; subcommands ask and check.

mod backup;
mod check_config;
mod client;
mod export;
mod inspect;
mod offline;
mod query;
mod restore;
mod serve;
mod token;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::NonEmptyStringValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::{Config, ConfigError, Layer, OPTIONS, resolve};

const ABOUT: &str = "\
A metrics store for stream-processing and ETL jobs: takes reports, scrapes and Prometheus remote write, keeps every \
acknowledged sample, answers PromQL.";

const EXAMPLES: &str = "\
EXAMPLES
  streamgauge
      Serves on 127.0.0.1:8082, keeps data in ./streamgauge-data, scrapes itself and this host.
  streamgauge --data /var/lib/streamgauge --listen 0.0.0.0:8082 --scrape-config /etc/prometheus/prometheus.yml
      Serves as a stand-in for a Prometheus with that configuration.
  streamgauge query 'sum by (job) (up)'
      Asks a running server and prints a table.
  streamgauge export --match up --to up.csv
      Writes all samples of a metric to a file; also as JSON lines or Parquet, also without a server.
  streamgauge check-config --scrape-config prometheus.yml --strict
      Says what in the configuration is wrong or not supported, and exits 1 then.
  streamgauge backup --url http://127.0.0.1:8082 --to /backup/streamgauge
      Backs up a running server; files that an earlier backup there has are not copied again.
  streamgauge token --file tokens.toml --name grafana --rights read
      Makes a token for a server that runs with --auth-token-file tokens.toml.
  streamgauge verify --data /var/lib/streamgauge
      Says whether every file is sound, and which series and times a damage touches; also beside a running server.

Every option can also be set in a TOML file (--config) or by a variable: --wal.sync is [wal] sync in the file and
STREAMGAUGE_WAL_SYNC in the environment. Flags win over variables, variables over the file.";

/// Parses the arguments of the process, runs the command, and gives its exit code.
pub fn main() -> ExitCode {
    let matches = command().get_matches();
    let result = match matches.subcommand() {
        Some(("backup", arguments)) => backup::run(arguments),
        Some(("check-config", arguments)) => check_config::run(arguments),
        Some(("export", arguments)) => export::run(arguments),
        Some(("inspect", arguments)) => inspect::run(arguments),
        Some(("query", arguments)) => query::run(arguments),
        Some(("restore", arguments)) => restore::run(arguments),
        Some(("token", arguments)) => token::run(arguments),
        Some(("verify", arguments)) => verify::run(arguments),
        _ => config_of(&matches).map_err(|e| e.to_string()).and_then(serve::run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("streamgauge: {message}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Command {
    with_options(Command::new("streamgauge").version(env!("CARGO_PKG_VERSION")).about(ABOUT).after_help(EXAMPLES))
        .subcommand(backup::command())
        .subcommand(check_config::command())
        .subcommand(export::command())
        .subcommand(inspect::command())
        .subcommand(query::command())
        .subcommand(restore::command())
        .subcommand(token::command())
        .subcommand(verify::command())
}

/// Adds a flag for each option of the server.
fn with_options(command: Command) -> Command {
    let config =
        Arg::new("config").long("config").value_name("FILE").env("STREAMGAUGE_CONFIG").help("Options in a TOML file.");
    let flags = OPTIONS.iter().map(|option| {
        let help = match option.default {
            "" => option.doc.to_owned(),
            default => format!("{} [default: {default}]", option.doc),
        };
        Arg::new(option.name)
            .long(option.flag())
            .value_name(value_name(option.name))
            .value_parser(NonEmptyStringValueParser::new())
            .action(ArgAction::Set)
            .help(help)
    });
    command.arg(config).args(flags)
}

/// What stands behind a flag in the help.
fn value_name(option: &str) -> &'static str {
    match option {
        "data" => "DIR",
        "listen" => "ADDR",
        "scrape_config" | "auth_token_file" => "FILE",
        _ => "VALUE",
    }
}

/// The configuration of all layers.
fn config_of(matches: &ArgMatches) -> Result<Config, ConfigError> {
    let mut layers = Vec::new();
    if let Some(path) = matches.get_one::<String>("config") {
        layers.push(Layer::from_file(&PathBuf::from(path))?);
    }
    layers.push(Layer::from_environment(
        std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?))),
    )?);
    let given = |name: &str| matches.get_one::<String>(name).cloned();
    let values = OPTIONS.iter().filter_map(|o| Some((o.name.to_owned(), given(o.name)?))).collect();
    layers.push(Layer { source_name: "flags".to_owned(), values });
    resolve(&layers)
}
