//! `f=auto`: which format an `Accept` header asks for (RFC 9110 §12.5.1).

use crate::format::Format;

/// Of AVIF, WebP and the handler's own format, the one that `accept` rates highest; ties go in that order.
///
/// Only a named type speaks for AVIF and WebP: browsers that can't show them send `*/*` all the same. A
/// wildcard speaks for the own format alone, and `q=0` forbids. When nothing is acceptable the own format is
/// sent anyway, as §12.5.1 allows. `own` is `None` for a handler that keeps the original's format.
pub fn choose(accept: &str, own: Option<Format>) -> Option<Format> {
    let ranges: Vec<Range> = accept.split(',').filter_map(Range::parse).collect();
    let named = |format: Format| weight_of(&ranges, format.media_type());
    let own_weight = own
        .and_then(named)
        .or_else(|| weight_of(&ranges, "image/*"))
        .or_else(|| weight_of(&ranges, "*/*"))
        .unwrap_or(0);
    let mut best = (own, own_weight);
    // From the last to the first, so that the earlier of equals wins.
    for format in [Format::Webp, Format::Avif] {
        let weight = named(format).unwrap_or(0);
        if weight > 0 && weight >= best.1 {
            best = (Some(format), weight);
        }
    }
    best.0
}

fn weight_of(ranges: &[Range], media_type: &str) -> Option<u16> {
    ranges
        .iter()
        .find(|range| range.media_type.eq_ignore_ascii_case(media_type))
        .map(|range| range.weight)
}

struct Range<'a> {
    media_type: &'a str,
    /// Thousandths, as `q` has at most three digits (§12.4.2).
    weight: u16,
}

impl<'a> Range<'a> {
    fn parse(written: &'a str) -> Option<Range<'a>> {
        let mut parts = written.split(';').map(str::trim);
        let media_type = parts.next().filter(|name| name.contains('/'))?;
        let mut weight = 1000;
        for part in parts {
            let Some((name, value)) = part.split_once('=') else { continue };
            if name.trim().eq_ignore_ascii_case("q") {
                weight = thousandths(value.trim())?;
            }
        }
        Some(Range { media_type, weight })
    }
}

/// A qvalue; a malformed one makes its range count for nothing.
fn thousandths(written: &str) -> Option<u16> {
    let (whole, fraction) = written.split_once('.').unwrap_or((written, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_jpeg(accept: &str) -> &'static str {
        choose(accept, Some(Format::Jpeg)).map_or("none", Format::name)
    }

    #[test]
    fn named_types_beat_wildcards() {
        assert_eq!(of_jpeg("image/avif,image/webp,image/apng,image/*,*/*;q=0.8"), "avif");
        assert_eq!(of_jpeg("image/webp,*/*;q=0.8"), "webp");
        assert_eq!(of_jpeg("*/*"), "jpg");
        assert_eq!(of_jpeg("image/*"), "jpg");
        assert_eq!(of_jpeg(""), "jpg");
    }

    #[test]
    fn weights_decide() {
        assert_eq!(of_jpeg("image/avif;q=0.5,image/webp;q=0.9"), "webp");
        assert_eq!(of_jpeg("image/avif;q=0.5, image/webp;Q=0.4, image/jpeg"), "jpg");
        assert_eq!(of_jpeg("image/jpeg;q=0.5,image/webp;q=0.5"), "webp");
        assert_eq!(of_jpeg("image/avif;q=0.5,*/*"), "jpg");
        assert_eq!(of_jpeg("image/avif;q=0.5,image/jpeg;q=0.4,*/*"), "avif");
    }

    #[test]
    fn zero_forbids_and_nonsense_counts_for_nothing() {
        assert_eq!(of_jpeg("image/avif;q=0,image/webp;q=0"), "jpg");
        assert_eq!(of_jpeg("image/jpeg;q=0,image/webp;q=0.1"), "webp");
        assert_eq!(of_jpeg("image/jpeg;q=0"), "jpg");
        for q in ["2", "1.5", "-1", "x", "0.1234", "0,5", "1.001", ""] {
            assert_eq!(of_jpeg(&format!("image/avif;q={q}")), "jpg", "{q}");
        }
    }

    #[test]
    fn without_an_own_format_a_wildcard_keeps_the_originals() {
        assert_eq!(choose("*/*", None), None);
        assert_eq!(choose("image/webp,*/*;q=0.8", None), Some(Format::Webp));
    }
}
