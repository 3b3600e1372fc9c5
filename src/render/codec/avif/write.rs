//! The container of a still image: one AV1 item, and one for its alpha (AVIF §2, §4; MIAF §7).

use super::{Chroma, Nclx};

/// What a file consists of.
#[derive(Debug)]
pub struct File<'f> {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The AV1 of the image.
    pub color: &'f [u8],
    /// Its subsampling.
    pub chroma: Chroma,
    /// Its color description.
    pub nclx: Nclx,
    /// Its profile.
    pub icc: Option<&'f [u8]>,
    /// Monochrome AV1 of the same size.
    pub alpha: Option<&'f [u8]>,
}

const COLOR_ID: u16 = 1;
const ALPHA_ID: u16 = 2;

/// What `ipma` marks as essential. AVIF §2.2.1 demands it of `av1C`.
const ESSENTIAL: u8 = 0x80;

/// Writes the file; `None` if it takes 4 GiB or a stream does not start with a sequence header.
pub fn write(file: &File<'_>) -> Option<Vec<u8>> {
    let color = without_delimiter(file.color);
    let alpha = file.alpha.map(without_delimiter);
    let profile = file.icc.map_or(0, <[u8]>::len);
    let mut out = Vec::with_capacity(color.len() + alpha.map_or(0, <[u8]>::len) + profile + 600);
    boxed(&mut out, b"ftyp", |out| {
        out.extend(b"avif\0\0\0\0avifmif1miaf");
    });

    let mut places = Vec::new();
    let configuration = configuration(color, file.chroma)?;
    let alpha_configuration = match alpha {
        Some(alpha) => Some(self::configuration(alpha, Chroma::Monochrome)?),
        None => None,
    };
    boxed(&mut out, b"meta", |out| {
        out.extend([0; 4]);
        // A handler's name and an item's are C strings; both are empty here.
        boxed(out, b"hdlr", |out| out.extend(b"\0\0\0\0\0\0\0\0pict\0\0\0\0\0\0\0\0\0\0\0\0\0"));
        boxed(out, b"pitm", |out| {
            out.extend([0; 4]);
            out.extend(COLOR_ID.to_be_bytes());
        });
        // Alpha stands first in the file, so that as much of the image can be shown as has arrived.
        let items = alpha.map(|alpha| (ALPHA_ID, alpha)).into_iter().chain([(COLOR_ID, color)]);
        let items: Vec<(u16, &[u8])> = items.collect();
        let count = (items.len() as u16).to_be_bytes();
        boxed(out, b"iloc", |out| {
            out.extend([0, 0, 0, 0, 0x44, 0]); // offsets and lengths of 4 bytes, no base
            out.extend(count);
            for (id, stream) in &items {
                out.extend(id.to_be_bytes());
                out.extend([0, 0, 0, 1]); // in this file, one extent
                places.push((out.len(), *stream));
                out.extend([0; 4]);
                out.extend((stream.len() as u32).to_be_bytes());
            }
        });
        boxed(out, b"iinf", |out| {
            out.extend([0; 4]);
            out.extend(count);
            for (id, _) in items.iter().rev() {
                boxed(out, b"infe", |out| {
                    out.extend([2, 0, 0, 0]);
                    out.extend(id.to_be_bytes());
                    out.extend(b"\0\0av01\0");
                });
            }
        });
        if alpha.is_some() {
            boxed(out, b"iref", |out| {
                out.extend([0; 4]);
                boxed(out, b"auxl", |out| {
                    out.extend(
                        [ALPHA_ID, 1, COLOR_ID].iter().flat_map(|number| number.to_be_bytes()),
                    );
                });
            });
        }
        boxed(out, b"iprp", |out| properties(out, file, configuration, alpha_configuration));
    });

    boxed(&mut out, b"mdat", |out| {
        for (place, stream) in places {
            let offset = (out.len() as u32).to_be_bytes();
            out.extend(stream);
            if let Some(place) = out.get_mut(place..place + 4) {
                place.copy_from_slice(&offset);
            }
        }
    });
    u32::try_from(out.len()).is_ok().then_some(out)
}

