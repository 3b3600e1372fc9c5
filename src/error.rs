//! Error codes of failed images: the `X-Error` of a response, its status, and a sentence for the operator.

use std::fmt;

/// Defines [`Code`] and the properties of each code, one row per code:
///
/// ```text
/// Variant "name" as "name for clients" status, serves stale?, "meaning";
/// ```
///
/// `as` is left out where both names are the same.
macro_rules! codes {
    ($($code:ident $name:literal $(as $public:literal)? $status:literal $stale:ident $meaning:literal;)*) => {
        /// The reason a request for an image failed, as `X-Error` names it.
        ///
        /// The status is 404 for each of them unless the handler asks for `"error_status": "precise"`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $code,)*
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &[Code] = &[$(Code::$code),*];

            /// The name in the renderer's `X-Error` and in log lines.
            pub const fn name(self) -> &'static str {
                match self { $(Code::$code => $name,)* }
            }

            /// The name in a client's `X-Error` and in the access log.
            pub const fn public_name(self) -> &'static str {
                match self { $(Code::$code => codes!(@public $name $($public)?),)* }
            }

            /// The status under `"error_status": "precise"`.
            pub const fn precise_status(self) -> u16 {
                match self { $(Code::$code => $status,)* }
            }

            /// Whether a stale variant may be served in place of the error (RFC 5861 §4): the failure says nothing
            /// about the original.
            pub const fn allows_stale(self) -> bool {
                match self { $(Code::$code => codes!(@stale $stale),)* }
            }

            /// The meaning of the code in Markdown, for clients and operators.
            pub const fn meaning(self) -> &'static str {
                match self { $(Code::$code => $meaning,)* }
            }
        }
    };
    (@public $name:literal) => { $name };
    (@public $name:literal $public:literal) => { $public };
    (@stale stale) => { true };
    (@stale error) => { false };
}

codes! {
    NotFound "not_found" 404 error "The key or the bucket does not exist, or the credentials may not read the key.";
    NotShown "not_shown" as "not_found" 404 stale
        "The origin does not say whether the key exists, or the bucket does not exist.";
    InvalidKey "invalid_key" 404 error
        "The key is empty, longer than 1024 bytes, or has a NUL or a `.` or `..` segment.";
    TokenRefused "token_refused" 403 error "The token is missing or was refused.";
    FormatNotAllowed "format_not_allowed" 415 error
        "The key's extension is not in `allowed_formats`.";
    UnsupportedFormat "unsupported_format" 415 error
        "The original is not a JPEG, PNG, WebP, AVIF or GIF, is an AVIF with an unsupported feature (encryption, \
         overlays, unknown essential properties), or has a `Content-Encoding` other than gzip and deflate; or it was to \
         be served [as it is](options.md#originals-as-they-are), and its content has none of the types for that.";
    CorruptImage "corrupt_image" 415 error
        "The original starts like an image but can't be decoded (see [`fail_on`](configuration.md#fail_on)), or \
         contradicts its `Content-Encoding`.";
    PageMissing "page_missing" 404 error "The original has no frame with the number `page`.";
    CropOutside "crop_outside" 400 error "The rectangle of `crop` is outside of the original.";
    TooLarge "too_large" 413 error "The original has more bytes than `origin_max_bytes`, with or without its `Content-Encoding`.";
    TooManyPixels "too_many_pixels" 413 error
        "A frame of the original has more pixels than `source_max_pixels`.";
    SideTooLong "side_too_long" 413 error
        "The original is wider or higher than `source_max_side`.";
    TooManyFrames "too_many_frames" 413 error
        "The original has more frames than `source_max_frames`.";
    AnimationTooLarge "animation_too_large" 413 error
        "All frames of the original together have more pixels than `source_max_total_pixels`.";
    ResultTooLarge "result_too_large" 413 error
        "The result would have more pixels than `result_max_pixels` or than its format can hold.";
    MetadataTooLarge "metadata_too_large" 413 error
        "The original has more bytes of profiles, EXIF, XMP and text than `source_max_metadata`.";
    TooManyScans "too_many_scans" 413 error
        "The original is a JPEG with more scans than `source_max_scans`.";
    OriginUnreachable "origin_unreachable" 502 stale
        "The origin could not be reached, or the connection broke twice.";
    OriginError "origin_error" 502 stale
        "The origin answered with a status that means neither success nor \"not found\", or does not accept the \
         credentials.";
    OriginTruncated "origin_truncated" 502 stale
        "The origin's response ended before its announced length.";
    WrongRegion "wrong_region" 502 stale
        "The bucket is in another region than the configuration says.";
    NoCredentials "no_credentials" 502 stale "No credentials were found for the bucket.";
    OriginTimeout "origin_timeout" 504 stale "The origin exceeded one of the `origin_…` timeouts.";
    RenderTimeout "render_timeout" 504 stale "The image was not ready within `render_timeout`.";
    DecodeTimeout "decode_timeout" 504 stale
        "Decoding and encoding took longer than `decode_timeout`.";
    RendererFailed "renderer_failed" 502 stale "The renderer exited while it worked on this request.";
    CrashesRenderer "crashes_renderer" 502 stale
        "The key crashed the renderer twice, or exceeded a timeout twice with these options; it is refused for 10 minutes.";
}

