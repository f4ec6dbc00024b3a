//! `streamgauge backup`: of a running server through a snapshot, or of a data directory that no server has open.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::http::Method;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};
use storage::{Clock, StorageError, SystemClock};

use super::client;
use super::offline::{data_flag, format_flag, is_json, path_of, print_json};
use crate::backup::{BackupError, Saved, new_name, save};

const ABOUT: &str = "Backs up a running server (--url) or a data directory that no server has open (--data)";

const NOTES: &str = "\
Each backup is a directory below --to: a complete data directory, with a list of its files and their hashes. Sealed files \
that an earlier backup there has are hard-linked, not copied again. What a backup that was cut off has copied is used by \
the next one. With --url, this machine must see the server's data directory under its path. Exit code: 1 if the backup \
failed, or was made of a damaged store.";

/// A flush of a large head takes its time.
const TIMEOUT: Duration = Duration::from_secs(600);

pub(super) fn command() -> Command {
    let to = Arg::new("to").long("to").value_name("DIR").required(true).help("Directory of the backups.");
    let url = Arg::new("url")
        .long("url")
        .value_name("URL")
        .conflicts_with("data")
        .help("Backs up the server at this address, such as http://127.0.0.1:8082.");
    Command::new("backup").about(ABOUT).after_help(NOTES).args([
        to,
        url,
        client::token_flag().requires("url"),
        data_flag(),
        verbose_flag(),
        format_flag(),
    ])
}

/// `--verbose`
pub(super) fn verbose_flag() -> Arg {
    Arg::new("verbose").long("verbose").action(ArgAction::SetTrue).help("Names each file on the standard error.")
}

/// Names each file if that is asked for.
pub(super) fn tell(arguments: &ArgMatches) -> impl FnMut(&str, &Path) -> Result<(), BackupError> {
    let is_verbose = arguments.get_flag("verbose");
    move |what, path| {
        if is_verbose {
            eprintln!("{what} {}", path.display());
        }
        Ok(())
    }
}

pub(super) fn run(arguments: &ArgMatches) -> Result<(), String> {
    let to = path_of(arguments, "to");
    let saved = match arguments.get_one::<String>("url") {
        Some(url) => of_server(url, &to, arguments)?,
        None => of_directory(&path_of(arguments, "data"), &to, arguments)?,
    };
    if is_json(arguments) {
        print_json(&as_json(&saved));
    } else {
        println!(
            "{}: {} files, {} bytes; of these copied {} files, {} bytes",
            saved.path.display(),
            saved.files,
            saved.bytes,
            saved.copied_files,
            saved.copied_bytes
        );
    }
    match &saved.damage[..] {
        [] => Ok(()),
        damage => Err(format!("the store is damaged, and so is the backup: {}", damage.join("; "))),
    }
}

fn as_json(saved: &Saved) -> Value {
    json!({
        "path": saved.path.display().to_string(),
        "files": saved.files,
        "bytes": saved.bytes,
        "copiedFiles": saved.copied_files,
        "copiedBytes": saved.copied_bytes,
        "damage": saved.damage,
    })
}

fn of_directory(data: &Path, to: &Path, arguments: &ArgMatches) -> Result<Saved, String> {
    let lock = storage::lock_data_dir(data).map_err(|error| match error {
        StorageError::Locked { .. } => format!("{error}; back up a running server with --url"),
        error => error.to_string(),
    })?;
    let now_ms = SystemClock.now_ms();
    let saved = save(data, to, &new_name(now_ms), now_ms, &mut tell(arguments)).map_err(|error| error.to_string());
    drop(lock);
    saved
}

/// Lets the server save a snapshot, backs it up, and lets the server remove it again.
fn of_server(url: &str, to: &Path, arguments: &ArgMatches) -> Result<Saved, String> {
    let server = Server { url: url.trim_end_matches('/').to_owned(), token: client::token_of(arguments)? };
    let name = text(&server.ask(Method::POST, "/api/v1/admin/tsdb/snapshot")?["data"]["name"])?;
    let saved = server.path_of(&name).and_then(|path| {
        if !path.is_dir() {
            let path = path.display();
            return Err(format!("the server's snapshot {path} is not on this machine: run the backup where it is"));
        }
        save(&path, to, &name, SystemClock.now_ms(), &mut tell(arguments)).map_err(|error| error.to_string())
    });
    let removed = server.ask(Method::DELETE, &format!("/api/v1/admin/storage/snapshots/{name}"));
    let saved = saved?;
    removed.map_err(|error| format!("the backup {} is whole; its snapshot stays: {error}", saved.path.display()))?;
    Ok(saved)
}

/// A running server.
struct Server {
    url: String,
    token: Option<String>,
}

impl Server {
    fn ask(&self, method: Method, path: &str) -> Result<Value, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| format!("cannot start a runtime: {e}"))?;
        let url = format!("{}{path}", self.url);
        let token = self.token.as_deref();
        let answer = runtime.block_on(client::ask(method, &url, token, TIMEOUT))?;
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        if answer.status.is_success() {
            return Ok(body);
        }
        let error = body["error"].as_str().unwrap_or(&answer.body).to_owned();
        Err(format!("{url} answers {}: {error}", answer.status))
    }

    /// Where a snapshot is.
    fn path_of(&self, name: &str) -> Result<PathBuf, String> {
        let listed = self.ask(Method::GET, "/api/v1/admin/storage/snapshots")?;
        let rows = listed["data"].as_array().cloned().unwrap_or_default();
        let row = rows.iter().find(|row| row["name"] == name);
        let path = row.map(|row| text(&row["path"])).ok_or_else(|| format!("the server does not list {name}"))?;
        path.map(PathBuf::from)
    }
}

fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| "the server's answer is not that of Streamgauge".to_owned())
}
