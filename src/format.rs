//! Image formats: one row for each, with all properties that do not depend on the decoder or encoder.

/// The properties of a format. Reading and writing are separate capabilities: either may be missing.
struct Row {
    /// Name in sentences.
    title: &'static str,
    /// File name extensions, which `f` and `output_format` accept as well. The first one is the format's name in
    /// canonical queries, on disk and in log lines.
    extensions: &'static [&'static str],
    media_type: &'static str,
    /// Whether originals may have this format.
    reads: bool,
    /// Whether variants may have this format.
    writes: bool,
    /// Whether `f=auto` chooses the format if `Accept` names it.
    auto: Auto,
    /// Whether `q` has an effect.
    quality: bool,
    lossless: Lossless,
    /// Whether transparency is written.
    alpha: bool,
    /// Whether all frames are written, not only the first.
    animation: bool,
    /// Whether grayscale is written as such, not as red, green and blue.
    grayscale: bool,
    /// Whether a colour profile is written.
    metadata: bool,
    /// Longest side that is written, in pixels.
    max_side: u32,
    /// Most pixels that are written in one frame.
    max_pixels: u64,
    /// Encoder memory in bytes per pixel of a frame, measured with the encoders that `native/` builds and rounded up.
    encoder_bytes_per_pixel: u64,
    /// Encoder memory in bytes for an image of any size, where it is more than [`encoder_bytes_per_pixel`] says of a
    /// small one.
    ///
    /// [`encoder_bytes_per_pixel`]: Row::encoder_bytes_per_pixel
    encoder_bytes: u64,
}

/// Whether `f=auto` chooses a format.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Auto {
    Never,
    /// If the handler's `auto` lists it.
    Listed,
    /// Unless the handler's `auto` leaves it out. Of equally acceptable formats the last row wins.
    Usually,
}

/// Whether every pixel is preserved.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lossless {
    Never,
    Always,
    /// With `lossless=true`, which takes this much memory.
    OnRequest {
        encoder_bytes_per_pixel: u64,
    },
}

/// libjpeg's limit. PNG and GIF, which allow more, get the same one.
const JPEG_MAX_DIMENSION: u32 = 65_500;

