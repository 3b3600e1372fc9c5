//! Messages of Amazon SNS, with a server in its place (in debug builds), and those that are refused before one is asked.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use rustls::SignatureScheme;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::{
    IMAGES, KEY, S3, TARGET, body, cached, config, counts, created, large_image, post, post_ok,
    size_and_status, small_image,
};
use crate::admin::{SECRET, warm};
use crate::support::certificates::Certificates;
use crate::support::directory::Directory;
use crate::support::merged;
use crate::support::origin::{RawOrigin, answer};
use crate::support::server::{Server, Setup};

const ARN: &str = "arn:aws:sns:eu-central-1:123456789012:images";
const HOST: &str = "https://sns.eu-central-1.amazonaws.com";
const CERTIFICATE: &str = "SimpleNotificationService-0f1e2d3c.pem";

/// A message, signed as SNS does.
fn message(kind: &str, text: &str) -> Value {
    let mut value = json!({
        "Type": kind,
        "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
        "TopicArn": ARN,
        "Message": text,
        "Timestamp": "2026-11-29T12:42:34.751Z",
        "SignatureVersion": "2",
        "SigningCertURL": format!("{HOST}/{CERTIFICATE}"),
    });
    if kind == "Notification" {
        value["Subject"] = "Amazon S3 Notification".into();
    } else {
        value["Token"] = "2336412f37fb687f5d51e6e241d".into();
        value["SubscribeURL"] = format!("{HOST}/?Action=ConfirmSubscription&Token=x").into();
    }
    sign(value)
}

fn sign(mut value: Value) -> Value {
    let mut names = vec!["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token"];
    names.extend(["TopicArn", "Type"]);
    let lines = names
        .into_iter()
        .filter_map(|name| Some(format!("{name}\n{}\n", value.get(name)?.as_str()?)));
    let signed: String = lines.collect();
    let key = PrivateKeyDer::from_pem_slice(body("sns-key.pem").as_bytes()).unwrap();
    let key = ring::sign::any_supported_type(&key).unwrap();
    let signer = key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).unwrap();
    value["Signature"] = BASE64_STANDARD.encode(signer.sign(signed.as_bytes()).unwrap()).into();
    value
}

fn signing_certificate(name: &str) -> String {
    let key = KeyPair::from_pkcs8_pem_and_sign_algo(&body("sns-key.pem"), &PKCS_RSA_SHA256);
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.self_signed(&key.unwrap()).unwrap().pem()
}

/// The configuration of a server that accepts the topic.
fn with_topic(config: Value) -> Value {
    let events = json!({"topic_arns": [ARN]});
    let admin = json!({"address": "127.0.0.1:0", "secret": SECRET, "events": events});
    merged(config, json!({"admin": admin}))
}

/// A server whose SNS is this one.
fn start(s3: &S3, cache: &Directory, sns: &RawOrigin, certificates: &Certificates) -> Server {
    s3.put(&IMAGES, KEY, &small_image());
    // The sandbox lets the renderer read the file because the handler names it.
    let aws = merged(s3.aws(&IMAGES), json!({"ca_file": "sns-ca.pem"}));
    let handler = cached(json!({"name": "h", "aws": aws}), cache);
    let setup = Setup::new(with_topic(config(handler)))
        .file("sns-ca.pem", certificates.root_pem.as_bytes());
    let ca_file = setup.directory().path().join("sns-ca.pem").display().to_string();
    let server = setup
        .env("S3IMAGESERVER_TEST_SNS_URL", format!("https://{}", sns.address()))
        .env("S3IMAGESERVER_TEST_SNS_CA_FILE", ca_file)
        .start();
    warm(&server, TARGET);
    server
}

/// SNS: its certificate, and 200 for a confirmation unless told otherwise.
fn sns(certificates: &Certificates, status: Arc<Mutex<u16>>) -> RawOrigin {
    let pem = signing_certificate("sns.amazonaws.com");
    RawOrigin::start_tls(certificates.server(), move |request, peer| {
        let status = *status.lock().unwrap();
        match request.target.strip_prefix('/') {
            Some(CERTIFICATE) if status == 200 => peer.send(&answer(200, &[], pem.as_bytes())),
            Some(query) if query.starts_with('?') => peer.send(&answer(status, &[], b"<x/>")),
            _ => peer.send(&answer(404, &[], b"")),
        }
    })
}

#[test]
fn signed_messages_confirm_the_subscription_and_purge() {
    if !cfg!(debug_assertions) {
        return;
    }
    let certificates = Certificates::new();
    let status = Arc::new(Mutex::new(200));
    let sns = sns(&certificates, Arc::clone(&status));
    let (s3, cache) = (S3::start(), Directory::new());
    let server = start(&s3, &cache, &sns, &certificates);

    let confirmation = message("SubscriptionConfirmation", "You have chosen to subscribe.");
    assert_eq!(post_ok(&server, &confirmation.to_string()), json!({"confirmed": 1}));
    server.log.event("sns_subscribed");
    let targets: Vec<String> = sns.requests().into_iter().map(|request| request.target).collect();
    let confirmed =
        format!("/?Action=ConfirmSubscription&TopicArn={ARN}&Token=2336412f37fb687f5d51e6e241d");
    assert_eq!(targets, [format!("/{CERTIFICATE}"), confirmed]);

    s3.put(&IMAGES, KEY, &large_image());
    let notification = message("Notification", &body("s3-put.json"));
    let counts = post_ok(&server, &notification.to_string());
    assert_eq!(counts, json!({"events": 1, "purged": 1}));
    assert_eq!(size_and_status(&server, TARGET), ((20, 20), "miss".to_owned()));
    // The notification in a message of SQS, and EventBridge's event in a notification.
    let again = json!({"Messages": [{"Body": notification.to_string()}]});
    assert_eq!(post_ok(&server, &again.to_string()), json!({"events": 1, "repeated": 1}));
    let event = message("Notification", &body("eventbridge-created.json"));
    assert_eq!(post_ok(&server, &event.to_string()), json!({"events": 1, "purged": 1}));
    let test = message("Notification", &body("s3-test.json"));
    assert_eq!(post_ok(&server, &test.to_string()), json!({"events": 1, "ignored": 1}));
    let end = message("UnsubscribeConfirmation", "You have chosen to deactivate.");
    assert_eq!(post_ok(&server, &end.to_string()), json!({}));
    server.log.event("sns_unsubscribed");
    // The certificate was fetched once.
    assert_eq!(sns.requests().len(), 2);
}

