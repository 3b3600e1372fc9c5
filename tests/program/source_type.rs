//! `strip=false`: what kind of image an original says that it is, such as one that a model has made.

use std::io::Cursor;
use std::process::Command;

use image::ImageDecoder;
use image::codecs::gif::GifDecoder;
use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;

use crate::support::directory::Directory;
use crate::support::images::{self, Image, Kind, holds};
use crate::support::jxl;
use crate::support::png_chunks::with_chunk;
use crate::support::server::{Server, data};
use crate::support::skip::skip;

const VOCABULARY: &str = "http://cv.iptc.org/newscodes/digitalsourcetype/";
const NAMESPACE: &str = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/";
/// Formats that the test can write with XMP, and read it from without the program.
const KINDS: [Kind; 3] = [Kind::Jpeg, Kind::Png, Kind::Webp];

/// A packet as an image editor writes it, with other properties, one of which is private.
fn packet(term: &str) -> String {
    format!(
        "<?xpacket begin='\u{feff}' id='W5M0MpCehiHzreSzNTczkc9d'?><x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk='Secret Editor'>\
         <rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description rdf:about='' \
         xmlns:exif='http://ns.adobe.com/exif/1.0/' xmlns:ext='{NAMESPACE}' exif:GPSLatitude='52,31.5N'>\
         <ext:DigitalSourceType>{VOCABULARY}{term}</ext:DigitalSourceType></rdf:Description></rdf:RDF></x:xmpmeta>\
         <?xpacket end='w'?>"
    )
}

/// An image with an XMP packet, where its format has it (ISO 16684-3).
fn with_xmp(kind: Kind, packet: &[u8]) -> Vec<u8> {
    let image = images::gradient(80, 60);
    match kind {
        Kind::Jpeg => {
            let jpeg = images::jpeg(image);
            let segment = [&b"http://ns.adobe.com/xap/1.0/\0"[..], packet].concat();
            let length = u16::try_from(2 + segment.len()).unwrap().to_be_bytes();
            [&jpeg[..2], &[0xff, 0xe1], &length, &segment, &jpeg[2..]].concat()
        }
        Kind::Png => {
            let text = [&b"XML:com.adobe.xmp\0\0\0\0\0"[..], packet].concat();
            with_chunk(&images::png(image), b"iTXt", &text)
        }
        Kind::Webp => {
            let simple = images::webp(image);
            let mut chunks = b"VP8X\x0a\0\0\0\x04\0\0\0\x4f\0\0\x3b\0\0".to_vec();
            chunks.extend(&simple[12..]);
            chunks.extend(b"XMP ");
            chunks.extend((packet.len() as u32).to_le_bytes());
            chunks.extend(packet);
            chunks.resize(chunks.len().next_multiple_of(2), 0);
            let length = (chunks.len() as u32 + 4).to_le_bytes();
            [&b"RIFF"[..], &length, b"WEBP", &chunks].concat()
        }
        other => panic!("{other:?}"),
    }
}

/// The XMP of an image that is no AVIF.
fn xmp_of(bytes: &[u8]) -> Option<String> {
    let input = Cursor::new(bytes);
    let packet = match Kind::of(bytes).unwrap() {
        Kind::Jpeg => JpegDecoder::new(input).unwrap().xmp_metadata(),
        Kind::Png => PngDecoder::new(input).unwrap().xmp_metadata(),
        Kind::Webp => WebPDecoder::new(input).unwrap().xmp_metadata(),
        Kind::Gif => GifDecoder::new(input).unwrap().xmp_metadata(),
        Kind::Jxl => {
            let image = jxl::read(bytes);
            let packet = image.aux_boxes().first_xml();
            Ok(packet.has_data().then(|| packet.unwrap().to_vec()))
        }
        other => panic!("{other:?}"),
    };
    packet.unwrap().map(|packet| String::from_utf8(packet).unwrap())
}

