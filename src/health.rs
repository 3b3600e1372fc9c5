//! `s3imageserver health`: checks a running server, as a load balancer does.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ureq::http::Uri;

use crate::config::{Config, TrustedProxies};

/// The path with status 200 if the server is healthy, and 503 while it shuts down.
pub const PATH: &str = "/-/health";

/// Timeout of the whole check: name resolution, connection and response.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum length of a status line in bytes.
const MAX_STATUS_LINE: usize = 1024;
/// The PROXY header of a health check by the proxy itself (HAProxy, doc/proxy-protocol.txt, §2.1).
const PROXY_HEADER: &[u8] = b"PROXY UNKNOWN\r\n";

/// The server to check.
#[derive(Clone, Debug)]
pub struct Target {
    /// The URL or the socket, for errors.
    name: String,
    address: Address,
    /// The value of `Host`.
    host: String,
    /// Path and query.
    path: String,
    /// The peers that must send a PROXY header first: `trusted_proxies` with `proxy_protocol`.
    proxies: TrustedProxies,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    /// Tried in this order.
    Ip(Vec<SocketAddr>),
    /// A host name and a port.
    Name(String, u16),
    /// The path of a Unix socket.
    Socket(PathBuf),
}

impl Target {
    /// The server at `http://HOST[:PORT][/PATH]`, with [`PATH`] by default. An error is a sentence.
    pub fn from_url(url: &str) -> Result<Target, String> {
        let invalid = |why: &str| format!("the URL {url:?} {why}");
        let malformed =
            || invalid("must be http://HOST, http://HOST:PORT or http://HOST:PORT/PATH");
        let uri: Uri = url.parse().map_err(|_| malformed())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(invalid("must start with http://: health uses plain HTTP"));
            }
            _ => return Err(malformed()),
        }
        let authority = uri.authority().ok_or_else(malformed)?;
        let host = authority.host();
        // The parser ignores a port that is not a number, and a name with a password.
        let port = match authority.as_str().strip_prefix(host) {
            Some("") => 80,
            Some(_) => authority.port_u16().filter(|port| *port != 0).ok_or_else(malformed)?,
            None => return Err(malformed()),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let address = match (bare.unwrap_or(host).parse::<IpAddr>(), bare) {
            (Ok(ip), _) => Address::Ip(vec![SocketAddr::new(ip, port)]),
            (Err(_), Some(_)) => return Err(malformed()),
            (Err(_), None) if host.is_empty() => return Err(malformed()),
            (Err(_), None) => Address::Name(host.to_owned(), port),
        };
        let after_scheme = url.split_once("://").map_or("", |(_, rest)| rest);
        let path = match uri.path_and_query() {
            Some(path) if after_scheme.contains(['/', '?']) => path.as_str().to_owned(),
            _ => PATH.to_owned(),
        };
        Ok(Target {
            name: format!("http://{authority}{path}"),
            address,
            host: authority.as_str().to_owned(),
            path,
            proxies: TrustedProxies::default(),
        })
    }

    /// The server of this configuration on this machine: at `http_port`, or at `http_socket` without a port. An error
    /// is a sentence.
    pub fn from_config(config: &Config) -> Result<Target, String> {
        let (name, address, host) = match (config.http_port, &config.http_socket) {
            (Some(0), _) => {
                return Err("http_port: 0 is any free port; give health the URL".to_owned());
            }
            (Some(port), _) => {
                let addresses: Vec<SocketAddr> = local_addresses(config.address)
                    .into_iter()
                    .map(|ip| SocketAddr::new(ip, port))
                    .collect();
                let host = addresses.first().map_or_else(String::new, SocketAddr::to_string);
                (format!("http://{host}{PATH}"), Address::Ip(addresses), host)
            }
            (None, Some(socket)) => {
                let name = format!("http_socket {}", socket.display());
                (name, Address::Socket(socket.clone()), "localhost".to_owned())
            }
            (None, None) => {
                return Err(
                    "http_port: the configuration has neither http_port nor http_socket".to_owned()
                );
            }
        };
        let proxies = if config.proxy_protocol {
            config.trusted_proxies.clone()
        } else {
            TrustedProxies::default()
        };
        Ok(Target { name, address, host, path: PATH.to_owned(), proxies })
    }
}

