//! PNGs of every colour type and depth (W3C PNG §11.2), written chunk by chunk.

use crate::support::png_chunks;

pub const WIDTH: u32 = 24;
pub const HEIGHT: u32 = 16;

/// A colour type (W3C PNG table 8) and what it adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pixels {
    Gray,
    Rgb,
    Palette,
    GrayAlpha,
    Rgba,
}

/// The samples of an image, without ancillary chunks but `tRNS`.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub pixels: Pixels,
    pub depth: u8,
    /// Whether `tRNS` makes one colour transparent, or gives the palette alpha.
    pub has_trns: bool,
    pub is_interlaced: bool,
}

impl Layout {
    pub fn name(&self) -> String {
        let pixels = match self.pixels {
            Pixels::Gray => "gray",
            Pixels::Rgb => "rgb",
            Pixels::Palette => "palette",
            Pixels::GrayAlpha => "gray-alpha",
            Pixels::Rgba => "rgba",
        };
        let trns = if self.has_trns { "-trns" } else { "" };
        let interlaced = if self.is_interlaced { "-adam7" } else { "" };
        format!("{pixels}-{}{trns}{interlaced}", self.depth)
    }

    pub fn is_gray(&self) -> bool {
        matches!(self.pixels, Pixels::Gray | Pixels::GrayAlpha)
    }

    fn colour_type(&self) -> u8 {
        match self.pixels {
            Pixels::Gray => 0,
            Pixels::Rgb => 2,
            Pixels::Palette => 3,
            Pixels::GrayAlpha => 4,
            Pixels::Rgba => 6,
        }
    }

    /// The samples of a pixel. Opaque, half transparent and transparent pixels have all colours.
    fn samples(&self, x: u32, y: u32) -> Vec<u32> {
        let most = (1_u32 << self.depth) - 1;
        let across = x * most / (WIDTH - 1);
        let down = y * most / (HEIGHT - 1);
        let both = (x * 7 + y * 5) % 24 * most / 23;
        let alpha = [most, most * 3 / 4, most / 3, 0][((x / 3 + y / 2) % 4) as usize];
        match self.pixels {
            Pixels::Gray => vec![if y < HEIGHT / 2 { across } else { both }],
            Pixels::Rgb => vec![across, down, both],
            Pixels::Palette => vec![(x * 5 + y * WIDTH) % (most + 1)],
            Pixels::GrayAlpha => vec![across, alpha],
            Pixels::Rgba => vec![across, down, both, alpha],
        }
    }

    /// One row of a pass: every `step_x`th pixel from `left` on, after the filter type 0.
    fn row(&self, y: u32, left: u32, step_x: u32) -> Vec<u8> {
        let samples = (left..WIDTH).step_by(step_x as usize).flat_map(|x| self.samples(x, y));
        let mut row = vec![0];
        let (mut bits, mut count) = (0, 0);
        for sample in samples {
            if self.depth == 16 {
                row.extend((sample as u16).to_be_bytes());
                continue;
            }
            bits = bits << self.depth | sample;
            count += self.depth;
            if count == 8 {
                row.push(bits as u8);
                (bits, count) = (0, 0);
            }
        }
        if count > 0 {
            row.push((bits << (8 - count)) as u8);
        }
        row
    }

    fn rows(&self) -> Vec<u8> {
        // Adam7 (W3C PNG §8.2): left, top, horizontal and vertical steps.
        const PASSES: [(u32, u32, u32, u32); 7] = [
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        ];
        let passes: &[_] = if self.is_interlaced { &PASSES } else { &[(0, 0, 1, 1)] };
        let rows = passes.iter().flat_map(|(left, top, step_x, step_y)| {
            (*top..HEIGHT).step_by(*step_y as usize).flat_map(|y| self.row(y, *left, *step_x))
        });
        rows.collect()
    }

    fn palette(&self) -> Vec<u8> {
        let count = 1_u32 << self.depth;
        (0..count)
            .flat_map(|n| {
                [n * 255 / (count - 1), n * 37 % 256, (count - 1 - n) * 255 / (count - 1)]
            })
            .map(|value| value as u8)
            .collect()
    }

    fn transparency(&self) -> Vec<u8> {
        let number = |value: u32| (value as u16).to_be_bytes();
        match self.pixels {
            Pixels::Palette => {
                (0..(1_u32 << self.depth) - 1).map(|n| (n * 61 % 256) as u8).collect()
            }
            // The colour of a pixel.
            _ => self.samples(WIDTH / 2, HEIGHT / 2).into_iter().flat_map(number).collect(),
        }
    }

    /// The file, with ancillary chunks before the palette and after the pixels.
    pub fn png(&self, before: &[(&[u8; 4], Vec<u8>)], after: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
        let sides = [WIDTH.to_be_bytes(), HEIGHT.to_be_bytes()].concat();
        let kind = [self.depth, self.colour_type(), 0, 0, u8::from(self.is_interlaced)];
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut add = |kind: &[u8; 4], data: &[u8]| png.extend(png_chunks::chunk(kind, data));
        add(b"IHDR", &[&sides[..], &kind].concat());
        before.iter().for_each(|(kind, data)| add(kind, data));
        if self.pixels == Pixels::Palette {
            add(b"PLTE", &self.palette());
        }
        if self.has_trns {
            add(b"tRNS", &self.transparency());
        }
        add(b"IDAT", &png_chunks::zlib(&self.rows()));
        after.iter().for_each(|(kind, data)| add(kind, data));
        add(b"IEND", b"");
        png
    }
}

/// Every colour type with every depth that it may have.
pub fn layouts() -> Vec<Layout> {
    let depths = [
        (Pixels::Gray, &[1, 2, 4, 8, 16][..], &[false, true][..]),
        (Pixels::Rgb, &[8, 16], &[false, true]),
        (Pixels::Palette, &[1, 2, 4, 8], &[false, true]),
        (Pixels::GrayAlpha, &[8, 16], &[false]),
        (Pixels::Rgba, &[8, 16], &[false]),
    ];
    let mut layouts = Vec::new();
    for (pixels, depths, transparencies) in depths {
        for depth in depths {
            for has_trns in transparencies {
                for is_interlaced in [false, true] {
                    layouts.push(Layout {
                        pixels,
                        depth: *depth,
                        has_trns: *has_trns,
                        is_interlaced,
                    });
                }
            }
        }
    }
    layouts
}
