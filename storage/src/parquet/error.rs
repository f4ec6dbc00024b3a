//! Errors of the library as ours.

use std::path::Path;

use parquet::errors::ParquetError;

use crate::error::StorageError;
use crate::format::FormatError;

/// An error of the library while a file was written.
pub(super) fn writing(path: &Path, error: ParquetError) -> StorageError {
    match unwrapped(error) {
        Ok(error) => error,
        Err(source) => StorageError::Io { operation: "write", path: path.to_owned(), source },
    }
}

/// An error of the library while a file was read: what is not the disk's is the file's.
pub(super) fn reading(path: &Path, error: ParquetError) -> StorageError {
    unwrapped(error).unwrap_or_else(|_| FormatError::new("it is no Parquet file of ours").in_file(path, 0))
}

/// The error of ours that the library passed on.
fn unwrapped(error: ParquetError) -> Result<StorageError, std::io::Error> {
    match error {
        ParquetError::External(inner) => match inner.downcast::<StorageError>() {
            Ok(error) => Ok(*error),
            Err(inner) => match inner.downcast::<std::io::Error>() {
                Ok(error) => from_io(*error),
                Err(inner) => Err(std::io::Error::other(inner)),
            },
        },
        other => Err(std::io::Error::other(other)),
    }
}

fn from_io(error: std::io::Error) -> Result<StorageError, std::io::Error> {
    if error.get_ref().is_none_or(|inner| !inner.is::<StorageError>()) {
        return Err(error);
    }
    let inner = error.into_inner().and_then(|inner| inner.downcast::<StorageError>().ok());
    inner.map(|error| *error).ok_or_else(|| std::io::Error::other("an error without a cause"))
}
