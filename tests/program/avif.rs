//! AVIF originals with each feature that encoders use, as a client sees them. tests/data/generate-avif.py makes the
//! files with avifenc, so they are not written by the server's own encoder.

use crate::support::directory::Directory;
use crate::support::images::{BLUE, GREEN, Image, RED, WHITE, size_of, within};
use crate::support::server::{Server, data};

const TRANSPARENT: u8 = 0;

/// Colours of the quarters: top left, top right, bottom left, bottom right.
const QUARTERS: [[u8; 3]; 4] = [RED, GREEN, BLUE, WHITE];

fn serve(names: &[&str]) -> (Server, Directory) {
    let directory = Directory::new();
    for name in names {
        directory.put(name, &data(name));
    }
    (Server::with_handler(directory.handler()), directory)
}

/// The pixels at the centres of the quarters.
fn quarter_centers(image: &Image) -> [[u8; 4]; 4] {
    [(25, 25), (75, 25), (25, 75), (75, 75)].map(|(x, y)| image.at(x, y))
}

fn pixel(image: &Image, x: u32, y: u32) -> [u8; 4] {
    image.pixels.get_pixel(x, y).0
}

fn expect_quarters(
    server: &Server,
    target: &str,
    size: (u32, u32),
    expected: [[u8; 3]; 4],
    tolerance: u8,
) {
    let image = Image::decode(&server.get(target).ok().body);
    assert_eq!(image.size(), size, "{target}");
    let found = quarter_centers(&image);
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            within(*found, expected, tolerance) && found[3] == 255,
            "{target}: {found:?}, not {expected:?}"
        );
    }
}

#[test]
fn avif_subsampling_depth_range_and_matrix_give_the_same_colors() {
    let names = [
        "yuv420.avif",
        "yuv422.avif",
        "yuv444.avif",
        "bt709.avif",
        "ycgco.avif",
        "lossless.avif",
        "limited-range.avif",
        "10-bit.avif",
        "12-bit.avif",
        "12-bit-limited-range.avif",
        "pasp.avif",
        "animated.avif",
    ];
    let (server, _directory) = serve(&names);
    for name in names {
        expect_quarters(&server, &format!("/h/{name}?f=png"), (64, 48), QUARTERS, 4);
        expect_quarters(&server, &format!("/h/{name}?f=png&w=32"), (32, 24), QUARTERS, 6);
        // Blocks are averaged before the conversion to RGB.
        for size in [(16, 12), (12, 9), (8, 6)] {
            let target = format!("/h/{name}?f=png&w={}", size.0);
            expect_quarters(&server, &target, size, QUARTERS, 24);
        }
    }
}

#[test]
fn avif_monochrome_stays_gray() {
    let (server, _directory) = serve(&["monochrome.avif"]);
    let bytes = server.get("/h/monochrome.avif?f=png").ok().body;
    assert_eq!(bytes[25], 0, "PNG color type: gray without alpha");
    let found = quarter_centers(&Image::decode(&bytes)).map(|pixel| pixel[0]);
    for (found, expected) in found.iter().zip([0_u8, 85, 170, 255]) {
        assert!(found.abs_diff(expected) <= 2, "{found} is not {expected}");
    }
}

#[test]
fn avif_alpha_is_kept() {
    let names =
        ["alpha.avif", "alpha-premultiplied.avif", "alpha-10-bit.avif", "limited-range-alpha.avif"];
    let (server, _directory) = serve(&names);
    for name in names {
        for format in ["png", "webp&lossless=true"] {
            let image = Image::decode(&server.get(&format!("/h/{name}?f={format}")).ok().body);
            let found = quarter_centers(&image);
            for ((found, color), alpha) in
                found.iter().zip(QUARTERS).zip([255_u8, 192, 128, TRANSPARENT])
            {
                assert!(found[3].abs_diff(alpha) <= 1, "{name}: alpha {} is not {alpha}", found[3]);
                // The colour under full transparency is undefined.
                assert!(
                    alpha == TRANSPARENT || within(*found, color, 6),
                    "{name}: {found:?} is not {color:?}"
                );
            }
        }
    }
}

#[test]
fn avif_premultiplied_colors_are_divided_by_alpha() {
    let names = [
        "premultiplied-10-bit.avif",
        "premultiplied-12-bit.avif",
        "premultiplied-limited-range.avif",
        "premultiplied-lossless.avif",
        "premultiplied-animated.avif",
        "premultiplied-grid.avif",
    ];
    // Colours below 255 times alpha, so that nothing is clipped.
    let muted = [[200, 120, 60], [60, 120, 200], [120, 200, 60], [180, 60, 120]];
    let (server, _directory) = serve(&names);
    for name in names {
        for query in ["f=png", "f=png&w=32", "f=webp&lossless=true"] {
            let target = format!("/h/{name}?{query}");
            let image = Image::decode(&server.get(&target).ok().body);
            let found = quarter_centers(&image);
            for ((found, color), alpha) in found.iter().zip(muted).zip([255_u8, 192, 128, 64]) {
                assert!(
                    found[3].abs_diff(alpha) <= 1,
                    "{target}: alpha {} is not {alpha}",
                    found[3]
                );
                // At a quarter of the light, one code is four.
                let most = if alpha < 128 { 8 } else { 5 };
                assert!(within(*found, color, most), "{target}: {found:?} is not {color:?}");
            }
        }
    }
}

