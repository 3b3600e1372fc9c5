//! Requests to Amazon SNS, for messages that the edge gets: the certificate of a signature, and the confirmation of a
//! subscription.
//!
//! The edge names a configured topic, and a file or a token. The host follows from the topic, so that no message can lead
//! a request elsewhere; redirects are not followed.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use ureq::Agent;

use super::http::agent;
use crate::config::{Config, Topic};
use crate::error::{Code, Failure};
use crate::wire;

/// Several times the size of a certificate, and of the response to a confirmation.
const MAX_RESPONSE: u64 = 64 << 10;
/// Maximum length of a file name or a token.
const MAX_WORD: usize = 1024;

/// The topics of a configuration.
pub struct Sns {
    topics: Vec<Topic>,
    /// `None` without a topic. An error is a sentence.
    agent: Option<Result<Arc<Agent>, String>>,
    test_server: Option<TestServer>,
}

/// Where a debug build finds SNS in a test.
struct TestServer {
    /// Scheme, host and port.
    url: String,
    /// A PEM file.
    ca_file: PathBuf,
}

impl Sns {
    pub fn new(config: &Config) -> Sns {
        let topics = config.admin.as_ref().map_or_else(Vec::new, |admin| admin.topics.clone());
        let test_server = test_server();
        let ca_file = || test_server.as_ref().map(|server| server.ca_file.clone());
        let agent = (!topics.is_empty()).then(|| agent::shared(ca_file(), &config.limits));
        Sns { topics, agent, test_server }
    }

    /// Sends the request that a target of the edge asks for, and returns the body of the response. `None` if the target
    /// is for something else.
    pub fn ask(&self, target: &str) -> Option<Result<Vec<u8>, Failure>> {
        let is_confirmation = target.starts_with(wire::SNS_CONFIRM_PATH);
        let rest = target
            .strip_prefix(wire::SNS_CERTIFICATE_PATH)
            .or_else(|| target.strip_prefix(wire::SNS_CONFIRM_PATH))?;
        let url = self.url(rest, is_confirmation).ok_or_else(|| {
            let sentence = "the edge asks SNS for something that is not configured";
            Failure::new(Code::RendererFailed, sentence)
        });
        Some(url.and_then(|url| self.get(&url)))
    }

    /// The URL for `ARN/NAME`; `None` if the topic is not configured or the name is not one.
    fn url(&self, rest: &str, is_confirmation: bool) -> Option<String> {
        let (arn, word) = rest.split_once('/')?;
        let topic = self.topics.iter().find(|topic| topic.arn == arn)?;
        let stem = if is_confirmation { word } else { word.strip_suffix(".pem")? };
        let is_word = (1..=MAX_WORD).contains(&stem.len())
            && stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let base = match &self.test_server {
            Some(server) => server.url.clone(),
            None => format!("https://{}", topic.host()),
        };
        is_word.then(|| match is_confirmation {
            true => format!("{base}/?Action=ConfirmSubscription&TopicArn={arn}&Token={word}"),
            false => format!("{base}/{word}"),
        })
    }

    fn get(&self, url: &str) -> Result<Vec<u8>, Failure> {
        // Without the path, which has a token.
        let host = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let failure = |code, problem: &str| Failure::new(code, format!("{host}: {problem}"));
        let unreachable = |problem: &str| failure(Code::OriginUnreachable, problem);
        let agent = match &self.agent {
            Some(Ok(agent)) => agent,
            Some(Err(problem)) => return Err(unreachable(problem)),
            None => return Err(unreachable("no topic is configured")),
        };
        let request = agent.get(url).config().timeout_global(Some(wire::SNS_TIMEOUT)).build();
        let response = request.call().map_err(|error| unreachable(&error.to_string()))?;
        let status = response.status();
        let mut body = Vec::new();
        let read = response.into_body().into_reader().take(MAX_RESPONSE + 1).read_to_end(&mut body);
        read.map_err(|error| unreachable(&error.to_string()))?;
        if status != 200 {
            let problem = format!("answered {}", status.as_u16());
            return Err(failure(Code::OriginError, &problem));
        }
        if body.len() as u64 > MAX_RESPONSE {
            return Err(failure(Code::OriginError, "sent a response that is too long"));
        }
        Ok(body)
    }
}

