//! `wm`: the watermarks of a handler, and those that a request asks for.

use std::fmt::{self, Display, Write};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::BadQuery;
use crate::format::Format;

/// The most watermarks on one image.
pub const MAX_WATERMARKS: usize = 4;
/// In bytes.
const MAX_NAME: usize = 32;
/// Bytes of the hash in the canonical query.
const DIGEST: usize = 8;
/// The value of `wm` for no watermark.
const NONE: &str = "none";

/// A watermark: an image, and where and how it is drawn.
#[derive(Clone)]
pub struct Watermark {
    pub name: String,
    /// The bytes of its file.
    pub image: Arc<[u8]>,
    pub format: Format,
    pub placement: Placement,
    /// A hash over the image and the placement, in hexadecimal digits: part of the cache key.
    digest: String,
}

/// Where and how a watermark is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub position: Position,
    /// Horizontally and vertically, from the position.
    pub offset: [Length; 2],
    /// The largest part of the width and of the height of the result that it takes, in ten-thousandths; `None`: its own
    /// size.
    pub size: Option<u16>,
    /// From 1 to 255.
    pub opacity: u8,
    /// The distance between copies, horizontally and vertically; `None` draws one.
    pub tile: Option<[Length; 2]>,
}

/// A place as fractions of the free space, in ten-thousandths: 0 is left or top, 5000 the centre, 10000 right or bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(pub u16, pub u16);

/// A length along a side of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Pixels(i32),
    /// A part of the side, in ten-thousandths.
    Part(i32),
}

/// The watermarks of a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerWatermarks {
    /// In the order of the configuration.
    pub all: Vec<Arc<Watermark>>,
    /// Whether every image has all of them.
    pub always: bool,
}

/// Those of a handler without any.
pub static NO_WATERMARKS: HandlerWatermarks = HandlerWatermarks { all: Vec::new(), always: false };

impl Watermark {
    pub fn new(name: String, image: Arc<[u8]>, format: Format, placement: Placement) -> Watermark {
        let mut hash = Sha256::new();
        hash.update(placement.to_bytes());
        hash.update(&image);
        let mut digest = String::with_capacity(2 * DIGEST);
        for byte in hash.finalize().iter().take(DIGEST) {
            // Writing to a String can't fail.
            let _ = write!(digest, "{byte:02x}");
        }
        Watermark { name, image, format, placement, digest }
    }

    /// See [`Watermark`].
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl Placement {
    /// Bytes that are equal for equal placements only.
    fn to_bytes(&self) -> Vec<u8> {
        let Placement { position: Position(x, y), offset, size, opacity, tile } = self;
        let mut bytes = Vec::new();
        let lengths = offset.iter().chain(tile.iter().flatten());
        bytes.extend([*opacity, u8::from(tile.is_some())]);
        for number in [*x, *y, size.unwrap_or(0)] {
            bytes.extend(number.to_be_bytes());
        }
        for length in lengths {
            let (kind, number) = match length {
                Length::Pixels(pixels) => (0, pixels),
                Length::Part(part) => (1, part),
            };
            bytes.push(kind);
            bytes.extend(number.to_be_bytes());
        }
        bytes
    }
}

impl PartialEq for Watermark {
    fn eq(&self, other: &Watermark) -> bool {
        self.name == other.name && self.digest == other.digest
    }
}

impl Eq for Watermark {}

impl fmt::Debug for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watermark({self})")
    }
}

/// As in the canonical query: `logo:0123456789abcdef`. No client may send the hash.
impl Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.digest)
    }
}

impl HandlerWatermarks {
    /// The watermarks for a value of `wm`: `None` if the query has none, and no names for `wm=none`.
    pub(super) fn select(&self, names: Option<&[String]>) -> Result<Vec<Arc<Watermark>>, BadQuery> {
        if self.always && names.is_some_and(<[String]>::is_empty) {
            let sentence = "wm: can't be none here: every image has its watermark";
            return Err(BadQuery(sentence.to_owned()));
        }
        let find = |name: &String| {
            let found = self.all.iter().find(|known| known.name == *name);
            found
                .cloned()
                .ok_or_else(|| BadQuery(format!("wm: there is no watermark {name:?} here")))
        };
        let selected = names.unwrap_or_default().iter().map(find).collect::<Result<_, _>>()?;
        Ok(if self.always { self.all.clone() } else { selected })
    }

