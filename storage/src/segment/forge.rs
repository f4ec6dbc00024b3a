//! Makes the checksums of a damaged segment right again, so that tests reach what lies behind them.

use super::{frames, layout};
use crate::format::{Put, checksum, u32_at};

/// The same content with matching checksums; none if not even the footer can be read.
pub(crate) fn reseal(bytes: &[u8]) -> Option<Vec<u8>> {
    let trailer_at = bytes.len().checked_sub(layout::TRAILER_BYTES)?;
    let footer_bytes = u32_at(bytes, trailer_at + 8)? as usize;
    let footer_at = trailer_at.checked_sub(footer_bytes)?;
    let mut footer = layout::Footer::decode(bytes.get(footer_at..trailer_at)?).ok()?;
    let mut out = bytes.get(..usize::try_from(footer.frames_end).ok()?)?.to_vec();
    let mut table = Vec::new();
    out.chunks(frames::FRAME_BYTES).for_each(|frame| table.put_u64(checksum(frame)));
    footer.table_checksum = checksum(&table);
    out.extend_from_slice(&table);
    out.extend_from_slice(&footer.encode());
    Some(out)
}
