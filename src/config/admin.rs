//! `"admin"`: a listener for operators.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::error::Result;
use super::fields::Fields;
use super::schema::{Optional, secret, table, text};

/// The shortest `secret`, in bytes, that can't be guessed.
const MIN_SECRET: usize = 16;
/// The port when `address` has none.
const DEFAULT_PORT: u16 = 9090;

table! {
    pub TABLE;
    /// The address and port of the listener; the port is optional, and 0 takes a free one. The listener speaks plain
    /// HTTP, so keep it private.
    ADDRESS: Optional<&'static str> = text("address").absent("`127.0.0.1:9090`");
    /// The secret that requests must carry in `Authorization: Bearer`: at least 16 visible ASCII characters.
    SECRET: Optional<String> = secret("secret");
}

/// The admin listener.
#[derive(Clone, PartialEq, Eq)]
pub struct Admin {
    /// Port 0 lets the system choose a free one.
    pub address: SocketAddr,
    /// The token that `Authorization: Bearer` must have.
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
        let address = match fields.optional(&ADDRESS)? {
            None => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DEFAULT_PORT),
            Some(written) => parse_address(written).ok_or_else(|| {
                let message = format!(
                    "must be an address and a port, such as 127.0.0.1:9090, not {written:?}"
                );
                fields.error(ADDRESS.name(), message)
            })?,
        };
        let secret = fields.required(&SECRET)?;
        if secret.len() < MIN_SECRET {
            let message = format!("must have at least {MIN_SECRET} bytes");
            return Err(fields.error(SECRET.name(), message));
        }
        // It is compared with the bytes of a header field.
        if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = "must be visible ASCII characters without spaces";
            return Err(fields.error(SECRET.name(), message));
        }
        Ok(Admin { address, secret })
    }
}

fn parse_address(written: &str) -> Option<SocketAddr> {
    let alone = || Some(SocketAddr::new(written.parse::<IpAddr>().ok()?, DEFAULT_PORT));
    written.parse().ok().or_else(alone)
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::*;
    use crate::documents::assert_says;

    const GOOD_SECRET: &str = r#""secret": "0123456789abcdef""#;

    fn read(fields: &str) -> std::result::Result<Admin, String> {
        let text = format!("{{{fields}}}");
        let value = parse(&text).unwrap();
        let fields = Fields::of(&value, "admin", TABLE).map_err(|error| error.to_string())?;
        Admin::read(&fields).map_err(|error| error.to_string())
    }

    #[test]
    fn an_admin_address_is_ipv4_or_ipv6_and_its_port_is_optional() {
        for (written, expected) in [
            ("127.0.0.1:81", "127.0.0.1:81"),
            ("127.0.0.1", "127.0.0.1:9090"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::1]:81", "[::1]:81"),
            ("::1", "[::1]:9090"),
        ] {
            let admin = read(&format!(r#""address": "{written}", {GOOD_SECRET}"#)).unwrap();
            assert_eq!(admin.address.to_string(), expected);
        }
        assert_eq!(read(GOOD_SECRET).unwrap().address.to_string(), "127.0.0.1:9090");
    }

    #[test]
    fn admin_errors_name_their_field_and_no_secret() {
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
            (r#""secret": "0123456789abcdef\n""#, "admin.secret: begins or ends with white space"),
            (r#""secret": "0123456789abcdefü""#, "admin.secret: must be visible ASCII"),
            ("", "admin.secret: required"),
            (r#""secrt": "x""#, "admin.secrt: unknown field, did you mean secret?"),
        ] {
            let got = read(fields).expect_err(fields);
            assert!(got.starts_with(expected) && !got.contains("0123"), "{fields}: {got}");
        }
    }

    #[test]
    fn the_admin_secret_is_not_shown_by_debug() {
        let shown = format!("{:?}", read(GOOD_SECRET).unwrap());
        assert!(!shown.contains("0123"), "{shown}");
    }

    #[test]
    fn admin_defaults_are_as_documented() {
        let default = read(GOOD_SECRET).unwrap().address;
        for text in
            [format!("`{default}`"), format!("at least {MIN_SECRET} visible ASCII characters")]
        {
            assert_says("docs/configuration.md", &text);
        }
    }
}
