//! A client of one bucket: GET, PUT, DELETE and LIST. rust-s3 signs the URL, the pooled agent sends the request.
//!
//! rust-s3's own requests open a connection for each object, accept a truncated body, have no size limit and follow
//! redirects; so only its signature is used, which is pure computation.
//!
//! Keys are relative to the bucket's directory (`file_path`). Every request ends within its [`Deadline`].

mod assumed_role;
mod credential_files;
mod credentials;
mod endpoint;
mod get;
mod keys;
mod list;
mod probe;
mod refusal;
mod send;
mod signing;
mod sigv4;
mod sts;
mod write;
mod xml;

use std::fmt;
use std::sync::Arc;

use s3::Region;
use s3::creds::Credentials as SigningKeys;
use ureq::Agent;

pub use self::get::{Got, Object, StoredObject};
pub use self::list::Listing;

use self::credentials::Provider;
use self::endpoint::region;
pub use super::http::Deadline;
use super::http::{self, Exchange, agent};
use super::read_path::{ReadPath, Variable};
use super::unsafe_key::refuse_unsafe;
use crate::config::{AssumedRole, ConfigError, Credentials, Limits, S3};
use crate::error::{Code, Failure};
use crate::renderer_status::CredentialsStatus;

/// S3's limit for a key, in bytes of UTF-8:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
const MAX_KEY: usize = 1024;

/// A bucket, or a directory in it.
pub struct Bucket {
    config: S3,
    /// What it is called in failures.
    role: Role,
    region: Region,
    keys: Keys,
    agent: Arc<Agent>,
    limits: Limits,
}

/// What a bucket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has the originals.
    Origin,
    /// It has the shared results.
    Results,
}

enum Keys {
    Fixed(Box<SigningKeys>),
    /// Of the credential chain or a role.
    Found(Arc<Provider>),
    None,
}

/// Checks the configuration without a request.
pub fn check(config: &S3) -> Result<(), ConfigError> {
    let Some(file) = &config.ca_file else { return Ok(()) };
    http::tls::read_ca_file(file)
        .map(drop)
        .map_err(|problem| ConfigError::new(format!("{}.ca_file", config.json_path), problem))
}

/// The files and directories that requests to the bucket read.
pub fn read_paths(config: &S3, variable: Variable) -> Vec<ReadPath> {
    let mut paths = Vec::from(http::RESOLVER_FILES.map(ReadPath::replaceable));
    paths.extend(config.ca_file.as_ref().map(ReadPath::replaceable));
    if config.credentials == Credentials::Chain {
        paths.extend(credential_files::read_paths(variable));
    }
    paths
}

impl Bucket {
    /// Prepares to send requests. Nothing is sent: names are resolved, connections opened and credentials looked up by
    /// the first requests and by a thread of its own.
    ///
    /// Buckets share a connection pool for each `ca_file`, and one lookup of credentials.
    ///
    /// # Errors
    ///
    /// When the `ca_file` is not usable, see [`check`], or no thread can be started.
    pub fn open(config: &S3, role: Role, limits: &Limits) -> Result<Bucket, Failure> {
        let agent = agent::shared(config.ca_file.clone(), limits).map_err(|problem| {
            Failure::new(
                Code::OriginUnreachable,
                format!("{}.ca_file: {problem}", config.json_path),
            )
        })?;
        let no_credentials =
            |problem| Failure::new(Code::NoCredentials, format!("{}: {problem}", config.json_path));
        let keys = match &config.credentials {
            Credentials::Anonymous => Keys::None,
            Credentials::Chain => Keys::Found(credentials::shared(limits).map_err(no_credentials)?),
            Credentials::Static { access, secret, session_token } => {
                let keys = SigningKeys::new(
                    Some(access),
                    Some(secret),
                    None,
                    session_token.as_deref(),
                    None,
                )
                .map_err(|error| no_credentials(error.to_string()))?;
                Keys::Fixed(Box::new(keys))
            }
        };
        let keys = match &config.assumed_role {
            None => keys,
            Some(role) => assumed(config, role, keys, &agent, limits).map_err(no_credentials)?,
        };
        Ok(Bucket {
            region: region(config),
            config: config.clone(),
            role,
            keys,
            agent,
            limits: limits.clone(),
        })
    }

    /// The JSON path of its object in the configuration.
    pub fn json_path(&self) -> &str {
        &self.config.json_path
    }

    /// The state of the credentials, if it needs any. Does not wait for their lookup.
    pub fn credentials(&self) -> Option<CredentialsStatus> {
        match &self.keys {
            Keys::Fixed(_) => Some(CredentialsStatus::Found { expires: None }),
            Keys::Found(provider) => Some(provider.status()),
            Keys::None => None,
        }
    }

    /// The object of a key that is not empty.
    fn object(&self, key: &str) -> Result<ObjectName<'_>, Failure> {
        let object = self.name(key);
        refuse_unsafe(&object.key)?;
        // GET of an empty key is the request that lists the bucket.
        if object.key.is_empty() || object.key.len() > MAX_KEY {
            return Err(
                object.failure(Code::InvalidKey, format_args!("must have 1 to {MAX_KEY} bytes"))
            );
        }
        Ok(object)
    }

    /// The way to the bucket, for a request about this object.
    fn exchange<'e>(&'e self, object: &'e ObjectName) -> Exchange<'e> {
        Exchange {
            agent: &self.agent,
            limits: &self.limits,
            host: self.region.endpoint(),
            subject: object,
            json_path: &self.config.json_path,
        }
    }

    fn name(&self, key: &str) -> ObjectName<'_> {
        let directory = &self.config.directory;
        let key = if directory.is_empty() { key.to_owned() } else { format!("{directory}/{key}") };
        ObjectName { bucket: &self.config.bucket, key }
    }
}

/// The keys of a role, which these keys assume.
fn assumed(
    config: &S3,
    role: &AssumedRole,
    keys: Keys,
    agent: &Arc<Agent>,
    limits: &Limits,
) -> Result<Keys, String> {
    let base = match keys {
        Keys::None => return Ok(Keys::None),
        Keys::Fixed(keys) => assumed_role::Base::Static(keys::Keys::from_rust_s3(*keys)?),
        Keys::Found(provider) => assumed_role::Base::Chain(provider),
    };
    assumed_role::shared(config, role, base, agent, limits).map(Keys::Found)
}

impl Role {
    /// The subject of a sentence about its responses.
    fn subject(self) -> &'static str {
        match self {
            Role::Origin => "the origin",
            Role::Results => "the results bucket",
        }
    }
}

/// An object's name, for failures.
struct ObjectName<'b> {
    bucket: &'b str,
    /// The key, including the directory.
    key: String,
}

impl fmt::Display for ObjectName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {:?} in bucket {}", self.key, self.bucket)
    }
}

impl ObjectName<'_> {
    fn failure(&self, code: Code, problem: impl fmt::Display) -> Failure {
        Failure::new(code, format!("{self}: {problem}"))
    }
}

#[cfg(test)]
mod tests;
