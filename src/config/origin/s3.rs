//! `"aws"`: originals from a bucket.

use std::fmt;
use std::path::PathBuf;

use super::super::error::Result;
use super::super::fields::Fields;
use super::super::schema::{Defaulted, Optional, boolean, object, secret, string, table, text};
use super::super::url;
use super::{Found, OriginConfig, access_point, ca_file};

pub const FIELD: Optional<Fields<'static>> = object("aws", TABLE)
    .absent("one of `aws`, `directory`, `http` and `origins` is required")
    .doc("The bucket of the originals.");

table! {
    pub TABLE;
    /// The bucket, an access point's alias, or its ARN ([access points](s3.md#access-points)): letters, digits, `.`, `_`
    /// and `-`.
    BUCKET_NAME: Optional<&'static str> = text("bucket_name");
    /// The directory in the bucket, without `.` and `..` segments; joined with the key by one `/`.
    FILE_PATH: Defaulted<&'static str> = string("file_path").default("");
    /// The region to sign for: letters, digits and `-`. `AWS_REGION` is not read.
    REGION: Optional<&'static str> =
        text("region").absent("`\"us-east-1\"`, or that of an access point's ARN");
    /// Another S3 server: `http://` or `https://`, a host and an optional port.
    ENDPOINT: Optional<&'static str> = text("endpoint").absent("AWS in `region`");
    /// Put the bucket name into the path instead of the host name.
    PATH_STYLE: Optional<bool> =
        boolean("path_style").absent("`true` with an `endpoint` or a dot in the bucket name");
    /// The access key id.
    AWS_ACCESS: Optional<String> =
        secret("aws_access").absent("other [credentials](s3.md#credentials)");
    /// The secret access key.
    AWS_SECRET: Optional<String> = secret("aws_secret").absent("required with `aws_access`");
    /// The session token of temporary credentials; needs `aws_access` and `aws_secret`.
    SESSION_TOKEN: Optional<String> = secret("session_token").absent("none");
    /// Don't sign requests: a public bucket. Not with credentials.
    ANONYMOUS: Defaulted<bool> = boolean("anonymous").default(false);
    /// The role to assume with these credentials ([roles](s3.md#roles)).
    ROLE_ARN: Optional<&'static str> = text("role_arn").absent("none");
    /// The external id that the role's trust policy asks for; needs `role_arn`.
    EXTERNAL_ID: Optional<String> = secret("external_id").absent("none");
    /// The name of the role's session in the log of AWS, 2 to 64 letters, digits and `_+=,.@-`; needs `role_arn`.
    ROLE_SESSION_NAME: Optional<&'static str> =
        text("role_session_name").absent("`\"s3imageserver\"`");
    /// Pay for requests and transfer of a Requester Pays bucket. Not with `anonymous`.
    REQUEST_PAYER: Defaulted<bool> = boolean("request_payer").default(false);
    /// A PEM file of certificates to trust in addition to Mozilla's, which are compiled in.
    CA_FILE: Optional<&'static str> = text("ca_file").absent("none");
}

const DEFAULT_REGION: &str = "us-east-1";
const DEFAULT_SESSION_NAME: &str = "s3imageserver";
/// IAM's limit, in characters.
const MAX_ARN: usize = 2048;

/// A bucket and how to reach it.
#[derive(Clone, PartialEq, Eq)]
pub struct S3 {
    pub bucket: String,
    /// `file_path` without slashes at its ends; may be empty.
    pub directory: String,
    pub region: String,
    /// Scheme, host and port of an S3 server that is not AWS.
    pub endpoint: Option<String>,
    /// The bucket's name is in the path and not in the host name.
    pub path_style: bool,
    pub credentials: Credentials,
    /// The role that the credentials assume.
    pub assumed_role: Option<AssumedRole>,
    /// Requests say that their sender pays for them.
    pub request_payer: bool,
    /// PEM certificates to trust besides the compiled-in roots.
    pub ca_file: Option<PathBuf>,
    /// The JSON path of this `aws` object, for errors that name the field to change.
    pub json_path: String,
}

