//! `streamgauge verify`: says whether a data directory is sound, and what each damage touches. Exits 1 on damage.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::{Map, Value, json};
use storage::{FoundDamage, Touched, TouchedSeries, VerifyOptions, VerifyReport, verify};

use super::offline::{data_flag, format_flag, is_json, path_of, print_json, times_json, times_text};
use crate::catalog;
use crate::jobs;
use crate::parquet_store::{PLACEMENT_FILE, files_in_store};

const ABOUT: &str = "Verifies a data directory, a snapshot or a backup: every checksum and every block";

const NOTES: &str = "\
It only reads, and takes no lock: it may run beside a server. Exit code: 0 if all is sound, 1 if something is damaged or \
cannot be read. What each finding means and what to do: docs/operations.md.";

pub(super) fn command() -> Command {
    let series = Arg::new("series")
        .long("series")
        .value_name("N")
        .value_parser(value_parser!(usize))
        .default_value("20")
        .help("Most series that are listed for one damage; all are counted.");
    Command::new("verify").about(ABOUT).after_help(NOTES).arg(data_flag()).arg(format_flag()).arg(series)
}

pub(super) fn run(arguments: &ArgMatches) -> Result<(), String> {
    let data = path_of(arguments, "data");
    let series_max = arguments.get_one::<usize>("series").copied().unwrap_or_default();
    let report = verify_all(&data, series_max)?;
    if is_json(arguments) {
        print_json(&as_json(&report));
    } else {
        print!("{}", as_text(&data, &report));
    }
    match report.damage.len() {
        0 => Ok(()),
        count => Err(format!("{} is damaged in {count} places", data.display())),
    }
}

/// Verifies the store and the catalog beside it.
pub(super) fn verify_all(data: &Path, series_max: usize) -> Result<VerifyReport, String> {
    let (elsewhere, placement) = match files_in_store(data) {
        Ok(files) => (files, None),
        Err(detail) => (BTreeSet::new(), Some(detail)),
    };
    let options = VerifyOptions { series_max, elsewhere };
    let mut report = verify(data, options).map_err(|error| error.to_string())?;
    report.damage.extend(placement.map(|detail| {
        let effect =
            "a start refuses it: put the file back from a backup, or what is only in the store counts as missing";
        beside(data.join(PLACEMENT_FILE), "placement", detail, effect)
    }));
    let path = data.join(catalog::FILE_NAME);
    if let Ok(metadata) = std::fs::metadata(&path) {
        report.files += 1;
        report.bytes += metadata.len();
        let effect = "a start puts the file into the quarantine if it cannot read it, and begins a new one: components \
                      register again, retention rules must be set again";
        let damage = catalog::check(&path).into_iter().map(|detail| beside(path.clone(), "database", detail, effect));
        report.damage.extend(damage);
        if report.damage.iter().all(|damage| damage.path != path) {
            let effect = "what shows the document fails or shows it as it is; the rest is served. A restored backup has it whole";
            let damage = jobs::check(&path).into_iter().map(|detail| beside(path.clone(), "jobs", detail, effect));
            report.damage.extend(damage);
        }
    }
    Ok(report)
}

/// A damage of a file beside the store, which touches no series.
fn beside(path: PathBuf, section: &str, detail: String, effect: &str) -> FoundDamage {
    let touched = Touched { series_count: Some(0), ..Touched::default() };
    FoundDamage { path, offset: None, sections: vec![section.to_owned()], detail, effect: effect.to_owned(), touched }
}

fn as_text(data: &Path, report: &VerifyReport) -> String {
    let mut lines: Vec<String> = report.damage.iter().map(damage_text).collect();
    lines.extend(report.notes.iter().map(|note| format!("note     {note}")));
    let verdict = match report.damage.len() {
        0 => "sound".to_owned(),
        count => format!("damaged in {count} places"),
    };
    lines.push(format!(
        "{}: {verdict}; {} files, {} bytes, {} series with {} samples in segments, {} WAL records",
        data.display(),
        report.files,
        report.bytes,
        report.series,
        report.samples,
        report.wal_records
    ));
    lines.push(String::new());
    lines.join("\n")
}

fn damage_text(damage: &FoundDamage) -> String {
    let place = damage.offset.map_or_else(String::new, |offset| format!(", byte {offset}"));
    let touched = &damage.touched;
    let count = match touched.series_count {
        Some(count) => format!("{count} series"),
        None => "series unknown, perhaps all".to_owned(),
    };
    let mut lines = vec![
        format!("damage   {}{place}: {}", damage.path.display(), damage.sections.join(", ")),
        format!("         {}", damage.detail),
        format!("effect   {}", damage.effect),
        format!("touches  {count}, {}", times_text(touched.times)),
    ];
    lines.extend(touched.series.iter().map(|series| format!("         {}", series_text(series))));
    let listed = touched.series.len() as u64;
    if let Some(more) = touched.series_count.map(|count| count.saturating_sub(listed)).filter(|more| *more > 0) {
        lines.push(format!("         and {more} more"));
    }
    lines.join("\n")
}

fn series_text(series: &TouchedSeries) -> String {
    let labels = series.labels.as_ref().map_or_else(|| "labels lost".to_owned(), ToString::to_string);
    let sure = if series.is_sure { "" } else { " (read from damaged bytes)" };
    format!("{labels}{sure}: {}", times_text(series.times))
}

/// For programs.
pub(super) fn as_json(report: &VerifyReport) -> Value {
    json!({
        "sound": report.damage.is_empty(),
        "files": report.files,
        "bytes": report.bytes,
        "series": report.series,
        "samples": report.samples,
        "walRecords": report.wal_records,
        "damage": report.damage.iter().map(damage_json).collect::<Vec<_>>(),
        "notes": report.notes,
    })
}

fn damage_json(damage: &FoundDamage) -> Value {
    let series = damage.touched.series.iter().map(|series| {
        let labels = series.labels.as_ref().map(|labels| {
            labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect::<Map<_, _>>()
        });
        json!({"labels": labels, "times": times_json(series.times), "sure": series.is_sure})
    });
    json!({
        "file": damage.path.display().to_string(),
        "offset": damage.offset,
        "sections": damage.sections,
        "detail": damage.detail,
        "effect": damage.effect,
        "seriesCount": damage.touched.series_count,
        "series": series.collect::<Vec<_>>(),
        "times": times_json(damage.touched.times),
    })
}
