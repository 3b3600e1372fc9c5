//! Support for the tests: the program as a child process, well-behaved and misbehaving origins, a strict client, and
//! images with known pixels.

pub mod certificates;
pub mod chromium;
pub mod client;
pub mod devtools;
pub mod directory;
pub mod gate;
pub mod handshake;
pub mod icc;
pub mod images;
pub mod jxl;
pub mod origin;
pub mod png_chunks;
pub mod process;
pub mod s3;
pub mod server;
pub mod set_on_drop;
#[path = "../../../src/testing.rs"]
pub mod skip;
pub mod tokens;
pub mod unused_port;
pub mod vitals;

use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test fails. Only failing tests wait this long.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Polls until the condition holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {TIMEOUT:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads a value until it is the same several times in a row.
#[track_caller]
pub fn settled<T: PartialEq>(what: &str, read: impl Fn() -> T) -> T {
    const TIMES: usize = 4;
    const PAUSE: Duration = Duration::from_millis(25);
    let mut last = read();
    let mut times = 0;
    eventually(what, || {
        std::thread::sleep(PAUSE);
        let now = read();
        times = if now == last { times + 1 } else { 0 };
        last = now;
        times == TIMES
    });
    last
}

/// The first object, with its members added to or replaced by those of the second.
pub fn merged(mut base: Value, over: Value) -> Value {
    let (Value::Object(members), Value::Object(new)) = (&mut base, over) else {
        panic!("only objects can be merged");
    };
    members.extend(new);
    base
}
