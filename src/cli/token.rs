//! `streamgauge token`: makes a token, adds it to the file of tokens, and prints its secret once.

use std::io::Write;
use std::path::Path;

use clap::builder::NonEmptyStringValueParser;
use clap::{Arg, ArgMatches, Command};

use super::offline::path_of;
use crate::auth::{Rights, Token, new_secret, with_entry};

const ABOUT: &str = "Makes a token, adds its hash to the server's file of tokens (--auth-token-file), and prints it";

const NOTES: &str = "\
EXAMPLES
  streamgauge token --file tokens.toml --name grafana --rights read
      A token that may read all.
  streamgauge token --file tokens.toml --name etl --rights read,write --org team-a > etl.token
      One that writes series of the organization team-a, and reads only these.

Rights are read, write, control (jobs) and admin, which has all. The secret is on the standard output and nowhere else: the
file keeps its hash. A running server reads the file again on SIGHUP or POST /-/reload. To take a token back, remove its
entry and reload.";

pub(super) fn command() -> Command {
    let value = |name: &'static str, what: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(what).value_parser(NonEmptyStringValueParser::new()).help(help)
    };
    Command::new("token").about(ABOUT).after_help(NOTES).args([
        value("file", "FILE", "The file of tokens; made if it is not there.").required(true),
        value("name", "NAME", "What the token is called, for logs.").required(true),
        value("rights", "RIGHTS", "What it may do: read, write, control, admin, by commas.").required(true),
        value("org", "NAME", "The only organization that it sees and writes for."),
    ])
}

pub(super) fn run(arguments: &ArgMatches) -> Result<(), String> {
    let text = |name: &str| arguments.get_one::<String>(name).map(String::as_str);
    let rights: Rights = text("rights").unwrap_or_default().parse().map_err(|e| format!("--rights: {e}"))?;
    let token = Token { name: text("name").unwrap_or_default().into(), rights, org: text("org").map(Into::into) };
    let secret = new_secret()?;
    let file = path_of(arguments, "file");
    add(&file, &token, &secret)?;
    eprintln!("added to {}; a running server learns of it by SIGHUP or POST /-/reload", file.display());
    println!("{secret}");
    Ok(())
}

/// Adds an entry behind what the file has: it stays the file that it is, with its owner and its comments.
fn add(path: &Path, token: &Token, secret: &str) -> Result<(), String> {
    let wrong = |message: String| format!("{}: {message}", path.display());
    let before = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let after = with_entry(&before, token, secret).map_err(wrong)?;
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    // Who the tokens are for is nobody else's to know.
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let added = after.strip_prefix(&before).unwrap_or_default();
    let written = options.open(path).and_then(|mut file| {
        file.write_all(added.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
        let matches = |arguments: &[&str]| command().try_get_matches_from([&["token"], arguments].concat());
        assert!(matches(&["--file", "f", "--name", "n", "--rights", "read"]).is_ok());
        assert!(matches(&["--file", "f", "--name", "n"]).is_err() && matches(&["--name", "n"]).is_err());
    }

    #[test]
    fn a_token_is_added_to_what_the_file_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        let make = |name: &str, rights: &str| {
            let file = path.display().to_string();
            let given = ["token", "--file", &file, "--name", name, "--rights", rights];
            run(&command().try_get_matches_from(given).unwrap())
        };
        make("a", "read").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        make("b", "admin").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640, "as it was");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("[[token]]").count(), 2, "{text}");
        assert!(make("a", "write").unwrap_err().contains("another one has its name"));
        assert!(make("c", "root").unwrap_err().starts_with("--rights: \"root\""));
        assert!(make("d", "none").unwrap_err().contains("rights has none"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "a refusal changes nothing");
    }
}
