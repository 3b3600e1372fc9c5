//! Credentials of a role that expire, from AWS STS: for a token in a file (web identity), or for other credentials.
//!
//! aws-creds can do the first too, but only through an HTTP client that is built without TLS here.
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>,
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>

use std::io::Read;
use std::time::SystemTime;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use s3::creds::Rfc3339OffsetDateTime;
use ureq::Agent;

use super::endpoint::canonical_endpoint;
use super::keys::{Keys, Names};
use super::{sigv4, xml};
use crate::config::AssumedRole;

const FORM: &str = "application/x-www-form-urlencoded";
/// Several times the size of STS's responses.
const MAX_RESPONSE: u64 = 64 << 10;
const NAMES: Names = ["AccessKeyId", "SecretAccessKey", "SessionToken"];

/// The parameters of a request to STS.
pub(super) struct WebIdentity {
    pub role_arn: String,
    pub session_name: String,
    pub token: String,
}

/// The endpoint of STS where `AWS_ENDPOINT_URL_STS` does not set it: that of the region, if it is known.
pub(super) fn endpoint(region: Option<&str>) -> String {
    let is_host_label = |region: &&str| {
        !region.is_empty()
            && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match region.filter(is_host_label) {
        None => "https://sts.amazonaws.com".to_owned(),
        Some(china) if china.starts_with("cn-") => format!("https://sts.{china}.amazonaws.com.cn"),
        Some(region) => format!("https://sts.{region}.amazonaws.com"),
    }
}

/// Requests credentials for a web identity. Errors don't contain the token.
pub(super) fn assume_role_with_web_identity(
    agent: &Agent,
    endpoint: &str,
    identity: &WebIdentity,
) -> Result<Keys, String> {
    let WebIdentity { role_arn, session_name, token } = identity;
    // A text file ends in a line end, and a JSON Web Token contains none (RFC 7515 §7.1).
    let form = form(&[
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", role_arn),
        ("RoleSessionName", session_name),
        ("WebIdentityToken", token.trim()),
    ]);
    post(agent, endpoint, role_arn, &form, Vec::new())
}

/// Requests credentials for a role with others, which sign the request for this region. Errors don't contain secrets.
pub(super) fn assume_role(
    agent: &Agent,
    endpoint: &str,
    region: &str,
    role: &AssumedRole,
    keys: &Keys,
) -> Result<Keys, String> {
    let mut fields = vec![
        ("Action", "AssumeRole"),
        ("Version", "2011-06-15"),
        ("RoleArn", role.arn.as_str()),
        ("RoleSessionName", role.session_name.as_str()),
    ];
    fields.extend(role.external_id.as_deref().map(|id| ("ExternalId", id)));
    let form = form(&fields);
    let endpoint = canonical_endpoint(endpoint.trim_end_matches('/'));
    let (_, rest) = endpoint.split_once("://").ok_or_else(|| {
        format!(
            "AWS_ENDPOINT_URL_STS is {endpoint:?}, which does not begin with http:// or https://"
        )
    })?;
    let (host, directory) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let request =
        sigv4::Post { host, path: &format!("{directory}/"), content_type: FORM, body: &form };
    let signed = sigv4::sign(&request, keys, region, "sts", SystemTime::now());
    post(agent, &endpoint, &role.arn, &form, signed)
}

fn form(fields: &[(&str, &str)]) -> String {
    let field = |(name, value): &(&str, &str)| {
        format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))
    };
    fields.iter().map(field).collect::<Vec<_>>().join("&")
}

