//! Signed URLs. rust-s3 computes them; only this process and the bucket see them.

use std::collections::HashMap;
use std::time::Instant;

use s3::creds::Credentials as SigningKeys;
use ureq::http::HeaderMap;

use super::endpoint::path_style;
use super::{Bucket, Deadline, Keys, ObjectName};
use crate::error::{Code, Failure};

/// How long a signed URL is valid. The time allows for clocks that differ, as much as S3 allows for signatures in a
/// header.
const URL_SECONDS: u32 = 15 * 60;

/// The request that a URL is signed for.
pub(super) enum Action<'r> {
    Get,
    /// With these header fields, all of which are signed: S3 refuses `x-amz-` fields that are not.
    Put(&'r HeaderMap),
    Delete,
    /// ListObjectsV2 with these parameters.
    List(&'r [(&'static str, String)]),
}

impl Action<'_> {
    /// The permission that it needs.
    pub(super) fn permission(&self) -> &'static str {
        match self {
            Action::Get => "s3:GetObject",
            Action::Put(_) => "s3:PutObject",
            Action::Delete => "s3:DeleteObject",
            Action::List(_) => "s3:ListBucket",
        }
    }
}

impl Bucket {
    /// The URL of a request, signed unless the bucket is public. Waits for the first lookup of credentials.
    pub(super) fn url(
        &self,
        object: &ObjectName,
        action: &Action,
        deadline: Deadline,
    ) -> Result<String, Failure> {
        let unsigned =
            |error| object.failure(Code::OriginError, format_args!("can't be signed: {error}"));
        let keys = self.signing_keys(object, deadline)?;
        let mut bucket =
            s3::Bucket::new(&self.config.bucket, self.region.clone(), keys).map_err(unsigned)?;
        if path_style(&self.config) {
            bucket = bucket.with_path_style();
        }
        if let Keys::None = self.keys {
            return Ok(unsigned_url(&bucket, object, action));
        }
        // rust-s3 drops one leading slash; with this one, it keeps those of the key.
        let path = format!("/{}", object.key);
        let url = match action {
            Action::Get => bucket.presign_get(path, URL_SECONDS, self.request_payer()),
            Action::Put(headers) => {
                bucket.presign_put(path, URL_SECONDS, Some((*headers).clone()), None)
            }
            Action::Delete => bucket.presign_delete(path, URL_SECONDS),
            Action::List(parameters) => {
                let parameters: HashMap<String, String> = parameters
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), value.clone()))
                    .collect();
                bucket.presign_get("/", URL_SECONDS, Some(parameters))
            }
        };
        url.map_err(unsigned)
    }

    /// A parameter in place of the header field `x-amz-request-payer`, which a signed URL would have to be sent with:
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ObjectsinRequesterPaysBuckets.html>
    fn request_payer(&self) -> Option<HashMap<String, String>> {
        let parameter = ("x-amz-request-payer".to_owned(), "requester".to_owned());
        self.config.request_payer.then(|| HashMap::from([parameter]))
    }

    fn signing_keys(
        &self,
        object: &ObjectName,
        deadline: Deadline,
    ) -> Result<SigningKeys, Failure> {
        let found = match &self.keys {
            Keys::Fixed(keys) => return Ok((**keys).clone()),
            Keys::Found(provider) => {
                let timeout = Instant::now() + self.limits.origin_first_byte_timeout;
                provider
                    .keys(timeout.min(deadline.at))
                    .map_err(|failure| object.failure(failure.code, failure.detail))?
                    .to_rust_s3()
            }
            Keys::None => SigningKeys::anonymous(),
        };
        found.map_err(|error| object.failure(Code::NoCredentials, error))
    }
}

fn unsigned_url(bucket: &s3::Bucket, object: &ObjectName, action: &Action) -> String {
    let encode = |text: &str, slash| s3::signing::uri_encode(text, slash);
    match action {
        Action::List(parameters) => {
            let pairs: Vec<String> = parameters
                .iter()
                .map(|(name, value)| format!("{name}={}", encode(value, true)))
                .collect();
            format!("{}/?{}", bucket.url(), pairs.join("&"))
        }
        _ => format!("{}/{}", bucket.url(), encode(&object.key, false)),
    }
}
