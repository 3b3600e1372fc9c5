//! The options of originals that are served as they are, and the queries that ask for them.

use super::parameters::{Place, Values};
use super::{BadQuery, Options, Output, Quality, Query, Raw, Size};
use crate::file_type::FileType;

impl Options {
    /// The options of an original that is served as it is: no other option changes its bytes, so that it has one entry
    /// whatever its requests say.
    pub fn as_it_is(raw: Raw) -> Result<Options, BadQuery> {
        let quality = Quality::default();
        let neutral = Values::read(|_| None)?;
        let neutral =
            neutral.into_options(Size::Original, None, Output::Original, quality, Vec::new());
        Ok(Options { raw, ..neutral })
    }
}

impl Query {
    /// Whether it asks for the original as it is.
    pub fn is_raw(&self) -> bool {
        self.at(const { Place::of("raw") }) == Some("true")
    }

    /// Refuses `raw=true` with an option of the image, which would have no effect.
    pub(super) fn check_raw(&self) -> Result<(), BadQuery> {
        if !self.is_raw() {
            return Ok(());
        }
        match self.image_options().find(|name| *name != "raw") {
            Some(name) => Err(BadQuery(format!("raw: can't be true with {name}"))),
            None => Ok(()),
        }
    }

    /// The type of file in a canonical query.
    pub(super) fn raw_file(&self) -> Option<FileType> {
        self.at(const { Place::of("raw") }).and_then(FileType::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use crate::options::Defaults;

    fn defaults() -> Defaults<'static> {
        Defaults::for_tests(Some(Format::Webp))
    }

    fn resolve(query: &str) -> Result<Options, String> {
        let query = Query::parse(query).map_err(|error| error.0)?;
        Options::resolve(&query, "image/avif", defaults()).map_err(|error| error.0)
    }

    #[test]
    fn an_original_as_it_is_has_one_canonical_query() {
        let options = resolve("raw=true&t=x&exp=9&p=a&dl=b&unknown=1").unwrap();
        assert_eq!(options.canonical(), "raw=true");
        assert_eq!((options.raw, options.size), (Raw::Original, Size::Original));
        let again = Query::parse("raw=true").unwrap();
        assert_eq!(Options::from_canonical(&again, defaults()), Ok(options));
        assert_eq!(resolve("raw=false&w=9").unwrap(), resolve("w=9").unwrap());
        assert_eq!(resolve("raw=true").unwrap().of_error_image().raw, Raw::No);
    }

    #[test]
    fn options_of_the_image_are_refused_with_raw() {
        for (query, error) in [
            ("raw=true&w=9", "raw: can't be true with w"),
            ("raw=true&strip=true", "raw: can't be true with strip"),
            ("f=auto&raw=true", "raw: can't be true with f"),
            ("raw=1", "raw: must be true or false, not \"1\""),
            ("raw=svg", "raw: must be true or false, not \"svg\""),
            ("raw=true&raw=true", "raw: given twice"),
        ] {
            assert_eq!(resolve(query).unwrap_err(), error, "{query}");
        }
    }

    #[test]
    fn a_file_has_the_canonical_query_of_its_type() {
        for file_type in FileType::ALL {
            let options = Options::as_it_is(Raw::File(*file_type)).unwrap();
            let canonical = options.canonical();
            assert_eq!(canonical, format!("raw={}", file_type.name()));
            let query = Query::parse(&canonical).unwrap();
            assert_eq!(Options::from_canonical(&query, defaults()), Ok(options));
            assert!(Options::resolve(&query, "", defaults()).is_err());
        }
    }

    #[test]
    fn raw_precedes_presets_as_a_whole() {
        let preset = Query::parse_preset("w=9&f=auto").unwrap();
        let query = Query::parse("raw=true&p=a").unwrap().over(&preset);
        let options = Options::resolve(&query, "", defaults()).unwrap();
        assert_eq!(options.canonical(), "raw=true");
        let raw = Query::parse_preset("raw=true").unwrap();
        let query = Query::parse("p=a&w=9").unwrap().over(&raw);
        assert!(Options::resolve(&query, "", defaults()).is_err());
        let query = Query::parse("p=a").unwrap().over(&raw);
        assert_eq!(Options::resolve(&query, "", defaults()).unwrap().raw, Raw::Original);
    }
}
