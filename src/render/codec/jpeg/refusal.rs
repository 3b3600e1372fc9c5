//! Why an image is left to libjpeg.

/// What keeps this decoder from an image. libjpeg then decodes the image, or says what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The headers ask for something that is not done here.
    Unsupported(&'static str),
    /// libjpeg warns about this, or fails.
    Damaged(&'static str),
    /// The file ends within a segment or a scan.
    Truncated,
    /// Stopped by the caller's check.
    Stopped,
}

pub type Outcome<T> = Result<T, Refusal>;
