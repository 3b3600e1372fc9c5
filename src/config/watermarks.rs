//! `"watermarks"` and `"wm"`: images that are drawn on the results of a handler.
//!
//! The edge reads the files, and checks what a look at their first bytes tells; the renderer decodes them.

use std::sync::Arc;

use jsonc_parser::ast::{ObjectProp, Value};

use super::error::{ConfigError, Result};
use super::error_image::read_file;
use super::fields::{Fields, number as read_number};
use super::json::type_name;
use super::schema::{
    Choice, Defaulted, Kind, Optional, array, boolean, choice, map, number, table, text,
};
use crate::format::Format;
use crate::options::{
    HandlerWatermarks, Length, MAX_WATERMARKS, Placement, Position, Watermark, is_watermark_name,
};

/// A watermark is decoded again for each new size.
const MAX_FILE: u64 = 4 << 20;
/// The most watermarks of a handler: each renderer gets their files.
const MAX_ALL: usize = 16;
/// The largest offset in pixels, and the largest distance between copies.
const MAX_LENGTH: f64 = 16_383.0;
const WHOLE: f64 = 10_000.0;

const OFFSET_KIND: Kind = Kind::Number { min: -MAX_LENGTH, max: MAX_LENGTH };
const SPACING_KIND: Kind = Kind::Number { min: 0.0, max: MAX_LENGTH };

table! {
    pub TABLE;
    /// Named watermarks for the parameter [`wm`](options.md#wm), at most 16: names of 1 to 32 letters, digits, `-` and
    /// `_`, except `none`.
    WATERMARKS: Optional<&'static [ObjectProp<'static>]> =
        map("watermarks", "[objects](#watermarks)", EACH_TABLE).absent("none");
    /// Which images have watermarks: those whose `wm` names them, or every one, which then has all `watermarks` of the
    /// handler (at most 4), whatever the query says.
    WM: Defaulted<When> = choice::<When>("wm").default_choice(0);
}

table! {
    pub EACH_TABLE;
    /// The image: a JPEG, PNG, WebP, AVIF or GIF with one frame, of at most 4 MiB and 4,000,000 pixels. It is read at the
    /// start and at a reload.
    FILE: Optional<&'static str> = text("file");
    /// Where it is in the result: the centre, a side or a corner.
    POSITION: Defaulted<Position> = choice::<Position>("position").default_choice(8);
    /// Its distance from that side or corner, `[x, y]`; where `position` names no side (`x` of `n`, `s` and `ce`, `y` of
    /// `e`, `w` and `ce`), from the centre to the right or down. A number between −1 and 1, both exclusive, is a fraction
    /// of the width or height of the result, any other one whole pixels: `[1, 1]` is one pixel. It is moved to stay
    /// within the result.
    OFFSET: Optional<&'static [Value<'static>]> =
        array("offset", "two numbers", &OFFSET_KIND).absent("`[0, 0]`");
    /// It fits into this fraction of the width and of the height of the result: it is scaled down to it, keeps its aspect
    /// ratio, and is not enlarged.
    SIZE: Optional<f64> = number("size", 0.01, 1.0).absent("its own size in pixels, scaled down if the result is smaller");
    /// The opacity that its own is multiplied by.
    OPACITY: Optional<f64> = number("opacity", 0.01, 1.0).absent("1");
    /// Repeat it in both directions over the whole result, from its position on.
    TILE: Defaulted<bool> = boolean("tile").default(false);
    /// The distance between the copies of `tile`, `[x, y]`, in the units of `offset`.
    SPACING: Optional<&'static [Value<'static>]> =
        array("spacing", "two numbers", &SPACING_KIND).absent("`[0, 0]`");
}

/// Which images have watermarks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    OnRequest,
    Always,
}

impl Choice for When {
    const CHOICES: &'static [(&'static str, When)] =
        &[("on_request", When::OnRequest), ("always", When::Always)];
}

/// The words of `g`.
impl Choice for Position {
    const CHOICES: &'static [(&'static str, Position)] = &[
        ("ce", Position(5000, 5000)),
        ("n", Position(5000, 0)),
        ("s", Position(5000, 10_000)),
        ("e", Position(10_000, 5000)),
        ("w", Position(0, 5000)),
        ("ne", Position(10_000, 0)),
        ("nw", Position(0, 0)),
        ("sw", Position(0, 10_000)),
        ("se", Position(10_000, 10_000)),
    ];
}

