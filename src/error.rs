//! Why an image could not be served: the code a client sees in `X-Error`, and a sentence for the operator.

use std::fmt;

/// The reason a request for an image failed, as `X-Error` names it.
///
/// The answer is 404 for each of them unless the handler asks for `"error_status": "precise"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The origin has no such key.
    NotFound,
    /// The origin does not say whether it has the key, or the bucket is not there: to a client, `not_found`.
    NotShown,
    /// The key is empty, longer than S3 allows, or has a NUL or a `.` or `..` segment.
    InvalidKey,
    /// The token is missing or was not accepted.
    TokenRefused,
    /// The key's extension is not in `allowed_formats`.
    FormatNotAllowed,
    /// The bytes are not JPEG, PNG, WebP, GIF or AVIF, or an AVIF uses a feature that is not supported.
    UnsupportedFormat,
    /// The bytes start like an image but can't be decoded whole.
    CorruptImage,
    /// The original has no frame of the number that `page` asks for.
    PageMissing,
    /// The original has more bytes than the limits allow.
    TooLarge,
    /// One frame of the original has more pixels than the limits allow.
    TooManyPixels,
    /// The original is wider or higher than the limits allow.
    SideTooLong,
    /// The original has more frames than the limits allow.
    TooManyFrames,
    /// All frames of the original together have more pixels than the limits allow.
    AnimationTooLarge,
    /// The result would have more pixels than the limits or its format allow.
    ResultTooLarge,
    /// The original has more bytes of profiles, EXIF, XMP and text than the limits allow.
    MetadataTooLarge,
    /// The original is a JPEG of more scans than the limits allow.
    TooManyScans,
    /// The origin could not be reached, or its connection died.
    OriginUnreachable,
    /// The origin answered with a status that is neither success nor "not there".
    OriginError,
    /// The origin's answer ended before its announced length.
    OriginTruncated,
    /// The bucket is in another region than the configuration says.
    WrongRegion,
    /// No credentials could be found for the bucket.
    NoCredentials,
    /// The origin missed a deadline.
    OriginTimeout,
    /// The renderer missed its deadline.
    RenderTimeout,
    /// The work on this image took too long.
    DecodeTimeout,
    /// The renderer ended while it worked on this image.
    RendererFailed,
    /// Renderers have ended because of this key, so it is not tried again for a while.
    CrashesRenderer,
}

impl Code {
    const ALL: [Code; 26] = [
        Code::NotFound,
        Code::NotShown,
        Code::InvalidKey,
        Code::TokenRefused,
        Code::FormatNotAllowed,
        Code::UnsupportedFormat,
        Code::CorruptImage,
        Code::PageMissing,
        Code::TooLarge,
        Code::TooManyPixels,
        Code::SideTooLong,
        Code::TooManyFrames,
        Code::AnimationTooLarge,
        Code::ResultTooLarge,
        Code::MetadataTooLarge,
        Code::TooManyScans,
        Code::OriginUnreachable,
        Code::OriginError,
        Code::OriginTruncated,
        Code::WrongRegion,
        Code::NoCredentials,
        Code::OriginTimeout,
        Code::RenderTimeout,
        Code::DecodeTimeout,
        Code::RendererFailed,
        Code::CrashesRenderer,
    ];

    /// The word in a client's `X-Error` and in the access log.
    pub const fn public(self) -> &'static str {
        match self {
            // Why is the operator's to know.
            Code::NotShown => "not_found",
            other => other.as_str(),
        }
    }

    /// Whether the failure is the origin's or the way to it, so that what was there before may still be.
    pub const fn is_outage(self) -> bool {
        matches!(
            self,
            Code::NotShown
                | Code::OriginUnreachable
                | Code::OriginError
                | Code::OriginTruncated
                | Code::WrongRegion
                | Code::NoCredentials
                | Code::OriginTimeout
                | Code::RenderTimeout
                | Code::DecodeTimeout
                | Code::RendererFailed
                | Code::CrashesRenderer
        )
    }

    /// The word that a renderer says to the edge.
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::NotFound => "not_found",
            Code::NotShown => "not_shown",
            Code::InvalidKey => "invalid_key",
            Code::TokenRefused => "token_refused",
            Code::FormatNotAllowed => "format_not_allowed",
            Code::UnsupportedFormat => "unsupported_format",
            Code::CorruptImage => "corrupt_image",
            Code::PageMissing => "page_missing",
            Code::TooLarge => "too_large",
            Code::TooManyPixels => "too_many_pixels",
            Code::SideTooLong => "side_too_long",
            Code::TooManyFrames => "too_many_frames",
            Code::AnimationTooLarge => "animation_too_large",
            Code::ResultTooLarge => "result_too_large",
            Code::MetadataTooLarge => "metadata_too_large",
            Code::TooManyScans => "too_many_scans",
            Code::OriginUnreachable => "origin_unreachable",
            Code::OriginError => "origin_error",
            Code::OriginTruncated => "origin_truncated",
            Code::WrongRegion => "wrong_region",
            Code::NoCredentials => "no_credentials",
            Code::OriginTimeout => "origin_timeout",
            Code::RenderTimeout => "render_timeout",
            Code::DecodeTimeout => "decode_timeout",
            Code::RendererFailed => "renderer_failed",
            Code::CrashesRenderer => "crashes_renderer",
        }
    }

    /// The code that a renderer's `X-Error` names.
    pub fn from_name(name: &str) -> Option<Code> {
        Code::ALL.into_iter().find(|code| code.as_str() == name)
    }

    /// The status under `"error_status": "precise"`.
    pub const fn precise_status(self) -> u16 {
        match self {
            Code::NotFound | Code::NotShown | Code::InvalidKey | Code::PageMissing => 404,
            Code::TokenRefused => 403,
            Code::TooLarge
            | Code::TooManyPixels
            | Code::SideTooLong
            | Code::TooManyFrames
            | Code::AnimationTooLarge
            | Code::ResultTooLarge
            | Code::MetadataTooLarge
            | Code::TooManyScans => 413,
            Code::FormatNotAllowed | Code::UnsupportedFormat | Code::CorruptImage => 415,
            Code::OriginTimeout | Code::RenderTimeout | Code::DecodeTimeout => 504,
            Code::OriginUnreachable
            | Code::OriginError
            | Code::OriginTruncated
            | Code::WrongRegion
            | Code::NoCredentials
            | Code::RendererFailed
            | Code::CrashesRenderer => 502,
        }
    }
}

/// A failed image: the code for the client and a sentence for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the client is told.
    pub code: Code,
    /// What the operator is told: which key, which origin, what to do about it.
    pub detail: String,
}

impl Failure {
    /// A failure with its sentence.
    pub fn new(code: Code, detail: impl Into<String>) -> Failure {
        Failure { code, detail: detail.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_name() {
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.as_str()), Some(code));
        }
        assert_eq!(Code::from_name("nonsense"), None);
    }

    #[test]
    fn precise_statuses_are_those_of_the_contract() {
        for code in Code::ALL {
            assert!([403, 404, 413, 415, 502, 504].contains(&code.precise_status()), "{code:?}");
        }
    }
}
