//! The meaning of responses other than 200.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>

use std::borrow::Cow;

use ureq::http::{HeaderMap, StatusCode};

use super::signing::Action;
use super::{ObjectName, Role, xml};
use crate::config::S3;
use crate::error::{Code, Failure};

/// A response that refuses a request.
pub(super) struct Answer<'r> {
    pub status: StatusCode,
    pub headers: &'r HeaderMap,
    /// Its start.
    pub body: &'r [u8],
}

/// The failure for a response to a request that needs this permission.
pub(super) fn failure(
    config: &S3,
    role: Role,
    object: &ObjectName,
    permission: &str,
    answer: &Answer,
) -> Failure {
    let Answer { status, headers, body } = *answer;
    let is_certain = !may_hide_misconfiguration(status, body);
    let code = error_code(body).unwrap_or_else(|| "no error code".to_owned());
    let body = String::from_utf8_lossy(body);
    let status = status.as_u16();
    let mut answered = format!("{object}: {} answered {status} ({code})", role.subject());
    if is_encrypted_for_customer(&code, &body) {
        answered = format!(
            "{answered}: it is encrypted with a key of its uploader (SSE-C), which is not supported"
        );
    } else if let Some(meaning) = meaning(&code, permission) {
        answered = format!("{answered}: {meaning}");
    }
    match status {
        // No key is looked for with them: the operator has to act, and clients may ask again.
        403 if is_about_credentials(&code) => Failure::new(Code::OriginError, answered),
        // Without the permission to list, S3 sends 403 for a missing key; and an object that may not be read is, to a
        // client, missing as well.
        404 if is_certain => Failure::new(Code::NotFound, answered),
        403 | 404 => Failure::new(Code::NotShown, answered),
        300..=400 => match elsewhere(config, headers, &body) {
            Some(Elsewhere::Region(region)) => {
                let bucket = &config.bucket;
                let path = &config.json_path;
                let advice = format!(
                    "bucket {bucket} is in region {region}: set {path}.region to \"{region}\""
                );
                Failure::new(Code::WrongRegion, format!("{answered}; {advice}"))
            }
            Some(Elsewhere::Endpoint(host)) => {
                let bucket = &config.bucket;
                let path = &config.json_path;
                let advice =
                    format!("bucket {bucket} is at {host}: set {path}.endpoint or {path}.region");
                Failure::new(Code::WrongRegion, format!("{answered}; {advice}"))
            }
            None if status == 400 => Failure::new(Code::OriginError, answered),
            None => {
                Failure::new(Code::OriginError, format!("{answered}; redirects are not followed"))
            }
        },
        500..=599 => Failure::new(Code::OriginError, format!("{answered} twice")),
        _ => Failure::new(Code::OriginError, answered),
    }
}

/// Whether S3 wants the key of an object that was uploaded with one (SSE-C). It has no code of its own for that.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html>
fn is_encrypted_for_customer(code: &str, body: &str) -> bool {
    let message = || xml::element(body, "Message").unwrap_or_default();
    code == "InvalidRequest" && message().contains("Server Side Encryption")
}

/// The error code in a response.
pub(super) fn error_code(body: &[u8]) -> Option<String> {
    xml::word(&String::from_utf8_lossy(body), "Code")
}

/// What an operator has to know about an error code that names no cause.
fn meaning(code: &str, permission: &str) -> Option<Cow<'static, str>> {
    let fixed = match code {
        "AccessDenied" if permission == Action::Get.permission() => {
            "the credentials may not read it (s3:GetObject), or it does not exist and they may not list \
             the bucket"
        }
        "AccessDenied" => {
            return Some(Cow::Owned(format!("the credentials lack the permission {permission}")));
        }
        "SignatureDoesNotMatch" => "the secret does not belong to the access key",
        "InvalidAccessKeyId" => "the access key does not exist",
        "ExpiredToken" => "the session token has expired",
        "InvalidToken" => "the session token is not valid",
        "RequestTimeTooSkewed" => "the clocks of the origin and of this machine differ too much",
        "NoSuchBucket" => "the bucket does not exist",
        _ => return None,
    };
    Some(Cow::Borrowed(fixed))
}

