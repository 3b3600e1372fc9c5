//! `"defaults"` and `"quality"`: the options of a request that has others, or none.

use jsonc_parser::ast::Value;

use super::error::Result;
use super::fields::Fields;
use super::schema::{
    Choice, Defaulted, Kind, Optional, array, choice, integer, object, string, table,
};
use crate::accept::Candidates;
use crate::format::{Format, formats_that, or_list};
use crate::options::{Defaults, Options, Quality, Query};
use crate::quality::{DEFAULT_QUALITY, Level, MAX_QUALITY, MIN_QUALITY};

table! {
    pub TABLE;
    /// A query for the parameters that neither the request nor its preset has, such as `"q=82&f=auto&strip=false"`
    /// ([defaults](options.md#defaults-of-a-handler)); without `p` and `t`, and without `f` if there is an
    /// `output_format`.
    DEFAULTS: Optional<&'static str> = string("defaults").absent("none");
    /// The quality of each format where neither the request nor its preset has `q`; it precedes a `q` in `defaults`.
    QUALITY: Optional<Fields<'static>> =
        object("quality", QUALITY_TABLE).absent("75, or `q` in `defaults`");
    /// The formats that [`f=auto`](options.md#f) may choose beside the handler's own, the preferred one first: `avif`,
    /// `webp` and `jxl`, or some of them.
    AUTO: Optional<&'static [Value<'static>]> =
        array("auto", "strings", &Kind::Text).absent("`[\"avif\", \"webp\"]`");
}

const fn level(name: &'static str) -> Optional<u32> {
    integer::<u32>(name, MIN_QUALITY as i64, MAX_QUALITY as i64)
        .absent("`q` in `defaults`, else 75 on JPEG's scale")
}

table! {
    pub QUALITY_TABLE;
    /// Of a JPEG.
    JPG: Optional<u32> = level("jpg");
    /// Of a WebP.
    WEBP: Optional<u32> = level("webp");
    /// Of an AVIF.
    AVIF: Optional<u32> = level("avif");
    /// Of a JPEG XL.
    JXL: Optional<u32> = level("jxl");
    /// What the numbers mean: `"jpeg"` is JPEG's scale, as in [`q`](options.md#q); `"native"` is that of each format's
    /// own encoder (libwebp, libaom, libjxl).
    SCALE: Defaulted<Scale> = choice::<Scale>("scale").default_choice(0);
}

/// The formats with a quality, and their fields.
const LEVELS: [(Format, &Optional<u32>); 4] =
    [(Format::Jpeg, &JPG), (Format::Webp, &WEBP), (Format::Avif, &AVIF), (Format::Jxl, &JXL)];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Jpeg,
    Native,
}

impl Choice for Scale {
    const CHOICES: &'static [(&'static str, Scale)] =
        &[("jpeg", Scale::Jpeg), ("native", Scale::Native)];
}

/// The query in `defaults` without its `q`, and the quality without `q`.
pub fn read(fields: &Fields, defaults: Defaults) -> Result<(Query, Quality)> {
    let error = |message: String| Err(fields.error(DEFAULTS.name(), message));
    let written = fields.optional(&DEFAULTS)?.unwrap_or_default();
    let mut query = match Query::parse_configured(written, "defaults") {
        Ok(query) => query,
        Err(bad) => return error(bad.0),
    };
    if defaults.format.is_some() && query.has_any(&["f"]) {
        return error("f: can't be combined with output_format; remove one of them".to_owned());
    }
    if query.has_any(&["max_bytes"]) {
        return error(
            "max_bytes: can't be in defaults, because it may take five encodings".to_owned(),
        );
    }
    if query.is_raw() {
        return error(
            "raw: can't be true in defaults, because every option of a request would be refused; \
             name it in a preset"
                .to_owned(),
        );
    }
    if let Err(bad) = Options::resolve(&query, "", defaults) {
        return error(bad.0);
    }
    let number = query.take("q").and_then(|number| number.parse().ok());
    let mut quality = Quality::uniform(number.unwrap_or(DEFAULT_QUALITY));
    if let Some(levels) = fields.optional(&QUALITY)? {
        let level = match levels.get(&SCALE)? {
            Scale::Jpeg => Level::Scaled,
            Scale::Native => Level::Native,
        };
        for (format, field) in LEVELS {
            // The range of the field is that of a u8.
            if let Some(number) = levels.optional(field)?.and_then(|number| number.try_into().ok())
            {
                quality = quality.with(format, level(number));
            }
        }
    }
    Ok((query, quality))
}