    /// The watermarks of a canonical query. Fails unless this handler has exactly these.
    pub(super) fn find_canonical(
        &self,
        written: Option<&str>,
    ) -> Result<Vec<Arc<Watermark>>, BadQuery> {
        let Some(written) = written else { return Ok(Vec::new()) };
        let find = |text: &str| {
            let (name, digest) = text.split_once(':')?;
            let mut all = self.all.iter();
            all.find(|known| known.name == name && known.digest == digest).cloned()
        };
        let found: Option<Vec<_>> = written.split(',').map(find).collect();
        found.ok_or_else(|| BadQuery("wm: not a watermark of this configuration".to_owned()))
    }
}

/// Whether this can be the name of a watermark.
pub fn is_watermark_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    name != NONE && (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// Parses a value of `wm`.
pub(super) fn parse_names(text: &str) -> Option<Option<Vec<String>>> {
    let mut names = Vec::new();
    if text != NONE {
        for name in text.split(',') {
            let is_new = !names.iter().any(|known| known == name);
            if !is_new || !is_watermark_name(name) || names.len() == MAX_WATERMARKS {
                return None;
            }
            names.push(name.to_owned());
        }
    }
    Some(Some(names))
}

/// The rule for values of `wm`.
pub(super) fn rule() -> String {
    format!(
        "must be none, or up to {MAX_WATERMARKS} names of the handler's watermarks, each once, separated by commas"
    )
}

/// Writes a list of watermarks as in the canonical query.
pub(super) struct List<'w>(pub &'w [Arc<Watermark>]);

