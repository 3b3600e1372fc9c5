//! The format to write: one, or with `f=auto` the first that can hold the result.

use std::fmt::{self, Display};

use super::Description;
use crate::accept::Accepted;
use crate::format::Format;

/// The format that the options ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// That of the original.
    Original,
    Format(Format),
    /// `f=auto`: depends on the original and on the size of the result.
    Auto(Accepted),
    /// A description of what would be in this format; `None`: that of the original.
    Description(Description, Option<Format>),
}

/// What a result can lose in a format that does not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// It has several frames.
    pub animation: bool,
    /// The original has transparency, or the options add some.
    pub transparency: bool,
}

impl Output {
    /// Whether any format that may be written has a capability.
    pub(super) fn may(self, can: impl Copy + Fn(Format) -> bool) -> bool {
        match self {
            Output::Original => true,
            Output::Format(format) => can(format),
            Output::Description(_, format) => format.is_none_or(can),
            Output::Auto(accepted) => {
                let formats = accepted.formats();
                let gif = accepted.accepts_gif() && can(Format::Gif);
                gif || formats.iter().any(|format| format.is_none_or(can))
                    || (!formats.iter().flatten().any(|format| is_last_resort(*format))
                        && (can(Format::Jpeg) || can(Format::Png)))
            }
        }
    }

    /// Whether transparency may be flattened onto the background.
    pub(super) fn may_flatten(self) -> bool {
        match self {
            Output::Original => true,
            Output::Format(format) => !format.keeps_transparency(),
            // BlurHash has no transparency.
            Output::Description(description, _) => description != Description::ThumbHash,
            Output::Auto(accepted) => {
                let flattens = |format: &Format| !format.keeps_transparency();
                accepted.formats().iter().any(|format| format.as_ref().is_none_or(flattens))
            }
        }
    }

    /// The same where no drawing is made lossless, so that it does not matter whether PNG is accepted for them.
    pub(super) fn without_drawings(self) -> Output {
        match self {
            Output::Auto(accepted) => Output::Auto(accepted.with_png()),
            other => other,
        }
    }

    /// See [`super::Options::lossless_format`].
    pub(super) fn lossless_format(self, original: Format) -> Option<Format> {
        let Output::Auto(accepted) = self else { return None };
        let own = original.output(false);
        let has = |format: Format| {
            accepted.formats().iter().any(|accepted| accepted.unwrap_or(own) == format)
        };
        if has(Format::Webp) {
            Some(Format::Webp)
        } else {
            (has(Format::Png) || accepted.accepts_png()).then_some(Format::Png)
        }
    }

    /// See [`super::Options::formats`].
    pub(super) fn formats(self, original: Format, lossless: bool, needs: Needs) -> Vec<Format> {
        let own = original.output(lossless);
        let accepted = match self {
            Output::Original => return vec![own],
            Output::Format(format) => return vec![format],
            Output::Description(_, format) => return vec![format.unwrap_or(own)],
            Output::Auto(accepted) => accepted,
        };
        let mut formats = Vec::new();
        let mut add = |format: Format| {
            if !formats.contains(&format) && (format.can_be_lossless() || !lossless) {
                formats.push(format);
            }
        };
        for format in accepted.formats() {
            add(format.unwrap_or(own));
        }
        if needs.animation && accepted.accepts_gif() {
            add(Format::Gif);
        }
        let stops = |format: &Format| needs.animation && !format.keeps_animation();
        let flattens = |format: &Format| needs.transparency && !format.keeps_transparency();
        formats.sort_by_key(|format| (stops(format), flattens(format)));
        // JPEG and PNG hold the largest images, and every client shows them. If only a format without transparency is
        // accepted, it is the operator's choice to flatten.
        let kept = formats.iter().position(flattens).unwrap_or(formats.len());
        let is_complete = formats.iter().take(kept).any(|format| is_last_resort(*format));
        if !is_complete && (kept > 0 || formats.is_empty()) {
            let is_photo = !needs.transparency && !lossless;
            formats.insert(kept, if is_photo { Format::Jpeg } else { Format::Png });
        }
        formats
    }
}

/// As in the canonical query.
impl Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Original => Ok(()),
            Output::Format(format) => f.write_str(format.name()),
            Output::Auto(accepted) => accepted.fmt(f),
            Output::Description(description, format) => {
                f.write_str(&description.canonical(*format))
            }
        }
    }
}

