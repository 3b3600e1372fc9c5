//! Declarations of shim.h.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};

pub const MEMORY: c_int = -1;
pub const PROFILE: c_int = -2;
pub const STOPPED: c_int = -3;

#[repr(C)]
pub struct Image {
    pub samples: *const u8,
    pub length: usize,
    pub profile: *const u8,
    pub profile_length: usize,
    pub width: u32,
    pub height: u32,
    pub bands: u32,
    pub distance: f32,
}

// shim.c asserts the same size.
const _: () = assert!(size_of::<Image>() == 48);

unsafe extern "C" {
    pub fn s3jxl_encode(
        image: *const Image,
        is_stopped: extern "C" fn(*mut c_void) -> c_int,
        argument: *mut c_void,
        bytes: *mut *mut u8,
        length: *mut usize,
    ) -> c_int;
    pub fn s3jxl_free(bytes: *mut u8);
}
