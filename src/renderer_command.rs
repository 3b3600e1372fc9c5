//! The command that starts a renderer: this program again, with the environment that its decoders need.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use crate::wire;

/// The name that `ps` shows.
const PROCESS_NAME: &str = "s3imageserver-renderer";

/// The variables with which a service manager talks to the edge alone (sd_notify(3), sd_listen_fds(3)).
const EDGE_ONLY: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// Memory blocks of this many bytes, such as an original, are returned to the system when they are freed. It is glibc's
/// default, which glibc would raise to the size of the largest block that was freed, and so keep such blocks
/// (mallopt(3)). An image takes some hundred page faults more, below a millisecond.
const MMAP_THRESHOLD: usize = 128 << 10;

/// The command, with pipes for standard input and output. The process exits with this one.
pub fn renderer_command() -> Command {
    let mut command = Command::new(executable());
    for name in EDGE_ONLY {
        command.env_remove(name);
    }
    command
        .arg0(PROCESS_NAME)
        .env(wire::EDGE_VARIABLE, std::process::id().to_string())
        // libvips warns about clients' images; errors that matter are returned.
        .env("VIPS_WARNING", "0")
        // libvips would decode a large WebP into a temporary file, which the sandbox does not allow. Memory is
        // limited by other means.
        .env("VIPS_DISC_THRESHOLD", "1000g")
        .env("MALLOC_ARENA_MAX", malloc_arenas().to_string())
        .env("MALLOC_MMAP_THRESHOLD_", MMAP_THRESHOLD.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// Half the number of processors. glibc's default is eight arenas per processor, and each keeps the memory of its
/// largest image: with fewer, the renderer takes a third of the memory at the same speed. A single arena would be
/// contended.
fn malloc_arenas() -> usize {
    thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2))
}

/// The binary that `cargo build` writes: the test executable can't be started as a renderer.
#[cfg(test)]
fn executable() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().with_file_name(env!("CARGO_PKG_NAME"));
    assert!(program.exists(), "{} is missing: run cargo build", program.display());
    program
}

/// The running binary. `/proc/self/exe` still refers to it after its file was replaced by an upgrade.
#[cfg(not(test))]
fn executable() -> PathBuf {
    const SELF: &str = "/proc/self/exe";
    if std::path::Path::new(SELF).exists() {
        SELF.into()
    } else {
        std::env::args_os().next().unwrap_or_default().into()
    }
}