/// The credentials that requests to the origin are signed with.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Static {
        access: String,
        secret: String,
        session_token: Option<String>,
    },
    /// Environment, profile, web identity, ECS, IMDSv2, in this order.
    Chain,
    /// Nothing is signed: a public bucket.
    Anonymous,
}

/// A role of AWS, and what its trust policy may ask for.
#[derive(Clone, PartialEq, Eq)]
pub struct AssumedRole {
    pub arn: String,
    pub external_id: Option<String>,
    pub session_name: String,
}

// Secrets must not reach a log by way of `{:?}`.
impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3({} in {})", self.bucket, self.region)
    }
}

pub fn read(_handler: &Fields, aws: Fields, _found: Found, is_checked: bool) -> Result<S3> {
    read_bucket(aws, is_checked)
}

/// A bucket from an object with these fields.
pub fn read_bucket(aws: Fields, is_checked: bool) -> Result<S3> {
    let Place { bucket, region, endpoint, path_style } = place(&aws)?;
    let directory = aws.get(&FILE_PATH)?.trim_matches('/').to_owned();
    if directory.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(aws.error(FILE_PATH.name(), "must not have . or .. as a segment"));
    }
    let credentials = credentials(&aws)?;
    let is_anonymous = credentials == Credentials::Anonymous;
    let request_payer = aws.get(&REQUEST_PAYER)?;
    if request_payer && is_anonymous {
        let message = "needs signed requests, so anonymous must not be true";
        return Err(aws.error(REQUEST_PAYER.name(), message));
    }
    let ca_file = ca_file::read(&aws, &CA_FILE, is_checked)?;
    Ok(S3 {
        bucket,
        directory,
        region,
        endpoint,
        path_style,
        credentials,
        assumed_role: assumed_role(&aws, is_anonymous)?,
        request_payer,
        ca_file,
        json_path: aws.own_path().to_owned(),
    })
}

/// Where a bucket is.
struct Place {
    bucket: String,
    region: String,
    endpoint: Option<String>,
    path_style: bool,
}

fn place(aws: &Fields) -> Result<Place> {
    let bucket = aws.required(&BUCKET_NAME)?.to_owned();
    let region = aws.optional(&REGION)?;
    if let Some(region) = region
        && !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        let message = format!("must be a region's name, such as eu-west-1, not {region:?}");
        return Err(aws.error(REGION.name(), message));
    }
    let endpoint = aws.optional(&ENDPOINT)?.map(|written| endpoint(aws, written)).transpose()?;
    let path_style = aws.optional(&PATH_STYLE)?;
    if let Some(access_point) = access_point::parse(&bucket) {
        let found = access_point.map_err(|problem| aws.error(BUCKET_NAME.name(), problem))?;
        if region.is_some_and(|region| region != found.region) {
            let message = format!("the access point is in {}", found.region);
            return Err(aws.error(REGION.name(), message));
        }
        if path_style == Some(true) {
            let message = "an access point has a host name of its own";
            return Err(aws.error(PATH_STYLE.name(), message));
        }
        return Ok(Place {
            bucket: found.host_label,
            region: found.region,
            endpoint: Some(endpoint.unwrap_or(found.endpoint)),
            path_style: false,
        });
    }
    if !bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        let message = "may contain letters, digits, dots, hyphens and underscores only";
        return Err(aws.error(BUCKET_NAME.name(), message));
    }
    if endpoint.is_none() && bucket.ends_with("--x-s3") {
        let message = "is a directory bucket (S3 Express One Zone), which is not supported: it needs sessions";
        return Err(aws.error(BUCKET_NAME.name(), message));
    }
    // A bucket name with dots does not match the wildcard certificate of *.s3.amazonaws.com, and few private
    // endpoints resolve bucket.host: both need the path style.
    let path_style = path_style.unwrap_or(endpoint.is_some() || bucket.contains('.'));
    let region = region.unwrap_or(DEFAULT_REGION).to_owned();
    Ok(Place { bucket, region, endpoint, path_style })
}

