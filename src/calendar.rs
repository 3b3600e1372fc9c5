//! Dates of the Gregorian calendar, and the texts of RFC 3339 with them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time of `2026-11-29T12:42:34.123Z` (RFC 3339 §5.6), with or without a fraction, with `Z` or an offset; a space may
/// stand for `T`. `None` for another text, and for times before 1970.
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.split_at_checked(10)?;
    let (time, rest) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let date = three_numbers(date, '-')?;
    let time = three_numbers(time, ':')?;
    let (nanoseconds, zone) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (fraction, zone) = rest.split_at_checked(digits)?;
            let shown: String = fraction.chars().chain("000000000".chars()).take(9).collect();
            (shown.parse().ok().filter(|_| digits > 0)?, zone)
        }
    };
    let seconds = seconds_since_1970(date, time)?.checked_sub(offset(zone)?)?;
    UNIX_EPOCH.checked_add(Duration::new(u64::try_from(seconds).ok()?, nanoseconds))
}

/// Three numbers of fixed width, with this character between them.
fn three_numbers(text: &str, between: char) -> Option<[i64; 3]> {
    let mut parts = text.split(between).map(|part| {
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse().ok().filter(|_| is_number)
    });
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

/// The seconds of `Z` or `+01:30`.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.strip_prefix(['+', '-'])?.split_once(':')?;
    let number = |text: &str| text.parse::<u8>().ok().filter(|_| text.len() == 2);
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then(|| sign * (i64::from(hours) * 3600 + i64::from(minutes) * 60))
}

/// The seconds from 1970 to a year, month and day, and an hour, minute and second in UTC. `None` if one is out of
/// range; a leap second is one.
pub fn seconds_since_1970(date: [i64; 3], time: [i64; 3]) -> Option<i64> {
    let ([year, month, day], [hour, minute, second]) = (date, time);
    let is_valid = (0..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..=23).contains(&hour)
        && (0..=59).contains(&minute)
        && (0..=59).contains(&second);
    is_valid.then(|| ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Of a date in the Gregorian calendar. The year begins in March, so that the leap day is its last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    const DAYS_BEFORE_1970: i64 = 719_468;
    let year = if month > 2 { year } else { year - 1 };
    let month = (month + 9) % 12;
    let days = (153 * month + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + days - DAYS_BEFORE_1970
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::unix_milliseconds;

    #[test]
    fn rfc3339_times_are_parsed() {
        let milliseconds = |text| parse_rfc3339(text).map(unix_milliseconds);
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-29T12:42:34.123Z", 1_795_956_154_123),
            ("2026-11-29t12:42:34z", 1_795_956_154_000),
            ("2024-02-29T00:00:00.5Z", 1_709_164_800_500),
            // Ceph writes microseconds, and older versions of it a space.
            ("2019-11-22T13:47:35.124724Z", 1_574_430_455_124),
            ("2021-02-19 02:03:08.330496Z", 1_613_700_188_330),
            ("2026-11-29T13:42:34.123456789123+01:00", 1_795_956_154_123),
            ("2026-11-29T11:12:34-01:30", 1_795_956_154_000),
        ] {
            assert_eq!(milliseconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_rfc3339_time() {
        for text in [
            "",
            "2026-11-29",
            "2026-11-29T12:42:34",
            "2026-11-29T12:42Z",
            "2026-13-29T12:42:34Z",
            "2026-11-29T24:42:34Z",
            "2026-11-29T12:42:60Z",
            "2026-11-29T12:42:34.Z",
            "2026-11-29T12:42:34+1:00",
            "2026-11-29T12:42:34+24:00",
            "2026-11-29T12:42:34Zx",
            "2026-11-2\u{fc}T12:42:34Z",
            "+026-11-29T12:42:34Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "The time, in ISO-8601 format",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
