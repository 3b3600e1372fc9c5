//! The encoders of several formats, at each width.

use std::fmt::Write;

use crate::cases::{Case, Outcome, WIDTHS, load};
use crate::format::Format;
use crate::mapping::encoder_quality;
use crate::settings::{alike, suffix};
use crate::{Fallible, jxl, median};

/// `encoder`: `FORMAT:SETTING`. The first one, AVIF, at the quality of the parameter `q` is the reference.
pub fn lossy(q: u32, rounds: usize, encoders: &[&str], images: &[&str]) -> Fallible<String> {
    let cases = opaque(images)?;
    let reference = u32::from(encoder_quality(Format::Avif, u8::try_from(q)?));
    let mut table = String::from(
        "| width | images | encoder | × bytes at equal SSIMULACRA2 | CPU ms a megapixel | × bytes at equal SSIM | CPU ms a megapixel |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for width in WIDTHS {
        let cases: Vec<&Case> =
            cases.iter().filter(|case| case.image.size().0 == width as usize).collect();
        if cases.is_empty() {
            continue;
        }
        let mut wanted = None;
        for encoder in encoders {
            let (format, setting) = encoder.split_once(':').ok_or("not FORMAT:SETTING")?;
            if wanted.is_none() {
                let suffix = suffix(format, reference, setting);
                let outcomes = cases.iter().map(|case| case.encode(&suffix, rounds));
                wanted = Some(outcomes.collect::<Fallible<Vec<_>>>()?);
            }
            let wanted = wanted.as_deref().unwrap_or_default();
            let equal = |measure: fn(&Outcome) -> f64| -> Fallible<(f64, f64)> {
                let (mut bytes, mut cpu, mut pixels) = (0.0, 0.0, 0.0);
                for (case, wanted) in cases.iter().zip(wanted) {
                    let alike = alike(case, format, setting, rounds, measure(wanted), measure)?;
                    bytes += (alike.bytes / wanted.bytes as f64).ln() / cases.len() as f64;
                    cpu += alike.cpu;
                    pixels += case.rgb.len() as f64 / 1e6;
                }
                Ok((bytes.exp(), cpu / pixels))
            };
            let perceived = equal(|outcome| outcome.ssimulacra2)?;
            let similar = equal(|outcome| outcome.ssim)?;
            writeln!(
                table,
                "| {width} | {} | {} | {:.3} | {:.0} | {:.3} | {:.0} |",
                cases.len(),
                name(format, setting),
                perceived.0,
                perceived.1,
                similar.0,
                similar.1
            )?;
        }
    }
    Ok(table)
}

/// Without loss: bytes and CPU time of each encoder for each image.
pub fn lossless(rounds: usize, encoders: &[&str], images: &[&str]) -> Fallible<String> {
    let mut table = String::from("| image |");
    for encoder in encoders {
        let (format, setting) = encoder.split_once(':').ok_or("not FORMAT:SETTING")?;
        write!(table, " {} |", name(format, setting))?;
    }
    writeln!(table, "\n| --- |{}", " --- |".repeat(encoders.len()))?;
    for case in opaque(images)? {
        write!(table, "| {} |", case.name)?;
        for encoder in encoders {
            let (format, setting) = encoder.split_once(':').ok_or("not FORMAT:SETTING")?;
            let outcome = case.encode(&format!(".{format}[{setting},keep=none]"), rounds)?;
            if outcome.psnr < 99.0 {
                return Err(format!("{encoder}: {} is not lossless", case.name).into());
            }
            write!(table, " {:.1} KB, {:.1} ms |", outcome.bytes as f64 / 1000.0, outcome.cpu)?;
        }
        table.push('\n');
    }
    Ok(table)
}

/// The most memory of the JPEG XL encoder, in bytes for each pixel, at quality 75 and without loss.
pub fn memory(efforts: &[&str], images: &[&str]) -> Fallible<String> {
    let mut table = String::from(
        "| width | effort | lossy: bytes a pixel | lossless |\n| --- | --- | --- | --- |\n",
    );
    let cases = opaque(images)?;
    for width in WIDTHS {
        for effort in efforts {
            let mut measured = Vec::new();
            for quality in [Some(75), None] {
                let mut all = Vec::new();
                for case in cases.iter().filter(|case| case.image.size().0 == width as usize) {
                    let encoded = jxl::encode(&case.rgb, case.image.size(), quality, effort)?;
                    all.push(encoded.memory / case.rgb.len() as f64);
                }
                measured.push(median(all));
            }
            writeln!(table, "| {width} | `{effort}` | {:.0} | {:.0} |", measured[0], measured[1])?;
        }
    }
    Ok(table)
}

fn opaque(images: &[&str]) -> Fallible<Vec<Case>> {
    let mut cases = load(images)?;
    for case in &mut cases {
        case.image = case.image.opaque()?;
    }
    Ok(cases)
}

fn name(format: &str, setting: &str) -> String {
    let format = match format {
        "jxl" => "JPEG XL",
        "avif" => "AVIF",
        "webp" => "WebP",
        "png" => "PNG",
        other => other,
    };
    if setting.is_empty() { format.into() } else { format!("{format} `{setting}`") }
}
