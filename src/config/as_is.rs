//! `"raw"` and `"passthrough"`: originals that a handler serves as they are.

use jsonc_parser::ast::Value;

use super::error::Result;
use super::fields::Fields;
use super::schema::{Defaulted, Kind, Optional, array, boolean, table};
use crate::file_type::FileType;
use crate::format::{Format, or_list};
use crate::key;
use crate::media_type::MediaType;
use crate::options::{BadQuery, Options, Raw};

table! {
    pub TABLE;
    /// Serve originals [as they are](options.md#raw) to requests with `raw=true`, with their metadata and in their size.
    RAW: Defaulted<bool> = boolean("raw").default(false);
    /// The types of files that are not decoded and [passed through](options.md#files-that-are-not-decoded): `svg`, `ico`,
    /// `bmp`, `tiff`, `heic`, `jxl`, `pdf`, `mp4`, `mov` and `webm`, by the extension of the key and the content.
    PASSTHROUGH: Optional<&'static [Value<'static>]> =
        array("passthrough", "strings", &Kind::Text).absent("none");
}

/// Which originals a handler serves as they are; by default none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsIs {
    raw: bool,
    passthrough: Vec<FileType>,
}

impl AsIs {
    /// `always_marked` is `"wm": "always"`: nobody gets an image of the handler without a watermark.
    pub(super) fn read(
        fields: &Fields,
        allowed_formats: Option<&[String]>,
        always_marked: bool,
    ) -> Result<AsIs> {
        let items = fields.optional(&PASSTHROUGH)?.unwrap_or_default();
        let mut passthrough = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let field = format!("{}[{index}]", PASSTHROUGH.name());
            let Value::StringLit(name) = item else {
                return Err(fields.wrong_type(&field, "a type, such as \"svg\"", item));
            };
            let name = name.value.as_ref();
            let file_type =
                FileType::parse(name).ok_or_else(|| fields.error(&field, refusal(name)))?;
            if passthrough.contains(&file_type) {
                return Err(fields.error(&field, format!("{name} is listed twice")));
            }
            let is_allowed = |extension: &&str| {
                allowed_formats.is_none_or(|allowed| allowed.iter().any(|known| known == extension))
            };
            if !file_type.extensions().iter().any(is_allowed) {
                let message =
                    format!("{name} is not in allowed_formats, so that no key may have it");
                return Err(fields.error(&field, message));
            }
            if always_marked && file_type.is_image() {
                let message = format!("{name} {UNMARKED}");
                return Err(fields.error(&field, message));
            }
            passthrough.push(file_type);
        }
        let raw = fields.get(&RAW)?;
        if raw && always_marked {
            return Err(fields.error(RAW.name(), format!("an original {UNMARKED}")));
        }
        Ok(AsIs { raw, passthrough })
    }

    /// Refuses options that ask for an original where it is not served as it is. Every request, signed URL and preset
    /// comes here.
    pub fn check(&self, options: &Options) -> std::result::Result<(), BadQuery> {
        if options.raw == Raw::Original && !self.raw {
            return Err(BadQuery("raw: originals are not served as they are here".to_owned()));
        }
        Ok(())
    }

    /// The type of file that a key names, if files of this type are passed through.
    pub fn passthrough(&self, key: &str) -> Option<FileType> {
        if self.passthrough.is_empty() {
            return None;
        }
        let file_type = FileType::of_extension(&key::extension(key)?)?;
        self.passthrough.contains(&file_type).then_some(file_type)
    }

    /// Whether a body of this type may be served. One from a cache may be of a type that `passthrough` no longer has, or
    /// not on this server.
    pub fn allows(&self, media_type: MediaType) -> bool {
        match media_type {
            MediaType::Image(_) | MediaType::Json | MediaType::Text => true,
            MediaType::File(file_type) => self.passthrough.contains(&file_type),
        }
    }

    /// The type with which this original is served as it is, by its content alone. An error is a sentence.
    pub fn type_of(&self, raw: Raw, original: &[u8]) -> std::result::Result<MediaType, String> {
        let format = Format::of_bytes(original);
        let found = FileType::of_bytes(original);
        match raw {
            Raw::File(expected) if found == Some(expected) => Ok(expected.into()),
            Raw::File(expected) => {
                let title = format.map(Format::title).or(found.map(FileType::title));
                let is = title
                    .map_or("is not one by its content".to_owned(), |title| format!("is {title}"));
                Err(format!("its key has the extension of {}, but it {is}", expected.title()))
            }
            Raw::Original | Raw::No => match (format, found) {
                (Some(format), _) => Ok(MediaType::Image(format)),
                (None, Some(found)) if self.passthrough.contains(&found) => Ok(found.into()),
                (None, Some(found)) => Err(format!("{} is not in passthrough", found.title())),
                (None, None) => {
                    Err("its type is not known, so that it is not served as it is".to_owned())
                }
            },
        }
    }
}

