use crate::format::Format;
use crate::render::codec::png::crc;

const JPEG: &[u8] = include_bytes!("../../../tests/data/gps.jpg");
const GIF: &[u8] = include_bytes!("../../../tests/data/anim.gif");
const WEBP: &[u8] = include_bytes!("../../../examples/images/seedling.webp");
const PNG: &[u8] = include_bytes!("../../../examples/images/transparent.png");

fn stripped(format: Format, bytes: &[u8]) -> Option<Vec<u8>> {
    super::stripped(format, bytes, usize::MAX)
}

/// An image of each format that has metadata to lose, and what is in it.
fn with_metadata() -> [(Format, Vec<u8>, &'static [u8]); 4] {
    [
        (
            Format::Jpeg,
            [&JPEG[..2], &segment(0xfe, b"a comment"), &JPEG[2..], b"trailing"].concat(),
            b"a comment",
        ),
        (Format::Png, after_header(&chunk(b"tEXt", b"Comment\0a comment")), b"a comment"),
        (
            Format::Webp,
            extended_webp(0x0c, &[(b"EXIF", TIFF), (b"XMP ", b"<a comment/>!")]),
            b"a comment",
        ),
        (
            Format::Gif,
            [&GIF[..gif_start()], b"\x21\xfe\x09a comment\0", &GIF[gif_start()..], b"trailing"]
                .concat(),
            b"a comment",
        ),
    ]
}

/// A TIFF header whose directory says that the image stands upright.
const TIFF: &[u8] = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x01\0\0\0\0\0\0\0";

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
    [&[0xff, marker], &length[..], body].concat()
}

fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length[..], kind, body, &crc(kind, body).to_be_bytes()].concat()
}

/// With a check that is wrong.
fn damaged(mut chunk: Vec<u8>) -> Vec<u8> {
    *chunk.last_mut().unwrap() ^= 1;
    chunk
}

fn after_header(more: &[u8]) -> Vec<u8> {
    [&PNG[..33], more, &PNG[33..]].concat()
}

fn riff(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [kind, &length[..], body, &b"\0"[..body.len() % 2]].concat()
}

fn extended_webp(flags: u8, more: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut chunks = b"WEBP".to_vec();
    chunks.extend(riff(b"VP8X", &[flags, 0, 0, 0, 0xaf, 0x04, 0, 0xa2, 0x02, 0]));
    // The simple file's only chunk.
    chunks.extend_from_slice(&WEBP[12..]);
    for (kind, body) in more {
        chunks.extend(riff(kind, body));
    }
    riff(b"RIFF", &chunks)
}

