//! The box `iprp`.

use super::boxed;
use super::file::{File, av1c_420, av1c_444, be, clap, full, ispe, nclx, streams};
use crate::render::codec::avif::{Crop, Nclx, Orient};

#[test]
fn avif_nonessential_properties_are_ignored() {
    let mut file = File::single();
    for (name, payload) in [
        (b"pixi", &b"\0\0\0\0\x03\x08\x08\x08"[..]),
        (b"pasp", b"\0\0\0\x02\0\0\0\x01"),
        (b"clli", b"\x03\xe8\x01\x90"),
        (b"mdcv", &[7; 24]),
        (b"cclv", &[0; 9]),
        (b"amve", &[0; 8]),
        (b"a1lx", &[0; 7]),
        (b"lsel", b"\xff\xff"),
        (b"a1op", b"\0"),
        (b"auxC", b"\0\0\0\0urn:mpeg:hevc:2015:auxid:1\0"),
    ] {
        file.describe(1, &boxed(name, payload), true);
    }
    for name in [b"abcd", b"j2kH", b"hvcC", b"mskC", b"rloc", b"iscl", b"\0\0\0\0"] {
        file.describe(1, &boxed(name, b"12"), false);
    }
    // Index 0 means no property.
    file.items[0].properties.push((0, false));
    file.parsed(|image| assert_eq!(image.colour.width, 64));
}

#[test]
fn avif_unknown_essential_properties_are_refused() {
    for name in [b"abcd", b"j2kH", b"hvcC", b"mskC", b"rloc", b"iscl"] {
        let sentence =
            format!("item 1: its essential property `{}` is not supported", name.escape_ascii());
        assert_eq!(File::single().with_property(&boxed(name, b"12"), true).error(), sentence);
    }
    // An unused item may have one.
    let mut file = File::single();
    file.item(b"av01", b"", &[]);
    file.describe(2, &boxed(b"abcd", b"12"), true);
    file.parsed(|image| assert_eq!(image.colour.width, 64));
}

#[test]
fn avif_item_must_have_one_ispe_and_one_av1c() {
    let stream = &streams("quarters.avif")[0];
    let with = |properties: &[Vec<u8>]| {
        let mut file = File::new();
        file.item(b"av01", stream, properties);
        file.error()
    };
    assert_eq!(with(&[av1c_444()]), "item 1: it has no `ispe`");
    assert_eq!(with(&[ispe(64, 48)]), "item 1: it has no `av1C`");
    assert_eq!(with(&[ispe(64, 48), ispe(64, 48)]), "item 1: it has two `ispe` properties");
    assert_eq!(
        with(&[ispe(64, 48), av1c_444(), av1c_444()]),
        "item 1: it has two `av1C` properties"
    );
    assert_eq!(with(&[ispe(0, 48)]), "item 1: `ispe` says 0 x 48 pixels");
    let long = "item 1: `ispe` says 64 x 65537 pixels; the longest side is 65536";
    assert_eq!(with(&[ispe(64, 65537)]), long);
    for (width, height) in [(64, 49), (63, 48), (128, 96), (1, 1)] {
        let sentence =
            format!("item 1: its AV1 has 64 x 48 pixels and its `ispe` says {width} x {height}");
        assert_eq!(with(&[ispe(width, height), av1c_444()]), sentence);
    }
}

#[test]
fn avif_av1c_must_match_the_stream() {
    let with = |fields: &[u8]| {
        let mut file = File::new();
        file.item(b"av01", &streams("quarters.avif")[0], &[ispe(64, 48), boxed(b"av1C", fields)]);
        file.error()
    };
    let other = "item 1: its `av1C` and its AV1 have different profiles, depths or subsamplings";
    // Another profile, 10 bits, 4:2:0, 4:2:2, monochrome.
    for fields in
        [[0x81, 0x40, 0, 0], [0x81, 0x20, 0x40, 0], [0x81, 0x20, 0x0c, 0], [0x81, 0x20, 0x08, 0]]
    {
        assert_eq!(with(&fields), other);
    }
    assert_eq!(with(&[0x81, 0x20, 0x1c, 0]), other);
    assert_eq!(with(&[0x81, 0x20, 0x04, 0]), "item 1: `av1C` says 4:4:0, which AV1 does not have");
    assert_eq!(with(&[0x82, 0x20, 0, 0]), "item 1: `av1C` has an unknown version");
    assert_eq!(with(&[0x81, 0x20, 0]), "item 1: box `av1C` ends early");
}

