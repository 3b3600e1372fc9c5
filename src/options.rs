//! What a request wants done with a picture: the query parameters, checked, resolved and brought into the one
//! canonical spelling that the renderer is asked with and that the cache key is made of.

use std::fmt::{self, Write};

use crate::accept;
use crate::config::Handler;
use crate::format::Format;
use crate::key::decode_query;

/// The default of `q`.
pub const DEFAULT_QUALITY: u8 = 75;

/// What a request wants. Two requests with equal options get the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `w`, `h`, `c`, `g` and `dpr`, resolved.
    pub size: Size,
    /// The format to write; `None` keeps the original's.
    pub format: Option<Format>,
    /// `q`
    pub quality: u8,
    /// `e`
    pub enlarge: bool,
    /// `bg`
    pub background: [u8; 3],
}

/// The box to bring the picture into, in pixels of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// As it is.
    Original,
    /// This wide; the height follows.
    Width(u32),
    /// This high; the width follows.
    Height(u32),
    /// Whole, inside the box.
    Fit(u32, u32),
    /// The box filled, the rest cropped.
    Fill(u32, u32, Gravity),
}

/// Which part of a picture a crop keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gravity {
    /// The window stands at these fractions of the free space, in ten-thousandths: 0 is left or top,
    /// 5000 the centre, 10000 right or bottom.
    At(u16, u16),
    /// `fp:x:y`: the window is centred on this point of the picture, in ten-thousandths.
    Focus(u16, u16),
    /// `smart`: where libvips finds attention.
    Smart,
}

const WHOLE: u16 = 10_000;
const HALF: u16 = WHOLE / 2;
const CENTRE: Gravity = Gravity::At(HALF, HALF);

/// The words of `g` besides `fp:x:y`.
const GRAVITIES: [(&str, Gravity); 10] = [
    ("ce", CENTRE),
    ("n", Gravity::At(HALF, 0)),
    ("s", Gravity::At(HALF, WHOLE)),
    ("e", Gravity::At(WHOLE, HALF)),
    ("w", Gravity::At(0, HALF)),
    ("ne", Gravity::At(WHOLE, 0)),
    ("nw", Gravity::At(0, 0)),
    ("se", Gravity::At(WHOLE, WHOLE)),
    ("sw", Gravity::At(0, WHOLE)),
    ("smart", Gravity::Smart),
];

/// What is wrong with a query; the sentence is for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadQuery(pub String);

impl fmt::Display for BadQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The parameters that we know, as they stand in the query. Unknown ones are not kept.
#[derive(Clone, Debug, Default)]
pub struct Query {
    values: [Option<String>; NAMES.len()],
}

const NAMES: [&str; 12] = ["w", "h", "c", "f", "t", "exp", "q", "dpr", "g", "e", "bg", "p"];

/// Those of them that say something about the picture, which is what a preset may hold.
const ABOUT_THE_PICTURE: [&str; 9] = ["w", "h", "c", "f", "q", "dpr", "g", "e", "bg"];

impl Query {
    /// Reads a query string. A known parameter given twice or with a malformed escape is an error.
    pub fn parse(query: &str) -> Result<Query, BadQuery> {
        let mut parsed = Query::default();
        for pair in query.split('&') {
            parsed.take(pair)?;
        }
        Ok(parsed)
    }

    /// Reads a preset, in which a parameter that is unknown or not about the picture is an error as well.
    pub fn parse_preset(written: &str) -> Result<Query, BadQuery> {
        let mut parsed = Query::default();
        for pair in written.split('&').filter(|_| !written.is_empty()) {
            match parsed.take(pair)? {
                Some(name) if ABOUT_THE_PICTURE.contains(&name) => {}
                Some(name) => return Err(BadQuery(format!("{name}: can't be in a preset"))),
                None => return Err(BadQuery(format!("{pair:?} is no parameter"))),
            }
        }
        Ok(parsed)
    }