/// The addresses at which a server with this `address` can be reached from this machine.
fn local_addresses(address: Option<IpAddr>) -> Vec<IpAddr> {
    let four = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let six = IpAddr::V6(Ipv6Addr::LOCALHOST);
    match address {
        None => vec![four, six],
        Some(IpAddr::V4(address)) if address.is_unspecified() => vec![four],
        Some(IpAddr::V6(address)) if address.is_unspecified() => vec![six, four],
        Some(address) => vec![address],
    }
}

/// Checks the server. An error is a sentence that says why it is not healthy.
pub fn check(target: Target) -> Result<(), String> {
    check_within(target, TIMEOUT)
}

fn check_within(target: Target, timeout: Duration) -> Result<(), String> {
    let name = target.name.clone();
    let (sender, receiver) = mpsc::channel();
    // On a thread of its own, because name resolution has no timeout.
    let thread =
        thread::Builder::new().name("health".into()).spawn(move || sender.send(request(&target)));
    let outcome = match thread {
        Err(error) => Err(error.to_string()),
        Ok(_) => match receiver.recv_timeout(timeout) {
            Ok(Ok(200)) => Ok(()),
            Ok(Ok(status)) => Err(format!("the status is {status}, not 200")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("no response within {} s", timeout.as_secs_f32()))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err("the check ended without a result".to_owned())
            }
        },
    };
    outcome.map_err(|why| format!("{name}: {why}"))
}

/// Requests the path and returns the status.
fn request(target: &Target) -> io::Result<u16> {
    match &target.address {
        Address::Ip(addresses) => request_tcp(target, TcpStream::connect(addresses.as_slice())?),
        Address::Name(host, port) => {
            request_tcp(target, TcpStream::connect((host.as_str(), *port))?)
        }
        Address::Socket(path) => {
            let is_proxy = target.proxies.contains(None);
            exchange(target, is_proxy, UnixStream::connect(path)?)
        }
    }
}

fn request_tcp(target: &Target, stream: TcpStream) -> io::Result<u16> {
    let is_proxy = target.proxies.contains(Some(stream.local_addr()?.ip()));
    exchange(target, is_proxy, stream)
}

fn exchange(target: &Target, is_proxy: bool, mut stream: impl Read + Write) -> io::Result<u16> {
    let mut request = if is_proxy { PROXY_HEADER.to_vec() } else { Vec::new() };
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: s3imageserver/{}\r\nConnection: close\r\n\r\n",
        target.path,
        target.host,
        env!("CARGO_PKG_VERSION")
    );
    request.extend_from_slice(head.as_bytes());
    stream.write_all(&request)?;
    let mut line = Vec::new();
    let mut buffer = [0; MAX_STATUS_LINE];
    while !line.contains(&b'\n') && line.len() < MAX_STATUS_LINE {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => line.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if line.is_empty() {
        return Err(io::Error::other("the connection was closed without a response"));
    }
    status(&line).ok_or_else(|| io::Error::other("the response is not HTTP/1.1"))
}