/// `resolved` are files that were read earlier, in the order of the configuration; none is read then.
pub fn read(fields: &Fields, resolved: Option<&[Arc<[u8]>]>) -> Result<HandlerWatermarks> {
    let written = fields.optional(&WATERMARKS)?.unwrap_or_default();
    let error = |message: String| fields.error(WATERMARKS.name(), message);
    if written.len() > MAX_ALL {
        return Err(error(format!("must have at most {MAX_ALL} watermarks")));
    }
    let always = fields.get(&WM)? == When::Always;
    if always && written.is_empty() {
        return Err(fields.error(WM.name(), "needs watermarks: there is none to put on images"));
    }
    if always && written.len() > MAX_WATERMARKS {
        let message = format!("must have at most {MAX_WATERMARKS} with \"wm\": \"always\"");
        return Err(error(message));
    }
    let read = |(index, property): (usize, &ObjectProp)| {
        let resolved = resolved.and_then(|resolved| resolved.get(index));
        read_one(fields, property, resolved).map(Arc::new)
    };
    let all = written.iter().enumerate().map(read).collect::<Result<_>>()?;
    Ok(HandlerWatermarks { all, always })
}

fn read_one(
    fields: &Fields,
    property: &ObjectProp,
    resolved: Option<&Arc<[u8]>>,
) -> Result<Watermark> {
    let name = property.name.as_str();
    let path = fields.path(&format!("{}.{name}", WATERMARKS.name()));
    if !is_watermark_name(name) {
        let rule = "must have 1 to 32 letters, digits, hyphens and underscores, and not be none";
        return Err(ConfigError::new(path, format!("a watermark's name {rule}")));
    }
    if !matches!(property.value, Value::Object(_)) {
        let found = type_name(&property.value);
        let message = format!("must be an object with a file, not {found}");
        return Err(ConfigError::new(path, message));
    }
    let fields = &Fields::of(&property.value, path, EACH_TABLE)?;
    let file = fields.required(&FILE)?;
    let is_tiled = fields.get(&TILE)?;
    let spacing = lengths(fields, &SPACING, SPACING_KIND)?;
    if spacing.is_some() && !is_tiled {
        return Err(fields.error(SPACING.name(), "has no effect without tile"));
    }
    let nothing = [Length::Pixels(0); 2];
    let placement = Placement {
        position: fields.get(&POSITION)?,
        offset: lengths(fields, &OFFSET, OFFSET_KIND)?.unwrap_or(nothing),
        size: fields.optional(&SIZE)?.map(|size| (size * WHOLE).round() as u16),
        opacity: (fields.optional(&OPACITY)?.unwrap_or(1.0) * 255.0).round().max(1.0) as u8,
        tile: is_tiled.then_some(spacing.unwrap_or(nothing)),
    };
    let (image, format) = match resolved {
        Some(image) => (Arc::clone(image), Format::of_original(image)),
        None => {
            let (bytes, format) = read_file(fields, FILE.name(), file, MAX_FILE)?;
            (bytes.into(), Some(format))
        }
    };
    let not_an_image = || fields.error(FILE.name(), "is not an image");
    Ok(Watermark::new(name.to_owned(), image, format.ok_or_else(not_an_image)?, placement))
}

/// Two lengths, horizontally and vertically.
fn lengths(
    fields: &Fields,
    field: &Optional<&'static [Value<'static>]>,
    kind: Kind,
) -> Result<Option<[Length; 2]>> {
    let Some(items) = fields.optional(field)? else { return Ok(None) };
    let found = match items {
        [x, y] => length(x, kind).zip(length(y, kind)),
        _ => None,
    };
    let (x, y) = found.ok_or_else(|| {
        let min = if matches!(kind, Kind::Number { min: 0.0, .. }) { 0.0 } else { -MAX_LENGTH };
        let message = format!(
            "must be [x, y], each a fraction below 1 or a whole number of pixels, from {min} to {MAX_LENGTH}"
        );
        fields.error(field.name(), message)
    })?;
    Ok(Some([x, y]))
}

