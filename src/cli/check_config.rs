//! `streamgauge check-config`: says what in the configuration is wrong, and shows what it resolves to.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::OPTIONS;

pub(super) fn command() -> Command {
    let print =
        Arg::new("print").long("print").action(ArgAction::SetTrue).help("Prints the resolved configuration as TOML.");
    let strict = Arg::new("strict").long("strict").action(ArgAction::SetTrue).help("Takes warnings for errors.");
    super::with_options(Command::new("check-config").about("Checks the configuration and exits 1 if it is wrong"))
        .arg(print)
        .arg(strict)
}

pub(super) fn run(arguments: &ArgMatches) -> Result<(), String> {
    let config = super::config_of(arguments).map_err(|e| e.to_string())?;
    if arguments.get_flag("print") {
        for option in OPTIONS {
            println!("# {}\n{} = {:?}\n", option.doc, option.name, (option.show)(&config));
        }
    }
    Ok(())
}
