//! The OBUs of an AV1 stream (AV1 §5.3) and its sequence headers (§5.5).
//!
//! A sequence header has the size of the largest frame. A frame header may give a smaller one
//! (`frame_size_override_flag`, §5.9.5) but no larger one (§6.8.4), and super-resolution scales up to the size of the
//! frame. Frame headers are not parsed: dav1d gets the area as its `frame_size_limit`, and the size of its output is
//! compared.

use super::error::Error;
use super::{Chroma, Nclx, Sequence};
use crate::render::codec::cursor::Cursor;

/// Frames of one item: the layers of a progressive image, at most four (AVIF §2.3.2).
const MAX_FRAMES: u32 = 4;
/// OBUs of one file. An item has a handful, and at most one for each tile inside a frame.
pub const MAX_OBUS: usize = 100_000;

/// A sequence header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// seq_profile
    pub profile: u8,
    /// max_frame_width_minus_1 + 1
    pub width: u32,
    /// max_frame_height_minus_1 + 1
    pub height: u32,
    /// Largest width and height that a frame header may set (frame_size_override_flag): 2 to the power of
    /// frame_width_bits and frame_height_bits. dav1d limits the area only.
    pub max_frame_size: (u32, u32),
    /// The format of the samples.
    pub sequence: Sequence,
    /// The highest spatial layer of operating point 0.
    pub last_layer: u16,
    /// film_grain_params_present
    pub has_film_grain: bool,
}

impl Header {
    fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }
}

/// The contents of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The sequence header; if there are several, they are equal.
    pub header: Header,
    /// Number of frame headers and frames.
    pub frames: u32,
    /// Whether the item itself has a sequence header before its frames, so that the one in `av1C` is not needed.
    pub is_complete: bool,
}

/// Reads the OBUs of `av1C` and of an item as one stream, since a decoder may be given both.
///
/// `obus_left` counts down over all items of a file, because items may share their data.
pub fn scan(config: &[u8], item: &[u8], obus_left: &mut usize) -> Result<Stream, Error> {
    let mut scan = Scan { header: None, frames: 0, max_frames: MAX_FRAMES, obus_left };
    let mut cursor = Cursor::new(config);
    while let Some(obu) = scan.next_obu(&mut cursor)? {
        // AV1-ISOBMFF §2.3.4. An OBU without a size, or with too large a one, would swallow the item's first OBUs.
        match obu {
            Obu { has_size: false, .. } => {
                return Err(Error::corrupt("an OBU in `av1C` has no size"));
            }
            Obu { kind: SEQUENCE_HEADER, payload, .. } => scan.sequence_header(payload)?,
            Obu { kind: METADATA | PADDING, .. } => {}
            Obu { kind, .. } => {
                return Err(Error::corrupt(format!("`av1C` contains an OBU of type {kind}")));
            }
        }
    }
    scan.stream(item)
}

/// Reads the OBUs of a sample that follows others with this sequence header: it may have none, or the same one.
pub fn scan_sample(header: Header, sample: &[u8]) -> Result<Stream, Error> {
    let mut scan = Scan {
        header: Some(header),
        frames: 0,
        max_frames: u32::MAX,
        obus_left: &mut MAX_OBUS.clone(),
    };
    scan.stream(sample)
}

// §6.2.2
const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const FRAME_HEADER: u8 = 3;
const METADATA: u8 = 5;
const FRAME: u8 = 6;
const REDUNDANT_FRAME_HEADER: u8 = 7;
const TILE_LIST: u8 = 8;
const PADDING: u8 = 15;

fn no_header() -> Error {
    Error::corrupt("its AV1 has no sequence header before its first frame")
}

struct Scan<'n> {
    header: Option<Header>,
    frames: u32,
    max_frames: u32,
    obus_left: &'n mut usize,
}

/// §5.3.1
struct Obu<'b> {
    kind: u8,
    has_size: bool,
    payload: &'b [u8],
}

