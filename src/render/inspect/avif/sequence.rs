//! The sequence headers of an AV1 stream (AV1 specification §5.5): the largest frame that it may have.

use super::pieces::Pieces;

const SEQUENCE_HEADER: u8 = 1;
/// Of a header, so much is read: the size ends within 380 bytes, with as many operating points as there can be.
const HEADER_LENGTH: usize = 512;

/// How many OBUs of one file are looked at. A still picture has a handful, and as many for each tile of a grid.
pub const MOST_OBUS: usize = 100_000;

/// Calls `found` with the largest width and height of each sequence header among these OBUs. `None` when there are
/// more of them than are `left`, which are counted down: many items may stand at the same place.
pub fn sizes(mut obus: Pieces, left: &mut usize, mut found: impl FnMut(u32, u32)) -> Option<()> {
    while let Some((kind, mut length)) = next_obu(&mut obus) {
        *left = left.checked_sub(1)?;
        if kind == SEQUENCE_HEADER {
            let mut buffer = [0; HEADER_LENGTH];
            let (header, _) = buffer.split_at_mut(length.min(HEADER_LENGTH));
            let read = obus.read(header);
            length -= read;
            if let Some((width, height)) = header.get(..read).and_then(size) {
                found(width, height);
            }
        }
        obus.skip(length);
    }
    Some(())
}

/// Type and length (§5.3) of the OBU whose contents come next; one that does not say its size goes to the end.
fn next_obu(obus: &mut Pieces) -> Option<(u8, usize)> {
    let header = obus.u8()?;
    if header & 4 != 0 {
        obus.skip(1);
    }
    let length = if header & 2 != 0 { leb128(obus)? } else { usize::MAX };
    Some(((header >> 3) & 15, length))
}

/// §4.10.5
fn leb128(obus: &mut Pieces) -> Option<usize> {
    let mut value = 0_u64;
    for shift in (0..56).step_by(7) {
        let byte = obus.u8()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(value).ok();
        }
    }
    None
}

fn size(payload: &[u8]) -> Option<(u32, u32)> {
    let mut bits = Bits { bytes: payload, at: 0 };
    // seq_profile and still_picture.
    bits.skip(4);
    let reduced = bits.one()?;
    if reduced {
        bits.skip(5);
    } else {
        operating_points(&mut bits)?;
    }
    let (width_bits, height_bits) = (bits.number(4)? + 1, bits.number(4)? + 1);
    Some((bits.number(width_bits)? + 1, bits.number(height_bits)? + 1))
}

/// What stands in front of the size in the header of a stream that is no still picture.
fn operating_points(bits: &mut Bits) -> Option<()> {
    let mut delay_bits = None;
    // timing_info_present_flag
    if bits.one()? {
        bits.skip(64);
        // equal_picture_interval and its number of ticks, in zeros, a one and as many bits.
        if bits.one()? {
            let mut zeros = 0;
            while !bits.one()? {
                zeros += 1;
                // The number would be 2³² - 1 (§4.10.3), which decoders refuse.
                if zeros == 32 {
                    return None;
                }
            }
            bits.skip(zeros);
        }
        // decoder_model_info_present_flag
        if bits.one()? {
            delay_bits = Some(bits.number(5)? + 1);
            bits.skip(32 + 5 + 5);
        }
    }
    let has_initial_delay = bits.one()?;
    for _ in 0..=bits.number(5)? {
        bits.skip(12);
        // seq_level_idx and seq_tier
        if bits.number(5)? > 7 {
            bits.skip(1);
        }
        if let Some(delay_bits) = delay_bits
            && bits.one()?
        {
            bits.skip(2 * delay_bits + 1);
        }
        if has_initial_delay && bits.one()? {
            bits.skip(4);
        }
    }
    Some(())
}

/// Bits from the highest to the lowest.
struct Bits<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Bits<'_> {
    fn one(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// Of no more than 16 bits.
    fn number(&mut self, bits: u32) -> Option<u32> {
        (0..bits).try_fold(0, |number, _| Some(number << 1 | u32::from(self.one()?)))
    }

    fn skip(&mut self, bits: u32) {
        self.at = self.at.saturating_add(bits as usize);
    }
}

#[cfg(test)]
pub(in crate::render::inspect) mod tests {
    use super::*;

