//! The time at which a certificate expires (RFC 5280 §4.1.2.5). webpki checks it and does not tell it.

use rustls::pki_types::CertificateDer;

use crate::calendar::seconds_since_1970;

/// DER tags (X.690 §8).
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT Version`, which a certificate of version 1 lacks.
const VERSION: u8 = 0xa0;

/// `notAfter` in Unix seconds, 0 before 1970. `None` if the certificate is malformed.
pub fn expiry(certificate: &CertificateDer) -> Option<u64> {
    let mut outer = Der(certificate);
    let mut certificate = Der(outer.read(SEQUENCE)?);
    let mut fields = Der(certificate.read(SEQUENCE)?);
    if fields.0.first() == Some(&VERSION) {
        fields.read(VERSION)?;
    }
    // Serial number, signature algorithm, issuer.
    fields.read(INTEGER)?;
    fields.read(SEQUENCE)?;
    fields.read(SEQUENCE)?;
    let mut validity = Der(fields.read(SEQUENCE)?);
    validity.read_any()?;
    let (tag, not_after) = validity.read_any()?;
    parse_time(tag, not_after)
}

/// Values of DER, one after the other.
struct Der<'d>(&'d [u8]);

impl<'d> Der<'d> {
    /// The content of the next value, which must have this tag.
    fn read(&mut self, tag: u8) -> Option<&'d [u8]> {
        self.read_any().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    fn read_any(&mut self) -> Option<(u8, &'d [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, mut rest) = rest.split_first()?;
        let mut length = usize::from(*first);
        // The long form: the number of the bytes that have the length.
        if *first >= 0x80 {
            let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if bytes.len() > size_of::<u32>() {
                return None;
            }
            length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = after;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, the only forms that a certificate may have.
fn parse_time(tag: u8, text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| {
        digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
    };
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let (year, rest) = digits.split_at(2);
            let year = number(year);
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        (GENERALIZED_TIME, 14) => {
            let (year, rest) = digits.split_at(4);
            (number(year), rest)
        }
        _ => return None,
    };
    let mut parts = rest.chunks(2).map(number);
    let mut next = || parts.next();
    let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
    let seconds = seconds_since_1970([year, month, day], [hour, minute, second])?;
    Some(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn certificate(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["images.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(1970, 1, 1);
        params.not_after = date_time_ymd(year, month, day);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn expiry_is_read_from_certificates() {
        for (year, month, day, seconds) in [
            (2026, 11, 29, 1_795_910_400),
            (2024, 2, 29, 1_709_164_800),
            (2024, 3, 1, 1_709_251_200),
            // In UTCTime until 2049, and in GeneralizedTime from 2050.
            (2049, 12, 31, 2_524_521_600),
            (2050, 1, 1, 2_524_608_000),
            (2100, 3, 1, 4_107_542_400),
            (1970, 1, 1, 0),
        ] {
            let der = certificate(year, month, day);
            assert_eq!(expiry(&der.into()), Some(seconds), "{year}-{month}-{day}");
        }
    }

    #[test]
    fn truncated_certificates_have_no_expiry_and_cause_no_panic() {
        let der = certificate(2026, 11, 29);
        for end in 0..der.len() {
            assert_eq!(expiry(&CertificateDer::from(&der[..end])), None);
        }
        for at in 0..der.len().min(200) {
            for byte in [0, 0x7f, 0x80, 0x84, 0x88, 0xff] {
                let mut changed = der.clone();
                changed[at] = byte;
                let _ = expiry(&changed.into());
            }
        }
    }

    #[test]
    fn malformed_times_are_refused() {
        assert_eq!(parse_time(UTC_TIME, b"700101000001Z"), Some(1));
        assert_eq!(parse_time(GENERALIZED_TIME, b"99991231235959Z"), Some(253_402_300_799));
        assert_eq!(parse_time(UTC_TIME, b"500101000000Z"), Some(0));
        for (tag, text) in [
            (UTC_TIME, &b""[..]),
            (UTC_TIME, b"Z"),
            (UTC_TIME, b"261129000000"),
            (UTC_TIME, b"2611290000Z"),
            (UTC_TIME, b"261129000000+0100"),
            (UTC_TIME, b"20261129000000Z"),
            (GENERALIZED_TIME, b"261129000000Z"),
            (UTC_TIME, b"261329000000Z"),
            (UTC_TIME, b"261100000000Z"),
            (UTC_TIME, b"261129240000Z"),
            (UTC_TIME, b"26112900000xZ"),
            (INTEGER, b"261129000000Z"),
        ] {
            assert_eq!(parse_time(tag, text), None, "{text:?}");
        }
    }
}
