//! Writes the container of an animation: an image sequence (AVIF §3; ISO/IEC 14496-12 §8; MIAF §7.3.8) of one track of
//! pictures, and one for its alpha. The first frame is also the image of a reader that shows stills only.

use super::write::{
    AUXILIARY_ALPHA, Configs, File, nclx_payload, set_offset, write_box, write_meta,
};
use crate::render::codec::av1::Unit;

/// Milliseconds.
const TIMESCALE: u32 = 1000;
const COLOUR_TRACK: u32 = 1;
const ALPHA_TRACK: u32 = 2;
/// Identity (ISO/IEC 14496-12 §6.2.2).
const MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// The frames of an animation. Their data has no temporal delimiters.
#[derive(Debug)]
pub struct Sequence<'f> {
    /// The first frame.
    pub still: File<'f>,
    pub colour: &'f [Unit],
    /// As many as colours.
    pub alpha: Option<&'f [Unit]>,
    /// The time of each frame in milliseconds, not 0.
    pub delays: &'f [u32],
    /// How often the animation is shown; 0 is for ever.
    pub plays: u32,
}

/// The file; `None` if it reaches 4 GiB or a stream does not start with a sequence header.
pub fn write(sequence: &Sequence<'_>) -> Option<Vec<u8>> {
    let configs = Configs::of(&sequence.still)?;
    let mut out = Vec::new();
    write_box(&mut out, b"ftyp", |out| out.extend(b"avis\0\0\0\0avisavifmsf1iso8mif1miaf"));
    let items = write_meta(&mut out, &sequence.still, &configs);
    let mut chunks = [0; 2];
    write_box(&mut out, b"moov", |out| {
        full_box(out, b"mvhd", 1, 0, |out| {
            out.extend([0; 16]);
            out.extend(TIMESCALE.to_be_bytes());
            out.extend(sequence.all_plays().to_be_bytes());
            out.extend([0, 1, 0, 0, 1, 0]); // rate and volume 1
            out.extend([0; 10]);
            numbers(out, &MATRIX);
            out.extend([0; 24]);
            out.extend((ALPHA_TRACK + 1).to_be_bytes());
        });
        let colour =
            Track { sequence, units: sequence.colour, config: configs.colour, id: COLOUR_TRACK };
        let alpha = sequence.alpha.zip(configs.alpha);
        let alpha = alpha.map(|(units, config)| Track { units, config, id: ALPHA_TRACK, ..colour });
        for (track, chunk) in [Some(colour), alpha].into_iter().flatten().zip(&mut chunks) {
            write_box(out, b"trak", |out| *chunk = track.write(out));
        }
    });
    write_box(&mut out, b"mdat", |out| {
        if let Some(xmp) = sequence.still.metadata.xmp {
            set_offset(out, items.xmp);
            out.extend(xmp);
        }
        for (frame, colour) in sequence.colour.iter().enumerate() {
            // Alpha precedes colour, so that a partially received frame can be shown.
            let alpha = sequence.alpha.and_then(|alpha| alpha.get(frame));
            let [colour_chunks, alpha_chunks] = chunks;
            for (unit, chunks, item) in
                [(alpha, alpha_chunks, items.alpha), (Some(colour), colour_chunks, items.colour)]
            {
                let Some(unit) = unit else { continue };
                set_offset(out, chunks + frame * 4);
                if frame == 0 {
                    set_offset(out, item);
                }
                out.extend(&unit.data);
            }
        }
    });
    u32::try_from(out.len()).is_ok().then_some(out)
}

impl Sequence<'_> {
    /// The time of all frames.
    fn once(&self) -> u64 {
        self.delays.iter().copied().map(u64::from).sum()
    }

    /// The time of all plays; all bits are set if there is no end.
    fn all_plays(&self) -> u64 {
        if self.plays == 0 { u64::MAX } else { self.once().saturating_mul(self.plays.into()) }
    }
}

/// The frames of colours or of alpha.
#[derive(Clone, Copy)]
struct Track<'f> {
    sequence: &'f Sequence<'f>,
    units: &'f [Unit],
    config: [u8; 4],
    id: u32,
}

