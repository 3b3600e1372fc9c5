//! Types of files that are not decoded and may be served as they are: one row for each, with all that decides how.
//!
//! A file has a type if its content begins as that type requires. The extension of its key alone, or what its origin
//! says of it, makes nothing a type: HTML under any name has none.

mod svg;

use crate::format::Format;

/// The properties of a type.
struct Row {
    /// Name in sentences.
    title: &'static str,
    /// Extensions of keys. The first one is the type's name in the configuration, on disk and in log lines.
    extensions: &'static [&'static str],
    content_type: &'static str,
    /// Whether a browser may show it in place. The others are attachments.
    is_image: bool,
    /// What its content begins with, in Markdown.
    #[cfg(test)]
    check: &'static str,
    matches: fn(&[u8]) -> bool,
}

macro_rules! types {
    ($($(#[$doc:meta])* $name:ident $row:tt)+) => {
        /// A type of file that is not decoded.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FileType {
            $($(#[$doc])* $name,)+
        }

        impl FileType {
            /// All types, in the order of the documentation.
            pub const ALL: &[FileType] = &[$(FileType::$name),+];

            const fn row(self) -> &'static Row {
                match self {
                    $(FileType::$name => &Row $row,)+
                }
            }
        }
    };
}

types! {
    /// W3C SVG 2.
    Svg {
        title: "SVG",
        extensions: &["svg"],
        content_type: "image/svg+xml",
        is_image: true,
        #[cfg(test)]
        check: "XML whose root element is `svg`, in UTF-8 or another superset of ASCII, without `xml-stylesheet`, and without processing instructions and parameter entities in its document type",
        matches: svg::is_svg,
    }
    /// Icons of Windows, as in `favicon.ico`.
    Ico {
        title: "ICO",
        extensions: &["ico"],
        content_type: "image/vnd.microsoft.icon",
        is_image: true,
        #[cfg(test)]
        check: "`00 00 01 00` and a first entry that lies in the file",
        matches: is_ico,
    }
    /// Device-independent bitmaps of Windows.
    Bmp {
        title: "BMP",
        extensions: &["bmp"],
        content_type: "image/bmp",
        is_image: true,
        #[cfg(test)]
        check: "`BM` and a header of a known length",
        matches: is_bmp,
    }
    /// TIFF 6.0, and BigTIFF.
    Tiff {
        title: "TIFF",
        extensions: &["tiff", "tif"],
        content_type: "image/tiff",
        is_image: true,
        #[cfg(test)]
        check: "`II` or `MM` and 42 or 43 in that byte order",
        matches: is_tiff,
    }
    /// ISO/IEC 23008-12 with HEVC.
    Heic {
        title: "HEIC",
        extensions: &["heic", "heif"],
        content_type: "image/heic",
        is_image: true,
        #[cfg(test)]
        check: "an `ftyp` box with a brand of HEIC",
        matches: |bytes| has_brand(bytes, Brands::All, &[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"]),
    }
    /// ISO/IEC 18181.
    Jxl {
        title: "JPEG XL",
        extensions: &["jxl"],
        content_type: "image/jxl",
        is_image: true,
        #[cfg(test)]
        check: "the signature of a codestream or of a container",
        matches: |bytes| {
            bytes.starts_with(&[0xff, 0x0a]) || bytes.starts_with(b"\0\0\0\x0cJXL \r\n\x87\n")
        },
    }
    /// ISO 32000.
    Pdf {
        title: "PDF",
        extensions: &["pdf"],
        content_type: "application/pdf",
        is_image: false,
        #[cfg(test)]
        check: "`%PDF-`",
        matches: |bytes| bytes.starts_with(b"%PDF-"),
    }
    /// ISO/IEC 14496-14.
    Mp4 {
        title: "MP4",
        extensions: &["mp4", "m4v"],
        content_type: "video/mp4",
        is_image: false,
        #[cfg(test)]
        check: "an `ftyp` box whose major brand is one of MP4",
        matches: |bytes| has_brand(bytes, Brands::Major, &[
            b"isom", b"iso2", b"iso3", b"iso4", b"iso5", b"iso6", b"iso7", b"iso8", b"iso9",
            b"mp41", b"mp42", b"avc1", b"dash", b"M4V ", b"M4VH", b"M4VP",
        ]),
    }
    /// Apple's QuickTime.
    Mov {
        title: "QuickTime",
        extensions: &["mov"],
        content_type: "video/quicktime",
        is_image: false,
        #[cfg(test)]
        check: "an `ftyp` box whose major brand is that of QuickTime",
        matches: |bytes| has_brand(bytes, Brands::Major, &[b"qt  "]),
    }
    /// The subset of Matroska for the web.
    Webm {
        title: "WebM",
        extensions: &["webm"],
        content_type: "video/webm",
        is_image: false,
        #[cfg(test)]
        check: "an EBML header with the document type `webm`",
        matches: is_webm,
    }
}

impl FileType {
    /// The type with this name, as in `passthrough`.
    pub fn parse(name: &str) -> Option<FileType> {
        FileType::ALL.iter().copied().find(|file_type| file_type.name() == name)
    }

    /// The type of keys with this extension, in lower case.
    pub fn of_extension(extension: &str) -> Option<FileType> {
        let has_extension = |file_type: &FileType| file_type.extensions().contains(&extension);
        FileType::ALL.iter().copied().find(has_extension)
    }

    /// The type of a file by its content. An image that is decoded has none.
    pub fn of_bytes(bytes: &[u8]) -> Option<FileType> {
        if Format::of_bytes(bytes).is_some() {
            return None;
        }
        FileType::ALL.iter().copied().find(|file_type| (file_type.row().matches)(bytes))
    }

    /// The one short name, as in `passthrough`.
    pub const fn name(self) -> &'static str {
        match self.row().extensions {
            [name, ..] => name,
            [] => "",
        }
    }

    /// The name in sentences.
    pub const fn title(self) -> &'static str {
        self.row().title
    }

    /// The extensions of its keys.
    pub const fn extensions(self) -> &'static [&'static str] {
        self.row().extensions
    }

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        self.row().content_type
    }

    /// Whether a browser may show it in place.
    pub const fn is_image(self) -> bool {
        self.row().is_image
    }
}