/// Whether an error code says that S3 does not accept the credentials, whatever the key.
fn is_about_credentials(code: &str) -> bool {
    matches!(
        code,
        "SignatureDoesNotMatch"
            | "InvalidAccessKeyId"
            | "ExpiredToken"
            | "InvalidToken"
            | "RequestTimeTooSkewed"
    )
}

/// Whether a response that means "not found" to a client may come from a wrong configuration: S3 sends 403 for a missing
/// key in a bucket that may not be listed, but also for one that the credentials may not read.
pub(super) fn may_hide_misconfiguration(status: StatusCode, body: &[u8]) -> bool {
    match status {
        StatusCode::FORBIDDEN => !error_code(body).is_some_and(|code| is_about_credentials(&code)),
        StatusCode::NOT_FOUND => error_code(body).is_some_and(|code| code == "NoSuchBucket"),
        _ => false,
    }
}

enum Elsewhere {
    Region(String),
    Endpoint(String),
}

/// Where the bucket is, by the header or the XML, if it is not where it was looked for.
fn elsewhere(config: &S3, headers: &HeaderMap, body: &str) -> Option<Elsewhere> {
    let header = headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
    let endpoint = xml::word(body, "Endpoint");
    let named = header
        .map(str::to_owned)
        .or_else(|| xml::word(body, "Region"))
        .or_else(|| endpoint.as_deref().and_then(region_of_host))
        .filter(|region| is_region(region));
    match named {
        // Any response may have the header. With the configured region, it explains nothing.
        Some(region) if region == config.region => None,
        Some(region) => Some(Elsewhere::Region(region)),
        None => endpoint.map(Elsewhere::Endpoint),
    }
}

