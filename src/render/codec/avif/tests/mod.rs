//! Tests of each rule of the allow-list with files that break it, and of files of other encoders.

mod alpha;
mod animation;
mod av1;
pub mod coded;
mod file;
mod grids;
mod items;
mod movie;
mod properties;
mod real;
mod sample_tables;
mod sequences;

pub fn boxed(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32 + 8).to_be_bytes()[..], kind, payload].concat()
}
