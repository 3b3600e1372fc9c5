//! The trace that a request belongs to: the header field `traceparent` of the W3C recommendation Trace Context.

/// The two ids of a `traceparent`, in lower-case hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: [u8; 32],
    span: [u8; 16],
}

/// `00-{trace id}-{parent id}-{flags}`
const VERSION_00_BYTES: usize = 55;

impl TraceContext {
    /// Parses the value of `traceparent` (§3.2). `None` if it is invalid. Of a version above 00, the part that this
    /// version has is read (§4.3).
    pub fn parse(value: &[u8]) -> Option<TraceContext> {
        let (known, rest) = value.split_at_checked(VERSION_00_BYTES)?;
        let mut parts = known.split(|byte| *byte == b'-');
        let version: [u8; 2] = hexadecimal(parts.next()?)?;
        let trace = hexadecimal(parts.next()?)?;
        let span = hexadecimal(parts.next()?)?;
        let _flags: [u8; 2] = hexadecimal(parts.next()?)?;
        let has_valid_end = match &version {
            b"ff" => false,
            b"00" => rest.is_empty(),
            _ => matches!(rest, [] | [b'-', ..]),
        };
        let is_zero = |digits: &[u8]| digits.iter().all(|digit| *digit == b'0');
        let is_valid =
            parts.next().is_none() && has_valid_end && !is_zero(&trace) && !is_zero(&span);
        is_valid.then_some(TraceContext { trace, span })
    }

    pub fn trace_id(&self) -> &str {
        std::str::from_utf8(&self.trace).unwrap_or_default()
    }

    /// The sender's span, which is the parent of this request's.
    pub fn span_id(&self) -> &str {
        std::str::from_utf8(&self.span).unwrap_or_default()
    }
}

/// Exactly `N` digits in lower case.
fn hexadecimal<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    digits.try_into().ok().filter(|_| digits.iter().all(is_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn traceparent_of_this_and_of_later_versions_is_read() {
        for (version, rest) in [("00", ""), ("01", ""), ("cc", ""), ("cc", "-what-comes-later")] {
            let value = format!("{version}-{TRACE}-{SPAN}-01{rest}");
            let parsed = TraceContext::parse(value.as_bytes()).unwrap();
            assert_eq!((parsed.trace_id(), parsed.span_id()), (TRACE, SPAN), "{value}");
        }
    }

    #[test]
    fn invalid_traceparent_is_ignored() {
        let zeros = "0".repeat(32);
        for value in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-012"),
            format!("cc-{TRACE}-{SPAN}-01.more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("0A-{TRACE}-{SPAN}-01"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}a-{}-01", &SPAN[..15]),
            format!("00-{}-{SPAN}a-01", &TRACE[..31]),
            format!("00_{TRACE}_{SPAN}_01"),
            format!("00--{TRACE}{SPAN}-01"),
            format!(" 00-{TRACE}-{SPAN}-01"),
            "-".repeat(VERSION_00_BYTES),
        ] {
            assert_eq!(TraceContext::parse(value.as_bytes()), None, "{value:?}");
        }
        assert_eq!(TraceContext::parse(&[0xff; VERSION_00_BYTES]), None);
    }
}
