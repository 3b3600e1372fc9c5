//! The qualities of WebP and AVIF that look like each quality of JPEG.

use std::fmt::Write;

use crate::Fallible;
use crate::cases::{Case, load};
use crate::format::Format;
use crate::mapping::encoder_quality;

/// The means of the measures and the total bytes over all cases, for each quality from 0 (unused) to 100.
struct Curve(Vec<Point>);

#[derive(Clone, Copy)]
struct Point {
    ssim: f64,
    ssimulacra2: f64,
    bytes: f64,
}

type Measure = fn(&Point) -> f64;

impl Curve {
    fn of(format: &str, setting: &str, cases: &[Case], qualities: &[u32]) -> Fallible<Curve> {
        let mut points = vec![Point { ssim: f64::NAN, ssimulacra2: f64::NAN, bytes: 0.0 }; 101];
        for &quality in qualities {
            let mut sum = Point { ssim: 0.0, ssimulacra2: 0.0, bytes: 0.0 };
            for case in cases {
                let outcome =
                    case.encode(&format!(".{format}[Q={quality},{setting},keep=none]"), 1)?;
                sum.ssim += outcome.ssim / cases.len() as f64;
                sum.ssimulacra2 += outcome.ssimulacra2 / cases.len() as f64;
                sum.bytes += outcome.bytes as f64;
            }
            points[quality as usize] = sum;
        }
        Ok(Curve(points))
    }

    /// The quality whose mean is nearest.
    fn nearest(&self, measure: Measure, wanted: f64) -> usize {
        let distance = |quality: &usize| (measure(&self.0[*quality]) - wanted).abs();
        (1..=100)
            .filter(|quality| !measure(&self.0[*quality]).is_nan())
            .min_by(|one, other| distance(one).total_cmp(&distance(other)))
            .unwrap_or(100)
    }
}

/// What src/render/pipeline/quality.rs makes equal: SSIM for WebP, SSIMULACRA2 for AVIF.
fn measure(format: Format) -> (&'static str, Measure) {
    match format {
        Format::Avif => ("SSIMULACRA2", |point| point.ssimulacra2),
        _ => ("SSIM", |point| point.ssim),
    }
}

pub fn run(jpeg: &str, others: [(&str, &str); 2], images: &[&str]) -> Fallible<String> {
    let cases = load(images)?;
    let every: Vec<u32> = (1..=100).collect();
    let mut asked: Vec<u32> = (5..=95).step_by(5).collect();
    asked.extend([1, 98, 100]);
    asked.sort_unstable();
    let jpeg = Curve::of("jpg", jpeg, &cases, &asked)?;
    let mut table = String::from("| q | JPEG SSIM | SSIMULACRA2 | KB |");
    let mut rule = String::from("\n| --- | --- | --- | --- |");
    let mut curves = Vec::new();
    for (format, setting) in others {
        let known = Format::parse(format).ok_or("no such format")?;
        let (name, _) = measure(known);
        write!(table, " {format} nearest | ours | {name} | difference | KB | × JPEG |")?;
        rule.push_str(" --- | --- | --- | --- | --- | --- |");
        curves.push((known, Curve::of(format, setting, &cases, &every)?));
    }
    writeln!(table, "{rule}")?;
    for quality in asked {
        let point = jpeg.0[quality as usize];
        let bytes = point.bytes;
        write!(
            table,
            "| {quality} | {:.4} | {:.2} | {:.1} |",
            point.ssim,
            point.ssimulacra2,
            bytes / 1000.0
        )?;
        for (format, curve) in &curves {
            let (_, measure) = measure(*format);
            let ours = usize::from(encoder_quality(*format, u8::try_from(quality)?));
            let other = &curve.0[ours];
            write!(
                table,
                " {} | {ours} | {:.4} | {:+.4} | {:.1} | {:.2} |",
                curve.nearest(measure, measure(&point)),
                measure(other),
                measure(other) - measure(&point),
                other.bytes / 1000.0,
                other.bytes / bytes,
            )?;
        }
        table.push('\n');
    }
    Ok(table)
}
