//! The qualities of WebP and AVIF with the same SSIM as each quality of JPEG.

use std::fmt::Write;

use crate::Fallible;
use crate::cases::{Case, load};
use crate::format::Format;
use crate::mapping::encoder_quality;

/// Mean SSIM and total bytes over all cases, for each quality from 0 (unused) to 100.
struct Curve(Vec<(f64, f64)>);

impl Curve {
    fn of(format: &str, setting: &str, cases: &[Case], qualities: &[u32]) -> Fallible<Curve> {
        let mut points = vec![(f64::NAN, 0.0); 101];
        for &quality in qualities {
            let (mut ssim, mut bytes) = (0.0, 0.0);
            for case in cases {
                let outcome =
                    case.encode(&format!(".{format}[Q={quality},{setting},keep=none]"), 1)?;
                ssim += outcome.ssim;
                bytes += outcome.bytes as f64;
            }
            points[quality as usize] = (ssim / cases.len() as f64, bytes);
        }
        Ok(Curve(points))
    }

    /// The quality whose mean SSIM is nearest.
    fn nearest(&self, ssim: f64) -> usize {
        let distance = |quality: &usize| (self.0[*quality].0 - ssim).abs();
        (1..=100)
            .filter(|quality| !self.0[*quality].0.is_nan())
            .min_by(|one, other| distance(one).total_cmp(&distance(other)))
            .unwrap_or(100)
    }
}

pub fn run(jpeg: &str, others: [(&str, &str); 2], images: &[&str]) -> Fallible<String> {
    let cases = load(images)?;
    let every: Vec<u32> = (1..=100).collect();
    let mut asked: Vec<u32> = (5..=95).step_by(5).collect();
    asked.extend([1, 98, 100]);
    asked.sort_unstable();
    let jpeg = Curve::of("jpg", jpeg, &cases, &asked)?;
    let mut table = String::from("| q | JPEG SSIM | KB |");
    let mut rule = String::from("\n| --- | --- | --- |");
    let mut curves = Vec::new();
    for (format, setting) in others {
        write!(table, " {format} nearest | ours | SSIM | difference | KB | × JPEG |")?;
        rule.push_str(" --- | --- | --- | --- | --- | --- |");
        let known = Format::parse(format).ok_or("no such format")?;
        curves.push((known, Curve::of(format, setting, &cases, &every)?));
    }
    writeln!(table, "{rule}")?;
    for quality in asked {
        let (ssim, bytes) = jpeg.0[quality as usize];
        write!(table, "| {quality} | {ssim:.4} | {:.1} |", bytes / 1000.0)?;
        for (format, curve) in &curves {
            let ours = usize::from(encoder_quality(*format, u8::try_from(quality)?));
            let (other, size) = curve.0[ours];
            write!(
                table,
                " {} | {ours} | {other:.4} | {:+.4} | {:.1} | {:.2} |",
                curve.nearest(ssim),
                other - ssim,
                size / 1000.0,
                size / bytes,
            )?;
        }
        table.push('\n');
    }
    Ok(table)
}
