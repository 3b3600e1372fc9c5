//! The parameters of one render that are known before pixels are decoded.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use super::frames::Frames;
use super::geometry::{Plan, plan, swap_sides};
use super::header::Header;
use super::overlay::Overlay;
use crate::config::FailOn;
use crate::format::Format;
use crate::options::{Options, Rotation, Size};

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
    /// Width and height of a frame after the orientation and `trim`, before `rot`.
    pub size: (u32, u32),
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
    ) -> RenderJob<'b> {
        let orientation = header.orientation();
        let size = swap_sides(orientation, (header.width, header.height));
        RenderJob {
            options,
            header,
            original_format,
            format,
            frames,
            fail_on,
            orientation,
            size,
            plan: plan_for(options, size),
            crop_corner: OnceCell::new(),
            overlays: RefCell::default(),
            memory_is_reduced: false,
        }
    }

    /// Sets the size that `trim` has left.
    pub fn set_trimmed_size(&mut self, size: (u32, u32)) {
        self.size = size;
        self.plan = plan_for(self.options, size);
    }

    /// Width and height of a frame after the resize, before `rot`: fewer pixels are rotated after the resize.
    pub fn resized(&self) -> (u32, u32) {
        swap_sides(self.options.rotation, (self.plan.width, self.plan.height))
    }

    /// Width and height of a frame of the result.
    pub fn result(&self) -> (u32, u32) {
        match (self.options.size, self.plan.crop) {
            (Size::Pad(width, height, _), _) => (width, height),
            (_, Some(crop)) => (crop.width, crop.height),
            (_, None) => (self.plan.width, self.plan.height),
        }
    }
}

fn plan_for(options: &Options, size: (u32, u32)) -> Plan {
    let (width, height) = swap_sides(options.rotation, size);
    plan(options.size, options.enlarge, width, height)
}
