//! Writes the container of a still image: one AV1 item, and one for its alpha (AVIF §2, §4; MIAF §7).

use super::{Chroma, Metadata, Nclx};

/// The contents of a file.
#[derive(Clone, Copy, Debug)]
pub struct File<'f> {
    pub width: u32,
    pub height: u32,
    /// AV1 stream of the image.
    pub colour: &'f [u8],
    pub chroma: Chroma,
    pub nclx: Nclx,
    pub metadata: Metadata<'f>,
    /// Monochrome AV1 stream of the same size.
    pub alpha: Option<&'f [u8]>,
}

const COLOUR_ID: u16 = 1;
const ALPHA_ID: u16 = 2;
const XMP_ID: u16 = 3;

/// The payload of `auxC` and `auxi` (AVIF §4.1): version and flags, and a URN.
pub const AUXILIARY_ALPHA: &[u8] = b"\0\0\0\0urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0";

/// Essential flag in `ipma`. AVIF §2.2.1 requires it for `av1C`.
const ESSENTIAL: u8 = 0x80;

/// The file; `None` if it reaches 4 GiB or a stream does not start with a sequence header.
pub fn write(file: &File<'_>) -> Option<Vec<u8>> {
    let file = &File {
        colour: strip_delimiter(file.colour),
        alpha: file.alpha.map(strip_delimiter),
        ..*file
    };
    let Metadata { icc, xmp } = file.metadata;
    let others = [file.alpha, icc, xmp].into_iter().flatten().map(<[u8]>::len).sum::<usize>();
    let mut out = Vec::with_capacity(file.colour.len() + others + 700);
    write_box(&mut out, b"ftyp", |out| {
        out.extend(b"avif\0\0\0\0avifmif1miaf");
    });
    let offsets = write_meta(&mut out, file, &Configs::of(file)?);
    write_box(&mut out, b"mdat", |out| {
        // Alpha precedes colour, so that a partially received image can be shown.
        let colour = (Some(file.colour), offsets.colour);
        for (stream, field) in [(file.alpha, offsets.alpha), colour, (xmp, offsets.xmp)] {
            if let Some(stream) = stream {
                set_offset(out, field);
                out.extend(stream);
            }
        }
    });
    u32::try_from(out.len()).is_ok().then_some(out)
}

/// The payloads of `av1C`.
pub struct Configs {
    pub colour: [u8; 4],
    pub alpha: Option<[u8; 4]>,
}

impl Configs {
    pub fn of(file: &File<'_>) -> Option<Configs> {
        Some(Configs {
            colour: av1_config(file.colour, file.chroma)?,
            alpha: match file.alpha {
                Some(alpha) => Some(av1_config(alpha, Chroma::Monochrome)?),
                None => None,
            },
        })
    }
}

/// The positions of fields that hold the offsets of the items' data.
#[derive(Clone, Copy, Default)]
pub struct Offsets {
    pub colour: usize,
    pub alpha: usize,
    pub xmp: usize,
}

/// Writes `meta` with the items of the image, whose streams have no temporal delimiters.
pub fn write_meta(out: &mut Vec<u8>, file: &File<'_>, configs: &Configs) -> Offsets {
    let mut offsets = Offsets::default();
    write_box(out, b"meta", |out| {
        out.extend([0; 4]);
        // The names of the handler and of items are C strings, empty here.
        write_box(out, b"hdlr", |out| {
            out.extend(b"\0\0\0\0\0\0\0\0pict\0\0\0\0\0\0\0\0\0\0\0\0\0")
        });
        write_box(out, b"pitm", |out| {
            out.extend([0; 4]);
            out.extend(COLOUR_ID.to_be_bytes());
        });
        let items = file.alpha.map(|alpha| (ALPHA_ID, alpha)).into_iter();
        let images: Vec<(u16, &[u8])> = items.chain([(COLOUR_ID, file.colour)]).collect();
        let xmp = file.metadata.xmp.map(|xmp| (XMP_ID, xmp));
        let items: Vec<(u16, &[u8])> = images.iter().copied().chain(xmp).collect();
        let count = (items.len() as u16).to_be_bytes();
        write_box(out, b"iloc", |out| {
            out.extend([0, 0, 0, 0, 0x44, 0]); // offsets and lengths of 4 bytes, no base
            out.extend(count);
            for (id, stream) in &items {
                out.extend(id.to_be_bytes());
                out.extend([0, 0, 0, 1]); // in this file, one extent
                match *id {
                    ALPHA_ID => offsets.alpha = out.len(),
                    XMP_ID => offsets.xmp = out.len(),
                    _ => offsets.colour = out.len(),
                }
                out.extend([0; 4]);
                out.extend((stream.len() as u32).to_be_bytes());
            }
        });
        write_box(out, b"iinf", |out| {
            out.extend([0; 4]);
            out.extend(count);
            let images = images.iter().rev().map(|(id, _)| (*id, &b"av01\0"[..]));
            let xmp = xmp.map(|(id, _)| (id, &b"mime\0application/rdf+xml\0"[..]));
            for (id, kind) in images.chain(xmp) {
                write_box(out, b"infe", |out| {
                    out.extend([2, 0, 0, 0]);
                    out.extend(id.to_be_bytes());
                    out.extend([0, 0]);
                    out.extend(kind);
                });
            }
        });
        let references =
            [file.alpha.map(|_| (b"auxl", ALPHA_ID)), xmp.map(|(id, _)| (b"cdsc", id))];
        if references.iter().any(Option::is_some) {
            write_box(out, b"iref", |out| {
                out.extend([0; 4]);
                for (name, from) in references.into_iter().flatten() {
                    write_box(out, name, |out| {
                        let numbers = [from, 1, COLOUR_ID];
                        out.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
                    });
                }
            });
        }
        write_box(out, b"iprp", |out| write_properties(out, file, configs.colour, configs.alpha));
    });
    offsets
}