#[test]
fn avif_colr_is_allowed_once_per_kind() {
    let named = nclx(9, 16, 9);
    let profile = boxed(b"colr", b"rICC1234");
    File::single().with_property(&named, false).with_property(&profile, true).parsed(|image| {
        let expected = Nclx { primaries: 9, transfer: 16, matrix: 9, is_full_range: true };
        assert_eq!((image.nclx, image.icc), (Some(expected), Some(&b"1234"[..])));
    });
    File::single()
        .with_property(&boxed(b"colr", b"nclc\0\x01\0\x01\0\x01"), false)
        .parsed(|image| assert_eq!(image.nclx, None));
    File::single()
        .with_property(&boxed(b"colr", b"prof"), false)
        .parsed(|image| assert_eq!(image.icc, None));
    let two = "item 1: it has two `colr` properties";
    assert_eq!(
        File::single().with_property(&named, false).with_property(&nclx(1, 13, 6), false).error(),
        two
    );
    assert_eq!(
        File::single()
            .with_property(&profile, false)
            .with_property(&boxed(b"colr", b"prof12"), false)
            .error(),
        two
    );
    assert_eq!(
        File::single().with_property(&boxed(b"colr", b"nclx\0\x01"), false).error(),
        "item 1: box `colr` ends early"
    );
}

#[test]
fn avif_identity_matrix_needs_full_size_chroma() {
    File::single()
        .with_property(&nclx(1, 13, 0), false)
        .parsed(|image| assert_eq!(image.nclx.unwrap().matrix, 0));
    let mut file = File::new();
    file.item(b"av01", &streams("yuv420.avif")[0], &[ispe(64, 48), av1c_420(), nclx(1, 13, 0)]);
    assert_eq!(file.error(), "item 1: its identity matrix needs chroma planes of full size");
}

#[test]
fn avif_clap_then_irot_and_imir_in_file_order() {
    let rotation = |quarters: u8| boxed(b"irot", &[quarters]);
    let mirror = |axis: u8| boxed(b"imir", &[axis]);
    let crop = clap([8, 1, 8, 1, 0, 1, 0, 1]);
    File::single()
        .with_property(&crop, true)
        .with_property(&mirror(1), true)
        .with_property(&rotation(3), true)
        .with_property(&mirror(0), true)
        .parsed(|image| {
            assert_eq!(image.crop, Some(Crop { left: 28, top: 20, width: 8, height: 8 }));
            let expected =
                [Orient::MirrorHorizontally, Orient::Rotate(3), Orient::MirrorVertically];
            assert_eq!(image.orientation, expected);
        });
    // The upper bits are reserved, and a rotation by 0 is dropped.
    File::single()
        .with_property(&rotation(4), true)
        .with_property(&crop, true)
        .with_property(&rotation(0xfe), true)
        .parsed(|image| {
            assert_eq!(
                (image.crop.is_some(), &image.orientation[..]),
                (true, &[Orient::Rotate(2)][..])
            );
        });
}

#[test]
fn avif_clap_comes_first_and_irot_and_imir_are_limited() {
    let (rotation, crop) = (boxed(b"irot", b"\x01"), clap([8, 1, 8, 1, 0, 1, 0, 1]));
    let other = clap([9, 1, 8, 1, 0, 1, 0, 1]);
    assert_eq!(
        File::single().with_property(&rotation, true).with_property(&crop, true).error(),
        "item 1: `clap` follows `irot` or `imir`"
    );
    assert_eq!(
        File::single().with_property(&crop, true).with_property(&other, true).error(),
        "item 1: it has two `clap` properties"
    );
    let rotated =
        |times: u8| (0..times).fold(File::single(), |file, _| file.with_property(&rotation, true));
    rotated(4).parsed(|image| assert_eq!(image.orientation.len(), 4));
    assert_eq!(rotated(5).error(), "item 1: it has too many `irot` and `imir` properties");
    assert_eq!(
        File::single().with_property(&boxed(b"irot", b""), true).error(),
        "item 1: box `irot` ends early"
    );
}

