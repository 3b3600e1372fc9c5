//! Checks the sizes of originals and results.

use crate::config::Limits;
use crate::error::{Code, Failure};
use crate::format::Format;
use crate::render::codec::ImageInfo;

/// The fields of `limits` that bound an image.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// `source_max_pixels`, of one frame.
    pub pixels: u64,
    /// `source_max_side`
    pub side: u32,
    /// `source_max_frames`, of those that are decoded.
    pub frames: u32,
    /// `source_max_total_pixels`, of the frames that are decoded.
    pub total_pixels: u64,
    /// `source_max_metadata`
    pub metadata: u64,
    /// `source_max_scans`
    pub scans: u32,
    /// `result_max_pixels`, of all frames of the resized image before the crop.
    pub result: u64,
}

impl Bounds {
    pub fn from_limits(limits: &Limits) -> Bounds {
        Bounds {
            pixels: limits.source_max_pixels,
            side: limits.source_max_side,
            frames: limits.source_max_frames,
            total_pixels: limits.source_max_total_pixels,
            metadata: limits.source_max_metadata,
            scans: limits.source_max_scans,
            result: limits.result_max_pixels,
        }
    }

    /// Refuses an original whose container exceeds a limit, if this many of its frames are decoded.
    pub fn check_source(&self, info: &ImageInfo, frames: u32) -> Result<(), Failure> {
        let ImageInfo { width, height, .. } = *info;
        let sides = format!("the original has {width} x {height} pixels");
        refuse(width.max(height) > self.side, Code::SideTooLong, || {
            format!("{sides}, a side longer than limits.source_max_side ({})", self.side)
        })?;
        refuse(info.frame_pixels > self.pixels, Code::TooManyPixels, || {
            let decoded = info.frame_pixels;
            format!(
                "{sides} ({decoded} to decode), more than limits.source_max_pixels ({})",
                self.pixels
            )
        })?;
        let decoded = info.frame_pixels.saturating_mul(u64::from(frames)).min(info.total_pixels);
        self.check_frames(frames, decoded)?;
        refuse(info.scans > self.scans, Code::TooManyScans, || {
            format!(
                "the original has {} scans, more than limits.source_max_scans ({})",
                info.scans, self.scans
            )
        })?;
        self.check_metadata(info.metadata_bytes)
    }

    /// Refuses an animation with this many frames to decode, and pixels in all of them.
    fn check_frames(&self, frames: u32, pixels: u64) -> Result<(), Failure> {
        // A single frame is a still image.
        if frames < 2 {
            return Ok(());
        }
        refuse(frames > self.frames, Code::TooManyFrames, || {
            format!(
                "the original has {frames} frames, more than limits.source_max_frames ({})",
                self.frames
            )
        })?;
        refuse(pixels > self.total_pixels, Code::AnimationTooLarge, || {
            let max = self.total_pixels;
            format!(
                "the original has {pixels} pixels in {frames} frames, more than limits.source_max_total_pixels ({max})"
            )
        })
    }

    /// Refuses an original with this much metadata.
    pub fn check_metadata(&self, bytes: u64) -> Result<(), Failure> {
        refuse(bytes > self.metadata, Code::MetadataTooLarge, || {
            let max = self.metadata;
            format!(
                "the original has {bytes} bytes of metadata, more than limits.source_max_metadata ({max})"
            )
        })
    }

    /// Refuses an original that is larger for libvips than its container says.
    pub fn check_header(&self, width: u32, height: u32, frames: u32) -> Result<(), Failure> {
        let pixels = area(width, height);
        refuse(pixels > self.pixels, Code::TooManyPixels, || {
            let max = self.pixels;
            format!(
                "the original has {width} x {height} pixels, more than limits.source_max_pixels ({max})"
            )
        })?;
        self.check_frames(frames, pixels.saturating_mul(u64::from(frames)))
    }

    /// Refuses a result of this size and number of frames.
    pub fn check_result(
        &self,
        what: &str,
        width: u32,
        height: u32,
        frames: u32,
    ) -> Result<(), Failure> {
        refuse(
            area(width, height).saturating_mul(u64::from(frames)) > self.result,
            Code::ResultTooLarge,
            || {
                let max = self.result;
                format!(
                    "the {what} would have {width} x {height} pixels in {frames} frames, more than \
                 limits.result_max_pixels ({max})"
                )
            },
        )
    }
}

fn area(width: u32, height: u32) -> u64 {
    u64::from(width).saturating_mul(u64::from(height))
}

fn refuse(exceeds: bool, code: Code, sentence: impl FnOnce() -> String) -> Result<(), Failure> {
    if exceeds { Err(Failure::new(code, sentence())) } else { Ok(()) }
}

fn check_side(format: Format, side: u32) -> Result<(), Failure> {
    let max = format.max_side();
    refuse(side > max, Code::ResultTooLarge, || {
        format!("the result would have a side of {side} pixels; {} allows {max}", format.title())
    })
}

/// Refuses a result that the encoder of its format does not accept.
pub fn check_encoder(format: Format, width: u32, height: u32) -> Result<(), Failure> {
    check_side(format, width.max(height))?;
    refuse(area(width, height) > format.max_pixels(), Code::ResultTooLarge, || {
        format!(
            "the result would have {width} x {height} pixels; {} allows {}",
            format.title(),
            format.max_pixels()
        )
    })
}
