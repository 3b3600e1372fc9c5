//! PUT and DELETE.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::send::Request;
use super::signing::Action;
use super::{Bucket, Deadline};
use crate::error::{Code, Failure};
use crate::render::http::drain;

/// The checksum that S3 compares with the body, in base64:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>
const CHECKSUM: &str = "x-amz-checksum-sha256";

/// A header field of an object: its name in lower case, and its value in visible ASCII.
pub type Field<'f> = (&'static str, &'f str);

impl Bucket {
    /// Creates or replaces the object of a key.
    ///
    /// # Errors
    ///
    /// Also if a field is not valid; then nothing is sent.
    pub fn put(
        &self,
        key: &str,
        content_type: &str,
        fields: &[Field],
        body: &[u8],
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let object = &self.object(key)?;
        let checksum = STANDARD.encode(Sha256::digest(body));
        let mut headers = HeaderMap::new();
        let own = [(header::CONTENT_TYPE.as_str(), content_type), (CHECKSUM, checksum.as_str())];
        for (name, value) in own.into_iter().chain(fields.iter().copied()) {
            let invalid = || {
                object.failure(Code::OriginError, format_args!("{name}: is no valid header field"))
            };
            let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
            else {
                return Err(invalid());
            };
            headers.insert(name, value);
        }
        let request = Request { body, ..Request::new(Action::Put(&headers), deadline) };
        let response = self.send(object, &request, &mut 0)?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(object, &request, response));
        }
        drain(response);
        Ok(())
    }

    /// Removes the object of a key. It is no error if there is none.
    ///
    /// # Errors
    ///
    /// If the bucket does not confirm it.
    pub fn delete(&self, key: &str, deadline: Deadline) -> Result<(), Failure> {
        let object = &self.object(key)?;
        let request = Request::new(Action::Delete, deadline);
        let response = self.send(object, &request, &mut 0)?;
        match response.status() {
            StatusCode::NO_CONTENT | StatusCode::OK => {
                drain(response);
                Ok(())
            }
            _ => match self.refused(object, &request, response) {
                // Some servers answer so.
                Failure { code: Code::NotFound, .. } => Ok(()),
                failure => Err(failure),
            },
        }
    }
}
