//! Compares two images as Chromium shows them, and counts.

use std::collections::BTreeMap;

use image::{Rgba, RgbaImage, imageops};

use super::{Case, Fault};
use crate::support::chromium::Shown;

/// What came of a case.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Both are shown; the greatest and the mean difference of premultiplied samples.
    Shown(u8, f64),
    /// Size, durations or repetitions differ.
    Different(String),
    /// The server refuses what Chromium shows.
    Refused(String),
    /// Chromium does not show the result.
    Unreadable(String),
    /// Chromium does not show the original.
    OnlyServer,
    RefusedByBoth,
}

pub fn compare(original: &Shown, result: &Shown, fault: Fault) -> Outcome {
    let mut turned = original.clone();
    if let Fault::IgnoresOrientation(orientation) = fault {
        turn(&mut turned, orientation);
    }
    let original = &turned;
    let size = (original.width, original.height);
    if size != (result.width, result.height) {
        let text = format!("{size:?} is shown as {:?}", (result.width, result.height));
        return Outcome::Different(text);
    }
    // Frames that are all equal become a still image.
    if original.repetitions != result.repetitions && result.frames.len() > 1 {
        let text = format!("{} repetitions, not {}", result.repetitions, original.repetitions);
        return Outcome::Different(text);
    }
    let total = |shown: &Shown| shown.frames.iter().map(|(time, _)| played(*time)).sum::<u64>();
    if total(original) != total(result) && result.frames.len() > 1 {
        let times = |shown: &Shown| shown.frames.iter().map(|(time, _)| *time).collect::<Vec<_>>();
        return Outcome::Different(format!("{:?} ms, not {:?}", times(result), times(original)));
    }
    let mut pairs = pairs(original, result);
    if fault == Fault::AlphaOfResult {
        pairs = pairs.into_iter().map(|(original, result)| (result, original)).collect();
    }
    let differences = fault.views().iter().map(|view| difference(&pairs, *view));
    let (greatest, mean) = differences.min_by(|one, other| one.1.total_cmp(&other.1)).unwrap();
    Outcome::Shown(greatest, mean)
}

/// The time for which browsers show a frame, in milliseconds.
fn played(time: u32) -> u64 {
    if time <= 10 { 100 } else { time.into() }
}

/// The pixels shown at the same time: equal frames may be stored as one.
fn pairs<'s>(original: &'s Shown, result: &'s Shown) -> Vec<(&'s RgbaImage, &'s RgbaImage)> {
    let mut pairs = Vec::new();
    let mut one = original.frames.iter();
    let mut other = result.frames.iter();
    let time = |frame: Option<&(u32, RgbaImage)>| frame.map_or(0, |(time, _)| played(*time));
    let (mut a, mut b) = (one.next(), other.next());
    let (mut left, mut right) = (time(a), time(b));
    while let (Some((_, first)), Some((_, second))) = (a, b) {
        pairs.push((first, second));
        let step = if result.frames.len() == 1 { left } else { left.min(right) };
        (left, right) = (left - step, right.saturating_sub(step));
        if left == 0 {
            a = one.next();
            left = time(a);
        }
        if right == 0 && result.frames.len() > 1 {
            b = other.next();
            right = time(b);
        }
    }
    pairs
}

/// How samples of the image that is shown right are compared.
pub type View = fn([u8; 4]) -> [u8; 4];

/// The greatest and the mean difference of premultiplied samples.
fn difference(pairs: &[(&RgbaImage, &RgbaImage)], view: View) -> (u8, f64) {
    let (mut greatest, mut sum, mut count) = (0, 0, 0);
    for (one, other) in pairs {
        for (one, other) in one.pixels().zip(other.pixels()) {
            for (one, other) in premultiplied(one.0).into_iter().zip(view(other.0)) {
                let difference = one.abs_diff(other);
                greatest = greatest.max(difference);
                sum += u64::from(difference);
                count += 1;
            }
        }
    }
    (greatest, sum as f64 / f64::from(count.max(1)))
}

fn times(value: u8, alpha: u8) -> u8 {
    ((u16::from(value) * u16::from(alpha) + 127) / 255) as u8
}

pub fn premultiplied([r, g, b, alpha]: [u8; 4]) -> [u8; 4] {
    [times(r, alpha), times(g, alpha), times(b, alpha), alpha]
}

/// From limited range to full range.
fn expanded(value: u8) -> u8 {
    ((f64::from(value) - 16.0) * 255.0 / 219.0).round().clamp(0.0, 255.0) as u8
}