#[test]
fn forged_messages_are_refused() {
    if !cfg!(debug_assertions) {
        return;
    }
    let certificates = Certificates::new();
    let sns = sns(&certificates, Arc::new(Mutex::new(200)));
    let (s3, cache) = (S3::start(), Directory::new());
    let server = start(&s3, &cache, &sns, &certificates);
    let good = message("Notification", &body("s3-put.json"));
    let changed = |name: &str, text: &str| {
        let mut value = good.clone();
        value[name] = text.into();
        value
    };
    let confirmation = message("SubscriptionConfirmation", "subscribe");
    let mut other_token = confirmation.clone();
    other_token["Token"] = "0000".into();
    let wrong = "the message's signature is wrong";
    for (value, expected) in [
        (changed("Message", &body("s3-delete.json")), wrong),
        (changed("Timestamp", "2026-11-29T12:42:35.751Z"), wrong),
        (changed("Subject", "x"), wrong),
        (changed("Signature", "AAAA"), wrong),
        (changed("Signature", "not base64"), wrong),
        (other_token, wrong),
        // Signed, but not a notification about a bucket, or one inside of another.
        (message("Notification", "hello"), "the body is not JSON"),
        (message("Notification", &good.to_string()), "the body wraps messages too often"),
    ] {
        let answer = post(&server, &value.to_string());
        assert!([400, 403].contains(&answer.status), "{value}");
        let counts = counts(&answer);
        assert!(counts["error"].as_str().unwrap().starts_with(expected), "{counts}");
        assert_eq!(counts.get("confirmed"), None);
    }
    let asked = sns.requests();
    assert!(asked.iter().all(|request| !request.target.contains("Confirm")), "{asked:?}");
    assert_eq!(size_and_status(&server, TARGET).1, "hit");
}

#[test]
fn messages_are_sent_again_while_sns_can_not_be_asked() {
    if !cfg!(debug_assertions) {
        return;
    }
    let certificates = Certificates::new();
    let status = Arc::new(Mutex::new(403));
    let sns = sns(&certificates, Arc::clone(&status));
    let (s3, cache) = (S3::start(), Directory::new());
    let server = start(&s3, &cache, &sns, &certificates);
    let notification = message("Notification", &body("s3-put.json")).to_string();
    let answer = post(&server, &notification);
    assert_eq!(answer.status, 502, "{}", answer.text());
    let error = counts(&answer)["error"].as_str().unwrap().to_owned();
    assert!(error.contains("answered 404"), "{error}");
    server.log.event("sns_unavailable");
    assert_eq!(size_and_status(&server, TARGET).1, "hit");
    // Events of others are not affected.
    assert_eq!(post_ok(&server, &created("b.png", "01")), json!({"events": 1, "purged": 1}));
}

#[test]
fn messages_of_other_topics_and_hosts_are_refused_without_a_request() {
    let (s3, cache) = (S3::start(), Directory::new());
    let handler = cached(s3.handler(), &cache);
    let server = Server::start(with_topic(config(handler.clone())));
    let good = message("Notification", &body("s3-put.json"));
    let changed = |name: &str, text: &str| {
        let mut value = good.clone();
        value[name] = text.into();
        sign(value)
    };
    let host = |host: &str| changed("SigningCertURL", &format!("{host}/{CERTIFICATE}"));
    let other = "arn:aws:sns:eu-central-1:999999999999:images";
    let elsewhere = "the message's SigningCertURL is not a certificate at";
    let mut token = message("SubscriptionConfirmation", "subscribe");
    token["TopicArn"] = other.into();
    for (value, expected) in [
        (changed("TopicArn", other), "\"arn:aws:sns:eu-central-1:999999999999:images\" is not in"),
        (sign(token), "\"arn:aws:sns:eu-central-1:999999999999:images\" is not in"),
        (changed("SignatureVersion", "1"), "the message is signed with SHA-1; set the topic's"),
        (changed("SignatureVersion", "x"), "the message's SignatureVersion is not 2"),
        (host("https://sns.us-east-1.amazonaws.com"), elsewhere),
        (host("https://sns.eu-central-1.amazonaws.com.example.com"), elsewhere),
        (host("https://example.com"), elsewhere),
        (host("http://sns.eu-central-1.amazonaws.com"), elsewhere),
        (host("https://169.254.169.254"), elsewhere),
        (changed("SigningCertURL", &format!("{HOST}/x.pem")), elsewhere),
    ] {
        let answer = post(&server, &value.to_string());
        assert_eq!(answer.status, 403, "{value}");
        let counts = counts(&answer);
        assert!(counts["error"].as_str().unwrap().starts_with(expected), "{counts}");
    }
    server.log.event("event_refused");
    // Without a topic in the configuration, no message of SNS is accepted.
    server.reload_well(config(handler));
    let answer = post(&server, &good.to_string());
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("is not in admin.events.topic_arns"), "{}", answer.text());
}