#[test]
fn avif_grid_tiles_are_joined_and_cropped() {
    let (server, _directory) = serve(&["grid.avif", "grid-overhang.avif", "grid-alpha.avif"]);
    expect_quarters(&server, "/h/grid.avif?f=png", (128, 128), QUARTERS, 4);
    let overhang = Image::decode(&server.get("/h/grid-overhang.avif?f=png").ok().body);
    assert_eq!(overhang.size(), (100, 90));
    // Tiles of 64 × 64 pixels.
    for (x, y, expected) in [(62, 62, RED), (66, 62, GREEN), (62, 66, BLUE), (99, 89, WHITE)] {
        assert!(
            within(pixel(&overhang, x, y), expected, 4),
            "{x}, {y}: {:?}",
            pixel(&overhang, x, y)
        );
    }
    let alpha = quarter_centers(&Image::decode(&server.get("/h/grid-alpha.avif?f=png").ok().body));
    assert_eq!(alpha.map(|pixel| pixel[3]), [255, 192, 128, TRANSPARENT]);
}

#[test]
fn avif_clap_irot_and_imir_are_applied_in_order() {
    let names = [
        "irot-1.avif",
        "irot-3-imir-0.avif",
        "imir-0.avif",
        "imir-1.avif",
        "clap.avif",
        "clap-irot-1.avif",
        "exif-xmp.avif",
        "odd.avif",
    ];
    let (server, _directory) = serve(&names);
    for (name, size, expected) in [
        ("irot-1.avif", (48, 64), [GREEN, WHITE, RED, BLUE]),
        ("irot-3-imir-0.avif", (48, 64), [WHITE, GREEN, BLUE, RED]),
        ("imir-0.avif", (64, 48), [BLUE, WHITE, RED, GREEN]),
        ("imir-1.avif", (64, 48), [GREEN, RED, WHITE, BLUE]),
        ("clap.avif", (40, 30), QUARTERS),
    ] {
        expect_quarters(&server, &format!("/h/{name}?f=png"), size, expected, 4);
    }
    // The window of `clap` starts at 20, 14 of the stored image, whose quarters meet at 32, 24.
    let clap = Image::decode(&server.get("/h/clap.avif?f=png").ok().body);
    for (x, y, expected) in [(10, 8, RED), (13, 8, GREEN), (10, 11, BLUE), (13, 11, WHITE)] {
        assert!(within(pixel(&clap, x, y), expected, 4), "{x}, {y}: {:?}", pixel(&clap, x, y));
    }
    assert_eq!(size_of(&server.get("/h/clap-irot-1.avif").ok().body), (30, 40));
    assert_eq!(size_of(&server.get("/h/clap-irot-1.avif?w=15").ok().body), (15, 20));
    // Exif repeats the `irot`; the image is rotated once.
    assert_eq!(size_of(&server.get("/h/exif-xmp.avif").ok().body), (48, 64));
    assert_eq!(size_of(&server.get("/h/odd.avif?f=png").ok().body), (33, 17));
}

#[test]
fn avif_icc_profiles_and_nclx_are_converted_to_srgb() {
    let (server, _directory) = serve(&["icc.avif", "10-bit-444.avif"]);
    // The primaries of Display P3 and BT.2020 lie outside sRGB: after conversion and clipping, two channels are 0.
    for name in ["icc.avif", "10-bit-444.avif"] {
        let found =
            quarter_centers(&Image::decode(&server.get(&format!("/h/{name}?f=png")).ok().body));
        for (found, expected) in found.iter().zip(QUARTERS) {
            assert!(within(*found, expected, 12), "{name}: {found:?} is not {expected:?}");
        }
        let kept = server.get(&format!("/h/{name}?f=png&strip=false")).ok().body;
        assert!(
            kept.windows(4).any(|bytes| bytes == b"iCCP"),
            "{name}: strip=false keeps the profile"
        );
    }
}

#[test]
fn avif_crop_is_taken_from_the_upright_image() {
    let (server, _directory) = serve(&["irot-1.avif", "clap.avif"]);
    let top = Image::decode(&server.get("/h/irot-1.avif?f=png&w=48&h=16&g=n").ok().body);
    assert_eq!(top.size(), (48, 16));
    assert!(within(pixel(&top, 8, 8), GREEN, 4) && within(pixel(&top, 40, 8), WHITE, 4));
    let left = Image::decode(&server.get("/h/clap.avif?f=png&w=10&h=30&g=w").ok().body);
    assert!(
        within(pixel(&left, 5, 3), RED, 4) && within(pixel(&left, 5, 25), BLUE, 4),
        "{:?}",
        pixel(&left, 5, 25)
    );
}
