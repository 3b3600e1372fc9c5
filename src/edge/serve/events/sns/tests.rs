use std::cell::Cell;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, date_time_ymd};
use rustls::SignatureScheme;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::*;

const ARN: &str = "arn:aws:sns:eu-central-1:123456789012:images";
const URL: &str = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0f1e2d.pem";
/// An RSA key of this test.
const KEY: &str = include_str!("../../../../../tests/data/events/sns-key.pem");

fn topic() -> Topic {
    Topic::parse(ARN).unwrap()
}

fn certificate_for(name: &str, year: i32) -> String {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(year, 1, 1);
    let key = KeyPair::from_pkcs8_pem_and_sign_algo(KEY, &PKCS_RSA_SHA256).unwrap();
    params.self_signed(&key).unwrap().pem()
}

fn sign(text: &str, scheme: SignatureScheme) -> String {
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let key = ring::sign::any_supported_type(&key).unwrap();
    let signature = key.choose_scheme(&[scheme]).unwrap().sign(text.as_bytes()).unwrap();
    BASE64_STANDARD.encode(signature)
}

/// A notification and the text that SNS signs.
fn notification(subject: Option<&str>) -> (Value, String) {
    let subject_lines = subject.map(|text| format!("Subject\n{text}\n")).unwrap_or_default();
    let signed = format!(
        "Message\n{{\"Records\":[]}}\nMessageId\nid-1\n{subject_lines}Timestamp\n2026-11-29T12:42:34.123Z\n\
         TopicArn\n{ARN}\nType\nNotification\n"
    );
    let mut value = json!({
        "Type": "Notification",
        "MessageId": "id-1",
        "TopicArn": ARN,
        "Message": "{\"Records\":[]}",
        "Timestamp": "2026-11-29T12:42:34.123Z",
        "SignatureVersion": "2",
        "Signature": sign(&signed, SignatureScheme::RSA_PKCS1_SHA256),
        "SigningCertURL": URL,
        "UnsubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=Unsubscribe",
    });
    if let Some(subject) = subject {
        value["Subject"] = subject.into();
    }
    (value, signed)
}

fn message(value: &Value) -> SnsMessage {
    SnsMessage::read(value.as_object().unwrap()).unwrap()
}

/// Verifies a message with a certificate that is served as this text.
fn verify(message: &SnsMessage, pem: &str) -> Result<(), Refusal> {
    Certificates::default().verify(message, &topic(), &|_, _| Ok(pem.as_bytes().to_vec()))
}

#[test]
fn signatures_of_notifications_and_confirmations_are_verified() {
    let pem = certificate_for("sns.amazonaws.com", 2100);
    for subject in [None, Some("Amazon S3 Notification"), Some("a\nb \u{fc}")] {
        let (value, signed) = notification(subject);
        assert_eq!(message(&value).signed, signed);
        assert_eq!(verify(&message(&value), &pem), Ok(()), "{subject:?}");
    }
    let (mut value, _) = notification(None);
    value["Subject"] = Value::Null;
    assert_eq!(verify(&message(&value), &pem), Ok(()));

    let signed = format!(
        "Message\nconfirm\nMessageId\nid-2\nSubscribeURL\nhttps://x/\nTimestamp\nnow\nToken\nabc\n\
         TopicArn\n{ARN}\nType\nSubscriptionConfirmation\n"
    );
    let value = json!({
        "Type": "SubscriptionConfirmation", "MessageId": "id-2", "TopicArn": ARN,
        "Message": "confirm", "SubscribeURL": "https://x/", "Timestamp": "now", "Token": "abc",
        "SignatureVersion": "2", "SigningCertURL": URL,
        "Signature": sign(&signed, SignatureScheme::RSA_PKCS1_SHA256),
    });
    let message = message(&value);
    assert_eq!(verify(&message, &pem), Ok(()));
    assert_eq!(message.kind.token(), Ok("abc"));
}

#[test]
fn changed_messages_and_other_signatures_are_refused() {
    let pem = certificate_for("sns.amazonaws.com", 2100);
    let (value, signed) = notification(Some("s"));
    let wrong = Err(Refusal::Invalid("the message's signature is wrong".to_owned()));
    for name in ["Message", "MessageId", "Subject", "Timestamp"] {
        let mut changed = value.clone();
        changed[name] = "x".into();
        assert_eq!(verify(&message(&changed), &pem), wrong, "{name}");
    }
    let mut without_subject = value.clone();
    without_subject.as_object_mut().unwrap().remove("Subject");
    assert_eq!(verify(&message(&without_subject), &pem), wrong);
    let signature = value["Signature"].as_str().unwrap();
    for signature in [
        "",
        "?",
        &signature[4..],
        &sign("other", SignatureScheme::RSA_PKCS1_SHA256),
        &sign(&signed, SignatureScheme::RSA_PKCS1_SHA512),
        &sign(&signed, SignatureScheme::RSA_PSS_SHA256),
    ] {
        let mut changed = value.clone();
        changed["Signature"] = signature.into();
        assert_eq!(verify(&message(&changed), &pem), wrong, "{signature}");
    }
    for (version, expected) in
        [("1", "set the topic's attribute"), ("3", "is not 2"), ("", "is not 2")]
    {
        let mut changed = value.clone();
        changed["SignatureVersion"] = version.into();
        let Err(Refusal::Invalid(sentence)) = verify(&message(&changed), &pem) else {
            panic!("{version}")
        };
        assert!(sentence.contains(expected), "{sentence}");
    }
}

