//! GIFs (89a) with frames of any place, palette and disposal.

pub const WIDTH: u16 = 16;
pub const HEIGHT: u16 = 12;

/// A window: left, top, width and height.
pub type Window = (u16, u16, u16, u16);

#[derive(Clone, Debug)]
pub struct Frame {
    pub window: Window,
    pub pixels: Vec<u8>,
    pub palette: Option<Vec<[u8; 3]>>,
    pub transparent: Option<u8>,
    pub disposal: u8,
    pub time: u16,
    pub is_interlaced: bool,
    /// Whether it has a graphic control extension, which has all but window, pixels and palette.
    pub has_control: bool,
}

#[derive(Clone, Debug)]
pub struct Gif {
    pub size: (u16, u16),
    pub palette: Option<Vec<[u8; 3]>>,
    pub background: u8,
    pub loops: Option<u16>,
    pub frames: Vec<Frame>,
}

/// Eight colours.
pub fn colours() -> Vec<[u8; 3]> {
    (0..8_u8).map(|n| [n * 36, 255 - n * 30, [20, 200][usize::from(n % 2)]]).collect()
}

impl Frame {
    /// A pattern of the colours from `first` on. With transparency every third pixel is 0, which is transparent.
    pub fn pattern(window: Window, first: u8, is_transparent: bool) -> Frame {
        let (_, _, width, height) = window;
        let pixel = |n: u32| {
            let (x, y) = (n % u32::from(width), n / u32::from(width));
            if is_transparent && (x + y) % 3 == 0 {
                0
            } else {
                1 + (u32::from(first) + x / 3 + y / 4) as u8 % 7
            }
        };
        Frame {
            window,
            pixels: (0..u32::from(width) * u32::from(height)).map(pixel).collect(),
            palette: None,
            transparent: is_transparent.then_some(0),
            disposal: 1,
            time: 10,
            is_interlaced: false,
            has_control: true,
        }
    }
}

impl Gif {
    pub fn of(frames: Vec<Frame>) -> Gif {
        Gif {
            size: (WIDTH, HEIGHT),
            palette: Some(colours()),
            background: 0,
            loops: Some(0),
            frames,
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GIF89a".to_vec();
        out.extend([self.size.0, self.size.1].into_iter().flat_map(u16::to_le_bytes));
        out.extend([palette_flags(self.palette.as_deref()), self.background, 0]);
        out.extend(self.palette.iter().flatten().flatten());
        if let Some(loops) = self.loops {
            out.extend(b"\x21\xff\x0bNETSCAPE2.0\x03\x01");
            out.extend(loops.to_le_bytes());
            out.push(0);
        }
        for frame in &self.frames {
            frame.write(&mut out);
        }
        out.push(0x3b);
        out
    }
}

fn palette_flags(palette: Option<&[[u8; 3]]>) -> u8 {
    palette.map_or(0, |palette| 0x80 | (palette.len().ilog2() as u8 - 1))
}

impl Frame {
    fn write(&self, out: &mut Vec<u8>) {
        if self.has_control {
            let transparent = u8::from(self.transparent.is_some());
            out.extend([0x21, 0xf9, 4, self.disposal << 2 | transparent]);
            out.extend(self.time.to_le_bytes());
            out.extend([self.transparent.unwrap_or(0), 0]);
        }
        out.push(0x2c);
        let (left, top, width, height) = self.window;
        out.extend([left, top, width, height].into_iter().flat_map(u16::to_le_bytes));
        let interlaced = u8::from(self.is_interlaced) << 6;
        out.push(palette_flags(self.palette.as_deref()) | interlaced);
        out.extend(self.palette.iter().flatten().flatten());
        write_pixels(&self.in_file_order(), out);
    }

    fn in_file_order(&self) -> Vec<u8> {
        let width = usize::from(self.window.2);
        let rows: Vec<&[u8]> = self.pixels.chunks(width.max(1)).collect();
        if !self.is_interlaced {
            return self.pixels.clone();
        }
        let passes = [(0, 8), (4, 8), (2, 4), (1, 2)];
        let order = passes.iter().flat_map(|(start, step)| (*start..rows.len()).step_by(*step));
        order.flat_map(|row| rows[row].to_vec()).collect()
    }
}

/// Codes of four bits: a clear code before every sixth pixel, so that the code size never grows.
fn write_pixels(pixels: &[u8], out: &mut Vec<u8>) {
    const CLEAR: u8 = 8;
    let clears = |n: usize| n.is_multiple_of(6).then_some(CLEAR);
    let codes =
        pixels.iter().enumerate().flat_map(|(n, pixel)| clears(n).into_iter().chain([*pixel]));
    let codes: Vec<u8> = codes.chain([CLEAR + 1]).collect();
    let bytes: Vec<u8> =
        codes.chunks(2).map(|pair| pair[0] | pair.get(1).unwrap_or(&0) << 4).collect();
    out.push(3);
    for block in bytes.chunks(255) {
        out.push(block.len() as u8);
        out.extend_from_slice(block);
    }
    out.push(0);
}
