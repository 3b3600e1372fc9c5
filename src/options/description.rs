//! `f=json`, `f=thumbhash` and `f=blurhash`: a description in place of the image.

use crate::format::Format;

/// What is answered about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Description {
    /// Everything, as a JSON document.
    Json,
    ThumbHash,
    BlurHash,
}

/// The format of the original in a canonical query.
const ORIGINAL: &str = "original";

impl Description {
    pub const ALL: [Description; 3] =
        [Description::Json, Description::ThumbHash, Description::BlurHash];

    /// The value of `f`.
    pub const fn name(self) -> &'static str {
        match self {
            Description::Json => "json",
            Description::ThumbHash => "thumbhash",
            Description::BlurHash => "blurhash",
        }
    }

    /// The description with this name.
    pub fn parse(name: &str) -> Option<Description> {
        Description::ALL.into_iter().find(|description| description.name() == name)
    }

    /// The format that the document names, from the handler's: a hash has nothing of it.
    pub(super) fn format(self, default: Option<Format>) -> Option<Format> {
        default.filter(|_| self == Description::Json)
    }

    /// The description and its format of a canonical query, in which `f` has a value that no client may send:
    /// `json:webp` or `json:original`.
    pub(super) fn parse_canonical(text: &str) -> Option<(Description, Option<Format>)> {
        let (name, format) = text.split_once(':').unwrap_or((text, ""));
        match (Description::parse(name)?, format) {
            (Description::Json, ORIGINAL) => Some((Description::Json, None)),
            (Description::Json, format) => {
                let format = Format::parse(format).filter(|format| format.is_written())?;
                Some((Description::Json, Some(format)))
            }
            (hash, "") => Some((hash, None)),
            _ => None,
        }
    }

    /// As in the canonical query.
    pub(super) fn canonical(self, format: Option<Format>) -> String {
        match self {
            Description::Json => format!("json:{}", format.map_or(ORIGINAL, Format::name)),
            hash => hash.name().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Defaults, Options, Query};

    fn canonical(query: &str, default: Option<Format>) -> Result<String, String> {
        let defaults = Defaults::for_tests(default);
        let query = Query::parse(query).unwrap();
        assert!(!query.varies());
        let options = Options::resolve(&query, "image/avif", defaults).map_err(|error| error.0)?;
        let canonical = options.canonical();
        let again = Options::from_canonical(&Query::parse(&canonical).unwrap(), defaults).unwrap();
        assert_eq!(again, options, "{canonical}");
        assert!(options.are_of(&query, defaults));
        Ok(canonical)
    }

    #[test]
    fn options_that_do_not_change_a_document_make_no_second_entry() {
        let jpeg = Some(Format::Jpeg);
        for (query, default, expected) in [
            ("f=json", None, "f=json:original"),
            ("f=json", jpeg, "f=json:jpg"),
            ("f=json&q=9&strip=false&blur=3&sharp=1&utm=1", jpeg, "f=json:jpg"),
            ("f=json&lossless=true", jpeg, "f=json:png"),
            ("f=json&lossless=true", None, "f=json:original&lossless=true"),
            ("f=json&lossless=true", Some(Format::Webp), "f=json:webp"),
            ("f=json&e=true&frames=2", jpeg, "f=json:jpg"),
            ("f=json&frames=2&page=3", None, "f=json:original&page=3&frames=2"),
            ("f=json&frames=2", Some(Format::Gif), "f=json:gif&frames=2"),
            ("f=json&w=9&e=true&dpr=2", jpeg, "w=18&f=json:jpg&e=true"),
            ("f=json&w=9&h=8&g=n", jpeg, "w=9&h=8&g=n&f=json:jpg"),
            (
                "f=json&w=9&h=8&g=n&pad=true&bg=11223344",
                jpeg,
                "w=9&h=8&pad=true&f=json:jpg&bg=112233",
            ),
            ("f=json&rot=90&trim=3", jpeg, "f=json:jpg&rot=90&trim=3"),
            ("f=json&rot=90&bg=11223344", jpeg, "f=json:jpg&bg=112233&rot=90"),
            ("f=json&rot=9&bg=11223344", jpeg, "f=json:jpg&bg=11223344&rot=9"),
        ] {
            assert_eq!(canonical(query, default).as_deref(), Ok(expected), "{query}");
        }
    }

    #[test]
    fn a_hash_depends_on_the_shape_and_not_on_the_size() {
        for query in ["", "&w=9", "&h=9&e=true", "&w=9&h=8&c=false", "&w=9&h=8&pad=true&g=n"] {
            let query = format!("f=blurhash{query}&frames=3&lossless=true");
            assert_eq!(canonical(&query, Some(Format::Gif)).as_deref(), Ok("f=blurhash"));
        }
        for (query, expected) in [
            ("f=thumbhash&bg=112233", "f=thumbhash"),
            ("f=blurhash&bg=112233", "f=blurhash&bg=112233"),
            ("f=thumbhash&w=9&h=8&g=n&flip=h", "w=9&h=8&g=n&f=thumbhash&flip=h"),
            ("f=thumbhash&rot=90&bg=112233", "f=thumbhash&rot=90"),
            ("f=thumbhash&rot=9&bg=11223344", "f=thumbhash&bg=11223344&rot=9"),
            ("f=blurhash&rot=9&bg=11223344", "f=blurhash&bg=11223344&rot=9"),
            ("f=thumbhash&trim=3&frames=2", "f=thumbhash&trim=3&frames=2"),
        ] {
            assert_eq!(canonical(query, None).as_deref(), Ok(expected), "{query}");
        }
    }

    #[test]
    fn clients_may_not_send_the_canonical_values() {
        for value in ["json:jpg", "json:original", "JSON", "thumbhash:", "json:"] {
            let refused = canonical(&format!("f={value}"), None).unwrap_err();
            assert!(
                refused.ends_with(&format!("json, thumbhash or blurhash, not {value:?}")),
                "{refused}"
            );
        }
        for value in [
            "json",
            "json:",
            "json:svg",
            "json:auto",
            "thumbhash:jpg",
            "thumbhash:original",
            "text",
        ] {
            assert_eq!(Description::parse_canonical(value), None, "{value}");
        }
    }
}
