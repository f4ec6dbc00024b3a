//! `streamgauge check-config`: says what in the configuration is wrong, and shows what it resolves to.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::auth::Auth;
use crate::config::{Config, OPTIONS};
use crate::scrape::config::{Problem, Severity, load};

pub(super) fn command() -> Command {
    let print = Arg::new("print")
        .long("print")
        .action(ArgAction::SetTrue)
        .help("Prints the resolved options as TOML, with the scrape configuration, without its secrets, as comments.");
    let strict = Arg::new("strict").long("strict").action(ArgAction::SetTrue).help("Takes warnings for errors.");
    super::with_options(Command::new("check-config").about("Checks the configuration and exits 1 if it is wrong"))
        .arg(print)
        .arg(strict)
}

pub(super) fn run(arguments: &ArgMatches) -> Result<(), String> {
    let config = super::config_of(arguments).map_err(|e| e.to_string())?;
    let print = arguments.get_flag("print");
    if print {
        for option in OPTIONS {
            println!("# {}\n{} = {:?}\n", option.doc, option.name, (option.show)(&config));
        }
    }
    // Reads the file of tokens and forgets it.
    Auth::open(&config)?;
    check_scrape_config(&config, print, arguments.get_flag("strict"))
}

/// Checks the scrape configuration, if there is one.
fn check_scrape_config(config: &Config, print: bool, strict: bool) -> Result<(), String> {
    let Some(path) = &config.scrape_config else { return Ok(()) };
    let (loaded, problems) = match load(path) {
        Ok(loaded) => (Some(loaded.config), loaded.warnings),
        Err(problems) => (None, problems),
    };
    let is_error = |problem: &Problem| match problem.severity {
        Severity::Error | Severity::MissingFile => true,
        Severity::MissingTargets | Severity::Unsupported => strict,
    };
    for problem in &problems {
        eprintln!("{} {problem}", if is_error(problem) { "error:  " } else { "warning:" });
    }
    let errors = problems.iter().filter(|problem| is_error(problem)).count();
    if errors > 0 {
        return Err(format!("{} is wrong: errors: {errors}, warnings: {}", path.display(), problems.len() - errors));
    }
    if let Some(scrape) = loaded {
        if print {
            // As comments: the whole stays TOML.
            println!("# {}", path.display());
            scrape.redacted.lines().for_each(|line| println!("# {line}"));
        }
        eprintln!("{} is right: jobs: {}, warnings: {}", path.display(), scrape.jobs.len(), problems.len());
    }
    Ok(())
}
