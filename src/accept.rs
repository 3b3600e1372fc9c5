//! `f=auto`: content negotiation by the `Accept` header (RFC 9110 §12.5.1).

use crate::format::{Format, formats_that};

/// Chooses the format with the highest weight among AVIF, WebP and the handler's default; on a tie, the first of these.
///
/// AVIF and WebP must be named in `accept`: browsers that can't show them send `*/*` as well. A wildcard counts for
/// the default format only, and `q=0` rules a format out. If nothing is acceptable the default format is sent
/// anyway, as §12.5.1 allows. `default` is `None` for a handler that keeps the original's format.
pub fn choose(accept: &str, default: Option<Format>) -> Option<Format> {
    let ranges: Vec<Range> = accept.split(',').filter_map(Range::parse).collect();
    let named = |format: Format| weight_of(&ranges, format.media_type());
    let default_weight = default
        .and_then(named)
        .or_else(|| weight_of(&ranges, "image/*"))
        .or_else(|| weight_of(&ranges, "*/*"))
        .unwrap_or(0);
    let mut best = default;
    let mut best_weight = default_weight;
    // Later formats win ties.
    for format in formats_that(Format::is_negotiated) {
        let weight = named(format).unwrap_or(0);
        if weight > 0 && weight >= best_weight {
            best = Some(format);
            best_weight = weight;
        }
    }
    best
}

fn weight_of(ranges: &[Range], media_type: &str) -> Option<u16> {
    ranges
        .iter()
        .find(|range| range.media_type.eq_ignore_ascii_case(media_type))
        .map(|range| range.weight)
}

/// A media range with its weight.
struct Range<'a> {
    media_type: &'a str,
    /// In thousandths: a qvalue has at most three digits (§12.4.2).
    weight: u16,
}

impl<'a> Range<'a> {
    fn parse(range: &'a str) -> Option<Range<'a>> {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().filter(|name| name.contains('/'))?;
        let mut weight = 1000;
        for part in parts {
            let Some((name, value)) = part.split_once('=') else { continue };
            if name.trim().eq_ignore_ascii_case("q") {
                weight = parse_weight(value.trim())?;
            }
        }
        Some(Range { media_type, weight })
    }
}

/// A qvalue in thousandths; `None` if it is malformed, and then its range is ignored.
fn parse_weight(qvalue: &str) -> Option<u16> {
    let (whole, fraction) = qvalue.split_once('.').unwrap_or((qvalue, ""));
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

    fn choose_over_jpeg(accept: &str) -> &'static str {
        choose(accept, Some(Format::Jpeg)).map_or("none", Format::name)
    }

    #[test]
    fn accept_named_types_beat_wildcards() {
        assert_eq!(choose_over_jpeg("image/avif,image/webp,image/apng,image/*,*/*;q=0.8"), "avif");
        assert_eq!(choose_over_jpeg("image/webp,*/*;q=0.8"), "webp");
        assert_eq!(choose_over_jpeg("*/*"), "jpg");
        assert_eq!(choose_over_jpeg("image/*"), "jpg");
        assert_eq!(choose_over_jpeg(""), "jpg");
    }

    #[test]
    fn accept_highest_weight_wins() {
        assert_eq!(choose_over_jpeg("image/avif;q=0.5,image/webp;q=0.9"), "webp");
        assert_eq!(choose_over_jpeg("image/avif;q=0.5, image/webp;Q=0.4, image/jpeg"), "jpg");
        assert_eq!(choose_over_jpeg("image/jpeg;q=0.5,image/webp;q=0.5"), "webp");
        assert_eq!(choose_over_jpeg("image/avif;q=0.5,*/*"), "jpg");
        assert_eq!(choose_over_jpeg("image/avif;q=0.5,image/jpeg;q=0.4,*/*"), "avif");
    }

    #[test]
    fn accept_weight_zero_excludes_and_malformed_ranges_are_ignored() {
        assert_eq!(choose_over_jpeg("image/avif;q=0,image/webp;q=0"), "jpg");
        assert_eq!(choose_over_jpeg("image/jpeg;q=0,image/webp;q=0.1"), "webp");
        assert_eq!(choose_over_jpeg("image/jpeg;q=0"), "jpg");
        for q in ["2", "1.5", "-1", "x", "0.1234", "0,5", "1.001", ""] {
            assert_eq!(choose_over_jpeg(&format!("image/avif;q={q}")), "jpg", "{q}");
        }
    }

    #[test]
    fn accept_wildcard_without_a_default_keeps_the_format_of_the_original() {
        assert_eq!(choose("*/*", None), None);
        assert_eq!(choose("image/webp,*/*;q=0.8", None), Some(Format::Webp));
    }
}