    /// Takes one `name=value`, and says which one it was; an unknown one is none.
    fn take(&mut self, pair: &str) -> Result<Option<&'static str>, BadQuery> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(name) = decode_query(name) else { return Ok(None) };
        let Some(index) = NAMES.iter().position(|known| *known == name) else { return Ok(None) };
        let value = decode_query(value)
            .ok_or_else(|| BadQuery(format!("{name}: its value is not percent-encoded UTF-8")))?;
        if self.values[index].replace(value).is_some() {
            return Err(BadQuery(format!("{name}: given twice")));
        }
        Ok(Some(NAMES[index]))
    }

    fn get(&self, name: &str) -> Option<&str> {
        let index = NAMES.iter().position(|known| *known == name)?;
        self.values[index].as_deref()
    }

    /// The names of the parameters that we know.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.into_iter()
    }

    /// Each known parameter that is there, with its decoded value.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let pairs = NAMES.into_iter().zip(&self.values);
        pairs.filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }

    /// The decoded `t`.
    pub fn token(&self) -> Option<&str> {
        self.get("t")
    }

    /// `exp`: the Unix time at which a signed URL expires. One that is too large to count is as good as the largest.
    pub fn expires(&self) -> Option<Result<u64, BadQuery>> {
        let written = self.get("exp")?;
        let is_number = !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit());
        Some(match is_number {
            true => Ok(written.parse().unwrap_or(u64::MAX)),
            false => Err(bad("exp", "must be a whole number of seconds since 1970", written)),
        })
    }

    /// The decoded `p`.
    pub fn preset(&self) -> Option<&str> {
        self.get("p")
    }

    /// The first parameter about the picture that is given.
    pub fn first_about_the_picture(&self) -> Option<&'static str> {
        ABOUT_THE_PICTURE.into_iter().find(|name| self.get(name).is_some())
    }

    /// Whether one of these is given.
    pub fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.get(name).is_some())
    }

    /// `w` and `h` as they are written, 0 for one that is not given, in a query that [`Options::resolve`] accepts.
    pub fn sides(&self) -> [u32; 2] {
        ["w", "h"].map(|name| self.get(name).and_then(digits).unwrap_or_default())
    }

    /// `dpr` as it is written, in a query that [`Options::resolve`] accepts.
    pub fn ratio(&self) -> Option<f64> {
        self.get("dpr").and_then(decimal)
    }

    /// This query, with a preset for what it does not say itself.
    pub fn over(&self, preset: &Query) -> Query {
        let mut values = preset.values.clone();
        for (value, own) in values.iter_mut().zip(&self.values).filter(|(_, own)| own.is_some()) {
            value.clone_from(own);
        }
        Query { values }
    }

    /// Whether the answer depends on `Accept`.
    pub fn varies(&self) -> bool {
        self.get("f") == Some("auto")
    }
}

impl Options {
    /// Checks the parameters and resolves them with the handler's defaults and limits.
    pub fn resolve(query: &Query, accept_header: &str, handler: &Handler) -> Result<Options, BadQuery> {
        query.expires().transpose()?;
        let ratio = match query.get("dpr") {
            None => 1.0,
            Some(written) => decimal(written)
                .filter(|ratio| (0.1..=8.0).contains(ratio))
                .ok_or_else(|| bad("dpr", "must be a number from 0.1 to 8", written))?,
        };
        let most = handler.max_dimension;
        let side = |name| -> Result<Option<u32>, BadQuery> {
            let Some(written) = query.get(name) else { return Ok(None) };
            let pixels = digits(written)
                .filter(|pixels| *pixels > 0)
                .ok_or_else(|| bad(name, "must be a whole number of pixels above 0", written))?;
            let scaled = (f64::from(pixels) * ratio).round().clamp(1.0, f64::from(most));
            Ok(Some(scaled as u32))
        };
        let (width, height) = (side("w")?, side("h")?);
        let crop = boolean(query, "c", true)?;
        let gravity = match query.get("g") {
            None => CENTRE,
            Some(written) => parse_gravity(written).ok_or_else(|| {
                bad(
                    "g",
                    "must be ce, n, s, e, w, ne, nw, se, sw, smart or fp:x:y with x and y from 0 to 1",
                    written,
                )
            })?,
        };
        let size = match (width, height) {
            (None, None) => Size::Original,
            (Some(width), None) => Size::Width(width),
            (None, Some(height)) => Size::Height(height),
            (Some(width), Some(height)) if crop => Size::Fill(width, height, gravity),
            (Some(width), Some(height)) => Size::Fit(width, height),
        };
        let format = match query.get("f") {
            None => handler.output_format,
            Some("auto") => accept::choose(accept_header, handler.output_format),
            Some(written) => Some(
                Format::parse(written)
                    .ok_or_else(|| bad("f", "must be jpg, jpeg, png, webp, avif, gif or auto", written))?,
            ),
        };
        let quality = match query.get("q") {
            None => DEFAULT_QUALITY,
            Some(written) => digits(written)
                .and_then(|quality| u8::try_from(quality).ok())
                .filter(|quality| (1..=100).contains(quality))
                .ok_or_else(|| bad("q", "must be a whole number from 1 to 100", written))?,
        };
        let enlarge = boolean(query, "e", false)?;
        let background = match query.get("bg") {
            None => [0xff; 3],
            Some(written) => parse_colour(written)
                .ok_or_else(|| bad("bg", "must be six hexadecimal digits, rrggbb", written))?,
        };
        Ok(Options { size, format, quality, enlarge, background }.normal())
    }

