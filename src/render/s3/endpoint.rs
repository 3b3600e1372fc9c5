//! The host and the region of a bucket.

use s3::Region;

use crate::config::S3;

/// The endpoint and the region to sign for.
pub(super) fn region(config: &S3) -> Region {
    let custom = |endpoint: String| Region::Custom { region: config.region.clone(), endpoint };
    if let Some(endpoint) = &config.endpoint {
        return custom(canonical_endpoint(endpoint));
    }
    match config.region.parse() {
        // DigitalOcean, Wasabi, Yandex, AWS China: rust-s3 knows their hosts.
        Ok(known) if !is_aws(&known) => known,
        // For AWS it has some of the old names with a hyphen, which newer regions do not have.
        // <https://docs.aws.amazon.com/general/latest/gr/s3.html>
        _ => custom(format!("https://s3.{}.amazonaws.com", config.region)),
    }
}

fn is_aws(region: &Region) -> bool {
    matches!(region, Region::Custom { .. }) || region.endpoint().ends_with(".amazonaws.com")
}

/// The endpoint as the `Host` header has it, because the host is signed: URL parsing makes it lower case and removes the
/// scheme's default port (WHATWG URL §4.4), but rust-s3 signs it as it was written.
pub(super) fn canonical_endpoint(endpoint: &str) -> String {
    let endpoint = endpoint.to_ascii_lowercase();
    let port = if endpoint.starts_with("https://") { ":443" } else { ":80" };
    endpoint.strip_suffix(port).map(str::to_owned).unwrap_or(endpoint)
}

/// Host names have no upper case, so a bucket whose name has, as us-east-1 once allowed, can only be named in the path.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html>
pub(super) fn path_style(config: &S3) -> bool {
    config.path_style || config.bucket.bytes().any(|byte| byte.is_ascii_uppercase())
}
