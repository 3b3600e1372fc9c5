//! The encoder of one format with each setting, over all cases.

use std::fmt::Write;

use crate::Fallible;
use crate::cases::{Case, Outcome, load};

/// The server's default quality, at which settings are compared.
const QUALITY: u32 = 75;

pub fn suffix(format: &str, quality: u32, setting: &str) -> String {
    let quality = if format == "png" { String::new() } else { format!("Q={quality},") };
    let setting = if setting.is_empty() { String::new() } else { format!("{setting},") };
    format!(".{format}[{quality}{setting}keep=none]")
}

pub fn run(format: &str, rounds: usize, settings: &[&str], images: &[&str]) -> Fallible<String> {
    let cases = load(images)?;
    let lossy = format != "png";
    let mut table = String::from(
        "| setting | KB | × | CPU ms | × | SSIM | PSNR dB | SSIMULACRA2 | × bytes at the first row's SSIM | … SSIMULACRA2 |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut first: Option<Vec<Outcome>> = None;
    for setting in settings {
        let outcomes = cases
            .iter()
            .map(|case| case.encode(&suffix(format, QUALITY, setting), rounds))
            .collect::<Fallible<Vec<_>>>()?;
        let reference = first.as_ref().unwrap_or(&outcomes);
        let equal = |measure: fn(&Outcome) -> f64| {
            if !lossy || reference.iter().any(|outcome| measure(outcome).is_nan()) {
                return Ok("–".into());
            }
            let factor = bytes_when_alike(format, setting, &cases, reference, measure)?;
            Fallible::Ok(format!("{factor:.3}"))
        };
        let sum = |of: fn(&Outcome) -> f64, all: &[Outcome]| all.iter().map(of).sum::<f64>();
        let mean = |of: fn(&Outcome) -> f64| sum(of, &outcomes) / outcomes.len() as f64;
        let (bytes, cpu) = (sum(|o| o.bytes as f64, &outcomes), sum(|o| o.cpu, &outcomes));
        writeln!(
            table,
            "| `{}` | {:.1} | {:.2} | {:.1} | {:.2} | {:.4} | {:.2} | {:.2} | {} | {} |",
            if setting.is_empty() { "nothing" } else { setting },
            bytes / 1000.0,
            bytes / sum(|o| o.bytes as f64, reference),
            cpu,
            cpu / sum(|o| o.cpu, reference),
            mean(|o| o.ssim),
            mean(|o| o.psnr),
            mean(|o| o.ssimulacra2),
            equal(|o| o.ssim)?,
            equal(|o| o.ssimulacra2)?,
        )?;
        if first.is_none() {
            first = Some(outcomes);
        }
    }
    Ok(table)
}

/// The geometric mean, over the cases, of the bytes at which the measure is that of the reference.
fn bytes_when_alike(
    format: &str,
    setting: &str,
    cases: &[Case],
    reference: &[Outcome],
    measure: fn(&Outcome) -> f64,
) -> Fallible<f64> {
    let mut logarithms = 0.0;
    for (case, wanted) in cases.iter().zip(reference) {
        let alike = alike(case, format, setting, 1, measure(wanted), measure)?;
        logarithms += (alike.bytes / wanted.bytes as f64).ln();
    }
    Ok((logarithms / cases.len() as f64).exp())
}

/// Bytes and CPU time of an encoder at a similarity.
pub struct Alike {
    pub bytes: f64,
    /// In milliseconds.
    pub cpu: f64,
}

/// Bytes and CPU time at which the measure of an image is the wanted one, between two qualities.
pub fn alike(
    case: &Case,
    format: &str,
    setting: &str,
    rounds: usize,
    wanted: f64,
    measure: fn(&Outcome) -> f64,
) -> Fallible<Alike> {
    let encode = |quality| case.encode(&suffix(format, quality, setting), rounds);
    // The lowest quality with at least this similarity, and the one below it.
    let (mut low, mut high) = (1, 100);
    let (mut below, mut above) = (encode(low)?, encode(high)?);
    while high - low > 1 {
        let middle = low.midpoint(high);
        let outcome = encode(middle)?;
        if measure(&outcome) < wanted {
            (low, below) = (middle, outcome);
        } else {
            (high, above) = (middle, outcome);
        }
    }
    let [low, high] = [&below, &above].map(measure);
    let part = ((wanted - low) / (high - low)).clamp(0.0, 1.0);
    let (small, large) = ((below.bytes as f64).ln(), (above.bytes as f64).ln());
    let bytes = (small + part * (large - small)).exp();
    Ok(Alike { bytes, cpu: below.cpu.midpoint(above.cpu) })
}