const UNMARKED: &str = "would be served without a watermark, in spite of \"wm\": \"always\"";

/// Why a name is no type.
fn refusal(name: &str) -> String {
    if Format::parse(name).is_some() {
        return format!("{name} is decoded; \"raw\": true serves such originals as they are");
    }
    let names = or_list(FileType::ALL.iter().map(|file_type| file_type.name()));
    format!("must be {names}, not {name:?}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{error_of, parse};
    use super::*;
    use crate::options::Query;

    fn handler(fields: &str) -> String {
        format!(r#"{{"handlers": [{{"name": "h", "directory": "/", {fields}}}]}}"#)
    }

    fn as_is(fields: &str) -> AsIs {
        parse(&handler(fields)).handlers.remove(0).as_is
    }

    #[test]
    fn by_default_nothing_is_served_as_it_is() {
        let as_is = as_is(r#""cors_origin": "*""#);
        assert_eq!(as_is, AsIs::default());
        assert!(as_is.check(&Options::as_it_is(Raw::Original).unwrap()).is_err());
        assert_eq!(as_is.passthrough("a.svg"), None);
    }

    #[test]
    fn raw_is_refused_unless_the_handler_allows_it() {
        let options = Options::as_it_is(Raw::Original).unwrap();
        assert!(as_is(r#""raw": true"#).check(&options).is_ok());
        let error = as_is(r#""passthrough": ["svg"]"#).check(&options).unwrap_err().0;
        assert_eq!(error, "raw: originals are not served as they are here");
        let preset = r#""presets": {"a": "raw=true"}"#;
        let error = error_of(&handler(preset));
        assert_eq!(error, "handlers[0].presets.a: raw: originals are not served as they are here");
        parse(&handler(&format!(r#"{preset}, "raw": true"#)));
    }

    #[test]
    fn passthrough_is_by_the_extension_of_the_key() {
        let as_is =
            as_is(r#""passthrough": ["svg", "tiff"], "allowed_formats": ["svg", "tif", "jpg"]"#);
        for (key, expected) in [
            ("a.svg", Some(FileType::Svg)),
            ("b/A.SVG", Some(FileType::Svg)),
            ("a.tif", Some(FileType::Tiff)),
            ("a.jpg", None),
            ("a.pdf", None),
            ("svg", None),
            (".svg", None),
            ("a.svg/b", None),
        ] {
            assert_eq!(as_is.passthrough(key), expected, "{key}");
        }
    }

    #[test]
    fn a_fallback_is_an_image_that_is_decoded() {
        let fields = r#""passthrough": ["svg"], "fallback""#;
        let error = error_of(&handler(&format!(r#"{fields}: "a/b.SVG""#)));
        let sentence = "must be an image that is decoded, not of a type in passthrough (svg)";
        assert_eq!(error, format!("handlers[0].fallback: {sentence}"));
        // Only the keys of requests must be listed.
        for key in ["a.png", "a.tiff", "svg", "a"] {
            let text = handler(&format!(r#"{fields}: "{key}", "allowed_formats": ["jpg", "svg"]"#));
            assert_eq!(parse(&text).handlers.remove(0).fallback.as_deref(), Some(key));
        }
    }

    #[test]
    fn the_type_is_that_of_the_content() {
        let svg = b"<svg/>";
        let (jpeg, html) = (b"\xff\xd8\xff\xe0", b"<html><svg/></html>");
        let all = as_is(r#""raw": true, "passthrough": ["svg"]"#);
        let file = Raw::File(FileType::Svg);
        assert_eq!(all.type_of(file, svg), Ok(MediaType::File(FileType::Svg)));
        assert_eq!(all.type_of(Raw::Original, svg), Ok(MediaType::File(FileType::Svg)));
        assert_eq!(all.type_of(Raw::Original, jpeg), Ok(MediaType::Image(Format::Jpeg)));
        for (raw, bytes, sentence) in [
            (file, &jpeg[..], "its key has the extension of SVG, but it is JPEG"),
            (file, b"%PDF-1.7", "its key has the extension of SVG, but it is PDF"),
            (file, html, "its key has the extension of SVG, but it is not one by its content"),
            (Raw::Original, html, "its type is not known, so that it is not served as it is"),
            (Raw::Original, b"%PDF-1.7", "PDF is not in passthrough"),
        ] {
            assert_eq!(all.type_of(raw, bytes), Err(sentence.to_owned()));
        }
    }

    #[test]
    fn a_file_of_the_cache_needs_a_type_that_is_listed() {
        let pdf = as_is(r#""raw": true, "passthrough": ["pdf"]"#);
        assert!(pdf.allows(MediaType::File(FileType::Pdf)));
        assert!(!pdf.allows(MediaType::File(FileType::Svg)));
        for made in MediaType::ALL {
            assert!(AsIs::default().allows(made), "{made:?}");
        }
    }

    #[test]
    fn wrong_types_are_refused() {
        for (fields, expected) in [
            (r#""raw": 1"#, "raw: must be true or false, not a number"),
            (r#""passthrough": "svg""#, "passthrough: must be an array, not a string"),
            (
                r#""passthrough": [1]"#,
                "passthrough[0]: must be a type, such as \"svg\", not a number",
            ),
            (r#""passthrough": ["svg", "svg"]"#, "passthrough[1]: svg is listed twice"),
            (
                r#""passthrough": ["jpg"]"#,
                "passthrough[0]: jpg is decoded; \"raw\": true serves such",
            ),
            (r#""passthrough": ["html"]"#, "passthrough[0]: must be svg, ico, bmp, tiff,"),
            (r#""passthrough": ["tif"]"#, "passthrough[0]: must be svg, ico, bmp, tiff,"),
            (r#""passthrough": [".svg"]"#, "passthrough[0]: must be svg, ico, bmp, tiff,"),
            (
                r#""passthrough": ["svg"], "allowed_formats": ["jpg"]"#,
                "passthrough[0]: svg is not in allowed_formats",
            ),
        ] {
            let error = error_of(&handler(fields));
            assert!(error.starts_with(&format!("handlers[0].{expected}")), "{error}");
        }
    }

    #[test]
    fn no_image_is_served_without_a_mandatory_watermark() {
        let photo = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/images/photo.jpg");
        let always = format!(r#""watermarks": {{"a": {{"file": "{photo}"}}}}, "wm": "always""#);
        for (fields, expected) in [
            (r#""raw": true"#, "raw: an original would be served without a watermark"),
            (r#""passthrough": ["pdf", "svg"]"#, "passthrough[1]: svg would be served without"),
        ] {
            let error = error_of(&handler(&format!("{always}, {fields}")));
            assert!(error.starts_with(&format!("handlers[0].{expected}")), "{error}");
            parse(&handler(&format!("{}, {fields}", always.replace("always", "on_request"))));
        }
        let files = as_is(&format!(r#"{always}, "passthrough": ["pdf", "mp4"]"#));
        assert_eq!(files.passthrough("a.pdf"), Some(FileType::Pdf));
    }

    #[test]
    fn the_documentation_names_every_type() {
        let row = TABLE.iter().find(|row| row.name == PASSTHROUGH.name()).unwrap();
        for file_type in FileType::ALL {
            assert!(row.doc.contains(&format!("`{}`", file_type.name())), "{file_type:?}");
        }
        let query = Query::parse("raw=true").unwrap();
        assert!(query.is_raw());
    }
}
