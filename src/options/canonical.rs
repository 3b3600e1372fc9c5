//! The one spelling of options.

use std::fmt::{self, Write};

use super::{Colour, DEFAULT_QUALITY, Gravity, Options, Size};

impl Options {
    /// The canonical query; resolving it gives the same options again.
    pub fn canonical(&self) -> String {
        let mut query = Written(String::with_capacity(48));
        query.size(self.size);
        if let Some(format) = self.format {
            query.put("f", format_args!("{}", format.name()));
        }
        if self.quality != DEFAULT_QUALITY {
            query.put("q", format_args!("{}", self.quality));
        }
        if self.enlarge {
            query.put("e", format_args!("true"));
        }
        if self.background != Colour::WHITE {
            let [red, green, blue, alpha] = self.background.0;
            match alpha {
                0xff => query.put("bg", format_args!("{red:02x}{green:02x}{blue:02x}")),
                _ => query.put("bg", format_args!("{red:02x}{green:02x}{blue:02x}{alpha:02x}")),
            }
        }
        let (rotation, flip) = self.rotation.written();
        if let Some(degrees) = rotation {
            query.put("rot", format_args!("{degrees}"));
        }
        if let Some(flip) = flip {
            query.put("flip", format_args!("{flip}"));
        }
        if let Some(tolerance) = self.trim {
            query.put("trim", format_args!("{tolerance}"));
        }
        for (name, sigma) in [("blur", self.blur), ("sharp", self.sharp)] {
            if let Some(sigma) = sigma {
                query.put(name, format_args!("{}", sigma.pixels()));
            }
        }
        if self.lossless {
            query.put("lossless", format_args!("true"));
        }
        if self.page > 0 {
            query.put("page", format_args!("{}", self.page));
        }
        if let Some(frames) = self.frames {
            query.put("frames", format_args!("{frames}"));
        }
        if !self.strip {
            query.put("strip", format_args!("false"));
        }
        query.0
    }
}

struct Written(String);

impl Written {
    fn put(&mut self, name: &str, value: fmt::Arguments) {
        let separator = if self.0.is_empty() { "" } else { "&" };
        // Writing to a String can't fail.
        let _ = write!(self.0, "{separator}{name}={value}");
    }

    fn size(&mut self, size: Size) {
        let (width, height) = size.sides();
        for (name, side) in [("w", width), ("h", height)] {
            if let Some(pixels) = side {
                self.put(name, format_args!("{pixels}"));
            }
        }
        match size {
            Size::Fit(..) => self.put("c", format_args!("false")),
            Size::Pad(..) => self.put("pad", format_args!("true")),
            _ => {}
        }
        if let Size::Fill(_, _, gravity) | Size::Pad(_, _, gravity) = size
            && gravity != Gravity::CENTRE
        {
            self.put("g", format_args!("{gravity}"));
        }
    }
}