impl Scan<'_> {
    fn stream(&mut self, bytes: &[u8]) -> Result<Stream, Error> {
        let mut cursor = Cursor::new(bytes);
        let mut is_complete = false;
        while let Some(obu) = self.next_obu(&mut cursor)? {
            match obu.kind {
                SEQUENCE_HEADER => {
                    self.sequence_header(obu.payload)?;
                    is_complete |= self.frames == 0;
                }
                // A decoder uses a redundant header if the frame's own is missing.
                FRAME_HEADER | FRAME | REDUNDANT_FRAME_HEADER => self.frame()?,
                TEMPORAL_DELIMITER if !obu.payload.is_empty() => {
                    return Err(Error::corrupt("a temporal delimiter OBU is not empty"));
                }
                TILE_LIST => return Err(Error::unsupported("its AV1 has a tile list OBU")),
                // Reserved types are ignored (§6.2.2); a decoder ignores tile groups without a frame header.
                _ => {}
            }
        }
        let header = self.header.ok_or_else(no_header)?;
        match self.frames {
            0 => Err(Error::corrupt("its AV1 has no frame")),
            frames => Ok(Stream { header, frames, is_complete }),
        }
    }

    fn next_obu<'b>(&mut self, cursor: &mut Cursor<'b>) -> Result<Option<Obu<'b>>, Error> {
        let Some(header) = cursor.u8() else { return Ok(None) };
        *self.obus_left = self
            .obus_left
            .checked_sub(1)
            .ok_or_else(|| Error::unsupported(format!("the file has more than {MAX_OBUS} OBUs")))?;
        if header & 0x80 != 0 {
            return Err(Error::corrupt("an OBU header has its forbidden bit set"));
        }
        // obu_extension_flag
        if header & 4 != 0 {
            cursor.u8().ok_or_else(too_long)?;
        }
        let has_size = header & 2 != 0;
        let payload = if has_size {
            leb128(cursor).and_then(|length| cursor.take(length)).ok_or_else(too_long)?
        } else {
            // The OBU extends to the end of the sample (AV1-ISOBMFF §2.4).
            cursor.take_at_most(usize::MAX)
        };
        Ok(Some(Obu { kind: header >> 3 & 15, has_size, payload }))
    }

    fn sequence_header(&mut self, payload: &[u8]) -> Result<(), Error> {
        let header = parse_header(payload)?;
        match self.header.replace(header) {
            Some(other) if other != header => {
                Err(Error::corrupt(if other.size() == header.size() {
                    "its AV1 has two sequence headers that differ".to_owned()
                } else {
                    let ((width, height), (other_width, other_height)) =
                        (header.size(), other.size());
                    format!(
                        "its AV1 has frames of {other_width} x {other_height} and of {width} x {height} pixels"
                    )
                }))
            }
            _ => Ok(()),
        }
    }

    fn frame(&mut self) -> Result<(), Error> {
        self.header.ok_or_else(no_header)?;
        self.frames += 1;
        if self.frames > self.max_frames {
            let sentence =
                format!("its AV1 has more than {MAX_FRAMES} frames, so it is not a still image");
            return Err(Error::unsupported(sentence));
        }
        Ok(())
    }
}

fn too_long() -> Error {
    Error::corrupt("an OBU is longer than its AV1 stream")
}

/// §4.10.5: a value up to 2³² - 1 in at most 8 bytes.
fn leb128(cursor: &mut Cursor) -> Option<usize> {
    let mut value = 0_u64;
    for shift in (0..56).step_by(7) {
        let byte = cursor.u8()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(u32::try_from(value).ok()?).ok();
        }
    }
    None
}

/// sequence_header_obu (§5.5.1)
fn parse_header(payload: &[u8]) -> Result<Header, Error> {
    let bits = Bits { bytes: payload, at: 0 };
    let header = parse_fields(bits)
        .ok_or_else(|| Error::corrupt("a sequence header is truncated or invalid"))?;
    if header.profile > 2 {
        return Err(Error::unsupported(format!(
            "its AV1 has the unknown profile {}",
            header.profile
        )));
    }
    Ok(header)
}

fn parse_fields(mut bits: Bits) -> Option<Header> {
    let profile = bits.byte(3)?;
    // still_picture
    bits.skip(1);
    let is_reduced = bits.flag()?;
    let mut last_layer = 0;
    if is_reduced {
        // seq_level_idx
        bits.skip(5);
    } else {
        last_layer = parse_operating_points(&mut bits)?;
    }
    let width_bits = bits.uint(4)? + 1;
    let height_bits = bits.uint(4)? + 1;
    let width = bits.uint(width_bits)? + 1;
    let height = bits.uint(height_bits)? + 1;
    // A reduced header allows no override (AV1 §5.9.2).
    let max_frame_size =
        if is_reduced { (width, height) } else { (1 << width_bits, 1 << height_bits) };
    // frame_id_numbers_present_flag
    if !is_reduced && bits.flag()? {
        bits.skip(4 + 3);
    }
    // use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
    bits.skip(3);
    if !is_reduced {
        skip_inter_tools(&mut bits)?;
    }
    // enable_superres, enable_cdef, enable_restoration
    bits.skip(3);
    let sequence = parse_color_config(&mut bits, profile)?;
    let has_film_grain = bits.flag()?;
    Some(Header { profile, width, height, max_frame_size, sequence, last_layer, has_film_grain })
}