    /// Drops what can't change the bytes, so that it makes no second cache entry.
    fn normal(mut self) -> Options {
        if self.size == Size::Original {
            self.enlarge = false;
        }
        if let Some(format) = self.format {
            if !format.has_quality() {
                self.quality = DEFAULT_QUALITY;
            }
            if format.keeps_transparency() {
                self.background = [0xff; 3];
            }
        }
        self
    }

    /// The canonical query; resolving it gives the same options again.
    pub fn canonical(&self) -> String {
        let mut query = String::with_capacity(48);
        // Writing to a String can't fail.
        let mut put = |name: &str, value: fmt::Arguments| {
            let separator = if query.is_empty() { "" } else { "&" };
            let _ = write!(query, "{separator}{name}={value}");
        };
        match self.size {
            Size::Original => {}
            Size::Width(width) => put("w", format_args!("{width}")),
            Size::Height(height) => put("h", format_args!("{height}")),
            Size::Fit(width, height) => {
                put("w", format_args!("{width}"));
                put("h", format_args!("{height}"));
                put("c", format_args!("false"));
            }
            Size::Fill(width, height, gravity) => {
                put("w", format_args!("{width}"));
                put("h", format_args!("{height}"));
                match gravity {
                    CENTRE => {}
                    Gravity::Focus(x, y) => {
                        put("g", format_args!("fp:{}:{}", f64::from(x) / 1e4, f64::from(y) / 1e4));
                    }
                    named => {
                        let word =
                            GRAVITIES.iter().find(|(_, known)| *known == named).map_or("ce", |pair| pair.0);
                        put("g", format_args!("{word}"));
                    }
                }
            }
        }
        if let Some(format) = self.format {
            put("f", format_args!("{}", format.name()));
        }
        if self.quality != DEFAULT_QUALITY {
            put("q", format_args!("{}", self.quality));
        }
        if self.enlarge {
            put("e", format_args!("true"));
        }
        if self.background != [0xff; 3] {
            let [red, green, blue] = self.background;
            put("bg", format_args!("{red:02x}{green:02x}{blue:02x}"));
        }
        query
    }
}

fn bad(name: &str, rule: &str, written: &str) -> BadQuery {
    let shown: String = written.chars().take(32).collect();
    BadQuery(format!("{name}: {rule}, not {shown:?}"))
}

/// Decimal digits only; a number too large for `u32` is as good as the largest, since sizes are clamped.
fn digits(written: &str) -> Option<u32> {
    if written.is_empty() || !written.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(written.parse().unwrap_or(u32::MAX))
}

/// A plain decimal fraction: no sign, no exponent, no `inf`.
fn decimal(written: &str) -> Option<f64> {
    let plain = written.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain { written.parse().ok() } else { None }
}

fn boolean(query: &Query, name: &str, default: bool) -> Result<bool, BadQuery> {
    match query.get(name) {
        None => Ok(default),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(bad(name, "must be true or false", other)),
    }
}