/// With the alpha expanded from limited range.
pub fn with_expanded_alpha([r, g, b, alpha]: [u8; 4]) -> [u8; 4] {
    premultiplied([r, g, b, expanded(alpha)])
}

/// With the alpha expanded after the multiplication.
pub fn with_alpha_expanded_later(pixel: [u8; 4]) -> [u8; 4] {
    let [r, g, b, alpha] = premultiplied(pixel);
    let alpha = expanded(alpha);
    [r.min(alpha), g.min(alpha), b.min(alpha), alpha]
}

/// With the colours expanded from limited range.
pub fn with_expanded_colours([r, g, b, alpha]: [u8; 4]) -> [u8; 4] {
    premultiplied([expanded(r), expanded(g), expanded(b), alpha])
}

/// With the colours expanded after the multiplication.
pub fn with_colours_expanded_later(pixel: [u8; 4]) -> [u8; 4] {
    let [r, g, b, alpha] = premultiplied(pixel);
    [expanded(r).min(alpha), expanded(g).min(alpha), expanded(b).min(alpha), alpha]
}

/// Brings images upright (CIPA DC-008 §4.6.4).
fn turn(shown: &mut Shown, orientation: u32) {
    for (_, pixels) in &mut shown.frames {
        let rotated = match orientation {
            3 | 4 => imageops::rotate180(pixels),
            5 | 6 => imageops::rotate90(pixels),
            7 | 8 => imageops::rotate270(pixels),
            _ => pixels.clone(),
        };
        let is_mirrored = matches!(orientation, 2 | 4 | 5 | 7);
        *pixels = if is_mirrored { imageops::flip_horizontal(&rotated) } else { rotated };
        (shown.width, shown.height) = pixels.dimensions();
    }
}

/// Puts an image on white.
pub fn flatten(shown: &mut Shown) {
    for (_, pixels) in &mut shown.frames {
        for Rgba(pixel) in pixels.pixels_mut() {
            let [r, g, b, alpha] = premultiplied(*pixel);
            let white = 255 - alpha;
            *pixel =
                [r.saturating_add(white), g.saturating_add(white), b.saturating_add(white), 255];
        }
    }
}

/// The outcomes of one kind.
#[derive(Debug, Default)]
struct Row {
    count: usize,
    equal: usize,
    wrong: usize,
    only_server: usize,
    by_both: usize,
    greatest: u8,
    sum: f64,
}

/// All outcomes.
#[derive(Debug, Default)]
pub struct Tally {
    rows: BTreeMap<String, Row>,
    wrong: Vec<String>,
}

impl Tally {
    pub fn add(&mut self, case: &Case, outcome: Outcome) {
        let row = self.rows.entry(case.kind.clone()).or_default();
        row.count += 1;
        let wrong = match outcome {
            Outcome::Shown(greatest, mean) => {
                row.equal += usize::from(greatest == 0);
                row.greatest = row.greatest.max(greatest);
                row.sum += mean;
                let is_within = greatest <= case.tolerance.greatest && mean <= case.tolerance.mean;
                (!is_within).then(|| format!("differs by {greatest}, {mean:.2} in the mean"))
            }
            Outcome::Different(text) => Some(text),
            Outcome::Refused(error) => Some(format!("refused: {error}")),
            Outcome::Unreadable(error) => Some(format!("the result is not shown: {error}")),
            Outcome::OnlyServer => {
                row.only_server += 1;
                None
            }
            Outcome::RefusedByBoth => {
                row.by_both += 1;
                None
            }
        };
        if let Some(wrong) = wrong {
            row.wrong += 1;
            self.wrong.push(format!("{} ({}): {wrong}", case.name, case.kind));
        }
    }

    /// Prints a table, and fails if an original and its result differ.
    #[track_caller]
    pub fn finish(self) {
        eprintln!("| kind | images | equal | wrong | greatest | mean | server only | neither |");
        eprintln!("| --- | --- | --- | --- | --- | --- | --- | --- |");
        for (kind, row) in &self.rows {
            let shown = row.count - row.only_server - row.by_both;
            let mean = row.sum / shown.max(1) as f64;
            eprintln!(
                "| {kind} | {} | {} | {} | {} | {mean:.3} | {} | {} |",
                row.count, row.equal, row.wrong, row.greatest, row.only_server, row.by_both
            );
        }
        assert!(self.wrong.is_empty(), "{} differ:\n{}", self.wrong.len(), self.wrong.join("\n"));
    }
}