/// Where the first block stands, behind the global colour table.
fn gif_start() -> usize {
    13 + (3 << ((GIF[10] & 7) + 1))
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn pixels(bytes: &[u8]) -> image::RgbaImage {
    image::load_from_memory(bytes).unwrap().to_rgba8()
}

#[test]
fn metadata_goes_and_every_pixel_stays() {
    for (format, bytes, secret) in with_metadata() {
        assert_eq!(Format::of_bytes(&bytes), Some(format));
        assert!(holds(&bytes, secret));
        let out = stripped(format, &bytes).unwrap_or_else(|| panic!("{format:?}"));
        for gone in [secret, b"Exif", b"EXIF", b"XMP ", b"GPS", b"trailing"] {
            assert!(!holds(&out, gone), "{format:?}: {}", gone.escape_ascii());
        }
        assert!(out.len() < bytes.len() - 8, "{format:?}");
        assert!(pixels(&out) == pixels(&bytes), "{format:?}");
        assert_eq!(
            stripped(format, &out).as_ref(),
            Some(&out),
            "{format:?}: twice is as good as once"
        );
    }
    assert!(holds(&stripped(Format::Gif, GIF).unwrap(), b"NETSCAPE2.0"), "it loops as before");
}

#[test]
fn what_has_no_metadata_is_copied() {
    for (format, bytes) in [(Format::Png, PNG), (Format::Webp, WEBP), (Format::Gif, GIF)] {
        assert!(stripped(format, bytes).unwrap() == bytes, "{format:?}");
    }
}

#[test]
fn a_thumbnail_in_the_jfif_header_goes() {
    let jfif = b"JFIF\0\x01\x01\0\0\x01\0\x01\x01\x01SEE";
    let start = 2 + usize::from(u16::from_be_bytes([JPEG[4], JPEG[5]])) + 2;
    let bytes = [&JPEG[..2], &segment(0xe0, jfif), &JPEG[start..]].concat();
    let out = stripped(Format::Jpeg, &bytes).unwrap();
    assert_eq!(&out[..20], b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
    assert!(pixels(&out) == pixels(&bytes));
}

#[test]
fn what_is_no_smaller_than_wanted_is_not_made() {
    for (format, bytes, _) in with_metadata() {
        let whole = stripped(format, &bytes).unwrap();
        for most in [0, 1, 100, whole.len() - 1] {
            assert_eq!(super::stripped(format, &bytes, most), None, "{format:?}: {most}");
        }
        assert!(super::stripped(format, &bytes, whole.len()) == Some(whole), "{format:?}");
    }
    // It stops where there is no room, and does not look at what is behind that.
    let mut kept = super::kept::Kept::at_most(5);
    assert_eq!((kept.add(b"abc"), kept.add(b"def"), kept.room()), (Some(()), None, 2));
    assert_eq!((kept.add(b"de"), kept.into_bytes()), (Some(()), b"abcde".to_vec()));
}

#[test]
fn nothing_is_hidden_in_what_is_kept() {
    let in_jpeg = |more: &[u8]| [&JPEG[..2], more, &JPEG[2..]].concat();
    let adobe = |more: &[u8]| segment(0xee, &[b"Adobe\0\x64\0\0\0\0\x01", more].concat());
    let frame = |chunks: &[Vec<u8>]| {
        let mut file = b"WEBP".to_vec();
        file.extend(riff(b"VP8X", &[0x02, 1, 2, 3, 0, 0, 0, 0, 0, 0]));
        file.extend(riff(b"ANIM", &[0; 6]));
        file.extend(riff(b"ANMF", &[&[0; 16][..], &chunks.concat()].concat()));
        riff(b"RIFF", &file)
    };
    let image = WEBP[12..].to_vec();
    let (alpha, unknown) = (riff(b"ALPH", b"a"), riff(b"ABCD", b"a secret"));
    let in_gif = |more: &[u8]| [&GIF[..gif_start()], more, &GIF[gif_start()..]].concat();
    let netscape = |more: &[u8]| in_gif(&[b"\x21\xff\x0bNETSCAPE2.0", more].concat());
    for (name, format, bytes, is_taken) in [
        ("Adobe", Format::Jpeg, in_jpeg(&adobe(b"")), true),
        ("more behind Adobe", Format::Jpeg, in_jpeg(&adobe(b"a secret")), false),
        ("less", Format::Jpeg, in_jpeg(&segment(0xee, b"Adobe\0\x64")), false),
        ("Adobe again", Format::Jpeg, in_jpeg(&adobe(b"").repeat(2)), false),
        ("frame", Format::Webp, frame(std::slice::from_ref(&image)), true),
        ("frame with transparency", Format::Webp, frame(&[alpha.clone(), image.clone()]), true),
        ("more in a frame", Format::Webp, frame(&[image.clone(), unknown.clone()]), false),
        ("before it", Format::Webp, frame(&[unknown, image.clone()]), false),
        ("behind it", Format::Webp, frame(&[image.clone(), alpha]), false),
        ("two in a frame", Format::Webp, frame(&[image.clone(), image.clone()]), false),
        ("none in a frame", Format::Webp, frame(&[]), false),
        ("cut off", Format::Webp, frame(&[image, b"VP8".to_vec()]), false),
        ("loops", Format::Gif, netscape(b"\x03\x01\0\0\0"), true),
        ("more in the loop", Format::Gif, netscape(b"\x03\x01\0\0\x08a secret\0"), false),
        ("another block", Format::Gif, netscape(b"\x05\x02\0\0\0\0\0"), false),
        ("graphic control", Format::Gif, in_gif(b"\x21\xf9\x04\0\0\0\0\0"), true),
        (
            "more in a graphic control",
            Format::Gif,
            in_gif(b"\x21\xf9\x04\0\0\0\0\x08a secret\0"),
            false,
        ),
    ] {
        let out = stripped(format, &bytes);
        assert_eq!(out.is_some(), is_taken, "{name}");
        if let Some(out) = out
            && format == Format::Webp
        {
            assert_eq!(out[20..24], [0x02, 0, 0, 0], "{name}: flags");
        }
    }
}

#[test]
fn what_decides_how_it_looks_is_left_alone() {
    let exif = |orientation: u8| {
        let mut tiff = TIFF.to_vec();
        tiff[18] = orientation;
        tiff
    };
    let in_jpeg = |more: Vec<u8>| [&JPEG[..2], &more, &JPEG[2..]].concat();
    let app1 = |tiff: &[u8]| in_jpeg(segment(0xe1, &[b"Exif\0\0", tiff].concat()));
    let srgb =
        [31_270_u32, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000].map(u32::to_be_bytes);
    for (name, format, bytes, is_taken) in [
        ("upright", Format::Jpeg, app1(&exif(1)), true),
        ("turned", Format::Jpeg, app1(&exif(6)), false),
        ("unreadable EXIF", Format::Jpeg, app1(&exif(1)[..20]), false),
        ("no TIFF", Format::Jpeg, app1(b"nonsense"), false),
        ("XMP", Format::Jpeg, in_jpeg(segment(0xe1, b"http://ns.adobe.com/xap/1.0/\0<x/>")), true),
        ("profile", Format::Jpeg, in_jpeg(segment(0xe2, b"ICC_PROFILE\0\x01\x01profile")), false),
        ("several images", Format::Jpeg, in_jpeg(segment(0xe2, b"MPF\0")), true),
        ("lossless", Format::Jpeg, in_jpeg(segment(0xc3, &[8, 0, 1, 0, 1, 1])), false),
        ("two frames", Format::Jpeg, in_jpeg(segment(0xc0, &[8, 0, 1, 0, 1, 1])), false),
        ("four colours", Format::Jpeg, in_jpeg(segment(0xc0, &[8, 0, 1, 0, 1, 4])), false),
        ("fill bytes", Format::Jpeg, in_jpeg(vec![0xff, 0xff, 0xff, 0xfe, 0, 2]), true),
        ("no marker", Format::Jpeg, in_jpeg(vec![0]), false),
        ("sRGB", Format::Png, after_header(&chunk(b"sRGB", &[0])), true),
        (
            "gamma of sRGB",
            Format::Png,
            after_header(&chunk(b"gAMA", &45_455_u32.to_be_bytes())),
            true,
        ),
        ("linear", Format::Png, after_header(&chunk(b"gAMA", &100_000_u32.to_be_bytes())), false),
        (
            "primaries of sRGB",
            Format::Png,
            after_header(&chunk(b"cHRM", srgb.as_flattened())),
            true,
        ),
        ("other primaries", Format::Png, after_header(&chunk(b"cHRM", &[1; 32])), false),
        ("PNG profile", Format::Png, after_header(&chunk(b"iCCP", b"p\0\0")), false),
        ("code points", Format::Png, after_header(&chunk(b"cICP", &[9, 16, 0, 1])), false),
        ("fewer bits", Format::Png, after_header(&chunk(b"sBIT", &[5, 6, 5, 8])), false),
        ("PNG EXIF", Format::Png, after_header(&chunk(b"eXIf", TIFF)), false),
        ("APNG", Format::Png, after_header(&chunk(b"acTL", &[0; 8])), false),
        ("two headers", Format::Png, after_header(&PNG[8..33]), false),
        ("palette", Format::Png, after_header(&chunk(b"PLTE", &[1, 2, 3])), true),
        ("damaged palette", Format::Png, after_header(&damaged(chunk(b"PLTE", &[1, 2, 3]))), false),
        ("damaged text", Format::Png, after_header(&damaged(chunk(b"tEXt", b"a\0b"))), true),
        ("time", Format::Png, after_header(&chunk(b"tIME", &[0; 7])), true),
        ("WebP EXIF", Format::Webp, extended_webp(0x08, &[(b"EXIF", TIFF)]), true),
        ("turned WebP", Format::Webp, extended_webp(0x08, &[(b"EXIF", &exif(8))]), false),
        ("WebP profile", Format::Webp, extended_webp(0x20, &[(b"ICCP", b"profile!")]), false),
        ("unsaid profile", Format::Webp, extended_webp(0, &[(b"ICCP", b"profile!")]), false),
        ("unknown chunk", Format::Webp, extended_webp(0, &[(b"ABCD", b"?")]), false),
        ("frame in a still", Format::Webp, extended_webp(0, &[(b"ANMF", b"?")]), false),
        ("two stills", Format::Webp, extended_webp(0, &[(b"VP8 ", b"?")]), false),
        (
            "plain text",
            Format::Gif,
            [&GIF[..gif_start()], b"\x21\x01\0", &GIF[gif_start()..]].concat(),
            false,
        ),
        (
            "application",
            Format::Gif,
            [&GIF[..gif_start()], b"\x21\xff\x0bXMP DataXMP\0", &GIF[gif_start()..]].concat(),
            true,
        ),
        ("AVIF", Format::Avif, include_bytes!("../../../tests/data/quarters.avif").to_vec(), false),
    ] {
        assert_eq!(stripped(format, &bytes).is_some(), is_taken, "{name}");
    }
}

/// A bounded fuzz: whatever comes out of anything is an image of the same format that has nothing left to lose.
#[test]
fn no_bytes_lead_astray() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let check = |format: Format, bytes: &[u8]| {
        if let Some(out) = stripped(format, bytes) {
            assert_eq!(Format::of_bytes(&out), Some(format));
            assert!(stripped(format, &out).as_ref() == Some(&out), "{format:?}");
        }
    };
    let exif = [&JPEG[..2], &segment(0xe1, &[b"Exif\0\0", TIFF].concat()), &JPEG[2..]].concat();
    let mut seeds = with_metadata().map(|(format, bytes, _)| (format, bytes)).to_vec();
    seeds.push((Format::Jpeg, exif));
    for (format, bytes) in &seeds {
        // The structure stands at the two ends; between them are pixels.
        for end in (0..bytes.len().min(1500)).chain(bytes.len() - 300..bytes.len()) {
            check(*format, &bytes[..end]);
        }
        for _ in 0..800 {
            let mut broken = bytes.clone();
            for _ in 0..=random(4) {
                let near = if random(2) == 0 { 200 } else { broken.len() };
                let at = random(near.min(broken.len()));
                broken[at] = random(256) as u8;
            }
            check(*format, &broken);
        }
    }
}