impl Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, watermark) in self.0.iter().enumerate() {
            let separator = if index > 0 { "," } else { "" };
            write!(f, "{separator}{watermark}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Defaults, Options, Query};

    fn placement() -> Placement {
        Placement {
            position: Position(10_000, 10_000),
            offset: [Length::Pixels(0); 2],
            size: None,
            opacity: 255,
            tile: None,
        }
    }

    fn watermark(name: &str, image: &[u8], placement: Placement) -> Arc<Watermark> {
        Arc::new(Watermark::new(name.to_owned(), image.into(), Format::Png, placement))
    }

    fn known(always: bool) -> HandlerWatermarks {
        let all = vec![watermark("logo", b"1", placement()), watermark("b-2_C", b"2", placement())];
        HandlerWatermarks { all, always }
    }

    /// The part of the canonical query, without hashes.
    fn canonical(query: &str, known: &HandlerWatermarks) -> Result<String, String> {
        let defaults = Defaults { watermarks: known, ..Defaults::for_tests(Some(Format::Jpeg)) };
        let query = Query::parse(query).map_err(|error| error.0)?;
        let options = Options::resolve(&query, "", defaults).map_err(|error| error.0)?;
        let canonical = options.canonical();
        let again = Options::from_canonical(&Query::parse(&canonical).unwrap(), defaults);
        assert_eq!(again.unwrap(), options, "{canonical}");
        assert!(options.are_of(&query, defaults));
        assert!(!known.always || options.watermarks == known.all);
        assert!(options.of_error_image().watermarks.is_empty());
        let mut text = canonical.split_once("wm=").map_or("", |(_, text)| text).to_owned();
        for watermark in &known.all {
            text = text.replace(&format!(":{}", watermark.digest), ":#");
        }
        Ok(text)
    }

    #[test]
    fn the_canonical_query_has_names_with_hashes() {
        let known = known(false);
        for (query, expected) in [
            ("", ""),
            ("wm=none", ""),
            ("wm=logo", "logo:#"),
            ("wm=logo,b-2_C", "logo:#,b-2_C:#"),
            ("wm=b-2_C%2Clogo", "b-2_C:#,logo:#"),
        ] {
            assert_eq!(canonical(query, &known).as_deref(), Ok(expected), "{query}");
        }
    }

    #[test]
    fn hostile_and_unknown_names_are_refused() {
        for always in [false, true] {
            let known = known(always);
            let digest = known.all[0].digest.clone();
            for value in [
                "",
                ",",
                "logo,",
                "logo,logo",
                "none,logo",
                "logo,none",
                "LOGO",
                "Logo",
                "logo ",
                "logo%00",
                "logo.png",
                "../logo",
                "/etc/passwd",
                "http://127.0.0.1/logo.png",
                "x",
                "a,b,c,d,e",
                "logo:",
                "%F0%9F%90%88",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                &format!("logo:{digest}"),
                &format!("logo%3A{digest}"),
            ] {
                let sentence = canonical(&format!("wm={value}"), &known).unwrap_err();
                assert!(sentence.starts_with("wm: "), "{value}: {sentence}");
            }
            let twice = canonical("wm=logo&wm=none", &known).unwrap_err();
            assert_eq!(twice, "wm: given twice");
        }
        assert!(canonical("wm=logo", &NO_WATERMARKS).is_err());
    }

    #[test]
    fn a_list_has_at_most_four_names() {
        let list = |count: usize| ["a", "b", "c", "d", "e"][..count].join(",");
        for count in 1..=MAX_WATERMARKS {
            let names = parse_names(&list(count)).unwrap().unwrap();
            assert_eq!(names.join(","), list(count));
        }
        assert_eq!(parse_names(&list(MAX_WATERMARKS + 1)), None);
        assert_eq!(MAX_WATERMARKS, 4);
    }

    #[test]
    fn always_means_all_of_them_whatever_the_query_says() {
        let known = known(true);
        let all = Ok("logo:#,b-2_C:#");
        for query in ["", "wm=logo", "wm=b-2_C", "wm=b-2_C,logo", "f=auto", "w=1&e=true"] {
            assert_eq!(canonical(query, &known).as_deref(), all, "{query}");
        }
        assert!(canonical("wm=none", &known).unwrap_err().contains("every image"));
    }

    #[test]
    fn a_canonical_query_of_another_configuration_is_refused() {
        let known = known(false);
        let other = watermark("logo", b"other", placement());
        for written in [
            "wm=logo".to_owned(),
            format!("wm={other}"),
            format!("wm={},", known.all[0]),
            "wm=".to_owned(),
            "wm=none".to_owned(),
        ] {
            let defaults = Defaults { watermarks: &known, ..Defaults::for_tests(None) };
            let query = Query::parse(&written).unwrap();
            assert!(Options::from_canonical(&query, defaults).is_err(), "{written}");
        }
    }

    #[test]
    fn the_hash_changes_with_the_file_and_with_each_field() {
        let one = placement();
        let pixels = [Length::Pixels(1), Length::Pixels(0)];
        let part = [Length::Part(1), Length::Pixels(0)];
        let others = [
            Placement { position: Position(0, 10_000), ..one.clone() },
            Placement { position: Position(10_000, 0), ..one.clone() },
            Placement { offset: pixels, ..one.clone() },
            Placement { offset: part, ..one.clone() },
            Placement { offset: [Length::Pixels(0), Length::Pixels(1)], ..one.clone() },
            Placement { size: Some(1), ..one.clone() },
            Placement { opacity: 1, ..one.clone() },
            Placement { tile: Some([Length::Pixels(0); 2]), ..one.clone() },
            Placement { tile: Some(pixels), ..one.clone() },
            Placement { tile: Some(part), ..one.clone() },
            one,
        ];
        let mut digests: Vec<String> =
            others.into_iter().map(|other| watermark("a", b"x", other).digest.clone()).collect();
        digests.push(watermark("a", b"y", placement()).digest.clone());
        let count = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), count);
        assert!(digests.iter().all(|digest| digest.len() == 16));
    }
}
