//! OBUs and sequence headers.

use crate::render::codec::avif::sequence::{Header, MAX_OBUS, Stream, scan};
use crate::render::codec::avif::tests::file::streams;
use crate::render::codec::avif::{Chroma, Error, Nclx, Sequence};

/// Written bit by bit.
#[derive(Clone, Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn number(&mut self, bits: u32, value: u32) -> &mut Bits {
        self.0.extend((0..bits).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    fn size(&mut self, width: u32, height: u32) -> &mut Bits {
        self.number(4, 15).number(4, 15).number(16, width - 1).number(16, height - 1)
    }

    fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at))
        };
        self.0.chunks(8).map(byte).collect()
    }

    fn obu(&self) -> Vec<u8> {
        obu(1, &self.bytes())
    }
}

fn obu(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut length = payload.len();
    let mut bytes = vec![kind << 3 | 2];
    while length > 127 {
        bytes.push(length as u8 & 127 | 128);
        length >>= 7;
    }
    bytes.push(length as u8);
    [&bytes, payload].concat()
}

/// A header of a still image of profile 0 up to its color_config.
fn still(width: u32, height: u32) -> Bits {
    let mut bits = Bits::default();
    bits.number(3, 0).number(2, 3).number(5, 0).size(width, height).number(3, 0).number(3, 0);
    bits
}

/// The same with 8 bits, 4:2:0, full range.
fn header(width: u32, height: u32) -> Vec<u8> {
    still(width, height).number(3, 0).number(1, 1).number(5, 0).obu()
}

const FRAME: [u8; 4] = [6 << 3 | 2, 2, 0, 0];

fn scanned(config: &[u8], item: &[u8]) -> Result<Stream, Error> {
    scan(config, item, &mut MAX_OBUS.clone())
}

fn found(sequence_header: &[u8]) -> Result<Header, Error> {
    scanned(sequence_header, &FRAME).map(|stream| stream.header)
}

fn corrupt<T>(sentence: &str) -> Result<T, Error> {
    Err(Error::corrupt(sentence))
}

#[test]
fn a_stream_has_one_sequence_header_which_precedes_its_frames() {
    let one = header(640, 480);
    for (config, item, is_complete) in [
        (&[][..], [&one[..], &FRAME].concat(), true),
        (&one[..], [&one[..], &FRAME].concat(), true),
        (&one[..], FRAME.to_vec(), false),
        // A decoder that starts with this item would drop the first frame.
        (&one[..], [&FRAME[..], &one, &FRAME].concat(), false),
    ] {
        let stream = scanned(config, &item).unwrap();
        assert_eq!(
            (stream.header.width, stream.header.height, stream.is_complete),
            (640, 480, is_complete)
        );
    }
    let none = "its AV1 has no sequence header before its first frame";
    assert_eq!(scanned(&[], &FRAME), corrupt(none));
    assert_eq!(scanned(&[], &[&FRAME[..], &one].concat()), corrupt(none));
    assert_eq!(scanned(&[], &[]), corrupt(none));
    assert_eq!(scanned(&one, &[]), corrupt("its AV1 has no frame"));
    let two = "its AV1 has two sequence headers that differ";
    let other = header(640, 481);
    assert_eq!(scanned(&other, &[&one[..], &FRAME].concat()), corrupt(two));
    assert_eq!(scanned(&[], &[&one[..], &FRAME, &other, &FRAME].concat()), corrupt(two));
}

#[test]
fn what_is_no_frame_is_passed_over() {
    let extended = [15 << 3 | 4 | 2, 0x28, 1, 0x80];
    let parts = [
        obu(2, &[]),
        header(640, 480),
        obu(5, &[1, 2, 3]),
        extended.to_vec(),
        obu(0, &[1]),
        obu(9, &[1; 300]),
        FRAME.to_vec(),
        obu(4, &[1]),
        // The last one may do without its size.
        vec![15 << 3, 1, 2, 3],
    ];
    assert_eq!(scanned(&[], &parts.concat()).map(|stream| stream.frames), Ok(1));
}