impl Code {
    /// The code with this [`Code::name`].
    pub fn from_name(name: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.name() == name)
    }

    /// The meaning of the code as plain text, for clients: of codes with the same public name that of the first.
    pub fn sentence(self) -> String {
        let mut codes = Code::ALL.iter();
        let public = codes.find(|code| code.public_name() == self.public_name());
        let markdown = public.unwrap_or(&self).meaning().replace('`', "");
        // Of a link, the text.
        let mut sentence = String::with_capacity(markdown.len());
        for (index, part) in markdown.split("](").enumerate() {
            let text =
                if index == 0 { part } else { part.split_once(')').map_or(part, |pair| pair.1) };
            sentence.extend(text.chars().filter(|c| *c != '['));
        }
        sentence
    }

    /// The table of codes that clients see, in Markdown.
    #[cfg(test)]
    pub fn markdown() -> String {
        let mut table =
            "| `X-Error` | precise status | meaning |\n| --- | --- | --- |\n".to_owned();
        for code in Code::ALL.iter().filter(|code| code.name() == code.public_name()) {
            let name = code.name();
            let status = code.precise_status();
            table += &format!("| `{name}` | {status} | {} |\n", code.meaning());
        }
        table
    }
}

/// A failed image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    /// A sentence for the log: which key, which origin, what to do about it.
    pub detail: String,
}

impl Failure {
    pub fn new(code: Code, detail: impl Into<String>) -> Failure {
        Failure { code, detail: detail.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.detail)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_by_name() {
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.name()), Some(*code));
        }
        assert_eq!(Code::from_name("nonsense"), None);
    }

    /// The names and statuses that clients rely on, written a second time: a change has to be made here as well.
    #[test]
    fn public_names_and_precise_statuses_are_stable() {
        let contract = [
            ("not_found", 404),
            ("not_found", 404),
            ("invalid_key", 404),
            ("token_refused", 403),
            ("format_not_allowed", 415),
            ("unsupported_format", 415),
            ("corrupt_image", 415),
            ("page_missing", 404),
            ("crop_outside", 400),
            ("too_large", 413),
            ("too_many_pixels", 413),
            ("side_too_long", 413),
            ("too_many_frames", 413),
            ("animation_too_large", 413),
            ("result_too_large", 413),
            ("metadata_too_large", 413),
            ("too_many_scans", 413),
            ("origin_unreachable", 502),
            ("origin_error", 502),
            ("origin_truncated", 502),
            ("wrong_region", 502),
            ("no_credentials", 502),
            ("origin_timeout", 504),
            ("render_timeout", 504),
            ("decode_timeout", 504),
            ("renderer_failed", 502),
            ("crashes_renderer", 502),
        ];
        let codes = Code::ALL.iter().map(|code| (code.public_name(), code.precise_status()));
        assert_eq!(codes.collect::<Vec<_>>(), contract);
    }

    #[test]
    fn sentences_are_plain_text_and_tell_no_more_than_the_public_name() {
        for code in Code::ALL {
            let sentence = code.sentence();
            assert!(!sentence.contains(['`', '[', ']']) && sentence.ends_with('.'), "{sentence}");
        }
        assert_eq!(Code::NotShown.sentence(), Code::NotFound.meaning());
        let corrupt = Code::CorruptImage.sentence();
        assert!(corrupt.contains("decoded (see fail_on), or"), "{corrupt}");
    }

    #[test]
    fn stale_variants_are_served_for_failures_that_say_nothing_about_the_original() {
        for code in Code::ALL {
            let says_nothing = *code == Code::NotShown || code.precise_status() >= 500;
            assert_eq!(code.allows_stale(), says_nothing, "{code:?}");
        }
    }

    #[test]
    fn the_markdown_table_has_a_row_for_each_public_code() {
        let table = Code::markdown();
        assert_eq!(table.lines().count(), 2 + Code::ALL.len() - 1);
        assert!(table.contains("| `token_refused` | 403 | The token is missing"), "{table}");
    }
}
