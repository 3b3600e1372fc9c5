use super::*;

const SVG: &[u8] = b"<svg xmlns='http://www.w3.org/2000/svg'/>";

/// The smallest file that is recognised, for each type.
fn samples() -> Vec<(FileType, Vec<u8>)> {
    let mut ico = vec![0, 0, 1, 0, 1, 0, 16, 16, 0, 0, 1, 0, 32, 0];
    ico.extend([3, 0, 0, 0, 22, 0, 0, 0, 1, 2, 3]);
    let mut bmp = b"BM".to_vec();
    bmp.extend([0; 8]);
    bmp.extend([54, 0, 0, 0, 40, 0, 0, 0]);
    bmp.resize(58, 0);
    vec![
        (FileType::Svg, SVG.to_vec()),
        (FileType::Ico, ico),
        (FileType::Bmp, bmp),
        (FileType::Tiff, b"II*\0\x08\0\0\0".to_vec()),
        (FileType::Heic, b"\0\0\0\x18ftypmif1\0\0\0\0heicmiaf".to_vec()),
        (FileType::Jxl, vec![0xff, 0x0a, 0]),
        (FileType::Pdf, b"%PDF-1.7\n".to_vec()),
        (FileType::Mp4, b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2mp41".to_vec()),
        (FileType::Mov, b"\0\0\0\x14ftypqt  \0\0\0\0qt  ".to_vec()),
        (
            FileType::Webm,
            b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm\x42\x87\x81\x04".to_vec(),
        ),
    ]
}

#[test]
fn types_are_recognised_by_content() {
    let samples = samples();
    let types: Vec<FileType> = samples.iter().map(|(file_type, _)| *file_type).collect();
    assert_eq!(types, FileType::ALL);
    for (file_type, bytes) in &samples {
        assert_eq!(FileType::of_bytes(bytes), Some(*file_type));
        for other in FileType::ALL.iter().filter(|other| *other != file_type) {
            assert!(!(other.row().matches)(bytes), "{file_type:?} is {other:?}");
        }
    }
    assert_eq!(FileType::of_bytes(b"MM\0*\0\0\0\x08"), Some(FileType::Tiff));
    assert_eq!(FileType::of_bytes(b"\0\0\0\x0cJXL \r\n\x87\n"), Some(FileType::Jxl));
}

#[test]
fn truncated_files_and_hostile_content_have_no_type() {
    for (file_type, bytes) in samples() {
        // Some need their first bytes only.
        let needed = if file_type == FileType::Jxl { 2 } else { 4 };
        for end in 0..needed {
            assert_eq!(FileType::of_bytes(&bytes[..end]), None, "{file_type:?}");
        }
        // Nothing may precede the content.
        for before in ["<html>", " ", "\n<script>alert(1)</script>"] {
            let text = [before.as_bytes(), &bytes].concat();
            let found = FileType::of_bytes(&text);
            let is_space_before_svg = file_type == FileType::Svg && before == " ";
            assert_eq!(found.is_some(), is_space_before_svg, "{file_type:?}");
        }
    }
    let html = b"<!DOCTYPE html><html><body><script>alert(1)</script></body></html>";
    for bytes in [
        &html[..],
        b"<html>",
        b"<script>alert(1)</script>",
        b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'/>",
        b"#!/bin/sh",
        b"MZ\x90\0",
        b"\x7fELF",
        b"PK\x03\x04",
        b"BMW is a car, and this is a text about it",
        b"\0\0\x01\0\x01\0",
        b"\0\0\x01\0\0\0<html>aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska",
        b"\0\0\0\x18ftypavif\0\0\0\0avifmiafmif1",
        b"\0\0\0\x18ftypM4A \0\0\0\0isommp42",
        b"\0\0\0\x18ftypcrx \0\0\0\0qt  isom",
        b"\0\0\0\x10ftypmif1\0\0\0\0heic",
        b"%!PS-Adobe",
    ] {
        assert_eq!(FileType::of_bytes(bytes), None, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn numbers_of_a_header_must_lead_into_the_file() {
    let samples = samples();
    let sample = |file_type: FileType| {
        samples.iter().find(|(known, _)| *known == file_type).unwrap().1.clone()
    };
    // A directory of one image ends at 22; the image has 3 bytes. A bitmap has 58, and its pixels begin at 54.
    for (file_type, at, number, is_one) in [
        (FileType::Ico, 18, 22, true),
        (FileType::Ico, 18, 21, false),
        (FileType::Ico, 18, 0, false),
        (FileType::Ico, 18, 23, false),
        (FileType::Ico, 14, 4, false),
        (FileType::Ico, 14, 0, false),
        (FileType::Ico, 14, u32::MAX, false),
        (FileType::Bmp, 10, 57, true),
        (FileType::Bmp, 10, 58, false),
        (FileType::Bmp, 10, 26, true),
        (FileType::Bmp, 10, 25, false),
        (FileType::Bmp, 14, 41, false),
    ] {
        let mut bytes = sample(file_type);
        bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        assert_eq!(FileType::of_bytes(&bytes).is_some(), is_one, "{file_type:?} {at} {number}");
    }
    // A second image of a directory makes it longer.
    let mut two = sample(FileType::Ico);
    two[4] = 2;
    assert_eq!(FileType::of_bytes(&two), None);
}

#[test]
fn an_image_that_is_decoded_has_no_type() {
    for start in [&b"\xff\xd8\xff"[..], b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP"] {
        assert_eq!(FileType::of_bytes(&[start, SVG].concat()), None);
    }
    let both = b"\0\0\0\x18ftypheic\0\0\0\0avifmif1";
    assert!(has_brand(both, Brands::All, &[b"heic"]));
    assert_eq!(FileType::of_bytes(both), None);
}

#[test]
fn names_and_extensions_are_unique_and_those_of_no_format_that_is_read() {
    let mut seen = Vec::new();
    for file_type in FileType::ALL {
        assert_eq!(FileType::parse(file_type.name()), Some(*file_type));
        for extension in file_type.extensions() {
            assert_eq!(FileType::of_extension(extension), Some(*file_type));
            let format = Format::parse(extension);
            assert!(format.is_none_or(|format| !format.is_read()), "{extension}");
            assert!(!seen.contains(extension), "{extension}");
            seen.push(extension);
        }
    }
    assert_eq!((FileType::parse("tif"), FileType::parse("html")), (None, None));
}

#[test]
fn no_type_is_one_that_browsers_run_and_only_images_are_shown_in_place() {
    for file_type in FileType::ALL {
        let content_type = file_type.content_type();
        assert_eq!(file_type.is_image(), content_type.starts_with("image/"), "{content_type}");
        for part in ["html", "javascript", "text/", "css", "xml;", "json", "multipart", "octet"] {
            assert!(!content_type.contains(part), "{content_type}");
        }
    }
}
