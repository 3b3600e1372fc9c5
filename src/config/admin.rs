//! `"admin"`: a listener of its own for those who run the server.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::fields::{Fields, Known, Result};

pub(super) const KNOWN: Known = Known { fields: &["address", "secret"] };

/// The shortest `secret`, in bytes: what can't be guessed.
const SHORTEST_SECRET: usize = 16;
/// The port when `address` names none.
const DEFAULT_PORT: u16 = 9090;

/// Where the admin listener is, and who may use it.
#[derive(Clone, PartialEq, Eq)]
pub struct Admin {
    /// `address`; port 0 lets the system choose a free one.
    pub address: SocketAddr,
    /// `secret`: what `Authorization: Bearer` must say.
    pub secret: String,
}

// Secrets must not reach a log by way of `{:?}`.
impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Admin({})", self.address)
    }
}

impl Admin {
    pub(super) fn read(fields: &Fields) -> Result<Admin> {
        let address = match fields.text("address")? {
            None => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DEFAULT_PORT),
            Some(written) => parse(written).ok_or_else(|| {
                let message =
                    format!("must be an address and a port, as 127.0.0.1:9090, not {written:?}");
                fields.error("address", message)
            })?,
        };
        let secret = fields.secret("secret")?.ok_or_else(|| fields.error("secret", "required"))?;
        if secret.len() < SHORTEST_SECRET {
            let message = format!("must have at least {SHORTEST_SECRET} bytes");
            return Err(fields.error("secret", message));
        }
        // It is compared with the bytes of a header field.
        if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(fields.error("secret", "must be visible ASCII characters without spaces"));
        }
        Ok(Admin { address, secret })
    }
}

fn parse(written: &str) -> Option<SocketAddr> {
    let alone = || Some(SocketAddr::new(written.parse::<IpAddr>().ok()?, DEFAULT_PORT));
    written.parse().ok().or_else(alone)
}

#[cfg(test)]
mod tests {
    use super::super::relaxed_json::parse;
    use super::*;

    const SECRET: &str = r#""secret": "0123456789abcdef""#;

    fn read(fields: &str) -> std::result::Result<Admin, String> {
        let value = parse(&format!("{{{fields}}}")).unwrap();
        let fields = Fields::of(&value, "admin", KNOWN).map_err(|error| error.to_string())?;
        Admin::read(&fields).map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_are_of_either_family_and_a_port_may_be_left_out() {
        for (written, expected) in [
            ("127.0.0.1:81", "127.0.0.1:81"),
            ("127.0.0.1", "127.0.0.1:9090"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::1]:81", "[::1]:81"),
            ("::1", "[::1]:9090"),
        ] {
            let admin = read(&format!(r#""address": "{written}", {SECRET}"#)).unwrap();
            assert_eq!(admin.address.to_string(), expected);
        }
        assert_eq!(read(SECRET).unwrap().address.to_string(), "127.0.0.1:9090");
    }

    #[test]
    fn errors_name_their_field_and_no_secret() {
        for (fields, expected) in [
            (r#""address": "localhost:81""#, "admin.address: must be an address and a port"),
            (r#""address": ":81""#, "admin.address: must be an address and a port"),
            (r#""address": "127.0.0.1:65536""#, "admin.address: must be an address and a port"),
            (r#""address": "::1:81:""#, "admin.address: must be an address and a port"),
            (r#""address": """#, "admin.address: must not be empty"),
            (r#""address": 9090"#, "admin.address: must be a string, not a number"),
            (r#""secret": 1"#, "admin.secret: must be a string, not a number"),
            (r#""secret": """#, "admin.secret: must not be empty"),
            (r#""secret": "0123456789abcde""#, "admin.secret: must have at least 16 bytes"),
            (r#""secret": "0123456789 abcdef""#, "admin.secret: must be visible ASCII"),
            (r#""secret": "0123456789abcdef\n""#, "admin.secret: must be visible ASCII"),
            (r#""secret": "0123456789abcdefü""#, "admin.secret: must be visible ASCII"),
            (
                r#""secret": "$S3IS_NOT_SET""#,
                "admin.secret: the environment variable S3IS_NOT_SET is not set",
            ),
            ("", "admin.secret: required"),
            (r#""secrt": "x""#, "admin.secrt: unknown field, did you mean secret?"),
        ] {
            let got = read(fields).expect_err(fields);
            assert!(got.starts_with(expected) && !got.contains("0123"), "{fields}: {got}");
        }
    }

    #[test]
    fn the_secret_is_not_shown() {
        let shown = format!("{:?}", read(SECRET).unwrap());
        assert!(!shown.contains("0123"), "{shown}");
    }
}
