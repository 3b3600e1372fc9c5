//! The options of a description: which of them can change it.

use super::{Colour, Description, Gravity, Options, Output, Quality, Size};
use crate::format::Format;

impl Options {
    /// What is answered in place of the image.
    pub fn description(&self) -> Option<Description> {
        match self.format {
            Output::Description(description, _) => Some(description),
            _ => None,
        }
    }

    /// Resets options that can't change a description: those that encode, and effects whose strength is in pixels of the
    /// result, since colours and hashes are those of a thumbnail. A watermark is not described either.
    pub(super) fn normalize_description(
        mut self,
        description: Description,
        format: Option<Format>,
    ) -> Options {
        self.quality = Quality::default();
        self.max_bytes = None;
        self.strip = true;
        self.blur = None;
        self.sharp = None;
        self.round = None;
        self.pixelate = 1;
        self.watermarks = Vec::new();
        self.normalize_colours();
        // The padding is not described, only the size of the box.
        if let Size::Pad(width, height, _) = self.size
            && self.minimum.is_none()
        {
            self.size = Size::Pad(width, height, Gravity::CENTRE);
        }
        // It fills the corners of an image that is rotated.
        let fills_corners = self.rotation.oblique().is_some();
        if !fills_corners {
            self.background = self.background.opaque();
        }
        // The format has been chosen by it.
        self.lossless &= format.is_none();
        if !format.is_none_or(Format::keeps_animation) {
            self.frames = None;
        }
        if description != Description::Json {
            // The size of the result is not told, only its shape matters.
            let has_shape = match self.size {
                Size::Fill(..) | Size::Ratio(..) | Size::Stretch(..) => true,
                Size::Original | Size::Outside(..) => false,
                // Only what a minimum has enlarged is cropped.
                _ => self.minimum.is_some(),
            };
            if !has_shape {
                self.size = Size::Original;
                self.minimum = None;
            }
            self.lossless = false;
            // With `trim`, the frames together have one border.
            if self.trim.is_none() {
                self.frames = None;
            }
        }
        if description == Description::ThumbHash && !fills_corners {
            self.background = Colour::WHITE;
        }
        if self.size == Size::Original {
            self.enlarge = false;
        }
        self
    }
}