/// Sets the field at this position to the length of the file so far.
pub fn set_offset(out: &mut [u8], field: usize) {
    let offset = (out.len() as u32).to_be_bytes();
    if let Some(field) = out.get_mut(field..field.saturating_add(4)) {
        field.copy_from_slice(&offset);
    }
}

/// Writes `ipco` and `ipma`. Colour and alpha share `ispe`.
fn write_properties(out: &mut Vec<u8>, file: &File<'_>, colour: [u8; 4], alpha: Option<[u8; 4]>) {
    let mut colour_properties = Vec::new();
    let mut alpha_properties = Vec::new();
    write_box(out, b"ipco", |out| {
        let mut count = 0;
        let mut add = |name: &[u8; 4], payload: &[&[u8]]| {
            write_box(out, name, |out| payload.iter().for_each(|part| out.extend(*part)));
            count += 1;
            count
        };
        let size = [file.width.to_be_bytes(), file.height.to_be_bytes()];
        let size = add(b"ispe", &[&[0; 4], size.as_flattened()]);
        let channels: &[u8] =
            if file.chroma == Chroma::Monochrome { &[1, 8] } else { &[3, 8, 8, 8] };
        colour_properties.extend([size, add(b"pixi", &[&[0; 4], channels])]);
        colour_properties.push(add(b"av1C", &[&colour]) | ESSENTIAL);
        colour_properties.push(add(b"colr", &[&nclx_payload(file.nclx)]));
        if let Some(icc) = file.metadata.icc {
            colour_properties.push(add(b"colr", &[b"prof", icc]));
        }
        if let Some(alpha) = alpha {
            alpha_properties.extend([size, add(b"pixi", &[&[0, 0, 0, 0, 1, 8]])]);
            alpha_properties.push(add(b"av1C", &[&alpha]) | ESSENTIAL);
            alpha_properties.push(add(b"auxC", &[AUXILIARY_ALPHA]));
        }
    });
    write_box(out, b"ipma", |out| {
        let all = [(COLOUR_ID, colour_properties), (ALPHA_ID, alpha_properties)];
        let all = all.iter().filter(|(_, properties)| !properties.is_empty());
        out.extend([0; 4]);
        out.extend((all.clone().count() as u32).to_be_bytes());
        for (id, properties) in all {
            out.extend(id.to_be_bytes());
            out.push(properties.len() as u8);
            out.extend(properties);
        }
    });
}

/// The payload of `colr` with code points.
pub fn nclx_payload(nclx: Nclx) -> [u8; 11] {
    let mut payload = *b"nclx\0\0\0\0\0\0\0";
    let points = [nclx.primaries, nclx.transfer, nclx.matrix].map(u16::to_be_bytes);
    payload[4..10].copy_from_slice(points.as_flattened());
    payload[10] = u8::from(nclx.is_full_range) << 7;
    payload
}

/// Writes a box; its length is filled in after its payload.
pub fn write_box(out: &mut Vec<u8>, name: &[u8; 4], payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    out.extend(name);
    payload(out);
    let length = ((out.len() - start) as u32).to_be_bytes();
    if let Some(field) = out.get_mut(start..start + 4) {
        field.copy_from_slice(&length);
    }
}

/// An item should not contain temporal delimiters (AVIF §2.1); libaom writes one first.
pub fn strip_delimiter(stream: &[u8]) -> &[u8] {
    stream.strip_prefix(&[0x12, 0]).unwrap_or(stream)
}

