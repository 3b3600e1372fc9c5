//! Changes one key after the other with a command, and asks each node for a variant of it until it has noticed.
//!
//! The command gets the name of the key as its last argument, for example to overwrite the object and to purge the key.
//! Prints a line for each key: `name since-begin since-end old failed`: the milliseconds from the beginning and from the
//! end of the command to the last old answer of any node, 0 if there was none after it; the number of nodes whose last
//! answer was an old one; and requests that failed.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Fallible;
use super::client::Client;
use super::paths::{VARIANTS, name, path};

/// Between two requests to a node.
const PAUSE: Duration = Duration::from_millis(40);

#[derive(Debug)]
pub struct Keys {
    pub first: u64,
    pub count: u64,
    /// From one change to the next; the keys are watched at the same time.
    pub pause: Duration,
}

/// What one node answered.
#[derive(Debug)]
struct Watched {
    last_old: Option<Instant>,
    ends_old: bool,
    failed: u64,
}

pub fn run(
    addresses: &[SocketAddr],
    keys: &Keys,
    watch: Duration,
    command: &[&str],
) -> Fallible<String> {
    let begun = Instant::now();
    let mut threads = Vec::new();
    for number in 0..keys.count {
        let due = begun + keys.pause * u32::try_from(number)?;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let command: Vec<String> = command.iter().map(|part| (*part).to_owned()).collect();
        let (addresses, key) = (addresses.to_vec(), keys.first + number);
        threads.push(thread::spawn(move || change(&addresses, key, watch, &command)));
    }
    let mut lines = Vec::new();
    for thread in threads {
        lines.push(thread.join().map_err(|_| "a thread panicked")??);
    }
    Ok(lines.join("\n"))
}

fn change(
    addresses: &[SocketAddr],
    key: u64,
    watch: Duration,
    command: &[String],
) -> Fallible<String> {
    let target = path(key, VARIANTS[0]);
    let mut old = Vec::new();
    for address in addresses {
        let answer = Client::new(*address).get(&target)?;
        if answer.status != 200 {
            return Err(format!("{address} answered {target} with {}", answer.status).into());
        }
        old.push(answer.etag);
    }
    let [program, arguments @ ..] = command else { return Err("no command".into()) };
    let is_over = Arc::new(AtomicBool::new(false));
    let watch_one = |(address, old): (&SocketAddr, String)| {
        let (address, target, is_over) = (*address, target.clone(), Arc::clone(&is_over));
        thread::spawn(move || watch_node(address, &target, &old, &is_over))
    };
    let begin = Instant::now();
    let threads: Vec<_> = addresses.iter().zip(old).map(watch_one).collect();
    let output = Command::new(program).args(arguments).arg(name(key)).output()?;
    let end = Instant::now();
    thread::sleep(watch);
    is_over.store(true, Ordering::Relaxed);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("{program} failed: {said}")).into());
    }
    let mut all = Watched { last_old: None, ends_old: false, failed: 0 };
    let mut nodes_old = 0;
    for thread in threads {
        let watched = thread.join().map_err(|_| "a thread panicked")?;
        all.last_old = all.last_old.max(watched.last_old);
        all.failed += watched.failed;
        nodes_old += u64::from(watched.ends_old);
    }
    let since = |from: Instant| {
        all.last_old.map_or(0, |last| last.saturating_duration_since(from).as_millis())
    };
    Ok(format!("{} {} {} {nodes_old} {}", name(key), since(begin), since(end), all.failed))
}

fn watch_node(address: SocketAddr, target: &str, old: &str, is_over: &AtomicBool) -> Watched {
    let mut watched = Watched { last_old: None, ends_old: false, failed: 0 };
    let mut client = Client::new(address);
    while !is_over.load(Ordering::Relaxed) {
        let answer = client.get(target).unwrap_or_default();
        watched.failed += u64::from(answer.status != 200);
        watched.ends_old = answer.etag == old;
        if watched.ends_old {
            watched.last_old = Some(Instant::now());
        }
        thread::sleep(PAUSE);
    }
    watched
}
