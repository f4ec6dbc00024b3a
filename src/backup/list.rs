//! The list of a backup's files, a text of its own beside them.
//!
//! ```text
//! streamgauge backup
//! format 1
//! created_ms 1700000000000
//! file 0f1e…32 hexadecimal digits 4096 segments/00000000000000000007.seg
//! checksum 0f1e…16 hexadecimal digits
//! ```
//! A hash is XXH3-128 of the file, as `xxhsum -H2` prints it; the checksum is XXH3-64 of all lines before. Lines with
//! other words are for later versions and skipped; a higher format is refused.

use std::path::{Component, Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

/// Name of the list in a backup.
pub(super) const FILE_NAME: &str = "BACKUP";
const TITLE: &str = "streamgauge backup";
const FORMAT: u32 = 1;
const CHECKSUM: &str = "checksum ";

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedFile {
    /// Its path in the backup.
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) hash: u128,
}

/// The list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct List {
    pub(super) created_ms: i64,
    /// In the order in which they were written.
    pub(super) files: Vec<ListedFile>,
}

impl List {
    pub(super) fn render(&self) -> String {
        let mut text = format!("{TITLE}\nformat {FORMAT}\ncreated_ms {}\n", self.created_ms);
        for file in &self.files {
            text.push_str(&format!("file {:032x} {} {}\n", file.hash, file.bytes, file.path.display()));
        }
        let sum = xxh3_64(text.as_bytes());
        format!("{text}{CHECKSUM}{sum:016x}\n")
    }

    /// Reads a list; the error completes the sentence "it is damaged: …".
    pub(super) fn parse(bytes: &[u8]) -> Result<List, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
        let (before, sum) =
            text.rsplit_once(CHECKSUM).filter(|(before, _)| before.ends_with('\n')).ok_or("it is cut")?;
        if sum != format!("{:016x}\n", xxh3_64(before.as_bytes())) {
            return Err("its checksum is wrong".to_owned());
        }
        let mut lines = before.lines();
        if lines.next() != Some(TITLE) {
            return Err("it does not begin with its title".to_owned());
        }
        let mut list = List::default();
        for (word, value) in lines.filter_map(|line| line.split_once(' ')) {
            match word {
                "format" if value.parse::<u32>().ok().is_none_or(|format| format > FORMAT) => {
                    return Err(format!("it has format {value}, this version reads up to {FORMAT}"));
                }
                "created_ms" => list.created_ms = value.parse().map_err(|_| "a time is none")?,
                "file" => list.files.push(parse_file(value).ok_or_else(|| format!("a line is wrong: {value:?}"))?),
                _ => {}
            }
        }
        Ok(list)
    }

    /// The entry of a path.
    pub(super) fn find(&self, path: &Path) -> Option<&ListedFile> {
        self.files.iter().find(|file| file.path == path)
    }
}

fn parse_file(line: &str) -> Option<ListedFile> {
    let mut parts = line.splitn(3, ' ');
    let (hash, bytes, path) = (parts.next()?, parts.next()?, PathBuf::from(parts.next()?));
    // A list leads nowhere but into its own directory.
    let is_inside = path.components().all(|part| matches!(part, Component::Normal(_))) && path.components().count() > 0;
    let (hash, bytes) = (u128::from_str_radix(hash, 16).ok()?, bytes.parse().ok()?);
    is_inside.then_some(ListedFile { path, bytes, hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> List {
        let file = |path: &str, bytes| ListedFile { path: path.into(), bytes, hash: 0xAB };
        List { created_ms: 7, files: vec![file("STORE", 5), file("segments/1 a.seg", 9)] }
    }

    #[test]
    fn text_is_pinned_and_no_bit_goes_unseen() {
        let text = list().render();
        let want = "streamgauge backup\nformat 1\ncreated_ms 7\n\
            file 000000000000000000000000000000ab 5 STORE\n\
            file 000000000000000000000000000000ab 9 segments/1 a.seg\nchecksum ";
        assert!(text.starts_with(want) && text.len() == want.len() + 17, "{text}");
        assert_eq!(List::parse(text.as_bytes()).unwrap(), list());
        assert_eq!(list().find(Path::new("STORE")).unwrap().bytes, 5);
        for bit in 0..text.len() * 8 {
            let mut bad = text.clone().into_bytes();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(List::parse(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn paths_lead_nowhere_else_and_later_formats_are_refused() {
        let sealed = |text: &str| format!("{text}checksum {:016x}\n", xxh3_64(text.as_bytes()));
        for path in ["../x", "/etc/x", "a/../../b", ""] {
            let text = sealed(&format!("{TITLE}\nformat 1\nfile 00 1 {path}\n"));
            assert!(List::parse(text.as_bytes()).unwrap_err().contains("a line is wrong"), "{path}");
        }
        let later = sealed(&format!("{TITLE}\nformat 2\n"));
        assert!(List::parse(later.as_bytes()).unwrap_err().contains("format 2"));
        let unknown = sealed(&format!("{TITLE}\nformat 1\nnew thing\n"));
        assert_eq!(List::parse(unknown.as_bytes()), Ok(List::default()));
    }
}
