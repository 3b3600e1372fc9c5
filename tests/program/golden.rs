//! The resize: results compared, pixel by pixel, with those of another resampler.

use image::imageops::{self, FilterType};
use image::{RgbImage, RgbaImage};

use crate::support::directory::Directory;
use crate::support::images::{self, Image, Kind};
use crate::support::server::{Server, data};

/// A query, the size of the resize, the crop, and the greatest mean difference from the reference.
type Case = (&'static str, (u32, u32), (u32, u32, u32, u32), f64);

/// The mean difference of two images, in 255ths.
#[track_caller]
fn mean_difference(one: &RgbaImage, other: &RgbImage) -> f64 {
    assert_eq!(one.dimensions(), other.dimensions());
    let sum: u64 = one
        .pixels()
        .zip(other.pixels())
        .flat_map(|(one, other)| one.0.into_iter().zip(other.0))
        .map(|(one, other)| u64::from(one.abs_diff(other)))
        .sum();
    sum as f64 / (other.width() * other.height() * 3) as f64
}

/// Structural similarity of brightness, in windows of 8 × 8 (Wang et al. 2004).
fn similarity(one: &RgbaImage, other: &RgbImage) -> f64 {
    let brightness =
        |[r, g, b]: [u8; 3]| 0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b);
    let mut sum = 0.0;
    let mut count = 0.0;
    for top in (0..other.height().saturating_sub(7)).step_by(4) {
        for left in (0..other.width().saturating_sub(7)).step_by(4) {
            let mut a = 0.0;
            let mut b = 0.0;
            let mut aa = 0.0;
            let mut bb = 0.0;
            let mut ab = 0.0;
            for (x, y) in (0..64).map(|n| (left + n % 8, top + n / 8)) {
                let [r, g, b_, _] = one.get_pixel(x, y).0;
                let p = brightness([r, g, b_]);
                let q = brightness(other.get_pixel(x, y).0);
                (a, b, aa, bb, ab) = (a + p, b + q, aa + p * p, bb + q * q, ab + p * q);
            }
            let a = a / 64.0;
            let b = b / 64.0;
            let aa = aa / 64.0;
            let bb = bb / 64.0;
            let ab = ab / 64.0;
            let c1 = 6.5025;
            let c2 = 58.5225;
            sum += (2.0 * a * b + c1) * (2.0 * (ab - a * b) + c2)
                / ((a * a + b * b + c1) * (aa - a * a + bb - b * b + c2));
            count += 1.0;
        }
    }
    sum / count
}

#[test]
fn shrink_on_load_of_a_jpeg_with_odd_sides_loses_less_than_a_pixel() {
    // The remainder of a side that is no multiple of the shrink is lost.
    let photo = image::DynamicImage::from(Image::decode(&data("photo-2mp.jpg")).pixels).into_rgb8();
    let pixels = imageops::crop_imm(&photo, 0, 0, 1663, 1247).to_image();
    let directory = Directory::new().with("a.jpg", &images::jpeg(pixels.clone()));
    let server = Server::with_handler(directory.handler());
    for (width, height, least) in [(207, 155, 0.94), (415, 311, 0.97), (831, 623, 0.99)] {
        let reference = imageops::resize(&pixels, width, height, FilterType::Lanczos3);
        let shown =
            Image::decode(&server.get(&format!("/h/a.jpg?w={width}&f=png")).ok().body).pixels;
        let alike = similarity(&shown, &reference);
        assert!(alike >= least, "{width}: SSIM {alike:.4}");
    }
}

#[test]
fn results_equal_those_of_another_resampler() {
    // 600 × 400.
    let photo = data("gps.jpg");
    let pixels = image::DynamicImage::from(Image::decode(&photo).pixels).into_rgb8();
    let directory = Directory::new().with("a.jpg", &photo);
    for kind in [Kind::Png, Kind::Webp] {
        directory.put(&format!("a.{}", kind.name()), &images::in_format(kind, &pixels));
    }
    // At full size only the resampler differs; with shrink-on-load, a JPEG or WebP is slightly softer or sharper.
    let cases: [Case; 6] = [
        ("w=600", (600, 400), (0, 0, 600, 400), 0.5),
        ("w=401", (401, 267), (0, 0, 401, 267), 1.0),
        ("w=300", (300, 200), (0, 0, 300, 200), 1.0),
        ("w=140&h=140&g=w", (210, 140), (0, 0, 140, 140), 1.0),
        ("w=75&h=40&g=se", (75, 50), (0, 10, 75, 40), 2.0),
        ("w=700&e=true", (700, 467), (0, 0, 700, 467), 2.5),
    ];
    let server = Server::with_handler(directory.handler());
    for (query, (width, height), (left, top, across, down), most) in cases {
        // libvips enlarges with a bicubic filter.
        let filter = if width > 600 { FilterType::CatmullRom } else { FilterType::Lanczos3 };
        let resized = imageops::resize(&pixels, width, height, filter);
        let reference = imageops::crop_imm(&resized, left, top, across, down).to_image();
        for source in ["jpg", "png", "webp"] {
            let formats = [("png", 0.0), ("jpg&q=90", 3.5), ("webp&q=90", 3.5)];
            // The loss of an encoder does not depend on the size.
            for (format, loss) in formats.into_iter().take(if width == 300 { 3 } else { 1 }) {
                let target = format!("/h/a.{source}?{query}&f={format}");
                let shown = Image::decode(&server.get(&target).ok().body).pixels;
                let off = mean_difference(&shown, &reference);
                let alike = similarity(&shown, &reference);
                let most = if source == "png" && width <= 600 { most.min(0.6) } else { most };
                assert!(off <= most + loss, "{target}: {off:.2} of 255 off in the mean");
                assert!(alike >= 0.95, "{target}: SSIM {alike:.4}");
            }
        }
    }
}
