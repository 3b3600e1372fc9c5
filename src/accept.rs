//! `f=auto`: the formats that a client accepts, by its `Accept` header (RFC 9110 §12.5.1).

use std::fmt::{self, Display};

use crate::format::Format;

/// Most formats of an [`Accepted`]: all, and that of the original.
const MAX_FORMATS: usize = Format::ALL.len() + 1;
/// Start of the canonical text.
const PREFIX: &str = "auto:";
/// The original's format in the canonical text.
const ORIGINAL: &str = "original";
/// In the canonical text if animations must not be GIFs.
const NO_GIF: &str = "-gif";
/// The end of the canonical text if drawings must not be PNGs.
const NO_PNG: &str = "-png";

/// The formats that `f=auto` may choose beside the default format, if a client accepts them: the handler's `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidates([Option<Format>; Format::ALL.len()]);

impl Candidates {
    /// The formats of a list, the best one first. Those that `f=auto` never chooses are left out.
    pub fn new(list: impl IntoIterator<Item = Format>) -> Candidates {
        let mut formats = [None; Format::ALL.len()];
        let list = list.into_iter().filter(|format| format.is_negotiated());
        for (slot, format) in formats.iter_mut().zip(list) {
            *slot = Some(format);
        }
        Candidates(formats)
    }

    fn iter(self) -> impl Iterator<Item = Format> {
        self.0.into_iter().flatten()
    }
}

impl Default for Candidates {
    fn default() -> Candidates {
        let usual = Format::ALL.iter().rev().copied();
        Candidates::new(usual.filter(|format| format.is_usually_negotiated()))
    }
}

/// Everything that `Accept` decides: which of the candidates and the default format a client accepts, in which order,
/// and whether it shows GIFs and PNGs.
///
/// It is part of the cache key in place of the header: all headers together make at most 28 values for a handler
/// without `auto`, and those of browsers three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The best one first, `None` for the format of the original. `None` after the first `count`.
    formats: [Option<Format>; MAX_FORMATS],
    /// Never 0.
    count: usize,
    /// Whether an animation may be a GIF, if no other format holds it.
    gif: bool,
    /// Whether a drawing may be a PNG, if none of the formats is lossless for it.
    png: bool,
}

impl Accepted {
    /// Reads a header; an empty one is a client without preferences.
    ///
    /// Candidates must be named: browsers that can't show them send `*/*` as well. A wildcard counts for the default
    /// format, for GIF and for PNG. Formats are sorted by weight, and on a tie in the order of the candidates, which are
    /// before the default; `q=0` rules a format out. The default is always the last resort: if nothing is acceptable,
    /// §12.5.1 allows to disregard the header. `default` is `None` for a handler that keeps the original's format.
    pub fn negotiate(header: &str, default: Option<Format>, candidates: Candidates) -> Accepted {
        let weights = Weights::parse(header);
        let mut accepted =
            Accepted { formats: [None; MAX_FORMATS], count: 0, gif: false, png: false };
        let mut sorted = [0; MAX_FORMATS];
        for format in candidates.iter() {
            let weight = weights.named(format).unwrap_or(0);
            if weight > 0 {
                accepted.insert(Some(format), weight, &mut sorted);
            }
        }
        let default_weight = match default {
            Some(format) => weights.of(format),
            None => weights.wildcard,
        };
        if !accepted.formats().contains(&default) {
            accepted.insert(default, default_weight.unwrap_or(0), &mut sorted);
        }
        let gif = weights.of(Format::Gif).unwrap_or(0) > 0;
        let is_nothing_accepted = !gif && sorted[0] == 0;
        accepted.gif = gif || is_nothing_accepted || default == Some(Format::Gif);
        let png = weights.of(Format::Png).unwrap_or(0) > 0;
        accepted.png = png || is_nothing_accepted || accepted.has_lossless();
        accepted
    }

    pub fn with_png(self) -> Accepted {
        Accepted { png: true, ..self }
    }

    /// Whether one of the formats is written without loss for a drawing, so that PNG is not needed.
    fn has_lossless(&self) -> bool {
        let is_lossless =
            |format: &Option<Format>| matches!(format, Some(Format::Webp | Format::Png));
        self.formats().iter().any(is_lossless)
    }

