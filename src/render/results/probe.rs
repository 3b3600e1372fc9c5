//! The requests of `--check --online` to a results bucket: what the server does there, each once.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use crate::config::{Limits, S3};
use crate::error::{Code, Failure};
use crate::render::s3::{Bucket, Deadline, Role};

/// The directory of the object that is written and removed.
const DIRECTORY: &str = "v1/check/";
const BODY: &[u8] = b"written by s3imageserver --check --online";

/// Writes, reads, lists and removes an object. Returns a phrase about a bucket that works.
///
/// # Errors
///
/// A sentence about what is wrong with the configuration, the credentials or the bucket.
pub fn probe(config: &S3, limits: &Limits) -> Result<String, Failure> {
    let bucket = Bucket::open(config, Role::Results, limits)?;
    let deadline = || Deadline::after(limits.origin_timeout, "limits.origin_timeout");
    // Endpoint, region and credentials, with the sentences for them.
    bucket.probe(None, deadline())?;
    let number = RandomState::new().build_hasher().finish();
    let key = format!("{DIRECTORY}{number:016x}");
    bucket.put(&key, "text/plain", &[], BODY, deadline())?;
    let read = bucket.get_stored(&key, BODY.len() as u64, deadline());
    let listed = bucket.list(&key, None, 1, deadline());
    // Also if it could not be read.
    bucket.delete(&key, deadline())?;
    let wrong =
        |what: &str| Failure::new(Code::OriginError, format!("bucket {}: {what}", config.bucket));
    if read?.bytes != BODY {
        return Err(wrong("an object is not what was written"));
    }
    if listed?.keys != [key] {
        return Err(wrong("an object that was written is not listed"));
    }
    Ok(format!("bucket {}: results can be written, read, listed and removed", config.bucket))
}
