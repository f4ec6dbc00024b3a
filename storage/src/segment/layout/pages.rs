//! The pages of the series section and of the times section.

use crate::codec::{Preference, integers};
use crate::format::{Cursor, FormatError, Put};

/// Series in a page.
pub(in crate::segment) const SERIES_PER_PAGE: usize = 256;
/// Columns of times in a page.
pub(in crate::segment) const TIMES_PER_PAGE: usize = 256;

/// What the series section says about one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::segment) struct SeriesRow {
    /// Its own set of label pairs.
    pub(in crate::segment) own: u32,
    /// The set it shares.
    pub(in crate::segment) shared: u32,
    /// Its column of times.
    pub(in crate::segment) times: u32,
    /// How many ordinals before it the series is whose blocks some of its blocks are written beside; 0 if none.
    pub(in crate::segment) base_distance: u32,
    /// Offset of its column of values in the data section.
    pub(in crate::segment) values_offset: u64,
    /// Bytes of its column of values.
    pub(in crate::segment) values_bytes: u32,
    /// Its first record in the statistics section.
    pub(in crate::segment) statistics_first: u64,
    /// Number of its records.
    pub(in crate::segment) statistics_count: u32,
}

/// A page of the series section.
///
/// Bytes: a stream of own sets, a stream of shared sets, then the part that [`SeriesPage::encode_places`] writes: where
/// the first series' data begins (varint), index of its first statistics record (varint), and streams of: the column of
/// times, distances to bases, bytes between the end of the values before and the start of these (a column of times that was new), bytes of
/// the values, number of statistics records.
#[derive(Debug, Default)]
pub(in crate::segment) struct SeriesPage {
    pub(in crate::segment) rows: Vec<SeriesRow>,
}

impl SeriesPage {
    /// Appends the label sets of the rows.
    pub(in crate::segment) fn encode_sets(own: &[i64], shared: &[i64], out: &mut Vec<u8>) {
        integers::encode(own, Preference::Speed, out);
        integers::encode(shared, Preference::Speed, out);
    }

    /// Appends everything else; `data_offset` is where the values of the series before this page end.
    pub(in crate::segment) fn encode_places(rows: &[SeriesRow], data_offset: u64, out: &mut Vec<u8>) {
        out.put_varint(data_offset);
        out.put_varint(rows.first().map_or(0, |row| row.statistics_first));
        let column = |of: fn(&SeriesRow) -> u32| rows.iter().map(|row| i64::from(of(row))).collect::<Vec<_>>();
        let mut end = data_offset;
        let mut skipped = Vec::with_capacity(rows.len());
        for row in rows {
            skipped.push((row.values_offset - end).cast_signed());
            end = row.values_offset + u64::from(row.values_bytes);
        }
        integers::encode(&column(|row| row.times), Preference::Speed, out);
        integers::encode(&column(|row| row.base_distance), Preference::Speed, out);
        integers::encode(&skipped, Preference::Speed, out);
        integers::encode(&column(|row| row.values_bytes), Preference::Speed, out);
        integers::encode(&column(|row| row.statistics_count), Preference::Speed, out);
    }

    /// Reads the page of `count` series.
    pub(in crate::segment) fn decode(bytes: &[u8], count: usize) -> Result<SeriesPage, FormatError> {
        let mut cursor = Cursor::new(bytes);
        let mut rows = vec![SeriesRow::default(); count.min(SERIES_PER_PAGE)];
        decode_column(&mut cursor, &mut rows, |row, value| row.own = value)?;
        decode_column(&mut cursor, &mut rows, |row, value| row.shared = value)?;
        let (mut end, mut statistics) = (cursor.varint()?, cursor.varint()?);
        decode_column(&mut cursor, &mut rows, |row, value| row.times = value)?;
        decode_column(&mut cursor, &mut rows, |row, value| row.base_distance = value)?;
        decode_column(&mut cursor, &mut rows, |row, value| row.values_offset = u64::from(value))?;
        decode_column(&mut cursor, &mut rows, |row, value| row.values_bytes = value)?;
        decode_column(&mut cursor, &mut rows, |row, value| row.statistics_count = value)?;
        cursor.finish()?;
        for row in &mut rows {
            row.values_offset = end.saturating_add(row.values_offset);
            end = row.values_offset.saturating_add(u64::from(row.values_bytes));
            row.statistics_first = statistics;
            statistics = statistics.saturating_add(u64::from(row.statistics_count));
        }
        Ok(SeriesPage { rows })
    }
}

fn decode_column<T>(
    cursor: &mut Cursor<'_>,
    rows: &mut [T],
    mut set: impl FnMut(&mut T, u32),
) -> Result<(), FormatError> {
    let count = rows.len();
    let mut rows = rows.iter_mut();
    integers::decode_with(cursor, count, |values| {
        for (value, row) in values.iter().zip(rows.by_ref()) {
            let value = u32::try_from(*value).map_err(|_| FormatError::new("an id or a length is out of range"))?;
            set(row, value);
        }
        Ok(())
    })
}

/// What the times section says about one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::segment) struct TimesRow {
    /// Offset of the column in the data section.
    pub(in crate::segment) offset: u64,
    /// Its bytes.
    pub(in crate::segment) bytes: u32,
    /// Number of times in it.
    pub(in crate::segment) count: u32,
    /// Its first time.
    pub(in crate::segment) first_ms: i64,
    /// Its last time.
    pub(in crate::segment) last_ms: i64,
}

/// A page of the times section. Bytes: streams of offsets, bytes, counts, first times, and last times less first ones.
#[derive(Debug, Default)]
pub(in crate::segment) struct TimesPage {
    pub(in crate::segment) rows: Vec<TimesRow>,
}

impl TimesPage {
    /// Appends a page.
    pub(in crate::segment) fn encode(rows: &[TimesRow], out: &mut Vec<u8>) {
        let column = |of: fn(&TimesRow) -> i64| rows.iter().map(of).collect::<Vec<_>>();
        integers::encode(&column(|row| row.offset.cast_signed()), Preference::Speed, out);
        integers::encode(&column(|row| i64::from(row.bytes)), Preference::Speed, out);
        integers::encode(&column(|row| i64::from(row.count)), Preference::Speed, out);
        integers::encode(&column(|row| row.first_ms), Preference::Speed, out);
        integers::encode(&column(|row| row.last_ms.wrapping_sub(row.first_ms)), Preference::Speed, out);
    }

    /// Reads the page of `count` columns.
    pub(in crate::segment) fn decode(bytes: &[u8], count: usize) -> Result<TimesPage, FormatError> {
        let mut cursor = Cursor::new(bytes);
        let mut rows = vec![TimesRow::default(); count.min(TIMES_PER_PAGE)];
        let count = rows.len();
        let mut column = Vec::with_capacity(count);
        integers::decode(&mut cursor, count, &mut column)?;
        rows.iter_mut().zip(column.drain(..)).for_each(|(row, offset)| row.offset = offset.cast_unsigned());
        decode_column(&mut cursor, &mut rows, |row, value| row.bytes = value)?;
        decode_column(&mut cursor, &mut rows, |row, value| row.count = value)?;
        integers::decode(&mut cursor, count, &mut column)?;
        rows.iter_mut().zip(column.drain(..)).for_each(|(row, first)| row.first_ms = first);
        integers::decode(&mut cursor, count, &mut column)?;
        rows.iter_mut().zip(column.drain(..)).for_each(|(row, span)| row.last_ms = row.first_ms.wrapping_add(span));
        cursor.finish()?;
        Ok(TimesPage { rows })
    }
}
