//! The pixels that colours and hashes describe: the result before its padding, as a thumbnail.

use super::super::geometry::{Layout, Plan};
use crate::options::{Options, Size};

/// Longest side of a thumbnail in pixels. ThumbHash allows no more, and its author finds no use in more.
const SIDE: u32 = 100;

/// The options of the thumbnail of an upright image of this size, before `rot`: a crop shows the same part of the image.
/// Nothing is enlarged.
pub fn options(options: &Options, size: (u32, u32)) -> Options {
    let plan = plan_of(options, size);
    let whole = plan_of(&Options { size: Size::Original, minimum: None, ..options.clone() }, size);
    // The size of a result, smaller.
    let smaller = |(width, height): (u32, u32), most: f64| {
        let scale = (f64::from(SIDE) / f64::from(width.max(height).max(1))).min(most);
        let side = |side: u32| (f64::from(side) * scale).round().clamp(1.0, f64::from(SIDE)) as u32;
        (side(width), side(height))
    };
    let size = match (plan.crop, options.size) {
        (None, Size::Stretch(..)) => {
            let (width, height) = smaller(plan.size(), 1.0);
            Size::Stretch(width, height)
        }
        (None, _) => Size::Fit(SIDE, SIDE),
        (Some(crop), _) => {
            let most = f64::from(whole.width) / f64::from(plan.width.max(1));
            let (width, height) = smaller((crop.width, crop.height), most);
            Size::Fill(width, height, crop.gravity)
        }
    };
    Options { size, minimum: None, enlarge: false, ..options.clone() }
}

fn plan_of(options: &Options, size: (u32, u32)) -> Plan {
    Layout::of_size(options, size).plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Defaults, Query};

    fn thumbnail(query: &str, size: (u32, u32)) -> (u32, u32) {
        let defaults = Defaults { max_dimension: 16_383, ..Defaults::for_tests(None) };
        let query = Query::parse(query).unwrap();
        let found = options(&Options::resolve(&query, "", defaults).unwrap(), size);
        plan_of(&found, size).result(found.size)
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
            ("f=json&w=400&h=100&fit=stretch", (1600, 1200), (100, 25)),
            ("f=json&w=300&h=300&fit=ratio", (200, 100), (100, 100)),
            ("f=json&w=300&h=300&fit=outside", (1600, 1200), (100, 75)),
            ("f=json&w=100&min-h=200", (200, 100), (50, 100)),
            ("f=json&rot=45", (100, 100), (100, 100)),
        ] {
            assert_eq!(thumbnail(query, size), expected, "{query} of {size:?}");
        }
    }
}