fn is_last_resort(format: Format) -> bool {
    matches!(format, Format::Jpeg | Format::Png)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Defaults, Options, Query};

    /// The names of the formats for a query.
    fn formats(
        query: &str,
        accept: &str,
        default: Option<Format>,
        original: Format,
        needs: &str,
    ) -> String {
        let defaults = Defaults::for_tests(default);
        let options = Options::resolve(&Query::parse(query).unwrap(), accept, defaults).unwrap();
        let needs = Needs { animation: needs.contains('n'), transparency: needs.contains('t') };
        let names = options.formats(original, needs).into_iter().map(Format::name);
        names.collect::<Vec<_>>().join(" ")
    }

    const MODERN: &str = "image/avif,image/webp,*/*;q=0.8";

    #[test]
    fn without_auto_there_is_one_format() {
        for needs in ["", "n", "t"] {
            assert_eq!(formats("f=avif", MODERN, None, Format::Gif, needs), "avif");
            assert_eq!(formats("", MODERN, None, Format::Gif, needs), "gif");
            assert_eq!(formats("", MODERN, Some(Format::Jpeg), Format::Gif, needs), "jpg");
            assert_eq!(formats("lossless=true", MODERN, None, Format::Gif, needs), "png");
        }
    }

    #[test]
    fn auto_keeps_animation_and_then_transparency() {
        let jpeg = Some(Format::Jpeg);
        for (accept, default, original, needs, expected) in [
            (MODERN, jpeg, Format::Png, "", "avif webp jpg"),
            (MODERN, jpeg, Format::Gif, "n", "avif webp gif jpg"),
            (MODERN, jpeg, Format::Gif, "nt", "avif webp gif png jpg"),
            (MODERN, None, Format::Gif, "n", "avif webp gif jpg"),
            (MODERN, None, Format::Gif, "nt", "avif webp gif png"),
            ("image/webp;q=0.1,image/avif,*/*;q=0.9", jpeg, Format::Gif, "n", "avif webp gif jpg"),
            ("image/avif,image/jpeg", jpeg, Format::Gif, "n", "avif jpg"),
            ("image/avif,image/gif", jpeg, Format::Gif, "n", "avif gif jpg"),
            ("*/*", jpeg, Format::Gif, "n", "gif jpg"),
            ("*/*", jpeg, Format::Webp, "n", "gif jpg"),
            ("*/*", None, Format::Webp, "n", "webp gif jpg"),
            ("", jpeg, Format::Gif, "", "jpg"),
            // The default format is the operator's choice.
            ("*/*", jpeg, Format::Png, "t", "jpg"),
            ("image/webp;q=0.5,*/*", jpeg, Format::Png, "t", "webp png jpg"),
            ("image/webp;q=0.5,*/*", jpeg, Format::Png, "", "jpg webp"),
            ("image/webp,*/*", None, Format::Avif, "t", "webp avif png"),
        ] {
            let got = formats("f=auto", accept, default, original, needs);
            assert_eq!(got, expected, "{accept} over {default:?} of {original:?}, {needs}");
        }
    }

    #[test]
    fn auto_has_a_last_resort_for_large_results() {
        for (query, default, needs, expected) in [
            ("f=auto", Some(Format::Webp), "", "webp jpg"),
            ("f=auto", Some(Format::Webp), "t", "webp png"),
            ("f=auto&lossless=true", Some(Format::Webp), "", "webp png"),
            ("f=auto", Some(Format::Gif), "n", "gif jpg"),
            ("f=auto", Some(Format::Png), "", "png"),
        ] {
            assert_eq!(formats(query, "*/*", default, Format::Webp, needs), expected, "{query}");
        }
    }

    #[test]
    fn auto_and_lossless_select_among_formats_that_can_be() {
        let query = "f=auto&lossless=true";
        assert_eq!(formats(query, MODERN, None, Format::Gif, "n"), "avif webp png");
        assert_eq!(formats(query, "*/*", Some(Format::Gif), Format::Gif, "n"), "png");
        assert_eq!(formats(query, "image/jpeg", Some(Format::Jpeg), Format::Jpeg, ""), "png");
    }
}
