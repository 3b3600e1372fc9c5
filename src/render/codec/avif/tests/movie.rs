//! Builds image sequences box by box.

use super::boxed;
use super::file::{data, full};
use crate::render::codec::avif::{Avif, Error, FrameDecoder, Frames, parse};

/// Where the data of the frames starts: after `ftyp` and the head of `mdat`.
pub const START: u32 = 24 + 8;

/// A sequence of one track. Its boxes may be replaced.
#[derive(Clone)]
pub struct Movie {
    pub samples: Vec<Vec<u8>>,
    /// `tkhd`, `edts`, `tref` and so on, by name.
    boxes: Vec<([u8; 4], Vec<u8>)>,
    /// Other tracks.
    pub tracks: Vec<Vec<u8>>,
}

pub fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// The colour samples of a file of `tests/data` whose first track has one chunk.
pub fn samples(name: &str) -> Vec<Vec<u8>> {
    let file = data(name);
    let table = |name: &[u8]| {
        let at = file.windows(4).position(|window| window == name).unwrap();
        let (numbers, _) = file[at + 8..].as_chunks();
        numbers.iter().map(|number| u32::from_be_bytes(*number) as usize).collect::<Vec<_>>()
    };
    let (sizes, mut offset) = (table(b"stsz"), table(b"stco")[1]);
    let sample = |size: &usize| {
        offset += size;
        file[offset - size..offset].to_vec()
    };
    sizes[2..2 + sizes[1]].iter().map(sample).collect()
}

impl Movie {
    /// The pictures of `animated.avif`: three frames of 64 × 48 pixels in 4:2:0, of 40, 50 and 60 ms.
    pub fn new() -> Movie {
        let samples = samples("animated.avif");
        let sizes: Vec<u32> = samples.iter().map(|sample| sample.len() as u32).collect();
        let mut movie = Movie { samples, boxes: Vec::new(), tracks: Vec::new() };
        movie.set(b"tkhd", 0, &numbers(&[0, 0, 1, 0, 150]));
        movie.set(b"mdhd", 0, &numbers(&[0, 0, 1000, 150, 0]));
        movie.set(b"hdlr", 0, &[&[0; 4][..], b"pict", &[0; 13]].concat());
        movie.set(b"stsd", 0, &entries(&[entry(b"av01", (64, 48), &[super::file::av1c_420()])]));
        movie.set(b"stts", 0, &numbers(&[3, 1, 40, 1, 50, 1, 60]));
        movie.set(b"stsc", 0, &numbers(&[1, 1, 3, 1]));
        movie.set(b"stsz", 0, &numbers(&[&[0, 3], &sizes[..]].concat()));
        movie.set(b"stco", 0, &numbers(&[1, START]));
        movie
    }

    /// Replaces a full box, or adds it.
    pub fn set(&mut self, name: &[u8; 4], version: u8, payload: &[u8]) -> &mut Movie {
        self.set_box(name, full(name, version, payload))
    }

    pub fn set_box(&mut self, name: &[u8; 4], whole: Vec<u8>) -> &mut Movie {
        self.remove(name);
        self.boxes.push((*name, whole));
        self
    }

    pub fn remove(&mut self, name: &[u8; 4]) -> &mut Movie {
        self.boxes.retain(|(other, _)| other != name);
        self
    }

    /// `trak` of the boxes that are set.
    pub fn track(&self) -> Vec<u8> {
        let all = |names: &[&[u8; 4]]| {
            let own = |(name, _): &&([u8; 4], Vec<u8>)| names.contains(&name);
            self.boxes.iter().filter(own).flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<u8>>()
        };
        let tables = [b"stsd", b"stts", b"stsc", b"stsz", b"stz2", b"stco", b"co64", b"stbl"];
        let minf = boxed(b"minf", &boxed(b"stbl", &all(&tables)));
        let mdia = boxed(b"mdia", &[all(&[b"mdhd", b"hdlr"]), minf].concat());
        boxed(b"trak", &[all(&[b"tkhd", b"edts", b"tref"]), mdia].concat())
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let moov = boxed(b"moov", &[&[self.track()], &self.tracks[..]].concat().concat());
        let ftyp = boxed(b"ftyp", b"avis\0\0\0\0avisavif");
        [ftyp, boxed(b"mdat", &self.samples.concat()), moov].concat()
    }

    #[track_caller]
    pub fn parsed(&self, check: impl FnOnce(&Avif, &Frames)) {
        let bytes = self.to_bytes();
        let avif = parse(&bytes).unwrap();
        check(&avif, avif.frames.as_ref().unwrap());
    }

    #[track_caller]
    pub fn error(&self) -> Error {
        parse(&self.to_bytes()).unwrap_err()
    }
}

/// `stsd` of these sample entries.
pub fn entries(entries: &[Vec<u8>]) -> Vec<u8> {
    [&numbers(&[entries.len() as u32])[..], &entries.concat()].concat()
}

/// A sample entry (ISO/IEC 14496-12 §12.1.3.2).
pub fn entry(name: &[u8; 4], (width, height): (u16, u16), boxes: &[Vec<u8>]) -> Vec<u8> {
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    boxed(name, &[&[0; 24][..], &size, &[0; 50], &boxes.concat()].concat())
}

/// All frames with their samples of 8 bits.
pub fn decode_all(avif: &Avif) -> Vec<Vec<u8>> {
    let length = (avif.colour.width * avif.colour.height) as usize * avif.bands();
    let mut decoder = FrameDecoder::new(avif).unwrap();
    let mut next = || {
        let mut samples = vec![0_u8; length];
        decoder.next(crate::render::codec::avif::Shrink::NONE, &mut samples).map(|()| samples)
    };
    let frames = avif.frames.as_ref().map_or(1, Frames::count);
    let decoded = (0..frames).map(|_| next().unwrap()).collect();
    assert!(next().is_err(), "there is no further frame");
    decoded
}