/// The term in a packet that says nothing else.
#[track_caller]
fn term_of(packet: &str) -> &str {
    for private in ["Secret", "GPS", "52,31", "exif"] {
        assert!(!packet.contains(private), "{packet}");
    }
    assert_eq!(packet.matches("DigitalSourceType").count(), 2, "{packet}");
    assert!(packet.contains(NAMESPACE), "{packet}");
    let (_, rest) = packet.split_once(VOCABULARY).expect(packet);
    rest.split('<').next().unwrap()
}

#[test]
fn the_source_type_is_written_anew_in_every_format_that_has_xmp() {
    let packet = packet("trainedAlgorithmicMedia");
    let directory = KINDS.into_iter().fold(Directory::new(), |directory, kind| {
        directory.with(kind.name(), &with_xmp(kind, packet.as_bytes()))
    });
    directory.put("avif", &data("source-type.avif"));
    let server = Server::with_handler(directory.handler());
    let mut written = None;
    for from in ["jpg", "png", "webp", "avif"] {
        for to in KINDS.into_iter().chain([Kind::Jxl]) {
            for query in ["", "&w=20", "&lossless=true"] {
                if query == "&lossless=true" && to == Kind::Jpeg {
                    continue;
                }
                let target = format!("/h/{from}?strip=false&f={}{query}", to.name());
                let body = server.get(&target).ok().body;
                let found = xmp_of(&body).expect(&target);
                assert_eq!(term_of(&found), "trainedAlgorithmicMedia", "{target}");
                Image::decode(&body);
                // The flag of XMP (RFC 9649 §2.7.1).
                let is_flagged = &body[12..16] == b"VP8X" && body[20] & 4 != 0;
                assert!(to != Kind::Webp || is_flagged, "{target}");
                written = Some(found);
                // By default no metadata is kept.
                let body = server.get(&target.replace("strip=false", "strip=true")).ok().body;
                assert!(xmp_of(&body).is_none() && !holds(&body, b"DigitalSource"), "{target}");
            }
        }
        // In AVIF the packet is an item, and the image is still one.
        let avif = server.get(&format!("/h/{from}?strip=false&f=avif")).ok().body;
        assert!(holds(&avif, written.as_ref().unwrap().as_bytes()), "{from}");
        assert!(holds(&avif, b"mime\0application/rdf+xml\0") && holds(&avif, b"cdsc"), "{from}");
        directory.put("again.avif", &avif);
        let body = server.get("/h/again.avif?strip=false&f=png").ok().body;
        assert_eq!(term_of(&xmp_of(&body).unwrap()), "trainedAlgorithmicMedia", "{from}");
        std::fs::remove_file(directory.path().join("again.avif")).unwrap();
        let gif = server.get(&format!("/h/{from}?strip=false&f=gif")).ok().body;
        assert!(xmp_of(&gif).is_none(), "{from}");
    }
    is_rdf_of_one_property(&written.unwrap());
}

/// Parses a packet with another parser.
fn is_rdf_of_one_property(packet: &str) {
    const SCRIPT: &str = r#"
import sys, xml.etree.ElementTree as tree
rdf = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
[root] = tree.fromstring(sys.argv[1].split("?>", 1)[1].rsplit("<?", 1)[0])
assert root.tag == rdf + "RDF", root.tag
[description] = root
assert description.tag == rdf + "Description" and description.attrib == {rdf + "about": ""}
[value] = description
print(value.tag, value.text, len(value), value.attrib)
"#;
    let Ok(output) = Command::new("python3").args(["-c", SCRIPT, packet]).output() else {
        return skip("python3 is missing");
    };
    let expected =
        format!("{{{NAMESPACE}}}DigitalSourceType {VOCABULARY}trainedAlgorithmicMedia 0 {{}}\n");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{stderr}");
}

