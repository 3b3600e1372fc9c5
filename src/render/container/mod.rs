//! How the files of images are put together, for those who look at them, those who leave parts out, and those who
//! read what libvips does not.

pub mod cursor;
pub mod gif;
pub mod png;
pub mod webp;
