//! `bri`, `con`, `gamma`, `sat`, `hue`, `gray`, `tint`, `duo` and `neg`, in this order.
//!
//! Each result is clamped, as CSS does after each filter function, and only the last one is rounded: a table for what
//! changes the channels one by one, and then as few matrices as the clamps allow. libvips applies a table as lines are
//! encoded. It would take 8 ms for a matrix of half a million pixels; here it is one pass in memory for all of them.

use super::affine::Affine;
use super::job::RenderJob;
use super::step::{FrameStep, Stage, Step};
use crate::options::{Hundredths, Options, Tint};
use crate::render::vips::{Error, Image, Vips};

pub const STEP: Step = Step {
    name: "colour",
    applies: |job| job.options.changes_colours(),
    stage: Stage::Frame(FrameStep { apply, needs_memory: |_| false }),
};

/// Added before fractions are truncated: halves are rounded up, also where a sum is too low by a rounding error.
const HALF: f64 = 0.5 + 1e-4;

fn rounded(value: f64) -> u8 {
    // Values are from 0 to 255.
    (value + HALF) as u8
}

/// The effects of some options.
#[derive(Clone, Debug)]
struct Effects {
    /// For each channel, at first.
    curve: [f64; 256],
    changes_curve: bool,
    /// Afterwards, each with a clamp.
    maps: Vec<Affine>,
}

impl Effects {
    fn of(options: &Options) -> Effects {
        let Options {
            brightness,
            contrast,
            gamma,
            saturation,
            hue,
            gray,
            tint,
            duotone,
            negative,
            ..
        } = options;
        let mut effects = Effects {
            curve: std::array::from_fn(|code| code as f64),
            changes_curve: false,
            maps: Vec::new(),
        };
        let one = Hundredths::ONE;
        let zero = Hundredths::ZERO;
        effects.add(*brightness != one, || Affine::brightness(brightness.value()));
        effects.add(*contrast != one, || Affine::contrast(contrast.value()));
        if *gamma != one {
            let exponent = 1.0 / gamma.value();
            effects.change_curve(|value| 255.0 * (value / 255.0).powf(exponent));
        }
        effects.add(*saturation != one, || Affine::saturate(saturation.value()));
        effects.add(*hue != zero, || Affine::hue_rotate(hue.value()));
        effects.add(*gray != zero, || Affine::grayscale(gray.value()));
        if let Some(tint) = tint {
            effects.add(true, || tinted(*tint));
        }
        if let Some(duotone) = duotone {
            effects.add(true, || Affine::between(duotone.dark(), duotone.light()));
        }
        effects.add(*negative != zero, || Affine::invert(negative.value()));
        effects
    }

    fn add(&mut self, applies: bool, map: impl FnOnce() -> Affine) {
        if !applies {
            return;
        }
        let map = map();
        match (self.maps.last_mut(), map.as_uniform()) {
            (None, Some((slope, intercept))) => {
                self.change_curve(|value| slope * value + intercept);
            }
            (Some(last), _) if last.needs_no_clamp() => *last = last.then(&map),
            _ => self.maps.push(map),
        }
    }

    fn change_curve(&mut self, change: impl Fn(f64) -> f64) {
        self.changes_curve = true;
        self.curve = self.curve.map(|value| change(value).clamp(0.0, 255.0));
    }

    /// The result for a gray.
    fn of_gray(&self, code: u8) -> [u8; 3] {
        let gray = [self.curve[usize::from(code)]; 3];
        self.maps.iter().fold(gray, |colour, map| map.apply(colour)).map(rounded)
    }
}

/// The luminance of the picture as a shade of the colour.
fn tinted(tint: Tint) -> Affine {
    Affine::between([0; 3], tint.colour()).mixed(tint.strength())
}

fn apply<'b>(image: Image<'b>, job: &RenderJob) -> Result<Image<'b>, Error> {
    let effects = Effects::of(job.options);
    let image = match (image.bands(), &effects.maps[..]) {
        (..3, _) => change_gray(&image, &effects)?,
        (_, []) => {
            let curve = effects.curve.map(rounded);
            image.map(&table(&curve.map(|code| [code; 3]), 3, image.has_transparency())?)?
        }
        (_, maps) => change_colours(image, &effects, maps)?,
    };
    // Tiles of these steps overlap: without a copy, each would compute the colours of its margins again.
    let overlaps = job.options.blur.is_some() || job.options.sharp.is_some();
    if overlaps { image.copy_memory() } else { Ok(image) }
}

