//! Targets from files. Changes are seen by looking at the files' times and sizes: that works on every file system, also
//! where files are mounted from elsewhere and nobody tells of changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

use super::Update;
use crate::scrape::blocking::blocking;
use crate::scrape::config::{FileSd, TargetGroup, read_groups};
use crate::scrape::glob;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where a target was found.
const META_FILEPATH: &str = "__meta_filepath";

/// Reads the files whenever one changed, appeared or went, and at least every `refresh_interval`.
pub(super) async fn run(options: FileSd, job: String, source: usize, updates: mpsc::Sender<Update>) {
    let mut files = Files { options, job, known: BTreeMap::new() };
    let mut read_at: Option<Instant> = None;
    loop {
        let is_due = read_at.is_none_or(|at| at.elapsed() >= files.options.refresh.std());
        // File systems can hang; threads for that can be spared, those that run tasks cannot.
        let looked = blocking(move || {
            let has_changed = files.look(is_due);
            (files, has_changed)
        });
        let Ok((back, has_changed)) = looked.await else { return };
        files = back;
        if is_due {
            read_at = Some(Instant::now());
        }
        if has_changed && updates.send(Update { source, groups: files.groups() }).await.is_err() {
            return;
        }
        tokio::time::sleep(LOOK_EVERY.min(files.options.refresh.std())).await;
    }
}

struct Files {
    options: FileSd,
    job: String,
    known: BTreeMap<PathBuf, File>,
}

struct File {
    stamp: Option<(SystemTime, u64)>,
    /// What the file said when it could last be read.
    groups: Vec<TargetGroup>,
    error: Option<String>,
}

impl Files {
    /// Reads what changed, or everything; true if something is different, and the first time.
    fn look(&mut self, everything: bool) -> bool {
        let paths: Vec<PathBuf> = self.options.files.iter().flat_map(|pattern| self.paths(pattern)).collect();
        let is_first = self.known.is_empty() && everything;
        let count = self.known.len();
        self.known.retain(|path, _| paths.contains(path));
        let mut has_changed = is_first || self.known.len() != count;
        for path in paths {
            let stamp = std::fs::metadata(&path).ok().and_then(|m| Some((m.modified().ok()?, m.len())));
            let is_same = self.known.get(&path).is_some_and(|file| file.stamp == stamp);
            if !is_same || everything {
                has_changed |= self.read(path, stamp);
            }
        }
        has_changed
    }

    fn paths(&self, pattern: &Path) -> Vec<PathBuf> {
        glob::files(pattern).unwrap_or_else(|error| {
            tracing::warn!(job = self.job, pattern = %pattern.display(), %error, "file_sd");
            Vec::new()
        })
    }

    fn read(&mut self, path: PathBuf, stamp: Option<(SystemTime, u64)>) -> bool {
        let mut read = match std::fs::read_to_string(&path) {
            Ok(text) => read_groups(&text),
            // A file that went takes its targets with it; one that cannot be read does not.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        };
        let shown = path.display().to_string();
        for group in read.iter_mut().flatten() {
            group.labels.push((META_FILEPATH.to_owned(), shown.clone()));
        }
        let known = self.known.entry(path).or_insert(File { stamp: None, groups: Vec::new(), error: None });
        known.stamp = stamp;
        match read {
            Ok(groups) => {
                known.error = None;
                let has_changed = known.groups != groups;
                known.groups = groups;
                has_changed
            }
            Err(error) => {
                if known.error.as_ref() != Some(&error) {
                    tracing::warn!(job = self.job, file = shown, error, "file_sd: the targets stay as they were");
                    known.error = Some(error);
                }
                false
            }
        }
    }

    fn groups(&self) -> Vec<TargetGroup> {
        self.known.values().flat_map(|file| file.groups.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_change_break_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let refresh = crate::config::Duration(300_000);
        let options = FileSd { files: vec![dir.path().join("*.json")], refresh };
        let mut files = Files { options, job: "j".into(), known: BTreeMap::new() };
        let addresses = |files: &Files| -> Vec<String> { files.groups().into_iter().flat_map(|g| g.targets).collect() };
        assert!(files.look(true), "the first look always reports, so that the job knows there is nothing");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("a.json", r#"[{"targets": ["a:1"]}]"#);
        assert!(files.look(false));
        assert_eq!(addresses(&files), ["a:1"]);
        assert_eq!(files.groups()[0].labels[0].0, "__meta_filepath");
        assert!(!files.look(false) && !files.look(true), "nothing changed");
        write("a.json", "broken");
        assert!(!files.look(false));
        assert_eq!(addresses(&files), ["a:1"], "what it said last");
        write("b.json", r#"[{"targets": ["b:1"]}]"#);
        write("a.json", r#"[{"targets": ["a:1", "a:2"]}]"#);
        assert!(files.look(false));
        assert_eq!(addresses(&files), ["a:1", "a:2", "b:1"]);
        std::fs::remove_file(dir.path().join("a.json")).unwrap();
        assert!(files.look(false));
        assert_eq!(addresses(&files), ["b:1"]);
    }
}