/// Sends a form to STS, and reads the credentials of its response.
fn post(
    agent: &Agent,
    endpoint: &str,
    role_arn: &str,
    form: &str,
    headers: Vec<(&'static str, String)>,
) -> Result<Keys, String> {
    let url = format!("{}/", endpoint.trim_end_matches('/'));
    let failed = |error: &dyn std::fmt::Display| format!("{endpoint}: {error}");
    let mut request = agent.post(&url).header("content-type", FORM);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let response = request.send(form).map_err(|error| failed(&error))?;
    let status = response.status();
    let mut text = Vec::new();
    let body = response.into_body().into_reader();
    body.take(MAX_RESPONSE).read_to_end(&mut text).map_err(|error| failed(&error))?;
    let text = String::from_utf8_lossy(&text);
    if !status.is_success() {
        let code = xml::word(&text, "Code").unwrap_or_else(|| "no error code".to_owned());
        return Err(format!(
            "{endpoint} answered {} ({code}) for role {role_arn:?}",
            status.as_u16()
        ));
    }
    keys(&text)
        .ok_or_else(|| format!("{endpoint} sent a response without credentials"))?
        .checked(NAMES)
        .map_err(|problem| format!("the response of {endpoint}: {problem}"))
}

fn keys(response: &str) -> Option<Keys> {
    let field = |name| xml::text(response, name).filter(|text| !text.is_empty());
    let [access, secret, session_token] = NAMES.map(field);
    Some(Keys {
        access: access?,
        secret: secret?,
        session_token: Some(session_token?),
        expires: Some(rfc3339(xml::element(response, "Expiration")?)?),
    })
}

fn rfc3339(text: String) -> Option<SystemTime> {
    let parsed =
        serde_json::from_value::<Rfc3339OffsetDateTime>(serde_json::Value::String(text)).ok()?;
    Some(SystemTime::from(parsed.0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::render::origin::testing::{self, Server};

    const ANSWER: &str = r#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <SubjectFromWebIdentityToken>system:serviceaccount:a:b</SubjectFromWebIdentityToken>
    <Credentials>
      <SessionToken>token+/=</SessionToken>
      <SecretAccessKey>secret&amp;</SecretAccessKey>
      <Expiration>2033-05-18T03:33:20Z</Expiration>
      <AccessKeyId>ASIA1</AccessKeyId>
    </Credentials>
  </AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"#;

    fn identity() -> WebIdentity {
        WebIdentity {
            role_arn: "arn:aws:iam::1:role/images".into(),
            session_name: "s3imageserver".into(),
            token: "a.b-c_d\n".into(),
        }
    }

    fn ask(server: &Server) -> Result<Keys, String> {
        let agent = crate::render::http::agent::shared(None, &testing::limits()).unwrap();
        assume_role_with_web_identity(&agent, &server.url(), &identity())
    }

    #[test]
    fn sts_credentials_are_read() {
        let server = Server::answering(move |_| testing::response("200 OK", "", ANSWER.as_bytes()));
        let keys = ask(&server).unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!((keys.access.as_str(), keys.secret.as_str()), ("ASIA1", "secret&"));
        assert_eq!(keys.session_token.as_deref(), Some("token+/="));
        assert_eq!(keys.expires, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000)));
        let request = server.requests().remove(0);
        assert!(request.starts_with("POST / HTTP/1.1\r\n"), "{request}");
        assert!(
            request.ends_with(
                "\r\n\r\nAction=AssumeRoleWithWebIdentity&Version=2011%2D06%2D15\
                 &RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fimages&RoleSessionName=s3imageserver\
                 &WebIdentityToken=a%2Eb%2Dc%5Fd"
            ),
            "{request}"
        );
    }

    #[test]
    fn a_role_is_assumed_with_a_signed_request() {
        let server = Server::answering(move |_| testing::response("200 OK", "", ANSWER.as_bytes()));
        let agent = crate::render::http::agent::shared(None, &testing::limits()).unwrap();
        let role = AssumedRole {
            arn: "arn:aws:iam::1:role/images".into(),
            external_id: Some("a/b".into()),
            session_name: "s3imageserver".into(),
        };
        let own = Keys {
            access: "AKID".into(),
            secret: "hidden".into(),
            session_token: Some("of the chain".into()),
            expires: None,
        };
        let endpoint = format!("{}/some/path/", server.url());
        let keys = assume_role(&agent, &endpoint, "eu-west-1", &role, &own);
        let keys = keys.unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!((keys.access.as_str(), keys.secret.as_str()), ("ASIA1", "secret&"));
        let request = server.requests().remove(0);
        for part in [
            "POST /some/path/ HTTP/1.1\r\n",
            "/eu-west-1/sts/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=",
            "x-amz-security-token: of the chain\r\n",
            "Action=AssumeRole&Version=2011%2D06%2D15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fimages\
             &RoleSessionName=s3imageserver&ExternalId=a%2Fb",
        ] {
            assert!(request.contains(part), "no {part} in {request}");
        }
        assert!(!request.contains("hidden"));
        let problem = assume_role(&agent, "sts.example", "eu-west-1", &role, &own).err().unwrap();
        assert!(problem.contains("AWS_ENDPOINT_URL_STS"), "{problem}");
    }

    #[test]
    fn an_sts_error_is_reported_without_the_token() {
        let body =
            b"<ErrorResponse><Error><Code>ExpiredTokenException</Code></Error></ErrorResponse>";
        let server = Server::answering(move |_| testing::response("400 Bad Request", "", body));
        let problem = ask(&server).err().unwrap();
        assert!(problem.contains("answered 400 (ExpiredTokenException)"), "{problem}");
        assert!(!problem.contains("a.b-c_d"), "{problem}");
    }

    #[test]
    fn an_sts_response_without_credentials_is_an_error() {
        for missing in ["AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"] {
            assert!(keys(&ANSWER.replace(missing, "Other")).is_none(), "{missing}");
        }
        assert!(keys(&ANSWER.replace("2033-05-18T", "soon")).is_none());
    }

    #[test]
    fn the_sts_endpoint_is_that_of_the_region() {
        assert_eq!(endpoint(None), "https://sts.amazonaws.com");
        assert_eq!(endpoint(Some("")), "https://sts.amazonaws.com");
        assert_eq!(endpoint(Some("evil/#")), "https://sts.amazonaws.com");
        assert_eq!(endpoint(Some("eu-west-1")), "https://sts.eu-west-1.amazonaws.com");
        assert_eq!(endpoint(Some("cn-north-1")), "https://sts.cn-north-1.amazonaws.com.cn");
    }
}
