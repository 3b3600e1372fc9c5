//! HTTPS, and the redirect to it.

use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

use crate::support::certificates::Certificates;
use crate::support::client::{Client, request};
use crate::support::folder::Folder;
use crate::support::merged;
use crate::support::pictures;
use crate::support::server::{Server, Setup};

fn folder() -> Folder {
    Folder::new().with("a.png", &pictures::png(pictures::gradient(80, 60)))
}

fn start(certificates: &Certificates, folder: &Folder, fields: Value) -> Server {
    let config = json!({
        "handlers": [folder.handler()],
        "https_enabled": true,
        "https_port": 0,
        "https_cert": "bundle.crt",
        "https_key": "cert.key",
    });
    Setup::new(merged(config, fields))
        .file("bundle.crt", certificates.chain_pem.as_bytes())
        .file("cert.key", certificates.key_pem.as_bytes())
        .start()
}

#[test]
fn pictures_are_served_over_tls_1_3_and_1_2() {
    let (certificates, folder) = (Certificates::new(), folder());
    let server = start(&certificates, &folder, json!({}));
    let plain = server.get("/h/a.png?w=40").ok();
    for version in [&TLS13, &TLS12] {
        for name in ["localhost", "127.0.0.1"] {
            let mut client =
                Client::connect_tls(server.https(), name, certificates.client(&[version])).unwrap();
            for _ in 0..3 {
                assert_eq!(client.get("/h/a.png?w=40").ok().body, plain.body);
            }
            client.get("/h/missing.png").failed("not_found");
            let both = [request("GET", "/h/a.png?w=1", &[]), request("GET", "/-/health", &[])].concat();
            client.send(&both);
            client.read().ok();
            assert_eq!(client.read().status, 200);
            client.get_with("/h/a.png", &[("Connection", "close")]).ok();
            // Ends with close_notify: `ended` would see an unexpected end as an error and is told apart here.
            assert!(matches!(client.try_read(false), Ok(None)), "the end must not look like a truncation");
        }
    }
}

#[test]
fn a_large_picture_arrives_whole_over_tls() {
    let certificates = Certificates::new();
    let folder = Folder::new().with("noise.png", &pictures::png(pictures::noise(700, 700)));
    let server = start(&certificates, &folder, json!({}));
    let mut client =
        Client::connect_tls(server.https(), "localhost", certificates.client(&[&TLS13])).unwrap();
    let answer = client.get("/h/noise.png").ok();
    assert!(answer.body.len() > 1_000_000);
    assert_eq!(pictures::size_of(&answer.body), (700, 700));
}

#[test]
fn a_client_that_trusts_somebody_else_is_not_served() {
    let (certificates, folder) = (Certificates::new(), folder());
    let server = start(&certificates, &folder, json!({}));
    let other = Certificates::new();
    assert!(Client::connect_tls(server.https(), "localhost", other.client(&[&TLS13])).is_err());
    let client = certificates.client(&[&TLS13]);
    assert!(Client::connect_tls(server.https(), "elsewhere.test", client.clone()).is_err());
    // The chain is complete and its failures have done no harm.
    let mut good = Client::connect_tls(server.https(), "localhost", client).unwrap();
    good.get("/h/a.png").ok();
}

#[test]
fn what_is_not_tls_on_the_https_port_is_hung_up_on() {
    let (certificates, folder) = (Certificates::new(), folder());
    let server = start(&certificates, &folder, json!({"limits": {"head_timeout": 0.5}}));
    for bytes in [&request("GET", "/h/a.png", &[])[..], b"\x16\x03\x01\xff\xff", b"\0", b""] {
        let mut client = Client::connect(server.https());
        let _ = client.try_send(bytes);
        // An unfinished handshake has the deadline of a head.
        assert!(client.ended(), "{bytes:?}");
    }
    let mut good = Client::connect_tls(server.https(), "localhost", certificates.client(&[&TLS13])).unwrap();
    good.get("/h/a.png").ok();
}

#[test]
fn limits_hold_over_tls_as_well() {
    let (certificates, folder) = (Certificates::new(), folder());
    let server = start(&certificates, &folder, json!({"limits": {"idle_timeout": 0.5}}));
    let connect =
        || Client::connect_tls(server.https(), "localhost", certificates.client(&[&TLS13])).unwrap();
    let mut idle = connect();
    idle.get("/h/a.png").ok();
    assert!(idle.ended());
    let mut client = connect();
    client.send(&[b"GET /h/a.png HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 20_000]].concat());
    assert_eq!(client.read().status, 431);
}

#[test]
fn https_strict_redirects_to_the_same_host_path_and_query() {
    let (certificates, folder) = (Certificates::new(), folder());
    let server = start(&certificates, &folder, json!({"https_strict": true}));
    let port = server.https().port();
    for (host, expected) in [
        ("pictures.example", format!("https://pictures.example:{port}")),
        ("pictures.example:8080", format!("https://pictures.example:{port}")),
        ("127.0.0.1:80", format!("https://127.0.0.1:{port}")),
        ("[::1]", format!("https://[::1]:{port}")),
        ("[::1]:8080", format!("https://[::1]:{port}")),
    ] {
        for target in ["/h/a.png?w=40&f=auto", "/h/a%20b%2F%25.png", "/", "/nowhere?x=%2F"] {
            let answer = server.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
            assert_eq!(answer.status, 301, "{host} {target}");
            assert_eq!(answer.expect("Location"), format!("{expected}{target}"));
        }
    }
    let head = server.head_with("/h/a.png", &[]);
    assert_eq!((head.status, head.body.len()), (301, 0));
    let absolute = b"GET http://other.example/h/a.png?w=1 HTTP/1.1\r\nHost: pictures.example\r\n\r\n";
    let location = server.send(absolute).expect("Location").to_owned();
    assert!(location.ends_with(&format!(":{port}/h/a.png?w=1")), "{location}");

    // A load balancer asks for health in plain text; over TLS everything is as ever.
    assert_eq!(server.get("/-/health").status, 200);
    let mut client =
        Client::connect_tls(server.https(), "localhost", certificates.client(&[&TLS13])).unwrap();
    client.get("/h/a.png").ok();
    assert_eq!(client.get("/-/health").status, 200);
}

#[test]
fn a_redirect_can_not_be_made_to_say_more_than_a_url() {
    let (certificates, folder) = (Certificates::new(), folder());
    let server = start(&certificates, &folder, json!({"https_strict": true}));
    for host in
        ["evil.example/path", "a@evil.example", "a b", "x\"y", "evil.example#", "evil.example?", "<script>"]
    {
        let mut client = server.client();
        client.send(format!("GET /h/a.png HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        let answer = client.read();
        assert_eq!(answer.status, 400, "{host}: {:?}", answer.headers);
    }
}

#[test]
fn without_https_strict_plain_requests_are_served() {
    let (certificates, folder) = (Certificates::new(), folder());
    start(&certificates, &folder, json!({"https_strict": false})).get("/h/a.png").ok();
}