/// The status of a response that starts with these bytes.
fn status(bytes: &[u8]) -> Option<u16> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let mut response = httparse::Response::new(&mut []);
    response.parse(&bytes[..=end]).ok()?;
    response.code
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;
    use crate::config;

    fn from_config(fields: &str) -> Result<Target, String> {
        let text = format!(r#"{{"handlers": [{{"name": "h", "directory": "."}}], {fields}}}"#);
        Target::from_config(&config::parse(&text, "config.json").unwrap())
    }

    fn addresses(texts: &[&str]) -> Address {
        Address::Ip(texts.iter().map(|address| address.parse().unwrap()).collect())
    }

    #[test]
    fn urls_name_host_port_and_path() {
        for (written, name, address) in [
            (
                "http://127.0.0.1:8080",
                "http://127.0.0.1:8080/-/health",
                addresses(&["127.0.0.1:8080"]),
            ),
            ("http://127.0.0.1", "http://127.0.0.1/-/health", addresses(&["127.0.0.1:80"])),
            ("http://127.0.0.1:81/", "http://127.0.0.1:81/", addresses(&["127.0.0.1:81"])),
            ("http://[::1]:81/a?b=c", "http://[::1]:81/a?b=c", addresses(&["[::1]:81"])),
            (
                "HTTP://localhost:81",
                "http://localhost:81/-/health",
                Address::Name("localhost".into(), 81),
            ),
        ] {
            let target = Target::from_url(written).unwrap();
            assert_eq!((target.name.as_str(), target.address), (name, address), "{written}");
        }
        for written in [
            "",
            "localhost",
            "localhost:8080",
            "127.0.0.1:8080",
            "/-/health",
            "http://",
            "http:///path",
            "http://:80",
            "http://host:",
            "http://host:0",
            "http://host:99999",
            "http://host:x",
            "http://user:password@host",
            "http://a b",
            "http://[host]",
            "http://host/\r\nX: y",
            "ftp://host",
        ] {
            let sentence = Target::from_url(written).unwrap_err();
            assert!(
                sentence.contains("http://HOST") && sentence.contains("the URL"),
                "{written}: {sentence}"
            );
        }
        assert!(Target::from_url("https://host").unwrap_err().contains("plain HTTP"));
    }

    #[test]
    fn the_configuration_names_the_address() {
        for (fields, name, address) in [
            (
                r#""address": "127.0.0.2", "http_port": 81"#,
                "http://127.0.0.2:81/-/health",
                addresses(&["127.0.0.2:81"]),
            ),
            (
                r#""address": "::1", "http_port": 81"#,
                "http://[::1]:81/-/health",
                addresses(&["[::1]:81"]),
            ),
            (
                r#""access_log": true"#,
                "http://127.0.0.1:80/-/health",
                addresses(&["127.0.0.1:80", "[::1]:80"]),
            ),
            (
                r#""address": "0.0.0.0""#,
                "http://127.0.0.1:80/-/health",
                addresses(&["127.0.0.1:80"]),
            ),
            (
                r#""address": "::""#,
                "http://[::1]:80/-/health",
                addresses(&["[::1]:80", "127.0.0.1:80"]),
            ),
            (
                r#""http_socket": "run.sock""#,
                "http_socket run.sock",
                Address::Socket("run.sock".into()),
            ),
            (
                r#""http_socket": "run.sock", "http_port": 81, "address": "127.0.0.1""#,
                "http://127.0.0.1:81/-/health",
                addresses(&["127.0.0.1:81"]),
            ),
        ] {
            let target = from_config(fields).unwrap();
            assert_eq!((target.name.as_str(), target.address), (name, address), "{fields}");
        }
        assert!(from_config(r#""http_port": 0"#).unwrap_err().starts_with("http_port: 0 "));
    }

    #[test]
    fn proxy_headers_are_sent_by_trusted_peers_only() {
        let sends = |fields: &str, peer: Option<&str>| {
            from_config(fields)
                .unwrap()
                .proxies
                .contains(peer.map(|address| address.parse().unwrap()))
        };
        let trusted = r#""trusted_proxies": ["127.0.0.0/8", "unix:"]"#;
        let both = format!(r#"{trusted}, "proxy_protocol": true"#);
        for peer in [Some("127.0.0.1"), None] {
            assert!(sends(&both, peer));
            assert!(!sends(trusted, peer));
        }
        assert!(!sends(&both, Some("::1")));
    }

    #[test]
    fn status_is_read_from_the_first_line() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\n\r\nfull", Some(503)),
            ("HTTP/1.1 204\r\n", Some(204)),
            ("HTTP/1.1 200 OK", None),
            ("HTTP/2 200\r\n", None),
            ("HTTP/1.1 2000\r\n", None),
            ("SSH-2.0-x\r\n", None),
            ("\r\n", None),
            ("", None),
        ] {
            assert_eq!(status(answer.as_bytes()), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_server_without_a_response_costs_the_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let started = Instant::now();
        let sentence =
            check_within(Target::from_url(&url).unwrap(), Duration::from_millis(300)).unwrap_err();
        assert_eq!(sentence, format!("{url}/-/health: no response within 0.3 s"));
        assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
    }
}
