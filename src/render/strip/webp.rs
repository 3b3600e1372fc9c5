//! WebP (RFC 9649): the container is written anew around the pictures.

use super::exif;
use super::reader::Reader;

// Flags of VP8X (§2.7.1).
const HAS_PROFILE: u8 = 0x20;
const HAS_ALPHA: u8 = 0x10;
const IS_ANIMATED: u8 = 0x02;

/// The picture without metadata.
pub fn stripped(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(bytes);
    if reader.take(4)? != b"RIFF" {
        return None;
    }
    // It may be less than the file has; what follows is no part of it (§2.4).
    let size = u32::from_le_bytes(reader.array()?);
    let mut chunks = Reader(reader.take(usize::try_from(size).ok()?)?);
    if chunks.take(4)? != b"WEBP" {
        return None;
    }
    let mut out = b"RIFF\0\0\0\0WEBP".to_vec();
    out.reserve(bytes.len());
    let (mut extended, mut pictures) = (None, 0);
    let mut first = true;
    while !chunks.is_empty() {
        let kind: [u8; 4] = chunks.array()?;
        let length: [u8; 4] = chunks.array()?;
        let body = chunks.take(usize::try_from(u32::from_le_bytes(length)).ok()?)?;
        if body.len() % 2 == 1 && chunks.byte()? != 0 {
            return None;
        }
        match &kind {
            b"VP8X" if first => {
                let [flags, rest @ ..]: [u8; 10] = body.try_into().ok()?;
                if flags & HAS_PROFILE != 0 {
                    return None;
                }
                extended = Some(flags);
                let mut kept = [flags & (HAS_ALPHA | IS_ANIMATED); 10];
                kept[1..].copy_from_slice(&rest);
                put(&mut out, &kind, &kept)?;
            }
            b"VP8 " | b"VP8L" if first || extended.is_some_and(|flags| flags & IS_ANIMATED == 0) => {
                pictures += 1;
                put(&mut out, &kind, body)?;
            }
            b"ALPH" if extended.is_some_and(|flags| flags & IS_ANIMATED == 0) => put(&mut out, &kind, body)?,
            b"ANIM" if extended.is_some_and(|flags| flags & IS_ANIMATED != 0) => put(&mut out, &kind, body)?,
            b"ANMF" if extended.is_some_and(|flags| flags & IS_ANIMATED != 0) => {
                pictures += 1;
                put(&mut out, &kind, body)?;
            }
            b"EXIF" if extended.is_some() => {
                // Some writers put JPEG's prefix before it.
                let tiff = body.strip_prefix(b"Exif\0\0").unwrap_or(body);
                if !exif::is_upright(tiff) {
                    return None;
                }
            }
            b"XMP " if extended.is_some() => {}
            _ => return None,
        }
        first = false;
    }
    let moves = extended.is_some_and(|flags| flags & IS_ANIMATED != 0);
    if pictures == 0 || (pictures > 1 && !moves) {
        return None;
    }
    let size = u32::try_from(out.len()).ok()?.checked_sub(8)?;
    out.get_mut(4..8)?.copy_from_slice(&size.to_le_bytes());
    Some(out)
}

/// Appends a chunk (§2.3).
fn put(out: &mut Vec<u8>, kind: &[u8; 4], body: &[u8]) -> Option<()> {
    out.extend_from_slice(kind);
    out.extend_from_slice(&u32::try_from(body.len()).ok()?.to_le_bytes());
    out.extend_from_slice(body);
    if body.len() % 2 == 1 {
        out.push(0);
    }
    Some(())
}