fn length(value: &Value, kind: Kind) -> Option<Length> {
    let Kind::Number { min, max } = kind else { return None };
    let number = read_number(value).filter(|number| (min..=max).contains(number))?;
    // The range makes both conversions exact.
    if number.fract() == 0.0 {
        Some(Length::Pixels(number as i32))
    } else if number.abs() < 1.0 {
        Some(Length::Part((number * WHOLE).round() as i32))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Handler, parse};
    use crate::documents::assert_says;

    const ROOT: &str = env!("CARGO_MANIFEST_DIR");

    fn handler(fields: &str) -> std::result::Result<Handler, String> {
        let text = format!(r#"{{"handlers": [{{"name": "h", "directory": {ROOT:?}, {fields}}}]}}"#);
        let config = parse(&text, "test").map_err(|error| error.to_string())?;
        Ok(config.handlers.into_iter().next().unwrap())
    }

    fn watermark(fields: &str) -> std::result::Result<Arc<Watermark>, String> {
        let file = format!("{ROOT}/tests/data/quarters.avif");
        let handler =
            handler(&format!(r#""watermarks": {{"logo": {{"file": {file:?}, {fields}}}}}"#))?;
        Ok(Arc::clone(&handler.watermarks.all[0]))
    }

    #[test]
    fn a_watermark_has_placement_and_defaults() {
        let plain = watermark("").unwrap();
        assert_eq!((plain.name.as_str(), plain.format), ("logo", Format::Avif));
        let expected = Placement {
            position: Position(10_000, 10_000),
            offset: [Length::Pixels(0); 2],
            size: None,
            opacity: 255,
            tile: None,
        };
        assert_eq!(plain.placement, expected);
        let placed = watermark(
            r#""position": "w", "offset": [-0.5, 7], "size": 0.25, "opacity": 0.5, "tile": true, "spacing": [0, 0.0625]"#,
        );
        let expected = Placement {
            position: Position(0, 5000),
            offset: [Length::Part(-5000), Length::Pixels(7)],
            size: Some(2500),
            opacity: 128,
            tile: Some([Length::Pixels(0), Length::Part(625)]),
        };
        assert_eq!(placed.unwrap().placement, expected);
        assert_eq!(watermark(r#""opacity": 0.01"#).unwrap().placement.opacity, 3);
    }

    #[test]
    fn errors_name_the_field() {
        for (fields, expected) in [
            (r#""position": "tile""#, "watermarks.logo.position: must be ce, n, s"),
            (r#""position": "smart""#, "watermarks.logo.position: must be"),
            (r#""offset": 3"#, "watermarks.logo.offset: must be an array"),
            (r#""offset": [1]"#, "watermarks.logo.offset: must be [x, y]"),
            (r#""offset": [1, 2, 3]"#, "watermarks.logo.offset: must be [x, y]"),
            (r#""offset": [1.5, 2]"#, "watermarks.logo.offset: must be [x, y]"),
            (r#""offset": ["1", 2]"#, "watermarks.logo.offset: must be [x, y]"),
            (r#""offset": [20000, 2]"#, "from -16383 to 16383"),
            (r#""size": 0"#, "watermarks.logo.size: must be from 0.01 to 1, not 0"),
            (r#""size": 1.01"#, "watermarks.logo.size: must be from 0.01 to 1, not 1.01"),
            (r#""size": "half""#, "watermarks.logo.size: must be a number, not a string"),
            (r#""opacity": 0"#, "watermarks.logo.opacity: must be from 0.01 to 1, not 0"),
            (r#""opacity": 2"#, "watermarks.logo.opacity: must be from 0.01 to 1, not 2"),
            (r#""spacing": [1, 1]"#, "watermarks.logo.spacing: has no effect without tile"),
            (r#""tile": true, "spacing": [-1, 1]"#, "from 0 to 16383"),
            (r#""key": "logo.png""#, "watermarks.logo.key: unknown field"),
            (r#""url": "http://127.0.0.1/""#, "watermarks.logo.url: unknown field"),
        ] {
            let error = watermark(fields).unwrap_err();
            assert!(error.contains(expected), "{fields}: {error}");
        }
        let file = format!("{ROOT}/tests/data/quarters.avif");
        let five: Vec<String> =
            (0..5).map(|n| format!(r#""n{n}": {{"file": {file:?}}}"#)).collect();
        let many: Vec<String> =
            (0..17).map(|n| format!(r#""n{n}": {{"file": {file:?}}}"#)).collect();
        for (fields, expected) in [
            (r#""wm": "always""#.to_owned(), "wm: needs watermarks"),
            (r#""wm": "never""#.to_owned(), "wm: must be on_request or always"),
            (
                format!(r#""wm": "always", "watermarks": {{{}}}"#, five.join(", ")),
                "watermarks: must have at most 4 with",
            ),
            (
                format!(r#""watermarks": {{{}}}"#, many.join(", ")),
                "watermarks: must have at most 16",
            ),
            (r#""watermarks": {"logo": "logo.png"}"#.to_owned(), "must be an object with a file"),
            (r#""watermarks": {"logo": {}}"#.to_owned(), "watermarks.logo.file: required"),
            (r#""watermarks": {"none": {"file": "x"}}"#.to_owned(), "a watermark's name"),
            (r#""watermarks": {"a,b": {"file": "x"}}"#.to_owned(), "a watermark's name"),
            (r#""watermarks": {"": {"file": "x"}}"#.to_owned(), "a watermark's name"),
            (
                format!(r#""watermarks": {{"a": {{"file": "{ROOT}/absent.png"}}}}"#),
                "watermarks.a.file: ",
            ),
            (format!(r#""watermarks": {{"a": {{"file": {ROOT:?}}}}}"#), "is not a regular file"),
            (
                format!(r#""watermarks": {{"a": {{"file": "{ROOT}/Cargo.toml"}}}}"#),
                "is not a JPEG, PNG",
            ),
            (
                format!(
                    r#""watermarks": {{"a": {{"file": {file:?}}}}}, "presets": {{"p": "wm=b"}}"#
                ),
                "presets.p: wm: there is no watermark \"b\" here",
            ),
            (
                format!(
                    r#""watermarks": {{"a": {{"file": {file:?}}}}}, "wm": "always", "presets": {{"p": "wm=none"}}"#
                ),
                "presets.p: wm: can't be none here",
            ),
        ] {
            let error = handler(&fields).unwrap_err();
            assert!(error.contains(expected), "{fields}: {error}");
        }
    }

    #[test]
    fn presets_that_are_rendered_on_a_change_have_the_watermarks() {
        let file = format!("{ROOT}/tests/data/quarters.avif");
        let text = format!(
            r#"{{"handlers": [{{"name": "h", "aws": {{"bucket_name": "b"}}, "cache_path": "/tmp/c", "wm": "always",
                "watermarks": {{"logo": {{"file": {file:?}}}}}, "presets": {{"a": "w=1"}}, "render_on_change": ["a"]}}]}}"#
        );
        let config = parse(&text, "test").unwrap();
        let handler = &config.handlers[0];
        assert!(handler.has_mandatory_watermark());
        let options: Vec<_> = handler.options_on_change("a.jpg").collect();
        assert_eq!(options.len(), 1);
        assert_eq!(options[0].watermarks, handler.watermarks.all);
        assert!(options[0].canonical().contains("wm=logo:"), "{}", options[0].canonical());
    }

    #[test]
    fn numbers_are_as_documented() {
        let sentence = format!("of at most {} MiB and {} pixels", MAX_FILE >> 20, "4,000,000");
        assert_says("docs/configuration.md", &sentence);
        assert_says("docs/configuration.md", &format!("at most {MAX_ALL}: names of 1 to 32"));
        assert_says("docs/configuration.md", &format!("(at most {MAX_WATERMARKS})"));
    }

    #[test]
    fn a_renderer_gets_the_files_of_the_edge() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logo.avif");
        let first = std::fs::read(format!("{ROOT}/tests/data/quarters.avif")).unwrap();
        std::fs::write(&path, &first).unwrap();
        let text = format!(
            r#"{{"handlers": [{{"name": "h", "directory": {ROOT:?}, "watermarks": {{"logo": {{"file": {path:?}}}}}}}]}}"#
        );
        let of_edge = parse(&text, "test").unwrap();
        let resolved: Vec<_> = of_edge.handlers.iter().map(Handler::resolved).collect();
        let second = std::fs::read(format!("{ROOT}/tests/data/fading.avif")).unwrap();
        std::fs::write(&path, &second).unwrap();
        let read = super::super::parse_resolved(&text, of_edge.environment(), &resolved).unwrap();
        assert_eq!(read.handlers[0].watermarks, of_edge.handlers[0].watermarks);
        assert_eq!(read.handlers[0].watermarks.all[0].image[..], first);
        // A reload takes the changed file.
        let reloaded = parse(&text, "test").unwrap();
        assert_ne!(reloaded.handlers[0].watermarks, of_edge.handlers[0].watermarks);
        std::fs::remove_file(&path).unwrap();
        assert!(parse(&text, "test").is_err());
    }
}