/// The result of a gray image is gray, or a table of colours.
fn change_gray<'b>(image: &Image<'b>, effects: &Effects) -> Result<Image<'b>, Error> {
    let colours: [[u8; 3]; 256] = std::array::from_fn(|code| effects.of_gray(code as u8));
    let has_transparency = image.has_transparency();
    if colours.iter().all(|[red, green, blue]| red == green && green == blue) {
        return image.map(&table(&colours, 1, has_transparency)?);
    }
    image.to_srgb()?.map(&table(&colours, 3, has_transparency)?)
}

/// A table of the first channels of these colours, which leaves transparency as it is.
fn table(
    colours: &[[u8; 3]; 256],
    channels: usize,
    has_transparency: bool,
) -> Result<Image<'static>, Error> {
    let samples: Vec<u8> = (0..=u8::MAX)
        .zip(colours)
        .flat_map(|(code, colour)| {
            let opacity = has_transparency.then_some(code);
            colour.iter().take(channels).copied().chain(opacity)
        })
        .collect();
    Vips::start()?.table(&samples, 256, channels + usize::from(has_transparency))
}

/// Mixes the channels of an image, or frame, which is in memory for that.
fn change_colours<'b>(
    image: Image<'b>,
    effects: &Effects,
    maps: &[Affine],
) -> Result<Image<'b>, Error> {
    let mixer = Mixer::new(effects, maps);
    let is_gray = maps.last().is_some_and(Affine::is_gray);
    let image = image.copy_memory()?;
    match (image.has_transparency(), is_gray) {
        (false, false) => image.map_lines(3, |from, to| mixer.line::<3, 3>(from, to)),
        (false, true) => image.map_lines(1, |from, to| mixer.line::<3, 1>(from, to)),
        (true, false) => image.map_lines(4, |from, to| mixer.line::<4, 4>(from, to)),
        (true, true) => image.map_lines(2, |from, to| mixer.line::<4, 2>(from, to)),
    }
}

/// The maps, for the pixels of a line.
struct Mixer<'m> {
    /// What a code of each channel adds to a colour of the first map, with its curve. Red brings the offset.
    tables: [[[f64; 3]; 256]; 3],
    others: &'m [Affine],
}