fn assumed_role(aws: &Fields, is_anonymous: bool) -> Result<Option<AssumedRole>> {
    let external_id = aws.optional(&EXTERNAL_ID)?;
    let session_name = aws.optional(&ROLE_SESSION_NAME)?;
    let Some(arn) = aws.optional(&ROLE_ARN)? else {
        for (name, is_given) in [
            (EXTERNAL_ID.name(), external_id.is_some()),
            (ROLE_SESSION_NAME.name(), session_name.is_some()),
        ] {
            if is_given {
                return Err(aws.error(name, "needs role_arn as well"));
            }
        }
        return Ok(None);
    };
    if is_anonymous {
        let message = "needs credentials to assume it with, so anonymous must not be true";
        return Err(aws.error(ROLE_ARN.name(), message));
    }
    let is_arn = arn.starts_with("arn:") && arn.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_arn || arn.len() > MAX_ARN {
        let message = format!("must be arn:aws:iam::ACCOUNT:role/NAME, not {arn:?}");
        return Err(aws.error(ROLE_ARN.name(), message));
    }
    // <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    let session_name = session_name.unwrap_or(DEFAULT_SESSION_NAME);
    if !(2..=64).contains(&session_name.len()) || !session_name.bytes().all(is_word) {
        let message = "must have 2 to 64 letters, digits and characters of _+=,.@-";
        return Err(aws.error(ROLE_SESSION_NAME.name(), message));
    }
    if let Some(id) = &external_id
        && (!(2..=1224).contains(&id.len())
            || !id.bytes().all(|byte| is_word(byte) || b":/".contains(&byte)))
    {
        let message = "must have 2 to 1224 letters, digits and characters of _+=,.@:/-";
        return Err(aws.error(EXTERNAL_ID.name(), message));
    }
    let session_name = session_name.to_owned();
    Ok(Some(AssumedRole { arn: arn.to_owned(), external_id, session_name }))
}

fn endpoint(aws: &Fields, written: &str) -> Result<String> {
    let endpoint = written.trim_end_matches('/');
    if url::is_origin(endpoint) {
        return Ok(endpoint.to_owned());
    }
    let message =
        format!("must be http:// or https://, a host and optionally a port, not {written:?}");
    Err(aws.error(ENDPOINT.name(), message))
}

fn credentials(aws: &Fields) -> Result<Credentials> {
    let access = aws.optional(&AWS_ACCESS)?;
    let secret = aws.optional(&AWS_SECRET)?;
    let session_token = aws.optional(&SESSION_TOKEN)?;
    let anonymous = aws.get(&ANONYMOUS)?;
    let error = |field: &Optional<String>, message| Err(aws.error(field.name(), message));
    match (access, secret) {
        (Some(_), _) | (_, Some(_)) if anonymous => {
            let message = "is true, so aws_access and aws_secret must not be given";
            Err(aws.error(ANONYMOUS.name(), message))
        }
        (Some(access), Some(secret)) => Ok(Credentials::Static { access, secret, session_token }),
        (Some(_), None) => error(&AWS_SECRET, "required when aws_access is given"),
        (None, Some(_)) => error(&AWS_ACCESS, "required when aws_secret is given"),
        (None, None) if session_token.is_some() => {
            error(&SESSION_TOKEN, "needs aws_access and aws_secret as well")
        }
        (None, None) if anonymous => Ok(Credentials::Anonymous),
        (None, None) => Ok(Credentials::Chain),
    }
}

impl OriginConfig for S3 {
    fn identity(&self) -> String {
        let endpoint = self.endpoint.as_deref().unwrap_or("aws");
        format!("s3\0{endpoint}\0{}\0{}", self.bucket, self.directory)
    }

