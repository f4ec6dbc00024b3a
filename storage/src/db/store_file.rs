//! The file `STORE`: what a data directory is. Text for people, written once.
//!
//! ```text
//! streamgauge store
//! format 1
//! reader 1
//! id 0f1e…32 hexadecimal digits
//! created_ms 1700000000000
//! checksum 0f1e…16 hexadecimal digits
//! ```
//! `format` is that of the directory's layout; `reader` the lowest format a program must know to read it; `checksum`
//! stands last and is of all before. Lines with other words are for later versions and skipped.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use crate::error::StorageError;
use crate::format::checksum;
use crate::io::Disk;
use crate::names::Layout;

const TITLE: &str = "streamgauge store";
const CHECKSUM: &str = "checksum ";
/// The format of the layout that this version writes and knows.
const FORMAT: u32 = 1;

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoreFile {
    pub(crate) id: u128,
    pub(crate) created_ms: i64,
}

impl StoreFile {
    /// What the file of a new store says.
    pub(crate) fn new(now_ms: i64) -> Self {
        StoreFile { id: random_id(now_ms), created_ms: now_ms }
    }
}

/// Reads the file, if it is there.
///
/// # Errors
/// [`StorageError::NewerFormat`], [`StorageError::Corrupt`], I/O errors.
pub(crate) fn read(disk: &dyn Disk, layout: &Layout) -> Result<Option<StoreFile>, StorageError> {
    let path = layout.store();
    if disk.len(&path)?.is_none() {
        return Ok(None);
    }
    let bytes = disk.open(&path)?.read_all()?.into_owned();
    parse(&bytes, &path).map(Some)
}

/// Writes the file into a directory that has none.
///
/// # Errors
/// I/O errors.
pub(crate) fn write(disk: &dyn Disk, layout: &Layout, store: &StoreFile) -> Result<(), StorageError> {
    let path = layout.store();
    let temporary = layout.tmp_dir().join("STORE");
    disk.remove(&temporary)?;
    let mut file = disk.create(&temporary)?;
    file.append(render(store).as_bytes())?;
    file.sync()?;
    disk.rename(&temporary, &path)?;
    disk.sync_dir(layout.root())
}

fn render(store: &StoreFile) -> String {
    let StoreFile { id, created_ms } = store;
    let text = format!("{TITLE}\nformat {FORMAT}\nreader {FORMAT}\nid {id:032x}\ncreated_ms {created_ms}\n");
    let sum = checksum(text.as_bytes());
    format!("{text}{CHECKSUM}{sum:016x}\n")
}

/// As [`read`] does it, and fails also if it has no checksum at its end: then nobody can say that it is right.
///
/// # Errors
/// As there.
pub(crate) fn parse_strictly(bytes: &[u8], path: &Path) -> Result<StoreFile, StorageError> {
    let last = bytes.strip_suffix(b"\n").and_then(|bytes| bytes.rsplit(|byte| *byte == b'\n').next());
    if !last.is_some_and(|line| line.starts_with(CHECKSUM.as_bytes())) {
        let detail = "it has no checksum at its end".to_owned();
        return Err(StorageError::Corrupt { path: path.to_owned(), offset: 0, detail });
    }
    parse(bytes, path)
}

fn parse(bytes: &[u8], path: &Path) -> Result<StoreFile, StorageError> {
    let corrupt = |detail: &str| StorageError::Corrupt { path: path.to_owned(), offset: 0, detail: detail.to_owned() };
    let text = std::str::from_utf8(bytes).map_err(|_| corrupt("it is not text"))?;
    if let Some((before, after)) = text.rsplit_once(CHECKSUM).filter(|(before, _)| before.ends_with('\n'))
        && after.trim_end_matches('\n') != format!("{:016x}", checksum(before.as_bytes()))
    {
        return Err(corrupt("its checksum is wrong"));
    }
    let mut lines = text.lines();
    if lines.next() != Some(TITLE) {
        return Err(corrupt("it does not begin with its title"));
    }
    let (mut reader, mut id, mut created_ms) = (None, None, None);
    for (word, value) in lines.filter_map(|line| line.split_once(' ')) {
        match word {
            "reader" => reader = value.parse::<u32>().ok(),
            "id" => id = u128::from_str_radix(value, 16).ok(),
            "created_ms" => created_ms = value.parse().ok(),
            _ => {}
        }
    }
    let reader = reader.ok_or_else(|| corrupt("it does not say who can read it"))?;
    if reader > FORMAT {
        return Err(StorageError::NewerFormat { path: path.to_owned(), found: reader, known: FORMAT });
    }
    let id = id.ok_or_else(|| corrupt("it has no id"))?;
    Ok(StoreFile { id, created_ms: created_ms.unwrap_or_default() })
}

/// Tells stores apart; needs to be unlikely to repeat, not secret.
fn random_id(now_ms: i64) -> u128 {
    let half = || u128::from(RandomState::new().hash_one((now_ms, std::process::id())));
    half() << 64 | half()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::fake::FakeDisk;

    #[test]
    fn is_written_once_and_read_back() {
        let (disk, layout) = (FakeDisk::default(), Layout::new("/d"));
        disk.create_dir(&layout.tmp_dir()).unwrap();
        assert_eq!(read(&disk, &layout).unwrap(), None);
        let store = StoreFile::new(5);
        write(&disk, &layout, &store).unwrap();
        assert_eq!(read(&disk.crash(1), &layout).unwrap(), Some(store));
        assert_ne!(random_id(1), random_id(1));
    }

    #[test]
    fn no_bit_goes_unseen() {
        let good = render(&StoreFile { id: 0xAB, created_ms: 1_700_000_000_000 });
        let path = Path::new("/d/STORE");
        assert!(parse_strictly(good.as_bytes(), path).is_ok());
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone().into_bytes();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse_strictly(&bad, path).is_err(), "bit {bit}");
        }
        for cut in 0..good.len() {
            assert!(parse_strictly(&good.as_bytes()[..cut], path).is_err(), "{cut}");
        }
    }

    #[test]
    fn text_is_pinned_and_newer_ones_are_refused_by_name() {
        let store = StoreFile { id: 0xAB, created_ms: -7 };
        let text = "streamgauge store\nformat 1\nreader 1\nid 000000000000000000000000000000ab\ncreated_ms -7\n";
        assert_eq!(render(&store), format!("{text}checksum c6f9d1fe850ab87d\n"));
        let path = Path::new("/d/STORE");
        assert_eq!(parse(text.as_bytes(), path).unwrap(), store);
        assert_eq!(parse(text.replace("format 1", "format 9\nnew thing").as_bytes(), path).unwrap(), store);
        let refused = parse(text.replace("reader 1", "reader 2").as_bytes(), path).unwrap_err();
        assert_eq!(refused.to_string(), "/d/STORE has format 2, this version reads up to 1");
        for bad in ["", "streamgauge store\n", "x\nreader 1\nid 0", "streamgauge store\nreader 1\nid z", "\u{ff}"] {
            assert!(matches!(parse(bad.as_bytes(), path), Err(StorageError::Corrupt { .. })), "{bad:?}");
        }
        assert!(parse(b"\xff", path).is_err());
    }
}