/// From timing_info_present_flag to the last operating point. Returns the highest spatial layer of operating point 0.
fn parse_operating_points(bits: &mut Bits) -> Option<u16> {
    let mut delay_bits = None;
    // timing_info_present_flag
    if bits.flag()? {
        bits.skip(64);
        // equal_picture_interval, and num_ticks_per_picture_minus_1 as uvlc: zeros, a one and as many bits.
        if bits.flag()? {
            let mut zeros = 0;
            while !bits.flag()? {
                zeros += 1;
                // The value would be 2³² - 1 (§4.10.3), which decoders refuse.
                if zeros == 32 {
                    return None;
                }
            }
            bits.skip(zeros);
        }
        // decoder_model_info_present_flag
        if bits.flag()? {
            delay_bits = Some(bits.uint(5)? + 1);
            bits.skip(32 + 5 + 5);
        }
    }
    let has_initial_delay = bits.flag()?;
    let mut last_layer = None;
    for _ in 0..=bits.uint(5)? {
        // operating_point_idc: temporal layers in the lower eight bits, spatial layers in the upper four.
        let idc = bits.uint(12)?;
        last_layer.get_or_insert((idc >> 8).checked_ilog2().unwrap_or(0) as u16);
        // seq_level_idx and seq_tier
        if bits.uint(5)? > 7 {
            bits.skip(1);
        }
        if let Some(delay_bits) = delay_bits
            && bits.flag()?
        {
            bits.skip(2 * delay_bits + 1);
        }
        if has_initial_delay && bits.flag()? {
            bits.skip(4);
        }
    }
    last_layer
}

/// From enable_interintra_compound to order_hint_bits_minus_1.
fn skip_inter_tools(bits: &mut Bits) -> Option<()> {
    // enable_interintra_compound, enable_masked_compound, enable_warped_motion, enable_dual_filter
    bits.skip(4);
    let has_order_hint = bits.flag()?;
    if has_order_hint {
        // enable_jnt_comp, enable_ref_frame_mvs
        bits.skip(2);
    }
    // seq_choose_screen_content_tools, or else seq_force_screen_content_tools
    let may_have_screen_content = bits.flag()? || bits.flag()?;
    // seq_choose_integer_mv, or else seq_force_integer_mv
    if may_have_screen_content && !bits.flag()? {
        bits.skip(1);
    }
    if has_order_hint {
        bits.skip(3);
    }
    Some(())
}

/// color_config (§5.5.2)
fn parse_color_config(bits: &mut Bits, profile: u8) -> Option<Sequence> {
    let is_deep = bits.flag()?;
    let depth = match (is_deep, profile) {
        (false, _) => 8,
        // twelve_bit
        (true, 2) if bits.flag()? => 12,
        (true, _) => 10,
    };
    let is_monochrome = profile != 1 && bits.flag()?;
    let mut nclx = Nclx { primaries: 2, transfer: 2, matrix: 2, is_full_range: true };
    // color_description_present_flag
    if bits.flag()? {
        nclx.primaries = bits.byte(8)?.into();
        nclx.transfer = bits.byte(8)?.into();
        nclx.matrix = bits.byte(8)?.into();
    }
    if is_monochrome {
        nclx.is_full_range = bits.flag()?;
        return Some(Sequence { depth, chroma: Chroma::Monochrome, nclx });
    }
    let chroma = if (nclx.primaries, nclx.transfer, nclx.matrix) == (1, 13, 0) {
        Chroma::Yuv444
    } else {
        nclx.is_full_range = bits.flag()?;
        let chroma = match (profile, depth) {
            (0, _) => Chroma::Yuv420,
            (1, _) => Chroma::Yuv444,
            // subsampling_x and subsampling_y
            (_, 12) if !bits.flag()? => Chroma::Yuv444,
            (_, 12) if bits.flag()? => Chroma::Yuv420,
            _ => Chroma::Yuv422,
        };
        if chroma == Chroma::Yuv420 {
            // chroma_sample_position
            bits.skip(2);
        }
        chroma
    };
    // separate_uv_delta_q
    bits.skip(1);
    Some(Sequence { depth, chroma, nclx })
}

/// A bit reader, most significant bit first.
struct Bits<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Bits<'_> {
    fn flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// A number of at most 16 bits.
    fn uint(&mut self, bits: u32) -> Option<u32> {
        (0..bits).try_fold(0, |number, _| Some(number << 1 | u32::from(self.flag()?)))
    }

    /// A number of at most 8 bits.
    fn byte(&mut self, bits: u32) -> Option<u8> {
        self.uint(bits).and_then(|number| u8::try_from(number).ok())
    }

    fn skip(&mut self, bits: u32) {
        self.at = self.at.saturating_add(bits as usize);
    }
}