    /// Written bit by bit.
    #[derive(Default)]
    struct Written(Vec<bool>);

    impl Written {
        fn number(&mut self, bits: u32, value: u32) -> &mut Written {
            self.0.extend((0..bits).rev().map(|bit| value >> bit & 1 == 1));
            self
        }

        fn payload(&self) -> Vec<u8> {
            let byte = |bits: &[bool]| {
                bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at))
            };
            self.0.chunks(8).map(byte).collect()
        }

        fn obu(&self) -> Vec<u8> {
            let payload = self.payload();
            // Behind a temporal delimiter.
            [&[0x12, 0, 0x0a, payload.len() as u8][..], &payload].concat()
        }

        /// One that goes to the end.
        fn long_obu(&self) -> Vec<u8> {
            [&[0x08][..], &self.payload()].concat()
        }

        fn size(&mut self, width: u32, height: u32) -> &mut Written {
            self.number(4, 15).number(4, 15).number(16, width - 1).number(16, height - 1)
        }
    }

    /// Of a still picture.
    pub fn header(width: u32, height: u32) -> Vec<u8> {
        Written::default().number(3, 0).number(2, 3).number(5, 0).size(width, height).number(30, 0).obu()
    }

    fn found(obus: &[u8]) -> Vec<(u32, u32)> {
        let mut all = Vec::new();
        sizes(obus.into(), &mut MOST_OBUS.clone(), |width, height| all.push((width, height))).unwrap();
        all
    }

    #[test]
    fn every_header_of_a_stream_counts() {
        let stream = [header(640, 480), vec![0x32, 3, 1, 2, 3], header(65_536, 9000)].concat();
        assert_eq!(found(&stream), [(640, 480), (65_536, 9000)]);
    }

    #[test]
    fn what_stands_in_front_of_the_size_is_passed_over() {
        // No still picture, without and with each of its parts.
        let mut plain = Written::default();
        plain.number(5, 0).number(1, 0).number(1, 0).number(5, 0).number(12, 0).number(5, 4).size(300, 200);
        assert_eq!(found(&plain.obu()), [(300, 200)]);
        let mut full = Written::default();
        full.number(5, 0).number(1, 1).number(32, 1).number(32, 25).number(1, 1).number(3, 1).number(2, 3);
        full.number(1, 1).number(5, 9).number(32, 7).number(10, 0);
        // Two operating points: a high level with everything, a low one with nothing.
        full.number(1, 1).number(5, 1);
        full.number(12, 1).number(5, 8).number(1, 1).number(1, 1).number(21, 5).number(1, 1).number(4, 3);
        full.number(12, 1).number(5, 7).number(1, 0).number(1, 0);
        full.size(1920, 1080);
        assert_eq!(found(&full.obu()), [(1920, 1080)]);
    }

    #[test]
    fn the_longest_header_is_read_and_no_run_of_zeros_is_followed() {
        let with_ticks = |zeros: u32| {
            let mut header = Written::default();
            // A number of ticks in so many zeros, a one and as many bits.
            header.number(5, 0).number(1, 1).number(32, 1).number(32, 25).number(1, 1);
            header.number(zeros, 0).number(1, 1).number(zeros, 0);
            header.number(1, 1).number(5, 31).number(32, 7).number(10, 0).number(1, 1).number(5, 31);
            for _ in 0..32 {
                header.number(12, 1).number(5, 8).number(1, 1).number(1, 1).number(32, 0).number(32, 0);
                header.number(1, 0).number(1, 1).number(4, 3);
            }
            header.size(1920, 1080).long_obu()
        };
        assert_eq!(found(&with_ticks(31)), [(1920, 1080)]);
        assert_eq!(found(&with_ticks(32)), []);
    }

    #[test]
    fn nobody_counts_delimiters_without_end() {
        let delimiters = [0x12, 0].repeat(60);
        let mut left = 100;
        assert_eq!(sizes(delimiters[..].into(), &mut left, |_, _| {}), Some(()));
        assert_eq!(sizes(delimiters[..].into(), &mut left, |_, _| {}), None);
    }

    #[test]
    fn a_header_that_is_cut_off_says_nothing() {
        let whole = header(640, 480);
        for end in 0..9 {
            assert!(found(&whole[..end]).is_empty(), "{end}");
        }
        assert!(found(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_empty());
    }
}
