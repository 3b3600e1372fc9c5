//! How a server is doing: whether it answers at once, and what it holds.

use std::time::{Duration, Instant};

use super::client::{Client, request};
use super::process::Process;
use super::server::Server;
use super::{TIMEOUT, eventually};

/// What an image that is in the cache may take, from the connection to the last byte.
const AT_ONCE: Duration = Duration::from_millis(100);
/// A thread or a descriptor that comes and goes is not one that is left behind.
const A_FEW: usize = 2;
/// What an allocator may keep of memory that was given back.
const SOME_MEMORY: u64 = 12 << 20;

/// A server's threads, descriptors and memory at a quiet moment.
pub struct Vitals<'s> {
    server: &'s Server,
    process: Process,
    /// An image in the cache.
    target: String,
    threads: usize,
    files: usize,
    resident: u64,
    spare: u64,
}

impl<'s> Vitals<'s> {
    /// Of a server that nobody asks for anything. `target` is an image that it keeps in its cache.
    #[track_caller]
    pub fn of(server: &'s Server, target: &str) -> Vitals<'s> {
        // Every poller has its buffers after this.
        for _ in 0..16 {
            server.get(target).ok();
        }
        let process = Process::of(server.id());
        let (mut threads, mut files) = (0, 0);
        eventually("it is quiet", || {
            let before = (threads, files);
            std::thread::sleep(Duration::from_millis(50));
            (threads, files) = (process.threads(), process.descriptors());
            before == (threads, files)
        });
        let resident = process.resident();
        Vitals {
            server,
            process,
            target: target.into(),
            threads,
            files,
            resident,
            spare: SOME_MEMORY,
        }
    }

    /// With more memory that may be kept afterwards.
    pub fn sparing(self, spare: u64) -> Vitals<'s> {
        Vitals { spare, ..self }
    }

    /// Fails unless a normal request is answered at once; so that a busy machine is no reason, the fastest of
    /// several counts.
    #[track_caller]
    pub fn answers_at_once(&self) {
        let deadline = Instant::now() + TIMEOUT;
        let mut fastest = Duration::MAX;
        while fastest > AT_ONCE {
            assert!(Instant::now() < deadline, "the fastest answer took {fastest:?}");
            let started = Instant::now();
            let mut client = Client::connect(self.server.http());
            let answer = client.get_with(&self.target, &[("Connection", "close")]).ok();
            assert_eq!(answer.expect("X-Cache"), "hit");
            fastest = fastest.min(started.elapsed());
        }
    }

    /// As [`Vitals::answers_at_once`] on a connection that is open already.
    #[track_caller]
    pub fn answers_at_once_on(&self, client: &mut Client) {
        let deadline = Instant::now() + TIMEOUT;
        let mut fastest = Duration::MAX;
        while fastest > AT_ONCE {
            assert!(Instant::now() < deadline, "the fastest answer took {fastest:?}");
            let started = Instant::now();
            client.send(&request("GET", &self.target, &[]));
            client.read().ok();
            fastest = fastest.min(started.elapsed());
        }
    }

    /// Fails if it holds more memory than before, and this much.
    #[track_caller]
    pub fn holds_at_most(&self, more: u64) {
        let resident = self.process.resident();
        assert!(
            resident <= self.resident + more,
            "{resident} bytes resident, {} before",
            self.resident
        );
    }

    /// How many threads it has more than at the quiet moment.
    pub fn more_threads(&self) -> usize {
        self.process.threads().saturating_sub(self.threads)
    }

    /// How many descriptors it has more than at the quiet moment.
    pub fn more_descriptors(&self) -> usize {
        self.process.descriptors().saturating_sub(self.files)
    }

    /// Waits until the server has handled everything sent to it, and fails if it then uses more than 4 % of a
    /// processor. A busy machine only delays the moment, so one idle interval is enough; a busy loop has none.
    #[track_caller]
    pub fn costs_nothing(&self) {
        const INTERVAL: Duration = Duration::from_millis(500);
        const MAX_TICKS: u64 = 2;
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let before = self.process.work();
            std::thread::sleep(INTERVAL);
            let ticks = self.process.work() - before;
            if ticks <= MAX_TICKS && self.process.is_asleep() {
                return;
            }
            assert!(Instant::now() < deadline, "{} ms of CPU time in {INTERVAL:?}", ticks * 10);
        }
    }

    /// Waits until everything that came with the clients is gone with them.
    #[track_caller]
    pub fn are_back(&self) {
        self.answers_at_once();
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let now = (self.process.threads(), self.process.descriptors(), self.process.resident());
            let (threads, files, resident) = now;
            if threads <= self.threads + A_FEW
                && files <= self.files + A_FEW
                && resident <= self.resident + self.spare
            {
                return;
            }
            let before = (self.threads, self.files, self.resident);
            assert!(
                Instant::now() < deadline,
                "threads, descriptors, bytes: {now:?}, at the beginning {before:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
