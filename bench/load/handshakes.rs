//! Consecutive TLS connections, each with a handshake and one `HEAD` request.
//!
//! Prints `connections-a-second connections resumed suite group`. A failed connection ends the run.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, HandshakeKind};

use super::Fallible;
use super::client::{Connection, Target, tls};

/// The results of one thread.
#[derive(Debug, Default)]
struct Seen {
    connections: u64,
    resumed: u64,
    suite: String,
}

/// Opens connections on `threads` threads for `time`.
pub fn run(target: &Target, threads: u32, time: Duration, resume: bool) -> Fallible<String> {
    let started = Instant::now();
    let threads: Vec<_> = (0..threads)
        .map(|_| {
            let target = target.clone();
            thread::spawn(move || one_after_the_other(&target, started + time, resume))
        })
        .collect();
    let mut all = Seen::default();
    for thread in threads {
        let seen = thread.join().map_err(|_| "a thread panicked")??;
        all.connections += seen.connections;
        all.resumed += seen.resumed;
        all.suite = seen.suite;
    }
    // The last connection of each thread may end later, so this is the time actually used.
    let rate = all.connections as f64 / started.elapsed().as_secs_f64();
    Ok(format!("{rate:.0} {} {} {}", all.connections, all.resumed, all.suite))
}

fn one_after_the_other(target: &Target, end: Instant, resume: bool) -> Fallible<Seen> {
    let config = tls(resume)?;
    let mut buffer = Vec::new();
    let mut seen = Seen::default();
    if resume {
        // Obtains the first ticket.
        connect(target, &config, &mut buffer)?;
    }
    while Instant::now() < end {
        let (resumed, suite) = connect(target, &config, &mut buffer)?;
        seen.connections += 1;
        seen.resumed += u64::from(resumed);
        if seen.suite.is_empty() {
            seen.suite = suite;
        }
    }
    Ok(seen)
}

fn connect(
    target: &Target,
    config: &Arc<ClientConfig>,
    buffer: &mut Vec<u8>,
) -> Fallible<(bool, String)> {
    let mut connection = Connection::open(target, Some(config))?;
    match connection.ask("HEAD", &target.path, buffer)? {
        200 => {}
        status => return Err(format!("{} was answered {status}", target.path).into()),
    }
    let Connection::Tls(tls) = &connection else { return Err("not TLS".into()) };
    let resumed = tls.conn.handshake_kind() == Some(HandshakeKind::Resumed);
    let suite = tls.conn.negotiated_cipher_suite().map(|suite| suite.suite());
    let group = tls.conn.negotiated_key_exchange_group().map(|group| group.name());
    let suite = match (suite, group) {
        (Some(suite), Some(group)) => format!("{suite:?} {group:?}"),
        _ => return Err("no cipher suite or no key exchange".into()),
    };
    connection.close();
    Ok((resumed, suite))
}