    /// Inserts a format before those with a smaller weight. `weights` are those of the formats.
    fn insert(&mut self, format: Option<Format>, weight: u16, weights: &mut [u16; MAX_FORMATS]) {
        let at = weights[..self.count].partition_point(|other| *other >= weight);
        self.formats[at..=self.count].rotate_right(1);
        weights[at..=self.count].rotate_right(1);
        self.formats[at] = format;
        weights[at] = weight;
        self.count += 1;
    }

    /// Parses the canonical text, which no client sends.
    pub fn parse(text: &str) -> Option<Accepted> {
        let list = text.strip_prefix(PREFIX)?;
        let mut accepted =
            Accepted { formats: [None; MAX_FORMATS], count: 0, gif: true, png: true };
        let mut names = list.split(':').peekable();
        while let Some(name) = names.next() {
            let format = match name {
                NO_GIF if accepted.gif && accepted.png && accepted.count > 0 => {
                    accepted.gif = false;
                    continue;
                }
                NO_PNG if names.peek().is_none() && accepted.count > 0 => {
                    accepted.png = false;
                    break;
                }
                _ if !accepted.gif => return None,
                ORIGINAL => None,
                name => Some(Format::parse(name).filter(|format| format.is_written())?),
            };
            if accepted.formats().contains(&format) {
                return None;
            }
            *accepted.formats.get_mut(accepted.count)? = format;
            accepted.count += 1;
        }
        accepted.gif |= accepted.formats().contains(&Some(Format::Gif));
        accepted.png |= accepted.has_lossless();
        Some(accepted)
    }

    /// The formats, the best one first; `None` is that of the original.
    pub fn formats(&self) -> &[Option<Format>] {
        &self.formats[..self.count]
    }

    /// Whether an animation may be a GIF, if no other format holds it.
    pub fn accepts_gif(&self) -> bool {
        self.gif
    }

    /// Whether a drawing may be a PNG, if none of the formats is lossless for it.
    pub fn accepts_png(&self) -> bool {
        self.png
    }
}

/// The canonical text, such as `auto:avif:webp:jpg`.
impl Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        for (index, format) in self.formats().iter().enumerate() {
            if index > 0 {
                f.write_str(":")?;
            }
            f.write_str(format.map_or(ORIGINAL, Format::name))?;
        }
        for (is_accepted, word) in [(self.gif, NO_GIF), (self.png, NO_PNG)] {
            if !is_accepted {
                write!(f, ":{word}")?;
            }
        }
        Ok(())
    }
}

/// The weights of a header, in thousandths: a qvalue has at most three digits (§12.4.2).
#[derive(Default)]
struct Weights {
    /// Of named types, in the order of [`Format::ALL`].
    named: [Option<u16>; Format::ALL.len()],
    /// Of `image/*`, or else `*/*`.
    wildcard: Option<u16>,
}

impl Weights {
    /// Of equal ranges, the first one counts.
    fn parse(header: &str) -> Weights {
        let mut weights = Weights::default();
        let mut any = None;
        for (media_type, weight) in header.split(',').filter_map(parse_range) {
            let slot = if media_type == "*/*" {
                &mut any
            } else if media_type.eq_ignore_ascii_case("image/*") {
                &mut weights.wildcard
            } else {
                let is_named =
                    |format: &Format| media_type.eq_ignore_ascii_case(format.media_type());
                let named = Format::ALL.iter().position(is_named);
                match named.and_then(|index| weights.named.get_mut(index)) {
                    Some(slot) => slot,
                    None => continue,
                }
            };
            slot.get_or_insert(weight);
        }
        weights.wildcard = weights.wildcard.or(any);
        weights
    }

    fn named(&self, format: Format) -> Option<u16> {
        let index = Format::ALL.iter().position(|known| *known == format)?;
        self.named.get(index).copied().flatten()
    }

    /// The weight of the most specific range (§12.5.1).
    fn of(&self, format: Format) -> Option<u16> {
        self.named(format).or(self.wildcard)
    }
}

