//! Concurrent clients. Prints `answered misses p50-ms p99-ms longest-ms`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use super::Fallible;

/// Longer than any response takes.
const TIMEOUT: Duration = Duration::from_secs(60);

pub fn run(address: &str, clients: &str, keys: &str) -> Fallible<String> {
    let (clients, keys): (usize, usize) = (clients.parse()?, keys.parse()?);
    let barrier = Arc::new(Barrier::new(clients));
    let ask = |number: usize| {
        let (address, barrier) = (address.to_owned(), Arc::clone(&barrier));
        thread::spawn(move || -> Fallible<(Duration, bool)> {
            let stream = TcpStream::connect(address);
            barrier.wait();
            let (mut stream, begun) = (stream?, Instant::now());
            stream.set_read_timeout(Some(TIMEOUT))?;
            let key = number % keys;
            write!(
                stream,
                "GET /h/storm-{key}?w=300&h=200 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            )?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            let took = begun.elapsed();
            let head = String::from_utf8_lossy(&answer[..answer.len().min(1000)]).into_owned();
            if !head.starts_with("HTTP/1.1 200 ") {
                return Err(head.lines().next().unwrap_or("no answer").to_owned().into());
            }
            Ok((took, head.contains("X-Cache: miss")))
        })
    };
    let threads: Vec<_> = (0..clients).map(ask).collect();
    let mut times = Vec::new();
    let mut misses = 0;
    for thread in threads {
        let (took, is_miss) = thread.join().map_err(|_| "a client panicked")??;
        times.push(took.as_secs_f64() * 1000.0);
        misses += usize::from(is_miss);
    }
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    Ok(format!("{} {misses} {:.1} {:.1} {:.1}", times.len(), at(50), at(99), at(100)))
}
