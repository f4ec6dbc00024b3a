//! What is known about metric families.

use model::{Metadata, MetricType};

use crate::format::{Cursor, FormatError, Put};

const TYPES: [MetricType; 8] = [
    MetricType::Unknown,
    MetricType::Counter,
    MetricType::Gauge,
    MetricType::Histogram,
    MetricType::GaugeHistogram,
    MetricType::Summary,
    MetricType::Info,
    MetricType::StateSet,
];

/// Appends what is known about metric families. For each: the family (text), the type (a byte: 0 unknown, 1 counter,
/// 2 gauge, 3 histogram, 4 gauge histogram, 5 summary, 6 info, 7 state set), help (text), unit (text). The section is
/// the length of this (varint) and its zstd frame, or empty if nothing is known.
pub(in crate::segment) fn encode_metadata(families: &[(String, Metadata)], out: &mut Vec<u8>) {
    for (family, metadata) in families {
        out.put_text(family);
        let number = TYPES.iter().position(|t| *t == metadata.metric_type).unwrap_or(0);
        out.put_u8(number as u8);
        out.put_text(&metadata.help);
        out.put_text(&metadata.unit);
    }
}

/// Reads what [`encode_metadata`] wrote.
pub(in crate::segment) fn decode_metadata(bytes: &[u8]) -> Result<Vec<(String, Metadata)>, FormatError> {
    let mut cursor = Cursor::new(bytes);
    let mut families = Vec::new();
    while !cursor.is_empty() {
        let family = cursor.text()?.to_owned();
        let number = usize::from(cursor.u8()?);
        let metric_type = *TYPES.get(number).ok_or_else(|| cursor.error("an unknown metric type"))?;
        let (help, unit) = (cursor.text()?.to_owned(), cursor.text()?.to_owned());
        families.push((family, Metadata { metric_type, help, unit }));
    }
    Ok(families)
}
