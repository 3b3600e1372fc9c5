//! Requests at a fixed rate: nine of ten for variants that every node has (`each` has requested them before), one of ten
//! for a variant that none has.
//!
//! Prints a line for each request, in the order of their ends: `begin end hit|miss status X-Cache X-Node`. The times are
//! milliseconds of Unix time. The status is 0 without a response.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Fallible;
use super::client::Client;
use super::paths::{Random, VARIANTS, WARM, path, unique};

#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub clients: u32,
    pub time: Duration,
    /// Requests a second in total.
    pub rate: u32,
    pub keys: u64,
    /// The number of the first miss: different runs use different variants.
    pub first: u64,
}

pub fn run(address: SocketAddr, load: Load) -> Fallible<String> {
    let step = Duration::from_secs(1) / load.rate;
    let start = Instant::now();
    let misses = Arc::new(AtomicU64::new(load.first));
    let ask = |turn: u32| {
        let misses = Arc::clone(&misses);
        let schedule = Schedule {
            next: start + step * turn,
            step: step * load.clients,
            end: start + load.time,
        };
        thread::spawn(move || {
            one(address, schedule, load.keys, &misses, Random(load.first + u64::from(turn)))
        })
    };
    let threads: Vec<_> = (0..load.clients).map(ask).collect();
    let mut lines = Vec::new();
    for thread in threads {
        lines.extend(thread.join().map_err(|_| "a client panicked")?);
    }
    lines.sort_unstable_by_key(|(end, _)| *end);
    let lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
    Ok(lines.join("\n"))
}

/// When one client sends its requests.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    next: Instant,
    step: Duration,
    end: Instant,
}

/// The lines of one client, each with its end.
fn one(
    address: SocketAddr,
    mut schedule: Schedule,
    keys: u64,
    misses: &AtomicU64,
    mut random: Random,
) -> Vec<(u128, String)> {
    let mut lines = Vec::new();
    let mut client = Client::new(address);
    while schedule.next < schedule.end {
        thread::sleep(schedule.next.saturating_duration_since(Instant::now()));
        schedule.next += schedule.step;
        let (class, path) = if random.next().is_multiple_of(10) {
            ("miss", unique(misses.fetch_add(1, Ordering::Relaxed), keys))
        } else {
            ("hit", path(random.next() % WARM.min(keys), VARIANTS[0]))
        };
        let begin = now();
        let answer = client.get(&path).unwrap_or_default();
        let end = now();
        let known = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let (cache, node) = (known(answer.cache), known(answer.node));
        lines.push((end, format!("{begin} {end} {class} {} {cache} {node}", answer.status)));
    }
    lines
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}
