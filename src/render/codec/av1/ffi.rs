//! Declarations of shim.h.

use std::ffi::{c_char, c_int, c_void};

pub const MEMORY: c_int = -1;
pub const SIZE: c_int = -2;
pub const STREAM: c_int = -3;
pub const OPTION: c_int = -4;

pub const LAYOUT_400: i32 = 0;
pub const LAYOUT_420: i32 = 1;
pub const LAYOUT_422: i32 = 2;
pub const LAYOUT_444: i32 = 3;

#[repr(C)]
pub struct Frame {
    pub owner: *mut c_void,
    pub plane: [*const c_void; 3],
    pub stride: [usize; 3],
    pub width: u32,
    pub height: u32,
    pub depth: i32,
    pub layout: i32,
    pub primaries: i32,
    pub transfer: i32,
    pub matrix: i32,
    pub full_range: i32,
}

#[repr(C)]
pub struct Image {
    pub plane: [*const u8; 3],
    pub stride: [i32; 3],
    pub width: u32,
    pub height: u32,
    pub layout: i32,
    pub primaries: i32,
    pub transfer: i32,
    pub matrix: i32,
}

// shim.c asserts the same sizes.
const _: () = assert!(size_of::<Frame>() == 88 && size_of::<Image>() == 64);

unsafe extern "C" {
    pub fn s3av1_decode(
        stream: *const u8,
        length: usize,
        max_pixels: u32,
        frame: *mut Frame,
    ) -> c_int;
    pub fn s3av1_start(max_pixels: u32, decoder: *mut *mut c_void) -> c_int;
    pub fn s3av1_decode_next(
        decoder: *mut c_void,
        sample: *const u8,
        length: usize,
        frame: *mut Frame,
    ) -> c_int;
    pub fn s3av1_stop(decoder: *mut c_void);
    pub fn s3av1_release(frame: *mut Frame);
    pub fn s3av1_encode(
        image: *const Image,
        names: *const *const c_char,
        values: *const *const c_char,
        options: usize,
        bytes: *mut *mut u8,
        length: *mut usize,
    ) -> c_int;
    pub fn s3av1_free(bytes: *mut u8);
    pub fn s3av1_open(
        image: *const Image,
        names: *const *const c_char,
        values: *const *const c_char,
        options: usize,
        encoder: *mut *mut c_void,
    ) -> c_int;
    pub fn s3av1_next(
        encoder: *mut c_void,
        image: *const Image,
        bytes: *mut *mut u8,
        length: *mut usize,
        is_key: *mut i32,
    ) -> c_int;
    pub fn s3av1_close(encoder: *mut c_void);
}
