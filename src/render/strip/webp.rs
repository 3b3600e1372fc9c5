//! WebP (RFC 9649): the container is written anew around the images.

use super::exif;
use super::kept::Kept;
use crate::render::codec::cursor::Cursor;
use crate::render::codec::webp::{self, HAS_ALPHA, HAS_PROFILE, IS_ANIMATED};

/// The image without metadata.
pub fn stripped(bytes: &[u8], mut out: Kept) -> Option<Vec<u8>> {
    let mut reader = Cursor::new(bytes);
    if reader.take(4)? != b"RIFF" {
        return None;
    }
    // It may be less than the file has; what follows is no part of it (§2.4).
    let size = u32::from_le_bytes(reader.array()?);
    let mut chunks = Cursor::new(reader.take(usize::try_from(size).ok()?)?);
    if chunks.take(4)? != b"WEBP" {
        return None;
    }
    out.add(b"RIFF\0\0\0\0WEBP")?;
    let (mut extended, mut images) = (None, 0);
    let mut first = true;
    while !chunks.is_empty() {
        let webp::Chunk { kind, data: body, .. } =
            webp::chunk(&mut chunks).filter(|chunk| chunk.is_whole)?;
        match &kind {
            b"VP8X" if first => {
                let [flags, _, _, _, size @ ..]: [u8; 10] = body.try_into().ok()?;
                if flags & HAS_PROFILE != 0 {
                    return None;
                }
                extended = Some(flags);
                let kept = [flags & (HAS_ALPHA | IS_ANIMATED), 0, 0, 0];
                put(&mut out, &kind, &[kept.as_slice(), &size].concat())?;
            }
            b"VP8 " | b"VP8L"
                if first || extended.is_some_and(|flags| flags & IS_ANIMATED == 0) =>
            {
                images += 1;
                put(&mut out, &kind, body)?;
            }
            b"ALPH" if extended.is_some_and(|flags| flags & IS_ANIMATED == 0) => {
                put(&mut out, &kind, body)?
            }
            // A background and how often it loops (§2.7.1.1).
            b"ANIM"
                if extended.is_some_and(|flags| flags & IS_ANIMATED != 0) && body.len() == 6 =>
            {
                put(&mut out, &kind, body)?;
            }
            b"ANMF"
                if extended.is_some_and(|flags| flags & IS_ANIMATED != 0)
                    && is_bare_frame(body) =>
            {
                images += 1;
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
    if images == 0 || (images > 1 && !moves) {
        return None;
    }
    let mut out = out.into_bytes();
    let size = u32::try_from(out.len()).ok()?.checked_sub(8)?;
    out.get_mut(4..8)?.copy_from_slice(&size.to_le_bytes());
    Some(out)
}

/// Whether a frame (§2.7.1.1) holds an image and nothing beside it.
fn is_bare_frame(body: &[u8]) -> bool {
    let mut chunks = Cursor::new(body);
    let mut has_image = false;
    chunks.skip(webp::FRAME_HEADER);
    while !chunks.is_empty() {
        match webp::chunk(&mut chunks)
            .filter(|chunk| chunk.is_whole)
            .map(|chunk| chunk.kind)
            .as_ref()
        {
            Some(b"ALPH") if !has_image => {}
            Some(b"VP8 " | b"VP8L") if !has_image => has_image = true,
            _ => return false,
        }
    }
    has_image
}

/// Appends a chunk (§2.3).
fn put(out: &mut Kept, kind: &[u8; 4], body: &[u8]) -> Option<()> {
    out.add(kind)?;
    out.add(&u32::try_from(body.len()).ok()?.to_le_bytes())?;
    out.add(body)?;
    if body.len() % 2 == 1 {
        out.add(&[0])?;
    }
    Some(())
}