macro_rules! formats {
    ($($(#[$doc:meta])* $format:ident $row:tt)+) => {
        /// An image format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Format {
            $($(#[$doc])* $format,)+
        }

        impl Format {
            /// All formats, in the order of sentences that list them.
            pub const ALL: &[Format] = &[$(Format::$format),+];

            const fn row(self) -> &'static Row {
                match self {
                    $(Format::$format => &Row $row,)+
                }
            }
        }
    };
}

formats! {
    /// ITU-T T.81.
    Jpeg {
        title: "JPEG",
        extensions: &["jpg", "jpeg"],
        media_type: "image/jpeg",
        reads: true,
        writes: true,
        auto: Auto::Never,
        quality: true,
        lossless: Lossless::Never,
        alpha: false,
        animation: false,
        grayscale: true,
        metadata: true,
        max_side: JPEG_MAX_DIMENSION,
        max_pixels: u64::MAX,
        // Coefficients for the optimised Huffman tables, and the output.
        encoder_bytes_per_pixel: 6,
        encoder_bytes: 0,
    }
    /// W3C PNG, third edition.
    Png {
        title: "PNG",
        extensions: &["png"],
        media_type: "image/png",
        reads: true,
        writes: true,
        auto: Auto::Never,
        quality: false,
        lossless: Lossless::Always,
        alpha: true,
        animation: false,
        grayscale: true,
        metadata: true,
        max_side: JPEG_MAX_DIMENSION,
        max_pixels: u64::MAX,
        encoder_bytes_per_pixel: 6,
        encoder_bytes: 0,
    }
    /// RFC 9649.
    Webp {
        title: "WebP",
        extensions: &["webp"],
        media_type: "image/webp",
        reads: true,
        writes: true,
        auto: Auto::Usually,
        quality: true,
        lossless: Lossless::OnRequest { encoder_bytes_per_pixel: 36 },
        alpha: true,
        animation: true,
        grayscale: false,
        metadata: true,
        // RFC 9649 §2.7.
        max_side: 16_383,
        max_pixels: u64::MAX,
        encoder_bytes_per_pixel: 10,
        encoder_bytes: 0,
    }
    /// AV1 Image File Format.
    Avif {
        title: "AVIF",
        extensions: &["avif"],
        media_type: "image/avif",
        reads: true,
        writes: true,
        auto: Auto::Usually,
        quality: true,
        lossless: Lossless::OnRequest { encoder_bytes_per_pixel: 32 },
        alpha: true,
        animation: true,
        grayscale: true,
        metadata: true,
        // libavif, and with it browsers, refuses larger images.
        max_side: 32_768,
        max_pixels: 1 << 28,
        encoder_bytes_per_pixel: 28,
        encoder_bytes: 0,
    }
    /// ISO/IEC 18181. An original of this format is a [`FileType`](crate::file_type::FileType).
    Jxl {
        title: "JPEG XL",
        extensions: &["jxl"],
        media_type: "image/jxl",
        reads: false,
        writes: true,
        auto: Auto::Listed,
        quality: true,
        lossless: Lossless::OnRequest { encoder_bytes_per_pixel: 54 },
        alpha: true,
        animation: false,
        grayscale: true,
        metadata: true,
        max_side: JPEG_MAX_DIMENSION,
        // Level 5 of 18181-1, which every decoder supports.
        max_pixels: 1 << 28,
        encoder_bytes_per_pixel: 54,
        encoder_bytes: 8 << 20,
    }
    /// GIF87a and GIF89a.
    Gif {
        title: "GIF",
        extensions: &["gif"],
        media_type: "image/gif",
        reads: true,
        writes: true,
        auto: Auto::Never,
        quality: false,
        // It has at most 256 colours.
        lossless: Lossless::Never,
        alpha: true,
        animation: true,
        grayscale: false,
        metadata: false,
        max_side: JPEG_MAX_DIMENSION,
        max_pixels: u64::MAX,
        encoder_bytes_per_pixel: 20,
        encoder_bytes: 0,
    }
}

impl Format {
    /// The format with this name, as in `f` and `output_format`; lower case only.
    pub fn parse(name: &str) -> Option<Format> {
        let has_name = |format: &Format| format.row().extensions.contains(&name);
        Format::ALL.iter().copied().find(has_name)
    }

    /// The format of a file by its first bytes; `None` for everything else, SVG and PDF included.
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

    /// The format of an original; `None` if it is not read.
    pub fn of_original(bytes: &[u8]) -> Option<Format> {
        Format::of_bytes(bytes).filter(|format| format.is_read())
    }

    /// The format to write if none is asked for: this one, or PNG where this one can't be written or can't be lossless.
    pub fn output(self, lossless: bool) -> Format {
        if self.is_written() && (self.can_be_lossless() || !lossless) { self } else { Format::Png }
    }

    /// The one short name, as in canonical queries.
    pub const fn name(self) -> &'static str {
        match self.row().extensions {
            [name, ..] => name,
            [] => "",
        }
    }

    /// All names that `parse` accepts.
    pub const fn names(self) -> &'static [&'static str] {
        self.row().extensions
    }

    /// The name in sentences, such as `WebP`.
    pub const fn title(self) -> &'static str {
        self.row().title
    }

    pub const fn media_type(self) -> &'static str {
        self.row().media_type
    }

    pub const fn is_read(self) -> bool {
        self.row().reads
    }

    pub const fn is_written(self) -> bool {
        self.row().writes
    }

    /// Whether `f=auto` may choose the format, if `Accept` names it.
    pub const fn is_negotiated(self) -> bool {
        !matches!(self.row().auto, Auto::Never) && self.is_written()
    }

    /// Whether it does for a handler without `auto`.
    pub const fn is_usually_negotiated(self) -> bool {
        matches!(self.row().auto, Auto::Usually) && self.is_written()
    }

    pub const fn keeps_transparency(self) -> bool {
        self.row().alpha
    }

    /// Whether all frames are written, not only the first.
    pub const fn keeps_animation(self) -> bool {
        self.row().animation
    }

    /// Whether `q` has an effect.
    pub const fn has_quality(self) -> bool {
        self.row().quality
    }

    /// Whether every pixel can be preserved.
    pub const fn can_be_lossless(self) -> bool {
        !matches!(self.row().lossless, Lossless::Never)
    }

    /// Whether `lossless` chooses between two modes.
    pub const fn has_lossless_mode(self) -> bool {
        matches!(self.row().lossless, Lossless::OnRequest { .. })
    }

    /// Whether grayscale is written as such, not as red, green and blue.
    pub const fn keeps_grayscale(self) -> bool {
        self.row().grayscale
    }

    /// Whether a colour profile is written.
    pub const fn keeps_metadata(self) -> bool {
        self.row().metadata
    }

    /// Longest side that is written, in pixels.
    pub const fn max_side(self) -> u32 {
        self.row().max_side
    }

    /// Most pixels that are written in one frame.
    pub const fn max_pixels(self) -> u64 {
        self.row().max_pixels
    }

    /// Encoder memory in bytes for a frame of so many pixels.
    pub const fn encoder_bytes(self, lossless: bool, pixels: u64) -> u64 {
        let per_pixel = self.encoder_bytes_per_pixel(lossless);
        self.row().encoder_bytes.saturating_add(per_pixel.saturating_mul(pixels))
    }

    const fn encoder_bytes_per_pixel(self, lossless: bool) -> u64 {
        match self.row().lossless {
            Lossless::OnRequest { encoder_bytes_per_pixel } if lossless => encoder_bytes_per_pixel,
            _ => self.row().encoder_bytes_per_pixel,
        }
    }
}

