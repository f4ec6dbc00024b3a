//! Stands in where the crate is built without the feature `parquet`, as for fuzzing.

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use model::{Labels, Metadata, SampleColumns};

use super::{CheckedFile, DayFile, RowColumns};
use crate::error::StorageError;
use crate::io::Disk;
use crate::names::Layout;
use crate::segment::{SegmentInfo, SegmentMeta, ValueRows};

fn absent(path: &Path) -> StorageError {
    let source = Error::new(ErrorKind::Unsupported, "built without the feature parquet");
    StorageError::Io { operation: "open", path: path.to_owned(), source }
}

/// Never there.
#[derive(Debug)]
pub(crate) struct DayWriter<'a>(std::convert::Infallible, std::marker::PhantomData<&'a Path>);

impl<'a> DayWriter<'a> {
    pub(crate) fn create(
        _: &'a dyn Disk,
        _: &'a Layout,
        _: &'a RowColumns,
        (_, index): (u64, &Path),
        _: i64,
        _: SegmentMeta,
    ) -> Result<Self, StorageError> {
        Err(absent(index))
    }

    pub(crate) fn set_metadata(&mut self, _: &[(String, Metadata)]) {
        match self.0 {}
    }

    pub(crate) fn add_series(&mut self, _: &Labels, _: &SampleColumns) -> Result<(), StorageError> {
        match self.0 {}
    }

    pub(crate) fn finish(self) -> Result<(SegmentInfo, Vec<DayFile>), StorageError> {
        match self.0 {}
    }
}

pub(crate) fn open_rows(
    _: &dyn Disk,
    parquet_dir: &Path,
    _: &[CheckedFile],
) -> Result<Arc<dyn ValueRows>, StorageError> {
    Err(absent(parquet_dir))
}
