//! What is in the store, remembered in the data directory: `parquet-store.json`, replaced as a whole.
//!
//! ```json
//! {"version":1,"owner":"0f1e…","store":"s3://bucket/prefix",
//!  "files":{"samples/dt=2026-11-01/…":{"bytes":1234,"etag":"…"}},"doomed":["samples/dt=2026-10-01/…"],
//!  "aside":{}}
//! ```
//! A file is in `files` only after its upload was verified, and a local copy goes only after that is durable here. Names
//! in `doomed` are no longer ours and still have to be removed from the store; those in `aside` were found corrupt and are
//! left there for people to look at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::client::Object;

/// The file's name in the data directory.
pub const FILE: &str = "parquet-store.json";
/// The version that is written, and the newest that is read.
const VERSION: u32 = 1;

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Document {
    version: u32,
    /// Marks the objects of this data directory, so that no two share a prefix.
    pub(super) owner: String,
    /// Where the objects are.
    pub(super) store: String,
    /// What is there.
    pub(super) files: BTreeMap<String, Object>,
    /// What is to be removed there.
    pub(super) doomed: BTreeSet<String>,
    /// What is no longer used there, and not removed.
    pub(super) aside: BTreeMap<String, Object>,
}

/// The document and its file.
#[derive(Debug)]
pub(super) struct Placement {
    path: PathBuf,
    document: Mutex<Document>,
}

impl Placement {
    /// Reads the file; none if there is no such file.
    ///
    /// # Errors
    /// A text that names the file, also if a newer version wrote it.
    pub(super) fn read(data: &Path) -> Result<Option<Document>, String> {
        let path = data.join(FILE);
        let wrong = |what: String| format!("{}: {what}", path.display());
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head = serde_json::from_str(&text).map_err(|e| wrong(format!("it is damaged: {e}")))?;
        if head.version > VERSION {
            return Err(wrong(format!("it has version {}, this program reads up to {VERSION}", head.version)));
        }
        serde_json::from_str(&text).map(Some).map_err(|e| wrong(format!("it is damaged: {e}")))
    }

    /// The placement in this store, read or begun.
    ///
    /// # Errors
    /// A text, if files are only in another store.
    pub(super) fn open(data: &Path, store: &str, owner: impl FnOnce() -> String) -> Result<Placement, String> {
        let document = match Placement::read(data)? {
            Some(document) if document.store == store => document,
            Some(document) => {
                let away = document.only_there(data);
                if away > 0 {
                    let old = document.store;
                    return Err(format!(
                        "parquet.store is {store}, but {away} files are only in {old}: move them first"
                    ));
                }
                Document::new(&document.owner, store)
            }
            None => Document::new(&owner(), store),
        };
        Ok(Placement { path: data.join(FILE), document: Mutex::new(document) })
    }

    /// Looks at the document.
    pub(super) fn look<T>(&self, at: impl FnOnce(&Document) -> T) -> T {
        at(&self.document.lock())
    }

    /// Changes the document, durably; only then does the change count.
    ///
    /// # Errors
    /// [`std::io::Error`]; nothing has changed then as far as this process is concerned.
    pub(super) fn change(&self, change: impl FnOnce(&mut Document)) -> std::io::Result<()> {
        let mut document = self.document.lock();
        let mut next = document.clone();
        change(&mut next);
        if next == *document {
            return Ok(());
        }
        self.write(&next)?;
        *document = next;
        Ok(())
    }

    /// Makes the document durable as it is.
    ///
    /// # Errors
    /// [`std::io::Error`].
    pub(super) fn keep(&self) -> std::io::Result<()> {
        self.write(&self.document.lock())
    }

    fn write(&self, document: &Document) -> std::io::Result<()> {
        let temporary = self.path.with_extension("json.new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(document)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)?;
        if let Some(dir) = self.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }
}

impl Document {
    /// One without any file.
    pub(super) fn new(owner: &str, store: &str) -> Document {
        let (owner, store) = (owner.to_owned(), store.to_owned());
        Document {
            version: VERSION,
            owner,
            store,
            files: BTreeMap::new(),
            doomed: BTreeSet::new(),
            aside: BTreeMap::new(),
        }
    }

    /// True if nothing is known of the store.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.doomed.is_empty() && self.aside.is_empty()
    }

    /// Files that have no local copy.
    pub(super) fn only_there(&self, data: &Path) -> usize {
        let parquet = data.join(super::PARQUET_DIR);
        self.files.keys().filter(|name| !parquet.join(name).exists()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "samples/dt=2026-11-01/a.parquet";

    fn open(data: &Path, store: &str) -> Result<Placement, String> {
        Placement::open(data, store, || "me".to_owned())
    }

    fn add(placement: &Placement) {
        let object = Object { bytes: 3, etag: Some("\"e\"".to_owned()) };
        placement.change(|d| d.files.extend([(A.to_owned(), object)])).unwrap();
    }

    /// The bytes of version 1: they stay readable.
    #[test]
    fn the_file_is_as_described() {
        let data = tempfile::tempdir().unwrap();
        let placement = open(data.path(), "s3://b/p").unwrap();
        add(&placement);
        placement.change(|d| d.doomed.extend(["dt=x".to_owned()])).unwrap();
        let written = std::fs::read_to_string(data.path().join(FILE)).unwrap();
        let expected = r#"{"version":1,"owner":"me","store":"s3://b/p","files":{"samples/dt=2026-11-01/a.parquet":{"bytes":3,"etag":"\"e\""}},"doomed":["dt=x"],"aside":{}}"#;
        assert_eq!(written, expected);
        let again = open(data.path(), "s3://b/p").unwrap();
        assert_eq!(again.look(Document::clone), placement.look(Document::clone));
    }

    #[test]
    fn another_store_is_taken_only_if_nothing_is_left_behind() {
        let data = tempfile::tempdir().unwrap();
        add(&open(data.path(), "s3://old").unwrap());
        let error = open(data.path(), "s3://new").unwrap_err();
        assert!(error.contains("1 files are only in s3://old"), "{error}");
        let local = data.path().join(super::super::PARQUET_DIR).join(A);
        std::fs::create_dir_all(local.parent().unwrap()).unwrap();
        std::fs::write(local, "abc").unwrap();
        assert!(open(data.path(), "s3://new").unwrap().look(|d| d.files.is_empty()));
    }

    #[test]
    fn a_damaged_or_newer_file_is_refused_by_name() {
        let data = tempfile::tempdir().unwrap();
        for (text, why) in [("{", "damaged"), (r#"{"version":2}"#, "version 2"), (r#"{"version":1}"#, "damaged")] {
            std::fs::write(data.path().join(FILE), text).unwrap();
            let error = open(data.path(), "s3://b").unwrap_err();
            assert!(error.contains(FILE) && error.contains(why), "{error}");
        }
    }
}
