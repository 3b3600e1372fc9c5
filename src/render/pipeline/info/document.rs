//! The JSON document of `f=json`. Names and types are those of docs/info.md; an addition is no breach, everything else
//! is.

use serde::Serialize;

use super::colours::{Colours, Rgb};

#[derive(Debug, Serialize)]
pub struct Document {
    pub original: Original,
    pub result: Outcome,
    pub placeholder: Placeholder,
}

#[derive(Debug, Serialize)]
pub struct Original {
    pub format: &'static str,
    pub media_type: &'static str,
    pub bytes: u64,
    /// Upright.
    pub width: u32,
    pub height: u32,
    pub stored_width: u32,
    pub stored_height: u32,
    pub orientation: u8,
    pub frames: u32,
    /// `None` for a still image, as is `plays`.
    pub duration_ms: Option<u64>,
    #[serde(rename = "loop")]
    pub plays: Option<u32>,
    pub alpha: bool,
    pub profile: Option<String>,
    pub progressive: bool,
    pub exif: bool,
    pub gps: bool,
}

/// What the same options would give as an image.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    Image { format: &'static str, media_type: &'static str, width: u32, height: u32, frames: u32 },
    Refused { error: &'static str },
}

#[derive(Debug, Serialize)]
pub struct Placeholder {
    average: Option<String>,
    dominant: Vec<Dominant>,
    thumbhash: String,
    blurhash: String,
}

#[derive(Debug, Serialize)]
struct Dominant {
    rgb: String,
    share: f64,
}

impl Placeholder {
    pub fn new(colours: Colours, thumbhash: String, blurhash: String) -> Placeholder {
        let Colours { average, dominant } = colours;
        let dominant = dominant
            .into_iter()
            .map(|(rgb, share)| Dominant { rgb: hexadecimal(rgb), share: share as f64 / 1000.0 });
        Placeholder {
            average: average.map(hexadecimal),
            dominant: dominant.collect(),
            thumbhash,
            blurhash,
        }
    }
}

/// As in CSS.
fn hexadecimal([red, green, blue]: Rgb) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}
