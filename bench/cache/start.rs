//! Waits for the first hit of a starting server. Prints `milliseconds`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::Fallible;

/// Longer than any start.
const TIMEOUT: Duration = Duration::from_secs(60);

pub fn run(address: &str, path: &str) -> Fallible<String> {
    let begun = Instant::now();
    while begun.elapsed() < TIMEOUT {
        let Ok(mut stream) = TcpStream::connect(address) else {
            thread::sleep(Duration::from_micros(200));
            continue;
        };
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let head = String::from_utf8_lossy(&answer[..answer.len().min(1000)]).into_owned();
        if !head.starts_with("HTTP/1.1 200 ") || !head.contains("X-Cache: hit") {
            return Err(format!("no hit, but {}", head.lines().next().unwrap_or_default()).into());
        }
        return Ok(format!("{:.1}", begun.elapsed().as_secs_f64() * 1000.0));
    }
    Err("nobody listens".into())
}