/// From the environment of a test, in debug builds only.
#[cfg(debug_assertions)]
fn test_server() -> Option<TestServer> {
    let url = std::env::var("S3IMAGESERVER_TEST_SNS_URL").ok()?;
    let ca_file = std::env::var_os("S3IMAGESERVER_TEST_SNS_CA_FILE")?.into();
    Some(TestServer { url, ca_file })
}

#[cfg(not(debug_assertions))]
fn test_server() -> Option<TestServer> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::origin::testing::{self, Server};

    const ARN: &str = "arn:aws:sns:eu-central-1:123456789012:images";

    fn sns(url: Option<String>) -> Sns {
        let topics = vec![Topic::parse(ARN).unwrap()];
        let test_server = url.map(|url| TestServer { url, ca_file: PathBuf::new() });
        let agent = Some(agent::shared(None, &testing::limits()));
        Sns { topics, agent, test_server }
    }

    #[test]
    fn urls_are_those_of_a_configured_topic() {
        let sns = sns(None);
        let host = "https://sns.eu-central-1.amazonaws.com";
        let certificate = format!("{ARN}/SimpleNotificationService-0f1e.pem");
        let expected = format!("{host}/SimpleNotificationService-0f1e.pem");
        assert_eq!(sns.url(&certificate, false), Some(expected));
        let expected = format!("{host}/?Action=ConfirmSubscription&TopicArn={ARN}&Token=abc123");
        assert_eq!(sns.url(&format!("{ARN}/abc123"), true), Some(expected));
        let long = "a".repeat(MAX_WORD + 1);
        for word in
            ["", ".pem", "a", "a/b.pem", "../a.pem", "a.b.pem", "a%2e.pem", "a?b.pem", "@x.pem"]
        {
            assert_eq!(sns.url(&format!("{ARN}/{word}"), false), None, "{word}");
        }
        for word in ["", "a&b", "a/b", "a.b", "a#b", "a b", "\u{fc}", "a\r\nb", &long] {
            assert_eq!(sns.url(&format!("{ARN}/{word}"), true), None, "{word}");
        }
        for rest in ["", "abc", "arn:aws:sns:eu-central-1:123456789012:other/abc", "x/abc", "/abc"]
        {
            assert_eq!(sns.url(rest, true), None, "{rest}");
        }
        assert!(sns.ask("/h/a.jpg?").is_none());
        let refused = sns.ask(&format!("{}{ARN}/a.txt", wire::SNS_CERTIFICATE_PATH)).unwrap();
        assert_eq!(refused.unwrap_err().code, Code::RendererFailed);
    }

    #[test]
    fn responses_of_sns_are_bounded_and_redirects_are_not_followed() {
        let server = Server::answering(|number| match number {
            0 => testing::response("200 OK", "", b"pem"),
            1 => testing::response("302 Found", "Location: http://127.0.0.1:1/\r\n", b""),
            2 => testing::response("403 Forbidden", "", b"<Error/>"),
            _ => testing::response("200 OK", "", &[b'x'; 65 << 10]),
        });
        let sns = sns(Some(server.url()));
        let ask = || sns.ask(&format!("{}{ARN}/secret-token", wire::SNS_CONFIRM_PATH)).unwrap();
        assert_eq!(ask(), Ok(b"pem".to_vec()));
        for expected in ["answered 302", "answered 403", "too long"] {
            let failure = ask().unwrap_err();
            assert!(failure.detail.contains(expected), "{}", failure.detail);
            assert!(!failure.detail.contains("secret-token"), "{}", failure.detail);
        }
        assert_eq!(server.requests().len(), 4);
        assert!(server.requests()[0].starts_with(&format!(
            "GET /?Action=ConfirmSubscription&TopicArn={ARN}&Token=secret-token HTTP/1.1\r\n"
        )));
    }
}
