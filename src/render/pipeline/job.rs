//! The parameters of one render that are known before pixels are decoded.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use super::frames::Frames;
use super::geometry::{Layout, Plan, swap_sides};
use super::header::Header;
use super::overlay::Overlay;
use super::turn::Turn;
use super::window;
use crate::config::FailOn;
use crate::error::{Code, Failure};
use crate::format::Format;
use crate::options::{Options, Rotation, Window};

/// One render.
#[derive(Debug)]
pub struct RenderJob<'b> {
    pub options: &'b Options,
    pub header: &'b Header<'b>,
    /// The format of the original.
    pub original_format: Format,
    /// The format of the result.
    pub format: Format,
    pub frames: Frames,
    pub fail_on: FailOn,
    /// The rotation that brings the original upright.
    pub orientation: Rotation,
    /// The rectangle of the upright original that is used, if it is not all of it.
    pub window: Option<Window>,
    /// Width and height of a frame after the orientation, `crop` and `trim`, before `rot`.
    pub size: (u32, u32),
    /// How it is rotated, if `rot` is no multiple of a quarter turn.
    pub turn: Option<Turn>,
    /// The resize and the crop, after `rot`.
    pub plan: Plan,
    /// The upper left corner of the crop: found in the first frame and used for all, so that the window stays in place.
    pub crop_corner: OnceCell<(u32, u32)>,
    /// The watermarks in their size, once the first frame has it.
    pub overlays: RefCell<Vec<Arc<Overlay>>>,
    /// The estimate counts on a decoder that takes less memory than libjpeg.
    pub memory_is_reduced: bool,
}

impl<'b> RenderJob<'b> {
    pub fn new(
        options: &'b Options,
        header: &'b Header<'b>,
        (original_format, format): (Format, Format),
        frames: Frames,
        fail_on: FailOn,
    ) -> Result<RenderJob<'b>, Failure> {
        let orientation = header.orientation();
        let (width, height) = swap_sides(orientation, (header.width, header.height));
        let outside = || {
            let sentence = format!(
                "the rectangle of crop is outside of the original, which has {width} x {height} pixels"
            );
            Failure::new(Code::CropOutside, sentence)
        };
        let layout = Layout::new(options, (width, height)).ok_or_else(outside)?;
        let Layout { window, size, turn, plan } = layout;
        Ok(RenderJob {
            options,
            header,
            original_format,
            format,
            frames,
            fail_on,
            orientation,
            window,
            size,
            turn,
            plan,
            crop_corner: OnceCell::new(),
            overlays: RefCell::default(),
            memory_is_reduced: false,
        })
    }

    /// Sets the size that `trim` has left.
    pub fn set_trimmed_size(&mut self, size: (u32, u32)) {
        Layout { size: self.size, turn: self.turn, plan: self.plan, .. } =
            Layout::of_size(self.options, size);
    }

    /// Width and height of a frame after the resize, before `rot`: fewer pixels are rotated after the resize.
    pub fn resized(&self) -> (u32, u32) {
        let (window, size, turn, plan) = (self.window, self.size, self.turn, self.plan);
        Layout { window, size, turn, plan }.resized(self.options.rotation)
    }

    /// Width and height of a frame of the result.
    pub fn result(&self) -> (u32, u32) {
        self.plan.result(self.options.size)
    }

    /// The rectangle of the original that is used, in the stored orientation.
    pub fn stored_window(&self) -> Option<Window> {
        let upright = swap_sides(self.orientation, (self.header.width, self.header.height));
        self.window.map(|window| window::stored(window, self.orientation, upright))
    }
}