#[test]
fn certificates_must_be_of_sns_and_not_expired() {
    let (value, _) = notification(None);
    let message = message(&value);
    for name in [
        "sns.amazonaws.com",
        "sns.eu-central-1.amazonaws.com",
        "sns-signing.eu-central-1.amazonaws.com",
        "SNS.amazonaws.com",
    ] {
        assert_eq!(verify(&message, &certificate_for(name, 2100)), Ok(()), "{name}");
    }
    for (pem, expected) in [
        (certificate_for("example.com", 2100), "is not one of SNS"),
        (certificate_for("sns.us-east-1.amazonaws.com", 2100), "is not one of SNS"),
        (certificate_for("sns.amazonaws.com.example.com", 2100), "is not one of SNS"),
        (certificate_for("sns.amazonaws.com", 2021), "has expired"),
        (String::new(), "is not PEM"),
        ("<html>".to_owned(), "is not PEM"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            "can't be used",
        ),
    ] {
        let Err(Refusal::Unavailable(sentence)) = verify(&message, &pem) else { panic!("{pem}") };
        assert!(sentence.contains(expected), "{sentence}");
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(4_200_000_000);
    let pem = certificate_for("sns.amazonaws.com", 2100);
    let expired = signature::certificate(pem.as_bytes(), &topic(), now);
    assert_eq!(expired, Err("has expired".to_owned()));
}

#[test]
fn nothing_is_fetched_for_what_is_no_signature() {
    let (value, _) = notification(None);
    let fetched = Cell::new(0);
    let verify = |signature: &str| {
        let mut changed = value.clone();
        changed["Signature"] = signature.into();
        let fetch = |_: &Topic, _: &str| -> Result<Vec<u8>, String> {
            fetched.set(fetched.get() + 1);
            Err("no answer".to_owned())
        };
        Certificates::default().verify(&message(&changed), &topic(), &fetch)
    };
    let wrong = Err(Refusal::Invalid("the message's signature is wrong".to_owned()));
    let encoded = |length| BASE64_STANDARD.encode(vec![7; length]);
    let right = value["Signature"].as_str().unwrap();
    for signature in ["", "?", "AAA", " ", &right[1..], &format!("{right}\n"), &encoded(1025)] {
        assert_eq!(verify(signature), wrong, "{signature:?}");
    }
    assert_eq!(fetched.get(), 0);
    for signature in [right, &encoded(1024)] {
        assert!(matches!(verify(signature), Err(Refusal::Unavailable(_))), "{signature:?}");
    }
    assert_eq!(fetched.get(), 2);
}

#[test]
fn certificates_are_fetched_from_the_host_of_the_topic_only() {
    let (value, _) = notification(None);
    for url in [
        "",
        "http://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0f1e2d.pem",
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0f1e2d.pem",
        "https://sns.eu-central-1.amazonaws.com.example.com/SimpleNotificationService-0f1e2d.pem",
        "https://sns.eu-central-1.amazonaws.com@example.com/SimpleNotificationService-0f1e2d.pem",
        "https://sns.eu-central-1.amazonaws.com:8443/SimpleNotificationService-0f1e2d.pem",
        "https://sns.eu-central-1.amazonaws.com/../SimpleNotificationService-0f1e2d.pem",
        "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-../x.pem",
        "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0f1e2d.pem?x",
        "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-.pem",
        "https://sns.eu-central-1.amazonaws.com/?Action=Publish",
        "https://169.254.169.254/SimpleNotificationService-0f1e2d.pem",
    ] {
        let mut changed = value.clone();
        changed["SigningCertURL"] = url.into();
        let fetch = |_: &Topic, _: &str| -> Result<Vec<u8>, String> { panic!("{url} is fetched") };
        let refused = Certificates::default().verify(&message(&changed), &topic(), &fetch);
        assert!(matches!(refused, Err(Refusal::Invalid(_))), "{url}: {refused:?}");
    }
    let mut changed = value;
    changed["SignatureVersion"] = "1".into();
    let fetch = |_: &Topic, _: &str| -> Result<Vec<u8>, String> { panic!("fetched for version 1") };
    assert!(Certificates::default().verify(&message(&changed), &topic(), &fetch).is_err());
}

#[test]
fn a_certificate_is_fetched_once_and_a_failure_is_remembered_for_a_moment() {
    let pem = certificate_for("sns.amazonaws.com", 2100);
    let (value, _) = notification(None);
    let message = message(&value);
    let fetches = Cell::new(0);
    let certificates = Certificates::default();
    let good = |topic: &Topic, name: &str| {
        fetches.set(fetches.get() + 1);
        assert_eq!((topic.arn.as_str(), name), (ARN, "SimpleNotificationService-0f1e2d.pem"));
        Ok(pem.as_bytes().to_vec())
    };
    for _ in 0..3 {
        assert_eq!(certificates.verify(&message, &topic(), &good), Ok(()));
    }
    assert_eq!(fetches.get(), 1);
    let certificates = Certificates::default();
    let bad = |_: &Topic, _: &str| {
        fetches.set(fetches.get() + 1);
        Err("no route".to_owned())
    };
    for _ in 0..3 {
        let refused = certificates.verify(&message, &topic(), &bad);
        assert!(
            matches!(&refused, Err(Refusal::Unavailable(sentence)) if sentence.contains("no route"))
        );
    }
    assert_eq!(fetches.get(), 2);
}

#[test]
fn a_message_is_accepted_once_its_certificate_can_be_fetched_again() {
    let pem = certificate_for("sns.amazonaws.com", 2100);
    let (value, _) = notification(None);
    let message = message(&value);
    let fetches = Cell::new(0);
    let certificates = Certificates::default();
    let verify = |fetched: Result<&str, &str>| {
        let fetch = |_: &Topic, _: &str| {
            fetches.set(fetches.get() + 1);
            fetched.map(|pem| pem.as_bytes().to_vec()).map_err(str::to_owned)
        };
        (certificates.verify(&message, &topic(), &fetch).is_ok(), fetches.get())
    };
    for (is_accepted, fetched, attempt, age) in [
        (false, Err("no route"), 1, 9),
        (false, Ok(pem.as_str()), 1, 2),
        // 11 seconds later. What is fetched in place of a certificate is a failure, too.
        (false, Ok("<html>"), 2, 11),
        (true, Ok(pem.as_str()), 3, 23 * 3600),
        (true, Err("no route"), 3, 2 * 3600),
        (false, Err("no route"), 4, 11),
        (true, Ok(pem.as_str()), 5, 0),
    ] {
        assert_eq!(verify(fetched), (is_accepted, attempt));
        certificates.age(Duration::from_secs(age));
    }
}

#[test]
fn the_number_of_certificates_is_bounded() {
    let certificates = Certificates::default();
    for number in 0..100 {
        let name = format!("SimpleNotificationService-{number}.pem");
        let fetched = certificates.get(&topic(), &name, &|_, _| Err("no".to_owned()));
        assert_eq!(fetched, Err("no".to_owned()));
    }
    assert!(certificates.known_count() <= 32);
}

#[test]
fn messages_of_other_topics_and_other_tokens_are_refused() {
    let (value, _) = notification(None);
    let message = message(&value);
    let topics = [topic()];
    assert_eq!(message.topic(&topics), Ok(&topics[0]));
    let other = Topic::parse("arn:aws:sns:eu-central-1:123456789012:other").unwrap();
    for topics in [&[][..], &[other]] {
        assert!(matches!(message.topic(topics), Err(Refusal::Invalid(_))));
    }
    for token in ["", "a/b", "a&b", "a b", "..", "\u{fc}", &"a".repeat(MAX_TOKEN + 1)] {
        let kind = Kind::SubscriptionConfirmation(token.to_owned());
        assert!(matches!(kind.token(), Err(Refusal::Invalid(_))), "{token}");
    }
}

#[test]
fn incomplete_messages_are_malformed() {
    let (value, _) = notification(None);
    for name in
        ["Message", "MessageId", "Timestamp", "SignatureVersion", "Signature", "SigningCertURL"]
    {
        for replacement in [Value::Null, json!(1), json!(["x"])] {
            let mut changed = value.clone();
            changed[name] = replacement;
            let error = SnsMessage::read(changed.as_object().unwrap()).unwrap_err();
            assert_eq!(error, format!("is a message of SNS without {name}"));
        }
    }
    let mut changed = value.clone();
    changed["Type"] = "Other".into();
    assert!(SnsMessage::read(changed.as_object().unwrap()).is_err());
    changed["Type"] = "SubscriptionConfirmation".into();
    let error = SnsMessage::read(changed.as_object().unwrap()).unwrap_err();
    assert_eq!(error, "is a message of SNS without Token");
    let mut changed = value;
    changed["Subject"] = json!({});
    let error = SnsMessage::read(changed.as_object().unwrap()).unwrap_err();
    assert_eq!(error, "is a message of SNS without Subject");
}