/// The table of formats in Markdown.
#[cfg(test)]
pub fn markdown() -> String {
    let mut table = "| format | originals | `f` | `q` | lossless | transparency | animation | colour profile | \
                     longest side |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    let yes_or_no = |can: bool| if can { "yes" } else { "no" };
    for format in Format::ALL {
        let names: Vec<String> = format.names().iter().map(|name| format!("`{name}`")).collect();
        let lossless = match format.row().lossless {
            Lossless::Never => "no",
            Lossless::Always => "always",
            Lossless::OnRequest { .. } => "with `lossless=true`",
        };
        let mut max_side = format!("{} pixels", format.max_side());
        if format.max_pixels() < u64::from(format.max_side()).pow(2) {
            max_side += &format!("; at most {} pixels in all", format.max_pixels());
        }
        let cells = [
            format.title(),
            yes_or_no(format.is_read()),
            &if format.is_written() { names.join(", ") } else { "no".to_owned() },
            yes_or_no(format.has_quality()),
            lossless,
            yes_or_no(format.keeps_transparency()),
            yes_or_no(format.keeps_animation()),
            yes_or_no(format.keeps_metadata()),
            &max_side,
        ];
        table += &format!("| {} |\n", cells.join(" | "));
    }
    table
}

/// The formats with a capability, in the order of sentences that list them.
pub fn formats_that(can: fn(Format) -> bool) -> impl Iterator<Item = Format> {
    Format::ALL.iter().copied().filter(move |format| can(*format))
}

/// A list in a sentence: `jpg, png or auto`.
pub fn or_list<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

/// The `ftyp` box (ISO/IEC 14496-12 §4.3): `avif` or `avis` is the major or a compatible brand. HEIC, which shares the
/// container, names neither.
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
    fn format_of_bytes_recognises_magic_numbers() {
        assert_eq!(Format::of_bytes(b"\xff\xd8\xff\xe0rest"), Some(Format::Jpeg));
        assert_eq!(Format::of_bytes(b"\x89PNG\r\n\x1a\nrest"), Some(Format::Png));
        assert_eq!(Format::of_bytes(b"GIF89a"), Some(Format::Gif));
        assert_eq!(Format::of_bytes(b"RIFF\0\0\0\0WEBPVP8 "), Some(Format::Webp));
        assert_eq!(Format::of_bytes(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf"), Some(Format::Avif));
        assert_eq!(Format::of_bytes(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf"), Some(Format::Avif));
    }

    #[test]
    fn format_of_bytes_refuses_everything_else() {
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

    #[test]
    fn format_names_are_unique_and_parsed() {
        let mut names = Vec::new();
        for format in Format::ALL {
            assert_eq!(format.names().first(), Some(&format.name()));
            for name in format.names() {
                assert_eq!(Format::parse(name), Some(*format));
                assert_eq!(Format::parse(&name.to_uppercase()), None);
                assert!(!names.contains(name), "{name}");
                names.push(name);
            }
        }
        assert_eq!(Format::parse("jpeg"), Some(Format::Jpeg));
        assert_eq!((Format::parse("svg"), Format::parse("")), (None, None));
    }

    #[test]
    fn png_is_a_fallback_for_every_format() {
        assert!(Format::Png.is_written() && Format::Png.can_be_lossless());
        for format in Format::ALL {
            assert!(format.is_read() || format.is_written(), "{format:?}");
            for lossless in [false, true] {
                let output = format.output(lossless);
                assert!(output.is_written() && (output.can_be_lossless() || !lossless));
            }
        }
        assert_eq!(Format::Gif.output(false), Format::Gif);
        assert_eq!(Format::Gif.output(true), Format::Png);
        assert_eq!(Format::Webp.output(true), Format::Webp);
    }

    #[test]
    fn format_lists_come_from_the_table() {
        let titles = formats_that(Format::is_read).map(Format::title);
        assert_eq!(or_list(titles), "JPEG, PNG, WebP, AVIF or GIF");
        let names = formats_that(Format::is_written).map(Format::name);
        assert_eq!(or_list(names), "jpg, png, webp, avif, jxl or gif");
        let lossless = formats_that(Format::can_be_lossless).map(Format::name);
        assert_eq!(or_list(lossless.chain(["auto"])), "png, webp, avif, jxl or auto");
        let written = formats_that(Format::is_written).flat_map(Format::names);
        let written = written.copied().chain(["auto"]);
        assert_eq!(or_list(written), "jpg, jpeg, png, webp, avif, jxl, gif or auto");
        assert_eq!((or_list([]), or_list(["png"])), (String::new(), "png".to_owned()));
    }
}