/// `"auto"`.
pub fn candidates(fields: &Fields) -> Result<Candidates> {
    let Some(items) = fields.optional(&AUTO)? else { return Ok(Candidates::default()) };
    if items.is_empty() {
        return Err(fields.error(AUTO.name(), "must list a format"));
    }
    let mut formats = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let field = format!("{}[{index}]", AUTO.name());
        let Value::StringLit(name) = item else {
            return Err(fields.wrong_type(&field, "the name of a format", item));
        };
        let Some(format) = Format::parse(&name.value).filter(|format| format.is_negotiated())
        else {
            let names = or_list(formats_that(Format::is_negotiated).map(Format::name));
            return Err(fields.error(&field, format!("must be {names}, not {:?}", name.value)));
        };
        if formats.contains(&format) {
            return Err(fields.error(&field, format!("{} is listed twice", format.name())));
        }
        formats.push(format);
    }
    Ok(Candidates::new(formats))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{error_of, parse};
    use super::*;

    fn handler(fields: &str) -> String {
        format!(r#"{{"handlers": [{{"name": "h", "directory": "/", {fields}}}]}}"#)
    }

    /// Of a client that shows every format.
    const ACCEPT: &str = "image/avif,image/jxl,image/webp,*/*";

    /// The canonical query of a request, and again as the renderer reads it.
    fn ask(fields: &str, query: &str) -> String {
        let handler = parse(&handler(fields)).handlers.remove(0);
        let query = Query::parse(query).unwrap();
        let whole = handler.size_policy.with_preset(&query).unwrap();
        let options = Options::resolve(&whole, ACCEPT, handler.defaults());
        let options = options.unwrap();
        let canonical = options.canonical();
        let again = Query::parse(&canonical).unwrap();
        assert_eq!(Options::from_canonical(&again, handler.defaults()), Ok(options));
        canonical
    }

    #[test]
    fn a_format_with_a_quality_has_a_field() {
        let formats =
            crate::format::formats_that(|format| format.is_written() && format.has_quality());
        let names: Vec<_> = formats.map(|format| (format, format.name())).collect();
        assert_eq!(names, LEVELS.map(|(format, field)| (format, field.name())));
    }

    #[test]
    fn the_request_precedes_its_preset_and_that_the_defaults() {
        let fields = r#""defaults": "q=82&f=webp&w=90&strip=false", "presets": {"a": "q=70&w=80", "b": "f=png"}"#;
        for (query, expected) in [
            ("", "w=90&f=webp&q=82&strip=false"),
            ("p=a", "w=80&f=webp&q=70&strip=false"),
            ("p=a&w=5&q=9", "w=5&f=webp&q=9&strip=false"),
            ("p=b", "w=90&f=png&strip=false"),
            ("p=b&f=jpg&strip=true", "w=90&f=jpg&q=82"),
            // The built-in defaults can be asked for.
            ("q=75&strip=true", "w=90&f=webp"),
            ("h=7", "w=90&h=7&f=webp&q=82&strip=false"),
        ] {
            assert_eq!(ask(fields, query), expected, "{query}");
        }
        assert_eq!(ask(r#""defaults": """#, "w=3"), "w=3");
    }

    #[test]
    fn of_a_format_and_lossless_what_is_nearer_to_the_request_applies() {
        let fields = r#""defaults": "lossless=true&strip=false", "presets": {"jpg": "f=jpg"}"#;
        for (query, expected) in [
            ("", "lossless=true&strip=false"),
            ("f=jpg", "f=jpg&strip=false"),
            ("f=gif", "f=gif"),
            ("f=webp", "f=webp&lossless=true&strip=false"),
            ("p=jpg", "f=jpg&strip=false"),
        ] {
            assert_eq!(ask(fields, query), expected, "{query}");
        }
        // As an `output_format` does, a format gives way to `lossless`.
        let fields = r#""defaults": "f=jpg", "presets": {"exact": "lossless=true"}"#;
        for (query, expected) in [
            ("", "f=jpg"),
            ("lossless=true", "f=png"),
            ("p=exact", "f=png"),
            ("p=exact&f=gif", "f=gif"),
            ("p=exact&f=webp", "f=webp&lossless=true"),
        ] {
            assert_eq!(ask(fields, query), expected, "{query}");
        }
        let handler = parse(&handler(r#""defaults": "lossless=true""#)).handlers.remove(0);
        let query = Query::parse("lossless=true&f=jpg").unwrap();
        let whole = handler.size_policy.with_preset(&query).unwrap();
        let refused = Options::resolve(&whole, ACCEPT, handler.defaults()).unwrap_err().0;
        assert!(refused.starts_with("lossless: can't be true with f=jpg"), "{refused}");
    }

    #[test]
    fn the_quality_of_a_format_precedes_that_of_the_defaults() {
        let fields = r#""defaults": "q=82", "quality": {"avif": 60}, "presets": {"a": "q=70"}"#;
        for (query, expected) in [
            ("f=avif", "f=avif&q=60"),
            ("f=webp", "f=webp&q=82"),
            ("f=avif&q=75", "f=avif"),
            ("f=avif&p=a", "f=avif&q=70"),
            ("f=avif&lossless=true", "f=avif&lossless=true"),
            ("f=png", "f=png"),
            // The format is not known here.
            ("", "q=jpg:82:webp:82:avif:60:jxl:82"),
            ("q=9", "q=9"),
            ("f=auto", "f=auto:avif:webp:original&q=jpg:82:webp:82:avif:60:jxl:82"),
            ("f=jxl", "f=jxl&q=82"),
        ] {
            assert_eq!(ask(fields, query), expected, "{query}");
        }
    }

    #[test]
    fn native_qualities_are_those_of_the_encoders() {
        let fields =
            r#""output_format": "jpg", "quality": {"avif": 50, "jpg": 90, "scale": "native"}"#;
        for (query, expected) in [
            ("f=avif", "f=avif&q=avif:native50"),
            ("", "f=jpg&q=90"),
            ("f=webp", "f=webp"),
            ("f=auto", "f=auto:avif:webp:jpg&q=jpg:90:avif:native50"),
        ] {
            assert_eq!(ask(fields, query), expected, "{query}");
        }
    }

    #[test]
    fn shared_entries_are_those_of_the_same_options() {
        let with = r#""defaults": "q=60&f=webp&w=90&bg=ff0000""#;
        assert_eq!(ask(with, ""), ask(r#""fail_on": "none""#, "w=90&f=webp&q=60"));
        let quality = r#""quality": {"webp": 60}"#;
        assert_eq!(ask(quality, "w=90&f=webp"), ask(with, ""));
    }

    #[test]
    fn auto_chooses_and_orders_what_may_be_negotiated() {
        for (auto, expected) in [
            (r#"["avif", "webp"]"#, "f=auto:avif:webp:jpg"),
            (r#"["webp", "avif"]"#, "f=auto:webp:avif:jpg"),
            (r#"["webp"]"#, "f=auto:webp:jpg"),
            (r#"["avif"]"#, "f=auto:avif:jpg"),
            (r#"["jxl", "avif", "webp"]"#, "f=auto:jxl:avif:webp:jpg"),
            (r#"["avif", "jxl"]"#, "f=auto:avif:jxl:jpg"),
        ] {
            let fields = format!(r#""output_format": "jpg", "auto": {auto}"#);
            assert_eq!(ask(&fields, "f=auto"), expected, "{auto}");
        }
        // The handler's own format may be one of the others.
        let webp = r#""output_format": "webp", "auto": ["avif"]"#;
        assert_eq!(ask(webp, "f=auto"), "f=auto:avif:webp");
    }

    #[test]
    fn wrong_defaults_are_refused() {
        for (fields, expected) in [
            (r#""defaults": 1"#, "defaults: must be a string, not a number"),
            (
                r#""defaults": "q=101""#,
                "defaults: q: must be a whole number from 1 to 100, not \"101\"",
            ),
            (r#""defaults": "q=1&q=2""#, "defaults: q: given twice"),
            (
                r#""defaults": "q=avif:60""#,
                "defaults: q: must be a whole number from 1 to 100, not \"avif:60\"",
            ),
            (r#""defaults": "p=a""#, "defaults: p: can't be in defaults"),
            (r#""defaults": "t=a""#, "defaults: t: can't be in defaults"),
            (r#""defaults": "exp=1""#, "defaults: exp: can't be in defaults"),
            (r#""defaults": "quality=1""#, "defaults: unknown parameter \"quality=1\""),
            (
                r#""defaults": "f=jpg&lossless=true""#,
                "defaults: lossless: can't be true with f=jpg, only with png, webp, avif, jxl or auto",
            ),
            (
                r#""defaults": "max_bytes=9000""#,
                "defaults: max_bytes: can't be in defaults, because",
            ),
            (
                r#""raw": true, "defaults": "raw=true""#,
                "defaults: raw: can't be true in defaults, because",
            ),
            (r#""defaults": "raw=true&w=9""#, "defaults: raw: can't be true in defaults, because"),
            (
                r#""info": false, "defaults": "f=json", "presets": {"a": "w=9"}"#,
                "info: must be true for the defaults, which describe images",
            ),
            (
                r#""defaults": "f=auto", "output_format": "jpg""#,
                "defaults: f: can't be combined with output_format; remove one of them",
            ),
            (r#""quality": 60"#, "quality: must be an object, not a number"),
            (r#""quality": {"png": 60}"#, "quality.png: unknown field"),
            (r#""quality": {"jxl": 0}"#, "quality.jxl: must be from 1 to 100, not 0"),
            (r#""quality": {"heic": 60}"#, "quality.heic: unknown field"),
            (r#""quality": {"avif": 0}"#, "quality.avif: must be from 1 to 100, not 0"),
            (r#""quality": {"avif": 101}"#, "quality.avif: must be from 1 to 100, not 101"),
            (r#""quality": {"avif": 1.5}"#, "quality.avif: must be a whole number, not 1.5"),
            (r#""quality": {"avif": "60"}"#, "quality.avif: must be a whole number, not a string"),
            (
                r#""quality": {"scale": "webp"}"#,
                "quality.scale: must be jpeg or native, not \"webp\"",
            ),
        ] {
            let error = error_of(&handler(fields));
            assert!(error.starts_with(&format!("handlers[0].{expected}")), "{error}");
        }
        for (fields, expected) in [
            (r#""auto": "avif""#, "auto: must be an array, not a string"),
            (r#""auto": []"#, "auto: must list a format"),
            (r#""auto": [1]"#, "auto[0]: must be the name of a format, not a number"),
            (r#""auto": ["avif", "gif"]"#, "auto[1]: must be webp, avif or jxl, not \"gif\""),
            (r#""auto": ["jpg"]"#, "auto[0]: must be webp, avif or jxl, not \"jpg\""),
            (r#""auto": ["AVIF"]"#, "auto[0]: must be webp, avif or jxl, not \"AVIF\""),
            (r#""auto": [""]"#, "auto[0]: must be webp, avif or jxl, not \"\""),
            (r#""auto": ["webp", "avif", "webp"]"#, "auto[2]: webp is listed twice"),
        ] {
            assert_eq!(error_of(&handler(fields)), format!("handlers[0].{expected}"));
        }
        // `""` is the original's format.
        parse(&handler(r#""defaults": "f=auto", "output_format": """#));
        parse(&handler(r#""defaults": "raw=false""#));
        parse(&handler(r#""defaults": "f=json""#));
    }
}