    fn key_of<'o>(&self, bucket: &str, object: &'o str) -> Option<&'o str> {
        if bucket != self.bucket {
            return None;
        }
        if self.directory.is_empty() {
            return Some(object);
        }
        object.strip_prefix(&self.directory)?.strip_prefix('/')
    }

    fn json_path(&self) -> &str {
        &self.json_path
    }

    fn check_access(&self, user: &str) -> Result<()> {
        ca_file::check_access(self.ca_file.as_deref(), &self.json_path, &CA_FILE, user)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Origin;
    use crate::config::tests::{error_of, parse};

    #[test]
    fn aws_errors_name_their_path() {
        for (aws, expected) in [
            ("{}", "bucket_name: required"),
            (r#"{"bucket_nam": "b"}"#, "bucket_nam: unknown field, did you mean bucket_name?"),
            (
                r#"{"bucket_name": "b", "file_pat": ""}"#,
                "file_pat: unknown field, did you mean file_path?",
            ),
            (r#"{"bucket_name": 5}"#, "bucket_name: must be a string"),
            (r#"{"bucket_name": ""}"#, "bucket_name: must not be empty"),
            (r#"{"bucket_name": "a/b"}"#, "bucket_name: may contain"),
            (r#"{"bucket_name": "b/../c"}"#, "bucket_name: may contain"),
            (r#"{"bucket_name": "b", "file_path": ["x"]}"#, "file_path: must be a string"),
            (r#"{"bucket_name": "b", "file_path": "a/../b"}"#, "file_path: must not have"),
            (r#"{"bucket_name": "b", "region": "eu west"}"#, "region: must be"),
            (r#"{"bucket_name": "b", "endpoint": "minio:9000"}"#, "endpoint: must be http:// or"),
            (r#"{"bucket_name": "b", "endpoint": "ftp://h"}"#, "endpoint: must be http:// or"),
            (
                r#"{"bucket_name": "b", "endpoint": "http://h/path"}"#,
                "endpoint: must be http:// or",
            ),
            (r#"{"bucket_name": "b", "endpoint": "http://:80"}"#, "endpoint: must be http:// or"),
            (
                r#"{"bucket_name": "b", "endpoint": "http://h:99999"}"#,
                "endpoint: must be http:// or",
            ),
            (r#"{"bucket_name": "b", "path_style": "yes"}"#, "path_style: must be true or false"),
            (r#"{"bucket_name": "b", "aws_access": 1}"#, "aws_access: must be a string"),
            (r#"{"bucket_name": "b", "aws_access": "a"}"#, "aws_secret: required"),
            (r#"{"bucket_name": "b", "aws_secret": "a"}"#, "aws_access: required"),
            (r#"{"bucket_name": "b", "anonymous": true, "aws_access": "a"}"#, "anonymous: is true"),
            (r#"{"bucket_name": "b", "session_token": "a"}"#, "session_token: needs"),
            (
                r#"{"bucket_name": "b", "aws_access": "$S3IS_NOT_SET", "aws_secret": "x"}"#,
                "aws_access: environment variable S3IS_NOT_SET: is not set",
            ),
            (
                r#"{"bucket_name": "b", "aws_access": "a", "aws_secret": "x\n"}"#,
                "aws_secret: begins or ends with white space",
            ),
            (
                r#"{"bucket_name": "b", "aws_access": " a", "aws_secret": "x"}"#,
                "aws_access: begins or ends with white space",
            ),
            (
                r#"{"bucket_name": "b", "aws_access": "a", "aws_secret": "x", "session_token": "t\r\n"}"#,
                "session_token: begins or ends with white space",
            ),
            (r#"{"bucket_name": "b", "ca_file": "/no/such"}"#, "ca_file: /no/such: can't be read"),
            (
                r#"{"bucket_name": "arn:aws:s3:::b"}"#,
                "bucket_name: must be a bucket's name or arn:",
            ),
            (
                r#"{"bucket_name": "arn:aws:s3:eu-west-1:123456789012:accesspoint/a", "region": "eu-west-2"}"#,
                "region: the access point is in eu-west-1",
            ),
            (
                r#"{"bucket_name": "arn:aws:s3:eu-west-1:123456789012:accesspoint/a", "path_style": true}"#,
                "path_style: an access point has a host name",
            ),
            (r#"{"bucket_name": "b--use1-az4--x-s3"}"#, "bucket_name: is a directory bucket"),
            (r#"{"bucket_name": "b", "role_arn": "images"}"#, "role_arn: must be arn:aws:iam::"),
            (r#"{"bucket_name": "b", "role_arn": "arn:a b"}"#, "role_arn: must be arn:aws:iam::"),
            (r#"{"bucket_name": "b", "role_arn": ""}"#, "role_arn: must not be empty"),
            (r#"{"bucket_name": "b", "external_id": "ab"}"#, "external_id: needs role_arn"),
            (
                r#"{"bucket_name": "b", "role_session_name": "ab"}"#,
                "role_session_name: needs role_arn",
            ),
            (
                r#"{"bucket_name": "b", "role_arn": "arn:x", "external_id": "a b"}"#,
                "external_id: must have 2 to 1224",
            ),
            (
                r#"{"bucket_name": "b", "role_arn": "arn:x", "role_session_name": "a"}"#,
                "role_session_name: must have 2 to 64",
            ),
            (
                r#"{"bucket_name": "b", "role_arn": "arn:x", "anonymous": true}"#,
                "role_arn: needs credentials",
            ),
            (
                r#"{"bucket_name": "b", "request_payer": true, "anonymous": true}"#,
                "request_payer: needs signed requests",
            ),
        ] {
            let got = error_of(&format!(r#"{{"handlers": [{{"name": "h", "aws": {aws}}}]}}"#));
            assert!(got.starts_with(&format!("handlers[0].aws.{expected}")), "{aws}: {got}");
        }
        let got = error_of(r#"{"handlers": [{"name": "h", "aws": 1}]}"#);
        assert_eq!(got, "handlers[0].aws: must be an object, not a number");
    }

    #[test]
    fn keys_of_objects_are_those_below_file_path() {
        let key = |file_path: &str, bucket: &str, object: &'static str| {
            let aws = format!(r#"{{"bucket_name": "b", "file_path": "{file_path}"}}"#);
            let text = format!(r#"{{"handlers": [{{"name": "h", "aws": {aws}}}]}}"#);
            parse(&text).handlers[0].origins.keys_of(bucket, object).first().copied()
        };
        assert_eq!(key("", "b", "a/b.jpg"), Some("a/b.jpg"));
        assert_eq!(key("", "c", "a/b.jpg"), None);
        assert_eq!(key("/a/", "b", "a/b.jpg"), Some("b.jpg"));
        assert_eq!(key("a", "b", "a//b.jpg"), Some("/b.jpg"));
        assert_eq!(key("a", "b", "ab.jpg"), None);
        assert_eq!(key("a/b", "b", "a/c.jpg"), None);
        assert_eq!(key("a", "b", "a"), None);
    }

    #[test]
    fn the_arn_of_an_access_point_is_a_host_in_its_region() {
        let aws = r#"{"bucket_name": "arn:aws:s3:eu-west-1:123456789012:accesspoint/prod"}"#;
        let config = parse(&format!(r#"{{"handlers": [{{"name": "h", "aws": {aws}}}]}}"#));
        let Some(Origin::S3(s3)) = config.handlers[0].origins.first() else { panic!("not S3") };
        assert_eq!((s3.bucket.as_str(), s3.region.as_str()), ("prod-123456789012", "eu-west-1"));
        assert_eq!(s3.endpoint.as_deref(), Some("https://s3-accesspoint.eu-west-1.amazonaws.com"));
        assert!(!s3.path_style);
    }

    #[test]
    fn secrets_are_not_shown_by_debug() {
        let aws = r#"{"bucket_name": "b", "aws_access": "AKIA", "aws_secret": "hush"}"#;
        let text = format!(r#"{{"handlers": [{{"name": "h", "aws": {aws}}}]}}"#);
        let shown = format!("{:?}", parse(&text));
        assert!(!shown.contains("hush") && !shown.contains("AKIA"), "{shown}");
    }
}