fn is_region(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The region in `bucket.s3.eu-west-1.amazonaws.com` or `bucket.s3-eu-west-1.amazonaws.com`.
fn region_of_host(host: &str) -> Option<String> {
    let (before, _) = host.split_once(".amazonaws.com")?;
    let (rest, last) = before.rsplit_once('.').unwrap_or(("", before));
    match last.strip_prefix("s3-") {
        Some(region) => Some(region.to_owned()),
        None if rest == "s3" || rest.ends_with(".s3") => Some(last.to_owned()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::origin::testing;

    fn refused(status: u16, region: Option<&str>, body: &str) -> Failure {
        let config = testing::s3("http://127.0.0.1:1");
        let mut headers = HeaderMap::new();
        if let Some(region) = region {
            headers.insert("x-amz-bucket-region", region.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        let object = ObjectName { bucket: "images", key: "k".to_owned() };
        let answer = Answer { status, headers: &headers, body: body.as_bytes() };
        failure(&config, Role::Origin, &object, Action::Get.permission(), &answer)
    }

    #[test]
    fn a_forbidden_or_missing_object_is_not_found() {
        for (status, code, expected) in [
            (404, "NoSuchKey", Code::NotFound),
            (403, "AccessDenied", Code::NotShown),
            (404, "NoSuchBucket", Code::NotShown),
        ] {
            let failure = refused(status, None, &format!("<Error><Code>{code}</Code></Error>"));
            assert_eq!(failure.code, expected);
            let start =
                format!("key \"k\" in bucket images: the origin answered {status} ({code})");
            assert!(failure.detail.starts_with(&start), "{}", failure.detail);
        }
        assert!(refused(404, None, "").detail.ends_with("answered 404 (no error code)"));
    }

    #[test]
    fn refused_credentials_are_an_origin_error_at_every_status() {
        for code in [
            "SignatureDoesNotMatch",
            "InvalidAccessKeyId",
            "ExpiredToken",
            "InvalidToken",
            "RequestTimeTooSkewed",
        ] {
            let body = format!("<Error><Code>{code}</Code></Error>");
            for status in [400, 403] {
                let failure = refused(status, None, &body);
                assert_eq!(failure.code, Code::OriginError, "{status} {code}");
                let meaning = meaning(code, "s3:GetObject").unwrap();
                assert!(failure.detail.ends_with(&*meaning), "{}", failure.detail);
            }
            assert!(!may_hide_misconfiguration(StatusCode::FORBIDDEN, body.as_bytes()));
        }
        assert!(may_hide_misconfiguration(StatusCode::FORBIDDEN, b""));
    }

    #[test]
    fn a_refused_write_names_bucket_and_permission() {
        let config = testing::s3("http://127.0.0.1:1");
        let object = ObjectName { bucket: "images", key: "k".to_owned() };
        let answer = Answer {
            status: StatusCode::FORBIDDEN,
            headers: &HeaderMap::new(),
            body: b"<Error><Code>AccessDenied</Code></Error>",
        };
        let failure = failure(&config, Role::Results, &object, "s3:PutObject", &answer);
        let expected = "key \"k\" in bucket images: the results bucket answered 403 (AccessDenied): the \
                        credentials lack the permission s3:PutObject";
        assert_eq!(failure.detail, expected);
    }

    #[test]
    fn a_wrong_region_is_read_from_header_and_xml() {
        let endpoint = |host: &str| {
            format!(
                "<Error><Code>PermanentRedirect</Code><Endpoint>{host}</Endpoint><Bucket>b</Bucket></Error>"
            )
        };
        let malformed =
            "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>";
        for (status, header, body) in [
            (301, Some("eu-west-1"), String::new()),
            (400, Some("eu-west-1"), String::new()),
            (400, None, malformed.to_owned()),
            (301, None, endpoint("images.s3.eu-west-1.amazonaws.com")),
            (301, None, endpoint("images.s3-eu-west-1.amazonaws.com")),
            (307, None, endpoint("s3.eu-west-1.amazonaws.com")),
            (301, None, endpoint("s3-eu-west-1.amazonaws.com")),
        ] {
            let failure = refused(status, header, &body);
            assert_eq!(failure.code, Code::WrongRegion, "{status} {header:?} {body}");
            let advice = "; bucket images is in region eu-west-1: set handlers[0].aws.region to \"eu-west-1\"";
            assert!(failure.detail.ends_with(advice), "{}", failure.detail);
        }
        let other = refused(301, None, &endpoint("images.elsewhere.example"));
        assert_eq!(other.code, Code::WrongRegion);
        assert!(
            other.detail.contains("is at images.elsewhere.example: set handlers[0].aws.endpoint")
        );
    }

    #[test]
    fn an_object_with_a_customers_key_is_explained() {
        let body = "<Error><Code>InvalidRequest</Code><Message>The object was stored using a form of Server Side \
                    Encryption. The correct parameters must be provided to retrieve the object.</Message></Error>";
        let failure = refused(400, None, body);
        assert_eq!(failure.code, Code::OriginError);
        assert!(failure.detail.ends_with("(SSE-C), which is not supported"), "{failure}");
        let other = refused(400, None, "<Error><Code>InvalidRequest</Code></Error>");
        assert!(other.detail.ends_with("answered 400 (InvalidRequest)"), "{other}");
    }

    #[test]
    fn other_statuses_are_origin_errors() {
        let us = Some("us-east-1");
        for (status, header) in
            [(400, None), (400, us), (301, None), (302, us), (304, None), (204, None), (418, None)]
        {
            assert_eq!(refused(status, header, "").code, Code::OriginError, "{status}");
        }
        assert!(refused(301, None, "").detail.contains("redirects are not followed"));
        assert!(
            refused(503, None, "<Code>SlowDown</Code>")
                .detail
                .ends_with("answered 503 (SlowDown) twice")
        );
    }

    #[test]
    fn names_from_the_origin_are_checked() {
        let failure = refused(301, Some("eu west"), "<Code>a\nb</Code><Endpoint>x y</Endpoint>");
        assert_eq!(failure.code, Code::OriginError);
        assert!(failure.detail.contains("(no error code)"), "{}", failure.detail);
    }
}