#[test]
fn the_obus_of_the_configuration_end_before_the_item_begins() {
    let item = [&header(640, 480)[..], &FRAME].concat();
    let metadata = obu(5, &[1, 2, 3]);
    assert!(scanned(&metadata, &item).is_ok());
    assert!(scanned(&obu(15, &[0x80]), &item).is_ok());
    for config in
        [&b"\x7a\x20\0\0"[..], b"\x7a", b"\x7e\x28", b"\x7a\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
    {
        assert_eq!(scanned(config, &item), corrupt("an OBU is longer than its AV1 stream"));
    }
    assert_eq!(scanned(b"\x78", &item), corrupt("an OBU in `av1C` has no size"));
    for kind in [0, 2, 3, 4, 6, 7, 8, 9] {
        let sentence = format!("`av1C` contains an OBU of type {kind}");
        assert_eq!(scanned(&obu(kind, &[]), &item), corrupt(&sentence));
    }
}

#[test]
fn an_obu_ends_before_its_stream_does() {
    let one = header(640, 480);
    let long = corrupt("an OBU is longer than its AV1 stream");
    for end in [
        b"\x32\x03\0\0".as_slice(),
        b"\x32",
        b"\x36\0",
        b"\x32\xff\xff\xff\xff\x1f",
        &[0x32, 0x80, 0x80],
    ] {
        assert_eq!(scanned(&one, end), long, "{end:?}");
    }
    // Eight bytes of a size that no more than 32 bits of are used of.
    let padded = [&[0x32, 0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0][..], &[0, 0]].concat();
    assert!(scanned(&one, &padded).is_ok());
    assert_eq!(scanned(&one, &[0xb2, 0]), corrupt("an OBU header has its forbidden bit set"));
    assert_eq!(scanned(&one, b"\x10\x32\0"), corrupt("a temporal delimiter OBU is not empty"));
    assert_eq!(scanned(&one, b"\x42\0"), Err(Error::unsupported("its AV1 has a tile list OBU")));
}

#[test]
fn a_still_image_has_four_frames_at_most() {
    let one = header(640, 480);
    for (kind, others) in [(6, &[][..]), (3, &[0x22, 0]), (7, &[0x22, 0]), (7, &[])] {
        let frame = [&obu(kind, &[0])[..], others].concat();
        assert_eq!(scanned(&one, &frame.repeat(4)).map(|stream| stream.frames), Ok(4));
        let sentence = "its AV1 has more than 4 frames, so it is not a still image";
        assert_eq!(scanned(&one, &frame.repeat(5)), Err(Error::unsupported(sentence)));
    }
}

#[test]
fn obus_are_counted_over_all_items() {
    let item = [&header(640, 480)[..], &FRAME, &[0x12, 0].repeat(58)].concat();
    let mut left = 100;
    assert!(scan(&[], &item, &mut left).is_ok());
    assert_eq!(left, 40);
    let sentence = "the file has more than 100000 OBUs";
    assert_eq!(scan(&[], &item, &mut left), Err(Error::unsupported(sentence)));
}

#[test]
fn headers_of_every_format_are_read() {
    let unspecified = Nclx { primaries: 2, transfer: 2, matrix: 2, is_full_range: true };
    let limited = Nclx { is_full_range: false, ..unspecified };
    for (profile, bits, depth, chroma, nclx) in [
        (0, "0 0 0 1 00 0 0", 8, Chroma::Yuv420, unspecified),
        (0, "1 0 0 0 00 0 0", 10, Chroma::Yuv420, limited),
        (0, "0 1 0 0 0", 8, Chroma::Monochrome, limited),
        (0, "1 1 0 1 0", 10, Chroma::Monochrome, unspecified),
        (1, "0 0 1 0 0", 8, Chroma::Yuv444, unspecified),
        (1, "1 0 0 0 0", 10, Chroma::Yuv444, limited),
        (2, "0 0 0 1 0 0", 8, Chroma::Yuv422, unspecified),
        (2, "1 0 0 0 1 0 0", 10, Chroma::Yuv422, unspecified),
        (2, "1 1 0 0 1 0 0 0", 12, Chroma::Yuv444, unspecified),
        (2, "1 1 0 0 1 1 0 0 0", 12, Chroma::Yuv422, unspecified),
        (2, "1 1 0 0 0 1 1 10 0 0", 12, Chroma::Yuv420, limited),
        (2, "1 1 1 0 1 0", 12, Chroma::Monochrome, unspecified),
    ] {
        let mut header = still(640, 480);
        header.0[..3].copy_from_slice(&[profile & 4 != 0, profile & 2 != 0, profile & 1 != 0]);
        header.0.extend(bits.bytes().filter(|bit| *bit != b' ').map(|bit| bit == b'1'));
        let expected = Header {
            profile,
            width: 640,
            height: 480,
            max_frame_size: (640, 480),
            sequence: Sequence { depth, chroma, nclx },
            last_layer: 0,
            has_film_grain: false,
        };
        assert_eq!(found(&header.obu()), Ok(expected), "{bits}");
        // Its last bit.
        let last = header.0.len() - 1;
        header.0[last] = true;
        assert_eq!(found(&header.obu()), Ok(Header { has_film_grain: true, ..expected }), "{bits}");
    }
}

#[test]
fn headers_name_their_colors() {
    let mut named = still(640, 480);
    // BT.2020 and PQ.
    named.number(3, 1).number(8, 9).number(8, 16).number(8, 9).number(1, 0).number(4, 0);
    let expected = Nclx { primaries: 9, transfer: 16, matrix: 9, is_full_range: false };
    assert_eq!(found(&named.obu()).map(|header| header.sequence.nclx), Ok(expected));
    // sRGB with the identity matrix has 4:4:4 and the full range without saying so.
    let mut identity = still(640, 480);
    identity.0[2] = true;
    identity.number(2, 1).number(8, 1).number(8, 13).number(8, 0).number(1, 0).number(1, 1);
    let header = found(&identity.obu()).unwrap();
    let expected = Nclx { primaries: 1, transfer: 13, matrix: 0, is_full_range: true };
    assert_eq!(header.sequence, Sequence { depth: 8, chroma: Chroma::Yuv444, nclx: expected });
    assert!(header.has_film_grain);
    let mut unknown = still(640, 480);
    unknown.0[0] = true;
    unknown.0[1] = true;
    let sentence = "its AV1 has the unknown profile 6";
    assert_eq!(found(&unknown.number(20, 0).obu()), Err(Error::unsupported(sentence)));
}

/// From the frame size on, of a header that is not of a still image: 8 bits, 4:2:0.
fn video(bits: &mut Bits, width: u32, height: u32) -> Vec<u8> {
    bits.size(width, height);
    // Frame numbers, tools, order hints, screen content and integer motion vectors.
    bits.number(1, 1).number(7, 0).number(3, 0).number(4, 0).number(1, 1).number(2, 0);
    bits.number(1, 0).number(1, 1).number(1, 0).number(1, 1).number(3, 7);
    bits.number(3, 0).number(3, 0).number(1, 1).number(2, 0).number(1, 0).number(1, 0).obu()
}

fn size_of(header: &[u8]) -> Result<(u32, u32, u16), Error> {
    found(header).map(|header| (header.width, header.height, header.last_layer))
}

#[test]
fn what_precedes_the_size_is_passed_over() {
    // Without and with each of its parts.
    let mut plain = Bits::default();
    plain.number(5, 0).number(1, 0).number(1, 0).number(5, 0).number(12, 0).number(5, 4);
    assert_eq!(size_of(&video(&mut plain, 300, 200)), Ok((300, 200, 0)));
    let mut full = Bits::default();
    full.number(5, 0)
        .number(1, 1)
        .number(32, 1)
        .number(32, 25)
        .number(1, 1)
        .number(3, 1)
        .number(2, 3);
    full.number(1, 1).number(5, 9).number(32, 7).number(10, 0);
    // Two operating points: three spatial layers at a high level with everything, and one layer with nothing.
    full.number(1, 1).number(5, 1);
    full.number(12, 0x701)
        .number(5, 8)
        .number(1, 1)
        .number(1, 1)
        .number(21, 5)
        .number(1, 1)
        .number(4, 3);
    full.number(12, 0x101).number(5, 7).number(1, 0).number(1, 0);
    assert_eq!(size_of(&video(&mut full, 1920, 1080)), Ok((1920, 1080, 2)));
}

#[test]
fn the_longest_header_is_read_and_no_run_of_zeros_is_followed() {
    let with_ticks = |zeros: u32| {
        let mut header = Bits::default();
        // A number of ticks in so many zeros, a one and as many bits.
        header.number(5, 0).number(1, 1).number(32, 1).number(32, 25).number(1, 1);
        header.number(zeros, 0).number(1, 1).number(zeros, 0);
        header.number(1, 1).number(5, 31).number(32, 7).number(10, 0).number(1, 1).number(5, 31);
        for _ in 0..32 {
            header.number(12, 1).number(5, 8).number(1, 1).number(1, 1).number(32, 0).number(32, 0);
            header.number(1, 0).number(1, 1).number(4, 3);
        }
        video(&mut header, 1920, 1080)
    };
    assert_eq!(size_of(&with_ticks(31)), Ok((1920, 1080, 0)));
    assert_eq!(size_of(&with_ticks(32)), corrupt("a sequence header is truncated or invalid"));
}

#[test]
fn a_header_that_is_cut_off_is_corrupt() {
    let whole = header(640, 480);
    let payload = &whole[2..];
    // The last bits are the end of the OBU.
    for end in 0..payload.len() - 1 {
        assert_eq!(
            found(&obu(1, &payload[..end])),
            corrupt("a sequence header is truncated or invalid"),
            "{end}"
        );
    }
}

#[test]
fn headers_of_encoders_are_read() {
    for (name, profile, depth, chroma) in [
        ("yuv420.avif", 0, 8, Chroma::Yuv420),
        ("yuv422.avif", 2, 8, Chroma::Yuv422),
        ("yuv444.avif", 1, 8, Chroma::Yuv444),
        ("10-bit.avif", 0, 10, Chroma::Yuv420),
        ("12-bit.avif", 2, 12, Chroma::Yuv420),
        ("monochrome.avif", 0, 8, Chroma::Monochrome),
    ] {
        let header = scanned(&[], &streams(name)[0]).unwrap().header;
        let found = (
            header.profile,
            header.width,
            header.height,
            header.sequence.depth,
            header.sequence.chroma,
        );
        assert_eq!(found, (profile, 64, 48, depth, chroma), "{name}");
    }
}
