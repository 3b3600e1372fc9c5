//! Zipf-distributed requests, as fast as they are answered.
//!
//! Prints `requests failed distinct seconds hits shared misses p50-ms p99-ms`: `distinct` is the number of different
//! variants that were requested, and `hits`, `shared` and `misses` count `X-Cache`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::Fallible;
use super::client::Client;
use super::paths::{Random, VARIANTS, Zipf, path};

#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub clients: u64,
    /// In total.
    pub requests: u64,
    pub keys: u64,
    pub exponent: f64,
}

/// The results of one client.
#[derive(Debug, Default)]
struct Seen {
    failed: u64,
    hits: u64,
    shared: u64,
    misses: u64,
    distinct: HashSet<u64>,
    milliseconds: Vec<f64>,
}

pub fn run(address: SocketAddr, load: &Load) -> Fallible<String> {
    let begun = Instant::now();
    let zipf = Arc::new(Zipf::new(load.keys, load.exponent));
    let ask = |number: u64| {
        let (zipf, requests) = (Arc::clone(&zipf), load.requests / load.clients);
        thread::spawn(move || one(address, &zipf, requests, Random(number)))
    };
    let threads: Vec<_> = (0..load.clients).map(ask).collect();
    let mut all = Seen::default();
    for thread in threads {
        let seen = thread.join().map_err(|_| "a client panicked")?;
        all.failed += seen.failed;
        all.hits += seen.hits;
        all.shared += seen.shared;
        all.misses += seen.misses;
        all.distinct.extend(seen.distinct);
        all.milliseconds.extend(seen.milliseconds);
    }
    all.milliseconds.sort_unstable_by(f64::total_cmp);
    let at = |part: usize| {
        let rank = all.milliseconds.len() * part / 100;
        all.milliseconds.get(rank).copied().unwrap_or(f64::NAN)
    };
    Ok(format!(
        "{} {} {} {:.1} {} {} {} {:.2} {:.2}",
        all.milliseconds.len(),
        all.failed,
        all.distinct.len(),
        begun.elapsed().as_secs_f64(),
        all.hits,
        all.shared,
        all.misses,
        at(50),
        at(99)
    ))
}

fn one(address: SocketAddr, zipf: &Zipf, requests: u64, mut random: Random) -> Seen {
    let mut seen = Seen::default();
    let mut client = Client::new(address);
    for _ in 0..requests {
        let key = zipf.choose(&mut random);
        let variant = random.next() % VARIANTS.len() as u64;
        let query = VARIANTS.get(variant as usize).copied().unwrap_or_default();
        let begun = Instant::now();
        let answer = client.get(&path(key, query)).unwrap_or_default();
        seen.milliseconds.push(begun.elapsed().as_secs_f64() * 1e3);
        seen.distinct.insert(key * VARIANTS.len() as u64 + variant);
        seen.failed += u64::from(answer.status != 200);
        match answer.cache.as_str() {
            "hit" => seen.hits += 1,
            "shared" => seen.shared += 1,
            "miss" => seen.misses += 1,
            _ => {}
        }
    }
    seen
}