/// A media range and its weight; `None` if it is malformed, and then it is ignored.
pub fn parse_range(range: &str) -> Option<(&str, u16)> {
    let mut parts = range.split(';').map(str::trim);
    let media_type = parts.next().filter(|name| name.contains('/'))?;
    let mut weight = 1000;
    for part in parts {
        let Some((name, value)) = part.split_once('=') else { continue };
        if name.trim().eq_ignore_ascii_case("q") {
            weight = parse_weight(value.trim())?;
        }
    }
    Some((media_type, weight))
}

/// A qvalue in thousandths.
fn parse_weight(qvalue: &str) -> Option<u16> {
    let (whole, fraction) = qvalue.split_once('.').unwrap_or((qvalue, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = fraction.bytes().chain([b'0'; 3]).take(3);
    let fraction = digits.fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::documents::assert_says;

    const CHROME: &str = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
    const DEFAULTS: [Option<Format>; 4] =
        [None, Some(Format::Jpeg), Some(Format::Webp), Some(Format::Gif)];

    fn over(default: Option<Format>, header: &str) -> String {
        let accepted = Accepted::negotiate(header, default, Candidates::default());
        let text = accepted.to_string();
        assert_eq!(Accepted::parse(&text), Some(accepted), "{text}");
        text
    }

    fn over_jpeg(header: &str) -> String {
        over(Some(Format::Jpeg), header)
    }

    #[test]
    fn accept_named_types_beat_wildcards() {
        assert_eq!(over_jpeg(CHROME), "auto:avif:webp:jpg");
        assert_eq!(over_jpeg("image/webp,*/*;q=0.8"), "auto:webp:jpg");
        for header in ["*/*", "image/*", "", "IMAGE/*"] {
            assert_eq!(over_jpeg(header), "auto:jpg", "{header}");
        }
    }

    #[test]
    fn accept_highest_weight_wins() {
        for (header, text) in [
            ("image/avif;q=0.5,image/webp;q=0.9,*/*;q=0.1", "auto:webp:avif:jpg"),
            ("image/avif;q=0.5, image/webp;Q=0.4, image/jpeg", "auto:jpg:avif:webp:-gif"),
            ("image/jpeg;q=0.5,image/webp;q=0.5", "auto:webp:jpg:-gif"),
            ("image/webp,image/avif,image/jpeg", "auto:avif:webp:jpg:-gif"),
            ("image/avif;q=0.5,*/*", "auto:jpg:avif"),
            ("image/avif;q=0.5,image/jpeg;q=0.4,*/*", "auto:avif:jpg"),
            ("image/webp;q=0.001,image/*;q=0.002,image/gif;q=0", "auto:jpg:webp:-gif"),
        ] {
            assert_eq!(over_jpeg(header), text, "{header}");
        }
    }

    #[test]
    fn accept_of_browsers_has_three_values() {
        let safari = "image/webp,image/avif,image/jxl,image/heic,image/heic-sequence,video/*;q=0.8,\
                      image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5";
        let firefox = "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5";
        let navigation = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,\
                          image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";
        for header in [CHROME, safari, firefox, navigation] {
            assert_eq!(over_jpeg(header), "auto:avif:webp:jpg", "{header}");
            assert_eq!(over(None, header), "auto:avif:webp:original", "{header}");
        }
        let old_chrome = "image/webp,image/apng,image/*,*/*;q=0.8";
        let old_safari = "image/png,image/svg+xml,image/*;q=0.8,video/*;q=0.8,*/*;q=0.5";
        assert_eq!(over_jpeg(old_chrome), "auto:webp:jpg");
        assert_eq!(over_jpeg(old_safari), "auto:jpg");
    }

    #[test]
    fn accept_weight_zero_excludes_and_malformed_ranges_are_ignored() {
        assert_eq!(over_jpeg("image/jpeg;q=0,image/webp;q=0.1"), "auto:webp:jpg:-gif");
        assert_eq!(over_jpeg("image/avif;q=0,image/webp,image/gif"), "auto:webp:jpg");
        for q in ["2", "1.5", "-1", "x", "0.1234", "0,5", "1.001", "", "0.+1", "0. 1"] {
            assert_eq!(over_jpeg(&format!("image/avif;q={q}")), "auto:jpg", "{q}");
        }
        assert_eq!(over_jpeg("image/avif;q=0.,*/*;q=1.000"), "auto:jpg");
        // Of two equal ranges the first one counts.
        assert_eq!(over_jpeg("image/avif;q=0,image/avif,*/*"), "auto:jpg");
    }

    #[test]
    fn accept_that_allows_nothing_is_disregarded() {
        for header in [
            "text/html",
            "image/avif;q=0,image/webp;q=0",
            "image/jpeg;q=0",
            "*/*;q=0",
            "image/avif;q=0,image/webp;q=0,image/jpeg;q=0,image/gif;q=0,image/*;q=0,*/*;q=0",
            ",,;q=1,/;/",
        ] {
            assert_eq!(over_jpeg(header), over_jpeg(""), "{header}");
        }
    }

    #[test]
    fn accept_without_a_default_keeps_the_format_of_the_original() {
        assert_eq!(over(None, "*/*"), "auto:original");
        assert_eq!(over(None, "image/webp,*/*;q=0.8"), "auto:webp:original");
        assert_eq!(over(None, "image/webp;q=0.7,*/*;q=0.8"), "auto:original:webp");
        assert_eq!(over(None, "image/webp"), "auto:webp:original:-gif");
    }

    #[test]
    fn accept_may_name_the_default_itself() {
        assert_eq!(over(Some(Format::Webp), "*/*"), "auto:webp");
        assert_eq!(over(Some(Format::Webp), "image/avif;q=0.5,*/*"), "auto:webp:avif");
        assert_eq!(over(Some(Format::Avif), CHROME), "auto:avif:webp");
        assert_eq!(over(Some(Format::Avif), "image/webp,*/*"), "auto:webp:avif");
        assert_eq!(over(Some(Format::Gif), "image/webp"), "auto:webp:gif");
    }

    /// Every header whose ranges have one of these weights, for each type that matters to [`DEFAULTS`].
    fn all_headers() -> impl Iterator<Item = String> {
        let ranges = ["image/avif", "image/webp", "image/jpeg", "image/gif", "image/*"];
        let weights = ["", ";q=0", ";q=0.3", ";q=0.6", ";q=0.9"];
        let count = weights.len().pow(u32::try_from(ranges.len()).unwrap());
        (0..count).map(move |mut number| {
            let mut header = String::new();
            for range in ranges {
                let weight = weights[number % weights.len()];
                number /= weights.len();
                if !weight.is_empty() {
                    header += &format!("{range}{weight},");
                }
            }
            header
        })
    }

    #[test]
    fn accept_has_few_values() {
        let mut most = 0;
        for default in DEFAULTS {
            let values: BTreeSet<String> =
                all_headers().map(|header| over(default, &header)).collect();
            most = most.max(values.len());
            assert!(values.iter().all(|text| text.len() <= 30), "{values:?}");
        }
        assert_eq!(most, 28);
        assert_says("docs/cache.md", "at most 28");
    }

    #[test]
    fn accept_of_any_length_is_read() {
        let many = "image/webp;q=0.5,".repeat(1000);
        assert_eq!(over_jpeg(&many), "auto:webp:jpg:-gif");
        let other = format!("{}image/avif,*/*", "text/x-0;q=0.999;a=b,".repeat(1000));
        assert_eq!(over_jpeg(&other), "auto:avif:jpg");
        for byte in [',', ';', '=', '/', '*', 'q', ' ', '"', '\u{fc}'] {
            assert_eq!(over_jpeg(&byte.to_string().repeat(8000)), "auto:jpg", "{byte}");
        }
    }

    #[test]
    fn canonical_texts_that_negotiation_does_not_write_are_refused() {
        for text in [
            "",
            "auto",
            "auto:",
            "auto:-gif",
            "auto:jpg:",
            "auto:jpg:jpg",
            "auto:original:original",
            "auto:-gif:jpg",
            "auto:svg",
            "auto:jpg:-gif:-gif",
            "auto:jpg:-png:-gif",
            "auto:jpg:-png:-png",
            "auto:-png",
            "auto:jpg:-gif:webp",
            "auto:jpg:png:webp:avif:gif:original:jpeg",
            "jpg",
        ] {
            assert_eq!(Accepted::parse(text), None, "{text}");
        }
    }
}
