//! Dates of the Gregorian calendar.

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
