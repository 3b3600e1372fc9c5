//! The keys that requests are signed with.

use std::time::SystemTime;

use s3::creds::Credentials;
use s3::creds::error::CredentialsError;

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