/// The payload of `av1C` (AV1-ISOBMFF §2.3.3) for 8 bits per sample. Profile, level and tier come from the sequence
/// header (AV1 §5.5.1): a reduced one of a still picture, or that of a sequence without timing information.
fn av1_config(stream: &[u8], chroma: Chroma) -> Option<[u8; 4]> {
    let (header, rest) = stream.split_first()?;
    // §5.3.2: type 1 with a size field, which is one byte because the header is shorter than 128 bytes.
    let [_, first, second, ref rest @ ..] = *rest else { return None };
    if header & 0b0111_1010 != 0b0000_1010 {
        return None;
    }
    // seq_profile (3), still_picture, reduced_still_picture_header
    let profile = first >> 5;
    let (level, tier) = if first & 0b1000 != 0 {
        // seq_level_idx (5)
        (first << 2 & 0b1_1100 | second >> 6, 0)
    } else {
        // timing_info_present_flag, initial_display_delay_present_flag, operating_points_cnt_minus_1 (5),
        // operating_point_idc (12), seq_level_idx (5), seq_tier above level 3.3
        let [_, last, ..] = *rest else { return None };
        if first & 0b110 != 0 {
            return None;
        }
        let level = last >> 3;
        (level, if level > 7 { last >> 2 & 1 } else { 0 })
    };
    let format = match chroma {
        Chroma::Monochrome => 0b0001_1100,
        Chroma::Yuv420 => 0b0000_1100,
        Chroma::Yuv422 => 0b0000_1000,
        Chroma::Yuv444 => 0,
    };
    Some([0x81, profile << 5 | level, tier << 7 | format, 0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::codec::av1::{Planes, Settings, encode};
    use crate::render::codec::avif::parse;

    fn stream(width: u32, height: u32, chroma: Chroma) -> Vec<u8> {
        let (chroma_width, chroma_height) = chroma.plane_size(width, height);
        let luma = vec![9; (width * height) as usize];
        let plane = vec![99; (chroma_width * chroma_height) as usize];
        let planes = [&luma[..], &plane, &plane];
        let image = Planes { width, height, chroma, primaries: 1, transfer: 13, matrix: 6, planes };
        encode(&image, &Settings { options: &[(c"cpu-used", "9")] }).unwrap()
    }

    fn file<'f>(colour: &'f [u8], chroma: Chroma) -> File<'f> {
        let nclx = Nclx { primaries: 12, transfer: 13, matrix: 6, is_full_range: true };
        File {
            width: 70,
            height: 50,
            colour,
            chroma,
            nclx,
            metadata: Metadata::default(),
            alpha: None,
        }
    }

    #[test]
    fn avif_container_round_trips() {
        let alpha = stream(70, 50, Chroma::Monochrome);
        for chroma in [Chroma::Monochrome, Chroma::Yuv420, Chroma::Yuv444] {
            let colour = stream(70, 50, chroma);
            for icc in [None, Some(&b"a profile"[..])] {
                for (alpha, xmp) in [None, Some(&alpha[..])]
                    .into_iter()
                    .flat_map(|alpha| [(alpha, None), (alpha, Some(&b"<x:xmpmeta/>"[..]))])
                {
                    let metadata = Metadata { icc, xmp };
                    let file = File { metadata, alpha, ..file(&colour, chroma) };
                    let written = write(&file).unwrap();
                    let avif = parse(&written).unwrap();
                    assert_eq!((avif.colour.width, avif.colour.height), (70, 50));
                    assert_eq!(avif.colour.sequence.chroma, chroma);
                    assert_eq!(avif.nclx, Some(file.nclx));
                    assert_eq!((avif.icc, avif.xmp.as_deref()), (icc, xmp));
                    assert_eq!(avif.colour.tiles[0], strip_delimiter(&colour));
                    assert_eq!(
                        avif.alpha.map(|coded| coded.tiles[0].to_vec()),
                        alpha.map(|a| strip_delimiter(a).to_vec())
                    );
                    assert!(
                        !avif.is_premultiplied
                            && avif.orientation.is_empty()
                            && avif.crop.is_none()
                    );
                }
            }
        }
    }

    #[test]
    fn av1_config_matches_the_sequence_header() {
        // AV1 §A.3: up to 147,456 pixels are level 2.0, which is 0; up to 278,784 are 2.1, which is 1.
        for (width, height, level) in [(70, 50, 0), (600, 400, 1)] {
            for (chroma, profile, format) in [
                (Chroma::Monochrome, 0, 0b0001_1100),
                (Chroma::Yuv420, 0, 0b0000_1100),
                (Chroma::Yuv444, 1, 0),
            ] {
                let stream = stream(width, height, chroma);
                let config = av1_config(strip_delimiter(&stream), chroma).unwrap();
                assert_eq!(config, [0x81, profile << 5 | level, format, 0], "{width} {chroma:?}");
            }
        }
    }

    #[test]
    fn avif_write_refuses_invalid_streams() {
        for stream in [&b""[..], b"\x12\0", b"\x0a", b"\x0a\x0a\0", b"\x32\x0a\0\0\0"] {
            assert!(write(&file(stream, Chroma::Yuv420)).is_none());
        }
    }
}
