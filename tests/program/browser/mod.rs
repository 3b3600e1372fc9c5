//! What a browser shows: Chromium loads originals and the server's results, and the pixels must be equal.
//!
//! A sample of each kind is compared; with `BROWSER_ALL=1` all images are, and a table goes to standard error. With
//! `BROWSER_KEEP` the originals are copied to that directory.

mod animations;
mod avif;
mod avif_stills;
mod comparison;
mod documents;
mod exif;
mod filters;
mod gif;
mod jpeg;
mod outputs;
mod page;
mod playground;
mod png;
mod profiles;
mod stills;
mod webp;
mod webp_stills;

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::chromium::{As, Chromium, Shown};
use crate::support::directory::Directory;
use crate::support::merged;
use crate::support::server::Server;
use comparison::{Outcome, Tally, View, compare};

/// The greatest and the mean difference, in 255ths, that may occur.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tolerance {
    greatest: u8,
    mean: f64,
}

/// Premultiplied samples are rounded.
const EXACT: Tolerance = Tolerance { greatest: 1, mean: 0.2 };
/// Colour management.
const MANAGED: Tolerance = Tolerance { greatest: 3, mean: 0.5 };
/// Colour management of 16 bits: lcms interpolates at the edge of the gamut.
const MANAGED_16: Tolerance = Tolerance { greatest: 18, mean: 0.5 };
/// Interpolation in a lookup table.
const TABLE: Tolerance = Tolerance { greatest: 24, mean: 2.0 };
/// Chromium's conversion from YUV with more than 8 bits or limited range is up to 5 off.
const YUV: Tolerance = Tolerance { greatest: 6, mean: 1.3 };
/// The same before colour management, which enlarges differences of dark colours.
const MANAGED_YUV: Tolerance = Tolerance { greatest: 36, mean: 1.6 };

/// What Chromium 156 does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// It expands the alpha of an AVIF from limited range. Firefox 153 does not, and the AV1 stream says full range.
    AlphaOfAvif,
    /// The same of a result.
    AlphaOfResult,
    /// It expands the colours of an AVIF sequence from limited range.
    ColoursOfSequence,
    /// It ignores the orientation in a WebP.
    IgnoresOrientation(u32),
}

impl Fault {
    /// The views of the image that Chromium shows right, of which one must be equal to the other: as it is, and with the
    /// fault.
    fn views(self) -> &'static [View] {
        match self {
            Fault::None | Fault::IgnoresOrientation(_) => &[comparison::premultiplied],
            Fault::AlphaOfAvif | Fault::AlphaOfResult => &[
                comparison::premultiplied,
                comparison::with_expanded_alpha,
                comparison::with_alpha_expanded_later,
            ],
            Fault::ColoursOfSequence => &[
                comparison::premultiplied,
                comparison::with_expanded_colours,
                comparison::with_colours_expanded_later,
            ],
        }
    }
}

/// An original and the query for a result.
#[derive(Clone, Debug)]
struct Case {
    kind: String,
    /// The name of its file.
    name: String,
    bytes: Vec<u8>,
    query: &'static str,
    how: As,
    tolerance: Tolerance,
    fault: Fault,
    /// Whether the result has no transparency, and is on white.
    is_flat: bool,
}

impl Case {
    fn still(kind: impl Into<String>, name: String, bytes: Vec<u8>, tolerance: Tolerance) -> Case {
        Case {
            kind: kind.into(),
            name,
            bytes,
            query: "f=png",
            how: As::Element,
            tolerance,
            fault: Fault::None,
            is_flat: false,
        }
    }

    fn animation(kind: &str, name: String, bytes: Vec<u8>) -> Case {
        let query = "f=webp&lossless=true";
        Case { query, how: As::Frames, ..Case::still(kind, name, bytes, EXACT) }
    }

    fn with(self, fault: Fault) -> Case {
        Case { fault, ..self }
    }
}

/// Every case, or an evenly spaced sample of each kind.
fn chosen(cases: Vec<Case>, sample: usize) -> Vec<Case> {
    if std::env::var_os("BROWSER_ALL").is_some_and(|value| value == "1") {
        return cases;
    }
    let mut kinds: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    for case in cases {
        kinds.entry(case.kind.clone()).or_default().push(case);
    }
    let sampled = |cases: Vec<Case>| {
        // An odd step meets all values of the fastest dimension.
        let step = cases.len().div_ceil(sample) | 1;
        cases.into_iter().step_by(step)
    };
    kinds.into_values().flat_map(sampled).collect()
}

/// Compares what Chromium shows for originals and results, with a sample of this size of each kind.
fn compare_all(cases: Vec<Case>, sample: usize) {
    let cases = chosen(cases, sample);
    let directory = Directory::new();
    for case in &cases {
        directory.put(&case.name, &case.bytes);
        if let Some(copies) = std::env::var_os("BROWSER_KEEP") {
            std::fs::write(std::path::Path::new(&copies).join(&case.name), &case.bytes).unwrap();
        }
    }
    let handler = merged(directory.handler(), json!({"cors_origin": "*"}));
    let server = Server::with_handler(handler);
    let Some(browser) = Chromium::start(directory) else { return };
    let mut images = Vec::new();
    let mut answers = Vec::new();
    for case in &cases {
        let target = format!("/h/{}?{}", case.name, case.query);
        let answer = server.get(&target);
        answers.push((answer.status, answer.header("X-Error").map(str::to_owned)));
        images.push((case.how, browser.original(&case.name)));
        images.push((case.how, format!("http://{}{target}", server.http())));
    }
    let mut shown = browser.show(&images).into_iter().map(|shown| shown.and_then(something));
    let mut tally = Tally::default();
    for (case, (status, error)) in cases.iter().zip(answers) {
        let (original, result) = (shown.next().unwrap(), shown.next().unwrap());
        let outcome = match (original, result) {
            (Ok(_), _) if status != 200 => Outcome::Refused(error.unwrap_or_default()),
            (Err(_), _) if status != 200 => Outcome::RefusedByBoth,
            (Err(_), _) => Outcome::OnlyServer,
            (_, Err(error)) => Outcome::Unreadable(error),
            (Ok(mut original), Ok(result)) => {
                if case.is_flat {
                    comparison::flatten(&mut original);
                }
                compare(&original, &result, case.fault)
            }
        };
        tally.add(case, outcome);
    }
    tally.finish();
}

/// Chromium shows nothing of some images that it can't decode, without an error.
fn something(shown: Shown) -> Result<Shown, String> {
    let mut pixels = shown.frames.iter().flat_map(|(_, pixels)| pixels.pixels());
    if pixels.any(|pixel| pixel.0[3] > 0) { Ok(shown) } else { Err("nothing is shown".into()) }
}

#[test]
fn stills_are_shown_as_the_original_is() {
    compare_all(stills::cases(), 5);
}

#[test]
fn animations_are_shown_as_the_original_is() {
    compare_all(animations::cases(), 12);
}

#[test]
fn results_in_every_format_are_shown_as_the_original_is() {
    compare_all(outputs::cases(), 5);
}