impl Mixer<'_> {
    fn new<'m>(effects: &Effects, maps: &'m [Affine]) -> Mixer<'m> {
        let (first, others) = maps.split_first().unwrap_or((&Affine::UNCHANGED, &[]));
        let table = |channel: usize| {
            let offset = if channel == 0 { first.offset } else { [0.0; 3] };
            effects
                .curve
                .map(|value| std::array::from_fn(|n| first.matrix[n][channel] * value + offset[n]))
        };
        Mixer { tables: std::array::from_fn(table), others }
    }

    /// Writes a line of pixels, of which the last channel is transparency if their number is even.
    fn line<const IN: usize, const OUT: usize>(&self, from: &[u8], to: &mut [u8]) {
        let pixels = from.as_chunks::<IN>().0;
        for (from, to) in pixels.iter().zip(to.as_chunks_mut::<OUT>().0) {
            let colour = self.of([from[0], from[1], from[2]]).map(rounded);
            to.iter_mut().zip(colour).for_each(|(to, value)| *to = value);
            if IN == 4 {
                to[OUT - 1] = from[IN - 1];
            }
        }
    }

    fn of(&self, codes: [u8; 3]) -> [f64; 3] {
        let [red, green, blue]: [&[f64; 3]; 3] =
            std::array::from_fn(|n| &self.tables[n][usize::from(codes[n])]);
        let sum = std::array::from_fn(|n| (red[n] + green[n] + blue[n]).clamp(0.0, 255.0));
        self.others.iter().fold(sum, |colour, map| map.apply(colour))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Defaults, Query};

    fn effects(query: &str) -> Effects {
        let query = Query::parse(query).unwrap();
        Effects::of(&Options::resolve(&query, "", Defaults::for_tests(None)).unwrap())
    }

    #[test]
    fn as_few_matrices_are_left_as_the_clamps_allow() {
        for (query, changes_curve, maps) in [
            ("", false, 0),
            ("bri=2&con=0.5&gamma=2&neg=1", true, 0),
            ("neg=1", true, 0),
            ("sat=2", false, 1),
            ("bri=2&sat=0.5&hue=40", true, 1),
            ("sat=2&hue=40", false, 2),
            ("sat=0.5&gray=0.5&tint=ff0000:0.5&duo=000000:00ff00&neg=1", false, 1),
            ("hue=40&gray=0.5&tint=ff0000:0.5&duo=000000:00ff00&neg=1", false, 2),
            ("sat=2&hue=40&gray=1&neg=1", false, 3),
        ] {
            let effects = effects(query);
            assert_eq!(
                (effects.changes_curve, effects.maps.len()),
                (changes_curve, maps),
                "{query}"
            );
        }
    }

    #[test]
    fn the_pixels_are_those_of_the_effects_one_by_one() {
        let vips = Vips::start().unwrap();
        // Every 15th value of each channel, with a changing opacity.
        let pixels: Vec<[u8; 4]> = (0..18 * 18 * 18_u32)
            .map(|n| [n / 324, n / 18 % 18, n % 18, n % 256].map(|value| value as u8))
            .map(|[red, green, blue, alpha]| [red * 15, green * 15, blue * 15, alpha])
            .collect();
        for query in [
            "bri=1.3&con=0.7&gamma=1.8",
            "sat=3&hue=77",
            "gamma=0.4&sat=0.3&hue=200&gray=0.4",
            "bri=4&con=3&sat=9&hue=123&gray=0.2&tint=4080c0:0.6&neg=0.8",
            "con=10&duo=102030:fff0c0",
            "gray=1",
            "hue=90&gray=1&neg=1",
            "sat=2&duo=ff0000:0000ff&neg=0.3",
        ] {
            let effects = effects(query);
            let expected: Vec<[f64; 4]> = pixels
                .iter()
                .map(|[red, green, blue, alpha]| {
                    let curve = [red, green, blue].map(|code| effects.curve[usize::from(*code)]);
                    let [r, g, b] = effects.maps.iter().fold(curve, |all, map| map.apply(all));
                    [r, g, b, f64::from(*alpha)]
                })
                .collect();
            for channels in [3, 4] {
                let samples: Vec<u8> =
                    pixels.iter().flat_map(|pixel| &pixel[..channels]).copied().collect();
                let image = vips.image_from_samples(&samples, 324, 18, channels).unwrap();
                let changed = match &effects.maps[..] {
                    [] => {
                        let curve = effects.curve.map(|value| [rounded(value); 3]);
                        image.map(&table(&curve, 3, channels == 4).unwrap())
                    }
                    maps => change_colours(image, &effects, maps),
                }
                .unwrap();
                let is_gray = effects.maps.last().is_some_and(Affine::is_gray);
                let bands = if is_gray { channels - 2 } else { channels };
                assert_eq!(changed.bands() as usize, bands, "{query}");
                assert_eq!(changed.has_transparency(), channels == 4, "{query}");
                let expected = expected.iter().flat_map(|colour| {
                    let skipped = if is_gray { 2 } else { 0 };
                    colour[skipped..].iter().take(bands)
                });
                let samples = changed.samples().unwrap();
                assert_eq!(samples.len(), pixels.len() * bands);
                for (found, expected) in samples.iter().zip(expected) {
                    // A half may be rounded either way.
                    assert!((f64::from(*found) - expected).abs() < 0.501, "{query}: {expected}");
                }
            }
        }
    }

    #[test]
    fn gray_has_a_table() {
        let vips = Vips::start().unwrap();
        let codes: Vec<u8> = (0..=255).collect();
        let pairs: Vec<u8> = codes.iter().flat_map(|code| [*code, 255 - code]).collect();
        for (query, bands) in
            [("neg=1&sat=3", 1), ("duo=000000:808080", 1), ("duo=000000:ff8000", 3)]
        {
            let effects = effects(query);
            for (samples, opacity) in [(&codes, 0), (&pairs, 1)] {
                let image = vips.image_from_samples(samples, 16, 16, 1 + opacity).unwrap();
                let changed = change_gray(&image, &effects).unwrap();
                assert_eq!(changed.bands() as usize, bands + opacity, "{query}");
                assert_eq!(changed.has_transparency(), opacity == 1, "{query}");
                let pixels = changed.samples().unwrap().chunks_exact(bands + opacity);
                for (code, pixel) in (0..=255_u8).zip(pixels) {
                    let value = u32::from(code);
                    let expected = match query {
                        "neg=1&sat=3" => [255 - value; 3],
                        "duo=000000:808080" => [(value * 256 + 255) / 510; 3],
                        _ => [value, (value * 256 + 255) / 510, 0],
                    };
                    for (found, expected) in pixel.iter().take(bands).zip(expected) {
                        assert_eq!(u32::from(*found), expected, "{query}: {code}");
                    }
                    assert!(opacity == 0 || pixel.last() == Some(&(255 - code)));
                }
            }
        }
    }
}
