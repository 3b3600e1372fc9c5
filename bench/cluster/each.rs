//! One request after the other, each for another key. Prints `requests failed shared misses p50-ms`.

use std::net::SocketAddr;
use std::time::Instant;

use super::Fallible;
use super::client::Client;
use super::paths::path;

pub fn run(address: SocketAddr, first: u64, count: u64, query: &str) -> Fallible<String> {
    let (mut failed, mut shared, mut misses) = (0, 0, 0);
    let mut milliseconds = Vec::new();
    let mut client = Client::new(address);
    for key in first..first + count {
        let begun = Instant::now();
        let answer = client.get(&path(key, query)).unwrap_or_default();
        milliseconds.push(begun.elapsed().as_secs_f64() * 1e3);
        failed += u64::from(answer.status != 200);
        shared += u64::from(answer.cache == "shared");
        misses += u64::from(answer.cache == "miss");
    }
    milliseconds.sort_unstable_by(f64::total_cmp);
    let median = milliseconds.get(milliseconds.len() / 2).copied().unwrap_or(f64::NAN);
    Ok(format!("{count} {failed} {shared} {misses} {median:.3}"))
}
