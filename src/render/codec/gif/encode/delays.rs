//! Delays in hundredths of a second, as GIF stores them.

/// Browsers show a frame with at most this delay, in milliseconds, for 100 ms.
const SHOWN_LONGER: u32 = 10;

/// Converts delays from milliseconds. What rounding adds to a frame or takes from it is carried over to the next one,
/// so that the animation takes as long as before.
///
/// A delay that browsers keep to stays one: it is at least 2. A delay that they replace by 100 ms stays one as well.
pub fn to_hundredths(delays: impl IntoIterator<Item = u32>) -> Vec<u16> {
    let mut carried = 0_i64;
    let convert = |delay: u32| {
        let wanted = i64::from(delay) + carried;
        let rounded = (wanted + 5).div_euclid(10);
        let (least, most) = if delay > SHOWN_LONGER { (2, u16::MAX) } else { (0, 1) };
        let given = u16::try_from(rounded.max(0)).unwrap_or(u16::MAX).clamp(least, most);
        // What a limit adds or takes is not carried over: another frame would be too short or too long.
        carried = wanted - rounded * 10;
        given
    };
    delays.into_iter().map(convert).collect()
}

/// The delay of two equal frames in one. `None` if it would be shown for another time.
pub fn joined(one: u32, other: u32) -> Option<u32> {
    let is_kept = one > SHOWN_LONGER && other > SHOWN_LONGER;
    let sum = one.checked_add(other)?;
    (is_kept && sum <= u32::from(u16::MAX) * 10).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_carried_over() {
        for (delays, expected) in [
            (&[20, 30, 40][..], &[2, 3, 4][..]),
            // A rate of 30 frames per second.
            (&[33, 33, 34, 33, 33, 34], &[3, 4, 3, 3, 4, 3]),
            (&[24; 5], &[2, 3, 2, 3, 2]),
            (&[25; 4], &[3, 2, 3, 2]),
            (&[], &[]),
        ] {
            assert_eq!(to_hundredths(delays.iter().copied()), expected, "{delays:?}");
        }
        for delay in 20..200 {
            let sum: u32 =
                to_hundredths(std::iter::repeat_n(delay, 1000)).iter().map(|n| u32::from(*n)).sum();
            assert!((sum * 10).abs_diff(delay * 1000) <= 5, "{delay} ms: {sum}");
        }
    }

    #[test]
    fn delays_that_browsers_keep_to_are_at_least_2() {
        for delay in 11..20 {
            for given in to_hundredths([delay; 50]) {
                assert_eq!(given, 2, "{delay}");
            }
        }
        // The minimum is not carried over.
        let mut delays = vec![11; 50];
        delays.push(500);
        assert_eq!(to_hundredths(delays).last(), Some(&50));
    }

    #[test]
    fn delays_that_browsers_replace_are_at_most_1() {
        for (delays, expected) in [
            (&[0, 0][..], &[0, 0][..]),
            (&[10, 10], &[1, 1]),
            (&[14, 10, 10], &[2, 1, 1]),
            (&[9, 9, 9], &[1, 1, 1]),
        ] {
            assert_eq!(to_hundredths(delays.iter().copied()), expected, "{delays:?}");
        }
        assert_eq!((joined(10, 40), joined(40, 0), joined(11, 40)), (None, None, Some(51)));
    }

    #[test]
    fn delays_do_not_overflow() {
        for delay in [655_350, 655_351, u32::MAX] {
            assert_eq!(to_hundredths([delay; 3]), [65_535; 3]);
            assert_eq!(joined(delay, 20), None);
        }
        assert_eq!(to_hundredths([u32::MAX, 20, 20]), [65_535, 2, 2]);
    }
}