impl Track<'_> {
    /// Writes the contents of `trak`. Returns the position of the offsets of chunks, of which each is a frame.
    fn write(&self, out: &mut Vec<u8>) -> usize {
        let Track { sequence, id, .. } = *self;
        let is_alpha = id == ALPHA_TRACK;
        let mut offsets = 0;
        let File { width, height, .. } = sequence.still;
        full_box(out, b"tkhd", 1, 1, |out| {
            out.extend([0; 16]);
            out.extend(id.to_be_bytes());
            out.extend([0; 4]);
            out.extend(sequence.all_plays().to_be_bytes());
            out.extend([0; 16]);
            numbers(out, &MATRIX);
            numbers(out, &[width << 16, height << 16]);
        });
        write_box(out, b"edts", |out| {
            // Flag 1: the edit list is repeated until the end of the track.
            full_box(out, b"elst", 1, u32::from(sequence.plays != 1), |out| {
                out.extend(1_u32.to_be_bytes());
                out.extend(sequence.once().to_be_bytes());
                out.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]); // from the first frame on, at rate 1
            });
        });
        if is_alpha {
            write_box(out, b"tref", |out| {
                write_box(out, b"auxl", |out| out.extend(COLOUR_TRACK.to_be_bytes()));
            });
        }
        write_box(out, b"mdia", |out| {
            full_box(out, b"mdhd", 1, 0, |out| {
                out.extend([0; 16]);
                out.extend(TIMESCALE.to_be_bytes());
                out.extend(sequence.once().to_be_bytes());
                out.extend([0x55, 0xc4, 0, 0]); // no language
            });
            full_box(out, b"hdlr", 0, 0, |out| {
                out.extend([0; 4]);
                out.extend(if is_alpha { b"auxv" } else { b"pict" });
                out.extend([0; 13]);
            });
            write_box(out, b"minf", |out| {
                full_box(out, b"vmhd", 0, 1, |out| out.extend([0; 8]));
                write_box(out, b"dinf", |out| {
                    full_box(out, b"dref", 0, 0, |out| {
                        out.extend(1_u32.to_be_bytes());
                        full_box(out, b"url ", 0, 1, |_| {}); // in this file
                    });
                });
                write_box(out, b"stbl", |out| {
                    offsets = self.write_samples(out);
                });
            });
        });
        offsets
    }

    /// Writes the contents of `stbl`.
    fn write_samples(&self, out: &mut Vec<u8>) -> usize {
        let Track { sequence, units, config, id } = *self;
        let is_alpha = id == ALPHA_TRACK;
        let count = units.len() as u32;
        full_box(out, b"stsd", 0, 0, |out| {
            out.extend(1_u32.to_be_bytes());
            write_box(out, b"av01", |out| {
                write_sample_entry(out, &sequence.still, config, is_alpha)
            });
        });
        let mut times: Vec<[u32; 2]> = Vec::new();
        for delay in sequence.delays {
            match times.last_mut() {
                Some([repeated, last]) if last == delay => *repeated += 1,
                _ => times.push([1, *delay]),
            }
        }
        full_box(out, b"stts", 0, 0, |out| {
            out.extend((times.len() as u32).to_be_bytes());
            numbers(out, times.as_flattened());
        });
        let keys = (1..).zip(units).filter(|(_, unit)| unit.is_key).map(|(number, _)| number);
        let keys: Vec<u32> = keys.collect();
        full_box(out, b"stss", 0, 0, |out| {
            out.extend((keys.len() as u32).to_be_bytes());
            numbers(out, &keys);
        });
        // One sample in each chunk.
        full_box(out, b"stsc", 0, 0, |out| numbers(out, &[1, 1, 1, 1]));
        full_box(out, b"stsz", 0, 0, |out| {
            numbers(out, &[0, count]);
            let sizes: Vec<u32> = units.iter().map(|unit| unit.data.len() as u32).collect();
            numbers(out, &sizes);
        });
        let mut offsets = 0;
        full_box(out, b"stco", 0, 0, |out| {
            out.extend(count.to_be_bytes());
            offsets = out.len();
            out.resize(offsets + units.len() * 4, 0);
        });
        offsets
    }
}

/// Writes the contents of `av01` (AV1-ISOBMFF §2.2, ISO/IEC 14496-12 §12.1.3).
fn write_sample_entry(out: &mut Vec<u8>, still: &File<'_>, config: [u8; 4], is_alpha: bool) {
    out.extend([0, 0, 0, 0, 0, 0, 0, 1]);
    out.extend([0; 16]);
    out.extend((still.width as u16).to_be_bytes());
    out.extend((still.height as u16).to_be_bytes());
    numbers(out, &[0x48_0000, 0x48_0000, 0]); // 72 pixels an inch
    out.extend([0, 1]); // frames in a sample
    out.extend([0; 32]);
    out.extend([0, 0x18, 0xff, 0xff]);
    write_box(out, b"av1C", |out| out.extend(config));
    // Coding constraints (ISO/IEC 23008-12 §7.2.3): frames are predicted from any others, and within themselves.
    full_box(out, b"ccst", 0, 0, |out| out.extend([0x7c, 0, 0, 0]));
    if is_alpha {
        write_box(out, b"auxi", |out| out.extend(AUXILIARY_ALPHA));
        return;
    }
    write_box(out, b"colr", |out| out.extend(nclx_payload(still.nclx)));
    if let Some(icc) = still.metadata.icc {
        write_box(out, b"colr", |out| {
            out.extend(b"prof");
            out.extend(icc);
        });
    }
}

fn full_box(
    out: &mut Vec<u8>,
    name: &[u8; 4],
    version: u8,
    flags: u32,
    payload: impl FnOnce(&mut Vec<u8>),
) {
    write_box(out, name, |out| {
        out.extend((u32::from(version) << 24 | flags).to_be_bytes());
        payload(out);
    });
}

fn numbers(out: &mut Vec<u8>, numbers: &[u32]) {
    out.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
}
