//! `streamgauge restore`: a backup into a new data directory, verified.

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::json;

use super::backup::{tell, verbose_flag};
use super::offline::{data_flag, format_flag, is_json, path_of, print_json};
use super::verify;
use crate::backup::{Restore, restore};
use crate::http::prometheus::rfc3339;

const ABOUT: &str = "Restores a backup into an empty directory, and verifies it";

const NOTES: &str = "\
Every file is compared with the backup's list while it is copied, and the whole is verified at the end. A restore that was \
cut off is gone on with by the same command. Exit code: 1 if it failed or something is damaged.";

pub(super) fn command() -> Command {
    let from = Arg::new("from")
        .long("from")
        .value_name("DIR")
        .required(true)
        .help("A backup, or the directory of several, of which the newest is taken.");
    let name = Arg::new("name").long("name").value_name("NAME").help("The backup of this name below --from.");
    let damage = Arg::new("allow-damage")
        .long("allow-damage")
        .action(ArgAction::SetTrue)
        .help("Goes on beside damaged files of the backup; a server puts them aside and serves the rest.");
    Command::new("restore").about(ABOUT).after_help(NOTES).args([
        from,
        name,
        data_flag(),
        damage,
        verbose_flag(),
        format_flag(),
    ])
}

pub(super) fn run(arguments: &ArgMatches) -> Result<(), String> {
    let (from, data) = (path_of(arguments, "from"), path_of(arguments, "data"));
    let name = arguments.get_one::<String>("name").map(String::as_str);
    let what = Restore { from: &from, name, allows_damage: arguments.get_flag("allow-damage") };
    let restored = restore(what, &data, &mut tell(arguments)).map_err(|error| error.to_string())?;
    let report = verify::verify_all(&data, 0)?;
    let of = rfc3339(restored.created_ms);
    if is_json(arguments) {
        print_json(&json!({
            "backup": restored.backup.display().to_string(),
            "created": of,
            "files": restored.files,
            "bytes": restored.bytes,
            "damage": restored.damage,
            "verified": verify::as_json(&report),
        }));
    } else {
        println!(
            "{}: {} files, {} bytes of {}, made {of}; {} samples in segments verified",
            data.display(),
            restored.files,
            restored.bytes,
            restored.backup.display(),
            report.samples
        );
    }
    let places = report.damage.len().max(restored.damage.len());
    match places {
        0 => Ok(()),
        _ => Err(format!(
            "{} is damaged in {places} places; `streamgauge verify` says what they touch. {}",
            data.display(),
            restored.damage.join("; ")
        )),
    }
}