#[test]
fn it_is_kept_with_the_copyright_and_without_the_rest() {
    let directory = Directory::new();
    for kind in KINDS {
        let mut bytes = with_xmp(kind, packet("compositeSynthetic").as_bytes());
        if kind == Kind::Png {
            // One entry: Copyright.
            let exif = b"MM\0\x2a\0\0\0\x08\0\x01\x82\x98\0\x02\0\0\0\x04me!\0\0\0\0\0";
            bytes = with_chunk(&bytes, b"eXIf", exif);
        }
        directory.put(kind.name(), &bytes);
    }
    let server = Server::with_handler(directory.handler());
    for to in KINDS.into_iter().chain([Kind::Jxl]) {
        let body = server.get(&format!("/h/png?strip=false&f={}", to.name())).ok().body;
        assert_eq!(term_of(&xmp_of(&body).unwrap()), "compositeSynthetic", "{to:?}");
        let exif = match to {
            Kind::Jpeg => JpegDecoder::new(Cursor::new(&body)).unwrap().exif_metadata(),
            Kind::Png => PngDecoder::new(Cursor::new(&body)).unwrap().exif_metadata(),
            Kind::Jxl => {
                let image = jxl::read(&body);
                Ok(Some(image.aux_boxes().first_exif().unwrap().unwrap().payload().to_vec()))
            }
            _ => WebPDecoder::new(Cursor::new(&body)).unwrap().exif_metadata(),
        };
        assert!(holds(&exif.unwrap().unwrap(), b"me!"), "{to:?}");
    }
}

#[test]
fn an_original_that_says_nothing_or_too_much_gets_no_xmp() {
    let of = packet;
    let url = format!("{VOCABULARY}trainedAlgorithmicMedia");
    let packets = [
        ("nothing", of("x").replace("DigitalSourceType", "Headline")),
        ("private", of("52.52N,13.40E")),
        ("query", of("digitalCapture?user=7")),
        ("other", of("x").replace(VOCABULARY, "http://example.com/")),
        ("namespace", of("digitalCapture").replace(NAMESPACE, "http://example.com/")),
        (
            "nested",
            of("digitalCapture")
                .replace("<ext:", "<a:b><ext:")
                .replace("</ext:DigitalSourceType>", "</ext:DigitalSourceType></a:b>"),
        ),
        (
            "twice",
            of("digitalCapture")
                .replace("GPSLatitude='52,31.5N'", &format!("a='b' ext:DigitalSourceType='{url}'")),
        ),
        (
            "entities",
            format!("<!DOCTYPE x [<!ENTITY a '{}'>]>{}", "&b;".repeat(50), of("digitalCapture")),
        ),
        ("entity", of("&a;")),
        ("truncated", of("digitalCapture").split("</ext").next().unwrap().to_owned() + "<"),
        ("empty", String::new()),
    ];
    let directory = Directory::new();
    for (name, packet) in &packets {
        for kind in KINDS {
            directory.put(&format!("{name}.{}", kind.name()), &with_xmp(kind, packet.as_bytes()));
        }
    }
    let deep = "<a>".repeat(20_000) + &of("digitalCapture");
    directory.put("deep.jpg", &with_xmp(Kind::Jpeg, deep.as_bytes()));
    let large = " ".repeat(3 << 20) + &of("digitalCapture");
    directory.put("large.png", &with_xmp(Kind::Png, large.as_bytes()));
    let damaged = with_xmp(Kind::Png, of("digitalCapture").as_bytes());
    directory.put("damaged.png", &crate::support::png_chunks::with_damaged(&damaged, b"iTXt"));
    let server = Server::with_handler(directory.handler());
    let mut client = server.client();
    let names =
        packets.iter().flat_map(|(name, _)| KINDS.map(|kind| format!("{name}.{}", kind.name())));
    for name in names.chain(["deep.jpg", "large.png", "damaged.png"].map(str::to_owned)) {
        let body = client.get(&format!("/h/{name}?strip=false&f=webp&w=20")).ok().body;
        assert_eq!(xmp_of(&body), None, "{name}");
    }
    // More metadata than `source_max_metadata`, as always.
    let huge = " ".repeat(10 << 20) + &of("digitalCapture");
    directory.put("huge.png", &with_xmp(Kind::Png, huge.as_bytes()));
    server.get("/h/huge.png?strip=false").failed("metadata_too_large");
}
