//! Tests of the OBU scan and the sequence header parser.

use crate::render::codec::avif::sequence::{Header, MAX_OBUS, Stream, scan};
use crate::render::codec::avif::tests::file::streams;
use crate::render::codec::avif::{Chroma, Error, Nclx, Sequence};

/// A bit writer.
#[derive(Clone, Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn uint(&mut self, bits: u32, value: u32) -> &mut Bits {
        self.0.extend((0..bits).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    fn size(&mut self, width: u32, height: u32) -> &mut Bits {
        self.uint(4, 15).uint(4, 15).uint(16, width - 1).uint(16, height - 1)
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

/// A sequence header of a still picture of profile 0, up to color_config.
fn still(width: u32, height: u32) -> Bits {
    let mut bits = Bits::default();
    bits.uint(3, 0).uint(2, 3).uint(5, 0).size(width, height).uint(3, 0).uint(3, 0);
    bits
}

/// A complete sequence header: 8 bits, 4:2:0, full range.
fn header(width: u32, height: u32) -> Vec<u8> {
    still(width, height).uint(3, 0).uint(1, 1).uint(5, 0).obu()
}

const FRAME: [u8; 4] = [6 << 3 | 2, 2, 0, 0];

fn scan_stream(config: &[u8], item: &[u8]) -> Result<Stream, Error> {
    scan(config, item, &mut MAX_OBUS.clone())
}

fn parse_header(sequence_header: &[u8]) -> Result<Header, Error> {
    scan_stream(sequence_header, &FRAME).map(|stream| stream.header)
}

fn corrupt<T>(sentence: &str) -> Result<T, Error> {
    Err(Error::corrupt(sentence))
}

#[test]
fn obu_scan_needs_one_sequence_header_before_frames() {
    let one = header(640, 480);
    for (config, item, is_complete) in [
        (&[][..], [&one[..], &FRAME].concat(), true),
        (&one[..], [&one[..], &FRAME].concat(), true),
        (&one[..], FRAME.to_vec(), false),
        // A decoder without `av1C` would drop the first frame.
        (&one[..], [&FRAME[..], &one, &FRAME].concat(), false),
    ] {
        let stream = scan_stream(config, &item).unwrap();
        assert_eq!(
            (stream.header.width, stream.header.height, stream.is_complete),
            (640, 480, is_complete)
        );
    }
    let none = "its AV1 has no sequence header before its first frame";
    assert_eq!(scan_stream(&[], &FRAME), corrupt(none));
    assert_eq!(scan_stream(&[], &[&FRAME[..], &one].concat()), corrupt(none));
    assert_eq!(scan_stream(&[], &[]), corrupt(none));
    assert_eq!(scan_stream(&one, &[]), corrupt("its AV1 has no frame"));
    let two = "its AV1 has frames of 640 x 481 and of 640 x 480 pixels";
    let other = header(640, 481);
    assert_eq!(scan_stream(&other, &[&one[..], &FRAME].concat()), corrupt(two));
    let two = "its AV1 has frames of 640 x 480 and of 640 x 481 pixels";
    assert_eq!(scan_stream(&[], &[&one[..], &FRAME, &other, &FRAME].concat()), corrupt(two));
    let limited = still(640, 480).uint(3, 0).uint(1, 0).uint(5, 0).obu();
    let two = "its AV1 has two sequence headers that differ";
    assert_eq!(scan_stream(&limited, &[&one[..], &FRAME].concat()), corrupt(two));
}

#[test]
fn obu_scan_skips_other_obus() {
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
        // The last OBU may omit its size.
        vec![15 << 3, 1, 2, 3],
    ];
    assert_eq!(scan_stream(&[], &parts.concat()).map(|stream| stream.frames), Ok(1));
}

#[test]
fn obu_scan_refuses_open_ended_obus_in_av1c() {
    let item = [&header(640, 480)[..], &FRAME].concat();
    let metadata = obu(5, &[1, 2, 3]);
    assert!(scan_stream(&metadata, &item).is_ok());
    assert!(scan_stream(&obu(15, &[0x80]), &item).is_ok());
    for config in
        [&b"\x7a\x20\0\0"[..], b"\x7a", b"\x7e\x28", b"\x7a\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
    {
        assert_eq!(scan_stream(config, &item), corrupt("an OBU is longer than its AV1 stream"));
    }
    assert_eq!(scan_stream(b"\x78", &item), corrupt("an OBU in `av1C` has no size"));
    for kind in [0, 2, 3, 4, 6, 7, 8, 9] {
        let sentence = format!("`av1C` contains an OBU of type {kind}");
        assert_eq!(scan_stream(&obu(kind, &[]), &item), corrupt(&sentence));
    }
}

#[test]
fn obu_scan_refuses_obus_longer_than_the_stream() {
    let one = header(640, 480);
    let long = corrupt("an OBU is longer than its AV1 stream");
    for end in [
        b"\x32\x03\0\0".as_slice(),
        b"\x32",
        b"\x36\0",
        b"\x32\xff\xff\xff\xff\x1f",
        &[0x32, 0x80, 0x80],
    ] {
        assert_eq!(scan_stream(&one, end), long, "{end:?}");
    }
    // A size padded to eight bytes.
    let padded = [&[0x32, 0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0][..], &[0, 0]].concat();
    assert!(scan_stream(&one, &padded).is_ok());
    assert_eq!(scan_stream(&one, &[0xb2, 0]), corrupt("an OBU header has its forbidden bit set"));
    assert_eq!(scan_stream(&one, b"\x10\x32\0"), corrupt("a temporal delimiter OBU is not empty"));
    assert_eq!(
        scan_stream(&one, b"\x42\0"),
        Err(Error::unsupported("its AV1 has a tile list OBU"))
    );
}

#[test]
fn obu_scan_refuses_more_than_four_frames() {
    let one = header(640, 480);
    for (kind, others) in [(6, &[][..]), (3, &[0x22, 0]), (7, &[0x22, 0]), (7, &[])] {
        let frame = [&obu(kind, &[0])[..], others].concat();
        assert_eq!(scan_stream(&one, &frame.repeat(4)).map(|stream| stream.frames), Ok(4));
        let sentence = "its AV1 has more than 4 frames, so it is not a still image";
        assert_eq!(scan_stream(&one, &frame.repeat(5)), Err(Error::unsupported(sentence)));
    }
}

#[test]
fn obu_scan_counts_over_all_items() {
    let item = [&header(640, 480)[..], &FRAME, &[0x12, 0].repeat(58)].concat();
    let mut left = 100;
    assert!(scan(&[], &item, &mut left).is_ok());
    assert_eq!(left, 40);
    let sentence = "the file has more than 100000 OBUs";
    assert_eq!(scan(&[], &item, &mut left), Err(Error::unsupported(sentence)));
}

#[test]
fn sequence_header_is_parsed_in_every_format() {
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
        assert_eq!(parse_header(&header.obu()), Ok(expected), "{bits}");
        // The last bit is film_grain_params_present.
        let last = header.0.len() - 1;
        header.0[last] = true;
        assert_eq!(
            parse_header(&header.obu()),
            Ok(Header { has_film_grain: true, ..expected }),
            "{bits}"
        );
    }
}

#[test]
fn sequence_header_color_description_is_parsed() {
    let mut named = still(640, 480);
    // BT.2020 and PQ.
    named.uint(3, 1).uint(8, 9).uint(8, 16).uint(8, 9).uint(1, 0).uint(4, 0);
    let expected = Nclx { primaries: 9, transfer: 16, matrix: 9, is_full_range: false };
    assert_eq!(parse_header(&named.obu()).map(|header| header.sequence.nclx), Ok(expected));
    // sRGB with the identity matrix implies 4:4:4 and full range.
    let mut identity = still(640, 480);
    identity.0[2] = true;
    identity.uint(2, 1).uint(8, 1).uint(8, 13).uint(8, 0).uint(1, 0).uint(1, 1);
    let header = parse_header(&identity.obu()).unwrap();
    let expected = Nclx { primaries: 1, transfer: 13, matrix: 0, is_full_range: true };
    assert_eq!(header.sequence, Sequence { depth: 8, chroma: Chroma::Yuv444, nclx: expected });
    assert!(header.has_film_grain);
    let mut unknown = still(640, 480);
    unknown.0[0] = true;
    unknown.0[1] = true;
    let sentence = "its AV1 has the unknown profile 6";
    assert_eq!(parse_header(&unknown.uint(20, 0).obu()), Err(Error::unsupported(sentence)));
}

/// The rest of a header that is not reduced, from the frame size on: 8 bits, 4:2:0.
fn video(bits: &mut Bits, width: u32, height: u32) -> Vec<u8> {
    bits.size(width, height);
    // Frame numbers, tools, order hints, screen content and integer motion vectors.
    bits.uint(1, 1).uint(7, 0).uint(3, 0).uint(4, 0).uint(1, 1).uint(2, 0);
    bits.uint(1, 0).uint(1, 1).uint(1, 0).uint(1, 1).uint(3, 7);
    bits.uint(3, 0).uint(3, 0).uint(1, 1).uint(2, 0).uint(1, 0).uint(1, 0).obu()
}

fn size_of(header: &[u8]) -> Result<(u32, u32, u16), Error> {
    parse_header(header).map(|header| (header.width, header.height, header.last_layer))
}

#[test]
fn sequence_header_fields_before_the_size_are_skipped() {
    // Without optional fields, and with all of them.
    let mut plain = Bits::default();
    plain.uint(5, 0).uint(1, 0).uint(1, 0).uint(5, 0).uint(12, 0).uint(5, 4);
    assert_eq!(size_of(&video(&mut plain, 300, 200)), Ok((300, 200, 0)));
    let mut full = Bits::default();
    full.uint(5, 0).uint(1, 1).uint(32, 1).uint(32, 25).uint(1, 1).uint(3, 1).uint(2, 3);
    full.uint(1, 1).uint(5, 9).uint(32, 7).uint(10, 0);
    // Two operating points: three spatial layers at a high level with everything, and one layer with nothing.
    full.uint(1, 1).uint(5, 1);
    full.uint(12, 0x701).uint(5, 8).uint(1, 1).uint(1, 1).uint(21, 5).uint(1, 1).uint(4, 3);
    full.uint(12, 0x101).uint(5, 7).uint(1, 0).uint(1, 0);
    assert_eq!(size_of(&video(&mut full, 1920, 1080)), Ok((1920, 1080, 2)));
}

#[test]
fn sequence_header_may_be_long_but_uvlc_is_bounded() {
    let with_ticks = |zeros: u32| {
        let mut header = Bits::default();
        // num_ticks_per_picture_minus_1: zeros, a one and as many bits.
        header.uint(5, 0).uint(1, 1).uint(32, 1).uint(32, 25).uint(1, 1);
        header.uint(zeros, 0).uint(1, 1).uint(zeros, 0);
        header.uint(1, 1).uint(5, 31).uint(32, 7).uint(10, 0).uint(1, 1).uint(5, 31);
        for _ in 0..32 {
            header.uint(12, 1).uint(5, 8).uint(1, 1).uint(1, 1).uint(32, 0).uint(32, 0);
            header.uint(1, 0).uint(1, 1).uint(4, 3);
        }
        video(&mut header, 1920, 1080)
    };
    assert_eq!(size_of(&with_ticks(31)), Ok((1920, 1080, 0)));
    assert_eq!(size_of(&with_ticks(32)), corrupt("a sequence header is truncated or invalid"));
}

#[test]
fn sequence_header_that_is_truncated_is_corrupt() {
    let whole = header(640, 480);
    let payload = &whole[2..];
    // The last bits are the end of the OBU.
    for end in 0..payload.len() - 1 {
        assert_eq!(
            parse_header(&obu(1, &payload[..end])),
            corrupt("a sequence header is truncated or invalid"),
            "{end}"
        );
    }
}

#[test]
fn sequence_header_of_encoders_is_parsed() {
    for (name, profile, depth, chroma) in [
        ("yuv420.avif", 0, 8, Chroma::Yuv420),
        ("yuv422.avif", 2, 8, Chroma::Yuv422),
        ("yuv444.avif", 1, 8, Chroma::Yuv444),
        ("10-bit.avif", 0, 10, Chroma::Yuv420),
        ("12-bit.avif", 2, 12, Chroma::Yuv420),
        ("monochrome.avif", 0, 8, Chroma::Monochrome),
    ] {
        let header = scan_stream(&[], &streams(name)[0]).unwrap().header;
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
