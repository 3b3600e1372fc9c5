//! Requests at a fixed rate over kept-alive connections.
//!
//! Latency is measured from the scheduled time of a request, so that a slow response counts for the requests it delays as
//! well (no coordinated omission).
//!
//! Prints `p50 p99 p99.9 most requests p99-of-the-client`, in milliseconds; the last is how late this program itself woke
//! up, which is included in the other numbers.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::Fallible;
use super::client::{Connection, Target};

/// The results of one connection.
#[derive(Debug, Default)]
struct Seen {
    latencies: Vec<Duration>,
    late: Vec<Duration>,
}

/// Sends `rate` requests a second in total, on the connections in turn.
pub fn run(target: &Target, connections: u32, time: Duration, rate: u32) -> Fallible<String> {
    let step = Duration::from_secs(1) / rate;
    // Connecting and the first request are not measured.
    let start = Instant::now() + Duration::from_millis(200);
    let threads: Vec<_> = (0..connections)
        .map(|turn| {
            let target = target.clone();
            thread::spawn(move || {
                on_time(&target, start + step * turn, step * connections, start + time)
            })
        })
        .collect();
    let mut all = Seen::default();
    for thread in threads {
        let seen = thread.join().map_err(|_| "a thread panicked")??;
        all.latencies.extend(seen.latencies);
        all.late.extend(seen.late);
    }
    all.latencies.sort_unstable();
    all.late.sort_unstable();
    let of = |share| quantile(&all.latencies, share);
    let (count, late) = (all.latencies.len(), quantile(&all.late, 0.99));
    Ok(format!("{:.3} {:.3} {:.3} {:.3} {count} {late:.3}", of(0.5), of(0.99), of(0.999), of(1.0)))
}

fn on_time(target: &Target, mut next: Instant, step: Duration, end: Instant) -> io::Result<Seen> {
    let mut seen = Seen::default();
    let mut buffer = Vec::new();
    let mut connection = Connection::open(target, None)?;
    connection.ask("GET", &target.path, &mut buffer)?;
    while next < end {
        let early = next.saturating_duration_since(Instant::now());
        if !early.is_zero() {
            thread::sleep(early);
            seen.late.push(next.elapsed());
        }
        match connection.ask("GET", &target.path, &mut buffer)? {
            200 => seen.latencies.push(next.elapsed()),
            status => {
                return Err(io::Error::other(format!("{} was answered {status}", target.path)));
            }
        }
        next += step;
    }
    Ok(seen)
}

/// A percentile in milliseconds.
fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
}