/// `ipco`, and which of its properties the items have. The first two are both items'.
fn properties(out: &mut Vec<u8>, file: &File<'_>, configuration: [u8; 4], alpha: Option<[u8; 4]>) {
    let mut of_color = Vec::new();
    let mut of_alpha = Vec::new();
    boxed(out, b"ipco", |out| {
        let mut count = 0;
        let mut add = |name: &[u8; 4], payload: &[&[u8]]| {
            boxed(out, name, |out| payload.iter().for_each(|part| out.extend(*part)));
            count += 1;
            count
        };
        let size = [file.width.to_be_bytes(), file.height.to_be_bytes()];
        let size = add(b"ispe", &[&[0; 4], size.as_flattened()]);
        let channels: &[u8] =
            if file.chroma == Chroma::Monochrome { &[1, 8] } else { &[3, 8, 8, 8] };
        of_color.extend([size, add(b"pixi", &[&[0; 4], channels])]);
        of_color.push(add(b"av1C", &[&configuration]) | ESSENTIAL);
        let nclx =
            [file.nclx.primaries, file.nclx.transfer, file.nclx.matrix].map(u16::to_be_bytes);
        let range = [u8::from(file.nclx.is_full_range) << 7];
        of_color.push(add(b"colr", &[b"nclx", nclx.as_flattened(), &range]));
        if let Some(icc) = file.icc {
            of_color.push(add(b"colr", &[b"prof", icc]));
        }
        if let Some(alpha) = alpha {
            of_alpha.extend([size, add(b"pixi", &[&[0, 0, 0, 0, 1, 8]])]);
            of_alpha.push(add(b"av1C", &[&alpha]) | ESSENTIAL);
            of_alpha
                .push(add(b"auxC", &[b"\0\0\0\0urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"]));
        }
    });
    boxed(out, b"ipma", |out| {
        let all = [(COLOR_ID, of_color), (ALPHA_ID, of_alpha)];
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

/// A box: its length is written when its payload is.
fn boxed(out: &mut Vec<u8>, name: &[u8; 4], payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    out.extend(name);
    payload(out);
    let length = ((out.len() - start) as u32).to_be_bytes();
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length);
    }
}

/// An item should not contain temporal delimiters (AVIF §2.1); libaom begins with one.
fn without_delimiter(stream: &[u8]) -> &[u8] {
    stream.strip_prefix(&[0x12, 0]).unwrap_or(stream)
}

/// `av1C` (AV1-ISOBMFF §2.3.3) of 8 bits per sample. Profile and level are read from the sequence header, which is that
/// of a still image (AV1 §5.5.1).
fn configuration(stream: &[u8], chroma: Chroma) -> Option<[u8; 4]> {
    let (header, rest) = stream.split_first()?;
    // §5.3.2: a sequence header (1) that has a size (2); one of less than 128 bytes, so that this takes one.
    let [_, first, second, ..] = *rest else { return None };
    if header & 0b0111_1010 != 0b0000_1010 {
        return None;
    }
    // seq_profile (3), still_image, reduced_still_image_header, seq_level_idx (5)
    let (profile, level) = (first >> 5, first << 2 & 0b1_1100 | second >> 6);
    let format = match chroma {
        Chroma::Monochrome => 0b0001_1100,
        Chroma::Yuv420 => 0b0000_1100,
        Chroma::Yuv422 => 0b0000_1000,
        Chroma::Yuv444 => 0,
    };
    Some([0x81, profile << 5 | level, format, 0])
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

    fn file<'f>(color: &'f [u8], chroma: Chroma) -> File<'f> {
        let nclx = Nclx { primaries: 12, transfer: 13, matrix: 6, is_full_range: true };
        File { width: 70, height: 50, color, chroma, nclx, icc: None, alpha: None }
    }

    #[test]
    fn what_is_written_is_read() {
        let alpha = stream(70, 50, Chroma::Monochrome);
        for chroma in [Chroma::Monochrome, Chroma::Yuv420, Chroma::Yuv444] {
            let color = stream(70, 50, chroma);
            for icc in [None, Some(&b"a profile"[..])] {
                for alpha in [None, Some(&alpha[..])] {
                    let file = File { icc, alpha, ..file(&color, chroma) };
                    let written = write(&file).unwrap();
                    let avif = parse(&written).unwrap();
                    assert_eq!((avif.color.width, avif.color.height), (70, 50));
                    assert_eq!(avif.color.sequence.chroma, chroma);
                    assert_eq!(avif.nclx, Some(file.nclx));
                    assert_eq!(avif.icc, icc);
                    assert_eq!(avif.color.tiles[0], without_delimiter(&color));
                    assert_eq!(
                        avif.alpha.map(|coded| coded.tiles[0].to_vec()),
                        alpha.map(|a| without_delimiter(a).to_vec())
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
    fn the_configuration_says_what_the_sequence_header_does() {
        // AV1 §A.3: up to 147,456 pixels are level 2.0, which is 0; up to 278,784 are 2.1, which is 1.
        for (width, height, level) in [(70, 50, 0), (600, 400, 1)] {
            for (chroma, profile, format) in [
                (Chroma::Monochrome, 0, 0b0001_1100),
                (Chroma::Yuv420, 0, 0b0000_1100),
                (Chroma::Yuv444, 1, 0),
            ] {
                let stream = stream(width, height, chroma);
                let configuration = configuration(without_delimiter(&stream), chroma).unwrap();
                assert_eq!(
                    configuration,
                    [0x81, profile << 5 | level, format, 0],
                    "{width} {chroma:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_stream_is_not_written() {
        for stream in [&b""[..], b"\x12\0", b"\x0a", b"\x0a\x0a\0", b"\x32\x0a\0\0\0"] {
            assert!(write(&file(stream, Chroma::Yuv420)).is_none());
        }
    }
}
