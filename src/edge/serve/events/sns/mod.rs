//! Messages of Amazon SNS: their form, and what their signature covers.
//!
//! <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html>,
//! <https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html>

mod certificates;
mod signature;

use serde_json::{Map, Value};

pub use self::certificates::Certificates;
use crate::config::Topic;

/// In characters: several times that of SNS.
const MAX_TOKEN: usize = 1024;
/// In characters, of the file of a certificate.
const MAX_CERTIFICATE_NAME: usize = 128;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnsMessage {
    pub kind: Kind,
    pub topic_arn: String,
    /// The text that was published, such as S3's records.
    pub message: String,
    /// What the signature covers.
    signed: String,
    signature_version: String,
    /// In base64.
    signature: String,
    certificate_url: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Notification,
    /// With its token.
    SubscriptionConfirmation(String),
    UnsubscribeConfirmation,
}

/// Why a message is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not one of a configured topic: a sentence.
    Invalid(String),
    /// Whether it is can't be found out now: a sentence.
    Unavailable(String),
}

impl SnsMessage {
    /// Reads a message. An error is the rest of a sentence about it.
    pub fn read(object: &Map<String, Value>) -> Result<SnsMessage, String> {
        let text = |name: &str| {
            let text = object.get(name).and_then(Value::as_str);
            text.ok_or_else(|| format!("is a message of SNS without {name}"))
        };
        let kind = match text("Type")? {
            "Notification" => Kind::Notification,
            "SubscriptionConfirmation" => Kind::SubscriptionConfirmation(text("Token")?.to_owned()),
            "UnsubscribeConfirmation" => Kind::UnsubscribeConfirmation,
            _ => return Err("is a message of SNS with an unknown Type".to_owned()),
        };
        let names: &[&str] = match kind {
            Kind::Notification => {
                &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
            }
            _ => {
                &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
            }
        };
        let mut signed = String::new();
        for &name in names {
            // Only the subject is optional.
            if name == "Subject" && object.get(name).is_none_or(Value::is_null) {
                continue;
            }
            for part in [name, "\n", text(name)?, "\n"] {
                signed.push_str(part);
            }
        }
        Ok(SnsMessage {
            kind,
            topic_arn: text("TopicArn")?.to_owned(),
            message: text("Message")?.to_owned(),
            signed,
            signature_version: text("SignatureVersion")?.to_owned(),
            signature: text("Signature")?.to_owned(),
            certificate_url: text("SigningCertURL")?.to_owned(),
        })
    }

    /// The message's topic among the configured ones.
    pub fn topic<'t>(&self, topics: &'t [Topic]) -> Result<&'t Topic, Refusal> {
        topics.iter().find(|topic| topic.arn == self.topic_arn).ok_or_else(|| {
            Refusal::Invalid(format!("{:?} is not in admin.events.topic_arns", self.topic_arn))
        })
    }

    /// The file of the certificate, which must be at the host of the topic's region.
    fn certificate_name(&self, topic: &Topic) -> Result<&str, Refusal> {
        let is_name = |name: &&str| {
            let stem = name.strip_prefix("SimpleNotificationService-");
            let stem = stem.and_then(|stem| stem.strip_suffix(".pem"));
            stem.is_some_and(|stem| {
                (1..=MAX_CERTIFICATE_NAME).contains(&stem.len()) && is_word(stem)
            })
        };
        let path = self.certificate_url.strip_prefix(&format!("https://{}/", topic.host()));
        path.filter(is_name).ok_or_else(|| {
            Refusal::Invalid(format!(
                "the message's SigningCertURL is not a certificate at https://{}",
                topic.host()
            ))
        })
    }
}

impl Kind {
    /// The token that confirms a subscription, which becomes a part of a URL.
    pub fn token(&self) -> Result<&str, Refusal> {
        match self {
            Kind::SubscriptionConfirmation(token)
                if (1..=MAX_TOKEN).contains(&token.len()) && is_word(token) =>
            {
                Ok(token)
            }
            _ => Err(Refusal::Invalid("the message's Token is not one".to_owned())),
        }
    }
}

/// Whether a text has only characters that need no escape in a URL, and no dots.
fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests;
