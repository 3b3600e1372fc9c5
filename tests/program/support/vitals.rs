//! Checks that a server answers at once and releases its threads, descriptors and memory.

use std::time::{Duration, Instant};

use super::client::{Client, request};
use super::process::Process;
use super::server::Server;
use super::{TIMEOUT, settled};

/// The maximum for a cache hit, from the connection to the last byte.
const AT_ONCE: Duration = Duration::from_millis(100);
/// Threads and descriptors that may come and go.
const SLACK: usize = 2;
/// Freed memory that the allocator may keep.
const MEMORY_SLACK: u64 = 12 << 20;

/// The threads, descriptors and memory of an idle server, the baseline for later checks.
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
    /// Of an idle server. `target` is an image that it stores in its cache.
    #[track_caller]
    pub fn of(server: &'s Server, target: &str) -> Vitals<'s> {
        // After this, every poller has its buffers.
        for _ in 0..16 {
            server.get(target).ok();
        }
        let process = Process::of(server.id());
        let count = || (process.threads(), process.descriptors());
        let (threads, files) = settled("the server is idle", count);
        let resident = process.resident();
        Vitals {
            server,
            process,
            target: target.into(),
            threads,
            files,
            resident,
            spare: MEMORY_SLACK,
        }
    }

    /// Lets more memory be kept.
    pub fn sparing(self, spare: u64) -> Vitals<'s> {
        Vitals { spare, ..self }
    }

    /// Fails unless a hit is served at once. The fastest of several requests counts, so that a busy machine does not fail it.
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

    /// Like [`Vitals::answers_at_once`], on an open connection.
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

    /// Fails if its resident memory has grown by more than this.
    #[track_caller]
    pub fn holds_at_most(&self, more: u64) {
        let resident = self.process.resident();
        assert!(
            resident <= self.resident + more,
            "{resident} bytes resident, {} before",
            self.resident
        );
    }

    /// The number of threads above the baseline.
    pub fn more_threads(&self) -> usize {
        self.process.threads().saturating_sub(self.threads)
    }

    /// The number of descriptors above the baseline.
    pub fn more_descriptors(&self) -> usize {
        self.process.descriptors().saturating_sub(self.files)
    }

    /// Waits until the server has handled everything sent to it, and fails if it then uses more than 4 % of a
    /// processor. A busy machine only delays the moment, so one idle interval is enough; a busy loop has none.
    #[track_caller]
    pub fn uses_no_cpu(&self) {
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

    /// Waits until threads, descriptors and memory are back at the baseline.
    #[track_caller]
    pub fn are_back(&self) {
        self.answers_at_once();
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let now = (self.process.threads(), self.process.descriptors(), self.process.resident());
            let (threads, files, resident) = now;
            if threads <= self.threads + SLACK
                && files <= self.files + SLACK
                && resident <= self.resident + self.spare
            {
                return;
            }
            let before = (self.threads, self.files, self.resident);
            assert!(
                Instant::now() < deadline,
                "threads, descriptors, bytes: {now:?}, baseline {before:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
