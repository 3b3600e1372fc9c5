//! The image formats that we read and write, known by their bytes and never by a name's ending.

/// An image format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// JPEG (ITU T.81).
    Jpeg,
    /// PNG (RFC 2083, W3C PNG).
    Png,
    /// WebP (RFC 9649).
    Webp,
    /// AVIF (AV1 in HEIF).
    Avif,
    /// GIF 87a and 89a.
    Gif,
}

impl Format {
    /// The format of the parameter `f` and of `output_format`; lower case as written in the contract.
    pub fn parse(name: &str) -> Option<Format> {
        match name {
            "jpg" | "jpeg" => Some(Format::Jpeg),
            "png" => Some(Format::Png),
            "webp" => Some(Format::Webp),
            "avif" => Some(Format::Avif),
            "gif" => Some(Format::Gif),
            _ => None,
        }
    }

    /// The short name, one per format, as it stands in canonical options.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Jpeg => "jpg",
            Format::Png => "png",
            Format::Webp => "webp",
            Format::Avif => "avif",
            Format::Gif => "gif",
        }
    }

    /// The media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Format::Jpeg => "image/jpeg",
            Format::Png => "image/png",
            Format::Webp => "image/webp",
            Format::Avif => "image/avif",
            Format::Gif => "image/gif",
        }
    }

    /// The format of these bytes, or `None` for everything that is not on the list, SVG and PDF included.
    pub fn of_bytes(bytes: &[u8]) -> Option<Format> {
        if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
            return Some(Format::Jpeg);
        }
        if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            return Some(Format::Png);
        }
        if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
            return Some(Format::Gif);
        }
        if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
            return Some(Format::Webp);
        }
        if is_avif(bytes) {
            return Some(Format::Avif);
        }
        None
    }

    /// Whether transparency survives in this format.
    pub const fn keeps_transparency(self) -> bool {
        !matches!(self, Format::Jpeg)
    }

    /// Whether we write more than the first frame in this format.
    pub const fn keeps_animation(self) -> bool {
        matches!(self, Format::Gif | Format::Webp)
    }

    /// Whether `q` changes the bytes in this format.
    pub const fn has_quality(self) -> bool {
        matches!(self, Format::Jpeg | Format::Webp | Format::Avif)
    }

    /// Whether each pixel can be what it was. GIF has no more than 256 colours.
    pub const fn can_be_lossless(self) -> bool {
        !matches!(self, Format::Jpeg | Format::Gif)
    }

    /// Whether it can be lossless and need not be.
    pub const fn has_lossless_mode(self) -> bool {
        matches!(self, Format::Webp | Format::Avif)
    }

    /// Whether we write colour profiles in this format. GIF has no place for them.
    pub const fn keeps_metadata(self) -> bool {
        !matches!(self, Format::Gif)
    }
}

/// The `ftyp` box (ISO/IEC 14496-12 §4.3): an AVIF names `avif` or `avis` as its major or a compatible brand.
/// HEIC shares the container and is refused here: it names neither.
fn is_avif(bytes: &[u8]) -> bool {
    let Some(&[a, b, c, d]) = bytes.get(0..4) else { return false };
    if bytes.get(4..8) != Some(b"ftyp") {
        return false;
    }
    let end = (u32::from_be_bytes([a, b, c, d]) as usize).min(bytes.len()).min(256);
    let is_brand = |brand: &[u8]| brand == b"avif" || brand == b"avis";
    let compatible = bytes.get(16..end).unwrap_or_default();
    bytes.get(8..12).is_some_and(is_brand) || compatible.chunks_exact(4).any(is_brand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_bytes() {
        assert_eq!(Format::of_bytes(b"\xff\xd8\xff\xe0rest"), Some(Format::Jpeg));
        assert_eq!(Format::of_bytes(b"\x89PNG\r\n\x1a\nrest"), Some(Format::Png));
        assert_eq!(Format::of_bytes(b"GIF89a"), Some(Format::Gif));
        assert_eq!(Format::of_bytes(b"RIFF\0\0\0\0WEBPVP8 "), Some(Format::Webp));
        assert_eq!(Format::of_bytes(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf"), Some(Format::Avif));
        assert_eq!(Format::of_bytes(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf"), Some(Format::Avif));
    }

    #[test]
    fn everything_else_is_refused() {
        let refused: [&[u8]; 9] = [
            b"",
            b"\xff\xd8",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"%PDF-1.7",
            b"RIFF\0\0\0\0WAVE",
            b"\0\0\0\x18ftypheic\0\0\0\0heicmif1",
            b"\0\0\0\x10ftypmif1\0\0\0\0avif",
            b"BM\0\0",
            b"II*\0",
        ];
        for bytes in refused {
            assert_eq!(Format::of_bytes(bytes), None, "{bytes:?}");
        }
    }
}
