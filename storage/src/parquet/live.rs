//! `parquet/_live.json`: exactly the files that count, for readers that look while files are exchanged.

use std::fmt::Write;

use super::files::{DayFile, FileKind};
use crate::error::StorageError;
use crate::io::Disk;
use crate::manifest::{Manifest, SegmentEntry};
use crate::names::Layout;
use crate::retention::day_text;

const NAME: &str = "_live.json";

/// Writes the list anew: `{"version":1,"days":[{"dt":"…","samples":[{"path":"…","bytes":…,"rows":…}],"series":[…]}]}`,
/// paths below `parquet/`.
///
/// # Errors
/// [`StorageError::Io`]; the old list stays then.
pub(crate) fn write_list(disk: &dyn Disk, layout: &Layout, manifest: &Manifest) -> Result<(), StorageError> {
    let (dir, temporary) = (layout.parquet_dir(), layout.tmp_dir().join(NAME));
    disk.create_dir(&dir)?;
    disk.remove(&temporary)?;
    let mut file = disk.create(&temporary)?;
    file.append(text(&days(manifest)).as_bytes())?;
    file.sync()?;
    disk.rename(&temporary, &dir.join(NAME))?;
    disk.sync_dir(&dir)
}

/// The days and their files, in order.
fn days(manifest: &Manifest) -> Vec<(i64, Vec<DayFile>)> {
    let of = |entry: &SegmentEntry| Some((entry.day.filter(|_| entry.is_parquet())?, entry.files.clone()));
    let mut days: Vec<_> = manifest.segments.iter().filter_map(of).collect();
    days.sort_by_key(|(day, _)| *day);
    days
}

/// Names are made of letters, digits and a few signs: nothing to escape.
fn text(days: &[(i64, Vec<DayFile>)]) -> String {
    let list = |files: &[DayFile], kind: FileKind| {
        let of_kind = files.iter().filter(|file| file.kind == kind);
        let one = |f: &DayFile| format!("{{\"path\":\"{}\",\"bytes\":{},\"rows\":{}}}", f.name, f.bytes, f.rows);
        of_kind.map(one).collect::<Vec<_>>().join(",")
    };
    let mut out = String::from("{\"version\":1,\"days\":[");
    for (place, (day, files)) in days.iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        let (samples, series) = (list(files, FileKind::Samples), list(files, FileKind::Series));
        let dt = day_text(*day);
        let _ = write!(out, "{comma}\n{{\"dt\":\"{dt}\",\"samples\":[{samples}],\"series\":[{series}]}}");
    }
    out.push_str("]}\n");
    out
}
