//! The keys that requests are signed with.

use std::time::SystemTime;

use s3::creds::Credentials;
use s3::creds::error::CredentialsError;

use crate::config::{WHITE_SPACE_AROUND, has_white_space_around};

/// The names of access key, secret and session token where they were found, for errors.
pub(super) type Names<'n> = [&'n str; 3];

/// The names in the JSON of instance and container metadata.
pub(super) const METADATA: Names = ["AccessKeyId", "SecretAccessKey", "Token"];

/// An access key and its secret. Not `Debug`: they must not reach a log.
pub(super) struct Keys {
    pub access: String,
    pub secret: String,
    pub session_token: Option<String>,
    pub expires: Option<SystemTime>,
}

impl Keys {
    pub(super) fn from_rust_s3(found: Credentials) -> Result<Keys, String> {
        let given = |field: Option<String>| field.filter(|text| !text.is_empty());
        let (Some(access), Some(secret)) = (given(found.access_key), given(found.secret_key))
        else {
            return Err("the access key or the secret is empty".to_owned());
        };
        Ok(Keys {
            access,
            secret,
            // aws-creds puts it into one field or the other.
            session_token: given(found.session_token).or(given(found.security_token)),
            expires: found.expiration.map(|at| SystemTime::from(at.0)),
        })
    }

    /// Refuses white space around one of them, with the rest of a sentence that names it and does not contain it. The
    /// signature would be wrong, which S3 reports like a missing object.
    pub(super) fn checked(self, names: Names) -> Result<Keys, String> {
        let values = [Some(&self.access), Some(&self.secret), self.session_token.as_ref()];
        let padded = names
            .into_iter()
            .zip(values)
            .find(|(_, value)| value.is_some_and(|value| has_white_space_around(value)));
        match padded {
            Some((name, _)) => Err(format!("{name} {WHITE_SPACE_AROUND}")),
            None => Ok(self),
        }
    }

    /// For rust-s3, without the expiry: it would refresh expired credentials in the middle of a request.
    pub(super) fn to_rust_s3(&self) -> Result<Credentials, CredentialsError> {
        Credentials::new(
            Some(&self.access),
            Some(&self.secret),
            None,
            self.session_token.as_deref(),
            None,
        )
    }

    pub(super) fn expired(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= SystemTime::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_a_key_is_refused_without_repeating_it() {
        let keys = |access: &str, secret: &str, token: Option<&str>| Keys {
            access: access.into(),
            secret: secret.into(),
            session_token: token.map(str::to_owned),
            expires: None,
        };
        let checked = |keys: Keys| keys.checked(METADATA).err().unwrap_or_default();
        assert_eq!(checked(keys("hidden", "hidden", None)), "");
        assert_eq!(checked(keys("hidden", "hid den", Some("hidden"))), "");
        for (keys, name) in [
            (keys("hidden ", "hidden", None), "AccessKeyId"),
            (keys("hidden", "hidden\n", None), "SecretAccessKey"),
            (keys("hidden", "\thidden", Some("hidden")), "SecretAccessKey"),
            (keys("hidden", "hidden", Some("hidden\r\n")), "Token"),
        ] {
            assert_eq!(checked(keys), format!("{name} {WHITE_SPACE_AROUND}"));
        }
    }
}
