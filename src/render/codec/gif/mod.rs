//! GIF (87a, 89a): its container, the composition of its frames, and an encoder of animations.

mod area;
mod blocks;
mod canvas;
mod decompress;
mod encode;
mod inspect;

pub use area::Area;
pub use canvas::{Canvas, Drawn, Pixel};
pub use decompress::End;
pub use encode::{Animation, encode, to_pixel};
pub use inspect::{check_only_pixels, inspect, summarize, times};

#[cfg(test)]
pub use blocks::table_length;
#[cfg(test)]
pub use inspect::tests;