/// The table of types in Markdown.
#[cfg(test)]
pub fn markdown() -> String {
    let mut table =
        "| name | extensions of keys | `Content-Type` | `Content-Disposition` | content |\n\
                     | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for file_type in FileType::ALL {
        let Row { extensions, content_type, is_image, check, .. } = file_type.row();
        let extensions: Vec<String> = extensions.iter().map(|name| format!("`.{name}`")).collect();
        let name = file_type.name();
        let extensions = extensions.join(", ");
        let disposition = if *is_image { "none" } else { "`attachment`" };
        table +=
            &format!("| `{name}` | {extensions} | `{content_type}` | {disposition} | {check} |\n");
    }
    table
}

/// Which brands of an `ftyp` box count (ISO/IEC 14496-12 §4.3).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Brands {
    Major,
    /// The compatible ones, too.
    All,
}

fn has_brand(bytes: &[u8], counted: Brands, brands: &[&[u8; 4]]) -> bool {
    let Some(&[a, b, c, d]) = bytes.get(..4) else { return false };
    if bytes.get(4..8) != Some(b"ftyp") {
        return false;
    }
    let is_listed = |brand: &[u8]| brands.iter().any(|listed| brand == *listed);
    let end = (u32::from_be_bytes([a, b, c, d]) as usize).min(bytes.len()).min(256);
    let compatible = bytes.get(16..end).unwrap_or_default();
    bytes.get(8..12).is_some_and(is_listed)
        || counted == Brands::All && compatible.chunks_exact(4).any(is_listed)
}

/// A directory of images, of which the first one lies behind the directory and in the file.
fn is_ico(bytes: &[u8]) -> bool {
    let Some(rest) = bytes.strip_prefix(&[0, 0, 1, 0]) else { return false };
    let Some(&[low, high]) = rest.get(..2) else { return false };
    let count = usize::from(u16::from_le_bytes([low, high]));
    let number = |at| little_endian(bytes, at);
    let (Some(length), Some(offset)) = (number(14), number(18)) else { return false };
    let directory = 6 + 16 * count;
    count > 0
        && bytes.get(9) == Some(&0)
        && offset >= directory
        && length > 0
        && offset.saturating_add(length) <= bytes.len()
}

/// A file header whose pixels lie in the file, and one of the headers of a bitmap by its length.
fn is_bmp(bytes: &[u8]) -> bool {
    let number = |at| little_endian(bytes, at);
    bytes.starts_with(b"BM")
        && number(10).is_some_and(|pixels| (26..bytes.len()).contains(&pixels))
        && matches!(number(14), Some(12 | 16 | 40 | 52 | 56 | 64 | 108 | 124))
}

fn is_tiff(bytes: &[u8]) -> bool {
    [&b"II*\0"[..], b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"]
        .iter()
        .any(|start| bytes.starts_with(start))
}

/// RFC 8794: an EBML header, whose element DocType says `webm`.
fn is_webm(bytes: &[u8]) -> bool {
    /// The header has a few dozen bytes.
    const MAX_HEADER: usize = 64;
    let start = bytes.get(..MAX_HEADER.min(bytes.len())).unwrap_or_default();
    start.starts_with(b"\x1a\x45\xdf\xa3")
        && start.windows(7).any(|window| window == b"\x42\x82\x84webm")
}

fn little_endian(bytes: &[u8], at: usize) -> Option<usize> {
    let number = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*number) as usize)
}

#[cfg(test)]
mod tests;
