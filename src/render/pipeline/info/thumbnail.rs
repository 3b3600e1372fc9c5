//! The pixels that colours and hashes describe: the result before its padding, as a thumbnail.

use super::super::geometry::{plan, swap_sides};
use crate::options::{Options, Size};

/// Longest side of a thumbnail in pixels. ThumbHash allows no more, and its author finds no use in more.
const SIDE: u32 = 100;

/// The options of the thumbnail of an upright image of this size, before `rot`: a crop shows the same part of the image.
/// Nothing is enlarged.
pub fn options(options: &Options, size: (u32, u32)) -> Options {
    let (width, height) = swap_sides(options.rotation, size);
    let plan = plan(options.size, options.enlarge, width, height);
    let size = match plan.crop {
        None => Size::Fit(SIDE, SIDE),
        Some(crop) => {
            let longest = crop.width.max(crop.height).max(1);
            let whole = f64::from(width) / f64::from(plan.width.max(1));
            let scale = (f64::from(SIDE) / f64::from(longest)).min(whole);
            let side =
                |side: u32| (f64::from(side) * scale).round().clamp(1.0, f64::from(SIDE)) as u32;
            Size::Fill(side(crop.width), side(crop.height), crop.gravity)
        }
    };
    Options { size, enlarge: false, ..options.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Defaults, Query};

    fn thumbnail(query: &str, size: (u32, u32)) -> (u32, u32) {
        let defaults = Defaults { max_dimension: 16_383, ..Defaults::for_tests(None) };
        let query = Query::parse(query).unwrap();
        let found = options(&Options::resolve(&query, "", defaults).unwrap(), size);
        let (width, height) = swap_sides(found.rotation, size);
        let plan = plan(found.size, found.enlarge, width, height);
        plan.crop.map_or((plan.width, plan.height), |crop| (crop.width, crop.height))
    }

    #[test]
    fn a_thumbnail_has_the_shape_of_the_result() {
        for (query, size, expected) in [
            ("f=json", (1600, 1200), (100, 75)),
            ("f=json", (60, 40), (60, 40)),
            ("f=json&w=10", (1600, 1200), (100, 75)),
            ("f=json&w=400&e=true", (60, 40), (60, 40)),
            ("f=json&rot=90", (1600, 1200), (75, 100)),
            ("f=json&w=400&h=400&pad=true", (1600, 1200), (100, 75)),
            ("f=json&w=400&h=100", (1600, 1200), (100, 25)),
            ("f=json&w=40&h=10", (1600, 1200), (100, 25)),
            ("f=json&w=10&h=40&rot=90", (1600, 1200), (25, 100)),
            // Not enlarged, and of the right shape all the same.
            ("f=json&w=400&h=100&e=true", (60, 40), (60, 15)),
            ("f=json&w=40&h=10", (60, 40), (60, 15)),
            ("f=json&w=16383&h=1&e=true", (100, 100), (100, 1)),
            ("f=json", (1, 65_500), (1, 100)),
        ] {
            assert_eq!(thumbnail(query, size), expected, "{query} of {size:?}");
        }
    }
}