fn parse_gravity(written: &str) -> Option<Gravity> {
    if let Some((_, gravity)) = GRAVITIES.iter().find(|(word, _)| *word == written) {
        return Some(*gravity);
    }
    let (x, y) = written.strip_prefix("fp:")?.split_once(':')?;
    let fraction = |written| {
        let value = decimal(written).filter(|value| (0.0..=1.0).contains(value))?;
        Some((value * f64::from(WHOLE)).round() as u16)
    };
    Some(Gravity::Focus(fraction(x)?, fraction(y)?))
}

fn parse_colour(written: &str) -> Option<[u8; 3]> {
    if written.len() != 6 || !written.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(written, 16).ok()?;
    let [_, red, green, blue] = number.to_be_bytes();
    Some([red, green, blue])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn handler(output_format: &str) -> Handler {
        let folder = env!("CARGO_MANIFEST_DIR");
        let text = format!(
            r#"{{"handlers": [{{"name": "h", "directory": "{folder}", "output_format": "{output_format}"}}]}}"#
        );
        config::parse(&text, "test").unwrap().handlers.remove(0)
    }

    fn canonical(query: &str) -> Result<String, String> {
        let resolve = |query: &str| {
            Query::parse(query)
                .and_then(|query| Options::resolve(&query, "", &handler("jpg")))
                .map_err(|e| e.0)
        };
        let options = resolve(query)?;
        let canonical = options.canonical();
        assert_eq!(resolve(&canonical), Ok(options), "{canonical} must mean the same as {query}");
        Ok(canonical)
    }

    #[test]
    fn the_canonical_query_holds_what_changes_the_bytes_and_nothing_else() {
        for (query, expected) in [
            ("", "f=jpg"),
            ("w=300&h=200&c=true&f=webp", "w=300&h=200&f=webp"),
            ("h=200&w=300", "w=300&h=200&f=jpg"),
            ("w=300&h=200&c=false", "w=300&h=200&c=false&f=jpg"),
            ("w=300&c=false", "w=300&f=jpg"),
            ("h=7", "h=7&f=jpg"),
            ("w=99999999999999999999", "w=3064&f=jpg"),
            ("w=100&dpr=2", "w=200&f=jpg"),
            ("w=1000&dpr=8", "w=3064&f=jpg"),
            ("w=1&dpr=0.1", "w=1&f=jpg"),
            ("dpr=2", "f=jpg"),
            ("w=1&utm_source=x&t=secret", "w=1&f=jpg"),
            ("w=1&exp=99999999999999999999999", "w=1&f=jpg"),
            ("w=%33%30", "w=30&f=jpg"),
            ("q=75", "f=jpg"),
            ("q=9", "f=jpg&q=9"),
            ("f=png&q=9&bg=000000", "f=png"),
            ("f=jpeg&bg=00FF7f", "f=jpg&bg=00ff7f"),
            ("e=true", "f=jpg"),
            ("e=true&w=9", "w=9&f=jpg&e=true"),
            ("w=1&h=1&g=ce", "w=1&h=1&f=jpg"),
            ("w=1&h=1&g=nw", "w=1&h=1&g=nw&f=jpg"),
            ("w=1&h=1&g=smart", "w=1&h=1&g=smart&f=jpg"),
            ("w=1&h=1&g=fp:0.33333:1", "w=1&h=1&g=fp:0.3333:1&f=jpg"),
            ("w=1&h=1&c=false&g=nw", "w=1&h=1&c=false&f=jpg"),
            ("f=auto", "f=jpg"),
        ] {
            assert_eq!(canonical(query).as_deref(), Ok(expected), "{query}");
        }
    }

    #[test]
    fn every_gravity_survives() {
        for (word, _) in GRAVITIES {
            canonical(&format!("w=2&h=3&g={word}")).unwrap();
        }
    }

    #[test]
    fn what_is_malformed_out_of_range_or_given_twice_is_refused_with_a_sentence() {
        for query in [
            "w=",
            "w",
            "w=0",
            "w=-1",
            "w=1.5",
            "w=a",
            "w=%2B1",
            "h=0x10",
            "w=1&w=1",
            "w=1&%77=2",
            "w=%zz",
            "w=%ff",
            "c=1",
            "c=",
            "c=TRUE",
            "f=svg",
            "f=",
            "f=JPG",
            "q=0",
            "q=101",
            "q=-1",
            "q=1e1",
            "dpr=0",
            "dpr=0.09",
            "dpr=8.1",
            "dpr=inf",
            "dpr=nan",
            "dpr=1e0",
            "dpr=",
            "g=x",
            "g=",
            "g=fp:1",
            "g=fp:2:0",
            "g=fp:-1:0",
            "g=fp:a:b",
            "g=fp:0:0:0",
            "e=yes",
            "bg=fff",
            "bg=%23ffffff",
            "bg=gggggg",
            "t=1&t=2",
            "exp=",
            "exp=-1",
            "exp=1.5",
            "exp=%2B1",
            "exp=1&exp=1",
        ] {
            let sentence = canonical(query).expect_err(query);
            let name = decode_query(query.split(['=', '&']).next().unwrap()).unwrap();
            assert!(sentence.starts_with(&format!("{name}: ")), "{query}: {sentence}");
        }
    }

    #[test]
    fn a_handler_without_output_format_keeps_the_originals() {
        let options = Options::resolve(&Query::parse("bg=000000&q=3").unwrap(), "", &handler("")).unwrap();
        assert_eq!(options.canonical(), "q=3&bg=000000");
    }

    #[test]
    fn a_preset_fills_in_what_a_query_does_not_say() {
        let preset = Query::parse_preset("w=160&h=120&c=true&f=auto&bg=00%30000").unwrap();
        for (query, expected) in [
            ("p=thumb", "w=160&h=120&f=jpg&bg=000000"),
            ("p=thumb&h=90&f=png&t=1&unknown=2", "w=160&h=90&f=png"),
            ("c=false&bg=ffffff&q=9&f=jpg", "w=160&h=120&c=false&f=jpg&q=9"),
        ] {
            let query = Query::parse(query).unwrap();
            let whole = query.over(&preset);
            assert_eq!((whole.token(), whole.preset()), (query.token(), query.preset()));
            assert_eq!(whole.varies(), query.get("f").is_none());
            let options = Options::resolve(&whole, "", &handler("jpg")).unwrap();
            assert_eq!(options.canonical(), expected);
        }
        assert_eq!(canonical("p=thumb&w=1").as_deref(), Ok("w=1&f=jpg"), "no preset is left in it");
    }

    #[test]
    fn a_preset_holds_what_is_about_the_picture_and_nothing_else() {
        for (written, sentence) in [
            ("p=x", "p: can't be in a preset"),
            ("w=1&t=secret", "t: can't be in a preset"),
            ("w=1&utm=2", "\"utm=2\" is no parameter"),
            ("W=1", "\"W=1\" is no parameter"),
            ("?w=1", "\"?w=1\" is no parameter"),
            ("w=1&", "\"\" is no parameter"),
            ("&", "\"\" is no parameter"),
            ("%zz=1", "\"%zz=1\" is no parameter"),
            ("w=1&w=2", "w: given twice"),
            ("bg=%ff", "bg: its value is not percent-encoded UTF-8"),
        ] {
            assert_eq!(Query::parse_preset(written).unwrap_err().0, sentence, "{written}");
        }
        for name in ABOUT_THE_PICTURE {
            let preset = Query::parse_preset(&format!("{name}=1")).unwrap();
            assert_eq!(preset.first_about_the_picture(), Some(name));
        }
        assert_eq!(Query::parse_preset("").unwrap().first_about_the_picture(), None);
        assert_eq!(Query::parse("p=a&t=b&unknown=c").unwrap().first_about_the_picture(), None);
    }

    #[test]
    fn sides_are_those_of_the_query_and_not_of_the_result() {
        for (query, sides, ratio) in [
            ("", [0, 0], None),
            ("w=300&h=200&dpr=1.5", [300, 200], Some(1.5)),
            ("w=0300", [300, 0], None),
            ("h=99999999999", [0, u32::MAX], None),
        ] {
            let query = Query::parse(query).unwrap();
            assert_eq!((query.sides(), query.ratio()), (sides, ratio));
        }
    }

    #[test]
    fn auto_follows_accept() {
        let query = Query::parse("f=auto").unwrap();
        assert!(query.varies());
        let options = Options::resolve(&query, "image/webp", &handler("jpg")).unwrap();
        assert_eq!(options.format, Some(Format::Webp));
    }
}
