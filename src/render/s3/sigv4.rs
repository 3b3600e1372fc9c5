//! AWS Signature Version 4 of a POST to STS, in the header. rust-s3 signs URLs, and for S3 only.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::time::SystemTime;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::keys::Keys;
use crate::cache::hexadecimal;
use crate::time::{civil, unix_seconds};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// A POST of a form.
pub(super) struct Post<'p> {
    /// As in the `Host` field.
    pub host: &'p str,
    /// Percent-encoded.
    pub path: &'p str,
    pub content_type: &'p str,
    pub body: &'p str,
}

/// Names and values of the fields that sign a request.
pub(super) fn sign(
    post: &Post,
    keys: &Keys,
    region: &str,
    service: &str,
    now: SystemTime,
) -> Vec<(&'static str, String)> {
    let time = iso_8601(now);
    let date = time.split('T').next().unwrap_or_default();
    // In the order of their names.
    let mut fields = vec![
        ("content-type", post.content_type),
        ("host", post.host),
        ("x-amz-date", time.as_str()),
    ];
    fields.extend(keys.session_token.as_deref().map(|token| ("x-amz-security-token", token)));
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let canonical: String =
        fields.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let request = format!("POST\n{}\n\n{canonical}\n{names}\n{}", post.path, digest(post.body));
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let text = format!("{ALGORITHM}\n{time}\n{scope}\n{}", digest(&request));
    let mut key = format!("AWS4{}", keys.secret).into_bytes();
    for part in [date, region, service, "aws4_request", &text] {
        key = hmac(&key, part);
    }
    let signature = hexadecimal::encode(&key);
    let access = &keys.access;
    let authorization = format!(
        "{ALGORITHM} Credential={access}/{scope}, SignedHeaders={names}, Signature={signature}"
    );
    let mut signed = vec![("authorization", authorization), ("x-amz-date", time.clone())];
    signed.extend(keys.session_token.clone().map(|token| ("x-amz-security-token", token)));
    signed
}

fn digest(text: &str) -> String {
    hexadecimal::encode(&Sha256::digest(text))
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    // HMAC takes keys of every length (RFC 2104 §3).
    let Ok(mut code) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    code.update(text.as_bytes());
    code.finalize().into_bytes().to_vec()
}

/// `20150830T123600Z`.
fn iso_8601(time: SystemTime) -> String {
    let seconds = unix_seconds(time);
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// The test `post-x-www-form-urlencoded` of AWS's suite for Signature Version 4.
    #[test]
    fn the_signature_is_that_of_the_test_suite_of_aws() {
        let keys = |session_token: Option<&str>| Keys {
            access: "AKIDEXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: session_token.map(str::to_owned),
            expires: None,
        };
        let post = Post {
            host: "example.amazonaws.com",
            path: "/",
            content_type: "application/x-www-form-urlencoded",
            body: "Param1=value1",
        };
        let now = UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let signed = sign(&post, &keys(None), "us-east-1", "service", now);
        let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                        SignedHeaders=content-type;host;x-amz-date, \
                        Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a";
        let date = ("x-amz-date", "20150830T123600Z".to_owned());
        assert_eq!(signed, [("authorization", expected.to_owned()), date]);

        let signed = sign(&post, &keys(Some("token")), "us-east-1", "service", now);
        assert!(
            signed[0]
                .1
                .contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token,")
        );
        assert!(signed.contains(&("x-amz-security-token", "token".to_owned())));
    }
}
