//! Connections that are idle after one response.
//!
//! Prints `ready` once they are open, and at the end of standard input `connections alive`: their number, and the number
//! that still answer.

use std::io::{self, Read};

use super::Fallible;
use super::client::{Connection, Target, tls};

/// Holds `count` connections.
pub fn run(target: &Target, count: u32, secure: bool) -> Fallible<String> {
    let config = secure.then(|| tls(false)).transpose()?;
    let mut buffer = Vec::new();
    let mut connections = Vec::new();
    for _ in 0..count {
        let mut connection = Connection::open(target, config.as_ref())?;
        connection.ask("HEAD", &target.path, &mut buffer)?;
        connections.push(connection);
    }
    println!("ready");
    io::stdin().read_to_end(&mut Vec::new())?;
    let alive = connections
        .iter_mut()
        .filter_map(|connection| connection.ask("HEAD", &target.path, &mut buffer).ok())
        .filter(|status| *status == 200)
        .count();
    Ok(format!("{count} {alive}"))
}
