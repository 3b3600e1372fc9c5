//! Decodes the frames of an image sequence, each of which may be predicted from those before it.

use super::canvas::{Canvas, Window};
use super::decode::{alpha_expansion, check_frame, check_sizes, colour_conversion};
use super::decode_error::DecodeError;
use super::matrix::ConvertedSample;
use super::sequence::{Header, MAX_OBUS, scan, scan_sample};
use super::shrink::{AveragedSample, Shrink};
use super::{Avif, Coded, Error};
use crate::render::codec::av1::{self, Frame};

/// Frames that a stream may decode before it shows them (`show_frame`, AV1 §6.8.2), beside one for each that it shows:
/// each is shown later, by another frame header. dav1d keeps eight.
const MAX_HIDDEN_FRAMES: u32 = 16;

/// Decodes one frame after the other.
pub struct FrameDecoder<'a> {
    avif: &'a Avif<'a>,
    colour: Stream<'a>,
    alpha: Option<Stream<'a>>,
    /// The number of the next frame.
    number: usize,
}

/// One of the streams, with the decoder of all its frames.
struct Stream<'a> {
    decoder: av1::Decoder<'a>,
    coded: &'a Coded<'a>,
    header: Header,
    /// Frame headers that may follow.
    headers_left: u32,
}

impl<'a> FrameDecoder<'a> {
    /// Decodes from the first frame on; no frame follows that of a still image.
    pub fn new(avif: &'a Avif<'a>) -> Result<FrameDecoder<'a>, DecodeError> {
        Ok(FrameDecoder {
            avif,
            colour: Stream::new(&avif.colour)?,
            alpha: avif.alpha.as_ref().map(Stream::new).transpose()?,
            number: 0,
        })
    }

    /// Decodes the next frame, and writes nothing.
    pub fn skip(&mut self) -> Result<(), DecodeError> {
        self.decode().map(drop)
    }

    /// Decodes the next frame into `out`, as [`decode_shrunk`](super::decode_shrunk) does. After an error, the one after
    /// it is next, and `out` is as it was.
    pub fn next<S: ConvertedSample + AveragedSample>(
        &mut self,
        shrink: Shrink,
        out: &mut [S],
    ) -> Result<(), DecodeError> {
        let avif = self.avif;
        let (colour, alpha) = self.decode()?;
        check_sizes(avif, shrink, out)?;
        let conversion = colour_conversion(avif)?;
        let (width, height) = (avif.colour.width, avif.colour.height);
        let window = Window { left: 0, top: 0, width, height };
        let mut canvas = Canvas::new(avif, shrink, out);
        canvas.write_colour(&colour, window, &conversion)?;
        if let (Some(coded), Some(alpha)) = (&avif.alpha, alpha) {
            canvas.write_alpha(&alpha, window, alpha_expansion::<S>(coded))?;
            if avif.is_premultiplied {
                canvas.unpremultiply();
            }
        }
        Ok(())
    }

    fn decode(&mut self) -> Result<(Frame, Option<Frame>), DecodeError> {
        let number = self.number;
        self.number += 1;
        // The first one may have been put together with its sequence header.
        let first = |coded: &'a Coded<'a>| coded.tiles.first().map(|tile| &tile[..]);
        let (colour, alpha) = match &self.avif.frames {
            _ if number == 0 => {
                (first(&self.avif.colour), self.avif.alpha.as_ref().and_then(first))
            }
            Some(frames) if number < frames.count() as usize => frames.samples(number),
            _ => return Err(DecodeError::NoFrame),
        };
        // Both streams go on, also if the frame of one is damaged.
        let colour = self.colour.decode(colour);
        let alpha = self.alpha.as_mut().map(|stream| stream.decode(alpha));
        Ok((colour?, alpha.transpose()?))
    }
}

impl<'a> Stream<'a> {
    fn new(coded: &'a Coded<'a>) -> Result<Stream<'a>, DecodeError> {
        let pixels = u64::from(coded.width) * u64::from(coded.height);
        let max_pixels = u32::try_from(pixels).map_err(|_| av1::Error::TooLarge)?;
        let [first] = &coded.tiles[..] else {
            return Err(DecodeError::Mismatch("number of tiles"));
        };
        let first = scan(&[], first, &mut MAX_OBUS.clone()).map_err(DecodeError::Frame)?;
        Ok(Stream {
            decoder: av1::Decoder::open(max_pixels)?,
            coded,
            header: first.header,
            headers_left: MAX_HIDDEN_FRAMES,
        })
    }

    fn decode(&mut self, sample: Option<&'a [u8]>) -> Result<Frame, DecodeError> {
        let sample = sample.ok_or(DecodeError::Truncated)?;
        let found = scan_sample(self.header, sample).map_err(DecodeError::Frame)?;
        let left = self.headers_left.saturating_add(2).checked_sub(found.frames);
        self.headers_left = left.ok_or_else(|| {
            DecodeError::Frame(Error::unsupported("too many of its frames are not shown"))
        })?;
        let frame = self.decoder.next(sample)?;
        check_frame(self.coded, &frame)?;
        Ok(frame)
    }
}