#[test]
fn avif_clap_that_is_not_a_window_of_whole_pixels_is_ignored() {
    let crop = |numbers: [i32; 8]| {
        let mut found = None;
        File::single().with_property(&clap(numbers), true).parsed(|image| found = image.crop);
        found.map(|crop| (crop.left, crop.top, crop.width, crop.height))
    };
    // The image has 64 x 48 pixels.
    for (numbers, window) in [
        ([64, 1, 48, 1, 0, 1, 0, 1], (0, 0, 64, 48)),
        ([32, 1, 24, 1, 0, 1, 0, 1], (16, 12, 32, 24)),
        ([32, 1, 24, 1, -16, 1, -12, 1], (0, 0, 32, 24)),
        ([32, 1, 24, 1, 16, 1, 12, 1], (32, 24, 32, 24)),
        // Halves of pixels between the centres.
        ([63, 1, 47, 1, -1, 2, 1, 2], (0, 1, 63, 47)),
        ([126, 2, 141, 3, -2, 4, -3, 6], (0, 0, 63, 47)),
        ([1, 1, 1, 1, 63, 2, -47, 2], (63, 0, 1, 1)),
    ] {
        assert_eq!(crop(numbers), Some(window), "{numbers:?}");
    }
    for numbers in [
        // Not of whole pixels.
        [63, 2, 48, 1, 0, 1, 0, 1],
        [63, 1, 48, 1, 0, 1, 0, 1],
        [64, 1, 48, 1, 1, 2, 0, 1],
        // Without a size, or larger than the image.
        [0, 1, 48, 1, 0, 1, 0, 1],
        [65, 1, 48, 1, 1, 2, 0, 1],
        [-64, 1, 48, 1, 0, 1, 0, 1],
        // Partly outside.
        [32, 1, 24, 1, 17, 1, 0, 1],
        [32, 1, 24, 1, 0, 1, -13, 1],
        // Not fractions.
        [64, 0, 48, 1, 0, 1, 0, 1],
        [64, 1, 48, 1, 0, 0, 0, 1],
        [-64, -1, 48, 1, 0, 1, 0, 1],
        [64, 1, 48, 1, 0, -1, 0, 1],
        // Extreme numbers.
        [i32::MIN; 8],
        [i32::MAX; 8],
        [64, 1, 48, 1, i32::MIN, 1, i32::MAX, 1],
        [64, 1, 48, 1, 0, i32::MAX, i32::MAX, i32::MAX],
    ] {
        assert_eq!(crop(numbers), None, "{numbers:?}");
    }
    let short = File::single().with_property(&boxed(b"clap", &[0; 31]), true);
    assert_eq!(short.error(), "item 1: box `clap` ends early");
}

#[test]
fn avif_layer_selection_is_refused() {
    let refused = |property: &[u8]| File::single().with_property(property, true).error();
    let point = "item 1: `a1op` selects operating point 1; only 0 is supported";
    assert_eq!(refused(&boxed(b"a1op", b"\x01")), point);
    let layer = "item 1: `lsel` selects a layer that is not the last one";
    assert_eq!(refused(&boxed(b"lsel", b"\0\x01")), layer);
    // The only layer.
    File::single()
        .with_property(&boxed(b"lsel", b"\0\0"), true)
        .parsed(|image| assert_eq!(image.colour.width, 64));
}

#[test]
fn avif_ipma_may_be_wide_and_must_refer_to_ipco() {
    let mut file = File::single();
    let properties = boxed(b"ipco", &file.properties.concat());
    let with = |ipma: &[Vec<u8>]| boxed(b"iprp", &[&properties[..], &ipma.concat()].concat());
    // Item numbers of four bytes and indices of two.
    let mut wide = full(b"ipma", 1, &be(&[0, 1, 0, 1]));
    wide[11] = 1;
    wide.extend([2, 0x80, 1, 0x80, 2]);
    let length = wide.len() as u8;
    wide[3] = length;
    file.replaced = vec![with(&[wide])];
    file.parsed(|image| assert_eq!(image.colour.width, 64));
    let ipma = |entries: &[u8]| {
        full(b"ipma", 0, &[&[0, 0, 0, 1, 0, 1, entries.len() as u8], entries].concat())
    };
    file.replaced = vec![with(&[ipma(&[1, 3])])];
    assert_eq!(file.error(), "item 1: its property 3 is not in `ipco`");
    file.replaced = vec![with(&[ipma(&[1, 2]), ipma(&[1, 2])])];
    assert_eq!(file.error(), "item 1: `ipma` lists it twice");
    file.replaced = vec![with(&vec![full(b"ipma", 0, &[0; 4]); 5])];
    assert_eq!(file.error(), "`iprp` has too many `ipma` boxes");
    file.replaced = vec![with(&[full(b"ipma", 0, &be(&[1, 0]))])];
    assert_eq!(file.error(), "`ipma` lists 65536 items; at most 300 are allowed");
    file.replaced = vec![with(&[full(b"ipma", 0, &be(&[0, 1, 1]))])];
    assert_eq!(file.error(), "box `ipma` ends early");
    file.replaced = vec![with(std::slice::from_ref(&properties))];
    assert_eq!(file.error(), "`iprp` has two `ipco` boxes");
    file.replaced = vec![boxed(b"iprp", &[])];
    assert_eq!(file.error(), "`iprp` has no `ipco` box");
    // Many unused properties.
    let many = |count: usize| boxed(b"iprp", &boxed(b"ipco", &boxed(b"free", b"").repeat(count)));
    file.replaced = vec![many(4096)];
    assert_eq!(file.error(), "item 1: it has no `ispe`");
    file.replaced = vec![many(4097)];
    assert_eq!(file.error(), "`ipco` has more than 4096 properties");
}
