//! The original in place of a result that is larger.

use crate::format::Format;
use crate::render::strip;

/// The smaller of a result and its original without metadata, where the two show the same pixels. An original that
/// can't be stripped without decoding it stays out.
///
/// The result has been made by then, so an original that is broken has failed.
pub fn or_smaller(encoded: Vec<u8>, format: Format, original: &[u8]) -> Vec<u8> {
    match strip::stripped(format, original) {
        Some(stripped) if stripped.len() < encoded.len() => stripped,
        _ => encoded,
    }
}
